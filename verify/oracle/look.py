"""One place at which a black box is looked at: entries one by one, along directions, and tied ones together.

A few values settle a right entry (:mod:`verify.judging.short_law`); what they leave open goes to the step law
(:mod:`verify.judging.step_law`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from verify.case.case import Domain
from verify.judging.evidence import Evidence
from verify.judging.short_law import DEFINITE, Ladder, ladder_for, short_law
from verify.judging.step_law import Law, scales, step_law
from verify.judging.tied import STEP, Key, Slope, judge_tied
from verify.numbers.streams import stream
from verify.records import SUBJECT
from verify.subjects.measured import Line, Measured
from verify.subjects.subject import Subject

Array = NDArray[Any]

MOST_ENTRIES = 2_000
"""Entries of a variable that are looked at one by one at one point; of more, a seeded sample is."""

CONFIRMED = 4
"""Entries of a variable that the step law must find wrong before few values are enough to say it of others."""

MOST_LAWS = 32
"""Entries of a variable that the step law looks at beyond those, once it is known to be wrong."""

ROUNDING = 1e-9
"""A claim that is off by no more than this part of the function's steepness may be off by rounding, ..."""

NEIGHBOURS, SPREAD = 17, 0.1
"""... if its answers at so many points within this part of the variable scatter as much."""


@dataclass(frozen=True, slots=True)
class Place:
    """One point, with the upstream gradients that it is looked at with."""

    inputs: Mapping[str, Array]
    upstreams: Sequence[Mapping[str, Array]]
    ids: Sequence[int]
    """Of the points that it counts as, one for each upstream gradient."""
    own: bool


@dataclass(slots=True)
class Column:
    """The rows of one variable, as they come."""

    rows: list[tuple[int, int, Evidence]] = field(default_factory=list)
    wrong: int = 0
    """Entries that the step law found wrong."""
    laws: int = 0
    """Entries that it looked at since then."""

    def add(self, point: int, entry: int, slope: Slope, *, own: bool) -> None:
        """One more row."""
        answers = {SUBJECT: slope.claimed, "central": slope.estimate}
        self.rows.append((point, entry, Evidence(answers, own, law=slope, allowed=slope.uncertainty)))


@dataclass(slots=True)
class BlackBox:
    """A gradient and a function that is measured: what stays the same from place to place, and the rows so far."""

    measured: Measured
    subject: Subject
    domains: Mapping[str, Domain]
    """Of each input that is differentiated."""
    bounds: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    """Where the function may be called: it may not end where its arguments mean nothing."""
    seed: int = 0
    accuracy: float = 0.0
    """To what part of their size the function's values are right."""
    noise: float = field(init=False)
    """How far values may be off, as a part of their size; more may be measured."""
    columns: Mapping[str, Column] = field(init=False)

    def __post_init__(self) -> None:
        dtype = np.result_type(*(self.measured.held[name] for name in self.domains))
        self.noise = max(self.measured.unit, float(np.finfo(dtype).eps) / 2, self.accuracy)
        self.columns = {name: Column() for name in self.domains}

    def answers(self, inputs: Mapping[str, Array], seeds: Mapping[str, Array]) -> Mapping[str, Array]:
        """The gradient by each variable at one point."""
        batch, upstream = ({name: x[None] for name, x in xs.items()} for xs in (inputs, seeds))
        return {name: g[0] for name, g in self.subject.differentiate(batch, upstream).gradients.items()}

    def impossible(self, place: Place, most: int) -> str:
        """What is wrong of entries that are tied at a place, in words; empty where nothing is.

        ``most`` entries of each variable are looked at.
        """
        look = Look(self, place)
        for name in self.columns:
            look.entries(name, most)
        alone = {(number, name, flat) for number, name, flat, slope in look.rows() if slope.verdict == "wrong"}
        look.tied()
        wrong = [s for n, name, flat, s in look.rows() if s.verdict == "wrong" and (n, name, flat) not in alone]
        return wrong[0].sentence.partition(": ")[2] if wrong else ""


class Look:
    """One place while it is judged: U upstream gradients, and the slopes by entry."""

    def __init__(self, box: BlackBox, place: Place) -> None:
        self.box, self.place = box, place
        self.answers = [box.answers(place.inputs, seeds) for seeds in place.upstreams]
        self.upstream = np.stack([box.measured.flat(seeds) for seeds in place.upstreams])
        self.values = box.measured.values(place.inputs)
        with np.errstate(all="ignore"):
            self.sizes = np.abs(self.upstream) @ np.abs(self.values)
        """Of the contracted values."""
        self.slopes: list[dict[tuple[str, int], Slope]] = [{} for _ in self.answers]
        """For each upstream gradient: variable and flat index -> what its slope is."""
        self.rng = stream(box.seed, "directions of a black box", place.ids[0])

    def line(self, **along: Any) -> Line:
        """The contracted function along an entry or a direction."""
        return Line(self.box.measured, self.place.inputs, self.upstream, bounds=self.box.bounds, **along)

    @property
    def ladder(self) -> Ladder:
        """The steps that the noise allows."""
        return ladder_for(self.box.noise)

    def floor(self, number: int) -> float:
        """The noise of values that is known beforehand: that of a function which is exact to a tolerance only."""
        return float(self.sizes[number]) * self.box.accuracy

    def random_direction(self, names: Sequence[str]) -> dict[str, Array]:
        """All entries of some inputs at once, each moved by about its own size."""
        return {
            name: self.rng.choice([-1.0, 1.0], np.shape(x)) * np.maximum(np.abs(x), 1.0)
            for name, x in self.place.inputs.items()
            if name in names
        }

    def measured_noise(self) -> float:
        """The noise of the function as difference tables along a random direction see it, as a part of its size."""
        line = self.line(direction=self.random_direction([*self.box.columns]))
        found = [0.0]
        for number, size in enumerate(self.sizes.tolist()):
            law = step_law(line(number), np.float64(0.0), 0.0)
            at = int(np.argmax(law.steps <= 2.0 ** -self.ladder.halvings[2]))
            found.append(float(law.noise[at]) / size if size else 0.0)
        return max(found)

    def entries(self, name: str, looks: int) -> int:
        """Looks at so many entries of one variable, and says how many these are."""
        entries = np.arange(self.place.inputs[name].size)
        if len(entries) > looks:
            entries = np.sort(self.rng.choice(len(entries), looks, replace=False))
        for flat in entries.tolist():
            self.entry(name, flat)
        return len(entries)

    def disagreeing(self, names: Sequence[str]) -> dict[int, Mapping[str, Array]]:
        """A random direction of some variables, for each upstream gradient whose answer is wrong along it."""
        direction = self.random_direction(names)
        line = self.line(direction=direction)
        return {n: direction for n in range(len(self.answers)) if self.is_wrong_along(n, line, direction)}

    def is_wrong_along(self, number: int, line: Line, direction: Mapping[str, Array]) -> bool:
        """Whether an answer is not the slope along a direction."""
        answer = {name: g for name, g in self.answers[number].items() if name in direction}
        if len(answer) < len(direction):
            return len(direction) > 1  # some of them are not answered: look at the others alone
        with np.errstate(all="ignore"):
            claimed = float(sum(np.sum(g * direction[name]) for name, g in answer.items()))
            moved = float(sum(np.sum(np.abs(g * self.place.inputs[name])) for name, g in answer.items()))
        start, noise = np.float64(0.0), self.box.noise * (float(self.sizes[number]) + moved)
        if short_law(line(number), start, claimed, noise, self.ladder).agrees:
            return False
        return step_law(line(number), start, claimed, max(self.floor(number), self.box.noise * moved)).accuses

    def closely(self, name: str) -> None:
        """The entries of a variable that were not looked at yet, where they are wrong along a random direction."""
        wrong = self.disagreeing([name])
        size = self.place.inputs[name].size
        for flat in range(size if wrong and size <= MOST_ENTRIES else 0):
            if any(
                (name, flat) not in known and name in answer
                for known, answer in zip(self.slopes, self.answers, strict=True)
            ):
                self.entry(name, flat)
        for number, direction in wrong.items():
            self.blame(number, name, direction)

    def blame(self, number: int, name: str, direction: Mapping[str, Array]) -> None:
        """Where no single entry is found wrong, the one that weighs most along a wrong direction stands for all."""
        known = self.slopes[number]
        if any(slope.verdict == "wrong" for (variable, _), slope in known.items() if variable == name):
            return
        answer = self.answers[number][name] * direction[name]
        flat = int(np.argmax(np.abs(answer)))
        sentence = "wrong: along a random direction of all entries the slope is another"
        known[name, flat] = Slope(float(self.answers[number][name].flat[flat]), math.nan, math.nan, "wrong", sentence)

    def entry(self, name: str, flat: int) -> None:
        """One entry of one variable, with each upstream gradient."""
        index = tuple(int(i) for i in np.unravel_index(flat, self.place.inputs[name].shape))
        x, line = self.place.inputs[name][index], self.line(entry=(name, index))
        for number, answer in enumerate(self.answers):
            if name in answer:
                claimed = float(answer[name][index])
                self.slopes[number][name, flat] = self.slope((name, flat), line(number), x, claimed, number)

    def slope(self, key: Key, function: Callable[[Any], float], x: Any, claimed: float, number: int) -> Slope:
        """What is said of one claim: by few values where they settle it, else by the step law."""
        column = self.box.columns[key[0]]
        short = short_law(function, x, claimed, self.box.noise * float(self.sizes[number]), self.ladder)
        known = short.estimate, short.uncertainty
        if short.agrees:
            return Slope(claimed, *known, "right", "")
        if column.wrong >= CONFIRMED and short.disagrees:
            said = f"wrong: the claim {claimed:.6g} is not the slope {short.estimate:.6g}, by a few steps"
            return Slope(claimed, *known, "wrong", said)
        if column.wrong >= CONFIRMED:
            column.laws += 1
            if column.laws > MOST_LAWS:
                return Slope(claimed, *known, "undecided", f"undecided: other entries of {key[0]} are wrong")
        law = step_law(function, x, claimed, self.floor(number))
        scatter = self.scatter(key, number) if law.accuses and self.may_be_rounding(law) else 0.0
        if scatter and abs(claimed - law.estimate) <= DEFINITE * scatter:
            said = (
                f"noise: the gradient's own answers scatter by {scatter:.1g} beside the point, {claimed:.6g} is no more"
            )
            return Slope(claimed, law.estimate, law.uncertainty, "noise", said)
        column.wrong += law.accuses
        return Slope.of(law)

    @staticmethod
    def may_be_rounding(law: Law) -> bool:
        """Whether a claim is off by so little, against how steep the function is around, that floats may be why."""
        with np.errstate(all="ignore"):
            steepness = float(np.nanmax(np.abs(law.quotients), initial=0.0, where=law.steps >= law.steps[0] / 2**6))
        return abs(law.claimed - law.estimate) <= ROUNDING * steepness

    def scatter(self, key: Key, number: int) -> float:
        """How far the gradient's answers for one entry are from a smooth curve beside the point."""
        name, flat = key
        domain = self.box.domains[name]
        offsets, answers = np.linspace(-1.0, 1.0, NEIGHBOURS), []
        for offset in offsets.tolist():
            moved = np.array(self.place.inputs[name])
            moved.flat[flat] = np.clip(moved.flat[flat] * (1 + SPREAD * offset), domain.low, domain.high)
            answer = self.box.answers({**self.place.inputs, name: moved}, self.place.upstreams[number])
            answers.append(float(answer[name].flat[flat]) if name in answer else math.nan)
        curve = np.polynomial.Polynomial.fit(offsets, answers, 3) if np.all(np.isfinite(answers)) else None
        return 0.0 if curve is None else float(np.sqrt(np.mean((curve(offsets) - answers) ** 2)))

    def tied(self) -> None:
        """Entries at kinks are looked at together: a vector may be wrong of which each entry is possible."""
        here = self.values
        count = sum(x.size for x in self.place.inputs.values())
        values = {(name, flat): float(self.place.inputs[name].flat[flat]) for name, flat in {*self.slopes[0]}}

        def outputs(key: Key) -> Array:
            changed: Array = np.zeros(here.shape, dtype=bool)
            for step in (STEP, -STEP):  # a tied minimum changes downwards only
                x = self.place.inputs[key[0]]
                moved = (x + step * self.unit({key: scales(values[key])[-1]})[key[0]]).astype(x.dtype)
                changed |= here != self.box.measured.values({**self.place.inputs, key[0]: moved})
            return changed

        for number, known in enumerate(self.slopes):

            def along(direction: Mapping[Key, float], number: int = number) -> Callable[[Any], float]:
                return self.line(direction=self.unit(direction))(number)

            judge_tied(known, along, outputs, values, whole=len(known) == count)

    def unit(self, weights: Mapping[Key, float]) -> dict[str, Array]:
        """A direction by its entries."""
        direction = {name: np.zeros(np.shape(self.place.inputs[name])) for name, _ in weights}
        for (name, flat), weight in weights.items():
            direction[name].flat[flat] = weight
        return direction

    def leave_open(self, why: str, looks: int) -> None:
        """Rows for what nothing can be said of."""
        for number, answer in enumerate(self.answers):
            for name, claims in answer.items():
                column = self.box.columns.get(name)
                for flat in range(min(claims.size, looks) if column is not None else 0):
                    assert column is not None
                    slope = Slope(float(claims.flat[flat]), math.nan, math.nan, "undecided", f"undecided: {why}")
                    column.add(self.place.ids[number], flat, slope, own=self.place.own)

    def rows(self) -> Iterator[tuple[int, str, int, Slope]]:
        """What was found: number of the upstream gradient, variable, flat index and slope."""
        for number, known in enumerate(self.slopes):
            for (name, flat), slope in sorted(known.items(), key=lambda item: item[0]):
                yield number, name, flat, slope

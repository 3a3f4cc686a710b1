"""Gradients of functions that nobody knows: each slope is held against central differences.

There is no expression to enclose, so nothing is proved here: the verdicts are *measured*. A few values settle a right
entry (:mod:`verify.judging.short_law`); what they leave open goes to the step law (:mod:`verify.judging.step_law`), and
what noise or truncation hides is UNDECIDED. Beside the caller's own points a gradient is looked at where one of a known
function would be: at random points, zeros, ends of the domain, equal entries, and on both sides of the numbers in the
code; there along random directions, and entry by entry as far as :data:`MOST_LOOKS` goes.
"""

from __future__ import annotations

import inspect
import math
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from verify.case.case import Case, Domain, Input, OwnPoint
from verify.errors import UsageError, did_you_mean
from verify.graph.graph import GraphBuilder
from verify.graph.interpret import Program
from verify.judging.evidence import Evidence
from verify.judging.rules import judged_rows
from verify.judging.short_law import DEFINITE, Ladder, ladder_for, short_law
from verify.judging.step_law import Law, scales, step_law
from verify.judging.tied import STEP, Key, Slope, judge_tied
from verify.numbers.streams import stream
from verify.oracle.case_check import MOST_PROBED, Question, excused
from verify.oracle.overrides import adapted
from verify.places.points import Batch, own_points, random_points, spread_points
from verify.places.search import search_points
from verify.records import SUBJECT, VERDICTS, CaseResult, Point, Unproved, VariableResult
from verify.running.gathering import point_record
from verify.subjects.code_constants import constants_of
from verify.subjects.interface import Interface
from verify.subjects.measured import Function, Line, Measured
from verify.subjects.subject import Subject
from verify.tracing.recorded_program import default_domain

Array = NDArray[Any]

MOST_ENTRIES = 2_000
"""Entries of a variable that are looked at one by one at one point; of more, a seeded sample is."""

MOST_LOOKS = 600
"""Entries that are looked at one by one at all other points together, ..."""

LEAST_LOOKS = 2
"""... but no fewer than these of a variable at each of them; the rest is looked at along random directions."""

CONFIRMED = 4
"""Entries of a variable that the step law must find wrong before few values are enough to say it of others."""

MOST_LAWS = 32
"""Entries of a variable that the step law looks at beyond those, once it is known to be wrong."""

ROUNDING = 1e-9
"""A claim that is off by no more than this part of the function's steepness may be off by rounding, ..."""

NEIGHBOURS, SPREAD = 17, 0.1
"""... if its answers at so many points within this part of the variable scatter as much."""

BEYOND = 0.125
"""Part of its width by which differences may leave a domain that was given; they must at its ends."""

LARGEST_UPSTREAM = 1e12
"""Upstream gradients beyond this, or below one over it, show overflow only; differences show it of the function."""

WITHOUT_EXPRESSION = "no expression is known: slopes are measured by central differences, nothing is proved"


@dataclass(frozen=True, slots=True)
class Place:
    """One point, with the upstream gradients that it is looked at with."""

    inputs: Mapping[str, Array]
    upstreams: Sequence[Mapping[str, Array]]
    ids: Sequence[int]
    """Of the points that it counts as, one for each upstream gradient."""
    own: bool


@dataclass(slots=True)
class _Column:
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


def judge_black_box(
    asked: Question,
    function: Function,
    at: Sequence[Mapping[str, Any]],
    why: str,
    *,
    own: bool = True,
    repeats: bool = True,
) -> CaseResult:
    """Judges a gradient at some points of a function, and where there is a domain at further ones.

    ``at`` gives the arguments by name; floats are differentiated, whole numbers, booleans and what is among the
    constants are not. ``own`` says that the caller chose these points: what cannot be decided there does not pass.
    Of a function that does not repeat itself nothing can be said.
    Raises UsageError for a function or an answer that does not fit.

    >>> from verify.subjects.line_coverage import LineCoverage
    >>> from verify.running.settings import Settings
    >>> def asked(gradient): return Question(gradient, Settings(points=0), LineCoverage(abs))
    >>> judge_black_box(asked(lambda x: 2 * x), lambda x: x**2, [{"x": 3.0}], "").status
    'PASS'
    >>> judge_black_box(asked(lambda x: 2.01 * x), lambda x: x**2, [{"x": 3.0}], "").status
    'FAIL'
    """
    return Judgement(asked, function, at, own=own, repeats=repeats).result(why)


class Judgement:
    """One black box while it is judged.

    Raises UsageError for a function, a domain or an upstream gradient that does not fit.
    """

    def __init__(
        self, asked: Question, function: Function, at: Sequence[Mapping[str, Any]], *, own: bool, repeats: bool
    ) -> None:
        self.started = time.perf_counter()
        self.asked, self.function, self.own, self.repeats = asked, function, own, repeats
        self.measured = Measured(function, at[0])
        real = {
            name: value
            for name, value in self.measured.held.items()
            if np.asarray(value).dtype.kind == "f" and name not in asked.constants
        }
        if not real:
            raise UsageError("nothing to differentiate: at needs a float, such as at={'x': 3.0}")
        self.real = tuple(real)
        shapes = {name: np.shape(value) for name, value in self.measured.held.items()}
        held = {name: value for name, value in self.measured.held.items() if name not in real}
        interface = Interface(
            self.measured.name, tuple(self.measured.held), self.real, shapes, self.measured.shapes, held
        )
        self.subject = Subject(interface, asked.gradient)
        self.subject.lines = asked.lines
        self.case = replace(self._case(at), draws_scalar_upstream=self.subject.takes_upstream)
        self.dtype = np.result_type(*real.values())
        self.noise = max(self.measured.unit, float(np.finfo(self.dtype).eps) / 2, asked.accuracy or 0.0)
        """How far values may be off, as a part of their size; more may be measured."""
        widths = {item.name: (item.domain, item.domain.high - item.domain.low) for item in self.case.inputs}
        self.bounds = {
            name: (widths[name][0].low - BEYOND * widths[name][1], widths[name][0].high + BEYOND * widths[name][1])
            for name in asked.domain or {}
            if math.isfinite(widths[name][1])
        }
        """Where the function may be called: it may not end where its arguments mean nothing."""
        self.columns = {name: _Column() for name in self.real}
        self.points: list[Point] = []

    def _case(self, at: Sequence[Mapping[str, Any]]) -> Case:
        """Inputs, domains and points as a case has them, for whoever chooses points; outputs count as constants."""
        domain, name = self.asked.domain or {}, self.measured.name
        for key in domain:
            if key not in self.real:
                raise UsageError(f"domain names {key!r}, which is no input. {did_you_mean(key, self.real)}".strip())
        builder = GraphBuilder()
        inputs = []
        for key in self.real:
            values = [np.asarray(point[key], dtype=np.float64) for point in at]
            interval = Domain.given(key, domain[key]) if key in domain else default_domain(values)
            if not all(np.all(interval.contains(value)) for value in values):
                raise UsageError(f"{key} lies outside its domain {interval}. Move the point, or widen the domain")
            dtype: Any = str(self.measured.held[key].dtype)
            builder.input(key, values[0].shape)
            inputs.append(Input(key, values[0].shape, "real", dtype, interval, values[0]))
        for key, shape in self.measured.shapes.items():
            builder.input(key, shape)
            zeros = np.zeros(shape)
            inputs.append(Input(key, shape, "constant", "float64", Domain(-math.inf, math.inf), zeros))
        points = tuple(
            OwnPoint("at" if len(at) == 1 else f"at[{i}]", {key: np.asarray(point[key], float) for key in self.real})
            for i, point in enumerate(at)
        )
        graph = builder.build(list(self.measured.shapes))
        case = Case(name, "a black box", *_place(self.function)[:1], graph, tuple(inputs), {}, {}, own_points=points)
        return adapted(case, (), None, self.asked.upstream)

    # ----------------------------------------------------------------------------------------------- where it is looked

    def own_places(self) -> list[Place]:
        """The caller's points, each with two upstream gradients where none is given; the second one is positive."""
        batch = replace(own_points(self.case, self.asked.settings.seed), own=self.own)
        rng = stream(self.asked.settings.seed, "positive upstream")
        places = []
        for p in range(len(batch)):
            inputs, seeds = self._at(batch, p)
            ids = [self._keep(replace(point_record(batch, p), values=self._shown(inputs, seeds)))]
            upstreams = [seeds]
            # Of one sign, so that the branches of several maxima do not cancel in a sum.
            other = {name: rng.uniform(0.5, 1.5, g.shape).astype(g.dtype) for name, g in seeds.items()}
            other = {name: seeds[name] if name in self.case.given_upstream else g for name, g in other.items()}
            if self.subject.takes_upstream and any(np.any(other[name] != seeds[name]) for name in seeds):
                shown = self._shown(inputs, other)
                point = Point(0, f"{batch.origins[p]}, with another upstream gradient", self.own, shown)
                ids.append(self._keep(point))
                upstreams.append(other)
            places.append(Place(inputs, upstreams, ids, self.own))
        return places

    def other_places(self) -> Iterator[Place]:
        """Points that nobody gave: where the code or the domain may change its mind, and random ones."""
        settings = self.asked.settings
        if not settings.points:
            return
        constants = constants_of(self.asked.gradient, self.function)
        program = Program(self.case.graph)
        spread = spread_points(self.case, settings.seed, 0, settings.points)
        sought = search_points(self.case, program, settings.seed, 0, constants=constants, points=settings.points)
        drawn = random_points(self.case, settings.seed, 0, settings.points, 0)
        for batch in (spread, sought, drawn):
            for p in range(len(batch) if batch is not None else 0):
                assert batch is not None
                inputs, seeds = self._at(batch, p)
                if all(_is_usual(g) for g in seeds.values()):
                    kept = self._keep(replace(point_record(batch, p), values=self._shown(inputs, seeds)))
                    yield Place(inputs, [seeds], [kept], own=False)

    def _at(self, batch: Batch, p: int) -> tuple[dict[str, Array], dict[str, Array]]:
        return {name: batch.inputs[name][p] for name in self.real}, {name: g[p] for name, g in batch.upstream.items()}

    def _keep(self, point: Point) -> int:
        self.points.append(replace(point, id=len(self.points)))
        return len(self.points) - 1

    def _shown(self, inputs: Mapping[str, Array], seeds: Mapping[str, Array]) -> dict[str, Any]:
        drawn = {f"upstream of {name}": g for name, g in seeds.items() if np.ndim(g) or g != 1}
        return {**self.measured.held, **inputs, **drawn}

    # --------------------------------------------------------------------------------------------------- how it is done

    def result(self, why: str) -> CaseResult:
        """The whole judgement."""
        own = self.own_places()
        for place in own:
            self.measured.outputs(place.inputs)  # it must have a value where the caller asks for one
        for place in own:
            self.look(place, MOST_ENTRIES)
        others = list(self.other_places())
        looks = max(LEAST_LOOKS, MOST_LOOKS // max(len(others) * len(self.real), 1))
        for place in others:
            self.look(place, looks)
        self.subject.refuse_strangers()
        for place in own[:MOST_PROBED]:
            self.subject.probe(place.inputs, place.upstreams[0])
        result = self._result(why, len(others), looks)
        return replace(result, findings=excused(tuple(self.subject.contract.findings), result))

    def look(self, place: Place, looks: int) -> None:
        """Judges a place: so many entries of each variable one by one, and all of them along a direction."""
        look, values = self.started_look(place), self.measured.values(place.inputs)
        if not self.repeats or not np.all(np.isfinite(values)):
            why = "the function is not finite here" if self.repeats else "the function does not repeat itself"
            look.leave_open(why, looks)
            return
        if place.own:
            self.noise = max(self.noise, look.measured_noise())
        rest = [name for name in self.real if look.entries(name, looks) < place.inputs[name].size]
        if rest and look.disagreeing(rest):
            for name in rest:
                look.closely(name)
        look.tied()
        for number, name, flat, slope in look.rows():
            self.columns[name].add(place.ids[number], flat, slope, own=place.own)

    def impossible(self, place: Place) -> str:
        """What is wrong of entries that are tied at a place, in words; empty where nothing is."""
        look = self.started_look(place)
        for name in self.real:
            look.entries(name, MOST_ENTRIES)
        alone = {(number, name, flat) for number, name, flat, slope in look.rows() if slope.verdict == "wrong"}
        look.tied()
        wrong = [s for n, name, flat, s in look.rows() if s.verdict == "wrong" and (n, name, flat) not in alone]
        return wrong[0].sentence.partition(": ")[2] if wrong else ""

    def started_look(self, place: Place) -> _Look:
        """A place with the gradient's answers and the sizes of the contracted values."""
        answers = [self.answers(place, seeds) for seeds in place.upstreams]
        upstream = np.stack([self.measured.flat(seeds) for seeds in place.upstreams])
        with np.errstate(all="ignore"):
            sizes = np.abs(upstream) @ np.abs(self.measured.values(place.inputs))
        return _Look(self, place, upstream, answers, sizes)

    def answers(self, place: Place, seeds: Mapping[str, Array]) -> Mapping[str, Array]:
        """The gradient by each variable at one place."""
        batch, upstream = ({name: x[None] for name, x in xs.items()} for xs in (place.inputs, seeds))
        return {name: g[0] for name, g in self.subject.differentiate(batch, upstream).gradients.items()}

    def _result(self, why: str, others: int, looks: int) -> CaseResult:
        file, line = _place(self.function)
        name = self.measured.name
        notes = [WITHOUT_EXPRESSION, f"the function is a black box: {why}"]
        if others:
            entries = f"{looks} entries of each input" if looks < MOST_ENTRIES else "all entries"
            notes.append(f"looked at {others} points beside the given ones, at {entries}, and along directions")
        laws = [evidence.law for column in self.columns.values() for _, _, evidence in column.rows]
        notes += [law.sentence for law in laws if law is not None and law.verdict == "inexact"][:1]
        variables = tuple(self._variable(key, (file, line)) for key in self.real if self.columns[key].rows)
        return CaseResult(
            name=name,
            file=file,
            function=((next(iter(self.measured.shapes)), f"{name}({', '.join(self.measured.held)})"),),
            outputs=tuple(self.measured.shapes),
            variables=variables,
            points=tuple(self.points),
            seed=self.asked.settings.seed,
            points_checked=len(self.points),
            methods=(SUBJECT, "central"),
            notes=tuple(notes),
            unproved={Unproved.BLACK_BOX: sum(variable.checked for variable in variables)},
            seconds=time.perf_counter() - self.started,
        )

    def _variable(self, name: str, place: tuple[str, int]) -> VariableResult:
        rows = judged_rows(self.columns[name].rows, (SUBJECT, "central"))
        counts = Counter(VERDICTS[code] for code in rows.verdict.tolist())
        return VariableResult(
            case=self.measured.name,
            name=name,
            role="input",
            quantity="gradient",
            shape=np.shape(self.measured.held[name]),
            file=place[0],
            line=place[1],
            rows=rows,
            checked=len(rows),
            counts=counts,
            failed=int(np.count_nonzero(~rows.passes)),
            differences=(),
            dtype=str(self.measured.held[name].dtype),
        )


class _Look:
    """One place while it is judged: U upstream gradients, and the slopes by entry."""

    def __init__(
        self,
        judgement: Judgement,
        place: Place,
        upstream: Array,
        answers: Sequence[Mapping[str, Array]],
        sizes: Array,
    ) -> None:
        self.judgement, self.place, self.upstream, self.answers, self.sizes = (
            judgement, place, upstream, answers, sizes,
        )  # fmt: skip
        self.slopes: list[dict[tuple[str, int], Slope]] = [{} for _ in answers]
        """For each upstream gradient: variable and flat index -> what its slope is."""
        seed = judgement.asked.settings.seed
        self.rng = stream(seed, "directions of a black box", place.ids[0])

    def line(self, **along: Any) -> Line:
        return Line(self.judgement.measured, self.place.inputs, self.upstream, bounds=self.judgement.bounds, **along)

    @property
    def ladder(self) -> Ladder:
        return ladder_for(self.judgement.noise)

    def floor(self, number: int) -> float:
        """The noise of values that is known beforehand: that of a function which is exact to a tolerance only."""
        return float(self.sizes[number]) * (self.judgement.asked.accuracy or 0.0)

    def random_direction(self, names: Sequence[str]) -> dict[str, Array]:
        """All entries of some inputs at once, each moved by about its own size."""
        return {
            name: self.rng.choice([-1.0, 1.0], np.shape(x)) * np.maximum(np.abs(x), 1.0)
            for name, x in self.place.inputs.items()
            if name in names
        }

    def measured_noise(self) -> float:
        """The noise of the function as difference tables along a random direction see it, as a part of its size."""
        line = self.line(direction=self.random_direction(self.judgement.real))
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
        start, noise = np.float64(0.0), self.judgement.noise * (float(self.sizes[number]) + moved)
        if short_law(line(number), start, claimed, noise, self.ladder).agrees:
            return False
        return step_law(line(number), start, claimed, max(self.floor(number), self.judgement.noise * moved)).accuses

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
        column = self.judgement.columns[key[0]]
        short = short_law(function, x, claimed, self.judgement.noise * float(self.sizes[number]), self.ladder)
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
        item = next(item for item in self.judgement.case.inputs if item.name == name)
        offsets, answers = np.linspace(-1.0, 1.0, NEIGHBOURS), []
        for offset in offsets.tolist():
            moved = np.array(self.place.inputs[name])
            moved.flat[flat] = np.clip(moved.flat[flat] * (1 + SPREAD * offset), item.domain.low, item.domain.high)
            place = replace(self.place, inputs={**self.place.inputs, name: moved})
            answer = self.judgement.answers(place, self.place.upstreams[number])
            answers.append(float(answer[name].flat[flat]) if name in answer else math.nan)
        curve = np.polynomial.Polynomial.fit(offsets, answers, 3) if np.all(np.isfinite(answers)) else None
        return 0.0 if curve is None else float(np.sqrt(np.mean((curve(offsets) - answers) ** 2)))

    def tied(self) -> None:
        """Entries at kinks are looked at together: a vector may be wrong of which each entry is possible."""
        here = self.judgement.measured.values(self.place.inputs)
        count = sum(x.size for x in self.place.inputs.values())

        def size(key: Key) -> float:
            return scales(self.place.inputs[key[0]].flat[key[1]])[-1]

        def outputs(key: Key) -> Array:
            changed: Array = np.zeros(here.shape, dtype=bool)
            for step in (STEP, -STEP):  # a tied minimum changes downwards only
                x = self.place.inputs[key[0]]
                moved = (x + step * self.unit({key: size(key)})[key[0]]).astype(x.dtype)
                changed |= here != self.judgement.measured.values({**self.place.inputs, key[0]: moved})
            return changed

        for number, known in enumerate(self.slopes):

            def along(direction: Mapping[Key, float], number: int = number) -> Callable[[Any], float]:
                return self.line(direction=self.unit(direction))(number)

            judge_tied(known, along, outputs, size, whole=len(known) == count)

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
                column = self.judgement.columns.get(name)
                for flat in range(min(claims.size, looks) if column is not None else 0):
                    assert column is not None
                    slope = Slope(float(claims.flat[flat]), math.nan, math.nan, "undecided", f"undecided: {why}")
                    column.add(self.place.ids[number], flat, slope, own=self.place.own)

    def rows(self) -> Iterator[tuple[int, str, int, Slope]]:
        """What was found: number of the upstream gradient, variable, flat index and slope."""
        for number, known in enumerate(self.slopes):
            for (name, flat), slope in sorted(known.items(), key=lambda item: item[0]):
                yield number, name, flat, slope


def _is_usual(upstream: Array) -> bool:
    """Whether differences can tell anything with an upstream gradient of this size."""
    size = float(np.max(np.abs(upstream), initial=0.0))
    return size == 0 or 1 / LARGEST_UPSTREAM <= size <= LARGEST_UPSTREAM


def _place(function: Function) -> tuple[str, int]:
    """File and line of a function, as far as they are known."""
    code = getattr(inspect.unwrap(function), "__code__", None)
    return (code.co_filename, code.co_firstlineno) if code else ("", 0)

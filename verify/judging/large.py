"""Cases that are too large to look at entry by entry: seeded random directions, and a sample of the entries.

All methods but central answer for every entry at once. Central moves a sample of the entries one by one, and all of
them together along a few directions, each entry by 1 or -1: a fault in any entry changes the slope along every one of
them. Nothing is proved here; the same case at small sizes is.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from verify.case.case import Case
from verify.graph.derivative import Differentiator
from verify.graph.interpret import constant_balls, dtype_of
from verify.judging.compare import LEAST_UNITS
from verify.judging.context import rounding_nodes
from verify.judging.rows import table, within
from verify.methods.central import Central, contraction
from verify.methods.reverse import Reverse
from verify.numbers.balls import Balls
from verify.numbers.streams import stream
from verify.places.points import Batch
from verify.records import PairDifference, Rows, VariableResult, Verdict, pairs_of, unravel

Array = NDArray[Any]

SAMPLED = 8
"""Entries of each variable that are moved one by one."""

DIRECTIONS = 3
"""Directions along which a variable is moved as a whole."""

ENOUGH_STEPS = 2
"""Steps of central after which any finite error will do."""


@dataclass(slots=True)
class _Column:
    """What was found of one variable, row by row."""

    name: str
    shape: tuple[int, ...]
    methods: tuple[str, ...]
    rows: list[dict[str, Any]] = field(default_factory=list)


def large_variables(
    case: Case,
    variables: Sequence[str],
    methods: Mapping[str, Differentiator],
    batches: Sequence[Batch],
    seed: int,
    accused: str = "",
) -> Iterator[VariableResult]:
    """The rows of every variable at some points: a sample of its entries, then its directions as rows of their own.

    ``methods`` are those that answer for all entries; ``accused`` names the one that is under test, if there is one.

    >>> from verify.places.points import own_points
    >>> from verify.case.case import load_case_text
    >>> case = load_case_text("{case: f, inputs: {x: {shape: [90], at: normal}}, stages: {f: sum(x * x)}}")
    >>> methods = {"reverse": Reverse(case.graph, ["x"])}
    >>> [(found.name, found.checked) for found in large_variables(case, ["x"], methods, [own_points(case, 0)], seed=0)]
    [('x', 8), ('x along 3 seeded directions', 3)]
    """
    look = _Look(case, variables, methods, seed, accused)
    for batch in batches:
        for p in range(len(batch)):
            look.at(batch, p)
    return look.results()


class _Look:
    """One case while it is looked at."""

    def __init__(
        self, case: Case, variables: Sequence[str], methods: Mapping[str, Differentiator], seed: int, accused: str
    ) -> None:
        self.case, self.methods, self.accused = case, methods, accused
        self.engine = Reverse(case.graph, variables)
        self.central = Central(case.graph, variables, case.known)
        self.growth = LEAST_UNITS + rounding_nodes(case.graph)
        self.columns: dict[str, tuple[_Column, _Column]] = {}
        self.chosen: dict[str, tuple[Array, Array]] = {}
        names = (*methods, "central")
        for number, name in enumerate(variables):
            shape = case.graph.shape(name)
            rng = stream(seed, "large", number)
            count = math.prod(shape)
            sample = np.sort(rng.choice(count, min(SAMPLED, count), replace=False))
            self.chosen[name] = sample, rng.choice([-1.0, 1.0], (DIRECTIONS, *shape))
            along = f"{name} along {DIRECTIONS} seeded directions"
            self.columns[name] = _Column(name, shape, names), _Column(along, (DIRECTIONS,), names)

    @np.errstate(all="ignore")
    def at(self, batch: Batch, p: int) -> None:
        """Looks at one point."""
        inputs, upstream = batch.take(slice(p, p + 1))
        found = {name: method.differentiate(inputs, upstream).gradients for name, method in self.methods.items()}
        allowed = self._allowed(inputs, upstream)
        output = contraction(self.case.graph, upstream)
        noise = self.central.noise(inputs, output)
        for name, (sample, directions) in self.chosen.items():
            answers = {m: np.asarray(g[name][0], dtype=np.float64).ravel() for m, g in found.items() if name in g}
            entries, along = self.columns[name]
            for entry in sample.tolist():
                refined = self.central.refine(
                    name, unravel(entry, entries.shape), inputs, output, noise=noise, enough=ENOUGH_STEPS
                )
                said = {method: float(answer[entry]) for method, answer in answers.items()}
                said["central"] = float(refined.gradient[0])
                self._add(entries, int(batch.ids[p]), entry, said, float(allowed[name][entry]), float(refined.error[0]))
            for number, direction in enumerate(directions):
                slope, error = self.central.along(name, direction, inputs, output, noise)
                said = {method: float(answer @ direction.ravel()) for method, answer in answers.items()}
                said["central"] = float(slope[0])
                room = float(allowed[name].sum())  # every entry moves by 1 or -1
                self._add(along, int(batch.ids[p]), number, said, room, float(error[0]))

    def _allowed(self, inputs: Mapping[str, Array], upstream: Mapping[str, Array]) -> dict[str, Array]:
        """What float methods may be off by, entry by entry: as at points that are looked at closely, but for C."""
        constants = constant_balls(self.case.graph, dtype_of(inputs))
        balls = self.engine.program.run({k: Balls.exact(x) for k, x in inputs.items()}, constants=constants)
        gradients = self.engine.backward(balls, {k: Balls.exact(g) for k, g in upstream.items()})
        unit = float(np.finfo(dtype_of(inputs)).eps) / 2
        found = {}
        for name, gradient in gradients.items():
            ball = gradient if isinstance(gradient, Balls) else Balls.exact(gradient)
            found[name] = (2 * ball.radius + self.growth * unit * np.abs(ball.value))[0].ravel()
        return found

    def _add(
        self, column: _Column, point: int, entry: int, said: Mapping[str, float], allowed: float, step: float
    ) -> None:
        verdict, reason, suspect = self._judged(said, allowed, step)
        is_own = point < len(self.case.own_points)
        column.rows.append(
            {
                "point": point,
                "entry": entry,
                "values": {method: said.get(method, math.nan) for method in column.methods},
                "verdict": verdict,
                "passes": verdict is Verdict.PASS or (verdict is Verdict.UNDECIDED and not is_own),
                "reason": reason,
                "suspect": suspect,
                "allowed": allowed,
                "step_error": step,
            }
        )

    def _judged(self, said: Mapping[str, float], allowed: float, step: float) -> tuple[Verdict, str, str]:
        """Verdict, reason and suspect of one row: every pair agrees, or somebody is off.

        A gradient under test answers for itself alone: what the others make of each other is not its fault.
        """
        others = [method for method in said if method != "central"]
        if not math.isfinite(allowed) or not math.isfinite(step):
            return Verdict.UNDECIDED, "the rounding on the way, or that of the step, is unbounded", ""
        apart = []
        for first, second in combinations(said, 2):
            room = allowed + (step if "central" in (first, second) else 0.0)
            if not within(np.array(abs(said[first] - said[second])), room):
                apart.append((first, second))
        if self.accused in said:
            theirs = [pair for pair in apart if self.accused in pair]
            if theirs and len(theirs) < len(apart) and len(theirs) < len(said) - 1:
                return Verdict.UNDECIDED, "the methods differ from each other, and the gradient agrees with some", ""
            apart = theirs
        if not apart:
            return Verdict.PASS, "", ""
        worst = max(apart, key=lambda pair: abs(said[pair[0]] - said[pair[1]]))
        distance = abs(said[worst[0]] - said[worst[1]])
        reason = f"measured: {worst[0]} and {worst[1]} differ by {distance:.3g}, allowed {allowed:.3g}, step {step:.3g}"
        common = set(apart[0]).intersection(*apart)
        suspect = self.accused or (", ".join(sorted(common)) if len(others) > 1 and len(common) == 1 else worst[0])
        return Verdict.FAIL, reason, suspect

    def results(self) -> Iterator[VariableResult]:
        """The records of all variables."""
        for name, pair in self.columns.items():
            for column in pair:
                yield self._record(name, column)

    def _record(self, name: str, column: _Column) -> VariableResult:
        case, rows = self.case, table(column.rows)
        role = "output" if name in case.graph.outputs else "stage" if name in case.graph.stages else "input"
        return VariableResult(
            case=case.name,
            name=column.name,
            role=role,  # type: ignore[arg-type]
            quantity="gradient",
            shape=column.shape,
            file=case.file,
            line=case.lines.get(name, 0),
            rows=rows,
            checked=len(rows),
            counts=Counter(row["verdict"] for row in column.rows),
            failed=int(np.count_nonzero(~rows.passes)),
            differences=tuple(_largest(rows, pair, column.shape) for pair in pairs_of(column.methods)),
            dtype=str(np.result_type(*(item.dtype for item in case.inputs))),
        )


def _largest(rows: Rows, pair: tuple[str, str], shape: tuple[int, ...]) -> PairDifference:
    if not all(method in rows.values for method in pair):
        return PairDifference(pair, math.nan, -1, ())
    difference = np.abs(rows.values[pair[0]] - rows.values[pair[1]])
    if not np.isfinite(difference).any():
        return PairDifference(pair, math.nan, -1, ())
    i = int(np.nanargmax(difference))
    return PairDifference(pair, float(difference[i]), int(rows.point[i]), unravel(int(rows.entry[i]), shape))


def large_note(case: Case, variables: Sequence[str], points: int) -> str:
    """What was looked at of a large case, in one sentence with counts.

    >>> from verify.case.case import load_case_text
    >>> case = load_case_text("{case: f, inputs: {x: {shape: [9000], at: normal}}, stages: {f: sum(x * x)}}")
    >>> large_note(case, ["x"], 2)
    'too large to look at entry by entry: at 2 points, 8 of 9,000 entries and 3 seeded directions of each variable'
    """
    entries = sum(math.prod(case.graph.shape(name)) for name in variables)
    looked_at = sum(min(SAMPLED, math.prod(case.graph.shape(name))) for name in variables)
    what = f"{looked_at} of {entries:,} entries and {DIRECTIONS} seeded directions of each variable"
    return f"too large to look at entry by entry: at {points} points, {what}"

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
from typing import Any

import numpy as np
from numpy.typing import NDArray

from verify.case.case import Case
from verify.graph.derivative import Differentiator
from verify.judging.allowance import Allowance
from verify.judging.evidence import Evidence
from verify.judging.rules import judged_rows
from verify.methods.central import Central, contraction
from verify.methods.reverse import Reverse
from verify.numbers.streams import stream
from verify.places.points import Batch
from verify.records import PairDifference, Rows, VariableResult, pairs_of, unravel
from verify.words import VERDICTS

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
    rows: list[tuple[int, int, Evidence]] = field(default_factory=list)


def large_variables(
    case: Case,
    variables: Sequence[str],
    methods: Mapping[str, Differentiator],
    batches: Sequence[Batch],
    seed: int,
) -> Iterator[VariableResult]:
    """The rows of every variable at some points: a sample of its entries, then its directions as rows of their own.

    ``methods`` are those that answer for all entries.

    >>> from verify.places.points import own_points
    >>> from verify.case.case import load_case_text
    >>> case = load_case_text("{case: f, inputs: {x: {shape: [90], at: normal}}, stages: {f: sum(x * x)}}")
    >>> methods = {"reverse": Reverse(case.graph, ["x"])}
    >>> [(found.name, found.checked) for found in large_variables(case, ["x"], methods, [own_points(case, 0)], seed=0)]
    [('x', 8), ('x along 3 seeded directions', 3)]
    """
    look = _Look(case, variables, methods, seed)
    for batch in batches:
        for p in range(len(batch)):
            look.at(batch, p)
    return look.results()


class _Look:
    """One case while it is looked at."""

    def __init__(self, case: Case, variables: Sequence[str], methods: Mapping[str, Differentiator], seed: int) -> None:
        self.case, self.methods = case, methods
        self.engine = Reverse(case.graph, variables)
        self.central = Central(case.graph, variables, case.known)
        self.columns: dict[str, tuple[_Column, _Column]] = {}
        self.chosen: dict[str, tuple[Array, Array]] = {}
        for number, name in enumerate(variables):
            shape = case.graph.shape(name)
            rng = stream(seed, "large", number)
            count = math.prod(shape)
            sample = np.sort(rng.choice(count, min(SAMPLED, count), replace=False))
            self.chosen[name] = sample, rng.choice([-1.0, 1.0], (DIRECTIONS, *shape))
            along = f"{name} along {DIRECTIONS} seeded directions"
            self.columns[name] = _Column(name, shape), _Column(along, (DIRECTIONS,))

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
            point = int(batch.ids[p])
            own = point < len(self.case.own_points)
            for entry in sample.tolist():
                refined = self.central.refine(
                    name, unravel(entry, entries.shape), inputs, output, noise=noise, enough=ENOUGH_STEPS
                )
                said = {method: float(answer[entry]) for method, answer in answers.items()}
                said["central"] = float(refined.gradient[0])
                error, room = float(refined.error[0]), float(allowed[name][entry])
                evidence = Evidence(said, own, allowed=room, step_error=error, is_large=True)
                entries.rows.append((point, entry, evidence))
            for number, direction in enumerate(directions):
                slope, errors = self.central.along(name, direction, inputs, output, noise)
                said = {method: float(answer @ direction.ravel()) for method, answer in answers.items()}
                said["central"] = float(slope[0])
                error, room = float(errors[0]), float(allowed[name].sum())  # every entry moves by 1 or -1
                evidence = Evidence(said, own, allowed=room, step_error=error, is_large=True)
                along.rows.append((point, number, evidence))

    def _allowed(self, inputs: Mapping[str, Array], upstream: Mapping[str, Array]) -> dict[str, Array]:
        """What float methods may be off by, entry by entry: as at points that are looked at closely, but for C."""
        gradients = self.engine.in_balls(self.engine.program.in_balls(inputs), upstream)
        allowance = Allowance.of(self.case.graph, inputs)
        return {name: allowance.of_ball(ball)[0].ravel() for name, ball in gradients.items()}

    def results(self) -> Iterator[VariableResult]:
        """The records of all variables."""
        for name, pair in self.columns.items():
            for column in pair:
                yield self._record(name, column)

    def _record(self, name: str, column: _Column) -> VariableResult:
        case, rows = self.case, judged_rows(column.rows, (*self.methods, "central"))
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
            counts=Counter(VERDICTS[code] for code in rows.verdict.tolist()),
            failed=int(np.count_nonzero(~rows.passes)),
            differences=tuple(_largest(rows, pair, column.shape) for pair in pairs_of(rows.values)),
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

"""A failure made simple: the smallest size and the shortest numbers at which a gradient is still grossly wrong.

What is kept is a *gross* version of the same failure: the same variable, off by many times what is allowed, so that a
point does not slide into rounding on its way to simpler numbers. Every point is judged as any other is. Numbers are
simplified one by one along a ladder of short decimals, and then together by Hypothesis. What was found is kept for
the next run (:mod:`verify.oracle.kept_points`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from random import Random
from typing import Any

import numpy as np
from numpy.typing import NDArray

from verify.case.case import Case
from verify.errors import CaseError
from verify.graph.derivative import Differentiator, Unsupported
from verify.judging.context import MOST_SUSPICIOUS_WORK, Context
from verify.judging.screen import Judge
from verify.methods import prepare
from verify.oracle.kept_points import keep_point
from verify.places.points import Batch
from verify.places.search import upstream_of
from verify.records import SUBJECT, CaseResult, Row, SimplestPoint, format_entry, unravel
from verify.subjects.interface import Interface
from verify.subjects.subject import Subject
from verify.words import VERDICTS, Verdict

Array = NDArray[Any]
Values = dict[str, Array]
"""A point: input, or ``upstream of`` an output, -> value."""

GROSS = 1000.0
"""Times what is allowed: how far off a simpler point must be, if the failure itself is worse than that squared."""

MOST_WORK = 200_000
"""Numbers in the graph, times rows that are judged for one failure; what is simplest by then is told."""

MOST_ROUNDS = 150
"""Times that a handful of points is judged, for one failure."""

MOST_TRIED_TOGETHER = 60
"""Points that Hypothesis may ask about."""

HANDFUL = 8
"""Points that are judged at once."""

MOST_NUMBERS = 64
"""Numbers of a point that are simplified one by one; arrays of a larger point are, each as a whole."""

INSTALL = "pip install 'verify-gradients[strategies]'"

_SHORT = (
    *(float(n) for n in range(11)),
    *(-float(n) for n in range(1, 11)),
    *(sign * (n + 0.5) for n in range(5) for sign in (1, -1)),
    *(sign * n / 10 for n in (1, 2, 3, 4, 6, 7, 8, 9) for sign in (1, -1)),
    *(sign * n for n in (20.0, 50.0, 100.0, 1000.0, 1e4, 1e6, 0.01, 1e-3, 1e-6) for sign in (1, -1)),
)
"""Short decimals, the simplest first."""


@dataclass(slots=True)
class _Failure:
    """A failure in one case, at any of its sizes, and a point that shows it."""

    case: Case
    interface: Interface
    gradient: Any
    variable: str
    values: Values
    gross: float = 1.0
    rounds: int = 0
    work: int = 0
    subject: Subject = field(init=False)
    judge: Judge = field(init=False)

    def __post_init__(self) -> None:
        self.subject = Subject(self.interface, self.gradient)
        methods: dict[str, Differentiator] = {SUBJECT: self.subject}
        engine = prepare("reverse", self.case.graph, (self.variable,))
        if not isinstance(engine, Unsupported):
            methods["reverse"] = engine
        self.judge = Judge(Context(self.case, methods, (self.variable,)))

    @property
    def is_over(self) -> bool:
        """Whether the work that may be put into it is done."""
        return self.rounds >= MOST_ROUNDS or self.work >= MOST_WORK

    def shows(self, points: Sequence[Values]) -> int | None:
        """The place of the first point that shows the failure grossly, None where none does."""
        for start in range(0, len(points), HANDFUL):
            if self.is_over:
                return None
            part = points[start : start + HANDFUL]
            for i, off in enumerate(self.how_far_off(part)):
                if off > self.gross:
                    return start + i
        return None

    def how_far_off(self, points: Sequence[Values]) -> list[float]:
        """The largest error of each point, in units of what is allowed: inf where nothing tells, 0 where it passes."""
        self.rounds += 1
        batch = self.batch(points)
        beside = set(range(len(points))) - set(self.subject.judged_at(batch).ids.tolist())
        self.judge.context.budget.suspicious = MOST_SUSPICIOUS_WORK
        block = self.judge.judge(batch)[0]
        self.work += block.verdict.size * self.judge.context.numbers
        failed = block.verdict == VERDICTS.index(Verdict.FAIL)
        with np.errstate(all="ignore"):
            off = block.errors[SUBJECT] / block.allowed
        off = np.where(failed, np.where(np.isnan(off), np.inf, off), 0.0)
        return [0.0 if i in beside else float(x) for i, x in enumerate(off.max(axis=1, initial=0.0))]

    def batch(self, points: Sequence[Values]) -> Batch:
        """Points as the judge wants them."""
        stacked = {name: np.stack([point[name] for point in points]) for name in points[0]}
        inputs = {item.name: stacked[item.name] for item in self.case.inputs}
        dtype = np.result_type(*(x.dtype for x in inputs.values()))
        upstream = {}
        for name in self.case.graph.outputs:
            known = stacked.get(upstream_of(name))
            if name in self.case.upstream:
                known = inputs[self.case.upstream[name]]
            upstream[name] = np.ones(len(points), dtype) if known is None else known.astype(dtype)
        return Batch(inputs, upstream, np.arange(len(points)), ["simplified"] * len(points))

    def movable(self) -> list[str]:
        """What may be simplified: real inputs, and upstream gradients that nobody fixed."""
        names = [item.name for item in self.case.real_inputs]
        names += self.case.upstream.values()
        names += [upstream_of(name) for name in self.case.graph.outputs if name not in self.case.given_upstream]
        return [name for name in dict.fromkeys(names) if name in self.values]

    def allows(self, name: str, value: float) -> bool:
        """Whether a number lies in the domain of what it is for."""
        item = next((item for item in self.case.inputs if item.name == name), None)
        return item is None or bool(item.domain.contains(np.asarray(value, dtype=item.dtype)))


def shrunk(
    gradient: Any, case: Case, result: CaseResult, interface: Interface | None = None, *, forget: bool = False
) -> CaseResult:
    r"""A result with the simplest point at which the gradient is still grossly wrong, which is kept for the next run.

    Without Hypothesis, numbers are not simplified, and a note says so. A result that passes is returned as it is.

    >>> from verify.oracle.check import check_gradient
    >>> from verify.case.case import load_case_text
    >>> case = load_case_text("case: square\ninputs: {x: {at: 3.7, domain: [-5, 5]}}\nstages: {f: x**2}\n")
    >>> run = check_gradient(lambda x: 3 * x if x > 2 else 2 * x, case)
    >>> run.cases[0].simplest.sentence
    'x = 3; there the gradient by x is 9.0, the truth is 6.0'
    """
    row = _worst(result)
    if row is None:
        return result
    try:
        import hypothesis  # noqa: F401 - only whether it is there
    except ImportError:
        note = f"the failure is not reduced to its simplest point: that needs Hypothesis ({INSTALL})"
        return replace(result, notes=(*result.notes, note))
    point = next((point for point in result.points if point.id == row.point), None)
    if point is None:
        return result
    declared = {upstream_of(name) for name in case.upstream}
    values = {name: np.asarray(value) for name, value in point.values.items() if name not in declared}
    failure = _Failure(case, interface or Interface.of(case), gradient, row.variable, values)
    off = failure.how_far_off([values])[0]
    if not off:
        return result
    gross = min(GROSS, math.sqrt(max(off, 1.0)))
    failure.gross = gross
    failure = _smaller(failure)
    _simplify(failure)
    _simplify_together(failure)
    _simplify(failure)
    if not forget:
        keep_point(gradient, failure.case, failure.values)
    return replace(result, simplest=_simplest(failure))


def _worst(result: CaseResult) -> Row | None:
    """The failing row that is farthest off, in units of what is allowed, among those of one variable."""
    for variable in result.variables:
        answers = variable.rows.values.get(SUBJECT)
        if answers is not None and not np.isfinite(answers).any():
            continue  # there is no answer anywhere, which no simpler point shows better
        failing = [row for row in variable.failing() if row.verdict is Verdict.FAIL and row.quantity == "gradient"]
        if failing:
            return max(failing, key=_off)
    return None


def _off(row: Row) -> float:
    off = row.errors.get(SUBJECT, math.nan) / row.allowed if row.allowed else math.nan
    return 0.0 if math.isnan(off) else off


# ---------------------------------------------------------------------------------------------------- smaller arrays


def _smaller(failure: _Failure) -> _Failure:
    """The same failure with each dim as small as it can be."""
    best = failure
    for name in failure.case.dims:
        for size in range(1, best.case.dims[name]):
            if best.is_over:
                return best
            other = _at_sizes(best, {name: size})
            if other is not None and other.shows([other.values]) is not None:
                best = other
                break
    return best


def _at_sizes(failure: _Failure, sizes: Mapping[str, int]) -> _Failure | None:
    """A failure's point cut to other sizes; None where the function has no such size."""
    try:
        case = failure.case.with_dims(sizes)
    except CaseError:
        return None
    changed = {item.name: item for item in failure.case.inputs}
    inputs = tuple(
        replace(item, kind=changed[item.name].kind, domain=changed[item.name].domain, dtype=changed[item.name].dtype)
        for item in case.inputs
    )
    case = replace(case, inputs=inputs, draws_scalar_upstream=failure.case.draws_scalar_upstream)
    shapes = {item.name: item.shape for item in case.inputs}
    shapes |= {upstream_of(name): case.graph.shape(name) for name in case.graph.outputs}
    values = {name: _cut(value, shapes[name]) for name, value in failure.values.items()}
    if any(value is None for value in values.values()):
        return None
    known = {name: value for name, value in values.items() if value is not None}
    left = failure.gross, failure.rounds, failure.work
    return _Failure(case, Interface.of(case), failure.gradient, failure.variable, known, *left)


def _cut(value: Array, shape: tuple[int, ...]) -> Array | None:
    """The first entries of an array, None where it has too few."""
    if value.ndim != len(shape) or any(had < size for had, size in zip(value.shape, shape, strict=True)):
        return None
    return value[tuple(slice(size) for size in shape)]


# --------------------------------------------------------------------------------------------------- shorter numbers


def simpler(value: float) -> list[float]:
    """The numbers that are simpler than one, the simplest first: short decimals, then roundings of the number itself.

    >>> simpler(3.0), simpler(2.718281828)[-3:]
    ([0.0, 1.0, 2.0], [2.7, 2.72, 2.718])
    """
    if value in _SHORT:
        return list(_SHORT[: _SHORT.index(value)])
    rounded = [float(f"{value:.{digits}g}") for digits in (1, 2, 3, 4)] if math.isfinite(value) else []
    return [number for number in dict.fromkeys((*_SHORT, *rounded)) if number != value]


def _simplify(failure: _Failure) -> None:
    """Every number as simple as the others allow."""
    total = sum(failure.values[name].size for name in failure.movable())
    moves = True
    while moves and not failure.is_over:
        moves = False
        for name in failure.movable():
            if failure.values[name].size > 1:
                moves |= _simplify_place(failure, name, ...)
            if total <= MOST_NUMBERS:
                for index in np.ndindex(failure.values[name].shape):
                    moves |= _simplify_place(failure, name, index)


def _simplify_place(failure: _Failure, name: str, place: Any) -> bool:
    """Puts the simplest number that shows the failure into one entry, or into all of them."""
    here = failure.values[name]
    value = float(np.ravel(here[place])[0])
    steps = [step for step in simpler(value) if failure.allows(name, step)]
    if not np.all(here[place] == value):  # an array of one number is simpler than what it is
        steps.append(value)
    points = []
    for step in steps:
        array = np.array(here)
        array[place] = step
        points.append({**failure.values, name: array})
    found = failure.shows(points)
    if found is None:
        return False
    failure.values = points[found]
    return True


def _simplify_together(failure: _Failure) -> None:
    """Several numbers at once, where none can be simpler alone: equal ones, or those whose sum counts."""
    from hypothesis import HealthCheck, Phase, find, settings, strategies
    from hypothesis.errors import NoSuchExample

    places = [(name, index) for name in failure.movable() for index in np.ndindex(failure.values[name].shape)]
    if not 2 <= len(places) <= HANDFUL:
        return
    choices = []
    for name, index in places:
        value = float(failure.values[name][index])
        choices.append([*(step for step in simpler(value) if failure.allows(name, step)), value])

    def point(chosen: Sequence[int]) -> Values:
        values = {name: np.array(array) for name, array in failure.values.items()}
        for (name, index), steps, place in zip(places, choices, chosen, strict=True):
            values[name][index] = steps[place]
        return values

    def is_simpler(chosen: Sequence[int]) -> bool:
        if tried[0] >= MOST_TRIED_TOGETHER or sum(chosen) >= most:
            return False
        tried[0] += 1
        return failure.shows([point(chosen)]) is not None

    most, tried = sum(len(steps) - 1 for steps in choices), [0]
    strategy = strategies.tuples(*(strategies.integers(0, len(steps) - 1) for steps in choices))
    how = settings(
        database=None,
        max_examples=MOST_TRIED_TOGETHER,
        phases=(Phase.generate, Phase.shrink),
        suppress_health_check=list(HealthCheck),
        deadline=None,
    )
    try:
        failure.values = point(find(strategy, is_simpler, settings=how, random=Random(0)))  # noqa: S311 - no secret
    except NoSuchExample:
        return


# ------------------------------------------------------------------------------------------------- what is told, kept


def _simplest(failure: _Failure) -> SimplestPoint:
    block = failure.judge.judge(failure.batch([failure.values]))[0]
    with np.errstate(all="ignore"):
        off = np.where(np.isnan(block.errors[SUBJECT]), np.inf, block.errors[SUBJECT] / block.allowed)
    wrong = block.verdict == VERDICTS.index(Verdict.FAIL)
    place = int(np.argmax(np.where(wrong, off, -1.0)[0]))
    entry = unravel(place, failure.case.graph.shape(failure.variable))
    answer, truth = float(block.values[SUBJECT][0, place]), float(block.reference[0, place])
    sizes = dict(failure.case.dims)
    shown = [f"{name} = {size}" for name, size in sizes.items()]
    shown += [f"{name} = {number_text(value)}" for name, value in failure.values.items()]
    told = f"the truth is {truth!r}" if math.isfinite(truth) else "no subgradient has that"
    what = failure.variable + format_entry(entry)
    sentence = f"{', '.join(shown)}; there the gradient by {what} is {answer!r}, {told}"
    return SimplestPoint(failure.variable, entry, sizes, dict(failure.values), answer, truth, sentence)


def number_text(value: Any) -> str:
    """A number or array as short as it can be pasted.

    >>> number_text(np.array([1.0, -0.5])), number_text(np.float64(3.0)), number_text(1e-7)
    ('[1, -0.5]', '3', '1e-07')
    """
    array = np.asarray(value)
    if array.ndim:
        return f"[{', '.join(number_text(part) for part in array)}]"
    number = float(array)
    if math.isfinite(number) and number == round(number) and abs(number) < 1e6 and math.copysign(1, number) == 1:
        return str(int(number))
    return str(int(number)) if number < 0 and number == round(number) and number > -1e6 else repr(number)

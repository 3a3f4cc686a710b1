"""A gradient held against a Python function: traced to a case where that can be, else measured as a black box."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from verify.case.case import Case
from verify.errors import UsageError
from verify.judging.rows import CODE
from verify.oracle.black_box import judge_black_box
from verify.oracle.case_check import Question, judge_case, limited, with_simplest
from verify.oracle.function_sizes import Dims, points_at_other_sizes, why_without_value
from verify.oracle.held_scalars import hidden_by_scalars
from verify.oracle.outer_kinks import held_at_outer_kinks
from verify.oracle.overrides import adapted
from verify.oracle.shrink import number_text
from verify.places.points import Batch
from verify.records import SUBJECT, CaseResult
from verify.running.preparing import held_to_proof
from verify.running.runner import at_other_size
from verify.running.settings import SUBJECT_SIZES
from verify.subjects.contract import in_words
from verify.subjects.function_watch import FunctionWatch
from verify.subjects.interface import Interface
from verify.subjects.measured import Function
from verify.tracing.foreign_call import call_foreign
from verify.tracing.function_call import by_name, name_of, own_arguments
from verify.tracing.preserving import preserved
from verify.tracing.trace import Traced, baked_in, trace_at, traced_or_reason
from verify.tracing.traced_call import with_reals
from verify.words import Verdict

MOST_TRACES = 12
"""Times that a function is traced anew where it takes other branches than at the given point."""

NEARLY = 1e-3
"""Part of the truth by which an answer may be off for the function's own tolerance to be the cause."""

MOST_MISSED = 2
"""Points that were not looked at of which is said where they are."""

MOST_TOLD = 8
"""Choices of a trace that are told one by one."""

NO_DOMAIN = "looked at the given points alone; domain={'x': (low, high)} says where else to look"
"""What a reader should know of a function whose arguments have no domain."""

At = Mapping[str, Any]
"""One point: argument -> value."""


def judge_function(asked: Question, function: Function, at: Sequence[At], dims: Dims | None) -> list[CaseResult]:
    """Judges a gradient at some points of a function, and at other sizes where ``dims`` names its axes.

    One result where all points have the same shapes and constants, else one for each point; then one for each size.
    Raises UsageError where there is no point.

    >>> from verify.subjects.line_coverage import LineCoverage
    >>> from verify.running.settings import Settings
    >>> asked = Question(lambda x: 2 * x, Settings(points=0), LineCoverage(abs))
    >>> [result.status for result in judge_function(asked, lambda x: x**2, [{"x": 3.0}], None)]
    ['PASS']
    """
    if not at or not at[0]:
        raise UsageError("a function needs the point to look at, such as at={'x': 3.0}")
    with preserved(function, *at):
        return _judged(asked, function, [with_reals(point, asked.constants) for point in at], dims)


def _judged(asked: Question, function: Function, at: Sequence[At], dims: Dims | None) -> list[CaseResult]:
    points = [_as_dtype(point, asked.dtype) for point in at]
    groups = [points] if len({baked_in(point, asked.constants) for point in points}) == 1 else [[p] for p in points]
    results = []
    for number, group in enumerate(groups):
        found = _judge_group(asked, function, group)
        results += [replace(r, name=f"{r.name}, at[{number}]") if len(groups) > 1 else r for r in found]
    if dims and not any(result.problems for result in results):
        passes = all(result.passes for result in results)
        settings = replace(asked.settings, shrink=asked.settings.shrink and passes)
        others, missing = _judge_other_sizes(asked.at(settings), function, at[0], dims)
        told = others or results[:1]  # where there is no other size, its own result says why
        told = [replace(result, notes=(*result.notes, *missing)) for result in told]
        results = results + told if others else told + results[1:]
    if not asked.domain and not asked.settings.points:
        results[0] = replace(results[0], notes=(*results[0].notes, NO_DOMAIN))
    return results


def _judge_group(asked: Question, function: Function, points: Sequence[At], *, own: bool = True) -> list[CaseResult]:
    """Points of the same shapes and constants: those that one trace holds for together, then the others.

    ``own`` says that the caller chose them.
    """
    traced = _traced_or_reason(asked, function, points[0])
    if not isinstance(traced, Traced):
        here = [p for p in points if p is points[0] or not isinstance(_traced_or_reason(asked, function, p), Traced)]
        others = [point for point in points if not any(point is other for other in here)]
        results = [_judge_black_box(asked, function, here, traced, own=own)]
    else:
        others = [point for point in points[1:] if not traced.agrees(point)]
        here = [point for point in points if not any(point is other for other in others)]
        if len(here) > 1:
            traced = trace_at(function, here, asked.domain, asked.constants)
        results = _judge_traced(asked, function, here, traced)
        inexact = _measured_where_inexact(asked, function, here, traced, results, own=own)
        results = [inexact] if inexact is not None else results
    return results + (_judge_group(asked, function, others, own=own) if others else [])


def _measured_where_inexact(
    asked: Question,
    function: Function,
    points: Sequence[At],
    traced: Traced,
    results: Sequence[CaseResult],
    *,
    own: bool,
) -> CaseResult | None:
    """What differences say where a function ends a loop by a tolerance, or changes its formula; None where not it.

    The trace is exact, and so is its gradient; the function is meant to be something that it comes near to only. That
    counts where every failing row is nearly right, and where the values themselves jump by as much.
    """
    rows = [row for result in results for variable in result.variables for row in variable.failing()]
    nearly = all(abs(row.values.get(SUBJECT, math.nan) - row.reference) <= NEARLY * abs(row.reference) for row in rows)
    if not (rows and nearly and traced.choices) or any(f.fails for result in results for f in result.findings):
        return None
    why = f"as it is written its gradient is another by up to {NEARLY:g} of it, but it is exact to a tolerance only"
    found = _judge_black_box(asked, function, points, why, own=own)
    jumps = any(
        np.any((variable.rows.verdict == CODE[Verdict.PASS]) & (variable.rows.reason > 0))
        for variable in found.variables
    )
    return found if found.passes and jumps else None


def _traced_or_reason(asked: Question, function: Function, point: At) -> Traced | str:
    traced = traced_or_reason(function, point, asked.domain, asked.constants)
    # Whoever says that the values are not exact means another function than the one that was written.
    return traced if asked.accuracy is None else f"its values are right to {asked.accuracy:g} of their size"


class _SameFunction:
    """Whether a traced case is the function itself at a point; keeps the points where it is not."""

    def __init__(self, traced: Traced) -> None:
        self._traced = traced
        self.elsewhere: list[tuple[At, At]] = []
        """Inputs and upstream gradients."""

    def __call__(self, inputs: At, upstream: At) -> bool:
        agrees = self._traced.agrees({item.name: inputs[item.name] for item in self._traced.case.real_inputs})
        if not agrees:
            self.elsewhere.append((inputs, upstream))
        return agrees


def _judge_traced(asked: Question, function: Function, points: Sequence[At], traced: Traced) -> list[CaseResult]:
    """The case that the function was traced to, and the points that were looked at and are not its own."""
    case, interface, same = _made_ready(asked, points[0], traced)
    watch = FunctionWatch(by_name(function, list(points[0])), points[0])
    (result,) = watch.told([judge_case(asked, case, interface)], asked.gradient)
    if result.problems:
        return [result]  # it breaks a limit, and would again
    result = held_at_outer_kinks(asked, case, result, interface)
    elsewhere = list(same.elsewhere)
    (result,) = with_simplest(asked, [case], [_with_notes(result, traced)], interface)
    others, told, missed = _judge_elsewhere(asked, function, points[0], elsewhere, traced)
    results = [replace(result, notes=(*result.notes, *told)), *others]
    weak = tuple(hidden_by_scalars(function, points[0], traced, asked.constants)) if result.passes else ()
    return [replace(r, notes=(*r.notes, *missed, *weak), weaknesses=(*r.weaknesses, *weak)) for r in results]


def _made_ready(asked: Question, point: At, traced: Traced) -> tuple[Case, Interface, _SameFunction]:
    real = {item.name for item in traced.case.real_inputs}
    held = {name: value for name, value in point.items() if name not in real}
    case = adapted(traced.case, (), None, asked.upstream)
    same = _SameFunction(traced)
    return case, replace(Interface.of(case), inputs=tuple(point), held=held, agrees=same), same


def _with_notes(result: CaseResult, traced: Traced) -> CaseResult:
    told = [f"taken as where it was traced, and traced anew where it changes: {it}" for it in traced.taken_for_granted]
    more = [f"{len(told) - MOST_TOLD} more of the kind"] if len(told) > MOST_TOLD else []
    return replace(result, notes=(*result.notes, *told[:MOST_TOLD], *more))


def _judge_elsewhere(
    asked: Question, function: Function, point: At, elsewhere: Sequence[tuple[At, At]], traced: Traced
) -> tuple[list[CaseResult], tuple[str, ...], tuple[str, ...]]:
    """Points at which the function is another one than was traced: it is traced anew there.

    And what is to be told of them, and of those that were not looked at.
    """
    results: list[CaseResult] = []
    told: list[str] = []
    reasons = [traced.why_without_value(inputs) for inputs, _ in elsewhere]
    waiting = [pair for pair, reason in zip(elsewhere, reasons, strict=True) if not reason]
    without = [reason for reason in reasons if reason]
    if without:
        told.append(f"the function has no value at {len(without)} points, which were left out ({without[0]})")
    if waiting:
        told.append(f"the function takes other branches at {len(waiting)} points than where it was traced first")
    while waiting and len(results) < MOST_TRACES:
        inputs, upstream = waiting.pop(0)
        here = {name: inputs.get(name, value) for name, value in point.items()}
        again = traced_or_reason(function, here, asked.domain, asked.constants)
        if not isinstance(again, Traced):
            alone = replace(asked, domain=None, settings=replace(asked.settings, points=0))
            results.append(_named(_judge_black_box(alone, function, [here], again, own=False), "measured"))
            continue
        case, interface, same = _made_ready(asked, here, again)
        alike = [(inputs, upstream), *(pair for pair in waiting if same(*pair))]
        waiting = same.elsewhere
        case = replace(case, own_points=())
        found_here = judge_case(asked, case, interface, only=_batch(case, alike))
        results.append(_named(_with_notes(found_here, again), "traced anew"))
    return (
        results,
        tuple(told),
        _missed([inputs for inputs, _ in waiting], [item.name for item in traced.case.real_inputs]),
    )


def _missed(points: Sequence[At], names: Collection[str]) -> tuple[str, ...]:
    """That points were not looked at, and which; empty where there are none."""
    if not points:
        return ()
    places = [", ".join(f"{name} = {number_text(point[name])}" for name in names) for point in points[:MOST_MISSED]]
    more = f" and {len(points) - MOST_MISSED} more" if len(points) > MOST_MISSED else ""
    sentence = f"{len(points)} points were not looked at, beyond {MOST_TRACES} other ways through the function"
    return (f"{sentence}: {'; '.join(places)}{more}",)


def _named(result: CaseResult, how: str) -> CaseResult:
    return replace(result, name=f"{result.name}, {how} at other points")


def _batch(case: Case, pairs: Sequence[tuple[At, At]]) -> Batch:
    """Points with their upstream gradients, which go by the names that this case has for its outputs."""
    inputs = {
        item.name: np.stack(
            [np.asarray(given[item.name] if item.kind == "real" else item.at, dtype=item.dtype) for given, _ in pairs]
        )
        for item in case.inputs
    }
    upstream = {
        name: np.stack([list(given.values())[place] for _, given in pairs])
        for place, name in enumerate(case.graph.outputs)
    }
    return Batch(inputs, upstream, np.arange(len(pairs)), ["random"] * len(pairs))


def _judge_black_box(asked: Question, function: Function, points: Sequence[At], why: str, *, own: bool) -> CaseResult:
    """The given points, and where there is a domain further ones."""
    function = by_name(function, list(points[0]))
    watch = FunctionWatch(function, points[0])
    judge = partial(judge_black_box, asked, function, points, why, own=own, repeats=watch.repeats)
    found = limited(asked, name_of(function), "", judge)
    return held_to_proof(asked.settings, watch.told([found], asked.gradient)[0])


def _judge_other_sizes(
    asked: Question, function: Function, at: At, dims: Dims
) -> tuple[list[CaseResult], tuple[str, ...]]:
    """A result for each other size that the function has a value at; and what is to be told of those without."""
    settings = at_other_size(asked.settings)
    most = SUBJECT_SIZES if settings.sizes is None else settings.sizes
    results: list[CaseResult] = []
    missing: list[str] = []
    plain = by_name(function, list(at))
    ran = call_foreign(lambda: plain(**own_arguments(at)))
    if ran.error is not None:
        raise UsageError(f"the function raises {in_words(ran.error)} at the given point") from ran.error
    for label, drawn, why_none in points_at_other_sizes(at, dims, asked.domain, settings.seed):
        if len(results) == most:
            break
        reason = why_none
        for candidate in drawn:
            point = _as_dtype(candidate, asked.dtype)
            reason = why_without_value(plain, point, ran.value)
            if not reason:
                break
        if reason:
            missing.append(f"the function has no value at {label}, which was left out ({reason})")
            continue
        found = _judge_group(replace(asked, settings=settings, upstream=None), function, [point], own=False)
        results += [replace(result, name=f"{result.name} [{label}]") for result in found]
    return results, tuple(missing)


def _as_dtype(point: At, dtype: str | None) -> dict[str, Any]:
    """A point with its floats in a dtype."""
    if dtype is None:
        return dict(point)
    arrays = {name: np.asarray(value) for name, value in point.items()}
    return {name: array.astype(dtype) if array.dtype.kind == "f" else point[name] for name, array in arrays.items()}

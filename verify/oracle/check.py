"""The oracle: is this gradient right? Judges a gradient that somebody brings against a function that is written once.

The gradient under test is a black box, called point by point. Every row of it is held against the certified reference;
the three methods stand beside it in the report and accuse nobody.
"""

from __future__ import annotations

import datetime as dt
import time
import warnings
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from verify.errors import UsageError, WeakCheckWarning
from verify.methods.central import too_long
from verify.oracle.black_box import Function, judge_black_box
from verify.oracle.function_sizes import points_at_other_sizes, why_without_value
from verify.oracle.given import adapted, points_of
from verify.oracle.gradient_run import GradientRun
from verify.oracle.line_coverage import LineCoverage
from verify.oracle.shrink import shrunk
from verify.oracle.subject import Gradient, Interface, Subject
from verify.points import own_points
from verify.reading.case import Case, Domain, load_case
from verify.reading.case_files import find_case
from verify.records import METHODS, SUBJECT, CaseResult, Finding, Verdict
from verify.runner import at_other_size, run_loaded, versions
from verify.settings import DEFAULT, SUBJECT_SIZES, Settings, check_settings
from verify.sizes import other_sizes
from verify.tracing.trace import baked_in, traced_or_reason
from verify.variants.diagnose import diagnosed

NO_DOMAIN = "looked at the given points alone; domain={'x': (low, high)} says where else to look"
"""What a reader should know of a function whose arguments have no domain."""

BLACK_BOX_POINTS = 8
"""Random points at most at which a black box is measured: each slope takes some hundred calls."""

MOST_PROBED = 2
"""Own points at which a gradient is called again, to see whether it repeats itself and is linear in upstream."""


def check_gradient(
    gradient: Gradient,
    case: Case | str | Path | Function,
    settings: Settings = DEFAULT,
    *,
    at: Mapping[str, Any] | Iterable[Mapping[str, Any]] | None = None,
    domain: Mapping[str, Any] | None = None,
    dims: Mapping[str, Sequence[str | int]] | None = None,
    upstream: Any = None,
    constants: Mapping[str, Any] | Collection[str] = (),
    dtype: str | None = None,
    points: int | None = None,
    seed: int | None = None,
    shrink: bool | None = None,
) -> GradientRun:
    r"""Judges a gradient of a case at the case's own points, on its kinks, and at random points of its domain.

    Parameters
    ----------
    gradient
        Takes the inputs by name or by position, as arrays of their shapes, and ``upstream`` if its signature has it;
        several upstream gradients are tried then. Returns one array, a tuple in the order of the inputs, or a mapping
        by name (``x``, ``dx`` or ``grad_x``), which may have stages too (``dden``).
    case
        A case, the path of a case file, or the name of a case that is shipped. A Python function of NumPy arrays is
        traced to a case (:func:`verify.trace`) at the points of ``at``; one that cannot be traced is a black box: its
        gradient is judged by what central differences over many steps can tell, and the notes of the run say why.
    settings
        What else is asked of the run; ``points`` and ``seed`` go before it.
    at
        One point, or a list of them: input -> value. In place of the case's own points.
    domain
        Input -> ``(low, high)``: where points may be drawn, in place of what the case says. A function without one is
        looked at ``at`` alone, unless ``points`` are asked for.
    dims
        Argument of a function -> the names of its axes, ``{"W": ("m", "k"), "x": ("k",)}``: the function is traced anew
        at other sizes of them too, with values drawn from the domain. A case has dims of its own.
    upstream
        An array, or output -> array: the upstream gradient at every point. Drawn from the seed if left out.
    constants
        Inputs that are not differentiated: names, or a mapping that gives their values too.
    dtype
        ``float64`` or ``float32``: what real inputs are given in.
    points, seed
        How many random points (64), and the seed of everything that is drawn (0).
    shrink
        Whether a failure is reduced to the simplest point that shows it (yes).

    Raises CaseError for a case that cannot be read, and UsageError for arguments or answers that do not fit it.

    >>> from verify.reading.case import load_case_text
    >>> case = load_case_text("case: square\ninputs: {x: {at: 3}}\nstages: {f: x**2}\n")
    >>> check_gradient(lambda x: 2 * x, case).ok, check_gradient(lambda x: 2.000001 * x, case).verdict
    (True, 'FAIL')
    >>> check_gradient(lambda x: 2 * x, lambda x: x**2, at={"x": 3.0}).ok
    True
    """
    started = time.perf_counter()
    asked = replace(
        settings,
        points=settings.points if points is None else points,
        seed=settings.seed if seed is None else seed,
        shrink=settings.shrink if shrink is None else shrink,
        variables="all",
    )
    _check_given(asked, domain, dims, constants)
    given = points_of(at)
    lines = LineCoverage(gradient)
    if isinstance(constants, Mapping):
        given = tuple({**point, **constants} for point in given or ({},))
    held = tuple(constants)
    if isinstance(case, str | Path):
        case = load_case(find_case(case) if isinstance(case, str) else case)
    if isinstance(case, Case):
        if dims:
            raise UsageError("a case has dims of its own; give dims with a function only")
        cases = [adapted(case, given, domain, upstream, held, dtype)]
        if asked.points and upstream is None and not isinstance(constants, Mapping):
            most = SUBJECT_SIZES if asked.sizes is None else asked.sizes
            cases += [adapted(other, (), domain, None, held, dtype) for other in other_sizes(case, asked.seed, most)]
        smaller = at_other_size(asked)
        results = [_judge_case(gradient, known, smaller if i else asked, lines=lines) for i, known in enumerate(cases)]
        if asked.shrink:
            results = _shrunk(gradient, cases, results)
        methods = (SUBJECT, *(asked.methods or METHODS))
    else:
        asked = replace(asked, points=asked.points if domain or points else 0)
        results = _judge_function(gradient, case, given, domain, upstream, held, dtype, asked, lines)
        if dims:
            first = replace(asked, shrink=asked.shrink and all(result.passes for result in results))
            results += _judge_other_sizes(gradient, case, given, domain, dims, held, dtype, first, lines)
        methods = results[0].methods
    if asked.points:
        results[0] = replace(results[0], notes=(*results[0].notes, *lines.told()))
    _warn_of_weak(results)
    if not isinstance(case, Case) and not domain and not asked.points:
        results[0] = replace(results[0], notes=(*results[0].notes, NO_DOMAIN))
    return GradientRun(
        cases=tuple(results),
        seed=asked.seed,
        points=asked.points,
        methods=methods,
        versions=versions(),
        started=dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
        seconds=time.perf_counter() - started,
    )


def _check_given(settings: Settings, domain: Any, dims: Any, constants: Any) -> None:
    """Raises UsageError for arguments of the wrong kind."""
    if type(settings.points) is not int or type(settings.seed) is not int:
        raise UsageError(f"points and seed are whole numbers, got {settings.points!r} and {settings.seed!r}")
    check_settings(settings, 1)
    for name, given in (("domain", domain), ("dims", dims)):
        if given is not None and not isinstance(given, Mapping):
            raise UsageError(f"{name} maps arguments by name, such as {name}={{'x': ...}}, got {given!r:.60}")
    if isinstance(constants, str) or not isinstance(constants, Collection):
        raise UsageError(f"constants are names in a list, or values by name, got {constants!r:.60}")


def _warn_of_weak(results: Sequence[CaseResult]) -> None:
    """Warns where a gradient passes, and the check at its first size could not have told; the notes say it too."""
    told = results[0].weaknesses if all(result.passes for result in results) else ()
    if told:
        sentence = f"{results[0].name}: the gradient passes, but this check is weak: {'; '.join(told)}"
        warnings.warn(WeakCheckWarning(sentence), stacklevel=3)


def _judge_case(
    gradient: Gradient,
    case: Case,
    settings: Settings,
    interface: Interface | None = None,
    lines: LineCoverage | None = None,
) -> CaseResult:
    subject = Subject(interface or Interface.of(case), gradient)
    subject.lines = lines
    looked_at = replace(case, draws_scalar_upstream=subject.takes_upstream)
    result = diagnosed(looked_at, run_loaded(looked_at, settings, subject=subject))
    own = own_points(looked_at, settings.seed)
    for number in range(min(len(own), MOST_PROBED)):
        subject.probe(*({k: x[number] for k, x in xs.items()} for xs in (own.inputs, own.upstream)))
    result = replace(result, findings=_excused(tuple(subject.contract.findings), result))
    return replace(result, findings=(*result.findings, *_not_finite(result)))


def _excused(findings: tuple[Finding, ...], result: CaseResult) -> tuple[Finding, ...]:
    """The findings, an exception only told where every row without an answer is one that nobody could decide.

    A gradient may well raise where the function has no value: it is this program that chose the point.
    """
    lost = [
        row
        for variable in result.variables
        if SUBJECT in variable.rows.values
        for row in map(variable.row, np.flatnonzero(~np.isfinite(variable.rows.values[SUBJECT])).tolist())
    ]
    if not lost or any(row.verdict is not Verdict.UNDECIDED or not row.passes for row in lost):
        return findings
    return tuple(
        replace(f, fails=False, sentence=f"{f.sentence}, where the truth is undecided too")
        if f.kind == "exception"
        else f
        for f in findings
    )


def _shrunk(
    gradient: Gradient, cases: Sequence[Case], results: list[CaseResult], interface: Interface | None = None
) -> list[CaseResult]:
    """The results, the first that does not pass with the simplest point that shows it."""
    first = next((i for i, result in enumerate(results) if not result.passes), None)
    if first is None or too_long(cases[first].graph, cases[first].variables):
        return results  # nothing is wrong, or the case is too large to be run many times
    simple = shrunk(gradient, cases[first], results[first], interface)
    return [*results[:first], simple, *results[first + 1 :]]


def _judge_function(
    gradient: Gradient,
    function: Function,
    at: Sequence[Mapping[str, Any]],
    domain: Mapping[str, Any] | None,
    upstream: Any,
    constants: Collection[str],
    dtype: str | None,
    settings: Settings,
    lines: LineCoverage,
) -> list[CaseResult]:
    """One result where all points have the same shapes and constants, else one for each point."""
    if not at or not at[0]:
        raise UsageError("a function needs the point to look at, such as at={'x': 3.0}")
    points = [{name: _as_dtype(value, dtype) for name, value in point.items()} for point in at]
    groups = [points] if len({baked_in(point, constants) for point in points}) == 1 else [[p] for p in points]
    results = []
    for number, group in enumerate(groups):
        found = _judge_group(gradient, function, group, domain, upstream, constants, settings, lines)
        results += [replace(r, name=f"{r.name}, at[{number}]") if len(groups) > 1 else r for r in found]
    return results


def _judge_other_sizes(
    gradient: Gradient,
    function: Function,
    at: Sequence[Mapping[str, Any]],
    domain: Mapping[str, Any] | None,
    dims: Mapping[str, Sequence[str | int]],
    constants: Collection[str],
    dtype: str | None,
    settings: Settings,
    lines: LineCoverage,
) -> list[CaseResult]:
    """A result for each other size that the function has a value at; a note says where it has none."""
    most = SUBJECT_SIZES if settings.sizes is None else settings.sizes
    results: list[CaseResult] = []
    missing: list[str] = []
    for label, point in points_at_other_sizes(at[0], dims, domain, settings.seed):
        if len(results) == most:
            break
        values = {name: _as_dtype(value, dtype) for name, value in point.items()}
        reason = why_without_value(function, values)
        if reason:
            missing.append(f"the function has no value at {label}, which was left out ({reason})")
            continue
        found = _judge_group(gradient, function, [values], domain, None, constants, at_other_size(settings), lines)
        results += [replace(result, name=f"{result.name} [{label}]") for result in found]
    return [replace(result, notes=(*result.notes, *missing)) for result in results]


def _judge_group(
    gradient: Gradient,
    function: Function,
    points: Sequence[Mapping[str, Any]],
    domain: Mapping[str, Any] | None,
    upstream: Any,
    constants: Collection[str],
    settings: Settings,
    lines: LineCoverage,
) -> list[CaseResult]:
    traced = traced_or_reason(function, points, domain, constants)
    if isinstance(traced, Case):
        real = {item.name for item in traced.real_inputs}
        held = {name: value for name, value in points[0].items() if name not in real}
        case = adapted(traced, (), None, upstream)
        interface = replace(Interface.of(case), inputs=tuple(points[0]), held=held)
        found = [_judge_case(gradient, case, settings, interface, lines)]
        return _shrunk(gradient, [case], found, interface) if settings.shrink else found
    results = []
    drawn = _drawn_points(points[0], domain or {}, min(settings.points, BLACK_BOX_POINTS), settings.seed)
    for number, point in enumerate([*points, *drawn]):
        result = judge_black_box(gradient, function, point, settings.seed, constants)
        place = f", at[{number}]" if len(points) > 1 else ""
        place = f", random point {number - len(points)}" if number >= len(points) else place
        name = f"{result.name}{place}"
        results.append(replace(result, name=name, notes=(*result.notes, f"the function is a black box: {traced}")))
    return results


def _drawn_points(like: Mapping[str, Any], domain: Mapping[str, Any], count: int, seed: int) -> list[dict[str, Any]]:
    """Random points of a black box: what has a domain is drawn from it, everything else stays as it is."""
    rng = np.random.default_rng(seed)
    intervals = {name: Domain.given(name, pair) for name, pair in domain.items() if name in like}
    drawn = []
    for _ in range(count if intervals else 0):
        new = {
            name: rng.uniform(known.low, known.high, np.shape(like[name])).astype(np.asarray(like[name]).dtype)[()]
            for name, known in intervals.items()
        }
        drawn.append({**like, **new})
    return drawn


def _as_dtype(value: Any, dtype: str | None) -> Any:
    array = np.asarray(value)
    return array.astype(dtype) if dtype is not None and array.dtype.kind == "f" else value


def _not_finite(result: CaseResult) -> list[Finding]:
    """A finding for each variable whose gradient is not finite somewhere though the truth is."""
    explained = {finding.variable for finding in result.findings if finding.kind in {"exception", "wrong shape"}}
    found = []
    for variable in result.variables:
        rows = variable.rows
        if SUBJECT not in rows.values or rows.reference is None or explained & {"", variable.name}:
            continue
        lost = ~np.isfinite(rows.values[SUBJECT]) & np.isfinite(rows.reference) & ~rows.passes
        if lost.any():
            row = variable.row(int(np.argmax(lost)))
            said = f"the gradient by {variable.name} is {row.values[SUBJECT]} at point {row.point}"
            found.append(
                Finding("not finite", variable.name, f"{said}, where the truth is {row.reference!r}", fails=True)
            )
    return found

"""The oracle: is this gradient right? Judges a gradient that somebody brings against a function that is written once.

The gradient under test is a black box, called point by point. Every row of it is held against the certified reference;
the three methods stand beside it in the report and accuse nobody.
"""

from __future__ import annotations

import datetime as dt
import time
import warnings
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from verify.case.case import DTYPES, Case, load_case
from verify.case.files import find_case
from verify.errors import LimitError, UsageError, WeakCheckWarning
from verify.limits import case_limits, step
from verify.oracle.case_check import Question, judge_case, with_simplest
from verify.oracle.forward import differing, held_against, unjudged
from verify.oracle.function_check import judge_function
from verify.oracle.outer_kinks import held_at_outer_kinks
from verify.oracle.overrides import adapted, points_of
from verify.oracle.result import GradientRun
from verify.places.sizes import other_sizes
from verify.programs.functions import asked_of
from verify.records import METHODS, SUBJECT, CaseResult, Finding
from verify.running.runner import at_other_size
from verify.running.settings import DEFAULT, SUBJECT_SIZES, Settings, as_settings, check_settings
from verify.running.units import versions
from verify.subjects.code_constants import place_of_gradient
from verify.subjects.line_coverage import LineCoverage
from verify.subjects.measured import Function
from verify.subjects.subject import Gradient
from verify.tracing.foreign_call import OF_A_CHECK, put_back
from verify.tracing.function_call import name_of
from verify.tracing.traced_call import told_of_whole
from verify.words import FindingKind

COMPARED = "comparing the function with the forward of its gradient"
"""A step."""

OTHERS = (
    "Other values, more points, or domain={'x': (low, high)} would tell more; points=0 asks for the given ones alone"
)
"""What to do about a check that is weak."""


def check_gradient(
    gradient: Gradient,
    case: Case | str | Path | Function | None = None,
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
    forget: bool | None = None,
    accuracy: float | None = None,
) -> GradientRun:
    r"""Judges a gradient of a case at the case's own points, on its kinks, and at random points of its domain.

    Parameters
    ----------
    gradient
        Takes the inputs by name or by position, as arrays of their shapes, and ``upstream`` (or ``dout``, ``dy``,
        ``grad_output``, or the case's own name of it) if its signature has it;
        several upstream gradients are tried then. Returns one array, a tuple in the order of the inputs, or a mapping
        by name (``x``, ``dx`` or ``grad_x``), which may have stages too (``dden``). A function of PyTorch or JAX
        without a ``case`` stands for the framework's own gradient of it, judged against its forward alone.
    case
        A case, the path of a case file, or the name of a case that is shipped. A Python function of NumPy arrays is
        traced to a case (:func:`verify.trace`) at the points of ``at``; one that cannot be traced is a black box: its
        gradient is judged by what central differences over many steps can tell, and the notes of the run say why. A
        function of PyTorch's tensors or of JAX's arrays is traced as well, and needs no twin in NumPy.
    settings
        What else is asked of the run; ``points`` and ``seed`` go before it.
    at
        One point, or a list of them: input -> value. In place of the case's own points. Of a function, whole numbers
        are differentiated as floats are where there are no floats; beside floats they are constants, which a note says.
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
    forget
        Whether that point is not kept, and points that earlier runs kept are not looked at again (no).
    accuracy
        To what part of their size the values of a function are right, such as ``1e-9`` of a series that is cut off, an
        iteration, a solver: its gradient is then measured, to as many digits as that leaves, whether it can be traced
        or not. A case is exact.

    Raises CaseError for a case that cannot be read, and UsageError for arguments or answers that do not fit it.

    >>> from verify.case.case import load_case_text
    >>> case = load_case_text("case: square\ninputs: {x: {at: 3}}\nstages: {f: x**2}\n")
    >>> check_gradient(lambda x: 2 * x, case).ok, check_gradient(lambda x: 2.000001 * x, case).verdict
    (True, 'FAIL')
    >>> check_gradient(lambda x: 2 * x, lambda x: x**2, at={"x": 3.0}).ok
    True
    """
    started = time.perf_counter()
    asked = replace(
        as_settings(settings),
        points=settings.points if points is None else points,
        seed=settings.seed if seed is None else seed,
        shrink=settings.shrink if shrink is None else shrink,
        forget=settings.forget if forget is None else forget,
        variables="all",
    )
    _check_given(asked, gradient, domain, dims, constants)
    dtype = _dtype(dtype)
    given = points_of(at)
    if isinstance(constants, Mapping):
        given = tuple({**point, **constants} for point in given or ({},))
    if isinstance(case, str | Path):
        case = load_case(find_case(case) if isinstance(case, str) else case)
    # Who asks for no other points than the given ones knows what those cannot show.
    knows = asked.points == 0
    told: tuple[str, ...] = ()
    if not isinstance(case, Case):
        gradient, case, given, told = _framework_free(asked, gradient, case, given, tuple(constants))
        told += told_of_whole(given[0], constants) if given else ()
        asked = asked if domain or points else replace(asked, points=0)
    lines = LineCoverage(gradient)
    if accuracy is not None and not 0 < accuracy < 1:
        raise UsageError(f"accuracy is a part of the values' size, such as 1e-9, got {accuracy!r}")
    if accuracy is not None and isinstance(case, Case):
        raise UsageError("a case is exact; give accuracy with a function only")
    question = Question(gradient, asked, lines, domain, upstream, tuple(constants), dtype, accuracy)
    changed: list[str] = []
    with put_back(changed, OF_A_CHECK):
        if isinstance(case, Case):
            if dims:
                raise UsageError("a case has dims of its own; give dims with a function only")
            has_sizes = asked.points and upstream is None and not isinstance(constants, Mapping)
            judge = partial(_judge_sizes, question, case, given, others=bool(has_sizes))
            results = _within_limits(asked, case.name, case.file, judge)
        else:
            name = name_of(case)
            results = _within_limits(asked, name, "", partial(_judge_function, question, case, given, dims))
    results[0] = _with_changes(replace(results[0], notes=(*told, *results[0].notes)), changed)
    if knows:
        results = [_without_weaknesses(result) for result in results]
    else:
        results[0] = replace(results[0], notes=(*results[0].notes, *lines.told()))
        _warn_of_weak(results)
    found = GradientRun(
        cases=tuple(results),
        seed=asked.seed,
        points=asked.points,
        methods=(SUBJECT, *(asked.methods or METHODS)) if isinstance(case, Case) else results[0].methods,
        versions=versions(),
        started=dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
        seconds=time.perf_counter() - started,
    )
    return placed(found, gradient)


def placed(run: GradientRun, gradient: Any) -> GradientRun:
    """A run that says where the gradient stands, as far as that is known.

    >>> placed(GradientRun(cases=(), seed=0, points=0), abs).cases
    ()
    """
    place = place_of_gradient(gradient)
    if not place[0]:
        return run
    cases = [
        replace(case, variables=tuple(replace(variable, subject_place=place) for variable in case.variables))
        for case in run.cases
    ]
    return replace(run, cases=tuple(cases))


def _framework_free(
    asked: Settings, gradient: Any, reference: Any, given: Sequence[Mapping[str, Any]], constants: tuple[str, ...]
) -> tuple[Function, Function, tuple[dict[str, Any], ...], tuple[str, ...]]:
    """See :func:`asked_of`. Raises UsageError where the function does not return."""
    try:
        with (
            case_limits(asked.case_seconds, asked.call_seconds, asked.case_memory),
            step("telling whose function it is"),
        ):
            return asked_of(gradient, reference, given, constants)
    except LimitError as error:
        raise UsageError(str(error)) from None


def _within_limits(asked: Settings, name: str, file: str, judge: Callable[[], list[CaseResult]]) -> list[CaseResult]:
    """Results, where what is done around the cases breaks no limit; else an error that names the step."""
    try:
        with (
            case_limits(asked.case_seconds, asked.call_seconds, asked.case_memory, is_around=True),
            step("looking at the function around its gradient"),
        ):
            return judge()
    except LimitError as error:
        return [CaseResult(name, file, seed=asked.seed, problems=(f"{file or name}: {error}",))]


def _judge_sizes(asked: Question, case: Case, given: Sequence[Mapping[str, Any]], *, others: bool) -> list[CaseResult]:
    """The case as the caller wants it, and at ``others`` of its sizes."""
    settings = asked.settings
    cases = [adapted(case, given, asked.domain, asked.upstream, asked.constants, asked.dtype)]
    if others:
        most = SUBJECT_SIZES if settings.sizes is None else settings.sizes
        cases += [
            adapted(other, (), asked.domain, None, asked.constants, asked.dtype)
            for other in other_sizes(case, settings.seed, most)
        ]
    with step(COMPARED):
        finding = differing(asked.gradient, cases[0], [point.values for point in cases[0].own_points])
    if finding is not None:
        return [unjudged(cases[0], finding)]
    smaller = asked.at(at_other_size(settings))
    results = [judge_case(asked, cases[0])]
    for known in cases[1:]:
        if results[-1].problems:
            break  # it breaks a limit, and would again
        results.append(judge_case(smaller, known))
    results[0] = held_at_outer_kinks(asked, cases[0], results[0])
    results = with_simplest(asked, cases, results)
    return [held_against(asked.gradient, known, result) for known, result in zip(cases, results, strict=False)]


def _judge_function(asked: Question, function: Function, given: Sequence[Any], dims: Any) -> list[CaseResult]:
    """The function as the caller wants it looked at, unless it is another than that of the gradient."""
    with step(COMPARED):
        finding = differing(asked.gradient, function, given)
    if finding is not None:
        return [unjudged(str(getattr(function, "__name__", "function")), finding)]
    return [held_against(asked.gradient, function, result) for result in judge_function(asked, function, given, dims)]


def _with_changes(result: CaseResult, changed: Sequence[str]) -> CaseResult:
    """A result with a finding for each global that is not as it was when the check began."""
    known = {finding.variable for finding in result.findings if finding.kind == FindingKind.GLOBAL_STATE}
    said = "the gradient, or the function, changes {} for the whole process; it was put back after the check"
    found = [
        Finding(FindingKind.GLOBAL_STATE, name, said.format(name), fails=False) for name in changed if name not in known
    ]
    return replace(result, findings=(*result.findings, *found))


def _dtype(given: Any) -> str | None:
    """A dtype by its name, as NumPy has it too. Raises UsageError for what nothing is computed in."""
    name = getattr(given, "__name__", getattr(given, "name", given))
    if name is not None and name not in DTYPES:
        raise UsageError(f"dtype must be one of {', '.join(DTYPES)}, got {given!r:.60}")
    return None if name is None else str(name)


def _check_given(settings: Settings, gradient: Any, domain: Any, dims: Any, constants: Any) -> None:
    """Raises UsageError for arguments of the wrong kind."""
    if not callable(gradient):
        raise UsageError(f"expected a gradient that can be called, got {gradient!r:.60}")
    if type(settings.points) is not int or type(settings.seed) is not int:
        raise UsageError(f"points and seed are whole numbers, got {settings.points!r} and {settings.seed!r}")
    check_settings(settings, 1)
    for name, given in (("domain", domain), ("dims", dims)):
        if given is not None and not isinstance(given, Mapping):
            raise UsageError(f"{name} maps arguments by name, such as {name}={{'x': ...}}, got {given!r:.60}")
    if isinstance(constants, str) or not isinstance(constants, Collection):
        raise UsageError(f"constants are names in a list, or values by name, got {constants!r:.60}")
    if not all(isinstance(name, str) for name in constants):
        raise UsageError(f"constants are the names of arguments, got {list(constants)!r:.60}")


def _warn_of_weak(results: Sequence[CaseResult]) -> None:
    """Warns where a gradient passes, and the check could not have told at any of its sizes; the notes say it too."""
    if not all(result.passes for result in results):
        return
    known = [result for result in results if "reverse" in result.methods]  # of a black box nothing is known
    told = [weak for weak in results[0].weaknesses if all(weak in result.weaknesses for result in known)]
    if told:
        sentence = f"{results[0].name}: the gradient passes, but this check is weak: {'; '.join(told)}. {OTHERS}"
        warnings.warn(WeakCheckWarning(sentence), stacklevel=3)


def _without_weaknesses(result: CaseResult) -> CaseResult:
    notes = tuple(note for note in result.notes if note not in result.weaknesses)
    return replace(result, weaknesses=(), notes=notes)

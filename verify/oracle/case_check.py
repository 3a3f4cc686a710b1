"""A gradient held against one case: its numbers, findings beside them, and the simplest point that shows a fault."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from verify.case.case import Case
from verify.errors import LimitError
from verify.judging.point_evidence import FEW_STEPS
from verify.judging.rows import CODE
from verify.limits import case_limits
from verify.methods.central import too_long
from verify.oracle.kept_points import at_kept_point, kept_points
from verify.oracle.shrink import number_text, shrunk
from verify.places.points import Batch, is_lost, own_points
from verify.records import SUBJECT, CaseResult, Finding, Point, format_entry
from verify.running.runner import run_loaded
from verify.running.settings import Settings
from verify.subjects.interface import Interface
from verify.subjects.subject import Gradient, Subject
from verify.variants.diagnose import diagnosed
from verify.words import FindingKind, Verdict

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from verify.subjects.line_coverage import LineCoverage

ROOM = 2.0**-10
"""Part of the largest float that a slope must lie within: beyond, an upstream gradient below 1 may come too late."""

LONGEST_POINT = 64
"""Numbers of a point that a finding shows."""

MOST_PROBED = 2
"""Own points at which a gradient is called again, to see whether it repeats itself and is linear in upstream."""


@dataclass(frozen=True, slots=True)
class Question:
    """What was asked of a gradient: everything that stays the same while its cases and points change."""

    gradient: Gradient
    settings: Settings
    lines: LineCoverage
    """Sees which lines of the gradient are reached, over all cases together."""
    domain: Mapping[str, Any] | None = None
    """Input -> ``(low, high)``, as the caller gave it."""
    upstream: Any = None
    constants: Collection[str] = ()
    dtype: str | None = None
    accuracy: float | None = None
    """To what part of their size the function's values are right; None where they are exact but for rounding."""

    def at(self, settings: Settings) -> Question:
        """The same question with other settings."""
        return replace(self, settings=settings)


def judge_case(
    asked: Question, case: Case, interface: Interface | None = None, only: Batch | None = None
) -> CaseResult:
    """Judges the gradient of one case; ``interface`` says how it is called where that is not by the case's inputs.

    ``only`` gives the points to look at, in place of all others.

    >>> from verify.subjects.line_coverage import LineCoverage
    >>> from verify.case.case import load_case_text
    >>> case = load_case_text("{case: square, inputs: {x: {at: 3}}, stages: {f: x**2}}")
    >>> judge_case(Question(lambda x: 2 * x, Settings(points=2), LineCoverage(abs)), case).status
    'PASS'
    """
    return limited(asked, case.name, case.file, partial(_judged, asked, case, interface, only))


def limited(asked: Question, name: str, file: str, judge: Callable[[], CaseResult]) -> CaseResult:
    """A result within the limits of one case; where it breaks one it is an error that names the step.

    >>> from verify.subjects.line_coverage import LineCoverage
    >>> asked = Question(abs, Settings(case_seconds=0.05), LineCoverage(abs))
    >>> limited(asked, "f", "f.yaml", lambda: [None for i in iter(int, 1)]).problems
    ('f.yaml: more than 0.05 s of processor time (--case-seconds) while beginning',)
    """
    settings = asked.settings
    try:
        with case_limits(settings.case_seconds, settings.call_seconds, settings.case_memory):
            return judge()
    except LimitError as error:
        return CaseResult(name, file, seed=settings.seed, problems=(f"{file or name}: {error}",))


def _judged(asked: Question, case: Case, interface: Interface | None, only: Batch | None) -> CaseResult:
    subject = Subject(interface or Interface.of(case), asked.gradient)
    subject.lines = asked.lines
    looked_at = replace(case, draws_scalar_upstream=subject.takes_upstream)
    judged = run_loaded(looked_at, asked.settings, subject=subject, only=only)
    subject.refuse_strangers()
    result = diagnosed(looked_at, judged)
    own = own_points(looked_at, asked.settings.seed)
    for number in range(min(len(own), MOST_PROBED)):
        subject.probe(*({k: x[number] for k, x in xs.items()} for xs in (own.inputs, own.upstream)))
    result = replace(result, findings=excused(tuple(subject.contract.findings), result))
    result = replace(result, findings=(*result.findings, *_not_finite(result)))
    return _looked_at_again(asked, looked_at, result, subject) if result.passes else result


def _looked_at_again(asked: Question, case: Case, result: CaseResult, subject: Subject) -> CaseResult:
    """A result that passes, and what is found at points of earlier failures: beside its rows, which stay the same."""
    settings = asked.settings
    looks = settings.points and settings.shrink and not settings.forget
    points = kept_points(asked.gradient, case) if looks else []
    if not points:
        return result
    findings = []
    for point in points:
        again = run_loaded(at_kept_point(case, point), replace(settings, points=0, kill_score=False), subject=subject)
        row = next((row for row in again.failing() if row.verdict is Verdict.FAIL), None)
        if row is not None:
            size = sum(value.size for value in point.values())
            shown = ", ".join(f"{name} = {number_text(value)}" for name, value in point.items())
            where = shown if size <= LONGEST_POINT else f"of {size} numbers"
            what = row.variable + format_entry(row.entry)
            said = f"the gradient by {what} is {row.values[SUBJECT]!r}, the truth is {row.reference!r}"
            sentence = f"at a point at which it failed in an earlier run ({where}) {said}"
            findings.append(Finding(FindingKind.FAILED_BEFORE, row.variable, sentence, fails=True, detail=row.reason))
    count = f"{len(points)} point{'s' if len(points) > 1 else ''} at which it failed in an earlier run"
    note = f"looked at {count} too, beside the rows (forget=True leaves them out)"
    return replace(result, findings=(*result.findings, *findings), notes=(*result.notes, note))


def excused(findings: tuple[Finding, ...], result: CaseResult) -> tuple[Finding, ...]:
    """The findings, an exception only told where every row without an answer is one that nobody could decide.

    A gradient may well raise where the function has no value: it is this program that chose the point.

    >>> excused((), CaseResult("f", ""))
    ()
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
        if f.kind == FindingKind.EXCEPTION
        else f
        for f in findings
    )


def _not_finite(result: CaseResult) -> list[Finding]:
    """A finding for each variable whose gradient is not finite somewhere though the truth is.

    It fails wherever that is, but where an input is so small that its square is none: no code is asked to do without;
    nor, where one is so small or large that a few steps do that, without what our own engine cannot do in floats.
    """
    explained = {
        finding.variable
        for finding in result.findings
        if finding.kind in {FindingKind.EXCEPTION, FindingKind.WRONG_SHAPE}
    }
    tiny = [point.id for point in result.points if _loses(point, 2, small_alone=True)]
    extreme = [point.id for point in result.points if _loses(point, FEW_STEPS, small_alone=False)]
    found = []
    for variable in result.variables:
        rows = variable.rows
        if SUBJECT not in rows.values or explained & {"", variable.name}:
            continue
        most = float(np.finfo(variable.dtype or "float64").max)
        lost = ~np.isfinite(rows.values[SUBJECT]) & (np.abs(rows.reference) <= most * ROOM)
        engine = rows.values.get("reverse", np.zeros(len(rows)))
        excused = np.isin(rows.point, tiny) | (np.isin(rows.point, extreme) & ~np.isfinite(engine))
        excused |= rows.verdict == CODE[Verdict.IMPRECISE]  # its formula is proved to be right
        fails = lost & ~(rows.passes & excused)
        if lost.any():
            row = variable.row(int(np.argmax(fails if fails.any() else lost)))
            said = f"the gradient by {variable.name} is {row.values[SUBJECT]} at point {row.point}"
            why = "" if fails.any() else ": powers of its inputs are no floats there"
            said = f"{said}, where the truth is {row.reference!r}{why}"
            found.append(Finding(FindingKind.NOT_FINITE, variable.name, said, fails=bool(fails.any())))
    return found


def _loses(point: Point, power: int, *, small_alone: bool) -> bool:
    """Whether a power of some float at a point is one that floats do not hold."""
    arrays = [np.atleast_1d(value) for value in point.values.values()]
    return any(is_lost(array, power, small_alone=small_alone) for array in arrays if array.dtype.kind == "f")


def with_simplest(
    asked: Question, cases: Sequence[Case], results: Sequence[CaseResult], interface: Interface | None = None
) -> list[CaseResult]:
    """The results of some cases, the first that does not pass with the simplest point that shows it.

    >>> from verify.subjects.line_coverage import LineCoverage
    >>> with_simplest(Question(abs, Settings(), LineCoverage(abs)), [], [])
    []
    """
    first = next((i for i, result in enumerate(results) if not result.passes), None)
    if not asked.settings.shrink or first is None or too_long(cases[first].graph, cases[first].variables):
        return list(results)  # nothing is wrong, or the case is too large to be run many times
    was = results[first]
    shrink = partial(shrunk, asked.gradient, cases[first], was, interface, forget=asked.settings.forget)
    simple = limited(asked, was.name, was.file, shrink)
    if simple.problems:  # a gradient that does not return at a simpler point has failed before it
        return list(results)
    return [*results[:first], simple, *results[first + 1 :]]

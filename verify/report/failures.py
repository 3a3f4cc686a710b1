"""What keeps a run from passing as a flat list: what failed, where, why, who is suspected, and how to repeat it.

Machines read it: it is ``findings`` of the JSON report, and what JUnit, SARIF and the annotations of CI are made of.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from shlex import quote

from verify.errors import line_of
from verify.records import SUBJECT, CaseResult, Finding, Run
from verify.report.cause import LONGEST, cut, finding_cause, repeating, row_cause
from verify.report.select import Cause, causes
from verify.words import ERROR, Verdict


@dataclass(frozen=True, slots=True)
class Failure:
    """One thing that does not pass."""

    case: str
    verdict: str
    """A verdict, or ``ERROR`` of a case that could not be run."""
    kind: str
    """A verdict, ``ERROR``, or what a finding is about: what ``verify explain`` knows more of."""
    what: str
    """The failure in one sentence of at most 120 characters."""
    why: tuple[str, ...]
    """The diagnosis and the reason, a sentence each."""
    variable: str
    suspect: str
    file: str
    line: int
    """With ``file`` the place to edit; 0 where it is the file as a whole."""
    rows: int
    """How many rows fail so, 0 where it is about no rows."""
    repeat: str
    """The command, or the call in Python, that repeats just this."""


def failures(cases: Sequence[CaseResult], command: str = "") -> list[Failure]:
    """What keeps cases from passing, a cause once however many rows or cases it has.

    >>> broken = CaseResult("f", "f.yaml", problems=("f.yaml:3:1: unknown name 'z'",), problem_lines=(3,))
    >>> [(found.what, found.line, found.repeat) for found in failures([broken])]
    [("ERROR f.yaml:3:1: unknown name 'z'", 3, 'verify run f.yaml')]
    """
    return [
        *(found for case in cases for found in _of_case(case, command)),
        *(_of_cause(cause, command) for cause in causes(cases)),
        *(found for case in cases for found in _of_whole_case(case, command)),
    ]


def first_cause(run: Run) -> str:
    """The cause that is read first of all that a run found, empty where everything passes.

    >>> first_cause(Run(cases=(CaseResult("x", "x.yaml", problems=("x.yaml: empty",)),), seed=0, points=64))
    'ERROR x.yaml: empty'
    """
    return next((found[0].what for case in run.cases if (found := failures([case]))), "")


def in_project(file: str) -> str:
    """A path as it is from the folder that CI has checked out, else from here; one outside of both as it is.

    >>> in_project(str(Path("cases", "x.yaml").absolute())), in_project("/somewhere/else.py")
    ('cases/x.yaml', '/somewhere/else.py')
    """
    for folder in (os.environ.get("GITHUB_WORKSPACE"), "."):
        if folder and file and not file.startswith("<"):
            with suppress(ValueError):  # what is no path, or not in there
                return Path(os.path.realpath(file)).relative_to(os.path.realpath(folder)).as_posix()
    return file


def _of_case(case: CaseResult, command: str) -> Iterator[Failure]:
    """Why a case could not be run, and what was found beside its numbers."""
    for number, problem in enumerate(case.problems):
        line = case.problem_lines[number] if number < len(case.problem_lines) else 0
        told = f"{ERROR} {line_of(problem.partition(chr(10))[0])}"
        why = (told,) if len(told) > LONGEST else ()
        yield Failure(
            case.name, ERROR, ERROR, cut(told, LONGEST), why, "", "", case.file, line, 0, _again(case, command)
        )
    for finding in (finding for finding in case.findings if finding.fails):
        file, line = _place_of(finding, case)
        verdict, what = Verdict.FAIL.value, finding_cause(finding, case)
        why, suspect = (finding.sentence,), SUBJECT if _has_subject(case) else ""
        repeat = _again(case, command)
        yield Failure(
            case.name, verdict, finding.kind.value, what, why, finding.variable, suspect, file, line, 0, repeat
        )


def _of_cause(cause: Cause, command: str) -> Failure:
    row, case = cause.group.row, cause.case
    why = tuple(dict.fromkeys(filter(None, (*row.diagnosis, row.reason))))
    what, verdict, repeat = row_cause(row), row.verdict.value, repeating(row, case, command)
    return Failure(
        case.name, verdict, verdict, what, why, row.variable, row.suspect, row.file, row.line, cause.rows, repeat
    )


def _of_whole_case(case: CaseResult, command: str) -> Iterator[Failure]:
    """What else keeps a case from passing, such as a method that was asked for in vain."""
    verdict = Verdict.FAIL.value
    for sentence in case.failures:
        what = cut(f"FAIL {line_of(case.name)}: {line_of(sentence)}", LONGEST)
        repeat = _again(case, command)
        yield Failure(case.name, verdict, verdict, what, (sentence,), "", "", case.file, 0, 0, repeat)


def _has_subject(case: CaseResult) -> bool:
    return SUBJECT in case.methods or any(SUBJECT in variable.rows.values for variable in case.variables)


def _place_of(finding: Finding, case: CaseResult) -> tuple[str, int]:
    """The place to edit: of a gradient under test its own, else the variable's."""
    for variable in sorted(case.variables, key=lambda variable: variable.name != finding.variable):
        return variable.subject_place if variable.subject_place[0] else (variable.file, variable.line)
    return case.file, 0


def _again(case: CaseResult, command: str) -> str:
    if command and _has_subject(case):
        return command
    return f"verify run {quote(case.file)}" if case.file.lower().endswith((".yaml", ".yml")) else ""

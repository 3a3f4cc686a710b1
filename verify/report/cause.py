"""The cause of a failure in one line: what a reader sees first, and often alone.

A summary of pytest holds one line, a JUnit message eight, a person reads one: numbers come below.
"""

from __future__ import annotations

import math

from verify.errors import line_of
from verify.records import SUBJECT, CaseResult, Finding, Row, Run, format_entry
from verify.report.format import full, magnitude, short
from verify.report.select import failure_groups

LONGEST = 120
"""Characters of the line."""

LONGEST_NAME = 32
"""Characters of a name in it."""


def row_cause(row: Row) -> str:
    """What is wrong with a row that does not pass, in one line of at most 120 characters.

    >>> from verify.records import Verdict
    >>> row = Row("square", "x", (0,), "gradient", 0, "", 0, values={"subject": 3.0}, verdict=Verdict.FAIL,
    ...           passes=False, suspect="subject", reference=6.0, allowed=1.8e-14, errors={"subject": 3.0})
    >>> row_cause(row)
    'FAIL dx[0] of square: yours is 3, the truth 6 (off by 3, allowed 1.8e-14)'
    """
    name = f"{'d' if row.quantity == 'gradient' else ''}{line_of(row.variable)}{format_entry(row.entry)}"
    head = f"{row.verdict.value} {cut(name, LONGEST_NAME)} of {cut(line_of(row.case), LONGEST_NAME)}: "
    tail = _distance(row)
    return cut(head + cut(_what(row), LONGEST - len(head) - len(tail)) + tail, LONGEST)


def _what(row: Row) -> str:
    if row.diagnosis:
        return line_of(row.diagnosis[0])
    if row.suspect == SUBJECT and not math.isnan(row.reference):
        return f"yours is {short(row.values[SUBJECT])}, the truth {short(row.reference)}"
    if not math.isnan(row.expected):
        found = row.reference if not math.isnan(row.reference) else next(iter(row.values.values()), math.nan)
        return f"{full(row.expected)} is expected, {full(found)} found"
    if row.suspect and row.suspect != SUBJECT:
        return f"suspected: {line_of(row.suspect)}"
    return line_of(row.reason)


def _distance(row: Row) -> str:
    """How far off a gradient under test is, or the worst of our own methods; empty where that is no number."""
    judged = [SUBJECT] if SUBJECT in row.errors else [method for method in row.errors if method != "central"]
    errors = [row.errors[method] for method in judged if not math.isnan(row.errors[method])]
    if not errors or math.isinf(max(errors)) or math.isnan(row.allowed) or not math.isnan(row.expected):
        return ""
    return f" (off by {magnitude(max(errors))}, allowed {magnitude(row.allowed)})"


def finding_cause(finding: Finding, case_result: CaseResult) -> str:
    """The same of a finding beside the numbers.

    >>> from verify.records import FindingKind
    >>> finding_cause(Finding(FindingKind.WRONG_DTYPE, "x", "dx is float32", True), CaseResult("f", "f.yaml"))
    'FAIL f: wrong dtype: dx is float32'
    """
    return cut(f"FAIL {line_of(case_result.name)}: {finding.kind}: {line_of(finding.sentence)}", LONGEST)


def first_cause(run: Run) -> str:
    """The cause that is read first of all that a run found, empty where everything passes.

    >>> first_cause(Run(cases=(CaseResult("x", "x.yaml", problems=("x.yaml: empty",)),), seed=0, points=64))
    'ERROR x.yaml: empty'
    """
    for case in (case for case in run.cases if not case.passes):
        if case.problems:
            return cut(f"ERROR {line_of(case.problems[0])}", LONGEST)
        finding = next((finding for finding in case.findings if finding.fails), None)
        if finding is not None:
            return finding_cause(finding, case)
        groups = failure_groups(case)
        if groups:
            return row_cause(groups[0].row)
        if case.failures:
            return cut(f"FAIL {line_of(case.name)}: {line_of(case.failures[0])}", LONGEST)
    return ""


def cut(text: str, most: int) -> str:
    """A text of at most so many characters, with dots where it went on; plain ones, for pipes.

    >>> cut("one two three", 10), cut("one", 8)
    ('one two...', 'one')
    """
    return text if len(text) <= most else f"{text[: max(most - 3, 0)].rstrip()}..."

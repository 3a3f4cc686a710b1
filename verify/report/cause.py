"""The cause of a failure in one line: what a reader sees first, and often alone.

A summary of pytest holds one line, a JUnit message eight, a person reads one: numbers come below.
"""

from __future__ import annotations

import math
from shlex import quote

from verify.errors import line_of
from verify.records import SUBJECT, UPSTREAM, WRONG_FIGURE, CaseResult, Finding, Row, format_entry, shown_name
from verify.report.select import Cause, failure_groups
from verify.report.wording import ascii_safe, full, is_written_out, magnitude, plural, short

LONGEST = 120
"""Characters of the line."""

MOST_CASES = 6
"""Cases that are named of one cause."""

LONGEST_NAME = 32
"""Characters of a name in it."""


def row_cause(row: Row) -> str:
    """What is wrong with a row that does not pass, in one line of at most 120 characters.

    >>> from dataclasses import replace
    >>> from verify.words import Verdict
    >>> row = Row("square", "x", (0,), "gradient", 0, "", 0, values={"subject": 3.0}, verdict=Verdict.FAIL,
    ...           passes=False, suspect="subject", reference=6.0, allowed=1.8e-14, errors={"subject": 3.0})
    >>> row_cause(row)
    'FAIL dx[0] of square: yours is 3, the truth 6 (off by 3, allowed 1.8e-14)'
    >>> row_cause(replace(row, values={"subject": math.nan}, errors={"subject": math.nan}))
    'FAIL dx[0] of square: yours is NaN, the truth 6'
    """
    name = shown_name(line_of(row.variable), row.quantity)
    entry = cut(f"{name}{format_entry(row.entry)}", LONGEST_NAME)
    head = f"{row.verdict.value} {entry} of {cut(line_of(row.case), LONGEST_NAME)}: "
    tail = _distance(row)
    what = _what(row).removeprefix(f"your {name} ")  # whose it is has just been said
    return cut(head + cut(what, LONGEST - len(head) - len(tail)) + tail, LONGEST)


def _what(row: Row) -> str:
    if row.diagnosis:
        return line_of(row.diagnosis[0])
    if row.suspect == SUBJECT and not math.isnan(row.reference):
        yours = row.values[SUBJECT]
        return f"yours is {'NaN' if math.isnan(yours) else short(yours)}, the truth {short(row.reference)}"
    if not math.isnan(row.expected) and row.suspect in ("", WRONG_FIGURE):
        found = row.reference if not math.isnan(row.reference) else next(iter(row.values.values()), math.nan)
        return f"{full(row.expected)} is expected, {full(found)} found"
    if row.suspect and row.suspect != SUBJECT:
        return f"suspected: {line_of(row.suspect)}"
    return line_of(row.reason)


def cause_of_case(case: CaseResult) -> str:
    """What is wrong with a case that does not pass, without its name and how far it is off.

    >>> cause_of_case(CaseResult("x", "x.yaml", problems=("empty",)))
    'empty'
    """
    finding = next((finding for finding in case.findings if finding.fails), None)
    told = [*case.problems, *([finding.sentence] if finding else []), *(_what(g.row) for g in failure_groups(case))]
    return line_of([*told, *case.failures, ""][0])


def _distance(row: Row) -> str:
    """How far off a gradient under test is, or the worst of our own methods; empty where that is no number."""
    judged = [SUBJECT] if SUBJECT in row.errors else [method for method in row.errors if method != "central"]
    errors = [row.errors[method] for method in judged if not math.isnan(row.errors[method])]
    if not errors or math.isinf(max(errors)) or math.isnan(row.allowed) or row.suspect == WRONG_FIGURE:
        return ""
    return f" (off by {magnitude(max(errors))}, allowed {magnitude(row.allowed)})"


def repeating(row: Row, case: CaseResult, command: str = "") -> str:
    """The command, or the call in Python, that repeats just what failed; empty where there is none.

    ``command`` is the one that judged a gradient under test; one that was judged by a call is called again, with what
    :func:`~verify.report.wording.point_literal` writes as ``at`` where it writes all of it.

    >>> row = Row("square", "x", (), "gradient", 0, "cases/square.yaml", 3)
    >>> repeating(row, CaseResult("square", "cases/square.yaml", seed=7, points_asked=64))
    'verify run cases/square.yaml --points 64 --seed 7'
    """
    point = next((point for point in case.points if point.id == row.point), None)
    drawn = f"points={case.points_asked}, seed={case.seed}"
    if SUBJECT in row.values:
        if command:
            return command
        if row.quantity != "gradient":
            return f"check_{row.quantity}({row.quantity}, function, at=at)" if point is not None else ""
        if point is None or not point.own or not is_written_out(point):
            return f"check_gradient(gradient, case, {drawn})"
        names = {ascii_safe(name): name for name in point.values}
        given = [f"{text}: at[{text}]" for text, name in names.items() if not name.startswith(UPSTREAM)]
        seeds = [
            f"{ascii_safe(name.removeprefix(UPSTREAM))}: at[{text}]"
            for text, name in names.items()
            if name.startswith(UPSTREAM)
        ]
        asked = f"at={{{', '.join(given)}}}, upstream={{{', '.join(seeds)}}}" if seeds else "at=at"
        return f"check_gradient(gradient, case, {asked}, points=0)"
    if not row.file.lower().endswith((".yaml", ".yml")):
        return ""
    points = 0 if point is not None and point.own else case.points_asked
    return f"verify run {quote(row.file)} --points {points} --seed {case.seed}"


def extent(cause: Cause) -> str:
    """How far a cause reaches: its suspect, and its rows by case; of one group what is not shown of it.

    >>> from verify.report.select import FailureGroup
    >>> row = Row("square", "x", (), "gradient", 0, "", 0, suspect="VJP of cos")
    >>> one, two = (FailureGroup(row, rows, 1, rows) for rows in (1, 4))
    >>> extent(Cause(CaseResult("a", ""), one, ((CaseResult("a", ""), one), (CaseResult("b", ""), two))))
    'VJP of cos: 5 rows in 2 cases: b (4), a (1)'
    >>> extent(Cause(CaseResult("b", ""), two, ((CaseResult("b", ""), two),)))
    'and 3 rows more like it, the worst is shown (1 entry, 4 points in all)'
    """
    group = cause.group
    if len(cause.found) == 1:
        if group.rows == 1:
            return ""
        entries = "1 entry" if group.entries == 1 else f"{group.entries:,} entries"
        more = f"and {plural(group.rows - 1, 'row')} more like it, the {group.which} is shown"
        return f"{more} ({entries}, {plural(group.points, 'point')} in all)"
    who = "gradient under test" if group.row.suspect == SUBJECT else line_of(group.row.suspect)
    who = who or "the same cause"
    named = [f"{line_of(name)} ({rows:,})" for name, rows in cause.cases.items()]
    if len(named) == 1:
        variables = {other.row.variable for _, other in cause.found}
        return f"{who}: {plural(cause.rows, 'row')} of {plural(len(variables), 'variable')}"
    others = [f"{len(named) - MOST_CASES} more"] if len(named) > MOST_CASES else []
    return f"{who}: {plural(cause.rows, 'row')} in {len(named)} cases: {', '.join([*named[:MOST_CASES], *others])}"


def finding_cause(finding: Finding, case_result: CaseResult) -> str:
    """The same of a finding beside the numbers.

    >>> from verify.words import FindingKind
    >>> finding_cause(Finding(FindingKind.WRONG_DTYPE, "x", "dx is float32", True), CaseResult("f", "f.yaml"))
    'FAIL f: wrong dtype: dx is float32'
    """
    return cut(f"FAIL {line_of(case_result.name)}: {finding.kind}: {line_of(finding.sentence)}", LONGEST)


def cut(text: str, most: int) -> str:
    """A text of at most so many characters, with dots where it went on; plain ones, for pipes.

    >>> cut("one two three", 10), cut("one", 8)
    ('one two...', 'one')
    """
    return text if len(text) <= most else f"{text[: max(most - 3, 0)].rstrip()}..."

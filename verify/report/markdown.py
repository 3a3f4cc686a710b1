"""A run as Markdown, for the summary of a CI job or a comment: the last line, what failed, and a table of the cases.

Whatever a file may have named stands in code, where nothing is obeyed: no link, no mention, no table and no HTML.
"""

from __future__ import annotations

import re
from pathlib import Path

from verify.errors import line_of
from verify.files import write_text
from verify.records import CaseResult, Run
from verify.report.terminal import MOST_LINES, describe_case, verdict_line
from verify.report.wording import comparison_lines, counts_text

MOST_CASES = 200
"""Cases in the table, those that do not pass first."""


def write(run: Run, path: str | Path) -> Path:
    """Writes the run as one Markdown file, whole or not at all, and returns its path.

    Raises UsageError where the file cannot be written.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write(Run(cases=(), seed=0, points=64), Path(folder, "run.md")).read_text().splitlines()[0]
    '## verify: all pass'
    """
    return write_text(path, render(run))


def render(run: Run) -> str:
    r"""The summary as text.

    >>> print(render(Run(cases=(CaseResult("a|b", "a.yaml", problems=("a.yaml: empty",)),), seed=0, points=64)))
    ## verify: 1 of 1 does not pass
    <BLANKLINE>
    1 case, 0 rows: 1 does not pass (1 could not be run) in 0.0 s, seed 0
    <BLANKLINE>
    ```text
    a.yaml: empty
    ```
    <BLANKLINE>
    | case | status | rows | proved | verdicts |
    | --- | --- | ---: | ---: | --- |
    | `a\|b` | ERROR | 0 | 0 |  |
    <BLANKLINE>
    """
    failing = [case for case in run.cases if not case.passes]
    do = "does" if len(failing) == 1 else "do"
    came_to = f"{len(failing):,} of {len(run.cases):,} {do} not pass" if failing else "all pass"
    came_to += "" if run.ok or failing else " that were run"
    parts = [f"## verify: {came_to}", verdict_line(run)]
    changed = comparison_lines(run.compared)
    parts += [fenced("\n".join(changed))] * bool(changed)
    parts += _failures(failing, run.command)
    shown = sorted(run.cases, key=lambda case: case.passes)[:MOST_CASES]
    if shown:
        parts.append("| case | status | rows | proved | verdicts |\n| --- | --- | ---: | ---: | --- |")
        parts[-1] += "".join(f"\n{_line(case)}" for case in shown)
    if len(shown) < len(run.cases):
        parts.append(f"{len(run.cases) - len(shown):,} cases more are not shown.")
    return "\n\n".join(parts) + "\n"


def _failures(failing: list[CaseResult], command: str) -> list[str]:
    """What fails in each case, as the terminal tells it, as long as there is room."""
    told: list[str] = []
    room = 5 * MOST_LINES
    for case in failing:
        text = describe_case(case, command)
        if told and room < text.count("\n"):
            break
        room -= text.count("\n") + 3
        told.append(fenced(text))
    left = len(failing) - len(told)
    return [*told, *[f"{left:,} more that do not pass stand in the table."] * bool(left)]


def _line(case: CaseResult) -> str:
    counts = f"{case.checked:,} | {case.proved:,} | {counts_text(case.counts)}"
    return f"| {code(case.name)} | {case.status} | {counts} |"


def code(text: str) -> str:
    r"""A text in one line as code, which Markdown does not read, also in a table.

    >>> code("a|b"), code("`"), code("")
    ('`a\\|b`', '`` ` ``', '` `')
    """
    shown = line_of(text) or " "
    fence = "`" * (_longest_run(shown) + 1)
    pad = " " if shown[0] == "`" or shown[-1] == "`" else ""
    return f"{fence}{pad}{shown}{pad}{fence}".replace("|", "\\|")


def fenced(text: str) -> str:
    r"""Lines of text as a block of code, whatever stands in them.

    >>> fenced("a\n```\nb").splitlines()[0]
    '````text'
    """
    fence = "`" * max(3, _longest_run(text) + 1)
    return f"{fence}text\n{text}\n{fence}"


def _longest_run(text: str) -> int:
    return max(map(len, re.findall("`+", text)), default=0)

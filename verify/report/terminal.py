"""A run as text for a terminal, and plain text where the output is a pipe.

Nothing is ever cut off: where a line is too long it continues. Text out of case files is printed as text, whatever
it looks like: no markup, no terminal commands.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, TextIO

from verify.errors import line_of, printable
from verify.records import (
    SUBJECT,
    CaseResult,
    Finding,
    KillScore,
    Row,
    Run,
    StageRecord,
    VariableResult,
    format_entry,
    is_undecided,
    pairs_of,
)
from verify.report.cause import extent, repeating, row_cause
from verify.report.fitting import fitted, wrapped
from verify.report.select import causes, subject_rows
from verify.report.wording import (
    ABSENT,
    array_text,
    caveats,
    comparison_lines,
    counts_text,
    full,
    largest_difference,
    magnitude,
    place,
    plural,
    point_literal,
    power_text,
    shape_text,
    short,
)

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

PIPE_WIDTH = 200
"""Columns of a table where nobody's window sets the width."""

MOST_SURVIVORS = 12
"""Planted faults that are told for each case."""

MOST_LINES = 40
"""Lines in which the causes of failure are told."""

_SCORES = ("faults caught", "equivalent", "pass rtol=1e-3")
"""Columns of the kill score."""

_STYLE = {
    "PASS": "green",
    "SUBGRADIENT": "green",
    "CONVENTION": "yellow",
    "IMPRECISE": "yellow",
    "UNDECIDED": "yellow",
    "DISPUTED": "magenta",
    "FAIL": "bold red",
    "ERROR": "bold red",
}


def make_console(file: TextIO | None = None, color: str = "auto") -> Console:
    """A console for the report: a fixed width in a pipe; colours ``auto`` in a terminal only, ``always`` or ``never``.

    >>> import io
    >>> make_console(io.StringIO()).width
    200
    """
    from rich.console import Console

    stream = sys.stdout if file is None else file
    width = None if stream.isatty() else PIPE_WIDTH
    always: dict[str, Any] = {"force_terminal": True, "color_system": "standard", "no_color": False}
    never: dict[str, Any] = {"color_system": None}
    wanted = always if color == "always" else never if color == "never" else {}
    return Console(file=stream, width=width, markup=False, highlight=False, emoji=False, **wanted)


def print_run(run: Run, console: Console, *, notes: bool = False, tables: bool = True) -> None:
    """Prints a table with a row for each case, then what failed, what could not be run, and one line that sums up.

    With ``notes``, each case's notes too; without ``tables`` no table.

    >>> import sys
    >>> print_run(Run(cases=(), seed=0, points=64, seconds=0.25), make_console(sys.stdout))
    0 cases, 0 rows: all pass in 0.2 s, seed 0
    """
    if run.cases and tables:
        console.print(_cases_table(run, console))
        console.print()
    if SUBJECT in run.methods and tables and any(case.variables for case in run.cases):
        console.print(_subject_table(run, console))
        console.print()
    for case in run.cases:
        for finding in case.findings:  # first: it is often why the numbers are off
            _say(console, describe_finding(finding, case), _STYLE["FAIL" if finding.fails else "UNDECIDED"])
            console.print()
    for verdict, text in describe_causes(run.cases, run.command):
        _say(console, text, _STYLE.get(verdict, ""))
        console.print()
    for case in run.cases:
        _print_whole_case(case, console)
        _print_survivors(case, console)
    if notes:  # what several results say is said once
        _print_notes(dict.fromkeys(note for case in run.cases for note in case.notes), console)
    for line in comparison_lines(run.compared):
        _say(console, line, "")
    _say(console, verdict_line(run), _tone(run), all_of_it=True)


def _tone(run: Run) -> str:
    """How the headline looks: only what is decided, or nearly all of it, is green."""
    if not run.ok:
        return "bold red"
    return "bold yellow" if is_undecided(run.counts) else "bold green"


def print_case_passes(case_result: CaseResult, console: Console) -> None:
    """Prints the forward and the backward pass of a case stage by stage, then its closed forms.

    >>> import sys
    >>> stages = (
    ...     StageRecord("x", "", 3, (), 3.0, {}, 6.0),
    ...     StageRecord("f", "x**2", 5, (), 9.0, {"x": "2*x"}, 1.0, {"x": 6.0}),
    ... )
    >>> print_case_passes(CaseResult("square", "cases/square.yaml", stages=stages), make_console(sys.stdout))
    ... # doctest: +NORMALIZE_WHITESPACE
    square  cases/square.yaml
    <BLANKLINE>
    forward pass
      line  stage        value
      3     x            3.0
      5     f = x**2     9.0
    <BLANKLINE>
    backward pass, last stage first: upstream gradient times local derivative is sent back, and adds up
      stage  upstream gradient  to  local derivative  sends back
      f      1.0                x   2*x               6.0
    <BLANKLINE>
    gradient of the output with respect to
      x      6.0
    """
    case = case_result
    title = "  ".join(line_of(part) for part in (case.name, case.file, case.source) if part)
    _say(console, title, "bold", all_of_it=True)
    for line in _whole_case_lines(case):
        _say(console, line, "red")
    if case.stages:
        console.print()
        _say(console, "forward pass", "bold green", all_of_it=True)
        console.print(_forward_table(case.stages))
        console.print()
        title = "backward pass, last stage first: upstream gradient times local derivative is sent back, and adds up"
        _say(console, title, "bold red", all_of_it=True)
        console.print(_backward_table(case.stages))
        console.print()
        _say(console, "gradient of the output with respect to", "bold red", all_of_it=True)
        console.print(_input_table(case.stages))
    forms = [(variable, entry, form) for variable in case.variables for entry, form in variable.closed_forms.items()]
    if forms:
        console.print()
        _say(console, "closed forms, by SymPy", "bold", all_of_it=True)
        console.print(_forms_table(forms))
    _print_notes(case.notes, console)


def _print_survivors(case: CaseResult, console: Console) -> None:
    """The planted faults that the run did not catch: what its points cannot tell."""
    survivors = case.kill_score.survivors if case.kill_score else ()
    for survivor in survivors[:MOST_SURVIVORS]:
        _say(console, f"{line_of(case.name)}: a planted fault survives: {line_of(survivor)}", "")
    if len(survivors) > MOST_SURVIVORS:
        _say(console, f"{line_of(case.name)}: and {len(survivors) - MOST_SURVIVORS:,} more survive", "")
    if survivors:
        console.print()


def _print_notes(notes: Iterable[str], console: Console) -> None:
    for note in notes:
        _say(console, f"note: {line_of(note)}", "")


def describe_failure(row: Row, case_result: CaseResult, command: str = "", told: str = "") -> str:
    """One row in plain text: where, what each method says, who is suspected, how to be there and how to repeat it.

    ``command`` is the one that judged a gradient under test; ``told`` says how far the cause reaches.

    >>> from verify.words import Verdict
    >>> values = {"symbolic": 6.0, "reverse": 6.5, "central": 6.0}
    >>> row = Row("square", "x", (), "gradient", 0, "cases/square.yaml", 3, values=values, verdict=Verdict.FAIL,
    ...           passes=False, reason="they differ", suspect="reverse")
    >>> print(describe_failure(row, CaseResult("square", "cases/square.yaml", seed=7)))
    FAIL dx of square: suspected: reverse
      where     gradient of x, case square, point 0
      place     cases/square.yaml:3
      symbolic  6.0
      reverse   6.5
      central   6.0
      differ    symbolic-reverse 0.5, symbolic-central 0, reverse-central 0.5
      suspect   reverse
      reason    they differ
      # the point was not kept; seed 7 of case 'square' draws it again
      repeat    verify run cases/square.yaml --points 0 --seed 7
    """
    point = next((p for p in case_result.points if p.id == row.point), None)
    origin = f" ({line_of(point.origin)})" if point else ""
    named = f"{row.quantity} of {line_of(row.variable)}{format_entry(row.entry)}"
    facts = [("where", f"{named}, case {line_of(row.case)}, point {row.point}{origin}")]
    facts += [("place", place(row.file, row.line))] * bool(row.file)
    facts += _subject_facts(row) if SUBJECT in row.values else _method_facts(row, case_result)
    facts += [("reason", row.reason)] * bool(row.reason)
    facts += [("diagnosis", sentence) for sentence in row.diagnosis]
    if point is not None and point.note:
        facts.append(("note", point.note))
    wide = max(len(name) for name, _ in facts)
    lines = [row_cause(row)]
    lines += [f"  {name:{wide}}  {line_of(text)}" for name, text in facts]
    lines += [f"  {line}" for line in point_literal(point, case_result).split("\n")]
    lines += [f"  {told}"] * bool(told)
    repeat = repeating(row, case_result, command)
    lines += [f"  {'repeat':{wide}}  {line_of(repeat)}"] * bool(repeat)
    return "\n".join(lines)


def describe_case(case: CaseResult, command: str = "") -> str:
    """Everything that keeps a case from passing, as plain text.

    >>> print(describe_case(CaseResult("f", "cases/f.yaml", problems=("cases/f.yaml:3: unknown name 'z'",))))
    cases/f.yaml:3: unknown name 'z'
    """
    found = [describe_finding(finding, case) for finding in case.findings]
    told = (text for _, text in describe_causes([case], command))
    blocks = [*map(printable, case.problems), *map(line_of, case.failures), *found, *told]
    if case.simplest is not None:
        blocks.append(f"simplest point that shows it: {line_of(case.simplest.sentence)}")
    return "\n\n".join(blocks)


def describe_causes(cases: Sequence[CaseResult], command: str = "") -> list[tuple[str, str]]:
    """What made rows fail, a cause at a time with its verdict, in at most some :data:`MOST_LINES` lines of plain text.

    Where there is no room for all of them, the first are told in full and others by their first line; a cause at a
    point that was told before is, too: a point is printed once.

    >>> describe_causes([CaseResult("square", "cases/square.yaml")])
    []
    """
    found, told, room = causes(cases), [], MOST_LINES
    seen: set[tuple[str, int]] = set()
    for number, cause in enumerate(found):
        row, at = cause.group.row, (cause.case.name, cause.group.row.point)
        text = describe_failure(row, cause.case, command, extent(cause))
        lines = text.count("\n") + 2
        if number and (at in seen or lines > room - (len(found) - number)):
            head, repeat = row_cause(row), "" if at in seen else repeating(row, cause.case, command)
            sentences = [line_of(sentence) for sentence in row.diagnosis if line_of(sentence) not in head]
            where = place(row.file, row.line)
            text = "\n  ".join(filter(None, (head, where, *sentences, extent(cause), line_of(repeat))))
            lines = text.count("\n") + 2
        if number and lines > room - 2:
            hidden = plural(len(found) - number, "cause")
            told.append(("", f"{hidden} of failure more; --html FILE and --csv DIR write all of them"))
            break
        room -= lines
        seen.add(at)
        told.append((row.verdict.value, text))
    return told


def _subject_facts(row: Row) -> list[tuple[str, str]]:
    """A gradient under test against the truth; what our own methods say stands in one line below."""
    facts = [("yours", full(row.values[SUBJECT]))]
    if row.reference == row.reference:
        facts.append(("truth", f"{full(row.reference)}, proved to within {magnitude(row.radius)} ({row.road})"))
    error = row.errors.get(SUBJECT, math.nan)
    if row.allowed == row.allowed and not math.isinf(error):
        facts.append(("off by", f"{magnitude(error)}, allowed {magnitude(row.allowed)}"))
    others = [f"{method} {full(value)}" for method, value in row.values.items() if method != SUBJECT]
    return [*facts, *[("methods", ", ".join(others))] * bool(others)]


def _method_facts(row: Row, case_result: CaseResult) -> list[tuple[str, str]]:
    """What each method says, how far they are from the truth and from each other, and who is suspected."""
    facts = [(method, full(value)) for method, value in row.values.items()]
    if row.reference == row.reference:
        facts.append(("reference", f"{full(row.reference)}, proved to within {magnitude(row.radius)} ({row.road})"))
    if row.errors:
        facts.append(("error", ", ".join(f"{method} {magnitude(error)}" for method, error in row.errors.items())))
        facts.append(("allowed", f"{magnitude(row.allowed)}{_step_text(row)}"))
    if row.expected == row.expected:
        facts.append(("expected", full(row.expected)))
    apart = ", ".join(f"{a}-{b} {magnitude(row.difference(a, b))}" for a, b in pairs_of(case_result.methods))
    return [*facts, ("differ", apart), ("suspect", row.suspect or "nobody")]


def _step_text(row: Row) -> str:
    return f", and {magnitude(row.step_error)} more for central's step" if row.step_error > 0 else ""


def verdict_line(run: Run) -> str:
    """The run in one line: how many cases and rows, what they came to, how long it took, the seed.

    >>> verdict_line(Run(cases=(CaseResult("x", "x.yaml", problems=("x.yaml: empty",)),), seed=0, points=64))
    '1 case, 0 rows: 1 does not pass (1 could not be run) in 0.0 s, seed 0'
    """
    rows = sum(variable.checked for case in run.cases for variable in case.variables)
    failing = sum(not case.passes for case in run.cases)
    unread = sum(bool(case.problems) for case in run.cases)
    everybody = "all that were run pass" if run.left_out else "all pass"
    came_to = everybody if not failing else f"{failing} {'does' if failing == 1 else 'do'} not pass"
    came_to += f" ({unread} could not be run)" if unread else ""
    unchanged = sum(case.unchanged for case in run.cases)
    came_to += f" ({unchanged} unchanged since {'it' if unchanged == 1 else 'they'} passed)" if unchanged else ""
    counts = counts_text(run.counts)
    rows_text = plural(rows, "row") + (f" ({counts})" if counts else "")
    rows_text += f", {sum(case.proved for case in run.cases):,} proved" if rows else ""
    told = f"{plural(len(run.cases), 'case')}, {rows_text}: {came_to} in {run.seconds:.1f} s, seed {run.seed}"
    return "; ".join((told, *caveats(run)))


def _print_whole_case(case: CaseResult, console: Console) -> None:
    lines = _whole_case_lines(case)
    for line in lines:
        _say(console, line, _STYLE["ERROR"] if not case.passes else _STYLE["UNDECIDED"])
    if lines:
        console.print()


def _whole_case_lines(case: CaseResult) -> list[str]:
    name = line_of(case.name)
    lines = [f"ERROR {printable(problem)}" for problem in case.problems]
    lines += [f"FAIL {name}: {line_of(failure)}" for failure in case.failures]
    if case.simplest is not None:
        lines.append(f"NOTE {name}: simplest point that shows it: {line_of(case.simplest.sentence)}")
    lines += [f"UNDECIDED {name}: {line_of(m)} unsupported: {line_of(why)}" for m, why in case.unsupported.items()]
    return lines


def describe_finding(finding: Finding, case_result: CaseResult) -> str:
    """What was found out about a gradient beside its numbers, in plain text, its traceback indented.

    >>> from verify.words import FindingKind
    >>> print(describe_finding(Finding(FindingKind.WRONG_DTYPE, "x", "dx is float32", True), CaseResult("f", "f.yaml")))
    FAIL f: wrong dtype: dx is float32
    """
    word = "FAIL" if finding.fails else "NOTE"
    text = f"{word} {line_of(case_result.name)}: {finding.kind}: {line_of(finding.sentence)}"
    return text + "".join(f"\n    {printable(line)}" for line in finding.detail.splitlines())


def _say(console: Console, text: str, style: str, *, all_of_it: bool = False) -> None:
    """Prints text as it is, long lines left to the terminal; the first word (or all of it) in a style."""
    from rich.text import Text

    shown = Text(text := wrapped(text, console.width if console.file.isatty() else None))
    if style:
        shown.stylize(style, 0, len(text) if all_of_it else len(text.partition(" ")[0]))
    console.print(shown, soft_wrap=True)


def _cells(*texts: str) -> Iterable[Text]:
    from rich.text import Text

    return (Text(text) for text in texts)


def _table(*headers: str, right: Sequence[str] = ()) -> Table:
    """A table without lines, which reads the same in a terminal and in a pipe."""
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim", show_header=any(headers))
    for header in headers:
        table.add_column(Text(header), justify="right" if header in right else "left", overflow="fold")
    return table


def _score_texts(score: KillScore | None) -> tuple[str, ...]:
    if score is None:
        return (ABSENT,) * len(_SCORES)
    faults = score.variants - score.equivalent
    sampled = f" (of {score.made:,} made)" if score.variants < score.made else ""
    return f"{score.caught:,} of {faults:,}{sampled}", f"{score.equivalent:,}", f"{score.survive_allclose:,}"


def _cases_table(run: Run, console: Console) -> Table:
    from rich.text import Text

    # Of a gradient under test it is asked how far it is from the truth; our own methods only stand beside it.
    pairs = () if SUBJECT in run.methods else pairs_of(run.methods)
    headings = [f"{a}-{b}" for a, b in pairs]
    scores = _SCORES if any(case.kill_score for case in run.cases) else ()
    counts = ("points", "rows", "proved", "weak")
    rows = []
    for case in run.cases:
        weak = sum(variable.weak for variable in case.variables)
        status = case.status if case.passes or case.status in ("FAIL", "ERROR") else f"{case.status}, does not pass"
        rows.append(
            [
                Text(line_of(case.name)),
                Text(status, _STYLE[case.status] if case.passes else _STYLE["FAIL"]),
                *_cells(f"{case.points_checked:,}", f"{case.checked:,}", f"{case.proved:,}", f"{weak:,}"),
                *_cells(power_text(case)),
                *_cells(*(magnitude(largest_difference(case, pair)) for pair in pairs)),
                *(_cells(*_score_texts(case.kill_score)) if scores else ()),
                Text(counts_text(case.counts) or ABSENT),
            ]
        )
    return fitted(
        ["case", "status", *counts, "power", *headings, *scores, "verdicts"],
        rows,
        console.width,
        cuts=console.file.isatty(),
        right=(*counts, *headings, *scores),
        drop=(*reversed(headings), "weak", "power", "points", *reversed(scores), "verdicts", "proved", "rows"),
    )


def _subject_table(run: Run, console: Console) -> Table:
    """A gradient under test against the truth: a row for each variable, at other sizes where it does not pass there."""
    from rich.text import Text

    rows = []
    for name, row, verdict, passes in subject_rows(run):
        is_proved = not math.isnan(row.reference)
        truth = short(row.reference) if is_proved else short(row.values.get("central", math.nan))
        measured = "" if is_proved or truth == ABSENT else " (measured)"
        error = row.errors.get(SUBJECT, math.nan)
        rows.append(
            [
                *_cells(line_of(name), short(row.values[SUBJECT]), truth + measured, magnitude(error)),
                *_cells(magnitude(row.allowed)),
                Text(verdict, _STYLE[verdict] if passes else _STYLE["FAIL"]),
            ]
        )
    headings = ["gradient", "yours", "truth", "off by", "allowed", "verdict"]
    cuts, drop = console.file.isatty(), ("allowed", "off by")
    return fitted(headings, rows, console.width, cuts=cuts, right=("off by", "allowed"), drop=drop)


def _forward_table(stages: Sequence[StageRecord]) -> Table:
    table = _table("  line", "stage", "value")
    for stage in stages:
        shown = f"{stage.name} = {stage.expression}" if stage.expression else stage.name
        table.add_row(*_cells(f"  {stage.line or ABSENT}", line_of(shown), array_text(stage.value)))
    return table


def _backward_table(stages: Sequence[StageRecord]) -> Table:
    table = _table("  stage", "upstream gradient", "to", "local derivative", "sends back")
    for stage in reversed([stage for stage in stages if stage.expression]):
        first = [f"  {line_of(stage.name)}", array_text(stage.gradient)]
        operands = list(stage.local_derivatives) + [n for n in stage.contributions if n not in stage.local_derivatives]
        for operand in operands or [ABSENT]:
            formula = line_of(stage.local_derivatives.get(operand, ABSENT))
            table.add_row(*_cells(*first, line_of(operand), formula, array_text(stage.contributions.get(operand))))
            first = ["", ""]
    return table


def _input_table(stages: Sequence[StageRecord]) -> Table:
    table = _table("", "")
    for stage in stages:
        if not stage.expression:
            table.add_row(*_cells(f"  {line_of(stage.name)}", array_text(stage.gradient)))
    return table


def _forms_table(forms: Sequence[tuple[VariableResult, str, str]]) -> Table:
    table = _table("", "", "")
    for variable, entry, form in forms:
        shape = f" ({shape_text(variable.shape)})" if variable.shape and not entry else ""
        name = f"  d/d {line_of(variable.name)}{line_of(entry)}{shape}"
        table.add_row(*_cells(name, line_of(form), line_of(variable.form)))
    return table

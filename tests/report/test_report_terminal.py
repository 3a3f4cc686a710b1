"""Text for terminals and pipes: whole, plain where it must be, and harmless whatever the names."""

from __future__ import annotations

import ast
import io
import re
from dataclasses import replace

import numpy as np
import pytest
import sample_run

from verify.oracle.check import check_gradient
from verify.records import SUBJECT, WRONG_FIGURE, CaseResult, Point, Run
from verify.report.cause import extent, repeating, row_cause
from verify.report.select import Cause, causes, failure_groups, telling_row, worst_rows
from verify.report.terminal import (
    MOST_LINES,
    describe_causes,
    describe_failure,
    make_console,
    print_case_passes,
    print_run,
    verdict_line,
)


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        """Yes."""
        return True


def printed(run: Run, stream: io.StringIO | None = None) -> str:
    """What a run prints."""
    stream = stream or io.StringIO()
    print_run(run, make_console(stream))
    return stream.getvalue()


def passes_of(case: CaseResult) -> str:
    """What the passes of a case print."""
    stream = io.StringIO()
    print_case_passes(case, make_console(stream))
    return stream.getvalue()


def failing_case() -> CaseResult:
    """A case whose engine is wrong in x."""
    return sample_run.staged_case("wrong engine", fault={"x": 1.001})


def test_a_pipe_gets_plain_text() -> None:
    """No colour, no lines of boxes, nothing but ASCII where the names are."""
    text = printed(sample_run.run_of(sample_run.staged_case("staged function"), failing_case()))
    assert text.isascii()
    assert "\x1b" not in text


def test_a_terminal_gets_colour(monkeypatch: pytest.MonkeyPatch) -> None:
    """The twin: where a person looks, verdicts are coloured."""
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert "\x1b[" in printed(sample_run.right_run(), Terminal())


def test_a_table_row_for_each_case() -> None:
    """Name, status, points, rows, weak rows, power and the largest differences stand in one line."""
    lines = printed(sample_run.right_run()).splitlines()
    assert ["case", "status", "points", "rows", "proved", "weak", "power"] == lines[0].split()[:7]
    numbers = ["12", "132", "0", "0", "-", "8.9e-16", "3e-10", "3e-10"]
    assert ["staged", "function", "PASS", *numbers, "132", "PASS"] == lines[1].split()
    assert "3 cases, 995 rows (991 PASS, 2 SUBGRADIENT, 2 CONVENTION), 0 proved: all pass in 1.2 s" in lines[-1]


def test_every_case_is_told() -> None:
    """Failing rows, whole-case failures, problems and unsupported methods all appear."""
    text = printed(sample_run.sample_run())
    for part in (
        "FAIL dx of wrong engine: ",
        "accumulation: 54 rows in 2 cases: wrong sign (30), wrong engine (24)",
        "ERROR cases/misspelt.yaml:7:10: unknown op 'sigmiod'. Did you mean 'sigmoid'?",
        "FAIL condition asked: symbolic was asked for by name and cannot do this case",
        "UNDECIDED condition number: symbolic unsupported: op 'cond' has no SymPy form",
        "CONVENTION, does not pass",
    ):
        assert part in text


def test_nothing_is_cut_off() -> None:
    """A name and a reason longer than any window are there to their ends; the line of the cause alone is cut."""
    name, reason = "n" * 300 + "END", "r" * 500 + "END"
    rows = sample_run.rows_of([0], [0], {"symbolic": 1.0}, np.array([4], np.int8), reason, "s")
    case = CaseResult(name, "f.yaml", variables=(sample_run.variable_of(name, "x", rows),))
    text = printed(sample_run.run_of(case))
    assert reason in text
    assert name in text
    (line,) = (line for line in text.splitlines() if "..." in line)
    assert line.startswith("FAIL dx of nnn")
    assert len(line) <= 120


def test_terminal_commands_and_markup_are_shown() -> None:
    """Escape sequences and direction marks are text; so is what looks like markup."""
    for case in (sample_run.hostile_case(0), sample_run.hostile_case(5)):
        text = printed(sample_run.run_of(case)) + passes_of(case)
        assert re.search(r"[\x00-\x09\x0b-\x1f\x7f\u202e]", text) is None
        assert "\\x1b[31mred\\x1b[0m\\u202etrap" in text
        assert "[bold red]not markup[/]" in text


def test_a_failure_names_everything() -> None:
    """Variable, all values by method, differences, suspect, verdict, reason, place, seed."""
    case = failing_case()
    text = describe_failure(next(case.failing()), case)
    for part in (
        "FAIL dx of wrong engine: suspected: reverse: a wrong local derivative",
        "gradient of x, case wrong engine, point 0 (at)",
        "cases/wrong_engine.yaml:5",
        "symbolic  2.0595697955721657",
        "reverse   2.0616293653677373",
        "expected  2.0595697955721652",
        "symbolic-reverse 0.0021",
        "suspect   reverse: a wrong local derivative",
        f"--seed {sample_run.SEED}",
    ):
        assert part in text


def test_a_wrong_figure_is_told_as_one() -> None:
    """The cause is the figure where it alone is suspected; its twin above accuses the engine."""
    row = replace(next(failing_case().failing()), suspect=WRONG_FIGURE)
    assert row_cause(row).startswith("FAIL dx of wrong engine: 2.0595697955721652 is expected, 2.05956979557216")


def test_the_point_can_be_pasted() -> None:
    """The line is Python, and gives the point's own numbers back."""
    case = failing_case()
    row = list(case.failing())[3]
    line = next(line for line in describe_failure(row, case).splitlines() if line.startswith("  at = "))
    expected = {name: float(value) for name, value in case.points[row.point].values.items()}
    assert expected == ast.literal_eval(line.removeprefix("  at = "))


def test_large_arrays_of_a_point_are_summarised() -> None:
    """Arrays over 32 entries are a comment with seed and point; the small ones stay pasteable."""
    case = sample_run.large_case("matmul")
    text = describe_failure(case.variables[0].row(57), case)
    assert "  # W: array 5x10, " in text
    assert f"seed {sample_run.SEED} gives it again, as point 1 of case 'matmul'" in text
    at = ast.literal_eval(next(line for line in text.splitlines() if "at = " in line).split("at = ")[1])
    assert {name: case.points[1].values[name].tolist() for name in ("X", "upstream of D")} == at
    given = replace(case.points[1], given=("W",))
    case = replace(case, points=(case.points[0], given, *case.points[2:]))
    text = describe_failure(case.variables[0].row(57), case)
    assert "as it was given" in text
    assert "gives it again" not in text
    assert "W[0, 7]" in text


def test_points_that_are_not_finite_can_be_pasted() -> None:
    """An infinity is written as a call that Python knows."""
    case = replace(failing_case(), points=(Point(0, "at", True, {"x": np.inf, "y": [1.0, np.nan]}),))
    text = describe_failure(next(case.failing()), case)
    assert "at = {'x': float('inf'), 'y': [1.0, float('nan')]}" in text


def with_suspects(count: int, name: str = "all wrong") -> CaseResult:
    """A case of which every variable fails, each with one of so many suspects."""
    case = sample_run.staged_case(name, fault=dict.fromkeys(["x", "y", *dict(sample_run.STAGED)], 2.0))
    variables = []
    for number, variable in enumerate(case.variables):
        texts = (*variable.rows.texts[:2], f"VJP of op {number % count}")
        rows = replace(variable.rows, texts=texts, expected=np.full(len(variable.rows), np.nan))
        variables.append(replace(variable, rows=rows))
    return replace(case, variables=tuple(variables))


def test_a_failing_run_is_told_in_forty_lines() -> None:
    """The first causes in full, others by their first line, and how many there are besides."""
    cases = [with_suspects(10, f"wrong {k}") for k in range(3)]
    told = describe_causes(cases)
    lines = sum(text.count("\n") + 2 for _, text in told)
    assert lines <= MOST_LINES
    assert 1 <= sum("where     " in text for _, text in told) < len(told) - 1
    assert "more; --html FILE and --csv DIR write all of them" in told[-1][1]
    assert "more;" not in "".join(text for _, text in describe_causes([with_suspects(2)]))


def test_one_cause_is_told_once() -> None:
    """What one suspect did is one failure, whatever the case; two suspects are two."""
    cases = [with_suspects(1, "first"), with_suspects(1, "second")]
    (cause,) = causes(cases)
    assert {"first": 10, "second": 10}.keys() == cause.cases.keys()
    ((_, text),) = describe_causes(cases)
    rows = sum(variable.failed for case in cases for variable in case.variables)
    assert f"VJP of op 0: {rows} rows in 2 cases: first ({rows // 2}), second ({rows // 2})" in text
    assert 2 == len(causes([with_suspects(2)]))


def test_a_point_is_printed_once() -> None:
    """A second cause at the same point does not say it again."""
    text = "\n".join(text for _, text in describe_causes([with_suspects(2)]))
    assert 1 == text.count("  at = ")


def test_a_failure_ends_with_what_repeats_it() -> None:
    """A command for a case file; for a gradient under test the command that was given, or a call."""
    case = failing_case()
    row = next(case.failing())
    command = f"verify run cases/wrong_engine.yaml --points 0 --seed {sample_run.SEED}"
    assert describe_failure(row, case).endswith(command)
    drawn = replace(row, point=99)
    assert repeating(drawn, replace(case, points_asked=8)).endswith(f"--points 8 --seed {sample_run.SEED}")
    yours = replace(row, values={SUBJECT: 1.0})
    assert "verify check m:f --case wrong" == repeating(yours, case, "verify check m:f --case wrong")
    assert "check_gradient(gradient, case, at=at, points=0)" == repeating(yours, case)
    seeded = replace(case.points[0], values={"x": 1.0, "upstream of D": 2.0})
    expected = "check_gradient(gradient, case, at={'x': at['x']}, upstream={'D': at['upstream of D']}, points=0)"
    assert expected == repeating(yours, replace(case, points=(seeded,)))
    large = replace(case.points[0], values={"x": np.zeros(99)})
    expected = f"check_gradient(gradient, case, points=8, seed={sample_run.SEED})"
    assert expected == repeating(yours, replace(case, points=(large,), points_asked=8))
    assert "" == repeating(replace(row, file="<text>"), case)


def test_groups_have_the_worst_row() -> None:
    """One group a variable and suspect; its row is the one that differs most; right cases have none."""
    case = sample_run.staged_case("wrong sign", points=30, fault={"den": -1.0})
    (group,) = failure_groups(case)
    largest = max(row.difference("symbolic", "reverse") for row in case.failing())
    assert (30, 1, 30, largest) == (
        group.rows,
        group.entries,
        group.points,
        group.row.difference("symbolic", "reverse"),
    )
    assert [] == failure_groups(sample_run.staged_case("right"))
    one = replace(group, rows=1)
    assert "" == extent(Cause(case, one, ((case, one),)))


@pytest.mark.parametrize(("wrong", "shown"), [([1.1, 1.0, 2.0], 2), ([1.1, np.nan, 2.0], 1), ([np.nan, 1.0, 2.0], 0)])
def test_the_first_line_and_the_table_show_one_row(wrong: list[float], shown: int) -> None:
    """The entry that is farthest off at the first point that fails; a missing number is as far off as can be."""
    at = {"x": [1.0, 2.0, 3.0]}
    run = check_gradient(lambda x: 2 * x * np.array(wrong), lambda x: np.sum(x**2), at=at, points=0)
    (case,) = run.cases
    assert failure_groups(case)[0].row.entry == telling_row(case.variables[0]).entry == (shown,)
    right = check_gradient(lambda x: 2 * x, lambda x: np.sum(x**2), at=at, points=0)
    assert telling_row(right.cases[0].variables[0]).passes


def test_rows_are_chosen_by_severity_then_point() -> None:
    """Failing rows stand first, then the own point's rows of all variables; the limit holds."""
    case = failing_case()
    rows = worst_rows(case, 20)
    assert (20, [False] * 12 + [True] * 8) == (len(rows), [row.passes for row in rows])
    assert [0] * 8 == [row.point for row in rows[12:]]
    assert sum(len(v.rows) for v in case.variables) == len(worst_rows(case, 10_000))


def test_the_passes_show_the_notes_figures() -> None:
    """Values going forward, upstream gradients and what is sent back going backward, then inputs and closed forms."""
    text = passes_of(sample_run.staged_case("staged function"))
    forward, backward = text.index("forward pass"), text.index("backward pass")
    assert forward < text.index("den = sigx + xpysqr") < backward
    line = next(line for line in text[backward:].splitlines() if line.startswith("  invden"))
    assert ["invden", "3.0179862099620918", "den", "-1/den**2", "-0.7915934472725935"] == line.split()
    assert "  x  2.0595697955721652" in text
    assert re.search(r"d/d den +-num/den\*\*2 +closed form", text)


def test_the_passes_show_small_arrays_and_summarise_large_ones() -> None:
    """D has 15 entries and is printed, W has 50 and is not."""
    text = passes_of(sample_run.large_case("matmul"))
    assert "array 5x10, " in text
    assert 5 == len(re.findall(r"^ .*\[ ?-?\d[^\]]*\]", text[: text.index("backward pass")], re.MULTILINE))


def test_a_case_that_could_not_be_read_shows_why() -> None:
    """There are no passes, but the problem is told."""
    assert "unknown op 'sigmiod'" in passes_of(sample_run.broken_case("misspelt"))


def test_the_last_line_counts() -> None:
    """Failing and unreadable cases are counted, one and several."""
    line = verdict_line(sample_run.run_of(sample_run.broken_case("a"), sample_run.staged_case("b", points=1)))
    assert "2 cases, 11 rows (11 PASS), 0 proved: 1 does not pass (1 could not be run) in 1.2 s, seed 20240607" == line


def test_a_note_that_several_results_have_is_told_once() -> None:
    """Points of one function that were looked at otherwise each have the same notes."""
    cases = [CaseResult(f"f, part {i}", "", notes=("the same of both", f"of part {i}")) for i in range(2)]
    stream = io.StringIO()
    print_run(Run(cases=tuple(cases), seed=0, points=1), make_console(stream), notes=True)
    told = [line for line in stream.getvalue().splitlines() if line.startswith("note: ")]
    assert told == ["note: the same of both", "note: of part 0", "note: of part 1"]

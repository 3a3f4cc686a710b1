"""Runs in the field: proofs that are counted and not timed, and headlines that say what was not shown."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from verify import check_gradient
from verify.certified.reference import MOST_WORK
from verify.records import VERDICTS, CaseResult, Rows, Run, Unproved, VariableResult, Verdict
from verify.report.json import document
from verify.report.terminal import verdict_line
from verify.runner import run_cases
from verify.settings import Settings

NEURON = """case: neuron
inputs:
  x: {shape: [3], at: [0.3, -1.2, 0.7], domain: [-2, 2]}
  w: {shape: [3], at: [1.5, 0.2, -0.4], domain: [-2, 2]}
stages: {z: sum(w * x), f: sigmoid(z)}
"""


def result_of(folder: Path, text: str = NEURON, **asked: Any) -> CaseResult:
    """The result of a case file."""
    path = folder / "case.yaml"
    path.write_text(text, encoding="utf-8")
    (result,) = run_cases([path], Settings(points=2, **asked)).cases
    return result


def test_a_proof_that_ran_out_of_work_is_told_everywhere(tmp_path: Path) -> None:
    """Headline, note and JSON say how many rows are not proved, and why; with enough work they say nothing."""
    for work, is_proved in ((1, False), (MOST_WORK, True)):
        path = tmp_path / "case.yaml"
        path.write_text(NEURON, encoding="utf-8")
        run = run_cases([path], Settings(points=2, proof_work=work))
        (case,) = run.cases
        told = (verdict_line(run), *case.notes, str(document(run)["caveats"]))
        assert ["the proof work ran out" in text for text in told] == [not is_proved] * len(told)
        assert f"{case.checked if is_proved else 0} proved" in verdict_line(run)
        assert (case.proved > 0, dict(case.unproved)) == (
            is_proved,
            {} if is_proved else {Unproved.WORK: case.checked},
        )


def test_required_proof_fails_where_there_is_none(tmp_path: Path) -> None:
    """By its reason; the twin has work enough and passes."""
    lacking = result_of(tmp_path, proof_work=1, require_proof=True)
    assert (False, "FAIL") == (lacking.passes, lacking.status)
    assert "proof is required" in lacking.failures[0]
    assert result_of(tmp_path, require_proof=True).passes


def test_a_black_box_is_not_proved() -> None:
    """Where proof is required a gradient that can only be measured does not pass, however right it is."""

    def area(x: Any) -> Any:
        return float(str(float(x))) ** 2

    def slope(x: Any) -> Any:
        return 2 * x

    assert check_gradient(slope, area, at={"x": 1.5}).ok
    run = check_gradient(slope, area, Settings(require_proof=True), at={"x": 1.5})
    assert not run.ok
    assert "no expression is known" in str(run)


def test_work_is_the_same_however_often_it_is_counted(tmp_path: Path) -> None:
    """Each of many budgets proves the same rows every time, and more work proves more."""
    proved = [[result_of(tmp_path, proof_work=work).proved for _ in range(2)] for work in (1, 100, 200, 400, 10**6)]
    assert all(first == second for first, second in proved)
    assert [first for first, _ in proved] == sorted(first for first, _ in proved)
    assert proved[0][0] == 0 < proved[-1][0]


def rows_with(undecided: int, total: int, variable: str = "x", **told: Any) -> CaseResult:
    """A case with so many undecided rows, which pass."""
    verdict = np.array([VERDICTS.index(Verdict.UNDECIDED)] * undecided + [0] * (total - undecided), dtype=np.int8)
    none = np.zeros(total, dtype=np.int64)
    rows = Rows(none, none, {}, np.full(total, np.nan), verdict, none == 0, none, none, ("",))
    counts = Counter({Verdict.UNDECIDED: undecided, Verdict.PASS: total - undecided})
    found = VariableResult("f", variable, "input", "gradient", (), "f.yaml", 1, rows, total, counts, 0, ())
    return CaseResult("f", "f.yaml", variables=(found,), **told)


@pytest.mark.parametrize(("undecided", "status"), [(0, "PASS"), (1, "PASS"), (10, "PASS"), (11, "UNDECIDED")])
def test_a_few_undecided_rows_are_no_headline(undecided: int, status: str) -> None:
    """Up to a tenth of the rows of what passes; beyond, status and headline say so."""
    case = rows_with(undecided, 100)
    run = Run(cases=(case,), seed=0, points=64)
    assert (status, status, True) == (case.status, run.verdict, run.ok)
    assert ("UNDECIDED, nothing is shown" in verdict_line(run)) is (status == "UNDECIDED")


def test_a_variable_that_is_wholly_undecided_is_a_headline() -> None:
    """However few its rows are among all: nothing was shown of it."""
    shown, open_ = rows_with(0, 100), rows_with(2, 2, "y")
    assert Run(cases=(shown, open_), seed=0, points=64).verdict == "UNDECIDED"
    assert Run(cases=(shown, rows_with(1, 2, "y")), seed=0, points=64).verdict == "PASS"


def test_an_undecided_row_of_a_case_that_fails_is_not_dropped() -> None:
    """The twin: what fails is told as before."""
    assert rows_with(1, 100, failures=("no",)).status == "FAIL"
    assert rows_with(1, 100, problems=("no",)).status == "ERROR"


def test_lost_digits_are_told_with_how_to_forbid_them() -> None:
    """1 - tanh(x)**2 keeps three digits at 15: where it passes, the headline says what was lost."""
    wide, narrow = (
        check_gradient(lambda x: 1 - np.tanh(x) ** 2, np.tanh, at={"x": 0.5}, domain={"x": (-high, high)})
        for high in (15.0, 1.0)
    )
    assert wide.counts[Verdict.IMPRECISE] > narrow.counts[Verdict.IMPRECISE] == 0
    assert wide.ok is ("which 'accuracy: relative' in the case forbids" in verdict_line(wide))
    assert "lost digits" not in verdict_line(narrow)

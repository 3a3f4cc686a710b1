"""Runs in the field: proofs that are counted and not timed, and headlines that say what was not shown."""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from verify import check_gradient, cli
from verify.case.case import Case, load_case_text
from verify.judging.rows import table
from verify.records import CaseResult, Run, VariableResult
from verify.report.json import document
from verify.report.terminal import verdict_line
from verify.running import runner
from verify.running.runner import RunInterrupted, run_case, run_cases, run_file
from verify.running.settings import Settings
from verify.truth.reference import MOST_WORK
from verify.words import Unproved, Verdict

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
    verdicts = [Verdict.UNDECIDED] * undecided + [Verdict.PASS] * (total - undecided)
    rows = table([{"point": 0, "entry": 0, "verdict": verdict} for verdict in verdicts])
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


# ------------------------------------------------------------------------------------------------------------- limits


def written(folder: Path, *names: str) -> list[Path]:
    """Small case files of these names."""
    paths = [folder / f"{name}.yaml" for name in names]
    for path in paths:
        path.write_text(NEURON.replace("neuron", path.stem), encoding="utf-8")
    return paths


def test_a_case_that_takes_too_long_is_an_error_that_names_the_step(tmp_path: Path) -> None:
    """Of a determinant of 30 x 30 nobody waits for the end; the case after it runs."""
    slow, good = tmp_path / "det.yaml", written(tmp_path, "good")[0]
    slow.write_text("case: det\ninputs: {A: {shape: [30, 30], at: normal}}\nstages: {f: det(A)}\n", encoding="utf-8")
    one, other = run_cases([slow, good], Settings(points=2, case_seconds=0.5)).cases
    assert ("ERROR", "PASS") == (one.status, other.status)
    assert "det.yaml: more than 0.5 s of processor time (--case-seconds) while " in one.problems[0]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize(("seconds", "status"), [(1e-3, "ERROR"), (100.0, "PASS")])
def test_a_thread_is_watched_too(tmp_path: Path, seconds: float, status: str) -> None:
    """Signals belong to the main thread: elsewhere another thread looks at the time.

    It looks again: what it sends may be lost once, where Python calls back while it collects garbage. So the case that
    is to end early takes long enough.
    """
    found = []
    (path,) = written(tmp_path, "good")
    if status == "ERROR":
        path.write_text("case: det\ninputs: {A: {shape: [7, 7], at: normal}}\nstages: {f: det(A)}\n", encoding="utf-8")
    settings = Settings(points=2, case_seconds=seconds)
    thread = threading.Thread(target=lambda: found.append(run_case(path, settings)))
    thread.start()
    thread.join()
    assert [status] == [result.status for result in found]


def test_more_memory_than_a_case_may_take_is_an_error(tmp_path: Path) -> None:
    """In a process of its own; the case after it runs."""
    large, good = tmp_path / "large.yaml", written(tmp_path, "good")[0]
    matrices = "A: {shape: [1500, 1500], at: normal}, B: {shape: [1500, 1500], at: normal}"
    large.write_text(f"case: large\ninputs: {{{matrices}}}\nstages: {{f: A @ B}}\n", encoding="utf-8")
    one, other = run_cases([large, good], Settings(points=0, case_memory=2**26)).cases
    assert ("ERROR", "PASS") == (one.status, other.status)
    assert "memory" in one.problems[0]


def square(x: Any) -> Any:
    """A function for gradients that do not return."""
    return x**2


@pytest.mark.parametrize("function", [square, lambda x: float(str(float(x))) ** 2], ids=["traced", "black box"])
def test_a_call_that_does_not_return_is_an_error(function: Any) -> None:
    """Asleep or deaf to exceptions; the twin answers in time."""

    def asleep(x: Any) -> Any:
        time.sleep(100)
        return 2 * x

    def deaf(x: Any) -> Any:
        for _ in range(10_000):
            try:
                time.sleep(0.01)
            except Exception:  # noqa: BLE001, S112 - it is what the test is about
                continue
        return 2 * x

    for gradient in (asleep, deaf):
        run = check_gradient(gradient, function, Settings(call_seconds=0.1), at={"x": 3.0})
        assert ("ERROR", 2) == (run.verdict, run.exit_code)
        assert "did not return within 0.1 s (--call-seconds) while " in str(run)
    assert check_gradient(lambda x: 2 * x, function, Settings(call_seconds=5.0), at={"x": 3.0}).ok


def test_a_file_is_read_once_and_a_foreign_exception_is_an_error_of_its_case(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Removed while its case runs, it is run at all sizes; what nobody thought of stops no other case."""
    sized = "case: sized\ndims: {n: 3}\ninputs: {x: {shape: [n], at: normal}}\nstages: {f: sum(x * x)}\n"
    gone, good = tmp_path / "gone.yaml", written(tmp_path, "good")[0]
    gone.write_text(sized, encoding="utf-8")
    read: list[str] = []

    def read_and_remove(text: str, file: str) -> Case:
        read.append(file)
        gone.unlink(missing_ok=True)
        return load_case_text(text, file)

    monkeypatch.setattr(runner, "load_case_text", read_and_remove)
    run = run_cases([gone, good], Settings(points=2, sizes=1))
    assert ["PASS", "PASS", "PASS"] == [case.status for case in run.cases]
    assert [str(gone), str(good)] == read
    assert "there is no such file" in run_file(gone, Settings(points=2))[0].problems[0]
    monkeypatch.setattr(runner, "load_case_text", lambda _, file: {}[file])
    assert "this program failed on the case" in run_file(good, Settings(points=2))[0].problems[0]


def test_an_interrupt_is_one_line_and_what_was_done_is_incomplete(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit code 130; the reports have what was done, and say that it is not all."""
    paths, real = written(tmp_path, "a", "b", "c"), runner.each_size

    def interrupted(path: Path, settings: Settings) -> Iterator[CaseResult]:
        yield from real(path, settings)
        if path == paths[1]:
            raise KeyboardInterrupt

    monkeypatch.setattr(runner, "each_size", interrupted)
    with pytest.raises(RunInterrupted) as caught:
        run_cases(paths, Settings(points=2))
    run = caught.value.run
    assert (["PASS", "PASS"], 1, False) == ([case.status for case in run.cases], run.left_out, run.ok)
    assert "; 1 case was not run" in verdict_line(run)
    report = tmp_path / "run.json"
    assert 130 == cli.main(["run", *map(str, paths), "--points", "2", "--no-cache", "--json", str(report)])
    printed = capsys.readouterr()
    assert ("", 1) == (printed.out, len(printed.err.splitlines()))
    told = json.loads(report.read_text(encoding="utf-8"))
    assert (False, 1, 2) == (told["ok"], told["left_out"], len(told["cases"]))
    assert 0 == cli.main(["run", str(paths[0]), "--points", "2", "--no-cache", "--json", str(report)])


@pytest.mark.parametrize(
    "asked", [{"case_seconds": 0.0}, {"call_seconds": float("inf")}, {"case_memory": 1000}, {"case_seconds": -1.0}]
)
def test_a_limit_that_makes_no_sense_is_refused(asked: dict[str, Any]) -> None:
    """By the runner, as the command line does."""
    from verify.errors import UsageError

    with pytest.raises(UsageError):
        run_cases([], Settings(**asked))


@pytest.mark.parametrize("power", ["r**2", "r**3", "r**4", "1 / (1 + r**2)**2"])
def test_a_power_of_what_vanishes_is_proved(power: str, tmp_path: Path) -> None:
    """Terms that cancel leave a ball around 0, and whole powers of one are as well known as of any."""
    inputs = "x: {at: 1, domain: [0.5, 2]}, y: {at: 1, domain: [0.5, 2]}"
    stages = f"{{r: exp(x) - exp(y), f: '{power}'}}"
    text = f"case: minimum\ninputs: {{{inputs}}}\nstages: {stages}\n"
    result = result_of(tmp_path, text, require_proof=True)
    assert ((), {}) == (result.failures, dict(result.unproved))
    assert result.passes

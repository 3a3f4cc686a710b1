"""The run over many cases: nothing stops it, nothing vanishes, and how it is run changes nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from verify.case.case import load_case
from verify.case.files import find_case, find_case_files, shipped_cases
from verify.errors import UsageError
from verify.graph.derivative import Derivative
from verify.methods.reverse import Reverse
from verify.ops import OPS
from verify.places.points import random_points
from verify.records import CaseResult, Run, VariableResult
from verify.running import gathering, runner
from verify.running.runner import run_case, run_cases
from verify.running.settings import Settings
from verify.symbolic import pieces
from verify.words import Verdict

GOOD = "case: good\ninputs: {x: {at: 1}}\nstages: {f: exp(x)}\n"
WRONG = "case: wrong\ninputs: {x: {at: 1}}\nstages: {f: exp(x)}\nexpect: {value: {f: 2.5}}\nsource: nowhere\n"
BROKEN = "case: broken\ninputs: {x: {at: 1}}\nstages: {f: exq(x), g: f + unknown}\n"


def write(folder: Path, **texts: str) -> list[Path]:
    """Case files named after the keywords, in order."""
    paths = []
    for name, text in texts.items():
        paths.append(folder / f"{name}.yaml")
        paths[-1].write_text(text, encoding="utf-8")
    return paths


def same(first: CaseResult, second: CaseResult) -> bool:
    """Whether two results say the same, down to every number, but for the time they took."""
    if (first.name, first.status, first.problems, first.counts) != (
        second.name,
        second.status,
        second.problems,
        second.counts,
    ):
        return False
    for one, other in zip(first.variables, second.variables, strict=True):
        if (one.name, one.closed_forms, str(one.differences), one.rows.texts) != (
            other.name,
            other.closed_forms,
            str(other.differences),
            other.rows.texts,
        ):
            return False
        columns = [(one.rows.values[m], other.rows.values[m]) for m in one.rows.values]
        columns += [(getattr(one.rows, c), getattr(other.rows, c)) for c in ("point", "entry", "verdict", "reason")]
        if not all(np.array_equal(a, b, equal_nan=True) for a, b in columns):
            return False
    return len(first.variables) == len(second.variables)


# ------------------------------------------------------------------------------------------------------ broken cases


def test_a_broken_case_is_a_result_and_stops_nobody(tmp_path: Path) -> None:
    """All its problems with their places, and the cases around it run."""
    run = run_cases(write(tmp_path, a=GOOD, b=BROKEN, c=GOOD), Settings(points=2))
    assert ["PASS", "ERROR", "PASS"] == [case.status for case in run.cases]
    problems = run.cases[1].problems
    assert 2 == len(problems)
    assert "unknown op 'exq'. Did you mean 'exp'?" in problems[0]
    assert f"{tmp_path / 'b.yaml'}:3:" in problems[0]
    assert not run.cases[1].passes


def test_exit_codes(tmp_path: Path) -> None:
    """0 all pass, 1 a row does not, 2 bad input, which counts for more."""
    good, wrong, broken = write(tmp_path, a=GOOD, b=WRONG, c=BROKEN)
    codes = {
        (good,): 0,
        (wrong,): 1,
        (good, wrong): 1,
        (broken,): 2,
        (good, broken): 2,
        (wrong, broken): 2,
    }
    assert codes == {files: run_cases(files, Settings(points=2)).exit_code for files in codes}


@pytest.mark.parametrize("content", [b"", b"\xff\xfe\x00", b"- 1\n- 2\n", b"case: x"])
def test_whatever_a_file_holds_it_is_a_result(content: bytes, tmp_path: Path) -> None:
    """Empty, not text, not a mapping, unfinished."""
    path = tmp_path / "x.yaml"
    path.write_bytes(content)
    result = run_case(path, Settings(points=1))
    assert ("ERROR", "x") == (result.status, result.name)
    assert all(str(path) in problem for problem in result.problems)


# ---------------------------------------------------------------------------------------------- how it is run


def test_two_jobs_give_what_one_gives() -> None:
    """In the order of the files, and every number the same."""
    files = find_case_files([shipped_cases() / "notes"])
    one, two = (run_cases(files, Settings(points=8), jobs=jobs) for jobs in (1, 2))
    assert [case.name for case in one.cases] == [case.name for case in two.cases]
    assert all(same(a, b) for a, b in zip(one.cases, two.cases, strict=True))


def test_the_comparison_of_results_bites() -> None:
    """The twin: another seed is not the same."""
    path = shipped_cases() / "notes" / "matmul.yaml"
    first, again, other = (run_case(path, Settings(points=4, seed=seed)) for seed in (0, 0, 1))
    assert same(first, again)
    assert not same(first, other)


def test_fail_fast_stops_at_the_first_that_does_not_pass(tmp_path: Path) -> None:
    """With what went before it; without, all are run."""
    files = write(tmp_path, a=GOOD, b=WRONG, c=GOOD, d=BROKEN)
    fast, slow = (run_cases(files, Settings(points=1), fail_fast=fast) for fast in (True, False))
    assert ["PASS", "FAIL"] == [case.status for case in fast.cases]
    assert ["PASS", "FAIL", "PASS", "ERROR"] == [case.status for case in slow.cases]
    broken_first = run_cases([files[3], files[0]], Settings(points=1), fail_fast=True)
    assert ["ERROR"] == [case.status for case in broken_first.cases]


def test_each_result_is_told_as_it_comes(tmp_path: Path) -> None:
    """For progress on long runs."""
    told: list[str] = []
    run_cases(write(tmp_path, a=GOOD, b=WRONG), Settings(points=1), on_result=lambda result: told.append(result.name))
    assert ["good", "wrong"] == told


# ----------------------------------------------------------------------------------------------------------- methods


def methods_of(result: CaseResult) -> Sequence[str]:
    """The methods whose answers the rows of the first variable hold."""
    values = result.variables[0].rows.values
    return [name for name, column in values.items() if not np.isnan(column).all()]


def test_fewer_methods(tmp_path: Path) -> None:
    """Two are compared; the third is left out of every row."""
    (path,) = write(tmp_path, a=GOOD)
    result = run_case(path, Settings(points=2, methods=("reverse", "central")))
    assert result.passes
    assert ["reverse", "central"] == methods_of(result)
    assert ("reverse", "central") == result.methods


def test_an_unsupported_method_is_told_and_fails_if_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By default it is a note in the result and the others are compared; by name it fails the case."""
    monkeypatch.setattr(pieces, "MOST_MONOMIALS", 1)
    (path,) = write(tmp_path, a="case: a\ninputs: {x: {at: [1, 2, 3]}}\nstages: {f: sum(exp(x))}\n")
    default = run_case(path, Settings(points=2))
    assert default.passes
    assert {"symbolic"} == set(default.unsupported)
    assert "'f'" in default.unsupported["symbolic"]
    assert ["reverse", "central"] == methods_of(default)
    asked = run_case(path, Settings(points=2, methods=("symbolic", "reverse", "central")))
    assert ("FAIL", False) == (asked.status, asked.passes)
    assert any("symbolic was asked for" in failure for failure in asked.failures)
    assert 1 == run_cases([path], Settings(points=2, methods=("symbolic", "reverse", "central"))).exit_code


def test_a_supported_method_asked_for_by_name_passes(tmp_path: Path) -> None:
    """The twin."""
    (path,) = write(tmp_path, a=GOOD)
    assert run_case(path, Settings(points=2, methods=("symbolic", "reverse", "central"))).passes


@pytest.mark.parametrize(
    ("settings", "jobs", "message"),
    [
        (Settings(methods=("symbolc",)), 1, "Did you mean 'symbolic'?"),
        (Settings(methods=()), 1, "no method is left"),
        (Settings(points=-1), 1, "number of points"),
        (Settings(seed=-1), 1, "seed"),
        (Settings(), 0, "number of jobs"),
    ],
)
def test_settings_out_of_range(settings: Settings, jobs: int, message: str) -> None:
    """A sentence about what to give instead, before anything is run."""
    with pytest.raises(UsageError, match=message.replace("?", r"\?")):
        run_cases([shipped_cases() / "notes" / "add.yaml"], settings, jobs=jobs)


def test_variables_may_be_inputs_alone() -> None:
    """``variables="inputs"`` leaves the stages' gradients out, not the output's value."""
    result = run_case(shipped_cases() / "notes" / "staged_function.yaml", Settings(points=2, variables="inputs"))
    assert {("x", "gradient"), ("y", "gradient"), ("f", "value")} == {(v.name, v.quantity) for v in result.variables}


# ----------------------------------------------------------------------------------------------------------- results


def by_name(result: CaseResult, name: str) -> VariableResult:
    """The gradient rows of one variable."""
    return next(v for v in result.variables if v.name == name and v.quantity == "gradient")


def test_every_variable_has_its_rows() -> None:
    """Inputs and stages, every entry at every point, with the line where it is defined."""
    result = run_case(shipped_cases() / "notes" / "matmul.yaml", Settings(points=3))
    assert {"W", "X", "D"} == {v.name for v in result.variables if v.quantity == "gradient"}
    assert 4 == result.points_checked
    found = by_name(result, "W")
    assert 4 * 50 == found.checked == len(found.rows) == sum(found.counts.values())
    assert ("closed form", {"": "dD*X.T"}) == (found.form, dict(found.closed_forms))
    text = (shipped_cases() / "notes" / "matmul.yaml").read_text(encoding="utf-8").splitlines()
    assert text[found.line - 1].strip().startswith("W:")


def test_the_notes_backward_pass() -> None:
    """What each stage sends back, at the first own point, with the notes' figures."""
    result = run_case(shipped_cases() / "notes" / "staged_function.yaml", Settings(points=0))
    gradients = {stage.name: float(stage.gradient) for stage in result.stages}
    assert 2.0595697955721652 == pytest.approx(gradients["x"], rel=1e-14)
    assert 0.5121444488396316 == pytest.approx(gradients["num"], rel=1e-14)
    sent = {stage.name: dict(stage.contributions) for stage in result.stages}
    assert gradients["x"] == pytest.approx(sum(float(back["x"]) for back in sent.values() if "x" in back), rel=1e-14)


def test_largest_differences_are_those_of_the_rows() -> None:
    """Recomputed from the rows: size and place."""
    result = run_case(shipped_cases() / "notes" / "sigmoid_neuron.yaml", Settings(points=20))
    for variable in result.variables:
        for found in variable.differences:
            rows = [variable.row(i) for i in range(len(variable.rows))]
            largest = max(rows, key=lambda row: row.difference(*found.pair))
            assert largest.difference(*found.pair) == found.largest
            assert (found.point, found.entry) in {
                (row.point, row.entry) for row in rows if row.difference(*found.pair) == found.largest
            }


def test_a_large_run_keeps_the_worst_the_odd_and_a_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few rows, and among them those that the summary points at."""
    monkeypatch.setattr(gathering, "KEEP_ALL", 100)
    monkeypatch.setattr(gathering, "SAMPLE", 10)
    result = run_case(shipped_cases() / "notes" / "max_subgradient.yaml", Settings(points=3000))
    found = by_name(result, "x")
    assert found.checked == result.points_checked > 3000
    assert len(found.rows) < 100
    rows = [found.row(i) for i in range(len(found.rows))]
    assert found.counts[Verdict.CONVENTION] == sum(row.verdict is Verdict.CONVENTION for row in rows)
    kept = {(row.point, row.entry) for row in rows}
    assert all((d.point, d.entry) in kept for d in found.differences)
    assert {row.point for row in rows} <= {point.id for point in result.points}


def test_a_large_run_keeps_only_so_many_that_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    """All are counted, some are kept."""
    monkeypatch.setattr(gathering, "KEEP_ALL", 100)
    monkeypatch.setattr(gathering, "SAMPLE", 10)
    monkeypatch.setattr(gathering, "MOST_SUSPICIOUS", 50)
    monkeypatch.setitem(OPS, "add", replace(OPS["add"], vjps=(lambda g, y, a, b: 2 * g,) * 2))  # noqa: ARG005
    result = run_case(shipped_cases() / "notes" / "add.yaml", Settings(points=2000))
    found = by_name(result, "x")
    assert 2001 == found.failed == found.checked
    assert 50 <= len(found.rows) <= 70


def test_a_run_says_how_it_was_made() -> None:
    """Command, seed, versions and methods, to have it again."""
    run: Run = run_cases([shipped_cases() / "notes" / "add.yaml"], Settings(points=1, seed=5))
    assert (5, 1) == (run.seed, run.points)
    assert "--seed 5" in run.command
    assert {"numpy", "sympy", "mpmath", "python"} <= set(run.versions)


# -------------------------------------------------------------------------------------------------------- finding files


def test_files_are_found_in_folders_and_picked_by_name(tmp_path: Path) -> None:
    """To the bottom, sorted, each once; -k looks at paths and case names."""
    (tmp_path / "deep" / "er").mkdir(parents=True)
    write(tmp_path, b=GOOD)
    write(tmp_path / "deep" / "er", a=WRONG)
    files = find_case_files([tmp_path, tmp_path / "b.yaml"])
    assert ["b.yaml", "a.yaml"] == [path.name for path in files]
    assert ["a.yaml"] == [path.name for path in find_case_files([tmp_path], pick="WRONG")]


@pytest.mark.parametrize(
    ("given", "message"), [("nowhere", "no such file"), ("", "no case files"), ("x.yml", "no such")]
)
def test_nothing_to_run_is_said(given: str, message: str, tmp_path: Path) -> None:
    """A missing path, an empty folder."""
    with pytest.raises(UsageError, match=message):
        find_case_files([tmp_path / given])


@pytest.mark.parametrize("fault", [1e-3, 1e-6, 1e-9])
def test_the_screen_of_a_large_run_sees_every_planted_fault(fault: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """A fault in one corner of the domain fails at each point that falls there, and nowhere else."""
    case = load_case(shipped_cases() / "notes" / "multiply_add.yaml")
    monkeypatch.setattr(gathering, "KEEP_ALL", 100)
    right = Reverse.differentiate
    corner = 0

    def wrong(self: Reverse, inputs: Mapping[str, Any], upstream: Mapping[str, Any]) -> Derivative:
        answer = right(self, inputs, upstream)
        factor = np.where((inputs["x"] > 4) & (inputs["y"] > 4), 1 + fault, 1.0)
        return Derivative(answer.values, {**answer.gradients, "z": answer.gradients["z"] * factor})

    for number in range(2):
        block = random_points(case, 0, number, min(4096, 6000 - 4096 * number), 0)
        corner += int(np.count_nonzero((block.inputs["x"] > 4) & (block.inputs["y"] > 4)))
    assert runner.run_loaded(case, Settings(points=6000)).passes
    monkeypatch.setattr(Reverse, "differentiate", wrong)
    result = runner.run_loaded(case, Settings(points=6000))
    assert {"z": corner} == {v.name: v.failed for v in result.variables if v.failed}
    assert 6000 + len(case.own_points) == result.points_checked


# ------------------------------------------------------------------------------------------------- finding a case


def test_a_case_is_found_by_path_by_file_or_by_its_own_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In folders of any depth; the cases here come before those of the package."""
    monkeypatch.chdir(tmp_path)
    inner = tmp_path / "cases" / "deep" / "er"
    inner.mkdir(parents=True)
    write(inner, mine=GOOD.replace("good", "a name of its own"), add=GOOD)
    for name in ("cases/deep/er/mine.yaml", "mine", "mine.yaml", "deep/er/mine", "a name of its own"):
        assert Path("cases/deep/er/mine.yaml") == find_case(name)
    assert Path("cases/deep/er/add.yaml") == find_case("add")
    assert shipped_cases() / "notes" / "relu.yaml" == find_case("relu")


@pytest.mark.parametrize("name", ["twin", "good"])
def test_two_cases_of_one_name_are_both_named(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The folder tells them apart; the bare name is refused rather than guessed at."""
    monkeypatch.chdir(tmp_path)
    for folder in ("a", "b"):
        (tmp_path / "cases" / folder).mkdir(parents=True)
        write(tmp_path / "cases" / folder, twin=GOOD)
    with pytest.raises(UsageError, match=rf"2 cases are called '{name}': cases/a/twin\.yaml, cases/b/twin\.yaml; give"):
        find_case(name)
    assert Path("cases/b/twin.yaml") == find_case("b/twin")


def test_a_name_that_no_case_has_is_answered_with_the_nearest() -> None:
    """And with the names there are."""
    with pytest.raises(UsageError, match=r"no case is called 'staged_funktion'\. Did you mean 'staged_function'\? The"):
        find_case("staged_funktion")

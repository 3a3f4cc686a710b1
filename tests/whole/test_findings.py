"""What adversaries and newcomers once found, kept found: each with the twin that stays right."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from verify.case.case import load_case_text
from verify.case.files import shipped_cases
from verify.errors import UsageError
from verify.graph.derivative import Unsupported
from verify.methods import prepare
from verify.ops import OPS
from verify.records import CaseResult
from verify.running.runner import run_case, run_cases, run_loaded
from verify.running.settings import Settings
from verify.words import Verdict

SLOPE = "case: a slope\ninputs: {x: {at: 1, domain: [-3, 3]}}\nstages: {f: exp(x)}\n"


def run(text: str, points: int = 64, **settings: Any) -> CaseResult:
    """The result of a case file's text."""
    return run_loaded(load_case_text(text), Settings(points=points, **settings))


@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan])
@pytest.mark.parametrize("methods", [None, ("symbolic", "reverse")])
def test_a_vjp_that_is_not_finite_in_a_region_fails(
    value: float, methods: tuple[str, ...] | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An infinite answer agrees with nothing, whatever the bound; right answers at the same points pass."""
    assert run(SLOPE, methods=methods).passes
    broken = replace(OPS["exp"], vjps=(lambda g, y, a: g * y * np.where(a > 2, value, 1.0),))
    monkeypatch.setitem(OPS, "exp", broken)
    result = run(SLOPE, methods=methods)
    assert not result.passes
    assert any("exp" in row.suspect or row.suspect == "reverse" for row in result.failing())


def test_a_large_run_sees_infinite_answers_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """The screen lets nothing infinite through."""
    broken = replace(OPS["exp"], vjps=(lambda g, y, a: g * y * np.where(a > 2.99, np.inf, 1.0),))
    monkeypatch.setitem(OPS, "exp", broken)
    assert run(SLOPE, points=12_000).counts[Verdict.FAIL] > 0


def test_a_forward_without_a_value_inside_its_domain_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    """mpmath has a value there, so the forward is accused; a true overflow stays undecided."""
    overflow = SLOPE.replace("[-3, 3]", "[-3, 2000]")
    assert {Verdict.PASS, Verdict.UNDECIDED} == set(run(overflow).counts)
    monkeypatch.setitem(OPS, "exp", replace(OPS["exp"], forward=lambda a: np.where(a > 2, np.nan, np.exp(a))))
    assert "forward of exp" in {row.suspect for row in run(SLOPE).failing()}


@pytest.mark.parametrize(
    ("at", "domain", "formula"),
    [
        ("1e-12", "[-1, 1]", "x*x"),
        ("1e-20", "[1e-21, 1e-19]", "x*x"),
        ("1e-300", "[1e-305, 1e-295]", "x*x"),
        ("1e-20", "'(0, 1]'", "1/x**2"),
        ("1e-100", "'(0, 1]'", "x**-2"),
    ],
)
def test_steps_far_larger_than_the_variable_accuse_nobody(at: str, domain: str, formula: str) -> None:
    """Central differences need a witness where their step is not small against the variable."""
    assert run(f"case: tiny\ninputs: {{x: {{at: {at}, domain: {domain}}}}}\nstages: {{f: '{formula}'}}\n").passes


def test_a_tiny_variable_still_shows_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    """The twin: a factor of 1 + 1e-6 at 1e-20 is seen."""
    wrong = replace(OPS["multiply"], vjps=(lambda g, _y, _a, b: g * b * (1 + 1e-6), OPS["multiply"].vjps[1]))
    monkeypatch.setitem(OPS, "multiply", wrong)
    assert not run("case: tiny\ninputs: {x: {at: 1e-20, domain: [1e-21, 1e-19]}}\nstages: {f: x*x}\n").passes


def test_cancelled_tails_are_enclosed_not_guessed() -> None:
    """tanh + sigmoid far out: fifty digits of 1 - tanh**2 hold none; the balls rise until they do."""
    text = "case: tails\ninputs: {x: {at: -93.8, domain: [-100, 100]}}\nstages: {f: sigmoid(x), g: tanh(x), h: f + g}\n"
    assert run(text).counts[Verdict.FAIL] == 0


@pytest.mark.parametrize(("accuracy", "passes"), [("absolute", True), ("relative", False)])
def test_lost_digits_fail_where_the_case_asks_for_them(accuracy: str, passes: bool) -> None:
    """log(1 + exp(x)) at -45 is 0 in floats and 2.9e-20 in truth."""
    text = f"case: lost\naccuracy: {accuracy}\ninputs: {{x: {{at: -45, domain: [-60, 30]}}}}\n"
    text += "stages: {f: log(1 + exp(x))}\n"
    result = run(text, points=0)
    assert passes == result.passes
    assert (Verdict.IMPRECISE in result.counts) is not passes


@pytest.mark.parametrize(("figure", "passes"), [("9.99e-17", False), ("1.4e-9", True)])
def test_a_figure_is_held_against_the_truth_where_the_case_asks_for_relative_accuracy(
    figure: str, passes: bool
) -> None:
    """exp(x) at -20.4 is 1.38e-9: a figure that rounding would excuse is still wrong."""
    text = (
        f"case: figure\nsource: a test\naccuracy: relative\ninputs: {{x: {{at: -20.4, domain: [-60, 30]}}}}\n"
        f"stages: {{f: exp(x)}}\nexpect: {{value: {{f: {figure}}}}}\n"
    )
    assert passes == run(text, points=0).passes


def test_differences_that_would_take_days_are_refused() -> None:
    """Moving a hundred thousand entries one by one is unsupported and says so; a few are done."""
    big = load_case_text(
        "case: big\ndims: {n: 100000}\ninputs: {x: {shape: [n], at: normal}}\nstages: {f: sum(x**2)/n}\n"
    )
    answer = prepare("central", big.graph, big.variables)
    assert isinstance(answer, Unsupported)
    assert "100,00" in answer.reason
    small = load_case_text(
        "case: big\ndims: {n: 10}\ninputs: {x: {shape: [n], at: normal}}\nstages: {f: sum(x**2)/n}\n"
    )
    assert not isinstance(prepare("central", small.graph, small.variables), Unsupported)


@pytest.mark.parametrize(("seed", "fits"), [(2**63 - 1, True), (2**63, False), (-1, False)])
def test_a_seed_that_no_table_holds_is_refused(seed: int, fits: bool) -> None:
    """CSV columns are 64 bits wide; the message says so before anything runs."""
    files = [shipped_cases() / "notes" / "add.yaml"]
    if fits:
        assert run_cases(files, Settings(points=1, seed=seed)).ok
    else:
        with pytest.raises(UsageError, match="below 2\\*\\*63"):
            run_cases(files, Settings(points=1, seed=seed))


def test_one_point_says_nothing_of_zero_gradients() -> None:
    """A gradient that is zero at one point needs no note; at many it does."""
    text = "case: flat\ninputs: {x: {at: -1, domain: [-3, -1]}}\nstages: {f: relu(x)}\n"
    assert [] == [note for note in run(text, points=0).notes if "zero" in note]
    assert [] != [note for note in run(text, points=20).notes if "zero" in note]


def test_a_fault_of_this_program_stops_no_other_case(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is wrong with this program in one case is an error of that case, with its place."""
    file = tmp_path / "slope.yaml"
    file.write_text(SLOPE, encoding="utf-8")
    assert run_case(file).passes
    monkeypatch.setitem(OPS, "exp", replace(OPS["exp"], vjps=()))
    (problem,) = run_case(file).problems
    assert "the case is not to blame" in problem

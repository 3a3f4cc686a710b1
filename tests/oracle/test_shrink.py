"""Failures made simple: the smallest size and the shortest numbers, each judged as any point is."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from verify.case.case import Case, load_case_text
from verify.oracle import shrink
from verify.oracle.check import check_gradient
from verify.oracle.shrink import number_text, simpler
from verify.records import Run
from verify.report.json import document
from verify.running.settings import Settings
from verify.subjects.noise import is_alone
from verify.words import Verdict

Gradient = Callable[..., Any]

FEW = Settings(points=8)


def case(stages: str, more: str = "", **inputs: str) -> Case:
    """A case from ``name: fields`` pairs and stages written as YAML flow mappings."""
    listed = ", ".join(f"{name}: {{{fields}}}" for name, fields in inputs.items())
    return load_case_text(f"case: made for a test\n{more}\ninputs: {{{listed}}}\nstages: {{{stages}}}\n")


def told(run: Run) -> list[str]:
    """What is said of the simplest point."""
    return [result.simplest.sentence for result in run.cases if result.simplest]


SQUARE = case("f: x**2", x="at: 3.7182, domain: [-5, 5]")
LARGE = case("f: x**2", x="at: 1234.567, domain: [1000, 2000]")
SINGLE = case("f: x**2", x="at: 3.7182, domain: [-5, 5], dtype: float32")
PRODUCT = case("f: x * y**2", x="at: 3, domain: [-5, 5]", y="at: -2, domain: [-5, 5]")
VECTOR = case("f: sum(x**3)", x="shape: [12], at: normal, domain: [-3, 3]")
MATMUL = case("D: W @ X", "dims: {m: 3, k: 4, n: 5}", W="shape: [m, k], at: normal", X="shape: [k, n], at: normal")

SIMPLEST: dict[str, tuple[Case, Gradient, str]] = {
    "a side": (SQUARE, lambda x: 3 * x if x > 2 else 2 * x, "x = 3;"),
    "the other side": (SQUARE, lambda x: 3 * x if x < -2 else 2 * x, "x = -3;"),
    "a narrow region": (SQUARE, lambda x: 3 * x if 2.4 < x < 2.6 else 2 * x, "x = 2.5;"),
    "one number": (SQUARE, lambda x: 3 * x if x == 0.1234 else 2 * x, "x = 0.1234;"),
    "anywhere": (SQUARE, lambda x: 2.001 * x, "x = 1; there the gradient by x is 2.001, the truth is 2.0"),
    "a domain without short numbers": (LARGE, lambda x: 3 * x, "x = 1000;"),
    "float32": (SINGLE, lambda x: np.float32(2.01) * x, "x = 1;"),
    "equal inputs": (PRODUCT, lambda x, y: (y**2, 2 * x * y + (x == y)), "x = 0, y = 0; there the gradient by y"),
    "a sum": (PRODUCT, lambda x, y: (y**2, 2 * x * y + (x + y > 9)), "x = 5, y = 5;"),
    "repeated entries": (VECTOR, lambda x: 3 * x**2 + (len(np.unique(x)) < len(x)), f"x = {[0] * 12};"),
    "an exception": (SQUARE, lambda x: 2 * x if x < 3 else int("one"), "x = 3; there the gradient by x is nan"),
    "an upstream gradient": (
        MATMUL,
        lambda W, X, upstream: (upstream @ X.T * (1 + np.all(upstream < 0)), W.T @ upstream),
        "m = 1, k = 1, n = 1, W = [[0]], X = [[1]], upstream of D = [[-1]]; there the gradient by W[0, 0] is -2.0",
    ),
    "a size": (
        MATMUL,
        lambda W, X, upstream: (upstream @ X.T * (1 + (W.shape[1] > 1)), W.T @ upstream),
        "m = 1, k = 2, n = 1, W = [[0, 0]], X = [[0], [1]], upstream of D = [[1]]; there the gradient by W[0, 1]",
    ),
}
"""Name -> case, a wrong gradient, and how what is told begins."""


@pytest.mark.parametrize("name", SIMPLEST)
def test_the_simplest_point(name: str) -> None:
    """Short decimals, the same in every run, and a point that fails when it is judged by itself."""
    known, gradient, expected = SIMPLEST[name]
    first, again = (told(check_gradient(gradient, known, FEW)) for _ in range(2))
    assert 1 == len(first)
    assert first == again
    assert first[0].startswith(expected), first[0]


def test_a_point_that_is_told_fails_by_itself() -> None:
    """What can be pasted shows the failure, with no other point looked at."""
    gradient = SIMPLEST["a side"][1]
    assert ["x = 3; there the gradient by x is 9.0, the truth is 6.0"] == told(check_gradient(gradient, SQUARE))
    run = check_gradient(gradient, SQUARE, at={"x": 3}, points=0)
    assert not run.ok
    assert "simplest point that shows it: x = 3; there the gradient by x is 9.0, the truth is 6.0" in str(run)
    assert all(words in run._repr_html_() for words in ("Simplest point that shows it", "x = 3; there"))
    kept = document(run)["cases"][0]["simplest"]
    assert ({"x": 3.0}, 9.0, 6.0) == (kept["values"], kept["answer"], kept["truth"])
    assert check_gradient(gradient, SQUARE, at={"x": 2}, points=0).ok


def test_a_failure_stays_gross() -> None:
    """The fault fades towards 0, where it is less than rounding: the point does not slide there."""

    def wrong(x: Any) -> Any:
        return 2 * x * (1 + 1e-12 * x**6)

    run = check_gradient(wrong, SQUARE, FEW)
    failing = next(row for row in run.cases[0].failing())
    assert Verdict.FAIL is failing.verdict
    simple = run.cases[0].simplest
    assert simple is not None
    assert 2.0 == simple.values["x"]
    assert abs(simple.answer - simple.truth) > 500 * 20 * 2.0**-53 * abs(simple.truth)


def test_nothing_is_told_of_a_right_gradient_or_where_it_is_not_asked_for() -> None:
    """And a result that passes is handed back as it is."""
    assert [] == told(check_gradient(lambda x: 2 * x, SQUARE, FEW))
    assert [] == told(check_gradient(lambda x: 3 * x, SQUARE, FEW, shrink=False))
    assert [] == told(check_gradient(lambda x: 3 * x, SQUARE, Settings(points=8, shrink=False)))


def test_without_hypothesis(monkeypatch: pytest.MonkeyPatch) -> None:
    """A note says what to install, and the failure is reported all the same."""
    monkeypatch.setitem(sys.modules, "hypothesis", None)
    run = check_gradient(lambda x: 3 * x, SQUARE, FEW)
    assert not run.ok
    assert [] == told(run)
    assert any("pip install 'verify-gradients[strategies]'" in note for note in run.cases[0].notes)


def test_the_work_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there is no time at all the failure is told at the point where it was found."""
    monkeypatch.setattr(shrink, "MOST_ROUNDS", 0)
    sentence = told(check_gradient(lambda x: 3 * x, case("f: x**2", x="at: 3.7182"), Settings(points=0)))[0]
    assert sentence.startswith("x = 3.7182;")


def test_short_numbers() -> None:
    """0 is the simplest, nothing is simpler than itself, and what is printed means the same number."""
    steps = simpler(-1.23456)
    assert 0.0 == steps[0]
    assert [-1.2, -1.23, -1.235] == steps[-3:]
    assert len(steps) == len(set(steps))
    for value in (0.0, -0.0, -3.0, 1.2, 1e6, 123.0):
        assert value not in simpler(value)
    for value in (0.0, -0.0, 3.0, -7.0, 0.1, 1e300, -1e-300, 123456789.0):
        assert repr(float(number_text(value))) == repr(value)


def test_an_error_at_one_point_is_no_rounding() -> None:
    """Its neighbours are right; where they are off as well, by as much, it may be noise."""
    assert is_alone([0.0, 1e-16, 1e-3, -1e-16, 0.0])
    assert not is_alone([1e-3, -1e-3, 1e-3, 5e-4, -1e-3])
    run = check_gradient(SIMPLEST["one number"][1], SQUARE)
    assert {Verdict.FAIL} == {row.verdict for row in run.cases[0].failing()}

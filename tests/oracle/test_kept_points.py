"""Points at which a gradient failed are looked at again in the next run, and bring nothing else with them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from verify.case.case import Case, load_case_text
from verify.oracle.check import check_gradient
from verify.oracle.kept_points import MOST_KEPT, keep_point, kept_points
from verify.records import Run
from verify.running.settings import Settings

Gradient = Callable[..., Any]

SQUARE = load_case_text("{case: made for a test, inputs: {x: {at: 3.7182, domain: [-5, 5]}}, stages: {f: x**2}}")
VECTOR = load_case_text(
    "{case: made for a test, inputs: {x: {shape: [3], at: normal}, c: {kind: constant, shape: [3], at: normal}},"
    " stages: {y: c * x**2}}"
)
WIDE, NARROW = 0.4, 1e-9
"""Half the width of a region that random points fall into, and of one in which none does that is not known."""


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of the test's own."""
    monkeypatch.setenv("VERIFY_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def wrong_within(width: float) -> Gradient:
    """A gradient of SQUARE that is wrong close to 2.5, or nowhere; the same function as far as a key can tell."""

    def gradient(x: Any) -> Any:
        # As a text: numbers in the code are looked at.
        return 3 * x if abs(x - float("2.5")) < width else 2 * x

    return gradient


def checked(width: float, case: Case = SQUARE, **options: Any) -> Run:
    """A run of few points."""
    return check_gradient(wrong_within(width), case, Settings(points=8), **options)


def test_a_point_is_looked_at_again() -> None:
    """The fault has become narrow: it is seen at the kept point alone, beside the rows; mended it passes."""
    assert checked(NARROW).ok
    assert not checked(WIDE).ok
    (point,) = kept_points(wrong_within(WIDE), SQUARE)
    assert {"x": 2.5} == point
    run = checked(NARROW)
    assert not run.ok
    (finding,) = run.cases[0].findings
    assert "failed before" == finding.kind
    assert "it failed in an earlier run (x = 2.5) the gradient by x is 7.5, the truth is 5.0" in finding.sentence
    assert "an earlier run (x = 2.5)" in str(run)
    mended = checked(0.0)
    assert mended.ok
    assert any("looked at 1 point at which it failed in an earlier run" in note for note in mended.cases[0].notes)


def test_equal_seeds_give_equal_counts() -> None:
    """Whatever was kept: rows, points and counts are those of the run that knew nothing."""
    before = [checked(0.0), checked(WIDE)]
    assert kept_points(wrong_within(WIDE), SQUARE)
    for first, again in zip(before, [checked(0.0), checked(WIDE)], strict=True):
        assert first.cases[0].counts == again.cases[0].counts
        assert first.cases[0].points_checked == again.cases[0].points_checked
        assert [p.values for p in first.cases[0].points] == [p.values for p in again.cases[0].points]
        assert first.cases[0].findings == again.cases[0].findings


@pytest.mark.parametrize("option", ["forget", "off", "no shrink", "given points"])
def test_a_run_that_does_without(option: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """By one option, or where nothing may be kept on disk: it neither looks nor keeps."""
    known: dict[str, dict[str, Any]] = {
        "forget": {"forget": True},
        "off": {},
        "no shrink": {"shrink": False},
        "given points": {"points": 0, "at": {"x": 1.0}},
    }
    options = known[option]
    assert not checked(WIDE).ok
    with monkeypatch.context() as patch:
        if option == "off":
            patch.setenv("VERIFY_CACHE", "off")
        assert checked(NARROW, **options).ok
    assert not checked(NARROW).ok
    fresh = load_case_text("{case: another, inputs: {x: {at: 2.3, domain: [-5, 5]}}, stages: {f: x**2}}")
    with monkeypatch.context() as patch:
        if option == "off":
            patch.setenv("VERIFY_CACHE", "off")
        checked(WIDE, fresh, **options)
    assert [] == kept_points(wrong_within(WIDE), fresh)


def test_constants_are_those_of_the_run() -> None:
    """Data that a function closes over have changed since: a gradient that is right now passes."""

    def run(weights: Any, factor: float) -> Run:
        def loss(x: Any) -> Any:
            return np.sum(weights * x**2)

        return check_gradient(
            lambda x: factor * weights * x, loss, at={"x": np.array([0.5, -1.5])}, domain={"x": (-2, 2)}
        )

    assert not run(np.array([1.0, 3.0]), 2.5).ok
    right = run(np.array([2.0, 5.0]), 2.0)
    assert right.ok
    assert any("failed in an earlier run" in note for note in right.cases[0].notes)
    assert not run(np.array([2.0, 5.0]), 2.5).ok


def test_what_is_kept_of_a_point() -> None:
    """Real inputs and upstream gradients that are free; not what was fixed since, nor what has left the domain."""
    values = {"x": np.ones(3), "c": np.full(3, 7.0), "upstream of y": np.array([1.0, 2.0, 3.0])}
    keep_point(checked, VECTOR, values)
    (point,) = kept_points(checked, VECTOR)
    assert {"x", "upstream of y"} == set(point)
    assert [] == kept_points(checked, SQUARE)
    for i in range(20):
        keep_point(checked, SQUARE, {"x": np.array(i / 5)})
    assert MOST_KEPT == len(kept_points(checked, SQUARE))
    near = load_case_text("{case: made for a test, inputs: {x: {at: 0, domain: [-1, 3.5]}}, stages: {f: x**2}}")
    assert 1 < len(kept_points(checked, near)) < MOST_KEPT


def test_functions_are_told_apart() -> None:
    """Two lambdas of one line too, and what an adapter of ours adapts; a name is found again wherever it stands."""
    first, second = (lambda x: 2.5 * x), (lambda x: 2.6 * x)
    point = {"x": np.array(1.0)}
    keep_point(first, SQUARE, point)
    assert [point] == kept_points(first, SQUARE)
    assert [] == kept_points(second, SQUARE)
    assert [] == kept_points(wrong_within, SQUARE)
    from verify.frameworks.autograd import gradient_of

    pytest.importorskip("autograd")

    def one(x: Any) -> Any:
        return x**2

    def other(x: Any) -> Any:
        return x**2

    keep_point(gradient_of(one), SQUARE, point)
    assert [point] == kept_points(gradient_of(one), SQUARE)
    assert [] == kept_points(gradient_of(other), SQUARE)


def test_a_store_that_was_damaged(home: Path) -> None:
    """Is no store."""
    checked(WIDE)
    files = [file for file in home.rglob("*") if file.is_file() and file.name != "secret"]
    assert files
    for file in files:
        file.write_bytes(b"{no json")
    assert [] == kept_points(wrong_within(WIDE), SQUARE)
    assert checked(NARROW).ok

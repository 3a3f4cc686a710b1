"""What a check could not have told: lines and branches that no point reached, gradients that are zero everywhere."""

from __future__ import annotations

import sys
import threading
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from verify.case.case import Case, load_case_text
from verify.errors import WeakCheckWarning
from verify.oracle.check import check_gradient
from verify.records import Run
from verify.running.settings import Settings
from verify.subjects.line_coverage import MOST_EVENTS, OTHER_TRACER, LineCoverage

FEW = Settings(points=8)


def case(stages: str, more: str = "", **inputs: str) -> Case:
    """A case from ``name: fields`` pairs and stages written as YAML flow mappings."""
    listed = ", ".join(f"{name}: {{{fields}}}" for name, fields in inputs.items())
    return load_case_text(f"case: made for a test\n{more}\ninputs: {{{listed}}}\nstages: {{{stages}}}\n")


SQUARE = case("f: x**2", x="at: 3, domain: [-5, 5]")
SUM = case("f: sum(x**2)", "dims: {n: 3}", x="shape: [n], at: normal")


def unreached(run: Run) -> list[str]:
    """What is said of lines."""
    return [note for note in run.cases[0].notes if note.startswith("no point reached")]


def with_a_dead_branch(x: Any) -> Any:
    """No point of the domain is above 100."""
    if x > 100:
        x = 3 * x
        return x * x
    return doubled(x)


def doubled(x: Any) -> Any:
    """A helper with a line that nobody reaches either."""
    if abs(x) > 100:
        return 7 * x
    return 2 * x


def with_a_guard(x: Any) -> Any:
    """A line that only raises is no part of the gradient."""
    if x > 100:
        raise ValueError(x)
    return 2 * x


def by_parts(x: Any) -> Any:
    """Both sides are reached."""
    if x > 2:
        return 2 * x
    return x + x


def for_one_entry(x: Any) -> Any:
    """A line for arrays of one entry, which only another size of the case reaches."""
    if len(x) == 1:
        return np.array([2 * x[0]])
    return 2 * x


def test_lines_that_no_point_reached_are_named() -> None:
    """With file, line, function and text; in helpers of the module too."""
    first = with_a_dead_branch.__code__.co_firstlineno + 3
    helper = doubled.__code__.co_firstlineno
    assert [
        f"no point reached lines {first} to {first + 1} of test_weak_checks.py, in with_a_dead_branch: x = 3 * x ...",
        f"no point reached line {helper + 3} of test_weak_checks.py, in doubled: return 7 * x",
    ] == unreached(check_gradient(with_a_dead_branch, SQUARE))


@pytest.mark.parametrize("gradient", [with_a_guard, by_parts, lambda x: 2 * x])
def test_nothing_is_said_where_all_lines_are_reached(gradient: Callable[..., Any]) -> None:
    """The twins of the above."""
    assert [] == unreached(check_gradient(gradient, SQUARE))


def test_lines_that_another_size_reached() -> None:
    """All sizes count together; at the case's own alone the line is named."""
    assert [] == unreached(check_gradient(for_one_entry, SUM, FEW))
    assert 1 == len(unreached(check_gradient(for_one_entry, SUM, Settings(points=8, sizes=0))))


def test_one_point_alone_says_nothing_of_lines() -> None:
    """Who asks for it knows."""
    assert [] == unreached(check_gradient(with_a_dead_branch, SQUARE, Settings(points=0)))


def test_another_tracer_is_left_alone() -> None:
    """It stays in place, sees what it saw, and the notes say that lines are not known."""
    seen = set()

    def tracer(frame: Any, event: str, argument: Any) -> None:
        del event, argument
        seen.add(frame.f_code.co_name)

    before = sys.gettrace()
    sys.settrace(tracer)
    try:
        run = check_gradient(with_a_dead_branch, SQUARE, FEW)
        kept = sys.gettrace()
    finally:
        sys.settrace(before)
    assert tracer is kept
    assert "with_a_dead_branch" in seen
    assert OTHER_TRACER in run.cases[0].notes
    assert [] == unreached(run)


def test_tracing_ends_with_the_call_and_when_all_is_seen() -> None:
    """Also where the call raises."""
    if sys.gettrace() is not None:
        pytest.skip("another tracer is active")
    lines = LineCoverage(with_a_guard)
    with pytest.raises(ValueError, match="101"), lines.watching():
        with_a_guard(101)
    assert sys.gettrace() is None
    with lines.watching():
        assert 6 == with_a_guard(3)
    with lines.watching():
        assert sys.gettrace() is None
    assert () == lines.told()


# ------------------------------------------------------------------------------------------------------ weak checks

WEAK: dict[str, tuple[Case, Callable[..., Any], str]] = {
    "zero everywhere": (
        case("f: relu(x - 10)", x="at: 3, domain: [-5, 5]"),
        lambda x: 0 * x,
        "the gradient is zero at every point",
    ),
    "one output": (
        case("f: relu(x - 10)", x="at: 3, domain: [-5, 5]"),
        lambda x: 0 * x,
        "f is the same at every point",
    ),
    "the first branch": (
        case("f: x + relu(x - 10)", x="at: 3, domain: [-5, 5]"),
        np.ones_like,
        "no point is on the first branch of relu in stage 'f'",
    ),
    "the second branch": (
        case("f: x * relu(x + 10)", x="at: 3, domain: [-5, 5]"),
        lambda x: 2 * x + 10,
        "no point is on the second branch of relu in stage 'f'",
    ),
}
"""Name -> case, its right gradient, and what is said."""


@pytest.mark.parametrize("name", WEAK)
def test_a_weak_check_warns(name: str) -> None:
    """The gradient passes, and that says little: a warning of a category of its own, and a note."""
    known, gradient, words = WEAK[name]
    with pytest.warns(WeakCheckWarning, match="this check is weak") as caught:
        run = check_gradient(gradient, known)
    assert run.ok
    assert any(words in str(warning.message) for warning in caught)
    assert any(words in note for note in run.cases[0].notes)
    assert __file__ == caught[0].filename


def test_no_warning_where_the_check_is_strong_or_has_failed() -> None:
    """A gradient that does not pass needs no warning, and neither does one point that was asked for."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert check_gradient(lambda x: float(x > 0), case("f: relu(x)", x="at: 3"), FEW).ok
        known, gradient, _ = WEAK["the first branch"]
        assert not check_gradient(lambda x: 2 * gradient(x), known, FEW).ok
        assert check_gradient(gradient, known, Settings(points=0)).ok


# --------------------------------------------------------------------------------- what a few points cannot show

X = np.array([[0.5, -1.0, 2.0], [1.5, 0.25, -0.75], [0.3, 0.9, -2.0]])
W = np.array([[0.5, 2.0, -1.0], [1.5, 0.25, 3.0], [-0.75, 0.4, 1.1]])


def scaled(x: Any, gamma: Any) -> Any:
    """A function with a factor that may be 1."""
    return np.sum(gamma * x**2)


def shifted(x: Any, beta: Any) -> Any:
    """And one with a term that may be 0, inside of something that is not linear."""
    return np.sum((x + beta) ** 3)


def added(x: Any, beta: Any) -> Any:
    """The gradient does not depend on a term that is only added."""
    return np.sum(x**2) + np.sum(beta)


def projected(x: Any, w: Any) -> Any:
    """A function of a square matrix."""
    return np.sum((x @ w) ** 2)


def multiplied(x: Any, y: Any) -> Any:
    """A function of two numbers that are alike."""
    return x * y**1.0


def rectified(x: Any) -> Any:
    """A function with a branch."""
    return np.maximum(x, 0.0) ** 2


def of_scaled(x: Any, gamma: Any) -> Any:
    """The right gradients of the above, in order."""
    return 2 * gamma * x, np.sum(x**2, axis=0) if np.ndim(gamma) else np.sum(x**2)


def of_shifted(x: Any, beta: Any) -> Any:
    """Of the second."""
    slopes = 3 * (x + beta) ** 2
    return slopes, slopes.sum(axis=0)


def of_added(x: Any, beta: Any) -> Any:
    """Of the third."""
    return 2 * x, np.ones_like(beta)


def of_projected(x: Any, w: Any) -> Any:
    """Of the fourth."""
    y = 2 * (x @ w)
    return y @ w.T, x.T @ y


FEW_POINTS: dict[str, tuple[Callable[..., Any], Callable[..., Any], Any, str]] = {
    "a factor of 1": (of_scaled, scaled, {"x": X, "gamma": np.ones(3)}, "gamma is 1 at every point"),
    "other factors": (of_scaled, scaled, {"x": X, "gamma": W[0]}, ""),
    "a scalar of 1": (of_scaled, scaled, {"x": X, "gamma": 1.0}, "gamma is 1 at every point"),
    "a term of 0": (of_shifted, shifted, {"x": X, "beta": np.zeros(3)}, "beta is 0 at every point"),
    "a term that hides nothing": (of_added, added, {"x": X, "beta": np.zeros(3)}, ""),
    "equal entries": (of_projected, projected, {"x": X, "w": np.full((3, 3), 0.5)}, "all entries of w are equal"),
    "the identity": (of_projected, projected, {"x": X, "w": np.eye(3)}, "w is the identity at every point"),
    "a matrix": (of_projected, projected, {"x": X, "w": W}, ""),
    "equal matrices": (of_projected, projected, {"x": W, "w": W}, "x and w are equal at every point"),
    "equal numbers": (lambda x, y: (y, x), multiplied, {"x": 2.5, "y": 2.5}, "x and y are equal at every point"),
    "two numbers": (lambda x, y: (y, x), multiplied, {"x": 2.5, "y": -1.5}, ""),
    "equal at one of two points": (
        lambda x, y: (y, x), multiplied, [{"x": 2.5, "y": 2.5}, {"x": 2.5, "y": -1.5}], ""
    ),
    "a branch": (lambda x: 2 * x, rectified, {"x": 1.5}, "no point is on the second branch of max"),
    "both branches": (lambda x: 2 * max(x, 0.0), rectified, [{"x": 1.5}, {"x": -1.5}], ""),
    "a tie": (lambda x: 0.0 * x, rectified, {"x": 0.0}, ""),
}  # fmt: skip
"""Name -> a right gradient, its function, the points, and what is said of them."""


@pytest.mark.parametrize("name", FEW_POINTS)
def test_what_the_given_points_cannot_show(name: str) -> None:
    """It warns exactly there, and not where more is looked at, or where nothing else was asked for."""
    gradient, function, at, words = FEW_POINTS[name]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        run = check_gradient(gradient, function, at=at)
    assert run.ok
    assert bool(words) == bool(caught), [str(warning.message) for warning in caught]
    assert all(warning.category is WeakCheckWarning for warning in caught)
    assert all(words in str(warning.message) and "points=0 asks" in str(warning.message) for warning in caught)
    assert any(words in note for note in run.cases[0].notes)
    names = at if isinstance(at, dict) else at[0]
    assert check_gradient(gradient, function, at=at, points=0).ok
    if "branch" not in name and "tie" not in name:
        assert check_gradient(gradient, function, at=at, domain=dict.fromkeys(names, (-3, 3)), points=8).ok


def test_constants_of_1_are_told_too() -> None:
    """They stay what they are at every random point; those that a function brings itself are its own affair."""
    at = {"x": X, "gamma": np.ones(3)}
    with pytest.warns(WeakCheckWarning, match="gamma is 1"):
        assert check_gradient(
            lambda x, gamma: 2 * gamma * x, scaled, at=at, constants=["gamma"], domain={"x": (-3, 3)}
        ).ok
    ones = np.ones(3)
    assert check_gradient(lambda x: 2 * x, lambda x: np.sum(ones * x**2), at={"x": X}).ok


def test_other_sizes_tell_what_the_own_does_not() -> None:
    """Their values are drawn: a factor of 1 is none there."""
    at = {"x": X, "gamma": np.ones(3)}
    dims: Any = {"x": ("n", "d"), "gamma": ("d",)}
    assert check_gradient(of_scaled, scaled, at=at, dims=dims).ok

    def forgotten(x: Any, gamma: Any) -> Any:
        return 2 * x, of_scaled(x, gamma)[1]

    assert not check_gradient(forgotten, scaled, at=at, dims=dims, shrink=False).ok


# ------------------------------------------------------------------------------------------------- lines that ran


def in_a_thread(x: Any) -> Any:
    """A line that another thread runs."""
    found: list[Any] = []

    def work() -> None:
        twice = 2 * x
        found.append(twice)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    return found[0]


# fmt: off
def with_a_long_guard(x: Any) -> Any:
    """Statements of several lines that only raise."""
    assert abs(x) < 1000, (
        "too large"
    )
    if abs(x) > 100:
        raise ValueError(
            "too large"
        )
    return 2 * x
# fmt: on


def late(x: Any) -> Any:
    """A line that only a late call reaches."""
    calls[0] += 1
    if calls[0] > 500:
        return 2 * x
    return x + x


calls = [0]


@pytest.mark.parametrize("gradient", [in_a_thread, with_a_long_guard, late])
def test_lines_that_ran_are_not_called_unreached(gradient: Callable[..., Any]) -> None:
    """However late, and wherever."""
    if sys.gettrace() is not None:
        pytest.skip("another tracer is active")
    calls[0] = 0
    assert [] == unreached(check_gradient(gradient, SQUARE, Settings(points=600)))


def test_nothing_is_said_of_a_gradient_that_nobody_watched() -> None:
    """And where too many lines ran, what is said is said of the calls that were watched."""
    if sys.gettrace() is not None:
        pytest.skip("another tracer is active")
    lines = LineCoverage(with_a_dead_branch)
    assert () == lines.told()
    with lines.watching():
        with_a_dead_branch(3.0)
    assert all(sentence.startswith("no point reached line") for sentence in lines.told())
    lines._events = MOST_EVENTS + 1
    with lines.watching():
        with_a_dead_branch(101.0)
    assert all(sentence.startswith("none of the first 1 points reached line") for sentence in lines.told())
    assert lines.told()

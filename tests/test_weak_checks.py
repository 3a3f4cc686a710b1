"""What a check could not have told: lines and branches that no point reached, gradients that are zero everywhere."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from verify.errors import WeakCheckWarning
from verify.oracle.check import check_gradient
from verify.oracle.line_coverage import OTHER_TRACER, LineCoverage
from verify.reading.case import Case, load_case_text
from verify.records import Run
from verify.settings import Settings

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

"""Numbers 0 and 1 that a trace takes in: what they hide is told, and only that."""

from __future__ import annotations

import functools
import re
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from verify.errors import WeakCheckWarning
from verify.oracle import function_check
from verify.oracle.check import check_gradient

X = np.array([0.3, -0.7, 1.2])


def scaled(x: Any, scale: float, beta: float) -> Any:
    """A factor and a term."""
    return scale * np.sum(x * x) + beta * np.sum(x**3)


def forgets(x: Any, **others: Any) -> Any:
    """A gradient that holds neither."""
    del others
    return 2 * x


def right(x: Any, scale: float, beta: float) -> Any:
    """One that holds both."""
    return 2 * scale * x + 3 * beta * x**2


def told(gradient: Callable[..., Any], function: Callable[..., Any], at: dict[str, Any]) -> list[str]:
    """What is said of a check that passes."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert check_gradient(gradient, function, at={"x": X, **at}, constants=list(at)).ok
    return [str(warning.message) for warning in caught if warning.category is WeakCheckWarning]


def test_a_factor_of_1_and_a_term_of_0_are_told() -> None:
    """Whatever the gradient is: it passes, and so would one that forgets them."""
    for gradient in (forgets, right):
        (sentence,) = told(gradient, scaled, {"scale": 1.0, "beta": 0})
        assert "scale is 1 at every point" in sentence
        assert "beta is 0 at every point" in sentence


def test_other_numbers_are_not() -> None:
    """There a gradient that forgets them fails, and nothing is to be told."""
    assert told(right, scaled, {"scale": 2.0, "beta": 0.5}) == []
    assert not check_gradient(forgets, scaled, at={"x": X, "scale": 1 + 1e-6, "beta": 0.0}, points=0,
                              constants=["scale", "beta"], shrink=False).ok  # fmt: skip


def test_numbers_inside_of_a_mapping_and_defaults_are_asked_too() -> None:
    """``p['scale']``, a default, and one that is given by partial."""

    def from_mapping(x: Any, p: Any) -> Any:
        return p["scale"] * np.sum(x * x)

    def by_default(x: Any, scale: float = 1.0) -> Any:
        return scale * np.sum(x * x)

    (sentence,) = told(forgets, from_mapping, {"p": {"scale": 1.0, "eps": 0}})
    assert "p['scale'] is 1" in sentence
    for function in (by_default, functools.partial(by_default, scale=1)):
        (sentence,) = told(forgets, function, {})
        assert "scale is 1" in sentence


@pytest.mark.parametrize(
    ("function", "at"),
    [
        (lambda x, axis: np.sum(x * x, axis=axis), {"axis": 0}),
        (lambda x, flag: np.sum(x * x) if flag else np.sum(x), {"flag": True}),
        (lambda x, stride: np.sum(x[::stride] ** 2), {"stride": 1}),
        (lambda x, offset: np.sum(x * x) + offset, {"offset": 0.0}),
        (lambda x, mean: np.sum(x * x) if mean else np.mean(x * x), {"mean": 1}),
    ],
)
def test_what_no_gradient_depends_on_is_not_told(function: Callable[..., Any], at: dict[str, Any]) -> None:
    """An axis, a flag, a number that is added."""
    assert told(forgets, function, at) == []


def steps(x: Any) -> Any:
    """A function that is traced anew on each of four stretches."""
    for number in range(4):
        if isinstance(x, float) and x < number - 1:
            return (number + 1) * x**2
    return 9 * x**2


def of_steps(x: float) -> float:
    """Its gradient."""
    return next((2 * (number + 1) * x for number in range(4) if x < number - 1), 18 * x)


def test_points_beyond_the_most_traces_are_told_with_their_place(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is left out in silence: a note says how many points and where; with room for all there is none."""
    asked: dict[str, Any] = {"at": {"x": 2.5}, "domain": {"x": (-3.0, 3.0)}, "points": 16}
    run = check_gradient(of_steps, steps, **asked)
    assert run.ok
    assert "not looked at" not in str(run)
    monkeypatch.setattr(function_check, "MOST_TRACES", 1)
    notes = " ".join(check_gradient(of_steps, steps, **asked).cases[0].notes)
    assert re.search(r"\d+ points were not looked at, beyond 1 other ways .*: x = -?\d", notes)

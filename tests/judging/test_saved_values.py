"""Textbook formulas that lose digits in tails pass, however the function is written; what is wrong there fails."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from verify.oracle.check import check_gradient
from verify.running.settings import Settings

QUICK = Settings(shrink=False, points=24)

Formula = Callable[[Any], Any]

TEXTBOOK: dict[str, tuple[Formula, Formula]] = {
    "softplus by log": (lambda x: np.log(1 + np.exp(x)), lambda x: 1 - 1 / (1 + np.exp(x))),
    "softplus by log1p": (lambda x: np.log1p(np.exp(x)), lambda x: 1 - 1 / (1 + np.exp(x))),
    "log of the sigmoid": (
        lambda x: np.minimum(x, 0) - np.log1p(np.exp(-np.abs(x))),
        lambda x: 1 - 1 / (1 + np.exp(-x)),
    ),
    "cosh": (np.cosh, lambda x: (np.exp(x) - np.exp(-x)) / 2),
}


@pytest.mark.parametrize("name", TEXTBOOK)
def test_what_everybody_writes_passes(name: str) -> None:
    """With a right gradient's digits lost where saved values have none left, and wrong by a millionth it fails."""
    function, slope = TEXTBOOK[name]

    def by_name(x: Any) -> Any:
        return function(x)

    asked: dict[str, Any] = {"at": {"x": np.array([0.7, -1.3])}, "domain": {"x": (-30.0, 30.0)}}
    assert check_gradient(lambda x, upstream: upstream * slope(x), by_name, QUICK, **asked).ok
    assert not check_gradient(lambda x, upstream: upstream * slope(x) * (1 + 1e-6), by_name, QUICK, **asked).ok


@pytest.mark.parametrize("x", [1e-308, 1e-20, 1e-10])
def test_where_a_value_hardly_moves_little_is_excused(x: float) -> None:
    """cosh is 1 to all digits near 0: its slope may be had from that to 1.5e-8 and no worse."""

    def cosh(x: Any) -> Any:
        return np.cosh(x)

    asked: dict[str, Any] = {"at": {"x": x}, "points": 0}
    assert check_gradient(lambda x: (np.exp(x) - np.exp(-x)) / 2, cosh, QUICK, **asked).ok
    assert not check_gradient(lambda x: np.sinh(x) + 1e-6, cosh, QUICK, **asked).ok

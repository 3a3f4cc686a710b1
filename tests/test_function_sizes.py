"""A function is tried at other sizes where its axes have names: what is right at one size only is found out."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from verify.errors import UsageError
from verify.oracle.check import check_gradient

AT = {"W": np.array([[0.5, -1.0, 2.0], [1.5, 0.25, -0.75]]), "x": np.array([1.0, -2.0, 0.5])}
DIMS = {"W": ("m", "k"), "x": ("k",)}


def layer(W: Any, x: Any) -> Any:
    """The function."""
    y = W @ x
    return np.sum(y * y) / len(y)


def right(W: Any, x: Any) -> Any:
    """Its gradient."""
    dy = 2 * (W @ x) / len(W)
    return np.outer(dy, x), W.T @ dy


def right_for_two_rows(W: Any, x: Any) -> Any:
    """The mean is taken for one over two."""
    dy = W @ x
    return np.outer(dy, x), W.T @ dy


def test_a_gradient_that_is_right_at_every_size_passes() -> None:
    """Each size is a result of its own."""
    run = check_gradient(right, layer, at=AT, dims=DIMS)
    assert run.ok
    assert ["layer", "layer [m=3, k=2]"] == [result.name for result in run.cases[:2]]
    assert any("m=1" in result.name for result in run.cases)


def test_one_that_is_right_at_its_own_size_only_fails() -> None:
    """The twin: it passes without dims."""
    assert check_gradient(right_for_two_rows, layer, at=AT).ok
    run = check_gradient(right_for_two_rows, layer, at=AT, dims=DIMS)
    failing = [result.name for result in run.cases if not result.passes]
    assert failing
    assert all("m=2" not in name for name in failing)


def test_sizes_that_the_function_does_not_have_are_left_out() -> None:
    """It is the gradient that is under test."""

    def needs_two(x: Any) -> Any:
        return x[0] * x[1] + np.sum(x)

    def gradient(x: Any) -> Any:
        found = np.ones_like(x)
        found[0] += x[1]
        found[1] += x[0]
        return found

    run = check_gradient(gradient, needs_two, at={"x": np.array([3.0, -4.0, 5.0])}, dims={"x": ("n",)})
    assert run.ok
    assert ["needs_two", "needs_two [n=2]"] == [result.name for result in run.cases]
    assert "the function has no value at n=1, which was left out (IndexError" in run.cases[1].notes[-1]


@pytest.mark.parametrize(
    ("dims", "words"),
    [
        ({"V": ("m", "k")}, "dims names 'V'"),
        ({"W": ("m",)}, "dims gives W the axes"),
        ({"W": ("m", "k"), "x": ("m",)}, "dims: m is 2, but an axis of x"),
        ({"W": (2, 3)}, "no axis that may change"),
        ({"W": "mk"}, "dims gives W the axes 'mk'"),
    ],
)
def test_dims_that_do_not_fit(dims: Any, words: str) -> None:
    """Each is refused with its place."""
    with pytest.raises(UsageError, match=words):
        check_gradient(right, layer, at=AT, dims=dims)


def test_a_case_has_dims_of_its_own() -> None:
    """They are not given twice."""
    with pytest.raises(UsageError, match="a case has dims of its own"):
        check_gradient(lambda W, X: (W, X), "matmul", dims={"W": ("m", "k")})

"""A function is tried at other sizes where its axes have names: what is right at one size only is found out."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

from verify.case.case import load_case_text
from verify.errors import UsageError
from verify.oracle.check import check_gradient
from verify.oracle.function_sizes import points_at_other_sizes
from verify.places.sizes import proposed

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
        ({"W": ("m", "2*m"), "x": ("k",)}, r"dims: 2\*m is 4, but an axis of W, of shape \(2, 3\), has 3"),
        ({"W": ("m", "2*k")}, "is 3 in W for no whole k"),
        ({"W": ("m", "p + q")}, "does not tell what p and q is"),
        ({"W": ("m", "0*k + 3")}, "does not tell what k is"),
        ({"W": ("m", "k**2")}, r"dims: 'k\*\*2' of W is no size; write a name"),
        ({"W": ("m", "__import__('os')")}, "is no size; write a name"),
        ({"W": ("m", "3//0")}, "is no size; write a name"),
        ({"W": ("m", "(" * 300)}, "is no size; write a name"),
        ({"W": ("m", "+".join("k" * 60))}, "is no size; write a name"),
    ],
)
def test_dims_that_do_not_fit(dims: Any, words: str) -> None:
    """Each is refused with its place."""
    with pytest.raises(UsageError, match=words):
        check_gradient(right, layer, at=AT, dims=dims)


# ------------------------------------------------------------------------------------------------- equal and derived


def product(x: Any, w: Any) -> Any:
    """The function of the next tests."""
    return x @ w


def its_gradient(x: Any, w: Any, upstream: Any) -> Any:
    """Its gradient."""
    return upstream @ w.T, x.T @ upstream


def without_a_transpose_where_square(x: Any, w: Any, upstream: Any) -> Any:
    """What every check of shapes lets pass."""
    return upstream @ (w if w.shape[0] == w.shape[1] else w.T), x.T @ upstream


def over_the_wrong_axis_where_square(x: Any, w: Any, upstream: Any) -> Any:
    """The same for samples as many as features."""
    dw = x.T @ upstream
    return upstream @ w.T, x @ upstream if x.shape[0] == x.shape[1] else dw


@pytest.mark.parametrize("wrong", [without_a_transpose_where_square, over_the_wrong_axis_where_square])
def test_what_shows_only_where_dims_are_equal(wrong: Any) -> None:
    """For a function and for a case; the right gradient passes at all of these sizes."""
    rng = np.random.default_rng(3)
    at = {"x": rng.normal(size=(4, 3)), "w": rng.normal(size=(3, 2))}
    dims = {"x": ("n", "d"), "w": ("d", "m")}
    assert check_gradient(its_gradient, product, at=at, dims=dims).ok
    assert not check_gradient(wrong, product, at=at, dims=dims, shrink=False).ok
    case = load_case_text(
        "case: product\ndims: {n: 4, d: 3, m: 2}\n"
        "inputs: {x: {shape: [n, d], at: normal}, w: {shape: [d, m], at: normal}}\nstages: {y: x @ w}\n"
    )
    assert check_gradient(its_gradient, case).ok
    assert not check_gradient(wrong, case, shrink=False).ok


def test_any_two_dims_are_equal_at_some_size_and_all_differ_at_another() -> None:
    """And each is 1 somewhere; labels keep as many classes as there are."""
    listed = list(proposed("five", dict.fromkeys("abcde", 1), seed=1))
    assert len(set(listed[0].values())) == len("abcde")
    for one, other in itertools.combinations("abcde", 2):
        assert any(sizes[one] == sizes[other] > 1 for sizes in listed)
        assert any(sizes[one] != sizes[other] for sizes in listed)
    assert all(any(sizes[name] == 1 for sizes in listed) for name in "abcde")
    labelled = list(proposed("labels", {"n": 1, "d": 1, "c": 7}, seed=1))
    assert {"n": 7, "d": 7, "c": 7} in labelled
    assert {"n": 3, "d": 3, "c": 7} in labelled
    assert all(sizes["c"] >= 7 for sizes in labelled)


def gates(x: Any, h: Any, W: Any, U: Any) -> Any:
    """One step with two gates: what is kept, and what is new."""
    z = x @ W + h @ U
    size = h.shape[1]
    keep = 1 / (1 + np.exp(-z[:, :size]))
    return keep * h + (1 - keep) * np.tanh(z[:, size:])


def through_gates(x: Any, h: Any, W: Any, U: Any, upstream: Any) -> Any:
    """Its gradient."""
    z, size = x @ W + h @ U, h.shape[1]
    keep, new = 1 / (1 + np.exp(-z[:, :size])), np.tanh(z[:, size:])
    dz = np.concatenate([upstream * (h - new) * keep * (1 - keep), upstream * (1 - keep) * (1 - new**2)], axis=1)
    return dz @ W.T, upstream * keep + dz @ U.T, x.T @ dz, h.T @ dz


def test_sizes_that_follow_from_others() -> None:
    """Written as products they are obeyed at every size; named apart, what has no such value is left out."""
    rng = np.random.default_rng(5)
    shapes = {"x": (3, 4), "h": (3, 2), "W": (4, 4), "U": (2, 4)}
    at = {name: rng.normal(size=shape) for name, shape in shapes.items()}
    derived: Any = {"x": ("N", "D"), "h": ("N", "H"), "W": ("D", "2*H"), "U": ("H", "2*H")}
    run = check_gradient(through_gates, gates, at=at, dims=derived)
    assert run.ok
    assert len(run.cases) > 4
    assert not any("left out" in note for result in run.cases for note in result.notes)

    def wrong(x: Any, h: Any, W: Any, U: Any, upstream: Any) -> Any:
        found = through_gates(x, h, W, U, upstream)
        return (*found[:3], found[3].T if U.shape[0] == U.shape[1] else found[3] * (1 + (x.shape[1] == 1)))

    assert not check_gradient(wrong, gates, at=at, dims=derived, shrink=False).ok
    apart = {**derived, "W": ("D", "M"), "U": ("H", "M")}
    loose = check_gradient(through_gates, gates, at=at, dims=apart)
    assert any("which was left out" in note for result in loose.cases for note in result.notes)


def test_functions_that_have_no_value_at_normal_draws() -> None:
    """Without a domain, sizes are tried near the given values where normal ones lie outside the function's domain."""
    at = {"x": np.array([1.0, 2.0, 5.0])}
    run = check_gradient(lambda x: 1 / x, lambda x: np.sum(np.log(x)), at=at, dims={"x": ("n",)})
    assert run.ok
    assert len(run.cases) > 1
    assert not check_gradient(
        lambda x: 1 / x / len(x) * 3, lambda x: np.sum(np.log(x)), at=at, dims={"x": ("n",)}, shrink=False
    ).ok


def test_a_case_has_dims_of_its_own() -> None:
    """They are not given twice."""
    with pytest.raises(UsageError, match="a case has dims of its own"):
        check_gradient(lambda W, X: (W, X), "matmul", dims={"W": ("m", "k")})


def test_sizes_that_no_memory_holds_are_left_out_and_told() -> None:
    """A size that is computed may be anything; a large one that is near the given one is looked at."""
    at = {"x": np.arange(1.0, 10.0).reshape(3, 3)}
    for wrong, factor in ((False, 2.0), (True, 2.0001)):
        run = check_gradient(
            lambda x, k=factor: k * x, lambda x: np.sum(x * x), at=at, dims={"x": ("m", "99999999999999*(m-n)+n")}
        )
        assert run.ok is not wrong
        assert any("its arguments would have" in note for result in run.cases for note in result.notes)
    assert any("numbers, more than" in reason for _, _, reason in points_at_other_sizes(
        at, {"x": ("m", "99999999999999*(m-n)+n")}, None, 0))  # fmt: skip
    found = points_at_other_sizes({"x": np.ones((2, 784))}, {"x": ("m", 784)}, None, 0)
    assert [(len(points), reason) for _, points, reason in found] == [(2, "")] * 2


def test_other_sizes_have_numbers_of_their_own() -> None:
    """A user who draws from seed 0 has other numbers; the same seed gives the same ones again."""
    at = {"x": np.ones(5)}
    (_, drawn, _), *_ = points_at_other_sizes(at, {"x": ("m",)}, None, 0)
    (_, again, _), *_ = points_at_other_sizes(at, {"x": ("m",)}, None, 0)
    user = np.random.default_rng(0).standard_normal(len(drawn[0]["x"]))
    assert not np.any(drawn[0]["x"] == user)
    np.testing.assert_array_equal(drawn[0]["x"], again[0]["x"])

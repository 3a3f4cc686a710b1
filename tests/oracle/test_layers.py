"""Layers and losses as people write them, each judged as it stands, and each with a twin that is wrong by a little."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import verify
from verify import check_layer, check_loss

RNG = np.random.default_rng(5)


def affine(x: Any, w: Any, b: Any) -> Any:
    """The affine layer of the course."""
    return x.reshape(len(x), -1) @ w + b, (x, w)


def affine_backward(dout: Any, cache: Any) -> Any:
    """Its gradient by each argument."""
    x, w = cache
    return (dout @ w.T).reshape(x.shape), x.reshape(len(x), -1).T @ dout, dout.sum(axis=0)


def pool(x: Any, pool_param: Any) -> Any:
    """The maximum of each window, which may overlap."""
    size, stride = pool_param["size"], pool_param["stride"]
    out = np.zeros((1 + (x.shape[0] - size) // stride,))
    for i in range(len(out)):
        out[i] = np.max(x[i * stride : i * stride + size])
    return out, (x, pool_param)


def pool_backward(dout: Any, cache: Any, *, overwrites: bool = False) -> Any:
    """Adds to what an entry has received, or writes over it."""
    x, pool_param = cache
    size, stride = pool_param["size"], pool_param["stride"]
    dx = np.zeros_like(x)
    for i in range(len(dout)):
        best = i * stride + np.argmax(x[i * stride : i * stride + size])
        dx[best] = dout[i] + (0 if overwrites else dx[best])
    return dx


def lstm_like(x: Any, h: Any) -> Any:
    """Two outputs."""
    a = np.tanh(x + h)
    return a * h, a, (x, h, a)


def lstm_like_backward(dy: Any, da: Any, cache: Any, factor: float = 1.0) -> Any:
    """An upstream gradient for each."""
    _, h, a = cache
    dsum = (da + dy * h) * (1 - a**2) * factor
    return dsum, dsum + dy * a


def softmax_loss(x: Any, y: Any) -> Any:
    """The loss of the course, with its gradient."""
    p = np.exp(x - x.max(axis=1, keepdims=True))
    p /= p.sum(axis=1, keepdims=True)
    dx = p.copy()
    dx[np.arange(len(x)), y] -= 1
    return -np.log(p[np.arange(len(x)), y]).mean(), dx / len(x)


SCORES, LABELS = RNG.normal(size=(3, 4)), np.array([0, 3, 1])
LAYER: dict[str, Any] = {"x": RNG.normal(size=(2, 3)), "w": RNG.normal(size=(3, 4)), "b": RNG.normal(size=4)}


def test_a_pair_is_proved_and_a_part_in_a_million_fails() -> None:
    """The forward is traced without its cache; the three ways stand beside the pair."""
    run = check_layer(affine, affine_backward, **LAYER)
    assert run.ok
    assert all(variable.proved for variable in run.cases[0].variables)
    wrong = check_layer(
        affine, lambda dout, cache: [(1 + 1e-6) * part for part in affine_backward(dout, cache)], **LAYER
    )
    assert not wrong.ok


def test_other_sizes_are_tried() -> None:
    """Right at one size only: three rows are divided by where the mean was meant."""

    def mean(x: Any) -> Any:
        return x.mean(axis=0), x.shape

    assert check_layer(mean, lambda dout, shape: np.tile(dout / shape[0], (shape[0], 1)), x=np.ones((3, 2))).ok
    assert not check_layer(mean, lambda dout, shape: np.tile(dout / 3, (shape[0], 1)), x=np.ones((3, 2))).ok


def test_each_variant_is_tried() -> None:
    """Windows that overwrite each other do so where they overlap alone."""
    params = [{"size": 3, "stride": 3}, {"size": 3, "stride": 1}]
    point: dict[str, Any] = {"x": np.array([0.1, 0.2, 1.5, 0.3, -0.5, 0.4])}
    assert check_layer(pool, pool_backward, **point, pool_param=params).ok
    run = check_layer(pool, lambda d, cache: pool_backward(d, cache, overwrites=True), **point, pool_param=params)
    assert {case.name.partition(" [pool")[2] for case in run.cases if not case.passes} == {
        "_param={'size': 3, 'stride': 1}]"
    }
    assert check_layer(pool, pool_backward, **point, vary={"pool_param": params}).ok


@pytest.mark.parametrize("factor", [1.0, 1 + 1e-6])
def test_several_outputs(factor: float) -> None:
    """Upstream gradients arrive in the order of the outputs, the cache behind them."""
    point: dict[str, Any] = {"x": RNG.normal(size=3), "h": RNG.normal(size=3)}
    run = check_layer(lstm_like, lambda dy, da, cache: lstm_like_backward(dy, da, cache, factor), **point)
    assert run.ok is (factor == 1.0)


@pytest.mark.parametrize(("factor", "ok"), [(1.0, True), (1 - 1e-6, False)])
def test_a_loss_with_its_gradient(factor: float, ok: bool) -> None:
    """Labels are whole numbers and have no gradient."""

    def loss(x: Any, y: Any) -> Any:
        value, dx = softmax_loss(x, y)
        return value, factor * dx

    assert check_loss(loss, x=SCORES, y=LABELS).ok is ok


def test_gradients_of_some_arguments() -> None:
    """One gradient of three floats is that of the first array; a mapping says which it has."""

    def ridge(w: Any, x: Any, y: Any, reg: Any) -> Any:
        error = x @ w - y
        return np.sum(error**2) + reg * np.sum(w**2), 2 * x.T @ error + 2 * reg * w

    point: dict[str, Any] = {
        "w": np.array([1.0, -2.0]),
        "x": RNG.normal(size=(3, 2)),
        "y": RNG.normal(size=3),
        "reg": 0.1,
    }
    assert [v.name for v in check_loss(ridge, **point).cases[0].variables if v.role == "input"] == ["w"]
    named = check_loss(lambda w, x, y, reg: (ridge(w, x, y, reg)[0], {"dy": -2 * (x @ w - y)}), **point)
    assert named.ok
    assert not check_loss(lambda w, x, y, reg: (ridge(w, x, y, reg)[0], ridge(w, x, y, 0.0)[1]), **point).ok


def test_a_cache_that_is_used_up() -> None:
    """A backward that is called once more has what it had the first time."""

    def square(x: Any) -> Any:
        return x**2, [x]

    assert check_layer(square, lambda dout, cache: 2 * dout * cache[0], x=SCORES).ok
    for careless in (lambda dout, cache: 2 * dout * cache.pop(), _changes_its_cache):
        run = check_layer(square, careless, x=SCORES)
        assert not run.ok
        assert "cache changed" in {finding.kind for finding in run.cases[0].findings}


def _changes_its_cache(dout: Any, cache: Any) -> Any:
    answer = 2 * dout * cache[0]
    cache[0] = cache[0] * 2
    return answer


class Square:
    """A layer that keeps its cache itself."""

    def __init__(self, slope: float) -> None:
        self.slope = slope

    def forward(self, x: Any) -> Any:
        """The value."""
        self.x = x
        return x**2

    def backward(self, dout: Any) -> Any:
        """The gradient."""
        return self.slope * self.x * dout


def test_an_object_stands_for_both() -> None:
    """It is as before afterwards."""
    layer = Square(2.0)
    assert check_layer(layer, x=SCORES).ok
    assert not hasattr(layer, "x")
    assert not check_layer(Square(2.000001), x=SCORES).ok


def test_the_forward_is_held_against_a_reference() -> None:
    """Another function than the reference: the backward is not to blame."""
    assert check_layer(affine, affine_backward, reference=lambda x, w, b: x @ w + b, **LAYER).ok
    run = check_layer(affine, affine_backward, reference=lambda x, w, b: x @ w - b, **LAYER)
    assert "the functions differ" in str(run)


def test_options_and_arguments_of_one_name() -> None:
    """What is asked of the check goes by keyword, an argument of that name by ``at``."""
    run = check_layer(lambda seed: (seed**2, seed), lambda dout, cache: 2 * dout * cache, at={"seed": 3.0}, seed=7)
    assert (run.ok, run.seed) == (True, 7)
    assert check_layer(affine, affine_backward, **LAYER, domain={"x": (-9, 9)}, points=4).cases[0].points_checked > 4


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: check_layer(affine, affine_backward, x=SCORES), "missing a required argument: 'w'"),
        (lambda: check_layer(affine, affine_backward, **LAYER, stride=1), "unexpected keyword argument 'stride'"),
        (lambda: check_layer(affine, affine_backward, vary={"b": []}, **LAYER), "vary has no value for b"),
        (lambda: check_layer(affine, affine_backward, at=[LAYER]), "at takes one point"),  # type: ignore[arg-type]
        (lambda: check_layer(affine, x=SCORES), "needs forward and backward"),
        (lambda: check_loss(lambda x: x.sum(), x=SCORES), "returns no pair of a value and its gradient"),
    ],
)
def test_what_does_not_fit_is_said(call: Callable[[], Any], said: str) -> None:
    """With the name of what is missing."""
    with pytest.raises(verify.UsageError, match=said):
        call()


def test_a_case_as_reference_is_looked_at_where_the_caller_says() -> None:
    """Wrong at the given point alone: the case's own points do not stand for it."""
    case = verify.load_case_text("case: square\ninputs: {x: {at: 3, domain: [-9, 9]}}\nstages: {f: x**2}\n")

    def wrong(dout: Any, x: Any) -> Any:
        return 2 * x * dout * (1.001 if x == 7.125 else 1.0)

    assert check_layer(lambda x: (x**2, x), lambda dout, x: 2 * x * dout, x=7.125, reference=case).ok
    assert not check_layer(lambda x: (x**2, x), wrong, x=7.125, reference=case).ok


@pytest.mark.parametrize("factor", [1.0, 1 + 1e-6])
def test_answers_as_people_give_them(factor: float) -> None:
    """Lists, lists of lists, None for what has no gradient, arguments that cannot be copied, options left out."""
    x, y = np.array([1.0, -2.0]), np.array([[0.5, 1.0], [2.0, -1.0]])
    right = factor == 1.0
    assert check_loss(lambda x, y: (x @ y @ x, [(y + y.T) @ x * factor, np.outer(x, x)]), x=x, y=y).ok is right
    assert check_loss(lambda x, _y: (x @ x, (2 * x * factor, None)), x=x, _y=LABELS).ok is right
    assert check_layer(lambda x: (x**2, x), lambda d, x: (2 * factor * d * x).tolist(), x=y).ok is right
    assert check_layer(lambda x, xp: (xp.sin(x), x), lambda d, x: factor * d * np.cos(x), x=x, xp=np).ok is right

    class Layer:
        def forward(self, x: Any, training: bool = True) -> Any:
            self.x = x
            return x**2 if training else x

        def backward(self, dout: Any) -> Any:
            return 2 * factor * self.x * dout

    assert check_layer(Layer(), x=x).ok is right


def test_a_forward_without_end_is_an_error() -> None:
    """The call that finds out what there are gradients of keeps to the limits too."""

    def endless(x: Any) -> Any:
        while True:
            x = x + 0

    run = check_layer(endless, lambda dout, _: dout, verify.Settings(call_seconds=0.5, case_seconds=1.0), x=SCORES)
    assert not run.ok


def test_the_place_is_the_line_to_edit() -> None:
    """The layer's own backward, whose first line is told; never a file of this program."""

    class Tanh:
        def forward(self, x: Any) -> Any:
            self.x = x
            return np.tanh(x)

        def backward(self, upstream: Any) -> Any:
            return upstream * (1 - np.tanh(self.x))

    run = check_layer(Tanh(), x=np.array([1.0, 2.0]))
    rows = [row for case in run.cases for row in case.failing()]
    assert {(__file__, Tanh.backward.__code__.co_firstlineno)} == {(row.file, row.line) for row in rows}

"""Convolution and pooling, held against plain loops, against torch where it is there, and against what shapes allow."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import sympy
from flint import arb, arb_series

from verify.case.expression import ExpressionError, graph_from_expressions
from verify.graph.graph import Graph, GraphBuilder
from verify.graph.taylor import entries_of, precision
from verify.methods.reverse import prepare as engine
from verify.methods.symbolic import Symbolic
from verify.methods.symbolic import prepare as symbolic
from verify.numbers.balls import Balls
from verify.ops import OPS, Op
from verify.symbolic.pieces import piece_of

Shapes = tuple[tuple[int, ...], ...]
TRIALS: tuple[tuple[str, Shapes, Mapping[str, Any]], ...] = (
    ("conv1d", ((2, 3, 5), (4, 3, 2)), {}),
    ("conv1d", ((1, 1, 1), (1, 1, 1)), {}),
    ("conv1d", ((2, 1, 6), (3, 1, 3)), {"stride": 2, "padding": 2}),
    ("conv2d", ((2, 3, 4, 4), (2, 3, 3, 3)), {}),
    ("conv2d", ((1, 2, 3, 5), (3, 2, 2, 3)), {"stride": (1, 2), "padding": (1, 0)}),
    ("conv2d", ((2, 1, 2, 2), (2, 1, 3, 3)), {"padding": 1}),
    ("conv2d", ((1, 1, 2, 2), (1, 1, 1, 1)), {"padding": 2, "stride": 3}),
    ("avg_pool", ((2, 3, 4),), {"size": 2}),
    ("avg_pool", ((1, 2, 5, 4),), {"size": (3, 2), "stride": (1, 2)}),
    ("avg_pool", ((2, 1, 3, 3),), {"size": 1, "stride": 2}),
    ("max_pool", ((2, 3, 4),), {"size": 2}),
    ("max_pool", ((1, 2, 5, 4),), {"size": (3, 2), "stride": (1, 2)}),
    ("max_pool", ((2, 1, 3, 3),), {"size": 2, "stride": 1}),
)
SLIGHTLY_MORE = 1 + 2.0**-20


# ------------------------------------------------------------------------------------------------------ the loops


def both(value: Any, axes: int) -> tuple[int, ...]:
    """A parameter for each axis."""
    return value if isinstance(value, tuple) else (value,) * axes


def convolved(x: Any, w: Any, stride: Any = 1, padding: Any = 0) -> Any:
    """The definition, on padded input: a sum over channels and places of the filter."""
    axes = x.ndim - 2
    strides, pads = both(stride, axes), both(padding, axes)
    padded = np.pad(x, [(0, 0), (0, 0), *((p, p) for p in pads)])
    places = [(n - k) // s + 1 for n, k, s in zip(padded.shape[2:], w.shape[2:], strides, strict=True)]
    y = np.zeros((len(x), len(w), *places), dtype=x.dtype)
    for n, f, *place in np.ndindex(y.shape):
        total: Any = 0
        for c, *tap in np.ndindex(w.shape[1:]):
            at = tuple(p * s + t for p, s, t in zip(place, strides, tap, strict=True))
            total = total + padded[(n, c, *at)] * w[(f, c, *tap)]
        y[(n, f, *place)] = total
    return y


def pooled(join: Callable[[list[Any]], Any], x: Any, size: Any, stride: Any = None) -> Any:
    """Something of the entries of each window."""
    axes = x.ndim - 2
    sizes = both(size, axes)
    strides = sizes if stride is None else both(stride, axes)
    places = [(n - k) // s + 1 for n, k, s in zip(x.shape[2:], sizes, strides, strict=True)]
    y = np.zeros((*x.shape[:2], *places), dtype=x.dtype)
    for n, c, *place in np.ndindex(y.shape):
        reach = itertools.product(*(range(p * s, p * s + k) for p, s, k in zip(place, strides, sizes, strict=True)))
        y[(n, c, *place)] = join([x[(n, c, *at)] for at in reach])
    return y


LOOPS: Mapping[str, Callable[..., Any]] = {
    "conv1d": convolved,
    "conv2d": convolved,
    "avg_pool": lambda x, **params: pooled(lambda entries: sum(entries) / len(entries), x, **params),
    "max_pool": lambda x, **params: pooled(max, x, **params),
}


def drawn(shapes: Shapes, points: int, dtype: Any = np.float64) -> list[Any]:
    """Operands ``(P, *shape)`` of whole numbers, all different in one operand, so that no window ties."""
    rng = np.random.default_rng(points)
    return [
        (rng.permutation(points * int(np.prod(shape))).reshape(points, *shape) - 7.0).astype(dtype) for shape in shapes
    ]


def slopes(op: str, operands: list[Any], which: int, weights: Any, params: Mapping[str, Any]) -> Any:
    """The derivatives of the weighted sum: each op is linear in each operand around a point without ties."""
    found = np.zeros(operands[which].shape)
    for entry in np.ndindex(found.shape):
        moved = [x.copy() for x in operands]
        moved[which][entry] += 0.25
        change = LOOPS[op](*moved, **params) - LOOPS[op](*operands, **params)
        found[entry] = np.sum(change * weights) / 0.25
    return found


def faults(row: Op, shapes: Shapes, params: Mapping[str, Any], points: int, dtype: Any = np.float64) -> list[str]:
    """Where forward or VJPs are not the loops', or have another shape or dtype."""
    operands = drawn(shapes, points, dtype)
    y = row.forward(*operands, **params)
    g = np.random.default_rng(3).integers(-4, 5, y.shape).astype(dtype)
    assert y.shape == (points, *row.shape(*shapes, **params))
    sent = [vjp(g, y, *operands, **params) for vjp in row.vjps]
    assert [y.dtype, *(x.dtype for x in sent)] == [dtype] * (1 + row.arity)
    found = []
    for p in range(points):
        at = [x[p].astype(np.float64) for x in operands]
        known = [LOOPS[row.name](*at, **params)]
        known += [slopes(row.name, at, i, g[p], params) for i in range(row.arity)]
        for what, got, true in zip(("forward", "VJP a", "VJP b"), [y, *sent], known, strict=False):
            assert got[p].shape == true.shape
            if not np.allclose(got[p], true, rtol=4 * np.finfo(dtype).eps, atol=1e-5 if dtype == np.float32 else 1e-12):
                found.append(f"{what}: {got[p]}, expected {true}")
    return found


def alone(op: str, shapes: Shapes, params: Mapping[str, Any]) -> Graph:
    """A graph of the op alone."""
    builder = GraphBuilder()
    operands = [builder.input(name, shape) for name, shape in zip("ab", shapes, strict=False)]
    builder.name("y", builder.apply(op, *operands, params=params))
    return builder.build(["y"])


def form_faults(row: Op, shapes: Shapes, params: Mapping[str, Any]) -> list[str]:
    """Where SymPy's side or the ball form is not the loops', in value or slope."""
    graph = alone(row.name, shapes, params)
    piece = piece_of(graph, graph.position("y"))
    operands = drawn(shapes, 1)
    at = [x[0] for x in operands]
    weights = np.random.default_rng(3).integers(1, 5, (1, *graph.shape("y"))).astype(float)
    found = [] if np.allclose(piece.value(operands)[0], LOOPS[row.name](*at, **params), rtol=1e-14) else ["SymPy value"]
    for i, pull in enumerate(piece.pulls(operands)):
        if not np.allclose(pull(weights)[0], slopes(row.name, at, i, weights[0], params), rtol=1e-12):
            found.append(f"SymPy slope {i}")
    with precision(128, 3):
        for i, x in enumerate(at):
            series = [np.asarray(np.frompyfunc(arb, 1, 1)(other), dtype=object) for other in at]
            way = np.random.default_rng(4).integers(-3, 4, x.shape).astype(float)
            for entry in np.ndindex(x.shape):
                series[i][entry] = arb_series([arb(float(x[entry])), arb(float(way[entry]))])
            got = entries_of(row.ball(*series, **params))
            value, slope = (np.array([float(y[k]) for y in got]) for k in (0, 1))
            known = float(np.sum(slopes(row.name, at, i, weights[0], params) * way))
            if not np.allclose(value, LOOPS[row.name](*at, **params).ravel(), rtol=1e-14):
                found.append(f"ball value, operand {i}")
            if not np.isclose(float(slope @ weights.ravel()), known, rtol=1e-12):
                found.append(f"ball slope, operand {i}")
    return found


# ----------------------------------------------------------------------------------------------------------- tests


@pytest.mark.parametrize("points", [1, 2, 3])
@pytest.mark.parametrize(("op", "shapes", "params"), TRIALS, ids=str)
def test_forward_and_vjps_are_the_loops(op: str, shapes: Shapes, params: Mapping[str, Any], points: int) -> None:
    """For P like each dimension, in both dtypes."""
    assert [] == faults(OPS[op], shapes, params, points)
    assert [] == faults(OPS[op], shapes, params, points, np.float32)


@pytest.mark.parametrize(("op", "shapes", "params"), TRIALS, ids=str)
def test_sympy_the_balls_and_mpmath_are_the_loops(op: str, shapes: Shapes, params: Mapping[str, Any]) -> None:
    """The other columns, without an axis of points."""
    assert [] == form_faults(OPS[op], shapes, params)
    at = [np.asarray(x[0], dtype=object) for x in drawn(shapes, 1)]
    exact = np.asarray(OPS[op].exact(*at, **params), dtype=float)
    np.testing.assert_allclose(exact, LOOPS[op](*(x.astype(float) for x in at), **params), rtol=1e-14)


def scaled(function: Callable[..., Any], number: Any) -> Callable[..., Any]:
    """The function times a number."""
    return lambda *args, **params: function(*args, **params) * number


@pytest.mark.parametrize(("op", "shapes", "params"), TRIALS, ids=str)
def test_a_planted_factor_is_caught(
    op: str, shapes: Shapes, params: Mapping[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Twin: the same checks reject a forward, a VJP, a SymPy form, a lowering or a ball form that is too large."""
    if int(np.prod(shapes[0])) == 1:
        pytest.skip("a single entry is 0 here, times anything")
    row, number = OPS[op], 1 + sympy.Rational(1, 2**20)
    assert [] != faults(replace(row, forward=scaled(row.forward, SLIGHTLY_MORE)), shapes, params, 2)
    for i, vjp in enumerate(row.vjps):
        wrong = replace(row, vjps=(*row.vjps[:i], scaled(vjp, SLIGHTLY_MORE), *row.vjps[i + 1 :]))
        assert [] != faults(wrong, shapes, params, 2)
    assert [] != form_faults(replace(row, ball=scaled(row.ball, arb(SLIGHTLY_MORE))), shapes, params)
    if row.lower is None:
        planted = replace(row, sympy=scaled(row.sympy, number))
    else:
        lower = row.lower
        planted = replace(
            row, lower=lambda b, *a, **p: b.apply("multiply", lower(b, *a, **p), b.constant(SLIGHTLY_MORE))
        )
    monkeypatch.setitem(OPS, op, planted)
    assert [] != form_faults(OPS[op], shapes, params)


@pytest.mark.parametrize(("op", "shapes", "params"), TRIALS, ids=str)
def test_rounding_is_within_the_balls(op: str, shapes: Shapes, params: Mapping[str, Any]) -> None:
    """Forward and backward run on balls, and hold what doubles give for the same floats."""
    rng = np.random.default_rng(1)
    operands = [rng.normal(size=(2, *shape)).astype(np.float32) for shape in shapes]
    wide = [x.astype(np.float64) for x in operands]
    row = OPS[op]
    balls = [Balls.exact(x) for x in operands]
    y, exact = row.forward(*balls, **params), row.forward(*wide, **params)
    assert (np.abs(y.value - exact) <= y.radius * (1 + 1e-6)).all()
    g = rng.normal(size=exact.shape).astype(np.float32)
    for vjp in row.vjps:
        sent = vjp(Balls.exact(g), y, *balls, **params)
        true = vjp(g.astype(np.float64), exact, *wide, **params)
        assert (np.abs(sent.value - true) <= sent.radius * (1 + 1e-6)).all()
        assert (sent.radius <= 1e-5 * np.abs(true).max()).all()


@pytest.mark.parametrize(("op", "shapes", "params"), TRIALS, ids=str)
def test_torch_agrees(op: str, shapes: Shapes, params: Mapping[str, Any]) -> None:
    """Values and gradients of torch.nn.functional."""
    torch = pytest.importorskip("torch")
    nn = torch.nn.functional
    axes = len(shapes[0]) - 2
    functions = {
        "conv1d": nn.conv1d, "conv2d": nn.conv2d,
        "avg_pool": (nn.avg_pool1d, nn.avg_pool2d)[axes - 1], "max_pool": (nn.max_pool1d, nn.max_pool2d)[axes - 1],
    }  # fmt: skip
    operands = [x[0] for x in drawn(shapes, 1)]
    tensors = [torch.tensor(x, requires_grad=True) for x in operands]
    theirs = {"size": "kernel_size"}
    y = functions[op](*tensors, **{theirs.get(key, key): value for key, value in params.items()})
    g = np.random.default_rng(3).normal(size=y.shape)
    (y * torch.tensor(g)).sum().backward()
    mine = engine(alone(op, shapes, params), "ab"[: len(shapes)]).differentiate(
        {name: x[None] for name, x in zip("ab", operands, strict=False)}, {"y": g[None]}
    )
    np.testing.assert_allclose(mine.values["y"][0], y.detach().numpy(), rtol=1e-12)
    for name, tensor in zip("ab", tensors, strict=False):
        np.testing.assert_allclose(mine.gradients[name][0], tensor.grad.numpy(), rtol=1e-11, atol=1e-11)


def test_conventions_where_a_window_ties() -> None:
    """The first in reading order, as torch; each of them; or equal shares."""
    x, y = np.array([[[[[1.0, 3.0], [3.0, 3.0]]]]]), np.array([[[[[3.0]]]]])
    sent = {
        tie: OPS["max_pool"].vjps[0](6 * np.ones_like(y), y, x, size=2, tie=tie).ravel().tolist()
        for tie in OPS["max_pool"].conventions.values()
    }
    assert {"first": [0, 6, 0, 0], "all": [0, 6, 6, 6], "even": [0, 2, 2, 2]} == sent
    assert next(iter(OPS["max_pool"].conventions)) == "first"


@pytest.mark.parametrize(
    ("expression", "shapes", "words"),
    [
        ("conv2d(x, w)", {"x": (1, 3, 4), "w": (1, 3, 4)}, "conv2d needs an input (N, C, H, W) and filters"),
        ("conv1d(x, w)", {"x": (1, 3, 4), "w": (2, 2, 2)}, "an input of 3 channels against filters of 2"),
        ("conv1d(x, w)", {"x": (1, 1, 3), "w": (1, 1, 4)}, "a window of 4 does not fit into an axis of length 3"),
        ("conv1d(x, w, stride=0)", {"x": (1, 1, 3), "w": (1, 1, 1)}, "stride of conv1d must be a whole number from 1"),
        ("conv1d(x, w, padding=-1)", {"x": (1, 1, 3), "w": (1, 1, 1)}, "padding of conv1d must be a whole number from"),
        ("conv1d(x, w, stride=(1, 2))", {"x": (1, 1, 3), "w": (1, 1, 1)}, "needs a whole number, or 1 of them, got 2"),
        (
            "conv1d(x, w, stride=True)",
            {"x": (1, 1, 3), "w": (1, 1, 1)},
            "stride of conv1d must be a whole number from 1 on, or a tuple of them, got True",
        ),
        ("conv1d(x, w, dilation=2)", {"x": (1, 1, 3), "w": (1, 1, 1)}, "unknown parameter 'dilation' of conv1d"),
        ("max_pool(x)", {"x": (1, 1, 3)}, "size"),
        (
            "max_pool(x, size=0)",
            {"x": (1, 1, 3)},
            "size of max_pool must be a whole number from 1 on, or a tuple of them, got 0",
        ),
        ("avg_pool(x, size=4)", {"x": (1, 1, 3)}, "avg_pool: a window of 4 does not fit"),
        ("avg_pool(x, size=2)", {"x": (4, 4)}, "avg_pool needs an input (N, C, L) or (N, C, H, W), got shape (4, 4)"),
    ],
)
def test_shapes_that_do_not_fit_are_said_when_the_case_is_read(
    expression: str, shapes: Mapping[str, tuple[int, ...]], words: str
) -> None:
    """In words, with what was given."""
    with pytest.raises(ExpressionError) as error:
        graph_from_expressions(shapes, {"f": f"sum({expression})"})
    assert words in str(error.value)


def test_a_layer_that_sympy_cannot_expand_is_said_in_words() -> None:
    """A small layer is expanded; one of 16 filters on 32 by 32 pixels is not."""
    small = symbolic(alone("conv2d", ((2, 3, 5, 5), (4, 3, 3, 3)), {"padding": 1}), ["a", "b"])
    assert isinstance(small, Symbolic)
    large = symbolic(alone("conv2d", ((1, 3, 32, 32), (16, 3, 3, 3)), {"padding": 1}), ["a", "b"])
    assert not isinstance(large, Symbolic)
    assert "expands into more than" in large.reason

"""The engine on its own: accumulation, broadcasting, long chains, infinite local derivatives, and nothing shared.

What it is held against here is written by hand or made of plain loops over points, never by another method.
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from verify.case.expression import graph_from_expressions
from verify.graph.graph import Graph, GraphBuilder
from verify.graph.interpret import Program
from verify.methods.reverse import Reverse, unbroadcast, value_and_gradient
from verify.ops import Shape

Array = NDArray[np.float64]
POINTS = (1, 2, 3, 4, 5)


def single(graph: Graph, inputs: Mapping[str, Array], upstream: Array) -> dict[str, list[Array]]:
    """Gradients of ``f`` point by point, each run at P = 1, where no axis can be mistaken for that of points."""
    found: dict[str, list[Array]] = {name: [] for name in inputs}
    for p in range(len(upstream)):
        one = {name: x[p : p + 1] for name, x in inputs.items()}
        _, gradient = value_and_gradient(graph, one, {"f": upstream[p : p + 1]})
        for name in inputs:
            found[name].append(gradient[name][0])
    return found


def batched_equals_single(graph: Graph, points: int, seed: int) -> None:
    """All points at once give what each gives alone, in arrays of the variable's shape."""
    rng = np.random.default_rng(seed)
    inputs = {name: rng.uniform(0.5, 2.0, (points, *graph.shape(name))) for name in graph.inputs}
    upstream = rng.normal(size=(points, *graph.shape("f")))
    values, gradients = value_and_gradient(graph, inputs, {"f": upstream})
    assert (points, *graph.shape("f")) == values["f"].shape
    for name, alone in single(graph, inputs, upstream).items():
        assert (points, *graph.shape(name)) == gradients[name].shape
        np.testing.assert_allclose(gradients[name], np.array(alone), rtol=1e-13, atol=1e-15)


# -------------------------------------------------------------------------------------------------- shapes and ranks


@st.composite
def broadcastable(draw: st.DrawFn) -> tuple[Shape, Shape]:
    """Two shapes that broadcast: any ranks up to three, axes of size 1 on either side."""
    full = draw(st.lists(st.integers(1, 4), max_size=3))
    shapes = []
    for _ in range(2):
        kept = full[draw(st.integers(0, len(full))) :]
        shapes.append(tuple(1 if draw(st.booleans()) else size for size in kept))
    return shapes[0], shapes[1]


def slopes_by_hand(op: str, x: float, y: float) -> tuple[float, float]:
    """Both partial derivatives of one op at one pair of numbers."""
    slopes = {
        "a + b": (1.0, 1.0),
        "a - b": (1.0, -1.0),
        "a * b": (y, x),
        "a / b": (1 / y, -x / y**2),
        "a ** b": (y * x ** (y - 1), x**y * np.log(x)),
        "max(a, b)": (float(x > y), float(x < y)),
    }
    return slopes[op]


def by_hand(op: str, a: Array, b: Array, g: Array) -> tuple[Array, Array]:
    """The gradients of one point by both operands, entry by entry in a loop."""
    da, db = np.zeros_like(a), np.zeros_like(b)
    for index in np.ndindex(g.shape):
        i, j = (
            tuple(0 if size == 1 else k for size, k in zip(x.shape, index[len(index) - x.ndim :], strict=True))
            for x in (a, b)
        )
        x, y, up = a[i], b[j], g[index]
        by_a, by_b = slopes_by_hand(op, x, y)
        da[i] += up * by_a
        db[j] += up * by_b
    return da, db


@settings(max_examples=60)
@given(
    broadcastable(),
    st.sampled_from(POINTS),
    st.sampled_from(["a + b", "a - b", "a * b", "a / b", "a ** b", "max(a, b)"]),
)
@example(((3,), (2, 3)), 2, "a * b")
@example(((3,), (2, 3)), 3, "a * b")
@example(((2, 1), (1, 3)), 2, "a / b")
@example(((), (1, 1)), 1, "a + b")
def test_elementwise_ops_of_mixed_ranks(shapes: tuple[Shape, Shape], points: int, formula: str) -> None:
    """All ways to broadcast, against loops over entries, at P = 1, 2 and equal to the dimensions."""
    graph = graph_from_expressions(dict(zip("ab", shapes, strict=True)), {"f": formula})
    rng = np.random.default_rng(0)
    inputs = {name: rng.uniform(0.5, 2.0, (points, *shape)) for name, shape in zip("ab", shapes, strict=True)}
    upstream = rng.normal(size=(points, *graph.shape("f")))
    _, gradients = value_and_gradient(graph, inputs, {"f": upstream})
    for p in range(points):
        da, db = by_hand(formula, inputs["a"][p], inputs["b"][p], upstream[p])
        np.testing.assert_allclose(gradients["a"][p], da, rtol=1e-12, atol=1e-12)
        np.testing.assert_allclose(gradients["b"][p], db, rtol=1e-12, atol=1e-12)


LEFT = ((3,), (2, 3), (4, 2, 3), (1, 2, 3), (5, 1, 2, 3))
RIGHT = ((3,), (3, 2), (4, 3, 2), (1, 3, 2), (5, 4, 3, 2))


@pytest.mark.parametrize(("a", "b"), list(itertools.product(LEFT, RIGHT)))
def test_products_of_all_ranks(a: Shape, b: Shape) -> None:
    """Vectors, matrices and stacks on either side: value and gradients against einsum at each point."""
    graph = graph_from_expressions({"a": a, "b": b}, {"f": "a @ b"})
    for points in (1, 2, 3, 4):
        rng = np.random.default_rng(points)
        x, y = rng.normal(size=(points, *a)), rng.normal(size=(points, *b))
        upstream = rng.normal(size=(points, *graph.shape("f")))
        values, gradients = value_and_gradient(graph, {"a": x, "b": y}, {"f": upstream})
        for p in range(points):
            np.testing.assert_allclose(values["f"][p], x[p] @ y[p], rtol=1e-13, atol=1e-13)
            # Matrices of matrices: the gradients of sum(g * (A @ B)), with vectors as one row or one column.
            left = x[p] if len(a) > 1 else x[p][None, :]
            right = y[p] if len(b) > 1 else y[p][:, None]
            g = upstream[p].reshape((left @ right).shape)
            da = np.broadcast_to(np.einsum("...ij,...kj->...ik", g, right), (left @ right).shape[:-1] + left.shape[-1:])
            db = np.einsum("...ji,...jk->...ik", left, g)
            np.testing.assert_allclose(
                gradients["a"][p], summed_down(da, left.shape).reshape(a), rtol=1e-12, atol=1e-12
            )
            np.testing.assert_allclose(
                gradients["b"][p], summed_down(db, right.shape).reshape(b), rtol=1e-12, atol=1e-12
            )


def summed_down(x: Array, shape: Shape) -> Array:
    """A sum over everything that broadcasting repeated, by a loop."""
    out = np.zeros(shape)
    for index in np.ndindex(x.shape):
        short = index[len(index) - len(shape) :]
        out[tuple(0 if size == 1 else k for size, k in zip(shape, short, strict=True))] += x[index]
    return out


FORMULAS: Mapping[str, tuple[Mapping[str, Shape], str]] = {
    "bias": ({"W": (2, 3), "x": (3,), "b": (2,)}, "tanh(W @ x + b)"),
    "rows": ({"W": (2, 3), "b": (3,)}, "sum(W * b, axis=0) / mean(W)"),
    "stack": ({"A": (4, 2, 3), "v": (3,)}, "sum(A @ v * sigmoid(v[0]), axis=1)"),
    "kept": ({"A": (2, 3)}, "A / sum(A, axis=1, keepdims=True)"),
    "turned": ({"A": (2, 3), "B": (2, 3)}, "transpose(A) @ B + A[0, 1:2] * B[:, 0:1][0]"),
    "powers": ({"a": (3,), "c": ()}, "a ** c + a ** 2 - c / a"),
    "branches": ({"a": (3,), "b": (2, 3)}, "max(a, b) - min(a, 1.1) + relu(b - a) * abs(a - 1)"),
}


@pytest.mark.parametrize("points", POINTS)
@pytest.mark.parametrize("name", FORMULAS)
def test_points_never_mix(name: str, points: int) -> None:
    """Many points at once give exactly what each gives alone, also where P equals a dimension."""
    shapes, formula = FORMULAS[name]
    batched_equals_single(graph_from_expressions(shapes, {"f": formula}), points, seed=1)


def test_the_check_for_mixed_points_bites(monkeypatch: pytest.MonkeyPatch) -> None:
    """The twin: sums over the axis of points in place of the first of the operand are found."""

    def wrong(g: Any, shape: Shape) -> Any:
        right = unbroadcast(g, shape)
        return right if len(g) == 1 else right[::-1]

    monkeypatch.setattr("verify.methods.reverse.unbroadcast", wrong)
    with pytest.raises(AssertionError):
        batched_equals_single(graph_from_expressions({"W": (2, 3), "b": (3,)}, {"f": "W * b"}), 2, seed=1)


# ----------------------------------------------------------------------------------------------------- accumulation


def test_a_value_read_by_several_consumers_adds_up() -> None:
    """x * x + exp(x) - 3 x / (x + 1) at 2, by hand."""
    graph = graph_from_expressions({"x": ()}, {"q": "x * x", "r": "exp(x)", "f": "q + r - 3 * x / (x + 1)"})
    _, gradient = value_and_gradient(graph, {"x": np.array([2.0])})
    assert 2 * 2.0 + np.exp(2.0) - 3.0 / 9.0 == pytest.approx(float(gradient["x"][0]), rel=1e-15)


@pytest.mark.parametrize(
    ("formula", "slope"),
    [
        ("x * x", 6.0),
        ("x + x", 2.0),
        ("x - x", 0.0),
        ("x / x", 0.0),
        ("x ** x", 27 * (1 + np.log(3.0))),
        ("max(x, x)", 1.0),
    ],
)
def test_the_same_operand_twice(formula: str, slope: float) -> None:
    """Both positions count: at 3."""
    _, gradient = value_and_gradient(graph_from_expressions({"x": ()}, {"f": formula}), {"x": np.array([3.0])})
    assert slope == pytest.approx(float(gradient["x"][0]), rel=1e-15, abs=1e-15)


def test_every_stage_has_its_gradient() -> None:
    """The total derivative by a stage, and zero for one that the output never reads."""
    graph = graph_from_expressions({"x": ()}, {"q": "2 * x", "unread": "x + 1", "r": "q * q", "f": "r + q"})
    inputs, seeds = {"x": np.array([3.0])}, {"f": np.ones(1)}
    found = Reverse(graph, ["x", "q", "unread", "r", "f"]).differentiate(inputs, seeds).gradients
    assert {"x": 26.0, "q": 13.0, "unread": 0.0, "r": 1.0, "f": 1.0} == {name: float(g[0]) for name, g in found.items()}


def test_several_outputs_add_up() -> None:
    """Each with its own upstream gradient; one output is computed from the other."""
    graph = graph_from_expressions({"x": ()}, {"q": "x * x", "f": "q * x"}, outputs=["q", "f"])
    _, gradient = value_and_gradient(graph, {"x": np.array([2.0])}, {"q": np.array([10.0]), "f": np.array([1.0])})
    assert 10 * 4.0 + 12.0 == float(gradient["x"][0])


# ------------------------------------------------------------------------------------------------------- long chains


def chain(length: int) -> Graph:
    """x -> x * 1.000001 + 1e-7, over and over: as many ops as asked for."""
    builder = GraphBuilder()
    at = builder.input("x")
    factor, term = builder.constant(1.000001), builder.constant(1e-7)
    for step in range(length):
        at = builder.apply("add", at, term) if step % 2 else builder.apply("multiply", at, factor)
    builder.name("f", at)
    return builder.build(["f"])


def test_a_chain_of_100000_ops() -> None:
    """No recursion: the limit of Python's stack is a fiftieth of this, and stays what it was."""
    limit = sys.getrecursionlimit()
    graph = chain(100_000)
    _, gradient = value_and_gradient(graph, {"x": np.array([1.0])})
    assert 1.000001**50_000 == pytest.approx(float(gradient["x"][0]), rel=1e-11)
    assert limit == sys.getrecursionlimit() < 100_000


# ------------------------------------------------------------------------------------------- infinite local derivatives


@pytest.mark.parametrize(
    ("formula", "at", "expected"),
    [
        ("0 * log(x)", 0.0, 0.0),
        ("0 * sqrt(x) + x", 0.0, 1.0),
        ("0 * (1 / x) + 3 * x", 0.0, 3.0),
        ("0 * x ** 0.5 + x", 0.0, 1.0),
    ],
)
def test_a_zero_upstream_absorbs_an_infinite_local_derivative(formula: str, at: float, expected: float) -> None:
    """Nothing flows back where nothing is asked, whatever the slope there; the other paths count."""
    _, gradient = value_and_gradient(graph_from_expressions({"x": ()}, {"f": formula}), {"x": np.array([at])})
    assert expected == float(gradient["x"][0])


def test_an_infinite_slope_that_is_asked_for_stays_infinite() -> None:
    """The twin: with an upstream gradient of 1 the slope of sqrt at 0 is infinite."""
    _, gradient = value_and_gradient(graph_from_expressions({"x": ()}, {"f": "sqrt(x)"}), {"x": np.zeros(1)})
    assert np.isinf(gradient["x"][0])


def test_absorption_is_entry_by_entry() -> None:
    """Entries and points with a zero upstream gradient get 0, their neighbours keep what they have."""
    graph = graph_from_expressions({"x": (2,), "m": (2,)}, {"f": "sum(m * sqrt(x))"})
    x = np.array([[0.0, 4.0], [0.0, 0.0]])
    m = np.array([[0.0, 1.0], [1.0, 0.0]])
    _, gradient = value_and_gradient(graph, {"x": x, "m": m})
    np.testing.assert_array_equal([[0.0, 0.25], [np.inf, 0.0]], gradient["x"])


# ------------------------------------------------------------------------------------------------------ nothing shared


def frozen(arrays: Mapping[str, Array]) -> dict[str, Array]:
    """The arrays, refusing to be written to."""
    for array in arrays.values():
        array.setflags(write=False)
    return dict(arrays)


@pytest.mark.parametrize("name", FORMULAS)
def test_inputs_and_upstream_are_never_written_to(name: str) -> None:
    """Arrays that refuse it go through, and the same call twice gives the same."""
    shapes, formula = FORMULAS[name]
    graph = graph_from_expressions(shapes, {"f": formula})
    rng = np.random.default_rng(0)
    inputs = frozen({key: rng.uniform(0.5, 2.0, (3, *shape)) for key, shape in shapes.items()})
    upstream = frozen({"f": rng.normal(size=(3, *graph.shape("f")))})
    before = {key: array.copy() for key, array in (inputs | upstream).items()}
    once, twice = (value_and_gradient(graph, inputs, upstream)[1] for _ in range(2))
    for key in shapes:
        np.testing.assert_array_equal(once[key], twice[key])
    for key, array in (inputs | upstream).items():
        np.testing.assert_array_equal(before[key], array)


def test_two_engines_interleaved() -> None:
    """Forward and backward passes of two graphs, one inside the other, do not know of each other."""
    graphs = [graph_from_expressions({"x": ()}, {"q": formula, "f": "q * q"}) for formula in ("exp(x)", "x * x * x")]
    engines = [Reverse(graph, ["x", "q"]) for graph in graphs]
    xs: Sequence[Array] = [np.array([0.5]), np.array([2.0])]
    forwards = [engine.program.run({"x": x}) for engine, x in zip(engines, xs, strict=True)]
    back = [
        engine.backward(values, {"f": np.ones(1)}) for engine, values in zip(engines[::-1], forwards[::-1], strict=True)
    ]
    assert 2 * np.exp(1.0) == pytest.approx(float(back[1]["x"][0]))
    assert 6 * 2.0**5 == pytest.approx(float(back[0]["x"][0]))
    again = engines[0].backward(forwards[0], {"f": np.ones(1)})
    assert float(back[1]["x"][0]) == float(again["x"][0])


def test_long_batches_are_run_in_blocks_that_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where the last block is shorter."""
    graph = graph_from_expressions({"W": (2, 3), "x": (3,)}, {"f": "tanh(W @ x)"})
    rng = np.random.default_rng(0)
    inputs = {"W": rng.normal(size=(37, 2, 3)), "x": rng.normal(size=(37, 3))}
    upstream = {"f": rng.normal(size=(37, 2))}
    whole = value_and_gradient(graph, inputs, upstream)
    monkeypatch.setattr("verify.methods.reverse.block_size", lambda graph: 16)  # noqa: ARG005 - as the original
    blocks = value_and_gradient(graph, inputs, upstream)
    np.testing.assert_array_equal(whole[0]["f"], blocks[0]["f"])
    for name in inputs:
        np.testing.assert_array_equal(whole[1][name], blocks[1][name])


def test_a_stage_without_inputs_has_a_value_and_a_gradient_at_every_point() -> None:
    """A number under a name is a stage like any other."""
    graph = graph_from_expressions({"x": ()}, {"k": "2 * 3", "r": "relu(2) + k", "f": "k * x + r"})
    values = Program(graph).run({"x": np.array([1.0, 2.0, 3.0])})
    assert (3,) == values[graph.position("k")].shape == values[graph.position("r")].shape
    found = Reverse(graph, ["k", "r"]).differentiate({"x": np.array([1.0, 2.0, 3.0])}, {"f": np.ones(3)}).gradients
    np.testing.assert_array_equal([2.0, 3.0, 4.0], found["k"])
    np.testing.assert_array_equal([1.0, 1.0, 1.0], found["r"])


def test_a_point_without_a_slope_changes_nothing_for_its_neighbours() -> None:
    """Zero upstream gradients absorb infinite slopes entry by entry; entries of a matrix product are mixed first."""
    graph = graph_from_expressions({"A": (2, 2), "B": (2, 2)}, {"y": "sqrt(A) @ B", "f": "max(y, 1)"})
    rng = np.random.default_rng(0)
    A, B = rng.uniform(0.1, 1, (3, 2, 2)), np.tile([[1.5, 0.2], [1.5, 0.2]], (3, 1, 1))  # y falls on both sides of 1
    engine, g = Reverse(graph, ["A", "B"]), {"f": np.ones((3, 2, 2))}
    alone = engine.differentiate({"A": A, "B": B}, g).gradients
    A[2, 0, 0] = 0.0  # sqrt is infinitely steep there
    together = engine.differentiate({"A": A, "B": B}, g).gradients
    assert not np.isfinite(together["A"][2, 0, 0])
    for name, gradient in alone.items():
        np.testing.assert_array_equal(gradient[:2], together[name][:2])
    assert np.any(alone["A"][:2] != 0)

"""What each VJP of the array rows costs beside the same one written by hand in NumPy, at a million entries.

Not a test: ``python tests/tools/array_vjp_costs.py`` prints the medians of interleaved runs, in milliseconds, and their
ratio. The aim is a ratio of 3 at most.
"""

# ruff: noqa: ARG005, T201 - every hand-written one takes the same arguments; a harness prints

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from verify.graph.graph import GraphBuilder
from verify.graph.interpret import Program
from verify.ops import OPS

Array = np.ndarray[Any, Any]
ROUNDS = 15
WIDE = (1000, 1000)
INDEX = tuple(np.random.default_rng(0).integers(0, 1000, 1000).tolist())
ORDER = tuple(range(999, -1, -1))


def summed_from_the_end(g: Array, axis: int) -> Array:
    """A cumulative sum from the other side."""
    return np.flip(np.cumsum(np.flip(g, axis), axis), axis)


def products_of_others(a: Array, axis: int) -> Array:
    """For each entry the product of all others along an axis, zeros among them or not."""
    ones = np.ones_like(np.take(a, [0], axis))
    rest, but_last = np.delete(a, 0, axis), np.delete(a, -1, axis)
    before = np.concatenate([ones, np.cumprod(but_last, axis)], axis)
    after: Array = np.flip(np.concatenate([ones, np.cumprod(np.flip(rest, axis), axis)], axis), axis)
    return before * after


def added_at(g: Array, index: tuple[int, ...]) -> Array:
    """Rows added to those that they were read from."""
    out = np.zeros(WIDE)
    np.add.at(out, list(index), g)
    return out


def written_at(g: Array, index: Any) -> Array:
    """Zeros with a part filled."""
    out = np.zeros(WIDE)
    out[index] = g
    return out


def one_winner(g: Array, a: Array, axis: int) -> Array:
    """Zeros but at the first winner."""
    out = np.zeros_like(a)
    np.put_along_axis(out, np.expand_dims(np.argmax(a, axis), axis), np.expand_dims(g, axis), axis)
    return out


BY_HAND: Mapping[tuple[str, tuple[tuple[int, ...], ...]], tuple[Mapping[str, Any], Callable[..., Any]]] = {
    ("sum", (WIDE,)): ({"axis": 1}, lambda g, y, a: np.broadcast_to(g[:, None], a.shape).copy()),
    ("mean", (WIDE,)): ({"axis": 0}, lambda g, y, a: np.broadcast_to(g / len(a), a.shape).copy()),
    ("prod", (WIDE,)): ({"axis": 1}, lambda g, y, a: g[:, None] * products_of_others(a, 1)),
    ("var", (WIDE,)): ({"axis": 1}, lambda g, y, a: g[:, None] * 2 / 1000 * (a - a.mean(1, keepdims=True))),
    ("std", (WIDE,)): ({"axis": 1}, lambda g, y, a: g[:, None] / 1000 * ((a - a.mean(1, keepdims=True)) / y[:, None])),
    ("norm", (WIDE,)): ({"axis": 1}, lambda g, y, a: g[:, None] * (a / y[:, None])),
    ("cumsum", (WIDE,)): ({"axis": 1}, lambda g, y, a: summed_from_the_end(g, 1)),
    ("cumprod", ((100_000, 10),)): ({"axis": 1}, lambda g, y, a: summed_from_the_end(g * y, 1) / a),
    ("logsumexp", (WIDE,)): ({"axis": 1}, lambda g, y, a: g[:, None] * np.exp(a - y[:, None])),
    ("softmax", (WIDE,)): ({"axis": 1}, lambda g, y, a: y * (g - (g * y).sum(1, keepdims=True))),
    ("log_softmax", (WIDE,)): ({"axis": 1}, lambda g, y, a: g - np.exp(y) * g.sum(1, keepdims=True)),
    ("amax", (WIDE,)): ({"axis": 1}, lambda g, y, a: one_winner(g, a, 1)),
    ("amin", (WIDE,)): ({"axis": 0}, lambda g, y, a: one_winner(g, -a, 0)),
    ("matmul", ((1000, 1000), (1000, 100))): ({}, lambda g, y, a, b: (g @ b.T, a.T @ g)),
    ("dot", ((1000, 1000), (1000, 100))): ({}, lambda g, y, a, b: (g @ b.T, a.T @ g)),
    ("outer", ((1000,), (1000,))): ({}, lambda g, y, a, b: (g @ b, a @ g)),
    ("einsum", ((1000, 1000), (1000, 100))): (
        {"subscripts": "ij,jk->ik"},
        lambda g, y, a, b: (np.einsum("ik,jk->ij", g, b, optimize=True), np.einsum("ik,ij->jk", g, a, optimize=True)),
    ),
    ("transpose", (WIDE,)): ({}, lambda g, y, a: g.T.copy()),
    ("index", (WIDE,)): ({"index": (slice(None, None, -2),)}, lambda g, y, a: written_at(g, slice(None, None, -2))),
    ("gather", (WIDE,)): ({"index": (INDEX,)}, lambda g, y, a: added_at(g, INDEX)),
    ("gather", ((1000, 1000),)): ({"index": (ORDER,)}, lambda g, y, a: written_at(g, list(ORDER))),
    ("reshape", (WIDE,)): ({"shape": (500, 2000)}, lambda g, y, a: g.reshape(a.shape).copy()),
    ("ravel", (WIDE,)): ({}, lambda g, y, a: g.reshape(a.shape).copy()),
    ("expand_dims", (WIDE,)): ({"axis": 1}, lambda g, y, a: g.reshape(a.shape).copy()),
    ("squeeze", ((1000, 1, 1000),)): ({}, lambda g, y, a: g.reshape(a.shape).copy()),
    ("broadcast_to", ((1000, 1),)): ({"shape": WIDE}, lambda g, y, a: g.sum(1, keepdims=True)),
    ("stack", ((500, 1000), (500, 1000))): ({}, lambda g, y, a, b: (g[0].copy(), g[1].copy())),
    ("concatenate", ((500, 1000), (500, 1000))): ({}, lambda g, y, a, b: (g[:500].copy(), g[500:].copy())),
    ("pad", (WIDE,)): ({"pad_width": 1}, lambda g, y, a: g[1:-1, 1:-1].copy()),
    ("flip", (WIDE,)): ({"axis": 0}, lambda g, y, a: np.flip(g, 0).copy()),
    ("roll", (WIDE,)): ({"shift": 3, "axis": 1}, lambda g, y, a: np.roll(g, -3, axis=1)),
}
"""Op and shapes -> parameters, and the VJPs for one point by hand; views are copied on either side."""


def measured(
    op: str, shapes: tuple[tuple[int, ...], ...], params: Mapping[str, Any], by_hand: Any
) -> tuple[float, float]:
    """Medians of ours and of those by hand, in milliseconds, run in turns."""
    builder = GraphBuilder()
    operands = [builder.input(f"x{i}", shape) for i, shape in enumerate(shapes)]
    builder.name("f", builder.apply(op, *operands, params=params))
    graph = builder.build(["f"])
    rng = np.random.default_rng(1)
    at = [rng.uniform(0.9, 1.1, (1, *shape)) for shape in shapes]
    y = Program(graph).run({f"x{i}": x for i, x in enumerate(at)})[graph.position("f")]
    g = rng.normal(size=y.shape)
    node = graph.nodes[graph.position("f")]
    vjps = OPS[op].vjps_for(len(shapes))
    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(ROUNDS):
        started = time.perf_counter()
        ours = [np.ascontiguousarray(vjp(g, y, *at, **node.params)) for vjp in vjps]
        middle = time.perf_counter()
        theirs = by_hand(g[0], y[0], *(x[0] for x in at))
        times[0].append(middle - started)
        times[1].append(time.perf_counter() - middle)
        for mine, other in zip(ours, theirs if isinstance(theirs, tuple) else (theirs,), strict=True):
            np.testing.assert_allclose(mine[0], other, rtol=1e-9, atol=1e-12)
    return 1e3 * statistics.median(times[0]), 1e3 * statistics.median(times[1])


if __name__ == "__main__":
    for (name, sizes), (static, hand) in BY_HAND.items():
        mine, other = measured(name, sizes, static, hand)
        print(f"{name:13} {mine:8.2f} ms  by hand {other:8.2f} ms  ratio {mine / other:5.2f}")

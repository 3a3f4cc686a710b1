"""Axes as the table counts them: from the first axis of the variable; arrays carry the axis of points before it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from verify.errors import ShapeError
from verify.ops.row import Shape


def shift(axis: tuple[int, ...] | None, rank: int) -> tuple[int, ...]:
    """Axes of a variable as axes of an array of ``rank`` axes that has the axis of points in front.

    >>> shift((0,), 3), shift(None, 3)
    ((1,), (1, 2))
    """
    return tuple(range(1, rank)) if axis is None else tuple(i + 1 for i in axis)


def count(shape: Shape, axis: tuple[int, ...] | None) -> int:
    """How many entries are taken together where these axes are reduced.

    >>> count((2, 3), (1,)), count((2, 3), None)
    (3, 6)
    """
    return math.prod(shape if axis is None else [shape[i] for i in axis])


def reduced_shape(a: Shape, axis: tuple[int, ...] | None = None, keepdims: bool = False) -> Shape:
    """The shape that is left where these axes are reduced.

    >>> reduced_shape((2, 3), (1,)), reduced_shape((2, 3), (1,), keepdims=True)
    ((2,), (2, 1))
    """
    axes = range(len(a)) if axis is None else axis
    if keepdims:
        return tuple(1 if i in axes else size for i, size in enumerate(a))
    return tuple(size for i, size in enumerate(a) if i not in axes)


def spread(g: Any, a: Any, axis: tuple[int, ...] | None, keepdims: bool) -> Any:
    """The upstream gradient of a sum, given back to every entry that was summed.

    >>> spread(np.ones((5, 2)), np.zeros((5, 2, 3)), (1,), keepdims=False).shape
    (5, 2, 3)
    """
    if not keepdims:
        g = np.expand_dims(g, shift(axis, a.ndim))
    return np.broadcast_to(g, a.shape)


def one_axis(op: str, axis: tuple[int, ...]) -> int:
    """The only axis of an op that works along one. Raises ShapeError.

    >>> one_axis("cumsum", (1,))
    1
    """
    if len(axis) != 1:
        raise ShapeError(f"{op} works along one axis, got axis={axis}")
    return axis[0]


def same_points(arrays: Sequence[Any]) -> list[Any]:
    """Arrays with as many points each: constants carry one where the others carry all.

    >>> [x.shape for x in same_points([np.zeros((5, 2)), np.zeros((1, 2))])]
    [(5, 2), (5, 2)]
    """
    points = max(len(x) for x in arrays)
    return [x if len(x) == points else np.broadcast_to(x, (points, *x.shape[1:])) for x in arrays]


def floats_of(a: Any) -> Any:
    """The plain floats of an array, those of balls without their radius: for constants that no derivative sees.

    >>> floats_of(np.array([1.5]))
    array([1.5])
    """
    return getattr(a, "value", a)


def some_entries(op: str, a: Shape, axis: tuple[int, ...] | None) -> None:
    """Raises ShapeError where an op would be taken over no entries.

    >>> some_entries("amax", (2, 3), (0,))
    """
    if not count(a, axis):
        raise ShapeError(f"{op} over no entries is undefined (shape {a}, axis={axis})")


def by_halves(builder: Any, op: str, a: int, axis: tuple[int, ...] | None, keepdims: bool) -> int:
    """The lowering of a reduction by an op of two operands: the halves of an axis are joined until one entry is left.

    >>> from verify.graph.graph import GraphBuilder
    >>> b = GraphBuilder()
    >>> b.shape(by_halves(b, "multiply", b.input("x", (5, 2)), (0,), keepdims=False))
    (2,)
    """
    shape = builder.shape(a)
    axes = range(len(shape)) if axis is None else axis
    for place in axes:
        before = (slice(None),) * place
        while (size := builder.shape(a)[place]) > 1:
            half = size // 2
            cuts = [slice(0, half), slice(half, 2 * half), slice(2 * half, None)][: 2 + size % 2]
            parts = [builder.apply("index", a, params={"index": (*before, cut)}) for cut in cuts]
            joined = builder.apply(op, parts[0], parts[1])
            a = builder.apply("concatenate", joined, parts[2], params={"axis": place}) if size % 2 else joined
    whole = slice(None)
    index = tuple(0 if place in axes and not keepdims else whole for place in range(len(shape)))
    return int(builder.apply("index", a, params={"index": index}))


def per_matrix(function: Callable[[Any], Any], a: Any) -> Any:
    """A function of one matrix on each of a stack of them ``(..., n, n)``, without an axis of points.

    >>> per_matrix(len, np.zeros((2, 3, 3))).tolist()
    [3, 3]
    """
    if a.ndim == 2:
        return function(a)
    found = np.empty(a.shape[:-2], dtype=object)
    for index in np.ndindex(found.shape):
        found[index] = function(a[index])
    return found


def along(function: Callable[[list[Any]], Any], a: Any, axis: tuple[int, ...] | None, keepdims: bool) -> Any:
    """A function of a list of numbers, over some axes of an object array.

    >>> along(sum, np.array([[1, 2], [3, 4]], dtype=object), (1,), False).tolist()
    [3, 7]
    """
    axes = tuple(range(a.ndim)) if axis is None else axis
    rows = np.moveaxis(a, axes, range(a.ndim - len(axes), a.ndim))
    kept = rows.shape[: a.ndim - len(axes)]
    found = np.empty(math.prod(kept), dtype=object)
    found[:] = [function(row.tolist()) for row in rows.reshape(len(found), -1)]
    return found.reshape([1 if i in axes else n for i, n in enumerate(a.shape)] if keepdims else kept)


def each_along(function: Callable[[list[Any]], list[Any]], a: Any, axis: tuple[int, ...] | None) -> Any:
    """A function of a list of numbers that gives one for each of them, over some axes of an object array.

    >>> each_along(sorted, np.array([3, 1], dtype=object), None).tolist()
    [1, 3]
    """
    axes = tuple(range(a.ndim)) if axis is None else axis
    ends = range(a.ndim - len(axes), a.ndim)
    moved = np.moveaxis(a, axes, ends)
    rows = moved.reshape(math.prod(moved.shape[: a.ndim - len(axes)]), -1)
    found = np.empty(rows.shape, dtype=object)
    for i, row in enumerate(rows):
        for k, x in enumerate(function(row.tolist())):
            found[i, k] = x
    return np.moveaxis(found.reshape(moved.shape), ends, axes)


def stacked(function: Callable[..., Any], shape: Shape, *stacks: Any) -> Any:
    """A function of single matrices on stacks of them, which broadcast together, without an axis of points.

    >>> ones = np.ones((2, 3, 3), dtype=object)
    >>> stacked(np.matmul, (2, 3, 3), ones, ones[0]).tolist() == (3 * ones).tolist()
    True
    """
    out = np.empty(shape, dtype=object)
    batch = shape[:-2]
    every = [np.broadcast_to(x, (*batch, *x.shape[-2:])) for x in stacks]
    for index in np.ndindex(batch):
        out[index] = function(*(x[index] for x in every))
    return out

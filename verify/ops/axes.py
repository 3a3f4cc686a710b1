"""Axes as the table counts them: from the first axis of the variable; arrays carry the axis of points before it."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

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

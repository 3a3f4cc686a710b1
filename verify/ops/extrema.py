"""The largest and the smallest entry over axes: NumPy's amax and amin, which a case may call max and min."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from verify.numbers import ball_forms
from verify.ops.axes import by_halves, floats_of, reduced_shape, shift, some_entries, spread
from verify.ops.row import Op, Shape, by_lowering

Axis = tuple[int, ...] | None

TIES = {"first": "first", "all": "all", "even": "even"}
"""Who gets the upstream gradient where several entries win: the first, each all of it, or each an equal share."""


def _shape(op: str, a: Shape, axis: Axis, keepdims: bool) -> Shape:
    some_entries(op, a, axis)
    return reduced_shape(a, axis, keepdims)


def _vjp(
    g: Any, y: Any, a: Any, axis: Axis = None, keepdims: bool = False, tie: str = "first", *, best: Callable[..., Any]
) -> Any:
    if tie == "first":
        return _to_the_first(g, a, axis, best)
    sent = spread(g, a, axis, keepdims)
    values = floats_of(a)
    won = values == spread(floats_of(y), values, axis, keepdims)
    if tie == "even":
        winners = np.sum(won, axis=shift(axis, values.ndim), keepdims=True)
        sent = sent / winners.astype(values.dtype)
    return np.where(won, sent, 0.0)


def _to_the_first(g: Any, a: Any, axis: Axis, best: Callable[..., Any]) -> Any:
    """Zeros, but the upstream gradient at the first winner, over all reduced axes in C order."""
    axes = shift(axis, a.ndim)
    ends = range(a.ndim - len(axes), a.ndim)
    moved = np.moveaxis(floats_of(a), axes, ends)
    rows = moved.reshape(-1, math.prod(moved.shape[a.ndim - len(axes) :]))
    out = np.zeros_like(a, shape=rows.shape)
    out[np.arange(len(rows)), best(rows, axis=1)] = g.reshape(-1)
    return np.moveaxis(out.reshape(moved.shape), ends, axes)


def _lower(builder: Any, a: int, axis: Axis = None, keepdims: bool = False, *, op: str) -> int:
    """Branches that the judge knows: the larger of two, again and again."""
    return by_halves(builder, op, a, axis, keepdims)


def _exact(a: Any, axis: Axis = None, keepdims: bool = False, *, best: Callable[..., Any]) -> Any:
    """By Python's own comparison of exact numbers."""
    axes = tuple(range(a.ndim)) if axis is None else axis
    rows = np.moveaxis(a, axes, range(a.ndim - len(axes), a.ndim))
    kept = rows.shape[: a.ndim - len(axes)]
    found = np.empty(math.prod(kept), dtype=object)
    found[:] = [best(row.tolist()) for row in rows.reshape(len(found), -1)]
    return found.reshape(reduced_shape(a.shape, axes, keepdims))


ROWS = (
    Op("amax", lambda a, axis=None, keepdims=False, tie="first": np.max(a, shift(axis, a.ndim), keepdims=keepdims),
       (partial(_vjp, best=np.argmax),), by_lowering, partial(_exact, best=max),
       lambda a, axis=None, keepdims=False: _shape("the largest", a, axis, keepdims), "amax(a)",
       params=("axis", "keepdims"), elementwise=False, ulps=0.0, lower=partial(_lower, op="max"), ties=TIES,
       ball=ball_forms.largest),
    Op("amin", lambda a, axis=None, keepdims=False, tie="first": np.min(a, shift(axis, a.ndim), keepdims=keepdims),
       (partial(_vjp, best=np.argmin),), by_lowering, partial(_exact, best=min),
       lambda a, axis=None, keepdims=False: _shape("the smallest", a, axis, keepdims), "amin(a)",
       params=("axis", "keepdims"), elementwise=False, ulps=0.0, lower=partial(_lower, op="min"), ties=TIES,
       ball=ball_forms.smallest),
)  # fmt: skip

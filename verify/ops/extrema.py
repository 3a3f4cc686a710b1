"""The largest and the smallest entry over axes: NumPy's amax and amin, which a case may call max and min."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial, reduce
from typing import Any

import numpy as np

from verify.numbers.ball_math import maximum, minimum
from verify.ops.axes import along, by_halves, floats_of, reduced_shape, shift, some_entries, spread
from verify.ops.code import Place, Whole, call
from verify.ops.row import Op, Shape
from verify.ops.texts import held
from verify.ops.trials import REDUCTIONS

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


def _back(p: Place) -> str:
    wins = f"{held(p.a)} == {held(p.with_kept_axes(p.y))}"
    tie = p.params.get("tie", "first")
    if tie == "first":
        return f"first_of({wins}, axis={p.axes}) * {p.spread}"
    if tie == "all":
        return f"({wins}) * {p.spread}"
    return f"({wins}) / np.sum({wins}, axis={p.axes}, keepdims=True) * {p.spread}"


def _row(name: str, says: str, joins: str, numpy: Any, first: Any, python: Any, ball: Any) -> Op:
    def over_rows(function: Any) -> Any:
        return lambda a, axis=None, keepdims=False: along(function, a, axis, keepdims)

    return Op(
        name, example=f"{name}(u)", elementwise=False, params=("axis", "keepdims"), ulps=0.0, trials=REDUCTIONS,
        shape=lambda a, axis=None, keepdims=False: _shape(says, a, axis, keepdims), ties=TIES,
        forward=lambda a, axis=None, keepdims=False, tie="first": numpy(a, shift(axis, a.ndim), keepdims=keepdims),
        vjps=(partial(_vjp, best=first),), lower=partial(_lower, op=joins),
        exact=over_rows(python), ball=over_rows(partial(reduce, ball)),
        code=Whole(call(f"np.{joins}", "axis", "keepdims"), _back, "to the winner"),
    )  # fmt: skip


ROWS = (
    _row("amax", "the largest", "max", np.max, np.argmax, max, maximum),
    _row("amin", "the smallest", "min", np.min, np.argmin, min, minimum),
)

HELPERS = {
    "first_of": '''\
def first_of(wins, axis):
    """Of the entries that win along some axes, the first one alone."""
    moved = np.moveaxis(wins, axis, range(-len(axis), 0))
    flat = moved.reshape(*moved.shape[: -len(axis)], -1)
    flat = flat & (np.cumsum(flat, axis=-1) == 1)
    return np.moveaxis(flat.reshape(moved.shape), range(-len(axis), 0), axis)
''',
}
"""Functions that a printed module brings along where it names them."""

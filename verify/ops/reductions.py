"""Ops that reduce axes."""

from __future__ import annotations

from typing import Any

import mpmath
import numpy as np
import sympy

from verify.errors import ShapeError
from verify.ops import ball_forms
from verify.ops.axes import count, reduced_shape, shift, spread
from verify.ops.row import Op, Shape


def _sum(a: Any, axis: tuple[int, ...] | None = None, keepdims: bool = False) -> Any:
    return np.sum(a, axis=shift(axis, a.ndim), keepdims=keepdims)


def _mean(a: Any, axis: tuple[int, ...] | None = None, keepdims: bool = False) -> Any:
    return _sum(a, axis, keepdims) / count(a.shape[1:], axis)


def _mean_vjp(g: Any, y: Any, a: Any, axis: tuple[int, ...] | None = None, keepdims: bool = False) -> Any:
    return spread(g / count(a.shape[1:], axis), a, axis, keepdims)


def _exact_sum(a: Any, axis: tuple[int, ...] | None = None, keepdims: bool = False) -> Any:
    """The sum of an object array without an axis of points."""
    return np.sum(a, axis=axis, keepdims=keepdims)


def _mean_shape(a: Shape, axis: tuple[int, ...] | None = None, keepdims: bool = False) -> Shape:
    if not count(a, axis):
        raise ShapeError(f"the mean over no entries is undefined (shape {a})")
    return reduced_shape(a, axis, keepdims)


ROWS = (
    Op("sum", _sum, (lambda g, y, a, axis=None, keepdims=False: spread(g, a, axis, keepdims),),
       _exact_sum, _exact_sum,
       reduced_shape, "sum(a)", params=("axis", "keepdims"), elementwise=False, ball=ball_forms.total),
    Op("mean", _mean, (_mean_vjp,),
       lambda a, axis=None, keepdims=False: _exact_sum(a, axis, keepdims) / sympy.Integer(count(a.shape, axis)),
       lambda a, axis=None, keepdims=False: _exact_sum(a, axis, keepdims) / mpmath.mpf(count(a.shape, axis)),
       _mean_shape, "mean(a)", params=("axis", "keepdims"), elementwise=False, ball=ball_forms.mean),
)  # fmt: skip

"""Ops that move entries about and compute nothing."""

from __future__ import annotations

from typing import Any

import numpy as np

from verify.ops import ball_forms
from verify.ops.row import Op, Shape


def _transposed_shape(a: Shape, axes: tuple[int, ...] | None = None) -> Shape:
    return a[::-1] if axes is None else tuple(a[i] for i in axes)


def _indexed_shape(a: Shape, index: tuple[int | slice, ...]) -> Shape:
    return np.broadcast_to(np.zeros(()), a)[index].shape


def _transpose(a: Any, axes: tuple[int, ...] | None = None) -> Any:
    order = range(a.ndim - 1)[::-1] if axes is None else axes
    return np.transpose(a, (0, *(i + 1 for i in order)))


def _transpose_vjp(g: Any, y: Any, a: Any, axes: tuple[int, ...] | None = None) -> Any:
    return _transpose(g, axes if axes is None else tuple(int(i) for i in np.argsort(axes)))


def _index(a: Any, index: tuple[int | slice, ...]) -> Any:
    return a[(slice(None), *index)]


def _index_vjp(g: Any, y: Any, a: Any, index: tuple[int | slice, ...]) -> Any:
    out = np.zeros_like(a)
    out[(slice(None), *index)] = g
    return out


ROWS = (
    Op("transpose", _transpose, (_transpose_vjp,), lambda a, axes=None: a.T if axes is None else np.transpose(a, axes),
       lambda a, axes=None: np.transpose(a, axes), _transposed_shape, "transpose(a)", params=("axes",),
       elementwise=False, ulps=0.0, ball=ball_forms.transpose),
    Op("index", _index, (_index_vjp,), lambda a, index: a[index], lambda a, index: a[index], _indexed_shape, "a[0]",
       params=("index",), elementwise=False, ulps=0.0, ball=ball_forms.index),
)  # fmt: skip

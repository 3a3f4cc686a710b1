"""Products of matrices and vectors."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from verify.errors import ShapeError
from verify.numbers import ball_forms
from verify.ops.row import REAL, Op, Shape


def _matmul_shape(a: Shape, b: Shape) -> Shape:
    if not a or not b:
        raise ShapeError(f"'@' needs arrays, got shapes {a} and {b}; use '*' for scalars")
    left, right = (a if len(a) > 1 else (1, *a)), (b if len(b) > 1 else (*b, 1))
    if left[-1] != right[-2]:
        raise ShapeError(f"'@' cannot multiply shapes {a} and {b}: {left[-1]} columns against {right[-2]} rows")
    try:
        batch = np.broadcast_shapes(left[:-2], right[:-2])
    except ValueError:
        raise ShapeError(f"'@' cannot multiply shapes {a} and {b}: their batch axes do not broadcast") from None
    return (*batch, *left[-2:-1][: len(a) > 1], *right[-1:][: len(b) > 1])


def _as_matrices(a: Any, b: Any) -> tuple[Any, Any, bool, bool]:
    """Operands of ``@`` as stacks of matrices of equal rank, and whether each was a vector.

    With the axis of points in front a vector looks like a matrix to NumPy, so vectors get their missing axis here,
    and missing batch axes are put behind the axis of points.
    """
    a_vector, b_vector = a.ndim == 2, b.ndim == 2
    if a_vector:
        a = a[:, None, :]
    if b_vector:
        b = b[:, :, None]
    rank = max(a.ndim, b.ndim)
    return _pad_rank(a, rank), _pad_rank(b, rank), a_vector, b_vector


def _pad_rank(a: Any, rank: int) -> Any:
    return a if a.ndim == rank else a.reshape(a.shape[0], *(1,) * (rank - a.ndim), *a.shape[1:])


def _matmul(a: Any, b: Any) -> Any:
    left, right, a_vector, b_vector = _as_matrices(a, b)
    y = left @ right
    if b_vector:
        y = y[..., 0]
    return (y[..., 0] if b_vector else y[..., 0, :]) if a_vector else y


def _matmul_upstream(g: Any, a_vector: bool, b_vector: bool) -> Any:
    if a_vector:
        g = np.expand_dims(g, -1 if b_vector else -2)
    return np.expand_dims(g, -1) if b_vector else g


def _matmul_vjp_a(g: Any, y: Any, a: Any, b: Any) -> Any:
    _, right, a_vector, b_vector = _as_matrices(a, b)
    out = _matmul_upstream(g, a_vector, b_vector) @ np.swapaxes(right, -1, -2)
    return out[..., 0, :] if a_vector else out


def _matmul_vjp_b(g: Any, y: Any, a: Any, b: Any) -> Any:
    left, _, a_vector, b_vector = _as_matrices(a, b)
    out = np.swapaxes(left, -1, -2) @ _matmul_upstream(g, a_vector, b_vector)
    return out[..., 0] if b_vector else out


def _matmul_uses(a: Shape, b: Shape) -> int:
    return a[-1] * math.prod(_matmul_shape(a, b))


# -------------------------------------------------------------------------------------------------- dot and outer


def _dot_shape(a: Shape, b: Shape) -> Shape:
    if not a or not b:
        return a or b
    rows = b[-2] if len(b) > 1 else b[0]
    if a[-1] != rows:
        raise ShapeError(f"dot cannot multiply shapes {a} and {b}: {a[-1]} columns against {rows} rows")
    return (*a[:-1], *b[:-2], *b[-1:][: len(b) > 1])


def _dot_uses(a: Shape, b: Shape) -> int:
    return (a[-1] if a and b else 1) * math.prod(_dot_shape(a, b))


def _flat_left(a: Any) -> Any:
    """All axes but the last as one ``(P, rows, k)``."""
    return a.reshape(len(a), -1, a.shape[-1])


def _flat_right(b: Any) -> Any:
    """The axis that is summed first, all others as one ``(P, k, columns)``."""
    moved = np.moveaxis(b, -2, 1) if b.ndim > 2 else b
    return moved.reshape(len(b), moved.shape[1], -1)


def _times_scalar(x: Any, y: Any) -> Any:
    """A product of which one factor is a scalar ``(P,)``."""
    rank = max(x.ndim, y.ndim)
    return _pad_rank(x, rank) * _pad_rank(y, rank)


def _scalar_vjp(g: Any, x: Any, other: Any) -> Any:
    """What a product with a scalar sends back to x, which may be the scalar."""
    sent = _times_scalar(g, other)
    return np.sum(sent, axis=tuple(range(1, sent.ndim))) if x.ndim == 1 and sent.ndim > 1 else sent


def _dot(a: Any, b: Any) -> Any:
    if 1 in (a.ndim, b.ndim):
        return _times_scalar(a, b)
    y = _flat_left(a) @ _flat_right(b)
    return y.reshape(len(y), *_dot_shape(a.shape[1:], b.shape[1:]))


def _dot_vjp_a(g: Any, y: Any, a: Any, b: Any) -> Any:
    if 1 in (a.ndim, b.ndim):
        return _scalar_vjp(g, a, b)
    left, right = _flat_left(a), _flat_right(b)
    return (g.reshape(len(g), left.shape[1], -1) @ np.swapaxes(right, -1, -2)).reshape(len(g), *a.shape[1:])


def _dot_vjp_b(g: Any, y: Any, a: Any, b: Any) -> Any:
    if 1 in (a.ndim, b.ndim):
        return _scalar_vjp(g, b, a)
    left, right = _flat_left(a), _flat_right(b)
    out = np.swapaxes(left, -1, -2) @ g.reshape(len(g), -1, right.shape[-1])
    if b.ndim <= 2:
        return out.reshape(len(g), *b.shape[1:])
    return np.moveaxis(out.reshape(len(g), b.shape[-2], *b.shape[1:-2], b.shape[-1]), 1, -2)


def _outer(a: Any, b: Any) -> Any:
    return a.reshape(len(a), -1, 1) * b.reshape(len(b), 1, -1)


def _outer_vjp_a(g: Any, y: Any, a: Any, b: Any) -> Any:
    return (g @ b.reshape(len(b), -1, 1)).reshape(len(g), *a.shape[1:])


def _outer_vjp_b(g: Any, y: Any, a: Any, b: Any) -> Any:
    return (a.reshape(len(a), 1, -1) @ g).reshape(len(g), *b.shape[1:])


ROWS = (
    Op("matmul", _matmul, (_matmul_vjp_a, _matmul_vjp_b), lambda a, b: a @ b, np.matmul, _matmul_shape, "a @ b",
       (REAL, REAL), elementwise=False, source="CS231n, Optimization 2", uses=_matmul_uses, ball=ball_forms.matmul),
    Op("dot", _dot, (_dot_vjp_a, _dot_vjp_b), np.dot, np.dot, _dot_shape, "dot(a, b)", (REAL, REAL), elementwise=False,
       uses=_dot_uses, ball=np.dot),
    Op("outer", _outer, (_outer_vjp_a, _outer_vjp_b), np.outer, np.outer,
       lambda a, b: (math.prod(a), math.prod(b)), "outer(a, b)", (REAL, REAL), elementwise=False,
       uses=lambda a, b: math.prod(a) * math.prod(b), ball=np.outer),
)  # fmt: skip

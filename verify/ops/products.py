"""Products of matrices and vectors."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from verify.errors import ShapeError
from verify.ops.code import Place, Whole, turned
from verify.ops.row import Op, Shape
from verify.ops.texts import PRODUCT, SIGN, axes_text, entries, held, summed_to


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


# --------------------------------------------------------------------------------------------------- as it is written


def _matmul_back(p: Place) -> str:
    a, b, g = p.a, p.b, held(p.g)
    ranks = (len(p.shapes[0]), len(p.shapes[1]))
    if ranks == (1, 1):
        return f"{g} * {held((b, a)[p.which])}"
    if ranks[1] == 1:  # matrices times a vector
        text = f"{g}[..., None] * {held(b)}" if ranks[0] > 2 or p.which == 0 else f"{turned(a, 2)} @ {g}"
        if p.which == 0:
            return f"np.outer({p.g}, {b})" if ranks[0] == 2 else text
        return text if ranks[0] == 2 else f"({g}[..., None] * {held(a)}).sum(axis={axes_text(range(ranks[0] - 1))})"
    if ranks[0] == 1:  # a vector times matrices
        if p.which == 0:
            text, shape = f"({held(b)} @ {g}[..., None])[..., 0]", (*p.shape[:-1], p.shapes[0][0])
            return f"{held(b)} @ {g}" if ranks[1] == 2 else summed_to(text, shape, p.shapes[0])
        return f"np.outer({a}, {p.g})" if ranks[1] == 2 else f"{held(a)}[:, None] * {g}[..., None, :]"
    if p.which == 0:
        text, shape = f"{g} @ {turned(b, ranks[1])}", (*p.shape[:-1], p.shapes[0][-1])
    else:
        text, shape = f"{turned(a, ranks[0])} @ {g}", (*p.shape[:-2], p.shapes[1][-2], p.shape[-1])
    return summed_to(text, shape, p.shapes[p.which])


def _dot_back(p: Place) -> str:
    if not p.shapes[0] or not p.shapes[1]:
        text = f"{held(p.g)} * {held(p.operands[1 - p.which])}"
        return summed_to(text, p.shape, p.shapes[p.which])
    ranks = (len(p.shapes[0]), len(p.shapes[1]))
    if max(ranks) <= 2:
        return _matmul_back(p)
    of_a = tuple(range(ranks[0] - 1))  # the axes of the value that came from a; those that came from b follow
    if ranks[1] == 1:
        return f"np.tensordot({p.g}, {p.a}, axes={len(of_a)})" if p.which else f"{held(p.g)}[..., None] * {held(p.b)}"
    if p.which == 0:
        of_b = tuple(range(ranks[0] - 1, len(p.shape)))
        from_b = (*range(ranks[1] - 2), ranks[1] - 1)
        return f"np.tensordot({p.g}, {p.b}, axes=({of_b}, {from_b}))"
    return f"np.moveaxis(np.tensordot({p.a}, {p.g}, axes=({of_a}, {of_a})), 0, -2)"


def _outer_back(p: Place) -> str:
    a, b = (text if len(shape) == 1 else f"np.ravel({text})" for text, shape in zip(p.operands, p.shapes, strict=True))
    text = f"{held(p.g)} @ {held(b)}" if p.which == 0 else f"{held(a)} @ {held(p.g)}"
    return text if len(p.shapes[p.which]) == 1 else f"({text}).reshape({entries(p.shapes[p.which])})"


PRODUCTS: tuple[tuple[Shape, Shape], ...] = (
    ((3,), (3,)), ((2, 3), (3,)), ((3,), (3, 2)), ((2, 3), (3, 4)), ((3, 3), (3, 3)),
    ((4, 2, 3), (3,)), ((3,), (4, 3, 2)), ((4, 2, 3), (3, 2)), ((2, 3), (4, 3, 2)), ((4, 2, 3), (4, 3, 2)),
    ((1, 2, 3), (4, 3, 2)), ((2, 1, 2, 3), (4, 3, 2)), ((1, 1), (1, 1)),
)  # fmt: skip
"""Every pair of vector, matrix and stack."""

_DOTTED = (
    *PRODUCTS[:5], ((), (2, 3)), ((3,), ()), ((), ()), ((4, 2, 3), (3,)), ((2, 3), (4, 3, 2)), ((4, 2, 3), (5, 3, 2)),
)  # fmt: skip

ROWS = (
    Op("matmul", spelling="a @ b", example="u @ b", elementwise=False, source="CS231n, Optimization 2",
       shape=_matmul_shape, uses=_matmul_uses, trials=tuple((pair, {}) for pair in PRODUCTS),
       forward=_matmul, vjps=(_matmul_vjp_a, _matmul_vjp_b),
       exact=np.matmul, sympy=lambda a, b: a @ b, ball=np.matmul,
       code=Whole(lambda p: f"{held(p.a, PRODUCT)} @ {held(p.b, SIGN)}", _matmul_back,
                  "times the other factor, turned")),
    Op("dot", example="dot(u, b)", elementwise=False,
       shape=_dot_shape, uses=_dot_uses, trials=tuple((pair, {}) for pair in _DOTTED),
       forward=_dot, vjps=(_dot_vjp_a, _dot_vjp_b), exact=np.dot, sympy=np.dot, ball=np.dot,
       code=Whole(lambda p: f"np.dot({p.a}, {p.b})", _dot_back, "times the other factor, turned")),
    Op("outer", example="outer(u, b)", elementwise=False,
       shape=lambda a, b: (math.prod(a), math.prod(b)), uses=lambda a, b: math.prod(a) * math.prod(b),
       trials=tuple((pair, {}) for pair in (((2,), (3,)), ((2, 2), (3,)), ((), (3,)), ((2, 1), (1, 2)))),
       forward=_outer, vjps=(_outer_vjp_a, _outer_vjp_b), exact=np.outer, sympy=np.outer, ball=np.outer,
       code=Whole(lambda p: f"np.outer({p.a}, {p.b})", _outer_back, "times the other factor")),
)  # fmt: skip

"""Linear algebra on square matrices and stacks of them: inverse, determinant, solve, Cholesky, trace, diagonal.

A matrix without a value (singular, not positive definite) has NaN in its place, and no exception: at other points of
the batch the op is defined, and whoever judges says which are not and why.

* ``det`` is a polynomial, so it has a gradient at singular matrices too: the cofactors.
* ``logabsdet`` is the second part of NumPy's ``slogdet``. Its slope is the same on either side of a change of sign;
  the sign itself is ``sign(det(A))``, which jumps.
* ``cholesky`` reads the lower triangle alone, as NumPy's does, and its gradient says so: an entry below the diagonal
  stands for both of its pair, and entries above it have gradient 0. Where the matrix is made symmetric by an earlier
  stage, as ``B @ transpose(B)`` is, the gradients that count are the same as with any other convention.

``inverse``, ``solve`` and ``cholesky`` have no formula that SymPy could differentiate in reasonable time. Their SymPy
form is the polynomial system that the value solves (``implicit``): SymPy differentiates that.
"""

from __future__ import annotations

import itertools
import math
import operator
from collections.abc import Callable
from functools import reduce
from typing import Any

import mpmath
import numpy as np
import sympy

from verify.errors import ShapeError
from verify.numbers.matrices import cholesky_factor, cofactors, determinant, inverse, log_abs_determinant, solution
from verify.ops import ball_matrices
from verify.ops.axes import per_matrix
from verify.ops.row import REAL, Op, Shape, by_lowering

SINGULAR, NOT_DEFINITE = "singular matrix", "matrix that is not positive definite"


# --------------------------------------------------------------------------------------------------------- shape rules


def _square(name: str, a: Shape) -> Shape:
    if len(a) < 2 or a[-1] != a[-2]:
        raise ShapeError(f"{name} needs a square matrix (or a stack of them), got shape {a}")
    if not a[-1]:
        raise ShapeError(f"{name} of a matrix without entries is not defined here (shape {a})")
    return a


def _solve_shape(a: Shape, b: Shape) -> Shape:
    n = _square("solve", a)[-1]
    if not b:
        raise ShapeError(f"solve needs a vector or a matrix on the right, got a scalar against shape {a}")
    rows = b[0] if len(b) == 1 else b[-2]
    if rows != n:
        raise ShapeError(f"solve cannot take shapes {a} and {b}: {n} equations against {rows} right-hand sides")
    if len(b) == 1:
        return a[:-1]
    try:
        return (*np.broadcast_shapes(a[:-2], b[:-2]), *b[-2:])
    except ValueError:
        raise ShapeError(f"solve cannot take shapes {a} and {b}: their batch axes do not broadcast") from None


def _matrix_shape(name: str, a: Shape) -> Shape:
    if len(a) != 2:
        raise ShapeError(f"{name} needs a matrix, got shape {a}")
    return a


def _diag_shape(a: Shape) -> Shape:
    if len(a) not in (1, 2):
        raise ShapeError(f"diag makes a matrix of a vector or takes the diagonal of a matrix, got shape {a}")
    return (*a, *a) if len(a) == 1 else (min(a),)


# --------------------------------------------------------------------------------------------- vector-Jacobian products


def _swapped(a: Any) -> Any:
    return np.swapaxes(a, -1, -2)


def _trace(a: Any) -> Any:
    n = min(a.shape[1:])
    return np.sum(a[:, range(n), range(n)], axis=1)


def _on_diagonal(g: Any, like: Any) -> Any:
    """Zeros in the shape of ``like`` with ``g`` on the diagonal of each matrix."""
    out = np.zeros_like(like)
    n = min(like.shape[1:])
    out[:, range(n), range(n)] = g
    return out


def _trace_vjp(g: Any, y: Any, a: Any) -> Any:
    return _on_diagonal(g[:, None], a)


def _diag(a: Any) -> Any:
    if a.ndim == 2:
        return _on_diagonal(a, np.broadcast_to(np.zeros_like(a)[:, :, None], (*a.shape, a.shape[1])))
    n = min(a.shape[1:])
    return a[:, range(n), range(n)]


def _diag_vjp(g: Any, y: Any, a: Any) -> Any:
    return _diag(g) if a.ndim == 2 else _on_diagonal(g, a)


def _inverse_vjp(g: Any, y: Any, a: Any) -> Any:
    return -(_swapped(y) @ g @ _swapped(y))


def _det_vjp(g: Any, y: Any, a: Any) -> Any:
    return g[..., None, None] * cofactors(a)


def _logabsdet_vjp(g: Any, y: Any, a: Any) -> Any:
    return g[..., None, None] * _swapped(inverse(a))


def _systems(a: Any, b: Any) -> tuple[Any, Any]:
    """Matrices and right-hand sides as stacks of equal rank; a vector becomes a column."""
    if b.ndim == 2:
        b = b[:, :, None]
    rank = max(a.ndim, b.ndim)
    return tuple(x.reshape(x.shape[0], *(1,) * (rank - x.ndim), *x.shape[1:]) for x in (a, b))


def _solve(a: Any, b: Any) -> Any:
    x = solution(*_systems(a, b))
    return x[..., 0] if b.ndim == 2 else x


def _solve_vjps(g: Any, a: Any, b: Any) -> tuple[Any, Any]:
    """The matrices transposed, and what the right-hand sides receive, as columns."""
    columns = g[..., None] if b.ndim == 2 else g
    transposed, seeds = _systems(_swapped(a), columns)
    return transposed, solution(transposed, seeds)


def _solve_vjp_a(g: Any, y: Any, a: Any, b: Any) -> Any:
    _, sent = _solve_vjps(g, a, b)
    return -(sent @ _swapped(y[..., None] if b.ndim == 2 else y))


def _solve_vjp_b(g: Any, y: Any, a: Any, b: Any) -> Any:
    _, sent = _solve_vjps(g, a, b)
    return sent[..., 0] if b.ndim == 2 else sent


def _cholesky_vjp(g: Any, y: Any, a: Any) -> Any:
    n = a.shape[-1]
    lower = np.tril(np.ones((n, n), a.dtype))
    halved = lower - np.eye(n, dtype=a.dtype) / 2
    inverted = inverse(y)
    sent = _swapped(inverted) @ ((_swapped(y) @ (g * lower)) * halved) @ inverted
    return (sent + _swapped(sent)) * halved


# -------------------------------------------------------------------------------------------------------- SymPy's side


def _leibniz(a: Any) -> Any:
    """The determinant as a sum over all permutations."""
    n = len(a)
    terms = []
    for columns in itertools.permutations(range(n)):
        swaps = sum(columns[i] > columns[j] for i in range(n) for j in range(i + 1, n))
        terms.append(reduce(operator.mul, (a[i, j] for i, j in enumerate(columns))) * (-1) ** swaps)
    return sum(terms[1:], start=terms[0])


def _sympy_diag(a: Any) -> Any:
    if a.ndim == 2:
        return a[range(min(a.shape)), range(min(a.shape))]
    out = np.full((len(a), len(a)), sympy.Integer(0) if a.dtype == object else 0, dtype=a.dtype)
    for i, entry in enumerate(a):
        out[i, i] = entry
    return out


def _inverse_equations(y: Any, a: Any) -> Any:
    return np.matmul(a, y) - np.eye(a.shape[-1], dtype=int)


def _solve_equations(y: Any, a: Any, b: Any) -> Any:
    return np.matmul(a, y[..., None])[..., 0] - b if b.ndim == 1 else np.matmul(a, y) - b


def _cholesky_equations(y: Any, a: Any) -> Any:
    """``y y^T - a`` on and below the diagonal, with what stands above it in y being 0."""
    left = y.copy()
    for *batch, i, j in np.ndindex(a.shape):
        if i >= j:
            at = tuple(batch)
            left[(*at, i, j)] = sum(y[(*at, i, k)] * y[(*at, j, k)] for k in range(j + 1)) - a[(*at, i, j)]
    return left


def _lower_logabsdet(builder: Any, a: int) -> int:
    """Half the logarithm of the square: no branch, since the slope is the same for either sign."""
    square = builder.apply("power_constant", builder.apply("det", a), params={"exponent": 2.0})
    return int(builder.apply("multiply", builder.apply("log", square), builder.constant(0.5)))


def _determinant_terms(a: Shape) -> int:
    return math.prod(a[:-2]) * a[-1] * math.factorial(min(a[-1], 20))


def _solve_terms(a: Shape, b: Shape) -> int:
    return math.prod(_solve_shape(a, b)) * a[-1]


def _cube(a: Shape) -> int:
    return math.prod(a) * a[-1]


# ---------------------------------------------------------------------------------------------------- mpmath, the third


def _matrix_of(a: Any) -> Any:
    return mpmath.matrix([[mpmath.mpmathify(x) for x in row] for row in a.tolist()])


def _entries_of(matrix: Any) -> Any:
    out = np.empty((matrix.rows, matrix.cols), dtype=object)
    for i, j in np.ndindex(out.shape):
        out[i, j] = matrix[i, j]
    return out


def _exact_stack(function: Callable[..., Any], shape: Shape, *stacks: Any) -> Any:
    """A function of mpmath matrices on stacks of them, which broadcast together."""
    out = np.empty(shape, dtype=object)
    batch = shape[:-2]
    spread = [np.broadcast_to(x, (*batch, *x.shape[-2:])) for x in stacks]
    for index in np.ndindex(batch):
        out[index] = _entries_of(function(*(_matrix_of(x[index]) for x in spread)))
    return out


def _mpmath_inverse(matrix: Any) -> Any:
    try:
        return mpmath.inverse(matrix)
    except TypeError:  # mpmath finds no pivot in a column of zeros, and trips over that
        raise ZeroDivisionError("the matrix is singular") from None


def _mpmath_determinant(matrix: Any) -> Any:
    try:
        return mpmath.det(matrix)
    except TypeError:
        return mpmath.mpf(0)


def _exact_inverse(a: Any) -> Any:
    return _exact_stack(_mpmath_inverse, a.shape, a)


def _exact_solve(a: Any, b: Any) -> Any:
    if b.ndim == 1:
        return _exact_solve(a, b[:, None])[..., 0]
    shape = _solve_shape(a.shape, b.shape)
    return _exact_stack(lambda m, r: _mpmath_inverse(m) * r, shape, a, b)


def _exact_cholesky(a: Any) -> Any:
    symmetric = np.where(np.tril(np.ones(a.shape[-2:], dtype=bool)), a, np.swapaxes(a, -1, -2))
    return _exact_stack(mpmath.cholesky, a.shape, symmetric)


def _exact_det(a: Any) -> Any:
    return per_matrix(lambda m: _mpmath_determinant(_matrix_of(m)), a)


def _exact_logabsdet(a: Any) -> Any:
    return per_matrix(lambda m: mpmath.log(abs(_mpmath_determinant(_matrix_of(m)))), a)


ROWS = (
    Op("trace", _trace, (_trace_vjp,), lambda a: sum(a[i, i] for i in range(min(a.shape))),
       lambda a: sum(a[i, i] for i in range(min(a.shape))),
       lambda a: _matrix_shape("trace", a)[:0], "trace(a)", elementwise=False, ball=ball_matrices.trace),
    Op("diag", _diag, (_diag_vjp,), _sympy_diag, np.diag, _diag_shape, "diag(a)", elementwise=False, ulps=0.0,
       moves=True, ball=ball_matrices.diag),
    Op("inverse", inverse, (_inverse_vjp,), _inverse_equations, _exact_inverse,
       lambda a: _square("inverse", a), "inverse(a)", elementwise=False, ball=ball_matrices.inverse,
       implicit=True, uses=_cube, undefined=SINGULAR, source="Giles 2008, Collected matrix derivatives"),
    Op("det", determinant, (_det_vjp,), lambda a: per_matrix(_leibniz, a), _exact_det,
       lambda a: _square("det", a)[:-2], "det(a)", elementwise=False, ball=ball_matrices.determinant,
       curved=True, uses=_determinant_terms, source="Giles 2008, Collected matrix derivatives"),
    Op("logabsdet", log_abs_determinant, (_logabsdet_vjp,), by_lowering, _exact_logabsdet,
       lambda a: _square("logabsdet", a)[:-2], "logabsdet(a)", elementwise=False,
       ball=ball_matrices.log_abs_determinant, lower=_lower_logabsdet, curved=True, undefined=SINGULAR,
       source="NumPy's slogdet; Giles 2008"),
    Op("solve", _solve, (_solve_vjp_a, _solve_vjp_b), _solve_equations, _exact_solve, _solve_shape, "solve(a, b)",
       (REAL, REAL), elementwise=False, ball=ball_matrices.solve, implicit=True, uses=_solve_terms,
       undefined=SINGULAR, source="Giles 2008, Collected matrix derivatives"),
    Op("cholesky", cholesky_factor, (_cholesky_vjp,), _cholesky_equations, _exact_cholesky,
       lambda a: _square("cholesky", a), "cholesky(a)", elementwise=False, ball=ball_matrices.cholesky,
       implicit=True, uses=_cube, undefined=NOT_DEFINITE,
       source="Murray 2016, Differentiation of the Cholesky decomposition"),
)  # fmt: skip

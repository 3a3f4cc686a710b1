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
from flint import arb, arb_mat, arb_series, ctx

from verify.errors import ShapeError
from verify.numbers.ball_math import ZERO, Number, absolute, divide, head, log, sqrt
from verify.numbers.matrices import cholesky_factor, cofactors, determinant, inverse, log_abs_determinant, solution
from verify.ops.axes import per_matrix, stacked
from verify.ops.ball_matrices import coefficients, entries, product, solved
from verify.ops.code import Place, Whole, call, turned
from verify.ops.row import Op, Shape
from verify.ops.texts import PRODUCT, held, summed_to
from verify.ops.trials import plain

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


def _on_matrices(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function of mpmath's matrices on object arrays."""
    return lambda *arrays: _entries_of(function(*map(_matrix_of, arrays)))


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
    return stacked(_on_matrices(_mpmath_inverse), a.shape, a)


def _exact_solve(a: Any, b: Any) -> Any:
    if b.ndim == 1:
        return _exact_solve(a, b[:, None])[..., 0]
    shape = _solve_shape(a.shape, b.shape)
    return stacked(_on_matrices(lambda m, r: _mpmath_inverse(m) * r), shape, a, b)


def _exact_cholesky(a: Any) -> Any:
    symmetric = np.where(np.tril(np.ones(a.shape[-2:], dtype=bool)), a, np.swapaxes(a, -1, -2))
    return stacked(_on_matrices(mpmath.cholesky), a.shape, symmetric)


def _exact_det(a: Any) -> Any:
    return per_matrix(lambda m: _mpmath_determinant(_matrix_of(m)), a)


def _exact_logabsdet(a: Any) -> Any:
    return per_matrix(lambda m: mpmath.log(abs(_mpmath_determinant(_matrix_of(m)))), a)


# ------------------------------------------------------------------------------------------------------------ in balls

MOST_MINORS = 6
"""Rows up to which a determinant is made of minors alone, so that it has slopes where it is 0."""


def _inverse_ball(a: Any) -> Any:
    """The inverse of each matrix."""
    n = a.shape[-1]
    unit = [arb_mat(n, n, [arb(int(i == j)) for i in range(n) for j in range(n)])]
    return stacked(lambda m: entries(solved(coefficients(m), unit), (n, n)), a.shape, a)


def _solve_ball(a: Any, b: Any) -> Any:
    """The solution of ``a @ x = b``, ``b`` a vector or a stack of matrices."""
    if b.ndim == 1:
        return _solve_ball(a, b[:, None])[..., 0]
    shape = (*np.broadcast_shapes(a.shape[:-2], b.shape[:-2]), *b.shape[-2:])
    return stacked(lambda m, r: entries(solved(coefficients(m), coefficients(r)), r.shape), shape, a, b)


def _cholesky_ball(a: Any) -> Any:
    """The lower triangular factor, entry by entry; NaN where a matrix may not be positive definite."""
    return stacked(_factor_balls, a.shape, a)


def _factor_balls(a: Any) -> Any:
    n = len(a)
    out = np.full((n, n), ZERO, dtype=object)
    for i in range(n):
        for j in range(i + 1):
            rest = a[i, j] - sum((out[i, k] * out[j, k] for k in range(j)), ZERO)
            out[i, j] = divide(rest, out[j, j]) if j < i else _positive_root(rest)
    return out


def _positive_root(a: Number) -> Number:
    """A square root that is not 0: a factor with a 0 on its diagonal is none of a positive definite matrix."""
    value = head(a)
    return sqrt(a) if value > 0 else log(a) * 0


def _diag_ball(a: Any) -> Any:
    """A matrix with this diagonal, or the diagonal of a matrix; marks of entries are moved too."""
    if a.ndim == 2:
        return a[range(min(a.shape)), range(min(a.shape))]
    out = np.full((len(a), len(a)), False if a.dtype == bool else ZERO, dtype=a.dtype)
    for i in range(len(a)):
        out[i, i] = a[i]
    return out


def _det_balls(a: Any) -> Number:
    """By minors where there are few; else the determinant of A0 times that of ``I + _inverse_ball(A0) (A - A0)``."""
    n = len(a)
    if n <= MOST_MINORS:
        return _by_minors(a)
    series = coefficients(a)
    value = series[0].det()
    if len(series) == 1:
        return value
    moved = solved(series[:1], [arb_mat(n, n), *series[1:]])
    # log det(I + M) = tr(M) - tr(M**2) / 2 + tr(M**3) / 3 - ..., and M begins with t.
    logarithm, power = [ZERO] * ctx.cap, moved
    for k in range(1, ctx.cap):
        for j, matrix in enumerate(power):
            logarithm[j] += sum((matrix[i, i] for i in range(n)), ZERO) * (-1) ** (k + 1) / k
        power = product(power, moved)
    return value * arb_series(logarithm).exp()


def _by_minors(a: Any) -> Number:
    """The determinant by the minors of its first rows, without a division: it has slopes where it is 0."""
    n = len(a)
    minors: dict[int, Any] = {0: arb(1)}
    for row in range(n):
        following: dict[int, Any] = {}
        for columns, minor in minors.items():
            for j in range(n):
                if columns >> j & 1:
                    continue
                term = minor * a[row, j]
                chosen = columns | 1 << j
                # As many swaps as there are columns chosen already that stand behind this one.
                signed = -term if (columns >> j).bit_count() % 2 else term
                following[chosen] = following[chosen] + signed if chosen in following else signed
        minors = following
    found: Number = minors[(1 << n) - 1]
    return found


# --------------------------------------------------------------------------------------------------- as it is written


def _inverse_back(p: Place) -> str:
    y = turned(p.y, len(p.shape))
    return f"-{y} @ {held(p.g)} @ {y}"


def _for_each_matrix(p: Place) -> str:
    """The upstream gradient of a number for each matrix, to be multiplied with the matrices."""
    return held(p.g) if not p.shape else f"{held(p.g)}[..., None, None]"


def _trace_back(p: Place) -> str:
    rows, columns = p.shapes[0]
    return f"{held(p.g, PRODUCT)} * np.eye({rows}{'' if columns == rows else f', {columns}'})"


def _diag_back(p: Place) -> str:
    if len(p.shapes[0]) == 1:
        return f"np.diagonal({p.g})"
    rows, columns = p.shapes[0]
    if rows == columns:
        return f"np.diag({p.g})"
    return f"np.eye({rows}, {columns}) * {held(p.g)}{'[:, None]' if rows < columns else ''}"


def _solve_back(p: Place) -> str:
    """The transposed systems send it to the right-hand sides, and their outer products with the solution to a."""
    system, of_vectors = turned(p.a, len(p.shapes[0])), len(p.shapes[1]) == 1
    if of_vectors and len(p.shapes[0]) == 2:
        sent = f"np.linalg.solve({system}, {p.g})"
        return sent if p.which else f"-np.outer({sent}, {p.y})"
    column = "[..., None]" if of_vectors else ""
    sent = f"np.linalg.solve({system}, {held(p.g) if column else p.g}{column})"
    if p.which:
        return summed_to(f"{sent}[..., 0]" if column else sent, p.shape, p.shapes[1])
    x = f"{held(p.y)}[..., None, :]" if of_vectors else turned(p.y, len(p.shape))
    n = p.shapes[0][-1]
    return summed_to(f"-{sent} @ {x}", (*p.shape[: -1 if of_vectors else -2], n, n), p.shapes[0])


SQUARES = plain((1, 1), (2, 2), (3, 3), (2, 3, 3), (3, 2, 2))
SYSTEMS: tuple[tuple[Shape, Shape], ...] = (
    ((3, 3), (3,)), ((2, 2), (2, 3)), ((1, 1), (1,)), ((2, 3, 3), (3,)), ((2, 3, 3), (2, 3, 2)), ((2, 2), (3, 2, 2)),
    ((1, 2, 2), (3, 2, 1)),
)  # fmt: skip

_DEFINITE = "diag(u) + 0.2 * outer(u, u)"
"""For examples: positive definite for positive u."""
_GILES = "Giles 2008, Collected matrix derivatives"


def _diagonal_sum(a: Any) -> Any:
    return sum(a[i, i] for i in range(min(a.shape)))


ROWS = (
    Op("trace", example="trace(outer(u, u))", elementwise=False, trials=plain((1, 1), (3, 3), (2, 4)),
       shape=lambda a: _matrix_shape("trace", a)[:0], forward=_trace, vjps=(_trace_vjp,),
       exact=_diagonal_sum, sympy=_diagonal_sum, ball=_diagonal_sum,
       code=Whole(call("np.trace"), _trace_back, "to the diagonal")),
    Op("diag", example="diag(u)", elementwise=False, ulps=0.0, moves=True, shape=_diag_shape,
       trials=plain((1,), (3,), (3, 3), (2, 4)), forward=_diag, vjps=(_diag_vjp,),
       exact=np.diag, sympy=_sympy_diag, ball=_diag_ball,
       code=Whole(call("np.diag"), _diag_back, "from one diagonal to the other")),
    Op("inverse", example=f"inverse({_DEFINITE})", elementwise=False, undefined=SINGULAR, source=_GILES,
       shape=lambda a: _square("inverse", a), uses=_cube, trials=SQUARES, forward=inverse, vjps=(_inverse_vjp,),
       exact=_exact_inverse, implicit=True, sympy=_inverse_equations, ball=_inverse_ball,
       code=Whole(call("np.linalg.inv"), _inverse_back, "the transposed inverse on both sides")),
    Op("det", example=f"det({_DEFINITE})", elementwise=False, curved=True, source=_GILES,
       shape=lambda a: _square("det", a)[:-2], uses=_determinant_terms, trials=SQUARES,
       forward=determinant, vjps=(_det_vjp,), exact=_exact_det,
       sympy=lambda a: per_matrix(_leibniz, a), ball=lambda a: per_matrix(_det_balls, a),
       code=Whole(call("np.linalg.det"), lambda p: f"{_for_each_matrix(p)} * cofactors({p.a})", "the cofactors")),
    Op("logabsdet", example=f"logabsdet({_DEFINITE})", elementwise=False, curved=True, undefined=SINGULAR,
       source="NumPy's slogdet; Giles 2008", shape=lambda a: _square("logabsdet", a)[:-2], trials=SQUARES,
       forward=log_abs_determinant, vjps=(_logabsdet_vjp,), exact=_exact_logabsdet, lower=_lower_logabsdet,
       ball=lambda a: per_matrix(lambda m: log(absolute(_det_balls(m))), a),
       code=Whole(lambda p: f"np.linalg.slogdet({p.a})[1]",
                  lambda p: f"{_for_each_matrix(p)} * {turned(f'np.linalg.inv({p.a})', len(p.shapes[0]))}",
                  "the transposed inverse")),
    Op("solve", example=f"solve({_DEFINITE}, b)", elementwise=False, undefined=SINGULAR, source=_GILES,
       shape=_solve_shape, uses=_solve_terms, trials=tuple((pair, {}) for pair in SYSTEMS),
       forward=_solve, vjps=(_solve_vjp_a, _solve_vjp_b),
       exact=_exact_solve, implicit=True, sympy=_solve_equations, ball=_solve_ball,
       code=Whole(lambda p: f"np.linalg.solve({p.a}, {p.b})", _solve_back, "the transposed system")),
    Op("cholesky", example=f"cholesky({_DEFINITE})", elementwise=False, undefined=NOT_DEFINITE,
       source="Murray 2016, Differentiation of the Cholesky decomposition",
       shape=lambda a: _square("cholesky", a), uses=_cube, trials=SQUARES,
       forward=cholesky_factor, vjps=(_cholesky_vjp,),
       exact=_exact_cholesky, implicit=True, sympy=_cholesky_equations, ball=_cholesky_ball,
       code=Whole(call("np.linalg.cholesky"), lambda p: f"cholesky_back({p.y}, {p.g})",
                  "to the lower triangle, the only part that is read")),
)  # fmt: skip

HELPERS = {
    "cofactors": '''\
def cofactors(a):
    """The derivative of det(a) by each entry: the minor without its row and column, with its sign."""
    n = a.shape[-1]
    out = np.empty_like(a)
    for i in range(n):
        for j in range(n):
            minor = np.delete(np.delete(a, i, axis=-2), j, axis=-1)
            out[..., i, j] = (-1) ** (i + j) * np.linalg.det(minor)
    return out
''',
    "cholesky_back": '''\
def cholesky_back(factor, g):
    """What a Cholesky factor sends back to the lower triangle it was made of, the last column first."""
    g = np.tril(g)
    for j in reversed(range(factor.shape[-1])):
        pivot, left = factor[..., j, j], factor[..., j, :j]
        below, below_left = factor[..., j + 1 :, j], factor[..., j + 1 :, :j]
        # below = (a[j + 1:, j] - below_left @ left) / pivot
        g[..., j + 1 :, j] /= pivot[..., None]
        sent = g[..., j + 1 :, j]
        g[..., j + 1 :, :j] -= sent[..., :, None] * left[..., None, :]
        g[..., j, :j] -= np.sum(sent[..., :, None] * below_left, axis=-2)
        g[..., j, j] -= np.sum(sent * below, axis=-1)
        # pivot = sqrt(a[j, j] - left @ left)
        g[..., j, j] /= 2 * pivot
        g[..., j, :j] -= 2 * g[..., j, j, None] * left
    return g
''',
}
"""Functions that a printed module brings along where it names them."""

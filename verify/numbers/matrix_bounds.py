"""How far the float results of linear algebra may be from exact: the radii that :mod:`verify.numbers.balls` gives.

Elimination carried out in balls explodes (at 40 rows the radius of a solution is hundreds of times its value), so
results are bounded from outside. What is computed for ``inverse``, ``solve`` and ``cholesky`` is put back into its
equation: the residual, with the rounding of its own evaluation, says how far the solution is off, as in verified
numerics. That residual is granted what elimination leaves, ``n u |L| |U| |X|``, so that the bound holds for other
programs than the one that ran; ``|A|`` in place of ``|L| |U|`` is too little where the sizes of entries differ much.
Determinants and cofactors have no equation; they are bounded by what a perturbation of ``n u ||A||`` does to the
singular values.

All arrays are float64, ``(..., n, n)``; ``u`` is the unit roundoff of the dtype that computed. A radius of inf or NaN
means that nothing is known, as for a matrix that may be singular.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

TINY = 2.0**-1000
"""Outweighs underflow on the way."""


def _residual(a: Array, ra: Array, x: Array, b: Array, rb: Array | float, u: float) -> Array:
    """A bound of ``|b - a @ x|`` for everything inside the balls; the rounding of a stable program is granted."""
    n = a.shape[-1]
    granted = (n + 2) * u * (eliminated(a) @ np.abs(x) + np.abs(b))
    moved = ra @ np.abs(x) + rb
    bound: Array = np.abs(b - a @ x) + granted + moved + TINY
    return bound


def eliminated(a: Array) -> Array:
    """``|L| |U|`` of elimination with the largest pivot of each column, rows in the order of ``a``; at least ``|a|``.

    >>> eliminated(np.array([[1e-9, 1.0], [1.0, 2.0]])).tolist()  # 1e-9 * 2 is taken from 1, and leaves 1 again
    [[1e-09, 1.0], [1.0, 2.0]]
    >>> eliminated(np.array([[1.0, 1e9], [1.0, 2.0]])).tolist()[1]  # 2 is had from 1e9 - (1e9 - 2)
    [1.0, 1999999998.0]
    """
    left, factors = np.array(a), np.zeros_like(a)
    order = np.broadcast_to(np.arange(a.shape[-1])[:, None], (*a.shape[:-1], 1))
    with np.errstate(all="ignore"):
        for k in range(a.shape[-1]):
            pivot = k + np.argmax(np.abs(left[..., k:, k]), axis=-1)[..., None, None]
            rows = np.arange(a.shape[-1])[:, None]
            swapped = np.where(rows == k, pivot, np.where(rows == pivot, k, rows))
            left, factors, order = (np.take_along_axis(m, swapped, axis=-2) for m in (left, factors, order))
            top = left[..., k : k + 1, k:]
            factors[..., k + 1 :, k] = np.where(top[..., 0, :1] == 0, 0.0, left[..., k + 1 :, k] / top[..., 0, :1])
            left[..., k + 1 :, k:] -= factors[..., k + 1 :, k : k + 1] * top
        product = (np.abs(factors) + np.eye(a.shape[-1])) @ np.abs(np.triu(left))
    sizes: Array = np.fmax(np.take_along_axis(product, np.argsort(order, axis=-2), axis=-2), np.abs(a))
    return sizes


def inverse_radius(a: Array, ra: Array, x: Array, u: float) -> Array:
    """How far ``x`` may be from the inverse of any matrix within ``ra`` of ``a``.

    With ``R = I - A X`` the error D of X is at most ``|X| |R| + D |R|``, row by row.

    >>> a = np.array([[2.0, 1.0], [1.0, 1.0]])
    >>> x = np.array([[1.0, -1.0], [-1.0, 2.0]])
    >>> radius = inverse_radius(a, np.zeros((2, 2)), x, 2.0**-53)
    >>> bool((0 < radius).all()), bool((radius < 1e-14).all())
    (True, True)
    """
    residual = _residual(a, ra, x, np.eye(a.shape[-1]), 0.0, u)
    columns = residual.sum(axis=-2, keepdims=True)
    contraction = columns.max(axis=-1, keepdims=True, initial=0.0)
    first = np.abs(x) @ residual
    largest = first.max(axis=-1, keepdims=True, initial=0.0) / np.where(contraction < 1, 1 - contraction, np.nan)
    radius: Array = first + largest * columns
    return radius


def solution_radius(a: Array, ra: Array, b: Array, rb: Array, x: Array, inverted: Array, u: float) -> Array:
    """How far ``x`` may be from the solution of any system within the balls; ``inverted`` is roughly the inverse.

    >>> a, b = np.array([[4.0]]), np.array([[2.0]])
    >>> radius = solution_radius(a, 0 * a, b, 0 * b, np.array([[0.5]]), np.array([[0.25]]), 2.0**-53)
    >>> bool(0 < radius[0, 0] < 1e-15)
    True
    """
    size = np.abs(inverted) + inverse_radius(a, ra, inverted, 2.0**-53)
    radius: Array = size @ _residual(a, ra, x, b, rb, u)
    return radius


def cholesky_radius(a: Array, ra: Array, factor: Array, inverted: Array, u: float) -> Array:
    """How far ``factor`` may be from the Cholesky factor of any symmetric matrix within the balls.

    The exact factor is ``L (I + G)`` with ``G + G^T + G G^T = F``, F what is left of ``A - L L^T`` between the
    inverses of L. So G is the lower triangle of ``F - G G^T`` with half the diagonal, and its norm at most
    ``(1 - sqrt(1 - 2 |F|)) / sqrt(2)``. ``inverted`` is roughly the inverse of the factor.

    >>> a = np.array([[4.0]])
    >>> radius = cholesky_radius(a, 0 * a, np.array([[2.0]]), np.array([[0.5]]), 2.0**-53)
    >>> bool(0 < radius[0, 0] < 4e-15)
    True
    """
    n = a.shape[-1]
    lower = np.tril(np.ones((n, n)))
    halved = lower - np.eye(n) / 2

    def symmetric(m: Array) -> Array:
        return m * halved + np.swapaxes(m * halved, -1, -2)

    left = _residual(factor, 0 * factor, np.swapaxes(factor, -1, -2), symmetric(a), symmetric(ra), u)
    size = np.abs(inverted) + inverse_radius(factor, 0 * factor, inverted, 2.0**-53)
    between = size @ left @ np.swapaxes(size, -1, -2)
    norm = np.linalg.norm(between, axis=(-2, -1), keepdims=True)
    squared = norm**2 * 2  # of G's norm, at most norm * sqrt(2)
    relative = between * halved + np.where(norm < 0.5, squared, np.nan) * lower
    radius: Array = np.abs(factor) @ relative
    return radius


def singular_values(a: Array) -> Array:
    """The singular values ``(..., n)`` of a stack of matrices, largest first; NaN for one that is not finite.

    >>> singular_values(np.array([[3.0, 0.0], [0.0, -4.0]])).tolist()
    [4.0, 3.0]
    """
    finite: Any = np.isfinite(a).all(axis=(-2, -1), keepdims=True)
    known: Any = np.where(finite, a, 0.0)
    return np.where(finite[..., 0], np.linalg.svd(known, compute_uv=False), np.nan)


def perturbation(a: Array, ra: Array, roundings: float, u: float) -> Array:
    """A bound ``(...)`` of the norm of what floats and radii do to a matrix.

    >>> float(perturbation(np.array([[8.0]]), np.array([[1.0]]), 0.0, 2.0**-53))
    1.0
    """
    size, moved = (np.linalg.norm(x, axis=(-2, -1)) for x in (a, ra))
    bound: Array = roundings * a.shape[-1] * u * size + moved
    return bound


def product_change(values: Array, moved: Array) -> Array:
    """``prod(s + e) - prod(s)`` over the last axis, without cancellation.

    It bounds what a perturbation of norm e does to a determinant, and to its cofactors where the smallest singular
    value is left out.

    >>> float(product_change(np.array([2.0, 0.0]), np.array(0.5)))
    1.25
    """
    change, whole = np.zeros(values.shape[:-1]), np.ones(values.shape[:-1])
    for k in range(values.shape[-1]):
        change = change * (values[..., k] + moved) + whole * moved
        whole = whole * values[..., k]
    return change


def cofactor_radius(a: Array, ra: Array, inverted: Array, limit: float, u: float) -> Array:
    """How far cofactors may be from exact ``(..., n, n)``: from the inverse where that is good, else normwise.

    ``limit`` is the condition number from which on the program computes them without the inverse.

    >>> a = np.diag([2.0, 4.0])
    >>> radius = cofactor_radius(a, 0 * a, np.diag([0.5, 0.25]), 1e6, 2.0**-53)
    >>> bool((radius > 0).all()), bool((radius < 1e-14).all())
    (True, True)
    """
    values = singular_values(a)
    n = values.shape[-1]
    normwise = product_change(values[..., :-1], perturbation(a, ra, DECOMPOSITION, u))
    normwise += n * u * np.prod(values[..., :-1], axis=-1)
    moved = product_change(values, perturbation(a, ra, ELIMINATION, u))[..., None, None]
    wrong = inverse_radius(a, ra, inverted, u)
    whole = np.prod(values, axis=-1)[..., None, None]
    by_inverse = np.swapaxes((whole + moved) * wrong + moved * np.abs(inverted), -1, -2)
    condition = np.linalg.norm(a, axis=(-2, -1)) * np.linalg.norm(inverted, axis=(-2, -1))
    is_good = condition <= 1.1 * limit
    radius: Array = np.where(is_good[..., None, None], np.maximum(by_inverse, normwise[..., None, None]),
                             normwise[..., None, None])  # fmt: skip
    return radius


def log_determinant_radius(a: Array, ra: Array, u: float) -> Array:
    """How far a logarithm of ``|det|`` may be from exact ``(...)``.

    >>> bool(0 < log_determinant_radius(np.eye(2), np.zeros((2, 2)), 2.0**-53) < 1e-13)
    True
    """
    n = a.shape[-1]
    values = singular_values(a)
    moved = perturbation(a, ra, ELIMINATION, u)[..., None] / values
    # The pivots lie between the smallest singular value over n and the largest times 2**(n - 1).
    largest = np.maximum(np.abs(np.log(values[..., :1])) + n, np.abs(np.log(values[..., -1:])) + np.log(n))[..., 0]
    radius: Array = np.where(moved < 1, -np.log1p(-moved), np.nan).sum(axis=-1) + (n + 8) * n * u * largest
    return radius


ELIMINATION, DECOMPOSITION = 2.0, 8.0
"""Backward error of Gaussian elimination and of the singular value decomposition in units of ``n u ||A||``: a bound
for two rows, and well above what is found for more (tests/numbers/test_balls.py)."""

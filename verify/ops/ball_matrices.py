"""Matrices of balls, and of series of balls, for the column ``ball`` of linear algebra and convolution.

A matrix of series is a series of matrices, ``A = A0 + A1 t + A2 t**2 + ...``. The solution of ``A X = B`` follows
coefficient by coefficient, ``A0 Xk = Bk - A1 X(k-1) - A2 X(k-2) - ...``, so that no derivative is written by hand;
each step is a solution in python-flint, which proves that A0 is regular. Where it cannot, everything is NaN.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from flint import arb, arb_mat, arb_series, ctx

Coefficients = list[arb_mat]
"""The coefficients of a matrix of series; a single one where nothing moves."""

_ZERO = arb(0)


def coefficients(a: Any) -> Coefficients:
    """A matrix of balls or series as a series of matrices.

    >>> entries = np.array([[arb_series([1, 2]), arb(3)]], dtype=object)
    >>> len(coefficients(entries)) == ctx.cap, coefficients(entries)[1] == arb_mat([[2, 0]])
    (True, True)
    """
    rows, columns = a.shape
    flat = a.ravel().tolist()
    if not any(isinstance(x, arb_series) for x in flat):
        return [arb_mat(rows, columns, flat)]
    return [
        arb_mat(rows, columns, [x[k] if isinstance(x, arb_series) else (_ZERO if k else x) for x in flat])
        for k in range(ctx.cap)
    ]


def entries(series: Coefficients, shape: tuple[int, ...]) -> Any:
    """A series of matrices as an object array of balls, or of series.

    >>> entries([arb_mat([[1, 2]])], (2,))
    array([1.00000000000000, 2.00000000000000], dtype=object)
    """
    columns = [matrix.entries() for matrix in series]
    out = np.empty(len(columns[0]), dtype=object)
    out[:] = columns[0] if len(series) == 1 else [arb_series(list(parts)) for parts in zip(*columns, strict=True)]
    return out.reshape(shape)


def product(a: Coefficients, b: Coefficients) -> Coefficients:
    """The product of two series of matrices, up to as many coefficients as are kept.

    >>> product([arb_mat([[2]])], [arb_mat([[3]])]) == [arb_mat([[6]])]
    True
    """
    if len(a) == len(b) == 1:
        return [a[0] * b[0]]
    return [_convolved(a, b, k, 0) for k in range(ctx.cap)]


def _convolved(a: Coefficients, b: Coefficients, k: int, first: int) -> arb_mat:
    """The sum of ``a[j] * b[k - j]`` from ``j = first`` on; what is zero costs nothing."""
    total = arb_mat(a[0].nrows(), b[0].ncols())
    for j in range(first, min(k + 1, len(a))):
        if k - j < len(b) and not (is_zero(a[j]) or is_zero(b[k - j])):
            total = total + a[j] * b[k - j]
    return total


def is_zero(matrix: arb_mat) -> bool:
    """Whether a matrix is 0 for certain: a ball around 0 is not.

    >>> is_zero(arb_mat(2, 2)), is_zero(arb_mat([[arb(0, 1)]]))
    (True, False)
    """
    return bool(matrix == 0)


def _unknown(rows: int, columns: int, terms: int) -> Coefficients:
    return [arb_mat(rows, columns, [arb.nan()] * (rows * columns))] * terms


def solved(a: Coefficients, b: Coefficients) -> Coefficients:
    """The solution of ``a @ x = b``; NaN where ``a`` may be singular.

    >>> solved([arb_mat([[4]])], [arb_mat([[2]])]) == [arb_mat([[0.5]])]
    True
    """
    terms = 1 if len(a) == len(b) == 1 else ctx.cap
    try:
        found = [a[0].solve(b[0])]
        if terms == 1:
            return found
        inverted = a[0].inv()
    except ZeroDivisionError:
        return _unknown(b[0].nrows(), b[0].ncols(), terms)
    for k in range(1, terms):
        rest = -_convolved(a, found, k, 1)
        found.append(inverted * (rest + b[k] if k < len(b) else rest))
    return found

"""The op table's column ``ball`` for linear algebra and convolution: matrices of balls, and of series of balls.

A matrix of series is a series of matrices, ``A = A0 + A1 t + A2 t**2 + ...``. The solution of ``A X = B`` follows
coefficient by coefficient, ``A0 Xk = Bk - A1 X(k-1) - A2 X(k-2) - ...``, so that no derivative is written by hand;
each step is a solution in python-flint, which proves that A0 is regular. Where it cannot, everything is NaN.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, reduce
from typing import Any

import numpy as np
from flint import arb, arb_mat, arb_series, ctx

from verify.numbers import ball_forms
from verify.numbers.ball_forms import Number
from verify.ops.axes import per_matrix

Coefficients = list[arb_mat]
"""The coefficients of a matrix of series; a single one where nothing moves."""

MOST_MINORS = 6
"""Rows up to which a determinant is made of minors alone, so that it has slopes where it is 0."""

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
        if k - j < len(b) and not (_is_zero(a[j]) or _is_zero(b[k - j])):
            total = total + a[j] * b[k - j]
    return total


def _is_zero(matrix: arb_mat) -> bool:
    return bool(matrix == 0)  # certainly: a ball around 0 is not


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


def _stacked(function: Callable[..., Any], shape: tuple[int, ...], *stacks: Any) -> Any:
    """A function of single matrices on stacks of them, which broadcast together."""
    out = np.empty(shape, dtype=object)
    batch = shape[:-2]
    spread = [np.broadcast_to(x, (*batch, *x.shape[-2:])) for x in stacks]
    for index in np.ndindex(batch):
        out[index] = function(*(x[index] for x in spread))
    return out


def inverse(a: Any) -> Any:
    """The inverse of each matrix.

    >>> inverse(np.array([[arb(4)]], dtype=object)).tolist()
    [[0.250000000000000]]
    """
    n = a.shape[-1]
    unit = [arb_mat(n, n, [arb(int(i == j)) for i in range(n) for j in range(n)])]
    return _stacked(lambda m: entries(solved(coefficients(m), unit), (n, n)), a.shape, a)


def solve(a: Any, b: Any) -> Any:
    """The solution of ``a @ x = b``, ``b`` a vector or a stack of matrices.

    >>> solve(np.array([[arb(4)]], dtype=object), np.array([arb(2)], dtype=object)).tolist()
    [0.500000000000000]
    """
    if b.ndim == 1:
        return solve(a, b[:, None])[..., 0]
    shape = (*np.broadcast_shapes(a.shape[:-2], b.shape[:-2]), *b.shape[-2:])
    return _stacked(lambda m, r: entries(solved(coefficients(m), coefficients(r)), r.shape), shape, a, b)


def cholesky(a: Any) -> Any:
    """The lower triangular factor, entry by entry; NaN where a matrix may not be positive definite.

    >>> cholesky(np.array([[arb(4)]], dtype=object)).tolist()
    [[2.00000000000000]]
    """
    return _stacked(_cholesky, a.shape, a)


def _cholesky(a: Any) -> Any:
    n = len(a)
    out = np.full((n, n), _ZERO, dtype=object)
    for i in range(n):
        for j in range(i + 1):
            rest = a[i, j] - sum((out[i, k] * out[j, k] for k in range(j)), _ZERO)
            out[i, j] = ball_forms.divide(rest, out[j, j]) if j < i else _positive_root(rest)
    return out


def _positive_root(a: Number) -> Number:
    """A square root that is not 0: a factor with a 0 on its diagonal is none of a positive definite matrix."""
    value = ball_forms.head(a)
    return ball_forms.sqrt(a) if value > 0 else ball_forms.log(a) * 0


def trace(a: Any) -> Any:
    """The sum of the diagonal.

    >>> trace(np.array([[arb(4)]], dtype=object))
    4.00000000000000
    """
    return sum((a[i, i] for i in range(min(a.shape))), _ZERO)


def diag(a: Any) -> Any:
    """A matrix with this diagonal, or the diagonal of a matrix; marks of entries are moved too.

    >>> diag(np.array([arb(4)], dtype=object)).tolist()
    [[4.00000000000000]]
    """
    if a.ndim == 2:
        return a[range(min(a.shape)), range(min(a.shape))]
    out = np.full((len(a), len(a)), False if a.dtype == bool else _ZERO, dtype=a.dtype)
    for i in range(len(a)):
        out[i, i] = a[i]
    return out


def determinant(a: Any) -> Any:
    """The determinant of each matrix.

    >>> determinant(np.array([[arb(4)]], dtype=object))
    4.00000000000000
    """
    return per_matrix(_determinant, a)


def log_abs_determinant(a: Any) -> Any:
    """The logarithm of the size of the determinant; NaN where that may be 0.

    >>> float(log_abs_determinant(np.array([[arb(-1)]], dtype=object)))
    0.0
    """
    return per_matrix(lambda m: ball_forms.log(ball_forms.absolute(_determinant(m))), a)


def _determinant(a: Any) -> Number:
    """By minors where there are few; else the determinant of A0 times that of ``I + inverse(A0) (A - A0)``."""
    n = len(a)
    if n <= MOST_MINORS:
        return _by_minors(a)
    series = coefficients(a)
    value = series[0].det()
    if len(series) == 1:
        return value
    moved = solved(series[:1], [arb_mat(n, n), *series[1:]])
    # log det(I + M) = tr(M) - tr(M**2) / 2 + tr(M**3) / 3 - ..., and M begins with t.
    logarithm, power = [_ZERO] * ctx.cap, moved
    for k in range(1, ctx.cap):
        for j, matrix in enumerate(power):
            logarithm[j] += sum((matrix[i, i] for i in range(n)), _ZERO) * (-1) ** (k + 1) / k
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


def convolution(x: Any, w: Any, stride: Any = 1, padding: Any = 0) -> Any:
    """All windows of ``(N, C, places)`` as one matrix, times all filters ``(F, C, window)`` as another.

    >>> x = np.array([[[arb(1), arb(2), arb(3)]]], dtype=object)
    >>> convolution(x, x[:, :, :2]).ravel().tolist()
    [5.00000000000000, 8.00000000000000]
    """
    axes = x.ndim - 2
    strides, pads = (v if isinstance(v, tuple) else (v,) * axes for v in (stride, padding))
    places, reads = _windows(x.shape, w.shape[2:], strides, pads)
    windows = [_read(matrix, reads) for matrix in coefficients(x.reshape(1, -1))]
    filters = coefficients(w.reshape(len(w), -1).T)
    y = entries(product(windows, filters), (len(x), *places, len(w)))
    return np.moveaxis(y, -1, 1)


def _read(entries: arb_mat, reads: Any) -> arb_mat:
    """The matrix of windows; what a window has beyond the edge is 0."""
    if _is_zero(entries):
        return arb_mat(len(reads), reads.shape[1])
    flat = [*entries.entries(), _ZERO]
    return arb_mat(len(reads), reads.shape[1], [flat[i] for i in reads.ravel().tolist()])


@lru_cache(maxsize=64)
def _windows(
    shape: tuple[int, ...], size: tuple[int, ...], strides: tuple[int, ...], pads: tuple[int, ...]
) -> tuple[tuple[int, ...], Any]:
    """How many windows there are along each axis, and the entries that each reads: a row for each window of a sample.

    The entry behind the last one stands for what lies beyond the edge.
    """
    samples, channels, *lengths = shape
    padded: Any = np.full((samples, channels, *(n + 2 * p for n, p in zip(lengths, pads, strict=True))), np.prod(shape))
    inside = (slice(p, p + n) for n, p in zip(lengths, pads, strict=True))
    padded[(..., *inside)] = np.arange(np.prod(shape)).reshape(shape)
    places = tuple((n - k) // s + 1 for n, k, s in zip(padded.shape[2:], size, strides, strict=True))
    rows = []
    for n, *place in np.ndindex(samples, *places):
        reach = (slice(p * s, p * s + k) for p, s, k in zip(place, strides, size, strict=True))
        rows.append(padded[(n, slice(None), *reach)].ravel())
    return places, np.array(rows)


def largest_of_windows(x: Any, size: Any, stride: Any = None) -> Any:
    """The largest entry of each window of ``(N, C, places)``; the hull of slopes where that is undecided.

    >>> largest_of_windows(np.array([[[arb(1), arb(2)]]], dtype=object), size=2).tolist()
    [[[2.00000000000000]]]
    """
    return _of_windows(lambda rows: [reduce(ball_forms.maximum, row) for row in rows.tolist()], x, size, stride)


def mean_of_windows(x: Any, size: Any, stride: Any = None) -> Any:
    """The mean of each window of ``(N, C, places)``.

    >>> mean_of_windows(np.array([[[arb(1), arb(2)]]], dtype=object), size=2).tolist()
    [[[1.50000000000000]]]
    """
    return _of_windows(lambda rows: np.sum(rows, axis=1) / arb(rows.shape[1]), x, size, stride)


def _of_windows(function: Callable[[Any], Any], x: Any, size: Any, stride: Any) -> Any:
    """A function of windows, one in each row, that gives an entry for each."""
    axes = x.ndim - 2
    sizes = size if isinstance(size, tuple) else (size,) * axes
    strides = sizes if stride is None else stride if isinstance(stride, tuple) else (stride,) * axes
    channels = x.shape[0] * x.shape[1]
    places, reads = _windows((channels, 1, *x.shape[2:]), sizes, strides, (0,) * axes)
    out = np.empty(len(reads), dtype=object)
    out[:] = function(x.ravel()[reads])
    return out.reshape(*x.shape[:2], *places)

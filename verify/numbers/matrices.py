"""Linear algebra on stacks of matrices as NumPy has it, without exceptions, and open to other number systems.

A matrix without a value (singular, not positive definite) has NaN in its place: at other points of the batch the
function is defined, and whoever judges says which are not and why.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

import numpy as np


def overridable(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function on arrays that other number systems may replace, by the protocol that NumPy has for its own.

    >>> class Nothing:
    ...     def __array_function__(self, func, types, args, kwargs):
    ...         return func.__name__
    >>> inverse(Nothing())
    'inverse'
    """

    @wraps(function)
    def call(*operands: Any) -> Any:
        for operand in operands:
            if not isinstance(operand, np.ndarray) and hasattr(operand, "__array_function__"):
                return operand.__array_function__(call, (type(operand),), operands, {})
        return function(*operands)

    return call


# ------------------------------------------------------------------------------------------- NumPy, without exceptions


def _matrix_by_matrix(function: Callable[..., Any], *stacks: Any) -> Any:
    """A function of NumPy's on stacks of matrices, NaN where it refuses one; slow, and needed only then."""
    batch = np.broadcast_shapes(*(x.shape[:-2] for x in stacks))
    stacks = tuple(np.broadcast_to(x, (*batch, *x.shape[-2:])) for x in stacks)
    result = np.full_like(stacks[-1], np.nan, subok=False)
    for index in np.ndindex(batch):
        try:
            result[index] = function(*(x[index] for x in stacks))
        except np.linalg.LinAlgError:
            continue
    return result


def _without_exceptions(function: Callable[..., Any], *stacks: Any) -> Any:
    try:
        return function(*stacks)
    except np.linalg.LinAlgError:
        return _matrix_by_matrix(function, *stacks)


@overridable
def inverse(a: Any) -> Any:
    """The inverses of a stack of matrices ``(..., n, n)``; NaN for one that is singular.

    >>> inverse(np.array([[[2.0]], [[0.0]]])).ravel().tolist()
    [0.5, nan]
    """
    return _without_exceptions(np.linalg.inv, a)


@overridable
def solution(a: Any, b: Any) -> Any:
    """The solutions of ``a @ x = b``, ``b`` a stack of matrices ``(..., n, k)``; NaN where ``a`` is singular.

    >>> solution(np.array([[[2.0]], [[0.0]]]), np.array([[[1.0]]])).ravel().tolist()
    [0.5, nan]
    """
    return _without_exceptions(np.linalg.solve, a, b)


@overridable
def cholesky_factor(a: Any) -> Any:
    """The lower triangular factors of a stack of matrices; NaN for one that is not positive definite.

    >>> cholesky_factor(np.array([[[4.0]], [[-1.0]]])).ravel().tolist()
    [2.0, nan]
    """
    return _without_exceptions(np.linalg.cholesky, a)


@overridable
def determinant(a: Any) -> Any:
    """The determinants of a stack of matrices.

    >>> float(determinant(np.array([[2.0, 0.0], [5.0, 3.0]])))
    6.0
    """
    return np.linalg.det(a)


@overridable
def log_abs_determinant(a: Any) -> Any:
    """The logarithms of the sizes of the determinants; they may lie far outside the range of floats.

    >>> float(log_abs_determinant(np.eye(2) * 1e-200)) < -921
    True
    """
    return np.linalg.slogdet(a)[1]


@overridable
def cofactors(a: Any) -> Any:
    """The derivatives of the determinants by each entry, at singular matrices too.

    The inverse times the determinant loses as many digits as the matrix is ill-conditioned, though the cofactors are
    not; where that is more than a third of them, the singular value decomposition takes over, which is slower.

    >>> cofactors(np.array([[1.0, 2.0], [2.0, 4.0]])).round(9).tolist()
    [[4.0, -2.0], [-2.0, 1.0]]
    """
    inverted = inverse(a)
    with np.errstate(all="ignore"):
        result = np.asarray(np.linalg.det(a)[..., None, None] * np.swapaxes(inverted, -1, -2))
        condition = np.linalg.norm(a, axis=(-2, -1)) * np.linalg.norm(inverted, axis=(-2, -1))
    bad = ~(condition <= WELL_CONDITIONED[a.dtype.char]) & np.isfinite(a).all(axis=(-2, -1))
    if bad.any():
        result[bad] = _singular_cofactors(a[bad])
    return result


WELL_CONDITIONED = {np.dtype(x).char: float(np.finfo(x).eps) ** -0.375 for x in (np.float64, np.float32)}
"""dtype -> condition number from which on an inverse has lost more than three eighths of its digits."""


def _singular_cofactors(a: Any) -> Any:
    """The same from ``a = U S V``: cofactors of a product are the product of cofactors, and those of S a diagonal."""
    u, s, v = np.linalg.svd(a)
    others = np.stack([np.prod(np.delete(s, i, axis=-1), axis=-1) for i in range(s.shape[-1])], axis=-1)
    return (np.linalg.det(u) * np.linalg.det(v))[..., None, None] * ((u * others[..., None, :]) @ v)

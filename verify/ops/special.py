"""Special functions, entry by entry; SciPy's are imported where one is called: it costs half a second."""

from __future__ import annotations

import math
from functools import cache
from typing import Any

import mpmath
import numpy as np
import sympy

from verify.ops import ball_functions
from verify.ops.row import POSITIVE, Op, elementwise_shape


def _erfc(a: Any) -> Any:
    from scipy.special import erfc

    return erfc(a)


def _erfc_vjp(g: Any, y: Any, a: Any) -> Any:
    return g * ((-2.0 / math.sqrt(math.pi)) * np.exp(-(a * a)))


def _gamma(a: Any) -> Any:
    from scipy.special import gamma

    return gamma(a)


def _digamma(a: Any) -> Any:
    from scipy.special import psi

    return psi(a)


def _lgamma(a: Any) -> Any:
    """SciPy's, but close to its zeros at 1 and 2, where that keeps absolute digits alone, a Taylor series."""
    from scipy.special import gammaln

    y, from_one, from_two = gammaln(a), a - 1.0, a - 2.0
    near_one, near_two = np.abs(from_one) <= NEAR_A_ZERO, np.abs(from_two) <= NEAR_A_ZERO
    if not (np.any(near_one) or np.any(near_two)):
        return y
    t = np.where(near_one, from_one, np.where(near_two, from_two, 0.0))
    series = t * 0.0
    for coefficient in _around_two():
        series = (series + coefficient) * t
    # gamma(1 + t) is gamma(2 + t) / (1 + t)
    return np.where(near_one, series - np.log1p(t), np.where(near_two, series, y))


NEAR_A_ZERO = 0.25
"""Within it the terms of the series fall by a factor of 8."""


@cache
def _around_two() -> tuple[float, ...]:
    """Taylor coefficients of log(gamma(2 + t)), the highest first: (-1)**k (zeta(k) - 1) / k, at last 1 - gamma."""
    with mpmath.workdps(30):
        higher = [(-1) ** k * (mpmath.zeta(k) - 1) / k for k in range(18, 1, -1)]
        return tuple(float(x) for x in (*higher, 1 - mpmath.euler))


ROWS = (
    Op("erfc", _erfc, (_erfc_vjp,), sympy.erfc, mpmath.erfc, elementwise_shape, "erfc(a)",
       ulps=700.0, ball=ball_functions.erfc),  # SciPy rounds a**2 before its exponential: 341 were met at 24
    Op("gamma", _gamma, (lambda g, y, a: g * (y * _digamma(a)),), sympy.gamma, mpmath.gamma, elementwise_shape,
       "gamma(a)", (POSITIVE,), ulps=6.0, ball=ball_functions.gamma),
    Op("lgamma", _lgamma, (lambda g, y, a: g * _digamma(a),), sympy.loggamma, mpmath.loggamma, elementwise_shape,
       "lgamma(a)", (POSITIVE,), ulps=16.0, ball=ball_functions.lgamma),
)  # fmt: skip

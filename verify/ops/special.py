"""Special functions, entry by entry; SciPy's are imported where one is called: it costs half a second."""

from __future__ import annotations

import math
from functools import cache
from typing import Any

import mpmath
import numpy as np
import sympy
from flint import arb

from verify.numbers.ball_math import by_series, inside
from verify.ops.code import entrywise
from verify.ops.row import POSITIVE, Op


def _erf(a: Any) -> Any:
    from scipy.special import erf

    return erf(a)


def _erf_vjp(g: Any, y: Any, a: Any) -> Any:
    return g * ((2.0 / math.sqrt(math.pi)) * np.exp(-(a * a)))


def _erfc(a: Any) -> Any:
    from scipy.special import erfc

    return erfc(a)


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
    Op("erf", example="erf(u)", ulps=2.0, reach=(26.0, 9.0), forward=_erf, vjps=(_erf_vjp,),
       exact=mpmath.erf, sympy=sympy.erf, ball=lambda a: a.erf(),
       code=entrywise("erf({A})", "2 / np.pi**0.5 * np.exp(-{a}**2)")),
    Op("erfc", example="erfc(u)", reach=(26.0, 9.0),
       ulps=700.0,  # SciPy rounds a**2 before its exponential: 341 were met at 24
       forward=_erfc, vjps=(lambda g, y, a: -_erf_vjp(g, y, a),),
       exact=mpmath.erfc, sympy=sympy.erfc, ball=by_series(arb.erfc, lambda a: -a.erf()),
       code=entrywise("erfc({A})", "-2 / np.pi**0.5 * np.exp(-{a}**2)")),
    Op("gamma", example="gamma(u)", domain=(POSITIVE,), ulps=6.0, reach=(150.0, 30.0),
       forward=_gamma, vjps=(lambda g, y, a: g * (y * _digamma(a)),),
       exact=mpmath.gamma, sympy=sympy.gamma, ball=inside(0.0, math.inf, lambda a: a.gamma()),
       code=entrywise("special.gamma({A})", "{y} * special.digamma({A})")),
    Op("lgamma", example="lgamma(u)", domain=(POSITIVE,), ulps=16.0,
       reach=(1e4, 1e4),  # mpmath takes seconds beyond
       forward=_lgamma, vjps=(lambda g, y, a: g * _digamma(a),),
       exact=mpmath.loggamma, sympy=sympy.loggamma, ball=inside(0.0, math.inf, lambda a: a.lgamma()),
       code=entrywise("special.gammaln({A})", "special.digamma({A})")),
)  # fmt: skip

HELPERS = {
    "special": "from scipy import special\n",
    "erf": "from scipy.special import erf\n",
    "erfc": "from scipy.special import erfc\n",
}
"""Imports and functions that a printed module brings along where it names them."""

"""Special functions, entry by entry; SciPy's are imported where one is called: it costs half a second."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import cache
from typing import Any

import mpmath
import numpy as np
import sympy
from flint import arb

from verify.numbers.ball_math import by_derivatives, by_own_slope, by_series, inside
from verify.ops.code import Entrywise, entrywise
from verify.ops.row import POSITIVE, Interval, Op
from verify.ops.trials import entry_by_entry

WIDE_BALL = 2.0**-30
"""Radius from which on a function of a ball is taken at its ends."""


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


def _polygamma(a: Any, order: float) -> Any:
    from scipy.special import zeta

    return (1.0 if int(order) % 2 else -1.0) * math.factorial(int(order)) * zeta(order + 1.0, a)


def _polygamma_code(params: Mapping[str, Any]) -> Entrywise:
    order = int(params["order"])
    return entrywise(f"special.polygamma({order}, {{A}})", f"special.polygamma({order + 1}, {{A}})")


def _erfinv(a: Any) -> Any:
    from scipy.special import erfinv

    return erfinv(a)


def _i0(a: Any) -> Any:
    from scipy.special import i0e

    return _unscaled(i0e(a), a)


def _i1(a: Any) -> Any:
    from scipy.special import i1e

    return _unscaled(i1e(a), a)


def _unscaled(scaled: Any, a: Any) -> Any:
    """Times ``exp(abs(a))`` in two steps: SciPy's own functions overflow from 710 on, before their values do."""
    half = np.exp(np.abs(a) / 2)
    return scaled * half * half


def _i1_vjp(g: Any, y: Any, a: Any) -> Any:
    """The mean of both neighbours."""
    from scipy.special import iv

    size = np.abs(a)
    second = np.where(size > 1e-8, iv(2.0, np.where(size > 1e-8, a, 1.0)), a * a / 8.0)  # SciPy's is NaN at 1e-324
    return g * (0.5 * _i0(a) + 0.5 * second)


def _polygamma_of(order: int, a: arb) -> Any:
    """The derivatives of the logarithm of gamma, by Hurwitz's zeta."""
    if order == 0:
        return a.digamma()
    return (-1) ** (order + 1) * math.factorial(order) * arb(order + 1).zeta(a)


def _bessel_i_of(order: int, a: arb) -> Any:
    """Of a whole order. By the ends of a wide ball, between which it rises with a, or with abs(a) where it is even.

    FLINT's own takes a second for such a ball of large numbers, and has no digit right.

    >>> [_bessel_i_of(2, arb(x, r)).overlaps(arb(2).bessel_i(arb(2))) for x, r in ((2.5, 0.5), (-2.5, 0.5), (2.5, 0.4))]
    [True, True, False]
    >>> [_bessel_i_of(order, arb(1, 2)).overlaps(arb(-1).bessel_i(arb(order))) for order in (0, 1, 2, 3)]
    [True, True, True, True]
    >>> _bessel_i_of(2, arb(711.5, 0.01)).rel_accuracy_bits() > 4
    True
    """
    if a.rad() < WIDE_BALL:
        return a.bessel_i(arb(order))
    ends = (a.lower(), a.upper()) if order % 2 else (a.abs_lower(), a.abs_upper())
    least, most = (end.bessel_i(arb(order)) for end in ends)
    return least.union(most)


def _slopes_of_bessel_i(order: int, k: int, a: arb) -> Any:
    """Its k-th derivative: each is the mean of both neighbours."""
    terms = (math.comb(k, j) * _bessel_i_of(abs(order - k + 2 * j), a) for j in range(k + 1))
    return sum(terms, arb(0)) / 2**k


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
    Op("digamma", example="digamma(u)", domain=(POSITIVE,), ulps=16.0, reach=(1e4, 1e4),
       forward=_digamma, vjps=(lambda g, y, a: g * _polygamma(a, 1),),
       exact=mpmath.digamma, sympy=sympy.digamma,
       ball=inside(0.0, math.inf, by_derivatives(_polygamma_of)),
       code=entrywise("special.digamma({A})", "special.polygamma(1, {A})")),
    Op("polygamma", spelling="polygamma(a, order)", example="polygamma(u, 1)", domain=(POSITIVE,), ulps=16.0,
       reach=(1e4, 1e4), params=("order",), numbers={"order": None},
       trials=entry_by_entry(1, [{"order": 1}, {"order": 2}]),
       forward=_polygamma, vjps=(lambda g, y, a, order: g * _polygamma(a, order + 1),),
       exact=lambda a, order: mpmath.psi(int(order), a), sympy=lambda a, order: sympy.polygamma(int(order), a),
       ball=lambda a, order: inside(0.0, math.inf, by_derivatives(lambda k, x: _polygamma_of(int(order) + k, x)))(a),
       code=_polygamma_code),
    Op("erfinv", example="erfinv(u / 2)", domain=(Interval(-1.0, 1.0, low_open=True, high_open=True),), ulps=8.0,
       reach=(0.999, 0.99), forward=_erfinv, vjps=(lambda g, y, a: g * (math.sqrt(math.pi) / 2.0 * np.exp(y * y)),),
       exact=mpmath.erfinv, sympy=sympy.erfinv,
       ball=inside(-1.0, 1.0, by_own_slope(arb.erfinv, lambda y: (y * y).exp() * arb.pi().sqrt() / 2)),
       code=entrywise("special.erfinv({A})", "np.pi**0.5 / 2 * np.exp({y}**2)")),
    Op("i0", example="i0(u)", ulps=8.0, reach=(713.0, 60.0), forward=_i0, vjps=(lambda g, y, a: g * _i1(a),),
       exact=lambda a: mpmath.besseli(0, a), sympy=lambda a: sympy.besseli(0, a),
       ball=by_derivatives(lambda k, a: _slopes_of_bessel_i(0, k, a)),
       code=entrywise("special.i0({A})", "special.i1({A})")),
    Op("i1", example="i1(u)", ulps=8.0, reach=(713.0, 60.0), forward=_i1, vjps=(_i1_vjp,),
       exact=lambda a: mpmath.besseli(1, a), sympy=lambda a: sympy.besseli(1, a),
       ball=by_derivatives(lambda k, a: _slopes_of_bessel_i(1, k, a)),
       code=entrywise("special.i1({A})", "(special.i0({A}) + special.iv(2, {A})) / 2")),
)  # fmt: skip

HELPERS = {
    "special": "from scipy import special\n",
    "erf": "from scipy.special import erf\n",
    "erfc": "from scipy.special import erfc\n",
}
"""Imports and functions that a printed module brings along where it names them."""

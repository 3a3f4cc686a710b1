"""Exponentials, logarithms, sigmoid and softplus, entry by entry and smooth in their domain."""

from __future__ import annotations

import math
from typing import Any

import mpmath
import numpy as np
import sympy
from flint import arb, arb_series

from verify.numbers.ball_math import ONE, Number, by_series, by_slope, divide, head, inside, log, rising
from verify.ops.code import entrywise
from verify.ops.hyperbolic import tanh_ball
from verify.ops.row import POSITIVE, Interval, Op
from verify.ops.sympy_forms import real_function

_LN2, _LN10 = math.log(2.0), math.log(10.0)

ABOVE_MINUS_ONE = Interval(-1.0, low_open=True)


def _sigmoid(a: Any) -> Any:
    e = np.exp(-np.abs(a))  # never overflows, whatever the sign of a
    return np.where(a >= 0, 1.0, e) / (1.0 + e)


def _sigmoid_vjp(g: Any, y: Any, a: Any) -> Any:
    e = np.exp(-np.abs(a))  # y * (1 - y) loses every digit from a = 37 on
    return g * (e / ((1.0 + e) * (1.0 + e)))


def sigmoid_ball(a: Number) -> Number:
    """``1 / (1 + exp(-a))``, without a huge power for a < 0, and finite for a ball of any width.

    >>> float(sigmoid_ball(arb(0))), bool(sigmoid_ball(arb(-1e300)).is_finite())
    (0.5, True)
    >>> bool(sigmoid_ball(arb(0, 1e9)).is_finite())
    True
    """
    negative = head(a) < 0
    e = a.exp() if negative else (-a).exp()
    if head(e) > -1:
        return divide(e if negative else ONE, 1 + e)
    return (1 + tanh_ball(a / 2)) / 2


def _softplus(a: Any) -> Any:
    return np.maximum(a, 0.0) + np.log1p(np.exp(-np.abs(a)))  # never overflows, and keeps its digits far below 0


def _softplus_vjp(g: Any, y: Any, a: Any) -> Any:
    e = np.exp(-np.abs(a))
    return g * (np.where(a >= 0, 1.0, e) / (1.0 + e))


def _exact_softplus(a: Any) -> Any:
    return max(a, mpmath.mpf(0)) + mpmath.log1p(mpmath.exp(-abs(a)))


def _softplus_ball(value: arb) -> arb:
    return value.exp().log1p() if value < 0 else value + (-value).exp().log1p()


expm1_ball = by_series(arb.expm1, arb_series.exp)
sympy_expm1 = real_function("expm1", mpmath.expm1, lambda a, y: sympy.exp(a))


ROWS = (
    Op("exp", example="exp(u)", ulps=3.0, reach=(700.0, 85.0), source="CS231n, Optimization 2",
       forward=np.exp, vjps=(lambda g, y, a: g * y,),
       exact=mpmath.exp, sympy=sympy.exp, ball=lambda a: a.exp(), code=entrywise("np.exp({A})", "{y}")),
    Op("expm1", example="expm1(u)", ulps=3.0, reach=(700.0, 85.0),
       forward=np.expm1, vjps=(lambda g, y, a: g * np.exp(a),),  # y + 1 would lose what y does not hold far below 0
       exact=mpmath.expm1, sympy=sympy_expm1,
       ball=expm1_ball, code=entrywise("np.expm1({A})", "np.exp({A})")),
    Op("log", example="log(u)", domain=(POSITIVE,), ulps=4.0, forward=np.log, vjps=(lambda g, y, a: g / a,),
       exact=mpmath.log, sympy=sympy.log, ball=log, code=entrywise("np.log({A})", "1 / {a}")),
    Op("log1p", example="log1p(u)", domain=(ABOVE_MINUS_ONE,), ulps=3.0,
       forward=np.log1p, vjps=(lambda g, y, a: g / (1.0 + a),),
       exact=mpmath.log1p,
       sympy=real_function("log1p", mpmath.log1p, lambda a, y: 1 / (1 + a),
                           real=lambda a: (a + 1).is_extended_positive),
       ball=inside(-1.0, math.inf, by_series(arb.log1p, lambda a: (1 + a).log())),
       code=entrywise("np.log1p({A})", "1 / (1 + {A})")),
    Op("log2", example="log2(u)", domain=(POSITIVE,), ulps=4.0,
       forward=np.log2, vjps=(lambda g, y, a: g / (a * _LN2),),
       exact=lambda a: mpmath.log(a, 2), sympy=lambda a: sympy.log(a) / sympy.log(2),
       ball=lambda a: log(a) / arb(2).log(), code=entrywise("np.log2({A})", "1 / ({a} * 0.6931471805599453)")),
    Op("log10", example="log10(u)", domain=(POSITIVE,), ulps=4.0,
       forward=np.log10, vjps=(lambda g, y, a: g / (a * _LN10),),
       exact=mpmath.log10, sympy=lambda a: sympy.log(a) / sympy.log(10),
       ball=lambda a: log(a) / arb(10).log(), code=entrywise("np.log10({A})", "1 / ({a} * 2.302585092994046)")),
    Op("sigmoid", example="sigmoid(u)", ulps=4.0, reach=(700.0, 85.0), source="CS231n, Optimization 2",
       forward=_sigmoid, vjps=(_sigmoid_vjp,),
       exact=lambda a: 1 / (1 + mpmath.exp(-a)), sympy=lambda a: 1 / (1 + sympy.exp(-a)), ball=sigmoid_ball,
       code=entrywise("sigmoid({A})", "sigmoid({A}) * sigmoid(-{a})")),
    Op("softplus", example="softplus(u)", ulps=4.0, reach=(700.0, 85.0), forward=_softplus, vjps=(_softplus_vjp,),
       exact=_exact_softplus,
       sympy=real_function("softplus", _exact_softplus, lambda a, y: 1 / (1 + sympy.exp(-a)), positive=True),
       ball=by_slope(rising(_softplus_ball), sigmoid_ball),
       code=entrywise("np.logaddexp(0, {A})", "sigmoid({A})")),
)  # fmt: skip

HELPERS = {"sigmoid": '''\
def sigmoid(a):
    """1 / (1 + exp(-a)), without overflow."""
    e = np.exp(-np.abs(a))
    return np.where(a >= 0, 1.0, e) / (1.0 + e)
'''}  # fmt: skip
"""Imports and functions that a printed module brings along where it names them."""

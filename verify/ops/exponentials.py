"""Exponentials, logarithms and hyperbolic functions, entry by entry and smooth in their domain."""

from __future__ import annotations

import math
from typing import Any

import mpmath
import numpy as np
import sympy
from flint import arb, arb_series

from verify.numbers.ball_forms import ONE, Number, by_series, by_slope, divide, inside, log, rising
from verify.ops.code import entrywise
from verify.ops.elementwise import sigmoid_ball
from verify.ops.row import POSITIVE, Interval, Op
from verify.ops.sympy_forms import real_function

_LN2, _LN10 = math.log(2.0), math.log(10.0)

ABOVE_MINUS_ONE = Interval(-1.0, low_open=True)
BELOW_ONE = Interval(-1.0, 1.0, low_open=True, high_open=True)
FROM_ONE = Interval(1.0)


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


def _arctanh_slope(a: Any) -> Number:
    """NaN where the ball ends so close to 1 or -1 that its distance is lost in rounding."""
    return divide(ONE, (1 - a) * (1 + a))


ROWS = (
    Op("expm1", example="expm1(u)", ulps=3.0, reach=(700.0, 85.0),
       forward=np.expm1, vjps=(lambda g, y, a: g * np.exp(a),),  # y + 1 would lose what y does not hold far below 0
       exact=mpmath.expm1, sympy=sympy_expm1,
       ball=expm1_ball, code=entrywise("np.expm1({A})", "np.exp({A})")),
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
    Op("softplus", example="softplus(u)", ulps=4.0, reach=(700.0, 85.0), forward=_softplus, vjps=(_softplus_vjp,),
       exact=_exact_softplus,
       sympy=real_function("softplus", _exact_softplus, lambda a, y: 1 / (1 + sympy.exp(-a)), positive=True),
       ball=by_slope(rising(_softplus_ball), sigmoid_ball),
       code=entrywise("np.logaddexp(0, {A})", "sigmoid({A})")),
    Op("sinh", example="sinh(u)", ulps=2.0, reach=(700.0, 85.0),
       forward=np.sinh, vjps=(lambda g, y, a: g * np.cosh(a),),
       exact=mpmath.sinh, sympy=sympy.sinh, ball=by_series(arb.sinh, lambda a: (a.exp() - (-a).exp()) / 2),
       code=entrywise("np.sinh({A})", "np.cosh({A})")),
    Op("cosh", example="cosh(u)", ulps=3.0, reach=(700.0, 85.0),
       forward=np.cosh, vjps=(lambda g, y, a: g * np.sinh(a),),
       exact=mpmath.cosh, sympy=sympy.cosh, ball=by_series(arb.cosh, lambda a: (a.exp() + (-a).exp()) / 2),
       code=entrywise("np.cosh({A})", "np.sinh({A})")),
    Op("arcsinh", example="arcsinh(u)", ulps=3.0,
       forward=np.arcsinh, vjps=(lambda g, y, a: g / np.hypot(1.0, a),),  # a * a is beyond all floats where this is not
       exact=mpmath.asinh, sympy=sympy.asinh, ball=by_slope(rising(arb.asinh), lambda a: (1 + a * a).rsqrt()),
       code=entrywise("np.arcsinh({A})", "1 / np.sqrt(1 + {a}**2)")),
    Op("arccosh", example="arccosh(u + 1)", domain=(FROM_ONE,), ulps=3.0,
       forward=np.arccosh, vjps=(lambda g, y, a: g / (np.sqrt(a - 1.0) * np.sqrt(a + 1.0)),),
       exact=mpmath.acosh, sympy=sympy.acosh,
       ball=inside(1.0, math.inf, by_slope(arb.acosh, lambda a: ((a - 1) * (a + 1)).rsqrt())),
       code=entrywise("np.arccosh({A})", "1 / np.sqrt(({A} - 1) * ({A} + 1))")),
    Op("arctanh", example="arctanh(u / 2)", domain=(BELOW_ONE,), ulps=3.0,
       forward=np.arctanh, vjps=(lambda g, y, a: g / ((1.0 - a) * (1.0 + a)),),
       exact=mpmath.atanh, sympy=sympy.atanh, ball=inside(-1.0, 1.0, by_slope(arb.atanh, _arctanh_slope)),
       code=entrywise("np.arctanh({A})", "1 / ((1 - {a}) * (1 + {a}))")),
)  # fmt: skip

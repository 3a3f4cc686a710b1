"""Hyperbolic functions and their inverses, entry by entry."""

from __future__ import annotations

import math
from typing import Any

import mpmath
import numpy as np
import sympy
from flint import arb, arb_series, ctx

from verify.numbers.ball_math import ONE, ZERO, Number, by_series, by_slope, divide, inside, rising
from verify.ops.code import entrywise
from verify.ops.row import Interval, Op

BELOW_ONE = Interval(-1.0, 1.0, low_open=True, high_open=True)
FROM_ONE = Interval(1.0)


def _tanh_vjp(g: Any, y: Any, a: Any) -> Any:
    e = np.exp(-2.0 * np.abs(a))  # 1 - y**2 loses every digit from a = 19 on, and cosh overflows at 711
    return g * (4.0 * e / ((1.0 + e) * (1.0 + e)))


def tanh_ball(a: Number) -> Number:
    """``tanh(a)``. Flint's series lack it: y and z = 1 - y**2 grow coefficient by coefficient from y' = z a'.

    >>> float(tanh_ball(arb(0))), float(tanh_ball(arb_series([0, 1]))[1])
    (0.0, 1.0)
    """
    if isinstance(a, arb):
        return _tanh(a)
    value = a[0]
    if ctx.cap == 2:
        return arb_series([_tanh(value), a[1] * _sech(value) ** 2])
    y, z = [_tanh(value)], [_sech(value) ** 2]
    moves = [k * a[k] for k in range(1, ctx.cap)]
    for k in range(1, ctx.cap):
        y.append(sum((z[j] * moves[k - 1 - j] for j in range(k)), ZERO) / k)
        z.append(-sum((y[i] * y[k - i] for i in range(k + 1)), ZERO))
    return arb_series(y)


def _tanh(value: arb) -> arb:
    """Wide balls too, on which flint gives up: tanh rises, so the ends of the ball have the ends of the result."""
    y = value.tanh()
    return y if y.is_finite() or not value.is_finite() else value.lower().tanh().union(value.upper().tanh())


def _sech(value: arb) -> arb:
    """The same; sech falls with the distance from 0."""
    y = value.sech()
    return y if y.is_finite() or not value.is_finite() else value.abs_lower().sech().union(value.abs_upper().sech())


def _arctanh_slope(a: Any) -> Number:
    """NaN where the ball ends so close to 1 or -1 that its distance is lost in rounding."""
    return divide(ONE, (1 - a) * (1 + a))


ROWS = (
    Op("sinh", example="sinh(u)", ulps=2.0, reach=(700.0, 85.0),
       forward=np.sinh, vjps=(lambda g, y, a: g * np.cosh(a),),
       exact=mpmath.sinh, sympy=sympy.sinh, ball=by_series(arb.sinh, lambda a: (a.exp() - (-a).exp()) / 2),
       code=entrywise("np.sinh({A})", "np.cosh({A})")),
    Op("cosh", example="cosh(u)", ulps=3.0, reach=(700.0, 85.0),
       forward=np.cosh, vjps=(lambda g, y, a: g * np.sinh(a),),
       exact=mpmath.cosh, sympy=sympy.cosh, ball=by_series(arb.cosh, lambda a: (a.exp() + (-a).exp()) / 2),
       code=entrywise("np.cosh({A})", "np.sinh({A})")),
    Op("tanh", example="tanh(u)", ulps=2.0, reach=(700.0, 85.0), forward=np.tanh, vjps=(_tanh_vjp,),
       exact=mpmath.tanh, sympy=sympy.tanh, ball=tanh_ball, code=entrywise("np.tanh({A})", "1 / np.cosh({A})**2")),
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

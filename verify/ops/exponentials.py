"""Exponentials, logarithms and hyperbolic functions, entry by entry and smooth in their domain."""

from __future__ import annotations

import math
from typing import Any

import mpmath
import numpy as np
import sympy

from verify.ops import ball_functions, sympy_forms
from verify.ops.row import POSITIVE, Interval, Op, elementwise_shape

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


ROWS = (
    Op("expm1", np.expm1, (lambda g, y, a: g * np.exp(a),),  # y + 1 would lose what y does not hold far below 0
       sympy_forms.expm1, mpmath.expm1, elementwise_shape, "expm1(a)", ulps=3.0, ball=ball_functions.expm1),
    Op("log1p", np.log1p, (lambda g, y, a: g / (1.0 + a),), sympy_forms.log1p, mpmath.log1p, elementwise_shape,
       "log1p(a)", (ABOVE_MINUS_ONE,), ulps=3.0, ball=ball_functions.log1p),
    Op("log2", np.log2, (lambda g, y, a: g / (a * _LN2),), lambda a: sympy.log(a) / sympy.log(2),
       lambda a: mpmath.log(a, 2), elementwise_shape, "log2(a)", (POSITIVE,), ulps=4.0, ball=ball_functions.log2),
    Op("log10", np.log10, (lambda g, y, a: g / (a * _LN10),), lambda a: sympy.log(a) / sympy.log(10),
       mpmath.log10, elementwise_shape, "log10(a)", (POSITIVE,), ulps=4.0, ball=ball_functions.log10),
    Op("softplus", _softplus, (_softplus_vjp,), sympy_forms.softplus, _exact_softplus, elementwise_shape, "softplus(a)",
       ulps=4.0, ball=ball_functions.softplus),
    Op("sinh", np.sinh, (lambda g, y, a: g * np.cosh(a),), sympy.sinh, mpmath.sinh, elementwise_shape, "sinh(a)",
       ulps=2.0, ball=ball_functions.sinh),
    Op("cosh", np.cosh, (lambda g, y, a: g * np.sinh(a),), sympy.cosh, mpmath.cosh, elementwise_shape, "cosh(a)",
       ulps=3.0, ball=ball_functions.cosh),
    Op("arcsinh", np.arcsinh, (lambda g, y, a: g / np.sqrt(1.0 + a * a),), sympy.asinh, mpmath.asinh,
       elementwise_shape, "arcsinh(a)", ulps=3.0, ball=ball_functions.arcsinh),
    Op("arccosh", np.arccosh, (lambda g, y, a: g / (np.sqrt(a - 1.0) * np.sqrt(a + 1.0)),), sympy.acosh, mpmath.acosh,
       elementwise_shape, "arccosh(a)", (FROM_ONE,), ulps=3.0, ball=ball_functions.arccosh),
    Op("arctanh", np.arctanh, (lambda g, y, a: g / ((1.0 - a) * (1.0 + a)),), sympy.atanh, mpmath.atanh,
       elementwise_shape, "arctanh(a)", (BELOW_ONE,), ulps=3.0, ball=ball_functions.arctanh),
)  # fmt: skip

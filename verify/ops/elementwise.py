"""Ops that work entry by entry and are smooth in their domain."""

from __future__ import annotations

import math
import operator
from typing import Any

import mpmath
import numpy as np
import sympy

from verify.numbers import ball_forms
from verify.ops import ball_functions, sympy_forms
from verify.ops.row import NONNEGATIVE, NONZERO, POSITIVE, REAL, Op, elementwise_shape, exact_rational


def _sigmoid(a: Any) -> Any:
    e = np.exp(-np.abs(a))  # never overflows, whatever the sign of a
    return np.where(a >= 0, 1.0, e) / (1.0 + e)


def _sigmoid_vjp(g: Any, y: Any, a: Any) -> Any:
    e = np.exp(-np.abs(a))  # y * (1 - y) loses every digit from a = 37 on
    return g * (e / ((1.0 + e) * (1.0 + e)))


def _tanh_vjp(g: Any, y: Any, a: Any) -> Any:
    e = np.exp(-2.0 * np.abs(a))  # 1 - y**2 loses every digit from a = 19 on, and cosh overflows at 711
    return g * (4.0 * e / ((1.0 + e) * (1.0 + e)))


def _erf(a: Any) -> Any:
    from scipy.special import erf  # costs half a second to import, and few cases need it

    return erf(a)


def _erf_vjp(g: Any, y: Any, a: Any) -> Any:
    return g * ((2.0 / math.sqrt(math.pi)) * np.exp(-(a * a)))


def _power_constant_vjp(g: Any, y: Any, a: Any, exponent: float) -> Any:
    if exponent == 0:
        return np.zeros_like(g)  # 0 * a**-1 is not a number at a = 0
    if exponent == 2:
        return g * (2.0 * a)
    return g * (exponent * a ** (exponent - 1.0))


def _exact_power(a: Any, b: Any) -> Any:
    return mpmath.power(a, b)


def _exact_power_constant(a: Any, exponent: float) -> Any:
    return mpmath.power(a, exponent)


def _exact_cbrt(a: Any) -> Any:
    return mpmath.sign(a) * mpmath.cbrt(abs(a))


ROWS = (
    Op("add", np.add, (lambda g, y, a, b: g, lambda g, y, a, b: g),
       lambda a, b: a + b, mpmath.fadd, elementwise_shape, "a + b", (REAL, REAL), source="CS231n, Optimization 2",
       ball=operator.add),
    Op("subtract", np.subtract, (lambda g, y, a, b: g, lambda g, y, a, b: -g),
       lambda a, b: a - b, mpmath.fsub, elementwise_shape, "a - b", (REAL, REAL), ball=operator.sub),
    Op("multiply", np.multiply, (lambda g, y, a, b: g * b, lambda g, y, a, b: g * a),
       lambda a, b: a * b, mpmath.fmul, elementwise_shape, "a * b", (REAL, REAL), source="CS231n, Optimization 2",
       ball=operator.mul),
    Op("divide", np.divide, (lambda g, y, a, b: g / b, lambda g, y, a, b: -(g * y / b)),
       lambda a, b: a / b, mpmath.fdiv, elementwise_shape, "a / b", (REAL, NONZERO), ball=ball_forms.divide),
    Op("power", np.power, (lambda g, y, a, b: g * (b * a ** (b - 1.0)), lambda g, y, a, b: g * (a**b * np.log(a))),
       lambda a, b: a**b, _exact_power, elementwise_shape, "a ** b", (POSITIVE, REAL), ulps=2.0,
       ball=ball_forms.power),
    Op("power_constant", lambda a, exponent: a**exponent,
       (_power_constant_vjp,),
       lambda a, exponent: a ** exact_rational(exponent), _exact_power_constant,
       lambda a, exponent: a, "a ** 2", (REAL,), ulps=2.0, params=("exponent",), ball=ball_forms.power_constant),
    Op("negative", np.negative, (lambda g, y, a: -g,), lambda a: -a, mpmath.fneg, elementwise_shape, "-a", ulps=0.0,
       ball=operator.neg),
    Op("positive", np.positive, (lambda g, y, a: g,), lambda a: +a, lambda a: +a, elementwise_shape, "+a", ulps=0.0,
       ball=operator.pos),
    Op("exp", np.exp, (lambda g, y, a: g * y,), sympy.exp, mpmath.exp, elementwise_shape, "exp(a)", ulps=3.0,
       source="CS231n, Optimization 2", ball=ball_forms.exp),
    Op("log", np.log, (lambda g, y, a: g / a,), sympy.log, mpmath.log, elementwise_shape, "log(a)", (POSITIVE,),
       ulps=4.0, ball=ball_forms.log),
    Op("sqrt", np.sqrt, (lambda g, y, a: g / (2.0 * y),), sympy.sqrt, mpmath.sqrt, elementwise_shape, "sqrt(a)",
       (NONNEGATIVE,), ball=ball_forms.sqrt),
    Op("cbrt", np.cbrt, (lambda g, y, a: g / (3.0 * (y * y)),), sympy_forms.cbrt, _exact_cbrt, elementwise_shape,
       "cbrt(a)", ulps=4.0, ball=ball_functions.cbrt),
    Op("square", np.square, (lambda g, y, a: g * (2.0 * a),), lambda a: a**2, lambda a: a * a, elementwise_shape,
       "square(a)", ball=ball_functions.square),
    Op("reciprocal", np.reciprocal, (lambda g, y, a: -(g * (y * y)),), lambda a: 1 / a, lambda a: 1 / a,
       elementwise_shape, "reciprocal(a)", (NONZERO,), ball=ball_functions.reciprocal),
    Op("sigmoid", _sigmoid, (_sigmoid_vjp,), lambda a: 1 / (1 + sympy.exp(-a)), lambda a: 1 / (1 + mpmath.exp(-a)),
       elementwise_shape, "sigmoid(a)", ulps=4.0, source="CS231n, Optimization 2", ball=ball_forms.sigmoid),
    Op("tanh", np.tanh, (_tanh_vjp,), sympy.tanh, mpmath.tanh, elementwise_shape, "tanh(a)",
       ulps=2.0, ball=ball_forms.tanh),
    Op("sin", np.sin, (lambda g, y, a: g * np.cos(a),), sympy.sin, mpmath.sin, elementwise_shape, "sin(a)",
       ulps=1.0, ball=ball_forms.sin),
    Op("cos", np.cos, (lambda g, y, a: -g * np.sin(a),), sympy.cos, mpmath.cos, elementwise_shape, "cos(a)",
       ulps=1.0, ball=ball_forms.cos),
    Op("erf", _erf, (_erf_vjp,), sympy.erf, mpmath.erf, elementwise_shape, "erf(a)", ulps=2.0, ball=ball_forms.erf),
)  # fmt: skip

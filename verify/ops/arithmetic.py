"""Arithmetic, powers and roots, entry by entry and smooth in their domain."""

from __future__ import annotations

import operator
from collections.abc import Mapping
from typing import Any

import mpmath
import numpy as np
import sympy
from flint import arb, arb_series, ctx

from verify.numbers.ball_math import NAN, ONE, ZERO, Number, divide, head, log, rising, sqrt, without_slope
from verify.ops.code import Entrywise, entrywise, number
from verify.ops.row import NONNEGATIVE, NONZERO, POSITIVE, REAL, Op, exact_rational
from verify.ops.sympy_forms import real_function
from verify.ops.texts import PRODUCT, SIGN, SUM
from verify.ops.trials import UNARY, entry_by_entry


def _power_constant_vjp(g: Any, y: Any, a: Any, exponent: float) -> Any:
    if exponent == 0:
        return np.zeros_like(g)  # 0 * a**-1 is not a number at a = 0
    if exponent == 2:
        return g * (2.0 * a)
    return g * (exponent * a ** (exponent - 1.0))


def _power_ball(a: Number, b: Number) -> Number:
    """For a > 0, and 0 for a = 0 with b > 1."""
    base = head(a)
    if base > 0:
        return (b * log(a)).exp()
    return _vanishing(head(b), a, b) if base == 0 and head(b) > 1 else without_slope(NAN, a, b)


def _power_constant_ball(a: Number, exponent: float) -> Number:
    """Any a for a whole exponent, a > 0 otherwise; at 0 a fractional one gives 0, and an infinite slope below 1."""
    base = head(a)
    if exponent == 0:
        if not base.is_finite():
            return without_slope(NAN, a)
        return arb_series([1]) if isinstance(a, arb_series) else ONE
    if exponent.is_integer():
        power = _whole_power(a, int(abs(exponent)))
        return power if exponent > 0 else divide(ONE, power)
    if base > 0:
        return a ** arb(exponent)
    return _vanishing(exponent, a) if base == 0 and exponent > 0 else without_slope(NAN, a)


def _vanishing(order: arb | float, *like: Number) -> Number:
    """A power ``order`` of something that is 0: coefficients below the order are 0, and the others unknown."""
    if not any(isinstance(a, arb_series) for a in like):
        return ZERO
    return arb_series([ZERO if order > k else NAN for k in range(ctx.cap)])


def _whole_power(a: Number, exponent: int) -> Number:
    """By products where the ball holds 0: flint takes a logarithm there, and knows nothing of what it is."""
    if not head(a).contains(0):
        return a**exponent
    power, square = None, a
    while exponent:
        if exponent & 1:
            power = square if power is None else power * square
        square, exponent = square * square, exponent >> 1
    assert power is not None, "the exponent 0 is the caller's"
    return power


def _power_constant_code(params: Mapping[str, Any]) -> Entrywise:
    n = params["exponent"]
    lower = {0.0: "0", 1.0: "1", 2.0: "2 * {a}", -1.0: "-1 / {a}**2", 0.5: "0.5 / np.sqrt({A})"}
    return entrywise(f"{{a}}**{number(n)}", lower.get(n, f"{number(n)} * {{a}}**{number(n - 1)}"))


def _cbrt_ball(a: Number) -> Number:
    """The real root; at 0 it has a value and no slope."""
    value = head(a)
    if value > 0:
        return a ** (ONE / 3)
    return -_cbrt_ball(-a) if value < 0 else without_slope(rising(_root)(value), a)


def _root(value: arb) -> arb:
    """The cube root of a number whose sign is known; NaN for a ball around 0."""
    if value == 0:
        return ZERO
    if value > 0:
        return value.root(3)
    return -(-value).root(3) if value < 0 else NAN


def _exact_cbrt(a: Any) -> Any:
    return mpmath.sign(a) * mpmath.cbrt(abs(a))


EXPONENTS = (0.0, 1.0, 2.0, 3.0, 7.0, -1.0, -2.0, -3.0, 0.5, 2.5, -0.5, 0.125)
"""All held by float32 too: rounding the literal is no part of the op's own error."""

ROWS = (
    Op("add", spelling="a + b", example="u + b", source="CS231n, Optimization 2",
       forward=np.add, vjps=(lambda g, y, a, b: g, lambda g, y, a, b: g),
       exact=mpmath.fadd, sympy=lambda a, b: a + b, ball=operator.add,
       code=entrywise("{a} + {b}", "1", "1", levels=(SUM, PRODUCT))),
    Op("subtract", spelling="a - b", example="u - b",
       forward=np.subtract, vjps=(lambda g, y, a, b: g, lambda g, y, a, b: -g),
       exact=mpmath.fsub, sympy=lambda a, b: a - b, ball=operator.sub,
       code=entrywise("{a} - {b}", "1", "-1", levels=(SUM, PRODUCT))),
    Op("multiply", spelling="a * b", example="u * b", source="CS231n, Optimization 2",
       forward=np.multiply, vjps=(lambda g, y, a, b: g * b, lambda g, y, a, b: g * a),
       exact=mpmath.fmul, sympy=lambda a, b: a * b, ball=operator.mul,
       code=entrywise("{a} * {b}", "{B}", "{A}", levels=(PRODUCT, SIGN))),
    Op("divide", spelling="a / b", example="u / b", domain=(REAL, NONZERO),
       forward=np.divide, vjps=(lambda g, y, a, b: g / b, lambda g, y, a, b: -(g * y / b)),
       exact=mpmath.fdiv, sympy=lambda a, b: a / b, ball=divide,
       code=entrywise("{a} / {b}", "1 / {b}", "-{a} / {b}**2", levels=(PRODUCT, SIGN))),
    Op("power", spelling="a ** b", example="u ** b", domain=(POSITIVE, REAL), ulps=2.0,
       forward=np.power,
       vjps=(lambda g, y, a, b: g * (b * a ** (b - 1.0)), lambda g, y, a, b: g * (a**b * np.log(a))),
       exact=mpmath.power, sympy=lambda a, b: a**b, ball=_power_ball,
       code=entrywise("{a}**{b}", "{b} * {a}**({B} - 1)", "{y} * np.log({A})")),
    Op("power_constant", spelling="a ** 2", example="u ** 3", ulps=2.0, params=("exponent",),
       shape=lambda a, exponent: a,
       trials=(*entry_by_entry(1, [{"exponent": e} for e in (2.0, -1.0, 0.5)]),
               *((UNARY[:1], {"exponent": e}) for e in EXPONENTS)),
       forward=lambda a, exponent: a**exponent, vjps=(_power_constant_vjp,),
       exact=lambda a, exponent: mpmath.power(a, mpmath.mpf(exponent)),
       sympy=lambda a, exponent: a ** exact_rational(exponent),
       ball=_power_constant_ball, code=_power_constant_code),
    Op("negative", spelling="-a", example="-u", ulps=0.0, forward=np.negative, vjps=(lambda g, y, a: -g,),
       exact=mpmath.fneg, sympy=operator.neg, ball=operator.neg, code=entrywise("-{a}", "-1", levels=(SIGN,))),
    Op("positive", spelling="+a", example="+u", ulps=0.0, forward=np.positive, vjps=(lambda g, y, a: g,),
       exact=operator.pos, sympy=operator.pos, ball=operator.pos, code=entrywise("+{a}", "1", levels=(SIGN,))),
    Op("sqrt", example="sqrt(u)", domain=(NONNEGATIVE,), forward=np.sqrt, vjps=(lambda g, y, a: g / (2.0 * y),),
       exact=mpmath.sqrt, sympy=sympy.sqrt, ball=sqrt, code=entrywise("np.sqrt({A})", "0.5 / {y}")),
    Op("cbrt", example="cbrt(u)", ulps=4.0, forward=np.cbrt, vjps=(lambda g, y, a: g / (3.0 * (y * y)),),
       exact=_exact_cbrt, sympy=real_function("cbrt", _exact_cbrt, lambda a, y: 1 / (3 * y**2), sign_of=True),
       ball=_cbrt_ball, code=entrywise("np.cbrt({A})", "1 / (3 * {y}**2)")),
    Op("square", example="square(u)", forward=np.square, vjps=(lambda g, y, a: g * (2.0 * a),),
       exact=lambda a: a * a, sympy=lambda a: a**2, ball=lambda a: a**2, code=entrywise("{a}**2", "2 * {a}")),
    Op("reciprocal", example="reciprocal(u)", domain=(NONZERO,),
       forward=np.reciprocal, vjps=(lambda g, y, a: -(g * (y * y)),),
       exact=lambda a: 1 / a, sympy=lambda a: 1 / a, ball=lambda a: divide(ONE, a),
       code=entrywise("1 / {a}", "-1 / {a}**2")),
)  # fmt: skip

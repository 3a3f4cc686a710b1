"""Trigonometric functions and their inverses, entry by entry."""

from __future__ import annotations

from typing import Any

import mpmath
import numpy as np
import sympy
from flint import arb, arb_series

from verify.numbers.ball_math import NAN, ZERO, Number, by_series, divide, head, inside, rising, without_slope
from verify.ops.code import entrywise
from verify.ops.row import Interval, Jump, Op

UP_TO_ONE = Interval(-1.0, 1.0)


def _arcsin_vjp(g: Any, y: Any, a: Any) -> Any:
    return g / np.sqrt((1.0 - a) * (1.0 + a))  # 1 - a**2 loses the digits of 1 - a close to 1


def _to_the_cut(a: Any, b: Any) -> Any:
    """How far a point (b, a) is from where its angle jumps by a turn: from the half line a = 0, b <= 0."""
    return np.where(b < 0, np.abs(a), np.hypot(a, b))


_arctan_ball = by_series(rising(arb.atan), arb_series.atan)


def _arctan2_ball(a: Number, b: Number) -> Number:
    """The angle of the point (b, a); it jumps by a turn where a = 0 and b < 0, and has no slope there or at (0, 0)."""
    above, right = head(a), head(b)
    if right > 0:
        return _arctan_ball(divide(a, b))
    if above > 0 or above < 0:
        quarter = arb.pi() / 2
        return (quarter if above > 0 else -quarter) - _arctan_ball(divide(b, a))
    if above == 0 and (right < 0 or right == 0):
        return without_slope(arb.pi() if right < 0 else ZERO, a, b)
    anywhere = arb(0, 1) * arb.pi() if above.is_finite() and right.is_finite() else NAN
    return without_slope(anywhere, a, b)


def _over_square(x: Any, a: Any, b: Any) -> Any:
    """``x / (a**2 + b**2)`` where the squares are beyond all floats too, or below them."""
    length = np.hypot(a, b)
    return x / length / length


def _arctan_vjp(g: Any, y: Any, a: Any) -> Any:
    return g * _over_square(1.0, 1.0, a)


ROWS = (
    Op("sin", example="sin(u)", ulps=1.0, forward=np.sin, vjps=(lambda g, y, a: g * np.cos(a),),
       exact=mpmath.sin, sympy=sympy.sin, ball=lambda a: a.sin(), code=entrywise("np.sin({A})", "np.cos({A})")),
    Op("cos", example="cos(u)", ulps=1.0, forward=np.cos, vjps=(lambda g, y, a: -g * np.sin(a),),
       exact=mpmath.cos, sympy=sympy.cos, ball=lambda a: a.cos(), code=entrywise("np.cos({A})", "-np.sin({A})")),
    Op("tan", example="tan(u / 2)", ulps=4.0, forward=np.tan, vjps=(lambda g, y, a: g * (1.0 + y * y),),
       exact=mpmath.tan, sympy=sympy.tan, ball=lambda a: a.tan(), code=entrywise("np.tan({A})", "1 / np.cos({A})**2")),
    Op("arcsin", example="arcsin(u / 2)", domain=(UP_TO_ONE,), ulps=4.0, forward=np.arcsin, vjps=(_arcsin_vjp,),
       exact=mpmath.asin, sympy=sympy.asin, ball=inside(-1.0, 1.0, lambda a: a.asin()),
       code=entrywise("np.arcsin({A})", "1 / np.sqrt((1 - {a}) * (1 + {a}))")),
    Op("arccos", example="arccos(u / 2)", domain=(UP_TO_ONE,), ulps=4.0,
       forward=np.arccos, vjps=(lambda g, y, a: -_arcsin_vjp(g, y, a),),
       exact=mpmath.acos, sympy=sympy.acos, ball=inside(-1.0, 1.0, lambda a: a.acos()),
       code=entrywise("np.arccos({A})", "-1 / np.sqrt((1 - {a}) * (1 + {a}))")),
    Op("arctan", example="arctan(u)", ulps=4.0, forward=np.arctan, vjps=(_arctan_vjp,),
       exact=mpmath.atan, sympy=sympy.atan, ball=_arctan_ball, code=entrywise("np.arctan({A})", "1 / (1 + {a}**2)")),
    Op("arctan2", example="arctan2(u, b)", ulps=4.0, singular=Jump(_to_the_cut, flat=False), forward=np.arctan2,
       vjps=(lambda g, y, a, b: g * _over_square(b, a, b), lambda g, y, a, b: -g * _over_square(a, a, b)),
       exact=mpmath.atan2, sympy=sympy.atan2, ball=_arctan2_ball,
       code=entrywise("np.arctan2({A}, {B})", "{b} / ({a}**2 + {b}**2)", "-{a} / ({a}**2 + {b}**2)")),
)  # fmt: skip

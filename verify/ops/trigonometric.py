"""Trigonometric functions and their inverses, entry by entry."""

from __future__ import annotations

from typing import Any

import mpmath
import numpy as np
import sympy

from verify.ops import ball_functions
from verify.ops.row import REAL, Interval, Jump, Op, elementwise_shape

UP_TO_ONE = Interval(-1.0, 1.0)


def _arcsin_vjp(g: Any, y: Any, a: Any) -> Any:
    return g / np.sqrt((1.0 - a) * (1.0 + a))  # 1 - a**2 loses the digits of 1 - a close to 1


def _to_the_cut(a: Any, b: Any) -> Any:
    """How far a point (b, a) is from where its angle jumps by a turn: from the half line a = 0, b <= 0."""
    return np.where(b < 0, np.abs(a), np.hypot(a, b))


ROWS = (
    Op("tan", np.tan, (lambda g, y, a: g * (1.0 + y * y),), sympy.tan, mpmath.tan, elementwise_shape, "tan(a)",
       ulps=4.0, ball=ball_functions.tan),
    Op("arcsin", np.arcsin, (_arcsin_vjp,), sympy.asin, mpmath.asin, elementwise_shape, "arcsin(a)", (UP_TO_ONE,),
       ulps=4.0, ball=ball_functions.arcsin),
    Op("arccos", np.arccos, (lambda g, y, a: -_arcsin_vjp(g, y, a),), sympy.acos, mpmath.acos, elementwise_shape,
       "arccos(a)", (UP_TO_ONE,), ulps=4.0, ball=ball_functions.arccos),
    Op("arctan", np.arctan, (lambda g, y, a: g / (1.0 + a * a),), sympy.atan, mpmath.atan, elementwise_shape,
       "arctan(a)", ulps=4.0, ball=ball_functions.arctan),
    Op("arctan2", np.arctan2,
       (lambda g, y, a, b: g * (b / (a * a + b * b)), lambda g, y, a, b: -g * (a / (a * a + b * b))),
       sympy.atan2, mpmath.atan2, elementwise_shape, "arctan2(a, b)", (REAL, REAL), ulps=4.0,
       singular=Jump(_to_the_cut, flat=False), ball=ball_functions.arctan2),
)  # fmt: skip

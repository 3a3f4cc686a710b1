"""Ops that work entry by entry and have places without a derivative: branches that meet, lengths at 0, jumps."""

from __future__ import annotations

from typing import Any

import mpmath
import numpy as np
import sympy

from verify.ops import ball_forms
from verify.ops.row import REAL, Jump, Kink, Op, UnitBall, elementwise_shape


def _choice(g: Any, first: Any, second: Any, tie: float) -> Any:
    """Upstream gradient where this argument wins, ``tie`` of it where the two are equal."""
    won = np.where(first > second, g, 0.0)
    return won + np.where(first == second, g * tie, 0.0) if tie else won


def _length_vjp(g: Any, y: Any, a: Any) -> Any:
    """Upstream gradient times the share of one operand in a length; 0, one of its subgradients, where that is 0."""
    return g * (a / np.where(y == 0, 1.0, y))


def _flat_vjp(g: Any, y: Any, a: Any) -> Any:
    return np.zeros_like(g)


MAX_TIES = {"first": (1.0, 0.0), "both": (1.0, 1.0), "half": (0.5, 0.5)}
STEP_TIES = {"zero": (0.0, 1.0), "one": (1.0, 0.0), "half": (0.5, 0.5)}
ABS_TIES = {"zero": (0.5, 0.5), "one": (1.0, 0.0), "minus_one": (0.0, 1.0)}

ROWS = (
    Op("max", lambda a, b, tie: np.maximum(a, b),
       (lambda g, y, a, b, tie: _choice(g, a, b, tie[0]), lambda g, y, a, b, tie: _choice(g, b, a, tie[1])),
       sympy.Max, max, elementwise_shape, "max(a, b)", (REAL, REAL), ulps=0.0,
       kink=Kink(lambda a, b: a - b, (lambda a, b: a, lambda a, b: b), MAX_TIES), source="CS231n, Optimization 2",
       ball=ball_forms.maximum),
    Op("min", lambda a, b, tie: np.minimum(a, b),
       (lambda g, y, a, b, tie: _choice(g, b, a, tie[0]), lambda g, y, a, b, tie: _choice(g, a, b, tie[1])),
       sympy.Min, min, elementwise_shape, "min(a, b)", (REAL, REAL), ulps=0.0,
       kink=Kink(lambda a, b: b - a, (lambda a, b: a, lambda a, b: b), MAX_TIES), ball=ball_forms.minimum),
    Op("relu", lambda a, tie: np.maximum(a, 0.0), (lambda g, y, a, tie: _choice(g, a, 0.0, tie[0]),),
       lambda a: sympy.Max(a, 0), lambda a: a if a > 0 else a * 0, elementwise_shape, "relu(a)", ulps=0.0,
       kink=Kink(lambda a: a, (lambda a: a, lambda a: a * 0.0), STEP_TIES), source="CS231n, Optimization 2",
       ball=ball_forms.relu),
    Op("abs", lambda a, tie: np.abs(a),
       (lambda g, y, a, tie: _choice(g, a, 0.0, tie[0]) - _choice(g, 0.0, a, tie[1]),),
       sympy.Abs, abs, elementwise_shape, "abs(a)", ulps=0.0,
       kink=Kink(lambda a: a, (lambda a: a, lambda a: -a), ABS_TIES), ball=ball_forms.absolute),
    Op("hypot", np.hypot, (lambda g, y, a, b: _length_vjp(g, y, a), lambda g, y, a, b: _length_vjp(g, y, b)),
       lambda a, b: sympy.sqrt(a**2 + b**2), mpmath.hypot, elementwise_shape, "hypot(a, b)", (REAL, REAL), ulps=1.0,
       singular=UnitBall(), ball=ball_forms.hypot),
    Op("sign", np.sign, (_flat_vjp,), sympy.sign, mpmath.sign, elementwise_shape, "sign(a)", ulps=0.0,
       singular=Jump(np.abs), ball=ball_forms.sign),
)  # fmt: skip

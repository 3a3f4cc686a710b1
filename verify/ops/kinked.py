"""Ops that work entry by entry and have places without a derivative: branches that meet, lengths at 0, jumps."""

from __future__ import annotations

from typing import Any

import mpmath
import numpy as np
import sympy
from flint import arb

from verify.errors import ShapeError
from verify.numbers import ball_forms
from verify.numbers.ball_forms import Number
from verify.ops import ball_functions, sympy_forms
from verify.ops.row import REAL, Jump, Kink, Op, Shape, UnitBall, elementwise_shape, exact_rational


def _kept(taken: Any, g: Any) -> Any:
    """Upstream gradient where a branch is taken, else 0; infinite ones too, for which a product would give NaN."""
    if isinstance(g, np.ndarray):
        kept = g * taken  # several times as fast as a choice entry by entry
        if np.isfinite(np.sum(kept)):
            return kept
    return np.where(taken, g, 0.0)


def _choice(g: Any, first: Any, second: Any, tie: float) -> Any:
    """Upstream gradient where this argument wins, ``tie`` of it where the two are equal."""
    if tie == 1:
        return _kept(first >= second, g)
    won = _kept(first > second, g)
    return won + _kept(first == second, g * tie) if tie else won


def _abs_vjp(g: Any, y: Any, a: Any, tie: tuple[float, float]) -> Any:
    pulled = _kept(a > 0, g) - _kept(a < 0, g)
    return pulled + _kept(a == 0, g * (tie[0] - tie[1])) if tie[0] != tie[1] else pulled


def _length_vjp(g: Any, y: Any, a: Any) -> Any:
    """Upstream gradient times the share of one operand in a length; 0, one of its subgradients, where that is 0."""
    return g * (a / (np.where(y == 0, 1.0, y) if np.any(y == 0) else y))


def _flat_vjp(g: Any, y: Any, a: Any) -> Any:
    return np.zeros_like(g)


def _clip_vjp(g: Any, y: Any, a: Any, tie: tuple[float, float], lo: float, hi: float) -> Any:
    if tie[0] == 1:
        return _kept((a >= lo) & (a <= hi), g)
    kept = _kept((a > lo) & (a < hi), g)
    return kept + _kept((a == lo) | (a == hi), g * tie[0]) if tie[0] else kept


def _leaky_relu_vjp(g: Any, y: Any, a: Any, tie: tuple[float, float], slope: float) -> Any:
    return _one_sided(g, g * slope, a, tie)


def _clip_shape(a: Shape, lo: float, hi: float) -> Shape:
    if not lo < hi:
        raise ShapeError(f"clip needs its lower bound below its upper one, got lo={lo:g} and hi={hi:g}")
    return a


def _elu(a: Any, tie: tuple[float, float], alpha: float) -> Any:
    return np.where(a > 0, a, alpha * np.expm1(np.minimum(a, 0.0)))


def _elu_vjp(g: Any, y: Any, a: Any, tie: tuple[float, float], alpha: float) -> Any:
    return _one_sided(g, g * (alpha * np.exp(np.minimum(a, 0.0))), a, tie)


def _one_sided(above: Any, below: Any, a: Any, tie: tuple[float, float]) -> Any:
    """What comes back above 0 and below it, and at 0 so much of each as the convention says."""
    if tie == (0.0, 1.0):
        return np.where(a > 0, above, below)
    return np.where(a > 0, above, np.where(a < 0, below, above * tie[0] + below * tie[1]))


def _between(a: Any, lo: float, hi: float) -> Any:
    """Positive between the bounds, negative outside, with slope 1 and -1 where it is 0."""
    return (a - lo) * (hi - a) * (1.0 / (hi - lo))


def _nearest_bound(a: Any, lo: float, hi: float) -> Any:
    """The bound that ``a`` is cut to outside, on arrays, balls and series."""
    middle = lo / 2 + hi / 2
    if isinstance(a, Number):
        return arb(lo if ball_forms.head(a) < middle else hi)
    return np.where(a < middle, lo, hi) + np.zeros_like(a)


def _grown(a: Any, alpha: float) -> Any:
    """``alpha * (exp(a) - 1)`` on arrays, balls and series."""
    return arb(alpha) * ball_functions.expm1(a) if isinstance(a, Number) else alpha * np.expm1(a)


def _selected(taken: Any, a: Any, b: Any, x: Any, y: Any) -> Any:
    """One of two where a comparison decides; balls are told where it may decide otherwise."""
    chosen, argument = np.where(taken, x, y), a - b
    return argument.in_doubt(chosen, x, y) if hasattr(argument, "in_doubt") else chosen


def _unmoved(g: Any, *_: Any, **__: Any) -> Any:
    """What decides between branches does not move the value."""
    return np.zeros_like(g)


def _to_whole(a: Any) -> Any:
    """How far from the nearest whole number."""
    return np.abs(a - np.rint(a))


MAX_TIES = {"first": (1.0, 0.0), "both": (1.0, 1.0), "half": (0.5, 0.5)}
STEP_TIES = {"zero": (0.0, 1.0), "one": (1.0, 0.0), "half": (0.5, 0.5)}
CLIP_TIES = {"inside": (1.0, 0.0), "outside": (0.0, 1.0), "half": (0.5, 0.5)}
LEAKY_TIES = {"below": (0.0, 1.0), "above": (1.0, 0.0), "half": (0.5, 0.5)}
WHERE_TIES = {"second": (0.0, 1.0), "first": (1.0, 0.0), "half": (0.5, 0.5)}
WHERE_OR_EQUAL_TIES = {"first": (1.0, 0.0), "second": (0.0, 1.0), "half": (0.5, 0.5)}
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
    Op("leaky_relu", lambda a, tie, slope: np.where(a > 0, a, a * slope), (_leaky_relu_vjp,),
       lambda a, slope: sympy.Max(a, 0) + exact_rational(slope) * sympy.Min(a, 0),
       lambda a, slope: a if a > 0 else slope * a, elementwise_shape, "leaky_relu(a, slope)",
       params=("slope",), numbers={"slope": 0.01}, ball=ball_functions.leaky_relu,
       kink=Kink(lambda a, slope: a, (lambda a, slope: a, lambda a, slope: a * slope), LEAKY_TIES)),
    Op("elu", _elu, (_elu_vjp,),
       lambda a, alpha: sympy.Max(a, 0) + exact_rational(alpha) * sympy_forms.expm1(sympy.Min(a, 0)),
       lambda a, alpha: a if a > 0 else alpha * mpmath.expm1(a), elementwise_shape, "elu(a, alpha)",
       ulps=4.0, params=("alpha",), numbers={"alpha": 1.0}, ball=ball_functions.elu,
       kink=Kink(lambda a, alpha: a, (lambda a, alpha: a, _grown), LEAKY_TIES)),
    Op("clip", lambda a, tie, lo, hi: np.minimum(np.maximum(a, lo), hi), (_clip_vjp,),
       lambda a, lo, hi: sympy.Max(exact_rational(lo), sympy.Min(a, exact_rational(hi))),
       lambda a, lo, hi: min(max(a, lo), hi), _clip_shape, "clip(a, lo, hi)", ulps=0.0,
       params=("lo", "hi"), numbers={"lo": None, "hi": None}, ball=ball_functions.clip,
       kink=Kink(_between, (lambda a, lo, hi: a, _nearest_bound), CLIP_TIES)),
    Op("where", lambda a, b, x, y, tie: _selected(a > b, a, b, x, y),
       (_unmoved, _unmoved, lambda g, v, a, b, x, y, tie: _choice(g, a, b, tie[0]),
        lambda g, v, a, b, x, y, tie: _choice(g, b, a, tie[1])),
       sympy_forms.where, lambda a, b, x, y: x if a > b else y, elementwise_shape, "where(a > b, x, y)", (REAL,) * 4,
       ulps=0.0, ball=ball_functions.where,
       kink=Kink(lambda a, b, x, y: a - b, (lambda a, b, x, y: x, lambda a, b, x, y: y), WHERE_TIES, meets=False)),
    Op("where_or_equal", lambda a, b, x, y, tie: _selected(a >= b, a, b, x, y),
       (_unmoved, _unmoved, lambda g, v, a, b, x, y, tie: _choice(g, a, b, tie[0]),
        lambda g, v, a, b, x, y, tie: _choice(g, b, a, tie[1])),
       sympy_forms.where_or_equal, lambda a, b, x, y: x if a >= b else y, elementwise_shape, "where(a >= b, x, y)",
       (REAL,) * 4, ulps=0.0, ball=ball_functions.where_or_equal,
       kink=Kink(lambda a, b, x, y: a - b, (lambda a, b, x, y: x, lambda a, b, x, y: y), WHERE_OR_EQUAL_TIES,
                 meets=False)),
    Op("abs", lambda a, tie: np.abs(a), (_abs_vjp,),
       sympy.Abs, abs, elementwise_shape, "abs(a)", ulps=0.0,
       kink=Kink(lambda a: a, (lambda a: a, lambda a: -a), ABS_TIES), ball=ball_forms.absolute),
    Op("hypot", np.hypot, (lambda g, y, a, b: _length_vjp(g, y, a), lambda g, y, a, b: _length_vjp(g, y, b)),
       lambda a, b: sympy.sqrt(a**2 + b**2), mpmath.hypot, elementwise_shape, "hypot(a, b)", (REAL, REAL), ulps=1.0,
       singular=UnitBall(), ball=ball_forms.hypot),
    Op("sign", np.sign, (_flat_vjp,), sympy.sign, mpmath.sign, elementwise_shape, "sign(a)", ulps=0.0,
       singular=Jump(np.abs), ball=ball_forms.sign),
    Op("floor", np.floor, (_flat_vjp,), sympy_forms.floor, mpmath.floor, elementwise_shape, "floor(a)", ulps=0.0,
       singular=Jump(_to_whole), ball=ball_functions.floor),
    Op("ceil", np.ceil, (_flat_vjp,), sympy_forms.ceil, mpmath.ceil, elementwise_shape, "ceil(a)", ulps=0.0,
       singular=Jump(_to_whole), ball=ball_functions.ceil),
)  # fmt: skip

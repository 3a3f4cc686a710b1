"""Ops that work entry by entry and have places without a derivative: branches that meet, lengths at 0, jumps."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import mpmath
import numpy as np
import sympy
from flint import arb, arb_series

from verify.errors import ShapeError
from verify.numbers.ball_math import (
    NAN,
    ONE,
    ZERO,
    Number,
    absolute,
    either,
    head,
    length,
    maximum,
    minimum,
    with_slope,
    without_slope,
)
from verify.ops import sympy_forms
from verify.ops.code import TINY, Entrywise, entrywise, number
from verify.ops.exponentials import expm1_ball, sympy_expm1
from verify.ops.row import Jump, Kink, Op, Shape, UnitBall, exact_rational
from verify.ops.sympy_forms import real_function
from verify.ops.trials import entry_by_entry


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
        return arb(lo if head(a) < middle else hi)
    return np.where(a < middle, lo, hi) + np.zeros_like(a)


def _grown(a: Any, alpha: float) -> Any:
    """``alpha * (exp(a) - 1)`` on arrays, balls and series."""
    return arb(alpha) * expm1_ball(a) if isinstance(a, Number) else alpha * np.expm1(a)


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


# ------------------------------------------------------------------------------------------------------------ in balls


def _by_sign(a: Number, above: Callable[[Number], Number], below: Callable[[Number], Number]) -> Number:
    """Two branches that meet at 0; where the sign is undecided, what holds both."""
    value = head(a)
    if value > 0:
        return above(a)
    return below(a) if value < 0 else either(above(a), below(a))


def _sign_ball(a: Number) -> Number:
    """At 0 it jumps and has no slope."""
    value = head(a)
    if value > 0 or value < 0:
        return with_slope(ONE if value > 0 else -ONE, ZERO, a)
    if value == 0:
        return without_slope(ZERO, a)
    return without_slope(arb(0, 1) if value.is_finite() else NAN, a)


def _steps(a: Number, value: arb) -> Number:
    """At whole numbers it jumps and has no slope."""
    if not isinstance(a, arb_series) or not value.is_exact() or head(a).contains_integer():
        return without_slope(value, a)
    return arb_series([value])


def _where_ball(a: Number, b: Number, x: Number, y: Number) -> Number:
    """``x`` where ``a > b``, else ``y``; the branch that is not taken may be anything, NaN too.

    Where it is undecided, and where a = b, there is no slope: whether the branches meet is not known here.
    """
    first, second = head(a), head(b)
    if first > second:
        return x
    if first < second:
        return y
    if first == second:
        return without_slope(head(y), a, b, x, y)
    return without_slope(head(either(head(x), head(y))), a, b, x, y)


# --------------------------------------------------------------------------------------------------- as it is written


def _wins(first: str, second: str, tie: float) -> str:
    """1 where ``first`` is the larger, the convention's share where both are equal."""
    if tie in (0.0, 1.0):
        return f"{first} {'>=' if tie else '>'} {second}"
    return f"({first} > {second}) + {tie} * ({first} == {second})"


def _larger(name: str, first: str, second: str) -> Callable[[Mapping[str, Any]], Entrywise]:
    """An op of two operands, of which the one that is the larger, ``first`` or ``second``, gets the gradient."""
    return lambda params: entrywise(
        f"np.{name}({{A}}, {{B}})",
        _wins(first, second, params["tie"][0]),
        _wins(second, first, params["tie"][1]),
    )


def _absolute_code(params: Mapping[str, Any]) -> Entrywise:
    above, below = params["tie"]
    if above == below:
        return entrywise("np.abs({A})", "np.sign({A})")
    return entrywise("np.abs({A})", f"({_wins('{A}', '0', above)}) - 1.0 * ({_wins('0', '{A}', below)})")


def _sided(below: str, tie: Sequence[float]) -> str:
    """The local derivative 1 above 0 and another one below, and at 0 so much of each as the convention says."""
    if tuple(tie) in ((0.0, 1.0), (1.0, 0.0)):
        return f"np.where({{A}} {'>=' if tie[0] else '>'} 0, 1.0, {below})"
    return f"np.where({{A}} == 0, {tie[0]} * 1.0 + {tie[1]} * {below}, np.where({{A}} > 0, 1.0, {below}))"


def _leaky_relu_code(params: Mapping[str, Any]) -> Entrywise:
    slope = number(params["slope"])
    return entrywise(f"np.where({{A}} > 0, {{A}}, {slope} * {{a}})", _sided(slope, params["tie"]))


def _elu_code(params: Mapping[str, Any]) -> Entrywise:
    alpha = number(params["alpha"])
    times = "" if alpha == "1" else f"{alpha} * "
    local = _sided(f"{times}np.exp(np.minimum({{A}}, 0))", params["tie"])
    return entrywise(f"np.where({{A}} > 0, {{A}}, {times}np.expm1(np.minimum({{A}}, 0)))", local)


def _clip_code(params: Mapping[str, Any]) -> Entrywise:
    low, high, inside = number(params["lo"]), number(params["hi"]), params["tie"][0]
    sign = "<=" if inside == 1.0 else "<"
    local = f"({low} {sign} {{A}}) * ({{A}} {sign} {high})"
    if inside not in (0.0, 1.0):
        local = f"{local} + {inside} * (({{A}} == {low}) | ({{A}} == {high}))"
    return entrywise(f"np.clip({{A}}, {low}, {high})", local)


def _where_code(sign: str) -> Callable[[Mapping[str, Any]], Entrywise]:
    def code(params: Mapping[str, Any]) -> Entrywise:
        first, second = params["tie"]
        taken = (_wins("{A}", "{B}", first), _wins("{B}", "{A}", second))
        return entrywise(f"np.where({{A}} {sign} {{B}}, {{C}}, {{D}})", "0", "0", *taken)

    return code


MAX_TIES = {"first": (1.0, 0.0), "both": (1.0, 1.0), "half": (0.5, 0.5)}
STEP_TIES = {"zero": (0.0, 1.0), "one": (1.0, 0.0), "half": (0.5, 0.5)}
CLIP_TIES = {"inside": (1.0, 0.0), "outside": (0.0, 1.0), "half": (0.5, 0.5)}
LEAKY_TIES = {"below": (0.0, 1.0), "above": (1.0, 0.0), "half": (0.5, 0.5)}
WHERE_TIES = {"second": (0.0, 1.0), "first": (1.0, 0.0), "half": (0.5, 0.5)}
WHERE_OR_EQUAL_TIES = {"first": (1.0, 0.0), "second": (0.0, 1.0), "half": (0.5, 0.5)}
ABS_TIES = {"zero": (0.5, 0.5), "one": (1.0, 0.0), "minus_one": (0.0, 1.0)}

_WHERE_VJPS = (
    _unmoved,
    _unmoved,
    lambda g, v, a, b, x, y, tie: _choice(g, a, b, tie[0]),
    lambda g, v, a, b, x, y, tie: _choice(g, b, a, tie[1]),
)
_WHERE_KINK = (lambda a, b, x, y: a - b, (lambda a, b, x, y: x, lambda a, b, x, y: y))

ROWS = (
    Op("max", example="max(u, b)", ulps=0.0, source="CS231n, Optimization 2",
       forward=lambda a, b, tie: np.maximum(a, b),
       vjps=(lambda g, y, a, b, tie: _choice(g, a, b, tie[0]), lambda g, y, a, b, tie: _choice(g, b, a, tie[1])),
       kink=Kink(lambda a, b: a - b, (lambda a, b: a, lambda a, b: b), MAX_TIES),
       exact=max, sympy=sympy.Max, ball=maximum, code=_larger("maximum", "{A}", "{B}")),
    Op("min", example="min(u, b)", ulps=0.0,
       forward=lambda a, b, tie: np.minimum(a, b),
       vjps=(lambda g, y, a, b, tie: _choice(g, b, a, tie[0]), lambda g, y, a, b, tie: _choice(g, a, b, tie[1])),
       kink=Kink(lambda a, b: b - a, (lambda a, b: a, lambda a, b: b), MAX_TIES),
       exact=min, sympy=sympy.Min, ball=minimum, code=_larger("minimum", "{B}", "{A}")),
    Op("relu", example="relu(u - 1)", ulps=0.0, source="CS231n, Optimization 2",
       forward=lambda a, tie: np.maximum(a, 0.0), vjps=(lambda g, y, a, tie: _choice(g, a, 0.0, tie[0]),),
       kink=Kink(lambda a: a, (lambda a: a, lambda a: a * 0.0), STEP_TIES),
       exact=lambda a: a if a > 0 else a * 0, sympy=lambda a: sympy.Max(a, 0), ball=lambda a: maximum(a, ZERO),
       code=lambda params: entrywise("np.maximum({A}, 0)", _wins("{A}", "0", params["tie"][0]))),
    Op("leaky_relu", spelling="leaky_relu(a, slope)", example="leaky_relu(u - 1, 0.1)",
       params=("slope",), numbers={"slope": 0.01}, trials=entry_by_entry(1, [{"slope": 0.125}, {"slope": -0.5}]),
       forward=lambda a, tie, slope: np.where(a > 0, a, a * slope), vjps=(_leaky_relu_vjp,),
       kink=Kink(lambda a, slope: a, (lambda a, slope: a, lambda a, slope: a * slope), LEAKY_TIES),
       exact=lambda a, slope: a if a > 0 else slope * a,
       sympy=lambda a, slope: sympy.Max(a, 0) + exact_rational(slope) * sympy.Min(a, 0),
       ball=lambda a, slope: _by_sign(a, lambda x: x, lambda x: arb(slope) * x), code=_leaky_relu_code),
    Op("elu", spelling="elu(a, alpha)", example="elu(u - 1, 0.5)", ulps=4.0,
       params=("alpha",), numbers={"alpha": 1.0}, trials=entry_by_entry(1, [{"alpha": 1.0}, {"alpha": 0.75}]),
       forward=_elu, vjps=(_elu_vjp,), kink=Kink(lambda a, alpha: a, (lambda a, alpha: a, _grown), LEAKY_TIES),
       exact=lambda a, alpha: a if a > 0 else alpha * mpmath.expm1(a),
       sympy=lambda a, alpha: sympy.Max(a, 0) + exact_rational(alpha) * sympy_expm1(sympy.Min(a, 0)),
       ball=lambda a, alpha: _by_sign(a, lambda x: x, lambda x: arb(alpha) * expm1_ball(x)), code=_elu_code),
    Op("clip", spelling="clip(a, lo, hi)", example="clip(u, 0.8, 1.2)", ulps=0.0, shape=_clip_shape,
       params=("lo", "hi"), numbers={"lo": None, "hi": None}, trials=entry_by_entry(1, [{"lo": -0.5, "hi": 1.25}]),
       forward=lambda a, tie, lo, hi: np.minimum(np.maximum(a, lo), hi), vjps=(_clip_vjp,),
       kink=Kink(_between, (lambda a, lo, hi: a, _nearest_bound), CLIP_TIES),
       exact=lambda a, lo, hi: min(max(a, lo), hi),
       sympy=lambda a, lo, hi: sympy.Max(exact_rational(lo), sympy.Min(a, exact_rational(hi))),
       ball=lambda a, lo, hi: minimum(maximum(a, arb(lo)), arb(hi)), code=_clip_code),
    Op("where", spelling="where(a > b, x, y)", example="where(u > b, u * b, b * b)", ulps=0.0,
       forward=lambda a, b, x, y, tie: _selected(a > b, a, b, x, y), vjps=_WHERE_VJPS,
       kink=Kink(*_WHERE_KINK, WHERE_TIES, meets=False),
       exact=lambda a, b, x, y: x if a > b else y, sympy=sympy_forms.where, ball=_where_ball, code=_where_code(">")),
    Op("where_or_equal", spelling="where(a >= b, x, y)", example="where(u >= b, u * b, b * b)", ulps=0.0,
       forward=lambda a, b, x, y, tie: _selected(a >= b, a, b, x, y), vjps=_WHERE_VJPS,
       kink=Kink(*_WHERE_KINK, WHERE_OR_EQUAL_TIES, meets=False),
       exact=lambda a, b, x, y: x if a >= b else y, sympy=sympy_forms.where_or_equal,
       ball=lambda a, b, x, y: _where_ball(b, a, y, x), code=_where_code(">=")),
    Op("abs", example="abs(u - 1)", ulps=0.0, forward=lambda a, tie: np.abs(a), vjps=(_abs_vjp,),
       kink=Kink(lambda a: a, (lambda a: a, lambda a: -a), ABS_TIES),
       exact=abs, sympy=sympy.Abs, ball=absolute, code=_absolute_code),
    Op("hypot", example="hypot(u, b)", ulps=1.0, singular=UnitBall(), forward=np.hypot,
       vjps=(lambda g, y, a, b: _length_vjp(g, y, a), lambda g, y, a, b: _length_vjp(g, y, b)),
       exact=mpmath.hypot, sympy=lambda a, b: sympy.sqrt(a**2 + b**2), ball=length,
       code=entrywise("np.hypot({A}, {B})", *(f"{{{x}}} / np.maximum({{y}}, {TINY})" for x in "ab"))),
    Op("sign", example="sign(u - 1)", ulps=0.0, singular=Jump(np.abs), forward=np.sign, vjps=(_flat_vjp,),
       exact=mpmath.sign, sympy=sympy.sign, ball=_sign_ball, code=entrywise("np.sign({A})", "0")),
    Op("floor", example="floor(3 * u) * u", ulps=0.0, singular=Jump(_to_whole), forward=np.floor, vjps=(_flat_vjp,),
       exact=mpmath.floor, sympy=real_function("floor", mpmath.floor, lambda a, y: sympy.Integer(0)),
       ball=lambda a: _steps(a, head(a).floor()), code=entrywise("np.floor({A})", "0")),
    Op("ceil", example="ceil(3 * u) * u", ulps=0.0, singular=Jump(_to_whole), forward=np.ceil, vjps=(_flat_vjp,),
       exact=mpmath.ceil, sympy=real_function("ceil", mpmath.ceil, lambda a, y: sympy.Integer(0)),
       ball=lambda a: _steps(a, head(a).ceil()), code=entrywise("np.ceil({A})", "0")),
)  # fmt: skip

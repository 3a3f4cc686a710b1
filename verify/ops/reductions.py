"""Ops that reduce axes to sums, products, and lengths."""

from __future__ import annotations

import math
from typing import Any

import mpmath
import numpy as np
import sympy
from flint import arb

from verify.errors import ShapeError
from verify.numbers.ball_math import ZERO, Number, length
from verify.ops.axes import along, by_halves, count, floats_of, reduced_shape, shift, some_entries, spread
from verify.ops.code import TINY, Place, Whole, call, number
from verify.ops.row import Op, Shape, UnitBall
from verify.ops.texts import PRODUCT, held
from verify.ops.trials import REDUCTIONS, of_one

Axis = tuple[int, ...] | None


def _sum(a: Any, axis: Axis = None, keepdims: bool = False) -> Any:
    return np.sum(a, axis=shift(axis, a.ndim), keepdims=keepdims)


def _mean(a: Any, axis: Axis = None, keepdims: bool = False) -> Any:
    return _sum(a, axis, keepdims) / count(a.shape[1:], axis)


def _mean_vjp(g: Any, y: Any, a: Any, axis: Axis = None, keepdims: bool = False) -> Any:
    return spread(g / count(a.shape[1:], axis), a, axis, keepdims)


def _exact_sum(a: Any, axis: Axis = None, keepdims: bool = False) -> Any:
    """The sum of an object array without an axis of points."""
    return np.sum(a, axis=axis, keepdims=keepdims)


def _sympy_sum(a: Any, axis: Axis = None, keepdims: bool = False) -> Any:
    """The same with each sum built at once: SymPy takes seconds for a thousand terms that come one by one."""
    if not (isinstance(a, np.ndarray) and a.size and all(isinstance(x, sympy.Basic) for x in a.flat)):
        return _exact_sum(a, axis, keepdims)
    axes = tuple(range(a.ndim)) if axis is None else axis
    rows = np.moveaxis(a, axes, range(-len(axes), 0)) if axes else a
    kept = rows.shape[: a.ndim - len(axes)]
    sums = np.empty(math.prod(kept), dtype=object)
    sums[:] = [sympy.Add(*row) for row in rows.reshape(len(sums), -1)]
    return sums.reshape(reduced_shape(a.shape, axes, keepdims))


def _mean_shape(a: Shape, axis: Axis = None, keepdims: bool = False) -> Shape:
    some_entries("the mean", a, axis)
    return reduced_shape(a, axis, keepdims)


# ------------------------------------------------------------------------------------------------------- products


def _prod(a: Any, axis: Axis = None, keepdims: bool = False) -> Any:
    return np.prod(a, axis=shift(axis, a.ndim), keepdims=keepdims)


def _prod_vjp(g: Any, y: Any, a: Any, axis: Axis = None, keepdims: bool = False) -> Any:
    """Upstream gradient times the product of all others, which is no quotient: an entry may be 0."""
    spread_out = spread(g, a, axis, keepdims)
    axes = shift(axis, a.ndim)
    if not axes:
        return spread_out
    # The reduced axes as one, in front: each entry gets what comes before it times what comes after it.
    front = np.moveaxis(a, axes, range(len(axes)))
    rows = front.reshape(math.prod(front.shape[: len(axes)]), -1)
    ones = np.ones_like(floats_of(rows)[:1])
    before = np.concatenate([ones, np.cumprod(rows[:-1], axis=0)], axis=0)
    after = np.flip(np.concatenate([ones, np.cumprod(np.flip(rows[1:], axis=0), axis=0)], axis=0), axis=0)
    return spread_out * np.moveaxis((before * after).reshape(front.shape), range(len(axes)), axes)


def _lower_prod(builder: Any, a: int, axis: Axis = None, keepdims: bool = False) -> int:
    return by_halves(builder, "multiply", a, axis, keepdims)


# ------------------------------------------------------------------------------------- spread and length, with ddof


def _centred(a: Any, axis: Axis) -> Any:
    return a - _mean(a, axis, keepdims=True)


def _freedom(a: Any, axis: Axis, ddof: int) -> int:
    return count(a.shape[1:], axis) - ddof


def _var(a: Any, axis: Axis = None, keepdims: bool = False, ddof: int = 0) -> Any:
    return _sum(np.square(_centred(a, axis)), axis, keepdims) / _freedom(a, axis, ddof)


def _var_vjp(g: Any, y: Any, a: Any, axis: Axis = None, keepdims: bool = False, ddof: int = 0) -> Any:
    return spread(g * (2.0 / _freedom(a, axis, ddof)), a, axis, keepdims) * _centred(a, axis)


def _exact_var(a: Any, axis: Axis = None, keepdims: bool = False, ddof: int = 0) -> Any:
    entries = mpmath.mpf(count(a.shape, axis))
    centred = a - _exact_sum(a, axis, keepdims=True) / entries
    return _exact_sum(centred * centred, axis, keepdims) / (entries - ddof)


def _var_shape(a: Shape, axis: Axis = None, keepdims: bool = False, ddof: int = 0) -> Shape:
    some_entries("the variance", a, axis)
    if not 0 <= ddof < count(a, axis):
        raise ShapeError(f"ddof={ddof} must be 0 or more and less than the {count(a, axis)} entries taken together")
    return reduced_shape(a, axis, keepdims)


def _lower_centred(builder: Any, a: int, axis: Axis) -> int:
    mean: int = builder.apply("mean", a, params={"axis": axis, "keepdims": True})
    return int(builder.apply("subtract", a, mean))


def _lower_var(builder: Any, a: int, axis: Axis = None, keepdims: bool = False, ddof: int = 0) -> int:
    squares = builder.apply("power_constant", _lower_centred(builder, a, axis), params={"exponent": 2.0})
    total = builder.apply("sum", squares, params={"axis": axis, "keepdims": keepdims})
    return int(builder.apply("divide", total, builder.constant(count(builder.shape(a), axis) - ddof)))


def _norm(a: Any, axis: Axis = None, keepdims: bool = False, exponent: float = 2.0) -> Any:
    """The root of the sum of powers, scaled by a power of two so that these neither overflow nor vanish."""
    axes = shift(axis, a.ndim)
    largest = np.max(np.abs(floats_of(a)), axis=axes, keepdims=True, initial=0.0)
    _, binary = np.frexp(np.where(np.isfinite(largest), largest, 0.0))
    scale = np.ldexp(np.ones_like(largest), np.where(largest > 0, binary - 1, 0))
    powers = np.square(a / scale) if exponent == 2 else np.abs(a / scale) ** exponent
    total = np.sum(powers, axis=axes, keepdims=keepdims)
    root = np.sqrt(total) if exponent == 2 else total ** (1 / exponent)
    return root * (scale if keepdims else scale.reshape(root.shape))


def _norm_vjp(g: Any, y: Any, a: Any, axis: Axis = None, keepdims: bool = False, exponent: float = 2.0) -> Any:
    """Upstream gradient times the direction; 0, one of its subgradients, where the length is 0."""
    length = spread(np.where(y == 0, 1.0, y), a, axis, keepdims)
    direction = a / length if exponent == 2 else np.sign(a) * np.abs(a / length) ** (exponent - 1)
    return spread(g, a, axis, keepdims) * direction


def _norm_ball(a: Any, axis: Axis = None, keepdims: bool = False, exponent: float = 2.0) -> Any:
    return along(lambda row: length(*row, exponent=exponent), a, axis, keepdims)


def _exact_norm(a: Any, axis: Axis = None, keepdims: bool = False, exponent: float = 2.0) -> Any:
    p = mpmath.mpf(exponent)
    total = _exact_sum(np.frompyfunc(lambda x: abs(x) ** p, 1, 1)(a), axis, keepdims)
    return np.frompyfunc(lambda x: mpmath.root(x, exponent) if exponent.is_integer() else x ** (1 / p), 1, 1)(total)


def _lower_norm(builder: Any, a: int, axis: Axis = None, keepdims: bool = False, exponent: float = 2.0) -> int:
    sizes = a if exponent % 2 == 0 else builder.apply("abs", a)
    powers = builder.apply("power_constant", sizes, params={"exponent": exponent})
    total = builder.apply("sum", powers, params={"axis": axis, "keepdims": keepdims})
    if exponent == 2:
        return int(builder.apply("sqrt", total))
    return int(builder.apply("power_constant", total, params={"exponent": 1 / exponent}))


def _norm_shape(a: Shape, axis: Axis = None, keepdims: bool = False, exponent: float = 2.0) -> Shape:
    """``exponent`` is that of the sum of powers; it is no parameter for those who write a case."""
    del exponent
    return reduced_shape(a, axis, keepdims)


def _std(a: Any, axis: Axis = None, keepdims: bool = False, ddof: int = 0) -> Any:
    return _norm(_centred(a, axis), axis, keepdims) / math.sqrt(_freedom(a, axis, ddof))


def _std_vjp(g: Any, y: Any, a: Any, axis: Axis = None, keepdims: bool = False, ddof: int = 0) -> Any:
    """Upstream gradient times the direction in which the spread grows; 0, a subgradient, where there is none."""
    size = spread(np.where(y == 0, 1.0, y), a, axis, keepdims)
    return spread(g / _freedom(a, axis, ddof), a, axis, keepdims) * (_centred(a, axis) / size)


def _exact_std(a: Any, axis: Axis = None, keepdims: bool = False, ddof: int = 0) -> Any:
    return np.frompyfunc(mpmath.sqrt, 1, 1)(_exact_var(a, axis, keepdims, ddof))


def _lower_std(builder: Any, a: int, axis: Axis = None, keepdims: bool = False, ddof: int = 0) -> int:
    params = {"axis": axis, "keepdims": keepdims}
    length = builder.apply("norm", _lower_centred(builder, a, axis), params=params)
    freedom = builder.constant(count(builder.shape(a), axis) - ddof)
    return int(builder.apply("divide", length, builder.apply("sqrt", freedom)))


# --------------------------------------------------------------------------------------------------- as it is written


def _centred_text(p: Place) -> str:
    return f"({p.a} - np.mean({p.a}{p.kept}))"


def _var_back(p: Place) -> str:
    count = p.count - p.params.get("ddof", 0)
    return f"2 / {number(count)} * {_centred_text(p)} * {p.spread}"


def _std_back(p: Place) -> str:
    count = p.count - p.params.get("ddof", 0)
    below = held(p.with_kept_axes(f"np.maximum({p.y}, {TINY})"))
    return f"{_centred_text(p)} / ({number(count)} * {below}) * {p.spread}"


def _norm_back(p: Place) -> str:
    return f"{held(p.a)} / {held(p.with_kept_axes(f'np.maximum({p.y}, {TINY})'))} * {p.spread}"


def _centred_balls(numbers: list[Number]) -> list[Number]:
    mean = sum(numbers, ZERO) / len(numbers)
    return [x - mean for x in numbers]


def _var_ball(a: Any, axis: Axis = None, keepdims: bool = False, ddof: int = 0) -> Any:
    return along(lambda row: sum((x * x for x in _centred_balls(row)), ZERO) / (len(row) - ddof), a, axis, keepdims)


def _std_ball(a: Any, axis: Axis = None, keepdims: bool = False, ddof: int = 0) -> Any:
    """Where it may be 0, the hull of its slopes around there."""
    return along(lambda row: length(*_centred_balls(row)) / arb(len(row) - ddof).sqrt(), a, axis, keepdims)


_REDUCES = ("axis", "keepdims")
_WITH_DDOF = of_one(((2, 3), {"axis": 1, "ddof": 1}))
_SPREAD = tuple(trial for trial in REDUCTIONS if trial[0] not in {((),), ((1, 3),)})
"""Several entries that are taken together: one alone has no spread, and its slope is undecided."""

ROWS = (
    Op("sum", example="sum(u)", elementwise=False, params=_REDUCES, shape=reduced_shape, trials=REDUCTIONS,
       forward=_sum, vjps=(lambda g, y, a, axis=None, keepdims=False: spread(g, a, axis, keepdims),),
       exact=_exact_sum, sympy=_sympy_sum, ball=_exact_sum,
       code=Whole(call("np.sum", *_REDUCES), lambda p: p.with_kept_axes(p.g), "a sum hands it to every term", True)),
    Op("mean", example="mean(u)", elementwise=False, params=_REDUCES, shape=_mean_shape, trials=REDUCTIONS,
       forward=_mean, vjps=(_mean_vjp,),
       exact=lambda a, axis=None, keepdims=False: _exact_sum(a, axis, keepdims) / mpmath.mpf(count(a.shape, axis)),
       sympy=lambda a, axis=None, keepdims=False: _sympy_sum(a, axis, keepdims) / sympy.Integer(count(a.shape, axis)),
       ball=lambda a, axis=None, keepdims=False: _exact_sum(a, axis, keepdims) / arb(count(a.shape, axis)),
       code=Whole(call("np.mean", *_REDUCES), lambda p: f"{held(p.with_kept_axes(p.g), PRODUCT)} / {p.count}",
                  "a mean hands each term its share", True)),
    Op("prod", example="prod(u)", elementwise=False, params=_REDUCES, shape=reduced_shape, trials=REDUCTIONS,
       forward=_prod, vjps=(_prod_vjp,), exact=np.prod, lower=_lower_prod, ball=np.prod,
       code=Whole(call("np.prod", *_REDUCES), lambda p: f"product_of_others({p.a}, axis={p.axes}) * {p.spread}",
                  "the product of the others")),
    Op("var", example="var(u)", elementwise=False, params=(*_REDUCES, "ddof"), shape=_var_shape,
       trials=REDUCTIONS + _WITH_DDOF, source="NumPy's var: divided by n - ddof, and ddof is 0",
       forward=_var, vjps=(_var_vjp,), exact=_exact_var, lower=_lower_var, ball=_var_ball,
       code=Whole(call("np.var", *_REDUCES, "ddof"), _var_back, "2 / n times the distance from the mean")),
    Op("norm", example="norm(u)", elementwise=False, params=_REDUCES, singular=UnitBall(), shape=_norm_shape,
       trials=REDUCTIONS, source="NumPy's linalg.norm of a vector; over all entries it is Frobenius' norm",
       forward=_norm, vjps=(_norm_vjp,), exact=_exact_norm, lower=_lower_norm,
       ball=_norm_ball,
       code=Whole(lambda p: f"np.sqrt(np.sum(np.square({p.a}){p.options(*_REDUCES)}))", _norm_back, "the unit vector")),
    Op("std", example="std(u)", elementwise=False, params=(*_REDUCES, "ddof"), shape=_var_shape,
       trials=_SPREAD + _WITH_DDOF, source="NumPy's std: the root of var",
       forward=_std, vjps=(_std_vjp,), exact=_exact_std, lower=_lower_std, ball=_std_ball,
       code=Whole(call("np.std", *_REDUCES, "ddof"), _std_back, "the distance from the mean / (n std)")),
)  # fmt: skip

HELPERS = {
    "product_of_others": '''\
def product_of_others(a, axis):
    """For each entry the product of all others along some axes; no division, so that zeros do no harm."""
    moved = np.moveaxis(a, axis, range(-len(axis), 0))
    flat = moved.reshape(*moved.shape[: -len(axis)], -1)
    before, after = np.ones_like(flat), np.ones_like(flat)
    before[..., 1:] = np.cumprod(flat[..., :-1], axis=-1)
    after[..., :-1] = np.cumprod(flat[..., :0:-1], axis=-1)[..., ::-1]
    return np.moveaxis((before * after).reshape(moved.shape), range(-len(axis), 0), axis)
''',
}
"""Functions that a printed module brings along where it names them."""

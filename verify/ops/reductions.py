"""Ops that reduce axes to sums, products, and lengths."""

from __future__ import annotations

import math
from typing import Any

import mpmath
import numpy as np
import sympy

from verify.errors import ShapeError
from verify.numbers import ball_forms
from verify.ops.axes import by_halves, count, floats_of, reduced_shape, shift, some_entries, spread
from verify.ops.row import Op, Shape, UnitBall, by_lowering

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


def _norm(a: Any, axis: Axis = None, keepdims: bool = False) -> Any:
    """The root of the sum of squares, scaled by a power of two so that squares neither overflow nor vanish."""
    axes = shift(axis, a.ndim)
    largest = np.max(np.abs(floats_of(a)), axis=axes, keepdims=True, initial=0.0)
    _, exponent = np.frexp(np.where(np.isfinite(largest), largest, 0.0))
    scale = np.ldexp(np.ones_like(largest), np.where(largest > 0, exponent - 1, 0))
    root = np.sqrt(np.sum(np.square(a / scale), axis=axes, keepdims=keepdims))
    return root * (scale if keepdims else scale.reshape(root.shape))


def _norm_vjp(g: Any, y: Any, a: Any, axis: Axis = None, keepdims: bool = False) -> Any:
    """Upstream gradient times the direction; 0, one of its subgradients, where the length is 0."""
    length = spread(np.where(y == 0, 1.0, y), a, axis, keepdims)
    return spread(g, a, axis, keepdims) * (a / length)


def _exact_norm(a: Any, axis: Axis = None, keepdims: bool = False) -> Any:
    total = _exact_sum(a * a, axis, keepdims)
    return np.frompyfunc(mpmath.sqrt, 1, 1)(total)


def _lower_norm(builder: Any, a: int, axis: Axis = None, keepdims: bool = False) -> int:
    squares = builder.apply("power_constant", a, params={"exponent": 2.0})
    return int(builder.apply("sqrt", builder.apply("sum", squares, params={"axis": axis, "keepdims": keepdims})))


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


_REDUCES = ("axis", "keepdims")

ROWS = (
    Op("sum", _sum, (lambda g, y, a, axis=None, keepdims=False: spread(g, a, axis, keepdims),),
       _sympy_sum, _exact_sum,
       reduced_shape, "sum(a)", params=_REDUCES, elementwise=False, ball=ball_forms.total),
    Op("mean", _mean, (_mean_vjp,),
       lambda a, axis=None, keepdims=False: _sympy_sum(a, axis, keepdims) / sympy.Integer(count(a.shape, axis)),
       lambda a, axis=None, keepdims=False: _exact_sum(a, axis, keepdims) / mpmath.mpf(count(a.shape, axis)),
       _mean_shape, "mean(a)", params=_REDUCES, elementwise=False, ball=ball_forms.mean),
    Op("prod", _prod, (_prod_vjp,), by_lowering, np.prod, reduced_shape, "prod(a)", params=_REDUCES,
       elementwise=False, lower=_lower_prod, ball=np.prod),
    Op("var", _var, (_var_vjp,), by_lowering, _exact_var, _var_shape, "var(a)", params=(*_REDUCES, "ddof"),
       elementwise=False, lower=_lower_var, ball=ball_forms.var,
       source="NumPy's var: divided by n - ddof, and ddof is 0"),
    Op("norm", _norm, (_norm_vjp,), by_lowering, _exact_norm, reduced_shape, "norm(a)", params=_REDUCES,
       elementwise=False, singular=UnitBall(), lower=_lower_norm, ball=ball_forms.norm,
       source="NumPy's linalg.norm of a vector; over all entries it is Frobenius' norm"),
    Op("std", _std, (_std_vjp,), by_lowering, _exact_std, _var_shape, "std(a)", params=(*_REDUCES, "ddof"),
       elementwise=False, lower=_lower_std, ball=ball_forms.std, source="NumPy's std: the root of var"),
)  # fmt: skip

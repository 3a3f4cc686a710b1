"""Ops that sum or multiply up to each place of an axis."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from verify.ops.axes import floats_of, one_axis
from verify.ops.row import Op, Shape, by_lowering

Axis = tuple[int, ...] | None


def _scanned_shape(op: str, a: Shape, axis: Axis) -> Shape:
    """NumPy's rule: without an axis all entries are taken in a row."""
    if axis is None:
        return (math.prod(a),)
    one_axis(op, axis)
    return a


def _rows(a: Any, axis: Axis) -> tuple[Any, int]:
    """The array that is scanned, and along which of its axes."""
    return (a.reshape(len(a), -1), 1) if axis is None else (a, axis[0] + 1)


def _cumsum(a: Any, axis: Axis = None) -> Any:
    rows, place = _rows(a, axis)
    return np.cumsum(rows, axis=place)


def _cumsum_vjp(g: Any, y: Any, a: Any, axis: Axis = None) -> Any:
    return _summed_from_the_end(g, 1 if axis is None else axis[0] + 1).reshape(a.shape)


def _summed_from_the_end(g: Any, place: int) -> Any:
    return np.flip(np.cumsum(np.flip(g, axis=place), axis=place), axis=place)


def _cumsum_uses(a: Shape, axis: Axis = None) -> int:
    size = math.prod(a) if axis is None else a[axis[0]]
    return math.prod(a) * (size + 1) // 2


def _object_scan(function: Any) -> Any:
    """NumPy's scan on an object array without an axis of points."""
    return lambda a, axis=None: function(np.ravel(a) if axis is None else a, axis=0 if axis is None else axis[0])


def _cumprod(a: Any, axis: Axis = None) -> Any:
    rows, place = _rows(a, axis)
    return np.cumprod(rows, axis=place)


def _cumprod_vjp(g: Any, y: Any, a: Any, axis: Axis = None) -> Any:
    """By a quotient where no product is 0 or lost, which is one sum; else by a scan that divides by nothing."""
    rows, place = _rows(a, axis)
    products = floats_of(y)
    smallest = np.finfo(products.dtype).tiny
    if np.all(np.isfinite(products)) and np.all(np.abs(products) >= smallest):
        return (_summed_from_the_end(g * y, place) / rows).reshape(a.shape)
    size = rows.shape[place]
    ones = np.ones_like(floats_of(_part(rows, place, 0, 1)))
    before = np.concatenate([ones, _part(y, place, 0, size - 1)], axis=place)
    # s[k] = g[k] + a[k + 1] * s[k + 1], by doubling: the reach of each sum doubles with every turn.
    sums, factors, reach = g, _shifted(rows, place, 1), 1
    while reach < size:
        sums = sums + factors * _shifted(sums, place, reach)
        factors = factors * _shifted(factors, place, reach)
        reach *= 2
    return (before * sums).reshape(a.shape)


def _part(a: Any, place: int, start: int, stop: int) -> Any:
    return a[(*(slice(None),) * place, slice(start, stop))]


def _shifted(a: Any, place: int, by: int) -> Any:
    """Each entry replaced by the one ``by`` places later, by 0 behind the end."""
    size = a.shape[place]
    left = _part(a, place, min(by, size), size)
    return np.concatenate([left, np.zeros_like(floats_of(_part(a, place, 0, min(by, size))))], axis=place)


def _lower_cumprod(builder: Any, a: int, axis: Axis = None) -> int:
    """By doubling: after each turn an entry holds the product of twice as many."""
    place = 0 if axis is None else axis[0]
    y = builder.apply("reshape", a, params={"shape": -1}) if axis is None else builder.apply("positive", a)
    size, reach = builder.shape(y)[place], 1
    before = (slice(None),) * place
    while reach < size:
        kept, later, earlier = (
            builder.apply("index", y, params={"index": (*before, cut)})
            for cut in (slice(0, reach), slice(reach, None), slice(0, size - reach))
        )
        y = builder.apply("concatenate", kept, builder.apply("multiply", later, earlier), params={"axis": place})
        reach *= 2
    return int(y)


ROWS = (
    Op("cumsum", _cumsum, (_cumsum_vjp,), _object_scan(np.cumsum), _object_scan(np.cumsum),
       lambda a, axis=None: _scanned_shape("cumsum", a, axis), "cumsum(a)", params=("axis",), elementwise=False,
       uses=_cumsum_uses, ball=_object_scan(np.cumsum)),
    Op("cumprod", _cumprod, (_cumprod_vjp,), by_lowering, _object_scan(np.cumprod),
       lambda a, axis=None: _scanned_shape("cumprod", a, axis), "cumprod(a)", params=("axis",), elementwise=False,
       lower=_lower_cumprod, ball=_object_scan(np.cumprod)),
)  # fmt: skip

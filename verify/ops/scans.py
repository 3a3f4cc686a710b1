"""Ops that sum or multiply up to each place of an axis."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from verify.ops.axes import floats_of, one_axis
from verify.ops.code import Place, Whole, call
from verify.ops.row import Op, Shape
from verify.ops.texts import entries, held
from verify.ops.trials import of_one

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


def _cumsum_back(p: Place) -> str:
    axis = p.params.get("axis")
    if axis is None:
        return f"np.cumsum({held(p.g)}[::-1])[::-1].reshape({entries(p.shapes[0])})"
    return f"np.flip(np.cumsum(np.flip({p.g}, {axis[0]}), axis={axis[0]}), {axis[0]})"


def _cumprod_back(p: Place) -> str:
    return f"cumprod_back({p.a}, {p.g}, axis={p.params['axis'][0] if p.params.get('axis') else None})"


SCANS = of_one(
    ((3,), {}), ((2, 3), {}), ((2, 3), {"axis": 0}), ((4, 1, 3), {"axis": -1}), ((1,), {}), ((2, 2), {"axis": 1}),
)  # fmt: skip

ROWS = (
    Op("cumsum", example="cumsum(u)", elementwise=False, params=("axis",), trials=SCANS, uses=_cumsum_uses,
       shape=lambda a, axis=None: _scanned_shape("cumsum", a, axis), forward=_cumsum, vjps=(_cumsum_vjp,),
       exact=_object_scan(np.cumsum), sympy=_object_scan(np.cumsum), ball=_object_scan(np.cumsum),
       code=Whole(call("np.cumsum", "axis"), _cumsum_back, "summed from the end")),
    Op("cumprod", example="cumprod(u)", elementwise=False, params=("axis",), trials=SCANS,
       shape=lambda a, axis=None: _scanned_shape("cumprod", a, axis), forward=_cumprod, vjps=(_cumprod_vjp,),
       exact=_object_scan(np.cumprod), lower=_lower_cumprod, ball=_object_scan(np.cumprod),
       code=Whole(call("np.cumprod", "axis"), _cumprod_back, "each product without this factor")),
)  # fmt: skip

HELPERS = {
    "cumprod_back": '''\
def cumprod_back(a, g, axis):
    """What cumulative products send back: to each factor, every later product without it; no division."""
    moved = np.ravel(a) if axis is None else np.moveaxis(a, axis, -1)
    upstream = g if axis is None else np.moveaxis(g, axis, -1)
    out = np.zeros_like(moved)
    for i in range(moved.shape[-1]):
        without = moved.copy()
        without[..., i] = 1.0
        out[..., i] = np.sum((upstream * np.cumprod(without, axis=-1))[..., i:], axis=-1)
    return out.reshape(a.shape) if axis is None else np.moveaxis(out, -1, axis)
''',
}
"""Functions that a printed module brings along where it names them."""

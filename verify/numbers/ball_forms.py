"""The op table's column ``ball``: each op on single numbers of python-flint, a ball or a series of balls.

A series is a value with its slope along some direction and, where ``flint.ctx.cap`` asks for more than two terms, the
further Taylor coefficients; flint's own rules carry them through ``+ - * /``, exp, log and sqrt, so that the column
holds no derivative written by hand but that of tanh, which flint's series lack. Where the value is a wide ball, each
coefficient holds those of every number inside. Nothing here knows the other columns. Four rules hold throughout:

* A comparison of balls answers False where it is undecided. What chooses by one returns the hull of both branches
  then: values and slopes of either are inside.
* Outside the domain, or where a ball may be outside, the result is NaN, which no later op turns into a number.
* An infinite slope is NaN too; the value beside it is kept.
* Where branches meet, the coefficients beyond the slope are NaN: a kink has slopes on either side, and no curvature.

Structural ops are given object arrays, without an axis of points.
"""

from __future__ import annotations

import math
from functools import reduce
from typing import Any

import numpy as np
from flint import arb, arb_series, ctx

Number = arb | arb_series
"""A ball, or value and slope."""

_NAN = arb.nan()
_ZERO = arb(0)
_ONE = arb(1)


def head(a: Number) -> arb:
    """The value: a ball is its own, a series has it as its first coefficient.

    >>> float(head(arb_series([3, 1]))), float(head(arb(2)))
    (3.0, 2.0)
    """
    return a[0] if isinstance(a, arb_series) else a


def tail(a: Number) -> arb:
    """The slope: that of a ball is 0.

    >>> float(tail(arb_series([3, 1]))), float(tail(arb(2)))
    (1.0, 0.0)
    """
    return a[1] if isinstance(a, arb_series) else _ZERO


def _with_slope(value: arb, slope: arb, *like: Number) -> Number:
    """A series where one of ``like`` is one, else the value alone; nothing is known beyond the slope."""
    if not any(isinstance(a, arb_series) for a in like):
        return value
    return arb_series([value, slope, *[_NAN] * (ctx.cap - 2)])


def _vanishing(order: arb | float, *like: Number) -> Number:
    """A power ``order`` of something that is 0: coefficients below the order are 0, and the others unknown."""
    if not any(isinstance(a, arb_series) for a in like):
        return _ZERO
    return arb_series([_ZERO if order > k else _NAN for k in range(ctx.cap)])


def _unknown(*like: Number) -> Number:
    return _with_slope(_NAN, _NAN, *like)


def divide(a: Number, b: Number) -> Number:
    """``a / b``; NaN where b may be 0, also for 0/0, which flint's series would cancel.

    >>> float(divide(arb(1), arb(4))), float(divide(arb_series([0, 1]), arb_series([0, 1]))[0])
    (0.25, nan)
    """
    below = head(b)
    return a / b if below > 0 or below < 0 else _unknown(a, b)


def power(a: Number, b: Number) -> Number:
    """``a ** b`` for a > 0, and 0 for a = 0 with b > 1.

    >>> round(float(power(arb(2), arb(3))), 9), float(power(arb(0), arb(3))), float(power(arb(-2), arb(3)))
    (8.0, 0.0, nan)
    """
    base = head(a)
    if base > 0:
        return (b * log(a)).exp()
    return _vanishing(head(b), a, b) if base == 0 and head(b) > 1 else _unknown(a, b)


def power_constant(a: Number, exponent: float) -> Number:
    """``a ** exponent``, the exponent being a known double: any a for a whole one, a > 0 otherwise.

    At 0 a fractional exponent gives 0, with slope 0 above 1 and an infinite one below.

    >>> float(power_constant(arb(-2), 3.0)), float(power_constant(arb(-2), 0.5)), float(power_constant(arb(0), -1.0))
    (-8.0, nan, nan)
    >>> bool(power_constant(arb(0, 1e-20), 2.0) < 1e-39)
    True
    """
    base = head(a)
    if exponent == 0:
        if not base.is_finite():
            return _unknown(a)
        return arb_series([1]) if isinstance(a, arb_series) else arb(1)
    if exponent.is_integer():
        power = _whole_power(a, int(abs(exponent)))
        return power if exponent > 0 else divide(arb(1), power)
    if base > 0:
        return a ** arb(exponent)
    if base == 0 and exponent > 0:
        return _vanishing(exponent, a)
    return _unknown(a)


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


def exp(a: Number) -> Number:
    """The exponential function.

    >>> float(exp(arb(0)))
    1.0
    """
    return a.exp()


def log(a: Number) -> Number:
    """The natural logarithm; NaN where a may be 0 or less.

    >>> float(log(arb(1))), float(log(arb(0)))
    (0.0, nan)
    """
    return a.log() if head(a) > 0 else _unknown(a)


def sqrt(a: Number) -> Number:
    """The square root; at 0 it has a value but no slope, whatever the slope of a: ``sqrt(x*x)`` has a kink there.

    >>> root = sqrt(arb_series([0, 1]))
    >>> float(root[0]), float(root[1])
    (0.0, nan)
    """
    value = head(a)
    return a.sqrt() if value > 0 else _with_slope(value.sqrt(), _NAN, a)


def sigmoid(a: Number) -> Number:
    """``1 / (1 + exp(-a))``, without a huge power for a < 0, and finite for a ball of any width.

    >>> float(sigmoid(arb(0))), bool(sigmoid(arb(-1e300)).is_finite()), bool(sigmoid(arb(0, 1e9)).is_finite())
    (0.5, True, True)
    """
    negative = head(a) < 0
    e = a.exp() if negative else (-a).exp()
    if head(e) > -1:
        return divide(e if negative else arb(1), 1 + e)
    return (1 + tanh(a / 2)) / 2


def tanh(a: Number) -> Number:
    """The hyperbolic tangent.

    >>> series = tanh(arb_series([0, 1]))
    >>> float(series[1]), round(float(series[3]), 12)
    (1.0, -0.333333333333)
    """
    if isinstance(a, arb):
        return _tanh(a)
    value = a[0]
    if ctx.cap == 2:
        return arb_series([_tanh(value), a[1] * _sech(value) ** 2])
    # y = tanh(a) and z = 1 - y**2 grow coefficient by coefficient from y' = z a'.
    y, z = [_tanh(value)], [_sech(value) ** 2]
    moves = [k * a[k] for k in range(1, ctx.cap)]
    for k in range(1, ctx.cap):
        y.append(sum((z[j] * moves[k - 1 - j] for j in range(k)), _ZERO) / k)
        z.append(-sum((y[i] * y[k - i] for i in range(k + 1)), _ZERO))
    return arb_series(y)


def _tanh(value: arb) -> arb:
    """Wide balls too, on which flint gives up: tanh rises, so the ends of the ball have the ends of the result."""
    y = value.tanh()
    return y if y.is_finite() or not value.is_finite() else value.lower().tanh().union(value.upper().tanh())


def _sech(value: arb) -> arb:
    """The same; sech falls with the distance from 0."""
    y = value.sech()
    return y if y.is_finite() or not value.is_finite() else value.abs_lower().sech().union(value.abs_upper().sech())


def sin(a: Number) -> Number:
    """The sine.

    >>> float(sin(arb(0)))
    0.0
    """
    return a.sin()


def cos(a: Number) -> Number:
    """The cosine.

    >>> float(cos(arb(0)))
    1.0
    """
    return a.cos()


def erf(a: Number) -> Number:
    """The error function, ``2 / sqrt(pi)`` times the integral of ``exp(-t**2)`` from 0.

    >>> float(erf(arb(0)))
    0.0
    """
    return a.erf()


def maximum(a: Number, b: Number) -> Number:
    """The larger of two; where that is undecided, the hull of their slopes.

    >>> tied = maximum(arb_series([1, 1]), arb(1))
    >>> float(tied[0]), bool(tied[1].contains(0)), bool(tied[1].contains(1))
    (1.0, True, True)
    """
    first, second = head(a), head(b)
    if first > second:
        return a
    return b if first < second else _hull(first.max(second), a, b)


def minimum(a: Number, b: Number) -> Number:
    """The smaller of two; where that is undecided, the hull of their slopes.

    >>> float(minimum(arb(1), arb(2)))
    1.0
    """
    first, second = head(a), head(b)
    if first < second:
        return a
    return b if first > second else _hull(first.min(second), a, b)


def relu(a: Number) -> Number:
    """``max(a, 0)``.

    >>> float(relu(arb(-3))), float(relu(arb(3)))
    (0.0, 3.0)
    """
    return maximum(a, _ZERO)


def absolute(a: Number) -> Number:
    """``max(a, -a)``.

    >>> float(absolute(arb(-3)))
    3.0
    """
    value = head(a)
    if value > 0:
        return a
    return -a if value < 0 else _hull(abs(value), a, -a)


def hypot(a: Number, b: Number) -> Number:
    """``sqrt(a**2 + b**2)``; where that may be 0, the hull of all slopes that it has around there.

    >>> float(hypot(arb(3), arb(4)))
    5.0
    >>> tied = hypot(arb_series([0, 3]), arb_series([0, 4]))
    >>> float(tied[0]), bool(tied[1].contains(5)), bool(tied[1].contains(-5)), bool(tied[1].contains(5.1))
    (0.0, True, True, False)
    """
    if head(a) != 0 or head(b) != 0:
        return (a * a + b * b).sqrt()
    value = _union(_ZERO, _length(head(a), head(b)))
    steepest = _length(tail(a), tail(b))
    return _with_slope(value, _union(-steepest, steepest), a, b)


def _length(a: arb, b: arb) -> arb:
    """An upper bound of the length of any vector in two balls, exact where the balls are 0."""
    return (a.abs_upper() ** 2 + b.abs_upper() ** 2).sqrt().upper()


def sign(a: Number) -> Number:
    """-1, 0 or 1; at 0 it jumps and has no slope.

    >>> float(sign(arb(-3))), float(sign(arb_series([2, 1]))[1]), float(sign(arb_series([0, 1]))[1])
    (-1.0, 0.0, nan)
    """
    value = head(a)
    if value > 0 or value < 0:
        return _with_slope(arb(1 if value > 0 else -1), _ZERO, a)
    if value == 0:
        return _with_slope(_ZERO, _NAN, a)
    return _with_slope(arb(0, 1), _NAN, a) if value.is_finite() else _unknown(a)


def either(a: Number, b: Number) -> Number:
    """What holds both: the hull of the values, and that of the slopes.

    >>> held = either(arb(2), arb_series([2, 1]))
    >>> bool(held[0] == 2), bool(held[1].contains(0)), bool(held[1].contains(1))
    (True, True, True)
    """
    return _with_slope(_union(head(a), head(b)), _union(tail(a), tail(b)), a, b)


def _union(a: arb, b: arb) -> arb:
    """The hull of two balls; that of a number with itself stays exact."""
    return a if a == b else a.union(b)


def _hull(value: arb, a: Number, b: Number) -> Number:
    """The value with the slopes of both branches, and nothing beyond."""
    return _with_slope(value, tail(a).union(tail(b)), a, b)


def matmul(a: Any, b: Any) -> Any:
    """The product of matrices, vectors or stacks of matrices.

    >>> matmul(np.array([arb(2)], dtype=object), np.array([arb(3)], dtype=object))
    6.00000000000000
    """
    return np.matmul(a, b)


def total(a: Any, axis: tuple[int, ...] | None = None, keepdims: bool = False) -> Any:
    """The sum over some axes.

    >>> total(np.array([arb(2), arb(3)], dtype=object))
    5.00000000000000
    """
    return np.sum(a, axis=axis, keepdims=keepdims)


def mean(a: Any, axis: tuple[int, ...] | None = None, keepdims: bool = False) -> Any:
    """The mean over some axes; the number of entries is exact.

    >>> mean(np.array([arb(2), arb(4)], dtype=object))
    3.00000000000000
    """
    entries = math.prod(a.shape if axis is None else [a.shape[i] for i in axis])
    return total(a, axis, keepdims) / arb(entries)


def transpose(a: Any, axes: tuple[int, ...] | None = None) -> Any:
    """The axes in another order, reversed by default.

    >>> transpose(np.zeros((2, 3))).shape
    (3, 2)
    """
    return np.transpose(a, axes)


def index(a: Any, index: tuple[int | slice, ...]) -> Any:
    """Some of the entries.

    >>> float(index(np.array([arb(5), arb(6)], dtype=object), (1,)))
    6.0
    """
    return a[index]


def gather(a: Any, index: tuple[Any, ...]) -> Any:
    """Entries picked by lists of indices.

    >>> [float(x) for x in gather(np.array([arb(5), arb(6)], dtype=object), ((1, 1, 0),))]
    [6.0, 6.0, 5.0]
    """
    return a[tuple(list(part) if isinstance(part, tuple) else part for part in index)]


def pad(a: Any, pad_width: Any) -> Any:
    """Zeros around an array.

    >>> [float(x) for x in pad(np.array([arb(5)], dtype=object), 1)]
    [0.0, 5.0, 0.0]
    """
    inside = np.pad(np.ones(a.shape, dtype=bool), pad_width)
    out = np.zeros(inside.shape, dtype=a.dtype)
    if a.dtype == object:
        out.fill(_ZERO)
    out[inside] = a.ravel()
    return out


def reshape(a: Any, shape: int | tuple[int, ...]) -> Any:
    """The same entries in another shape.

    >>> reshape(np.zeros((2, 3)), (3, 2)).shape
    (3, 2)
    """
    return np.reshape(a, shape)


def stack(*arrays: Any, axis: int | tuple[int, ...] = 0) -> Any:
    """Arrays of one shape along a new axis.

    >>> stack(np.zeros(2), np.zeros(2), axis=1).shape
    (2, 2)
    """
    return np.stack(arrays, axis=axis if isinstance(axis, int) else axis[0])


def concatenate(*arrays: Any, axis: int | tuple[int, ...] = 0) -> Any:
    """Arrays one after the other along an axis.

    >>> concatenate(np.zeros(2), np.zeros(3)).shape
    (5,)
    """
    return np.concatenate(arrays, axis=axis if isinstance(axis, int) else axis[0])


def einsum(*arrays: Any, subscripts: str) -> Any:
    """A sum of products by subscripts, by loops over all of its letters.

    >>> pair = np.array([arb(2), arb(3)], dtype=object)
    >>> float(einsum(pair, pair, subscripts="i,i->"))
    13.0
    """
    left, arrow, result = subscripts.replace(" ", "").partition("->")
    operands = left.split(",")
    if not arrow:
        result = "".join(sorted(letter for letter in set(left) - {","} if left.count(letter) == 1))
    letters = list(dict.fromkeys(left.replace(",", "")))
    pairs = zip(operands, arrays, strict=True)
    lengths = {letter: n for key, x in pairs for letter, n in zip(key, np.shape(x), strict=True)}
    out = np.empty([lengths[letter] for letter in result], dtype=object)
    out.fill(_ZERO)
    for index in np.ndindex(*(lengths[letter] for letter in letters)):
        at = dict(zip(letters, index, strict=True))
        term = _ONE
        for key, x in zip(operands, arrays, strict=True):
            term = term * x[tuple(at[letter] for letter in key)]
        place = tuple(at[letter] for letter in result)
        out[place] = out[place] + term
    return out if result else out.item()


Axis = tuple[int, ...] | None


def _along(function: Any, a: Any, axis: Axis, keepdims: bool) -> Any:
    """A function of a list of numbers, over some axes of an object array."""
    axes = tuple(range(a.ndim)) if axis is None else axis
    rows = np.moveaxis(a, axes, range(a.ndim - len(axes), a.ndim))
    kept = rows.shape[: a.ndim - len(axes)]
    found = np.empty(math.prod(kept), dtype=object)
    for i, row in enumerate(rows.reshape(len(found), -1)):
        found[i] = function(row.tolist())
    return found.reshape([1 if i in axes else n for i, n in enumerate(a.shape)] if keepdims else kept)


def largest(a: Any, axis: Axis = None, keepdims: bool = False) -> Any:
    """The largest entry over some axes; where that is undecided, the hull of their slopes.

    >>> float(largest(np.array([arb(2), arb(3)], dtype=object)).item())
    3.0
    """
    return _along(lambda row: reduce(maximum, row), a, axis, keepdims)


def smallest(a: Any, axis: Axis = None, keepdims: bool = False) -> Any:
    """The smallest entry over some axes.

    >>> float(smallest(np.array([arb(2), arb(3)], dtype=object)).item())
    2.0
    """
    return _along(lambda row: reduce(minimum, row), a, axis, keepdims)


def norm(a: Any, axis: Axis = None, keepdims: bool = False) -> Any:
    """The length over some axes; where it may be 0, the hull of all slopes that it has around there.

    >>> float(norm(np.array([arb(3), arb(4)], dtype=object)).item())
    5.0
    """
    return _along(_length_of, a, axis, keepdims)


def _length_of(numbers: list[Number]) -> Number:
    if any(head(x) != 0 for x in numbers):
        return sum((x * x for x in numbers), _ZERO).sqrt()
    farthest, steepest = (_size([part(x) for x in numbers]) for part in (head, tail))
    return _with_slope(_union(_ZERO, farthest), _union(-steepest, steepest), *numbers)


def _size(numbers: list[arb]) -> arb:
    """An upper bound of the length of any vector in some balls, exact where they are 0."""
    return sum((x.abs_upper() ** 2 for x in numbers), _ZERO).sqrt().upper()


def var(a: Any, axis: Axis = None, keepdims: bool = False, ddof: int = 0) -> Any:
    """The mean square of the distance from the mean, divided by ``n - ddof``.

    >>> float(var(np.array([arb(1), arb(3)], dtype=object)).item())
    1.0
    """
    return _along(lambda row: sum((x * x for x in _centred(row)), _ZERO) / (len(row) - ddof), a, axis, keepdims)


def std(a: Any, axis: Axis = None, keepdims: bool = False, ddof: int = 0) -> Any:
    """The root of the variance; where it may be 0, the hull of its slopes around there.

    >>> float(std(np.array([arb(1), arb(3)], dtype=object)).item())
    1.0
    """
    return _along(lambda row: _length_of(_centred(row)) / arb(len(row) - ddof).sqrt(), a, axis, keepdims)


def _centred(numbers: list[Number]) -> list[Number]:
    mean = sum(numbers, _ZERO) / len(numbers)
    return [x - mean for x in numbers]


def softmax(a: Any, axis: Axis = None) -> Any:
    """Exponentials as shares of their sum: 1 over the sum of the quotients, which are narrow where balls are wide.

    >>> float(softmax(np.array([arb(0), arb(0)], dtype=object))[0])
    0.5
    """
    return _each_by_row(lambda row: [divide(_ONE, total) for total in _quotients(row)], a, axis)


def log_softmax(a: Any, axis: Axis = None) -> Any:
    """The logarithm of softmax.

    >>> float(log_softmax(np.array([arb(3)], dtype=object))[0])
    0.0
    """
    return _each_by_row(lambda row: [-log(total) for total in _quotients(row)], a, axis)


FEW_SHARES = 12
"""Up to so many entries each is compared with each; beyond, their sum is formed once."""


def _quotients(row: list[Number]) -> list[Number]:
    """For each number the sum of all exponentials, divided by its own."""
    if len(row) <= FEW_SHARES:
        return [sum(((other - x).exp() for other in row), _ZERO) for x in row]
    e = [x.exp() for x in row]
    total = sum(e, _ZERO)
    return [divide(total, x) for x in e]


def _each_by_row(function: Any, a: Any, axis: Axis) -> Any:
    """A function of a list of numbers that gives one for each of them."""
    axes = tuple(range(a.ndim)) if axis is None else axis
    ends = range(a.ndim - len(axes), a.ndim)
    moved = np.moveaxis(a, axes, ends)
    rows = moved.reshape(math.prod(moved.shape[: a.ndim - len(axes)]), -1)
    found = np.empty(rows.shape, dtype=object)
    for i, row in enumerate(rows):
        for k, x in enumerate(function(row.tolist())):
            found[i, k] = x
    return np.moveaxis(found.reshape(moved.shape), ends, axes)


def logsumexp(a: Any, axis: Axis = None, keepdims: bool = False) -> Any:
    """The logarithm of the sum of exponentials.

    >>> float(logsumexp(np.array([arb(0)], dtype=object)).item())
    0.0
    """
    return _along(lambda row: log(sum((x.exp() for x in row), _ZERO)), a, axis, keepdims)

"""What the op table's column ``ball`` is made of: functions of single numbers of python-flint, balls or series of them.

A series is a value with its slope along some direction and, where ``flint.ctx.cap`` asks for more than two terms, the
further Taylor coefficients; flint's own rules carry them through ``+ - * /``, exp, log and the like. Where flint's
series lack a function, its value is flint's on a ball, and the further coefficients come from a series that has the
same ones, or from its derivative by integration. Where the value is a wide ball, each coefficient holds those of every
number inside. Nothing here knows the other columns. Four rules hold throughout:

* A comparison of balls answers False where it is undecided. What chooses by one returns the hull of both branches
  then: values and slopes of either are inside.
* Outside the domain, or where a ball may be outside, the result is NaN, which no later op turns into a number.
* An infinite slope is NaN too; the value beside it is kept.
* Where branches meet, the coefficients beyond the slope are NaN: a kink has slopes on either side, and no curvature.

Forms of structural ops are given object arrays, without an axis of points.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from flint import arb, arb_series, ctx

Number = arb | arb_series
"""A ball, or value and slope."""

NAN = arb.nan()
ZERO = arb(0)
ONE = arb(1)


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
    return a[1] if isinstance(a, arb_series) else ZERO


def with_slope(value: arb, slope: arb, *like: Number) -> Number:
    """A series where one of ``like`` is one, else the value alone; nothing is known beyond the slope.

    >>> with_slope(arb(1), arb(2), arb(0)), float(tail(with_slope(arb(1), arb(2), arb_series([0, 1]))))
    (1.00000000000000, 2.0)
    """
    if not any(isinstance(a, arb_series) for a in like):
        return value
    return arb_series([value, slope, *[NAN] * (ctx.cap - 2)])


def without_slope(value: arb, *like: Number) -> Number:
    """A value beside which nothing is known, a series where one of ``like`` is one.

    >>> float(tail(without_slope(arb(1), arb_series([0, 1]))))
    nan
    """
    return with_slope(value, NAN, *like)


def union(a: arb, b: arb) -> arb:
    """The hull of two balls; that of a number with itself stays exact.

    >>> union(arb(2), arb(2)).is_exact()
    True
    """
    return a if a == b else a.union(b)


def either(a: Number, b: Number) -> Number:
    """What holds both: the hull of the values, and that of the slopes.

    >>> held = either(arb(2), arb_series([2, 1]))
    >>> bool(held[0] == 2), bool(held[1].contains(0)), bool(held[1].contains(1))
    (True, True, True)
    """
    return with_slope(union(head(a), head(b)), union(tail(a), tail(b)), a, b)


# --------------------------------------------------------------------------------------------- functions of one number


def inside(low: float, high: float, form: Callable[[Any], Number]) -> Callable[[Number], Number]:
    """A form that holds between two ends; at an end it may have a value, but no slope, and outside neither.

    >>> root = inside(0.0, math.inf, lambda a: a.sqrt())
    >>> float(root(arb(4))), float(root(arb(0))), float(tail(root(arb_series([0, 1])))), float(root(arb(-1)))
    (2.0, 0.0, nan, nan)
    """

    def guarded(a: Number) -> Number:
        value = head(a)
        if value > low and value < high:
            return form(a)
        return without_slope(form(value) if value in (low, high) else NAN, a)  # type: ignore[arg-type]

    return guarded


def rising(function: Callable[[arb], arb]) -> Callable[[arb], arb]:
    """A rising function of a ball of any width: the ends of the ball have the ends of the result.

    >>> bool(rising(arb.tanh)(arb(0, 1e9)).is_finite())
    True
    """

    def taken(value: arb) -> arb:
        y = function(value)
        if value.is_exact() or not value.is_finite():
            return y
        hull = function(value.lower()).union(function(value.upper()))
        return hull if not y.is_finite() or hull.rad() < y.rad() else y

    return taken


def by_series(value: Callable[[arb], arb], series: Callable[[Any], Number]) -> Callable[[Number], Number]:
    """A value on balls, and a series with the same further coefficients: flint's may lose digits of the value.

    >>> expm1 = by_series(arb.expm1, arb_series.exp)
    >>> float(expm1(arb(1e-30))), float(expm1(arb_series([1e-30, 1]))[0]), float(expm1(arb_series([1e-30, 1]))[1])
    (1e-30, 1e-30, 1.0)
    """
    return lambda a: value(a) if isinstance(a, arb) else _with_value(value(a[0]), series(a))


def by_slope(value: Callable[[arb], arb], slope: Callable[[Any], Number]) -> Callable[[Number], Number]:
    """A value on balls, and a derivative in functions that series have, which is integrated along the argument.

    >>> arcsinh = by_slope(arb.asinh, lambda a: (1 + a * a).rsqrt())
    >>> [round(float(c), 12) for c in (arcsinh(arb(0)), arcsinh(arb_series([0, 1]))[1])]
    [0.0, 1.0]
    """
    return by_series(value, lambda a: (slope(a) * a.derivative()).integral())


def by_own_slope(value: Callable[[arb], arb], slope: Callable[[Any], Number]) -> Callable[[Number], Number]:
    """A value on balls, and a derivative in terms of the function itself: each integration makes one more term right.

    >>> exp = by_own_slope(arb.exp, lambda y: y)
    >>> [float(c) for c in exp(arb_series([0, 1]))][:3]
    [1.0, 1.0, 0.5]
    """

    def integrated(a: Any) -> Number:
        y = arb_series([value(a[0])], prec=a.prec)
        for _ in range(a.prec - 1):
            y = _with_value(value(a[0]), (slope(y) * a.derivative()).integral())  # type: ignore[assignment]
        return y

    return by_series(value, integrated)


def by_derivatives(derivative: Callable[[int, arb], arb]) -> Callable[[Number], Number]:
    """A function whose derivatives of any order are known on balls: its Taylor series, at the argument's own.

    >>> sine = by_derivatives(lambda k, a: (a + k * arb.pi() / 2).sin())
    >>> [round(float(c), 12) for c in sine(arb_series([0, 2]))][:2]
    [0.0, 2.0]
    """

    def composed(a: Any) -> Number:
        step = _with_value(ZERO, a)
        total, power = arb_series([derivative(0, a[0])], prec=a.prec), arb_series([1], prec=a.prec)
        for k in range(1, a.prec):
            power = power * step
            total = total + power * (derivative(k, a[0]) / math.factorial(k))
        return total

    return by_series(lambda a: derivative(0, a), composed)


def _with_value(value: arb, a: Any) -> Number:
    return arb_series([value, *(a[k] for k in range(1, a.prec))], prec=a.prec)


def divide(a: Number, b: Number) -> Number:
    """``a / b``; NaN where b may be 0, also for 0/0, which flint's series would cancel.

    >>> float(divide(arb(1), arb(4))), float(divide(arb_series([0, 1]), arb_series([0, 1]))[0])
    (0.25, nan)
    """
    below = head(b)
    return a / b if below > 0 or below < 0 else without_slope(NAN, a, b)


log = inside(0.0, math.inf, lambda a: a.log())
"""The natural logarithm; NaN where a may be 0 or less."""


def sqrt(a: Number) -> Number:
    """The square root; at 0 it has a value but no slope, whatever the slope of a: ``sqrt(x*x)`` has a kink there.

    >>> root = sqrt(arb_series([0, 1]))
    >>> float(root[0]), float(root[1])
    (0.0, nan)
    """
    return a.sqrt() if head(a) > 0 else without_slope(head(a).sqrt(), a)


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


def absolute(a: Number) -> Number:
    """``max(a, -a)``.

    >>> float(absolute(arb(-3)))
    3.0
    """
    value = head(a)
    if value > 0:
        return a
    return -a if value < 0 else _hull(abs(value), a, -a)


def _hull(value: arb, a: Number, b: Number) -> Number:
    """The value with the slopes of both branches, and nothing beyond."""
    return with_slope(value, tail(a).union(tail(b)), a, b)


def length(*numbers: Number, exponent: float = 2.0) -> Number:
    """The root of a sum of squares, or powers; where that may be 0, the hull of all slopes that it has around there.

    >>> float(length(arb(3), arb(4)))
    5.0
    >>> tied = length(arb_series([0, 3]), arb_series([0, 4]))
    >>> float(tied[0]), bool(tied[1].contains(5)), bool(tied[1].contains(-5)), bool(tied[1].contains(5.1))
    (0.0, True, True, False)
    """
    if exponent != 2:
        return _length_of_powers(numbers, exponent)
    if any(head(x) != 0 for x in numbers):
        return sum((x * x for x in numbers), ZERO).sqrt()
    farthest, steepest = (_size([part(x) for x in numbers]) for part in (head, tail))
    return with_slope(union(ZERO, farthest), union(-steepest, steepest), *numbers)


def _length_of_powers(numbers: Sequence[Number], exponent: float) -> Number:
    """The same with other powers; any such length is at most the sum of all sizes."""
    if any(head(x) != 0 for x in numbers):
        # A power above 1 of what is 0 adds nothing, nor a slope; of what may be 0 nothing is known.
        powers = (absolute(x) ** arb(exponent) for x in numbers if not head(x).is_zero())
        return sum(powers, ZERO) ** (1 / arb(exponent))
    farthest, steepest = (sum((part(x).abs_upper() for x in numbers), ZERO).upper() for part in (head, tail))
    return with_slope(union(ZERO, farthest), union(-steepest, steepest), *numbers)


def _size(numbers: list[arb]) -> arb:
    """An upper bound of the length of any vector in some balls, exact where they are 0."""
    return sum((x.abs_upper() ** 2 for x in numbers), ZERO).sqrt().upper()

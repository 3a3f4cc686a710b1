"""The column ``ball`` of exponentials, logarithms, inverse functions and the like, by the rules of ``ball_forms``.

Where flint's series lack a function, its value is flint's on a ball, and the further coefficients come from its
derivative, written in functions that the series have, by integration.
"""

from __future__ import annotations

from collections.abc import Callable

from flint import arb, arb_series

from verify.numbers.ball_forms import Number, divide, either, head, log, maximum, minimum, sigmoid

_NAN = arb.nan()


def _with_value(value: arb, a: arb_series) -> arb_series:
    """A series with another value: flint's own loses digits where it is made of parts that cancel."""
    return arb_series([value, *(a[k] for k in range(1, a.prec))], prec=a.prec)


def _without_slope(value: arb, *like: Number) -> Number:
    """A value beside which nothing is known, a series where one of ``like`` is one."""
    series = next((a for a in like if isinstance(a, arb_series)), None)
    return value if series is None else arb_series([value, *[_NAN] * (series.prec - 1)], prec=series.prec)


def _integrated(value: arb, a: arb_series, slope: Callable[[arb_series], Number]) -> Number:
    """The function with a value at the head of ``a`` and a derivative ``slope``, along ``a``."""
    moved = slope(a) * a.derivative()
    return _with_value(value, moved.integral())


def _rising(function: Callable[[arb], arb], value: arb) -> arb:
    """A rising function of a ball of any width: the ends of the ball have the ends of the result."""
    y = function(value)
    if value.is_exact() or not value.is_finite():
        return y
    hull = function(value.lower()).union(function(value.upper()))
    return hull if not y.is_finite() or hull.rad() < y.rad() else y


def expm1(a: Number) -> Number:
    """``exp(a) - 1``, close to 0 too.

    >>> float(expm1(arb(1e-30)))
    1e-30
    """
    return a.expm1() if isinstance(a, arb) else _with_value(a[0].expm1(), a.exp())


def log1p(a: Number) -> Number:
    """``log(1 + a)``, close to 0 too; NaN where a may be -1 or less.

    >>> float(log1p(arb(0))), float(log1p(arb(-1)))
    (0.0, nan)
    """
    value = head(a)
    if not value > -1:
        return _without_slope(_NAN, a)
    return value.log1p() if isinstance(a, arb) else _with_value(value.log1p(), (1 + a).log())


def log2(a: Number) -> Number:
    """The logarithm to base 2.

    >>> round(float(log2(arb(8))), 12)
    3.0
    """
    return log(a) / arb(2).log()


def log10(a: Number) -> Number:
    """The logarithm to base 10.

    >>> round(float(log10(arb(1000))), 12)
    3.0
    """
    return log(a) / arb(10).log()


def softplus(a: Number) -> Number:
    """``log(1 + exp(a))``, for any a.

    >>> round(float(softplus(arb(0))), 12), float(softplus(arb(1e9)))
    (0.69314718056, 1000000000.0)
    """
    value = _rising(_softplus, head(a))
    return value if isinstance(a, arb) else _integrated(value, a, sigmoid)


def _softplus(value: arb) -> arb:
    return value.exp().log1p() if value < 0 else value + (-value).exp().log1p()


def sinh(a: Number) -> Number:
    """The hyperbolic sine.

    >>> float(sinh(arb(0)))
    0.0
    """
    return a.sinh() if isinstance(a, arb) else _with_value(a[0].sinh(), (a.exp() - (-a).exp()) / 2)


def cosh(a: Number) -> Number:
    """The hyperbolic cosine.

    >>> float(cosh(arb(0)))
    1.0
    """
    return a.cosh() if isinstance(a, arb) else _with_value(a[0].cosh(), (a.exp() + (-a).exp()) / 2)


def arcsinh(a: Number) -> Number:
    """The inverse of sinh.

    >>> float(arcsinh(arb(0)))
    0.0
    """
    value = _rising(arb.asinh, head(a))
    return value if isinstance(a, arb) else _integrated(value, a, lambda x: (1 + x * x).rsqrt())


def arccosh(a: Number) -> Number:
    """The inverse of cosh, for a >= 1; at 1 it has a value and no slope.

    >>> float(arccosh(arb(1))), float(arccosh(arb(0.5)))
    (0.0, nan)
    """
    value = head(a)
    if not value > 1:
        return _without_slope(arb(0) if value == 1 else _NAN, a)
    return value.acosh() if isinstance(a, arb) else _integrated(value.acosh(), a, lambda x: ((x - 1) * (x + 1)).rsqrt())


def arctanh(a: Number) -> Number:
    """The inverse of tanh, for -1 < a < 1.

    >>> float(arctanh(arb(0))), float(arctanh(arb(1)))
    (0.0, nan)
    """
    value = head(a)
    if not (value > -1 and value < 1):
        return _without_slope(_NAN, a)
    return value.atanh() if isinstance(a, arb) else _integrated(value.atanh(), a, _slope_of_arctanh)


def _slope_of_arctanh(a: arb_series) -> Number:
    """NaN where the ball ends so close to 1 or -1 that its distance is lost in rounding."""
    return divide(arb(1), (1 - a) * (1 + a))


def tan(a: Number) -> Number:
    """The tangent; NaN where a pole may be inside.

    >>> float(tan(arb(0))), float(tan(arb(1.5, 0.1)))
    (0.0, nan)
    """
    return a.tan()


def arcsin(a: Number) -> Number:
    """The inverse of the sine, for -1 <= a <= 1; at the ends it has a value and no slope.

    >>> float(arcsin(arb(0))), float(arcsin(arb(1.5)))
    (0.0, nan)
    """
    value = head(a)
    inside = value > -1 and value < 1
    return a.asin() if inside else _without_slope(value.asin() if value in (-1, 1) else _NAN, a)


def arccos(a: Number) -> Number:
    """The inverse of the cosine, for -1 <= a <= 1; at the ends it has a value and no slope.

    >>> float(arccos(arb(1))), float(arccos(arb(1.5)))
    (0.0, nan)
    """
    value = head(a)
    inside = value > -1 and value < 1
    return a.acos() if inside else _without_slope(value.acos() if value in (-1, 1) else _NAN, a)


def arctan(a: Number) -> Number:
    """The inverse of the tangent.

    >>> float(arctan(arb(0)))
    0.0
    """
    return a.atan() if isinstance(a, arb) else _with_value(_rising(arb.atan, a[0]), a.atan())


def arctan2(a: Number, b: Number) -> Number:
    """The angle of the point (b, a); it jumps by a turn where a = 0 and b < 0, and has no slope there or at (0, 0).

    >>> round(float(arctan2(arb(1), arb(0))), 9), round(float(arctan2(arb(0), arb(-1))), 9)
    (1.570796327, 3.141592654)
    """
    above, right = head(a), head(b)
    if right > 0:
        return arctan(divide(a, b))
    if above > 0 or above < 0:
        quarter = arb.pi() / 2
        return (quarter if above > 0 else -quarter) - arctan(divide(b, a))
    if above == 0 and (right < 0 or right == 0):
        return _without_slope(arb.pi() if right < 0 else arb(0), a, b)
    anywhere = arb(0, 1) * arb.pi() if above.is_finite() and right.is_finite() else _NAN
    return _without_slope(anywhere, a, b)


def erfc(a: Number) -> Number:
    """``1 - erf(a)``, without its cancellation for large a.

    >>> float(erfc(arb(0)))
    1.0
    """
    return a.erfc() if isinstance(a, arb) else _with_value(a[0].erfc(), -a.erf())


def gamma(a: Number) -> Number:
    """The gamma function, for a > 0.

    >>> round(float(gamma(arb(5))), 9), float(gamma(arb(0)))
    (24.0, nan)
    """
    return a.gamma() if head(a) > 0 else _without_slope(_NAN, a)


def lgamma(a: Number) -> Number:
    """The logarithm of the gamma function, for a > 0.

    >>> round(float(lgamma(arb(1))), 9), float(lgamma(arb(-0.5)))
    (0.0, nan)
    """
    return a.lgamma() if head(a) > 0 else _without_slope(_NAN, a)


def cbrt(a: Number) -> Number:
    """The real cube root; at 0 it has a value and no slope.

    >>> round(float(cbrt(arb(-8))), 12), float(cbrt(arb(0)))
    (-2.0, 0.0)
    """
    value = head(a)
    if value > 0:
        return a ** (arb(1) / 3)
    return -cbrt(-a) if value < 0 else _without_slope(_rising(_root, value), a)


def _root(value: arb) -> arb:
    """The cube root of a number whose sign is known; NaN for a ball around 0."""
    if value == 0:
        return arb(0)
    if value > 0:
        return value.root(3)
    return -(-value).root(3) if value < 0 else _NAN


def square(a: Number) -> Number:
    """``a * a``, which is never below 0.

    >>> float(square(arb(-3)))
    9.0
    """
    return a**2


def reciprocal(a: Number) -> Number:
    """``1 / a``; NaN where a may be 0.

    >>> float(reciprocal(arb(4))), float(reciprocal(arb(0)))
    (0.25, nan)
    """
    return divide(arb(1), a)


def clip(a: Number, lo: float, hi: float) -> Number:
    """``min(max(a, lo), hi)``; where it is undecided which, the hull of the slopes.

    >>> float(clip(arb(3), -1, 1)), float(clip(arb(0.5), -1, 1))
    (1.0, 0.5)
    """
    return minimum(maximum(a, arb(lo)), arb(hi))


def leaky_relu(a: Number, slope: float) -> Number:
    """``a`` above 0, ``slope * a`` below.

    >>> float(leaky_relu(arb(-2), 0.5)), float(leaky_relu(arb(2), 0.5))
    (-1.0, 2.0)
    """
    return _by_sign(a, lambda x: x, lambda x: arb(slope) * x)


def elu(a: Number, alpha: float) -> Number:
    """``a`` above 0, ``alpha * (exp(a) - 1)`` below.

    >>> float(elu(arb(2), 1.0)), float(elu(arb(0), 1.0))
    (2.0, 0.0)
    """
    return _by_sign(a, lambda x: x, lambda x: arb(alpha) * expm1(x))


def _by_sign(a: Number, above: Callable[[Number], Number], below: Callable[[Number], Number]) -> Number:
    """Two branches that meet at 0; where the sign is undecided, what holds both."""
    value = head(a)
    if value > 0:
        return above(a)
    return below(a) if value < 0 else either(above(a), below(a))


def floor(a: Number) -> Number:
    """The largest whole number that is not above a; at whole numbers it jumps and has no slope.

    >>> float(floor(arb(-1.5))), float(floor(arb_series([2, 1]))[0]), float(floor(arb_series([2, 1]))[1])
    (-2.0, 2.0, nan)
    """
    return _steps(a, head(a).floor())


def ceil(a: Number) -> Number:
    """The smallest whole number that is not below a; at whole numbers it jumps and has no slope.

    >>> float(ceil(arb(-1.5))), float(ceil(arb_series([2.5, 1]))[1])
    (-1.0, 0.0)
    """
    return _steps(a, head(a).ceil())


def _steps(a: Number, value: arb) -> Number:
    if not isinstance(a, arb_series) or not value.is_exact() or head(a).contains_integer():
        return _without_slope(value, a)
    return arb_series([value])


def where(a: Number, b: Number, x: Number, y: Number) -> Number:
    """``x`` where ``a > b``, else ``y``; the branch that is not taken may be anything, NaN too.

    Where it is undecided, and where a = b, there is no slope: whether the branches meet is not known here.

    >>> float(where(arb(2), arb(1), arb(5), arb.nan())), float(where(arb(1), arb(1), arb(5), arb(6)))
    (5.0, 6.0)
    """
    first, second = head(a), head(b)
    if first > second:
        return x
    if first < second:
        return y
    if first == second:
        return _without_slope(head(y), a, b, x, y)
    return _without_slope(head(either(head(x), head(y))), a, b, x, y)


def where_or_equal(a: Number, b: Number, x: Number, y: Number) -> Number:
    """``x`` where ``a >= b``, else ``y``.

    >>> float(where_or_equal(arb(1), arb(1), arb(5), arb(6)))
    5.0
    """
    return where(b, a, y, x)

"""Numbers with a radius: NumPy code run on :class:`Balls` bounds its own rounding errors.

A ball is a value, computed exactly as NumPy computes it, and a radius that bounds how far the value may be from what
exact arithmetic on the true operands would give: ``|value - exact| <= radius``. Each rule adds what the operands'
radii do to the result (propagation) and what the operation itself rounds off in its dtype. A radius of inf means that
nothing is known: an operand left the domain, or something overflowed. Only at the closed edge of a domain (sqrt and
positive powers at 0) a ball that reaches over the edge is cut there, since what lies beyond has no result to hold.

Branches follow the values: comparisons and ``where`` look at values only, so a result holds for the branch that the
floats took. Whoever must know whether the exact branch could be the other one looks at the ball of its argument.

Radii are float64 whatever the values' dtype is. They round too: :data:`GROW` and :data:`SHRINK` keep the parts of a
rule on the safe side, and every finished radius is raised by 64 units in the last place of the *value's* dtype,
because rules put the computed value in place of the exact one.
"""

# ruff: noqa: ARG001, ARG005 - every rule takes the same arguments, whether it needs them or not

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.lib.mixins import NDArrayOperatorsMixin

from verify.numbers import matrices, matrix_bounds

LIMITS: Mapping[np.dtype[Any], tuple[float, float]] = {
    np.dtype(np.float64): (2.0**-53, 2.0**-1074),
    np.dtype(np.float32): (2.0**-24, 2.0**-149),
}
"""dtype -> unit roundoff (half an ulp of 1) and smallest subnormal number."""

GROW, SHRINK = 1.0 + 2.0**-48, 1.0 - 2.0**-48
"""Factors that outweigh the few roundings of a bound computed in float64."""

EXACT, ROUNDED, LIBRARY = 0.0, 1.0, 8.0
"""How far an operation's result is from exact, in units of ``unit_roundoff * |result|``.

+ - * / and sqrt round correctly: 1. For the others NumPy's own tests of accuracy allow up to 4 ulp, which is 8. Found
against mpmath (10,000 to 50,000 arguments over the whole range; x86-64 with AVX-512, in brackets with it switched off):

========  ===========  ===========      ========  ===========  ===========
function  float64      float32          function  float64      float32
========  ===========  ===========      ========  ===========  ===========
exp       1.12 (1.00)  2.85 (2.54)      sinh      1.25 (2.03)  1.78 (2.14)
log       1.09 (0.99)  3.72 (3.29)      cosh      1.51 (1.87)  3.40 (1.93)
expm1     1.00 (1.21)  3.07 (1.28)      tanh      1.54 (1.53)  1.78 (1.72)
log1p     1.03 (1.33)  2.56 (1.30)      sin       1.01 (1.01)  1.84 (1.83)
power     1.15 (1.00)  2.19 (1.18)      cos       0.99 (0.99)  1.89 (1.85)
log2      0.99 (0.99)  2.06 (1.79)      tan       0.99 (0.96)  2.12 (2.50)
log10     1.00 (1.00)  2.74 (2.38)      arcsin    1.29 (1.15)  4.05 (4.15)
arcsinh   0.98 (0.97)  1.00 (0.97)      arccos    1.50 (1.36)  2.41 (2.36)
arccosh   1.13 (1.11)  1.95 (1.65)      arctan    0.95 (0.96)  1.76 (1.58)
arctanh   0.99 (1.00)  1.12 (1.00)      arctan2   1.42 (0.95)  2.31 (1.95)
cbrt      1.00 (0.98)  2.40 (2.61)      hypot     0.99         0.98
erf       2.73         1.00             erfc      see _erfc    1.00
gamma     5.24         0.99             psi       4.49         1.00
========  ===========  ===========      ========  ===========  ===========

Subnormal results were at most 1.12 smallest subnormals away; rules that can underflow add 2.
"""


def _quiet() -> np.errstate:
    """Overflow and the like end in a radius of inf; a warning would add nothing."""
    return np.errstate(all="ignore")


class Balls(NDArrayOperatorsMixin):
    """An array of values, each with a radius around it that holds the exact number.

    ``value`` is float64 or float32, ``radius`` float64, both of the same shape and in the same unit. Plain arrays and
    Python numbers mix in as exact; a Python number that a float32 cannot hold brings the difference as its radius.

    >>> x = Balls.exact(np.array([3.0, 0.1]))
    >>> y = (1e9 + x) - 1e9
    >>> y.value.tolist(), bool(np.all(abs(y.value - x.value) <= y.radius))
    ([3.0, 0.10000002384185791], True)
    """

    __slots__ = ("radius", "value")

    def __init__(self, value: Any, radius: Any) -> None:
        """Takes the arrays as they are; integers become float64. Raises TypeError for any other dtype."""
        self.value: np.ndarray[Any, Any] = np.asarray(value)
        if self.value.dtype.kind in "biu":
            self.value = self.value.astype(np.float64)
        if self.value.dtype not in LIMITS:
            raise TypeError(f"balls hold float64 or float32, got {self.value.dtype}")
        self.radius: np.ndarray[Any, Any] = np.asarray(radius, dtype=np.float64)
        if self.radius.shape != self.value.shape:
            self.radius = np.broadcast_to(self.radius, self.value.shape).copy()

    @classmethod
    def exact(cls, array: Any) -> Balls:
        """Balls of radius 0: the numbers as they are.

        >>> Balls.exact([1.0, 2.0]).radius
        array([0., 0.])
        """
        return cls(array, 0.0)

    @classmethod
    def of(cls, number: Any) -> Balls:
        """Balls as they are, and other numbers as balls of radius 0.

        >>> Balls.of(Balls(np.ones(1), 0.5)).radius, Balls.of(np.ones(1)).radius
        (array([0.5]), array([0.]))
        """
        return number if isinstance(number, cls) else cls.exact(number)

    @classmethod
    def widened(cls, array: Any, relative: float) -> Balls:
        """Balls around numbers that are known to within ``relative * |x|``.

        >>> Balls.widened([8.0, 0.0], 2.0**-24).radius
        array([4.76837158e-07, 0.00000000e+00])
        """
        ball = cls.exact(array)
        with _quiet():
            size = np.abs(ball.value.astype(np.float64))
            ball.radius = np.where(size > 0, np.nextafter(relative * size, np.inf), 0.0)
        return ball

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the values."""
        shape: tuple[int, ...] = self.value.shape
        return shape

    @property
    def ndim(self) -> int:
        """The number of axes."""
        return self.value.ndim

    @property
    def dtype(self) -> np.dtype[Any]:
        """The dtype of the values, which decides how coarsely an operation rounds."""
        dtype: np.dtype[Any] = self.value.dtype
        return dtype

    @property
    def unit_roundoff(self) -> float:
        """Half an ulp of 1 in the values' dtype: 2**-53 or 2**-24."""
        return LIMITS[self.dtype][0]

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **kwargs: Any) -> Any:
        """Runs a NumPy ufunc by its rule. Raises TypeError for a ufunc, method or option that has none."""
        out = kwargs.pop("out", None)
        if method == "reduce" and ufunc is np.add:
            result = _sum(*inputs, **{"axis": 0, **kwargs})
        elif kwargs or method != "__call__":
            asked = [f"method {method!r}"] * (method != "__call__") + [f"option {name!r}" for name in kwargs]
            raise TypeError(f"balls do not know {', '.join(asked)} of numpy.{ufunc.__name__}")
        elif ufunc in BY_VALUE:
            with _quiet():
                return ufunc(*[_raw(x) for x in inputs])
        elif ufunc is np.matmul:
            result = _matmul(*inputs)
        elif ufunc in RULES or ufunc.__name__ in FOREIGN_RULES:
            rule = RULES[ufunc] if ufunc in RULES else FOREIGN_RULES[ufunc.__name__]
            result = _evaluate(ufunc, rule, inputs)
        else:
            raise TypeError(
                f"balls have no rule for the ufunc numpy.{ufunc.__name__}; add one to verify.numbers.balls.RULES"
            )
        if out is None:
            return result
        out[0][...] = result
        return out[0]

    def __array_function__(self, func: Callable[..., Any], types: Any, args: Any, kwargs: Any) -> Any:
        """Runs a NumPy function on values and radii. Raises TypeError for a function that balls do not know."""
        if func in STRUCTURAL:
            ball, *rest = args
            return Balls(func(ball.value, *rest, **kwargs), func(ball.radius, *rest, **kwargs))
        if func not in FUNCTIONS:
            raise TypeError(f"balls do not know the function numpy.{func.__name__}; see verify.numbers.balls.FUNCTIONS")
        return FUNCTIONS[func](*args, **kwargs)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Any:
        """Refuses to become a plain array, which would drop the radius silently. Raises TypeError."""
        raise TypeError("a plain array would lose the radius: take .value or .radius")

    def __pow__(self, exponent: Any) -> Any:
        """``**`` as NumPy's arrays do it, which is not ``np.power`` for some Python numbers."""
        shortcut = SHORTCUTS.get(exponent) if isinstance(exponent, (int, float)) else None
        return np.power(self, exponent) if shortcut is None else shortcut(self)

    def reshape(self, *shape: Any) -> Balls:
        """The same balls in another shape."""
        return Balls(self.value.reshape(*shape), self.radius.reshape(*shape))

    def transpose(self, *axes: Any) -> Balls:
        """The same balls with their axes permuted."""
        return Balls(self.value.transpose(*axes), self.radius.transpose(*axes))

    def in_doubt(self, chosen: Any, first: Any, second: Any) -> Balls:
        """What was chosen by the sign of these balls, wide enough to hold both choices where a ball holds 0.

        >>> balls = Balls(np.array([2.0, 2.0]), np.array([1.0, 3.0]))
        >>> balls.in_doubt(Balls.exact([5.0, 5.0]), np.array([5.0, 5.0]), np.array([7.0, 7.0])).radius.round(9).tolist()
        [0.0, 2.0]
        """
        with _quiet():
            (one, r_one), (other, r_other) = (_operand(x, chosen.dtype) for x in (first, second))
            apart = (np.abs(one - other) + r_one + r_other) * (1 + 2.0**-50)
            doubtful = (np.abs(self.value) <= self.radius) & (self.radius > 0)
        radius = chosen.radius if isinstance(chosen, Balls) else 0.0
        return _ball(_raw(chosen), np.where(doubtful, apart, radius))

    def __len__(self) -> int:
        return len(self.value)

    def __getitem__(self, index: Any) -> Balls:
        return Balls(self.value[index], self.radius[index])

    def __setitem__(self, index: Any, item: Any) -> None:
        with _quiet():
            _, radius = _operand(item, self.dtype)
            self.value[index] = _raw(item)
        self.radius[index] = radius

    def __repr__(self) -> str:
        return f"Balls({self.value!r}, radius={self.radius!r})"


# -------------------------------------------------------------------------------------------------- how a rule is run


@dataclass(frozen=True, slots=True)
class Rule:
    """How one elementwise ufunc treats balls.

    ``propagated(m, a, ra)`` or ``propagated(m, a, ra, b, rb)`` bounds what the operands' radii do to the result, all
    in float64: ``a, b`` the operands' values, ``ra, rb`` their radii, ``m`` a bound of the exact result's size at the
    values (up to roundings of the values' dtype, which the caller makes good). NaN means that nothing is known.
    """

    propagated: Callable[..., Any]
    rounding: float = EXACT
    underflows: bool = False


def _evaluate(call: Callable[..., Any], rule: Rule, inputs: Sequence[Any]) -> Balls:
    with _quiet():
        value = np.asarray(call(*[_raw(x) for x in inputs]))
        operands = [part for x in inputs for part in _operand(x, value.dtype)]
        unit, tiny = LIMITS[value.dtype]
        size = np.abs(value.astype(np.float64, copy=False))
        radius = rule.propagated(size + 4 * tiny if rule.underflows else size, *operands)
        if rule.rounding:
            radius = (radius + (rule.rounding * unit) * size) * (1 + 64 * unit)
        if rule.underflows:
            radius = radius + 2 * tiny
        return _ball(value, radius)


def _ball(value: Any, radius: Any) -> Balls:
    """The ball with inf for every radius that came out as NaN or belongs to a value that is not finite."""
    return Balls(value, np.where(np.isfinite(value) & (radius == radius), radius, np.inf))  # noqa: PLR0124 - NaN test


def _raw(x: Any) -> Any:
    return x.value if isinstance(x, Balls) else x


def _operand(x: Any, dtype: np.dtype[Any]) -> tuple[Any, Any]:
    """An operand as an operation in ``dtype`` reads it, held in float64, and how far that is from what was meant."""
    if dtype not in LIMITS:
        raise TypeError(f"balls compute in float64 or float32, not {dtype}")
    given = np.asarray(_raw(x))
    meant = given.astype(np.float64, copy=False)
    radius = x.radius if isinstance(x, Balls) else np.float64(0.0)
    if given.dtype.kind in "iu":  # integers beyond 2**53 were rounded just now
        radius = radius + np.where(np.abs(meant) >= 2.0**53, 2.0**-53 * np.abs(meant), 0.0)
    if dtype in (given.dtype, np.float64):
        return meant, radius
    read = given.astype(dtype).astype(np.float64)
    return read, radius + np.abs(read - meant)


# ------------------------------------------------------------------------------------------------------- propagation


def _inner(a: Any, ra: Any) -> Any:
    """The smallest size in the ball, NaN where the ball holds 0."""
    near = np.abs(a) - ra
    return np.where(near > 0, near * SHRINK, np.nan)


def _exp(m: Any, a: Any, ra: Any) -> Any:
    # Of a wide ball no more is known than that the result lies between 0 and its upper end: nothing, far below 0.
    near = m * np.expm1(ra)
    wide = ra > 1.0
    return np.where(wide, np.fmin(near, np.exp(a + ra) * GROW), near) if np.any(wide) else near


def _sqrt(m: Any, a: Any, ra: Any) -> Any:
    # sqrt(a) - sqrt(a - ra) without cancellation; a ball that reaches below 0 is taken as far as the domain goes.
    return np.where(a > ra, ra / (m + np.sqrt(np.maximum(a - ra, 0.0))), np.sqrt(a + ra))


def _tanh(m: Any, a: Any, ra: Any) -> Any:
    return ra / np.cosh(np.maximum(np.abs(a) - ra, 0.0) * SHRINK) ** 2


# sinh x - sinh y = 2 cosh((x + y) / 2) sinh((x - y) / 2), and likewise cosh; steepest at the end farther from 0.


def _sinh(m: Any, a: Any, ra: Any) -> Any:
    return 2 * np.cosh((np.abs(a) + ra / 2) * GROW) * np.sinh(ra / 2)


def _cosh(m: Any, a: Any, ra: Any) -> Any:
    return 2 * np.sinh((np.abs(a) + ra / 2) * GROW) * np.sinh(ra / 2)


def _tan(m: Any, a: Any, ra: Any) -> Any:
    # tan x - tan a = sin(x - a) / (cos x cos a), and the cosine moves no faster than its argument.
    cosine = np.cos(a)
    return ra / (_inner(cosine, ra) * np.abs(cosine) * SHRINK)


def _arcsin(m: Any, a: Any, ra: Any) -> Any:
    gap = ((1 - np.abs(a)) - ra) * SHRINK
    edge = np.pi * np.sqrt(ra / 2)  # what an arcsine changes at most over that length: next to its end
    return np.where(gap > 0, np.fmin(ra / np.sqrt(gap * (1 + np.abs(a) + ra)), edge), edge)


def _arctan(m: Any, a: Any, ra: Any) -> Any:
    steep = np.hypot(1, np.maximum(np.abs(a) - ra, 0)) * SHRINK
    return np.minimum(ra / steep / steep, np.pi)


def _arctan2(m: Any, a: Any, ra: Any, b: Any, rb: Any) -> Any:
    # A point that moves by d at a distance r from the origin turns by asin(d / r) at most.
    turned = np.arcsin(np.hypot(ra, rb) / np.hypot(a, b) * GROW)
    exact = (ra == 0) & ~np.signbit(a)  # the angle of -0.0 is -pi, and that of the number 0 is pi
    return np.where((np.abs(a) <= ra) & (b - rb <= 0) & ~exact, 2 * np.pi * GROW, turned)


def _arcsinh(m: Any, a: Any, ra: Any) -> Any:
    return ra / (np.hypot(1, np.maximum(np.abs(a) - ra, 0)) * SHRINK)


def _arccosh(m: Any, a: Any, ra: Any) -> Any:
    gap = ((a - 1) - ra) * SHRINK
    edge = np.sqrt(2 * ra)  # from the end at 1, where it is steepest
    return np.where(gap > 0, np.fmin(ra / np.sqrt(gap * (gap + 2)), edge), edge)


def _arctanh(m: Any, a: Any, ra: Any) -> Any:
    gap = ((1 - np.abs(a)) - ra) * SHRINK
    return np.where(gap > 0, ra / (gap * (1 + np.abs(a) + ra)), np.nan)


def _cbrt(m: Any, a: Any, ra: Any) -> Any:
    around = 2 * np.cbrt(ra / 2)  # no interval of that length changes more than the one around 0
    return np.fmin(ra / (3 * np.cbrt(_inner(a, ra)) ** 2), around)


def _erf(m: Any, a: Any, ra: Any) -> Any:
    # The slope is steepest at the end nearest to 0.
    return ra * np.exp(-(np.maximum(np.abs(a) - ra, 0) ** 2)) * 1.1284


def _steepest_lgamma(a: Any, ra: Any) -> Any:
    """How steep log(gamma) is at most: its slope, psi, rises."""
    from scipy.special import psi

    return np.maximum(np.abs(psi(_positive(a, ra))), np.abs(psi(a + ra))) * (1 + 2.0**-40) + 2.0**-50


def _positive(a: Any, ra: Any) -> Any:
    """The lower end of a ball, NaN where it is not above 0."""
    return np.where(a > ra, (a - ra) * SHRINK, np.nan)


def _gamma(m: Any, a: Any, ra: Any) -> Any:
    return m * np.expm1(ra * _steepest_lgamma(a, ra) * GROW)


def _gammaln(m: Any, a: Any, ra: Any) -> Any:
    # Close to the zeros at 1 and 2 SciPy's digits are absolute.
    return ra * _steepest_lgamma(a, ra) + np.where((a > 0.25) & (a < 4), 2.0**-50, 0.0)


def _psi(m: Any, a: Any, ra: Any) -> Any:
    from scipy.special import zeta  # zeta(2, a) is the slope of psi, which falls

    return ra * zeta(2, _positive(a, ra)) * (1 + 2.0**-40)


def _zeta(m: Any, s: Any, rs: Any, a: Any, ra: Any) -> Any:
    from scipy.special import zeta  # Hurwitz's, which falls; its slope is -s zeta(s + 1, a)

    return np.where(rs == 0, ra * s * zeta(s + 1, _positive(a, ra)) * (1 + 2.0**-40), np.nan)


def _erfinv(m: Any, a: Any, ra: Any) -> Any:
    from scipy.special import erfinv  # steepest at the end farthest from 0

    end = np.abs(a) + ra
    return np.where(end < 1, ra * 0.8863 * np.exp(erfinv(np.where(end < 1, end, 0.0)) ** 2), np.nan)


def _i0(m: Any, a: Any, ra: Any) -> Any:
    from scipy.special import i1

    return ra * i1((np.abs(a) + ra) * GROW) * (1 + 2.0**-40)


def _i1(m: Any, a: Any, ra: Any) -> Any:
    from scipy.special import i0  # its slope is no more than that

    return ra * i0((np.abs(a) + ra) * GROW) * (1 + 2.0**-40)


def _scaled_bessel(m: Any, a: Any, ra: Any) -> Any:
    # Order 0 falls with abs(a); no slope of order 0 or 1 is steeper than it, nor than it over abs(a).
    from scipy.special import i0e

    low = np.maximum(np.abs(a) - ra, 0.0)
    return ra * i0e(low) / np.maximum(low, 1.0) * (1 + 2.0**-20)


def _iv(m: Any, order: Any, _: Any, a: Any, ra: Any) -> Any:
    return _i1(m, a, ra)


def _erfc(m: Any, a: Any, ra: Any) -> Any:
    # SciPy takes the exponential of a rounded square: its error grows with that.
    return _erf(m, a, ra) + np.where(a > 1, m * (a * a * 2.0**-51), 0.0)


def _square(m: Any, a: Any, ra: Any) -> Any:
    return ra * (2 * np.abs(a) + ra)


def _multiply(m: Any, a: Any, ra: Any, b: Any, rb: Any) -> Any:
    return np.abs(a) * rb + ra * (np.abs(b) + rb)


def _divide(m: Any, a: Any, ra: Any, b: Any, rb: Any) -> Any:
    near = _inner(b, rb)
    return ra / near + m * (rb / near)


def _power(m: Any, a: Any, ra: Any, b: Any, rb: Any) -> Any:
    integer = (rb == 0) & (b == np.rint(b))
    # Away from 0 the result is exp(b log |a|): how far can its exponent move?
    moved = (np.abs(b) + rb) * np.log1p(ra / _inner(a, ra)) + rb * np.abs(np.log(np.abs(a)))
    away = np.where((a > 0) | integer, m * np.expm1(moved * GROW), np.nan)
    around = np.where((rb == 0) & (b > 0), 2 * ((np.abs(a) + ra) * GROW) ** b, np.nan)
    return np.where(integer & (b == 0), 0.0, np.where(np.abs(a) > ra, away, around))


def _maximum(m: Any, a: Any, ra: Any, b: Any, rb: Any) -> Any:
    # Rounding is monotone, so a strict inequality of rounded sums is one of the exact sums.
    return np.where(a - ra > b + rb, ra, np.where(b - rb > a + ra, rb, np.maximum(ra, rb)))


def _floor(m: Any, a: Any, ra: Any) -> Any:
    below = np.where(ra > 0, np.nextafter(a - ra, -np.inf), a)
    return np.floor(a + ra) - np.floor(below)


def _ceil(m: Any, a: Any, ra: Any) -> Any:
    return _floor(m, -a, ra)


def _sign(m: Any, a: Any, ra: Any) -> Any:
    return np.where(np.isinf(ra), np.inf, np.where((np.abs(a) > ra) | (ra == 0), 0.0, 2.0))


RULES: dict[np.ufunc, Rule] = {
    np.positive: Rule(lambda m, a, ra: ra),
    np.negative: Rule(lambda m, a, ra: ra),
    np.absolute: Rule(lambda m, a, ra: ra),
    np.sign: Rule(_sign),
    np.floor: Rule(_floor),
    np.ceil: Rule(_ceil),
    # A length never changes faster than the vector moves.
    np.hypot: Rule(lambda m, a, ra, b, rb: np.hypot(ra, rb) * GROW, LIBRARY, underflows=True),
    np.maximum: Rule(_maximum),
    np.minimum: Rule(lambda m, a, ra, b, rb: _maximum(m, -a, ra, -b, rb)),
    np.add: Rule(lambda m, a, ra, b, rb: ra + rb, ROUNDED),
    np.subtract: Rule(lambda m, a, ra, b, rb: ra + rb, ROUNDED),
    np.multiply: Rule(_multiply, ROUNDED, underflows=True),
    np.divide: Rule(_divide, ROUNDED, underflows=True),
    np.square: Rule(_square, ROUNDED, underflows=True),
    np.reciprocal: Rule(lambda m, a, ra: m * (ra / _inner(a, ra)), ROUNDED, underflows=True),
    np.sqrt: Rule(_sqrt, ROUNDED),
    np.power: Rule(_power, LIBRARY, underflows=True),
    np.exp: Rule(_exp, LIBRARY, underflows=True),
    np.expm1: Rule(lambda m, a, ra: (np.exp(a) + 2.0**-1072) * np.expm1(ra), LIBRARY, underflows=True),
    # log(a) - log(a - ra) = log1p(ra / (a - ra)): accurate even where ra is nearly a.
    np.log: Rule(lambda m, a, ra: np.log1p(ra / _inner(a, ra)), LIBRARY),
    np.log1p: Rule(lambda m, a, ra: np.log1p(ra / _inner((1 + a) * SHRINK, ra)), LIBRARY, underflows=True),
    np.log2: Rule(lambda m, a, ra: np.log1p(ra / _inner(a, ra)) * 1.442695041, LIBRARY),
    np.log10: Rule(lambda m, a, ra: np.log1p(ra / _inner(a, ra)) * 0.4342944820, LIBRARY),
    np.cbrt: Rule(_cbrt, LIBRARY),
    np.sin: Rule(lambda m, a, ra: ra, LIBRARY, underflows=True),
    np.cos: Rule(lambda m, a, ra: ra, LIBRARY),
    np.tan: Rule(_tan, LIBRARY, underflows=True),
    np.arcsin: Rule(_arcsin, LIBRARY, underflows=True),
    np.arccos: Rule(_arcsin, LIBRARY),
    np.arctan: Rule(_arctan, LIBRARY, underflows=True),
    np.arctan2: Rule(_arctan2, LIBRARY, underflows=True),
    np.tanh: Rule(_tanh, LIBRARY, underflows=True),
    np.sinh: Rule(_sinh, LIBRARY, underflows=True),
    np.cosh: Rule(_cosh, LIBRARY),
    np.arcsinh: Rule(_arcsinh, LIBRARY, underflows=True),
    np.arccosh: Rule(_arccosh, LIBRARY),
    np.arctanh: Rule(_arctanh, LIBRARY, underflows=True),
}
"""Elementwise ufunc -> its rule. ``matmul`` and ``add.reduce`` have functions of their own below."""

FOREIGN_RULES: dict[str, Rule] = {
    "erf": Rule(_erf, LIBRARY, underflows=True),
    "erfc": Rule(_erfc, LIBRARY, underflows=True),
    "gamma": Rule(_gamma, LIBRARY),
    "gammaln": Rule(_gammaln, LIBRARY),
    "psi": Rule(_psi, LIBRARY),
    "_zeta": Rule(_zeta, LIBRARY, underflows=True),
    "erfinv": Rule(_erfinv, LIBRARY, underflows=True),
    "i0": Rule(_i0, LIBRARY),
    "i1": Rule(_i1, LIBRARY, underflows=True),
    "i0e": Rule(_scaled_bessel, LIBRARY),
    "i1e": Rule(_scaled_bessel, LIBRARY, underflows=True),
    "iv": Rule(_iv, LIBRARY, underflows=True),
}
"""The same by name, for ufuncs of SciPy's: importing it would cost more than a run of most cases."""

SHORTCUTS: Mapping[float, np.ufunc] = {2: np.square, 1: np.positive, -1: np.reciprocal, 0.5: np.sqrt}
"""What ``array ** number`` computes instead of ``np.power``; rounded more tightly than a power."""

BY_VALUE: frozenset[np.ufunc] = frozenset(
    (np.greater, np.greater_equal, np.less, np.less_equal, np.equal, np.not_equal, np.isfinite, np.isinf, np.isnan)
)
"""Ufuncs that answer with plain booleans, by the values alone."""


def _matmul(a: Any, b: Any) -> Balls:
    with _quiet():
        value = np.matmul(_raw(a), _raw(b))
        (a64, ra), (b64, rb) = (_operand(x, np.asarray(value).dtype) for x in (a, b))
        terms = a64.shape[-1]
        unit, tiny = LIMITS[np.asarray(value).dtype]
        left, right = np.abs(a64), np.abs(b64)
        # A dot product in any order is within terms * u of the sum of its terms' sizes.
        radius = np.matmul(left, rb + (terms + 1) * unit * right)
        radius = radius + np.matmul(np.broadcast_to(ra, left.shape), right + rb)
        return _ball(value, radius * (1 + (64 + 2 * terms) * unit) + 2 * (terms + 1) * tiny)


def _sum(a: Balls, axis: Any = None, keepdims: bool = False) -> Balls:
    with _quiet():
        value = np.asarray(np.sum(a.value, axis=axis, keepdims=keepdims))
        unit, _ = LIMITS[a.dtype]
        terms = a.value.size // max(value.size, 1)
        each = a.radius + (max(terms, 1) - 1) * unit * np.abs(a.value.astype(np.float64, copy=False))
        radius = np.sum(each, axis=axis, keepdims=keepdims)
        return _ball(value, radius * (1 + (64 + 2 * terms) * unit))


def _einsum(subscripts: str, *arrays: Any, optimize: Any = False) -> Balls:
    """A sum of products by explicit subscripts: in any order, it is within terms * u of the sum of the terms' sizes."""
    with _quiet():
        value = np.asarray(np.einsum(subscripts, *map(_raw, arrays), optimize=optimize))
        unit, tiny = LIMITS[value.dtype]
        parts = [_operand(x, value.dtype) for x in arrays]
        sizes = [np.abs(meant) for meant, _ in parts]
        reach = [size + radius for size, (_, radius) in zip(sizes, parts, strict=True)]
        left, _, result = subscripts.partition("->")
        lengths = {
            letter: n
            for letters, size in zip(left.split(","), sizes, strict=True)
            for letter, n in zip(letters, size.shape, strict=True)
        }
        terms = math.prod(n for letter, n in lengths.items() if letter not in result) + len(arrays)
        farthest = np.einsum(subscripts, *reach, optimize=optimize)
        moved = farthest - np.einsum(subscripts, *sizes, optimize=optimize)
        # What one product loses by underflow is multiplied by the other factors.
        lost = np.einsum(subscripts, *(np.maximum(size, 1.0) for size in reach), optimize=optimize)
        rounding = 2 * terms * unit * farthest
        return _ball(value, (np.maximum(moved, 0.0) + rounding) * (1 + 64 * unit) + 2 * terms * tiny * lost)


def _product(
    function: Callable[..., Any], a: Balls, axis: Any, keywords: Mapping[str, Any], terms: int | None = None
) -> Balls:
    """A product, or all products on the way to it: within terms * u, and underflow on the way times what follows."""
    with _quiet():
        value = np.asarray(function(a.value, axis=axis, **keywords))
        terms = a.value.size // max(value.size, 1) if terms is None else terms
        unit, tiny = LIMITS[a.dtype]
        size = np.abs(a.value.astype(np.float64, copy=False))
        farthest = function(size + a.radius, axis=axis, **keywords)
        moved = np.maximum(farthest - function(size, axis=axis, **keywords), 0.0)
        lost = function(np.maximum(size + a.radius, 1.0), axis=axis, **keywords)
        radius = (moved + 2 * terms * unit * farthest) * (1 + 64 * unit) + 2 * terms * tiny * lost
        return _ball(value, radius)


def _prod(a: Balls, axis: Any = None, keepdims: bool = False) -> Balls:
    return _product(np.prod, a, axis, {"keepdims": keepdims})


def _cumprod(a: Balls, axis: int) -> Balls:
    return _product(np.cumprod, a, axis, {}, a.shape[axis])


def _cumsum(a: Balls, axis: int) -> Balls:
    with _quiet():
        value = np.asarray(np.cumsum(a.value, axis=axis))
        unit, terms = a.unit_roundoff, a.shape[axis]
        each = a.radius + (max(terms, 1) - 1) * unit * np.abs(a.value.astype(np.float64, copy=False))
        return _ball(value, np.cumsum(each, axis=axis) * (1 + (64 + 2 * terms) * unit))


def _extreme(function: Callable[..., Any], sign: int) -> Callable[..., Balls]:
    """The largest (sign 1) or smallest (-1): no more off than the widest of those that may be it."""

    def extreme(a: Balls, axis: Any = None, keepdims: bool = False) -> Balls:
        with _quiet():
            value = np.asarray(function(a.value, axis=axis, keepdims=keepdims))
            size = sign * a.value.astype(np.float64, copy=False)
            least = np.max(size - a.radius, axis=axis, keepdims=True)
            contending = ~(size + a.radius < least)
            radius = np.max(np.where(contending, a.radius, 0.0), axis=axis, keepdims=keepdims)
            return _ball(value, radius)

    return extreme


# --------------------------------------------------------------------------------------------------- array functions


def _mean(a: Balls, axis: Any = None, keepdims: bool = False) -> Any:
    total = _sum(a, axis, keepdims)
    return total / (a.value.size // max(total.value.size, 1))


def _where(condition: Any, first: Any, second: Any) -> Balls:
    if isinstance(condition, Balls):
        raise TypeError("numpy.where needs a condition of plain booleans, got balls: compare them first")
    value = np.where(condition, _raw(first), _raw(second))
    with _quiet():
        (_, r_first), (_, r_second) = (_operand(x, value.dtype) for x in (first, second))
    return Balls(value, np.where(condition, r_first, r_second))


def _joined(func: Callable[..., Any]) -> Callable[..., Balls]:
    def join(items: Sequence[Any], axis: int = 0) -> Balls:
        value = func([_raw(item) for item in items], axis=axis)
        radii = [np.broadcast_to(_operand(item, value.dtype)[1], np.shape(_raw(item))) for item in items]
        return Balls(value, func(radii, axis=axis))

    return join


def _float64(*operands: Any) -> tuple[Any, ...]:
    """Values and radii of operands, and the unit roundoff of the dtype that they compute in together."""
    dtype = np.result_type(*(np.asarray(_raw(x)) for x in operands))
    return (*(part for x in operands for part in _operand(x, dtype)), LIMITS[dtype][0])


def _inverse(a: Any) -> Balls:
    value, (a64, ra, u) = matrices.inverse(_raw(a)), _float64(a)
    return _bounded(value, matrix_bounds.inverse_radius, a64, ra, value.astype(np.float64), u)


def _solution(a: Any, b: Any) -> Balls:
    value, (a64, ra, b64, rb, u) = matrices.solution(_raw(a), _raw(b)), _float64(a, b)
    inverted = matrices.inverse(a64)
    return _bounded(value, matrix_bounds.solution_radius, a64, ra, b64, rb, value.astype(np.float64), inverted, u)


def _cholesky_factor(a: Any) -> Balls:
    value, (a64, ra, u) = matrices.cholesky_factor(_raw(a)), _float64(a)
    factor = value.astype(np.float64)
    return _bounded(value, matrix_bounds.cholesky_radius, a64, ra, factor, matrices.inverse(factor), u)


def _determinant(a: Any) -> Balls:
    a64, ra, u = _float64(a)
    moved = matrix_bounds.perturbation(a64, ra, matrix_bounds.ELIMINATION, u)
    return _bounded(
        matrices.determinant(_raw(a)), matrix_bounds.product_change, matrix_bounds.singular_values(a64), moved
    )


def _log_abs_determinant(a: Any) -> Balls:
    return _bounded(matrices.log_abs_determinant(_raw(a)), matrix_bounds.log_determinant_radius, *_float64(a))


def _cofactors(a: Any) -> Balls:
    value, (a64, ra, u) = matrices.cofactors(_raw(a)), _float64(a)
    limit = matrices.WELL_CONDITIONED[value.dtype.char]
    return _bounded(value, matrix_bounds.cofactor_radius, a64, ra, matrices.inverse(a64), limit, u)


def _bounded(value: Any, bound: Callable[..., Any], *parts: Any) -> Balls:
    """A result with the radius that a bound of its error gives, and what it rounds as a number by itself."""
    with _quiet():
        value = np.asarray(value)
        unit, tiny = LIMITS[value.dtype]
        size = np.abs(value.astype(np.float64, copy=False))
        return _ball(value, (bound(*parts) + ROUNDED * unit * size) * (1 + 1024 * unit) + 2 * tiny)


STRUCTURAL: frozenset[Callable[..., Any]] = frozenset(
    (
        np.broadcast_to, np.expand_dims, np.squeeze, np.reshape, np.ravel, np.transpose, np.swapaxes, np.moveaxis,
        np.copy, np.flip, np.roll, np.pad, np.lib.stride_tricks.sliding_window_view,
    )
)  # fmt: skip
"""Functions that only move entries, and put zeros beside them: they are applied to the values and to the radii."""

FUNCTIONS: Mapping[Callable[..., Any], Callable[..., Any]] = {
    np.sum: _sum,
    np.mean: _mean,
    np.prod: _prod,
    np.cumsum: _cumsum,
    np.cumprod: _cumprod,
    np.max: _extreme(np.max, 1),
    np.min: _extreme(np.min, -1),
    np.einsum: _einsum,
    np.where: _where,
    np.concatenate: _joined(np.concatenate),
    np.stack: _joined(np.stack),
    np.zeros_like: lambda a, shape=None: Balls.exact(np.zeros_like(a.value, shape=shape)),
    np.ones_like: lambda a: Balls.exact(np.ones_like(a.value)),
    np.shape: lambda a: a.shape,
    np.ndim: lambda a: a.ndim,
    matrices.inverse: _inverse,
    matrices.solution: _solution,
    matrices.cholesky_factor: _cholesky_factor,
    matrices.determinant: _determinant,
    matrices.log_abs_determinant: _log_abs_determinant,
    matrices.cofactors: _cofactors,
}
"""The other functions of NumPy's that balls know."""

"""Numbers that run other people's NumPy code on balls, to tell a wrong formula from a right one that rounds.

An object array of :class:`BallNumber` goes through ``+ - * / **``, comparisons, sums, products of matrices and NumPy's
functions (which call the method of their name on each entry). Nothing is rounded, so what comes out is the formula's
own value: disjoint from the truth, the formula is wrong, however small the difference is. A literal in the code is a
decimal that its author rounded: it enters as a ball, unless it is surely meant as it is (a whole number, 0.5).

Whatever is not decided or not known raises an exception that NumPy passes on; the caller then has no formula.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from typing import Any, Self

from flint import arb

from verify.numbers import ball_math
from verify.ops import OPS

EXACT_BITS = 20
"""A literal of no more bits means itself."""

COMPUTED = 4.0
"""Units roundoff of any other: a literal has one at most, ``1 / np.sqrt(3)`` has 1.4 and ``0.1 + 0.2`` nearly two."""


class NoFormulaError(Exception):
    """The code cannot be run on balls, or a branch of it is undecided there."""


def literal_ball(number: float, unit: float) -> arb:
    """A float of the code, known to a few units roundoff unless it is a short binary fraction: it may be computed.

    >>> literal_ball(0.5, 2.0**-53), bool(literal_ball(0.1, 2.0**-53).is_exact())
    (0.500000000000000, False)
    """
    value = float(number)
    if not math.isfinite(value) or _bits(value) <= EXACT_BITS:
        return arb(value)
    return arb(value, abs(value) * unit * COMPUTED)


def _bits(value: float) -> int:
    """How many bits the mantissa of a float needs."""
    numerator, _ = value.as_integer_ratio()
    numerator = abs(numerator)
    return (numerator // (numerator & -numerator)).bit_length() if numerator else 0


def _operation(form: Callable[[Any, Any], Any], *, swapped: bool = False) -> Callable[[Any, Any], Any]:
    def operate(self: BallNumber, other: Any) -> Any:
        ball = self.operand(other)
        if ball is None:
            return NotImplemented
        return self.like(form(ball, self.ball) if swapped else form(self.ball, ball))

    return operate


def _comparison(certain: Callable[[Any, Any], Any], opposite: Callable[[Any, Any], Any]) -> Callable[[Any, Any], bool]:
    def compare(self: BallNumber, other: Any) -> bool:
        ball = self.operand(other)
        if ball is None:
            raise NoFormulaError(f"a ball cannot be compared with {type(other).__name__}")
        if certain(self.ball, ball):
            return True
        if opposite(self.ball, ball):
            return False
        raise NoFormulaError("a branch of the code is undecided for the formula in balls")

    return compare


def _power(base: arb, exponent: arb) -> Any:
    """NumPy's power: a whole constant exponent takes any base."""
    if exponent.is_exact() and exponent.is_integer():
        return OPS["power_constant"].ball(base, float(exponent))
    return OPS["power"].ball(base, exponent)


def _function(form: Callable[[Any], Any]) -> Callable[[BallNumber], BallNumber]:
    def apply(self: BallNumber) -> BallNumber:
        return self.like(form(self.ball))

    return apply


class BallNumber:
    """A ball that behaves as a number does in NumPy code; ``unit`` is the roundoff of the literals beside it.

    >>> import numpy as np
    >>> x = np.array([BallNumber(arb(2), 2.0**-53)], dtype=object)
    >>> round(float((np.exp(-x) * x + 1)[0].ball), 9)
    1.270670566
    """

    __slots__ = ("ball", "unit")
    __hash__ = None  # type: ignore[assignment]  # equality may be undecided

    def __init__(self, ball: arb, unit: float) -> None:
        self.ball = ball
        self.unit = unit

    def like(self, ball: Any) -> Self:
        """Another number from the same code."""
        return type(self)(ball, self.unit)

    def operand(self, other: Any) -> arb | None:
        """The other side of an operation as a ball, None for what is no number."""
        if isinstance(other, BallNumber):
            return other.ball
        if isinstance(other, bool | int):
            return arb(int(other))
        if hasattr(other, "__float__") and getattr(other, "ndim", 0) == 0:
            return literal_ball(float(other), self.unit)
        return None

    def __repr__(self) -> str:
        return f"BallNumber({self.ball.str(10)})"

    def __neg__(self) -> Self:
        return self.like(-self.ball)

    def __pos__(self) -> Self:
        return self

    def __abs__(self) -> Self:
        return self.like(ball_math.absolute(self.ball))

    def __float__(self) -> float:
        raise NoFormulaError("the code turns its numbers into floats")

    def __bool__(self) -> bool:
        return bool(self != 0)

    __add__ = _operation(operator.add)
    __radd__ = _operation(operator.add, swapped=True)
    __sub__ = _operation(operator.sub)
    __rsub__ = _operation(operator.sub, swapped=True)
    __mul__ = _operation(operator.mul)
    __rmul__ = _operation(operator.mul, swapped=True)
    __truediv__ = _operation(ball_math.divide)
    __rtruediv__ = _operation(ball_math.divide, swapped=True)
    __pow__ = _operation(_power)
    __rpow__ = _operation(_power, swapped=True)

    __lt__ = _comparison(operator.lt, operator.ge)
    __le__ = _comparison(operator.le, operator.gt)
    __gt__ = _comparison(operator.gt, operator.le)
    __ge__ = _comparison(operator.ge, operator.lt)
    __eq__ = _comparison(operator.eq, operator.ne)
    __ne__ = _comparison(operator.ne, operator.eq)

    # The names that NumPy's functions call on the entries of an object array; those of rows of the table follow below.
    absolute = __abs__
    fabs = __abs__
    exp2 = _function(lambda a: (a * arb(2).log()).exp())
    __floor__ = _function(OPS["floor"].ball)
    __ceil__ = _function(OPS["ceil"].ball)
    conjugate = __pos__


for _row in OPS.values():
    if _row.elementwise and not _row.params and _row.kink is None:
        setattr(BallNumber, _row.name, _function(_row.ball) if _row.arity == 1 else _operation(_row.ball))

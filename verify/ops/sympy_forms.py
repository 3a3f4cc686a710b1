"""Functions that SymPy lacks as functions of a real number, or has in a form that loses digits as floats.

Each knows its derivative in SymPy's own terms, and SymPy applies the chain rule; nothing here knows the VJPs. They
print as a case file writes them.
"""

from __future__ import annotations

from typing import Any

import mpmath
import sympy


class _RealFunction(sympy.Function):  # type: ignore[misc]  # SymPy comes without types
    """A function of one real number that is real; ``evaluated`` is its value in mpmath."""

    @classmethod
    def eval(cls, a: Any) -> Any:  # noqa: ARG003 - SymPy's signature
        """No simplification: it could only bring back what loses digits."""
        return

    def _eval_is_extended_real(self) -> Any:
        return self.args[0].is_extended_real

    def _eval_evalf(self, prec: int) -> Any:
        number = self.args[0].evalf(mpmath.libmp.prec_to_dps(prec) + 10)
        if not number.is_Float and not number.is_Integer:
            return None
        with mpmath.workprec(prec + 20):
            return sympy.Float(self.evaluated(mpmath.mpf(number)), precision=prec)


class expm1(_RealFunction):  # noqa: N801 - printed as it is written
    """``exp(a) - 1``, which as it stands loses the digits of a small a.

    >>> x = sympy.Symbol("x", real=True)
    >>> expm1(x).diff(x), expm1(sympy.Rational(1, 10**9)).evalf(12)
    (exp(x), 1.00000000050e-9)
    """

    def fdiff(self, argindex: int = 1) -> Any:  # noqa: ARG002 - it has one argument
        """The exponential function."""
        return sympy.exp(self.args[0])

    @staticmethod
    def evaluated(a: Any) -> Any:
        """The value in mpmath, to all digits."""
        return mpmath.expm1(a)


class log1p(_RealFunction):  # noqa: N801 - printed as it is written
    """``log(1 + a)``, which as it stands loses the digits of a small a.

    >>> x = sympy.Symbol("x", real=True)
    >>> log1p(x).diff(x), log1p(sympy.Rational(1, 10**9)).evalf(12)
    (1/(x + 1), 9.99999999500e-10)
    """

    def fdiff(self, argindex: int = 1) -> Any:  # noqa: ARG002 - it has one argument
        """The reciprocal of what the logarithm is taken of."""
        return 1 / (1 + self.args[0])

    def _eval_is_extended_real(self) -> Any:
        return (self.args[0] + 1).is_extended_positive

    @staticmethod
    def evaluated(a: Any) -> Any:
        """The value in mpmath, to all digits."""
        return mpmath.log1p(a)


class softplus(_RealFunction):  # noqa: N801 - printed as it is written
    """``log(1 + exp(a))``, which as it stands overflows at 710 and loses every digit at -37.

    >>> x = sympy.Symbol("x", real=True)
    >>> softplus(x).diff(x), softplus(sympy.Integer(0)).evalf(5)
    (1/(1 + exp(-x)), 0.69315)
    """

    def fdiff(self, argindex: int = 1) -> Any:  # noqa: ARG002 - it has one argument
        """The logistic function."""
        return 1 / (1 + sympy.exp(-self.args[0]))

    def _eval_is_extended_positive(self) -> Any:
        return self.args[0].is_extended_real

    @staticmethod
    def evaluated(a: Any) -> Any:
        """The value in mpmath, to all digits."""
        return max(a, mpmath.mpf(0)) + mpmath.log1p(mpmath.exp(-abs(a)))


class cbrt(_RealFunction):  # noqa: N801 - printed as it is written
    """The real cube root, also of negative numbers; SymPy's own takes the complex one there.

    >>> x = sympy.Symbol("x", real=True)
    >>> cbrt(x).diff(x), cbrt(sympy.Integer(-8)).evalf(5)
    (1/(3*cbrt(x)**2), -2.0000)
    """

    def fdiff(self, argindex: int = 1) -> Any:  # noqa: ARG002 - it has one argument
        """By the rule of inverse functions."""
        return 1 / (3 * self**2)

    def _eval_is_extended_positive(self) -> Any:
        return self.args[0].is_extended_positive

    def _eval_is_extended_negative(self) -> Any:
        return self.args[0].is_extended_negative

    def _eval_is_zero(self) -> Any:
        return self.args[0].is_zero

    @staticmethod
    def evaluated(a: Any) -> Any:
        """The value in mpmath, to all digits."""
        return mpmath.sign(a) * mpmath.cbrt(abs(a))


class floor(_RealFunction):  # noqa: N801 - printed as it is written
    """The largest whole number that is not above a, with the slope 0 that SymPy's own leaves open.

    >>> x = sympy.Symbol("x", real=True)
    >>> floor(x / 2).diff(x), floor(sympy.Rational(-3, 2)).evalf(3)
    (0, -2.00)
    """

    def fdiff(self, argindex: int = 1) -> Any:  # noqa: ARG002 - it has one argument
        """0: where it jumps it has no slope."""
        return sympy.Integer(0)

    @staticmethod
    def evaluated(a: Any) -> Any:
        """The value in mpmath."""
        return mpmath.floor(a)


class ceil(_RealFunction):  # noqa: N801 - printed as it is written
    """The smallest whole number that is not below a, with the slope 0 that SymPy's own leaves open.

    >>> x = sympy.Symbol("x", real=True)
    >>> ceil(x / 2).diff(x), ceil(sympy.Rational(-3, 2)).evalf(3)
    (0, -1.00)
    """

    def fdiff(self, argindex: int = 1) -> Any:  # noqa: ARG002 - it has one argument
        """0: where it jumps it has no slope."""
        return sympy.Integer(0)

    @staticmethod
    def evaluated(a: Any) -> Any:
        """The value in mpmath."""
        return mpmath.ceil(a)


class where(sympy.Function):  # type: ignore[misc]  # noqa: N801 - printed as it is written
    """``x`` where ``a > b``, else ``y``: SymPy's Piecewise, but differentiated branch by branch.

    So a branch that is not taken has no part in the derivative, whatever it is there.

    >>> x = sympy.Symbol("x", real=True)
    >>> where(x, 1, x**2, 0).diff(x), where(2, 1, x, 0)
    (where(x > 1, 2*x, 0), x)
    """

    sign = ">"

    @classmethod
    def eval(cls, a: Any, b: Any, x: Any, y: Any) -> Any:
        """One of the branches, where numbers are compared."""
        if not (a.is_number and b.is_number):
            return None
        decided = cls.compared(a, b)
        return {sympy.true: x, sympy.false: y}.get(decided)

    @staticmethod
    def compared(a: Any, b: Any) -> Any:
        """Whether the first branch is taken."""
        return sympy.Gt(a, b)

    def _eval_derivative(self, symbol: Any) -> Any:
        a, b, x, y = self.args
        slopes = x.diff(symbol), y.diff(symbol)
        return slopes[0] if slopes[0] == slopes[1] else self.func(a, b, *slopes)

    def _eval_is_extended_real(self) -> Any:
        return self.args[2].is_extended_real and self.args[3].is_extended_real

    def _sympystr(self, printer: Any) -> str:
        a, b, x, y = map(printer._print, self.args)  # noqa: SLF001 - SymPy's way to print arguments
        return f"where({a} {self.sign} {b}, {x}, {y})"


class where_or_equal(where):  # noqa: N801 - printed as it is written
    """``x`` where ``a >= b``, else ``y``.

    >>> x = sympy.Symbol("x", real=True)
    >>> where_or_equal(x, 1, x, 0), where_or_equal(1, 1, x, 0)
    (where(x >= 1, x, 0), x)
    """

    sign = ">="

    @staticmethod
    def compared(a: Any, b: Any) -> Any:
        """Whether the first branch is taken."""
        return sympy.Ge(a, b)

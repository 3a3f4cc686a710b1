"""Functions that SymPy lacks as functions of a real number, or has in a form that loses digits as floats.

Each knows its derivative in SymPy's own terms, and SymPy applies the chain rule; nothing here knows the VJPs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import mpmath
import sympy


class _RealFunction(sympy.Function):  # type: ignore[misc]  # SymPy comes without types
    """A function of one real number that is real."""

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


def real_function(
    name: str,
    value: Callable[[Any], Any],
    slope: Callable[[Any, Any], Any],
    *,
    real: Callable[[Any], Any] | None = None,
    positive: bool = False,
    sign_of: bool = False,
) -> type[sympy.Function]:
    """A function of one number that prints as a case file writes it.

    ``value`` is the function in mpmath, to all digits; ``slope`` its derivative in SymPy's terms, of the argument and
    the function itself. ``real`` says of which arguments it is real (of real ones if left out); ``positive`` that it
    is above 0 everywhere, ``sign_of`` that it has the sign of its argument.

    >>> x = sympy.Symbol("x", real=True)
    >>> expm1 = real_function("expm1", mpmath.expm1, lambda a, y: sympy.exp(a))
    >>> expm1(x).diff(x), expm1(2 * x), expm1(sympy.Rational(1, 10**9)).evalf(12)
    (exp(x), expm1(2*x), 1.00000000050e-9)
    >>> cbrt = real_function("cbrt", mpmath.cbrt, lambda a, y: 1 / (3 * y**2), sign_of=True)
    >>> cbrt(x).diff(x), cbrt(sympy.exp(x)).is_extended_positive
    (1/(3*cbrt(x)**2), True)
    """
    members: dict[str, Any] = {
        "__module__": __name__,
        "evaluated": staticmethod(value),
        "fdiff": lambda self, argindex=1: slope(self.args[0], self),
    }
    if real is not None:
        members["_eval_is_extended_real"] = lambda self: real(self.args[0])
    if positive:
        members["_eval_is_extended_positive"] = lambda self: self.args[0].is_extended_real
    if sign_of:
        for fact in ("extended_positive", "extended_negative", "zero"):
            members[f"_eval_is_{fact}"] = lambda self, fact=fact: getattr(self.args[0], f"is_{fact}")
    return type(name, (_RealFunction,), members)


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

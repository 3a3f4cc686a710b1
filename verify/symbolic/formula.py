"""SymPy expressions made ready to be evaluated on arrays, without executing any generated text.

SymPy's ``lambdify`` writes Python source and runs it; here the tree is walked once and becomes a list of calls, which
run on float arrays, and on object arrays of python-flint's balls (``arb``) where the result must be proved.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import lru_cache, reduce
from typing import Any

import flint
import numpy as np
import sympy

from verify.ops import OPS, Op, sympy_forms

OBJECTS = np.dtype(object)


def _step(x: Any, _half: Any = 0.5) -> Any:
    """Heaviside's step with 1/2 at zero, which is how SymPy defines the slope of a tied maximum."""
    return np.where(x > 0, 1.0, np.where(x < 0, 0.0, 0.5))


def _sign(x: Any) -> Any:
    return np.where(x > 0, 1.0, np.where(x < 0, -1.0, 0.0))


def _where(a: Any, b: Any, x: Any, y: Any) -> Any:
    return np.where(a > b, x, y)


def _where_or_equal(a: Any, b: Any, x: Any, y: Any) -> Any:
    return np.where(a >= b, x, y)


def _polygamma(order: Any, x: Any) -> Any:
    from scipy.special import polygamma, psi  # costs half a second to import, and few cases need it

    return psi(x) if np.all(order == 0) else polygamma(order, x)


def _bessel_i(order: Any, x: Any) -> Any:
    from scipy.special import iv

    return iv(order, x)


def _greatest(*xs: Any) -> Any:
    return reduce(np.maximum, xs)


def _least(*xs: Any) -> Any:
    return reduce(np.minimum, xs)


def _negated(x: Any) -> Any:
    return -x


def _added(x: Any, y: Any) -> Any:
    return x + y


def _subtracted(x: Any, y: Any) -> Any:
    return x - y


def _multiplied(x: Any, y: Any) -> Any:
    return x * y


def _divided(x: Any, y: Any) -> Any:
    return x / y


def _power(x: Any, y: Any) -> Any:
    return x**y


def _square(x: Any) -> Any:
    return x * x


_BY_NAME: tuple[Op, ...] = tuple(
    row
    for row in OPS.values()
    if row.elementwise and not row.params and row.kink is None and isinstance(row.sympy, sympy.FunctionClass)
)
"""Rows whose SymPy form is a function that SymPy knows by name."""

FLOAT_FUNCTIONS: Mapping[Any, Callable[..., Any]] = {
    **{row.sympy: row.forward for row in _BY_NAME},
    sympy.polygamma: _polygamma,
    sympy.besseli: _bessel_i,
    sympy_forms.where: _where,
    sympy_forms.where_or_equal: _where_or_equal,
    sympy.Abs: np.abs,
    sympy.Max: _greatest,
    sympy.Min: _least,
    sympy.Heaviside: _step,
    sympy.sign: _sign,
}
"""SymPy function -> NumPy function."""

STEP_FUNCTIONS: Mapping[str, Callable[..., Any]] = {
    **{head.__name__: function for head, function in FLOAT_FUNCTIONS.items()},
    **{f.__name__: f for f in (_negated, _added, _subtracted, _multiplied, _divided, _power, _square, np.sqrt)},
}
"""Everything that a compiled formula calls, by name."""


def _ball_step(x: flint.arb, _half: Any = None) -> flint.arb:
    """0 or 1 where the sign is decided, else both: the hull of the slopes that meet there."""
    if x > 0 or x < 0:
        return flint.arb(int(x > 0))
    return flint.arb(0.5, 0.5) if x.is_finite() else flint.arb.nan()


def _ball_sign(x: flint.arb) -> flint.arb:
    return 2 * _ball_step(x) - 1


def _ball_polygamma(order: flint.arb, x: flint.arb) -> flint.arb:
    """By Hurwitz's zeta, as far as the argument is positive."""
    if order == 0 or not x > 0:
        return x.digamma() if order == 0 else flint.arb.nan()
    return (order + 1).zeta(x) * (order + 1).gamma() * (-1 if int(float(order)) % 2 == 0 else 1)


BALL_FUNCTIONS: Mapping[Callable[..., Any], Callable[..., Any]] = {
    **{row.forward: row.ball for row in _BY_NAME},
    _polygamma: _ball_polygamma,
    _bessel_i: lambda order, x: x.bessel_i(order),
    np.sqrt: flint.arb.sqrt,
    np.abs: abs,
    _greatest: lambda *xs: reduce(flint.arb.max, xs),
    _least: lambda *xs: reduce(flint.arb.min, xs),
    _where: OPS["where"].ball,
    _where_or_equal: OPS["where_or_equal"].ball,
    _step: _ball_step,
    _sign: _ball_sign,
}
"""NumPy function -> the same on a ball: the leaves are the table's, and what the two roads make of them is not.
Comparisons of balls answer False where they are undecided, so whatever chooses by one has a form of its own here."""


def _entrywise(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function of balls on object arrays of them; what it was made for has any number of arguments."""
    made: dict[int, Callable[..., Any]] = {}

    def call(*arrays: Any) -> Any:
        if len(arrays) not in made:
            made[len(arrays)] = np.frompyfunc(function, len(arrays), 1)
        return made[len(arrays)](*arrays)

    return call


class Formulas:
    """Several expressions in the same symbols, compiled together so that common parts are computed once.

    >>> x = sympy.Symbol("x", real=True)
    >>> Formulas([sympy.exp(x), x / (1 + sympy.exp(x))], [x])(np.array([0.0]))
    [array([1.]), array([0.])]
    """

    def __init__(self, expressions: Sequence[sympy.Expr], symbols: Sequence[sympy.Symbol]) -> None:
        self._registers: dict[sympy.Basic, int] = {symbol: i for i, symbol in enumerate(symbols)}
        self._arity = len(symbols)
        self._constants: list[tuple[int, sympy.Expr]] = []
        self._steps: list[tuple[int, Callable[..., Any], tuple[int, ...]]] = []
        self._size = len(symbols)
        shared, reduced = sympy.cse(list(expressions), order="none")
        for symbol, expression in shared:
            self._registers[symbol] = self._compile(expression)
        self._results = tuple(self._compile(expression) for expression in reduced)
        self._registers = {}  # all is compiled, and what compiles is done with

    def __call__(self, *values: Any, like: Any = None) -> list[Any]:
        """The value of each expression; ``values`` are arrays that broadcast together, one for each symbol.

        What the arrays hold decides the number system: floats, or balls at python-flint's precision of the moment.
        Formulas without symbols take it from the array ``like``.
        """
        numbers = numbers_of((*values, like))
        if numbers is BALLS and all(value.size == 1 for value in values):
            numbers, values = BALL, tuple(value.item() for value in values)  # one point: no arrays on the way
        slots: list[Any] = [*values, *[None] * (self._size - self._arity)]
        with numbers.context():
            for target, number in self._constants:
                slots[target] = numbers.constant(number)
            for target, function, args in self._steps:
                call = numbers.functions.get(function, function)
                slots[target] = call(*[slots[i] for i in args])
        return [slots[i] for i in self._results]

    def _compile(self, expression: sympy.Basic) -> int:
        """The register that will hold the expression."""
        known = self._registers.get(expression)
        if known is None:
            known = self._registers[expression] = self._emit(expression)
        return known

    def _emit(self, expression: sympy.Basic) -> int:
        if isinstance(expression, (sympy.Number, sympy.NumberSymbol)):
            target = self._new()
            self._constants.append((target, expression))
            return target
        if isinstance(expression, sympy.Add):
            return self._emit_sum(expression)
        if isinstance(expression, sympy.Mul):
            return self._emit_product(expression)
        if isinstance(expression, sympy.Pow):
            return self._emit_power(*expression.as_base_exp())
        function = FLOAT_FUNCTIONS.get(type(expression))
        if function is None:
            raise TypeError(f"cannot evaluate SymPy's {type(expression).__name__} in {expression}")
        return self._call(function, *expression.args)

    def _emit_sum(self, expression: sympy.Add) -> int:
        plus = [term for term in expression.args if not term.could_extract_minus_sign()]
        minus = [-term for term in expression.args if term.could_extract_minus_sign()]
        if not plus:
            return self._call(_negated, sympy.Add(*minus))
        total = self._fold(_added, plus)
        for term in minus:
            total = self._push(_subtracted, total, self._compile(term))
        return total

    def _emit_product(self, expression: sympy.Mul) -> int:
        if expression.could_extract_minus_sign():
            return self._call(_negated, -expression)
        above = [factor for factor in expression.args if not _is_divisor(factor)]
        below = [1 / factor for factor in expression.args if _is_divisor(factor)]
        top = self._fold(_multiplied, above or [sympy.Integer(1)])
        return self._push(_divided, top, self._fold(_multiplied, below)) if below else top

    def _emit_power(self, base: sympy.Expr, exponent: sympy.Expr) -> int:
        if base is sympy.E:
            return self._call(np.exp, exponent)
        if exponent.is_number and exponent.is_negative:
            return self._push(_divided, self._compile(sympy.Integer(1)), self._compile(base**-exponent))
        if exponent == sympy.Rational(1, 2):
            return self._call(np.sqrt, base)
        if exponent == 2:
            return self._call(_square, base)
        return self._call(_power, base, exponent)

    def _call(self, function: Callable[..., Any], *args: sympy.Basic) -> int:
        return self._push(function, *[self._compile(arg) for arg in args])

    def _fold(self, function: Callable[..., Any], terms: Sequence[sympy.Basic]) -> int:
        total = self._compile(terms[0])
        for term in terms[1:]:
            total = self._push(function, total, self._compile(term))
        return total

    def _push(self, function: Callable[..., Any], *args: int) -> int:
        target = self._new()
        self._steps.append((target, function, args))
        return target

    def _new(self) -> int:
        self._size += 1
        return self._size - 1


def as_ball(number: sympy.Expr) -> flint.arb:
    """The ball around an exact constant, at python-flint's precision of the moment.

    >>> bool(as_ball(sympy.Rational(1, 3)) * 3 == 1), as_ball(sympy.Rational(1, 4)).is_exact()
    (False, True)
    """
    if isinstance(number, sympy.Rational):
        return flint.arb(flint.fmpq(int(number.p), int(number.q)))
    if number == sympy.pi:
        return flint.arb.pi()
    if number == sympy.E:
        return flint.arb.const_e()
    raise TypeError(f"no ball is known for SymPy's {type(number).__name__} {number}")


@lru_cache(maxsize=4096)
def _ball_with(number: sympy.Expr, bits: int) -> flint.arb:
    """A constant's ball with so many bits; the conversion costs more than most formulas."""
    assert bits == flint.ctx.prec
    return as_ball(number)


def _ball_number(number: sympy.Expr) -> flint.arb:
    return _ball_with(number, flint.ctx.prec)


@dataclass(frozen=True, slots=True)
class Numbers:
    """A number system that formulas run on."""

    name: str
    constant: Callable[[sympy.Expr], Any]
    """An exact constant in this system."""
    functions: Mapping[Callable[..., Any], Callable[..., Any]]
    """NumPy function -> what replaces it."""
    context: Callable[[], AbstractContextManager[Any]]
    """What holds while a formula runs."""


def numbers_of(values: Sequence[Any]) -> Numbers:
    """The number system of arrays: floats unless one of them holds objects.

    >>> numbers_of([np.zeros(1)]).name, numbers_of([np.array([flint.arb(1)], dtype=object)]).name
    ('floats', 'balls')
    """
    return BALLS if any(getattr(value, "dtype", None) == OBJECTS and value.size for value in values) else FLOATS


def differentiated(expression: sympy.Expr, symbol: sympy.Symbol) -> sympy.Expr:
    """SymPy's derivative, with ``1 - tanh(x)**2`` as ``1/cosh(x)**2``: it keeps its digits where tanh saturates.

    >>> x = sympy.Symbol("x", real=True)
    >>> differentiated(sympy.tanh(3 * x), x), differentiated(x**2, x)
    (3/cosh(3*x)**2, 2*x)
    """
    # Away from its jump sign has no slope; SymPy writes Dirac's delta, which is 0 there.
    derivative = expression.diff(symbol).replace(sympy.DiracDelta, lambda *_: sympy.Integer(0))
    return derivative.replace(lambda part: _sech_squared(part) is not None, _sech_squared)


def _sech_squared(part: sympy.Basic) -> sympy.Expr | None:
    """``c/cosh(x)**2`` for ``c - c*tanh(x)**2``, None for anything else."""
    if not isinstance(part, sympy.Add) or len(part.args) != 2:
        return None
    constant, term = part.as_coeff_Add()
    coefficient, square = term.as_coeff_Mul()
    base, exponent = square.as_base_exp()
    if constant == 0 or coefficient != -constant or exponent != 2 or not isinstance(base, sympy.tanh):
        return None
    return constant / sympy.cosh(base.args[0]) ** 2


def can_evaluate(expression: sympy.Basic) -> bool:
    """Whether :class:`Formulas` knows everything in an expression.

    >>> x = sympy.Symbol("x")
    >>> can_evaluate(sympy.exp(x)), can_evaluate(sympy.Derivative(sympy.Function("f")(x), x))
    (True, False)
    """
    known = (sympy.Number, sympy.NumberSymbol, sympy.Symbol, sympy.Add, sympy.Mul, sympy.Pow, *FLOAT_FUNCTIONS)
    return all(isinstance(part, known) for part in sympy.preorder_traversal(expression)) and not expression.has(
        sympy.zoo, sympy.nan, sympy.oo
    )


def as_float(number: sympy.Expr) -> float:
    """The float nearest to an exact number, correctly rounded for rationals.

    >>> as_float(sympy.Rational(1, 3)), as_float(sympy.Integer(10) ** 400)
    (0.3333333333333333, inf)
    """
    if isinstance(number, sympy.Rational):
        try:
            return int(number.p) / int(number.q)
        except OverflowError:
            return math.inf if number.p > 0 else -math.inf
    return float(number)


FLOATS = Numbers("floats", as_float, {}, lambda: np.errstate(all="ignore"))
BALL = Numbers("ball", _ball_number, BALL_FUNCTIONS, nullcontext)
BALLS = Numbers(
    "balls",
    lambda number: np.array(_ball_number(number), dtype=object),
    {known: _entrywise(function) for known, function in BALL_FUNCTIONS.items()},
    nullcontext,
)


def _is_divisor(factor: sympy.Basic) -> bool:
    """Whether a factor is better divided by: ``x**-2``, but not ``exp(-x)``, which may overflow upside down."""
    return isinstance(factor, sympy.Pow) and bool(factor.exp.is_number and factor.exp.is_negative)


LONG_DENOMINATOR = 1000
"""From here on a rational is printed as the decimal literal that it came from."""


def formula_text(expression: sympy.Basic) -> str:
    """An expression as text, with decimals for what were decimal literals.

    >>> formula_text(sympy.Rational(*(0.1).as_integer_ratio()) * sympy.Symbol("x"))
    '0.1*x'
    """
    decimals = {
        number: sympy.sign(number) * sympy.Symbol(repr(abs(as_float(number))))
        for number in expression.atoms(sympy.Rational)
        if number.q > LONG_DENOMINATOR
    }
    return str(expression.xreplace(decimals))

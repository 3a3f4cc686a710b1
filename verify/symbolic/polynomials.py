"""Structural ops as polynomials: their SymPy form is run on entries that record sums and products.

SymPy builds ``a + b + c + ...`` pair by pair, which takes seconds for a thousand terms. Here a sum of products is a
list of monomials, held in arrays, and SymPy differentiates each power of an entry once, for all terms that have it.
Ops that only move entries are run on the entries' numbers instead.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import sympy

from verify.ops import Op, Shape
from verify.symbolic.formula import OBJECTS, Numbers, as_float, numbers_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from verify.symbolic.symbols import Objects

    Integers = NDArray[np.int64]

Factors = tuple[tuple[int, int], ...]
"""Entries of a monomial, as numbers over all operands, each with its power, in order."""


class Recorded:
    """An entry, or a sum or product of such, that remembers how it was made.

    >>> x, y = Recorded.entry(0), Recorded.entry(1)
    >>> sorted(((x + y) * x - 3 * y).monomials())
    [(((0, 1), (1, 1)), 1), (((0, 2),), 1), (((1, 1),), -3)]
    """

    __slots__ = ("parts",)

    def __init__(self, parts: Any) -> None:
        """``parts`` is a monomial with its coefficient, or ``("+", a, b)``; sums stay unflattened, they may be long."""
        self.parts = parts

    @classmethod
    def entry(cls, number: int) -> Recorded:
        """The entry with that number."""
        return cls((((number, 1),), 1))

    def monomials(self) -> Iterator[tuple[Factors, Any]]:
        """Each monomial with its coefficient, a SymPy number or (much faster) an integer; one may come twice."""
        waiting = [self]
        while waiting:
            parts = waiting.pop().parts
            if parts[0] == "+":
                waiting += (parts[2], parts[1])
            else:
                yield parts

    def __add__(self, other: Any) -> Recorded:
        return Recorded(("+", self, _recorded_number(other)))

    __radd__ = __add__

    def __mul__(self, other: Any) -> Recorded:
        products = [
            Recorded((_multiplied(mine, theirs), one * two))
            for mine, one in self.monomials()
            for theirs, two in _recorded_number(other).monomials()
        ]
        total = products[0]
        for product in products[1:]:
            total = Recorded(("+", total, product))
        return total

    __rmul__ = __mul__

    def __neg__(self) -> Recorded:
        return self.__mul__(-1)

    def __pos__(self) -> Recorded:
        return self

    def __sub__(self, other: Any) -> Recorded:
        return self.__add__(_recorded_number(other).__mul__(-1))

    def __rsub__(self, other: Any) -> Recorded:
        return self.__mul__(-1).__add__(other)

    def __truediv__(self, other: Any) -> Recorded:
        return self.__mul__(1 / sympy.sympify(other, strict=True))

    def __pow__(self, exponent: Any) -> Recorded:
        power = Recorded(((), 1))
        for _ in range(int(exponent)):
            power = power * self
        return power


def _recorded_number(x: Any) -> Recorded:
    return x if isinstance(x, Recorded) else Recorded(((), x if isinstance(x, int) else sympy.sympify(x, strict=True)))


def _multiplied(a: Factors, b: Factors) -> Factors:
    if not a or not b:
        return a or b
    if len(a) == len(b) == 1 and a[0][0] != b[0][0]:  # what products of matrices are made of
        return a + b if a[0] < b[0] else b + a
    powers = dict(a)
    for entry, power in b:
        powers[entry] = powers.get(entry, 0) + power
    return tuple(sorted(powers.items()))


@dataclass(slots=True)
class Monomials:
    """Terms ``coefficient * product of entries``, each belonging to one group; entries are flat indices by operand."""

    groups: Integers
    coefficients: NDArray[np.float64]
    exact: Objects
    """The same coefficients as SymPy numbers."""
    factors: tuple[tuple[int, Integers, Integers], ...]
    """Operand, positions of the terms that have a factor from it, and the entries that they read."""

    def terms(self, flat: Sequence[Any]) -> Any:
        """The terms ``(P, T)`` from the operands ``(P, entries)``."""
        dtype = np.result_type(*(x.dtype for x in flat))
        coefficients = self.coefficients if dtype != OBJECTS else self._coefficients_in(numbers_of(flat))
        out = np.empty((len(flat[0]), len(self.groups)), dtype=dtype)
        out[:] = coefficients
        for operand, which, entries in self.factors:
            out[:, which] = out[:, which] * flat[operand][:, entries]
        return out

    def _coefficients_in(self, numbers: Numbers) -> Objects:
        """The coefficients in an exact number system; most of them are equal."""
        held = {number: numbers.constant(number)[()] for number in set(self.exact)}
        return np.array([held[number] for number in self.exact], dtype=object)


Slopes = tuple[Monomials, "Integers"]
"""The derivative terms by one operand, grouped by its entries, and the output entry that each belongs to."""


def expanded(row: Op, shapes: Sequence[Shape], static: Mapping[str, Any]) -> tuple[Monomials, list[Slopes]]:
    """A structural op on operands of these shapes as monomials, and its derivatives by each operand.

    >>> from verify.ops import OPS
    >>> forward, slopes = expanded(OPS["matmul"], [(2,), (2,)], {})
    >>> forward.terms([np.array([[2.0, 3.0]]), np.array([[5.0, 7.0]])])
    array([[10., 21.]])
    >>> slopes[0][0].terms([np.array([[2.0, 3.0]]), np.array([[5.0, 7.0]])])
    array([[5., 7.]])
    """
    starts = np.cumsum([0, *(math.prod(shape) for shape in shapes)])
    if row.moves:
        numbers = [
            np.arange(1, 1 + math.prod(shape)).reshape(shape) + s for shape, s in zip(shapes, starts, strict=False)
        ]
        moved = np.asarray(row.sympy(*numbers, **static))
        if moved.dtype.kind == "i":
            return _moved(moved.ravel(), starts)
    entries = [_recorded(shape, int(start)) for shape, start in zip(shapes, starts, strict=False)]
    terms: dict[tuple[int, Factors], Any] = {}
    form: Objects = np.asarray(row.sympy(*entries, **static), dtype=object)
    for at, entry in enumerate(form.ravel().tolist()):
        if not isinstance(entry, Recorded) and entry == 0:
            continue
        found = entry.monomials() if isinstance(entry, Recorded) else [((), sympy.sympify(entry, strict=True))]
        for factors, coefficient in found:
            known = terms.get((at, factors))
            terms[at, factors] = coefficient if known is None else known + coefficient
    terms = {key: number for key, number in terms.items() if number != 0}
    forward = _as_monomials([(at, factors, number) for (at, factors), number in terms.items()], starts)
    return forward, [_differentiated(terms, starts, operand) for operand in range(len(shapes))]


def _recorded(shape: Shape, start: int) -> Objects:
    entries = np.empty(math.prod(shape), dtype=object)
    entries[:] = [Recorded.entry(start + i) for i in range(len(entries))]
    return entries.reshape(shape)


def _moved(read: Integers, starts: Integers) -> tuple[Monomials, list[Slopes]]:
    """An op that moves entries: ``read`` has the number of the entry that each output is, from 1 on; 0 for none."""
    outputs = np.flatnonzero(read)
    owner = np.searchsorted(starts, read[outputs] - 1, side="right") - 1
    entries = read[outputs] - 1 - starts[owner]
    operands = range(len(starts) - 1)
    factors = tuple((i, np.flatnonzero(owner == i), entries[owner == i]) for i in operands)
    slopes = [(_ones(entries[owner == i], ()), outputs[owner == i]) for i in operands]
    return _ones(outputs, factors), slopes


def _ones(groups: Integers, factors: tuple[tuple[int, Integers, Integers], ...]) -> Monomials:
    exact = np.empty(len(groups), dtype=object)
    exact[:] = sympy.S.One
    return Monomials(groups, np.ones(len(groups)), exact, factors)


def _differentiated(terms: Mapping[tuple[int, Factors], Any], starts: Integers, operand: int) -> Slopes:
    """The derivatives of all terms by the entries of one operand."""
    low, high = int(starts[operand]), int(starts[operand + 1])
    derived, outputs = [], []
    for (at, factors), coefficient in terms.items():
        for place, (entry, power) in enumerate(factors):
            if low <= entry < high:
                number, left = _slope_of_kind(power)
                rest = (*factors[:place], *(((entry, left),) if left else ()), *factors[place + 1 :])
                derived.append((entry - low, rest, coefficient * number if number != 1 else coefficient))
                outputs.append(at)
    return _as_monomials(derived, starts), np.array(outputs, dtype=np.int64)


_KINDS: dict[int, tuple[int, int]] = {}


def _slope_of_kind(power: int) -> tuple[int, int]:
    """SymPy's derivative of ``x**power``: a number, and the power of x that is left."""
    if power not in _KINDS:
        x = sympy.Symbol("x", real=True)
        number, rest = (x**power).diff(x).as_coeff_Mul()
        _KINDS[power] = (int(number), int(rest.as_base_exp()[1]) if rest != 1 else 0)
    return _KINDS[power]


def _as_monomials(terms: Sequence[tuple[int, Factors, Any]], starts: Integers) -> Monomials:
    """Terms with their group, as arrays."""
    numbers = {number: sympy.sympify(number, strict=True) for number in {number for _, _, number in terms}}
    floats = {number: as_float(known) for number, known in numbers.items()}
    exact = np.empty(len(terms), dtype=object)
    exact[:] = [numbers[number] for _, _, number in terms]
    ends = starts.tolist()
    owner = np.repeat(np.arange(len(ends) - 1), np.diff(starts)).tolist()
    reads: dict[tuple[int, int], tuple[list[int], list[int]]] = {}
    for number, (_, factors, _) in enumerate(terms):
        seen: dict[int, int] = {}
        for entry, power in factors:
            operand = owner[entry]
            for _ in range(power):
                turn = seen[operand] = seen.get(operand, 0) + 1
                which, entries = reads.setdefault((operand, turn), ([], []))
                which.append(number)
                entries.append(entry - ends[operand])
    return Monomials(
        np.array([group for group, _, _ in terms], dtype=np.int64),
        np.array([floats[number] for _, _, number in terms], dtype=np.float64),
        exact,
        tuple((operand, np.array(which), np.array(entries)) for (operand, _), (which, entries) in reads.items()),
    )

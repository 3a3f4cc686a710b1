"""Values that SymPy knows only by the equations they solve: ``A Y = I``, ``A x = b``, ``L L^T = A``.

The equations of a row (its column ``sympy``, where the row is *implicit*) are polynomials, as many as there are entries
in the value. Where they are linear in the value it is the solution of a linear system; else each equation is solved
for the entry in its own place, which no earlier one holds, the positive root taken. Derivatives follow from SymPy's
derivatives of the equations: ``J dy = -K dx``, J and K those by the value and by an operand. So a total derivative
``t`` by the value becomes ``-K^T s`` by the operand, s the solution of ``J^T s = t``. Entries that no chain of
equations links are solved for apart: the columns of an inverse, the matrices of a stack.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import sympy
from flint import arb, arb_mat

from verify.numbers.matrices import solution
from verify.ops import Op, Shape
from verify.symbolic.formula import OBJECTS, Formulas
from verify.symbolic.polynomials import Monomials, Slopes, expanded

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Integers = NDArray[np.int64]

MOST_UNKNOWNS = 100
"""Entries that hang together in one system: beyond, solving it in balls takes too long."""


@dataclass(slots=True)
class Block:
    """Systems of one size: which equations and which entries of the value belong to each, ``(systems, size)``."""

    equations: Integers
    unknowns: Integers
    terms: Integers
    """The terms of the equations' derivatives by the value that belong here, ..."""
    places: Integers
    """... and the place of each in the systems' matrices ``(systems, size, size)``, flat."""


@dataclass(slots=True)
class Equations:
    """The equations of one implicit op, for operands of known shapes.

    >>> from verify.ops import OPS
    >>> equations = Equations.of(OPS["solve"], (2,), [(2, 2), (2,)], {})
    >>> a, b = np.array([[2.0, 0.0, 0.0, 4.0]]), np.array([[2.0, 2.0]])
    >>> y = equations.solved([a, b])
    >>> y.tolist(), [abs(part).tolist() for part in equations.pulled(np.array([[1.0, 0.0]]), y, [a, b])]
    ([[1.0, 0.5]], [[[0.5, 0.25, 0.0, 0.0]], [[0.5, 0.0]]])
    """

    left: Monomials
    by_value: Slopes
    by_operand: list[Slopes]
    blocks: list[Block]
    sizes: tuple[int, ...]
    """Entries of the value, and of each operand."""

    @classmethod
    def of(cls, row: Op, shape: Shape, operands: Sequence[Shape], static: Mapping[str, Any]) -> Equations:
        """The equations of a row, expanded and differentiated by SymPy."""
        left, (by_value, *by_operand) = expanded(row, [shape, *operands], static)
        sizes = tuple(math.prod(part) for part in (shape, *operands))
        return cls(left, by_value, by_operand, _blocks(by_value, sizes[0]), sizes)

    @property
    def largest(self) -> int:
        """Entries of the largest system."""
        return int(max(block.unknowns.shape[1] for block in self.blocks))

    def solved(self, operands: Sequence[Any]) -> Any:
        """The value ``(P, entries)`` from the operands ``(P, entries)``."""
        y = _zeros(operands, self.sizes[0])
        if any(operand == 0 for operand, _, _ in self.by_value[0].factors):
            return self._entry_by_entry(y, operands)
        left = _summed(self.left.terms([y, *operands]), self.left.groups, self.sizes[0])
        for block, matrices in zip(self.blocks, self._matrices([y, *operands]), strict=True):
            y[:, block.unknowns] = _solution(matrices, -left[:, block.equations])
        return y

    def pulled(self, total: Any, y: Any, operands: Sequence[Any]) -> list[Any]:
        """What a total derivative by the value ``(P, entries)`` sends to each operand ``(P, entries)``."""
        sent = np.empty_like(y)
        for block, matrices in zip(self.blocks, self._matrices([y, *operands]), strict=True):
            sent[:, block.equations] = _solution(np.swapaxes(matrices, -1, -2), total[:, block.unknowns])
        return [
            -_summed(sent[:, outputs] * terms.terms([y, *operands]), terms.groups, size)
            for (terms, outputs), size in zip(self.by_operand, self.sizes[1:], strict=True)
        ]

    def _matrices(self, flat: Sequence[Any]) -> list[Any]:
        """The derivatives of the equations by the value, for each block ``(P, systems, size, size)``."""
        terms = self.by_value[0].terms(flat)
        found = []
        for block in self.blocks:
            systems, size = block.unknowns.shape
            matrices = _summed(terms[:, block.terms], block.places, systems * size * size)
            found.append(matrices.reshape(len(terms), systems, size, size))
        return found

    def _entry_by_entry(self, y: Any, operands: Sequence[Any]) -> Any:
        """Each equation solved for the entry in its own place, with those before it known."""
        monomials, outputs = self.by_value
        for at in range(self.sizes[0]):
            rest = _sum_of(_chosen(self.left, self.left.groups == at), [y, *operands])
            y[:, at] = _ones(y)  # a slope c * y is the coefficient of y**2 / 2 there, a slope c that of y
            own = _chosen(monomials, (monomials.groups == at) & (outputs == at))
            is_square = any(operand == 0 and (entries == at).any() for operand, _, entries in own.factors)
            slope = _sum_of(own, [y, *operands])
            y[:, at] = _root(2 if is_square else 1)(slope, rest, like=y)[0]
        return y


@lru_cache(maxsize=2)
def _root(degree: int) -> Formulas:
    """The solution of ``slope / degree * y**degree + rest = 0``: the only one, or the positive one."""
    slope, rest = sympy.Symbol("slope", real=True), sympy.Symbol("rest", real=True)
    return Formulas([-rest / slope if degree == 1 else sympy.sqrt(-2 * rest / slope)], [slope, rest])


def _ones(y: Any) -> Any:
    return 1.0 if y.dtype != OBJECTS else arb(1)


def _zeros(operands: Sequence[Any], size: int) -> Any:
    """Zeros ``(P, size)`` of the operands' number system."""
    points, dtype = len(operands[0]), np.result_type(*(x.dtype for x in operands))
    return np.zeros((points, size)) if dtype != OBJECTS else np.full((points, size), arb(0), dtype=object)


def _sum_of(monomials: Monomials, flat: Sequence[Any]) -> Any:
    return np.sum(monomials.terms(flat), axis=1)


def _summed(terms: Any, groups: Integers, size: int) -> Any:
    """Terms ``(P, T)`` added up by group ``(P, size)``."""
    out = _zeros([terms], size)
    index: Any = (slice(None), groups)
    np.add.at(out, index, terms)
    return out


def _chosen(monomials: Monomials, mask: NDArray[np.bool_]) -> Monomials:
    """Some of the terms."""
    number = np.cumsum(mask) - 1
    factors = tuple(
        (operand, number[which[mask[which]]], entries[mask[which]]) for operand, which, entries in monomials.factors
    )
    return Monomials(monomials.groups[mask], monomials.coefficients[mask], monomials.exact[mask], factors)


def _blocks(by_value: Slopes, size: int) -> list[Block]:
    """The unknowns cut into systems that share no equation, those of one size together."""
    monomials, outputs = by_value
    pairs = np.unique(np.stack([outputs, monomials.groups], axis=1), axis=0)
    label = np.arange(size)  # of each unknown; an equation is where its unknowns are
    while True:
        least = np.full(size, size)
        np.minimum.at(least, pairs[:, 0], label[pairs[:, 1]])
        joined = label.copy()
        np.minimum.at(joined, pairs[:, 1], least[pairs[:, 0]])
        if (joined == label).all():
            break
        label = joined
    systems = [(np.flatnonzero(least == name), np.flatnonzero(label == name)) for name in np.unique(label)]
    assert all(len(equations) == len(unknowns) for equations, unknowns in systems), "a system that is not square"
    found = []
    for length in sorted({len(unknowns) for _, unknowns in systems}):
        equations, unknowns = (
            np.array([system[part] for system in systems if len(system[1]) == length]) for part in (0, 1)
        )
        found.append(_block(equations, unknowns, monomials.groups, outputs, size))
    return found


def _block(equations: Integers, unknowns: Integers, groups: Integers, outputs: Integers, size: int) -> Block:
    systems, length = unknowns.shape
    row, column = np.full(size, -1), np.full(size, -1)
    row[equations.ravel()] = np.arange(systems * length)
    column[unknowns.ravel()] = np.tile(np.arange(length), systems)
    terms = np.flatnonzero(row[outputs] >= 0)
    return Block(equations, unknowns, terms, row[outputs[terms]] * length + column[groups[terms]])


def _solution(matrices: Any, right: Any) -> Any:
    """The solutions of many systems ``(P, systems, size)``; NaN where a matrix is, or may be, singular."""
    if matrices.dtype != OBJECTS:
        return solution(matrices, right[..., None])[..., 0]
    out = np.empty_like(right)
    for at in np.ndindex(right.shape[:-1]):
        size = right.shape[-1]
        try:
            found = arb_mat(matrices[at].tolist()).solve(arb_mat(size, 1, right[at].tolist())).entries()
        except ZeroDivisionError:
            found = [arb.nan()] * size
        out[at] = found
    return out

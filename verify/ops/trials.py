"""How a row is tried, by everything that tries all rows: shapes of its operands and its static parameters.

Every rank on either side, axes of one entry against larger ones, every pair of vector, matrix and stack.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

Shape = tuple[int, ...]

Trial = tuple[tuple[Shape, ...], Mapping[str, Any]]
"""Shapes of the operands, and static parameters."""

UNARY: tuple[Shape, ...] = ((), (1,), (3,), (2, 3), (4, 1, 3))
BINARY: tuple[tuple[Shape, Shape], ...] = (
    *((shape, shape) for shape in UNARY),
    ((), (3,)), ((2, 3), ()), ((3,), (2, 3)), ((4, 2, 3), (3,)), ((2, 3), (4, 1, 3)), ((2, 1), (1, 3)),
    ((1,), (2, 3)), ((3, 1), (2,)), ((4, 1, 1), (2, 3)), ((2,), (2, 2)), ((1, 1), ()),
)  # fmt: skip


def entry_by_entry(operands: int, params: Iterable[Mapping[str, Any]] = ({},)) -> tuple[Trial, ...]:
    """Trials of a row that works entry by entry, with each of some parameters.

    >>> len(entry_by_entry(1)), entry_by_entry(1, [{"slope": 0.125}])[2]
    (5, (((3,),), {'slope': 0.125}))
    """
    shapes = {1: [(shape,) for shape in UNARY], 2: BINARY, 4: [(*pair, *pair[::-1]) for pair in BINARY]}
    every = shapes.get(operands, [(shape,) * operands for shape in UNARY])
    return tuple((of, static) for of in every for static in params)


def of_one(*rows: tuple[Shape, Mapping[str, Any]]) -> tuple[Trial, ...]:
    """Trials of a row with one operand.

    >>> of_one(((2, 3), {"axis": 0}))
    ((((2, 3),), {'axis': 0}),)
    """
    return tuple(((shape,), params) for shape, params in rows)


def plain(*shapes: Shape) -> tuple[Trial, ...]:
    """Trials of a row with one operand and without parameters.

    >>> plain((3,))
    ((((3,),), {}),)
    """
    return of_one(*((shape, {}) for shape in shapes))


REDUCTIONS = of_one(
    ((), {}), ((3,), {}), ((2, 3), {}), ((4, 2, 3), {}), ((2, 3), {"axis": 0}), ((2, 3), {"axis": -1}),
    ((4, 2, 3), {"axis": (0, 2)}), ((2, 3), {"keepdims": True}), ((4, 2, 3), {"axis": 1, "keepdims": True}),
    ((1, 3), {"axis": 0}),
)  # fmt: skip
"""Rows that reduce axes."""

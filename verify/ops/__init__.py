"""The table: one row is one op, and each row holds everything that is known about it.

Columns, in the order in which a reader asks for them:

* ``forward``   NumPy, on arrays ``(P, *shape)``: the first axis counts points and belongs to nobody else.
* ``vjps``      one vector-Jacobian product for each argument, written by hand: ``g`` is the upstream gradient,
  ``y`` the output, ``a, b`` the inputs. They know nothing of SymPy.
* ``sympy``     the op on SymPy expressions (elementwise ops) or on object arrays of them (structural ops).
* ``exact``     the op on mpmath numbers or object arrays of them: the third, independent definition, which
  decides who is wrong when ``forward`` and ``sympy`` part.
* ``ball``      the op on python-flint's balls and series of balls (on object arrays of them for structural ops), the
  certified reference; written without the other columns.
* ``code``      how ``verify emit`` writes the op and its derivative in plain NumPy: by hand a second time, from no VJP.
* ``example``   a stage of a case that uses it; ``trials`` shapes and parameters: what tests try every row with.
* ``shape``     the output's shape from the operands' shapes; raises :class:`~verify.errors.ShapeError`.
* ``domain``    where each argument may be; outside, the op has no value.
* ``ulps``      how far ``forward`` may be from the exact result, in units in the last place (a test measures it).
* ``kink``      where the op has no derivative: the argument whose sign decides, the branches, conventions at a tie.
* ``singular``  where it has neither slope nor branches: a length at 0 (all of the unit ball), or a jump (nothing).
* ``params``    names of its static parameters (axis, keepdims).
* ``lower``     in place of ``sympy``, for what is neither entry by entry nor a polynomial (softmax, std, a maximum
  over an axis): how the op is built of others. The symbolic method runs that program, and where branches meet the
  judge opens it up; the engine uses the row's own forward and VJP, so that a fault in either shows.
* ``implicit``  the value has no formula for SymPy: ``sympy`` gives the polynomial equations that it solves.

Elementwise operands arrive with equal ranks (:mod:`verify.graph.graph` aligns them), so that NumPy's broadcasting never
pairs points with rows; structural ones keep their own shapes. A structural op is a polynomial in the entries of its
operands (a sum, a product, a move), unless it has a lowering. To add an op is to add a row to one of the files here:
every test that loops over the table then covers it, and a column that was forgotten is told with its file. A framework
that has the op under its own name needs nothing; else it is a line in its file of :mod:`verify.methods`.
"""

from __future__ import annotations

from collections.abc import Mapping

from verify.ops import (
    arithmetic,
    convolution,
    einsum,
    exponentials,
    extrema,
    hyperbolic,
    kinked,
    linear_algebra,
    products,
    reductions,
    scans,
    shaping,
    softmax,
    special,
    trigonometric,
)
from verify.ops.row import (
    NONNEGATIVE,
    NONZERO,
    OPERAND_NAMES,
    POSITIVE,
    REAL,
    Interval,
    Jump,
    Kink,
    Op,
    Shape,
    UnitBall,
    exact_rational,
    forgotten,
)

__all__ = [
    "HELPERS",
    "NONNEGATIVE",
    "NONZERO",
    "OPERAND_NAMES",
    "OPS",
    "POSITIVE",
    "REAL",
    "Interval",
    "Jump",
    "Kink",
    "Op",
    "Shape",
    "UnitBall",
    "exact_rational",
    "forgotten",
    "is_as_shipped",
]

_FILES = (
    arithmetic, exponentials, hyperbolic, trigonometric, special, kinked, products, einsum, reductions,
    scans, extrema, softmax, shaping, linear_algebra, convolution,
)  # fmt: skip


def _table() -> dict[str, Op]:
    """The rows of all files by name. Raises ValueError for a row that lacks a column."""
    places = [(row, f"verify/ops/{file.__name__.rpartition('.')[2]}.py") for file in _FILES for row in file.ROWS]
    faults = [fault for row, place in places for fault in forgotten(row, place)]
    if faults:
        raise ValueError("\n".join(faults))
    return {row.name: row for row, _ in places}


OPS: Mapping[str, Op] = _table()
"""The table by name."""

HELPERS: Mapping[str, str] = {name: text for file in _FILES for name, text in getattr(file, "HELPERS", {}).items()}
"""Imports and functions that a module printed by ``verify emit`` brings along where it names them."""

_SHIPPED = dict(OPS)


def is_as_shipped(name: str) -> bool:
    """Whether a row is the one of this table, and nobody has put another in its place.

    >>> is_as_shipped("add")
    True
    """
    return OPS.get(name) is _SHIPPED.get(name)

"""Rows of the op table with a fault planted; not a test itself."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from verify.ops import Op

if TYPE_CHECKING:
    import sympy


def with_scaled_form(row: Op, factor: sympy.Rational) -> Op:
    """A row whose SymPy form, or lowering where it has one, is multiplied by a number."""
    if row.implicit:  # the value is too large where a part of it solves the equations
        return replace(row, sympy=lambda y, *operands: row.sympy(y * (1 / factor), *operands))
    if row.lower is None:
        form = row.sympy
        return replace(row, sympy=lambda *args, **params: form(*args, **params) * factor)
    lower = row.lower

    def scaled(builder: Any, *args: int, **static: Any) -> int:
        return int(builder.apply("multiply", lower(builder, *args, **static), builder.constant(float(factor))))

    return replace(row, lower=scaled)

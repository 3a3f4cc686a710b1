"""What several test files say of the rows that work on whole arrays: how a case uses each, and how its form is spoilt.

Not a test itself: expressions in matrices A and B (2 by 2) and a vector c (2 entries), and faults to plant.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from verify.ops import Op

if TYPE_CHECKING:
    import sympy

EXPRESSIONS: Mapping[str, tuple[str, ...]] = {
    "dot": ("dot(A, B)", "dot(A, c)", "dot(c, c)"),
    "outer": ("outer(A, B)", "outer(c, c)"),
    "prod": ("prod(A)", "prod(A, axis=0)"),
    "var": ("var(A)", "var(A, axis=1, ddof=1)"),
    "std": ("std(A)", "std(A, axis=0, keepdims=True)"),
    "norm": ("norm(A)", "norm(A, axis=1)"),
    "gather": ("A[[0, 1, 1]]", "c[[True, False]]"),
    "reshape": ("reshape(A, shape=(4, 1))",),
    "ravel": ("ravel(A)",),
    "expand_dims": ("expand_dims(A, axis=1)",),
    "squeeze": ("squeeze(A)", "squeeze(A[:1], axis=0)"),
    "broadcast_to": ("broadcast_to(A, shape=(3, 2, 2))",),
    "stack": ("stack([A, B], axis=1)", "stack([c, c, c])"),
    "concatenate": ("concatenate([A, B])", "concatenate([A, B, A], axis=1)"),
    "pad": ("pad(A, pad_width=1)",),
    "flip": ("flip(A)", "flip(A, axis=0)"),
    "roll": ("roll(A, shift=1)", "roll(A, shift=1, axis=1)"),
    "einsum": ('einsum("ij,jk->ki", A, B)', 'einsum("i,i", c, c)', 'einsum("ii->i", A)'),
    "cumsum": ("cumsum(A)", "cumsum(A, axis=0)"),
    "cumprod": ("cumprod(A)", "cumprod(A, axis=0)"),
    "amax": ("amax(A, axis=0)", "max(A)"),
    "amin": ("amin(A, axis=0)", "min(A)"),
    "softmax": ("softmax(A, axis=1)", "softmax(A)"),
    "log_softmax": ("log_softmax(A, axis=1)",),
    "logsumexp": ("logsumexp(A, axis=1)", "logsumexp(A)"),
}
"""Op -> expressions that use it."""

MATRIX = "0.1 * A + diag(c * c + 1)"
"""Away from singular ones, and its lower triangle makes a positive definite one."""

MATRIX_EXPRESSIONS: Mapping[str, tuple[str, ...]] = {
    "trace": ("trace(A)",),
    "diag": ("diag(c)", "diag(A)"),
    **{op: (f"{op}({MATRIX})",) for op in ("inverse", "det", "logabsdet", "cholesky")},
    "solve": (f"solve({MATRIX}, B)", f"solve({MATRIX}, c)"),
    "conv1d": ("conv1d(reshape(A, (1, 2, 2)), reshape(B, (1, 2, 2)), padding=1)",),
    "conv2d": ("conv2d(reshape(A, (1, 1, 2, 2)), reshape(B, (1, 1, 2, 2)), padding=1, stride=(1, 2))",),
    "avg_pool": ("avg_pool(reshape(A, (1, 1, 4)), size=2)",),
    "max_pool": ("max_pool(reshape(A, (1, 1, 2, 2)), size=(1, 2))",),
}
"""Op -> expressions that use it, in matrices A and B (2 by 2) and a vector c (2 entries)."""


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

"""The same as array_rows.py for the rows of linear algebra, convolution and pooling; not a test itself."""

from __future__ import annotations

from collections.abc import Mapping

MATRIX = "0.1 * A + diag(c * c + 1)"
"""Away from singular ones, and its lower triangle makes a positive definite one."""

EXPRESSIONS: Mapping[str, tuple[str, ...]] = {
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

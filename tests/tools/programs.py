"""A program for each op that uses it among others, at a point where every operand matters; not a test itself."""

from __future__ import annotations

import re

from verify.ops import OPS

Nested = list[float] | list[list[float]]

VECTORS: dict[str, Nested] = {"a": [-0.15, 0.3], "b": [0.7, 1.5]}
MATRICES: dict[str, Nested] = {"a": [[-0.15, 0.3], [0.45, -0.4]], "b": [[0.7, 1.5], [1.2, 0.9]]}
"""u = exp(a) falls on either side of b and of 1."""


def program(op: str, outer: str) -> tuple[dict[str, Nested], dict[str, str]]:
    """Inputs and stages: the op's own example of u and b, and at the end the sum (or mean) of ``outer``, made of q."""
    example = OPS[op].example
    point = MATRICES if op in {"matmul", "transpose"} else VECTORS
    inputs = {name: value for name, value in point.items() if name == "a" or re.search(rf"\b{name}\b", example)}
    return inputs, {"u": "exp(a)", "q": example, "f": f"{'mean' if op == 'sum' else 'sum'}({outer})"}

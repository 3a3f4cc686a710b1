"""Whether a function has slopes at a point at all, by what its values do beside it: a last word on answers of NaN.

Where no enclosure tells the truth (a root at 0 behind a guard, a quotient of zeros that is never read), a gradient that
answers NaN may be right, since the slope is infinite, or wrong, since the function is as smooth as can be. Its values
on both sides tell: quotients that stay bounded while the step shrinks are slopes, and NaN is none of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from verify.interpret import Program, dtype_of
from verify.methods.central import contraction

Array = NDArray[Any]

SHRINK = 16.0
"""The second step is so much smaller: what behaves as a root has quotients four times as large there."""

GROWTH = 1.5
"""Times that a quotient may grow and still be one of a function with a slope."""


def has_bounded_slopes(
    program: Program, inputs: Mapping[str, Array], upstream: Mapping[str, Array], name: str, entry: tuple[int, ...]
) -> bool:
    """Whether the contracted output has bounded difference quotients on both sides of one entry, at one point (P = 1).

    False too where it has no finite value beside the point: there nothing is known.

    >>> from verify.reading.expression import graph_from_expressions
    >>> for text in ("abs(x)", "x**2", "cbrt(x)", "log(x)"):
    ...     program = Program(graph_from_expressions({"x": ()}, {"f": text}))
    ...     has_bounded_slopes(program, {"x": np.zeros(1)}, {"f": np.ones(1)}, "x", ())
    True
    True
    False
    False
    """
    dtype = dtype_of(inputs)
    unit = float(np.finfo(dtype).eps) / 2
    x = float(inputs[name][(0, *entry)])
    step = unit**0.25 * max(abs(x), 1.0)
    offsets = np.array([0.0, step, -step, step / SHRINK, -step / SHRINK])
    moved = {key: np.repeat(value, len(offsets), axis=0) for key, value in inputs.items()}
    column: Any = (slice(None), *entry)
    moved[name][column] = x + offsets
    taken = moved[name][column].astype(np.float64) - x
    seeds = {key: np.repeat(g, len(offsets), axis=0) for key, g in upstream.items()}
    values = np.asarray(contraction(program.graph, seeds)(program.run(moved)), dtype=np.float64)
    if values.shape != offsets.shape or not np.isfinite(values).all() or not taken[1:].all():
        return False
    quotients = np.abs((values[1:] - values[0]) / taken[1:])
    noise = 64 * unit * np.abs(values).max() / np.abs(taken[1:]).min()
    return bool(np.all(quotients[2:] <= GROWTH * quotients[:2] + noise))

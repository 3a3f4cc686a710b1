"""Whether a function has slopes at a point at all, by what its values do beside it: a last word on answers of NaN.

Where no enclosure tells the truth (a root at 0 behind a guard, a quotient of zeros that is never read), a gradient that
answers NaN may do so for want of a slope, or be wrong, since the function is as smooth as can be. Its values on both
sides tell: quotients that stay bounded, and come together, while the step shrinks are a slope, and NaN is none.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from verify.graph.interpret import Program, dtype_of
from verify.methods.central import contraction

Array = NDArray[Any]

SHRINK = 16.0
"""The second step is so much smaller: what behaves as a root has quotients four times as large there."""

GROWTH = 1.5
"""Times that a quotient may grow and still be one of a function with a slope."""

CLOSER = 0.5
"""Times that both sides must come closer to each other: at a corner they keep apart."""


def has_slope(
    program: Program, inputs: Mapping[str, Array], upstream: Mapping[str, Array], name: str, entry: tuple[int, ...]
) -> bool:
    """Whether the contracted output has a slope by one entry, as its values beside one point (P = 1) show it.

    False too where it has no finite value beside the point: there nothing is known.

    >>> from verify.case.expression import graph_from_expressions
    >>> for text in ("abs(x)", "x**2", "cbrt(x)", "log(x)"):
    ...     program = Program(graph_from_expressions({"x": ()}, {"f": text}))
    ...     has_slope(program, {"x": np.zeros(1)}, {"f": np.ones(1)}, "x", ())
    False
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
    quotients = (values[1:] - values[0]) / taken[1:]
    noise = 64 * unit * np.abs(values).max() / np.abs(taken[1:]).min()
    if not np.isfinite(quotients).all() or not np.isfinite(noise):
        return False
    is_bounded = np.all(np.abs(quotients[2:]) <= GROWTH * np.abs(quotients[:2]) + noise)
    wide, narrow = abs(quotients[0] - quotients[1]), abs(quotients[2] - quotients[3])
    return bool(is_bounded and narrow <= CLOSER * wide + noise)

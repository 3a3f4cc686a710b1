"""The conditioning of values and gradients: how far each of them moves where every input is a little off.

``C = sum over j of |x_j dG/dx_j|`` for a gradient G, in units of G. A program that is right may be off by what a few
roundings of its inputs do to the truth, however well it computes; without C such a program would be called wrong.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from verify.graph.derivative import Derivative
from verify.judging.rows import RowKey
from verify.methods.reverse import Reverse

Array = NDArray[Any]

STEP = 2.0**-17
"""Relative step of the differences: balances truncation against the rounding of float64; four digits are plenty."""

MOST_RUNS = 4_096
"""Points at which the engine runs for the sake of one bound; larger cases are bounded by balls."""


def conditioning(
    engine: Reverse,
    names: Sequence[str],
    keys: Sequence[RowKey],
    inputs: Mapping[str, Array],
    upstream: Mapping[str, Array],
) -> list[Array] | None:
    """C for each kind of rows ``(P, n)``, by differences of the engine's own answers in float64.

    None where there are too many entries for that, or where an answer beside a point is not finite.

    >>> from verify.case.expression import graph_from_expressions
    >>> engine = Reverse(graph_from_expressions({"x": ()}, {"f": "x**3"}), ["x"])
    >>> (found,) = conditioning(engine, ["x"], [("x", "gradient")], {"x": np.array([2.0])}, {"f": np.ones(1)})
    >>> round(float(found[0, 0]), 3)
    24.0
    """
    points = len(next(iter(inputs.values())))
    places = [(name, entry) for name in names for entry in np.ndindex(inputs[name].shape[1:])]
    if not 0 < 2 * len(places) * points <= MOST_RUNS:
        return None
    copies = 2 * len(places)
    moved = {name: np.tile(x.astype(np.float64), (copies, *(1,) * (x.ndim - 1))) for name, x in inputs.items()}
    for number, (name, entry) in enumerate(places):
        for side, factor in enumerate((1 + STEP, 1 - STEP)):
            start = (2 * number + side) * points
            moved[name][(slice(start, start + points), *entry)] *= factor
    seeds = {name: np.tile(g.astype(np.float64), (copies, *(1,) * (g.ndim - 1))) for name, g in upstream.items()}
    with np.errstate(all="ignore"):
        answer = engine.differentiate(moved, seeds)
        found = [_moved_by(answer, key, len(places), points) for key in keys]
    return found if all(np.all(np.isfinite(size)) for size in found) else None


def _moved_by(answer: Derivative, key: RowKey, places: int, points: int) -> Array:
    """The sum over all places of how far the two sides of each are apart ``(P, n)``."""
    column = answer.gradients[key[0]] if key[1] == "gradient" else answer.values[key[0]]
    sides = np.asarray(column, dtype=np.float64).reshape(places, 2, points, -1)
    total: Array = np.abs(sides[:, 0] - sides[:, 1]).sum(axis=0) / (2 * STEP)
    return total

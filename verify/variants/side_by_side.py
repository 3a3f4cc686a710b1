"""Many variants in one backward pass: each has a stretch of a long batch to itself.

The engine is batched over points, so V variants at P points are one pass at V x P points, in which each replaced
pullback touches the points of its own variant. A pass per variant would take as long as the graph has nodes, V times.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from verify.graph.interpret import Values
from verify.methods.reverse import Contribution, Edge, Replacement, Reverse
from verify.variants.generate import Variant

Array = NDArray[Any]

MOST_NUMBERS = 2**21
"""Numbers that one pass computes at most: what is side by side should fit the cache's neighbourhood."""


def gradients_of(
    engine: Reverse, values: Values, upstream: Mapping[str, Any], variants: Sequence[Variant]
) -> Iterator[tuple[slice, dict[str, Array]]]:
    """The gradients of variants at P points, block by block: which variants, and arrays ``(V, P, *shape)``.

    ``values`` is a finished forward pass at the P points, ``upstream`` their upstream gradients.

    >>> from verify.case.expression import graph_from_expressions
    >>> from verify.variants.generate import variants
    >>> engine = Reverse(graph_from_expressions({"x": ()}, {"f": "x**3"}), ["x", "f"])
    >>> values = engine.program.run({"x": np.array([2.0])})
    >>> found = variants(engine, values)
    >>> for which, gradients in gradients_of(engine, values, {"f": np.ones(1)}, found):
    ...     print(found[which][0].kind.value, gradients["x"][0])
    missing path [0.]
    """
    points = max(len(x) for x in upstream.values())
    numbers = sum(math.prod(node.shape) for node in engine.graph.nodes)
    size = max(1, MOST_NUMBERS // max(numbers * points, 1))
    for start in range(0, len(variants), size):
        some = variants[start : start + size]
        replaced: dict[Edge, _SideBySide] = {}
        for number, variant in enumerate(some):
            for edge, replacement in variant.replaced.items():
                mine = slice(number * points, (number + 1) * points)
                replaced.setdefault(edge, _SideBySide([])).parts.append((mine, replacement))
        tiled = [_tiled(x, points, len(some)) for x in values]
        seeds = {name: _tiled(seed, points, len(some)) for name, seed in upstream.items()}
        with np.errstate(all="ignore"):  # a wrong pass may well leave the range of floats
            found = engine.backward(tiled, seeds, replaced)
        yield (
            slice(start, start + len(some)),
            {name: g.reshape(len(some), points, *g.shape[1:]) for name, g in found.items()},
        )


def _tiled(x: Any, points: int, copies: int) -> Any:
    """An array ``(P, ...)`` once for each variant; a constant, of length 1, stays as it is."""
    return x if x is None or len(x) < points else np.tile(x, (copies, *(1,) * (x.ndim - 1)))


@dataclass(frozen=True, slots=True)
class _SideBySide:
    """The replacements of one edge, each at the points of its variant."""

    parts: list[tuple[slice, Replacement]]

    def __call__(self, right: Contribution) -> Any:
        sent = np.array(right.sent)
        for points, replacement in self.parts:
            sent[points] = replacement(right.part(points))
        return sent

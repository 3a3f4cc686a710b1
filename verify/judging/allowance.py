"""What right answers may be off by, with the dtype's own unit roundoff: written once, for everybody who judges."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from verify.graph.graph import Graph
from verify.graph.interpret import dtype_of
from verify.numbers.balls import Balls
from verify.ops import OPS

Array = NDArray[Any]

LEAST_UNITS = 8
"""Units roundoff of the value, beside one for every node, that two methods may always differ by."""

SUBNORMALS = 16
"""Smallest subnormal numbers that any answer may be off by."""


@dataclass(frozen=True, slots=True)
class Allowance:
    """The rounding that one graph grants in one dtype."""

    growth: int
    """Units roundoff that any right way to compute something may be off by, relative to its size."""
    unit: float
    """The dtype's unit roundoff."""
    smallest: float
    """Its smallest subnormal number."""
    tiny: float
    """Its smallest normal number."""

    @classmethod
    def of(cls, graph: Graph, inputs: Mapping[str, Array]) -> Allowance:
        """What a graph grants at inputs of one dtype.

        >>> from verify.case.expression import graph_from_expressions
        >>> graph = graph_from_expressions({"x": (2,)}, {"f": "-x[0] * 3 + x[1]"})
        >>> Allowance.of(graph, {"x": np.ones((1, 2))}).growth  # two nodes that round
        10
        """
        info = np.finfo(dtype_of(inputs))
        growth = LEAST_UNITS + _rounding_nodes(graph)
        return cls(growth, float(info.eps) / 2, float(info.smallest_subnormal), float(info.tiny))

    @property
    def floor(self) -> float:
        """What an answer may be off by however small it is."""
        return SUBNORMALS * self.smallest

    def relative(self, size: Any) -> Any:
        """What answers of some size may always be off by: a rounding of every node."""
        return np.abs(size) * (self.growth * self.unit)

    def least(self, truth: float) -> float:
        """What a right answer may always be off by, where this is the truth."""
        return self.growth * self.unit * abs(truth) + self.floor

    def of_ball(self, ball: Balls) -> Array:
        """What float methods may be off by: twice the engine's own rounding, and the value's on every node.

        Unbounded where the enclosure is: something on the way overflows.
        """
        with np.errstate(all="ignore"):
            allowed = 2 * ball.radius + self.relative(ball.value) + self.floor
        return np.where(np.isnan(allowed), np.inf, allowed)


def least_units(unit: float, size: float) -> float:
    """What two numbers of some size may differ by whatever was computed: their own roundings.

    >>> least_units(2.0**-53, 2.0**53)
    8.0
    """
    return LEAST_UNITS * unit * abs(size)


def finite(allowed: Array) -> Array:
    """Bounds, 0 where there is none.

    >>> finite(np.array([1.0, np.inf])).tolist()
    [1.0, 0.0]
    """
    return np.where(np.isfinite(allowed), allowed, 0.0)


def lost_digits(error: float, truth: float, unit: float) -> str:
    """How many decimal digits an error costs, as a number or ``all``.

    >>> lost_digits(1e-10, 1.0, 2.0**-53)
    '6.0'
    """
    if not truth:
        return "all"
    # By logarithms: a quotient of subnormal numbers may divide by zero.
    return f"{min(math.log10(error) - math.log10(abs(truth)), 0.0) - math.log10(unit):.1f}"


def _rounding_nodes(graph: Graph) -> int:
    """How many nodes of a graph round: inputs, literals, and ops that only move or negate entries do not."""
    return sum(node.kind == "op" and OPS[node.op].ulps > 0 for node in graph.nodes)

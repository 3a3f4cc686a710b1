"""Work is counted, never timed: what a proof may cost depends on the question, not on the machine or its load.

One unit is an arithmetic operation on balls. Functions of balls cost more, and the more the higher their precision is;
sums and products hardly feel it. A unit takes one to five microseconds of a processor.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from verify.graph.graph import Graph, Node
from verify.ops import OPS

FUNCTION = 8
"""Units that a function of one ball and its slope take with 128 bits, where a sum or product takes 1."""

PRODUCT = 0.25
"""Units that each product of a sum of products takes, as in a product of matrices."""

CALL = 4
"""Units that running a node takes beside its entries."""


class OutOfWorkError(Exception):
    """The work that may be put into one proof is used up."""


@dataclass(frozen=True, slots=True)
class Price:
    """What a node costs."""

    units: float
    bits: int
    """The precision up to which it costs no more."""

    def at(self, bits: int) -> float:
        """The units with some precision.

        >>> Price(10, 128).at(64), Price(10, 128).at(512)
        (10.0, 40.0)
        """
        return self.units * max(bits / self.bits, 1.0)


class Work:
    """What may be put into one proof, and what has been.

    >>> work = Work(10)
    >>> work.spend(4)
    >>> work.left
    6.0
    >>> work.spend(7)
    Traceback (most recent call last):
    verify.graph.work.OutOfWorkError
    """

    __slots__ = ("most", "spent")

    def __init__(self, most: float = math.inf) -> None:
        self.most, self.spent = most, 0.0

    @property
    def left(self) -> float:
        """What may still be spent."""
        return self.most - self.spent

    def spend(self, units: float) -> None:
        """Takes note of work before it is done. Raises OutOfWorkError where there is not enough left for it."""
        if self.spent + units > self.most:
            self.spent = self.most  # nothing smaller that comes later is tried either
            raise OutOfWorkError
        self.spent += units


def price_of(graph: Graph, node: Node) -> Price:
    """What running a node costs.

    >>> from verify.case.expression import graph_from_expressions
    >>> graph = graph_from_expressions({"W": (3, 4), "x": (4,)}, {"D": "W @ x", "f": "exp(D)"})
    >>> [price_of(graph, node).units for node in graph.nodes]
    [0, 0, 15.0, 24]
    """
    if node.kind != "op":
        return Price(0, 128)
    row, entries = OPS[node.op], math.prod(node.shape)
    if row.elementwise:
        return Price(entries, 2048) if row.ulps <= 0.5 else Price(FUNCTION * entries, 128)
    if row.moves:
        return Price(entries, 2048)  # what is not picked is not read
    shapes = [graph.nodes[arg].shape for arg in node.args]
    read = max((math.prod(shape) for shape in shapes), default=entries)
    if row.implicit or row.curved:
        return Price(read * max(shapes[0], default=1), 2048)  # by elimination, whatever SymPy would write out
    if row.uses is not None:
        return Price(read + PRODUCT * row.uses(*shapes, **node.static), 2048)
    return Price(read, 2048) if row.ulps <= 0.5 else Price(FUNCTION * read, 128)

"""Which entries count: what only a branch that is not taken reads need have no value: where(x > 0, log(x), 0)."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from verify.graph.graph import Graph, Node
from verify.graph.interpret import Values, branch_argument
from verify.methods.reverse import unbroadcast
from verify.ops import OPS

Mask = NDArray[np.bool_]


def is_lost(graph: Graph, values: Values) -> list[Mask]:
    """For each node whether each entry ``(P, *shape)`` has no finite value though somebody reads it.

    >>> from verify.graph.interpret import Program
    >>> from verify.case.expression import graph_from_expressions
    >>> graph = graph_from_expressions({"x": ()}, {"f": "where(x > 0, log(x), x)"})
    >>> values = Program(graph).run({"x": np.array([-2.0])})
    >>> values[2], is_lost(graph, values)[2]
    (array([nan]), array([False]))
    """
    lost: list[Mask] = [~np.isfinite(value) for value in values]
    if any(mask.any() for mask in lost) and any(map(_selects, graph.nodes)):
        points = max(map(len, values))
        read = _read(graph, values, points)
        lost = [mask & read[i] for i, mask in enumerate(lost)]
    return lost


def _selects(node: Node) -> bool:
    """Whether a node leaves one of its operands unread."""
    kink = OPS[node.op].kink if node.kind == "op" else None
    return kink is not None and not kink.meets


def _read(graph: Graph, values: Values, points: int) -> list[Mask]:
    """For each node the entries that something reads, from the last nodes back to the inputs."""
    read: list[Mask] = [
        np.full((points, *node.shape), not readers) for node, readers in zip(graph.nodes, graph.consumers, strict=True)
    ]
    for position in range(len(graph.nodes) - 1, -1, -1):
        node = graph.nodes[position]
        shares = _shares(node, values, read[position])
        for operand, share in zip(node.args, shares, strict=True):
            shape = graph.nodes[operand].shape
            if OPS[node.op].elementwise:
                read[operand] |= unbroadcast(share.astype(np.int64), shape) > 0
            else:
                read[operand] |= share.reshape(points, -1).any(axis=1).reshape(points, *(1,) * len(shape))
    return read


def _shares(node: Node, values: Values, read: Mask) -> list[Any]:
    """The entries of a node that read each operand."""
    if not _selects(node):
        return [read] * len(node.args)
    argument = branch_argument(node, values)
    first = (argument > 0) | ((argument == 0) & (node.op == "where_or_equal"))
    return [read, read, read & first, read & ~first]

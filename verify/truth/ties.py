"""Second derivatives where entries of a maximum are tied, of functions that do not mind which of them is taken.

``m + log(sum(exp(x - m)))`` with ``m = max(x)`` is smooth, though m is not. Near a tie the function is one of those
that take one of the tied entries throughout. Where all of these have the same gradient and the same second derivatives,
those are the function's: its own lie in the hull of theirs, whichever is taken where.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import partial, reduce
from itertools import product
from typing import Any

import numpy as np

from verify.graph.graph import Graph, GraphBuilder
from verify.graph.taylor import as_objects, entries_of, precision
from verify.ops import OPS
from verify.truth.orders import Block, Orders
from verify.truth.reference import enclosure

MOST_CHOICES = 64
"""Ways through the ties that are looked at."""

BITS = 192


def second_blocks(point: Orders, quantity: str, *vectors: Any) -> tuple[Orders, list[Block]]:
    """What is known of second derivatives, and at whose point; where entries are tied, by all choices of the tie.

    >>> from verify.case.expression import graph_from_expressions
    >>> graph = graph_from_expressions({"x": (2,)}, {"m": "max(x)", "f": "m + log(sum(exp(x - m)))"})
    >>> point = Orders(graph, ["x"], None, {"x": np.ones(2)}, {"f": np.ones(())})
    >>> [known.midpoint for known in second_blocks(point, "hessian")[1][0].known]
    [0.25, -0.25, -0.25, 0.25]
    """
    others = [point.of_graph(graph) for graph in _choices(point)]
    if others and _all_alike([[x for xs in other.gradient().values() for x in xs] for other in others]):
        merged = _merged([getattr(other, quantity)(*vectors) for other in others])
        if merged:
            for other in others[1:]:
                others[0].disputed = others[0].disputed or other.disputed
                others[0].kink = others[0].kink or other.kink
            return others[0], merged
    return point, getattr(point, quantity)(*vectors)


def _choices(point: Orders) -> list[Graph]:
    """The graph with one operand in the place of each maximum that is tied to within rounding; none where none is."""
    graph = point.graph.opened()
    path = graph.depends_on(map(graph.position, point.variables))
    pairs = [i for i in path if graph.nodes[i].kind == "op" and graph.nodes[i].op in ("max", "min")]
    if not pairs:
        return []
    values = point.of_graph(graph).rounded_values()
    tied = []
    for i in pairs:
        kink = OPS[graph.nodes[i].op].kink
        assert kink is not None
        decide = np.frompyfunc(partial(kink.argument, **graph.nodes[i].static), 2, 1)
        meets = [bool(x.contains(0)) for x in entries_of(decide(*(as_objects(values[a]) for a in graph.nodes[i].args)))]
        if any(meets) and not all(meets):
            return []  # one operand cannot stand for all entries
        tied += [i] if all(meets) else []
    if not tied or 2 ** len(tied) > MOST_CHOICES:
        return []
    return [_taken(graph, dict(zip(tied, sides, strict=True))) for sides in product((0, 1), repeat=len(tied))]


def _taken(graph: Graph, side: dict[int, int]) -> Graph:
    """A graph in which some nodes are one of their operands."""
    builder, at = GraphBuilder(), list[int]()
    for i, node in enumerate(graph.nodes):
        if i in side:
            operand = at[node.args[side[i]]]
            whole = ("broadcast_to", {"shape": node.shape}) if node.shape else ("positive", {})
            at.append(builder.apply(whole[0], operand, params=whole[1]))  # a node of its own, which may have a name
        else:
            at.append(builder.copy(replace(node, args=tuple(at[arg] for arg in node.args))))
        if graph.names.get(i) in graph.stages:
            builder.name(graph.names[i], at[i])
    return builder.build(graph.outputs)


def _all_alike(numbers: Sequence[Sequence[Any]]) -> bool:
    """Whether all have the same finite numbers, as far as their balls tell."""
    first = numbers[0]
    return all(
        x.is_finite() and y.is_finite() and x.overlaps(y)
        for other in numbers
        for x, y in zip(first, other, strict=True)
    )


def _merged(found: Sequence[Sequence[Block]]) -> list[Block]:
    """The hulls of the choices' numbers, nothing where one is not known or they differ."""
    blocks = []
    for same in zip(*found, strict=True):
        rows = list(zip(*(block.known for block in same), strict=True))
        if any(known.reason or known.ball is None for row in rows for known in row):
            return []
        with precision(BITS):
            if not all(_all_alike([[known.ball] for known in row]) for row in rows):
                return []
            hulls = [reduce(lambda x, y: x.union(y), (known.ball for known in row)) for row in rows]
        road = f"{same[0].known[0].road}, {len(found)} choices of a tie" if rows else ""
        known = [enclosure(hull, "", road, row[0].bits) for hull, row in zip(hulls, rows, strict=True)]
        allowed = [max(room) for room in zip(*(block.allowed for block in same), strict=True)]
        blocks.append(replace(same[0], known=known, allowed=allowed, hull=[None] * math.prod(same[0].shape)))
    return blocks

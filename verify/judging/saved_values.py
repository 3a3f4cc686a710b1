"""What rounding of saved values can do to a gradient at a point: the scale by which lost digits are excused.

A backward pass is written in terms of what the forward pass left: ``y (1 - y)`` for the sigmoid, ``1 - y**2`` for tanh,
``1 - 1 / (1 + exp(x))`` for the softplus. It is right, and where the saved value has rounded to nearly 1 it has few
digits left or none, however carefully it goes on. How much that costs belongs to the point alone: each node's value v
is known to ``u |v|``, or to what ``u`` of a later value leaves of it (of ``e`` in ``1 + e`` that is u of the sum); its
local derivative moves with it, and the adjoints carry that back to the inputs. To first order, and from the op table's
own vector-Jacobian products: the result only ever excuses, and no gradient is called wrong by it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from verify.graph.graph import Graph, Node
from verify.graph.interpret import Values, align
from verify.methods.reverse import Contribution, Edge, Replacement, Reverse
from verify.numbers.balls import Balls
from verify.ops import OPS

Array = NDArray[Any]

LARGEST_LITERAL = 4.0
"""What is added to a value that a backward pass still has from the sum: the 1 of a sigmoid, not an offset of 1e8."""

STEP = 2.0**-17
"""Relative step by which a local derivative is differenced: four digits of its slope are plenty."""


@np.errstate(all="ignore")  # where floats left their range nothing is excused
def rounding_of_saved_values(
    engine: Reverse, values: Values, upstream: Mapping[str, Array], unit: float
) -> dict[str, Array]:
    """By variable: how far its gradient may move where every saved value is off by ``unit`` of itself, ``(P, *shape)``.

    ``values`` is a finished forward pass at P points. Zero where that cannot be told.

    >>> from verify.case.expression import graph_from_expressions
    >>> engine = Reverse(graph_from_expressions({"x": ()}, {"f": "sigmoid(x)"}), ["x"])
    >>> for x in (0.5, 30.0):
    ...     values = engine.program.run({"x": np.array([x])})
    ...     found = rounding_of_saved_values(engine, values, {"f": np.ones(1)}, unit=1e-16)["x"]
    ...     print(f"{found[0]:.1e}")
    5.1e-16
    1.0e-16
    """
    moved = _slope_changes(engine, values, unit)
    replaced: dict[Edge, Replacement] = {edge: partial(_widened, change) for edge, change in moved.items()}
    exact = [None if value is None else Balls.exact(np.asarray(value, dtype=np.float64)) for value in values]
    seeds = {name: Balls.exact(np.asarray(g, dtype=np.float64)) for name, g in upstream.items()}
    gradients = engine.backward(exact, seeds, replaced)
    radii = {name: g.radius if isinstance(g, Balls) else np.zeros(np.shape(g)) for name, g in gradients.items()}
    return {name: np.where(np.isfinite(radius), radius, 0.0) for name, radius in radii.items()}


def _widened(change: Array, contribution: Contribution) -> Balls:
    """What is sent back, wider by the upstream gradient times the change of the local derivative."""
    sent, g = contribution.sent, contribution.g
    size = np.abs(g.value if isinstance(g, Balls) else g)
    extra = contribution.fit(np.where(change > 0, size * change, 0.0))
    ball = Balls.of(sent)
    return Balls(ball.value, ball.radius + extra)


def _slope_changes(engine: Reverse, values: Values, unit: float) -> dict[Edge, Array]:
    """How far the local derivative of each smooth elementwise step moves with what is known of its operands.

    Of an operand no more is known than its saved value says, or the step's own: a derivative in terms of the result,
    such as ``1 - y**2``, is one in terms of the operand that this result has.
    """
    graph = engine.graph
    known = _uncertainties(graph, values, unit)
    found: dict[Edge, Array] = {}
    for i, number in engine.edges():
        node = graph.nodes[i]
        if not _is_smooth(node):
            continue
        operands = _operands(node, values)
        moving = [k for k, j in enumerate(node.args) if j in known]
        slope = np.abs(_local_slope(node, number, operands))
        total = np.zeros(1)
        for k in moving:
            spread = align(node, [known[j] if m == k else operands[m] for m, j in enumerate(node.args)])[k]
            curvature = _bend(node, number, operands, k) / np.abs(operands[k])
            if moving == [number]:
                # Where a result hardly moves with its operand, as cosh at 0, it tells that to the second order.
                back = np.fmin(known[i] / slope, np.sqrt(2 * known[i] / curvature))
                spread = np.fmax(spread, np.where(np.isfinite(back), back, 0.0))
            total = total + np.nan_to_num(curvature * spread, nan=0.0, posinf=0.0)
        found[i, number] = total
    return found


def _uncertainties(graph: Graph, values: Values, unit: float) -> dict[int, Array]:
    """Node that an input changes -> how far off its saved value may be.

    A stage on the way may be had from the next where that is linear in it, and saved since it is an output or a curved
    step reads it: ``e = s - 1`` from ``s = 1 + e`` before ``log(s)``, which leaves of e what rounding of s leaves.
    Inputs are given, what several values went into is not undone, and of a sum with a large number nobody starts.
    """
    changing = sorted({*graph.inputs.values(), *graph.depends_on(graph.inputs.values())})
    known = {i: unit * np.abs(np.asarray(values[i], dtype=np.float64)) for i in changing}
    saved = {graph.position(name) for name in graph.outputs}
    for i in reversed(changing):
        node = graph.nodes[i]
        if node.kind == "op" and node.op == "log1p" and node.args[0] in known:
            # What somebody saves there who writes the sum out; log1p itself is somebody's choice of the reference.
            (j,) = node.args
            known[j] = np.maximum(known[j], unit * np.abs(1.0 + np.asarray(values[j], dtype=np.float64)))
        moving = [k for k, j in enumerate(node.args) if j in known]
        if not _is_smooth(node):
            _choose(graph, i, moving, values, known)
            continue
        operands = _operands(node, values)
        curved = [k for k in moving if not _is_linear(node, k, len(moving))]
        saved |= {node.args[k] for k in curved}
        if len(moving) != 1 or curved or i not in saved:
            continue
        if any(np.abs(x).max(initial=0.0) > LARGEST_LITERAL for k, x in enumerate(operands) if k not in moving):
            continue
        (k,) = moving
        j = node.args[k]
        if graph.nodes[j].kind == "input" or graph.nodes[j].shape != node.shape:
            continue
        slope = np.abs(_local_slope(node, k, operands))
        had = np.where(slope > 0, known[i] / slope, 0.0)
        known[j] = np.maximum(known[j], np.where(np.isfinite(had), had, 0.0))
    return known


def _choose(graph: Graph, i: int, moving: Sequence[int], values: Values, known: dict[int, Array]) -> None:
    """A value that a branch handed on unchanged, as by ``where`` or a maximum, is known as its result is."""
    node = graph.nodes[i]
    if node.kind != "op" or OPS[node.op].kink is None:
        return
    for j in (node.args[k] for k in moving):
        if graph.nodes[j].shape == node.shape:
            known[j] = np.maximum(known[j], np.where(np.equal(values[j], values[i]), known[i], 0.0))


def _is_smooth(node: Node) -> bool:
    """Whether a node is an elementwise step without branches."""
    if node.kind != "op":
        return False
    row = OPS[node.op]
    return row.elementwise and row.kink is None and row.singular is None


def _is_linear(node: Node, number: int, moving: int) -> bool:
    """Whether a step is linear in one operand, so that its derivative holds no value that is saved for it."""
    if node.op in ("multiply", "divide"):
        return moving == 1 and (node.op == "multiply" or number == 0)
    return node.op in ("add", "subtract", "negative", "positive")


def _operands(node: Node, values: Values) -> list[Array]:
    return align(node, [np.asarray(values[j], dtype=np.float64) for j in node.args])


def _local_slope(node: Node, number: int, operands: Sequence[Array]) -> Array:
    row = OPS[node.op]
    y = row.forward(*operands, **node.params)
    return np.asarray(row.vjps_for(len(operands))[number](np.ones_like(y), y, *operands, **node.params))


def _bend(node: Node, number: int, operands: Sequence[Array], k: int) -> Array:
    """How far the derivative by one operand moves with another, or with itself, for a change of the whole of that."""
    sides = ([x * (1 + s * STEP) if m == k else x for m, x in enumerate(operands)] for s in (1, -1))
    up, down = (_local_slope(node, number, side) for side in sides)
    return np.asarray(np.abs(up - down) / (2 * STEP))

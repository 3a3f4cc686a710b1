"""Gradients that are right, of another function: a constant of another size, windows as if the stride were 1.

The graph is made anew with one thing changed, and its own gradient is what such a fault answers: the values that it
saves are the other function's too, which no change of a single pullback gives.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from verify.graph.graph import Graph, GraphBuilder, Node
from verify.methods.reverse import Reverse
from verify.variants.match import Answer, Nature, Relation, close

Array = NDArray[Any]

SMALL = (0.0, 1e-3, 1e-4, 1e-5, 1e-6, 1e-7, 1e-8, 1e-9, 1e-10, 1e-12, 1e-15, 1e-16)
"""Constants that keep a division or a root from 0, as people write them."""

LARGEST_SMALL = 0.01
"""No constant beyond is taken for one of them."""

MOST_SMALL = 3
"""Constants of a graph that are tried."""

APART = 1e3
"""Times nearer than to the right gradient must an answer be to another function's."""


def of_other_functions(
    graph: Graph, inputs: Mapping[str, Array], upstream: Mapping[str, Array], answer: Answer
) -> Iterator[Relation]:
    """The other functions whose gradient an answer is, at more than one number.

    >>> from verify.case.expression import graph_from_expressions
    >>> graph = graph_from_expressions({"x": ()}, {"f": "sqrt(x * x + 1e-5)"})
    >>> x = np.array([0.1, 0.2])
    >>> right = x / np.sqrt(x * x + 1e-5)
    >>> answer = Answer("x", x / np.sqrt(x * x + 1e-8), right, right != 0)
    >>> [found.sentence for found in of_other_functions(graph, {"x": x}, {"f": np.ones(2)}, answer)]
    ['is the right one with 1e-08 in the place of the constant 1e-05']
    """
    if answer.is_single:
        return
    for words, other in (*_with_other_constants(graph), *_without_stride(graph)):
        with np.errstate(all="ignore"):
            gives = Reverse(other, [answer.name]).differentiate(inputs, upstream).gradients[answer.name]
        if _is_told(answer, np.broadcast_to(gives, answer.given.shape)):
            yield Relation(Nature.ANOTHER_FUNCTION, words, np.asarray(gives))


def _is_told(answer: Answer, other: Array) -> bool:
    """Whether an answer is another gradient wherever it is wrong, and far from the right one against what is left."""
    bad = answer.bad
    given, right, found = answer.given[bad], answer.right[bad], other[bad]
    if not close(given, found, right, answer.dtype).all():
        return False
    wrong = answer.wrong[bad]
    return bool(np.all(np.abs(given - right)[wrong] > APART * np.abs(given - found)[wrong]))


def _with_other_constants(graph: Graph) -> Iterator[tuple[str, Graph]]:
    small = [
        i for i, node in enumerate(graph.nodes) if node.kind == "constant" and 0 < (node.value or 0) <= LARGEST_SMALL
    ]
    alike: dict[float, list[int]] = {}
    for i in small:
        alike.setdefault(float(graph.nodes[i].value or 0.0), []).append(i)
    for value, places in list(alike.items())[:MOST_SMALL]:
        for other in SMALL:
            if other != value:
                changed = {i: replace(graph.nodes[i], value=other, op=repr(other)) for i in places}
                yield (
                    f"is the right one with {other:g} in the place of the constant {value:g}",
                    _changed(graph, changed),
                )


def _changed(graph: Graph, changed: Mapping[int, Node]) -> Graph:
    return replace(graph, nodes=tuple(changed.get(i, node) for i, node in enumerate(graph.nodes)))


def _without_stride(graph: Graph) -> Iterator[tuple[str, Graph]]:
    """Windows that lie side by side at each place, whether an op takes them or each is an index of its own."""
    words = "is the right one as if the stride were 1"
    strided = [i for i, node in enumerate(graph.nodes) if node.kind == "op" and _strides(node) not in (None, 1, (1, 1))]
    if strided:
        yield words, _with_stride_1(graph, strided)
    for position in range(len(graph.nodes)):
        readers = [i for i in graph.consumers[position] if graph.nodes[i].op == "index"]
        moved = _side_by_side([graph.nodes[i] for i in readers])
        if moved:
            yield words, _changed(graph, dict(zip(readers, moved, strict=True)))


def _strides(node: Node) -> Any:
    """The step between the windows of an op, None where it has none."""
    return node.params.get("stride", node.params.get("size")) if "pool" in node.op or "conv" in node.op else None


def _with_stride_1(graph: Graph, strided: Sequence[int]) -> Graph:
    """The same graph, of whose windows the first ones are kept, so that the shapes stay."""
    builder = GraphBuilder()
    at: list[int] = []
    for i, node in enumerate(graph.nodes):
        args = tuple(at[arg] for arg in node.args)
        if i in strided:
            made = builder.apply(node.op, *args, params={**node.params, "stride": 1}, stage=node.stage)
            kept = tuple(slice(0, size) for size in node.shape)
            at.append(builder.apply("index", made, params={"index": kept}, stage=node.stage))
        else:
            at.append(builder.copy(replace(node, args=args)))
        if graph.names.get(i) in graph.stages:
            builder.name(graph.names[i], at[i])
    return builder.build(graph.outputs)


def _side_by_side(nodes: Sequence[Node]) -> list[Node]:
    """Indices of windows with their starts divided by what they are multiples of; empty where they are no windows."""
    moved: list[list[Any]] = [list(node.params["index"]) for node in nodes]
    is_strided = False
    for axis in range(max(map(len, moved), default=0)):
        parts: list[Any] = [index[axis] for index in moved if axis < len(index) and isinstance(index[axis], slice)]
        if len(parts) < len(moved) or any(part.step not in {None, 1} or part.stop is None for part in parts):
            continue
        starts = [part.start or 0 for part in parts]
        step = int(np.gcd.reduce(starts))
        if step < 2 or min(starts) < 0:
            continue
        is_strided = True
        for index, part, start in zip(moved, parts, starts, strict=True):
            index[axis] = slice(start // step, start // step + part.stop - start)
    made = [
        replace(node, params={**node.params, "index": tuple(index)}) for node, index in zip(nodes, moved, strict=True)
    ]
    return made if is_strided else []

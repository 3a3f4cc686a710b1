"""Reverse mode: a forward pass, then local derivatives times upstream gradients, accumulated backward.

The backward pass visits the nodes in reverse order of execution, iteratively, so that no chain is too long for it.
It is written against NumPy's functions alone, so that it runs on plain arrays and on balls alike, and it keeps no
state: use it on its own by :func:`value_and_gradient`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from verify.graph.derivative import Derivative
from verify.graph.graph import Graph, Node
from verify.graph.interpret import Program, Values, align, block_size
from verify.numbers.balls import Balls
from verify.ops import OPS, Shape


def prepare(graph: Graph, variables: Sequence[str]) -> Reverse:
    """The engine made ready for one graph.

    >>> from verify.case.expression import graph_from_expressions
    >>> reverse = prepare(graph_from_expressions({"x": ()}, {"f": "x**2"}), ["x"])
    >>> reverse.differentiate({"x": np.array([3.0])}, {"f": np.ones(1)}).gradients["x"]
    array([6.])
    """
    return Reverse(graph, variables)


def value_and_gradient(
    graph: Graph, inputs: Mapping[str, Any], upstream: Mapping[str, Any] | None = None
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Values of all outputs and gradients by all inputs of the outputs contracted with their upstream gradients.

    ``inputs`` maps names to ``(P, *shape)``; ``upstream`` maps outputs to arrays of their shape, ones if left out.
    Long batches run in blocks that fit the cache.

    >>> from verify.graph.graph import GraphBuilder
    >>> b = GraphBuilder()
    >>> x, y = b.input("x"), b.input("y")
    >>> b.name("f", b.apply("multiply", x, y))
    >>> value, gradient = value_and_gradient(b.build(["f"]), {"x": np.array([3.0]), "y": np.array([-4.0])})
    >>> value["f"], gradient["x"], gradient["y"]
    (array([-12.]), array([-4.]), array([3.]))
    """
    engine = Reverse(graph, tuple(graph.inputs))
    points, size = len(next(iter(inputs.values()))), block_size(graph)
    values: dict[str, Any] = {}
    gradients: dict[str, Any] = {}
    for start in range(0, points, size):
        block = slice(start, start + size)
        nodes = engine.program.run({name: x[block] for name, x in inputs.items()})
        outputs = {name: nodes[graph.position(name)] for name in graph.outputs}
        seeds = {name: np.ones_like(y) if upstream is None else upstream[name][block] for name, y in outputs.items()}
        _write(values, outputs, block, points)
        _write(gradients, engine.backward(nodes, seeds), block, points)
    return values, gradients


def _write(results: dict[str, Any], found: Mapping[str, Any], block: slice, points: int) -> None:
    """Puts a block's arrays in their places; a batch of one block is its own result."""
    for name, array in found.items():
        if len(array) == points:
            results[name] = array
            continue
        if name not in results:
            results[name] = np.empty((points, *array.shape[1:]), dtype=array.dtype)
        results[name][block] = array


Edge = tuple[int, int]
"""The way of one contribution: the position of a node, and the number of the operand that it is sent to."""


@dataclass(frozen=True, slots=True)
class Contribution:
    """One contribution on its way, with all that it is made of: what a replaced pullback is given."""

    g: Any
    """The node's upstream gradient ``(P, *shape)``."""
    y: Any
    """The node's value."""
    operands: Sequence[Any]
    """Its operands' values, brought to its rank."""
    vjp: Callable[..., Any]
    """The vector-Jacobian product of the operand, called with the three."""
    shape: Shape | None
    """What the operand's contribution is summed down to, None where it fits."""
    sent: Any
    """What the right pass sends ``(P, *operand's shape)``."""
    values: Values
    """The finished forward pass."""
    totals: Values
    """What has arrived at each node by now."""

    def fit(self, contribution: Any) -> Any:
        """A contribution of the node's shape, summed down to the operand's."""
        return contribution if self.shape is None else unbroadcast(contribution, self.shape)

    def again(self, g: Any = None, y: Any = None, operands: Sequence[Any] | None = None) -> Any:
        """The contribution with another upstream gradient, value or operands in the place of its own."""
        used = self.operands if operands is None else operands
        return self.fit(self.vjp(self.g if g is None else g, self.y if y is None else y, *used))

    def part(self, points: slice) -> Contribution:
        """The contribution at some of the points."""

        def cut(x: Any) -> Any:
            return x if x is None or len(x) == 1 else x[points]

        return replace(
            self,
            g=cut(self.g),
            y=cut(self.y),
            operands=[cut(x) for x in self.operands],
            sent=cut(self.sent),
            values=_Cut(self.values, cut),  # type: ignore[arg-type]
            totals=_Cut(self.totals, cut),  # type: ignore[arg-type]
        )


class _Cut:
    """A list of arrays, each cut when it is asked for."""

    def __init__(self, arrays: Values, cut: Callable[[Any], Any]) -> None:
        self._arrays, self._cut = arrays, cut

    def __getitem__(self, position: int) -> Any:
        return self._cut(self._arrays[position])


Replacement = Callable[[Contribution], Any]
"""Gives what is sent in the place of the right contribution, in the operand's shape."""


class Reverse:
    """The engine for one graph and the variables asked for."""

    def __init__(self, graph: Graph, variables: Sequence[str]) -> None:
        self.graph = graph
        self.variables = tuple(variables)
        self.program = Program(graph)
        wanted = [graph.position(name) for name in self.variables]
        reached = set(wanted) | set(graph.depends_on(wanted))
        self._kept = frozenset(wanted)
        self._steps = tuple(
            (i, graph.nodes[i].args, any(graph.nodes[i].aligned), _pullbacks(graph, graph.nodes[i], reached))
            for i in range(len(graph.nodes) - 1, -1, -1)
            if i in reached
        )

    def edges(self) -> tuple[Edge, ...]:
        """The ways that contributions take, in the order of the backward pass.

        >>> from verify.case.expression import graph_from_expressions
        >>> Reverse(graph_from_expressions({"x": ()}, {"f": "x * exp(x)"}), ["x"]).edges()
        ((2, 0), (2, 1), (1, 0))
        """
        return tuple((i, pullback[0]) for i, _, _, pullbacks in self._steps for pullback in pullbacks)

    def differentiate(self, inputs: Mapping[str, Any], upstream: Mapping[str, Any]) -> Derivative:
        """Value and gradient at P points; see :class:`~verify.graph.derivative.Differentiator`."""
        values = self.program.run(inputs)
        named = {name: values[self.graph.position(name)] for name in (*self.graph.inputs, *self.graph.stages)}
        return Derivative(named, self.backward(values, upstream))

    def backward(
        self, values: Values, upstream: Mapping[str, Any], replaced: Mapping[Edge, Replacement] | None = None
    ) -> dict[str, Any]:
        """The gradients of all variables ``(P, *shape)`` from a finished forward pass.

        ``replaced`` puts faults in the place of single pullbacks; :mod:`verify.variants` makes them.
        """
        gradients = self._accumulate(values, upstream, absorb=False, replaced=replaced)
        if not all(np.all(np.isfinite(g)) for g in gradients.values()):
            # A zero upstream gradient absorbs a local derivative that is infinite; rare, so paid for only when met.
            gradients = self._accumulate(values, upstream, absorb=True, replaced=replaced)
        return gradients

    def in_balls(
        self, values: Values, upstream: Mapping[str, Any], replaced: Mapping[Edge, Replacement] | None = None
    ) -> dict[str, Balls]:
        """The same from a forward pass in balls; a sum of plain upstream gradients would round and nobody would know.

        >>> from verify.case.expression import graph_from_expressions
        >>> engine = Reverse(graph_from_expressions({"x": ()}, {"f": "x / 10"}), ["x"])
        >>> bool(engine.in_balls(engine.program.in_balls({"x": np.ones(1)}), {"f": np.ones(1)})["x"].radius[0] > 0)
        True
        """
        seeds = {name: Balls.of(seed) for name, seed in upstream.items()}
        return {name: Balls.of(g) for name, g in self.backward(values, seeds, replaced).items()}

    def sent_back(self, values: Values, stage: str, gradient: Any) -> dict[str, Any]:
        """What one stage sends back to what its expression reads: upstream gradient times local derivative.

        ``values`` is a finished forward pass, ``gradient`` that of the stage ``(P, *shape)``. The keys are variables,
        or entries of them such as ``w[0]`` where the expression reads entries.
        """
        graph = self.graph
        root = graph.position(stage)
        own = [i for i, node in enumerate(graph.nodes) if node.stage == stage and i != root]
        inside = {root, *(i for i in own if graph.nodes[i].op != "index")}
        totals = self._pulled(values, {stage: gradient}, absorb=False, inside=inside)
        sent: dict[str, Any] = {}
        with np.errstate(all="ignore"):  # what is infinite is seen in the answer
            for i in (*(graph.position(name) for name in self.variables), *own):
                if i not in inside and totals[i] is not None:
                    text = graph.text(i)
                    sent[text] = sent[text] + totals[i] if text in sent else totals[i]
        return sent

    def at_nodes(self, values: Values, upstream: Mapping[str, Any]) -> Values:
        """The gradients at all nodes, by position; None where none of the variables is on the way.

        >>> from verify.case.expression import graph_from_expressions
        >>> engine = Reverse(graph_from_expressions({"x": ()}, {"f": "exp(x) * 3"}), ["x"])
        >>> engine.at_nodes(engine.program.run({"x": np.zeros(1)}), {"f": np.ones(1)})
        [array([3.]), array([3.]), None, array([1.])]
        """
        totals = self._pulled(values, upstream, absorb=False, keeps_all=True)
        if all(g is None or np.all(np.isfinite(g)) for g in totals):
            return totals
        return self._pulled(values, upstream, absorb=True, keeps_all=True)

    def _accumulate(
        self, values: Values, upstream: Mapping[str, Any], absorb: bool, replaced: Mapping[Edge, Replacement] | None
    ) -> dict[str, Any]:
        totals = self._pulled(values, upstream, absorb, replaced=replaced)
        return {name: self._total(totals, values, name) for name in self.variables}

    def _pulled(
        self,
        values: Values,
        upstream: Mapping[str, Any],
        absorb: bool,
        inside: AbstractSet[int] | None = None,
        replaced: Mapping[Edge, Replacement] | None = None,
        *,
        keeps_all: bool = False,
    ) -> Values:
        """The backward pass: totals by position, None where nothing arrived or nobody will ask.

        ``inside`` limits it to some nodes; what they send out of it is not passed on. ``replaced``: see `backward`.
        With ``keeps_all`` the totals of nodes that are nobody's variable stay too.
        """
        nodes = self.graph.nodes
        totals: Values = [None] * len(nodes)
        for name, seed in upstream.items():
            _add_to(totals, self.graph.position(name), seed)
        with np.errstate(all="ignore"):  # non-finite gradients are judged, not warned about
            for i, args, misaligned, pullbacks in self._steps:
                g = totals[i]
                if g is None or (inside is not None and i not in inside):
                    continue
                operands = [values[j] for j in args]
                if misaligned:
                    operands = align(nodes[i], operands)
                for number, j, vjp, shape in pullbacks:
                    contribution = vjp(g, values[i], *operands)
                    if absorb and OPS[nodes[i].op].elementwise:
                        contribution = _absorbed(contribution, g)
                    if shape is not None:
                        contribution = unbroadcast(contribution, shape)
                    if replaced and (i, number) in replaced:
                        right = Contribution(g, values[i], operands, vjp, shape, contribution, values, totals)
                        contribution = replaced[i, number](right)
                    _add_to(totals, j, contribution)
                if i not in self._kept and not replaced and not keeps_all:
                    totals[i] = None  # nobody reads it again: let its memory go
        return totals

    def _total(self, totals: Values, values: Values, name: str) -> Any:
        position = self.graph.position(name)
        return totals[position] if totals[position] is not None else np.zeros_like(values[position])


Pullback = tuple[int, int, Any, Shape | None]
"""Operand's number and position, its VJP, and the shape to sum its contribution down to (None where it fits)."""


def _pullbacks(graph: Graph, node: Node, reached: Iterable[int]) -> tuple[Pullback, ...]:
    if node.kind != "op":
        return ()
    row = OPS[node.op]
    found = []
    for number, (j, vjp) in enumerate(zip(node.args, row.vjps_for(len(node.args)), strict=True)):
        if j not in reached:
            continue  # constants and inputs that nobody asked for cost nothing
        operand = graph.nodes[j].shape
        # Of the structural ops only `@` broadcasts, and only where an operand is a stack of matrices.
        fits = node.shape == operand if row.elementwise else all(len(graph.nodes[k].shape) <= 2 for k in node.args)
        found.append((number, j, partial(vjp, **node.params) if node.params else vjp, None if fits else operand))
    return tuple(found)


def _add_to(totals: Values, position: int, contribution: Any) -> None:
    """Accumulates; not in place, since the first contribution may be an array that others hold too."""
    total = totals[position]
    totals[position] = contribution if total is None else total + contribution


def unbroadcast(g: Any, shape: Shape) -> Any:
    """Sums a gradient ``(P, *broadcast shape)`` down to ``(P, *shape)``: the adjoint of broadcasting.

    >>> unbroadcast(np.ones((2, 4, 3)), (1, 3)).shape, unbroadcast(np.ones((2, 4, 3)), ()).tolist()
    ((2, 1, 3), [12.0, 12.0])
    """
    extra = g.ndim - 1 - len(shape)
    if extra:
        g = np.sum(g, axis=tuple(range(1, 1 + extra)))
    stretched = tuple(i + 1 for i, size in enumerate(shape) if size == 1 and g.shape[i + 1] != 1)
    return np.sum(g, axis=stretched, keepdims=True) if stretched else g


def _absorbed(contribution: Any, g: Any) -> Any:
    """The contribution with zeros where the upstream gradient is zero, for elementwise ops."""
    if contribution.shape != g.shape:
        return contribution
    is_zero = (g == 0) & (getattr(g, "radius", 0.0) == 0)  # a ball around zero may be anything in it
    return np.where(is_zero, 0.0, contribution)

"""Running a graph on any number system: arrays, balls, object arrays.

To differentiate is to interpret the graph differently, so the interpreter knows no derivative. Every value carries
the axis of points in front: inputs are ``(P, *shape)``, constants ``(1, *shape)`` so that they broadcast against any
number of points. A :class:`Program` is a graph made ready to run many times; it holds no state between runs.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any

import numpy as np

from verify.graph.graph import Graph, Node
from verify.numbers.balls import Balls
from verify.ops import OPS

Values = list[Any]
"""The value of each node by position: an array ``(P, *shape)`` or the like, None where it was not needed."""

REAL_CONSTANTS = {"pi": math.pi, "e": math.e}
"""Names that mean real numbers which no float holds."""


BLOCK_BYTES = 2**20
"""Memory that the values of all nodes may take at once, so that they stay in the processor's cache."""

LEAST_BLOCK, LARGEST_BLOCK = 16, 4096
"""Points that are run together at least, so that calls are worth their while, and at most."""


def block_size(graph: Graph) -> int:
    """How many points are best run together.

    >>> from verify.graph.graph import GraphBuilder
    >>> b = GraphBuilder()
    >>> b.name("f", b.apply("exp", b.input("x", (1000,))))
    >>> block_size(b.build(["f"]))
    65
    """
    floats = sum(math.prod(node.shape) for node in graph.nodes)
    return int(min(LARGEST_BLOCK, max(LEAST_BLOCK, BLOCK_BYTES // (8 * max(floats, 1)))))


class Program:
    """A graph ready to run.

    >>> from verify.graph.graph import GraphBuilder
    >>> b = GraphBuilder()
    >>> x = b.input("x")
    >>> b.name("f", b.apply("multiply", x, b.constant(2.0)))
    >>> graph = b.build(["f"])
    >>> Program(graph).run({"x": np.array([1.0, 5.0])})[graph.position("f")]
    array([ 2., 10.])
    """

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.calls: tuple[Callable[..., Any] | None, ...] = tuple(call_of(node) for node in graph.nodes)
        self.order: tuple[int, ...] = tuple(i for i, node in enumerate(graph.nodes) if node.kind == "op")
        changing = set(graph.depends_on(graph.inputs.values()))
        alone = [position for position in graph.stages.values() if position not in changing]
        self._alone = tuple(i for i in (*alone, *graph.depends_on(alone)) if i not in changing)

    def run(
        self, inputs: Mapping[str, Any], frozen: Mapping[int, Any] | None = None, constants: Values | None = None
    ) -> Values:
        """The forward pass: the value of every node.

        ``inputs`` maps each input to an array ``(P, *shape)`` of any number system; ``frozen`` (see :meth:`rerun`)
        fixes branches; ``constants`` replaces the plain constants, see :func:`constant_values`.
        """
        values: Values = constants[:] if constants is not None else constant_values(self.graph, dtype_of(inputs))
        for name, position in self.graph.inputs.items():
            values[position] = inputs[name]
        self._execute(values, self.order, frozen)
        for i in self._alone:  # a stage that no input changes, and what follows from it, has a value at every point too
            points = len(next(iter(inputs.values())))
            values[i] = np.broadcast_to(values[i], (points, *self.graph.nodes[i].shape))
        return values

    def in_balls(
        self, inputs: Mapping[str, Any], frozen: Mapping[int, Any] | None = None, spread: float = 0.0
    ) -> Values:
        """The forward pass in balls, from the inputs as they are, or from all numbers within ``spread`` of them.

        >>> from verify.case.expression import graph_from_expressions
        >>> program = Program(graph_from_expressions({"x": ()}, {"f": "x / 10"}))
        >>> bool(program.in_balls({"x": np.ones(1)})[-1].radius[0] > 0)
        True
        """
        balls = {n: Balls.widened(x, spread) if spread else Balls.exact(x) for n, x in inputs.items()}
        return self.run(balls, frozen, constant_balls(self.graph, dtype_of(inputs)))

    def rerun(
        self,
        values: Values,
        changed: Mapping[int, Any],
        order: Iterable[int],
        frozen: Mapping[int, Any] | None = None,
    ) -> Values:
        """The forward pass again with some nodes' values replaced; ``order`` lists the nodes that depend on them.

        ``frozen`` maps a kinked node to a boolean array of its shape: the first branch of the op is taken where it is
        true, the second elsewhere, whatever the operands say. With every branch frozen the function is smooth.
        """
        again = values[:]
        for position, value in changed.items():
            again[position] = value
        self._execute(again, order, frozen)
        return again

    def _execute(self, values: Values, order: Iterable[int], frozen: Mapping[int, Any] | None) -> None:
        nodes, calls = self.graph.nodes, self.calls
        frozen = frozen or {}
        with np.errstate(all="ignore"):  # non-finite values are looked at by whoever judges them
            for i in order:
                args = nodes[i].args
                if i in frozen:
                    values[i] = _frozen_value(nodes[i], [values[j] for j in args], frozen[i])
                elif len(args) == 2:
                    values[i] = calls[i](values[args[0]], values[args[1]])  # type: ignore[misc]
                else:
                    values[i] = calls[i](*[values[j] for j in args])  # type: ignore[misc]


def call_of(node: Node) -> Callable[..., Any] | None:
    """The node's op with its static parameters filled in and its operands brought to equal rank; None of others.

    >>> from verify.case.expression import graph_from_expressions
    >>> call_of(graph_from_expressions({"x": ()}, {"f": "exp(x)"}).nodes[-1])(np.zeros(1))
    array([1.])
    """
    if node.kind != "op":
        return None
    forward = OPS[node.op].forward
    bound = partial(forward, **node.params) if node.params else forward
    if not any(node.aligned):
        return bound
    return lambda *operands: bound(*align(node, operands))


def align(node: Node, operands: Iterable[Any]) -> list[Any]:
    """Operands with ones put between the axis of points and their own axes, so that all have the node's rank.

    >>> from verify.case.expression import graph_from_expressions
    >>> graph = graph_from_expressions({"W": (2, 3), "b": (3,)}, {"f": "W + b"})
    >>> [x.shape for x in align(graph.nodes[-1], [np.zeros((5, 2, 3)), np.zeros((5, 3))])]
    [(5, 2, 3), (5, 1, 3)]
    """
    return [
        x if shape is None else x.reshape(x.shape[0], *shape) for x, shape in zip(operands, node.aligned, strict=True)
    ]


def _frozen_value(node: Node, operands: list[Any], first: Any) -> Any:
    kink = OPS[node.op].kink
    assert kink is not None, f"{node.op} has no branches to freeze"
    one, other = (branch(*align(node, operands), **node.static) for branch in kink.branches)
    return np.where(first, one, other)


def kinked_nodes(graph: Graph) -> tuple[int, ...]:
    """Positions of the nodes whose op has branches.

    >>> from verify.case.expression import graph_from_expressions
    >>> kinked_nodes(graph_from_expressions({"x": ()}, {"q": "x * 2", "f": "relu(q)"}))
    (3,)
    """
    return tuple(i for i, node in enumerate(graph.nodes) if node.kind == "op" and OPS[node.op].kink is not None)


def branch_argument(node: Node, values: Values) -> Any:
    """What decides a kinked node's branch: first branch where it is positive, second where negative, ``(P, *shape)``.

    >>> from verify.case.expression import graph_from_expressions
    >>> graph = graph_from_expressions({"x": (), "y": ()}, {"f": "max(x, y)"})
    >>> values = Program(graph).run({"x": np.array([3.0, 1.0]), "y": np.array([2.0, 1.0])})
    >>> branch_argument(graph.nodes[graph.position("f")], values)
    array([1., 0.])
    """
    kink = OPS[node.op].kink
    assert kink is not None, f"{node.op} has no branches"
    with np.errstate(all="ignore"):
        argument = kink.argument(*align(node, [values[j] for j in node.args]), **node.static)
    # What decides may have fewer entries than what is decided: where(a > b, x, y) with scalars a and b.
    shape = (len(argument), *node.shape)
    return argument if argument.shape == shape else np.broadcast_to(argument, shape)


def dtype_of(inputs: Mapping[str, Any]) -> np.dtype[Any]:
    """The dtype that the inputs compute in together.

    >>> dtype_of({"x": np.zeros(1, dtype=np.float32), "y": np.zeros(1, dtype=np.float32)})
    dtype('float32')
    """
    return np.result_type(*(value.dtype for value in inputs.values())) if inputs else np.dtype(np.float64)


def constant_values(graph: Graph, dtype: np.dtype[Any]) -> Values:
    """A list with the value of every constant in its place, ``(1,)`` each, and None elsewhere.

    >>> from verify.case.expression import graph_from_expressions
    >>> constant_values(graph_from_expressions({"x": ()}, {"f": "x + 2.5"}), np.dtype(np.float64))
    [None, array([2.5]), None]
    """
    return [
        _held(node.value, dtype) if node.kind == "constant" and node.value is not None else None for node in graph.nodes
    ]


def _held(value: float, dtype: np.dtype[Any]) -> Any:
    """A number as the dtype holds it: infinite beyond its range, which whoever judges sees."""
    with np.errstate(over="ignore"):
        return np.full(1, value, dtype=dtype)


def constant_balls(graph: Graph, dtype: np.dtype[Any]) -> Values:
    """The same as balls: exact, but for literals that the dtype cannot hold and for ``pi`` and ``e``.

    >>> from verify.graph.graph import GraphBuilder
    >>> b = GraphBuilder()
    >>> b.name("f", b.apply("add", b.input("x"), b.constant(0.1)))
    >>> bool(constant_balls(b.build(["f"]), np.dtype(np.float32))[1].radius[0] > 0)
    True
    """
    balls: Values = []
    for node in graph.nodes:
        if node.kind != "constant" or node.value is None:
            balls.append(None)
            continue
        held = _held(node.value, dtype)
        if node.op in REAL_CONSTANTS:
            balls.append(Balls.widened(held, float(np.finfo(dtype).eps) / 2))
        else:
            balls.append(Balls(held, abs(float(held[0]) - node.value)))
    return balls

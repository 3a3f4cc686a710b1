"""Lengths that are written out: the root of a sum of squares is a norm, whose slopes at 0 are the unit ball.

``sqrt(sum(x*x))`` has no slope at 0 as a chain of its ops: 0 times infinity. As the norm that it is, it has many. Where
kinks are looked for, such a root stands in the graph as what it is; everything else keeps the graph as it was written.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace

from verify.graph.graph import Graph, GraphBuilder, Node
from verify.ops import Shape

MOVING = frozenset({
    "index", "gather", "reshape", "ravel", "transpose", "squeeze", "expand_dims", "broadcast_to", "positive", "flip",
    "roll",
})  # fmt: skip
"""Ops that give the entries of squares other places: the same of what was squared is squared then."""

PRODUCTS = frozenset({"dot", "matmul"})
"""Ops that are a sum of squares where their operands are one vector."""


@dataclass(frozen=True, slots=True)
class _Square:
    """``factor`` times the square of an array, or the sum of its squares along some axes."""

    factor: float
    make: Callable[[], int]
    """Puts what is squared into the new graph, and returns its position."""
    axis: tuple[int, ...] | None = None
    """None for all axes, or where nothing is summed."""
    keepdims: bool = False
    is_sum: bool = False


def opened(graph: Graph, asked: Collection[str] = ()) -> Graph:
    """The same function with branches and lengths in sight, inside of ops and written out.

    Stages that are ``asked`` for keep their place between the inputs and what is made of them.

    >>> from verify.case.expression import graph_from_expressions
    >>> [node.op for node in opened(graph_from_expressions({"x": (2,)}, {"f": "sqrt(sum(x * x)) + max(x)"})).nodes][3:]
    ['norm', 'index', 'index', 'max', 'index', 'add']
    """
    return with_lengths(graph, asked).opened()


def with_lengths(graph: Graph, asked: Collection[str] = ()) -> Graph:
    """The same function with a norm, or an absolute value, for each root of a sum of squares.

    Inputs, stages and outputs keep their names. The graph itself where there is no such root. A length goes past what
    was squared on the way, and nothing would come of moving that: a root is none where it stands on a stage that is
    ``asked`` for.

    >>> from verify.case.expression import graph_from_expressions
    >>> [node.op for node in with_lengths(graph_from_expressions({"x": (3,)}, {"f": "(x**2)**0.5"})).nodes]
    ['x', 'power_constant', 'abs']
    >>> in_stages = graph_from_expressions({"x": (3,)}, {"q": "sum(x * x)", "f": "sqrt(q)"})
    >>> [with_lengths(in_stages, asked).nodes[-1].op for asked in (["x"], ["x", "q"])]
    ['norm', 'sqrt']
    """
    if not any(_radicand(node) for node in graph.nodes):
        return graph
    rewriting = _Rewriting(graph, asked)
    return rewriting.graph if rewriting.found else graph


def _radicand(node: Node) -> tuple[int, ...]:
    """The nodes whose squares, or whose sum of squares, a node is the root of; empty for any other."""
    is_root = node.op == "sqrt" or (node.op == "power_constant" and node.params["exponent"] == 0.5)
    return node.args if node.kind == "op" and (is_root or node.op == "hypot") else ()


class _Rewriting:
    """A graph that is built again, with lengths in place of roots."""

    def __init__(self, graph: Graph, asked: Collection[str]) -> None:
        self.old, self.builder = graph, GraphBuilder()
        self.asked = {graph.stages[name] for name in asked if name in graph.stages}
        self.found = False
        self.at: list[int] = []
        for i, node in enumerate(graph.nodes):
            made = self._length(node)
            self.found |= made is not None
            copied = replace(node, args=tuple(self.at[arg] for arg in node.args))
            self.at.append(self.builder.copy(copied) if made is None else made)
            if graph.names.get(i) in graph.stages:
                self.builder.name(graph.names[i], self.at[i])
        self.graph = self.builder.build(graph.outputs)

    def _length(self, node: Node) -> int | None:
        """A root of squares as a length, None where a node is none."""
        if not _radicand(node):
            return None
        if node.op == "hypot":
            is_nested = any(_radicand(self.old.nodes[arg]) for arg in node.args)
            squares = self._of_sides(node) if is_nested else None
        else:
            squares = self._squares(node.args[0])
        start = self.builder.size
        made = None if squares is None else self._norm(squares, node.shape)
        if made is not None:
            self.builder.place(start, node, "" if node.op == "hypot" else node.op)
        return made

    def _of_sides(self, node: Node) -> list[_Square] | None:
        """What a hypot of hypots is the root of."""
        found: list[_Square] = []
        for arg in node.args:
            inner = self.old.nodes[arg]
            if arg in self.asked or not _radicand(inner):
                part: list[_Square] | None = [self._of(arg)]
            elif inner.op == "hypot":
                part = self._of_sides(inner)
            else:
                part = self._squares(inner.args[0])
            if part is None:
                return None
            found += part
        return found

    def _of(self, position: int) -> _Square:
        return _Square(1.0, lambda: self.at[position])

    # -------------------------------------------------------------------------------------------- a sum of squares

    def _squares(self, position: int) -> list[_Square] | None:
        """The squares that a node is the sum of, None where it is no such sum."""
        node = self.old.nodes[position]
        if node.kind != "op" or position in self.asked:
            return None
        if self._is_square(node):
            return [self._of(node.args[0])]
        if node.op in PRODUCTS and self._are_same(*node.args) and len(self.old.nodes[node.args[0]].shape) == 1:
            return [replace(self._of(node.args[0]), is_sum=True)]
        rule = {"add": self._added, "multiply": self._scaled, "divide": self._scaled, "sum": self._summed,
                "mean": self._summed, "einsum": self._einsum}.get(node.op)  # fmt: skip
        if node.op in MOVING:
            rule = self._moved
        return None if rule is None else rule(node)

    def _added(self, node: Node) -> list[_Square] | None:
        parts = [self._squares(arg) for arg in node.args]
        return None if any(part is None for part in parts) else [square for part in parts for square in part or ()]

    def _scaled(self, node: Node) -> list[_Square] | None:
        """A positive number times squares, or squares over one."""
        for place, arg in enumerate(node.args):
            number = self.old.nodes[arg]
            is_number = number.kind == "constant" and number.value is not None and number.value > 0
            if not is_number or (node.op == "divide" and place == 0):
                continue
            factor = float(number.value or 1.0)
            factor = 1 / factor if node.op == "divide" else factor
            squares = self._squares(node.args[1 - place])
            return None if squares is None else [replace(s, factor=s.factor * factor) for s in squares]
        return None

    def _summed(self, node: Node) -> list[_Square] | None:
        squares = self._squares(node.args[0])
        if squares is None or any(square.is_sum for square in squares):
            return None
        shape = self.old.nodes[node.args[0]].shape
        axis = node.params.get("axis")
        count = math.prod(shape) / max(math.prod(node.shape), 1)
        return [
            replace(self._spread(s, shape), factor=s.factor / (count if node.op == "mean" else 1.0), axis=axis,
                    keepdims=bool(node.params.get("keepdims")), is_sum=True)
            for s in squares
        ]  # fmt: skip

    def _spread(self, square: _Square, shape: Shape) -> _Square:
        """A square as an entry of a larger array, where it is added to one."""
        return replace(square, make=lambda: self._broadcast(square.make(), shape))

    def _broadcast(self, position: int, shape: Shape) -> int:
        if self.builder.shape(position) == shape:
            return position
        return self.builder.apply("broadcast_to", position, params={"shape": shape})

    def _einsum(self, node: Node) -> list[_Square] | None:
        """``ij,ij->i`` of an array and itself."""
        terms, _, kept = str(node.params["subscripts"]).replace(" ", "").partition("->")
        first, _, second = terms.partition(",")
        in_order = "".join(letter for letter in first if letter in kept)
        is_plain = first == second and len(set(first)) == len(first) and kept == in_order
        if not is_plain or len(node.args) != 2 or not self._are_same(*node.args):
            return None
        axis = tuple(i for i, letter in enumerate(first) if letter not in kept)
        return [replace(self._of(node.args[0]), axis=axis, is_sum=True)] if axis else [self._of(node.args[0])]

    def _moved(self, node: Node) -> list[_Square] | None:
        squares = self._squares(node.args[0])
        if squares is None or (any(square.is_sum for square in squares) and node.op != "positive"):
            return None
        if node.op == "positive":
            return squares
        shape = self.old.nodes[node.args[0]].shape
        return [replace(s, make=self._mover(node, self._spread(s, shape))) for s in squares]

    def _mover(self, node: Node, square: _Square) -> Callable[[], int]:
        return lambda: self.builder.apply(node.op, square.make(), params=node.params)

    # --------------------------------------------------------------------------------------------------- the length

    def _norm(self, squares: Sequence[_Square], shape: Shape) -> int | None:
        """The root of a sum of squares as one op; None where it is made of sums along different axes."""
        if len(squares) == 1:
            return self._one(squares[0], shape)
        if not any(square.is_sum for square in squares):
            parts = [self._broadcast(self._times(s.make(), math.sqrt(s.factor)), shape) for s in squares]
            stacked = self.builder.apply("stack", *parts, params={"axis": 0})
            return self.builder.apply("norm", stacked, params={"axis": (0,)})
        if shape:
            return None
        parts = []
        for square in squares:
            made = self._times(square.make(), math.sqrt(square.factor))
            parts.append(self.builder.apply("reshape", made, params={"shape": (math.prod(self.builder.shape(made)),)}))
        return self.builder.apply("norm", self.builder.apply("concatenate", *parts))

    def _one(self, square: _Square, shape: Shape) -> int | None:
        made = square.make()
        if square.is_sum:
            params = {"axis": square.axis, "keepdims": square.keepdims}
            made = self.builder.apply("norm", made, params={k: v for k, v in params.items() if v not in (None, False)})
        else:
            made = self.builder.apply("abs", made)
        made = self._times(made, math.sqrt(square.factor))
        return made if self.builder.shape(made) == shape else None

    def _times(self, position: int, factor: float) -> int:
        return position if factor == 1.0 else self.builder.apply("multiply", position, self.builder.constant(factor))

    def _is_square(self, node: Node) -> bool:
        if node.op == "multiply":
            return self._are_same(*node.args)
        return node.op == "square" or (node.op == "power_constant" and node.params["exponent"] == 2)

    def _are_same(self, one: int, other: int) -> bool:
        """Whether two nodes are one, or entries of one that are picked alike: ``x[0] * x[0]``."""
        if one == other or {one, other} & self.asked:
            return one == other
        a, b = self.old.nodes[one], self.old.nodes[other]
        is_alike = a.kind == b.kind == "op" and a.op == b.op and a.op in MOVING and a.params == b.params
        return is_alike and self._are_same(a.args[0], b.args[0])

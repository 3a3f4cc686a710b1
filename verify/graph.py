"""A case as data: a program of ops in execution order, with shapes known before anything runs.

A graph is immutable and knows nothing of the numbers that run through it; :mod:`verify.interpret` runs it on any
number system. Shapes are those of a single point: the axis of points is nobody's business here.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from verify.errors import ShapeError
from verify.ops import OPERAND_NAMES, OPS, Shape

Kind = Literal["input", "constant", "op"]


@dataclass(frozen=True, slots=True)
class Node:
    """One step of the program."""

    kind: Kind
    op: str
    """Row of the op table; the input's name for an input; the literal's text for a constant."""
    args: tuple[int, ...]
    """Positions of the operands, all smaller than this node's own."""
    params: Mapping[str, Any]
    """Static parameters, normalised: axes and indices are non-negative, ``tie`` holds the weights at a kink."""
    shape: Shape
    aligned: tuple[Shape | None, ...] = ()
    """For each operand the shape it is brought to before the op (equal ranks), None where it already fits."""
    value: float | None = None
    """The number of a constant."""
    stage: str = ""
    """The stage whose expression this node belongs to."""
    line: int = 0
    column: int = 0

    @property
    def static(self) -> dict[str, Any]:
        """The parameters without the convention at a tie, which is the business of the VJPs alone.

        >>> Node("op", "max", (0, 1), {"tie": (1.0, 0.0)}, ()).static
        {}
        """
        return {key: value for key, value in self.params.items() if key != "tie"}


@dataclass(frozen=True, slots=True)
class Graph:
    """A program of ops; build one with :class:`GraphBuilder` or from expressions."""

    nodes: tuple[Node, ...]
    inputs: Mapping[str, int]
    """Input name -> position of its node."""
    stages: Mapping[str, int]
    """Stage name -> position of the node that holds its value, in order of definition."""
    outputs: tuple[str, ...]
    """Names of the stages (or inputs) that the function returns."""
    consumers: tuple[tuple[int, ...], ...] = field(default=(), repr=False)
    """For each node the positions of the nodes that read it."""
    names: Mapping[int, str] = field(default_factory=dict, repr=False)
    """Position -> name of the stage or input that it holds."""

    def position(self, name: str) -> int:
        """The node of a stage or an input."""
        return self.stages[name] if name in self.stages else self.inputs[name]

    def shape(self, name: str) -> Shape:
        """The shape of a stage or an input, without the axis of points."""
        return self.nodes[self.position(name)].shape

    def depends_on(self, roots: Iterable[int]) -> tuple[int, ...]:
        """Positions of the nodes that change when any of ``roots`` changes, in order, the roots left out.

        >>> b = GraphBuilder()
        >>> x, y = b.input("x"), b.input("y")
        >>> b.name("f", b.apply("add", x, b.apply("exp", y)))
        >>> b.build(["f"]).depends_on([x])
        (3,)
        """
        start = set(roots)
        touched = set(start)
        found = []
        for i in range(min(start, default=len(self.nodes)), len(self.nodes)):
            if i not in start and any(arg in touched for arg in self.nodes[i].args):
                touched.add(i)
                found.append(i)
        return tuple(found)

    def needed_for(self, targets: Iterable[int]) -> frozenset[int]:
        """Positions of the nodes that the targets are computed from, the targets included."""
        needed = set(targets)
        for i in range(max(needed, default=-1), -1, -1):
            if i in needed:
                needed.update(self.nodes[i].args)
        return frozenset(needed)

    def text(self, position: int) -> str:
        """A node as a case file would write it, down to inputs and stages.

        >>> b = GraphBuilder()
        >>> x = b.input("x", (2,))
        >>> b.name("f", b.apply("exp", b.apply("index", x, params={"index": (0,)})))
        >>> graph = b.build(["f"])
        >>> graph.text(1), graph.text(2)
        ('x[0]', 'f')
        """
        node = self.nodes[position]
        if position in self.names or node.kind != "op":
            return self.names.get(position, node.op)
        operands = [self.text(arg) for arg in node.args]
        if node.op == "index":
            return f"{operands[0]}[{', '.join(map(_index_text, node.params['index']))}]"
        if node.op == "power_constant":
            return f"({operands[0]})**{node.params['exponent']:g}"
        spelling = OPS[node.op].spelling
        known = dict(zip(OPERAND_NAMES, operands, strict=False))
        known |= {name: f"{node.params[name]:g}" for name in OPS[node.op].numbers}
        filled = re.sub(r"\w+", lambda match: known.get(match.group(), match.group()), spelling)
        return filled if spelling[0].isalpha() and "(" in spelling else f"({filled})"


def _index_text(index: int | slice) -> str:
    if isinstance(index, int):
        return str(index)
    return ":".join("" if bound is None else str(bound) for bound in (index.start, index.stop))


class GraphBuilder:
    """Builds a graph node by node; shapes are inferred and checked as it goes.

    >>> b = GraphBuilder()
    >>> W, x = b.input("W", (2, 3)), b.input("x", (3,))
    >>> b.name("y", b.apply("matmul", W, x))
    >>> b.build(["y"]).shape("y")
    (2,)
    """

    def __init__(self, ties: Mapping[str, str] | None = None) -> None:
        """``ties`` maps a kinked op to the convention it follows at a tie, such as ``{"max": "both"}``."""
        self._nodes: list[Node] = []
        self._inputs: dict[str, int] = {}
        self._stages: dict[str, int] = {}
        self._named: set[int] = set()
        self._ties = dict(ties or {})

    def input(self, name: str, shape: Shape = (), line: int = 0) -> int:
        """A new input; returns its position."""
        self._inputs[name] = self._append(Node("input", name, (), {}, tuple(shape), line=line))
        return self._inputs[name]

    def constant(self, value: float, text: str = "", stage: str = "", line: int = 0, column: int = 0) -> int:
        """A literal, the double that it parses to; ``pi`` and ``e`` as ``text`` mean the real numbers."""
        node = Node(
            "constant", text or repr(value), (), {}, (), value=float(value), stage=stage, line=line, column=column
        )
        return self._append(node)

    def apply(
        self,
        op: str,
        *args: int,
        params: Mapping[str, Any] | None = None,
        stage: str = "",
        line: int = 0,
        column: int = 0,
    ) -> int:
        """One op applied to earlier nodes; returns the new position. Raises ShapeError where shapes do not fit."""
        row = OPS[op]
        if not row.elementwise:
            args = tuple(self._computed(i) for i in args)
        shapes = [self._nodes[i].shape for i in args]
        static = _normalised(params or {}, shapes)
        shape = row.shape(*shapes, **static)
        if row.kink is not None:
            static["tie"] = row.kink.ties[self._ties.get(op, next(iter(row.kink.ties)))]
        aligned = tuple(_aligned(s, len(shape)) for s in shapes) if row.elementwise else (None,) * len(args)
        return self._append(Node("op", op, args, static, shape, aligned, stage=stage, line=line, column=column))

    def shape(self, position: int) -> Shape:
        """The shape of a node."""
        return self._nodes[position].shape

    def _computed(self, position: int) -> int:
        """A constant as the result of an op, for ops that take entries apart."""
        return self.apply("positive", position) if self._nodes[position].kind == "constant" else position

    def name(self, stage: str, position: int) -> None:
        """Gives a node a stage's name. A node that has a name already is copied, so that every stage has its own."""
        if position in self._named or self._nodes[position].kind != "op":
            position = self.apply("positive", position, stage=stage, line=self._nodes[position].line)
        self._stages[stage] = position
        self._named.add(position)

    def build(self, outputs: Sequence[str]) -> Graph:
        """The finished graph."""
        consumers: list[list[int]] = [[] for _ in self._nodes]
        for i, node in enumerate(self._nodes):
            for arg in dict.fromkeys(node.args):
                consumers[arg].append(i)
        names = {at: name for name, at in (*self._inputs.items(), *self._stages.items())}
        return Graph(
            nodes=tuple(self._nodes),
            inputs=dict(self._inputs),
            stages=dict(self._stages),
            outputs=tuple(outputs),
            consumers=tuple(map(tuple, consumers)),
            names=names,
        )

    def _append(self, node: Node) -> int:
        self._nodes.append(node)
        return len(self._nodes) - 1


def _aligned(shape: Shape, rank: int) -> Shape | None:
    """The shape with ones in front up to ``rank``, None where it has that rank already."""
    return None if len(shape) == rank else (1,) * (rank - len(shape)) + shape


def _normalised(params: Mapping[str, Any], shapes: Sequence[Shape]) -> dict[str, Any]:
    """Static parameters with non-negative axes and indices, held against the operand's rank."""
    static = dict(params)
    rank = len(shapes[0]) if shapes else 0
    for key in ("axis", "axes"):
        if static.get(key) is not None:
            static[key] = _normal_axes(key, static[key], rank)
    if "axes" in static and static["axes"] is not None and len(static["axes"]) != rank:
        raise ShapeError(f"axes={static['axes']} must name each of the {rank} axes of shape {shapes[0]} once")
    if "index" in static:
        static["index"] = _normal_index(static["index"], shapes[0])
    return static


def _normal_axes(key: str, value: int | Sequence[int], rank: int) -> tuple[int, ...]:
    axes = (value,) if isinstance(value, int) else tuple(value)
    for axis in axes:
        if not -rank <= axis < rank:
            raise ShapeError(f"{key}={axis} is out of range for an array with {rank} axes")
    normal = tuple(axis % rank for axis in axes)
    if len(set(normal)) != len(normal):
        raise ShapeError(f"{key}={value} names an axis twice")
    return normal


def _normal_index(index: Sequence[int | slice], shape: Shape) -> tuple[int | slice, ...]:
    if len(index) > len(shape):
        raise ShapeError(f"{len(index)} indices for an array with {len(shape)} axes (shape {shape})")
    normal: list[int | slice] = []
    for position, size in zip(index, shape, strict=False):
        if isinstance(position, slice):
            normal.append(position)
        elif not -size <= position < size:
            raise ShapeError(f"index {position} is out of range for an axis of length {size} (shape {shape})")
        else:
            normal.append(position % size)
    return tuple(normal)

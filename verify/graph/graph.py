"""A case as data: a program of ops in execution order, with shapes known before anything runs.

A graph is immutable and knows nothing of the numbers that run through it; :mod:`verify.graph.interpret` runs it on any
number system. Shapes are those of a single point: the axis of points is nobody's business here.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np

from verify.errors import ShapeError
from verify.ops import OPERAND_NAMES, OPS, Op, Shape
from verify.ops.parameters import parameter_fault

Kind = Literal["input", "constant", "op"]

MOST_AXES = 30
"""NumPy's own limits are 64 axes and 32 letters of an einsum; the axis of points comes on top."""


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
    origin: str = ""
    """The op that was opened up into this node and others; empty for a node of the case's own."""

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
        if "index" in node.params:
            return f"{operands[0]}[{', '.join(map(_index_text, node.params['index']))}]"
        if node.op == "power_constant":
            return f"({operands[0]})**{node.params['exponent']:g}"
        row = OPS[node.op]
        if not row.elementwise and "(" in row.spelling:
            return _call_text(row, operands, node.params)
        known = dict(zip(OPERAND_NAMES, operands, strict=False))
        known |= {name: f"{node.params[name]:g}" for name in row.numbers}
        filled = re.sub(r"\w+", lambda match: known.get(match.group(), match.group()), row.spelling)
        return filled if row.spelling[0].isalpha() and "(" in row.spelling else f"({filled})"

    def label(self, position: int) -> str:
        """What a node does, as short as a gate of a circuit has room for; a constant operand is written in.

        >>> b = GraphBuilder()
        >>> x = b.input("x")
        >>> b.name("f", b.apply("divide", b.constant(1.0, "1"), b.apply("add", x, b.apply("exp", x))))
        >>> [b.build(["f"]).label(i) for i in (2, 3, 4)]
        ['exp', '+', '1/x']
        """
        node = self.nodes[position]
        if "index" in node.params:
            return f"[{', '.join(map(_index_text, node.params['index']))}]"
        if node.op == "power_constant":
            return f"x**{node.params['exponent']:g}"
        spelling = OPS[node.op].spelling
        if spelling[0].isalpha() and "(" in spelling:
            return spelling[: spelling.index("(")]
        held = [self.nodes[arg].op if self.nodes[arg].kind == "constant" else "x" for arg in node.args]
        if len(held) > 1 and len(set(held) - {"x"}) == 0:
            return re.sub(r"[\w\s]", "", spelling)
        known = dict(zip(OPERAND_NAMES, held, strict=False))
        return re.sub(r"\w+", lambda match: known.get(match.group(), match.group()), spelling).replace(" ", "")

    def is_kinked(self, position: int) -> bool:
        """Whether a node is an op that has two slopes, or none, somewhere, itself or inside of it.

        >>> b = GraphBuilder()
        >>> b.name("f", b.apply("exp", b.apply("amax", b.input("x", (2,)))))
        >>> [b.build(["f"]).is_kinked(i) for i in range(3)]
        [False, True, False]
        """
        node = self.nodes[position]
        if node.kind != "op":
            return False
        row = OPS[node.op]
        return row.kink is not None or row.singular is not None or _is_opened(self, node)

    def opened(self) -> Graph:
        """The same function with every op whose branches or lengths lie inside of it in place of its lowering.

        Inputs, stages and outputs keep their names. The graph itself where there is no such op.

        >>> b = GraphBuilder()
        >>> b.name("f", b.apply("amax", b.input("x", (2,))))
        >>> [node.op for node in b.build(["f"]).opened().nodes]
        ['x', 'index', 'index', 'max', 'index']
        """
        found = {i for i, node in enumerate(self.nodes) if node.kind == "op" and _is_opened(self, node)}
        if not found:
            return self
        builder = GraphBuilder()
        at: list[int] = []
        for i, node in enumerate(self.nodes):
            if i in found:
                at.append(builder.lower(node, [at[arg] for arg in node.args]))
            else:
                at.append(builder.copy(replace(node, args=tuple(at[arg] for arg in node.args))))
            if self.names.get(i) in self.stages:
                builder.name(self.names[i], at[i])
        return builder.build(self.outputs)


def _is_opened(graph: Graph, node: Node) -> bool:
    row = OPS[node.op]
    if row.lower is None or row.singular is not None:
        return False
    inside = lowered(node.op, [graph.nodes[arg].shape for arg in node.args], node.params).nodes
    return any(n.kind == "op" and (OPS[n.op].kink is not None or OPS[n.op].singular is not None) for n in inside)


def lowered(op: str, shapes: Sequence[Shape], params: Mapping[str, Any]) -> Graph:
    """The program that an op's row says it is, on inputs ``a0``, ``a1`` ... and, where it holds a constant, ``held``.

    >>> [node.op for node in lowered("std", [(3,)], {"ddof": 0}).nodes]
    ['a0', 'mean', 'subtract', 'norm', '3', 'sqrt', 'divide']
    """
    row = OPS[op]
    assert row.lower is not None, f"{op} has no lowering"
    static = {key: value for key, value in params.items() if key != "tie"}
    builder = GraphBuilder()
    operands = [builder.input(f"a{i}", shape) for i, shape in enumerate(shapes)]
    if row.held is not None:
        shape = row.held(*(np.zeros((1, *shape)) for shape in shapes), **static).shape[1:]
        operands.append(builder.input("held", shape))
    builder.name("y", row.lower(builder, *operands, **static))
    return builder.build(["y"])


def _call_text(row: Op, operands: Sequence[str], params: Mapping[str, Any]) -> str:
    """A call with its parameters, those that stand for nothing left out."""
    shown = {key: value for key, value in params.items() if key != "tie" and value not in (None, False)}
    if row.variadic == "list":
        operands = [f"[{', '.join(operands)}]"]
    if row.variadic == "text first":
        operands = [repr(shown.pop(row.params[0])).replace("'", '"'), *operands]
    texts = (f"{key}={value[0] if key == 'axis' and len(value) == 1 else value}" for key, value in shown.items())
    return f"{row.spelling[: row.spelling.index('(')]}({', '.join((*operands, *texts))})"


def _index_text(index: Any) -> str:
    if isinstance(index, slice):
        bounds = [index.start, index.stop, *([] if index.step is None else [index.step])]
        return ":".join("" if bound is None else str(bound) for bound in bounds)
    return "..." if index is Ellipsis else str(list(index) if isinstance(index, tuple) else index)


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
        static = _normalised(row, params or {}, shapes)
        shape = row.shape(*shapes, **static)
        if len(shape) > MOST_AXES:
            raise ShapeError(f"{op} gives an array with {len(shape)} axes, at most {MOST_AXES} are allowed")
        if row.conventions:
            static["tie"] = row.conventions[self._ties.get(op, next(iter(row.conventions)))]
        aligned = tuple(_aligned(s, len(shape)) for s in shapes) if row.elementwise else (None,) * len(args)
        return self._append(Node("op", op, args, static, shape, aligned, stage=stage, line=line, column=column))

    def shape(self, position: int) -> Shape:
        """The shape of a node."""
        return self._nodes[position].shape

    @property
    def size(self) -> int:
        """How many nodes there are so far."""
        return len(self._nodes)

    def place(self, start: int, node: Node, origin: str) -> None:
        """What was made since ``start`` remembers the node that it stands for."""
        self._nodes[start:] = [
            replace(made, stage=node.stage, line=node.line, column=node.column, origin=origin)
            for made in self._nodes[start:]
        ]

    def node(self, position: int) -> Node:
        """A node as it was made."""
        return self._nodes[position]

    def params(self, position: int) -> Mapping[str, Any]:
        """The static parameters of a node, normalised."""
        return self._nodes[position].params

    def copy(self, node: Node) -> int:
        """A node of another graph, its operands being positions of this one."""
        position = self._append(node)
        if node.kind == "input":
            self._inputs[node.op] = position
        return position

    def lower(self, node: Node, operands: Sequence[int]) -> int:
        """A node's lowering on operands of this graph; what it is made of remembers where it comes from."""
        row = OPS[node.op]
        assert row.lower is not None, f"{node.op} has no lowering"
        assert row.held is None, f"{node.op} holds a constant, which no graph can"
        start = len(self._nodes)
        position = row.lower(self, *operands, **{key: value for key, value in node.params.items() if key != "tie"})
        self.place(start, node, node.op)
        return position

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


def _normalised(row: Op, params: Mapping[str, Any], shapes: Sequence[Shape]) -> dict[str, Any]:
    """Static parameters with non-negative axes and indices, held against the operand's rank."""
    static = dict(params)
    for key, value in static.items():
        if fault := parameter_fault(row, key, value):
            raise ShapeError(fault)
    shape = shapes[0] if shapes else ()
    for key in ("axis", "axes"):
        if static.get(key) is not None:
            axes = (static[key],) if isinstance(static[key], int) else tuple(static[key])
            made = 0 if row.axis_of == "operand" else len(axes)
            static[key] = _normal_axes(key, axes, len(shape) + made)
    if "axes" in static and static["axes"] is not None and len(static["axes"]) != len(shape):
        raise ShapeError(f"axes={static['axes']} must name each of the {len(shape)} axes of shape {shape} once")
    if "index" in static:
        static["index"] = _normal_index(static["index"], shape)
    return static


def _normal_axes(key: str, axes: tuple[int, ...], rank: int) -> tuple[int, ...]:
    for axis in axes:
        if not -rank <= axis < rank:
            raise ShapeError(f"{key}={axis} is out of range for an array with {rank} axes")
    normal = tuple(axis % rank for axis in axes)
    if len(set(normal)) != len(normal):
        raise ShapeError(f"{key}={axes} names an axis twice")
    return normal


def _normal_index(index: Sequence[Any], shape: Shape) -> tuple[Any, ...]:
    """An index with non-negative numbers and lists; slices, new axes and ``...`` stay as they are."""
    taken = sum(part is not None and part is not Ellipsis for part in index)
    if taken > len(shape):
        raise ShapeError(f"{taken} indices for an array with {len(shape)} axes (shape {shape})")
    if sum(part is Ellipsis for part in index) > 1:
        raise ShapeError("an index has '...' once at most")
    if (made := sum(part is None for part in index)) > MOST_AXES:
        raise ShapeError(f"{made} new axes, at most {MOST_AXES} are allowed")
    sizes = iter(shape)
    normal: list[Any] = []
    for part in index:
        if part is Ellipsis:
            for _ in range(len(shape) - taken):
                next(sizes)
        normal.append(part if part is None or part is Ellipsis else _normal_part(part, next(sizes), shape))
    return tuple(normal)


def _normal_part(part: Any, size: int, shape: Shape) -> Any:
    """One index, slice or list of them along an axis of some size; a list of flags becomes the places that are set."""
    if isinstance(part, slice):
        return part
    if not isinstance(part, tuple):
        return _normal_place(part, size, shape)
    if part and all(isinstance(flag, bool) for flag in part):
        if len(part) != size:
            raise ShapeError(f"{len(part)} flags for an axis of length {size} (shape {shape})")
        part = tuple(place for place, flag in enumerate(part) if flag)
    return tuple(_normal_place(place, size, shape) for place in part)


def _normal_place(place: int, size: int, shape: Shape) -> int:
    if not -size <= place < size:
        raise ShapeError(f"index {place} is out of range for an axis of length {size} (shape {shape})")
    return place % size

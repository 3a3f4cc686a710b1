"""The truth of a kernel's gradient: the reference as a graph, run in float64, with a proved bound of its rounding.

The reference is converted by its forward alone (:mod:`verify.tracing`, :mod:`verify.programs`). Two roads are held
against each other before anything is judged: our reverse pass, and central differences along a random direction.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from verify.case.case import Case
from verify.errors import TraceError, UsageError
from verify.graph.graph import Graph, GraphBuilder, Node
from verify.graph.interpret import Program, constant_balls
from verify.methods.reverse import Reverse
from verify.numbers.balls import Balls
from verify.numbers.streams import stream
from verify.programs.functions import flattened, framework_of
from verify.tracing.trace import trace_at

Array = NDArray[Any]

IN_BALLS = 2**22
"""Numbers that a graph may have for its truth to be enclosed, and held against differences."""

STEP = 1e-5
"""Of the differences, as a part of the largest entry."""

APART = 1e-4
"""Part of a slope by which the two roads may differ: differences lose half of the digits."""


@dataclass(frozen=True, slots=True)
class Truth:
    """A reference at one point, ready to be asked for gradients."""

    case: Case
    variables: tuple[str, ...]
    inputs: Mapping[str, Array]
    """``(1, *shape)`` each, in float64."""

    @property
    def outputs(self) -> tuple[str, ...]:
        """The graph's outputs."""
        return tuple(self.case.graph.outputs)

    @property
    def size(self) -> int:
        """How many numbers the graph's values are."""
        return sum(math.prod(node.shape) for node in self.case.graph.nodes)

    def shape(self, output: str) -> tuple[int, ...]:
        """The shape of an output."""
        return tuple(self.case.graph.shape(output))

    def gradients(self, upstream: Mapping[str, Array]) -> tuple[dict[str, Array], dict[str, Array]]:
        """The gradients, and how far each may be from the exact one; raises TraceError where the roads part."""
        graph = self.case.graph
        engine = Reverse(graph, self.variables)
        found = engine.backward(engine.program.run(self.inputs), upstream)
        plain = {name: np.asarray(g)[0] for name, g in found.items()}
        for name, g in plain.items():
            if not np.all(np.isfinite(g)):
                raise UsageError(f"the gradient of the reference by {name} is not finite here: choose another point")
        if self.size > IN_BALLS:
            return plain, {name: np.full(g.shape, np.nan) for name, g in plain.items()}
        balls = engine.program.run(
            {name: Balls.exact(x) for name, x in self.inputs.items()}, constants=constant_balls(graph, np.dtype(float))
        )
        around = engine.backward(balls, {name: Balls.exact(g) for name, g in upstream.items()})
        radii = {name: _radius(b, plain[name]) for name, b in around.items()}
        self._by_differences(plain, upstream)
        return plain, radii

    def _by_differences(self, gradients: Mapping[str, Array], upstream: Mapping[str, Array]) -> None:
        """Holds the reverse pass against central differences, which know no derivative."""
        program = Program(self.case.graph)
        for name, g in gradients.items():
            x = self.inputs[name]
            direction = stream(0, "a direction of a kernel").choice([-1.0, 1.0], x.shape)
            step = STEP * max(float(np.max(np.abs(x), initial=0.0)), 1e-300)
            values = [
                program.run({**self.inputs, name: x + step * times * direction}) for times in (1.0, -1.0, 2.0, -2.0)
            ]
            total = [
                sum(float(np.sum(v[self.case.graph.position(out)] * seed)) for out, seed in upstream.items())
                for v in values
            ]
            near, far = (total[0] - total[1]) / (2 * step), (total[2] - total[3]) / (4 * step)
            own, size = float(np.sum(g * direction[0])), float(np.sqrt(np.sum(np.square(g))))
            if abs(own - near) > 10 * abs(near - far) + APART * size:
                raise UsageError(
                    f"the reference has a kink here, or an op of it a wrong slope: along a direction of {name} its "
                    f"reverse pass gives {own:.6g} and differences {near:.6g}. Choose another point"
                )


def fused(graph: Graph) -> Graph:
    """A graph with each softmax that is written out as the one op that it is: that is how kernels take it.

    >>> from verify.case.expression import graph_from_expressions
    >>> graph = graph_from_expressions({"x": (3,)}, {"e": "exp(x - amax(x))", "y": "e / sum(e)"})
    >>> [node.op for node in fused(graph).nodes][-1]
    'softmax'
    """
    found = {i: whole for i, node in enumerate(graph.nodes) if (whole := _softmax_of(graph, node)) is not None}
    if not found:
        return graph
    builder = GraphBuilder()
    at: list[int] = []
    for i, node in enumerate(graph.nodes):
        if i in found:
            x, axis = found[i]
            at.append(builder.apply("softmax", at[x], params={"axis": axis}))
        else:
            at.append(builder.copy(replace(node, args=tuple(at[arg] for arg in node.args))))
        if graph.names.get(i) in graph.stages:
            builder.name(graph.names[i], at[i])
    return builder.build(graph.outputs)


def _softmax_of(graph: Graph, node: Node) -> tuple[int, Any] | None:
    """What a quotient of exponentials and their sum is the softmax of, and along which axes; None of others."""
    if node.op != "divide":
        return None
    powers, total = (graph.nodes[j] for j in node.args)
    rank = len(node.shape)
    axes = total.params.get("axis") if total.op == "sum" else None
    if powers.op != "exp" or total.op != "sum" or total.args != (node.args[0],) or powers.shape != node.shape:
        return None
    axes = tuple(range(rank)) if axes is None else tuple(axes)
    if len(axes) != rank and not total.params.get("keepdims"):
        return None
    inner = graph.nodes[powers.args[0]]
    shift = graph.nodes[inner.args[1]].shape if inner.op == "subtract" else ()
    is_shifted = len(shift) == rank and inner.shape == graph.nodes[inner.args[0]].shape
    is_shifted = is_shifted and all(shift[axis] == 1 for axis in axes)
    return (inner.args[0] if is_shifted else powers.args[0]), axes


def _radius(ball: Any, value: Array) -> Array:
    middle, radius = (ball.value, ball.radius) if isinstance(ball, Balls) else (ball, np.zeros(1))
    return np.asarray(radius[0] + np.abs(middle[0] - value))


def plain_function(reference: Callable[..., Any], point: Mapping[str, Any]) -> Callable[..., Any]:
    """A reference as a function of NumPy's arrays, in float64.

    >>> plain_function(np.sin, {}) is np.sin
    True
    """
    room: Any = framework_of(reference, dict(point))
    if room is None:
        return reference
    found: Callable[..., Any] = room.as_numpy(flattened(room, reference, point).function if point else reference)
    return found


def truth_of(reference: Callable[..., Any], point: Mapping[str, Any], constants: Collection[str] = ()) -> Truth:
    """The reference as a graph at a point. Raises UsageError where it cannot be converted.

    >>> truth = truth_of(lambda x: x**2, {"x": np.array([3.0])})
    >>> truth.gradients({truth.outputs[0]: np.ones((1, 1))})[0]["x"].tolist()
    [6.0]
    """
    plain = {name: _as_array(x) for name, x in point.items()}
    function = plain_function(reference, plain)
    try:
        case = trace_at(function, [plain], constants=constants).case
    except TraceError as error:
        raise UsageError(f"the reference cannot be converted: {error.problem.headline()}") from error
    inputs = {item.name: np.asarray(item.at)[None] for item in case.inputs}
    return Truth(case, tuple(item.name for item in case.real_inputs), inputs)


def _as_array(x: Any) -> Any:
    if hasattr(x, "detach") and hasattr(x, "numpy"):
        x = x.detach().cpu()
        return np.array((x.double() if x.is_floating_point() else x).numpy())
    if isinstance(x, np.ndarray | np.generic | list) or hasattr(x, "__array__"):
        array: Array = np.array(x)
        return array.astype(np.float64) if array.dtype.kind in "fV" else array
    return x

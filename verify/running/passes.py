"""The forward and backward pass of a case, stage by stage, for whoever wants to read it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np

from verify.case.case import Case
from verify.graph.derivative import Differentiator, Unsupported
from verify.graph.graph import Graph
from verify.graph.interpret import Values, align
from verify.methods import prepare
from verify.methods.reverse import Reverse
from verify.methods.symbolic import Symbolic
from verify.ops import OPS
from verify.places.points import own_points
from verify.records import Gate, StageRecord
from verify.running.settings import Settings

MOST_GATES = 60
"""Gates of a circuit that can still be read."""

WRITTEN_OUT = 3
"""Entries of an array that are written at a wire."""


def both_passes(
    case: Case, settings: Settings, symbolic: Differentiator | Unsupported | None
) -> tuple[tuple[StageRecord, ...], tuple[Gate, ...]]:
    """The notes' forward and backward pass at the case's first own point: side by side, and as a circuit.

    >>> from verify.case.case import load_case_text
    >>> case = load_case_text("{case: square, inputs: {x: {at: 3}}, stages: {f: x**2}}")
    >>> stages, circuit = both_passes(case, Settings(), None)
    >>> [(stage.name, float(stage.value), float(stage.gradient)) for stage in stages]
    [('x', 3.0, 6.0), ('f', 9.0, 1.0)]
    >>> [(gate.label, gate.name, gate.operands) for gate in circuit]
    [('', 'x', ()), ('x**2', 'f', (0,))]
    """
    if symbolic is None:
        symbolic = prepare("symbolic", case.graph, case.variables)
    batch = own_points(case, settings.seed)
    first = np.array([0])
    inputs, upstream = batch.take(first)
    engine = Reverse(case.graph, case.variables)
    values = engine.program.run(inputs)
    gradients = engine.backward(values, upstream)
    records = []
    for name in (*case.graph.inputs, *case.graph.stages):
        shape = case.graph.shape(name)
        gradient = gradients.get(name)
        is_stage = name in case.graph.stages
        formulas = symbolic.local_derivatives(name) if is_stage and isinstance(symbolic, Symbolic) else {}
        sent = engine.sent_back(values, name, gradient) if is_stage else {}
        records.append(
            StageRecord(
                name=name,
                expression=case.expressions.get(name, ""),
                line=case.lines.get(name, 0),
                shape=shape,
                value=np.array(values[case.graph.position(name)][0]),
                local_derivatives=formulas,
                gradient=np.full(shape, np.nan) if gradient is None else np.array(gradient[0]),
                contributions={operand: np.array(part[0]) for operand, part in sent.items()},
            )
        )
    return tuple(records), _circuit(engine, values, upstream, gradients)


def _circuit(
    engine: Reverse, values: Values, upstream: Mapping[str, Any], gradients: Mapping[str, Any]
) -> tuple[Gate, ...]:
    """The nodes of a small program, the stages of a larger one, none of one that nobody could read."""
    graph = engine.graph
    nodes = [i for i, node in enumerate(graph.nodes) if node.kind != "constant"]
    is_small = len(nodes) <= MOST_GATES
    shown = nodes if is_small else sorted(graph.names)
    if len(shown) > MOST_GATES:
        return ()
    by_name = {position: gradients.get(name) for position, name in graph.names.items()}
    totals = dict(enumerate(engine.at_nodes(values, upstream))) if is_small else by_name
    at = {position: number for number, position in enumerate(shown)}
    read: list[tuple[int, ...]] = []  # the gates that each node stands on
    for node in graph.nodes:
        found = (at[arg] if arg in at else read[arg] for arg in node.args)
        read.append(tuple(dict.fromkeys(k for one in found for k in ((one,) if isinstance(one, int) else one))))
    return tuple(
        Gate(
            label=graph.label(i) if is_small and graph.nodes[i].kind == "op" else "",
            name=graph.names.get(i, ""),
            operands=read[i],
            shape=graph.nodes[i].shape,
            value=_at_wire(values[i][0]),
            gradient=np.nan if (total := totals[i]) is None else _at_wire(total[0]),
            kink=_kink_at(graph, values, i) if is_small else "",
        )
        for i in shown
    )


def _at_wire(array: Any) -> Any:
    """A few entries as they are, of more the smallest and the largest."""
    a = np.asarray(array, dtype=float)
    return a if a.size <= WRITTEN_OUT else np.array([np.min(a), np.max(a)])


def _kink_at(graph: Graph, values: Values, position: int) -> Literal["", "kinked", "tied"]:
    """Whether a node has two slopes somewhere, and whether here; of those inside of it the former alone is known."""
    if not graph.is_kinked(position):
        return ""
    node = graph.nodes[position]
    kink = OPS[node.op].kink
    if kink is None:
        return "kinked"
    operands = align(node, (values[arg] for arg in node.args))
    with np.errstate(all="ignore"):
        return "tied" if np.any(kink.argument(*operands, **node.static) == 0) else "kinked"

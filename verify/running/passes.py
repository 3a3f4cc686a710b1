"""The forward and backward pass of a case, stage by stage, for whoever wants to read it."""

from __future__ import annotations

import numpy as np

from verify.case.case import Case
from verify.graph.derivative import Differentiator, Unsupported
from verify.methods import prepare
from verify.methods.reverse import Reverse
from verify.methods.symbolic import Symbolic
from verify.places.points import own_points
from verify.records import (
    StageRecord,
)
from verify.running.settings import Settings


def stage_records(
    case: Case, settings: Settings, symbolic: Differentiator | Unsupported | None
) -> tuple[StageRecord, ...]:
    """The notes' forward and backward pass, side by side, at the case's first own point.

    >>> from verify.case.case import load_case_text
    >>> case = load_case_text("{case: square, inputs: {x: {at: 3}}, stages: {f: x**2}}")
    >>> [(stage.name, float(stage.value), float(stage.gradient)) for stage in stage_records(case, Settings(), None)]
    [('x', 3.0, 6.0), ('f', 9.0, 1.0)]
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
    return tuple(records)

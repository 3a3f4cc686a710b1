"""Kinks with more branch patterns than can be listed: entries that are tied are looked at together all the same.

Where the corners of all patterns cannot be had, each entry is held against the smallest and the largest of its slopes,
and a vector may pass that is no subgradient: eight windows of a maximum have 16 million patterns, and a gradient that
sends its upstream to every tied entry is inside the bounds. The case's own program says what its slopes are along the
tied entries together, see :mod:`verify.judging.tied`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from verify.case.case import Case
from verify.graph.interpret import Program
from verify.oracle.case_check import Question
from verify.oracle.look import BlackBox, Place
from verify.places.search import upstream_of
from verify.records import SUBJECT, CaseResult, Finding, Point
from verify.subjects.interface import Interface
from verify.subjects.measured import Measured
from verify.subjects.subject import Subject
from verify.tracing.recorded_program import default_domain
from verify.words import FindingKind, Verdict

MOST_ENTRIES = 600
"""Entries of all inputs together that are looked at one by one at such a kink."""


def held_at_outer_kinks(
    asked: Question, case: Case, result: CaseResult, interface: Interface | None = None
) -> CaseResult:
    """The result, with a finding where tied entries that pass one by one are impossible together.

    >>> from verify.subjects.line_coverage import LineCoverage
    >>> from verify.case.case import load_case_text
    >>> from verify.running.settings import Settings
    >>> case = load_case_text("{case: square, inputs: {x: {at: 3}}, stages: {f: x**2}}")
    >>> asked = Question(lambda x: 2 * x, Settings(), LineCoverage(abs))
    >>> held_at_outer_kinks(asked, case, CaseResult("square", "")).findings
    ()
    """
    kinked = {record.point for record in result.kinks if record.outer}
    points = [point for point in result.points if point.id in kinked]
    entries = sum(int(np.prod(item.shape)) for item in case.real_inputs)
    passes = any(
        SUBJECT in v.rows.values and v.counts.get(Verdict.SUBGRADIENT)
        for v in result.variables
        if v.quantity == "gradient"
    )
    if not (points and passes) or case.ties or entries > MOST_ENTRIES:
        return result
    box = _black_box(asked, case, points[0], interface)
    for point in points:
        wrong = box.impossible(_place(case, point, takes=box.subject.takes_upstream), MOST_ENTRIES)
        if wrong:
            said = f"at the kink of point {point.id} ({point.origin}) the gradient is no subgradient: {wrong}"
            return replace(
                result, findings=(*result.findings, Finding(FindingKind.NO_SUBGRADIENT, "", said, fails=True))
            )
    return result


def _black_box(asked: Question, case: Case, point: Point, interface: Interface | None) -> BlackBox:
    """The case's own program as a function that is measured."""
    program = Program(case.graph)

    def function(**inputs: Any) -> Mapping[str, Any]:
        values = program.run({item.name: np.asarray(inputs[item.name], item.dtype)[None] for item in case.inputs})
        return {name: np.array(values[case.graph.position(name)][0]) for name in case.graph.outputs}

    function.__name__ = "f"
    measured = Measured(function, {item.name: point.values[item.name] for item in case.inputs})
    subject = Subject(interface or Interface.of(case), asked.gradient)
    domains = {item.name: default_domain([np.asarray(point.values[item.name])]) for item in case.real_inputs}
    return BlackBox(measured, subject, domains, seed=asked.settings.seed)


def _place(case: Case, point: Point, *, takes: bool) -> Place:
    """The point with its own upstream gradients, and with their sizes: branches of one sign cannot cancel."""
    own = {
        name: np.asarray(point.values.get(upstream_of(name), np.ones(case.graph.shape(name))))
        for name in case.graph.outputs
    }
    sizes = {name: np.abs(g) for name, g in own.items()}
    is_free = takes and not case.given_upstream and not case.upstream
    inputs = {item.name: np.asarray(point.values[item.name]) for item in case.inputs}
    return Place(inputs, [own, sizes] if is_free else [own], [point.id] * (1 + is_free), own=True)

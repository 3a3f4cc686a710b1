"""What a run asks of one case: the variables, and the methods made ready for them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from verify.case.case import Case
from verify.graph.derivative import Differentiator, Unsupported
from verify.limits import step
from verify.methods import prepare
from verify.methods.symbolic import Symbolic
from verify.places.points import own_points
from verify.records import METHODS, CaseResult
from verify.running.cache import graph_content, graph_key, remembered
from verify.running.settings import Settings
from verify.subjects.subject import Subject

MOST_RECENT = 8
"""Graphs whose symbolic method is kept in memory: a gradient is often checked again, at other points."""

RECENT: dict[str, Differentiator | Unsupported] = {}
"""What a graph is -> the method made ready for it, the last one used at the end."""


def variables_of(case: Case, settings: Settings, subject: Subject | None) -> tuple[str, ...]:
    """What the output is differentiated by: what a subject answers for, else what the settings ask for.

    >>> from verify.case.case import load_case_text
    >>> case = load_case_text("{case: square, inputs: {x: {at: 3}}, stages: {f: x**2}}")
    >>> variables_of(case, Settings(), None), variables_of(case, Settings(variables="inputs"), None)
    (('x', 'f'), ('x',))
    """
    if subject is not None:
        return _answered(case, settings, subject)
    return tuple(item.name for item in case.real_inputs) if settings.variables == "inputs" else case.variables


def _answered(case: Case, settings: Settings, subject: Subject) -> tuple[str, ...]:
    """The variables that a subject gives gradients for, by its answer at the case's first point."""
    with step("asking the gradient at the case's first point"):
        first = subject.differentiate(*own_points(case, settings.seed).take(np.array([0])))
    return tuple(name for name in case.variables if name in first.gradients)


def prepared_methods(
    case: Case, settings: Settings, variables: Sequence[str]
) -> tuple[dict[str, Differentiator], dict[str, str]]:
    """The methods that can do a case, made ready for it, and why the others cannot: method -> reason.

    >>> from verify.case.case import load_case_text
    >>> case = load_case_text("{case: square, inputs: {x: {at: 3}}, stages: {f: x**2}}")
    >>> methods, unsupported = prepared_methods(case, Settings(), ["x"])
    >>> list(methods), unsupported
    (['symbolic', 'reverse', 'central'], {})
    """
    methods: dict[str, Differentiator] = {}
    unsupported: dict[str, str] = {}
    for name in settings.methods or METHODS:
        with step(f"preparing the method {name}"):
            answer = _prepared(name, case, tuple(variables), cached=settings.cached)
        if isinstance(answer, Unsupported):
            unsupported[name] = answer.reason
        else:
            methods[name] = answer
    return methods, unsupported


def _prepared(name: str, case: Case, variables: tuple[str, ...], *, cached: bool) -> Differentiator | Unsupported:
    """A method made ready; what SymPy takes long for is kept between runs, and for the next check in this process."""
    if name != "symbolic":
        return prepare(name, case.graph, variables)
    content = graph_content(case.graph, variables)
    recent = repr((content, case.graph.names)) if content else ""
    if recent in RECENT:
        RECENT[recent] = RECENT.pop(recent)  # used just now
        return RECENT[recent]

    def derived() -> Differentiator | Unsupported:
        answer = prepare(name, case.graph, variables)
        return answer.written_out() if cached and isinstance(answer, Symbolic) else answer

    answer = remembered(graph_key(name, case.graph, variables), derived) if cached else derived()
    if recent:
        RECENT[recent] = answer
        for oldest in list(RECENT)[:-MOST_RECENT]:
            del RECENT[oldest]
    return answer


def result_of(case: Case, settings: Settings, unsupported: Mapping[str, str], **found: Any) -> CaseResult:
    """The record of a case that was run: what it is, what was asked of it, and what was found.

    >>> from verify.case.case import load_case_text
    >>> case = load_case_text("{case: square, inputs: {x: {at: 3}}, stages: {f: x**2}}")
    >>> result_of(case, Settings(points=5), {}, points_checked=7).outputs
    ('f',)
    """
    return CaseResult(
        name=case.name,
        file=case.file,
        source=case.source,
        function=tuple(case.expressions.items()),
        outputs=case.graph.outputs,
        seed=settings.seed,
        points_asked=settings.points,
        unsupported=unsupported,
        failures=_asked_in_vain(settings, unsupported),
        **found,
    )


def _asked_in_vain(settings: Settings, unsupported: Mapping[str, str]) -> tuple[str, ...]:
    """The methods that were asked for by name and cannot do a case, a sentence each."""
    return tuple(
        f"method {name} was asked for and cannot do this case: {reason}"
        for name, reason in unsupported.items()
        if name in (settings.methods or ())
    )


def held_to_proof(settings: Settings, result: CaseResult) -> CaseResult:
    """A result that says what of it is not proved: in its notes, or as its failure where proof is required.

    >>> from verify.words import Unproved
    >>> some = CaseResult("f", "f.yaml", unproved={Unproved.WORK: 3, Unproved.WIDE: 1})
    >>> held_to_proof(Settings(), some).notes
    ('0 of 0 rows proved; 4 more were to be: the proof work ran out (3), the enclosure stayed too wide (1)',)
    >>> held_to_proof(Settings(require_proof=True), some).status
    'FAIL'
    """
    count = sum(result.unproved.values())
    if not count:
        return result
    why = ", ".join(f"{reason.value} ({n:,})" for reason, n in result.unproved.items())
    sentence = f"{result.proved:,} of {result.checked:,} rows proved; {count:,} more were to be: {why}"
    if settings.require_proof:
        return replace(result, failures=(*result.failures, f"{sentence}; proof is required (--require-proof)"))
    return replace(result, notes=(*result.notes, sentence))

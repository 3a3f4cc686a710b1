"""The step law of a case: what central differences really do over 25 steps, and what was proved of them beforehand."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from verify.judging.context import Context
from verify.judging.step_law import scales, step_sizes
from verify.places.points import Batch
from verify.records import StepLaw, unravel
from verify.symbolic.symbols import entry_name
from verify.truth.reference import Enclosures
from verify.truth.step_bounds import EntrySteps, StepBound

Array = NDArray[Any]

MOST_NUMBERS = 20_000
"""Numbers that one pass through the graph may compute; 25 passes over more of them take too long."""


def step_laws(context: Context, own: Batch) -> tuple[StepLaw, ...]:
    """One for each real input, at the first of the case's own points, for the entry with the largest gradient.

    >>> from verify.case.case import load_case
    >>> from verify.places.points import own_points
    >>> from verify.case.files import shipped_cases
    >>> case = load_case(shipped_cases() / "notes" / "add.yaml")
    >>> [law.variable for law in step_laws(Context(case, {}), own_points(case, 0))]
    ['x', 'y']
    """
    names = [item.name for item in context.case.real_inputs if item.name in context.variables]
    inputs, upstream = own.take(np.array([0]))
    point = int(own.ids[0])
    numbers = sum(math.prod(node.shape) for node in context.graph.nodes)
    if numbers > MOST_NUMBERS:
        text = f"not looked at: each step computes {numbers:,} numbers in balls, which takes too long"
        return tuple(_without(name, (), point, text) for name in names)
    known = context.reference.enclose(inputs, upstream)
    gradients = context.engine.differentiate(inputs, upstream).gradients
    here = context.steps.point(inputs, upstream)
    laws = []
    for name in names:
        entry = _largest(gradients[name][0])
        laws.append(_law(name, entry, point, here.at(name, entry), known))
    return tuple(laws)


def _largest(gradient: Array) -> tuple[int, ...]:
    """The entry with the largest finite gradient."""
    sizes = np.where(np.isfinite(gradient), np.abs(gradient), -1.0)
    return unravel(int(np.argmax(sizes)), np.shape(gradient))


def _law(name: str, entry: tuple[int, ...], point: int, steps: EntrySteps, known: Enclosures) -> StepLaw:
    truth = known.gradient(name, entry)
    sizes = step_sizes(steps.dtype, scales(steps.x)[0])
    with np.errstate(all="ignore"):  # a step may leave the range of floats; then it has no bound
        h = sizes.astype(steps.dtype)
        below, above = steps.x - h, steps.x + h
    bounds = steps.bounds(below, above)
    quotients = steps.quotients(below, above).value.tolist()
    best, bound = steps.best()
    return StepLaw(
        variable=name,
        entry=entry,
        point=point,
        steps=tuple(sizes.tolist()),
        errors=tuple(truth.error(quotient)[1] for quotient in quotients),
        truncation=tuple(b.truncation for b in bounds),
        rounding=tuple(b.rounding for b in bounds),
        best_step=best if math.isfinite(bound.total) else math.nan,
        best_bound=bound.total,
        sentence=_sentence(entry_name(name, entry), best, bound, truth.reason),
    )


def _without(name: str, entry: tuple[int, ...], point: int, text: str) -> StepLaw:
    return StepLaw(name, entry, point, (), (), (), (), math.nan, math.inf, text)


def _sentence(name: str, best: float, bound: StepBound, unknown: str) -> str:
    if not math.isfinite(bound.total):
        return f"{name}: no step has a bound: {bound.reason}"
    text = f"{name}: the best step is {best:.2g}, with an error of at most {bound.total:.2g}"
    if bound.reason:
        text += f", and {bound.reason}"
    return f"{text}; the gradient itself is not known: {unknown}" if unknown else text

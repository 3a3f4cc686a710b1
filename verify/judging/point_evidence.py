"""What one point can be asked: the truth of its rows, how far a step may be off, and what rounding may excuse there."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from functools import cached_property
from typing import Any

import numpy as np
from flint import arb
from numpy.typing import NDArray

from verify.case.case import Case
from verify.graph.derivative import Differentiator
from verify.graph.interpret import Values
from verify.graph.taylor import precision
from verify.judging.context import Context
from verify.judging.evidence import NEEDED, Evidence, Excuse, Witness
from verify.judging.rows import Block, Judgement
from verify.judging.underflow import too_large, underflow
from verify.places.points import is_lost
from verify.records import SUBJECT, further_methods, unravel
from verify.subjects.formula import Cause
from verify.subjects.formula import Excuse as FormulaExcuse
from verify.subjects.interface import Interface
from verify.subjects.subject import Subject
from verify.truth.reference import BOTH_ROADS, Enclosure, Enclosures
from verify.truth.step_bounds import PointSteps
from verify.words import Unproved, Verdict

Array = NDArray[Any]

SAMPLED = 32
"""Entries of each variable that are proved one by one where there are more."""

DIRECTIONS = 3
"""Directions along which a variable's gradient is proved as a whole then."""

SAVED = 4.0
"""Times what rounding of the saved values moves to first order: as many roundings as a textbook formula has of them."""

FEW_DIGITS = 2.0**10
"""Times what is allowed: digits that a formula may lose which is proved to be right."""

HUGE = 1e12
"""An upstream gradient beyond this, or below one over it, was drawn for its size; a fault shows at others too."""

LEFT_RANGE = "passes though it is no answer: its formula, proved to be right, leaves the range of floats at tiny inputs"
"""What a reader should know of rows that pass so."""

FEW_STEPS = 5
"""The power of an input that a formula of a few steps comes to."""

GOOD_STEP = 2.0**-20
"""A step that may cost more than this part of the gradient gives way to the best one there is."""

NEAR = 2.0**-28
"""An answer of central as near to the truth as this part of it needs no bound of a step whose estimate is poor."""


PLAINLY_WRONG, IN_UNITS = 2.0**-21, 2.0**12
"""What is off by more than this part of the truth, and by so many roundings of the largest term, is no other way of
writing a formula with rounded literals."""


class PointEvidence:
    """One point of a batch (P = 1) that is looked at closely."""

    def __init__(
        self,
        context: Context,
        number: int,
        inputs: Mapping[str, Array],
        upstream: Mapping[str, Array],
        floats: Values,
        saved: Callable[[], Mapping[str, Array]],
        noise: Array | None,
        *,
        own: bool,
    ) -> None:
        """``number`` is its place in the batch, ``floats`` are the values of all nodes there.

        ``saved`` gives by variable what rounding of saved values may cost ``(*shape)``, ``noise`` is how far rounding
        may move the output ``(1,)`` where central is among the methods, and ``own`` says whether somebody asked for the
        point.
        """
        self.context, self.number, self.floats, self.saved, self.own = context, number, floats, saved, own
        self.noise = noise
        self.inputs, self.upstream = inputs, upstream
        size = max((float(np.max(np.abs(g), initial=0.0)) for g in upstream.values()), default=1.0)
        self.is_artificial = not own and SUBJECT in context.methods and not 1 / HUGE <= size <= HUGE
        self.allowance = context.allowance(inputs)
        self._largest: float | None = None

    def enclose(self, *, taylor_only: bool = False) -> Enclosures:
        """The certified reference at this point."""
        return self.context.reference.enclose(self.inputs, self.upstream, taylor_only=taylor_only)

    @cached_property
    def is_beyond_reach(self) -> bool:
        """Whether nobody asked for the point, and some input is so small that no formula of a few steps keeps it."""
        return not self.own and any(is_lost(x, FEW_STEPS, small_alone=True) for x in self.inputs.values())

    @cached_property
    def steps(self) -> PointSteps:
        """Bounds of central's steps."""
        return self.context.steps.point(self.inputs, self.upstream)

    def largest_term(self, known: Enclosures) -> float:
        """No less than what is added up on the way to any gradient here: the largest slope times the largest value.

        Infinite where one of them is not known: then nothing is too much to be rounding.
        """
        if self._largest is None:
            slopes = [abs(slope) for slope in known.slopes(all_or_none=True)]
            values = [float(np.max(np.abs(x), initial=1.0)) for x in self.floats]
            sizes = [*values, *(float(x.upper()) if x.is_finite() else math.inf for x in slopes)]
            is_known = bool(slopes) and bool(np.isfinite(sizes).all())
            self._largest = max(sizes[len(values) :]) * max(values) if is_known else math.inf
        return self._largest

    def out_of_range(self, known: Enclosures) -> str:
        """Where floats leave their range on the way, empty where they do not."""
        nodes = known.nodes()
        if nodes is None:
            return ""
        return underflow(self.context.graph, self.floats, nodes) or too_large(self.floats, known.slopes())

    def subject(self, method: str) -> Subject | None:
        """Whoever answers for a column that is not one of ours; frameworks are made subjects once."""
        known, subjects = self.context.methods.get(method), self.context.subjects
        if isinstance(known, Subject):
            return known
        if known is not None and further_methods([method]) and method not in subjects:
            subjects[method] = _as_subject(self.context.case, known)
        return subjects.get(method)

    def along(
        self, known: Enclosures, block: Block, room: Array, step: Array, rng: np.random.Generator
    ) -> Judgement | None:
        """What is wrong of the sum of all entries, with random signs, held against the slope along that direction."""
        if block.quantity == "value" or not np.all(np.isfinite(room)):
            return None
        context, shape = self.context, self.context.graph.shape(block.name)
        lacks: Unproved | None = None
        found = None
        for _ in range(DIRECTIONS):
            signs = rng.choice([-1.0, 1.0], len(room))
            total, steps = float(room.sum()), float(step.sum())
            truth = known.along(block.name, signs.reshape(shape), total / NEEDED)
            if truth.reason:
                lacks = lacks or truth.lacks
                continue
            block.road[self.number] = context.texts.number(f"taylor, {DIRECTIONS} directions")
            for method in (SUBJECT,) if SUBJECT in block.values else tuple(block.values):
                with precision(truth.bits):
                    terms = zip(block.values[method][self.number], signs, strict=True)
                    answer = sum((arb(float(x) * s) for x, s in terms), arb(0))
                    distance = float(abs(answer - truth.ball).abs_lower()) if answer.is_finite() else math.inf
                most = total + (steps if method == "central" else 0.0)
                if distance <= most:
                    continue
                reason = f"proved: along a direction {method} is off by {distance:.3g} and may be off by {most:.3g}"
                if method == "central":  # what its steps may be off by is an estimate, which accuses nobody
                    found = found or Judgement(Verdict.UNDECIDED, f"{reason} by an estimate")
                    continue
                excused = self._excused_along(block, method, signs, truth, total)
                verdict = Verdict.FAIL if excused is None else Verdict.IMPRECISE
                passes = excused is not None and distance <= excused and context.case.accuracy != "relative"
                found = Judgement(verdict, reason, method, passes)
        if lacks is not None:
            context.unproved[lacks] += len(room) - SAMPLED
        return found

    def _excused_along(self, block: Block, method: str, signs: Array, truth: Enclosure, total: float) -> float | None:
        """What a method may be off by along a direction for rounding's sake, as entry by entry; None for a fault."""
        subject = self.subject(method)
        if subject is None:
            return None
        saved = total + SAVED * float(self.saved()[block.name].sum())
        formula = subject.formula(self.inputs, self.upstream).along(block.name, signs)
        if formula is None:
            return saved
        return max(saved, FEW_DIGITS * total) if formula.overlaps(truth.ball) else None


class RowEvidence(Witness):
    """What one row of a point can be asked."""

    def __init__(self, point: PointEvidence, block: Block, entry: int, known: Enclosures | None = None) -> None:
        """``known`` is the reference at the point, if the row is to be held against it."""
        self.point, self.block, self.entry, self.known = point, block, entry, known
        self.where = point.number, entry
        self.index = unravel(entry, point.context.graph.shape(block.name))
        self._refined: float | None = None
        self._excuses: dict[str, Excuse] = {}

    def facts(self, *, held: bool = False, **more: Any) -> Evidence:
        """The evidence of the row, and more that is known; with ``held``, the truth."""
        point, context = self.point, self.point.context
        evidence = Evidence(
            answers={method: float(column[self.where]) for method, column in self.block.values.items()},
            own=point.own,
            is_value=self.block.quantity == "value",
            wants_digits=context.case.accuracy == "relative",
            unit=point.allowance.unit,
            growth=point.allowance.growth,
            is_artificial=point.is_artificial,
            witness=self,
            **{"allowed": float(self.block.allowed[self.where]), **more},
        )
        if held:
            self._hold(evidence)
        return evidence

    def _hold(self, e: Evidence) -> None:
        """Adds the truth, and writes down what is known with it."""
        truth = e.truth = self.enclosed(e.allowed)
        context, block, where = self.point.context, self.block, self.where
        if truth.lacks is not None:
            context.unproved[truth.lacks] += 1
        block.reference[where], block.radius[where] = truth.midpoint, truth.radius
        block.road[where] = context.texts.number(truth.road)
        e.least = self.point.allowance.least(truth.midpoint)
        if truth.reason or not math.isfinite(e.allowed):
            return
        # The truth's own size counts too: an engine that is wrong gives a bound that is too small.
        e.allowed = max(e.allowed, e.least)
        self._settle_step(e)
        block.allowed[where], block.step_error[where] = e.allowed, e.step_error
        for method in e.answers:
            block.errors[method][where] = e.error(method)

    def enclosed(self, allowed: float) -> Enclosure:
        """The enclosure of the row, much narrower than what is allowed."""
        assert self.known is not None
        ask = self.known.gradient if self.block.quantity == "gradient" else self.known.value
        needed = allowed / NEEDED  # of a subnormal number that is 0, and no radius is as small
        return ask(self.block.name, self.index, needed if 0 < needed < math.inf else None)

    def _settle_step(self, e: Evidence) -> None:
        """What central may be off by: its estimate where it keeps to it, else what is proved of the best step."""
        context = self.point.context
        e.is_step_proved = e.is_value  # which has no step
        if e.is_value or "central" not in e.judged:
            return
        assert e.truth is not None
        size, error = abs(e.truth.midpoint), e.error("central")
        is_good = e.step_error <= GOOD_STEP * size
        if is_good and error <= e.allowed + e.step_error:
            return  # a bound would prove what is seen, at some hundred times the cost
        if not is_good and error <= e.allowed + NEAR * size:
            e.step_error = NEAR * size  # what was granted: an answer that is farther off is held against a bound
            return
        if not context.budget.takes("steps", context.numbers):
            e.lacks_bound = "the work for bounds of central's step is used up"
            return
        # Nobody is accused by a step that is at fault: where the answer it gave is off, a better step gives another.
        steps = self.point.steps.at(self.block.name, self.index)
        better, least = steps.best()
        e.is_step_proved, e.step_error = True, least.total
        if math.isfinite(least.total):
            step = np.full(1, better, dtype=steps.dtype)
            name, point = self.block.name, self.point
            answer = context.central.difference(name, self.index, point.inputs, point.upstream, step)[0]
            self.block.step[self.where] = better
            self.block.values["central"][self.where] = e.answers["central"] = float(answer)

    # ------------------------------------------------------------------------------------------- what is asked of it

    def saved(self, evidence: Evidence) -> float:
        """See :meth:`Witness.saved`."""
        cost = 0.0 if evidence.is_value else float(self.point.saved()[self.block.name].ravel()[self.entry])
        return SAVED * cost

    def refined(self, evidence: Evidence) -> float:
        """See :meth:`Witness.refined`."""
        if self._refined is None:
            point, at = self.point, np.array([self.point.number])
            if point.noise is None:
                return 0.0
            found = point.context.refine(self.block, self.entry, at, point.noise, point.inputs, point.upstream)
            evidence.answers["central"] = float(self.block.values["central"][self.where])
            self._refined = float(found.error[0])
        return self._refined

    def underflow(self, evidence: Evidence) -> str:  # noqa: ARG002 - the reference is asked
        """See :meth:`Witness.underflow`.

        A truth that is 0 for floats whatever they do, as for a score that a softmax masks, is none: there large terms
        cancel to less than the smallest float, and an answer of their rounding's size is no worse than 0.
        """
        nodes = self.known.nodes() if self.known is not None else None
        reason = underflow(self.point.context.graph, self.point.floats, nodes) if nodes else ""
        if not reason:
            return ""
        allowance = self.point.allowance
        truth = self.enclosed(NEEDED * allowance.smallest)
        return "" if not truth.reason and abs(truth.midpoint) + truth.radius <= allowance.floor else reason

    def range_left(self, evidence: Evidence, methods: Iterable[str]) -> str:
        """See :meth:`Witness.range_left`."""
        answers = [evidence.answers[method] for method in methods]
        is_lost = any(abs(answer) < self.point.allowance.tiny or not math.isfinite(answer) for answer in answers)
        return self.point.out_of_range(self.known) if is_lost and self.known is not None else ""

    def wrong_formula(self, evidence: Evidence, *, plainly: bool = False) -> str:
        """See :meth:`Witness.wrong_formula`."""
        found = self._formula_of_subject(evidence)
        if found is None or found.cause is not Cause.FORMULA_WRONG:
            return ""
        return "" if plainly and not self._is_plain(found.distance, evidence) else found.sentence

    def unexplained(self, evidence: Evidence) -> str:
        """See :meth:`Witness.unexplained`."""
        found, error = self._formula_of_subject(evidence), evidence.error(SUBJECT)
        if found is None or found.cause is not Cause.OPAQUE or not self._is_plain(error, evidence):
            return ""
        return f"off by {error:.3g}, which no rounding on the way explains: allowed {evidence.allowed:.3g} is too much"

    def _formula_of_subject(self, evidence: Evidence) -> FormulaExcuse | None:
        subject, truth = self.point.subject(SUBJECT), evidence.truth
        answer = evidence.answers.get(SUBJECT, math.nan)
        if subject is None or truth is None or not math.isfinite(answer):
            return None
        return subject.formula(self.point.inputs, self.point.upstream).read(self.block.name, self.index, truth, answer)

    def _is_plain(self, distance: float, evidence: Evidence) -> bool:
        """Whether something is off by more than another way of writing the formula makes it, with rounded literals."""
        assert evidence.truth is not None
        roundings = IN_UNITS * self.point.allowance.unit
        if self.known is None or distance < max(PLAINLY_WRONG, roundings) * abs(evidence.truth.midpoint):
            return False
        return distance > roundings * self.point.largest_term(self.known)

    def excuse(self, evidence: Evidence, method: str) -> Excuse:
        """See :meth:`Witness.excuse`."""
        if method not in self._excuses:
            self._excuses[method] = self._excuse(evidence, method)
        return self._excuses[method]

    def _excuse(self, evidence: Evidence, method: str) -> Excuse:
        """How much of a method's error rounding may have made, and how that is known, in words.

        Rounding is proved to be the cause where the method's own formula is right; it excuses a few digits then, or
        what its literals cost. Where a formula cannot be read, an error is excused that is no more than rounding of the
        saved values may cost at this very point.
        """
        truth = evidence.truth
        is_number = math.isfinite(evidence.answers[method])
        if truth is None or not (is_number or self.point.is_beyond_reach):
            return Excuse(None)
        if method == "symbolic" and is_number and (truth.road == BOTH_ROADS or self._is_confirmed(evidence)):
            # SymPy's own formula is one of the two roads: it encloses the truth. What saved values cost is no excuse:
            # it is had from the engine's own rules, which SymPy is here to check.
            return Excuse(
                FEW_DIGITS * evidence.allowed, "its formula, in balls, encloses the truth: rounding is the cause"
            )
        subject = self.point.subject(method)
        return Excuse(None) if subject is None else self._excuse_of(subject, method, evidence, truth)

    def _is_confirmed(self, evidence: Evidence) -> bool:
        """Whether SymPy's form needs only more bits to enclose the truth: 1 - tanh**2 in its tails takes a thousand."""
        needed = evidence.allowed / NEEDED
        if self.known is None or not 0 < needed < math.inf:
            return False
        return self.known.confirms(self.block.name, self.index, needed, is_gradient=not evidence.is_value)

    def _excuse_of(self, subject: Subject, method: str, evidence: Evidence, truth: Enclosure) -> Excuse:
        """The same for other people's code."""
        error = evidence.error(method)
        at = self.point.inputs, self.point.upstream, self.block.name, self.index
        saved, few = evidence.allowed + self.saved(evidence), FEW_DIGITS * evidence.allowed
        found = subject.formula(*at[:2]).read(*at[2:], truth, evidence.answers[method])
        if found.cause is Cause.FORMULA_WRONG:
            return Excuse(None, found.sentence)
        if found.cause is Cause.FORMULA_RIGHT:
            most = max(saved, few, found.literals)
            where = subject.formula(*at[:2]).range_left() if error > most and self.point.is_beyond_reach else ""
            if where:
                self.point.context.note(LEFT_RANGE)
                said = f"proved: its formula is right, and leaves the range of floats on the way, in {where}"
                return Excuse(math.inf, f"{said}, where inputs are as small as here")
            return Excuse(most if math.isfinite(error) else None, found.sentence)
        if error <= saved:
            return Excuse(saved, "no more than rounding of the values that a backward pass starts from may cost here")
        if error > math.sqrt(evidence.unit) * abs(truth.midpoint):
            return Excuse(None)  # more than half of the digits: there is nothing to be excused
        found = subject.neighbourhoods.compared(self.point.context.reference, *at)
        return Excuse(0.0 if found.cause is Cause.NOISE else None, found.sentence)


def _as_subject(case: Case, method: Differentiator) -> Subject:
    """A framework as a subject: nobody can run its formula in balls, but its errors can be compared with each other."""
    names, outputs = tuple(case.graph.inputs), case.graph.outputs

    def gradient(*values: Any, upstream: Any) -> dict[str, Any]:
        seeds = {outputs[0]: upstream} if len(outputs) == 1 else upstream
        given = {name: np.asarray(value)[None] for name, value in zip(names, values, strict=True)}
        found = method.differentiate(given, {name: np.asarray(seed)[None] for name, seed in seeds.items()})
        return {name: g[0] for name, g in found.gradients.items()}

    return Subject(Interface.of(case), gradient)

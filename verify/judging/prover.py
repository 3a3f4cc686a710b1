"""Holding the rows of single points against the certified reference, each method alone.

Up to :data:`MOST_ENTRIES` rows a point are proved one by one. Where a case is larger, a seeded sample of the entries
is, and each variable's gradient as a whole along seeded directions: the sum of its entries with signs drawn at
random, which a single series through the graph encloses.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from flint import arb
from numpy.typing import NDArray

from verify.case.case import Case
from verify.graph.derivative import Differentiator
from verify.graph.interpret import Values, dtype_of
from verify.graph.taylor import precision
from verify.judging.context import Context
from verify.judging.power import STRONG
from verify.judging.proof import NEEDED, Proof, prove
from verify.judging.rows import Block
from verify.judging.underflow import too_large, underflow
from verify.methods.central import usual_step
from verify.numbers.streams import stream
from verify.records import SUBJECT, VERDICTS, Unproved, Verdict, further_methods, unravel
from verify.subjects.formula import Cause
from verify.subjects.interface import Interface
from verify.subjects.subject import Subject
from verify.truth.reference import Enclosure, Enclosures
from verify.truth.step_bounds import PointSteps

Array = NDArray[Any]

MOST_ENTRIES = 2_000
"""Rows of one point that are still proved one by one."""

SAMPLED = 32
"""Entries of each variable that are proved one by one where there are more."""

DIRECTIONS = 3
"""Directions along which a variable's gradient is proved as a whole then."""

MOST_NUMBERS = 100_000
"""Numbers in a graph from which on a run in balls takes too long: nothing is proved there."""


MOST_STEP_WORK = 30_000
"""Numbers in the graph, times rows whose central differences get a proved bound (about a second of a case); later rows
keep an estimate."""

SAVED = 4.0
"""Times what rounding of the saved values moves to first order: as many roundings as a textbook formula has of them."""

FEW_DIGITS = 2.0**10
"""Times what is allowed: digits that a formula may lose which is proved to be right."""

HUGE = 1e12
"""An upstream gradient beyond this, or below one over it, was drawn for its size; a fault shows at others too."""

GOOD_STEP = 2.0**-20
"""A step that may cost more than this part of the gradient gives way to the best one there is."""


class Prover:
    """The certified look at one point; every row of a proved point carries what is known of it."""

    def __init__(
        self,
        context: Context,
        inputs: Mapping[str, Array],
        upstream: Mapping[str, Array],
        floats: Values,
        *,
        own: bool,
        saved: Callable[[], Mapping[str, Array]],
        lost: str = "",
    ) -> None:
        """``inputs`` and ``upstream`` hold one point (P = 1), ``floats`` the values of all nodes there.

        ``own`` says whether the point is the case's own, ``saved`` gives by variable what rounding of saved values may
        cost there ``(*shape)``, and ``lost`` says why the floats have no value on the way, empty where they have one.
        """
        self.context = context
        self.inputs, self.upstream = inputs, upstream
        self.floats = floats
        self.steps: PointSteps | None = None
        self.own, self.saved, self.lost = own, saved, lost
        size = max((float(np.max(np.abs(g), initial=0.0)) for g in upstream.values()), default=1.0)
        self.is_artificial = not own and SUBJECT in context.methods and not 1 / HUGE <= size <= HUGE
        """Whether the upstream gradient is of a size that was chosen to see what leaves the range of floats."""
        info = np.finfo(dtype_of(inputs))
        self.unit, self.smallest, self.tiny = float(info.eps) / 2, float(info.smallest_subnormal), float(info.tiny)
        self.too_large = context.numbers > MOST_NUMBERS

    def prove(
        self, point: int, blocks: Sequence[Block], allowed: Sequence[Array], step_errors: Sequence[Array]
    ) -> None:
        """Judges all rows of one point; ``allowed`` and ``step_errors`` give each block's bounds ``(n,)``."""
        if self.too_large:
            self.context.note("too many numbers to be run in balls: not proved, the methods are only compared")
            self.context.unproved[Unproved.TOO_LARGE] += sum(block.verdict.shape[1] for block in blocks)
            return
        entries = sum(block.verdict.shape[1] for block in blocks)
        is_sampled = entries > MOST_ENTRIES
        known = self.context.reference.enclose(self.inputs, self.upstream, taylor_only=is_sampled)
        text = self.context.texts.number
        if known.disputed:
            for block in blocks:
                block.judge((point,), Verdict.DISPUTED, False, text(known.disputed), text("the op table"))
            return
        for block, room, step in zip(blocks, allowed, step_errors, strict=True):
            count = block.verdict.shape[1]
            chosen = range(count)
            if is_sampled and count > SAMPLED:
                rng = stream(0, "proved entries", point, count)
                chosen = sorted(rng.choice(count, SAMPLED, replace=False).tolist())  # type: ignore[assignment]
                self._prove_directions(known, block, point, room, step, rng)
                what = f"{block.name}: proved along {DIRECTIONS} directions, and {SAMPLED} of {count:,} entries"
                self.context.note(f"{what} one by one")
            for entry in chosen:
                self.prove_row(known, block, (point, entry), float(room[entry]), float(step[entry]))

    # ------------------------------------------------------------------------------------------------ entry by entry

    def prove_row(self, known: Enclosures, block: Block, where: tuple[int, int], room: float, step: float) -> None:
        """Judges one row, which may be off by ``room``, and central by ``step`` more if no bound of it is proved."""
        truth = self.enclosed(known, block, where[1], room)
        if truth.lacks is not None:
            self.context.unproved[truth.lacks] += 1
        block.reference[where], block.radius[where] = truth.midpoint, truth.radius
        block.road[where] = self.context.texts.number(truth.road)
        if not math.isfinite(room):
            self._judge_unbounded(block, where, truth)
        elif truth.reason:
            self._judge_unknown(known, block, where, truth)
        else:
            # The truth's own size counts too: an engine that is wrong gives a bound that is too small.
            room = max(room, self._least(truth))
            step = self._settle_step(block, where, truth, room, step)
            self._judge_known(known, block, where, truth, room, step)

    def _judge_known(
        self, known: Enclosures, block: Block, where: tuple[int, int], truth: Enclosure, room: float, step: float
    ) -> None:
        """Judges a row whose truth is enclosed, and whose answers may be off by so much."""
        answers = {method: float(column[where]) for method, column in block.values.items()}
        proof = prove(answers, truth, room, step)
        block.allowed[where], block.step_error[where] = room, step
        for method, error in proof.errors.items():
            block.errors[method][where] = error
        self._judge(known, block, where, truth, self._judged(block, proof), room)
        is_weak = room > abs(truth.midpoint) / STRONG
        if is_weak and SUBJECT not in block.values and not self._held(block, truth, where, self._least(truth)).is_right:
            self._take_back(known, block, where)  # of methods that agree; a subject is within what is allowed, or not
        if self.context.case.accuracy == "relative":
            self._judge_digits(block, where, truth)

    def _least(self, truth: Enclosure) -> float:
        """What a right answer may always be off by: its own rounding, and that of every node."""
        return self.context.growth * self.unit * abs(truth.midpoint) + 16 * self.smallest

    @staticmethod
    def _judged_methods(block: Block) -> tuple[str, ...]:
        return (SUBJECT,) if SUBJECT in block.values else tuple(block.values)

    @staticmethod
    def _judged(block: Block, proof: Proof) -> Proof:
        """What counts of a proof: a subject is judged alone, whatever the methods beside it say."""
        return proof.only(SUBJECT) if SUBJECT in block.values else proof

    def _held(self, block: Block, truth: Enclosure, where: tuple[int, int], room: float) -> Proof:
        """The answers but central's, which has a step, held against the truth."""
        answers = {method: float(column[where]) for method, column in block.values.items() if method != "central"}
        return self._judged(block, prove(answers, truth, room, 0.0))

    # --------------------------------------------------------------------------------------- where floats fall short

    def _judge_unbounded(self, block: Block, where: tuple[int, int], truth: Enclosure) -> None:
        """Where rounding on the way is unbounded, answers that agree may be wrong together: only a proof lets pass."""
        if SUBJECT not in block.values and VERDICTS[block.verdict[where]] is not Verdict.PASS:
            return
        least = self._least(truth)
        held = self._held(
            block, truth, where, self.excused(block, where[1], least) if SUBJECT in block.values else least
        )
        wrong = "" if truth.reason or held.is_right else self._wrong_formula(block, where, truth)
        if wrong:
            text = self.context.texts.number
            block.judge(where, Verdict.FAIL, False, text(f"{held.sentence}; {wrong}"), text(SUBJECT))
        elif truth.reason or not held.is_right:
            reason = "rounding on the way is unbounded, and the answers are not close to the truth"
            self._undecided(block, where, self.lost or truth.reason or reason)
        else:
            block.judge(where, Verdict.PASS, True, 0)

    def _wrong_formula(self, block: Block, where: tuple[int, int], truth: Enclosure) -> str:
        """That a subject's formula is wrong, whatever becomes of floats there; empty where that is not proved."""
        subject = self._subject(SUBJECT) if SUBJECT in block.values else None
        if subject is None or not math.isfinite(block.values[SUBJECT][where]):
            return ""
        index = unravel(where[1], self.context.graph.shape(block.name))
        found = subject.read(self.inputs, self.upstream, block.name, index, truth)
        return found.sentence if found.cause is Cause.FORMULA_WRONG else ""

    def _judge_unknown(self, known: Enclosures, block: Block, where: tuple[int, int], truth: Enclosure) -> None:
        if SUBJECT in block.values:
            self._undecided(block, where, truth.reason)
        elif truth.ball is None:
            self._take_back(known, block, where)

    def _take_back(self, known: Enclosures, block: Block, where: tuple[int, int]) -> None:
        """Takes a PASS back that says nothing, because floats became zero on the way where the truth is not."""
        nodes = known.nodes() if VERDICTS[block.verdict[where]] is Verdict.PASS else None
        reason = underflow(self.context.graph, self.floats, nodes) if nodes else ""
        if reason and not self._is_less_than_floats_hold(known, block, where[1]):
            self._undecided(block, where, reason)

    def _is_less_than_floats_hold(self, known: Enclosures, block: Block, entry: int) -> bool:
        """Whether the truth is 0 for floats whatever they do, as for a score that a softmax masks.

        There large terms cancel to less than the smallest float: an answer of their rounding's size is no worse than 0.
        """
        truth = self.enclosed(known, block, entry, NEEDED * self.smallest)
        return not truth.reason and abs(truth.midpoint) + truth.radius <= 16 * self.smallest

    def out_of_range(self, known: Enclosures) -> str:
        """Where floats leave their range on the way, empty where they do not."""
        nodes = known.nodes()
        if nodes is None:
            return ""
        return underflow(self.context.graph, self.floats, nodes) or too_large(self.floats, known.slopes())

    def _undecided(self, block: Block, where: tuple[int, int], reason: str) -> None:
        block.judge(where, Verdict.UNDECIDED, not self.own, self.context.texts.number(reason))

    # --------------------------------------------------------------------------------------------- central's own step

    def _settle_step(
        self, block: Block, where: tuple[int, int], truth: Enclosure, room: float, estimate: float
    ) -> float:
        """What central may be off by: its estimate where it keeps to it, else what is proved of the best step."""
        context = self.context
        if block.quantity == "value" or "central" not in self._judged_methods(block):
            return estimate
        off = truth.error(float(block.values["central"][where]))[1]
        if off <= room + estimate and estimate <= GOOD_STEP * abs(truth.midpoint):
            return estimate  # a bound would prove what is seen, at some hundred times the cost
        if context.step_work >= MOST_STEP_WORK:
            return estimate
        context.step_work += context.numbers
        index = unravel(where[1], context.graph.shape(block.name))
        if self.steps is None:
            self.steps = context.steps.point(self.inputs, self.upstream)
        steps = self.steps.at(block.name, index)
        h = block.step[where]
        if not math.isfinite(h):
            h = float(usual_step(np.asarray([steps.x]))[0])
        bound = steps.bounds([steps.x - steps.dtype.type(h)], [steps.x + steps.dtype.type(h)])[0]
        if not bound.reason and bound.total <= GOOD_STEP * abs(truth.midpoint):
            return bound.total
        # Nobody is accused by a step that is at fault: where the answer it gave is off, a better step gives another.
        better, least = steps.best()
        if not least.total < bound.total:
            return bound.total
        step = np.full(1, better, dtype=steps.dtype)
        block.values["central"][where] = context.central.difference(
            block.name, index, self.inputs, self.upstream, step
        )[0]
        block.step[where] = better
        return least.total

    def enclosed(self, known: Enclosures, block: Block, entry: int, allowed: float) -> Enclosure:
        """The enclosure of one row, much narrower than what is allowed."""
        index = unravel(entry, self.context.graph.shape(block.name))
        ask = known.gradient if block.quantity == "gradient" else known.value
        needed = allowed / NEEDED  # of a subnormal number that is 0, and no radius is as small
        return ask(block.name, index, needed if 0 < needed < math.inf else None)

    def _judge(
        self, known: Enclosures, block: Block, where: tuple[int, int], truth: Enclosure, proof: Proof, room: float
    ) -> None:
        """Puts what is proved in the place of what was estimated, where it differs."""
        before = VERDICTS[block.verdict[where]]
        text = self.context.texts.number
        if not proof.wrong:
            if proof.is_right and before is not Verdict.PASS:
                block.judge(where, Verdict.PASS, True, 0)
            elif not proof.is_right and SUBJECT in block.values:
                self._undecided(block, where, "the enclosure of the truth is too wide to tell")
            return
        errors = {method: truth.error(float(block.values[method][where]))[1] for method in proof.wrong}
        if self.is_artificial and max(errors.values()) <= math.sqrt(self.unit) * abs(truth.midpoint):
            reason = f"{proof.sentence}; an upstream gradient of this size shows overflow and underflow alone"
            block.judge(where, Verdict.IMPRECISE, True, text(reason), text(", ".join(proof.wrong)))
            return
        rooms = {method: self._excuse(method, block, where, truth, room) for method in proof.wrong}
        faults = [method for method, (excused, _) in rooms.items() if excused is None]
        why = "".join(f"; {sentence}" for _, sentence in rooms.values() if sentence)
        answers = [float(block.values[method][where]) for method in proof.wrong]
        if any(abs(answer) < self.tiny or not math.isfinite(answer) for answer in answers):
            left = self.out_of_range(known)
            why += f"; floats leave their range at this point: {left}" if left else ""
        if faults:
            block.judge(where, Verdict.FAIL, False, text(proof.sentence + why), text(", ".join(faults)))
            return
        is_excused = all(errors[method] <= (excused or 0.0) for method, (excused, _) in rooms.items())
        passes = is_excused and self.context.case.accuracy != "relative"
        digits = f"; {lost_digits(max(errors.values()), truth.midpoint, self.unit)}"
        suspects = text(", ".join(proof.wrong))
        block.judge(where, Verdict.IMPRECISE, passes, text(proof.sentence + why + digits), suspects)

    def _excuse(
        self, method: str, block: Block, where: tuple[int, int], truth: Enclosure, room: float
    ) -> tuple[float | None, str]:
        """How much of a method's error rounding may have made, None for a fault; and how that is known, in words.

        Rounding is proved to be the cause where the method's own formula is right; it excuses a few digits then, or
        what its literals cost. Where a formula cannot be read, an error is excused that is no more than rounding of the
        saved values may cost at this very point.
        """
        if not math.isfinite(block.values[method][where]):
            return None, ""
        if method == "symbolic":
            # SymPy's own formula is one of the two roads: it encloses the truth.
            is_right = truth.road == "symbolic+taylor"
            sentence = "its formula, in balls, encloses the truth: rounding is the cause"
            return (max(self.excused(block, where[1], room), FEW_DIGITS * room), sentence) if is_right else (None, "")
        subject = self._subject(method)
        return (None, "") if subject is None else self._excuse_of(subject, method, block, where, truth, room)

    def _excuse_of(
        self, subject: Subject, method: str, block: Block, where: tuple[int, int], truth: Enclosure, room: float
    ) -> tuple[float | None, str]:
        """The same for other people's code."""
        index = unravel(where[1], self.context.graph.shape(block.name))
        found = subject.read(self.inputs, self.upstream, block.name, index, truth)
        if found.cause is Cause.FORMULA_WRONG:
            return None, found.sentence
        saved = self.excused(block, where[1], room)
        if found.cause is Cause.FORMULA_RIGHT:
            return max(saved, FEW_DIGITS * room, found.literals), found.sentence
        error = truth.error(float(block.values[method][where]))[1]
        if error <= saved:
            return saved, "no more than rounding of the values that a backward pass starts from may cost here"
        if error > math.sqrt(self.unit) * abs(truth.midpoint):
            return None, ""  # more than half of the digits: there is nothing to be excused
        found = subject.compared(self.context.reference, self.inputs, self.upstream, block.name, index)
        return (0.0 if found.cause is Cause.NOISE else None), found.sentence

    def _subject(self, method: str) -> Subject | None:
        """Whoever answers for a column that is not one of ours; frameworks are made subjects once."""
        known = self.context.methods.get(method)
        if isinstance(known, Subject):
            return known
        if known is None or not further_methods([method]):
            return None
        subjects = self.context.subjects
        if method not in subjects:
            subjects[method] = _as_subject(self.context.case, known)
        found = subjects[method]
        return found if isinstance(found, Subject) else None

    def excused(self, block: Block, entry: int, room: float) -> float:
        """What an answer may be off by that loses digits as every backward pass does which saves rounded values."""
        if block.quantity == "value":
            return room
        return room + SAVED * float(self.saved()[block.name].ravel()[entry])

    def _judge_digits(self, block: Block, where: tuple[int, int], truth: Enclosure) -> None:
        """Where the case asks for every digit, rounding on the way is no excuse for losing them."""
        if VERDICTS[block.verdict[where]] is not Verdict.PASS:
            return
        proof = self._held(block, truth, where, self._least(truth))
        if proof.wrong:
            text = self.context.texts.number
            reason = f"{proof.sentence}; rounding is the cause, and the case asks for relative accuracy"
            block.judge(where, Verdict.IMPRECISE, False, text(reason), text(", ".join(proof.wrong)))

    # --------------------------------------------------------------------------------------------- along directions

    def _prove_directions(
        self, known: Enclosures, block: Block, point: int, room: Array, step: Array, rng: np.random.Generator
    ) -> None:
        """Holds the sum of all entries, with random signs, against the slope along that direction."""
        if block.quantity == "value" or not np.all(np.isfinite(room)):
            return
        shape = self.context.graph.shape(block.name)
        lacks: Unproved | None = None
        for _ in range(DIRECTIONS):
            signs = rng.choice([-1.0, 1.0], len(room))
            total, steps = float(room.sum()), float(step.sum())
            truth = known.along(block.name, signs.reshape(shape), total / NEEDED)
            if truth.reason:
                lacks = lacks or truth.lacks
                continue
            block.road[point] = self.context.texts.number(f"taylor, {DIRECTIONS} directions")
            for method in self._judged_methods(block):
                column = block.values[method]
                with precision(truth.bits):
                    answer = sum((arb(float(x) * s) for x, s in zip(column[point], signs, strict=True)), arb(0))
                    distance = float(abs(answer - truth.ball).abs_lower()) if answer.is_finite() else math.inf
                most = total + (steps if method == "central" else 0.0)
                if distance <= most:
                    continue
                text = self.context.texts.number
                reason = f"proved: along a direction {method} is off by {distance:.3g} and may be off by {most:.3g}"
                excused = self._excused_along(block, method, signs, truth, total)
                verdict = Verdict.FAIL if excused is None else Verdict.IMPRECISE
                passes = excused is not None and distance <= excused and self.context.case.accuracy != "relative"
                block.judge((point,), verdict, passes, text(reason), text(method))
        if lacks is not None:
            self.context.unproved[lacks] += len(room) - SAMPLED

    def _excused_along(self, block: Block, method: str, signs: Array, truth: Enclosure, total: float) -> float | None:
        """What a method may be off by along a direction for rounding's sake, as entry by entry; None for a fault."""
        saved = total + SAVED * float(self.saved()[block.name].sum())
        subject = self._subject(method)
        if subject is None:
            return None
        formula = subject.along(self.inputs, self.upstream, block.name, signs)
        if formula is None:
            return saved
        return max(saved, FEW_DIGITS * total) if formula.overlaps(truth.ball) else None


def _as_subject(case: Case, method: Differentiator) -> Subject:
    """A framework as a subject: nobody can run its formula in balls, but its errors can be compared with each other."""
    names, outputs = tuple(case.graph.inputs), case.graph.outputs

    def gradient(*values: Any, upstream: Any) -> dict[str, Any]:
        seeds = {outputs[0]: upstream} if len(outputs) == 1 else upstream
        given = {name: np.asarray(value)[None] for name, value in zip(names, values, strict=True)}
        found = method.differentiate(given, {name: np.asarray(seed)[None] for name, seed in seeds.items()})
        return {name: g[0] for name, g in found.gradients.items()}

    return Subject(Interface.of(case), gradient)


def lost_digits(error: float, truth: float, unit: float) -> str:
    """How many decimal digits an error costs, in words.

    >>> lost_digits(1e-10, 1.0, 2.0**-53)
    '6.0 digits are lost'
    """
    if not truth:
        return "all digits are lost"
    # By logarithms: a quotient of subnormal numbers may divide by zero.
    return f"{min(math.log10(error) - math.log10(abs(truth)), 0.0) - math.log10(unit):.1f} digits are lost"

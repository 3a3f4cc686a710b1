"""The close look: what the screen does not let pass is settled by bounds, by the reference, or by its subgradients.

The engine is run in balls, which bounds its rounding; SymPy's form is enclosed by the reference; central differences
look for a better step and estimate their error; undecided branches are judged by their subgradients; and where
methods still differ, :mod:`verify.judging.audit` finds the op row that is wrong. The bounds are estimates of each
method's own error. They are kept in one place, :meth:`Examination.run` passes them on, so that a certified reference
can take their part.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from verify.case.case import Expected
from verify.graph.interpret import Values, constant_balls, dtype_of
from verify.judging.audit import Finding, audit
from verify.judging.branches import is_lost
from verify.judging.compare import LEAST_UNITS, compare
from verify.judging.conditioning import conditioning
from verify.judging.context import Context
from verify.judging.corners import Corners
from verify.judging.kinks import KinkedGroup, KinkJudge, Site, kink_record, remedy, singular_nodes, undecided_sites
from verify.judging.proof import NEEDED
from verify.judging.prover import MOST_NUMBERS, SAVED, Prover
from verify.judging.rows import CODE, Block, OpenRow, Suspicion, within
from verify.judging.saved_values import rounding_of_saved_values
from verify.judging.slopes_beside import has_slope
from verify.judging.underflow import steep
from verify.methods.central import Refined
from verify.methods.reverse import Reverse
from verify.numbers.balls import Balls
from verify.ops import OPERAND_NAMES, OPS
from verify.places.points import Batch
from verify.records import (
    SEVERITY,
    SUBJECT,
    VERDICTS,
    WRONG_FIGURE,
    Verdict,
    format_entry,
    further_methods,
    unravel,
)
from verify.truth.reference import Enclosure, Enclosures

Array = NDArray[Any]

MOST_EXAMINED_KINKS = 1024
"""Kinked points of a case that are judged by their corners; the others are UNDECIDED, and said to be."""

NOT_PROVED = "apart from the engine, and not proved: other rows are farther apart"
"""Why a subject's row is undecided for which there was no time."""

MOST_LISTED_KINKS = 16
"""Kinked points of a case whose corners are kept for the report."""

MOST_ENCLOSED = 512
"""Points of a case at which rows that seem to differ are enclosed; the others are judged by the floats alone."""

MOST_SUSPICIOUS_WORK = 100_000
"""Numbers in the graph, times suspicious rows of a subject that are proved, beside those of points that always are
(a second of a case or less); the others are UNDECIDED, and said to be."""

MOST_PROVED_FAULTS = 64
"""Rows of a variable that are proved to be wrong before others are called so by what the engine says."""

PLAIN = 2.0**20
"""Times what is allowed: an error so large is no rounding of anybody's."""

MOST_WITHOUT_NUMBER = 64
"""Rows of a variable in one batch without an answer that is a number, of which it is asked whether there is a slope."""

MOST_AUDITED = 3
"""Failing points of a batch at which the op rows are held against mpmath."""

ACCUSING = [CODE[verdict] for verdict in (Verdict.FAIL, Verdict.CONVENTION, Verdict.DISPUTED)]
"""The verdicts that say somebody is wrong, where a row does not pass."""

BallRun = tuple[Values, dict[str, Any]]
"""A forward pass in balls, and the gradients that the backward pass gave."""


@dataclass(slots=True)
class Examination:
    """The close look at some points of a batch."""

    context: Context
    batch: Batch
    points: Array
    blocks: Sequence[Block]
    flagged: Sequence[Suspicion]
    expected: Mapping[tuple[str, str, int], Expected]
    noise: Array | None
    proved: Array
    """``(S,)`` bool: the points at which every row is held against the certified reference."""
    inputs: dict[str, Array] = field(init=False)
    upstream: dict[str, Array] = field(init=False)
    values: Values = field(init=False)
    saved: dict[str, Array] | None = field(init=False, default=None)
    lost: list[Array] = field(init=False)
    """For each node the entries without a value, though somebody reads them."""
    as_lengths: set[int] = field(init=False, default_factory=set)
    """Points at which a root of squares is 0: the engine's own chain of ops has no slope there, the length has."""

    def run(self) -> None:
        """Judges every flagged row."""
        context = self.context
        self.inputs, self.upstream = self.batch.take(self.points)
        self.values = context.engine.program.run(self.inputs)
        self.lost = is_lost(context.graph, self.values)
        usable = self._defined()
        self._judge_lost(np.flatnonzero(~usable).tolist())
        if not usable.any():
            return
        run = self._run_in_balls(self.inputs, self.upstream, 0.0)
        bounds = [self._allowed(block, run) for block in self.blocks]
        for block, allowed in zip(self.blocks, bounds, strict=True):
            block.allowed[self.points] = allowed
        sites = self._sites(run[0], usable)
        kinked = [p for p, found in sites.items() if found or self._is_cancelled(p, bounds)]
        smooth = usable.copy()
        smooth[kinked] = False
        open_rows: list[OpenRow] = []
        # A subject's suspicious rows are proved in a moment, unless the case is too large for that.
        is_proved = SUBJECT in context.methods and context.numbers <= MOST_NUMBERS
        for block, suspicion, allowed in zip(() if is_proved else self.blocks, self.flagged, bounds, strict=False):
            judged_here = smooth if block.quantity == "gradient" else usable
            open_rows += self._unsettled(block, suspicion, judged_here, allowed)
        self._judge_open(open_rows)
        self._prove(np.flatnonzero(self.proved & smooth), bounds)
        if is_proved:
            self._prove_suspicious(smooth & ~self.proved, bounds)
        room = MOST_EXAMINED_KINKS - context.kinks_examined
        context.kinks_examined += len(kinked[:room])
        for p in kinked[:room]:
            self._examine_kink(p, sites[p], bounds)
        for p in kinked[room:]:
            reason = f"one of more than {MOST_EXAMINED_KINKS} kinked points of this case"
            self._write_undecided(p, reason, but_values=True)
        self._hold_against_expected(bounds, smooth)
        self._name_suspects()
        if SUBJECT in context.methods:
            self._judge_no_numbers(usable)

    def _judge_no_numbers(self, usable: Array) -> None:
        """A subject that answers no number fails where the function has slopes, though no enclosure tells them."""
        text = self.context.texts.number
        for block in (block for block in self.blocks if block.name in self.inputs and SUBJECT in block.values):
            answers, verdicts = block.values[SUBJECT][self.points], block.verdict[self.points]
            undecided = usable[:, None] & ~np.isfinite(answers) & (verdicts == CODE[Verdict.UNDECIDED])
            if "reverse" in block.values:  # what overflows for the engine too is too large for any float
                undecided &= np.isfinite(block.values["reverse"][self.points])
            for p, entry in np.argwhere(undecided)[:MOST_WITHOUT_NUMBER].tolist():
                index = unravel(entry, self.context.graph.shape(block.name))
                point = self._take(slice(p, p + 1))
                if has_slope(self.context.engine.program, *point, block.name, index):
                    reason = (
                        f"measured: the answer is {answers[p, entry]}, the function has a slope by its values beside"
                    )
                    block.judge((self.points[p], entry), Verdict.FAIL, False, text(reason), text(SUBJECT))

    def _sites(self, balls: Values, usable: Array) -> dict[int, list[Site]]:
        """The undecided branches of each usable point; ``balls`` are those of the case's own graph."""
        central, graph = self.context.central, self.context.opened
        points = np.flatnonzero(usable).tolist()
        if not central.kinks and not singular_nodes(graph):
            return {p: [] for p in points}
        if graph is not self.context.graph:
            exact = {name: Balls.exact(value) for name, value in self.inputs.items()}
            balls = central.program.run(exact, constants=constant_balls(graph, dtype_of(self.inputs)))
        return {p: undecided_sites(central, balls, p) for p in points}

    # --------------------------------------------------------------------------------------------- without a value

    def _defined(self) -> Array:
        """The points ``(S,)`` at which every node has a finite value."""
        defined = np.ones(len(self.points), dtype=bool)
        for lost in self.lost:
            defined &= ~lost.reshape(len(lost), -1).any(axis=1)
        return defined

    def _judge_lost(self, points: Sequence[int]) -> None:
        """Judges points at which the floats have no value somewhere on the way.

        A gradient under test may go another way and have the right answer there: it is held against the truth, where
        there is one. What it misses is the point's fault and not its own, so nobody is called wrong.
        """
        context = self.context
        is_held = SUBJECT in context.methods and context.numbers <= MOST_NUMBERS
        for number, p in enumerate(points):
            faults = self._forward_faults(p) if number < MOST_AUDITED else []
            if faults:
                self._write_failed(p, faults)
                continue
            reason = self._undefined(p)
            self._write_undecided(p, reason)
            if not is_held or context.suspicious_work >= MOST_SUSPICIOUS_WORK:
                continue
            known = context.reference.enclose(*self._take(slice(p, p + 1)), taylor_only=True)
            if known.nodes() is None:
                continue
            prover = self._prover(p, lost=reason)
            for block in self.blocks:
                for entry in range(block.verdict.shape[1]):
                    prover.prove_row(known, block, (int(self.points[p]), entry), math.inf, 0.0)
                    context.suspicious_work += context.numbers

    def _undefined(self, p: int) -> str:
        """Why the function has no finite value at a point, empty where it has one."""
        for position, node in enumerate(self.context.graph.nodes):
            lost = self.lost[position]
            if not np.any(lost[p] if len(lost) > 1 else lost[0]):
                continue
            place = f" (stage {node.stage!r}, line {node.line})" if node.stage else ""
            if node.kind == "input":
                return f"input {node.op!r} is not finite"
            if node.kind == "constant":
                return f"the constant {node.op} is beyond {self.values[position].dtype}{place}"
            for name, interval, arg in zip(OPERAND_NAMES, OPS[node.op].domain, node.args, strict=False):
                operand = np.ravel(self._at(arg, p))
                outside = operand[~interval.contains(operand)]
                if len(outside):
                    return f"outside the domain of {node.op}: {interval.text(name)}, got {outside[0]:.6g}{place}"
            return f"{OPS[node.op].undefined or 'intermediate overflow or undefined value'} in {node.op}{place}"
        return ""

    def _forward_faults(self, p: int) -> list[Finding]:
        """Ops that have a finite value at their operands and did not give it."""
        return [finding for finding in audit(self.context.graph, self._floats(p)) if finding.column == "forward"]

    def _floats(self, p: int) -> Values:
        """The values of all nodes at one point ``(1, *shape)``."""
        return [x if len(x) == 1 else x[p : p + 1] for x in self.values]

    def _write_failed(self, p: int, faults: Sequence[Finding]) -> None:
        text = self.context.texts.number
        reason = text("no finite value; mpmath contradicts " + "; ".join(map(str, faults)))
        suspect = text(" and ".join(finding.suspect for finding in faults))
        for block in self.blocks:
            block.judge((self.points[p],), Verdict.FAIL, False, reason, suspect)

    def _at(self, position: int, p: int) -> Array:
        value: Array = self.values[position]
        here: Array = value[p] if len(value) > 1 else value[0]
        return here

    def _write_undecided(self, p: int, reason: str, *, but_values: bool = False) -> None:
        number = self.context.texts.number(reason)
        for block in self.blocks:
            if but_values and block.quantity == "value":
                continue  # values have no kinks: they were compared
            block.judge((self.points[p],), Verdict.UNDECIDED, not self.batch.own, number)

    # -------------------------------------------------------------------------------------------------- the bounds

    def _run_in_balls(
        self, inputs: Mapping[str, Array], upstream: Mapping[str, Array], spread: float, engine: Reverse | None = None
    ) -> BallRun:
        """The engine's forward and backward pass in balls, from inputs widened by ``spread`` times themselves."""
        engine = self.context.engine if engine is None else engine
        constants = constant_balls(engine.program.graph, dtype_of(inputs))
        values = engine.program.run({name: Balls.widened(x, spread) for name, x in inputs.items()}, constants=constants)
        # As balls too: a sum of plain upstream gradients would round and nobody would know.
        return values, engine.backward(values, {name: Balls.exact(seed) for name, seed in upstream.items()})

    def _ball(self, run: BallRun, block: Block) -> Balls:
        values, gradients = run
        ball = (
            gradients[block.name] if block.quantity == "gradient" else values[self.context.graph.position(block.name)]
        )
        return ball if isinstance(ball, Balls) else Balls.exact(ball)

    def _allowed(self, block: Block, run: BallRun, points: int | None = None) -> Array:
        """What float methods may be off by ``(S, n)``: twice the engine's own rounding, and the value's on every node.

        Unbounded where the enclosure is: something on the way overflows.
        """
        ball, dtype = self._ball(run, block), dtype_of(self.inputs)
        unit, smallest = float(np.finfo(dtype).eps) / 2, float(np.finfo(dtype).smallest_subnormal)
        with np.errstate(all="ignore"):
            allowed = 2 * ball.radius + np.abs(ball.value) * (self.context.growth * unit) + 16 * smallest
        allowed = np.where(np.isnan(allowed), np.inf, allowed).reshape(len(allowed), -1)
        return np.broadcast_to(allowed, (points or len(self.points), block.verdict.shape[1]))

    def _conditioning(self, at: Array) -> list[Array]:
        """How far a unit roundoff of every input moves each row ``(len(at), n)``, times the rounding of every node.

        What :meth:`_allowed` leaves out, because it costs many more runs and few rows need it.
        """
        inputs, upstream = self._take(at)
        unit = float(np.finfo(dtype_of(inputs)).eps) / 2
        keys = [(block.name, block.quantity) for block in self.blocks]
        sensitive = conditioning(self.context.engine, self.context.rounded_inputs, keys, inputs, upstream)
        if sensitive is None:
            spread = self._spread_in_balls(inputs, upstream, unit)
        else:
            spread = [unit * size for size in sensitive]
        shapes = [(len(at), block.verdict.shape[1]) for block in self.blocks]
        return [np.broadcast_to(self.context.growth * size, shape) for size, shape in zip(spread, shapes, strict=True)]

    def _spread_in_balls(self, inputs: Mapping[str, Array], upstream: Mapping[str, Array], unit: float) -> list[Array]:
        """The same from above, in two runs however many entries there are: what widened inputs add to the radii."""
        narrow, wide = (self._run_in_balls(inputs, upstream, spread) for spread in (0.0, unit))
        found = []
        for block in self.blocks:
            a, b = self._ball(narrow, block).radius, self._ball(wide, block).radius
            with np.errstate(all="ignore"):
                found.append(np.where(np.isfinite(a), b - a, np.inf).reshape(len(a), -1))
        return found

    def _take(self, at: Array | slice) -> tuple[dict[str, Array], dict[str, Array]]:
        """Inputs and upstream gradients of some of the examined points."""
        inputs = {name: x[at] for name, x in self.inputs.items()}
        return inputs, {name: x[at] for name, x in self.upstream.items()}

    # ---------------------------------------------------------------------------------------------- smooth points

    def _unsettled(self, block: Block, suspicion: Suspicion, here: Array, allowed: Array) -> list[OpenRow]:
        """Lets rows pass whose methods agree within what the balls allow; returns the others."""
        found: list[OpenRow] = []
        rows = suspicion.rows & here[:, None]
        for entry in np.flatnonzero(rows.any(axis=0)):
            at = np.flatnonzero(rows[:, entry])
            room, error = _finite(allowed[at, entry]), suspicion.granted[at, entry]
            badly_stepped = suspicion.steps[at, entry]
            if badly_stepped.any():
                refined = self._refined(block, int(entry), at[badly_stepped])
                error[badly_stepped] = refined.error if refined else 0.0
                suspicion.granted[at, entry] = error
            columns = {method: column[self.points[at], entry] for method, column in block.values.items()}
            agree = np.full(len(at), len(columns) > 1)
            with np.errstate(all="ignore"):
                for first, second in self.context.pairs:
                    if first in columns and second in columns:
                        least = self.context.growth * 2.0**-53 * np.abs(columns[second])
                        bound = np.maximum(room, least) + (error if second == "central" else 0.0)
                        agree &= np.isfinite(bound) & within(np.abs(columns[first] - columns[second]), bound)
            found += [
                OpenRow(block, int(at[i]), int(entry), float(allowed[at[i], entry]), float(error[i]))
                for i in np.flatnonzero(~agree)
            ]
        return found

    def _judge_open(self, rows: Sequence[OpenRow]) -> None:
        """Judges the rows whose methods seem to differ, with SymPy's form enclosed by the certified reference."""
        if not rows:
            return
        at = sorted({row.p for row in rows})
        conditioning = self._conditioning(np.array(at))
        room = MOST_ENCLOSED - self.context.points_enclosed
        self.context.points_enclosed += len(at[:room])
        known = {p: self.context.reference.enclose(*self._take(slice(p, p + 1))) for p in at[:room]}
        place = {p: i for i, p in enumerate(at)}
        for row in rows:
            moved = next(x for x, block in zip(conditioning, self.blocks, strict=True) if block is row.block)
            allowed = row.allowed + float(moved[place[row.p], row.entry])
            self._judge_row(row, allowed, self._symbolic_truth(row, known.get(row.p), allowed))
            if row.p in known and not known[row.p].disputed:
                self._settle_open(row, known[row.p], allowed)

    def _settle_open(self, row: OpenRow, known: Enclosures, allowed: float) -> None:
        """Where a row does not simply pass, the truth counts, not what the methods say of each other."""
        where = (int(self.points[row.p]), row.entry)
        if VERDICTS[row.block.verdict[where]] is Verdict.PASS:
            return
        prover = self._prover(row.p)
        if math.isinf(allowed) and VERDICTS[row.block.verdict[where]] is Verdict.UNDECIDED:
            reason = prover.out_of_range(known)
            if reason:
                row.block.reason[where] = self.context.texts.number(reason)
        elif math.isfinite(allowed) and not self.proved[row.p]:  # what is to be proved has its turn anyway
            prover.prove_row(known, row.block, where, allowed, row.step_error)

    def _symbolic_truth(self, row: OpenRow, known: Enclosures | None, allowed: float) -> float:
        """What SymPy's form exactly is, NaN where it was not enclosed or where the other road contradicts it."""
        if known is None or known.disputed:
            return math.nan
        truth = self._enclosed(known, row.block, row.entry, allowed)
        return truth.midpoint if not truth.reason and truth.road == "symbolic+taylor" else math.nan

    def _enclosed(self, known: Enclosures, block: Block, entry: int, allowed: float) -> Enclosure:
        """The enclosure of one row, much narrower than what is allowed."""
        index = unravel(entry, self.context.graph.shape(block.name))
        ask = known.gradient if block.quantity == "gradient" else known.value
        needed = allowed / NEEDED  # of a subnormal number that is 0, and no radius is as small
        return ask(block.name, index, needed if 0 < needed < math.inf else None)

    def _prove(self, at: Array, bounds: Sequence[Array]) -> None:
        """Holds every row of some smooth points against the certified reference."""
        conditioning = self._conditioning(at) if len(at) else []
        for number, p in enumerate(at.tolist()):
            allowed = [bound[p] + moved[number] for bound, moved in zip(bounds, conditioning, strict=True)]
            steps = [suspicion.granted[p] for suspicion in self.flagged]
            self._prover(p).prove(int(self.points[p]), self.blocks, allowed, steps)

    def _prove_suspicious(self, here: Array, bounds: Sequence[Array]) -> None:
        """Proves a subject's rows that are apart from the engine, as far as the work goes.

        The farthest row of each variable at each point comes first, then the second farthest of each, and so on.
        """
        rows = []
        for b, block in enumerate(self.blocks):
            distance = np.where(here[:, None], self._distances(block), 0.0)
            for p in np.flatnonzero((distance > 1).any(axis=1)).tolist():
                farthest = np.argsort(-distance[p], kind="stable")[: np.count_nonzero(distance[p] > 1)]
                rows += [(rank, p, b, entry) for rank, entry in enumerate(farthest.tolist())]
        if not rows:
            return
        rows.sort()
        context = self.context
        room = max(MOST_SUSPICIOUS_WORK - context.suspicious_work, 0) // context.numbers + 1
        context.suspicious_work += context.numbers * min(room, len(rows))
        at = sorted({p for _, p, _, _ in rows[:room]})
        place = {p: i for i, p in enumerate(at)}
        conditioning = self._conditioning(np.array(at))
        provers = {p: self._prover(p) for p in at}
        known = {p: context.reference.enclose(*self._take(slice(p, p + 1)), taylor_only=True) for p in at}
        # Point by point, since a subject remembers what it found at the last one.
        for _, p, b, entry in sorted(rows[:room], key=lambda row: row[1]):
            block, where = self.blocks[b], (int(self.points[p]), entry)
            allowed = float(bounds[b][p, entry] + conditioning[b][place[p], entry])
            if context.proved_faults[block.name] >= MOST_PROVED_FAULTS and self._fails_plainly(block, where, allowed):
                continue
            provers[p].prove_row(known[p], block, where, allowed, 0.0)
            context.proved_faults[block.name] += VERDICTS[block.verdict[where]] is Verdict.FAIL
        reason = context.texts.number(NOT_PROVED)
        for _, p, b, entry in rows[room:]:
            where = (int(self.points[p]), entry)
            self.blocks[b].judge(where, Verdict.UNDECIDED, not self.batch.own, reason)

    def _fails_plainly(self, block: Block, where: tuple[int, int], allowed: float) -> bool:
        """Lets a row fail without a proof, where many of its kind are proved to be wrong and it is off by far more."""
        engine = block.values.get("reverse")
        if engine is None:
            return False
        answer, near = float(block.values[SUBJECT][where]), float(engine[where])
        distance = abs(answer - near)
        if not PLAIN * allowed < distance < math.inf or distance < math.sqrt(2.0**-53) * abs(near):
            return False
        text = self.context.texts.number
        more = f"{MOST_PROVED_FAULTS} other rows are proved to be wrong"
        reason = f"measured: off by {distance:.3g} from reverse, allowed {allowed:.3g}; {more}"
        block.judge(where, Verdict.FAIL, False, text(reason), text(SUBJECT))
        return True

    def _distances(self, block: Block) -> Array:
        """How far a subject is from the engine ``(S, n)``, in units of what is always allowed; inf if it is nowhere."""
        answer, engine = block.values[SUBJECT][self.points], block.values.get("reverse")
        if engine is None:
            return np.full(answer.shape, np.inf)
        unit = float(np.finfo(dtype_of(self.inputs)).eps) / 2
        least = np.abs(engine[self.points]) * (self.context.growth * unit)
        with np.errstate(all="ignore"):
            distance = np.abs(answer - engine[self.points]) / least
        distance = np.where(answer == engine[self.points], 0.0, np.where(np.isnan(distance), np.inf, distance))
        return np.where(np.isfinite(answer), distance, np.inf)  # two that are infinite agree on nothing

    def _prover(self, p: int, lost: str = "") -> Prover:
        at, saved = self._take(slice(p, p + 1)), partial(self._saved_at, p)
        return Prover(self.context, *at, self._floats(p), own=self.batch.own, saved=saved, lost=lost)

    def _saved_at(self, p: int) -> dict[str, Array]:
        """What rounding of saved values may cost each variable at one point; had for all points where one asks."""
        if self.saved is None:
            unit = float(np.finfo(dtype_of(self.inputs)).eps) / 2
            self.saved = rounding_of_saved_values(self.context.engine, self.values, self.upstream, unit)
        return {name: cost[p] if len(cost) > 1 else cost[0] for name, cost in self.saved.items()}

    def _refined(self, block: Block, entry: int, at: Array) -> Refined | None:
        """Central differences with a better step; None for values, which have no step."""
        if block.quantity == "value" or self.noise is None:
            return None
        points = self.points[at]
        return self.context.refine(block, entry, points, self.noise[points], *self._take(at))

    def _judge_row(self, row: OpenRow, allowed: float, exact: float) -> None:
        context = self.context
        block, where = row.block, (self.points[row.p], row.entry)
        answers = {method: float(column[where]) for method, column in block.values.items()}
        judged = compare(answers, exact, allowed, row.step_error)
        passes = judged.verdict is Verdict.PASS
        if judged.verdict is Verdict.UNDECIDED:
            passes = not self.batch.own
        elif judged.verdict is Verdict.IMPRECISE:
            room = self._prover(row.p).excused(block, row.entry, allowed)
            passes = context.case.accuracy != "relative" and abs(answers["symbolic"] - exact) <= room
        text = self.context.texts.number
        block.judge(where, judged.verdict, passes, text(judged.reason), text(judged.suspect))
        if judged.exact_shown:
            block.values["symbolic"][where] = exact

    # -------------------------------------------------------------------------------------------------------- kinks

    def _examine_kink(self, p: int, sites: Sequence[Site], bounds: Sequence[Array]) -> None:
        context = self.context
        if set(context.methods) <= {"central"}:
            reason = f"tie of {self._ties(sites) or 'a root'}: central alone says nothing at a kink"
            self._write_undecided(p, reason, but_values=True)
            return
        kink = KinkJudge(context.kink_taylor, *self._take(slice(p, p + 1)), sites)
        exact = kink.exact_argument()
        aside = f" (branch argument within rounding, exact {exact:.2g})" if exact else ""
        ties = f"tie of {self._ties(sites)}{aside}" if sites else "a root whose infinite slope cancels"
        bounds = self._bounds_at_kink(p, bounds)
        conditioning = self._conditioning(np.array([p]))
        gradients = {block.name: i for i, block in enumerate(self.blocks) if block.quantity == "gradient"}
        names = [item.name for item in context.case.real_inputs if item.name in gradients]
        for group in (names, *([stage] for stage in context.graph.stages if stage in gradients)):
            members = [gradients[name] for name in group]
            slack = np.concatenate([_finite(bounds[i][p] + conditioning[i][0]) for i in members])
            if SUBJECT in context.methods and context.case.accuracy != "relative":
                # Beside a corner as anywhere, a right backward pass may lose what rounding of saved values costs.
                saved = self._saved_at(p)
                slack = slack + SAVED * np.concatenate([saved[self.blocks[i].name].ravel() for i in members])
            corners = kink.corners(group)
            if group is names:
                self._list_corners(p, group, corners, ties)
            self._judge_group(p, [self.blocks[i] for i in members], corners, slack, sites, ties)

    def _is_cancelled(self, p: int, bounds: Sequence[Array]) -> bool:
        """Whether the engine has no bound at a point, though all that is left where lengths are in sight is smooth."""
        context = self.context
        return context.kink_engine is not context.engine and any(np.isinf(allowed[p]).any() for allowed in bounds)

    def _bounds_at_kink(self, p: int, bounds: Sequence[Array]) -> Sequence[Array]:
        """The bounds, at a point where the graph as it is written has none or a wide one: a length that is 0 there."""
        context = self.context
        is_bounded = all(np.isfinite(allowed[p]).all() for allowed in bounds)
        if context.kink_engine is context.engine or (is_bounded and not context.has_lengths):
            return bounds
        inputs, upstream = self._take(slice(p, p + 1))
        run = self._run_in_balls(inputs, upstream, 0.0, context.kink_engine)
        if not is_bounded:
            self.as_lengths.add(p)
        found = [allowed.copy() for allowed in bounds]
        for block, allowed in zip(self.blocks, found, strict=True):
            if block.quantity == "gradient":
                allowed[p] = self._allowed(block, run, points=1)[0]
                block.allowed[self.points[p]] = allowed[p]
        return found

    def _list_corners(self, p: int, group: Sequence[str], corners: Corners, ties: str) -> None:
        """Keeps the corners by all inputs for the report, for the first few points."""
        graph, known = self.context.graph, self.context.kinks
        point = int(self.batch.ids[self.points[p]])
        if not corners.unknown and group and len(known) < MOST_LISTED_KINKS:
            entries = [name + format_entry(entry) for name in group for entry in np.ndindex(graph.shape(name))]
            known.setdefault(point, kink_record(point, ties, entries, corners))

    def _ties(self, sites: Sequence[Site]) -> str:
        """What is undecided, in words."""
        nodes = [self.context.opened.nodes[site.node] for site in sites]
        return " and ".join(dict.fromkeys(f"{n.origin or n.op} in stage {n.stage!r}" for n in nodes))

    def _judge_group(
        self, p: int, members: Sequence[Block], corners: Corners, slack: Array, sites: Sequence[Site], ties: str
    ) -> None:
        """Judges one point's gradient by some variables together, as given by the engine.

        A step that straddles the kink averages slopes, and SymPy takes halves at a tie however branches are nested:
        central and symbolic accuse nobody here, and only where the engine does not run is SymPy accused.
        """
        answered = members[0].values
        methods = [method for method in (SUBJECT, "reverse", "symbolic") if method in answered]
        alone = [] if SUBJECT in answered else [m for m in further_methods(answered) if m in answered]
        methods = methods or alone[:1]
        if not methods:
            return
        everybody = dict.fromkeys((*methods, *alone))
        vectors = {m: np.concatenate([block.values[m][self.points[p]] for block in members]) for m in everybody}
        accused = methods[0]
        # An answer that is wrong gives a bound that is wrong: the corners' own size counts too.
        unit = float(np.finfo(dtype_of(self.inputs)).eps) / 2
        with np.errstate(all="ignore"):
            size = np.maximum(np.abs(corners.low), np.abs(corners.high))
        slack = np.fmax(slack, self.context.growth * unit * _finite(size))
        nodes = [self.context.opened.nodes[site.node] for site in sites]
        ops = list(dict.fromkeys(node.origin or node.op for node in nodes))
        declared = any(op in self.context.case.ties for op in ops)
        within, inside = corners.within(vectors[accused], slack), corners.contains(vectors[accused], slack)
        mended = ""
        if accused == "reverse" and not inside and not (declared and within[corners.known].all()):
            point, names = self._take(slice(p, p + 1)), [block.name for block in members]
            mended = remedy(self.context.graph, names, point, ops, lambda gradient: corners.contains(gradient, slack))
        kinked = KinkedGroup(
            accused,
            corners,
            corners.smooth(slack),
            within,
            inside,
            declared,
            ties,
            [m for m in methods[1:] if not corners.contains(vectors[m], slack)],
            mended,
        )
        judged = [kinked]
        for m in alone:
            if m != accused:  # a framework has conventions of its own, and may be wrong where the engine is right
                theirs = corners.within(vectors[m], slack), corners.contains(vectors[m], slack)
                judged.append(replace(kinked, accused=m, within=theirs[0], inside=theirs[1], declared=False, remedy=""))
        start = 0
        for block in members:
            for entry in range(block.verdict.shape[1]):
                lost = not any(np.isfinite(vector[start + entry]) for vector in vectors.values())
                self._judge_kinked(block, p, entry, judged, start + entry, lost)
            start += block.verdict.shape[1]

    def _judge_kinked(
        self, block: Block, p: int, entry: int, judged: Sequence[KinkedGroup], place: int, lost: bool
    ) -> None:
        """Judges one entry at a kink by the worst of those that are judged there; ``lost``: nobody has a number."""
        found = [(kinked, *kinked.verdict(place)) for kinked in judged]
        kinked, verdict, reason = max(found, key=lambda one: (SEVERITY.index(one[1]), not one[0].declared))
        if lost:
            verdict, reason = Verdict.UNDECIDED, f"{kinked.ties}: the slope is infinite or undefined here"
        elif verdict is Verdict.FAIL and math.isinf(block.allowed[self.points[p], entry]):
            verdict, reason = Verdict.UNDECIDED, f"{kinked.ties}: the rounding on the way is unbounded"
        passes = verdict in {Verdict.PASS, Verdict.SUBGRADIENT}
        if verdict is Verdict.CONVENTION:
            passes = kinked.declared
        elif verdict is Verdict.UNDECIDED:
            passes = not self.batch.own
        suspect = "" if passes or verdict is Verdict.UNDECIDED else kinked.accused
        text = self.context.texts.number
        block.judge((self.points[p], entry), verdict, passes, text(reason), text(suspect))

    # ----------------------------------------------------------------------------------------- figures from outside

    def _hold_against_expected(self, bounds: Sequence[Array], smooth: Array) -> None:
        """The case file's figures, held against each method before anything else counts."""
        if not self.expected or SUBJECT in self.context.methods:
            return  # a gradient under test is held against the truth, and the methods beside it accuse nobody
        for block, known in zip(self.blocks, bounds, strict=True):
            for p, point in enumerate(self.points):
                expected = self.expected.get((block.quantity, block.name, int(point)))
                if expected is None:
                    continue
                slack = _finite(known[p]) + expected.half_unit.ravel()
                for entry, figure in enumerate(expected.figures.ravel()):
                    self._hold_entry(block, p, entry, float(figure), float(slack[entry]), bool(smooth[p]), expected)

    def _hold_entry(
        self, block: Block, p: int, entry: int, figure: float, slack: float, smooth: bool, expected: Expected
    ) -> None:
        where = (self.points[p], entry)
        if VERDICTS[block.verdict[where]] is Verdict.UNDECIDED:
            return
        if self._contradicts_truth(block, where, figure, float(expected.half_unit.ravel()[entry])):
            truth = f"{float(block.reference[where]):.17g}"
            sentence = f"line {expected.line} expects {figure!r}, the truth is {truth}"
            number = self.context.texts.number
            block.judge(where, Verdict.FAIL, False, number(sentence), number(WRONG_FIGURE))
            return
        step = self._step_error(block, p, entry) if smooth and block.quantity == "gradient" else 0.0
        off = []
        theirs = further_methods(block.values)
        for method, column in block.values.items():
            if not smooth and method != "reverse":
                continue  # at a kink the figure states a convention, and only the engine can follow one
            if method in theirs and len(theirs) < len(block.values):
                continue  # a framework is held against the truth, and may lose digits that the figure has
            room = slack + (step if method == "central" else 0.0) + LEAST_UNITS * 2.0**-53 * abs(figure)
            if not abs(float(column[where]) - figure) <= room:
                off.append(method)
        if not off:
            return
        found = ", ".join(f"{method} {float(block.values[method][where])!r}" for method in off)
        reason = f"line {expected.line} expects {figure!r}, got {found}"
        # Central may be too coarse to tell that a figure is wrong: the others speak for all.
        asked = {m for m in block.values if (smooth and m != "central") or m == "reverse"}
        everybody = (asked - set(theirs) or asked) <= set(off)
        suspect = WRONG_FIGURE if everybody else ", ".join(off)
        text = self.context.texts.number
        if everybody and VERDICTS[block.verdict[where]] is Verdict.FAIL:
            # The methods differ among themselves: whoever is wrong there is wrong here.
            suspect = self.context.texts.all()[block.suspect[where]]
        block.judge(where, Verdict.FAIL, False, text(reason), text(suspect))

    def _contradicts_truth(self, block: Block, where: tuple[Any, ...], figure: float, half_unit: float) -> bool:
        """Whether a case that asks for every digit gives a figure that the certified reference excludes."""
        if self.context.case.accuracy != "relative" or not np.isfinite(block.radius[where]):
            return False
        room = half_unit + float(block.radius[where]) + self.context.growth * 2.0**-53 * abs(figure)
        return abs(float(block.reference[where]) - figure) > room

    def _step_error(self, block: Block, p: int, entry: int) -> float:
        if "central" not in block.values:
            return 0.0
        refined = self._refined(block, entry, np.array([p]))
        return float(refined.error[0]) if refined else 0.0

    # -------------------------------------------------------------------------------------------------- who is wrong

    def _name_suspects(self) -> None:
        """Puts the op row that mpmath contradicts in place of a mere method, where there is one."""
        failed = [_accused(block)[self.points].any(axis=1) for block in self.blocks]
        failing = np.flatnonzero(np.any(failed, axis=0))
        findings: dict[str, Finding] = {}
        # A subject answers for itself: what it is held against is the reference, which no op row of ours decides alone.
        for p in failing[: 0 if SUBJECT in self.context.methods else MOST_AUDITED]:
            for finding in audit(self.context.graph, self._floats(p)):
                findings.setdefault(finding.suspect, finding)
        if not findings:
            self._excuse_range(failing)
            return
        text = self.context.texts.number
        suspect = text(" and ".join(findings))
        sentence = "; mpmath contradicts " + "; ".join(map(str, findings.values()))
        known = self.context.texts.all()
        for block in self.blocks:
            for row in zip(*np.nonzero(_accused(block)), strict=True):
                block.suspect[row] = suspect
                block.reason[row] = text(known[block.reason[row]] + sentence)

    def _excuse_range(self, failing: Array) -> None:
        """Where no op row is wrong, answers that are not finite may be so because floats left their range."""
        for p in failing.tolist():
            if p in self.as_lengths and SUBJECT in self.context.methods:
                continue  # the subject answered for the length, and the engine's answers are not asked
            at = self.points[p]
            rows = [(block, np.flatnonzero(_is_lost(block, at))) for block in self.blocks]
            if not any(len(entries) for _, entries in rows):
                continue
            known = self.context.reference.enclose(*self._take(slice(p, p + 1)))
            reason = self._prover(p).out_of_range(known) or steep(self.context.graph, self._floats(p))
            if not reason and any(b.quantity == "value" and not np.isfinite(b.allowed[at]).all() for b in self.blocks):
                reason = "rounding on the way forward is unbounded"
            for block, entries in rows if reason else ():
                number = self.context.texts.number(reason)
                block.judge((at, entries), Verdict.UNDECIDED, not self.batch.own, number)


def _is_lost(block: Block, at: int) -> Array:
    """The rows ``(n,)`` of one point that are called wrong and have an answer that is not finite, or no bound.

    A subject answers for itself: without a bound it is called wrong by its own formula alone, which no floats excuse.
    """
    accused: Array = _accused(block)[at]
    if SUBJECT in block.values:
        return np.asarray(accused & ~np.isfinite(block.values[SUBJECT][at]))
    answers = [column[at] for method, column in block.values.items() if method != "central"]
    lost: Array = accused & (~np.isfinite(np.sum(answers, axis=0)) | ~np.isfinite(block.allowed[at]))
    return lost


def _accused(block: Block) -> Array:
    """The rows ``(P, n)`` whose gradient is wrong, not merely unknown or imprecise."""
    wrong: Array = ~block.passes & np.isin(block.verdict, ACCUSING)
    return wrong


def _finite(allowed: Array) -> Array:
    return np.where(np.isfinite(allowed), allowed, 0.0)

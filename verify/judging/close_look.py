"""The close look: evidence of the rows that the screen does not let pass, for the rules to judge.

The engine is run in balls, which bounds its rounding; SymPy's form is enclosed by the reference; central differences
look for a better step and estimate their error; undecided branches are held against their subgradients; and where
somebody is called wrong, :mod:`verify.judging.audit` finds the op row that is. What a row comes to is said by
:mod:`verify.judging.rules` alone.
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
from verify.graph.interpret import Values
from verify.judging.agreement import asked_pairs, compare
from verify.judging.allowance import finite
from verify.judging.audit import Finding, audit
from verify.judging.branches import is_lost
from verify.judging.conditioning import conditioning
from verify.judging.context import Context
from verify.judging.corners import Corners
from verify.judging.evidence import Evidence, Figure, Kinked
from verify.judging.kinks import KinkedGroup, KinkJudge, Site, kink_record, remedy, singular_nodes, undecided_sites
from verify.judging.point_evidence import DIRECTIONS, FEW_DIGITS, SAMPLED, SAVED, PointEvidence, RowEvidence
from verify.judging.rows import CODE, Block, Judgement, Suspicion, within
from verify.judging.rules import judged
from verify.judging.saved_values import rounding_of_saved_values
from verify.judging.slopes_beside import has_slope
from verify.judging.underflow import steep
from verify.methods.reverse import Reverse
from verify.numbers.balls import Balls
from verify.numbers.streams import stream
from verify.ops import OPERAND_NAMES, OPS, Interval
from verify.places.points import Batch
from verify.records import SUBJECT, format_entry, further_methods, unravel
from verify.truth.reference import BOTH_ROADS, Enclosures
from verify.words import Unproved, Verdict

Array = NDArray[Any]

MOST_NUMBERS = 100_000
"""Numbers in a graph from which on a run in balls takes too long: nothing is proved there."""

MOST_ENTRIES = 2_000
"""Rows of one point that are still proved one by one."""

MOST_LISTED_KINKS = 16
"""Kinked points of a case whose corners are kept for the report."""

MOST_PROVED_FAULTS = 64
"""Rows of a variable that are proved to be wrong before others are called so by what the engine says."""

PLAIN = 2.0**20
"""Times what is allowed: an error so large is no rounding of anybody's."""

MOST_WITHOUT_NUMBER = 64
"""Rows of a variable in one batch without an answer that is a number, of which it is asked whether there is a slope."""

MOST_AUDITED = 3
"""Failing points of a batch at which the op rows are held against mpmath."""

RowAt = tuple[int, int, int]
"""Number of the block, position of the point among the examined ones, entry."""

BallRun = tuple[Values, dict[str, Balls]]
"""A forward pass in balls, and the gradients that the backward pass gave."""


@dataclass(slots=True)
class OpenRow:
    """A row that no bound has settled, and how far the methods may be apart there."""

    allowed: float
    """What the float methods may be off by; inf where the enclosure is unbounded."""
    step_error: float
    """What central may be off by on top of it."""
    compared: Judgement = field(default_factory=lambda: Judgement(Verdict.PASS))
    """What the methods came to against each other."""


@dataclass(slots=True)
class CloseLook:
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
    bounds: list[Array] = field(init=False, default_factory=list)
    """For each block what float methods may be off by ``(S, n)``."""
    saved: dict[str, Array] | None = field(init=False, default=None)
    lost: list[Array] = field(init=False)
    """For each node the entries without a value, though somebody reads them."""
    smooth: Array = field(init=False)
    """``(S,)`` bool: the points at which everything has a value and no branch is undecided."""
    as_lengths: set[int] = field(init=False, default_factory=set)
    """Points at which a root of squares is 0: the engine's own chain of ops has no slope there, the length has."""
    seen: dict[int, PointEvidence] = field(init=False, default_factory=dict)
    figures: dict[RowAt, Figure] = field(init=False, default_factory=dict)
    """The case file's figures that no row was held against yet."""
    accused: list[tuple[Block, int, Any, Evidence]] = field(init=False, default_factory=list)
    """Rows by which somebody is called wrong: block, position of the point, place in the block, evidence."""

    def run(self) -> None:
        """Judges every flagged row."""
        context = self.context
        self.inputs, self.upstream = self.batch.take(self.points)
        self.values = context.engine.program.run(self.inputs)
        self.lost = is_lost(context.graph, self.values)
        usable = np.ones(len(self.points), dtype=bool)
        for lost in self.lost:
            usable &= ~lost.reshape(len(lost), -1).any(axis=1)
        self._look_at_lost(np.flatnonzero(~usable).tolist())
        if not usable.any():
            return
        run = self._run_in_balls(self.inputs, self.upstream, 0.0)
        self.bounds = [self._allowed(block, run) for block in self.blocks]
        for block, allowed in zip(self.blocks, self.bounds, strict=True):
            block.allowed[self.points] = allowed
        sites = self._sites(run[0], usable)
        self.smooth = usable.copy()
        kinked = {p: found for p, found in sites.items() if found or self._is_cancelled(p)}
        self.smooth[[*kinked]] = False
        self._gather_figures(usable)
        # A subject's suspicious rows are proved in a moment, unless the case is too large for that.
        is_alone = SUBJECT in context.methods and context.numbers <= MOST_NUMBERS
        rows = {} if is_alone else self._open_rows(usable)
        self._look_at_open(rows)
        self._look_at_proved(rows)
        if is_alone:
            self._look_at_suspicious(self.smooth & ~self.proved)
        self._look_at_kinks(kinked)
        for b, p, entry in [*self.figures]:
            self._settle(p, b, entry, self._row(p, b, entry).facts())
        self._look_for_culprits()
        if SUBJECT in context.methods:
            self._look_beside(usable)

    # ------------------------------------------------------------------------------------------------- what all share

    def _point(self, p: int) -> PointEvidence:
        """One examined point, to be asked."""
        if p not in self.seen:
            number = int(self.points[p])
            noise = None if self.noise is None else self.noise[[number]]
            at, floats = self._take(slice(p, p + 1)), self._floats(p)
            saved = partial(self._saved_at, p)
            self.seen[p] = PointEvidence(self.context, number, *at, floats, saved, noise, own=self.batch.own)
        return self.seen[p]

    def _row(self, p: int, b: int, entry: int, known: Enclosures | None = None) -> RowEvidence:
        return RowEvidence(self._point(p), self.blocks[b], entry, known)

    @property
    def _entries(self) -> int:
        """Rows of one point."""
        return sum(block.verdict.shape[1] for block in self.blocks)

    def _settle(self, p: int, b: int, entry: Any, evidence: Evidence) -> Judgement:
        """Judges one row, or with a slice for its entry all that know no more than the point does."""
        if isinstance(entry, int):
            evidence.figure = self.figures.pop((b, p, entry), None)
            evidence.is_smooth = evidence.figure is None or bool(self.smooth[p])
        elif self.figures:  # where nothing can be said no figure is held against it
            self.figures = {row: figure for row, figure in self.figures.items() if row[:2] != (b, p)}
        judgement = self._write(self.blocks[b], (self.points[p], entry), evidence)
        if judgement.accuses:
            self.accused.append((self.blocks[b], p, entry, evidence))
        return judgement

    def _write(self, block: Block, where: tuple[Any, Any], evidence: Evidence) -> Judgement:
        judgement, rule = judged(evidence)
        block.write(where, judgement, rule, self.context.texts, own=self.batch.own)
        return judgement

    def _take(self, at: Array | slice) -> tuple[dict[str, Array], dict[str, Array]]:
        """Inputs and upstream gradients of some of the examined points."""
        inputs = {name: x[at] for name, x in self.inputs.items()}
        return inputs, {name: x[at] for name, x in self.upstream.items()}

    def _floats(self, p: int) -> Values:
        """The values of all nodes at one point ``(1, *shape)``."""
        return [x if len(x) == 1 else x[p : p + 1] for x in self.values]

    def _saved_at(self, p: int) -> dict[str, Array]:
        """What rounding of saved values may cost each variable at one point; had for all points where one asks."""
        if self.saved is None:
            unit = self.context.allowance(self.inputs).unit
            self.saved = rounding_of_saved_values(self.context.engine, self.values, self.upstream, unit)
        return {name: cost[p] if len(cost) > 1 else cost[0] for name, cost in self.saved.items()}

    def _sites(self, balls: Values, usable: Array) -> dict[int, list[Site]]:
        """The undecided branches of each usable point; ``balls`` are those of the case's own graph."""
        central, graph = self.context.central, self.context.opened
        points = np.flatnonzero(usable).tolist()
        if not central.kinks and not singular_nodes(graph):
            return {p: [] for p in points}
        if graph is not self.context.graph:
            balls = central.program.in_balls(self.inputs)
        return {p: undecided_sites(central, balls, p) for p in points}

    def _gather_figures(self, usable: Array) -> None:
        """The case file's figures, for each row that they are about.

        A gradient under test is held against the truth, and the methods beside it accuse nobody.
        """
        if not self.expected or SUBJECT in self.context.methods:
            return
        for b, (block, bounds) in enumerate(zip(self.blocks, self.bounds, strict=True)):
            for p in np.flatnonzero(usable).tolist():
                expected = self.expected.get((block.quantity, block.name, int(self.points[p])))
                if expected is not None:
                    halves = expected.half_unit.ravel().tolist()
                    slack = finite(bounds[p]) + expected.half_unit.ravel()
                    rows = zip(expected.figures.ravel().tolist(), slack.tolist(), halves, strict=True)
                    for entry, (figure, room, half) in enumerate(rows):
                        self.figures[b, p, entry] = Figure(figure, expected.line, room, half)

    # --------------------------------------------------------------------------------------------- without a value

    def _look_at_lost(self, points: Sequence[int]) -> None:
        """Points at which the floats have no value somewhere on the way.

        A gradient under test may go another way and have the right answer there: it is held against the truth, where
        there is one. What it misses is the point's fault and not its own, so nobody is called wrong.
        """
        context = self.context
        is_held = SUBJECT in context.methods and context.numbers <= MOST_NUMBERS
        for number, p in enumerate(points):
            found = audit(context.graph, self._floats(p)) if number < MOST_AUDITED else []
            broken = [finding for finding in found if finding.column == "forward"]
            reason = self._undefined(p)
            known = None
            if is_held and not broken and context.budget.suspicious > 0:
                known = self._point(p).enclose(taylor_only=True)
            for b, block in enumerate(self.blocks):
                if known is None or known.nodes() is None:
                    evidence = Evidence(own=self.batch.own, undefined=reason, broken=broken)
                    self._settle(p, b, slice(None), evidence)
                    continue
                for entry in range(block.verdict.shape[1]):
                    row = self._row(p, b, entry, known)
                    self._settle(p, b, entry, row.facts(allowed=math.inf, undefined=reason, held=True))
                    context.budget.suspicious -= context.numbers

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
            floats = self._floats(p)
            for name, interval, arg in zip(OPERAND_NAMES, OPS[node.op].domain, node.args, strict=False):
                operand = np.ravel(floats[arg])
                outside = operand[~interval.contains(operand)]
                if len(outside):
                    said = f"outside the domain of {node.op}: {interval.text(name)}, got {outside[0]:.6g}{place}"
                    remedy = self._moved_inside(node.op, interval, arg, outside[0]) if self.batch.own else ""
                    return f"{remedy}; {said}" if remedy else said
            return f"{OPS[node.op].undefined or 'intermediate overflow or undefined value'} in {node.op}{place}"
        return ""

    def _moved_inside(self, op: str, interval: Interval, position: int, value: float) -> str:
        """What to write where an input itself is given outside of an op's domain; empty where it is none."""
        item = next(
            (item for item in self.context.case.inputs if item.name == self.context.graph.names.get(position)), None
        )
        if item is None:
            return ""
        domain = str(item.domain.within(interval))
        told = f"{item.name} = {value:.6g} is outside {op}'s domain: set {interval.text('at')}"
        return f"{told} and domain {domain if domain[0] == '[' and domain[-1] == ']' else repr(domain)}"

    def _look_beside(self, usable: Array) -> None:
        """A subject that answers no number, where nothing else is known: whether the function has a slope there."""
        for block in (block for block in self.blocks if block.name in self.inputs and SUBJECT in block.values):
            answers, verdicts = block.values[SUBJECT][self.points], block.verdict[self.points]
            undecided = usable[:, None] & ~np.isfinite(answers) & (verdicts == CODE[Verdict.UNDECIDED])
            if "reverse" in block.values:  # what overflows for the engine too is too large for any float
                undecided &= np.isfinite(block.values["reverse"][self.points])
            for p, entry in np.argwhere(undecided)[:MOST_WITHOUT_NUMBER].tolist():
                index = unravel(entry, self.context.graph.shape(block.name))
                if has_slope(self.context.engine.program, *self._take(slice(p, p + 1)), block.name, index):
                    evidence = Evidence({SUBJECT: float(answers[p, entry])}, has_slope=True)
                    self._write(block, (self.points[p], entry), evidence)

    # -------------------------------------------------------------------------------------------------- the bounds

    def _run_in_balls(
        self, inputs: Mapping[str, Array], upstream: Mapping[str, Array], spread: float, engine: Reverse | None = None
    ) -> BallRun:
        """The engine's forward and backward pass in balls, from inputs widened by ``spread`` times themselves."""
        engine = self.context.engine if engine is None else engine
        values = engine.program.in_balls(inputs, spread=spread)
        return values, engine.in_balls(values, upstream)

    def _ball(self, run: BallRun, block: Block) -> Balls:
        values, gradients = run
        if block.quantity == "gradient":
            return gradients[block.name]
        return Balls.of(values[self.context.graph.position(block.name)])

    def _allowed(self, block: Block, run: BallRun, points: int | None = None) -> Array:
        """What float methods may be off by ``(S, n)``."""
        allowed = self.context.allowance(self.inputs).of_ball(self._ball(run, block))
        shape = (points or len(self.points), block.verdict.shape[1])
        return np.broadcast_to(allowed.reshape(len(allowed), -1), shape)

    def _conditioning(self, at: Array) -> list[Array]:
        """How far a unit roundoff of every input moves each row ``(len(at), n)``, times the rounding of every node.

        What :meth:`_allowed` leaves out, because it costs many more runs and few rows need it.
        """
        inputs, upstream = self._take(at)
        allowance = self.context.allowance(inputs)
        keys = [(block.name, block.quantity) for block in self.blocks]
        sensitive = conditioning(self.context.engine, self.context.rounded_inputs, keys, inputs, upstream)
        if sensitive is None:
            spread = self._spread_in_balls(inputs, upstream, allowance.unit)
        else:
            spread = [allowance.unit * size for size in sensitive]
        shapes = [(len(at), block.verdict.shape[1]) for block in self.blocks]
        return [np.broadcast_to(allowance.growth * size, shape) for size, shape in zip(spread, shapes, strict=True)]

    def _spread_in_balls(self, inputs: Mapping[str, Array], upstream: Mapping[str, Array], unit: float) -> list[Array]:
        """The same from above, in two runs however many entries there are: what widened inputs add to the radii."""
        narrow, wide = (self._run_in_balls(inputs, upstream, spread) for spread in (0.0, unit))
        found = []
        for block in self.blocks:
            a, b = self._ball(narrow, block).radius, self._ball(wide, block).radius
            with np.errstate(all="ignore"):
                found.append(np.where(np.isfinite(a), b - a, np.inf).reshape(len(a), -1))
        return found

    # ---------------------------------------------------------------------------------------------- smooth points

    def _open_rows(self, usable: Array) -> dict[RowAt, OpenRow]:
        """The suspicious rows whose methods do not agree within what the balls allow, each with its bounds."""
        rows: dict[RowAt, OpenRow] = {}
        for b, (block, suspicion, allowed) in enumerate(zip(self.blocks, self.flagged, self.bounds, strict=True)):
            here = self.smooth if block.quantity == "gradient" else usable  # values have no kinks
            suspicious = suspicion.rows & here[:, None]
            for entry in np.flatnonzero(suspicious.any(axis=0)).tolist():
                at = np.flatnonzero(suspicious[:, entry])
                error = suspicion.granted[at, entry]
                badly_stepped = suspicion.steps[at, entry]
                if badly_stepped.any():
                    error[badly_stepped] = self._refined(block, entry, at[badly_stepped])
                    suspicion.granted[at, entry] = error
                agree = self._agree(block, entry, at, finite(allowed[at, entry]), error)
                for i in np.flatnonzero(~agree).tolist():
                    rows[b, int(at[i]), entry] = OpenRow(float(allowed[at[i], entry]), float(error[i]))
        return rows

    def _refined(self, block: Block, entry: int, at: Array) -> Any:
        """Gives central a better step, and says what it may be off by then; values have no step."""
        if block.quantity == "value" or self.noise is None:
            return 0.0
        points = self.points[at]
        return self.context.refine(block, entry, points, self.noise[points], *self._take(at)).error

    def _agree(self, block: Block, entry: int, at: Array, room: Array, error: Array) -> Array:
        """The points at which all pairs of methods agree on an entry."""
        columns = {method: column[self.points[at], entry] for method, column in block.values.items()}
        agree = np.full(len(at), len(columns) > 1)
        allowance = self.context.allowance(self.inputs)
        with np.errstate(all="ignore"):
            for first, second in asked_pairs(columns):
                if first in columns and second in columns:
                    bound = np.maximum(room, allowance.relative(columns[second]))
                    bound = bound + (error if second == "central" else 0.0)
                    agree &= np.isfinite(bound) & within(np.abs(columns[first] - columns[second]), bound)
        return agree

    def _look_at_open(self, rows: Mapping[RowAt, OpenRow]) -> None:
        """The rows whose methods seem to differ, with SymPy's form enclosed by the certified reference.

        Where a row does not simply pass, the truth counts, not what the methods say of each other.
        """
        if not rows:
            return
        at = sorted({p for _, p, _ in rows})
        moved, place = self._conditioning(np.array(at)), {p: i for i, p in enumerate(at)}
        known = {p: self._point(p).enclose() for p in at[: self.context.budget.share("enclosed", len(at))]}
        for (b, p, entry), row in rows.items():
            allowed = row.allowed + float(moved[b][place[p], entry])
            here = known.get(p)
            if here is not None and here.disputed:
                here = None
            asked = self._row(p, b, entry, here)
            row.compared = self._compared(asked, allowed, row.step_error)
            is_open = row.compared.verdict is not Verdict.PASS and here is not None
            if is_open and here is not None and math.isinf(allowed) and row.compared.verdict is Verdict.UNDECIDED:
                row.compared = replace(row.compared, reason=self._point(p).out_of_range(here) or row.compared.reason)
            if not self.proved[p] or not self.smooth[p]:  # what is to be proved has its turn anyway
                held = is_open and math.isfinite(allowed) and not self.proved[p]
                facts = asked.facts(allowed=allowed, step_error=row.step_error, compared=row.compared, held=held)
                self._settle(p, b, entry, facts)

    def _compared(self, row: RowEvidence, allowed: float, step_error: float) -> Judgement:
        """What the methods come to against each other, SymPy's with its exact value where the roads agree on it."""
        facts, exact = row.facts(allowed=allowed), math.nan
        if row.known is not None:
            truth = row.enclosed(allowed)
            if not truth.reason and truth.road == BOTH_ROADS:
                exact = truth.midpoint
        found = compare(facts.answers, exact, allowed, step_error, facts.unit)
        if found.verdict is Verdict.IMPRECISE:
            # What saved values cost is had from the engine's own rules, which SymPy is here to check.
            room = allowed if facts.is_value else FEW_DIGITS * allowed
            found = replace(found, passes=not facts.wants_digits and abs(facts.answers["symbolic"] - exact) <= room)
        if len(facts.answers) > 1 and math.isfinite(exact) and not math.isfinite(facts.answers.get("symbolic", exact)):
            row.block.values["symbolic"][row.where] = exact
        return found

    def _look_at_proved(self, rows: Mapping[RowAt, OpenRow]) -> None:
        """Every row of some smooth points, held against the certified reference; in large ones a sample is.

        There each variable's gradient as a whole is held against it too, along seeded directions.
        """
        context, at = self.context, np.flatnonzero(self.proved & self.smooth)
        if not len(at):
            return
        moved = self._conditioning(at)
        for number, p in enumerate(at.tolist()):
            bounds = [(bound[p] + more[number]) for bound, more in zip(self.bounds, moved, strict=True)]
            compared = {(b, entry): row.compared for (b, q, entry), row in rows.items() if q == p}
            known = None
            if context.numbers > MOST_NUMBERS:
                context.note("too many numbers to be run in balls: not proved, the methods are only compared")
                context.unproved[Unproved.TOO_LARGE] += self._entries
            else:
                known = self._point(p).enclose(taylor_only=self._entries > MOST_ENTRIES)
            for b, room in enumerate(bounds):
                self._look_at_block(p, b, known, room, {entry: c for (a, entry), c in compared.items() if a == b})

    def _look_at_block(
        self, p: int, b: int, known: Enclosures | None, room: Array, compared: Mapping[int, Judgement]
    ) -> None:
        """The rows of one variable at one point, held against the reference unless that disputes itself."""
        block, steps = self.blocks[b], self.flagged[b].granted[p]
        held: set[int] = set()
        more: dict[str, Any] = {}
        if known is not None and known.disputed:
            more["disputed"] = known.disputed
        elif known is not None and self._entries > MOST_ENTRIES and len(room) > SAMPLED:
            rng = stream(0, "proved entries", int(self.points[p]), len(room))
            held = {*rng.choice(len(room), SAMPLED, replace=False).tolist()}
            more["along"] = self._point(p).along(known, block, room, steps, rng)
            what = f"{block.name}: proved along {DIRECTIONS} directions, and {SAMPLED} of {len(room):,} entries"
            self.context.note(f"{what} one by one")
        elif known is not None:
            held = {*range(len(room))}
        for entry in range(len(room)) if any(more.values()) else sorted({*held, *compared}):
            bounds = {"allowed": float(room[entry]), "step_error": float(steps[entry])} if entry in held else {}
            asked, said = self._row(p, b, entry, known), compared.get(entry)
            self._settle(p, b, entry, asked.facts(compared=said, held=entry in held, **bounds, **more))

    def _look_at_suspicious(self, here: Array) -> None:
        """A subject's rows that are apart from the engine, as far as the work for proofs goes.

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
        room = max(context.budget.suspicious, 0) // context.numbers + 1
        context.budget.suspicious -= context.numbers * min(room, len(rows))
        at = sorted({p for _, p, _, _ in rows[:room]})
        moved, place = self._conditioning(np.array(at)), {p: i for i, p in enumerate(at)}
        known = {p: self._point(p).enclose(taylor_only=True) for p in at}
        # Point by point, since a subject remembers what it found at the last one.
        for _, p, b, entry in sorted(rows[:room], key=lambda row: row[1]):
            block = self.blocks[b]
            allowed = float(self.bounds[b][p, entry] + moved[b][place[p], entry])
            row, has_many = self._row(p, b, entry, known[p]), context.proved_faults[block.name] >= MOST_PROVED_FAULTS
            plainly = _plainly_off(row.facts(), allowed) if has_many else ""
            judgement = self._settle(p, b, entry, row.facts(allowed=allowed, held=not plainly, plainly_off=plainly))
            context.proved_faults[block.name] += not plainly and judgement.verdict is Verdict.FAIL
        for _, p, b, entry in rows[room:]:
            self._settle(p, b, entry, Evidence(own=self.batch.own, has_time=False))

    def _distances(self, block: Block) -> Array:
        """How far a subject is from the engine ``(S, n)``, in units of what is always allowed; inf if it is nowhere."""
        answer, engine = block.values[SUBJECT][self.points], block.values.get("reverse")
        if engine is None:
            return np.full(answer.shape, np.inf)
        engine = engine[self.points]
        with np.errstate(all="ignore"):
            distance = np.abs(answer - engine) / self.context.allowance(self.inputs).relative(engine)
        distance = np.where(answer == engine, 0.0, np.where(np.isnan(distance), np.inf, distance))
        return np.where(np.isfinite(answer), distance, np.inf)  # two that are infinite agree on nothing

    # -------------------------------------------------------------------------------------------------------- kinks

    def _look_at_kinks(self, sites: Mapping[int, Sequence[Site]]) -> None:
        """The gradients at points with undecided branches, as far as their corners are looked for."""
        room = self.context.budget.share("kinks", len(sites))
        for number, (p, found) in enumerate(sites.items()):
            reason = ""
            if number >= room:
                reason = f"one of more than {self.context.most_kinks} kinked points of this case"
            elif set(self.context.methods) <= {"central"}:
                reason = f"tie of {self._ties(found) or 'a root'}: central alone says nothing at a kink"
            if not reason:
                self._look_at_kink(p, found)
                continue
            for b, block in enumerate(self.blocks):
                if block.quantity == "gradient":  # values have no kinks: they were compared
                    self._settle(p, b, slice(None), Evidence(own=self.batch.own, left=reason))

    def _look_at_kink(self, p: int, sites: Sequence[Site]) -> None:
        context = self.context
        kink = KinkJudge(context.kink_taylor, *self._take(slice(p, p + 1)), sites)
        exact = kink.exact_argument()
        aside = f" (branch argument within rounding, exact {exact:.2g})" if exact else ""
        ties = f"tie of {self._ties(sites)}{aside}" if sites else "a root whose infinite slope cancels"
        bounds = self._bounds_at_kink(p)
        moved = self._conditioning(np.array([p]))
        gradients = {block.name: b for b, block in enumerate(self.blocks) if block.quantity == "gradient"}
        names = [item.name for item in context.case.real_inputs if item.name in gradients]
        for group in (names, *([stage] for stage in context.graph.stages if stage in gradients)):
            members = [gradients[name] for name in group]
            slack = np.concatenate([finite(bounds[b] + moved[b][0]) for b in members])
            if SUBJECT in context.methods and context.case.accuracy != "relative":
                # Beside a corner as anywhere, a right backward pass may lose what rounding of saved values costs.
                saved = self._saved_at(p)
                slack = slack + SAVED * np.concatenate([saved[name].ravel() for name in group])
            corners = kink.corners(group)
            if exact:
                corners = self._with_truth(p, members, corners)
            if group is names:
                self._list_corners(p, group, corners, ties)
            self._look_at_group(p, members, corners, slack, sites, ties)

    def _with_truth(self, p: int, members: Sequence[int], corners: Corners) -> Corners:
        """The corners with the true gradient among them: what only rounding leaves undecided need not meet at a point.

        No direction leads to the branches that are taken there, where each of them would have to be a tie.
        """
        if corners.unknown or corners.box or len(corners.spans) or len(corners.ball):
            return corners
        known = self._point(p).enclose(taylor_only=True)
        rows = [(b, entry) for b in members for entry in range(self.blocks[b].verdict.shape[1])]
        found = [self._row(p, b, entry, known).enclosed(math.nan) for b, entry in rows]
        truth = np.array([math.nan if it.reason else it.midpoint for it in found])
        if not np.isfinite(truth).all() or corners.contains(truth, np.array([it.radius for it in found])):
            return corners
        return replace(corners, vectors=np.vstack([corners.vectors, truth]))

    def _is_cancelled(self, p: int) -> bool:
        """Whether the engine has no bound at a point, though all that is left where lengths are in sight is smooth."""
        context = self.context
        return context.kink_engine is not context.engine and any(np.isinf(bounds[p]).any() for bounds in self.bounds)

    def _bounds_at_kink(self, p: int) -> list[Array]:
        """The bounds, also where the graph as it is written has none or a wide one: a length that is 0 there."""
        context, found = self.context, [allowed[p] for allowed in self.bounds]
        is_bounded = all(np.isfinite(bounds).all() for bounds in found)
        if context.kink_engine is context.engine or (is_bounded and not context.has_lengths):
            return found
        run = self._run_in_balls(*self._take(slice(p, p + 1)), 0.0, context.kink_engine)
        if not is_bounded:
            self.as_lengths.add(p)
        for b, block in enumerate(self.blocks):
            if block.quantity == "gradient":
                found[b] = block.allowed[self.points[p]] = self._allowed(block, run, points=1)[0]
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

    def _look_at_group(
        self, p: int, members: Sequence[int], corners: Corners, slack: Array, sites: Sequence[Site], ties: str
    ) -> None:
        """One point's gradient by some variables together, as given by the engine.

        A step that straddles the kink averages slopes, and SymPy takes halves at a tie however branches are nested:
        central and symbolic accuse nobody here, and only where the engine does not run is SymPy accused.
        """
        blocks = [self.blocks[b] for b in members]
        answered = blocks[0].values if blocks else {}
        methods = [method for method in (SUBJECT, "reverse", "symbolic") if method in answered]
        alone = [] if SUBJECT in answered else [m for m in further_methods(answered) if m in answered]
        methods = methods or alone[:1]
        if not methods:
            return
        everybody = dict.fromkeys((*methods, *alone))
        vectors = {m: np.concatenate([block.values[m][self.points[p]] for block in blocks]) for m in everybody}
        accused = methods[0]
        # An answer that is wrong gives a bound that is wrong: the corners' own size counts too.
        with np.errstate(all="ignore"):
            size = np.maximum(np.abs(corners.low), np.abs(corners.high))
        slack = np.fmax(slack, self.context.allowance(self.inputs).relative(finite(size)))
        nodes = [self.context.opened.nodes[site.node] for site in sites]
        ops = list(dict.fromkeys(node.origin or node.op for node in nodes))
        declared = any(op in self.context.case.ties for op in ops)
        between, inside = corners.within(vectors[accused], slack), corners.contains(vectors[accused], slack)
        mended = ""
        if accused == "reverse" and not inside and not (declared and between[corners.known].all()):
            point, names = self._take(slice(p, p + 1)), [block.name for block in blocks]
            mended = remedy(self.context.graph, names, point, ops, lambda gradient: corners.contains(gradient, slack))
        others = [m for m in methods[1:] if not corners.contains(vectors[m], slack)]
        kinked = KinkedGroup(accused, corners, corners.smooth(slack), between, inside, declared, ties, others, mended)
        groups = [kinked]
        for m in alone:
            if m != accused:  # a framework has conventions of its own, and may be wrong where the engine is right
                theirs = corners.within(vectors[m], slack), corners.contains(vectors[m], slack)
                groups.append(replace(kinked, accused=m, within=theirs[0], inside=theirs[1], declared=False, remedy=""))
        nobody = ~np.any([np.isfinite(vector) for vector in vectors.values()], axis=0)
        start = 0
        for b, block in zip(members, blocks, strict=True):
            for entry in range(block.verdict.shape[1]):
                kink = Kinked(groups, start + entry, bool(nobody[start + entry]))
                self._settle(p, b, entry, self._row(p, b, entry).facts(kink=kink))
            start += block.verdict.shape[1]

    # -------------------------------------------------------------------------------------------------- who is wrong

    def _look_for_culprits(self) -> None:
        """Looks for the op row that mpmath contradicts where somebody is called wrong, and judges such rows anew.

        Where there is none, answers that are not finite may be so because floats left their range.
        """
        failing = sorted({p for _, p, _, _ in self.accused})
        culprits: dict[str, Finding] = {}
        # A subject answers for itself: what it is held against is the reference, which no op row of ours decides alone.
        for p in failing[: 0 if SUBJECT in self.context.methods else MOST_AUDITED]:
            for finding in audit(self.context.graph, self._floats(p)):
                culprits.setdefault(finding.suspect, finding)
        ranges: dict[int, str] = {}
        for block, p, entry, evidence in self.accused:
            where = self.points[p], entry
            if not culprits and isinstance(entry, int) and _has_no_bound(evidence, float(block.allowed[where])):
                if p not in ranges:
                    ranges[p] = self._out_of_range(p)
                evidence.out_of_range = ranges[p]
            evidence.culprits = tuple(culprits.values())
            if evidence.out_of_range or not evidence.is_subject:
                self._write(block, where, evidence)

    def _out_of_range(self, p: int) -> str:
        """Where floats leave their range at a point, empty where they do not."""
        if p in self.as_lengths and SUBJECT in self.context.methods:
            return ""  # the subject answered for the length, and the engine's answers are not asked
        point = self._point(p)
        reason = point.out_of_range(point.enclose()) or steep(self.context.graph, point.floats)
        if reason:
            return reason
        at, values = self.points[p], [block for block in self.blocks if block.quantity == "value"]
        is_bounded = all(np.isfinite(block.allowed[at]).all() for block in values)
        return "" if is_bounded else "rounding on the way forward is unbounded"


def _plainly_off(facts: Evidence, allowed: float) -> str:
    """That a subject is off from the engine by far more than any rounding; empty where it is not."""
    answers = facts.answers
    if "reverse" not in answers:
        return ""
    distance = abs(answers[SUBJECT] - answers["reverse"])
    if not PLAIN * allowed < distance < math.inf or distance < math.sqrt(facts.unit) * abs(answers["reverse"]):
        return ""
    more = f"{MOST_PROVED_FAULTS} other rows are proved to be wrong"
    return f"measured: off by {distance:.3g} from reverse, allowed {allowed:.3g}; {more}"


def _has_no_bound(e: Evidence, allowed: float) -> bool:
    """Whether an answer by which somebody is called wrong is not finite, or has no bound.

    A subject answers for itself: without a bound it is called wrong by its own formula alone, which no floats excuse.
    """
    if e.is_subject:
        return not math.isfinite(e.answers[SUBJECT])
    others = [answer for method, answer in e.answers.items() if method != "central"]
    return not math.isfinite(sum(others)) or not math.isfinite(allowed)

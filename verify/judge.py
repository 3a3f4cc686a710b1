"""From the methods' answers to verdicts.

Two steps, because nearly every row of a large batch needs no close look. The *screen* compares the answers with the
least tolerance that an honest comparison ever has; what passes it passes any later, wider one. What does not pass is
*examined*: the engine is run in balls, which bounds its rounding; SymPy's form is evaluated with 50 digits; central
differences look for a better step and estimate their error; undecided branches are judged by their subgradients; and
where methods still differ, :mod:`verify.audit` finds the op row that is wrong.

The bounds used here are estimates of each method's own error. They are kept in :meth:`Examination.allowed`, in one
place, so that a certified reference can take their part.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from verify.audit import Finding, audit
from verify.balls import Balls
from verify.case import Case, Expected
from verify.derivative import Derivative, Differentiator
from verify.interpret import Values, branch_argument, constant_balls, dtype_of
from verify.kinks import Corners, KinkJudge, Site, undecided_sites
from verify.methods.central import Central, Refined, contraction, granted_noise, usual_step
from verify.methods.reverse import Reverse
from verify.methods.symbolic import Symbolic, exactly
from verify.ops import OPS
from verify.points import Batch, random_points
from verify.records import PAIRS, VERDICTS, Verdict, unravel

Array = NDArray[Any]

LEAST_UNITS = 8
"""Units roundoff of the value, beside one for every node, that two methods may always differ by."""

NEAR_A_KINK = 2.0**-40
"""A branch argument this small against its operands is looked at closely."""

MOST_EXAMINED_KINKS = 1024
"""Kinked points of one case that are judged by their corners (a millisecond each), in the order of their ids, so that
it does not matter which points are judged together; the others are UNDECIDED, and said to be."""

REACH_POINTS = 64
"""Random points that show how large a gradient is over the domain, whatever points a run looks at."""

MOST_AUDITED = 3
"""Failing points of a block at which the op rows are held against mpmath."""

BallRun = tuple[Values, dict[str, Any]]
"""A forward pass in balls, and the gradients that the backward pass gave."""

CODE = {verdict: code for code, verdict in enumerate(VERDICTS)}


class Texts:
    """Sentences by number, so that a million rows can share them; number 0 is the empty sentence."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {"": 0}

    def number(self, text: str) -> int:
        """The number of a sentence, new or known."""
        return self._numbers.setdefault(text, len(self._numbers))

    def all(self) -> tuple[str, ...]:
        """The sentences in order of their numbers."""
        return tuple(self._numbers)


@dataclass(slots=True)
class Block:
    """All rows of one variable at P points: arrays ``(P, n)``, n entries of the variable in C order."""

    name: str
    quantity: Literal["gradient", "value"]
    values: dict[str, Array]
    verdict: Array
    passes: Array
    reason: Array
    suspect: Array
    expected: Array

    def rows(self, where: tuple[Array, Array]) -> Block:
        """Some rows, every column now of length R."""
        return Block(
            self.name,
            self.quantity,
            {method: column[where] for method, column in self.values.items()},
            self.verdict[where],
            self.passes[where],
            self.reason[where],
            self.suspect[where],
            self.expected[where],
        )

    def judge(
        self, where: tuple[Any, ...], verdict: Verdict, passes: Any, reason: int, suspect: int = 0
    ) -> None:
        """Writes one judgement to some rows."""
        self.verdict[where] = CODE[verdict]
        self.passes[where] = passes
        self.reason[where] = reason
        self.suspect[where] = suspect


RowKey = tuple[str, Literal["gradient", "value"]]
"""What rows are about: the gradient by a variable, or the value of a stage."""


@dataclass(frozen=True, slots=True)
class Screened:
    """What a quick look at P points found."""

    suspicious: Array
    """``(P,)`` bool: the points that need a closer look; all rows of the others pass."""
    differences: Mapping[RowKey, Mapping[tuple[str, str], Array]]
    """How far each pair of methods is apart ``(P, n)``."""
    answers: Mapping[str, Derivative]


def _columns(key: RowKey, answers: Mapping[str, Derivative], points: int) -> dict[str, Array]:
    """Each method's values ``(P, n)`` for one kind of rows, in arrays that may be the methods' own."""
    name, quantity = key
    return {
        method: np.asarray(
            (answer.gradients if quantity == "gradient" else answer.values)[name], dtype=np.float64
        ).reshape(points, -1)
        for method, answer in answers.items()
    }


def _block(key: RowKey, columns: Mapping[str, Array], entries: int) -> Block:
    """Rows that pass until something is found against them."""
    shape = next((column.shape for column in columns.values()), (0, entries))
    return Block(
        *key,
        {method: column.copy() for method, column in columns.items()},
        verdict=np.zeros(shape, dtype=np.int8),
        passes=np.ones(shape, dtype=bool),
        reason=np.zeros(shape, dtype=np.int64),
        suspect=np.zeros(shape, dtype=np.int64),
        expected=np.full(shape, np.nan),
    )


class Judge:
    """Judges one case, batch by batch."""

    def __init__(
        self, case: Case, methods: Mapping[str, Differentiator], variables: Sequence[str] | None = None
    ) -> None:
        """``methods`` are those that the run compares; the judge has its own engine and differences beside them."""
        self.case = case
        self.graph = case.graph
        self.variables = tuple(case.variables if variables is None else variables)
        self.methods = dict(methods)
        self.texts = Texts()
        self.engine = Reverse(case.graph, self.variables)
        self.central = Central(case.graph, self.variables)
        self.growth = LEAST_UNITS + len(case.graph.nodes)
        self.notes: dict[str, int] = {}
        self.kinks_examined = 0
        self._reach: dict[RowKey, float] = {}
        self._valued = tuple(self._stages_with_value_rows())

    def screen(self, batch: Batch) -> Screened:
        """The quick look at a large batch: how far methods are apart, and which points need a closer look.

        What is not suspicious passes. The values differ by no more than a unit roundoff for every node, or for
        central by the rounding that two evaluations are always granted over its step; :meth:`judge` allows at least
        as much, so no row passes here that would not pass there.
        """
        answers = {name: method.differentiate(batch.inputs, batch.upstream) for name, method in self.methods.items()}
        suspicious = self._near_kinks(batch)
        unit = float(np.finfo(dtype_of(batch.inputs)).eps) / 2
        noise = self._granted(answers, batch)
        differences: dict[RowKey, dict[tuple[str, str], Array]] = {}
        for key in self._keys():
            columns = _columns(key, answers, len(batch))
            found = differences[key] = {}
            if len(columns) < 2:
                suspicious[:] = True
            with np.errstate(all="ignore"):
                for pair in PAIRS:
                    if pair[0] not in columns or pair[1] not in columns:
                        continue
                    difference = np.subtract(columns[pair[0]], columns[pair[1]])
                    found[pair] = np.abs(difference, out=difference)
                    close = difference <= self._least_bound(key, pair, columns, answers, noise, unit)
                    if not close.all():
                        suspicious |= ~close.all(axis=1)
        return Screened(suspicious, differences, answers)

    @np.errstate(all="ignore")  # non-finite values are judged, not warned about
    def judge(self, batch: Batch) -> list[Block]:
        """The rows of all variables, and of the outputs' values, at the points of a batch."""
        answers = {name: method.differentiate(batch.inputs, batch.upstream) for name, method in self.methods.items()}
        blocks = [_block(key, _columns(key, answers, len(batch)), self._entries(key)) for key in self._keys()]
        expected = self._write_expected(blocks) if batch.own else {}
        near = self._near_kinks(batch)
        noise = self._granted(answers, batch)
        suspicions = [self._suspicion(block, answers, noise, batch) for block in blocks]
        self._add_rounding(noise, suspicions, batch)
        for block, suspicion in zip(blocks, suspicions, strict=True):
            self._settle_steps(block, suspicion, near, noise, batch)
            suspicion.rows[near] = True
            suspicion.rows[np.isfinite(block.expected)] = True
        points = np.flatnonzero(np.any([suspicion.rows.any(axis=1) for suspicion in suspicions], axis=0))
        if len(points):
            flagged = [Suspicion(s.rows[points], s.steps[points], s.granted[points]) for s in suspicions]
            Examination(self, batch, points, blocks, flagged, expected, noise).run()
        return blocks

    def reach(self, key: RowKey) -> float:
        """How large a gradient or value gets over the domain: its largest finite entry at some random points."""
        if key not in self._reach:
            batch = random_points(self.case, seed=0, block=0, count=REACH_POINTS, first_id=0)
            answer = self.engine.differentiate(batch.inputs, batch.upstream)
            for known in self._keys():
                column = answer.gradients if known[1] == "gradient" else answer.values
                self._reach[known] = _largest(column[known[0]])
        return self._reach[key]

    def _keys(self) -> list[RowKey]:
        """What has rows: the gradient by each variable, and some values."""
        return [(name, "gradient") for name in self.variables] + [(name, "value") for name in self._valued]

    def _entries(self, key: RowKey) -> int:
        return math.prod(self.graph.shape(key[0]))

    def _stages_with_value_rows(self) -> list[str]:
        """The outputs, and stages whose value the case file gives."""
        given = {e.name for point in self.case.own_points for e in point.expected if e.quantity == "value"}
        return [name for name in self.graph.stages if name in given or name in self.graph.outputs]

    def _write_expected(self, blocks: Sequence[Block]) -> dict[tuple[str, str, int], Expected]:
        """The case file's own figures, put beside the rows they belong to."""
        found = {
            (expected.quantity, expected.name, number): expected
            for number, point in enumerate(self.case.own_points)
            for expected in point.expected
        }
        for block in blocks:
            for (quantity, name, number), expected in found.items():
                if (quantity, name) == (block.quantity, block.name):
                    block.expected[number] = expected.figures.ravel()
        return found

    # ------------------------------------------------------------------------------------------------- the screen

    def _suspicion(
        self, block: Block, answers: Mapping[str, Derivative], noise: Array | None, batch: Batch
    ) -> Suspicion:
        """The rows that differ by more than is always allowed."""
        unit = float(np.finfo(dtype_of(batch.inputs)).eps) / 2
        rows = np.full(block.verdict.shape, len(block.values) < 2)
        steps = np.zeros(rows.shape, dtype=bool)
        granted = np.zeros(rows.shape)
        key = (block.name, block.quantity)
        for pair in PAIRS:
            if pair[0] in block.values and pair[1] in block.values:
                bound = self._least_bound(key, pair, block.values, answers, noise, unit)
                with np.errstate(all="ignore"):
                    apart = ~(np.abs(block.values[pair[0]] - block.values[pair[1]]) <= bound)
                rows |= apart
                if pair[1] == "central" and block.quantity == "gradient":
                    steps |= apart
                    granted[:] = bound
        return Suspicion(rows, steps, granted)

    def _least_bound(
        self,
        key: RowKey,
        pair: tuple[str, str],
        columns: Mapping[str, Array],
        answers: Mapping[str, Derivative],
        noise: Array | None,
        unit: float,
    ) -> Array:
        """What a pair may always differ by ``(P, n)``."""
        with np.errstate(all="ignore"):
            if pair[1] == "central" and key[1] == "gradient" and noise is not None:
                step = usual_step(np.asarray(answers["central"].values[key[0]]))
                return noise[:, None] / step.reshape(len(noise), -1)
            bound: Array = np.abs(columns[pair[1]]) * (self.growth * unit)
        return bound

    def _add_rounding(self, noise: Array | None, suspicions: Sequence[Suspicion], batch: Batch) -> None:
        """Adds to the granted noise, where a better step will be sought, what the forward pass in balls may round."""
        if noise is None:
            return
        at = np.flatnonzero(np.any([suspicion.steps.any(axis=1) for suspicion in suspicions], axis=0))
        if len(at):
            inputs, upstream = batch.take(at)
            noise[at] += self.central.noise(inputs, contraction(self.graph, upstream))

    def _settle_steps(
        self, block: Block, suspicion: Suspicion, near: Array, noise: Array | None, batch: Batch
    ) -> None:
        """Takes back the suspicion of rows where only the step was at fault: a better one agrees with the others."""
        if block.quantity == "value" or noise is None or len(block.values) < 2:
            return
        others = [column for method, column in block.values.items() if method != "central"]
        unit = float(np.finfo(dtype_of(batch.inputs)).eps) / 2
        for entry in np.flatnonzero(suspicion.steps.any(axis=0)):
            at = np.flatnonzero(suspicion.steps[:, entry] & ~near)
            with np.errstate(all="ignore"):
                least = self.growth * unit * np.abs(others[-1][at, entry])
                alike = np.abs(others[0][at, entry] - others[-1][at, entry]) <= least
            at, least = at[alike], least[alike]
            if not len(at):
                continue
            refined = self.refine(block, int(entry), at, noise[at], *batch.take(at))
            settled = np.ones(len(at), dtype=bool)
            for column in others:
                settled &= np.abs(refined.gradient - column[at, entry]) <= refined.error + least
            settled &= np.isfinite(refined.error)
            suspicion.granted[at, entry] = refined.error
            suspicion.rows[at[settled], entry] = suspicion.steps[at[settled], entry] = False

    def refine(
        self,
        block: Block,
        entry: int,
        at: Array,
        noise: Array,
        inputs: Mapping[str, Array],
        upstream: Mapping[str, Array],
    ) -> Refined:
        """Central differences of one entry with a better step at the points ``at``; writes what it finds to the rows."""
        index = unravel(entry, self.graph.shape(block.name))
        output = contraction(self.graph, upstream)
        refined = self.central.refine(block.name, index, inputs, output, noise=noise)
        found = np.isfinite(refined.error)
        block.values["central"][at[found], entry] = refined.gradient[found]
        if refined.straddled.any():
            text = f"{block.name}: a step straddled a kink; the branch of the point itself was followed"
            self.notes[text] = self.notes.get(text, 0) + int(refined.straddled.sum())
        return refined

    def _near_kinks(self, batch: Batch) -> Array:
        """The points ``(P,)`` at which some branch is nearly undecided."""
        near = np.zeros(len(batch), dtype=bool)
        if not self.central.kinks:
            return near
        values = self.engine.program.run(batch.inputs)
        for i in self.central.kinks:
            node = self.graph.nodes[i]
            size = sum(np.abs(values[j]).reshape(len(values[j]), -1).max(axis=1, initial=0.0) for j in node.args)
            argument = np.abs(branch_argument(node, values))
            argument = argument.reshape(len(argument), -1)
            near |= ~(argument > NEAR_A_KINK * np.reshape(size, (-1, 1))).all(axis=1)
        return near

    def _granted(self, answers: Mapping[str, Derivative], batch: Batch) -> Array | None:
        """Rounding that central differences are always granted ``(P,)``, times their step."""
        if "central" not in answers:
            return None
        return granted_noise(self.graph, answers["central"].values, batch.upstream)


@dataclass(frozen=True, slots=True)
class Suspicion:
    """The rows of one variable that need a closer look: arrays ``(P, n)``."""

    rows: Array
    """Whether a row does."""
    steps: Array
    """Whether it is central that is apart from the others, so that a better step may settle it."""
    granted: Array
    """What central may be off by where it is not."""


@dataclass(frozen=True, slots=True)
class OpenRow:
    """A row at an examined point that no bound has settled."""

    block: Block
    p: int
    """Position among the examined points."""
    entry: int
    allowed: float
    """What the float methods may be off by; inf where the enclosure is unbounded."""
    step_error: float
    """What central may be off by on top of it."""


@dataclass(slots=True)
class Examination:
    """The close look at some points of a batch."""

    judge: Judge
    batch: Batch
    points: Array
    blocks: Sequence[Block]
    flagged: Sequence[Suspicion]
    expected: Mapping[tuple[str, str, int], Expected]
    noise: Array | None
    inputs: dict[str, Array] = field(init=False)
    upstream: dict[str, Array] = field(init=False)
    values: Values = field(init=False)
    findings: list[Finding] | None = field(init=False, default=None)

    def run(self) -> None:
        """Judges every flagged row."""
        judge = self.judge
        self.inputs, self.upstream = self.batch.take(self.points)
        self.values = judge.engine.program.run(self.inputs)
        usable = self._defined()
        for p in np.flatnonzero(~usable):
            self._write_undecided(p, self._undefined(p))
        if not usable.any():
            return
        run = self._run_in_balls(self.inputs, self.upstream, 0.0)
        bounds = [self._allowed(block, run) for block in self.blocks]
        sites = {p: undecided_sites(judge.central, run[0], p) for p in np.flatnonzero(usable)} if judge.central.kinks else {}
        kinked = [p for p, found in sites.items() if found]
        smooth = usable.copy()
        smooth[kinked] = False
        open_rows: list[OpenRow] = []
        for block, suspicion, allowed in zip(self.blocks, self.flagged, bounds, strict=True):
            judged_here = smooth if block.quantity == "gradient" else usable
            open_rows += self._unsettled(block, suspicion, judged_here, allowed)
        self._judge_open(open_rows)
        room = MOST_EXAMINED_KINKS - judge.kinks_examined
        judge.kinks_examined += len(kinked[:room])
        for p in kinked[:room]:
            self._examine_kink(p, sites[p], bounds)
        for p in kinked[room:]:
            reason = f"one of more than {MOST_EXAMINED_KINKS} kinked points of this case"
            self._write_undecided(p, reason, but_values=True)
        self._hold_against_expected(bounds, smooth)
        self._name_suspects()

    # --------------------------------------------------------------------------------------------- without a value

    def _defined(self) -> Array:
        """The points ``(S,)`` at which every node has a finite value."""
        defined = np.ones(len(self.points), dtype=bool)
        for value in self.values:
            defined &= np.isfinite(value).reshape(len(value), -1).all(axis=1)
        return defined

    def _undefined(self, p: int) -> str:
        """Why the function has no finite value at a point, empty where it has one."""
        for position, node in enumerate(self.judge.graph.nodes):
            value = self._at(position, p)
            if np.all(np.isfinite(value)):
                continue
            place = f" (stage {node.stage!r}, line {node.line})" if node.stage else ""
            if node.kind == "input":
                return f"input {node.op!r} is not finite"
            for name, interval, arg in zip("ab", OPS[node.op].domain, node.args, strict=False):
                operand = np.ravel(self._at(arg, p))
                outside = operand[~interval.contains(operand)]
                if len(outside):
                    return f"outside the domain of {node.op}: {interval.text(name)}, got {outside[0]:.6g}{place}"
            return f"intermediate overflow or undefined value in {node.op}{place}"
        return ""

    def _at(self, position: int, p: int) -> Array:
        value: Array = self.values[position]
        return value[p] if len(value) > 1 else value[0]

    def _write_undecided(self, p: int, reason: str, *, but_values: bool = False) -> None:
        number = self.judge.texts.number(reason)
        for block in self.blocks:
            if but_values and block.quantity == "value":
                continue  # values have no kinks: they were compared
            block.judge((self.points[p],), Verdict.UNDECIDED, not self.batch.own, number)

    # -------------------------------------------------------------------------------------------------- the bounds

    def _run_in_balls(self, inputs: Mapping[str, Array], upstream: Mapping[str, Array], spread: float) -> BallRun:
        """The engine's forward and backward pass in balls, from inputs widened by ``spread`` times themselves."""
        engine, constants = self.judge.engine, constant_balls(self.judge.graph, dtype_of(inputs))
        values = engine.program.run({name: Balls.widened(x, spread) for name, x in inputs.items()}, constants=constants)
        # As balls too: a sum of plain upstream gradients would round and nobody would know.
        return values, engine.backward(values, {name: Balls.exact(seed) for name, seed in upstream.items()})

    def _ball(self, run: BallRun, block: Block) -> Balls:
        values, gradients = run
        ball = gradients[block.name] if block.quantity == "gradient" else values[self.judge.graph.position(block.name)]
        return ball if isinstance(ball, Balls) else Balls.exact(ball)

    def _allowed(self, block: Block, run: BallRun) -> Array:
        """What the float methods may be off by ``(S, n)``: twice the engine's own rounding, and the value's on every node.

        Unbounded where the enclosure is: something on the way overflows.
        """
        ball, dtype = self._ball(run, block), dtype_of(self.inputs)
        unit, smallest = float(np.finfo(dtype).eps) / 2, float(np.finfo(dtype).smallest_subnormal)
        with np.errstate(all="ignore"):
            allowed = 2 * ball.radius + np.abs(ball.value) * (self.judge.growth * unit) + 16 * smallest
        allowed = np.where(np.isnan(allowed), np.inf, allowed).reshape(len(allowed), -1)
        return np.broadcast_to(allowed, (len(self.points), block.verdict.shape[1]))

    def _conditioning(self, at: Array) -> list[Array]:
        """How far a unit roundoff of every input moves each row ``(len(at), n)``, times the rounding of every node.

        What :meth:`_allowed` leaves out, because it costs a second run in balls and few rows need it.
        """
        inputs, upstream = self._take(at)
        unit = float(np.finfo(dtype_of(inputs)).eps) / 2
        narrow, wide = (self._run_in_balls(inputs, upstream, spread) for spread in (0.0, unit))
        moved = []
        for block in self.blocks:
            a, b = self._ball(narrow, block).radius, self._ball(wide, block).radius
            with np.errstate(all="ignore"):
                spread = np.where(np.isfinite(a), b - a, np.inf).reshape(len(a), -1)
            moved.append(np.broadcast_to(self.judge.growth * spread, (len(at), block.verdict.shape[1])))
        return moved

    def _exact(self, at: Array) -> Derivative | None:
        """SymPy's form with 50 digits at some of the examined points; NaN where it has no real value."""
        symbolic = self.judge.methods.get("symbolic")
        if not isinstance(symbolic, Symbolic):
            return None
        together = _exact_answer(symbolic, *self._take(at))
        answers = [together] if together else [_exact_answer(symbolic, *self._take(at[i : i + 1])) for i in range(len(at))]
        return _joined(answers, self.judge.graph.shape)

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
            columns = {method: column[self.points[at], entry] for method, column in block.values.items()}
            agree = np.full(len(at), len(columns) > 1)
            with np.errstate(all="ignore"):
                for first, second in PAIRS:
                    if first in columns and second in columns:
                        least = self.judge.growth * 2.0**-53 * np.abs(columns[second])
                        bound = np.maximum(room, least) + (error if second == "central" else 0.0)
                        agree &= np.isfinite(bound) & (np.abs(columns[first] - columns[second]) <= bound)
            found += [
                OpenRow(block, int(at[i]), int(entry), float(allowed[at[i], entry]), float(error[i]))
                for i in np.flatnonzero(~agree)
            ]
        return found

    def _judge_open(self, rows: Sequence[OpenRow]) -> None:
        """Judges the rows whose methods seem to differ, with SymPy's form evaluated exactly."""
        if not rows:
            return
        at = np.array(sorted({row.p for row in rows}))
        exact, conditioning = self._exact(at), self._conditioning(at)
        place = {int(p): i for i, p in enumerate(at)}
        for row in rows:
            moved = next(x for x, block in zip(conditioning, self.blocks, strict=True) if block is row.block)
            allowed = row.allowed + float(moved[place[row.p], row.entry])
            truth = math.nan
            if exact is not None:
                column = exact.gradients if row.block.quantity == "gradient" else exact.values
                truth = float(column[row.block.name][place[row.p]].ravel()[row.entry])
            self._judge_row(row, allowed, truth)

    def _refined(self, block: Block, entry: int, at: Array) -> Refined | None:
        """Central differences with a better step; None for values, which have no step."""
        if block.quantity == "value" or self.noise is None:
            return None
        points = self.points[at]
        return self.judge.refine(block, entry, points, self.noise[points], *self._take(at))

    def _judge_row(self, row: OpenRow, allowed: float, exact: float) -> None:
        block, where = row.block, (self.points[row.p], row.entry)
        answers = {method: float(column[where]) for method, column in block.values.items()}
        judged = compare(answers, exact, allowed, row.step_error)
        passes = judged.verdict is Verdict.PASS
        if judged.verdict is Verdict.UNDECIDED:
            passes = not self.batch.own
        elif judged.verdict is Verdict.IMPRECISE:
            passes = self._is_tail_loss(block, abs(answers["symbolic"] - exact))
        text = self.judge.texts.number
        block.judge(where, judged.verdict, passes, text(judged.reason), text(judged.suspect))
        if judged.exact_shown:
            block.values["symbolic"][where] = exact

    def _is_tail_loss(self, block: Block, error: float) -> bool:
        """Whether lost digits are small against the variable's largest value; a case may ask for every digit."""
        largest = max(_largest(block.values["symbolic"]), self.judge.reach((block.name, block.quantity)))
        unit = float(np.finfo(dtype_of(self.inputs)).eps) / 2
        return self.judge.case.accuracy != "relative" and error <= self.judge.growth * unit * largest

    # -------------------------------------------------------------------------------------------------------- kinks

    def _examine_kink(self, p: int, sites: Sequence[Site], bounds: Sequence[Array]) -> None:
        judge = self.judge
        if not {"reverse", "symbolic"} & set(judge.methods):
            reason = f"tie of {self._ties(sites)}: central alone says nothing at a kink"
            self._write_undecided(p, reason, but_values=True)
            return
        kink = KinkJudge(judge.central, *self._take(slice(p, p + 1)), sites)
        gradients = {block.name: i for i, block in enumerate(self.blocks) if block.quantity == "gradient"}
        names = [item.name for item in judge.case.real_inputs if item.name in gradients]
        for group in (names, *([stage] for stage in judge.graph.stages if stage in gradients)):
            members = [gradients[name] for name in group]
            slack = np.concatenate([_finite(bounds[i][p]) for i in members])
            self._judge_group(p, [self.blocks[i] for i in members], kink.corners(group), slack, sites)

    def _ties(self, sites: Sequence[Site]) -> str:
        """What is undecided, in words."""
        nodes = self.judge.graph.nodes
        places = dict.fromkeys(f"{nodes[s.node].op} in stage {nodes[s.node].stage!r}" for s in sites)
        return " and ".join(places)

    def _judge_group(self, p: int, members: Sequence[Block], corners: Corners, slack: Array, sites: Sequence[Site]) -> None:
        """Judges one point's gradient by some variables together, as given by the engine.

        A step that straddles the kink averages slopes, and SymPy takes halves at a tie however branches are nested:
        central and symbolic accuse nobody here, and only where the engine does not run is SymPy accused.
        """
        methods = [method for method in ("reverse", "symbolic") if method in members[0].values]
        if not methods:
            return
        vectors = {m: np.concatenate([block.values[m][self.points[p]] for block in members]) for m in methods}
        accused = methods[0]
        kinked = KinkedGroup(
            accused,
            corners,
            corners.smooth(slack),
            corners.within(vectors[accused], slack),
            corners.contains(vectors[accused], slack),
            any(self.judge.graph.nodes[site.node].op in self.judge.case.ties for site in sites),
            f"tie of {self._ties(sites)}",
            [m for m in methods[1:] if not corners.contains(vectors[m], slack)],
        )
        start = 0
        for block in members:
            for entry in range(block.verdict.shape[1]):
                verdict, reason = kinked.verdict(start + entry)
                passes = verdict in {Verdict.PASS, Verdict.SUBGRADIENT}
                if verdict is Verdict.CONVENTION:
                    passes = kinked.declared
                elif verdict is Verdict.UNDECIDED:
                    passes = not self.batch.own
                suspect = "" if passes or verdict is Verdict.UNDECIDED else accused
                text = self.judge.texts.number
                block.judge((self.points[p], entry), verdict, passes, text(reason), text(suspect))
            start += block.verdict.shape[1]

    # ----------------------------------------------------------------------------------------- figures from outside

    def _hold_against_expected(self, bounds: Sequence[Array], smooth: Array) -> None:
        """The case file's figures, held against each method before anything else counts."""
        if not self.expected:
            return
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
        step = self._step_error(block, p, entry) if smooth and block.quantity == "gradient" else 0.0
        off = []
        for method, column in block.values.items():
            if not smooth and method != "reverse":
                continue  # at a kink the figure states a convention, and only the engine can follow one
            room = slack + (step if method == "central" else 0.0) + LEAST_UNITS * 2.0**-53 * abs(figure)
            if not abs(float(column[where]) - figure) <= room:
                off.append(method)
        if not off:
            return
        found = ", ".join(f"{method} {float(block.values[method][where])!r}" for method in off)
        reason = f"line {expected.line} expects {figure!r}, got {found}"
        everybody = len(off) == len([m for m in block.values if smooth or m == "reverse"])
        suspect = "the expected figure or the expressions" if everybody else ", ".join(off)
        text = self.judge.texts.number
        if everybody and VERDICTS[block.verdict[where]] is Verdict.FAIL:
            # The methods differ among themselves: whoever is wrong there is wrong here.
            suspect = self.judge.texts.all()[block.suspect[where]]
        block.judge(where, Verdict.FAIL, False, text(reason), text(suspect))

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
        for p in failing[:MOST_AUDITED]:
            values = [x if len(x) == 1 else x[p : p + 1] for x in self.values]
            for finding in audit(self.judge.graph, values):
                findings.setdefault(finding.suspect, finding)
        if not findings:
            return
        text = self.judge.texts.number
        suspect = text(" and ".join(findings))
        sentence = "; mpmath contradicts " + "; ".join(map(str, findings.values()))
        known = self.judge.texts.all()
        for block in self.blocks:
            for row in zip(*np.nonzero(_accused(block)), strict=True):
                block.suspect[row] = suspect
                block.reason[row] = text(known[block.reason[row]] + sentence)


@dataclass(frozen=True, slots=True)
class KinkedGroup:
    """A gradient at one kinked point, by some variables together (n entries), and the corners that it is held against."""

    accused: str
    """The method that is judged."""
    corners: Corners
    smooth: Array
    """``(n,)`` bool: all branches give the same slope."""
    within: Array
    """``(n,)`` bool: the entry is between its one-sided slopes."""
    inside: bool
    """The whole vector is a subgradient."""
    declared: bool
    """The case states a convention for what is tied."""
    ties: str
    others: Sequence[str]
    """Methods that follow a convention of their own, and are not judged."""

    def verdict(self, place: int) -> tuple[Verdict, str]:
        """What one entry came to, and why.

        >>> corners = Corners(np.array([[1.0, 0.0], [0.0, 1.0]]), np.zeros(2))
        >>> no, yes = np.array([False, False]), np.array([True, True])
        >>> KinkedGroup("reverse", corners, no, yes, False, False, "tie of max", []).verdict(0)[0].value
        'CONVENTION'
        """
        low, high = float(self.corners.low[place]), float(self.corners.high[place])
        if not all(map(math.isfinite, (low, high, self.corners.error[place]))):
            return Verdict.UNDECIDED, f"{self.ties}: the one-sided slopes are infinite or undefined"
        slopes = f"{low:.12g}" if self.smooth[place] else f"{low:.12g} to {high:.12g}"
        aside = f"; {', '.join(self.others)} follows a convention of its own" if self.others else ""
        if not self.within[place]:
            if not self.smooth[place]:
                return Verdict.FAIL, f"{self.ties}: the one-sided slopes are {slopes}; {self.accused} is outside"
            mended = "what each op does at its tie is a convention, but together they must give this slope"
            return Verdict.FAIL, f"{self.ties}: every branch gives {slopes}; {self.accused} is outside; {mended}"
        if self.smooth[place]:
            return Verdict.PASS, f"{self.ties}, but every branch gives the same slope"
        bound = ", an outer bound" if self.corners.outer else ""
        if not self.inside:
            sentence = f"the gradient of {self.accused} is a convention, not a subgradient"
            return Verdict.CONVENTION, f"{self.ties}: slopes {slopes}{bound}; {sentence}"
        return Verdict.SUBGRADIENT, f"{self.ties}: slopes {slopes}{bound}{aside}"


@dataclass(frozen=True, slots=True)
class Judgement:
    """What one comparison came to."""

    verdict: Verdict
    reason: str = ""
    suspect: str = ""
    exact_shown: bool = False
    """The symbolic value shown is that with 50 digits, because the float one is not finite."""


SIGNATURES: Mapping[tuple[bool, bool, bool], tuple[str, str]] = {
    (True, False, True): ("reverse", "symbolic and central agree"),
    (True, True, False): ("symbolic", "reverse and central agree"),
    (False, True, True): ("central: the forward function or the step", "symbolic and reverse agree"),
    (True, True, True): ("the forward function, or more than one method", "all three differ"),
    (True, False, False): ("symbolic or reverse", "central is too coarse to tell"),
    (False, True, False): ("symbolic or central", "reverse is between the two"),
    (False, False, True): ("reverse or central", "symbolic is between the two"),
}
"""Which of the pairs symbolic-reverse, symbolic-central, reverse-central differ -> who is suspected, and why."""


def compare(answers: Mapping[str, float], exact: float, allowed: float, step_error: float) -> Judgement:
    """Judges one row at a point that is no kink.

    ``answers`` maps methods to values, ``exact`` is SymPy's form with 50 digits (NaN if there is none), ``allowed``
    what float methods may be off by and ``step_error`` what central may be off by on top, all in the row's unit.

    >>> compare({"symbolic": 2.0, "reverse": 2.0, "central": 2.0000001}, 2.0, 1e-14, 1e-6).verdict.value
    'PASS'
    >>> compare({"symbolic": 2.0, "reverse": 2.1, "central": 2.0000001}, 2.0, 1e-14, 1e-6).suspect
    'reverse'
    """
    best = dict(answers)
    if "symbolic" in best and math.isfinite(exact):
        best["symbolic"] = exact
    shown = math.isfinite(exact) and not math.isfinite(answers.get("symbolic", exact))
    finite = {method for method, value in best.items() if math.isfinite(value)}
    if not finite - {"central"}:
        return Judgement(Verdict.UNDECIDED, "the slope is infinite or undefined here")
    if len(best) < 2:
        return Judgement(Verdict.UNDECIDED, f"{next(iter(best))} alone: nothing to compare it with")
    if math.isinf(allowed) and not _agree(best, 0.0, step_error):
        return Judgement(Verdict.UNDECIDED, "intermediate overflow: the rounding on the way is unbounded", "", shown)
    if "central" in best and (not math.isfinite(best["central"]) or math.isinf(step_error)):
        del best["central"]  # no step stays where the function is defined: central says nothing here
    room = 0.0 if math.isinf(allowed) else allowed
    if _agree(best, room, step_error):
        return _agreed(answers, best, exact, room, shown)
    return _differing(best, room, step_error, shown)


def _agree(best: Mapping[str, float], allowed: float, step_error: float) -> bool:
    return not any(differs for _, differs in _pairs(best, allowed, step_error))


def _pairs(best: Mapping[str, float], allowed: float, step_error: float) -> Iterator[tuple[tuple[str, str], bool]]:
    """Each pair that both answered, and whether it differs; a non-finite answer differs from everything."""
    for first, second in PAIRS:
        if first in best and second in best:
            least = LEAST_UNITS * 2.0**-53 * abs(best[second])
            room = max(allowed, least) + (step_error if "central" in (first, second) else 0.0)
            yield (first, second), not abs(best[first] - best[second]) <= room


def _agreed(answers: Mapping[str, float], best: Mapping[str, float], exact: float, room: float, shown: bool) -> Judgement:
    if len(best) < 2:
        return Judgement(Verdict.UNDECIDED, f"{next(iter(best))} alone: no step of central stays in the domain")
    if shown:
        return Judgement(Verdict.PASS, "symbolic overflows in floats; its value with 50 digits is shown", "", shown)
    error = abs(answers.get("symbolic", exact) - exact) if math.isfinite(exact) else 0.0
    if error > max(room, LEAST_UNITS * 2.0**-53 * abs(exact)):
        digits = "all"
        if exact:  # by logarithms: a quotient of subnormal numbers may divide by zero
            digits = f"{math.log10(error) - math.log10(abs(exact)) + 53 * math.log10(2.0):.1f}"
        reason = f"the symbolic form loses {digits} digits to rounding; with 50 digits it agrees"
        return Judgement(Verdict.IMPRECISE, reason, "symbolic")
    return Judgement(Verdict.PASS)


def _differing(best: Mapping[str, float], room: float, step_error: float, shown: bool) -> Judgement:
    differs = dict(_pairs(best, room, step_error))
    if len(differs) == len(PAIRS):
        suspect, reason = SIGNATURES[differs[PAIRS[0]], differs[PAIRS[1]], differs[PAIRS[2]]]
    else:
        suspect, reason = " or ".join(best), "only two methods to compare"
    broken = [method for method, value in best.items() if not math.isfinite(value)]
    if broken:
        suspect, reason = ", ".join(broken), "not finite where the others are"
    return Judgement(Verdict.FAIL, reason, suspect, shown)


def _largest(values: Any) -> float:
    """The largest absolute value among the finite ones."""
    sizes = np.abs(values)
    return float(np.max(sizes, initial=0.0, where=np.isfinite(sizes)))


def _accused(block: Block) -> Array:
    """The rows ``(P, n)`` whose gradient is wrong, not merely unknown or imprecise."""
    wrong: Array = ~block.passes & np.isin(block.verdict, [CODE[Verdict.FAIL], CODE[Verdict.CONVENTION]])
    return wrong


def _finite(allowed: Array) -> Array:
    return np.where(np.isfinite(allowed), allowed, 0.0)


def _exact_answer(symbolic: Symbolic, inputs: Mapping[str, Array], upstream: Mapping[str, Array]) -> Derivative | None:
    try:
        return symbolic.differentiate(exactly(inputs), exactly(upstream))
    except (ZeroDivisionError, ValueError, TypeError, OverflowError):
        return None  # mpmath's word for a pole or a complex value: the form has no real value here


def _joined(parts: Sequence[Derivative | None], shape: Any) -> Derivative | None:
    """Answers at some points one after the other, NaN at a point that has none."""
    known = next((part for part in parts if part is not None), None)
    if known is None:
        return None

    def column(kind: str, name: str) -> Array:
        nothing = np.full((1, *shape(name)), np.nan)
        return np.concatenate([nothing if part is None else _floats(getattr(part, kind)[name]) for part in parts])

    return Derivative(
        {name: column("values", name) for name in known.values},
        {name: column("gradients", name) for name in known.gradients},
    )


def _floats(column: Any) -> Array:
    """Floats from mpmath numbers, NaN for complex ones."""
    if np.asarray(column).dtype != object:
        return np.asarray(column, dtype=np.float64)

    def nearest(x: Any) -> float:
        real = getattr(x, "imag", 0) == 0
        return float(getattr(x, "real", x)) if real else math.nan

    return np.array([nearest(x) for x in np.ravel(column)]).reshape(np.shape(column))



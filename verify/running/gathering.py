"""What is found about one case while its batches are judged: columns that grow, and at last a record."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from verify.case.case import Case
from verify.graph.derivative import ClosedForm, Differentiator
from verify.judging.context import Context
from verify.judging.point_evidence import LEFT_RANGE
from verify.judging.power import Strength, strength
from verify.judging.rows import CODE, Block, RowKey
from verify.judging.rows import joined as joined_rows
from verify.judging.screen import Judge
from verify.judging.step_records import step_laws
from verify.methods.symbolic import Symbolic
from verify.places.points import RANDOM_BLOCK, Batch, joined, own_points
from verify.places.search import upstream_of
from verify.places.weak_checks import Reached, Special
from verify.records import METHODS, SUBJECT, CaseResult, PairDifference, Point, Rows, VariableResult, unravel
from verify.running.passes import both_passes
from verify.running.preparing import prepared_methods, result_of, variables_of
from verify.running.screening import Screening
from verify.running.settings import Settings
from verify.subjects.subject import Subject
from verify.words import VERDICTS, Rule, Verdict

Array = NDArray[Any]

KEEP_ALL = 10_000
"""Up to this many points every row is kept; beyond, the worst, the suspicious and a sample."""

SAMPLE = 256
"""Random points of a large run whose rows are kept whatever they came to."""

LEAST_TELLING = 8
"""Points from which on a gradient that is zero at all of them deserves a note."""

MOST_SUSPICIOUS = 2_000
"""Rows of one variable that do not simply pass and are kept in a large run."""

TOO_WEAK = "too weak: at every point that was proved, more than 1/256 of the gradient is allowed; try other points"
"""Why a variable is undecided whose every row passes."""


@dataclass(slots=True)
class _Column:
    """What is kept of one variable, batch after batch."""

    entries: int
    kept: list[Block] = field(default_factory=list)
    kept_ids: list[Array] = field(default_factory=list)
    kept_entries: list[Array] = field(default_factory=list)
    counts: Counter[Verdict] = field(default_factory=Counter)
    checked: int = 0
    failed: int = 0
    suspicious: int = 0
    largest: dict[tuple[str, str], tuple[float, int, int]] = field(default_factory=dict)
    """Pair -> largest difference, id of its point, entry."""
    magnitude: float = 0.0
    strength: Strength = field(default_factory=Strength)
    """What its proved rows could have told, once all are judged."""

    def most(self, pair: tuple[str, str]) -> float:
        """The largest difference of a pair so far."""
        return self.largest.get(pair, (-1.0, 0, 0))[0]

    def measure(self, pair: tuple[str, str], found: tuple[float, int, int], ids: Array) -> bool:
        """Takes note of a pair's largest difference, with the place of its point, where it is the largest so far."""
        largest, p, entry = found
        if not largest > self.most(pair):
            return False
        self.largest[pair] = (largest, int(ids[p]), entry)
        return True


class Gathering:
    """Everything that is found about one case while its batches are judged.

    In a small run every point is judged closely and every row is kept. In a large one points are screened; those that
    look suspicious wait until there are enough of them for one close look, and the others are counted as passing.
    """

    def __init__(
        self,
        case: Case,
        settings: Settings,
        subject: Subject | None = None,
        reverse: Differentiator | None = None,
    ) -> None:
        self.case, self.settings = case, settings
        self.variables = variables_of(case, settings, subject)
        self.methods, self.unsupported = prepared_methods(case, settings, self.variables)
        if reverse is not None and "reverse" in self.methods:
            self.methods["reverse"] = reverse
        if subject is not None:
            self.methods = {SUBJECT: subject, **self.methods}
        self.dtype = str(np.result_type(*(item.dtype for item in case.inputs))) if case.inputs else "float64"
        budget = settings.proof_bits, settings.proof_work
        self.context = Context(case, self.methods, self.variables, *budget)
        self.judging = Judge(self.context)
        self.columns: dict[RowKey, _Column] = {}
        self.points: dict[int, Point] = {}
        self.checked = 0
        self.is_small = settings.points + len(case.own_points) <= KEEP_ALL
        self.waiting: list[Batch] = []
        self.worst: dict[tuple[RowKey, tuple[str, str]], Batch] = {}
        self.reached = Reached(case, self.context.engine.program) if subject is not None else None
        self.special = Special(case, _chosen(case, subject)) if subject is not None else None

    def add(self, batch: Batch, known: Screening | None = None) -> None:
        """Takes in random points, of which a quick look may be ``known`` already."""
        if self.is_small:
            self.judge(batch)
            return
        sampled = max(0, SAMPLE - self.checked)
        if sampled:
            self.judge(batch.part(slice(0, sampled)))
            batch = batch.part(slice(sampled, None))
        if not len(batch):
            return
        self._count(batch, self.screening(batch) if known is None else known)

    def screening(self, batch: Batch) -> Screening:
        """What a quick look at random points finds; what is known already to be larger elsewhere is left aside."""
        screened = self.judging.screen(batch)
        gradients = screened.answers["reverse"].gradients if "reverse" in screened.answers else {}
        largest, magnitude = {}, {}
        for key, differences in screened.differences.items():
            column = self.columns.get(key) or _Column(0)
            largest[key] = {
                pair: _largest(found, column.most(pair), screened.suspicious) for pair, found in differences.items()
            }
            if key[1] == "gradient" and gradients and column.magnitude == 0.0:
                magnitude[key] = _magnitude(gradients[key[0]])
        return Screening(np.flatnonzero(screened.suspicious), largest, magnitude)

    def _count(self, batch: Batch, found: Screening) -> None:
        """Counts as passing what a quick look passes; what needs a close one waits."""
        clean = len(batch) - len(found.suspicious)
        if clean < len(batch):
            self.waiting.append(batch.part(found.suspicious))
        self.checked += clean
        for key, pairs in found.largest.items():
            column = self._column(key)
            column.counts[Verdict.PASS] += clean * column.entries
            column.checked += clean * column.entries
            column.magnitude = column.magnitude or found.magnitude.get(key, 0.0)
            for pair, largest in pairs.items():
                if column.measure(pair, largest, batch.ids):
                    self.worst[key, pair] = batch.part(np.array([largest[1]]))
        if sum(map(len, self.waiting)) >= RANDOM_BLOCK:
            self._judge_waiting()

    def judge(self, batch: Batch) -> None:
        """Judges every point of a batch closely, and keeps its rows: all of them, or in a large run the odd ones."""
        keep_all = self.is_small or self.checked < SAMPLE
        self.checked += len(batch)
        if self.reached is not None:
            self.reached.see(batch.inputs)
        if self.special is not None:
            self.special.see(batch.inputs, batch.upstream)
        for block in self.judging.judge(batch):
            column = self._column((block.name, block.quantity))
            codes = np.bincount(block.verdict.ravel(), minlength=len(VERDICTS))
            column.counts.update({verdict: int(n) for verdict, n in zip(VERDICTS, codes, strict=True) if n})
            column.checked += block.verdict.size
            column.failed += int(np.count_nonzero(~block.passes))
            if block.quantity == "gradient" and "reverse" in block.values:
                column.magnitude = column.magnitude or _magnitude(block.values["reverse"])
            with np.errstate(all="ignore"):
                for pair in self.context.pairs:
                    if pair[0] in block.values and pair[1] in block.values:
                        difference = np.abs(block.values[pair[0]] - block.values[pair[1]])
                        if column.measure(pair, _largest(difference, column.most(pair)), batch.ids):
                            self.worst.pop(((block.name, block.quantity), pair), None)
            odd = np.ones_like(block.passes) if keep_all else ~block.passes | (block.verdict != 0)
            self._keep(column, block, batch, odd, MOST_SUSPICIOUS - column.suspicious if not keep_all else None)

    def _keep(self, column: _Column, block: Block, batch: Batch, rows: Array, most: int | None) -> None:
        points, entries = (index[:most] for index in np.nonzero(rows))
        if most is not None:
            column.suspicious += len(points)
        if not len(points):
            return
        column.kept.append(block.rows((points, entries)))
        column.kept_ids.append(batch.ids[points])
        column.kept_entries.append(entries)
        for p in np.unique(points).tolist():
            self.points.setdefault(int(batch.ids[p]), point_record(batch, p))

    def _column(self, key: RowKey) -> _Column:
        if key not in self.columns:
            self.columns[key] = _Column(math.prod(self.case.graph.shape(key[0])))
        return self.columns[key]

    def _judge_waiting(self) -> None:
        waiting, self.waiting = joined(self.waiting), []
        self.judge(waiting)

    def finish(self) -> None:
        """Judges what still waits, and keeps the rows with the largest differences, which were counted already."""
        if self.waiting:
            self._judge_waiting()
        for (key, pair), batch in self.worst.items():
            _, point, entry = self.columns[key].largest[pair]
            for block in self.judging.judge(batch):
                if (block.name, block.quantity) == key and point == batch.ids[0]:
                    rows = np.zeros_like(block.passes)
                    rows[0, entry] = True
                    self._keep(self.columns[key], block, batch, rows, None)

    def result(self, seconds: float) -> CaseResult:
        """The record of the case."""
        case, settings = self.case, self.settings
        # The steps of central say nothing of a subject, and a case at another size has no point of its own.
        has_laws = "central" in self.methods and SUBJECT not in self.methods and case.own_points
        variables = tuple(self._variable(key, column) for key, column in self.columns.items())
        symbolic = self.methods.get("symbolic")
        stages, circuit = both_passes(case, settings, symbolic) if case.own_points else ((), ())
        return result_of(
            case,
            settings,
            self.unsupported,
            variables=variables,
            points=tuple(self.points.values()),
            stages=stages,
            circuit=circuit,
            kinks=tuple(self.context.kinks.values()),
            step_laws=step_laws(self.context, own_points(case, settings.seed)) if has_laws else (),
            points_checked=self.checked,
            methods=tuple(sorted(self.methods, key=lambda name: (*METHODS, name).index(name))),
            notes=self._notes(),
            weaknesses=self._weaknesses(),
            unproved=dict(self.context.unproved),
            seconds=seconds,
        )

    def _notes(self) -> tuple[str, ...]:
        """What a reader should know beside the rows."""
        notes = [f"{text} ({count} rows)" for text, count in self.context.notes.items()]
        lost = sum(column.counts[Verdict.IMPRECISE] - column.failed for column in self.columns.values())
        lost -= self.context.notes.get(LEFT_RANGE, 0)
        if lost > 0 and all(not column.failed for column in self.columns.values()):
            notes.append(f"{lost} rows lost digits to rounding and pass: the terms of their own points cost as much")
        outer = sum(record.outer for record in self.context.kinks.values())
        if outer and any(column.counts[Verdict.SUBGRADIENT] for column in self.columns.values()):
            notes.append(f"SUBGRADIENT at {outer} kinks: inside of an outer bound, in which more may lie than slopes")
        if not self.is_small:
            notes.append(f"{self.checked:,} points: kept are the rows that do not simply pass, the worst, and a sample")
        return (*notes, *self._weaknesses())

    def _weaknesses(self) -> tuple[str, ...]:
        """Why the check could not have told a wrong gradient from a right one."""
        if self.reached is not None and self.reached.is_at_tie and not self.settings.points:
            return ()  # who gives points on a tie, and asks for no others, wants to know of the tie
        told = []
        for (name, quantity), column in self.columns.items():
            # Of a subject not every point is proved: that the truth is 0 at those that are says nothing of the others.
            is_zero = column.magnitude == 0.0 or (column.strength.is_zero and SUBJECT not in self.methods)
            if quantity == "gradient" and is_zero and self.checked >= LEAST_TELLING:
                told.append(f"{name}: the gradient is zero at every point, so a wrong factor cannot be caught here")
        told += self.reached.weaknesses() if self.reached is not None else []
        return (*told, *(self.special.weaknesses(self.context.engine) if self.special is not None else ()))

    def _variable(self, key: RowKey, column: _Column) -> VariableResult:
        case, (name, quantity) = self.case, key
        rows = _rows(column, self.context.texts.all())
        found = column.strength = strength(rows, column.entries)
        if found.is_too_weak and quantity == "gradient":
            rows = self._too_weak(column, rows)
        symbolic = self.methods.get("symbolic")
        shown = isinstance(symbolic, Symbolic) and quantity == "gradient"
        closed = symbolic.closed_form(name) if isinstance(symbolic, Symbolic) and shown else ClosedForm("")
        shape = case.graph.shape(name)
        return VariableResult(
            case=case.name,
            name=name,
            role=_role(case, name),
            quantity=quantity,
            shape=shape,
            file=case.file,
            line=case.lines.get(name, 0),
            rows=rows,
            checked=column.checked,
            counts=column.counts,
            failed=column.failed,
            differences=tuple(_pair_difference(column, pair, shape) for pair in self.context.pairs),
            dtype=self.dtype,
            proved=found.proved,
            weak=found.weak,
            power=found.power,
            form=closed.form,
            closed_forms=closed.formulas,
            figure_lines={
                number: expected.line
                for number, point in enumerate(case.own_points)
                for expected in point.expected
                if (expected.name, expected.quantity) == key and expected.line
            },
        )

    def _too_weak(self, column: _Column, rows: Rows) -> Rows:
        """The rows of a variable that no proved row could tell anything about: what passed is undecided.

        But for an answer that is the truth to within a rounding of every node: that needs no bound to be right.
        """
        passed = np.isfinite(np.asarray(rows.reference)) & (rows.verdict == CODE[Verdict.PASS])
        if SUBJECT in rows.errors:
            allowance = self.context.allowance({item.name: np.zeros(1, item.dtype) for item in self.case.inputs})
            passed &= ~(rows.errors[SUBJECT] <= allowance.relative(rows.reference))
        own = passed & (rows.point < len(self.case.own_points))
        reason = self.context.texts.number(TOO_WEAK)
        column.counts[Verdict.PASS] -= int(np.count_nonzero(passed))
        column.counts[Verdict.UNDECIDED] += int(np.count_nonzero(passed))
        column.failed += int(np.count_nonzero(own & rows.passes))
        return replace(
            rows,
            verdict=np.where(passed, CODE[Verdict.UNDECIDED], rows.verdict).astype(np.int8),
            passes=rows.passes & ~own,
            rule=np.where(passed, self.context.texts.number(Rule.WEAK), rows.rule),
            reason=np.where(passed, reason, rows.reason),
            texts=self.context.texts.all(),
        )


def _largest(difference: Array, least: float, left_out: Array | None = None) -> tuple[float, int, int]:
    """The largest of some differences ``(P, n)``, the place of its point, and the entry; -1 where none is above least.

    ``left_out`` ``(P,)`` marks points that are measured elsewhere.
    """
    if difference.max(initial=-1.0) <= least:
        return -1.0, 0, 0
    if left_out is not None:
        difference[left_out] = -1.0
    largest = float(np.fmax.reduce(difference, axis=None, initial=-1.0))
    if not largest > least:
        return -1.0, 0, 0
    return (largest, *divmod(int(np.flatnonzero(difference == largest)[0]), difference.shape[1]))


def _magnitude(values: Array) -> float:
    """The largest of those that are finite: 0 tells that a gradient is zero everywhere."""
    return float(np.max(np.abs(values[np.isfinite(values)]), initial=0.0))


def _rows(column: _Column, texts: tuple[str, ...]) -> Rows:
    def flat(arrays: list[Array]) -> Array:
        return np.concatenate([np.zeros(0, np.int64), *arrays])

    return joined_rows(column.kept, flat(column.kept_ids), flat(column.kept_entries), texts)


def _chosen(case: Case, subject: Subject) -> list[str]:
    """The inputs that vary, and floats that were handed in as constants: not data that a function or a case brings."""
    held = subject.interface.held
    floats = [name for name, value in held.items() if getattr(getattr(value, "dtype", float), "kind", "f") == "f"]
    return [item.name for item in case.inputs if item.kind == "real" or item.name in floats]


def _role(case: Case, name: str) -> Literal["input", "stage", "output"]:
    if name in case.graph.outputs:
        return "output"
    return "stage" if name in case.graph.stages else "input"


def _pair_difference(column: _Column, pair: tuple[str, str], shape: tuple[int, ...]) -> PairDifference:
    if pair not in column.largest:
        return PairDifference(pair, math.nan, -1, ())
    value, point, entry = column.largest[pair]
    return PairDifference(pair, value, point, unravel(entry, shape))


def point_record(batch: Batch, p: int) -> Point:
    """One point of a batch as reports have it, with the upstream gradients that were drawn.

    >>> batch = Batch({"x": np.array([3.0])}, {"f": np.ones(1)}, np.array([7]), ["random"])
    >>> point_record(batch, 0).id, point_record(batch, 0).values
    (7, {'x': np.float64(3.0)})
    """
    values: dict[str, Any] = {name: value[p] for name, value in batch.inputs.items()}
    values |= {upstream_of(n): seed[p] for n, seed in batch.upstream.items() if seed[p].ndim or seed[p] != 1}
    return Point(
        id=int(batch.ids[p]),
        origin=batch.origins[p],
        own=batch.own,
        values=values,
        note=batch.notes[p] if batch.notes else "",
        line=batch.lines[p] if batch.lines else 0,
        given=batch.given[p] if batch.given else (),
    )

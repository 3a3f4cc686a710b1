"""From the methods' answers to verdicts.

Two steps, because nearly every row of a large batch needs no close look. The *screen* compares the answers with the
least tolerance that an honest comparison ever has. What does not pass it gets a *close look*:
:mod:`verify.judging.close_look` gathers evidence of it, and :mod:`verify.judging.rules` says what it comes to.

Why what the screen passes is right: let v be the engine's answer, G the truth, u the unit roundoff and K 8 plus the
number of nodes that round. The run in balls gives a radius ``R >= |v - G|``, and ``allowed = 2 R + K u |v| + ...``. An
answer a is unsuspicious where ``|a - v| <= K u |v|``; then ``|a - G| <= |a - v| + |v - G| <= K u |v| + R``, which is
within what is allowed, whatever R is: it need not be computed. The engine's own row needs ``R <= allowed``, which
always holds. What the argument takes for granted, that the engine's program is the function's derivative, is what the
other two methods are there for, and what is proved at the case's own points and at
:data:`~verify.judging.context.PROVED_POINTS` random ones.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from verify.case.case import Expected
from verify.graph.derivative import Derivative
from verify.graph.graph import Graph
from verify.graph.interpret import Values, branch_argument
from verify.judging.branches import is_lost
from verify.judging.close_look import CloseLook
from verify.judging.context import Context
from verify.judging.kinks import singular_distance, singular_nodes
from verify.judging.rows import Block, RowKey, Suspicion, columns_of, new_block, within
from verify.methods.central import contraction, granted_noise, usual_step
from verify.places.points import Batch
from verify.records import SUBJECT

Array = NDArray[Any]

NEAR_A_KINK = 2.0**-40
"""A branch argument this small against its operands is looked at closely."""


@dataclass(frozen=True, slots=True)
class Screened:
    """What a quick look at P points found."""

    suspicious: Array
    """``(P,)`` bool: the points that need a closer look; all rows of the others pass."""
    differences: Mapping[RowKey, Mapping[tuple[str, str], Array]]
    """How far each pair of methods is apart ``(P, n)``."""
    answers: Mapping[str, Derivative]


class Judge:
    """Judges one case, batch by batch."""

    def __init__(self, context: Context) -> None:
        self.context = context

    def screen(self, batch: Batch) -> Screened:
        """The quick look at a large batch: how far methods are apart, and which points need a closer look.

        What is not suspicious passes. The values differ by no more than a unit roundoff for every node, or for
        central by the rounding that two evaluations are always granted over its step; :meth:`judge` allows at least
        as much, so no row passes here that would not pass there.
        """
        answers = {
            name: method.differentiate(batch.inputs, batch.upstream) for name, method in self.context.methods.items()
        }
        values = self.context.engine.program.run(batch.inputs)
        suspicious = self._near_kinks(values, batch) | _lost(self.context.graph, values, len(batch))
        noise = self._granted(answers, batch)
        differences: dict[RowKey, dict[tuple[str, str], Array]] = {}
        for key in self.context.row_keys():
            columns = columns_of(key, answers, len(batch))
            found = differences[key] = {}
            if len(columns) < 2:
                suspicious[:] = True
            with np.errstate(all="ignore"):
                for pair in self.context.pairs:
                    if pair[0] not in columns or pair[1] not in columns:
                        continue
                    difference = np.subtract(columns[pair[0]], columns[pair[1]])
                    found[pair] = np.abs(difference, out=difference)
                    close = within(difference, self._least_bound(key, pair, columns, answers, noise, batch))
                    if not close.all():
                        suspicious |= ~close.all(axis=1)
        return Screened(suspicious, differences, answers)

    @np.errstate(all="ignore")  # non-finite values are judged, not warned about
    def judge(self, batch: Batch) -> list[Block]:
        """The rows of all variables, and of the outputs' values, at the points of a batch."""
        answers = {
            name: method.differentiate(batch.inputs, batch.upstream) for name, method in self.context.methods.items()
        }
        blocks = [
            new_block(key, columns_of(key, answers, len(batch)), self.context.graph) for key in self.context.row_keys()
        ]
        expected = self._write_expected(blocks) if batch.own else {}
        values = self.context.engine.program.run(batch.inputs)
        near, lost = self._near_kinks(values, batch), _lost(self.context.graph, values, len(batch))
        noise = self._granted(answers, batch)
        proved = self._to_be_proved(batch)
        if SUBJECT in self.context.methods:
            suspicions = [self._suspicion_of_subject(block, batch) for block in blocks]
        else:
            suspicions = [self._suspicion(block, answers, noise, batch) for block in blocks]
            self._add_rounding(noise, suspicions, batch)
            for block, suspicion in zip(blocks, suspicions, strict=True):
                self._settle_steps(block, suspicion, near, noise, batch)
        for block, suspicion in zip(blocks, suspicions, strict=True):
            suspicion.rows[near | lost] = True
            suspicion.rows[np.isfinite(block.expected)] = True
            suspicion.rows[proved] = True
        points = np.flatnonzero(np.any([suspicion.rows.any(axis=1) for suspicion in suspicions], axis=0))
        if len(points):
            flagged = [Suspicion(s.rows[points], s.steps[points], s.granted[points]) for s in suspicions]
            CloseLook(self.context, batch, points, blocks, flagged, expected, noise, proved[points]).run()
        return blocks

    def _to_be_proved(self, batch: Batch) -> Array:
        """The points ``(P,)`` at which every row is proved: own ones and the first random ones."""
        proved = np.full(len(batch), batch.own)
        if not proved.any() and batch.origins[0] == "random":
            proved[: self.context.budget.share("points", len(batch))] = True
        return proved

    def _write_expected(self, blocks: Sequence[Block]) -> dict[tuple[str, str, int], Expected]:
        """The case file's own figures, put beside the rows they belong to."""
        found: dict[tuple[str, str, int], Expected] = {
            (expected.quantity, expected.name, number): expected
            for number, point in enumerate(self.context.case.own_points)
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
        rows = np.full(block.verdict.shape, len(block.values) < 2)
        # Central alone has its error estimated too: there is nothing else to hold it against the truth with.
        steps = np.full(rows.shape, set(block.values) == {"central"} and block.quantity == "gradient")
        granted = np.zeros(rows.shape)
        key = (block.name, block.quantity)
        for pair in self.context.pairs:
            if pair[0] in block.values and pair[1] in block.values:
                bound = self._least_bound(key, pair, block.values, answers, noise, batch)
                with np.errstate(all="ignore"):
                    apart = ~within(np.abs(block.values[pair[0]] - block.values[pair[1]]), bound)
                rows |= apart
                if pair[1] == "central" and block.quantity == "gradient":
                    steps |= apart
                    granted[:] = bound
        return Suspicion(rows, steps, granted)

    def _suspicion_of_subject(self, block: Block, batch: Batch) -> Suspicion:
        """The rows at which a subject, or one of the two that it is compared with, is apart from the others."""
        rows = np.full(block.verdict.shape, "reverse" not in block.values)
        for method in ("symbolic", SUBJECT):
            if method in block.values and "reverse" in block.values:
                engine = block.values["reverse"]
                bound = self.context.allowance(batch.inputs).relative(engine)
                rows |= ~within(np.abs(block.values[method] - engine), bound)
        # Without SymPy's form central is asked too, where nothing can be proved, and needs to know its own error.
        return Suspicion(rows, np.full(rows.shape, "symbolic" not in block.values), np.zeros(rows.shape))

    def _least_bound(
        self,
        key: RowKey,
        pair: tuple[str, str],
        columns: Mapping[str, Array],
        answers: Mapping[str, Derivative],
        noise: Array | None,
        batch: Batch,
    ) -> Array:
        """What a pair may always differ by ``(P, n)``."""
        with np.errstate(all="ignore"):
            if pair[1] == "central" and key[1] == "gradient" and noise is not None:
                step = usual_step(np.asarray(answers["central"].values[key[0]]))
                return noise[:, None] / step.reshape(len(noise), -1)
            bound: Array = self.context.allowance(batch.inputs).relative(columns[pair[1]])
        return bound

    def _add_rounding(self, noise: Array | None, suspicions: Sequence[Suspicion], batch: Batch) -> None:
        """Adds to the granted noise, where a better step will be sought, what the forward pass in balls may round."""
        if noise is None:
            return
        at = np.flatnonzero(np.any([suspicion.steps.any(axis=1) for suspicion in suspicions], axis=0))
        if len(at):
            inputs, upstream = batch.take(at)
            noise[at] += self.context.central.noise(inputs, contraction(self.context.opened, upstream))

    def _settle_steps(self, block: Block, suspicion: Suspicion, near: Array, noise: Array | None, batch: Batch) -> None:
        """Takes back the suspicion of rows where only the step was at fault: a better one agrees with the others."""
        if block.quantity == "value" or noise is None or len(block.values) < 2:
            return
        others = [column for method, column in block.values.items() if method != "central"]
        for entry in np.flatnonzero(suspicion.steps.any(axis=0)):
            at = np.flatnonzero(suspicion.steps[:, entry] & ~near)
            with np.errstate(all="ignore"):
                least = self.context.allowance(batch.inputs).relative(others[-1][at, entry])
                alike = np.all([within(np.abs(o[at, entry] - others[-1][at, entry]), least) for o in others], axis=0)
            at, least = at[alike], least[alike]
            if not len(at):
                continue
            refined = self.context.refine(block, int(entry), at, noise[at], *batch.take(at))
            settled = np.ones(len(at), dtype=bool)
            for column in others:
                settled &= within(np.abs(refined.gradient - column[at, entry]), refined.error + least)
            settled &= np.isfinite(refined.error)
            suspicion.granted[at, entry] = refined.error
            suspicion.rows[at[settled], entry] = suspicion.steps[at[settled], entry] = False

    def _near_kinks(self, values: Values, batch: Batch) -> Array:
        """The points ``(P,)`` at which some branch is nearly undecided; ``values`` are of the case's own graph."""
        near = np.zeros(len(batch), dtype=bool)
        graph = self.context.opened
        if graph is not self.context.graph:
            values = self.context.central.program.run(batch.inputs)
        for i in self.context.central.kinks:
            node = graph.nodes[i]
            size = sum(np.abs(values[j]).reshape(len(values[j]), -1).max(axis=1, initial=0.0) for j in node.args)
            argument = np.abs(branch_argument(node, values))
            argument = argument.reshape(len(argument), -1)
            near |= ~(argument > NEAR_A_KINK * np.reshape(size, (-1, 1))).all(axis=1)
        for i in singular_nodes(graph):
            distance = singular_distance(graph, i, values)
            distance = distance.reshape(len(distance), -1)
            near |= ~(distance > NEAR_A_KINK * _largest_of_all(values)[:, None]).all(axis=1)
        return near

    def _granted(self, answers: Mapping[str, Derivative], batch: Batch) -> Array | None:
        """Rounding that central differences are always granted ``(P,)``, times their step."""
        if "central" not in answers:
            return None
        return granted_noise(self.context.graph, answers["central"].values, batch.upstream)


def _largest_of_all(values: Sequence[Array]) -> Array:
    """The largest size that any node has ``(P,)``, by which a length that should be 0 is measured."""
    sizes = [np.abs(x).reshape(len(x), -1).max(axis=1, initial=0.0) for x in values]
    largest: Array = np.max(np.broadcast_arrays(*sizes), axis=0)
    return largest


def _lost(graph: Graph, values: Values, points: int) -> Array:
    """The points ``(P,)`` at which some node has no finite value: there all methods may agree on nothing."""
    lost = np.zeros(points, dtype=bool)
    for mask in is_lost(graph, values):
        if mask.any():
            lost |= mask.reshape(len(mask), -1).any(axis=1)
    return lost

"""What stays the same while one case is judged: its methods, its own engine and differences, what it has to say."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from verify.case.case import Case
from verify.graph.derivative import Differentiator
from verify.graph.interpret import dtype_of
from verify.graph.lengths import with_lengths
from verify.graph.taylor import Taylor
from verify.judging.allowance import Allowance
from verify.judging.rows import Block, RowKey, Texts
from verify.methods.central import Central, Refined, contraction
from verify.methods.reverse import Reverse
from verify.methods.symbolic import Symbolic
from verify.records import SUBJECT, KinkRecord, pairs_of, unravel
from verify.subjects.subject import Subject
from verify.truth.reference import MOST_BITS, MOST_WORK, Reference
from verify.truth.step_bounds import StepBounds
from verify.words import Unproved

Array = NDArray[Any]


PROVED_POINTS = 8
"""Random points of a case at which every row is proved, beside the case's own points."""

MOST_EXAMINED_KINKS = 1024
"""Kinked points of a case that are judged by their corners; the others are UNDECIDED, and said to be."""

MOST_ENCLOSED = 512
"""Points of a case at which rows that seem to differ are enclosed; the others are judged by the floats alone."""

MOST_SUSPICIOUS_WORK = 100_000
"""Numbers in the graph, times suspicious rows of a subject that are proved, beside those of points that always are
(a second of a case or less); the others are UNDECIDED, and said to be."""

MOST_STEP_WORK = 30_000
"""Numbers in the graph, times rows whose central differences get a proved bound (about a second of a case); later rows
keep an estimate."""


@dataclass(slots=True)
class Budget:
    """What of one case may still be looked at closely; it is counted down, in work and not in time."""

    points: int = field(default_factory=lambda: PROVED_POINTS)
    """Random points to be proved."""
    kinks: int = field(default_factory=lambda: MOST_EXAMINED_KINKS)
    """Kinked points."""
    enclosed: int = field(default_factory=lambda: MOST_ENCLOSED)
    """Points whose open rows are enclosed."""
    suspicious: int = field(default_factory=lambda: MOST_SUSPICIOUS_WORK)
    """Numbers for a subject's suspicious rows."""
    steps: int = field(default_factory=lambda: MOST_STEP_WORK)
    """Numbers for bounds of central's steps."""

    def takes(self, what: str, work: int) -> bool:
        """Whether there was anything left for some work, which is counted.

        >>> budget = Budget(steps=1)
        >>> budget.takes("steps", 10), budget.takes("steps", 10)
        (True, False)
        """
        left = int(getattr(self, what))
        if left > 0:
            setattr(self, what, left - work)
        return left > 0

    def share(self, what: str, wanted: int) -> int:
        """How many of so many there is room for; they are counted."""
        given = min(max(int(getattr(self, what)), 0), wanted)
        setattr(self, what, getattr(self, what) - given)
        return given


class Context:
    """One case that is being judged."""

    def __init__(
        self,
        case: Case,
        methods: Mapping[str, Differentiator],
        variables: Sequence[str] | None = None,
        proof_bits: int = MOST_BITS,
        proof_work: float = MOST_WORK,
    ) -> None:
        """``methods`` are those that the run compares; the engine and the differences beside them serve the judge.

        The reference may take ``proof_bits`` and, for one point, ``proof_work``.
        """
        self.case = case
        self.graph = case.graph
        self.variables = tuple(case.variables if variables is None else variables)
        self.methods = dict(methods)
        self.subjects: dict[str, Subject] = {}
        """Frameworks among the methods, made ready to be asked why they are off."""
        self.pairs = pairs_of(self.methods)
        """The pairs of methods that are compared."""
        self.texts = Texts()
        self.engine = Reverse(case.graph, self.variables)
        self.central = Central(case.graph, self.variables, case.known)
        self.opened = self.central.graph
        """The graph with all branches in sight; kinks are looked for there."""
        self.has_lengths = with_lengths(case.graph, self.variables, case.known) is not case.graph
        """Whether lengths stand there that are written out in the case."""
        self.steps = StepBounds(case.graph)
        self.numbers = sum(math.prod(node.shape) for node in case.graph.nodes)
        """Numbers that one run of the graph computes."""
        self.budget, self.most_kinks = Budget(), MOST_EXAMINED_KINKS
        self.proved_faults: Counter[str] = Counter()
        """By variable: rows of a subject among the suspicious ones that are proved to be wrong so far."""
        self.notes: dict[str, int] = {}
        """Sentence -> how many rows it is about."""
        self.unproved: Counter[Unproved] = Counter()
        """Why rows are not proved that were to be, and how many of them."""
        self.kinks: dict[int, KinkRecord] = {}
        """Point id -> its corners, for the first few kinked points."""
        symbolic = self.methods.get("symbolic")
        form = symbolic if isinstance(symbolic, Symbolic) else None
        self.reference = Reference(case.graph, self.variables, form, proof_bits, proof_work)
        self.kink_taylor = self.reference.taylor if self.opened is self.graph else Taylor(self.opened)
        self.rounded_inputs = tuple(item.name for item in case.inputs if item.kind in ("real", "constant"))
        """Inputs that are numbers and not labels: a program may round them, whether they are differentiated or not."""
        self._allowances: dict[Any, Allowance] = {}
        self._valued = tuple(self._stages_with_value_rows())

    @cached_property
    def kink_engine(self) -> Reverse:
        """The engine where kinks are looked for: of a length that is written out it knows the slopes at 0."""
        return self.engine if self.opened is self.graph else Reverse(self.opened, self.variables)

    def allowance(self, inputs: Mapping[str, Array]) -> Allowance:
        """What right answers may be off by, at inputs of one dtype."""
        dtype = dtype_of(inputs)
        if dtype not in self._allowances:
            self._allowances[dtype] = Allowance.of(self.graph, inputs)
        return self._allowances[dtype]

    def note(self, sentence: str, rows: int = 1) -> None:
        """Takes note of something that a reader should know, about so many rows."""
        self.notes[sentence] = self.notes.get(sentence, 0) + rows

    def row_keys(self) -> list[RowKey]:
        """What has rows: the gradient by each variable, and some values; a subject has no values of its own."""
        if SUBJECT in self.methods:
            return [(name, "gradient") for name in self.variables]
        return [(name, "gradient") for name in self.variables] + [(name, "value") for name in self._valued]

    def _stages_with_value_rows(self) -> list[str]:
        """The outputs, and stages whose value the case file gives."""
        given = {e.name for point in self.case.own_points for e in point.expected if e.quantity == "value"}
        return [name for name in self.graph.stages if name in given or name in self.graph.outputs]

    def refine(
        self,
        block: Block,
        entry: int,
        at: Array,
        noise: Array,
        inputs: Mapping[str, Array],
        upstream: Mapping[str, Array],
    ) -> Refined:
        """Central differences of one entry with a better step at the points ``at``, written to the rows."""
        index = unravel(entry, self.graph.shape(block.name))
        output = contraction(self.opened, upstream)
        refined = self.central.refine(block.name, index, inputs, output, noise=noise)
        found = np.isfinite(refined.error)
        block.values["central"][at[found], entry] = refined.gradient[found]
        block.step[at[found], entry] = refined.step[found]
        if refined.straddled.any():
            text = f"{block.name}: a step straddled a kink; the branch of the point itself was followed"
            self.note(text, int(refined.straddled.sum()))
        return refined

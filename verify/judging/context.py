"""What stays the same while one case is judged: its methods, its own engine and differences, what it has to say."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from verify.case.case import Case
from verify.graph.derivative import Differentiator
from verify.graph.graph import Graph
from verify.graph.lengths import with_lengths
from verify.graph.taylor import Taylor
from verify.judging.compare import LEAST_UNITS
from verify.judging.rows import Block, RowKey, Texts
from verify.methods.central import Central, Refined, contraction
from verify.methods.reverse import Reverse
from verify.methods.symbolic import Symbolic
from verify.ops import OPS
from verify.records import SUBJECT, KinkRecord, Unproved, pairs_of, unravel
from verify.truth.reference import MOST_BITS, MOST_WORK, Reference
from verify.truth.step_bounds import StepBounds

Array = NDArray[Any]


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
        self.subjects: dict[str, Any] = {}
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
        self.step_work = 0
        """What bounding central differences has taken so far, in numbers computed."""
        self.suspicious_work = 0
        """What proving a subject's suspicious rows has taken so far, in numbers computed."""
        self.proved_faults: Counter[str] = Counter()
        """By variable: rows of a subject among the suspicious ones that are proved to be wrong so far."""
        self.growth = LEAST_UNITS + rounding_nodes(case.graph)
        """Units roundoff that any right way to compute something may be off by, relative to its size."""
        self.notes: dict[str, int] = {}
        """Sentence -> how many rows it is about."""
        self.unproved: Counter[Unproved] = Counter()
        """Why rows are not proved that were to be, and how many of them."""
        self.kinks_examined = 0
        self.kinks: dict[int, KinkRecord] = {}
        """Point id -> its corners, for the first few kinked points."""
        self.points_enclosed = 0
        self.points_proved = 0
        """Random points at which every row was proved so far."""
        symbolic = self.methods.get("symbolic")
        form = symbolic if isinstance(symbolic, Symbolic) else None
        self.reference = Reference(case.graph, self.variables, form, proof_bits, proof_work)
        self.kink_taylor = self.reference.taylor if self.opened is self.graph else Taylor(self.opened)
        self.rounded_inputs = tuple(item.name for item in case.inputs if item.kind in ("real", "constant"))
        """Inputs that are numbers and not labels: a program may round them, whether they are differentiated or not."""
        self._valued = tuple(self._stages_with_value_rows())

    @cached_property
    def kink_engine(self) -> Reverse:
        """The engine where kinks are looked for: of a length that is written out it knows the slopes at 0."""
        return self.engine if self.opened is self.graph else Reverse(self.opened, self.variables)

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


def rounding_nodes(graph: Graph) -> int:
    """How many nodes of a graph round: inputs, literals, and ops that only move or negate entries do not.

    >>> from verify.case.expression import graph_from_expressions
    >>> rounding_nodes(graph_from_expressions({"x": (2,)}, {"f": "-x[0] * 3 + x[1]"}))
    2
    """
    return sum(node.kind == "op" and OPS[node.op].ulps > 0 for node in graph.nodes)

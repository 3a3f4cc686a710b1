"""The rows of a case while they are judged: whole columns, and what is suspected of them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from verify.graph.derivative import Derivative
from verify.graph.graph import Graph
from verify.records import VERDICTS, Verdict

Array = NDArray[Any]

RowKey = tuple[str, Literal["gradient", "value"]]
"""What rows are about: the gradient by a variable, or the value of a stage."""

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
    reference: Array
    """The middle of the certified enclosure, NaN where none was asked for."""
    radius: Array
    """How far the truth may be from it."""
    allowed: Array
    """What a float method may be off by, NaN where the row was not looked at closely."""
    step: Array
    """The step of central that gave its answer where the usual one did not, NaN elsewhere."""
    step_error: Array
    """What central may be off by on top of ``allowed``."""
    errors: dict[str, Array]
    """By method: no less than its distance from the truth, NaN where the row was not proved."""
    road: Array
    """Number of the text that says how the reference was had."""

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
            self.reference[where],
            self.radius[where],
            self.allowed[where],
            self.step[where],
            self.step_error[where],
            {method: column[where] for method, column in self.errors.items()},
            self.road[where],
        )

    def judge(self, where: tuple[Any, ...], verdict: Verdict, passes: Any, reason: int, suspect: int = 0) -> None:
        """Writes one judgement to some rows."""
        self.verdict[where] = CODE[verdict]
        self.passes[where] = passes
        self.reason[where] = reason
        self.suspect[where] = suspect


def within(difference: Array, bound: Any) -> NDArray[np.bool_]:
    """Whether differences stay within their bounds; an infinite or undefined one never does, whatever the bound.

    >>> within(np.array([1.0, np.inf, np.nan]), np.inf).tolist()
    [True, False, False]
    """
    close: NDArray[np.bool_] = (difference <= bound) & (difference < np.inf)
    return close


def columns_of(key: RowKey, answers: Mapping[str, Derivative], points: int) -> dict[str, Array]:
    """Each method's values ``(P, n)`` for one kind of rows, in arrays that may be the methods' own.

    A method that gives nothing for them, such as a subject that gives the inputs' gradients alone, is left out.

    >>> answer = Derivative({"x": np.ones(2)}, {"x": np.array([3.0, 4.0])})
    >>> columns_of(("x", "gradient"), {"reverse": answer}, 2)["reverse"].shape
    (2, 1)
    """
    name, quantity = key
    given = {m: answer.gradients if quantity == "gradient" else answer.values for m, answer in answers.items()}
    return {
        method: np.asarray(columns[name], dtype=np.float64).reshape(points, -1)
        for method, columns in given.items()
        if name in columns
    }


def new_block(key: RowKey, columns: Mapping[str, Array], graph: Graph) -> Block:
    """Rows that pass until something is found against them.

    >>> from verify.case.expression import graph_from_expressions
    >>> graph = graph_from_expressions({"x": ()}, {"f": "x**2"})
    >>> bool(new_block(("x", "gradient"), {"reverse": np.ones((2, 1))}, graph).passes.all())
    True
    """
    shape = next((column.shape for column in columns.values()), (0, math.prod(graph.shape(key[0]))))
    return Block(
        *key,
        {method: column.copy() for method, column in columns.items()},
        verdict=np.zeros(shape, dtype=np.int8),
        passes=np.ones(shape, dtype=bool),
        reason=np.zeros(shape, dtype=np.int64),
        suspect=np.zeros(shape, dtype=np.int64),
        expected=np.full(shape, np.nan),
        reference=np.full(shape, np.nan),
        radius=np.full(shape, np.nan),
        allowed=np.full(shape, np.nan),
        step=np.full(shape, np.nan),
        step_error=np.full(shape, np.nan),
        errors={method: np.full(shape, np.nan) for method in columns},
        road=np.zeros(shape, dtype=np.int64),
    )


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

"""The rows of a case while they are judged: whole columns, and what is suspected of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from verify.graph.derivative import Derivative
from verify.graph.graph import Graph
from verify.records import COLUMNS, METHODS, Columns, Quantity, Rows, each
from verify.words import VERDICTS, Rule, Verdict

Array = NDArray[Any]

RowKey = tuple[str, Quantity]
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


KINDS: Mapping[str, tuple[type[np.generic], Any]] = {
    "Real": (np.float64, np.nan),
    "Truth": (np.bool_, True),
    "Judged": (np.int8, CODE[Verdict.PASS]),
    "Text": (np.int64, 0),
}
"""What a column of each kind holds, and what it holds of rows that nothing was found of: they pass."""


def blank(shape: tuple[int, ...]) -> dict[str, Any]:
    """All columns of rows that nothing was found of.

    >>> blank((2,))["reference"], blank((2,))["passes"].all()
    (array([nan, nan]), np.True_)
    """
    made = ((name, KINDS.get(kind)) for name, kind in COLUMNS.items())
    return {name: {} if kind is None else np.full(shape, kind[1], kind[0]) for name, kind in made}


@dataclass(frozen=True, slots=True)
class Judgement:
    """What one row came to, as a rule says it."""

    verdict: Verdict
    reason: str = ""
    suspect: str = ""
    passes: bool | None = None
    """Whether the row passes; None where it does as rows of this verdict do."""
    by_estimate: bool = False
    """That somebody is accused by an estimate of central's error alone."""

    def lets_pass(self, *, own: bool) -> bool:
        """Whether the row passes; what was not decided does, but at points that somebody asked for.

        >>> undecided = Judgement(Verdict.UNDECIDED)
        >>> undecided.lets_pass(own=True), undecided.lets_pass(own=False)
        (False, True)
        """
        if self.passes is not None:
            return self.passes
        return self.verdict in {Verdict.PASS, Verdict.SUBGRADIENT} or (self.verdict is Verdict.UNDECIDED and not own)

    @property
    def accuses(self) -> bool:
        """Whether it says that somebody is wrong, where the row does not pass."""
        accusing = self.verdict in {Verdict.FAIL, Verdict.CONVENTION, Verdict.DISPUTED}
        return accusing and not self.lets_pass(own=True)


@dataclass(frozen=True, slots=True)
class Block(Columns[Array, Array, Array, Array]):
    """All rows of one variable at P points: arrays ``(P, n)``, n entries of the variable in C order."""

    name: str
    quantity: Quantity
    step: Array
    """The step of central that gave its answer where the usual one did not, NaN elsewhere."""

    def rows(self, where: tuple[Array, Array]) -> Block:
        """Some rows, every column now of length R."""
        taken = {name: each(getattr(self, name), lambda column: column[where]) for name in (*COLUMNS, "step")}
        return replace(self, **taken)

    def write(self, where: tuple[Any, ...], judgement: Judgement, rule: Rule, texts: Texts, *, own: bool) -> None:
        """Writes what some rows came to, and by which rule."""
        self.verdict[where], self.passes[where] = CODE[judgement.verdict], judgement.lets_pass(own=own)
        said = {"rule": rule, "reason": judgement.reason, "suspect": judgement.suspect}
        for name, text in said.items():
            getattr(self, name)[where] = texts.number(text)


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
    told = {
        "values": {method: column.copy() for method, column in columns.items()},
        "errors": {method: np.full(shape, np.nan) for method in columns},
    }
    return Block(*key, step=np.full(shape, np.nan), **blank(shape) | told)


def joined(blocks: Sequence[Block], point: Array, entry: Array, texts: tuple[str, ...]) -> Rows:
    """Rows of blocks, one block after the other, with the ids of their points and their entries.

    >>> joined([], np.zeros(0, int), np.zeros(0, int), ("",)).values
    {'symbolic': array([], dtype=float64), 'reverse': array([], dtype=float64), 'central': array([], dtype=float64)}
    """
    columns = blank((len(point),))
    for name in COLUMNS if blocks else ():
        first = getattr(blocks[0], name)
        if isinstance(first, Mapping):
            columns[name] = {m: np.concatenate([getattr(block, name)[m] for block in blocks]) for m in first}
        else:
            columns[name] = np.concatenate([getattr(block, name) for block in blocks])
    absent = {method: np.full(len(point), np.nan) for method in METHODS}
    columns["values"] = absent | columns["values"]
    return Rows(point, entry, texts, **columns)


def table(said: Sequence[Mapping[str, Any]]) -> Rows:
    """Rows that were found one by one, each with its point, its entry and what is known of its columns.

    >>> table([{"point": 7, "entry": 0, "values": {"central": 2.0}, "reason": "measured"}]).texts
    ('', 'measured')
    """
    texts = Texts()
    codes: dict[str, Callable[[Any], Any]] = {"Judged": CODE.__getitem__, "Text": texts.number}

    def column(name: str, start: Array) -> Any:
        code = codes.get(COLUMNS[name], lambda value: value)
        if COLUMNS[name] in KINDS:
            return np.array([code(row[name]) if name in row else start[i] for i, row in enumerate(said)], start.dtype)
        methods = dict.fromkeys(method for row in said for method in row.get(name, ()))
        return {method: np.array([row[name].get(method, np.nan) for row in said], np.float64) for method in methods}

    columns = {name: column(name, start) for name, start in blank((len(said),)).items()}
    point, entry = (np.array([row[name] for row in said], np.int64) for name in ("point", "entry"))
    return Rows(point, entry, texts.all(), **columns)


@dataclass(frozen=True, slots=True)
class Suspicion:
    """The rows of one variable that need a closer look: arrays ``(P, n)``."""

    rows: Array
    """Whether a row does."""
    steps: Array
    """Whether it is central that is apart from the others, so that a better step may settle it."""
    granted: Array
    """What central may be off by where it is not."""

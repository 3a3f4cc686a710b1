"""What a run found, as plain data: the contract between who computes and who renders.

Renderers import this file alone. Results are kept column by column, one :class:`Rows` for each variable, because a
run may hold a million of them; :meth:`Rows.row` gives a single one as an object. Arrays are NumPy's, but this file
does not import NumPy. Units: gradients are in units of the (contracted) output per unit of the variable.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar, overload

from verify.errors import LONGEST_WORD, line_of, printable
from verify.words import ERROR, VERDICTS, FindingKind, NoVerdict, Unproved, Verdict, worst

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    FloatArray = NDArray[np.float64]
    IntArray = NDArray[np.int64]
    BoolArray = NDArray[np.bool_]

SUBJECT = "subject"
"""The name, among the methods, of a gradient under test."""

WRONG_FIGURE = "the expected figure or the expressions"
"""Who is suspected where everything but the case file's figure agrees."""

UPSTREAM = "upstream of "
"""What stands before the name of an output among the values of a point."""

METHODS: tuple[str, ...] = ("symbolic", "reverse", "central")
"""The order in which methods stand in every table."""

PAIRS: tuple[tuple[str, str], ...] = (("symbolic", "reverse"), ("symbolic", "central"), ("reverse", "central"))
"""The pairs whose differences are reported, in the order of the signature (D differs, A agrees)."""

JUDGED_ALONE = ("subject",)
"""Names among the methods that are held against the reference alone, and paired with nobody."""


def further_methods(methods: Iterable[str]) -> tuple[str, ...]:
    """The methods beside the three, such as a framework's own gradients, in the order that they are given in.

    >>> further_methods(["symbolic", "torch", "reverse", "subject"])
    ('torch',)
    """
    return tuple(method for method in methods if method not in (*METHODS, *JUDGED_ALONE))


def pairs_of(methods: Iterable[str]) -> tuple[tuple[str, str], ...]:
    """The pairs that are reported of a run with these methods: the three, and one for each further method.

    A further method is paired with ``reverse``, which runs in floats as it does, or with the next best that there is.

    >>> pairs_of(["symbolic", "reverse", "central", "torch"])[3:], pairs_of(["central", "torch"])[3:]
    ((('reverse', 'torch'),), (('torch', 'central'),))
    """
    known = tuple(methods)
    further = further_methods(known)
    partner = next((name for name in ("reverse", "symbolic", "central", *further) if name in known), "")
    if partner == "central":
        return (*PAIRS, *((name, partner) for name in further))
    return (*PAIRS, *((partner, name) for name in further if name != partner))


Quantity = Literal["gradient", "value", "jvp", "jacobian", "hvp", "hessian", "objective"]
"""What rows are about: a gradient, the value of a stage, ``J v``, J, ``H v``, H, the two arrays of an objective."""


def shown_name(variable: str, quantity: Quantity) -> str:
    """What a variable's rows are called: a gradient by x is ``dx``, all else has its own name.

    >>> shown_name("x", "gradient"), shown_name("df/dx", "jacobian")
    ('dx', 'df/dx')
    """
    return f"d{variable}" if quantity == "gradient" else variable


def format_entry(entry: tuple[int, ...]) -> str:
    """An index as it is written after a variable: ``[0, 2]``; empty for a scalar.

    >>> format_entry((0, 2)), format_entry(())
    ('[0, 2]', '')
    """
    return f"[{', '.join(map(str, entry))}]" if entry else ""


Real = TypeVar("Real")
Truth = TypeVar("Truth")
Judged = TypeVar("Judged")
Text = TypeVar("Text")

NO_NUMBER: Any = math.nan
NO_TEXT: Any = ""
PASSED: Any = Verdict.PASS
TRUE: Any = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Columns(Generic[Real, Truth, Judged, Text]):
    """What is said of a row, the one list of it: of a single row, of the rows of a variable, of rows being judged.

    Whoever copies, joins, writes or reads rows goes through these fields, by the kind that each is annotated with.
    """

    values: Mapping[str, Real] = field(default_factory=dict)
    """By method; NaN where that method gave none."""
    expected: Real = NO_NUMBER
    """The figure of the case file, NaN where there is none."""
    reference: Real = NO_NUMBER
    """The middle of the certified enclosure of the truth, NaN where the row was not proved."""
    radius: Real = NO_NUMBER
    """How far the truth may be from it, in the unit of the row."""
    allowed: Real = NO_NUMBER
    """What a method may be off by, in the unit of the row; NaN where the row was not looked at closely."""
    step_error: Real = NO_NUMBER
    """What central may be off by on top of ``allowed``, because of its step."""
    errors: Mapping[str, Real] = field(default_factory=dict)
    """By method: no less than its distance from the truth, in the unit of the row; NaN where it was not proved."""
    road: Text = NO_TEXT
    """How the reference was had: ``symbolic+taylor``, ``taylor``, ``taylor, 3 directions``; empty if it was not."""
    verdict: Judged = PASSED
    passes: Truth = TRUE
    rule: Text = NO_TEXT
    """The one of :class:`Rule` by which it was decided; empty where nothing stands against the row."""
    reason: Text = NO_TEXT
    suspect: Text = NO_TEXT
    """Who is probably wrong, in a few words; empty where nobody is accused."""


COLUMNS: Mapping[str, str] = {column.name: str(column.type) for column in fields(Columns)}
"""The columns by name, with the kind of each: one of the four above, or a mapping from methods to numbers."""


def each(column: Any, change: Callable[[Any], Any]) -> Any:
    """A column that is changed; of one that has numbers for each method, those of each.

    >>> each({"reverse": 1, "central": 2}, lambda x: x + 1)
    {'reverse': 2, 'central': 3}
    """
    if isinstance(column, Mapping):
        return {method: change(numbers) for method, numbers in column.items()}
    return change(column)


@dataclass(frozen=True, slots=True)
class Row(Columns[float, bool, Verdict, str]):
    """One entry of one gradient at one point: what every method says of it, and what it came to."""

    case: str
    variable: str
    entry: tuple[int, ...]
    """Index into the variable, empty for a scalar."""
    quantity: Quantity
    point: int
    """Id of the point: its position in ``CaseResult.points``' ``id`` fields."""
    file: str
    line: int
    """With ``file`` the place to edit: a wrong figure's own line, a wrong gradient's first, else the variable's."""
    diagnosis: tuple[str, ...] = ()
    """Of a row that does not pass: what is wrong with the variable's gradient, as far as it is known."""

    def difference(self, first: str, second: str) -> float:
        """The absolute difference of two methods, in the unit of the row."""
        return abs(self.values.get(first, float("nan")) - self.values.get(second, float("nan")))


@dataclass(frozen=True, slots=True)
class Rows(Columns["FloatArray", "BoolArray", "NDArray[np.int8]", "IntArray"]):
    """The rows of one variable, column by column; every array has length R.

    Verdicts are positions in :data:`VERDICTS`, texts positions in ``texts``.
    """

    point: IntArray
    """Point ids (see :class:`Point`)."""
    entry: IntArray
    """Flat C-order index into the variable's shape; 0 for a scalar."""
    texts: tuple[str, ...] = ("",)
    """The sentences that ``reason``, ``suspect`` and ``road`` point at; position 0 is the empty string."""

    def __len__(self) -> int:
        """The number of rows R."""
        return len(self.point)

    def words(self, kind: str) -> Sequence[Any] | None:
        """What the numbers in a column of this kind stand for; None where they stand for themselves."""
        return {"Text": self.texts, "Judged": VERDICTS}.get(kind)

    def take(self, chosen: Any) -> Rows:
        """Some rows, by their positions or by truth values."""
        columns = {name: each(getattr(self, name), lambda column: column[chosen]) for name in COLUMNS}
        return Rows(self.point[chosen], self.entry[chosen], self.texts, **columns)


@dataclass(frozen=True, slots=True)
class PairDifference:
    """The largest difference between two methods for one variable, and where it is."""

    pair: tuple[str, str]
    largest: float
    """Absolute difference, in the unit of the row; NaN where the pair was never compared."""
    point: int
    """Point id, -1 where the pair was never compared."""
    entry: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class VariableResult:
    """Everything that was found about one variable (an input or a stage) of one case."""

    case: str
    name: str
    role: Literal["input", "stage", "output"]
    quantity: Quantity
    shape: tuple[int, ...]
    file: str
    line: int
    """Where the case file defines the variable."""
    rows: Rows
    """All rows, or (see ``checked``) the worst, the suspicious and a sample."""
    checked: int
    """How many rows were compared; more than ``len(rows)`` where only some were kept."""
    counts: Mapping[Verdict, int]
    """Rows by verdict, over all that were checked."""
    failed: int
    """How many rows do not pass, over all that were checked."""
    differences: tuple[PairDifference, ...]
    """One for each pair of :func:`pairs_of` the run's methods, over all that were checked."""
    dtype: str = "float64"
    """What the case computes in."""
    proved: int = 0
    """How many rows were held against the certified reference."""
    weak: int = 0
    """How many of them could not have told a wrong factor: more than 1/256 of the gradient is allowed."""
    power: float = math.nan
    """The smallest relative fault in any of the variable's entries that is sure to be rejected; NaN if unknown."""
    form: str = ""
    """How the symbolic method did it: ``closed form`` or ``by stages``; empty for values."""
    closed_forms: Mapping[str, str] = field(default_factory=dict)
    """SymPy's formula by entry (``""`` for a scalar or a whole matrix, ``"[0, 2]"`` for an entry)."""
    diagnosis: tuple[str, ...] = ()
    """What is wrong with a gradient that was handed in, a sentence each, the simplest first; empty where nothing is."""
    figure_lines: Mapping[int, int] = field(default_factory=dict)
    """Id of a point of the case file -> the line of the figure that it has of the variable there."""
    subject_place: tuple[str, int] = ("", 0)
    """File and line of a gradient that was handed in, as far as they are known."""

    @property
    def verdict(self) -> Verdict:
        """The worst verdict of all rows that were checked."""
        return worst([verdict for verdict, count in self.counts.items() if count])

    @property
    def passes(self) -> bool:
        """Whether every row passes."""
        return self.failed == 0

    def row(self, i: int) -> Row:
        """Row number ``i`` of those that were kept, as an object."""
        rows = self.rows
        told = {name: _single(rows.words(kind), getattr(rows, name), i) for name, kind in COLUMNS.items()}
        entry = unravel(int(rows.entry[i]), self.shape)
        diagnosis = () if rows.passes[i] else self.diagnosis
        where = self.case, self.name, entry, self.quantity, int(rows.point[i]), *self._place(i, told["suspect"])
        return Row(*where, diagnosis, **told)

    def _place(self, i: int, suspect: str) -> tuple[str, int]:
        """File and line to edit where row number ``i`` does not pass."""
        rows = self.rows
        if SUBJECT in rows.values and suspect in ("", SUBJECT) and not rows.passes[i] and self.subject_place[0]:
            return self.subject_place
        is_figure = suspect == WRONG_FIGURE
        return self.file, (self.figure_lines.get(int(rows.point[i]), 0) if is_figure else 0) or self.line

    def failing(self) -> Iterator[Row]:
        """The kept rows that do not pass."""
        return (self.row(i) for i in range(len(self.rows)) if not self.rows.passes[i])


def _single(words: Sequence[Any] | None, column: Any, i: int) -> Any:
    """One entry of a column, as a single row has it."""
    if isinstance(column, Mapping):
        return {method: float(numbers[i]) for method, numbers in column.items()}
    value = column[i].item()
    return value if words is None else words[value]


def unravel(flat: int, shape: tuple[int, ...]) -> tuple[int, ...]:
    """The index tuple of a flat C-order index.

    >>> unravel(7, (2, 5))
    (1, 2)
    """
    index: list[int] = []
    for size in reversed(shape):
        flat, position = divmod(flat, size)
        index.append(position)
    return tuple(reversed(index))


@dataclass(frozen=True, slots=True)
class Point:
    """Where a case was looked at."""

    id: int
    """Unique within the case; rows refer to it."""
    origin: str
    """``at``, ``points[2]``, ``kink`` or ``random``; for a gradient under test, in words, why the point was sought."""
    own: bool
    """Whether the case file itself names this point."""
    values: Mapping[str, Any]
    """Input name -> array of the input's shape; drawn upstream gradients are included, as ``upstream of D``."""
    note: str = ""
    line: int = 0
    given: tuple[str, ...] = ()
    """The inputs whose values somebody wrote down; all others are drawn from the seed."""


@dataclass(frozen=True, slots=True)
class KinkRecord:
    """The subgradients at one kinked point, by all inputs together."""

    point: int
    """Id of the point."""
    sites: str
    """What is tied, in words."""
    variables: tuple[str, ...]
    """Name of each column of ``corners``: a variable, or an entry of one such as ``x[0]``."""
    corners: Any
    """Array ``(C, n)``, in the units of the gradients: the gradient of each branch pattern that some direction
    realises; where ``listed`` is false the smallest and the largest value of each entry."""
    listed: bool
    """Whether the corners are listed one by one, rather than bounded."""
    patterns: int
    """How many patterns the undecided branches have that matter to the output."""
    realised: int
    """How many of them some direction realises, or may realise."""
    outer: bool
    """Whether the set that gradients were held against may be larger than that of the subgradients."""


@dataclass(frozen=True, slots=True)
class StageRecord:
    """One line of the forward and backward pass at the case's first own point."""

    name: str
    expression: str
    """As the case file writes it; empty for an input."""
    line: int
    shape: tuple[int, ...]
    value: Any
    """Array of ``shape``: the forward pass."""
    local_derivatives: Mapping[str, str]
    """Operand name -> SymPy's formula for d(stage)/d(operand); empty for an input."""
    gradient: Any
    """Array of ``shape``: d(output)/d(stage), the stage's upstream gradient, by the engine; NaN where it has none."""
    contributions: Mapping[str, Any] = field(default_factory=dict)
    """Operand name -> array of its shape: what the stage sends back to it, upstream gradient times local derivative."""


@dataclass(frozen=True, slots=True)
class Gate:
    """One gate of the circuit of a case at its first own point: a node of its program, or a stage of a larger one."""

    label: str
    """What it does, in short: ``*``, ``exp``, ``1/x``; empty for an input, and for a stage that stands for nodes."""
    name: str
    """The input or stage that it holds, empty where it has no name."""
    operands: tuple[int, ...]
    """Positions of the gates that it reads, all smaller than its own; a constant is in its label."""
    shape: tuple[int, ...]
    value: Any
    """Array of ``shape``; of more than a few entries the smallest and the largest."""
    gradient: Any
    """The same of d(output)/d(gate) by the engine; NaN where it has none."""
    kink: Literal["", "kinked", "tied"] = ""
    """``kinked`` where it has two slopes somewhere, ``tied`` where it has them here."""


@dataclass(frozen=True, slots=True)
class StepLaw:
    """The error of central differences of one entry over many steps, with its proved bounds, at the first own point.

    Errors and bounds are in units of the gradient; inf where nothing is known.
    """

    variable: str
    entry: tuple[int, ...]
    """The one with the largest gradient."""
    point: int
    """Its id."""
    steps: tuple[float, ...]
    """In units of the variable, falling; empty where there is no law, which the sentence explains."""
    errors: tuple[float, ...]
    """How far the quotient of each step is from the certified gradient."""
    truncation: tuple[float, ...]
    """Bounds what the length of each step does."""
    rounding: tuple[float, ...]
    """Bounds what floats do."""
    best_step: float
    """The power of two with the smallest bound; NaN where there is none."""
    best_bound: float
    """The bound of its error."""
    sentence: str


@dataclass(frozen=True, slots=True)
class Finding:
    """Something about a case or a gradient under test that no single number shows."""

    kind: FindingKind
    variable: str
    """What it concerns; empty for the gradient as a whole. Of ``global state``, what was changed."""
    sentence: str
    fails: bool
    """Whether the gradient does not pass because of it."""
    detail: str = ""
    """More text, such as a traceback; several lines."""


@dataclass(frozen=True, slots=True)
class KillScore:
    """How many single faults of the backward pass the run would have caught."""

    variants: int
    """How many were tried."""
    made: int
    """How many there are; more than were tried where a sample was."""
    equivalent: int
    """How many are the same function as the gradient, as far as its certified reference can tell: no faults."""
    caught: int
    """How many of the others fail the run."""
    survivors: tuple[str, ...]
    """The faults that do not, each with its kind and in words."""
    survive_allclose: int
    """How many faults ``numpy.allclose`` with rtol=1e-3, atol=1e-5 lets pass at the case's own points."""


@dataclass(frozen=True, slots=True)
class SimplestPoint:
    """The smallest size and the shortest numbers at which a gradient under test is still grossly wrong."""

    variable: str
    entry: tuple[int, ...]
    sizes: Mapping[str, int]
    """Dim -> size; empty where the case has none."""
    values: Mapping[str, Any]
    """Input, or ``upstream of`` an output, -> array."""
    answer: float
    """What the gradient says there, in the unit of the variable's gradient."""
    truth: float
    """The middle of the certified enclosure; NaN at a kink, where it is a set."""
    sentence: str


def one_line(text: str) -> str:
    """A name as it stands in a line of its own: short, and with nothing that a terminal would obey.

    >>> one_line("a" * 99)[-5:]
    'aa...'
    """
    shown = line_of(text)
    return shown if len(shown) <= LONGEST_WORD else f"{shown[: LONGEST_WORD - 3]}..."


def html_table(title: str, headings: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table for notebooks, everything in it escaped.

    >>> html_table("<f>", ["a"], [["1 < 2"]])
    '<p><code>&lt;f&gt;</code></p><table><tr><th>a</th></tr><tr><td>1 &lt; 2</td></tr></table>'
    """
    from html import escape

    def line(cells: Sequence[str], tag: str) -> str:
        return f"<tr>{''.join(f'<{tag}>{escape(printable(cell))}</{tag}>' for cell in cells)}</tr>"

    lines = [line(headings, "th"), *(line(row, "td") for row in rows)]
    return f"<p><code>{escape(printable(title))}</code></p><table>{''.join(lines)}</table>"


@dataclass(frozen=True, slots=True)
class CaseResult:
    """Everything that was found about one case file."""

    name: str
    file: str
    source: str = ""
    """Where the function and its figures come from, as the case file says."""
    function: tuple[tuple[str, str], ...] = ()
    """Stage name and expression, in order."""
    outputs: tuple[str, ...] = ()
    variables: tuple[VariableResult, ...] = ()
    points: tuple[Point, ...] = ()
    """All points, or those that the kept rows refer to."""
    stages: tuple[StageRecord, ...] = ()
    circuit: tuple[Gate, ...] = ()
    """The case's program at its first own point; empty where it has too many stages to be drawn."""
    kinks: tuple[KinkRecord, ...] = ()
    """The first few points at which branches were undecided and gradients were held against their corners."""
    seed: int = 0
    points_asked: int = 0
    """Random points, as asked for."""
    points_checked: int = 0
    methods: tuple[str, ...] = METHODS
    unsupported: Mapping[str, str] = field(default_factory=dict)
    """Method -> reason, for methods that could not do this case at all."""
    failures: tuple[str, ...] = ()
    """Whole-case reasons not to pass (a method asked for by name is unsupported), a sentence each."""
    problems: tuple[str, ...] = ()
    """Why the case could not be run at all, a problem each with its place; everything else is empty then."""
    problem_lines: tuple[int, ...] = ()
    """The lines of the file that the problems are in, 0 where one is about all of it; empty where none is known."""
    notes: tuple[str, ...] = ()
    """What a reader should know: a step that straddled a kink, a check too weak to catch anything."""
    weaknesses: tuple[str, ...] = ()
    """Those of the notes that say why the check could not have told a wrong gradient from a right one."""
    unproved: Mapping[Unproved, int] = field(default_factory=dict)
    """Why rows are not proved that were to be, and how many: all rows of the case's own points and of the first
    random ones, and those of a gradient under test that are apart from the engine's."""
    seconds: float = 0.0
    """Wall time that the case took."""
    step_laws: tuple[StepLaw, ...] = ()
    """One for each real input."""
    unchanged: bool = False
    """Whether nothing has changed since the case was last checked, and passed: this is what was found then."""
    sizes: int = 0
    """At how many other sizes the case is run too: results of their own, which follow this one."""
    findings: tuple[Finding, ...] = ()
    """What was found about a gradient under test beside its numbers; empty where there is none."""
    kill_score: KillScore | None = None
    """What the run catches of planted faults; None where nobody asked, or where nothing was proved."""
    simplest: SimplestPoint | None = None
    """The simplest point that shows the failure of a gradient under test, None where it was not looked for."""

    @property
    def passes(self) -> bool:
        """Whether the case could be run and every row of it passes."""
        failed = self.problems or self.failures or any(finding.fails for finding in self.findings)
        return not failed and all(variable.passes for variable in self.variables)

    @property
    def checked(self) -> int:
        """How many rows were compared, over all variables."""
        return sum(variable.checked for variable in self.variables)

    @property
    def proved(self) -> int:
        """How many of them were held against the certified reference."""
        return sum(variable.proved for variable in self.variables)

    @property
    def counts(self) -> Counter[Verdict]:
        """Rows by verdict over all variables."""
        total: Counter[Verdict] = Counter()
        for variable in self.variables:
            total.update(variable.counts)
        return total

    @property
    def status(self) -> str:
        """The worst verdict of the case, or ``ERROR`` where it could not be run."""
        if self.problems:
            return ERROR
        if self.failures or any(finding.fails for finding in self.findings):
            return Verdict.FAIL.value
        return _headline(self.passes, [self]).value

    def failing(self) -> Iterator[Row]:
        """All kept rows of the case that do not pass."""
        for variable in self.variables:
            yield from variable.failing()

    def __repr__(self) -> str:
        """The result in one line; what it holds may be a million numbers."""
        counts = ", ".join(f"{count:,} {verdict}" for verdict, count in self.counts.items() if count)
        told = f"{self.status}, {self.checked:,} rows" + (f" ({counts})" if counts else "")
        return f"<{type(self).__name__} {one_line(self.name)!r}: {told}, {self.proved:,} proved>"

    def _repr_html_(self) -> str:
        """The same for notebooks, with a line for each variable."""
        rows = [
            (v.name, v.quantity, v.verdict, f"{v.checked:,}", f"{v.proved:,}", "; ".join(v.diagnosis))
            for v in self.variables
        ]
        headings = ("variable", "quantity", "verdict", "rows", "proved", "diagnosis")
        return html_table(repr(self), headings, rows or [(p, "", ERROR, "", "", "") for p in self.problems])


MOST_UNDECIDED = 0.1
"""The part of the rows that may be undecided before a run is called so that passes."""


def is_undecided(counts: Mapping[Verdict, int]) -> bool:
    """Whether so many rows are undecided that they are what there is to say.

    >>> is_undecided({Verdict.PASS: 90, Verdict.UNDECIDED: 10}), is_undecided({Verdict.PASS: 8, Verdict.UNDECIDED: 2})
    (False, True)
    """
    return counts.get(Verdict.UNDECIDED, 0) > MOST_UNDECIDED * sum(counts.values())


def _headline(passes: bool, cases: Sequence[CaseResult]) -> Verdict:
    """The worst verdict of some cases; of those that pass UNDECIDED only where it is what there is to say.

    Digits that are lost as everybody's are, so that they pass, are told beside the headline and are none.
    """
    variables = [variable for case in cases for variable in case.variables]
    counts: Counter[Verdict] = sum((case.counts for case in cases), Counter())
    seen = {verdict for verdict, count in counts.items() if count}
    is_decided = all(variable.counts.get(Verdict.UNDECIDED, 0) < variable.checked for variable in variables)
    if passes and is_decided and not is_undecided(counts):
        seen.discard(Verdict.UNDECIDED)
    if passes and Verdict.IMPRECISE in seen:
        seen = seen - {Verdict.IMPRECISE} | {Verdict.PASS}
    return worst(list(seen))


class Stored(Sequence[CaseResult]):
    """Results in order, each read when it is asked for.

    >>> stored = Stored(lambda i: CaseResult("abc"[i], ""), [2, 0])
    >>> [case.name for case in stored], [case.name for case in stored.through(lambda case: CaseResult("d", ""))]
    (['c', 'a'], ['d', 'd'])
    """

    def __init__(self, read: Callable[[int], CaseResult], order: Sequence[int]) -> None:
        self._read, self._order = read, order

    def __len__(self) -> int:
        return len(self._order)

    @overload
    def __getitem__(self, i: int) -> CaseResult: ...

    @overload
    def __getitem__(self, i: slice) -> Stored: ...

    def __getitem__(self, i: int | slice) -> CaseResult | Stored:
        return Stored(self._read, self._order[i]) if isinstance(i, slice) else self._read(self._order[i])

    def through(self, change: Callable[[CaseResult], CaseResult]) -> Stored:
        """The same results, each changed when it is asked for."""
        return Stored(lambda i: change(self._read(i)), self._order)


@dataclass(frozen=True, slots=True)
class Shard:
    """Which part of a whole a run was."""

    number: int
    of: int
    """How many shards there are; the first has number 1."""
    files: int
    """How many case files the whole has."""
    digest: str
    """Of their names: two shards with one digest are parts of one whole."""
    places: Mapping[str, int]
    """Case file -> its place in the whole, of those that the shard has."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """What has changed since an earlier run, by the names of cases."""

    baseline: str
    """The earlier run's report."""
    newly_failing: tuple[str, ...]
    newly_passing: tuple[str, ...]
    slower: tuple[tuple[str, float, float], ...]
    """With the seconds that the case took then, and takes now."""


@dataclass(frozen=True, slots=True)
class Run:
    """One run over a set of cases: what a report is made of."""

    cases: tuple[CaseResult, ...]
    seed: int
    points: int
    """Random points for each case, as asked for."""
    methods: tuple[str, ...] = METHODS
    versions: Mapping[str, str] = field(default_factory=dict)
    """Package -> version, of what the numbers depend on."""
    command: str = ""
    """The command that repeats the run."""
    started: str = ""
    """ISO 8601, UTC; empty where the report must not depend on the clock."""
    seconds: float = 0.0
    left_out: int = 0
    """How many case files were not run, because the run was interrupted or was to stop at the first failure."""
    again: Mapping[str, int] = field(default_factory=dict)
    """Case file -> how many times it was run again, since the worker that it was on was lost."""
    compared: Comparison | None = None
    """What has changed since an earlier run, None where nobody asked."""
    asked: Mapping[str, str] = field(default_factory=dict)
    """All settings that results depend on, by name."""
    shard: Shard | None = None
    """Which part of a whole it is; None for a whole."""
    stored: Stored | None = None
    """The cases with all that was found, read one by one from the disk, where ``cases`` do not hold it; else None."""

    @property
    def whole(self) -> Sequence[CaseResult]:
        """The cases with all that was found: to go through once, since each may be read from the disk."""
        return self.cases if self.stored is None else self.stored

    @property
    def ok(self) -> bool:
        """Whether every case was run and passes."""
        return not self.left_out and all(case.passes for case in self.cases)

    @property
    def verdict(self) -> Verdict | NoVerdict:
        """The worst status of all cases: a verdict, or ``ERROR`` where a case could not be run.

        A few undecided rows are no headline of a run that passes: more than a tenth of all are, or a whole variable.
        IMPRECISE is one only where it does not pass.
        """
        statuses = [case.status for case in self.cases]
        if ERROR in statuses:
            return NoVerdict.ERROR
        return _headline(self.ok, self.cases) if self.ok else worst([Verdict(s) for s in statuses])

    @property
    def counts(self) -> Counter[Verdict]:
        """Rows by verdict over all cases."""
        return sum((case.counts for case in self.cases), Counter())

    @property
    def exit_code(self) -> int:
        """0 all pass, 1 a row does not pass, 2 a case could not be run."""
        if any(case.problems for case in self.cases):
            return 2
        return 0 if self.ok else 1

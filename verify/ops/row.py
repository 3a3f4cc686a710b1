"""What a row of the table is made of."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import KW_ONLY, dataclass, field
from functools import partial
from typing import Any, Literal

import numpy as np
import sympy

from verify.errors import ShapeError
from verify.ops.code import Code, Entrywise
from verify.ops.trials import Trial, entry_by_entry

Shape = tuple[int, ...]

OPERAND_NAMES = "abxy"
"""What the operands of a row are called, in order, in its spelling and in messages."""


@dataclass(frozen=True, slots=True)
class Interval:
    """Where one argument of an op may be: between two ends, each in or out, perhaps without zero.

    >>> LOG = Interval(0.0, low_open=True)
    >>> bool(LOG.contains(0.0)), bool(LOG.contains(2.0)), LOG.text("a")
    (False, True, 'a > 0')
    """

    low: float = -math.inf
    high: float = math.inf
    low_open: bool = False
    high_open: bool = False
    nonzero: bool = False

    def contains(self, x: Any) -> Any:
        """Elementwise: whether ``x`` is inside. NaN never is."""
        above = (x > self.low) if self.low_open else (x >= self.low)
        below = (x < self.high) if self.high_open else (x <= self.high)
        inside = above & below
        return inside & (x != 0) if self.nonzero else inside

    def text(self, name: str) -> str:
        """The condition in words, empty where everything is allowed."""
        conditions = []
        if self.low > -math.inf:
            conditions.append(f"{name} {'>' if self.low_open else '>='} {self.low:g}")
        if self.high < math.inf:
            conditions.append(f"{name} {'<' if self.high_open else '<='} {self.high:g}")
        if self.nonzero:
            conditions.append(f"{name} != 0")
        return " and ".join(conditions)


REAL = Interval()
POSITIVE = Interval(0.0, low_open=True)
NONNEGATIVE = Interval(0.0)
NONZERO = Interval(nonzero=True)


@dataclass(frozen=True, slots=True)
class Kink:
    """A place where an op has two slopes: ``branches[0]`` holds where ``argument`` > 0, ``branches[1]`` where < 0.

    Both are given operands of any number system, and the op's static parameters.
    """

    argument: Callable[..., Any]
    branches: tuple[Callable[..., Any], Callable[..., Any]]
    ties: Mapping[str, tuple[float, float]]
    """Convention at a tie -> weight of the derivative of each branch; the first is the default."""
    meets: bool = True
    """The branches have one value wherever the argument is 0; if not, the op jumps where their values differ."""


@dataclass(frozen=True, slots=True)
class UnitBall:
    """An op that is the length of its operands: at 0 its slopes are the unit ball, and the engine answers 0."""


@dataclass(frozen=True, slots=True)
class Jump:
    """An op with jumps, where it has no slope."""

    distance: Callable[..., Any]
    """How far the operands are from the nearest jump, in plain numbers: no more than any of them would have to move."""
    flat: bool = True
    """Anywhere else its slope is 0."""


def by_lowering(*_: Any, **__: Any) -> Any:
    """Stands in the column ``sympy`` of an op that has a lowering. Raises TypeError.

    >>> by_lowering()
    Traceback (most recent call last):
        ...
    TypeError: the op has a lowering in place of a SymPy form
    """
    raise TypeError("the op has a lowering in place of a SymPy form")


FORGOTTEN: Any = None
"""Stands in a column that a row must have and does not; the table refuses the row."""


@dataclass(frozen=True, slots=True)
class Op:
    """One row of the table; the docstring of :mod:`verify.ops` explains the columns."""

    name: str
    _: KW_ONLY
    forward: Callable[..., Any] = FORGOTTEN
    vjps: tuple[Callable[..., Any], ...] = ()
    sympy: Callable[..., Any] = by_lowering
    """:func:`by_lowering` for an op that has a lowering in its place."""
    exact: Callable[..., Any] = FORGOTTEN
    ball: Callable[..., Any] = FORGOTTEN
    code: Code = FORGOTTEN
    """How ``verify emit`` writes it and its derivative; see :mod:`verify.ops.code`."""
    example: str = ""
    """A stage that uses it, of vectors ``u`` and ``b`` of two numbers from 0.6 to 1.7, or of 2 by 2 matrices."""
    trials: tuple[Trial, ...] = ()
    """Shapes and static parameters that it is tried with; by itself for elementwise rows without parameters."""
    shape: Callable[..., Shape] = FORGOTTEN
    spelling: str = ""
    """How a case file writes it, with ``a`` and ``b`` for its arguments; a call of its name if left out."""
    domain: tuple[Interval, ...] = ()
    ulps: float = 0.5
    reach: tuple[float, float] = (1e8, 1e8)
    """How large an operand is tried, in float64 and float32, so that value and slope stay within the dtype's range."""
    kink: Kink | None = None
    singular: UnitBall | Jump | None = None
    params: tuple[str, ...] = ()
    numbers: Mapping[str, float | None] = field(default_factory=dict)
    """Those of its static parameters that are numbers, which calls give after the operands or by name -> what they
    are if left out, None where they must be given."""
    elementwise: bool = True
    source: str = ""
    required: tuple[str, ...] = ()
    """Parameters that must be given; a case file may write them by position, behind the operands."""
    axis_of: Literal["operand", "result"] = "operand"
    """Whose axes ``axis`` counts: an op may make new ones."""
    variadic: Literal["", "list", "text first"] = ""
    """Any number of operands: as a list, ``stack([a, b])``, or behind a text, ``einsum("ij,jk->ik", a, b)``."""
    moves: bool = False
    """The op only moves entries (some of them more than once, or none) and puts zeros between them."""
    uses: Callable[..., int] | None = None
    """How many products it adds up, from the operands' shapes; each entry of the operands once if left out."""
    lower: Callable[..., int] | None = None
    """How the op is built of others: ``lower(builder, *positions, **params)`` gives the position of the result."""
    held: Callable[..., Any] | None = None
    """A constant that the lowering takes as its last operand and no derivative sees, from the operands' floats."""
    implicit: bool = False
    """Whether ``sympy`` gives no value but what must vanish: ``sympy(y, *operands)``, in the shape of the value y."""
    curved: bool = False
    """For a structural op: whether it is not linear in an operand, and its terms may cancel far below their size."""
    undefined: str = ""
    """Why it may have no value at operands that are inside the domain."""
    ties: Mapping[str, Any] = field(default_factory=dict)
    """Convention at a tie -> what the VJP takes for it, where the lowering has the branches; the first is default."""

    def __post_init__(self) -> None:
        """Fills in what most rows have alike."""
        settle = partial(object.__setattr__, self)
        if not self.domain:
            settle("domain", (REAL,) * len(self.vjps))
        if not self.spelling:
            settle("spelling", f"{self.name}({', '.join(OPERAND_NAMES[: len(self.vjps)])})")
        if self.elementwise:
            if self.shape is FORGOTTEN:
                settle("shape", elementwise_shape)
            if not self.trials and not self.params:
                settle("trials", entry_by_entry(len(self.vjps)))

    @property
    def arity(self) -> int:
        """How many arguments it takes; 1 stands for any number of them where the row is variadic."""
        return len(self.vjps)

    @property
    def statics(self) -> list[Mapping[str, Any]]:
        """The different static parameters of its trials.

        >>> from verify.ops import OPS
        >>> OPS["leaky_relu"].statics, OPS["exp"].statics
        ([{'slope': 0.125}, {'slope': -0.5}], [{}])
        """
        found: list[Mapping[str, Any]] = []
        for _, params in self.trials:
            found += [] if params in found else [params]
        return found

    @property
    def flat(self) -> frozenset[int]:
        """The operands by which its slope is 0 wherever it has one: those of steps, and those that where compares."""
        if self.kink is not None and not self.kink.meets:
            return frozenset((0, 1))
        steps = isinstance(self.singular, Jump) and self.singular.flat
        return frozenset(range(self.arity)) if steps else frozenset()

    @property
    def told(self) -> str:
        """What a case may write, where that has a value, and what is to be said of it, in one sentence for an editor.

        >>> from verify.ops import OPS
        >>> OPS["log"].told, OPS["max"].told
        ('log(a), for a > 0', 'max(a, b); at a tie, under `ties`: first, both, half')
        """
        where = f", for {self.allowed}" if self.allowed else ""
        given = f"; parameters: {', '.join(self.params)}" if self.params else ""
        ties = f"; at a tie, under `ties`: {', '.join(self.conventions)}" if self.conventions else ""
        return f"{self.spelling}{where}{given}{ties}"

    @property
    def allowed(self) -> str:
        """The conditions under which it has a value, empty where it always has one.

        >>> from verify.ops import OPS
        >>> OPS["log"].allowed, OPS["exp"].allowed
        ('a > 0', '')
        """
        conditions = [interval.text(name) for interval, name in zip(self.domain, OPERAND_NAMES, strict=False)]
        return " and ".join(filter(None, conditions))

    @property
    def conventions(self) -> Mapping[str, Any]:
        """What a case may say under ``ties:``, the default first; empty where nothing ties."""
        return self.ties if self.kink is None else self.kink.ties

    def vjps_for(self, operands: int) -> tuple[Callable[..., Any], ...]:
        """One VJP for each operand; that of a variadic op is told which one is meant.

        >>> from verify.ops import OPS
        >>> len(OPS["add"].vjps_for(2)), len(OPS["stack"].vjps_for(3))
        (2, 3)
        """
        if not self.variadic:
            return self.vjps
        return tuple(partial(self.vjps[0], which=i) for i in range(operands))


def exact_rational(value: float) -> sympy.Expr:
    """The number that a float is, as SymPy's exact rational: a literal means the double it parses to.

    >>> exact_rational(0.5), exact_rational(2.0)
    (1/2, 2)
    """
    return sympy.Rational(*float(value).as_integer_ratio())


def elementwise_shape(*shapes: Shape, **_: float) -> Shape:
    """NumPy's broadcasting, whatever the static parameters are. Raises ShapeError where it does not apply.

    >>> elementwise_shape((2, 3), (3,))
    (2, 3)
    """
    try:
        return np.broadcast_shapes(*shapes)
    except ValueError:
        raise ShapeError(f"shapes {' and '.join(map(str, shapes))} do not broadcast together") from None


NEEDED: Mapping[str, str] = {
    "forward": "the op in NumPy",
    "vjps": "a vector-Jacobian product for each argument",
    "exact": "the op on mpmath's numbers",
    "ball": "the op on python-flint's balls and series of balls",
    "code": "how `verify emit` writes it and its derivatives",
    "example": "a stage that uses it, of u and b",
    "shape": "the result's shape from those of the operands",
    "trials": "shapes and static parameters to try it with",
}
"""Columns that no row goes without, each in words."""


def forgotten(row: Op, file: str) -> list[str]:
    """What a row of a file still lacks, or says against itself, a sentence for each field.

    >>> forgotten(Op("twice", forward=lambda a: 2 * a, vjps=(lambda g, y, a: 2 * g,)), "verify/ops/mine.py")[0]
    "verify/ops/mine.py: the row 'twice' has no exact: the op on mpmath's numbers"
    """
    found = [f"has no {name}: {says}" for name, says in NEEDED.items() if not getattr(row, name)]
    if row.sympy is by_lowering and row.lower is None:
        found.append("has no sympy: the op on SymPy's expressions; write it, or a lowering in its place")
    if row.sympy is not by_lowering and row.lower is not None:
        found.append("has both sympy and lower; write one of them")
    if isinstance(row.code, Entrywise) and row.vjps and len(row.code.local) != len(row.vjps):
        found.append(f"has {len(row.vjps)} vjps, and code for {len(row.code.local)}")
    if row.example and row.spelling.startswith(f"{row.name}(") and f"{row.name}(" not in row.example:
        found.append(f"has an example that does not use it: {row.example}")
    return [f"{file}: the row {row.name!r} {text}" for text in found]

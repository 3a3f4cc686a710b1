"""A case: a function written once, with where to look and what is known of it from outside."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from verify.graph import Graph

InputKind = Literal["real", "integer", "label", "mask", "constant"]


@dataclass(frozen=True, slots=True)
class Domain:
    """The interval that an input may be in, each end in or out.

    >>> Domain(0.0, 10.0, low_open=True).contains(0.0)
    False
    >>> print(Domain(0.0, 10.0, low_open=True))
    (0, 10]
    """

    low: float
    high: float
    low_open: bool = False
    high_open: bool = False

    def contains(self, x: Any) -> Any:
        """Elementwise: whether ``x`` is inside; NaN never is."""
        above = (x > self.low) if self.low_open else (x >= self.low)
        below = (x < self.high) if self.high_open else (x <= self.high)
        return above & below

    def __str__(self) -> str:
        """The interval as it is written: a round bracket leaves the end out."""
        return f"{'(' if self.low_open else '['}{self.low:.12g}, {self.high:.12g}{')' if self.high_open else ']'}"


@dataclass(frozen=True, slots=True)
class Input:
    """One input of a case."""

    name: str
    shape: tuple[int, ...]
    kind: InputKind
    """Only ``real`` inputs are differentiated; ``constant`` ones keep their ``at`` at every point."""
    dtype: Literal["float64", "float32"]
    domain: Domain
    """Where points may be drawn; every given value lies inside."""
    at: NDArray[np.float64] | Literal["normal", "uniform"]
    """The value at the case's first own point, or how to draw it from the seed."""
    line: int = 0


@dataclass(frozen=True, slots=True)
class Expected:
    """Figures that the case file gives for one stage or input at one of its points."""

    quantity: Literal["value", "gradient"]
    name: str
    figures: NDArray[np.float64]
    """Array of the shape of ``name``."""
    half_unit: NDArray[np.float64]
    """Half a unit of the last digit that was printed, for each figure: how far the true value may be from it."""
    line: int = 0


@dataclass(frozen=True, slots=True)
class OwnPoint:
    """A point that the case file names."""

    origin: str
    """``at`` for the inputs' own values, else ``points[0]``, ``points[1]``, ..."""
    values: Mapping[str, NDArray[np.float64]]
    """Input -> value, for the inputs whose value is given; the others are drawn from the seed."""
    note: str = ""
    expected: tuple[Expected, ...] = ()
    line: int = 0


@dataclass(frozen=True, slots=True)
class Case:
    """A function written once; build one with :func:`load_case`."""

    name: str
    source: str
    file: str
    graph: Graph
    inputs: tuple[Input, ...]
    expressions: Mapping[str, str]
    """Stage -> expression as written, in order."""
    lines: Mapping[str, int]
    """Input or stage -> line of the case file."""
    upstream: Mapping[str, str] = field(default_factory=dict)
    """Output -> the input that is its upstream gradient; the other non-scalar outputs get one drawn from the seed."""
    own_points: tuple[OwnPoint, ...] = ()
    ties: Mapping[str, str] = field(default_factory=dict)
    accuracy: Literal["absolute", "relative"] = "absolute"

    @property
    def real_inputs(self) -> tuple[Input, ...]:
        """The inputs that are differentiated."""
        return tuple(item for item in self.inputs if item.kind == "real")

    @property
    def variables(self) -> tuple[str, ...]:
        """Everything the output is differentiated by: real inputs, then stages in order."""
        return (*(item.name for item in self.real_inputs), *self.graph.stages)

    @property
    def entries(self) -> int:
        """Floats in one point: the size of all inputs and stages together."""
        return sum(math.prod(self.graph.shape(name)) for name in (*self.graph.inputs, *self.graph.stages))

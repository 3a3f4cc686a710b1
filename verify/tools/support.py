"""What each method can do with each op, found by running it: op x method x points x shapes.

Every op is put on small graphs with operands of all ranks and of shapes that broadcast, at P = 1, P = 2 and P equal to
each dimension (where an axis of points is most easily taken for one of the operand's own). A method supports an op if
it answers everywhere, with arrays of the right shape, and is not outvoted by the other methods.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from verify.graph.derivative import Derivative, Unsupported
from verify.graph.graph import Graph, GraphBuilder
from verify.methods import prepare
from verify.ops import OPS, REAL, Shape
from verify.records import METHODS

Array = NDArray[Any]

NAMES = "abcd"
"""Operands of one trial."""

YES = "yes"
"""The status of a method that did all that was asked."""

TOLERANCES: Mapping[str, float] = {"symbolic": 2.0**-40, "reverse": 2.0**-40, "central": 2.0**-16}
"""How far a method may be off, relative to the largest entry: rounding, and for central its step."""


class Support(NamedTuple):
    """One cell of the matrix."""

    op: str
    method: str
    status: str
    """``yes``, or ``no:`` with the first reason that was met."""


@dataclass(frozen=True, slots=True)
class Trial:
    """One way to use an op: the shapes of its operands and its static parameters."""

    op: str
    shapes: tuple[Shape, ...]
    params: Mapping[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        """The trial in a few words.

        >>> print(Trial("sum", ((2, 3),), {"axis": (0,)}))
        shape (2, 3), axis=(0,)
        """
        shapes = f"shape{'s' if len(self.shapes) > 1 else ''} {' and '.join(map(str, self.shapes))}"
        return ", ".join([shapes, *(f"{key}={value}" for key, value in self.params.items())])

    def graph(self) -> Graph:
        """The op alone, on inputs ``a``, ``b`` and so on."""
        builder = GraphBuilder()
        operands = [builder.input(name, shape) for name, shape in zip(NAMES, self.shapes, strict=False)]
        builder.name("f", builder.apply(self.op, *operands, params=self.params))
        return builder.build(["f"])

    def counts(self) -> tuple[int, ...]:
        """The numbers of points that are tried: 1, 2, and each dimension of the operands."""
        return tuple(sorted({1, 2, *(size for shape in self.shapes for size in shape)}))

    def inputs(self, points: int, rng: np.random.Generator) -> dict[str, Array]:
        """Operands ``(P, *shape)`` inside the op's domain, away from its kinks."""
        drawn = {}
        domain = (*OPS[self.op].domain, *(REAL,) * len(self.shapes))  # a variadic op has operands of any size
        for name, shape, interval in zip(NAMES, self.shapes, domain, strict=False):
            signs = rng.choice([-1.0, 1.0], (points, *shape))
            whole = float(self.params.get("exponent", 1.0)).is_integer()
            low, high = (0.3, 0.8) if interval.high == 1 else (0.3, 2.0)
            sized = rng.uniform(low, high, (points, *shape)) + (1.0 if interval.low == 1 else 0.0)
            drawn[name] = sized * (signs if interval == REAL and whole else 1.0)
        if OPS[self.op].undefined or OPS[self.op].curved:  # away from singular ones, and positive definite
            drawn["a"] = drawn["a"] + 2.0 * self.shapes[0][-1] * np.eye(self.shapes[0][-1])
        return drawn


def trials(op: str) -> Iterator[Trial]:
    """All ways in which one op is tried.

    >>> [str(trial) for trial in trials("transpose")][2]
    'shape (2, 3)'
    """
    yield from (Trial(op, shapes, params) for shapes, params in OPS[op].trials)


def support_matrix(ops: Sequence[str] | None = None) -> list[Support]:
    """Runs each op through each method and says what happened; all ops if none are named.

    >>> [cell.status for cell in support_matrix(["relu"])]
    ['yes', 'yes', 'yes']
    """
    cells = []
    for op in OPS if ops is None else ops:
        reasons: dict[str, str] = {}
        tried = list(trials(op))
        for trial in tried:
            for method, reason in problems(trial).items():
                reasons.setdefault(method, reason)
        untried = YES if tried else "no: never tried; its row has no trials"
        cells += [Support(op, method, f"no: {reasons[method]}" if method in reasons else untried) for method in METHODS]
    return cells


def problems(trial: Trial) -> dict[str, str]:
    """Runs one trial through all methods: method -> why it does not support it, for those that do not.

    >>> problems(Trial("matmul", ((3,), (4, 3, 2))))
    {}
    """
    graph = trial.graph()
    variables = (*graph.inputs, *graph.stages)
    found: dict[str, str] = {}
    ready = {}
    for method in METHODS:
        answer = prepare(method, graph, variables)
        if isinstance(answer, Unsupported):
            found[method] = answer.reason
        else:
            ready[method] = answer
    rng = np.random.default_rng(0)
    for points in trial.counts():
        inputs = trial.inputs(points, rng)
        upstream = {"f": rng.normal(size=(points, *graph.shape("f")))}
        answers: dict[str, Derivative] = {}
        for method, differentiator in ready.items():
            try:
                answers[method] = differentiator.differentiate(inputs, upstream)
            except (ValueError, TypeError, IndexError, ArithmeticError) as error:
                found.setdefault(method, f"{type(error).__name__}: {error} ({trial}, P={points})")
        for method, reason in _compared(graph, variables, points, answers).items():
            found.setdefault(method, f"{reason} ({trial}, P={points})")
    return found


def _compared(graph: Graph, variables: Sequence[str], points: int, answers: Mapping[str, Derivative]) -> dict[str, str]:
    """Which of the answers have the wrong shape, or differ from the others."""
    found: dict[str, str] = {}
    for name in variables:
        shape = (points, *graph.shape(name))
        for kind in ("values", "gradients"):
            columns = {method: np.asarray(getattr(answer, kind)[name]) for method, answer in answers.items()}
            for method, column in columns.items():
                if column.shape != shape:
                    what = f"{kind[:-1]} of {name}"
                    found.setdefault(method, f"{what} has shape {column.shape}, expected {shape}")
            fitting = {method: column for method, column in columns.items() if column.shape == shape}
            for method, other in _outvoted(fitting).items():
                found.setdefault(method, f"its {kind[:-1]} of {name} differs from that of {other}")
    return found


def _outvoted(columns: Mapping[str, Array]) -> dict[str, str]:
    """Methods that differ from another which agrees with as many as they do, and that other one."""
    agrees = {
        method: {
            other
            for other in columns
            if other != method and _agree(columns[method], columns[other], TOLERANCES[method] + TOLERANCES[other])
        }
        for method in columns
    }
    found = {}
    for method in columns:
        for other in columns:
            if other not in {method, *agrees[method]} and len(agrees[method]) <= len(agrees[other]):
                found[method] = other
    return found


def _agree(first: Array, second: Array, tolerance: float) -> bool:
    """Whether two answers are equal within a tolerance relative to the largest entry; never where one is not finite."""
    size = max(float(np.max(np.abs(second), initial=0.0)), 1.0)
    return math.isfinite(size) and bool(np.all(np.abs(first - second) <= tolerance * size))

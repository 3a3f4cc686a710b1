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
        if self.op in DOMINANT:
            drawn["a"] = drawn["a"] + 2.0 * self.shapes[0][-1] * np.eye(self.shapes[0][-1])
        return drawn


UNARY: tuple[Shape, ...] = ((), (1,), (3,), (2, 3), (4, 1, 3))
BINARY: tuple[tuple[Shape, Shape], ...] = (
    *((shape, shape) for shape in UNARY),
    ((), (3,)), ((2, 3), ()), ((3,), (2, 3)), ((4, 2, 3), (3,)), ((2, 3), (4, 1, 3)), ((2, 1), (1, 3)),
    ((1,), (2, 3)), ((3, 1), (2,)), ((4, 1, 1), (2, 3)), ((2,), (2, 2)), ((1, 1), ()),
)  # fmt: skip
NUMBERS: Mapping[str, Sequence[Mapping[str, float]]] = {
    "leaky_relu": [{"slope": 0.125}, {"slope": -0.5}],
    "elu": [{"alpha": 1.0}, {"alpha": 0.75}],
    "clip": [{"lo": -0.5, "hi": 1.25}],
}
"""Op -> the numbers that it is tried with, all held by float32 too."""
PRODUCTS: tuple[tuple[Shape, Shape], ...] = (
    ((3,), (3,)), ((2, 3), (3,)), ((3,), (3, 2)), ((2, 3), (3, 4)), ((3, 3), (3, 3)),
    ((4, 2, 3), (3,)), ((3,), (4, 3, 2)), ((4, 2, 3), (3, 2)), ((2, 3), (4, 3, 2)), ((4, 2, 3), (4, 3, 2)),
    ((1, 2, 3), (4, 3, 2)), ((2, 1, 2, 3), (4, 3, 2)), ((1, 1), (1, 1)),
)  # fmt: skip
REDUCTIONS: tuple[tuple[Shape, Mapping[str, Any]], ...] = (
    ((), {}), ((3,), {}), ((2, 3), {}), ((4, 2, 3), {}), ((2, 3), {"axis": 0}), ((2, 3), {"axis": -1}),
    ((4, 2, 3), {"axis": (0, 2)}), ((2, 3), {"keepdims": True}), ((4, 2, 3), {"axis": 1, "keepdims": True}),
    ((1, 3), {"axis": 0}),
)  # fmt: skip
TRANSPOSES: tuple[tuple[Shape, Mapping[str, Any]], ...] = (
    ((), {}), ((3,), {}), ((2, 3), {}), ((4, 2, 3), {}),
    ((4, 2, 3), {"axes": (1, 0, 2)}), ((4, 2, 3), {"axes": (2, 0, 1)}),
)  # fmt: skip
INDICES: tuple[tuple[Shape, tuple[int | slice, ...]], ...] = (
    ((3,), (0,)), ((3,), (-1,)), ((3,), (slice(1, None),)),
    ((2, 3), (1,)), ((2, 3), (0, -1)), ((2, 3), (slice(None), 1)),
    ((4, 2, 3), (slice(0, 3, 2), 1)), ((4, 2, 3), (2, slice(None, None, -1))), ((2, 2), (0, 0)),
)  # fmt: skip
GATHERED: tuple[tuple[Shape, tuple[Any, ...]], ...] = (
    ((3,), ((0, 2, 2),)), ((3,), ((True, False, True),)), ((2, 3), ((1, 0, 1), slice(None))), ((2, 3), (..., (2, 2))),
    ((4, 2, 3), ((3, 0), 1)), ((4, 2, 3), (0, slice(None), (2, 0, 2))), ((3, 3), ((0, 1), (2, 2))),
)  # fmt: skip
FLIPS: tuple[tuple[Shape, Mapping[str, Any]], ...] = (
    ((3,), {}), ((2, 3), {}), ((2, 3), {"axis": 0}), ((4, 2, 3), {"axis": (0, 2)}), ((2, 2), {"axis": -1}),
)  # fmt: skip
SCANS: tuple[tuple[Shape, Mapping[str, Any]], ...] = (
    ((3,), {}), ((2, 3), {}), ((2, 3), {"axis": 0}), ((4, 1, 3), {"axis": -1}), ((1,), {}), ((2, 2), {"axis": 1}),
)  # fmt: skip
SHARES: tuple[tuple[Shape, Mapping[str, Any]], ...] = (
    ((3,), {}), ((2, 3), {"axis": 1}), ((2, 3), {"axis": 0}), ((4, 2, 3), {"axis": (0, 2)}), ((2, 2), {"axis": -1}),
)  # fmt: skip
SPREADS = tuple((shape, params) for shape, params in REDUCTIONS if shape not in {(), (1, 3)})
"""Several entries that are taken together: one alone has no spread, and its slope is undecided."""
EINSUMS: tuple[tuple[str, tuple[Shape, ...]], ...] = (
    ("ij,jk->ik", ((2, 3), (3, 4))), ("ij,jk", ((2, 3), (3, 2))), ("i,i->", ((3,), (3,))), ("ij->ji", ((2, 3),)),
    ("ij->i", ((2, 3),)), ("ii->i", ((3, 3),)), ("ii", ((2, 2),)), ("i,j,k->kji", ((2,), (3,), (4,))),
    ("bij,bjk->bik", ((2, 2, 3), (2, 3, 2))), ("ij,j,k->i", ((2, 3), (3,), (2,))), ("iij->j", ((2, 2, 3),)),
)  # fmt: skip

DOMINANT = frozenset(("inverse", "det", "logabsdet", "solve", "cholesky"))
"""Ops that need a matrix away from singular ones, or a positive definite one: the diagonal is made large."""
SQUARES: tuple[Shape, ...] = ((1, 1), (2, 2), (3, 3), (2, 3, 3), (3, 2, 2))
SYSTEMS: tuple[tuple[Shape, Shape], ...] = (
    ((3, 3), (3,)), ((2, 2), (2, 3)), ((1, 1), (1,)), ((2, 3, 3), (3,)), ((2, 3, 3), (2, 3, 2)), ((2, 2), (3, 2, 2)),
    ((1, 2, 2), (3, 2, 1)),
)  # fmt: skip
CONVOLUTIONS: Mapping[int, Sequence[tuple[tuple[Shape, Shape], Mapping[str, Any]]]] = {
    1: [
        (((2, 3, 5), (4, 3, 2)), {}), (((1, 1, 4), (1, 1, 4)), {}), (((2, 2, 4), (2, 2, 3)), {"padding": 1}),
        (((2, 1, 7), (2, 1, 3)), {"stride": 3, "padding": 2}), (((1, 1, 1), (1, 1, 1)), {}),
    ],
    2: [
        (((2, 3, 4, 3), (2, 3, 2, 2)), {}), (((1, 2, 3, 3), (2, 2, 3, 3)), {"padding": 1}),
        (((2, 1, 4, 5), (3, 1, 3, 2)), {"stride": (1, 2), "padding": (1, 0)}), (((2, 2, 2, 2), (2, 2, 2, 2)), {}),
    ],
}  # fmt: skip
POOLS: tuple[tuple[Shape, Mapping[str, Any]], ...] = (
    ((2, 3, 4), {"size": 2}), ((1, 2, 5), {"size": 3, "stride": 1}), ((2, 2, 4, 6), {"size": 2}),
    ((1, 1, 3, 4), {"size": (3, 2), "stride": (1, 2)}), ((2, 1, 2, 2), {"size": 1}),
)  # fmt: skip


def trials(op: str) -> Iterator[Trial]:
    """All ways in which one op is tried.

    >>> [str(trial) for trial in trials("transpose")][2]
    'shape (2, 3)'
    """
    row = OPS[op]
    if op == "power_constant":
        yield from (Trial(op, (shape,), {"exponent": exponent}) for shape in UNARY for exponent in (2.0, -1.0, 0.5))
    elif row.numbers:
        yield from (Trial(op, (shape,), params) for shape in UNARY for params in NUMBERS[op])
    elif row.elementwise and row.arity == 4:
        yield from (Trial(op, (*pair, *pair[::-1])) for pair in BINARY)
    elif row.elementwise and row.arity == 1:
        yield from (Trial(op, (shape,)) for shape in UNARY)
    elif row.elementwise:
        yield from (Trial(op, pair) for pair in BINARY)
    elif op in SPECIAL:
        yield from (Trial(op, shapes, params) for shapes, params in SPECIAL[op])


SPECIAL: Mapping[str, Sequence[tuple[tuple[Shape, ...], Mapping[str, Any]]]] = {
    "matmul": [(pair, {}) for pair in PRODUCTS],
    **{op: [((shape,), {}) for shape in SQUARES] for op in DOMINANT - {"solve"}},
    "solve": [(pair, {}) for pair in SYSTEMS],
    "trace": [((shape,), {}) for shape in ((1, 1), (3, 3), (2, 4))],
    "diag": [((shape,), {}) for shape in ((1,), (3,), (3, 3), (2, 4))],
    "conv1d": CONVOLUTIONS[1],
    "conv2d": CONVOLUTIONS[2],
    "avg_pool": [((shape,), params) for shape, params in POOLS],
    "max_pool": [((shape,), params) for shape, params in POOLS],
    "sum": [((shape,), params) for shape, params in REDUCTIONS],
    "mean": [((shape,), params) for shape, params in REDUCTIONS],
    "transpose": [((shape,), params) for shape, params in TRANSPOSES],
    "index": [((shape,), {"index": index}) for shape, index in INDICES],
    "gather": [((shape,), {"index": index}) for shape, index in GATHERED],
    "reshape": [
        ((shape,), {"shape": to})
        for shape, to in (((), (1,)), ((6,), (2, 3)), ((2, 3), 6), ((4, 2, 3), (-1, 4)), ((1, 3), (3, 1)), ((1,), ()))
    ],
    "ravel": [((shape,), {}) for shape in UNARY],
    "expand_dims": [((shape,), {"axis": axis}) for shape, axis in (((), 0), ((3,), -1), ((2, 3), (0, 2)), ((2, 2), 1))],
    "squeeze": [((shape,), {}) for shape in ((1, 3), (1,), (2, 1, 3))] + [(((1, 3, 1),), {"axis": 2})],
    "broadcast_to": [
        ((shape,), {"shape": to})
        for shape, to in (((), (2, 3)), ((3,), (2, 3)), ((2, 1), (4, 2, 3)), ((1, 3), (3, 3)), ((2, 3), (2, 3)))
    ],
    "stack": [
        (((3,),) * 2, {}),
        (((3,),) * 3, {"axis": 1}),
        (((),) * 2, {}),
        (((2, 3),), {"axis": -1}),
        (((2, 2),) * 2, {"axis": 1}),
    ],
    "concatenate": [
        (((3,), (2,)), {}),
        (((2, 3), (1, 3), (4, 3)), {}),
        (((2, 3), (2, 1)), {"axis": -1}),
        (((2, 2),), {"axis": 1}),
    ],
    "pad": [
        ((shape,), {"pad_width": width})
        for shape, width in (((3,), 1), ((2, 3), (1, 0)), ((2, 3), ((0, 1), (2, 0))), ((2, 2), 0), ((1, 2, 3), 1))
    ],
    "flip": [((shape,), params) for shape, params in FLIPS],
    "roll": [((shape,), {"shift": 1, **params}) for shape, params in FLIPS]
    + [
        (((2, 3),), {"shift": -2, "axis": 1}),
        (((2, 3),), {"shift": (1, 2), "axis": (0, 1)}),
    ],
    "dot": [
        (pair, {})
        for pair in (
            *PRODUCTS[:5],
            ((), (2, 3)),
            ((3,), ()),
            ((), ()),
            ((4, 2, 3), (3,)),
            ((2, 3), (4, 3, 2)),
            ((4, 2, 3), (5, 3, 2)),
        )
    ],
    "outer": [(pair, {}) for pair in (((2,), (3,)), ((2, 2), (3,)), ((), (3,)), ((2, 1), (1, 2)))],
    "einsum": [(shapes, {"subscripts": text}) for text, shapes in EINSUMS],
    "prod": [((shape,), params) for shape, params in REDUCTIONS],
    "amax": [((shape,), params) for shape, params in REDUCTIONS],
    "amin": [((shape,), params) for shape, params in REDUCTIONS],
    "norm": [((shape,), params) for shape, params in REDUCTIONS],
    "logsumexp": [((shape,), params) for shape, params in REDUCTIONS],
    "var": [((shape,), params) for shape, params in REDUCTIONS] + [(((2, 3),), {"axis": 1, "ddof": 1})],
    "std": [((shape,), params) for shape, params in SPREADS] + [(((2, 3),), {"axis": 1, "ddof": 1})],
    "cumsum": [((shape,), params) for shape, params in SCANS],
    "cumprod": [((shape,), params) for shape, params in SCANS],
    "softmax": [((shape,), params) for shape, params in SHARES],
    "log_softmax": [((shape,), params) for shape, params in SHARES],
}
"""Structural op -> shapes and parameters; one that is missing here is shown as untried."""


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
        untried = YES if tried else "no: never tried; verify.tools.support.SPECIAL lists no shapes for it"
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

"""Who is wrong: every op row that a case uses is held against mpmath at the very numbers where methods part.

The signature of the three pairs names a method; it cannot tell a wrong forward from a wrong SymPy form where the VJP
reuses the output, as that of exp does. The row's ``exact`` column, a third definition that no method uses, decides.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import mpmath
import numpy as np
import sympy
from flint import arb
from numpy.typing import NDArray

from verify.graph.graph import Graph, GraphBuilder, Node, lowered
from verify.graph.interpret import Values, align
from verify.graph.taylor import entries_of, precision, seeded
from verify.methods.reverse import unbroadcast
from verify.numbers.ball_math import head, tail
from verify.numbers.balls import Balls
from verify.ops import OPS, Jump, Op
from verify.symbolic.pieces import piece_of

Array = NDArray[Any]
Column = Literal["forward", "VJP", "SymPy form", "lowering", "ball form"]

DIGITS = 700
"""Decimal digits of the comparison: the slope of a saturated tanh is 1e-300 beside a value of 1, by differences."""

STEP_DIGITS = 60
"""Differences step by ``10**-STEP_DIGITS``, relative to the argument."""

BALL_BITS = 512
"""Precision at which the ball forms are asked."""

MOST_ENTRIES = 256
"""Operand entries of a structural op that are looked at; larger nodes are left out."""

MOST_LOWERED = 32
"""The same for an op that is not linear in its operands, which is run again for each of them."""

NOTHING = 1e-100
"""What is this small against the rounding of floats is not a difference, where the exact number is 0."""

ABOVE_ROUNDING = 1024.0
"""How many times its rounding, as balls bound it, a column of such an op must be off to be called wrong."""

MOST_ELEMENTS = 16
"""Entries of an elementwise node that are looked at."""

RANGES: Mapping[np.dtype[Any], tuple[float, float, float]] = {
    np.dtype(np.float64): (2.0**-40, float(np.finfo(np.float64).max), 2.0**-1060),
    np.dtype(np.float32): (2.0**-18, float(np.finfo(np.float32).max), 2.0**-135),
}
"""dtype -> relative difference from which a column is called wrong, far above rounding, and an absolute one for
subnormal results; in between the largest number: beyond it nothing is shown."""


SMALLEST_NORMAL = float(np.finfo(np.float64).tiny)
"""Operands below it, but for zero, are not looked at."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One column of one row that mpmath contradicts."""

    op: str
    column: Column
    stage: str
    line: int
    got: float
    exact: float

    def __str__(self) -> str:
        """The finding in one sentence."""
        where = f" in stage {self.stage!r}, line {self.line}" if self.stage else ""
        return f"the {self.column} of {self.op}{where}: got {self.got!r}, exact is {self.exact!r}"

    @property
    def suspect(self) -> str:
        """The finding in a few words."""
        return f"{self.column} of {self.op}"


def audit(graph: Graph, values: Values) -> list[Finding]:
    """All wrong columns among the rows that a graph uses, at the values of one point (P = 1), once each.

    >>> from verify.case.expression import graph_from_expressions
    >>> graph = graph_from_expressions({"x": ()}, {"f": "exp(x) * 2"})
    >>> from verify.graph.interpret import Program
    >>> audit(graph, Program(graph).run({"x": np.array([0.5])}))
    []
    """
    findings: dict[tuple[str, Column], Finding] = {}
    with mpmath.workdps(DIGITS), np.errstate(all="ignore"):
        for node, value in zip(graph.nodes, values, strict=True):
            if node.kind != "op":
                continue
            operands = [np.asarray(x, dtype=np.float64) for x in align(node, [values[j] for j in node.args])]
            for column, got, exact, scale in _checks(node, operands, np.asarray(value, dtype=np.float64)):
                # Values come in the case's dtype; everything else is computed here, in float64.
                dtype = np.asarray(value).dtype if column == "forward" else np.dtype(np.float64)
                if _differs(got, exact, scale, dtype) and (node.op, column) not in findings:
                    finding = Finding(node.op, column, node.stage, node.line, float(got), _nearest(exact))
                    findings[node.op, column] = finding
    return list(findings.values())


Check = tuple[Column, Any, Any, Any]
"""Column, what it gives (None if that is not known), what is exact, and what a difference is measured by."""


def _differs(got: Any, exact: Any, scale: Any, dtype: np.dtype[Any]) -> bool:
    tolerance, largest, smallest = RANGES[dtype]
    if got is None:
        return False
    if not mpmath.isfinite(exact) or mpmath.im(exact) != 0 or max(abs(exact), abs(scale)) > largest:
        return False  # at the end of the domain or past the range, maybe of the terms alone: nothing is shown
    got = mpmath.mpmathify(got)
    return not mpmath.isfinite(got) or abs(got - exact) > tolerance * abs(scale) + smallest


def _checks(node: Node, operands: Sequence[Array], value: Array) -> Iterator[Check]:
    row = OPS[node.op]
    inside = all(np.all(interval.contains(x)) for interval, x in zip(row.domain, operands, strict=False))
    if not (inside and all(np.all(np.isfinite(x)) for x in operands)):
        return
    static = node.static
    if row.elementwise:
        broadcast = np.broadcast_arrays(value, *operands)
        columns = [x.ravel()[:MOST_ELEMENTS] for x in broadcast]
        for y, *args in zip(*columns, strict=True):
            if any(0 < abs(float(x)) < SMALLEST_NORMAL for x in args):
                continue  # a right VJP, b * a**(b - 1), may overflow inside there: nothing is shown
            yield from _elementwise(row, node.params, static, float(y), [float(x) for x in args])
    elif row.lower is not None and sum(x.size for x in operands) <= MOST_LOWERED:
        yield from _composite(row, node, static, operands, value)
    elif row.lower is None and (row.implicit or row.curved):
        if sum(x.size for x in operands) <= MOST_LOWERED:
            yield from _curved(row, node, static, operands, value)
    elif row.lower is None and sum(x.size for x in operands) <= MOST_ENTRIES:
        yield from _structural(row, node, static, operands, value)


def _elementwise(
    row: Op, params: Mapping[str, Any], static: dict[str, Any], y: float, args: list[float]
) -> Iterator[Check]:
    try:
        exact = row.exact(*map(mpmath.mpf, args), **static)
    except (ZeroDivisionError, ValueError, OverflowError):
        return  # mpmath's word for a pole, or for what it cannot reach: there is nothing to hold the columns against
    yield "forward", y, exact, exact
    if y == 0 if row.singular is not None and not isinstance(row.singular, Jump) else _is_jump(row, args):
        return  # a length of 0 has a ball of slopes, a jump has none
    if row.kink is None or float(row.kink.argument(*args, **static)) != 0:
        yield from _slopes(row, params, static, args)
        return
    # At a tie every convention is its own: the columns are held to account beside it, and not at another tie.
    reach = 1.234375 * max(1.0, abs(args[0]))
    for beside in (args[0] - reach, args[0] + reach):
        yield from _slopes(row, params, static, [beside, *args[1:]])


def _is_jump(row: Op, args: list[float]) -> bool:
    return isinstance(row.singular, Jump) and float(row.singular.distance(*args)) == 0


FINER, INFINITE = 2**10, 2
"""A step so much finer that gives so much more of a slope finds an infinite one."""


def _slopes(row: Op, params: Mapping[str, Any], static: dict[str, Any], args: list[float]) -> Iterator[Check]:
    """Everything but the forward, which is not asked: a VJP that reads the output gets the exact one."""
    numbers = [mpmath.mpf(x) for x in args]
    exact = row.exact(*numbers, **static)
    symbols = [sympy.Symbol(f"s{i}", real=True) for i in range(len(args))]
    form = row.sympy(*symbols, **static)
    at = {symbol: sympy.Float(x, DIGITS) for symbol, x in zip(symbols, numbers, strict=True)}
    yield "SymPy form", _number(form, at), exact, exact
    output = np.array([_nearest(exact)])
    for i, vjp in enumerate(row.vjps):
        along = partial(_along, row, numbers, i, static)
        slope = _slope(along, numbers[i])
        if abs(_slope(along, numbers[i], finer=FINER)) > INFINITE * abs(slope):
            continue  # the slope is infinite, and a number that stands for it contradicts nobody
        got = vjp(np.ones(1), output, *(np.array([x]) for x in args), **params)
        yield "VJP", float(np.asarray(got)[0]), slope, slope
        yield "SymPy form", _number(form.diff(symbols[i]), at), slope, slope
        yield from _ball_checks(row, static, args, i, exact, slope)


def _ball_checks(
    row: Op, static: Mapping[str, Any], args: Sequence[float], i: int, exact: Any, slope: Any
) -> Iterator[Check]:
    """Value and slope of the ball form along one argument; a ball that claims nothing contradicts nothing."""
    with precision(BALL_BITS):
        series = row.ball(*(seeded(arb(x), ()) if k == i else arb(x) for k, x in enumerate(args)), **static)
        for ball, known in ((head(series), exact), (tail(series), slope)):
            if ball.is_finite():
                yield "ball form", float(ball.mid()), known, known


def _nearest(exact: Any) -> float:
    """The float nearest to an exact number; NaN for a complex one."""
    return float(exact) if mpmath.im(exact) == 0 else math.nan


def _number(form: Any, at: Mapping[sympy.Symbol, sympy.Float]) -> Any:
    """The number that a SymPy form gives, None where it is out of mpmath's reach."""
    try:
        value = sympy.N(sympy.sympify(form, strict=True).subs(at), DIGITS)
    except OverflowError:
        return None
    return mpmath.mpmathify(value) if value.is_number and value.is_real else mpmath.nan


def _along(row: Op, numbers: Sequence[Any], i: int, static: Mapping[str, Any], x: Any) -> Any:
    """The exact value with another number in one place."""
    return row.exact(*numbers[:i], x, *numbers[i + 1 :], **static)


def _slope(function: Any, x: Any, finer: int = 1) -> Any:
    """A central difference at many digits."""
    h = mpmath.mpf(10) ** -STEP_DIGITS * max(abs(x), mpmath.mpf(10) ** -300) / finer
    return (function(x + h) - function(x - h)) / (2 * h)


def _structural(
    row: Op, node: Node, static: dict[str, Any], operands: Sequence[Array], value: Array
) -> Iterator[Check]:
    """Ops linear in each operand: exact values, and slopes by whole steps; sizes are sums of absolute terms."""
    numbers = [_mpf(x[0]) for x in operands]
    exact = _exact(row, numbers, static)
    sizes = _exact(row, [np.asarray(np.abs(x), dtype=object) for x in numbers], static)
    symbols = [_symbols(i, x.shape[1:]) for i, x in enumerate(operands)]
    form = np.asarray(row.sympy(*symbols, **static), dtype=object)
    at = {
        symbol: sympy.Float(x, DIGITS)
        for names, column in zip(symbols, numbers, strict=True)
        for symbol, x in zip(names.flat, column.flat, strict=True)
    }
    for got, expression, true, size in zip(value[0].flat, form.flat, exact.flat, sizes.flat, strict=True):
        yield "forward", float(got), true, size
        yield "SymPy form", _number(expression, at), true, size
    output = np.array([_nearest(x) for x in exact.flat]).reshape(value.shape)
    seeds = np.arange(1.0, 1.0 + value[0].size).reshape(value[0].shape)
    for i, vjp in enumerate(row.vjps_for(len(operands))):
        got = unbroadcast(np.asarray(vjp(seeds[None], output, *operands, **node.params)), operands[i].shape[1:])[0]
        for index in np.ndindex(operands[i].shape[1:]):
            moved = [x.copy() for x in numbers]
            moved[i][index] = moved[i][index] + 1
            # 0-d object arrays subtract to a number.
            parts = np.ravel(_exact(row, moved, static) - exact) * seeds.ravel()
            yield "VJP", float(got[index]), sum(parts), sum(abs(parts))
            yield from _structural_ball_check(row, static, numbers, (i, index), seeds, parts)


def _composite(row: Op, node: Node, static: dict[str, Any], operands: Sequence[Array], value: Array) -> Iterator[Check]:
    """Ops with a lowering: slopes by differences, and sizes from the rounding that balls see on the way."""
    numbers = [_mpf(x[0]) for x in operands]
    exact = _exact(row, numbers, static)
    program = lowered(node.op, [x.shape[1:] for x in operands], node.params)
    held = [] if row.held is None else [_mpf(row.held(*operands, **static)[0])]
    in_balls = row.forward(*map(Balls.exact, operands), **node.params)
    built = _run_exactly(program, [*numbers, *held])
    for got, other, true, size in zip(value.flat, built.flat, exact.flat, _sizes(in_balls, value), strict=True):
        yield "forward", float(got), true, size
        yield "lowering", other, true, true
    yield from _composite_slopes(row, node, static, operands)


def _composite_slopes(
    row: Op, node: Node, static: dict[str, Any], operands: Sequence[Array], *, beside: bool = False
) -> Iterator[Check]:
    """The slopes of an op with a lowering; where branches meet, those a little ``beside``."""
    numbers = [_mpf(x[0]) for x in operands]
    exact = _exact(row, numbers, static)
    program = lowered(node.op, [x.shape[1:] for x in operands], node.params)
    held = [] if row.held is None else [_mpf(row.held(*operands, **static)[0])]
    in_balls = row.forward(*map(Balls.exact, operands), **node.params)
    output = np.array([_nearest(x) for x in exact.flat]).reshape(in_balls.shape)
    if row.singular is not None and np.any(output == 0):
        return  # a length of 0 has a ball of slopes
    seeds = np.arange(1.0, 1.0 + output.size).reshape(output.shape)
    for i, vjp in enumerate(row.vjps_for(len(operands))):
        got = np.asarray(vjp(seeds, output, *operands, **node.params))
        sizes = _sizes(vjp(Balls.exact(seeds), in_balls, *map(Balls.exact, operands), **node.params), got)
        for index, slope, size in zip(np.ndindex(operands[i].shape[1:]), got.flat, sizes, strict=True):
            ways = [_stepped(numbers, (i, index), sign) for sign in (1, -1)]
            step = ways[0][i][index] - ways[1][i][index]
            ends = [_exact(row, way, static) for way in ways]
            if _is_bent(exact, ends):
                if not beside:  # at a tie every convention is its own
                    apart = [x + np.arange(1.0, 1.0 + x.size).reshape(x.shape) * _reach(x) for x in operands]
                    yield from _composite_slopes(row, node, static, apart, beside=True)
                return
            builds = [_run_exactly(program, [*way, *held]) for way in ways]
            parts = np.ravel((ends[0] - ends[1]) / step) * seeds.ravel()
            yield "VJP", float(slope), sum(parts), size
            yield "lowering", sum(np.ravel((builds[0] - builds[1]) / step) * seeds.ravel()), sum(parts), sum(abs(parts))
            yield from _structural_ball_check(row, static, numbers, (i, index), seeds[0], parts)


def _reach(x: Array) -> float:
    return max(1.0, float(np.max(np.abs(x))))


def _curved(row: Op, node: Node, static: dict[str, Any], operands: Sequence[Array], value: Array) -> Iterator[Check]:
    """Ops on whole matrices: slopes by differences, sizes from rounding, and SymPy's side run on balls."""
    numbers = [_mpf(x[0]) for x in operands]
    try:
        exact: Any = _exact(row, numbers, static)
        slopes = [_differences(row, numbers, i, static) for i in range(len(numbers))]
    except (ZeroDivisionError, ValueError):
        return  # mpmath's word for a singular matrix: there is nothing to hold the columns against
    in_balls = row.forward(*map(Balls.exact, operands), **node.params)
    seeds = np.arange(1.0, 1.0 + exact.size).reshape(exact.shape)
    forms, pulled = _sympy_numbers(node, operands, seeds)
    for got, form, true, size in zip(value.flat, forms, exact.flat, _sizes(in_balls, value), strict=True):
        yield "forward", float(got), true, size
        yield "SymPy form", form, true, abs(true) + NOTHING * size
    output = np.array([_nearest(x) for x in exact.flat]).reshape(value.shape)
    for i, vjp in enumerate(row.vjps):
        shape = operands[i].shape[1:]
        sent = unbroadcast(np.asarray(vjp(seeds[None], output, *operands, **node.params)), shape)
        bounded = unbroadcast(vjp(seeds[None], in_balls, *map(Balls.exact, operands), **node.params), shape)
        for index, got, size in zip(np.ndindex(shape), sent.flat, _sizes(bounded, sent), strict=True):
            parts: Any = np.ravel(slopes[i][(..., *index)]) * seeds.ravel()
            slope, least = sum(parts), NOTHING * size
            yield "VJP", float(got), slope, size
            yield "SymPy form", pulled[i][index], slope, abs(slope) + least
            for column, ball, known, scale in _structural_ball_check(row, static, numbers, (i, index), seeds, parts):
                yield column, ball, known, scale + least


def _differences(
    row: Op, numbers: Sequence[NDArray[np.object_]], i: int, static: Mapping[str, Any]
) -> NDArray[np.object_]:
    """The derivatives of all entries of a value by all of one operand, ``(*value's shape, *operand's shape)``."""
    columns = []
    for index in np.ndindex(numbers[i].shape):
        ways = [_stepped(numbers, (i, index), sign) for sign in (1, -1)]
        ends = [_exact(row, way, static) for way in ways]
        columns.append(np.asarray((ends[0] - ends[1]) / (ways[0][i][index] - ways[1][i][index]), dtype=object))
    return np.stack(columns, axis=-1).reshape(*columns[0].shape, *numbers[i].shape)


def _sympy_numbers(node: Node, operands: Sequence[Array], seeds: Array) -> tuple[list[Any], list[Any]]:
    """What SymPy makes of one op: its value, and for each operand the slopes contracted with some weights."""
    builder = GraphBuilder()
    inputs = [builder.input(f"a{i}", x.shape[1:]) for i, x in enumerate(operands)]
    builder.name("y", builder.apply(node.op, *inputs, params=dict(node.params)))
    graph = builder.build(["y"])
    piece = piece_of(graph, graph.position("y"))
    with precision(BALL_BITS):
        balls, (weights,) = list(map(_in_balls, operands)), map(_in_balls, [seeds[None]])
        value = [_middle(x) for x in np.ravel(piece.value(balls))]
        pulled = [np.frompyfunc(_middle, 1, 1)(pull(weights)[0]) for pull in piece.pulls(balls)]
    return value, pulled


def _in_balls(x: Array) -> NDArray[np.object_]:
    return np.asarray(np.frompyfunc(lambda number: arb(float(number)), 1, 1)(x), dtype=object)


def _middle(ball: Any) -> Any:
    middle = arb(ball).mid()
    return mpmath.ldexp(*map(int, middle.man_exp())) if middle.is_finite() else mpmath.nan


def _sizes(balls: Any, like: Array) -> list[float]:
    """The size by which a difference is measured, from a radius in the dtype of ``like``; infinite where unknown."""
    tolerance = RANGES[like.dtype][0]
    radius = np.broadcast_to(getattr(balls, "radius", 0.0), like.shape) * ABOVE_ROUNDING
    sizes: list[float] = (radius / tolerance).ravel().tolist()
    return sizes


def _is_bent(middle: NDArray[np.object_], ends: Sequence[NDArray[np.object_]]) -> bool:
    """Whether there is a kink within the step: the slopes on its sides differ, by more than any curve's would."""
    for x, up, down in zip(np.ravel(middle), np.ravel(ends[0]), np.ravel(ends[1]), strict=True):
        if abs(up - 2 * x + down) > mpmath.mpf(10) ** -(STEP_DIGITS // 3) * abs(up - down):
            return True
    return False


def _stepped(
    numbers: Sequence[NDArray[np.object_]], place: tuple[int, tuple[int, ...]], sign: int
) -> list[NDArray[np.object_]]:
    """The operands with one entry a tiny step to one side."""
    which, index = place
    moved = [x.copy() for x in numbers]
    size = max(abs(x) for x in np.ravel(numbers[which]))
    moved[which][index] += sign * mpmath.mpf(10) ** -STEP_DIGITS * max(size, mpmath.mpf(10) ** -300)
    return moved


def _run_exactly(program: Graph, inputs: Sequence[NDArray[np.object_]]) -> NDArray[np.object_]:
    """A lowering on exact numbers, by the column ``exact`` of the ops that it is built of."""
    values: list[NDArray[np.object_]] = []
    given = iter(inputs)
    for node in program.nodes:
        if node.kind == "input":
            values.append(next(given))
        elif node.kind == "constant":
            values.append(_mpf(np.array(node.value)))
        else:
            row, static = OPS[node.op], {key: x for key, x in node.params.items() if key != "tie"}
            operands = [values[arg] for arg in node.args]
            if row.elementwise:
                result = np.frompyfunc(partial(row.exact, **static), len(operands), 1)(*operands)
            elif row.lower is not None and row.singular is None:
                result = _run_exactly(lowered(node.op, [x.shape for x in operands], node.params), operands)
            else:
                result = row.exact(*operands, **static)
            values.append(np.asarray(result, dtype=object))
    return values[program.position("y")]


def _structural_ball_check(
    row: Op,
    static: Mapping[str, Any],
    numbers: Sequence[NDArray[np.object_]],
    moving: tuple[int, tuple[int, ...]],
    seeds: Array,
    parts: NDArray[np.object_],
) -> Iterator[Check]:
    """The slope of the ball form along one entry of one operand, contracted as the VJP is."""
    with precision(BALL_BITS):
        balls = [np.frompyfunc(lambda x: arb(float(x)), 1, 1)(x) for x in numbers]
        balls[moving[0]] = seeded(np.asarray(balls[moving[0]], dtype=object), moving[1])
        moved = entries_of(row.ball(*balls, **static))
        slope = sum((tail(x) * arb(float(g)) for x, g in zip(moved, seeds.flat, strict=True)), arb(0))
        if slope.is_finite():
            yield "ball form", float(slope.mid()), sum(parts), sum(abs(parts))


def _exact(row: Op, operands: Sequence[NDArray[np.object_]], static: Mapping[str, Any]) -> NDArray[np.object_]:
    return np.asarray(row.exact(*operands, **static), dtype=object)


def _mpf(x: Array) -> NDArray[np.object_]:
    out = np.empty(x.shape, dtype=object)
    for index in np.ndindex(x.shape):
        out[index] = mpmath.mpf(float(x[index]))
    return out


def _symbols(number: int, shape: tuple[int, ...]) -> NDArray[np.object_]:
    out = np.empty(shape, dtype=object)
    for position, index in enumerate(np.ndindex(shape)):
        out[index] = sympy.Symbol(f"s{number}_{position}", real=True)
    return out

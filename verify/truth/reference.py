"""The certified reference: values and gradients enclosed in balls at single points, by two roads that must agree.

* The Taylor road runs the forward graph on series of balls (:mod:`verify.graph.taylor`). It knows neither SymPy
  nor the vector-Jacobian products, and it alone decides domains and kinks: SymPy cancels, x/x is 1 to it, also at 0.
* The SymPy road evaluates the formulas of :mod:`verify.methods.symbolic` in balls. *Values* of ops that SymPy knows by
  name come from the table's ball forms on both roads; slopes do not, and mpmath (:mod:`verify.judging.audit`, the
  tests) holds the forms to account.

Inputs are the exact binary numbers that the floats are. Both balls hold the truth, so they overlap; where they do not,
one of the forms is wrong, the point is *disputed*, and the first node at which the roads part is named. Precision
doubles until a radius is as small as asked for, up to a budget of bits and of work, which is counted; where an entry
cannot be enclosed it says why. Nothing here raises for what numbers may do.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import flint
import numpy as np
from numpy.typing import NDArray

from verify.graph.all_slopes import AllSlopes
from verify.graph.graph import Graph, Node
from verify.graph.taylor import (
    Entry,
    Taylor,
    Values,
    Weights,
    as_objects,
    ball_call,
    contracted,
    entries_of,
    is_finite,
    precision,
    seeded,
)
from verify.graph.work import OutOfWorkError, Work
from verify.methods.symbolic import Symbolic, enclosed
from verify.numbers.ball_math import head
from verify.ops import OPERAND_NAMES, OPS, Interval
from verify.symbolic.pieces import TooLargeError, piece_of
from verify.symbolic.symbols import entry_name
from verify.words import Unproved

Array = NDArray[Any]
arb = flint.arb

FIRST_BITS = 128
"""Where precision begins: two machine words, as costly as 80 bits, and enough for nearly every point."""

MOST_BITS = 2000
"""Where it ends, unless the caller says otherwise."""

MOST_WORK = 2_000_000
"""Work for one point, unless the caller says otherwise, see :mod:`verify.graph.work`."""

SYMPY_PASSES = 4
"""Passes through the graph that SymPy's road at one point is charged for, with each precision."""

BOTH_ROADS = "symbolic+taylor"
"""The road of a truth that SymPy's formula encloses too."""

OUT_OF_WORK = f"enclosure too wide: {Unproved.WORK}; --proof-work gives more"
"""Why a number is not enclosed that might be."""

RELATIVE_BITS = 70
"""A radius of 2**-70 of the value is small enough where the caller does not name one, ..."""

SMALLEST_RADIUS = flint.arb(2) ** -1140
"""... and so is this one: the truth may be exactly 0."""

SYMPY_RISES = 2
"""How often precision doubles for the sake of the SymPy road alone."""


@dataclass(frozen=True, slots=True)
class Enclosure:
    """What is known about one number."""

    midpoint: float
    """The float nearest to the middle of the ball; NaN where nothing is known."""
    radius: float
    """No less than ``|midpoint - truth|``, the midpoint's rounding included; infinite where nothing is known."""
    reason: str = ""
    """Why the enclosure is no good: empty if its radius is as small as was asked for."""
    road: str = "taylor"
    """``symbolic+taylor`` where both roads enclose this very number as closely as was asked for, else ``taylor``."""
    ball: Any = field(default=None, repr=False, compare=False)
    """The ball itself, None where nothing is known."""
    bits: int = FIRST_BITS
    lacks: Unproved | None = None
    """Why the number is not proved though there is one; None where it is, or where there is none."""

    def error(self, answer: float) -> tuple[float, float]:
        """A lower and an upper bound of ``|answer - truth|``, from the ball itself and not from its rounded midpoint.

        >>> Enclosure(0.5, 0.0, ball=arb(0.5)).error(0.75)
        (0.25, 0.25)
        """
        if not math.isfinite(answer):
            return math.inf, math.inf
        if self.ball is None or not self.ball.is_finite():
            return 0.0, math.inf
        with precision(self.bits + 64):
            distance = abs(self.ball - arb(float(answer)))
            return _float_below(distance.abs_lower()), float_above(distance.abs_upper())


def float_above(x: flint.arb) -> float:
    """The smallest float found that is not below an exact, non-negative ball.

    >>> float_above(arb(0.5)), float_above(arb(2) ** -2000)
    (0.5, 5e-324)
    """
    near = float(x)
    return near if arb(near) >= x else math.nextafter(near, math.inf)


def _float_below(x: flint.arb) -> float:
    near = float(x)
    return near if arb(near) <= x else max(0.0, math.nextafter(near, -math.inf))


def enclosure(ball: flint.arb | None, reason: str, road: str, bits: int, lacks: Unproved | None = None) -> Enclosure:
    """A ball that was had with some bits as what is known of a number, with the reason if it is not enough.

    >>> enclosure(arb(2), "", "taylor", 128).midpoint
    2.0
    """
    if ball is None or not ball.is_finite():
        return Enclosure(math.nan, math.inf, reason or "enclosure too wide", road, None, bits, lacks)
    midpoint = float(ball.mid())
    if not math.isfinite(midpoint):
        size = f"{_size(ball.mid())} is more than a float can hold"
        return Enclosure(midpoint, math.inf, reason or size, road, ball, bits, lacks)
    with precision(bits + 64):
        radius = float_above((ball - arb(midpoint)).abs_upper())
    return Enclosure(midpoint, radius, reason, road, ball, bits, lacks)


@dataclass(slots=True)
class _Level:
    """Everything that was computed with one precision."""

    bits: int
    values: Values
    weights: Weights
    sympy_values: Mapping[str, Any]
    sympy_gradients: Mapping[str, Any]
    slopes: dict[tuple[str, Entry], flint.arb] = field(default_factory=dict)
    """Those that a series pass of their own gave."""
    all_slopes: dict[int, list[flint.arb]] | None = None
    """By node, those of all entries that were had together; None where they were not asked for, or cannot be had."""
    certain: dict[int, int] = field(default_factory=dict)
    """Node -> how many bits are certain in its least certain entry, where somebody asked."""


@dataclass(frozen=True, slots=True)
class _Question:
    """One number that is asked for: an entry of a value, or of a gradient."""

    name: str
    entry: Entry
    is_gradient: bool

    def __str__(self) -> str:
        return f"{'the gradient by' if self.is_gradient else 'the value of'} {entry_name(self.name, self.entry)}"


class Reference:
    """A graph made ready to be enclosed at single points.

    >>> from verify.case.expression import graph_from_expressions
    >>> from verify.methods.symbolic import prepare
    >>> graph = graph_from_expressions({"x": ()}, {"f": "x**2"})
    >>> reference = Reference(graph, ["x"], prepare(graph, ["x"]))
    >>> known = reference.enclose({"x": np.array([3.0])}, {"f": np.ones(1)})
    >>> known.road, known.gradient("x").midpoint, known.gradient("x").error(6.0)
    ('symbolic+taylor', 6.0, (0.0, 0.0))
    """

    def __init__(
        self,
        graph: Graph,
        variables: Sequence[str],
        symbolic: Symbolic | None,
        most_bits: int = MOST_BITS,
        most_work: float = MOST_WORK,
    ) -> None:
        """``variables`` are those whose gradients are compared; ``symbolic`` is None where SymPy has no form."""
        self.graph = graph
        self.variables = tuple(variables)
        self.taylor = Taylor(graph)
        self.all_slopes = AllSlopes(self.taylor)
        self.symbolic = symbolic
        self.most_bits = most_bits
        self.most_work = most_work
        self.ladder = tuple(ladder(most_bits))

    def enclose(
        self, inputs: Mapping[str, Array], upstream: Mapping[str, Array], *, taylor_only: bool = False
    ) -> Enclosures:
        """The reference at one point; inputs and upstream gradients are ``(1, *shape)``.

        ``taylor_only`` leaves SymPy's road out, which is the one that grows with the number of all entries.
        """
        return Enclosures(self, inputs, upstream, taylor_only=taylor_only)


def ladder(most_bits: int) -> Iterator[int]:
    """Precisions, each double the one before, up to the last.

    >>> list(ladder(300))
    [128, 256, 300]
    """
    bits = FIRST_BITS
    while bits < most_bits:
        yield bits
        bits *= 2
    yield most_bits


class Enclosures:
    """The values of all stages and the gradients by all variables at one point.

    Everything is computed once when it is made, and compared; entries that need more precision get it when asked for.
    """

    def __init__(
        self,
        reference: Reference,
        inputs: Mapping[str, Array],
        upstream: Mapping[str, Array],
        *,
        taylor_only: bool = False,
    ) -> None:
        self.reference = reference
        self._symbolic = None if taylor_only else reference.symbolic
        self.graph = reference.graph
        self.disputed = ""
        """Where the two roads part, empty where they agree."""
        self.road = "taylor" if self._symbolic is None else BOTH_ROADS
        self._inputs = {name: np.asarray(value, dtype=np.float64) for name, value in inputs.items()}
        self._upstream = {name: np.asarray(value, dtype=np.float64) for name, value in upstream.items()}
        self._refusal = self._refused()
        self._levels: dict[int, _Level] = {}
        self._work = Work(reference.most_work)
        if not self._refusal and self._symbolic is not None:
            self._compare_all()

    def value(self, name: str, entry: Entry = (), needed: float | None = None) -> Enclosure:
        """An entry of an input or a stage; ``needed`` is the radius that is small enough."""
        return self._answer(_Question(name, entry, is_gradient=False), needed)

    def gradient(self, name: str, entry: Entry = (), needed: float | None = None) -> Enclosure:
        """An entry of the gradient of the contracted output; ``needed`` is the radius that is small enough."""
        return self._answer(_Question(name, entry, is_gradient=True), needed)

    def confirms(self, name: str, entry: Entry, needed: float, *, is_gradient: bool) -> bool:
        """Whether SymPy's form encloses the truth as closely, with all the precision that there is for it."""
        question = _Question(name, entry, is_gradient)
        for bits in self.reference.ladder if not self._refusal else ():
            try:
                taylor, sympy = self._pair(question, bits)
            except OutOfWorkError:
                return False
            if sympy is None or self.disputed:
                return False
            if is_narrow(taylor, needed, bits) and is_narrow(sympy, needed, bits):
                return True
        return False

    def along(self, name: str, direction: Array, needed: float) -> Enclosure:
        """The slope of the contracted output along a direction of a variable's shape: all its entries move at once."""
        if self._refusal:
            return enclosure(None, self._refusal, "taylor", FIRST_BITS)
        position, work = self.graph.position(name), Work(self.reference.most_work)
        found, bits = None, FIRST_BITS
        for bits in self.reference.ladder:
            try:
                with precision(bits):
                    level = self._level(bits, work)
                    found = self._along(level, position, direction, work, needed)
            except OutOfWorkError:
                return enclosure(found, OUT_OF_WORK, "taylor", bits, Unproved.WORK)
            if is_narrow(found, needed, bits):
                return enclosure(found, "", "taylor", bits)
        return enclosure(found, "enclosure too wide along a direction", "taylor", bits, Unproved.WIDE)

    def _along(self, level: _Level, position: int, direction: Array, work: Work, needed: float) -> flint.arb:
        every = self._all_slopes(level, work)
        if every is not None:
            moves = zip(every.get(position, ()), direction.ravel().tolist(), strict=False)
            total = sum((slope * arb(move) for slope, move in moves), arb(0))
            if is_narrow(total, needed, level.bits):
                return total
        return self.reference.taylor.slope(level.values, position, direction, level.weights, work)

    def nodes(self) -> Values | None:
        """The value of every node with the first precision, None where nothing can be, or the work ran out."""
        level = self._first_level()
        return None if level is None else level.values

    def slopes(self, *, all_or_none: bool = False) -> list[flint.arb]:
        """The derivatives of the contracted output by every entry of every node, as far as the work allows.

        With ``all_or_none``, nothing where it does not allow for all of them.
        """
        level, found = self._first_level(), list[flint.arb]()
        if level is None:
            return found
        work = Work(self._work.left)
        try:
            with precision(FIRST_BITS):
                every = self._all_slopes(level, work)
                if every is not None:
                    return [slope for slopes in every.values() for slope in slopes]
                for position, node in enumerate(self.graph.nodes):
                    for entry in np.ndindex(node.shape):
                        slope = self.reference.taylor.slope(level.values, position, entry, level.weights, work)
                        found.append(slope)
        except OutOfWorkError:
            return [] if all_or_none else found  # those that were had may say enough
        return found

    def _first_level(self) -> _Level | None:
        if self._refusal:
            return None
        try:
            with precision(FIRST_BITS):
                return self._level(FIRST_BITS, Work(self._work.left))
        except OutOfWorkError:
            return None

    # ------------------------------------------------------------------------------------------- precision and work

    def _answer(self, question: _Question, needed: float | None) -> Enclosure:
        reason = self._refusal
        if reason:
            return enclosure(None, reason, "taylor", FIRST_BITS)
        lacks: Unproved | None = None
        found: tuple[flint.arb | None, str, int] = (None, "", FIRST_BITS)
        rises = 0
        for bits in self.reference.ladder:
            try:
                taylor, sympy = self._pair(question, bits)
                narrow = is_narrow(taylor, needed, bits)
                if not narrow and question.is_gradient:  # a pass for this entry alone may know more
                    taylor, sympy = self._pair(question, bits, alone=True)
                    narrow = is_narrow(taylor, needed, bits)
            except OutOfWorkError:
                reason, lacks = OUT_OF_WORK, Unproved.WORK
                break
            both = narrow and sympy is not None and is_narrow(sympy, needed, bits)
            found = (taylor, BOTH_ROADS if both else "taylor", bits)
            if narrow:
                reason, lacks = "", None
                rises += 1
                if both or sympy is None or not sympy.is_finite() or rises > SYMPY_RISES:
                    break
                continue
            reason, is_final = self._why(question, taylor, self._levels[bits])
            lacks = None if is_final else Unproved.WIDE
            if is_final:
                break
        ball, road, bits = found
        return enclosure(ball, reason, road or "taylor", bits, lacks)

    def _pair(self, question: _Question, bits: int, *, alone: bool = False) -> tuple[flint.arb, flint.arb | None]:
        """What the two roads say with some precision; ``alone`` asks for a series pass for this entry."""
        with precision(bits):
            return self._compare(self._level(bits, self._work), question, self._work, alone=alone)

    def _level(self, bits: int, work: Work) -> _Level:
        level = self._levels.get(bits)
        if level is None:
            taylor = self.reference.taylor
            values = taylor.values({name: point_balls(x) for name, x in self._inputs.items()}, work)
            weights = [(self.graph.position(name), point_balls(g)) for name, g in self._upstream.items()]
            if self._symbolic is None:
                level = _Level(bits, values, weights, {}, {})
            else:
                work.spend(SYMPY_PASSES * taylor.price(bits))
                derivative = self._symbolic.differentiate(enclosed(self._inputs), enclosed(self._upstream))
                level = _Level(bits, values, weights, derivative.values, derivative.gradients)
            self._levels[bits] = level
        return level

    def _taylor(self, level: _Level, question: _Question, work: Work, *, alone: bool = False) -> flint.arb:
        position = self.graph.position(question.name)
        if not question.is_gradient:
            value = level.values[position]
            ball: flint.arb = value[question.entry] if isinstance(value, np.ndarray) else value
            return ball
        key = (question.name, question.entry)
        if key in level.slopes:
            return level.slopes[key]
        found = None if alone else self._all_slopes(level, work)
        if found is not None:
            shape = self.graph.nodes[position].shape
            slopes = found.get(position)
            slope = slopes[np.ravel_multi_index(question.entry, shape) if shape else 0] if slopes else arb(0)
            if slope.is_finite():
                return slope
        slope = self.reference.taylor.slope(level.values, position, question.entry, level.weights, work)
        # A slope of a sum that has no value is none, even where the part without a value is constant.
        level.slopes[key] = slope if not self._lost_outputs(level) else arb.nan()
        return level.slopes[key]

    def _all_slopes(self, level: _Level, work: Work) -> dict[int, list[flint.arb]] | None:
        """The slopes by all entries together, None where they cannot be had, or an output has no value."""
        every = self.reference.all_slopes
        if level.all_slopes is None and every.is_possible and work.left > every.price(level.bits):
            lost = self._lost_outputs(level)
            level.all_slopes = every.at(level.values, level.weights, work) if not lost else None
        return level.all_slopes

    def _lost_outputs(self, level: _Level) -> list[int]:
        """Outputs that have no value, but for entries with an upstream gradient of 0."""
        return [
            position
            for position, weight in level.weights
            if any(
                g != 0 and not x.is_finite()
                for x, g in zip(entries_of(level.values[position]), entries_of(weight), strict=True)
            )
        ]

    def _compare_all(self) -> None:
        """Every value and gradient with the first precision, so that a dispute is found whoever asks for what."""
        graph = self.graph
        try:
            with precision(FIRST_BITS):
                level = self._level(FIRST_BITS, self._work)
                for source, is_gradient in ((level.sympy_values, False), (level.sympy_gradients, True)):
                    for name in source:
                        for entry in np.ndindex(graph.shape(name)):
                            self._compare(level, _Question(name, entry, is_gradient), self._work)
        except OutOfWorkError:
            pass  # whoever asks for what is missing is told so

    def _compare(
        self, level: _Level, question: _Question, work: Work, *, alone: bool = False
    ) -> tuple[flint.arb, flint.arb | None]:
        """What the two roads say; notes where they part."""
        taylor = self._taylor(level, question, work, alone=alone)
        sympy = _sympy(level, question)
        if sympy is not None and not self.disputed and not taylor.overlaps(sympy):
            self.disputed = self._parting(level, question, taylor, sympy)
        return taylor, sympy

    # ------------------------------------------------------------------------------------------------------ reasons

    def _refused(self) -> str:
        """Why nothing can be enclosed at all."""
        for what, arrays in (("input", self._inputs), ("the upstream gradient of", self._upstream)):
            for name, array in arrays.items():
                for index in np.argwhere(~np.isfinite(array[0])).tolist():
                    kind = "NaN" if np.isnan(array[(0, *index)]) else "infinite"
                    return f"{what} {entry_name(name, tuple(index))} is {kind}"
        return ""

    def _why(self, question: _Question, ball: flint.arb, level: _Level) -> tuple[str, bool]:
        """Why a ball is too wide, and whether more precision would not help."""
        with precision(level.bits):
            return self._why_at(question, ball, level)

    def _why_at(self, question: _Question, ball: flint.arb, level: _Level) -> tuple[str, bool]:
        graph = self.graph
        position = graph.position(question.name)
        targets = [position] if not question.is_gradient else [at for at, _ in level.weights]
        path = sorted(graph.needed_for(targets))
        if not ball.is_finite():
            lost = first_lost(graph, level.values, path)
            if lost is not None:
                return reason_lost(graph, lost, level.values, slope=False)
            if question.is_gradient:
                series = self.reference.taylor.series(level.values, position, question.entry)
                lost = first_lost(graph, series, path)
                if lost is not None:
                    return reason_lost(graph, lost, series, slope=True)
        if question.is_gradient:
            between = {*self.reference.taylor.order(position)}
            kinks = list(undecided_kinks(graph, level.values, sorted(between)))
            if kinks:
                at, argument = kinks[0]
                exact = all(argument.is_exact() for _, argument in kinks)
                return f"kink: {node_text(graph.nodes[at])}, where two branches meet ({_shown(argument)})", exact
        for at in path:
            if at not in level.certain:
                level.certain[at] = _worst_bits(level.values[at])
        widest = next((at for at in path if level.certain[at] < RELATIVE_BITS // 2), path[-1])
        radius = _size(ball.rad()) if ball.is_finite() else "infinite"
        start = f"; digits are lost from {node_text(graph.nodes[widest])} on" if graph.nodes[widest].args else ""
        return f"enclosure too wide: its radius is {radius} with {level.bits} bits{start}", False

    # ----------------------------------------------------------------------------------------------------- disputes

    def _parting(self, level: _Level, question: _Question, taylor: flint.arb, sympy: flint.arb) -> str:
        """The first node at which the forward values of the two roads, or else the local forms, part."""
        graph = self.graph
        if graph.position(question.name) in graph.inputs.values() and not question.is_gradient:
            return f"the two roads start from different inputs: {question} is {_two(taylor, sympy)}"
        for part in (_values_part, _slopes_part):
            for position, node in enumerate(graph.nodes):
                if node.kind != "op":
                    continue
                try:
                    found = part(graph, position, level.values)
                except TooLargeError:
                    continue
                if found:
                    form = "SymPy form" if OPS[node.op].lower is None else "lowering"
                    return f"the {form} and the ball form of {node_text(node)} part: {found}"
        return f"the two roads part at {question}: {_two(taylor, sympy)}, though the forms of every op agree"


def point_balls(array: Array) -> Any:
    """Floats ``(1, *shape)`` as the balls that they are, without the axis of points; a scalar as the ball itself.

    >>> point_balls(np.array([0.5]))
    0.500000000000000
    """
    if array.ndim == 1:
        return arb(float(array[0]))
    balls = np.empty(array.shape[1:], dtype=object)
    for index in np.ndindex(balls.shape):
        balls[index] = arb(float(array[(0, *index)]))
    return balls


def is_narrow(ball: flint.arb, needed: float | None, bits: int) -> bool:
    """Whether a radius is as small as it is needed; where nobody says how small, to :data:`RELATIVE_BITS`.

    >>> is_narrow(arb(2), None, 128), is_narrow(arb(2, 0.1), None, 128)
    (True, False)
    """
    if needed is None:
        if ball.rel_accuracy_bits() >= RELATIVE_BITS:
            return True
        return bool(ball.is_finite() and ball.rad() <= SMALLEST_RADIUS)
    with precision(bits):
        return bool(ball.is_finite() and ball.rad() <= arb(float(needed)))


def _sympy(level: _Level, question: _Question) -> flint.arb | None:
    """What the SymPy road says, None where there is none."""
    source = level.sympy_gradients if question.is_gradient else level.sympy_values
    if question.name not in source:
        return None
    number = source[question.name][(0, *question.entry)]
    return number if isinstance(number, arb) else arb(number)


def _two(taylor: flint.arb, sympy: flint.arb) -> str:
    return f"{sympy.str(20)} by SymPy, {taylor.str(20)} by the ball forms"


def node_text(node: Node) -> str:
    """A node as a reason names it.

    >>> from verify.case.expression import graph_from_expressions
    >>> node_text(graph_from_expressions({"x": ()}, {"f": "log(x)"}).nodes[-1])
    "log in stage 'f'"
    """
    if node.kind != "op":
        return f"input {node.op}" if node.kind == "input" else f"the literal {node.op}"
    place = f" in stage {node.stage!r}" if node.stage else ""
    return f"{node.op}{place}{f', line {node.line}' if node.line else ''}"


def _size(ball: flint.arb) -> str:
    """An exact number in three digits, without an exponent that fills pages."""
    text: str = ball.str(3, radius=False)
    return text if len(text) < 20 else f"more than 1e{'9' * 12}"


def _shown(ball: flint.arb) -> str:
    """A ball in a few digits."""
    return ball.str(5, radius=not ball.is_exact())


# -------------------------------------------------------------------------------------------------- looking for reasons


def first_lost(graph: Graph, values: Values, path: Sequence[int]) -> int | None:
    """The first node that has a value or slope that is not finite though its operands' are.

    >>> from verify.case.expression import graph_from_expressions
    >>> graph = graph_from_expressions({"x": ()}, {"q": "log(x)", "f": "-q"})
    >>> first_lost(graph, [arb(0), arb.nan(), arb.nan()], (0, 1, 2))
    1
    """
    lost = [at for at in path if not is_finite(values[at])]
    begun = [at for at in lost if all(is_finite(values[arg]) for arg in graph.nodes[at].args)]
    return next(iter((*begun, *lost)), None)


def reason_lost(graph: Graph, at: int, values: Values, *, slope: bool) -> tuple[str, bool]:
    """Why a node has no value, or no slope, and whether more precision would not help.

    >>> from verify.case.expression import graph_from_expressions
    >>> graph = graph_from_expressions({"x": ()}, {"f": "log(x)"})
    >>> reason_lost(graph, 1, [arb(0), arb.nan()], slope=False)
    ("log in stage 'f' is outside its domain (a > 0): a = 0", True)
    """
    node = graph.nodes[at]
    if node.kind == "op" and OPS[node.op].undefined:
        return f"{OPS[node.op].undefined}, or too near to one to tell, in {node_text(node)}", False
    if node.kind != "op" or not OPS[node.op].elementwise:
        return f"{node_text(node)} has no finite {'slope' if slope else 'value'}", False
    result, *operands = np.broadcast_arrays(*(as_objects(values[i]) for i in (at, *node.args)))
    index = next(index for index in np.ndindex(result.shape) if not is_finite(result[index]))
    held: list[Any] = [operand[index] for operand in operands]
    numbers = [head(x) for x in held]
    exact = all(number.is_exact() for number in numbers)
    shown = ", ".join(f"{name} = {_shown(x)}" for name, x in zip(OPERAND_NAMES, numbers, strict=False))
    if slope:
        kind = "an infinite slope" if OPS[node.op].kink is None else "no slope where its branches meet,"
        return f"{node_text(node)} has {kind} at {shown}", exact
    texts = [limits.text(name) for name, limits in zip(OPERAND_NAMES, _domain(node), strict=False)]
    domain = " and ".join(filter(None, texts))
    if any(_is_outside(limits, x) for limits, x in zip(_domain(node), numbers, strict=False)):
        kind = "has a pole at" if "!= 0" in domain else f"is outside its domain ({domain}):"
        return f"{node_text(node)} {kind} {shown}", True
    if not all(limits.contains(x) for limits, x in zip(_domain(node), numbers, strict=False)):
        return f"{node_text(node)} may be outside its domain ({domain}): {shown}", exact
    return f"{node_text(node)} overflows at {shown}", exact


def _domain(node: Node) -> tuple[Interval, ...]:
    """Where each argument may be; a constant exponent has its own."""
    exponent = node.params.get("exponent")
    if exponent is None:
        return OPS[node.op].domain
    if float(exponent).is_integer():
        return (Interval(nonzero=exponent < 0),)
    return (Interval(0.0, low_open=exponent < 0),)


def _is_outside(limits: Interval, x: flint.arb) -> bool:
    """Whether the whole ball is outside; comparisons of balls are False where that is not certain."""
    below = x <= limits.low if limits.low_open else x < limits.low
    above = x >= limits.high if limits.high_open else x > limits.high
    return bool((below and limits.low > -math.inf) or (above and limits.high < math.inf) or (limits.nonzero and x == 0))


def undecided_kinks(graph: Graph, values: Values, path: Sequence[int]) -> Iterator[tuple[int, flint.arb]]:
    """Nodes whose branch is undecided at some entry, with what decides it there.

    >>> from verify.case.expression import graph_from_expressions
    >>> graph = graph_from_expressions({"x": ()}, {"f": "relu(x)"})
    >>> [at for at, _ in undecided_kinks(graph, [arb(0), arb(0)], [1])]
    [1]
    """
    for at in path:
        kink = OPS[graph.nodes[at].op].kink
        if kink is None:
            continue
        decide = np.frompyfunc(partial(kink.argument, **graph.nodes[at].static), len(graph.nodes[at].args), 1)
        for argument in entries_of(decide(*(as_objects(values[arg]) for arg in graph.nodes[at].args))):
            if argument.contains(0):
                yield at, argument


def _worst_bits(value: Any) -> int:
    """How many bits are certain in the least certain entry of a value."""
    return min((int(x.rel_accuracy_bits()) for x in entries_of(value) if x != 0), default=RELATIVE_BITS)


# ------------------------------------------------------------------------------------------------ where the roads part


def _values_part(graph: Graph, position: int, values: Values) -> str:
    """How the SymPy form and the ball form of one op differ in value, at the same operands; empty if they do not."""
    piece = piece_of(graph, position)
    operands = [_with_points(values[leaf]) for leaf in piece.leaves]
    like = operands[0] if operands else _with_points(flint.arb(0))
    shape = (1, *graph.nodes[position].shape)
    forms = np.broadcast_to(piece.value(operands, like), shape).ravel().tolist()
    for sympy, taylor in zip(forms, entries_of(values[position]), strict=True):
        if not taylor.overlaps(sympy):
            return _two(taylor, sympy)
    return ""


def _slopes_part(graph: Graph, position: int, values: Values) -> str:
    """The same for the partial derivatives by each entry of each operand, contracted with 1, 2, 3, ..."""
    node = graph.nodes[position]
    piece = piece_of(graph, position)
    operands = [_with_points(values[leaf]) for leaf in piece.leaves]
    ramp = np.empty((1, *node.shape), dtype=object)
    ramp.ravel()[:] = [flint.arb(i + 1) for i in range(ramp.size)]
    call = ball_call(graph, node)
    assert call is not None
    for leaf, pull in zip(piece.leaves, piece.pulls(operands), strict=True):
        pulled = pull(ramp)
        for entry in np.ndindex(graph.nodes[leaf].shape):
            moving = seeded(values[leaf], entry)
            moved = call(*(moving if arg == leaf else values[arg] for arg in node.args))
            taylor = contracted([moved], [(0, ramp[0])])
            sympy = pulled[(0, *entry)]
            if not taylor.overlaps(sympy if isinstance(sympy, arb) else arb(sympy)):
                return f"the derivative by {entry_name(graph.text(leaf), entry)} is {_two(taylor, sympy)}"
    return ""


def _with_points(value: Any) -> Any:
    return as_objects(value)[None]

"""First and second derivatives, and their products with vectors, enclosed at one point; and what answers may be off by.

``J v`` is the slope of the outputs where all inputs move along v: one pass of series (:mod:`verify.graph.taylor`).
``H v`` is how the slopes of the contracted output change along v: the pass back through series
(:mod:`verify.graph.all_slopes`), or entry by entry the mixed coefficient of one pass. SymPy is the second road: its
gradient, which knows none of that, contracted for a first derivative; for a second one the difference of its gradients
along v, in balls, at a step so short that nothing is cut off which anybody could see. Where the two exclude each other
the point is disputed. The engine has no part in it.

What answers may be off by is the radius of the same program at the precision of the floats, its inputs and literals
taken for no better than floats are: that holds the rounding on the way and the conditioning, and a branch that rounding
may turn has no second derivative there.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import flint
import numpy as np
from numpy.typing import NDArray

from verify.graph.all_slopes import EMPTY, SECOND_TERMS, AllSlopes, mixed
from verify.graph.graph import Graph
from verify.graph.taylor import Taylor, as_objects, contracted, entries_of, precision
from verify.graph.work import OutOfWorkError, Work
from verify.methods.symbolic import Symbolic, enclosed
from verify.numbers.ball_math import head, tail
from verify.numbers.streams import stream
from verify.ops import OPS
from verify.truth.reference import (
    BOTH_ROADS,
    FIRST_BITS,
    MOST_BITS,
    OUT_OF_WORK,
    Enclosure,
    enclosure,
    first_lost,
    float_above,
    is_narrow,
    ladder,
    node_text,
    reason_lost,
    undecided_kinks,
)
from verify.words import Unproved

Array = NDArray[Any]
arb = flint.arb
Direction = Mapping[str, Array]
"""Input -> how far each of its entries moves; an input that is left out stands still."""
Balls = Mapping[str, Any]
"""Name -> its balls: one, or an object array of its shape."""
Key = tuple[str, ...]
"""Whom a block of numbers is about: ``(output,)`` of ``J v``, ``(output, input)`` of J, ``(input,)`` of ``H v``,
``(input, input)`` of H."""

NEEDED = 1000.0
"""How much narrower than what is allowed an enclosure has to be."""

HUGE = 1e100
"""Nothing is said of a slope that is off by more than so many times itself."""

SMALLEST = 5e-324
"""No enclosure has to be narrower than what a float can be."""

MOST_WORK = 20_000_000
"""Work for the products at one point: a Hessian has as many passes as there are entries."""

STEP_BITS = 300
"""SymPy's gradients are taken 2**-STEP_BITS of the smallest number apart, ..."""

LINEAR = frozenset({"multiply", "divide", "negative", "add", "subtract"})
"""Ops that are linear in their first operand."""

KINKED = 2.0**-20
"""Where rounding may move a slope by more than this part of it, and a branch may turn, that is the cause."""

SAME_BITS = 100
"""... and their difference is the second derivative to 2**-SAME_BITS of itself, or to the square of that."""


@dataclass(frozen=True, slots=True)
class Block:
    """What is known of the numbers of one kind, in C order."""

    key: Key
    shape: tuple[int, ...]
    known: Sequence[Enclosure]
    allowed: Sequence[float]
    """What float programs may be off by; inf where that is unbounded."""
    hull: Sequence[Any]
    """The slopes on either side, as a ball, of a first derivative at a kink; None elsewhere."""


class Orders:
    """One point of a graph; inputs and upstream gradients are arrays of their shapes.

    >>> from verify.case.expression import graph_from_expressions
    >>> graph = graph_from_expressions({"x": (2,)}, {"f": "x[0]**2 * x[1]"})
    >>> point = Orders(graph, ["x"], None, {"x": np.array([3.0, 5.0])}, {"f": np.ones(())})
    >>> [known.midpoint for block in point.hvp({"x": np.array([1.0, 0.0])}) for known in block.known]
    [10.0, 6.0]
    """

    def __init__(
        self,
        graph: Graph,
        variables: Sequence[str],
        symbolic: Symbolic | None,
        inputs: Mapping[str, Array],
        upstream: Mapping[str, Array],
        dtype: Any = np.float64,
    ) -> None:
        """``variables`` are differentiated; ``dtype`` is what the answers are computed in."""
        self.graph, self.variables, self.symbolic = graph, tuple(variables), symbolic
        self.inputs = {name: np.asarray(x, dtype=np.float64) for name, x in inputs.items()}
        self.upstream = {name: np.asarray(g, dtype=np.float64) for name, g in upstream.items()}
        self.taylor = Taylor(graph)
        self.slopes = AllSlopes(self.taylor)
        self.dtype = dtype
        info = np.finfo(dtype)
        self.unit, self.largest, self.tiny = float(info.eps) / 2, float(info.max), float(info.tiny)
        self.growth = 8 + sum(node.kind == "op" and OPS[node.op].ulps > 0 for node in graph.nodes)
        self.floor = 16 * float(info.smallest_subnormal)
        self.disputed = ""
        """Where the two roads part, empty where they agree."""
        self.kink = ""
        """The first branch that rounding may turn on the way, in words; empty where there is none."""
        self.overflows = False
        """Whether a value on the way is more than the floats hold."""
        self.underflow = ""
        """Where a value on the way is less than they hold, and not 0; empty where none is."""
        self._work = Work(MOST_WORK)
        self._asked: tuple[Callable[[Balls], Mapping[Key, Sequence[Any]]], int] | None = None
        """What was asked for last."""

    # ----------------------------------------------------------------------------------------------- what is asked for

    def jvp(self, direction: Direction) -> list[Block]:
        """``J v`` of every output."""

        def compute(balls: Balls) -> dict[Key, list[Any]]:
            values = self._values(_moved(balls, direction))
            return {(name,): [tail(x) for x in self._entries(values, name)] for name in self.graph.outputs}

        def sympy(found: Mapping[Key, Sequence[Any]]) -> Iterable[tuple[Key, int, Any, Any]]:
            seeds = self._seeds()
            gradient = self._gradient(self.inputs, seeds)
            ours = sum((g * x for n, s in seeds.items() for g, x in _pairs(s, found[n,])), arb(0))
            theirs = sum((v * x for n, d in direction.items() for v, x in _pairs(d, gradient[n])), arb(0))
            yield (self.graph.outputs[0],), 0, ours, theirs

        shapes: dict[Key, tuple[int, ...]] = {(name,): self.graph.shape(name) for name in self.graph.outputs}
        return self._enclosed(shapes, compute, sympy, 2)

    def jacobian(self) -> list[Block]:
        """J, a block for each output by each input."""
        outputs, graph = self.graph.outputs, self.graph

        def compute(balls: Balls) -> dict[Key, list[Any]]:
            values = self.taylor.values(balls, self._work, literal=self._literal)
            columns: dict[Key, list[list[Any]]] = {(y, x): [] for y in outputs for x in self.variables}
            for x in self.variables:
                for entry in np.ndindex(graph.shape(x)):
                    if self._slack:
                        moved = self._values(_moved(balls, {x: _unit(graph.shape(x), entry)}))
                    else:
                        moved = self.taylor.series(values, graph.position(x), entry, self._work)
                    for y in outputs:
                        columns[y, x].append([tail(number) for number in self._entries(moved, y)])
            return {key: _by_rows(found) for key, found in columns.items()}

        def sympy(found: Mapping[Key, Sequence[Any]]) -> Iterable[tuple[Key, int, Any, Any]]:
            seeds = self._seeds()
            gradient = self._gradient(self.inputs, seeds)
            for x in self.variables:
                size = math.prod(graph.shape(x))
                for k in range(size):
                    parts = [
                        g * found[y, x][i * size + k] for y, s in seeds.items() for i, g in enumerate(_balls_of(s))
                    ]
                    yield (outputs[0], x), k, sum(parts, arb(0)), gradient[x][k]

        shapes: dict[Key, tuple[int, ...]] = {
            (y, x): (*graph.shape(y), *graph.shape(x)) for y in outputs for x in self.variables
        }
        return self._enclosed(shapes, compute, sympy, 2)

    def hvp(self, direction: Direction) -> list[Block]:
        """``H v`` by every variable, H that of the outputs contracted with their upstream gradients."""

        def compute(balls: Balls) -> dict[Key, list[Any]]:
            return {(name,): numbers for name, numbers in self._second(balls, direction).items()}

        def sympy(found: Mapping[Key, Sequence[Any]]) -> Iterable[tuple[Key, int, Any, Any]]:
            for name, numbers in self.differences(direction).items():
                for k, number in enumerate(numbers):
                    yield (name,), k, found[name,][k], number

        return self._enclosed({(n,): self.graph.shape(n) for n in self.variables}, compute, sympy, SECOND_TERMS)

    def hessian(self) -> list[Block]:
        """H, a block for each variable by each."""
        shape = self.graph.shape

        def compute(balls: Balls) -> dict[Key, list[Any]]:
            columns: dict[Key, list[list[Any]]] = {(x, y): [] for x in self.variables for y in self.variables}
            for y in self.variables:
                for entry in np.ndindex(shape(y)):
                    along = self._second(balls, {y: _unit(shape(y), entry)})
                    for x in self.variables:
                        columns[x, y].append(along[x])
            return {key: _by_rows(found) for key, found in columns.items()}

        def sympy(found: Mapping[Key, Sequence[Any]]) -> Iterable[tuple[Key, int, Any, Any]]:
            rng = stream(0, "direction of a Hessian")
            direction = {name: rng.choice([-1.0, 0.5, 2.0], shape(name)) for name in self.variables}
            for x, numbers in self.differences(direction).items():
                for k, number in enumerate(numbers):
                    row = arb(0)
                    for y, d in direction.items():
                        row += sum((v * found[x, y][k * d.size + j] for j, v in enumerate(_balls_of(d))), arb(0))
                    yield (x, x), k, row, number

        shapes: dict[Key, tuple[int, ...]] = {
            (x, y): (*shape(x), *shape(y)) for x in self.variables for y in self.variables
        }
        return self._enclosed(shapes, compute, sympy, SECOND_TERMS)

    # -------------------------------------------------------------------------------------------- second derivatives

    def _second(self, balls: Balls, direction: Direction) -> dict[str, list[Any]]:
        """``H v`` by each variable, with the precision of the moment."""
        return {name: [second for _, second in pairs] for name, pairs in self._both(balls, direction).items()}

    def _both(self, balls: Balls, direction: Direction) -> dict[str, list[tuple[Any, Any]]]:
        """The gradient and ``H v`` by each variable, with the precision of the moment."""
        bits = flint.ctx.prec
        weights = self._weights()
        found: dict[str, list[Any]] = {}
        with precision(bits):
            values = self._values(_moved(balls, direction))
        every = self.slopes.at(values, weights, self._work, self._slack) if self.slopes.is_possible else {}
        for name in self.variables:
            shape = self.graph.shape(name)
            slopes = every.get(self.graph.position(name), [arb(0)] * math.prod(shape))
            found[name] = [
                (head(slope), tail(slope))
                if self.slopes.is_possible and head(slope).is_finite() and tail(slope).is_finite()
                else self._alone(balls, direction, name, entry, weights)
                for entry, slope in zip(np.ndindex(shape), slopes, strict=True)
            ]
        return found

    def _alone(
        self, balls: Balls, direction: Direction, name: str, entry: tuple[int, ...], weights: Any
    ) -> tuple[Any, Any]:
        """The same of one entry by a pass of its own: all that is known of how numbers move together is used."""
        values = self._values(_moved(balls, direction, {name: _unit(self.graph.shape(name), entry)}))
        lost = any(g != 0 and not head(x).is_finite() for i, w in weights
                   for x, g in zip(entries_of(values[i]), entries_of(w), strict=True))  # fmt: skip
        if lost:
            return arb.nan(), arb.nan()
        return contracted(values, weights, 2), contracted(values, weights, SECOND_TERMS - 1)

    def _weights(self) -> list[tuple[int, Any]]:
        return [(self.graph.position(name), _given(g)) for name, g in self.upstream.items()]

    def _values(self, balls: Balls) -> list[Any]:
        """The value of every node; where slopes are had from rounded values, each as good as that."""
        values = self.taylor.values(balls, self._work, literal=self._literal)
        for i in sorted({j for at in self._slack for j in (at, *self.taylor.order(at))}):
            values[i] = self._call(i, [values[arg] for arg in self.graph.nodes[i].args])
            if i in self._slack:
                values[i] = _widened(values[i], self._slack[i])
        return values

    def _entries(self, values: Sequence[Any], name: str) -> list[Any]:
        return entries_of(values[self.graph.position(name)])

    def objective(self) -> list[Block]:
        """The gradient by the one variable that there is, and the diagonal of H, as boosting libraries want them."""
        (name,) = self.variables
        shape = self.graph.shape(name)
        ones = {name: np.ones(shape)}
        is_separable = self.is_separable()

        def compute(balls: Balls) -> dict[Key, list[Any]]:
            if is_separable:  # H is a diagonal, and so its product with ones
                pairs = self._both(balls, ones)[name]
            else:
                weights = self._weights()
                pairs = [self._alone(balls, {name: _unit(shape, e)}, name, e, weights) for e in np.ndindex(shape)]
            return {("grad",): [first for first, _ in pairs], ("hess",): [second for _, second in pairs]}

        def sympy(found: Mapping[Key, Sequence[Any]]) -> Iterable[tuple[Key, int, Any, Any]]:
            for k, number in enumerate(self._gradient(self.inputs, self.upstream)[name]):
                yield ("grad",), k, found["grad",][k], number
            for k, number in enumerate(self.differences(ones)[name] if is_separable else ()):
                yield ("hess",), k, found["hess",][k], number

        return self._enclosed({("grad",): shape, ("hess",): shape}, compute, sympy, SECOND_TERMS)

    def is_separable(self) -> bool:
        """Whether the output is a sum of terms with one entry of the one variable each, as far as shapes tell."""
        (name,) = self.variables
        shape, nodes = self.graph.shape(name), self.graph.nodes
        moving = {self.graph.position(name), *self.path()}
        for i in self.path():
            row, over = OPS[nodes[i].op], [j for j in nodes[i].args if j in moving]
            entrywise = row.elementwise and nodes[i].shape == shape and all(nodes[j].shape == shape for j in over)
            scaled = row.name in LINEAR and len(over) == 1 and over[0] == nodes[i].args[0]
            if not (entrywise or scaled or row.name in ("sum", "mean")):
                return False
        return True

    def of_graph(self, graph: Graph) -> Orders:
        """The same point of another graph that has the same inputs and outputs."""
        return Orders(graph, self.variables, self.symbolic, self.inputs, self.upstream, self.dtype)

    def gradient(self) -> dict[str, list[Any]]:
        """The gradient of the contracted outputs, in balls."""
        ones = {name: np.ones(self.graph.shape(name)) for name in self.variables}
        with precision(FIRST_BITS, SECOND_TERMS):
            found = self._both(self._start(), ones)
        return {name: [first for first, _ in pairs] for name, pairs in found.items()}

    def rounded_values(self) -> list[Any]:
        """The value of every node as floats have it, in balls that hold all that it may be off by."""
        self._wide = True
        try:
            with precision(round(-math.log2(self.unit))):
                return self.taylor.values(self._start(), self._work, literal=self._literal)
        finally:
            self._wide = False

    def path(self) -> list[int]:
        """The nodes between the variables and the outputs, in order."""
        moving = self.graph.depends_on(map(self.graph.position, self.variables))
        return [i for i in moving if i in self.taylor.wanted]

    def forgetting(self, direction: Direction, at: int, *, below: bool) -> dict[str, Array]:
        """``H v`` in floats by whoever forgets one node's second derivatives, those by all inputs or by its operands.

        ``below`` is the former: the node is taken for linear in the inputs, as Gauss and Newton do.
        """
        found = {name: np.zeros(self.graph.shape(name)) for name in self.variables}
        weights, last = self._weights(), SECOND_TERMS - 1
        with precision(FIRST_BITS, SECOND_TERMS):
            balls = self._start()
            for name, array in found.items():
                for entry in np.ndindex(array.shape):
                    moved = _moved(balls, direction, {name: _unit(array.shape, entry)})
                    values = self.taylor.values(moved, None, literal=self._literal)
                    operands = [values[i] for i in self.graph.nodes[at].args]
                    straight = None if below else self._call(at, [_without(x, range(1, last)) for x in operands])
                    values[at] = _with_last(values[at], straight)
                    for i in self.taylor.order(at):
                        values[i] = self._call(i, [values[arg] for arg in self.graph.nodes[i].args])
                    array[entry] = float(contracted(values, weights, last).mid())
        return found

    def _call(self, at: int, operands: Sequence[Any]) -> Any:
        call = self.taylor.calls[at]
        assert call is not None
        return call(*operands)

    # ----------------------------------------------------------------------------------------- precision and rounding

    _wide: bool = False
    """Whether numbers are taken for no better than floats are."""
    _slack: Mapping[int, Sequence[Any]] = EMPTY
    """By node and entry what a slope may be off by that is had from the rounded value, as a factor."""

    def _literal(self, value: float) -> Any:
        """The ball of a literal: exact, or as far from it as the floats may be."""
        held = float(np.float32(value)) if self._wide and self.unit > 2.0**-50 and abs(value) < self.largest else value
        return arb(value) if held == value else arb(value, self.unit * abs(value))

    def _start(self) -> dict[str, Any]:
        spread = self.growth * self.unit if self._wide else 0.0
        real = set(self.variables)
        return {name: _given(x, spread if name in real else 0.0) for name, x in self.inputs.items()}

    def _enclosed(
        self,
        shapes: Mapping[Key, tuple[int, ...]],
        compute: Callable[[Balls], Mapping[Key, Sequence[Any]]],
        sympy: Callable[[Mapping[Key, Sequence[Any]]], Iterable[tuple[Key, int, Any, Any]]],
        terms: int,
    ) -> list[Block]:
        """The numbers of every block, by as many bits as they need."""
        self._asked = compute, terms
        try:
            rough = self._rough(compute, terms)
            allowed = {key: [2 * _radius(ball) for ball in balls] for key, balls in rough.items()}
            exact, bits = self._exact(compute, terms, allowed)
        except OutOfWorkError:
            nothing = enclosure(None, OUT_OF_WORK, "taylor", FIRST_BITS, Unproved.WORK)
            return [
                Block(k, s, [nothing] * math.prod(s), [math.inf] * math.prod(s), [None] * math.prod(s))
                for k, s in shapes.items()
            ]
        self._compare(sympy, exact, bits)
        road = BOTH_ROADS if self.symbolic is not None else "taylor"
        why = self._why(bits)
        blocks = []
        for key, shape in shapes.items():
            found = zip(exact[key], rough[key], allowed[key], strict=True)
            told = [
                self._told(ball, around, least, bits, road, why, is_slope=terms == 2) for ball, around, least in found
            ]
            blocks.append(Block(key, shape, *zip(*told, strict=True)) if told else Block(key, shape, (), (), ()))
        return blocks

    def _told(
        self, ball: Any, around: Any, least: float, bits: int, road: str, why: str, *, is_slope: bool
    ) -> tuple[Enclosure, float, Any]:
        """One number: what is known, what is allowed, and the hull of its slopes where a branch may turn."""
        size = abs(float(ball.mid())) if ball.is_finite() else 0.0
        room = least + self.growth * self.unit * size + self.floor
        room = room if math.isfinite(room) and not self.overflows else math.inf
        turns = bool(self.kink) and (
            not around.is_finite() or (is_slope and bool(around.rad() > KINKED * around.abs_upper()))
        )
        if turns and is_slope and around.is_finite():
            return enclosure(None, self.kink, road, bits), math.inf, around
        narrow = is_narrow(ball, _needed(room), bits) and not turns
        reason = "" if narrow else self.kink or why
        return enclosure(ball, reason, road, bits, Unproved.WIDE if reason else None), room, None

    def _rough(
        self, compute: Callable[[Balls], Mapping[Key, Sequence[Any]]], terms: int
    ) -> Mapping[Key, Sequence[Any]]:
        """The numbers as floats have them, each with all that it may be off by; what is seen on the way is kept."""
        bits = round(-math.log2(self.unit))
        self._wide = True
        try:
            with precision(bits):
                values = self.taylor.values(self._start(), self._work, literal=self._literal)
                for i in sorted(self.taylor.wanted):
                    sizes = [abs(x) for x in entries_of(values[i]) if x.is_finite()]
                    self.overflows |= any(bool(x > self.largest) for x in sizes)
                    if not self.underflow and any(bool(x > 0) and bool(x < self.tiny) for x in sizes):
                        self.underflow = f"{node_text(self.graph.nodes[i])} is less than floats hold"
                at, argument = next(iter(undecided_kinks(self.graph, values, self.path())), (None, None))
                if at is not None and argument is not None:
                    where = node_text(self.graph.nodes[at])
                    self.kink = f"kink: {where}, where two branches meet to within rounding ({argument.str(5)})"
            with precision(bits, terms):
                return compute(self._start())
        finally:
            self._wide = False

    def saved(self, key: Key, entry: int) -> float:
        """What a right answer may be off by which has slopes from rounded values: it excuses digits that are lost."""
        return _radius(self._as_saved[key][entry]) if key in self._as_saved else 0.0

    @cached_property
    def _as_saved(self) -> Mapping[Key, Sequence[Any]]:
        assert self._asked is not None
        compute, terms = self._asked
        bits = round(-math.log2(self.unit))
        try:
            with precision(FIRST_BITS):
                values = self.taylor.values(self._start(), None, literal=self._literal)
            with precision(FIRST_BITS, SECOND_TERMS):
                self._slack = {i: found for i in self.path() if (found := self._slack_of(i, values))}
            self._wide = True
            with precision(bits, terms):
                return compute(self._start())
        except OutOfWorkError:
            return {}
        finally:
            self._wide, self._slack = False, EMPTY

    def _adds_literal(self, at: int, operand: int) -> bool:
        """Whether a node adds a literal to another one, or subtracts the one from the other, entry by entry."""
        nodes = self.graph.nodes
        is_sum = OPS[nodes[at].op].name in ("add", "subtract") and nodes[at].shape == nodes[operand].shape
        return is_sum and any(nodes[i].kind == "constant" for i in nodes[at].args)

    def _slack_of(self, at: int, values: Sequence[Any]) -> list[Any]:
        """Factors for the entries of an elementwise node of one operand: ``1 - y**2`` for tanh moves with y.

        Where a literal is added to the value, such as 1 to exp(x), it is known to a rounding of the sum.
        """
        nodes = self.graph.nodes
        if not (OPS[nodes[at].op].elementwise and len(nodes[at].args) == 1):
            return []
        sums = [i for i in self.taylor.order(at) if at in nodes[i].args and self._adds_literal(i, at)]
        factors = []
        for k, x in enumerate(entries_of(values[nodes[at].args[0]])):
            y = OPS[nodes[at].op].ball(flint.arb_series([x, 1]), **nodes[at].static)
            size = max([abs(float(head(y).mid())), *(abs(float(entries_of(values[i])[k].mid())) for i in sums)])
            slope, bend = tail(y), 2 * (y[2] if isinstance(y, flint.arb_series) else arb(0))
            off = abs(self.unit * size * bend / slope**2) if slope != 0 and not slope.contains(0) else arb(0)
            factors.append(arb(1, float(off.upper())) if off.is_finite() and off < HUGE else arb(1))
        return factors

    def _exact(
        self,
        compute: Callable[[Balls], Mapping[Key, Sequence[Any]]],
        terms: int,
        allowed: Mapping[Key, Sequence[float]],
    ) -> tuple[Mapping[Key, Sequence[Any]], int]:
        found: Mapping[Key, Sequence[Any]] = {}
        bits = FIRST_BITS
        for bits in ladder(MOST_BITS):
            with precision(bits, terms):
                found = compute(self._start())
            pairs = [(x, a) for key, balls in found.items() for x, a in zip(balls, allowed[key], strict=True)]
            if all(is_narrow(x, _needed(a + self.floor), bits) for x, a in pairs):
                break
            if self.kink and bits >= 2 * FIRST_BITS:
                break
        return found, bits

    def _why(self, bits: int) -> str:
        """Why an enclosure is no good: where a value is lost, or that it stayed too wide."""
        with precision(bits):
            values = self.taylor.values(self._start(), None, literal=self._literal)
            path = sorted(self.taylor.wanted)
            lost = first_lost(self.graph, values, path)
            if lost is not None:
                return reason_lost(self.graph, lost, values, slope=False)[0]
            for name in self.variables:
                moved = self.taylor.values(_moved(self._start(), {name: np.ones(self.graph.shape(name))}), None)
                lost = first_lost(self.graph, moved, path)
                if lost is not None:
                    return reason_lost(self.graph, lost, moved, slope=True)[0]
        return f"enclosure too wide with {bits} bits, or entries of a maximum are tied on the way"

    # -------------------------------------------------------------------------------------------------- SymPy's road

    def _seeds(self) -> dict[str, Array]:
        """Weights of all outputs together, so that one gradient of SymPy's tells of every entry."""
        rng = stream(0, "weights of the outputs")
        return {name: rng.choice([-1.0, 0.5, 2.0], self.graph.shape(name)) for name in self.graph.outputs}

    def _gradient(self, inputs: Mapping[str, Any], seeds: Mapping[str, Array]) -> dict[str, list[Any]]:
        """SymPy's gradient of the contracted outputs, in balls; inputs are arrays of floats or of balls."""
        assert self.symbolic is not None
        given = {n: x[None] if x.dtype == object else enclosed({n: x[None]})[n] for n, x in inputs.items()}
        answer = self.symbolic.differentiate(given, enclosed({name: g[None] for name, g in seeds.items()}))
        return {
            name: [x if isinstance(x, arb) else arb(x) for x in np.asarray(answer.gradients[name]).ravel().tolist()]
            for name in self.variables
        }

    def differences(self, direction: Direction, more: int = 0) -> dict[str, list[Any]]:
        """The differences of SymPy's gradients along a direction, with the precision of the moment or more."""
        smallest = min((abs(x) for array in self.inputs.values() for x in array.ravel().tolist() if x), default=1.0)
        longest = max((float(np.abs(d).max(initial=0.0)) for d in direction.values()), default=0.0) or 1.0
        short = STEP_BITS + more + max(0, math.ceil(math.log2(longest) - math.log2(min(smallest, 1.0))))
        with precision(3 * short + 4 * FIRST_BITS):
            step = arb(2) ** -short
            sides = []
            for sign in (1, -1):
                moved = {n: as_objects(_given(x)) for n, x in self.inputs.items()}
                for name, d in direction.items():
                    moved[name] = moved[name] + np.frompyfunc(lambda v: arb(float(v)) * step * sign, 1, 1)(d)  # noqa: B023
                sides.append(self._gradient({n: as_objects(x) for n, x in moved.items()}, self.upstream))
            return {
                name: [(a - b) / (2 * step) for a, b in zip(*(side[name] for side in sides), strict=True)]
                for name in self.variables
            }

    def _compare(
        self,
        sympy: Callable[[Mapping[Key, Sequence[Any]]], Iterable[tuple[Key, int, Any, Any]]],
        found: Mapping[Key, Sequence[Any]],
        bits: int,
    ) -> None:
        """Notes where the two roads part; a kink has no numbers to compare."""
        if self.symbolic is None or self.kink:
            return
        with precision(bits):
            for key, k, ours, theirs in sympy(found):
                if not (ours.is_finite() and theirs.is_finite()):
                    continue
                near = theirs + arb(0, 1) * (abs(ours) * arb(2) ** -SAME_BITS + arb(2) ** -(2 * SAME_BITS))
                if not ours.overlaps(near):
                    self.disputed = f"the two roads part at number {k} by {key[-1]}: {_two(theirs, ours)}"
                    return


def _two(theirs: Any, ours: Any) -> str:
    return f"{theirs.str(20)} by SymPy, {ours.str(20)} by the ball forms"


def _needed(room: float) -> float | None:
    """The radius that is small enough where so much is allowed; None where floats know nothing."""
    return max(room / NEEDED, SMALLEST) if math.isfinite(room) else None


def _radius(ball: Any) -> float:
    return float_above(ball.rad()) if ball.is_finite() else math.inf


def _given(array: Array, spread: float = 0.0) -> Any:
    """Floats as balls, no better than a part ``spread`` of each where that is not 0."""
    if not array.ndim:
        return arb(float(array), spread * abs(float(array)))
    found = np.empty(array.shape, dtype=object)
    for index in np.ndindex(array.shape):
        found[index] = arb(float(array[index]), spread * abs(float(array[index])))
    return found


def _balls_of(array: Array) -> list[Any]:
    return [arb(float(x)) for x in np.ravel(array).tolist()]


def _pairs(weights: Array, numbers: Sequence[Any]) -> Iterable[tuple[Any, Any]]:
    return zip(_balls_of(weights), numbers, strict=True)


def _by_rows(columns: Sequence[Sequence[Any]]) -> list[Any]:
    """The entries of a matrix in C order, from its columns."""
    return [number for row in zip(*columns, strict=True) for number in row]


def _unit(shape: tuple[int, ...], entry: tuple[int, ...]) -> Array:
    found = np.zeros(shape)
    found[entry] = 1.0
    return found


def _series(start: Any, slope: Any) -> flint.arb_series:
    return flint.arb_series([start, float(slope)])


def _moved(balls: Balls, direction: Direction, other: Direction | None = None) -> dict[str, Any]:
    """Balls as series along a direction, or along two at once; what stands still stays a ball."""
    found = dict(balls)
    for name in {*direction, *(other or ())}:
        value = as_objects(balls[name]).copy()
        along = np.asarray(direction.get(name, np.zeros(value.shape)))
        across = np.asarray((other or {}).get(name, np.zeros(value.shape)))
        for index in np.ndindex(value.shape):
            if other is not None and (along[index] or across[index]):
                value[index] = mixed(_series(value[index], along[index]), float(across[index]))
            elif along[index]:
                value[index] = _series(value[index], along[index])
        found[name] = value if isinstance(balls[name], np.ndarray) else value[()]
    return found


def _without(value: Any, terms: Iterable[int]) -> Any:
    """A value whose series lack some coefficients."""

    def left(x: Any) -> Any:
        if isinstance(x, arb):
            return x
        return flint.arb_series([arb(0) if k in terms else x[k] for k in range(SECOND_TERMS)])

    return np.frompyfunc(left, 1, 1)(value) if isinstance(value, np.ndarray) else left(value)


def _widened(value: Any, factors: Sequence[Any]) -> Any:
    """A value whose series have all but their heads times a factor by entry."""

    def times(x: Any, factor: Any) -> Any:
        if isinstance(x, arb):
            return x
        return flint.arb_series([x[0], *(x[k] * factor for k in range(1, x.prec))], x.prec)

    if not isinstance(value, np.ndarray):
        return times(value, factors[0])
    array = np.empty(value.size, dtype=object)
    array[:] = factors
    return np.frompyfunc(times, 2, 1)(value, array.reshape(value.shape))


def _with_last(value: Any, other: Any) -> Any:
    """A value whose series have the last coefficient of another, or none."""

    def changed(x: Any, y: Any) -> Any:
        if isinstance(x, arb):
            return x
        last = arb(0) if y is None or isinstance(y, arb) else y[SECOND_TERMS - 1]
        return flint.arb_series([*(x[k] for k in range(SECOND_TERMS - 1)), last])

    return np.frompyfunc(changed, 2, 1)(value, other) if isinstance(value, np.ndarray) else changed(value, other)

"""How far a central difference may be from the derivative, proved: truncation and rounding of one step.

The quotient of one entry is ``(L(above) - L(below)) / (above - below)``, L the contracted output. Around the exact
value c of the entry, with ``p = above - c`` and ``q = c - below``, Taylor's theorem with Lagrange's remainder gives

    quotient - L'(c) = c2(c) (p - q) + (c3(s) p**3 + c3(t) q**3) / (p + q)

for some s and t between the ends, ``c2 = L''/2`` and ``c3 = L'''/6``. A series of balls whose head is the whole
interval holds the third coefficient of every number in it, so both sides of the step are bounded (*truncation*). Where
the interval holds a kink there is no third coefficient, but the slopes over the interval have a hull, and by the mean
value theorem the quotient lies in it: L is Lipschitz there, since branches meet where an op changes from one to the
other (an op that jumps has no finite slope in its ball form). Over an edge of the domain, a pole or an infinite slope
nothing is bounded, and the reason says so.

*Rounding* is the radius of the quotient itself in :mod:`verify.numbers.balls`, at the precision of the dtype: the
forward pass at both ends, their subtraction, and the division.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import flint
import numpy as np
from numpy.typing import NDArray

from verify.graph.graph import Graph
from verify.graph.interpret import Program
from verify.graph.taylor import Entry, Taylor, Values, contracted, entries_of, is_finite, precision
from verify.methods.central import contraction
from verify.numbers.ball_math import head
from verify.numbers.balls import Balls
from verify.truth.reference import FIRST_BITS, first_lost, float_above, point_balls, reason_lost

Array = NDArray[Any]
arb = flint.arb

TERMS = 4
"""Value, slope, and the two coefficients that the error of a central difference is made of."""

ALIKE = 1.01
"""A third coefficient that is at most so much larger over an interval than at its middle stands for those inside."""

BELOW_ROUNDING = 2.0**-6
"""Part of the rounding that truncation need not be known better than."""

AROUND_BEST = 6
"""Powers of two that are tried on either side of the step at which truncation and rounding balance."""


@dataclass(frozen=True, slots=True)
class StepBound:
    """How far one central difference may be from the derivative, in units of the gradient."""

    truncation: float
    """Bounds what the step's length does."""
    rounding: float
    """Bounds what floats do."""
    reason: str = ""
    """Why a part is infinite, or that a kink lies within the step; empty where there is nothing to say."""

    @property
    def total(self) -> float:
        """Bounds the whole error."""
        return math.nextafter(self.truncation + self.rounding, math.inf)


class StepBounds:
    """A graph made ready to bound central differences at single points; it holds no state between them.

    >>> from verify.case.expression import graph_from_expressions
    >>> bounds = StepBounds(graph_from_expressions({"x": ()}, {"f": "x**3"}))
    >>> steps = bounds.point({"x": np.array([2.0])}, {"f": np.ones(1)}).at("x", ())
    >>> [bound] = steps.bounds([2 - 2**-10], [2 + 2**-10])
    >>> bound.truncation == 2**-20, bound.rounding < 1e-11
    (True, True)
    """

    def __init__(self, graph: Graph, bits: int = FIRST_BITS) -> None:
        """``bits`` is the precision of the Taylor coefficients; one that is too low widens the bound, no more."""
        self.graph = graph
        self.bits = bits
        self.taylor = Taylor(graph)
        self.program = Program(graph)

    def point(self, inputs: Mapping[str, Array], upstream: Mapping[str, Array]) -> PointSteps:
        """One point, to be asked for several entries; inputs and upstream gradients are ``(1, *shape)``."""
        return PointSteps(self, inputs, upstream)


class PointSteps:
    """What all entries at one point share: a run on exact numbers and one on floats."""

    def __init__(self, bounds: StepBounds, inputs: Mapping[str, Array], upstream: Mapping[str, Array]) -> None:
        self.graph, self.taylor, self.program, self.bits = bounds.graph, bounds.taylor, bounds.program, bounds.bits
        self.output = contraction(self.graph, upstream)
        self.floats = self.program.in_balls(inputs)
        with precision(self.bits, TERMS):
            self.values = self.taylor.values({key: _widened(value) for key, value in inputs.items()})
            self.weights = [(self.graph.position(key), _widened(g)) for key, g in upstream.items()]

    def at(self, name: str, entry: Entry) -> EntrySteps:
        """One entry of an input or a stage."""
        return EntrySteps(self, name, entry)


class EntrySteps:
    """Central differences of one entry of one variable at one point."""

    def __init__(self, point: PointSteps, name: str, entry: Entry) -> None:
        """Runs what depends on the entry once as a series; it is kept for all steps."""
        self.graph, self.taylor, self.program, self.bits = point.graph, point.taylor, point.program, point.bits
        self.position = self.graph.position(name)
        self.entry = entry
        self.dtype = point.floats[self.position].value.dtype
        """The variable's own, which need not be what the inputs compute in together."""
        self._output = point.output
        self._order = self.graph.depends_on([self.position])
        self._floats = point.floats
        self.x = self._floats[self.position].value[(0, *entry)]
        """The entry as floats have it, a number of the dtype, from which steps start."""
        with precision(self.bits, TERMS):
            self._values, self._weights = point.values, point.weights
            self._center = self._values[self.position] if not entry else self._values[self.position][entry]
            slope, self._bend, self._third = self._coefficients(self._center)[1:]
        self._widest: tuple[flint.arb, flint.arb, flint.arb] | None = None
        """The last interval that was run through, with its slopes and third coefficients."""
        with precision(self.bits):
            self._slope = slope if slope.is_finite() else self._coefficients(self._center)[1]

    # ------------------------------------------------------------------------------------------------------- bounds

    def bounds(self, below: Sequence[float] | Array, above: Sequence[float] | Array) -> list[StepBound]:
        """The bound of each step, whose ends are numbers of the dtype."""
        rounding = self.quotients(below, above).radius.tolist()
        ends = [(float(low), float(high)) for low, high in zip(below, above, strict=True)]
        found: dict[int, StepBound] = {}
        for i in sorted(range(len(ends)), key=lambda i: ends[i][0] - ends[i][1]):  # the widest first, see _over
            found[i] = self._bound(*ends[i], rounding[i])
        return [found[i] for i in range(len(ends))]

    def quotients(self, below: Sequence[float] | Array, above: Sequence[float] | Array) -> Balls:
        """The central differences as floats compute them ``(steps,)``, their roundings as radii."""
        low, high = (np.asarray(ends, dtype=self.dtype) for ends in (below, above))
        both = self._contracted(np.concatenate([low, high]))
        with np.errstate(all="ignore"):
            divisor = Balls.exact(high) - Balls.exact(low)
            # The divisor is a sum of two floats, so its rounding is within the ball like any other.
            return (both[len(low) :] - both[: len(low)]) / divisor  # type: ignore[no-any-return]

    def _contracted(self, ends: Array) -> Balls:
        """The contracted output with the entry at each of the ends ``(n,)``, all other inputs as they are."""
        start = self._floats[self.position]
        value, radius = (np.repeat(part, len(ends), axis=0) for part in (start.value, start.radius))
        where: tuple[Any, ...] = (slice(None), *self.entry)
        value[where], radius[where] = ends, 0.0
        total = self._output(self.program.rerun(self._floats, {self.position: Balls(value, radius)}, self._order))
        return Balls(*(np.broadcast_to(part, ends.shape) for part in (total.value, total.radius)))

    def _bound(self, below: float, above: float, rounding: float) -> StepBound:
        if not below < above:
            return StepBound(math.inf, math.inf, "the ends of the step are not two numbers, one below the other")
        truncation, reason = self._truncation(below, above, rounding)
        if not reason and math.isinf(rounding):
            reason = "floats overflow on the way, or leave the domain within their rounding"
        return StepBound(truncation, rounding, reason)

    def _truncation(self, below: float, above: float, rounding: float) -> tuple[float, str]:
        """A bound of the error of the exact quotient, and what there is to say about it."""
        with precision(self.bits, TERMS):
            interval = arb(below).union(arb(above)).union(self._center)
            p, q = arb(above) - self._center, self._center - arb(below)

            def smooth(third: flint.arb) -> Any:
                return (self._bend * (p - q) + (third * p**3 + third * q**3) / (p + q)).abs_upper()

            slopes, third = self._over(interval, lambda third: smooth(third) <= BELOW_ROUNDING * rounding)
        with precision(self.bits):
            hull = (slopes - self._slope).abs_upper()
            found = [float_above(bound) for bound in (smooth(third), hull) if bound.is_finite()]
            if not found:
                return math.inf, f"over [{below:.17g}, {above:.17g}], {self._why(interval)}"
        return min(found), "" if third.is_finite() else "a kink may lie within the step"

    def _over(self, interval: flint.arb, is_enough: Callable[[flint.arb], bool]) -> tuple[flint.arb, flint.arb]:
        """The slopes and the third coefficients over an interval: those over a wider one where they say as much."""
        if self._widest is not None:
            around, slopes, third = self._widest
            if around.contains(interval) and (third.abs_upper() <= ALIKE * self._third.abs_upper() or is_enough(third)):
                return slopes, third
        _, slopes, _, third = self._coefficients(interval)
        if not slopes.is_finite():
            with precision(self.bits):
                slopes = self._coefficients(interval)[1]
        self._widest = interval, slopes, third
        return slopes, third

    def _coefficients(self, middle: flint.arb) -> list[flint.arb]:
        """The Taylor coefficients of the contracted output, with the entry anywhere in a ball; NaN where unknown."""
        series = self._series(middle)
        terms = flint.ctx.cap
        if not all(is_finite(series[at]) for at, _ in self._weights if at not in self._changing):
            return [arb.nan()] * terms
        return [contracted(series, self._weights, k) for k in range(terms)]

    def _series(self, middle: flint.arb) -> Values:
        values = self._values[:]
        if self.entry:
            values[self.position] = values[self.position].copy()
            values[self.position][self.entry] = middle
        else:
            values[self.position] = middle
        return self.taylor.series(values, self.position, self.entry)

    @property
    def _changing(self) -> frozenset[int]:
        return frozenset((self.position, *self._order))

    def _why(self, interval: flint.arb) -> str:
        """Why there is no finite slope over an interval."""
        series = self._series(interval)
        lost = first_lost(self.graph, series, sorted(self.graph.needed_for(at for at, _ in self._weights)))
        if lost is None:
            return "the point itself has no finite slope"
        slope = all(head(number).is_finite() for number in entries_of(series[lost]))
        return reason_lost(self.graph, lost, series, slope=slope)[0]

    # -------------------------------------------------------------------------------------------------- the best step

    def best(self) -> tuple[float, StepBound]:
        """The power of two with the smallest bound, and the bound.

        Truncation ``|c3| h**2`` and rounding ``r / h`` balance at ``h = (r / (2 |c3|))**(1/3)``. Steps around it, and
        all from the size of the variable down to its last digit, are put in order of what they promise with the third
        coefficient of the point itself, and enclosed in that order until none promises more than what was found: so a
        step that leaves the domain or crosses a kink gives way to a smaller one.
        """
        steps = self._candidates()
        if not len(steps):
            return math.nan, StepBound(math.inf, math.inf, f"there are no steps from {self.x}")
        with np.errstate(all="ignore"):
            below, above = self.x - steps, self.x + steps
            rounding = self.quotients(below, above).radius
            promised = rounding + self._curvature() * steps.astype(np.float64) ** 2
        order = np.argsort(promised, kind="stable")
        found = math.nan, StepBound(math.inf, math.inf)
        for i in order.tolist():
            if promised[i] > found[1].total:
                break
            bound = self._bound(float(below[i]), float(above[i]), float(rounding[i]))
            if bound.total < found[1].total or math.isnan(found[0]):
                found = float(steps[i]), bound
        return found

    def _curvature(self) -> float:
        """The size of the third coefficient at the point, 0 where it is unknown."""
        if not self._third.is_finite():
            return 0.0
        return float_above(self._third.abs_upper())

    def _candidates(self) -> Array:
        """Powers of two in the dtype, ascending, each of which moves the entry in both directions."""
        info = np.finfo(self.dtype)
        sizes = {math.frexp(size)[1] for size in (float(self.x), max(abs(float(self.x)), 1.0))}
        exponents = {size - k for size in sizes for k in range(-1, info.nmant + 2)}
        noise, third = float(self._output(self._floats).radius[0]), self._curvature()
        if 0 < noise < math.inf and 0 < third < math.inf:
            balance = round((math.log2(noise) - math.log2(2 * third)) / 3)
            exponents |= {balance + k for k in range(-AROUND_BEST, AROUND_BEST + 1)}
        with np.errstate(all="ignore"):
            steps = np.ldexp(np.ones((), self.dtype), np.array(sorted(exponents)))
            moves = (self.x - steps < self.x) & (self.x < self.x + steps) & np.isfinite(steps)
        kept: Array = steps[moves]
        return kept


def _widened(value: Array) -> Any:
    return point_balls(np.asarray(value, dtype=np.float64))

"""Central differences of the forward function; this file knows no derivative at all.

``(L(x + h) - L(x - h)) / ((x + h) - (x - h))``, one entry at a time, where L is the contracted output. The divisor is
the step really taken, not the one wished for. A stage is a variable like an input: its value is moved and only what
depends on it is computed again. :meth:`Central.refine` looks for a better step and says how far off the answer may be.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from verify.graph.derivative import Derivative, Unsupported
from verify.graph.factors import Known
from verify.graph.graph import Graph
from verify.graph.interpret import Program, Values, branch_argument, kinked_nodes
from verify.graph.lengths import opened

Array = NDArray[Any]
Functional = Callable[[Values], Any]
"""From all node values to the number ``(P,)`` that is differentiated."""

SMALLEST_SCALE = 0.25
"""What counts as the size of a variable that is (nearly) zero, so that its step is not zero too."""

RELATIVE_STEP = {
    np.dtype(dtype).char: 2.0 ** (math.floor(math.log2(float(np.finfo(dtype).eps) / 2) / 3) - 3)
    for dtype in (np.float64, np.float32)
}
"""dtype -> the usual step in units of the variable, see :func:`usual_step`."""

STEP_FACTORS = (1.0, 2.0**-4, 2.0**4, 2.0**-8, 2.0**8, 2.0**-12, 2.0**-16, 2.0**-24, 2.0**-36)
"""Steps that are tried beside the usual one, in units of it, until the error is small enough."""

DIRECTED_FACTORS = (1.0, 2.0**4, 2.0**8)
"""The same for a step that moves many entries at once, whose rounding weighs more."""

SMALL_STEP = 2.0**-17
"""A step that is small against the variable, in units of it."""

GOOD_ENOUGH = 2.0**-26
"""Relative error at which the search for a better step ends."""


MOST_WORK = 5e7
"""Numbers computed for one point from which on one entry after the other takes too long."""


def prepare(graph: Graph, variables: Sequence[str]) -> Central | Unsupported:
    """The method made ready for one graph, or why it would take too long.

    >>> from verify.case.expression import graph_from_expressions
    >>> central = prepare(graph_from_expressions({"x": ()}, {"f": "x**2"}), ["x"])
    >>> gradient = central.differentiate({"x": np.array([3.0])}, {"f": np.ones(1)}).gradients["x"]
    >>> bool(abs(gradient[0] - 6.0) < 1e-8)
    True
    """
    reason = too_long(graph, variables)
    return Unsupported(reason) if reason else Central(graph, variables)


def too_long(graph: Graph, variables: Sequence[str]) -> str:
    """Why moving all entries one by one would take too long, empty where it would not.

    >>> from verify.case.expression import graph_from_expressions
    >>> too_long(graph_from_expressions({"x": (10_000,)}, {"f": "x * x"}), ["x"])
    '10,000 entries to move one by one, through 20,000 numbers each time, take too long'
    """
    entries = sum(math.prod(graph.shape(name)) for name in variables)
    size = sum(math.prod(node.shape) for node in graph.nodes)
    if entries * size <= MOST_WORK:
        return ""
    return f"{entries:,} entries to move one by one, through {size:,} numbers each time, take too long"


@dataclass(frozen=True, slots=True)
class Refined:
    """A central difference with what is known of its error."""

    gradient: Array
    """``(P,)``, the gradient of one entry."""
    error: Array
    """``(P,)``, truncation (estimated by a second step) and rounding (from balls); inf where nothing is known."""
    step: Array
    """``(P,)``, the step that gave it, in the unit of the variable; NaN where none did."""
    straddled: Array
    """``(P,)`` bool: the usual step crossed a kink, so the branch of the point itself was held fixed."""


class Central:
    """Central differences for one graph and the variables asked for."""

    def __init__(self, graph: Graph, variables: Sequence[str], known: Known | None = None) -> None:
        self.graph = graph = opened(graph, variables, known)
        """The case's graph with all branches in sight, so that a step can follow one."""
        self.variables = tuple(variables)
        self.program = Program(graph)
        self._after = {name: graph.depends_on([graph.position(name)]) for name in self.variables}
        self.kinks = kinked_nodes(graph)

    @np.errstate(all="ignore")  # non-finite values are looked at by whoever judges them
    def differentiate(self, inputs: Mapping[str, Any], upstream: Mapping[str, Any]) -> Derivative:
        """Value and gradient at P points; see :class:`~verify.graph.derivative.Differentiator`."""
        values = self.program.run(inputs)
        named = {name: values[self.graph.position(name)] for name in (*self.graph.inputs, *self.graph.stages)}
        output = contraction(self.graph, upstream)
        return Derivative(named, {name: self._gradient(name, values, output) for name in self.variables})

    def _gradient(self, name: str, values: Values, output: Functional) -> Array:
        x = values[self.graph.position(name)]
        gradient = np.empty(x.shape)
        h = usual_step(x)
        for entry in np.ndindex(x.shape[1:]):
            where = (slice(None), *entry)
            gradient[where], _ = self._difference(name, where, h[where], values, output)
        return gradient

    def _difference(
        self,
        name: str,
        where: tuple[Any, ...],
        h: Array,
        values: Values,
        output: Functional,
        frozen: Mapping[int, Any] | None = None,
    ) -> tuple[Array, Array]:
        """The central difference of one entry and the output's size at the ends of the step, ``(P,)`` each.

        A private copy of the variable is moved, never the caller's.
        """
        moved = values[self.graph.position(name)].copy()
        x = moved[where].copy()
        above, below = x + h, x - h
        moved[where] = above
        up = np.array(output(self._moved(name, moved, values, frozen)))  # a copy: it may be a view of what moves next
        moved[where] = below
        down = output(self._moved(name, moved, values, frozen))
        with np.errstate(all="ignore"):
            quotient: Array = (up - down) / (above - below)
            size: Array = np.maximum(np.abs(up), np.abs(down))
        return quotient, size

    @np.errstate(all="ignore")
    def difference(
        self, name: str, entry: tuple[int, ...], inputs: Mapping[str, Any], upstream: Mapping[str, Any], step: Array
    ) -> Array:
        """The central difference of one entry ``(P,)`` with a step that the caller chose."""
        values = self.program.run(inputs)
        quotient, _ = self._difference(
            name, (slice(None), *entry), np.asarray(step), values, contraction(self.graph, upstream)
        )
        return quotient

    def _moved(self, name: str, moved: Array, values: Values, frozen: Mapping[int, Any] | None) -> Values:
        """All node values with one variable moved."""
        return self.program.rerun(values, {self.graph.position(name): moved}, self._after[name], frozen)

    @np.errstate(all="ignore")
    def refine(
        self,
        name: str,
        entry: tuple[int, ...],
        inputs: Mapping[str, Any],
        output: Functional,
        frozen: Mapping[int, Any] | None = None,
        noise: Array | None = None,
        enough: int = len(STEP_FACTORS),
    ) -> Refined:
        """One entry of the gradient with the best of several steps, and an estimate of its error.

        ``output`` is what is differentiated, usually :func:`contraction`; ``noise`` is how far rounding may move
        it ``(P,)``, if that is known already (see :meth:`noise`). After ``enough`` steps any finite error will do.

        Truncation is the difference between a step and its double, which is three times the error of the smaller
        one while the third derivative dominates; it is taken whole. Rounding is the radius of the forward pass in
        balls, and that of the output where the step ends, over the step. A step that is not small against the
        variable may stand on both sides of a pole and see nothing of it: such a step counts only as far as it agrees
        with one that is small. Where a step crosses a kink and ``frozen`` does not say which branch to follow, the
        branch of the point itself is followed, so that a step that straddles a kink accuses nobody.
        """
        where = (slice(None), *entry)
        values = self.program.run(inputs, frozen)
        if noise is None:
            noise = self.noise(inputs, output, frozen)
        x = values[self.graph.position(name)][where]
        h = usual_step(x)
        straddled = np.zeros(len(h), dtype=bool)
        if frozen is None and self.kinks:
            straddled = self._straddles(name, where, 2 * h, values)
            frozen = {i: np.asarray(branch_argument(self.graph.nodes[i], values) > 0) for i in self.kinks}
        best, error, taken = np.full(len(h), np.nan), np.full(len(h), np.inf), np.full(len(h), np.nan)
        rounding = len(self.graph.nodes) * np.finfo(x.dtype).eps
        is_small = (x != 0) & (np.abs(x) < SMALLEST_SCALE)

        def tried(step: Array) -> tuple[Array, Array]:
            small, _ = self._difference(name, where, step, values, output, frozen)
            large, size = self._difference(name, where, 2 * step, values, output, frozen)
            estimate = np.abs(large - small) + (noise + rounding * size) / step
            return small, np.where(np.isfinite(small) & np.isfinite(estimate), estimate, np.inf)

        if is_small.any():
            taken = np.where(is_small, np.abs(x) * SMALL_STEP, h)
            best, error = tried(taken)
            best = np.where(np.isfinite(error), best, np.nan)
        witness, doubt = best, error
        for number, factor in enumerate(STEP_FACTORS, start=1):
            step = np.maximum(h * factor, np.abs(x) * (8 * np.finfo(x.dtype).eps))
            small, estimate = tried(step)
            agrees = np.isinf(doubt) | (np.abs(small - witness) <= estimate + doubt)
            better = agrees & (estimate < error)
            best, error = np.where(better, small, best), np.where(better, estimate, error)
            taken = np.where(better, step, taken)
            if np.all(error <= GOOD_ENOUGH * np.abs(best)) or (number >= enough and np.all(np.isfinite(error))):
                break
        return Refined(best, error, taken, straddled)

    @np.errstate(all="ignore")
    def along(
        self, name: str, direction: Array, inputs: Mapping[str, Any], output: Functional, noise: Array
    ) -> tuple[Array, Array]:
        """The derivative along one direction of a variable ``(P,)``, and an estimate of its error as in :meth:`refine`.

        ``direction`` has the variable's shape: how far each entry moves for a step of 1. Branches are those of the
        point itself.
        """
        values = self.program.run(inputs)
        position = self.graph.position(name)
        x = values[position]
        frozen = {i: np.asarray(branch_argument(self.graph.nodes[i], values) > 0) for i in self.kinks}
        size = np.abs(x).reshape(len(x), -1).max(axis=1, initial=0.0)
        usual = usual_step(np.asarray(size))
        rounding = len(self.graph.nodes) * np.finfo(x.dtype).eps

        def quotient(step: Array) -> tuple[Array, Array]:
            h = step.reshape(-1, *(1,) * (x.ndim - 1))
            up, down = (
                np.array(
                    output(self.program.rerun(values, {position: x + s * h * direction}, self._after[name], frozen))
                )
                for s in (1, -1)
            )
            return (up - down) / (2 * step), np.maximum(np.abs(up), np.abs(down))

        best, error = np.full(len(x), np.nan), np.full(len(x), np.inf)
        for factor in DIRECTED_FACTORS:
            step = usual * factor
            small, _ = quotient(step)
            large, largest = quotient(2 * step)
            estimate = np.abs(large - small) + (noise + rounding * largest) / step
            better = np.isfinite(small) & (estimate < error)
            best, error = np.where(better, small, best), np.where(better, estimate, error)
        return best, error

    def noise(self, inputs: Mapping[str, Any], output: Functional, frozen: Mapping[int, Any] | None = None) -> Array:
        """How far rounding may move the output at both ends of a step together ``(P,)``."""
        total = output(self.program.in_balls(inputs, frozen))
        noise: Array = 2 * total.radius
        return noise

    def _straddles(self, name: str, where: tuple[Any, ...], h: Array, values: Values) -> Array:
        """Whether the branches at either end of a step are not those of the point itself ``(P,)``."""
        position = self.graph.position(name)
        crossed = np.zeros(len(h), dtype=bool)
        for sign in (1, -1):
            moved = values[position].copy()
            moved[where] += sign * h
            again = self.program.rerun(values, {position: moved}, self._after[name])
            for i in self.kinks:
                here = branch_argument(self.graph.nodes[i], values) > 0
                there = branch_argument(self.graph.nodes[i], again) > 0
                changed = here != there
                crossed |= changed.reshape(len(changed), -1).any(axis=1)
        return crossed


def usual_step(x: Array) -> Array:
    """A step for each entry, scaled to it: a power of two below the cube root of the unit roundoff.

    The cube root balances truncation and rounding where the third derivative is about the value over the cube of the
    variable; a step eight times smaller loses under a digit there, and keeps truncation out of sight near poles.

    >>> usual_step(np.array([0.0, 8.0])).tolist()
    [1.1920928955078125e-07, 3.814697265625e-06]
    """
    size = np.maximum(np.abs(x), x.dtype.type(SMALLEST_SCALE))
    step: Array = size * x.dtype.type(RELATIVE_STEP[x.dtype.char])
    return step


def granted_noise(graph: Graph, values: Mapping[str, Any], upstream: Mapping[str, Any]) -> Array:
    """Rounding that two evaluations of the output are always granted ``(P,)``: a unit roundoff for every node each.

    It is measured by the absolute terms of the contraction, since a sum that cancels rounds no less. ``values`` maps
    the outputs to their values.

    >>> from verify.case.expression import graph_from_expressions
    >>> graph = graph_from_expressions({"x": ()}, {"f": "x**2"})
    >>> granted_noise(graph, {"f": np.array([4.0])}, {"f": np.ones(1)}).tolist()
    [1.7763568394002505e-15]
    """
    total: Any = 0.0
    eps = 0.0
    for name, seed in upstream.items():
        terms = np.abs(values[name] * seed)
        eps = max(eps, float(np.finfo(terms.dtype).eps))
        total = total + (terms if terms.ndim == 1 else terms.reshape(len(terms), -1).sum(axis=1))
    noise: Array = total * (len(graph.nodes) * eps)
    return noise


def contraction(graph: Graph, upstream: Mapping[str, Any]) -> Functional:
    """The sum over all outputs of output times upstream gradient, as a function of all node values.

    >>> from verify.case.expression import graph_from_expressions
    >>> graph = graph_from_expressions({"x": (2,)}, {"f": "x * 10"})
    >>> output = contraction(graph, {"f": np.array([[1.0, -1.0]])})
    >>> output(Program(graph).run({"x": np.array([[3.0, 2.0]])}))
    array([10.])
    """

    def contracted(values: Values) -> Any:
        total: Any = None
        with np.errstate(all="ignore"):
            for name, seed in upstream.items():
                product = values[graph.position(name)] * seed
                if len(product.shape) > 1:
                    product = np.sum(product, axis=tuple(range(1, len(product.shape))))
                total = product if total is None else total + product
        return total

    return contracted

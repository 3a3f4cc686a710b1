"""First and second derivatives of a function that nobody can read: its values along lines, by the step law.

A second derivative is the slope, by one entry, of the slope along a vector; that is taken by central differences of
high order at two steps, which also say how far it may be off. What the values cannot tell stays undecided.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from verify.judging.short_law import DEFINITE
from verify.judging.step_law import Law, step_law
from verify.judging.tied import Slope
from verify.subjects.measured import Function, Line, Measured

Array = NDArray[Any]
Shapes = Mapping[str, tuple[int, ...]]

STENCIL = (4 / 5, -1 / 5, 4 / 105, -1 / 280)
"""Weights of the differences over 1, 2, 3 and 4 steps to each side: what they leave falls with the eighth power."""

STEP = 2.0**-5
"""The longer step, as a part of the point's size."""


NOTHING = 1e-9
"""A slope of less than this part of what slopes are there is taken for 0, if it is claimed to be."""


class MeasuredOrders:
    """A function at one point.

    >>> cube = MeasuredOrders(lambda x: float(x) ** 3, {"x": 2.0}, ["x"], lambda shapes: {"f": np.ones(())})
    >>> cube.law("hvp", ("x",), 0, 12.0, {"x": np.float64(1.0)}).verdict
    'right'
    >>> cube.law("hvp", ("x",), 0, 12.1, {"x": np.float64(1.0)}).verdict
    'wrong'
    """

    def __init__(
        self,
        function: Function,
        given: Mapping[str, Any],
        real: Sequence[str],
        weights: Callable[[Shapes], Mapping[str, Array]],
    ) -> None:
        """``weights`` gives the upstream gradients of outputs of some shapes, for second derivatives."""
        self.measured = Measured(function, given)
        self.inputs = {name: np.asarray(given[name], dtype=np.float64) for name in real}
        self.outputs = tuple(self.measured.shapes)
        self._weights = weights
        self._lines: dict[Any, Line] = {}

    def shapes(self, quantity: str) -> dict[tuple[str, ...], tuple[int, ...]]:
        """The blocks of an answer."""
        outputs, inputs = self.measured.shapes, {name: x.shape for name, x in self.inputs.items()}
        if quantity == "jvp":
            return {(name,): shape for name, shape in outputs.items()}
        if quantity == "hvp":
            return {(name,): shape for name, shape in inputs.items()}
        if quantity == "objective":
            return dict.fromkeys((("grad",), ("hess",)), *inputs.values())
        rows = outputs if quantity == "jacobian" else inputs
        return {(y, x): (*rows[y], *inputs[x]) for y in rows for x in inputs}

    def law(
        self, quantity: str, key: tuple[str, ...], entry: int, claimed: float, vector: Mapping[str, Array] | None
    ) -> Slope:
        """What is said of one number."""
        if quantity == "jvp":
            return self._slope(vector or {}, self._place(key[0]) + entry, claimed)
        if quantity == "jacobian":
            row, column = divmod(entry, self.inputs[key[1]].size)
            return self._slope({key[1]: self._unit(key[1], column)}, self._place(key[0]) + row, claimed)
        if quantity == "objective":
            (name,) = self.inputs
            unit = {name: self._unit(name, entry)}
            if key == ("hess",):
                return self._curvature(name, entry, unit, claimed)
            return self._slope(unit, -1, claimed)
        if quantity == "hessian":
            entry, column = divmod(entry, self.inputs[key[1]].size)
            vector = {key[1]: self._unit(key[1], column)}
        return self._curvature(key[0], entry, vector or {}, claimed)

    def _place(self, output: str) -> int:
        """Where an output begins among all numbers that the function returns."""
        before = self.outputs[: self.outputs.index(output)]
        return sum(math.prod(self.measured.shapes[name]) for name in before)

    def _unit(self, name: str, entry: int) -> Array:
        found = np.zeros(self.inputs[name].shape)
        found.flat[entry] = 1.0
        return found

    def _slope(self, direction: Mapping[str, Array], output: int, claimed: float) -> Slope:
        """That of one number of the outputs along a direction; -1 stands for all of them, weighted and added up."""
        key = tuple((name, np.asarray(d).tobytes()) for name, d in direction.items())
        if key not in self._lines:
            count = sum(map(math.prod, self.measured.shapes.values()))
            weights = self.measured.flat(self._weights(self.measured.shapes)) if output < 0 else np.zeros(count)
            upstream = np.concatenate([np.eye(count), weights[None]])
            self._lines[key] = Line(self.measured, self.inputs, upstream, direction=direction)
        return self._settled(step_law(self._lines[key](output), np.float64(0.0), claimed))

    def _curvature(self, name: str, entry: int, vector: Mapping[str, Array], claimed: float) -> Slope:
        upstream = self.measured.flat(self._weights(self.measured.shapes))
        size = max((float(np.abs(x).max(initial=0.0)) for x in self.inputs.values()), default=1.0) or 1.0
        longest = max((float(np.abs(d).max(initial=0.0)) for d in vector.values()), default=0.0) or 1.0
        step = STEP * min(size, 1.0) / longest

        def along(at: float, h: float) -> float:
            total = 0.0
            for k, weight in enumerate(STENCIL, start=1):
                sides = []
                for sign in (1, -1):
                    moved = {n: x + sign * k * h * np.asarray(vector.get(n, 0.0)) for n, x in self.inputs.items()}
                    moved[name] = np.array(moved[name])
                    moved[name].flat[entry] += at
                    sides.append(float(upstream @ self.measured.values({n: x[()] for n, x in moved.items()})))
                total += weight * (sides[0] - sides[1])
            return total / h

        bias = abs(along(0.0, step) - along(0.0, step / 2))
        return self._settled(step_law(lambda at: along(float(at), step), np.float64(0.0), claimed, bias))

    def _settled(self, law: Law) -> Slope:
        """What the law says; a slope of next to nothing, which no part of itself can tell, may be right as that."""
        room = DEFINITE * law.uncertainty
        is_open = law.verdict in ("noise", "truncation", "undecided") and room <= NOTHING * self._size
        if is_open and abs(law.claimed - law.estimate) <= room:
            return replace(Slope.of(law), verdict="right", sentence="")
        return Slope.of(law)

    @cached_property
    def _size(self) -> float:
        """The size that slopes have here, by those of the values and of the point."""
        values = np.abs(self.measured.values({n: x[()] for n, x in self.inputs.items()}))
        sizes = [float(np.abs(x).max(initial=0.0)) for x in self.inputs.values()]
        return float(np.nan_to_num(values).max(initial=0.0)) / max(1.0, *sizes)

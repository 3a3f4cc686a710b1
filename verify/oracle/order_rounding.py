"""Why a number beyond the gradient is off by more than rounding of a right program costs: by its formula, or as noise.

The code that answers is traced, and its program run in balls: a formula that encloses the truth is right, and rounding
is the cause, as in the tail of ``1 - tanh(x)**2``. Code that cannot be traced is called beside the point: rounding is
noise from one point to the next, and a fault is smooth.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np
from flint import arb
from numpy.typing import NDArray

from verify.errors import VerifyError
from verify.graph.taylor import Taylor, entries_of, precision
from verify.judging.evidence import Evidence, Excuse, Witness
from verify.judging.point_evidence import FEW_DIGITS
from verify.judging.short_law import DEFINITE
from verify.subjects.ball_numbers import literal_ball
from verify.tracing.trace import Traced, traced_or_reason
from verify.truth.orders import Key

Array = NDArray[Any]
Call = Callable[[Mapping[str, Any], Mapping[str, Any]], Any]
"""The code, called with all inputs and with the vector, by name."""

FORMULA_BITS = 256
"""Precision at which a formula is run in balls."""

NEIGHBOURS, SPREAD = 17, 2.0**-12
"""Points on a line, within this part of each input, on which a smooth answer is a polynomial of low degree."""

VECTOR = "v_"
"""What stands before the name of an input in that of its part of the vector."""


class Rounding:
    """One point at which the code was called.

    >>> def slope(given, vector):
    ...     return 1 - np.tanh(given["x"]) ** 2
    >>> def answer(moved):
    ...     return {("f",): slope(moved, None)}
    >>> rounding = Rounding(slope, answer, {"x": np.array([18.0])}, ["x"], None, {("f",): (1,)}, 2.0**-53)
    >>> float(rounding.formula(("f",), 0)) > 0, bool(rounding.scatter(("f",), 0) < 1e-15)
    (True, True)
    """

    def __init__(
        self,
        call: Call,
        answer: Callable[[Mapping[str, Any]], Mapping[Key, Array]],
        given: Mapping[str, Any],
        real: Sequence[str],
        vector: Mapping[str, Any] | None,
        shapes: Mapping[Key, tuple[int, ...]],
        unit: float,
    ) -> None:
        """``answer`` gives the blocks at moved inputs; ``real`` are the inputs that move."""
        self._call, self._answer, self.given, self.real = call, answer, given, tuple(real)
        self.vector, self.shapes, self.unit = vector or {}, shapes, unit

    def witness(self, key: Key, entry: int, most: Callable[[], float]) -> Witness:
        """Whoever can be asked about one number; ``most`` gives what rounding may cost it."""
        return _RowWitness(self, key, entry, most)

    def formula(self, key: Key, entry: int) -> Any:
        """What the formula of a number is worth without rounding, a ball; None where the code cannot be traced."""
        return self._formulas[key][entry] if key in self._formulas else None

    @cached_property
    def _formulas(self) -> dict[Key, list[Any]]:
        moving = {name: np.asarray(self.given[name])[()] for name in self.real}
        moving |= {VECTOR + name: np.asarray(x)[()] for name, x in self.vector.items()}
        given, call = self.given, self._call

        def program(**named: Any) -> Any:
            along = {name.removeprefix(VECTOR): x for name, x in named.items() if name.startswith(VECTOR)}
            return call({**given, **{name: x for name, x in named.items() if name in given}}, along)

        kind = inspect.Parameter.KEYWORD_ONLY
        program.__signature__ = inspect.Signature([inspect.Parameter(n, kind) for n in moving])  # type: ignore[attr-defined]
        try:
            traced = traced_or_reason(program, moving)
        except VerifyError:
            return {}
        if not isinstance(traced, Traced) or traced.choices:
            return {}
        return self._in_balls(traced, moving)

    def _in_balls(self, traced: Traced, moving: Mapping[str, Any]) -> dict[Key, list[Any]]:
        graph = traced.case.graph
        sizes = [int(np.prod(graph.shape(name))) for name in graph.outputs]
        if sizes != [int(np.prod(shape)) for shape in self.shapes.values()]:
            return {}
        with precision(FORMULA_BITS):
            inputs = {}
            for item in traced.case.inputs:
                array = np.asarray(moving.get(item.name, item.at), dtype=np.float64)
                balls = np.frompyfunc(lambda x: arb(float(x)), 1, 1)(array)
                inputs[item.name] = balls if array.ndim else arb(float(array))
            values = Taylor(graph).values(inputs, literal=lambda x: literal_ball(x, self.unit))
            found = [entries_of(values[graph.position(name)]) for name in graph.outputs]
        return dict(zip(self.shapes, found, strict=True))

    def scatter(self, key: Key, entry: int) -> float:
        """How far the answers for one number are from a smooth curve beside the point."""
        if key not in self._beside:
            return 0.0
        offsets = np.linspace(-1.0, 1.0, NEIGHBOURS)
        answers = self._beside[key].reshape(NEIGHBOURS, -1)[:, entry]
        if not np.all(np.isfinite(answers)):
            return 0.0
        curve = np.polynomial.Polynomial.fit(offsets, answers, 3)
        return float(np.sqrt(np.mean((curve(offsets) - answers) ** 2)))

    @cached_property
    def _beside(self) -> dict[Key, Array]:
        found = []
        for offset in np.linspace(-1.0, 1.0, NEIGHBOURS):
            moved = {
                name: (np.asarray(x) * (1 + SPREAD * offset)).astype(np.asarray(x).dtype)[()]
                if name in self.real
                else x
                for name, x in self.given.items()
            }
            found.append(self._answer(moved))
        return {key: np.stack([answer[key] for answer in found]) for key in found[0] if all(key in a for a in found)}


def _scaled(value: Any, factor: float) -> Any:
    array = np.asarray(value)
    return (array * factor).astype(array.dtype)[()]


class _RowWitness(Witness):
    """One number."""

    def __init__(self, rounding: Rounding, key: Key, entry: int, most: Callable[[], float]) -> None:
        self._rounding, self._key, self._entry, self._most = rounding, key, entry, most

    def excuse(self, evidence: Evidence, method: str) -> Excuse:
        """See :meth:`Witness.excuse`."""
        truth = evidence.truth
        if truth is None or truth.ball is None or not np.isfinite(evidence.answers[method]):
            return Excuse(None)
        ball = self._rounding.formula(self._key, self._entry)
        if ball is not None and ball.is_finite():
            with precision(FORMULA_BITS):
                if not ball.overlaps(truth.ball):
                    off = float(abs(ball - truth.ball).abs_lower())
                    return Excuse(None, f"proved: its formula, without any rounding, is off by {off:.3g}")
                if ball.rad() <= abs(truth.ball).abs_upper() * 2.0**-40:
                    said = "proved: its formula is right, rounding is the cause"
                    return Excuse(max(FEW_DIGITS * evidence.allowed, self._most()), said)
        scatter, error = self._rounding.scatter(self._key, self._entry), evidence.error(method)
        if error <= DEFINITE * scatter:
            said = f"measured: its own answers scatter by {scatter:.2g} beside the point, rounding is the cause"
            return Excuse(self._most(), said)
        return Excuse(None)

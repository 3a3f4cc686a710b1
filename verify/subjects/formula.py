"""Why an answer is off, as its own formula tells: run in balls, nothing is rounded but the literals of the code.

Disjoint from the truth a formula is wrong, however small the difference is; overlapping it, rounding is the cause.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from functools import cached_property
from typing import Any

import numpy as np
from flint import arb
from numpy.typing import NDArray

from verify.graph.interpret import dtype_of
from verify.graph.taylor import precision
from verify.subjects.answers import by_variable
from verify.subjects.ball_numbers import BallNumber
from verify.subjects.interface import Interface
from verify.tracing.foreign_call import call_foreign
from verify.truth.reference import Enclosure

Array = NDArray[Any]
Answers = Mapping[str, Any]
"""Variable -> what the code answered when it ran on balls; empty where it does not."""

FORMULA_BITS = 256
"""Precision at which a formula is run in balls."""

MOST_OF_ZERO = 2.0**13
"""Units roundoff of the upstream gradient that may be left of a formula which cancels to 0."""

NARROW = 2.0**-40
"""A formula in balls says something where its radius, from literals alone, is at most this part of the truth, or of the
upstream gradient where the truth is 0."""


class Cause(Enum):
    """Why an answer is off, as far as the subject itself shows it."""

    FORMULA_WRONG = "proved: the formula differs from the truth without any rounding"
    FORMULA_RIGHT = "proved: the formula, without any rounding, is the truth"
    NOISE = "measured: the error is noise from point to point"
    SMOOTH = "measured: the error is smooth from point to point"
    ALONE = "measured: the error is at this point alone"
    OPAQUE = "the code cannot be run on balls"
    NOT_COMPARED = "the error could not be compared with that of its neighbours"


@dataclass(frozen=True, slots=True)
class Excuse:
    """Why an answer is off."""

    cause: Cause
    sentence: str = ""
    literals: float = 0.0
    """How far the rounding of the literals in its code may put its formula off."""


class Formula:
    """The formula of a gradient at one point (P = 1)."""

    def __init__(
        self,
        interface: Interface,
        gradient: Any,
        call: Callable[[Mapping[str, Any], Mapping[str, Any]], Any],
        inputs: Mapping[str, Array],
        upstream: Mapping[str, Array],
    ) -> None:
        """``call`` calls the gradient at one point, as its signature wants it.

        A gradient that knows its formula otherwise, such as a framework's that reads its own graph, has a method
        ``in_balls(inputs, upstream)``: plain arrays by name -> variable -> balls (``flint.arb``) in its shape, at the
        precision that is set; an empty mapping where it cannot be had.
        """
        self.interface, self.call = interface, call
        self.own_road = getattr(gradient, "in_balls", None)
        self.inputs, self.upstream = inputs, upstream
        self.unit = float(np.finfo(dtype_of(inputs)).eps) / 2
        self.size = max((float(np.max(np.abs(g), initial=0.0)) for g in upstream.values()), default=1.0)
        """The largest entry of all upstream gradients."""

    def read(self, name: str, entry: tuple[int, ...], truth: Enclosure) -> Excuse:
        """What it says of one entry whose truth is known."""
        formula = _ball_of(self._exact, name, entry)
        if formula is None or not formula.is_finite():
            return Excuse(Cause.OPAQUE)
        with precision(FORMULA_BITS):
            if not formula.overlaps(truth.ball):
                distance = float(abs(formula - truth.ball).abs_lower())
                said = f"proved: its formula, without any rounding, is off by {distance:.3g}"
                return Excuse(Cause.FORMULA_WRONG, said)
            is_zero = truth.ball == 0
            if formula.rad() <= NARROW * (arb(self.size) if is_zero else abs(truth.ball).abs_upper()):
                literals = self._rounding_of_zero(name, entry) if is_zero else 2 * float(formula.rad())
                return Excuse(Cause.FORMULA_RIGHT, "proved: its formula is right, rounding is the cause", literals)
        return Excuse(Cause.OPAQUE)

    def along(self, name: str, signs: Array) -> arb | None:
        """Its slope along a direction of signs ``(n,)``, None where the code does not run on balls."""
        balls = [_ball_of(self._exact, name, entry) for entry in np.ndindex(self.interface.shapes[name])]
        with precision(FORMULA_BITS):
            if any(ball is None or not ball.is_finite() for ball in balls):
                return None
            return sum((ball * sign for ball, sign in zip(balls, signs.tolist(), strict=True)), arb(0))

    @cached_property
    def _exact(self) -> Answers:
        return self._run(FORMULA_BITS)

    @cached_property
    def _in_floats(self) -> Answers:
        """At the precision of floats, where the radius is that of the roundings."""
        return self._run(1 - math.frexp(self.unit)[1])

    def _rounding_of_zero(self, name: str, entry: tuple[int, ...]) -> float:
        """What rounding leaves where terms cancel to 0, as in ``g * (1 / 49) * 49 - g``; 0 if it is much."""
        ball = _ball_of(self._in_floats, name, entry)
        if ball is None or not ball.is_finite():
            return 0.0
        rounding = 2 * float(ball.rad())
        return rounding if rounding <= MOST_OF_ZERO * self.unit * self.size else 0.0

    def _run(self, bits: int) -> Answers:
        """The answer to balls; nothing where the code does not run on them."""
        real = self.interface.real
        with precision(bits):
            if self.own_road is not None:
                found = self.own_road(*self._as_called())
                return found if isinstance(found, Mapping) else {}
            here = {k: _ball_numbers(x[0], self.unit) if k in real else x[0][()] for k, x in self.inputs.items()}
            seeds = {key: _ball_numbers(g[0], self.unit) for key, g in self.upstream.items()}
            # Whatever foreign code makes of numbers that it does not know; it may well leave the program.
            ran = call_foreign(lambda: by_variable(self.interface, self.call(here, seeds)))
            return {name: answers[0][1] for name, answers in ran.value.items()} if ran.error is None else {}

    def _as_called(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """The subject's own inputs, with those that are held, and the upstream gradients."""
        given = {key: x[0] for key, x in self.inputs.items()} | dict(self.interface.held)
        return {key: given[key] for key in self.interface.inputs}, {key: g[0] for key, g in self.upstream.items()}


def _ball_of(answers: Answers, name: str, entry: tuple[int, ...]) -> arb | None:
    """One entry of an answer in balls, None where it did not run, or what it gave has no such entry."""
    with precision(FORMULA_BITS):
        try:
            number = np.asarray(answers[name], dtype=object)[entry]
        except (KeyError, IndexError, TypeError, ValueError):
            return None
        ball = number.ball if isinstance(number, BallNumber) else number
        return ball if isinstance(ball, arb) else arb(ball) if isinstance(ball, int | float) else None


def _ball_numbers(array: Array, unit: float) -> Any:
    """Floats as exact balls that run through NumPy code; a scalar as a single one."""
    if np.ndim(array) == 0:
        return BallNumber(arb(float(array)), unit)
    balls = np.empty(array.shape, dtype=object)
    for index in np.ndindex(array.shape):
        balls[index] = BallNumber(arb(float(array[index])), unit)
    return balls

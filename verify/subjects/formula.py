"""Why an answer is off, as its own formula tells: run in balls, nothing is rounded but the literals of the code.

Disjoint from the truth a formula is wrong, however small the difference is; overlapping it, rounding is the cause.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
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
from verify.subjects.convention import Convention
from verify.subjects.interface import Interface
from verify.subjects.traced_formula import TracedFormula
from verify.tracing.foreign_call import call_foreign
from verify.tracing.function_call import own_arguments
from verify.truth.reference import Enclosure

Array = NDArray[Any]
Answers = Mapping[str, Any]
"""Variable -> what the code answered when it ran on balls; empty where it does not."""

FORMULA_BITS = 256
"""Precision at which a formula is run in balls."""

MOST_OF_ZERO = 2.0**13
"""Units roundoff of the upstream gradient that may be left of a formula which cancels to 0."""

FINE_BITS = 2_400
"""Enough for what is left of floats of any sizes."""

NARROW = 2.0**-40
"""A formula in balls says something where its radius, from literals alone, is at most this part of the truth, or of the
upstream gradient where the truth is 0."""


SLACK_BITS = 4
"""So much more coarsely than floats a library's functions may round."""


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
    distance: float = 0.0
    """How far a wrong formula is off, in the row's unit."""


class Formula:
    """The formula of a gradient at one point (P = 1)."""

    def __init__(
        self,
        interface: Interface,
        gradient: Any,
        convention: Convention,
        inputs: Mapping[str, Array],
        upstream: Mapping[str, Array],
    ) -> None:
        """``convention`` says how the gradient is called.

        A gradient that knows its formula otherwise, such as a framework's that reads its own graph, has a method
        ``in_balls(inputs, upstream)``: plain arrays by name -> variable -> balls (``flint.arb``) in its shape, at the
        precision that is set; an empty mapping where it cannot be had.
        """
        self.interface, self.gradient, self.convention = interface, gradient, convention
        self.own_road = getattr(gradient, "in_balls", None)
        self.inputs, self.upstream = inputs, upstream
        limits = np.finfo(dtype_of(inputs))
        self.unit, self._tiny = float(limits.eps) / 2, float(limits.tiny)
        self._bits = 1 - math.frexp(self.unit)[1]
        self._is_traced = False
        """Whether the answers in balls are those of its program, since the code itself does not run on them."""
        self.size = max((float(np.max(np.abs(g), initial=0.0)) for g in upstream.values()), default=1.0)
        """The largest entry of all upstream gradients."""

    def read(self, name: str, entry: tuple[int, ...], truth: Enclosure, answer: float) -> Excuse:
        """What it says of the answer for one entry whose truth is known."""
        formula = _ball_of(self._exact, name, entry)
        if formula is None or not formula.is_finite():
            return Excuse(Cause.OPAQUE)
        with precision(FORMULA_BITS):
            if not formula.overlaps(truth.ball):
                if not self._is_whole:
                    return Excuse(Cause.OPAQUE)
                distance = float(abs(formula - truth.ball).abs_lower())
                said = f"proved: its formula, without any rounding, is off by {distance:.3g}"
                return Excuse(Cause.FORMULA_WRONG, said, distance=distance)
            if not self._explains(name, entry, answer):
                return Excuse(Cause.OPAQUE)
            is_zero = truth.ball == 0
            narrow = NARROW * (arb(self.size) if is_zero else abs(truth.ball).abs_upper())
            if not formula.rad() <= narrow:  # what cancels to next to nothing, as in a system of very unlike rows
                formula = _ball_of(self._finely, name, entry)
            if formula is not None and formula.overlaps(truth.ball) and formula.rad() <= narrow:
                literals = self._rounding_of_zero(name, entry) if is_zero else 2 * float(formula.rad())
                return Excuse(Cause.FORMULA_RIGHT, "proved: its formula is right, rounding is the cause", literals)
        return Excuse(Cause.OPAQUE)

    def range_left(self) -> str:
        """Where its exact values are none that floats hold, in words; empty where they are, or that is not known."""
        return self._traced.range_left(FORMULA_BITS) if self._traced is not None else ""

    def along(self, name: str, signs: Array) -> arb | None:
        """Its slope along a direction of signs ``(n,)``, None where the code does not run on balls."""
        balls = [_ball_of(self._exact, name, entry) for entry in np.ndindex(self.interface.shapes[name])]
        with precision(FORMULA_BITS):
            if any(ball is None or not ball.is_finite() for ball in balls) or not self._is_whole:
                return None
            return sum((ball * sign for ball, sign in zip(balls, signs.tolist(), strict=True)), arb(0))

    @cached_property
    def _exact(self) -> Answers:
        return self._run(FORMULA_BITS)

    @property
    def _is_whole(self) -> bool:
        """Whether what was run is the formula, and not what is left of it on the branches that floats took."""
        return not self._is_traced or self._traced is None or self._traced.is_whole

    def _explains(self, name: str, entry: tuple[int, ...], answer: float) -> bool:
        """Whether rounding makes the answer of it.

        Else it is not the formula of the answer: a program that was traced may have lost a conversion to float32, and
        code that asks for the dtype of a sign finds whole numbers among balls.
        """
        if not math.isfinite(answer):
            return True
        ball = _ball_of(self._roughly, name, entry)
        if ball is not None and bool((ball + arb(0, self._tiny)).contains(answer)):
            return True
        return bool(self.range_left())

    @cached_property
    def _finely(self) -> Answers:
        return self._run(FINE_BITS)

    @cached_property
    def _in_floats(self) -> Answers:
        """At the precision of floats, where the radius is that of the roundings."""
        return self._run(self._bits)

    @cached_property
    def _roughly(self) -> Answers:
        """At a little less: functions of a library are right to some units in the last place."""
        return self._run(self._bits - SLACK_BITS)

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
            ran = call_foreign(lambda: by_variable(self.interface, self._called(here, seeds)))
        if ran.error is None:
            return {name: answers[0][1] for name, answers in ran.value.items()}
        self._is_traced = True
        return self._traced.run(bits) if self._traced is not None else {}

    def _called(self, inputs: Mapping[str, Any], upstream: Mapping[str, Any]) -> Any:
        positions, keywords = self.convention.arguments({**inputs, **own_arguments(self.interface.held)}, upstream)
        return self.gradient(*positions, **keywords)

    @cached_property
    def _traced(self) -> TracedFormula | None:
        """The code as a program, None where it cannot be traced."""
        made: TracedFormula | None = call_foreign(
            lambda: TracedFormula(self.interface, self.gradient, self.convention, self.inputs, self.upstream)
        ).value
        return made

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
        ball = ball.item() if isinstance(ball, np.generic) else ball
        return ball if isinstance(ball, arb) else arb(ball) if isinstance(ball, int | float) else None


def _ball_numbers(array: Array, unit: float) -> Any:
    """Floats as exact balls that run through NumPy code; a scalar as a single one."""
    if np.ndim(array) == 0:
        return BallNumber(arb(float(array)), unit)
    balls = np.empty(array.shape, dtype=object)
    for index in np.ndindex(array.shape):
        balls[index] = BallNumber(arb(float(array[index])), unit)
    return balls

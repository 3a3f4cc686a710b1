"""Other people's gradients: a function that is called point by point, judged like a method.

How it is called is :mod:`verify.subjects.convention`'s, what its answers are taken for :mod:`verify.subjects.answers`'.
:meth:`Subject.read` and :meth:`Subject.compared` tell, of an answer that is off, what its cause is.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any

import numpy as np
from flint import arb
from numpy.typing import NDArray

from verify.errors import UsageError, VerifyError
from verify.graph.derivative import Derivative
from verify.graph.interpret import dtype_of
from verify.graph.taylor import precision
from verify.numbers.streams import stream
from verify.places.points import Batch
from verify.records import FindingKind
from verify.subjects.answers import as_numbers, by_variable
from verify.subjects.ball_numbers import BallNumber
from verify.subjects.contract import Contract, in_words
from verify.subjects.convention import convention
from verify.subjects.interface import Interface
from verify.subjects.line_coverage import LineCoverage
from verify.tracing.foreign_call import call_foreign
from verify.truth.reference import Enclosure, Enclosures, Reference

Array = NDArray[Any]
Gradient = Callable[..., Any]

FORMULA_BITS = 256
"""Precision at which a formula is run in balls."""

MISFITS = (TypeError, ValueError, IndexError, KeyError, AttributeError)
"""What code raises that is given other arguments than it is meant for."""

NEIGHBOURS = 33
"""Points of the noise test, ..."""

NEARBY = 0.01
"""... which lie within this part of the point itself."""

LONGEST_POINT = 12
"""Numbers of a point that a sentence may hold."""

ALONE = 1000.0
"""Times the largest error of its neighbours: rounding does not differ by as much within one per cent."""

NOISE = 0.5
"""Half-way between a smooth error (0) and independent ones (1); see :func:`roughness`."""

MOST_OF_ZERO = 2.0**13
"""Units roundoff of the upstream gradient that may be left of a formula which cancels to 0."""

NARROW = 2.0**-40
"""A formula in balls says something where its radius, from literals alone, is at most this part of the truth, or of the
upstream gradient where the truth is 0."""

MOST_NEIGHBOURHOODS = 2
"""Points of a variable whose neighbours are looked at: the truth is enclosed at each of them, and the errors of one
program are of one kind. Later points are told what was found at these."""


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


class Subject:
    """A gradient made ready to be judged.

    >>> square = Interface("the square", ("x",), ("x",), {"x": ()}, {"f": ()})
    >>> subject = Subject(square, lambda x: 2 * x)
    >>> subject.differentiate({"x": np.array([3.0, 4.0])}, {"f": np.ones(2)}).gradients["x"]
    array([6., 8.])
    """

    def __init__(self, interface: Interface, gradient: Gradient) -> None:
        """Raises UsageError for a gradient that cannot be called with the inputs."""
        self.interface = interface
        self.gradient = gradient
        self.lines: LineCoverage | None = None
        """Which of its lines were reached, for whoever wants to know."""
        self.contract = Contract()
        """What was found out about the gradient while it was called."""
        self.has_answered = False
        """Whether any call came to an answer."""
        self.first_error: BaseException | None = None
        """What the first call raised that raised anything."""
        self.convention = convention(interface, gradient)
        self.takes_upstream = self.convention.takes_upstream
        self._in_balls: tuple[bytes, Mapping[str, Any]] | None = None
        """The last point at which the formula ran in balls, and its answer: each entry asks for it anew."""
        self._in_floats: tuple[bytes, Mapping[str, Any]] | None = None
        """The same at the precision of floats, where a formula cancels to 0."""
        self._nearby: tuple[bytes, Sequence[tuple[Enclosures, Derivative]]] | None = None
        """The last point whose neighbours were looked at, with the truth and the answers there."""
        self._noise: dict[str, dict[tuple[bytes, tuple[int, ...]], Excuse]] = {}
        """By variable, point and entry: what its neighbours said."""

    def differentiate(self, inputs: Mapping[str, Any], upstream: Mapping[str, Any]) -> Derivative:
        """The subject's gradients at P points, one call for each; see :class:`~verify.graph.derivative.Differentiator`.

        Where it raises, or answers with a wrong shape, its answer is NaN. Raises UsageError for an answer of which it
        cannot be told what belongs to what.
        """
        points = len(next(iter(inputs.values())))
        answers = [self.answer({k: x[p] for k, x in inputs.items()}, {k: g[p] for k, g in upstream.items()})
                   for p in range(points)]  # fmt: skip
        names = dict.fromkeys(name for answer in answers for name in answer) or dict.fromkeys(self.interface.real)
        shapes = self.interface.shapes
        return Derivative(
            {},
            {name: np.stack([a[name] if name in a else np.full(shapes[name], np.nan) for a in answers])
             for name in names},
        )  # fmt: skip

    def answer(self, inputs: Mapping[str, Array], upstream: Mapping[str, Array]) -> dict[str, Array]:
        """What the subject answers at one point, by variable, in float64; empty where it raised an exception."""
        here, seeds, held = (
            {name: np.copy(x)[()] if isinstance(x, np.ndarray | np.generic) else x for name, x in xs.items()}
            for xs in (inputs, upstream, self.interface.held)
        )
        called = call_foreign(lambda: self._watched_call({**here, **held}, seeds))
        self.contract.changed(called.changed)
        if called.error is not None:
            self.first_error = self.first_error or called.error
            self.contract.raised(called.error, _point_text(inputs))
            return {}
        labels = self.convention.labels
        kept, given = ({labels.get(name, name): g for name, g in gs.items()} for gs in (upstream, seeds))
        own = set(self.interface.upstream.values()) & set(labels.values())
        self.contract.watch_writes(
            FindingKind.INPUT_MUTATED, {name: x for name, x in inputs.items() if name not in own}, here
        )
        self.contract.watch_writes(FindingKind.UPSTREAM_MUTATED, kept, given)
        arrays = {name: x for name, x in self.interface.held.items() if isinstance(x, np.ndarray)}
        self.contract.watch_writes(FindingKind.INPUT_MUTATED, arrays, held)
        # What was returned is foreign too: to read it is to call its methods.
        read = call_foreign(lambda: self._read(called.value, {**here, **given}, inputs), ours=(VerifyError,), kept=())
        if read.error is not None:
            self.contract.raised(read.error, _point_text(inputs))
            return {}
        self.has_answered = True
        found: dict[str, Array] = read.value
        return found

    def _watched_call(self, inputs: Mapping[str, Any], upstream: Mapping[str, Any]) -> Any:
        with self.lines.watching() if self.lines is not None else nullcontext():
            return self._call(inputs, upstream)

    def _read(self, raw: Any, given: Mapping[str, Any], inputs: Mapping[str, Array]) -> dict[str, Array]:
        """An answer by variable, as floats of the right shapes; whatever is wrong with it is told."""
        found = {}
        for name, answers in by_variable(self.interface, raw).items():
            if len(answers) > 1:
                self.contract.answered_twice(name, [key for key, _ in answers])
            value = answers[0][1]
            numbers = as_numbers(name, value, inputs[name].dtype if name in inputs else dtype_of(inputs))
            for fault in numbers.faults:
                self.contract.tell(fault)
            if isinstance(value, np.ndarray):
                self.contract.watch_memory(name, value, given)
            found[name] = self.contract.fitted(name, numbers.array, self.interface.shapes[name])
        return found

    def refuse_strangers(self) -> None:
        """Raises UsageError where every call raised what arguments raise that were meant for something else.

        That is told once, and not in hundreds of rows without an answer.
        """
        if self.has_answered or not self.convention.is_guessed or not isinstance(self.first_error, MISFITS):
            return
        places = zip(self.convention.parameters, self.convention.positions, strict=False)
        given = ", ".join(
            f"{name} was {source.name}" for name, source in places if name != source.name and not source.is_upstream
        )
        has = f"{self.interface.what} has {', '.join(self.interface.inputs)}"
        raise UsageError(
            f"the gradient was called by position ({given}) and has no answer at any point: it raised "
            f"{in_words(self.first_error)}. {has}: is it the gradient of that? Then name its parameters as there"
        )

    def judged_at(self, batch: Batch) -> Batch:
        """The points of a batch at which the case is the function that the subject is the gradient of."""
        agrees = self.interface.agrees
        if agrees is None:
            return batch
        points = [
            [{k: x[p] for k, x in xs.items()} for xs in (batch.inputs, batch.upstream)] for p in range(len(batch))
        ]
        kept = [p for p, (inputs, upstream) in enumerate(points) if agrees(inputs, upstream)]
        return batch if len(kept) == len(batch) else batch.chosen(kept)

    def probe(self, inputs: Mapping[str, Array], upstream: Mapping[str, Array]) -> None:
        """Calls the subject again at one point: whether it repeats itself, and is linear in ``upstream``."""
        self.contract.probe(lambda seeds: self.answer(inputs, seeds), upstream, by=self.takes_upstream)

    def call(self, inputs: Mapping[str, Any], upstream: Mapping[str, Any]) -> Any:
        """What the gradient itself returns, whatever that is; it may write to what it is given."""
        held = {name: np.copy(x) if isinstance(x, np.ndarray) else x for name, x in self.interface.held.items()}
        return self._call({**inputs, **held}, upstream)

    def _call(self, inputs: Mapping[str, Any], upstream: Mapping[str, Any]) -> Any:
        positions, keywords = self.convention.arguments(inputs, upstream)
        return self.gradient(*positions, **keywords)

    # ------------------------------------------------------------------------------------- rounding or a wrong formula

    def read(
        self,
        inputs: Mapping[str, Array],
        upstream: Mapping[str, Array],
        name: str,
        entry: tuple[int, ...],
        truth: Enclosure,
    ) -> Excuse:
        """What the subject's own formula says of one entry at one point (P = 1), run in balls where its code lets it.

        Disjoint from the truth it is wrong, however small the difference is; overlapping it, rounding is why the answer
        is off.
        """
        formula = self._formula(inputs, upstream, name, entry)
        if formula is None or not formula.is_finite():
            return Excuse(Cause.OPAQUE)
        with precision(FORMULA_BITS):
            if not formula.overlaps(truth.ball):
                distance = float(abs(formula - truth.ball).abs_lower())
                said = f"proved: its formula, without any rounding, is off by {distance:.3g}"
                return Excuse(Cause.FORMULA_WRONG, said)
            scale = abs(truth.ball).abs_upper() if truth.ball != 0 else arb(_size_of(upstream))
            if formula.rad() <= scale * NARROW:
                literals = (
                    2 * float(formula.rad())
                    if truth.ball != 0
                    else self._rounding_of_zero(inputs, upstream, name, entry)
                )
                literals = max(literals, self._own_rounding(inputs, upstream, name, entry))
                return Excuse(Cause.FORMULA_RIGHT, "proved: its formula is right, rounding is the cause", literals)
        return Excuse(Cause.OPAQUE)

    def along(self, inputs: Mapping[str, Array], upstream: Mapping[str, Array], name: str, signs: Array) -> arb | None:
        """The formula's own slope along a direction of signs ``(n,)``, None where the code does not run on balls."""
        entries = np.ndindex(self.interface.shapes[name])
        balls = [self._formula(inputs, upstream, name, entry) for entry in entries]
        with precision(FORMULA_BITS):
            if any(ball is None or not ball.is_finite() for ball in balls):
                return None
            return sum((ball * sign for ball, sign in zip(balls, signs.tolist(), strict=True)), arb(0))

    def compared(
        self,
        reference: Reference,
        inputs: Mapping[str, Array],
        upstream: Mapping[str, Array],
        name: str,
        entry: tuple[int, ...],
    ) -> Excuse:
        """What the errors at neighbouring points say: rounding is noise from one point to the next, a fault is smooth.

        The last resort for code that cannot be read; it names what is off already, and lets nothing pass.
        """
        known, key = self._noise.setdefault(name, {}), (_key(inputs, upstream), entry)
        if key not in known and len({point for point, _ in known}) >= MOST_NEIGHBOURHOODS:
            excuse = next(reversed(known.values()))
            return replace(excuse, sentence=f"{excuse.sentence}, at another point" if excuse.sentence else "")
        if key not in known:
            known[key] = self._compared(self._errors_nearby(reference, inputs, upstream, name, entry))
        return known[key]

    @staticmethod
    def _compared(errors: Sequence[float]) -> Excuse:
        rough = roughness(errors)
        if rough is None:
            return Excuse(Cause.NOT_COMPARED, Cause.NOT_COMPARED.value)
        if is_alone(errors):
            return Excuse(Cause.ALONE, f"{Cause.ALONE.value}, not at its neighbours")
        cause = Cause.NOISE if rough > NOISE else Cause.SMOOTH
        return Excuse(cause, f"{cause.value} ({rough:.2f} of 1)")

    def _formula(
        self, inputs: Mapping[str, Array], upstream: Mapping[str, Array], name: str, entry: tuple[int, ...]
    ) -> arb | None:
        """The formula's own value in balls, None where the code does not run on them."""
        key = _key(inputs, upstream)
        if self._in_balls is None or self._in_balls[0] != key:
            self._in_balls = key, self._run_in_balls(inputs, upstream)
        return _ball_of(self._in_balls[1], name, entry)

    def _rounding_of_zero(
        self, inputs: Mapping[str, Array], upstream: Mapping[str, Array], name: str, entry: tuple[int, ...]
    ) -> float:
        """What rounding leaves of a formula whose terms cancel to 0, as in ``g * (1 / 49) * 49 - g``; 0 if it is much.

        The formula runs in balls of the floats' own precision, whose radius then is that of its roundings.
        """
        unit = float(np.finfo(dtype_of(inputs)).eps) / 2
        bits = 1 - math.frexp(unit)[1]
        if self._in_floats is None or self._in_floats[0] != _key(inputs, upstream):
            self._in_floats = _key(inputs, upstream), self._run_in_balls(inputs, upstream, bits)
        ball = _ball_of(self._in_floats[1], name, entry)
        if ball is None or not ball.is_finite():
            return 0.0
        size = _size_of(upstream)
        rounding = 2 * float(ball.rad())
        return rounding if rounding <= MOST_OF_ZERO * unit * size else 0.0

    def _run_in_balls(
        self, inputs: Mapping[str, Array], upstream: Mapping[str, Array], bits: int = FORMULA_BITS
    ) -> Mapping[str, Any]:
        """The subject's answer to balls at one point; nothing where its code does not run on them.

        A gradient that knows its formula otherwise, such as a framework's that reads its own graph, has a method
        ``in_balls(inputs, upstream)``: plain arrays by name -> variable -> balls (``flint.arb``) in its shape, at the
        precision that is set; an empty mapping where it cannot be had.
        """
        unit = float(np.finfo(dtype_of(inputs)).eps) / 2
        real = self.interface.real
        own_road = getattr(self.gradient, "in_balls", None)
        with precision(bits):
            if own_road is not None:
                found = own_road(*self._as_called(inputs, upstream))
                return found if isinstance(found, Mapping) else {}
            here = {key: _ball_numbers(x[0], unit) if key in real else x[0][()] for key, x in inputs.items()}
            seeds = {key: _ball_numbers(g[0], unit) for key, g in upstream.items()}
            # Whatever foreign code makes of numbers that it does not know; it may well leave the program.
            ran = call_foreign(lambda: by_variable(self.interface, self.call(here, seeds)))
            return {name: answers[0][1] for name, answers in ran.value.items()} if ran.error is None else {}

    def _as_called(
        self, inputs: Mapping[str, Array], upstream: Mapping[str, Array]
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """What the subject is called with at one point: its own inputs, with those that are held."""
        given = {key: x[0] for key, x in inputs.items()} | dict(self.interface.held)
        return {key: given[key] for key in self.interface.inputs}, {key: g[0] for key, g in upstream.items()}

    def _own_rounding(
        self, inputs: Mapping[str, Array], upstream: Mapping[str, Array], name: str, entry: tuple[int, ...]
    ) -> float:
        """How far rounding of its own program may put an answer off, of a gradient whose ``in_balls`` knows; else 0."""
        rounding = getattr(getattr(self.gradient, "in_balls", None), "rounding", None)
        if rounding is None:
            return 0.0
        found = rounding(*self._as_called(inputs, upstream))
        return float(found[name][entry]) if name in found else 0.0

    def _errors_nearby(
        self,
        reference: Reference,
        inputs: Mapping[str, Array],
        upstream: Mapping[str, Array],
        name: str,
        entry: tuple[int, ...],
    ) -> list[float]:
        """The errors along a short line through the point, in units of the gradient; NaN where they cannot be told.

        Not relative ones: near a root of the gradient those of a smooth fault look like noise.
        """
        errors = []
        for known, answer in self._neighbours(reference, inputs, upstream):
            truth = known.gradient(name, entry)
            if truth.reason:
                return [math.nan]
            errors.append(float(answer.gradients[name][(0, *entry)]) - truth.midpoint)
        return errors

    def _neighbours(
        self, reference: Reference, inputs: Mapping[str, Array], upstream: Mapping[str, Array]
    ) -> Sequence[tuple[Enclosures, Derivative]]:
        """The truth and the answer at points on a short line through one point."""
        key = _key(inputs, upstream)
        if self._nearby is None or self._nearby[0] != key:
            real = self.interface.real
            rng = stream(0, "line through a point")
            slopes = {name: rng.uniform(0.5, 1.0, x.shape[1:]) for name, x in inputs.items()}
            found = []
            for t in np.linspace(-NEARBY, NEARBY, NEIGHBOURS):
                moved = {k: (x * (1 + t * slopes[k])).astype(x.dtype) if k in real else x for k, x in inputs.items()}
                # One road is enough for a look at how errors change.
                known = reference.enclose(moved, upstream, taylor_only=True)
                found.append((known, self.differentiate(moved, upstream)))
            self._nearby = key, found
        return self._nearby[1]


def _size_of(upstream: Mapping[str, Array]) -> float:
    """The largest entry of all upstream gradients."""
    return max((float(np.max(np.abs(g), initial=0.0)) for g in upstream.values()), default=1.0)


def _ball_of(answers: Mapping[str, Any], name: str, entry: tuple[int, ...]) -> arb | None:
    """One entry of an answer in balls, None where it did not run, or what it gave has no such entry."""
    with precision(FORMULA_BITS):
        try:
            number = np.asarray(answers[name], dtype=object)[entry]
        except (KeyError, IndexError, TypeError, ValueError):
            return None
        ball = number.ball if isinstance(number, BallNumber) else number
        return ball if isinstance(ball, arb) else arb(ball) if isinstance(ball, int | float) else None


def _key(inputs: Mapping[str, Array], upstream: Mapping[str, Array]) -> bytes:
    """What tells one point from another."""
    return b"".join(np.asarray(x).tobytes() for x in (*inputs.values(), *upstream.values()))


def is_alone(errors: Sequence[float]) -> bool:
    """Whether the error in the middle is of another kind than those of its neighbours, which are rounding at most.

    >>> is_alone([1e-16, -2e-16, 0.5, 1e-16, 0.0]), is_alone([3e-9, -2e-9, 5e-9, 1e-9, 4e-9])
    (True, False)
    """
    middle = len(errors) // 2
    others = np.abs(np.delete(np.asarray(errors, dtype=np.float64), middle))
    return abs(errors[middle]) > ALONE * float(np.max(others, initial=0.0))


def roughness(errors: Sequence[float]) -> float | None:
    """The root mean square of second differences, over sqrt(6) times that of the errors themselves.

    Independent errors of any distribution with mean 0 give 1, since the weights 1, -2, 1 have squares that add up to 6;
    a smooth error gives nearly 0. None where there is no error, or one that is not finite.

    >>> roughness([1e-8] * 33), round(roughness([(-1) ** (k // 2) * 1e-16 for k in range(33)]), 1)
    (0.0, 0.8)
    """
    array = np.asarray(errors, dtype=np.float64)
    if not np.all(np.isfinite(array)) or not np.any(array):
        return None
    array = array / np.abs(array).max()
    return float(np.sqrt(np.mean(np.diff(array, 2) ** 2) / (6 * np.mean(array**2))))


def _point_text(inputs: Mapping[str, Array]) -> str:
    """A point in a few words, empty where it is large."""
    if sum(np.size(x) for x in inputs.values()) > LONGEST_POINT:
        return ""
    return ", ".join(f"{name} = {np.asarray(x).tolist()}" for name, x in inputs.items())


def _ball_numbers(array: Array, unit: float) -> Any:
    """Floats as exact balls that run through NumPy code; a scalar as a single one."""
    if np.ndim(array) == 0:
        return BallNumber(arb(float(array)), unit)
    balls = np.empty(array.shape, dtype=object)
    for index in np.ndindex(array.shape):
        balls[index] = BallNumber(arb(float(array[index])), unit)
    return balls

"""Other people's gradients: a function that is called point by point, judged like a method.

A subject may take the inputs by name or by position, and ``upstream`` if its signature has it. It answers with one
array, a tuple in the order of the inputs, or a mapping by name (``x``, ``dx`` or ``grad_x``); stages may be among the
names. :meth:`Subject.excuse` tells, of an answer that is off, whether rounding or the formula is the cause.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from flint import arb
from numpy.typing import NDArray

from verify.certified.reference import Enclosure, Enclosures, Reference
from verify.certified.taylor import precision
from verify.derivative import Derivative
from verify.errors import UsageError, did_you_mean
from verify.interpret import dtype_of
from verify.oracle.ball_numbers import BallNumber
from verify.oracle.contract import Contract
from verify.oracle.line_coverage import LineCoverage
from verify.oracle.upstreams import Upstreams
from verify.reading.case import Case
from verify.streams import stream

Array = NDArray[Any]
Gradient = Callable[..., Any]

FORMULA_BITS = 256
"""Precision at which a formula is run in balls."""

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


@dataclass(frozen=True, slots=True)
class Excuse:
    """Why an answer is off."""

    is_rounding: bool
    sentence: str


@dataclass(frozen=True, slots=True)
class Interface:
    """What a gradient is given, and what it may answer with."""

    what: str
    """The function that it is the gradient of, in words."""
    inputs: tuple[str, ...]
    """All inputs, in order."""
    real: tuple[str, ...]
    """Those that are differentiated: what a tuple's items belong to."""
    shapes: Mapping[str, tuple[int, ...]]
    """Of every input and stage."""
    outputs: Mapping[str, tuple[int, ...]]
    """Output -> its shape."""
    held: Mapping[str, Any] = field(default_factory=dict)
    """Input -> what is passed for it in every call, whatever the point: labels, whole numbers, flags, text."""

    @classmethod
    def of(cls, case: Case) -> Interface:
        r"""The interface of a case.

        >>> from verify.reading.case import load_case_text
        >>> Interface.of(load_case_text("case: square\ninputs: {x: {at: 3}}\nstages: {f: x**2}\n")).outputs
        {'f': ()}
        """
        graph = case.graph
        return cls(
            f"case {case.name!r}",
            tuple(graph.inputs),
            tuple(item.name for item in case.real_inputs),
            {name: graph.shape(name) for name in (*graph.inputs, *graph.stages)},
            {name: graph.shape(name) for name in graph.outputs},
        )


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
        self._by_name, self.takes_upstream = _calling_convention(interface, gradient)
        self._in_balls: tuple[bytes, Mapping[str, Any]] | None = None
        """The last point at which the formula ran in balls, and its answer: each entry asks for it anew."""
        self._nearby: tuple[bytes, Sequence[tuple[Enclosures, Derivative]]] | None = None
        """The last point whose neighbours were looked at, with the truth and the answers there."""

    def differentiate(self, inputs: Mapping[str, Any], upstream: Mapping[str, Any]) -> Derivative:
        """The subject's gradients at P points, one call for each; see :class:`~verify.derivative.Differentiator`.

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
        here, seeds = ({name: np.copy(x)[()] for name, x in xs.items()} for xs in (inputs, upstream))
        try:
            with self.lines.watching() if self.lines is not None else nullcontext():
                raw = self._call(here, seeds)
        except (Exception, SystemExit) as error:  # noqa: BLE001 - whatever foreign code raises is told with its traceback
            self.contract.raised(error, _point_text(inputs))
            return {}
        self.contract.watch_writes("input", inputs, here)
        kept, given = self._by_parameter(upstream), self._by_parameter(seeds)
        self.contract.watch_writes("upstream", kept, given)
        named = self.named(raw)
        for name, value in named.items():
            if isinstance(value, np.ndarray | np.generic):
                held = inputs[name].dtype if name in inputs else dtype_of(inputs)
                self.contract.watch_answer(name, value, {**here, **given}, held)
        return {
            name: self.contract.fitted(name, _floats(name, value), self.interface.shapes[name])
            for name, value in named.items()
        }

    def probe(self, inputs: Mapping[str, Array], upstream: Mapping[str, Array]) -> None:
        """Calls the subject again at one point: whether it repeats itself, and is linear in ``upstream``."""
        self.contract.probe(lambda seeds: self.answer(inputs, seeds), upstream, by=self.takes_upstream)

    def _by_parameter(self, upstream: Mapping[str, Any]) -> dict[str, Any]:
        """Upstream gradients by the names that the subject has for them: its one parameter, or the outputs."""
        return {"upstream" if len(upstream) == 1 else name: g for name, g in upstream.items()}

    def _call(self, inputs: Mapping[str, Any], upstream: Mapping[str, Any]) -> Any:
        given: dict[str, Any] = {}
        if self.takes_upstream:
            given["upstream"] = next(iter(upstream.values())) if len(upstream) == 1 else Upstreams(upstream)
        held = {name: np.copy(x) if isinstance(x, np.ndarray) else x for name, x in self.interface.held.items()}
        values = {name: held[name] if name in held else inputs[name] for name in self.interface.inputs}
        if self._by_name:
            return self.gradient(**{name: values[name] for name in self._by_name}, **given)
        return self.gradient(*values.values(), **given)

    def named(self, answer: Any) -> dict[str, Any]:
        """What the subject answered, by variable. Raises UsageError where it cannot be told what is what."""
        names = self.interface.real
        if answer is None:
            raise UsageError(f"the gradient returned None; return the gradient by {', '.join(names)}")
        if isinstance(answer, Iterator | str | bytes):
            what = f"a {type(answer).__name__}"
            raise UsageError(f"the gradient returned {what}; return an array, a tuple of arrays, or a mapping by name")
        if isinstance(answer, Mapping):
            found = {self._variable(str(key)): value for key, value in answer.items() if value is not None}
        else:
            found = self._in_order(answer)
        if not found:
            raise UsageError(f"the gradient returned no gradient at all; there are {', '.join(names)} to take it by")
        return found

    def _in_order(self, answer: Any) -> dict[str, Any]:
        """A tuple, or a list of arrays, in the order of the inputs; anything else is one array."""
        names = self.interface.real
        items = list(answer) if isinstance(answer, tuple | list) else [answer]
        if len(names) == 1 and isinstance(answer, list) and _is_one_array(answer, self.interface.shapes[names[0]]):
            items = [answer]
        if len(items) != len(names):
            raise UsageError(
                f"the gradient answered with {len(items)} arrays for {len(names)} inputs "
                f"({', '.join(names)}); return a mapping by name to give only some of them"
            )
        return {name: item for name, item in zip(names, items, strict=True) if item is not None}

    def _variable(self, key: str) -> str:
        known = [name for name in self.interface.shapes if name not in self.interface.inputs]
        known = [*self.interface.real, *known]
        for prefix in ("", "d", "grad_"):
            if key.startswith(prefix) and key[len(prefix) :] in known:
                return key[len(prefix) :]
        raise UsageError(
            f"the gradient answered with {key!r}, which is no input or stage of {self.interface.what}. "
            f"{did_you_mean(key, [*known, *(f'd{name}' for name in known)])}".strip()
        )

    # ------------------------------------------------------------------------------------- rounding or a wrong formula

    def excuse(
        self,
        reference: Reference,
        inputs: Mapping[str, Array],
        upstream: Mapping[str, Array],
        name: str,
        entry: tuple[int, ...],
        truth: Enclosure,
    ) -> Excuse:
        """Whether rounding is why the answer for one entry is off at one point (P = 1).

        The formula itself is run in balls where the code lets it: disjoint from the truth it is wrong, however small
        the difference is. Where the code is opaque, its errors at neighbouring points are looked at: rounding is
        noise from one point to the next, a fault is smooth.
        """
        formula = self._formula(inputs, upstream, name, entry)
        if formula is not None and formula.is_finite():
            with precision(FORMULA_BITS):
                if not formula.overlaps(truth.ball):
                    distance = abs(formula - truth.ball).abs_lower()
                    return Excuse(False, f"proved: its formula, without any rounding, is off by {float(distance):.3g}")
                if truth.ball == 0 or formula.rad() <= abs(truth.ball).abs_upper() * 2.0**-40:
                    return Excuse(True, "proved: its formula is right, rounding is the cause")
        errors = self._errors_nearby(reference, inputs, upstream, name, entry)
        rough = roughness(errors)
        if rough is None:
            return Excuse(False, "the error could not be compared with that of its neighbours")
        if is_alone(errors):
            return Excuse(False, "measured: the error is at this point alone, not at its neighbours, so it is a fault")
        if rough > NOISE:
            return Excuse(True, f"measured: the error is noise from point to point ({rough:.2f} of 1)")
        return Excuse(False, f"measured: the error is smooth from point to point ({rough:.2f} of 1), so it is a fault")

    def _formula(
        self, inputs: Mapping[str, Array], upstream: Mapping[str, Array], name: str, entry: tuple[int, ...]
    ) -> arb | None:
        """The formula's own value in balls, None where the code does not run on them."""
        key = _key(inputs, upstream)
        if self._in_balls is None or self._in_balls[0] != key:
            self._in_balls = key, self._run_in_balls(inputs, upstream)
        with precision(FORMULA_BITS):
            try:
                number = np.asarray(self._in_balls[1][name], dtype=object)[entry]
            except (KeyError, IndexError, TypeError, ValueError):  # it did not run, or what it gave has no such entry
                return None
            ball = number.ball if isinstance(number, BallNumber) else number
            return ball if isinstance(ball, arb) else arb(ball) if isinstance(ball, int | float) else None

    def _run_in_balls(self, inputs: Mapping[str, Array], upstream: Mapping[str, Array]) -> Mapping[str, Any]:
        """The subject's answer to balls at one point; nothing where its code does not run on them."""
        unit = float(np.finfo(dtype_of(inputs)).eps) / 2
        real = self.interface.real
        with precision(FORMULA_BITS):
            here = {key: _ball_numbers(x[0], unit) if key in real else x[0][()] for key, x in inputs.items()}
            seeds = {key: _ball_numbers(g[0], unit) for key, g in upstream.items()}
            try:
                return self.named(self._call(here, seeds))
            except Exception:  # noqa: BLE001 - whatever foreign code makes of numbers that it does not know
                return {}

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


def _floats(name: str, value: Any) -> Array:
    """An answer as an array of float64. Raises UsageError for what is none."""
    try:
        return np.array(value, dtype=np.float64)  # a copy: the gradient may write to its array again
    except (TypeError, ValueError, RuntimeError, OverflowError) as error:
        kind = f"{type(value).__name__} {value!r:.60}"
        raise UsageError(f"the gradient by {name} is no array of real numbers: {kind} ({error})") from None


def _is_one_array(answer: list[Any], shape: tuple[int, ...]) -> bool:
    """Whether a list is the nested rows of one array, rather than a list of arrays."""
    try:
        return np.shape(answer) == shape
    except ValueError:  # ragged
        return False


def _point_text(inputs: Mapping[str, Array]) -> str:
    """A point in a few words, empty where it is large."""
    if sum(np.size(x) for x in inputs.values()) > LONGEST_POINT:
        return ""
    return ", ".join(f"{name} = {np.asarray(x).tolist()}" for name, x in inputs.items())


def _calling_convention(interface: Interface, gradient: Gradient) -> tuple[tuple[str, ...], bool]:
    """The inputs that are passed by name (none: all by position), and whether ``upstream`` is asked for."""
    try:
        parameters = inspect.signature(gradient).parameters
    except (TypeError, ValueError):  # a builtin without a signature
        return (), False
    names = interface.inputs
    takes_upstream = "upstream" in parameters and "upstream" not in names
    if not takes_upstream and any(interface.outputs.values()):
        shapes = ", ".join(f"{name} {shape}" for name, shape in interface.outputs.items())
        raise UsageError(f"the output is an array ({shapes}): the gradient needs a parameter 'upstream'")
    kinds = {parameter.kind for parameter in parameters.values()}
    if inspect.Parameter.VAR_KEYWORD in kinds and not any(name in parameters for name in names):
        takes_positions = inspect.Parameter.VAR_POSITIONAL in kinds or len(parameters) > 1 + takes_upstream
        return (() if takes_positions else names), takes_upstream
    asked = [name for name in names if name in parameters]
    needed = [
        name
        for name, parameter in parameters.items()
        if parameter.default is parameter.empty
        and parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
        and name != "upstream"
    ]
    positional_only = any(parameters[name].kind is inspect.Parameter.POSITIONAL_ONLY for name in asked)
    by_name = bool(asked) and set(needed) <= set(asked) and not positional_only
    if not by_name and len(needed) > len(names):
        raise UsageError(f"the gradient needs {', '.join(needed)}; {interface.what} has {', '.join(names)}")
    return (tuple(asked) if by_name else ()), takes_upstream


def _ball_numbers(array: Array, unit: float) -> Any:
    """Floats as exact balls that run through NumPy code; a scalar as a single one."""
    if np.ndim(array) == 0:
        return BallNumber(arb(float(array)), unit)
    balls = np.empty(array.shape, dtype=object)
    for index in np.ndindex(array.shape):
        balls[index] = BallNumber(arb(float(array[index])), unit)
    return balls

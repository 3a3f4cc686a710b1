"""A framework's own backward pass, read: the program that it writes down of it, run in balls at any precision.

A gradient that has one carries it as ``in_balls``::

    gradient.in_balls(inputs, upstream) -> {"x": array of flint.arb, ...}

``inputs`` and ``upstream`` are arrays by name, at one point. What is answered for is what the *formula* is worth
without rounding. A name is left out where the program cannot be read, and where what the gradient itself answers there
lies outside of what rounding of that program could make of it: then this is not how it is computed.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import numpy as np
from flint import arb
from numpy.typing import NDArray

from verify.certified.taylor import Taylor, as_objects, precision
from verify.errors import VerifyError
from verify.frameworks.calling import Call, arguments_of
from verify.oracle.ball_numbers import literal_ball
from verify.reading.case import Case
from verify.tracing.numpy_rules import is_traced
from verify.tracing.trace import trace

Array = NDArray[Any]
Back = Callable[[Mapping[str, Any], Sequence[str], Call, Sequence[Any]], Sequence[Any]]
"""``back(arguments, differentiated, call, seeds)``: the gradients, of arrays or of tracers."""

FORMULA_BITS = 256
"""Precision at which a formula is run."""

SLACK_BITS = 4
"""A library's functions are right to some units in the last place: so much coarser rounding is tried."""

SEED = "upstream_"
"""What the inputs are called that are upstream gradients."""


class ReadInBalls:
    """The ``in_balls`` of a gradient; programs are kept by the shapes that they were read for."""

    def __init__(
        self,
        gradient: Callable[..., Any],
        function: Callable[..., Any],
        back: Back,
        constants: Collection[str] = (),
        signature: inspect.Signature | None = None,
    ) -> None:
        self._gradient, self._function, self._back = gradient, function, back
        self._constants, self._signature = tuple(constants), signature
        self._kept: dict[Any, tuple[Case, Taylor] | None] = {}

    def __call__(self, inputs: Mapping[str, Any], upstream: Mapping[str, Any]) -> dict[str, Any]:
        """The gradients as arrays of balls, by name."""
        arrays = {name: np.asarray(x) for name, x in inputs.items()}
        seeds = [np.asarray(g) for g in upstream.values()]
        by = [name for name, x in arrays.items() if x.dtype.kind == "f" and name not in self._constants]
        held = {name: x for name, x in arrays.items() if name not in by}
        key = (tuple((k, x.shape, str(x.dtype)) for k, x in arrays.items()), *(g.shape for g in seeds),
               *(x.tobytes() for x in held.values()))  # fmt: skip
        if not by:
            return {}
        if key not in self._kept:
            self._kept[key] = self._read(arrays, by, seeds)
        known = self._kept[key]
        if known is None:
            return {}
        case, taylor = known
        given = {**{name: arrays[name] for name in by}, **{f"{SEED}{i}": g for i, g in enumerate(seeds)}}
        unit = float(np.finfo(arrays[by[0]].dtype).eps) / 2
        exact = self._run(case, taylor, given, unit, FORMULA_BITS)
        rough = self._run(case, taylor, given, unit, round(-np.log2(unit)) - SLACK_BITS)
        answers = self._answers(arrays, upstream, by)
        return {
            name: exact[i]
            for i, name in enumerate(by)
            if name in answers and _covers(rough[i], np.asarray(answers[name]))
        }

    def _answers(self, arrays: Mapping[str, Any], upstream: Mapping[str, Any], by: Sequence[str]) -> Mapping[str, Any]:
        given: Any = next(iter(upstream.values())) if len(upstream) == 1 else dict(upstream)
        found = self._gradient(*(x.copy()[()] for x in arrays.values()), upstream=given)
        return dict(zip(by, found if isinstance(found, tuple) else (found,), strict=True))

    def _read(
        self, arrays: Mapping[str, Array], by: Sequence[str], seeds: Sequence[Array]
    ) -> tuple[Case, Taylor] | None:
        """The backward pass as a case; None where it cannot be read."""
        names = [*by, *(f"{SEED}{i}" for i in range(len(seeds)))]

        def program(**given: Any) -> Any:
            whole = [given.get(name, x) for name, x in arrays.items()]
            arguments, call = arguments_of(self._function, self._signature, whole, {})
            moved = [given[f"{SEED}{i}"] for i in range(len(seeds))]
            if any(map(is_traced, given.values())):
                found = self._back(arguments, by, call, moved)
            else:
                # What is compared with the program is the gradient itself.
                upstream = moved[0] if len(moved) == 1 else {f"{SEED}{i}": g for i, g in enumerate(moved)}
                found = self._gradient(*whole, upstream=upstream)
                found = found if isinstance(found, tuple) else (found,)
            return tuple(found)

        kind = inspect.Parameter.KEYWORD_ONLY
        program.__signature__ = inspect.Signature([inspect.Parameter(name, kind) for name in names])  # type: ignore[attr-defined]
        point = {**{name: arrays[name] for name in by}, **{f"{SEED}{i}": g for i, g in enumerate(seeds)}}
        try:
            case = trace(program, {name: x[()] for name, x in point.items()})
        except VerifyError:
            return None
        taylor = Taylor(case.graph)
        return None if taylor.without_form or len(case.graph.outputs) != len(by) else (case, taylor)

    def _run(self, case: Case, taylor: Taylor, given: Mapping[str, Array], unit: float, bits: int) -> list[Any]:
        """The outputs in order; a literal of the program is known to a unit roundoff, as everywhere."""
        held = {item.name: item.at for item in case.inputs if item.name not in given}
        with precision(bits):
            balls = {name: _balls(x, arb) for name, x in given.items()}
            balls |= {name: _balls(x, lambda v: literal_ball(v, unit)) for name, x in held.items()}
            values = taylor.values(balls, literal=lambda v: literal_ball(v, unit))
            return [as_objects(values[case.graph.position(name)]) for name in case.graph.outputs]


def _balls(array: Any, ball: Callable[[float], Any]) -> Any:
    flat = np.asarray(array, dtype=np.float64)
    if not flat.ndim:
        return ball(float(flat))
    found = np.empty(flat.shape, dtype=object)
    for index in np.ndindex(flat.shape):
        found[index] = ball(float(flat[index]))
    return found


def _covers(balls: Any, answer: Array) -> bool:
    """Whether an answer lies where rounding of the program can put it; an underflow more or less is no matter."""
    if balls.shape != answer.shape or not np.all(np.isfinite(answer)):
        return False
    tiny = arb(0, float(np.finfo(answer.dtype).tiny))
    return all(
        bool((balls[index] + tiny).overlaps(arb(float(answer[index])))) for index in np.ndindex(answer.shape)
    )  # fmt: skip

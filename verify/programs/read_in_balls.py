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

from verify.case.case import Case
from verify.errors import VerifyError
from verify.graph.taylor import Taylor, as_objects, precision
from verify.programs.calling import Call, arguments_of, signature_of
from verify.subjects.ball_numbers import literal_ball
from verify.subjects.formula import FORMULA_BITS, SLACK_BITS
from verify.tracing.trace import trace
from verify.tracing.traced import is_traced

Array = NDArray[Any]
Back = Callable[[Mapping[str, Any], Sequence[str], Call, Sequence[Any]], Sequence[Any]]
"""``back(arguments, differentiated, call, seeds)``: the gradients, of arrays or of tracers."""

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
        self._last: tuple[Any, dict[str, Any]] | None = None
        """The last point that was asked for, and what was found there: each entry asks for it anew."""

    def __call__(self, inputs: Mapping[str, Any], upstream: Mapping[str, Any]) -> dict[str, Any]:
        """The gradients as arrays of balls, by name."""
        return self._at(inputs, upstream)

    def _at(self, inputs: Mapping[str, Any], upstream: Mapping[str, Any]) -> dict[str, Any]:
        point = [(name, repr(x) if isinstance(x, str | None) else np.asarray(x).tobytes())
                 for name, x in (*inputs.items(), *upstream.items())]  # fmt: skip
        if self._last is None or self._last[0] != point:
            self._last = point, self._found(inputs, upstream)
        return self._last[1]

    def _found(self, inputs: Mapping[str, Any], upstream: Mapping[str, Any]) -> dict[str, Any]:
        """Of each variable the gradients without rounding, where the answer is what rounding may make of them."""
        arrays = {name: np.asarray(x) if isinstance(x, np.generic | int | float) else x for name, x in inputs.items()}
        seeds = [np.asarray(g) for g in upstream.values()]
        by = [name for name, x in arrays.items() if _is_real(x) and name not in self._constants]
        held = {name: x for name, x in arrays.items() if name not in by}
        key = (tuple((name, arrays[name].shape, str(arrays[name].dtype)) for name in by), *(g.shape for g in seeds),
               *(x.tobytes() if isinstance(x, np.ndarray) else repr(x) for x in held.values()))  # fmt: skip
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
        whole = {name: x.copy()[()] if isinstance(x, np.ndarray) else x for name, x in arrays.items()}
        return dict(zip(by, self._in_order(self._called(whole, given)), strict=True))

    def _called(self, whole: Mapping[str, Any], upstream: Any) -> Any:
        """The gradient itself, by name where the function has these names, else in order."""
        if set(whole) <= set((self._signature or signature_of(self._function)).parameters):
            return self._gradient(**whole, upstream=upstream)
        return self._gradient(*whole.values(), upstream=upstream)

    @staticmethod
    def _in_order(found: Any) -> tuple[Any, ...]:
        rows = found.values() if isinstance(found, Mapping) else found
        return tuple(rows) if isinstance(found, Mapping | tuple) else (found,)

    def _read(
        self, arrays: Mapping[str, Array], by: Sequence[str], seeds: Sequence[Array]
    ) -> tuple[Case, Taylor] | None:
        """The backward pass as a case; None where it cannot be read."""
        names = [*by, *(f"{SEED}{i}" for i in range(len(seeds)))]

        def program(**given: Any) -> Any:
            whole = {name: given.get(name, x) for name, x in arrays.items()}
            moved = [given[f"{SEED}{i}"] for i in range(len(seeds))]
            if not any(map(is_traced, given.values())):
                # What is compared with the program is the gradient itself.
                upstream = moved[0] if len(moved) == 1 else {f"{SEED}{i}": g for i, g in enumerate(moved)}
                return self._in_order(self._called(whole, upstream))
            known = set(whole) <= set((self._signature or signature_of(self._function)).parameters)
            given_so = ((), whole) if known else (tuple(whole.values()), {})
            arguments, call = arguments_of(self._function, self._signature, *given_so)
            own = dict(zip(whole, arguments, strict=True))
            return tuple(self._back(arguments, [own[name] for name in by], call, moved))

        kind = inspect.Parameter.KEYWORD_ONLY
        program.__signature__ = inspect.Signature([inspect.Parameter(name, kind) for name in names])  # type: ignore[attr-defined]
        point = {**{name: arrays[name] for name in by}, **{f"{SEED}{i}": g for i, g in enumerate(seeds)}}
        try:
            case = trace(program, {name: x[()] for name, x in point.items()})
        except VerifyError:
            return None
        taylor = Taylor(case.graph)
        return None if len(case.graph.outputs) != len(by) else (case, taylor)

    def _run(self, case: Case, taylor: Taylor, given: Mapping[str, Array], unit: float, bits: int) -> list[Any]:
        """The outputs in order; a literal of the program is known to a unit roundoff, as everywhere."""
        held = {item.name: item.at for item in case.inputs if item.name not in given}
        with precision(bits):
            balls = {name: _balls(x, arb) for name, x in given.items()}
            balls |= {name: _balls(x, lambda v: literal_ball(v, unit)) for name, x in held.items()}
            values = taylor.values(balls, literal=lambda v: literal_ball(v, unit))
            return [as_objects(values[case.graph.position(name)]) for name in case.graph.outputs]


def _is_real(value: Any) -> bool:
    return isinstance(value, np.ndarray) and value.dtype.kind == "f"


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

"""A plain NumPy function as a case: it runs once on tracers, and what they saw becomes stages with the user's names."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from verify.case.case import Case
from verify.errors import TraceError, UsageError
from verify.graph.interpret import Program
from verify.numbers.streams import stream
from verify.tracing.following import refuse_tie
from verify.tracing.places import Place
from verify.tracing.recorded_program import RecordedProgram
from verify.tracing.recorder import Choice
from verify.tracing.traced_call import TracedCall, as_value, is_real, with_reals
from verify.tracing.untraced import trace_error

Array = NDArray[Any]
Function = Callable[..., Any]

MOST_SHOWN = 4
"""Entries of a value that a message still shows."""
BESIDE = 1e-3
"""How far from a point the function is still held against its trace, as a part of each value."""
ROUNDINGS = 64
"""Times the rounding of the graph itself that a function may be off which computes in another order."""
VERY_NEAR = {"float64": 1e-5, "float32": 1e-2}
"""How far away the near ones are, as a part of the values: no branch lies between, as a rule."""
STEP = 1e-3
"""The part of a way of this length that one float may take where a function does not jump."""
SAME = {"float64": 1e-9, "float32": 1e-4}
"""How far the two may differ, as a part of the largest value on the way: rounding of another order of operations."""


def trace(
    function: Function,
    at: Mapping[str, Any] | Iterable[Mapping[str, Any]] | None = None,
    /,
    *,
    domain: Mapping[str, Any] | None = None,
    constants: Collection[str] = (),
    **values: Any,
) -> Case:
    """The case that a plain NumPy function is, found by running it once on tracers; the function is not changed.

    The values give the case's own point, by the names of the parameters: ``trace(f, x=3.0, W=np.ones((2, 3)))``, or
    as a mapping ``trace(f, {"x": 3.0})``, or a list of mappings for several points. Floats and arrays of floats are
    differentiated; booleans, text, whatever is named in ``constants``, and whole numbers beside a float are passed on
    as they are.
    ``domain`` maps inputs to ``(low, high)``. The function returns an array, a tuple of arrays, or a mapping of names
    to arrays. Stages have the names of the variables that the function assigns them to. Shapes, and what the function
    does with constants, are baked in: trace again for others.

    Branches on values are followed both ways where they are few. Raises TraceError where the function does what no
    graph can hold: functions without an op, ``float()`` in a library, more branches than are followed; and where the
    graph gives other values than the function. Raises UsageError for values and names that do not fit the function.

    >>> import numpy as np
    >>> def neuron(w, x):
    ...     dot = w @ x
    ...     return 1 / (1 + np.exp(-dot))
    >>> case = trace(neuron, w=np.array([2.0, -3.0]), x=np.array([-1.0, -2.0]))
    >>> dict(case.expressions)
    {'dot': 'w @ x', 'neuron': '1 / (1 + exp(-dot))'}
    """
    points = [with_reals(point, constants) for point in _points(at, values)]
    traced = trace_at(function, points, domain, constants)
    for point in traced.farther_away:
        if not traced.agrees(point):
            traced.refuse(point)
    return traced.case


@dataclass(frozen=True, slots=True)
class Traced:
    """A function as a case, and what the case takes from the traced point for granted."""

    case: Case
    choices: tuple[Choice, ...]
    """Branches and choices that are those of the point; the case may be another function beyond them."""
    _call: TracedCall
    _keys: tuple[str, ...]
    """What the function calls the case's outputs."""
    farther_away: tuple[Mapping[str, Any], ...]
    """Points at which the function has a value."""
    _program: Program

    @property
    def taken_for_granted(self) -> tuple[str, ...]:
        """What is that of the traced point, each with its place, in words."""
        return tuple(dict.fromkeys(f"{c.what} ({c.place.file}:{c.place.line})" for c in self.choices))

    def why_without_value(self, point: Mapping[str, Any]) -> str:
        """Why the function has no value at a point, empty where it has one."""
        try:
            values = self._call.plain(point)
        except UsageError as error:
            return str(error)
        return "" if all(np.all(np.isfinite(value)) for value in values.values()) else "its value is not finite"

    def agrees(self, point: Mapping[str, Any]) -> bool:
        """Whether case and function are the same at a point, as far as that can be seen.

        They have the same value there, up to rounding, and very near to it. A function that chooses by values chooses
        there as where it was traced: it is recorded again. A point without a value is none at which they agree.
        """
        if self.differs(point):
            return False
        return self.records_the_same(point) if self.choices else not self.differs(self._beside(point))

    def records_the_same(self, point: Mapping[str, Any]) -> bool:
        """Whether a recording at another point gives this very case."""
        call = self._call
        try:
            again = TracedCall(call.function, {**call.given, **point}, [n for n in call.given if n not in call.real])
            recorder, results = again.traced()
            other = RecordedProgram(recorder, again, results).case([again.given], {})
        except TraceError:
            return False
        if other.graph != self.case.graph:
            return False
        pairs = zip(other.inputs, self.case.inputs, strict=True)
        return all(np.array_equal(a.at, b.at) for a, b in pairs if b.kind == "constant")

    def chooses_otherwise_beside(self, point: Mapping[str, Any], towards: Mapping[str, Any]) -> bool:
        """Whether the function has another program one float away and does not jump there: a slope on either side."""
        beside = {**point, **{name: np.nextafter(self._call.given[name], towards[name]) for name in self._call.real}}
        try:
            here, there, beyond = (self._call.plain(at) for at in (point, beside, towards))
        except UsageError:  # the domain of the function ends here
            return False
        return _is_continuous(here, there, beyond) and not self.records_the_same(beside)

    def _beside(self, point: Mapping[str, Any]) -> dict[str, Any]:
        """A point so near that the function takes the same way; a zero stays one, and no sign changes."""
        rng = stream(0, "beside a point")
        moved = dict(point)
        for item in self.case.real_inputs:
            at = np.asarray(point[item.name])
            with np.errstate(over="ignore"):  # at the end of the dtype; what is infinite is in no domain
                to = (at * (1.0 + BESIDE * rng.uniform(0.5, 1.0, at.shape))).astype(at.dtype)
            moved[item.name] = np.where(item.domain.contains(to), to, at)[()]
        return moved

    def refuse(self, point: Mapping[str, Any]) -> NoReturn:
        """Raises TraceError: the trace is another function."""
        tied = next(iter(self.choices), None)
        if tied is not None:
            tried = f"{tied.what}, which changes from point to point"
            raise trace_error(tried, tied.place, "Write np.where, np.maximum or np.minimum, or use NumPy throughout.")
        remedy = "The function draws numbers, keeps a state, or branches on values where the trace cannot see it."
        raise trace_error(
            self.differs(point) or self.differs(self._beside(point)), Place(self._call.file, self._call.line), remedy
        )

    def differs(self, point: Mapping[str, Any]) -> str:
        """Which value differs and by how much, in words; empty where none does."""
        call, case = self._call, self.case
        try:
            plain = call.plain(point)
        except UsageError as error:
            return str(error)
        arrays = call.arrays(point)
        given = {item.name: arrays[item.name] if item.name in call.real else item.at for item in case.inputs}
        inputs = {item.name: np.asarray(given[item.name], dtype=item.dtype)[None] for item in case.inputs}
        values = self._program.run(inputs)
        for name, key in zip(case.graph.outputs, self._keys, strict=True):
            if key not in plain:
                return f"{key}: {call.name} itself does not return it"
            traced = values[case.graph.position(name)][0]
            last_digits = 4 * np.finfo(call.dtype).eps * np.abs(traced)
            text = _off(call, key or name, traced, plain[key], last_digits)
            # What rounding may do is asked only where there is a difference to be explained.
            text = text and _off(
                call, key or name, traced, plain[key], last_digits + self._rounding(name, inputs, values)
            )
            if text:
                short = {n: np.asarray(value).tolist() for n, value in point.items() if np.size(value) <= MOST_SHOWN}
                return f"{text} (at {short})"
        return ""

    def _rounding(self, name: str, inputs: Mapping[str, Array], values: Sequence[Array]) -> Array:
        """How far off an output may be which was computed in another order."""
        graph = self.case.graph
        around = self._program.in_balls(inputs)
        shape = graph.shape(name)
        near = ROUNDINGS * np.broadcast_to(around[graph.position(name)].radius, (1, *shape))[0]
        sizes = [float(np.max(np.abs(v), initial=0.0, where=np.isfinite(v))) for v in values]
        rough = SAME[str(self._call.dtype)] * max(sizes, default=0.0)
        return np.where(np.isfinite(near), np.minimum(near, rough), rough)


def trace_at(
    function: Function,
    points: Sequence[Mapping[str, Any]],
    domain: Mapping[str, Any] | None = None,
    constants: Collection[str] = (),
) -> Traced:
    """The trace at the first of some points, which holds at all of them and close to the first; else a TraceError.

    >>> trace_at(lambda x: x**2, [{"x": 3.0}]).agrees({"x": -5.0})
    True
    """
    call = TracedCall(function, points[0], constants)
    for point in points:
        call.plain(point)
    recorder, results = call.traced()
    program = RecordedProgram(recorder, call, results)
    case = program.case(points, domain or {})
    traced = Traced(
        case, tuple(recorder.choices), call, tuple(key for key, _ in program.results), (), Program(case.graph)
    )
    near, far = (list(_nearby(case, call, points[0], size)) for size in (VERY_NEAR[str(call.dtype)], 0.5))
    for point in points:
        if not traced.agrees(point):
            traced.refuse(point)
    leaks = any(choice.leaks for choice in traced.choices)
    if program.is_constant and _changes_everywhere(call, (points[0], *near)):
        traced.refuse(near[0])
    for point in (*near, *(far if leaks else ())):
        if not traced.differs(point):
            continue
        if leaks or not traced.choices or traced.records_the_same(point):
            traced.refuse(point)
        if traced.chooses_otherwise_beside(points[0], point):
            refuse_tie(traced.choices[0])
    return replace(traced, farther_away=tuple(far))


def traced_or_reason(
    function: Function,
    at: Mapping[str, Any],
    domain: Mapping[str, Any] | None = None,
    constants: Collection[str] = (),
) -> Traced | str:
    """The traced case, or why the function cannot be traced, in one sentence with its place.

    >>> traced_or_reason(lambda x: x**2, {"x": 3.0}).case.expressions
    {'f': 'x**2'}
    >>> traced_or_reason(lambda x: x if x > 0 else -x, {"x": 3.0}).case.expressions
    {'f': 'where(x > 0, x, -x)'}
    >>> "no op for the function 'eigvalsh'" in traced_or_reason(lambda x: np.linalg.eigvalsh(x), {"x": np.eye(2)})
    True
    """
    try:
        return trace_at(function, [dict(at)], domain, constants)
    except TraceError as error:
        return error.problem.headline()


def baked_in(point: Mapping[str, Any], constants: Collection[str] = ()) -> str:
    """What a trace at one point takes for granted at others: shapes, and the values of what is passed on.

    >>> baked_in({"x": [1.0, 2.0], "n": 3}) == baked_in({"x": [5.0, 6.0], "n": 3})
    True
    >>> baked_in({"x": [1.0, 2.0], "n": 3}) == baked_in({"x": [5.0, 6.0], "n": 4})
    False
    """
    parts = []
    for name, given in point.items():
        value = as_value(name, given)
        moves = is_real(value) and name not in constants
        parts.append(f"{name}{value.shape if moves else _whole(value)}")
    return "; ".join(parts)


def _whole(value: Any) -> str:
    """All of a constant, as text: that of a large array leaves entries out."""
    if isinstance(value, np.ndarray):
        return f"{value.dtype}{value.shape}{value.tobytes()!r}"
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{key!r}: {_whole(item)}' for key, item in value.items())}}}"
    if isinstance(value, list | tuple):
        return f"({', '.join(map(_whole, value))})"
    return repr(value)


def _points(at: Any, values: Mapping[str, Any]) -> list[dict[str, Any]]:
    if at is None:
        return [dict(values)]
    given = [at] if isinstance(at, Mapping) else list(at)
    if values or not given or not all(isinstance(point, Mapping) for point in given):
        raise UsageError("give the point by name, as in trace(f, x=3.0), or as one mapping or a list of mappings")
    return [{str(name): value for name, value in point.items()} for point in given]


# ------------------------------------------------------------------------------------------------------ the same values


def _off(call: TracedCall, name: str, traced: Array, own: Array, allowed: Array) -> str:
    """Where a value of the trace is not that of the function, in words; empty where they are the same."""
    if traced.shape != own.shape:
        return f"{name}: the trace of {call.name} has shape {traced.shape}, {call.name} itself gives {own.shape}"
    finite = np.isfinite(traced) & np.isfinite(own)
    off = np.abs(np.where(finite, traced, 0.0) - np.where(finite, own, 0.0)) > allowed
    off |= np.isfinite(traced) != np.isfinite(own)
    if not off.any():
        return ""
    entry = tuple(int(i) for i in np.argwhere(off)[0]) if off.ndim else ()
    shown = f"{name}{list(entry) if entry else ''}: the trace of {call.name} gives {float(traced[entry])!r}, "
    return f"{shown}{call.name} itself {float(own[entry])!r}"


def _is_continuous(here: Mapping[str, Array], beside: Mapping[str, Array], beyond: Mapping[str, Array]) -> bool:
    """Whether what changes from here to the next float is next to nothing of what changes on a longer way."""
    if any(values.keys() != here.keys() for values in (beside, beyond)):
        return False
    for key, value in here.items():
        if not value.shape == beside[key].shape == beyond[key].shape:
            return False
        step, way = np.abs(beside[key] - value), np.abs(beyond[key] - value)
        if not np.all(step <= way * STEP + 4 * np.finfo(value.dtype).eps * np.abs(value)):
            return False
    return True


def _changes_everywhere(call: TracedCall, points: Sequence[Mapping[str, Any]]) -> bool:
    """Whether a result has other values at all of some points: steps as small are those of a bisection's tolerance."""
    seen = {tuple(value.tobytes() for value in call.plain(point).values()) for point in points}
    return len(seen) == len(points) > 1


def _nearby(case: Case, call: TracedCall, point: Mapping[str, Any], size: float) -> Iterator[dict[str, Any]]:
    """Two points in the domain, drawn by a fixed seed, on opposite sides of one, where the function has a value."""
    rng = stream(0, "near the given point")
    steps = []
    for item in case.inputs:
        if item.name in call.real:
            at = call.given[item.name]
            steps.append(
                (item, at, at * rng.uniform(-size, size, at.shape) + rng.uniform(-size / 5, size / 5, at.shape))
            )
    for side in (1, -1):
        moved = dict(point)
        for item, at, by in steps:
            moved[item.name] = np.clip(at + side * by, item.domain.low, item.domain.high).astype(at.dtype)
        try:
            call.plain(moved)
        except UsageError:  # the domain of the function ends before that of the case
            continue
        yield moved

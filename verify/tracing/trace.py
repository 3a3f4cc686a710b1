"""A plain NumPy function as a case: it runs once on tracers, and what they saw becomes stages with the user's names."""

from __future__ import annotations

import inspect
import traceback
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NoReturn, cast

import numpy as np
from numpy.typing import NDArray

from verify.case.case import RESERVED, Case, Domain, Input, InputKind, OwnPoint, domain_fault
from verify.case.expression import CONSTANTS
from verify.case.expression_text import expression_text
from verify.case.syntax import name_fault
from verify.errors import TraceError, UsageError, VerifyError, did_you_mean
from verify.graph.graph import Graph, GraphBuilder
from verify.graph.interpret import Program, constant_balls, dtype_of
from verify.numbers.balls import Balls
from verify.numbers.streams import stream
from verify.tracing.following import followed
from verify.tracing.foreign_call import call_foreign
from verify.tracing.function_call import outputs_of, takes_order
from verify.tracing.places import Place, place_of_traceback
from verify.tracing.preserving import preserved
from verify.tracing.recorder import Choice, Recorder, Step
from verify.tracing.shim import Shim
from verify.tracing.tracer import Tracer
from verify.tracing.untraced import trace_error

Array = NDArray[Any]
Function = Callable[..., Any]

MOST_SHOWN = 4
"""Entries of a value that a message still shows."""
MOST_LEVELS, MOST_NODES = 10, 30
"""Nesting and size of a formula; what is larger is split into stages, as one would on paper."""
NEARBY_POINTS = 2
"""Points, besides those given, at which the trace is held against the function, near the first and farther away."""
BESIDE = 1e-3
"""How far from a point the function is still held against its trace, as a part of each value."""
ROUNDINGS = 64
"""Times the rounding of the graph itself that a function may be off which computes in another order."""
VERY_NEAR = {"float64": 1e-5, "float32": 1e-2}
"""How far away the near ones are, as a part of the values: no branch lies between, as a rule."""
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
    differentiated; whole numbers, booleans, text and whatever is named in ``constants`` are passed on as they are.
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
    traced = trace_at(function, _points(at, values), domain, constants)
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
    _call: _Call
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
            self._call.plain(point)
        except UsageError as error:
            return str(error)
        return ""

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
            again = _Call(call.function, {**call.given, **point}, [n for n in call.given if n not in call.real])
            recorder, results = again.traced()
            other = _Program(recorder, again, results).case([again.given], {})
        except TraceError:
            return False
        if other.graph != self.case.graph:
            return False
        pairs = zip(other.inputs, self.case.inputs, strict=True)
        return all(np.array_equal(a.at, b.at) for a, b in pairs if b.kind == "constant")

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
        balls = {key: Balls.exact(x) for key, x in inputs.items()}
        around = self._program.run(balls, constants=constant_balls(graph, dtype_of(inputs)))
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
    call = _Call(function, points[0], constants)
    for point in points:
        call.plain(point)
    recorder, results = call.traced()
    program = _Program(recorder, call, results)
    case = program.case(points, domain or {})
    traced = Traced(
        case, tuple(recorder.choices), call, tuple(key for key, _ in program.results), (), Program(case.graph)
    )
    near, far = (list(_nearby(case, call, points[0], size)) for size in (VERY_NEAR[str(call.dtype)], 0.5))
    for point in points:
        if not traced.agrees(point):
            traced.refuse(point)
    leaks = any(choice.leaks for choice in traced.choices)
    for point in (*near, *(far if leaks else ())):
        if traced.differs(point) and (leaks or not traced.choices or traced.records_the_same(point)):
            traced.refuse(point)
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
    >>> "no op for the function 'i0'" in traced_or_reason(lambda x: np.i0(x), {"x": 3.0})
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
        value = _as_value(name, given)
        is_real = _is_real(value) and name not in constants
        parts.append(f"{name}{value.shape if is_real else _whole(value)}")
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


# ------------------------------------------------------------------------------------------------------------ the call


class _Call:
    """The function with its arguments sorted out: what is differentiated, and what is passed on."""

    def __init__(self, function: Function, point: Mapping[str, Any], constants: Collection[str]) -> None:
        if not callable(function):
            raise UsageError(f"expected a function, got {function!r:.60}")
        self.function = function
        self.name = str(getattr(function, "__name__", type(function).__name__))
        code = getattr(inspect.unwrap(function), "__code__", None)
        self.file: str = code.co_filename if code else ""
        self.line: int = code.co_firstlineno if code else 0
        for name in constants:
            if name not in point:
                raise UsageError(f"constants names {name!r}, which has no value. {did_you_mean(name, point)}".strip())
        self.given = {name: _as_value(name, value) for name, value in point.items()}
        self.real = tuple(n for n, v in self.given.items() if _is_real(v) and n not in constants)
        if not point:
            raise UsageError(f"{self.name} needs values to run with, such as {self._first_parameter()}=3.0")
        if not self.real:
            raise UsageError(_nothing_real(self.name, point, constants))
        if not any(self.given[name].size for name in self.real):
            raise UsageError(f"{', '.join(self.real)} has no entries: there is nothing to differentiate {self.name} by")
        for name in self.given:
            fault = name_fault(name) or ("it is a field of points" if name in RESERVED else "")
            if fault and name in self.real:
                raise UsageError(f"{name!r} cannot name an input of a case: {fault}. Rename the parameter")
        self.dtype = np.result_type(*(self.given[name].dtype for name in self.real))
        self.positional = self._fit()

    def _first_parameter(self) -> str:
        code = getattr(inspect.unwrap(self.function), "__code__", None)
        return next(iter(code.co_varnames), "x") if code else "x"

    def _fit(self) -> bool:
        """Whether the arguments are passed by position. Raises UsageError where they do not fit the function."""
        if takes_order(self.function):
            return True
        signature = inspect.signature(self.function)
        try:
            signature.bind(**self.given)
        except TypeError as error:
            known = list(signature.parameters)
            unknown = next((name for name in self.given if name not in known), "")
            hint = did_you_mean(unknown, known) if unknown else ""
            raise UsageError(f"{self.name}{signature} does not take these values: {error}. {hint}".strip()) from None
        return False

    def __call__(self, given: Mapping[str, Any]) -> Any:
        return self.function(*given.values()) if self.positional else self.function(**given)

    def arrays(self, point: Mapping[str, Any]) -> dict[str, Any]:
        """The arguments at a point, each the function's own to write to."""
        given = {name: _as_value(name, point.get(name, held)) for name, held in self.given.items()}
        for name, value in given.items():
            if isinstance(value, np.ndarray) and value.shape != np.shape(self.given[name]):
                raise UsageError(
                    f"{name} has shape {value.shape} at one point and {np.shape(self.given[name])} at another"
                )
        return {n: v.copy()[()] if isinstance(v, np.ndarray) else v for n, v in given.items()}

    def plain(self, point: Mapping[str, Any]) -> dict[str, Array]:
        """What the function itself returns at a point, by output. Raises UsageError where it raises."""

        def run() -> dict[str, Array]:
            given = self.arrays(point)
            with np.errstate(all="ignore"), preserved(self.function, *self._handed_on()):
                return {key: np.array(value) for key, value in outputs_of(self(given)).items()}

        ran = call_foreign(run, ours=(VerifyError,))
        if ran.error is not None:
            where = place_of_traceback(ran.error.__traceback__)
            at = f" ({where.file}:{where.line})" if where.line else ""
            raise UsageError(f"{self.name} raises {_words(ran.error)} at the given point{at}") from ran.error
        values: dict[str, Array] = ran.value
        return values

    def _handed_on(self) -> list[Any]:
        """Arguments that the function is given as they are, and could change."""
        return [value for name, value in self.given.items() if not isinstance(value, np.ndarray)]

    def traced(self) -> tuple[Recorder, list[tuple[str, Any]]]:
        """The recording, and what the function returned while it was recorded. Raises TraceError."""
        recorder = Recorder(_run.__code__, self.file, self.dtype)
        twin = Shim(recorder).callable(self.function)
        for name, value in self.given.items():
            if name not in self.real:
                recorder.knows(name, value)

        def run() -> list[tuple[str, Any]]:
            given = {
                name: recorder.input(name, value) if name in self.real else _handed_on(recorder, value)
                for name, value in self.given.items()
            }
            return list(outputs_of(_run(twin, given, positional=self.positional)).items())

        with preserved(self.function, *self._handed_on()):
            ran = call_foreign(lambda: followed(recorder, run), ours=(VerifyError,))
        if ran.error is not None:  # foreign code meets a value that it does not know
            place = place_of_traceback(ran.error.__traceback__)
            tried = f"this line, which raises {_words(ran.error)} with traced values and runs with plain arrays"
            raise trace_error(tried, place, "Use NumPy's own functions on whole arrays.") from ran.error
        return recorder, ran.value


def _run(function: Function, given: Mapping[str, Any], *, positional: bool) -> Any:
    """Where the recorded frames begin; see :func:`~verify.tracing.places.frames_below`."""
    return function(*given.values()) if positional else function(**given)


def _handed_on(recorder: Recorder, value: Any) -> Any:
    """What is not differentiated: the same array, and of dictionaries and lists a copy that can be written to."""
    if isinstance(value, dict):
        return {key: _inside(recorder, item) for key, item in value.items()}
    if type(value) in (list, tuple):
        return type(value)(_inside(recorder, item) for item in value)
    return value


def _inside(recorder: Recorder, value: Any) -> Any:
    return recorder.fresh(value) if isinstance(value, np.ndarray) else _handed_on(recorder, value)


def _words(error: BaseException) -> str:
    return traceback.format_exception_only(error)[-1].strip()


def _nothing_real(function: str, point: Mapping[str, Any], constants: Collection[str]) -> str:
    """What to do where no argument is to be differentiated."""
    nested = next((name for name, value in point.items() if isinstance(value, Mapping | list | tuple)), "")
    if nested and nested not in constants and not isinstance(_as_value(nested, point[nested]), np.ndarray):
        what = "mapping" if isinstance(point[nested], Mapping) else "list"
        return (
            f"{nested} is a {what}, and what is differentiated is an array of its own: let {function} take each array "
            f"of {nested} as a parameter, at={{'{nested}_w': ...}}, and put them together itself"
        )
    shown = ", ".join(f"{name}={point[name]!r:.40}" for name in point) or "no values"
    if set(point) <= set(constants):
        return f"nothing to differentiate {function} by, got {shown}: all of it is among the constants"
    why = "whole numbers are passed on as constants. Write floats, such as x=3.0"
    return f"nothing to differentiate {function} by, got {shown}: {why}"


def _as_value(name: str, value: Any) -> Any:
    """Numbers and lists of them as arrays; anything else (text, None, a function) as it is."""
    if isinstance(value, str | bytes | None) or callable(value):
        return value
    if isinstance(value, np.ndarray) and type(value) not in (np.ndarray, np.memmap):
        what = f"{type(value).__module__.split('.')[0]}.{type(value).__name__}"
        remedy = f"{name}.filled(...)" if isinstance(value, np.ma.MaskedArray) else f"np.asarray({name})"
        raise UsageError(f"{name} is a {what}, whose operators are not those of an array: give {remedy}")
    try:
        array = np.array(value)
    except ValueError as error:
        if isinstance(value, list | tuple) and any(isinstance(item, np.ndarray) for item in value):
            return value  # arrays of several shapes
        raise UsageError(f"{name} is no array: {error}. Give all rows the same length") from None
    if array.dtype.kind == "f":
        if not np.all(np.isfinite(array)):
            raise UsageError(f"{name} is not finite. A function has no derivative there: choose another point")
        return array if array.dtype in (np.float32, np.float64) else array.astype(np.float64)
    if array.dtype.kind == "V" and array.dtype.names is None and array.dtype.type is not np.void:
        raise UsageError(f"{name} is {array.dtype}, in which nothing is judged: give it as {name}.astype(np.float32)")
    if array.dtype.kind == "c":
        raise UsageError(f"{name} is complex. Gradients are those of real functions: split it into two inputs")
    return array if isinstance(value, np.ndarray | list | tuple) and array.dtype.kind in "iub" else value


def _is_real(value: Any) -> bool:
    return isinstance(value, np.ndarray) and value.dtype.kind == "f"


# --------------------------------------------------------------------------------------------- recording to a graph


@dataclass(frozen=True, slots=True)
class _Size:
    """How large a formula has become."""

    levels: int
    nodes: int


def _depends(result: tuple[str, Any]) -> bool:
    return isinstance(result[1], Tracer) and not result[1].is_known


def _constant(recorder: Recorder, call: _Call, value: Any) -> Any:
    """What comes to the same value all around the point, on the branches of the point: its slopes are 0."""
    if any(choice.leaks for choice in recorder.choices):
        return value
    name = call.real[0]
    return np.sum(recorder.input(name, call.given[name]) * 0.0) + value


class _Program:
    """The steps of a recording that the outputs need, cut into stages and given names."""

    def __init__(self, recorder: Recorder, call: _Call, results: Sequence[tuple[str, Any]]) -> None:
        self.call, self.recorder, self.steps = call, recorder, recorder.steps
        self._look_at_the_end()
        if not results:
            raise trace_error(
                f"{call.name}, which returned no array", Place(call.file, call.line), "Return an array of floats."
            )
        if recorder.choices and not any(map(_depends, results)):
            results = [(key, _constant(recorder, call, value)) for key, value in results]
        self.results = [(key, value.step) for key, value in results if _depends((key, value))]
        if not self.results:
            self._refuse_plain(results)
        self.live = self._needed([step for _, step in self.results])
        self.readers = Counter(arg for i in self.live for arg in self.steps[i].args)
        if not any(self.steps[i].kind == "input" for i in self.live):
            tried = f"{call.name}, whose result depends on no input ({', '.join(call.real)})"
            raise trace_error(tried, Place(call.file, call.line), "Compute it from the arguments.")
        self.names = self._stage_names()

    def _look_at_the_end(self) -> None:
        """Variables that were assigned and not used again: the frame of the function still knows them."""
        frame = self.recorder.outermost
        if frame is None or frame.f_code is not getattr(inspect.unwrap(self.call.function), "__code__", None):
            return
        for name, value in list(frame.f_locals.items()):
            is_whole = isinstance(value, Tracer) and value.storage.whole is not None
            if is_whole and name.isidentifier():
                self.steps[value.step].names.append((1, name))

    def _refuse_plain(self, results: Sequence[tuple[str, Any]]) -> NoReturn:
        """Raises TraceError: nothing that is returned depends on an input."""
        leak = next((choice for choice in self.recorder.choices if choice.leaks), None)
        if leak is not None:
            raise trace_error(leak.what, leak.place, "Use NumPy's own functions on whole arrays.")
        what = f"the output {results[0][0]!r}" if results[0][0] else "the result"
        tried = f"{self.call.name}, of which {what} is a plain array that no traced value reaches"
        place = Place(self.call.file, self.call.line)
        raise trace_error(tried, place, "Return what depends on the inputs.")

    def _needed(self, roots: Sequence[int]) -> list[int]:
        found = set(roots)
        for i in range(max(roots), -1, -1):
            if i in found:
                found.update(self.steps[i].args)
        return sorted(found)

    # ------------------------------------------------------------------------------------------------------------ names

    def _stage_names(self) -> dict[int, str]:
        """Step -> name, for the steps that become stages and the inputs."""
        taken: set[str] = set()
        names: dict[int, str] = {}
        for i, step in enumerate(self.steps):
            if step.kind == "input":
                names[i] = step.name
                taken.add(step.name)
        outputs = dict(reversed([(step, key) for key, step in self.results]))
        taken |= {key for key in outputs.values() if not name_fault(key)}
        number = 0
        sizes: dict[int, _Size] = {}
        for i in self.live:
            step = self.steps[i]
            if step.kind == "array":
                names[i] = _free(step.name if not name_fault(step.name) else self._array_name(step), taken)
            elif step.kind == "op":
                inner = [sizes[arg] for arg in step.args]
                size = _Size(1 + max(s.levels for s in inner), 1 + sum(s.nodes for s in inner))
                name = self._own_name(i, outputs, size)
                if name:
                    exact = i in outputs and name == outputs[i]
                    names[i] = name if exact else _free(name, taken)
                elif i in outputs or self._is_shared(i) or size.levels > MOST_LEVELS or size.nodes > MOST_NODES:
                    number, names[i] = self._numbered(i, number, taken)
                sizes[i] = size
            if i in names or step.kind != "op":
                sizes[i] = _Size(0, 1)
        return names

    def _array_name(self, step: Step) -> str:
        """Of a constant array that no variable holds: where it stands in the code."""
        return f"array_of_line_{step.line}" if step.line else "array"

    def _own_name(self, i: int, outputs: Mapping[int, str], size: _Size) -> str:
        """The name that the user gave, as far as a case can use it."""
        step = self.steps[i]
        candidates = [outputs.get(i, ""), step.assigned]
        if i in outputs and len(self.results) == 1:
            candidates += [self.call.name, "f"]
        elif i in outputs:
            candidates += [f"{self.call.name}_{outputs[i]}", f"f_{outputs[i]}"]
        if self._is_shared(i) or size.levels > MOST_LEVELS or size.nodes > MOST_NODES:
            candidates += step.hints
        return next((name for name in candidates if name and not name_fault(name)), "")

    def _is_shared(self, i: int) -> bool:
        """Whether several read it. Entries and slices are written out each time."""
        step = self.steps[i]
        return self.readers[i] > 1 and step.op not in ("index", "gather")

    def _numbered(self, i: int, number: int, taken: set[str]) -> tuple[int, str]:
        del i
        number += 1
        while f"s{number}" in taken:
            number += 1
        taken.add(f"s{number}")
        return number, f"s{number}"

    # ------------------------------------------------------------------------------------------------------------- case

    def case(self, points: Sequence[Mapping[str, Any]], domain: Mapping[str, Any]) -> Case:
        """The case with its graph, inputs and points."""
        graph, lines = self._graph()
        values = [self._values(point) for point in points]
        for name in domain:
            if name not in values[0]:
                hint = did_you_mean(name, values[0]) or f"Inputs: {', '.join(values[0])}."
                raise UsageError(f"domain names {name!r}, which is no input. {hint}")
        inputs = tuple(self._input(name, values, domain.get(name)) for name in graph.inputs)
        own = [
            OwnPoint("at" if i == 0 else f"points[{i - 1}]", point, line=self.call.line)
            for i, point in enumerate(values)
        ]
        return Case(
            name=self.call.name if self.call.name.isprintable() and self.call.name != "<lambda>" else "lambda",
            source=f"traced from {getattr(self.call.function, '__module__', None) or 'Python'}.{self.call.name}",
            file=self.call.file,
            graph=graph,
            inputs=inputs,
            expressions={stage: expression_text(graph, stage) for stage in graph.stages},
            lines=lines,
            own_points=tuple(own),
        )

    def _graph(self) -> tuple[Graph, dict[str, int]]:
        """The graph as the reader of case files would build it: all inputs first, then stage by stage."""
        builder = GraphBuilder()
        at: dict[int, int] = {}
        lines: dict[str, int] = {}
        arrays = [i for i in self.live if self.steps[i].kind == "array"]
        for i in (*(i for i, step in enumerate(self.steps) if step.kind == "input"), *arrays):
            at[i] = builder.input(self.names[i], self.steps[i].shape, self.call.line)
            lines[self.names[i]] = self.call.line
        for i in self.live:
            if i in self.names and self.steps[i].kind == "op":
                step = self.steps[i]
                at[i] = self._emit(builder, step, self.names[i], step.line, at)
                builder.name(self.names[i], at[i])
                lines[self.names[i]] = step.line or self.call.line
        outputs: list[str] = []
        for key, i in self.results:
            name = self.names.get(i, "")
            if name in outputs or self.steps[i].kind != "op":  # an input handed on, or one value under two names
                name = _free(key if key and not name_fault(key) else "f", {*lines, *outputs, *self._keys()})
                name = key if key and not name_fault(key) and key not in lines else name
                builder.name(name, at[i])
                lines[name] = self.call.line
            outputs.append(name)
        return builder.build(outputs), lines

    def _keys(self) -> set[str]:
        return {key for key, _ in self.results}

    def _emit(self, builder: GraphBuilder, step: Step, stage: str, line: int, at: Mapping[int, int]) -> int:
        """The nodes of one formula, operands first; constants and entries are written out where they are used."""
        args = []
        for arg in step.args:
            inner = self.steps[arg]
            if arg in at:
                args.append(at[arg])
            elif inner.kind == "constant":
                args.append(builder.constant(inner.value, self._constant_text(inner), stage=stage, line=line))
            else:
                args.append(self._emit(builder, inner, stage, line, at))
        return builder.apply(step.op, *args, params=step.params, stage=stage, line=line)

    def _constant_text(self, step: Step) -> str:
        """``pi`` as such, unless something else has that name."""
        return repr(step.value) if step.op in CONSTANTS and step.op in self.names.values() else step.op

    def _values(self, point: Mapping[str, Any]) -> dict[str, Array]:
        given = self.call.arrays(point)
        values = {name: _decimal(given[name]) for name in self.call.real}
        arrays = {
            self.names[i]: step.value for i, step in enumerate(self.steps) if step.kind == "array" and i in self.names
        }
        return values | arrays

    def _input(self, name: str, values: Sequence[Mapping[str, Array]], domain: Any) -> Input:
        at = [point[name] for point in values]
        kind: InputKind = "real" if name in self.call.real else "constant"
        dtype = "float32" if kind == "real" and self.call.given[name].dtype == np.float32 else "float64"
        if kind == "constant":
            dtype = "float32" if self.call.dtype == np.float32 else "float64"
        interval = default_domain(at, dtype) if domain is None else Domain.given(name, domain)
        if fault := domain_fault(interval, kind, dtype):
            raise UsageError(f"{name}: {fault[0]}. {fault[1]}")
        for value in at:
            if not np.all(interval.contains(value)):
                raise UsageError(f"{name} lies outside its domain {interval}. Move the point, or widen the domain")
        return Input(name, at[0].shape, kind, cast("Any", dtype), interval, at[0], self.call.line)


def _free(name: str, taken: set[str]) -> str:
    """A name that nothing else has: ``h``, then ``h_2``, ``h_3``."""
    found, number = name, 1
    while found in taken:
        number += 1
        found = f"{name}_{number}"
    taken.add(found)
    return found


def _decimal(value: Any) -> Array:
    """As float64; a float32 by the shortest decimal that means it, as one would write it into a file."""
    array = np.asarray(value)
    if array.dtype == np.float32:
        return np.array([float(str(x)) for x in array.ravel()], dtype=np.float64).reshape(array.shape)
    return array.astype(np.float64)


def default_domain(values: Sequence[Array], dtype: str = "float64") -> Domain:
    """All points within 1 + |at| of each entry, as for a case file without a domain.

    >>> str(default_domain([np.array([1.0, -3.0])]))
    '[-7, 3]'
    """
    flat = np.concatenate([np.ravel(value) for value in values])
    if not flat.size:
        return Domain(-1.0, 1.0)  # nothing is drawn from it
    with np.errstate(over="ignore"):
        low, high = flat - 1.0 - np.abs(flat), flat + 1.0 + np.abs(flat)
    largest = float(np.finfo(dtype).max)
    return Domain(max(float(np.min(low)), -largest), min(float(np.max(high)), largest))


# ------------------------------------------------------------------------------------------------------ the same values


def _off(call: _Call, name: str, traced: Array, own: Array, allowed: Array) -> str:
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


def _nearby(case: Case, call: _Call, point: Mapping[str, Any], size: float) -> Iterator[dict[str, Any]]:
    """Further points in the domain, drawn by a fixed seed, where the function has a value."""
    rng = stream(0, "near the given point")
    for _ in range(NEARBY_POINTS):
        moved = dict(point)
        for item in case.inputs:
            if item.name in call.real:
                at, low, high = call.given[item.name], item.domain.low, item.domain.high
                by = at * rng.uniform(-size, size, at.shape) + rng.uniform(-size / 5, size / 5, at.shape)
                moved[item.name] = np.clip(at + by, low, high).astype(at.dtype)
        try:
            call.plain(moved)
        except UsageError:  # the domain of the function ends before that of the case
            continue
        yield moved

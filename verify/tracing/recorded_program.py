"""A recording as a case: the steps that the outputs need, cut into stages with the user's names."""

from __future__ import annotations

import inspect
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn, cast

import numpy as np
from numpy.typing import NDArray

from verify.case.case import Case, Domain, Input, InputKind, OwnPoint, domain_fault
from verify.case.expression import CONSTANTS
from verify.case.expression_text import expression_text
from verify.case.syntax import name_fault
from verify.errors import UsageError, did_you_mean
from verify.graph.graph import Graph, GraphBuilder
from verify.tracing.places import Place
from verify.tracing.recorder import Recorder, Step
from verify.tracing.traced_call import TracedCall
from verify.tracing.tracer import Tracer
from verify.tracing.untraced import trace_error

Array = NDArray[Any]

MOST_LEVELS, MOST_NODES = 10, 30
"""Nesting and size of a formula; what is larger is split into stages, as one would on paper."""


@dataclass(frozen=True, slots=True)
class _Size:
    """How large a formula has become."""

    levels: int
    nodes: int


def _depends(result: tuple[str, Any]) -> bool:
    return isinstance(result[1], Tracer) and not result[1].is_known


def _constant(recorder: Recorder, call: TracedCall, value: Any) -> Any:
    """What comes to the same value all around the point, on the branches of the point: its slopes are 0."""
    if any(choice.leaks for choice in recorder.choices):
        return value
    name = call.real[0]
    return np.sum(recorder.input(name, call.given[name]) * 0.0) + value


class RecordedProgram:
    """The steps of a recording that the outputs need, cut into stages and given names."""

    def __init__(self, recorder: Recorder, call: TracedCall, results: Sequence[tuple[str, Any]]) -> None:
        self.call, self.recorder, self.steps = call, recorder, recorder.steps
        self._look_at_the_end()
        if not results:
            raise trace_error(
                f"{call.name}, which returned no array", Place(call.file, call.line), "Return an array of floats."
            )
        self.is_constant = bool(recorder.choices) and not any(map(_depends, results))
        if self.is_constant:
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

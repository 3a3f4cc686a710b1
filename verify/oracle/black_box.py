"""Gradients of functions that nobody knows: each slope is held against central differences.

There is no expression to enclose, so nothing is proved here: the verdicts are *measured*. What
noise or truncation hides is UNDECIDED. Beside the caller's own points a gradient is looked at where one of a known
function would be: at random points, zeros, ends of the domain, equal entries, and on both sides of the numbers in the
code; there along random directions, and entry by entry as far as :data:`MOST_LOOKS` goes.
"""

from __future__ import annotations

import inspect
import math
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from verify.case.case import Case, Domain, Input, OwnPoint
from verify.errors import UsageError, did_you_mean
from verify.graph.graph import GraphBuilder
from verify.graph.interpret import Program
from verify.judging.rules import judged_rows
from verify.numbers.streams import stream
from verify.oracle.case_check import MOST_PROBED, Question, excused
from verify.oracle.look import MOST_ENTRIES, BlackBox, Look, Place
from verify.oracle.overrides import adapted
from verify.places.points import Batch, own_points, random_points, spread_points
from verify.places.search import search_points, upstream_of
from verify.records import SUBJECT, CaseResult, Point, VariableResult
from verify.running.gathering import point_record
from verify.subjects.code_constants import constants_of
from verify.subjects.interface import Interface
from verify.subjects.measured import Function, Measured
from verify.subjects.subject import Subject
from verify.tracing.recorded_program import default_domain
from verify.words import VERDICTS, Unproved

Array = NDArray[Any]

MOST_LOOKS = 600
"""Entries that are looked at one by one at all other points together, ..."""

LEAST_LOOKS = 2
"""... but no fewer than these of a variable at each of them; the rest is looked at along random directions."""

BEYOND = 0.125
"""Part of its width by which differences may leave a domain that was given; they must at its ends."""

LARGEST_UPSTREAM = 1e12
"""Upstream gradients beyond this, or below one over it, show overflow only; differences show it of the function."""

WITHOUT_EXPRESSION = "no expression is known: slopes are measured by central differences, nothing is proved"


def judge_black_box(
    asked: Question,
    function: Function,
    at: Sequence[Mapping[str, Any]],
    why: str,
    *,
    own: bool = True,
    repeats: bool = True,
) -> CaseResult:
    """Judges a gradient at some points of a function, and where there is a domain at further ones.

    ``at`` gives the arguments by name; floats are differentiated, whole numbers, booleans and what is among the
    constants are not. ``own`` says that the caller chose these points: what cannot be decided there does not pass.
    Of a function that does not repeat itself nothing can be said.
    Raises UsageError for a function or an answer that does not fit.

    >>> from verify.subjects.line_coverage import LineCoverage
    >>> from verify.running.settings import Settings
    >>> def asked(gradient): return Question(gradient, Settings(points=0), LineCoverage(abs))
    >>> judge_black_box(asked(lambda x: 2 * x), lambda x: x**2, [{"x": 3.0}], "").status
    'PASS'
    >>> judge_black_box(asked(lambda x: 2.01 * x), lambda x: x**2, [{"x": 3.0}], "").status
    'FAIL'
    """
    return Judgement(asked, function, at, own=own, repeats=repeats).result(why)


class Judgement:
    """One black box while it is judged.

    Raises UsageError for a function, a domain or an upstream gradient that does not fit.
    """

    def __init__(
        self, asked: Question, function: Function, at: Sequence[Mapping[str, Any]], *, own: bool, repeats: bool
    ) -> None:
        self.started = time.perf_counter()
        self.asked, self.function, self.own, self.repeats = asked, function, own, repeats
        self.measured = Measured(function, at[0])
        real = {
            name: value
            for name, value in self.measured.held.items()
            if np.asarray(value).dtype.kind == "f" and name not in asked.constants
        }
        if not real:
            raise UsageError("nothing to differentiate: at needs a float, such as at={'x': 3.0}")
        self.real = tuple(real)
        shapes = {name: np.shape(value) for name, value in self.measured.held.items()}
        held = {name: value for name, value in self.measured.held.items() if name not in real}
        interface = Interface(
            self.measured.name, tuple(self.measured.held), self.real, shapes, self.measured.shapes, held
        )
        self.subject = Subject(interface, asked.gradient)
        self.subject.lines = asked.lines
        self.case = replace(self._case(at), draws_scalar_upstream=self.subject.takes_upstream)
        domains = {item.name: item.domain for item in self.case.real_inputs}
        bounds = {
            name: (low - BEYOND * (high - low), high + BEYOND * (high - low))
            for name, low, high in ((name, domains[name].low, domains[name].high) for name in asked.domain or {})
            if math.isfinite(high - low)
        }
        self.box = BlackBox(self.measured, self.subject, domains, bounds, asked.settings.seed, asked.accuracy or 0.0)
        self.points: list[Point] = []

    def _case(self, at: Sequence[Mapping[str, Any]]) -> Case:
        """Inputs, domains and points as a case has them, for whoever chooses points; outputs count as constants."""
        domain, name = self.asked.domain or {}, self.measured.name
        for key in domain:
            if key not in self.real:
                raise UsageError(f"domain names {key!r}, which is no input. {did_you_mean(key, self.real)}".strip())
        builder = GraphBuilder()
        inputs = []
        for key in self.real:
            values = [np.asarray(point[key], dtype=np.float64) for point in at]
            interval = Domain.given(key, domain[key]) if key in domain else default_domain(values)
            if not all(np.all(interval.contains(value)) for value in values):
                raise UsageError(f"{key} lies outside its domain {interval}. Move the point, or widen the domain")
            dtype: Any = str(self.measured.held[key].dtype)
            builder.input(key, values[0].shape)
            inputs.append(Input(key, values[0].shape, "real", dtype, interval, values[0]))
        for key, shape in self.measured.shapes.items():
            builder.input(key, shape)
            zeros = np.zeros(shape)
            inputs.append(Input(key, shape, "constant", "float64", Domain(-math.inf, math.inf), zeros))
        points = tuple(
            OwnPoint("at" if len(at) == 1 else f"at[{i}]", {key: np.asarray(point[key], float) for key in self.real})
            for i, point in enumerate(at)
        )
        graph = builder.build(list(self.measured.shapes))
        case = Case(name, "a black box", *_place(self.function)[:1], graph, tuple(inputs), {}, {}, own_points=points)
        return adapted(case, (), None, self.asked.upstream)

    # ----------------------------------------------------------------------------------------------- where it is looked

    def own_places(self) -> list[Place]:
        """The caller's points, each with two upstream gradients where none is given; the second one is positive."""
        batch = replace(own_points(self.case, self.asked.settings.seed), own=self.own)
        rng = stream(self.asked.settings.seed, "positive upstream")
        places = []
        for p in range(len(batch)):
            inputs, seeds = self._at(batch, p)
            ids = [self._keep(replace(point_record(batch, p), values=self._shown(inputs, seeds)))]
            upstreams = [seeds]
            # Of one sign, so that the branches of several maxima do not cancel in a sum.
            other = {name: rng.uniform(0.5, 1.5, g.shape).astype(g.dtype) for name, g in seeds.items()}
            other = {name: seeds[name] if name in self.case.given_upstream else g for name, g in other.items()}
            if self.subject.takes_upstream and any(np.any(other[name] != seeds[name]) for name in seeds):
                shown = self._shown(inputs, other)
                point = Point(0, f"{batch.origins[p]}, with another upstream gradient", self.own, shown)
                ids.append(self._keep(point))
                upstreams.append(other)
            places.append(Place(inputs, upstreams, ids, self.own))
        return places

    def other_places(self) -> Iterator[Place]:
        """Points that nobody gave: where the code or the domain may change its mind, and random ones."""
        settings = self.asked.settings
        if not settings.points:
            return
        constants = constants_of(self.asked.gradient, self.function)
        program = Program(self.case.graph)
        spread = spread_points(self.case, settings.seed, 0, settings.points)
        sought = search_points(self.case, program, settings.seed, 0, constants=constants, points=settings.points)
        drawn = random_points(self.case, settings.seed, 0, settings.points, 0)
        for batch in (spread, sought, drawn):
            for p in range(len(batch) if batch is not None else 0):
                assert batch is not None
                inputs, seeds = self._at(batch, p)
                if all(_is_usual(g) for g in seeds.values()):
                    kept = self._keep(replace(point_record(batch, p), values=self._shown(inputs, seeds)))
                    yield Place(inputs, [seeds], [kept], own=False)

    def _at(self, batch: Batch, p: int) -> tuple[dict[str, Array], dict[str, Array]]:
        return {name: batch.inputs[name][p] for name in self.real}, {name: g[p] for name, g in batch.upstream.items()}

    def _keep(self, point: Point) -> int:
        self.points.append(replace(point, id=len(self.points)))
        return len(self.points) - 1

    def _shown(self, inputs: Mapping[str, Array], seeds: Mapping[str, Array]) -> dict[str, Any]:
        drawn = {upstream_of(name): g for name, g in seeds.items() if np.ndim(g) or g != 1}
        return {**self.measured.held, **inputs, **drawn}

    # --------------------------------------------------------------------------------------------------- how it is done

    def result(self, why: str) -> CaseResult:
        """The whole judgement."""
        own = self.own_places()
        for place in own:
            self.measured.outputs(place.inputs)  # it must have a value where the caller asks for one
        for place in own:
            self.look(place, MOST_ENTRIES)
        others = list(self.other_places())
        looks = max(LEAST_LOOKS, MOST_LOOKS // max(len(others) * len(self.real), 1))
        for place in others:
            self.look(place, looks)
        self.subject.refuse_strangers()
        for place in own[:MOST_PROBED]:
            self.subject.probe(place.inputs, place.upstreams[0])
        result = self._result(why, len(others), looks)
        return replace(result, findings=excused(tuple(self.subject.contract.findings), result))

    def look(self, place: Place, looks: int) -> None:
        """Judges a place: so many entries of each variable one by one, and all of them along a direction."""
        look = Look(self.box, place)
        if not self.repeats or not np.all(np.isfinite(look.values)):
            why = "the function is not finite here" if self.repeats else "the function does not repeat itself"
            look.leave_open(why, looks)
            return
        if place.own:
            self.box.noise = max(self.box.noise, look.measured_noise())
        rest = [name for name in self.real if look.entries(name, looks) < place.inputs[name].size]
        if rest and look.disagreeing(rest):
            for name in rest:
                look.closely(name)
        look.tied()
        for number, name, flat, slope in look.rows():
            self.box.columns[name].add(place.ids[number], flat, slope, own=place.own)

    def _result(self, why: str, others: int, looks: int) -> CaseResult:
        file, line = _place(self.function)
        name = self.measured.name
        notes = [WITHOUT_EXPRESSION, f"the function is a black box: {why}"]
        if others:
            entries = f"{looks} entries of each input" if looks < MOST_ENTRIES else "all entries"
            notes.append(f"looked at {others} points beside the given ones, at {entries}, and along directions")
        laws = [evidence.law for column in self.box.columns.values() for _, _, evidence in column.rows]
        notes += [law.sentence for law in laws if law is not None and law.verdict == "inexact"][:1]
        variables = tuple(self._variable(key, (file, line)) for key in self.real if self.box.columns[key].rows)
        return CaseResult(
            name=name,
            file=file,
            function=((next(iter(self.measured.shapes)), f"{name}({', '.join(self.measured.held)})"),),
            outputs=tuple(self.measured.shapes),
            variables=variables,
            points=tuple(self.points),
            seed=self.asked.settings.seed,
            points_checked=len(self.points),
            points_asked=self.asked.settings.points,
            methods=(SUBJECT, "central"),
            notes=tuple(notes),
            unproved={Unproved.BLACK_BOX: sum(variable.checked for variable in variables)},
            seconds=time.perf_counter() - self.started,
        )

    def _variable(self, name: str, place: tuple[str, int]) -> VariableResult:
        rows = judged_rows(self.box.columns[name].rows, (SUBJECT, "central"))
        counts = Counter(VERDICTS[code] for code in rows.verdict.tolist())
        return VariableResult(
            case=self.measured.name,
            name=name,
            role="input",
            quantity="gradient",
            shape=np.shape(self.measured.held[name]),
            file=place[0],
            line=place[1],
            rows=rows,
            checked=len(rows),
            counts=counts,
            failed=int(np.count_nonzero(~rows.passes)),
            differences=(),
            dtype=str(self.measured.held[name].dtype),
        )


def _is_usual(upstream: Array) -> bool:
    """Whether differences can tell anything with an upstream gradient of this size."""
    size = float(np.max(np.abs(upstream), initial=0.0))
    return size == 0 or 1 / LARGEST_UPSTREAM <= size <= LARGEST_UPSTREAM


def _place(function: Function) -> tuple[str, int]:
    """File and line of a function, as far as they are known."""
    code = getattr(inspect.unwrap(function), "__code__", None)
    return (code.co_filename, code.co_firstlineno) if code else ("", 0)

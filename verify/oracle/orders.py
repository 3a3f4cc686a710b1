"""Beyond the gradient: ``J v``, J, ``H v`` and H that somebody brings, held against the function they are of.

The function is traced as for a gradient, and the truth enclosed by two roads (:mod:`verify.truth.orders`). One that
cannot be traced is measured: its values along lines, by the laws that a black box's gradient is judged by.
"""

from __future__ import annotations

import datetime as dt
import math
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from types import ModuleType
from typing import Any, Literal

import numpy as np
from flint import arb
from numpy.typing import NDArray

from verify.case.case import Case, load_case
from verify.case.files import find_case
from verify.errors import UsageError
from verify.graph.graph import Graph
from verify.graph.taylor import precision
from verify.judging.evidence import Evidence
from verify.judging.point_evidence import SAVED
from verify.judging.rows import Judgement
from verify.judging.rules import variable_of
from verify.methods.symbolic import Symbolic
from verify.numbers.streams import stream
from verify.oracle.case_check import MOST_PROBED, Question, limited
from verify.oracle.measured_orders import MeasuredOrders
from verify.oracle.order_causes import NAMES, causes_of
from verify.oracle.order_rounding import Rounding
from verify.oracle.overrides import points_of
from verify.oracle.product_call import alone, fitted, matrix_of, pattern_of, vector_of, with_vector
from verify.oracle.result import GradientRun
from verify.places.points import own_points, random_points
from verify.programs.functions import asked_of, framework_of
from verify.records import SUBJECT, CaseResult, Finding, Point, VariableResult, format_entry
from verify.running.preparing import prepared_methods
from verify.running.settings import DEFAULT, Settings, as_settings
from verify.running.units import versions
from verify.subjects.answers import as_numbers
from verify.subjects.contract import Contract
from verify.subjects.line_coverage import LineCoverage
from verify.tracing.foreign_call import OF_A_CHECK, call_foreign, put_back
from verify.tracing.function_call import by_name, name_of, own_arguments
from verify.tracing.preserving import preserved
from verify.tracing.trace import Traced, traced_or_reason
from verify.truth.orders import Block, Key, Orders
from verify.truth.ties import second_blocks
from verify.words import FindingKind, Unproved, Verdict

Array = NDArray[Any]
Function = Callable[..., Any]
At = Mapping[str, Any]

OTHER_POINTS = 16
"""Points beside the given ones where there is a domain and nobody says how many."""

VECTORS = 2
"""Vectors that are tried where none is given."""

Quantity = Literal["jvp", "jacobian", "hvp", "hessian", "objective"]
Causes = Callable[[At, Key, Array, Mapping[Key, Array], Sequence[Block], Orders], tuple[str, ...]]
"""What an answer could be instead of the right one, see :func:`~verify.oracle.order_causes.causes_of`."""

WHAT: Mapping[str, str] = {quantity: f"the {name}" for quantity, name in NAMES.items()}
"""The same with its article."""


def check_jvp(
    jvp: Function,
    function: Any,
    settings: Settings = DEFAULT,
    *,
    at: Any = None,
    tangent: Any = None,
    vjp: Function | None = None,
    **options: Any,
) -> GradientRun:
    """Judges a function for ``J v``: what a function's outputs do where its inputs move along v.

    Parameters
    ----------
    jvp
        Takes the inputs, by name or by position, and then the tangent: one argument, or one for each input that is
        differentiated; or all values in a tuple and all tangents in another, as ``jax.custom_jvp`` has it. Returns an
        array for each output, or a pair of the function's value and that.
    function
        What it is the derivative of: a function of NumPy arrays, PyTorch's tensors or JAX's arrays, or a case.
    at, settings, options
        As of :func:`~verify.oracle.check.check_gradient`: ``domain``, ``constants``, ``points``, ``seed``, ``dtype``.
        Without a domain the given points alone are looked at.
    tangent
        An array, or input -> array; two are drawn from the seed if left out.
    vjp
        The other half of a pair: takes the inputs and an upstream gradient for each output, and returns the gradient.
        Then ``<u, J v> = <J' u, v>`` is asked of the two, whatever the function is.

    Raises UsageError for arguments and answers that do not fit.

    >>> check_jvp(lambda x, v: np.cos(x) * v, np.sin, at={"x": 0.5}, tangent=2.0).verdict
    'PASS'
    >>> check_jvp(lambda x, v: 1.000001 * np.cos(x) * v, np.sin, at={"x": 0.5}, tangent=2.0).verdict
    'FAIL'
    """
    return checked("jvp", jvp, function, settings, at=at, vector=tangent, vjp=vjp, **options)


def check_jacobian(
    jacobian: Function, function: Any, settings: Settings = DEFAULT, *, at: Any = None, **options: Any
) -> GradientRun:
    """Judges a function for J, the derivatives of all outputs by all inputs.

    ``jacobian`` takes the inputs and returns an array ``(*output, *input)``, or as a matrix with a row for each entry
    of the outputs and a column for each of the inputs; blocks by input or by output in a mapping or a tuple; or a
    sparse matrix of SciPy, whose pattern is looked at too. The rest is as in :func:`check_jvp`.

    >>> check_jacobian(lambda x: np.diag(2 * x), lambda x: x**2, at={"x": [1.0, 3.0]}).verdict
    'PASS'
    >>> check_jacobian(lambda x: np.diag(2.000001 * x), lambda x: x**2, at={"x": [1.0, 3.0]}).verdict
    'FAIL'
    """
    return checked("jacobian", jacobian, function, settings, at=at, **options)


def check_hvp(
    hvp: Function, function: Any, settings: Settings = DEFAULT, *, at: Any = None, v: Any = None, **options: Any
) -> GradientRun:
    """Judges a function for ``H v``, H the second derivatives of a function that returns one number.

    ``hvp`` takes the inputs and then v, as in :func:`check_jvp`, and returns an array for each input. A function that
    returns an array is contracted with ``upstream=``. At a point where two branches meet, to within rounding, no
    second derivative is claimed: such rows are UNDECIDED, and say so.

    >>> check_hvp(lambda x, v: 6 * x * v, lambda x: np.sum(x**3), at={"x": [1.0, 2.0]}).verdict
    'PASS'
    >>> check_hvp(lambda x, v: 3 * x * v, lambda x: np.sum(x**3), at={"x": [1.0, 2.0]}).verdict
    'FAIL'
    """
    return checked("hvp", hvp, function, settings, at=at, vector=v, **options)


def check_hessian(
    hessian: Function, function: Any, settings: Settings = DEFAULT, *, at: Any = None, **options: Any
) -> GradientRun:
    """Judges a function for H, the second derivatives of a function that returns one number.

    ``hessian`` takes the inputs and returns H as :func:`check_jacobian` wants J. One that is not symmetric is a finding
    of its own; where the matrix is that of Gauss and Newton, an absolute value, or the identity, the report says so.

    >>> check_hessian(lambda x: np.diag(6 * x), lambda x: np.sum(x**3), at={"x": [1.0, 2.0]}).verdict
    'PASS'
    >>> check_hessian(lambda x: np.eye(2), lambda x: np.sum(x**3), at={"x": [1.0, 2.0]}).verdict
    'FAIL'
    """
    return checked("hessian", hessian, function, settings, at=at, **options)


def checked(
    quantity: Quantity,
    subject: Function,
    function: Any,
    settings: Settings = DEFAULT,
    *,
    at: Any = None,
    vector: Any = None,
    vjp: Function | None = None,
    upstream: Any = None,
    domain: Mapping[str, Any] | None = None,
    constants: Mapping[str, Any] | Collection[str] = (),
    points: int | None = None,
    seed: int | None = None,
    dtype: str | None = None,
    causes: Causes | None = None,
) -> GradientRun:
    """What all these checks do; ``causes`` says more of a wrong answer.

    >>> checked("jvp", lambda x, v: 2 * x * v, lambda x: x**2, at={"x": 3.0}).ok
    True
    """
    started = time.perf_counter()
    count = points if points is not None else OTHER_POINTS if domain else 0
    asked = replace(as_settings(settings), points=count, seed=settings.seed if seed is None else seed)
    for what, given in ((WHAT[quantity], subject), ("the VJP", vjp)):
        if given is not None and not callable(given):
            raise UsageError(f"expected {what} as a function that can be called, got {given!r:.60}")
    given_points = points_of(at)
    if isinstance(constants, Mapping):
        given_points = tuple({**point, **constants} for point in given_points or ({},))
    notes: tuple[str, ...] = ()
    room: ModuleType | None = None
    if isinstance(function, str):
        function = load_case(find_case(function))
    if not isinstance(function, Case):
        if not callable(function):
            raise UsageError(f"expected the function that this is {quantity} of, got {function!r:.60}")
        if not given_points:
            raise UsageError("a function needs the point to look at, such as at={'x': 3.0}")
        room = framework_of(function, given_points[0])
        _, function, given_points, notes = asked_of(subject, function, given_points, tuple(constants))
    changed: list[str] = []
    question = _Question(
        quantity,
        subject,
        function,
        given_points,
        vector,
        vjp,
        upstream,
        domain or {},
        tuple(constants),
        asked,
        dtype,
        causes,
        room,
    )
    with put_back(changed, OF_A_CHECK), preserved(function, *given_points):
        gradient = Question(subject, asked, LineCoverage(subject))
        name = function.name if isinstance(function, Case) else name_of(function)
        result = limited(gradient, name, "", partial(_judged, question))
    findings = [
        Finding(FindingKind.GLOBAL_STATE, name, f"{WHAT[quantity]} changes {name}; it was put back", fails=False)
        for name in changed
    ]
    result = replace(result, notes=(*notes, *result.notes), findings=(*result.findings, *findings))
    return GradientRun(
        cases=(result,),
        seed=asked.seed,
        points=asked.points,
        methods=result.methods,
        versions=versions(),
        started=dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
        seconds=time.perf_counter() - started,
    )


def joined(runs: Sequence[tuple[str, GradientRun]]) -> GradientRun:
    """Several runs as one, with what each is about in the names of its results.

    >>> joined([("a", GradientRun(cases=(), seed=0, points=0)), ("b", GradientRun(cases=(), seed=0, points=0))]).ok
    True
    """
    cases = tuple(replace(case, name=f"{case.name}, {what}") for what, run in runs for case in run.cases)
    methods = tuple(dict.fromkeys(method for _, run in runs for method in run.methods))
    return replace(runs[0][1], cases=cases, methods=methods, seconds=sum(run.seconds for _, run in runs))


@dataclass(frozen=True, slots=True)
class _Question:
    quantity: Quantity
    subject: Function
    function: Any
    at: Sequence[At]
    vector: Any
    vjp: Function | None
    upstream: Any
    domain: Mapping[str, Any]
    constants: tuple[str, ...]
    settings: Settings
    dtype: str | None
    causes: Causes | None
    room: ModuleType | None = None
    """The framework that the function is of, where it is one's."""

    @property
    def is_second(self) -> bool:
        return self.quantity in ("hvp", "hessian")

    @property
    def takes_vector(self) -> bool:
        return self.quantity in ("jvp", "hvp")


@dataclass(frozen=True, slots=True)
class _Known:
    """The function at one point."""

    given: At
    """All arguments."""
    origin: str
    own: bool
    case: Case | None
    """The graph that the function is here; None where it is measured."""
    why: str = ""
    """Why it cannot be traced."""
    seeds: At = field(default_factory=dict)
    """Upstream gradients that come with a point of a case."""

    def inputs(self, case: Case) -> dict[str, Array]:
        """The graph's inputs here; of the constants that it holds, their values."""
        return {item.name: np.asarray(self.given.get(item.name, item.at), dtype=item.dtype) for item in case.inputs}


def _points(question: _Question) -> Iterator[_Known]:
    """Where it is looked, with what the function is there."""
    function, settings = question.function, question.settings
    if isinstance(function, Case):
        batch = own_points(function, settings.seed)
        for number, point in enumerate(question.at or [None] * len(batch)):
            here = {name: x[number if not question.at else 0] for name, x in batch.inputs.items()}
            seeds = {name: g[number if not question.at else 0] for name, g in batch.upstream.items()}
            yield _Known({**here, **(point or {})}, _origin(number, len(question.at)), True, function, "", seeds)
        return
    first: Traced | None = None
    for number, given in enumerate(question.at):
        point = _as_dtype(given, question.dtype)
        found = first if first is not None and first.agrees(point) else _traced(question, point)
        if isinstance(found, Traced):
            first = first or found
        yield _known_at(point, _origin(number, len(question.at)), found, own=True)
    if first is None or not settings.points:
        return
    batch = random_points(first.case, settings.seed, 0, settings.points, len(question.at))
    for p in range(len(batch)):
        point = {**question.at[0], **{item.name: batch.inputs[item.name][p] for item in first.case.real_inputs}}
        if first.why_without_value(point):
            continue
        yield _known_at(point, "random", first if first.agrees(point) else _traced(question, point), own=False)


def _traced(question: _Question, point: At) -> Traced | str:
    return traced_or_reason(question.function, point, question.domain or None, question.constants)


def _known_at(point: At, origin: str, found: Traced | str, *, own: bool) -> _Known:
    case, why = (found.case, "") if isinstance(found, Traced) else (None, found)
    return _Known(point, origin, own, case, why)


def _origin(number: int, count: int) -> str:
    return "at" if count <= 1 else f"at[{number}]"


def _as_dtype(point: At, dtype: str | None) -> dict[str, Any]:
    found = {}
    for name, value in point.items():
        array = np.asarray(value) if not isinstance(value, str | None) else None
        is_real = array is not None and array.dtype.kind == "f"
        found[name] = array.astype(dtype or array.dtype)[()] if is_real and array is not None else value
    return found


# --------------------------------------------------------------------------------------------------- what is answered


class _Subject:
    """What is judged, called and watched."""

    def __init__(self, question: _Question, inputs: Sequence[str], real: Sequence[str]) -> None:
        self.question, self.inputs = question, inputs
        what = WHAT[question.quantity]
        of, by = ("of", "tangent") if question.quantity == "jvp" else ("by", "v")
        self.contract = Contract(what=what, of=of, by=by)
        self.call = self._arranged(question.subject, real)
        own = framework_of(question.subject)
        room = own or question.room  # a transform of a function that names no framework, as torch.func.hessian(f)
        self._other = None if room is None else self._arranged(room.on_arrays(question.subject), real)
        if own is not None and own.the_library().__name__ == "jax":
            self.call = self._other or self.call  # it would take arrays of NumPy for those of 32 bits

    def _arranged(self, function: Function, real: Sequence[str]) -> Callable[[Any, Any], Any]:
        if self.question.takes_vector:
            return with_vector(function, self.inputs, real)
        return alone(function, self.inputs)

    def __call__(self, given: At, vector: At | None) -> Any:
        """What it returns; None where it raised an exception, which is a finding."""
        called = self._called(self.call, given, vector)
        if called.error is not None and self._other is not None and self._other is not self.call:
            again = self._called(self._other, given, vector)  # one of tensors, that fails on arrays
            if again.error is None:
                self.call, called = self._other, again
        self.contract.changed(called.changed)
        if called.error is not None:
            shown = {n: np.asarray(x).tolist() for n, x in given.items() if np.size(x) <= 4}
            self.contract.raised(called.error, ", ".join(f"{n} = {x}" for n, x in shown.items()))
            return None
        if called.value is None:
            said = f"{self.contract.what} returned None: return an array, a tuple of arrays, or a mapping by name"
            self.contract.tell(Finding(FindingKind.WRONG_TYPE, "", said, fails=True))
        return called.value

    def _called(self, call: Callable[[Any, Any], Any], given: At, vector: At | None) -> Any:
        here, along = own_arguments(given), own_arguments(vector or {})
        called = call_foreign(lambda: call(here, along))
        for kind, before, after in (
            (FindingKind.INPUT_MUTATED, given, here),
            (FindingKind.UPSTREAM_MUTATED, vector or {}, along),
        ):
            arrays = {name: x for name, x in before.items() if isinstance(x, np.ndarray | np.generic | float)}
            self.contract.watch_writes(kind, arrays, after)
        return called


def _in_words(quantity: Quantity, key: Key) -> str:
    """What one block of an answer is called."""
    if quantity == "objective":
        return f"the objective's {key[0]}"
    if quantity in ("hessian", "hvp"):
        return f"{WHAT[quantity]} by {' and '.join(key)}"
    return f"{WHAT[quantity]} of {' by '.join(key)}"


def _numbers(
    subject: _Subject, parts: Mapping[Key, Any], shapes: Mapping[Key, tuple[int, ...]], dtype: Any
) -> dict[Key, Array]:
    """Each block of an answer as floats of the right shape; whatever is wrong with it is told."""
    found = {}
    for key, value in parts.items():
        label = " by ".join(key)
        what = _in_words(subject.question.quantity, key)
        numbers = as_numbers(key[-1], value, np.dtype(dtype), what)
        for fault in numbers.faults:
            subject.contract.tell(fault)
        array = fitted(numbers.array, shapes[key])
        if array is None:
            said = f"{what} has shape {numbers.array.shape}, expected {shapes[key]}"
            turned = "; is it transposed?" if numbers.array.shape == shapes[key][::-1] else ""
            subject.contract.tell(Finding(FindingKind.WRONG_SHAPE, label, said + turned, fails=True))
            array = np.full(shapes[key], np.nan)
        found[key] = array
    return found


# ------------------------------------------------------------------------------------------------------ the judgement


@dataclass(slots=True)
class _Column:
    """The rows of one block, as they come."""

    shape: tuple[int, ...]
    rows: list[tuple[int, int, Evidence]] = field(default_factory=list)
    causes: list[tuple[str, ...]] = field(default_factory=list)
    """At each point with a wrong row, what the numbers could be instead."""


class _Judged:
    """One question while it is answered."""

    def __init__(self, question: _Question) -> None:
        self.question = question
        self.columns: dict[Key, _Column] = {}
        self.points: list[Point] = []
        self.findings: list[Finding] = []
        self.notes: dict[str, None] = {}
        self.subject: _Subject | None = None
        self.case: Case | None = None
        self._symbolic: dict[int, Symbolic | None] = {}
        self._patterns: dict[Key, Array] = {}

    def look(self, known: _Known) -> None:
        """Judges one point."""
        question = self.question
        real = [item.name for item in known.case.real_inputs] if known.case is not None else _floats(known, question)
        if not real:
            raise UsageError("nothing to differentiate: at needs a float, such as at={'x': 3.0}")
        inputs = list(known.given)
        if self.subject is None:
            self.subject = _Subject(question, inputs, real)
        self.case = self.case or known.case
        shapes = {name: np.shape(known.given[name]) for name in real}
        for number, vector in enumerate(self._vectors(shapes, known)):
            shown = {**known.given, **{f"v_{n}" if n else "v": x for n, x in (vector or {}).items()}}
            origin = known.origin if number == 0 else f"{known.origin}, with another vector"
            self.points.append(Point(len(self.points), origin, known.own, shown))
            if known.case is not None:
                self._prove(known, known.case, real, vector)
            else:
                self._measure(known, real, vector)
        if question.takes_vector and known.own and len(self.points) <= MOST_PROBED * VECTORS:
            self._probe(known, real, shapes)

    def _vectors(self, shapes: Mapping[str, tuple[int, ...]], known: _Known) -> list[dict[str, Array] | None]:
        if not self.question.takes_vector:
            return [None]
        dtype = {name: np.asarray(known.given[name]).dtype for name in shapes}
        if self.question.vector is not None:
            given = {key[0]: np.asarray(x) for key, x in vector_of(self.question.vector, shapes).items()}
            for name, x in given.items():
                if x.dtype.kind not in "fiu" or x.shape != shapes[name] or not np.all(np.isfinite(x)):
                    raise UsageError(f"the vector for {name} must be {shapes[name]} finite numbers, got {x!r:.60}")
            return [{n: np.array(given.get(n, np.zeros(s)), dtype=dtype[n])[()] for n, s in shapes.items()}]
        rng = stream(self.question.settings.seed, "vectors", len(self.points))
        return [
            {n: (rng.uniform(0.5, 1.5, s) * rng.choice([-1.0, 1.0], s)).astype(dtype[n])[()] for n, s in shapes.items()}
            for _ in range(VECTORS if known.own else 1)
        ]

    # ---------------------------------------------------------------------------------------------------------- proved

    def _prove(self, known: _Known, case: Case, real: Sequence[str], vector: At | None) -> None:
        graph, question, quantity = case.graph, self.question, self.question.quantity
        inputs = known.inputs(case)
        dtype = np.result_type(*(inputs[name].dtype for name in real))
        point = Orders(graph, real, self._sympy(case, real), inputs, self._upstream(known, graph), dtype)
        along = {name: np.asarray(x) for name, x in (vector or {}).items()}
        vectors = [along] if vector is not None else []
        if question.is_second:
            point, blocks = second_blocks(point, quantity, *vectors)
        else:
            blocks = getattr(point, quantity)(*vectors)
        answer = self._answer(known, vector, {b.key: b.shape for b in blocks}, dtype, graph.outputs, real)
        rounding = self._rounding(known, vector, {b.key: b.shape for b in blocks}, point, graph.outputs, real)
        for block in blocks:
            array = answer.get(block.key)
            if array is not None:
                self._add(block, array, point, rounding, own=known.own)
        if quantity == "hessian":
            self._symmetric(answer, blocks)
        for key, array in answer.items():
            column = self.columns[key]
            if any(row[0] == len(self.points) - 1 and _is_off(row[2]) for row in column.rows):
                told = question.causes
                found = (
                    causes_of(quantity, key, array, answer, blocks, point, along)
                    if told is None
                    else told(known.given, key, array, answer, blocks, point)
                )
                column.causes.append(found)

    def _rounding(
        self,
        known: _Known,
        vector: At | None,
        shapes: Mapping[Key, tuple[int, ...]],
        point: Orders,
        outputs: Sequence[str],
        real: Sequence[str],
    ) -> Rounding:
        """Who is asked where an answer is off by more than is allowed."""
        subject = self.subject
        assert subject is not None
        dtype = np.float64 if point.unit < 2.0**-50 else np.float32

        def answer(moved: At) -> dict[Key, Array]:
            return self._answer(replace(known, given=moved), vector, shapes, dtype, outputs, real)

        return Rounding(subject.call, answer, known.given, real, vector, shapes, point.unit)

    def _sympy(self, case: Case, real: Sequence[str]) -> Symbolic | None:
        key = id(case)
        if key not in self._symbolic:
            asked = replace(self.question.settings, methods=("symbolic",), cached=False)
            found = prepared_methods(case, asked, real)[0].get("symbolic")
            self._symbolic[key] = found if isinstance(found, Symbolic) else None
        return self._symbolic[key]

    def _upstream(self, known: _Known, graph: Graph) -> dict[str, Array]:
        """The weights of the outputs of a second derivative."""
        shapes = {name: graph.shape(name) for name in graph.outputs}
        if known.seeds:
            return dict(known.seeds)
        return self.weights(shapes)

    def weights(self, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Array]:
        """What was given as ``upstream``; ones for a single number. Raises UsageError where something is missing."""
        given = self.question.upstream
        if given is not None:
            found = {key[0]: np.asarray(x, dtype=np.float64) for key, x in vector_of(given, shapes).items()}
            for name, x in found.items():
                if x.shape != shapes[name]:
                    raise UsageError(f"upstream of {name} has shape {x.shape}, {name} has {shapes[name]}")
            return {name: found.get(name, np.zeros(shape)) for name, shape in shapes.items()}
        if self.question.is_second and (len(shapes) > 1 or any(math.prod(s) != 1 for s in shapes.values())):
            outputs = ", ".join(f"{name} {shape}" for name, shape in shapes.items())
            raise UsageError(
                f"second derivatives are those of one number, and the function returns {outputs}: "
                "give upstream=, which it is contracted with, or return one number"
            )
        return {name: np.ones(shape) for name, shape in shapes.items()}

    def _answer(
        self,
        known: _Known,
        vector: At | None,
        shapes: Mapping[Key, tuple[int, ...]],
        dtype: Any,
        outputs: Sequence[str],
        real: Sequence[str],
    ) -> dict[Key, Array]:
        """The answer by block; blocks of NaN where there was none."""
        assert self.subject is not None
        raw = self.subject(known.given, vector)
        nothing = {key: np.full(shape, np.nan) for key, shape in shapes.items()}
        if raw is None:
            return nothing
        quantity = self.question.quantity
        if quantity == "jvp":
            parts = vector_of(self._tangent_of(raw, known, len(outputs)), {key[0]: s for key, s in shapes.items()})
        elif quantity == "objective":
            parts = {("grad",): raw[0], ("hess",): raw[1]}
        elif quantity == "hvp":
            parts = vector_of(raw, {key[0]: s for key, s in shapes.items()})
        else:
            first = {name: np.shape(known.given[name]) for name in real}
            rows = first
            if quantity == "jacobian":
                rows = {y: shapes[y, real[0]][: len(shapes[y, real[0]]) - len(first[real[0]])] for y in outputs}
            parts = matrix_of(raw, rows, first)
            self._pattern(raw, rows, first)
        if not parts:
            raise UsageError(f"{WHAT[quantity]} answered with nothing at all: return an array, or a mapping by name")
        if left_out := [_in_words(quantity, key) for key in shapes if key not in parts]:
            self.notes[f"not judged, because the answer leaves it out: {', '.join(left_out)}"] = None
        return _numbers(self.subject, parts, shapes, dtype)

    def _tangent_of(self, raw: Any, known: _Known, outputs: int) -> Any:
        """The tangents alone of a pair that has the function's values first."""
        if not (isinstance(raw, tuple | list) and len(raw) == 2) or outputs == 2:
            return raw
        if isinstance(raw[0], tuple | list | Mapping):
            return raw[1]
        if np.shape(raw[0]) != np.shape(raw[1]) or isinstance(raw, list):
            return raw
        value = call_foreign(lambda: by_name(self.question.function, list(known.given))(**own_arguments(known.given)))
        self.notes["of the pair that was answered the second one is judged, the first is the value"] = None
        if value.error is None and not isinstance(value.value, tuple | Mapping):
            off = np.abs(np.asarray(raw[0], float) - np.asarray(value.value, float)).max(initial=0.0)
            size = np.abs(np.asarray(value.value, float)).max(initial=1.0)
            if off > 1e-6 * size:
                said = f"{WHAT['jvp']} answers with a value that is off by {off:.3g} from that of the function"
                self.findings.append(Finding(FindingKind.FUNCTIONS_DIFFER, "", said, fails=True))
        return raw[1]

    def _add(self, block: Block, array: Array, point: Orders, rounding: Rounding, *, own: bool) -> None:
        largest = max((abs(k.midpoint) for k in block.known if not k.reason), default=0.0)
        most = point.growth * point.unit * largest
        column = self.columns.setdefault(block.key, _Column(block.shape))
        number = len(self.points) - 1
        for entry, (answer, known, allowed, hull) in enumerate(
            zip(array.ravel().tolist(), block.known, block.allowed, block.hull, strict=True)
        ):
            if hull is not None:
                evidence = Evidence({SUBJECT: answer}, own, compared=_at_kink(answer, hull, point))
            else:
                lost = point.underflow if not math.isfinite(answer) or answer == 0 else ""
                evidence = Evidence(
                    {SUBJECT: answer},
                    own,
                    unit=point.unit,
                    allowed=math.inf if lost and abs(known.midpoint) > point.floor else allowed,
                    least=point.growth * point.unit * abs(known.midpoint) + point.floor,
                    truth=known,
                    growth=point.growth,
                    disputed=point.disputed,
                    undefined=lost if abs(known.midpoint) > point.floor else "",
                    witness=rounding.witness(block.key, entry, partial(_most, point, block.key, entry, most)),
                )
            column.rows.append((number, entry, evidence))

    def _symmetric(self, answer: Mapping[Key, Array], blocks: Sequence[Block]) -> None:
        """A finding where the halves of a Hessian differ by more than rounding."""
        room = {b.key: np.reshape(b.allowed, b.shape) if b.shape else np.array(b.allowed[0]) for b in blocks}
        for (x, y), block in answer.items():
            other = answer.get((y, x))
            if other is None or (y, x) < (x, y):
                continue
            turned, slack = (_turned(known, len(other.shape), y_axes(blocks, (y, x))) for known in (other, room[y, x]))
            with np.errstate(all="ignore"):
                off = np.abs(block - turned) > room[x, y] + slack
            if off.any():
                entry = tuple(int(i) for i in np.argwhere(off)[0]) if off.ndim else ()
                said = f"{float(block[entry])!r} at {format_entry(entry)} and {float(turned[entry])!r} across from it"
                what = f"the Hessian by {x} and {y} is not symmetric: {said}"
                if not any(known.kind is FindingKind.NOT_SYMMETRIC for known in self.findings):
                    self.findings.append(Finding(FindingKind.NOT_SYMMETRIC, x, what, fails=True))

    def _pattern(self, raw: Any, rows: Mapping[str, Any], columns: Mapping[str, Any]) -> None:
        """Keeps the pattern of a sparse answer, which is held against the truth when the rows are judged."""
        pattern = pattern_of(raw)
        if pattern is None:
            return
        for key, block in matrix_of(pattern.astype(float), rows, columns).items():
            self._patterns[key] = np.asarray(block, dtype=bool)

    def patterns(self) -> Iterator[Finding]:
        """Findings for sparse answers without an entry where the truth is not 0."""
        for key, pattern in self._patterns.items():
            flat = pattern.ravel()
            missing = sorted(
                {
                    entry
                    for _, entry, e in self.columns[key].rows
                    if e.truth is not None and not e.truth.reason and not flat[entry]
                    and abs(e.truth.midpoint) > e.allowed
                }
            )  # fmt: skip
            if missing:
                places = [format_entry(tuple(int(i) for i in np.unravel_index(k, pattern.shape))) for k in missing]
                shown = ", ".join(places[:3]) + (f" and {len(places) - 3} more" if len(places) > 3 else "")
                what = WHAT[self.question.quantity]
                said = f"the pattern of {what.removeprefix('the ')} has no entry at {shown}, where the truth is not 0"
                yield Finding(FindingKind.WRONG_PATTERN, " by ".join(key), said, fails=True)

    # -------------------------------------------------------------------------------------------------------- measured

    def _measure(self, known: _Known, real: Sequence[str], vector: At | None) -> None:
        """A function that cannot be traced: what its values say."""
        self.notes[f"the function is a black box: {known.why}"] = None
        self.notes["no expression is known: what is answered is measured, nothing is proved"] = None
        plain = by_name(self.question.function, list(known.given))
        measured = MeasuredOrders(plain, known.given, real, self.weights)
        shapes = measured.shapes(self.question.quantity)
        dtype = np.result_type(*(np.asarray(known.given[name]).dtype for name in real))
        answer = self._answer(known, vector, shapes, dtype, measured.outputs, real)
        for key, array in answer.items():
            column = self.columns.setdefault(key, _Column(shapes[key]))
            for entry, claim in enumerate(array.ravel().tolist()):
                law = measured.law(self.question.quantity, key, entry, claim, vector)
                answers = {SUBJECT: claim, "central": law.estimate}
                evidence = Evidence(answers, known.own, law=law, allowed=law.uncertainty)
                column.rows.append((len(self.points) - 1, entry, evidence))

    # ----------------------------------------------------------------------------------------------------- other calls

    def _probe(self, known: _Known, real: Sequence[str], shapes: Mapping[str, tuple[int, ...]]) -> None:
        """Whether it repeats itself, and is linear in the vector; and whether the other half of a pair fits."""
        subject = self.subject
        assert subject is not None
        rng = stream(self.question.settings.seed, "probed vectors")
        seeds = {n: rng.uniform(0.5, 1.5, s).astype(np.asarray(known.given[n]).dtype) for n, s in shapes.items()}
        keys = {key: column.shape for key, column in self.columns.items()}

        def call(vector: Mapping[str, Array]) -> dict[str, Array]:
            given = {name: np.asarray(x)[()] for name, x in vector.items()}
            dtype = np.result_type(*(x.dtype for x in vector.values()))
            answer = self._answer(known, given, keys, dtype, [key[0] for key in keys], real)
            return {key[0]: x for key, x in answer.items()}

        subject.contract.probe(call, seeds, by=True)
        if self.question.vjp is not None:
            self._adjoint(known, seeds, call(seeds))

    def _adjoint(self, known: _Known, v: Mapping[str, Array], jv: Mapping[str, Array]) -> None:
        rng = stream(self.question.settings.seed, "upstream of a pair")
        u = {name: rng.uniform(0.5, 1.5, x.shape) for name, x in jv.items()}
        vjp = self.question.vjp
        assert vjp is not None
        call = with_vector(vjp, list(known.given), list(u))
        called = call_foreign(lambda: call(own_arguments(known.given), own_arguments(u)))
        if called.error is not None:
            Contract.raised(self.subject.contract, called.error, "the VJP")  # type: ignore[union-attr]
            return
        shapes = {name: x.shape for name, x in v.items()}
        back = {key[0]: np.asarray(x, float) for key, x in vector_of(called.value, shapes).items()}
        terms = [(u[n] * jv[n]).ravel() for n in u], [(back[n] * v[n]).ravel() for n in back]
        one, other = (float(sum(x.sum() for x in side)) for side in terms)
        size = float(sum(np.abs(x).sum() for side in terms for x in side))
        unit = max(float(np.finfo(x.dtype).eps) for x in v.values())
        if not abs(one - other) <= ADJOINT * unit * size:
            said = f"the JVP and the VJP are not those of one function: <u, J v> is {one!r}, <J' u, v> is {other!r}"
            self.findings.append(Finding(FindingKind.NOT_ADJOINT, "", said, fails=True))


ADJOINT = 1024.0
"""Roundings that ``<u, J v>`` and ``<J' u, v>`` may be apart by, of the sum of their terms."""


def y_axes(blocks: Sequence[Block], key: Key) -> int:
    """How many axes of a block are those of its first name.

    >>> y_axes([], ("x", "x"))
    0
    """
    for block in blocks:
        if block.key == (key[0], key[0]):
            return len(block.shape) // 2
    return 0


def _turned(array: Array, axes: int, first: int) -> Array:
    """A block with the axes of its second name before those of its first."""
    return np.transpose(array, (*range(first, axes), *range(first)))


def _most(point: Orders, key: Key, entry: int, least: float) -> float:
    """What rounding may cost a right answer at most: it excuses, and accuses nobody."""
    return max(least, SAVED * point.saved(key, entry))


def _is_off(evidence: Evidence) -> bool:
    """Whether an answer is proved to be off."""
    return evidence.is_known and bool(evidence.proof.wrong)


def _at_kink(answer: float, hull: Any, point: Orders) -> Judgement:
    """A first derivative where branches meet: what lies between the slopes of the sides is a convention."""
    with precision(192):
        low, high = float(hull.lower()), float(hull.upper())
        is_inside = math.isfinite(answer) and hull.overlaps(arb(answer, point.floor))
    sides = f"the one-sided slopes {low:.6g} and {high:.6g}"
    if is_inside:
        return Judgement(Verdict.CONVENTION, f"{point.kink}: {answer:.6g} lies between {sides}", passes=True)
    return Judgement(Verdict.FAIL, f"proved: {point.kink}: {answer:.6g} does not lie between {sides}", SUBJECT)


def _floats(known: _Known, question: _Question) -> list[str]:
    return [
        name
        for name, value in known.given.items()
        if name not in question.constants and not isinstance(value, str | None) and np.asarray(value).dtype.kind == "f"
    ]


def _judged(question: _Question) -> CaseResult:
    """All points, as a result."""
    started = time.perf_counter()
    judged = _Judged(question)
    for known in _points(question):
        judged.look(known)
    findings = list(judged.findings) + list(judged.patterns())
    findings += judged.subject.contract.findings if judged.subject is not None else []
    case, function = judged.case, question.function
    name = function.name if isinstance(function, Case) else name_of(function)
    name = "f" if name == "<lambda>" else name
    shown = case if case is not None else None
    variables = tuple(_variable(judged, key, name, shown) for key in judged.columns)
    if any(variable.counts.get(Verdict.IMPRECISE) for variable in variables):
        # Where answers are rounding for the most part they are linear in nothing.
        findings = [finding for finding in findings if finding.kind is not FindingKind.NOT_LINEAR]
    unproved = sum(v.checked for v in variables) if case is None else 0
    if not question.domain:
        judged.notes["looked at the given points alone; domain={'x': (low, high)} says where else to look"] = None
    return CaseResult(
        name=name,
        file=shown.file if shown is not None else "",
        function=tuple(shown.expressions.items()) if shown is not None else (),
        outputs=shown.graph.outputs if shown is not None else (),
        variables=variables,
        points=tuple(judged.points),
        seed=question.settings.seed,
        points_asked=question.settings.points,
        points_checked=len(judged.points),
        methods=(SUBJECT,) if case is not None else (SUBJECT, "central"),
        notes=tuple(judged.notes),
        unproved={Unproved.BLACK_BOX: unproved} if unproved else {},
        findings=tuple(findings),
        seconds=time.perf_counter() - started,
    )


def _variable(judged: _Judged, key: Key, name: str, case: Case | None) -> VariableResult:
    column, quantity = judged.columns[key], judged.question.quantity
    said = [set(causes) for causes in column.causes]
    diagnosis = tuple(c for c in column.causes[0] if all(c in other for other in said)) if said else ()
    return variable_of(
        column.rows,
        (SUBJECT,) if case is not None else (SUBJECT, "central"),
        case=name,
        name=_label(quantity, key, name),
        role="input",
        quantity=quantity,
        shape=column.shape,
        file=case.file if case is not None else "",
        line=0,
        diagnosis=diagnosis,
    )


def _label(quantity: Quantity, key: Key, name: str) -> str:
    """What a block is called in reports."""
    if quantity == "jvp":
        return f"jvp of {key[0]}"
    if quantity == "hvp":
        return f"hvp by {key[0]}"
    if quantity == "jacobian":
        return f"d{key[0]}/d{key[1]}"
    if quantity == "objective":
        return key[0]
    return f"d2{name}/d{key[0]}d{key[1]}"

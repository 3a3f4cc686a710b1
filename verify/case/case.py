"""A case: a function written once, with where to look and what is known of it from outside."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast, get_args

import numpy as np

from verify.case.expression import CONSTANTS, MAX_ENTRIES, Scope, add_stages, tie_fault
from verify.case.syntax import LONGEST_NAME, name_fault, referenced_names
from verify.case.values import (
    DRAWS,
    LARGEST_DIM,
    half_units,
    leaf_paths,
    read_array,
    read_interval,
    read_shape,
    shape_text,
    value_at,
)
from verify.case.yaml_source import Key, Keys, Source, kind_of, parse_source, source_text
from verify.errors import CaseError, FullError, Problems, UsageError, did_you_mean, shortened
from verify.graph.factors import Known
from verify.graph.graph import Graph, GraphBuilder
from verify.ops import OPS, Interval, Shape
from verify.records import html_table, one_line

if TYPE_CHECKING:
    from numpy.typing import NDArray

InputKind = Literal["real", "integer", "label", "mask", "constant"]
Draw = Literal["normal", "uniform"]

DTYPES = ("float64", "float32")
INTEGRAL = ("integer", "label", "mask")
"""Kinds whose values are whole numbers."""
RESERVED = ("note", "expect")
"""Fields of a point, which no input can be called."""
Figured = Literal["value", "gradient", "hessian"]
QUANTITIES: tuple[Figured, ...] = get_args(Figured)
"""What a case file may give figures of."""
LARGEST_WHOLE = 2**53
"""The whole number up to which a double holds every one."""
_TOO_LARGE = (
    f"the arrays of this case have more than {MAX_ENTRIES:,} entries together",
    "Make them smaller: a gradient that is wrong at large sizes is wrong at small ones too.",
)


@dataclass(frozen=True, slots=True)
class Domain:
    """The interval that an input may be in, each end in or out.

    >>> Domain(0.0, 10.0, low_open=True).contains(0.0)
    False
    >>> print(Domain(0.0, 10.0, low_open=True))
    (0, 10]
    """

    low: float
    high: float
    low_open: bool = False
    high_open: bool = False

    @classmethod
    def given(cls, name: str, pair: Any) -> Domain:
        """A domain as it is given in Python, ``(low, high)``. Raises UsageError.

        >>> print(Domain.given("x", (0, 2)))
        [0, 2]
        """
        if isinstance(pair, Domain):
            return pair
        try:
            low, high = (float(end) for end in pair)
        except (TypeError, ValueError):
            raise UsageError(f"the domain of {name} must be a pair of numbers (low, high), got {pair!r:.60}") from None
        if not low <= high:
            raise UsageError(f"the domain of {name} is empty: {pair!r}; write (low, high)")
        return cls(low, high)

    def within(self, allowed: Interval) -> Domain:
        """A domain of the same reach in which an op has values everywhere.

        >>> print(Domain(-3.0, 1.0).within(Interval(0.0, low_open=True)), Domain(2.0, 9.0).within(Interval(-1.0, 1.0)))
        (0, 3] [-1, 1]
        """
        reach = max(abs(self.low), abs(self.high))
        low, low_open = (allowed.low, allowed.low_open) if allowed.low > -reach else (-reach, False)
        if allowed.nonzero:
            low, low_open = 0.0, True
        high, high_open = (allowed.high, allowed.high_open) if allowed.high < reach else (reach, False)
        return Domain(low, high if high > low else low + 1, low_open, high_open and high > low)

    def contains(self, x: Any) -> Any:
        """Elementwise: whether ``x`` is inside; NaN never is."""
        with np.errstate(over="ignore"):  # an end that float32 cannot hold is infinite to it
            above = (x > self.low) if self.low_open else (x >= self.low)
            below = (x < self.high) if self.high_open else (x <= self.high)
        return above & below

    def __str__(self) -> str:
        """The interval as it is written: a round bracket leaves the end out."""
        return f"{'(' if self.low_open else '['}{self.low:.12g}, {self.high:.12g}{')' if self.high_open else ']'}"


@dataclass(frozen=True, slots=True)
class Input:
    """One input of a case."""

    name: str
    shape: tuple[int, ...]
    kind: InputKind
    """Only ``real`` inputs are differentiated; ``constant`` ones keep their ``at`` at every point."""
    dtype: Literal["float64", "float32"]
    domain: Domain
    """Where points may be drawn; every given value lies inside."""
    at: NDArray[np.float64] | Literal["normal", "uniform"]
    """The value at the case's first own point, or how to draw it from the seed."""
    line: int = 0


@dataclass(frozen=True, slots=True)
class Expected:
    """Figures that the case file gives for one stage or input at one of its points."""

    quantity: Figured
    name: str
    figures: NDArray[np.float64]
    """Array of the shape of ``name``; of a Hessian's block its axes come before those of ``by``."""
    half_unit: NDArray[np.float64]
    """Half a unit of the last digit that was printed, for each figure: how far the true value may be from it."""
    line: int = 0
    by: str = ""
    """The second input of a Hessian's block."""


@dataclass(frozen=True, slots=True)
class OwnPoint:
    """A point that the case file names."""

    origin: str
    """``at`` for the inputs' own values, else ``points[0]``, ``points[1]``, ..."""
    values: Mapping[str, NDArray[np.float64]]
    """Input -> value, for the inputs whose value is given; the others are drawn from the seed."""
    note: str = ""
    expected: tuple[Expected, ...] = ()
    line: int = 0


@dataclass(frozen=True, slots=True)
class Case:
    """A function written once; build one with :func:`load_case`."""

    name: str
    source: str
    file: str
    graph: Graph
    inputs: tuple[Input, ...]
    expressions: Mapping[str, str]
    """Stage -> expression as written, in order."""
    lines: Mapping[str, int]
    """Input or stage -> line of the case file."""
    upstream: Mapping[str, str] = field(default_factory=dict)
    """Output -> the input that is its upstream gradient; the other non-scalar outputs get one drawn from the seed."""
    own_points: tuple[OwnPoint, ...] = ()
    ties: Mapping[str, str] = field(default_factory=dict)
    accuracy: Literal["absolute", "relative"] = "absolute"
    order: int = 1
    """2 where second derivatives are judged too."""
    given_upstream: Mapping[str, NDArray[np.float64]] = field(default_factory=dict)
    """Output -> upstream gradient that holds at every point, for whoever asks in Python; no case file has this."""
    draws_scalar_upstream: bool = False
    """Whether scalar outputs too get an upstream gradient other than 1, everywhere but at the case's own points."""
    dims: Mapping[str, int] = field(default_factory=dict)
    """The dims that shapes of inputs name, with their sizes."""
    remake: Callable[[Mapping[str, int]], Case] | None = field(default=None, repr=False, compare=False)
    """Makes the case anew with other sizes of all dims; None where its sizes are fixed."""
    family: str = ""
    """The name that the case has whatever its sizes; empty where it has them alone."""
    shadowed: Mapping[str, int] = field(default_factory=dict)
    """Constant of formulas, such as ``e``, whose name the file gives to something of its own -> the line of that."""

    def __repr__(self) -> str:
        """The case in one line; its graph may have thousands of nodes."""
        inputs = ", ".join(item.name for item in self.inputs)
        stages = f"{len(self.expressions)} stage{'s' * (len(self.expressions) != 1)}"
        what = one_line(f"({inputs}) -> {', '.join(self.graph.outputs)}")
        where = f", {one_line(self.file)}" if self.file else ""
        return f"<{type(self).__name__} {one_line(self.name)!r}: {what}, {stages}{where}>"

    def _repr_html_(self) -> str:
        """The same for notebooks, with the formulas."""
        return html_table(repr(self), ("stage", "expression"), self.expressions.items())

    def with_dims(self, sizes: Mapping[str, int]) -> Case:
        """The same function at other sizes: inputs are drawn, constants repeat what they hold, nothing is expected.

        Dims that are left out keep their sizes. Raises UsageError for what is no dim or no size, and CaseError where
        the function has no such size.

        >>> x = "{shape: [n], at: normal}"
        >>> case = load_case_text(f"{{case: sum, dims: {{n: 3}}, inputs: {{x: {x}}}, stages: {{f: sum(x)}}}}")
        >>> smaller = case.with_dims({"n": 1})
        >>> smaller.name, smaller.inputs[0].shape
        ('sum [n=1]', (1,))
        """
        for name, size in sizes.items():
            if name not in self.dims:
                hint = did_you_mean(name, self.dims) or f"Dims: {', '.join(self.dims) or 'none'}."
                raise UsageError(f"no shape has the dim '{name}'. {hint}")
            if type(size) is not int or size < 1:
                raise UsageError(f"the size of {name} must be a whole number from 1 on, got {size!r}")
        if self.remake is None:
            raise UsageError(f"the sizes of case '{self.name}' are fixed")
        return self.remake({**self.dims, **sizes})

    @property
    def real_inputs(self) -> tuple[Input, ...]:
        """The inputs that are differentiated."""
        return tuple(item for item in self.inputs if item.kind == "real")

    @property
    def known(self) -> Known:
        """What is known of the inputs at every point.

        >>> case = load_case_text("{case: f, inputs: {x: {at: 3, domain: [1, 5]}}, stages: {f: sqrt(x)}}")
        >>> case.known.positive
        ('x',)
        """
        constants = {i.name: i.at for i in self.inputs if i.kind == "constant" and isinstance(i.at, np.ndarray)}
        positive = (i.name for i in self.inputs if i.domain.low > 0 or (i.domain.low == 0 and i.domain.low_open))
        return Known(constants, tuple(name for name in positive if name not in constants))

    @property
    def variables(self) -> tuple[str, ...]:
        """Everything the output is differentiated by: real inputs, then stages in order."""
        return (*(item.name for item in self.real_inputs), *self.graph.stages)

    @property
    def entries(self) -> int:
        """Floats in one point: the size of all inputs and stages together."""
        return sum(math.prod(self.graph.shape(name)) for name in (*self.graph.inputs, *self.graph.stages))


def load_case(path: str | Path) -> Case:
    """Reads a case file. Raises CaseError with every problem of the file, each with its place.

    >>> load_case("nowhere.yaml")
    Traceback (most recent call last):
    ...
    verify.errors.CaseError: nowhere.yaml: there is no such file. Check the path.
    """
    return load_case_text(source_text(path), str(path))


def load_case_text(text: str, file: str = "<text>") -> Case:
    """Reads a case from text; ``file`` is the name that messages use. Raises CaseError with every problem.

    >>> case = load_case_text("{case: square, inputs: {x: {at: 3}}, stages: {f: x**2}}")
    >>> case.graph.outputs, str(case.inputs[0].domain)
    (('f',), '[-1, 7]')
    """
    return _read(parse_source(text, file))


def _read(source: Source, sizes: Mapping[str, int] | None = None) -> Case:
    case = _CaseReader(source, sizes).read()
    return replace(case, remake=partial(_read, source)) if case.dims else case


class _CaseReader:
    """Checks what the parts of one file mean together. Every fault is kept, and what depends on it stays silent."""

    def __init__(self, source: Source, sizes: Mapping[str, int] | None = None) -> None:
        """``sizes`` are those of dims, where they are other than the file's own."""
        self.source = source
        self.sizes = sizes
        self.data: dict[str, Any] = source.data if isinstance(source.data, dict) else {}
        self.problems = Problems()
        given = self._mapping("dims").items()
        self.dims = {name: size for name, size in given if type(size) is int and 1 <= size <= LARGEST_DIM}
        self.dims |= sizes or {}
        self.entries = 0
        self.expressions: dict[str, str] = {}
        self.cut: set[str] = set()
        self.inputs: dict[str, Input] = {}
        self.shapes: dict[str, tuple[int, ...]] = {}

    def read(self) -> Case:
        """The case, if nothing is wrong with it. Raises CaseError."""
        try:
            case = self._read()
        except FullError:
            case = None
        if case is None or self.problems:
            unique = dict.fromkeys(self.problems)
            raise CaseError(sorted(unique, key=lambda problem: (problem.line, problem.column)))
        return case

    def _read(self) -> Case | None:
        from verify.case.format import format_problems  # pydantic takes a tenth of a second, and is for files alone

        self.problems.add(*self.source.problems, *format_problems(self.source))
        self.cut = self._join_cut_formulas()
        self._check_names()
        self._read_inputs()
        self._read_expressions()
        outputs = self._outputs()
        graph = self._graph(outputs)
        upstream = self._upstream(graph, outputs)
        ties = self._ties(graph)
        points = self._points(graph)
        if not self.problems:  # else a slip of the pen is why nothing uses it
            self._check_use(outputs, upstream)
        if self.problems or graph is None:
            return None
        return Case(
            name=self._name(),
            source=self.data.get("source", ""),
            file=self.source.file,
            graph=graph,
            inputs=tuple(self.inputs.values()),
            expressions=self.expressions,
            lines=self._lines(),
            upstream=upstream,
            own_points=points,
            ties=ties,
            accuracy=self.data.get("accuracy", "absolute"),
            order=2 if any(e.by for p in points for e in p.expected) else self.data.get("order", 1),
            dims=self._shaping_dims(),
            family=self.data["case"].strip(),
            shadowed=self._shadowed(),
        )

    def _name(self) -> str:
        name: str = self.data["case"].strip()
        if self.sizes is None:
            return name
        return f"{name} [{', '.join(f'{dim}={size}' for dim, size in self.sizes.items())}]"

    def _shaping_dims(self) -> dict[str, int]:
        """The dims that shapes name: only those can have other sizes."""
        shapes = [fields.get("shape") for fields in self._mapping("inputs").values() if isinstance(fields, dict)]
        named = {size for shape in shapes if isinstance(shape, list) for size in shape if isinstance(size, str)}
        return {name: size for name, size in self.dims.items() if name in named}

    def _shadowed(self) -> dict[str, int]:
        """Constants whose names are taken, each with the line that takes it."""
        sections = ("dims", "inputs", "stages")
        return {
            name: self._line((section, name))
            for section in sections
            for name in CONSTANTS
            if name in self._mapping(section)
        }

    # ------------------------------------------------------------------------------------------------------ helpers

    def _mapping(self, *path: Key) -> dict[str, Any]:
        """A mapping of the file; empty where there is none or (which is reported elsewhere) something else."""
        data: Any = self.data
        for key in path:
            if isinstance(data, list) and isinstance(key, int):
                data = data[key]
            else:
                data = data.get(key) if isinstance(data, dict) else None
        return data if isinstance(data, dict) else {}

    def _fault(self, path: Keys, message: str, suggestion: str, *, key: bool = False) -> None:
        self.problems.add(self.source.problem(path, message, suggestion, key=key))

    def _line(self, path: Keys) -> int:
        return self.source.marks[path].key_line

    def _lines(self) -> dict[str, int]:
        paths = [("inputs", name) for name in self._mapping("inputs")]
        return {path[-1]: self._line(path) for path in (*paths, *(("stages", name) for name in self.expressions))}

    # -------------------------------------------------------------------------------------------------------- names

    def _check_names(self) -> None:
        """Names must be usable in formulas and mean one thing only."""
        case = self.data.get("case")
        if isinstance(case, str) and case and not (case.strip() and case.isprintable()):
            self._fault(("case",), "the name of the case has unprintable characters", "Use letters and blanks.")
        elif isinstance(case, str) and len(case) > LONGEST_NAME:
            message = f"the name of the case has more than {LONGEST_NAME} characters"
            self._fault(("case",), message, "Shorten it; 'source:' takes whole sentences.")
        seen: dict[str, str] = {}
        for section in ("dims", "inputs", "stages"):
            for name in self._mapping(section):
                path = (section, name)
                if reason := name_fault(name):
                    self._fault(path, f"'{shortened(name)}' cannot be a name: {reason}", "Rename it.", key=True)
                elif name in seen:
                    where = f"'{seen[name]}' on line {self._line((seen[name], name))}"
                    message = f"the name '{shortened(name)}' is given twice (first under {where})"
                    self._fault(path, message, "Rename one.", key=True)
                elif section == "inputs" and name in RESERVED:
                    self._fault(path, f"an input cannot be called '{name}'", "It is a field of points.", key=True)
                seen.setdefault(name, section)

    # ------------------------------------------------------------------------------------------------------- inputs

    def _read_inputs(self) -> None:
        for name, fields in self._mapping("inputs").items():
            if not isinstance(fields, dict):
                continue
            try:
                self.inputs[name] = self._input(name, fields)
            except CaseError as error:
                self.problems.add(*error.problems)
        if self.inputs and not any(item.kind == "real" for item in self.inputs.values()):
            message = "no input is real, so there is nothing to differentiate by"
            self._fault(("inputs",), message, "Remove the 'kind:' of at least one input.", key=True)

    def _input(self, name: str, fields: dict[str, Any]) -> Input:
        """One input. Raises CaseError, so that an input with a fault is left out and everything else goes on."""
        path: Keys = ("inputs", name)
        kind = fields.get("kind", "real")
        dtype = fields.get("dtype", "float64")
        if "at" not in fields or kind not in get_args(InputKind) or dtype not in DTYPES:
            raise CaseError([])  # the format has reported it
        shape = self._shape((*path, "shape")) if fields.get("shape") is not None else None
        at = self._at((*path, "at"), shape, kind)
        if shape is None:
            shape = () if isinstance(at, str) else at.shape
        self.shapes[name] = shape
        domain = self._domain(path, fields, kind, dtype, at)
        value = at if isinstance(at, str) else np.broadcast_to(at, shape)
        item = Input(name, shape, kind, dtype, domain, value, self._line(path))
        if not isinstance(at, str) and self.sizes is None:
            self._check_value((*path, "at"), item, at)
        return item

    def _shape(self, path: Keys) -> Shape:
        """The shape that a file gives; all inputs together are bounded, before anything is made of them."""
        shape = read_shape(self.source, path, self.dims)
        self.entries += math.prod(shape)
        if self.entries > MAX_ENTRIES:
            known = self.entries - math.prod(shape) <= MAX_ENTRIES  # told once
            raise CaseError([self.source.problem(path, *_TOO_LARGE)] if known else [])
        return shape

    def _at(self, path: Keys, shape: tuple[int, ...] | None, kind: str) -> NDArray[np.float64] | Draw:
        """The value of an input, as it is given: a single number stands for the whole shape."""
        data = value_at(self.source, path)
        if data in ("normal", "uniform"):
            if data == "normal" and kind in INTEGRAL:
                raise CaseError([self.source.problem(path, f"a {kind} cannot be drawn normal", "Write 'at: uniform'.")])
            return cast("Draw", data)
        if isinstance(data, str):
            suggestion = did_you_mean(data, DRAWS) or "Write a number, nested lists, 'normal' or 'uniform'."
            raise CaseError([self.source.problem(path, f"expected a value, got {kind_of(data)}", suggestion)])
        values = read_array(self.source, path)
        if shape is None or values.shape in (shape, ()):
            return values
        if self.sizes is not None and values.ndim == len(shape):
            if kind == "constant" and np.ptp(values):
                message = "what these constants are at another size is not known"
                raise CaseError([self.source.problem(path, message, "Draw them, or write one number for all.")])
            return _repeated(values, shape)
        message = f"the value has shape {shape_text(values.shape)}, 'shape' says {shape_text(shape)}"
        raise CaseError([self.source.problem(path, message, "Make them agree, or leave 'shape' out.")])

    def _domain(
        self, path: Keys, fields: dict[str, Any], kind: str, dtype: str, at: NDArray[np.float64] | Draw
    ) -> Domain:
        if fields.get("domain") is None:
            return self._default_domain(path, kind, dtype, at)
        domain = Domain(*read_interval(self.source, (*path, "domain")))
        if fault := domain_fault(domain, kind, dtype):
            raise CaseError([self.source.problem((*path, "domain"), *fault)])
        if kind not in INTEGRAL:
            return domain
        whole = _whole_numbers(domain)
        if kind == "mask":
            whole = Domain(max(whole.low, 0.0), min(whole.high, 1.0))
        if whole.low > whole.high:
            message = f"the domain {domain} is empty: it holds no {'0 or 1' if kind == 'mask' else 'whole number'}"
            raise CaseError([self.source.problem((*path, "domain"), message, "Widen it.")])
        return whole

    def _default_domain(self, path: Keys, kind: str, dtype: str, at: NDArray[np.float64] | Draw) -> Domain:
        """Without ``domain``: distance at most 1 + |at| from each entry of ``at``; [-2, 2] for drawn values."""
        if kind == "mask":
            return Domain(0.0, 1.0)
        if isinstance(at, str):
            if kind == "label":
                suggestion = "Add the labels, as in 'domain: [0, 9]'."
                raise CaseError(
                    [self.source.problem(path, "a label that is drawn needs a domain", suggestion, key=True)]
                )
            return Domain(-2.0, 2.0)
        if kind == "label":
            return Domain(0.0, float(np.max(at)))
        with np.errstate(over="ignore"):
            low, high = at - 1.0 - np.abs(at), at + 1.0 + np.abs(at)
        largest = float(np.finfo(dtype).max)
        return Domain(max(float(np.min(low)), -largest), min(float(np.max(high)), largest))

    def _check_value(self, path: Keys, item: Input, values: NDArray[np.float64]) -> None:
        """Every given value must be of its input's kind and inside its domain; the first that is not is reported."""
        leaves = list(leaf_paths(path, value_at(self.source, path)))
        for faulty, message, suggestion in _value_faults(item, values):
            if faulty.any():
                entry = int(np.argmax(faulty.ravel()))
                leaf = leaves[entry] if len(leaves) > 1 else leaves[0]
                shown = f"{item.name} = {self.source.marks[leaf].text[:40]} {message}"
                raise CaseError([self.source.problem(leaf, shown, suggestion)])

    # ------------------------------------------------------------------------------------------- stages and the graph

    def _read_expressions(self) -> None:
        """The text of each stage; a number is a formula too."""
        for name, value in self._mapping("stages").items():
            path: Keys = ("stages", name)
            if name in self.cut:
                continue
            if isinstance(value, str):
                self.expressions[name] = value
            elif isinstance(value, int | float) and not isinstance(value, bool):
                self.expressions[name] = self.source.marks[path].text
            else:
                suggestion = f"Put it in quotes: {name}: 'x[0] + max(x, y)'."
                self._fault(path, f"expected a formula, got {kind_of(value)}", suggestion)

    def _join_cut_formulas(self) -> set[str]:
        """The stages whose formula YAML has cut at commas, as in `{f: max(x, y)}`: one fault is told of each."""
        whole: dict[str, str] = {}
        stages: dict[str, Any] = {}
        cut: set[str] = set()
        start = ""
        for name, value in self._mapping("stages").items():
            if value is None and start and whole[start].count("(") > whole[start].count(")"):
                whole[start] += f", {name}"
                cut.add(start)
                continue
            start, stages[name] = "", value
            if isinstance(value, str):
                start, whole[name] = name, value
        for name in cut:
            suggestion = f"Put it in quotes: {name}: '{shortened(whole[name])}'."
            self._fault(("stages", name), "a comma ends a formula between braces", suggestion)
        if cut:
            self.data = {**self.data, "stages": stages}
        return cut

    def _outputs(self) -> tuple[str, ...]:
        """The names of the outputs; the last stage, if none is given."""
        given = self.data.get("output")
        stages = tuple(self._mapping("stages"))
        if given is None:
            return stages[-1:]
        names = given if isinstance(given, list) else [given]
        if not names:
            self._fault(("output",), "the list of outputs is empty", f"Stages: {_some(stages)}.")
        seen: set[str] = set()
        for i, name in enumerate(names):
            path: Keys = ("output", i) if isinstance(given, list) else ("output",)
            if not isinstance(name, str):
                self._fault(path, f"expected the name of a stage, got {kind_of(name)}", "Write its name.")
            elif name in seen:
                self._fault(path, f"the output '{shortened(name)}' is given twice", "Remove one.")
            elif name not in self._mapping("stages"):
                is_input = name in self._mapping("inputs")
                message = f"the output '{name}' is an input" if is_input else f"unknown output '{shortened(name)}'"
                self._fault(path, message, did_you_mean(name, stages) or f"Stages: {_some(stages)}.")
            seen.update([name] if isinstance(name, str) else [])
        return tuple(name for name in dict.fromkeys(map(str, names)) if name in self._mapping("stages"))

    def _graph(self, outputs: tuple[str, ...]) -> Graph | None:
        """The graph of all stages, or None where one of them has a fault."""
        builder = GraphBuilder({op: tie for op, tie in self._mapping("ties").items() if _known_tie(op, tie)})
        declared = [*self._mapping("dims"), *self._mapping("inputs"), *self._mapping("stages")]
        scope = Scope(
            {name: builder.input(name, shape, self._line(("inputs", name))) for name, shape in self.shapes.items()},
            self.dims,
            {},
            dtype="float32" if all(item.dtype == "float32" for item in self.inputs.values()) else "float64",
        )
        usable = {*self.shapes, *self.dims, *self.expressions}
        broken = [name for name in declared if name not in usable]
        scope.later = dict.fromkeys(broken, ("", ""))
        lines = {stage: self._line(("stages", stage)) for stage in self.expressions}
        places = {stage: self.source.places(("stages", stage)) for stage in self.expressions}
        faults = add_stages(builder, self.expressions, scope, lines=lines, places=places)
        for stage, found in faults.items():
            for problem in found:
                place = places[stage][min(max(problem.column, 1), len(places[stage])) - 1]
                self.problems.add(self.source.problem_at(place, problem.message, problem.suggestion))
        self._check_size(builder, {stage: scope.names[stage] for stage in self.expressions if stage in scope.names})
        return None if faults or broken or not outputs else builder.build(outputs)

    def _check_size(self, builder: GraphBuilder, stages: Mapping[str, int]) -> None:
        """All values of a point together are bounded."""
        for stage, position in stages.items():
            self.entries += math.prod(builder.shape(position))
            if self.entries > MAX_ENTRIES:
                self._fault(("stages", stage), *_TOO_LARGE)
                return

    def _upstream(self, graph: Graph | None, outputs: tuple[str, ...]) -> dict[str, str]:
        """Output -> input that is its upstream gradient."""
        given = {name: value for name, value in self._mapping("upstream").items() if isinstance(value, str)}
        known = set(outputs)
        for output, name in given.items():
            path: Keys = ("upstream", output)
            if output not in known:
                suggestion = did_you_mean(output, outputs) or f"Outputs: {_some(outputs)}."
                self._fault(path, f"'{shortened(output)}' is not an output", suggestion, key=True)
            if name not in self._mapping("inputs"):
                suggestion = did_you_mean(name, self.inputs) or "Add it to 'inputs' with 'kind: constant'."
                self._fault(path, f"the upstream gradient '{shortened(name)}' is not an input", suggestion)
            elif name in self.inputs and self.inputs[name].kind == "real":
                message = f"the upstream gradient '{name}' must not be differentiated"
                self._fault(path, message, f"Give the input '{name}' the field 'kind: constant'.")
            elif graph is not None and output in known and name in self.shapes:
                what, whose = f"the upstream gradient '{name}'", f"the output '{output}'"
                self._check_shape(path, what, self.shapes[name], whose, graph.shape(output))
        return given

    def _check_shape(self, path: Keys, what: str, shape: Shape, whose: str, expected: Shape) -> None:
        if shape != expected:
            message = f"{what} has shape {shape_text(shape)}, {whose} has shape {shape_text(expected)}"
            self._fault(path, message, "Make the shapes agree.")

    def _ties(self, graph: Graph | None) -> dict[str, str]:
        """Op -> convention at a tie; a convention for an op that the case does not use is a slip."""
        given = {op: tie for op, tie in self._mapping("ties").items() if isinstance(tie, str)}
        used = {node.op for node in graph.nodes if node.kind == "op"} if graph is not None else set(given)
        for op, tie in given.items():
            fault = tie_fault(op, tie)
            if fault is not None:
                self._fault(("ties", op), *fault, key=op not in OPS or not OPS[op].conventions)
            elif op not in used:
                self._fault(("ties", op), f"no stage uses the op '{op}'", "Remove the convention.", key=True)
        return given

    def _check_use(self, outputs: tuple[str, ...], upstream: Mapping[str, str]) -> None:
        """An input that nothing uses is a slip of the pen, or left over."""
        used = {*outputs, *upstream.values(), *upstream}
        for text in self.expressions.values():
            used.update(referenced_names(text))
        for name in self._mapping("inputs"):
            if name not in used:
                suggestion = "Use it in a stage or under 'upstream', or remove it."
                self._fault(("inputs", name), f"nothing uses the input '{name}'", suggestion, key=True)

    # ------------------------------------------------------------------------------------------ points and figures

    def _points(self, graph: Graph | None) -> tuple[OwnPoint, ...]:
        """The points that the file names, the inputs' own values first; at other sizes there are none."""
        if self.sizes is not None:
            return ()
        literal = {name: item.at for name, item in self.inputs.items() if not isinstance(item.at, str)}
        line = self._line(("inputs",)) if "inputs" in self.data else 0
        points = [OwnPoint("at", literal, "", self._expected(("expect",), graph), line)]
        given = self.data.get("points")
        for i, fields in enumerate(given if isinstance(given, list) else []):
            if not isinstance(fields, dict):
                continue
            path: Keys = ("points", i)
            values = literal | self._point_values(path, fields)
            expected = self._expected((*path, "expect"), graph)
            points.append(OwnPoint(f"points[{i}]", values, fields.get("note", ""), expected, self._line(path)))
        return tuple(points)

    def _point_values(self, path: Keys, fields: dict[str, Any]) -> dict[str, NDArray[np.float64]]:
        values = {}
        known = self._mapping("inputs")
        for name in fields:
            if name in RESERVED:
                continue
            if name not in known:
                suggestion = did_you_mean(name, (*known, *RESERVED)) or f"Inputs: {_some(known)}."
                self._fault((*path, name), f"unknown input '{shortened(name)}'", suggestion, key=True)
            elif name in self.inputs:
                try:
                    values[name] = self._point_value((*path, name), self.inputs[name])
                except CaseError as error:
                    self.problems.add(*error.problems)
        return values

    def _point_value(self, path: Keys, item: Input) -> NDArray[np.float64]:
        values = read_array(self.source, path)
        if values.shape not in (item.shape, ()):
            message = f"the value has shape {shape_text(values.shape)}, '{item.name}' has {shape_text(item.shape)}"
            raise CaseError([self.source.problem(path, message, "Make the shapes agree.")])
        self._check_value(path, item, values)
        return np.broadcast_to(values, item.shape)

    def _expected(self, path: Keys, graph: Graph | None) -> tuple[Expected, ...]:
        """The figures of one ``expect``."""
        found: list[Expected] = []
        for quantity in QUANTITIES:
            for where in self._figured((*path, quantity), is_nested=quantity == "hessian"):
                names = [str(part) for part in where[len(path) + 1 :]]
                known = [self._names_figure(where[: len(path) + 2 + i], quantity, n) for i, n in enumerate(names)]
                if not all(known):
                    continue
                try:
                    figures, units = read_array(self.source, where), half_units(self.source, where)
                except CaseError as error:
                    self.problems.add(*error.problems)
                    continue
                if graph is not None:
                    shape = tuple(size for name in names for size in graph.shape(name))
                    whose = " by ".join(f"'{name}'" for name in names)
                    self._check_shape(where, "the figure", figures.shape, whose, shape)
                found.append(Expected(quantity, names[0], figures, units, self._line(where), *names[1:]))
        source = self.data.get("source", "")
        if found and isinstance(source, str) and not source.strip():
            suggestion = "Add 'source:', the place that the figures were taken from."
            self._fault(path, "figures are given, but not where they come from", suggestion, key=True)
        return tuple(found)

    def _figured(self, path: Keys, *, is_nested: bool) -> Iterator[Keys]:
        """Where the figures of one quantity stand: by name, or by two."""
        for name in self._mapping(*path):
            yield from self._figured((*path, name), is_nested=False) if is_nested else [(*path, name)]

    def _names_figure(self, path: Keys, quantity: str, name: str) -> bool:
        """Whether a figure's name is a stage, or an input that has such a figure."""
        inputs, stages = self._mapping("inputs"), self._mapping("stages")
        if name not in inputs and name not in stages:
            suggestion = did_you_mean(name, (*inputs, *stages)) or f"Known: {_some((*inputs, *stages))}."
            self._fault(path, f"unknown name '{shortened(name)}'", suggestion, key=True)
            return False
        if quantity == "hessian" and name not in inputs:
            message = f"'{name}' is a stage, and second derivatives are those by inputs"
            self._fault(path, message, f"Inputs: {_some(inputs)}.", key=True)
            return False
        if quantity != "value" and name in self.inputs and self.inputs[name].kind != "real":
            message = f"'{name}' is not differentiated: its kind is {self.inputs[name].kind}"
            self._fault(path, message, "Remove the figure, or the 'kind:'.", key=True)
            return False
        return True


def _some(names: Iterable[str]) -> str:
    """The first of some names, for a suggestion."""
    return ", ".join(islice(names, 20))


def domain_fault(domain: Domain, kind: str, dtype: str) -> tuple[str, str] | None:
    """Message and suggestion for a domain that an input of a kind and a dtype cannot be drawn from; None for others.

    >>> domain_fault(Domain(0.0, 1e300), "real", "float32")[0]
    'the domain [0, 1e+300] goes beyond float32, which ends at 3.4e+38'
    """
    largest = float(np.finfo(dtype).max)
    ends = [end for end in (domain.low, domain.high) if math.isfinite(end)]
    if any(abs(end) > largest for end in ends):
        return f"the domain {domain} goes beyond {dtype}, which ends at {largest:.3g}", "Use float64, or other ends."
    if kind in INTEGRAL and any(abs(end) > LARGEST_WHOLE for end in ends):
        message = f"the domain {domain} of whole numbers goes beyond {LARGEST_WHOLE:,}"
        return message, "A double holds every whole number up to there."
    first = np.array(domain.low, dtype=dtype)
    nearest = np.array([first, np.nextafter(first, np.inf)], dtype=np.float64)
    if domain.low < domain.high and not np.any(domain.contains(nearest)):
        return f"the domain {domain} holds no number of {dtype}", "Widen it."
    return None


def _repeated(values: NDArray[np.float64], shape: Shape) -> NDArray[np.float64]:
    """An array cut to another shape, or repeated along axes that are longer."""
    places = [np.arange(size) % had for size, had in zip(shape, values.shape, strict=True)]
    return values[np.ix_(*places)]


def _known_tie(op: Any, tie: Any) -> bool:
    return isinstance(tie, str) and tie_fault(op, tie) is None


def _whole_numbers(domain: Domain) -> Domain:
    """The whole numbers of a domain, as a closed one."""
    if not math.isfinite(domain.low) or not math.isfinite(domain.high):
        return domain
    low, high = math.ceil(domain.low), math.floor(domain.high)
    return Domain(low + (domain.low_open and low == domain.low), high - (domain.high_open and high == domain.high))


def _value_faults(item: Input, values: NDArray[np.float64]) -> list[tuple[Any, str, str]]:
    """Where values are not what their input allows, with message and suggestion."""
    limit = float(np.finfo(item.dtype).max)
    faults: list[tuple[Any, str, str]] = [
        (np.abs(values) > limit, f"is too large for {item.dtype}", "Use float64 or a smaller value.")
    ]
    if item.kind in INTEGRAL:
        faults.append((values != np.floor(values), f"is not a whole number, which a {item.kind} is", "Round it."))
    if item.kind == "mask":
        faults.append(((values != 0) & (values != 1), "is neither 0 nor 1, which a mask is", "Write 0 or 1."))
    if item.kind == "label":
        faults.append((values < 0, "is negative, which a label is not", "Count labels from 0."))
    suggestion = "Move the value, or widen the domain."
    faults.append((~item.domain.contains(values), f"lies outside its domain {item.domain}", suggestion))
    return faults

"""Hypothesis strategies: random formulas, graphs, cases and points, for property tests of your own and of ours.

Everything is built so that it is right by construction: shapes fit, operands of ``log``, ``sqrt``, ``/`` and ``**``
are kept inside their domains, and no draw is thrown away. Values shrink to short formulas and short decimals.

>>> from random import Random
>>> from hypothesis import find
>>> find(expressions(["x", "y"]), lambda text: "tanh" in text, random=Random(0))
'tanh(x)'
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from verify.case.case import INTEGRAL, Case, Domain, Input, load_case_text
from verify.case.expression import CALLABLE, graph_from_expressions
from verify.case.syntax import MAX_DEPTH, referenced_names
from verify.errors import ShapeError, UsageError, did_you_mean
from verify.graph.graph import Graph
from verify.ops import OPS, REAL, Jump, Op, Shape

if TYPE_CHECKING:
    from numpy.typing import NDArray

try:
    from hypothesis import strategies as st
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
        "verify.strategies needs Hypothesis, which is not installed. Run: pip install 'verify-gradients[strategies]'"
    ) from error

__all__ = ["case_texts", "cases", "expressions", "graphs", "matmul_shapes", "points", "shapes"]

EXPONENTS: Mapping[str, str] = {
    "2": "real", "3": "real", "1": "real", "0": "real", "4": "real",
    "-1": "positive", "-2": "positive", "0.5": "positive", "1.5": "positive", "-0.5": "positive",
}  # fmt: skip
"""Exponents that are drawn, each with the bases that it takes for sure."""

LITERALS = ("1", "2", "0.5", "3", "0.1", "1.5", "0.25", "10", "2.75", "1e-3", "pi")
"""Numbers that are drawn in formulas; none is 0, which would have a quotient undefined everywhere."""

SLICES = (":", "0:1", "1:", ":-1", "::-1", "::2")
"""Slices that are drawn, where they leave something."""

DOMAINS = ("[-2, 2]", "[0.5, 3]", "'(0, 4]'", "[-0.5, 1]", "[-20, 20]")
"""Domains of inputs as a case file writes them."""

VALUES = ("1", "0.5", "-1", "2", "0", "-0.25", "1.5", "-2", "0.1", "3", "1e-9")
"""Values of inputs in case files, where the domain holds them."""

GUARDED = ("log", "sqrt", "divide", "power")
"""Ops with an operand that is kept above 0."""

INPUT_NAMES = ("x", "y", "z", "W")
STEPS_TO_THE_EDGE = 12
"""Levels of syntax that one draw adds at most (an op, its guard, an index), so that no formula is nested too deep."""


# ------------------------------------------------------------------------------------------------------------ shapes


def shapes(*, max_rank: int = 3, max_side: int = 4) -> st.SearchStrategy[Shape]:
    """Shapes of arrays, from scalars up to ``max_rank`` axes of 1 to ``max_side`` entries.

    >>> from random import Random
    >>> from hypothesis import find
    >>> find(shapes(), lambda shape: len(shape) == 2, random=Random(0))
    (1, 1)
    """
    return st.lists(st.integers(1, max_side), max_size=max_rank).map(tuple)


@st.composite
def matmul_shapes(draw: st.DrawFn, *, max_side: int = 5, max_batch_rank: int = 2) -> tuple[Shape, Shape]:
    """Shapes of two operands that ``@`` multiplies: vectors, matrices, and stacks of them that broadcast.

    >>> from random import Random
    >>> from hypothesis import find
    >>> find(matmul_shapes(), lambda pair: len(pair[0]) == 2 and len(pair[1]) == 1, random=Random(0))
    ((1, 1), (1,))
    """
    side = st.integers(1, max_side)
    inner = draw(side)
    batch = draw(shapes(max_rank=max_batch_rank, max_side=3))
    left: Shape = draw(st.just((inner,)) | side.map(lambda rows: (rows, inner)))
    right: Shape = draw(st.just((inner,)) | side.map(lambda columns: (inner, columns)))
    if len(left) == 2:
        left = (*draw(_broadcastable(batch)), *left)
    if len(right) == 2:
        right = (*draw(_broadcastable(batch)), *right)
    return left, right


@st.composite
def _broadcastable(draw: st.DrawFn, shape: Shape) -> Shape:
    """Shapes that broadcast to ``shape``: leading axes left out, others of one entry."""
    kept = shape[draw(st.integers(0, len(shape))) :]
    return tuple(1 if draw(st.booleans()) else size for size in kept)


# ---------------------------------------------------------------------------------------------------------- formulas


@dataclass(frozen=True, slots=True)
class _Term:
    """A piece of a formula, with what is known of it."""

    text: str
    shape: Shape
    nodes: int
    positive: bool = False
    """Surely above 0 wherever the inputs are in their domains."""
    tight: bool = True
    """Needs no brackets as an operand."""

    @property
    def operand(self) -> str:
        """The text as an operand of an operator or a subscript."""
        return self.text if self.tight else f"({self.text})"


def expressions(
    names: Sequence[str] | Mapping[str, Shape],
    *,
    ops: Collection[str] | None = None,
    max_nodes: int = 12,
    positive: Collection[str] = (),
    guarded: bool = True,
) -> st.SearchStrategy[str]:
    """Formulas of the case language in the given names, as text.

    ``names`` are scalars, or a mapping of names to shapes; the formulas then have shapes that fit, some of them
    arrays. ``ops`` are names of rows of the op table (all without jumps, if left out); ``max_nodes`` bounds names,
    numbers and ops together. Operands of ops with a domain are kept inside it (``log(1 + x**2)``), by means of the
    other ops, unless ``guarded`` is False; names in ``positive`` are known to be inside already. Raises UsageError for
    an unknown op, or where there is no name.

    >>> from random import Random
    >>> from hypothesis import find
    >>> find(expressions({"W": (2, 3), "x": (3,)}), lambda text: "@" in text, random=Random(1))
    'W @ x'
    """
    sized = dict(names) if isinstance(names, Mapping) else dict.fromkeys(names, ())
    if not sized:
        raise UsageError("a formula needs at least one name; give names=['x']")
    return _formulas(sized, _rows(ops), max_nodes, frozenset(positive), guarded)


def _rows(ops: Collection[str] | None) -> frozenset[str]:
    for op in ops or ():
        if op not in OPS:
            raise UsageError(f"unknown op {op!r}. {did_you_mean(op, OPS) or 'Ops: ' + ', '.join(OPS)}")
        if not is_drawn(op):
            raise UsageError(f"{op} is not drawn. Ops that are: {', '.join(filter(is_drawn, OPS))}")
    return frozenset([op for op, row in OPS.items() if _is_ordinary(row)] if ops is None else ops)


def is_drawn(op: str) -> bool:
    """Whether the grammar knows how to write an op: entry by entry, or one of a few others.

    >>> is_drawn("exp"), is_drawn("softmax")
    (True, False)
    """
    return OPS[op].elementwise or op in {"matmul", "index", "transpose", "sum", "mean"}


def _is_ordinary(row: Op) -> bool:
    """Whether an op is drawn where none is asked for: it never jumps, and its operands can be kept in its domain."""
    anywhere = all(interval == REAL for interval in row.domain)
    return is_drawn(row.name) and not isinstance(row.singular, Jump) and (anywhere or row.name in GUARDED)


@st.composite
def _formulas(
    draw: st.DrawFn,
    names: Mapping[str, Shape],
    ops: frozenset[str],
    max_nodes: int,
    positive: frozenset[str],
    guarded: bool,
) -> str:
    grammar = _Grammar(draw, names, ops, positive, guarded)
    return grammar.term(draw(st.integers(min(2, max_nodes), max_nodes)), 0).text


class _Grammar:
    """Draws one formula from the outside in; what does not fit is made to fit, never drawn again."""

    def __init__(
        self, draw: st.DrawFn, names: Mapping[str, Shape], ops: frozenset[str], positive: frozenset[str], guarded: bool
    ) -> None:
        self.draw, self.ops, self.guarded = draw, ops, guarded
        self.names = [_Term(name, shape, 1, name in positive) for name, shape in names.items()]
        # The newest name stands for half of them, so that stages build on each other.
        self.leaves = self.names + self.names[-1:] * (len(names) - 2)
        self.literals = tuple(text for text in LITERALS if text not in names)
        arrays = any(names.values())
        usable = [op for op in OPS if op in ops and (arrays or op not in {"matmul", "index", "transpose", "mean"})]
        self.unary = [op for op in usable if OPS[op].arity == 1]
        self.binary = [op for op in usable if OPS[op].arity == 2]
        self.choices = [*self.unary, *self.binary, *(op for op in usable if OPS[op].arity == 4)]
        self.reserve = 0 if not guarded else 1 if ops & {"exp", "sigmoid"} else 3

    def term(self, budget: int, depth: int) -> _Term:
        """A term of at most ``budget`` nodes that depends on a name."""
        deep = depth + STEPS_TO_THE_EDGE > MAX_DEPTH
        choices = [] if deep else [op for op in self.choices if self._needs(op) < budget]
        op = self.draw(st.sampled_from(["", *choices]))
        if not op:
            return self.draw(st.sampled_from(self.leaves))
        if OPS[op].arity == 1:
            a = self.term(budget - self._needs(op), depth + 1)
            return self._one_operand(op, a, budget - 1 - a.nodes)
        return (
            self._selection(op, budget, depth + 1) if OPS[op].arity == 4 else self._two_operands(op, budget, depth + 1)
        )

    def _needs(self, op: str) -> int:
        """The nodes of an op, its guard, and its second operand."""
        return OPS[op].arity + self.reserve * (op in GUARDED)

    # --------------------------------------------------------------------------------------------------- one operand

    def _one_operand(self, op: str, a: _Term, room: int) -> _Term:  # noqa: PLR0911 - one return for each op
        if op == "power_constant":
            return self._constant_power(a, room)
        if op == "index":
            return self._subscript(a) if a.shape else a
        if op in {"sum", "mean"}:
            return self._reduction(op, a)
        if op == "transpose":
            return self._transposition(a)
        if op in {"negative", "positive"}:
            sign = "-" if op == "negative" else "+"
            kept = op == "positive" and a.positive
            return _Term(f"{sign}{a.operand}", a.shape, a.nodes + 1, kept, tight=False)
        if op in {"log", "sqrt"}:
            a = self._inside(a, room)
            if self.guarded and not a.positive:
                return a
        if OPS[op].numbers:
            static = self.draw(st.sampled_from(OPS[op].statics))
            numbers = ", ".join(f"{value:g}" for value in static.values())
            return _Term(f"{op}({a.text}, {numbers})", a.shape, a.nodes + 1)
        above = op in {"exp", "sigmoid"} or (op in {"sqrt", "abs", "relu"} and a.positive)
        return _Term(f"{op}({a.text})", a.shape, a.nodes + 1, above)

    def _inside(self, a: _Term, room: int) -> _Term:
        """A term that is surely positive, made from ``a`` by ops that may be used and ``room`` nodes."""
        if a.positive or not self.guarded:
            return a
        guards = []
        if "exp" in self.ops and room >= 1:
            guards.append(_Term(f"exp({a.text})", a.shape, a.nodes + 1, positive=True))
        if {"add", "power_constant"} <= self.ops and room >= 3:
            guards.append(_Term(f"1 + {a.operand}**2", a.shape, a.nodes + 3, positive=True, tight=False))
        if {"add", "abs"} <= self.ops and room >= 3:
            guards.append(_Term(f"0.5 + abs({a.text})", a.shape, a.nodes + 3, positive=True, tight=False))
        if "sigmoid" in self.ops and room >= 1:
            guards.append(_Term(f"sigmoid({a.text})", a.shape, a.nodes + 1, positive=True))
        if not guards:
            known = [name for name in self.names if name.positive and name.shape in {a.shape, ()}]
            return self.draw(st.sampled_from(known)) if known else a
        return self.draw(st.sampled_from(guards))

    def _constant_power(self, a: _Term, room: int) -> _Term:
        exponent = self.draw(st.sampled_from(tuple(EXPONENTS)))
        if EXPONENTS[exponent] == "positive":
            a = self._inside(a, room)
            if self.guarded and not a.positive:
                exponent = "2"
        return _Term(f"{a.operand}**{exponent}", a.shape, a.nodes + 1, a.positive, tight=False)

    def _subscript(self, a: _Term) -> _Term:
        count = self.draw(st.integers(1, len(a.shape)))
        parts = [self.draw(st.sampled_from(_positions(size))) for size in a.shape[:count]]
        shape = np.broadcast_to(0.0, a.shape)[tuple(_python_index(part) for part in parts)].shape
        return _Term(f"{a.operand}[{', '.join(parts)}]", shape, a.nodes + 1, a.positive)

    def _reduction(self, op: str, a: _Term) -> _Term:
        axis: tuple[int, ...] | None = None
        given = ""
        if bool(a.shape) and self.draw(st.booleans()):
            number = self.draw(st.integers(0, len(a.shape) - 1))
            shown = number - len(a.shape) * self.draw(st.integers(0, 1))
            axis, given = (number,), f", axis={shown}"
        keepdims = bool(a.shape) and self.draw(st.booleans())
        shape: Shape = OPS[op].shape(a.shape, axis=axis, keepdims=keepdims)
        return _Term(f"{op}({a.text}{given}{', keepdims=True' * keepdims})", shape, a.nodes + 1, a.positive)

    def _transposition(self, a: _Term) -> _Term:
        if len(a.shape) < 2 or not self.draw(st.booleans()):
            return _Term(f"transpose({a.text})", a.shape[::-1], a.nodes + 1, a.positive)
        axes: Shape = tuple(self.draw(st.permutations(range(len(a.shape)))))
        return _Term(f"transpose({a.text}, axes={axes})", tuple(a.shape[i] for i in axes), a.nodes + 1, a.positive)

    # -------------------------------------------------------------------------------------------------- two operands

    def _two_operands(self, op: str, budget: int, depth: int) -> _Term:
        if op == "matmul":
            return self._product(budget, depth)
        free = budget - self._needs(op)
        side = self.draw(st.sampled_from(("none", "right", "left")))
        if side == "none":
            a = self.term(self.draw(st.integers(1, free)), depth)
            b = self.term(free + 1 - a.nodes, depth)
        else:
            number = _Term(self.draw(st.sampled_from(self.literals)), (), 1, positive=True)
            term = self.term(free, depth)
            a, b = (term, number) if side == "right" else (number, term)
        try:
            OPS["add"].shape(a.shape, b.shape)
        except ShapeError:
            if "sum" not in self.ops:
                return a
            b = replace(b, text=f"sum({b.text})", shape=(), nodes=b.nodes + 1, tight=True)
        room = budget - a.nodes - b.nodes - 1
        if op == "divide":
            b = self._inside(b, room)
        if op == "power":
            a = self._inside(a, room)
        if self.guarded and ((op == "divide" and not b.positive) or (op == "power" and not a.positive)):
            return a
        return self._joined(op, a, b)

    def _joined(self, op: str, a: _Term, b: _Term) -> _Term:
        shape = OPS["add"].shape(a.shape, b.shape)
        above = (a.positive and b.positive and op != "subtract") or (op == "power" and a.positive)
        nodes = a.nodes + b.nodes + 1
        if op in CALLABLE:
            return _Term(f"{op}({a.text}, {b.text})", shape, nodes, above)
        sign = OPS[op].spelling.split()[1]
        return _Term(f"{a.operand} {sign} {b.operand}", shape, nodes, above, tight=False)

    def _selection(self, op: str, budget: int, depth: int) -> _Term:
        """``where`` with a comparison of a term and a number or a name, all of shapes that broadcast."""
        share = (budget - 2) // 3
        a, x, y = (self.term(share, depth) for _ in range(3))
        try:
            shape = OPS["where"].shape(a.shape, x.shape, y.shape)
        except ShapeError:
            return a
        literal = self.draw(st.sampled_from(self.literals))
        sign = self.draw(st.sampled_from((">", "<") if op == "where" else (">=", "<=")))
        text = f"where({a.operand} {sign} {literal}, {x.text}, {y.text})"
        return _Term(text, shape, a.nodes + x.nodes + y.nodes + 2, x.positive and y.positive)

    def _product(self, budget: int, depth: int) -> _Term:
        a = self.term(self.draw(st.integers(1, budget - 2)), depth)
        if not a.shape:
            a = self.draw(st.sampled_from([name for name in self.names if name.shape]))
        b = self.term(budget - 1 - a.nodes, depth)
        if not _multiply(a.shape, b.shape):
            partners = [name for name in self.names if _multiply(a.shape, name.shape)]
            if "transpose" in self.ops and len(a.shape) == 2:
                partners.append(_Term(f"transpose({a.text})", a.shape[::-1], a.nodes + 1, a.positive))
            if len(a.shape) == 1:
                partners.append(a)
            if not partners:
                return a
            b = self.draw(st.sampled_from(partners))
        shape = OPS["matmul"].shape(a.shape, b.shape)
        positive = a.positive and b.positive
        return _Term(f"{a.operand} @ {b.operand}", shape, a.nodes + b.nodes + 1, positive, tight=False)


def _multiply(a: Shape, b: Shape) -> bool:
    try:
        OPS["matmul"].shape(a, b)
    except ShapeError:
        return False
    return True


def _positions(size: int) -> list[str]:
    """Indices and slices of an axis that leave something."""
    whole = [str(i) for i in range(size)] + ["-1"]
    return whole + [text for text in SLICES if len(range(size)[_as_slice(text)])]


def _python_index(text: str) -> int | slice:
    return _as_slice(text) if ":" in text else int(text)


def _as_slice(text: str) -> slice:
    return slice(*[int(part) if part else None for part in text.split(":")])


# -------------------------------------------------------------------------------------------------- graphs and cases


@dataclass(frozen=True, slots=True)
class _Program:
    """Inputs and stages that fit together."""

    inputs: Mapping[str, Shape]
    domains: Mapping[str, str]
    stages: Mapping[str, str]
    outputs: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Size:
    """How large a program may be."""

    inputs: int
    stages: int
    nodes: int
    arrays: bool


@st.composite
def _programs(
    draw: st.DrawFn, ops: frozenset[str], size: _Size, domains_drawn: Sequence[str], guarded: bool
) -> _Program:
    names = INPUT_NAMES[: draw(st.integers(1, min(size.inputs, len(INPUT_NAMES))))]
    base: Shape = draw(shapes(max_rank=3, max_side=3)) if size.arrays else ()
    sized: dict[str, Shape] = {name: draw(_relatives(base)) for name in names}
    domains = {name: draw(st.sampled_from(domains_drawn)) for name in names}
    known, stages = dict(sized), dict[str, str]()
    positive = frozenset(name for name in names if _domain(domains[name]).low >= 0)
    count = draw(st.integers(1, size.stages))
    for number in range(count):
        stage = "f" if number == count - 1 else f"s{number + 1}"
        stages[stage] = draw(_formulas(known, ops, size.nodes, positive, guarded))
        known[stage] = graph_from_expressions(known, {stage: stages[stage]}).shape(stage)
    outputs: tuple[str, ...] = ("f",)
    if count > 1 and draw(st.integers(0, 5)) == 5:
        outputs = ("f", "s1")
    used = {name for text in stages.values() for name in referenced_names(text)}
    kept = {name: shape for name, shape in sized.items() if name in used}
    return _Program(kept, domains, stages, outputs)


@st.composite
def _relatives(draw: st.DrawFn, base: Shape) -> Shape:
    """Shapes that some op combines with ``base``: it itself, what broadcasts to it, what ``@`` multiplies it with."""
    choices = [st.just(base), st.just(()), _broadcastable(base)]
    if base:
        choices += [st.just(base[::-1]), st.just(base[-1:]), st.integers(1, 3).map(lambda n: (base[-1], n))]
    return draw(st.one_of(choices))


def graphs(
    *,
    ops: Collection[str] | None = None,
    max_inputs: int = 3,
    max_stages: int = 4,
    max_nodes: int = 8,
    arrays: bool = True,
    guarded: bool = True,
) -> st.SearchStrategy[Graph]:
    """Graphs of 1 to ``max_stages`` stages, each of at most ``max_nodes`` nodes.

    Inputs are scalars and arrays of mixed ranks that broadcast (scalars alone, unless ``arrays``). ``ops`` and
    ``guarded`` are those of :func:`expressions`; what is guarded counts on inputs between -20 and 20.

    >>> from random import Random
    >>> from hypothesis import find
    >>> graph = find(graphs(), lambda graph: len(graph.stages) == 2, random=Random(0))
    >>> list(graph.inputs), list(graph.stages)
    (['x'], ['s1', 'f'])
    """

    def built(program: _Program) -> Graph:
        return graph_from_expressions(program.inputs, program.stages, outputs=program.outputs)

    size = _Size(max_inputs, max_stages, max_nodes, arrays)
    return _programs(_rows(ops), size, DOMAINS[:1], guarded).map(built)


def case_texts(
    *,
    ops: Collection[str] | None = None,
    max_inputs: int = 3,
    max_stages: int = 4,
    max_nodes: int = 8,
    arrays: bool = True,
    guarded: bool = True,
    dtypes: Sequence[str] = ("float64",),
) -> st.SearchStrategy[str]:
    """Case files as text: dims, inputs of several kinds, stages, outputs, upstream gradients, points and ties.

    The parameters are those of :func:`graphs`; the inputs' dtype is one of ``dtypes``. No figures are expected.

    >>> from hypothesis import given, settings
    >>> @settings(max_examples=5, derandomize=True)
    ... @given(case_texts())
    ... def test_a_case_has_a_name(text):
    ...     assert text.startswith("case: random")
    >>> test_a_case_has_a_name()
    """
    size = _Size(max_inputs, max_stages, max_nodes, arrays)
    return _programs(_rows(ops), size, DOMAINS, guarded).flatmap(lambda program: _case_text(program, tuple(dtypes)))


def cases(
    *,
    ops: Collection[str] | None = None,
    max_inputs: int = 3,
    max_stages: int = 4,
    max_nodes: int = 8,
    arrays: bool = True,
    guarded: bool = True,
    dtypes: Sequence[str] = ("float64",),
) -> st.SearchStrategy[Case]:
    """Cases, loaded from the text of :func:`case_texts`; the parameters are the same.

    >>> from hypothesis import given, settings
    >>> @settings(max_examples=5, derandomize=True)
    ... @given(cases())
    ... def test_the_output_is_the_last_stage(case):
    ...     assert case.graph.outputs[0] == list(case.graph.stages)[-1]
    >>> test_the_output_is_the_last_stage()
    """
    texts = case_texts(
        ops=ops,
        max_inputs=max_inputs,
        max_stages=max_stages,
        max_nodes=max_nodes,
        arrays=arrays,
        guarded=guarded,
        dtypes=dtypes,
    )
    return texts.map(load_case_text)


@st.composite
def _case_text(draw: st.DrawFn, program: _Program, dtypes: Sequence[str]) -> str:
    graph = graph_from_expressions(program.inputs, program.stages, outputs=program.outputs)
    sizes = sorted({side for shape in program.inputs.values() for side in shape})
    dims = {"m": draw(st.sampled_from(sizes))} if draw(_rarely()) and sizes else {}
    inputs: list[str] = []
    kinds: dict[str, str] = {}
    for name, shape in program.inputs.items():
        kinds[name] = "real" if not kinds else draw(st.sampled_from(("real", "real", "constant", "integer", "mask")))
        inputs.append(f"  {name}: {draw(_input_fields(shape, kinds[name], program.domains[name], dims, dtypes))}")
    upstream = [name for name in program.outputs if draw(_rarely()) and graph.shape(name)][:1]
    inputs += [f"  g: {{shape: {list(graph.shape(name))}, at: normal, kind: constant}}" for name in upstream]
    lines = ["case: random", *_section("dims", [f"  {name}: {size}" for name, size in dims.items()])]
    lines += _section("inputs", inputs)
    lines += _section("stages", [f"  {name}: {_scalar(text)}" for name, text in program.stages.items()])
    if len(program.outputs) > 1:
        lines.append(f"output: [{', '.join(program.outputs)}]")
    lines += [f"upstream: {{{name}: g}}" for name in upstream]
    further = [draw(_further_point(kinds, program.domains)) for _ in range(draw(st.integers(0, 2)))]
    lines += _section("points", [f"  - {{{text}}}" for text in further if text])
    conventions = draw(_conventions(graph)) if draw(_rarely()) else ""
    lines += [f"ties: {{{conventions}}}"] * bool(conventions) + ["accuracy: relative"] * draw(_rarely())
    return "\n".join(lines) + "\n"


def _rarely() -> st.SearchStrategy[bool]:
    """True one time in four; shrinks to False."""
    return st.integers(0, 3).map(lambda number: number == 3)


def _section(title: str, lines: Sequence[str]) -> list[str]:
    return [f"{title}:", *lines] if lines else []


def _scalar(text: str) -> str:
    """A formula as a YAML value, in quotes where YAML would see something else in it."""
    return f"'{text}'" if re.search(r"[\[\]:]", text) else text


@st.composite
def _input_fields(
    draw: st.DrawFn, shape: Shape, kind: str, domain: str, dims: Mapping[str, int], dtypes: Sequence[str]
) -> str:
    """The fields of one input, as a flow mapping."""
    named = {size: name for name, size in dims.items()}
    number = st.sampled_from(_numbers(kind, domain))
    listed = 0 < len(shape) <= 2 and draw(_rarely())
    fields = [] if not shape or listed else [f"shape: [{', '.join(str(named.get(side, side)) for side in shape)}]"]
    draws = st.sampled_from(("uniform",) if kind in INTEGRAL else ("normal", "uniform"))
    at = draw(_nested(shape, number)) if listed else draw(number | draws)
    fields += [f"at: {at}", f"domain: {domain}"]
    fields += [] if kind == "real" else [f"kind: {kind}"]
    dtype = draw(st.sampled_from(dtypes))
    return "{" + ", ".join(fields + [f"dtype: {dtype}"] * (dtype != "float64")) + "}"


@st.composite
def _nested(draw: st.DrawFn, shape: Shape, number: st.SearchStrategy[str]) -> str:
    if not shape:
        return draw(number)
    return "[" + ", ".join(draw(_nested(shape[1:], number)) for _ in range(shape[0])) + "]"


@st.composite
def _further_point(draw: st.DrawFn, kinds: Mapping[str, str], domains: Mapping[str, str]) -> str:
    """Values of some inputs, each filling its array: entries that are all equal are ties."""
    given = [name for name in kinds if draw(st.booleans())]
    return ", ".join(f"{name}: {draw(st.sampled_from(_numbers(kinds[name], domains[name])))}" for name in given)


@st.composite
def _conventions(draw: st.DrawFn, graph: Graph) -> str:
    used = dict.fromkeys(node.op for node in graph.nodes if node.kind == "op")
    chosen = {op: draw(st.sampled_from(tuple(kink.ties))) for op in used if (kink := OPS[op].kink) is not None}
    return ", ".join(f"{op}: {tie}" for op, tie in chosen.items())


def _domain(text: str) -> Domain:
    """One of :data:`DOMAINS` as an interval."""
    inner = text.strip("'")
    low, high = inner[1:-1].split(",")
    return Domain(float(low), float(high), low_open=inner[0] == "(", high_open=inner[-1] == ")")


def _numbers(kind: str, domain: str) -> tuple[str, ...]:
    """The short numbers that an input may have."""
    interval = _domain(domain)
    fitting = [text for text in VALUES if interval.contains(float(text))]
    if kind in INTEGRAL:
        fitting = [text for text in fitting if float(text).is_integer()]
    return tuple(text for text in fitting if text in {"0", "1"}) if kind == "mask" else tuple(fitting)


# ------------------------------------------------------------------------------------------------------------ points


def points(case: Case) -> st.SearchStrategy[dict[str, NDArray[Any]]]:
    """Points of a case: for each input an array of its shape and dtype, every entry inside the input's domain.

    Entries are short decimals, zeros, ends of the domain, tiny ones, huge ones as far as the domain goes, and often
    equal to others, so that ties are met.

    >>> from random import Random
    >>> from hypothesis import find
    >>> case = load_case_text("{case: a, inputs: {x: {at: 1, domain: '(0, 4]'}}, stages: {f: log(x)}}")
    >>> find(points(case), lambda point: True, random=Random(0))
    {'x': array(1.)}
    """
    return _points(case)


@st.composite
def _points(draw: st.DrawFn, case: Case) -> dict[str, NDArray[Any]]:
    # A small pool that all entries share is what makes ties.
    pool = draw(st.lists(_entries(), min_size=1, max_size=4))
    return {item.name: draw(_arrays(item, pool)) for item in case.inputs}


def _entries() -> st.SearchStrategy[float]:
    short = st.sampled_from(tuple(float(text) for text in VALUES))
    decimal = st.integers(-999, 999).map(lambda number: number / 100)
    extreme = st.sampled_from((1e-300, -1e-300, 5e-324, 1e-8, 1e3, -1e3, 1e8, 1e100, -1e300))
    return short | decimal | extreme | st.floats(-10, 10)


@st.composite
def _arrays(draw: st.DrawFn, item: Input, pool: Sequence[float]) -> NDArray[Any]:
    entry = st.sampled_from(_fitting(item, pool))
    if item.kind not in INTEGRAL and math.isfinite(item.domain.high - item.domain.low):
        low, high = item.domain.low, item.domain.high
        anywhere = st.floats(0, 1).map(lambda share: low + share * (high - low))
        entry |= anywhere.map(lambda value: _fitting(item, [value])[0])
    flat = [draw(entry) for _ in range(math.prod(item.shape))]
    return np.array(flat, dtype=item.dtype).reshape(item.shape)


def _fitting(item: Input, pool: Iterable[float]) -> list[float]:
    """What an input can hold of some numbers and of the ends of its domain; never nothing."""
    kind = np.dtype(item.dtype).type
    ends = [end for end in (item.domain.low, item.domain.high) if math.isfinite(end)]
    found = []
    for value in (*pool, *ends, _middle(item.domain)):
        with np.errstate(over="ignore"):
            held = float(kind(round(value) if item.kind in INTEGRAL and math.isfinite(value) else value))
        if math.isfinite(held) and item.domain.contains(held):
            found.append(held)
    return list(dict.fromkeys(found)) or [_middle(item.domain)]


def _middle(domain: Domain) -> float:
    """A number inside a domain, a whole one where there is one."""
    low, high = max(domain.low, -1e3), min(domain.high, 1e3)
    if low > high:  # a domain far out
        return domain.low if math.isfinite(domain.low) else domain.high
    middle = low / 2 + high / 2
    return next((float(whole) for whole in (math.floor(middle), math.ceil(middle)) if domain.contains(whole)), middle)

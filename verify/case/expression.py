"""Text to graph: formulas go through a whitelist over Python's syntax tree, and nothing is ever executed.

A formula holds numbers, names, ``+ - * / ** @``, calls of ops from the table and subscripts with constant integers.
Everything else is a :class:`~verify.errors.Problem` with its column, and all problems of a formula are reported at
once. :mod:`verify.case.syntax` reads the text; this file gives it a meaning. Limits hold before anything is
computed.
"""

from __future__ import annotations

import ast
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any

import numpy as np

from verify.case.syntax import (
    GRAMMAR,
    Formula,
    character,
    formula_problem,
    name_fault,
    parsed,
    referenced_names,
)
from verify.errors import (
    MOST_PROBLEMS,
    CaseError,
    FullError,
    Problem,
    Problems,
    ShapeError,
    UsageError,
    did_you_mean,
    shortened,
)
from verify.graph.graph import Graph, GraphBuilder
from verify.graph.interpret import REAL_CONSTANTS
from verify.ops import OPS, Jump, Op, Shape
from verify.ops.parameters import LARGEST_INTEGER, PARAMETERS, parameter_fault

MAX_EXPONENT = 100
"""Size of a constant exponent: beyond it nearly every value leaves the range of a double."""
MAX_CONSTANT_BITS = 100_000
"""Bits of an exact constant: SymPy computes with exact rationals, and 9**9**9 would fill the memory."""
MAX_ENTRIES = 10_000_000
"""Entries of one array, and of all inputs and stages of a case together: 80 MB a point."""
MAX_CIRCLES = 10
"""Circles among stages that are reported; more help nobody."""

CONSTANTS: Mapping[str, float] = REAL_CONSTANTS
"""Names that mean numbers, unless an input, a stage or a dim has the name."""
CALLABLE: Mapping[str, Op] = {name: row for name, row in OPS.items() if row.spelling.startswith(f"{name}(")}
"""The ops that are written as calls; the others are operators."""
REDUCTIONS: Mapping[str, str] = {"max": "amax", "min": "amin"}
"""The op that a name means where it has one operand: ``max(a, b)`` is taken entry by entry, ``max(a)`` over axes."""

_BINARY: Mapping[type[ast.operator], str] = {
    ast.Add: "add",
    ast.Sub: "subtract",
    ast.Mult: "multiply",
    ast.Div: "divide",
    ast.MatMult: "matmul",
    ast.Pow: "power",
}
_COMPARISONS: Mapping[type[ast.cmpop], tuple[str, bool]] = {
    ast.Gt: ("where", False),
    ast.GtE: ("where_or_equal", False),
    ast.Lt: ("where", True),
    ast.LtE: ("where_or_equal", True),
}
"""Comparison -> its row, and whether its sides change places."""
_UNARY: Mapping[type[ast.unaryop], str] = {ast.USub: "negative", ast.UAdd: "positive"}
_OTHER_OPERATORS: Mapping[type[ast.AST], tuple[str, str]] = {
    ast.BitXor: ("'^' is no power", "Write ** for a power."),
    ast.FloorDiv: ("'//' has no derivative", "Use / for a quotient."),
    ast.Mod: ("'%' is not an op", ""),
    ast.BitAnd: ("'&' is not an op", "Use min."),
    ast.BitOr: ("'|' is not an op", "Use max."),
    ast.LShift: ("'<<' is not an op", "Multiply by a power of 2."),
    ast.RShift: ("'>>' is not an op", "Divide by a power of 2."),
    ast.Invert: ("'~' is not an op", ""),
    ast.Not: ("'not' is not an op", ""),
}
_REFUSED: Mapping[type[ast.AST], tuple[str, str]] = {
    ast.Compare: ("a comparison stands first in where, and nowhere else", "Write where(a > b, x, y)."),
    ast.BoolOp: ("'and' and 'or' are not ops", "Put one where into the other."),
    ast.IfExp: ("'if' is not allowed", "Write where(a > b, x, y)."),
    ast.Lambda: ("'lambda' is not allowed", "Write the formula itself."),
    ast.ListComp: ("a comprehension is not allowed", "Use sum(x) or array operations."),
    ast.SetComp: ("a comprehension is not allowed", "Use sum(x) or array operations."),
    ast.DictComp: ("a comprehension is not allowed", "Use sum(x) or array operations."),
    ast.GeneratorExp: ("a comprehension is not allowed", "Use sum(x) or array operations."),
    ast.JoinedStr: ("text in quotes is not a number", "Remove the quotes."),
    ast.Starred: ("'*' before an argument is not allowed", "Write the arguments one by one."),
    ast.NamedExpr: ("':=' is not allowed", "Make it a stage of its own."),
    ast.List: ("a list is not allowed", "Make it an input with a literal 'at:'."),
    ast.Tuple: ("a tuple is not allowed here", "Write one formula for each stage."),
    ast.Dict: ("braces are not allowed", "Use round brackets."),
    ast.Set: ("braces are not allowed", "Use round brackets."),
    ast.Slice: ("a slice belongs in square brackets after an array", "Write x[0:2]."),
    ast.Await: ("'await' is not allowed", "Write the formula itself."),
    ast.Yield: ("'yield' is not allowed", "Write the formula itself."),
    ast.YieldFrom: ("'yield' is not allowed", "Write the formula itself."),
}
Place = tuple[int, int]


class ExpressionError(CaseError):
    """A formula that cannot be used; ``problems`` hold the columns inside its text, counted from 1.

    Common causes: an unknown name or op, shapes that do not fit, Python that is no formula.
    """


@dataclass(slots=True)
class Scope:
    """What names mean in the formulas of one case."""

    names: dict[str, int] = field(default_factory=dict)
    """Input or earlier stage -> its node."""
    dims: Mapping[str, int] = field(default_factory=dict)
    """Integer constants."""
    later: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    """Name that cannot be used here -> message and suggestion; empty where the fault is reported elsewhere."""
    constants: dict[int, Exact] = field(default_factory=dict)
    """What is known of the nodes that depend on no input."""
    dtype: str = "float64"
    """What the formulas are computed in: no constant may be beyond it."""

    @property
    def largest(self) -> float:
        """The largest number of the dtype."""
        return float(np.finfo(self.dtype).max)


@dataclass(frozen=True, slots=True)
class Exact:
    """A constant: its value as a double, and how many bits its exact rational takes."""

    value: float
    bits: float


def add_expression(
    builder: GraphBuilder,
    text: str,
    scope: Scope,
    *,
    stage: str = "",
    line: int = 0,
    places: Sequence[Place] = (),
) -> int:
    """Adds a formula's nodes to a graph and returns the position of its value.

    ``places`` holds line and column in the file for each character; without it nodes get ``line`` and the column
    in the text. Raises ExpressionError with every problem of the formula.

    >>> b = GraphBuilder()
    >>> scope = Scope({"x": b.input("x", (3,))}, dims={"m": 3})
    >>> b.shape(add_expression(b, "sum(x**2) / m", scope))
    ()
    """
    tree, problems = parsed(text)
    if tree is None:
        raise ExpressionError(problems)
    reader = _Reader(builder, text, scope, stage=stage, line=line, places=places)
    try:
        position = reader.read(tree)
    except FullError:
        position = None
    if position is None or reader.problems:
        raise ExpressionError(sorted(set(reader.problems), key=lambda problem: problem.column))
    return position


def graph_from_expressions(
    inputs: Mapping[str, Shape],
    stages: Mapping[str, str],
    *,
    dims: Mapping[str, int] | None = None,
    outputs: Sequence[str] | None = None,
    ties: Mapping[str, str] | None = None,
) -> Graph:
    """The graph of formulas by stage, in order; the last stage is the output unless ``outputs`` says otherwise.

    Raises ExpressionError with every problem of every formula, UsageError for names that cannot be names.

    >>> graph = graph_from_expressions({"x": (), "y": ()}, {"q": "x + y", "f": "q * y"})
    >>> graph.outputs, graph.shape("f")
    (('f',), ())
    """
    for name in (*inputs, *stages):
        if reason := name_fault(name):
            raise UsageError(f"{name!r} cannot be a name: {reason}")
    for op, convention in (ties or {}).items():
        if fault := tie_fault(op, convention):
            raise UsageError(" ".join(fault))
    chosen = tuple(outputs or tuple(stages)[-1:])
    for output in chosen or ("(none)",):
        if output not in stages:
            raise UsageError(f"unknown output {output!r}. The stages are: {', '.join(stages) or 'none'}")
    builder = GraphBuilder(ties)
    scope = Scope({name: builder.input(name, shape) for name, shape in inputs.items()}, dims or {})
    faults = add_stages(builder, stages, scope)
    if faults:
        raise ExpressionError(
            replace(problem, message=f"stage {stage!r}: {problem.message}")
            for stage, problems in faults.items()
            for problem in problems
        )
    return builder.build(chosen)


def add_stages(
    builder: GraphBuilder,
    stages: Mapping[str, str],
    scope: Scope,
    *,
    lines: Mapping[str, int] | None = None,
    places: Mapping[str, Sequence[Place]] | None = None,
) -> dict[str, Sequence[Problem]]:
    """Adds the formulas of all stages in order; returns the problems by stage, with columns inside each formula.

    A stage that is used before it is defined, and stages that use each other in a circle, get messages of their own.

    >>> b = GraphBuilder()
    >>> faults = add_stages(b, {"f": "q * 2", "q": "x + 1"}, Scope({"x": b.input("x")}))
    >>> faults["f"][0].headline()
    "stage 'q' is defined later. Move it above 'f'."
    """
    lines, places = lines or {}, places or {}
    found: dict[str, list[Problem]] = {}
    used = {stage: referenced_names(text) for stage, text in stages.items()}
    order = {stage: i for i, stage in enumerate(stages)}
    on_circle: set[tuple[str, str]] = set()
    for circle in _circles(used):
        on_circle.update(pairwise(circle))
        found.setdefault(circle[0], []).append(_circle_problem(circle, stages[circle[0]], used))
    unnamed = dict(scope.later)
    for stage, text in stages.items():
        scope.later = {
            **unnamed,
            **{
                name: ("", "") if (stage, name) in on_circle else _later(name, stage, lines.get(name, 0))
                for name in used[stage]
                if name not in scope.names and name not in unnamed and order.get(name, -1) >= order[stage]
            },
        }
        try:
            position = add_expression(
                builder, text, scope, stage=stage, line=lines.get(stage, 0), places=places.get(stage, ())
            )
        except ExpressionError as error:
            found.setdefault(stage, []).extend(error.problems)
            unnamed[stage] = ("", "")
            if sum(map(len, found.values())) >= MOST_PROBLEMS:
                break
        else:
            builder.name(stage, position)
            scope.names[stage] = position
    scope.later = unnamed
    return {stage: problems for stage, problems in found.items() if problems}


def _later(name: str, stage: str, line: int) -> tuple[str, str]:
    where = f", on line {line}" if line else ""
    return f"stage '{name}' is defined later{where}", f"Move it above '{stage}'."


def _circle_problem(circle: Sequence[str], text: str, used: Mapping[str, Mapping[str, int]]) -> Problem:
    message = f"these stages use each other in a circle: {' -> '.join(circle)}"
    if len(set(circle)) == 1:
        message = f"the stage uses itself: {' -> '.join(circle)}"
    column = used[circle[0]][circle[1]]
    return formula_problem(text, column, message, "A stage may use inputs and earlier stages only.")


def _circles(used: Mapping[str, Mapping[str, int]]) -> list[list[str]]:
    """Circles among stages, each as ``[a, b, a]``: a depth-first walk with its own stack."""
    circles: list[list[str]] = []
    done: set[str] = set()
    for start in used:
        path: dict[str, Iterable[str]] = {} if start in done else {start: iter(used[start])}
        while path and len(circles) < MAX_CIRCLES:
            stage = next(reversed(path))
            following = next((name for name in path[stage] if name in used and name not in done), None)
            if following is None:
                done.add(stage)
                del path[stage]
            elif following in path:
                walked = list(path)
                circles.append([*walked[walked.index(following) :], following])
            else:
                path[following] = iter(used[following])
    return circles


def tie_fault(op: str, convention: str) -> tuple[str, str] | None:
    """Message and suggestion for a convention at ties that the op table does not know; None where it does.

    >>> tie_fault("max", "bth")
    ("unknown convention 'bth' for ties of max", "Did you mean 'both'?")
    """
    kinked = [name for name, row in OPS.items() if row.conventions]
    if op not in kinked:
        return f"the op '{op}' has no ties", did_you_mean(op, kinked) or f"Ops with ties: {', '.join(kinked)}."
    ties = OPS[op].conventions
    if convention in ties:
        return None
    suggestion = did_you_mean(convention, ties) or f"It has: {', '.join(ties)}."
    return f"unknown convention '{convention}' for ties of {op}", suggestion


# -------------------------------------------------------------------------------------------- syntax tree to graph


class _RefusedError(Exception):
    """Carries one problem out of a helper that reads constants."""

    def __init__(self, node: ast.AST, message: str, suggestion: str = "") -> None:
        super().__init__(message)
        self.node, self.message, self.suggestion = node, message, suggestion


class _Reader:
    """Turns one syntax tree into nodes. A handler returns a node's position, or None where it has reported why not."""

    def __init__(
        self, builder: GraphBuilder, text: str, scope: Scope, *, stage: str, line: int, places: Sequence[Place]
    ) -> None:
        self.builder, self.text, self.scope = builder, text, scope
        self.stage, self.line, self.places = stage, line, places
        self.problems = Problems()
        self.made: set[int] = set()

    def read(self, tree: Formula) -> int | None:
        """The position of the whole formula, as an op node of its own."""
        position = self._node(tree)
        if position is None or position in self.made:
            return position
        return self._apply(tree, "positive", (position,))  # "f: x" and "f: 2" get a node that can bear the stage's name

    def _node(self, node: Formula) -> int | None:
        handler = _HANDLERS.get(type(node))
        if handler is None:
            self._report(node, *_REFUSED.get(type(node), ("this is not allowed in a formula", GRAMMAR)))
            return None
        try:
            return handler(self, node)
        except _RefusedError as refused:
            self._report(refused.node, refused.message, refused.suggestion)
            return None

    def _report(self, node: ast.AST, message: str, suggestion: str = "") -> None:
        column = character(self.text, getattr(node, "col_offset", 0)) + 1
        self.problems.add(formula_problem(self.text, column, message, suggestion))

    def _written(self, node: ast.AST) -> str:
        """The node as it is written."""
        start, end = getattr(node, "col_offset", 0), getattr(node, "end_col_offset", 0)
        return self.text[character(self.text, start) : character(self.text, end)]

    def _shown(self, node: ast.AST) -> str:
        return f"'{shortened(self._written(node))}'"

    def _place(self, node: ast.AST) -> Place:
        offset = character(self.text, getattr(node, "col_offset", 0))
        return self.places[offset] if offset < len(self.places) else (self.line, offset + 1)

    # ------------------------------------------------------------------------------------------- numbers and names

    def number(self, node: ast.Constant) -> int:
        """A literal: the double that it parses to."""
        return self._constant(node, _literal(node, self._written(node)), self._written(node))

    def name(self, node: ast.Name) -> int | None:
        """An input, an earlier stage, a dim, ``pi`` or ``e``."""
        name, scope = node.id, self.scope
        if name in scope.names:
            return scope.names[name]
        if name in scope.later:
            message, suggestion = scope.later[name]
            if not message:
                return None
            raise _RefusedError(node, message, suggestion)
        if name in scope.dims:
            return self._constant(node, float(scope.dims[name]), str(scope.dims[name]))
        if name in CONSTANTS:
            return self._constant(node, CONSTANTS[name], name)
        known = (*scope.names, *scope.dims, *CONSTANTS)
        if name in CALLABLE:
            raise _RefusedError(node, f"'{name}' is an op, not a name", f"Write {CALLABLE[name].spelling}.")
        suggestion = did_you_mean(name, known) or f"Known here: {', '.join(known[:20])}."
        raise _RefusedError(node, f"unknown name '{shortened(name)}'", suggestion)

    def _constant(self, node: ast.AST, value: float, text: str) -> int:
        line, column = self._place(node)
        self._check_range(node, value)
        position = self.builder.constant(value, text, stage=self.stage, line=line, column=column)
        self.scope.constants[position] = Exact(value, sum(part.bit_length() for part in value.as_integer_ratio()))
        return position

    def _check_range(self, node: ast.AST, value: float) -> None:
        if abs(value) > self.scope.largest:
            message = f"{self._shown(node)} is too large for {self.scope.dtype}, which all inputs are held in"
            raise _RefusedError(node, message, f"The largest is {self.scope.largest:.3g}; or use float64.")

    # ------------------------------------------------------------------------------------------------- operations

    def unary(self, node: ast.UnaryOp) -> int | None:
        """A sign."""
        operand = self._node(node.operand)
        op = _UNARY.get(type(node.op))
        if op is None:
            raise _RefusedError(node, *_OTHER_OPERATORS[type(node.op)])
        return self._apply(node, op, (operand,))

    def binary(self, node: ast.BinOp) -> int | None:
        """An operator between two operands; a long sum leans to the left and is walked without recursion."""
        spine = [node]
        while isinstance(spine[-1].left, ast.BinOp):
            spine.append(spine[-1].left)
        left = self._node(spine[-1].left)
        for part in reversed(spine):
            left = self._operation(part, left)
        return left

    def _operation(self, node: ast.BinOp, left: int | None) -> int | None:
        op = _BINARY.get(type(node.op))
        exponent = self._literal_exponent(node.right) if op == "power" else None
        right = None if exponent is not None else self._node(node.right)
        if op is None:
            self._report(node, *_OTHER_OPERATORS[type(node.op)])
            return None
        if op == "power" and not self._exponent_fits(node, right, exponent):
            return None
        if exponent is not None:
            return self._apply(node, "power_constant", (left,), {"exponent": exponent})
        base = self.scope.constants.get(-1 if left is None else left)
        if op == "power" and base is not None and base.value <= 0 and right not in self.scope.constants:
            message = f"{self._shown(node)} has a base that is not above 0 and an exponent that varies: no derivative"
            self._report(node.left, message, "Write a base above 0.")
            return None
        return self._apply(node, op, (left, right))

    def _literal_exponent(self, node: Formula) -> float | None:
        """The exponent where it is written as a number or a dim: such a power has no second variable."""
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, (ast.USub, ast.UAdd)):
            exponent = self._literal_exponent(node.operand)
            return -exponent if exponent is not None and isinstance(node.op, ast.USub) else exponent
        if isinstance(node, ast.Name) and node.id in self.scope.dims and node.id not in self.scope.names:
            return float(self.scope.dims[node.id])
        is_number = isinstance(node, ast.Constant) and type(node.value) in (int, float)
        return _literal(node, self._written(node)) if isinstance(node, ast.Constant) and is_number else None

    def _exponent_fits(self, node: ast.BinOp, right: int | None, exponent: float | None) -> bool:
        known = self.scope.constants.get(-1 if right is None else right)
        size = abs(known.value if known is not None else exponent or 0.0)
        if size > MAX_EXPONENT:
            suggestion = f"Exponents up to {MAX_EXPONENT} are read."
            self._report(node.right, f"the exponent {size:.6g} is larger than {MAX_EXPONENT}", suggestion)
        return size <= MAX_EXPONENT

    def call(self, node: ast.Call) -> int | None:
        """An op by its name in the table."""
        if not isinstance(node.func, ast.Name):
            for arg in node.args:
                self._node(arg)
            raise _RefusedError(node.func, *self._not_callable(node.func))
        name = node.func.id
        if name in REDUCTIONS and len(node.args) == 1:
            name = REDUCTIONS[name]
        if name == "where":
            return self._selection(node)
        row = CALLABLE.get(name)
        faults = len(self.problems)
        params: dict[str, Any] = {}
        operands, positional = (node.args, []) if row is None else self._split(row, node, params)
        args = [self._node(arg) for arg in operands]
        if row is None:
            self._report(node.func, *self._unknown_op(name))
            return None
        for key, value in zip((*row.required, *row.numbers), positional, strict=False):
            self._read_param(row, ast.keyword(key, value), params)
        for item in node.keywords:
            self._read_param(row, item, params)
        if len(operands) < (1 if row.variadic else row.arity) or len(positional) > len(row.required) + len(row.numbers):
            self._report(node, *_wrong_count(row, len(operands) + len(positional)))
        needed = (*row.required, *(key for key, value in row.numbers.items() if value is None))
        missing = [key for key in needed if key not in params]
        if missing and len(self.problems) == faults:
            self._report(node, f"{row.name} needs {' and '.join(missing)}", f"Write {row.spelling}.")
        return None if len(self.problems) > faults else self._apply(node, name, args, {**row.numbers, **params})

    def _selection(self, node: ast.Call) -> int | None:
        """``where(a > b, x, y)``: the one place of a comparison."""
        if node.keywords or len(node.args) != 3:
            message = f"where takes 3 arguments, a comparison and two values, got {len(node.args)}"
            if node.keywords:
                message = "where takes no parameters by name"
            raise _RefusedError(node, message, "Write where(a > b, x, y).")
        faults = len(self.problems)
        compared = self._comparison(node.args[0])
        branches = [self._node(arg) for arg in node.args[1:]]
        if compared is None or len(self.problems) > faults:
            return None
        op, a, b = compared
        return self._apply(node, op, (a, b, *branches))

    def _comparison(self, node: Formula) -> tuple[str, int | None, int | None] | None:
        """The row of a comparison and what it compares; ``a < b`` is ``b > a``."""
        if not isinstance(node, ast.Compare):
            self._report(node, f"where needs a comparison first, got {self._shown(node)}", "Write where(a > b, x, y).")
            return None
        a, b = self._node(node.left), self._node(node.comparators[0])
        if len(node.ops) > 1:
            self._report(node, "where compares two values, not more", "Put one where into the other.")
            return None
        found = _COMPARISONS.get(type(node.ops[0]))
        if found is None:
            self._report(node, f"where cannot decide by {self._shown(node)}", "It compares by > >= < or <=.")
            return None
        op, is_turned = found
        return (op, b, a) if is_turned else (op, a, b)

    def _split(self, row: Op, node: ast.Call, params: dict[str, Any]) -> tuple[Sequence[ast.expr], Sequence[ast.expr]]:
        """The arguments of a call that are operands, and those that are parameters written by position."""
        args = node.args
        if row.variadic == "list":
            if args and not isinstance(args[0], ast.List | ast.Tuple):
                raise _RefusedError(args[0], f"{row.name} takes a list of arrays", f"Write {row.spelling}.")
            return (args[0].elts, args[1:]) if args and isinstance(args[0], ast.List | ast.Tuple) else ((), ())
        if row.variadic == "text first":
            text = args[0] if args else None
            if not isinstance(text, ast.Constant) or not isinstance(text.value, str):
                raise _RefusedError(text or node, f"{row.name} begins with a text", f"Write {row.spelling}.")
            params[row.params[0]] = text.value
            return args[1:], ()
        return args[: row.arity], args[row.arity :]

    def _unknown_op(self, name: str) -> tuple[str, str]:
        if name in OPS:
            return f"'{name}' is an operator and cannot be called", f"Write {OPS[name].spelling}."
        if name in self.scope.names or name in self.scope.dims or name in CONSTANTS:
            return f"'{name}' is not an op and cannot be called", f"Write {name} * (...) for a product."
        return f"unknown op '{shortened(name)}'", did_you_mean(name, CALLABLE) or f"Ops: {', '.join(CALLABLE)}."

    def _not_callable(self, node: Formula) -> tuple[str, str]:
        if not isinstance(node, ast.Attribute):
            return "only ops can be called", "Put * before the bracket for a product."
        if node.attr in CALLABLE:
            return "attribute access is not allowed", f"Write {CALLABLE[node.attr].spelling}."
        return "attribute access is not allowed", f"Ops: {', '.join(CALLABLE)}."

    def _read_param(self, row: Op, item: ast.keyword, params: dict[str, Any]) -> None:
        if item.arg is None:
            self._report(item, "'**' before an argument is not allowed", "Write the parameters one by one.")
        elif item.arg not in row.params:
            has = f"It has: {', '.join(row.params)}." if row.params else "It has none."
            if row.name in REDUCTIONS and item.arg in OPS[REDUCTIONS[row.name]].params:
                has = f"With one array it is a reduction: {row.name}(a, {item.arg}=...)."
            suggestion = did_you_mean(item.arg, row.params) or has
            self._report(item, f"unknown parameter '{shortened(item.arg)}' of {row.name}", suggestion)
        elif item.arg in params:
            self._report(item, f"the parameter '{item.arg}' is given twice", "Remove one of them.")
        else:
            try:
                params[item.arg] = self._param(row, item.arg, item.value)
            except _RefusedError as refused:
                self._report(refused.node, refused.message, refused.suggestion)

    def _param(self, row: Op, name: str, node: Formula) -> Any:
        """A static parameter; what each may be is said in the table of parameters."""
        value = self._number(node, name) if name in row.numbers else self._static(node, name)
        if fault := parameter_fault(row, name, value):
            raise _RefusedError(node, fault)
        return value

    def _number(self, node: Formula, name: str) -> float:
        """A number that is written as one, with a sign perhaps, or a dim."""
        try:
            value = self._literal_exponent(node)
        except _RefusedError as refused:
            raise _RefusedError(refused.node, f"{name}: {refused.message}", refused.suggestion) from None
        if value is None:
            raise _RefusedError(node, f"{name} must be a number, got {self._shown(node)}", "Write it out, such as 0.5.")
        self._check_range(node, value)
        return value

    def _static(self, node: Formula, name: str) -> Any:
        """A value that is written out: nothing, a flag, a whole number, or these in brackets."""
        if isinstance(node, ast.Tuple):
            return tuple(self._static(item, name) for item in node.elts)
        if isinstance(node, ast.Constant) and (node.value is None or isinstance(node.value, bool)):
            return node.value
        return self._integer(node, name)

    def attribute(self, node: ast.Attribute) -> None:
        """Refused; the usual ones have an op."""
        whole = shortened(self._written(node.value))
        instead = f"Use transpose({whole})." if node.attr == "T" else "Use ops, as in exp(x)."
        raise _RefusedError(node, f"attribute access '.{node.attr}' is not allowed", instead)

    # ------------------------------------------------------------------------------------------------- subscripts

    def subscript(self, node: ast.Subscript) -> int | None:
        """Constant indices, slices, and lists of indices or flags."""
        array = self._node(node.value)
        items = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
        index: list[Any] = []
        faults = len(self.problems)
        for item in items:
            try:
                index.append(self._place_in_index(item))
            except _RefusedError as refused:
                self._report(refused.node, refused.message, refused.suggestion)
        op = "gather" if any(isinstance(part, tuple) for part in index) else "index"
        return None if len(self.problems) > faults else self._apply(node, op, (array,), {"index": tuple(index)})

    def _place_in_index(self, item: Formula) -> Any:
        if isinstance(item, ast.Slice):
            return self._slice(item)
        if isinstance(item, ast.Constant) and item.value in (None, Ellipsis):
            return item.value
        if not isinstance(item, ast.List):
            return self._integer(item, "an index")
        if not item.elts:
            raise _RefusedError(item, "a list of no indices picks nothing", "Write x[[0, 2]].")
        flags = [isinstance(part, ast.Constant) and isinstance(part.value, bool) for part in item.elts]
        if all(flags):
            return tuple(isinstance(part, ast.Constant) and part.value is True for part in item.elts)
        if any(flags):
            raise _RefusedError(item, "a list in an index has whole numbers or flags, not both", "Write x[[0, 2]].")
        return tuple(self._integer(part, "an index") for part in item.elts)

    def _slice(self, node: ast.Slice) -> slice:
        bounds = [node.lower, node.upper, node.step]
        lower, upper, step = (None if bound is None else self._integer(bound, "a slice") for bound in bounds)
        if step == 0:
            raise _RefusedError(node, "a slice with step 0 never ends", "Use a step such as 1 or -1.")
        return slice(lower, upper, step)

    def _integer(self, node: Formula, what: str) -> int:
        """A whole number that is known here: a literal, a dim, or a sum, difference or product of such."""
        if isinstance(node, ast.Constant) and type(node.value) is int:
            if node.value >= LARGEST_INTEGER:
                raise _RefusedError(node, "this whole number is too large for an index or an axis")
            return node.value
        if isinstance(node, ast.Name) and node.id in self.scope.dims and node.id not in self.scope.names:
            return self.scope.dims[node.id]
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, (ast.USub, ast.UAdd)):
            value = self._integer(node.operand, what)
            return -value if isinstance(node.op, ast.USub) else value
        if isinstance(node, ast.BinOp) and type(node.op) in _INTEGER_OPERATIONS:
            value = _INTEGER_OPERATIONS[type(node.op)](self._integer(node.left, what), self._integer(node.right, what))
            if abs(value) < LARGEST_INTEGER:
                return value
        expected = PARAMETERS[what].says if what in PARAMETERS else "a whole number"
        raise _RefusedError(node, f"{what} must be {expected}, got {self._shown(node)}", "Use numbers and dims.")

    # ------------------------------------------------------------------------------------------- nodes and limits

    def _apply(
        self, node: ast.AST, op: str, args: Sequence[int | None], params: Mapping[str, Any] | None = None
    ) -> int | None:
        operands = tuple(arg for arg in args if arg is not None)
        if len(operands) < len(args):
            return None
        line, column = self._place(node)
        static = dict(params or {})
        try:
            self._check_constants(node, op, operands, static)
            position = self.builder.apply(op, *operands, params=static, stage=self.stage, line=line, column=column)
            self._check_size(node, position)
            self._remember(node, position, op, operands, static)
        except ShapeError as error:
            self._report(node, f"{error} in {self._shown(node)}")
            return None
        except _RefusedError as refused:
            self._report(refused.node, refused.message, refused.suggestion)
            return None
        self.made.add(position)
        return position

    def _check_size(self, node: ast.AST, position: int) -> None:
        shape = self.builder.shape(position)
        if math.prod(shape) > MAX_ENTRIES:
            raise _RefusedError(node, f"an array of shape {shape} has more than {MAX_ENTRIES:,} entries")
        if 0 in shape:
            raise _RefusedError(node, f"{self._shown(node)} has no entries (shape {shape})")

    def _check_constants(self, node: ast.AST, op: str, args: Sequence[int], params: Mapping[str, Any]) -> None:
        """Refuses constants that SymPy would compute exactly with more bits than fit, such as 9**9**9."""
        known = [self.scope.constants[arg] for arg in args if arg in self.scope.constants]
        if len(known) == len(args) and _bits(op, known, params) > MAX_CONSTANT_BITS:
            raise _RefusedError(node, f"the constant {self._shown(node)} takes too many digits to compute exactly")

    def _remember(self, node: ast.AST, position: int, op: str, args: Sequence[int], params: Mapping[str, Any]) -> None:
        """The value of a node without inputs; one that is no finite number would be so at every point."""
        known = [self.scope.constants[arg] for arg in args if arg in self.scope.constants]
        if len(known) < len(args) or self.builder.shape(position) != ():
            return
        row = OPS[op]
        tie = {"tie": next(iter(row.conventions.values()))} if row.conventions else {}
        params = self.builder.params(position)
        with np.errstate(all="ignore"):
            value = float(row.forward(*(np.array([item.value]) for item in known), **{**params, **tie})[0])
        if not math.isfinite(value):
            raise _RefusedError(node, f"the constant {self._shown(node)} is {value}", "It must be a finite number.")
        self._check_range(node, value)
        self.scope.constants[position] = Exact(value, _bits(op, known, params))


def _literal(node: ast.Constant, written: str) -> float:
    if isinstance(node.value, str | bytes):
        raise _RefusedError(node, "text in quotes is not a number", "Remove the quotes.")
    if type(node.value) not in (int, float):
        raise _RefusedError(node, f"'{written}' is not a real number", "Write a number such as 2 or 0.5.")
    if not re.fullmatch(r"[0-9]*\.?[0-9]*([eE][-+]?[0-9]+)?", written):
        raise _RefusedError(node, f"'{written}' is not a decimal number", "Write it with the digits 0 to 9.")
    value = float(node.value)  # type: ignore[arg-type]  # an int or a float, as was just checked
    if not math.isfinite(value):
        raise _RefusedError(node, f"{written} is too large for a double", "The largest is 1.8e308.")
    if value == 0 and re.search("[1-9]", re.split("[eE]", written)[0]):
        raise _RefusedError(node, f"{written} is too small for a double, which would be 0", "The smallest is 5e-324.")
    return value


def _wrong_count(row: Op, count: int) -> tuple[str, str]:
    if row.variadic:
        return f"{row.name} takes one array or more, got {count or 'none'}", f"Write {row.spelling}."
    takes = row.arity + len(row.numbers)
    message = f"{row.name} takes {takes} argument{'s' * (takes != 1)}, got {count}"
    if row.numbers:
        return message, f"Write {row.spelling}."
    if count > row.arity and row.params:
        return message, f"Give parameters by name: {row.params[0]}=..."
    if count > row.arity > 1 and not isinstance(row.singular, Jump):
        return message, f"Nest them: {row.name}({row.name}(a, b), c)."
    return message, f"Write {row.spelling}."


def _bits(op: str, known: Sequence[Exact], params: Mapping[str, Any]) -> float:
    """An upper bound of the bits of an exact result; functions such as exp stay unevaluated."""
    bits = sum(item.bits for item in known) + 1
    if op == "power_constant":
        return bits * max(1.0, abs(float(params["exponent"])))
    return bits * max(1.0, abs(known[1].value)) if op == "power" else bits


_INTEGER_OPERATIONS: Mapping[type[ast.operator], Callable[[int, int], int]] = {
    ast.Add: lambda a, b: a + b,
    ast.Sub: lambda a, b: a - b,
    ast.Mult: lambda a, b: a * b,
}

_HANDLERS: Mapping[type[ast.AST], Callable[[_Reader, Any], int | None]] = {
    ast.Constant: _Reader.number,
    ast.Name: _Reader.name,
    ast.UnaryOp: _Reader.unary,
    ast.BinOp: _Reader.binary,
    ast.Call: _Reader.call,
    ast.Attribute: _Reader.attribute,
    ast.Subscript: _Reader.subscript,
}
"""The whitelist: what is not here is refused."""

"""SymPy differentiates the expressions by its own rules; this file knows neither the engine nor its VJPs.

Where the substituted expression is short, SymPy differentiates it whole: the *closed form*. Products of matrices of
any size are differentiated whole by SymPy's matrix calculus. Everything else goes *by stages*, since substitution
explodes: the graph is cut into pieces, SymPy gives each piece's partial derivatives once, with the piece's operands
as plain real symbols, and totals come from the sparse triangular system that these partials form: the total
derivative by a variable is the sum over the pieces that read it. The method's forward pass, too, is SymPy's.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import mpmath
import numpy as np
import sympy
from numpy.typing import NDArray

from verify.derivative import ClosedForm, Derivative, Unsupported
from verify.formula import EXACT_DIGITS, Formulas, can_evaluate, differentiated, formula_text
from verify.graph import Graph, Node
from verify.interpret import REAL_CONSTANTS
from verify.ops import OPS, Shape, exact_rational

LARGEST_CLOSED_FORM = 160
"""Operations in an expression that SymPy still differentiates whole; beyond, by stages."""

MOST_CLOSED_ENTRIES = 24
"""Entries of a variable whose partial derivatives are still written out one by one."""

MOST_MONOMIALS = 200_000
"""Products in one structural stage (``m*k*n`` for a matrix product) that are still expanded."""

Objects = NDArray[np.object_]
Pull = Callable[[Any], Any]
"""From a piece's total derivative ``(P, *shape of the piece)`` to its part in an operand's, ``(P, *operand shape)``."""


def prepare(graph: Graph, variables: Sequence[str]) -> Symbolic | Unsupported:
    """The method made ready for one graph.

    >>> from verify.expression import graph_from_expressions
    >>> symbolic = prepare(graph_from_expressions({"x": ()}, {"f": "x**2"}), ["x"])
    >>> symbolic.differentiate({"x": np.array([3.0])}, {"f": np.ones(1)}).gradients["x"]
    array([6.])
    """
    try:
        return Symbolic(graph, variables)
    except TooLarge as reason:
        return Unsupported(str(reason))


class TooLarge(Exception):
    """A stage that would expand into more terms than SymPy can handle in reasonable time."""


class Symbolic:
    """SymPy's derivatives of one graph by the variables asked for."""

    def __init__(self, graph: Graph, variables: Sequence[str]) -> None:
        self.graph = graph
        self.variables = tuple(variables)
        self._pieces = _pieces(graph)
        self._readers: dict[int, list[tuple[Piece, int]]] = {}
        for piece in self._pieces:
            for which, leaf in enumerate(piece.leaves):
                self._readers.setdefault(leaf, []).append((piece, which))
        self._pieces_of: dict[str, list[Piece]] = {}
        for piece in self._pieces:
            owner = graph.names.get(piece.root, graph.nodes[piece.root].stage)
            self._pieces_of.setdefault(owner, []).append(piece)
        self._matrix = _matrix_forms(graph, self.variables)
        self._matrix_stages = _matrix_stages(graph) if self._matrix else {}
        self._closed = {} if self._matrix else _closed_forms(graph, self.variables)
        self._compiled = _compile_closed(graph, self._closed)

    def closed_form(self, variable: str) -> ClosedForm:
        """How a variable's derivative was had, with SymPy's formula for each entry where there is one."""
        if variable in self._matrix:
            return ClosedForm("closed form", {"": formula_text(self._matrix[variable])})
        if variable in self._closed:
            entries = self._closed[variable]
            names = [_entry_name("", index) for index in np.ndindex(entries.shape)]
            return ClosedForm("closed form", dict(zip(names, map(formula_text, entries.flat), strict=True)))
        return ClosedForm("by stages")

    def local_derivatives(self, stage: str) -> dict[str, str]:
        """SymPy's formula for the derivative of a stage by each of its operands."""
        formulas: dict[str, str] = {}
        for piece in self._pieces_of.get(stage, ()):
            formulas.update(piece.local_derivatives(self.graph))
        return formulas

    def differentiate(self, inputs: Mapping[str, Any], upstream: Mapping[str, Any]) -> Derivative:
        """Value and gradient at P points; see :class:`~verify.derivative.Differentiator`.

        Object arrays of mpmath numbers are computed with 50 digits, see :func:`exactly`.
        """
        inputs = {name: x.astype(np.float64) if x.dtype == np.float32 else x for name, x in inputs.items()}
        with np.errstate(all="ignore"), mpmath.workdps(EXACT_DIGITS):
            values = self._forward(inputs)
            named = {name: values[self.graph.position(name)] for name in (*self.graph.inputs, *self.graph.stages)}
            gradients = self._whole(named, upstream)
            if len(gradients) < len(self.variables):
                totals = self._totals(values, upstream)
                for name in self.variables:
                    if name not in gradients:
                        gradients[name] = totals[self.graph.position(name)]
        return Derivative(named, {name: gradients[name] for name in self.variables})

    def _forward(self, inputs: Mapping[str, Any]) -> dict[int, Any]:
        points = len(next(iter(inputs.values())))
        values = {position: inputs[name] for name, position in self.graph.inputs.items()}
        if self._matrix:
            named = dict(inputs)
            for name, form in self._matrix_stages.items():
                named[name] = values[self.graph.position(name)] = _evaluate_matrix(form, named)
            return values
        for piece in self._pieces:
            value = piece.value([values[leaf] for leaf in piece.leaves])
            shape = (points, *self.graph.nodes[piece.root].shape)
            values[piece.root] = value if np.shape(value) == shape else np.broadcast_to(value, shape)
        return values

    def _whole(self, named: Mapping[str, Any], upstream: Mapping[str, Any]) -> dict[str, Any]:
        """The gradients that SymPy gave in closed form."""
        if self._matrix:
            matrices = {**named, **{_upstream_name(name): seed for name, seed in upstream.items()}}
            return {name: _evaluate_matrix(form, matrices) for name, form in self._matrix.items()}
        if not self._closed:
            return {}
        columns = [_column(array, index) for array, index in self._compiled.arguments(named, upstream)]
        results = iter(self._compiled.formulas(*columns))
        gradients = {}
        for name, entries in self._closed.items():
            shape = self.graph.shape(name)
            like = named[name]
            gradient = np.empty(like.shape, dtype=like.dtype)
            for index in np.ndindex(entries.shape):
                gradient[(slice(None), *index)] = next(results)
            if self._compiled.scalar_output:
                seed = upstream[self._compiled.scalar_output]
                gradient *= seed.reshape(len(like), *(1,) * len(shape))
            gradients[name] = gradient
        return gradients

    def _totals(self, values: Mapping[int, Any], upstream: Mapping[str, Any]) -> dict[int, Any]:
        """Total derivatives by every piece and input: the triangular system, solved from its last row up."""
        pulls = {id(piece): piece.pulls([values[leaf] for leaf in piece.leaves]) for piece in self._pieces}
        seeds: dict[int, Any] = {}
        for name, seed in upstream.items():
            position = self.graph.position(name)
            seeds[position] = seeds[position] + seed if position in seeds else seed
        totals: dict[int, Any] = {}
        for position in sorted(values, reverse=True):
            parts = [pulls[id(piece)][which](totals[piece.root]) for piece, which in self._readers.get(position, ())]
            if position in seeds:
                parts.append(seeds[position])
            totals[position] = sum(parts[1:], start=parts[0]) if parts else np.zeros_like(values[position])
        return totals


def exactly(inputs: Mapping[str, Any]) -> dict[str, Objects]:
    """The same numbers as object arrays of mpmath numbers, for an evaluation without visible rounding.

    >>> exactly({"x": np.array([0.5])})["x"]
    array([mpf('0.5')], dtype=object)
    """
    convert = np.frompyfunc(lambda x: mpmath.mpf(float(x)), 1, 1)
    return {name: np.asarray(convert(value), dtype=object).reshape(value.shape) for name, value in inputs.items()}


# -------------------------------------------------------------------------------------------------- closed forms


def _symbol(name: str) -> sympy.Symbol:
    return sympy.Symbol(name, real=True)


def _entry_name(name: str, index: tuple[int, ...]) -> str:
    return f"{name}[{', '.join(map(str, index))}]" if index else name


def _upstream_name(output: str) -> str:
    return f"d{output}"


def _entry_symbols(name: str, shape: Shape) -> Objects:
    symbols = np.empty(shape, dtype=object)
    for index in np.ndindex(shape):
        symbols[index] = _symbol(_entry_name(name, index))
    return symbols


def _constant(node: Node) -> sympy.Expr:
    if node.op in REAL_CONSTANTS:
        return {"pi": sympy.pi, "e": sympy.E}[node.op]
    assert node.value is not None
    return exact_rational(node.value)


def _static(node: Node) -> dict[str, Any]:
    """The parameters that the SymPy form takes: which convention holds at a tie is not its business."""
    return {key: value for key, value in node.params.items() if key != "tie"}


def _expand(graph: Graph, known: dict[int, Objects], targets: Iterable[int]) -> None:
    """Fills ``known`` with the expressions (object arrays) of everything that the targets need."""
    needed = _needed(graph, known, targets)
    for position in needed:
        node = graph.nodes[position]
        if node.kind == "constant":
            known[position] = _objects(_constant(node))
        else:
            operands = [known[arg] for arg in node.args]
            known[position] = _apply(node, operands)


def _needed(graph: Graph, known: Mapping[int, Any], targets: Iterable[int]) -> list[int]:
    """What must still be computed for the targets, in order."""
    wanted = {target for target in targets if target not in known}
    for position in range(max(wanted, default=-1), -1, -1):
        if position in wanted:
            wanted.update(arg for arg in graph.nodes[position].args if arg not in known)
    return sorted(wanted)


def _objects(value: Any) -> Objects:
    """An object array of SymPy expressions; a lone expression becomes one without axes."""
    if isinstance(value, np.ndarray):
        return value
    array = np.empty((), dtype=object)
    array[()] = value
    return array


def _apply(node: Node, operands: Sequence[Objects]) -> Objects:
    row = OPS[node.op]
    if not row.elementwise:
        return _objects(row.sympy(*operands, **_static(node)))
    static = _static(node)
    broadcast = np.broadcast_arrays(*operands)
    result = np.empty(broadcast[0].shape, dtype=object)
    for index in np.ndindex(result.shape):
        result[index] = row.sympy(*(operand[index] for operand in broadcast), **static)
    return result


def _sizes(graph: Graph, leaves: Iterable[int]) -> list[float]:
    """How many operations each node's entries have together once everything but the leaves is substituted."""
    leaf = set(leaves)
    sizes: list[float] = []
    for position, node in enumerate(graph.nodes):
        if position in leaf or node.kind != "op":
            sizes.append(math.prod(node.shape))
            continue
        per_operand = []
        for arg in node.args:
            entries = max(1, math.prod(graph.nodes[arg].shape))
            uses = _uses(graph, node, graph.nodes[arg].shape)
            per_operand.append(sizes[arg] / entries * uses)
        sizes.append(min(sum(per_operand) + math.prod(node.shape), 1e300))
    return sizes


def _uses(graph: Graph, node: Node, operand: Shape) -> int:
    """How often an op reads the entries of an operand, counted over all entries of its output."""
    if node.op == "matmul":
        return graph.nodes[node.args[0]].shape[-1] * math.prod(node.shape)
    entries = math.prod(operand)
    return entries if not OPS[node.op].elementwise else max(entries, math.prod(node.shape))


def _leaves_for(graph: Graph, variable: str) -> dict[int, Objects]:
    """Symbols for a closed form: the inputs, and for a stage also itself and every stage that it does not change."""
    position = graph.position(variable)
    after = set(graph.depends_on([position]))
    names: dict[int, str] = {at: name for name, at in graph.inputs.items()}
    if variable in graph.stages:
        names |= {at: name for name, at in graph.stages.items() if at not in after}
    return {at: _entry_symbols(name, graph.nodes[at].shape) for at, name in names.items()}


def _closed_forms(graph: Graph, variables: Sequence[str]) -> dict[str, Objects]:
    """Variable -> partial derivatives of the contracted output, entry by entry, where they are short."""
    forms: dict[str, Objects] = {}
    outputs = [graph.position(name) for name in graph.outputs]
    for variable in variables:
        shape = graph.shape(variable)
        if math.prod(shape) > MOST_CLOSED_ENTRIES:
            continue
        position = graph.position(variable)
        outer = {at for at in graph.inputs.values()}
        if variable in graph.stages:
            outer |= set(graph.stages.values()) - set(graph.depends_on([position]))
        if sum(_sizes(graph, outer)[at] for at in outputs) > LARGEST_CLOSED_FORM:
            continue
        known = _leaves_for(graph, variable)
        symbols = known[position]
        _expand(graph, known, outputs)
        total = _contracted(graph, known)
        form = np.empty(shape, dtype=object)
        for index in np.ndindex(shape):
            form[index] = differentiated(total, symbols[index])
        if all(can_evaluate(expression) for expression in form.flat):
            forms[variable] = form
    return forms


def _contracted(graph: Graph, known: Mapping[int, Objects]) -> sympy.Expr:
    """The sum of outputs times upstream gradients; a lone scalar output stands for itself."""
    if _lone_scalar(graph):
        return known[graph.position(graph.outputs[0])][()]
    terms = []
    for name in graph.outputs:
        expressions = known[graph.position(name)]
        seeds = _entry_symbols(_upstream_name(name), expressions.shape)
        terms += [expressions[index] * seeds[index] for index in np.ndindex(expressions.shape)]
    return sympy.Add(*terms)


def _lone_scalar(graph: Graph) -> str:
    """The name of the only output where it is a scalar, else an empty string."""
    return graph.outputs[0] if len(graph.outputs) == 1 and graph.shape(graph.outputs[0]) == () else ""


@dataclass(frozen=True, slots=True)
class _CompiledForms:
    formulas: Formulas
    sources: tuple[tuple[str, tuple[int, ...], bool], ...]
    """For each symbol: the variable or output it belongs to, its entry, and whether it is an upstream gradient."""
    scalar_output: str

    def arguments(
        self, named: Mapping[str, Any], upstream: Mapping[str, Any]
    ) -> list[tuple[Any, tuple[int, ...]]]:
        """Array and entry for each symbol."""
        return [((upstream if is_seed else named)[name], index) for name, index, is_seed in self.sources]


def _compile_closed(graph: Graph, closed: Mapping[str, Objects]) -> _CompiledForms:
    """All closed forms compiled together, so that what they have in common is computed once."""
    expressions = [expression for entries in closed.values() for expression in entries.flat]
    used = set().union(*(expression.free_symbols for expression in expressions)) if expressions else set()
    scalar = _lone_scalar(graph)
    candidates = [(name, graph.shape(name), False) for name in (*graph.inputs, *graph.stages)]
    if not scalar:
        # Last, so that an input called like an upstream gradient (dD for D) is shadowed by it: they are the same.
        candidates += [(name, graph.shape(name), True) for name in graph.outputs]
    sources = {}
    for name, shape, is_seed in candidates:
        for index in np.ndindex(shape):
            symbol = _symbol(_entry_name(_upstream_name(name) if is_seed else name, index))
            if symbol in used:
                sources[symbol] = (name, index, is_seed)
    return _CompiledForms(Formulas(expressions, list(sources)), tuple(sources.values()), scalar)


def _column(array: Any, index: tuple[int, ...]) -> Any:
    return array[(slice(None), *index)]


# -------------------------------------------------------------------------------------------- matrix closed forms

MATRIX_OPS = frozenset({"matmul", "transpose", "add", "subtract", "negative", "positive"})
"""Ops whose SymPy form runs on matrix symbols as it does on object arrays."""


def _matrix_forms(graph: Graph, variables: Sequence[str]) -> dict[str, sympy.MatrixExpr]:
    """Variable -> SymPy's matrix expression, where the function is made of products and sums of matrices alone."""
    nodes = graph.nodes
    reached = graph.needed_for(graph.position(name) for name in graph.outputs)
    program = [nodes[at] for at in reached]
    is_matrix = all(len(node.shape) == 2 and (node.kind == "input" or node.op in MATRIX_OPS) for node in program)
    is_plain = all(node.shape in {nodes[arg].shape for arg in node.args} or node.op in {"matmul", "transpose"}
                   for node in program if node.kind == "op")
    uses_product = any(node.op == "matmul" for node in program)
    same_shapes = all(len({nodes[arg].shape for arg in node.args}) == 1
                      for node in program if node.op in {"add", "subtract"})
    if not (is_matrix and is_plain and uses_product and same_shapes and len(graph.outputs) == 1):
        return {}
    return {name: _matrix_derivative(graph, name) for name in variables}


def _matrix_stages(graph: Graph) -> dict[str, sympy.MatrixExpr]:
    """Each stage as SymPy's matrix expression of the inputs and the stages before it."""
    known = {at: _matrix_symbol(name, graph.nodes[at].shape) for name, at in graph.inputs.items()}
    forms = {}
    for name, position in graph.stages.items():
        _expand_matrices(graph, known, position)
        forms[name] = known[position]
        known[position] = _matrix_symbol(name, graph.nodes[position].shape)
    return forms


def _expand_matrices(graph: Graph, known: dict[int, sympy.MatrixExpr], target: int) -> None:
    """Fills ``known`` with the matrix expressions of everything that the target needs."""
    for at in _needed(graph, known, [target]):
        node = graph.nodes[at]
        known[at] = OPS[node.op].sympy(*(known[arg] for arg in node.args), **_static(node))


def _matrix_derivative(graph: Graph, variable: str) -> sympy.MatrixExpr:
    """The derivative of ``trace(upstream.T * output)``, for shapes that stay symbols: it holds for matrices of any size."""
    output = graph.outputs[0]
    position = graph.position(variable)
    after = set(graph.depends_on([position]))
    names = {at: name for name, at in graph.inputs.items()}
    names |= {at: name for name, at in graph.stages.items() if at not in after}
    known = {at: _matrix_symbol(name, graph.nodes[at].shape) for at, name in names.items()}
    _expand_matrices(graph, known, graph.position(output))
    if position not in graph.needed_for([graph.position(output)]):
        return sympy.ZeroMatrix(*known[position].shape)
    seed = _matrix_symbol(_upstream_name(output), graph.shape(output))
    return sympy.Trace(seed.T * known[graph.position(output)]).diff(known[position]).doit()


def _matrix_symbol(name: str, shape: Shape) -> sympy.MatrixSymbol:
    rows, columns = (sympy.Symbol(f"n{size}", integer=True, positive=True) for size in shape)
    return sympy.MatrixSymbol(name, rows, columns)


def _local_matrix_forms(names: Sequence[str], shapes: Sequence[Shape], node: Node) -> dict[str, str]:
    """What a product of two matrices sends back to each, for any upstream gradient, by SymPy's matrix calculus."""
    a, b = (_matrix_symbol(name, shape) for name, shape in zip(names, shapes, strict=True))
    seed = _matrix_symbol("upstream", node.shape)
    trace = sympy.Trace(seed.T * OPS[node.op].sympy(a, b))
    return {name: formula_text(trace.diff(x).doit()) for name, x in zip(names, (a, b), strict=True)}


def _evaluate_matrix(form: sympy.Basic, matrices: Mapping[str, Any]) -> Any:
    """A matrix expression on stacks of matrices ``(P, rows, columns)``."""
    if isinstance(form, sympy.MatrixSymbol):
        return matrices[form.name]
    if isinstance(form, sympy.Transpose):
        return np.swapaxes(_evaluate_matrix(form.arg, matrices), -1, -2)
    if isinstance(form, sympy.MatAdd):
        parts = [_evaluate_matrix(arg, matrices) for arg in form.args]
        return sum(parts[1:], start=parts[0])
    if isinstance(form, sympy.MatMul):
        coefficient, factors = form.as_coeff_matrices()
        product = _evaluate_matrix(factors[0], matrices)
        for factor in factors[1:]:
            product = product @ _evaluate_matrix(factor, matrices)
        return product if coefficient == 1 else product * Formulas([coefficient], [])()[0]
    raise TypeError(f"cannot evaluate SymPy's {type(form).__name__} in {form}")


# ------------------------------------------------------------------------------------------------------- by stages


@dataclass(slots=True)
class Piece:
    """A part of the graph that SymPy differentiates as one: an elementwise expression, or one structural op."""

    root: int
    leaves: tuple[int, ...]

    def value(self, operands: Sequence[Any]) -> Any:
        """The piece's value ``(P, *shape)`` from those of its leaves."""
        raise NotImplementedError

    def pulls(self, operands: Sequence[Any]) -> list[Pull]:
        """For each leaf, how a total derivative by the piece becomes its part in the total derivative by the leaf."""
        raise NotImplementedError

    def local_derivatives(self, graph: Graph) -> dict[str, str]:
        """Leaf -> SymPy's formula of the derivative of the piece by that leaf."""
        raise NotImplementedError


@dataclass(slots=True)
class Elementwise(Piece):
    """Elementwise ops grown together into one expression, differentiated once and applied to all entries."""

    shapes: tuple[Shape, ...]
    shape: Shape
    symbols: tuple[sympy.Symbol, ...]
    expression: sympy.Expr
    partials: tuple[sympy.Expr, ...]
    forward: Formulas
    slopes: Formulas

    def value(self, operands: Sequence[Any]) -> Any:
        """See :class:`Piece`."""
        return self.forward(*self._aligned(operands))[0]

    def pulls(self, operands: Sequence[Any]) -> list[Pull]:
        """See :class:`Piece`."""
        slopes = self.slopes(*self._aligned(operands))
        return [
            lambda total, slope=slope, shape=shape: _collected(total * slope, self.shape, shape)
            for slope, shape in zip(slopes, self.shapes, strict=True)
        ]

    def local_derivatives(self, graph: Graph) -> dict[str, str]:
        """See :class:`Piece`."""
        texts = [graph.text(leaf) for leaf in self.leaves]
        shown = {symbol: sympy.Symbol(text) for symbol, text in zip(self.symbols, texts, strict=True)}
        return {
            text: formula_text(partial.xreplace(shown)) for text, partial in zip(texts, self.partials, strict=True)
        }

    def _aligned(self, operands: Sequence[Any]) -> list[Any]:
        rank = len(self.shape) + 1
        return [x if x.ndim == rank else x.reshape(len(x), *(1,) * (rank - x.ndim), *x.shape[1:]) for x in operands]


def _collected(contribution: Any, shape: Shape, leaf: Shape) -> Any:
    """Adds up, for every entry of a leaf, the entries of the piece that read it: ``(P, *shape)`` to ``(P, *leaf)``."""
    if shape == leaf:
        return contribution
    reads = np.broadcast_to(np.arange(math.prod(leaf)).reshape(leaf), shape).ravel()
    flat = contribution.reshape(len(contribution), -1)
    return _summed_by(flat, reads, math.prod(leaf)).reshape(len(contribution), *leaf)


def _summed_by(flat: Any, groups: NDArray[np.int64], count: int) -> Any:
    """Sums columns ``(P, T)`` that belong to the same group, to ``(P, count)``; a group may be empty."""
    order = np.argsort(groups, kind="stable")
    present, starts = np.unique(groups[order], return_index=True)
    sums = np.add.reduceat(flat[:, order], starts, axis=1)
    if len(present) == count:
        return sums
    out = np.zeros((len(flat), count), dtype=flat.dtype)
    out[:, present] = sums
    return out


@dataclass(slots=True)
class Monomials:
    """Terms ``coefficient * product of entries``, each belonging to one group; entries are flat indices by operand."""

    groups: NDArray[np.int64]
    coefficients: NDArray[np.float64]
    exact: Objects
    """The same coefficients as mpmath numbers."""
    factors: tuple[tuple[int, NDArray[np.int64], NDArray[np.int64]], ...]
    """Operand, positions of the terms that have a factor from it, and the entries that they read."""

    def terms(self, flat: Sequence[Any]) -> Any:
        """The terms ``(P, T)`` from the operands ``(P, entries)``."""
        dtype = np.result_type(*(x.dtype for x in flat))
        coefficients = self.exact if dtype == object else self.coefficients
        out = np.empty((len(flat[0]), len(self.groups)), dtype=dtype)
        out[:] = coefficients
        for operand, which, entries in self.factors:
            out[:, which] = out[:, which] * flat[operand][:, entries]
        return out


@dataclass(slots=True)
class Structural(Piece):
    """One op that moves entries about or adds up products of them, expanded by SymPy into monomials."""

    shapes: tuple[Shape, ...]
    shape: Shape
    forward: Monomials
    slopes: tuple[tuple[Monomials, NDArray[np.int64]], ...]
    """For each operand the derivative terms, grouped by the operand's entry, and the output entry each belongs to."""
    text: str

    def value(self, operands: Sequence[Any]) -> Any:
        """See :class:`Piece`."""
        terms = self.forward.terms(_flattened(operands))
        return _summed_by(terms, self.forward.groups, math.prod(self.shape)).reshape(len(terms), *self.shape)

    def pulls(self, operands: Sequence[Any]) -> list[Pull]:
        """See :class:`Piece`."""
        flat = _flattened(operands)
        return [
            lambda total, m=monomials, outputs=outputs, leaf=leaf: self._pulled(total, m.terms(flat), m, outputs, leaf)
            for (monomials, outputs), leaf in zip(self.slopes, self.shapes, strict=True)
        ]

    def _pulled(self, total: Any, terms: Any, monomials: Monomials, outputs: NDArray[np.int64], leaf: Shape) -> Any:
        weighted = total.reshape(len(total), -1)[:, outputs] * terms
        return _summed_by(weighted, monomials.groups, math.prod(leaf)).reshape(len(total), *leaf)

    def local_derivatives(self, graph: Graph) -> dict[str, str]:
        """See :class:`Piece`."""
        node = graph.nodes[self.root]
        if node.op == "matmul" and len(self.leaves) == 2 and all(len(shape) == 2 for shape in self.shapes):
            return _local_matrix_forms([graph.text(leaf) for leaf in self.leaves], self.shapes, node)
        return {graph.text(leaf): f"partials of {self.text}, entry by entry" for leaf in self.leaves}


def _flattened(operands: Sequence[Any]) -> list[Any]:
    return [np.asarray(x).reshape(len(x), -1) for x in operands]


def _pieces(graph: Graph) -> list[Piece]:
    """The graph cut at its stages, at structural ops, and wherever a value is read more than once."""
    roots = _roots(graph)
    templates: dict[tuple[Any, ...], tuple[Any, ...]] = {}
    pieces: list[Piece] = []
    for position in sorted(roots):
        node = graph.nodes[position]
        if node.kind != "op":
            continue
        if OPS[node.op].elementwise:
            pieces.append(_elementwise(graph, position, roots, templates))
        else:
            pieces.append(_structural(graph, position))
    return pieces


def _roots(graph: Graph) -> frozenset[int]:
    """Nodes that begin a piece of their own: inputs, stages, structural ops and what they read, shared values."""
    roots = set(graph.inputs.values()) | set(graph.stages.values())
    for position, node in enumerate(graph.nodes):
        if node.kind != "op":
            continue
        if not OPS[node.op].elementwise:
            roots.add(position)
            roots.update(node.args)
            continue
        if OPS[node.op].kink is not None:
            roots.update(node.args)  # SymPy differentiates Abs and Max of plain real symbols only
        if len(graph.consumers[position]) > 1:
            roots.add(position)
    return frozenset(roots)


def _elementwise(
    graph: Graph, root: int, roots: frozenset[int], templates: dict[tuple[Any, ...], tuple[Any, ...]]
) -> Elementwise:
    inside = _inside(graph, root, roots)
    leaves = tuple(dict.fromkeys(
        arg for at in inside for arg in graph.nodes[at].args
        if arg not in inside and graph.nodes[arg].kind != "constant"
    ))  # fmt: skip
    symbols = tuple(_symbol(f"s{i}") for i in range(len(leaves)))
    known: dict[int, Any] = dict(zip(leaves, symbols, strict=True))
    for at in inside:
        node = graph.nodes[at]
        operands = [known[arg] if arg in known else _constant(graph.nodes[arg]) for arg in node.args]
        known[at] = OPS[node.op].sympy(*operands, **_static(node))
    expression = known[root]
    key = (expression, len(symbols))
    if key not in templates:
        partials = tuple(differentiated(expression, symbol) for symbol in symbols)
        templates[key] = (partials, Formulas([expression], symbols), Formulas(partials, symbols))
    partials, forward, slopes = templates[key]
    shapes = tuple(graph.nodes[leaf].shape for leaf in leaves)
    return Elementwise(root, leaves, shapes, graph.nodes[root].shape, symbols, expression, partials, forward, slopes)


def _inside(graph: Graph, root: int, roots: frozenset[int]) -> list[int]:
    """The elementwise nodes that grow into one expression with the root, in order."""
    found, waiting = {root}, [root]
    while waiting:
        for arg in graph.nodes[waiting.pop()].args:
            if arg not in found and arg not in roots and graph.nodes[arg].kind == "op":
                found.add(arg)
                waiting.append(arg)
    return sorted(found)


def _structural(graph: Graph, position: int) -> Structural:
    node = graph.nodes[position]
    operands = list(dict.fromkeys(arg for arg in node.args if graph.nodes[arg].kind != "constant"))
    shapes = tuple(graph.nodes[arg].shape for arg in operands)
    if _uses(graph, node, shapes[0]) > MOST_MONOMIALS:
        raise TooLarge(f"stage {node.stage or graph.text(position)!r} expands into more than {MOST_MONOMIALS} terms")
    symbols = {arg: _entry_symbols(f"s{i}", shape) for i, (arg, shape) in enumerate(zip(operands, shapes, strict=True))}
    known = [symbols[arg] if arg in symbols else _objects(_constant(graph.nodes[arg])) for arg in node.args]
    entries = _apply(node, known)
    where = {symbol: (i, at) for i, arg in enumerate(operands) for at, symbol in enumerate(symbols[arg].flat)}
    terms = [
        (at, term) for at, entry in enumerate(entries.flat) for term in sympy.Add.make_args(sympy.expand(entry))
    ]
    forward = _monomials([(at, term) for at, term in terms], where)
    slopes = []
    for i in range(len(operands)):
        derived = [
            (where[symbol][1], at, term.diff(symbol))
            for at, term in terms
            for symbol in sorted(term.free_symbols, key=str)
            if where[symbol][0] == i
        ]
        monomials = _monomials([(group, term) for group, _, term in derived], where)
        slopes.append((monomials, np.array([at for _, at, _ in derived], dtype=np.int64)))
    return Structural(position, tuple(operands), shapes, node.shape, forward, tuple(slopes), graph.text(position))


def _monomials(
    terms: Sequence[tuple[int, sympy.Expr]], where: Mapping[sympy.Symbol, tuple[int, int]]
) -> Monomials:
    """Terms with their group, taken apart into coefficient and factors."""
    coefficients, exact = np.empty(len(terms)), np.empty(len(terms), dtype=object)
    reads: dict[tuple[int, int], tuple[list[int], list[int]]] = {}
    for number, (_, term) in enumerate(terms):
        constant, rest = term.as_coeff_Mul()
        coefficients[number] = float(constant)
        exact[number] = mpmath.mpmathify(constant.evalf(EXACT_DIGITS))
        seen: dict[int, int] = {}
        for factor in sympy.Mul.make_args(rest):
            base, power = factor.as_base_exp()
            for _ in range(int(power) if base in where else 0):
                operand, entry = where[base]
                turn = seen[operand] = seen.get(operand, 0) + 1
                which, entries = reads.setdefault((operand, turn), ([], []))
                which.append(number)
                entries.append(entry)
    factors = tuple((operand, np.array(which), np.array(entries)) for (operand, _), (which, entries) in reads.items())
    return Monomials(np.array([group for group, _ in terms], dtype=np.int64), coefficients, exact, factors)

"""Matrix closed forms: SymPy's matrix calculus differentiates sums and products of matrices of any size."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import sympy

from verify.graph.graph import Graph, Node
from verify.ops import OPS, Shape
from verify.symbolic.formula import Formulas, formula_text
from verify.symbolic.symbols import needed, static_params, upstream_name

MATRIX_OPS = frozenset({"matmul", "transpose", "add", "subtract", "negative", "positive"})
"""Ops whose SymPy form runs on matrix symbols as it does on object arrays."""


class MatrixForms:
    """SymPy's matrix expressions of one graph: its stages, and the derivative by each variable."""

    def __init__(self, graph: Graph, variables: Sequence[str]) -> None:
        self.graph = graph
        self._stages = _matrix_stages(graph) if _is_made_of_matrices(graph) else {}
        self._forms: dict[str, sympy.MatrixExpr] = {}
        contracted = {name: _contracted(graph, name) for name in variables} if self._stages else {}
        # A matrix times itself is a power to SymPy, and its calculus fails on powers of anything but a symbol.
        forms = (*self._stages.values(), *(trace for trace, _ in contracted.values()))
        powers = any(form.has(sympy.MatPow) for form in forms)
        self.applies = bool(self._stages) and not powers
        """Whether the function is made of sums and products of matrices alone; nothing else is of use if not."""
        if self.applies:
            self._forms = {name: _matrix_derivative(trace, x) for name, (trace, x) in contracted.items()}

    def formula(self, variable: str) -> str:
        """The derivative by one variable, such as ``dD*X.T``."""
        return formula_text(self._forms[variable])

    def values(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """The inputs and all stages ``(P, rows, columns)``."""
        named = dict(inputs)
        points = len(next(iter(inputs.values())))
        for name, form in self._stages.items():
            shape = self.graph.shape(name)
            named[name] = np.zeros((points, *shape)) if form.is_ZeroMatrix else _evaluate_matrix(form, named)
        return named

    def gradients(self, named: Mapping[str, Any], upstream: Mapping[str, Any]) -> dict[str, Any]:
        """The gradients ``(P, rows, columns)`` by all variables; ``named`` holds all values."""
        matrices = {**named, **{upstream_name(self.graph, name): seed for name, seed in upstream.items()}}
        return {
            name: np.zeros_like(named[name]) if form.is_ZeroMatrix else _evaluate_matrix(form, matrices)
            for name, form in self._forms.items()
        }


def _is_made_of_matrices(graph: Graph) -> bool:
    """Whether every node is a matrix, no sum stretches one, and there is a product among them."""
    nodes = graph.nodes
    program = [nodes[at] for at in graph.needed_for(graph.stages.values())]
    if len(graph.outputs) != 1 or not any(node.op == "matmul" for node in program):
        return False
    if any(node.params.get("axes") is not None for node in program):
        return False  # SymPy's transpose of a matrix knows no axes
    fits = all(
        {nodes[arg].shape for arg in node.args} == {node.shape}
        for node in program
        if node.kind == "op" and node.op not in {"matmul", "transpose"}
    )
    return fits and all(len(node.shape) == 2 and (node.kind == "input" or node.op in MATRIX_OPS) for node in program)


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
    for at in needed(graph, known, [target]):
        node = graph.nodes[at]
        known[at] = OPS[node.op].sympy(*(known[arg] for arg in node.args), **static_params(node))


def _contracted(graph: Graph, variable: str) -> tuple[sympy.Expr, sympy.MatrixExpr]:
    """``trace(upstream.T * output)`` with one variable as a symbol, for shapes that stay symbols, and that symbol."""
    output = graph.outputs[0]
    position = graph.position(variable)
    after = set(graph.depends_on([position]))
    names = {at: name for name, at in graph.inputs.items()}
    names |= {at: name for name, at in graph.stages.items() if at not in after}
    known = {at: _matrix_symbol(name, graph.nodes[at].shape) for at, name in names.items()}
    _expand_matrices(graph, known, graph.position(output))
    seed = _matrix_symbol(upstream_name(graph, output), graph.shape(output))
    return sympy.Trace((seed.T * known[graph.position(output)]).doit()), known[position]


def _matrix_derivative(trace: sympy.Expr, x: sympy.MatrixExpr) -> sympy.MatrixExpr:
    """The derivative of a trace: it holds at any size."""
    return trace.diff(x).doit() if trace.has(x) else sympy.ZeroMatrix(*x.shape)


def _matrix_symbol(name: str, shape: Shape) -> sympy.MatrixSymbol:
    rows, columns = (sympy.Symbol(f"n{size}", integer=True, positive=True) for size in shape)
    return sympy.MatrixSymbol(name, rows, columns)


def local_matrix_forms(names: Sequence[str], shapes: Sequence[Shape], node: Node) -> dict[str, str]:
    """What a product of two matrices sends back to each, for any upstream gradient, by SymPy's matrix calculus.

    >>> local_matrix_forms(["W", "X"], [(5, 10), (10, 3)], Node("op", "matmul", (0, 1), {}, (5, 3)))
    {'W': 'upstream*X.T', 'X': 'W.T*upstream'}
    """
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

"""SymPy differentiates the expressions by its own rules; this file knows neither the engine nor its VJPs.

Where the substituted expression is short, SymPy differentiates it whole: the *closed form*. Products of matrices of
any size are differentiated whole by SymPy's matrix calculus. Everything else goes *by stages*, since substitution
explodes: the graph is cut into pieces, SymPy gives each piece's partial derivatives once, with the piece's operands
as plain real symbols, and totals come from the sparse triangular system that these partials form: the total
derivative by a variable is the sum over the pieces that read it. The method's forward pass, too, is SymPy's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import flint
import numpy as np

from verify.graph.derivative import ClosedForm, Derivative, Unsupported
from verify.graph.graph import Graph
from verify.symbolic.closed_forms import ClosedForms
from verify.symbolic.matrix_forms import MatrixForms
from verify.symbolic.pieces import NotRealError, Piece, System, TooLargeError, every_op, pieces_of
from verify.symbolic.symbols import Objects


def prepare(graph: Graph, variables: Sequence[str]) -> Symbolic | Unsupported:
    """The method made ready for one graph.

    >>> from verify.case.expression import graph_from_expressions
    >>> symbolic = prepare(graph_from_expressions({"x": ()}, {"f": "x**2"}), ["x"])
    >>> symbolic.differentiate({"x": np.array([3.0])}, {"f": np.ones(1)}).gradients["x"]
    array([6.])
    """
    try:
        return Symbolic(graph, variables)
    except (TooLargeError, NotRealError) as reason:
        return Unsupported(str(reason))


class Symbolic:
    """SymPy's derivatives of one graph by the variables asked for."""

    def __init__(self, graph: Graph, variables: Sequence[str]) -> None:
        self.graph = graph
        self.variables = tuple(variables)
        self._system = System(graph, pieces_of(graph))
        self._pieces_of_stage: dict[str, list[Piece]] = {}
        for piece in self._system.pieces:
            owner = graph.names.get(piece.root, graph.nodes[piece.root].stage)
            self._pieces_of_stage.setdefault(owner, []).append(piece)
        self._matrices = MatrixForms(graph, self.variables)
        self._closed = ClosedForms(graph, () if self._matrices.applies else self.variables)
        self._closed_texts: dict[str, ClosedForm] = {}
        self._local_texts: dict[str, dict[str, str]] = {}

    def written_out(self) -> Symbolic:
        """The same, with all its formulas as text, which takes SymPy a while: for whoever keeps it."""
        for variable in self.variables:
            self.closed_form(variable)
        for stage in self.graph.stages:
            self.local_derivatives(stage)
        return self

    def closed_form(self, variable: str) -> ClosedForm:
        """How a variable's derivative was had, with SymPy's formula for each entry where there is one."""
        if variable not in self._closed_texts:
            self._closed_texts[variable] = self._closed_form(variable)
        return self._closed_texts[variable]

    def _closed_form(self, variable: str) -> ClosedForm:
        if self._matrices.applies:
            return ClosedForm("closed form", {"": self._matrices.formula(variable)})
        formulas = self._closed.formulas(variable)
        return ClosedForm("by stages") if formulas is None else ClosedForm("closed form", formulas)

    def local_derivatives(self, stage: str) -> dict[str, str]:
        """SymPy's formula for the derivative of a stage by each of its operands."""
        if stage not in self._local_texts:
            self._local_texts[stage] = self._local_derivatives(stage)
        return self._local_texts[stage]

    def _local_derivatives(self, stage: str) -> dict[str, str]:
        formulas: dict[str, str] = {}
        for piece in self._pieces_of_stage.get(stage, ()):
            is_whole = piece.root == self.graph.stages[stage]
            if is_whole or self.graph.nodes[piece.root].op != "index":  # an entry that is read stands for itself
                formulas.update(piece.local_derivatives(self.graph))
        return formulas

    def differentiate(self, inputs: Mapping[str, Any], upstream: Mapping[str, Any]) -> Derivative:
        """Value and gradient at P points; see :class:`~verify.graph.derivative.Differentiator`.

        Object arrays of balls give balls that hold the true values, see :func:`enclosed`.
        """
        inputs = {name: x.astype(np.float64) if x.dtype == np.float32 else x for name, x in inputs.items()}
        with np.errstate(all="ignore"):
            if self._matrices.applies:
                named = self._matrices.values(inputs)
                gradients = self._matrices.gradients(named, upstream)
            else:
                values = self._system.forward(inputs)
                named = {name: values[self.graph.position(name)] for name in (*self.graph.inputs, *self.graph.stages)}
                gradients = self._closed.gradients(named, upstream)
                if len(gradients) < len(self.variables):
                    totals = self._system.totals(values, upstream)
                    gradients = {name: totals[self.graph.position(name)] for name in self.variables} | gradients
                if not all(map(_is_finite, gradients.values())):
                    gradients = self._absorbed(gradients, inputs, upstream)
        return Derivative(named, {name: gradients[name] for name in self.variables})

    def _absorbed(
        self, gradients: Mapping[str, Any], inputs: Mapping[str, Any], upstream: Mapping[str, Any]
    ) -> dict[str, Any]:
        """The gradients with ``0 * inf`` taken as 0, as in relu(sqrt(x) - 1) at 0: rare, so paid for only when met."""
        totals = self._op_by_op.totals(self._op_by_op.forward(inputs), upstream, absorb=True)
        return {
            name: np.where(np.isfinite(gradient), gradient, totals[self.graph.position(name)])
            for name, gradient in gradients.items()
        }

    @cached_property
    def _op_by_op(self) -> System:
        return System(self.graph, every_op(self.graph))


def _is_finite(gradient: Any) -> bool:
    """Whether all floats of an array are finite; of other numbers whoever asked for them takes care."""
    return gradient.dtype == object or bool(np.isfinite(gradient).all())


def enclosed(inputs: Mapping[str, Any]) -> dict[str, Objects]:
    """The same numbers as object arrays of balls without radius, for an evaluation whose error is proved.

    >>> enclosed({"x": np.array([0.5])})["x"]
    array([0.500000000000000], dtype=object)
    """
    convert = np.frompyfunc(lambda x: flint.arb(float(x)), 1, 1)
    return {name: np.asarray(convert(value), dtype=object).reshape(value.shape) for name, value in inputs.items()}

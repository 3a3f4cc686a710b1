"""Closed forms: SymPy differentiates the substituted expression whole, where it is short.

A closed form by an input holds nothing but inputs. One by a stage holds the stage itself, and every stage that it does
not change, by name: the derivative of ``f = num * invden`` by ``num`` is ``invden``.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import sympy

from verify.graph.graph import Graph
from verify.ops import OPS
from verify.symbolic.formula import Formulas, can_evaluate, differentiated, formula_text
from verify.symbolic.symbols import (
    Objects,
    apply,
    constant,
    entry_name,
    entry_symbols,
    needed,
    objects,
    real_symbol,
    upstream_name,
    uses,
)

LARGEST_CLOSED_FORM = 32
"""Operations in an expression that SymPy still differentiates whole: the neuron of the notes has 28. Beyond, it goes by
stages: of formulas that fill a line no reader has any use, and most of a first run went into them."""

MOST_CLOSED_ENTRIES = 8
"""Entries of a variable whose partial derivatives are still written out one by one."""


class ClosedForms:
    """The closed forms of one graph: for each variable that has one, a partial derivative for each entry."""

    def __init__(self, graph: Graph, variables: Sequence[str]) -> None:
        self.graph = graph
        self._forms = {name: form for name in variables if (form := _closed_form(graph, name)) is not None}
        self._lone = _lone_scalar(graph)
        expressions = [expression for entries in self._forms.values() for expression in entries.flat]
        self._sources = _sources(graph, expressions, with_upstream=not self._lone)
        # Compiled together, so that what the formulas have in common is computed once.
        self._formulas = Formulas(expressions, list(self._sources))

    def formulas(self, variable: str) -> dict[str, str] | None:
        """Entry -> formula (``""`` for a scalar), None where a variable has no closed form."""
        entries = self._forms.get(variable)
        if entries is None:
            return None
        return {entry_name("", index): formula_text(entries[index]) for index in np.ndindex(entries.shape)}

    def gradients(self, named: Mapping[str, Any], upstream: Mapping[str, Any]) -> dict[str, Any]:
        """The gradients ``(P, *shape)`` of the variables that have closed forms; ``named`` holds all values."""
        if not self._forms:
            return {}
        columns = [(upstream if seed else named)[name][(slice(None), *at)] for name, at, seed in self._sources.values()]
        results = iter(self._formulas(*columns, like=next(iter(named.values()))))
        gradients = {}
        for name, entries in self._forms.items():
            like = named[name]
            gradient = np.empty(like.shape, dtype=like.dtype)
            for index in np.ndindex(entries.shape):
                gradient[(slice(None), *index)] = next(results)
            if self._lone:
                gradient *= upstream[self._lone].reshape(len(like), *(1,) * len(entries.shape))
            gradients[name] = gradient
        return gradients


Source = tuple[str, tuple[int, ...], bool]
"""What a symbol stands for: a variable or output, its entry, and whether it is the upstream gradient."""


def _sources(graph: Graph, expressions: Sequence[sympy.Expr], with_upstream: bool) -> dict[sympy.Symbol, Source]:
    """What each symbol of the expressions stands for."""
    used = set().union(*(expression.free_symbols for expression in expressions))
    if not used:
        return {}
    candidates = [(name, name, False) for name in (*graph.inputs, *graph.stages)]
    if with_upstream:
        candidates += [(name, upstream_name(graph, name), True) for name in graph.outputs]
    return {
        symbol: (name, index, is_seed)
        for name, shown, is_seed in candidates
        for index in np.ndindex(graph.shape(name))
        if (symbol := real_symbol(entry_name(shown, index))) in used
    }


def _closed_form(graph: Graph, variable: str) -> Objects | None:
    """The partial derivatives of the contracted output by one variable by entry, None where they are not short."""
    shape, position = graph.shape(variable), graph.position(variable)
    if math.prod(shape) > MOST_CLOSED_ENTRIES:
        return None
    outputs = [graph.position(name) for name in graph.outputs]
    leaves = _leaves_for(graph, variable)
    sizes = _sizes(graph, leaves)
    if sum(sizes[at] for at in outputs) > LARGEST_CLOSED_FORM:
        return None
    substituted = [graph.nodes[at] for at in needed(graph, leaves, outputs)]
    if any(node.kind == "op" and OPS[node.op].lower is not None for node in substituted):
        return None  # maxima of maxima take SymPy minutes, and no formula holds the constant that tames exp(800)
    known = {at: entry_symbols(name, graph.nodes[at].shape) for at, name in leaves.items()}
    symbols = known[position]
    _expand(graph, known, outputs)
    total = _contracted(graph, known)
    if not can_evaluate(total):
        return None
    form = np.empty(shape, dtype=object)
    for index in np.ndindex(shape):
        form[index] = differentiated(total, symbols[index])
    return form if all(can_evaluate(expression) for expression in form.flat) else None


def _expand(graph: Graph, known: dict[int, Objects], targets: Iterable[int]) -> None:
    """Fills ``known`` with the expressions (object arrays) of everything that the targets need."""
    for position in needed(graph, known, targets):
        node = graph.nodes[position]
        if node.kind == "constant":
            known[position] = objects(constant(node))
        else:
            operands = [known[arg] for arg in node.args]
            known[position] = apply(node, operands)


def _sizes(graph: Graph, leaves: Iterable[int]) -> list[float]:
    """How many operations each node's entries have together once everything but the leaves is substituted."""
    leaf = set(leaves)
    sizes: list[float] = []
    for position, node in enumerate(graph.nodes):
        if position in leaf or node.kind != "op":
            sizes.append(math.prod(node.shape))
            continue
        if OPS[node.op].implicit or OPS[node.op].curved:
            sizes.append(1e300)  # the value has no formula, or one that loses digits
            continue
        per_operand = []
        for arg in node.args:
            entries = max(1, math.prod(graph.nodes[arg].shape))
            per_operand.append(sizes[arg] / entries * uses(graph, node, graph.nodes[arg].shape))
        sizes.append(min(sum(per_operand) + math.prod(node.shape), 1e300))
    return sizes


def _leaves_for(graph: Graph, variable: str) -> dict[int, str]:
    """What a closed form holds by name: the inputs, for a stage also itself and every stage that it does not change."""
    position = graph.position(variable)
    after = set(graph.depends_on([position]))
    names: dict[int, str] = {at: name for name, at in graph.inputs.items()}
    if variable in graph.stages:
        names |= {at: name for name, at in graph.stages.items() if at not in after}
    return names


def _contracted(graph: Graph, known: Mapping[int, Objects]) -> sympy.Expr:
    """The sum of outputs times upstream gradients; a lone scalar output stands for itself."""
    if _lone_scalar(graph):
        return known[graph.position(graph.outputs[0])][()]
    terms = []
    for name in graph.outputs:
        expressions = known[graph.position(name)]
        seeds = entry_symbols(upstream_name(graph, name), expressions.shape)
        terms += [expressions[index] * seeds[index] for index in np.ndindex(expressions.shape)]
    return sympy.Add(*terms)


def _lone_scalar(graph: Graph) -> str:
    """The name of the only output where it is a scalar, else an empty string."""
    return graph.outputs[0] if len(graph.outputs) == 1 and graph.shape(graph.outputs[0]) == () else ""

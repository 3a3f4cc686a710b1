"""By stages: a graph cut into pieces, each differentiated once by SymPy with its operands as plain symbols.

Substituting stages into each other explodes; the partial derivatives of the pieces do not. A piece is an elementwise
expression, differentiated once as a scalar and applied to all entries, or one structural op (a product of matrices,
a sum, an index), expanded into monomials. Totals come from the sparse triangular system that the partials form.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import sympy

from verify.graph import Graph
from verify.ops import OPS, Jump, Shape, sympy_forms
from verify.symbolic.formula import OBJECTS, Formulas, Numbers, can_evaluate, differentiated, formula_text, numbers_of
from verify.symbolic.matrix_forms import local_matrix_forms
from verify.symbolic.symbols import Objects, apply, constant, entry_symbols, objects, real_symbol, static_params, uses

if TYPE_CHECKING:
    from numpy.typing import NDArray

MOST_MONOMIALS = 200_000
"""Products in one structural stage (``m*k*n`` for a matrix product) that are still expanded."""

Pull = Callable[[Any], Any]
"""From a piece's total derivative ``(P, *shape of the piece)`` to its part in an operand's, ``(P, *operand shape)``."""


class TooLargeError(Exception):
    """A stage that would expand into more terms than SymPy can handle in reasonable time."""


class NotRealError(Exception):
    """An op that SymPy takes for complex at every point, such as a power of a negative constant."""


@dataclass(slots=True)
class Piece(ABC):
    """A part of the graph that SymPy differentiates as one: an elementwise expression, or one structural op."""

    root: int
    leaves: tuple[int, ...]

    @abstractmethod
    def value(self, operands: Sequence[Any], like: Any = None) -> Any:
        """The piece's value ``(P, *shape)`` from those of its leaves; ``like`` shows the numbers where it has none."""

    @abstractmethod
    def pulls(self, operands: Sequence[Any], *, absorb: bool = False) -> list[Pull]:
        """For each leaf, how a total derivative by the piece becomes its part in the total derivative by the leaf.

        With ``absorb``, a total of zero sends back zero even where the slope is infinite, and a branch that is not
        taken even where the total is.
        """

    @abstractmethod
    def local_derivatives(self, graph: Graph) -> dict[str, str]:
        """Leaf -> SymPy's formula of the derivative of the piece by that leaf."""


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

    def value(self, operands: Sequence[Any], like: Any = None) -> Any:
        """See :class:`Piece`."""
        return self.forward(*self._aligned(operands), like=like)[0]

    def pulls(self, operands: Sequence[Any], *, absorb: bool = False) -> list[Pull]:
        """See :class:`Piece`."""
        slopes = self.slopes(*self._aligned(operands))
        return [
            partial(self._pulled, slope=slope, leaf=leaf, absorb=absorb)
            for slope, leaf in zip(slopes, self.shapes, strict=True)
        ]

    def _pulled(self, total: Any, slope: Any, leaf: Shape, absorb: bool) -> Any:
        sent = total * slope
        if absorb:
            is_switch = isinstance(self.expression, (sympy.Max, sympy.Min, sympy.Abs, sympy_forms.where))
            sent = np.where((total == 0) | ((slope == 0) & is_switch), 0.0, sent)
        return _collected(sent, self.shape, leaf)

    def local_derivatives(self, graph: Graph) -> dict[str, str]:
        """See :class:`Piece`."""
        texts = [graph.text(leaf) for leaf in self.leaves]
        shown = {symbol: sympy.Symbol(text) for symbol, text in zip(self.symbols, texts, strict=True)}
        return {text: formula_text(partial.xreplace(shown)) for text, partial in zip(texts, self.partials, strict=True)}

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
    """The same coefficients as SymPy numbers."""
    factors: tuple[tuple[int, NDArray[np.int64], NDArray[np.int64]], ...]
    """Operand, positions of the terms that have a factor from it, and the entries that they read."""

    def terms(self, flat: Sequence[Any]) -> Any:
        """The terms ``(P, T)`` from the operands ``(P, entries)``."""
        dtype = np.result_type(*(x.dtype for x in flat))
        coefficients = self.coefficients if dtype != OBJECTS else self._coefficients_in(numbers_of(flat))
        out = np.empty((len(flat[0]), len(self.groups)), dtype=dtype)
        out[:] = coefficients
        for operand, which, entries in self.factors:
            out[:, which] = out[:, which] * flat[operand][:, entries]
        return out

    def _coefficients_in(self, numbers: Numbers) -> Objects:
        """The coefficients in an exact number system; most of them are equal."""
        held = {number: numbers.constant(number)[()] for number in set(self.exact)}
        return np.array([held[number] for number in self.exact], dtype=object)


@dataclass(slots=True)
class Structural(Piece):
    """One op that moves entries about or adds up products of them, expanded by SymPy into monomials."""

    shapes: tuple[Shape, ...]
    shape: Shape
    forward: Monomials
    slopes: tuple[tuple[Monomials, NDArray[np.int64]], ...]
    """For each operand the derivative terms, grouped by the operand's entry, and the output entry each belongs to."""
    text: str

    def value(self, operands: Sequence[Any], like: Any = None) -> Any:  # noqa: ARG002 - it always has operands
        """See :class:`Piece`."""
        terms = self.forward.terms(_flattened(operands))
        return _summed_by(terms, self.forward.groups, math.prod(self.shape)).reshape(len(terms), *self.shape)

    def pulls(self, operands: Sequence[Any], *, absorb: bool = False) -> list[Pull]:  # noqa: ARG002 - slopes are finite
        """See :class:`Piece`."""
        flat = _flattened(operands)
        return [
            partial(self._pulled, flat=flat, monomials=monomials, outputs=outputs, leaf=leaf)
            for (monomials, outputs), leaf in zip(self.slopes, self.shapes, strict=True)
        ]

    def _pulled(
        self, total: Any, flat: Sequence[Any], monomials: Monomials, outputs: NDArray[np.int64], leaf: Shape
    ) -> Any:
        weighted = total.reshape(len(total), -1)[:, outputs] * monomials.terms(flat)
        return _summed_by(weighted, monomials.groups, math.prod(leaf)).reshape(len(total), *leaf)

    def local_derivatives(self, graph: Graph) -> dict[str, str]:
        """See :class:`Piece`."""
        node = graph.nodes[self.root]
        if node.op == "matmul" and len(self.leaves) == 2 and all(len(shape) == 2 for shape in self.shapes):
            return local_matrix_forms([graph.text(leaf) for leaf in self.leaves], self.shapes, node)
        return {graph.text(leaf): f"partials of {self.text}, entry by entry" for leaf in self.leaves}


def _flattened(operands: Sequence[Any]) -> list[Any]:
    return [np.asarray(x).reshape(len(x), -1) for x in operands]


def pieces_of(graph: Graph) -> list[Piece]:
    """The graph cut at its stages, at structural ops, and wherever a value is read more than once.

    >>> from verify.reading.expression import graph_from_expressions
    >>> graph = graph_from_expressions({"x": (3,)}, {"a": "exp(2 * x) + 1", "f": "sum(a)"})
    >>> [type(piece).__name__ for piece in pieces_of(graph)]
    ['Elementwise', 'Structural']
    """
    roots = _roots(graph)
    templates: dict[tuple[Any, ...], tuple[Any, ...]] = {}
    pieces: list[Piece] = []
    for position in sorted(roots):
        node = graph.nodes[position]
        if node.kind != "op":
            continue
        if OPS[node.op].elementwise:
            pieces += _elementwise_pieces(graph, position, roots, templates)
        else:
            pieces.append(_structural(graph, position))
    return pieces


def every_op(graph: Graph) -> list[Piece]:
    """Each op as a piece of its own.

    >>> from verify.reading.expression import graph_from_expressions
    >>> [piece.root for piece in every_op(graph_from_expressions({"x": ()}, {"f": "sqrt(relu(x))"}))]
    [1, 2]
    """
    templates: dict[tuple[Any, ...], tuple[Any, ...]] = {}
    return [_piece(graph, position, templates) for position, node in enumerate(graph.nodes) if node.kind == "op"]


def piece_of(graph: Graph, position: int) -> Piece:
    """One op alone as a piece, with all its operands as leaves. Raises NotRealError, TooLargeError.

    >>> from verify.reading.expression import graph_from_expressions
    >>> graph = graph_from_expressions({"x": ()}, {"f": "exp(x * x)"})
    >>> piece_of(graph, 2).leaves
    (1,)
    """
    return _piece(graph, position, {})


def _piece(graph: Graph, position: int, templates: dict[tuple[Any, ...], tuple[Any, ...]]) -> Piece:
    if not OPS[graph.nodes[position].op].elementwise:
        return _structural(graph, position)
    piece = _elementwise(graph, position, None, templates)
    if piece is None:
        raise NotRealError(f"SymPy has no real form of {graph.text(position)}")
    return piece


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
        if OPS[node.op].kink is not None or isinstance(OPS[node.op].singular, Jump):
            roots.update(node.args)  # SymPy differentiates Abs, Max and the like of plain real symbols only
        if len(graph.consumers[position]) > 1:
            roots.add(position)
    return frozenset(roots)


def _elementwise_pieces(
    graph: Graph, root: int, roots: frozenset[int], templates: dict[tuple[Any, ...], tuple[Any, ...]]
) -> list[Piece]:
    """One piece, or one for each of its ops where SymPy takes the whole for nowhere real: ``sqrt(-exp(x))``."""
    whole = _elementwise(graph, root, roots, templates)
    if whole is not None:
        return [whole]
    return [_piece(graph, position, templates) for position in _inside(graph, root, roots)]


def _elementwise(
    graph: Graph, root: int, roots: frozenset[int] | None, templates: dict[tuple[Any, ...], tuple[Any, ...]]
) -> Elementwise | None:
    """The ops from one root down to the next as one expression, None where that or a slope of it is not real.

    Without ``roots`` it is the one op alone.
    """
    inside = [root] if roots is None else _inside(graph, root, roots)
    leaves = tuple(dict.fromkeys(
        arg for at in inside for arg in graph.nodes[at].args
        if arg not in inside and graph.nodes[arg].kind != "constant"
    ))  # fmt: skip
    symbols = tuple(real_symbol(f"s{i}") for i in range(len(leaves)))
    known: dict[int, Any] = dict(zip(leaves, symbols, strict=True))
    for at in inside:
        node = graph.nodes[at]
        operands = [known[arg] if arg in known else constant(graph.nodes[arg]) for arg in node.args]
        known[at] = OPS[node.op].sympy(*operands, **static_params(node))
    expression = known[root]
    key = (expression, len(symbols))
    if key not in templates:
        partials = tuple(differentiated(expression, symbol) for symbol in symbols)
        if not all(can_evaluate(form) for form in (expression, *partials)):
            return None
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
    if uses(graph, node, shapes[0]) > MOST_MONOMIALS:
        raise TooLargeError(
            f"stage {node.stage or graph.text(position)!r} expands into more than {MOST_MONOMIALS} terms"
        )
    symbols = {arg: entry_symbols(f"s{i}", shape) for i, (arg, shape) in enumerate(zip(operands, shapes, strict=True))}
    known = [symbols[arg] if arg in symbols else objects(constant(graph.nodes[arg])) for arg in node.args]
    entries = apply(node, known)
    where = {symbol: (i, at) for i, arg in enumerate(operands) for at, symbol in enumerate(symbols[arg].flat)}
    terms = [(at, term) for at, entry in enumerate(entries.flat) for term in sympy.Add.make_args(sympy.expand(entry))]
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


def _monomials(terms: Sequence[tuple[int, sympy.Expr]], where: Mapping[sympy.Symbol, tuple[int, int]]) -> Monomials:
    """Terms with their group, taken apart into coefficient and factors."""
    coefficients, exact = np.empty(len(terms)), np.empty(len(terms), dtype=object)
    reads: dict[tuple[int, int], tuple[list[int], list[int]]] = {}
    for number, (_, term) in enumerate(terms):
        constant, rest = term.as_coeff_Mul()
        coefficients[number] = float(constant)
        exact[number] = constant
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

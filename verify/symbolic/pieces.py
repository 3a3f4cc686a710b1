"""By stages: a graph cut into pieces, each differentiated once by SymPy with its operands as plain symbols.

Substituting stages into each other explodes; the partial derivatives of the pieces do not. A piece is an elementwise
expression, differentiated once as a scalar and applied to all entries, or one structural op (a product of matrices,
a sum, an index), expanded into monomials, or one op that has a lowering, which is cut into pieces itself. Totals come
from the sparse triangular system that the partials form.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any

import flint
import numpy as np
import sympy

from verify.graph.graph import Graph, lowered
from verify.graph.taylor import precision
from verify.ops import OPS, Jump, Op, Shape, sympy_forms
from verify.symbolic.formula import OBJECTS, Formulas, can_evaluate, differentiated, formula_text
from verify.symbolic.implicit import MOST_UNKNOWNS, Equations
from verify.symbolic.matrix_forms import local_matrix_forms
from verify.symbolic.polynomials import Monomials, expanded
from verify.symbolic.symbols import Objects, constant, real_symbol, static_params, uses

if TYPE_CHECKING:
    from numpy.typing import NDArray

MOST_MONOMIALS = 200_000
"""Products in one structural stage (``m*k*n`` for a matrix product) that are still expanded."""

MORE_DIGITS = 320
"""Bits in which terms that cancel are added up: a product of six doubles is exact, and sums lose little."""

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
    if flat.dtype == OBJECTS:
        out.fill(flint.arb(0))  # python-flint reads no integers where it expects balls
    out[:, present] = sums
    return out


@dataclass(slots=True)
class Structural(Piece):
    """One op that moves entries about or adds up products of them, expanded by SymPy into monomials."""

    shapes: tuple[Shape, ...]
    shape: Shape
    forward: Monomials
    slopes: tuple[tuple[Monomials, NDArray[np.int64]], ...]
    """For each operand the derivative terms, grouped by the operand's entry, and the output entry each belongs to."""
    cancels: bool = False
    """Terms may cancel far below their own size, as those of a determinant: floats are carried with more digits."""

    def value(self, operands: Sequence[Any], like: Any = None) -> Any:  # noqa: ARG002 - it always has operands
        """See :class:`Piece`."""
        flat = _flattened(operands)
        return self._carried(lambda *f: self._sum(self.forward.terms(f), self.forward.groups, self.shape), *flat)

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
        def pull(total: Any, *flat: Any) -> Any:
            return self._sum(total[:, outputs] * monomials.terms(flat), monomials.groups, leaf)

        return self._carried(pull, total.reshape(len(total), -1), *flat)

    @staticmethod
    def _sum(terms: Any, groups: NDArray[np.int64], shape: Shape) -> Any:
        return _summed_by(terms, groups, math.prod(shape)).reshape(len(terms), *shape)

    def _carried(self, function: Callable[..., Any], *arrays: Any) -> Any:
        """A function of arrays, of floats with more digits than they have where that is needed."""
        if not self.cancels or any(x.dtype == OBJECTS for x in arrays):
            return function(*arrays)
        with precision(MORE_DIGITS):
            return _as_floats(np.asarray(function(*(_as_balls(x) for x in arrays)), dtype=object))

    def local_derivatives(self, graph: Graph) -> dict[str, str]:
        """See :class:`Piece`."""
        node = graph.nodes[self.root]
        if node.op == "matmul" and len(self.leaves) == 2 and all(len(shape) == 2 for shape in self.shapes):
            return local_matrix_forms([graph.text(leaf) for leaf in self.leaves], self.shapes, node)
        text = graph.text(self.root)
        return {graph.text(leaf): f"partials of {text}, entry by entry" for leaf in self.leaves}


@dataclass(slots=True)
class Composite(Piece):
    """One op that is neither entry by entry nor a polynomial, as the program of others that its row says it is."""

    op: str
    static: Mapping[str, Any]
    system: System

    def value(self, operands: Sequence[Any], like: Any = None) -> Any:  # noqa: ARG002 - it always has operands
        """See :class:`Piece`."""
        return self._run(operands)[self.system.graph.position("y")]

    def pulls(self, operands: Sequence[Any], *, absorb: bool = False) -> list[Pull]:
        """See :class:`Piece`."""
        values = self._run(operands)
        return [partial(self._pulled, values=values, which=i, absorb=absorb) for i in range(len(operands))]

    def _pulled(self, total: Any, values: Mapping[int, Any], which: int, absorb: bool) -> Any:
        return self.system.totals(values, {"y": total}, absorb=absorb)[self.system.graph.position(f"a{which}")]

    def _run(self, operands: Sequence[Any]) -> dict[int, Any]:
        inputs = {f"a{i}": np.asarray(x) for i, x in enumerate(operands)}
        held = OPS[self.op].held
        if held is not None:
            with np.errstate(all="ignore"):  # what is not finite here is not finite in the result
                constant = held(*map(_as_floats, inputs.values()), **self.static)
            inputs["held"] = constant if inputs["a0"].dtype != OBJECTS else _as_balls(constant)
        return self.system.forward(inputs)

    def local_derivatives(self, graph: Graph) -> dict[str, str]:
        """See :class:`Piece`."""
        text = graph.text(self.root)
        return {graph.text(leaf): f"partials of {text}, by the ops that it is built of" for leaf in self.leaves}


@dataclass(slots=True)
class Implicit(Piece):
    """One op that SymPy knows by the equations its value solves."""

    shapes: tuple[Shape, ...]
    shape: Shape
    equations: Equations

    def value(self, operands: Sequence[Any], like: Any = None) -> Any:  # noqa: ARG002 - it always has operands
        """See :class:`Piece`."""
        y = self.equations.solved(_flattened(operands))
        return y.reshape(len(y), *self.shape)

    def pulls(self, operands: Sequence[Any], *, absorb: bool = False) -> list[Pull]:  # noqa: ARG002 - none is infinite
        """See :class:`Piece`."""
        flat = _flattened(operands)
        y = self.equations.solved(flat)
        return [partial(self._pulled, y=y, flat=flat, which=i) for i in range(len(flat))]

    def _pulled(self, total: Any, y: Any, flat: Sequence[Any], which: int) -> Any:
        sent = self.equations.pulled(total.reshape(len(total), -1), y, flat)[which]
        return sent.reshape(len(sent), *self.shapes[which])

    def local_derivatives(self, graph: Graph) -> dict[str, str]:
        """See :class:`Piece`."""
        return {graph.text(leaf): f"from the equations that {graph.text(self.root)} solves" for leaf in self.leaves}


def _as_floats(x: Any) -> Any:
    """The middles of balls; floats as they are."""
    return x if x.dtype != OBJECTS else np.frompyfunc(lambda ball: float(ball.mid()), 1, 1)(x).astype(np.float64)


def _as_balls(x: Any) -> Objects:
    balls: Objects = np.frompyfunc(flint.arb, 1, 1)(x)
    return balls


def _flattened(operands: Sequence[Any]) -> list[Any]:
    return [np.asarray(x).reshape(len(x), -1) for x in operands]


def pieces_of(graph: Graph) -> list[Piece]:
    """The graph cut at its stages, at structural ops, and wherever a value is read more than once.

    >>> from verify.case.expression import graph_from_expressions
    >>> graph = graph_from_expressions({"x": (3,)}, {"a": "exp(2 * x) + 1", "f": "sum(a)"})
    >>> [type(piece).__name__ for piece in pieces_of(graph)]
    ['Elementwise', 'Structural']
    """
    roots = _roots(graph)
    pieces: list[Piece] = []
    for position in sorted(roots):
        node = graph.nodes[position]
        if node.kind != "op":
            continue
        if OPS[node.op].elementwise:
            pieces += _elementwise_pieces(graph, position, roots)
        else:
            pieces.append(_piece(graph, position))
    return pieces


def every_op(graph: Graph) -> list[Piece]:
    """Each op as a piece of its own.

    >>> from verify.case.expression import graph_from_expressions
    >>> [piece.root for piece in every_op(graph_from_expressions({"x": ()}, {"f": "sqrt(relu(x))"}))]
    [1, 2]
    """
    return [_piece(graph, position) for position, node in enumerate(graph.nodes) if node.kind == "op"]


def piece_of(graph: Graph, position: int) -> Piece:
    """One op alone as a piece, with all its operands as leaves. Raises NotRealError, TooLargeError.

    >>> from verify.case.expression import graph_from_expressions
    >>> graph = graph_from_expressions({"x": ()}, {"f": "exp(x * x)"})
    >>> piece_of(graph, 2).leaves
    (1,)
    """
    return _piece(graph, position)


def _piece(graph: Graph, position: int) -> Piece:
    row = OPS[graph.nodes[position].op]
    if row.lower is not None:
        return _composite(graph, position)
    if row.implicit:
        return _implicit(graph, position)
    if not row.elementwise:
        return _structural(graph, position)
    piece = _elementwise(graph, position, None)
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


def _elementwise_pieces(graph: Graph, root: int, roots: frozenset[int]) -> list[Piece]:
    """One piece, or one for each of its ops where SymPy takes the whole for nowhere real: ``sqrt(-exp(x))``."""
    whole = _elementwise(graph, root, roots)
    if whole is not None:
        return [whole]
    return [_piece(graph, position) for position in _inside(graph, root, roots)]


def _elementwise(graph: Graph, root: int, roots: frozenset[int] | None) -> Elementwise | None:
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
    template = _template(expression, symbols)
    if template is None:
        return None
    partials, forward, slopes = template
    shapes = tuple(graph.nodes[leaf].shape for leaf in leaves)
    return Elementwise(root, leaves, shapes, graph.nodes[root].shape, symbols, expression, partials, forward, slopes)


@lru_cache(maxsize=4096)
def _template(
    expression: sympy.Expr, symbols: tuple[sympy.Symbol, ...]
) -> tuple[tuple[sympy.Expr, ...], Formulas, Formulas] | None:
    """The slopes of an expression, both ready to be evaluated; None where one of them is not real.

    Operands are named by their order alone, so that all pieces of one form share this, of all sizes and cases.
    """
    partials = tuple(differentiated(expression, symbol) for symbol in symbols)
    if not all(can_evaluate(form) for form in (expression, *partials)):
        return None
    return partials, Formulas([expression], symbols), Formulas(partials, symbols)


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
    row, static = OPS[node.op], static_params(node)
    if operands != list(node.args):  # the same array twice: x @ x
        row = replace(row, sympy=_repeated(row, [operands.index(arg) for arg in node.args]))
    forward, slopes = expanded(row, shapes, static)
    return Structural(position, tuple(operands), shapes, node.shape, forward, tuple(slopes), cancels=row.curved)


def _implicit(graph: Graph, position: int) -> Implicit:
    node = graph.nodes[position]
    operands = list(dict.fromkeys(node.args))
    shapes = tuple(graph.nodes[arg].shape for arg in operands)
    name = node.stage or graph.text(position)
    if uses(graph, node, shapes[0]) > MOST_MONOMIALS:
        raise TooLargeError(f"the equations of stage {name!r} have more than {MOST_MONOMIALS} terms")
    row = OPS[node.op]
    if operands != list(node.args):
        row = replace(row, sympy=_repeated(row, [0, *(1 + operands.index(arg) for arg in node.args)]))
    equations = Equations.of(row, node.shape, shapes, static_params(node))
    if equations.largest > MOST_UNKNOWNS:
        raise TooLargeError(f"stage {name!r} solves for {equations.largest} entries at once; {MOST_UNKNOWNS} are tried")
    return Implicit(position, tuple(operands), shapes, node.shape, equations)


def _repeated(row: Op, places: Sequence[int]) -> Callable[..., Any]:
    """The SymPy form of an op whose operands are the same array in several places."""
    form = row.sympy
    return lambda *operands, **static: form(*(operands[place] for place in places), **static)


def _composite(graph: Graph, position: int) -> Composite:
    node = graph.nodes[position]
    shapes = tuple(graph.nodes[arg].shape for arg in node.args)
    program = lowered(node.op, shapes, node.params)
    system = System(program, pieces_of(program))
    return Composite(position, node.args, node.op, static_params(node), system)


class System:
    """A graph as pieces, whose partial derivatives form a sparse triangular system.

    >>> from verify.case.expression import graph_from_expressions
    >>> graph = graph_from_expressions({"x": ()}, {"q": "x**2", "f": "3 * q"})
    >>> system = System(graph, pieces_of(graph))
    >>> system.totals(system.forward({"x": np.array([2.0])}), {"f": np.ones(1)})[0]
    array([12.])
    """

    def __init__(self, graph: Graph, pieces: Sequence[Piece]) -> None:
        self.graph = graph
        self.pieces = tuple(pieces)
        self._readers: dict[int, list[tuple[Piece, int]]] = {}
        for piece in self.pieces:
            for which, leaf in enumerate(piece.leaves):
                self._readers.setdefault(leaf, []).append((piece, which))

    def forward(self, inputs: Mapping[str, Any]) -> dict[int, Any]:
        """SymPy's own forward pass: the value of every piece and input."""
        like = next(iter(inputs.values()))
        points = len(like)
        values = {position: inputs[name] for name, position in self.graph.inputs.items()}
        for piece in self.pieces:
            value = piece.value([values[leaf] for leaf in piece.leaves], like)
            shape = (points, *self.graph.nodes[piece.root].shape)
            values[piece.root] = value if np.shape(value) == shape else np.broadcast_to(value, shape)
        return values

    def totals(self, values: Mapping[int, Any], upstream: Mapping[str, Any], *, absorb: bool = False) -> dict[int, Any]:
        """Total derivatives by every piece and input: the system solved from its last row up."""
        pulls = {
            id(piece): piece.pulls([values[leaf] for leaf in piece.leaves], absorb=absorb) for piece in self.pieces
        }
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

"""The slopes of the contracted output by every entry of every node at once, in balls.

A series pass through the graph (:mod:`verify.graph.taylor`) gives the slope by one entry. Here each op is run as a
series by its own operands alone, and what that says is added up from the outputs back: the work of a few passes,
however many entries there are. Neither SymPy nor a vector-Jacobian product has a part in it: a local slope is the first
coefficient of the op's ball form, and of ops that move entries or add up products of them the ball form is run once on
entries that remember how they were combined. A ball from here holds the true slope, as that of a series pass does, but
may be wider: where operands move together, ``max(2 * x, x + x)`` say, a series knows it. Who finds one too wide asks
for that.

Where the values are series along a direction v, the slopes are series too, whose first coefficient is how they change
along v: the products of the second derivatives with v, again all at once. :data:`SECOND_TERMS` terms are needed then.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import flint
import numpy as np

from verify.graph.graph import Graph, Node
from verify.graph.taylor import Taylor, Values, Weights, as_objects, broadcast_operands, entries_of
from verify.graph.work import Work
from verify.numbers.ball_math import head, tail
from verify.ops import OPS

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Objects = NDArray[np.object_]

arb = flint.arb


EMPTY: Mapping[int, Sequence[Any]] = MappingProxyType({})

PASSES = 4
"""Passes through the graph that it is charged for."""

SECOND_TERMS = 6
"""Terms of a series that has mixed second derivatives, see :func:`mixed`."""

MOST_TERMS = 200_000
"""Products in one op that are still remembered one by one."""

Part = Iterator[tuple[int, flint.arb]]
"""Flat entries of an operand, and what is added to the slope by each; an entry may come more than once."""


class AllSlopes:
    """A graph made ready; it holds no state between runs.

    >>> from verify.case.expression import graph_from_expressions
    >>> from verify.graph.taylor import precision
    >>> graph = graph_from_expressions({"x": (2,)}, {"f": "sum(x * x)"})
    >>> taylor = Taylor(graph)
    >>> with precision(128):
    ...     values = taylor.values({"x": np.array([arb(2), arb(3)], dtype=object)})
    ...     [float(slope) for slope in AllSlopes(taylor).at(values, [(2, arb(1))])[0]]
    [4.0, 6.0]
    """

    def __init__(self, taylor: Taylor) -> None:
        self.graph = taylor.graph
        self._calls: tuple[Any, ...] = taylor.calls
        self._passed = tuple(i for i in reversed(range(len(self.graph.nodes))) if i in taylor.wanted)
        self._price = taylor.price
        self._terms: dict[int, tuple[_Term, ...]] = {}
        sizes = (_terms_of(self.graph, node) for node in self.graph.nodes)
        self.is_possible = max(sizes, default=0) <= MOST_TERMS

    def price(self, bits: int) -> float:
        """The work of having all slopes once."""
        return PASSES * self._price(bits)

    def at(
        self, values: Values, weights: Weights, work: Work | None = None, slack: Mapping[int, Sequence[Any]] = EMPTY
    ) -> dict[int, list[Any]]:
        """Node -> the slopes by its entries, in C order; nodes that no output depends on are left out.

        Balls, or where the values are series, balls and series. ``slack`` has factors, a ball around 1 each, for the
        entries of elementwise nodes whose slopes are no better known than that.

        A weight of 0 absorbs any slope. Raises OutOfWorkError.
        """
        if work is not None:
            work.spend(self.price(flint.ctx.prec))
        slopes: dict[int, dict[int, flint.arb]] = {}
        for position, weight in weights:
            into = slopes.setdefault(position, {})
            for k, g in enumerate(as_objects(weight).ravel().tolist()):
                if g != 0:
                    into[k] = into[k] + g if k in into else g
        for position in self._passed:
            node = self.graph.nodes[position]
            if node.kind != "op" or not slopes.get(position):
                continue
            own = slopes[position]
            if position in slack:
                own = {k: slope * slack[position][k] for k, slope in own.items()}
            for operand, part in self._parts(position, values, own):
                into = slopes.setdefault(operand, {})
                for k, slope in part:
                    into[k] = into[k] + slope if k in into else slope
        zero = arb(0)
        counts = {position: math.prod(self.graph.nodes[position].shape) for position in slopes}
        return {position: [found.get(k, zero) for k in range(counts[position])] for position, found in slopes.items()}

    def _parts(self, position: int, values: Values, slopes: dict[int, flint.arb]) -> Iterator[tuple[int, Part]]:
        """For each operand what a node's slopes add to its own."""
        node = self.graph.nodes[position]
        if _is_sum_of_products(node):
            of_place = self._of_matrices if _are_matrices(self.graph, node) else self._of_products
            for place, operand in enumerate(node.args):
                if self.graph.nodes[operand].kind != "constant":
                    yield operand, of_place(position, place, values, slopes)
            return
        parts = self._of_entries if OPS[node.op].elementwise else self._of_rows
        for operand in dict.fromkeys(node.args):
            if self.graph.nodes[operand].kind != "constant":
                yield operand, parts(position, operand, values, slopes)

    def _of_entries(self, position: int, operand: int, values: Values, slopes: dict[int, flint.arb]) -> Part:
        """An elementwise op by one operand: each entry by its own."""
        node = self.graph.nodes[position]
        if not node.shape:
            moves = [arg == operand for arg in node.args]
            yield 0, slopes[0] * _slope(self._calls[position], [values[arg] for arg in node.args], moves)
            return
        form = _form(node)
        known = [x.ravel() for x in broadcast_operands(node, [values[arg] for arg in node.args])]
        shape = self.graph.nodes[operand].shape
        reads = np.broadcast_to(np.arange(math.prod(shape)).reshape(shape), node.shape).ravel().tolist()
        moves = [arg == operand for arg in node.args]
        for k, slope in slopes.items():
            yield reads[k], slope * _slope(form, [x[k] for x in known], moves)

    def _of_products(self, position: int, place: int, values: Values, slopes: dict[int, flint.arb]) -> Part:
        """A sum of products by the operand in one place: each product without its factor from there."""
        node = self.graph.nodes[position]
        if position not in self._terms:
            self._terms[position] = _recorded(self.graph, node)
        flat = [as_objects(values[arg]).ravel() for arg in node.args]
        for result, (factors, multiplier, divisor) in self._terms[position]:
            slope = slopes.get(result)
            if slope is None:
                continue
            own = -1
            for operand, entry in factors:
                if operand == place:
                    own = entry
                else:
                    slope = slope * flat[operand][entry]
            if own >= 0:
                yield own, slope if multiplier is divisor else slope * multiplier / divisor  # both the 1 of the start

    def _of_matrices(self, position: int, place: int, values: Values, slopes: dict[int, flint.arb]) -> Part:
        """A product of two matrices by one of them: its products are known without being remembered."""
        left, right = (self.graph.nodes[arg].shape for arg in self.graph.nodes[position].args)
        length, columns = left[-1], 1 if len(right) == 1 else right[1]
        other = as_objects(values[self.graph.nodes[position].args[1 - place]]).ravel().tolist()
        for result, slope in slopes.items():
            row, column = divmod(result, columns)
            first, second = range(row * length, (row + 1) * length), range(column, length * columns, columns)
            for own, theirs in zip(*((first, second) if place == 0 else (second, first)), strict=True):
                yield own, slope * other[theirs]

    def _of_rows(self, position: int, operand: int, values: Values, slopes: dict[int, flint.arb]) -> Part:
        """Any other op by one operand: entry after entry, in all rows together that the op takes one by one."""
        node, call = self.graph.nodes[position], self._calls[position]
        along = any(isinstance(x, flint.arb_series) for arg in node.args for x in entries_of(values[arg]))
        others = {arg: _apart(values[arg]) if along else values[arg] for arg in node.args}
        start = as_objects(others[operand])
        rows, results = _rows(node, start.shape)
        crossing = flint.arb_series([0, 0, 1]) if along else None
        for column in rows.T.tolist():
            entries = start.flatten()
            for k in column:
                entries[k] = entries[k] + crossing if along else flint.arb_series([entries[k], 1])
            moving = entries.reshape(start.shape)
            moved = as_objects(call(*(moving if arg == operand else others[arg] for arg in node.args))).ravel().tolist()
            for entry, reached in zip(column, results, strict=True):
                for k in reached:
                    if k in slopes and not isinstance(moved[k], arb):
                        yield entry, slopes[k] * (_turned(moved[k]) if along else tail(moved[k]))


def mixed(value: Any, moves: Any) -> flint.arb_series:
    """A number that moves in two ways at once: by ``moves`` times s, and where it is a series along t as that does.

    With ``s = z**2`` and ``t = z**3`` no other product of powers of the two is ``z**5``: after any function of such
    numbers its coefficient is the mixed second derivative itself, with no terms that have to cancel.

    >>> from verify.graph.taylor import precision
    >>> with precision(64, SECOND_TERMS):
    ...     x = mixed(flint.arb_series([3, 10]), 1)
    ...     [float((x * x * x)[k]) for k in (0, 2, 3, 5)]
    [27.0, 27.0, 270.0, 180.0]
    """
    return flint.arb_series([head(value), 0, moves, tail(value)])


def _apart(value: Any) -> Any:
    """A value whose series are moved along t as :func:`mixed` does."""

    def parted(x: Any) -> Any:
        return mixed(x, 0) if isinstance(x, flint.arb_series) else x

    return np.frompyfunc(parted, 1, 1)(value) if isinstance(value, np.ndarray) else parted(value)


def _turned(moved: Any) -> Any:
    """The slope by s of a function of mixed numbers, as a series along t."""
    return arb(0) if isinstance(moved, arb) else flint.arb_series([moved[2], moved[5]], 2)


def _slope(form: Callable[..., Any], operands: Sequence[Any], moves: Sequence[bool]) -> Any:
    """The slope of one number by those of its operands that move: a ball, or a series where any operand is one."""
    if any(isinstance(x, flint.arb_series) for x in operands):
        at = [mixed(x, int(moving)) if moving else _apart(x) for x, moving in zip(operands, moves, strict=True)]
        return _turned(form(*at))
    return tail(form(*(flint.arb_series([x, 1]) if moving else x for x, moving in zip(operands, moves, strict=True))))


def _form(node: Node) -> Callable[..., Any]:
    ball = OPS[node.op].ball
    return (lambda *operands: ball(*operands, **node.static)) if node.static else ball


def _rows(node: Node, shape: tuple[int, ...]) -> tuple[NDArray[np.int64], list[list[int]]]:
    """The flat entries of an operand ``(rows, entries)``, no two rows of which meet in a result, and their results.

    An op over an axis takes one row after the other; any other op is one row.
    """
    entries = np.arange(math.prod(shape)).reshape(shape)
    axis = node.static.get("axis") if len(node.args) == 1 and OPS[node.op].axis_of == "operand" else None
    if axis is None:
        return entries.reshape(1, -1), [list(range(math.prod(node.shape)))]
    axes = axis if isinstance(axis, tuple) else (axis,)
    ends = range(len(shape) - len(axes), len(shape))
    rows = np.moveaxis(entries, axes, ends)
    rows = rows.reshape(math.prod(rows.shape[: len(shape) - len(axes)]), -1)
    results = np.arange(math.prod(node.shape)).reshape(node.shape)
    results = np.moveaxis(results, axes, ends) if node.shape == shape else results
    return rows, results.reshape(len(rows), -1).tolist()


# ---------------------------------------------------------------------------------------------------- sums of products

_Product = tuple[tuple[tuple[int, int], ...], Any, Any]
"""Factors (operand, its flat entry), and the numbers that their product is multiplied and divided by."""

_Term = tuple[int, _Product]
"""Flat entry of the result, and a product that is added to it."""


def _is_sum_of_products(node: Node) -> bool:
    """Whether an op moves entries, or adds up products of one from each operand; its ball form knows no more then."""
    row = OPS[node.op]
    return not (row.elementwise or row.lower or row.implicit or row.curved) and not row.name.startswith("conv")


def _are_matrices(graph: Graph, node: Node) -> bool:
    return node.op == "matmul" and all(len(graph.nodes[arg].shape) <= 2 for arg in node.args)


def _terms_of(graph: Graph, node: Node) -> int:
    """How many products have to be remembered."""
    if node.kind != "op" or not _is_sum_of_products(node) or _are_matrices(graph, node):
        return 0
    row, shapes = OPS[node.op], [graph.nodes[arg].shape for arg in node.args]
    return row.uses(*shapes, **node.static) if row.uses is not None else sum(map(math.prod, shapes))


class _Remembering:
    """An entry, or a sum of products of such, that remembers them."""

    __slots__ = ("parts",)

    def __init__(self, parts: Any) -> None:
        """``parts`` is ``(factors, multiplier, divisor)``, or a list of this class, which are added."""
        self.parts = parts

    def terms(self) -> Iterator[_Product]:
        """The products that are added up."""
        waiting = [self]
        while waiting:
            parts = waiting.pop().parts
            if isinstance(parts, list):
                waiting += parts
            else:
                yield parts

    def _each(self, function: Callable[[_Product], _Product]) -> _Remembering:
        made = [_Remembering(function(term)) for term in self.terms()]
        return made[0] if len(made) == 1 else _Remembering(made)

    def __add__(self, other: Any) -> _Remembering:
        if isinstance(other, _Remembering):
            return _Remembering([self, other])
        assert other == 0, "a sum of products begins with 0, and has no other number"
        return self

    __radd__ = __add__

    def __mul__(self, other: Any) -> _Remembering:
        if not isinstance(other, _Remembering):
            return self._each(lambda term: (term[0], term[1] * other, term[2]))
        return self._each(lambda term: (term[0] + other.parts[0], term[1] * other.parts[1], term[2] * other.parts[2]))

    __rmul__ = __mul__

    def __truediv__(self, number: flint.arb) -> _Remembering:
        return self._each(lambda term: (term[0], term[1], term[2] * number))


def _recorded(graph: Graph, node: Node) -> tuple[_Term, ...]:
    """The products that a node adds up, by its ball form."""
    operands = []
    for place, arg in enumerate(node.args):
        entries = np.empty(math.prod(graph.nodes[arg].shape), dtype=object)
        entries[:] = [_Remembering((((place, k),), 1, 1)) for k in range(len(entries))]
        operands.append(entries.reshape(graph.nodes[arg].shape))
    results: Sequence[Any] = np.asarray(_form(node)(*operands), dtype=object).ravel().tolist()
    return tuple(
        (k, term)
        for k, result in enumerate(results)
        if isinstance(result, _Remembering)  # else a zero that was put between
        for term in result.terms()
    )

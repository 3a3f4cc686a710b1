"""Running a graph on balls, and on series of balls: certified values, certified slopes, and Taylor coefficients.

A ball pass gives every node's value. A series pass gives the slope of the contracted output along one entry of one
variable: that entry becomes ``value + t``, and the nodes that depend on it run again. Series have two terms unless
:class:`precision` is told otherwise. Neither SymPy nor a vector-Jacobian product has a part in it; what each op does
stands in the column ``ball`` of the op table.

Values carry no axis of points here: a scalar is a single ball, an array an object array of balls.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from enum import Enum
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import flint
import numpy as np

from verify.graph.graph import Graph, Node
from verify.graph.interpret import REAL_CONSTANTS
from verify.graph.work import CALL, Work, price_of
from verify.numbers.ball_math import either, head, tail
from verify.ops import OPS, Kink, Shape

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Objects = NDArray[np.object_]

Entry = tuple[int, ...]
Direction = Any
"""An entry that moves, or an array of the variable's shape: how far each entry moves."""
Values = list[Any]
"""The value of each node by position."""

Weights = Sequence[tuple[int, Any]]
"""Position of each output and its upstream gradient, a ball or an object array of them."""


class Branch(Enum):
    """What an entry of a kinked node is taken for, whatever its operands say."""

    FIRST = "first"
    """Value and slope of the op's first branch."""
    SECOND = "second"
    """Value and slope of the second."""
    EITHER = "either"
    """The hull of both."""
    FLAT = "flat"
    """The value of either, and no slope."""


Frozen = Mapping[int, Mapping[Entry, Branch]]
"""Kinked node -> entry -> branch; the balls decide the entries that are not in it."""


class precision:  # noqa: N801 - used as a function is, like mpmath's workprec
    """Balls with that many bits and series with that many terms inside, python-flint's settings as before outside.

    >>> with precision(300):
    ...     flint.ctx.prec
    300
    >>> flint.ctx.prec
    53
    """

    __slots__ = ("_before", "_bits", "_terms")

    def __init__(self, bits: int, terms: int = 2) -> None:
        """Two terms are a value and a slope."""
        self._bits, self._terms = bits, terms

    def __enter__(self) -> None:
        """Keeps the settings and changes them: they are global."""
        context = flint.ctx
        self._before = context.prec, context.cap
        context.prec, context.cap = self._bits, self._terms

    def __exit__(self, *_: object) -> None:
        """Restores the settings, whatever happened."""
        flint.ctx.prec, flint.ctx.cap = self._before


class Taylor:
    """A graph made ready to run on balls and on series; it holds no state between runs.

    >>> from verify.case.expression import graph_from_expressions
    >>> taylor = Taylor(graph_from_expressions({"x": ()}, {"f": "x**3"}))
    >>> with precision(128):
    ...     values = taylor.values({"x": flint.arb(2)})
    ...     slope = taylor.slope(values, 0, (), [(1, flint.arb(1))])
    >>> float(values[1]), float(slope)
    (8.0, 12.0)
    """

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.calls = tuple(ball_call(graph, node) for node in graph.nodes)
        self._order = tuple(i for i, node in enumerate(graph.nodes) if node.kind == "op")
        self._constants = [flint.arb(node.value) if node.value is not None else None for node in graph.nodes]
        self._real = {i: node.op for i, node in enumerate(graph.nodes) if node.kind == "constant" and _is_real(node)}
        self.wanted = graph.needed_for(graph.position(name) for name in graph.outputs)
        self._orders: dict[int, tuple[int, ...]] = {}
        self._prices = tuple(price_of(graph, node) for node in graph.nodes)
        self._has_arrays = any(node.shape for node in graph.nodes)

    def values(
        self,
        inputs: Mapping[str, Any],
        work: Work | None = None,
        frozen: Frozen | None = None,
        literal: Callable[[float], flint.arb] | None = None,
    ) -> Values:
        """The value of every node; inputs are balls, or object arrays of them; ``frozen`` decides some branches.

        ``literal`` gives the ball that a constant stands for, where it is not just that float. Raises OutOfWorkError
        before a node that takes more ``work`` than is left.
        """
        values: Values = self._constants[:]
        if literal is not None:
            values = [None if n.value is None else literal(n.value) for n in self.graph.nodes]
        for i, name in self._real.items():
            values[i] = real_constant(name)
        for name, position in self.graph.inputs.items():
            values[position] = inputs[name]
        self._execute(values, self._order, work, frozen)
        return values

    def series(
        self,
        values: Values,
        position: int,
        entry: Direction,
        work: Work | None = None,
        frozen: Frozen | None = None,
    ) -> Values:
        """The values again, those that depend on one entry of one node as series in that entry.

        ``frozen`` must be the branches that the values were computed with; only EITHER may have become FLAT.
        """
        again = values[:]
        again[position] = seeded(values[position], entry)
        moving = {position: _is_series(as_objects(again[position]))} if self._has_arrays else None
        self._execute(again, self.order(position), work, frozen, moving)
        return again

    def slope(
        self,
        values: Values,
        position: int,
        entry: Direction,
        weights: Weights,
        work: Work | None = None,
        frozen: Frozen | None = None,
    ) -> flint.arb:
        """The derivative of the contracted output by one entry of one node (or along a direction), at some values."""
        return contracted(self.series(values, position, entry, work, frozen), weights)

    def order(self, position: int) -> tuple[int, ...]:
        """The nodes between a variable and the outputs, which run in a series pass."""
        order = self._orders.get(position)
        if order is None:
            order = tuple(i for i in self.graph.depends_on([position]) if i in self.wanted)
            self._orders[position] = order
        return order

    def price(self, bits: int) -> float:
        """The work of running all nodes once."""
        return sum(price.at(bits) + CALL for price in self._prices)

    def _execute(
        self,
        values: Values,
        order: Sequence[int],
        work: Work | None,
        frozen: Frozen | None,
        moving: dict[int, Any] | None = None,
    ) -> None:
        """Runs some nodes; in a series pass ``moving`` has the entries of each node that do not stand still."""
        nodes, calls = self.graph.nodes, self.calls
        bits = flint.ctx.prec
        for i in order:
            node = nodes[i]
            args = node.args
            call: Any = calls[i]
            if moving is not None:
                moving[i] = _moving(node, [moving.get(j, np.zeros(nodes[j].shape, dtype=bool)) for j in args])
                if not moving[i].any():
                    continue  # its value is what it was
            few = (
                moving is not None and node.shape and OPS[node.op].elementwise and 2 * moving[i].sum() < moving[i].size
            )
            if work is not None:
                share = moving[i].sum() / moving[i].size if moving is not None and few else 1.0
                work.spend(self._prices[i].at(bits) * share + CALL)
            if frozen is not None and i in frozen:
                values[i] = _frozen_value(node, call, values[i], [values[j] for j in args], frozen[i])
            elif moving is not None and few:
                known = broadcast_operands(node, [values[j] for j in args])
                values[i] = values[i].copy()
                values[i][moving[i]] = call(*(operand[moving[i]] for operand in known))
            elif len(args) == 2:
                values[i] = call(values[args[0]], values[args[1]])
            else:
                values[i] = call(*[values[j] for j in args])


def _moving(node: Node, masks: Sequence[Any]) -> NDArray[np.bool_]:
    """The entries of a node that anything moves, from those of its operands."""
    row = OPS[node.op]
    if not any(np.any(mask) for mask in masks):
        return np.zeros(node.shape, dtype=bool)
    if row.elementwise:
        return np.asarray(np.logical_or.reduce([np.broadcast_to(mask, node.shape) for mask in masks]))
    if row.moves:
        # An op that only moves entries moves the marks alike.
        return np.asarray(row.ball(*(np.asarray(mask) for mask in masks), **node.static)).astype(bool)
    return np.ones(node.shape, dtype=bool)


def _frozen_value(
    node: Node, call: Callable[..., Any], before: Any, operands: Sequence[Any], choices: Mapping[Entry, Branch]
) -> Any:
    """A kinked node's value with some entries replaced by the branch that was chosen for them.

    In a series pass ``before`` is its value without slopes, which holds still for the entries that nothing moves.
    """
    row = OPS[node.op]
    if not row.elementwise:  # a length over an axis: its value, and no slope where it is 0
        taken = as_objects(call(*operands)).copy()
        for entry, choice in choices.items():
            assert choice is Branch.FLAT, f"{node.op} has no branches to choose from"
            taken[entry] = head(taken[entry])
        return taken if node.shape else taken.item()
    known = broadcast_operands(node, operands)
    if before is None:
        taken, moved = as_objects(call(*operands)), list(choices)
    else:
        taken, moved = as_objects(before).copy(), moving_entries(known)
    for entry in moved:
        numbers = [operand[entry] for operand in known]
        if entry not in choices:
            taken[entry] = row.ball(*numbers, **node.static)
        elif row.kink is not None:
            taken[entry] = branch_number(row.kink, choices[entry], numbers, node.static)
        else:
            assert choices[entry] is Branch.FLAT, f"{node.op} has no branches to choose from"
            taken[entry] = row.ball(*map(head, numbers), **node.static)
    return taken if node.shape else taken.item()


def moving_entries(operands: Sequence[Objects]) -> list[Entry]:
    """The entries at which any of several arrays of one shape holds a series.

    >>> moving_entries([np.array([flint.arb(1), flint.arb_series([1, 1])], dtype=object)])
    [(1,)]
    """
    moving = np.zeros(operands[0].shape, dtype=bool)
    for operand in operands:
        moving |= _is_series(operand)
    return [tuple(entry) for entry in np.argwhere(moving).tolist()]


def _is_series(values: Objects) -> NDArray[np.bool_]:
    flags = [isinstance(x, flint.arb_series) for x in values.ravel().tolist()]
    return np.array(flags, dtype=bool).reshape(values.shape)


def broadcast_operands(node: Node, operands: Sequence[Any]) -> list[Objects]:
    """The operands of an elementwise node in the node's own shape, so that an entry of it shows what it is made of.

    >>> from verify.case.expression import graph_from_expressions
    >>> graph = graph_from_expressions({"x": (2,)}, {"f": "max(x, 1)"})
    >>> x = np.array([flint.arb(3), flint.arb(4)], dtype=object)
    >>> [float(a[1]) for a in broadcast_operands(graph.nodes[-1], [x, flint.arb(1)])]
    [4.0, 1.0]
    """
    return [np.broadcast_to(as_objects(operand), node.shape) for operand in operands]


def branch_number(
    kink: Kink, choice: Branch, operands: Sequence[Any], static: Mapping[str, Any] = MappingProxyType({})
) -> Any:
    """One branch of a kinked op, or what holds both, on single balls or series.

    >>> relu = OPS["relu"].kink
    >>> [str(branch_number(relu, choice, [flint.arb_series([0, 1])])[1]) for choice in (Branch.FIRST, Branch.SECOND)]
    ['1.00000000000000', '0']
    """
    if choice is Branch.FIRST:
        return kink.branches[0](*operands, **static)
    if choice is Branch.SECOND:
        return kink.branches[1](*operands, **static)
    one, other = (branch(*operands, **static) for branch in kink.branches)
    return either(one, other) if choice is Branch.EITHER else either(head(one), head(other))


def seeded(value: Any, entry: Direction) -> Any:
    """A value with one of its entries as a series in that entry, or all of them along a direction of its shape.

    >>> str(seeded(flint.arb(2), ()))
    '2.00000000000000 + 1.00000000000000*x + O(x^10)'
    """
    if not isinstance(value, np.ndarray):
        return flint.arb_series([value, float(entry) if isinstance(entry, np.ndarray) else 1])
    copy = value.copy()
    if isinstance(entry, np.ndarray):
        for index in np.ndindex(copy.shape):
            coefficients: list[Any] = [copy[index], float(entry[index])]
            copy[index] = flint.arb_series(coefficients)
        return copy
    at: Any = entry
    copy[at] = flint.arb_series([copy[at], 1])
    return copy


def contracted(values: Values, weights: Weights, degree: int = 1) -> flint.arb:
    """The slope of the outputs, contracted with their upstream gradients; a weight of 0 absorbs any slope.

    With another ``degree`` it is that coefficient of the Taylor series: ``f'' / 2`` for 2.

    >>> bool(contracted([flint.arb_series([0, 3])], [(0, flint.arb(2))]) == 6)
    True
    """
    total = flint.arb(0)
    for position, weight in weights:
        value = values[position]
        if not isinstance(value, np.ndarray):
            if weight != 0 and not isinstance(value, flint.arb):
                total += value[degree] * weight
            continue
        for x, g in zip(value.ravel().tolist(), weight.ravel().tolist(), strict=True):
            if not isinstance(x, flint.arb) and g != 0:
                total += x[degree] * g
    return total


def real_constant(name: str) -> flint.arb:
    """The ball around a real number that no float holds, at the precision of the moment.

    >>> float(real_constant("pi"))
    3.141592653589793
    """
    return {"pi": flint.arb.pi, "e": flint.arb.const_e}[name]()


def _is_real(node: Node) -> bool:
    return node.op in REAL_CONSTANTS


def ball_call(graph: Graph, node: Node) -> Callable[..., Any] | None:
    """A node's op on values as they are kept here: balls, series, and object arrays of them.

    >>> from verify.case.expression import graph_from_expressions
    >>> graph = graph_from_expressions({"x": (2,)}, {"f": "sum(x)"})
    >>> float(ball_call(graph, graph.nodes[1])(np.array([flint.arb(1), flint.arb(2)], dtype=object)))
    3.0
    """
    if node.kind != "op":
        return None
    row = OPS[node.op]
    static = node.static
    form: Callable[..., Any] = partial(row.ball, **static) if static else row.ball
    if not row.elementwise:
        return lambda *operands: _kept(form(*map(as_objects, operands)), node.shape)
    if not node.shape:
        return form
    entrywise: Callable[..., Any] = np.frompyfunc(form, len(node.args), 1)
    if all(graph.nodes[i].shape for i in node.args):
        return entrywise
    return lambda *operands: entrywise(*map(as_objects, operands))


def as_objects(value: Any) -> Objects:
    """A value as an object array; NumPy would take a lone series for a sequence of its coefficients.

    >>> as_objects(flint.arb_series([1, 2])).shape
    ()
    """
    if isinstance(value, np.ndarray):
        return value
    array = np.empty(1, dtype=object)
    array[0] = value
    return array.reshape(())


def _kept(result: Any, shape: Shape) -> Any:
    """The result of a structural op as values are kept: a sum over nothing is the ball 0."""
    if shape:
        result = as_objects(result)
        if result.size and not isinstance(result.flat[0], flint.arb | flint.arb_series):
            result = np.frompyfunc(flint.arb, 1, 1)(result)
        return result
    if isinstance(result, np.ndarray):
        result = result.item()
    return result if isinstance(result, flint.arb | flint.arb_series) else flint.arb(int(result))


def entries_of(value: Any) -> list[Any]:
    """All entries of a value, in C order.

    >>> len(entries_of(flint.arb(1)))
    1
    """
    return value.ravel().tolist() if isinstance(value, np.ndarray) else [value]


def is_finite(value: Any) -> bool:
    """Whether all values and slopes in it are finite.

    >>> is_finite(flint.arb(1)), is_finite(flint.arb_series([1, flint.arb.nan()]))
    (True, False)
    """
    return all(head(x).is_finite() and tail(x).is_finite() for x in entries_of(value))

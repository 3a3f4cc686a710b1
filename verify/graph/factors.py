"""What a node is a product of: the same written otherwise is the same.

``4*x*x`` is 4 times the square of x, ``-x/2 * -x`` half of it, ``x @ A @ x`` a chain of matrices that reads the same
from both ends. :mod:`verify.graph.lengths` asks.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from verify.graph.graph import Graph, Node
from verify.graph.interpret import call_of

Array = NDArray[Any]

MOVING = frozenset({
    "index", "gather", "reshape", "ravel", "transpose", "squeeze", "expand_dims", "broadcast_to", "positive", "flip",
    "roll",
})  # fmt: skip
"""Ops that give the entries of an array other places."""

POSITIVE = frozenset({"exp", "cosh", "sigmoid", "softplus"})
"""Ops whose result is larger than 0, whatever goes in."""

SUMS = frozenset({"add", "multiply", "divide", "sum", "mean", "prod", "positive", *MOVING})
"""Ops whose result is larger than 0 where all that goes in is."""

MATRIX_PRODUCTS = frozenset({"matmul", "dot"})

MOST_HELD = 64
"""Rows of a constant matrix that is taken apart."""

MOST_FACTORS = 16
"""Nodes that a node is a product of at most; a longer product is a node of its own."""

LEAST_SHARE = 2.0**-40
"""The smallest eigenvalue is no rounding of 0 where it is more than this part of the largest."""


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of inputs at every point: of constants all, of others that no point makes them 0 or less."""

    constants: Mapping[str, Array] = field(default_factory=dict)
    positive: Collection[str] = ()


@dataclass(frozen=True, slots=True)
class Product:
    """A number times powers of nodes."""

    factor: float
    powers: Mapping[int, int]
    """Position of a node -> how often it is a factor."""


@dataclass(frozen=True, slots=True)
class Matrix:
    """One factor of a chain."""

    position: int
    is_transposed: bool = False
    is_inverse: bool = False


Parts = tuple[float, Mapping[int, int]]


class Factors:
    """The nodes of a graph as products.

    >>> from verify.case.expression import graph_from_expressions
    >>> graph = graph_from_expressions({"x": ()}, {"f": "4 * x * -x / 8"})
    >>> Factors(graph).product(len(graph.nodes) - 1)
    Product(factor=-0.5, powers={0: 2})
    """

    def __init__(self, graph: Graph, asked: Collection[int] = (), known: Known | None = None) -> None:
        """Nodes that are ``asked`` for stay whole."""
        self.graph, self.nodes, self.asked = graph, graph.nodes, asked
        self._known = known or Known()
        self._first: dict[Any, int] = {}
        self._same: list[int] = []
        for i, node in enumerate(self.nodes):
            key: Any = i
            if node.kind == "constant":
                key = ("constant", node.value)
            elif node.kind == "op" and i not in asked:
                if _is_identity(node):
                    self._same.append(self._same[node.args[0]])
                    continue
                key = (node.op, repr(sorted(node.params.items())), *(self._same[arg] for arg in node.args))
            self._same.append(self._first.setdefault(key, i))

        self._products: list[Product] = []
        self._positive: list[bool] = []
        for i in range(len(self.nodes)):
            self._positive.append(self._is_positive(i))
            found = self._product(i)
            few = found is not None and len(found.powers) <= MOST_FACTORS
            self._products.append(found if found is not None and few else Product(1.0, {self._same[i]: 1}))

    def same(self, position: int) -> int:
        """The first node that is written like this one."""
        return self._same[position]

    def product(self, position: int) -> Product:
        """What a node is a product of, entry by entry; itself where it is none."""
        found = self._products[position]
        factor, powers = found.factor, dict(found.powers)
        # The sign of what is raised to an even power is lost.
        for i, n in found.powers.items():
            if self.nodes[i].op == "abs" and self.nodes[i].kind == "op" and i not in self.asked and n % 2 == 0:
                del powers[i]
                inner = self._products[self.nodes[i].args[0]]
                factor, powers = _times((factor, powers), _raised(inner, n))
        return Product(factor, powers)

    def _product(self, position: int) -> Product | None:
        """What a node is a product of, from what its operands are; None where it is none."""
        node = self.nodes[position]
        if node.kind != "op" or position in self.asked:
            return None if node.value is None else Product(node.value, {})
        parts = [self._products[arg] for arg in node.args]
        if _is_identity(node) or node.op == "negative":
            return Product(parts[0].factor * (-1 if node.op == "negative" else 1), parts[0].powers)
        if node.op == "multiply":
            return multiplied(*parts)
        if node.op == "divide" and parts[1].factor and all(self._positive[i] for i in parts[1].powers):
            return Product(*_times((parts[0].factor, parts[0].powers), _raised(parts[1], -1)))
        exponent = 2.0 if node.op == "square" else node.params.get("exponent")
        if node.op in {"square", "power_constant"} and exponent is not None and exponent > 0 and exponent % 1 == 0:
            return Product(*_raised(parts[0], int(exponent)))
        return None

    def _is_positive(self, position: int) -> bool:
        """Whether a node is larger than 0 at every point, whatever it is."""
        node = self.nodes[position]
        if node.kind == "constant":
            return node.value is not None and node.value > 0
        if node.kind == "input":
            value = self._known.constants.get(node.op)
            return node.op in self._known.positive or (value is not None and bool(np.all(value > 0)))
        passes_on = node.op in SUMS or node.op == "power_constant"
        return node.op in POSITIVE or (passes_on and all(self._positive[arg] for arg in node.args))

    def is_never_negative(self, position: int) -> bool:
        """Whether a node is 0 or more at every point: positive, or a constant."""
        if self._positive[position]:
            return True
        value = self.number(position)
        return value is not None and bool(np.all(value >= 0))

    def number(self, position: int) -> Array | None:
        """The value of a node that no point changes, None for any other."""
        held = self._known.constants
        needed = self.graph.needed_for([position])
        if any(self.nodes[i].kind == "input" and self.nodes[i].op not in held for i in needed):
            return None
        values: dict[int, Array] = {}
        with np.errstate(all="ignore"):
            for i in sorted(needed):
                node, call = self.nodes[i], call_of(self.nodes[i])
                if call is not None:
                    values[i] = np.asarray(call(*(values[arg] for arg in node.args)))
                else:
                    value = held[node.op] if node.kind == "input" else node.value
                    values[i] = np.asarray(value, dtype=np.float64)[None]
        found: Array = values[position][0]
        return found

    # ---------------------------------------------------------------------------------------------- chains of matrices

    def chain(self, position: int, *, is_transposed: bool = False) -> tuple[float, list[Matrix]]:
        """A number and the matrices that a node is the product of; a vector is a row, and stands in front.

        >>> from verify.case.expression import graph_from_expressions
        >>> graph = graph_from_expressions({"x": (2,), "A": (2, 2)}, {"f": "(2*x) @ transpose(A) @ x"})
        >>> factor, found = Factors(graph).chain(len(graph.nodes) - 1)
        >>> factor, [graph.nodes[m.position].op + ("'" if m.is_transposed else "") for m in found]
        (2.0, ['x', "A'", "x'"])
        """
        node = self.nodes[position]
        if node.kind == "op" and position not in self.asked:
            if node.op == "transpose" and len(node.shape) == 2:
                return self.chain(node.args[0], is_transposed=not is_transposed)
            if node.op in MATRIX_PRODUCTS and all(len(self.nodes[arg].shape) in {1, 2} for arg in node.args):
                (one, left), (other, right) = map(self.chain, node.args)
                whole = [*left, *(turned(right) if len(self.nodes[node.args[1]].shape) == 1 else right)]
                is_column = len(self.nodes[node.args[0]].shape) == 2 and len(node.shape) == 1
                return one * other, turned(whole) if is_transposed or is_column else whole
            if node.op == "solve":
                factor, right = self.chain(node.args[1])
                whole = [Matrix(self._same[node.args[0]], is_inverse=True), *right]
                if len(node.shape) == 1:
                    whole = [*right, replace(whole[0], is_transposed=True)]
                return factor, turned(whole) if is_transposed else whole
        found = self.product(position)
        alone = next(iter(found.powers), position)
        is_multiple = list(found.powers.values()) == [1] and self.nodes[alone].shape == node.shape
        if is_multiple and alone not in {position, self._same[position]}:
            factor, matrices = self.chain(alone, is_transposed=is_transposed)
            return found.factor * factor, matrices
        return 1.0, [Matrix(self._same[position], is_transposed)]

    def halves(self, chain: Sequence[Matrix]) -> tuple[Sequence[Matrix], Matrix | None] | None:
        """The first half of a chain that reads the same from both ends, and the matrix in its middle, if there is one.

        None for any other chain, and where an inverse stands elsewhere.
        """
        half, rest = divmod(len(chain), 2)
        is_same = all(map(self._is_same, chain[:half], turned(chain)))
        if not half or not is_same or any(matrix.is_inverse for matrix in chain[:half]):
            return None
        return chain[:half], chain[half] if rest else None

    def _is_same(self, one: Matrix, other: Matrix) -> bool:
        """Whether two factors are one matrix: the same node, or the same constant."""
        if one == other or one.is_inverse or other.is_inverse:
            return one == other
        numbers = [self.number(one.position), self.number(other.position)]
        first, second = (
            x.T if x is not None and m.is_transposed else x for x, m in zip(numbers, (one, other), strict=True)
        )
        return first is not None and second is not None and np.array_equal(first, second)

    def form(self, position: int) -> Array | None:
        """The symmetric part of a constant matrix, None where it is none or too large."""
        shape = self.nodes[position].shape
        is_square = len(shape) == 2 and 0 < shape[0] <= MOST_HELD and shape[0] == shape[1]
        value = self.number(position) if is_square else None
        return None if value is None or not np.all(np.isfinite(value)) else (value + value.T) / 2


def _is_identity(node: Node) -> bool:
    return node.op == "positive" or (node.op == "transpose" and len(node.shape) < 2)


def is_definite(form: Array) -> bool:
    """Whether a symmetric matrix is positive definite, and not within rounding of one that is not.

    >>> is_definite(np.array([[2.0, 1.0], [1.0, 2.0]])), is_definite(np.array([[1.0, 1.0], [1.0, 1.0]]))
    (True, False)
    """
    sizes = np.linalg.eigvalsh(form)
    return bool(sizes[0] > sizes[-1] * LEAST_SHARE)


def completed(gram: Mapping[tuple[Any, Any], Fraction], places: Sequence[Any]) -> list[tuple[float, dict[Any, float]]]:
    """A quadratic form as numbers times squares of linear forms; empty where it is no such sum, or 0.

    >>> one, half = Fraction(1), Fraction(-1)
    >>> completed({("x", "x"): one, ("x", "y"): half, ("y", "x"): half, ("y", "y"): one}, "xy")
    [(1.0, {'x': 1.0, 'y': -1.0})]
    """
    left, found = dict(gram), []
    for number, i in enumerate(places):
        row = {j: left[i, j] for j in places[number:] if left[i, j]}
        if not row:
            continue
        if row.get(i, Fraction(0)) <= 0:
            return []
        found.append((float(row[i]), {j: float(x / row[i]) for j, x in row.items()}))
        for j, k in product(row, row):
            left[j, k] -= row[j] * row[k] / row[i]
    return found


def multiplied(one: Product, other: Product) -> Product:
    """The product of two products.

    >>> multiplied(Product(2.0, {0: 1}), Product(3.0, {0: 1, 4: 2}))
    Product(factor=6.0, powers={0: 2, 4: 2})
    """
    return Product(*_times((one.factor, one.powers), (other.factor, other.powers)))


def turned(chain: Sequence[Matrix]) -> list[Matrix]:
    """The transposed product.

    >>> turned([Matrix(0), Matrix(1, is_transposed=True)])[0]
    Matrix(position=1, is_transposed=False, is_inverse=False)
    """
    return [replace(matrix, is_transposed=not matrix.is_transposed) for matrix in reversed(chain)]


def _times(one: Parts, other: Parts) -> tuple[float, dict[int, int]]:
    powers = {i: one[1].get(i, 0) + other[1].get(i, 0) for i in (*one[1], *other[1])}
    return one[0] * other[0], powers


def _raised(product: Product, exponent: int) -> tuple[float, dict[int, int]]:
    return product.factor**exponent, {i: n * exponent for i, n in product.powers.items()}

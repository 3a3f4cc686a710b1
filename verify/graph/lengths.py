"""Lengths that are written out: the root of a sum of squares is a norm, whose slopes at 0 are the unit ball.

``sqrt(sum(x*x))`` has no slope at 0 as a chain of its ops: 0 times infinity. As the norm that it is, it has many. Where
kinks are looked for, such a root stands in the graph as what it is; everything else keeps the graph as it was written.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import partial, reduce
from itertools import product
from typing import Any

from verify.graph.factors import (
    MATRIX_PRODUCTS,
    MOVING,
    Factors,
    Known,
    Matrix,
    Product,
    completed,
    is_definite,
    multiplied,
    turned,
)
from verify.graph.graph import Graph, GraphBuilder, Node
from verify.ops import Shape

MOST_FORMS = 12
"""Entries of a vector whose quadratic form is completed to squares one by one."""

MOST_PARTS = 1000
"""A root is that of powers whose exponent is a fraction of such parts: ``1 / 1.5`` is rounded."""

Make = Callable[[], int]
"""Puts something into the new graph, and returns its position."""


@dataclass(frozen=True, slots=True)
class _Square:
    """``factor`` times the square of an array, or the sum of its squares along some axes."""

    factor: float
    make: Make
    """What is squared."""
    axis: tuple[int, ...] | None = None
    """None for all axes, or where nothing is summed."""
    keepdims: bool = False
    is_sum: bool = False
    weights: tuple[Make, ...] = ()
    """Roots of what a sum is multiplied by."""


def opened(graph: Graph, asked: Collection[str] = (), known: Known | None = None) -> Graph:
    """The same function with branches and lengths in sight, inside of ops and written out.

    Stages that are ``asked`` for keep their place between the inputs and what is made of them.

    >>> from verify.case.expression import graph_from_expressions
    >>> [node.op for node in opened(graph_from_expressions({"x": (2,)}, {"f": "sqrt(sum(x * x)) + max(x)"})).nodes][3:]
    ['norm', 'index', 'index', 'max', 'index', 'add']
    """
    return with_lengths(graph, asked, known).opened()


def with_lengths(graph: Graph, asked: Collection[str] = (), known: Known | None = None) -> Graph:
    """The same function with a norm, or an absolute value, for each root of a sum of squares.

    Inputs, stages and outputs keep their names. The graph itself where there is no such root. A length goes past what
    was squared on the way, and nothing would come of moving that: a root is none where it stands on a stage that is
    ``asked`` for. What is ``known`` of inputs tells which weights and matrices are no less than 0.

    >>> from verify.case.expression import graph_from_expressions
    >>> [node.op for node in with_lengths(graph_from_expressions({"x": (3,)}, {"f": "(x**2)**0.5"})).nodes]
    ['x', 'power_constant', 'abs']
    >>> in_stages = graph_from_expressions({"x": (3,)}, {"q": "sum(x * x)", "f": "sqrt(q)"})
    >>> [with_lengths(in_stages, asked).nodes[-1].op for asked in (["x"], ["x", "q"])]
    ['norm', 'sqrt']
    """
    if not any(_radicand(node) or node.op == "sign" for node in graph.nodes):
        return graph
    rewriting = _Rewriting(graph, asked, known)
    return rewriting.graph if rewriting.found else graph


def _radicand(node: Node) -> tuple[int, ...]:
    """The nodes whose squares, or whose sum of squares, a node is the root of; empty for any other."""
    return node.args if node.kind == "op" and (_exponent(node) or node.op in {"hypot", "cbrt"}) else ()


def _exponent(node: Node) -> float:
    """The exponent of a root, 0.5 for a square root; 0 of any other node."""
    if node.op == "sqrt":
        return 0.5
    exponent = node.params["exponent"] if node.op == "power_constant" else 0.0
    return float(exponent) if 0 < exponent < 1 else 0.0


def _order(node: Node) -> float:
    """The powers of which a node is the root: 3 for a cubic root; 0 where it is none, or one of too high an order."""
    exponent = 1 / 3 if node.op == "cbrt" else _exponent(node)
    return float(Fraction(1 / exponent).limit_denominator(MOST_PARTS)) if exponent * MOST_PARTS >= 1 else 0.0


class _Rewriting:
    """A graph that is built again, with lengths in place of roots."""

    def __init__(self, graph: Graph, asked: Collection[str], known: Known | None) -> None:
        self.old, self.builder = graph, GraphBuilder()
        self.asked = {graph.stages[name] for name in asked if name in graph.stages}
        self.factors = Factors(graph, self.asked, known)
        self.found, self.order = False, 2.0
        self.at: list[int] = []
        for i, node in enumerate(graph.nodes):
            start = self.builder.size
            made = self._length(i, node)
            self.found |= made is not None
            if made is None:
                made = self.builder.copy(replace(node, args=tuple(self.at[arg] for arg in node.args)))
            else:
                self.builder.place(start, node, "" if node.op == "hypot" else node.op)
            self.at.append(made)
            if graph.names.get(i) in graph.stages:
                self.builder.name(graph.names[i], self.at[i])
        self.graph = self.builder.build(graph.outputs)

    def _length(self, position: int, node: Node) -> int | None:
        """A root of squares as a length, None where a node is none."""
        if node.kind == "op" and node.op == "multiply":
            return self._times_sign(position, node)
        if not _radicand(node):
            return None
        if node.op == "hypot":
            is_nested = any(_radicand(self.old.nodes[arg]) for arg in node.args)
            squares = self._of_sides(node) if is_nested else None
            return None if squares is None else self._norm(squares, node.shape)
        exponent = _exponent(node)
        made = self._root_of_product(node, exponent) if exponent else None
        if made is not None:
            return made
        squares = self._squares(node.args[0]) if exponent >= 0.5 else None
        made = None if squares is None else self._norm(squares, node.shape)
        if made is None:
            return self._root_of_powers(node)
        return made if exponent == 0.5 else self._power(made, 2 * exponent)

    def _root_of_powers(self, node: Node) -> int | None:
        """A root of a sum of powers of its own order: ``sum(abs(x)**3) ** (1/3)``."""
        self.order = _order(node)
        powers = self._squares(node.args[0]) if self.order != 2 else None
        made = None if powers is None else self._norm(powers, node.shape)
        self.order = 2.0
        return made

    def _of_order(self, position: int) -> list[_Square] | None:
        """What a node is a power of the size of, where the exponent is the order."""
        found = self.factors.product(position)
        bases = []
        for i, n in found.powers.items():
            base, power = i, float(n)
            if self._is(base, "power_constant"):
                power *= self.old.nodes[base].params["exponent"]
                base = self.old.nodes[base].args[0]
            is_size = self._is(base, "abs")
            if power != self.order or not (is_size or power % 2 == 0):
                return None
            bases.append(self.old.nodes[base].args[0] if is_size else base)
        if found.factor <= 0 or not bases:
            return None
        return [_Square(found.factor, lambda: self._multiplied([self.at[base] for base in bases]))]

    def _is(self, position: int, op: str) -> bool:
        """Whether a node that nobody asked for is a certain op."""
        node = self.old.nodes[position]
        return node.kind == "op" and node.op == op and position not in self.asked

    def _times_sign(self, position: int, node: Node) -> int | None:
        """A product that holds a number and its own sign: ``x * sign(x)`` is the absolute value."""
        whole = self.factors.product(position)
        for i, n in whole.powers.items():
            sign = self.old.nodes[i]
            if sign.kind != "op" or sign.op != "sign" or n != 1 or i in self.asked:
                continue
            inner = self.factors.product(sign.args[0])
            if not inner.factor or any(whole.powers.get(j, 0) < m for j, m in inner.powers.items()):
                continue
            left = {j: m - inner.powers.get(j, 0) for j, m in whole.powers.items() if j != i}
            size = self.builder.apply("abs", self._multiplied(self._powers(inner.powers)))
            made = self._multiplied([size, *self._powers({j: m for j, m in left.items() if m})])
            return self._broadcast(
                self._times(made, math.copysign(whole.factor, inner.factor * whole.factor)), node.shape
            )
        return None

    def _root_of_product(self, node: Node, exponent: float) -> int | None:
        """A root of even powers: ``(x**4)**0.25`` is the absolute value."""
        found = self.factors.product(node.args[0])
        left = {i: Fraction(n) * Fraction(exponent) for i, n in found.powers.items()}
        even = [i for i, n in found.powers.items() if n % 2 == 0 and left[i] >= 1]
        if found.factor <= 0 or not even:
            return None
        made = []
        for i, power in left.items():
            if i not in even and not self.factors.is_never_negative(i):
                return None
            base = self.builder.apply("abs", self.at[i]) if i in even and power % 2 else self.at[i]
            made.append(self._power(base, float(power)))
        return self._broadcast(self._times(self._multiplied(made), found.factor**exponent), node.shape)

    def _powers(self, powers: Mapping[int, float]) -> list[int]:
        """Powers of the old graph's nodes, each a node of the new one."""
        return [self._power(self.at[i], power) for i, power in powers.items()]

    def _power(self, position: int, exponent: float) -> int:
        if exponent == 1:
            return position
        return self.builder.apply("power_constant", position, params={"exponent": float(exponent)})

    def _multiplied(self, positions: Sequence[int]) -> int:
        return reduce(partial(self.builder.apply, "multiply"), positions)

    def _of_sides(self, node: Node) -> list[_Square] | None:
        """What a hypot of hypots is the root of."""
        found: list[_Square] = []
        for arg in node.args:
            inner = self.old.nodes[arg]
            if arg in self.asked or not _radicand(inner) or _exponent(inner) not in {0.0, 0.5}:
                part: list[_Square] | None = [self._of(arg)]
            elif inner.op == "hypot":
                part = self._of_sides(inner)
            else:
                part = self._squares(inner.args[0])
            if part is None:
                return None
            found += part
        return found

    def _of(self, position: int) -> _Square:
        return _Square(1.0, lambda: self.at[position])

    # -------------------------------------------------------------------------------------------- a sum of squares

    def _squares(self, position: int) -> list[_Square] | None:
        """The squares that a node is the sum of, None where it is no such sum."""
        node = self.old.nodes[position]
        if node.kind != "op" or position in self.asked:
            return None
        if node.op in MOVING:
            return self._moved(node)
        if self.order != 2 and node.op not in {"add", "sum", "mean"}:
            return self._of_order(position)
        rule = {"add": self._added, "subtract": self._forms, "sum": self._summed, "mean": self._summed,
                "einsum": self._einsum}.get(node.op)  # fmt: skip
        if rule is not None:
            return rule(node)
        if node.op in MATRIX_PRODUCTS:
            return self._of_chain(*self.factors.chain(position), node) or self._of_rows(node)
        return self._of_product(self.factors.product(position), position)

    def _of_product(self, found: Product, position: int) -> list[_Square] | None:
        """A product of even powers and of what is never negative, or of such and a sum of squares."""
        if found.factor <= 0:
            return None
        even = {i: n / 2 for i, n in found.powers.items() if n % 2 == 0}
        weights = {i: n / 2 for i, n in found.powers.items() if n % 2 and self.factors.is_never_negative(i)}
        others = [i for i in found.powers if i not in weights and i not in even]
        if not others and any(n > 0 for n in even.values()):
            return [_Square(found.factor, lambda: self._multiplied(self._powers({**weights, **even})))]
        if len(others) != 1 or others == [position] or found.powers[others[0]] != 1:
            return None
        squares = self._squares(others[0])
        roots = [*(self._root_of(i, n) for i, n in weights.items()), *(self._size_of(i, n) for i, n in even.items())]
        return squares and [self._weighted(replace(s, factor=s.factor * found.factor), roots) for s in squares]

    def _root_of(self, position: int, power: float) -> Make:
        return lambda: self._power(self.at[position], power)

    def _size_of(self, position: int, power: float) -> Make:
        return lambda: self._power(self.builder.apply("abs", self.at[position]), power)

    def _weighted(self, square: _Square, roots: Sequence[Make]) -> _Square:
        if square.is_sum or not roots:
            return replace(square, weights=(*square.weights, *roots))
        return replace(square, make=lambda: self._multiplied([square.make(), *(root() for root in roots)]))

    def _added(self, node: Node) -> list[_Square] | None:
        parts = [self._squares(arg) for arg in node.args]
        if any(part is None for part in parts):
            return self._forms(node)
        return [square for part in parts for square in part or ()]

    def _forms(self, node: Node) -> list[_Square] | None:
        """A polynomial of second degree as a sum of squares, by completing them: ``x*x - 2*x*y + 2*y*y``."""
        terms = self._terms(node)
        if self.order != 2 or any(sum(powers.values()) != 2 or min(powers.values()) < 0 for _, powers in terms):
            return None
        places = list(dict.fromkeys(i for _, powers in terms for i in powers))
        if not places or any(self.old.nodes[i].kind == "constant" for i in places):
            return None
        gram = dict.fromkeys(product(places, places), Fraction(0))
        for factor, powers in terms:
            i, j = (list(powers) * 2)[:2]
            gram[i, j] += Fraction(factor) / 2
            gram[j, i] += Fraction(factor) / 2
        squares = completed(gram, places)
        return [_Square(factor, partial(self._form, form)) for factor, form in squares] or None

    def _form(self, form: dict[int, float]) -> int:
        """A linear form of nodes."""
        return reduce(partial(self.builder.apply, "add"), [self._times(self.at[i], x) for i, x in form.items()])

    def _terms(self, node: Node) -> list[tuple[float, dict[int, int]]]:
        """What a sum or a difference adds up."""
        found = []
        for arg, sign in zip(node.args, (1.0, -1.0 if node.op == "subtract" else 1.0), strict=True):
            inner = self.old.nodes[arg]
            if inner.kind == "op" and inner.op in {"add", "subtract"} and arg not in self.asked:
                found += [(sign * factor, powers) for factor, powers in self._terms(inner)]
            else:
                factor, powers = (term := self.factors.product(arg)).factor, term.powers
                found.append((sign * factor, dict(powers)))
        return found

    def _summed(self, node: Node) -> list[_Square] | None:
        squares = self._squares(node.args[0])
        if squares is None:
            return self._summed_rows(node) if self.order == 2 else None
        if any(square.is_sum for square in squares):
            return None
        shape = self.old.nodes[node.args[0]].shape
        axis = node.params.get("axis")
        count = math.prod(shape) / max(math.prod(node.shape), 1)
        return [
            replace(self._spread(s, shape), factor=s.factor / (count if node.op == "mean" else 1.0), axis=axis,
                    keepdims=bool(node.params.get("keepdims")), is_sum=True)
            for s in squares
        ]  # fmt: skip

    def _summed_rows(self, node: Node) -> list[_Square] | None:
        """``sum(x * (A @ x))``, and the same of each row."""
        found = self.factors.product(node.args[0])
        shape, axis = self.old.nodes[node.args[0]].shape, node.params.get("axis")
        is_last = axis == (len(shape) - 1,) or (axis is None and len(shape) == 1)
        if not is_last or len(shape) > 2 or sorted(found.powers.values()) != [1, 1] or node.op != "sum":
            return None
        left, right = (self.factors.chain(i) for i in found.powers)
        if any(self.old.nodes[i].shape != shape for i in found.powers):
            return None
        squares = self._of_chain(found.factor * left[0] * right[0], [*left[1], *turned(right[1])], node)
        return squares and [replace(s, keepdims=bool(node.params.get("keepdims"))) for s in squares]

    def _of_rows(self, node: Node) -> list[_Square] | None:
        """Weights and squares that a product of matrices adds up: ``w @ x**2``."""
        one, other = (self.old.nodes[arg].shape for arg in node.args)
        if len(other) != 1 or len(one) not in {1, 2}:
            return None
        found = self._of_product(multiplied(*map(self.factors.product, node.args)), -1)
        return found and [replace(self._spread(s, one), axis=(len(one) - 1,), is_sum=True) for s in found]

    def _of_chain(self, factor: float, chain: Sequence[Matrix], node: Node) -> list[_Square] | None:
        """A product of matrices that reads the same from both ends: of a vector, or row by row."""
        halves = self.factors.halves(chain) if factor > 0 else None
        rows = len(self.old.nodes[chain[0].position].shape) - 1
        if halves is None or (node.op in MATRIX_PRODUCTS and (1,) * rows * 2 != node.shape):
            return None  # none, or rows against other rows
        first, middle = halves
        whole = _Square(factor, lambda: self._half(first, middle), axis=(rows,), keepdims=rows > 0, is_sum=True)
        form = None if middle is None else self.factors.form(middle.position)
        if middle is None or (form is not None and is_definite(form)):
            return [whole]
        if form is None or middle.is_inverse or rows or len(form) > MOST_FORMS:
            return None
        places = range(len(form))
        squares = completed({(i, j): Fraction(float(form[i, j])) for i, j in product(places, places)}, places)
        return [_Square(factor * n, partial(self._form_of, first, entries)) for n, entries in squares] or None

    def _half(self, matrices: Sequence[Matrix], middle: Matrix | None) -> int:
        first = reduce(partial(self.builder.apply, "matmul"), map(self._matrix, matrices))
        if middle is None:
            return first
        a = self.at[middle.position]
        both = self.builder.apply("add", a, self.builder.apply("transpose", a))
        root = self.builder.apply("cholesky", self._times(both, 0.5))
        if not middle.is_inverse:
            return self.builder.apply("matmul", first, root)
        if len(self.builder.shape(first)) == 1:
            return self.builder.apply("solve", root, first)
        solved = self.builder.apply("solve", root, self.builder.apply("transpose", first))
        return self.builder.apply("transpose", solved)

    def _form_of(self, matrices: Sequence[Matrix], entries: Mapping[int, float]) -> int:
        """A linear form of the entries of a vector."""
        vector = self._half(matrices, None)
        picked = ((self.builder.apply("index", vector, params={"index": (i,)}), x) for i, x in entries.items())
        return reduce(partial(self.builder.apply, "add"), [self._times(position, x) for position, x in picked])

    def _matrix(self, matrix: Matrix) -> int:
        made = self.at[matrix.position]
        is_turned = matrix.is_transposed and len(self.builder.shape(made)) == 2
        return self.builder.apply("transpose", made) if is_turned else made

    def _spread(self, square: _Square, shape: Shape) -> _Square:
        """A square as an entry of a larger array, where it is added to one."""
        return replace(square, make=lambda: self._broadcast(square.make(), shape))

    def _broadcast(self, position: int, shape: Shape) -> int:
        if self.builder.shape(position) == shape:
            return position
        return self.builder.apply("broadcast_to", position, params={"shape": shape})

    def _einsum(self, node: Node) -> list[_Square] | None:
        """``ij,ij->i`` of an array and itself, and with weights; ``i,ij,j->`` with a matrix between."""
        terms, _, kept = str(node.params["subscripts"]).replace(" ", "").partition("->")
        first, *others = terms.split(",")
        if len(set(first)) < len(first) or kept != "".join(letter for letter in first if letter in kept):
            return None
        if all(other == first for other in others):
            found = self._of_product(reduce(multiplied, map(self.factors.product, node.args)), -1)
            axis = tuple(i for i, letter in enumerate(first) if letter not in kept)
            return found and [replace(s, axis=axis, is_sum=True) if axis else s for s in found]
        x, a, *last = (self.factors.same(arg) for arg in node.args)
        is_form = others == [(first + others[-1])[len(kept) :: len(kept) + 1], others[-1]] and last == [x]
        if not is_form or first[:-1] != kept or others[-1][:-1] != kept or len(kept) > 1 or first == others[-1]:
            return None
        chain = [Matrix(x), Matrix(a), Matrix(x, is_transposed=True)]
        return [replace(s, keepdims=False) for s in self._of_chain(1.0, chain, node) or ()] or None

    def _moved(self, node: Node) -> list[_Square] | None:
        squares = self._squares(node.args[0])
        if squares is None or (any(square.is_sum for square in squares) and node.op != "positive"):
            return None
        if node.op == "positive":
            return squares
        shape = self.old.nodes[node.args[0]].shape
        return [replace(s, make=self._mover(node, self._spread(s, shape))) for s in squares]

    def _mover(self, node: Node, square: _Square) -> Make:
        return lambda: self.builder.apply(node.op, square.make(), params=node.params)

    # --------------------------------------------------------------------------------------------------- the length

    def _norm(self, squares: Sequence[_Square], shape: Shape) -> int | None:
        """The root of a sum of squares as one op; None where it is made of sums along different axes."""
        if len(squares) == 1:
            return self._one(squares[0], shape)
        if not any(square.is_sum for square in squares):
            parts = [self._broadcast(self._times(s.make(), self._root(s.factor)), shape) for s in squares]
            return self._norm_of(self.builder.apply("stack", *parts, params={"axis": 0}), axis=(0,))
        if shape:
            return None
        parts = []
        for square in squares:
            made = self._times(square.make(), self._root(square.factor))
            made = self._multiplied([made, *(weight() for weight in square.weights)])
            parts.append(self.builder.apply("reshape", made, params={"shape": (math.prod(self.builder.shape(made)),)}))
        return self._norm_of(self.builder.apply("concatenate", *parts))

    def _norm_of(self, position: int, **params: Any) -> int:
        params = {k: v for k, v in params.items() if v not in (None, False)}
        if self.order != 2:
            params["exponent"] = self.order
        return self.builder.apply("norm", position, params=params)

    def _root(self, factor: float) -> float:
        return math.sqrt(factor) if self.order == 2 else factor ** (1 / self.order)

    def _one(self, square: _Square, shape: Shape) -> int | None:
        made = square.make()
        if square.is_sum:
            made = self._norm_of(made, axis=square.axis, keepdims=square.keepdims)
        else:
            made = self.builder.apply("abs", made)
        made = self._multiplied([made, *(weight() for weight in square.weights)])
        made = self._times(made, self._root(square.factor))
        return made if self.builder.shape(made) == shape else None

    def _times(self, position: int, factor: float) -> int:
        return position if factor == 1.0 else self.builder.apply("multiply", position, self.builder.constant(factor))

"""What is wrong with a Jacobian, a Hessian, or a product with one, in words: other matrices that it is instead.

Each candidate is what a known mistake gives. A sentence is said only where every number of the answer agrees with it
far closer than a coincidence would.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from verify.numbers.streams import stream
from verify.truth.orders import Block, Key, Orders

Array = NDArray[Any]

SAME = 1e-10
"""How far an answer may be from what a sentence says, as a part of its largest number."""

MOST_PASSES = 3_000
"""Entries of the inputs, times nodes whose second derivatives might have been forgotten."""

FACTORS: Mapping[float, str] = {
    2.0: "twice the right one",
    0.5: "half the right one",
    -1.0: "the right one with the opposite sign",
}

NAMES: Mapping[str, str] = {
    "jvp": "JVP",
    "jacobian": "Jacobian",
    "hvp": "HVP",
    "hessian": "Hessian",
    "objective": "objective",
}
"""What is judged, in words."""


def causes_of(
    quantity: str,
    key: Key,
    array: Array,
    answer: Mapping[Key, Array],
    blocks: Sequence[Block],
    point: Orders,
    along: Mapping[str, Array],
) -> tuple[str, ...]:
    """What one block of an answer could be instead of the right one, the simplest first.

    >>> from verify.case.expression import graph_from_expressions
    >>> graph = graph_from_expressions({"x": (2,)}, {"f": "sum(x**3)"})
    >>> point = Orders(graph, ["x"], None, {"x": np.array([1.0, 2.0])}, {"f": np.ones(())})
    >>> answer = {("x", "x"): np.eye(2)}
    >>> causes_of("hessian", ("x", "x"), answer["x", "x"], answer, point.hessian(), point, {})
    ('your Hessian is the identity',)
    """
    truths = {block.key: np.reshape([k.midpoint for k in block.known], block.shape) for block in blocks}
    what = f"your {NAMES[quantity]}"
    if not np.all(np.isfinite(array)) or not np.all(np.isfinite(truths[key])):
        return ()
    found = [f"{what} is {said}" for said in plain_causes(array, truths[key])]
    if quantity in ("jacobian", "hessian"):
        found += [f"{what} is {said}" for said in _matrix_causes(array, truths[key], symmetric=quantity == "hessian")]
    if quantity == "jvp":
        found += [f"{what} {said}" for said in _left_out(point, key, array, along)]
    if quantity in ("hvp", "hessian") and not found:
        own, vector = ({k[0]: x for k, x in answer.items()}, along) if quantity == "hvp" else _product(answer, point)
        found += [f"{what} {said}" for said in forgotten(own, point, vector)] if own else []
    if quantity == "hvp" and set(along) >= set(key) and same(array, along[key[0]]):
        found.append(f"{what} is v itself, as if H were the identity")
    return tuple(found)


def plain_causes(array: Array, truth: Array) -> Iterator[str]:
    """What an answer is, seen from the right one alone: zero, or a factor times it.

    >>> list(plain_causes(np.array([2.0, 6.0]), np.array([1.0, 3.0]))), list(plain_causes(np.zeros(2), np.ones(2)))
    (['twice the right one'], ['zero'])
    """
    if not array.any():
        yield "zero"
        return
    with np.errstate(all="ignore"):
        ratios = (array / truth)[np.abs(truth) > 0]
    factor = float(np.median(ratios)) if ratios.size else math.nan
    known = next((k for k in FACTORS if abs(factor - k) <= SAME), factor)
    if math.isfinite(factor) and abs(factor - 1) > SAME and same(array, known * truth):
        if known in FACTORS:
            yield FACTORS[known]
        elif ratios.size > 1:
            yield f"{factor:.10g} x the right one"


def same(array: Array, other: Array, part: float = SAME) -> bool:
    """Whether two answers are the same but for rounding, which is a ``part`` of the largest number.

    >>> same(np.ones(2), np.ones(2) + 1e-15), same(np.ones(2), np.ones(3))
    (True, False)
    """
    if array.shape != other.shape or not np.all(np.isfinite(other)):
        return False
    return bool(np.all(np.abs(array - other) <= part * np.abs(other).max(initial=0.0)))


def _matrix_causes(array: Array, truth: Array, *, symmetric: bool) -> Iterator[str]:
    half = array.ndim // 2
    size = math.prod(array.shape[:half])
    if array.ndim % 2 or array.shape[:half] != array.shape[half:]:
        return
    own, right = array.reshape(size, size), truth.reshape(size, size)
    if not symmetric:
        if same(own, right.T) and not same(right, right.T):
            yield "the right one transposed"
        return
    if same(own, np.eye(size)):
        yield "the identity"
        return
    values, vectors = np.linalg.eigh((right + right.T) / 2)
    for said, other in (
        ("the right one with the absolute values of its eigenvalues", vectors @ np.diag(np.abs(values)) @ vectors.T),
        ("the absolute value of the right one, entry by entry", np.abs(right)),
        ("the diagonal of the right one alone", np.diag(np.diag(right))),
        ("the upper half of the right one alone", np.triu(right)),
        ("the lower half of the right one alone", np.tril(right)),
    ):
        if same(own, other) and not same(right, other):
            yield said
            return


def _left_out(point: Orders, key: Key, array: Array, along: Mapping[str, Array]) -> Iterator[str]:
    """An input whose tangent is forgotten."""
    for name in along if len(along) > 1 else ():
        rest = {other: d for other, d in along.items() if other != name}
        block = next(block for block in point.jvp(rest) if block.key == key)
        if same(array, np.reshape([known.midpoint for known in block.known], array.shape)):
            yield f"leaves out the tangent of {name}"
            return


def forgotten(own: Mapping[str, Array], point: Orders, along: Mapping[str, Array]) -> Iterator[str]:
    """A node whose second derivatives are left out of ``H v``, by what was answered for it.

    >>> from verify.case.expression import graph_from_expressions
    >>> graph = graph_from_expressions({"x": ()}, {"r": "exp(x)", "f": "r**2"})
    >>> point = Orders(graph, ["x"], None, {"x": np.array(0.0)}, {"f": np.ones(())})
    >>> list(forgotten({"x": np.array(2.0)}, point, {"x": np.array(1.0)}))
    ['is that of Gauss and Newton: the second derivatives of `r` are left out']
    """
    entries = sum(math.prod(point.graph.shape(name)) for name in point.variables)
    path = [i for i in point.path() if point.graph.nodes[i].kind == "op"]
    if entries * len(path) > MOST_PASSES:
        return
    for below in (True, False):
        for at in reversed(path):
            candidate = point.forgetting(along, at, below=below)
            if all(same(own[n], candidate[n]) for n in own):
                name = point.graph.names.get(at) or point.graph.text(at)
                if below:
                    yield f"is that of Gauss and Newton: the second derivatives of `{name}` are left out"
                else:
                    yield f"leaves out the second derivatives of {point.graph.nodes[at].op} in `{name}`"
                return


def _product(answer: Mapping[Key, Array], point: Orders) -> tuple[dict[str, Array], dict[str, Array]]:
    """A Hessian that was answered times one vector, and the vector; empty where blocks are missing."""
    rng = stream(0, "direction of a wrong Hessian")
    along = {name: rng.choice([-1.0, 0.5, 2.0], point.graph.shape(name)) for name in point.variables}
    own = {}
    for name in point.variables:
        if any((name, other) not in answer for other in along):
            return {}, {}
        shape = point.graph.shape(name)
        parts = [answer[name, other].reshape(*shape, -1) @ d.ravel() for other, d in along.items()]
        own[name] = np.asarray(sum(parts))
    return own, along

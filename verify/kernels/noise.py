"""A right backward pass under a policy, run many times with random rounding: what noise a kernel of that policy has.

The passes are those of the reference's graph by the vector-Jacobian products of our own table, in float32 (float64
where the kernel itself is in float32), with what the policy stores rounded on grids that chance has shifted
(:mod:`verify.kernels.formats`). Neither the kernel nor a framework's derivative has a part in it.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Container, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from verify.graph.graph import Graph, Node
from verify.kernels.formats import Format
from verify.kernels.policy import PRODUCTS, SUMS, Policy
from verify.methods.reverse import Reverse, unbroadcast
from verify.numbers.streams import stream
from verify.ops import OPS, Shape

Array = NDArray[Any]

BLOCK = 2**22
"""Numbers that the values of all nodes may take in one block of runs."""


class NoisyReverse(Reverse):
    """The engine with every value and gradient that a policy stores rounded at random, one seed for each run."""

    def __init__(self, graph: Graph, variables: Sequence[str], policy: Policy) -> None:
        super().__init__(graph, variables)
        self.policy = policy
        self.keys: Array = np.zeros(1, dtype=np.uint32)
        self._latest: tuple[int, Any, Any] = (-1, None, None)
        self._near = _near_inputs(graph)
        self.program.calls = tuple(
            None if call is None else self._forward(i, graph.nodes[i], call)
            for i, call in enumerate(self.program.calls)
        )
        self._attention = _attention_outputs(graph, variables) if policy.saved_output else {}
        self._values: list[Any] = []
        self._upstream: dict[int, Any] = {}
        self._steps = tuple(
            (i, args, aligned, tuple(self._pullback(i, *pullback) for pullback in pullbacks))
            for i, args, aligned, pullbacks in self._steps
        )

    def gradients(
        self, inputs: Mapping[str, Array], upstream: Mapping[str, Array], own: Format, keys: Array
    ) -> dict[str, Array]:
        """The gradients of one block of runs ``(runs, *shape)``, stored in the kernel's own format."""
        self.keys, self._latest = keys, (-1, None, None)
        given, seeds = (
            {name: np.broadcast_to(x, (len(keys), *x.shape[1:])) for name, x in arrays.items()}
            for arrays in (inputs, upstream)
        )
        self._values = self.program.run(given)
        self._upstream.clear()
        found = self.backward(self._values, seeds)
        return {name: self.stored(g, own, name) for name, g in found.items()}

    def stored(self, x: Any, form: Format | None, what: str) -> Any:
        """Rounded at random to a format; ``what`` names it, so that two things are rounded independently."""
        return x if form is None else form.shifted(x, self.keys + np.uint32(zlib.crc32(what.encode())))

    def _forward(self, position: int, node: Node, call: Callable[..., Any]) -> Callable[..., Any]:
        policy, form = self.policy, self.policy.values_of(self.graph, position)
        operand = policy.products if node.op in PRODUCTS else None
        sums = policy.sums if node.op in PRODUCTS | SUMS and not policy.only_results else None
        if form is None and operand is None and sums is None:
            return call

        def stored(*operands: Any) -> Any:
            given = self._operands(node, operands, operand)
            y = call(*given)
            if sums is not None:
                parts = math.prod(given[0].shape[1:]) // max(1, math.prod(node.shape)) if node.op == "mean" else 1
                sizes, squares = call(*map(np.abs, given)), call(*map(np.square, given)) / parts
                y = self._summed(y, sizes, squares, sums, f"sum {position}")
            return self.stored(y, form, f"value {position}")

        return stored

    def _operands(self, node: Node, operands: Sequence[Any], form: Format | None) -> Sequence[Any]:
        return (
            [self.stored(x, form, f"operand {j}") for j, x in zip(node.args, operands, strict=True)]
            if form
            else operands
        )

    def _pullback(self, position: int, number: int, j: int, vjp: Any, shape: Shape | None) -> tuple[int, int, Any, Any]:
        node = self.graph.nodes[position]
        operand = self.policy.products if node.op in PRODUCTS else None
        form = self.policy.gradient_of(self.graph, position) or operand
        sums = self.policy.sums if j in self._near or not self.policy.only_results else None

        def pulled(g: Any, y: Any, *operands: Any) -> Any:
            g = self._arrived(position, g, form)
            given = self._operands(node, operands, operand)
            if position in self._attention:
                return self._through_softmax(position, g, y)

            def fit(x: Any) -> Any:
                return x if shape is None else unbroadcast(x, shape)

            sent = vjp(g, y, *given)
            for step in range(0 if OPS[node.op].moves else self.policy.steps):
                sent = self.stored(sent, self.policy.every, f"step {step} of {position} to {j}")
            if sums is None or (shape is None and node.op not in PRODUCTS):
                return fit(sent)
            sizes, squares = (
                fit(vjp(size(g), y, *map(size, given)) if node.op in PRODUCTS else size(sent))
                for size in (np.abs, np.square)
            )
            return self._summed(fit(sent), sizes, squares, sums, f"back {position} {j}")

        return number, j, pulled, None

    def _arrived(self, position: int, g: Any, form: Format | None) -> Any:
        """The gradient of a node, stored once for all of its operands."""
        if self._latest[0] != position or self._latest[1] is not g:
            self._latest = position, g, self.stored(g, form, f"gradient {position}")
        for softmax, product in self._attention.items():
            if product == position:
                self._upstream[softmax] = self._latest[2]
        return self._latest[2]

    def _through_softmax(self, position: int, g: Any, y: Any) -> Any:
        """By the output that was kept: times its gradient it has the sum of weights times theirs."""
        product, form = self._attention[position], self.policy.saved_output
        kept = self.stored(self._values[product], form, f"value {product}")
        inner = np.sum(self._upstream[position] * kept, axis=-1, keepdims=True)
        return y * (g - inner.reshape(*inner.shape[:1], *y.shape[1:-1], 1))

    def _summed(self, y: Any, sizes: Any, squares: Any, form: Format, what: str) -> Any:
        """A sum that was accumulated in a format, term by term; with the sums of its terms' sizes and squares.

        Each partial sum is rounded. On the average over the orders of n terms t the squares of partial sums add up to
        n (y^2 / 3 + sum(t^2) / 2), up to small terms; of terms that differ much in size only the large ones count.
        """
        terms = GAUSSIAN * np.square(sizes) / np.maximum(squares, np.finfo(y.dtype).tiny)
        size = np.sqrt(terms * (np.square(y) / 3 + squares / 2))
        rng = stream(int(self.keys[0]), what)
        chance = rng.standard_normal((len(self.keys), *np.shape(y)[1:]), dtype=np.float32)
        return y + (chance * (form.unit / math.sqrt(12.0) * SHRUNK)).astype(y.dtype) * size * (terms > ONE_TERM)


GAUSSIAN = 3.0
"""Times the square of the sum of the terms' sizes over the sum of their squares: how many they are, at most, where they
are products of normal numbers (pi / 2 for normal numbers)."""

ONE_TERM = 2.0
"""A single term is no sum, and has no error; in the same measure."""

SHRUNK = 0.72
"""The mean of 1 / m for digits m from 1 to 2: what half a unit is of a number, on the average."""


def _attention_outputs(graph: Graph, variables: Sequence[str]) -> dict[int, int]:
    """Softmax -> the one product that its weights go into.

    Nodes in between only reshape, so that rows stay rows, or scale by what is no variable: a mask, a dropout.
    """
    roots = [graph.position(name) for name in variables]
    varying = {*roots, *graph.depends_on(roots)}
    found = {}
    for i, node in enumerate(graph.nodes):
        if node.op != "softmax" or tuple(node.params["axis"] or ()) != (len(node.shape) - 1,):
            continue
        at, users = i, graph.consumers[i]
        while len(users) == 1 and _keeps_rows(graph, at, users[0], varying):
            at, users = users[0], graph.consumers[users[0]]
        product = graph.nodes[users[0]] if len(users) == 1 else node
        are_matrices = all(len(graph.nodes[j].shape) > 1 for j in product.args)
        if product.op == "matmul" and product.args[0] == at and are_matrices:
            found[i] = users[0]
    return found


def _keeps_rows(graph: Graph, at: int, user: int, varying: Container[int]) -> bool:
    """Whether a node takes weights on to the product as they are, but for zeros and numbers in the place of some."""
    node = graph.nodes[user]
    others = [j for j in node.args if j != at]
    if node.op in ("where", "where_or_equal") and at in node.args[2:]:
        is_same = all(graph.nodes[j].value == 0.0 for j in node.args[2:] if j != at)
    else:
        is_same = node.op in ("reshape", "positive", "multiply") or (node.op == "divide" and node.args[0] == at)
    return is_same and node.shape[-1:] == graph.nodes[at].shape[-1:] and not any(j in varying for j in others)


def _near_inputs(graph: Graph) -> frozenset[int]:
    """Nodes whose gradient is that of an input, but for its place and a number."""
    found: set[int] = set(graph.inputs.values())
    for i, node in enumerate(graph.nodes):
        varying = [j for j in node.args if graph.nodes[j].kind != "constant"]
        is_same = node.kind == "op" and (OPS[node.op].moves or node.op in ("multiply", "divide", "negative"))
        if is_same and len(varying) == 1 and varying[0] in found:
            found.add(i)
    return frozenset(found)


def noise_of(
    graph: Graph,
    variables: Sequence[str],
    policy: Policy,
    inputs: Mapping[str, Array],
    upstream: Mapping[str, Array],
    own: Format,
    runs: int,
    seed: int,
) -> dict[str, Array]:
    """The gradients of many runs of a right program ``(runs, *shape)``; inputs and upstream are ``(1, *shape)``.

    >>> from verify.case.expression import graph_from_expressions
    >>> from verify.kernels.formats import FORMATS
    >>> graph = graph_from_expressions({"x": (2,)}, {"y": "exp(x)"})
    >>> point = {"x": np.array([[0.5, 1.0]])}, {"y": np.ones((1, 2))}
    >>> found = noise_of(graph, ["x"], Policy("fp32 accumulate"), *point, FORMATS["bfloat16"], 200, 0)["x"]
    >>> bool(np.abs(found.mean(0) / np.exp([0.5, 1.0]) - 1).max() < 1e-3), bool(np.abs(found.std(0)).max() > 1e-3)
    (True, True)
    """
    wide = np.float64 if own.name == "float32" else np.float32
    given = {name: x.astype(wide) for name, x in inputs.items()}
    seeds = {name: g.astype(wide) for name, g in upstream.items()}
    engine = NoisyReverse(graph, variables, policy)
    keys = stream(seed, "noise of a kernel").integers(2**32, size=runs, dtype=np.uint32)
    size = sum(math.prod(node.shape) for node in graph.nodes)
    together = int(max(1, min(runs, BLOCK // max(1, size))))
    blocks = [engine.gradients(given, seeds, own, keys[i : i + together]) for i in range(0, runs, together)]
    return {name: np.concatenate([block[name] for block in blocks]) for name in variables}

"""What a kernel promises to store in which format: by name, or by the stages of the reference.

Every policy stores the inputs, the upstream gradient and the results in the kernel's own format. What lies between is
computed in float32 except for what the policy says.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from verify.errors import UsageError, did_you_mean
from verify.graph.graph import Graph, Node
from verify.kernels.formats import FORMATS, Format
from verify.ops import OPS

PRODUCTS = frozenset({"matmul", "dot", "outer", "einsum", "convolution", "conv1d", "conv2d"}) & frozenset(OPS)
"""Ops that add up products of two operands: what matrix units compute."""

SUMS = frozenset({"sum", "mean", "cumsum", "trace"}) & frozenset(OPS)
"""Ops that add up entries of one operand."""


@dataclass(frozen=True, slots=True)
class Policy:
    """What is stored in which format between inputs and results; None stands for float32."""

    name: str
    products: Format | None = None
    """The operands of products of matrices, on the way forward and on the way back."""
    saved_output: Format | None = None
    """The output that the backward pass of an attention has kept, and sums up in the place of the weights."""
    every: Format | None = None
    """The result of every op, and every gradient on the way back."""
    sums: Format | None = None
    """What products and sums are accumulated in, ..."""
    only_results: bool = False
    """... or those alone that add up the gradients of inputs."""
    steps: int = 0
    """How often more what an op sends back is stored on its way: a slope is more than one operation."""
    stages: Mapping[str, Format] = field(default_factory=dict)
    """A stage of the reference -> the format of its values; with a ``d`` in front of the name, of its gradient."""

    def values_of(self, graph: Graph, position: int) -> Format | None:
        """The format that a node's values are stored in."""
        return self._staged(graph, position, "") or self._op_of(graph.nodes[position])

    def gradient_of(self, graph: Graph, position: int) -> Format | None:
        """The format that the gradient of a node is stored in."""
        return self._staged(graph, position, "d") or self._op_of(graph.nodes[position])

    def _staged(self, graph: Graph, position: int, prefix: str) -> Format | None:
        return self.stages.get(prefix + graph.names[position]) if position in graph.names else None

    def _op_of(self, node: Node) -> Format | None:
        """Ops that only move or choose numbers store nothing new."""
        return self.every if node.kind == "op" and not (OPS[node.op].moves or OPS[node.op].ulps == 0) else None

    def __str__(self) -> str:
        return self.name


def policies(dtype: str) -> tuple[Policy, ...]:
    """The named policies of a kernel's format, from the tightest.

    >>> [policy.name for policy in policies("bfloat16")][:3]
    ['fp32 accumulate', 'flash attention', 'every op']
    """
    own, single = FORMATS[dtype], FORMATS["float32"]
    if own is single:
        return Policy("every op", every=own, sums=own), Policy("every step", every=own, sums=own, steps=2)
    return (
        Policy("fp32 accumulate"),
        Policy("flash attention", products=own, saved_output=own),
        Policy("every op", every=own, products=own),
        Policy(f"gradients accumulated in {dtype}", products=own, saved_output=own, sums=own, only_results=True),
        Policy(f"every step and sum in {dtype}", every=own, products=own, sums=own, steps=2),
    )


def policy_of(given: Any, dtype: str, graph: Graph) -> Policy | None:
    """The policy that somebody names, or says by stages; None where nothing is said. Raises UsageError for others.

    >>> from verify.case.expression import graph_from_expressions
    >>> graph = graph_from_expressions({"x": ()}, {"y": "exp(x)"})
    >>> policy_of({"y": "float16"}, "float16", graph).stages["y"].name, policy_of(None, "float16", graph)
    ('float16', None)
    """
    if given is None or isinstance(given, Policy):
        return given
    known = policies(dtype)
    if isinstance(given, str):
        found = next((policy for policy in known if policy.name == given), None)
        if found is None:
            names = [policy.name for policy in known]
            raise UsageError(
                f"there is no policy {given!r} for {dtype}: one of {', '.join(map(repr, names))}, or a mapping of the "
                f"reference's stages to formats. {did_you_mean(given, names)}".strip()
            )
        return found
    if not isinstance(given, Mapping):
        raise UsageError(
            f"a policy is a name or a mapping such as {{'P': 'bfloat16', 'dP': 'bfloat16'}}, got {given!r:.60}"
        )
    stages = [*graph.stages, *(f"d{name}" for name in graph.stages)]
    for name, form in given.items():
        if name not in stages:
            raise UsageError(
                f"the policy names {name!r}, and the reference has no such stage, but {', '.join(graph.stages)}. "
                f"Assign it to a variable of that name. {did_you_mean(str(name), stages)}".strip()
            )
        if form not in FORMATS:
            raise UsageError(f"the policy stores {name} in {form!r}: one of {', '.join(FORMATS)}")
    text = ", ".join(f"{name} in {form}" for name, form in given.items())
    return Policy(text or "fp32 accumulate", stages={name: FORMATS[form] for name, form in given.items()})

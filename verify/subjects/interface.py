"""What a gradient is given and may answer with: the names and shapes of the function that it is of."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from verify.case.case import Case


@dataclass(frozen=True, slots=True)
class Interface:
    """What a gradient is given, and what it may answer with."""

    what: str
    """The function that it is the gradient of, in words."""
    inputs: tuple[str, ...]
    """All inputs, in order."""
    real: tuple[str, ...]
    """Those that are differentiated: what a tuple's items belong to."""
    shapes: Mapping[str, tuple[int, ...]]
    """Of every input and stage."""
    outputs: Mapping[str, tuple[int, ...]]
    """Output -> its shape."""
    held: Mapping[str, Any] = field(default_factory=dict)
    """Input -> what is passed for it in every call, whatever the point: labels, whole numbers, flags, text."""
    upstream: Mapping[str, str] = field(default_factory=dict)
    """Output -> the input that is its upstream gradient, where the case has one."""
    agrees: Callable[[Mapping[str, Any], Mapping[str, Any]], bool] | None = None
    """Whether the case is the function that was asked about at a point (inputs, upstream); None where it always is."""

    @classmethod
    def of(cls, case: Case) -> Interface:
        r"""The interface of a case.

        >>> from verify.case.case import load_case_text
        >>> Interface.of(load_case_text("case: square\ninputs: {x: {at: 3}}\nstages: {f: x**2}\n")).outputs
        {'f': ()}
        """
        graph = case.graph
        return cls(
            f"case {case.name!r}",
            tuple(graph.inputs),
            tuple(item.name for item in case.real_inputs),
            {name: graph.shape(name) for name in (*graph.inputs, *graph.stages)},
            {name: graph.shape(name) for name in graph.outputs},
            upstream=case.upstream,
        )

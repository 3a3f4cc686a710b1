"""What a method answers with: a derivative, or the reason why it has none."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol


@dataclass(frozen=True, slots=True)
class Derivative:
    """One method's answer at P points."""

    values: Mapping[str, Any]
    """Input or stage -> its value ``(P, *shape)``: the method's own forward pass."""
    gradients: Mapping[str, Any]
    """Variable -> gradient of the contracted output ``(P, *shape)``, in units of the output by the variable's."""


@dataclass(frozen=True, slots=True)
class Unsupported:
    """A method that cannot do a case says why; it becomes a row, never a gap."""

    reason: str


class Differentiator(Protocol):
    """A method made ready for one graph.

    ``prepare(graph, variables)`` in each file of :mod:`verify.methods` returns one of these, or Unsupported.
    """

    def differentiate(self, inputs: Mapping[str, Any], upstream: Mapping[str, Any]) -> Derivative:
        """Value and gradient at P points.

        ``inputs`` maps every input to ``(P, *shape)``, ``upstream`` every output to its upstream gradient of the
        same shape as the output. Neither is written to.
        """
        ...


@dataclass(frozen=True, slots=True)
class ClosedForm:
    """How a symbolic derivative was had: SymPy's formula for the whole, or stage by stage."""

    form: str
    """``closed form`` or ``by stages``."""
    formulas: Mapping[str, str] = field(default_factory=dict)
    """Entry (``""`` for a scalar or a whole matrix) -> formula."""

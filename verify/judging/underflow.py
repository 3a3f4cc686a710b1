"""Where floats leave their range on the way: a value, or a derivative on the way back, that they cannot hold.

Rounding is bounded relative to a result, and so is what a method may be off by. Below the smallest normal number that
ends: a value that is not zero becomes zero, sqrt is flat on one side of it and infinitely steep on the other, and what
follows is neither right nor wrong. Whether it happened is seen by holding the floats against the enclosed values.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from verify.graph.graph import Graph, Node
from verify.graph.interpret import align
from verify.graph.taylor import entries_of
from verify.ops import OPS

if TYPE_CHECKING:
    import flint

Array = NDArray[Any]


def underflow(graph: Graph, floats: Sequence[Array], enclosed: Sequence[Any]) -> str:
    """The first node that is zero or subnormal in floats and in truth too small for them, but surely not zero.

    Empty where there is none. A zero whose truth is of ordinary size is what cancellation left, and no underflow.
    ``floats`` are the values of all nodes ``(1, *shape)``, ``enclosed`` the balls around their true values.

    >>> import flint
    >>> from verify.case.expression import graph_from_expressions
    >>> from verify.graph.interpret import Program
    >>> from verify.graph.taylor import Taylor
    >>> graph = graph_from_expressions({"x": ()}, {"f": "sqrt(exp(x))"})
    >>> for x in (-800.0, -80.0):
    ...     floats = Program(graph).run({"x": np.array([x])})
    ...     underflow(graph, floats, Taylor(graph).values({"x": flint.arb(x)}))
    "underflow on the way in exp (stage 'f')"
    ''
    """
    for node, value, balls in zip(graph.nodes, floats, enclosed, strict=True):
        if node.kind != "op":
            continue
        tiny = float(np.finfo(value.dtype).tiny)
        low = np.flatnonzero(np.abs(np.broadcast_to(value, (1, *node.shape))) < tiny)
        if len(low):
            known = entries_of(balls)
            if any(not known[at].contains(0) and abs(known[at]) < 2 * tiny for at in low):
                return f"underflow on the way in {_where(node)}"
    return ""


def too_large(floats: Sequence[Array], slopes: Sequence[flint.arb]) -> str:
    """That a true derivative is more than floats can hold, empty where none is.

    >>> import flint
    >>> too_large([np.zeros(1)], [flint.arb(1e301)]), too_large([np.zeros(1, np.float32)], [flint.arb(1e301)])
    ('', 'a derivative is more than 3.4e+38, the largest that these floats hold')
    """
    largest = float(np.finfo(np.result_type(*floats)).max)
    if any(slope.is_finite() and abs(slope) > largest for slope in slopes):
        return f"a derivative is more than {largest:.3g}, the largest that these floats hold"
    return ""


def steep(graph: Graph, floats: Sequence[Array]) -> str:
    """The first op whose local derivative is not finite in floats, empty where there is none.

    >>> from verify.case.expression import graph_from_expressions
    >>> from verify.graph.interpret import Program
    >>> graph = graph_from_expressions({"x": ()}, {"f": "1e-9 * log(x)"})
    >>> for x in (1e-310, 1e-300):
    ...     steep(graph, Program(graph).run({"x": np.array([x])}))
    "overflow on the way back: the slope of log (stage 'f') is infinite or too large"
    ''
    """
    for node, value in zip(graph.nodes, floats, strict=True):
        if node.kind != "op" or not OPS[node.op].elementwise:
            continue
        operands = align(node, [floats[arg] for arg in node.args])
        with np.errstate(all="ignore"):
            local = [vjp(np.ones_like(value), value, *operands, **node.params) for vjp in OPS[node.op].vjps]
        if not all(np.all(np.isfinite(x)) for x in local):
            return f"overflow on the way back: the slope of {_where(node)} is infinite or too large"
    return ""


def _where(node: Node) -> str:
    place = f" (stage {node.stage!r}{f', line {node.line}' if node.line else ''})" if node.stage else ""
    return f"{node.op}{place}"

"""Ways to differentiate: one file is one method, and the listing of this folder is the registry.

Each file has ``prepare(graph, variables)``, which answers with something that differentiates the graph with respect
to those inputs and stages, or with :class:`~verify.graph.derivative.Unsupported`. The files never import each other:
that they can be wrong only separately is the point of the program.
"""

from __future__ import annotations

import pkgutil
from collections.abc import Sequence
from importlib import import_module

from verify.graph.derivative import Differentiator, Unsupported
from verify.graph.graph import Graph


def available() -> tuple[str, ...]:
    """The names of all methods.

    >>> available()
    ('autograd', 'central', 'jax', 'reverse', 'symbolic', 'torch')
    """
    return tuple(sorted(module.name for module in pkgutil.iter_modules(__path__)))


def prepare(name: str, graph: Graph, variables: Sequence[str]) -> Differentiator | Unsupported:
    """The method made ready for one graph, or why it cannot do it.

    >>> import numpy as np
    >>> from verify.case.expression import graph_from_expressions
    >>> graph = graph_from_expressions({"x": ()}, {"f": "x**2"})
    >>> reverse = prepare("reverse", graph, ["x"])
    >>> reverse.differentiate({"x": np.array([3.0])}, {"f": np.ones(1)}).gradients["x"]
    array([6.])
    """
    answer: Differentiator | Unsupported = import_module(f"{__name__}.{name}").prepare(graph, variables)
    return answer

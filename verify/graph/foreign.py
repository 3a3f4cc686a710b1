"""Running a graph on the ops of another library, one point at a time, so that the library can differentiate it.

A library brings a table: the name of an op -> its own function, called with the operands and the op's static
parameters as the case states them. There is no axis of points: each point is run alone, as users of the library would.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from verify.graph.derivative import Derivative, Unsupported
from verify.graph.graph import Graph
from verify.ops import OPS

Forms = Mapping[str, Callable[..., Any]]
"""Op -> the library's own function."""


def forms_by_name(own: Forms, places: Sequence[Any], without: Mapping[str, str]) -> Forms:
    """A library's forms: what is written for it, and for every other op the function of its name.

    It is looked for in some places of the library, in order; ops that the library is ``without`` have no form.

    >>> import math
    >>> sorted(forms_by_name({"abs": abs}, (math,), {"gamma": "not wanted"}))[:5]
    ['abs', 'cbrt', 'ceil', 'cos', 'cosh']
    """
    found = {"power_constant": power_constant, **own}
    for op in OPS:
        form = next((getattr(place, op) for place in places if hasattr(place, op)), None)
        if op not in found and op not in without and form is not None:
            found[op] = form
    return found


def power_constant(a: Any, exponent: float) -> Any:
    """A power as users write it: a whole exponent is an integer.

    >>> power_constant(-2, 3.0)
    -8
    """
    return a ** (int(exponent) if exponent == int(exponent) else exponent)


def without_a_form(graph: Graph, forms: Forms) -> tuple[str, ...]:
    """The ops of a graph that a table lacks, in the order in which the graph first needs them.

    >>> from verify.case.expression import graph_from_expressions
    >>> without_a_form(graph_from_expressions({"x": ()}, {"f": "exp(sin(x))"}), {"exp": float})
    ('sin',)
    """
    return tuple(dict.fromkeys(node.op for node in graph.nodes if node.kind == "op" and node.op not in forms))


def library_and_forms(
    package: str, title: str, graph: Graph, forms_of: Callable[[Any], Forms]
) -> tuple[Any, Forms] | Unsupported:
    """A library and its forms of the ops of one graph, or why it cannot run the graph.

    >>> from verify.case.expression import graph_from_expressions
    >>> graph = graph_from_expressions({"x": ()}, {"f": "exp(x)"})
    >>> library_and_forms("math", "the math module", graph, lambda math: {"exp": math.exp})[1]["exp"](0.0)
    1.0
    >>> library_and_forms("math", "the math module", graph, lambda math: {}).reason
    'the math module is given no form of exp'
    >>> library_and_forms("no_such_package", "It", graph, dict).reason
    "It is not installed; pip install 'verify-gradients[no_such_package]'"
    """
    try:
        library = importlib.import_module(package)
    except ImportError:
        return Unsupported(f"{title} is not installed; pip install 'verify-gradients[{package}]'")
    forms = forms_of(library)
    missing = without_a_form(graph, forms)
    return Unsupported(f"{title} is given no form of {', '.join(missing)}") if missing else (library, forms)


def run_foreign(
    graph: Graph,
    forms: Forms,
    inputs: Mapping[str, Any],
    constant: Callable[[float], Any],
    added: Mapping[str, Any],
) -> dict[str, Any]:
    """The value of every input and stage at one point, in the library's own kind of array.

    ``constant`` makes such an array of a literal. ``added`` maps stages to zeros of their shape, which are added to
    them: the derivative by these zeros is the derivative by the stage.

    >>> from verify.case.expression import graph_from_expressions
    >>> graph = graph_from_expressions({"x": ()}, {"y": "x * x", "f": "y + 1"})
    >>> forms = {"multiply": lambda a, b: a * b, "add": lambda a, b: a + b}
    >>> run_foreign(graph, forms, {"x": 3.0}, float, {"y": 0.0})
    {'x': 3.0, 'y': 9.0, 'f': 10.0}
    """
    values: list[Any] = [None] * len(graph.nodes)
    for i, node in enumerate(graph.nodes):
        if node.kind == "input":
            values[i] = inputs[node.op]
            continue
        if node.kind == "constant":
            assert node.value is not None, "a literal has a value"
            values[i] = constant(node.value)
        else:
            static = {key: node.params[key] for key in OPS[node.op].params if key in node.params}
            values[i] = forms[node.op](*(values[j] for j in node.args), **static)
        name = graph.names.get(i)
        if name is not None and name in added:
            values[i] = values[i] + added[name]
    return {name: values[position] for name, position in {**graph.inputs, **graph.stages}.items()}


Answer = tuple[Mapping[str, Any], Mapping[str, Any]]
"""Values and gradients by name, as arrays of the library or NumPy's."""


def point_by_point(
    at: Callable[[Mapping[str, Any], Mapping[str, Any]], Answer],
    inputs: Mapping[str, Any],
    upstream: Mapping[str, Any],
) -> Derivative:
    """What a library answers at P points that it is asked one by one, put together.

    ``at`` maps inputs and upstream gradients of one point to values and gradients.

    >>> answer = point_by_point(lambda x, g: ({"f": x["x"] ** 2}, {"x": 2 * x["x"] * g["f"]}),
    ...     {"x": np.array([3.0, 4.0])}, {"f": np.ones(2)})
    >>> answer.gradients["x"]
    array([6., 8.])
    """
    points = len(next(iter(inputs.values()))) if inputs else 1
    values: dict[str, list[Any]] = {}
    gradients: dict[str, list[Any]] = {}
    for p in range(points):
        here, seeds = ({name: x[p] for name, x in xs.items()} for xs in (inputs, upstream))
        for found, answer in zip((values, gradients), at(here, seeds), strict=True):
            for name, array in answer.items():
                found.setdefault(name, []).append(_as_numpy(array))
    return Derivative(*({name: np.stack(arrays) for name, arrays in found.items()} for found in (values, gradients)))


def _as_numpy(array: Any) -> Any:
    """An array of the library as NumPy's, cut off from whatever would differentiate it again."""
    return np.asarray(array.detach() if hasattr(array, "detach") else array)

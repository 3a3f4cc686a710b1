"""PyTorch differentiates the function by its own rules, in its own arithmetic; nothing of this program takes part.

An optional method: it is asked for by name, and needs the package (``pip install 'verify-gradients[torch]'``). Points
are run one by one, as users of PyTorch would.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from verify.derivative import Derivative, Unsupported
from verify.foreign import Forms, run_foreign, without_a_form
from verify.graph import Graph
from verify.interpret import dtype_of

MISSING = "PyTorch is not installed; pip install 'verify-gradients[torch]'"


def prepare(graph: Graph, variables: Sequence[str]) -> Torch | Unsupported:
    """The method made ready for one graph, or why it cannot do it.

    >>> from verify.reading.expression import graph_from_expressions
    >>> method = prepare(graph_from_expressions({"x": ()}, {"f": "x**2"}), ["x"])
    >>> isinstance(method, Unsupported) or method.differentiate(
    ...     {"x": np.array([3.0])}, {"f": np.ones(1)}).gradients["x"].tolist() == [6.0]
    True
    """
    try:
        import torch
    except ImportError:
        return Unsupported(MISSING)
    forms = _forms(torch)
    missing = without_a_form(graph, forms)
    if missing:
        return Unsupported(f"PyTorch is given no form of {', '.join(missing)}")
    return Torch(torch, forms, graph, variables)


class Torch:
    """PyTorch's gradients of one graph by the variables asked for."""

    def __init__(self, torch: Any, forms: Forms, graph: Graph, variables: Sequence[str]) -> None:
        self.torch, self.forms, self.graph = torch, forms, graph
        self.variables = tuple(variables)
        self._stages = tuple(name for name in self.variables if name in graph.stages)

    def differentiate(self, inputs: Mapping[str, Any], upstream: Mapping[str, Any]) -> Derivative:
        """Value and gradient at P points; see :class:`~verify.derivative.Differentiator`."""
        points = len(next(iter(inputs.values()))) if inputs else 1
        values: dict[str, list[Any]] = {}
        gradients: dict[str, list[Any]] = {}
        for p in range(points):
            here, seeds = ({name: x[p] for name, x in xs.items()} for xs in (inputs, upstream))
            for found, answer in zip((values, gradients), self._at(here, seeds), strict=True):
                for name, tensor in answer.items():
                    found.setdefault(name, []).append(tensor.detach().numpy())
        return Derivative(
            *({name: np.stack(arrays) for name, arrays in found.items()} for found in (values, gradients))
        )

    def _at(self, inputs: Mapping[str, Any], upstream: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
        """Values and gradients at one point."""
        dtype = dtype_of(inputs)
        kind = self.torch.from_numpy(np.zeros(0, dtype=dtype)).dtype

        def tensor(x: Any, is_variable: bool = False) -> Any:
            return self.torch.from_numpy(np.array(x, dtype=dtype)).requires_grad_(is_variable)

        given = {name: tensor(x, name in self.variables) for name, x in inputs.items()}
        added = {name: tensor(np.zeros(self.graph.shape(name)), True) for name in self._stages}
        values = run_foreign(self.graph, self.forms, given, lambda number: self.torch.tensor(number, dtype=kind), added)
        total = sum((values[name] * tensor(g)).sum() for name, g in upstream.items())
        by = [added.get(name, given.get(name)) for name in self.variables]
        found = self.torch.autograd.grad(total, by, allow_unused=True, materialize_grads=True) if by else ()
        return values, dict(zip(self.variables, found, strict=True))


def _forms(torch: Any) -> Forms:
    """Each op as PyTorch has it."""

    def axes(a: Any, axis: Sequence[int] | None) -> tuple[int, ...]:
        return tuple(range(a.ndim)) if axis is None else tuple(axis)

    def power_constant(a: Any, exponent: float) -> Any:
        return a ** (int(exponent) if exponent == int(exponent) else exponent)

    def total(a: Any, axis: Any = None, keepdims: bool = False) -> Any:
        return torch.sum(a, dim=axes(a, axis), keepdim=keepdims) if axes(a, axis) else a

    def mean(a: Any, axis: Any = None, keepdims: bool = False) -> Any:
        return torch.mean(a, dim=axes(a, axis), keepdim=keepdims) if axes(a, axis) else a

    def transpose(a: Any, axes: Any = None) -> Any:
        return torch.permute(a, tuple(range(a.ndim))[::-1] if axes is None else tuple(axes))

    def index_of(a: Any, index: tuple[Any, ...]) -> Any:
        parts = list(index)
        for axis, part in enumerate(parts):
            if isinstance(part, slice) and part.step is not None and part.step < 0:  # PyTorch knows no such slice
                places = torch.tensor(range(a.shape[axis])[part], dtype=torch.int64)
                a, parts[axis] = torch.index_select(a, axis, places), slice(None)
        return a[tuple(parts)]

    return {
        "add": torch.add,
        "subtract": torch.subtract,
        "multiply": torch.multiply,
        "divide": torch.divide,
        "power": torch.pow,
        "power_constant": power_constant,
        "negative": torch.negative,
        "positive": torch.positive,
        "exp": torch.exp,
        "log": torch.log,
        "sqrt": torch.sqrt,
        "sigmoid": torch.sigmoid,
        "tanh": torch.tanh,
        "sin": torch.sin,
        "cos": torch.cos,
        "erf": torch.erf,
        "erfc": torch.erfc,
        "expm1": torch.expm1,
        "log1p": torch.log1p,
        "log2": torch.log2,
        "log10": torch.log10,
        "square": torch.square,
        "reciprocal": torch.reciprocal,
        "sinh": torch.sinh,
        "cosh": torch.cosh,
        "arcsinh": torch.arcsinh,
        "arccosh": torch.arccosh,
        "arctanh": torch.arctanh,
        "tan": torch.tan,
        "arcsin": torch.arcsin,
        "arccos": torch.arccos,
        "arctan": torch.arctan,
        "arctan2": torch.arctan2,
        "softplus": lambda a: torch.logaddexp(a, torch.zeros_like(a)),
        "max": torch.maximum,
        "min": torch.minimum,
        "relu": torch.relu,
        "abs": torch.abs,
        "hypot": torch.hypot,
        "sign": torch.sign,
        "matmul": torch.matmul,
        "sum": total,
        "mean": mean,
        "transpose": transpose,
        "index": index_of,
    }

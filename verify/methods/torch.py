"""PyTorch differentiates the function by its own rules, in its own arithmetic; nothing of this program takes part.

An optional method: it is asked for by name, and needs the package (``pip install 'verify-gradients[torch]'``). Points
are run one by one, as users of PyTorch would.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from verify.graph.derivative import Derivative, Unsupported
from verify.graph.foreign import Forms, forms_by_name, library_and_forms, point_by_point, run_foreign
from verify.graph.graph import Graph
from verify.graph.interpret import dtype_of
from verify.ops.code import one_axis


def prepare(graph: Graph, variables: Sequence[str]) -> Torch | Unsupported:
    """The method made ready for one graph, or why it cannot do it.

    >>> from verify.case.expression import graph_from_expressions
    >>> method = prepare(graph_from_expressions({"x": ()}, {"f": "x**2"}), ["x"])
    >>> isinstance(method, Unsupported) or method.differentiate(
    ...     {"x": np.array([3.0])}, {"f": np.ones(1)}).gradients["x"].tolist() == [6.0]
    True
    """
    found = library_and_forms("torch", "PyTorch", graph, _forms)
    return found if isinstance(found, Unsupported) else Torch(*found, graph, variables)


class Torch:
    """PyTorch's gradients of one graph by the variables asked for."""

    def __init__(self, torch: Any, forms: Forms, graph: Graph, variables: Sequence[str]) -> None:
        self.torch, self.forms, self.graph = torch, forms, graph
        self.variables = tuple(variables)
        self._stages = tuple(name for name in self.variables if name in graph.stages)

    def differentiate(self, inputs: Mapping[str, Any], upstream: Mapping[str, Any]) -> Derivative:
        """Value and gradient at P points; see :class:`~verify.graph.derivative.Differentiator`."""
        return point_by_point(self._at, inputs, upstream)

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


WITHOUT = {
    "cbrt": "it has no real root of a negative number",
    "gamma": "it has its logarithm alone",
    "digamma": "its slope, trigamma, has nine digits alone",
    "polygamma": "its trigamma has nine digits alone",
}
"""Ops that PyTorch has no function for -> why."""


def _forms(torch: Any) -> Forms:  # noqa: C901  (a few functions that turn NumPy's parameters into its own)
    """Each op as PyTorch has it: under the same name, or as it stands here."""
    functional = torch.nn.functional

    def axes(a: Any, axis: Sequence[int] | None) -> tuple[int, ...]:
        return tuple(range(a.ndim)) if axis is None else tuple(axis)

    def total(a: Any, axis: Any = None, keepdims: bool = False) -> Any:
        return torch.sum(a, dim=axes(a, axis), keepdim=keepdims) if axes(a, axis) else a

    def mean(a: Any, axis: Any = None, keepdims: bool = False) -> Any:
        return torch.mean(a, dim=axes(a, axis), keepdim=keepdims) if axes(a, axis) else a

    def transpose(a: Any, axes: Any = None) -> Any:
        return torch.permute(a, tuple(range(a.ndim))[::-1] if axes is None else tuple(axes))

    def index_of(a: Any, index: tuple[Any, ...]) -> Any:
        parts, axis = list(index), 0
        taken = sum(part is not None and part is not Ellipsis for part in parts)
        for i, part in enumerate(parts):
            if isinstance(part, slice) and part.step is not None and part.step < 0:  # PyTorch knows no such slice
                places = torch.tensor(range(a.shape[axis])[part], dtype=torch.int64)
                a, parts[i] = torch.index_select(a, axis, places), slice(None)
            elif isinstance(part, tuple):
                parts[i] = torch.tensor(part, dtype=torch.int64)
            elif isinstance(part, int) and any(isinstance(other, tuple) for other in index):
                parts[i] = torch.tensor([part], dtype=torch.int64)  # as in NumPy, a number beside a list is one too
            axis += 0 if part is None else a.ndim - taken if part is Ellipsis else 1
        return a[tuple(parts)]

    def prod(a: Any, axis: Any = None, keepdims: bool = False) -> Any:
        for i in sorted(axes(a, axis), reverse=True):
            a = torch.prod(a, dim=i, keepdim=keepdims)
        return a

    def spread(function: Any) -> Any:
        def taken(a: Any, axis: Any = None, keepdims: bool = False, ddof: float = 0) -> Any:
            return function(a, dim=axes(a, axis) or None, correction=ddof, keepdim=keepdims)

        return taken

    def reduced(function: Any) -> Any:
        def taken(a: Any, axis: Any = None, keepdims: bool = False) -> Any:
            return function(a, dim=axes(a, axis), keepdim=keepdims)

        return taken

    def along(function: Any) -> Any:
        def taken(a: Any, axis: Any = None) -> Any:
            return function(a.reshape(-1), 0) if axis is None else function(a, one_axis(axis))

        return taken

    def log_softmax(a: Any, axis: Any = None) -> Any:
        if len(axes(a, axis)) == 1:
            return torch.log_softmax(a, axes(a, axis)[0])
        return a - torch.logsumexp(a, dim=axes(a, axis), keepdim=True)  # PyTorch's own goes along one axis

    def softmax(a: Any, axis: Any = None) -> Any:
        return torch.softmax(a, axes(a, axis)[0]) if len(axes(a, axis)) == 1 else torch.exp(log_softmax(a, axis))

    def dot(a: Any, b: Any) -> Any:
        if not a.ndim or not b.ndim:
            return a * b
        return torch.tensordot(a, b, dims=([a.ndim - 1], [max(b.ndim - 2, 0)]))

    def expand_dims(a: Any, axis: Any) -> Any:
        for i in sorted(axis if isinstance(axis, tuple) else (axis,)):
            a = torch.unsqueeze(a, i)
        return a

    def pad(a: Any, pad_width: Any) -> Any:
        pairs = np.broadcast_to(np.array(pad_width), (a.ndim, 2))[::-1]
        return functional.pad(a, pairs.ravel().tolist())

    def roll(a: Any, shift: Any, axis: Any = None) -> Any:
        if axis is None:
            return torch.roll(a, shift)
        places = axis if isinstance(axis, tuple) else (axis,)
        return torch.roll(a, np.broadcast_to(shift, len(places)).tolist(), places)

    own = {
        "power": torch.pow,
        "softplus": lambda a: torch.logaddexp(a, torch.zeros_like(a)),
        "i1": torch.special.i1,
        "max": torch.maximum,
        "min": torch.minimum,
        "sum": total,
        "mean": mean,
        "transpose": transpose,
        "index": index_of,
        "gather": index_of,
        "leaky_relu": lambda a, slope: functional.leaky_relu(a, negative_slope=slope),
        "clip": lambda a, lo, hi: torch.clip(a, min=lo, max=hi),
        "where": lambda a, b, x, y: torch.where(a > b, x, y),
        "where_or_equal": lambda a, b, x, y: torch.where(a >= b, x, y),
        "dot": dot,
        "outer": lambda a, b: torch.outer(a.reshape(-1), b.reshape(-1)),
        "einsum": lambda *operands, subscripts: torch.einsum(subscripts, *operands),
        "prod": prod,
        "var": spread(torch.var),
        "std": spread(torch.std),
        "norm": reduced(torch.linalg.vector_norm),
        "cumsum": along(torch.cumsum),
        "cumprod": along(torch.cumprod),
        "amax": reduced(torch.amax),
        "amin": reduced(torch.amin),
        "softmax": softmax,
        "log_softmax": log_softmax,
        "logsumexp": reduced(torch.logsumexp),
        "reshape": lambda a, shape: torch.reshape(a, shape if isinstance(shape, tuple) else (shape,)),
        "expand_dims": expand_dims,
        "squeeze": lambda a, axis=None: torch.squeeze(a) if axis is None else torch.squeeze(a, axes(a, axis)),
        "broadcast_to": lambda a, shape: torch.broadcast_to(a, tuple(shape)),
        "stack": lambda *arrays, axis=None: torch.stack(arrays, one_axis(axis)),
        "concatenate": lambda *arrays, axis=None: torch.cat(arrays, one_axis(axis)),
        "pad": pad,
        "flip": lambda a, axis=None: torch.flip(a, axes(a, axis)),
        "roll": roll,
        **_of_matrices_and_windows(torch),
    }
    return forms_by_name(own, (torch, functional, torch.linalg), WITHOUT)


def _of_matrices_and_windows(torch: Any) -> Forms:
    """Linear algebra, convolution and pooling."""
    functional = torch.nn.functional

    def or_nan(found: Any, info: Any) -> Any:
        """NaN for each matrix of a stack that has no value, in place of PyTorch's exception for all of them."""
        return found * torch.where(info == 0, 1.0, torch.nan).to(found.dtype)[..., None, None]

    def solve(a: Any, b: Any) -> Any:
        if b.ndim == 1:
            return or_nan(*torch.linalg.solve_ex(a, b[:, None]))[..., 0]
        matrices = b.reshape(*(1,) * (a.ndim - b.ndim), *b.shape)  # PyTorch takes some of lower rank for vectors
        return or_nan(*torch.linalg.solve_ex(a, matrices))

    def cholesky(a: Any) -> Any:
        lower = torch.tril(a)  # PyTorch's gradient is that by a symmetric matrix, half of it above the diagonal
        return or_nan(*torch.linalg.cholesky_ex(lower + torch.tril(a, -1).mT))

    def pool(of_places: Mapping[int, Any]) -> Any:
        return lambda x, size, stride=None: of_places[x.ndim - 2](x, size, stride)

    return {
        "inverse": lambda a: or_nan(*torch.linalg.inv_ex(a)),
        "logabsdet": lambda a: torch.linalg.slogdet(a).logabsdet,
        "solve": solve,
        "cholesky": cholesky,
        "avg_pool": pool({1: functional.avg_pool1d, 2: functional.avg_pool2d}),
        "max_pool": pool({1: functional.max_pool1d, 2: functional.max_pool2d}),
    }

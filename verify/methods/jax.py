"""JAX differentiates the function by its own rules, in its own arithmetic; nothing of this program takes part.

An optional method: it is asked for by name, and needs the package (``pip install 'verify-gradients[jax]'``). JAX
computes in float32 unless it is told otherwise: 64 bits are enabled while the method runs, and in this thread alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from verify.graph.derivative import Derivative, Unsupported
from verify.graph.foreign import Forms, forms_by_name, library_and_forms, run_foreign
from verify.graph.graph import Graph
from verify.graph.interpret import dtype_of
from verify.ops.code import one_axis


def prepare(graph: Graph, variables: Sequence[str]) -> Jax | Unsupported:
    """The method made ready for one graph, or why it cannot do it.

    >>> from verify.case.expression import graph_from_expressions
    >>> method = prepare(graph_from_expressions({"x": ()}, {"f": "x**2"}), ["x"])
    >>> isinstance(method, Unsupported) or method.differentiate(
    ...     {"x": np.array([3.0])}, {"f": np.ones(1)}).gradients["x"].tolist() == [6.0]
    True
    """
    found = library_and_forms("jax", "JAX", graph, _forms)
    return found if isinstance(found, Unsupported) else Jax(*found, graph, variables)


class Jax:
    """JAX's gradients of one graph by the variables asked for."""

    def __init__(self, jax: Any, forms: Forms, graph: Graph, variables: Sequence[str]) -> None:
        self.jax, self.forms, self.graph = jax, forms, graph
        self.variables = tuple(variables)

    def differentiate(self, inputs: Mapping[str, Any], upstream: Mapping[str, Any]) -> Derivative:
        """Value and gradient at P points; see :class:`~verify.graph.derivative.Differentiator`."""
        dtype = dtype_of(inputs)
        points = len(next(iter(inputs.values()))) if inputs else 1
        given = {name: np.asarray(x, dtype=dtype) for name, x in inputs.items()}
        by = {name: given.pop(name) for name in self.variables if name in given}
        added = {
            name: np.zeros((points, *self.graph.shape(name)), dtype=dtype)
            for name in self.variables
            if name in self.graph.stages
        }
        seeds = {name: np.asarray(g, dtype=dtype) for name, g in upstream.items()}
        with self.jax.enable_x64(True):
            one_point = self.jax.grad(self._contracted, argnums=(0, 1), has_aux=True)
            (by_inputs, by_stages), values = self.jax.vmap(one_point)(by, added, given, seeds)
            found = {**by_inputs, **by_stages}
            gradients = {name: np.asarray(found[name]) for name in self.variables}
            return Derivative({name: np.asarray(x) for name, x in values.items()}, gradients)

    def _contracted(
        self, by: Mapping[str, Any], added: Mapping[str, Any], given: Mapping[str, Any], seeds: Mapping[str, Any]
    ) -> tuple[Any, dict[str, Any]]:
        """The contracted output at one point, and the values of all inputs and stages."""
        jnp = self.jax.numpy
        kind = next(iter(seeds.values())).dtype
        values = run_foreign(
            self.graph, self.forms, {**by, **given}, lambda number: jnp.asarray(number, dtype=kind), added
        )
        total = sum(jnp.sum(values[name] * g) for name, g in seeds.items())
        return total, values


WITHOUT: Mapping[str, str] = {}
"""Ops that JAX has no function for -> why."""


def _forms(jax: Any) -> Forms:
    """Each op as JAX has it: under the same name, or as it stands here."""
    jnp = jax.numpy

    def every(a: Any, axis: Any) -> Any:
        return tuple(range(a.ndim)) if axis is None else axis

    def along(function: Any) -> Any:
        return lambda a, axis=None: function(a, axis=None if axis is None else one_axis(axis))

    def index_of(a: Any, index: tuple[Any, ...]) -> Any:
        return a[tuple(np.array(part) if isinstance(part, tuple) else part for part in index)]

    own = {
        "polygamma": lambda a, order: jax.scipy.special.polygamma(int(order), a),
        "max": jnp.maximum,
        "min": jnp.minimum,
        "index": index_of,
        "gather": index_of,
        "leaky_relu": lambda a, slope: jax.nn.leaky_relu(a, negative_slope=slope),
        "clip": lambda a, lo, hi: jnp.clip(a, min=lo, max=hi),
        "where": lambda a, b, x, y: jnp.where(a > b, x, y),
        "where_or_equal": lambda a, b, x, y: jnp.where(a >= b, x, y),
        "einsum": lambda *operands, subscripts: jnp.einsum(subscripts, *operands),
        "norm": jnp.linalg.vector_norm,
        "cumsum": along(jnp.cumsum),
        "cumprod": along(jnp.cumprod),
        "amax": jnp.max,
        "amin": jnp.min,
        "softmax": lambda a, axis=None: jax.nn.softmax(a, axis=every(a, axis)),
        "log_softmax": lambda a, axis=None: jax.nn.log_softmax(a, axis=every(a, axis)),
        "reshape": lambda a, shape: jnp.reshape(a, shape if isinstance(shape, tuple) else (shape,)),
        "stack": lambda *arrays, axis=None: jnp.stack(arrays, axis=one_axis(axis)),
        "concatenate": lambda *arrays, axis=None: jnp.concatenate(arrays, axis=one_axis(axis)),
        "lgamma": jax.scipy.special.gammaln,
        **_of_matrices_and_windows(jax),
    }
    return forms_by_name(own, (jnp, jax.nn, jax.scipy.special, jnp.linalg), WITHOUT)


def _of_matrices_and_windows(jax: Any) -> Forms:
    """Linear algebra, convolution and pooling."""
    jnp = jax.numpy

    def cholesky(a: Any) -> Any:
        lower = jnp.tril(a)  # JAX's gradient is that by a symmetric matrix, half of it above the diagonal
        return jnp.linalg.cholesky(lower + jnp.matrix_transpose(jnp.tril(a, -1)))

    def each(a: Any, value: Any) -> tuple[int, ...]:
        return value if isinstance(value, tuple) else (value,) * (a.ndim - 2)

    def conv(x: Any, w: Any, stride: Any = 1, padding: Any = 0) -> Any:
        return jax.lax.conv_general_dilated(x, w, each(x, stride), [(p, p) for p in each(x, padding)])

    def pool(x: Any, size: Any, stride: Any, start: float, join: Any) -> Any:
        sizes, strides = ((1, 1, *each(x, size if value is None else value)) for value in (size, stride))
        return jax.lax.reduce_window(x, start, join, sizes, strides, "VALID")

    def avg_pool(x: Any, size: Any, stride: Any = None) -> Any:
        return pool(x, size, stride, 0.0, jax.lax.add) / np.prod(each(x, size))

    return {
        "inverse": jnp.linalg.inv,
        "logabsdet": lambda a: jnp.linalg.slogdet(a)[1],
        "cholesky": cholesky,
        "conv1d": conv,
        "conv2d": conv,
        "avg_pool": avg_pool,
        "max_pool": lambda x, size, stride=None: pool(x, size, stride, -np.inf, jax.lax.max),
    }

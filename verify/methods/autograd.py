"""HIPS autograd differentiates the function by its own rules; nothing of this program takes part.

An optional method: it is asked for by name, and needs the package (``pip install 'verify-gradients[autograd]'``).
Points are run one by one, as users of autograd would.
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


def prepare(graph: Graph, variables: Sequence[str]) -> Autograd | Unsupported:
    """The method made ready for one graph, or why it cannot do it.

    >>> from verify.case.expression import graph_from_expressions
    >>> method = prepare(graph_from_expressions({"x": ()}, {"f": "x**2"}), ["x"])
    >>> isinstance(method, Unsupported) or method.differentiate(
    ...     {"x": np.array([3.0])}, {"f": np.ones(1)}).gradients["x"].tolist() == [6.0]
    True
    """
    found = library_and_forms("autograd", "autograd", graph, _forms)
    return found if isinstance(found, Unsupported) else Autograd(*found, graph, variables)


class Autograd:
    """HIPS autograd's gradients of one graph by the variables asked for."""

    def __init__(self, autograd: Any, forms: Forms, graph: Graph, variables: Sequence[str]) -> None:
        self.autograd, self.forms, self.graph = autograd, forms, graph
        self.variables = tuple(variables)

    @np.errstate(all="ignore")  # non-finite values are judged, not warned about
    def differentiate(self, inputs: Mapping[str, Any], upstream: Mapping[str, Any]) -> Derivative:
        """Value and gradient at P points; see :class:`~verify.graph.derivative.Differentiator`."""
        return point_by_point(self._at, inputs, upstream)

    def _at(self, inputs: Mapping[str, Any], upstream: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
        """Values and gradients at one point."""
        dtype = dtype_of(inputs)
        given = {name: np.array(x, dtype=dtype) for name, x in inputs.items()}
        by = {
            name: given[name] if name in given else np.zeros(self.graph.shape(name), dtype=dtype)
            for name in self.variables
        }

        def run(by: Mapping[str, Any]) -> dict[str, Any]:
            added = {name: by[name] for name in self.variables if name in self.graph.stages}
            held = {name: by[name] if name in self.variables else x for name, x in given.items()}
            return run_foreign(self.graph, self.forms, held, dtype.type, added)

        def contracted(by: Mapping[str, Any]) -> Any:
            values = run(by)
            return sum(
                self.autograd.numpy.sum(values[name] * np.asarray(g, dtype=dtype)) for name, g in upstream.items()
            )

        values = run(by)
        try:
            return values, self.autograd.grad(contracted)(by)
        except np.linalg.LinAlgError:  # its rule for a determinant inverts the matrix, and refuses a singular one
            return values, {name: np.full_like(x, np.nan) for name, x in by.items()}


WITHOUT = {
    **dict.fromkeys(("elu", "leaky_relu", "avg_pool", "max_pool"), "it has no layers"),
    **dict.fromkeys(("norm", "einsum"), "its rule knows some axes and subscripts alone"),
    **dict.fromkeys(
        ("cbrt", "cumprod", "flip", "broadcast_to", "softmax", "log_softmax"), "it has no rule for the function"
    ),
}
"""Ops that autograd has no function for, or no rule -> why."""


def _forms(autograd: Any) -> Forms:
    """Each op as autograd has it: under the same name, or as it stands here."""
    from autograd.scipy import special

    anp = autograd.numpy

    def where(condition: Any, x: Any, y: Any) -> Any:
        shape = np.broadcast_shapes(np.shape(condition), np.shape(x), np.shape(y))
        zeros = np.zeros(shape, dtype=np.float32)  # its rule knows no broadcasting; float32 leaves float64 as it is
        return anp.where(condition, x + zeros, y + zeros)

    def index_of(a: Any, index: tuple[Any, ...]) -> Any:
        return a[tuple(list(part) if isinstance(part, tuple) else part for part in index)]

    def roll(a: Any, shift: Any, axis: Any = None) -> Any:
        if axis is None:
            return anp.roll(a, shift)
        for s, i in np.broadcast(shift, axis):  # its rule knows one axis at a time
            a = anp.roll(a, int(s), int(i))
        return a

    own = {
        "positive": lambda a: a,
        "sigmoid": special.expit,
        "softplus": lambda a: anp.logaddexp(a, 0),
        "polygamma": lambda a, order: special.polygamma(int(order), a),
        "i0": special.i0,
        "max": anp.maximum,
        "min": anp.minimum,
        "relu": lambda a: anp.maximum(a, 0),
        "index": index_of,
        "gather": index_of,
        "clip": lambda a, lo, hi: anp.clip(a, a_min=lo, a_max=hi),
        "where": lambda a, b, x, y: where(a > b, x, y),
        "where_or_equal": lambda a, b, x, y: where(a >= b, x, y),
        "outer": lambda a, b: anp.outer(anp.ravel(a), anp.ravel(b)),
        "cumsum": lambda a, axis=None: anp.cumsum(a, axis=None if axis is None else one_axis(axis)),
        "amax": anp.max,
        "amin": anp.min,
        "reshape": lambda a, shape: anp.reshape(a, shape if isinstance(shape, tuple) else (shape,)),
        "stack": lambda *arrays, axis=None: anp.stack(arrays, axis=one_axis(axis)),
        "concatenate": lambda *arrays, axis=None: anp.concatenate(arrays, axis=one_axis(axis)),
        "pad": lambda a, pad_width: anp.pad(a, pad_width, "constant"),
        "roll": roll,
        "lgamma": special.gammaln,
        **_of_matrices_and_convolutions(autograd),
    }
    return forms_by_name(own, (anp, special, anp.linalg), WITHOUT)


def _of_matrices_and_convolutions(autograd: Any) -> Forms:
    """Linear algebra and convolution; autograd has no pooling."""
    from autograd.scipy import signal

    anp = autograd.numpy

    def or_nan(function: Any, without: Any) -> Any:
        """A function of ``numpy.linalg``, and NaN of the same shape where it refuses a matrix."""

        def taken(*operands: Any) -> Any:
            try:
                return function(*operands)
            except np.linalg.LinAlgError:
                return without(*operands) * np.nan

        return taken

    def cholesky(a: Any) -> Any:
        lower = anp.tril(a)  # autograd's gradient is that by a symmetric matrix, half of it above the diagonal
        return anp.linalg.cholesky(lower + anp.swapaxes(anp.tril(a, -1), -1, -2))

    def solve(a: Any, b: Any) -> Any:
        matrices = b[:, None] if b.ndim == 1 else b
        batch = np.broadcast_shapes(a.shape[:-2], matrices.shape[:-2])
        zeros = np.zeros((*batch, 1, 1), dtype=np.float32)  # its rule knows no broadcasting either
        x = anp.linalg.solve(a + zeros, matrices + zeros)
        return x[..., 0] if b.ndim == 1 else x

    def conv(x: Any, w: Any, stride: Any = 1, padding: Any = 0) -> Any:
        axes = range(2, x.ndim)
        strides, pads = (value if isinstance(value, tuple) else (value,) * len(axes) for value in (stride, padding))
        padded = anp.pad(x, ((0, 0), (0, 0), *((p, p) for p in pads)), "constant")
        flipped = w[(..., *(slice(None, None, -1) for _ in axes))]  # autograd's own is a convolution, not a correlation
        every = signal.convolve(padded, flipped, axes=(axes, axes), dot_axes=([1], [1]), mode="valid")
        return every[(..., *(slice(None, None, s) for s in strides))]

    return {
        "diag": lambda a: anp.diag(a if a.ndim == 1 else a[: min(a.shape), : min(a.shape)]),
        "inverse": or_nan(anp.linalg.inv, lambda a: a),
        "logabsdet": lambda a: anp.linalg.slogdet(a)[1],
        "solve": or_nan(solve, anp.matmul),
        "cholesky": or_nan(cholesky, lambda a: a),
        "conv1d": conv,
        "conv2d": conv,
    }

"""PyTorch's programs: the graph of ATen ops that ``make_fx`` writes down of a function of tensors, run on tracers.

The forward alone is written down, also of a ``torch.autograd.Function``: no rule of PyTorch's own for a derivative is
ever asked. What depends on no input PyTorch computes itself. One op is one line of :data:`ROWS` where it can be.
"""

from __future__ import annotations

import operator
import re
import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Literal

import numpy as np

from verify.ops import Shape
from verify.programs import common as p
from verify.programs.common import Choice, Idioms, Masked, UnmappedError, Value, is_known, number, shape_of
from verify.tracing.tracer import Tracer

Rule = Callable[..., Value]

WHOLE = ("logsumexp", "softplus", "silu", "linalg_vector_norm", "leaky_relu", "hardtanh")
"""Ops that PyTorch can take apart and that have a row, or a kink that its parts do not show."""

SAME_NAME = (
    "exp", "log", "sqrt", "sigmoid", "tanh", "sin", "cos", "tan", "sinh", "cosh", "erf", "erfc", "expm1", "log1p",
    "log2", "log10", "lgamma", "floor", "ceil", "relu", "reciprocal", "square",
)  # fmt: skip
OTHER_NAME: Mapping[str, str] = {
    "neg": "negative", "asin": "arcsin", "acos": "arccos", "atan": "arctan", "asinh": "arcsinh", "acosh": "arccosh",
    "atanh": "arctanh", "abs": "abs", "sign": "sign", "sgn": "sign", "mul": "multiply", "div": "divide",
    "maximum": "max", "minimum": "min", "fmax": "max", "fmin": "min", "atan2": "arctan2", "hypot": "hypot",
    "true_divide": "divide", "special_erf": "erf", "special_erfc": "erfc", "special_expm1": "expm1",
    "special_log1p": "log1p", "special_gammaln": "lgamma",
}  # fmt: skip
"""ATen op -> the elementwise row that it is."""

COMPARISONS: Mapping[str, str] = {"gt": ">", "ge": ">=", "lt": "<", "le": "<=", "eq": "==", "ne": "!="}

HANDED_ON = frozenset(
    {"clone", "detach", "alias", "contiguous", "lift_fresh_copy", "lift_fresh", "_to_copy", "to", "_conj", "dropout",
     "real", "resolve_conj", "resolve_neg", "positive"}
)  # fmt: skip
"""Ops that change nothing about the numbers."""

MOVES = frozenset(
    {"slice", "select", "cat", "index", "index_select", "flip", "roll", "gather", "repeat", "unfold", "as_strided",
     "diagonal", "split", "split_with_sizes", "chunk", "unbind", "embedding", "narrow", "stack", "select_scatter",
     "slice_scatter", "diagonal_scatter", "movedim", "flatten", "unsqueeze", "squeeze", "permute", "transpose", "t",
     "expand", "view", "_unsafe_view", "reshape", "_unsafe_index", "pixel_shuffle", "pixel_unshuffle", "rot90",
     "unsafe_split", "unsafe_chunk", "masked_select", "diag", "tile", "repeat_interleave", "im2col", "expand_as",
     "_reshape_alias", "index_put", "scatter", "take", "channel_shuffle", "swapaxes", "ravel"}
)  # fmt: skip
"""Ops that only move entries: PyTorch itself moves their positions."""

LINEAR = frozenset(
    {"upsample_bilinear2d", "upsample_linear1d", "upsample_bicubic2d", "col2im", "avg_pool1d", "avg_pool3d"}
)
"""Ops that are linear in their first operand: PyTorch itself gives their matrix."""

CHECKS = frozenset({"_linalg_check_errors", "_assert_tensor_metadata", "_assert_scalar", "_assert_async"})

IDIOMS: Mapping[str, str] = {
    "sub": "subtract", "add": "add", "exp": "exp", "log": "log", "div": "divide", "sum": "sum", "amax": "max",
    "unsqueeze": "carry", "view": "carry", "expand": "carry", "squeeze": "carry", "clone": "carry", "detach": "carry",
}  # fmt: skip
"""ATen op -> the step of a softmax that it may be."""


# --------------------------------------------------------------------------------------------------------------- rows


def _axes(dim: Any, rank: int) -> tuple[int, ...] | None:
    """Axes as NumPy has them: an empty list means all."""
    if dim is None or (isinstance(dim, Sequence) and not dim):
        return None
    return tuple(int(d) % max(rank, 1) for d in (dim if isinstance(dim, Sequence) else [dim])) if rank else None


def _reduced(op: str, x: Value, dim: Any = None, keepdim: bool = False, **_: Any) -> Value:
    x = number(x) if op != "amax" else x
    if not shape_of(x):
        return x
    axes = _axes(dim, len(shape_of(x)))
    return p.largest(x, axes, keepdims=keepdim) if op == "amax" else p.apply(op, x, axis=axes, keepdims=keepdim)


def _extreme(op: str, x: Value, dim: Any = None, keepdim: bool = False) -> Value:
    """``max`` and ``min``: with an axis they give places too, which nobody may use."""
    found = _reduced(op, x, dim, keepdim)
    return found if dim is None else (found, None)


def _spread(
    op: str, x: Value, dim: Any = None, *, correction: Any = 1, keepdim: bool = False, unbiased: Any = None
) -> Value:
    if isinstance(dim, bool):
        dim, unbiased = None, dim
    freedom = int(correction if correction is not None else 1) if unbiased is None else int(unbiased)
    return p.apply(op, x, axis=_axes(dim, len(shape_of(x))), keepdims=keepdim, ddof=freedom)


def _added(a: Value, b: Value, *, alpha: Any = 1) -> Value:
    return p.elementwise("add", a, b if alpha == 1 else p.elementwise("multiply", b, alpha))


def _subtracted(a: Value, b: Value, *, alpha: Any = 1) -> Value:
    return p.elementwise("subtract", a, b if alpha == 1 else p.elementwise("multiply", b, alpha))


def _power(a: Value, b: Value) -> Value:
    if is_known(b) and not np.ndim(b):
        exponent = float(b)
        return p.apply("square", a) if exponent == 2 else p.apply("power_constant", a, exponent=exponent)
    return p.apply("power", a, b)


def _clamped(x: Value, low: Any = None, high: Any = None, *, min: Any = None, max: Any = None) -> Value:  # noqa: A002
    low, high = (low if min is None else min), (high if max is None else max)
    if isinstance(low, float | int) and isinstance(high, float | int) and low < high:
        return p.apply("clip", x, lo=float(low), hi=float(high))
    x = x if low is None else p.apply("max", x, low)
    return x if high is None else p.apply("min", x, high)


def _softplus(x: Value, beta: float = 1, threshold: float = 20) -> Value:
    """Above the threshold PyTorch's is x itself."""
    scaled = x if beta == 1 else x * beta
    smooth = p.apply("softplus", scaled)
    return p.apply("where", scaled, float(threshold), x, smooth if beta == 1 else smooth / beta)


def _elu(x: Value, alpha: float = 1, scale: float = 1, input_scale: float = 1) -> Value:
    return p.apply("where", x, 0.0, x * scale, p.apply("expm1", x * input_scale) * (alpha * scale))


def _norm(x: Value, order: float = 2, dim: Any = None, keepdim: bool = False, **_: Any) -> Value:
    axes = _axes(dim, len(shape_of(x)))
    size = partial(p.apply, axis=axes, keepdims=keepdim)
    if not shape_of(x) or float(order) == 1:
        return p.apply("abs", x) if not shape_of(x) else size("sum", p.apply("abs", x))
    if float(order) == 2:
        return size("norm", x)
    if float(order) in (np.inf, -np.inf):
        return size("amax" if order > 0 else "amin", p.apply("abs", x))
    raise UnmappedError(f"a norm of order {order}")


def _matmul(a: Value, b: Value) -> Value:
    return number(a) @ number(b)


def _product(b: Value, x: Value, w: Value, *, beta: Any = 1, alpha: Any = 1) -> Value:
    y = number(x) @ number(w)
    y = y if alpha == 1 else y * alpha
    return y if beta == 0 else y + (b if beta == 1 else b * beta)


def _convolution(
    x: Value,
    w: Value,
    b: Value,
    stride: Any,
    padding: Any,
    dilation: Any,
    transposed: bool,
    extra: Any,
    groups: int,
) -> Value:
    count = len(shape_of(x)) - 2
    stride, padding, dilation, extra = (
        [int(i) for i in (*s, *[s[-1]] * count)][:count] for s in (stride, padding, dilation, extra)
    )
    if transposed:
        y = _transposed(x, w, stride, padding, dilation, extra, groups)
    else:
        y = p.convolution(x, w, stride, [(q, q) for q in padding], [1] * count, dilation, groups)
    return y if b is None else y + np.reshape(b, (-1,) + (1,) * count)


def _transposed(x: Value, w: Value, stride: Any, padding: Any, dilation: Any, extra: Any, groups: int) -> Value:
    """The adjoint of a convolution: taps turned around, zeros between the entries."""
    count, (outer, inner) = len(stride), shape_of(w)[:2]

    def turned(places: Any) -> Any:
        grouped = places.reshape(groups, outer // groups, inner, *places.shape[2:]).swapaxes(1, 2)
        return np.flip(grouped.reshape(groups * inner, outer // groups, *places.shape[2:]), tuple(range(2, 2 + count)))

    wide = [(size - 1) * d for size, d in zip(shape_of(w)[2:], dilation, strict=True)]
    around = [(r - q, r - q + e) for r, q, e in zip(wide, padding, extra, strict=True)]
    return p.convolution(x, p.moved(turned, w), [1] * count, around, stride, dilation, groups)


def _convolution_back(
    g: Value, x: Value, w: Value, bias: Any, stride: Any, padding: Any, dilation: Any, transposed: bool, extra: Any,
    groups: int, wanted: Any,
) -> Value:  # fmt: skip
    """Adjoints of a convolution, for the reading of a backward pass."""
    count = len(shape_of(x)) - 2
    if transposed or any(d != 1 for d in dilation):
        raise UnmappedError("the backward pass of a transposed or dilated convolution")
    sizes = shape_of(w)[2:]
    rest = [(n + 2 * q - k) % s for n, q, k, s in zip(shape_of(x)[2:], padding, sizes, stride, strict=True)]
    by_x = _transposed(g, w, stride, padding, dilation, rest, groups) if wanted[0] else None
    by_w = None
    if wanted[1]:
        steps = [1, 1, *stride]
        around = [(0, 0), (0, 0), *((q, q) for q in padding)]
        rows = p.windows(x, [1, 1, *sizes], steps, around)
        n, c = shape_of(rows)[:2]
        rows = np.reshape(rows, (n, groups, c // groups, -1, *sizes))
        by_out = np.reshape(g, (n, groups, shape_of(w)[0] // groups, -1))
        letters = "ijk"[:count]
        by_w = np.reshape(p.apply("einsum", by_out, rows, subscripts=f"ngos,ngcs{letters}->goc{letters}"), shape_of(w))
    by_b = p.apply("sum", g, axis=(0, *range(2, 2 + count))) if wanted[2] else None
    del bias, extra
    return by_x, by_w, by_b


def _max_pool(x: Value, size: Any, stride: Any = (), padding: Any = 0, dilation: Any = 1, ceil: bool = False) -> Value:
    count = len(size)
    stride = stride or size
    padding = [padding] * count if isinstance(padding, int) else [*padding, *padding][:count]
    spread = [dilation] if isinstance(dilation, int) else dilation
    if ceil or any(d != 1 for d in spread):
        raise UnmappedError("max_pool with dilation or ceil_mode")
    ahead = len(shape_of(x)) - count
    if count == 2 and not any(padding):
        return p.apply("max_pool", x, size=tuple(size), stride=tuple(stride)), None
    around = [(0, 0)] * ahead + [(q, q) for q in padding]
    return p.largest_in_windows(x, [1] * ahead + list(size), [1] * ahead + [*stride, *stride][:count], around), None


def _avg_pool(
    x: Value,
    size: Any,
    stride: Any = (),
    padding: Any = 0,
    ceil: bool = False,
    count_pad: bool = True,
    divisor: Any = None,
) -> Value:
    count = len(size)
    padding = [padding] * count if isinstance(padding, int) else [*padding, *padding][:count]
    if ceil or divisor is not None or (any(padding) and not count_pad):
        raise UnmappedError("avg_pool with ceil_mode, a divisor, or padding that is not counted")
    ahead = len(shape_of(x)) - count
    if count == 2 and not any(padding):
        return p.apply("avg_pool", x, size=tuple(size), stride=tuple(stride or size))
    around = [(0, 0)] * ahead + [(q, q) for q in padding]
    rows = p.windows(x, [1] * ahead + list(size), [1] * ahead + list(stride or size), around)
    return p.apply("mean", rows, axis=(len(shape_of(rows)) - 1,))


def _adaptive_pool(x: Value, size: Any) -> Value:
    if [int(s) for s in size] != [1] * len(size):
        raise UnmappedError("adaptive pooling to more than one entry")
    return p.apply("mean", x, axis=tuple(range(len(shape_of(x)) - len(size), len(shape_of(x)))), keepdims=True)


def _normed(x: Value, axes: Sequence[int], eps: float) -> tuple[Value, Value, Value]:
    mean = p.apply("mean", x, axis=tuple(axes), keepdims=True)
    root = p.apply("reciprocal", p.apply("sqrt", p.apply("var", x, axis=tuple(axes), keepdims=True, ddof=0) + eps))
    return (x - mean) * root, mean, root


def _layer_norm(x: Value, shape: Any, w: Value, b: Value, eps: float) -> Value:
    rank = len(shape_of(x))
    y, mean, root = _normed(x, range(rank - len(shape), rank), eps)
    y = y if w is None else y * w
    return (y if b is None else y + b), mean, root


def _batch_norm(x: Value, w: Value, b: Value, *rest: Any) -> Value:
    rank = len(shape_of(x))
    ahead = (1, shape_of(x)[1]) + (1,) * (rank - 2)
    if len(rest) == 5 and rest[2] is False:
        mean, variance, eps = np.reshape(rest[0], ahead), np.reshape(rest[1], ahead), rest[4]
        y, root = (x - mean) / np.sqrt(variance + eps), None
    else:
        y, mean, root = _normed(x, (0, *range(2, rank)), rest[-1])
    y = y if w is None else y * np.reshape(w, ahead)
    return (y if b is None else y + np.reshape(b, ahead)), mean, root, None, None


def _group_norm(x: Value, w: Value, b: Value, n: int, c: int, _: int, groups: int, eps: float) -> Value:
    y, mean, root = _normed(np.reshape(x, (n, groups, -1)), (2,), eps)
    y, ahead = np.reshape(y, shape_of(x)), (1, c) + (1,) * (len(shape_of(x)) - 2)
    y = y if w is None else y * np.reshape(w, ahead)
    return (y if b is None else y + np.reshape(b, ahead)), mean, root


def _nll(x: Value, target: Any, weight: Any, reduction: int, ignored: int) -> Value:
    target = np.asarray(target).ravel()
    if len(shape_of(x)) != 2:
        x = np.reshape(x, (1, -1))
    keep = np.flatnonzero(target != ignored)
    each = np.ones(len(keep)) if weight is None else np.asarray(number(weight))[target[keep]]
    classes = shape_of(x)[1]
    losses = p.moved(lambda places: places.ravel()[keep * classes + target[keep]], x) * -each
    if reduction == 0:
        if len(keep) < len(target):
            raise UnmappedError("labels that are ignored, without a reduction")
        return losses, None
    total = p.apply("sum", losses)
    return (total / float(each.sum()) if reduction == 1 else total), None


def _truncated(x: Value) -> Value:
    return p.apply("where_or_equal", x, 0.0, p.apply("floor", x), p.apply("ceil", x))


def _topk(x: Value, k: int, dim: int = -1, largest: bool = True, _: bool = True) -> Value:
    rank = len(shape_of(x))
    row = p.sorted_along(x, dim)
    row = np.flip(row, dim % rank) if largest else row
    return row[(*(slice(None),) * (dim % rank), slice(0, k))], None


def _sort(x: Value, dim: int = -1, descending: bool = False, **options: Any) -> Value:
    row = p.sorted_along(x, dim)
    return (np.flip(row, dim % len(shape_of(x))) if options.get("descending", descending) else row), None


def _cdist(a: Value, b: Value, order: float, _: Any = None) -> Value:
    rank = len(shape_of(a))
    apart = np.expand_dims(number(a), rank - 1) - np.expand_dims(number(b), len(shape_of(b)) - 2)
    return _norm(apart, order, (len(shape_of(apart)) - 1,))


def _triangular(a: Value, b: Value, *, upper: bool, left: bool = True, unitriangular: bool = False) -> Value:
    size = shape_of(a)[-1]
    if not left:
        solved = _triangular(
            np.swapaxes(a, -1, -2), np.swapaxes(b, -1, -2), upper=not upper, unitriangular=unitriangular
        )
        return np.swapaxes(solved, -1, -2)
    part = np.triu if upper else np.tril
    whole = a * part(np.ones((size, size)), *([1 if upper else -1] if unitriangular else []))
    return p.apply("solve", whole + np.eye(size) if unitriangular else whole, b)


def _lerp(a: Value, b: Value, weight: Value) -> Value:
    return a + weight * (b - a)


def _cut(x: Value, dim: int, part: Any) -> Value:
    """One axis by a number or a slice, which PyTorch may write beyond the end."""
    front = (slice(None),) * (dim % len(shape_of(x)))
    if isinstance(part, slice):
        first, last, step = part.indices(shape_of(x)[dim])
        part = slice(first, last, *([step] if step != 1 else []))
        if (first, last, step) == (0, shape_of(x)[dim], 1):
            return x
    return x[(*front, part)] if isinstance(x, Tracer) else p.moved(lambda q: q[(*front, part)], x)


def _reshaped(x: Value, shape: Shape) -> Value:
    if isinstance(x, Choice | Masked):
        return p.moved(lambda q: q.reshape(shape), x)
    return x if shape_of(x) == tuple(shape) else np.reshape(number(x), tuple(shape))


def _padded(x: Value, widths: Sequence[int], value: float) -> Value:
    """Widths count from the last axis; negative ones crop."""
    rank = len(shape_of(x))
    pairs = [(0, 0)] * (rank - len(widths) // 2) + [
        (int(widths[i]), int(widths[i + 1])) for i in range(len(widths) - 2, -1, -2)
    ]

    def wide(places: Any) -> Any:
        inside = places[tuple(slice(max(-a, 0), n - max(-b, 0)) for (a, b), n in zip(pairs, places.shape, strict=True))]
        return np.pad(inside, [(max(a, 0), max(b, 0)) for a, b in pairs], constant_values=-1)

    y = p.moved(wide, x)
    outside = wide(np.zeros(shape_of(x), dtype=int)) < 0
    return y if value == 0 else p.select(outside, np.asarray(float(value)), y, shape_of(y))


def _expanded(x: Value, _: Any, *, shape: Shape, **__: Any) -> Value:
    return p.moved(lambda q: np.broadcast_to(q, shape), x) if isinstance(x, Choice | Masked) else p.fit(x, shape)


def _permuted(x: Value, order: Sequence[int]) -> Value:
    if isinstance(x, Tracer):
        return np.transpose(x, [axis % len(order) for axis in order])
    return p.moved(lambda q: np.transpose(q, order), x)


def _shaped(x: Value, *_: Any, shape: Shape) -> Value:
    """Whatever the sizes are that an op is given: the entries stay in order."""
    return _reshaped(x, shape)


def _copied(_: Value, source: Value, *, shape: Shape) -> Value:
    return p.fit(source, shape)


ROWS: Mapping[str, Rule] = {
    **{name: partial(p.elementwise, name) for name in SAME_NAME},
    **{name: partial(p.elementwise, row) for name, row in OTHER_NAME.items()},
    "add": _added,
    "sub": _subtracted,
    "rsub": lambda a, b, alpha=1: _subtracted(b, a, alpha=alpha),
    "pow": _power,
    "rsqrt": lambda x: p.apply("reciprocal", p.apply("sqrt", x)),
    "exp2": lambda x: p.apply("exp", x * float(np.log(2.0))),
    "silu": lambda x: x * p.apply("sigmoid", x),
    "gelu": lambda x, approximate="none": (
        x * 0.5 * (p.apply("erf", x * np.sqrt(0.5)) + 1.0) if approximate == "none"
        else x * 0.5 * (p.apply("tanh", (x + x**3 * 0.044715) * np.sqrt(2 / np.pi)) + 1.0)
    ),
    "elu": _elu,
    "softplus": _softplus,
    "leaky_relu": lambda x, slope=0.01: p.apply("leaky_relu", x, slope=float(slope)),
    "prelu": lambda x, w: p.apply("where", x, 0.0, x, x * w),
    "clamp": _clamped,
    "hardtanh": lambda x, low=-1.0, high=1.0: _clamped(x, low, high),
    "clamp_min": _clamped,
    "clamp_max": lambda x, high: _clamped(x, None, high),
    "logaddexp": lambda a, b: b + p.apply("softplus", a - b),
    "addcmul": lambda x, a, b, value=1: x + (a * b if value == 1 else a * b * value),
    "addcdiv": lambda x, a, b, value=1: x + (a / b if value == 1 else a / b * value),
    "lerp": _lerp,
    "trunc": _truncated,
    "fix": _truncated,
    "frac": lambda x: x - _truncated(x),
    "remainder": lambda a, b: a - p.apply("floor", p.apply("divide", a, b)) * b,
    "fmod": lambda a, b: a - _truncated(p.apply("divide", a, b)) * b,
    "floor_divide": lambda a, b: p.apply("floor", p.apply("divide", a, b)),
    "xlogy": lambda a, b: a * p.apply("log", b),
    "deg2rad": lambda x: x * (np.pi / 180.0),
    "rad2deg": lambda x: x * (180.0 / np.pi),
    "sum": partial(_reduced, "sum"),
    "mean": partial(_reduced, "mean"),
    "prod": partial(_reduced, "prod"),
    "amax": partial(_reduced, "amax"),
    "amin": partial(_reduced, "amin"),
    "max": partial(_extreme, "amax"),
    "min": partial(_extreme, "amin"),
    "var": partial(_spread, "var"),
    "std": partial(_spread, "std"),
    "var_mean": lambda x, dim=None, keepdim=False, **options: (
        _spread("var", x, dim, keepdim=keepdim, **options), _reduced("mean", x, dim, keepdim)
    ),
    "linalg_vector_norm": _norm,
    "logsumexp": lambda x, dim, keepdim=False: p.logsumexp(x, dim, keepdims=keepdim),
    "_softmax": lambda x, dim, _=False: p.softmax(x, dim),
    "_safe_softmax": lambda x, dim, *_: p.softmax(x, dim),
    "_log_softmax": lambda x, dim, _=False: p.log_softmax(x, dim),
    "cumsum": lambda x, dim, **_: p.apply("cumsum", x, axis=dim),
    "cumprod": lambda x, dim, **_: p.apply("cumprod", x, axis=dim),
    "cummax": lambda x, dim: (p.running(np.maximum, x, dim), None),
    "cummin": lambda x, dim: (p.running(np.minimum, x, dim), None),
    "logcumsumexp": lambda x, dim: p.running(lambda a, b: b + p.apply("softplus", a - b), x, dim),
    **dict.fromkeys(("mm", "bmm", "matmul", "mv", "dot", "vdot"), _matmul),
    "addmm": _product,
    "baddbmm": _product,
    "addmv": _product,
    "addr": lambda x, a, b, beta=1, alpha=1: _product(
        x, np.reshape(a, (-1, 1)), np.reshape(b, (1, -1)), beta=beta, alpha=alpha
    ),
    "addbmm": lambda x, a, b, beta=1, alpha=1: x * beta + p.apply("sum", number(a) @ number(b), axis=(0,)) * alpha,
    "linear": lambda x, w, b=None: x @ np.swapaxes(w, -1, -2) + (0 if b is None else b),
    "einsum": lambda text, operands, **_: p.apply("einsum", *operands, subscripts=text),
    "trace": lambda x: p.apply("trace", x),
    "convolution": _convolution,
    "_convolution": lambda *args: _convolution(*args[:9]),
    "convolution_backward": _convolution_back,
    "max_pool2d_with_indices": _max_pool,
    "max_pool3d_with_indices": _max_pool,
    "avg_pool2d": _avg_pool,
    "_adaptive_avg_pool2d": _adaptive_pool,
    "native_layer_norm": _layer_norm,
    "native_group_norm": _group_norm,
    "native_batch_norm": _batch_norm,
    "_native_batch_norm_legit": _batch_norm,
    "_native_batch_norm_legit_functional": _batch_norm,
    "_native_batch_norm_legit_no_training": lambda x, w, b, mean, var, _, eps: _batch_norm(
        x, w, b, mean, var, False, 0.0, eps
    ),
    "nll_loss_forward": _nll,
    "nll_loss": lambda *args: _nll(*args)[0],
    "where": lambda condition, a=None, b=None, shape=None: p.select(condition, a, b, shape),
    "masked_fill": lambda x, mask, value, shape=None: p.select(mask, value, x, shape),
    "logical_not": p.negated,
    "bitwise_not": p.negated,
    "sort": _sort,
    "topk": _topk,
    "msort": lambda x: p.sorted_along(x, 0),
    "kthvalue": lambda x, k, dim=-1, keepdim=False: (
        p.moved(lambda q: q.take([k - 1], dim) if keepdim else q.take(k - 1, dim), p.sorted_along(x, dim)), None
    ),
    "median": lambda x, dim=None, keepdim=False: (
        p.sorted_along(np.reshape(x, (-1,)), 0)[(int(np.prod(shape_of(x))) - 1) // 2] if dim is None
        else ROWS["kthvalue"](x, (shape_of(x)[dim] + 1) // 2, dim, keepdim)
    ),
    "_cdist_forward": _cdist,
    "dist": lambda a, b, order=2: _norm(number(a) - number(b), order),
    "cholesky": lambda x, upper=False: p.apply("cholesky", x) if not upper else p.apply("cholesky", x).mT,
    "linalg_cholesky_ex": lambda x, upper=False, **_: (ROWS["cholesky"](x, upper), None),
    "inverse": lambda x: p.apply("inverse", x),
    "linalg_inv_ex": lambda x, **_: (p.apply("inverse", x), None),
    "_linalg_solve_ex": lambda a, b, **_: (p.apply("solve", a, b), None, None, None),
    "_linalg_det": lambda x: (p.apply("det", x), None, None),
    "_linalg_slogdet": lambda x: (p.apply("sign", p.apply("det", x)), p.apply("logabsdet", x), None, None),
    "linalg_solve_triangular": _triangular,
    "triangular_solve": lambda b, a, upper=True, transpose=False, unitriangular=False: (
        _triangular(
            np.swapaxes(a, -1, -2) if transpose else a, b, upper=upper != transpose, unitriangular=unitriangular
        ),
        None,
    ),
    "cholesky_solve": lambda b, a, upper=False: p.apply(
        "solve", np.swapaxes(a, -1, -2) @ a if upper else a @ np.swapaxes(a, -1, -2), b
    ),
    "tril": lambda x, k=0: number(x) * np.tril(np.ones(shape_of(x)[-2:]), k),
    "triu": lambda x, k=0: number(x) * np.triu(np.ones(shape_of(x)[-2:]), k),
    "cross": lambda a, b, dim=-1: np.roll(a, -1, dim) * np.roll(b, -2, dim) - np.roll(a, -2, dim) * np.roll(b, -1, dim),
    "copy": _copied,
    "constant_pad_nd": _padded,
    **dict.fromkeys(("view", "_unsafe_view", "reshape", "squeeze", "unsqueeze", "flatten"), _shaped),
    "slice": lambda x, dim=0, start=None, end=None, step=1: _cut(x, dim, slice(start, end, step)),
    "select": _cut,
    "expand": _expanded,
    "permute": _permuted,
}  # fmt: skip
"""ATen op, without its overload -> what it is on tracers."""

TOLD_SHAPE = frozenset({"where", "masked_fill", "copy", "view", "_unsafe_view", "reshape", "expand",
                        "squeeze", "unsqueeze", "flatten"})  # fmt: skip
"""Those whose rule is told the shape of the result."""


FILLED: Mapping[str, float | None] = {
    "zeros_like": 0.0, "ones_like": 1.0, "full_like": None, "empty_like": 0.0, "new_zeros": 0.0, "new_ones": 1.0,
    "new_full": None, "new_empty": 0.0, "fill": None, "zero": 0.0,
}  # fmt: skip
"""Ops that look at the shape of a tensor alone -> what they fill one with, None where they are told."""


# -------------------------------------------------------------------------------------------------------- one op runs


def run_op(target: Any, args: Sequence[Any], options: Mapping[str, Any], meta: Any) -> Any:
    """One op of an ATen graph on values. Raises UnmappedError, which names the op, where it has no row.

    >>> import importlib.util
    >>> if importlib.util.find_spec("torch"):
    ...     import torch
    ...     assert run_op(torch.ops.aten.neg.default, [torch.tensor(2.0)], {}, None) == -2
    """
    if target is operator.getitem:
        return args[0][args[1]]
    name = op_name(target)
    if name in CHECKS:
        return None
    if all(is_known(leaf) for leaf in _leaves([list(args), list(options.values())])):
        return target(*_tensors(list(args)), **{k: _tensors(x) for k, x in options.items()})
    given = [_plain(arg) for arg in args]
    try:
        found = _on_values(target, name, given, {k: _plain(x) for k, x in options.items()}, meta)
    except (TypeError, ValueError, ArithmeticError, LookupError, RuntimeError) as error:
        raise UnmappedError(
            f"aten.{name} is not known with these arguments ({str(error).splitlines()[0][:100]})"
        ) from error
    dtype = getattr(meta, "dtype", None)
    if isinstance(found, Choice) and dtype is not None and str(dtype) != "torch.bool":
        return number(found)
    if dtype is not None and isinstance(found, Tracer) and not dtype.is_floating_point:
        raise UnmappedError(f"values as {str(dtype).removeprefix('torch.')}")
    return found


def op_name(target: Any) -> str:
    """The name of an op without its overload, and without what says that it writes in place or makes a copy.

    >>> op_name(abs)
    'abs'
    """
    schema = getattr(target, "_schema", None)
    name = schema.name.split("::")[1] if schema is not None else getattr(target, "__name__", str(target))
    if writes_in_place(target):
        name = name[:-1]
    return name.removesuffix("_copy") if name not in ("_to_copy", "lift_fresh_copy") else name


def writes_in_place(target: Any) -> bool:
    """Whether an op changes its first operand.

    >>> writes_in_place(abs)
    False
    """
    schema = getattr(target, "_schema", None)
    name = schema.name if schema is not None else ""
    return name.endswith("_") and not name.endswith("__")


def _on_values(target: Any, name: str, args: Sequence[Any], options: Mapping[str, Any], meta: Any) -> Any:
    shape = tuple(meta.shape) if hasattr(meta, "shape") else ()
    if name in WITH_TARGET:
        return WITH_TARGET[name](target, args, options, shape)
    rule = ROWS.get(name)
    if rule is not None:
        return rule(*args, **options, shape=shape) if name in TOLD_SHAPE else rule(*args, **options)
    if name in MOVES:
        return _moving(target, args, options)
    raise UnmappedError(f"aten.{name} has no op here")


def _plain(value: Any) -> Any:
    """A constant tensor as an array, in lists too."""
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if hasattr(value, "detach") and hasattr(value, "numpy"):
        return value.detach().cpu().numpy()
    return value


def _tensors(value: Any) -> Any:
    """The other way round, for what PyTorch computes itself."""
    import torch

    if isinstance(value, list):
        return [_tensors(item) for item in value]
    return torch.from_numpy(np.array(value)) if isinstance(value, np.ndarray | np.generic) else value


def _leaves(value: Any) -> list[Any]:
    if isinstance(value, list | tuple):
        return [leaf for item in value for leaf in _leaves(item)]
    return [value]


def _moving(target: Any, args: Sequence[Any], options: Mapping[str, Any]) -> Any:
    """An op that only moves entries, run by PyTorch on their positions; once for each tensor that it gives."""
    import torch

    floats = _float_places(args)

    def positions(*tables: Any) -> Any:
        it = iter(tables)

        def shown(value: Any, moves: Any) -> Any:
            if isinstance(moves, list):
                return [shown(v, m) for v, m in zip(value, moves, strict=True)]
            if moves:
                return torch.from_numpy(np.ascontiguousarray(next(it)))
            return torch.from_numpy(value) if isinstance(value, np.ndarray) else value

        return target(*[shown(value, moves) for value, moves in zip(args, floats, strict=True)], **options)

    operands = [value for value, moves in zip(_leaves(list(args)), _leaves(floats), strict=True) if moves]
    sample = positions(*(np.zeros(shape_of(x), dtype=np.int64) for x in operands))
    if isinstance(sample, list | tuple):
        return [p.moved(lambda *t, i=i: positions(*t)[i].numpy(), *operands) for i in range(len(sample))]
    return p.moved(lambda *tables: positions(*tables).numpy(), *operands)


def _float_places(args: Sequence[Any]) -> list[Any]:
    """Which of the arguments hold entries that move, as a list of the same form; places must be known."""
    found: list[Any] = []
    for arg in args:
        if isinstance(arg, list):
            found.append(_float_places(arg))
        else:
            found.append(not is_known(arg) or (isinstance(arg, np.ndarray) and arg.dtype.kind == "f"))
    return found


# --------------------------------------------------------------------------------------------------- the whole program


def written_down(function: Callable[..., Any], tensors: Sequence[Any]) -> Any:
    """The ATen graph of a function of tensors, mutations and views taken out.

    >>> import importlib.util
    >>> if importlib.util.find_spec("torch"):
    ...     import torch
    ...     module = written_down(torch.sin, [torch.zeros(2)])
    ...     assert [n.op for n in module.graph.nodes] == ["placeholder", "call_function", "output"]
    """
    from torch._decomp import core_aten_decompositions
    from torch._subclasses.functional_tensor import dispatch_functionalize
    from torch.fx.experimental.proxy_tensor import make_fx

    table = {op: rule for op, rule in core_aten_decompositions().items() if op_name(op) not in WHOLE}
    read = partial(make_fx, decomposition_table=table, tracing_mode="real", record_stack_traces=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return read(dispatch_functionalize(function))(*tensors)
        except AssertionError:  # ops that check matrices have effects, for which it knows no order: as it stands, then
            return read(function)(*tensors)


def replayed(module: Any, values: Sequence[Value]) -> list[Value]:
    """The outputs of an ATen graph on values, one for each of its placeholders.

    Steps of the recording get the names of the variables that the function's own lines assign to.
    Raises UnmappedError for an op without a row.

    >>> import importlib.util
    >>> if importlib.util.find_spec("torch"):
    ...     import torch
    ...     found = replayed(written_down(torch.neg, [torch.zeros(2)]), [torch.ones(2)])
    ...     assert found[0].tolist() == [-1.0, -1.0]
    """
    env: dict[Any, Any] = {}
    idioms, given = Idioms(), iter(values)
    named: list[tuple[str, int, Tracer]] = []

    def known(arg: Any) -> Any:
        if isinstance(arg, list | tuple):
            return [known(item) for item in arg]
        return env[arg] if type(arg).__name__ == "Node" else arg

    outputs: Any = []
    module.graph.eliminate_dead_code()
    for node in module.graph.nodes:
        if node.op == "placeholder":
            env[node] = next(given)
        elif node.op == "get_attr":
            env[node] = operator.attrgetter(node.target)(module)
        elif node.op == "output":
            outputs = known(node.args[0])
        else:
            args = [known(arg) for arg in node.args]
            found = run_op(node.target, args, {k: known(x) for k, x in node.kwargs.items()}, node.meta.get("val"))
            kind = IDIOMS.get(op_name(node.target))
            if kind is not None and isinstance(found, Tracer | Masked):
                found = idioms.seen(kind, [a for a in args if not isinstance(a, list)], found, _reduced_axes(args))
            env[node] = found
            if writes_in_place(node.target) and type(node.args[0]).__name__ == "Node":
                env[node.args[0]] = found
            if isinstance(found, Tracer):
                named.append((*_assigned(node.stack_trace or ""), found))
    _give_names(named)
    return [number(x) for x in (outputs if isinstance(outputs, list) else [outputs])]


def _reduced_axes(args: Sequence[Any]) -> Sequence[int] | None:
    axes = args[1] if len(args) > 1 else None
    return axes if isinstance(axes, list) and all(isinstance(a, int) for a in axes) and axes else None


_FRAME = re.compile(r"line (\d+), in [^\n]*\n\s*(?:(\w+)\s*=(?!=))?")


def _assigned(trace: str) -> tuple[str, int]:
    """The variable and the line of the last frame of a stack trace, as far as they are said."""
    found = _FRAME.findall(trace)
    return (found[-1][1], int(found[-1][0])) if found else ("", 0)


def _give_names(named: Sequence[tuple[str, int, Tracer]]) -> None:
    """The last step of each line is what its variable holds."""
    for (name, line, tracer), after in zip(named, [*named[1:], ("", -1, None)], strict=False):
        step = tracer.recorder.steps[tracer.step]
        step.line = line or step.line
        if name and after[1] != line and step.kind == "op":
            step.names.append((1, name))


# ------------------------------------------------------------------------------ ops that PyTorch itself has a part in


def _compared(sign: str, _: Any, args: Sequence[Any], __: Any, shape: Shape) -> Value:
    return p.compared(sign, args[0], args[1], shape)


def _both(kind: Literal["and", "or"], _: Any, args: Sequence[Any], __: Any, shape: Shape) -> Value:
    return p.both(kind, args[0], args[1], shape)


def _filled(fill: float | None, _: Any, args: Sequence[Any], __: Any, shape: Shape) -> Value:
    """A tensor of which only the shape counts; ``fill`` is None where the last argument says what with."""
    return p.fit(np.asarray(number(args[-1]), dtype=float) if fill is None else np.asarray(fill), shape)


def _divided(_: Any, args: Sequence[Any], options: Mapping[str, Any], __: Shape) -> Value:
    mode = options.get("rounding_mode")
    ratio = p.elementwise("divide", *args[:2])
    return ratio if mode is None else _truncated(ratio) if mode == "trunc" else p.apply("floor", ratio)


def _by_matrix(target: Any, args: Sequence[Any], options: Mapping[str, Any], shape: Shape) -> Value:
    """An op that is linear in its first operand."""
    import torch

    return p.linear(lambda unit: target(torch.from_numpy(unit), *args[1:], **options), args[0], shape)


def _scattered_sum(target: Any, args: Sequence[Any], options: Mapping[str, Any], _: Shape) -> Value:
    """``scatter_add`` and ``index_add``."""
    import torch

    x, dim, index, source = args
    if not is_known(index):
        raise UnmappedError("places that depend on values")
    zeros = torch.zeros(shape_of(x), dtype=torch.float64)
    places = torch.as_tensor(index)
    moved = p.linear(lambda unit: target(zeros, dim, places, torch.from_numpy(unit), **options), source, shape_of(x))
    return moved if is_known(x) and not np.any(x) else number(x) + moved


def _put(target: Any, args: Sequence[Any], options: Mapping[str, Any], _: Shape) -> Value:
    """``index_put``, which adds or overwrites."""
    import torch

    if not (len(args) > 3 and args[3]):
        return _moving(target, args[:3], options)
    x, indices, source = args[:3]
    zeros = torch.zeros(shape_of(x), dtype=torch.float64)
    places = [None if i is None else torch.as_tensor(i) for i in indices]
    moved = p.linear(lambda unit: target(zeros, places, torch.from_numpy(unit), True), source, shape_of(x))
    return moved if is_known(x) and not np.any(x) else number(x) + moved


def _scattered(target: Any, args: Sequence[Any], options: Mapping[str, Any], _: Shape) -> Value:
    """``scatter`` of a tensor, or of one number."""
    import torch

    if not isinstance(args[3], int | float):
        return _moving(target, args, options)
    filled = np.full(np.shape(args[2]), float(args[3]))
    return _moving(torch.ops.aten.scatter.src, (*args[:3], filled), options)


WITH_TARGET: Mapping[str, Callable[[Any, Sequence[Any], Mapping[str, Any], Shape], Value]] = {
    **{name: lambda _, args, __, ___: args[0] for name in HANDED_ON},
    **{name: partial(_compared, sign) for name, sign in COMPARISONS.items()},
    **{name: partial(_filled, fill) for name, fill in FILLED.items()},
    **dict.fromkeys(LINEAR, _by_matrix),
    "logical_and": partial(_both, "and"),
    "bitwise_and": partial(_both, "and"),
    "logical_or": partial(_both, "or"),
    "bitwise_or": partial(_both, "or"),
    "isnan": lambda _, args, __, ___: np.full(shape_of(args[0]), False),
    "isinf": lambda _, args, __, ___: np.full(shape_of(args[0]), False),
    "isfinite": lambda _, args, __, ___: np.full(shape_of(args[0]), True),
    "div": _divided,
    "scatter_add": _scattered_sum,
    "index_add": _scattered_sum,
    "index_put": _put,
    "_unsafe_index_put": _put,
    "scatter": _scattered,
}
"""Ops whose rule is told more: ``rule(op, arguments, options, shape of the result)``."""


def has_row(name: str) -> bool:
    """Whether an ATen op, without its overload, is one of those that are known here.

    >>> has_row("addmm"), has_row("_fft_r2c")
    (True, False)
    """
    return name in ROWS or name in WITH_TARGET or name in MOVES or name in CHECKS

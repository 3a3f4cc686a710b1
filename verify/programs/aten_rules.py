"""ATen's ops in NumPy's words on tracers: those whose arguments, or whose meaning, are not those of NumPy's.

An op of numbers that has the name of a row is that row (:mod:`~verify.tracing.op_names`); what moves entries, is affine
or picks by order needs no rule (:mod:`~verify.programs.probing`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial, wraps
from typing import Any

import numpy as np

from verify.ops import Shape
from verify.programs import values as v
from verify.programs.values import Value, apply, axes_of, elementwise, is_known
from verify.programs.windows import convolution, padded, transposed_convolution, windows
from verify.tracing.composed import polygamma, softmax
from verify.tracing.untraced import unmapped

Rule = Callable[..., Value]


@dataclass(frozen=True, slots=True)
class Step:
    """One op of a graph: what is called, with what, and the shape of what comes out."""

    target: Any
    args: Sequence[Any]
    options: Mapping[str, Any]
    shape: Shape


def _along(rule: Rule) -> Rule:
    """A rule along one axis, which a number without axes has too."""

    @wraps(rule)
    def called(x: Value, *args: Any, **options: Any) -> Value:
        if np.ndim(x):
            return rule(x, *args, **options)
        found = rule(np.reshape(x, (1,)), *args, **options)
        return tuple(y if y is None else np.reshape(y, ()) for y in found) if isinstance(found, tuple) else found[0]

    return called


def _reduced(function: Callable[..., Value], x: Value, dim: Any = None, keepdim: bool = False, **_: Any) -> Value:
    return function(x, axis=axes_of(dim, np.ndim(x)), keepdims=keepdim) if np.ndim(x) else x


def _extreme(function: Callable[..., Value], step: Step) -> Value:
    """``max`` and ``min``: of two, of all, or along an axis, where they give places too."""
    if len(step.args) > 1 and not isinstance(step.args[1], int):
        return elementwise({np.max: "maximum", np.min: "minimum"}[function], *step.args)
    found = _reduced(function, *step.args, **step.options)
    return found if len(step.args) < 2 else (found, None)


def _spread(
    function: Callable[..., Value], x: Value, dim: Any = None, *, correction: Any = 1, keepdim: bool = False,
    unbiased: Any = None,
) -> Value:  # fmt: skip
    if isinstance(dim, bool):
        dim, unbiased = None, dim
    freedom = int(1 if correction is None else correction) if unbiased is None else int(unbiased)
    return function(x, axis=axes_of(dim, np.ndim(x)), keepdims=keepdim, ddof=freedom)


def _spread_and_mean(function: Callable[..., Value], x: Value, *dim: Any, **options: Any) -> Value:
    whole = {"keepdim": options.get("keepdim", False)}
    return _spread(function, x, *dim, **options), _reduced(
        np.mean, x, *(d for d in dim[:1] if d not in (True, False)), **whole
    )


def _times(x: Value, factor: Any) -> Value:
    return x if isinstance(factor, int | float) and factor == 1 else x * factor


def _power(a: Value, b: Value) -> Value:
    if is_known(b) and not np.ndim(b):
        return apply("square", a) if float(b) == 2 else apply("power_constant", a, exponent=float(b))
    return apply("power", a, b)


def _clamped(x: Value, low: Any = None, high: Any = None, *, min: Any = None, max: Any = None) -> Value:  # noqa: A002
    return np.clip(x, low if min is None else min, high if max is None else max)


def _softplus(x: Value, beta: float = 1, threshold: float = 20) -> Value:
    """Above the threshold PyTorch's is x itself."""
    scaled = _times(x, beta)
    smooth = apply("softplus", scaled)
    return apply("where", scaled, float(threshold), x, smooth if beta == 1 else smooth / beta)


def _elu(x: Value, alpha: float = 1, scale: float = 1, input_scale: float = 1) -> Value:
    return apply("where", x, 0.0, x * scale, apply("expm1", x * input_scale) * (alpha * scale))


def _gelu(x: Value, approximate: str = "none") -> Value:
    if approximate == "none":
        return x * 0.5 * (apply("erf", x * np.sqrt(0.5)) + 1.0)
    return x * 0.5 * (np.tanh((x + x**3 * 0.044715) * np.sqrt(2 / np.pi)) + 1.0)


def _truncated(x: Value) -> Value:
    return apply("where_or_equal", x, 0.0, np.floor(x), np.ceil(x))


def _divided(a: Value, b: Value, *, rounding_mode: str | None = None) -> Value:
    ratio = elementwise("divide", a, b)
    return ratio if rounding_mode is None else _truncated(ratio) if rounding_mode == "trunc" else np.floor(ratio)


def _norm(x: Value, order: Any = 2, dim: Any = None, keepdim: bool = False, **_: Any) -> Value:
    size = partial(_reduced, dim=dim, keepdim=keepdim)
    order = 2.0 if order is None else float(order)
    if not np.ndim(x) or order == 1:
        return size(np.sum, np.abs(x))
    if order == 2:
        return apply("norm", x, axis=axes_of(dim, np.ndim(x)), keepdims=keepdim)
    if np.isinf(order):
        return size(np.max if order > 0 else np.min, np.abs(x))
    if order == 0:
        return size(np.sum, v.select(v.compared("equal", x, 0.0), np.array(0.0), np.array(1.0), np.shape(x)))
    return _power(size(np.sum, _power(np.abs(x), order)), 1 / order)


def _distances(a: Value, b: Value, order: float, _: Any = None) -> Value:
    apart = np.expand_dims(a, np.ndim(a) - 1) - np.expand_dims(b, np.ndim(b) - 2)
    return _norm(apart, order, -1)


def _product(b: Value, x: Value, w: Value, *, beta: Any = 1, alpha: Any = 1) -> Value:
    y = _times(x @ w, alpha)
    return y if beta == 0 else y + _times(b, beta)


def _summed_products(x: Value, a: Value, b: Value, *, beta: Any = 1, alpha: Any = 1) -> Value:
    return _times(x, beta) + _times(np.sum(a @ b, axis=0), alpha)


def _trilinear(a: Value, b: Value, c: Value, by_a: Any, by_b: Any, by_c: Any, summed: Any, _: int = 1) -> Value:
    """A product of three, each widened by some axes, summed over others."""

    def wide(x: Value, axes: Any) -> Value:
        return np.expand_dims(x, tuple(axes)) if axes else x

    return np.sum(wide(a, by_a) * wide(b, by_b) * wide(c, by_c), axis=tuple(summed))


# ------------------------------------------------------------------------------------------------- windows that slide


def _each(given: Any, count: int) -> list[int]:
    """A number for each axis, of one for all."""
    whole = [given] if isinstance(given, int) else list(given)
    return [int(i) for i in (*whole, *[whole[-1]] * count)][:count]


def _convolution(
    x: Value, w: Value, b: Value, stride: Any, padding: Any, dilation: Any, transposed: bool, extra: Any, groups: int,
    *_: Any,
) -> Value:  # fmt: skip
    count = np.ndim(x) - 2
    stride, padding, dilation, extra = (_each(s, count) for s in (stride, padding, dilation, extra))
    if transposed:
        y = transposed_convolution(x, w, stride, padding, dilation, extra, groups)
    else:
        y = convolution(x, w, stride, [(q, q) for q in padding], [1] * count, dilation, groups)
    return y if b is None else y + np.reshape(b, (-1,) + (1,) * count)


def _convolution_back(
    g: Value, x: Value, w: Value, _: Any, stride: Any, padding: Any, dilation: Any, transposed: bool, __: Any,
    groups: int, wanted: Any,
) -> Value:  # fmt: skip
    """Adjoints of a convolution, for the reading of a backward pass."""
    count = np.ndim(x) - 2
    if transposed or any(d != 1 for d in dilation):
        raise unmapped("the backward pass of a transposed or dilated convolution")
    sizes = np.shape(w)[2:]
    rest = [(n + 2 * q - k) % s for n, q, k, s in zip(np.shape(x)[2:], padding, sizes, stride, strict=True)]
    by_x = transposed_convolution(g, w, stride, padding, dilation, rest, groups) if wanted[0] else None
    by_w = None
    if wanted[1]:
        rows = windows(x, sizes, stride, [(q, q) for q in padding])
        n, c = np.shape(rows)[:2]
        rows = np.reshape(rows, (n, groups, c // groups, -1, *sizes))
        by_out = np.reshape(g, (n, groups, np.shape(w)[0] // groups, -1))
        letters = "ijk"[:count]
        by_w = np.reshape(apply("einsum", by_out, rows, subscripts=f"ngos,ngcs{letters}->goc{letters}"), np.shape(w))
    by_b = np.sum(g, axis=(0, *range(2, 2 + count))) if wanted[2] else None
    return by_x, by_w, by_b


def _max_pool(x: Value, size: Any, stride: Any = (), padding: Any = 0, dilation: Any = 1, ceil: bool = False) -> Value:
    count = len(size)
    stride, padding, spread = _each(stride or size, count), _each(padding, count), _each(dilation, count)
    if count == 2 and not any(padding) and not ceil and set(spread) == {1}:
        return apply("max_pool", x, size=tuple(size), stride=tuple(stride)), None
    around = [
        (q, q + (_more(n + 2 * q, (k - 1) * d + 1, s, q) if ceil else 0))
        for n, k, s, q, d in zip(np.shape(x)[-count:], size, stride, padding, spread, strict=True)
    ]
    return np.max(windows(x, size, stride, around, spread, fill=-np.inf), axis=-1), None


def _more(length: int, reach: int, step: int, before: int) -> int:
    """What ``ceil_mode`` adds at the end: a last window, if it begins inside."""
    more = -(length - reach) % step
    return more if more and (length - reach) // step * step + step < length - before else 0


def _avg_pool(
    x: Value, size: Any, stride: Any = (), padding: Any = 0, ceil: bool = False, count_pad: bool = True,
    divisor: Any = None,
) -> Value:  # fmt: skip
    count = len(size)
    stride, padding = _each(stride or size, count), _each(padding, count)
    if ceil or divisor is not None or (any(padding) and not count_pad):
        raise unmapped("avg_pool with ceil_mode, a divisor, or padding that is not counted")
    if count == 2 and not any(padding):
        return apply("avg_pool", x, size=tuple(size), stride=tuple(stride))
    return np.mean(windows(x, size, stride, [(q, q) for q in padding]), axis=-1)


# -------------------------------------------------------------------------------------------------------- normalisation


def _normed(x: Value, axes: Sequence[int], eps: float) -> tuple[Value, Value, Value]:
    mean = np.mean(x, axis=tuple(axes), keepdims=True)
    root = np.reciprocal(np.sqrt(np.var(x, axis=tuple(axes), keepdims=True) + eps))
    return (x - mean) * root, mean, root


def _scaled(y: Value, w: Value, b: Value, ahead: Shape) -> Value:
    y = y if w is None else y * np.reshape(w, ahead)
    return y if b is None else y + np.reshape(b, ahead)


def _layer_norm(x: Value, shape: Any, w: Value, b: Value, eps: float) -> Value:
    rank = np.ndim(x)
    y, mean, root = _normed(x, range(rank - len(shape), rank), eps)
    return _scaled(y, w, b, tuple(shape)), mean, root


def _batch_norm(x: Value, w: Value, b: Value, *rest: Any) -> Value:
    rank = np.ndim(x)
    ahead = (1, np.shape(x)[1]) + (1,) * (rank - 2)
    if len(rest) == 5 and rest[2] is False:
        mean, variance = (np.reshape(part, ahead) for part in rest[:2])
        return _scaled((x - mean) / np.sqrt(variance + rest[4]), w, b, ahead), np.zeros(0), np.zeros(0), None, None
    y, mean, root = _normed(x, (0, *range(2, rank)), rest[-1])
    return _scaled(y, w, b, ahead), np.ravel(mean), np.ravel(root), None, None


def _group_norm(x: Value, w: Value, b: Value, n: int, c: int, _: int, groups: int, eps: float) -> Value:
    y, mean, root = _normed(np.reshape(x, (n, groups, -1)), (2,), eps)
    y = _scaled(np.reshape(y, np.shape(x)), w, b, (1, c) + (1,) * (np.ndim(x) - 2))
    return y, np.reshape(mean, (n, groups)), np.reshape(root, (n, groups))


def _nll(x: Value, target: Any, weight: Any, reduction: int, ignored: int) -> Value:
    flat, target = (x if np.ndim(x) == 2 else np.reshape(x, (1, -1))), np.asarray(target).ravel()
    keep = np.flatnonzero(target != ignored)
    each = np.zeros(len(target))
    each[keep] = 1.0 if weight is None else np.asarray(weight)[target[keep]]
    losses = flat[np.arange(len(target)), np.where(target == ignored, 0, target)] * -each
    if reduction == 0:
        return np.reshape(losses, np.shape(x)[:-1]), None
    total = np.sum(losses)
    return (total / float(each.sum()) if reduction == 1 else total), None


# ---------------------------------------------------------------------------------------------------- orders, matrices


def _sorted(x: Value, dim: int = -1, descending: bool = False, *, stable: Any = None) -> Value:
    del stable
    row = v.sorted_along(x, dim)
    return (np.flip(row, dim % np.ndim(x)) if descending else row), None


def _triangular(a: Value, b: Value, *, upper: bool, left: bool = True, unitriangular: bool = False) -> Value:
    if not left:
        turned = (np.swapaxes(x, -1, -2) for x in (a, b))
        return np.swapaxes(_triangular(*turned, upper=not upper, unitriangular=unitriangular), -1, -2)
    size = np.shape(a)[-1]
    part = np.triu if upper else np.tril
    whole = a * part(np.ones((size, size)), *([1 if upper else -1] if unitriangular else []))
    return apply("solve", whole + np.eye(size) if unitriangular else whole, b)


def _old_triangular(
    b: Value, a: Value, upper: bool = True, transpose: bool = False, unitriangular: bool = False
) -> Value:
    turned = np.swapaxes(a, -1, -2) if transpose else a
    return _triangular(turned, b, upper=upper != transpose, unitriangular=unitriangular), a


def _cholesky(a: Value, upper: bool = False, **_: Any) -> Value:
    """It looks at one triangle and takes the other for the same."""
    part = np.triu if upper else np.tril
    half = part(a)
    whole = half + np.swapaxes(part(a, 1 if upper else -1), -1, -2)
    found = np.linalg.cholesky(whole)
    return np.swapaxes(found, -1, -2) if upper else found


def _squared(half: Value, upper: bool) -> Value:
    """The matrix that a factor of Cholesky's is of; the other triangle is not looked at."""
    part = np.swapaxes(np.triu(half), -1, -2) if upper else np.tril(half)
    return part @ np.swapaxes(part, -1, -2)


def _determinant(step: Step) -> Value:
    """``_linalg_slogdet`` and ``linalg_slogdet``: what else they give is theirs."""
    sign, size = np.linalg.slogdet(step.args[0])
    return sign, size, None, None


# ------------------------------------------------------------------------------------------------- what reads better so


def _cut(x: Value, dim: int, part: Any) -> Value:
    """One axis by a number or a slice, which PyTorch may write beyond the end."""
    front = (slice(None),) * (dim % np.ndim(x))
    if isinstance(part, slice):
        first, last, step = part.indices(np.shape(x)[dim])
        part = slice(first, last, *([step] if step != 1 else []))
        if (first, last, step) == (0, np.shape(x)[dim], 1):
            return x
    return x[(*front, part)]


def _shaped(step: Step) -> Value:
    """Whatever the sizes are that an op is given: the entries stay in order."""
    return step.args[0] if np.shape(step.args[0]) == step.shape else np.reshape(step.args[0], step.shape)


def _permuted(x: Value, order: Sequence[int]) -> Value:
    return np.transpose(x, [axis % len(order) for axis in order])


def _padded(x: Value, widths: Sequence[int], value: float = 0.0) -> Value:
    """Widths count from the last axis."""
    pairs = [(int(widths[i]), int(widths[i + 1])) for i in range(len(widths) - 2, -1, -2)]
    return padded(x, [(0, 0)] * (np.ndim(x) - len(pairs)) + pairs, fill=float(value))


def _compared(name: str, step: Step) -> Value:
    return v.compared(name, step.args[0], step.args[1])


def _of_truths(function: Callable[..., Value], step: Step) -> Value:
    return function(*map(v.truth, step.args))


RULES: Mapping[str, Rule] = {
    "add": lambda a, b, *, alpha=1: elementwise("add", a, _times(b, alpha)),
    "sub": lambda a, b, *, alpha=1: elementwise("subtract", a, _times(b, alpha)),
    "rsub": lambda a, b, alpha=1: elementwise("subtract", b, _times(a, alpha)),
    "div": _divided,
    "pow": _power,
    "rsqrt": lambda x: np.reciprocal(np.sqrt(x)),
    "polygamma": polygamma,
    "silu": lambda x: x * apply("sigmoid", x),
    "gelu": _gelu,
    "elu": _elu,
    "softplus": _softplus,
    "leaky_relu": lambda x, slope=0.01: apply("leaky_relu", x, slope=float(slope)),
    "prelu": lambda x, w: apply("where", x, 0.0, x, x * w),
    "clamp": _clamped,
    "hardtanh": lambda x, low=-1.0, high=1.0: np.clip(x, low, high),
    "clamp_min": _clamped,
    "clamp_max": lambda x, high: np.clip(x, None, high),
    "addcmul": lambda x, a, b, value=1: x + _times(a * b, value),
    "addcdiv": lambda x, a, b, value=1: x + _times(a / b, value),
    "lerp": lambda a, b, weight: a + weight * (b - a),
    "ldexp": lambda x, power: x * 2.0**power,
    "trunc": _truncated,
    "fix": _truncated,
    "frac": lambda x: x - _truncated(x),
    "fmod": lambda a, b: a - _truncated(a / b) * b,
    "floor_divide": lambda a, b: np.floor(a / b),
    "sum": partial(_reduced, np.sum),
    "mean": partial(_reduced, np.mean),
    "prod": partial(_reduced, np.prod),
    "amax": partial(_reduced, np.max),
    "amin": partial(_reduced, np.min),
    "var": partial(_spread, np.var),
    "std": partial(_spread, np.std),
    "var_mean": partial(_spread_and_mean, np.var),
    "std_mean": partial(_spread_and_mean, np.std),
    "aminmax": lambda x, *, dim=None, keepdim=False: tuple(
        _reduced(function, x, dim, keepdim) for function in (np.min, np.max)
    ),
    "linalg_vector_norm": _norm,
    "dist": lambda a, b, order=2: _norm(a - b, order),
    "_cdist_forward": _distances,
    "logsumexp": lambda x, dim, keepdim=False: (
        softmax("logsumexp", x, axes_of(dim, np.ndim(x)), keepdims=keepdim) if np.ndim(x) else x
    ),
    "_softmax": _along(lambda x, dim, *_: softmax("softmax", x, axes_of(dim, np.ndim(x)))),
    "_safe_softmax": _along(lambda x, dim, *_: softmax("softmax", x, axes_of(dim, np.ndim(x)))),
    "_log_softmax": _along(lambda x, dim, *_: softmax("log_softmax", x, axes_of(dim, np.ndim(x)))),
    "cumsum": _along(lambda x, dim, **_: np.cumsum(x, axis=dim)),
    "cumprod": _along(lambda x, dim, **_: np.cumprod(x, axis=dim)),
    "cummax": _along(lambda x, dim: (v.running(np.maximum, x, dim), None)),
    "cummin": _along(lambda x, dim: (v.running(np.minimum, x, dim), None)),
    "logcumsumexp": _along(lambda x, dim: v.running(np.logaddexp, x, dim)),
    **dict.fromkeys(("mm", "bmm", "matmul", "mv", "dot", "vdot"), lambda a, b: a @ b),
    **dict.fromkeys(("addmm", "baddbmm", "addmv"), _product),
    "addr": lambda x, a, b, **options: _product(x, np.reshape(a, (-1, 1)), np.reshape(b, (1, -1)), **options),
    "addbmm": _summed_products,
    "linear": lambda x, w, b=None: x @ np.swapaxes(w, -1, -2) + (0 if b is None else b),
    "einsum": lambda text, operands, **_: apply("einsum", *operands, subscripts=text),
    "_trilinear": _trilinear,
    "trace": np.trace,
    "convolution": _convolution,
    "_convolution": _convolution,
    "convolution_backward": _convolution_back,
    "max_pool2d_with_indices": _max_pool,
    "max_pool3d_with_indices": _max_pool,
    **dict.fromkeys(("avg_pool1d", "avg_pool2d", "avg_pool3d"), _avg_pool),
    "native_layer_norm": _layer_norm,
    "native_group_norm": _group_norm,
    **dict.fromkeys(
        ("native_batch_norm", "_native_batch_norm_legit", "_native_batch_norm_legit_functional"), _batch_norm
    ),
    "_native_batch_norm_legit_no_training": lambda x, w, b, mean, var, _, eps: _batch_norm(
        x, w, b, mean, var, False, 0.0, eps
    ),
    "nll_loss_forward": _nll,
    "nll_loss": lambda *args: _nll(*args)[0],
    "logical_not": lambda x: np.logical_not(v.truth(x)),
    "bitwise_not": np.logical_not,
    "sort": _sorted,
    "cholesky": _cholesky,
    "linalg_cholesky_ex": lambda a, *, upper=False, check_errors=False: (_cholesky(a, upper), None),  # noqa: ARG005
    "linalg_inv_ex": lambda a, **_: (np.linalg.inv(a), None),
    "inverse": np.linalg.inv,
    "_linalg_det": lambda a: (np.linalg.det(a), None, None),
    "_linalg_solve_ex": lambda a, b, *, left=True, **_: (
        apply("solve", a, b) if left
        else np.swapaxes(apply("solve", np.swapaxes(a, -1, -2), np.swapaxes(b, -1, -2)), -1, -2), None, None, None
    ),
    "linalg_solve_triangular": _triangular,
    "triangular_solve": _old_triangular,
    "cholesky_solve": lambda b, half, upper=False: apply("solve", _squared(half, upper), b),
    "cholesky_inverse": lambda half, upper=False: np.linalg.inv(_squared(half, upper)),
    "tril": lambda x, k=0: x * np.tril(np.ones(np.shape(x)[-2:]), k),
    "triu": lambda x, k=0: x * np.triu(np.ones(np.shape(x)[-2:]), k),
    "linalg_cross": lambda a, b, dim=-1: (
        np.roll(a, -1, dim) * np.roll(b, -2, dim) - np.roll(a, -2, dim) * np.roll(b, -1, dim)
    ),
    "constant_pad_nd": _padded,
    "slice": lambda x, dim=0, start=None, end=None, step=1: _cut(x, dim, slice(start, end, step)),
    "select": _cut,
    "permute": _permuted,
}  # fmt: skip
"""ATen op, without its overload -> what it is on tracers; ``rule(*arguments, **options)``."""

STEP_RULES: Mapping[str, Callable[[Step], Value]] = {
    **{name: partial(_compared, word) for name, word in v.COMPARISONS.items()},
    **dict.fromkeys(("logical_and", "bitwise_and"), partial(_of_truths, np.logical_and)),
    **dict.fromkeys(("logical_or", "bitwise_or"), partial(_of_truths, np.logical_or)),
    "where": lambda s: v.select(v.truth(s.args[0]), s.args[1], s.args[2], s.shape),
    "masked_fill": lambda s: v.select(v.truth(s.args[1]), s.args[2], s.args[0], s.shape),
    "max": partial(_extreme, np.max),
    "min": partial(_extreme, np.min),
    "_linalg_slogdet": _determinant,
    "copy": lambda s: v.fit(s.args[1], s.shape),
    "fill": lambda s: v.fit(s.args[1], s.shape),
    "full": lambda s: v.fit(s.args[1], s.shape),
    "full_like": lambda s: v.fit(s.args[1], s.shape),
    "expand": lambda s: v.fit(s.args[0], s.shape),
    **dict.fromkeys(("view", "_unsafe_view", "reshape", "squeeze", "unsqueeze", "flatten", "_reshape_alias"), _shaped),
}  # fmt: skip
"""Those whose rule is told the whole step."""

HANDED_ON = frozenset(
    {"clone", "detach", "alias", "contiguous", "lift_fresh_copy", "lift_fresh", "_to_copy", "to", "dropout",
     "resolve_conj", "resolve_neg", "positive"}
)  # fmt: skip
"""Ops that change nothing about the numbers."""

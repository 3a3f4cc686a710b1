"""JAX's primitives in NumPy's words on tracers: those whose operands, or whose meaning, are not those of NumPy's.

A primitive of numbers that has the name of a row is that row (:mod:`~verify.tracing.op_names`); what moves entries, is
affine or picks by order needs no rule (:mod:`~verify.programs.probing`).
"""

from __future__ import annotations

import string
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from verify.ops import Shape
from verify.programs import values as v
from verify.programs.values import Value, apply, elementwise, is_known
from verify.programs.windows import convolution, padded, windows
from verify.tracing.composed import polygamma
from verify.tracing.conditions import Condition
from verify.tracing.numpy_rules import frozen
from verify.tracing.traced import recorder_of
from verify.tracing.tracer import as_tracer
from verify.tracing.untraced import unmapped

Params = Mapping[str, Any]
Rule = Callable[[Sequence[Value], Params, Shape], Value]
"""``rule(operands, parameters, shape of the result)``."""


def _compared(name: str, x: Sequence[Value], _: Params, __: Shape) -> Value:
    return v.compared(name, x[0], x[1])


def _extreme(name: str, never: float, x: Sequence[Value], _: Params, shape: Shape) -> Value:
    """The larger, or smaller, of two; a bound at infinity says nothing."""
    for a, b in (x, x[::-1]):
        if is_known(a) and np.all(np.asarray(a) == never):
            return v.fit(b, shape)
    return v.fit(elementwise(name, *x), shape)


def _power(x: Sequence[Value], _: Params, shape: Shape) -> Value:
    exponent = x[1]
    if is_known(exponent) and np.size(exponent) and np.all(exponent == np.ravel(exponent)[0]):
        return v.fit(apply("power_constant", x[0], exponent=float(np.ravel(exponent)[0])), shape)
    return v.fit(apply("power", *x), shape)


def _integer_power(x: Sequence[Value], params: Params, _: Shape) -> Value:
    if params["y"] == 2:
        return apply("square", x[0])
    return apply("power_constant", x[0], exponent=float(params["y"]))


def _selected(x: Sequence[Value], _: Params, shape: Shape) -> Value:
    which, *cases = x
    if len(cases) != 2:
        raise unmapped("select_n between more than two")
    return v.select(which, cases[1], cases[0], shape)


def _reduced(function: Callable[..., Value], x: Sequence[Value], params: Params, _: Shape) -> Value:
    return function(x[0], axis=tuple(int(a) for a in params["axes"]))


def _scanned(function: Callable[..., Value], x: Sequence[Value], params: Params, _: Shape) -> Value:
    axis, turns = params["axis"], bool(params.get("reverse"))
    found = function(np.flip(x[0], axis) if turns else x[0], axis=axis)
    return np.flip(found, axis) if turns else found


def _running(step: Callable[[Value, Value], Value], x: Sequence[Value], params: Params, _: Shape) -> Value:
    return v.running(step, x[0], params["axis"], reverse=bool(params.get("reverse")))


def _dot_general(x: Sequence[Value], params: Params, _: Shape) -> Value:
    a, b = x
    (left, right), (batch_a, batch_b) = params["dimension_numbers"]
    letters = iter(string.ascii_letters)
    of_a: list[str] = [""] * np.ndim(a)
    of_b: list[str] = [""] * np.ndim(b)
    if not of_a or not of_b:
        return as_tracer(a) * as_tracer(b)
    for i, j in (*zip(batch_a, batch_b, strict=True), *zip(left, right, strict=True)):
        of_a[i] = of_b[j] = next(letters)
    of_a = [letter or next(letters) for letter in of_a]
    of_b = [letter or next(letters) for letter in of_b]
    kept = [of_a[i] for i in batch_a]
    kept += [of_a[i] for i in range(len(of_a)) if i not in (*batch_a, *left)]
    kept += [of_b[j] for j in range(len(of_b)) if j not in (*batch_b, *right)]
    return apply("einsum", a, b, subscripts=f"{''.join(of_a)},{''.join(of_b)}->{''.join(kept)}")


def _convolution(x: Sequence[Value], params: Params, _: Shape) -> Value:
    numbers = params["dimension_numbers"]
    image, taps = np.transpose(x[0], numbers.lhs_spec), np.transpose(x[1], numbers.rhs_spec)
    batches, count = params["batch_group_count"], len(numbers.lhs_spec) - 2
    run = partial(
        convolution, stride=[int(s) for s in params["window_strides"]],
        padding=[(int(a), int(b)) for a, b in params["padding"]],
        spread=[int(d) for d in params["lhs_dilation"]] or [1] * count,
        dilation=[int(d) for d in params["rhs_dilation"]] or [1] * count,
    )  # fmt: skip
    if batches == 1:
        y = run(image, taps, groups=int(params["feature_group_count"]))
    else:
        rows, columns = np.shape(image)[0] // batches, np.shape(taps)[0] // batches
        y = np.concatenate(
            [run(image[i * rows : (i + 1) * rows], taps[i * columns : (i + 1) * columns]) for i in range(batches)],
            axis=1,
        )
    return np.transpose(y, [int(i) for i in np.argsort(numbers.out_spec)])


def _window(function: Callable[..., Value], never: float, x: Sequence[Value], params: Params, _: Shape) -> Value:
    between = [int(d) - 1 for d in params["base_dilation"]]
    wide = padded(x[0], [(int(a), int(b)) for a, b in params["padding"]], between, fill=never)
    rows = windows(wide, params["window_dimensions"], params["window_strides"], spread=params["window_dilation"])
    return function(rows, axis=-1)


def _padded(x: Sequence[Value], params: Params, _: Shape) -> Value:
    """Zeros, or another number, around entries and between them."""
    config = [(int(low), int(high), int(between)) for low, high, between in params["padding_config"]]
    if not is_known(x[1]):
        raise unmapped("pad with a number that depends on values")
    return padded(x[0], [pair[:2] for pair in config], [pair[2] for pair in config], fill=float(x[1]))


def _sorted(x: Sequence[Value], params: Params, _: Shape) -> Value:
    """One array by its values; several by the order of the first at the traced point."""
    axis = params["dimension"]
    if len(x) == 1:
        return v.sorted_along(x[0], axis)
    if params["num_keys"] != 1 or is_known(x[0]):
        raise unmapped("a sort by several keys")
    order = np.argsort(np.asarray(frozen(recorder_of(x[0]), x[0], "argsort")), axis=axis, kind="stable")
    return [v.moved(lambda places: np.take_along_axis(places, order, axis), operand) for operand in x]


def _top(x: Sequence[Value], params: Params, _: Shape) -> Value:
    """The places are those of the traced point, if anybody asks."""
    axis = params.get("axis", -1) % np.ndim(x[0])
    row = np.flip(v.sorted_along(x[0], axis), axis)
    return [row[(*(slice(None),) * axis, slice(0, params["k"]))], None]


def _triangular(x: Sequence[Value], params: Params, _: Shape) -> Value:
    a, b = x
    size = np.shape(a)[-1]
    part = np.tril if params["lower"] else np.triu
    if params["unit_diagonal"]:
        a = a * part(np.ones((size, size)), -1 if params["lower"] else 1) + np.eye(size)
    else:
        a = a * part(np.ones((size, size)))
    a = np.swapaxes(a, -1, -2) if params["transpose_a"] else a
    if params["left_side"]:
        return apply("solve", a, b)
    return np.swapaxes(apply("solve", np.swapaxes(a, -1, -2), np.swapaxes(b, -1, -2)), -1, -2)


def _remainder(x: Sequence[Value], _: Params, shape: Shape) -> Value:
    ratio = apply("divide", *x)
    whole = apply("where_or_equal", ratio, 0.0, np.floor(ratio), np.ceil(ratio))
    return v.fit(x[0] - whole * x[1], shape)


def _converted(x: Sequence[Value], params: Params, _: Shape) -> Value:
    """Truth values stay so: a branch waits for them. Whole numbers are those of the traced point."""
    value, dtype = x[0], np.dtype(params["new_dtype"])
    if np.issubdtype(dtype, np.complexfloating):
        raise unmapped("complex numbers", op="convert_element_type")
    if isinstance(value, Condition):
        return as_tracer(value) if np.issubdtype(dtype, np.floating) else value
    if np.issubdtype(dtype, np.floating):
        return value
    return v.truth(value) if dtype.kind == "b" else np.asarray(value.frozen(f"a conversion to {dtype}")).astype(dtype)


def _reshaped(x: Sequence[Value], params: Params, _: Shape) -> Value:
    return np.reshape(x[0], params["new_sizes"])


def _broadcast(x: Sequence[Value], params: Params, shape: Shape) -> Value:
    thin = [1] * len(shape)
    for axis, size in zip(params["broadcast_dimensions"], np.shape(x[0]), strict=True):
        thin[axis] = size
    return v.fit(np.reshape(x[0], tuple(thin)), shape)


def _sliced(x: Sequence[Value], params: Params, _: Shape) -> Value:
    sizes = np.shape(x[0])
    cuts = zip(params["start_indices"], params["limit_indices"], params["strides"] or [1] * len(sizes), strict=True)
    return x[0][
        tuple(slice(*cut) if cut != (0, size, 1) else slice(None) for cut, size in zip(cuts, sizes, strict=True))
    ]


def _sign_and_size(x: Sequence[Value], _: Params, __: Shape) -> Value:
    return [apply("sign", np.linalg.det(x[0])), apply("logabsdet", x[0])]


RULES: Mapping[str, Rule] = {
    **{name: partial(_compared, word) for name, word in v.COMPARISONS.items()},
    "max": partial(_extreme, "maximum", -np.inf),
    "min": partial(_extreme, "minimum", np.inf),
    "pow": _power,
    "integer_pow": _integer_power,
    "polygamma": lambda x, _, shape: v.fit(polygamma(*x), shape),
    "rsqrt": lambda x, _, __: np.reciprocal(np.sqrt(x[0])),
    "rem": _remainder,
    "clamp": lambda x, _, shape: v.fit(np.minimum(np.maximum(x[1], x[0]), x[2]), shape),
    "not": lambda x, _, __: np.logical_not(x[0]),
    "and": lambda x, _, __: np.logical_and(x[0], x[1]),
    "or": lambda x, _, __: np.logical_or(x[0], x[1]),
    "select_n": _selected,
    "reduce_sum": partial(_reduced, np.sum),
    "reduce_prod": partial(_reduced, np.prod),
    "reduce_max": partial(_reduced, np.max),
    "reduce_min": partial(_reduced, np.min),
    "cumsum": partial(_scanned, np.cumsum),
    "cumprod": partial(_scanned, np.cumprod),
    "cummax": partial(_running, np.maximum),
    "cummin": partial(_running, np.minimum),
    "cumlogsumexp": partial(_running, np.logaddexp),
    "dot_general": _dot_general,
    "conv_general_dilated": _convolution,
    "reduce_window_max": partial(_window, np.max, -np.inf),
    "reduce_window_min": partial(_window, np.min, np.inf),
    "reduce_window_sum": partial(_window, np.sum, 0.0),
    "pad": _padded,
    "sort": _sorted,
    "top_k": _top,
    "cholesky": lambda x, _, __: np.linalg.cholesky(x[0]),
    "triangular_solve": _triangular,
    "convert_element_type": _converted,
    "reshape": _reshaped,
    "transpose": lambda x, params, _: np.transpose(x[0], params["permutation"]),
    "broadcast_in_dim": _broadcast,
    "slice": _sliced,
    **{
        name: lambda x, _, __: list(x)
        for name in ("copy", "copy_p", "stop_gradient", "reduce_precision", "optimization_barrier", "pvary", "real")
    },
}  # fmt: skip
"""Primitive -> what it is on tracers."""

NAMED: Mapping[str, tuple[int, Rule]] = {
    "inv": (1, lambda x, _, __: np.linalg.inv(x[0])),
    **dict.fromkeys(("_solve", "solve"), (2, lambda x, _, __: apply("solve", x[0], x[1]))),
    **dict.fromkeys(("_det", "det"), (1, lambda x, _, __: np.linalg.det(x[0]))),
    **dict.fromkeys(("slogdet", "_slogdet_lu"), (1, _sign_and_size)),
}
"""A jitted function of ``jax.numpy.linalg`` -> how many operands it takes, and what it is as a whole. Values tell
whether it is that function."""

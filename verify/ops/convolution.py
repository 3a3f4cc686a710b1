"""Convolution and pooling, with the layout of CS231n's assignments and of torch.

``x`` is ``(N, C, L)`` or ``(N, C, H, W)``: samples, channels, places. Filters are ``(F, C, K)`` or ``(F, C, HH, WW)``.
As everywhere in machine learning the filter is not flipped: what is called a convolution is a correlation. ``stride``
and ``padding`` are whole numbers, or one for each axis of places; the padding is zeros.

Forward and VJPs are one product of matrices each, between filters and windows laid out as columns.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import lru_cache, reduce
from typing import Any

import mpmath
import numpy as np
import sympy
from flint import arb, arb_mat

from verify.errors import ShapeError
from verify.numbers.ball_math import ZERO, maximum
from verify.ops.axes import floats_of
from verify.ops.ball_matrices import coefficients, entries, is_zero, product
from verify.ops.code import Place, Whole
from verify.ops.extrema import TIES
from verify.ops.row import Op, Shape
from verify.ops.trials import Trial, of_one

Sizes = tuple[int, ...]


# --------------------------------------------------------------------------------------------------------- shape rules


def _sizes(op: str, name: str, value: Any, axes: int, least: int) -> Sizes:
    """A parameter as one whole number for each axis of places. Raises ShapeError."""
    given = value if isinstance(value, tuple) else (value,) * axes
    if len(given) != axes:
        raise ShapeError(f"{name} of {op} needs a whole number, or {axes} of them, got {len(given)}")
    for size in given:
        if isinstance(size, bool) or not isinstance(size, int) or size < least:
            raise ShapeError(f"{name} of {op} must be a whole number from {least} on, got {size!r}")
    return given


def _places(op: str, shape: Sizes, size: Sizes, stride: Sizes, padding: Sizes) -> Sizes:
    """How many windows fit along each axis. Raises ShapeError where none does."""
    found = []
    for length, window, step, pad in zip(shape, size, stride, padding, strict=True):
        if window > length + 2 * pad:
            room = f"{length}" if not pad else f"{length} and twice the padding {pad}"
            raise ShapeError(f"{op}: a window of {window} does not fit into an axis of length {room}")
        found.append((length + 2 * pad - window) // step + 1)
    return tuple(found)


def _conv_shape(op: str, axes: int, x: Shape, w: Shape, stride: Any, padding: Any) -> Shape:
    layout = {1: "(N, C, L) and filters (F, C, K)", 2: "(N, C, H, W) and filters (F, C, HH, WW)"}[axes]
    if len(x) != axes + 2 or len(w) != axes + 2:
        raise ShapeError(f"{op} needs an input {layout}, got shapes {x} and {w}")
    if x[1] != w[1]:
        raise ShapeError(f"{op}: an input of {x[1]} channels against filters of {w[1]} (shapes {x} and {w})")
    strides, pads = _sizes(op, "stride", stride, axes, 1), _sizes(op, "padding", padding, axes, 0)
    return (x[0], w[0], *_places(op, x[2:], w[2:], strides, pads))


def _pool_windows(op: str, x: Shape, size: Any, stride: Any) -> tuple[Sizes, Sizes]:
    """Size and stride of pooling for each axis; the stride is the size if left out. Raises ShapeError."""
    axes = len(x) - 2
    if axes not in (1, 2):
        raise ShapeError(f"{op} needs an input (N, C, L) or (N, C, H, W), got shape {x}")
    sizes = _sizes(op, "size", size, axes, 1)
    return sizes, sizes if stride is None else _sizes(op, "stride", stride, axes, 1)


def _pool_shape(op: str, x: Shape, size: Any, stride: Any = None) -> Shape:
    sizes, strides = _pool_windows(op, x, size, stride)
    return (*x[:2], *_places(op, x[2:], sizes, strides, (0,) * len(sizes)))


# ------------------------------------------------------------------------------------------------------ NumPy, windows


def _each(value: Any, axes: int) -> Sizes:
    return value if isinstance(value, tuple) else (value,) * axes


def _taps(size: Sizes, places: Sizes, stride: Sizes) -> Iterator[tuple[Sizes, tuple[slice, ...]]]:
    """For each place in a window the slices that read it from all windows at once."""
    for tap in itertools.product(*map(range, size)):
        yield tap, tuple(slice(t, t + s * n, s) for t, s, n in zip(tap, stride, places, strict=True))


def _padded(x: Any, padding: Sizes) -> Any:
    if not any(padding):
        return x
    return np.pad(x, [(0, 0)] * (x.ndim - len(padding)) + [(p, p) for p in padding])


def _columns(x: Any, size: Sizes, stride: Sizes, padding: Sizes) -> Any:
    """Windows as columns: ``(P, N, C, *places)`` to ``(P, C * window, N * windows)``."""
    axes = len(size)
    windows: Any = np.lib.stride_tricks.sliding_window_view(_padded(x, padding), size, axis=tuple(range(-axes, 0)))
    windows = windows[(..., *(slice(None, None, s) for s in stride), *(slice(None),) * axes)]
    # (P, N, C, *windows, *window) to (P, C, *window, N, *windows)
    inward = np.moveaxis(windows, (1, *range(3, 3 + axes)), tuple(range(-axes - 1, 0)))
    return inward.reshape(len(x), x.shape[2] * math.prod(size), -1)


def _filters_first(y: Any) -> Any:
    """``(P, N, F, *places)`` as ``(P, F, N * places)``."""
    return np.moveaxis(y, 1, 2).reshape(len(y), y.shape[2], -1)


def _conv(x: Any, w: Any, stride: Any = 1, padding: Any = 0) -> Any:
    axes = w.ndim - 3
    size, strides, pads = w.shape[3:], _each(stride, axes), _each(padding, axes)
    places = _places("conv", x.shape[3:], size, strides, pads)
    y = w.reshape(*w.shape[:2], -1) @ _columns(x, size, strides, pads)
    return np.moveaxis(y.reshape(*y.shape[:2], x.shape[1], *places), 1, 2)


def _conv_vjp_x(g: Any, y: Any, x: Any, w: Any, stride: Any = 1, padding: Any = 0) -> Any:
    axes = w.ndim - 3
    size, strides, pads = w.shape[3:], _each(stride, axes), _each(padding, axes)
    sent = np.swapaxes(w.reshape(*w.shape[:2], -1), -1, -2) @ _filters_first(g)
    sent = sent.reshape(len(sent), x.shape[2], *size, x.shape[1], *g.shape[3:])
    out = np.zeros_like(_padded(np.moveaxis(x, 1, 2), pads))
    at = (slice(None),) * 2
    for tap, read in _taps(size, g.shape[3:], strides):
        out[(..., *read)] = out[(..., *read)] + sent[(*at, *tap)]
    inside = (slice(p, p + n) for p, n in zip(pads, x.shape[3:], strict=True))
    return np.moveaxis(out[(..., *inside)], 1, 2)


def _conv_vjp_w(g: Any, y: Any, x: Any, w: Any, stride: Any = 1, padding: Any = 0) -> Any:
    axes = w.ndim - 3
    read = _columns(x, w.shape[3:], _each(stride, axes), _each(padding, axes))
    out = _filters_first(g) @ np.swapaxes(read, -1, -2)
    return out.reshape(*out.shape[:2], *w.shape[2:])


def _avg_pool(x: Any, size: Any, stride: Any = None) -> Any:
    sizes, strides = _pool_windows("avg_pool", x.shape[1:], size, stride)
    places = _places("avg_pool", x.shape[3:], sizes, strides, (0,) * len(sizes))
    parts = [x[(..., *read)] for _, read in _taps(sizes, places, strides)]
    return sum(parts[1:], start=parts[0]) / math.prod(sizes)


def _avg_pool_vjp(g: Any, y: Any, x: Any, size: Any, stride: Any = None) -> Any:
    sizes, strides = _pool_windows("avg_pool", x.shape[1:], size, stride)
    share, out = g / math.prod(sizes), np.zeros_like(x)
    for _, read in _taps(sizes, g.shape[3:], strides):
        out[(..., *read)] = out[(..., *read)] + share
    return out


def _max_pool(x: Any, size: Any, stride: Any = None, tie: str = "first") -> Any:
    sizes, strides = _pool_windows("max_pool", x.shape[1:], size, stride)
    places = _places("max_pool", x.shape[3:], sizes, strides, (0,) * len(sizes))
    return reduce(np.maximum, (x[(..., *read)] for _, read in _taps(sizes, places, strides)))


def _max_pool_vjp(g: Any, y: Any, x: Any, size: Any, stride: Any = None, tie: str = "first") -> Any:
    sizes, strides = _pool_windows("max_pool", x.shape[1:], size, stride)
    values, largest, out = floats_of(x), floats_of(y), np.zeros_like(x)
    reads = [read for _, read in _taps(sizes, g.shape[3:], strides)]
    if tie == "even":
        g = g / sum((values[(..., *read)] == largest).astype(values.dtype) for read in reads)
    taken = np.zeros(largest.shape, dtype=bool)
    for read in reads:
        won = values[(..., *read)] == largest
        if tie == "first":
            won, taken = won & ~taken, taken | won
        out[(..., *read)] = out[(..., *read)] + np.where(won, g, 0.0)
    return out


def _lower_max_pool(builder: Any, x: int, size: Any, stride: Any = None) -> int:
    """What each place in a window reads, joined by the larger of two, in pairs again and again."""
    shape = builder.shape(x)
    sizes, strides = _pool_windows("max_pool", shape, size, stride)
    places = _places("max_pool", shape[2:], sizes, strides, (0,) * len(sizes))
    whole = (slice(None),) * 2
    parts = [builder.apply("index", x, params={"index": (*whole, *read)}) for _, read in _taps(sizes, places, strides)]
    while len(parts) > 1:
        pairs = itertools.zip_longest(parts[::2], parts[1::2])
        parts = [one if other is None else builder.apply("max", one, other) for one, other in pairs]
    return int(parts[0])


# --------------------------------------------------------------------------------- entry by entry, for SymPy and mpmath


def _by_index(x: Any, w: Any, stride: Any = 1, padding: Any = 0) -> Any:
    """A convolution by its definition, one entry after the other; without an axis of points."""
    axes = x.ndim - 2
    strides, pads = _each(stride, axes), _each(padding, axes)
    shape = (len(x), len(w), *_places("conv", x.shape[2:], w.shape[2:], strides, pads))
    y = np.empty(shape, dtype=object)
    for n, f, *place in np.ndindex(shape):
        start = [p * s - pad for p, s, pad in zip(place, strides, pads, strict=True)]
        reads = [((n, c, *_added(start, tap)), (f, c, *tap)) for c, *tap in np.ndindex(w.shape[1:])]
        terms = [x[at] * w[tap] for at, tap in reads if all(0 <= i < k for i, k in zip(at, x.shape, strict=True))]
        y[(n, f, *place)] = sum(terms[1:], start=terms[0]) if terms else 0 * w.flat[0]
    return y


def _added(start: Iterable[int], tap: Iterable[int]) -> Sizes:
    return tuple(i + t for i, t in zip(start, tap, strict=True))


def _by_window(function: Callable[[list[Any]], Any], x: Any, size: Any, stride: Any) -> Any:
    """A function of the entries of each window; without an axis of points."""
    sizes, strides = _pool_windows("pooling", x.shape, size, stride)
    y = np.empty(_pool_shape("pooling", x.shape, size, stride), dtype=object)
    for n, c, *place in np.ndindex(y.shape):
        start = [p * s for p, s in zip(place, strides, strict=True)]
        y[(n, c, *place)] = function([x[(n, c, *_added(start, tap))] for tap in np.ndindex(sizes)])
    return y


def _sympy_avg_pool(x: Any, size: Any, stride: Any = None) -> Any:
    return _by_window(lambda terms: sum(terms[1:], start=terms[0]) / sympy.Integer(len(terms)), x, size, stride)


def _exact_avg_pool(x: Any, size: Any, stride: Any = None) -> Any:
    return _by_window(lambda terms: sum(terms) / mpmath.mpf(len(terms)), x, size, stride)


def _conv_uses(x: Shape, w: Shape, stride: Any = 1, padding: Any = 0) -> int:
    return math.prod(_conv_shape("conv", len(x) - 2, x, w, stride, padding)) * math.prod(w[1:])


def _pool_uses(x: Shape, size: Any, stride: Any = None) -> int:
    return math.prod(_pool_shape("avg_pool", x, size, stride)) * math.prod(_each(size, len(x) - 2))


# ------------------------------------------------------------------------------------------------------------ in balls


def _conv_ball(x: Any, w: Any, stride: Any = 1, padding: Any = 0) -> Any:
    """All windows of ``(N, C, places)`` as one matrix, times all filters ``(F, C, window)`` as another."""
    axes = x.ndim - 2
    strides, pads = (_each(v, axes) for v in (stride, padding))
    places, reads = _read_by_windows(x.shape, w.shape[2:], strides, pads)
    windows = [_read(matrix, reads) for matrix in coefficients(x.reshape(1, -1))]
    filters = coefficients(w.reshape(len(w), -1).T)
    y = entries(product(windows, filters), (len(x), *places, len(w)))
    return np.moveaxis(y, -1, 1)


def _read(entries: arb_mat, reads: Any) -> arb_mat:
    """The matrix of windows; what a window has beyond the edge is 0."""
    if is_zero(entries):
        return arb_mat(len(reads), reads.shape[1])
    flat = [*entries.entries(), ZERO]
    return arb_mat(len(reads), reads.shape[1], [flat[i] for i in reads.ravel().tolist()])


@lru_cache(maxsize=64)
def _read_by_windows(
    shape: tuple[int, ...], size: tuple[int, ...], strides: tuple[int, ...], pads: tuple[int, ...]
) -> tuple[tuple[int, ...], Any]:
    """How many windows there are along each axis, and the entries that each reads: a row for each window of a sample.

    The entry behind the last one stands for what lies beyond the edge.
    """
    samples, channels, *lengths = shape
    padded: Any = np.full((samples, channels, *(n + 2 * p for n, p in zip(lengths, pads, strict=True))), np.prod(shape))
    inside = (slice(p, p + n) for n, p in zip(lengths, pads, strict=True))
    padded[(..., *inside)] = np.arange(np.prod(shape)).reshape(shape)
    places = tuple((n - k) // s + 1 for n, k, s in zip(padded.shape[2:], size, strides, strict=True))
    rows = []
    for n, *place in np.ndindex(samples, *places):
        reach = (slice(p * s, p * s + k) for p, s, k in zip(place, strides, size, strict=True))
        rows.append(padded[(n, slice(None), *reach)].ravel())
    return places, np.array(rows)


def _of_windows(function: Callable[[Any], Any], x: Any, size: Any, stride: Any) -> Any:
    """A function of windows, one in each row, that gives an entry for each."""
    axes = x.ndim - 2
    sizes = size if isinstance(size, tuple) else (size,) * axes
    strides = sizes if stride is None else stride if isinstance(stride, tuple) else (stride,) * axes
    channels = x.shape[0] * x.shape[1]
    places, reads = _read_by_windows((channels, 1, *x.shape[2:]), sizes, strides, (0,) * axes)
    out = np.empty(len(reads), dtype=object)
    out[:] = function(x.ravel()[reads])
    return out.reshape(*x.shape[:2], *places)


# --------------------------------------------------------------------------------------------------- as it is written


def _each_axis(p: Place, name: str, default: int) -> Sizes:
    """A parameter of windows as one number for each axis of places."""
    value = p.params.get(name)
    return _each(default if value is None else value, len(p.shapes[0]) - 2)


def _steps(p: Place) -> str:
    return f", stride={_each_axis(p, 'stride', 1)}, padding={_each_axis(p, 'padding', 0)}"


def _convolution_back(p: Place) -> str:
    x, w = p.operands
    if p.which == 0:
        return f"convolution_to_input({p.g}, {w}, {x}{_steps(p)})"
    return f"convolution_to_filters({p.g}, {x}, {w}{_steps(p)})"


def _sized(p: Place) -> str:
    size = _each_axis(p, "size", 1)
    stride = size if p.params.get("stride") is None else _each_axis(p, "stride", 1)
    return f", size={size}, stride={stride}"


def _max_pool_back(p: Place) -> str:
    tie = p.params.get("tie", "first")
    convention = "" if tie == "first" else f', tie="{tie}"'
    return f"max_pool_back({p.g}, {p.a}{_sized(p)}{convention})"


CONVOLUTIONS: Mapping[int, tuple[Trial, ...]] = {
    1: (
        (((2, 3, 5), (4, 3, 2)), {}), (((1, 1, 4), (1, 1, 4)), {}), (((2, 2, 4), (2, 2, 3)), {"padding": 1}),
        (((2, 1, 7), (2, 1, 3)), {"stride": 3, "padding": 2}), (((1, 1, 1), (1, 1, 1)), {}),
    ),
    2: (
        (((2, 3, 4, 3), (2, 3, 2, 2)), {}), (((1, 2, 3, 3), (2, 2, 3, 3)), {"padding": 1}),
        (((2, 1, 4, 5), (3, 1, 3, 2)), {"stride": (1, 2), "padding": (1, 0)}), (((2, 2, 2, 2), (2, 2, 2, 2)), {}),
    ),
}  # fmt: skip
POOLS = of_one(
    ((2, 3, 4), {"size": 2}), ((1, 2, 5), {"size": 3, "stride": 1}), ((2, 2, 4, 6), {"size": 2}),
    ((1, 1, 3, 4), {"size": (3, 2), "stride": (1, 2)}), ((2, 1, 2, 2), {"size": 1}),
)  # fmt: skip


def _conv_row(name: str, axes: int, example: str) -> Op:
    return Op(
        name, spelling=f"{name}(a, b)", example=example, elementwise=False, params=("stride", "padding"),
        source="CS231n, assignment 2", uses=_conv_uses, trials=CONVOLUTIONS[axes],
        shape=lambda x, w, stride=1, padding=0: _conv_shape(name, axes, x, w, stride, padding),
        forward=_conv, vjps=(_conv_vjp_x, _conv_vjp_w), exact=_by_index, sympy=_by_index, ball=_conv_ball,
        code=Whole(lambda p: f"convolution({p.a}, {p.b}{_steps(p)})", _convolution_back, "window by window"),
    )  # fmt: skip


ROWS = (
    _conv_row("conv1d", 1, "conv1d(reshape(u, (1, 1, 2)), reshape(b, (1, 1, 2)), padding=1)"),
    _conv_row("conv2d", 2, "conv2d(reshape(u, (1, 1, 2, 1)), reshape(b, (1, 1, 1, 2)), padding=1)"),
    Op("avg_pool", spelling="avg_pool(a, size=2)", example="avg_pool(reshape(u, (1, 1, 2)), size=2)",
       elementwise=False, params=("size", "stride"), required=("size",), source="torch's avg_pool2d",
       shape=lambda x, size, stride=None: _pool_shape("avg_pool", x, size, stride), uses=_pool_uses, trials=POOLS,
       forward=_avg_pool, vjps=(_avg_pool_vjp,), exact=_exact_avg_pool, sympy=_sympy_avg_pool,
       ball=lambda x, size, stride=None: _of_windows(lambda rows: np.sum(rows, axis=1) / arb(rows.shape[1]), x, size,
                                                     stride),
       code=Whole(lambda p: f"average_pool({p.a}{_sized(p)})",
                  lambda p: f"average_pool_back({p.g}, {p.a}{_sized(p)})", "an equal share for all of a window")),
    Op("max_pool", spelling="max_pool(a, size=2)", example="max_pool(reshape(u, (1, 1, 2)), size=2)",
       elementwise=False, params=("size", "stride"), required=("size",), ulps=0.0, ties=TIES,
       source="CS231n, assignment 2", trials=POOLS,
       shape=lambda x, size, stride=None: _pool_shape("max_pool", x, size, stride),
       forward=_max_pool, vjps=(_max_pool_vjp,), lower=_lower_max_pool,
       exact=lambda x, size, stride=None: _by_window(max, x, size, stride),
       ball=lambda x, size, stride=None: _of_windows(
           lambda rows: [reduce(maximum, row) for row in rows.tolist()], x, size, stride),
       code=Whole(lambda p: f"max_pool({p.a}{_sized(p)})", _max_pool_back, "to the winner of each window")),
)  # fmt: skip

HELPERS = {
    "count_windows": '''\
def count_windows(x, size, stride):
    """How many windows fit along each axis, in an x of samples, channels and places."""
    return tuple((n - k) // s + 1 for n, k, s in zip(x.shape[2:], size, stride))
''',
    "windows": '''\
def windows(counts, size, stride):
    """The index of each window, and the part of the input that it shows."""
    for index in np.ndindex(*counts):
        part = tuple(slice(i * s, i * s + k) for i, k, s in zip(index, size, stride))
        yield (..., *index), (..., *part)
''',
    "zero_padded": '''\
def zero_padded(x, padding):
    """Zeros around the places of each channel."""
    return np.pad(x, [(0, 0), (0, 0), *((p, p) for p in padding)])
''',
    "convolution": '''\
def convolution(x, w, stride, padding):
    """Each window of x times each filter, summed; filters are not flipped."""
    x, size = zero_padded(x, padding), w.shape[2:]
    counts = count_windows(x, size, stride)
    y = np.empty((len(x), len(w), *counts), x.dtype)
    for index, part in windows(counts, size, stride):
        y[index] = x[part].reshape(len(x), -1) @ w.reshape(len(w), -1).T
    return y
''',
    "convolution_to_input": '''\
def convolution_to_input(g, w, x, stride, padding):
    """What a convolution sends back to x: each window gets the filters, times what they are sent."""
    dx = np.zeros_like(zero_padded(x, padding))
    for index, part in windows(g.shape[2:], w.shape[2:], stride):
        dx[part] += (g[index] @ w.reshape(len(w), -1)).reshape(dx[part].shape)
    return dx[(..., *(slice(p, p + n) for p, n in zip(padding, x.shape[2:])))]
''',
    "convolution_to_filters": '''\
def convolution_to_filters(g, x, w, stride, padding):
    """What a convolution sends back to its filters: the windows of x, times what they made is sent."""
    x, dw = zero_padded(x, padding), np.zeros_like(w)
    for index, part in windows(g.shape[2:], w.shape[2:], stride):
        dw += (g[index].T @ x[part].reshape(len(x), -1)).reshape(w.shape)
    return dw
''',
    "average_pool": '''\
def average_pool(x, size, stride):
    """The mean of each window."""
    counts = count_windows(x, size, stride)
    y = np.empty((*x.shape[:2], *counts), x.dtype)
    for index, part in windows(counts, size, stride):
        y[index] = x[part].reshape(*x.shape[:2], -1).mean(axis=-1)
    return y
''',
    "average_pool_back": '''\
def average_pool_back(g, x, size, stride):
    """To each entry of a window an equal share of what is sent to its mean."""
    dx = np.zeros_like(x)
    for index, part in windows(g.shape[2:], size, stride):
        share = g[index] / np.prod(size)
        dx[part] += share.reshape(*x.shape[:2], *[1] * len(size))
    return dx
''',
    "max_pool": '''\
def max_pool(x, size, stride):
    """The largest entry of each window."""
    counts = count_windows(x, size, stride)
    y = np.empty((*x.shape[:2], *counts), x.dtype)
    for index, part in windows(counts, size, stride):
        y[index] = x[part].reshape(*x.shape[:2], -1).max(axis=-1)
    return y
''',
    "max_pool_back": '''\
def max_pool_back(g, x, size, stride, tie="first"):
    """To the largest entry of each window; of several to the first, to all, or to each an even share."""
    dx = np.zeros_like(x)
    for index, part in windows(g.shape[2:], size, stride):
        window = x[part].reshape(*x.shape[:2], -1)
        share = window == window.max(axis=-1, keepdims=True)
        if tie == "first":
            share = share & (np.cumsum(share, axis=-1) == 1)
        elif tie == "even":
            share = share / share.sum(axis=-1, keepdims=True)
        dx[part] += (share * g[index][..., None]).reshape(x[part].shape)
    return dx
''',
}
"""Functions that a printed module brings along where it names them."""

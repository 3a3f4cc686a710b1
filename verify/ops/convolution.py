"""Convolution and pooling, with the layout of CS231n's assignments and of torch.

``x`` is ``(N, C, L)`` or ``(N, C, H, W)``: samples, channels, places. Filters are ``(F, C, K)`` or ``(F, C, HH, WW)``.
As everywhere in machine learning the filter is not flipped: what is called a convolution is a correlation. ``stride``
and ``padding`` are whole numbers, or one for each axis of places; the padding is zeros.

Forward and VJPs are one product of matrices each, between filters and windows laid out as columns.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Iterator
from functools import reduce
from typing import Any

import mpmath
import numpy as np
import sympy

from verify.errors import ShapeError
from verify.ops import ball_matrices
from verify.ops.axes import floats_of
from verify.ops.extrema import TIES
from verify.ops.row import REAL, Op, Shape, by_lowering

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


def _conv_row(op: str, axes: int) -> Op:
    def shape(x: Shape, w: Shape, stride: Any = 1, padding: Any = 0) -> Shape:
        return _conv_shape(op, axes, x, w, stride, padding)

    return Op(op, _conv, (_conv_vjp_x, _conv_vjp_w), _by_index, _by_index, shape, f"{op}(a, b)", (REAL, REAL),
              params=("stride", "padding"), elementwise=False, uses=_conv_uses, ball=ball_matrices.convolution,
              source="CS231n, assignment 2")  # fmt: skip


ROWS = (
    _conv_row("conv1d", 1),
    _conv_row("conv2d", 2),
    Op("avg_pool", _avg_pool, (_avg_pool_vjp,), _sympy_avg_pool, _exact_avg_pool,
       lambda x, size, stride=None: _pool_shape("avg_pool", x, size, stride), "avg_pool(a, size=2)",
       params=("size", "stride"), required=("size",), elementwise=False, uses=_pool_uses,
       ball=ball_matrices.mean_of_windows, source="torch's avg_pool2d"),
    Op("max_pool", _max_pool, (_max_pool_vjp,), by_lowering,
       lambda x, size, stride=None: _by_window(max, x, size, stride),
       lambda x, size, stride=None: _pool_shape("max_pool", x, size, stride), "max_pool(a, size=2)",
       params=("size", "stride"), required=("size",), elementwise=False, ulps=0.0, lower=_lower_max_pool, ties=TIES,
       ball=ball_matrices.largest_of_windows, source="CS231n, assignment 2"),
)  # fmt: skip

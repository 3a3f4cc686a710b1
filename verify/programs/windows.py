"""Windows that slide over arrays: convolutions of every form, and pools."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np

from verify.programs.values import Array, Value, apply, moved

Pairs = Sequence[tuple[int, int]]
"""What is added before and after each axis; negative numbers take entries away."""


def padded(x: Value, widths: Pairs, between: Sequence[int] = (), fill: float = 0.0) -> Value:
    """Numbers around entries and between them.

    >>> padded(np.array([1.0, 2.0]), [(1, -1)], [1])
    array([0., 1., 0.])
    """
    gaps = between or [0] * np.ndim(x)
    if not np.any(widths) and not any(gaps):
        return x

    def wide(places: Array) -> Array:
        sizes = [max(size + (size - 1) * gap, 0) for size, gap in zip(places.shape, gaps, strict=True)]
        table = np.full(sizes, -1)
        table[tuple(slice(None, None, gap + 1) for gap in gaps)] = places
        table = np.pad(table, [(max(low, 0), max(high, 0)) for low, high in widths], constant_values=-1)
        cut = [slice(max(-low, 0), n - max(-high, 0)) for (low, high), n in zip(widths, table.shape, strict=True)]
        return table[tuple(cut)]

    return moved(wide, x, fill=fill)


def windows(
    x: Value, size: Sequence[int], stride: Sequence[int], around: Pairs = (), spread: Sequence[int] = (),
    fill: float = 0.0,
) -> Value:  # fmt: skip
    """The windows that slide over the last axes of ``x``, each in one row of the last axis.

    What lies outside is ``fill``; ``spread`` is how far the entries of a window are apart.

    >>> windows(np.array([1.0, 2.0, 3.0]), [2], [1])
    array([[1., 2.],
           [2., 3.]])
    """
    ahead = np.ndim(x) - len(size)
    apart = list(spread) or [1] * len(size)
    wide = padded(x, [(0, 0)] * ahead + list(around or [(0, 0)] * len(size)), fill=fill)

    def slid(places: Array) -> Array:
        reach = tuple((n - 1) * d + 1 for n, d in zip(size, apart, strict=True))
        views = np.lib.stride_tricks.sliding_window_view(places, reach, tuple(range(ahead, places.ndim)))
        steps = (*[slice(None)] * ahead, *(slice(None, None, step) for step in stride))
        views = views[(*steps, *(slice(None, None, d) for d in apart))]
        return views.reshape(*views.shape[: places.ndim], -1)

    return moved(slid, wide)


def convolution(
    x: Value, w: Value, stride: Sequence[int], padding: Pairs, spread: Sequence[int], dilation: Sequence[int],
    groups: int = 1,
) -> Value:  # fmt: skip
    """The convolution of ``x (N, C, ...)`` with ``w (O, C / groups, ...)``; ``spread`` puts zeros between entries of x.

    >>> convolution(np.ones((1, 1, 3)), np.ones((1, 1, 2)), [1], [(0, 0)], [1], [1]).ravel()
    array([2., 2.])
    """
    axes, still = len(stride), [(0, 0), (0, 0)]
    sides = [low for low, high in padding if low == high >= 0]
    is_even = len(sides) == axes and axes in (1, 2)
    x = padded(x, still + ([(0, 0)] * axes if is_even else list(padding)), [0, 0, *(s - 1 for s in spread)])
    w = padded(w, still + [(0, 0)] * axes, [0, 0, *(d - 1 for d in dilation)])
    run = partial(_convolved, stride=stride, sides=sides if is_even else [0] * axes)
    if groups == 1:
        return run(x, w)
    inner, outer = np.shape(x)[1] // groups, np.shape(w)[0] // groups
    return np.concatenate(
        [run(x[:, i * inner : (i + 1) * inner], w[i * outer : (i + 1) * outer]) for i in range(groups)], axis=1
    )


def _convolved(x: Value, w: Value, stride: Sequence[int], sides: Sequence[int]) -> Value:
    if len(stride) == 1:
        return apply("conv1d", x, w, stride=stride[0], padding=sides[0])
    if len(stride) == 2:
        return apply("conv2d", x, w, stride=tuple(stride), padding=tuple(sides))
    rows = windows(x, np.shape(w)[2:], stride)
    letters = "ijk"[: len(stride)]
    flat = np.reshape(w, (*np.shape(w)[:2], -1))
    return apply("einsum", rows, flat, subscripts=f"nc{letters}w,ocw->no{letters}")


def transposed_convolution(
    x: Value, w: Value, stride: Sequence[int], padding: Sequence[int], dilation: Sequence[int], extra: Sequence[int],
    groups: int = 1,
) -> Value:  # fmt: skip
    """The adjoint of a convolution: taps turned around, zeros between the entries.

    >>> transposed_convolution(np.ones((1, 1, 2)), np.ones((1, 1, 2)), [2], [0], [1], [0]).ravel()
    array([1., 1., 1., 1.])
    """
    count, (outer, inner) = len(stride), np.shape(w)[:2]

    def turned(places: Array) -> Array:
        grouped = places.reshape(groups, outer // groups, inner, *places.shape[2:]).swapaxes(1, 2)
        return np.flip(grouped.reshape(groups * inner, outer // groups, *places.shape[2:]), tuple(range(2, 2 + count)))

    wide = [(size - 1) * d for size, d in zip(np.shape(w)[2:], dilation, strict=True)]
    around = [(r - q, r - q + e) for r, q, e in zip(wide, padding, extra, strict=True)]
    return convolution(x, moved(turned, w), [1] * count, around, stride, dilation, groups)

"""Long sequences: a kernel runs at its full size, and what is looked at is a sample of rows and heads.

Rows that are not looked at get numbers that leave the others alone, and no upstream gradient. Then the function of the
sampled rows alone is a small one, whose truth and noise are had as of any other. Whether that is so is no belief: the
reference's own values are held against those of its sample, on a shorter twin and at the full size.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from verify.errors import UsageError
from verify.numbers.streams import stream

Array = NDArray[Any]
Shapes = Mapping[str, tuple[int, ...]]

LONG = 512
"""Rows of an input from which on a sample of them is looked at."""

TILE = 64
"""The first and the last row of every so many are always in the sample."""

MORE = 64
"""Rows that are drawn besides."""

MOST_HEADS = 2
"""Heads that are looked at, the first and the last among them."""

LOUD = 16.0
"""First column of queries, which shuts out keys whose first column is minus four times as much."""

SAME = 1e-9
"""Part of the largest value by which values of the sample may differ from those of the whole."""


@dataclass(frozen=True, slots=True)
class Sample:
    """A point of full size, and how it is cut down to what is looked at."""

    point: Mapping[str, Any]
    shapes: Shapes
    """Of the inputs that are drawn."""
    rows: Array
    heads: Array

    def cut(self, name: str, x: Array) -> Array:
        """The sampled part of an input, or of its gradient."""
        return _cut(x, self.shapes, name, self.rows, self.heads)

    def names(self, name: str) -> tuple[Array, Array]:
        """What rows and heads of the sampled part of an input are called at full size."""
        shape = self.shapes[name]
        part = self.cut(name, np.empty(shape))
        rows = self.rows if part.ndim > 1 and part.shape[-2] == len(self.rows) else np.arange((1, *part.shape)[-2])
        return rows, _own_heads(self.shapes, name, self.heads) if part.ndim == 4 else np.zeros(1, dtype=int)

    def small(self) -> dict[str, Any]:
        """The point that is looked at."""
        return {name: self.cut(name, x) if name in self.shapes else x for name, x in self.point.items()}

    def spread(self, upstream: Array, shape: Sequence[int]) -> Array:
        """The upstream gradient at full size: 0 outside of the sample."""
        whole = np.zeros(shape)
        index = _index(shape, max(s[-2] for s in self.shapes.values() if len(s) > 1), self.rows, self.heads)
        whole[index] = upstream
        return whole


def is_long(shapes: Shapes) -> bool:
    """Whether there are too many rows to look at all of them.

    >>> is_long({"q": (1, 2, 4096, 64)}), is_long({"x": (64, 4096)})
    (True, False)
    """
    return any(len(shape) > 1 and shape[-2] >= LONG for shape in shapes.values())


def sampled(reference: Callable[..., Any], shapes: Shapes, round_off: Callable[[Array], Array], seed: int) -> Sample:
    """A point of these shapes and the sample of it. Raises UsageError where rows cannot be looked at alone.

    ``reference`` takes arrays of NumPy. Columns of the inputs are normal numbers, rounded off.

    >>> sample = sampled(lambda x: x / np.sqrt(np.mean(x * x, -1, keepdims=True)), {"x": (1024, 8)}, np.asarray, 0)
    >>> bool({0, 63, 64, 127, 1023} <= set(sample.rows.tolist())), len(sample.rows) == len(sample.small()["x"])
    (True, True)
    """
    rng = stream(seed, "a sample of rows")
    length = max(shape[-2] for shape in shapes.values() if len(shape) > 1)
    borders = [*range(0, length, TILE), *range(TILE - 1, length, TILE), length - 1]
    rows = np.unique([*borders, *rng.choice(length, MORE, replace=False)])
    most = max((shape[1] for shape in shapes.values() if len(shape) == 4), default=1)
    heads = np.unique(np.linspace(0, most - 1, min(most, MOST_HEADS)).round().astype(int))
    twin = {n: tuple(TWIN if s == length else s for s in shape) for n, shape in shapes.items()}
    some = np.unique([0, 1, *rng.choice(TWIN, TWIN // 4, replace=False), TWIN - 1])
    for fill in _fills(shapes, length):
        tried = Sample(_filled(twin, some, fill, round_off, TWIN, seed), twin, some, heads)
        if not _stands_alone(reference, tried, TWIN):
            continue
        found = Sample(_filled(shapes, rows, fill, round_off, length, seed), shapes, rows, heads)
        if _stands_alone(reference, found, length):
            return found
    raise UsageError(
        f"the reference mixes its {length} rows so that no sample of them stands alone: give inputs of fewer than "
        f"{LONG} rows, or at={{...}} with the values"
    )


TWIN = 96
"""Rows of the twin on which it is tried how rows are left out."""


def _fills(shapes: Shapes, length: int) -> Iterator[tuple[str, str]]:
    """Ways to leave rows out: as they are, as zeros, and as keys that no query sees."""
    long = [name for name, shape in shapes.items() if len(shape) > 1 and shape[-2] == length]
    yield from (("", ""), ("0", "0"))
    yield from itertools.permutations(long, 2)


def _filled(
    shapes: Shapes, rows: Array, fill: tuple[str, str], round_off: Callable[[Array], Array], length: int, seed: int
) -> dict[str, Array]:
    """Normal numbers, and in the rows that are left out what leaves the others alone."""
    rng = stream(seed, "inputs of a kernel")
    point = {name: rng.standard_normal(shape) for name, shape in shapes.items()}
    out = np.setdiff1d(np.arange(length), rows)
    query, key = fill
    for name, x in point.items():
        if len(shapes[name]) > 1 and shapes[name][-2] == length:
            if fill != ("", ""):
                x[..., out, :] = 0.0
            if name == query:
                x[..., 0] = LOUD
            if name == key:
                x[..., rows, 0] = 0.0
                x[..., out, 0] = -4 * LOUD
    return {name: round_off(x) for name, x in point.items()}


def _stands_alone(reference: Callable[..., Any], sample: Sample, length: int) -> bool:
    """Whether the values at the sampled rows are those of the sampled rows alone."""
    whole, part = np.asarray(reference(**sample.point)), np.asarray(reference(**sample.small()))
    if whole.ndim < 2 or whole.shape[-2] != length:
        return False
    here = whole[_index(whole.shape, length, sample.rows, sample.heads)]
    return here.shape == part.shape and bool(np.max(np.abs(here - part)) <= SAME * np.max(np.abs(part)))


def _index(shape: Sequence[int], length: int, rows: Array, heads: Array) -> Any:
    """The sampled rows and heads of an array."""
    chosen = [np.arange(size) for size in shape]
    if len(shape) > 1 and shape[-2] == length:
        chosen[-2] = rows
    if len(shape) == 4:
        chosen[1] = heads
    return np.ix_(*chosen)


def _cut(x: Array, shapes: Shapes, name: str, rows: Array, heads: Array) -> Array:
    length = max(shape[-2] for shape in shapes.values() if len(shape) > 1)
    own = _own_heads(shapes, name, heads)
    return np.asarray(x[_index(shapes[name], length, rows, own)]) if len(shapes[name]) > 1 else x


def _own_heads(shapes: Shapes, name: str, heads: Array) -> Array:
    """The heads of an input that belong to some heads of the queries, of which several may share those of keys."""
    most = max((shape[1] for shape in shapes.values() if len(shape) == 4), default=1)
    return np.unique(heads * shapes[name][1] // most) if len(shapes[name]) == 4 else heads

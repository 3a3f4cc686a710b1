"""Parts of a gradient along which errors are added up: the whole tensor, heads, rows, columns, blocks.

A gradient ``(..., rows, columns)`` is seen as heads of rows and columns. Rounding averages out along a part, a fault
does not; each kind of part finds the faults that have its form.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from verify.ops import Shape

Array = NDArray[Any]

BLOCKS = (16, 64, 128)
"""Rows, and columns, of a block: what tiles of kernels have."""

AXES = ("batch", "head")
"""What the axes before those of rows and columns are called, where there are two."""


@dataclass(frozen=True, slots=True)
class Grouping:
    """One way to take a gradient apart."""

    kind: str
    """tensor, batch, head, row, column or block."""
    added: Callable[[Array], Array]
    """Sums over each part: from ``(N, *shape)`` to ``(N, parts)``."""
    place: Callable[[int], str]
    """Where a part is, in words; empty for the whole."""


def groupings(shape: Shape, rows: Array | None = None, heads: Array | None = None) -> Iterator[Grouping]:
    """All ways to take a gradient of a shape apart that differ from each other.

    ``rows`` and ``heads`` say which those of a larger gradient these are, where they are a sample.

    >>> [(g.kind, g.added(np.ones((1, 1, 2, 32, 8))).shape[1]) for g in groupings((1, 2, 32, 8))]
    [('tensor', 1), ('head', 2), ('row', 64), ('column', 16), ('block', 4)]
    """
    view = _View(shape, rows, heads)
    yield Grouping("tensor", lambda x: view.folded(x).sum((1, 2, 3))[:, None], lambda _: "")
    if view.heads > 1:
        yield Grouping("head", lambda x: view.folded(x).sum((2, 3)), view.head)
        yield from (view.along(axis) for axis, size in enumerate(shape[:-2]) if 1 < size < view.heads)
    if view.rows > 1 and view.columns > 1:
        yield Grouping("row", lambda x: view.flat(view.folded(x).sum(3)), view.named("row", view.names))
        yield Grouping("column", lambda x: view.flat(view.folded(x).sum(2)), view.named("column", np.arange(shape[-1])))
    for size in BLOCKS:
        if view.rows >= 2 * size:
            yield view.blocks("rows", size, view.names, 3)
        if view.columns >= 2 * size:
            yield view.blocks("columns", size, np.arange(shape[-1]), 2)


class _View:
    """A gradient as heads of rows and columns."""

    def __init__(self, shape: Shape, rows: Array | None, heads: Array | None) -> None:
        self.shape, self.lead = shape, shape[:-2]
        self.rows, self.columns = (1, 1, *shape)[-2:]
        self.heads = math.prod(self.lead)
        self.names: Array = np.arange(self.rows) if rows is None else rows
        self.head_names: Array = np.arange(self.lead[-1] if self.lead else 1) if heads is None else heads

    def folded(self, x: Array) -> Array:
        """As ``(N, heads, rows, columns)``."""
        return np.reshape(x, (len(x), self.heads, self.rows, self.columns))

    @staticmethod
    def flat(x: Array) -> Array:
        """The parts of all heads in a row."""
        return x.reshape(len(x), -1)

    def head(self, number: int) -> str:
        """A head in words; empty where there is one."""
        index = [int(i) for i in np.unravel_index(number, self.lead)] if self.heads > 1 else []
        some = [i for i, size in zip(index, self.lead, strict=False) if size > 1]
        if len(index) == len(AXES) and self.lead[1] > 1:
            return f"head {self.head_names[index[1]]}" + (f" of batch {index[0]}" if self.lead[0] > 1 else "")
        return f"head {', '.join(map(str, some))}" if some else ""

    def _of(self, head: int) -> str:
        return f" of {self.head(head)}" if self.heads > 1 else ""

    def named(self, what: str, names: Array) -> Callable[[int], str]:
        """A row or a column in words, by its number among those of all heads."""
        return lambda i: f"{what} {names[i % len(names)]}{self._of(i // len(names))}"

    def along(self, axis: int) -> Grouping:
        """The parts that one leading axis has."""
        others = tuple(1 + i for i in range(len(self.shape)) if i != axis)
        kind = AXES[axis] if len(self.lead) == len(AXES) else f"axis {axis}"
        place = f"{kind} {{}} of all batches" if kind == "head" else f"{kind} {{}}"
        return Grouping(kind, lambda x: np.reshape(x, (len(x), *self.shape)).sum(others), place.format)

    def blocks(self, what: str, size: int, names: Array, summed: int) -> Grouping:
        """Blocks of rows or of columns; ``summed`` is the other axis."""
        starts = np.unique(np.searchsorted(names, np.arange(0, int(names[-1]) + 1, size)))
        ends = np.append(starts[1:], len(names)) - 1

        def place(i: int) -> str:
            head, block = divmod(i, len(starts))
            return f"{what} {names[starts[block]]} to {names[ends[block]]}{self._of(head)}"

        return Grouping(
            "block", lambda x: self.flat(np.add.reduceat(self.folded(x).sum(summed), starts, axis=2)), place
        )


def entry_of(flat: int, shape: Shape, rows: Array | None = None, heads: Array | None = None) -> str:
    """An entry in brackets; a number without axes has none.

    >>> entry_of(5, (2, 3)), entry_of(0, ())
    ('[1, 2]', '')
    """
    index = [int(i) for i in np.unravel_index(flat, shape)] if shape else []
    if rows is not None and len(index) > 1:
        index[-2] = int(rows[index[-2]])
    if heads is not None and len(index) == len(AXES) + 2:
        index[1] = int(heads[index[1]])
    return str(index) if index else ""

"""What an array consists of while it is written to: for each entry the step that it comes from, and its place there.

NumPy's arrays change in place and share their memory with views; a graph has values that never change. A
:class:`Storage` stands between the two: a write only notes where the new entries come from, and the graph's own nodes
are made when somebody reads.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from verify.ops import Shape

Array = NDArray[Any]

KNOWN = -1
"""In place of a step: the entry is a plain number."""


class Entries(NamedTuple):
    """Where some entries come from; three arrays of one shape."""

    steps: Array
    """The step of each entry, or :data:`KNOWN`."""
    positions: Array
    """Which entry of the step it is, the step's entries counted in a row."""
    numbers: Array
    """The entry itself where it is known."""

    @property
    def are_known(self) -> bool:
        """Whether no entry depends on an input."""
        return bool(np.all(self.steps == KNOWN))


def known_entries(numbers: Any) -> Entries:
    """Plain numbers as entries.

    >>> known_entries([1.0, 2.0]).are_known
    True
    """
    array = np.asarray(numbers, dtype=np.float64)
    return Entries(np.full(array.shape, KNOWN), np.zeros(array.shape, dtype=np.int64), array)


class Storage:
    """The memory of one array and of all views of it.

    >>> memory = Storage((3,), numbers=np.zeros(3))
    >>> memory.write(np.array([1]), Entries(np.array([7]), np.array([0]), np.array([0.0])))
    >>> memory.entries(np.arange(3)).steps.tolist(), memory.is_known
    ([-1, 7, -1], False)
    """

    def __init__(self, shape: Shape, whole: int | None = None, numbers: Array | None = None) -> None:
        """Either one step, which has the shape, or plain numbers."""
        self.shape = shape
        self.whole = whole
        """The step that all entries come from, each in its own place; None where they were written apart."""
        self.version = 0
        """Changes whenever an entry does."""
        self.is_known = whole is None
        """Whether no entry was ever written that depends on an input."""
        self._pieces = None if numbers is None else known_entries(np.ravel(numbers))

    def entries(self, places: Array) -> Entries:
        """Where the entries at some places come from, the entries of the storage being counted in a row."""
        if self.whole is not None:
            return Entries(np.full(places.shape, self.whole), places, np.zeros(places.shape))
        assert self._pieces is not None
        return Entries(*(piece[places] for piece in self._pieces))

    def write(self, places: Array, new: Entries) -> None:
        """Other entries at some places; of places that are named twice the last one counts, as with NumPy."""
        if self._pieces is None:
            size = int(np.prod(self.shape, dtype=np.int64))
            self._pieces = Entries(np.full(size, self.whole), np.arange(size), np.zeros(size))
        elif self.version == 0:
            self._pieces = Entries(*(piece.copy() for piece in self._pieces))
        for piece, values in zip(self._pieces, new, strict=True):
            piece[places] = values
        self.whole = None
        self.is_known = self.is_known and new.are_known
        self.version += 1

    def become(self, step: int) -> None:
        """All entries are those of one step that has the storage's shape."""
        self.whole, self._pieces, self.is_known = step, None, False
        self.version += 1

"""What a quick look at a block of random points found: so little that another machine may look, and send it back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from verify.judging.rows import RowKey

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Screening:
    """Of a batch of points those that need a close look, and the largest differences at all others."""

    suspicious: NDArray[Any]
    """Their positions in the batch."""
    largest: Mapping[RowKey, Mapping[tuple[str, str], tuple[float, int, int]]]
    """Variable and quantity -> pair -> the largest difference, the position of its point, and the entry."""
    magnitude: Mapping[RowKey, float]
    """The largest gradient of each variable, by the engine."""

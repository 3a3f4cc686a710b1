"""How much a check could have caught: a row that passes says little where much is allowed.

A proved row is *weak* where more than 1/256 of the gradient is allowed: it passes, but a wrong factor might have too.
Where the gradient is 0 there is no factor to be wrong, and any other answer is rejected: such a row is neither weak nor
strong. So is one whose terms cancel to 0, as far as a narrow enclosure can tell, or to less than any float.
A variable that has weak rows and no strong one was not checked at all, whatever its rows say.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from verify.records import Rows

Array = NDArray[Any]

STRONG = 256.0
"""A strong row allows at most this part of the gradient."""

VANISHING = 2.0**-53
"""An enclosure of 0 that is narrower than this part of what is allowed means 0: terms that cancel leave no exact 0."""

LEAST = 2 * math.ulp(0.0)
"""What is enclosed below this is less than any float, and the enclosure's ends were rounded outwards to floats."""


@dataclass(frozen=True, slots=True)
class Strength:
    """What the proved rows of one variable could have told."""

    proved: int = 0
    weak: int = 0
    strong: int = 0
    power: float = math.nan
    """The smallest relative fault in any entry that is sure to be rejected at some point; NaN if nothing is known."""

    @property
    def is_too_weak(self) -> bool:
        """Whether there are rows that could tell little, and none that could tell more."""
        return self.weak > 0 and self.strong == 0

    @property
    def is_zero(self) -> bool:
        """Whether the gradient was proved to be zero wherever it was proved."""
        return self.proved > 0 and self.weak == self.strong == 0


def strength(rows: Rows, entries: int) -> Strength:
    """The strength of the rows of a variable with so many entries.

    A fault of relative size d turns an answer ``a`` with error ``e`` into ``a (1 + d)``, which is off by at least
    ``d |a| - e``: it is rejected where ``d > (allowed + e) / |a|``, and ``|a|`` is at least ``|truth| - e``. For an
    answer that is wrong already, what is allowed stands for e.

    >>> none = np.zeros(1, dtype=np.int64)
    >>> rows = Rows(none, none, reference=np.array([2.0]), radius=np.zeros(1), allowed=np.array([2e-15]),
    ...             errors={"reverse": np.array([0.0])})
    >>> strength(rows, 1)
    Strength(proved=1, weak=0, strong=1, power=1e-15)
    """
    errors = [column for method, column in rows.errors.items() if method != "central"] or [np.zeros(len(rows))]
    known = np.isfinite(rows.reference) & np.isfinite(rows.radius) & np.isfinite(rows.allowed)
    if rows.errors:  # what was enclosed too widely was held against nobody
        known &= ~np.isnan(np.fmax.reduce(list(rows.errors.values())))
    size, allowed = np.abs(rows.reference[known]), rows.allowed[known]
    error = np.fmax.reduce([np.where(np.isnan(column), 0.0, column)[known] for column in errors])
    error = np.minimum(error, allowed)
    radius = rows.radius[known]
    is_zero = ((size <= radius) & (radius <= VANISHING * allowed)) | (size + radius <= LEAST)
    is_strong = ~is_zero & (allowed <= size / STRONG)
    with np.errstate(all="ignore"):
        ratio = np.where(size > error, (allowed + error) / (size - error), np.inf)
    best = np.full(entries, np.nan)
    np.fmin.at(best, rows.entry[known][~is_zero], ratio[~is_zero])
    power = float(np.fmax.reduce(best)) if entries else math.nan
    weak = int(np.count_nonzero(~is_zero & ~is_strong))
    return Strength(int(np.count_nonzero(known)), weak, int(np.count_nonzero(is_strong)), power)

"""Formats of floats, and how a right program rounds to them: to nearest, or on a grid that chance has shifted.

The second is a *function of the number's digits*, as rounding is: equal numbers get equal errors, numbers in one cell
of the grid get errors that go together, a sign changes the sign of the error, and a power of two its size. What differs
from run to run is where in each cell the grid lies, so that each error is uniform over half a unit to both sides.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


@dataclass(frozen=True, slots=True)
class Format:
    """A format of floats: so many digits, and a smallest and a largest exponent."""

    name: str
    digits: int
    """Binary digits of a number, the leading one included."""
    least: int
    """Exponent of the smallest normal number."""
    largest: float

    @property
    def unit(self) -> float:
        """From 1 to the next number; an error of rounding is half of it at most.

        >>> FORMATS["bfloat16"].unit
        0.0078125
        """
        return 2.0 ** (1 - self.digits)

    def spacing(self, x: Any) -> Array:
        """From each number to the next.

        >>> FORMATS["bfloat16"].spacing(np.array([1.0, 5.0])).tolist()
        [0.0078125, 0.03125]
        """
        _, exponent = np.frexp(np.asarray(x, dtype=np.float64))
        return np.asarray(np.ldexp(1.0, np.maximum(exponent - 1, self.least) + 1 - self.digits))

    def nearest(self, x: Any) -> Array:
        """The nearest number of the format, ties to even, in float64; infinite beyond its range.

        >>> FORMATS["bfloat16"].nearest(np.array([1.003, 1.005])).tolist()
        [1.0, 1.0078125]
        """
        wide = np.asarray(x, dtype=np.float64)
        with np.errstate(invalid="ignore", over="ignore"):
            spacing = self.spacing(wide)
            found = np.where(np.isfinite(wide), np.rint(wide / spacing) * spacing, wide)
        return np.where(np.abs(found) > self.largest, np.copysign(np.inf, wide), found)

    def shifted(self, x: Any, keys: Array) -> Any:
        """The nearest number on a grid that is shifted in each cell by chance; ``keys`` has one seed for each run.

        ``x`` is ``(runs, ...)``, or ``(1, ...)`` where all runs have the same. What the format holds stays as it is.

        >>> x = np.full((2, 3), [1.0, 1.001, -1.001], dtype=np.float32)
        >>> y = FORMATS["bfloat16"].shifted(x, np.array([1, 2], dtype=np.uint32))
        >>> bool((y[:, 0] == 1).all() and (y[:, 1] == -y[:, 2]).all()), bool(np.abs(y - x).max() <= 2**-8)
        (True, True)
        """
        runs = len(keys)
        if len(x) != runs:
            x = np.broadcast_to(x, (runs, *x.shape[1:]))
        word: Any
        word, explicit = (np.uint32, 23) if x.dtype == np.float32 else (np.uint64, 52)
        bits: Any = np.ascontiguousarray(x).view(word)
        dropped = word(explicit + 1 - self.digits)
        rest = word((1 << int(dropped)) - 1)
        key = keys.astype(word).reshape(-1, *(1,) * (x.ndim - 1))
        # The cell of a number is what the format keeps of its digits; a sign and an exponent are no part of it.
        phase = (bits >> dropped) & word((1 << (self.digits - 1)) - 1)
        phase = _scrambled(phase, key) & rest
        moved = ((bits + phase + (rest >> word(1)) + word(1)) & ~rest) - phase
        found = np.where(bits & rest == 0, bits, moved).view(x.dtype)
        smallest = 2.0**self.least
        tiny = (np.abs(x) < smallest) & (x != 0)
        if self.least > np.finfo(x.dtype).minexp and np.any(tiny):
            found = np.where(tiny, self._below(x, key), found)
        beyond = np.abs(found) > self.largest
        return np.where(beyond, np.copysign(np.inf, x), found) if np.any(beyond) else found

    def _below(self, x: Array, key: Array) -> Array:
        """The same for numbers below the normal ones, whose spacing is one for all."""
        step = x.dtype.type(2.0 ** (self.least + 1 - self.digits))
        places = np.abs(x) / step
        cell = np.minimum(np.floor(places), 2.0**24)  # larger ones are no business of this function
        phase = (_scrambled(cell.astype(key.dtype), key) & key.dtype.type(0xFFFF)) / 65536.0
        moved = np.copysign(np.floor(places + phase + 0.5) - phase, x) * step
        return np.where(places == cell, x, moved).astype(x.dtype)


def _scrambled(cell: Array, key: Array) -> Array:
    """A number without any pattern for each cell and key (the finaliser of a hash of the multiply and shift kind)."""
    word = cell.dtype.type
    one, two = (0x9E3779B1, 0x85EBCA6B) if word is np.uint32 else (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9)
    half = word(15 if word is np.uint32 else 31)
    with np.errstate(over="ignore"):
        found = (cell + key) * word(one)
        found ^= found >> half
        found *= word(two)
        found ^= found >> half
    return np.asarray(found)


FORMATS: Mapping[str, Format] = {
    "bfloat16": Format("bfloat16", 8, -126, float(2.0**127 * (2 - 2.0**-7))),
    "float16": Format("float16", 11, -14, 65504.0),
    "float32": Format("float32", 24, -126, float(np.finfo(np.float32).max)),
}
"""The formats that kernels compute in, by name."""

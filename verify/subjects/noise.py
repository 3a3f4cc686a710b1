"""Why an answer is off, as the errors beside it tell: rounding is noise from one point to the next, a fault is smooth.

The last resort for code that cannot be read; it names what is off already, and lets nothing pass.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from verify.graph.derivative import Derivative
from verify.numbers.streams import stream
from verify.subjects.formula import Cause, Excuse
from verify.truth.reference import Enclosures, Reference

Array = NDArray[Any]

NEIGHBOURS = 33
"""Points of the noise test, ..."""

NEARBY = 0.01
"""... which lie within this part of the point itself."""

ALONE = 1000.0
"""Times the largest error of its neighbours: rounding does not differ by as much within one per cent."""

NOISE = 0.5
"""Half-way between a smooth error (0) and independent ones (1); see :func:`roughness`."""

MOST_NEIGHBOURHOODS = 2
"""Points of a variable whose neighbours are looked at: the truth is enclosed at each of them, and the errors of one
program are of one kind. Later points are told what was found at these."""

Neighbour = tuple[Enclosures, Derivative]
"""The truth and the answer at one point."""


@dataclass(slots=True)
class Neighbourhoods:
    """The points of one gradient whose neighbours were looked at, and what they said."""

    differentiate: Callable[[Mapping[str, Array], Mapping[str, Array]], Derivative]
    real: Collection[str]
    """The inputs that are moved."""
    _found: dict[str, dict[tuple[bytes, tuple[int, ...]], Excuse]] = field(default_factory=dict)
    """By variable, point and entry."""
    _last: tuple[bytes, Sequence[Neighbour]] = (b"", ())
    """The last point, and its neighbours."""

    def compared(
        self,
        reference: Reference,
        inputs: Mapping[str, Array],
        upstream: Mapping[str, Array],
        name: str,
        entry: tuple[int, ...],
    ) -> Excuse:
        """What the errors of one entry at neighbouring points say."""
        point = point_key(inputs, upstream)
        known, key = self._found.setdefault(name, {}), (point, entry)
        if key not in known and len({other for other, _ in known}) >= MOST_NEIGHBOURHOODS:
            excuse = next(reversed(known.values()))
            return replace(excuse, sentence=f"{excuse.sentence}, at another point" if excuse.sentence else "")
        if key not in known:
            if self._last[0] != point:
                self._last = point, self._neighbours(reference, inputs, upstream)
            known[key] = explained(_errors(self._last[1], name, entry))
        return known[key]

    def _neighbours(
        self, reference: Reference, inputs: Mapping[str, Array], upstream: Mapping[str, Array]
    ) -> list[Neighbour]:
        """The points on a short line through one point."""
        rng = stream(0, "line through a point")
        slopes = {name: rng.uniform(0.5, 1.0, x.shape[1:]) for name, x in inputs.items()}
        found = []
        for t in np.linspace(-NEARBY, NEARBY, NEIGHBOURS):
            moved = {k: (x * (1 + t * slopes[k])).astype(x.dtype) if k in self.real else x for k, x in inputs.items()}
            # One road is enough for a look at how errors change.
            known = reference.enclose(moved, upstream, taylor_only=True)
            found.append((known, self.differentiate(moved, upstream)))
        return found


def _errors(neighbours: Sequence[Neighbour], name: str, entry: tuple[int, ...]) -> list[float]:
    """The errors of one entry, in units of the gradient; NaN where they cannot be told.

    Not relative ones: near a root of the gradient those of a smooth fault look like noise.
    """
    errors = []
    for known, answer in neighbours:
        truth = known.gradient(name, entry)
        if truth.reason:
            return [math.nan]
        errors.append(float(answer.gradients[name][(0, *entry)]) - truth.midpoint)
    return errors


def explained(errors: Sequence[float]) -> Excuse:
    """What the errors along a line say of the one in the middle.

    >>> explained([1e-9] * 33).cause.name, explained([0.0]).cause.name
    ('SMOOTH', 'NOT_COMPARED')
    """
    rough = roughness(errors)
    if rough is None:
        return Excuse(Cause.NOT_COMPARED, Cause.NOT_COMPARED.value)
    if is_alone(errors):
        return Excuse(Cause.ALONE, f"{Cause.ALONE.value}, not at its neighbours")
    cause = Cause.NOISE if rough > NOISE else Cause.SMOOTH
    return Excuse(cause, f"{cause.value} ({rough:.2f} of 1)")


def point_key(inputs: Mapping[str, Array], upstream: Mapping[str, Array]) -> bytes:
    """What tells one point from another.

    >>> point_key({"x": np.zeros(1)}, {}) == point_key({"x": np.ones(1)}, {})
    False
    """
    return b"".join(np.asarray(x).tobytes() for x in (*inputs.values(), *upstream.values()))


def is_alone(errors: Sequence[float]) -> bool:
    """Whether the error in the middle is of another kind than those of its neighbours, which are rounding at most.

    >>> is_alone([1e-16, -2e-16, 0.5, 1e-16, 0.0]), is_alone([3e-9, -2e-9, 5e-9, 1e-9, 4e-9])
    (True, False)
    """
    middle = len(errors) // 2
    others = np.abs(np.delete(np.asarray(errors, dtype=np.float64), middle))
    return abs(errors[middle]) > ALONE * float(np.max(others, initial=0.0))


def roughness(errors: Sequence[float]) -> float | None:
    """The root mean square of second differences, over sqrt(6) times that of the errors themselves.

    Independent errors of any distribution with mean 0 give 1, since the weights 1, -2, 1 have squares that add up to 6;
    a smooth error gives nearly 0. None where there is no error, or one that is not finite.

    >>> roughness([1e-8] * 33), round(roughness([(-1) ** (k // 2) * 1e-16 for k in range(33)]), 1)
    (0.0, 0.8)
    """
    array = np.asarray(errors, dtype=np.float64)
    if not np.all(np.isfinite(array)) or not np.any(array):
        return None
    array = array / np.abs(array).max()
    return float(np.sqrt(np.mean(np.diff(array, 2) ** 2) / (6 * np.mean(array**2))))

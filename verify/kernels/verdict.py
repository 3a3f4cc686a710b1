"""From errors to a verdict: each part's error along the truth, and its size, in units of the noise of a right program.

All limits come from the runs of the noise model and one rate of false alarms, before the kernel's answer is looked at.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from verify.kernels.formats import Format
from verify.kernels.groups import Grouping, entry_of, groupings

Array = NDArray[Any]

FALSE_ALARMS = 1e-5
"""How many right gradients may be rejected: shared by all the parts of one that are looked at."""

SYSTEMATIC = 2.0**-21
"""Relative error that float32 may make everywhere alike: a constant, an exponential of a fast library."""

SLACK = 1.5
"""Times the noise of its policy that a kernel may have: policies leave open what a program does besides."""

EVEN = 2.0
"""Times the noise in the middle of the rows that no part may exceed where noise is alike everywhere."""

MOST_NOISE = 4.0
"""Times the noise of the loosest policy from which on errors are no noise."""

SURE = 4.0
"""Standard deviations beyond a limit at which a fault is sure to be rejected."""

LEAST_LIMIT = 8.0
"""Standard deviations of one entry, whose error is no sum, that are always allowed."""

NEGLIGIBLE = 2.0**-11
"""Part of a tensor's size, in units of the format, below which an error is none: what is computed to be 0 may come out
as the difference of two numbers of float32."""

LEAST_LEVEL, LEAST_SPREAD = math.log(0.5), 0.05
"""Logarithms of a mean square error, in units of the noise, below which no part is held to its own level."""


@dataclass(frozen=True, slots=True)
class Deviation:
    """What is off in one part of a gradient."""

    kind: str
    """The kind of the part, or ``entry``."""
    place: str
    what: str
    """``factor``, ``noise`` or ``entry``; ``sure`` where it takes no noise to tell: ``said`` has it in words."""
    sigmas: float
    """In standard deviations of a right program's noise."""
    limit: float
    factor: float = math.nan
    """Times the right one along the truth."""
    explained: float = 0.0
    """How much of the squared error, in units of the noise, it accounts for."""
    count: int = 1
    """Entries of the part."""
    said: str = ""

    @property
    def excess(self) -> float:
        """Times its limit."""
        return self.sigmas / self.limit


@dataclass(frozen=True, slots=True)
class Look:
    """What the noise model of one policy says of one gradient."""

    deviations: tuple[Deviation, ...]
    """Those beyond their limits, the worst first; empty where the policy is kept."""
    noise: float
    """Times the noise of the policy that the kernel has, in the middle of its rows."""
    nearest_limit: float
    """The largest deviation as a part of its limit: above 1 where the policy is broken."""
    power: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    """Kind of part -> the smallest relative fault that is sure to be rejected in half of them, and in any of them."""

    @property
    def is_factor(self) -> bool:
        """Whether one part times a factor accounts for much of what is off: that is no noise."""
        return bool(self.deviations) and self.deviations[0].what == "factor"

    @property
    def is_even_noise(self) -> bool:
        """Whether all that is off is more noise, alike everywhere and not beyond belief."""
        parts = [d.factor for d in self.deviations if d.what == "noise"]
        is_noise = all(d.what == "noise" or (d.what == "entry" and d.sigmas < math.inf) for d in self.deviations)
        return bool(parts) and is_noise and max(parts) < EVEN * self.noise and self.noise < MOST_NOISE


@dataclass(frozen=True, slots=True)
class _Part:
    """A grouping with what noise makes of it."""

    grouping: Grouping
    size: Array
    """Sum of squares of the truth, in units of the noise, for each part."""
    spread: Array
    """Standard deviation of the factor of a right program, for each part."""
    level: Array
    """Mean logarithm of the mean square of its errors, for each part."""
    level_spread: Array
    count: Array
    tail: float
    """The largest factor that right programs had, in standard deviations; infinite where too few were seen."""

    def limit(self, student: float) -> float:
        """Standard deviations that a factor may have: noise that is bounded, as of one stored number, needs fewer."""
        return min(student, TAIL * self.tail + BEYOND_TAIL)


class NoiseModel:
    """The noise of one gradient under one policy, from the errors of right programs."""

    def __init__(
        self, truth: Array, runs: Array, own: Format, rows: Array | None = None, heads: Array | None = None
    ) -> None:
        """``truth`` has the gradient's shape, ``runs`` is ``(runs, *shape)``."""
        self.truth, self.rows, self.heads, self.shape = truth, rows, heads, truth.shape
        self.runs = len(runs)
        errors = runs.astype(np.float64) - truth
        self.scale = float(np.sqrt(np.mean(np.square(truth)))) if truth.size else 0.0
        self.broken = not np.all(np.isfinite(errors))
        if self.broken:
            return
        self.variance = _smooth(np.mean(np.square(errors), axis=0), truth, own, self.scale)
        self.weights = truth / self.variance
        self.parts = [self._part(grouping, errors) for grouping in groupings(self.shape, rows, heads)]
        tests = sum(2 * len(part.size) for part in self.parts)
        self.limit = student_limit(FALSE_ALARMS / max(1, tests), self.runs)
        largest = float(np.max(np.abs(errors) / np.sqrt(self.variance), initial=0.0))
        self.entry_limit = max(LEAST_LIMIT, SLACK * largest)
        self.middle = float(np.median([self._row_level(e[None]) for e in errors[:8]]))

    def _part(self, grouping: Grouping, errors: Array) -> _Part:
        size = grouping.added((self.truth * self.weights)[None])[0]
        count = grouping.added(np.ones((1, *self.shape)))[0]
        along = grouping.added(errors * self.weights)
        factors = np.divide(along, size, out=np.zeros_like(along), where=size > 0)
        spread = _shrunk(
            np.mean(np.square(factors), axis=0), np.divide(1.0, size, out=np.zeros_like(size), where=size > 0)
        )
        with np.errstate(divide="ignore"):
            levels = np.log(grouping.added(np.square(errors) / self.variance) / count + TINY)
        mean = np.maximum(levels.mean(axis=0), LEAST_LEVEL)
        level_spread = np.maximum(_shrunk(levels.var(axis=0), 2.0 / count), LEAST_SPREAD)
        seen = np.divide(np.abs(factors), spread, out=np.zeros_like(factors), where=spread > 0)
        tail = float(seen.max()) if np.count_nonzero(seen) >= MANY else math.inf
        return _Part(grouping, size, spread, mean, level_spread, count, tail)

    def _row_level(self, errors: Array) -> float:
        """The mean square of errors in units of the noise, in the middle of the rows."""
        width = self.shape[-1] if len(self.shape) > 1 else max(1, math.prod(self.shape))
        levels = np.mean((np.square(errors) / self.variance).reshape(-1, width), axis=1)
        some = levels[levels > 0]
        return float(np.median(some)) if some.size else 0.0

    def noise_of(self, answer: Array) -> float:
        """Times the noise of the policy that an answer has, in the middle of its rows, whatever its factor."""
        e = answer - self.truth
        size = float(np.sum(self.truth * self.weights))
        factor = float(np.sum(e * self.weights)) / size if size else 0.0
        return math.sqrt(self._row_level((e - factor * self.truth)[None]) / max(self.middle, 1e-30))

    def look(self, answer: Array) -> Look:
        """Holds an answer against the model."""
        bad = ~np.isfinite(answer)
        if np.any(bad):
            flat = int(np.flatnonzero(bad.ravel())[0])
            place = entry_of(flat, self.shape, self.rows, self.heads)
            many = int(np.count_nonzero(bad))
            seen = Deviation("entry", place, "sure", math.inf, 1.0, said=f"not finite ({many} entries)")
            return Look((seen,), math.inf, math.inf)
        e = answer - self.truth
        noise = self.noise_of(answer)
        wider = min(max(1.0, noise), SLACK)
        found: list[Deviation] = []
        nearest = [0.0]
        power: dict[str, tuple[float, float]] = {}
        for part in self.parts:
            kind, limit = part.grouping.kind, part.limit(self.limit)
            some = part.size > 0
            spread = np.hypot(part.spread * wider, SYSTEMATIC / limit)
            factor = np.divide(
                part.grouping.added((e * self.weights)[None])[0], part.size, out=np.zeros_like(part.size), where=some
            )
            sigmas = np.where(some, np.abs(factor) / spread, 0.0)
            nearest.append(float(np.max(sigmas, initial=0.0)) / limit)
            energy = part.grouping.added((np.square(e) / self.variance)[None])[0]
            found += [
                Deviation(
                    kind, part.grouping.place(i), "factor", float(sigmas[i]), limit, 1 + float(factor[i]),
                    float(factor[i] ** 2 * part.size[i]), int(part.count[i]),
                )
                for i in _worst(sigmas, limit)
            ]  # fmt: skip
            sure = (limit + SURE) * spread[some]
            if sure.size:
                now = power.get(kind, (0.0, 0.0))
                power[kind] = (max(now[0], float(np.median(sure))), max(now[1], float(sure.max())))
            above = (np.log(energy / part.count + TINY) - part.level - 2 * math.log(SLACK)) / part.level_spread
            found += [
                Deviation(
                    kind, part.grouping.place(i), "noise", float(above[i]), self.limit,
                    math.sqrt((energy[i] / part.count[i] + TINY) / math.exp(part.level[i])),
                    float(energy[i] - part.count[i] * math.exp(part.level[i])), int(part.count[i]),
                )
                for i in _worst(above, self.limit)
            ]  # fmt: skip
            nearest.append(float(np.max(above, initial=0.0)) / self.limit)
        entries = np.abs(e) / np.sqrt(self.variance)
        limit = self.entry_limit * wider
        found += [
            Deviation(
                "entry", entry_of(i, self.shape, self.rows, self.heads), "entry", float(entries.flat[i]), limit,
                _ratio(answer, self.truth, i), float(entries.flat[i]) ** 2,
            )
            for i in _worst(entries.ravel(), limit)
        ]  # fmt: skip
        nearest.append(float(np.max(entries, initial=0.0)) / limit)
        return Look(_most_telling(found), noise, max(nearest), power)


def _most_telling(found: Sequence[Deviation]) -> tuple[Deviation, ...]:
    """First a factor, or an entry, that accounts for much of the error, else the smallest part that is too noisy."""
    whole = max((d.explained for d in found), default=0.0)
    plain = [d for d in found if d.what != "noise" and d.explained >= MUCH * whole] or found
    most = MOST * max((d.explained for d in plain), default=0.0)
    best = min(plain, key=lambda d: (d.explained < most, d.count, d.what == "entry"), default=None)
    return tuple(sorted(found, key=lambda d: (d is not best, -d.excess)))


MUCH = 0.4
"""Part of the error that a factor has to account for, to be named in the place of more noise."""

TINY = 1e-30

MANY, TAIL, BEYOND_TAIL = 500, 1.5, 2.0
"""Factors of right programs from which on the largest says how far they reach: no farther than so many times it, and so
many standard deviations more."""

MOST = 0.7
"""Part of what the best explanation accounts for, from which on a smaller part is named."""


def _ratio(answer: Array, truth: Array, flat: int) -> float:
    return float(answer.flat[flat] / truth.flat[flat]) if truth.flat[flat] else math.nan


def _worst(sigmas: Array, limit: float) -> Sequence[int]:
    """The part that is farthest beyond a limit, as a list of one; empty where none is."""
    if not sigmas.size:
        return []
    i = int(np.argmax(sigmas))
    return [i] if sigmas[i] > limit else []


def _smooth(seen: Array, truth: Array, own: Format, scale: float) -> Array:
    """The variance of each entry's error: that of storing it, and the rest as its row and its column have it.

    Smooth, since what runs say of a single entry is uncertain itself; no less than they say, since one entry may be
    much worse conditioned than its neighbours.
    """
    storing = np.square(own.spacing(truth)) / 12 * (truth != 0)
    rest = np.maximum(seen - storing, 0.0)
    if rest.ndim > 1:
        rows, columns = rest.mean(axis=-1, keepdims=True), rest.mean(axis=-2, keepdims=True)
        whole = rows.mean(axis=-2, keepdims=True)
        rest = np.divide(rows * columns, whole, out=np.zeros_like(rest), where=whole > 0)
    else:
        rest = np.full_like(rest, rest.mean()) if rest.size else rest
    return np.asarray(np.maximum(storing + rest, seen) + (NEGLIGIBLE * own.unit * scale) ** 2 + TINY)


def _shrunk(seen: Array, expected: Array) -> Array:
    """Standard deviations from variances that some runs gave, drawn to what is expected times what all parts have.

    Few runs leave the variance of a single part uncertain; parts of one kind lend each other theirs.
    """
    some = expected > 0
    if np.count_nonzero(some) < MOST_ALONE:
        return np.sqrt(seen)
    ratio = float(np.mean(seen[some] / expected[some]))
    return np.sqrt(np.maximum(seen, (seen + ratio * expected) / 2))


MOST_ALONE = 4
"""Parts of one kind from which on they lend each other their variance."""


def student_limit(rate: float, runs: int) -> float:
    """Standard deviations, estimated from so many runs, that a right program exceeds at that rate on either side.

    >>> round(student_limit(1e-6, 32), 1), round(student_limit(1e-6, 10**6), 1)
    (6.0, 4.9)
    """
    from scipy.special import stdtrit

    return float(-stdtrit(runs, rate / 2))

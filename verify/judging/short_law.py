"""What eight values of a function say of a claimed slope, where they say it beyond doubt; else the step law is asked.

Three central differences are extrapolated twice, and their differences say how far the result may be off; what floats
do is granted on top. A claim is settled only if it agrees within that, if that is a small part of the claim itself, and
if nothing speaks against a smooth function: the one-sided slopes must meet as the step falls, and a step that is far
smaller than the others must say the same. Everything else, a wrong claim above all, is left to
:mod:`verify.judging.step_law`, which takes some hundred values.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from verify.judging.step_law import DEVIATIONS, DOUBT, LARGEST, ROUNDED_TERMS, scales

DEFINITE = 16.0
"""Times the uncertainty: a claim that is further away is wrong, as far as a short law can tell."""

KNOWN = 1e-3
"""Part of the slope that may be uncertain for a claim to be called wrong."""


@dataclass(frozen=True, slots=True)
class Ladder:
    """Steps to look at, as powers of two, and how certain a slope must be."""

    halvings: tuple[int, int, int]
    """The steps are the variable's size times two to minus these."""
    small: int
    """A much smaller step, which sees what the others step over."""
    certain: float
    """The largest uncertainty of a slope that settles a claim, as a part of the claim."""


FINE = Ladder((7, 10, 13), 26, 1e-7)
"""For values that are exact to double precision: truncation and rounding meet at about 1e-12, ..."""

MIDDLE = Ladder((4, 6, 8), 20, 1e-6)
"""... for values with some noise, ..."""

COARSE = Ladder((2, 4, 6), 11, 1e-3)
"""... and for single precision, or what is as noisy."""


def ladder_for(noise: float) -> Ladder:
    """The steps for a noise, which is a part of the size of the values.

    >>> ladder_for(2.0**-53) is FINE, ladder_for(2.0**-24) is COARSE
    (True, True)
    """
    return FINE if noise < 2.0**-38 else MIDDLE if noise < 2.0**-30 else COARSE


@dataclass(frozen=True, slots=True)
class ShortLaw:
    """What was measured, and whether it settles the claim."""

    claimed: float
    estimate: float
    """The slope; NaN where the function has no value at some step."""
    uncertainty: float
    smooth: bool
    """Whether all steps tell of one slope."""
    agrees: bool
    """The claim is right."""

    @property
    def disagrees(self) -> bool:
        """Whether the claim is wrong, as far as so few values can tell."""
        gap = abs(self.claimed - self.estimate)
        size = max(abs(self.claimed), abs(self.estimate))
        return self.smooth and not gap <= DEFINITE * self.uncertainty and self.uncertainty <= KNOWN * size


def short_law(function: Callable[[Any], float], x: Any, claimed: float, noise: float, ladder: Ladder) -> ShortLaw:
    """Holds a claimed slope against a few central differences.

    ``noise`` is how far a value of the function may be off. The function answers NaN where it has no value.

    >>> import numpy as np
    >>> noise = 3 * 2.0**-53
    >>> short_law(math.exp, np.float64(1.0), math.exp(1.0), noise, FINE).agrees
    True
    >>> short_law(math.exp, np.float64(1.0), math.exp(1.0) * (1 + 1e-9), noise, FINE).agrees
    False
    >>> bool(short_law(lambda x: max(x, 0.0), np.float64(0.0), 0.5, noise, FINE).agrees)
    False
    """
    scale = scales(x)[0]
    middle = function(x)
    rungs = [_rung(function, x, middle, scale * 2.0**-bits) for bits in (*ladder.halvings, ladder.small)]
    if not all(math.isfinite(rung.central) for rung in rungs):
        return ShortLaw(claimed, math.nan, math.inf, smooth=False, agrees=False)
    if claimed == 0 and all(rung.is_flat for rung in rungs):
        agrees = _rung(function, x, middle, scale * 2.0**LARGEST).is_flat
        return ShortLaw(claimed, 0.0, 0.0, smooth=agrees, agrees=agrees)
    one, two, three, small = rungs
    ratio = 4.0 ** (ladder.halvings[1] - ladder.halvings[0])
    coarse, fine = (b.central + (b.central - a.central) / (ratio - 1) for a, b in ((one, two), (two, three)))
    slope = fine + (fine - coarse) / (ratio**2 - 1)
    rounded = ROUNDED_TERMS * 2.0**-53 * (abs(one.central) + abs(one.split))
    uncertainty = DOUBT * abs(slope - coarse) + DEVIATIONS * noise / three.step + rounded
    at_once = DEVIATIONS * noise / small.step
    # The sides part by the second derivative times the step; what does not shrink with the step is a kink.
    kink = abs(three.split - two.split / math.sqrt(ratio))
    smooth = kink <= ladder.certain * abs(slope) + 2 * DEVIATIONS * noise / three.step and (
        abs(small.central - slope) <= uncertainty + at_once
    )
    sure = uncertainty <= ladder.certain * abs(claimed) and abs(claimed - slope) <= uncertainty
    return ShortLaw(claimed, slope, uncertainty, smooth=smooth, agrees=smooth and sure)


@dataclass(frozen=True, slots=True)
class _Rung:
    """One step: its central difference, and how much steeper the function is above than below."""

    step: float
    central: float
    split: float
    is_flat: bool


def _rung(function: Callable[[Any], float], x: Any, middle: float, step: float) -> _Rung:
    kind = type(x)
    high, low = kind(x + kind(step)), kind(x - kind(step))
    up, down, above, below = function(high), function(low), float(high) - float(x), float(x) - float(low)
    if not (above > 0 and below > 0):
        return _Rung(step, math.nan, math.nan, is_flat=False)
    split = (up - middle) / above - (middle - down) / below
    return _Rung(step, (up - down) / (above + below), split, is_flat=up == middle == down)

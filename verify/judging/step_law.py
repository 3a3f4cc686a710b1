"""The step law: what central differences over 25 steps say of a claimed slope, where no expression is known.

A central difference of a smooth function is off by ``c h**2 + noise / h``: over the steps its error makes a V. Held
against a wrong slope the error stops falling and stays on a plateau; at a kink the one-sided quotients split.

*Noise* is measured, not assumed: by the difference tables of Moré and Wild ("Estimating Computational Noise", SIAM J.
Sci. Comput. 33, 2011), at neighbours of the point in several spacings, and by how much the quotients of smaller steps
scatter; it is never taken for less than the rounding of the values themselves. *Truncation* is removed by Richardson
extrapolation and estimated from the neighbours in the same table, as in Ridders' method ("Accurate computation of
F'(x) and F'(x)F''(x)", Adv. Eng. Softw. 4, 1982). The uncertainty of an estimate is twice the largest of those
differences, and four standard deviations of the noise. An estimate that smaller steps contradict with one voice is
dropped: they see something that the larger ones step over. Of the others that with the smallest uncertainty is taken.

A function that is exact only to a tolerance (a series that is cut off, an iteration that stops, a solver with steps of
its own) is smooth in pieces that do not quite meet. Before a claim is said to be wrong, such jumps are looked for
beside the point, and what they leave open accuses nobody.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Verdict = Literal["right", "inexact", "noise", "truncation", "wrong", "kink", "undecided"]
Function = Callable[[Any], Any]

STEPS = 25
"""How many steps are tried."""

LARGEST = 1
"""The largest step is two to this power, in units of the variable's size."""

MOST_EXTRAPOLATED = 3
"""Columns of the table of extrapolations beyond the quotients themselves."""

DEVIATIONS = 4.0
"""Standard deviations of noise that an uncertainty grants."""

DOUBT = 2.0
"""How often an uncertainty grants the largest difference to the neighbours in the table."""

COHERENT = 4.0
"""Three steps speak with one voice where they are that much closer to each other than to what they contradict."""

SMALL = 0.25
"""Below this size of the variable both its own size and 1 are scales on which the function may change."""

NEIGHBORS = 9
"""Points of one difference table."""


SPACINGS_APART = 4
"""Powers of two between the spacings of two tables."""

SMALL_JUMP = 1e-4
"""The largest jump that counts as a function's inaccuracy, as a part of how much its values change beside it."""

JUMPS_ALIKE = 8.0
"""A jump is as high whatever the spacing at which it is met, within this factor; a smooth bend is not."""

LONG_TABLE, MOST_ORDERS = 33, 10
"""Points of a table that is searched for jumps, and the order of its last differences."""

STEEP = 8.0
"""How much steeper the error of such a function may be than the height of its jumps over the distance between them."""

MOST_OPEN = 1e-2
"""Part of the slope that small jumps cannot leave open."""

ROUNDING_JUMPS = 32.0
"""Units of roundoff below which what looks like a jump is rounding."""

SMALL_NOISE = 1e-2
"""Noise is no more than this part of how much the function changes; a fast wave is more."""

ROUNDED_TERMS = 8.0
"""Units of roundoff, of the function's steepness, by which a right slope may be off."""

SEEN_DIGITS = 1e-3
"""Part of the slope that must be certain for a claim to pass though the function jumps."""

FACTOR_SHOWN = 1e-3
"""A claim is said to be a multiple of the slope where the factor differs by that much from 1."""

SETTLED = 1e-3
"""Part of how steep a function is beside an end that the slope there may be uncertain by."""

OFF_THE_GRID = 0.7236
"""A spacing that is no power of two: steps of a staircase are then met at uneven heights."""


@dataclass(frozen=True, slots=True)
class Law:
    """What was measured over the steps, and what follows from it."""

    x: float
    claimed: float
    """The slope that is examined; like all slopes in units of the function over units of x."""
    steps: Array
    """``(25,)``, falling."""
    quotients: Array
    """``(25,)``, the central differences; NaN where the function has no value."""
    errors: Array
    """``(25,)``, how far they are from the claim."""
    above: Array
    """``(25,)``, the one-sided quotients towards larger x."""
    below: Array
    """``(25,)``, those towards smaller x."""
    noise: Array
    """``(25,)``, the standard deviation of the function's noise at the scale of each step, in units of the function."""
    estimate: float
    """The slope by extrapolation; NaN where there is none."""
    uncertainty: float
    """How far the slope may be from the estimate."""
    split: float
    """How much steeper the function is above than below, where it has a kink; else 0."""
    verdict: Verdict
    sentence: str
    """The verdict in words."""

    @property
    def accuses(self) -> bool:
        """Whether the claim is shown to be wrong."""
        return self.verdict == "wrong"


def step_law(function: Function, x: Any, claimed: float, noise: float = 0.0) -> Law:
    """Holds a claimed slope of a function of one number against its central differences.

    ``x`` is a NumPy float64 or float32 (a Python float counts as float64), and the function is called with such
    numbers. What is not finite, and an exception, mean that it has no value there. ``noise`` is what the function's
    values are known to be off by, in its own units; more may be measured.

    >>> step_law(np.exp, 1.0, float(np.exp(1.0))).verdict
    'right'
    >>> print(step_law(np.exp, 1.0, 2 * float(np.exp(1.0))).sentence)
    wrong: the claim 5.43656 is 2 times the slope 2.71828, whatever the step
    """
    sampled = _Sampled(function, np.float64(x) if not isinstance(x, np.float32) else x, noise)
    ladders = [_Ladder(sampled, scale) for scale in scales(sampled.x)]
    _pass_on_noise(ladders)
    central = _best(ladders, "central")
    ladder = central.ladder if central else ladders[0]
    above, below = _best(ladders, "above"), _best(ladders, "below")
    sides = _sides_of_kink(below, above)
    claimed = float(claimed)
    verdict, sentence = _judged(sampled, ladders, central, (below, above), claimed)
    return Law(
        x=float(sampled.x),
        claimed=claimed,
        steps=ladder.steps,
        quotients=ladder.central,
        errors=np.abs(ladder.central - claimed),
        above=ladder.above,
        below=ladder.below,
        noise=ladder.noise,
        estimate=central.slope if central else math.nan,
        uncertainty=central.uncertainty if central else math.inf,
        split=sides[1].slope - sides[0].slope if sides else 0.0,
        verdict=verdict,
        sentence=f"{verdict}: {sentence}",
    )


def step_sizes(dtype: np.dtype[Any], scale: float) -> Array:
    """The steps that are tried, falling: powers of two from twice the scale down to a few units of its last place.

    >>> sizes = step_sizes(np.dtype(np.float64), 1.0)
    >>> float(sizes[0]), float(sizes[1]), sizes[-1] == 2.0**-47
    (2.0, 0.5, np.True_)
    """
    spacing = 2 if dtype == np.float64 else 1
    with np.errstate(over="ignore"):  # an infinite step leads nowhere, and counts as one without a value
        sizes: Array = scale * 2.0 ** (LARGEST - spacing * np.arange(STEPS))
    return sizes


def scales(x: Any) -> list[float]:
    """Powers of two that may be the variable's size: 1 and its own where it is small, else its own.

    >>> scales(3.0), scales(0.0), scales(0.125)
    ([2.0], [1.0], [1.0, 0.125])
    """
    size = abs(float(x))
    if not math.isfinite(size):
        return [1.0]
    own = [2.0 ** math.floor(math.log2(size))] if size > 0 else []
    return own if size >= SMALL else [1.0, *own]


# ---------------------------------------------------------------------------------------------- what is measured of it


class _Sampled:
    """A function that remembers its values."""

    def __init__(self, function: Function, x: Any, noise: float) -> None:
        self.function, self.x, self.dtype, self.known_noise = function, x, np.dtype(type(x)), noise
        self._known: dict[float, float] = {}

    def at(self, points: Array) -> Array:
        """The values as float64, NaN where there are none."""
        return np.array([self._one(point) for point in points.astype(self.dtype)])

    def _one(self, point: Any) -> float:
        key = float(point)
        if key not in self._known:
            try:
                with np.errstate(all="ignore"):
                    self._known[key] = float(self.function(point)) if math.isfinite(key) else math.nan
            except Exception:  # noqa: BLE001 - math.log(-1.0), 1.0 / 0.0, or whatever else ends where the domain does
                self._known[key] = math.nan
        return self._known[key]

    @property
    def unit_roundoff(self) -> float:
        """Half an ulp of 1 of the values: the coarser dtype unless a value shows that it is finer."""
        values = np.array([*self._known.values()])
        with np.errstate(all="ignore"):
            coarse = self.dtype == np.float32 or bool(np.all((values.astype(np.float32) == values) | np.isnan(values)))
        return 2.0**-24 if coarse and self.dtype == np.float32 else 2.0**-53


class _Ladder:
    """The quotients over 25 steps of one scale, and the noise at the scale of each."""

    def __init__(self, sampled: _Sampled, scale: float) -> None:
        steps = step_sizes(sampled.dtype, scale)
        x = sampled.x
        with np.errstate(all="ignore"):
            self.ratio = float(steps[0] / steps[1])  # at a subnormal point the steps vanish
            high, low = ((x + sign * steps.astype(sampled.dtype)).astype(sampled.dtype) for sign in (1, -1))
            f, up, down = sampled.at(np.array([x]))[0], sampled.at(high), sampled.at(low)
            high, low, middle = high.astype(np.float64), low.astype(np.float64), float(x)
            self.steps = steps
            self.central = _finite((up - down) / (high - low))
            self.above, self.below = _finite((up - f) / (high - middle)), _finite((f - down) / (middle - low))
            size = np.fmax(np.fmax(np.abs(up), np.abs(down)), abs(f))
        self.flat = (up == f) & (down == f)
        """Steps over which the function does not change at all: floats may be too coarse to see it change."""
        least = np.fmax(sampled.known_noise, sampled.unit_roundoff * np.nan_to_num(size))
        found, self.stairs = _noise(sampled, scale, steps)
        self.noise = np.fmax(found, least)
        self.range = float(np.fmax.reduce([*up, *down]) - np.fmin.reduce([*up, *down]))

    def side(self, which: str) -> Array:
        """The quotients ``central``, ``above`` or ``below``."""
        quotients: Array = getattr(self, which)
        return quotients


def _pass_on_noise(ladders: Sequence[_Ladder]) -> None:
    """A flat stretch may be one step of a staircase, as high as the noise that larger steps meet."""
    largest = 0.0
    for ladder in ladders:
        met = np.fmax(np.fmax.accumulate(ladder.noise), largest)
        ladder.noise = np.where(ladder.flat, met, ladder.noise)
        largest = float(met[-1])


def _finite(quotients: Array) -> Array:
    return np.where(np.isfinite(quotients), quotients, np.nan)


def _noise(sampled: _Sampled, scale: float, steps: Array) -> tuple[Array, float]:
    """The noise that difference tables finer than each step find, and what they find alike at two spacings.

    The latter are stairs; what a table makes of a kink is as small as its spacing.
    """
    digits = np.finfo(sampled.dtype).nmant
    offsets = np.arange(NEIGHBORS) - NEIGHBORS // 2
    found, last, stairs = np.zeros(len(steps)), 0.0, 0.0
    for bits in range(digits - 2, digits // 3, -SPACINGS_APART):
        spacing = scale * OFF_THE_GRID * 2.0**-bits
        values = sampled.at(float(sampled.x) + offsets * spacing)
        level = table_noise(values)
        found = np.where(steps >= 4 * spacing, np.fmax(found, level), found)
        if max(level, last) <= JUMPS_ALIKE * min(level, last):
            stairs = max(stairs, min(level, last))
        last = level
    return found, stairs


def table_noise(values: Array) -> float:
    """The standard deviation of the noise in values at equal distances, 0 where none is found.

    The k-th differences of a smooth function vanish quickly with k, those of noise with variance s**2 have the
    variance ``(2k)! / (k!)**2 * s**2``. So noise is found at the first k from which three estimates of s are within a
    factor of four of each other and the differences change sign (Moré and Wild's conditions).

    >>> ripple = np.array([0.3, -1.1, 0.8, 0.2, -0.9, 1.2, -0.4, 0.6, -0.7])
    >>> round(table_noise(5 + 1e-3 * ripple), 6)
    0.001025
    >>> table_noise(np.linspace(0, 1, 9) ** 2)
    0.0
    """
    if not np.all(np.isfinite(values)):
        return 0.0
    differences, levels, signs = values, [], []
    for k in range(1, len(values) - 1):
        differences = np.diff(differences)
        gamma = math.factorial(k) ** 2 / math.factorial(2 * k)
        levels.append(math.sqrt(gamma * float(np.mean(differences**2))))
        signs.append(differences.min() < 0 < differences.max())
    if np.count_nonzero(np.diff(values)) < len(values) // 2:
        return 0.0  # the points are too close to each other for floats to differ
    for k in range(len(levels) - 2):
        three = levels[k : k + 3]
        if signs[k] and max(three) <= 4 * min(three):
            return levels[k]
    return 0.0


# ------------------------------------------------------------------------------------------------- what follows from it


@dataclass(frozen=True, slots=True)
class _Estimate:
    """A slope by extrapolation."""

    ladder: _Ladder
    step: int
    """Which is the smallest step that it uses."""
    slope: float
    truncation: float
    noise: float
    """By what the difference tables found."""
    scatter: float
    """By how smaller steps scatter: noise that the tables did not see, or quotients that never settle."""

    @property
    def size(self) -> float:
        return float(self.ladder.steps[self.step])

    @property
    def uncertainty(self) -> float:
        return self.truncation + max(self.noise, self.scatter)


def _best(ladders: Sequence[_Ladder], which: str) -> _Estimate | None:
    """The estimate with the smallest uncertainty among those that no smaller steps contradict."""
    voices = [voice for ladder in ladders for voice in _voices(ladder, which)]
    found = [estimate for ladder in ladders for estimate in _estimates(ladder, which)]
    found.sort(key=lambda estimate: estimate.uncertainty)
    return next((estimate for estimate in found if not _contradicted(estimate, voices)), None)


@np.errstate(all="ignore")  # what overflows is left out
def _table(ladder: _Ladder, which: str) -> tuple[list[Array], list[Array]]:
    """The extrapolations column by column, and by what each multiplies noise."""
    order = 2 if which == "central" else 1
    columns, gains = [ladder.side(which)], [1.0 / ladder.steps]
    for k in range(1, MOST_EXTRAPOLATED + 1):
        weight = ladder.ratio ** (order * k)
        last, gain = columns[-1], gains[-1]
        columns.append(np.append(np.nan, (weight * last[1:] - last[:-1]) / (weight - 1)))
        gains.append(np.append(np.nan, (weight * gain[1:] + gain[:-1]) / (weight - 1)))
    return columns, gains


@np.errstate(all="ignore")  # what overflows is left out
def _estimates(ladder: _Ladder, which: str) -> Iterator[_Estimate]:
    """Every entry of the table of extrapolations that has neighbours enough to tell how good it is."""
    steps = ladder.steps
    columns, gains = _table(ladder, which)
    scatter = np.append(np.nan, np.abs(np.diff(columns[1]))) * steps
    for k in range(1, MOST_EXTRAPOLATED + 1):
        for i in range(k + 1, len(steps)):
            slope, neighbors = columns[k][i], (columns[k - 1][i], columns[k - 1][i - 1], columns[k][i - 1])
            apart = max(abs(slope - neighbor) for neighbor in neighbors)
            # Steps smaller than those used have less truncation; what still scatters there is noise.
            seen = float(np.nanmax(scatter[i + 1 :], initial=0.0))
            measured = float(ladder.noise[i - k : i + 1].max())
            gain = DEVIATIONS * _SIDES[which] * float(gains[k][i])
            estimate = _Estimate(ladder, i, float(slope), DOUBT * float(apart), gain * measured, gain * seen)
            if math.isfinite(estimate.uncertainty):
                yield estimate


@dataclass(frozen=True, slots=True)
class _Voice:
    """What three consecutive steps say together."""

    largest: float
    """The largest of the steps."""
    low: float
    high: float
    noise: float
    """How far noise may move the quotients."""


def _voices(ladder: _Ladder, which: str) -> Iterator[_Voice]:
    """Three consecutive steps each, over which the function changes."""
    quotients = ladder.side(which)
    for j in range(len(quotients) - 2):
        three = quotients[j : j + 3]
        if np.all(np.isfinite(three)) and not ladder.flat[j : j + 3].any():
            noise = DEVIATIONS * _SIDES[which] * float(np.max(ladder.noise[j : j + 3] / ladder.steps[j : j + 3]))
            yield _Voice(float(ladder.steps[j]), float(three.min()), float(three.max()), noise)


def _contradicted(estimate: _Estimate, voices: Sequence[_Voice]) -> bool:
    """Whether three smaller steps agree on something else, and not by noise."""
    for voice in voices:
        away = max(voice.low - estimate.slope, estimate.slope - voice.high)
        apart = max(COHERENT * (voice.high - voice.low), estimate.uncertainty + voice.noise)
        if voice.largest < estimate.size and away > apart:
            return True
    return False


_SIDES = {"central": 1.0, "above": 2.0, "below": 2.0}
"""Noisy values over the step, by which the noise of a quotient is multiplied: two over twice the step, or over one."""


def _judged(
    sampled: _Sampled,
    ladders: Sequence[_Ladder],
    central: _Estimate | None,
    ends: tuple[_Estimate | None, _Estimate | None],
    claimed: float,
) -> tuple[Verdict, str]:
    """The verdict on a claim and the rest of the sentence; ``ends`` are the estimates below and above."""
    if not math.isfinite(sampled.at(np.array([sampled.x]))[0]):
        return "undecided", f"the function has no finite value at {float(sampled.x):.6g}"
    sides = _sides_of_kink(*ends)
    if sides is not None:
        return _at_kink(*sides, claimed)
    if central is None:
        settled = next((end for end in ends if end is not None and _is_settled(end)), None)
        if settled is not None and not math.isfinite(claimed):
            return "wrong", f"{_wrong(settled, claimed)} on the one side where the function has values"
        return "undecided", "there are not enough steps at both ends of which the function has a value"
    verdict, sentence = _against(central, claimed, sampled.unit_roundoff)
    if verdict != "wrong" or not math.isfinite(claimed):
        return verdict, sentence
    return _inexact(sampled, central, claimed) or _doubted(ladders, central, claimed) or (verdict, sentence)


def _doubted(ladders: Sequence[_Ladder], central: _Estimate, claimed: float) -> tuple[Verdict, str] | None:
    """What is said of a claim that larger steps support, and smaller ones do not; None where none support it."""
    other = _other_plateau(ladders, central, claimed)
    if other is None:
        return None
    sizes = f"steps down to {other.size:.2g} say {other.slope:.6g}, smaller ones {central.slope:.6g}"
    return "noise", f"{sizes}, and either may be the function's noise, so {claimed:.6g} cannot be told"


def _inexact(sampled: _Sampled, central: _Estimate, claimed: float) -> tuple[Verdict, str] | None:
    """What is said of a claim that is off by no more than a function with small jumps leaves open; else None.

    Between two jumps the error of such a function changes by about as much as it jumps by, and so its slope is off by
    the height of the jumps over the distance between them.
    """
    gap = abs(claimed - central.slope)
    found = None if gap > MOST_OPEN * _size(central, claimed) else _jump(sampled)
    if found is None:
        return None
    height, distance = found
    open_to = STEEP * height / distance + central.uncertainty
    if gap > open_to:
        return None
    seen = f"the claim {claimed:.6g} is {gap:.1g} from the slope {central.slope:.6g}"
    why = f"the function is exact to about {height:.0e} only (its values jump), which leaves {open_to:.1g} open"
    return ("inexact" if open_to <= SEEN_DIGITS * abs(claimed) else "noise"), f"{seen}; {why}"


def _jump(sampled: _Sampled) -> tuple[float, float] | None:
    """How high the smallest jumps beside the point are, and how far away; None where the function is smooth."""
    offsets = np.arange(LONG_TABLE) - LONG_TABLE // 2
    for scale in reversed(scales(sampled.x)):
        heights: list[float] = []
        reaches = scale * OFF_THE_GRID * 2.0 ** (2.0 - np.arange(np.finfo(sampled.dtype).nmant // 3, 0, -1))
        for reach in reaches.tolist():
            values = sampled.at(float(sampled.x) + offsets * (reach / (LONG_TABLE // 2)))
            height, rounding = table_jump(values), sampled.unit_roundoff * float(np.max(np.abs(values)))
            is_rough = height > ROUNDING_JUMPS * rounding
            if is_rough and not heights:
                return None  # what is met at the finest spacing too is noise, which has been measured
            is_jump = is_rough and height <= SMALL_JUMP * float(np.ptp(values))
            heights.append(height if is_jump else 0.0)
            if is_jump and heights[-2] and max(heights[-2:]) <= JUMPS_ALIKE * min(heights[-2:]):
                return max(heights[-2:]), reach / 2
    return None


def table_jump(values: Array) -> float:
    """About how high the jumps in values at equal distances are, 0 where these are smooth.

    High differences of a smooth function vanish, those of a step grow as binomials do: of k-th ones the largest is
    the step times ``C(k - 1, (k - 1) // 2)``. They are jumps where three orders say the same.

    >>> x = np.linspace(0, 1, 33)
    >>> round(table_jump(np.exp(x) + 1e-6 * (x > 0.3)) / 1e-6, 1), table_jump(np.exp(x)) < 1e-12
    (1.0, True)
    """
    if not np.all(np.isfinite(values)):
        return 0.0
    differences, heights = values, []
    for k in range(1, MOST_ORDERS + 1):
        differences = np.diff(differences)
        heights.append(float(np.max(np.abs(differences))) / math.comb(k - 1, (k - 1) // 2))
    last = heights[-3:]
    return last[-1] if max(last) <= 2 * min(last) else 0.0


def _other_plateau(ladders: Sequence[_Ladder], central: _Estimate, claimed: float) -> _Estimate | None:
    """An estimate by larger steps that settled on the claim, though smaller ones settled on something else.

    Steps smaller than the stairs of a staircase inside a function see the slope without it; steps larger than a fast
    wave see the slope without that. What is the function and what is noise, nobody can tell from outside.
    """
    for estimate in (estimate for ladder in ladders for estimate in _estimates(ladder, "central")):
        supports = abs(claimed - estimate.slope) <= estimate.uncertainty <= abs(claimed) / COHERENT
        parted = abs(estimate.slope - central.slope) > estimate.uncertainty + central.uncertainty
        larger = estimate.size > COHERENT * central.size
        if supports and parted and larger and _sides_agree(estimate, claimed):
            return estimate
    return None


def _against(central: _Estimate, claimed: float, unit: float) -> tuple[Verdict, str]:
    """The verdict on a claim where there is one slope; ``unit`` is the unit roundoff."""
    gap = abs(claimed - central.slope)
    # Whoever computes a slope in floats rounds terms that are as large as the function is steep beside the point.
    uncertainty = central.uncertainty + ROUNDED_TERMS * unit * _steepness(central)
    known = f"{central.slope:.6g} give or take {uncertainty:.2g}"
    if not gap <= uncertainty:
        if _is_nothing_but_noise(central.ladder, claimed):
            return "noise", f"the function changes wildly between neighbouring floats, so {claimed:.6g} cannot be told"
        if _is_on_one_stair(central, gap):
            return "noise", f"values jump by {central.ladder.stairs:.0e}, so {claimed:.6g} cannot be told"
        return "wrong", _wrong(central, claimed)
    if uncertainty <= _size(central, claimed) / 2 or (claimed == 0 and not central.ladder.central.any()):
        return "right", f"the claim {claimed:.6g} is within the slope's uncertainty, {known}"
    if central.noise >= central.uncertainty / 2:
        return "noise", f"the function's own noise hides the slope, {known}, so the claim {claimed:.6g} cannot be told"
    return "truncation", f"the quotients do not settle at any step, {known}, so the claim {claimed:.6g} cannot be told"


def _size(central: _Estimate, claimed: float) -> float:
    """What an uncertainty must be small against: the slope, or else how steep the function is beside the point."""
    sides = [np.abs(central.ladder.side(which)) for which in ("above", "below")]
    if claimed == 0:
        return float(np.fmax.reduce([side[: central.step + 1] for side in sides], axis=None))
    return max(abs(claimed), abs(central.slope), *(float(side[central.step]) for side in sides))


def _steepness(central: _Estimate) -> float:
    """How steep the function is beside the point, over the steps of an estimate."""
    used = slice(max(central.step - MOST_EXTRAPOLATED, 0), central.step + 1)
    sides = [np.abs(central.ladder.side(which)[used]) for which in ("above", "below")]
    return float(np.nan_to_num(np.fmax.reduce(sides, axis=None)))


def _is_on_one_stair(central: _Estimate, gap: float) -> bool:
    """Whether an estimate by tiny steps sees one piece of a function that jumps a little everywhere around it.

    Then what it says differs from the claim, over its step, by less than the function jumps by.
    """
    noise = central.ladder.stairs
    return gap * central.size <= DEVIATIONS * noise and 0 < noise <= SMALL_NOISE * central.ladder.range


def _is_nothing_but_noise(ladder: _Ladder, claimed: float) -> bool:
    """Whether noise is all there is, and may be a wave as steep as the claim, too short for the steps to follow."""
    noise = float(ladder.noise.max())
    return 0 < ladder.range <= 8 * noise and abs(claimed) * float(ladder.steps[-1]) >= noise


def _sides_agree(estimate: _Estimate, claimed: float) -> bool:
    """Whether either side alone says about the same: in the middle between the sides of a kink it does not."""
    sides = (float(estimate.ladder.side(which)[estimate.step]) for which in ("above", "below"))
    return all(abs(side - claimed) <= abs(claimed) / COHERENT for side in sides)


def _wrong(central: _Estimate, claimed: float) -> str:
    if not math.isfinite(claimed):
        return f"the claim is {claimed:g}, the slope {central.slope:.6g}"
    off = claimed - central.slope
    if abs(central.slope) > 10 * central.uncertainty and abs(off) > FACTOR_SHOWN * abs(central.slope):
        return f"the claim {claimed:.6g} is {claimed / central.slope:.6g} times the slope {central.slope:.6g}, {_ANY}"
    if abs(off) > FACTOR_SHOWN * abs(central.slope):
        return f"the claim {claimed:.6g} is {off:.2g} from the slope {central.slope:.6g}, {_ANY}"
    part = f"{off:.2g} from the slope {central.slope:.15g} ({abs(off / central.slope):.1g} of it), {_ANY}"
    return f"the claim {claimed:.15g} is {part}. Is the function exact to a tolerance only? Say it: accuracy=1e-9"


_ANY = "whatever the step"


def _sides_of_kink(below: _Estimate | None, above: _Estimate | None) -> tuple[_Estimate, _Estimate] | None:
    """The estimates of both sides, where they part."""
    return (below, above) if above and below and _is_split(above, below) else None


def _is_settled(end: _Estimate) -> bool:
    """Whether a one-sided slope is bounded: far more certain than the function is steep, and no smaller step denies it.

    Beside a vertical tangent the quotients grow without end.
    """
    which = "above" if np.any(np.isfinite(end.ladder.above)) else "below"
    quotients, noise = end.ladder.side(which), DEVIATIONS * _SIDES[which] * end.ladder.noise / end.ladder.steps
    away = np.abs(quotients - end.slope)[end.step :]
    grows = np.any(away - noise[end.step :] > max(end.uncertainty, float(away[0])))
    steepest = float(np.nanmax(np.abs(quotients), initial=0.0))
    # Of a constant nothing is steep, and all is certain.
    return not grows and (end.uncertainty <= SETTLED * steepest or steepest == 0)


def _is_split(above: _Estimate, below: _Estimate) -> bool:
    """Whether the one-sided quotients go to two values, beyond any doubt."""
    return abs(above.slope - below.slope) > DOUBT * (above.uncertainty + below.uncertainty)


def _at_kink(below: _Estimate, above: _Estimate, claimed: float) -> tuple[Verdict, str]:
    low, high = sorted((above, below), key=lambda estimate: estimate.slope)
    inside = low.slope - low.uncertainty <= claimed <= high.slope + high.uncertainty
    sides = f"the one-sided slopes {below.slope:.6g} and {above.slope:.6g}"
    if inside:
        return "kink", f"the claim {claimed:.6g} lies between {sides}"
    return "wrong", f"the claim {claimed:.6g} does not lie between {sides} of a kink"

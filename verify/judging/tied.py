"""Entries at a kink together: each entry of a vector may lie between its one-sided slopes, and the whole be impossible.

Four tied entries of a maximum have the slopes 0 and u each, and a gradient that sends u to all four of them passes
entry by entry; along all four together the function is smooth, with the slope u, and the gradient says 4 u. So entries
that share a kink are looked at along their sum and along random directions: what a gradient says there must lie between
the one-sided slopes. That holds where all branches bend the same way. Where they do not (along x = y the function
abs(x) - abs(y) is smooth, with the slope 0, and a right gradient may say 1) nothing is said. Nor is it where a claim is
no more than the slopes at points beside this one, where nothing is tied: of three tied entries that are sorted the
middle one has the slope u2, which need not lie between u1 and u3; and a median of three equal ones stands still where
one of them moves, though it has the slope 1 by whichever is the middle.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from verify.judging.step_law import Law, scales, step_law
from verify.numbers.streams import stream

Array = NDArray[Any]
Key = tuple[str, int]
"""A variable and the flat index of one of its entries."""
Along = Callable[[Mapping[Key, float]], Callable[[Any], float]]
"""Direction -> the contracted function along it, from 0."""

MOST_ASKED = 20_000
"""How often it is asked whether a tied entry shares a kink with others; what is left then is undecided."""

DIRECTIONS = 3
"""Random directions for entries that share one."""

STEP = 2.0**-13
"""Moves that stay on the branches which meet at the point, as a part of each entry's own size."""

SHARED = 0.05
"""Two entries share a kink where moving both is so far from moving each, as a part of how far the sides part."""

LEFT = "{n} entries are at kinks, and this one was not held against all others that may share one with it"
"""Said of entries that are left."""

MOST_PARTED = 64
"""Tied entries that are parted in several orders."""

BESIDE = 14
"""Random orders in which ties are parted, besides that of the entries and its reverse."""

NEAR = 1e-6
"""How far a claim may be outside of quotients of two steps before the step law is asked."""


@dataclass(frozen=True, slots=True)
class Slope:
    """What is said of the slope of one entry."""

    claimed: float
    estimate: float
    uncertainty: float
    verdict: str
    """A verdict of the step law, or ``only kink``: no other entry has one, and so what lies between is the hull."""
    sentence: str
    """The verdict in words; empty for a right slope that few values settled."""
    split: float = 0.0
    """How much steeper the function is above than below."""

    @classmethod
    def of(cls, law: Law) -> Slope:
        """What the step law says.

        >>> Slope.of(step_law(abs, 0.0, 0.5)).verdict
        'kink'
        """
        return cls(law.claimed, law.estimate, law.uncertainty, law.verdict, law.sentence, law.split)


def judge_tied(
    known: dict[Key, Slope],
    along: Along,
    outputs: Callable[[Key], Array],
    values: Mapping[Key, float],
    *,
    whole: bool,
) -> None:
    """Judges anew, in place, those slopes of one point that are at kinks.

    ``outputs`` tells which numbers of the function change with an entry; ``whole`` says that all entries are known.

    >>> slopes = {("x", i): Slope.of(step_law(lambda x: max(x, 1.0), 1.0, 1.0)) for i in range(2)}
    >>> def along(d): return lambda t: max(1 + t * d.get(("x", 0), 0.0), 1 + t * d.get(("x", 1), 0.0))
    >>> judge_tied(slopes, along, lambda key: np.array([True]), dict.fromkeys(slopes, 1.0), whole=True)
    >>> print(slopes["x", 0].sentence)
    wrong: along all 2 entries that are tied, the claim 2 is 2 times the slope 1, whatever the step
    """
    sizes = {key: scales(values[key])[-1] for key in sorted(known)}
    _part_ties(known, along, sizes, values)
    tied = sorted(key for key, slope in known.items() if slope.verdict == "kink")
    if len(tied) == 1 and whole and known[tied[0]].split:
        known[tied[0]] = replace(known[tied[0]], verdict="only kink")
    if len(tied) < 2:
        return
    shared = _Shared(known, along, sizes)
    # Where one of equal entries moves alone nothing may change: that they share a kink is known by their values.
    twins = {key: [k for k in tied if abs(values[k]) == abs(values[key])] for key in tied if not known[key].split}
    for group in _groups(tied, shared, outputs, twins):
        bends = {known[key].split > 0 for key in group}
        wrong = _wrong_along(group, known, along, sizes) if len(group) > 1 and len(bends) == 1 else ""
        for key in group if wrong else ():
            known[key] = replace(known[key], verdict="wrong", sentence=f"wrong: {wrong}")
    for key in shared.left:
        if known[key].verdict == "kink":
            known[key] = replace(known[key], verdict="undecided", sentence=f"undecided: {LEFT.format(n=len(tied))}")


def _part_ties(known: dict[Key, Slope], along: Along, sizes: Mapping[Key, float], values: Mapping[Key, float]) -> None:
    """Takes for a kink what is called wrong of an entry, and is its slope at points where ties are parted.

    Entries that are equal to it are at that kink too, whatever the function does where one of them moves alone.
    """
    for key in [key for key, slope in known.items() if slope.verdict == "wrong"]:
        twins = [other for other in sizes if abs(values[other]) == abs(values[key])]
        tied = [other for other in sizes if other in twins or known[other].split]
        if not (len(twins) > 1 or known[key].split) or len(tied) > MOST_PARTED:
            continue
        if _is_beside(along, {other: sizes[other] for other in tied}, {key: 1.0}, known[key].claimed):
            for other in twins if len(twins) > 1 else [key]:
                said = f"the claim {known[other].claimed:.6g} is a slope at points beside this one"
                if other == key or known[other].verdict == "right":
                    known[other] = replace(known[other], verdict="kink", sentence=f"kink: {said}")


class _Shared:
    """Which entries share a kink: moving them together is not what moving each comes to."""

    def __init__(self, known: Mapping[Key, Slope], along: Along, sizes: Mapping[Key, float]) -> None:
        self.known, self.along, self.sizes = known, along, sizes
        self.start = along({})(np.float64(0.0))
        self.asked = 0
        self.left: list[Key] = []
        """Entries of which it was not asked to the end."""
        self._alone: dict[tuple[Key, float], float] = {}

    def moved(self, first: Sequence[Key], second: Sequence[Key], sign: float, side: float) -> float:
        """By how much the function changes where some entries move to a side, and others by ``sign`` times that."""
        weights = {key: self.sizes[key] for key in first} | {key: sign * self.sizes[key] for key in second}
        return self.along(weights)(np.float64(side)) - self.start

    def alone(self, key: Key, side: float) -> float:
        if (key, side) not in self._alone:
            self._alone[key, side] = self.moved([key], [], 1.0, side)
        return self._alone[key, side]

    def among(self, key: Key, others: Sequence[Key]) -> bool:
        """Whether an entry shares a kink with some of others, which are moved all at once."""
        self.asked += 1
        least = SHARED * STEP * min(abs(self.known[k].split) * self.sizes[k] for k in (key, *others))
        sides = {side: self.moved(others, [], 1.0, side) for side in (STEP, -STEP)}
        return any(
            abs(self.moved([key], others, sign, side) - self.alone(key, side) - sides[sign * side]) > least
            for sign, side in itertools.product((1.0, -1.0), (STEP, -STEP))
        )

    def partners(self, key: Key, others: Sequence[Key]) -> list[Key]:
        """Those of others that share a kink with an entry, found by halving."""
        if not others:
            return []
        if self.asked >= MOST_ASKED:
            self.left += [key, *others]
            return []
        if not self.among(key, others):
            return []
        if len(others) == 1:
            return [*others]
        middle = len(others) // 2
        return self.partners(key, others[:middle]) + self.partners(key, others[middle:])


def _groups(
    tied: Sequence[Key], shared: _Shared, outputs: Callable[[Key], Array], twins: Mapping[Key, Sequence[Key]]
) -> list[list[Key]]:
    """Tied entries that share a kink, each with those that it reaches over others."""
    changed = np.stack([np.packbits(outputs(key)) for key in tied])
    row = {key: i for i, key in enumerate(tied)}
    unseen, groups = dict.fromkeys(tied), []
    while unseen:
        group = [next(iter(unseen))]
        del unseen[group[0]]
        for key in group:  # which grows
            meets = np.any(changed & changed[row[key]], axis=1)
            found = [other for other in twins.get(key, ()) if other in unseen]
            found += shared.partners(key, [k for k in unseen if meets[row[k]] and k not in found])
            group += found
            for other in found:
                del unseen[other]
        groups.append(group)
    return groups


def _wrong_along(group: Sequence[Key], known: Mapping[Key, Slope], along: Along, sizes: Mapping[Key, float]) -> str:
    """What is wrong of entries that share a kink, along their sum or a random direction; empty if nothing is."""
    rng = stream(0, "directions at a kink", len(group))
    by_size = "" if all(sizes[key] == 1 for key in group) else ", each by its own size"
    directions = [(f"all {len(group)} entries that are tied{by_size}", np.ones(len(group)))]
    words = f"a direction of {len(group)} entries that are tied{by_size}"
    directions += [(words, rng.standard_normal(len(group))) for _ in range(DIRECTIONS)]
    bends_up = known[group[0]].split > 0
    for words, parts in directions:
        weights = {key: part * sizes[key] for part, key in zip(parts.tolist(), group, strict=True)}
        claimed = float(sum(weight * known[key].claimed for key, weight in weights.items()))
        function = along(weights)
        if _is_between(function, claimed):
            continue
        law = step_law(function, np.float64(0.0), claimed)
        if law.accuses and _is_beside(along, {key: sizes[key] for key in group}, weights, claimed):
            continue
        if law.accuses and (law.split == 0 or (law.split > 0) == bends_up):
            return f"along {words}, {law.sentence.partition(': ')[2]}"
    return ""


def _is_between(function: Callable[[Any], float], claimed: float) -> bool:
    """Whether a claim lies between the one-sided quotients, as few values have them."""
    sides = []
    for side in (1.0, -1.0):
        near, far = (
            (function(np.float64(side * step)) - function(np.float64(0.0))) / (side * step) for step in (STEP, 2 * STEP)
        )
        sides.append(2 * near - far)
    low, high = min(sides), max(sides)
    allowed = NEAR * max(abs(low), abs(high))
    return low - allowed <= claimed <= high + allowed


def _is_beside(along: Along, sizes: Mapping[Key, float], weights: Mapping[Key, float], claimed: float) -> bool:
    """Whether a claim along a direction lies between slopes at points beside this one, at which nothing is tied.

    ``sizes`` are those of all entries at kinks. Nothing lies between the slopes of a smooth function, which come
    together nearer to the point; nor between those of noise, which part.
    """
    far, near = (_slopes_beside(along, sizes, weights, step) for step in (STEP, STEP / 8))
    spreads = [max(slopes) - min(slopes) for slopes in (far, near)]
    low, high = min(near), max(near)
    allowed = NEAR * max(abs(low), abs(high))
    is_kink = spreads[0] / 2 <= spreads[1] <= 2 * spreads[0] and spreads[1] > allowed
    return is_kink and low - allowed <= claimed <= high + allowed


def _slopes_beside(along: Along, sizes: Mapping[Key, float], weights: Mapping[Key, float], step: float) -> list[float]:
    """Slopes along a direction where ties are parted in several orders, each by two steps away from the point."""
    rng, ranks = stream(0, "beside a kink", len(sizes)), np.arange(1.0, len(sizes) + 1)
    orders = [ranks, ranks[::-1], *(rng.permutation(ranks) for _ in range(BESIDE))]
    part = 0.25 / max(abs(weight) / sizes[key] for key, weight in weights.items())  # which leaves the order as it is
    slopes = []
    for order, sign in itertools.product(orders, (1.0, -1.0)):
        beside = {key: sign * rank * sizes[key] for key, rank in zip(sizes, order.tolist(), strict=True)}
        here, there = along(beside), along({key: x + part * weights.get(key, 0.0) for key, x in beside.items()})
        lengths = np.float64(step / len(sizes)), np.float64(2 * step / len(sizes))
        near, far = ((there(length) - here(length)) / (length * part) for length in lengths)
        slopes.append(float(2 * near - far))
    return slopes

"""Entries at a kink together: each entry of a vector may lie between its one-sided slopes, and the whole be impossible.

Four tied entries of a maximum have the slopes 0 and u each, and a gradient that sends u to all four of them passes
entry by entry; along all four together the function is smooth, with the slope u, and the gradient says 4 u. So entries
that share a kink are looked at along their sum and along random directions: what a gradient says there must lie between
the one-sided slopes. That holds where all branches bend the same way. Where they do not (along x = y the function
abs(x) - abs(y) is smooth, with the slope 0, and a right gradient may say 1) nothing is said.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from verify.oracle.step_law import Law, step_law
from verify.streams import stream

Array = NDArray[Any]
Key = tuple[str, int]
"""A variable and the flat index of one of its entries."""
Along = Callable[[Mapping[Key, float]], Callable[[Any], float]]
"""Direction -> the contracted function along it, from 0."""

MOST_TIED = 256
"""Tied entries that are looked at together."""

MOST_PAIRS = 2_000
"""Pairs of them of which it is asked whether they share a kink."""

DIRECTIONS = 3
"""Random directions for entries that share one."""

STEP = 2.0**-13
"""Moves that stay on the branches which meet at the point."""

SHARED = 0.05
"""Two entries share a kink where moving both is so far from moving each, as a part of how far the sides part."""

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


def judge_tied(known: dict[Key, Slope], along: Along, outputs: Callable[[Key], Array], *, whole: bool) -> None:
    """Judges anew, in place, those slopes of one point that are at kinks.

    ``outputs`` tells which numbers of the function change with an entry; ``whole`` says that all entries are known.

    >>> slopes = {("x", i): Slope.of(step_law(lambda x: max(x, 1.0), 1.0, 1.0)) for i in range(2)}
    >>> def along(d): return lambda t: max(1 + t * d.get(("x", 0), 0.0), 1 + t * d.get(("x", 1), 0.0))
    >>> judge_tied(slopes, along, lambda key: np.array([True]), whole=True)
    >>> print(slopes["x", 0].sentence)
    wrong: along all 2 entries that are tied, the claim 2 is 2 times the slope 1, whatever the step
    """
    tied = sorted(key for key, slope in known.items() if slope.verdict == "kink")
    if len(tied) == 1 and whole:
        known[tied[0]] = replace(known[tied[0]], verdict="only kink")
    for group in _groups(tied[:MOST_TIED], known, along, outputs):
        bends = {known[key].split > 0 for key in group}
        wrong = _wrong_along(group, known, along) if len(group) > 1 and len(bends) == 1 else ""
        for key in group if wrong else ():
            known[key] = replace(known[key], verdict="wrong", sentence=f"wrong: {wrong}")


def _groups(
    tied: Sequence[Key], known: Mapping[Key, Slope], along: Along, outputs: Callable[[Key], Array]
) -> list[list[Key]]:
    """Tied entries that share a kink: moving two of them is not what moving each comes to."""
    group = {key: [key] for key in tied}
    changed = {key: outputs(key) for key in tied} if len(tied) > 1 else {}
    pairs = [(a, b) for a, b in itertools.combinations(tied, 2) if np.any(changed[a] & changed[b])]
    alone = {(key, side): along({key: 1.0})(np.float64(side)) for key in tied for side in (STEP, -STEP)}
    for a, b in pairs[:MOST_PAIRS]:
        if group[a] is group[b]:
            continue
        both, start = along({a: 1.0, b: 1.0}), along({})(np.float64(0.0))
        least = SHARED * STEP * min(abs(known[a].split), abs(known[b].split))
        if any(abs(both(np.float64(s)) - alone[a, s] - alone[b, s] + start) > least for s in (STEP, -STEP)):
            group[a].extend(group[b])
            for key in group[b]:
                group[key] = group[a]
    return list({id(keys): keys for keys in group.values()}.values())


def _wrong_along(group: Sequence[Key], known: Mapping[Key, Slope], along: Along) -> str:
    """What is wrong of entries that share a kink, along their sum or a random direction; empty if nothing is."""
    rng = stream(0, "directions at a kink", len(group))
    directions = [("all {n} entries that are tied", np.ones(len(group)))]
    words = "a direction of {n} entries that are tied"
    directions += [(words, rng.standard_normal(len(group))) for _ in range(DIRECTIONS)]
    bends_up = known[group[0]].split > 0
    for words, weights in directions:
        claimed = float(sum(w * known[key].claimed for w, key in zip(weights, group, strict=True)))
        function = along(dict(zip(group, weights.tolist(), strict=True)))
        if _is_between(function, claimed):
            continue
        law = step_law(function, np.float64(0.0), claimed)
        if law.accuses and (law.split == 0 or (law.split > 0) == bends_up):
            return f"along {words.format(n=len(group))}, {law.sentence.partition(': ')[2]}"
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

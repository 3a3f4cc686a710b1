"""Proving rows: each method alone is held against the certified reference.

Where methods are compared with each other, who is wrong is read off a pattern. Against an enclosure of the truth there
is no pattern to read: an answer whose distance from the ball is more than it may be off by is wrong, one whose farthest
distance is less is right, and what lies between was not decided by a ball of this width.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from verify.truth.reference import Enclosure

PROVED_POINTS = 8
"""Random points of a case at which every row is proved, beside the case's own points."""

NEEDED = 1000.0
"""How much narrower than the allowed error an enclosure has to be."""


@dataclass(frozen=True, slots=True)
class Proof:
    """What an enclosure says of the methods' answers to one row."""

    wrong: tuple[str, ...]
    """Methods that are off by more than they may be, whatever the truth is inside the ball."""
    right: tuple[str, ...]
    """Methods that are off by less, whatever it is."""
    faults: Mapping[str, str] = field(default_factory=dict)
    """By wrong method: how far it is off, in words."""
    truth: float = math.nan
    """The middle of the truth's ball."""
    errors: Mapping[str, float] = field(default_factory=dict)
    """By method: no less than its distance from the truth."""

    @property
    def is_right(self) -> bool:
        """Whether every method is right."""
        return len(self.right) == len(self.errors)

    @property
    def sentence(self) -> str:
        """What is wrong with which, in words; empty where nothing is."""
        return f"proved: {', '.join(self.faults.values())}; the truth is {self.truth:.17g}" if self.faults else ""

    def only(self, method: str) -> Proof:
        """What it says of one method alone.

        >>> both = Proof(("a", "b"), (), {"a": "a is off by 1", "b": "b is off by 2"}, 3.0, {"a": 1.0, "b": 2.0})
        >>> both.only("b").sentence
        'proved: b is off by 2; the truth is 3'
        """
        wrong = tuple(name for name in self.wrong if name == method)
        right = tuple(name for name in self.right if name == method)
        faults = {name: self.faults[name] for name in wrong}
        return Proof(wrong, right, faults, self.truth, {method: self.errors[method]})


def prove(answers: Mapping[str, float], known: Enclosure, allowed: float, step_error: float) -> Proof:
    """Holds each method's answer against the truth's ball.

    ``allowed`` is what a method may be off by, in the unit of the row; central may be off by ``step_error`` more.

    >>> from flint import arb
    >>> truth = Enclosure(2.0, 0.0, ball=arb(2))
    >>> prove({"reverse": 2.0, "symbolic": 2.1, "central": 2.0000001}, truth, 1e-14, 1e-6).sentence
    'proved: symbolic is off by 0.1 and may be off by 1e-14; the truth is 2'
    """
    right: list[str] = []
    faults: dict[str, str] = {}
    errors: dict[str, float] = {}
    for method, answer in answers.items():
        room = allowed + (step_error if method == "central" else 0.0)
        least, most = known.error(answer)
        errors[method] = most
        if least > room:
            off = f"off by {least:.3g} and may be off by {room:.3g}" if math.isfinite(answer) else f"{answer}"
            faults[method] = f"{method} is {off}"
        elif most <= room:
            right.append(method)
    return Proof(tuple(faults), tuple(right), faults, known.midpoint, errors)

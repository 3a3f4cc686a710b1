"""Proving rows: each method alone is held against the certified reference.

Where methods are compared with each other, who is wrong is read off a pattern. Against an enclosure of the truth there
is no pattern to read: an answer whose distance from the ball is more than it may be off by is wrong, one whose farthest
distance is less is right, and what lies between was not decided by a ball of this width.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from verify.certified.reference import Enclosure

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
    sentence: str = ""
    """What is wrong with which, in words; empty where nothing is."""
    errors: Mapping[str, float] = field(default_factory=dict)
    """By method: no less than its distance from the truth."""

    @property
    def is_right(self) -> bool:
        """Whether every method is right."""
        return len(self.right) == len(self.errors)

    def only(self, method: str) -> Proof:
        """What it says of one method alone.

        >>> Proof(("symbolic",), ("subject",), "symbolic is off", {"symbolic": 1.0, "subject": 0.0}).only("subject")
        Proof(wrong=(), right=('subject',), sentence='', errors={'subject': 0.0})
        """
        wrong = tuple(name for name in self.wrong if name == method)
        right = tuple(name for name in self.right if name == method)
        return Proof(wrong, right, self.sentence if wrong else "", {method: self.errors[method]})


def prove(answers: Mapping[str, float], known: Enclosure, allowed: float, step_error: float) -> Proof:
    """Holds each method's answer against the truth's ball.

    ``allowed`` is what a method may be off by, in the unit of the row; central may be off by ``step_error`` more.

    >>> from flint import arb
    >>> truth = Enclosure(2.0, 0.0, ball=arb(2))
    >>> prove({"reverse": 2.0, "symbolic": 2.1, "central": 2.0000001}, truth, 1e-14, 1e-6).sentence
    'proved: symbolic is off by 0.1 and may be off by 1e-14; the truth is 2'
    """
    wrong, right, faults = [], [], []
    errors = {}
    for method, answer in answers.items():
        room = allowed + (step_error if method == "central" else 0.0)
        least, most = known.error(answer)
        errors[method] = most
        if least > room:
            wrong.append(method)
            faults.append(f"{method} is off by {least:.3g} and may be off by {room:.3g}")
        elif most <= room:
            right.append(method)
    sentence = f"proved: {', '.join(faults)}; the truth is {known.midpoint:.17g}" if wrong else ""
    return Proof(tuple(wrong), tuple(right), sentence, errors)

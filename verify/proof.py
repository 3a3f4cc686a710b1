"""Proving rows: each method alone is held against the certified reference.

Where methods are compared with each other, who is wrong is read off a pattern. Against an enclosure of the truth there
is no pattern to read: an answer whose distance from the ball is more than it may be off by is wrong, one whose farthest
distance is less is right, and what lies between was not decided by a ball of this width.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from verify.records import Verdict
from verify.reference import Enclosure

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


def prove(answers: Mapping[str, float], known: Enclosure, allowed: float, step_error: float) -> Proof:
    """Holds each method's answer against the truth's ball.

    ``allowed`` is what a method may be off by, in the unit of the row; central may be off by ``step_error`` more.

    >>> from flint import arb
    >>> truth = Enclosure(2.0, 0.0, ball=arb(2))
    >>> prove({"reverse": 2.0, "symbolic": 2.1, "central": 2.0000001}, truth, 1e-14, 1e-6).sentence
    'proved: symbolic is off by 0.1 and may be off by 1e-14; the truth is 2'
    """
    wrong, right, faults = [], [], []
    for method, answer in answers.items():
        room = allowed + (step_error if method == "central" else 0.0)
        least, most = known.error(answer)
        if least > room:
            wrong.append(method)
            faults.append(f"{method} is off by {least:.3g} and may be off by {room:.3g}")
        elif most <= room:
            right.append(method)
    sentence = f"proved: {', '.join(faults)}; the truth is {known.midpoint:.17g}" if wrong else ""
    return Proof(tuple(wrong), tuple(right), sentence)


def proved_verdict(proof: Proof, answers: Mapping[str, float], known: Enclosure, verdict: Verdict) -> Verdict:
    """What a row comes to when it is proved, from what the comparison made of it.

    A symbolic answer that is off although SymPy's own formula, in balls, encloses the truth is rounding: its formula is
    right. Everything else that is off is wrong.

    >>> from flint import arb
    >>> truth = Enclosure(2.0, 0.0, ball=arb(2), road="symbolic+taylor")
    >>> answers = {"symbolic": 2.1, "reverse": 2.0}
    >>> proved_verdict(prove(answers, truth, 1e-14, 0.0), answers, truth, Verdict.FAIL).value
    'IMPRECISE'
    >>> answers = {"symbolic": 2.0, "reverse": 2.1}
    >>> proved_verdict(prove(answers, truth, 1e-14, 0.0), answers, truth, Verdict.FAIL).value
    'FAIL'
    """
    if proof.wrong:
        formula_is_right = known.road == "symbolic+taylor" and math.isfinite(answers.get("symbolic", math.nan))
        return Verdict.IMPRECISE if proof.wrong == ("symbolic",) and formula_is_right else Verdict.FAIL
    if len(proof.right) == len(answers):
        return Verdict.PASS
    return verdict

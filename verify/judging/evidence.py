"""What is known of one row before it is judged: plain facts, and whom to ask for those that are dear to have."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

from verify.judging.audit import Finding
from verify.judging.kinks import KinkedGroup
from verify.judging.rows import Judgement
from verify.judging.tied import Slope
from verify.records import SUBJECT
from verify.truth.reference import Enclosure
from verify.words import Verdict

NEEDED = 1000.0
"""How much narrower than the allowed error an enclosure has to be."""


AGREED = Judgement(Verdict.PASS)
"""What a row comes to that nobody has anything to say against."""


class Excuse(NamedTuple):
    """How much of an error rounding may have made, and how that is known, in words."""

    most: float | None
    """None for a fault."""
    sentence: str = ""


@dataclass(frozen=True, slots=True)
class Figure:
    """What the case file expects of a row."""

    value: float
    line: int
    slack: float
    """What a method may be off from it, without its own last digits."""
    half_unit: float
    """Half a unit in the last place that was written."""


@dataclass(frozen=True, slots=True)
class Kinked:
    """One entry of a gradient at a kink."""

    groups: Sequence[KinkedGroup]
    """What each method that is judged there is held against."""
    place: int
    """The entry's, in the vector of all variables."""
    is_lost: bool
    """Nobody has a number."""


@dataclass(frozen=True, slots=True)
class Proof:
    """What an enclosure says of answers to one row."""

    wrong: Mapping[str, str]
    """By method that is off by more than it may be, whatever the truth is inside the ball: how far, in words."""
    is_right: bool
    """Whether every method is off by less, whatever it is."""
    truth: float
    """The middle of the truth's ball."""

    @property
    def sentence(self) -> str:
        """What is wrong with which, in words; empty where nothing is."""
        return f"proved: {', '.join(self.wrong.values())}; the truth is {self.truth:.17g}" if self.wrong else ""


def prove(answers: Mapping[str, float], known: Enclosure, allowed: float, step_error: float = 0.0) -> Proof:
    """Holds each method's answer against the truth's ball.

    Where methods are compared with each other, who is wrong is read off a pattern. Against an enclosure there is none
    to read: an answer whose distance from the ball is more than it may be off by is wrong, one whose farthest distance
    is less is right, and what lies between was not decided by a ball of this width. ``allowed`` is what a method may be
    off by, in the unit of the row; central may be off by ``step_error`` more.

    >>> from flint import arb
    >>> truth = Enclosure(2.0, 0.0, ball=arb(2))
    >>> prove({"reverse": 2.0, "symbolic": 2.1, "central": 2.0000001}, truth, 1e-14, 1e-6).sentence
    'proved: symbolic is off by 0.1 and may be off by 1e-14; the truth is 2'
    """
    wrong: dict[str, str] = {}
    is_right = True
    for method, answer in answers.items():
        room = allowed + (step_error if method == "central" else 0.0)
        least, most = known.error(answer)
        if least > room:
            off = f"off by {least:.3g} and may be off by {room:.3g}" if math.isfinite(answer) else f"{answer}"
            wrong[method] = f"{method} is {off}"
        is_right &= most <= room
    return Proof(wrong, is_right, known.midpoint)


class Witness:
    """Whoever can be asked for what is dear to have; this one knows nothing, and so excuses nobody."""

    def excuse(self, evidence: Evidence, method: str) -> Excuse:
        """Why a method is off that is proved to be."""
        del evidence, method
        return Excuse(None)

    def saved(self, evidence: Evidence) -> float:
        """What rounding of the values that a backward pass saves may cost the row."""
        del evidence
        return 0.0

    def wrong_formula(self, evidence: Evidence, *, plainly: bool = False) -> str:
        """That a subject's formula is wrong, whatever becomes of floats there; empty where that is not proved.

        With ``plainly``, by more than literals can make it that were rounded on the way.
        """
        del evidence, plainly
        return ""

    def unexplained(self, evidence: Evidence) -> str:
        """That a subject's error is none of roundings, where its formula cannot be read; empty where it may be."""
        del evidence
        return ""

    def underflow(self, evidence: Evidence) -> str:
        """Where floats become zero though the truth does not; empty where they do not, or where that is right."""
        del evidence
        return ""

    def range_left(self, evidence: Evidence, methods: Iterable[str]) -> str:
        """Where floats leave their range at the point, if an answer of these is lost to that."""
        del evidence, methods
        return ""

    def refined(self, evidence: Evidence) -> float:
        """What central may be off by with the best of several steps, which gives its answer from now on."""
        del evidence
        return 0.0


@dataclass
class Evidence:
    """All that one row is judged by; what nobody looked for is as it stands here."""

    answers: dict[str, float] = field(default_factory=dict)
    own: bool = True
    """Whether somebody asked for the point."""
    is_value: bool = False
    """Whether the row is about a value, not a gradient."""
    wants_digits: bool = False
    """Whether the case asks for every digit."""
    unit: float = 2.0**-53
    """The unit roundoff of the floats."""
    allowed: float = math.nan
    """What float methods may be off by; inf where rounding on the way is unbounded."""
    least: float = 0.0
    """What a right answer may always be off by."""
    step_error: float = 0.0
    """What central may be off by on top of what is allowed."""
    is_step_proved: bool = False
    """Whether that is a bound; else it is an estimate, which accuses nobody."""
    lacks_bound: str = ""
    """Why it is not."""
    truth: Enclosure | None = None
    """None where nobody asked for it."""
    compared: Judgement | None = None
    """What the methods came to against each other; None where they do not differ by more than is always granted."""
    along: Judgement | None = None
    """What is wrong along a direction."""
    kink: Kinked | None = None
    figure: Figure | None = None
    growth: int = 0
    """Units roundoff that any right way to compute something may be off by."""
    is_smooth: bool = True
    is_artificial: bool = False
    """Whether the upstream gradient is of a size that was chosen to see what leaves the range of floats."""
    undefined: str = ""
    """Why the floats have no value on the way."""
    left: str = ""
    """Why the point is not looked at."""
    has_time: bool = True
    """Whether there was work left to prove what is apart from the engine."""
    disputed: str = ""
    """Where the two certified derivatives exclude each other."""
    broken: Sequence[Finding] = ()
    """Ops that have a finite value at their operands and did not give it."""
    plainly_off: str = ""
    """How far an answer is off by far more than rounding, among many that are proved to be wrong."""
    has_slope: bool = False
    """Whether the function's values beside the point show a slope, where the answer is no number."""
    culprits: Sequence[Finding] | None = None
    """Ops that mpmath contradicts where answers are called wrong; None where nobody looked yet."""
    out_of_range: str = ""
    """Where floats leave their range on the way."""
    law: Slope | None = None
    """What the values of a black box say of the answer."""
    is_large: bool = False
    """Whether the case is too large to prove anything of."""
    witness: Witness = field(default_factory=Witness, repr=False)

    @property
    def is_subject(self) -> bool:
        """Whether a gradient under test is judged, which answers for itself alone."""
        return SUBJECT in self.answers

    @property
    def judged(self) -> dict[str, float]:
        """The answers that are judged."""
        return {SUBJECT: self.answers[SUBJECT]} if self.is_subject else self.answers

    @property
    def before(self) -> Judgement:
        """What the row came to without the truth."""
        return self.along or self.compared or AGREED

    @cached_property
    def is_known(self) -> bool:
        """Whether the truth is enclosed as closely as is needed to tell what is allowed."""
        return self.truth is not None and not self.truth.reason and math.isfinite(self.allowed)

    @cached_property
    def proof(self) -> Proof:
        """The judged answers held against the truth."""
        assert self.truth is not None
        return prove(self.judged, self.truth, self.allowed, self.step_error)

    def held(self, room: float) -> Proof:
        """The judged answers but central's, which has a step, held against the truth."""
        assert self.truth is not None
        return prove({m: answer for m, answer in self.judged.items() if m != "central"}, self.truth, room)

    def error(self, method: str) -> float:
        """No less than a method's distance from the truth."""
        assert self.truth is not None
        return self.truth.error(self.answers[method])[1]

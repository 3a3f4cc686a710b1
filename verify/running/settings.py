"""What a run is asked for."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass

from verify.errors import UsageError, did_you_mean
from verify.methods import available
from verify.truth.reference import FIRST_BITS, MOST_BITS, MOST_WORK

MOST_POINTS = 10**9
"""Random points of a run; a million take half a minute of a small case."""

LEAST_MEMORY = 2**24
"""Bytes without which no case can be run."""

USUAL_SIZES, SUBJECT_SIZES = 2, 6
"""Other sizes of a case with ``dims``."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What a run is asked for."""

    points: int = 64
    """Random points for each case."""
    seed: int = 0
    methods: tuple[str, ...] | None = None
    """None for all of them; else these, and one that cannot do a case fails it."""
    variables: str = "all"
    """``all`` variables, or ``inputs`` alone."""
    proof_work: int = MOST_WORK
    """Operations on balls that the proof of one point may take, see :mod:`verify.graph.work`."""
    proof_bits: int = MOST_BITS
    """Precision up to which a proof may rise."""
    require_proof: bool = False
    """Whether a case fails where a row is not proved that was to be."""
    case_seconds: float = 120.0
    """Processor time that one case may take at one size; see :mod:`verify.limits`."""
    case_memory: int | None = None
    """Bytes that it may take beside what the program has; None for as much as there is."""
    call_seconds: float = 60.0
    """Time on the clock for each call of a gradient that is handed in."""
    cached: bool = False
    """Whether SymPy's derivatives are kept on disk between runs, see :mod:`verify.running.cache`."""
    kill_score: bool = False
    """Whether single faults are planted into the backward pass, to see how many are caught."""
    sizes: int | None = None
    """Other sizes at which a case with ``dims`` is run too; None for :data:`USUAL_SIZES` of them, or
    :data:`SUBJECT_SIZES` where a gradient is handed in."""
    shrink: bool = True
    """Whether a gradient's failure is reduced to its simplest point, which the next run looks at again."""
    forget: bool = False
    """Whether points at which a gradient failed are neither kept nor looked at again."""


DEFAULT = Settings()
"""What is asked for where nothing is said."""


ASIDE = ("cached", "forget")
"""Settings that no result depends on."""


def told(settings: Settings) -> dict[str, str]:
    """What was asked for, by name, as text: of two runs whose results are to stand side by side it is the same.

    >>> told(Settings(points=8))["points"]
    '8'
    """
    return {name: repr(value) for name, value in asdict(settings).items() if name not in ASIDE}


def as_settings(given: object) -> Settings:
    """Settings as they were given. Raises UsageError for something else in their place, such as a point.

    >>> as_settings({"x": 3.0})
    Traceback (most recent call last):
    verify.errors.UsageError: expected Settings, got {'x': 3.0}; a point is given by name, at={...}
    """
    if not isinstance(given, Settings):
        raise UsageError(f"expected Settings, got {given!r:.60}; a point is given by name, at={{...}}")
    return given


def check_settings(settings: Settings, jobs: int) -> None:
    """Raises UsageError for a method that does not exist, or a number out of range.

    >>> check_settings(Settings(points=-1), jobs=1)
    Traceback (most recent call last):
    verify.errors.UsageError: the number of points must be 0 or more and at most 1000000000, got -1
    """
    known = available()
    for name in settings.methods or ():
        if name not in known:
            raise UsageError(
                f"unknown method {name!r}; there are {', '.join(known)}. {did_you_mean(name, known)}".strip()
            )
    if settings.methods is not None and not settings.methods:
        raise UsageError(f"no method is left to run; there are {', '.join(known)}")
    for sentence, is_right, got in (
        (
            f"the number of points must be 0 or more and at most {MOST_POINTS}",
            0 <= settings.points <= MOST_POINTS,
            settings.points,
        ),
        ("the seed must be 0 or more and below 2**63", 0 <= settings.seed < 2**63, settings.seed),
        ("the work for a proof must be 1 operation or more", settings.proof_work >= 1, settings.proof_work),
        (
            f"the precision of a proof must be {FIRST_BITS} bits or more",
            settings.proof_bits >= FIRST_BITS,
            settings.proof_bits,
        ),
        (
            "the seconds for a case must be above 0 and finite",
            0 < settings.case_seconds < math.inf,
            settings.case_seconds,
        ),
        (
            "the seconds for a call must be above 0 and finite",
            0 < settings.call_seconds < math.inf,
            settings.call_seconds,
        ),
        (
            f"the memory for a case must be {LEAST_MEMORY} bytes or more",
            (settings.case_memory or LEAST_MEMORY) >= LEAST_MEMORY,
            settings.case_memory,
        ),
        ("the number of other sizes must be 0 or more", (settings.sizes or 0) >= 0, settings.sizes),
        ("the number of jobs must be 1 or more", jobs >= 1, jobs),
    ):
        if not is_right:
            raise UsageError(f"{sentence}, got {got}")

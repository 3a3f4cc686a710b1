"""What a run is asked for."""

from __future__ import annotations

from dataclasses import dataclass

from verify.certified.reference import FIRST_BITS, MOST_BITS, MOST_WORK
from verify.errors import UsageError, did_you_mean
from verify.methods import available

MOST_POINTS = 10**9
"""Random points of a run; a million take half a minute of a small case."""

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
    """Operations on balls that the proof of one point may take, see :mod:`verify.certified.work`."""
    proof_bits: int = MOST_BITS
    """Precision up to which a proof may rise."""
    require_proof: bool = False
    """Whether a case fails where a row is not proved that was to be."""
    cached: bool = False
    """Whether SymPy's derivatives are kept on disk between runs, see :mod:`verify.cache`."""
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
    if not 0 <= settings.points <= MOST_POINTS:
        raise UsageError(f"the number of points must be 0 or more and at most {MOST_POINTS}, got {settings.points}")
    if not 0 <= settings.seed < 2**63:
        raise UsageError(f"the seed must be 0 or more and below 2**63, got {settings.seed}")
    if settings.proof_work < 1:
        raise UsageError(f"the work for a proof must be 1 operation or more, got {settings.proof_work}")
    if settings.proof_bits < FIRST_BITS:
        raise UsageError(f"the precision of a proof must be {FIRST_BITS} bits or more, got {settings.proof_bits}")
    if settings.sizes is not None and settings.sizes < 0:
        raise UsageError(f"the number of other sizes must be 0 or more, got {settings.sizes}")
    if jobs < 1:
        raise UsageError(f"the number of jobs must be 1 or more, got {jobs}")

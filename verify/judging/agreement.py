"""Whether methods agree at a point that is no kink, within what they may be off by, and who is suspected if not."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping

from verify.judging.allowance import least_units, lost_digits
from verify.judging.rows import Judgement
from verify.records import METHODS, PAIRS, SUBJECT, further_methods, pairs_of
from verify.words import Verdict

SIGNATURES: Mapping[tuple[bool, bool, bool], tuple[str, str]] = {
    (True, False, True): ("reverse", "symbolic and central agree"),
    (True, True, False): ("symbolic", "reverse and central agree"),
    (False, True, True): ("central: the forward function or the step", "symbolic and reverse agree"),
    (True, True, True): ("the forward function, or more than one method", "all three differ"),
    (True, False, False): ("symbolic or reverse", "central is too coarse to tell"),
    (False, True, False): ("symbolic or central", "reverse is between the two"),
    (False, False, True): ("reverse or central", "symbolic is between the two"),
}
"""Which of the pairs symbolic-reverse, symbolic-central, reverse-central differ -> who is suspected, and why."""


Pair = tuple[str, str]

AGREES_WITH_SOME = "the methods differ from each other, and the gradient agrees with some"
"""Why nothing is shown of a gradient under test."""

DOUBLE = 2.0**-53
"""The unit roundoff of float64."""


def compare(
    answers: Mapping[str, float], exact: float, allowed: float, step_error: float, unit: float = DOUBLE
) -> Judgement:
    """Judges one row at a point that is no kink.

    ``answers`` maps methods to values, ``exact`` is SymPy's form enclosed in balls (NaN if there is none), ``allowed``
    what float methods may be off by and ``step_error`` what central may be off by on top, all in the row's unit;
    ``unit`` is the unit roundoff of the floats.

    >>> compare({"symbolic": 2.0, "reverse": 2.0, "central": 2.0000001}, 2.0, 1e-14, 1e-6).verdict.value
    'PASS'
    >>> compare({"symbolic": 2.0, "reverse": 2.1, "central": 2.0000001}, 2.0, 1e-14, 1e-6).suspect
    'reverse'
    """
    best = dict(answers)
    if "symbolic" in best and math.isfinite(exact):
        best["symbolic"] = exact
    finite = {method: value for method, value in best.items() if math.isfinite(value)}
    if len(best) < 2 and finite:
        return Judgement(Verdict.UNDECIDED, f"{next(iter(best))} alone: nothing to compare it with")
    if not finite.keys() - {"central"}:
        return Judgement(Verdict.UNDECIDED, "the slope is infinite or undefined here")
    if (math.isfinite(exact) or len(finite) > 1) and _agree(finite, 0.0, step_error, unit):
        broken = [method for method in best if method not in finite and method != "central"]
        if broken:
            return Judgement(Verdict.FAIL, "not finite where the others are", ", ".join(broken))
    if math.isinf(allowed) and not _agree(best, 0.0, step_error, unit):
        return Judgement(Verdict.UNDECIDED, "intermediate overflow: the rounding on the way is unbounded")
    if "central" in best and (not math.isfinite(best["central"]) or math.isinf(step_error)):
        del best["central"]  # no step stays where the function is defined: central says nothing here
    room = 0.0 if math.isinf(allowed) else allowed
    differs = dict(_pairs(best, room, step_error, unit))
    if SUBJECT not in best and not any(differs.values()):
        return _agreed(answers, best, exact, room, unit)
    return _of_subject(best, differs) if SUBJECT in best else _differing(best, differs)


def asked_pairs(methods: Iterable[str]) -> tuple[Pair, ...]:
    """The pairs that decide a row; a gradient under test does not answer for what others make of each other.

    Where two methods tell that have no step, central's is not asked: what it may be off by is an estimate.

    >>> asked_pairs(["symbolic", "reverse", "central", "subject"])
    (('symbolic', 'subject'), ('reverse', 'subject'), ('symbolic', 'reverse'))
    """
    known = tuple(methods)
    if SUBJECT not in known:
        return pairs_of(known)
    others = tuple(method for method in METHODS if method in known)[:2]
    return (*((method, SUBJECT) for method in others), *((others,) if len(others) == 2 else ()))


def is_torn(differs: Mapping[Pair, bool]) -> bool:
    """Whether a gradient under test agrees with one of two methods that differ from each other.

    >>> pairs = asked_pairs(["reverse", "central", "subject"])
    >>> [is_torn(dict(zip(pairs, differs))) for differs in ((True, False, True), (True, False, False))]
    [True, False]
    """
    theirs = [off for pair, off in differs.items() if SUBJECT in pair]
    return any(theirs) and not all(theirs) and any(off for pair, off in differs.items() if SUBJECT not in pair)


def _of_subject(best: Mapping[str, float], differs: Mapping[Pair, bool]) -> Judgement:
    theirs = {first: off for (first, second), off in differs.items() if second == SUBJECT}
    if not theirs:
        return Judgement(Verdict.UNDECIDED, "there is nothing to compare it with")
    if not any(theirs.values()):
        return Judgement(Verdict.PASS)
    if is_torn(differs) and math.isfinite(best[SUBJECT]):
        return Judgement(Verdict.UNDECIDED, AGREES_WITH_SOME)
    apart = " and ".join(method for method, off in theirs.items() if off)
    return Judgement(Verdict.FAIL, f"apart from {apart}", SUBJECT)


def _agree(best: Mapping[str, float], allowed: float, step_error: float, unit: float) -> bool:
    return not any(differs for _, differs in _pairs(best, allowed, step_error, unit))


def _pairs(best: Mapping[str, float], allowed: float, step_error: float, unit: float) -> Iterator[tuple[Pair, bool]]:
    """Each pair that both answered, and whether it differs; a non-finite answer differs from everything."""
    for first, second in asked_pairs(best):
        if first in best and second in best:
            room = max(allowed, least_units(unit, best[second]))
            room += step_error if "central" in (first, second) else 0.0
            difference = abs(best[first] - best[second])
            yield (first, second), not (difference <= room and difference < math.inf)


def _agreed(
    answers: Mapping[str, float], best: Mapping[str, float], exact: float, room: float, unit: float
) -> Judgement:
    if len(best) < 2:
        return Judgement(Verdict.UNDECIDED, f"{next(iter(best))} alone: no step of central stays in the domain")
    if not math.isfinite(exact) or "symbolic" not in answers:
        return Judgement(Verdict.PASS)
    if not math.isfinite(answers["symbolic"]):
        return Judgement(Verdict.PASS, "symbolic overflows in floats; its enclosed value is shown")
    error = abs(answers["symbolic"] - exact)
    if error > max(room, least_units(unit, exact)):
        digits = lost_digits(error, exact, unit)
        reason = f"the symbolic form loses {digits} digits to rounding; enclosed in balls it agrees"
        return Judgement(Verdict.IMPRECISE, reason, "symbolic")
    return Judgement(Verdict.PASS)


def _differing(best: Mapping[str, float], differs: Mapping[Pair, bool]) -> Judgement:
    broken = [method for method, value in best.items() if not math.isfinite(value)]
    if broken:
        return Judgement(Verdict.FAIL, "not finite where the others are", ", ".join(broken))
    three = [differs[pair] for pair in PAIRS if pair in differs]
    apart = [pair for pair, off in differs.items() if off]
    others = [method for method in further_methods(best) if any(method in pair for pair in apart)]
    if others and three and not any(three):
        suspect, reason = ", ".join(others), "the other methods agree"
    elif len(three) == len(PAIRS):
        suspect, reason = SIGNATURES[three[0], three[1], three[2]]
    else:
        suspect, reason = " or ".join(best), "only two methods to compare"
    return Judgement(Verdict.FAIL, reason, suspect, by_estimate=all("central" in pair for pair in apart))

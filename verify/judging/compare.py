"""Judging one row at a point that is no kink, by what its methods may be off by."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from verify.records import PAIRS, Verdict, further_methods, pairs_of

LEAST_UNITS = 8
"""Units roundoff of the value, beside one for every node, that two methods may always differ by."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """What one comparison came to."""

    verdict: Verdict
    reason: str = ""
    suspect: str = ""
    exact_shown: bool = False
    """The symbolic value shown is the enclosed one, because the float one is not finite."""


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


def compare(answers: Mapping[str, float], exact: float, allowed: float, step_error: float) -> Judgement:
    """Judges one row at a point that is no kink.

    ``answers`` maps methods to values, ``exact`` is SymPy's form enclosed in balls (NaN if there is none), ``allowed``
    what float methods may be off by and ``step_error`` what central may be off by on top, all in the row's unit.

    >>> compare({"symbolic": 2.0, "reverse": 2.0, "central": 2.0000001}, 2.0, 1e-14, 1e-6).verdict.value
    'PASS'
    >>> compare({"symbolic": 2.0, "reverse": 2.1, "central": 2.0000001}, 2.0, 1e-14, 1e-6).suspect
    'reverse'
    """
    best = dict(answers)
    if "symbolic" in best and math.isfinite(exact):
        best["symbolic"] = exact
    shown = math.isfinite(exact) and not math.isfinite(answers.get("symbolic", exact))
    finite = {method for method, value in best.items() if math.isfinite(value)}
    if len(best) < 2 and finite:
        return Judgement(Verdict.UNDECIDED, f"{next(iter(best))} alone: nothing to compare it with")
    if not finite - {"central"}:
        return Judgement(Verdict.UNDECIDED, "the slope is infinite or undefined here")
    is_known = math.isfinite(exact) or len(finite) > 1
    if len(best) > len(finite) and is_known and _agree({m: best[m] for m in finite}, 0.0, step_error):
        broken = [method for method in best if method not in finite and method != "central"]
        if broken:
            return Judgement(Verdict.FAIL, "not finite where the others are", ", ".join(broken), shown)
    if math.isinf(allowed) and not _agree(best, 0.0, step_error):
        return Judgement(Verdict.UNDECIDED, "intermediate overflow: the rounding on the way is unbounded", "", shown)
    if "central" in best and (not math.isfinite(best["central"]) or math.isinf(step_error)):
        del best["central"]  # no step stays where the function is defined: central says nothing here
    room = 0.0 if math.isinf(allowed) else allowed
    if _agree(best, room, step_error):
        return _agreed(answers, best, exact, room, shown)
    return _differing(best, room, step_error, shown)


def _agree(best: Mapping[str, float], allowed: float, step_error: float) -> bool:
    return not any(differs for _, differs in _pairs(best, allowed, step_error))


def _pairs(best: Mapping[str, float], allowed: float, step_error: float) -> Iterator[tuple[tuple[str, str], bool]]:
    """Each pair that both answered, and whether it differs; a non-finite answer differs from everything."""
    for first, second in pairs_of(best):
        if first in best and second in best:
            least = LEAST_UNITS * 2.0**-53 * abs(best[second])
            room = max(allowed, least) + (step_error if "central" in (first, second) else 0.0)
            difference = abs(best[first] - best[second])
            yield (first, second), not (difference <= room and difference < math.inf)


def _agreed(
    answers: Mapping[str, float], best: Mapping[str, float], exact: float, room: float, shown: bool
) -> Judgement:
    if len(best) < 2:
        return Judgement(Verdict.UNDECIDED, f"{next(iter(best))} alone: no step of central stays in the domain")
    if shown:
        return Judgement(Verdict.PASS, "symbolic overflows in floats; its enclosed value is shown", "", shown)
    error = abs(answers.get("symbolic", exact) - exact) if math.isfinite(exact) else 0.0
    if error > max(room, LEAST_UNITS * 2.0**-53 * abs(exact)):
        digits = "all"
        if exact:  # by logarithms: a quotient of subnormal numbers may divide by zero
            digits = f"{math.log10(error) - math.log10(abs(exact)) + 53 * math.log10(2.0):.1f}"
        reason = f"the symbolic form loses {digits} digits to rounding; enclosed in balls it agrees"
        return Judgement(Verdict.IMPRECISE, reason, "symbolic")
    return Judgement(Verdict.PASS)


def _differing(best: Mapping[str, float], room: float, step_error: float, shown: bool) -> Judgement:
    differs = dict(_pairs(best, room, step_error))
    three = [differs[pair] for pair in PAIRS if pair in differs]
    others = [method for method in further_methods(best) if any(method in pair for pair, off in differs.items() if off)]
    if others and three and not any(three):
        suspect, reason = ", ".join(others), "the other methods agree"
    elif len(three) == len(PAIRS):
        suspect, reason = SIGNATURES[three[0], three[1], three[2]]
    else:
        suspect, reason = " or ".join(best), "only two methods to compare"
    broken = [method for method, value in best.items() if not math.isfinite(value)]
    if broken:
        suspect, reason = ", ".join(broken), "not finite where the others are"
    return Judgement(Verdict.FAIL, reason, suspect, shown)

"""The rules by which rows are judged, in order: the first that has an answer decides, and the row keeps its name.

Each rule is a pure function of the evidence. Where somebody is called wrong, more evidence is worth having: mpmath's on
the op rows. It is added, and the row is judged anew by the same rules.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import combinations
from typing import Any

import numpy as np

from verify.judging.agreement import AGREES_WITH_SOME, asked_pairs, is_torn
from verify.judging.allowance import least_units, lost_digits
from verify.judging.evidence import AGREED, Evidence, Proof, prove
from verify.judging.power import STRONG
from verify.judging.rows import Judgement, table, within
from verify.records import SUBJECT, WRONG_FIGURE, Rows, VariableResult, further_methods
from verify.words import SEVERITY, VERDICTS, Rule, Verdict

NOT_PROVED = "apart from the engine, and not proved: other rows are farther apart"
"""Why a subject's row is undecided for which there was no time."""

OF_LAW: Mapping[str, Verdict] = {
    "right": Verdict.PASS,
    "inexact": Verdict.PASS,
    "wrong": Verdict.FAIL,
    "kink": Verdict.CONVENTION,
    "only kink": Verdict.SUBGRADIENT,
    "noise": Verdict.UNDECIDED,
    "truncation": Verdict.UNDECIDED,
    "undecided": Verdict.UNDECIDED,
}
"""What the laws say of a black box -> what the row comes to."""

Decide = Callable[[Evidence], Judgement | None]


def judged(evidence: Evidence) -> tuple[Judgement, Rule]:
    """What a row comes to, and by which rule.

    >>> judged(Evidence({"reverse": 2.0}, undefined="input 'x' is not finite"))[1].value
    'undefined'
    """
    judgement, rule = _first(evidence, ORDER)
    if evidence.culprits and judgement.accuses:
        reason = f"{judgement.reason}; mpmath contradicts " + "; ".join(map(str, evidence.culprits))
        suspect = " and ".join(culprit.suspect for culprit in evidence.culprits)
        judgement = replace(judgement, reason=reason, suspect=suspect)
    return judgement, rule


def _first(evidence: Evidence, rules: Sequence[tuple[Rule, Decide]]) -> tuple[Judgement, Rule]:
    for rule, decide in rules:
        judgement = decide(evidence)
        if judgement is not None:
            return judgement, rule
    return AGREED, Rule.AGREED


def _undecided(reason: str) -> Judgement | None:
    """Nothing is shown, for a reason; no answer without one."""
    return Judgement(Verdict.UNDECIDED, reason) if reason else None


# ------------------------------------------------------------------------------------------------ what comes before all


def _no_number(e: Evidence) -> Judgement | None:
    """A subject that answers no number fails where the function has slopes, though no enclosure tells them."""
    if not e.has_slope:
        return None
    reason = f"measured: the answer is {e.answers[SUBJECT]}, the function has a slope by its values beside"
    return Judgement(Verdict.FAIL, reason, SUBJECT)


def _broken_op(e: Evidence) -> Judgement | None:
    """The floats have no value on the way, and an op is to blame."""
    if not e.broken:
        return None
    reason = "no finite value; mpmath contradicts " + "; ".join(map(str, e.broken))
    return Judgement(Verdict.FAIL, reason, " and ".join(finding.suspect for finding in e.broken))


def _out_of_range(e: Evidence) -> Judgement | None:
    """Where no op row is wrong, answers that are not finite may be so because floats left their range."""
    return _undecided(e.out_of_range)


def _figure(e: Evidence) -> Judgement | None:
    """The case file's figures, held against each method wherever anything can be said at all."""
    if e.figure is None:
        return None
    rest = _first(e, AFTER_FIGURES)[0]
    if rest.verdict is Verdict.UNDECIDED:
        return None
    expects = f"line {e.figure.line} expects {e.figure.value!r}"
    if _is_excluded(e):
        assert e.truth is not None
        return Judgement(Verdict.FAIL, f"{expects}, the truth is {e.truth.midpoint:.17g}", WRONG_FIGURE)
    theirs = further_methods(e.answers)
    # At a kink the figure states a convention, and only the engine can follow one; a framework is held against the
    # truth, and may lose digits that the figure has.
    asked = {m for m in e.answers if e.is_smooth or m == "reverse"}
    asked -= set(theirs) if len(theirs) < len(e.answers) else set()
    off = {m for m in asked - {"central"} if _is_off(e, m)}
    if not off:
        return None  # central alone accuses nobody: what its step may be off by is an estimate, and dear to have
    if "central" in asked and _is_off(e, "central", 0.0 if e.is_value else e.witness.refined(e)):
        off.add("central")
    found = ", ".join(f"{method} {answer!r}" for method, answer in e.answers.items() if method in off)
    everybody = asked - {"central"} <= off
    suspect = WRONG_FIGURE if everybody else ", ".join(method for method in e.answers if method in off)
    if everybody and rest.verdict is Verdict.FAIL:
        suspect = rest.suspect  # the methods differ among themselves: whoever is wrong there is wrong here
    return Judgement(Verdict.FAIL, f"{expects}, got {found}", suspect)


def _is_off(e: Evidence, method: str, step: float = 0.0) -> bool:
    """Whether a method is farther from the figure than digits, rounding and its step may make it."""
    assert e.figure is not None
    room = e.figure.slack + step + least_units(e.unit, e.figure.value)
    return not abs(e.answers[method] - e.figure.value) <= room


def _is_excluded(e: Evidence) -> bool:
    """Whether a case that asks for every digit gives a figure that the certified reference excludes."""
    if not e.wants_digits or e.figure is None or e.truth is None or not math.isfinite(e.truth.radius):
        return False
    room = e.figure.half_unit + e.truth.radius + e.growth * e.unit * abs(e.figure.value)
    return abs(e.truth.midpoint - e.figure.value) > room


# --------------------------------------------------------------------------------------------- where there is no truth


def _left(e: Evidence) -> Judgement | None:
    """Points that are not looked at."""
    return _undecided(e.left)


def _no_time(e: Evidence) -> Judgement | None:
    """Rows for whose proof there was no work left."""
    return None if e.has_time else _undecided(NOT_PROVED)


def _kink(e: Evidence) -> Judgement | None:
    """One entry at a kink, by the worst of what is judged there."""
    if e.kink is None:
        return None
    found = [(group, *group.verdict(e.kink.place)) for group in e.kink.groups]
    group, verdict, reason = max(found, key=lambda one: (SEVERITY.index(one[1]), not one[0].declared))
    if e.kink.is_lost:
        return _undecided(f"{group.ties}: the slope is infinite or undefined here")
    if verdict is Verdict.FAIL and math.isinf(e.allowed):
        return _undecided(f"{group.ties}: the rounding on the way is unbounded")
    passes = group.declared if verdict is Verdict.CONVENTION else None
    is_accused = verdict is Verdict.FAIL or passes is False
    return Judgement(verdict, reason, group.accused if is_accused else "", passes)


def _disputed(e: Evidence) -> Judgement | None:
    """The two roads to the truth exclude each other."""
    return Judgement(Verdict.DISPUTED, e.disputed, "the op table") if e.disputed else None


def _unbounded(e: Evidence) -> Judgement | None:
    """Where rounding on the way is unbounded, answers that agree may be wrong together: only a proof lets pass."""
    if e.truth is None or math.isfinite(e.allowed):
        return None
    if not e.is_subject and e.before.verdict is not Verdict.PASS:
        return None
    held = e.held(e.least + (e.witness.saved(e) if e.is_subject else 0.0))
    if not e.truth.reason and held.is_right:
        return AGREED
    wrong = "" if e.truth.reason else e.witness.wrong_formula(e)
    if wrong:
        return Judgement(Verdict.FAIL, f"{held.sentence}; {wrong}", SUBJECT)
    reason = "rounding on the way is unbounded, and the answers are not close to the truth"
    return _undecided(e.undefined or e.truth.reason or reason)


def _undefined(e: Evidence) -> Judgement | None:
    """The floats have no value on the way."""
    return _undecided(e.undefined)


def _unknown(e: Evidence) -> Judgement | None:
    """A subject is judged by the truth alone."""
    return _undecided(e.truth.reason) if e.truth is not None and e.is_subject else None


# ----------------------------------------------------------------------------------------------------- held against it


def _underflow(e: Evidence) -> Judgement | None:
    """Methods that agree pass for nothing where floats became zero on the way and the truth is not.

    A subject is within what is allowed, or not.
    """
    if e.truth is None or e.is_subject or not math.isfinite(e.allowed):
        return None
    if e.truth.reason:
        is_empty = e.truth.ball is None and e.before.verdict is Verdict.PASS
    else:
        is_weak = e.allowed > abs(e.truth.midpoint) / STRONG
        is_empty = is_weak and _passes_so_far(e) and not e.held(e.least).is_right
    return _undecided(e.witness.underflow(e)) if is_empty else None


def _passes_so_far(e: Evidence) -> bool:
    """Whether a row whose truth is known passes, as far as what is allowed goes."""
    return not e.proof.wrong and (e.proof.is_right or (not e.is_subject and e.before.verdict is Verdict.PASS))


def _digits(e: Evidence) -> Judgement | None:
    """Where the case asks for every digit, rounding on the way is no excuse for losing them."""
    if not (e.wants_digits and e.is_known and _passes_so_far(e)):
        return None
    held = e.held(e.least)
    if not held.wrong:
        return None
    reason = f"{held.sentence}; rounding is the cause, and the case asks for relative accuracy"
    return Judgement(Verdict.IMPRECISE, reason, ", ".join(held.wrong))


def _proved(e: Evidence) -> Judgement | None:
    """Each method alone, held against the truth."""
    if e.truth is None or not e.is_known:
        return None
    proof = e.proof
    if "central" in proof.wrong and not e.is_step_proved and e.culprits is not None and not e.culprits:
        others = prove({m: x for m, x in e.judged.items() if m != "central"}, e.truth, e.allowed)
        if not others.wrong:
            reason = f"{proof.sentence}; {e.lacks_bound}, and an estimate accuses nobody"
            is_right = others.is_right and len(e.judged) > 1
            return Judgement(Verdict.UNDECIDED, reason, passes=True if is_right else None)
        proof = others
    if proof.wrong:
        return _wrong(e, proof)
    if proof.is_right:
        return _wrong_within(e) or AGREED
    return _undecided("the enclosure of the truth is too wide to tell") if e.is_subject else None


def _wrong_within(e: Evidence) -> Judgement | None:
    """A gradient under test that a wide bound lets pass though its formula is wrong, or nothing explains its error."""
    assert e.truth is not None
    if not e.is_subject or e.error(SUBJECT) <= e.growth * e.unit * abs(e.truth.midpoint):
        return None
    wrong = e.witness.wrong_formula(e, plainly=True)
    return Judgement(Verdict.FAIL, wrong, SUBJECT) if wrong else _undecided(e.witness.unexplained(e))


def _wrong(e: Evidence, proof: Proof) -> Judgement:
    """Answers that are off by more than they may be: by a fault, or by rounding as everybody's."""
    assert e.truth is not None
    suspects = ", ".join(proof.wrong)
    errors = {method: e.error(method) for method in proof.wrong}
    if e.is_artificial and max(errors.values()) <= math.sqrt(e.unit) * abs(e.truth.midpoint):
        reason = f"{proof.sentence}; an upstream gradient of this size shows overflow and underflow alone"
        return Judgement(Verdict.IMPRECISE, reason, suspects, passes=True)
    excuses = {method: e.witness.excuse(e, method) for method in proof.wrong}
    reason = proof.sentence + "".join(f"; {excuse.sentence}" for excuse in excuses.values() if excuse.sentence)
    range_left = e.witness.range_left(e, proof.wrong)
    reason += f"; floats leave their range at this point: {range_left}" if range_left else ""
    faults = [method for method, excuse in excuses.items() if excuse.most is None]
    if faults:
        return Judgement(Verdict.FAIL, reason, ", ".join(faults))
    is_excused = all(errors[method] <= (excuse.most or 0.0) for method, excuse in excuses.items())
    reason += f"; {lost_digits(max(errors.values()), e.truth.midpoint, e.unit)} digits are lost"
    return Judgement(Verdict.IMPRECISE, reason, suspects, passes=is_excused and not e.wants_digits)


# --------------------------------------------------------------------------------- held against each other, or measured


def _plain(e: Evidence) -> Judgement | None:
    """A row fails without a proof where many of its kind are proved to be wrong and it is off by far more."""
    return Judgement(Verdict.FAIL, e.plainly_off, SUBJECT) if e.plainly_off else None


def _along(e: Evidence) -> Judgement | None:
    """The gradient as a whole."""
    return e.along


def _compared(e: Evidence) -> Judgement | None:
    """The methods against each other; no accusation rests on an estimate of central's error alone."""
    known = e.compared
    if known is not None and known.by_estimate and e.culprits is not None and not e.culprits:
        return _undecided(f"{known.reason}; central's error is an estimate, which accuses nobody")
    return known


def _step_law(e: Evidence) -> Judgement | None:
    """A black box: what its values say of an answer."""
    if e.law is None:
        return None
    verdict = OF_LAW[e.law.verdict]
    passes = True if verdict is Verdict.CONVENTION else None
    reason = f"measured: {e.law.sentence}" if e.law.verdict != "right" else ""
    return Judgement(verdict, reason, SUBJECT if verdict is Verdict.FAIL else "", passes)


def _measured(e: Evidence) -> Judgement | None:
    """Every pair of methods of a large case agrees, or somebody is off.

    A gradient under test answers for itself alone: what the others make of each other is not its fault.
    """
    if not e.is_large:
        return None
    if not math.isfinite(e.allowed) or not math.isfinite(e.step_error):
        return _undecided("the rounding on the way, or that of the step, is unbounded")
    said = e.answers
    differs = {}
    for first, second in asked_pairs(said) if e.is_subject else combinations(said, 2):
        room = e.allowed + (e.step_error if "central" in (first, second) else 0.0)
        differs[first, second] = not within(np.array(abs(said[first] - said[second])), room)
    apart = [pair for pair, off in differs.items() if off and (SUBJECT in pair or not e.is_subject)]
    if not apart:
        return AGREED
    if e.is_subject and is_torn(differs):
        return _undecided(AGREES_WITH_SOME)
    worst = max(apart, key=lambda pair: abs(said[pair[0]] - said[pair[1]]))
    distance = abs(said[worst[0]] - said[worst[1]])
    off = f"differ by {distance:.3g}, allowed {e.allowed:.3g}, step {e.step_error:.3g}"
    common = sorted(set(apart[0]).intersection(*apart))
    is_one = len(said) > 2 and len(common) == 1
    suspect = SUBJECT if e.is_subject else common[0] if is_one else worst[0]
    return Judgement(Verdict.FAIL, f"measured: {worst[0]} and {worst[1]} {off}", suspect)


ORDER: tuple[tuple[Rule, Decide], ...] = (
    (Rule.NO_NUMBER, _no_number),
    (Rule.BROKEN_OP, _broken_op),
    (Rule.RANGE, _out_of_range),
    (Rule.FIGURE, _figure),
    (Rule.LEFT, _left),
    (Rule.NO_TIME, _no_time),
    (Rule.KINK, _kink),
    (Rule.DISPUTED, _disputed),
    (Rule.UNBOUNDED, _unbounded),
    (Rule.UNDEFINED, _undefined),
    (Rule.UNKNOWN, _unknown),
    (Rule.UNDERFLOW, _underflow),
    (Rule.DIGITS, _digits),
    (Rule.PROVED, _proved),
    (Rule.PLAIN, _plain),
    (Rule.ALONG, _along),
    (Rule.STEP_LAW, _step_law),
    (Rule.MEASURED, _measured),
    (Rule.COMPARED, _compared),
)
"""The rules in order. What is left over agrees."""

AFTER_FIGURES = ORDER[[rule for rule, _ in ORDER].index(Rule.FIGURE) + 1 :]
"""What is asked of the methods themselves, before a figure is held against them."""


def judged_rows(found: Sequence[tuple[int, int, Evidence]], methods: Sequence[str]) -> Rows:
    """Rows that were looked at one by one, each with the id of its point, its entry and its evidence.

    >>> rows = judged_rows([(0, 2, Evidence({"reverse": 1.0}, left="nobody looked"))], ["reverse"])
    >>> rows.texts[rows.reason[0]], rows.passes.tolist()
    ('nobody looked', [False])
    """
    said = []
    for point, entry, evidence in found:
        judgement, rule = judged(evidence)
        said.append(
            {
                "point": point,
                "entry": entry,
                "values": {method: evidence.answers.get(method, math.nan) for method in methods},
                "verdict": judgement.verdict,
                "passes": judgement.lets_pass(own=evidence.own),
                "rule": rule,
                "reason": judgement.reason,
                "suspect": judgement.suspect,
                "expected": math.nan if evidence.figure is None else evidence.figure.value,
                "allowed": evidence.allowed,
                "step_error": evidence.step_error,
                **_proof_columns(evidence),
            }
        )
    return table(said)


def _proof_columns(evidence: Evidence) -> dict[str, Any]:
    """What a row says of the truth, where it was asked for and is known."""
    truth = evidence.truth
    if truth is None or truth.reason:
        return {"errors": {}}
    errors = {method: evidence.error(method) for method in evidence.judged}
    return {"reference": truth.midpoint, "radius": truth.radius, "road": truth.road, "errors": errors}


def variable_of(found: Sequence[tuple[int, int, Evidence]], methods: Sequence[str], **told: Any) -> VariableResult:
    """All rows of one variable, judged one by one, as a result; ``told`` is what it says beside them.

    >>> told = {"case": "f", "name": "d2f/dxdx", "role": "input", "quantity": "hessian", "shape": ()}
    >>> row = (0, 0, Evidence({"reverse": 1.0}, left="nobody looked"))
    >>> variable_of([row], ["reverse"], file="", line=0, **told).failed
    1
    """
    rows = judged_rows(found, methods)
    proved = [e for _, _, e in found if e.is_known]
    known = [(abs(e.truth.midpoint), e.allowed) for e in proved if e.truth is not None and e.truth.midpoint]
    return VariableResult(
        rows=rows,
        checked=len(rows),
        counts=Counter(VERDICTS[code] for code in rows.verdict.tolist()),
        failed=int(np.count_nonzero(~rows.passes)),
        differences=(),
        proved=len(proved),
        weak=sum(room > size / STRONG for size, room in known),
        power=max((2 * room / size for size, room in known), default=math.nan),
        **told,
    )

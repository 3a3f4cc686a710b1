"""The rules by which rows are judged: each alone, on plain evidence, and their order."""

from __future__ import annotations

import math
from typing import Any

import pytest
from flint import arb

from verify.case.case import load_case_text
from verify.judging import context
from verify.judging.allowance import Allowance
from verify.judging.audit import Finding
from verify.judging.evidence import Evidence, Figure
from verify.judging.rows import Judgement
from verify.judging.rules import ORDER, judged
from verify.judging.tied import Slope
from verify.methods.central import Central
from verify.records import SUBJECT
from verify.running.runner import run_loaded
from verify.running.settings import Settings
from verify.truth.reference import Enclosure
from verify.words import Rule, Verdict

TWO = Enclosure(2.0, 0.0, ball=arb(2))
NOTHING = Enclosure(math.nan, math.inf, "an op has no ball form")
UNBOUNDED: dict[str, Any] = {"allowed": math.inf, "least": 1e-15}
BOUNDS: dict[str, Any] = {"allowed": 1e-14, "step_error": 1e-6, "least": 1e-15}
AGREEING = {"symbolic": 2.0, "reverse": 2.0, "central": 2.0000001}
CULPRIT = Finding("exp", "forward", "f", 3, 1.0, 2.0)

ROWS: dict[str, tuple[Evidence, Rule, Verdict]] = {
    "nothing against it": (Evidence(AGREEING), Rule.AGREED, Verdict.PASS),
    "no number": (Evidence({SUBJECT: math.nan}, has_slope=True), Rule.NO_NUMBER, Verdict.FAIL),
    "an op that is broken": (Evidence(undefined="overflow", broken=(CULPRIT,)), Rule.BROKEN_OP, Verdict.FAIL),
    "no value on the way": (Evidence(undefined="overflow"), Rule.UNDEFINED, Verdict.UNDECIDED),
    "out of range": (Evidence(out_of_range="overflow"), Rule.RANGE, Verdict.UNDECIDED),
    "another figure": (Evidence(AGREEING, figure=Figure(2.1, 7, 1e-9, 5e-10)), Rule.FIGURE, Verdict.FAIL),
    "the same figure": (Evidence(AGREEING, figure=Figure(2.0, 7, 1e-9, 5e-10)), Rule.AGREED, Verdict.PASS),
    "not looked at": (Evidence(left="one of more than 3"), Rule.LEFT, Verdict.UNDECIDED),
    "no time": (Evidence(has_time=False), Rule.NO_TIME, Verdict.UNDECIDED),
    "disputed": (Evidence(AGREEING, disputed="disjoint"), Rule.DISPUTED, Verdict.DISPUTED),
    "right": (Evidence(AGREEING, truth=TWO, **BOUNDS), Rule.PROVED, Verdict.PASS),
    "wrong": (Evidence({**AGREEING, "reverse": 2.1}, truth=TWO, **BOUNDS), Rule.PROVED, Verdict.FAIL),
    "unbounded, right": (Evidence(AGREEING, truth=TWO, **UNBOUNDED), Rule.UNBOUNDED, Verdict.PASS),
    "unbounded, off": (
        Evidence({**AGREEING, "reverse": 2.1}, truth=TWO, **UNBOUNDED),
        Rule.UNBOUNDED, Verdict.UNDECIDED,
    ),
    "no truth for a subject": (Evidence({SUBJECT: 2.0}, truth=NOTHING, **BOUNDS), Rule.UNKNOWN, Verdict.UNDECIDED),
    "a digit too few": (
        Evidence({"reverse": 2 + 1e-14}, truth=TWO, wants_digits=True, allowed=1e-13, least=1e-15),
        Rule.DIGITS, Verdict.IMPRECISE,
    ),
    "far off": (Evidence({SUBJECT: 3.0}, plainly_off="off by far"), Rule.PLAIN, Verdict.FAIL),
    "along a direction": (Evidence(AGREEING, along=Judgement(Verdict.FAIL, "off")), Rule.ALONG, Verdict.FAIL),
    "apart": (Evidence(AGREEING, compared=Judgement(Verdict.FAIL, "apart", "reverse")), Rule.COMPARED, Verdict.FAIL),
    "large, right": (Evidence(AGREEING, is_large=True, **BOUNDS), Rule.MEASURED, Verdict.PASS),
    "large, wrong": (Evidence({**AGREEING, "reverse": 2.1}, is_large=True, **BOUNDS), Rule.MEASURED, Verdict.FAIL),
    "a black box": (
        Evidence({SUBJECT: 2.1}, law=Slope(2.1, 2.0, 1e-9, "wrong", "wrong: it is 2")), Rule.STEP_LAW, Verdict.FAIL,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", ROWS)
def test_one_row_one_rule(name: str) -> None:
    """Evidence -> the rule that decides, and what it comes to."""
    evidence, rule, verdict = ROWS[name]
    judgement, decided = judged(evidence)
    assert (rule, verdict) == (decided, judgement.verdict)


def test_the_rules_are_those_of_the_records() -> None:
    """Each has its name once; nothing else decides but what agrees, and that a whole variable is weak."""
    assert {*Rule} - {Rule.AGREED, Rule.WEAK} == {rule for rule, _ in ORDER}
    assert len(ORDER) == len({rule for rule, _ in ORDER})


def test_undecided_rows_pass_where_nobody_asked() -> None:
    """At a point that was drawn; at one that somebody gave they do not."""
    judgement, _ = judged(Evidence(undefined="overflow"))
    assert judgement.lets_pass(own=False)
    assert not judgement.lets_pass(own=True)


OFF = {**AGREEING, "central": 2.01}
"""Central alone is off, by more than its step may cost."""


@pytest.mark.parametrize(
    ("evidence", "verdict"),
    [
        (Evidence(OFF, truth=TWO, **BOUNDS, is_step_proved=True, culprits=()), Verdict.FAIL),
        (Evidence(OFF, truth=TWO, **BOUNDS, lacks_bound="no work left", culprits=()), Verdict.UNDECIDED),
        (Evidence(OFF, truth=TWO, **BOUNDS, lacks_bound="no work left", culprits=(CULPRIT,)), Verdict.FAIL),
        (Evidence({**OFF, "reverse": 2.1}, truth=TWO, **BOUNDS, culprits=()), Verdict.FAIL),
    ],
)
def test_an_estimate_accuses_nobody(evidence: Evidence, verdict: Verdict) -> None:
    """Central off by its own estimate is undecided; by a bound, or where an op row is wrong, it fails."""
    judgement, _ = judged(evidence)
    assert verdict is judgement.verdict
    assert ("central" in judgement.suspect) == (evidence.is_step_proved and verdict is Verdict.FAIL)


WAVY = """
case: wavy
inputs: {x: {at: 1, domain: [-2, 2]}}
stages: {f: x + 0.01 * sin(6.283185307179586 * 2**30 * x)}
"""
"""Steps that are powers of two see nothing of the wave."""


def test_central_is_not_accused_where_the_work_for_its_bounds_is_used_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the other methods proved passes, and says why; with work left a better step is taken."""
    assert {Verdict.PASS} == set(run_loaded(load_case_text(WAVY), Settings(points=0)).counts)
    monkeypatch.setattr(context, "MOST_STEP_WORK", 0)
    result = run_loaded(load_case_text(WAVY), Settings(points=0))
    row = result.variables[0].row(0)
    assert (Verdict.UNDECIDED, True, "") == (row.verdict, row.passes, row.suspect)
    assert "the work for bounds of central's step is used up, and an estimate accuses nobody" in row.reason


@pytest.mark.parametrize("off", [1.0, 1.001])
def test_a_wrong_central_difference_fails_by_a_bound(monkeypatch: pytest.MonkeyPatch, off: float) -> None:
    """The twin: where its step is bounded, central off by a thousandth is called wrong, alone."""
    right = Central._difference

    def wrong(*args: Any, **named: Any) -> Any:
        quotient, size = right(*args, **named)
        return quotient * off, size

    monkeypatch.setattr(Central, "_difference", wrong)
    result = run_loaded(load_case_text("{case: f, inputs: {x: {at: 3}}, stages: {f: x**3}}"), Settings(points=4))
    failing = list(result.failing())
    assert (off != 1.0) == bool(failing)
    assert {("central", Verdict.FAIL)} >= {(row.suspect, row.verdict) for row in failing}


def test_methods_that_differ_from_central_alone_accuse_nobody_by_an_estimate() -> None:
    """Without a truth, after mpmath found no op row to be wrong; before that, the difference is worth looking at."""
    apart = Judgement(Verdict.FAIL, "symbolic and reverse agree", "central", by_estimate=True)
    assert Verdict.FAIL is judged(Evidence(OFF, compared=apart))[0].verdict
    assert Verdict.UNDECIDED is judged(Evidence(OFF, compared=apart, culprits=()))[0].verdict
    judgement, _ = judged(Evidence(OFF, compared=apart, culprits=(CULPRIT,)))
    assert (Verdict.FAIL, CULPRIT.suspect) == (judgement.verdict, judgement.suspect)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_what_is_allowed_is_in_the_dtype_of_the_case(dtype: Any) -> None:
    """Its own unit roundoff, and its own smallest number."""
    import numpy as np

    from verify.case.expression import graph_from_expressions

    allowance = Allowance.of(graph_from_expressions({"x": ()}, {"f": "x * x"}), {"x": np.ones(1, dtype)})
    info = np.finfo(dtype)
    assert 9 * float(info.eps) / 2 + 16 * float(info.smallest_subnormal) == allowance.least(1.0)

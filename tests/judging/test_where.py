"""Branches that need not meet: where with its joints, its jumps and its branch that is not taken; steps and clip."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from verify.case.case import load_case_text
from verify.case.expression import graph_from_expressions
from verify.graph.interpret import Program
from verify.judging.branches import is_lost
from verify.ops import OPS
from verify.oracle.check import check_gradient
from verify.records import CaseResult, Row
from verify.running.runner import run_loaded
from verify.running.settings import Settings
from verify.words import Verdict

HUBER = "where(abs(x) <= 1, x**2 / 2, abs(x) - 0.5)"


def run(formula: str, at: str, more: str = "", points: int = 0) -> CaseResult:
    """The result of a case with one stage f, at its own point and some random ones."""
    text = f"case: a\ninputs: {{{at}}}\nstages: {{f: '{formula}'}}\n{more}\n"
    return run_loaded(load_case_text(text), Settings(points=points))


def rows(result: CaseResult) -> list[Row]:
    """All rows of a result."""
    return [found.row(i) for found in result.variables for i in range(len(found.rows))]


def verdict(result: CaseResult, name: str = "x") -> tuple[Verdict, str]:
    """Verdict and reason of the gradient by one input at the case's own point."""
    row = next(row for row in rows(result) if row.quantity == "gradient" and row.variable == name and row.point == 0)
    return row.verdict, row.reason


@pytest.mark.parametrize("x", [1, -1])
@pytest.mark.parametrize(
    "formula",
    [HUBER, HUBER.replace("<=", "<"), "elu(x - 1) + elu(-x - 1)", "where(x > 0, x**2, -x**2) * where(x >= 1, x, x)"],
)
def test_a_smooth_joint_is_a_smooth_point(formula: str, x: float) -> None:
    """Huber where its parts meet, elu with alpha 1 at 0: all branches have one slope, and the answer must be it."""
    result = run(formula, f"x: {{at: {x}, domain: [-3, 3]}}")
    assert result.passes
    assert Verdict.PASS is verdict(result)[0]


@pytest.mark.parametrize("at", ["x: {at: 1, domain: [-3, 3]}", "x: {at: 2, domain: [-3, 3]}"])
def test_a_wrong_slope_at_a_smooth_joint_fails(at: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The twin: a VJP that is off by 1e-9 on the branch that is taken, at the joint and beside it."""
    right = OPS["where_or_equal"]
    vjps = tuple((lambda *a, vjp=vjp, **k: vjp(*a, **k) * (1 + 1e-9)) for vjp in right.vjps)
    monkeypatch.setitem(OPS, "where_or_equal", replace(right, vjps=vjps))
    assert Verdict.FAIL is verdict(run(HUBER, at))[0]


def test_branches_that_meet_make_a_kink() -> None:
    """relu written with where: at 0 any slope from 0 to 1; (1, 1) and 2 are none."""
    for formula in ("where(x > 0, x, 0)", "where(x >= 0, x, 0)", "where(0 < x, x, 0 * x)"):
        assert Verdict.SUBGRADIENT is verdict(run(formula, "x: {at: 0, domain: [-1, 1]}"))[0]
    for slope, passes in ((0.0, True), (0.25, True), (1.0, True), (1.001, False), (-0.001, False)):
        judged = check_gradient(lambda x, s=slope: s * np.ones_like(x), graph_case("where(x > 0, x, 0)", 0.0), points=0)
        assert passes == judged.ok


def graph_case(formula: str, x: float) -> Any:
    """A case of one scalar input."""
    return load_case_text(f"case: a\ninputs: {{x: {{at: {x}, domain: [-3, 3]}}}}\nstages: {{f: '{formula}'}}\n")


@pytest.mark.parametrize("formula", ["where(x > 1, x, 2 * x)", "where(x >= 1, x**2, 3)", "floor(x)", "ceil(2 * x)"])
def test_branches_that_part_make_a_jump(formula: str) -> None:
    """Where the values differ there is no subgradient: nothing is shown, and the value is judged all the same."""
    result = run(formula, "x: {at: 1, domain: [-3, 3]}", points=20)
    kind, reason = verdict(result)
    assert Verdict.UNDECIDED is kind
    assert "jumps here: there is no subgradient" in reason
    counts = Counter(row.verdict for row in rows(result) if row.point > 0)
    assert set(counts) <= {Verdict.PASS, Verdict.UNDECIDED}
    assert counts[Verdict.PASS] > 4 * counts[Verdict.UNDECIDED]
    values = [row.verdict for row in rows(result) if row.quantity == "value" and row.point == 0]
    assert [Verdict.PASS] == values


@pytest.mark.parametrize("formula", ["where(a * b > c, 5, 7) * a", "floor(a * b + 1 - c) * a"])
def test_a_float_that_takes_the_other_branch_accuses_nobody(formula: str) -> None:
    """0.1 * 10 is 1 in floats and above 1 by 5e-17 exactly: value and gradient of either side are nobody's fault."""
    at = "a: {at: 0.1, domain: [0, 1]}, b: {at: 10, domain: [1, 20]}, c: {at: 1, domain: [0, 2]}"
    result = run(formula, at)
    assert {row.verdict for row in rows(result)} <= {Verdict.PASS, Verdict.UNDECIDED}
    assert Verdict.UNDECIDED is verdict(result, "a")[0]


POISON = (
    "where(x > 0, log(x), x - 1)",
    "where(x > 0, sqrt(x), -x)",
    "where(x <= 0, 0, 1 / x)",
    "where(x < 0, 0, x**1.5)",
)


@pytest.mark.parametrize("formula", POISON)
@pytest.mark.parametrize("x", [-2.0, -1e-300, 0.7])
def test_a_branch_that_is_not_taken_does_not_poison(formula: str, x: float) -> None:
    """Where it has no value, or an infinite slope, the other branch's answer stands, by every method."""
    result = run(formula, f"x: {{at: {x}, domain: [-3, 3]}}", points=16)
    assert [] == [(row.variable, row.point, row.reason) for row in result.failing()]
    assert Verdict.PASS is verdict(result)[0]


def test_a_branch_that_is_taken_must_have_a_value() -> None:
    """The twin: what is read must be inside its domain."""
    result = run("where(x < 1, log(x), x - 1)", "x: {at: -2, domain: [-3, 3]}")
    assert Verdict.UNDECIDED is verdict(result)[0]
    assert "outside the domain of log" in verdict(result)[1]


def test_entries_that_nobody_reads_are_told_from_those_that_are_lost() -> None:
    """Entry by entry, through ops between the branch and where, and through a sum all entries at once."""
    graph = graph_from_expressions(
        {"v": (3,), "s": ()},
        {"f": "sum(where(v > 0, 2 * log(v), v))", "g": "where(s > 0, sum(log(v)), s)"},
        outputs=["f", "g"],
    )
    values = Program(graph).run({"v": np.array([[-1.0, 0.0, 2.0]] * 2), "s": np.array([1.0, -1.0])})
    logs = [i for i, node in enumerate(graph.nodes) if node.op == "log"]
    lost = is_lost(graph, values)
    assert [[False] * 3] * 2 == lost[logs[0]].tolist()
    assert [[True, True, False], [False] * 3] == lost[logs[1]].tolist()


@pytest.mark.parametrize(
    ("slopes", "passes"),
    [((1.0, 1.0), True), ((0.0, 0.0), True), ((0.5, 0.25), True), ((1.1, 1.0), False), ((1.0, -0.1), False)],
)
def test_every_subgradient_of_clip_at_its_bounds_is_accepted(slopes: tuple[float, float], passes: bool) -> None:
    """Libraries differ there: 1 in torch, 0 in autograd, 1/2 in jax; beyond one they are wrong."""
    case = load_case_text(
        "case: a\ninputs: {x: {shape: [2], at: [-1, 0.1], domain: [-3, 3]}}\nstages: {f: 'sum(clip(x, -1, 0.1))'}\n"
    )
    assert passes == check_gradient(lambda x: np.array(slopes) * np.ones_like(x), case, points=0).ok


def test_conventions_may_be_chosen() -> None:
    """What the engine answers at a tie is the row's first convention, or the one under ``ties:``."""
    for ties, slope in (("", 1.0), ("ties: {clip: outside}", 0.0), ("ties: {clip: half}", 0.5)):
        result = run("clip(x, -1, 1)", "x: {at: 1, domain: [-3, 3]}", ties)
        (row,) = [row for row in rows(result) if row.quantity == "gradient" and row.variable == "x" and row.point == 0]
        assert slope == row.values["reverse"]
        assert Verdict.SUBGRADIENT is row.verdict


def test_floor_is_flat_between_its_jumps() -> None:
    """A gradient of 0 is right there, any other is wrong, however small."""
    case = graph_case("x + floor(x)", 0.25)
    assert check_gradient(lambda x: 1 + 0 * x, case).ok
    assert not check_gradient(lambda x: 1 + 1e-9 + 0 * x, case).ok


def test_arctan2_goes_round_and_jumps_by_a_turn() -> None:
    """All quadrants pass; on the half line a = 0, b < 0, and at the origin, nothing is shown."""
    for a, b in ((1, 1), (1, -1), (-1, -1), (-1, 1), (1, 0), (-1, 0), (0, 1), (1e-9, -1)):
        result = run("arctan2(x, y)", f"x: {{at: {a}, domain: [-3, 3]}}, y: {{at: {b}, domain: [-3, 3]}}")
        assert result.passes, (a, b)
    for a, b, why in ((0, -1, "arctan2 jumps here"), (0, 0, "the slope is infinite or undefined")):
        result = run("arctan2(x, y)", f"x: {{at: {a}, domain: [-3, 3]}}, y: {{at: {b}, domain: [-3, 3]}}")
        assert Verdict.UNDECIDED is verdict(result)[0]
        assert why in verdict(result)[1]

"""Where floats leave their range: the verdict names it, nobody is called wrong for an infinite slope."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from verify.case.case import load_case_text
from verify.graph.interpret import Program
from verify.judging.audit import audit
from verify.ops import OPS
from verify.oracle.check import check_gradient
from verify.running.runner import run_loaded
from verify.running.settings import Settings
from verify.words import Verdict


@pytest.mark.parametrize("text", ["cbrt(x**4)", "exp(cbrt(x**4))", "sqrt(x**4)"])
def test_an_infinite_slope_at_an_operand_that_vanished_accuses_no_op(text: str) -> None:
    """x**4 is 0 in floats: what its root has for a slope there is nobody's fault, and the reason names the range."""
    case = load_case_text(f"{{case: t, inputs: {{x: {{at: 3e-313}}}}, stages: {{f: {text}}}}}")
    (rows,) = [v for v in run_loaded(case, Settings(points=0)).variables if v.name == "x"]
    assert rows.counts == {Verdict.UNDECIDED: 1}
    assert "underflow on the way in power_constant" in next(iter(rows.failing())).reason


def test_a_wrong_slope_beside_it_is_still_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """The twin: where the slope is finite, a rule that is off is named."""
    graph = load_case_text("{case: t, inputs: {x: {at: 2}}, stages: {f: cbrt(x)}}").graph
    values = Program(graph).run({"x": np.array([2.0])})
    assert audit(graph, values) == []
    (right,) = OPS["cbrt"].vjps
    wrong = replace(OPS["cbrt"], vjps=(lambda g, y, a: right(g, y, a) * (1 + 1e-6),))
    monkeypatch.setitem(OPS, "cbrt", wrong)
    assert [finding.column for finding in audit(graph, values)] == ["VJP"]


def product(x: Any) -> Any:
    """All entries multiplied."""
    return np.prod(x)


def by_division(x: Any) -> Any:
    """The product over each entry: lost where the product vanishes."""
    return np.array([float(np.prod(x)) / float(entry) for entry in x])


def test_a_gradient_that_is_lost_to_underflow_fails_for_that_cause() -> None:
    """The first line and the reason name the range of floats; a right one passes there."""
    asked: dict[str, Any] = {"at": {"x": np.array([5e-324, 0.2, 0.3])}, "points": 0, "shrink": False}
    run = check_gradient(by_division, product, **asked)
    (row,) = [row for variable in run.cases[0].variables for row in variable.failing()]
    assert "floats leave their range at this point: underflow on the way in prod" in row.reason
    assert row.diagnosis[0].startswith("floats leave their range wherever your dx is wrong: underflow")
    assert check_gradient(lambda x: np.array([x[1] * x[2], x[0] * x[2], x[0] * x[1]]), product, **asked).ok


def test_a_gradient_that_is_wrong_elsewhere_is_not_put_down_to_the_range() -> None:
    """The twin: off by a millionth at every point."""

    def off(x: Any) -> Any:
        return by_division(x) * (1 + 1e-6)

    run = check_gradient(off, product, at={"x": np.array([0.5, 0.2, 0.3])}, domain={"x": (-1.0, 1.0)}, shrink=False)
    assert not run.ok
    told = [line for v in run.cases[0].variables for line in v.diagnosis]
    assert told
    assert not any("range" in line for line in told)


def cosine(a: Any, b: Any) -> Any:
    """The cosine of the angle between two vectors."""
    return a @ b / (np.linalg.norm(a) * np.linalg.norm(b))


def textbook(a: Any, b: Any) -> Any:
    """Its gradient as books have it: a cube of a length is none that floats hold where inputs are tiny."""
    p, q = np.linalg.norm(a), np.linalg.norm(b)
    return b / (p * q) - a * (a @ b) / (p**3 * q), a / (p * q) - b * (a @ b) / (q**3 * p)


def wrong_by_little(a: Any, b: Any) -> Any:
    """The same, off by a millionth."""
    da, db = textbook(a, b)
    return da * (1 + 1e-6), db


def wrong_where_tiny(a: Any, b: Any) -> Any:
    """Right but where inputs are tiny: no formula that leaves the range of floats, but one that is another."""
    da, db = textbook(a, b)
    return np.where(np.abs(a).max() < 1e-20, 0.0, 1.0) * da, db


def test_a_right_formula_that_leaves_the_range_of_floats_passes_at_points_that_nobody_asked_for() -> None:
    """With a note that says so; at a point that was given an answer that is no number fails."""
    asked: dict[str, Any] = {"domain": {"a": (-3, 3), "b": (-3, 3)}, "shrink": False}
    here = {"a": [1.0, 2.0], "b": [-0.5, 3.0]}
    run = check_gradient(textbook, cosine, at=here, **asked)
    assert run.ok
    assert any("leaves the range of floats" in note for note in run.cases[0].notes)
    assert not any("lost digits to rounding" in note for note in run.cases[0].notes)
    for wrong in (wrong_by_little, wrong_where_tiny):
        assert not check_gradient(wrong, cosine, at=here, **asked).ok
    tiny = {name: [1e-100 * x for x in values] for name, values in here.items()}
    with np.errstate(all="ignore"):  # it is the verdict that is to fail, and no warning that is taken for an error
        run = check_gradient(textbook, cosine, at=tiny, shrink=False)
    assert run.cases[0].counts == {Verdict.FAIL: 4}


def test_a_right_formula_that_underflows_at_ordinary_sizes_is_not_excused() -> None:
    """Only inputs that nobody could give excuse it."""

    def lost(x: Any) -> Any:
        return 2 * x if x == 0.5 else x * 1e-200 * 1e-200 * 1e200 * 2e200

    run = check_gradient(lost, lambda x: x**2, at={"x": 0.5}, domain={"x": (0.25, 1)}, shrink=False)
    assert not run.ok
    assert "formula is right" in next(iter(run.cases[0].failing())).reason


def test_an_overflow_at_sizes_of_the_domain_is_a_fault() -> None:
    """Its formula is right too, but 800 is a size that the caller named."""

    def naive(x: Any) -> Any:
        return np.exp(x) / (1 + np.exp(x)) ** 2

    def stable(x: Any) -> Any:
        e = np.exp(-np.abs(x))
        return e / (1 + e) ** 2

    asked: dict[str, Any] = {"at": {"x": 0.5}, "domain": {"x": (-1000, 1000)}, "shrink": False}
    assert not check_gradient(naive, lambda x: 1 / (1 + np.exp(-x)), **asked).ok
    assert check_gradient(stable, lambda x: 1 / (1 + np.exp(-x)), **asked).ok


def test_points_without_a_value_of_the_function_are_left_out() -> None:
    """Where the function itself is not finite in floats, and its program is, nothing is measured."""
    asked: dict[str, Any] = {"domain": {"a": (-3, 3), "b": (-3, 3)}, "shrink": False}
    run = check_gradient(textbook, cosine, at={"a": [1.0, 2.0], "b": [-0.5, 3.0]}, **asked)
    assert len(run.cases) == 1
    assert any("which were left out (its value is not finite)" in note for note in run.cases[0].notes)

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
from verify.records import Verdict
from verify.running.runner import run_loaded
from verify.running.settings import Settings


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

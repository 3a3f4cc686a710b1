"""How much a check could have caught: power, weak rows, and variables that were not checked at all."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from verify.case.case import Case, load_case, load_case_text
from verify.case.files import find_case_files, shipped_cases
from verify.graph.derivative import Derivative
from verify.judging.power import strength
from verify.methods.reverse import Reverse
from verify.records import CaseResult, Rows, VariableResult
from verify.running.runner import run_loaded
from verify.running.settings import Settings
from verify.words import Verdict

SHIPPED = find_case_files([shipped_cases() / "notes"])


def rows(reference: list[float], allowed: list[float], error: list[float], entry: list[int] | None = None) -> Rows:
    """Proved rows with these columns, of one variable."""
    count = len(reference)
    none = np.zeros(count, dtype=np.int64)
    return Rows(
        none,
        none if entry is None else np.array(entry),
        reference=np.array(reference),
        radius=np.where(np.isfinite(reference), 0.0, np.inf),
        allowed=np.array(allowed),
        errors={"reverse": np.array(error), "central": np.full(count, 0.5)},
    )


def test_power_is_that_of_the_best_point_and_the_worst_entry() -> None:
    """A fault in either entry is sure to be seen at some point."""
    known = strength(rows([1.0, 1.0, 1.0], [1e-15, 1e-12, 1e-9], [0.0, 0.0, 0.0], [0, 1, 1]), 2)
    assert 1e-12 == pytest.approx(known.power)
    assert (3, 0, 3) == (known.proved, known.weak, known.strong)


def test_an_error_takes_from_the_power() -> None:
    """An answer that is off by half of what it may be hides faults that push it back; central's error is not meant."""
    assert 1e-12 == pytest.approx(strength(rows([1.0], [1e-12], [0.0]), 1).power)
    assert 1.5e-12 == pytest.approx(strength(rows([1.0], [1e-12], [5e-13]), 1).power)


@pytest.mark.parametrize(
    ("reference", "allowed", "weak", "strong"),
    [
        (1.0, 1 / 256, 0, 1),
        (1.0, 1 / 255, 1, 0),
        (0.0, 8e-323, 0, 0),
        (float("nan"), 1e-15, 0, 0),
    ],
)
def test_weak_rows(reference: float, allowed: float, weak: int, strong: int) -> None:
    """More than 1/256 of the gradient is too much; an exact zero is neither; what was not enclosed does not count."""
    known = strength(rows([reference], [allowed], [0.0]), 1)
    assert (weak, strong) == (known.weak, known.strong)
    assert known.is_too_weak == bool(weak)


def result_of(text: str, points: int = 8) -> CaseResult:
    """A case from text, run."""
    return run_loaded(load_case_text(text), Settings(points=points))


def variable(result: CaseResult, name: str) -> VariableResult:
    """The gradient rows of a variable."""
    return next(v for v in result.variables if v.name == name and v.quantity == "gradient")


CANCELLED = "case: weak\ninputs: {{x: {{at: 1.5, domain: [1, 2]}}}}\nstages: {{f: (1 + x) - 1 - x + {c} * x**2}}\n"


def test_a_variable_without_a_strong_row_is_undecided() -> None:
    """All that is left of the gradient is smaller than the rounding on the way; with a larger factor it is not."""
    weak = result_of(CANCELLED.format(c="1e-17"))
    assert Verdict.UNDECIDED is variable(weak, "x").verdict
    assert not weak.passes
    first = variable(weak, "x").row(0)
    assert "too weak" in first.reason
    assert variable(weak, "x").weak == variable(weak, "x").proved > 0
    strong = result_of(CANCELLED.format(c="1e-9"))
    assert Verdict.PASS is variable(strong, "x").verdict


def test_a_gradient_that_is_zero_everywhere_passes_with_a_note() -> None:
    """There is no factor to be wrong, and any other answer is rejected; but nothing more is known."""
    result = result_of("case: zero\ninputs: {x: {at: -2, domain: [-3, -1]}}\nstages: {f: relu(x) + 1}\n")
    assert result.passes
    assert any("zero at every point" in note for note in result.notes)


SAME = "case: same\ninputs: {{x: {{at: 0.5, domain: [0, 2]}}}}\nstages: {{f: sqrt(x**2 + 2 * x + 1) - x + {c} * x}}\n"


def test_a_gradient_that_cancels_to_zero_passes_with_a_note() -> None:
    """Two slopes of 1 leave no exact 0, but a narrow enclosure of it; with 1e-9 more there is a slope to be seen."""
    zero, more = (result_of(SAME.format(c=c)) for c in ("0", "1e-9"))
    assert zero.passes
    assert (0, True) == (variable(zero, "x").weak, math.isnan(variable(zero, "x").power))
    assert any("zero at every point" in note for note in zero.notes)
    assert more.passes
    assert variable(more, "x").power < 1e-5
    assert not any("zero at every point" in note for note in more.notes)


# ----------------------------------------------------------------------------------------------- over the shipped cases


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_the_shipped_cases_are_checked_well(path: Path) -> None:
    """Median power 1e-12 or better, at most 5 % weak rows, at most 1 % undecided."""
    result = run_loaded(load_case(path), Settings())
    gradients = [v for v in result.variables if v.quantity == "gradient"]
    assert statistics.median(v.power for v in gradients) <= 1e-12
    assert all(v.proved for v in gradients)
    assert sum(v.weak for v in gradients) <= 0.05 * sum(v.proved for v in gradients)
    assert result.counts[Verdict.UNDECIDED] <= 0.01 * sum(result.counts.values())


def scaled_run(case: Case, name: str, factor: float, monkeypatch: pytest.MonkeyPatch, points: int = 8) -> CaseResult:
    """The case with the engine's gradient of one variable multiplied."""
    right = Reverse.differentiate

    def wrong(self: Reverse, inputs: Mapping[str, Any], upstream: Mapping[str, Any]) -> Derivative:
        answer = right(self, inputs, upstream)
        return Derivative(answer.values, {**answer.gradients, name: answer.gradients[name] * factor})

    with monkeypatch.context() as patch:
        patch.setattr(Reverse, "differentiate", wrong)
        return run_loaded(case, Settings(points=points))


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_a_fault_of_1e_9_in_any_variable_is_seen(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each variable of each case in turn is multiplied by 1 + 1e-9: its rows fail, and nobody else's."""
    case = load_case(path)
    assert run_loaded(case, Settings(points=8)).passes
    for name in case.variables:
        result = scaled_run(case, name, 1 + 1e-9, monkeypatch, points=1)
        failing = {row.variable for row in result.failing()}
        assert {name} == failing
        assert Verdict.FAIL is variable(result, name).verdict
        assert "reverse" in next(result.failing()).suspect


def test_a_fault_just_above_the_power_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the report promises holds: a little more than the power is rejected, a tenth of it need not be."""
    case = load_case(shipped_cases() / "notes" / "sigmoid_neuron.yaml")
    known = run_loaded(case, Settings(points=8))
    for name in ("w", "x"):
        power = variable(known, name).power
        assert not scaled_run(case, name, 1 + 1.01 * power, monkeypatch).passes
        assert not scaled_run(case, name, 1 - 1.01 * power, monkeypatch).passes
    assert scaled_run(case, "x", 1 + 0.01 * variable(known, "x").power, monkeypatch).passes

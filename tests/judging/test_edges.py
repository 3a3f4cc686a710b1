"""The edges: outside the domain, on its boundary, past the range of floats, signed zeros, each with its reason.

Nothing here crashes, nothing passes because all methods are lost alike, and what is undecided at a point that the case
names ends the command with 1.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from verify.case.case import load_case_text
from verify.case.expression import graph_from_expressions
from verify.cli import main
from verify.errors import CaseError
from verify.graph.graph import Graph
from verify.graph.interpret import Program
from verify.judging.underflow import too_large, underflow
from verify.records import CaseResult, Row
from verify.running.runner import run_cases, run_loaded
from verify.running.settings import Settings
from verify.words import Verdict

DTYPES = ("float64", "float32")


def text_of(formula: str, at: str, dtype: str, domain: str = "", further: str = "") -> str:
    """A case of one formula in x, at one point or two."""
    fields = f"at: {at}, dtype: {dtype}" + (f", domain: {domain}" if domain else "")
    points = f"points:\n  - {{x: {further}}}\n" if further else ""
    return f"case: edge\ninputs:\n  x: {{{fields}}}\nstages:\n  f: {formula}\n{points}"


def result_of(text: str, points: int = 0) -> CaseResult:
    """What a run of a case finds."""
    return run_loaded(load_case_text(text), Settings(points=points))


def rows_of(result: CaseResult, name: str = "x", quantity: str = "gradient") -> list[Row]:
    """All rows of one variable."""
    (found,) = (v for v in result.variables if (v.name, v.quantity) == (name, quantity))
    return [found.row(i) for i in range(len(found.rows))]


SMALL = {"float64": "1e-200", "float32": "1e-30"}
DENORMAL = {"float64": "1e-310", "float32": "1e-40"}
LEAST = {"float64": "5e-324", "float32": "1e-45"}
LARGE = {"float64": "1.7e308", "float32": "3e38"}

UNDECIDED = (
    ("log(x)", "-1", "outside the domain of log: a > 0, got -1"),
    ("sqrt(x)", "-1", "outside the domain of sqrt: a >= 0, got -1"),
    ("sqrt(x)", "0", "the slope is infinite or undefined here"),
    ("sqrt(x)", "-0.0", "the slope is infinite or undefined here"),
    ("log(x)", "0", "outside the domain of log: a > 0, got 0"),
    ("x**-1", "0", "power_constant"),
    ("1 / x", "0", "outside the domain of divide: b != 0, got 0"),
    ("1 / x", "-0.0", "outside the domain of divide: b != 0, got -0"),
    ("1 / (1 + exp(-x))", "-1000", "intermediate overflow or undefined value in exp"),
    ("exp(x) / exp(x)", "1000", "intermediate overflow or undefined value in exp"),
    ("x * 3", LARGE, "intermediate overflow or undefined value in multiply"),
    ("1 / x", LEAST, "intermediate overflow or undefined value in divide"),
    ("log(x)", LEAST, "a derivative is more than"),
    ("(1 + 0 * x) ** exp(x) * 1e3", {"float64": "707", "float32": "87"}, "a derivative is more than"),
    ("sigmoid(40 + 0 * x) ** exp(x) * 1e3", {"float64": "707", "float32": "87"}, "rounding on the way forward"),
    ("sqrt(exp(x**3))", "-13", "underflow on the way in exp"),
    ("sqrt(x * x)", SMALL, "underflow on the way in multiply"),
    ("x * x / x", SMALL, "underflow on the way in multiply"),
    ("sqrt(-exp(x))", "-800", "underflow on the way in exp"),
)
"""Formula, point (by dtype where it needs to be), and words of the reason."""

PASSING = (
    ("exp(x)", "-800"),
    ("x * x * x", SMALL),
    ("sigmoid(x)", DENORMAL),
    ("sigmoid(x)", "-1000"),
    ("sigmoid(x)", "1000"),
    ("tanh(x)", "1000"),
    ("x**2", DENORMAL),
    ("x * 0.5", LEAST),
    ("log(x)", {"float64": "1e-300", "float32": "1e-30"}),
    ("1 / x", "1e30"),
    ("1e-9 * log(x)", DENORMAL),
    ("x + 1", "-0.0"),
)
"""Hard points at which everything is in order."""

TIES = (
    ("abs(x)", "-0.0", "tie of abs"),
    ("abs(x)", "0", "tie of abs"),
    ("max(0.0, x)", "-0.0", "tie of max"),
    ("max(x, -0.0)", "0", "tie of max"),
    ("relu(x)", "-0.0", "tie of relu"),
    ("abs(x * x) ** 0.5", "0", ""),
)
"""Signed zeros are zeros: no branch is decided by the sign."""


def at_of(at: str | dict[str, str], dtype: str) -> str:
    """The point for a dtype."""
    return at if isinstance(at, str) else at[dtype]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("formula", "at", "reason"), UNDECIDED)
def test_undecided_with_its_reason(formula: str, at: str | dict[str, str], reason: str, dtype: str) -> None:
    """At a point that the case names it does not pass."""
    (row,) = rows_of(result_of(text_of(formula, at_of(at, dtype), dtype)))
    assert (Verdict.UNDECIDED, False) == (row.verdict, row.passes)
    assert reason in row.reason
    assert row.suspect == ""


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("formula", "at"), PASSING)
def test_hard_points_that_pass(formula: str, at: str | dict[str, str], dtype: str) -> None:
    """The twin: an extreme input is no excuse where nothing is lost.

    A second point, an ordinary one, keeps the check from being too weak: where a gradient is nearly zero any is.
    """
    wide = "[-1e38, 1e38]"
    result = result_of(text_of(formula, at_of(at, dtype), dtype, wide, "0.5"))
    assert {Verdict.PASS} == {row.verdict for name in "xf" for row in rows_of(result, name)}
    assert result.passes


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("formula", "at", "reason"), TIES[:-1])
def test_signed_zeros_are_ties(formula: str, at: str, reason: str, dtype: str) -> None:
    """-0.0 is on the same kink as 0.0."""
    (row,) = rows_of(result_of(text_of(formula, at, dtype)))
    assert (Verdict.SUBGRADIENT, True) == (row.verdict, row.passes)
    assert reason in row.reason


@pytest.mark.parametrize("at", [".inf", "-.inf", ".nan", "[1, .inf]"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_infinities_and_nan_are_refused_at_load(at: str, dtype: str) -> None:
    """With the place and what to do."""
    with pytest.raises(CaseError) as caught:
        load_case_text(text_of("sum(x) * 2" if "[" in at else "x * 2", at, dtype))
    assert "expected a finite number" in str(caught.value.problems[0])
    assert "choose another point" in str(caught.value.problems[0])


def test_what_float32_cannot_hold_is_refused_at_load() -> None:
    """1e39 is infinite in float32; the twin in float64 is a number like any other."""
    with pytest.raises(CaseError):
        load_case_text(text_of("x * 2", "1e39", "float32"))
    assert result_of(text_of("x * 2", "1e39", "float64")).passes


RANDOM = (
    ("log(x)", "[-3, -1]", "outside the domain of log"),
    ("1 / (1 + exp(-x))", "[-2000, -1000]", "intermediate overflow or undefined value in exp"),
    ("sqrt(exp(x**3))", "[-20, -13]", "underflow on the way in exp"),
    ("exp(x)", "[800, 900]", "intermediate overflow or undefined value in exp"),
)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("formula", "domain", "reason"), RANDOM)
def test_random_points_are_undecided_for_the_same_reason(formula: str, domain: str, reason: str, dtype: str) -> None:
    """They do not fail a case, and they are not counted as passing either."""
    low = domain.strip("[]").split(",")[0]
    result = result_of(text_of(formula, low, dtype, domain), points=12)
    random = [row for row in rows_of(result) if row.point != 0]
    assert [(Verdict.UNDECIDED, True)] * 12 == [(row.verdict, row.passes) for row in random]
    assert all(reason in row.reason for row in random)


@pytest.mark.parametrize(
    ("formula", "at", "code"),
    [("sqrt(exp(x**3))", "-13", 1), ("log(x)", "-1", 1), ("log(x)", ".inf", 2), ("exp(x)", "-800", 0)],
)
def test_exit_codes(formula: str, at: str, code: int, tmp_path: Path) -> None:
    """Undecided at an own point 1, refused 2, in order 0."""
    path = tmp_path / "case.yaml"
    path.write_text(text_of(formula, at, "float64", "[-1000, 1]", "0.5"), encoding="utf-8")
    assert code == main(["run", str(path), "--points", "0", "--json", str(tmp_path / "run.json")])
    assert code == run_cases([path], Settings(points=0)).exit_code


def test_rounding_without_bound_passes_only_by_proof() -> None:
    """All methods agree on noise after sixty steps of a chaotic map; after five they agree on the truth."""
    for steps, verdicts in ((5, {Verdict.PASS}), (60, {Verdict.UNDECIDED})):
        stages = "".join(f"  s{i}: 4 * s{i - 1} * (1 - s{i - 1})\n" for i in range(1, steps))
        text = f"case: map\ninputs:\n  x: {{at: 0.3}}\nstages:\n  s0: 4 * x * (1 - x)\n{stages}"
        result = result_of(text)
        last = f"s{steps - 1}"
        assert verdicts == {row.verdict for row in rows_of(result, last, "value")}


def floats_of(graph: Graph, x: float) -> list[np.ndarray]:
    """The values of all nodes."""
    return list(Program(graph).run({"x": np.array([x])}))


def test_a_zero_that_is_one_is_no_underflow() -> None:
    """The product with an exact zero is zero in truth too, and a ball that holds zero shows nothing."""
    from flint import arb

    graph = graph_from_expressions({"x": ()}, {"f": "x * 0"})
    assert underflow(graph, floats_of(graph, 3.0), [arb(3), arb(0), arb(0)]) == ""
    assert underflow(graph, floats_of(graph, 3.0), [arb(3), arb(0), arb(0, 1e-400)]) == ""
    assert "multiply" in underflow(graph, floats_of(graph, 3.0), [arb(3), arb(0), arb(2) ** -2000])


def test_a_derivative_within_range_is_no_overflow() -> None:
    """Up to the largest float, not beyond."""
    from flint import arb

    assert too_large([np.ones(1)], [arb(float(np.finfo(np.float64).max))]) == ""
    assert "more than 1.8e+308" in too_large([np.ones(1)], [arb(2) ** 1025])


MASKED = """\
case: masked
inputs: {x: {at: 0.5, domain: [-2, 2]}, y: {at: 0.25, domain: [-2, 2]}}
stages:
  a: exp(x)
  b: exp(y - 1000)
  p: a / (a + bROOT)
"""


def test_a_score_that_a_softmax_masks_is_no_underflow_to_mind() -> None:
    """Its share is less than any float, so 0 is right; the gradient of x cancels to as little."""
    result = result_of(MASKED.replace("ROOT", ""))
    assert result.passes
    assert {Verdict.PASS} == {row.verdict for name in "xy" for row in rows_of(result, name)}


def test_a_share_that_floats_could_hold_is_not_masked() -> None:
    """The twin: the same way through 0, but the share is 1e-43 in truth, and nothing says that 0 is right."""
    result = result_of(MASKED.replace("ROOT", "**0.1"))
    assert not result.passes
    assert all("underflow on the way in exp" in row.reason for row in rows_of(result, "y"))

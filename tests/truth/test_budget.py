"""The budget of a proof: what explodes ends with a reason, in bounded time and precision; both are options."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from verify.cli import main
from verify.commands.options import RUN_OPTIONS
from verify.errors import UsageError
from verify.records import CaseResult
from verify.running.runner import run_case, run_cases
from verify.running.settings import Settings
from verify.truth.reference import FIRST_BITS, MOST_BITS, MOST_WORK, Reference
from verify.words import Verdict

ITERATED = "\n".join(
    ["case: iterated map", "inputs:", "  x: {at: 0.3, domain: [0.1, 0.9]}", "stages:", "  s1: 4 * x * (1 - x)"]
    + [f"  s{i}: 4 * s{i - 1} * (1 - s{i - 1})" for i in range(2, 101)]
)
"""x -> 4 x (1 - x) a hundred times: every step doubles an error, so that floats know nothing of the end."""


def small_case(formula: str, at: float) -> str:
    """A case of one formula in x."""
    return f"case: small\ninputs:\n  x: {{at: {at!r}, domain: [0.5, 4]}}\nstages:\n  f: {formula}\n"


def run_text(text: str, folder: Path, **asked: Any) -> CaseResult:
    """The result of a case file."""
    path = folder / "case.yaml"
    path.write_text(text, encoding="utf-8")
    result = run_case(path, Settings(**asked))
    assert () == result.problems
    return result


def outcomes(result: CaseResult) -> set[tuple[Verdict, str]]:
    """Verdict and reason of every row."""
    rows = (variable.row(i) for variable in result.variables for i in range(len(variable.rows)))
    return {(row.verdict, row.reason) for row in rows}


@pytest.mark.parametrize(
    ("formula", "at", "verdict", "reason"),
    [
        ("x**x**x", 2.5, Verdict.PASS, ""),
        ("x**x**x**x", 3.0, Verdict.UNDECIDED, "intermediate overflow or undefined value in power"),
        ("exp(exp(exp(x)))", 1.0, Verdict.PASS, ""),
        ("exp(exp(exp(x)))", 2.0, Verdict.UNDECIDED, "intermediate overflow or undefined value in exp"),
        ("exp(exp(exp(exp(exp(x)))))", 4.0, Verdict.UNDECIDED, "intermediate overflow or undefined value in exp"),
    ],
)
def test_towers_of_powers_end(formula: str, at: float, verdict: Verdict, reason: str, tmp_path: Path) -> None:
    """The numbers have more digits than memory: SymPy and balls leave them alone."""
    result = run_text(small_case(formula, at), tmp_path, points=4)
    own = [row for row in map(result.variables[0].row, range(5)) if row.point == 0]
    assert [verdict] == [row.verdict for row in own]
    assert reason in own[0].reason


def test_an_iterated_map_ends_with_a_reason(tmp_path: Path) -> None:
    """A hundred steps are undecided where floats know nothing, and no row fails or is disputed."""
    found = outcomes(run_text(ITERATED, tmp_path, points=1, variables="inputs"))
    assert {Verdict.PASS, Verdict.UNDECIDED} >= {verdict for verdict, _ in found}
    assert {True} == {bool(reason) for verdict, reason in found if verdict is Verdict.UNDECIDED}


def test_a_thousand_stages_are_proved(tmp_path: Path) -> None:
    """Depth alone is no reason to be undecided."""
    stages = "".join(f"  s{i}: s{i - 1} * 0.5 + x\n" for i in range(1, 1000))
    text = f"case: deep\ninputs:\n  x: {{at: 0.7}}\nstages:\n  s0: exp(x)\n{stages}"
    result = run_text(text, tmp_path, points=0, variables="inputs")
    assert {Verdict.PASS: 2} == dict(result.counts)
    assert all(row.radius < 1e-15 for row in map(result.variables[0].row, range(1)))


def test_too_little_work_is_a_reason(tmp_path: Path) -> None:
    """What is not proved within the work is said to be so, and with more of it it is proved."""
    text = small_case("exp(x) * log(x)", 2.0)
    for work, is_known in ((1, False), (MOST_WORK, True)):
        row = run_text(text, tmp_path, points=0, proof_work=work).variables[0].row(0)
        assert is_known is (row.radius < 1e-10)


def test_too_little_precision_is_a_reason(tmp_path: Path) -> None:
    """A hundred doublings of an error are more than 128 bits hold; with 2,000 the truth is known: floats miss it."""
    for bits, is_known, reason in (
        (FIRST_BITS, False, "enclosure too wide: its radius is"),
        (MOST_BITS, True, "rounding on the way is unbounded"),
    ):
        found = run_text(ITERATED, tmp_path, points=0, variables="inputs", proof_bits=bits).variables
        (value,) = (variable.row(0) for variable in found if variable.quantity == "value")
        assert is_known is (value.radius < 1e-15)
        assert (Verdict.UNDECIDED, False) == (value.verdict, value.passes)
        assert value.reason.startswith(reason)


def test_the_reference_gets_the_budget(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Command line, settings and reference mean the same numbers, and the defaults agree."""
    seen = []

    class Watched(Reference):
        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments)
            seen.append((self.most_bits, self.most_work))

    monkeypatch.setattr("verify.judging.context.Reference", Watched)
    path = tmp_path / "case.yaml"
    path.write_text(small_case("exp(x)", 1.0), encoding="utf-8")
    common = ["run", str(path), "--points", "0", "--json", str(tmp_path / "run.json")]
    assert 0 == main([*common, "--proof-work", "25000", "--proof-bits", "512"])
    assert 0 == main(common)
    assert [(512, 25000), (MOST_BITS, MOST_WORK)] == seen
    assert (MOST_BITS, MOST_WORK) == tuple(RUN_OPTIONS[name]["default"] for name in ("proof_bits", "proof_work"))
    assert "--proof-work 25000 --proof-bits 512" in run_cases([path], Settings(0, 0, None, "all", 25000, 512)).command


@pytest.mark.parametrize("asked", [{"proof_work": 0}, {"proof_work": -1}, {"proof_bits": 127}])
def test_a_budget_that_makes_no_sense_is_refused(asked: dict[str, Any]) -> None:
    """By the runner too, not only by the command line."""
    with pytest.raises(UsageError):
        run_cases([], Settings(**asked))

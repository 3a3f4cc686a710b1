"""The budget of a proof: what explodes ends with a reason, in bounded time and precision, and the bounds are options."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from verify.records import CaseResult, Verdict
from verify.runner import Settings, run_case

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
    found = set()
    for variable in result.variables:
        rows = variable.rows
        found |= {(row.verdict, row.reason) for row in rows}
    return found

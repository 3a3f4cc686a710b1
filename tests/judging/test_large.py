"""Cases that are too large to look at entry by entry: a sample and directions see every fault."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from verify.case.case import Case, load_case_text
from verify.ops import OPS
from verify.oracle.check import check_gradient
from verify.records import CaseResult
from verify.running.runner import run_loaded
from verify.running.settings import Settings
from verify.words import Verdict

NET = """
case: two-layer net
dims: {N: 8, D: 300, H: 30, C: 4}
inputs:
  X: {shape: [N, D], at: normal, kind: constant}
  W1: {shape: [D, H], at: normal, domain: [-3, 3]}
  b1: {shape: [H], at: normal, domain: [-3, 3]}
  W2: {shape: [H, C], at: normal, domain: [-3, 3]}
stages:
  z: X @ W1 + b1
  h: relu(z)
  s: h @ W2
  f: sum(s * s) / N
"""


def net() -> Case:
    """Ten thousand entries through as many numbers."""
    return load_case_text(NET)


QUICK = Settings(points=0, methods=("reverse", "central"))
"""SymPy would expand products of this size into a hundred thousand terms."""


def judged() -> CaseResult:
    """The net at its own point."""
    return run_loaded(net(), QUICK)


def backward(X: Any, W1: Any, b1: Any, W2: Any) -> dict[str, Any]:
    """The gradient by hand."""
    z = X @ W1 + b1
    h = np.maximum(z, 0)
    ds = 2 * (h @ W2) / len(X)
    dz = (ds @ W2.T) * (z > 0)
    return {"W1": X.T @ dz, "b1": dz.sum(axis=0), "W2": h.T @ ds}


def test_a_large_case_passes_and_says_what_was_looked_at() -> None:
    """Entries and directions of every variable are rows."""
    result = judged()
    assert {Verdict.PASS} == set(result.counts)
    assert result.passes
    names = [variable.name for variable in result.variables]
    assert ["W1", "W1 along 3 seeded directions"] == names[:2]
    assert (8, (300, 30)) == (result.variables[0].checked, result.variables[0].shape)
    assert "at 1 points, 49 of 9,663 entries and 3 seeded directions of each variable" in result.notes[0]


@pytest.mark.parametrize("which", [0, 1])
def test_a_wrong_vjp_is_seen(monkeypatch: pytest.MonkeyPatch, which: int) -> None:
    """A product of matrices whose VJP is off by 1e-4 of itself."""
    row = OPS["matmul"]
    vjps = list(row.vjps)
    vjps[which] = lambda g, y, a, b: row.vjps[which](g, y, a, b) * (1 + 1e-4)
    monkeypatch.setitem(OPS, "matmul", replace(row, vjps=tuple(vjps)))
    result = judged()
    assert "FAIL" == result.status
    failing = {row.variable for row in result.failing()}
    assert ("W2 along 3 seeded directions" in failing) == (which == 1)
    assert all(row.reason.startswith("measured: reverse and central differ") for row in result.failing())


def test_a_single_entry_that_is_wrong_is_seen_along_the_directions() -> None:
    """A gradient under test: one of nine thousand entries is off, which no sample is sure to meet."""
    assert check_gradient(backward, net(), QUICK).ok

    def wrong(X: Any, W1: Any, b1: Any, W2: Any) -> dict[str, Any]:
        found = backward(X, W1, b1, W2)
        found["W1"][123, 17] += 0.01 * np.abs(found["W1"]).max()
        return found

    run = check_gradient(wrong, net(), QUICK)
    rows = list(run.cases[0].failing())
    assert {"W1 along 3 seeded directions"} == {row.variable for row in rows}
    assert {"subject"} == {row.suspect for row in rows}

"""`verify sweep`: what is known to be wrong in the frameworks is found unaided, and what is right is not accused."""

from __future__ import annotations

import csv
import importlib.util
import io
import math
from pathlib import Path

import mpmath as mp
import numpy as np
import pytest

from verify.cli import main
from verify.errors import UsageError
from verify.ops import OPS
from verify.tools import sweep as room
from verify.tools.meanings import MEANINGS, meaning_of, slope
from verify.tools.sweep import Candidate, Cause, Looked, as_csv, as_markdown, points, sweep


def looked_at(framework: str, only: str) -> Looked:
    """The form with the most faults of those that a part of a name picks."""
    if importlib.util.find_spec(framework) is None:
        pytest.skip(f"{framework} is not installed")
    return max(sweep(framework, only), key=lambda one: len(one.faults))


@pytest.mark.parametrize(
    ("framework", "only", "at", "error"),
    [
        ("torch", "functional.celu", -1.7, 1e-8),
        ("torch", "functional.hardsigmoid", 0.5, 2.9e-8),
        ("torch", "soft_margin_loss", -710.0, math.inf),
        ("jax", "special.spence", 1.5, math.inf),
        ("jax", "special.digamma", -10.3, 1.0),
        ("jax", "special.betaln", 8.0, 1.8e-6),
        ("jax", "numpy.sinc", 1.7e-14, 1.0),
    ],
)
def test_known_faults_are_found(framework: str, only: str, at: float, error: float) -> None:
    """At the point where somebody met each, with no hint but its name."""
    found = [fault for fault in looked_at(framework, only).faults if fault.at == at]
    assert found
    assert found[0].error >= error
    assert found[0].reproducer.count("\n") == 2


@pytest.mark.parametrize(
    ("framework", "only"), [("torch", "torch.atan"), ("jax", "jax.numpy.arctan"), ("autograd", "numpy.exp2")]
)
def test_what_is_right_is_not_accused(framework: str, only: str) -> None:
    """At no point, and there are many."""
    one = looked_at(framework, only)
    assert (one.faults, one.points > 50) == ((), True)


@pytest.mark.parametrize("factor", [1.0, 1 + 1e-6])
def test_program_and_function_are_told_apart(monkeypatch: pytest.MonkeyPatch, factor: float) -> None:
    """A slope that is a little off its own program, and one of a program that is not what its name says."""

    def slopes(_: object, x: np.ndarray) -> np.ndarray:
        return np.asarray(np.cos(x) * factor)

    monkeypatch.setitem(room._SLOPES, "autograd", slopes)
    monkeypatch.setattr(room, "points", lambda: np.array([0.5, 1.5]))
    monkeypatch.setattr(room, "LOST", 1e-9)
    right = room._looked_at("autograd", Candidate("sin", "sin(x)", np.sin, mp.sin))
    assert {fault.cause for fault in right.faults} == ({Cause.DERIVATIVE} if factor > 1 else set())
    other = room._looked_at("autograd", Candidate("sinh", "sinh(x)", np.sin, mp.sinh))
    assert {fault.cause for fault in other.faults} == {Cause.DERIVATIVE if factor > 1 else Cause.PROGRAM}


def test_meanings_are_those_of_the_rows() -> None:
    """Where a name is in both tables, and slopes are derivatives."""
    for name in MEANINGS.keys() & OPS.keys():
        if not OPS[name].params:
            assert mp.almosteq(MEANINGS[name](mp.mpf("0.4")), OPS[name].exact(mp.mpf("0.4")), 1e-13), name
    assert meaning_of("no such name") is None
    assert math.isnan(slope(mp.gamma, -1.0))
    assert float(slope(mp.sin, 1e300)) == pytest.approx(float(mp.cos(mp.mpf(1e300))), rel=1e-12)


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The table on the screen and in a file, every wrong answer in another."""
    pytest.importorskip("torch")
    files = tmp_path / "all.csv", tmp_path / "table.md"
    asked = ["sweep", "torch", "--only", "functional.hardsigmoid", "--csv", str(files[0]), "--markdown", str(files[1])]
    assert main(asked) == 1
    printed = capsys.readouterr().out
    assert "| `torch.nn.functional.hardsigmoid(x)` |" in printed
    assert files[1].read_text(encoding="utf-8") == printed
    rows = list(csv.DictReader(io.StringIO(files[0].read_text(encoding="utf-8"))))
    assert len(rows) > 50
    errors = [float(row["error"]) for row in rows]
    assert errors == sorted(errors, reverse=True)
    assert main(["sweep", "torch", "--only", "torch.atan"]) == 0
    assert main(["sweep", "tensorflow"]) == 2
    with pytest.raises(UsageError, match="unknown framework"):
        next(sweep("numpy"))


def test_points_and_empty_tables() -> None:
    """From the smallest number to the largest decades, of both signs."""
    assert {5e-324, -5e-324, 1e300, -1e300} <= set(points().tolist())
    assert as_csv([]).startswith("framework,")
    assert "0 are off" in as_markdown([])

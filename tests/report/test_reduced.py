"""What is left of a run where not every row is written: all that fails, what stands out, and a sample."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import sample_run

from verify.cli import main
from verify.report.csv import read
from verify.report.select import MOST_SAMPLED, kept_rows, reduced
from verify.words import VERDICTS, Verdict

if TYPE_CHECKING:
    import pytest


def test_every_failing_row_is_left() -> None:
    """Row by row the same; counts are over all rows, left or not."""
    run = sample_run.sample_run()
    less = reduced(run)
    assert kept_rows(less) < kept_rows(run)
    for before, after in zip(run.cases, less.cases, strict=True):
        assert list(map(str, before.failing())) == list(map(str, after.failing()))
        assert (before.counts, before.status) == (after.counts, after.status)


def test_of_what_passes_the_nearest_to_its_bound_is_left() -> None:
    """The row with the largest error in units of what is allowed, wherever it is; the twin is a run without it."""
    case = sample_run.large_case("matmul", points=12)
    variable = case.variables[0]
    count = len(variable.rows)
    errors, allowed = np.full(count, 1e-17), np.full(count, 1e-15)
    for place in (0, count // 2, count - 1):
        found = np.where(np.arange(count) == place, 9e-16, errors)
        rows = replace(variable.rows, allowed=allowed, errors={"reverse": found})
        one = sample_run.variable_of("matmul", "W", rows, shape=variable.shape)
        (left,) = reduced(sample_run.run_of(replace(case, variables=(one,)))).cases
        kept = left.variables[0].rows
        assert 9e-16 in kept.errors["reverse"]
        assert len(kept) <= MOST_SAMPLED + 1 + np.count_nonzero(rows.verdict != VERDICTS.index(Verdict.PASS))


def test_points_are_those_of_the_rows(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The command says what it left out, and --all-rows writes it all."""
    path = tmp_path / "square.yaml"
    path.write_text("case: square\ninputs: {x: {at: 3}}\nstages: {f: x**2}\n", encoding="utf-8")
    asked = ["run", str(path), "--no-cache", "--points", "40"]
    assert 0 == main([*asked, "--reports", str(tmp_path / "less")])
    assert "rows; --all-rows writes them all" in capsys.readouterr().out
    assert 0 == main([*asked, "--reports", str(tmp_path / "all"), "--all-rows"])
    assert "--all-rows" not in capsys.readouterr().out
    less, whole = (read(tmp_path / name, "results") for name in ("less", "all"))
    assert len(less) < len(whole)
    points = read(tmp_path / "less", "points")
    assert set(less["point"]) | set(points[points["own"]]["point"]) == set(points["point"])
    assert set(whole["point"]) == set(read(tmp_path / "all", "points")["point"])

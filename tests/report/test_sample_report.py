"""The committed report in reports/sample/ is what the program writes today; run this file to write it anew."""

from __future__ import annotations

import dataclasses
import os
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from verify.case.files import find_case_files
from verify.records import METHODS, Run
from verify.report.csv import read
from verify.report.csv import write as write_csv
from verify.report.pages import write as write_pages
from verify.running.runner import run_cases
from verify.running.settings import Settings

ROOT = Path(__file__).parents[2]
SAMPLE = ROOT / "reports" / "sample"
POINTS = 8
"""Random points a case: few, so that the committed files stay small."""

KEYS = ["case", "variable", "quantity", "entry", "point"]


def sample() -> Run:
    """A run over the cases of the notes, from the top folder, that depends on neither clock nor machine."""
    run = run_cases(find_case_files(["cases/notes"]), Settings(points=POINTS, seed=0, sizes=0))
    cases = tuple(dataclasses.replace(case, seconds=0.0) for case in run.cases)
    return dataclasses.replace(
        run, cases=cases, started="", seconds=0.0, versions={}, command=f"verify run cases/notes --points {POINTS}"
    )


def write(run: Run, folder: Path) -> None:
    """Writes the report that is committed."""
    write_csv(run, folder)
    write_pages(run, folder)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Today's report, in a folder of its own."""
    folder = tmp_path_factory.mktemp("report")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        write(sample(), folder)
    return folder


def test_the_verdicts_are_those_committed(written: Path) -> None:
    """Rows, verdicts and suspects agree one by one."""
    columns = [*KEYS, "origin", "verdict", "passes", "suspect", "file", "line", "seed"]
    expected, actual = (read(folder, "results")[columns].astype(str) for folder in (SAMPLE, written))
    pd.testing.assert_frame_equal(expected, actual)


@pytest.mark.parametrize("method", METHODS)
def test_the_numbers_are_those_committed_within_rounding(written: Path, method: str) -> None:
    """What the methods say agrees to as many digits as a machine may round differently."""
    expected, actual = (read(folder, "results")[method].to_numpy() for folder in (SAMPLE, written))
    tolerance = 1e-6 if method == "central" else 1e-12
    np.testing.assert_allclose(actual, expected, rtol=tolerance, atol=tolerance)


def test_a_number_that_is_wrong_by_a_little_is_noticed(written: Path) -> None:
    """The twin: the same comparison fails on a factor of 1 + 1e-9."""
    numbers = read(written, "results")["reverse"].to_numpy()
    with pytest.raises(AssertionError):
        np.testing.assert_allclose(numbers * (1 + 1e-9), numbers, rtol=1e-12, atol=1e-12)


def test_the_points_are_those_committed(written: Path) -> None:
    """Points are drawn from the seed alone, so they agree to the last bit."""
    pd.testing.assert_frame_equal(read(SAMPLE, "points"), read(written, "points"))


def test_the_summary_has_the_committed_verdicts(written: Path) -> None:
    """One row for each case and variable, with the same counts."""
    columns = ["case", "variable", "quantity", "role", "form", "verdict", "passes", "failed"]
    expected, actual = (read(folder, "summary")[columns].astype(str) for folder in (SAMPLE, written))
    pd.testing.assert_frame_equal(expected, actual)


def test_the_page_says_what_the_committed_page_says(written: Path) -> None:
    """The pages agree but for digits that a machine may round differently."""
    expected, actual = (pages_in(folder) for folder in (SAMPLE, written))
    assert list(expected) == list(actual)
    for name in expected:
        assert words(expected[name]) == words(actual[name])


def pages_in(folder: Path) -> dict[str, str]:
    """The index and the pages of the cases, by their places."""
    paths = sorted(folder.rglob("*.html"))
    return {str(path.relative_to(folder)): path.read_text(encoding="utf-8") for path in paths}


def words(page: str) -> list[str]:
    """The text of a page with every number masked."""
    text = re.sub(r"<(style|script).*?</\1>|<[^>]*>", " ", page, flags=re.DOTALL)
    return re.sub(r"[-\u2212+]?\d[\d.,]*(?:e[-+]?\d+)?", "#", text).split()


if __name__ == "__main__":
    os.chdir(ROOT)
    write(sample(), SAMPLE)

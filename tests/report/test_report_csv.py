"""The tables: what was found reads back exactly, nothing vanishes, no cell is a formula."""

from __future__ import annotations

import csv
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import sample_run

from verify.errors import UsageError
from verify.records import METHODS, PAIRS, CaseResult, Point, Run, format_entry
from verify.report.csv import (
    MOST_ENTRIES,
    Table,
    defuse,
    is_formula,
    points_frame,
    read,
    restore,
    results_frame,
    summary_frame,
)
from verify.report.csv import (
    write as write_csv,
)

TABLES: tuple[tuple[Table, Callable[[Run], pd.DataFrame]], ...] = (
    ("results", results_frame),
    ("points", points_frame),
    ("summary", summary_frame),
)


@pytest.fixture(scope="module")
def run() -> Run:
    """Two cases of each kind."""
    return sample_run.sample_run()


@pytest.fixture(scope="module")
def folder(run: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that the run was written to."""
    path = tmp_path_factory.mktemp("reports")
    write_csv(run, path)
    return path


def text_columns(frame: pd.DataFrame) -> list[str]:
    """The columns that hold text."""
    return [str(name) for name in frame if not pd.api.types.is_numeric_dtype(frame[name])]


def row_of(summary: pd.DataFrame, case: str, variable: str) -> pd.Series:
    """The summary's row of a variable's gradient."""
    of_it = (summary["case"] == case) & (summary["variable"] == variable) & (summary["quantity"] == "gradient")
    return summary[of_it].iloc[0]


@pytest.mark.parametrize(("table", "build"), TABLES)
def test_what_is_read_is_what_was_written(
    table: Table, build: Callable[[Run], pd.DataFrame], run: Run, folder: Path
) -> None:
    """Every column of every table, floats to the last bit, hostile text to the last character."""
    expected, actual = build(run), read(folder, table)
    assert list(expected.columns) == list(actual.columns)
    for name in expected:
        if name in text_columns(expected):
            assert list(expected[name].astype(str)) == list(actual[name].astype(str)), name
        else:
            assert expected[name].dtype == actual[name].dtype
            np.testing.assert_array_equal(expected[name].to_numpy(), actual[name].to_numpy(), err_msg=str(name))


def test_types_are_right_after_reading(folder: Path) -> None:
    """Truth values, whole numbers, floats and text keep their types; what is missing is empty text or NaN."""
    results, points, summary = read(folder, "results"), read(folder, "points"), read(folder, "summary")
    assert [bool, bool, bool] == [results["passes"].dtype, points["own"].dtype, summary["passes"].dtype]
    whole = [results["point"], results["line"], results["seed"], summary["checked"], summary["FAIL"], points["point"]]
    assert {np.dtype("int64")} == {column.dtype for column in whole}
    assert {np.dtype("float64")} == {results[name].dtype for name in (*METHODS, "expected", "symbolic_reverse")}
    assert isinstance(results["verdict"].dtype, pd.CategoricalDtype)
    assert "" in set(results["entry"])
    assert "" in set(results["reason"])
    assert not results["suspect"].isna().any()


def test_infinite_and_missing_floats_read_back(folder: Path) -> None:
    """NaN and both infinities survive."""
    results = read(folder, "results")
    rows = results[(results["case"] == "condition number") & (results["variable"] == "x")]
    assert [True, True, True] == list(np.isnan(rows["symbolic"]))
    assert [2.0, np.inf] == list(rows["reverse"])[:2]
    assert -np.inf == rows["central"].iloc[2]


def test_extreme_floats_read_back(tmp_path: Path) -> None:
    """Random bit patterns, subnormal numbers among them, are the same doubles after reading."""
    rng = np.random.default_rng(5)
    bits = np.frombuffer(rng.bytes(8 * 5000), dtype=np.float64)
    numbers = np.r_[bits[np.isfinite(bits)], 5e-324, -0.0, 1.7976931348623157e308]
    rows = sample_run.rows_of(np.arange(len(numbers)), np.zeros(len(numbers), int), dict.fromkeys(METHODS, numbers))
    case = CaseResult("bits", "bits.yaml", variables=(sample_run.variable_of("bits", "x", rows),))
    write_csv(sample_run.run_of(case), tmp_path)
    assert numbers.tobytes() == read(tmp_path, "results")["central"].to_numpy().tobytes()


def test_one_row_for_each_case_point_variable_and_entry(run: Run, folder: Path) -> None:
    """The entry is written as an index, the origin is the point's, differences are absolute."""
    results = read(folder, "results")
    case = next(case for case in run.cases if case.name == "matmul")
    rows = results[results["case"] == "matmul"]
    assert sum(len(variable.rows) for variable in case.variables) == len(rows)
    assert {format_entry((i, j)) for i in range(5) for j in range(10)} == set(rows[rows["variable"] == "W"]["entry"])
    assert {"at", "random"} == set(rows["origin"])
    for a, b in PAIRS:
        np.testing.assert_array_equal(abs(rows[a] - rows[b]), rows[f"{a}_{b}"])


def test_the_summary_has_counts_and_where_the_largest_difference_is(folder: Path) -> None:
    """A wrong engine shows in its variable's row, with the point to look at; a right one has no failures."""
    summary = read(folder, "summary")
    wrong = row_of(summary, "wrong sign", "den")
    assert [30, 30, 30, "FAIL", False] == [wrong[k] for k in ("checked", "FAIL", "failed", "verdict", "passes")]
    results = read(folder, "results")
    rows = results[(results["case"] == "wrong sign") & (results["variable"] == "den")]
    there = rows[rows["point"] == wrong["symbolic_reverse_point"]]["symbolic_reverse"]
    assert [wrong["symbolic_reverse"]] == list(there)
    assert rows["symbolic_reverse"].max() == wrong["symbolic_reverse"]
    right = row_of(summary, "staged function", "den")
    assert [12, 0, "PASS", True] == [right[k] for k in ("PASS", "failed", "verdict", "passes")]
    assert "5x10" == row_of(summary, "matmul", "W")["shape"]


@pytest.mark.parametrize("name", ["results", "summary"])
def test_nothing_vanishes(name: Table, run: Run, folder: Path) -> None:
    """Broken cases, whole-case failures and unsupported methods are rows with their reasons."""
    found = read(folder, name)
    assert {case.name for case in run.cases} == set(found["case"])
    broken = found[found["case"] == "misspelt"]
    assert [("ERROR", False)] * 2 == list(zip(broken["verdict"], broken["passes"], strict=True))
    assert "unknown op 'sigmiod'. Did you mean 'sigmoid'?" in broken["reason"].iloc[0]
    asked = found[(found["case"] == "condition asked") & (found["variable"] == "")]
    assert [("FAIL", False), ("UNDECIDED", True)] == list(zip(asked["verdict"], asked["passes"], strict=True))
    assert "symbolic unsupported: op 'cond' has no SymPy form" == asked["reason"].iloc[1]


@pytest.mark.parametrize("name", ["1", "007", "1e5", "nan", "NA", "True", ""])
def test_names_that_look_like_numbers_stay_names(name: str, tmp_path: Path) -> None:
    """Every text comes back as text, also where a whole column could be taken for something else."""
    write_csv(sample_run.run_of(CaseResult(name, name, problems=(name,))), tmp_path)
    assert [(name, name, name)] == list(read(tmp_path, "results")[["case", "file", "reason"]].itertuples(index=False))


def test_a_case_without_anything_is_a_row(tmp_path: Path) -> None:
    """Even where nothing was checked the case is seen."""
    write_csv(sample_run.run_of(CaseResult("empty", "empty.yaml")), tmp_path)
    assert [("empty", "nothing was checked")] == read(tmp_path, "results")[["case", "reason"]].to_records(
        index=False
    ).tolist()


def test_points_hold_one_number_a_cell(run: Run, folder: Path) -> None:
    """An array is a row for each entry, and the numbers are the point's own."""
    points = read(folder, "points")
    case = next(case for case in run.cases if case.name == "matmul")
    W = points[(points["case"] == "matmul") & (points["point"] == 3) & (points["input"] == "W")]
    np.testing.assert_array_equal(case.points[3].values["W"].ravel(), W["value"])
    assert ["[0, 0]", "[4, 9]"] == [W["entry"].iloc[0], W["entry"].iloc[-1]]
    at = points[(points["case"] == "staged function") & points["own"]]
    assert [("x", "", 3.0), ("y", "", -4.0)] == list(zip(at["input"], at["entry"], at["value"], strict=True))


@pytest.mark.parametrize(("size", "rows"), [(MOST_ENTRIES, MOST_ENTRIES), (MOST_ENTRIES + 1, 1)])
def test_very_large_arrays_are_one_row(size: int, rows: int, tmp_path: Path) -> None:
    """Up to the limit each entry is written; beyond it a single row says the shape."""
    case = CaseResult("wide", "wide.yaml", points=(Point(0, "at", True, {"x": np.ones(size)}),))
    write_csv(sample_run.run_of(case), tmp_path)
    points = read(tmp_path, "points")
    assert (rows, str(size)) == (len(points), points["shape"].iloc[0])
    assert (rows == 1) == (points["entry"].iloc[0] == "...")


@pytest.mark.parametrize("name", ["results.csv", "points.csv", "summary.csv"])
def test_no_cell_of_text_is_a_formula(name: str, folder: Path) -> None:
    """As a spreadsheet reads the file: no text cell begins what it would run."""
    with (folder / name).open(encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file))
    texts = [cell for row in rows for cell in row if not _is_number(cell)]
    assert [] == [cell for cell in texts if not cell.startswith("'") and is_formula(cell)]
    assert any(cell.startswith("'") and is_formula(cell[1:]) for cell in texts)


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def test_negative_numbers_are_not_touched(folder: Path) -> None:
    """A float column of negative numbers has no apostrophes."""
    plain = pd.read_csv(folder / "points.csv")
    assert np.dtype("float64") == plain["value"].dtype
    assert (plain["value"] < 0).any()


@pytest.mark.parametrize(
    "text", ["=1", "+1", "-1", "@a", "\ta", "\ra", " =1", "'=1", "\"'=1", "\ufeff=1", "\uff1d1", "'\t"]
)
def test_a_formula_is_defused_and_restored(text: str) -> None:
    """Each beginning that a spreadsheet runs, also behind blanks and quotes, is made text and comes back."""
    assert "'" + text == defuse(text)
    assert text == restore(defuse(text))


@pytest.mark.parametrize("text", ["", "x", "a=b", "'plain", "1 - 2", "[0, -1]", "''", "f(x) = 1"])
def test_other_text_is_left_alone(text: str) -> None:
    """What no spreadsheet runs is written as it is, and reading does not change it either."""
    assert text == defuse(text) == restore(text)


def test_other_programs_read_the_files_too(folder: Path) -> None:
    """Plain pandas, without our reader, finds numbers where numbers are."""
    plain = pd.read_csv(folder / "results.csv")
    assert ["bool", "float64", "int64"] == [str(plain[name].dtype) for name in ("passes", "central", "point")]


def test_a_file_that_is_not_ours_is_refused(tmp_path: Path) -> None:
    """A missing file and a foreign one give a message, not a traceback of pandas."""
    with pytest.raises(UsageError, match=r"cannot read .*results\.csv"):
        read(tmp_path, "results")
    (tmp_path / "summary.csv").write_text("a,b\n1,2\n", encoding="utf-8")
    with pytest.raises(
        UsageError, match=r"cannot read .*summary\.csv: .*Expected a file that `verify run --csv` wrote"
    ):
        read(tmp_path, "summary")


def test_a_folder_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    """A file where the folder should be is a UsageError."""
    (tmp_path / "reports").write_text("", encoding="utf-8")
    with pytest.raises(UsageError, match="to be a folder, got a file"):
        write_csv(sample_run.right_run(), tmp_path / "reports")


def test_extra_methods_have_columns(tmp_path: Path) -> None:
    """A fourth method's numbers are written too."""
    rows = sample_run.rows_of([0], [0], {**dict.fromkeys(METHODS, 1.0), "subject": 7.0})
    case = CaseResult("x", "x.yaml", variables=(sample_run.variable_of("x", "x", rows),))
    write_csv(sample_run.run_of(case), tmp_path)
    assert [7.0] == list(read(tmp_path, "results")["subject"])


def test_cost_does_not_explode() -> None:
    """A hundred thousand rows become a table in far less than a microsecond each would allow for Python loops."""
    n = 100_000
    rows = sample_run.rows_of(np.arange(n), np.zeros(n, int), dict.fromkeys(METHODS, np.arange(n, dtype=float)))
    points = tuple(Point(i, "random", False, {}) for i in range(1000))
    case = CaseResult("n", "n.yaml", variables=(sample_run.variable_of("n", "x", rows),), points=points)
    start = time.process_time()
    frame = results_frame(sample_run.run_of(case))
    assert (n, True) == (len(frame), time.process_time() - start < 20.0)

"""What the program says of everything it ships, kept to be compared with: a move of rooms must not change a number.

    python tests/tools/golden.py make FOLDER
    python tests/tools/golden.py compare FOLDER

``make`` writes to FOLDER the rows of all shipped cases (every column, nothing that depends on time), what each planted
fault of ``tests/tools/planted_backward.py`` comes to with what is said of it, and the whole text of one failure of each
function there. ``compare`` does the same anew, prints what differs, and ends with 1 where something does.
"""

# ruff: noqa: T201 (a command prints)

from __future__ import annotations

import argparse
import json
import re
import sys
import tempfile
import warnings
from pathlib import Path
from typing import Any

import pandas as pd
from planted_backward import WRITTEN

from verify.oracle.check import check_gradient
from verify.report.csv import results_frame
from verify.running.runner import run_cases
from verify.running.settings import Settings

TESTS = Path(__file__).resolve().parent.parent

ROWS, FAULTS, TEXTS = "results.csv", "faults.json", "texts.json"
MOST_TOLD = 20
"""Differences of a kind that are printed."""


def make(folder: Path) -> None:
    """Writes the golden run. Nothing comes from a cache: settings keep none unless they are asked to."""
    folder.mkdir(parents=True, exist_ok=True)
    files = sorted((TESTS.parent / "cases").rglob("*.yaml"))
    frame = results_frame(run_cases(files, Settings()))
    frame["file"] = frame["file"].map(lambda file: Path(file).name)
    frame.to_csv(folder / ROWS, index=False)
    faults: dict[str, Any] = {}
    texts: dict[str, str] = {}
    for written in WRITTEN:
        for number, fault in enumerate(written.faults):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                run = check_gradient(written.wrong(fault), written.case, Settings(points=4, shrink=False))
            name = f"{written.name}: {fault.old} -> {fault.new}"
            counts = {verdict.value: count for verdict, count in run.cases[0].counts.items() if count}
            told = {v.name: list(v.diagnosis) for v in run.cases[0].variables if v.diagnosis}
            suspects = sorted({row.suspect for row in run.cases[0].failing()})
            faults[name] = {"verdict": run.verdict, "counts": counts, "suspects": suspects, "told": told}
            if number == 0:
                texts[name] = re.sub(r"\d+\.\d s,", "- s,", str(run))
    for file, content in ((FAULTS, faults), (TEXTS, texts)):
        (folder / file).write_text(json.dumps(content, indent=1), encoding="utf-8")


def compare(old: Path, new: Path) -> int:
    """Prints how two golden runs differ; how many kinds of difference there are."""
    differing = 0
    rows = [pd.read_csv(folder / ROWS, low_memory=False, dtype=str) for folder in (old, new)]
    keys = ["case", "variable", "quantity", "entry", "point"]
    both = rows[0].merge(rows[1], on=keys, how="outer", suffixes=("", " now"), indicator=True)
    moved = both[both["_merge"] != "both"]
    if len(moved):
        differing += 1
        print(f"{len(moved):,} rows are in one of the two alone, in {moved['case'].nunique()} cases")
    for column in [name for name in rows[0].columns if name not in keys]:
        if f"{column} now" not in both:
            print(f"the column {column} is gone")
            differing += 1
            continue
        here = both[both["_merge"] == "both"]
        off = here[here[column].fillna("") != here[f"{column} now"].fillna("")]
        if len(off):
            differing += 1
            print(f"{column}: {len(off):,} rows differ, in {', '.join(off['case'].unique()[:5])}; first:")
            print(off[[*keys, column, f"{column} now"]].head(3).to_string(index=False))
    for file in (FAULTS, TEXTS):
        before, after = (json.loads((folder / file).read_text(encoding="utf-8")) for folder in (old, new))
        names = [name for name in {**before, **after} if before.get(name) != after.get(name)]
        differing += bool(names)
        for name in names[:MOST_TOLD]:
            print(f"{file}: {name}\n  was {before.get(name)}\n  is  {after.get(name)}")
        if len(names) > MOST_TOLD:
            print(f"{file}: and {len(names) - MOST_TOLD} more")
    return differing


def main() -> int:
    """Runs the command."""
    parser = argparse.ArgumentParser(description="make or compare a golden run")
    parser.add_argument("what", choices=("make", "compare"))
    parser.add_argument("folder", type=Path)
    asked = parser.parse_args()
    if asked.what == "make":
        make(asked.folder)
        return 0
    with tempfile.TemporaryDirectory() as scratch:
        make(Path(scratch))
        differing = compare(asked.folder, Path(scratch))
    print("the same" if not differing else f"{differing} kinds of difference")
    return int(bool(differing))


if __name__ == "__main__":
    sys.exit(main())

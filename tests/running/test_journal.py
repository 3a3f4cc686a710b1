"""Results on the disk as they come: reports are the same, memory is bounded, and what was killed is gone on with."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from verify.case.files import find_case_files, shipped_cases
from verify.cli import main
from verify.errors import UsageError
from verify.records import Run
from verify.report.formats import asked_targets, write_reports
from verify.running import journal as journals
from verify.running.journal import Journal
from verify.running.runner import RunInterrupted, run_cases
from verify.running.settings import Settings

NOTES = find_case_files([shipped_cases() / "notes"])
FEW = Settings(points=2)


def reports(run: Run, folder: Path, *, all_rows: bool) -> dict[str, bytes]:
    """The tables and the JSON of a run, but for its times."""
    targets = asked_targets({"csv": str(folder), "json": str(folder / "run.json")})
    write_reports(run, targets, all_rows=all_rows)
    found = {path.name: path.read_bytes() for path in folder.glob("*.csv")}
    said = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    for name in ("started", "seconds"):
        del said[name]
    for case in said["cases"]:
        del case["seconds"]
    return {**found, "run.json": json.dumps(said).encode()}


@pytest.mark.parametrize("all_rows", [True, False])
def test_a_run_that_memory_does_not_hold_is_reported_the_same(tmp_path: Path, *, all_rows: bool) -> None:
    """Though only the first few rows are held, and tables are written in parts."""
    held = run_cases(NOTES, FEW)
    with Journal(most_rows=600) as journal, pytest.MonkeyPatch.context() as patch:
        run = run_cases(NOTES, FEW, journal=journal)
        patch.setattr("verify.report.csv.ROWS_OF_A_PART", 100)
        assert run.stored is not None
        assert len(run.stored) == len(run.cases) == len(held.cases)
        held_rows, all_rows_found = (
            sum(len(v.rows) for c in cases for v in c.variables) for cases in (run.cases, run.stored)
        )
        assert held_rows < 0.6 * all_rows_found
        assert reports(held, tmp_path / "held", all_rows=all_rows) == reports(run, tmp_path / "not", all_rows=all_rows)
    assert (held.verdict, held.counts, held.exit_code) == (run.verdict, run.counts, run.exit_code)


def interrupted_after(results: int, place: Path, asked: Settings = FEW) -> None:
    """A run that ends by itself after so many results, and leaves its journal."""
    count = [0]

    def stop(_: object) -> None:
        count[0] += 1
        if count[0] == results:
            raise KeyboardInterrupt

    with Journal(place, asked) as journal, pytest.raises(RunInterrupted):
        run_cases(NOTES, asked, journal=journal, on_result=stop)


def test_what_is_missing_is_run_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a run that was cut; its last entry may be half an entry. The result is that of a run that was not cut."""
    place = tmp_path / "run"
    interrupted_after(4, place)
    whole = place.stat().st_size
    interrupted_after(5, place)
    with place.open("r+b") as file:
        file.truncate(whole + 20)  # in the middle of the fifth
    begun: list[str] = []
    _note_reading(monkeypatch, begun)
    with Journal(place, FEW, resumes=True) as journal:
        run = run_cases(NOTES, FEW, journal=journal)
    assert list(map(str, NOTES[2:])) == begun  # the four are of two files
    again = run_cases(NOTES, FEW)
    assert reports(again, tmp_path / "a", all_rows=True) == reports(run, tmp_path / "b", all_rows=True)
    begun.clear()
    with Journal(place, FEW, resumes=True) as journal:
        assert not run_cases(NOTES, FEW, journal=journal).left_out
        journal.remove()
    assert not begun
    assert not place.exists()


def _note_reading(monkeypatch: pytest.MonkeyPatch, begun: list[str]) -> None:
    from verify.running import runner

    read = runner.each_size

    def noted(path: Any, settings: Settings) -> Any:
        begun.append(str(path))
        return read(path, settings)

    monkeypatch.setattr(runner, "each_size", noted)


def test_a_case_that_has_changed_is_run_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And one that has not is not."""
    files = [tmp_path / name for name in ("a.yaml", "b.yaml")]
    for path in files:
        path.write_text(NOTES[0].read_text(encoding="utf-8"), encoding="utf-8")
    with Journal(tmp_path / "run", FEW) as journal:
        run_cases(files, FEW, journal=journal)
    files[1].write_text("case: other\ninputs: {x: {at: 1}}\nstages: {f: x}\n", encoding="utf-8")
    begun: list[str] = []
    _note_reading(monkeypatch, begun)
    with Journal(tmp_path / "run", FEW, resumes=True) as journal:
        run = run_cases(files, FEW, journal=journal)
    assert [str(files[1])] == begun
    assert "other" == run.cases[-1].name


def _of_other_versions(place: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(journals, "made_by", lambda: {"numpy": "1.0"})
        Journal(place, FEW).__exit__()


@pytest.mark.parametrize(
    ("left", "said"),
    [
        (lambda place: place.unlink(missing_ok=True), "there is nothing to resume: no unfinished run left"),
        (lambda place: place.write_bytes(b"GIF89a" * 50), "was not left by a run of this program"),
        (lambda place: place.write_bytes(b""), "was not left by a run of this program"),
        (lambda place: Journal(place, Settings(points=3)).__exit__(), "of other settings: points 2 here and 3 there"),
        (_of_other_versions, r"of other versions: .*numpy 2\S* here and 1.0 there"),
    ],
)
def test_what_cannot_be_gone_on_with_is_told(left: Any, said: str, tmp_path: Path) -> None:
    """Nothing there, something else, other settings, other versions."""
    place = tmp_path / "run"
    left(place)
    with pytest.raises(UsageError, match=said):
        Journal(place, FEW, resumes=True)


def command(*words: str) -> list[str]:
    """The command line of a run of the notes' cases."""
    return [sys.executable, "-m", "verify", "run", str(shipped_cases() / "notes"), "--points", "2", *words]


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="kills as POSIX does")
def test_a_killed_run_is_resumed_from_the_command_line(tmp_path: Path) -> None:
    """The tables are those of a run that nobody killed, and nothing is left beside them."""
    folder = tmp_path / "killed"
    place = folder / "unfinished.verify-run"
    run = subprocess.Popen(command("--jobs", "1", "--csv", str(folder)), stdout=subprocess.DEVNULL)
    while run.poll() is None and not (place.exists() and place.stat().st_size > 20_000):
        time.sleep(0.01)
    run.kill()
    run.wait()
    assert -signal.SIGKILL == run.returncode
    assert ["unfinished.verify-run"] == [path.name for path in folder.iterdir()]
    points = ["run", str(shipped_cases() / "notes"), "--points", "2", "--csv"]
    assert 0 == main([*points, str(folder), "--resume"])
    assert 0 == main([*points, str(tmp_path / "whole")])
    names = ["points.csv", "results.csv", "summary.csv"]
    assert names == sorted(path.name for path in folder.iterdir())
    assert all((folder / name).read_bytes() == (tmp_path / "whole" / name).read_bytes() for name in names)


def test_resuming_needs_a_report(capsys: pytest.CaptureFixture[str]) -> None:
    """There is no place where a run without one would have left anything."""
    assert 2 == main(["run", str(NOTES[0]), "--points", "1", "--resume"])
    assert "--resume goes on beside the report of a run: name it as then" in capsys.readouterr().err


def test_two_runs_do_not_share_a_journal(tmp_path: Path) -> None:
    """The second writes none: what the first finds stays whole."""
    with Journal(tmp_path / "run", FEW) as first:
        run_cases(NOTES[:1], FEW, journal=first)
        size = (tmp_path / "run").stat().st_size
        with Journal(tmp_path / "run", FEW) as second:
            run_cases(NOTES[:2], FEW, journal=second)
        assert size == (tmp_path / "run").stat().st_size
        with pytest.raises(UsageError, match="belongs to a run that goes on"):
            Journal(tmp_path / "run", FEW, resumes=True)

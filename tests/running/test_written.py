"""Reports are left as they are where nothing has changed since they were written, and else written anew."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from verify.cli import main

CASE = "case: f\ninputs:\n  x: {at: 3}\nstages:\n  f: x**2\n"
SINCE = "Nothing has changed since these were written"


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Runs the case, and gives what is printed."""
    monkeypatch.setenv("VERIFY_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    Path("f.yaml").write_text(CASE, encoding="utf-8")

    def run(*more: str) -> str:
        assert main(["run", "f.yaml", "--points", "4", "--reports", "out", *more]) == 0
        return capsys.readouterr().out

    return run


def times() -> dict[str, int]:
    """When each report was written."""
    return {str(path): path.stat().st_mtime_ns for path in Path("out").rglob("*") if path.is_file()}


def test_a_second_run_leaves_them(run: Callable[..., str]) -> None:
    """Not a byte is written."""
    assert SINCE not in run()
    before = times()
    assert len(before) == 6
    assert SINCE in run()
    assert times() == before


@pytest.mark.parametrize("name", ["results.csv", "index.html", "pages/f.html", "pages/page.css"])
def test_what_somebody_changed_is_written_anew(run: Callable[..., str], name: str) -> None:
    """Whatever file of the reports it is."""
    run()
    written = Path("out", name).read_bytes()
    Path("out", name).write_bytes(b"mine")
    assert SINCE not in run()
    assert Path("out", name).read_bytes()[:15] == written[:15]


def test_what_somebody_removed_is_written_anew(run: Callable[..., str]) -> None:
    """A page of a case too."""
    run()
    Path("out/pages/f.html").unlink()
    assert SINCE not in run()
    assert Path("out/pages/f.html").is_file()


@pytest.mark.parametrize("more", [["--all-rows"], ["--seed", "1"], ["--json", "run.json"], ["--no-cache"]])
def test_another_command_writes_its_own(run: Callable[..., str], more: list[str]) -> None:
    """Other options, a report that was asked for by name, and a run that keeps nothing."""
    run()
    run(*more)
    assert SINCE not in run(*more, *(["--json", "run.json"] if "--json" not in more else []))
    assert SINCE not in run(), "the first command writes what is its own again"


def test_a_case_that_changed_is_written_anew(run: Callable[..., str]) -> None:
    """And its page says the new formula."""
    run()
    Path("f.yaml").write_text(CASE.replace("x**2", "x**3"), encoding="utf-8")
    assert SINCE not in run()
    assert "x**3" in Path("out/pages/f.html").read_text(encoding="utf-8")

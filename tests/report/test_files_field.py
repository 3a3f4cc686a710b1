"""Files as they are found in the field: links, pipes, terminals, runs that were killed, folders with odd names in them.

Each is told or done right; its twin, the plain file beside it, is read and written as ever.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from verify.case.case import load_case_text
from verify.case.files import case_files_in, find_case, find_case_files, holds_case_files
from verify.cli import main
from verify.errors import UsageError
from verify.files import ABANDONED, LONGEST_NAME, replacing, target_of, write_text
from verify.oracle.check import check_gradient
from verify.report.html import write as write_html
from verify.report.json import write as write_json
from verify.running.runner import run_cases
from verify.running.settings import Settings

CASE = "case: square\ninputs: {x: {at: 3}}\nstages: {f: x**2}\n"

pytestmark = pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="pipes and links are POSIX's")


@pytest.fixture
def case(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A case file in a folder of its own, which is the current one."""
    (tmp_path / "mine").mkdir()
    monkeypatch.chdir(tmp_path / "mine")
    path = tmp_path / "mine" / "square.yaml"
    path.write_text(CASE, encoding="utf-8")
    return path


def names(folder: Path) -> list[str]:
    """What is in a folder."""
    return sorted(path.name for path in folder.iterdir())


# ------------------------------------------------------------------------------------------- where reports go


def test_a_link_is_followed(tmp_path: Path) -> None:
    """To a file, to one that is not there yet, over another link: the link stays, and the file is written."""
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "old.json").write_text("old", encoding="utf-8")
    for name in ("old", "new"):
        (tmp_path / name).symlink_to(tmp_path / "real" / f"{name}.json")
        (tmp_path / f"{name}2").symlink_to(name)
        write_text(tmp_path / f"{name}2", "whole")
        assert (tmp_path / name).is_symlink()
        assert (tmp_path / f"{name}2").is_symlink()
        assert "whole" == (tmp_path / "real" / f"{name}.json").read_text(encoding="utf-8")
    assert ["new.json", "old.json"] == names(tmp_path / "real")
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(UsageError, match="this link leads to itself"):
        write_text(tmp_path / "loop", "whole")
    assert (tmp_path / "loop").is_symlink()


def test_a_terminal_is_written_into(tmp_path: Path) -> None:
    """And stays what it is, as a device does that a link leads to."""
    ours, theirs = os.openpty()
    (tmp_path / "report").symlink_to(os.ttyname(theirs))
    write_text(tmp_path / "report", "one\n")
    assert b"one" in os.read(ours, 100)
    assert (tmp_path / "report").is_char_device()
    assert ["report"] == names(tmp_path)
    os.close(ours)
    os.close(theirs)
    assert target_of(Path(os.devnull)) is None


@pytest.mark.parametrize("option", ["--json", "--html"])
def test_a_pipe_is_written_into_and_waited_for_by_nobody(option: str, case: Path, tmp_path: Path) -> None:
    """The whole report goes to who reads; where nobody does, it is told at once."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    asked = ["run", str(case), "--points", "2", option, str(pipe)]
    assert 2 == main(asked)
    read: list[str] = []
    reader = threading.Thread(target=lambda: read.append(pipe.read_text(encoding="utf-8")))
    reader.start()
    assert 0 == main(asked)
    reader.join()
    assert 0 == main([*asked[:-1], str(tmp_path / "file")])
    assert len((tmp_path / "file").read_text(encoding="utf-8")) == pytest.approx(len(read[0]), rel=0.01)
    assert pipe.is_fifo()


def test_a_socket_and_the_programs_own_output_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither is replaced."""
    monkeypatch.chdir(tmp_path)  # the name of a socket is short
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind("bound")
        with pytest.raises(UsageError, match="got a disk or a socket"):
            write_text("bound", "whole")
        assert Path("bound").is_socket()
    command = "from verify.files import write_text; write_text('/dev/stdout', 'whole')"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with (tmp_path / "out").open("wb") as out:
        made = subprocess.run(
            [sys.executable, "-c", command], stdout=out, stderr=subprocess.PIPE, check=False, text=True, env=environment
        )
    assert "the standard output of this program goes there" in made.stderr


KILLED = """
import os, signal
from verify.files import replacing
with replacing("report.json") as file:
    file.write("half")
    file.flush()
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_killed_runs_left_is_removed_by_the_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of any report in the folder; what a run that goes on writes to, and what is not ours, stays."""
    monkeypatch.chdir(tmp_path)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    for _ in range(2):  # the second removes what the first left
        made = subprocess.run([sys.executable, "-c", KILLED], check=False, env=environment)
        assert -signal.SIGKILL == made.returncode
    (left,) = names(tmp_path)
    assert left.startswith(".report.json.")
    foreign = (".report.json.0123456789ab.tmp", ".notes.verify-tmp", "x.0123456789ab.verify-tmp")
    for name in foreign:
        Path(name).write_text("mine", encoding="utf-8")
    Path(".link.0123456789ab.verify-tmp").symlink_to(foreign[0])
    Path(".folder.0123456789ab.verify-tmp").mkdir()
    os.mkfifo(".pipe.0123456789ab.verify-tmp")
    odd = [name for name in names(tmp_path) if name != left]
    with replacing("report.json") as first:
        first.write("slow")
        first.flush()
        write_text("page.html", "quick")
        assert 1 == len([name for name in names(tmp_path) if name.startswith(".report.json.") and name not in odd])
    assert "slow" == Path("report.json").read_text(encoding="utf-8")
    assert sorted([*odd, "page.html", "report.json"]) == names(tmp_path)


def test_without_locks_only_what_is_old_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a file system that knows none."""
    from verify import files as atomic

    young, old = tmp_path / ".a.0123456789ab.verify-tmp", tmp_path / ".b.0123456789ab.verify-tmp"
    for path in (young, old):
        path.touch()
    os.utime(old, (young.stat().st_mtime - 2 * ABANDONED,) * 2)
    monkeypatch.setattr(atomic, "locked", lambda _: None)
    write_text(tmp_path / "report", "whole")
    assert [young.name, "report"] == names(tmp_path)


def test_many_at_a_time_lose_nothing(tmp_path: Path) -> None:
    """Runs that write to one folder, and clean up in it, at the same time."""
    faults: list[Exception] = []

    def write(number: int) -> None:
        try:
            for i in range(40):
                write_text(tmp_path / f"report{number % 2}", f"{number} {i}")
        except UsageError as fault:
            faults.append(fault)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [] == faults
    assert ["report0", "report1"] == names(tmp_path)


@pytest.mark.parametrize("letter", ["a", "\u00e9", "\u6f22", "\U0001d54f"])
def test_the_longest_name_can_be_written(letter: str, tmp_path: Path) -> None:
    """A name of 255 bytes, in letters of one to four."""
    name = letter * (255 // len(letter.encode()))
    assert len(name) > LONGEST_NAME
    assert "whole" == write_text(tmp_path / name, "whole").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--json", ""], "--json needs the name of a file, and got an empty one"),
        (["--html="], "--html needs the name of a file"),
        (["--csv", ""], "--csv needs the name of a folder"),
        (["--reports", ""], "--reports needs the name of a folder"),
        (["--json", "out", "--html", "./out"], "both write out"),
        (["--pages", ".", "--html", "index.html"], "--pages and --html both write index.html"),
        (["--reports", "r", "--html", "r/index.html"], "both write r/index.html"),
    ],
)
def test_a_report_without_a_name_of_its_own_is_told(
    options: list[str], said: str, case: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Rather than left out, or written over by the other."""
    assert 2 == main(["run", str(case), *options])
    assert said in capsys.readouterr().err
    assert ["square.yaml"] == names(case.parent)


def test_a_report_that_cannot_be_written_costs_no_other_and_not_the_table(
    case: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A disk that fills up, a reader that goes away: what was found is printed, what can be written is."""
    from verify import files as atomic

    locked = atomic._temporary

    def full(target: Path) -> object:
        if target.name == "page.html":
            raise OSError(28, "No space left on device")
        return locked(target)

    monkeypatch.setattr(atomic, "_temporary", full)
    asked = ["run", str(case), "--points", "2", "--html", "page.html", "--json", "run.json"]
    assert 2 == main(asked)
    printed = capsys.readouterr()
    assert "9 PASS" in printed.out
    assert "Wrote run.json" in printed.out
    assert "verify: cannot write page.html: No space left on device" in printed.err
    assert "What was found is in page.html.verify-run: --resume writes the reports from it" in printed.err
    assert ["page.html.verify-run", "run.json", "square.yaml"] == names(case.parent)
    monkeypatch.undo()
    monkeypatch.chdir(case.parent)
    assert 0 == main([*asked, "--resume"])
    assert ["page.html", "run.json", "square.yaml"] == names(case.parent)


def test_a_folder_for_tables_is_looked_at_before_the_run(case: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A table that nobody can write there is told at once."""
    (case.parent / "tables").mkdir()
    (case.parent / "tables" / "points.csv").symlink_to("points.csv")
    assert 2 == main(["run", str(case), "--csv", "tables"])
    assert "this link leads to itself" in capsys.readouterr().err


# ------------------------------------------------------------------------------------------- where cases are


def test_a_link_to_nowhere_is_an_error_of_its_case(case: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """In a folder and by name; the other cases are checked."""
    (case.parent / "lost.yaml").symlink_to("nowhere.yaml")
    assert 2 == main(["run", ".", "--points", "2", "--csv", "out"])
    said = capsys.readouterr().out
    assert "lost.yaml: this is a link to nowhere.yaml, and there is no such file. Mend the link, or remove it." in said
    assert "9 PASS" in said
    assert 2 == main(["run", "lost.yaml", "--csv", "out"])
    assert "link to nowhere.yaml" in capsys.readouterr().out
    (case.parent / "lost.yaml").unlink()
    assert 0 == main(["run", ".", "--points", "2", "--csv", "out"])


def test_all_that_is_called_like_a_case_is_found(case: Path) -> None:
    """Suffixes in capitals, linked folders once and under their own names, links in a circle; no editor's lock."""
    here = case.parent
    for name in ("B.YAML", "c.Yml", "inner/d.yaml", "e.yaml.txt", "yaml"):
        (here / name).parent.mkdir(exist_ok=True)
        (here / name).write_text(CASE, encoding="utf-8")
    (here / ".#square.yaml").symlink_to("somebody@host.1234")
    (here / "a_link").symlink_to("inner")
    (here / "inner" / "up").symlink_to("..")
    (here.parent / "far").mkdir()
    (here.parent / "far" / "g.yaml").write_text(CASE, encoding="utf-8")
    (here / "linked").symlink_to(here.parent / "far")
    found = [path.relative_to(here).as_posix() for path in case_files_in(here)]
    assert ["B.YAML", "c.Yml", "inner/d.yaml", "linked/g.yaml", "square.yaml"] == found
    assert 5 == len(find_case_files([here]))
    assert "B.YAML" == find_case("B", [here]).name


def test_paths_of_all_kinds_make_one_run(case: Path, tmp_path: Path) -> None:
    """Absolute and relative ones, with blanks in them; the run says how to repeat it."""
    (tmp_path / "far away").mkdir()
    for name in "abcd":
        (tmp_path / "far away" / f"{name}.yaml").write_text(CASE, encoding="utf-8")
    run = run_cases(find_case_files([tmp_path / "far away", case.name]), Settings(points=1))
    assert run.ok
    assert 5 == len(run.cases)
    assert f"verify run '{tmp_path}/far away/a.yaml' " in run.command
    assert (
        f"verify run '{tmp_path}/far away' "
        in run_cases(find_case_files([tmp_path / "far away"]), Settings(points=1)).command
    )
    assert 0 == main(["run", str(tmp_path / "far away"), case.name, "--points", "1", "--csv", "out"])


@pytest.mark.parametrize("names_of_files", [["X.YAML"], ["x.yml"], ["inner/x.Yaml"]])
def test_a_folder_of_cases_is_known_by_any_suffix(names_of_files: list[str], tmp_path: Path) -> None:
    """As the folder that is run where none is named."""
    assert not holds_case_files(tmp_path)
    for name in names_of_files:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert holds_case_files(tmp_path)


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("", "an empty path was given"),
        ("a" * 3000, "cannot be read: File name too long"),
        ("pipe.yaml", "pipe.yaml is no file but a pipe or a device"),
        (".", "pipe.yaml is no file but a pipe or a device"),
        (os.devnull, "is no file but a pipe or a device"),
        ("loop.yaml/x", "no such file or folder"),
    ],
)
def test_a_path_that_is_no_case_file_is_told(
    path: str, said: str, case: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """At once: no pipe is waited for, no folder taken for the current one."""
    os.mkfifo(case.parent / "pipe.yaml")
    assert 2 == main(["run", path, "--points", "2", "--csv", "out"])
    error = capsys.readouterr().err
    assert said in error
    assert len(error) < 1000
    assert 0 == main(["run", str(case), "--points", "2", "--csv", "out"])
    assert case == find_case("square", [case.parent])  # which no other file keeps from being found


# ------------------------------------------------------------------------------------------- what a report holds


class WordyError(Exception):
    """An exception with a long message."""


@pytest.mark.parametrize("length", [10, 3_000_000])
def test_a_report_stays_readable_whatever_an_exception_says(length: int, tmp_path: Path) -> None:
    """Its beginning and its end are told, with the line that raised it; a short one in full."""

    def gradient(x: float) -> float:
        raise WordyError("a" + "x" * length + "z", x)

    run = check_gradient(gradient, load_case_text(CASE), points=0)
    (finding,) = run.cases[0].findings
    assert "exception" == finding.kind
    assert len(finding.detail) < 10_000
    assert "WordyError" in finding.detail
    assert "z" in finding.detail[-20:]
    assert "in gradient" in finding.detail
    for name, write in (("run.json", write_json), ("page.html", write_html)):
        assert write(run, tmp_path / name).stat().st_size < 1_000_000

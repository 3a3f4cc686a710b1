"""What the command line is told besides: by pyproject.toml, the environment, a terminal, a file that changes."""

from __future__ import annotations

import io
import json
import os
import re
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest
import sample_run

from verify.cli import COMMANDS, main
from verify.records import Run
from verify.report.terminal import make_console, print_run

CASE = """\
case: square
inputs: {x: {at: 3, domain: [-6, 6]}}
stages: {f: x**2}
"""


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with one case, which is the current one."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "square.yaml").write_text(CASE, encoding="utf-8")
    return tmp_path


def verify(*arguments: str) -> int:
    """The exit code, also where argparse ends the program."""
    try:
        return main(arguments)
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else 1


def points_asked(*arguments: str) -> int:
    """How many random points a run is asked for."""
    assert verify("run", "square.yaml", "--json", "run.json", *arguments) == 0
    found: int = json.loads(Path("run.json").read_text(encoding="utf-8"))["points"]
    return found


# ---------------------------------------------------------------------------------- pyproject.toml and the environment


def test_the_command_line_comes_before_the_environment_before_the_project(monkeypatch: pytest.MonkeyPatch) -> None:
    """And each before what is usual, from a folder below too."""
    assert points_asked("--points", "1") == 1
    Path("pyproject.toml").write_text("[tool.verify]\npoints = 3\nmethods = ['reverse', 'symbolic']\n", "utf-8")
    assert points_asked() == 3
    assert json.loads(Path("run.json").read_text(encoding="utf-8"))["methods"] == ["reverse", "symbolic"]
    monkeypatch.setenv("VERIFY_POINTS", "2")
    assert points_asked() == 2
    assert points_asked("--points", "1") == 1
    monkeypatch.delenv("VERIFY_POINTS")
    Path("below").mkdir()
    monkeypatch.chdir("below")
    Path("square.yaml").write_text(CASE, encoding="utf-8")
    assert points_asked() == 3


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("pionts = 3", "[tool.verify] has 'pionts', which no option is called. Did you mean 'points'?"),
        ("points = 'many'", "[tool.verify] points: expected a whole number, zero or more, got 'many'"),
        ("points = true", "[tool.verify] points: expected text or a number, got True"),
        ("require-proof = 'perhaps'", "require-proof: expected true or false, got 'perhaps'"),
        ("color = 'red'", "color: expected one of auto, always, never, got 'red'"),
        ("proof-seconds = 1", "proof-seconds: proofs are not timed any more"),
        ("points = ", "pyproject.toml cannot be read: "),
    ],
)
def test_a_project_that_makes_no_sense(text: str, complaint: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Is refused with its place; what another tool has there is nobody's business."""
    Path("pyproject.toml").write_text(f"[tool.verify]\n{text}\n", encoding="utf-8")
    assert verify("run", "square.yaml", "--points", "1") == 2
    assert complaint in capsys.readouterr().err
    Path("pyproject.toml").write_text("[tool.verifying]\npionts = 3\n", encoding="utf-8")
    assert verify("run", "square.yaml", "--points", "1") == 0


@pytest.mark.parametrize(
    ("variable", "complaint"),
    [
        ({"VERIFY_POINTS": "many"}, "the variable VERIFY_POINTS: expected a whole number"),
        ({"VERIFY_POINST": "1"}, "no option is set by the variable VERIFY_POINST. Did you mean 'VERIFY_POINTS'?"),
        ({"VERIFY_REQUIRE_PROOF": "perhaps"}, "expected true or false, got 'perhaps'"),
        ({"VERIFY_SSL": "1", "VERIFY_CACHE": "off", "VERIFY_QUIET": "1", "VERIFY_JOBS": "auto"}, ""),
    ],
)
def test_variables(
    variable: dict[str, str], complaint: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A value that does not fit and a name that is nearly one are refused; those of other programs are not ours."""
    for name, value in variable.items():
        monkeypatch.setenv(name, value)
    assert verify("run", "square.yaml", "--points", "1") == (2 if complaint else 0)
    printed = capsys.readouterr()
    assert complaint in printed.err
    assert len(printed.out.splitlines()) == (0 if complaint else 1)


def test_every_option_has_a_name_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """By one mechanism: a value that no option takes is refused for each that reads its value."""
    from verify.cli import _parsers

    _, parsers = _parsers()
    assert {*parsers} == {*COMMANDS}
    numbers = [name for name, action in parsers["run"].options.items() if action.type is not None]
    assert {"points", "seed", "jobs", "proof_work", "case_memory"} <= {*numbers}
    for name in numbers:
        monkeypatch.setenv(f"VERIFY_{name.upper()}", "no number")
        assert verify("run", "square.yaml") == 2, name
        monkeypatch.delenv(f"VERIFY_{name.upper()}")


# ------------------------------------------------------------------------------------------------- commands for people


def test_nothing_asked_for_is_answered_with_help(capsys: pytest.CaptureFixture[str]) -> None:
    """Three examples among it, each a command that there is."""
    assert verify() == 0
    examples = re.findall(r"^  verify (\w+) ", capsys.readouterr().out, re.MULTILINE)
    assert len(examples) == 3
    assert {*examples} <= {*COMMANDS}


def test_what_would_be_run(capsys: pytest.CaptureFixture[str]) -> None:
    """The files, and nothing is run; the twin runs."""
    Path("wrong.yaml").write_text("no case", encoding="utf-8")
    assert verify("run", ".", "--collect-only") == 0
    assert capsys.readouterr().out == "square.yaml\nwrong.yaml\n"
    assert verify("run", ".") == 2


@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_completion(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A script with every command and the options of run, where shtab is installed."""
    pytest.importorskip("shtab", reason="the package shtab is not installed")
    assert verify("completion", shell) == 0
    script = capsys.readouterr().out
    assert [word for word in (*COMMANDS, "--proof-work") if word not in script] == []


def test_completion_without_shtab(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Says what to install."""
    monkeypatch.setitem(sys.modules, "shtab", None)
    assert verify("completion", "bash") == 2
    assert "pip install 'verify-gradients[completion]'" in capsys.readouterr().err


def test_quiet_and_verbose(capsys: pytest.CaptureFixture[str]) -> None:
    """One line where all is well, or the notes too."""
    Path("note.yaml").write_text(CASE.replace("{at: 3, domain: [-6, 6]}", "{at: 3, domain: [2, 4]}"), encoding="utf-8")
    assert verify("run", "square.yaml", "--points", "1", "-q") == 0
    assert len(capsys.readouterr().out.splitlines()) == 1
    assert verify("run", "square.yaml", "--points", "1", "-v") == 0
    assert "status" in capsys.readouterr().out


@pytest.mark.parametrize(("color", "expected"), [("always", True), ("never", False)])
def test_color(color: str, expected: bool, capsys: pytest.CaptureFixture[str]) -> None:
    """In a pipe where it is asked for, and not by itself."""
    assert verify("run", "square.yaml", "--points", "1", "--color", color) == 0
    assert ("\x1b[" in capsys.readouterr().out) == expected
    assert verify("run", "square.yaml", "--points", "1") == 0
    assert "\x1b[" not in capsys.readouterr().out


@pytest.mark.skipif(sys.platform == "win32", reason="signals are POSIX's")
def test_watching_runs_again_and_ends_with_130(project: Path) -> None:
    """A file that is changed, one that is broken meanwhile, Ctrl-C."""
    path = os.pathsep.join(filter(None, sys.path))
    environment = {**os.environ, "PYTHONPATH": path, "PYTHONUNBUFFERED": "1"}
    command = [sys.executable, "-m", "verify", "watch", "square.yaml", "--points", "1", "-q"]
    log = project / "log"
    with log.open("w", encoding="utf-8") as out:
        hear = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)  # who runs the tests in the background ignores it
        watching = subprocess.Popen(command, stdout=out, stderr=out, env=environment, preexec_fn=hear)  # noqa: PLW1509
        try:
            for count, text in enumerate((CASE.replace("x**2", "x**3"), CASE.replace("x**2", "x**"), CASE), start=1):
                wait_for(log, "Ctrl-C ends it", count)
                (project / "square.yaml").write_text(text, encoding="utf-8")
            wait_for(log, "Ctrl-C ends it", 4)
            watching.send_signal(signal.SIGINT)
            assert watching.wait(60) == 130
        finally:
            watching.kill()
    told = log.read_text(encoding="utf-8")
    assert (3, 1) == (told.count("all pass"), told.count("could not be run"))
    assert not (project / "reports").exists()


def wait_for(log: Path, words: str, count: int) -> None:
    """Until a process has said something so many times."""
    for _ in range(1200):
        if log.read_text(encoding="utf-8").count(words) >= count:
            return
        time.sleep(0.1)
    pytest.fail(log.read_text(encoding="utf-8"))


# ------------------------------------------------------------------------------------------------------ the terminal


class Terminal(io.StringIO):
    """A stream that says that it is one."""

    def isatty(self) -> bool:
        """It is."""
        return True


def shown(run: Run, width: int, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The lines of a run in a terminal of some width."""
    monkeypatch.setenv("COLUMNS", str(width))
    stream = Terminal()
    print_run(run, make_console(stream, "never"))
    return stream.getvalue().splitlines()


@pytest.mark.parametrize("width", [80, 120, 200])
def test_numbers_and_verdicts_are_whole_at_any_width(width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Columns drop out, names are cut; each number that is left is as in the widest table, no line is too long."""
    run = sample_run.sample_run()
    lines = shown(run, width, monkeypatch)
    table = lines[: lines.index("")]
    assert len(table) == len(run.cases) + 1
    assert max(map(len, table)) <= width
    widest = shown(run, 400, monkeypatch)
    for line, whole in zip(table[1:], widest[1:], strict=False):
        name = re.split(r"\.\.\.|  ", line)[0]
        assert whole.startswith(name)
        assert {*line.split()[-3:]} - {"..."} <= {*whole.split()} | {line.split()[0]}
    assert [case.status for case, line in zip(run.cases, table[1:], strict=True) if case.status not in line] == []


def test_columns_go_before_names(monkeypatch: pytest.MonkeyPatch) -> None:
    """At 200 all columns are there, at 80 those that say least are not, and the verdict always is."""
    heads = {width: shown(sample_run.right_run(), width, monkeypatch)[0].split() for width in (40, 80, 120, 200)}
    assert {"power", "reverse-central", "verdicts", "status"} <= {*heads[200]}
    assert "reverse-central" not in heads[80]
    assert ["case", "status"] == heads[40][:2]
    assert [len(heads[w]) for w in (40, 80, 120, 200)] == sorted(len(heads[w]) for w in (40, 80, 120, 200))


def test_text_is_broken_between_words_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Put together again it is what a pipe has."""
    run = sample_run.sample_run()
    narrow = " ".join(" ".join(shown(run, 80, monkeypatch)).split())
    stream = io.StringIO()
    print_run(run, make_console(stream))
    for line in stream.getvalue().splitlines():
        if line.startswith(("  reason", "FAIL")) and "..." not in line and "  FAIL" not in line:
            assert " ".join(line.split()) in narrow

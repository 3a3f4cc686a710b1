"""The command line: what each command prints and writes, and its exit codes, seen both ways."""

from __future__ import annotations

import importlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from verify import __version__
from verify.cli import COMMANDS, main

RIGHT = """\
case: square
source: by hand
inputs:
  x: {at: 3, domain: [-6, 6]}
stages:
  f: x**2
expect:
  gradient: {x: 6.0}
"""
WRONG = RIGHT.replace("square", "wrong square").replace("6.0", "6.5")
BROKEN = RIGHT.replace("square", "broken square").replace("x**2", "sigmiod(x)")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder with a folder `cases` that holds one right case."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "cases").mkdir()
    write("square", RIGHT)
    return tmp_path


def write(name: str, text: str) -> Path:
    """Writes a case file into the folder `cases` here."""
    path = Path("cases") / f"{name}.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def verify(*arguments: str) -> int:
    """The exit code of the command line, also where argparse ends the program."""
    try:
        return main(arguments)
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else 1


def files(folder: str | Path) -> list[str]:
    """The names of the files in a folder."""
    return sorted(path.name for path in Path(folder).iterdir())


# ------------------------------------------------------------------------------------------------------ exit codes


def test_exit_code_0_where_all_pass(capsys: pytest.CaptureFixture[str]) -> None:
    """A right case ends with 0 and is in the table."""
    assert verify("run", "--points", "4") == 0
    assert "square" in capsys.readouterr().out


def test_exit_code_1_where_a_row_does_not_pass(capsys: pytest.CaptureFixture[str]) -> None:
    """The same case with a wrong figure ends with 1 and shows what was expected."""
    write("wrong", WRONG)
    assert verify("run", "--points", "4") == 1
    out = capsys.readouterr().out
    assert "6.5" in out
    assert "wrong.yaml:8" in out


def test_exit_code_2_where_a_case_is_broken(capsys: pytest.CaptureFixture[str]) -> None:
    """A broken case never stops the others, is shown with its place, and makes the exit code 2."""
    write("broken", BROKEN)
    assert verify("run", "--points", "4") == 2
    said = "".join(capsys.readouterr())
    assert "broken.yaml:6:" in said
    assert "Did you mean 'sigmoid'?" in said
    assert "square" in said
    assert "Traceback" not in said


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["run", "nowhere.yaml"], "nowhere.yaml"),
        (["run", "-k", "nothing is called so"], "nothing is called so"),
        (["run", "--points", "-1"], "expected a whole number, zero or more, got '-1'"),
        (["run", "--points", "many"], "got 'many'"),
        (["run", "--jobs", "0"], "expected auto or a whole number, one or more, got '0'"),
        (["run", "--proof-work", "0"], "expected a whole number, one or more, got '0'"),
        (["run", "--proof-seconds", "1"], "in place of 1 s say how many ball operations"),
        (["run", "--proof-bits", "64"], "expected a whole number of bits, 128 or more, got '64'"),
        (["run", "--methods", "symbolc"], "Did you mean 'symbolic'?"),
        (["run", "--pionts", "3"], "unknown option '--pionts'. Did you mean '--points'?"),
        (["rum"], "unknown command 'rum'"),
        (["rum"], "Did you mean 'run'?"),
        (["show", "sqaure"], "Did you mean 'square'?"),
        (["show", "square", "cube"], "unknown argument 'cube'"),
        (["new", "!!!"], "at least one letter"),
        (["new", "a\nb"], "a name that can be printed"),
    ],
)
def test_bad_input_is_refused(arguments: list[str], complaint: str, capsys: pytest.CaptureFixture[str]) -> None:
    """What makes no sense ends with 2 and a sentence on stderr, never with a traceback."""
    assert verify(*arguments) == 2
    streams = capsys.readouterr()
    assert complaint in streams.err
    assert "Traceback" not in streams.err
    assert streams.out == ""


def test_an_interruption_ends_with_130(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Ctrl-C is said in a word, without a traceback."""

    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("verify.running.runner.run_cases", interrupt)
    assert verify("run") == 130
    assert "verify: interrupted" in capsys.readouterr().err


def test_a_fault_of_the_program_is_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    """The twin of bad input: what the user cannot mend keeps its traceback."""

    def crash(*_: object, **__: object) -> None:
        raise RuntimeError("out of cheese")

    monkeypatch.setattr("verify.running.runner.run_cases", crash)
    with pytest.raises(RuntimeError, match="out of cheese"):
        verify("run")


def test_another_package_of_the_same_name_is_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """PyPI's `verify`, installed over this one, has a module `verify` of its own; the twin has the right one."""
    assert verify("ops") == 0
    monkeypatch.setattr(sys.modules["verify"], "__version__", "1.1.1")
    assert verify("ops") == 2
    assert "pip uninstall verify" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["run --points 4", "schema", "ops", "--help"])
def test_a_pipe_that_is_closed_early(command: str) -> None:
    """`verify ops | head` ends quietly with the exit code of a closed pipe, or 0 where everything fitted into it."""
    script = f"{sys.executable} -m verify {command} | true; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=False, env=environment())  # noqa: S607
    assert done.returncode in (0, 141)
    assert "Traceback" not in done.stderr
    assert "BrokenPipe" not in done.stderr


def test_reports_come_before_the_table() -> None:
    """Who closes the pipe early has the reports all the same."""
    script = f"{sys.executable} -m verify run --points 4 | true"
    subprocess.run(["bash", "-c", script], capture_output=True, check=False, env=environment())  # noqa: S607
    assert "index.html" in files("reports")


# -------------------------------------------------------------------------------------------------------- reports


def test_reports_are_written_by_default(capsys: pytest.CaptureFixture[str]) -> None:
    """Without options the tables and the page go to the folder reports, and the command says so."""
    assert verify("run", "--points", "4") == 0
    assert files("reports") == ["index.html", "pages", "points.csv", "results.csv", "summary.csv"]
    assert str(Path("reports") / "index.html") in capsys.readouterr().out


def test_some_cases_never_replace_the_report_of_all(capsys: pytest.CaptureFixture[str]) -> None:
    """Who names cases, or some of them, gets no report unasked; who asks for one over another is told so."""
    wrong = write("a_wrong", WRONG)
    assert verify("run", "--points", "2") == 1
    assert "took the place" not in capsys.readouterr().out
    whole = {path: path.read_bytes() for path in Path("reports").rglob("*.*")}
    assert verify("run", str(wrong), "--points", "2") == 1
    assert verify("run", "-k", "square", "--points", "2") == 1
    assert "Wrote" not in capsys.readouterr().out
    assert {path: path.read_bytes() for path in Path("reports").rglob("*.*")} == whole
    assert verify("run", "-k", "square.yaml", "--points", "2", "--reports", "reports") == 0
    told = capsys.readouterr().out
    assert "They took the place of earlier reports, reports/results.csv, " in told
    assert "this run had 1 result alone" in told
    assert verify("run", "--points", "2", "--fail-fast") == 1
    assert "They took the place" in capsys.readouterr().out


def test_only_the_reports_that_were_asked_for() -> None:
    """--csv, --html and --json each write their own and nothing else."""
    assert verify("run", "--points", "4", "--csv", "tables", "--html", "a/page.html", "--json", "run.json") == 0
    assert files("tables") == ["points.csv", "results.csv", "summary.csv"]
    assert files("a") == ["page.html"]
    assert json.loads(Path("run.json").read_text(encoding="utf-8"))
    assert not Path("reports").exists()


def test_reports_and_one_more() -> None:
    """--reports besides --json writes both."""
    assert verify("run", "--points", "4", "--reports", "out", "--json", "run.json") == 0
    assert files("out") == ["index.html", "pages", "points.csv", "results.csv", "summary.csv"]
    assert Path("run.json").is_file()


@pytest.mark.parametrize("option", ["--reports", "--csv", "--html", "--json"])
def test_a_report_that_cannot_be_written_is_found_out_first(
    option: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A file where a folder should be is refused before the run, not after it."""
    Path("taken").write_text("", encoding="utf-8")
    monkeypatch.setattr("verify.running.runner.run_cases", lambda *_, **__: pytest.fail("it ran"))
    assert verify("run", option, "taken/inside") == 2
    assert "cannot write to the report folder taken" in capsys.readouterr().err


def test_a_folder_where_a_file_should_be(capsys: pytest.CaptureFixture[str]) -> None:
    """--html with a folder says which file name would do."""
    Path("page").mkdir()
    assert verify("run", "--html", "page") == 2
    assert str(Path("page") / "index.html") in capsys.readouterr().err


def test_the_report_repeats_the_command() -> None:
    """The command that repeats the run stands in the report."""
    assert verify("run", "--points", "4", "--seed", "3", "--json", "run.json") == 0
    assert "verify run --points 4 --seed 3 --json run.json" in Path("run.json").read_text(encoding="utf-8")


# ------------------------------------------------------------------------------------------------------- what runs


def test_cases_here_come_before_the_shipped_ones(capsys: pytest.CaptureFixture[str]) -> None:
    """Without paths the folder `cases` here is run, if it holds case files, and the command says so."""
    assert verify("run", "--points", "4") == 0
    assert "running the cases in cases" in capsys.readouterr().err


def test_shipped_cases_run_where_there_are_none(capsys: pytest.CaptureFixture[str]) -> None:
    """Elsewhere the shipped cases are run, and the command says so."""
    Path("cases/square.yaml").unlink()
    assert verify("run", "--points", "0", "-k", "sigmoid") == 0
    assert "running the shipped cases in" in capsys.readouterr().err


def test_picking_and_stopping() -> None:
    """-k leaves the others out; --fail-fast stops behind the first case that does not pass."""
    write("a_wrong", WRONG)
    assert verify("run", "--points", "4", "-k", "a_wrong") == 1
    assert verify("run", "--points", "4", "--fail-fast", "--json", "run.json") == 1
    assert [case["name"] for case in json.loads(Path("run.json").read_text(encoding="utf-8"))["cases"]] == [
        "wrong square"
    ]


def test_several_jobs_give_the_same_tables() -> None:
    """--jobs 2 writes what --jobs 1 writes."""
    write("wrong", WRONG)
    for jobs in ("1", "2"):
        assert verify("run", "--points", "4", "--jobs", jobs, "--csv", f"jobs{jobs}") == 1
    for name in files("jobs1"):
        assert (Path("jobs1") / name).read_bytes() == (Path("jobs2") / name).read_bytes()


def test_output_in_a_pipe_is_plain() -> None:
    """No colours, no cursor movements, no progress bar where nobody looks at a terminal."""
    command = [sys.executable, "-m", "verify", "run", "--points", "4"]
    done = subprocess.run(command, capture_output=True, check=True, env=environment())
    assert b"\x1b" not in done.stdout + done.stderr
    assert b"\r" not in done.stdout + done.stderr


def test_a_terminal_without_unicode() -> None:
    """Where the terminal knows ASCII alone, letters are written as escapes and nothing crashes."""
    write("square", RIGHT.replace("case: square", "case: carré ∂"))
    command = [sys.executable, "-m", "verify", "run", "--points", "4"]
    done = subprocess.run(command, capture_output=True, check=False, env={**environment(), "PYTHONIOENCODING": "ascii"})
    assert done.returncode == 0
    assert b"carr\\xe9 \\u2202" in done.stdout


# ----------------------------------------------------------------------------------------------------------- check

GRADIENTS = """\
import numpy as np

def right(x):
    return 2 * x

def wrong(x):
    return 2.000001 * x

class Layers:
    @staticmethod
    def right(x):
        return {"dx": 2 * x}

def raising(x):
    return helper(x)

def helper(x):
    return [1, 2][5]

def nonsense(x):
    return {"dz": x}

number = 3
"""


@dataclass(frozen=True)
class Done:
    """How a command ended, and what it printed."""

    returncode: int
    stdout: str
    stderr: str


Check = Callable[..., Done]


@pytest.fixture
def check(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Check]:
    """`verify check` of a gradient in a module of this folder, which is forgotten again after the test."""
    before = set(sys.modules)
    monkeypatch.setattr("sys.path", sys.path[:])

    def run(target: str, *arguments: str, module: str = "", text: str = GRADIENTS) -> Done:
        Path(f"{module or target.partition(':')[0]}.py").write_text(text, encoding="utf-8")
        return Done(verify("check", target, "--points", "4", *arguments), *capsys.readouterr())

    yield run
    for name in {*sys.modules} - before:
        if name.partition(".")[0] in ("gradients", "layers", "mine"):
            del sys.modules[name]
    importlib.invalidate_caches()


def test_check_in_a_process_of_its_own() -> None:
    """As a user calls it, from the folder that holds the module."""
    Path("gradients.py").write_text(GRADIENTS, encoding="utf-8")
    command = [sys.executable, "-m", "verify", "check", "gradients:wrong", "--case", "square", "--points", "4"]
    assert subprocess.run(command, capture_output=True, check=False, env=environment()).returncode == 1


@pytest.mark.parametrize("case", ["square", "cases/square.yaml"])
def test_check_passes_a_right_gradient(case: str, check: Check) -> None:
    """The table of `verify run`, exit code 0, and no report that nobody asked for."""
    done = check("gradients:right", "--case", case)
    assert done.returncode == 0, done.stderr
    assert "1 case, " in done.stdout
    assert "all pass" in done.stdout
    assert not Path("reports").exists()


def test_check_fails_a_wrong_gradient(check: Check) -> None:
    """The failure as `verify run` tells it, exit code 1; reports where they are asked for."""
    done = check("gradients:wrong", "--case", "square", "--json", "run.json", "--csv", "tables", "--seed", "3")
    assert done.returncode == 1, done.stderr
    for word in ("FAIL dx of square: is ", "yours", "proved", "gradients.py:"):
        assert word in done.stdout
    assert json.loads(Path("run.json").read_text(encoding="utf-8"))["seed"] == 3
    assert files("tables") == ["points.csv", "results.csv", "summary.csv"]


FUNCTIONS = """\
def forward(x, y):
    return x * y


def right(x, y, upstream=1.0):
    return upstream * y, upstream * x


def wrong(x, y, upstream=1.0):
    return upstream * y, 1.000001 * upstream * x
"""


def test_check_judges_python_against_python(check: Check) -> None:
    """No case file: a gradient, its function and a point, whose whole numbers are floats, and a domain."""
    of = ("--of", "mine:forward")
    done = check("mine:right", *of, "--at", "x=3,y=-4", text=FUNCTIONS)
    assert (0, True) == (done.returncode, "2 rows (2 PASS), 2 proved: all pass" in done.stdout)
    done = check("mine:wrong", *of, "--at", "x=3", "--at", "y=-4", "--domain", "x=[-4, 4]", text=FUNCTIONS)
    assert done.returncode == 1
    assert "FAIL dy of forward: is (1 + 1e-06) x the right one" in done.stdout
    assert re.search(r"place      \S*mine\.py:9\n", done.stdout)
    assert "repeat     verify check mine:wrong --points 4 --of mine:forward --at x=3 --at y=-4 --domain" in done.stdout
    done = check("mine:right", *of, "--at", "x=3", "--constants", "y=-4", text=FUNCTIONS)
    assert (2, True) == (done.returncode, "an array for y, which is not differentiated here" in done.stderr)
    done = check("mine:right", *of, "--at", "x=3.5,y=-4", text=FUNCTIONS)  # as in Python
    assert (2, True) == (done.returncode, "an array for y, which is not differentiated here" in done.stderr)


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ((), "one of the arguments --case --of is required"),
        (("--of", "mine:forward"), "--of needs a point to look at, such as --at x=3,y=-4"),
        (("--of", "mine:forward", "--case", "square"), "not allowed with argument"),
        (("--of", "mine:foward", "--at", "x=3"), "Did you mean 'forward'?"),
        (("--of", "mine:forward", "--at", "x=3,x=4"), "--at gives 'x' twice"),
        (("--of", "mine:forward", "--at", "z=3"), "does not take these values: missing a required argument: 'x'"),
    ],
)
def test_check_says_what_is_missing(options: tuple[str, ...], complaint: str, check: Check) -> None:
    """In one sentence, with exit code 2."""
    done = check("mine:right", *options, text=FUNCTIONS)
    assert (2, True, False) == (done.returncode, complaint in done.stderr, "Traceback" in done.stderr)


def test_check_finds_names_with_dots_and_packages(check: Check) -> None:
    """A method of a class, and a module inside a package of the current folder."""
    Path("layers").mkdir()
    done = check("layers.square:Layers.right", "--case", "square", module="layers/square")
    assert done.returncode == 0, done.stderr


def test_an_exception_in_the_gradient_shows_their_frames(check: Check) -> None:
    """The user's own traceback from their frame on, none of this program's; the gradient does not pass."""
    done = check("gradients:raising", "--case", "square")
    assert done.returncode == 1
    said = done.stdout + done.stderr
    for words in ("IndexError", "in raising", "in helper", "return [1, 2][5]"):
        assert words in said
    assert "subject.py" not in said


@pytest.mark.parametrize(
    ("target", "complaint"),
    [
        ("gradients:rihgt", "module gradients has no 'rihgt'. Did you mean 'right'?"),
        ("gradients:number", "'gradients:number' is of type int, expected a function that can be called"),
        ("gradients:nonsense", "'dz'"),
        ("gradiens:right", "no module is called 'gradiens'"),
        ("gradiens:right", "Did you mean 'gradients'?"),
        ("gradients.py:right", "such as gradients:right, got 'gradients.py:right'"),
        ("gradients", "expected a gradient as package.module:function"),
        (":right", "expected a gradient as package.module:function"),
    ],
)
def test_a_gradient_that_cannot_be_had(target: str, complaint: str, check: Check) -> None:
    """What is wrong with the name, or with the answer, is said in a sentence, with exit code 2."""
    done = check(target, "--case", "square", module="gradients")
    assert done.returncode == 2
    assert complaint in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("import no_such_package\n", "ModuleNotFoundError: No module named 'no_such_package'"),
        ("def right(x) return x\n", "SyntaxError"),
        ("1 / 0\n", "ZeroDivisionError"),
        ("raise SystemExit(7)\n", "SystemExit: 7"),
    ],
)
def test_a_module_that_does_not_import(text: str, complaint: str, check: Check) -> None:
    """Its own error, from its own line on, and exit code 2."""
    done = check("gradients:right", "--case", "square", text=text)
    assert done.returncode == 2
    assert "module gradients cannot be imported" in done.stderr
    assert complaint in done.stderr
    assert "gradients.py" in done.stderr
    assert "named.py" not in done.stderr


def test_check_needs_a_case_that_exists(check: Check) -> None:
    """Without one, or with a misspelt one, nothing is imported or run."""
    assert check("gradients:right").returncode == 2
    done = check("gradients:right", "--case", "sqaure")
    assert done.returncode == 2
    assert "Did you mean 'square'?" in done.stderr


# -------------------------------------------------------------------------------------- show, new, schema and ops


def test_show_by_path_by_file_and_by_name(capsys: pytest.CaptureFixture[str]) -> None:
    """A case is found by its path, its file's name and its own name; value and gradient are shown."""
    path = write("file_name", RIGHT.replace("square", "name of its own"))
    for given in (str(path), "file_name", "name of its own"):
        assert verify("show", given) == 0
        out = capsys.readouterr().out
        assert "9" in out
        assert "6" in out


def test_show_a_shipped_case(capsys: pytest.CaptureFixture[str]) -> None:
    """The shipped cases can be shown from everywhere."""
    assert verify("show", "staged_function") == 0
    assert "xpysqr" in capsys.readouterr().out


def test_show_a_broken_case(capsys: pytest.CaptureFixture[str]) -> None:
    """A broken case shows its problems instead."""
    write("broken", BROKEN)
    assert verify("show", "broken") == 2
    assert "Did you mean 'sigmoid'?" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["my loss", "no: 'it' \"is\" #1", "true", "1e-3", "<script>", "été"])
def test_a_new_case_runs(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The file that `new` writes passes as it stands, and has the very name that was given."""
    from verify.case.case import load_case

    assert verify("new", name, "--folder", "made") == 0
    (path,) = Path("made").iterdir()
    assert load_case(path).name == name
    first = path.read_text(encoding="utf-8").splitlines()[0]
    schema = path.parent / first.removeprefix("# yaml-language-server: $schema=")
    assert "stages" in json.loads(schema.read_text(encoding="utf-8"))["required"]
    assert str(path) in capsys.readouterr().out
    assert verify("run", str(path), "--points", "4") == 0


def test_new_overwrites_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    """A second case of the same name is refused, and the first is left as it was."""
    assert verify("new", "twice") == 0
    Path("cases/twice.yaml").write_text("mine", encoding="utf-8")
    assert verify("new", "twice") == 2
    assert Path("cases/twice.yaml").read_text(encoding="utf-8") == "mine"
    assert "exists already" in capsys.readouterr().err


def test_new_stays_in_its_folder() -> None:
    """A name that looks like a path becomes a file name."""
    assert verify("new", "../../etc/passwd", "--folder", "made") == 0
    assert files("made") == ["etc_passwd.yaml"]


def test_new_in_a_folder_that_cannot_be(capsys: pytest.CaptureFixture[str]) -> None:
    """A folder that cannot be made is said in a sentence."""
    Path("taken").write_text("", encoding="utf-8")
    for name in ("taken", "taken/inside"):
        assert verify("new", "name", "--folder", name) == 2
        assert "cannot write" in capsys.readouterr().err


def test_the_schema_is_json(capsys: pytest.CaptureFixture[str]) -> None:
    """`schema` prints a JSON Schema that knows the fields of a case."""
    assert verify("schema") == 0
    assert {"case", "inputs", "stages", "expect"} <= set(json.loads(capsys.readouterr().out)["properties"])


def test_every_op_is_listed(capsys: pytest.CaptureFixture[str]) -> None:
    """`ops` has a line for each row of the table, which begins with its name."""
    from verify.ops import OPS

    assert verify("ops") == 0
    listed = [line.split()[0] for line in capsys.readouterr().out.splitlines()[1:]]
    assert listed == list(OPS)


def test_the_matrix_has_every_op_and_method(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`ops --matrix` prints one line for an op and one column for a method."""
    found = [("add", "reverse", "ok"), ("add", "symbolic", "ok"), ("add", "central", "ok"), ("exp", "central", "FAIL")]
    monkeypatch.setattr("verify.tools.support.support_matrix", lambda: found)
    assert verify("ops", "--matrix") == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert lines == [["op", "symbolic", "reverse", "central"], ["add", "ok", "ok", "ok"], ["exp", "FAIL"]]


# ---------------------------------------------------------------------------------------------------------- help


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    """--version prints the one version there is, which the installed package has too."""
    from importlib.metadata import version

    assert verify("--version") == 0
    assert capsys.readouterr().out == f"verify {__version__}\n"
    assert version("verify-gradients") == __version__


@pytest.mark.parametrize("command", [[], *([name] for name in COMMANDS)], ids=str)
def test_help(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """Every command explains itself."""
    assert verify(*command, "--help") == 0
    assert capsys.readouterr().out.startswith("usage: verify")


def environment() -> dict[str, str]:
    """The environment of a subprocess that finds this package from everywhere, as plain as a pipe's reader wants it."""
    import verify as package

    paths = [str(Path(package.__file__).parent.parent), os.environ.get("PYTHONPATH", "")]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths)), "FORCE_COLOR": "", "NO_COLOR": ""}

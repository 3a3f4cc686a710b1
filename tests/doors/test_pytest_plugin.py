"""The pytest plugin, seen from a project that uses it: each behaviour with its twin."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest

from verify.case.case import Case
from verify.records import CaseResult
from verify.report.terminal import describe_case
from verify.running import runner
from verify.running.settings import Settings

pytest_plugins = ["pytester"]

README = (Path(__file__).resolve().parents[2] / "verify" / "oracle" / "README.md").read_text(encoding="utf-8")

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
WRONG = RIGHT.replace("6.0", "6.5")
BROKEN = RIGHT.replace("x**2", "sigmiod(x)")


@pytest.fixture(scope="module", autouse=True)
def everything_is_imported(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Pytester forgets what a run inside it imports, and NumPy cannot be imported twice: so import all of it first."""
    path = tmp_path_factory.mktemp("cases") / "wrong.yaml"
    path.write_text(WRONG, encoding="utf-8")
    assert describe_case(runner.run_case(path, Settings(points=1)))


@pytest.fixture
def project(pytester: pytest.Pytester) -> pytest.Pytester:
    """A project that asks for its folder of cases, with one right case in it and one test of its own."""
    pytester.makeini("[pytest]\nverify_cases = cases\n")
    pytester.mkdir("cases")
    write(pytester, "right", RIGHT)
    pytester.makepyfile(test_own="def test_own():\n    assert True\n")
    return pytester


def write(pytester: pytest.Pytester, name: str, text: str) -> None:
    """Drops a case file into the project's folder."""
    (pytester.path / "cases" / f"{name}.yaml").write_text(text, encoding="utf-8")


def run(pytester: pytest.Pytester, *arguments: str) -> pytest.RunResult:
    """Runs pytest in the project, quickly: with few points, and without a plugin that imports much for its summary."""
    return pytester.runpytest_inprocess("-p", "no:hypothesispytest", "--verify-points=4", *arguments)


def test_a_right_case_passes(project: pytest.Pytester) -> None:
    """A case file is a test beside the project's own."""
    run(project).assert_outcomes(passed=2)


def test_testpaths_do_not_hide_the_cases(project: pytest.Pytester) -> None:
    """With ``testpaths`` the folder of cases is collected too, but not where somebody names other paths."""
    project.makeini("[pytest]\nverify_cases = cases\ntestpaths = more\n")
    project.mkdir("more")
    (project.path / "more" / "test_more.py").write_text("def test_more():\n    assert True\n", encoding="utf-8")
    run(project).assert_outcomes(passed=2)
    run(project, "more").assert_outcomes(passed=1)


def test_a_new_file_is_a_new_test(project: pytest.Pytester) -> None:
    """Dropping a file into the folder is all it takes, also into a folder inside it, and with the suffix .yml."""
    (project.path / "cases" / "deeper").mkdir()
    (project.path / "cases" / "deeper" / "other.yml").write_text(RIGHT, encoding="utf-8")
    run(project).assert_outcomes(passed=3)


def test_a_wrong_case_fails_with_all_that_is_needed(project: pytest.Pytester) -> None:
    """The report shows file and line, variable, all values, who is suspected, seed and point, and no traceback."""
    write(project, "wrong", WRONG)
    result = run(project)
    result.assert_outcomes(passed=2, failed=1)
    text = result.stdout.str()
    assert re.search(r"wrong\.yaml:8\b", text)
    for word in ("symbolic", "reverse", "central", "6.5", "seed", "FAIL", "x"):
        assert word in text
    assert "Traceback" not in text
    assert "pytest_plugin.py" not in text
    assert "runner.py" not in text


def test_a_broken_case_fails_with_its_problems(project: pytest.Pytester) -> None:
    """A file that cannot be read is a failure with the place and a suggestion, and the other cases still run."""
    write(project, "broken", BROKEN)
    result = run(project)
    result.assert_outcomes(passed=2, failed=1)
    result.stdout.fnmatch_lines(["*broken.yaml:6:*unknown op 'sigmiod'*Did you mean 'sigmoid'?*"])
    assert "Traceback" not in result.stdout.str()


def test_a_fault_of_the_program_is_told_as_one(project: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    """The twin of the tests above: what is no fault of the case is not passed off as one, nor another case's."""

    def crash(*_: object, **__: object) -> None:
        raise RuntimeError("out of cheese")

    monkeypatch.setattr("verify.running.runner.run_loaded", crash)
    result = run(project)
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(["*the case is not to blame*RuntimeError in test_pytest_plugin.py:*: out of cheese*"])


def test_the_plugin_is_inert_unless_asked(pytester: pytest.Pytester) -> None:
    """Without the setting YAML files are nobody's business, even when one is named."""
    pytester.mkdir("cases")
    write(pytester, "wrong", WRONG)
    pytester.makepyfile(test_own="def test_own():\n    assert True\n")
    run(pytester).assert_outcomes(passed=1)
    assert run(pytester, "cases/wrong.yaml").ret == pytest.ExitCode.USAGE_ERROR


def test_other_yaml_files_are_left_alone(project: pytest.Pytester) -> None:
    """Only the folders that are named hold case files."""
    (project.path / "config.yaml").write_text("not: a case", encoding="utf-8")
    run(project).assert_outcomes(passed=2)


def test_the_option_names_a_folder(pytester: pytest.Pytester) -> None:
    """--verify-cases asks for a folder, also where the other arguments lead elsewhere; no case runs twice."""
    pytester.mkdir("cases")
    pytester.mkdir("elsewhere")
    write(pytester, "right", RIGHT)
    run(pytester, "--verify-cases=cases").assert_outcomes(passed=1)
    run(pytester, "--verify-cases=cases", "elsewhere").assert_outcomes(passed=1)
    run(pytester, "--verify-cases=cases", "cases/right.yaml").assert_outcomes(passed=1)


def test_a_folder_that_is_not_there_is_refused(pytester: pytest.Pytester) -> None:
    """A misspelt folder would otherwise pass by collecting nothing."""
    result = run(pytester, "--verify-cases=caess")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*no such folder of cases: *caess*"])


def test_a_case_can_be_named_on_the_command_line(project: pytest.Pytester) -> None:
    """A path, and a path with the name of the test, run that case alone."""
    write(project, "wrong", WRONG)
    run(project, "cases/right.yaml").assert_outcomes(passed=1)
    run(project, "cases/right.yaml::right").assert_outcomes(passed=1)
    run(project, "cases/wrong.yaml::wrong").assert_outcomes(failed=1)


def test_picking_and_listing(project: pytest.Pytester) -> None:
    """-k picks by name, --collect-only lists without running."""
    write(project, "wrong", WRONG)
    run(project, "-k", "right").assert_outcomes(passed=1, deselected=2)
    result = run(project, "--collect-only", "-q")
    result.stdout.fnmatch_lines(["cases/right.yaml::right", "cases/wrong.yaml::wrong"])
    result.assert_outcomes()


def test_stopping_at_the_first_failure(project: pytest.Pytester) -> None:
    """-x stops there, and without it everything runs."""
    write(project, "a_wrong_one", WRONG)
    run(project, "-x", "cases").assert_outcomes(failed=1)
    run(project, "cases").assert_outcomes(failed=1, passed=1)


def test_running_the_last_failures_again(project: pytest.Pytester) -> None:
    """--lf runs what failed, and nothing of it once it is mended."""
    write(project, "wrong", WRONG)
    run(project).assert_outcomes(passed=2, failed=1)
    run(project, "--lf").assert_outcomes(failed=1)
    write(project, "wrong", RIGHT)
    run(project, "--lf").assert_outcomes(passed=1)


def test_junit_report(project: pytest.Pytester) -> None:
    """The XML report holds each case, and a failure with its text."""
    write(project, "wrong", WRONG)
    run(project, "--junitxml=report.xml")
    report = ET.parse(project.path / "report.xml")  # noqa: S314  (pytest wrote it a moment ago)
    cases = {case.get("name"): case for case in report.iter("testcase")}
    assert set(cases) == {"right", "wrong", "test_own"}
    assert cases["right"].find("failure") is None
    failure = cases["wrong"].find("failure")
    assert failure is not None
    assert "6.5" in (failure.text or "")


def test_several_processes(project: pytest.Pytester) -> None:
    """Under pytest-xdist the same cases pass and fail, and the text of a failure arrives, for ini and option alike."""
    write(project, "wrong", WRONG)
    (project.path / "elsewhere").mkdir()
    (project.path / "elsewhere" / "third.yaml").write_text(RIGHT, encoding="utf-8")
    result = project.runpytest_subprocess(
        "-n2", "--verify-points=4", "--verify-cases=elsewhere", "cases", "test_own.py", "--verify-json=run.json"
    )
    result.assert_outcomes(passed=3, failed=1)
    result.stdout.fnmatch_lines(["*6.5*"])
    found = json.loads((project.path / "run.json").read_text(encoding="utf-8"))
    assert ([True, True, False], ["FAIL dx of square: 6.5 is expected, 6.0 found"]) == (
        sorted((case["passes"] for case in found["cases"]), reverse=True),
        [finding["what"] for finding in found["findings"]],
    )


def test_options_reach_the_runner(project: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    """Points, seed and methods are handed on; the defaults are those of ``verify run``."""
    seen = []
    real = runner.run_loaded

    def remember(case: Case, settings: Settings, *more: Any, **named: Any) -> CaseResult:
        seen.append(settings)
        return real(case, settings, *more, **named)

    monkeypatch.setattr(runner, "run_loaded", remember)
    project.runpytest_inprocess("cases").assert_outcomes(passed=1)
    run(project, "--verify-seed=7", "--verify-methods=symbolic,reverse,central", "cases")
    assert seen == [Settings(), Settings(4, 7, ("symbolic", "reverse", "central"))]


@pytest.mark.parametrize(
    ("option", "complaint"),
    [
        ("--verify-points=-1", "*expected a whole number, zero or more, got '-1'*"),
        ("--verify-proof-seconds=1", "*in place of 1 s say how many ball operations*"),
        ("--verify-methods=revrese", "*unknown method 'revrese'*Did you mean 'reverse'?*"),
    ],
)
def test_options_that_make_no_sense(project: pytest.Pytester, option: str, complaint: str) -> None:
    """A bad value is refused before anything is collected."""
    result = project.runpytest_inprocess(option)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([complaint])


# ------------------------------------------------------------------------------------------- the fixture and its marker

SLOPE = """\
import pytest

def right(x):
    return 2 * x

def wrong(x):
    return 2.000001 * x
"""


def judged(pytester: pytest.Pytester, test: str, *arguments: str) -> pytest.RunResult:
    """Runs one test file that has a right and a wrong gradient of the square."""
    pytester.makepyfile(test_own=SLOPE + test)
    return run(pytester, *arguments)


def test_reports_of_a_session_and_the_line_of_a_summary(pytester: pytest.Pytester) -> None:
    """All that tests judged is in page and JSON; summary and JUnit have the finding first, without the exception."""
    pytester.mkdir("cases")
    write(pytester, "square", RIGHT)
    test = """
def test_wrong(gradient_oracle):
    gradient_oracle(wrong, "square")

def test_right(gradient_oracle):
    gradient_oracle(right, "square")
"""
    result = judged(pytester, test, "--verify-html=page.html", "--verify-json=run.json", "--junitxml=junit.xml")
    result.assert_outcomes(passed=1, failed=1)
    what = "FAIL dx of square: is (1 + 5e-07) x the right one"
    result.stdout.fnmatch_lines(["verify: wrote page.html", "verify: wrote run.json"])
    (line,) = [line for line in result.outlines if line.startswith("FAILED ")]
    assert line.startswith("FAILED test_own.py::test_wrong - FAIL dx of square: is")
    found = json.loads((pytester.path / "run.json").read_text(encoding="utf-8"))
    assert [False, True] == [case["passes"] for case in found["cases"]]
    assert [True] == [finding["what"].startswith(what) for finding in found["findings"]]
    assert (pytester.path / "page.html").read_text(encoding="utf-8").startswith("<!doctype html>")
    (failure,) = ET.parse(pytester.path / "junit.xml").getroot().iter("failure")  # noqa: S314 - pytest wrote it
    told = failure.attrib["message"].splitlines()
    assert told[0].startswith(what)
    assert any(line.startswith("proved: subject is off by 3e-06") for line in told[:8])
    properties = {p.attrib["name"]: p.attrib["value"] for p in ET.parse(pytester.path / "junit.xml").iter("property")}  # noqa: S314
    assert properties["verify_finding"].startswith(what)
    assert properties["verify_place"].endswith("test_own.py:6")


def test_a_report_that_cannot_be_written(project: pytest.Pytester) -> None:
    """It is said before any test runs."""
    result = run(project, "--verify-json=cases")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*verify: cannot write the report cases: it is a folder.*"])


def test_a_right_gradient_passes_and_its_run_is_there(pytester: pytest.Pytester) -> None:
    """The call gives the run, which further asserts may look at; no setting is needed."""
    pytester.mkdir("cases")
    write(pytester, "square", RIGHT)
    test = """
def test_square(gradient_oracle):
    run = gradient_oracle(right, "square")
    assert run is gradient_oracle.run
    assert run.cases[0].points_checked > 5
    assert gradient_oracle.case is None
"""
    judged(pytester, test).assert_outcomes(passed=1)


def test_other_checks_are_fixtures_too(pytester: pytest.Pytester) -> None:
    """By the check itself; what is wrong fails the test."""
    test = """
import verify

def cube(x):
    return x**3

def test_right(gradient_oracle):
    gradient_oracle.by(verify.check_hvp, lambda x, v: 6 * x * v, cube, at={"x": 2.0})

def test_wrong(gradient_oracle):
    gradient_oracle.by(verify.check_hvp, lambda x, v: 6.000006 * x * v, cube, at={"x": 2.0})
"""
    judged(pytester, test).assert_outcomes(passed=1, failed=1)


def test_a_wrong_gradient_fails_as_a_case_does(pytester: pytest.Pytester) -> None:
    """The failure shows what a case file's would, and the test's own lines, but none of the plugin's."""
    pytester.mkdir("cases")
    write(pytester, "square", RIGHT)
    test = """
def test_square(gradient_oracle):
    gradient_oracle(wrong, "square")

def test_what_was_found(gradient_oracle):
    with pytest.raises(AssertionError, match="subject") as failure:
        gradient_oracle(wrong, "square")
    assert not gradient_oracle.run.ok
    assert failure.value.run is gradient_oracle.run
"""
    result = judged(pytester, test)
    result.assert_outcomes(passed=1, failed=1)
    text = result.stdout.str()
    assert re.search(r"test_own\.py:\d+\n", text)
    for word in ("FAIL dx of square: is ", "yours ", "truth ", "allowed", "repeat", "at = {'x': "):
        assert word in text
    assert 'gradient_oracle(wrong, "square")' in text
    assert "pytest_plugin.py" not in text


@pytest.mark.parametrize("named", ["cases/square.yaml", "square", "inside/own.yaml", "../tests/inside/own.yaml"])
def test_the_marker_gives_the_test_its_case(pytester: pytest.Pytester, named: str) -> None:
    """By path from the root or from the test's folder, and by name; the wrong twin fails by the same marker."""
    pytester.mkdir("cases")
    write(pytester, "square", RIGHT)
    folder = pytester.mkdir("tests")
    (folder / "inside").mkdir()
    (folder / "inside" / "own.yaml").write_text(RIGHT, encoding="utf-8")
    test = f"""
@pytest.mark.gradient_case({named!r})
@pytest.mark.parametrize("gradient", [right, wrong])
def test_square(gradient, gradient_oracle):
    assert gradient_oracle.case.is_file()
    gradient_oracle(gradient)
"""
    (folder / "test_square.py").write_text(SLOPE + test, encoding="utf-8")
    run(pytester, "--strict-markers", "tests").assert_outcomes(passed=1, failed=1)


def test_a_shipped_case_by_its_name(pytester: pytest.Pytester) -> None:
    """The cases that come with the package are found from everywhere, and so are those in the folders of the ini."""
    pytester.makeini("[pytest]\nverify_cases = more\n")
    (pytester.mkdir("more") / "own.yaml").write_text(RIGHT, encoding="utf-8")
    test = """
@pytest.mark.gradient_case("add")
def test_shipped(gradient_oracle):
    gradient_oracle(lambda x, y: (1.0, 1.0))

@pytest.mark.gradient_case("own")
def test_own(gradient_oracle):
    gradient_oracle(right)
"""
    judged(pytester, test, "test_own.py").assert_outcomes(passed=2)


@pytest.mark.parametrize(
    ("test", "complaint"),
    [
        ("gradient_oracle(right)", "*needs a case*gradient_case*"),
        ("gradient_oracle(right, 'sqare')", "*no case is called 'sqare'. Did you mean 'square'?*"),
        ("gradient_oracle(right, 'broken')", "*broken.yaml:6:*Did you mean 'sigmoid'?*"),
        ("gradient_oracle(lambda x: {'z': x}, 'square')", "*'z'*no input or stage*"),
    ],
)
def test_what_the_oracle_cannot_judge(pytester: pytest.Pytester, test: str, complaint: str) -> None:
    """It fails with the remedy in words, without this program's own frames."""
    pytester.mkdir("cases")
    write(pytester, "square", RIGHT)
    write(pytester, "broken", BROKEN)
    result = judged(pytester, f"\ndef test_square(gradient_oracle):\n    {test}\n", "test_own.py")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines([complaint])
    assert "runner.py" not in result.stdout.str()


def test_an_exception_in_the_gradient(pytester: pytest.Pytester) -> None:
    """It fails the test with the user's own frames."""
    pytester.mkdir("cases")
    write(pytester, "square", RIGHT)
    test = """
def raising(x):
    return {}["no such key"]

def test_square(gradient_oracle):
    gradient_oracle(raising, "square")
"""
    result = judged(pytester, test, "test_own.py")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*exception*KeyError*", '*return {}*"no such key"*'])
    assert "subject.py" not in result.stdout.str()


def test_a_marker_without_a_case(pytester: pytest.Pytester) -> None:
    """A marker that names nothing is refused."""
    test = """
@pytest.mark.gradient_case()
def test_square(gradient_oracle):
    gradient_oracle(right)
"""
    result = judged(pytester, test)
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*gradient_case takes one case*"])


def test_options_reach_the_oracle(pytester: pytest.Pytester) -> None:
    """Points and seed are pytest's own where the call says nothing, be they in the ini or on the command line."""
    pytester.makeini("[pytest]\naddopts = --verify-seed=7\n")
    test = """
@pytest.mark.gradient_case("multiply_add")
def test_square(gradient_oracle):
    gradient = lambda x, y, z: (z, z, x + y)
    run = gradient_oracle(gradient)
    assert (run.seed, run.points) == (7, 4)
    run = gradient_oracle(gradient, points=2, seed=1)
    assert (run.seed, run.points) == (1, 2)
"""
    judged(pytester, test).assert_outcomes(passed=1)


def test_the_tests_of_the_document_run(pytester: pytest.Pytester) -> None:
    """A test file copied out of the document passes, and fails where a term of its gradient is missing."""
    (text,) = re.findall(r"```python\n([^`]*gradient_oracle.*?)```", README, re.DOTALL)
    pytester.makepyfile(test_own=text)
    run(pytester).assert_outcomes(passed=2)
    assert "(1 - out) * out" in text
    pytester.makepyfile(test_own=text.replace("(1 - out) * out", "(1 - out)"))
    run(pytester).assert_outcomes(passed=1, failed=1)


def test_layers_and_losses(pytester: pytest.Pytester) -> None:
    """One line in a test: right passes, wrong fails with the finding."""
    pytester.makepyfile("""
        import numpy as np
        X = np.array([1.0, -2.0])

        def test_layer(gradient_oracle):
            assert gradient_oracle.layer(lambda x: (x**2, x), lambda d, x: 2 * d * x, x=X).ok

        def test_loss(gradient_oracle):
            gradient_oracle.loss(lambda x: (np.sum(x**2), x), x=X)
        """)
    result = run(pytester)
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(["*WrongGradientError*1/2*"])

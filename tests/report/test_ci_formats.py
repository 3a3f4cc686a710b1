"""What CI reads: JUnit, SARIF, Markdown and annotations, each read back, each with a run that passes as its twin."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.parse import unquote
from xml.etree import ElementTree as ET

import pytest
import sample_run

from verify import check_gradient
from verify.errors import UsageError, line_of, printable
from verify.records import CaseResult, Run
from verify.report import junit, markdown, sarif
from verify.report.annotations import annotated
from verify.report.baseline import Baseline, comparison, read_baseline
from verify.report.explain import KINDS, explained
from verify.report.failures import failures
from verify.report.json import document
from verify.words import Explained

CASE = """\
case: square
source: by hand
inputs:
  x: {at: 3, domain: [-6, 6]}
stages:
  f: x**2
expect:
  value: {f: 9.0}
  gradient:
    x: 6.0
"""


def backward(x: Any, y: Any) -> Any:
    """Wrong by a little in y."""
    return 2 * x * y, 1.000001 * x * x


@pytest.fixture(scope="module")
def run() -> Run:
    """Two cases of each kind, texts that try to be commands among them."""
    return sample_run.sample_run()


@pytest.fixture(scope="module")
def wrong() -> Run:
    """A gradient of its own line, whose diagnosis is known."""
    domain = {"x": (-4, 4), "y": (-4, 4)}
    return check_gradient(backward, lambda x, y: x * x * y, at={"x": 3.0, "y": 2.0}, domain=domain, points=8)


# --------------------------------------------------------------------------------------------------------- findings


def test_what_failed_where_and_why(wrong: Run) -> None:
    """The flat list has the line to edit, the diagnosis, who is suspected, and the call that repeats it."""
    (found,) = failures(wrong.cases)
    assert ("FAIL", "y", "subject", __file__) == (found.verdict, found.variable, found.suspect, found.file)
    assert "def backward(" in Path(__file__).read_text(encoding="utf-8").splitlines()[found.line - 1]
    assert found.what.startswith("FAIL dy of lambda: is (1 + 1e-06) x the right one")
    assert len(found.what) <= 120
    assert any("(1 + 1e-06) x the right one" in sentence for sentence in found.why)
    assert "check_gradient(gradient, case, " in found.repeat
    assert [] == failures(check_gradient(lambda x: 2 * x, lambda x: x * x, at={"x": 3.0}).cases)


def test_every_case_that_does_not_pass_is_in_the_list(run: Run) -> None:
    """And none that passes."""
    told = {found["case"] for found in document(run)["findings"]}
    assert {case.name for case in run.cases if not case.passes} == told


# ------------------------------------------------------------------------------------------------------------ JUnit


def test_junit_counts_and_messages(run: Run, wrong: Run) -> None:
    """Totals are those of the tests below; the message has the finding and the diagnosis, the text everything."""
    top = ET.fromstring(junit.render(run))  # noqa: S314 - we wrote it
    tests = top.findall("./testsuite/testcase")
    counts = {kind: len(top.findall(f"./testsuite/testcase/{kind}")) for kind in ("failure", "error")}
    assert len(run.cases) == len(tests) == int(top.attrib["tests"])
    assert (counts["failure"], counts["error"]) == (int(top.attrib["failures"]), int(top.attrib["errors"]))
    assert 2 == counts["error"]
    assert [case.passes for case in run.cases] == [len(test) == 0 for test in tests]
    (failure,) = ET.fromstring(junit.render(wrong)).iter("failure")  # noqa: S314
    assert "(1 + 1e-06) x the right one" in failure.attrib["message"].splitlines()[0]
    assert "proved: subject is off by" in failure.attrib["message"]
    assert "simplest point that shows it" in (failure.text or "")
    assert "repeat" in (failure.text or "")
    assert [] == list(ET.fromstring(junit.render(sample_run.right_run())).iter("failure"))  # noqa: S314


def test_junit_holds_whatever_is_in_a_name() -> None:
    """The end of CDATA, tags, and what XML has no character for, come back as text."""
    name = "]]></testcase><x> \x1b[31m \x00 \ud800 \ufffe | ` =1+1\n\u202e"
    case = CaseResult(name, f"{name}.yaml", problems=(f"{name}: no",))
    assert json.dumps(sarif.document(sample_run.run_of(case))).isascii()
    (test,) = ET.fromstring(junit.render(sample_run.run_of(case))).iter("testcase")  # noqa: S314
    assert line_of(name) == test.attrib["name"]
    assert test.attrib["file"] == line_of(f"{name}.yaml")
    assert [["error"], True] == [[part.tag for part in test], printable(test[0].text or "") == test[0].text]


# ------------------------------------------------------------------------------------------------------------ SARIF


def test_sarif_has_what_its_standard_requires(run: Run) -> None:
    """Version, tool, rules by index, messages, levels, places: as the schema of SARIF 2.1.0 requires them."""
    log = json.loads(json.dumps(sarif.document(run), allow_nan=False))
    assert "2.1.0" == log["version"]
    assert log["$schema"].endswith("sarif-2.1.0.json")
    (found,) = log["runs"]
    driver = found["tool"]["driver"]
    assert "verify" == driver["name"]
    assert all(isinstance(invocation["executionSuccessful"], bool) for invocation in found["invocations"])
    assert len({rule["id"] for rule in driver["rules"]}) == len(driver["rules"]) > 1
    assert all(rule["shortDescription"]["text"] and rule["help"]["text"] for rule in driver["rules"])
    assert len(document(run)["findings"]) == len(found["results"]) > 0
    for result in found["results"]:
        assert driver["rules"][result["ruleIndex"]]["id"] == result["ruleId"]
        assert result["level"] in ("none", "note", "warning", "error")
        assert result["message"]["text"]
        for place in result.get("locations", []):
            where = place["physicalLocation"]
            assert re.fullmatch(r"[A-Za-z0-9._~/%:=@+,;!$&'()*-]+", where["artifactLocation"]["uri"])
            assert where.get("region", {"startLine": 1})["startLine"] >= 1
    assert [] == sarif.document(sample_run.right_run())["runs"][0]["results"]


def test_sarif_names_the_line_to_edit(wrong: Run) -> None:
    """From the root of the project, where it is inside."""
    ((result,),) = [part["results"] for part in sarif.document(wrong)["runs"]]
    place = result["locations"][0]["physicalLocation"]
    assert __file__.endswith(unquote(place["artifactLocation"]["uri"]).removeprefix("file://"))
    assert place["region"]["startLine"] == failures(wrong.cases)[0].line
    assert "(1 + 1e-06) x the right one" in result["message"]["text"]


# ------------------------------------------------------------------------------------------ Markdown and annotations


def test_nothing_in_markdown_is_obeyed(run: Run) -> None:
    """Outside of code there is none of what a file has named; each line of the table has its five columns."""
    text = markdown.render(run)
    outside = re.sub(r"(?ms)^(`{3,})text\n.*?^\1$", "", text)
    outside = re.sub(r"(?<!`)(`+)(?!`).*?(?<!`)\1(?!`)", "", outside)
    assert [] == [word for word in ("<script", "HYPERLINK", "SUM", "trap", "::error", "[bold") if word in outside]
    assert text.isprintable() is False  # lines
    assert printable(text) == text
    table = [line for line in outside.splitlines() if line.startswith("|")]
    assert len(run.cases) + 2 == len(table)
    assert {5} == {len(re.findall(r"(?<!\\)\|", line)) - 1 for line in table}


def test_markdown_says_what_failed(wrong: Run) -> None:
    """The headline counts, the finding is told as in the terminal; the twin has no failure to tell."""
    text = markdown.render(wrong)
    assert text.startswith("## verify: 1 of 1 does not pass\n")
    assert "FAIL dy of lambda: is (1 + 1e-06) x the right one" in text
    assert markdown.render(sample_run.right_run()).startswith("## verify: all pass\n")
    fence = "`" * 3
    hostile = CaseResult("a", "a.yaml", problems=(f"a.yaml: {fence}\n{fence}text\n# no heading",))
    assert f"\n{fence}`text\n" in markdown.render(sample_run.run_of(hostile))


def test_annotations_are_one_line_each(run: Run) -> None:
    """Lines and separators are escaped, so that nothing in a name ends the command or begins another."""
    lines = annotated(run)
    assert 0 < len(lines) <= 10
    for line in lines:
        head, properties, message = re.fullmatch(r"(::error) (\S.*?)::(.*)", line).groups()  # type: ignore[union-attr]
        assert ("::error", True) == (head, line.isprintable())
        assert {"file", "line", "title"} >= {part.partition("=")[0] for part in properties.split(",")}
        assert re.findall(r"%(?!25|0A|0D|3A|2C)", f"{properties}{message}") == []
    assert [] == annotated(sample_run.right_run())


# ------------------------------------------------------------------------------------------------- from the outside


def verify(folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """The command in a process of its own, with no more of an environment than it needs."""
    import os

    kept = {name: os.environ[name] for name in ("PATH", "HOME", "VERIFY_CACHE") if name in os.environ}
    command = [sys.executable, "-m", "verify", *arguments]
    path = os.pathsep.join(filter(None, sys.path))
    given = {**kept, "PYTHONPATH": path, **environment}
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, env=given)


def test_in_a_job_of_github(tmp_path: Path) -> None:
    """Annotations name the figure's own line; what people read is no command; the summary is appended to."""
    (tmp_path / "right.yaml").write_text(CASE, encoding="utf-8")
    (tmp_path / "wrong.yaml").write_text(
        CASE.replace("x: 6.0", "x: 6.000001").replace("square", "'::error::pwned'"), encoding="utf-8"
    )
    summary = tmp_path / "summary.md"
    summary.write_text("before\n", encoding="utf-8")
    asked = ["run", ".", "--points", "2", "--junit", "junit.xml", "--sarif", "a.sarif"]
    heard = {"GITHUB_ACTIONS": "true", "GITHUB_STEP_SUMMARY": str(summary), "GITHUB_WORKSPACE": str(tmp_path)}
    done = verify(tmp_path, *asked, **heard)
    assert 1 == done.returncode, done.stderr
    what = "FAIL dx of ::error::pwned: 6.000001 is expected, 6.0 found"
    why = "line 10 expects 6.000001, got symbolic 6.0, reverse 6.0, central 6.0"
    assert [f"::error file=wrong.yaml,line=10,title=verify%3A FAIL::{what}%0A{why}"] == commands_of(done.stdout)
    assert summary.read_text(encoding="utf-8").startswith("before\n## verify: 1 of 2 does not pass\n")
    (failure,) = ET.parse(tmp_path / "junit.xml").getroot().iter("failure")  # noqa: S314
    assert failure.attrib["message"].startswith("FAIL dx of ::error::pwned: 6.000001 is expected, 6.0 found\nline 10")
    (result,) = json.loads((tmp_path / "a.sarif").read_text(encoding="utf-8"))["runs"][0]["results"]
    assert {"startLine": 10} == result["locations"][0]["physicalLocation"]["region"]
    alone = verify(tmp_path, "run", "right.yaml", "--points", "2", GITHUB_ACTIONS="true")
    assert (0, []) == (alone.returncode, commands_of(alone.stdout))
    usual = verify(tmp_path, "run", "right.yaml", "--points", "2")
    assert (0, False) == (usual.returncode, "::" in usual.stdout)
    lost = verify(tmp_path, "run", "right.yaml", "--points", "2", GITHUB_STEP_SUMMARY=str(tmp_path))
    assert (0, True) == (lost.returncode, "cannot append to GITHUB_STEP_SUMMARY" in lost.stderr)


def commands_of(text: str) -> list[str]:
    """The lines that the runner of GitHub obeys, by its own rules."""
    found: list[str] = []
    token: str | None = None
    for line in text.splitlines():
        if token is not None:
            token = None if line.strip() == f"::{token}::" else token
        elif line.lstrip().startswith("::stop-commands::"):
            token = line.strip().removeprefix("::stop-commands::")
        elif line.lstrip().startswith("::"):
            found.append(line)
    assert token is None
    return found


# ---------------------------------------------------------------------------------------------------------- explain


@pytest.mark.parametrize("word", [word for kind in KINDS for word in kind], ids=lambda word: f"{word!r}")
def test_every_word_is_explained(word: Explained) -> None:
    """By its name and as reports have it; what may be a failure says what to do."""
    for asked in (word.name, word.value.upper() or word.name):
        assert word.meaning in explained(asked)
    assert word.meaning.endswith((".", ":"))


def test_an_unknown_word_has_a_near_one() -> None:
    """As everywhere."""
    with pytest.raises(UsageError, match="Did you mean 'not linear'"):
        explained("nonlinear")


def test_formats_refuse_a_folder(tmp_path: Path) -> None:
    """As the other reports do."""
    writers: list[Any] = [junit, markdown, sarif]
    for writer in writers:
        with pytest.raises(UsageError, match="got a folder"):
            writer.write(sample_run.right_run(), tmp_path)


# --------------------------------------------------------------------------------------------------------- baseline


def test_what_has_changed_since_an_earlier_run(tmp_path: Path) -> None:
    """Newly failing and newly passing, in the terminal, Markdown and JSON; a report may take its baseline's place."""
    (tmp_path / "a.yaml").write_text(CASE, encoding="utf-8")
    (tmp_path / "b.yaml").write_text(CASE.replace("9.0", "9.000001").replace("square", "cube"), encoding="utf-8")
    asked = ["run", ".", "--points", "2", "--json", "run.json"]
    assert 1 == verify(tmp_path, *asked).returncode
    same = verify(tmp_path, *asked, "--baseline", "run.json")
    assert "since run.json: 0 newly failing, 0 newly passing, 0 slower\n" in same.stdout
    (tmp_path / "b.yaml").write_text(CASE.replace("square", "cube"), encoding="utf-8")
    (tmp_path / "a.yaml").write_text(CASE.replace("6.0", "6.000001"), encoding="utf-8")
    done = verify(tmp_path, *asked, "--baseline", "run.json", "--markdown", "run.md")
    told = "since run.json: 1 newly failing, 1 newly passing, 0 slower\nnewly failing: square\nnewly passing: cube\n"
    assert (1, True) == (done.returncode, told in done.stdout)
    assert told in (tmp_path / "run.md").read_text(encoding="utf-8")
    found = json.loads((tmp_path / "run.json").read_text(encoding="utf-8"))["compared"]
    assert (["square"], ["cube"], []) == (found["newly_failing"], found["newly_passing"], found["slower"])


def test_slower_is_more_than_the_machines_mood() -> None:
    """Twice as long and a second more; what was not run again has taken no time."""

    def slower(before: float, now: float, **known: Any) -> int:
        run = sample_run.run_of(CaseResult("a", "elsewhere/a.yaml", seconds=now, **known))
        found = comparison(Baseline("run.json", {("a", "a.yaml"): True}, {("a", "a.yaml"): before}), run)
        return len(found.slower) if found else -1

    assert [0, 0, 1, 0] == [slower(1.0, 1.9), slower(0.01, 0.9), slower(1.0, 2.1), slower(1.0, 9.0, unchanged=True)]


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"cases": [1]}', '{"cases": [{"name": "a"}]}', "[" * 100_000])
def test_a_baseline_that_is_none(text: str, tmp_path: Path) -> None:
    """It is said before anything runs."""
    path = tmp_path / "run.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(UsageError, match="is no report of 'verify run --json'"):
        read_baseline(path)

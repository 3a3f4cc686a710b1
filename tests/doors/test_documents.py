"""The documents keep their word: cases and programs run, outputs are real, links lead somewhere, lists are complete."""

from __future__ import annotations

import importlib.util
import re
import runpy
import shlex
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from verify import cli
from verify.case.files import shipped_cases
from verify.ops import OPS
from verify.running.runner import run_case
from verify.running.settings import Settings

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = {
    str(path.relative_to(ROOT)): path.read_text(encoding="utf-8")
    for folder in (".", "cases", "reports", "tests", "verify", "verify/*")
    for path in sorted(ROOT.glob(f"{folder}/*.md"))
}
README = DOCUMENTS["README.md"]
EVERYTHING = "\n".join(DOCUMENTS.values())
CASES = {text.splitlines()[0]: text for text in re.findall(r"```yaml\n(case: .*?)```", EVERYTHING, re.DOTALL)}
OUTPUTS = re.findall(r"<!-- output: verify (.*?) -->\n```(?:text)?\n(.*?)```", EVERYTHING, re.DOTALL)
PROGRAMS = {name: re.findall(r"```python\n(.*?)```", text, re.DOTALL) for name, text in DOCUMENTS.items()}
SHOWN = re.findall(r"<!-- output: the block above -->\n```text\n(.*?)```", README, re.DOTALL)
OPTIONAL = ("torch", "jax", "autograd", "distributed")


@pytest.mark.parametrize("name", CASES)
def test_its_cases_pass(name: str, tmp_path: Path) -> None:
    """A case file copied out of a document runs unchanged."""
    path = tmp_path / "case.yaml"
    path.write_text(CASES[name], encoding="utf-8")
    result = run_case(path, Settings(points=8))
    assert [*result.problems, *result.failures, *result.failing()] == []


def test_it_shows_cases_outputs_and_a_failing_check() -> None:
    """The tests above and below have something to look at."""
    assert len(CASES) >= 7
    assert len(OUTPUTS) == 3
    assert "FAIL" in OUTPUTS[1][1]
    assert sum(len(programs) for programs in PROGRAMS.values()) >= 8


def test_the_readme_is_a_first_screen() -> None:
    """At most 200 lines: what is more stands beside what it is about."""
    assert len(README.splitlines()) <= 200


@pytest.mark.parametrize("name", [name for name, programs in PROGRAMS.items() if programs])
def test_its_programs_run(
    name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every block of Python in a document, one after the other; those of a framework where it is installed."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "cases").symlink_to(shipped_cases())
    missing = [f"import {module}" for module in OPTIONAL if importlib.util.find_spec(module) is None]
    here = [text for text in PROGRAMS[name] if not any(line in text for line in missing)]
    program = tmp_path / "program.py"
    program.write_text("\n".join(here), encoding="utf-8")
    runpy.run_path(str(program))
    printed = capsys.readouterr().out
    for text in SHOWN if name == "README.md" else ():
        assert skeleton(text) in skeleton(printed)


def test_its_links_lead_somewhere() -> None:
    """From the folder that the document stands in."""
    for name, text in DOCUMENTS.items():
        targets = re.findall(r"\]\((?!http)([^)#]+)\)", text)
        assert [target for target in targets if not (ROOT / name).parent.joinpath(target).exists()] == [], name


@pytest.mark.parametrize(("command", "shown"), OUTPUTS)
def test_its_outputs_are_real(
    command: str, shown: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What the README shows is what the command prints, digits and times aside."""
    monkeypatch.chdir(tmp_path)
    text = (shipped_cases() / "notes" / "staged_function.yaml").read_text(encoding="utf-8")
    (tmp_path / "staged_function.yaml").write_text(text, encoding="utf-8")
    (tmp_path / "misprint.yaml").write_text(text.replace("y: 1.5922327514838093", "y: 1.5932"), encoding="utf-8")
    cli.main(shlex.split(command))
    assert skeleton(shown) in skeleton(capsys.readouterr().out)


def test_its_workflow_runs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The commands of ours in the workflow for CI, as they stand there; what is uploaded is what they wrote."""
    (text,) = re.findall(r"```yaml\n(# \.github/workflows/.*?)```", DOCUMENTS["reports/README.md"], re.DOTALL)
    (job,) = YAML(typ="safe").load(text)["jobs"].values()
    monkeypatch.chdir(tmp_path)
    (tmp_path / "cases").symlink_to(shipped_cases() / "notes")
    commands = [step["run"] for step in job["steps"] if step.get("run", "").startswith("verify ")]
    assert [0] == [cli.main(shlex.split(command)[1:]) for command in commands]
    (upload,) = [step["with"]["path"] for step in job["steps"] if "upload-artifact" in step.get("uses", "")]
    assert {"cases", *upload.split()} == {path.name for path in tmp_path.iterdir()}


def skeleton(text: str) -> str:
    """Text without its spacing, each number as ``#``: machines differ in the last digit, and so in widths."""
    return " ".join(re.sub(r"\d[\d,]*(\.\d+)?(e[-+]?\d+)?", "#", text).split())


def test_digits_alone_are_set_aside() -> None:
    """The twin of the comparison above: another word is a difference, another digit is none."""
    assert skeleton("PASS  1.5e-16 in 0.2 s") == skeleton("PASS 2e-16 in  13.1 s")
    assert skeleton("PASS 1") != skeleton("FAIL 1")


@pytest.mark.parametrize("name", ["main", "tests"])
def test_it_has_both_commands(name: str) -> None:
    """CI takes each command from the block behind its mark; both make their own environment."""
    (block,) = re.findall(rf"<!-- command: {name} -->\n```sh\n(.*?)```", README, re.DOTALL)
    assert "-m venv" in block


def test_it_lists_every_op() -> None:
    """Whoever writes a case from the README alone can use each op."""
    assert [op.name for op in OPS.values() if f"`{op.spelling}`" not in DOCUMENTS["cases/README.md"]] == []


def test_it_lists_every_field_of_a_case() -> None:
    """The same for the fields of the format."""
    from verify.case.format import CaseFields, ExpectFields, InputFields

    fields = [*CaseFields.model_fields, *InputFields.model_fields, *ExpectFields.model_fields]
    assert [name for name in fields if f"`{name}`" not in DOCUMENTS["cases/README.md"]] == []


def test_it_lists_every_command_and_option(capsys: pytest.CaptureFixture[str]) -> None:
    """The reference of the command line is complete."""
    flags = set()
    for name in cli.COMMANDS:
        with pytest.raises(SystemExit):
            cli.main([name, "--help"])
        flags |= set(re.findall(r"--[a-z-]+", capsys.readouterr().out))
        assert f"`verify {name}" in DOCUMENTS["reports/README.md"]
    assert [flag for flag in sorted(flags - {"--help"}) if f"`{flag}" not in DOCUMENTS["reports/README.md"]] == []

"""A run as a JUnit file, which CI systems read: a test for each case, its failure with the cause in the message."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree as ET  # it writes here, and reads nothing

from verify.errors import line_of
from verify.files import write_text
from verify.records import CaseResult, Run
from verify.report.failures import failures, in_project
from verify.report.terminal import describe_case


def write(run: Run, path: str | Path) -> Path:
    """Writes the run as one JUnit file, whole or not at all, and returns its path.

    Raises UsageError where the file cannot be written.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write(Run(cases=(), seed=0, points=64), Path(folder, "junit.xml")).read_text().splitlines()[0]
    '<?xml version="1.0" encoding="UTF-8"?>'
    """
    return write_text(path, render(run))


def render(run: Run) -> str:
    """The file as text. Whatever XML cannot hold is written as its escape, as everywhere.

    >>> ET.fromstring(render(Run(cases=(CaseResult("a", "a.yaml"),), seed=0, points=64))).get("tests")
    '1'
    """
    errors = sum(bool(case.problems) for case in run.cases)
    failed = sum(not case.passes for case in run.cases) - errors
    counts = {"tests": str(len(run.cases)), "failures": str(failed), "errors": str(errors)}
    counts |= {"skipped": "0", "time": f"{run.seconds:.3f}"}
    top = ET.Element("testsuites", {"name": "verify", **counts})
    started = {"timestamp": run.started.removesuffix("+00:00")} if run.started else {}
    suite = ET.SubElement(top, "testsuite", {"name": "verify", **counts, **started})
    told = {"seed": str(run.seed), "points": str(run.points), "command": run.command, **run.versions}
    properties = ET.SubElement(suite, "properties")
    for name, value in told.items():
        ET.SubElement(properties, "property", {"name": name, "value": line_of(value)})
    for case in run.cases:
        _add_case(suite, case, run.command)
    ET.indent(top)
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{ET.tostring(top, encoding="unicode")}\n'


def _add_case(suite: ET.Element, case: CaseResult, command: str) -> None:
    """A case as a test; what fails first, with its diagnosis, is the message, and everything the text."""
    file = in_project(case.file)
    folder = Path(file).with_suffix("").as_posix().strip("/").replace("/", ".") or "verify"
    names = {"name": line_of(case.name), "classname": line_of(folder), "time": f"{case.seconds:.3f}"}
    found = failures([case], command)
    place = {"file": line_of(found[0].file and in_project(found[0].file) if found else file)}
    place |= {"line": str(found[0].line)} if found and found[0].line else {}
    test = ET.SubElement(suite, "testcase", names | place)
    if not case.passes:
        lines = [found[0].what, *found[0].why] if found else [f"{case.status} {case.name}"]
        message = {"message": "\n".join(map(line_of, lines)), "type": found[0].kind if found else case.status}
        ET.SubElement(test, "error" if case.problems else "failure", message).text = describe_case(case, command)

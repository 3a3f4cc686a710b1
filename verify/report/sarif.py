"""What a run found as SARIF 2.1.0, which code scanning reads: a rule for each kind, a result for each failure."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from verify.errors import line_of
from verify.files import write_text
from verify.records import Run
from verify.report.failures import Failure, failures, in_project
from verify.version import __version__
from verify.words import Explained, FindingKind, NoVerdict, Verdict

VERSION = "2.1.0"
SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"


def write(run: Run, path: str | Path) -> Path:
    """Writes what does not pass as one SARIF file, whole or not at all, and returns its path.

    Raises UsageError where the file cannot be written.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     json.loads(write(Run(cases=(), seed=0, points=64), Path(folder, "a.sarif")).read_text())["version"]
    '2.1.0'
    """
    return write_text(path, json.dumps(document(run), indent=1) + "\n")


def document(run: Run) -> dict[str, Any]:
    """The log as nested dicts and lists.

    >>> document(Run(cases=(), seed=0, points=64))["runs"][0]["results"]
    []
    """
    found = [failure for case in run.cases for failure in failures([case], run.command)]
    words: dict[str, Explained] = {word.value: word for kind in (Verdict, NoVerdict, FindingKind) for word in kind}
    kinds = list(dict.fromkeys(failure.kind for failure in found))
    rules = [_rule(words[kind]) for kind in kinds]
    driver = {"name": "verify", "version": __version__, "rules": rules}
    invocation = {"executionSuccessful": not any(case.problems for case in run.cases)}
    results = [_result(failure, kinds) for failure in found]
    told = {"tool": {"driver": driver}, "invocations": [invocation], "columnKind": "unicodeCodePoints"}
    return {"$schema": SCHEMA, "version": VERSION, "runs": [{**told, "results": results}]}


def _rule(word: Explained) -> dict[str, Any]:
    help_text = " ".join(filter(None, (word.meaning, f"For example: {word.example}" * bool(word.example), word.remedy)))
    return {
        "id": word.value,
        "shortDescription": {"text": word.meaning},
        "help": {"text": help_text},
    }


def _result(failure: Failure, kinds: Sequence[str]) -> dict[str, Any]:
    lines = (failure.what, *failure.why, f"repeat: {failure.repeat}" * bool(failure.repeat))
    told_by = failure.suspect if failure.rows else failure.what  # numbers of a row change from run to run
    identity = f"{failure.case}\n{failure.kind}\n{failure.variable}\n{told_by}"
    told: dict[str, Any] = {
        "ruleId": failure.kind,
        "ruleIndex": kinds.index(failure.kind),
        "level": "error",
        "message": {"text": "\n".join(line_of(line) for line in lines if line)},
        "partialFingerprints": {"verify/v1": hashlib.sha256(identity.encode(errors="replace")).hexdigest()},
    }
    if failure.file:
        place: dict[str, Any] = {"artifactLocation": {"uri": _uri(failure.file)}}
        place |= {"region": {"startLine": failure.line}} if failure.line > 0 else {}
        told["locations"] = [{"physicalLocation": place}]
    return told


def _uri(file: str) -> str:
    """A path from the root of the project as a relative URI, any other as one with its scheme.

    >>> _uri("/somewhere/a b.yaml")
    'file:///somewhere/a%20b.yaml'
    """
    path = in_project(file)
    shown = quote(path.encode(errors="surrogatepass"))
    return f"file://{shown}" if path.startswith("/") else shown

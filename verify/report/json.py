"""A run as strict JSON, the whole of it, for programs.

JSON has no token for what is not finite, so those are the strings ``"nan"``, ``"inf"`` and ``"-inf"``; ``float`` of
Python, ``Number`` of JavaScript for ``"nan"`` and a spelling of each other language read them. Rows are columns of
equal length; ``entry`` is the flat C-order index into ``shape``. ``schema`` grows by one when a field changes its
meaning or goes; new fields may come at any time.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from verify.files import write_text
from verify.records import (
    VERDICTS,
    CaseResult,
    Finding,
    KillScore,
    KinkRecord,
    PairDifference,
    Point,
    Rows,
    Run,
    SimplestPoint,
    StageRecord,
    StepLaw,
    VariableResult,
)
from verify.report.format import caveats

SCHEMA = 1
"""Version of the layout."""


def write_json(run: Run, path: str | Path) -> Path:
    """Writes the run as one JSON file, whole or not at all, and returns its path.

    Raises UsageError where the file cannot be written.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     json.loads(write_json(Run(cases=(), seed=7, points=64), Path(folder, "run.json")).read_text())["seed"]
    7
    """
    return write_text(path, json.dumps(document(run), allow_nan=False, separators=(",", ":")) + "\n")


def document(run: Run) -> dict[str, Any]:
    """The run as nested dicts, lists, strings, finite numbers and truth values.

    >>> document(Run(cases=(), seed=7, points=64))["schema"]
    1
    """
    return {
        "schema": SCHEMA,
        "ok": run.ok,
        "verdict": run.verdict,
        "caveats": list(caveats(run)),
        "left_out": run.left_out,
        "exit_code": run.exit_code,
        "seed": run.seed,
        "points": run.points,
        "methods": list(run.methods),
        "versions": dict(run.versions),
        "command": run.command,
        "started": run.started,
        "seconds": plain(run.seconds),
        "cases": [_case(case) for case in run.cases],
    }


def plain(value: Any) -> Any:
    """Numbers and arrays as JSON holds them: nested lists, with what is not finite as text.

    >>> plain([1.5, float("nan"), float("-inf")])
    [1.5, 'nan', '-inf']
    """
    import numpy as np

    if value is None:
        return None
    array = np.asarray(value)
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        return np.where(np.isfinite(array), array.astype(object), array.astype(str)).tolist()
    return array.tolist()


def _case(case: CaseResult) -> dict[str, Any]:
    return {
        "name": case.name,
        "file": case.file,
        "source": case.source,
        "status": case.status,
        "passes": case.passes,
        "seed": case.seed,
        "points_checked": case.points_checked,
        "methods": list(case.methods),
        "counts": {verdict.value: case.counts[verdict] for verdict in VERDICTS},
        "checked": case.checked,
        "proved": case.proved,
        "unproved": {reason.value: count for reason, count in case.unproved.items()},
        "unsupported": dict(case.unsupported),
        "failures": list(case.failures),
        "problems": list(case.problems),
        "notes": list(case.notes),
        "unchanged": case.unchanged,
        "findings": [_finding(finding) for finding in case.findings],
        "kill_score": None if case.kill_score is None else _kill_score(case.kill_score),
        "simplest": None if case.simplest is None else _simplest(case.simplest),
        "seconds": plain(case.seconds),
        "function": [{"stage": stage, "expression": expression} for stage, expression in case.function],
        "outputs": list(case.outputs),
        "stages": [_stage(stage) for stage in case.stages],
        "kinks": [_kink(kink) for kink in case.kinks],
        "points": [_point(point) for point in case.points],
        "variables": [_variable(variable) for variable in case.variables],
        "step_laws": [_step_law(law) for law in case.step_laws],
    }


def _kill_score(score: KillScore) -> dict[str, Any]:
    return {
        "variants": score.variants,
        "made": score.made,
        "equivalent": score.equivalent,
        "caught": score.caught,
        "survivors": list(score.survivors),
        "survive_allclose": score.survive_allclose,
    }


def _finding(finding: Finding) -> dict[str, Any]:
    return {
        "kind": finding.kind,
        "variable": finding.variable,
        "sentence": finding.sentence,
        "fails": finding.fails,
        "detail": finding.detail,
    }


def _simplest(point: SimplestPoint) -> dict[str, Any]:
    return {
        "variable": point.variable,
        "entry": list(point.entry),
        "sizes": dict(point.sizes),
        "values": {name: plain(value) for name, value in point.values.items()},
        "answer": plain(point.answer),
        "truth": plain(point.truth),
        "sentence": point.sentence,
    }


def _step_law(law: StepLaw) -> dict[str, Any]:
    return {
        "variable": law.variable,
        "entry": list(law.entry),
        "point": law.point,
        "steps": plain(law.steps),
        "errors": plain(law.errors),
        "truncation": plain(law.truncation),
        "rounding": plain(law.rounding),
        "best_step": plain(law.best_step),
        "best_bound": plain(law.best_bound),
        "sentence": law.sentence,
    }


def _variable(variable: VariableResult) -> dict[str, Any]:
    return {
        "name": variable.name,
        "role": variable.role,
        "quantity": variable.quantity,
        "shape": list(variable.shape),
        "file": variable.file,
        "line": variable.line,
        "form": variable.form,
        "closed_forms": dict(variable.closed_forms),
        "diagnosis": list(variable.diagnosis),
        "verdict": variable.verdict.value,
        "passes": variable.passes,
        "checked": variable.checked,
        "failed": variable.failed,
        "dtype": variable.dtype,
        "proved": variable.proved,
        "weak": variable.weak,
        "power": plain(variable.power),
        "counts": {verdict.value: variable.counts.get(verdict, 0) for verdict in VERDICTS},
        "differences": [_difference(difference) for difference in variable.differences],
        "rows": _rows(variable.rows),
    }


def _rows(rows: Rows) -> dict[str, Any]:
    names = [verdict.value for verdict in VERDICTS]
    return {
        "point": plain(rows.point),
        "entry": plain(rows.entry),
        "values": {method: plain(column) for method, column in rows.values.items()},
        "expected": plain(rows.expected),
        "reference": plain(rows.reference),
        "radius": plain(rows.radius),
        "allowed": plain(rows.allowed),
        "step_error": plain(rows.step_error),
        "errors": {method: plain(column) for method, column in rows.errors.items()},
        "road": [rows.texts[code] for code in rows.road.tolist()],
        "verdict": [names[code] for code in rows.verdict.tolist()],
        "passes": plain(rows.passes),
        "reason": [rows.texts[code] for code in rows.reason.tolist()],
        "suspect": [rows.texts[code] for code in rows.suspect.tolist()],
    }


def _difference(difference: PairDifference) -> dict[str, Any]:
    return {
        "pair": list(difference.pair),
        "largest": plain(difference.largest),
        "point": difference.point,
        "entry": list(difference.entry),
    }


def _point(point: Point) -> dict[str, Any]:
    return {
        "id": point.id,
        "origin": point.origin,
        "own": point.own,
        "note": point.note,
        "line": point.line,
        "values": {name: plain(value) for name, value in point.values.items()},
    }


def _kink(kink: KinkRecord) -> dict[str, Any]:
    return {
        "point": kink.point,
        "sites": kink.sites,
        "variables": list(kink.variables),
        "corners": plain(kink.corners),
        "listed": kink.listed,
        "patterns": kink.patterns,
        "realised": kink.realised,
        "outer": kink.outer,
    }


def _stage(stage: StageRecord) -> dict[str, Any]:
    return {
        "name": stage.name,
        "expression": stage.expression,
        "line": stage.line,
        "shape": list(stage.shape),
        "value": plain(stage.value),
        "gradient": plain(stage.gradient),
        "local_derivatives": dict(stage.local_derivatives),
        "contributions": {name: plain(value) for name, value in stage.contributions.items()},
    }

"""The JSON report: strict, whole, and the same numbers after reading."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sample_run

from verify import check_gradient
from verify.errors import UsageError
from verify.records import CaseResult, Run
from verify.report.json import SCHEMA, document, plain
from verify.report.json import write as write_json
from verify.report.json_schema import report_schema
from verify.words import VERDICTS


@pytest.fixture(scope="module")
def run() -> Run:
    """Two cases of each kind."""
    return sample_run.sample_run()


@pytest.fixture(scope="module")
def found(run: Run, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The report as a strict parser reads it."""

    def refuse(token: str) -> None:
        pytest.fail(f"{token} is no JSON")

    path = write_json(run, tmp_path_factory.mktemp("json") / "run.json")
    read: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"), parse_constant=refuse)
    return read


def test_the_head_says_layout_and_outcome(run: Run, found: dict[str, Any]) -> None:
    """Schema, seed and exit code are on top."""
    expected = (SCHEMA, run.seed, run.exit_code, run.ok, dict(run.versions))
    assert expected == tuple(found[name] for name in ("schema", "seed", "exit_code", "ok", "versions"))


def test_every_case_and_row_is_there(run: Run, found: dict[str, Any]) -> None:
    """Columns of rows have the numbers, verdicts and reasons of the run."""
    assert [case.name for case in run.cases] == [case["name"] for case in found["cases"]]
    for case, read in zip(run.cases, found["cases"], strict=True):
        assert (case.status, case.passes) == (read["status"], read["passes"])
        for variable, seen in zip(case.variables, read["variables"], strict=True):
            rows = variable.rows
            assert [VERDICTS[code].value for code in rows.verdict] == seen["rows"]["verdict"]
            assert [rows.texts[code] for code in rows.reason] == seen["rows"]["reason"]
            for method, column in rows.values.items():
                np.testing.assert_array_equal(column, [float(x) for x in seen["rows"]["values"][method]])


def test_what_is_not_finite_is_text(found: dict[str, Any]) -> None:
    """NaN and infinities are the strings that Python's float reads."""
    case = next(case for case in found["cases"] if case["name"] == "condition number")
    assert ["nan", "-inf"] == [case["variables"][0]["rows"]["values"][m][2] for m in ("reverse", "central")]


def test_arrays_are_nested_lists(run: Run, found: dict[str, Any]) -> None:
    """A stage's matrix has its shape, and a broken case its problems."""
    stage = found["cases"][2]["stages"][0]
    assert run.cases[2].stages[0].value.tolist() == stage["value"]
    broken = next(case for case in found["cases"] if case["name"] == "misspelt")
    assert list(next(case for case in run.cases if case.name == "misspelt").problems) == broken["problems"]


def test_hostile_text_is_kept(found: dict[str, Any]) -> None:
    """Text is data here: it comes back as it was."""
    assert list(sample_run.HOSTILE) == found["cases"][-2]["notes"]


@pytest.mark.parametrize(
    ("value", "expected"), [(None, None), (np.float32(0.5), 0.5), (np.inf, "inf"), ([True], [True]), ([1], [1])]
)
def test_plain_numbers(value: Any, expected: Any) -> None:
    """Scalars of NumPy, truth values and whole numbers keep their kind."""
    assert expected == plain(value)


def test_a_case_without_numbers(tmp_path: Path) -> None:
    """An empty case is written too."""
    path = write_json(sample_run.run_of(CaseResult("e", "e.yaml")), tmp_path / "r.json")
    assert "UNDECIDED" == json.loads(path.read_text(encoding="utf-8"))["cases"][0]["status"]


def test_a_path_that_cannot_be_written(tmp_path: Path) -> None:
    """A folder in the file's place is a UsageError."""
    with pytest.raises(UsageError, match="got a folder"):
        write_json(sample_run.right_run(), tmp_path)


def faults(value: Any, schema: dict[str, Any], top: dict[str, Any], place: str = "report") -> list[str]:
    """Where a value is not what a schema says, as far as our own schema goes."""
    if "$ref" in schema:
        return faults(value, top["$defs"][schema["$ref"].rpartition("/")[2]], top, place)
    if "anyOf" in schema:
        tried = [faults(value, part, top, place) for part in schema["anyOf"]]
        return [] if [] in tried else tried[0]
    kinds: dict[str, Any] = {
        "string": str,
        "integer": int,
        "boolean": bool,
        "null": type(None),
        "array": list,
        "object": dict,
        "number": (int, float),
    }
    kind = kinds.get(schema.get("type", ""), object)
    if not isinstance(value, kind) or value not in schema.get("enum", [value]):
        return [f"{place} is {value!r:.60}"]
    found = [f"{place} has no {name}" for name in schema.get("required", ()) if name not in value]
    parts: list[tuple[str, Any, dict[str, Any]]] = []
    if isinstance(value, dict):
        rest = schema.get("additionalProperties", {})
        parts = [(key, part, schema.get("properties", {}).get(key, rest)) for key, part in value.items()]
    if isinstance(value, list):
        fixed = schema.get("prefixItems", [schema.get("items", {})] * len(value))
        found += [f"{place} has {len(value)} parts"] * (len(fixed) != len(value))
        parts = [(str(i), *both) for i, both in enumerate(zip(value, fixed, strict=False))]
    return found + [fault for name, part, of in parts for fault in faults(part, of, top, f"{place}.{name}")]


def test_its_schema_fits(found: dict[str, Any]) -> None:
    """Every report is what the schema says, that of a gradient under test too; one with another field is not."""
    schema = report_schema()
    assert [] == faults(found, schema, schema)
    run = check_gradient(lambda x: 2.000001 * x, lambda x: x * x, at={"x": 3.0})
    read = json.loads(json.dumps(document(run)))
    assert [] == faults(read, schema, schema)
    assert (False, "FAIL", 1) == (read["ok"], read["verdict"], read["exit_code"])
    assert ["findings"] == [name for name in ("findings",) if read[name]]
    del read["findings"]
    read["cases"][0]["variables"][0]["rows"]["passes"][0] = "yes"
    told = faults(read, schema, schema)
    assert ["report has no findings", "report.cases.0.variables.0.rows.passes.0 is 'yes'"] == told


def test_its_schema_is_one(found: dict[str, Any]) -> None:
    """By the reference implementation, where it is installed."""
    jsonschema = pytest.importorskip("jsonschema", reason="the package jsonschema is not installed")
    jsonschema.Draft202012Validator.check_schema(report_schema())
    jsonschema.validate(found, report_schema(), jsonschema.Draft202012Validator)

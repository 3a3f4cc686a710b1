"""Case files: what is read from a right one, and the seven that are shipped."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from verify.case.case import Case, Domain, load_case, load_case_text
from verify.case.expression import graph_from_expressions, tie_fault
from verify.case.format import json_schema
from verify.case.syntax import referenced_names
from verify.case.template import case_text
from verify.case.values import half_unit
from verify.errors import CaseError

SHIPPED = Path(__file__).resolve().parents[2] / "cases"


def case_of(inputs: str = "x: {at: 3}", stages: str = "f: x**2", rest: str = "") -> Case:
    """A small case with some of its parts given."""
    return load_case_text(f"case: small\ninputs: {{{inputs}}}\nstages:\n  {stages}\n{rest}")


def test_a_case_has_all_its_parts() -> None:
    """Names, expressions, lines, output and the first own point."""
    case = case_of("x: {at: 3}, y: {at: -4, domain: [-6, 6]}", "q: x + y\n  f: q * 2")
    assert ("small", "", "<text>", "absolute") == (case.name, case.source, case.file, case.accuracy)
    assert {"q": "x + y", "f": "q * 2"} == case.expressions
    assert {"x": 2, "y": 2, "q": 4, "f": 5} == case.lines
    assert ("f",) == case.graph.outputs
    assert ("x", "y", "q", "f") == case.variables
    assert "at" == case.own_points[0].origin
    assert {"x": 3.0, "y": -4.0} == {name: float(value) for name, value in case.own_points[0].values.items()}


@pytest.mark.parametrize(
    ("field", "domain"),
    [
        ("at: 3", Domain(-1.0, 7.0)),
        ("at: -4", Domain(-9.0, 1.0)),
        ("at: 0", Domain(-1.0, 1.0)),
        ("at: [1, -2]", Domain(-5.0, 3.0)),
        ("at: normal", Domain(-2.0, 2.0)),
        ("at: 1, domain: [0, 10]", Domain(0.0, 10.0)),
        ("at: 1, domain: '(0, 10]'", Domain(0.0, 10.0, low_open=True)),
        ("at: 1, domain: '[0, 1e1)'", Domain(0.0, 10.0, high_open=True)),
        ("at: 1, domain: '(0, .inf)'", Domain(0.0, float("inf"), low_open=True, high_open=True)),
        ("at: 1, domain: [0, .inf]", Domain(0.0, float("inf"), high_open=True)),
        ("at: 1, domain: [1, 1]", Domain(1.0, 1.0)),
    ],
)
def test_domains(field: str, domain: Domain) -> None:
    """The forms of a domain, and the default: all points at a distance of at most 1 + |at|."""
    assert domain == case_of(f"x: {{{field}}}", "f: sum(x)").inputs[0].domain


@pytest.mark.parametrize(
    ("field", "domain"),
    [
        ("at: 3, kind: integer, domain: '(0, 10)'", Domain(1.0, 9.0)),
        ("at: 3, kind: integer, domain: [0.5, 3.5]", Domain(1.0, 3.0)),
        ("at: [2, 0], kind: label", Domain(0.0, 2.0)),
        ("at: [1, 0], kind: mask", Domain(0.0, 1.0)),
        ("at: uniform, kind: mask, shape: [2]", Domain(0.0, 1.0)),
        ("at: uniform, kind: label, domain: [0, 9]", Domain(0.0, 9.0)),
    ],
)
def test_domains_of_whole_numbers(field: str, domain: Domain) -> None:
    """Kinds of whole numbers have closed domains of whole numbers, so that drawing from them is simple."""
    case = case_of(f"x: {{at: 1}}, k: {{{field}}}", "f: x * sum(k)")
    assert domain == case.inputs[1].domain


@pytest.mark.parametrize(
    ("field", "shape", "value"),
    [
        ("at: [[1, 2], [3, 4]]", (2, 2), [[1, 2], [3, 4]]),
        ("shape: [m, 2], at: 0.5", (3, 2), [[0.5, 0.5]] * 3),
        ("shape: [m], at: [1, 2, 3]", (3,), [1, 2, 3]),
        ("shape: [], at: 7", (), 7),
    ],
)
def test_values_and_shapes(field: str, shape: tuple[int, ...], value: Any) -> None:
    """A literal says its shape itself; one number fills a shape that is given."""
    case = case_of(f"x: {{{field}}}", "f: sum(x)", "dims: {m: 3}")
    assert shape == case.inputs[0].shape
    assert np.array_equal(value, np.asarray(case.inputs[0].at))
    assert np.float64 == np.asarray(case.inputs[0].at).dtype


def test_drawn_values_are_not_in_the_own_point() -> None:
    """An input that is drawn has no literal value."""
    case = case_of("x: {at: 3}, W: {shape: [2, 2], at: normal}", "f: x * sum(W)")
    assert "normal" == case.inputs[1].at
    assert ["x"] == list(case.own_points[0].values)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0.51", 0.005),
        ("1", 0.0),
        ("-12", 0.0),
        ("1.0", 0.05),
        ("1e-3", 0.5e-3),
        ("1.50e2", 0.5),
        ("0x1F", 0.0),
        ("5.", 0.5),
        ("0.19661193324148185", 0.5e-17),
    ],
)
def test_half_a_unit_of_the_last_digit(text: str, expected: float) -> None:
    """What was printed says how exact it is; an integer is exact."""
    assert expected == half_unit(text)


def test_points_override_and_keep() -> None:
    """A further point has its own values, note and figures, and keeps the literal values of the other inputs."""
    case = case_of(
        "x: {at: 3}, v: {at: [1, 2]}",
        "f: x * sum(v)",
        "source: a book\nexpect: {value: {f: 9}}\npoints:\n"
        "  - {x: 2, note: lower, expect: {value: {f: 6.0}, gradient: {v: [2, 2]}}}\n  - {v: 0}\n",
    )
    first, second, third = case.own_points
    assert ("at", "points[0]", "points[1]") == (first.origin, second.origin, third.origin)
    assert ("lower", 8, 9) == (second.note, second.line, third.line)
    assert (2.0, [1.0, 2.0]) == (float(second.values["x"]), second.values["v"].tolist())
    assert (3.0, [0.0, 0.0]) == (float(third.values["x"]), third.values["v"].tolist())
    assert [("value", "f", 6.0, 0.05)] == [
        (item.quantity, item.name, float(item.figures), float(item.half_unit)) for item in second.expected[:1]
    ]
    assert [2.0, 2.0] == second.expected[1].figures.tolist()
    assert () == third.expected


def test_outputs_upstream_ties_and_accuracy() -> None:
    """The fields that steer how a case is judged."""
    case = case_of(
        "x: {at: [1, 2]}, g: {at: [1, 0], kind: constant}",
        "a: relu(x)\n  b: sum(a)",
        "output: [a, b]\nupstream: {a: g}\nties: {relu: half}\naccuracy: relative",
    )
    assert ("a", "b") == case.graph.outputs
    assert ({"a": "g"}, {"relu": "half"}, "relative") == (dict(case.upstream), dict(case.ties), case.accuracy)
    assert (0.5, 0.5) == case.graph.nodes[case.graph.stages["a"]].params["tie"]


def test_a_stage_can_be_a_number() -> None:
    """A constant stage needs no quotes."""
    assert {"c": "0.10", "f": "c * x"} == case_of(stages="c: 0.10\n  f: c * x").expressions


def test_nodes_know_line_and_column_in_the_file() -> None:
    """A node of a formula that runs over two lines knows its own line."""
    case = load_case_text("case: a\ninputs: {x: {at: 1}}\nstages:\n  f: x +\n    exp(x)\n")
    node = next(node for node in case.graph.nodes if node.op == "exp")
    assert (5, 5) == (node.line, node.column)


def test_names_of_ops_can_be_names() -> None:
    """A stage may be called like an op or a number: a call is told by its bracket."""
    case = load_case_text("case: a\ninputs: {e: {at: 1}}\nstages: {sum: e * 2, f: sum + 1}")
    assert (0,) == case.graph.nodes[case.graph.stages["sum"]].args[:1]


@pytest.mark.parametrize("path", sorted(SHIPPED.rglob("*.yaml")), ids=lambda path: path.stem)
def test_shipped_cases_load_and_say_where_they_come_from(path: Path) -> None:
    """Every shipped case can be read and names its source."""
    case = load_case(path)
    assert case.source
    assert str(path) == case.file


def figures(name: str, point: int = 0) -> dict[tuple[str, str], Any]:
    """The figures of a shipped case at one of its points."""
    expected = load_case(SHIPPED / "notes" / f"{name}.yaml").own_points[point].expected
    return {(item.quantity, item.name): item.figures.tolist() for item in expected}


@pytest.mark.parametrize(
    ("name", "point", "quantity", "variable", "value"),
    [
        ("add", 0, "gradient", "x", 1),
        ("add", 0, "gradient", "y", 1),
        ("max_subgradient", 0, "gradient", "x", 1),
        ("max_subgradient", 1, "gradient", "y", 1),
        ("max_subgradient", 2, "gradient", "x", 1),
        ("max_subgradient", 2, "gradient", "y", 1),
        ("relu", 2, "gradient", "z", 0),
        ("sigmoid_neuron", 0, "value", "f", 0.7310585786300049),
        ("sigmoid_neuron", 0, "gradient", "dot", 0.19661193324148185),
        ("sigmoid_neuron", 0, "gradient", "x", [0.3932238664829637, -0.5898357997244456]),
        ("sigmoid_neuron", 0, "gradient", "w", [-0.19661193324148185, -0.3932238664829637, 0.19661193324148185]),
        ("staged_function", 0, "value", "f", 1.5456448841066441),
        ("staged_function", 0, "gradient", "x", 2.0595697955721652),
        ("staged_function", 0, "gradient", "y", 1.5922327514838093),
        ("staged_function", 0, "gradient", "num", 0.5121444488396316),
        ("staged_function", 0, "gradient", "invden", 3.0179862099620918),
        ("staged_function", 0, "gradient", "den", -0.7915934472725935),
        ("staged_function", 0, "gradient", "xpy", 1.583186894545187),
        ("multiply_add", 0, "value", "q", 3),
        ("multiply_add", 0, "gradient", "x", -4),
        ("multiply_add", 0, "gradient", "y", -4),
        ("multiply_add", 0, "gradient", "z", 3),
        ("multiply_add", 0, "gradient", "q", -4),
    ],
)
def test_shipped_cases_hold_the_figures_of_the_notes(
    name: str, point: int, quantity: str, variable: str, value: Any
) -> None:
    """The numbers of the course notes, digit by digit."""
    assert value == figures(name, point)[quantity, variable]


def test_the_matmul_case_has_its_upstream_gradient_as_an_input() -> None:
    """dD is drawn from the seed, constant, and of the shape of D."""
    case = load_case(SHIPPED / "notes" / "matmul.yaml")
    assert {"D": "dD"} == dict(case.upstream)
    assert (5, 3) == case.graph.shape("D") == case.inputs[2].shape
    assert ("constant", "normal") == (case.inputs[2].kind, case.inputs[2].at)


def test_the_template_of_new_is_a_case() -> None:
    """What ``verify new`` writes can be read."""
    assert "my case" == load_case_text(case_text("my case")).name


def test_the_schema_describes_every_field() -> None:
    """The JSON Schema is JSON, closed, and each field of a case has a description or refers to one."""
    schema = json.loads(json.dumps(json_schema()))
    fields = {**schema["properties"], **schema["$defs"]["InputFields"]["properties"]}
    assert {"case", "inputs", "stages", "at", "domain", "shape", "kind", "dtype"} <= set(fields)
    assert not schema["additionalProperties"]
    described = {**schema["$defs"], **schema["$defs"]["PointFields"]["properties"], **fields}
    missing = {name for name, field in described.items() if "description" not in field and "$ref" not in field}
    assert set() == missing
    assert all("examples" in described[name] for name in ("ExpectFields", "points", "stages", "output", "Formula"))


def test_the_schema_offers_nothing_that_is_refused() -> None:
    """Each default and each example is read as it stands; null, which an editor would put in, is no default."""
    schema = json_schema()
    text = json.dumps(schema)
    assert ("null" not in text, '"default": ""' not in text, '"default": {}' not in text) == (True, True, True)
    for name, field in schema["$defs"]["InputFields"]["properties"].items():
        if "default" in field:
            load_case_text(f"{{case: a, inputs: {{x: {{at: 1, {name}: {field['default']}}}}}, stages: {{f: x}}}}")
    for op, field in schema["properties"]["ties"]["properties"].items():
        assert {None} == {tie_fault(op, convention) for convention in field["enum"]}


def test_the_schema_knows_each_op() -> None:
    """An op is offered with what it is, and is told of where a formula uses it; its example is a formula."""
    formula = json_schema()["$defs"]["Formula"]
    offered = {snippet["label"]: snippet["description"] for snippet in formula["defaultSnippets"]}
    assert {"exp", "max", "where", "einsum", "conv2d"} <= set(offered)
    assert "a > 0" in offered["log"]
    found = [part["then"] for part in formula["allOf"] if re.search(part["if"]["pattern"], "2 * log(x)")]
    assert [offered["log"]] == [part["description"] for part in found]
    for example in (example for part in formula["allOf"] for example in part["then"]["examples"]):
        shapes = {name: (2, 2) if name in "AB" else (2,) for name in referenced_names(example)}
        graph_from_expressions(shapes, {"f": example})


def test_a_case_file_is_named_in_its_problems(tmp_path: Path) -> None:
    """The path that was given stands in front of every problem."""
    path = tmp_path / "bad.yaml"
    path.write_text("case: a\ninputs: {x: {at: 1}}\nstages: {f: 2 * sigmiod(x)}\n", encoding="utf-8")
    with pytest.raises(CaseError) as caught:
        load_case(path)
    headline = f"{path}:3:17: unknown op 'sigmiod'. Did you mean 'sigmoid'?"
    assert headline == caught.value.problems[0].headline()

"""Cases as files: what is written is read back as the same case, and nothing of anybody's is lost."""

from __future__ import annotations

import re
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import verify
from verify import cli
from verify.case.case import Case, load_case, load_case_text
from verify.case.expression import graph_from_expressions
from verify.case.expression_text import expression_text
from verify.case.files import find_case_files
from verify.case.writer import case_yaml, differences, figure_text, save_case
from verify.errors import UsageError
from verify.running.runner import run_case
from verify.running.settings import Settings
from verify.strategies import cases, graphs
from verify.tracing.trace import trace
from verify.tracing.value_text import named_values

ROOT = Path(__file__).resolve().parents[2]
SHIPPED = find_case_files([ROOT / "cases"])

EVERYTHING = """\
case: everything
source: made for a test, with every field
inputs:
  W: {at: [[1, -0.0], [0.1, 1e-300]], domain: [-2, 2]}
  x: {shape: [2], at: normal, domain: '(-3, .inf)'}
  k: {at: 2, kind: integer, domain: [0, 5]}
  m: {shape: [2], at: 1, kind: mask}
  y: {at: [0, 2], kind: label}
  g: {shape: [2], at: uniform, kind: constant, dtype: float64}
stages:
  h: max(W @ (x * m), 0.5) + k
  f: -h**2 / -(2 - h) * (h / y[1])
output: [f, h]
upstream: {f: g}
ties: {max: half}
accuracy: relative
expect:
  value: {h: [0.51, 1.0]}
points:
  - {note: "a note: with a colon", k: 3}
  - k: 4
    expect:
      gradient: {x: [1.5e3, 2]}
"""


@pytest.mark.parametrize("file", SHIPPED, ids=lambda file: file.stem)
def test_shipped_cases_come_back(file: Path) -> None:
    """Every shipped case: graph, inputs, points and figures."""
    case = load_case(file)
    assert [] == differences(case, load_case_text(case_yaml(case)))


def test_every_field_comes_back() -> None:
    """Kinds, draws, open and infinite domains, signed zeros, printed digits, ties, notes."""
    case = load_case_text(EVERYTHING)
    again = load_case_text(case_yaml(case))
    assert [] == differences(case, again)
    assert np.signbit(np.asarray(again.inputs[0].at)[0, 1])
    assert case_yaml(case) == case_yaml(again)


@pytest.mark.parametrize(
    ("old", "new", "difference"),
    [
        ("max(W", "min(W", "stage 'h'"),
        ("-h**2", "(-h)**2", "stage 'f'"),
        ("-0.0", "0.0", "inputs"),
        ("(-3, .inf)", "[-3, .inf)", "inputs"),
        ("0.51", "0.510", "points"),
        ("max: half", "max: first", "the graphs|ties"),
        ("k: 4", "k: 5", "points"),
        ("relative", "absolute", "accuracy"),
        ("output: [f, h]", "output: [f]", "the graphs"),
        ("kind: constant, dtype: float64", "kind: constant, dtype: float32", "inputs"),
    ],
)
def test_the_comparison_sees(old: str, new: str, difference: str) -> None:
    """The twin of the tests above: each small change of a file is a difference."""
    text = EVERYTHING.replace(old, new)
    assert text != EVERYTHING
    if "min(W" in text:
        text = text.replace("{max: half}", "{min: half}")
    found = differences(load_case_text(EVERYTHING), load_case_text(text))
    assert any(part in found[0] for part in difference.split("|"))


@settings(max_examples=60)
@given(cases(dtypes=("float64", "float32")))
def test_random_cases_come_back(case: Case) -> None:
    """Formulas, kinds, dims, points and ties, at random."""
    assert [] == differences(case, load_case_text(case_yaml(case)))


@pytest.mark.parametrize("text", ["where(-x < 1, x, 2)", "where(1 > -x, x, 2)", "where(x >= -x, x, 2)"])
def test_comparisons_come_back_as_they_were_written(text: str) -> None:
    """Which side was computed first is part of the graph."""
    graph = graph_from_expressions({"x": ()}, {"f": text})
    assert text == expression_text(graph, "f")


@settings(max_examples=100)
@given(graphs(max_nodes=14), st.data())
def test_formulas_come_back_with_no_more_brackets_than_needed(graph: Any, data: st.DataObject) -> None:
    """The text is read as the same nodes; without any one pair of its brackets it is something else, or nothing."""
    shapes = {name: graph.shape(name) for name in graph.inputs}
    texts = {stage: expression_text(graph, stage) for stage in graph.stages}
    again = graph_from_expressions(shapes, texts, outputs=graph.outputs)
    assert [(n.op, n.args, n.shape) for n in graph.nodes] == [(n.op, n.args, n.shape) for n in again.nodes]
    stage = data.draw(st.sampled_from(list(texts)))
    for shorter in _without_one_pair(texts[stage]):
        try:
            other = graph_from_expressions(shapes, {**texts, stage: shorter}, outputs=graph.outputs)
        except UsageError:
            continue
        except verify.CaseError:
            continue
        assert [(n.op, n.args) for n in other.nodes] != [(n.op, n.args) for n in graph.nodes]


def _without_one_pair(text: str) -> list[str]:
    """The text without each pair of brackets that groups (those of calls and tuples stay)."""
    found, open_at = [], []
    for i, char in enumerate(text):
        if char == "(":
            open_at.append(i)
        elif char == ")":
            start = open_at.pop()
            groups = (
                not text[:start].endswith(tuple("abcdefghijklmnopqrstuvwxyz0123456789_=")) and "," not in text[start:i]
            )
            if groups:
                found.append(text[:start] + text[start + 1 : i] + text[i + 1 :])
    return found


def test_figures_keep_their_digits() -> None:
    """Half a unit of the last digit is part of the figure."""
    assert ["0.510", "7", "-2.0e-3", "0.1966"] == [
        figure_text(0.51, 0.0005), figure_text(7.0, 0.0), figure_text(-0.002, 0.00005).replace("-0.0020", "-2.0e-3"),
        figure_text(0.1966, 0.00005),
    ]  # fmt: skip


def test_traced_functions_come_back(tmp_path: Path) -> None:
    """From Python to YAML and back, float32 and long arrays included."""
    rng = np.random.default_rng(0)

    def network(W: Any, V: Any, x: Any) -> Any:
        hidden = np.maximum(W @ x, 0)
        hidden *= np.pi
        return np.sum((V @ hidden - np.arange(2.0)) ** 2, axis=-1) / x.shape[0]

    values = {"W": rng.normal(size=(7, 30)), "V": rng.normal(size=(2, 7)), "x": rng.normal(size=30)}
    for dtype in (np.float64, np.float32):
        case = trace(network, {name: value.astype(dtype) for name, value in values.items()})
        path = save_case(case, tmp_path / f"{np.dtype(dtype).name}.yaml")
        assert [] == differences(case, load_case(path))
        assert max(map(len, path.read_text(encoding="utf-8").splitlines())) <= 120
        assert "hidden_2: hidden * pi" in path.read_text(encoding="utf-8")
    assert run_case(tmp_path / "float64.yaml", Settings(points=1)).passes


def test_a_file_is_not_written_over(tmp_path: Path) -> None:
    """Unless that was asked for; nothing else is left in the folder."""
    case, other = (load_case_text(EVERYTHING.replace("everything", name)) for name in ("one", "two"))
    path = save_case(case, tmp_path / "case.yaml")
    with pytest.raises(UsageError, match="exists already and is left as it is"):
        save_case(other, path)
    assert "one" == load_case(path).name
    assert "two" == load_case(save_case(other, path, overwrite=True)).name
    assert [path] == list(tmp_path.iterdir())


def test_where_links_are_not_to_be_had(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same on a file system without links."""

    def refuse(*_: Any) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(Path, "hardlink_to", refuse)
    test_a_file_is_not_written_over(tmp_path)


def test_what_no_file_can_say_is_refused(tmp_path: Path) -> None:
    """In a sentence, and without a file: an input that nothing uses, an exponent out of range, too large a file."""
    unused = trace(lambda x, y: x * 2.0 if len(np.shape(y)) == 0 else y, x=1.0, y=2.0)
    with pytest.raises(UsageError, match=r"cannot be written as a case file.*nothing uses the input 'y'"):
        save_case(unused, tmp_path / "case.yaml")
    with pytest.raises(UsageError, match="larger than 100"):
        save_case(trace(lambda x: x**150, x=1.0), tmp_path / "case.yaml")
    with pytest.raises(UsageError, match=r"cannot be written as a case file.*100,000"):
        save_case(trace(lambda x: x.sum(), x=np.linspace(0, 1, 10_000)), tmp_path / "case.yaml")
    with pytest.raises(UsageError, match="expected the name of a file, got a folder"):
        save_case(load_case_text(EVERYTHING), tmp_path, overwrite=True)
    assert [] == list(tmp_path.iterdir())


def test_names_that_yaml_would_take_for_something_else() -> None:
    """``true`` is an identifier of Python's, ``no`` is text in YAML 1.2; a name with a colon needs quotes."""
    text = "{case: a, inputs: {'true': {at: 3}, no: {at: 1}}, stages: {'null': 'true', f: 'null*no'}}"
    case = replace(load_case_text(text), name="a: b #c", source="'quoted' \\ \"text\"")  # fmt: skip
    assert [] == differences(case, load_case_text(case_yaml(case)))


def test_it_is_public() -> None:
    """``verify.save_case`` is a name of the package."""
    assert verify.save_case is save_case


# ---------------------------------------------------------------------------------------------------- verify new --from

MODULE = """\
import numpy as np

def staged(x, y):
    num = x + 1 / (1 + np.exp(-y))
    return num / (1 + (x + y) ** 2)

def layer(W, x, n):
    h = np.tanh(W @ x)
    return (h ** n).sum()

def branch(x):
    return x if x > 0 else -x

def spectrum(A):
    return np.linalg.eigvalsh(A).sum()

class Model:
    @staticmethod
    def loss(w):
        return np.sum(w * w)

value = 3
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a module of the user's, which is the current one."""
    (tmp_path / "traced_module.py").write_text(MODULE, encoding="utf-8")
    (tmp_path / "broken_module.py").write_text("import nowhere_to_be_found\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "traced_module", raising=False)
    return tmp_path


def test_new_from_a_function(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The case is written, named after the function, and passes."""
    assert 0 == cli.main(["new", "--from", "traced_module:staged", "--at", "x=3,y=-4"])
    assert "Wrote cases/staged.yaml. Check it by: verify run cases/staged.yaml" in capsys.readouterr().out
    case = load_case(here / "cases" / "staged.yaml")
    assert {"num": "x + 1 / (1 + exp(-y))", "staged": "num / (1 + (x + y)**2)"} == dict(case.expressions)
    assert case.source == "traced from traced_module.staged"
    assert run_case(here / "cases" / "staged.yaml", Settings(points=4)).passes


def test_new_from_a_function_with_arrays(here: Path) -> None:
    """Lists, constants, domains, a name and a folder of one's own; a function inside a class."""
    given = ["--at", "W=[[1,2],[3,4]],x=[1,2]", "--constants", "n=3", "--domain", "W=[-5,5]"]
    assert 0 == cli.main(["new", "a layer", "--from", "traced_module:layer", *given, "--folder", "mine"])
    case = load_case(here / "mine" / "a_layer.yaml")
    assert ("a layer", "sum(h**3)", "[-5, 5]") == (case.name, case.expressions["layer"], str(case.inputs[0].domain))
    assert 0 == cli.main(["new", "--from", "traced_module:Model.loss", "--at", "w=[1, .5]"])
    assert load_case(here / "cases" / "loss.yaml").expressions == {"loss": "sum(w * w)"}
    assert 0 == cli.main(["new", "--from", "traced_module:branch", "--at", "x=3"])
    assert load_case(here / "cases" / "branch.yaml").expressions == {"branch": "where(x > 0, x, -x)"}


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--from", "traced_modul:staged", "--at", "x=3"], "no module is called 'traced_modul'.*Did you mean"),
        (["--from", "broken_module:f", "--at", "x=3"], "module broken_module cannot be imported.*nowhere_to_be_found"),
        (["--from", "traced_module:stagde", "--at", "x=3"], "has no 'stagde'. Did you mean 'staged'"),
        (["--from", "traced_module:value", "--at", "x=3"], "of type int, expected a function"),
        (["--from", "traced_module", "--at", "x=3"], "expected a function as package.module:function"),
        (["--from", "traced_module:staged", "--at", "x=3"], "missing a required argument: 'y'"),
        (["--from", "traced_module:staged", "--at", "x=3,z=4"], "staged.x, y. does not take these values"),
        (["--from", "traced_module:staged"], "needs values to run with, such as x=3.0"),
        (["--from", "traced_module:staged", "--at", "x"], "takes NAME=VALUE.*got 'x'"),
        (["--from", "traced_module:staged", "--at", "x=3,y=[1"], "y=.1 cannot be read.*never closed|not closed"),
        (["--from", "traced_module:staged", "--at", "x=3,y="], "y= has no value"),
        (["--from", "traced_module:staged", "--at", "x=3,y=1e999"], "too large for a double"),
        (["--from", "traced_module:staged", "--at", "x=3,x=4"], "'x' twice"),
        (["--from", "traced_module:staged", "--at", "x=3,y=4", "--domain", "x=[5,6]"], "outside its domain"),
        (["--from", "traced_module:layer", "--at", "W=[[1,2],[3]],x=[1,2]", "--constants", "n=3"], "same length"),
        (["--from", "traced_module:spectrum", "--at", "A=[[1,2],[2,3]]"], "traced_module.py:15.*eigvalsh"),
        (["a name", "--at", "x=3"], "belong to --from"),
        ([], "a new case needs a name"),
    ],
)
def test_new_from_says_what_is_wrong(
    here: Path, arguments: list[str], complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit code 2, one message, no traceback, no file."""
    assert 2 == cli.main(["new", *arguments])
    said = capsys.readouterr().err
    assert re.search(complaint, said, re.DOTALL), said
    assert "verify/" not in said
    assert not (here / "cases").exists()


def test_values_on_the_command_line() -> None:
    """Numbers as a case file has them, lists, flags and text; commas inside of them do not part values."""
    text = 'a=.5,b=1e-3,c=-4,flag=true,mode="a,b",M=[[1, 2], [3, 4]]'
    expected = {"a": 0.5, "b": 0.001, "c": -4, "flag": True, "mode": "a,b", "M": [[1, 2], [3, 4]]}
    assert expected == named_values([text], "--constants")

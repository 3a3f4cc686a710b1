"""Second derivatives of case files: ``order: 2`` and figures of a Hessian, from the file to every report."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest

from verify.case.case import load_case_text
from verify.case.writer import case_yaml, differences
from verify.cli import main
from verify.errors import CaseError
from verify.records import WRONG_FIGURE, CaseResult
from verify.running.runner import run_loaded
from verify.running.settings import Settings
from verify.words import Verdict

CASE = """\
case: valley
source: by hand
inputs:
  x: {at: -1.2, domain: [-2, 2]}
  y: {at: 1, domain: [-2, 2]}
stages:
  f: 100 * (y - x**2)**2 + (1 - x)**2
expect:
  hessian:
    x: {x: 1330.000000, y: 480}
    y: {y: 200}
"""
VECTOR = "case: v\norder: 2\ninputs: {x: {at: AT, domain: [-2, 2]}}\nstages: {f: FORMULA}\n"


def run(text: str, points: int = 2, **asked: object) -> CaseResult:
    """The result of a case that is text."""
    return run_loaded(load_case_text(text, "f.yaml"), Settings(points=points, cached=False, **asked))  # type: ignore[arg-type]


def vector(at: str, formula: str) -> str:
    """A case of one input."""
    return VECTOR.replace("AT", at).replace("FORMULA", formula)


def verdicts(result: CaseResult) -> dict[str, str]:
    """The second derivatives' verdicts by name."""
    return {v.name: str(v.verdict) for v in result.variables if v.quantity in ("hessian", "hvp")}


def test_a_right_hessian_passes_proved_by_two_roads() -> None:
    """Every entry is held against both roads, at the case's own point and at random ones."""
    result = run(CASE)
    assert result.passes
    assert verdicts(result) == dict.fromkeys(("d2f/dxdx", "d2f/dxdy", "d2f/dydy"), "PASS")
    for variable in result.variables[-3:]:
        assert variable.proved == variable.checked == 3
        row = variable.row(0)
        assert row.road == "symbolic+taylor"
        assert row.values["symbolic"] == pytest.approx(row.values["reverse"], rel=1e-12)
        assert math.isnan(row.values["central"])


@pytest.mark.parametrize(
    ("old", "new", "line", "name"),
    [
        ("1330.000000", "1330.001330", 10, "d2f/dxdx"),
        ("480}", "480.000480}", 10, "d2f/dxdy"),
        ("{y: 200}", "{y: 200.000200}", 11, "d2f/dydy"),
        ("{y: 200}", "{x: 479.999520, y: 200}", 11, "d2f/dydx"),
    ],
)
def test_a_figure_that_is_off_by_a_millionth_fails_at_its_line(old: str, new: str, line: int, name: str) -> None:
    """The twin: that entry alone fails, and its line is the place to mend."""
    result = run(CASE.replace(old, new))
    (row,) = (row for variable in result.variables for row in variable.failing())
    assert (row.variable, row.quantity, row.verdict, row.suspect) == (name, "hessian", Verdict.FAIL, WRONG_FIGURE)
    assert (row.file, row.line) == ("f.yaml", line)
    assert row.expected == pytest.approx(row.values["reverse"], rel=2e-6)


def test_a_wrong_road_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where SymPy's derivatives are off by a millionth, the rows do not pass; where they are right, they do."""
    from verify.methods.symbolic import Symbolic

    text = CASE[: CASE.index("expect")] + "order: 2\n"
    assert run(text).passes
    right = Symbolic.differentiate

    def wrong(self: Symbolic, inputs: object, upstream: object) -> object:
        answer = right(self, inputs, upstream)  # type: ignore[arg-type]
        x = answer.gradients["x"]
        if np.asarray(x).dtype == object:  # in balls alone, which second derivatives are had from
            answer.gradients["x"] = x * 1.000001  # type: ignore[index]
        return answer

    monkeypatch.setattr(Symbolic, "differentiate", wrong)
    assert {"DISPUTED"} <= {*verdicts(run(text)).values()}


def test_figures_alone_ask_for_second_derivatives_and_others_get_none() -> None:
    """``order`` is 1 unless the file says otherwise."""
    plain = CASE[: CASE.index("expect")]
    assert verdicts(run(plain)) == {}
    assert verdicts(run(plain + "order: 1\n")) == {}
    assert len(verdicts(run(plain + "order: 2\n"))) == 3


def test_arrays_blocks_and_upstream_gradients() -> None:
    """A block has the axes of both inputs; an output that is an array is contracted with its upstream gradient."""
    figure = "source: by hand\nexpect: {hessian: {x: {x: [[6.0, 0.0], [0.0, 24.0]]}}}\n"
    case = vector("[1, 2]", "x**3").replace("{x: {at", "{g: {at: [1, 2], kind: constant}, x: {at")
    good = f"{case}{figure}upstream: {{f: g}}\n"
    assert verdicts(run(good)) == {"d2f/dxdx": "PASS"}
    assert verdicts(run(good.replace("24.0", "24.000024"))) == {"d2f/dxdx": "FAIL"}


def test_of_many_entries_a_product_with_a_vector_is_judged() -> None:
    """The Hessian by more than 20 numbers is not written out."""
    result = run(vector("normal, shape: [25]", "sum(exp(x) * x)"))
    assert verdicts(result) == {"hvp by x": "PASS"}
    assert {v.proved for v in result.variables if v.quantity == "hvp"} == {75}


def test_at_a_kink_no_second_derivative_is_claimed_and_none_is_believed() -> None:
    """The row is undecided and passes; with a figure, which nothing can be said of, it does not."""
    text = vector("0", "relu(x) * x")
    result = run(text)
    (variable,) = (v for v in result.variables if v.quantity == "hessian")
    assert result.passes
    assert variable.row(0).verdict is Verdict.UNDECIDED
    assert "two branches meet" in variable.row(0).reason
    assert not run(text + "source: s\nexpect: {hessian: {x: {x: 1.0}}}\n").passes


@pytest.mark.parametrize("methods", [("reverse",), ("symbolic",), ("reverse", "central")])
def test_the_methods_that_are_asked_for_answer(methods: tuple[str, ...]) -> None:
    """Each alone is enough; without either there are no rows."""
    assert set(verdicts(run(CASE, methods=methods)).values()) == {"PASS"}
    wrong = run(CASE.replace("480}", "480.00048}"), methods=methods)
    assert not wrong.passes
    assert verdicts(run(CASE, methods=("central",))) == {}


@pytest.mark.parametrize(
    ("old", "new", "message", "suggestion"),
    [
        ("expect:", "order: 3\nexpect:", "unknown order '3'", "Choose one of: 1, 2."),
        ("expect:", "ordr: 2\nexpect:", "unknown field 'ordr'", "Did you mean 'order'?"),
        ("x: {x: 1330.000000, y: 480}", "x: 1330", "'x': expected a mapping of names to values", "Write {name: value}"),
        ("y: 480}", "z: 480}", "unknown name 'z'", "Known: x, y, f."),
        ("y: 480}", "f: 480}", "'f' is a stage, and second derivatives are those by inputs", "Inputs: x, y."),
        ("y: 480}", "y: [480]}", "the figure has shape (1,), 'x' by 'y' has shape ()", "Make the shapes agree."),
        ("hessian:", "hesian:", "unknown field 'hesian'", "Did you mean 'hessian'?"),
    ],
)
def test_what_cannot_be_read_is_refused(old: str, new: str, message: str, suggestion: str) -> None:
    """Each slip with its remedy."""
    with pytest.raises(CaseError) as caught:
        load_case_text(CASE.replace(old, new), "f.yaml")
    (problem,) = caught.value.problems
    assert problem.message.startswith(message)
    assert problem.suggestion.startswith(suggestion)


def test_a_case_with_second_derivatives_is_written_as_it_was_read() -> None:
    """Order and figures come back; the twin: another figure is a difference, and so is another order."""
    case = load_case_text(CASE)
    assert differences(case, load_case_text(case_yaml(case))) == []
    assert differences(case, load_case_text(CASE.replace("480}", "481}"))) != []
    plain = CASE[: CASE.index("expect")]
    assert "order differ" in " ".join(differences(load_case_text(plain + "order: 2\n"), load_case_text(plain)))


def test_every_report_has_the_rows(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """CSV, JSON, the page and the terminal name the block and the figure."""
    file = tmp_path / "valley.yaml"
    file.write_text(CASE.replace("480}", "480.00048}"), encoding="utf-8")
    out = tmp_path / "out"
    formats = [f"--{name}={tmp_path / f'r.{name}'}" for name in ("json", "html", "markdown", "junit")]
    assert main(["run", str(file), "--points=1", f"--csv={out}", *formats]) == 1
    printed = capsys.readouterr().out
    assert "FAIL d2f/dxdy of valley: 480.00048 is expected, 480.0 found" in printed
    assert f"{file}:10" in printed
    assert "valley,d2f/dxdy,hessian" in (out / "results.csv").read_text(encoding="utf-8")
    for name in ("json", "html", "markdown", "junit"):
        text = (tmp_path / f"r.{name}").read_text(encoding="utf-8")
        assert "d2f/dxdy" in text
    assert json.loads((tmp_path / "r.json").read_text(encoding="utf-8"))


def test_a_second_derivative_of_0_next_to_a_third_is_0_by_differences_too() -> None:
    """A step that is short leaves its square, which is no fault; the twin: a figure of another number is one."""
    text = vector("[1.5, -2, 0]", "sum(relu(x)**3)") + "source: by hand\nexpect: {hessian: {x: {x: FIGURES}}}\n"
    figures = "[[9, 0, 0], [0, 0, 0], [0, 0, 0]]"
    assert verdicts(run(text.replace("FIGURES", figures))) == {"d2f/dxdx": "PASS"}
    wrong = figures.replace("0]]", "1e-6]]")
    assert verdicts(run(text.replace("FIGURES", wrong))) == {"d2f/dxdx": "FAIL"}


def test_a_case_that_is_too_large_says_so() -> None:
    """Nothing that was asked for is left out without a word; the twin asks for nothing."""
    large = vector("normal, shape: [10000]", "sum(exp(x))")
    assert any("second derivatives" in note for note in run(large, points=1).notes)
    assert not any("second derivatives" in note for note in run(large.replace("order: 2\n", ""), points=1).notes)

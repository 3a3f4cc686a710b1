"""The frameworks' own gradients: as methods beside the three, and as subjects; each framework's tests skip without it.

Every kind of check is seen both ways: what a framework does right passes, and a rule of its own that is planted wrong
by 1e-6 fails and is named.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from verify.derivative import Unsupported
from verify.matrix import trials
from verify.methods import prepare
from verify.methods.reverse import Reverse
from verify.ops import OPS
from verify.reading.case import Case, load_case, load_case_text
from verify.records import CaseResult, Verdict, pairs_of
from verify.report.csv import read_results, read_summary, write_csv
from verify.report.html import render
from verify.report.terminal import describe_failure
from verify.runner import Settings, find_case_files, run_cases, run_loaded, shipped_cases

FRAMEWORKS = ("torch", "jax", "autograd")

pytestmark = pytest.mark.filterwarnings("ignore:.*:DeprecationWarning")  # of the frameworks' own code


@pytest.fixture(params=FRAMEWORKS)
def framework(request: pytest.FixtureRequest) -> str:
    """Each framework by its name; the test is skipped where it is not installed."""
    name = str(request.param)
    pytest.importorskip(name, reason=f"needs the extra: pip install 'verify-gradients[{name}]'")
    return name


def case(stages: str, more: str = "", **inputs: str) -> Case:
    """A case from ``name: fields`` pairs, and from stages between semicolons."""
    fields = ", ".join(f"{name}: {{{text}}}" for name, text in inputs.items())
    lines = "".join(f"  {stage}\n" for stage in stages.split("; "))
    return load_case_text(f"case: test\ninputs: {{{fields}}}\nstages:\n{lines}{more}")


def judged(known: Case, *methods: str, points: int = 4) -> CaseResult:
    """A case with the three methods and further ones."""
    return run_loaded(known, Settings(points=points, methods=("symbolic", "reverse", "central", *methods)))


# ---------------------------------------------------------------------------------------------------------- as methods

SHIPPED = find_case_files([shipped_cases()])


@pytest.mark.parametrize("file", SHIPPED, ids=lambda path: path.stem)
def test_a_shipped_case(file: Path, framework: str) -> None:
    """The framework's gradients by all inputs and stages are right at the case's own points and at random ones.

    What does not pass is a finding, and stands at a tie: what a framework answers for each op there is a convention,
    and conventions need not fit together (CELU's slope is 1 at 0, PyTorch's answer 1/2), or it is NaN (``hypot`` of 0).
    """
    known = load_case(file)
    answer = prepare(framework, known.graph, known.variables)
    if isinstance(answer, Unsupported):
        pytest.skip(answer.reason)
    result = run_loaded(known, Settings(points=2, methods=("reverse", framework)))
    assert () == result.failures
    for row in result.failing():
        assert (Verdict.FAIL, framework) == (row.verdict, row.suspect), row
        assert row.reason.startswith("tie of"), row
    assert all(np.isfinite(variable.rows.values[framework]).any() for variable in result.variables)


SMOOTH = {
    "elementwise": case(
        "y: exp(-x**2) * sin(3 * x) + log(x + 4) * sqrt(x + 5) - tanh(x) / (2 + cos(x)); "
        "f: sum(y * sigmoid(y) + erf(y))",
        x="shape: [3], at: normal, domain: [-2, 2]",
    ),
    "powers": case("f: x**y + (x + y)**-1.5 + x**3", x="at: 1.5, domain: [0.5, 3]", y="at: -0.5, domain: [-2, 2]"),
    "a layer": case(
        "z: X @ W + b; h: tanh(z); f: mean(h[0] * h[1, 0]) + sum(transpose(h)[0, 1:])",
        X="shape: [2, 3], at: normal",
        W="shape: [3, 4], at: normal",
        b="shape: [4], at: normal",
    ),
    "reductions": case(
        "m: mean(x, axis=0, keepdims=True); v: mean((x - m)**3, axis=0); f: sum(x, axis=1) * sum(v)",
        x="shape: [3, 2], at: normal",
    ),
    "two outputs": case("s: sqrt(x); t: s * y", "output: [s, t]\n", x="at: 2, domain: [1, 4]", y="at: 3"),
}


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("name", SMOOTH)
def test_smooth_functions(name: str, dtype: str, framework: str) -> None:
    """In both dtypes every row passes, with a value of the framework's own in each."""
    known = SMOOTH[name]
    if dtype == "float32":
        known = replace(known, inputs=tuple(replace(item, dtype="float32") for item in known.inputs))
    result = judged(known, framework)
    assert [*result.failures, *result.failing()] == []
    assert framework in result.methods
    for variable in result.variables:
        assert np.isfinite(variable.rows.values[framework]).all(), variable.name
    differ = {found.pair for variable in result.variables for found in variable.differences}
    assert ("reverse", framework) in differ


def test_gradients_keep_their_dtype(framework: str) -> None:
    """What is computed in float32 is answered in it, for inputs and stages; nothing that was given is written to."""
    graph = case("y: x * 2.5; f: sum(y**2)", x="shape: [2], at: [1, 2]").graph
    method = prepare(framework, graph, ["x", "y"])
    assert not isinstance(method, Unsupported)
    for dtype in (np.float32, np.float64):
        x: Any = np.array([[1, 2], [3, 4]], dtype=dtype)
        inputs, upstream = {"x": x}, {"f": np.ones(2, dtype=dtype)}
        kept = inputs["x"].copy(), upstream["f"].copy()
        answer = method.differentiate(inputs, upstream)
        assert {"x": dtype, "y": dtype} == {name: g.dtype.type for name, g in answer.gradients.items()}
        np.testing.assert_allclose(answer.gradients["x"], 12.5 * x)
        np.testing.assert_allclose(answer.gradients["y"], 5 * x)
        np.testing.assert_allclose(answer.values["f"], [31.25, 156.25])
        assert np.array_equal(inputs["x"], kept[0])
        assert np.array_equal(upstream["f"], kept[1])


def wrong_by(framework: str, function: Callable[[Any], Any], factor: float) -> Callable[[Any], Any]:
    """A function of the framework whose own gradient is scaled by a factor."""
    if framework == "torch":
        import torch

        class Scaled(torch.autograd.Function):  # type: ignore[misc,unused-ignore]
            @staticmethod
            def forward(ctx: Any, a: Any) -> Any:
                with torch.enable_grad():
                    ctx.a = a.detach().requires_grad_()
                    ctx.y = function(ctx.a)
                return ctx.y.detach()

            @staticmethod
            def backward(ctx: Any, g: Any) -> Any:
                return torch.autograd.grad(ctx.y, ctx.a, g)[0] * factor

        return Scaled.apply  # type: ignore[no-any-return,unused-ignore]
    if framework == "jax":
        import jax

        scaled = jax.custom_vjp(function)
        scaled.defvjp(lambda a: jax.vjp(function, a), lambda pull, g: (pull(g)[0] * factor,))
        return scaled  # type: ignore[no-any-return,unused-ignore]
    from autograd.extend import defvjp, primitive

    scaled = primitive(np.exp)
    defvjp(scaled, lambda y, _: lambda g: g * y * factor)
    return scaled  # type: ignore[no-any-return,unused-ignore]


@pytest.mark.parametrize("factor", [1.0, 1 + 1e-6])
def test_a_wrong_rule_fails_and_is_named(factor: float, framework: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A rule of the framework that is off by a millionth fails, with the framework as the suspect and nobody else."""
    module = importlib.import_module(f"verify.methods.{framework}")
    real = module._forms

    def planted(package: Any) -> Mapping[str, Any]:
        forms = dict(real(package))
        return {**forms, "exp": wrong_by(framework, forms["exp"], factor)}

    monkeypatch.setattr(module, "_forms", planted)
    result = judged(case("y: exp(x); f: y * x", x="at: 0.5"), framework)
    assert result.passes == (factor == 1.0)
    failing = list(result.failing())
    assert {"x"} >= {row.variable for row in failing}
    for row in failing:
        assert (Verdict.FAIL, framework) == (row.verdict, row.suspect)
        assert f"proved: {framework} is off by" in row.reason
    assert not failing or f"reverse-{framework} 8.2e-07" in describe_failure(failing[0], result)


KINKS = {
    "max": ("f: max(x, y)", {"x": 1.0, "y": 1.0}),
    "min": ("f: min(x, y)", {"x": 1.0, "y": 1.0}),
    "relu": ("f: relu(x) + y", {"x": 0.0, "y": 1.0}),
    "abs": ("f: abs(x) * y", {"x": 0.0, "y": 2.0}),
    "hypot": ("f: hypot(x, y)", {"x": 0.0, "y": 0.0}),
}

CONVENTIONS = {
    "torch": {"max": (0.5, 0.5), "min": (0.5, 0.5), "relu": (0.0, 1.0), "abs": (0.0, 0.0)},
    "jax": {"max": (0.5, 0.5), "min": (0.5, 0.5), "relu": (0.0, 1.0), "abs": (2.0, 0.0), "hypot": (0.5, 0.5)},
    "autograd": {"max": (0.5, 0.5), "min": (0.5, 0.5), "relu": (0.5, 1.0), "abs": (0.0, 0.0)},
}
"""What each framework answers at the kinks above, by x and by y: the README's table."""


@pytest.mark.parametrize("kink", KINKS)
def test_conventions_at_kinks_are_accepted(kink: str, framework: str) -> None:
    """Any subgradient is right, whichever the framework takes, and the README says which it is."""
    stages, at = KINKS[kink]
    if kink not in CONVENTIONS[framework]:
        pytest.skip(f"{framework} has none, or answers NaN")
    known = case(stages, **{name: f"at: {value}" for name, value in at.items()})
    result = judged(known, framework, points=0)
    assert result.passes
    answers = {v.name: v.row(0).values[framework] for v in result.variables if v.role == "input"}
    assert CONVENTIONS[framework][kink] == (answers["x"], answers["y"])
    assert Verdict.SUBGRADIENT in result.counts


def test_conventions_that_do_not_fit_together(framework: str) -> None:
    """relu(x) - relu(-x) is x: with 0 for each at its tie a framework answers 0 where the slope is 1, and is named."""
    result = judged(case("f: relu(x) - relu(-x)", "ties: {relu: half}\n", x="at: 0"), framework, points=0)
    failing = [row for row in result.failing() if row.variable == "x"]
    answer = CONVENTIONS[framework]["relu"][0]
    assert bool(failing) == (2 * answer != 1.0)
    for row in failing:
        assert (Verdict.FAIL, framework) == (row.verdict, row.suspect)
        assert "together they must give this slope" in row.reason


def test_nan_at_the_tip_of_a_cone(framework: str) -> None:
    """torch.hypot divides by a length of 0, where every slope of length 1 or less is right: not a number fails."""
    if "hypot" not in forms_of(framework):
        pytest.skip(f"{framework} has no hypot")
    result = judged(case(KINKS["hypot"][0], x="at: 0", y="at: 0"), framework, points=0)
    assert result.passes == (framework == "jax")
    for row in result.failing():
        assert (Verdict.FAIL, framework) == (row.verdict, row.suspect)
        assert np.isnan(row.values[framework])


def test_what_is_no_subgradient_fails(framework: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The twin: a slope of 2 for relu at 0 is the framework's fault alone, and the engine's answer stands."""
    module = importlib.import_module(f"verify.methods.{framework}")
    real = module._forms

    def planted(package: Any) -> Mapping[str, Any]:
        forms = dict(real(package))
        return {**forms, "relu": lambda a: forms["abs"](a) + 2 * a}

    monkeypatch.setattr(module, "_forms", planted)
    result = judged(case("f: relu(x)", x="at: 0"), framework, points=0)
    (row,) = [row for row in result.failing() if row.quantity == "gradient"]
    assert (Verdict.FAIL, framework, "x") == (row.verdict, row.suspect, row.variable)
    assert f"{framework} is outside" in row.reason


def test_lost_tails_are_rounding(framework: str) -> None:
    """Where a framework's rule cancels, y (1 - y) in the tail, its errors are seen to be noise: a tail loss."""
    known = case("f: sigmoid(x)", "points: [{x: 36.5}, {x: 39}]\n", x="at: 30, domain: [-40, 40]")
    result = judged(known, framework, points=8)
    assert result.passes
    assert {Verdict.PASS, Verdict.IMPRECISE} >= set(+result.counts)
    strict = judged(replace(known, accuracy="relative"), framework, points=8)
    lost = {variable.counts[Verdict.IMPRECISE] for variable in result.variables}
    assert strict.passes == (lost == {0})


def test_without_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    """Unsupported with the command that installs it, never an ImportError; asked for by name it fails the case."""
    for name in FRAMEWORKS:
        monkeypatch.setitem(sys.modules, name, None)
        answer = prepare(name, SMOOTH["powers"].graph, ["x"])
        assert isinstance(answer, Unsupported)
        assert f"pip install 'verify-gradients[{name}]'" in answer.reason
        result = judged(SMOOTH["powers"], name)
        assert not result.passes
        assert f"method {name} was asked for and cannot do this case" in result.failures[0]
        assert f"verify-gradients[{name}]" in result.failures[0]


def test_an_op_without_a_form(framework: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The reason names the op."""
    module = importlib.import_module(f"verify.methods.{framework}")
    real = module._forms
    monkeypatch.setattr(module, "_forms", lambda package: {k: f for k, f in real(package).items() if k != "tanh"})
    answer = prepare(framework, SMOOTH["elementwise"].graph, ["x"])
    assert isinstance(answer, Unsupported)
    assert answer.reason.endswith("is given no form of tanh")


def test_forms_are_of_ops_that_there_are(framework: str) -> None:
    """A form of an op that the table does not have would be tested by nobody."""
    assert set(forms_of(framework)) <= set(OPS)


def forms_of(framework: str) -> Mapping[str, Any]:
    """The table of a framework's own functions."""
    forms: Mapping[str, Any] = importlib.import_module(f"verify.methods.{framework}")._forms(
        importlib.import_module(framework)
    )
    return forms


@pytest.mark.parametrize("op", OPS)
def test_each_form_agrees_with_the_engine(op: str, framework: str) -> None:
    """Values and gradients of every op that a framework has, in all the ways in which the table is tried."""
    if op not in forms_of(framework):
        pytest.skip(f"{framework} has no {op}")
    tried = 0
    for trial in trials(op):
        graph = trial.graph()
        method = prepare(framework, graph, (*graph.inputs, "f"))
        assert not isinstance(method, Unsupported), method.reason
        rng = np.random.default_rng(0)
        inputs, upstream = trial.inputs(2, rng), {"f": rng.normal(size=(2, *graph.shape("f")))}
        theirs = method.differentiate(inputs, upstream)
        ours = Reverse(graph, (*graph.inputs, "f")).differentiate(inputs, upstream)
        for name in (*graph.inputs, "f"):
            what = f"{trial}, {name}"
            assert theirs.gradients[name].shape == ours.gradients[name].shape, what
            np.testing.assert_allclose(theirs.values[name], ours.values[name], rtol=1e-12, atol=1e-14, err_msg=what)
            np.testing.assert_allclose(theirs.gradients[name], ours.gradients[name], 1e-11, 1e-13, err_msg=what)
        tried += 1
    assert tried


def test_the_reports_have_a_column_more(framework: str, tmp_path: Path) -> None:
    """Values, difference and units in the last place of a further method are in the tables and on the page."""
    run = run_cases(
        find_case_files([shipped_cases() / "notes"], pick="staged"),
        Settings(points=4, methods=("symbolic", "reverse", "central", framework)),
    )
    assert run.ok
    write_csv(run, tmp_path)
    results, summary = read_results(tmp_path), read_summary(tmp_path)
    assert np.isfinite(results[framework]).all()
    assert (results[f"reverse_{framework}"] == (results["reverse"] - results[framework]).abs()).all()
    assert np.isfinite(results[f"{framework}_ulps"]).any()
    for row in summary.to_dict("records"):
        of_it = (results["variable"] == row["variable"]) & (results["quantity"] == row["quantity"])
        assert results[of_it][f"reverse_{framework}"].max() == row[f"reverse_{framework}"]
    assert summary[f"reverse_{framework}_point"].dtype == "int64"
    page = render(run)
    assert f'abbr="reverse minus {framework}"' in page
    assert f'<th scope="col" class="n">{framework}</th>' in page


def test_pairs_without_the_engine() -> None:
    """A further method is compared with the next best that is run; the subject is paired with nobody."""
    assert (("symbolic", "torch"),) == pairs_of(["symbolic", "central", "torch"])[3:]
    assert (("torch", "jax"),) == pairs_of(["torch", "jax"])[3:]
    assert () == pairs_of(["subject", "symbolic", "reverse", "central"])[3:]


@pytest.mark.parametrize("beside", [("symbolic",), ("central",), ("reverse",), ()])
def test_with_some_methods_only(beside: tuple[str, ...], framework: str) -> None:
    """Beside one of the three, or alone, a further method is held against the reference all the same."""
    known = case("f: exp(x) * x", x="at: 0.5")
    result = run_loaded(known, Settings(points=4, methods=(*beside, framework)))
    assert result.passes
    assert {Verdict.PASS: 10 + 5} == dict(result.counts)

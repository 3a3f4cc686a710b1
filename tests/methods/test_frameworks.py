"""The frameworks' own gradients: as methods beside the three, and as subjects; each framework's tests skip without it.

Every kind of check is seen both ways: what a framework does right passes, and a rule of its own that is planted wrong
by 1e-6 fails and is named.
"""

# ruff: noqa: ARG004, ARG005, PLW0108 - functions of the frameworks are written as their users write them
from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from verify.case.case import Case, load_case, load_case_text
from verify.case.files import find_case_files, shipped_cases
from verify.errors import UsageError, WrongGradientError
from verify.graph.derivative import Unsupported
from verify.methods import prepare
from verify.methods.reverse import Reverse
from verify.ops import OPS
from verify.oracle.check import check_gradient
from verify.records import CaseResult, pairs_of
from verify.report.csv import read
from verify.report.csv import write as write_csv
from verify.report.html import render
from verify.report.terminal import describe_failure
from verify.running.runner import run_cases, run_loaded
from verify.running.settings import Settings
from verify.tools.support import trials
from verify.words import Verdict

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
STRIDE = 20
"""Of the shipped cases, which go folder by folder, one in so many is in the default run; all are behind the mark."""


@pytest.mark.parametrize(
    "file",
    [
        pytest.param(file, id=file.stem, marks=[pytest.mark.every_case] if number % STRIDE else [])
        for number, file in enumerate(SHIPPED)
    ],
)
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
    first = [variable for variable in result.variables if variable.quantity not in {"hessian", "hvp"}]
    assert all(np.isfinite(variable.rows.values[framework]).any() for variable in first)


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
        pytest.skip(f"{framework} answers NaN")
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
    """torch and autograd divide by a length of 0, where any slope of length 1 or less is right: not a number fails."""
    result = judged(case(KINKS["hypot"][0], x="at: 0", y="at: 0"), framework, points=0)
    assert result.passes == (framework == "jax")
    for row in result.failing():
        assert (Verdict.FAIL, framework) == (row.verdict, row.suspect)
        assert np.isnan(row.values[framework])


@pytest.mark.parametrize("matrix", ["[[3, 1], [1, 2]]", "[[1, 2], [2, 4]]"])
def test_determinants_of_singular_matrices(matrix: str, framework: str) -> None:
    """They have a gradient, the cofactors: PyTorch answers 0 and autograd none. At a regular one all are right."""
    known = case("f: det(A)", A=f"at: {matrix}")
    result = judged(known, framework, points=0)
    assert result.passes == (framework == "jax" or matrix.startswith("[[3"))
    for row in result.failing():
        assert (Verdict.FAIL, framework) == (row.verdict, row.suspect)
        assert framework != "torch" or row.values[framework] == 0
        assert framework != "autograd" or np.isnan(row.values[framework])


@pytest.mark.parametrize("formula", ["inverse(A)", "solve(A, b)", "cholesky(A)", "logabsdet(A)"])
def test_matrices_without_a_value(formula: str, framework: str) -> None:
    """A singular one is no exception: that point has no finite value, and the next one has all of its own."""
    graph = case(f"f: {formula}", A="at: [[1, 0], [0, 1]]", **({"b": "at: [1, 3]"} if "b)" in formula else {})).graph
    method = prepare(framework, graph, ["A"])
    assert not isinstance(method, Unsupported), method.reason
    inputs = {"A": np.array([[[1.0, 2.0], [2.0, 4.0]], [[3.0, 1.0], [1.0, 2.0]]]), "b": np.ones((2, 2))}
    upstream = {"f": np.ones((2, *graph.shape("f")))}
    given = {name: inputs[name] for name in graph.inputs}
    theirs, ours = (m.differentiate(given, upstream) for m in (method, Reverse(graph, ("A",))))
    assert not np.isfinite(theirs.values["f"][0]).all()
    assert not np.isfinite(theirs.gradients["A"][0]).all()
    np.testing.assert_allclose(theirs.values["f"][1], ours.values["f"][1], 1e-12)
    np.testing.assert_allclose(theirs.gradients["A"][1], ours.gradients["A"][1], 1e-11, 1e-13)


def test_ops_that_a_framework_has_not() -> None:
    """Nothing is made up for them: the reason names the op."""
    for name, without in {"torch": "gamma(x)", "autograd": "max_pool(reshape(x, (1, 1, 1)), size=1)"}.items():
        pytest.importorskip(name)
        answer = prepare(name, case(f"f: {without}", x="at: 1.5, domain: [1, 2]").graph, ["x"])
        assert isinstance(answer, Unsupported)
        assert answer.reason.endswith(f"is given no form of {without.split('(')[0]}")


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
    assert [] == without_form_or_reason(framework)


def without_form_or_reason(framework: str) -> list[str]:
    """What a framework's file forgot, a sentence for each op."""
    reasons = importlib.import_module(f"verify.methods.{framework}").WITHOUT
    return [
        f"verify/methods/{framework}.py has no form of {op!r}, and {framework} no function of that name: "
        "write one in _forms, or in WITHOUT why there is none"
        for op in OPS
        if op not in forms_of(framework) and op not in reasons
    ]


def test_a_forgotten_form_is_told(framework: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The twin: a row that no framework has by its name."""
    monkeypatch.setitem(OPS, "swish2", replace(OPS["exp"], name="swish2"))
    (fault,) = without_form_or_reason(framework)
    assert fault.startswith(f"verify/methods/{framework}.py has no form of 'swish2'")


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
    results, summary = read(tmp_path, "results"), read(tmp_path, "summary")
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


# --------------------------------------------------------------------------------------------------------- as subjects


class Kit:
    """What the functions below are written with: one framework's own names for NumPy's functions."""

    def __init__(self, framework: str) -> None:
        self.name = framework
        if framework == "torch":
            import torch

            self.np: Any = torch
            self.relu, self.sigmoid, self.softplus = torch.relu, torch.sigmoid, torch.nn.functional.softplus
            self.erf = torch.erf
        elif framework == "jax":
            import jax

            self.np = jax.numpy
            self.relu, self.sigmoid, self.softplus = jax.nn.relu, jax.nn.sigmoid, jax.nn.softplus
            self.erf = jax.scipy.special.erf
        else:
            import autograd.numpy
            from autograd.scipy import special

            self.np = autograd.numpy
            self.relu, self.sigmoid = lambda x: self.np.maximum(x, 0), special.expit
            self.softplus, self.erf = lambda x: self.np.logaddexp(x, 0), special.erf


VECTOR = "shape: [3], at: normal, domain: [-2, 2]"
POSITIVE = "shape: [3], at: uniform, domain: [0.5, 3]"

WRITTEN: Mapping[str, tuple[str, Mapping[str, str], Callable[[Kit], Callable[..., Any]]]] = {
    "square": ("f: sum(x**2)", {"x": VECTOR}, lambda k: lambda x: (x**2).sum()),
    "exp": ("f: exp(x)", {"x": VECTOR}, lambda k: lambda x: k.np.exp(x)),
    "log": ("f: log(x)", {"x": POSITIVE}, lambda k: lambda x: k.np.log(x)),
    "sqrt": ("f: sqrt(x)", {"x": POSITIVE}, lambda k: lambda x: k.np.sqrt(x)),
    "sin": ("f: sin(x)", {"x": VECTOR}, lambda k: lambda x: k.np.sin(x)),
    "cos": ("f: cos(x)", {"x": VECTOR}, lambda k: lambda x: k.np.cos(x)),
    "tanh": ("f: tanh(x)", {"x": VECTOR}, lambda k: lambda x: k.np.tanh(x)),
    "sigmoid": ("f: sigmoid(x)", {"x": VECTOR}, lambda k: lambda x: k.sigmoid(x)),
    "erf": ("f: erf(x)", {"x": VECTOR}, lambda k: lambda x: k.erf(x)),
    "expm1": ("f: expm1(x)", {"x": VECTOR}, lambda k: lambda x: k.np.expm1(x)),
    "log1p": ("f: log1p(x)", {"x": POSITIVE}, lambda k: lambda x: k.np.log1p(x)),
    "softplus": ("f: softplus(x)", {"x": VECTOR}, lambda k: lambda x: k.softplus(x)),
    "product": ("f: x * y", {"x": VECTOR, "y": VECTOR}, lambda k: lambda x, y: x * y),
    "quotient": ("f: x / y", {"x": VECTOR, "y": POSITIVE}, lambda k: lambda x, y: x / y),
    "power": ("f: y**x", {"x": VECTOR, "y": POSITIVE}, lambda k: lambda x, y: y**x),
    "relu": ("f: relu(x)", {"x": "shape: [3], at: [0, 1, -1]"}, lambda k: lambda x: k.relu(x)),
    "max": ("f: max(x, y)", {"x": "at: 1", "y": "at: 1"}, lambda k: lambda x, y: k.np.maximum(x, y)),
    "abs": ("f: abs(x)", {"x": "shape: [3], at: [0, 1, -1]"}, lambda k: lambda x: k.np.abs(x)),
    "mean": ("f: mean(x)", {"x": VECTOR}, lambda k: lambda x: k.np.mean(x)),
    "matmul": (
        "y: W @ x",
        {"W": "shape: [2, 3], at: normal", "x": VECTOR},
        lambda k: lambda W, x: k.np.matmul(W, x),
    ),
    "a layer": (
        "y: sigmoid(W @ x + b)",
        {"W": "shape: [2, 3], at: normal", "x": VECTOR, "b": "shape: [2], at: normal"},
        lambda k: lambda W, x, b: k.sigmoid(k.np.matmul(W, x) + b),
    ),
    "variance": ("f: mean((x - mean(x))**2)", {"x": VECTOR}, lambda k: lambda x: ((x - k.np.mean(x)) ** 2).mean()),
    "two outputs": (
        "s: sin(x); t: x * y",
        {"x": VECTOR, "y": VECTOR},
        lambda k: lambda x, y: (k.np.sin(x), x * y),
    ),
}
"""Name -> stages, inputs, and the same function as a user of the framework writes it."""


def written(name: str, dtype: str = "float64") -> Case:
    """One of the functions above as a case."""
    stages, inputs, _ = WRITTEN[name]
    more = "output: [s, t]\n" if name == "two outputs" else ""
    return case(stages, more, **{key: f"{text}, dtype: {dtype}" for key, text in inputs.items()})


def gradient_of(framework: str, function: Any, **options: Any) -> Callable[..., Any]:
    """The adapter of one framework."""
    adapter: Any = importlib.import_module(f"verify.frameworks.{framework}")
    found: Callable[..., Any] = adapter.gradient_of(function, **options)
    return found


SUBNORMAL = {
    ("autograd", "abs"),  # its rule is g * x / abs(x), and g * x loses the digits of g
    ("jax", "abs"),  # JAX's float32 takes subnormal numbers for 0 on the CPU
    ("jax", "relu"),
}
"""Findings: where an input is subnormal, these frameworks' slopes are wrong."""


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("name", WRITTEN)
def test_a_gradient_of_the_framework_is_right(name: str, dtype: str, framework: str) -> None:
    """More than twenty functions, in both dtypes: every row passes and no promise of a gradient is broken."""
    gradient = gradient_of(framework, WRITTEN[name][2](Kit(framework)))
    run = check_gradient(gradient, written(name, dtype), points=4)
    (result,) = run.cases
    failing = list(result.failing())
    if (framework, name) in SUBNORMAL:
        at = {point.id: point.values["x"] for point in result.points}
        subnormal = np.finfo(dtype).tiny
        failing = [row for row in failing if not abs(at[row.point][row.entry]) < subnormal]
    assert failing == [], str(run)
    assert () == result.findings


@pytest.mark.parametrize("factor", [1.0, 1 + 1e-6])
def test_a_backward_of_ones_own(factor: float, framework: str) -> None:
    """A ``Function``, a ``custom_vjp``, a ``defvjp`` of the user's: right passes, off by a millionth is named."""
    kit = Kit(framework)
    known = case("f: exp(x) * x", x="shape: [2], at: normal")
    scaled = wrong_by(framework, kit.np.exp, factor)
    run = check_gradient(gradient_of(framework, lambda x: scaled(x) * x), known, points=4)
    assert run.ok == (factor == 1.0)
    failing = list(run.cases[0].failing())
    assert {("subject", "x")} >= {(row.suspect, row.variable) for row in failing}
    own = {row.verdict for row in failing if row.point == 0}
    assert own == ({Verdict.FAIL} if factor != 1.0 else set())


def test_a_torch_function_class_by_itself() -> None:
    """The class is taken as it is, in both of PyTorch's styles; its ``forward`` gives the names."""
    torch = pytest.importorskip("torch")

    class Product(torch.autograd.Function):  # type: ignore[misc,name-defined,unused-ignore]
        factor = 1.0

        @staticmethod
        def forward(ctx: Any, x: Any, y: Any) -> Any:
            ctx.save_for_backward(x, y)
            return x * y

        @staticmethod
        def backward(ctx: Any, g: Any) -> Any:
            x, y = ctx.saved_tensors
            return g * y, g * x * Product.factor

    class WithSetup(torch.autograd.Function):  # type: ignore[misc,name-defined,unused-ignore]
        @staticmethod
        def forward(x: Any, y: Any) -> Any:
            return x * y

        @staticmethod
        def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
            ctx.save_for_backward(*inputs)

        @staticmethod
        def backward(ctx: Any, g: Any) -> Any:
            x, y = ctx.saved_tensors
            return g * y, g * x

    known = written("product")
    for function in (Product, WithSetup):
        assert check_gradient(gradient_of("torch", function), known, points=4).ok
    Product.factor = 1 + 1e-6
    run = check_gradient(gradient_of("torch", Product), known, points=4)
    assert {"y"} == {row.variable for row in run.cases[0].failing()}


def test_jax_compiles_a_gradient_once_and_sees_what_python_changes() -> None:
    """A function's Python runs at the calls 1, 2, 4, 8, ...; one that needs the numbers, or draws some, at each."""
    jax = pytest.importorskip("jax")
    ran: list[str] = []

    def scanned(x: Any) -> Any:
        ran.append("scanned")
        return jax.lax.scan(lambda h, a: (jax.numpy.tanh(h + a), h), jax.numpy.zeros(()), x)[0]

    def branching(x: Any) -> Any:
        ran.append("branching")
        return jax.numpy.sum(x if x[0] > 0 else 2 * x)

    rng = np.random.default_rng(0)

    def drawing(x: Any) -> Any:
        return jax.numpy.sum(x) * rng.uniform(1, 2)

    numbers = [np.array([sign * 0.25 * i, 1.0]) for i in range(1, 17) for sign in (1, -1)]
    for function in (scanned, branching):
        gradient = gradient_of("jax", function)
        for x in numbers:
            slope = {"scanned": (1 - np.tanh(np.tanh(x[0]) + 1) ** 2), "branching": 1.0 if x[0] > 0 else 2.0}
            np.testing.assert_allclose(gradient(x, upstream=1.0)[1], slope[function.__name__], rtol=1e-12)
    assert ran.count("scanned") <= 6
    assert ran.count("branching") >= len(numbers)
    gradient = gradient_of("jax", drawing)
    assert 5 == len({gradient(numbers[0], upstream=1.0)[0] for _ in range(5)})


def test_a_jitted_function_and_the_width_of_jax() -> None:
    """64 bits are enabled while the gradient is called, and nobody's setting is changed."""
    jax = pytest.importorskip("jax")
    before = jax.config.jax_enable_x64
    run = check_gradient(gradient_of("jax", jax.jit(lambda x: jax.numpy.exp(x))), written("exp"), points=4)
    assert run.ok
    assert jax.config.jax_enable_x64 == before


def test_a_real_finding() -> None:
    """torch.nn.functional.softplus is x above 20, for any dtype: in float64 its slope is off by 2e-9, and fails."""
    torch = pytest.importorskip("torch")
    known = case("f: softplus(x)", x="at: 20.5, domain: [19, 22]")
    assert not check_gradient(gradient_of("torch", torch.nn.functional.softplus), known, points=4).ok
    single = case("f: softplus(x)", x="at: 20.5, domain: [20.1, 22], dtype: float32")
    assert check_gradient(gradient_of("torch", torch.nn.functional.softplus), single, points=4).ok
    assert check_gradient(
        gradient_of("torch", lambda x: torch.nn.functional.softplus(x, threshold=1e9)), known, points=4
    ).ok


def test_constants_are_not_differentiated(framework: str) -> None:
    """Named ones, and whole numbers; by position and by name, dtypes kept and nothing written to."""
    gradient = gradient_of(framework, lambda x, t, n: t * x**2 * n, constants=("t",))
    x, t = np.array([1.0, 2.0]), np.array([3.0, 4.0])
    np.testing.assert_allclose(gradient(x, t, 2, upstream=np.ones(2)), [12.0, 32.0])
    found = gradient(x=x, t=t, n=2, upstream=np.ones(2))
    assert ["x"] == list(found)
    assert ([1.0, 2.0], [3.0, 4.0]) == (x.tolist(), t.tolist())
    assert gradient(x.astype(np.float32), t.astype(np.float32), 2, upstream=np.ones(2)).dtype == np.float32
    known = case("f: t * x**2", x=VECTOR, t="shape: [3], at: normal, kind: constant")
    assert check_gradient(gradient_of(framework, lambda x, t: t * x**2, constants=("t",)), known, points=4).ok


def test_what_an_adapter_refuses(framework: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A parameter that is called upstream, nothing to differentiate, too many outputs, and the package missing."""
    with pytest.raises(UsageError, match="parameter 'upstream' of its own"):
        gradient_of(framework, lambda x, upstream: x * upstream)
    with pytest.raises(UsageError, match="nothing to differentiate"):
        gradient_of(framework, lambda n: n)(3)
    with pytest.raises(UsageError, match="returns 2 arrays, and there are 1 upstream gradients"):
        gradient_of(framework, lambda x: (x, x * 2))(np.ones(2), upstream=np.ones(2))
    monkeypatch.setitem(sys.modules, framework, None)
    with pytest.raises(UsageError, match="pip install 'verify-gradients"):
        gradient_of(framework, lambda x: x)


def test_a_detached_output() -> None:
    """What no gradient flows through is said, and so is what is no tensor."""
    pytest.importorskip("torch")
    with pytest.raises(UsageError, match="detached"):
        gradient_of("torch", lambda x: x.detach() * 2)(np.ones(2), upstream=np.ones(2))
    with pytest.raises(UsageError, match="returned a float, expected a tensor"):
        gradient_of("torch", lambda x: x.sum().item())(np.ones(2), upstream=np.ones(2))


# ------------------------------------------------------------------------------------------ the frameworks' call shapes


@pytest.mark.parametrize("against", ["function", "case", "black box"])
@pytest.mark.parametrize("factor", [1.0, 1 + 1e-3])
def test_gradcheck(factor: float, against: str) -> None:
    """A drop-in for torch.autograd.gradcheck: against a traced function, a case, or differences; both ways."""
    torch = pytest.importorskip("torch")
    from verify.frameworks.torch import gradcheck

    scaled = wrong_by("torch", torch.exp, factor)
    x = torch.tensor([0.5, -1.0], dtype=torch.float64, requires_grad=True)
    t = torch.tensor([2.0, 3.0], dtype=torch.float64)
    options: dict[str, dict[str, Any]] = {
        "function": {"function": lambda x, t: np.exp(x) * t},
        "case": {"case": case("f: exp(x) * t", x="shape: [2], at: normal", t="shape: [2], at: normal, kind: constant")},
        "black box": {},
    }
    holds = options[against]

    def fn(x: Any, t: Any) -> Any:
        return scaled(x) * t

    if factor == 1.0:
        assert gradcheck(fn, (x, t), eps=1e-6, atol=1e-4, **holds)
        return
    assert not gradcheck(fn, (x, t), raise_exception=False, **holds)
    with pytest.raises(WrongGradientError, match="FAIL"):
        gradcheck(fn, (x, t), **holds)


def test_gradcheck_refuses() -> None:
    """What it does not check, and inputs that no gradient is asked of."""
    torch = pytest.importorskip("torch")
    from verify.frameworks.torch import gradcheck

    x = torch.ones(2, dtype=torch.float64, requires_grad=True)
    with pytest.raises(UsageError, match="batched gradients"):
        gradcheck(torch.sin, x, check_batched_grad=True)
    with pytest.raises(UsageError, match="none of the inputs requires a gradient"):
        gradcheck(torch.sin, x.detach())
    with pytest.raises(UsageError, match="not both"):
        gradcheck(torch.sin, x, function=np.sin, case="relu")


@pytest.mark.parametrize("against", ["function", "case", "black box"])
@pytest.mark.parametrize("factor", [1.0, 1 + 1e-3])
def test_check_grads(factor: float, against: str) -> None:
    """A drop-in for jax.test_util.check_grads, both ways."""
    jax = pytest.importorskip("jax")
    from verify.frameworks.jax import check_grads

    scaled = wrong_by("jax", jax.numpy.exp, factor)
    options: dict[str, dict[str, Any]] = {
        "function": {"function": lambda x: np.exp(x) * x},
        "case": {"case": case("f: exp(x) * x", x="shape: [2], at: normal")},
        "black box": {},
    }
    holds = options[against]
    args = (np.array([0.5, -1.0]),)
    if factor == 1.0:
        assert check_grads(lambda x: scaled(x) * x, args, order=1, modes=("rev",), **holds).ok
        return
    with pytest.raises(WrongGradientError, match="FAIL"):
        check_grads(lambda x: scaled(x) * x, args, **holds)
    with pytest.raises(UsageError, match="order is 1 or 2"):
        check_grads(jax.numpy.sin, args, order=3)


def jax_through_complex(x: Any) -> Any:
    """A real function with complex numbers on the way, which cannot be traced."""
    import jax.numpy as jnp

    return jnp.sum(jnp.abs(jnp.exp(1j * x) + 1.0) ** 2)


def jax_real(x: Any) -> Any:
    """One that can be traced."""
    import jax.numpy as jnp

    return jnp.sum(jnp.exp(x) ** 2)


@pytest.mark.parametrize("function", [jax_real, jax_through_complex])
def test_jax_grad_beside_its_function_is_called_in_its_width(function: Any) -> None:
    """``jax.grad(f)`` on arrays of NumPy answers in float32; one that means it is found, as is a factor."""
    jax = pytest.importorskip("jax")
    at = {"x": [0.5, 1.2]}
    gradient = jax.grad(function)
    assert check_gradient(gradient, function, at=at, points=0).verdict == "PASS"
    assert check_gradient(lambda x: 1.000001 * gradient(x), function, at=at, points=0).verdict == "FAIL"
    narrow = check_gradient(lambda x: gradient(x).astype("float32"), function, at=at, points=0)
    assert [finding.kind for finding in narrow.cases[0].findings if finding.fails] == ["wrong dtype"]

"""SymPy's derivatives: closed forms and stages agree, stay short however deep, and hold at 50 digits."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING, Any

import mpmath
import numpy as np
import pytest
import sympy
from numpy.typing import NDArray

from verify.case.case import load_case
from verify.case.expression import graph_from_expressions
from verify.case.files import shipped_cases
from verify.graph.derivative import Unsupported
from verify.graph.graph import Graph, GraphBuilder
from verify.graph.taylor import precision
from verify.methods.symbolic import Symbolic, enclosed, prepare
from verify.ops import OPS, Shape
from verify.symbolic import closed_forms, formula, pieces

if TYPE_CHECKING:
    import flint

Array = NDArray[Any]


def symbolic(graph: Graph) -> Symbolic:
    """The method for all inputs and stages of a graph."""
    answer = prepare(graph, (*graph.inputs, *graph.stages))
    assert isinstance(answer, Symbolic)
    return answer


def drawn(graph: Graph, points: int = 3) -> tuple[dict[str, Array], dict[str, Array]]:
    """Inputs and upstream gradients of a graph at some points, away from its kinks."""
    rng = np.random.default_rng(0)
    inputs = {name: rng.uniform(0.5, 2.0, (points, *graph.shape(name))) for name in graph.inputs}
    return inputs, {name: rng.normal(size=(points, *graph.shape(name))) for name in graph.outputs}


GRAPHS: Mapping[str, tuple[Mapping[str, Shape], Mapping[str, str]]] = {
    "staged": (
        {"x": (), "y": ()},
        {
            "sigy": "1 / (1 + exp(-y))",
            "num": "x + sigy",
            "xpy": "x + y",
            "den": "sigmoid(x) + xpy**2",
            "f": "num / den",
        },
    ),
    "neuron": ({"w": (3,), "x": (2,)}, {"dot": "w[0] * x[0] + w[1] * x[1] + w[2]", "f": "sigmoid(dot)"}),
    "vector": ({"a": (3,), "c": ()}, {"q": "tanh(a * c)", "f": "q * q + a"}),
    "branches": ({"a": (2,), "b": (2,)}, {"q": "max(a, b) * relu(a - 1)", "f": "sum(q * abs(b - 1.2) + min(a, b))"}),
    "powers": ({"a": (), "b": ()}, {"q": "a ** b + b ** -2", "f": "log(q) * sqrt(a)"}),
    "layer": ({"W": (2, 2), "x": (2,)}, {"h": "relu(W @ x - 1)", "f": "mean(h * h)"}),
    "moved": ({"A": (2, 3)}, {"B": "transpose(A)", "f": "sum(B[1:] * B[0], axis=0, keepdims=True)"}),
}


@pytest.mark.parametrize("name", GRAPHS)
def test_closed_forms_and_stages_agree(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same graph both ways: SymPy on the whole expression, and SymPy stage by stage."""
    graph = graph_from_expressions(*GRAPHS[name])
    inputs, upstream = drawn(graph)
    whole = symbolic(graph)
    monkeypatch.setattr(closed_forms, "LARGEST_CLOSED_FORM", -1)
    stages = symbolic(graph)
    first, second = (method.differentiate(inputs, upstream) for method in (whole, stages))
    assert "closed form" in {whole.closed_form(variable).form for variable in graph.stages}
    for variable in (*graph.inputs, *graph.stages):
        assert "by stages" == stages.closed_form(variable).form
        assert inputs[next(iter(inputs))].shape[:1] + graph.shape(variable) == second.gradients[variable].shape
        np.testing.assert_allclose(first.gradients[variable], second.gradients[variable], rtol=1e-12, atol=1e-13)
        np.testing.assert_allclose(first.values[variable], second.values[variable], rtol=1e-14)


@pytest.mark.parametrize("which", ["whole", "stages"])
def test_a_wrong_form_is_wrong_either_way(which: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The twin: a form off by 1e-9 shows in both, so agreement above is not that of a constant."""
    graph = graph_from_expressions(*GRAPHS["vector"])
    inputs, upstream = drawn(graph)
    right = symbolic(graph).differentiate(inputs, upstream).gradients["a"]
    if which == "stages":
        monkeypatch.setattr(closed_forms, "LARGEST_CLOSED_FORM", -1)
    row = OPS["tanh"]
    factor = 1 + sympy.Rational(1, 10**9)
    monkeypatch.setitem(OPS, "tanh", type(row)(**{**columns(row), "sympy": lambda a: factor * sympy.tanh(a)}))
    wrong = symbolic(graph).differentiate(inputs, upstream).gradients["a"]
    assert np.all(np.abs(wrong - right) > 1e-11)


def columns(row: Any) -> dict[str, Any]:
    """The columns of a row of the table by name."""
    return {name: getattr(row, name) for name in row.__slots__}


# ----------------------------------------------------------------------------------------------------- deep functions


def iterated(depth: int) -> Graph:
    """x -> x * sigmoid(x), over and over, each step a stage."""
    builder = GraphBuilder()
    at = builder.input("x")
    for step in range(depth):
        at = builder.apply("multiply", at, builder.apply("sigmoid", at, stage=f"s{step}"), stage=f"s{step}")
        builder.name(f"s{step}", at)
    return builder.build([f"s{depth - 1}"])


class Work:
    """What SymPy was asked for: how many derivatives, and how many operations they have in all."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.derivatives = 0
        self.operations = 0
        for module in (closed_forms, pieces):
            monkeypatch.setattr(module, "differentiated", self._counted)

    def _counted(self, expression: Any, symbol: Any) -> Any:
        found = formula.differentiated(expression, symbol)
        self.derivatives += 1
        self.operations += int(sympy.count_ops(found))
        return found


def work_for(depth: int, monkeypatch: pytest.MonkeyPatch) -> Work:
    """What an iteration of some depth costs."""
    with monkeypatch.context() as patch:
        patch.setattr(pieces, "_template", cache(pieces._template.__wrapped__))  # what others left would be no work
        work = Work(patch)
        symbolic(iterated(depth))
    return work


def test_200_stages_are_no_more_work_than_20(monkeypatch: pytest.MonkeyPatch) -> None:
    """x * sigmoid(x) 200 deep: one template for all stages, so that SymPy's own work does not grow with the depth."""
    short, long = work_for(20, monkeypatch), work_for(200, monkeypatch)
    assert short.derivatives == long.derivatives <= 60
    assert short.operations == long.operations <= 3000


def test_the_count_sees_expressions_that_swell(monkeypatch: pytest.MonkeyPatch) -> None:
    """The twin: with substitution allowed to go on, six stages alone are twice that."""
    monkeypatch.setattr(closed_forms, "LARGEST_CLOSED_FORM", 10**9)
    assert work_for(6, monkeypatch).operations > 6000


def test_200_stages_are_right() -> None:
    """Every total derivative against mpmath's own differences of the whole iteration at 60 digits."""
    graph = iterated(200)
    found = symbolic(graph).differentiate({"x": np.array([1.7])}, {"s199": np.ones(1)})

    def function(x: Any) -> Any:
        for _ in range(200):
            x = x / (1 + mpmath.exp(-x))
        return x

    with mpmath.workdps(120):
        true = mpmath.diff(function, mpmath.mpf(1.7))
        assert float(true) == pytest.approx(float(found.gradients["x"][0]), rel=1e-11)
        assert float(function(mpmath.mpf(1.7))) == pytest.approx(float(found.values["s199"][0]), rel=1e-11)


# --------------------------------------------------------------------------------------------------------- formulas


def test_matrix_products_have_closed_forms_for_any_size() -> None:
    """The notes' dW = dD X^T and dX = W^T dD, for 5x10 times 10x3."""
    graph = graph_from_expressions({"W": (5, 10), "X": (10, 3)}, {"D": "W @ X"})
    method = symbolic(graph)
    assert {"": "dD*X.T"} == method.closed_form("W").formulas
    assert {"": "W.T*dD"} == method.closed_form("X").formulas
    assert {"": "dD"} == method.closed_form("D").formulas
    inputs, upstream = drawn(graph)
    found = method.differentiate(inputs, upstream).gradients
    np.testing.assert_allclose(np.einsum("pik,pjk->pij", upstream["D"], inputs["X"]), found["W"], rtol=1e-13)
    np.testing.assert_allclose(np.einsum("pij,pik->pjk", inputs["W"], upstream["D"]), found["X"], rtol=1e-13)


@pytest.mark.parametrize(
    ("stages", "variable", "formula_text"),
    [
        ({"D": "W @ X + W @ X"}, "W", "2*dD*X.T"),
        ({"D": "transpose(X) @ transpose(W)"}, "W", "dD.T*X.T"),
        ({"Z": "W @ X", "D": "-Z"}, "X", "-W.T*dD"),
        ({"Z": "W @ X", "D": "-Z"}, "Z", "-dD"),
    ],
)
def test_matrix_closed_forms(stages: dict[str, str], variable: str, formula_text: str) -> None:
    """Sums, signs and transposes stay matrix formulas, and say what the numbers do."""
    graph = graph_from_expressions({"W": (2, 3), "X": (3, 4)}, stages)
    method = symbolic(graph)
    assert {"": formula_text} == method.closed_form(variable).formulas
    inputs, upstream = drawn(graph)
    matrices = {**method.differentiate(inputs, upstream).values, "dD": upstream["D"]}
    for p in range(3):
        at = {name: sympy.Matrix(array[p]) for name, array in matrices.items()}
        by_formula = np.array(eval_matrix(formula_text, at).tolist(), dtype=float)
        np.testing.assert_allclose(
            by_formula, method.differentiate(inputs, upstream).gradients[variable][p], rtol=1e-12
        )


def eval_matrix(text: str, at: Mapping[str, sympy.Matrix]) -> sympy.Matrix:
    """A product of matrices as it is printed."""
    factors = text.removeprefix("-").split("*")
    result: Any = sympy.Integer(-1 if text.startswith("-") else 1)
    for factor in factors:
        name, _, turned = factor.partition(".")
        result *= sympy.Integer(int(name)) if name.isdigit() else (at[name].T if turned else at[name])
    return result


def test_scalar_closed_forms_are_sympys() -> None:
    """What the report shows of (x + y) z."""
    method = symbolic(graph_from_expressions({"x": (), "y": (), "z": ()}, {"q": "x + y", "f": "q * z"}))
    shown = {name: method.closed_form(name).formulas[""] for name in ("x", "y", "z", "q", "f")}
    assert {"x": "z", "y": "z", "z": "x + y", "q": "z", "f": "1"} == shown


def test_local_derivatives_are_by_the_direct_operands() -> None:
    """A stage's own formula, in the names of what it reads."""
    method = symbolic(graph_from_expressions({"x": (), "y": ()}, {"xpy": "x + y", "sqr": "xpy ** 2", "f": "x / sqr"}))
    assert {"xpy": "2*xpy"} == method.local_derivatives("sqr")
    assert {"x": "1/sqr", "sqr": "-x/sqr**2"} == method.local_derivatives("f")


def test_too_large_a_stage_is_unsupported_with_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """Said before any work is done, and not at all where it fits."""
    graph = graph_from_expressions({"W": (2, 3), "x": (3,)}, {"h": "tanh(W @ x)", "f": "sum(h)"})
    assert isinstance(prepare(graph, ["W"]), Symbolic)
    monkeypatch.setattr(pieces, "MOST_MONOMIALS", 5)
    answer = prepare(graph, ["W"])
    assert isinstance(answer, Unsupported)
    assert "'h'" in answer.reason


# --------------------------------------------------------------------------------------------------------- 50 digits

EXACT: Mapping[str, tuple[str, Any]] = {
    "staged": (
        "(x + sigmoid(y)) / (sigmoid(x) + (x + y)**2)",
        lambda x, y: (x + 1 / (1 + mpmath.exp(-y))) / (1 / (1 + mpmath.exp(-x)) + (x + y) ** 2),
    ),
    "powers": ("x ** y * log(x) - sqrt(y) / x**3", lambda x, y: x**y * mpmath.log(x) - mpmath.sqrt(y) / x**3),
    "tanh": ("tanh(x * y) + exp(-x) / 0.1", lambda x, y: mpmath.tanh(x * y) + mpmath.exp(-x) / mpmath.mpf(0.1)),
    "branches": ("max(x, y) * abs(x - 3) + relu(y)", lambda x, y: max(x, y) * abs(x - 3) + y),
}


def as_mpf(ball: flint.arb) -> mpmath.mpf:
    """The middle of a ball with 60 digits."""
    with mpmath.workdps(60):
        return mpmath.mpf(ball.mid().str(60, radius=False))


@pytest.mark.parametrize("by_stages", [False, True])
@pytest.mark.parametrize("name", EXACT)
def test_exact_inputs_give_50_digits(name: str, by_stages: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both ways, against mpmath's own differences at twice as many digits: 45 of them agree."""
    if by_stages:
        monkeypatch.setattr(closed_forms, "LARGEST_CLOSED_FORM", -1)
    text, function = EXACT[name]
    graph = graph_from_expressions({"x": (), "y": ()}, {"f": text})
    x, y = np.array([0.7, 2.5]), np.array([1.3, 0.4])
    with precision(256):
        found = symbolic(graph).differentiate(enclosed({"x": x, "y": y}), enclosed({"f": np.ones(2)})).gradients
    with mpmath.workdps(100):
        for p in range(2):
            a, b = mpmath.mpf(float(x[p])), mpmath.mpf(float(y[p]))
            for variable, orders in (("x", (1, 0)), ("y", (0, 1))):
                true = mpmath.diff(function, (a, b), orders)
                assert abs(as_mpf(found[variable][p]) - true) < mpmath.mpf(10) ** -45 * max(1, abs(true))


def test_floats_alone_have_no_50_digits() -> None:
    """The twin: the same comparison with float inputs misses by what floats round."""
    graph = graph_from_expressions({"x": (), "y": ()}, {"f": EXACT["staged"][0]})
    inputs = {"x": np.array([0.7]), "y": np.array([1.3])}
    rough = symbolic(graph).differentiate(inputs, {"f": np.ones(1)}).gradients["x"][0]
    with precision(256):
        exact = symbolic(graph).differentiate(enclosed(inputs), enclosed({"f": np.ones(1)})).gradients["x"][0]
    assert 0 < abs(mpmath.mpf(float(rough)) - as_mpf(exact)) < 1e-14


def test_a_literal_means_the_double_that_it_parses_to() -> None:
    """0.1 in a formula is the double, not a tenth; pi is the real number."""
    graph = graph_from_expressions({"x": ()}, {"f": "0.1 * x", "g": "pi * x"}, outputs=["f", "g"])
    one, none = np.ones(1), np.zeros(1)
    with precision(256):
        by_f, by_g = (
            symbolic(graph).differentiate(enclosed({"x": one}), enclosed({"f": f, "g": g})).gradients["x"][0]
            for f, g in ((one, none), (none, one))
        )
    with mpmath.workdps(50):
        assert bool(by_f == 0.1)
        assert abs(mpmath.pi - as_mpf(by_g)) < mpmath.mpf(10) ** -45


@pytest.mark.parametrize("x", [6.0, 19.5, 100.0, 300.0, -40.0])
@pytest.mark.parametrize("text", ["tanh(x)", "tanh(x) * tanh(x + 1)", "tanh(x) ** 3", "tanh(2 * x - 1)"])
def test_saturated_slopes_keep_their_digits(x: float, text: str) -> None:
    """1 - tanh(x)**2 loses every digit from 19 on; what SymPy's derivative is rewritten to does not."""
    found = symbolic(graph_from_expressions({"x": ()}, {"f": text})).differentiate(
        {"x": np.array([x])}, {"f": np.ones(1)}
    )
    functions = {
        "tanh(x)": mpmath.tanh,
        "tanh(x) * tanh(x + 1)": lambda t: mpmath.tanh(t) * mpmath.tanh(t + 1),
        "tanh(x) ** 3": lambda t: mpmath.tanh(t) ** 3,
        "tanh(2 * x - 1)": lambda t: mpmath.tanh(2 * t - 1),
    }
    with mpmath.workdps(800):
        h = mpmath.mpf(10) ** -100
        true = (functions[text](x + h) - functions[text](x - h)) / (2 * h)
    assert float(true) == pytest.approx(float(found.gradients["x"][0]), rel=1e-11, abs=5e-324)


def test_inputs_are_never_written_to() -> None:
    """Arrays that refuse it go through."""
    graph = graph_from_expressions(*GRAPHS["layer"])
    inputs, upstream = drawn(graph)
    for array in (*inputs.values(), *upstream.values()):
        array.setflags(write=False)
    symbolic(graph).differentiate(inputs, upstream)


@pytest.mark.parametrize("name", ["sigmoid_neuron", "staged_function"])
def test_the_notes_own_functions_have_a_closed_form(name: str) -> None:
    """They are what a reader sees first: by every input, whole."""
    graph = load_case(shipped_cases() / "notes" / f"{name}.yaml").graph
    method = symbolic(graph)
    assert {"closed form"} == {method.closed_form(variable).form for variable in graph.inputs}

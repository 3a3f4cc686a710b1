"""Lengths that are written out: at 0 the unit ball is their set of slopes, however they are written."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from verify.case.case import load_case_text
from verify.case.expression import graph_from_expressions
from verify.graph.interpret import Program
from verify.graph.lengths import with_lengths
from verify.oracle.check import check_gradient
from verify.running.runner import run_loaded
from verify.running.settings import Settings
from verify.tracing.trace import trace
from verify.words import Verdict

ZERO = np.zeros(3)
INSIDE = ([0.0, 0.0, 0.0], [0.6, 0.0, 0.8], [0.3, -0.4, 0.5])
OUTSIDE = ([1.0, 1.0, 1.0], [0.6, 0.0, 0.8 + 1e-6])


def always(slope: Any) -> Callable[..., Any]:
    """A gradient that is the same everywhere."""
    return lambda x: np.array(slope, dtype=float) + 0.0 * x


LENGTHS: dict[str, Callable[..., Any]] = {
    "sum of products": lambda x: np.sqrt(np.sum(x * x)),
    "sum of squares": lambda x: np.sqrt((x**2).sum()),
    "product with itself": lambda x: np.sqrt(x @ x),
    "power of a half": lambda x: np.dot(x, x) ** 0.5,
    "einsum": lambda x: np.sqrt(np.einsum("i,i->", x, x)),
    "entry by entry": lambda x: np.sqrt(x[0] ** 2 + x[1] * x[1] + np.square(x[2])),
    "sum of Python": lambda x: sum(v * v for v in x) ** 0.5,
    "scaled": lambda x: np.sqrt(4 * np.sum(x * x)) / 2,
    "root of the mean": lambda x: np.sqrt(np.mean(x * x)) * np.sqrt(3.0),
    "with its axis": lambda x: np.sum(np.sqrt(np.sum(x**2, axis=0, keepdims=True))),
    "of a product": lambda x: np.sqrt(np.sum((np.eye(3) @ x) ** 2)),
    "hypot of hypot": lambda x: np.hypot(np.hypot(x[0], x[1]), x[2]),
    "in two parts": lambda x: np.sqrt(np.sum(x[:2] ** 2) + x[2] ** 2),
    "norm": np.linalg.norm,
    "factors in and out": lambda x: np.sqrt(np.sum(4 * x * x)) / 2,
    "sum with itself, both negated": lambda x: np.sqrt(np.sum(-x * -x)),
}


@pytest.mark.parametrize("name", LENGTHS)
def test_a_length_has_a_unit_ball(name: str) -> None:
    """What is in it passes, what is longer fails, by a little too; nothing is undecided."""
    for slope in INSIDE:
        run = check_gradient(always(slope), LENGTHS[name], at={"x": ZERO}, points=0)
        assert (run.ok, run.cases[0].counts[Verdict.UNDECIDED]) == (True, 0), slope
    for slope in OUTSIDE:
        run = check_gradient(always(slope), LENGTHS[name], at={"x": ZERO}, points=0, shrink=False)
        assert (run.ok, run.cases[0].counts[Verdict.UNDECIDED]) == (False, 0), slope


ABSOLUTE: dict[str, Callable[..., Any]] = {
    "abs": lambda x: np.sum(np.abs(x)),
    "root of the square": lambda x: np.sum(np.sqrt(x**2)),
    "power of a half": lambda x: np.sum((x**2) ** 0.5),
    "the larger of both": lambda x: np.sum(np.maximum(x, -x)),
    "a choice": lambda x: np.sum(np.where(x > 0, x, -x)),
    "factors": lambda x: np.sum(np.sqrt(4 * x * x) / 2),
    "fourth root": lambda x: np.sum((x**4) ** 0.25),
    "its sign": lambda x: np.sum(x * np.sign(x)),
    "its sign, scaled": lambda x: np.sum(3 * x * np.sign(2 * x) / 3),
    "square of abs": lambda x: np.sum(np.sqrt(np.abs(x) ** 2)),
}


@pytest.mark.parametrize("name", ABSOLUTE)
def test_an_absolute_value_has_all_slopes_between(name: str) -> None:
    """From -1 to 1, entry by entry."""
    for slope in ([0.0, 0.0, 0.0], [1.0, 1.0, -1.0], [0.5, 0.0, 1.0]):
        assert check_gradient(always(slope), ABSOLUTE[name], at={"x": ZERO}, points=0).ok
    wrong = [0.5, 1.000001, 0.0]
    assert not check_gradient(always(wrong), ABSOLUTE[name], at={"x": ZERO}, points=0, shrink=False).ok


TURN = np.array([[0.0, 1.0, 0.0], [0.0, 0.0, -1.0], [1.0, 0.0, 0.0]])

POWERS: dict[str, tuple[Callable[..., Any], float]] = {
    "fourth root": (lambda x: np.sum(x**4) ** 0.25, 4.0),
    "norm of order 4": (lambda x: np.linalg.norm(x, 4), 4.0),
    "norm of order 1.5": (lambda x: np.linalg.norm(x, 1.5), 1.5),
    "cubic root": (lambda x: np.cbrt(np.sum(np.abs(x) ** 3)), 3.0),
    "root of thirds": (lambda x: np.sum(np.abs(x) ** 3) ** (1 / 3), 3.0),
    "of products": (lambda x: np.sum(x * x * x * x) ** 0.25, 4.0),
    "entry by entry": (lambda x: (x[0] ** 4 + x[1] ** 4 + abs(x[2]) ** 4) ** 0.25, 4.0),
    "root of the mean": (lambda x: np.mean(np.abs(x) ** 3) ** (1 / 3) * 3 ** (1 / 3), 3.0),
    "factors": (lambda x: np.sum((2 * x) ** 4) ** 0.25 / 2, 4.0),
    "of rows": (lambda x: np.linalg.norm(x[None], 3, axis=1)[0], 3.0),
    "in two parts": (lambda x: (np.sum(x[:2] ** 6) + x[2] ** 6) ** (1 / 6), 6.0),
    "of a turned vector": (lambda x: np.sum((TURN @ x) ** 4) ** 0.25, 4.0),
}
"""The root of a sum of powers, and which."""


@pytest.mark.parametrize("name", POWERS)
def test_a_root_of_a_sum_of_powers_has_the_ball_of_its_dual(name: str) -> None:
    """Of which a member passes, on its surface too, and what is farther out by a millionth fails."""
    function, order = POWERS[name]
    rng = np.random.default_rng(3)
    dual = order / (order - 1)
    for way in ([1.0, 1.0, 1.0], [0.0, 1.0, 0.0], rng.normal(size=3)):
        edge = np.array(way) / np.linalg.norm(way, dual)
        for factor, passes in ((0.0, True), (0.9, True), (-1.0, True), (1 + 1e-6, False), (-1.5, False)):
            run = check_gradient(always(factor * edge), function, at={"x": ZERO}, points=0, shrink=False)
            assert (run.ok, run.cases[0].counts[Verdict.UNDECIDED]) == (passes, 0), (way, factor)


@pytest.mark.parametrize("name", POWERS)
def test_away_from_its_zero_such_a_root_has_one_slope(name: str) -> None:
    """Where some entries are 0, too."""
    function, order = POWERS[name]
    x = np.array([0.0, 1.5, -0.7])
    slope = np.sign(x) * (np.abs(x) / np.linalg.norm(x, order)) ** (order - 1)
    assert check_gradient(always(slope), function, at={"x": x}, points=0).ok
    for off in (slope * (1 + 1e-6), slope + np.array([1e-6, 0, 0])):
        assert not check_gradient(always(off), function, at={"x": x}, points=0, shrink=False).ok


@pytest.mark.parametrize(
    "function",
    [
        lambda x: np.sum(x**3) ** (1 / 3),
        lambda x: np.cbrt(np.sum(x**2)),
        lambda x: np.sum(np.abs(x) ** 3) ** 0.25,
        lambda x: (x[0] ** 4 - x[1] ** 4) ** 0.25,
        lambda x: (x[0] ** 4 + x[1] ** 2) ** 0.25,
    ],
)
def test_another_root_is_no_length(function: Callable[..., Any]) -> None:
    """Powers that may be negative, or of another order than the root."""
    assert not check_gradient(always(ZERO), function, at={"x": ZERO}, points=0, shrink=False).ok


def test_two_lengths_of_powers_add_up() -> None:
    """Of the same entries: the set of the sum is the sum of the sets."""

    def both(x: Any) -> Any:
        return np.linalg.norm(x, 3) + np.linalg.norm(x, 4)

    edge = np.array([0.0, 2.0, 0.0])
    assert check_gradient(always(edge), both, at={"x": ZERO}, points=0).ok
    for slope in (edge * (1 + 1e-6), [1.9, 1.9, 0.0]):
        assert not check_gradient(always(slope), both, at={"x": ZERO}, points=0, shrink=False).ok


A = np.array([[2.0, 0.5, 0.0], [0.5, 1.0, 0.25], [0.0, 0.25, 3.0]])
ROOT = np.linalg.cholesky(A)
W = np.array([1.0, 0.0, 3.0])
M = np.arange(6.0).reshape(2, 3)
LAPLACIAN = np.array([[1.0, -1.0, 0.0], [-1.0, 2.0, -1.0], [0.0, -1.0, 1.0]])
UNIT = np.array([0.6, 0.0, 0.8])

FORMS: dict[str, tuple[Callable[..., Any], Any]] = {
    "Mahalanobis": (lambda x: np.sqrt(x @ A @ x), ROOT @ UNIT),
    "Mahalanobis, column first": (lambda x: np.sqrt(x @ (A @ x)), ROOT @ UNIT),
    "Mahalanobis, summed": (lambda x: np.sqrt(np.sum(x * (A @ x))), ROOT @ UNIT),
    "Mahalanobis, einsum": (lambda x: np.sqrt(np.einsum("i,ij,j->", x, A, x)), ROOT @ UNIT),
    "Mahalanobis, solved": (
        lambda x: np.sqrt(x @ np.linalg.solve(A, x)),
        np.linalg.solve(ROOT.T, UNIT),
    ),
    "of a difference": (lambda x: np.sqrt((2 * x).T @ A @ (2 * x)) / 2, ROOT @ UNIT),
    "linear image": (lambda x: np.sqrt(x @ M.T @ M @ x), M.T @ [0.6, 0.8]),
    "semidefinite": (lambda x: np.sqrt(x @ LAPLACIAN @ x), [0.6, 0.2, -0.8]),
    "weighted": (lambda x: np.sqrt(np.sum(W * x**2)), np.sqrt(W) * UNIT),
    "weighted, dot": (lambda x: np.sqrt(W @ x**2), np.sqrt(W) * UNIT),
    "weighted, einsum": (lambda x: np.sqrt(np.einsum("i,i,i->", W, x, x)), np.sqrt(W) * UNIT),
    "weighted mean": (lambda x: np.sqrt(np.sum(W * x * x) / np.sum(W)), np.sqrt(W / 4) * UNIT),
    "polynomial": (
        lambda x: np.sqrt(2 * x[0] ** 2 + x[0] * x[1] + 0.5 * x[1] * x[1]),
        [np.sqrt(2) * 0.6, 0.6 / np.sqrt(8) + 0.8 * np.sqrt(0.375), 0.0],
    ),
    "expanded difference": (lambda x: np.sqrt(x[0] ** 2 - 2 * x[0] * x[1] + x[1] ** 2), [1.0, -1.0, 0.0]),
}
"""A root of a quadratic form, and a slope on the surface of its set of slopes at 0."""


@pytest.mark.parametrize("name", FORMS)
def test_a_quadratic_form_has_an_ellipsoid(name: str) -> None:
    """However it is written: what is inside passes, what is farther out by a millionth fails."""
    function, edge = FORMS[name]
    for factor, passes in ((0.0, True), (0.5, True), (-1.0, True), (1 + 1e-6, False), (-1 - 1e-6, False)):
        run = check_gradient(always(factor * np.array(edge)), function, at={"x": ZERO}, points=0, shrink=False)
        assert (run.ok, run.cases[0].counts[Verdict.UNDECIDED]) == (passes, 0), factor


def test_rows_have_an_ellipsoid_each() -> None:
    """A form of each row."""

    def lengths(x: Any) -> Any:
        return np.sum(np.sqrt(np.sum((x @ A) * x, axis=1)))

    at = {"x": np.zeros((2, 3))}
    assert check_gradient(always([ROOT @ UNIT, ZERO]), lengths, at=at, points=0).ok
    assert not check_gradient(always([ROOT @ UNIT * (1 + 1e-6), ZERO]), lengths, at=at, points=0, shrink=False).ok


@pytest.mark.parametrize(
    "function",
    [lambda x: np.sqrt(x**4), lambda x: (x**4) ** 0.75, lambda x: np.sum(x * x) ** 0.75, lambda x: x**2 * np.sign(x)],
)
def test_a_root_that_is_smooth_has_one_slope(function: Callable[..., Any]) -> None:
    """Its slope at 0 is 0, though an infinite one stands on the way."""
    assert check_gradient(lambda x: 0.0 * x, function, at={"x": 0.0}, points=0).ok
    assert not check_gradient(lambda x: 0.0 * x + 1e-6, function, at={"x": 0.0}, points=0, shrink=False).ok


def test_weights_are_those_of_an_input_that_is_never_negative() -> None:
    """An input whose domain is beyond 0 may be differentiated too: its own slope is 0 there."""

    def weighted(x: Any, w: Any) -> Any:
        return np.sqrt(np.sum(w * x**2))

    def gradient(off: float) -> Any:
        return lambda x, w: {"x": np.sqrt(w) * UNIT + 0.0 * x, "w": 0.0 * w + off}

    asked: dict[str, Any] = {"at": {"x": ZERO, "w": W + 1}, "domain": {"w": (0.5, 5.0)}, "points": 0, "shrink": False}
    assert check_gradient(gradient(0.0), weighted, **asked).ok
    assert not check_gradient(gradient(1e-6), weighted, **asked).ok


def rows(x: Any) -> Any:
    """The lengths of rows, added up."""
    return np.sum(np.sqrt((x * x).sum(axis=1)))


@pytest.mark.parametrize(
    ("x", "right", "wrong"),
    [
        ([[0, 0], [0, 0]], [[0.6, 0.8], [0, 1]], [[0.6, 0.8], [0.1, 1]]),
        ([[3, 4], [0, 0]], [[0.6, 0.8], [0, 1]], [[0.6, 0.8], [0.1, 1]]),
        ([[3, 4], [0, 0]], [[0.6, 0.8], [0, 0]], [[0.6, 0.9], [0, 0]]),
    ],
)
def test_several_lengths_have_a_ball_each(x: Any, right: Any, wrong: Any) -> None:
    """Each row is judged by its own, whatever the others are."""
    at = {"x": np.array(x, dtype=float)}
    assert check_gradient(always(right), rows, at=at, points=0).ok
    assert not check_gradient(always(wrong), rows, at=at, points=0, shrink=False).ok


def test_lengths_of_the_same_entries_add_up() -> None:
    """Twice a norm reaches twice as far, and a norm of a part is added to that of the whole."""

    def both(x: Any) -> Any:
        return np.sqrt(np.sum(x * x)) + np.sqrt(np.sum(x[:1] ** 2) + x[1] ** 2)

    assert check_gradient(always([1.2, 1.6, 0.0]), both, at={"x": ZERO}, points=0).ok
    assert not check_gradient(always([1.2, 1.7, 0.0]), both, at={"x": ZERO}, points=0, shrink=False).ok
    assert not check_gradient(always([0.0, 0.0, 1.1]), both, at={"x": ZERO}, points=0, shrink=False).ok


def test_the_square_of_a_length_is_smooth() -> None:
    """Its slope at 0 is 0, and nothing else."""

    def square(x: Any) -> Any:
        return np.sqrt(np.sum(x * x)) ** 2

    assert check_gradient(lambda x: 0.0 * x, square, at={"x": ZERO}, points=0).ok
    assert not check_gradient(lambda x: 0.0 * x + 1e-6, square, at={"x": ZERO}, points=0, shrink=False).ok


@pytest.mark.parametrize("text", ["sqrt(sum(x*x))", "sum(x**2)**0.5", "sqrt(x[0]**2 + x[1]**2 + x[2]**2)"])
def test_a_case_file_has_lengths_too(text: str) -> None:
    """The same for expressions."""
    case = load_case_text(f"case: t\ninputs:\n  x: {{at: [0, 0, 0]}}\nstages:\n  f: '{text}'\n")
    assert check_gradient(always(INSIDE[1]), case, points=0).ok
    assert not check_gradient(always(OUTSIDE[1]), case, points=0, shrink=False).ok


@pytest.mark.parametrize("name", [*LENGTHS, *(f"abs: {name}" for name in ABSOLUTE)])
def test_the_graph_with_lengths_is_the_same_function(name: str) -> None:
    """Values are the same up to rounding, stages keep their names."""
    function = ABSOLUTE[name[5:]] if name.startswith("abs: ") else LENGTHS[name]
    at = np.array([0.3, -1.2, 2.0])
    graph = trace(function, x=at).graph
    again = with_lengths(graph)
    assert graph.stages.keys() == again.stages.keys()
    inputs = {"x": at[None]} | {key: np.eye(3)[None] for key in graph.inputs if key != "x"}
    first, second = (Program(g).run(inputs)[g.position(g.outputs[0])] for g in (graph, again))
    np.testing.assert_allclose(second, first, rtol=1e-14)


@pytest.mark.parametrize(
    "text",
    [
        "sqrt(x[0] * x[1])",
        "sqrt(sum(x))",
        "sqrt(sum(x * x) + 1)",
        "sqrt(sum(x * x) - x[0]**2)",
        "x[0] * sign(x[1])",
        "sqrt(x[0]**2 - 3*x[0]*x[1] + x[1]**2)",
        "sqrt(sum(x * x**2))",
        "(x[0]**2)**0.25",
        "(-x[0]**2)**0.5",
    ],
)
def test_what_is_no_length_is_left_alone(text: str) -> None:
    """A root of something else stays one."""
    graph = graph_from_expressions({"x": (3,)}, {"f": text})
    assert with_lengths(graph) is graph


@pytest.mark.parametrize(
    "stages",
    [
        "squared: sum(x * x), f: sqrt(squared)",
        "part: x * x, f: sqrt(sum(part))",
        "inner: 'sqrt(x[0]**2 + x[1]**2)', f: 'hypot(inner, x[2])'",
        "p: 'x[0]', q: 'x[0]', f: 'sqrt(p * q + x[1]**2)'",
    ],
)
def test_a_stage_under_a_root_has_a_gradient_of_its_own(stages: str) -> None:
    """Moving it moves the root: away from 0 all methods agree about it too."""
    case = load_case_text(f"{{case: f, inputs: {{x: {{at: [3, 4, 12], domain: [1, 20]}}}}, stages: {{{stages}}}}}")
    result = run_loaded(case, Settings(points=4))
    assert (set(case.graph.stages) | {"x"}, True) == ({v.name for v in result.variables}, result.passes)
    assert set(result.counts) <= {Verdict.PASS}

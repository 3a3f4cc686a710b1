"""Subgradients: hulls of corners, patterns that no direction realises, and bounds that are said to be outer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from verify.case.case import load_case_text
from verify.case.expression import graph_from_expressions
from verify.graph.graph import Graph
from verify.graph.lengths import opened
from verify.graph.taylor import Taylor
from verify.judging import kinks
from verify.judging.corners import Corners, _least_distance
from verify.judging.kinks import KinkJudge, undecided_sites
from verify.methods.central import Central
from verify.numbers.balls import Balls
from verify.ops import OPS, Op
from verify.oracle.check import check_gradient
from verify.records import CaseResult, Run
from verify.report.html import render
from verify.report.json import document
from verify.running.runner import run_loaded
from verify.running.settings import Settings
from verify.words import Verdict

Array = NDArray[np.float64]
NO_SLACK = 1e-12


def corners(shapes: Mapping[str, tuple[int, ...]], formula: str, at: Mapping[str, Any]) -> Corners:
    """The corners of one formula at one point, by all its inputs together."""
    return judge(graph_from_expressions(shapes, {"f": formula}), at).corners(list(shapes))


def judge(graph: Graph, at: Mapping[str, Any]) -> KinkJudge:
    """A graph with its undecided branches at one point."""
    central = Central(graph, list(graph.inputs))
    inputs = {name: np.asarray(at[name], dtype=np.float64)[None] for name in graph.inputs}
    balls = central.program.run({name: Balls.exact(value) for name, value in inputs.items()})
    sites = undecided_sites(central, balls, 0)
    return KinkJudge(Taylor(graph), inputs, {"f": np.ones((1, *graph.shape("f")))}, sites)


def scalar(formula: str, **at: float) -> Corners:
    """The same for scalar inputs."""
    return corners(dict.fromkeys(at, ()), formula, at)


def vectors(found: Corners) -> set[tuple[float, ...]]:
    """The corners as tuples of rounded numbers."""
    return {tuple(float(round(x, 6)) + 0.0 for x in vector) for vector in found.vectors}


def holds(found: Corners, *gradient: float) -> bool:
    """Whether a vector is in the hull."""
    return found.contains(np.array(gradient), np.full(len(gradient), NO_SLACK))


# ---------------------------------------------------------------------------------------------------------- corners

EXPECTED: Sequence[tuple[str, dict[str, float], set[tuple[float, ...]]]] = [
    ("relu(x)", {"x": 0}, {(0.0,), (1.0,)}),
    ("abs(x)", {"x": 0}, {(-1.0,), (1.0,)}),
    ("max(x, y)", {"x": 2, "y": 2}, {(1.0, 0.0), (0.0, 1.0)}),
    ("min(x, 3 * y)", {"x": 3, "y": 1}, {(1.0, 0.0), (0.0, 3.0)}),
    ("max(max(x, y), z)", {"x": 1, "y": 1, "z": 1}, {(1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)}),
    ("relu(x) - relu(-x)", {"x": 0}, {(1.0,)}),
    ("x * abs(x)", {"x": 0}, {(0.0,)}),
    ("relu(x) ** 2", {"x": 0}, {(0.0,)}),
    ("abs(x) - abs(x)", {"x": 0}, {(0.0,)}),
    ("max(x, y) + min(x, y)", {"x": 1, "y": 1}, {(1.0, 1.0)}),
    ("max(x, relu(x))", {"x": 0}, {(0.0,), (1.0,)}),
    ("relu(x) + relu(2 * x)", {"x": 0}, {(0.0,), (3.0,)}),
    ("relu(x) + abs(y)", {"x": 0, "y": 0}, {(0.0, 1.0), (1.0, 1.0), (0.0, -1.0), (1.0, -1.0)}),
    ("relu(x) + relu(x + y)", {"x": 0, "y": 0}, {(0.0, 0.0), (1.0, 0.0), (1.0, 1.0), (2.0, 1.0)}),
    ("abs(max(x, -x))", {"x": 0}, {(-1.0,), (1.0,)}),
]


@pytest.mark.parametrize(("formula", "at", "expected"), EXPECTED)
def test_the_hull_of_the_corners(formula: str, at: dict[str, float], expected: set[tuple[float, ...]]) -> None:
    """Each true corner is in the hull, each found one in the hull of the true ones, and no more."""
    found = scalar(formula, **at)
    for corner in expected:
        assert holds(found, *corner)
    true = Corners(np.array(sorted(expected)), np.full(len(at), 1e-6))
    if not found.outer:
        assert all(holds(true, *corner) for corner in vectors(found))


@pytest.mark.parametrize(("formula", "at", "expected"), EXPECTED)
def test_beyond_the_corners_is_outside(formula: str, at: dict[str, float], expected: set[tuple[float, ...]]) -> None:
    """The twin: each corner moved outward by 1e-9, away from the others' middle."""
    found = scalar(formula, **at)
    middle = np.mean(sorted(expected), axis=0)
    for corner in expected:
        direction = np.array(corner) - middle if len(expected) > 1 else np.ones(len(at))
        assert not holds(found, *(np.array(corner) + 1e-9 * direction / np.max(np.abs(direction))))


def test_patterns_that_no_direction_realises_do_not_count() -> None:
    """relu(x) and relu(-x) cannot both be on: the naive product of branches would allow 0 to 2."""
    found = scalar("relu(x) + relu(-x)", x=0)
    assert {(1.0,), (-1.0,)} == vectors(found)
    assert not found.outer


def test_an_argument_without_slope_matters_to_nobody() -> None:
    """The sign of x**3 says nothing to first order, and neither does the branch that it decides."""
    found = scalar("relu(x ** 3) + relu(x)", x=0)
    assert {(0.0,), (1.0,)} == vectors(found)
    assert not found.outer


def test_many_independent_kinks_are_judged_by_one_program() -> None:
    """Twenty entries of abs at 0: 2**20 corners, one start and twenty spans, exactly."""
    found = corners({"x": (20,)}, "sum(abs(x))", {"x": np.zeros(20)})
    assert not found.outer
    assert 2**20 == found.realised
    np.testing.assert_array_equal(-np.ones(20), found.low)
    np.testing.assert_array_equal(np.ones(20), found.high)
    assert holds(found, *np.linspace(-1, 1, 20))
    assert not holds(found, *np.linspace(-1, 1 + 2e-9, 20))


def mixed(n: int) -> tuple[Corners, Array, Array]:
    """The subgradients of sum(relu(W @ x)) at 0 for a random square W, W, and shares between 0 and 1."""
    rng = np.random.default_rng(n)
    W, shares = rng.normal(size=(n, n)), rng.uniform(0.05, 0.95, n)
    graph = graph_from_expressions({"W": (n, n), "x": (n,)}, {"f": "sum(relu(W @ x))"})
    found = judge(graph, {"W": W, "x": np.zeros(n)}).corners(["x"])
    return found, W, shares


@pytest.mark.parametrize("n", [11, 40])
def test_a_linear_layer_is_exact_whatever_the_number_of_its_kinks(n: int) -> None:
    """The subgradients of sum(relu(W @ x)) at 0 are all mixtures of the rows of W, each between 0 and 1."""
    found, W, shares = mixed(n)
    assert not found.outer
    assert n == len(found.spans)
    assert holds(found, *(shares @ W))
    edge = shares.copy()
    edge[0] = 1.0
    assert holds(found, *(edge @ W))
    across = np.linalg.solve(W, np.eye(n)[0])  # along this direction the first row alone changes anything
    beyond = edge @ W + 1e-7 * across / np.abs(across).max()
    assert found.within(beyond, np.full(n, NO_SLACK)).all()
    assert not holds(found, *beyond)


def test_more_kinks_than_dimensions_are_an_outer_bound() -> None:
    """Twelve lines through one point of the plane: 24 patterns are realised, not 4096, so mixtures are too many."""
    rng = np.random.default_rng(0)
    graph = graph_from_expressions({"W": (12, 2), "x": (2,)}, {"f": "sum(relu(W @ x))"})
    assert judge(graph, {"W": rng.normal(size=(12, 2)), "x": np.zeros(2)}).corners(["x"]).outer


def test_lines_through_one_point() -> None:
    """Of ten lines in the plane 20 patterns are realised, two for each line."""
    rng = np.random.default_rng(1)
    graph = graph_from_expressions({"W": (10, 2), "x": (2,)}, {"f": "sum(relu(W @ x))"})
    found = judge(graph, {"W": rng.normal(size=(10, 2)), "x": np.zeros(2)}).corners(["x"])
    assert (1024, 20, False) == (found.patterns, found.realised, found.outer)


def test_lines_that_nearly_coincide_are_two_lines() -> None:
    """Two rows that differ by 1e-12 are independent, and between them lies a direction."""
    graph = graph_from_expressions({"W": (2, 2), "x": (2,)}, {"f": "sum(relu(W @ x))"})
    found = judge(graph, {"W": np.array([[1.0, 1.0], [1.0, 1.0 + 1e-12]]), "x": np.zeros(2)}).corners(["x"])
    assert 4 == found.realised
    found = judge(graph, {"W": np.array([[1.0, 1.0], [3.0, 3.0]]), "x": np.zeros(2)}).corners(["x"])
    assert 2 == found.realised


def test_many_nested_kinks_are_bounded_by_a_box() -> None:
    """Two layers of twelve: a range for each entry, and it is said."""
    rng = np.random.default_rng(2)
    graph = graph_from_expressions({"W": (12, 12), "x": (12,)}, {"f": "sum(relu(W @ relu(x)))"})
    W = rng.normal(size=(12, 12))
    found = judge(graph, {"W": W, "x": np.zeros(12)}).corners(["x"])
    assert (True, True) == (found.outer, found.box)
    assert holds(found, *np.zeros(12))
    assert holds(found, *np.maximum(W, 0).sum(axis=0))
    assert not holds(found, *(np.maximum(W, 0).sum(axis=0) + 1e-6))


def test_few_that_matter_among_many() -> None:
    """Dead branches do not count: of twelve undecided ones two are read."""
    found = corners({"x": (12,)}, "relu(x)[3] + relu(x)[5]", {"x": np.zeros(12)})
    assert not found.outer
    assert 4 == len(vectors(found))


def test_too_many_branches_are_not_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is known then, and it is said why."""
    monkeypatch.setattr(kinks, "MOST_NUMBERS", 41 * 40 - 1)  # 20 inputs, 20 of abs, 1 of sum
    assert not corners({"x": (19,)}, "sum(abs(x))", {"x": np.zeros(19)}).unknown
    found = corners({"x": (20,)}, "sum(abs(x))", {"x": np.zeros(20)})
    assert "20 undecided branches" in found.unknown
    assert not found.known.any()


# ------------------------------------------------------------------------------------------------------- membership


@settings(max_examples=100)
@given(
    st.integers(1, 5).flatmap(
        lambda n: st.lists(
            st.lists(st.integers(-5, 5), min_size=n, max_size=n), min_size=1, max_size=7, unique_by=tuple
        )
    ),
    st.data(),
)
def test_every_mixture_of_corners_is_a_subgradient(rows: list[list[int]], data: st.DataObject) -> None:
    """Weights that add up to 1 stay in the hull; a step beyond the farthest corner leaves it."""
    array = np.array(rows, dtype=np.float64)
    weights = np.array(data.draw(st.lists(st.integers(0, 10), min_size=len(rows), max_size=len(rows))), dtype=float)
    weights = weights / weights.sum() if weights.sum() else np.full(len(rows), 1 / len(rows))
    found = Corners(array, np.zeros(array.shape[1]))
    assert holds(found, *(weights @ array))
    direction = np.array(
        data.draw(st.lists(st.sampled_from([-1.0, 1.0]), min_size=array.shape[1], max_size=array.shape[1]))
    )
    farthest = array[np.argmax(array @ direction)]
    assert not holds(found, *(farthest + 1e-9 * direction))


def test_membership_is_of_the_vector_not_of_its_entries() -> None:
    """(1, 1) is within the slopes of each entry of max, and no subgradient."""
    found = scalar("max(x, y)", x=0, y=0)
    slack = np.full(2, NO_SLACK)
    assert found.within(np.array([1.0, 1.0]), slack).all()
    assert not holds(found, 1.0, 1.0)
    assert holds(found, 0.3, 0.7)
    assert not holds(found, 0.3, 0.7 + 1e-9)


def test_corners_that_fall_together() -> None:
    """An outer bound without width, or the same corner twice, is a single vector."""
    found = Corners(np.array([[1.0, 2.0], [1.0, 2.0]]), np.zeros(2))
    assert holds(found, 1.0, 2.0)
    assert not holds(found, 1.0, 2.0 + 1e-9)


@pytest.mark.parametrize("count", [2, 3, 5])
@pytest.mark.parametrize("value", [0.0, 1.0])
def test_a_tie_whose_slope_is_none_leaves_one_slope(count: int, value: float) -> None:
    """A largest entry that is taken away and added again cancels exactly: there is one slope, whichever it was."""
    shares = np.full(count, 1 / count)
    stages = {"m": "max(x)", "f": "m + log(sum(exp(x - m)))"}
    graph = opened(graph_from_expressions({"x": (count,)}, stages))
    found = judge(graph, {"x": np.full(count, value)}).corners(["x"])
    assert not found.outer
    assert holds(found, *shares)
    assert not holds(found, *(shares + 1e-6 * np.eye(count)[0]))


# ------------------------------------------------------------------------------------------------------ undecided


def sites(formula: str, **at: float) -> int:
    """How many branches the balls leave open at a point."""
    graph = graph_from_expressions(dict.fromkeys(at, ()), {"f": formula})
    central = Central(graph, list(at))
    balls = central.program.run({name: Balls.exact(np.array([value])) for name, value in at.items()})
    return len(undecided_sites(central, balls, 0))


@pytest.mark.parametrize(
    ("formula", "at", "expected"),
    [
        ("relu(x)", {"x": 0.0}, 1),
        ("relu(x)", {"x": 5e-324}, 0),
        ("relu(x)", {"x": -1e-300}, 0),
        ("max(x, y)", {"x": 0.1, "y": 0.1}, 1),
        ("max(x, y)", {"x": 0.1, "y": np.nextafter(0.1, 1)}, 0),
        ("relu(x * x - y)", {"x": 0.1, "y": 0.1 * 0.1}, 1),
        ("relu(x * x - y)", {"x": 0.5, "y": 0.25}, 1),
        ("relu(x * x - y)", {"x": 0.1, "y": 0.1 * 0.1 + 1e-16}, 0),
        ("relu(x) + abs(x) + max(x, y)", {"x": 0.0, "y": 0.0}, 3),
    ],
)
def test_a_branch_is_open_where_rounding_could_turn_it(formula: str, at: dict[str, float], expected: int) -> None:
    """Zero within the ball of what decides; the nearest float beside an exact tie is decided."""
    assert expected == sites(formula, **at)


# ------------------------------------------------------------------------------------------------ what the judge says


def own(formula: str, inputs: str, more: str = "", points: int = 0) -> CaseResult:
    """The result of a case with one stage f at its own point."""
    return run_loaded(
        load_case_text(f"case: a\ninputs: {{{inputs}}}\nstages: {{f: '{formula}'}}\n{more}\n"), Settings(points=points)
    )


ROUNDED = "a: {at: 0.1, domain: [0, 1]}, b: {at: 10, domain: [1, 20]}, c: {at: 1, domain: [0, 2]}"


def with_tie(op: str, weights: tuple[float, float]) -> Op:
    """A row of the table that weighs its branches so at a tie."""
    kink = OPS[op].kink
    assert kink is not None
    return replace(OPS[op], kink=replace(kink, ties={"other": weights}))


@pytest.mark.parametrize("share", [0.0, 1.0, 0.5])
def test_floats_may_take_either_branch_within_rounding(share: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """0.1 * 10 - 1 is 0 in floats and 5.6e-17 exactly: the gradient of either branch will do, and it is said why."""
    monkeypatch.setitem(OPS, "relu", with_tie("relu", (share, 0.0)))
    result = own("relu(a * b - c)", ROUNDED)
    gradients = [v for v in result.variables if v.quantity == "gradient" and v.role == "input"]
    assert {Verdict.SUBGRADIENT} == {v.verdict for v in gradients}
    assert all("branch argument within rounding, exact 5.6e-17" in v.row(0).reason for v in gradients)


@pytest.mark.parametrize("share", [2.0, 1 + 1e-9, -1e-9])
def test_beyond_either_branch_is_wrong_within_rounding_too(share: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """The twin: twice the slope, or 1e-9 more than all of it, or less than none."""
    monkeypatch.setitem(OPS, "relu", with_tie("relu", (share, 0.0)))
    result = own("relu(a * b - c)", ROUNDED)
    assert {Verdict.FAIL} == {v.verdict for v in result.variables if v.quantity == "gradient" and v.role == "input"}


def test_an_exact_tie_is_not_said_to_be_rounding() -> None:
    """The twin of the reason: 0.5 * 2 - 1 is 0 exactly."""
    result = own("relu(a * b - c)", "a: {at: 0.5}, b: {at: 2}, c: {at: 1}")
    assert all("within rounding" not in row.row(0).reason for row in result.variables)


@pytest.mark.parametrize(
    ("formula", "verdict"), [("abs(x) ** 1.5", Verdict.PASS), ("abs(x) ** 0.5", Verdict.UNDECIDED)]
)
def test_powers_at_a_kink(formula: str, verdict: Verdict) -> None:
    """Above 1 both slopes are 0 and the point is smooth; below, both are infinite and nothing is shown."""
    result = own(formula, "x: {at: 0, domain: [-1, 1]}")
    assert verdict is result.variables[0].verdict


def test_the_reason_names_the_convention_that_would_do() -> None:
    """relu(x) - relu(-x) is x: 0 - 0 is wrong at 0, and halves would be right."""
    row = next(own("relu(x) - relu(-x)", "x: {at: 0, domain: [-1, 1]}").failing())
    assert (Verdict.FAIL, "reverse") == (row.verdict, row.suspect)
    assert "`ties: {relu: half}` gives a subgradient" in row.reason
    assert own("relu(x) - relu(-x)", "x: {at: 0, domain: [-1, 1]}", "ties: {relu: half}").passes


def test_the_reason_says_where_no_convention_would_do() -> None:
    """The first two terms are x, for which relu must take half; the others 2 x, for which it must take all."""
    formula = "relu(x) - relu(-x) + relu(x + abs(x)) - relu(abs(x) - x)"
    row = next(own(formula, "x: {at: 0, domain: [-1, 1]}").failing())
    assert "every branch gives 3" in row.reason
    assert "no choice under `ties:` for relu and abs gives a subgradient" in row.reason


def test_corners_are_listed() -> None:
    """The first kinked points come with their corners as data, for the reports."""
    result = own("max(x[0], x[1]) + relu(y)", "x: {shape: [2], at: [1, 1]}, y: {at: 0, domain: [-1, 1]}", points=200)
    first = result.kinks[0]
    assert (0, ("x[0]", "x[1]", "y"), True, 4, 4, False) == (
        first.point, first.variables, first.listed, first.patterns, first.realised, first.outer,
    )  # fmt: skip
    assert [[0, 1, 0], [0, 1, 1], [1, 0, 0], [1, 0, 1]] == first.corners.tolist()
    assert 1 < len(result.kinks) <= 16
    (case,) = document(Run((result,), 0, 0))["cases"]
    assert [[0, 1, 0], [0, 1, 1], [1, 0, 0], [1, 0, 1]] == case["kinks"][0]["corners"]
    assert "corners of the subgradients at" in render(Run((result,), 0, 0))


def test_smooth_points_list_no_corners() -> None:
    """The twin: without ties there is nothing to list, and no heading for it."""
    result = own("max(x[0], x[1])", "x: {shape: [2], at: [1, 2]}")
    assert () == result.kinks
    assert "corners of the subgradients at" not in render(Run((result,), 0, 0))


# ----------------------------------------------------------------------------------------------- lengths and jumps

LENGTHS: Sequence[tuple[str, tuple[float, float]]] = [
    ("hypot(x, y)", (0.6, 0.8)),
    ("-3 * hypot(x, y)", (1.8, -2.4)),
    ("hypot(x + y, x - y)", (1.0, 1.0)),
    ("hypot(x, 2 * x) + y", (5**0.5, 1.0)),
    ("hypot(x + y, 2 * x + 2 * y)", (5**0.5, 5**0.5)),
]
"""A length that is 0 at the origin, and one of its longest subgradients."""


@pytest.mark.parametrize(("formula", "edge"), LENGTHS)
def test_subgradients_of_a_length_are_a_ball(formula: str, edge: tuple[float, float]) -> None:
    """The image of the unit ball: its edge is in it, 1e-9 more is not."""
    found = scalar(formula, x=0, y=0)
    assert not found.outer
    centre = found.vectors[0]
    assert holds(found, *centre)
    assert holds(found, *edge)
    assert not holds(found, *(centre + (1 + 1e-9) * (np.array(edge) - centre)))


def test_a_vector_off_the_image_of_the_ball_is_outside() -> None:
    """hypot(x + y, 2 * x + 2 * y) moves along (1, 1) alone."""
    found = scalar("hypot(x + y, 2 * x + 2 * y)", x=0, y=0)
    assert holds(found, 1.0, 1.0)
    assert not holds(found, 1.0, 1.0 + 1e-9)


def test_several_lengths_are_bounded_by_a_box() -> None:
    """A range for each entry, and it is said."""
    found = scalar("hypot(x, y) + abs(x)", x=0, y=0)
    assert (True, True) == (found.outer, found.box)
    assert holds(found, 2.0, 1.0)
    assert not holds(found, 2.0 + 1e-6, 1.0)


@pytest.mark.parametrize(
    ("answer", "verdict"),
    [(0.0, Verdict.SUBGRADIENT), (0.7, Verdict.SUBGRADIENT), (0.7072, Verdict.FAIL), (1.1, Verdict.FAIL)],
)
def test_what_is_answered_where_a_length_is_zero(
    answer: float, verdict: Verdict, monkeypatch: pytest.MonkeyPatch
) -> None:
    """(t, t) is a subgradient up to a length of 1, which is t = 0.70711."""
    vjps = tuple(lambda g, y, a, b, i=i: g * np.where(y == 0, answer, (a, b)[i] / y) for i in (0, 1))
    monkeypatch.setitem(OPS, "hypot", replace(OPS["hypot"], vjps=vjps))
    result = own("hypot(x, y)", "x: {at: 0, domain: [-1, 1]}, y: {at: 0, domain: [-1, 1]}")
    assert [verdict] * 2 == [v.verdict for v in result.variables if v.name in "xy" and v.quantity == "gradient"]


def test_at_a_jump_nothing_is_shown_and_beside_it_the_slope_is_zero() -> None:
    """There is no subgradient of sign at 0."""
    row = own("sign(x) + x", "x: {at: 0, domain: [-1, 1]}").variables[0].row(0)
    assert (Verdict.UNDECIDED, False) == (row.verdict, row.passes)
    assert "sign jumps here" in row.reason
    assert own("sign(x) + x", "x: {at: 0.5, domain: [0.1, 1]}", points=20).passes


def test_slopes_that_no_float_measures_accuse_nobody() -> None:
    """In units of what is allowed a distance may be infinite: no exception, and no direction is found in it."""
    assert not _least_distance(np.array([[np.inf, 1.0], [0.5, -1.0]])).any()
    assert _least_distance(np.array([[1.0, 1.0], [1.0, -1.0]])).any()


@pytest.mark.parametrize(
    ("text", "is_outer"), [("sqrt(x**2 + y**2) - sqrt(2*x**2 + y**2)", True), ("abs(x) + abs(y)", False)]
)
def test_an_outer_bound_is_called_one(text: str, *, is_outer: bool) -> None:
    """Of slopes of which all are known nothing is said."""
    case = load_case_text(f"{{case: t, inputs: {{x: {{at: 0}}, y: {{at: 0}}}}, stages: {{f: {text}}}}}")
    run = check_gradient(lambda x, y: {"x": 0.1 + x, "y": 0.1 + y}, case, points=0)
    assert run.ok
    assert any("outer bound" in note for note in run.cases[0].notes) == is_outer


APART = """
case: branches that only float32 leaves undecided
inputs:
  x: {at: 0, domain: [-20, 20], dtype: float32}
  y: {at: -2, domain: [-20, 20], kind: integer, dtype: float32}
stages:
  s: cos(exp(expm1(cosh(y))))
  f: clip(min(x, sigmoid(s)), -0.5, 1.25)
"""


def test_branches_that_rounding_leaves_undecided_far_from_each_other_meet_nowhere() -> None:
    """As ties of one point they would give 0 whichever way; the true slope is one of what may be said there."""
    case = load_case_text(APART)
    result = run_loaded(case, Settings(points=0))
    (by_x,) = [variable for variable in result.variables if (variable.name, variable.quantity) == ("x", "gradient")]
    assert by_x.counts == {Verdict.SUBGRADIENT: 1}
    told = [check_gradient(lambda x, y, a=a: np.float32(a), case, points=0, shrink=False).ok for a in (1, 1.0001)]  # noqa: ARG005
    assert told == [True, False]

"""Central differences: the divisor, the step, what is known of the error, and steps that straddle a kink."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import mpmath
import numpy as np
import pytest
from numpy.typing import NDArray

from verify.case.expression import graph_from_expressions
from verify.methods.central import Central, Refined, contraction, usual_step

Array = NDArray[Any]


def refined(formula: str, x: Array) -> Refined:
    """The gradient of a formula in one scalar ``x`` with the best step, at many points."""
    graph = graph_from_expressions({"x": ()}, {"f": formula})
    central = Central(graph, ["x"])
    return central.refine("x", (), {"x": x}, contraction(graph, {"f": np.ones(len(x), x.dtype)}))


def slope(formula: str, x: Array, upstream: float = 1.0) -> Array:
    """The plain central difference of a formula in one scalar ``x``."""
    graph = graph_from_expressions({"x": ()}, {"f": formula})
    seeds = {"f": np.full(len(x), upstream, x.dtype)}
    gradient: Array = Central(graph, ["x"]).differentiate({"x": x}, seeds).gradients["x"]
    return gradient


# ------------------------------------------------------------------------------------------------ the step and divisor


def spread(n: int, seed: int = 0) -> Array:
    """Numbers of all sizes and both signs."""
    rng = np.random.default_rng(seed)
    sizes: Array = np.exp(rng.uniform(np.log(1e-6), np.log(1e6), n)) * rng.choice([-1.0, 1.0], n)
    return sizes


def test_the_divisor_is_the_step_really_taken() -> None:
    """The slope of x is 1 to the last bit, where x + h and x - h are rounded too."""
    x = spread(2000)
    np.testing.assert_array_equal(np.ones(2000), slope("+x", x))


def test_the_step_wished_for_would_be_a_wrong_divisor() -> None:
    """The twin: divided by 2h, the same differences are not 1 at many of these points."""
    x = spread(2000)
    h = usual_step(x)
    wished = ((x + h) - (x - h)) / (2 * h)
    assert np.count_nonzero(wished != 1.0) > 100


def test_the_step_is_scaled_to_x() -> None:
    """A thousand times the variable, a thousand times the step; near zero it stays above zero."""
    x = np.array([1.0, 1e3, 1e6, 1e9])
    np.testing.assert_array_equal(x, usual_step(x) / usual_step(np.ones(1)))
    assert 0 < usual_step(np.zeros(1))[0] == usual_step(np.array([1e-30]))[0]


def test_a_scaled_step_keeps_the_digits_of_large_variables() -> None:
    """x**2 at a million is right to nine digits; with a step that is not scaled it is not."""
    x = np.array([1e6, -3e8, 7e11])
    assert np.all(np.abs(slope("x ** 2", x) / (2 * x) - 1) < 1e-9)
    h = usual_step(np.ones(1))
    with np.errstate(invalid="ignore"):  # at 7e11 it vanishes beside x
        wrong = ((x + h) ** 2 - (x - h) ** 2) / ((x + h) - (x - h))
    assert np.any(~(np.abs(wrong / (2 * x) - 1) < 1e-9))


def test_float32_has_its_own_step() -> None:
    """Coarser numbers take a longer step, and answer as well as they can."""
    x = np.array([0.5, 2.0, 40.0], dtype=np.float32)
    assert np.all(usual_step(x) > 1000 * usual_step(x.astype(np.float64)))
    assert np.all(np.abs(slope("x ** 2", x) / (2 * x) - 1) < 1e-3)


def test_the_upstream_gradient_weighs_the_outputs() -> None:
    """Entries of all outputs add up, each times its own upstream gradient."""
    graph = graph_from_expressions({"x": (2,)}, {"q": "x * x", "f": "sum(q)"}, outputs=["q", "f"])
    seeds = {"q": np.array([[1.0, 10.0]]), "f": np.array([100.0])}
    gradient = Central(graph, ["x"]).differentiate({"x": np.array([[1.0, 2.0]])}, seeds).gradients["x"]
    np.testing.assert_allclose([[202.0, 440.0]], gradient, rtol=1e-8)


def test_inputs_are_never_written_to() -> None:
    """Arrays that refuse it go through, by either way."""
    graph = graph_from_expressions({"x": (2,)}, {"f": "sum(exp(x))"})
    x, seed = np.array([[1.0, 2.0]]), np.ones(1)
    x.setflags(write=False)
    seed.setflags(write=False)
    central = Central(graph, ["x", "f"])
    central.differentiate({"x": x}, {"f": seed})
    central.refine("x", (1,), {"x": x}, contraction(graph, {"f": seed}))
    np.testing.assert_array_equal([[1.0, 2.0]], x)


def test_a_stage_is_moved_like_an_input() -> None:
    """The derivative by a stage is what follows from moving it, all before it held fixed."""
    graph = graph_from_expressions({"x": ()}, {"q": "x * x", "f": "q * x"})
    found = Central(graph, ["x", "q", "f"]).differentiate({"x": np.array([3.0])}, {"f": np.ones(1)}).gradients
    assert [27.0, 3.0, 1.0] == pytest.approx([float(found[name][0]) for name in ("x", "q", "f")], rel=1e-8)


# ------------------------------------------------------------------------------------------------ the error estimate

FUNCTIONS: Mapping[str, tuple[str, Callable[[Any], Any], tuple[float, float]]] = {
    "exp": ("exp(x)", mpmath.exp, (-20, 20)),
    "log": ("log(x)", mpmath.log, (1e-3, 100)),
    "tanh": ("tanh(x)", mpmath.tanh, (-15, 15)),
    "sigmoid": ("sigmoid(x)", lambda x: 1 / (1 + mpmath.exp(-x)), (-30, 30)),
    "sqrt": ("sqrt(x)", mpmath.sqrt, (1e-4, 100)),
    "sine": ("sin(1000 * x)", lambda x: mpmath.sin(1000 * x), (-3, 3)),
    "erf": ("erf(x)", mpmath.erf, (-5, 5)),
    "cube": ("x ** 3 - 2 * x", lambda x: x**3 - 2 * x, (-5, 5)),
    "pole": ("1 / x ** 2", lambda x: 1 / x**2, (1e-3, 3)),
    "steep": ("exp(20 * x) / (1 + x * x)", lambda x: mpmath.exp(20 * x) / (1 + x * x), (-1, 1)),
    "cancelling": ("(x + 1000) - x * x / 1000", lambda x: x + 1000 - x * x / 1000, (-2, 2)),
    "saturated": ("log(1 + exp(x))", lambda x: mpmath.log(1 + mpmath.exp(x)), (-25, 25)),
    "power": ("x ** x", lambda x: x**x, (0.05, 4)),
}


def true_slopes(function: Callable[[Any], Any], x: Array) -> list[Any]:
    """Derivatives at 60 digits by mpmath's own differences."""
    with mpmath.workdps(60):
        return [mpmath.diff(function, mpmath.mpf(float(value))) for value in x]


def outside(found: Refined, true: list[Any], claim: float = 1.0) -> int:
    """How many answers are further off than ``claim`` times what was said of their error."""
    with mpmath.workdps(60):
        return sum(
            abs(mpmath.mpf(float(g)) - t) > claim * mpmath.mpf(float(e))
            for g, e, t in zip(found.gradient, found.error, true, strict=True)
        )


@pytest.mark.parametrize("name", FUNCTIONS)
def test_the_error_is_never_understated(name: str) -> None:
    """1,000 points of each of eleven functions, 11,000 in all, against mpmath: every answer is within its error."""
    formula, function, (low, high) = FUNCTIONS[name]
    x = np.random.default_rng(0).uniform(low, high, 1000)
    found, true = refined(formula, x), true_slopes(function, x)
    assert 0 == outside(found, true)
    assert np.isfinite(found.error).all()


def test_the_error_is_worth_something() -> None:
    """The twin: a millionth of what is said would be wrong, and for most points seven digits are promised."""
    formula, function, (low, high) = FUNCTIONS["sigmoid"]
    x = np.random.default_rng(0).uniform(low / 4, high / 4, 200)
    found, true = refined(formula, x), true_slopes(function, x)
    assert outside(found, true, claim=1e-6) > 100
    promised = found.error / np.abs(found.gradient)
    assert np.median(promised) < 1e-7


def test_a_wrong_slope_is_outside_the_error() -> None:
    """The twin from the other side: a slope off by 1e-5 is outside at every well-conditioned point."""
    x = np.random.default_rng(0).uniform(0.5, 2, 200)
    true = [t * (1 + mpmath.mpf(10) ** -5) for t in true_slopes(mpmath.exp, x)]
    assert 200 == outside(refined("exp(x)", x), true)


def test_where_nothing_is_known_the_error_is_infinite() -> None:
    """Outside the domain no step has two ends: not a number, and said so."""
    found = refined("log(x)", np.array([-1.0, 1.0]))
    assert [np.inf, True] == [float(found.error[0]), bool(np.isfinite(found.error[1]))]
    assert np.isnan(found.gradient[0])


def test_a_domain_edge_within_the_usual_step_takes_a_smaller_one() -> None:
    """log at 1e-9, where the usual step would leave the domain."""
    x = np.array([1e-9])
    assert usual_step(x)[0] > x[0]
    found = refined("log(x)", x)
    assert abs(found.gradient[0] - 1e9) <= found.error[0] < 1e9 * 1e-3


# --------------------------------------------------------------------------------------------------- straddled kinks


@pytest.mark.parametrize(
    ("formula", "x", "expected"),
    [
        ("relu(x)", 1e-9, 1.0),
        ("relu(x)", -1e-9, 0.0),
        ("abs(x - 3)", 3 + 1e-8, 1.0),
        ("max(x, 2 * x - 1)", 1 - 1e-9, 1.0),
        ("min(x, 2 * x - 1)", 1 - 1e-9, 2.0),
        ("relu(x) * exp(x)", 1e-10, 1.0),
    ],
)
def test_a_step_that_straddles_a_kink_follows_the_branch_of_the_point(formula: str, x: float, expected: float) -> None:
    """The plain difference averages both slopes; the refined one says that it straddled and gives the right one."""
    at = np.array([x])
    assert abs(slope(formula, at)[0] - expected) > 0.1
    found = refined(formula, at)
    assert bool(found.straddled[0])
    assert abs(found.gradient[0] - expected) <= found.error[0] + 1e-8


def test_away_from_kinks_nothing_is_straddled() -> None:
    """The twin: a point whose step stays on its side."""
    found = refined("relu(x) + abs(x - 3)", np.array([0.1, 2.9, -5.0]))
    assert not found.straddled.any()
    np.testing.assert_allclose([0.0, 0.0, -1.0], found.gradient, atol=1e-8)


def test_a_kink_elsewhere_in_the_function_is_seen_too() -> None:
    """What straddles is the step of one variable; a kink decided by another is none of its business."""
    graph = graph_from_expressions({"x": (), "y": ()}, {"f": "relu(x) * y + abs(y - 5)"})
    inputs = {"x": np.array([1e-9]), "y": np.array([2.0])}
    central, output = Central(graph, ["x", "y"]), contraction(graph, {"f": np.ones(1)})
    assert [True, False] == [bool(central.refine(name, (), inputs, output).straddled[0]) for name in ("x", "y")]

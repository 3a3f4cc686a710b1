"""Where a gradient is looked at, as the field asks for it: the whole domain, and what a point cannot show."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from verify.case.case import Case, Domain, Input, load_case_text
from verify.methods.reverse import Reverse
from verify.oracle.check import check_gradient
from verify.places.points import edge_values, log_spaced, random_points, spread_points
from verify.running.settings import Settings
from verify.variants.kill_score import as_gradient

Gradient = Callable[..., Any]


def case(stages: str, more: str = "", **inputs: str) -> Case:
    """A case from ``name: fields`` pairs and stages written as YAML flow mappings."""
    listed = ", ".join(f"{name}: {{{fields}}}" for name, fields in inputs.items())
    return load_case_text(f"case: made for a test\n{more}\ninputs: {{{listed}}}\nstages: {{{stages}}}\n")


def real(low: float, high: float, dtype: Any = "float64", shape: tuple[int, ...] = ()) -> Input:
    """A real input with a domain."""
    return Input("x", shape, "real", dtype, Domain(low, high), np.array(1.0))


# ---------------------------------------------------------------------------------------------- the whole of a domain

TINY, SMALLEST = float(np.finfo(np.float64).tiny), 5e-324
POWER = case("f: x**4", x="at: 300, domain: [100, 6000]")
SQUARE = case("f: x**2", x="at: 3, domain: [-5, 5]")
HALF_LINE = case("f: x**2", x="at: 3, domain: '[0, .inf)'")
LINE = case("f: 3*x", x="at: 3, domain: '(-.inf, .inf)'")
NORMAL = case("f: sum(x**2)", x="shape: [3], at: normal, domain: [-50, 50]")
SINGLE = case("f: 3*x", x="at: 3, domain: [-5, 5], dtype: float32")

FAR: dict[str, tuple[Case, Gradient, Callable[[Any], bool]]] = {
    "the upper part": (POWER, lambda x: 4 * x**3, lambda x: x > 2000),
    "the top": (POWER, lambda x: 4 * x**3, lambda x: not x < 5999),
    "large numbers": (HALF_LINE, lambda x: 2 * x, lambda x: x > 10**6),
    "huge ones": (LINE, lambda x: 3.0 + 0 * x, lambda x: abs(x) > 10**100),
    "a middle decade": (SQUARE, lambda x: 2 * x, lambda x: 10**-5 < x < 10**-4),
    "a negative one": (SQUARE, lambda x: 2 * x, lambda x: -(10**-3) < x < -(10**-4)),
    "beyond normal draws": (NORMAL, lambda x: 2 * x, lambda x: bool(np.any(abs(x) > 30))),
    "the smallest numbers": (LINE, lambda x: 3.0 + 0 * x, lambda x: 0 < x < 10**-300),
    "on the other side of 0": (LINE, lambda x: 3.0 + 0 * x, lambda x: -(10**-300) < x < 0),
    "the smallest of float32": (SINGLE, lambda x: np.float32(3) + 0 * x, lambda x: 0 < x < np.float32(2) ** -140),
}
"""Name -> case, its gradient, and where a planted fault is: a random point within +-1000 never is."""


@pytest.mark.parametrize("name", FAR)
def test_a_fault_anywhere_in_the_domain_is_found(name: str) -> None:
    """At default settings; the gradient without it passes."""
    known, right, region = FAR[name]
    assert check_gradient(right, known, shrink=False).ok
    assert not check_gradient(lambda x: right(x) * (1.5 if region(x) else 1.0), known, shrink=False).ok


def test_uniform_points_are_of_the_whole_domain_and_of_usual_numbers() -> None:
    """Half of them each; in a domain of usual numbers all are uniform."""
    wide = case("f: x**2", x="at: 3, domain: [-1e6, 1e6]")
    x = random_points(wide, 0, 0, 400, 1).inputs["x"]
    assert 0 == np.count_nonzero(abs(x[::2]) > 1000)
    assert 80 < np.count_nonzero(abs(x[1::2]) > 5e5) < 120
    narrow = random_points(SQUARE, 0, 0, 400, 1).inputs["x"]
    assert 160 < np.count_nonzero(abs(narrow) > 2.5) < 240


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_the_edges_of_a_domain(dtype: str) -> None:
    """Ends, both zeros, the smallest normal and the smallest float on both sides; open ends by the float inside."""
    limits = np.finfo(dtype)
    values = [value for value, _ in edge_values(real(-2.0, 3.0, dtype))]
    small = [float(limits.tiny), float(limits.smallest_subnormal)]
    assert {-2.0, 3.0, 0.0, *small, *(-x for x in small)} == set(values)
    assert 2 == sum(value == 0 for value in values)
    assert [1.0, 2.0] == [value for value, _ in edge_values(real(1.0, 2.0, dtype))]
    unbounded = [value for value, _ in edge_values(real(-np.inf, np.inf, dtype))]
    assert [-float(limits.max), float(limits.max)] == unbounded[:2]
    opened = Input("x", (), "real", "float64", Domain(0.0, 1.0, low_open=True, high_open=True), np.array(0.5))
    assert [SMALLEST, 1 - 2.0**-53, TINY] == [value for value, _ in edge_values(opened)]


@pytest.mark.parametrize(
    ("low", "high", "dtype"),
    [(0.0, 10.0, "float64"), (-np.inf, np.inf, "float32"), (100.0, 6000.0, "float64"), (-1e300, -1e-300, "float64"),
     (5.0, 5.0, "float64"), (0.0, 0.0, "float64"), (2000.0, 3000.0, "float32"), (-1.0, 1e-310, "float64")],
)  # fmt: skip
@pytest.mark.parametrize("shape", [(), (2, 3)])
def test_log_spaced_values_lie_in_the_domain(low: float, high: float, dtype: str, shape: tuple[int, ...]) -> None:
    """And are finite, and a prefix of more of them."""
    item = real(low, high, dtype, shape)
    few, many = (log_spaced(item, count, np.random.default_rng(7)) for count in (10, 100))
    assert (100, *shape) == many.shape
    assert np.all(item.domain.contains(many))
    assert np.all(np.isfinite(many))
    assert np.array_equal(few, many[:10])


def test_every_decade_has_a_log_spaced_value() -> None:
    """Of the eight below the largest number; and some are far below."""
    x = log_spaced(real(0.0, 10.0), 32, np.random.default_rng(1))
    for decade in range(-7, 1):
        assert np.any((x >= 10.0**decade) & (x < 10.0 ** (decade + 1))), decade
    assert np.any(x < 1e-50)


def test_spread_points_are_the_same_for_a_seed() -> None:
    """To the last bit; another seed gives others."""
    known = case("y: x**2", x="shape: [2], at: normal")
    first, again, other = (spread_points(known, seed, 5, 16) for seed in (0, 0, 1))
    assert first is not None
    assert again is not None
    assert other is not None
    assert all(np.array_equal(first.inputs[name], again.inputs[name]) for name in first.inputs)
    assert not np.array_equal(first.inputs["x"], other.inputs["x"])
    assert np.array_equal(first.upstream["y"], again.upstream["y"])
    assert list(range(5, 5 + len(first))) == first.ids.tolist()
    assert spread_points(known, 0, 5, 0) is None


def test_kinks_far_away_are_found() -> None:
    """To the float, in a domain that reaches farther than usual numbers do."""
    known = case("f: relu(x - 123456.75)", x="at: 3, domain: [-1e300, 1e300]")
    run = check_gradient(lambda x: float(x > 123456.75), known, Settings(points=16), shrink=False)
    assert run.ok
    kinks = [float(p.values["x"]) for p in run.cases[0].points if p.origin == "kink"]
    assert [123456.75] == kinks


@pytest.mark.parametrize("formula", ["exp(x)", "x**2", "x/(1 + x**2)", "1/(1 + exp(-x))", "log(1 + x**2)", "relu(x)"])
@pytest.mark.parametrize("domain", ["[-1e4, 1e4]", "(-.inf, .inf)"])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_a_right_gradient_passes_over_a_wide_domain(formula: str, domain: str, dtype: str) -> None:
    """Where floats end on the way nobody is accused; off by a thousandth it fails."""
    known = case(f"f: '{formula}'", x=f"at: 1.5, domain: '{domain}', dtype: {dtype}")
    engine = as_gradient(known, Reverse(known.graph, ("x",)))
    run = check_gradient(engine, known, shrink=False)
    assert run.ok, run.cases[0].findings
    assert not check_gradient(lambda x, upstream: 1.001 * engine(x, upstream=upstream)["x"], known, shrink=False).ok


def test_the_entries_of_a_log_spaced_array_differ() -> None:
    """Those that are of one size too."""
    x = np.abs(log_spaced(real(-1.0, 1.0, shape=(5,)), 8, np.random.default_rng(3)))
    assert all(len(set(row.tolist())) == 5 for row in x)
    close = x[::2]
    assert np.all(close.max(axis=1) <= 10.001 * close.min(axis=1))


# ------------------------------------------------------------------------------------------ where values come from


def test_values_that_were_given_are_not_drawn_again() -> None:
    """A large array says that it was given; a drawn one names its seed; 30 numbers are written out."""

    def squares(x: Any) -> Any:
        return np.sum(x**2)

    def shown(size: int, **options: Any) -> str:
        x = np.linspace(0.5, 2, size)
        return str(check_gradient(lambda x: 2.5 * x, squares, at={"x": x}, shrink=False, **options))

    assert "at = {'x': [0.5, " in shown(30)
    assert "as it was given" in shown(40)
    assert "gives it again" not in shown(40)
    assert "at = {}" not in shown(40)
    drawn = str(check_gradient(lambda W, X, upstream: (2.5 * (upstream @ X.T), W.T @ upstream), "matmul", shrink=False))
    assert "seed 0 gives it again, as point 0 of case 'matmul'" in drawn


@pytest.mark.parametrize("where", [0.0, 5.0, -5.0, 2.0**-1074])
def test_a_black_box_is_looked_at_in_these_places_too(where: float) -> None:
    """Ends, zeros and the smallest floats: a NaN there is found, and the gradient without it passes."""
    special = pytest.importorskip("scipy.special")

    def bessel(x: Any) -> float:
        return float(special.j0(float(x)))

    def right(x: Any) -> float:
        return -float(special.j1(float(x)))

    options: dict[str, Any] = {"at": {"x": 1.3}, "domain": {"x": (-5, 5)}, "shrink": False}
    assert check_gradient(right, bessel, **options).ok
    assert not check_gradient(lambda x: float("nan") if float(x) == where else right(x), bessel, **options).ok

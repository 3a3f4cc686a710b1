"""The step law accuses wrong slopes of functions that nobody knows, and no right ones."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest

from verify.case.expression import graph_from_expressions
from verify.graph.interpret import Program
from verify.judging.step_law import STEPS, Law, step_law, table_noise
from verify.truth.reference import Reference

Function = Callable[[Any], Any]


def sigmoid(x: Any) -> Any:
    """As a student writes it."""
    return 1 / (1 + np.exp(-x))


def noisy_exp(x: Any) -> float:
    """exp with a relative noise of 1e-6 that is the same at each call."""
    digest = hashlib.sha256(np.float64(x).tobytes()).digest()
    return float(np.exp(x) * (1 + 1e-6 * (int.from_bytes(digest[:8], "big") / 2**63 - 1)))


HARD: Mapping[str, tuple[Function, Any, float]] = {
    "exp": (np.exp, 1.0, math.e),
    "math.exp": (math.exp, 1.0, math.e),
    "sin(1e6 x)": (lambda x: np.sin(1e6 * x), 1.0, 1e6 * math.cos(1e6)),
    "1e9 + x": (lambda x: 1e9 + x, 1.0, 1.0),
    "log at 1e-7": (np.log, 1e-7, 1e7),
    "math.log at 1e-7": (math.log, 1e-7, 1e7),
    "log at 1e-300": (np.log, 1e-300, 1e300),
    "x**2 at 1e8": (lambda x: x**2, 1e8, 2e8),
    "abs at 1e-9": (abs, 1e-9, 1.0),
    "1/x at 1e-4": (lambda x: 1 / x, 1e-4, -1e8),
    "x**3 in float32": (lambda x: x**3, np.float32(1.5), 6.75),
    "exp in float32": (np.exp, np.float32(1.0), math.e),
    "sigmoid at 30": (sigmoid, 30.0, math.exp(-30) / (1 + math.exp(-30)) ** 2),
    "scaled by 1e-8": (lambda x: 1e-8 * np.sin(x), 1.0, 1e-8 * math.cos(1)),
    "relu at 1e-9": (lambda x: max(x, 0.0), 1e-9, 1.0),
    "exp at 1e-12": (np.exp, 1e-12, 1.0),
    "digits lost inside": (lambda x: (x + 1e9) - 1e9, 1.0, 1.0),
    "noisy": (noisy_exp, 1.0, math.e),
}
"""Function, point and slope, on which checks with tolerances fail."""


@pytest.mark.parametrize("name", HARD)
def test_right_slopes_are_right(name: str) -> None:
    """Whatever the scale, the dtype and the noise."""
    function, x, slope = HARD[name]
    law = step_law(function, x, slope)
    assert "right" == law.verdict, law.sentence
    assert abs(law.estimate - slope) <= law.uncertainty


@pytest.mark.parametrize("name", HARD)
@pytest.mark.parametrize("factor", [2.0, 0.5, -1.0, 0.0])
def test_the_same_slopes_times_a_factor_are_wrong(name: str, factor: float) -> None:
    """The twin."""
    function, x, slope = HARD[name]
    assert "wrong" == step_law(function, x, factor * slope).verdict


@pytest.mark.parametrize("name", sorted(HARD.keys() - {"sigmoid at 30"}))
def test_half_a_percent_is_wrong_too(name: str) -> None:
    """Where noise leaves that many digits, which it does not at sigmoid(30)."""
    function, x, slope = HARD[name]
    law = step_law(function, x, 1.005 * slope)
    assert ("wrong", True) == (law.verdict, "1.00" in law.sentence), law.sentence


@pytest.mark.parametrize("x", [1.0, np.float32(1.0)])
def test_off_by_five_ten_thousandths_is_wrong(x: Any) -> None:
    """An additive fault that a tolerance of 1e-3 lets through."""
    assert ("right", "wrong") == tuple(step_law(np.exp, x, math.e + off).verdict for off in (0.0, 5e-4))


@pytest.mark.parametrize(
    ("claimed", "verdict"), [(0.0, "kink"), (1.0, "kink"), (0.5, "kink"), (2.0, "wrong"), (-1.0, "wrong")]
)
@pytest.mark.parametrize("x", [0.0, np.float32(0.0)])
def test_at_a_kink_the_slopes_between_both_sides_are_accepted(claimed: float, verdict: str, x: Any) -> None:
    """relu at 0: 0, 1 and what lies between."""
    law = step_law(lambda x: np.maximum(x, 0), x, claimed)
    assert (verdict, True) == (law.verdict, "one-sided slopes 0 and 1" in law.sentence)


@pytest.mark.parametrize(("claimed", "verdict"), [(0.0, "right"), (1.0, "wrong"), (1e-3, "wrong")])
@pytest.mark.parametrize(
    "function", [lambda x: x * x, lambda x: x * abs(x), lambda _: 3.0, lambda x: max(x - 1, 0.0), np.cos]
)
def test_a_slope_of_zero_is_told_from_others(function: Function, claimed: float, verdict: str) -> None:
    """At a minimum, a smooth meeting of branches, and on the flat."""
    assert verdict == step_law(function, 0.0, claimed).verdict


@pytest.mark.parametrize(
    ("function", "x", "claimed", "verdict"),
    [
        (np.tanh, 40.0, 7.2e-35, "noise"),
        (lambda x: np.sin(1e15 * x), 1.0, 1e15 * math.cos(1e15), "noise"),
        (lambda x: np.float32(1e9) + x, np.float32(1.0), 1.0, "noise"),
        (np.cbrt, 0.0, 0.0, "truncation"),
        (np.sign, 0.0, 0.0, "truncation"),
        (math.sqrt, 0.0, 0.0, "undecided"),
        (lambda _: math.nan, 1.0, 0.0, "undecided"),
        (lambda x: 1 / x, 0.0, 0.0, "undecided"),
        (np.exp, math.inf, 0.0, "undecided"),
        (np.exp, 1.0, math.nan, "wrong"),
        (np.exp, 1.0, math.inf, "wrong"),
    ],
)
def test_what_cannot_be_told_is_said(function: Function, x: Any, claimed: float, verdict: str) -> None:
    """Noise that hides the slope, quotients that never settle, no values: nobody is accused."""
    law = step_law(function, x, claimed)
    assert verdict == law.verdict, law.sentence
    assert law.sentence.startswith(f"{verdict}: ")


@pytest.mark.parametrize(
    ("text", "x", "claimed"),
    [
        ("log(exp(relu(x)))", np.float32(1e-8), 1.0),
        ("tanh((x - log(exp(-tanh(x))))**2)", 5.763008626591692e-08, 4.610406901273351e-07),
        ("log(exp(tanh(x)))", np.float32(1e-9), 1.0),
        ("log(1 + relu(tanh(relu(x)))**2)", np.float32(2.4573558e-07), 4.91471e-07),
        ("abs(10 - (0.1 - exp(abs(x))))", np.float32(-1.1253449e-05), -1.00001),
        ("pi / exp(abs(x))", np.float32(1.4845482e-08), -3.14159),
        ("log(exp(x))", np.float32(-5.419351e-09), 1.0),
    ],
)
def test_staircases_that_floats_make_accuse_nobody(text: str, x: Any, claimed: float) -> None:
    """Random formulas whose right slopes were accused once: near 0 their floats stand still, or half of them do."""
    graph = graph_from_expressions({"x": ()}, {"f": text})
    program, at = Program(graph), graph.position("f")
    assert not step_law(lambda x: program.run({"x": np.array([x])})[at][0], x, claimed).accuses


def test_the_data_are_kept() -> None:
    """25 steps from too large to too small, and what was measured at each."""
    law = step_law(np.exp, 1.0, math.e)
    arrays = (law.steps, law.quotients, law.errors, law.above, law.below, law.noise)
    assert {(STEPS,)} == {array.shape for array in arrays}
    assert np.all(np.diff(law.steps) < 0)
    least = int(np.argmin(law.errors))
    assert 0 < least < STEPS - 1
    assert law.errors[0] > 1e4 * law.errors[least] < law.errors[-1]
    assert np.all(law.above[:9] > law.quotients[:9])
    assert np.all(law.quotients[:9] > law.below[:9])


def test_a_wrong_slope_is_a_plateau() -> None:
    """The error stops falling, at the size of the fault."""
    errors = step_law(np.exp, 1.0, 1.5 * math.e).errors
    assert np.allclose(0.5 * math.e, errors[4:20], rtol=1e-2)


@pytest.mark.parametrize("scale", [1e-12, 1.0, 1e6])
def test_noise_is_measured(scale: float) -> None:
    """Within a factor of three of its standard deviation, on a slope; and none in a polynomial."""
    rng = np.random.default_rng(7)
    x = np.arange(9.0)
    found = [table_noise(scale * (x + x**2 + rng.normal(size=9) * 1e-3)) / (1e-3 * scale) for _ in range(50)]
    assert 1 / 3 < np.median(found) < 3
    assert 0.0 == table_noise(x**3)


SMOOTH: Mapping[str, tuple[float, float]] = {
    "exp(x)": (-5, 5), "x**3 - 2*x": (-3, 3), "log(x)": (1e-3, 10), "1 / x": (0.01, 4), "sqrt(x)": (0.05, 9),
    "tanh(x)": (-12, 12), "sigmoid(x)": (-25, 25), "exp(-x*x)": (-3, 3), "x*sigmoid(x)": (-8, 8), "x**2.5": (0.1, 5),
    "log(1 + exp(x))": (-10, 10), "x / sqrt(1 + x*x)": (-5, 5), "1e6 + x*x": (-3, 3), "0.1*x - 1": (5, 15),
    "relu(x - 0.1) * x": (-1, 1), "abs(x - 0.3)": (-1, 1), "max(x, 0.5*x*x)": (-1, 3), "exp(x)**x": (0.5, 2),
    "(1 - exp(x)) / x": (-1, 1), "tanh(50 * x)": (-0.2, 0.2), "1e-9 * exp(3 * x)": (-4, 4),
}  # fmt: skip


def laws(dtype: Any, factor: float, each: int = 6) -> list[tuple[str, Any, Law]]:
    """The law of many functions at random points, the true slope times a factor claimed."""
    rng = np.random.default_rng(23)
    found = []
    for text, (low, high) in SMOOTH.items():
        graph = graph_from_expressions({"x": ()}, {"f": text})
        program, at = Program(graph), graph.position("f")
        for _ in range(each):
            x = dtype(rng.uniform(low, high))
            known = Reference(graph, ["x"], None).enclose({"x": np.array([x])}, {"f": np.ones(1)}).gradient("x")
            law = step_law(lambda x: program.run({"x": np.array([x])})[at][0], x, factor * known.midpoint)  # noqa: B023
            found.append((text, x, law))
    return found


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_no_right_slope_is_accused(dtype: Any) -> None:
    """126 points of 21 functions, and nearly all of them certified."""
    found = laws(dtype, 1.0)
    assert [] == [(text, x, law.sentence) for text, x, law in found if law.accuses]
    assert len(found) * 0.95 <= sum(law.verdict in {"right", "kink"} for _, _, law in found)


@pytest.mark.parametrize(("dtype", "factor"), [(np.float64, 1 + 1e-5), (np.float32, 1.05)])
def test_wrong_slopes_are_accused(dtype: Any, factor: float) -> None:
    """The twin: nearly all of them; in float32 the tails and 1e6 + x*x hold less than 5 %."""
    found = laws(dtype, factor)
    least = 0.95 if dtype is np.float64 else 0.85
    assert len(found) * least <= sum(law.accuses for _, _, law in found)

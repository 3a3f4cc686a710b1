"""The bound of a central difference holds the error that floats make, and little more."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import cache
from typing import Any

import flint
import mpmath
import numpy as np
import pytest
from flint import arb, arb_series
from hypothesis import given, settings
from hypothesis import strategies as st

from verify.case.expression import graph_from_expressions
from verify.graph.interpret import Program
from verify.graph.taylor import precision
from verify.methods.central import contraction
from verify.numbers import ball_math
from verify.ops import OPS, REAL
from verify.strategies import expressions
from verify.truth.reference import Reference
from verify.truth.step_bounds import StepBound, StepBounds

DTYPES = (np.float64, np.float32)
SLIGHTLY_MORE = 1 + 1e-9

# ------------------------------------------------------------------------------------------- the ball forms, any degree

INNER = (1.0, 0.3, -0.25, 0.125)
"""What follows the value in the series that forms are given: chains of forms meet such series."""

HEADS = (0.3, 1.0, -0.7, 2.5, -6.0, 20.0, 1e-9)
UNARY = tuple(
    name for name, row in OPS.items() if row.elementwise and row.arity == 1 and name not in ("power_constant", "sign")
)
EXPONENTS = (0.0, 1.0, 2.0, 3.0, -1.0, -2.0, 0.5, 1.5, -0.5)
POLES = ("divide", "tan")
"""Rows that a wide ball may lead to a pole."""

PAIRS = ((0.3, 1.5), (2.5, -0.7), (1.0, 2.5))
BINARY = tuple(name for name, row in OPS.items() if row.elementwise and row.arity == 2 and name != "hypot")


def moving(head: float, sign: float = 1.0) -> Any:
    """A series through ``head``, in balls."""
    return arb_series([arb(head), *(arb(sign * x) for x in INNER)])


def moved(head: float, t: Any, sign: float = 1.0) -> Any:
    """The same series in mpmath, at one number."""
    return mpmath.mpf(head) + sum(sign * x * t**k for k, x in enumerate(INNER, start=1))


def as_series(number: Any) -> Any:
    """What a form returned; the branch of relu that is 0 is a ball."""
    return number if isinstance(number, arb_series) else arb_series([number])


def static_of(row: Any) -> Mapping[str, float]:
    """The numbers that a row is tried with."""
    return dict(row.statics[-1])


def is_inside(row: Any, a: float) -> bool:
    """Whether a number is in a row's domain, but not where it jumps or at an end, where slopes are infinite."""
    domain = row.domain[0]
    is_end = a in (domain.low, domain.high) or (row.name in {"floor", "ceil"} and a == round(a))
    return bool(domain.contains(a)) and not is_end


def forms() -> dict[str, tuple[Any, Any]]:
    """Name and heads -> result of the ball form, and the same function of t in mpmath."""
    found: dict[str, tuple[Any, Any]] = {}
    for name in (*UNARY, *BINARY):
        row: Any = OPS[name]
        for heads in [(a,) for a in HEADS if is_inside(row, a)] if row.arity == 1 else PAIRS:
            signs = (1.0, -1.0)[: row.arity]
            found[f"{name} {heads}"] = (
                lambda row=row, at=heads, signs=signs: row.ball(*map(moving, at, signs), **static_of(row)),
                lambda t, row=row, at=heads, signs=signs: row.exact(
                    *(moved(a, t, s) for a, s in zip(at, signs, strict=True)), **static_of(row)
                ),
            )
    for e in EXPONENTS:
        for a in HEADS:
            if a > 0 or e.is_integer():
                found[f"power {e} ({a})"] = (
                    lambda e=e, a=a: OPS["power_constant"].ball(moving(a), e),
                    lambda t, e=e, a=a: moved(a, t) ** mpmath.mpf(e),
                )
    return found


@pytest.mark.parametrize(("form", "exact"), forms().values(), ids=forms())
def test_forms_hold_every_coefficient(form: Any, exact: Any) -> None:
    """Up to the fourth, against mpmath's differences; and a coefficient that is off by 1e-9 is outside."""
    with mpmath.workdps(60), precision(200, 5):
        series = as_series(form())
        for k, truth in enumerate(mpmath.taylor(exact, 0, 4)):
            middle, radius = mpmath.mpf(series[k].mid().str(50, radius=False)), mpmath.mpf(float(series[k].rad()))
            slack = mpmath.mpf(10) ** -25 * (1 + abs(truth))  # of the differences and of the digits
            assert abs(middle - truth) <= radius + slack, (k, series[k], truth)
            assert abs(truth) < 1e-12 or abs(middle - truth * SLIGHTLY_MORE) > radius + slack


@pytest.mark.parametrize("name", [*UNARY, *BINARY])
@pytest.mark.parametrize("radius", [1e-6, 0.1, 3.0, 50.0])
def test_wide_heads_hold_what_narrow_ones_give(name: str, radius: float) -> None:
    """The coefficients over an interval hold those at every number inside it."""
    rng = np.random.default_rng(3)
    row: Any = OPS[name]
    found = 0
    for _ in range(20):
        middle = [rng.choice([-1, 1]) * 10 ** rng.uniform(-2, 1.5) for _ in range(row.arity)]
        inside = [m + radius * rng.uniform(-1, 1) for m in middle]
        with precision(128, 4):
            wide = as_series(row.ball(*(arb_series([arb(m, radius), 1, 0.5]) for m in middle), **static_of(row)))
            narrow = as_series(row.ball(*(arb_series([arb(x), 1, 0.5]) for x in inside), **static_of(row)))
            for k in range(4):
                if wide[k].is_finite():
                    found += 1
                    assert wide[k].overlaps(narrow[k])
    assert found or name in POLES or OPS[name].domain[0] != REAL


def test_a_kink_has_slopes_and_no_curvature() -> None:
    """Where branches meet the hull of the slopes is known, and nothing beyond; also where a root or power is 0."""
    with precision(64, 4):
        tied: Any = ball_math.absolute(arb_series([arb(0, 1e-3), 1]))
        assert (True, True) == (bool(tied[1].contains(-1)), bool(tied[1].contains(1)))
        assert [False, False] == [tied[k].is_finite() for k in (2, 3)]
        root: Any = ball_math.sqrt(arb_series([0, 1]))
        assert [True, False, False, False] == [root[k].is_finite() for k in range(4)]
        power: Any = OPS["power_constant"].ball(arb_series([0, 1]), 2.5)
        assert [True, True, True, False] == [power[k].is_finite() for k in range(4)]


def test_degree_one_is_what_it_was() -> None:
    """With two terms nothing is appended."""
    with precision(64):
        kinked: Any = ball_math.absolute(arb_series([0, 1]))
        assert 2 == kinked.length()
        assert 2 == flint.ctx.cap


# ------------------------------------------------------------------------------------------------------ the bound holds


class Measured:
    """One function at one point, with its true gradient."""

    def __init__(self, stages: Mapping[str, str] | str, dtype: Any = np.float64, name: str = "x", **at: Any) -> None:
        given = {"f": stages} if isinstance(stages, str) else stages
        self.inputs = {key: np.asarray(x, dtype=dtype)[None] for key, x in at.items()}
        self.graph = graph_from_expressions({key: np.shape(x) for key, x in at.items()}, given)
        self.upstream = {key: np.ones((1, *self.graph.shape(key)), dtype=dtype) for key in self.graph.outputs}
        self.name = name
        self.point = StepBounds(self.graph).point(self.inputs, self.upstream)

    def truth(self, entry: tuple[int, ...] = ()) -> Any:
        """The certified gradient."""
        return Reference(self.graph, [self.name], None).enclose(self.inputs, self.upstream).gradient(self.name, entry)

    def error(self, below: float, above: float, entry: tuple[int, ...] = ()) -> tuple[float, float]:
        """Lower and upper bound of the error that floats really make with a step, through plain NumPy."""
        program, at = Program(self.graph), self.graph.position(self.name)
        values = program.run(self.inputs)
        output, ends = contraction(self.graph, self.upstream), []
        for end in (below, above):
            x = values[at].copy()
            x[(0, *entry)] = end
            ends.append(output(program.rerun(values, {at: x}, self.graph.depends_on([at])))[0])
        with np.errstate(all="ignore"):
            quotient = (ends[1] - ends[0]) / (x.dtype.type(above) - x.dtype.type(below))
        return self.truth(entry).error(float(quotient))  # type: ignore[no-any-return]

    def steps(self, sizes: Any, entry: tuple[int, ...] = ()) -> list[tuple[float, float]]:
        """The ends of steps of some sizes, as the dtype holds them."""
        x = self.point.at(self.name, entry).x
        ends = [(x - x.dtype.type(h), x + x.dtype.type(h)) for h in sizes]
        return [(float(low), float(high)) for low, high in ends if low < high]

    def bound(self, below: float, above: float, entry: tuple[int, ...] = ()) -> StepBound:
        """The bound of a step."""
        return self.point.at(self.name, entry).bounds([below], [above])[0]


FUNCTIONS: Mapping[str, tuple[float, float]] = {
    "exp(x)": (-5, 5), "x**3 - 2*x": (-3, 3), "log(x)": (0.1, 10), "1 / x": (0.1, 4), "sqrt(x)": (0.05, 9),
    "tanh(x)": (-15, 15), "sigmoid(x)": (-30, 30), "exp(-x*x)": (-3, 3), "x*sigmoid(x)": (-8, 8), "x**2.5": (0.1, 5),
    "log(1 + exp(x))": (-10, 10), "x / sqrt(1 + x*x)": (-5, 5), "1e9 + x": (-3, 3), "0.1*x - 1": (5, 15),
    "relu(x) * x": (-1, 1), "abs(x - 0.3)": (-1, 1), "max(x, 0.5*x*x)": (-1, 3), "exp(x)**x": (0.5, 2),
    "sum(exp(W) * 0.5)": (-1, 1),
}  # fmt: skip
"""Function of x (or of an entry of W) -> where it is looked at."""


@cache
def table(dtype: Any) -> list[tuple[StepBound, float, float]]:
    """Bound and measured error (lower, upper) of many steps of many functions."""
    rng = np.random.default_rng(11)
    found = []
    for text, (low, high) in FUNCTIONS.items():
        entry = (1,) if "W" in text else ()
        for _ in range(6):
            x = rng.uniform(low, high, size=(2,) if entry else ())
            one = Measured(text, dtype, **({"W": x, "name": "W"} if entry else {"x": x}))
            sizes = 2.0 ** rng.uniform(*((-48, -1) if dtype is np.float64 else (-20, -1)), size=14)
            for below, above in one.steps(sizes, entry):
                # Ends that stand unequally far from the point are steps too.
                end = below if rng.uniform() < 0.8 else float(dtype(below + (above - below) * 0.3))
                found.append((one.bound(end, above, entry), *one.error(end, above, entry)))
    return found


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_bound_holds_everywhere(dtype: Any) -> None:
    """Over 1,500 steps of each dtype, from far too large to far too small."""
    missed = [row for row in table(dtype) if not row[1] <= row[0].total]
    assert [] == missed
    assert 1500 <= sum(math.isfinite(bound.total) for bound, _, _ in table(dtype))


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_tenth_of_the_bound_does_not_hold(dtype: Any) -> None:
    """The twin: where truncation dominates, and where rounding does, a tenth is too little somewhere."""
    for part in ("truncation", "rounding"):
        other = "rounding" if part == "truncation" else "truncation"
        ruled = [row for row in table(dtype) if getattr(row[0], part) > 100 * getattr(row[0], other)]
        assert any(lower > bound.total / 10 for bound, lower, _ in ruled), part


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_bound_is_close(dtype: Any) -> None:
    """Half of the bounds are within 1 % of the error where truncation dominates a step that is not large.

    In float32 truncation dominates large steps alone, over which balls are wide. Rounding is bounded at its worst.
    """
    smooth = [row for row in table(dtype) if math.isfinite(row[0].total) and not row[0].reason]
    cut = [b.total / lower for b, lower, _ in smooth if b.truncation > 1000 * b.rounding and lower > 0]
    rounded = [b.total / lower for b, lower, _ in smooth if b.rounding > 1000 * b.truncation > 0 and lower > 0]
    assert 1.0 <= np.median(cut) < (1.01 if dtype is np.float64 else 2.5)
    assert np.median(rounded) < 100


@settings(max_examples=60)
@given(
    text=expressions({"x": (), "v": (2,)}, max_nodes=9),
    x=st.floats(0.01, 3),
    size=st.floats(-40, -2),
    dtype=st.sampled_from(DTYPES),
    name=st.sampled_from(["x", "v"]),
)
def test_the_bound_holds_for_random_expressions(text: str, x: float, size: float, dtype: Any, name: str) -> None:
    """Formulas that nobody chose, kinks and edges of domains among them."""
    one = Measured(text, dtype, name, x=x, v=[x - 1, 0.5])
    entry = () if name == "x" else (0,)
    if not one.graph.depends_on([one.graph.position(name)]):
        return
    for below, above in one.steps(2.0 ** np.array([size, size / 2]), entry):
        bound = one.bound(below, above, entry)
        assert one.error(below, above, entry)[0] <= bound.total
        assert math.isfinite(bound.total) or bound.reason


@pytest.mark.parametrize("dtype", DTYPES)
def test_stages_are_variables_too(dtype: Any) -> None:
    """A stage's value is rounded already: the step starts from the float, the bound counts from the exact value."""
    one = Measured({"q": "exp(x) / 3", "f": "q**3 + x*q"}, dtype, "q", x=1.1)
    for below, above in one.steps(2.0 ** np.linspace(-50 if dtype is np.float64 else -21, -2, 30)):
        assert one.error(below, above)[0] <= one.bound(below, above).total
    _, best = one.point.at("q", ()).best()
    assert best.total < (1e-9 if dtype is np.float64 else 1e-2)


# ------------------------------------------------------------------------------------------ kinks, edges, what is said


@pytest.mark.parametrize(
    ("text", "x", "truncation"),
    [("relu(x)", 0.25, 1.0), ("abs(x)", 0.25, 2.0), ("relu(x)", 0.0, 1.0), ("max(x, 3*x)", -0.25, 2.0),
     ("min(x, 0)", 0.25, 1.0)],
)  # fmt: skip
def test_over_a_kink_the_bound_is_the_hull_of_slopes(text: str, x: float, truncation: float) -> None:
    """A step of 1 from near the kink: as far as the slopes on either side are apart."""
    bound = Measured(text, x=x).bound(x - 1, x + 1)
    assert truncation == pytest.approx(bound.truncation, rel=1e-6)
    assert "a kink may lie within the step" == bound.reason


def test_beside_a_kink_there_is_nothing_to_say() -> None:
    """The twin: a step that does not reach the kink."""
    bound = Measured("relu(x)", x=-0.25).bound(-0.375, -0.125)
    assert (0.0, "") == (bound.truncation, bound.reason)


@pytest.mark.parametrize(
    ("text", "x", "h", "reason"),
    [
        ("log(x)", 0.25, 0.25, "over [0, 0.5], log in stage 'f' may be outside its domain (a > 0)"),
        ("sqrt(x)", 0.25, 0.5, "over [-0.25, 0.75], sqrt in stage 'f' may be outside its domain (a >= 0)"),
        ("1 / x", 0.25, 0.5, "over [-0.25, 0.75], divide in stage 'f' may be outside its domain (b != 0)"),
        ("sqrt(x*x)", 0.0, 0.5, "sqrt in stage 'f' may be outside its domain"),
        ("exp(x)", 709.5, 0.5, "floats overflow on the way"),
        ("x", 1e16, 0.5, "the ends of the step are not two numbers"),
        ("x**1.5", 0.0, 0.25, "outside its domain"),
    ],
)
def test_what_cannot_be_bounded_says_why(text: str, x: float, h: float, reason: str) -> None:
    """Edges, poles, infinite slopes, overflow: infinite, in words."""
    bound = Measured(text, x=x).bound(x - h, x + h)
    assert (math.inf, True) == (bound.total, reason in bound.reason), bound.reason


# -------------------------------------------------------------------------------------------------------- the best step


@pytest.mark.parametrize(
    ("text", "x", "dtype", "relative"),
    [
        ("exp(x)", 1.0, np.float64, 2e-10), ("x**3", 2.0, np.float64, 1e-10), ("x**3", 2.0, np.float32, 1e-4),
        ("1e9 + x", 1.0, np.float64, 2e-7), ("log(x)", 1e-7, np.float64, 2e-9), ("x**2", 1e8, np.float64, 1e-15),
        ("abs(x)", 1e-9, np.float64, 1e-15), ("1 / x", 1e-4, np.float64, 2e-10), ("log(x)", 1e-300, np.float64, 2e-8),
        ("tanh(1e6 * x)", 0.0, np.float64, 1e-9), ("relu(x) + x", -1e-6, np.float64, 1e-15),
        ("sigmoid(x)", 30.0, np.float64, 5e-2), ("1e-8 * exp(x)", 1.0, np.float64, 2e-10),
        ("3 * x", 0.0, np.float64, 1e-15), ("x * x * x", 0.0, np.float64, 0.0),
    ],
)  # fmt: skip
def test_the_best_step_is_good_and_its_bound_holds(text: str, x: float, dtype: Any, relative: float) -> None:
    """Functions on which steps that somebody picked fail."""
    one = Measured(text, dtype, x=x)
    h, bound = one.point.at("x", ()).best()
    x_ = dtype(x)
    lower, _ = one.error(float(x_ - dtype(h)), float(x_ + dtype(h)))
    assert lower <= bound.total <= max(relative * abs(one.truth().midpoint), 1e-200)
    assert 0.5 == math.frexp(h)[0]


def test_no_power_of_two_has_a_smaller_bound() -> None:
    """The search ends early only where nothing better is left."""
    for text, x in (("exp(x)", 1.0), ("log(x)", 1e-7), ("abs(x) * x", 1e-5), ("x**2 + 1 / x", 0.3)):
        one = Measured(text, x=x)
        _, best = one.point.at("x", ()).best()
        others = [one.bound(*ends).total for ends in one.steps(2.0 ** np.arange(-60, 2))]
        assert best.total == min(others)


def test_at_a_kink_the_bound_is_the_width_of_the_hull() -> None:
    """Nothing is better than that, whatever the step."""
    one = Measured("abs(x)", x=0.0)
    _, bound = one.point.at("x", ()).best()
    assert 2.0 == pytest.approx(bound.total, rel=1e-6)


def test_where_no_step_has_a_bound_the_best_says_so() -> None:
    """sqrt at 0 has an infinite slope."""
    one = Measured("sqrt(x)", x=0.0)
    _, bound = one.point.at("x", ()).best()
    assert (math.inf, True) == (bound.total, "outside its domain" in bound.reason)

"""Balls hold the exact result: each rule, compositions of rules, and the forwards and VJPs of the op table."""

# ruff: noqa: ARG005 - planted rules take the arguments of the rule they replace

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from fractions import Fraction
from typing import Any

import mpmath
import numpy as np
import pytest

from verify.numbers.balls import ROUNDED, RULES, Balls, Rule
from verify.numbers.matrix_bounds import eliminated, inverse_radius
from verify.ops import OPS, Op
from verify.tools.support import trials

DTYPES = (np.float64, np.float32)
SIZE = 240
"""Random balls a rule is tried on, in each dtype."""

Sampler = Callable[[np.random.Generator, int], Any]


@pytest.fixture(autouse=True)
def _fifty_digits() -> Iterator[None]:
    with mpmath.workdps(50):
        yield


# ----------------------------------------------------------------------------------------------------- random balls


def signed(low: float, high: float) -> Sampler:
    """Numbers of either sign, log-spaced in size."""
    return lambda rng, n: positive(low, high)(rng, n) * rng.choice([-1.0, 1.0], n)


def positive(low: float, high: float) -> Sampler:
    """Positive numbers, log-spaced, but no values of exp itself: their logarithms would be nearly exact."""
    return lambda rng, n: np.exp(rng.uniform(math.log(low), math.log(high), n)) * rng.uniform(0.9, 1.0, n)


def uniform(low: float, high: float) -> Sampler:
    """Numbers that are uniform in an interval."""
    return lambda rng, n: rng.uniform(low, high, n)


def integers(low: int, high: int) -> Sampler:
    """Whole numbers as floats."""
    return lambda rng, n: rng.integers(low, high + 1, n).astype(np.float64)


def random_balls(rng: np.random.Generator, sampler: Sampler, dtype: Any, n: int = SIZE) -> Any:
    """Balls of radius 0, of radii from below an ulp up to the value, and of radii up to three times the value."""
    value = sampler(rng, n).astype(dtype)
    kind = rng.choice(3, n, p=[0.2, 0.5, 0.3])
    relative = np.choose(kind, [0.0, positive(1e-17, 1.0)(rng, n), rng.uniform(0.0, 3.0, n)])
    return Balls(value, relative * np.abs(value.astype(np.float64)))


def true_points(rng: np.random.Generator, ball: Any) -> Any:
    """For each ball a point inside as an mpmath number, half of them at the very rim."""
    at_rim, rim = rng.random(ball.shape) < 0.5, rng.choice([-1.0, 1.0], ball.shape)
    position = np.where(at_rim, rim, rng.uniform(-1, 1, ball.shape))
    return as_exact(ball.value) + as_exact(position) * as_exact(ball.radius)


def as_exact(array: Any) -> Any:
    """Floats as the mpmath numbers that they are."""
    return np.asarray(np.frompyfunc(lambda x: mpmath.mpf(float(x)), 1, 1)(array), dtype=object)


def missed(ball: Any, exact: Any, digits: int = 0) -> list[str]:
    """Where an exact result is outside its ball; an exact result that does not exist needs a radius of inf.

    ``digits`` says how many digits the exact results have, where they were not computed to all 50.
    """
    found = []
    blur = mpmath.mpf(10) ** -digits if digits else mpmath.mpf(0)
    for i in np.ndindex(ball.shape):
        value, radius, truth = ball.value[i], ball.radius[i], exact[i]
        if not radius >= 0:
            found.append(f"{i}: radius {radius}")
        elif math.isinf(radius):
            continue
        elif isinstance(truth, mpmath.mpc) or not mpmath.isfinite(truth):
            found.append(f"{i}: {value} +- {radius}, but no exact value exists")
        elif abs(mpmath.mpf(float(value)) - truth) > mpmath.mpf(float(radius)) + blur * abs(truth):
            found.append(f"{i}: {value} +- {radius} misses {mpmath.nstr(truth, 25)}")
    return found


def exact_values(function: Callable[..., Any], *operands: Any) -> Any:
    """An mpmath function of object arrays that broadcast; NaN where it has no value."""

    def at(*xs: Any) -> Any:
        try:
            return function(*xs)
        except (ZeroDivisionError, ValueError, OverflowError):
            return mpmath.nan

    return np.asarray(np.frompyfunc(at, len(operands), 1)(*operands), dtype=object)


# ------------------------------------------------------------------------------------------------------- single rules


def _sqrt_inside(x: Any) -> Any:
    """The root where there is one; left of the domain any number will do, so the nearest point's."""
    return mpmath.sqrt(max(x, mpmath.mpf(0)))


def _power(a: Any, b: Any) -> Any:
    """Real powers: whole exponents for any base; left of the domain of the others the nearest point's."""
    if b == int(b):
        return mpmath.power(a, int(b))
    return mpmath.power(max(a, mpmath.mpf(0)), b)


def _cut_at_one(function: Callable[..., Any]) -> Callable[..., Any]:
    """An inverse of sine or cosine; outside its domain the nearest point's."""
    return lambda a: function(min(max(a, mpmath.mpf(-1)), mpmath.mpf(1)))


WIDE = signed(1e-12, 1e12)
SINGLE_RULES: Mapping[np.ufunc, tuple[Callable[..., Any], tuple[Sampler, ...]]] = {
    np.positive: (lambda a: +a, (WIDE,)),
    np.negative: (lambda a: -a, (WIDE,)),
    np.absolute: (abs, (WIDE,)),
    np.sign: (mpmath.sign, (WIDE,)),
    np.floor: (mpmath.floor, (signed(1e-3, 1e3),)),
    np.ceil: (mpmath.ceil, (signed(1e-3, 1e3),)),
    np.maximum: (max, (uniform(-1, 1), uniform(-1, 1))),
    np.minimum: (min, (uniform(-1, 1), uniform(-1, 1))),
    np.add: (mpmath.fadd, (signed(1e-3, 1e3), signed(1e-3, 1e3))),
    np.subtract: (mpmath.fsub, (signed(1e-3, 1e3), signed(1e-3, 1e3))),
    np.hypot: (mpmath.hypot, (signed(1e-15, 1e15), signed(1e-15, 1e15))),
    np.multiply: (mpmath.fmul, (signed(1e-25, 1e15), signed(1e-25, 1e15))),
    np.divide: (mpmath.fdiv, (signed(1e-15, 1e15), signed(1e-15, 1e15))),
    np.square: (lambda a: a * a, (signed(1e-25, 1e15),)),
    np.reciprocal: (lambda a: 1 / a, (signed(1e-15, 1e15),)),
    np.sqrt: (_sqrt_inside, (positive(1e-30, 1e30),)),
    np.power: (_power, (positive(1e-2, 1e2), uniform(-8, 8))),
    np.exp: (mpmath.exp, (signed(1e-10, 150.0),)),
    np.expm1: (mpmath.expm1, (signed(1e-10, 150.0),)),
    np.log: (mpmath.log, (positive(1e-30, 1e30),)),
    np.log1p: (mpmath.log1p, (lambda rng, n: positive(1e-10, 1e10)(rng, n) - 0.999 * rng.random(n),)),
    np.sin: (mpmath.sin, (signed(1e-10, 1e3),)),
    np.cos: (mpmath.cos, (signed(1e-10, 1e3),)),
    np.tanh: (mpmath.tanh, (signed(1e-10, 30.0),)),
    np.sinh: (mpmath.sinh, (signed(1e-10, 80.0),)),
    np.cosh: (mpmath.cosh, (signed(1e-10, 80.0),)),
    np.log2: (lambda a: mpmath.log(a, 2), (positive(1e-30, 1e30),)),
    np.log10: (mpmath.log10, (positive(1e-30, 1e30),)),
    np.cbrt: (lambda a: mpmath.sign(a) * mpmath.cbrt(abs(a)), (signed(1e-30, 1e30),)),
    np.tan: (mpmath.tan, (signed(1e-10, 1e3),)),
    np.arcsin: (_cut_at_one(mpmath.asin), (signed(1e-10, 1.0),)),
    np.arccos: (_cut_at_one(mpmath.acos), (signed(1e-10, 1.0),)),
    np.arctan: (mpmath.atan, (signed(1e-10, 1e10),)),
    np.arctan2: (mpmath.atan2, (signed(1e-3, 1e3), signed(1e-3, 1e3))),
    np.arcsinh: (mpmath.asinh, (signed(1e-10, 1e10),)),
    np.arccosh: (lambda a: mpmath.acosh(max(a, mpmath.mpf(1))), (lambda rng, n: 1 + positive(1e-4, 1e10)(rng, n),)),
    np.arctanh: (mpmath.atanh, (signed(1e-10, 1.0),)),
}
"""ufunc -> the same function on mpmath numbers, and where its operands come from."""


def rule_misses(ufunc: np.ufunc, dtype: Any, seed: int = 0) -> list[str]:
    """Where the rule of a ufunc loses an exact result, over random balls."""
    rng = np.random.default_rng(seed)
    exact, samplers = SINGLE_RULES[ufunc]
    operands = [random_balls(rng, sampler, dtype) for sampler in samplers]
    result = ufunc(*operands)
    assert result.dtype == dtype
    return missed(result, exact_values(exact, *(true_points(rng, ball) for ball in operands)))


def test_every_rule_is_tried() -> None:
    """The table of rules and the table of this file name the same ufuncs."""
    assert set(SINGLE_RULES) == set(RULES)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("ufunc", SINGLE_RULES, ids=lambda u: u.__name__)
def test_each_rule_holds_the_exact_result(ufunc: np.ufunc, dtype: Any) -> None:
    """The exact function of a point in the operand's ball lies in the result's ball."""
    assert rule_misses(ufunc, dtype) == []


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("ufunc", SINGLE_RULES, ids=lambda u: u.__name__)
def test_rules_know_something(ufunc: np.ufunc, dtype: Any) -> None:
    """On operands known to 1e-6 the radius is finite and small: a rule that answers inf would hold everything."""
    rng = np.random.default_rng(1)
    operands = [Balls.widened(sampler(rng, SIZE).astype(dtype), 1e-6) for sampler in SINGLE_RULES[ufunc][1]]
    result = ufunc(*operands)
    assert np.mean(result.radius <= 0.02 * np.abs(result.value) + 1e-5) > 0.9


PLANTED: Mapping[np.ufunc, Callable[..., Any]] = {
    np.exp: lambda m, a, ra: m * ra,  # first order only
    np.log: lambda m, a, ra: ra / a,
    np.sqrt: lambda m, a, ra: ra / (2 * m),
    np.square: lambda m, a, ra: 2 * np.abs(a) * ra,
    np.multiply: lambda m, a, ra, b, rb: np.abs(a) * rb + ra * np.abs(b),
    np.divide: lambda m, a, ra, b, rb: (ra + m * rb) / np.abs(b),
    np.reciprocal: lambda m, a, ra: m * m * ra,
    np.tanh: lambda m, a, ra: ra / np.cosh(a) ** 2,
    np.sinh: lambda m, a, ra: ra * np.cosh(a),
    np.cosh: lambda m, a, ra: ra * np.sinh(np.abs(a)),
    np.power: lambda m, a, ra, b, rb: m * (np.abs(b) * ra / a + rb * np.abs(np.log(a))),
    np.maximum: lambda m, a, ra, b, rb: np.where(a > b, ra, rb),
    np.minimum: lambda m, a, ra, b, rb: np.where(a < b, ra, rb),
    np.sign: lambda m, a, ra: 0.0 * ra,
    np.floor: lambda m, a, ra: np.where(np.floor(a + ra) == np.floor(a), 0.0, 1.0),
    np.ceil: lambda m, a, ra: 0.0 * ra,
    np.expm1: lambda m, a, ra: m * np.expm1(ra),
    np.log1p: lambda m, a, ra: ra / (1 + np.abs(a)),
    np.log2: lambda m, a, ra: ra / a * 1.4427,
    np.log10: lambda m, a, ra: ra / a * 0.4343,
    np.cbrt: lambda m, a, ra: ra / (3 * m * m),
    np.tan: lambda m, a, ra: ra * (1 + m * m),
    np.arcsin: lambda m, a, ra: ra / np.sqrt(1 - a * a),
    np.arccos: lambda m, a, ra: ra / np.sqrt(1 - a * a),
    np.arctan: lambda m, a, ra: ra / (1 + a * a),
    np.arctan2: lambda m, a, ra, b, rb: np.arcsin(np.hypot(ra, rb) / np.hypot(a, b)),  # forgets the cut
    np.arcsinh: lambda m, a, ra: ra / np.sqrt(1 + a * a),
    np.arccosh: lambda m, a, ra: ra / np.sqrt(a * a - 1),
    np.arctanh: lambda m, a, ra: ra / (1 - a * a),
}
"""Rules that are nearly right: they forget the second order, an operand, or the branch that is not taken."""


SHARES: Mapping[np.ufunc, float] = {np.power: 0.5, np.sin: 0.9, np.cos: 0.9, np.tanh: 0.9}
"""Shares for rules whose bound is seldom attained: the slope at the steepest point, or two operands at their worst."""


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("ufunc", SINGLE_RULES, ids=lambda u: u.__name__)
def test_a_wrong_rule_is_caught(ufunc: np.ufunc, dtype: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Twin: the same check rejects a rule whose propagated radius is 1 % too small (more where said)."""
    right = RULES[ufunc]
    share = SHARES.get(ufunc, 0.99)
    scaled = Rule(lambda *xs: share * right.propagated(*xs), right.rounding, right.underflows)
    monkeypatch.setitem(RULES, ufunc, scaled)
    assert rule_misses(ufunc, dtype) != []


@pytest.mark.parametrize("ufunc", PLANTED, ids=lambda u: u.__name__)
def test_a_nearly_right_rule_is_caught(ufunc: np.ufunc, monkeypatch: pytest.MonkeyPatch) -> None:
    """Twin: the same check rejects rules of first order and rules that forget an operand."""
    monkeypatch.setitem(RULES, ufunc, Rule(PLANTED[ufunc], RULES[ufunc].rounding, RULES[ufunc].underflows))
    assert rule_misses(ufunc, np.float64) != []


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("ufunc", [u for u in SINGLE_RULES if RULES[u].rounding], ids=lambda u: u.__name__)
def test_forgotten_rounding_is_caught(ufunc: np.ufunc, dtype: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Twin: the same check rejects a rule that rounds half as much as the operation."""
    monkeypatch.setitem(RULES, ufunc, Rule(RULES[ufunc].propagated, 0.45, underflows=False))
    assert rule_misses(ufunc, dtype) != []


# ----------------------------------------------------------------------------------------------- powers and extremes


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("exponent", [-7, -3.0, -2, -1, 0, 1, 2, 2.0, 3, 4.0, 9, 0.5, 1.5, -0.5, 0.1, 1 / 3])
def test_powers_with_a_python_exponent(exponent: float, dtype: Any) -> None:
    """``x**c`` holds the exact power, for negative bases where c is whole, with the bits of the plain array's power."""
    rng = np.random.default_rng(2)
    whole = exponent == int(exponent)
    x = random_balls(rng, signed(1e-3, 1e3) if whole else positive(1e-3, 1e3), dtype)
    x.value[:3], x.radius[:3] = 0.0, [0.0, 1e-9, 0.5]
    result = x**exponent
    with np.errstate(all="ignore"):
        assert result.value.tobytes() == (x.value**exponent).tobytes()
    points = true_points(rng, x)
    assert missed(result, exact_values(lambda t: _power(t, mpmath.mpf(exponent)), points)) == []
    assert np.mean(np.isfinite(result.radius)) > 0.5
    plain = np.power(x, exponent)
    assert missed(plain, exact_values(lambda t: _power(t, mpmath.mpf(exponent)), points)) == []


def test_whole_powers_of_negative_balls_and_vague_exponents() -> None:
    """A negative base has a power only where the exponent is exactly whole."""
    base: Any = Balls(np.array([-2.0, -2.0]), 1e-6)
    vague = Balls(np.array([2.0, 2.0]), np.array([0.0, 1e-9]))
    assert np.isfinite(np.power(base, vague).radius).tolist() == [True, False]


@pytest.mark.parametrize("dtype", DTYPES)
def test_underflow_and_overflow_stay_bounds(dtype: Any) -> None:
    """Results that underflow keep a radius that holds the exact one; results that overflow have radius inf."""
    tiny, huge = (1e-300, 1e300) if dtype is np.float64 else (1e-37, 1e37)
    rng = np.random.default_rng(3)
    small: Any = Balls.exact(positive(tiny, tiny * 1e5)(rng, 60).astype(dtype))
    other: Any = Balls.exact(positive(1e-9, 1e-3)(rng, 60).astype(dtype))
    points, others = true_points(rng, small), true_points(rng, other)
    assert missed(small * other, points * others) == []
    assert missed(small * small, points * points) == []
    assert missed(small / np.full(60, huge, dtype), points / mpmath.mpf(float(dtype(huge)))) == []
    below = random_balls(rng, uniform(-800, -650) if dtype is np.float64 else uniform(-120, -80), dtype)
    assert missed(np.exp(below), exact_values(mpmath.exp, true_points(rng, below))) == []
    large: Any = Balls.exact(np.full(2, huge, dtype))
    assert np.all(np.isinf((large * large).radius))
    assert np.all(np.isinf(np.exp(large).radius))


def test_what_is_unknown_stays_unknown() -> None:
    """Leaving the domain gives radius inf, and no later operation makes it finite again."""
    ball: Any = Balls(np.array([1.0, -1.0, 1e-3]), np.array([2.0, 0.0, 1e-2]))
    for unknown in (1.0 / (ball * 0.0), np.log(-np.abs(ball)), np.sqrt(-1.0 - np.abs(ball))):
        assert np.all(np.isinf(unknown.radius))
        for later in (np.tanh(unknown), np.exp(-unknown), 0.0 * unknown, np.sign(unknown), unknown - 1.0, unknown**2):
            assert np.all(np.isinf(later.radius))
    assert np.isinf((1.0 / ball).radius).tolist() == [True, False, True]
    assert np.isinf(np.log(ball).radius).tolist() == [True, True, True]


# ---------------------------------------------------------------------------------------------------- compositions

STEPS: tuple[tuple[str, Callable[..., Any], Callable[..., Any], int], ...] = (
    ("a + b", lambda a, b: a + b, lambda a, b: a + b, 2),
    ("a - b", lambda a, b: a - b, lambda a, b: a - b, 2),
    ("a * b", lambda a, b: a * b, lambda a, b: a * b, 2),
    ("a / (2 + b^2)", lambda a, b: a / (2.0 + b * b), lambda a, b: a / (2 + b * b), 2),
    ("0.1 a", lambda a: 0.1 * a, lambda a: mpmath.mpf(0.1) * a, 1),
    ("exp(-|a|)", lambda a: np.exp(-np.abs(a)), lambda a: mpmath.exp(-abs(a)), 1),
    ("log(1 + a^2)", lambda a: np.log(1.0 + a**2), lambda a: mpmath.log(1 + a * a), 1),
    ("log1p(a^2)", lambda a: np.log1p(a**2), lambda a: mpmath.log1p(a * a), 1),
    ("sqrt(a^2 + 0.3)", lambda a: np.sqrt(a**2 + 0.3), lambda a: mpmath.sqrt(a * a + mpmath.mpf(0.3)), 1),
    ("tanh(a)", np.tanh, mpmath.tanh, 1),
    ("sin(a)", np.sin, mpmath.sin, 1),
    ("a^3", lambda a: a**3, lambda a: a**3, 1),
    ("max(a, b)", np.maximum, max, 2),
    ("a^-2", lambda a: a**-2.0, lambda a: a**-2, 1),
)


def composition_misses(seed: int, dtype: Any) -> tuple[list[str], float]:
    """A random program of 3 to 6 steps in balls against mpmath: what it misses, and the share of finite radii."""
    rng = np.random.default_rng(seed)
    numbers = [random_balls(rng, signed(1e-2, 1e1), dtype, 12) for _ in range(2)]
    points = [true_points(rng, ball) for ball in numbers]
    for _ in range(rng.integers(3, 7)):
        _, ball_step, exact_step, arity = STEPS[rng.integers(len(STEPS))]
        picks = rng.integers(len(numbers), size=arity)
        numbers.append(ball_step(*(numbers[i] for i in picks)))
        points.append(exact_values(exact_step, *(points[i] for i in picks)))
    assert numbers[-1].dtype == dtype
    return missed(numbers[-1], points[-1]), float(np.mean(np.isfinite(numbers[-1].radius)))


@pytest.mark.parametrize("dtype", DTYPES)
def test_compositions_hold_the_exact_result(dtype: Any) -> None:
    """Random programs of 3 to 6 steps keep the exact result inside, and mostly know something."""
    known = []
    for seed in range(150):
        misses, finite = composition_misses(seed, dtype)
        assert misses == [], f"seed {seed}"
        known.append(finite)
    assert np.mean(known) > 0.8


def test_a_wrong_rule_is_caught_in_compositions(monkeypatch: pytest.MonkeyPatch) -> None:
    """Twin: programs run with a product that forgets one operand's radius lose exact results."""
    planted = Rule(lambda m, a, ra, b, rb: np.abs(a) * rb, ROUNDED, underflows=True)
    monkeypatch.setitem(RULES, np.multiply, planted)
    assert any(composition_misses(seed, np.float64)[0] for seed in range(150))


@pytest.mark.parametrize("dtype", DTYPES)
def test_cancellation_shows_in_the_radius(dtype: Any) -> None:
    """``(1e9 + x) - 1e9`` loses digits of x: the radius says how many, and no more than it must."""
    x = np.random.default_rng(4).uniform(0.1, 1, 50).astype(dtype)
    y = (dtype(1e9) + Balls.exact(x)) - dtype(1e9)
    error = np.abs(y.value.astype(np.float64) - x.astype(np.float64))
    assert np.all(error <= y.radius)
    assert np.max(error) > 1e6 * np.finfo(dtype).eps
    assert np.max(y.radius) < 1.1e9 * np.finfo(dtype).eps


def test_a_literal_that_float32_cannot_hold_brings_its_difference() -> None:
    """0.1 means the double: as float32 it carries a radius, in float64 and in plain arrays it does not."""
    difference = abs(float(np.float32(0.1)) - 0.1)
    single: Any = Balls.exact(np.zeros(1, np.float32))
    double: Any = Balls.exact(np.zeros(1))
    rounded: tuple[Any, ...] = (np.maximum(single, 0.1), np.where([True], 0.1, single))
    for ball in rounded:
        assert (ball.dtype, ball.radius.tolist()) == (np.float32, [difference])
    assert np.maximum(double, 0.1).radius.tolist() == [0.0]
    assert np.maximum(single, np.full(1, 0.1, np.float32)).radius.tolist() == [0.0]
    assert (single + np.full(1, 0.1)).dtype == np.float64
    assert np.maximum(double, 2**53 + 1).radius[0] >= 1


# ------------------------------------------------------------------------------------------- sums, products, arrays


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shapes", [((4, 3), (3, 5)), ((2, 4, 3), (2, 3, 1)), ((7,), (7,)), ((2, 300), (300,))])
def test_matmul_holds_the_exact_product(shapes: tuple[tuple[int, ...], ...], dtype: Any) -> None:
    """Matrix products of balls, also with a plain operand, hold the product of points inside."""
    rng = np.random.default_rng(5)
    a, b = (Balls.widened(rng.normal(size=shape).astype(dtype), 1e-7) for shape in shapes)
    points = [true_points(rng, x) for x in (a, b)]
    product = a @ b
    assert product.value.tobytes() == (a.value @ b.value).tobytes()
    assert missed(product, np.asarray(points[0] @ points[1], dtype=object)) == []
    assert missed(a.value @ b, np.asarray(as_exact(a.value) @ points[1], dtype=object)) == []
    assert np.all(product.radius < 1e-3 * np.sqrt(a.shape[-1]))


def test_matmul_without_its_rounding_is_caught() -> None:
    """Twin: the product of exact operands that cancels is held by its radius, and missed without one."""
    a = np.array([1e8, 1.0, -1e8, 1e-8], dtype=np.float32)
    product = Balls.exact(a) @ Balls.exact(np.array([1.0, 1e-1, 1.0, 1.0], dtype=np.float32))
    truth = np.array(mpmath.mpf(float(np.float32(0.1))) + mpmath.mpf(float(np.float32(1e-8))), dtype=object)
    assert missed(product, truth) == []
    assert missed(Balls(product.value, 0.0 * product.radius), truth) != []


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("options", [{}, {"axis": 1}, {"axis": (0, 2)}, {"axis": (1,), "keepdims": True}])
def test_sums_and_means_hold_the_exact_ones(options: dict[str, Any], dtype: Any) -> None:
    """Sums and means over any axes have NumPy's bits and hold the exact result; a radius of 0 would not."""
    rng = np.random.default_rng(6)
    a = random_balls(rng, signed(1e-3, 1e3), dtype, 3 * 4 * 50)
    a = a.reshape(3, 4, 50)
    points = true_points(rng, a)
    total, mean = np.sum(a, **options), np.mean(a, **options)
    exact = np.asarray(np.sum(points, **options), dtype=object)
    assert total.value.tobytes() == np.asarray(np.sum(a.value, **options)).tobytes()
    assert mean.value.tobytes() == np.asarray(np.mean(a.value, **options)).tobytes()
    assert missed(total, exact) == []
    assert missed(mean, np.asarray(exact / mpmath.mpf(a.value.size // exact.size), dtype=object)) == []
    assert missed(Balls(total.value, 0.0 * total.radius), exact) != []
    assert np.add.reduce(a).value.tobytes() == np.add.reduce(a.value).tobytes()


def test_rounding_of_a_sum_alone() -> None:
    """Twin: sums of exact numbers hold with the radius and miss without it."""
    a = np.random.default_rng(7).normal(size=(40, 1000)).astype(np.float32)
    total = np.sum(Balls.exact(a), axis=1)
    exact = np.array([mpmath.fsum(float(x) for x in row) for row in a], dtype=object)
    assert missed(total, exact) == []
    assert missed(Balls(total.value, 0.0 * total.radius), exact) != []


ARRAY_FUNCTIONS: Mapping[str, Callable[[Any], Any]] = {
    "reshape": lambda a: np.reshape(a, (3, 2)),
    "method reshape": lambda a: a.reshape(3, 2),
    "transpose": lambda a: np.transpose(a, (1, 0)),
    "method transpose": lambda a: a.transpose(1, 0),
    "swapaxes": lambda a: np.swapaxes(a, 0, 1),
    "moveaxis": lambda a: np.moveaxis(a, 0, 1),
    "expand_dims": lambda a: np.expand_dims(a, (0, 2)),
    "squeeze": lambda a: np.squeeze(np.expand_dims(a, 1), 1),
    "broadcast_to": lambda a: np.broadcast_to(a, (4, 2, 3)),
    "ravel": np.ravel,
    "copy": np.copy,
    "index": lambda a: a[1, ::-1],
    "newaxis": lambda a: a[:, None, ...],
    "concatenate": lambda a: np.concatenate([a, a], axis=1),
    "stack": lambda a: np.stack([a, a], axis=-1),
    "where": lambda a: np.where(a > 3, a, 0.0 * a),
    "iadd": lambda a: a.__iadd__(a),
}


@pytest.mark.parametrize("name", ARRAY_FUNCTIONS)
def test_array_functions_move_values_and_radii_alike(name: str) -> None:
    """Functions that move entries treat values and radii as NumPy treats an array (a radius of value/8 shows it)."""
    a = Balls(np.arange(6.0).reshape(2, 3), np.arange(6.0).reshape(2, 3) / 8)
    moved = ARRAY_FUNCTIONS[name](a)
    expected = ARRAY_FUNCTIONS[name](np.arange(6.0).reshape(2, 3))
    assert moved.value.tolist() == expected.tolist()
    assert np.allclose(moved.radius, expected / 8, rtol=1e-12, atol=1e-300)


def test_balls_as_arrays() -> None:
    """Length, shape, filling, plain comparisons and assignment work as for arrays; nothing drops a radius silently."""
    a: Any = Balls.widened(np.array([[1.0, -2.0, 0.0]], dtype=np.float32), 0.5)
    assert (len(a), a.shape, a.ndim, a.dtype, a.unit_roundoff) == (1, (1, 3), 2, np.float32, 2.0**-24)
    assert (np.shape(a), np.ndim(a)) == ((1, 3), 2)
    assert (a > 0).tolist() == [[True, False, False]]
    assert np.isfinite(a).tolist() == [[True, True, True]]
    assert (np.ones_like(a).value.tolist(), np.zeros_like(a).radius.tolist()) == ([[1.0] * 3], [[0.0] * 3])
    a[0, 1:] = Balls(np.array([7.0, 8.0]), np.array([0.25, 0.0]))
    a[0, 0] = 0.1
    assert a.value.tolist() == [[np.float32(0.1), 7.0, 8.0]]
    assert a.radius.tolist() == [[abs(float(np.float32(0.1)) - 0.1), 0.25, 0.0]]
    assert Balls.exact([1, 2]).dtype == np.float64
    with pytest.raises(TypeError, match="lose the radius"):
        np.asarray(a)


def test_results_share_no_memory_with_operands() -> None:
    """An in-place update of a result leaves the operand's radius alone."""
    a: Any = Balls.widened(np.ones(3), 0.5)
    b = +a
    b += 1.0
    assert (a.value.tolist(), max(a.radius) < 0.6, b.value.tolist()) == ([1.0] * 3, True, [2.0] * 3)


@pytest.mark.parametrize(
    ("call", "named"),
    [
        (np.exp2, "exp2"),
        (np.cumsum, "cumsum"),
        (np.multiply.reduce, "reduce"),
        (lambda a: np.add(a, a, where=[True]), "where"),
        (lambda a: np.where(a, a, a), "where"),
        (lambda a: a + np.array([1 + 2j]), "complex128"),
        (lambda a: Balls.exact(np.zeros(1, dtype=np.longdouble)), "longdouble|float128"),
    ],
)
def test_what_balls_do_not_know_is_named(call: Callable[[Balls], Any], named: str) -> None:
    """An unsupported ufunc, function, method, option or dtype raises TypeError with its name."""
    with pytest.raises(TypeError, match=named):
        call(Balls.exact(np.ones(1)))


# -------------------------------------------------------------------------------------------- the op table in balls

MOST_CALLS = 7
"""Ways in which a structural row is called; the support matrix lists more."""


def table_calls() -> Iterator[tuple[str, tuple[tuple[int, ...], ...], dict[str, Any]]]:
    """Every row of the op table with shapes and static parameters that it can be run on."""
    for name, row in OPS.items():
        if not row.elementwise:
            for trial in list(trials(name))[:MOST_CALLS]:
                yield name, tuple((5, *shape) for shape in trial.shapes), dict(trial.graph().nodes[-1].params)
        elif row.params == ("exponent",):
            yield from ((name, ((5, 3),), {"exponent": c}) for c in (0.0, 1.0, 2.0, 3.0, -1.0, -2.0, 0.5, 2.5))
        else:
            tie = {} if row.kink is None else {"tie": (1.0, 0.0)}
            yield from ((name, ((5, 3),) * row.arity, {**tie, **numbers}) for numbers in row.statics)


def table_operands(row: Op, shapes: tuple[tuple[int, ...], ...], params: dict[str, Any], dtype: Any) -> list[Any]:
    """Balls within the row's domain, known to 1e-7."""
    rng = np.random.default_rng(8)
    values = [rng.normal(size=shape) * 2 for shape in shapes]
    only_positive = params.get("exponent", 1.0) % 1 != 0
    if only_positive or row.domain[0].low in (-1, 0, 1):
        values = [np.abs(v) for v in values]
    if row.domain[0].low == 1:
        values = [1 + v for v in values]
    if row.domain[0].high == 1:
        values = [0.9 * np.sin(v) for v in values]
    if row.undefined or row.name == "det":  # away from singular matrices, and positive definite ones for Cholesky
        n = shapes[0][-1]
        values[0] = values[0] + 6 * n * np.eye(n)
    return [Balls.widened(v.astype(dtype), 1e-7) for v in values]


def bits(x: Any) -> bytes:
    """The values' bytes, of balls or of a plain array, in C order."""
    return np.ascontiguousarray(x.value if isinstance(x, Balls) else x).tobytes()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("name", "shapes", "params"), list(table_calls()), ids=str)
def test_every_row_of_the_table_runs_on_balls(
    name: str, shapes: tuple[tuple[int, ...], ...], params: dict[str, Any], dtype: Any
) -> None:
    """Forward and each VJP run on balls with the bits of plain NumPy, and hold the value and slope in mpmath."""
    row = OPS[name]
    operands = table_operands(row, shapes, params, dtype)
    points = [true_points(np.random.default_rng(9), ball) for ball in operands]
    plain = [ball.value for ball in operands]
    y, y_plain = row.forward(*operands, **params), row.forward(*plain, **params)
    assert bits(y) == bits(y_plain)
    exponent = {k: v for k, v in params.items() if k != "tie"}
    if row.elementwise:
        assert missed(y, exact_values(lambda *xs: row.exact(*xs, **exponent), *points)) == []
    for i, vjp in enumerate(row.vjps_for(len(operands))):
        g = Balls.exact(np.ones_like(y_plain))
        pulled = vjp(g, y, *operands, **params)
        assert bits(pulled) == bits(vjp(g.value, y_plain, *plain, **params))
        assert isinstance(pulled, Balls)
        assert np.all(pulled.radius < 1e-2 * (1 + np.abs(pulled.value)))
        if row.elementwise:
            slopes = exact_values(lambda *xs, i=i: slope(row, xs, i, exponent), *points)
            assert missed(pulled, slopes, digits=40) == []


def slope(row: Op, xs: tuple[Any, ...], i: int, params: dict[str, Any]) -> Any:
    """The partial derivative by argument ``i``, by a central difference of the row's exact column at 100 digits."""
    with mpmath.workdps(100):
        h = mpmath.mpf(10) ** -30
        ends = [row.exact(*(x + s * h if j == i else x for j, x in enumerate(xs)), **params) for s in (1, -1)]
        return (ends[0] - ends[1]) / (2 * h)


@pytest.mark.parametrize("dtype", DTYPES)
def test_sigmoid_near_zero_holds_whichever_branch_is_taken(dtype: Any) -> None:
    """Balls around 0 leave sigmoid's branch open; its value and slope are held all the same."""
    rng = np.random.default_rng(10)
    a = random_balls(rng, signed(1e-9, 1.0), dtype)
    a.radius *= 3.0
    points = true_points(rng, a)
    row = OPS["sigmoid"]
    y = row.forward(a)
    assert missed(y, exact_values(row.exact, points)) == []
    pulled = row.vjps[0](np.ones(SIZE, dtype), y, a)
    assert missed(pulled, exact_values(lambda t: row.exact(t) * row.exact(-t), points)) == []


def test_elimination_is_granted_its_own_factors() -> None:
    """``|L| |U|`` of matrices of very unlike entries, in a stack, against elimination in fractions; never below |a|."""
    rng = np.random.default_rng(7)
    shape = (2, 3, 4, 4)
    a = rng.normal(size=shape) * 10.0 ** rng.integers(-8, 9, shape)
    found = eliminated(a)
    for at in np.ndindex(2, 3):
        rows = [([Fraction(x) for x in row], [Fraction(0)] * 4, i) for i, row in enumerate(a[at].tolist())]
        for k in range(4):
            best = max(range(k, 4), key=lambda i: abs(rows[i][0][k]))
            rows[k], rows[best] = rows[best], rows[k]
            top = rows[k][0]
            rows[k][1][k] = Fraction(1)
            for left, factors, _ in rows[k + 1 :]:
                factors[k] = left[k] / top[k]
                left[:] = [x - factors[k] * y for x, y in zip(left, top, strict=True)]
        for _, factors, i in rows:
            sizes = [sum(abs(factors[k] * rows[k][0][j]) for k in range(j + 1)) for j in range(4)]
            assert np.allclose(found[at][i], np.maximum(np.array(sizes, float), np.abs(a[at][i])), rtol=1e-9)
    assert np.any(found > 2 * np.abs(a))
    inverted = np.linalg.inv(a)
    granted = 2.0**-53 * (np.abs(inverted) @ found @ np.abs(inverted))
    assert np.all(inverse_radius(a, np.zeros(shape), inverted, 2.0**-53) >= granted)
    assert np.any(granted > 64 * 2.0**-53 * (np.abs(inverted) @ np.abs(a) @ np.abs(inverted)))

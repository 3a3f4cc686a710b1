"""Each row of the op table is what it says: value, slope and SymPy form against mpmath, structure against loops."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import mpmath
import numpy as np
import pytest
import sympy
import test_array_ops
import test_convolution_ops
import test_linear_algebra_ops
import vjp_costs
from flint import arb, arb_series

from verify.case.expression import graph_from_expressions
from verify.numbers.ball_math import tail
from verify.ops import OPS, Interval, Jump, Op, forgotten
from verify.ops.row import NEEDED, by_lowering

DTYPES = (np.float64, np.float32)
SLOPE_DIGITS = 800
"""Enough for the slope of sigmoid at 700, which is 1e-304 beside a value of 1, by differences."""


@dataclass(frozen=True)
class Trial:
    """A row with the static parameters that it is tried with."""

    row: Op
    params: Mapping[str, Any]
    """For the forward and the VJPs."""

    @property
    def static(self) -> dict[str, Any]:
        """For the SymPy and exact columns, which know no convention at ties."""
        return {key: value for key, value in self.params.items() if key != "tie"}

    def __str__(self) -> str:
        return "-".join([self.row.name, *(str(value) for value in self.static.values())])


def elementwise_trials() -> Iterator[Trial]:
    """Every elementwise row, with each of its static parameters."""
    for row in OPS.values():
        if row.elementwise:
            tie = {} if row.kink is None else {"tie": next(iter(row.kink.ties.values()))}
            yield from (Trial(row, {**tie, **numbers}) for numbers in row.statics)


TRIALS = list(elementwise_trials())

# ------------------------------------------------------------------------------------------------ where to look


def samples(trial: Trial, dtype: Any, n: int, seed: int = 0) -> list[np.ndarray[Any, Any]]:
    """Operands in the row's domain and away from its kinks: ordinary, log-spaced, and next to the domain's edge."""
    rng = np.random.default_rng(seed)
    row = trial.row
    if row.name == "power":
        base = np.concatenate([np.exp(rng.uniform(-7, 7, n)), rng.uniform(0.5, 2, n)]) * rng.uniform(0.9, 1, 2 * n)
        return [base.astype(dtype), np.concatenate([rng.uniform(-3, 3, n), rng.uniform(-9, 9, n)]).astype(dtype)]
    columns = []
    for domain in row.domain:
        extent = 1e3 if trial.params.get("exponent") else row.reach[DTYPES.index(dtype)]
        sizes = np.exp(rng.uniform(math.log(1e-8), math.log(extent), n)) * rng.uniform(0.9, 1, n)
        edge = np.array([0.0, 1.0, np.finfo(dtype).tiny, np.finfo(dtype).smallest_subnormal])
        x = np.concatenate([rng.uniform(-3, 3, n), sizes * rng.choice([-1, 1], n), edge, -edge]).astype(dtype)
        if domain.low == 1 or domain.high == 1:
            x = np.concatenate([x, np.sign(x) * (1 - np.minimum(np.abs(x), 1))])  # next to 1 as well as next to 0
        inside = domain.contains(x) & ((x > 0) | (trial.params.get("exponent", 1.0) % 1 == 0))
        inside &= (x != 0) | (trial.params.get("exponent", 1.0) >= 0)
        columns.append(rng.permutation(np.where(inside, x, brought_inside(domain, x))))
    if row.kink is not None:
        away = row.kink.argument(*columns, **trial.static) != 0
        columns = [column[away] for column in columns]
    if isinstance(row.singular, Jump):
        away = row.singular.distance(*columns) != 0
        columns = [column[away] for column in columns]
    return columns


def brought_inside(domain: Interval, x: Any) -> Any:
    """Numbers inside a domain in place of those outside."""
    if domain.low == 1:
        return 1 + np.abs(x)
    return np.sin(x) * x.dtype.type(0.999) if domain.high == 1 else np.maximum(np.abs(x), x.dtype.type(1e-3))


def points(operands: list[np.ndarray[Any, Any]]) -> Iterator[tuple[int, tuple[Any, ...]]]:
    """Each point's position and its operands as mpmath numbers."""
    for i, xs in enumerate(zip(*operands, strict=True)):
        yield i, tuple(mpmath.mpf(float(x)) for x in xs)


def slope(trial: Trial, xs: tuple[Any, ...], argument: int) -> Any:
    """The partial derivative of the exact column by a central difference at many digits; inf where there is none."""
    if trial.row.name == "cbrt" and xs[0] == 0:
        return mpmath.inf
    with mpmath.workdps(SLOPE_DIGITS):
        h = abs(xs[argument]) * mpmath.mpf(10) ** -30 or mpmath.mpf(10) ** -400
        up, down = (
            trial.row.exact(*(x + s * h if j == argument else x for j, x in enumerate(xs)), **trial.static)
            for s in (1, -1)
        )
        return mpmath.inf if isinstance(up - down, mpmath.mpc) else (up - down) / (2 * h)


# ------------------------------------------------------------------------------------------------------ the checks


def worst_ulps(trial: Trial, dtype: Any, n: int, seed: int = 0) -> tuple[float, tuple[float, ...]]:
    """The largest distance of the forward from the exact value, in ulps of the result, and where it is met."""
    operands = samples(trial, dtype, n, seed)
    with np.errstate(all="ignore"):
        y = trial.row.forward(*operands, **trial.params)
    assert y.dtype == dtype
    worst: tuple[float, tuple[float, ...]] = (0.0, ())
    largest = float(np.finfo(dtype).max)
    with mpmath.workdps(50):
        for i, xs in points(operands):
            exact = trial.row.exact(*xs, **trial.static)
            if abs(exact) <= largest:
                error = float(abs(mpmath.mpf(float(y[i])) - exact) / mpmath.mpf(float(np.spacing(np.abs(y[i])))))
                worst = max(worst, (error, tuple(float(x) for x in xs)))
    return worst


def value_faults(trial: Trial) -> list[str]:
    """Where the forward is farther from the exact value than the row's ``ulps``."""
    found = []
    for dtype in DTYPES:
        ulps, where = worst_ulps(trial, dtype, 150)
        if not ulps <= trial.row.ulps:
            found.append(f"{trial} in {dtype.__name__}: {ulps:.3g} ulps at {where}, the row says {trial.row.ulps}")
    return found


def vjp_faults(trial: Trial, argument: int) -> list[str]:
    """Where a VJP is not upstream gradient times slope, to 1e-12 of it; 1e-300 covers squares that overflow."""
    operands = samples(trial, np.float64, 60)
    upstream = np.full(operands[0].shape, -2.0)
    with np.errstate(all="ignore"):
        y = trial.row.forward(*operands, **trial.params)
        pulled = trial.row.vjps[argument](upstream, y, *operands, **trial.params)
    found = []
    for i, xs in points(operands):
        expected = -2 * slope(trial, xs, argument)
        if abs(expected) > np.finfo(np.float64).max:
            continue
        got = mpmath.mpf(float(pulled[i]))
        if not abs(got - expected) <= mpmath.mpf(1e-12) * abs(expected) + mpmath.mpf(1e-300):
            found.append(f"{trial} by argument {argument} at {xs}: {pulled[i]}, exact {mpmath.nstr(expected, 20)}")
    return found


def sympy_faults(trial: Trial, argument: int | None) -> list[str]:
    """Where SymPy's form, or its derivative by an argument, is not the exact one to 40 of its 50 digits.

    Differences at 0 are good to 1e-500.
    """
    symbols = sympy.symbols(f"x:{trial.row.arity}", real=True)
    form = trial.row.sympy(*symbols, **trial.static)
    if argument is not None:
        form = sympy.diff(form, symbols[argument])
    found = []
    for _, xs in points(samples(trial, np.float64, 10)):
        values = {s: sympy.Float(x, 60) for s, x in zip(symbols, xs, strict=True)}
        with mpmath.workdps(60):
            exact = trial.row.exact(*xs, **trial.static) if argument is None else slope(trial, xs, argument)
            if mpmath.isinf(exact):
                continue
            got = mpmath.mpf(form.evalf(50, subs=values, maxn=3000))
            if not abs(got - exact) <= mpmath.mpf(10) ** -40 * abs(exact) + mpmath.mpf(10) ** -500:
                found.append(f"{trial} by {argument} at {xs}: {form} gives {got}, exact {exact}")
    return found


# ------------------------------------------------------------------------------------------- rows of one entry each


@pytest.mark.parametrize("trial", TRIALS, ids=str)
def test_forward_is_within_its_ulps(trial: Trial) -> None:
    """The forward is as near to the exact value as the row's ``ulps`` say, in float64 and float32."""
    assert value_faults(trial) == []


@pytest.mark.parametrize("trial", TRIALS, ids=str)
def test_vjps_are_the_slopes(trial: Trial) -> None:
    """Each VJP is the upstream gradient times the partial derivative."""
    assert [fault for i in range(trial.row.arity) for fault in vjp_faults(trial, i)] == []


@pytest.mark.parametrize("trial", TRIALS, ids=str)
def test_sympy_form_is_the_same_function(trial: Trial) -> None:
    """SymPy's form has the exact column's value, and its derivatives are the slopes."""
    assert [fault for i in (None, *range(trial.row.arity)) for fault in sympy_faults(trial, i)] == []


@pytest.mark.parametrize("trial", TRIALS, ids=str)
def test_vjps_keep_the_dtype(trial: Trial) -> None:
    """A VJP on float32 stays float32."""
    operands = samples(trial, np.float32, 4)
    with np.errstate(all="ignore"):
        y = trial.row.forward(*operands, **trial.params)
        pulled = [vjp(np.ones_like(y), y, *operands, **trial.params) for vjp in trial.row.vjps]
    assert [g.dtype for g in pulled] == [np.float32] * trial.row.arity


def scaled(function: Callable[..., Any], factor: Any) -> Callable[..., Any]:
    """The function times a factor."""
    return lambda *args, **params: function(*args, **params) * factor


SLIGHTLY_MORE = 1 + 1e-6


@pytest.mark.parametrize("trial", TRIALS, ids=str)
def test_a_planted_factor_is_caught(trial: Trial) -> None:
    """Twin: the same checks reject a forward, a VJP or a SymPy form that is too large by 1e-6 of itself."""
    row = trial.row
    assert value_faults(replace(trial, row=replace(row, forward=scaled(row.forward, np.float32(SLIGHTLY_MORE))))) != []
    form = scaled(row.sympy, 1 + sympy.Rational(1, 10**6))
    for i in range(row.arity):
        sloping = trial.params.get("exponent") != 0 and i not in row.flat
        vjps = tuple(scaled(vjp, SLIGHTLY_MORE) if j == i else vjp for j, vjp in enumerate(row.vjps))
        assert (vjp_faults(replace(trial, row=replace(row, vjps=vjps)), i) != []) == sloping
        assert (sympy_faults(replace(trial, row=replace(row, sympy=form)), i) != []) == sloping
    assert sympy_faults(replace(trial, row=replace(row, sympy=form)), None) != []


KINKED = [trial for trial in TRIALS if trial.row.kink is not None]


def tied_operands(trial: Trial) -> list[np.ndarray[Any, Any]]:
    """Operands at a tie; the branches of where may have any values there."""
    if trial.row.name == "clip":
        return [np.array([trial.params["lo"]])]
    return [np.array([x]) for x in ([0.0], [1.5, 1.5], [], [1.5, 1.5, 2.0, 2.0])[trial.row.arity - 1]]


@pytest.mark.parametrize("trial", KINKED, ids=str)
def test_conventions_at_a_tie(trial: Trial) -> None:
    """At a tie each VJP weighs the slopes of the two branches as the convention says."""
    row, tied = trial.row, tied_operands(trial)
    assert row.kink is not None
    assert row.kink.argument(*tied, **trial.static).tolist() == [0.0]
    for weights in row.kink.ties.values():
        params = {**trial.params, "tie": weights}
        y = row.forward(*tied, **params)
        for i, vjp in enumerate(row.vjps):
            numbers = [arb_series([x[0], 1]) if j == i else arb(x[0]) for j, x in enumerate(tied)]
            slopes = [float(tail(branch(*numbers, **trial.static))) for branch in row.kink.branches]
            expected = weights[0] * slopes[0] + weights[1] * slopes[1]
            assert vjp(np.array([2.0]), y, *tied, **params).tolist() == [2.0 * expected]


@pytest.mark.parametrize("trial", KINKED, ids=str)
def test_branches_are_the_op_on_their_side(trial: Trial) -> None:
    """The first branch is the op where the kink's argument is positive, the second where it is negative."""
    row = trial.row
    assert row.kink is not None
    operands = [np.array(x) for x in ([2.0, -1.0, 0.3], [-3.0, 4.0, 0.2], [5.0, 6.0, 7.0], [-5.0, -6.0, 1.0])]
    operands = operands[: row.arity]
    signs = np.sign(row.kink.argument(*operands, **trial.static))
    assert {-1.0, 1.0} == set(signs.tolist())
    first, second = (branch(*operands, **trial.static) for branch in row.kink.branches)
    assert row.forward(*operands, **trial.params).tolist() == np.where(signs > 0, first, second).tolist()
    for i, sign in enumerate(signs):  # the same on balls
        balls = [arb(x[i]) for x in operands]
        assert (row.kink.argument(*balls, **trial.static) > 0) == (sign > 0)
        taken = [branch(*balls, **trial.static) for branch in row.kink.branches]
        assert float(row.ball(*balls, **trial.static)) == float(taken[0 if sign > 0 else 1])


@pytest.mark.parametrize(("sign", "taken"), [(">", 6.0), (">=", 5.0), ("<", 6.0), ("<=", 5.0)])
def test_where_is_strict_or_not_at_the_tie(sign: str, taken: float) -> None:
    """Forward, exact column, SymPy form and ball form all take the branch that the comparison says."""
    graph = graph_from_expressions({"a": (), "b": (), "x": (), "y": ()}, {"f": f"where(a {sign} b, x, y)"})
    row, node = OPS[graph.nodes[-1].op], graph.nodes[-1]
    names = [graph.nodes[i].op for i in node.args]
    numbers = {"a": 1.5, "b": 1.5, "x": 5.0, "y": 6.0}
    at = [numbers[name] for name in names]
    assert row.forward(*(np.array([x]) for x in at), **node.params).tolist() == [taken]
    assert row.exact(*map(mpmath.mpf, at)) == taken
    assert row.sympy(*map(sympy.Float, at)) == taken
    assert float(row.ball(*map(arb, at))) == taken
    y = np.array([taken])
    pulled = [vjp(np.ones(1), y, *(np.array([x]) for x in at), **node.params)[0] for vjp in row.vjps]
    assert dict(zip(names, pulled, strict=True)) == {"a": 0.0, "b": 0.0, "x": taken == 5.0, "y": taken == 6.0}


@pytest.mark.parametrize(("name", "order"), [("i0", 0), ("i1", 1)])
@pytest.mark.parametrize("x", [709.0, 711.5, 713.5, -713.5])
def test_bessel_functions_have_values_up_to_the_end_of_the_range(name: str, order: int, x: float) -> None:
    """SciPy's own are infinite from 710 on; values and slopes are not."""
    a, row = np.array([x]), OPS[name]
    y = row.forward(a)
    slope = mpmath.diff(lambda t: mpmath.besseli(order, t), x)
    assert y[0] == pytest.approx(float(mpmath.besseli(order, x)), rel=1e-13)
    assert row.vjps[0](np.ones(1), y, a)[0] == pytest.approx(float(slope), rel=1e-12)


def test_a_power_with_exponent_zero_is_flat_at_zero() -> None:
    """The slope of ``a ** 0`` is 0 everywhere, at 0 too, where ``0 * 0 ** -1`` is not a number."""
    a = np.array([0.0, 2.0])
    assert OPS["power_constant"].vjps[0](np.ones(2), np.ones(2), a, exponent=0.0).tolist() == [0.0, 0.0]


@pytest.mark.parametrize("trial", TRIALS, ids=str)
def test_vjps_are_what_is_written_out(trial: Trial) -> None:
    """The text of each local derivative gives the same numbers, where neither loses any."""
    row, params = trial.row, trial.params
    operands = vjp_costs.operands_of(row, 50)
    if params.get("exponent", 1.0) % 1:
        operands = [np.abs(x) for x in operands]
    y, g = row.forward(*operands, **params), np.linspace(-1, 1, 50)
    for vjp, written in zip(row.vjps, vjp_costs.written(row, params), strict=True):
        np.testing.assert_allclose(vjp(g, y, *operands, **params), written(g, y, *operands), rtol=1e-11, atol=0)


# ------------------------------------------------------------------------------------------------- structural rows

Shapes = tuple[tuple[int, ...], ...]
STRUCTURAL: tuple[tuple[str, Shapes, Mapping[str, Any]], ...] = (
    ("matmul", ((2, 3), (3, 4)), {}),
    ("matmul", ((3,), (3, 2)), {}),
    ("matmul", ((2, 3), (3,)), {}),
    ("matmul", ((3,), (3,)), {}),
    ("matmul", ((1, 3), (3, 1)), {}),
    ("matmul", ((2, 2, 3), (2, 3, 2)), {}),
    ("sum", ((2, 3),), {}),
    ("sum", ((),), {}),
    ("sum", ((2, 3),), {"axis": (0,)}),
    ("sum", ((2, 3, 2),), {"axis": (0, 2), "keepdims": True}),
    ("mean", ((2, 4),), {}),
    ("mean", ((4, 3),), {"axis": (0,)}),
    ("mean", ((3, 2),), {"axis": (1,), "keepdims": True}),
    ("transpose", ((2, 3),), {}),
    ("transpose", ((2, 3, 4),), {}),
    ("transpose", ((2, 3, 4),), {"axes": (1, 2, 0)}),
    ("index", ((4,),), {"index": (2,)}),
    ("index", ((4, 3),), {"index": (1,)}),
    ("index", ((4, 3),), {"index": (slice(1, 3), 2)}),
    ("index", ((4, 3),), {"index": (slice(None, None, -2),)}),
)
"""Row, shapes of its operands at one point, static parameters."""


def indices(shape: tuple[int, ...]) -> list[tuple[int, ...]]:
    """All indices of a shape, in C order."""
    return list(itertools.product(*map(range, shape)))


def by_loops(name: str, operands: list[Any], params: Mapping[str, Any]) -> Any:
    """The op at one point in plain Python: nothing but indices, sums and products of single entries."""
    a = operands[0]
    if name == "matmul":
        return _matmul_by_loops(a, operands[1])
    if name == "index":
        kept = [range(n)[p] if isinstance(p, slice) else p for n, p in zip(a.shape, params["index"], strict=False)]
        kept += [range(n) for n in a.shape[len(kept) :]]
        choices = [[p] if isinstance(p, int) else list(p) for p in kept]
        shape = tuple(len(p) for p in kept if not isinstance(p, int))
        return filled(shape, [a[i] for i in itertools.product(*choices)])
    if name == "transpose":
        order = params.get("axes") or tuple(range(a.ndim))[::-1]
        shape = tuple(a.shape[k] for k in order)
        return filled(shape, [a[tuple(i[order.index(k)] for k in range(a.ndim))] for i in indices(shape)])
    axes = params.get("axis", tuple(range(a.ndim)))
    groups: dict[tuple[int, ...], list[Any]] = {}
    for i in indices(a.shape):
        groups.setdefault(tuple(0 if k in axes else p for k, p in enumerate(i)), []).append(a[i])
    shape = tuple(1 if k in axes else n for k, n in enumerate(a.shape))
    totals = [sum(group) / (len(group) if name == "mean" else 1) for group in groups.values()]
    return filled(shape if params.get("keepdims") else tuple(n for k, n in enumerate(a.shape) if k not in axes), totals)


def _matmul_by_loops(a: Any, b: Any) -> Any:
    left = a if a.ndim > 1 else a.reshape(1, -1)
    right = b if b.ndim > 1 else b.reshape(-1, 1)
    shape = (*left.shape[:-2], left.shape[-2], right.shape[-1])
    entries = [
        sum(left[(*batch, i, k)] * right[(*batch, k, j)] for k in range(left.shape[-1]))
        for *batch, i, j in indices(shape)
    ]
    return filled((*shape[:-2], *shape[-2:-1][: a.ndim > 1], *shape[-1:][: b.ndim > 1]), entries)


def filled(shape: tuple[int, ...], entries: list[Any]) -> Any:
    """An object array with these entries."""
    out = np.empty(len(entries), dtype=object)
    out[:] = entries
    return out.reshape(shape)


def whole_numbers(shape: tuple[int, ...], seed: int) -> np.ndarray[Any, Any]:
    """Small whole numbers, so that sums and products are exact in any order."""
    return np.random.default_rng(seed).integers(-8, 9, shape).astype(np.float64)


def structural_value_faults(row: Op, shapes: Shapes, params: Mapping[str, Any], P: int) -> list[str]:
    """Where forward or exact column differ from the loops, point by point, and where the shape rule is wrong."""
    operands = [whole_numbers((P, *shape), seed) for seed, shape in enumerate(shapes)]
    y = row.forward(*operands, **params)
    found = [] if y.shape == (P, *row.shape(*shapes, **params)) else [f"shape {y.shape}"]
    for p in range(P):
        at_point = [np.asarray(operand[p], dtype=object) for operand in operands]
        expected = by_loops(row.name, at_point, params)
        for column, got in (("forward", y[p]), ("exact", row.exact(*at_point, **params))):
            if not close(got, expected):
                found.append(f"{column} at point {p}: {got}, expected {expected}")
    return found


def close(got: Any, expected: Any) -> bool:
    """Equal up to the last digits: a mean over 3 rounds."""
    return bool(np.allclose(np.asarray(got, dtype=float), np.asarray(expected, dtype=float), rtol=1e-14, atol=0))


def structural_vjp_faults(row: Op, shapes: Shapes, params: Mapping[str, Any], P: int) -> list[str]:
    """Where a VJP is not the upstream gradient contracted with the change that each single entry makes."""
    operands = [whole_numbers((P, *shape), seed) for seed, shape in enumerate(shapes)]
    y = row.forward(*operands, **params)
    g = whole_numbers(y.shape, 9)
    found = []
    for argument, vjp in enumerate(row.vjps):
        pulled = vjp(g, y, *operands, **params)
        expected = np.zeros(operands[argument].shape)
        for p, i in itertools.product(range(P), indices(shapes[argument])):
            unit = np.zeros(shapes[argument])
            unit[i] = 1.0  # the op is linear in each operand
            at_point = [unit if j == argument else np.asarray(operand[p]) for j, operand in enumerate(operands)]
            changed = np.asarray(by_loops(row.name, at_point, params), dtype=float)
            expected[(p, *i)] = float(np.sum(g[p] * changed))
        if pulled.shape != expected.shape or not close(pulled, expected):
            found.append(f"{row.name} by argument {argument}: {pulled}, expected {expected}")
    return found


def structural_sympy_faults(row: Op, shapes: Shapes, params: Mapping[str, Any]) -> list[str]:
    """Entries of SymPy's form that are not the loops' expression in the same symbols."""
    operands = [
        filled(shape, list(sympy.symbols(f"{'ab'[k]}:{math.prod(shape)}", real=True))) for k, shape in enumerate(shapes)
    ]
    got = np.asarray(row.sympy(*operands, **params), dtype=object)
    expected = np.asarray(by_loops(row.name, operands, params), dtype=object)
    if got.shape != expected.shape:
        return [f"{row.name}: shape {got.shape}, expected {expected.shape}"]
    return [f"{x}, expected {y}" for x, y in zip(got.flat, expected.flat, strict=True) if sympy.expand(x - y) != 0]


def test_every_row_is_tried() -> None:
    """Each row of the table is tried: elementwise or structural ones here, the others by files of their own."""
    here = {trial.row.name for trial in TRIALS} | {name for name, _, _ in STRUCTURAL}
    others = {*test_array_ops.BY_LOOPS, *test_linear_algebra_ops.SINGLE, "solve", *test_convolution_ops.LOOPS}
    assert here | others == set(OPS)


@pytest.mark.parametrize("P", [1, 2, 3, 4])
@pytest.mark.parametrize(("name", "shapes", "params"), STRUCTURAL, ids=str)
def test_structural_rows_are_the_loops(name: str, shapes: Shapes, params: Mapping[str, Any], P: int) -> None:
    """Forward, exact column, shape and VJPs of a structural row are what loops give, for P like each dimension."""
    assert structural_value_faults(OPS[name], shapes, params, P) == []
    assert structural_vjp_faults(OPS[name], shapes, params, P) == []


@pytest.mark.parametrize(("name", "shapes", "params"), STRUCTURAL, ids=str)
def test_structural_sympy_forms_are_the_loops(name: str, shapes: Shapes, params: Mapping[str, Any]) -> None:
    """SymPy's form of a structural row is the loops' expression."""
    assert structural_sympy_faults(OPS[name], shapes, params) == []


@pytest.mark.parametrize(("name", "shapes", "params"), STRUCTURAL, ids=str)
def test_a_planted_factor_is_caught_in_structural_rows(name: str, shapes: Shapes, params: Mapping[str, Any]) -> None:
    """Twin: the same checks reject a forward, a VJP or a SymPy form that is too large by 1e-6 of itself."""
    row = OPS[name]
    assert structural_value_faults(replace(row, forward=scaled(row.forward, SLIGHTLY_MORE)), shapes, params, 2) != []
    for i in range(row.arity):
        vjps = tuple(scaled(vjp, SLIGHTLY_MORE) if j == i else vjp for j, vjp in enumerate(row.vjps))
        assert structural_vjp_faults(replace(row, vjps=vjps), shapes, params, 2) != []
    planted = replace(row, sympy=scaled(row.sympy, 1 + sympy.Rational(1, 10**6)))
    assert structural_sympy_faults(planted, shapes, params) != []


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", dict.fromkeys(name for name, _, _ in STRUCTURAL))
def test_structural_rows_keep_the_dtype(name: str, dtype: Any) -> None:
    """Forward and VJPs of a structural row on float32 stay float32."""
    shapes, params = next((shapes, params) for row, shapes, params in STRUCTURAL if row == name)
    row = OPS[name]
    operands = [whole_numbers((2, *shape), seed).astype(dtype) for seed, shape in enumerate(shapes)]
    y = row.forward(*operands, **params)
    assert [y.dtype, *(vjp(y, y, *operands, **params).dtype for vjp in row.vjps)] == [dtype] * (1 + row.arity)


# ------------------------------------------------------------------------------------------------- forgotten columns


@pytest.mark.parametrize("column", [*NEEDED, "sympy"])
def test_a_forgotten_column_is_told_with_its_file(column: str) -> None:
    """The table refuses the row by a sentence that names file, row and column."""
    empty: dict[str, Any] = {column: {"sympy": by_lowering, "vjps": (), "trials": (), "example": ""}.get(column)}
    (fault,) = forgotten(replace(OPS["matmul"], **empty), "verify/ops/products.py")
    assert fault.startswith(f"verify/ops/products.py: the row 'matmul' has no {column}: ")


def test_no_row_lacks_or_contradicts_anything() -> None:
    """The twin; and what does not fit together is told too."""
    assert [] == [fault for row in OPS.values() for fault in forgotten(row, "here")]
    (both,) = forgotten(replace(OPS["exp"], lower=max), "here")
    assert "has both sympy and lower" in both
    (two,) = forgotten(replace(OPS["exp"], code=OPS["add"].code), "here")
    assert "has 1 vjps, and code for 2" in two
    (other,) = forgotten(replace(OPS["exp"], example="log(u)"), "here")
    assert "an example that does not use it: log(u)" in other


if __name__ == "__main__":  # prints what the column `ulps` is taken from
    for shown in TRIALS:
        figures = [max(worst_ulps(shown, dtype, 2000, seed) for seed in range(3)) for dtype in DTYPES]
        print(f"{shown!s:24} {shown.row.ulps:4} ", *(f"{ulps:7.3f} at {at}" for ulps, at in figures))  # noqa: T201

"""The rows of linear algebra, held against plain loops in mpmath, and against torch and autograd where those are there.

The loops know determinants by minors, inverses by cofactors, solutions by Cramer's rule and Cholesky factors entry by
entry; slopes are differences of them at many digits. Each check has its twin with a planted fault.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import mpmath
import numpy as np
import pytest
import sympy
from flint import arb, arb_series

from verify.case.expression import ExpressionError, graph_from_expressions
from verify.errors import ShapeError
from verify.graph.graph import Graph, GraphBuilder
from verify.graph.interpret import Program
from verify.graph.taylor import entries_of, precision
from verify.judging.audit import audit
from verify.methods.reverse import prepare as engine
from verify.methods.reverse import unbroadcast
from verify.methods.symbolic import Symbolic
from verify.methods.symbolic import prepare as symbolic
from verify.numbers import matrix_bounds
from verify.numbers.ball_math import head
from verify.numbers.balls import Balls
from verify.numbers.matrices import cofactors
from verify.ops import OPS, Op
from verify.records import CaseResult
from verify.running.runner import run_cases
from verify.running.settings import Settings
from verify.symbolic.pieces import MOST_MONOMIALS, piece_of
from verify.truth.step_bounds import StepBounds
from verify.words import Verdict

Shapes = tuple[tuple[int, ...], ...]
TRIALS: tuple[tuple[str, Shapes], ...] = (
    ("trace", ((3, 3),)), ("trace", ((2, 4),)), ("diag", ((3,),)), ("diag", ((3, 2),)),
    ("inverse", ((1, 1),)), ("inverse", ((3, 3),)), ("inverse", ((2, 2, 2),)),
    ("det", ((1, 1),)), ("det", ((2, 2),)), ("det", ((4, 4),)), ("det", ((2, 3, 3),)),
    ("logabsdet", ((1, 1),)), ("logabsdet", ((3, 3),)), ("logabsdet", ((3, 2, 2),)),
    ("solve", ((1, 1), (1,))), ("solve", ((3, 3), (3,))), ("solve", ((2, 2), (2, 3))),
    ("solve", ((2, 3, 3), (3,))), ("solve", ((2, 2), (3, 2, 1))),
    ("cholesky", ((1, 1),)), ("cholesky", ((3, 3),)), ("cholesky", ((2, 2, 2),)),
)  # fmt: skip
SQUARE = ("inverse", "det", "logabsdet", "solve", "cholesky")
DTYPES = (np.float64, np.float32)
SLIGHTLY_MORE = 1 + 2.0**-20


# ------------------------------------------------------------------------------------------------------ the loops


def determinant(a: Any) -> Any:
    """By the first row's minors."""
    if len(a) == 1:
        return a[0, 0]
    minors = [np.delete(a[1:], j, axis=1) for j in range(len(a))]
    return sum((-1) ** j * a[0, j] * determinant(minor) for j, minor in enumerate(minors))


def cofactor(a: Any, i: int, j: int) -> Any:
    """The derivative of the determinant by one entry."""
    return (-1) ** (i + j) * (determinant(np.delete(np.delete(a, i, 0), j, 1)) if len(a) > 1 else mpmath.mpf(1))


def inverse(a: Any) -> Any:
    """By cofactors."""
    return np.array([[cofactor(a, j, i) / determinant(a) for j in range(len(a))] for i in range(len(a))], dtype=object)


def factor(a: Any) -> Any:
    """Cholesky's, entry by entry, from the lower triangle."""
    out = np.full(a.shape, mpmath.mpf(0), dtype=object)
    for i, j in np.ndindex(a.shape):
        if j < i:
            out[i, j] = (a[i, j] - sum(out[i, k] * out[j, k] for k in range(j))) / out[j, j]
        elif i == j:
            out[i, i] = mpmath.sqrt(a[i, i] - sum(out[i, k] ** 2 for k in range(i)))
    return out


def solved(a: Any, b: Any) -> Any:
    """By Cramer's rule."""
    columns = b.reshape(len(b), -1)
    out = np.empty(columns.shape, dtype=object)
    for i, j in np.ndindex(out.shape):
        replaced = a.copy()
        replaced[:, i] = columns[:, j]
        out[i, j] = determinant(replaced) / determinant(a)
    return out.reshape(b.shape)


def diagonal(a: Any) -> Any:
    """Both directions."""
    if a.ndim == 2:
        return np.array([a[i, i] for i in range(min(a.shape))], dtype=object)
    return np.array([[x if i == j else mpmath.mpf(0) for j in range(len(a))] for i, x in enumerate(a)], dtype=object)


SINGLE: Mapping[str, Callable[..., Any]] = {
    "trace": lambda a: sum(a[i, i] for i in range(min(a.shape))),
    "diag": diagonal,
    "inverse": inverse,
    "det": determinant,
    "logabsdet": lambda a: mpmath.log(abs(determinant(a))),
    "cholesky": factor,
}


def by_loops(op: str, *operands: Any) -> Any:
    """The op on object arrays of mpmath numbers, stacks of matrices too."""
    a = operands[0]
    if op == "solve":
        b = operands[1]
        batch = np.broadcast_shapes(a.shape[:-2], b.shape[:-2]) if b.ndim > 1 else a.shape[:-2]
        tail = b.shape[-2:] if b.ndim > 1 else b.shape
        pairs = (np.broadcast_to(a, (*batch, *a.shape[-2:])), np.broadcast_to(b, (*batch, *tail)))
        found = [solved(pairs[0][i], pairs[1][i]) for i in np.ndindex(batch)]
        return np.array(found, dtype=object).reshape(*batch, *tail)
    if a.ndim < 3:
        return np.asarray(SINGLE[op](a), dtype=object)
    found = [SINGLE[op](matrix) for matrix in a]
    return np.array(found, dtype=object)


def slopes(op: str, operands: list[Any], which: int, weights: Any) -> Any:
    """The derivatives of the weighted sum of all entries by those of one operand, by differences at 100 digits."""
    found = np.empty(operands[which].shape, dtype=object)
    step = mpmath.mpf(10) ** -30
    for entry in np.ndindex(found.shape):
        ends = []
        for sign in (1, -1):
            moved = [x.copy() for x in operands]
            moved[which][entry] += sign * step
            ends.append(np.sum(by_loops(op, *moved) * weights))
        found[entry] = (ends[0] - ends[1]) / (2 * step)
    return found


def drawn(op: str, shapes: Shapes, points: int, dtype: Any = np.float64) -> list[Any]:
    """Operands ``(P, *shape)``, of matrices that are well away from singular ones."""
    rng = np.random.default_rng(points)
    operands = [rng.normal(size=(points, *shape)) for shape in shapes]
    if op in SQUARE:
        operands[0] += (2 + 2 * shapes[0][-1]) * np.eye(shapes[0][-1])
    return [x.astype(dtype) for x in operands]


def exact(x: Any) -> Any:
    """Floats as mpmath numbers."""
    return np.asarray(np.frompyfunc(lambda number: mpmath.mpf(float(number)), 1, 1)(x), dtype=object)


# ---------------------------------------------------------------------------------------------------------- checks


def value_faults(row: Op, shapes: Shapes, points: int, dtype: Any = np.float64) -> list[str]:
    """Entries of the forward farther from the loops than balls allow, which is little."""
    operands = drawn(row.name, shapes, points, dtype)
    y = row.forward(*operands)
    bound = row.forward(*map(Balls.exact, operands))
    assert y.shape == (points, *row.shape(*shapes))
    assert y.dtype == dtype
    found = []
    with mpmath.workdps(100):
        for p in range(points):
            known = by_loops(row.name, *(exact(x[p]) for x in operands))
            size = max(abs(x) for x in known.flat)
            for got, true, radius in zip(y[p].flat, known.flat, np.ravel(bound.radius[p]), strict=True):
                assert radius <= 1000 * np.finfo(dtype).eps * max(size, 1)
                if not abs(got - true) <= radius:
                    found.append(f"{got}, exact {true}, at most {radius} off")
    return found


def vjp_faults(row: Op, shapes: Shapes, points: int, dtype: Any = np.float64) -> list[str]:
    """Entries of VJPs farther from differences of the loops than balls allow."""
    operands = drawn(row.name, shapes, points, dtype)
    y = row.forward(*operands)
    g = np.random.default_rng(7).normal(size=y.shape).astype(dtype)
    balls = [Balls.exact(x) for x in operands]
    found = []
    for i, vjp in enumerate(row.vjps):
        got = unbroadcast(vjp(g, y, *operands), shapes[i])
        bound = unbroadcast(vjp(Balls.exact(g), row.forward(*balls), *balls), shapes[i])
        assert got.shape == (points, *shapes[i])
        assert got.dtype == dtype
        with mpmath.workdps(100):
            for p in range(points):
                known = slopes(row.name, [exact(x[p]) for x in operands], i, exact(g[p]))
                size = max(abs(x) for x in known.flat)
                for sent, true, radius in zip(got[p].flat, known.flat, np.ravel(bound.radius[p]), strict=True):
                    assert radius <= 3000 * np.finfo(dtype).eps * max(size, 1)
                    if not abs(sent - true) <= radius + 2 * np.finfo(dtype).eps * abs(true):
                        found.append(f"by operand {i}: {sent}, exact {true}, at most {radius} off")
    return found


def alone(op: str, shapes: Shapes, params: Mapping[str, Any] | None = None) -> Graph:
    """A graph of the op alone."""
    builder = GraphBuilder()
    operands = [builder.input(name, shape) for name, shape in zip("ab", shapes, strict=False)]
    builder.name("y", builder.apply(op, *operands, params=params))
    return builder.build(["y"])


def symbolic_faults(row: Op, shapes: Shapes) -> list[str]:
    """Entries of SymPy's side, on balls and on floats, that are not those of the loops."""
    graph = alone(row.name, shapes)
    piece = piece_of(graph, graph.position("y"))
    operands = drawn(row.name, shapes, 1)
    weights = np.random.default_rng(7).normal(size=(1, *graph.shape("y")))
    with mpmath.workdps(100):
        known = by_loops(row.name, *(exact(x[0]) for x in operands))
        truth = [slopes(row.name, [exact(x[0]) for x in operands], i, exact(weights[0])) for i in range(row.arity)]
    rows = [("value", piece.value(operands), known)]
    rows += [(f"slope {i}", pull(weights), truth[i]) for i, pull in enumerate(piece.pulls(operands))]
    found = [
        f"{what} in floats: {got}, exact {true}"
        for what, column, trues in rows
        for got, true in zip(np.ravel(column[0]), trues.flat, strict=True)
        if not abs(got - true) <= 1e-12 * max(1, abs(true))
    ]
    with precision(256), mpmath.workdps(60):
        balls = [np.asarray(np.frompyfunc(arb, 1, 1)(x), dtype=object) for x in operands]
        seeds = np.asarray(np.frompyfunc(arb, 1, 1)(weights), dtype=object)
        rows = [("value", piece.value(balls), known)]
        rows += [(f"slope {i}", pull(seeds), truth[i]) for i, pull in enumerate(piece.pulls(balls))]
        for what, column, trues in rows:
            for got, true in zip(np.ravel(column[0]), trues.flat, strict=True):
                if not abs(mpmath.mpf(arb(got).mid().str(50, radius=False)) - true) <= mpmath.mpf(10) ** -40:
                    found.append(f"{what} in balls: {got}, exact {true}")
    return found


def ball_faults(row: Op, shapes: Shapes) -> list[str]:
    """Coefficients of the ball form, up to the third, along a direction of all operands, that are not the loops'."""
    operands = [x[0] for x in drawn(row.name, shapes, 1)]
    ways = [np.random.default_rng(i).normal(size=x.shape) for i, x in enumerate(operands)]

    def entries(t: Any) -> list[Any]:
        moved = [exact(x) + t * exact(way) for x, way in zip(operands, ways, strict=True)]
        return list(by_loops(row.name, *moved).flat)

    with mpmath.workdps(60), precision(300, 4):
        series = [np.empty(x.shape, dtype=object) for x in operands]
        for out, x, way in zip(series, operands, ways, strict=True):
            for index in np.ndindex(out.shape):
                out[index] = arb_series([arb(float(x[index])), arb(float(way[index]))])
        got = entries_of(row.ball(*series))
        found = []
        for at in range(len(entries(0))):
            known = mpmath.taylor(lambda t, at=at: entries(t)[at], 0, 3)
            mine = [got[at][k] if isinstance(got[at], arb_series) else (arb(0) if k else got[at]) for k in range(4)]
            for k, (ball, true) in enumerate(zip(mine, known, strict=True)):
                number = mpmath.mpf(arb(ball).mid().str(50, radius=False))
                if not abs(number - true) <= mpmath.mpf(10) ** -12 * max(1, abs(true)):
                    found.append(f"coefficient {k}: {number}, exact {true}")
    return found


# ----------------------------------------------------------------------------------------------------------- tests


@pytest.mark.parametrize("points", [1, 2, 3, 4])
@pytest.mark.parametrize(("op", "shapes"), TRIALS, ids=str)
def test_forward_and_vjps_are_the_loops(op: str, shapes: Shapes, points: int) -> None:
    """For P like each dimension; what they are off by is within the balls, whose radii are small."""
    assert [] == value_faults(OPS[op], shapes, points)
    assert [] == vjp_faults(OPS[op], shapes, points)


@pytest.mark.parametrize(("op", "shapes"), TRIALS, ids=str)
def test_the_same_in_float32(op: str, shapes: Shapes) -> None:
    """The dtype is kept, and its rounding is within the balls."""
    assert [] == value_faults(OPS[op], shapes, 2, np.float32)
    assert [] == vjp_faults(OPS[op], shapes, 2, np.float32)


@pytest.mark.parametrize(("op", "shapes"), TRIALS, ids=str)
def test_sympy_and_the_balls_are_the_loops(op: str, shapes: Shapes) -> None:
    """SymPy's value and slopes, in floats and in balls; four coefficients of the ball form."""
    assert [] == symbolic_faults(OPS[op], shapes)
    assert [] == ball_faults(OPS[op], shapes)


def scaled(function: Callable[..., Any], number: Any) -> Callable[..., Any]:
    """The function times a number."""
    return lambda *args, **params: function(*args, **params) * number


def with_scaled_form(row: Op, number: sympy.Rational) -> Op:
    """A row whose SymPy side gives a value that is too large: where there are equations, it solves other ones."""
    if row.implicit:
        return replace(row, sympy=lambda y, *operands: row.sympy(y * (1 / number), *operands))
    if row.lower is None:
        return replace(row, sympy=scaled(row.sympy, number))
    lower = row.lower
    return replace(row, lower=lambda b, *a: b.apply("multiply", lower(b, *a), b.constant(float(number))))


@pytest.mark.parametrize(("op", "shapes"), [(op, shapes) for op, shapes in TRIALS if shapes[0][-1] > 1], ids=str)
def test_a_planted_factor_is_caught(op: str, shapes: Shapes, monkeypatch: pytest.MonkeyPatch) -> None:
    """Twin: the same checks reject any column that is too large by a millionth."""
    row = OPS[op]
    assert [] != value_faults(replace(row, forward=scaled(row.forward, SLIGHTLY_MORE)), shapes, 2)
    for i, vjp in enumerate(row.vjps):
        vjps = (*row.vjps[:i], scaled(vjp, SLIGHTLY_MORE), *row.vjps[i + 1 :])
        assert [] != vjp_faults(replace(row, vjps=vjps), shapes, 2)
    assert [] != ball_faults(replace(row, ball=scaled(row.ball, arb(SLIGHTLY_MORE))), shapes)
    monkeypatch.setitem(OPS, op, with_scaled_form(row, 1 + sympy.Rational(1, 2**20)))
    assert [] != symbolic_faults(OPS[op], shapes)


@pytest.mark.parametrize(("op", "shapes"), TRIALS, ids=str)
def test_the_exact_column_is_the_loops(op: str, shapes: Shapes) -> None:
    """The third definition, which decides who is wrong, agrees with a fourth."""
    operands = [exact(x[0]) for x in drawn(op, shapes, 1)]
    with mpmath.workdps(50):
        got = np.asarray(OPS[op].exact(*operands), dtype=object)
        known = by_loops(op, *operands)
        assert got.shape == known.shape
        assert all(abs(x - y) < mpmath.mpf(10) ** -40 for x, y in zip(got.flat, known.flat, strict=True))


# ------------------------------------------------------------------------------------------ other people's answers


@pytest.mark.parametrize(("op", "shapes"), [t for t in TRIALS if t[0] != "diag"], ids=str)
def test_torch_agrees(op: str, shapes: Shapes) -> None:
    """Values, and gradients of a weighted sum; of Cholesky's the symmetric part, which is torch's convention."""
    torch = pytest.importorskip("torch")
    operands = [x[0] for x in drawn(op, shapes, 1)]
    if op == "trace" and shapes[0][0] != shapes[0][1]:
        pytest.skip("torch takes traces of square matrices alone")
    if op == "cholesky":
        operands[0] = (operands[0] + np.swapaxes(operands[0], -1, -2)) / 2
    tensors = [torch.tensor(x, requires_grad=True) for x in operands]
    functions = {
        "trace": torch.trace, "inverse": torch.linalg.inv, "det": torch.linalg.det,
        "logabsdet": lambda a: torch.linalg.slogdet(a).logabsdet, "cholesky": torch.linalg.cholesky,
        "solve": torch.linalg.solve,
    }  # fmt: skip
    if op == "solve" and operands[1].ndim == 1 and operands[0].ndim == 3:
        functions["solve"] = lambda a, b: torch.linalg.solve(a, b[:, None].expand(len(a), -1, 1))[..., 0]
    y = functions[op](*tensors)
    weights = np.random.default_rng(7).normal(size=y.shape)
    (y * torch.tensor(weights)).sum().backward()
    mine = engine(alone(op, shapes), "ab"[: len(shapes)]).differentiate(
        {name: x[None] for name, x in zip("ab", operands, strict=False)}, {"y": weights[None]}
    )
    np.testing.assert_allclose(mine.values["y"][0], y.detach().numpy(), rtol=1e-12, atol=1e-14)
    for name, tensor in zip("ab", tensors, strict=False):
        gradient = mine.gradients[name][0]
        if op == "cholesky":
            gradient = (gradient + np.swapaxes(gradient, -1, -2)) / 2
        np.testing.assert_allclose(gradient, tensor.grad.numpy(), rtol=1e-10, atol=1e-13)


@pytest.mark.parametrize("op", ["trace", "diag", "inverse", "det", "solve", "cholesky"])
def test_autograd_agrees(op: str) -> None:
    """The same of HIPS autograd."""
    autograd = pytest.importorskip("autograd")
    anp = pytest.importorskip("autograd.numpy")
    shapes = ((3, 3), (3,)) if op == "solve" else ((3, 3),)
    operands = [x[0] for x in drawn(op, shapes, 1)]
    if op == "cholesky":
        operands[0] = (operands[0] + operands[0].T) / 2
    functions = {"trace": anp.trace, "diag": anp.diag, "inverse": anp.linalg.inv, "det": anp.linalg.det,
                 "solve": anp.linalg.solve, "cholesky": anp.linalg.cholesky}  # fmt: skip
    graph = alone(op, shapes)
    weights = np.random.default_rng(7).normal(size=graph.shape("y"))
    mine = engine(graph, "ab"[: len(shapes)]).differentiate(
        {name: x[None] for name, x in zip("ab", operands, strict=False)}, {"y": weights[None]}
    )
    for i, name in enumerate("ab"[: len(shapes)]):
        theirs = autograd.grad(lambda *args: anp.sum(functions[op](*args) * weights), i)(*operands)
        gradient = mine.gradients[name][0]
        if op == "cholesky":
            gradient, theirs = (gradient + gradient.T) / 2, (theirs + theirs.T) / 2
        np.testing.assert_allclose(gradient, theirs, rtol=1e-10, atol=1e-13)


# -------------------------------------------------------------------------------------------------------- conventions


def test_cholesky_reads_the_lower_triangle_alone() -> None:
    """What stands above the diagonal changes nothing, and its gradient is exactly 0."""
    (a,) = drawn("cholesky", ((3, 3),), 2)
    other = a + np.triu(np.ones((3, 3)), 1)
    y = OPS["cholesky"].forward(a)
    assert (y == OPS["cholesky"].forward(other)).all()
    sent = OPS["cholesky"].vjps[0](np.ones_like(y), y, a)
    assert (np.triu(sent, 1) == 0).all()
    assert (np.tril(sent) != 0).any()


def test_a_symmetric_matrix_gives_the_gradient_of_any_convention() -> None:
    """By what a symmetric matrix is made of, gradients of the lower triangle and of both halves are the same."""
    rng = np.random.default_rng(0)
    root, weights = rng.normal(size=(1, 3, 3)), rng.normal(size=(1, 3, 3))
    graph = graph_from_expressions({"B": (3, 3)}, {"A": "B @ transpose(B)", "y": "cholesky(A)"})
    found = engine(graph, ["B", "A"]).differentiate({"B": root}, {"y": weights}).gradients
    halves = (found["A"] + np.swapaxes(found["A"], 1, 2)) / 2
    np.testing.assert_allclose(found["B"], 2 * halves @ root, rtol=1e-12)


def test_the_slope_of_logabsdet_does_not_see_the_sign() -> None:
    """Two rows exchanged change the sign of the determinant; value and slopes only move along."""
    (a,) = drawn("logabsdet", ((3, 3),), 1)
    exchanged, row = a[:, [1, 0, 2]], OPS["logabsdet"]
    assert np.linalg.det(a)[0] * np.linalg.det(exchanged)[0] < 0
    np.testing.assert_allclose(row.forward(a), row.forward(exchanged), rtol=1e-14)
    g = np.ones(1)
    np.testing.assert_allclose(row.vjps[0](g, g, a)[:, [1, 0, 2]], row.vjps[0](g, g, exchanged), rtol=1e-13)


def test_a_determinant_has_slopes_where_it_is_zero() -> None:
    """At a singular matrix the cofactors are what they are; of rank n - 2 they are all 0."""
    a = np.array([[[1.0, 2.0, 3.0], [2.0, 4.0, 6.0], [1.0, 0.0, 1.0]], [[1.0, 1.0, 1.0]] * 3])
    known = [[cofactor(exact(x), i, j) for i, j in itertools.product(range(3), repeat=2)] for x in a]
    np.testing.assert_allclose(cofactors(a).reshape(2, 9), np.array(known, dtype=float), atol=1e-14)
    result = run("det(A)", a[0])
    assert result.passes
    assert set(result.counts) == {Verdict.PASS}


# ----------------------------------------------------------------------------------------- conditioning, and no value


def with_condition(condition: float, size: int = 3) -> Any:
    """A symmetric positive definite matrix of a given condition number."""
    q, _ = np.linalg.qr(np.random.default_rng(3).normal(size=(size, size)))
    a = (q * np.geomspace(1, 1 / condition, size)) @ q.T
    return (a + a.T) / 2


def run(expression: str, matrix: Any, settings: Settings | None = None, tail: str = "sum(Y)") -> CaseResult:
    """A case that applies an expression to one matrix, at its own point alone."""
    folder = Path(run.__dict__.setdefault("folder", ""))
    path = folder / "case.yaml"
    shown = [[float(x) for x in row] for row in matrix]
    right = "  b: {at: [1.0, -2.0, 0.5], kind: constant}\n" if "b" in expression.partition("(")[2] else ""
    inputs = f"  A: {{at: {shown}}}\n{right}"
    path.write_text(f"case: c\ninputs:\n{inputs}stages:\n  Y: {expression}\n  f: {tail}\n", encoding="utf-8")
    (result,) = run_cases([path], settings or Settings(points=0)).cases
    assert not result.problems, result.problems
    return result


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path) -> None:
    run.__dict__["folder"] = str(tmp_path)


EXPRESSIONS = ("inverse(A)", "solve(A, b)", "cholesky(A)", "det(A)", "logabsdet(A)")


@pytest.mark.parametrize("condition", [1.0, 1e6, 1e12])
@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_right_gradients_pass_however_ill_conditioned(expression: str, condition: float) -> None:
    """Rounding accuses no method; only where a right answer may lose nearly all digits is it said to show nothing."""
    result = run(expression, with_condition(condition))
    reasons = {row.reason.partition(":")[0] for row in result.failing()}
    assert {"too weak"} >= reasons if (expression, condition) == ("inverse(A)", 1e12) else not reasons
    assert {Verdict.PASS, Verdict.UNDECIDED} >= set(result.counts), result.counts


@pytest.mark.parametrize(("condition", "factor"), [(1.0, 1e-10), (1e6, 1e-5), (1e12, 0.25)])
@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_wrong_gradients_fail_however_ill_conditioned(
    expression: str, condition: float, factor: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Twin: a fault above what the condition hides is called wrong."""
    row = OPS[expression.split("(", maxsplit=1)[0]]
    wrong = replace(row, vjps=(scaled(row.vjps[0], 1 + factor), *row.vjps[1:]))
    monkeypatch.setitem(OPS, row.name, wrong)
    result = run(expression, with_condition(condition))
    assert not result.passes
    assert Verdict.FAIL in result.counts
    assert {"reverse", f"VJP of {row.name}"} >= {row.suspect for row in result.failing()}


def test_what_the_condition_hides_is_not_called_right(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no digit of a gradient can be had in floats, a wrong one is undecided, and so is a right one."""
    row = OPS["inverse"]
    result = run("inverse(A)", with_condition(1e15))
    monkeypatch.setitem(OPS, "inverse", replace(row, vjps=(scaled(row.vjps[0], 1.01),)))
    for found in (result, run("inverse(A)", with_condition(1e15))):
        assert not found.passes
        assert Verdict.FAIL not in found.counts


@pytest.mark.parametrize("expression", ["inverse(A)", "solve(A, b)", "logabsdet(A)"])
@pytest.mark.parametrize("matrix", [np.ones((3, 3)), np.arange(1.0, 10.0).reshape(3, 3), np.zeros((3, 3))])
def test_a_singular_matrix_is_undecided_and_said_so(expression: str, matrix: Any) -> None:
    """Also where floats do not notice: 1 to 9 in rows has rank 2, and LAPACK inverts it."""
    result = run(expression, matrix)
    assert not result.passes
    assert {Verdict.PASS, Verdict.UNDECIDED} >= set(result.counts), [row.reason for row in result.failing()]
    assert any("singular matrix" in row.reason for row in result.failing())


@pytest.mark.parametrize("matrix", [-np.eye(3), np.ones((3, 3)), np.diag([1.0, 0.0, 1.0])])
def test_a_matrix_that_is_not_positive_definite_is_undecided_and_said_so(matrix: Any) -> None:
    """Cholesky's factor has no value there."""
    result = run("cholesky(A)", matrix)
    assert not result.passes
    reasons = {row.reason for row in result.failing()}
    assert any("matrix that is not positive definite in cholesky" in reason for reason in reasons), reasons


def test_one_singular_matrix_spoils_no_other_point() -> None:
    """In a batch, and in a stack, the others have their values."""
    a = np.stack([np.eye(2), np.zeros((2, 2)), 2 * np.eye(2)])
    for op in ("inverse", "cholesky"):
        y = OPS[op].forward(a)
        assert np.isfinite(y).all(axis=(1, 2)).tolist() == [True, False, True]
        assert np.isnan(y[1]).all()
    b = np.ones((3, 2))
    y = OPS["solve"].forward(a, b)
    assert np.isfinite(y).all(axis=1).tolist() == [True, False, True]
    assert audit(alone("inverse", ((2, 2),)), Program(alone("inverse", ((2, 2),))).run({"a": a[1:2]})) == []


# ------------------------------------------------------------------------------------------------------ words, limits


@pytest.mark.parametrize(
    ("expression", "shapes", "words"),
    [
        ("inverse(A)", {"A": (2, 3)}, "inverse needs a square matrix (or a stack of them), got shape (2, 3)"),
        ("det(A)", {"A": (3,)}, "det needs a square matrix"),
        ("logabsdet(A)", {"A": ()}, "logabsdet needs a square matrix"),
        ("cholesky(A)", {"A": (3, 2)}, "cholesky needs a square matrix"),
        ("solve(A, b)", {"A": (3, 3), "b": (2,)}, "solve cannot take shapes (3, 3) and (2,): 3 equations against 2"),
        ("solve(A, b)", {"A": (3, 3), "b": ()}, "solve needs a vector or a matrix on the right, got a scalar"),
        ("solve(A, b)", {"A": (2, 3, 3), "b": (4, 3, 1)}, "their batch axes do not broadcast"),
        ("trace(A)", {"A": (2, 2, 2)}, "trace needs a matrix, got shape (2, 2, 2)"),
        ("diag(A)", {"A": ()}, "diag makes a matrix of a vector or takes the diagonal of a matrix, got shape ()"),
        ("solve(A)", {"A": (3, 3)}, "solve takes 2 arguments, got 1"),
    ],
)
def test_shapes_that_do_not_fit_are_said_when_the_case_is_read(
    expression: str, shapes: Mapping[str, tuple[int, ...]], words: str
) -> None:
    """In words, with the shapes."""
    with pytest.raises(ExpressionError) as error:
        graph_from_expressions(shapes, {"f": f"sum({expression})"})
    assert words in str(error.value)


def test_a_matrix_without_entries_is_refused() -> None:
    """NumPy says that its determinant is 1; a gradient it has none."""
    with pytest.raises(ShapeError, match="a matrix without entries"):
        OPS["det"].shape((0, 0))


def test_what_sympy_cannot_expand_is_said_in_words() -> None:
    """A determinant of 8 rows has 40,320 terms, a factor of 14 rows 105 entries that hang together."""
    too_many = symbolic(alone("det", ((8, 8),)), ["a"])
    assert not isinstance(too_many, Symbolic)
    assert f"more than {MOST_MONOMIALS} terms" in too_many.reason
    too_wide = symbolic(alone("cholesky", ((14, 14),)), ["a"])
    assert not isinstance(too_wide, Symbolic)
    assert "solves for 105 entries at once" in too_wide.reason
    assert isinstance(symbolic(alone("inverse", ((10, 10),)), ["a"]), Symbolic)


@pytest.mark.parametrize("op", SQUARE)
def test_steps_of_central_differences_are_bounded(op: str) -> None:
    """The ball forms have third coefficients over an interval, so that truncation is."""
    shapes = ((3, 3), (3,))[: OPS[op].arity]
    graph = alone(op, shapes)
    operands = dict(zip("ab", drawn(op, shapes, 1), strict=False))
    x = operands["a"][0, 1, 0]
    steps = StepBounds(graph).point(operands, {"y": np.ones((1, *graph.shape("y")))}).at("a", (1, 0))
    [bound] = steps.bounds([x - 1e-5], [x + 1e-5])
    assert bound.reason == ""
    assert 0 < bound.total < 1e-5


# ------------------------------------------------------------------------------------------------ bounds of rounding


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("condition", [1.0, 1e3, 1e6, 1e12])
@pytest.mark.parametrize("size", [1, 2, 5])
def test_results_are_within_their_bounds_however_ill_conditioned(size: int, condition: float, dtype: Any) -> None:
    """The radius holds the error of what LAPACK gives, for the very matrix that the dtype holds."""
    a = with_condition(condition, size).astype(dtype)[None]
    for op in ("inverse", "det", "logabsdet", "cholesky"):
        ball = OPS[op].forward(Balls.exact(a))
        with mpmath.workdps(60):
            try:
                known = by_loops(op, exact(a[0]))
            except (TypeError, ZeroDivisionError):
                continue  # the dtype made it indefinite: mpmath's root is complex
            for value, radius, true in zip(ball.value[0].flat, ball.radius[0].flat, np.ravel(known), strict=True):
                assert mpmath.im(true) != 0 or np.isinf(radius) or abs(value - true) <= radius


def test_radii_of_operands_reach_the_result() -> None:
    """Every matrix inside the balls has its inverse, factor and determinant inside the results."""
    rng = np.random.default_rng(5)
    a, radius = with_condition(50.0) + np.eye(3), np.full((3, 3), 1e-3)
    inside = a + radius * rng.uniform(-1, 1, (200, 3, 3))
    for op in ("inverse", "det", "logabsdet", "cholesky"):
        ball = OPS[op].forward(Balls(a[None], radius[None]))
        off = np.abs(OPS[op].forward(inside) - ball.value)
        assert (off <= ball.radius).all()
        assert (off > 1e-3 * ball.radius).any()  # not idle
    wide = Balls(a[None], np.full((1, 3, 3), 1.0))
    assert np.isinf(OPS["inverse"].forward(wide).radius).all()


def test_a_bound_that_is_too_small_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Twin: without the residual's rounding the same check fails."""
    monkeypatch.setattr(matrix_bounds, "inverse_radius", lambda *parts: np.zeros_like(parts[2]))
    with pytest.raises(AssertionError):
        test_results_are_within_their_bounds_however_ill_conditioned(5, 1e6, np.float64)


def test_heads_of_series_are_the_values() -> None:
    """A series that moves has the value of the balls as its head, for minors and for the factorised form."""
    for size in (3, 8):
        (a,) = drawn("det", ((size, size),), 1)
        with precision(200):
            balls = np.asarray(np.frompyfunc(arb, 1, 1)(a[0]), dtype=object)
            moving = balls.copy()
            moving[0, 1] = arb_series([balls[0, 1], 1])
            form = OPS["det"].ball
            assert form is not None
            still, moved = form(balls), form(moving)
            assert still.overlaps(head(moved))
            slope = arb(float(cofactors(a)[0, 0, 1]))
            assert abs(moved[1] - slope) < 1e-9 * abs(slope) + 1e-9

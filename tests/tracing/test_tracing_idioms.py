"""Functions as people's files have them: each is traced, and the graph's gradient is that of the function."""

# ruff: noqa: D103 - each function is an idiom, and its name says which
from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import scipy.linalg
import scipy.special

from verify.methods.reverse import Reverse
from verify.oracle.check import check_gradient
from verify.places.points import own_points
from verify.tracing.trace import Traced, traced_or_reason
from verify.words import Verdict

RNG = np.random.default_rng(11)


def normal(*shape: int) -> Any:
    return RNG.normal(size=shape)


def convolution(x: Any, w: Any, b: Any) -> Any:
    n, f, size = x.shape[0], w.shape[0], w.shape[2]
    padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)), mode="constant")
    rows = padded.shape[2] - size + 1
    out = np.zeros((n, f, rows, rows))
    for k in range(n):
        for c in range(f):
            for i in range(rows):
                for j in range(rows):
                    out[k, c, i, j] = np.sum(padded[k, :, i : i + size, j : j + size] * w[c]) + b[c]
    return out


def columns(x: Any, w: Any) -> Any:
    cols = np.zeros((4, 4))
    for i in range(2):
        for j in range(2):
            cols[:, i * 2 + j] = x[i : i + 2, j : j + 2].reshape(-1)
    return (w.reshape(1, -1) @ cols).reshape(2, 2)


def pool_by_place(x: Any) -> Any:
    out = np.zeros((2, 2))
    for i in range(2):
        for j in range(2):
            window = x[2 * i : 2 * i + 2, 2 * j : 2 * j + 2].reshape(-1)
            out[i, j] = window[window.argmax()]
    return out


def recurrent(x: Any, h0: Any, W: Any) -> Any:
    h, previous = np.zeros((3, 2)), h0
    for t in range(3):
        previous = np.tanh(x[t] + previous.dot(W))
        h[t, :] = previous
    return h


def gates(a: Any) -> Any:
    def sigmoid(x: Any) -> Any:
        positive, negative = x >= 0, x < 0
        z = np.zeros_like(x)
        z[positive], z[negative] = np.exp(-x[positive]), np.exp(x[negative])
        top = np.ones_like(x)
        top[negative] = z[negative]
        return top / (1 + z)

    i, f, o, g = np.hsplit(a, 4)
    c = sigmoid(f) * 0.5 + sigmoid(i) * np.tanh(g)
    return sigmoid(o) * np.tanh(c)


def hinge(W: Any, X: Any, y: Any) -> Any:
    dW, loss = np.zeros(W.shape), 0.0
    for i in range(X.shape[0]):
        scores = X[i].dot(W)
        for j in range(W.shape[1]):
            margin = scores[j] - scores[y[i]] + 1
            if j != y[i] and margin > 0:
                loss += margin
                dW[:, j] += X[i]
    return loss / X.shape[0] + 0.1 * np.sum(W * W)


def cross_entropy(x: Any, y: Any) -> Any:
    p = np.exp(x - x.max(1, keepdims=True))
    p /= p.sum(1, keepdims=True)
    hot = np.zeros_like(x)
    hot[np.arange(3), y] = 1
    d = p.copy()
    d[np.arange(3), y] -= 1
    return -np.sum(hot * np.log(p + 1e-12)) / 3


def elu(x: Any) -> Any:
    out = x.copy()
    out[x < 0] = np.exp(x[x < 0]) - 1
    return out


def cosine(x: Any) -> Any:
    lengths, found = np.sqrt((x**2).sum(axis=1)), np.zeros((3, 3))
    for i in range(3):
        for j in range(3):
            found[i, j] = x[i].dot(x[j]) / (lengths[i] * lengths[j])
    return found


def running(x: Any) -> Any:
    out, total = np.empty(4), 0.0
    for i, value in enumerate(x):
        total = 0.9 * total + value
        out[i] = total
    return out


def swapped(x: Any) -> Any:
    y = x.copy()
    y[[0, 1]] = y[[1, 0]]
    y[:, 0], y[:, 1] = y[:, 1].copy(), y[:, 0].copy()
    return y * x


def largest(x: Any) -> Any:
    best = -np.inf
    for value in x:
        if value > best:  # noqa: PLR1730 - as people write it
            best = value
    return best


def log_sum(x: Any) -> Any:
    total = -np.inf
    for value in x:
        total = np.logaddexp(total, value)
    return total


def option(S: Any, K: Any, T: Any) -> Any:
    d1 = (math.log(S / K) + 0.07 * T) / (0.2 * math.sqrt(T))
    return S * 0.5 * (1 + math.erf(d1 / math.sqrt(2))) - K * math.exp(-0.05 * T) * scipy.special.ndtr(d1 - 0.2)


def guarded(x: Any) -> Any:
    try:
        return np.log(x).sum()
    except ValueError:
        return x.sum()


def parameters(x: Any, p: Any) -> Any:
    h = p["W"] @ x + p["b"][0]
    return np.maximum(h, 0) if p["act"] == "relu" else h


Idiom = tuple[Callable[..., Any], dict[str, Any]]

SHORT: list[Idiom] = [
    (convolution, {"x": normal(1, 2, 3, 3), "w": normal(2, 2, 3, 3), "b": normal(2)}),
    (columns, {"x": normal(3, 3), "w": normal(2, 2)}),
    (pool_by_place, {"x": normal(4, 4)}),
    (recurrent, {"x": normal(3, 2), "h0": normal(2), "W": normal(2, 2)}),
    (gates, {"a": normal(2, 8)}),
    (hinge, {"W": normal(3, 3), "X": normal(4, 3), "y": np.array([0, 2, 1, 1])}),
    (cross_entropy, {"x": normal(3, 4), "y": np.array([1, 0, 3])}),
    (elu, {"x": normal(5)}),
    (cosine, {"x": normal(3, 2)}),
    (running, {"x": normal(4)}),
    (swapped, {"x": normal(3, 4)}),
    (largest, {"x": normal(3)}),
    (log_sum, {"x": normal(4)}),
    (option, {"S": 100.0, "K": 95.0, "T": 1.5}),
    (guarded, {"x": np.abs(normal(3))}),
    (parameters, {"x": normal(3), "p": {"W": normal(3, 3), "b": [normal(3)], "act": "relu"}}),
]
FUNCTIONS: dict[str, Idiom] = {getattr(function, "__name__", ""): (function, at) for function, at in SHORT}
LINES: dict[str, Idiom] = {
    "row by row": (lambda x: np.apply_along_axis(lambda r: np.sum(r**2), 1, x), {"x": normal(2, 3)}),
    "entry by entry": (np.vectorize(lambda v: v * v if v > 0 else -v), {"x": normal(2)}),
    "quantile": (lambda x: np.percentile(x, 30) + np.quantile(x, 0.5), {"x": normal(6)}),
    "interpolated": (lambda x: np.interp(x, np.linspace(-3, 3, 7), np.linspace(-3, 3, 7) ** 2), {"x": normal(4)}),
    "convolved": (lambda x: np.convolve(x, np.array([1.0, 2.0, 1.0]), mode="same"), {"x": normal(5)}),
    "differences": (lambda x: np.gradient(x) + np.trapezoid(x**2), {"x": normal(5)}),
    "covariance": (lambda x: np.cov(x.T), {"x": normal(4, 2)}),
    "a sign and a logarithm": (lambda A: np.prod(np.linalg.slogdet(A)), {"A": normal(3, 3)}),
    "entries in a row": (lambda x: x.flat[4] * sum(v * v for v in x.flat), {"x": normal(2, 3)}),
    "SciPy's matrices": (
        lambda A, b: (
            scipy.linalg.cho_solve(scipy.linalg.cho_factor(A @ A.T + np.eye(3)), b)
            + scipy.linalg.solve_triangular(A, b, lower=True)
            + scipy.linalg.solve(A, b)
        ),
        {"A": normal(3, 3) + 3 * np.eye(3), "b": normal(3)},
    ),
    "least squares": (
        lambda A, b: np.linalg.lstsq(A, b, rcond=None)[0] + np.linalg.pinv(A) @ b,
        {"A": normal(4, 2), "b": normal(4)},
    ),
    "orthogonal columns": (lambda A: np.linalg.qr(A)[0] * np.asarray(np.linalg.qr(A)[1])[0, 1], {"A": normal(3, 2)}),
    "correlations": (np.corrcoef, {"x": normal(2, 4)}),
    "a grid": (lambda x: np.multiply(*np.meshgrid(x, x[:2])), {"x": normal(3)}),
    "a part in order": (lambda x: np.partition(x, 1)[:2] ** 2, {"x": normal(4)}),
    "by index": (lambda x: sum(v * (i + 2 * j) for (i, j), v in np.ndenumerate(x)), {"x": normal(2, 2)}),
    "from an iterator": (lambda x: np.fromiter((v * v for v in x), dtype=float), {"x": normal(3)}),
    "strides of one's own": (
        lambda x: np.lib.stride_tricks.as_strided(x, (2, 3), (x.strides[0],) * 2).sum(axis=1) ** 2,
        {"x": normal(4)},
    ),
    "the largest norm": (lambda x: np.linalg.norm(x, np.inf) * np.linalg.norm(x, 1), {"x": normal(3)}),
    "the smallest entry": (lambda x: np.linalg.norm(x, -np.inf), {"x": normal(3)}),
    "sums of columns and rows": (
        lambda x: sum(np.linalg.norm(x, order) * (order > 0 or 2) for order in (1, -1, np.inf, -np.inf)),
        {"x": normal(2, 3)},
    ),
    "a matrix norm that stays a matrix": (lambda x: np.linalg.norm(x, 1, None, keepdims=True), {"x": normal(2, 3)}),
    "a sum of some": (lambda x: np.sum(x**2, where=x > 0), {"x": normal(4)}),
    "special functions": (
        lambda x: (
            scipy.special.digamma(x)
            + scipy.special.polygamma(2, x)
            + scipy.special.betaln(x, 2.0)
            + scipy.special.i0(x)
            + scipy.special.i1e(x)
            + scipy.special.erfinv(x / 4)
            + scipy.special.ndtri(x / 4)
        ),
        {"x": np.abs(normal(3)) + 0.3},
    ),
    "a table of flags": (lambda x: x * (np.arange(4)[:, None] > np.arange(3)), {"x": normal(4, 3)}),
}
IDIOMS = FUNCTIONS | LINES


@pytest.mark.parametrize("name", IDIOMS)
def test_an_idiom_is_traced_to_the_same_function(name: str) -> None:
    """The engine's gradient of the graph is that of central differences of the function itself."""
    function, at = IDIOMS[name]
    traced = traced_or_reason(function, at)
    assert isinstance(traced, Traced), traced
    case, batch = traced.case, own_points(traced.case, 0)
    names = [item.name for item in case.real_inputs]
    found = Reverse(case.graph, names).differentiate(batch.inputs, batch.upstream).gradients
    upstream = batch.upstream[case.graph.outputs[0]][0]
    for variable in names:
        for index in np.ndindex(np.shape(at[variable])):
            ends = []
            for step in (1e-5, -1e-5):
                moved = np.array(at[variable], dtype=float)
                moved[index] += step
                given = {**at, variable: moved[()]}
                value = function(*given.values()) if isinstance(function, np.vectorize) else function(**given)
                ends.append(np.sum(value * upstream))
            assert found[variable][(0, *index)] == pytest.approx((ends[0] - ends[1]) / 2e-5, rel=1e-5, abs=1e-6)


def test_a_convolution_in_loops_is_proved_entry_by_entry() -> None:
    """What an entry does not reach costs nothing: all rows are proved, and one that is off by 1e-9 fails."""
    at = {"x": normal(2, 2, 4, 4), "w": normal(2, 2, 3, 3), "b": normal(2)}

    def backward(x: Any, w: Any, b: Any, upstream: Any, factor: float = 1.0) -> Any:
        padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))
        dpadded, dw = np.zeros_like(padded), np.zeros_like(w)
        for k, c, i, j in np.ndindex(upstream.shape):
            dw[c] += padded[k, :, i : i + 3, j : j + 3] * upstream[k, c, i, j]
            dpadded[k, :, i : i + 3, j : j + 3] += w[c] * upstream[k, c, i, j]
        dw[0, 0, 0, 0] *= factor
        return dpadded[:, :, 1:-1, 1:-1], dw, upstream.sum(axis=(0, 2, 3)) + 0 * b

    run = check_gradient(backward, convolution, at=at)
    assert run.ok
    assert run.cases[0].counts[Verdict.UNDECIDED] == 0
    assert sum(variable.proved for variable in run.cases[0].variables) == sum(map(np.size, at.values()))

    def wrong(x: Any, w: Any, b: Any, upstream: Any) -> Any:
        return backward(x, w, b, upstream, 1 + 1e-9)

    run = check_gradient(wrong, convolution, at=at, shrink=False)
    assert [("w", (0, 0, 0, 0))] == [(row.variable, row.entry) for row in run.cases[0].failing()]


@pytest.mark.parametrize("factor", [1.0, 1 + 1e-6])
@pytest.mark.parametrize("x", [-1.5, 1.5])
def test_a_row_for_positive_numbers_refuses_no_right_gradient_elsewhere(x: float, factor: float) -> None:
    """Digamma has slopes at negative numbers, of which its op knows nothing: they are measured there."""

    def function(x: Any) -> Any:
        return scipy.special.digamma(x)

    def gradient(x: Any, upstream: Any) -> Any:
        return upstream * factor * scipy.special.polygamma(1, x)

    run = check_gradient(gradient, function, at={"x": np.array([x])}, shrink=False)
    assert run.ok is (factor == 1.0)
    assert any("black box" in note for note in run.cases[0].notes) is (x < 0)


KNOTS, HEIGHTS = np.arange(-2.0, 4.0), np.array([1.0, -1.0, -1.0, 3.0, 3.0, 2.0])


def stretch(x: Any, i: Any) -> Any:
    """The straight line from one knot to the next."""
    return HEIGHTS[i] + (x - KNOTS[i]) * (HEIGHTS[i + 1] - HEIGHTS[i])


PLACED: dict[str, Callable[[Any], Any]] = {
    "interp": lambda x: np.interp(x, KNOTS, HEIGHTS),
    "digitize": lambda x: stretch(x, np.digitize(x, KNOTS) - 1),
    "searchsorted": lambda x: stretch(x, np.searchsorted(KNOTS, x) - 1),
    "floor": lambda x: stretch(x, np.floor(x).astype(int) + 2),
    "ceil": lambda x: stretch(x, np.ceil(x).astype(int) + 1),
    "int": lambda x: stretch(x, int(x) + 2),
    "a quotient": lambda x: stretch(x, int(x // 1.0) + 2),
    "a remainder": lambda x: stretch(x // 1.0 + x % 1.0, int(x // 1.0) + 2),
    "a loop": lambda x: next(stretch(x, i) for i in range(5) if x <= KNOTS[i + 1]),
}


def scaled(slope: float) -> Callable[..., Any]:
    """A gradient that is so much times what comes from above."""
    return lambda x, upstream: upstream * slope + 0 * x


@pytest.mark.parametrize("way", PLACED)
def test_a_choice_that_the_point_leaves_undecided_is_no_fact(way: str) -> None:
    """At a knot the slopes of both stretches and all between pass, and none beyond: the traced side is no fact."""
    for slope, passes in ((0.0, True), (4.0, True), (1.0, True), (-0.05, False), (4.05, False)):
        assert check_gradient(scaled(slope), PLACED[way], at={"x": 1.0}, points=0).ok is passes, slope


@pytest.mark.parametrize("way", PLACED)
def test_beside_a_knot_there_is_one_slope(way: str) -> None:
    """A billionth away the choice is one: what is off by 1e-6 fails."""
    for slope, passes in ((4.0, True), (4.000004, False), (0.0, False)):
        assert check_gradient(scaled(slope), PLACED[way], at={"x": 1 - 1e-9}, points=0).ok is passes, slope


def test_a_wave_of_triangles_has_two_slopes_at_its_foot() -> None:
    """Where its value is 0, too: what changes over one float is measured by what changes on a longer way."""
    for slope, passes in ((1.0, True), (-1.0, True), (1.05, False)):
        run = check_gradient(scaled(slope), lambda x: np.minimum(x % 1.0, 1 - x % 1.0), at={"x": 2.0}, points=0)
        assert run.ok is passes, slope


def test_a_step_is_no_knot() -> None:
    """Where the function itself jumps, the slope is that of the step it stands on."""
    for slope, passes in ((0.0, True), (1.0, False)):
        assert check_gradient(scaled(slope), lambda x: HEIGHTS[int(x)], at={"x": 3.0}, points=0).ok is passes

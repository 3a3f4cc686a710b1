"""NumPy as people write it is traced, held against the function at every point, and nothing is left behind."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import scipy.special

from verify.oracle.check import check_gradient
from verify.oracle.result import GradientRun
from verify.records import CaseResult
from verify.tracing.trace import trace, traced_or_reason
from verify.words import Verdict

RNG = np.random.default_rng(7)
V = np.array([1.0, -2.0, 0.5])
M = np.array([[0.5, -1.0, 2.0], [1.5, 0.25, -0.75]])


def is_measured(result: CaseResult) -> bool:
    """Whether nothing was proved of a result, for want of a graph."""
    return any("black box" in note for note in result.notes)


def numeric(function: Callable[..., Any], at: dict[str, Any], upstream: Any) -> tuple[Any, ...]:
    """Central differences of the function itself, which know nothing of a trace."""
    found = []
    for name, value in at.items():
        slope = np.zeros(np.shape(value))
        for index in np.ndindex(np.shape(value)):
            ends = []
            for sign in (1, -1):
                moved = {k: np.array(x, dtype=float) if k == name else x for k, x in at.items()}
                moved[name][index] += sign * 1e-5
                ends.append(np.sum(np.asarray(function(**{k: np.copy(x)[()] for k, x in moved.items()})) * upstream))
            slope[index] = (ends[0] - ends[1]) / 2e-5
        found.append(slope)
    return tuple(found)


# ------------------------------------------------------------------------------------------------- what is written to


def filled(x: Any, W: Any) -> Any:
    """A loop that fills zeros."""
    y = np.zeros(2)
    for i in range(2):
        y[i] = np.sum(W[i] * x)
    return y


def added(x: Any) -> Any:
    """The same, with += on slices and rows."""
    out = np.zeros((2, 3))
    for i in range(2):
        out[i] += x[i] * x[1 - i]
        out[:, 1] += x[:, 0]
    return out


def nested(x: Any) -> Any:
    """Rows of rows, a list of expressions, a stack."""
    out = np.empty_like(x)
    for i in range(2):
        row = out[i]
        for j in range(3):
            row[j] = x[i][j] ** 2
        out[i][0] = x[i, 1]
    return np.stack([out[0], np.array([x[0, 0] * x[1, 1], 1.0, 2 * x[0, 2]])])


def masked(x: Any) -> Any:
    """Masks as index and as assignment, and as numbers."""
    m = x * 2.0
    m[m < 0] = 0.0
    z = np.zeros_like(x)
    positive = x > 0
    z[positive] = np.exp(-x[positive])
    z[~positive] = 3.0 * x[~positive]
    return m + z + (x > 0.1) * x + np.where((x > -3) & (x < 1.5), x, 0.0)


def scattered(x: Any) -> Any:
    """Places that are named twice: added twice by add.at, once by +=."""
    a, b = np.zeros(4), np.zeros(4)
    index = np.array([0, 2, 2])
    np.add.at(a, index, x)
    b[index] += x
    return a * 3.0 + b


def recurrent(x: Any) -> Any:
    """Each step reads what the last one wrote."""
    h = np.zeros((4, 2))
    for t in range(3):
        h[t + 1] = np.tanh(h[t] + x[:, t])
    return h[1:]


def in_place(x: Any) -> Any:
    """Operators, out= and methods that change an array."""
    y = np.exp(x)
    y += x
    np.multiply(y, 2.0, out=y)
    y[...] *= x
    z = y.copy()
    z.fill(1.0)
    z[0] = y[1]
    return y * z + np.divide(x, 2.0, out=np.zeros_like(x), where=np.array([True, False, True]))


def chosen(x: Any) -> Any:
    """Places and orders by size."""
    best = np.argmax(x, axis=1)
    return x[np.arange(2), best] * np.sort(x, axis=1)[:, 0] + np.maximum.reduce([x[:, 0], x[:, 1]])


def builtin(x: Any) -> Any:
    """Python's own functions, and those of math."""
    total = 0.0
    for value in x:
        total += math.sin(value) * float(value) + max(value, 0.25) + math.sqrt(abs(value))
    return total + sum([x[0].item(), x[1]]) + math.prod([x[0], x[1]])


def branching(x: Any) -> Any:
    """More branches on values than are followed."""
    loss = 0.0
    for i in range(2):
        for j in range(3):
            margin = x[i, j] - 0.3 * x[i, 0] * x[i, 0]
            if margin > 0:
                loss += margin * x[i, 2]
    return loss


def newton(x: Any) -> Any:
    """A loop until it is exact enough."""
    root = x
    while abs(root * root - x) > 1e-12:
        root = 0.5 * (root + x / root)
    return root


class Layer:
    """A layer object, with a helper method, constants and a cache."""

    def __init__(self) -> None:
        self.scale, self.cache = np.array([1.0, 2.0, 3.0]), None

    def _fill(self, x: Any) -> Any:
        out = np.zeros(3)
        for i in range(3):
            out[i] = x[i] * self.scale[i] ** 2
        return out

    def forward(self, x: Any) -> Any:
        """The output; the input is kept."""
        self.cache = x
        return self._fill(x) + x


class Scaled(Layer):
    """A layer that is built on another."""

    def _fill(self, x: Any) -> Any:
        out = super()._fill(x)
        out[0] *= x[1]
        return out

    def __call__(self, x: Any) -> Any:
        """As the layers of frameworks are called."""
        return super().forward(x) * 2.0


LAYER = Layer()

WRITTEN: dict[str, tuple[Callable[..., Any], dict[str, Any]]] = {
    "filled": (filled, {"x": V, "W": M}),
    "added": (added, {"x": M}),
    "nested": (nested, {"x": M}),
    "masked": (masked, {"x": V}),
    "scattered": (scattered, {"x": V}),
    "recurrent": (recurrent, {"x": M}),
    "in place": (in_place, {"x": V}),
    "chosen": (chosen, {"x": M}),
    "builtin": (builtin, {"x": V}),
    "branching": (branching, {"x": M}),
    "newton": (newton, {"x": 2.0}),
    "a layer object": (LAYER.forward, {"x": V}),
    "a layer that is called": (Scaled(), {"x": V}),
    "a layer made inside": (lambda x: Scaled()(x) + x, {"x": V}),
    "pads": (lambda x: np.pad(x, 1, mode="edge") * np.pad(x, 1, constant_values=2.0), {"x": V}),
    "windows": (lambda x: np.lib.stride_tricks.sliding_window_view(x, 2).sum(axis=1), {"x": V}),
    "splits": (lambda x: np.hsplit(x, 3)[1] * np.atleast_2d(x)[0, :1], {"x": M}),
    "blocks": (lambda x: np.block([[x, 2 * x], [x * x, x]]), {"x": M}),
    "counts with weights": (lambda x: np.bincount(np.array([0, 1, 1]), weights=x) ** 2, {"x": V}),
    "a draw that is seeded": (lambda x: x * (np.random.default_rng(3).random(3) < 0.5) / 0.5 + x, {"x": V}),
    "an outer sum": (lambda x: np.add.outer(x, x) ** 2, {"x": V}),
    "lists as arrays": (lambda x: np.sum([x, 2 * x], axis=0) * np.exp([x[0], x[1], 1.0]), {"x": V}),
    "flags": (lambda x: x * (x > 0).astype(float) + np.sum(x > 0) * x, {"x": V}),
    "what is not needed": (lambda x: (np.array([float(np.sum(x))]), x * x)[1], {"x": V}),
}  # fmt: skip


@pytest.mark.parametrize("name", WRITTEN)
def test_what_people_write_is_traced_and_proved(name: str) -> None:
    """The right gradient passes with a proof, and the same off by a millionth fails."""
    function, at = WRITTEN[name]
    traced = traced_or_reason(function, at)
    assert not isinstance(traced, str), traced
    engine = traced.case

    def gradient(factor: float) -> GradientRun:
        from verify.methods.reverse import Reverse
        from verify.places.points import own_points

        batch = own_points(engine, 0)
        names = [item.name for item in engine.real_inputs]

        def answer(*args: Any, upstream: Any) -> Any:
            given = {k: np.asarray(v)[None] for k, v in zip(at, args, strict=True)}
            inputs = {k: given.get(k, x) for k, x in batch.inputs.items()}
            seeds = {engine.graph.outputs[0]: np.asarray(upstream)[None]}
            found = Reverse(engine.graph, names).differentiate(inputs, seeds).gradients
            return tuple(found[k][0] * factor for k in names)

        return check_gradient(answer, function, at=at, points=0, shrink=False)

    right, wrong = gradient(1.0), gradient(1 + 1e-6)
    assert right.ok
    assert not is_measured(right.cases[0])
    assert all(np.isfinite(np.asarray(variable.rows.reference)).all() for variable in right.cases[0].variables)
    assert not wrong.ok
    upstream = np.random.default_rng(0).normal(size=np.shape(function(**at)))
    from verify.methods.reverse import Reverse
    from verify.places.points import own_points

    batch = own_points(engine, 0)
    names = [item.name for item in engine.real_inputs]
    found = (
        Reverse(engine.graph, names).differentiate(batch.inputs, {engine.graph.outputs[0]: upstream[None]}).gradients
    )
    for variable, slope in zip(names, numeric(function, at, upstream), strict=True):
        np.testing.assert_allclose(found[variable][0], slope, rtol=1e-6, atol=1e-7)


# ---------------------------------------------------------------------------------- a trace that is another function


def by_kind(x: Any) -> Any:
    """Branches on what only a number is."""
    if isinstance(x, float) and x < 0:
        return -x
    return x**2


def by_type(x: Any) -> Any:
    """The same where a stand-in is found out."""
    if type(x) in (float, np.float64) and x < 0:
        return -x
    return x**2


def by_exception(x: Any) -> Any:
    """The same by what only a number survives."""
    try:
        is_negative = str(float(x)).startswith("-")
    except TypeError:
        is_negative = False
    return -x if is_negative else x**2


@pytest.mark.parametrize("function", [by_kind, by_type, by_exception])
def test_a_branch_that_the_trace_cannot_see_is_found_at_the_points(function: Callable[..., Any]) -> None:
    """The gradient of the one branch fails for the other's sake, and that of both passes."""
    options: dict[str, Any] = {"at": {"x": 3.0}, "domain": {"x": (-5, 5)}, "shrink": False}
    assert not check_gradient(lambda x: 2 * x, function, **options).ok
    right = check_gradient(lambda x: 2 * x if x >= 0 else -1.0, function, **options)
    assert right.ok
    assert not is_measured(right.cases[0])


def test_points_beyond_a_branch_are_traced_anew() -> None:
    """More branches than are followed: what is wrong on the other side alone fails, and it is said."""

    def loss(x: Any) -> Any:
        total = 0.0
        for value in x:
            if value > 0.2:
                total += value**2
        return total

    def right(x: Any) -> Any:
        return np.where(x > 0.2, 2 * x, 0.0)

    def wrong(x: Any) -> Any:
        return 2 * x

    at = {"x": np.array([0.5, 1.5, 2.5, 0.9])}
    run = check_gradient(right, loss, at=at, domain={"x": (-1, 3)}, shrink=False)
    assert run.ok
    assert any("takes other branches at" in note for note in run.cases[0].notes)
    assert any("a branch on a value" in note for note in run.cases[0].notes)
    assert len(run.cases) > 1
    assert check_gradient(wrong, loss, at=at).ok
    assert not check_gradient(wrong, loss, at=at, domain={"x": (-1, 3)}, shrink=False).ok


def test_points_of_both_branches_are_each_traced() -> None:
    """Own points that no one trace holds for."""

    def count(x: Any) -> Any:
        return sum(x[i] ** (i + 1) for i in range(4) if x[i] > 0)

    def right(x: Any) -> Any:
        return np.array([(i + 1) * x[i] ** i if x[i] > 0 else 0.0 for i in range(4)])

    points = [{"x": np.array([1.0, 2.0, 3.0, 4.0])}, {"x": np.array([1.0, -2.0, 3.0, -4.0])}]
    run = check_gradient(right, count, at=points)
    assert run.ok
    assert len(run.cases) == 2
    assert not any(map(is_measured, run.cases))
    assert not check_gradient(lambda x: 1.000001 * right(x), count, at=points).ok


def test_a_branch_that_is_followed_has_its_kink() -> None:
    """At the point where it changes, what lies between the slopes is a subgradient, and what does not fails."""

    def size(x: Any) -> Any:
        if x > 0:
            return x
        return -x

    assert trace(size, x=1.0).expressions == {"size": "where(x > 0, x, -x)"}
    assert check_gradient(lambda x: 0.5 + 0 * x, size, at={"x": 0.0}).ok
    assert not check_gradient(lambda x: 1.5 + 0 * x, size, at={"x": 0.0}).ok


# ------------------------------------------------------------------------------------------ entries that are left out

CAUSAL = np.tril(np.ones((3, 3), dtype=bool))
HEADS = {"Q": RNG.normal(size=(3, 2)), "K": RNG.normal(size=(3, 2)), "V": RNG.normal(size=(3, 2))}


def softmax(s: Any) -> Any:
    """By rows."""
    e = np.exp(s - s.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def chosen_by_where(s: Any, fill: float) -> Any:
    """As most people write it."""
    return softmax(np.where(CAUSAL, s, fill))


def written_by_mask(s: Any, fill: float) -> Any:
    """In place."""
    s[~CAUSAL] = fill
    return softmax(s)


def added_mask(s: Any, fill: float) -> Any:
    """As frameworks do."""
    return softmax(s + np.triu(np.full((3, 3), fill), 1))


def by_scipy(s: Any, fill: float) -> Any:
    """With a function of SciPy's."""
    return scipy.special.softmax(np.where(CAUSAL, s, fill), axis=1)


@pytest.mark.parametrize("fill", [-np.inf, -1e30, -1e9])
@pytest.mark.parametrize("weights", [chosen_by_where, written_by_mask, added_mask, by_scipy])
def test_masked_attention_is_proved(weights: Callable[..., Any], fill: float) -> None:
    """Whatever excludes the later entries; a gradient off by 1e-9 fails."""

    def attention(Q: Any, K: Any, V: Any) -> Any:
        return weights(Q @ K.T / np.sqrt(2.0), fill) @ V

    def gradient(Q: Any, K: Any, V: Any, upstream: Any, factor: float = 1.0) -> Any:
        p = softmax(np.where(CAUSAL, Q @ K.T / np.sqrt(2.0), -np.inf))
        dp = upstream @ V.T
        ds = p * (dp - (dp * p).sum(axis=1, keepdims=True)) / np.sqrt(2.0)
        return ds @ K * factor, ds.T @ Q, p.T @ upstream

    run = check_gradient(gradient, attention, at=HEADS)
    assert run.ok
    assert not is_measured(run.cases[0])
    assert run.cases[0].counts[Verdict.UNDECIDED] == 0

    def wrong(Q: Any, K: Any, V: Any, upstream: Any) -> Any:
        return gradient(Q, K, V, upstream, 1 + 1e-9)

    assert not check_gradient(wrong, attention, at=HEADS, shrink=False).ok


def test_what_is_infinite_and_counts_is_said() -> None:
    """A sum with an infinite entry is no number: the place, and what to do."""
    reason = traced_or_reason(lambda x: np.sum(np.where(np.arange(3) > 0, x, np.inf)), {"x": V})
    assert isinstance(reason, str)
    assert "infinite number" in reason


# -------------------------------------------------------------------------------------------------- nothing is left


def test_the_users_objects_are_as_before() -> None:
    """A dictionary that the function writes into, a closure, an attribute: no tracer stays, and no change."""
    state: dict[str, Any] = {"mean": np.zeros(3)}
    seen: list[Any] = []

    def norm(x: Any, bn: Any) -> Any:
        bn["mean"] = 0.9 * bn.get("mean", 0) + 0.1 * x.mean(axis=0)
        state["mean"] *= 0.5
        state["last"] = x
        seen.append(x)
        return (x - x.mean(axis=0)) / np.sqrt(x.var(axis=0) + 1e-5)

    bn = {"mean": np.ones(3)}
    case = traced_or_reason(norm, {"x": M, "bn": bn})
    assert not isinstance(case, str)
    assert bn.keys() == {"mean"}
    assert np.array_equal(bn["mean"], np.ones(3))
    assert state.keys() == {"mean"}
    assert np.array_equal(state["mean"], np.zeros(3))
    assert seen == []
    layer = Layer()
    assert check_gradient(lambda x, upstream: upstream * (layer.scale**2 + x / x), layer.forward, at={"x": V}).ok
    assert layer.cache is None


def test_nothing_of_numpy_is_patched_meanwhile() -> None:
    """Another thread sees NumPy as it is while a trace runs, and so does whoever comes after an exception."""
    started, go_on = threading.Event(), threading.Event()
    zeros = np.zeros

    def slow(x: Any) -> Any:
        out = np.zeros(3)
        started.set()
        go_on.wait(10)
        out[0] = x[0] ** 2
        return out

    thread = threading.Thread(target=lambda: trace(slow, x=V))
    thread.start()
    started.wait(10)
    seen = type(np.zeros(3)), np.zeros is zeros
    go_on.set()
    thread.join()
    assert seen == (np.ndarray, True)

    def failing(x: Any) -> Any:
        np.zeros(3)[0] = x[0]
        raise RuntimeError("on purpose")

    with pytest.raises(Exception, match="on purpose"):
        trace(failing, x=V)
    assert np.zeros is zeros
    assert type(np.zeros(3)) is np.ndarray

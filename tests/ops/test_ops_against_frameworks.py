"""Values and VJPs of elementwise rows against torch's and autograd's, where they have the op."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest

from verify.case.expression import graph_from_expressions
from verify.methods.reverse import value_and_gradient

POINTS: Mapping[str, Any] = {
    "a": np.array([-2.3, -0.7, 0.4, 1.9, 3.2]),
    "b": np.array([0.6, -1.4, 2.2, -0.3, 1.1]),
    "p": np.array([0.05, 0.3, 0.8, 2.5, 40.0]),
    "u": np.array([-0.9, -0.4, 1e-6, 0.7, 0.95]),
}
"""Anything, anything else, above 0, and between -1 and 1, but not where torch's own ``1 - a**2`` loses digits."""

ROWS: Mapping[str, tuple[Callable[..., Any], Callable[..., Any] | None]] = {
    "expm1(a)": (lambda t, x: t.expm1(x["a"]), lambda n, x: n.expm1(x["a"])),
    "log1p(p)": (lambda t, x: t.log1p(x["p"]), lambda n, x: n.log1p(x["p"])),
    "log2(p)": (lambda t, x: t.log2(x["p"]), lambda n, x: n.log2(x["p"])),
    "log10(p)": (lambda t, x: t.log10(x["p"]), lambda n, x: n.log10(x["p"])),
    "softplus(a)": (
        lambda t, x: t.nn.functional.softplus(x["a"], threshold=700),
        lambda n, x: n.logaddexp(0.0, x["a"]),
    ),
    "sinh(a)": (lambda t, x: t.sinh(x["a"]), lambda n, x: n.sinh(x["a"])),
    "cosh(a)": (lambda t, x: t.cosh(x["a"]), lambda n, x: n.cosh(x["a"])),
    "arcsinh(a)": (lambda t, x: t.asinh(x["a"]), lambda n, x: n.arcsinh(x["a"])),
    "arccosh(p + 1)": (lambda t, x: t.acosh(x["p"] + 1), lambda n, x: n.arccosh(x["p"] + 1)),
    "arctanh(u)": (lambda t, x: t.atanh(x["u"]), lambda n, x: n.arctanh(x["u"])),
    "sin(a)": (lambda t, x: t.sin(x["a"]), lambda n, x: n.sin(x["a"])),
    "cos(a)": (lambda t, x: t.cos(x["a"]), lambda n, x: n.cos(x["a"])),
    "tan(a)": (lambda t, x: t.tan(x["a"]), lambda n, x: n.tan(x["a"])),
    "arcsin(u)": (lambda t, x: t.asin(x["u"]), lambda n, x: n.arcsin(x["u"])),
    "arccos(u)": (lambda t, x: t.acos(x["u"]), lambda n, x: n.arccos(x["u"])),
    "arctan(a)": (lambda t, x: t.atan(x["a"]), lambda n, x: n.arctan(x["a"])),
    "arctan2(a, b)": (lambda t, x: t.atan2(x["a"], x["b"]), lambda n, x: n.arctan2(x["a"], x["b"])),
    "square(a)": (lambda t, x: t.square(x["a"]), lambda n, x: n.square(x["a"])),
    "reciprocal(a)": (lambda t, x: t.reciprocal(x["a"]), lambda n, x: n.reciprocal(x["a"])),
    "erf(a)": (lambda t, x: t.erf(x["a"]), None),
    "erfc(a)": (lambda t, x: t.erfc(x["a"]), None),
    "gamma(p)": (lambda t, x: t.exp(t.lgamma(x["p"])), None),
    "lgamma(p)": (lambda t, x: t.lgamma(x["p"]), None),
    "floor(a) * a": (lambda t, x: t.floor(x["a"]) * x["a"], None),
    "ceil(a) * a": (lambda t, x: t.ceil(x["a"]) * x["a"], None),
    "clip(a, -1, 2)": (lambda t, x: t.clamp(x["a"], -1, 2), lambda n, x: n.clip(x["a"], -1, 2)),
    "clip(a, -0.7, 1.9)": (lambda t, x: t.clamp(x["a"], -0.7, 1.9), None),
    "leaky_relu(a, 0.2)": (lambda t, x: t.nn.functional.leaky_relu(x["a"], 0.2), None),
    "leaky_relu(a)": (lambda t, x: t.nn.functional.leaky_relu(x["a"]), None),
    "elu(a)": (lambda t, x: t.nn.functional.elu(x["a"]), None),
    "elu(a, 0.3)": (lambda t, x: t.nn.functional.elu(x["a"], 0.3), None),
    "where(a > b, a * b, sin(b))": (
        lambda t, x: t.where(x["a"] > x["b"], x["a"] * x["b"], t.sin(x["b"])),
        lambda n, x: n.where(x["a"] > x["b"], x["a"] * x["b"], n.sin(x["b"])),
    ),
    "where(a <= 0.4, exp(a), p)": (
        lambda t, x: t.where(x["a"] <= 0.4, t.exp(x["a"]), x["p"]),
        lambda n, x: n.where(x["a"] <= 0.4, n.exp(x["a"]), x["p"]),
    ),
}
"""Formula -> the same in torch, and in autograd where it has it. One point of clip and of where lies on a tie."""


def ours(formula: str) -> tuple[Any, dict[str, Any]]:
    """Value and gradient of the sum by all inputs."""
    graph = graph_from_expressions(
        {name: x.shape for name, x in POINTS.items()}, {"f": f"{formula} + 0 * (a + b + p + u)"}
    )
    value, gradient = value_and_gradient(graph, {name: x[None] for name, x in POINTS.items()})
    return value["f"][0], {name: g[0] for name, g in gradient.items()}


def differs(ours: Any, theirs: Any) -> bool:
    """Whether two arrays differ by more than a few units in the last place."""
    return not np.allclose(ours, theirs, rtol=2e-13, atol=1e-300)


@pytest.mark.parametrize("formula", ROWS)
def test_rows_are_those_of_torch(formula: str) -> None:
    """Value and gradient, at ties too: the first convention of each row is torch's; and a wrong figure is seen."""
    torch = pytest.importorskip("torch")
    inputs = {name: torch.tensor(x, requires_grad=True) for name, x in POINTS.items()}
    y = ROWS[formula][0](torch, inputs)
    y.sum().backward()
    value, gradient = ours(formula)
    assert not differs(value, y.detach().numpy())
    assert differs(value * (1 + 1e-12), y.detach().numpy())
    for name, x in inputs.items():
        expected = np.zeros(x.shape) if x.grad is None else x.grad.numpy()
        assert not differs(gradient[name], expected), name


@pytest.mark.parametrize("formula", [formula for formula, (_, other) in ROWS.items() if other is not None])
def test_rows_are_those_of_autograd(formula: str) -> None:
    """Value and gradient in HIPS autograd."""
    autograd = pytest.importorskip("autograd")
    anp = pytest.importorskip("autograd.numpy")
    function = ROWS[formula][1]
    assert function is not None
    value, gradient = ours(formula)
    assert not differs(value, function(np, POINTS))
    found = autograd.grad(lambda x: anp.sum(function(anp, x)))(dict(POINTS))
    for name in POINTS:
        assert not differs(gradient[name], found[name]), name

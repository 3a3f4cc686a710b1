"""Values and gradients of the rows that work on arrays against torch's and autograd's, where they have the op."""

# ruff: noqa: ARG005 - every function of a table takes all inputs

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest

from verify.case.expression import graph_from_expressions
from verify.methods.reverse import value_and_gradient

A = np.random.default_rng(0).uniform(0.3, 2.0, (2, 3)) * np.array([[1, -1, 1], [-1, 1, 1]])
B = np.random.default_rng(1).normal(size=(3, 4))
C = np.random.default_rng(2).normal(size=(2, 3))
S = np.random.default_rng(3).normal(size=(4, 2, 3))
POINT: Mapping[str, Any] = {"A": A, "B": B, "C": C, "S": S}

TORCH: Mapping[str, Callable[..., Any]] = {
    "sum(A, axis=1)": lambda t, a, b, c, s: t.sum(a, dim=1),
    "mean(S, axis=(0, 2), keepdims=True)": lambda t, a, b, c, s: t.mean(s, dim=(0, 2), keepdim=True),
    "prod(A, axis=0)": lambda t, a, b, c, s: t.prod(a, dim=0),
    "var(A)": lambda t, a, b, c, s: t.var(a, correction=0),
    "std(S, axis=(1, 2), ddof=1)": lambda t, a, b, c, s: t.std(s, dim=(1, 2)),
    "norm(A, axis=1)": lambda t, a, b, c, s: t.linalg.vector_norm(a, dim=1),
    "norm(S)": lambda t, a, b, c, s: t.linalg.vector_norm(s),
    "cumsum(S, axis=1)": lambda t, a, b, c, s: t.cumsum(s, dim=1),
    "cumprod(A, axis=1)": lambda t, a, b, c, s: t.cumprod(a, dim=1),
    "logsumexp(A, axis=0)": lambda t, a, b, c, s: t.logsumexp(a, dim=0),
    "softmax(S, axis=2)": lambda t, a, b, c, s: t.softmax(s, dim=2),
    "log_softmax(A, axis=1)": lambda t, a, b, c, s: t.log_softmax(a, dim=1),
    "max(A, axis=1)": lambda t, a, b, c, s: t.amax(a, dim=1),
    "amin(S, axis=(0, 1))": lambda t, a, b, c, s: t.amin(s, dim=(0, 1)),
    "dot(A, B)": lambda t, a, b, c, s: t.mm(a, b),
    "dot(S, B)": lambda t, a, b, c, s: t.tensordot(s, b, dims=1),
    "S @ B": lambda t, a, b, c, s: s @ b,
    "A[0] @ B": lambda t, a, b, c, s: a[0] @ b,
    "S @ A[1]": lambda t, a, b, c, s: s @ a[1],
    "outer(A[0], B[0])": lambda t, a, b, c, s: t.outer(a[0], b[0]),
    'einsum("ij,jk->ki", A, B)': lambda t, a, b, c, s: t.einsum("ij,jk->ki", a, b),
    'einsum("nij,ij,j->n", S, A, C[0])': lambda t, a, b, c, s: t.einsum("nij,ij,j->n", s, a, c[0]),
    'einsum("ii->i", B[:, :3])': lambda t, a, b, c, s: t.einsum("ii->i", b[:, :3]),
    "reshape(S, (3, -1))": lambda t, a, b, c, s: t.reshape(s, (3, -1)),
    "ravel(S)": lambda t, a, b, c, s: t.ravel(s),
    "expand_dims(A, 1)": lambda t, a, b, c, s: t.unsqueeze(a, 1),
    "squeeze(S[:, :1])": lambda t, a, b, c, s: t.squeeze(s[:, :1]),
    "broadcast_to(A[:1], (5, 2, 3))": lambda t, a, b, c, s: t.broadcast_to(a[:1], (5, 2, 3)),
    "transpose(S, axes=(2, 0, 1))": lambda t, a, b, c, s: t.permute(s, (2, 0, 1)),
    "stack([A, C, A], axis=1)": lambda t, a, b, c, s: t.stack([a, c, a], dim=1),
    "concatenate([A, C], axis=1)": lambda t, a, b, c, s: t.cat([a, c], dim=1),
    "pad(A, ((1, 0), (2, 3)))": lambda t, a, b, c, s: t.nn.functional.pad(a, (2, 3, 1, 0)),
    "flip(S, axis=(0, 2))": lambda t, a, b, c, s: t.flip(s, dims=(0, 2)),
    "roll(S, 2, axis=1)": lambda t, a, b, c, s: t.roll(s, 2, dims=1),
    "roll(A, -2)": lambda t, a, b, c, s: t.roll(a, -2),
    "S[[3, 0, 3], 1]": lambda t, a, b, c, s: s[[3, 0, 3], 1],
    "S[..., [True, False, True]]": lambda t, a, b, c, s: s[..., [True, False, True]],
    "S[1:4:2, None, :, -1]": lambda t, a, b, c, s: s[1:4:2, None, :, -1],
}
"""Expression in A (2, 3), B (3, 4), C (2, 3) and S (4, 2, 3) -> the same in torch."""

AUTOGRAD: Mapping[str, Callable[..., Any]] = {
    "prod(A, axis=0)": lambda n, a, b, c, s: n.prod(a, axis=0),
    "var(S, axis=1)": lambda n, a, b, c, s: n.var(s, axis=1),
    "std(A, axis=1, ddof=1)": lambda n, a, b, c, s: n.std(a, axis=1, ddof=1),
    "norm(A)": lambda n, a, b, c, s: n.linalg.norm(a),
    "cumsum(A)": lambda n, a, b, c, s: n.cumsum(a),
    "amax(A, axis=0)": lambda n, a, b, c, s: n.max(a, axis=0),
    "amin(S)": lambda n, a, b, c, s: n.min(s),
    "dot(S, B)": lambda n, a, b, c, s: n.dot(s, b),
    "outer(A[0], C[1])": lambda n, a, b, c, s: n.outer(a[0], c[1]),
    'einsum("nij,jk->nki", S, B)': lambda n, a, b, c, s: n.einsum("nij,jk->nki", s, b),
    "A @ B": lambda n, a, b, c, s: n.matmul(a, b),
    "stack([A, C])": lambda n, a, b, c, s: n.stack([a, c]),
    "concatenate([A, C, A])": lambda n, a, b, c, s: n.concatenate([a, c, a]),
    "pad(A, ((1, 0), (0, 2)))": lambda n, a, b, c, s: n.pad(a, ((1, 0), (0, 2)), "constant"),
    "roll(S, 1, axis=0)": lambda n, a, b, c, s: n.roll(s, 1, axis=0),
    "reshape(S, (6, 4))": lambda n, a, b, c, s: n.reshape(s, (6, 4)),
    "S[:, [1, 1], 0]": lambda n, a, b, c, s: s[:, [1, 1], 0],
}
"""The same in autograd's NumPy."""


def ours(text: str, seed: np.ndarray[Any, Any]) -> tuple[Any, dict[str, Any]]:
    """Value and gradients of one expression at one point, for an upstream gradient."""
    graph = graph_from_expressions({name: x.shape for name, x in POINT.items()}, {"f": text})
    inputs = {name: x[None] for name, x in POINT.items()}
    values, gradients = value_and_gradient(graph, inputs, {"f": np.resize(seed, (1, *graph.shape("f")))})
    return values["f"][0], {name: gradient[0] for name, gradient in gradients.items()}


def differing(found: tuple[Any, Mapping[str, Any]], theirs: tuple[Any, Mapping[str, Any]]) -> list[str]:
    """What is not equal to about 13 digits."""
    (value, gradients), (their_value, their_gradients) = found, theirs
    pairs = {"value": (value, their_value), **{k: (gradients[k], their_gradients[k]) for k in POINT}}
    return [
        name
        for name, (x, y) in pairs.items()
        if x.shape != np.shape(y) or not np.allclose(x, y, rtol=1e-12, atol=1e-13)
    ]


SEED = np.random.default_rng(4).normal(size=240)


def by_torch(text: str) -> tuple[Any, dict[str, Any]]:
    """Value and gradients in torch."""
    torch = pytest.importorskip("torch")
    at = {name: torch.tensor(x, requires_grad=True) for name, x in POINT.items()}
    y = TORCH[text](torch, *at.values())
    y.backward(torch.tensor(np.resize(SEED, tuple(y.shape))))
    return y.detach().numpy(), {n: np.zeros(x.shape) if x.grad is None else x.grad.numpy() for n, x in at.items()}


@pytest.mark.parametrize("text", TORCH)
def test_it_is_torchs(text: str) -> None:
    """Value and every gradient, for a random upstream gradient."""
    theirs = by_torch(text)
    assert differing(ours(text, SEED), theirs) == []


def test_another_gradient_is_told_apart() -> None:
    """Twin: off by 1e-9 of itself, it is not torch's."""
    value, gradients = by_torch("softmax(S, axis=2)")
    off = (value, {**gradients, "S": gradients["S"] * (1 + 1e-9)})
    assert differing(ours("softmax(S, axis=2)", SEED), off) == ["S"]


@pytest.mark.parametrize("text", AUTOGRAD)
def test_it_is_autograds(text: str) -> None:
    """The same in autograd."""
    autograd = pytest.importorskip("autograd")
    numpy = pytest.importorskip("autograd.numpy")

    def contracted(point: Mapping[str, Any]) -> Any:
        y = AUTOGRAD[text](numpy, *point.values())
        return numpy.sum(y * np.resize(SEED, y.shape))

    gradients = autograd.grad(contracted)(dict(POINT))
    assert differing(ours(text, SEED), (AUTOGRAD[text](np, *POINT.values()), gradients)) == []

"""Functions of PyTorch and JAX, traced as they stand: their own gradients are proved, and a planted 1e-6 fails.

Each framework's tests skip without it.
"""

# ruff: noqa: ARG004, ARG005, E501, PLW0108 - functions of the frameworks are written as their users write them
from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

import numpy as np
import pytest

from verify.errors import UsageError, WrongGradientError
from verify.oracle.check import check_gradient
from verify.oracle.result import GradientRun
from verify.words import Verdict

pytestmark = pytest.mark.filterwarnings("ignore:.*:DeprecationWarning")  # of the frameworks' own code

SMALL = 1e-6
"""The relative fault that is planted into every gradient."""


def drawn(*shape: int, seed: int = 1) -> np.ndarray[Any, Any]:
    """Seeded normal numbers."""
    return np.random.default_rng([seed, *shape]).normal(size=shape)


def needs(name: str) -> Any:
    """The framework; the test is skipped where it is not installed."""
    return pytest.importorskip(name, reason=f"needs the extra: pip install 'verify-gradients[{name}]'")


def room(name: str) -> Any:
    """What is done with the functions of a framework."""
    return importlib.import_module(f"verify.programs.{name}_functions")


def planted(gradient: Callable[..., Any], variable: str) -> Callable[..., Any]:
    """A gradient with one variable off by a factor of 1 + 1e-6."""

    def wrong(**given: Any) -> Any:
        found = dict(gradient(**given))
        found[variable] = found[variable] * (1 + SMALL)
        return found

    wrong.__signature__ = gradient.__signature__  # type: ignore[attr-defined]
    return wrong


def is_black_box(run: GradientRun) -> bool:
    """Whether a run had to measure instead of proving."""
    return any("black box" in note for case in run.cases for note in case.notes)


def is_proved(run: GradientRun) -> bool:
    """Whether every row of a run was enclosed, or stands at a tie where every branch gives the same slope."""
    texts = [
        (variable.rows.radius, variable.rows, variable.rows.texts) for case in run.cases for variable in case.variables
    ]
    return not is_black_box(run) and all(
        all(np.isfinite(r) or "same slope" in said[rows.reason[i]] for i, r in enumerate(radius.tolist()))
        for radius, rows, said in texts
    )


# -------------------------------------------------------------------------------------------- functions as people write


def torch_functions() -> dict[str, tuple[Callable[..., Any], dict[str, Any]]]:
    """Functions of tensors, each with a point."""
    import torch
    from torch import nn
    from torch.nn import functional as F  # noqa: N812 - its usual name

    def rotary(q: Any) -> Any:
        steps, size = q.shape
        angle = torch.arange(steps)[:, None] / 10000 ** (torch.arange(0, size, 2, dtype=torch.float64) / size)
        a, b = q[:, ::2], q[:, 1::2]
        turned = [a * torch.cos(angle) - b * torch.sin(angle), a * torch.sin(angle) + b * torch.cos(angle)]
        return torch.stack(turned, -1).reshape(steps, size)

    def lstm(x: Any, h: Any, c: Any, W: Any, U: Any, b: Any) -> Any:
        i, f, g, o = (x @ W + h @ U + b).chunk(4, -1)
        kept = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
        return torch.sigmoid(o) * torch.tanh(kept)

    def mixture(alpha: Any, mu: Any, logs: Any, x: Any) -> Any:
        apart = (x[:, None, :] - mu) / logs.exp()
        logs_of = F.log_softmax(alpha, 0) - 0.5 * (apart * apart).sum(-1) - logs.sum(-1)
        return torch.logsumexp(logs_of, -1).sum()

    def written_out(x: Any) -> Any:
        """A softmax by hand, with the largest entry taken away."""
        e = torch.exp(x - x.amax(-1, keepdim=True))
        return e / e.sum(-1, keepdim=True)

    def filled(x: Any) -> Any:
        """Entries assigned one by one, and in place."""
        y = torch.zeros(3, dtype=x.dtype)
        for i in range(3):
            y[i] = x[i] * x[2 - i]
        y[1:] += torch.sin(x[1:])
        return y

    torch.manual_seed(0)
    rows = np.array([[0.1, 0.2, -0.3]])
    return {
        "mlp": (
            lambda x, W, b, V: torch.tanh(x @ W + b) @ V,
            {"x": drawn(3, 4), "W": drawn(4, 5), "b": drawn(5), "V": drawn(5, 2)},
        ),
        "layer norm": (lambda x, g, b: F.layer_norm(x, (4,), g, b), {"x": drawn(3, 4), "g": drawn(4), "b": drawn(4)}),
        "causal attention": (
            lambda q, k, v: F.scaled_dot_product_attention(q, k, v, is_causal=True),
            {"q": drawn(1, 2, 4, 3), "k": drawn(1, 2, 4, 3, seed=2), "v": drawn(1, 2, 4, 3, seed=3)},
        ),
        "conv, relu, pool": (
            lambda x, w, b: F.max_pool2d(F.relu(F.conv2d(x, w, b, padding=1)), 2),
            {"x": drawn(1, 2, 4, 4), "w": drawn(2, 2, 3, 3), "b": drawn(2)},
        ),
        "cross-entropy": (lambda z: F.cross_entropy(z, torch.tensor([0, 2, 1])), {"z": drawn(3, 4)}),
        "gelu": (F.gelu, {"input": drawn(4)}),
        "rms norm": (lambda x, g: F.rms_norm(x, (4,), g, 1e-6), {"x": drawn(3, 4), "g": drawn(4)}),
        "rotary": (rotary, {"q": drawn(3, 4)}),
        "lstm cell": (
            lstm,
            {"x": drawn(2, 3), "h": drawn(2, 2), "c": drawn(2, 2, seed=2), "W": drawn(3, 8), "U": drawn(2, 8), "b": drawn(8)},
        ),
        "mixture": (mixture, {"alpha": drawn(3), "mu": drawn(3, 2), "logs": 0.3 * drawn(3, 2, seed=2), "x": drawn(4, 2)}),
        "softmax by hand": (written_out, {"x": drawn(2, 3)}),
        "filled in a loop": (filled, {"x": drawn(3)}),
        "special functions": (
            lambda x: torch.special.i0e(x) * torch.special.i1(x) + torch.erfinv(x) ** 2 + torch.polygamma(2, x)
            + torch.special.i1e(x), {"x": np.array([0.3, 0.7])}
        ),
        "a module": (nn.Sequential(nn.Linear(3, 2), nn.Tanh()).double(), {"input": rows}),
        "group norm": (lambda x, w, b: F.group_norm(x, 2, w, b), {"x": drawn(2, 4, 3), "w": drawn(4), "b": drawn(4)}),
        "batch norm": (
            lambda x, w, b: F.batch_norm(x, None, None, w, b, True),
            {"x": drawn(4, 3), "w": drawn(3), "b": drawn(3)},
        ),
        "huber": (F.huber_loss, {"input": drawn(5), "target": 2 * drawn(5, seed=2)}),
        "triplet": (
            F.triplet_margin_loss,
            {"anchor": drawn(2, 3), "positive": drawn(2, 3, seed=2), "negative": drawn(2, 3, seed=3)},
        ),
        "transposed convolution": (
            lambda x, w: F.conv_transpose2d(x, w, stride=2, padding=1, output_padding=1),
            {"x": drawn(1, 2, 3, 3), "w": drawn(2, 3, 2, 2)},
        ),
        "dilated convolution": (
            lambda x, w: F.conv1d(x, w, dilation=2, padding=2), {"x": drawn(1, 2, 6), "w": drawn(3, 2, 3)}
        ),
        "depthwise convolution": (
            lambda x, w: F.conv2d(x, w, groups=3, stride=2), {"x": drawn(1, 3, 5, 5), "w": drawn(3, 1, 2, 2)}
        ),
        "padded pool": (lambda x: F.max_pool2d(x, 3, 2, 1), {"x": drawn(1, 1, 4, 4)}),
        "embedding": (lambda E: F.embedding(torch.tensor([0, 2, 2]), E).sum(0) ** 2, {"E": drawn(3, 2)}),
        "interpolated": (
            lambda x: F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False), {"x": drawn(1, 1, 3, 3)}
        ),
        "distances": (torch.cdist, {"x1": drawn(3, 2), "x2": drawn(2, 2)}),
        "solve": (lambda A, b: torch.linalg.solve(A + 4 * torch.eye(3), b), {"A": drawn(3, 3), "b": drawn(3)}),
        "determinant": (lambda A: torch.linalg.slogdet(A)[1], {"A": drawn(3, 3) + 3 * np.eye(3)}),
        "sorted": (lambda x: x.sort()[0] * torch.arange(4), {"x": drawn(4)}),
        "scattered": (
            lambda x: torch.zeros(3, dtype=torch.float64).scatter_add(0, torch.tensor([0, 1, 0, 2]), x) ** 2, {"x": drawn(4)}
        ),
        "softplus beyond its threshold": (F.softplus, {"input": np.array([19.9, 20.1, 25.0])}),
        "a normal density": (
            lambda x, s: torch.distributions.Normal(x, s.exp(), validate_args=False).log_prob(torch.tensor(0.3)), {"x": drawn(3), "s": drawn(3, seed=2)}
        ),
    }  # fmt: skip


def jax_functions() -> dict[str, tuple[Callable[..., Any], dict[str, Any]]]:
    """Functions of JAX's arrays, each with a point."""
    import jax
    from jax import lax
    from jax import numpy as jnp

    def attention(q: Any, k: Any, v: Any) -> Any:
        score = jnp.einsum("hid,hjd->hij", q, k) / jnp.sqrt(q.shape[-1])
        score = jnp.where(jnp.tril(jnp.ones(score.shape[-2:], bool)), score, -jnp.inf)
        return jnp.einsum("hij,hjd->hid", jax.nn.softmax(score, -1), v)

    def layer_norm(x: Any, g: Any, b: Any) -> Any:
        mean, spread = jnp.mean(x, -1, keepdims=True), jnp.var(x, -1, keepdims=True)
        return (x - mean) * lax.rsqrt(spread + 1e-5) * g + b

    def convolved(x: Any, w: Any, b: Any) -> Any:
        y = lax.conv_general_dilated(x, w, (1, 1), "SAME", dimension_numbers=("NCHW", "OIHW", "NCHW"))
        y = jax.nn.relu(y + b[None, :, None, None])
        return lax.reduce_window(y, -jnp.inf, lax.max, (1, 1, 2, 2), (1, 1, 2, 2), "VALID")

    def lstm(x: Any, h: Any, c: Any, W: Any, U: Any, b: Any) -> Any:
        i, f, g, o = jnp.split(x @ W + h @ U + b, 4, -1)
        kept = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
        return jax.nn.sigmoid(o) * jnp.tanh(kept)

    def recurrent(x: Any, h: Any, W: Any, U: Any) -> Any:
        def step(h: Any, row: Any) -> Any:
            h = jnp.tanh(row @ W + h @ U)
            return h, h

        return lax.scan(step, h, x)[1]

    def rotary(q: Any) -> Any:
        steps, size = q.shape
        angle = jnp.arange(steps)[:, None] / 10000 ** (jnp.arange(0, size, 2) / size)
        a, b = q[:, ::2], q[:, 1::2]
        turned = [a * jnp.cos(angle) - b * jnp.sin(angle), a * jnp.sin(angle) + b * jnp.cos(angle)]
        return jnp.stack(turned, -1).reshape(steps, size)

    labels = np.array([0, 2, 1])
    return {
        "mlp": (
            lambda x, W, b, V: jnp.tanh(x @ W + b) @ V,
            {"x": drawn(3, 4), "W": drawn(4, 5), "b": drawn(5), "V": drawn(5, 2)},
        ),
        "layer norm": (layer_norm, {"x": drawn(3, 4), "g": drawn(4), "b": drawn(4)}),
        "causal attention": (attention, {"q": drawn(2, 4, 3), "k": drawn(2, 4, 3, seed=2), "v": drawn(2, 4, 3, seed=3)}),
        "conv, relu, pool": (convolved, {"x": drawn(1, 2, 4, 4), "w": drawn(2, 2, 3, 3), "b": drawn(2)}),
        "cross-entropy": (
            lambda z: -jnp.mean(jnp.take_along_axis(jax.nn.log_softmax(z), labels[:, None], 1)), {"z": drawn(3, 4)}
        ),
        "gelu": (lambda x: jax.nn.gelu(x, approximate=False), {"x": drawn(4)}),
        "rms norm": (
            lambda x, g: x * lax.rsqrt(jnp.mean(x * x, -1, keepdims=True) + 1e-6) * g, {"x": drawn(3, 4), "g": drawn(4)}
        ),
        "rotary": (rotary, {"q": drawn(3, 4)}),
        "lstm cell": (
            lstm,
            {"x": drawn(2, 3), "h": drawn(2, 2), "c": drawn(2, 2, seed=2), "W": drawn(3, 8), "U": drawn(2, 8), "b": drawn(8)},
        ),
        "logsumexp": (lambda x: jax.scipy.special.logsumexp(x, axis=-1).sum(), {"x": drawn(3, 4)}),
        "recurrent by scan": (recurrent, {"x": drawn(3, 2, 2), "h": drawn(2, 2), "W": drawn(2, 2), "U": drawn(2, 2, seed=2)}),
        "a loop of known length": (
            lambda y, k: lax.fori_loop(0, 4, lambda i, y: y + 0.1 * (jnp.sin(y) - k * y), y), {"y": drawn(2), "k": drawn(2, seed=2)}
        ),
        "cholesky": (
            lambda L: jnp.sum(jnp.log(jnp.diag(jnp.linalg.cholesky(L @ L.T + jnp.eye(3))))), {"L": drawn(3, 3)}
        ),
        "solve": (lambda A, b: jnp.linalg.solve(A + 4 * jnp.eye(3), b), {"A": drawn(3, 3), "b": drawn(3)}),
        "inverse": (lambda A: jnp.linalg.inv(A + 4 * jnp.eye(3)), {"A": drawn(3, 3)}),
        "determinant": (lambda A: jnp.linalg.slogdet(A + 4 * jnp.eye(3))[1], {"A": drawn(3, 3)}),
        "sorted": (lambda x: jnp.sort(x) * jnp.arange(4), {"x": drawn(4)}),
        "huber": (lambda x: jnp.where(jnp.abs(x) < 1, 0.5 * x * x, jnp.abs(x) - 0.5), {"x": 2 * drawn(5)}),
        "embedding": (lambda E: jnp.sum(E[jnp.array([0, 2, 2, 1])] ** 3, 0), {"E": drawn(3, 2)}),
        "gated": (lambda x, W, V: jax.nn.silu(x @ W) * (x @ V), {"x": drawn(2, 3), "W": drawn(3, 4), "V": drawn(3, 4, seed=2)}),
        "segment sum": (lambda x: jax.ops.segment_sum(x, jnp.array([0, 1, 0, 2, 1]), 3) ** 2, {"x": drawn(5)}),
        "logaddexp": (lambda x1, x2: jnp.logaddexp(x1, x2), {"x1": drawn(3), "x2": drawn(3, seed=2)}),
        "set and added": (lambda x: jnp.zeros(3).at[1].set(x[0] * x[1]).at[0].add(x[1] ** 2), {"x": drawn(2)}),
        "depthwise convolution": (
            lambda x, w: lax.conv_general_dilated(
                x, w, (1, 1), "SAME", dimension_numbers=("NCHW", "OIHW", "NCHW"), feature_group_count=3
            ),
            {"x": drawn(1, 3, 3, 3), "w": drawn(3, 1, 2, 2)},
        ),
        "patches": (
            lambda x, w: lax.conv_general_dilated(x, w, (2, 2), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC")),
            {"x": drawn(1, 4, 4, 2), "w": drawn(2, 2, 2, 2)},
        ),
        "running logsumexp": (lambda x: lax.cumlogsumexp(x), {"x": drawn(4)}),
        "beta": (jax.scipy.special.betaln, {"a": np.array([0.7, 2.5]), "b": np.array([1.3, 0.4])}),
        "clipped": (lambda x: jnp.clip(x, -0.5, 0.5) ** 2, {"x": drawn(4)}),
        "a remainder": (lambda x: jnp.mod(x, 2.0) * x, {"x": 3 * drawn(3)}),
        "a tail": (jax.scipy.special.log_ndtr, {"x": np.array([-1.5, 0.3])}),
        "special functions": (
            lambda x: jax.scipy.special.digamma(x) * jax.scipy.special.polygamma(2, x) + jax.scipy.special.i0e(x)
            + jax.scipy.special.i1(x) * jax.scipy.special.erfinv(x), {"x": np.array([0.3, 0.7])}
        ),
    }  # fmt: skip


TORCH, JAX = (importlib.util.find_spec(name) is not None for name in ("torch", "jax"))


@lru_cache
def functions_of(name: str) -> Mapping[str, tuple[Callable[..., Any], dict[str, Any]]]:
    """The functions above, of one framework."""
    return torch_functions() if name == "torch" else jax_functions()


def all_functions() -> list[Any]:
    """A parameter for each function; one that skips where a framework is missing."""
    found: list[Any] = []
    for name, installed in (("torch", TORCH), ("jax", JAX)):
        reason = f"needs the extra: pip install 'verify-gradients[{name}]'"
        known = list(functions_of(name)) if installed else [""]
        found += [
            pytest.param(name, key, id=f"{name}: {key}", marks=() if installed else pytest.mark.skip(reason=reason))
            for key in known
        ]
    return found


@pytest.mark.parametrize(("framework", "key"), all_functions())
def test_the_own_gradient_is_proved_and_a_planted_fault_fails(framework: str, key: str) -> None:
    """Right to the last rows, without a twin in NumPy; wrong by 1e-6 it fails."""
    function, at = functions_of(framework)[key]
    right = check_gradient(function, at=at, points=0)
    assert right.ok, str(right)
    assert is_proved(right), str(right)
    if key == "a module":
        return  # its parameters are not in ``at``
    known = room(framework)
    variable = next(iter(at))
    wrong = check_gradient(
        planted(known.gradient_of(function), variable), known.as_numpy(function), at=at, shrink=False
    )
    assert wrong.verdict == "FAIL", str(wrong)
    assert {row.variable for row in wrong.cases[0].failing()} == {variable}


# ----------------------------------------------------------------------------------------------------------- the doors


def test_a_custom_function_against_plain_torch() -> None:
    """Three lines, proved; without its reference too, since the forward is read and not the rule."""
    torch = needs("torch")
    from verify.frameworks.torch import gradient_of

    def swish(factor: float) -> Any:
        class Swish(torch.autograd.Function):  # type: ignore[misc, name-defined]
            @staticmethod
            def forward(ctx: Any, x: Any, b: Any) -> Any:
                ctx.save_for_backward(x, b)
                return x * torch.sigmoid(b * x)

            @staticmethod
            def backward(ctx: Any, *upstream: Any) -> Any:
                x, b = ctx.saved_tensors
                s = torch.sigmoid(b * x)
                return upstream[0] * (s + b * x * s * (1 - s)), factor * (upstream[0] * x * x * s * (1 - s)).sum()

        return Swish

    def plain(x: Any, b: Any) -> Any:
        return x * torch.sigmoid(b * x)

    at = {"x": np.array([0.3, -1.2]), "b": np.array(1.5)}
    for point in (at, {name: x.astype(np.float32) for name, x in at.items()}):
        run = check_gradient(gradient_of(swish(1.0)), plain, at=point)
        assert run.ok, str(run)
        assert is_proved(run), str(run)
    assert check_gradient(gradient_of(swish(1 + SMALL)), plain, at=at).verdict == "FAIL"
    assert check_gradient(swish(1.0), at=at).ok
    assert check_gradient(swish(1 + SMALL), at=at).verdict == "FAIL"


def test_a_rule_inside_a_function_is_never_the_reference() -> None:
    """A wrong ``custom_vjp``, ``custom_jvp`` or ``Function`` is found in the middle of a function, by its forward."""
    jax = needs("jax")
    from verify.frameworks.jax import check_grads

    sine = jax.custom_jvp(lambda x: jax.numpy.sin(x))
    sine.defjvp(lambda primals, tangents: (sine(*primals), jax.numpy.cos(primals[0]) * tangents[0] * (1 + SMALL)))
    with pytest.raises(WrongGradientError):
        check_grads(lambda x: 2 * sine(x) ** 2, (np.array([0.4, 1.2]),))
    assert check_grads(lambda x: 2 * jax.numpy.sin(x) ** 2, (np.array([0.4, 1.2]),)).ok


def test_outputs_and_parameters_come_as_they_are() -> None:
    """Tuples, dicts, whole numbers, truth values and keywords; the twin of each is off in one place."""
    torch = needs("torch")
    from verify.frameworks.torch import gradcheck

    x = torch.tensor([1.0, 2.0], dtype=torch.float64, requires_grad=True)
    w = {"w": torch.tensor([0.5, -1.0], dtype=torch.float64, requires_grad=True), "n": 3}

    class Off(torch.autograd.Function):  # type: ignore[misc, name-defined]
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            return x.clone()

        @staticmethod
        def backward(ctx: Any, *upstream: Any) -> Any:
            return upstream[0] * (1 + SMALL)

    assert gradcheck(lambda x: (2 * x, (x**2).sum()), (x,))
    assert not gradcheck(lambda x: (2 * x, (Off.apply(x) ** 2).sum()), (x,), raise_exception=False)
    assert gradcheck(lambda x: {"a": 2 * x, "b": x.argmax()}, (x,))
    assert gradcheck(lambda p, x: (p["w"] * x) ** p["n"], (w, x))
    assert not gradcheck(lambda p, x: (Off.apply(p["w"]) * x) ** p["n"], (w, x), raise_exception=False)
    mask, places = torch.tensor([True, False]), torch.tensor([0, 1, 1])
    assert gradcheck(lambda x, m, i: torch.where(m, x**2, -x)[i], (x, mask, places))
    at = {"x": np.array([1.0, 2.0]), "n": 3, "flag": True}
    assert check_gradient(lambda x, *, n, flag: torch.sin(x) ** n if flag else x, at=at).ok
    assert not check_gradient(lambda x, *, n, flag: torch.sin(Off.apply(x)) ** n if flag else x, at=at).ok


def test_a_slope_that_is_no_number_at_zero_is_found() -> None:
    """The value at 0 is guarded, the way back is not; with both guarded it passes."""
    torch = needs("torch")
    from verify.frameworks.torch import gradcheck

    def guarded(v: Any) -> Any:
        r = torch.sqrt((v * v).sum())
        return torch.where(r < 1e-8, torch.ones_like(r), torch.sin(r) / r)

    def twice(v: Any) -> Any:
        square = (v * v).sum()
        r = torch.sqrt(torch.where(square < 1e-16, torch.ones_like(square), square))
        return torch.where(square < 1e-16, torch.ones_like(r), torch.sin(r) / r)

    v = torch.tensor([0.3, -0.2], dtype=torch.float64, requires_grad=True)
    asked: dict[str, Any] = {"domain": {"v": (-1, 1)}, "points": 16, "raise_exception": False}
    assert not gradcheck(guarded, (v,), **asked)
    assert gradcheck(twice, (v,), **asked)


def test_trees_of_jax() -> None:
    """A dict of parameters, and a tuple among the outputs."""
    jax = needs("jax")
    from verify.frameworks.jax import check_grads

    off = jax.custom_vjp(lambda x: 1.0 * x)
    off.defvjp(lambda x: (1.0 * x, None), lambda _, g: (g * (1 + SMALL),))
    p = {"layer": {"w": np.array([1.0, 2.0]), "b": np.array(0.5)}}
    run = check_grads(lambda p: (jax.numpy.sin(p["layer"]["w"]) + p["layer"]["b"], p["layer"]["w"].sum()), (p,))
    assert sorted(v.name for v in run.cases[0].variables) == ["p_layer_b", "p_layer_w"]
    with pytest.raises(WrongGradientError):
        check_grads(lambda p: jax.numpy.sin(off(p["layer"]["w"])) + p["layer"]["b"], (p,))


@pytest.mark.parametrize(("name", "more"), [("celu", {"alpha": 0.1}), ("hardsigmoid", {})])
def test_constants_in_single_precision_are_found(name: str, more: dict[str, float]) -> None:
    """Two functions of PyTorch whose gradients are off by 4e-7 and 3e-8 at double precision; the twin is right."""
    torch = needs("torch")
    function = getattr(torch.nn.functional, name)
    at = {"x": np.array([-0.5, -1.0, 2.0])}
    found = check_gradient(lambda x: function(x, **more), at=at)
    right = check_gradient(lambda x: torch.nn.functional.elu(x), at=at)
    assert right.ok
    if torch.__version__.startswith("2.13"):
        assert found.verdict == "FAIL", str(found)


def test_what_does_not_map_is_said_by_name() -> None:
    """The black box takes over, and a note says which op has no row."""
    torch = needs("torch")
    run = check_gradient(lambda x: torch.linalg.eigvalsh(x + x.T), at={"x": drawn(2, 2)})
    assert run.ok
    assert any("_linalg_eigh" in note and "black box" in note for note in run.cases[0].notes)
    assert not any("NumPy" in note for note in run.cases[0].notes)
    branch = check_gradient(lambda x: torch.sin(x).sum() if x[0] > 0 else x.sum(), at={"x": np.array([0.5, 1.0])})
    assert branch.ok
    assert any("a branch on values" in note for note in branch.cases[0].notes)


def test_complex_numbers_are_refused_by_name() -> None:
    """Never made real in silence; the real part of such a function is taken."""
    torch = needs("torch")
    with pytest.raises(UsageError, match="complex128"):
        check_gradient(lambda x: torch.fft.fft(x), at={"x": drawn(3)})
    assert check_gradient(lambda x: torch.view_as_real(torch.fft.fft(x)), at={"x": drawn(3)}).ok


def test_a_gradient_alone_needs_its_function() -> None:
    """What is no framework's function cannot stand alone."""
    with pytest.raises(UsageError, match="that this is the gradient of"):
        check_gradient(lambda x: 2 * x, at={"x": 1.0})


# ---------------------------------------------------------------------------------------------------- functions first


@pytest.mark.parametrize("framework", ["torch", "jax"])
def test_functions_that_differ_are_told_and_no_gradient_is_blamed(framework: str) -> None:
    """A reference with a sign mistyped; its twin passes, and a wrong gradient of the same function is blamed."""
    library: Any = needs(framework)
    known = room(framework)
    sigmoid = library.sigmoid if framework == "torch" else library.nn.sigmoid
    gradient = known.gradient_of(lambda x: sigmoid(x))
    differs = check_gradient(gradient, lambda x: 1 / (1 + np.exp(x)), at={"x": 0.7})
    assert not differs.ok
    assert [f.kind for f in differs.cases[0].findings] == ["functions differ"]
    assert "the functions differ: 0.668188 against 0.331812 at x = 0.7; no gradient was judged" in str(differs)
    assert "wrong sign" not in str(differs)
    assert differs.cases[0].variables == ()
    assert check_gradient(gradient, lambda x: 1 / (1 + np.exp(-x)), at={"x": 0.7}).ok


def test_functions_that_differ_beside_the_given_point() -> None:
    """They agree at the point that was given; where rows fail, they do not."""
    torch = needs("torch")
    gradient = room("torch").gradient_of(lambda x: torch.abs(x) ** 3)
    run = check_gradient(gradient, lambda x: x**3, at={"x": 0.7}, domain={"x": (-2, 2)}, points=8)
    assert [f.kind for f in run.cases[0].findings] == ["functions differ"]


# ------------------------------------------------------------------------------------------------ the backward is read


@pytest.mark.parametrize("framework", ["torch", "jax"])
def test_a_backward_pass_runs_in_balls(framework: str) -> None:
    """Of tanh's tails the floats keep few digits, and the formula is right; a formula off by 1e-9 is told apart."""
    library: Any = needs(framework)
    known = room(framework)
    tanh = library.tanh if framework == "torch" else library.numpy.tanh
    at, upstream = {"x": np.array([9.0, 14.0]), "w": np.array([1.5, 0.25])}, {"f": np.array([1.0, -2.0])}
    from verify.graph.taylor import precision
    from verify.tracing.trace import trace
    from verify.truth.reference import Reference

    case = trace(known.as_numpy(lambda x, w: tanh(x) * w), at)
    truth = Reference(case.graph, ("x", "w"), None).enclose(
        {k: v[None] for k, v in at.items()}, {case.graph.outputs[0]: upstream["f"][None]}, taylor_only=True
    )
    balls = known.gradient_of(lambda x, w: tanh(x) * w).in_balls(at, upstream)
    off = known.gradient_of(lambda x, w: tanh(x) * w * (1 + 1e-9)).in_balls(at, upstream)
    assert set(balls) == {"x", "w"}
    with precision(256):
        for name in at:
            for i in range(2):
                assert balls[name][i].overlaps(truth.gradient(name, (i,)).ball)
                assert not off[name][i].overlaps(truth.gradient(name, (i,)).ball)


def test_digits_that_a_right_formula_loses_are_no_fault() -> None:
    """1 - tanh(x)**2 keeps few digits where tanh is nearly 1, and passes; off by 1e-9 in its formula it fails there."""
    torch = needs("torch")

    def tanh(factor: float) -> Any:
        class Tanh(torch.autograd.Function):  # type: ignore[misc, name-defined]
            @staticmethod
            def forward(ctx: Any, x: Any) -> Any:
                ctx.save_for_backward(torch.tanh(x))
                return torch.tanh(x)

            @staticmethod
            def backward(ctx: Any, *upstream: Any) -> Any:
                (y,) = ctx.saved_tensors
                return upstream[0] * ((1 - y * y) * factor)

        return Tanh

    at = {"x": np.array([7.3, 9.1, -8.2])}
    right = check_gradient(tanh(1.0), at=at, points=0)
    assert right.ok, str(right)
    assert check_gradient(tanh(1 + 1e-9), at=at, points=0).verdict == "FAIL"


def test_a_kernel_that_is_not_its_formula_has_none() -> None:
    """PyTorch's backward pass hides a fault behind an opaque call: nothing is claimed to be its formula."""
    torch = needs("torch")

    class Opaque(torch.autograd.Function):  # type: ignore[misc, name-defined]
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            ctx.save_for_backward(x)
            return torch.sin(x)

        @staticmethod
        def backward(ctx: Any, *upstream: Any) -> Any:
            (x,) = ctx.saved_tensors
            wrong = 1 + SMALL if type(x) is torch.Tensor else 1.0  # what is written down is not what runs
            return upstream[0] * torch.cos(x) * wrong

    at, upstream = {"x": np.array([0.5, 1.0])}, {"f": np.ones(2)}
    assert room("torch").gradient_of(Opaque).in_balls(at, upstream) == {}
    assert set(room("torch").gradient_of(lambda x: torch.sin(x)).in_balls(at, upstream)) == {"x"}
    run = check_gradient(Opaque, at=at)
    assert run.verdict == Verdict.FAIL.value


# ------------------------------------------------------------------------------------------- what programs are made of


def test_masked_entries_are_left_out() -> None:
    """A row of a masked softmax is the softmax of what is left in, whichever way the mask is written."""
    torch = needs("torch")
    mask = torch.tensor([[True, True, False], [True, False, False]])
    written: list[Callable[[Any], Any]] = [
        lambda x: torch.softmax(x.masked_fill(~mask, -torch.inf), -1),
        lambda x: torch.softmax(torch.where(mask, x, -1e30), -1),
        lambda x: torch.softmax(x + torch.zeros(2, 3).masked_fill(~mask, -torch.inf), -1),
        lambda x: torch.log_softmax(x.masked_fill(~mask, -torch.inf), -1)[:, 0],
        lambda x: torch.logsumexp(x.masked_fill(~mask, -torch.inf), -1),
        lambda x: x.masked_fill(~mask, -torch.inf).amax(-1),
    ]
    for function in written:
        run = check_gradient(function, at={"x": drawn(2, 3)}, points=0)
        assert run.ok, str(run)
        assert is_proved(run), str(run)


def test_a_low_number_outside_of_a_softmax_is_itself() -> None:
    """What stands for minus infinity in a mask is a number everywhere else."""
    torch = needs("torch")
    mask = torch.tensor([True, False])
    run = check_gradient(lambda x: torch.sin(x.masked_fill(~mask, -1e10)), at={"x": drawn(2)})
    assert run.ok
    assert not is_black_box(run)


def test_a_gradient_without_memory_is_zero() -> None:
    """PyTorch's sgn answers with a tensor of zeros that has no memory; the twin answers with something."""
    torch = needs("torch")
    at = {"x": drawn(4)}
    assert check_gradient(lambda x: torch.sgn(x), at=at, points=0).ok
    assert not check_gradient(
        room("torch").gradient_of(lambda x: torch.sgn(x) + SMALL * x), np.sign, at=at, points=0
    ).ok


@pytest.mark.parametrize("name", ["fft.rfft", "topk", "nanmedian", "adaptive_avg_pool", "masked_scatter"])
def test_what_has_no_rule_is_found_by_probing(name: str) -> None:
    """It is linear, moves entries, or picks them by order: proved; off by 1e-6 it fails."""
    torch = needs("torch")
    functions: dict[str, Callable[[Any], Any]] = {
        "fft.rfft": lambda x: torch.view_as_real(torch.fft.rfft(x)),
        "topk": lambda x: torch.topk(x, 2)[0],
        "nanmedian": lambda x: torch.nanmedian(x, -1)[0] ** 2,
        "adaptive_avg_pool": lambda x: torch.nn.functional.adaptive_avg_pool1d(x, 2) ** 2,
        "masked_scatter": lambda x: torch.zeros(2, 5).double().masked_scatter(torch.eye(2, 5) > 0, x) ** 2,
    }
    function, at = functions[name], {"x": drawn(2, 5)}
    right = check_gradient(function, at=at, points=0)
    assert right.ok, str(right)
    assert is_proved(right), str(right)
    known = room("torch")
    wrong = check_gradient(
        planted(known.gradient_of(function), "x"), known.as_numpy(function), at=at, points=0, shrink=False
    )
    assert wrong.verdict == "FAIL"


def test_structured_outputs() -> None:
    """Names of nested outputs are joined, and tuples keep their order."""
    from verify.programs.calling import structured

    assert structured((1, (2, 3)), abs) == {"0": 1, "1_0": 2, "1_1": 3}
    assert structured({"a": [1, -2]}, abs) == {"a_0": 1, "a_1": 2}
    assert structured([-1], abs) == (1,)


@pytest.mark.parametrize("factor", [1.0, 1.001])
def test_a_normalisation_in_train_mode_is_proved_and_keeps_its_running_mean(factor: float) -> None:
    """Its buffers are state beside its values: each call works on copies of them."""
    torch = pytest.importorskip("torch")
    layer = torch.nn.BatchNorm1d(3, dtype=torch.float64)
    x = torch.from_numpy(np.random.default_rng(0).standard_normal((4, 3)))
    before = {name: value.clone() for name, value in layer.state_dict().items()}

    class Scaled(torch.autograd.Function):  # type: ignore[name-defined, misc]
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            return x.view_as(x)

        @staticmethod
        def backward(ctx: Any, g: Any) -> Any:
            return factor * g

    gradient = importlib.import_module("verify.frameworks.torch").gradient_of(lambda x: layer(Scaled.apply(x)))
    run = check_gradient(gradient, lambda x: layer(x), at={"x": x}, points=0)
    assert ("PASS" if factor == 1 else "FAIL") == run.verdict
    assert run.cases[0].proved == run.cases[0].checked
    assert "PASS" == check_gradient(layer, at={"input": x}, points=0).verdict
    assert all(torch.equal(value, before[name]) for name, value in layer.state_dict().items())


@pytest.mark.parametrize(("factor", "verdict"), [(2.0, "PASS"), (2.001, "FAIL")])
def test_a_reference_that_names_only_the_methods_of_tensors_is_one_of_tensors(factor: float, verdict: str) -> None:
    """Its code names no framework, and fails on arrays of NumPy: it is tried with tensors, which is told."""
    pytest.importorskip("torch")
    run = check_gradient(lambda x: factor * x, lambda x: x.square().sum(dim=-1), at={"x": np.array([1.0, 3.0])})
    assert verdict == run.verdict
    assert run.cases[0].proved == run.cases[0].checked
    assert "it is taken as one of torch" in run.cases[0].notes[0]


def test_a_reference_that_fails_on_arrays_and_on_tensors_is_blamed_for_itself() -> None:
    """The twin: what no framework's array can do is no framework's function."""
    pytest.importorskip("torch")
    with pytest.raises(UsageError, match="no_such_method"):
        check_gradient(lambda x: 2 * x, lambda x: x.no_such_method(), at={"x": np.array([1.0, 3.0])})


def test_a_list_of_numbers_is_an_array() -> None:
    """For functions of every framework, as in NumPy; a list of arrays is a tree."""
    torch, jax = pytest.importorskip("torch"), pytest.importorskip("jax")
    for value in (lambda x: torch.sin(x).sum(), lambda x: jax.numpy.sin(x).sum()):
        for at in ([0.5, 1.5], [[0.5], [1.5]]):
            assert check_gradient(value, at={"x": at}, points=0).ok
            assert check_gradient(lambda x: np.cos(x), value, at={"x": at}, points=0).ok
            assert not check_gradient(lambda x: (1 + SMALL) * np.cos(x), value, at={"x": at}, points=0).ok
    trees = check_gradient(lambda p: jax.numpy.sum(p[0] * p[1]), at={"p": [np.ones(2), 2.0]}, points=0)
    assert len(trees.cases[0].variables) == 2

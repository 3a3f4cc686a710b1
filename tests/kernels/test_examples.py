"""The examples: each right kernel keeps its policy, and a few of its faults are caught; the campaign tries them all."""

from __future__ import annotations

import importlib.util
from typing import Any

import numpy as np
import pytest

if importlib.util.find_spec("torch") is None:
    pytest.skip("the examples are kernels of PyTorch", allow_module_level=True)

from examples import EXAMPLES, Example

from verify.kernels.check import Judge, check_kernel
from verify.words import Verdict

ATTENTION = EXAMPLES[0]


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.name)
def test_a_right_kernel_passes_and_wrong_ones_do_not(example: Example) -> None:
    """At one seed: three of its faults, the last of them one of place and factor."""
    seed = 1
    rng = np.random.default_rng(seed)
    point = example.point(rng)
    judge = Judge(
        example.reference,
        at=point,
        upstream=rng.standard_normal(point["q"].shape) if "q" in point else None,
        policy=example.policy,
        constants=example.constants,
        seed=seed,
    )
    run = judge(example.make({}))
    assert run.ok, str(run)
    faults = example.faults()
    assert len(faults) == 20
    for name in [*faults][:: len(faults) // 2 - 1]:
        assert not judge(example.make(faults[name])).ok, name


def test_results_accumulated_in_bfloat16_are_imprecise() -> None:
    """Right in the mean, and the policy that is kept says what is wrong."""
    import torch

    forward, _ = ATTENTION.make({})

    def backward(do: torch.Tensor, cache: tuple[torch.Tensor, ...]) -> list[torch.Tensor]:
        q, k, v, out = (x.float() for x in cache)
        seen = torch.tril(torch.ones(q.shape[-2], q.shape[-2])) > 0
        weights = torch.softmax((q @ k.mT * q.shape[-1] ** -0.5).masked_fill(~seen, -torch.inf), -1)
        upstream = do.float()
        slopes = weights * (upstream @ v.mT - (upstream * out).sum(-1, keepdim=True))
        slopes = slopes.bfloat16().float() * q.shape[-1] ** -0.5
        dk = torch.zeros_like(k).bfloat16()
        for i in range(q.shape[-2]):
            dk = dk + (slopes[..., i, :, None] * q[..., i, None, :]).bfloat16()
        return [(slopes @ k).bfloat16(), dk, (weights.bfloat16().float().mT @ upstream).bfloat16()]

    point = ATTENTION.point(np.random.default_rng(2))
    run = check_kernel((forward, backward), ATTENTION.reference, at=point, policy="flash attention")
    assert run.verdict is Verdict.IMPRECISE
    assert "dk is right in the mean and noisier than its policy" in run.sentence
    assert "'gradients accumulated in bfloat16'" in run.sentence


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float32"])
def test_frameworks_own_gradients_pass(dtype: str) -> None:
    """PyTorch's own backward of a layer norm in each format; a factor of 1.01 behind it does not."""
    import torch

    def norm(x: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.layer_norm(x, x.shape[-1:])

    class Wrong(torch.autograd.Function):  # type: ignore[misc]
        @staticmethod
        def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
            ctx.save_for_backward(x)
            return norm(x)

        @staticmethod
        def backward(ctx: Any, *grads: torch.Tensor) -> torch.Tensor:
            (x,) = ctx.saved_tensors
            with torch.enable_grad():
                leaf = x.detach().requires_grad_()
                (found,) = torch.autograd.grad(norm(leaf), leaf, *grads)
            return found * (1.01 if dtype != "float32" else 1.00001)

    shape = {"x": (48, 64)}
    assert check_kernel(norm, norm, inputs=shape, dtype=dtype).ok
    assert "dx is 1.0" in check_kernel(Wrong, norm, inputs=shape, dtype=dtype).sentence


def test_a_function_of_jax_passes() -> None:
    """Its own gradient, and a ``custom_vjp`` that is off by 1 %."""
    pytest.importorskip("jax", reason="a kernel of JAX")
    import jax

    def wave(x: jax.Array) -> jax.Array:
        return jax.numpy.sin(x) * x

    wrong = jax.custom_vjp(wave)
    wrong.defvjp(lambda x: (wave(x), x), lambda x, g: ((jax.vjp(wave, x)[1](g)[0] * 1.01).astype(x.dtype),))
    assert check_kernel(wave, wave, inputs={"x": (32, 64)}, policy="every op").ok
    assert "dx is 1.0" in check_kernel(wrong, wave, inputs={"x": (32, 64)}, policy="every op").sentence


def test_padded_keys_and_fully_masked_rows() -> None:
    """The reference says that a row without a key gives 0: a right kernel passes, a row that is not 0 fails."""
    import torch

    seen = np.tril(np.ones((48, 48)))
    seen[:, :5] = 0
    point = {**ATTENTION.point(np.random.default_rng(4)), "seen": seen}
    point = {name: x[..., :48, :] for name, x in point.items()}

    def reference(q: Any, k: Any, v: Any, seen: Any) -> Any:
        scores = torch.where(seen > 0, q @ k.mT * q.shape[-1] ** -0.5, -1e30)
        return (torch.softmax(scores, -1) * seen) @ v

    def forward(q: Any, k: Any, v: Any, seen: Any) -> Any:
        weights = torch.softmax((q.float() @ k.float().mT * q.shape[-1] ** -0.5).masked_fill(seen == 0, -torch.inf), -1)
        weights = weights.nan_to_num()
        out = (weights.bfloat16().float() @ v.float()).bfloat16()
        return out, (q, k, v, out, weights)

    def backward(do: Any, cache: Any, beside: float = 0.0) -> Any:
        q, k, v, out, weights, do = (x.float() for x in (*cache, do))
        slopes = (weights * (do @ v.mT - (do * out).sum(-1, keepdim=True))).bfloat16().float() * q.shape[-1] ** -0.5
        dq = slopes @ k
        dq[:, 1, 2] += beside
        return dq.bfloat16(), (slopes.mT @ q).bfloat16(), (weights.bfloat16().float().mT @ do).bfloat16()

    judge = Judge(reference, at=point, constants=["seen"], policy="flash attention", upstream=np.ones((1, 2, 48, 64)))
    assert judge((forward, backward)).ok
    wrong = judge((forward, lambda do, cache: backward(do, cache, 1e-3)))
    assert "dq of row 2 of head 1" in wrong.sentence

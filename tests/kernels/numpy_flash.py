"""Causal attention in NumPy, a right pair of passes of flash-attention's policy, faults of place and factor."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from verify.kernels.formats import FORMATS

HALF = FORMATS["bfloat16"]


def stored(x: Any) -> Any:
    """In bfloat16, held in float32."""
    return HALF.nearest(x).astype(np.float32)


def attention(q: Any, k: Any, v: Any) -> Any:
    """Causal attention in plain NumPy."""
    S = q @ np.swapaxes(k, -1, -2) / np.sqrt(q.shape[-1])
    S = np.where(np.tril(np.ones(S.shape[-2:])) > 0, S, -1e30)
    e = np.exp(S - np.max(S, axis=-1, keepdims=True))
    P = e / np.sum(e, axis=-1, keepdims=True)
    return P @ v


def flash(fault: Callable[[dict[str, Any]], None] = lambda _: None) -> tuple[Any, Any]:
    """A pair of passes of flash-attention's policy; ``fault`` changes gradients before they are stored."""

    def weights(q: Any, k: Any) -> Any:
        S = q @ np.swapaxes(k, -1, -2) / np.float32(np.sqrt(q.shape[-1]))
        S = np.where(np.tril(np.ones(S.shape[-2:])) > 0, S, np.float32(-np.inf))
        e = np.exp(S - np.max(S, axis=-1, keepdims=True))
        return e / np.sum(e, axis=-1, keepdims=True)

    def forward(q: Any, k: Any, v: Any) -> Any:
        out = stored(stored(weights(q, k)) @ v)
        return out, (q, k, v, out)

    def backward(do: Any, cache: Any) -> dict[str, Any]:
        q, k, v, out = cache
        P = weights(q, k)
        dP = do @ np.swapaxes(v, -1, -2)
        dS = stored(P * (dP - np.sum(do * out, axis=-1, keepdims=True))) / np.float32(np.sqrt(q.shape[-1]))
        found = {"q": dS @ k, "k": np.swapaxes(dS, -1, -2) @ q, "v": np.swapaxes(stored(P), -1, -2) @ do}
        fault(found)
        return {name: stored(g) for name, g in found.items()}

    return forward, backward


def scaled(name: str, factor: float, *place: Any) -> Callable[[dict[str, Any]], None]:
    """A fault: a part of a gradient times a factor."""

    def fault(found: dict[str, Any]) -> None:
        found[name] = np.array(found[name])
        found[name][place or ...] *= np.float32(factor)

    return fault

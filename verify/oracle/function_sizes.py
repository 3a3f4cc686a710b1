"""Other sizes for a function that has no case file: its arguments drawn anew in other shapes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from verify.errors import UsageError, did_you_mean
from verify.reading.case import Domain
from verify.sizes import proposed
from verify.streams import stream

if TYPE_CHECKING:
    from numpy.typing import NDArray

Dims = Mapping[str, Sequence[str | int]]
"""Argument -> its axes: names of dims, or sizes that stay."""


def points_at_other_sizes(
    at: Mapping[str, Any], dims: Dims, domain: Mapping[str, Any] | None, seed: int
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Points at other sizes than that of ``at``, each with its sizes in words; what has no dims keeps its value.

    Floats are drawn from their domain, or normal where there is none, whole numbers from between those of ``at``.
    Raises UsageError where dims and values do not fit.

    >>> points = points_at_other_sizes({"W": np.ones((2, 3)), "n": 3}, {"W": ("m", "k")}, None, seed=0)
    >>> [(label, point["W"].shape) for label, point in points]
    [('m=3, k=2', (3, 2)), ('m=1, k=2', (1, 2)), ('m=3, k=1', (3, 1)), ('m=1, k=1', (1, 1))]
    """
    sizes = _sizes(at, dims)
    for number, drawn in enumerate(proposed(", ".join(sizes), dict.fromkeys(sizes, 1), seed)):
        if drawn == sizes:
            continue
        rng = stream(seed, "other sizes", number)
        point = dict(at)
        for name, axes in dims.items():
            shape = tuple(axis if isinstance(axis, int) else drawn[axis] for axis in axes)
            point[name] = _drawn(name, np.asarray(at[name]), shape, domain or {}, rng)
        yield ", ".join(f"{name}={size}" for name, size in drawn.items()), point


def why_without_value(function: Callable[..., Any], point: Mapping[str, Any]) -> str:
    """Why a function has no value at a size, empty where it has one.

    >>> why_without_value(lambda x: x[1], {"x": np.ones(1)})
    'IndexError: index 1 is out of bounds for axis 0 with size 1'
    """
    try:
        function(**point)
    except Exception as error:  # noqa: BLE001 - whatever the function raises where it has no such size
        return f"{type(error).__name__}: {error}"
    return ""


def _sizes(at: Mapping[str, Any], dims: Dims) -> dict[str, int]:
    """The size that each dim has in the values that were given."""
    sizes: dict[str, int] = {}
    for name, axes in dims.items():
        if name not in at:
            raise UsageError(f"dims names {name!r}, which at does not. {did_you_mean(name, at)}".strip())
        shape = np.shape(at[name])
        if isinstance(axes, str) or len(axes) != len(shape):
            raise UsageError(f"dims gives {name} the axes {axes!r}, its value has shape {shape}: name each axis once")
        for axis, size in zip(axes, shape, strict=True):
            known = axis if isinstance(axis, int) else sizes.setdefault(axis, size)
            if known != size:
                raise UsageError(f"dims: {axis} is {known}, but an axis of {name}, of shape {shape}, has {size}")
    if not sizes:
        raise UsageError("dims names no axis that may change; give one such as {'W': ('m', 'k')}")
    return sizes


def _drawn(
    name: str, like: NDArray[Any], shape: tuple[int, ...], domain: Mapping[str, Any], rng: np.random.Generator
) -> NDArray[Any]:
    """Values in another shape, of the same kind."""
    if like.dtype.kind != "f":
        return rng.choice(like.ravel(), shape) if like.size else np.zeros(shape, dtype=like.dtype)
    if name in domain:
        known = Domain.given(name, domain[name])
        return rng.uniform(known.low, known.high, shape).astype(like.dtype)
    return rng.standard_normal(shape).astype(like.dtype)

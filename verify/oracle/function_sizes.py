"""Other sizes for a function that has no case file: its arguments drawn anew in other shapes."""

from __future__ import annotations

import ast
import math
import operator
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from verify.case.case import Domain, Input
from verify.errors import UsageError, did_you_mean
from verify.numbers.streams import stream
from verify.places.points import drawn_values
from verify.places.sizes import proposed
from verify.tracing.foreign_call import call_foreign
from verify.tracing.function_call import outputs_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

Dims = Mapping[str, Sequence[str | int]]
"""Argument -> its axes: names of dims, sizes that follow from them (``4*H``), or sizes that stay."""

LONGEST_AXIS = 80
"""Characters that the text of an axis may have."""

MOST_TRIED = 4096
"""Sizes that are tried for a dim that no axis has for itself."""

MOST_NUMBERS = 2**20
"""Numbers that the arguments at another size may always have together."""

MOST_TIMES = 16
"""Times the numbers of the given point that they may have where those are many."""

OPERATORS: Mapping[type[ast.operator], Callable[[int, int], int]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.FloorDiv: operator.floordiv,
}
"""What the size of an axis may be computed with."""


def points_at_other_sizes(
    at: Mapping[str, Any], dims: Dims, domain: Mapping[str, Any] | None, seed: int
) -> Iterator[tuple[str, list[dict[str, Any]], str]]:
    """Points at other sizes than that of ``at``: the sizes in words, the points to try there, the best first, and why
    there are none.

    Floats are drawn from their domain; where there is none they are normal, and for a function that has no value
    there, near the values of ``at``. Whole numbers are among those of ``at``, and what has no dims keeps its value.
    There is no point where an axis would have no size, or there would be too many numbers. Raises UsageError where
    dims and values do not fit.

    >>> points = points_at_other_sizes({"W": np.ones((2, 6)), "n": 3}, {"W": ("m", "3*k")}, None, seed=0)
    >>> [(label, found[0]["W"].shape) for label, found, _ in points]
    [('m=3, k=2', (3, 6)), ('m=1, k=3', (1, 9)), ('m=3, k=3', (3, 9)), ('m=3, k=1', (3, 3)), ('m=1, k=1', (1, 3))]
    """
    sizes = _sizes(at, dims)
    for number, drawn in enumerate(proposed(", ".join(sizes), dict.fromkeys(sizes, 1), seed)):
        if drawn == sizes:
            continue
        label = ", ".join(f"{name}={size}" for name, size in drawn.items())
        shapes = {name: tuple(_size(name, axis, drawn) for axis in axes) for name, axes in dims.items()}
        reason = _why_impossible(at, shapes)
        if reason:
            yield label, [], reason
            continue
        points = []
        for is_near in (False, True):
            rng = stream(seed, "other sizes", number, is_near)
            point = dict(at)
            for name, shape in shapes.items():
                point[name] = _drawn(name, np.asarray(at[name]), shape, domain or {}, rng, is_near=is_near)
            points.append(point)
        yield label, points, ""


def _why_impossible(at: Mapping[str, Any], shapes: Mapping[str, tuple[int, ...]]) -> str:
    """Why nothing is drawn in these shapes, empty where it can be."""
    if any(min(shape, default=1) < 1 for shape in shapes.values()):
        return "an axis would have no size"
    numbers = sum(math.prod(shape) for shape in shapes.values())
    most = max(MOST_TIMES * sum(np.size(at[name]) for name in shapes), MOST_NUMBERS)
    return f"its arguments would have {numbers:,} numbers, more than {most:,}" if numbers > most else ""


def why_without_value(function: Callable[..., Any], point: Mapping[str, Any], like: Any) -> str:
    """Why a function has no value at a size, empty where it has one; ``like`` is its value at its own size.

    >>> why_without_value(lambda x: x[1], {"x": np.ones(1)}, 1.0)
    'IndexError: index 1 is out of bounds for axis 0 with size 1'
    >>> why_without_value(lambda x: x[:, 4:], {"x": np.ones((2, 3))}, np.ones((2, 2)))
    'its value has shape (2, 0)'
    """
    with np.errstate(all="ignore"):
        ran = call_foreign(lambda: function(**point))
    if ran.error is not None:
        return f"{type(ran.error).__name__}: {ran.error}"
    values, wanted = (list(map(np.asarray, outputs_of(returned).values())) for returned in (ran.value, like))
    for part, known in zip(values, wanted, strict=False):
        if part.ndim != known.ndim or (known.size and not part.size):
            return f"its value has shape {part.shape}"
        if np.all(np.isfinite(known)) and not np.all(np.isfinite(part)):
            return "its value is not finite"
    return ""


def _sizes(at: Mapping[str, Any], dims: Dims) -> dict[str, int]:
    """The size that each dim has in the values that were given."""
    axes = list(_axes(at, dims))
    sizes: dict[str, int] = {}
    for _, axis, size in axes:
        if isinstance(axis, str) and axis.isidentifier():
            sizes.setdefault(axis, size)
    for name, axis, size in axes:
        if isinstance(axis, str):
            _solve(name, axis, size, sizes)
    for name, axis, size in axes:
        if _size(name, axis, sizes) != size:
            known = _size(name, axis, sizes)
            shape = np.shape(at[name])
            raise UsageError(f"dims: {axis} is {known}, but an axis of {name}, of shape {shape}, has {size}")
    if not sizes:
        raise UsageError("dims names no axis that may change; give one such as {'W': ('m', 'k')}")
    return sizes


def _axes(at: Mapping[str, Any], dims: Dims) -> Iterator[tuple[str, str | int, int]]:
    """Each axis with its argument, its text, and the size that it has."""
    for name, axes in dims.items():
        if name not in at:
            raise UsageError(f"dims names {name!r}, which at does not. {did_you_mean(name, at)}".strip())
        shape = np.shape(at[name])
        if isinstance(axes, str) or np.ndim(axes) != 1 or len(axes) != len(shape):
            raise UsageError(f"dims gives {name} the axes {axes!r}, its value has shape {shape}: name each axis once")
        if not all(isinstance(axis, str) or type(axis) is int for axis in axes):
            raise UsageError(
                f"dims gives {name} the axes {axes!r:.60}: write names, such as ('m', 'k'), or whole numbers"
            )
        yield from ((name, axis, size) for axis, size in zip(axes, shape, strict=True))


def _solve(name: str, axis: str, size: int, sizes: dict[str, int]) -> None:
    """The one dim of an axis that no axis has for itself, such as H of ``4*H``, by trying."""
    unknown = [dim for dim in _names(name, axis) if dim not in sizes]
    if not unknown:
        return
    tried = range(1, min(size, MOST_TRIED) + 1) if len(unknown) == 1 else ()
    fitting = [k for k in tried if _size(name, axis, {**sizes, unknown[0]: k}) == size]
    if len(fitting) != 1:
        what = (
            f"{axis!r} of {name} does not tell what {' and '.join(unknown)} is"
            if unknown[1:] or fitting
            else (f"{axis!r} is {size} in {name} for no whole {unknown[0]}")
        )
        raise UsageError(f"dims: {what}; name an axis that has the size by itself")
    sizes[unknown[0]] = fitting[0]


def _names(name: str, axis: str) -> list[str]:
    """The dims that an axis is computed from."""
    return list(dict.fromkeys(node.id for node in ast.walk(_parsed(name, axis)) if isinstance(node, ast.Name)))


def _parsed(name: str, axis: str) -> ast.expr:
    if len(axis) > LONGEST_AXIS:
        raise _no_size(name, axis)
    try:
        return ast.parse(axis.strip(), mode="eval").body
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        raise _no_size(name, axis) from None


def _size(name: str, axis: str | int, sizes: Mapping[str, int]) -> int:
    """The size of an axis: a dim, a number, or what is computed from them."""

    def computed(node: ast.expr) -> int:
        if isinstance(node, ast.Constant) and type(node.value) is int:
            return node.value
        if isinstance(node, ast.Name):
            return sizes[node.id]
        if isinstance(node, ast.BinOp) and type(node.op) in OPERATORS:
            left, right = computed(node.left), computed(node.right)
            if right or not isinstance(node.op, ast.FloorDiv):
                return OPERATORS[type(node.op)](left, right)
        raise _no_size(name, str(axis))

    return axis if isinstance(axis, int) else computed(_parsed(name, axis))


def _no_size(name: str, axis: str) -> UsageError:
    what = f"dims: {axis[:LONGEST_AXIS]!r} of {name} is no size"
    return UsageError(f"{what}; write a name, a whole number, or sums, differences, products and // of them: '4*H'")


def _drawn(
    name: str,
    like: NDArray[Any],
    shape: tuple[int, ...],
    domain: Mapping[str, Any],
    rng: np.random.Generator,
    *,
    is_near: bool,
) -> NDArray[Any]:
    """Values in another shape, of the same kind."""
    if like.dtype.kind != "f":
        return rng.choice(like.ravel(), shape) if like.size else np.zeros(shape, dtype=like.dtype)
    if name in domain:
        single = like.dtype == np.float32
        item = Input(
            name, shape, "real", "float32" if single else "float64", Domain.given(name, domain[name]), "uniform"
        )
        return np.asarray(drawn_values(item, 1, rng)[0].astype(like.dtype))
    normal = rng.standard_normal(shape)
    if is_near and like.size:
        near = rng.choice(like.ravel(), shape)
        normal = np.where(near == 0, normal, near * rng.uniform(0.5, 1.5, shape))
    return normal.astype(like.dtype)

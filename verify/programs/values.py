"""What the programs of other frameworks work on, in NumPy's words on tracers.

A value is a tracer, a comparison of tracers (which waits until somebody selects by it) or a plain array: what depends
on no input, which the framework itself computes. What a framework shares with NumPy is called by NumPy's name; here
is what NumPy has no name for.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from verify.errors import Untraced
from verify.ops import OPS
from verify.tracing import excluded, numpy_rules
from verify.tracing.conditions import Condition
from verify.tracing.op_names import row_name
from verify.tracing.storage import Entries
from verify.tracing.traced import is_traced, recorder_of
from verify.tracing.tracer import Tracer, as_tracer
from verify.tracing.untraced import unmapped

Array = NDArray[Any]
Value = Any

COMPARISONS: Mapping[str, str] = {
    "gt": "greater", "ge": "greater_equal", "lt": "less", "le": "less_equal", "eq": "equal", "ne": "not_equal",
}  # fmt: skip
"""A comparison as PyTorch and JAX call it -> NumPy's name."""

MOST_SORTED = 32
"""Entries of a row that is sorted by a network of pairs."""


def is_known(value: Value) -> bool:
    """Whether a value depends on no input.

    >>> is_known(np.zeros(3)), is_known(2.0)
    (True, True)
    """
    return not is_traced(value)


def settled(value: Value) -> Value:
    """A tracer of which every entry is known as the plain array that it is; a truth of numbers alone likewise.

    >>> settled(2.0)
    2.0
    """
    if isinstance(value, list | tuple):
        return [settled(item) for item in value]
    return value.known() if type(value) is Tracer and value.is_known else value


def as_outputs(found: Sequence[Value], inputs: Sequence[Value]) -> list[Value]:
    """What a program gives: truth values as numbers, and what comes to the same numbers everywhere has slopes of 0.

    >>> as_outputs([np.array([True])], [])
    [array([ True])]
    """
    outputs = [as_tracer(settled(value)) for value in found]
    traced = next((x for x in inputs if type(x) is Tracer), None)
    if traced is None:
        return outputs
    return [np.sum(traced * 0.0) + _plain(y) if is_known(y) and _is_real(y) else y for y in outputs]


def _plain(value: Any) -> Array:
    """An array of NumPy's, of a tensor too."""
    return np.asarray(value.numpy(force=True) if hasattr(value, "detach") else value)


def _is_real(value: Any) -> bool:
    if not hasattr(value, "dtype"):
        return isinstance(value, float)
    plain = _plain(value)
    return plain.dtype.kind == "f" and bool(np.all(np.isfinite(plain))) and plain.size > 0


def apply(op: str, *operands: Value, **params: Any) -> Value:
    """A row of the op table; on plain arrays it is computed.

    >>> float(apply("sigmoid", np.array(0.0)))
    0.5
    """
    recorder = recorder_of(*operands)
    if recorder is not None:
        return recorder.apply(op, operands, params)
    arrays = [np.asarray(operand, dtype=np.float64) for operand in operands]
    rank = max((a.ndim for a in arrays), default=0) if OPS[op].elementwise else 0
    return OPS[op].forward(*(a.reshape(1, *(1,) * (rank - a.ndim), *a.shape) for a in arrays), **params)[0]


def elementwise(name: str, *operands: Value) -> Value:
    """The function of numbers of that name, as whichever library calls it.

    >>> float(elementwise("asin", np.array(0.0)))
    0.0
    """
    given = [as_tracer(operand) for operand in operands]
    ufunc = getattr(np, name, None) or getattr(np, row_name(name), None)
    if excluded.has_infinite(*given) and isinstance(ufunc, np.ufunc):
        return ufunc(*given)
    recorder = recorder_of(*given)
    return apply(row_name(name), *given) if recorder is None else numpy_rules.elementwise(recorder, name, given)


def fit(value: Value, shape: Sequence[int]) -> Value:
    """A value broadcast to a shape; nothing is done where it has it.

    >>> fit(2.0, (2,))
    array([2., 2.])
    """
    return value if np.shape(value) == tuple(shape) else np.broadcast_to(value, tuple(shape))


def axes_of(dim: Any, rank: int) -> tuple[int, ...] | None:
    """Axes as NumPy has them, of one, several or (None, or an empty list) all; a number without axes has none.

    >>> axes_of(-1, 2), axes_of([], 2), axes_of(0, 0)
    ((1,), None, None)
    """
    axes = [dim] if isinstance(dim, int) else [] if dim is None else list(dim)
    return tuple(int(axis) % rank for axis in axes) if axes and rank else None


# ------------------------------------------------------------------------------------------------- choosing by a value


def compared(name: str, a: Value, b: Value) -> Value:
    """A comparison by NumPy's name. A number is equal to itself: who asks looks for NaN.

    >>> compared("less", np.array(1.0), np.array(2.0))
    np.True_
    """
    if type(a) is Tracer and type(b) is Tracer and a.step == b.step:
        return np.full(a.shape, name in ("equal", "greater_equal", "less_equal"))
    if name == "not_equal":
        return np.logical_not(compared("equal", a, b))
    if name != "equal" or (is_known(a) and is_known(b)):
        return getattr(np, name)(a, b)
    if all(_is_truth(side) for side in (a, b)):
        return np.logical_or(np.logical_and(a, b), np.logical_and(np.logical_not(a), np.logical_not(b)))
    return np.logical_and(np.greater_equal(a, b), np.greater_equal(b, a))


def truth(value: Value) -> Value:
    """A value as a truth value: whether it is another number than 0.

    >>> truth(np.array([0.0, 2.0]))
    array([False,  True])
    """
    return value if _is_truth(value) else compared("not_equal", value, 0.0)


def _is_truth(value: Value) -> bool:
    return isinstance(value, Condition) or (is_known(value) and np.asarray(value).dtype.kind == "b")


def select(condition: Value, yes: Value, no: Value, shape: Sequence[int]) -> Value:
    """``yes`` where the condition holds, else ``no``; truth values stay so.

    >>> select(np.array([True, False]), np.array(1.0), np.array(2.0), (2,))
    array([1., 2.])
    """
    if not (is_known(yes) and is_known(no)) and all(_is_truth(side) for side in (yes, no)):
        first = np.logical_and(condition, yes)
        return np.logical_or(first, np.logical_and(np.logical_not(condition), no))
    if isinstance(condition, Condition):
        return fit(condition.choose(yes, no), shape)
    mask = np.broadcast_to(np.asarray(condition, dtype=bool), tuple(shape))
    if mask.all() or not mask.any():
        return fit(yes if mask.all() else no, shape)
    return fit(np.where(mask, yes, no), shape)


# --------------------------------------------------------------------------------------------- what only moves entries


def moved(move: Callable[..., Any], *operands: Value, fill: float = 0.0) -> Value:
    """What ``move`` makes of the operands, where it only moves their entries: it is shown their places.

    ``move`` takes arrays of whole numbers and gives one; -1 in it stands for the number ``fill``, which it put in.

    >>> moved(np.flip, np.array([1.0, 2.0]))
    array([2., 1.])
    """
    tables, start = [], 0
    for operand in operands:
        tables.append(np.arange(start, start + np.size(operand)).reshape(np.shape(operand)))
        start += np.size(operand)
    places = np.asarray(move(*tables))
    if len(operands) == 1 and isinstance(operands[0], Condition) and not np.any(places < 0):
        return operands[0].moved(lambda _: places)
    recorder = recorder_of(*operands)
    if recorder is None:
        return np.concatenate([*map(np.ravel, operands), [fill]])[places]
    parts = [recorder.entries_of(operand) for operand in (*operands, fill)]
    flat = [np.concatenate([np.ravel(part[i]) for part in parts]) for i in range(3)]
    return recorder.from_entries(Entries(*(part[places] for part in flat)))


def sorted_along(x: Value, axis: int) -> Value:
    """A row in rising order, by a network of pairs: a tie is a kink of min and max.

    >>> sorted_along(np.array([3.0, 1.0, 2.0]), 0)
    array([1., 2., 3.])
    """
    size = np.shape(x)[axis]
    if size > MOST_SORTED:
        raise unmapped(f"a sort of {size} entries, more than {MOST_SORTED}", Untraced.SIZE)
    front = (slice(None),) * (axis % np.ndim(x))
    rows = [x[(*front, i)] for i in range(size)]
    for i in range(size):
        for j in range(size - 1 - i):
            rows[j], rows[j + 1] = np.minimum(rows[j], rows[j + 1]), np.maximum(rows[j], rows[j + 1])
    return np.stack(rows, axis=axis % np.ndim(x))


def running(step: Callable[[Value, Value], Value], x: Value, axis: int, *, reverse: bool = False) -> Value:
    """All of ``x0, step(x0, x1), step(step(x0, x1), x2)`` ... along an axis.

    >>> running(np.maximum, np.array([1.0, 3.0, 2.0]), 0)
    array([1., 3., 3.])
    """
    axis %= np.ndim(x)
    front = (slice(None),) * axis
    order = range(np.shape(x)[axis])
    found: list[Value] = []
    for i in reversed(order) if reverse else order:
        here = x[(*front, i)]
        found.append(step(found[-1], here) if found else here)
    return np.stack(found[::-1] if reverse else found, axis=axis)

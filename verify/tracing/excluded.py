"""Entries that are left out by an infinite number: ``np.where(mask, scores, -np.inf)`` before a softmax.

A case holds finite numbers only. An entry that is infinite, whatever the inputs are, is kept apart as such: what
functions make of it is known (``exp`` gives 0, a maximum passes it by), and everybody else's entries are computed
without it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from verify.tracing.storage import Entries

Array = NDArray[Any]

KNOWN_LIMITS = frozenset({
    "add", "subtract", "negative", "exp", "expm1", "exp2", "tanh", "expit", "sigmoid", "divide", "true_divide",
    "multiply", "positive", "absolute", "fabs", "arctan", "reciprocal", "square",
})  # fmt: skip
"""Ufuncs whose value at an infinite operand does not depend on the size of a finite one beside it."""

SIGN_MATTERS = frozenset({"multiply", "divide", "true_divide"})
"""Those for which the sign of the finite one does: it has to be a number that is known."""

EXTREMA: Mapping[str, float] = {
    "maximum": -np.inf, "fmax": -np.inf, "minimum": np.inf, "fmin": np.inf, "logaddexp": -np.inf,
}  # fmt: skip
"""Ufuncs that choose -> the infinite number that they never choose."""

REDUCTIONS: Mapping[str, float] = {"max": -np.inf, "amax": -np.inf, "min": np.inf, "amin": np.inf}
"""The same for reductions."""


def infinite(value: Any) -> Array:
    """Which entries of an operand are infinite at every point.

    >>> infinite(np.array([1.0, -np.inf])).tolist()
    [False, True]
    """
    if hasattr(value, "storage"):
        return np.asarray(value.infinite())
    if hasattr(value, "recorder"):
        return np.zeros(value.shape, dtype=bool)
    array = np.asarray(value)
    return np.isinf(array) if array.dtype.kind == "f" else np.zeros(array.shape, dtype=bool)


def has_infinite(*values: Any) -> bool:
    """Whether any entry of some operands is infinite at every point.

    >>> has_infinite(np.ones(2), 3.0), has_infinite(-np.inf)
    (False, True)
    """
    return any(bool(np.any(infinite(value))) for value in values)


def elementwise(recorder: Any, ufunc: np.ufunc, operands: Sequence[Any]) -> Any:
    """A ufunc of operands of which some entries are infinite. Raises TraceError where it gives no known number.

    >>> from verify.tracing.recorder import Recorder
    >>> recorder = Recorder(elementwise.__code__, "", np.dtype(float))
    >>> x = recorder.masked(np.array([True, False]), recorder.input("x", np.zeros(2)), -np.inf)
    >>> recorder.number(elementwise(recorder, np.exp, [x]))
    array([1., 0.])
    """
    name = ufunc.__name__
    patterns = np.broadcast_arrays(*map(infinite, operands))
    either = np.logical_or.reduce(patterns)
    numbers = [np.asarray(recorder.number(operand)) for operand in operands]
    with np.errstate(all="ignore"):
        limit = np.asarray(ufunc(*numbers))
    if name in EXTREMA and len(operands) == 2:
        return _chosen(recorder, ufunc, operands, patterns)
    is_sure = name in KNOWN_LIMITS and (name not in SIGN_MATTERS or any(map(_is_plain, operands)))
    if not is_sure or np.any(np.isnan(limit[either])):
        recorder.refuse(f"np.{name} of an infinite number", "A case holds finite real numbers: choose a large one.")
    finite = ufunc(*(finite_part(recorder, operand) for operand in operands))
    return _laid_over(recorder, either, limit, finite)


def _chosen(recorder: Any, ufunc: np.ufunc, operands: Sequence[Any], patterns: Sequence[Array]) -> Any:
    """The larger, or the smaller, of two: an infinite one that is never chosen leaves the other."""
    never = EXTREMA[ufunc.__name__]
    for operand, pattern in zip(operands, patterns, strict=True):
        numbers = np.broadcast_to(recorder.number(operand), pattern.shape)
        if np.any(numbers[pattern] != never):
            recorder.refuse(f"np.{ufunc.__name__} of an infinite number", "Leave it out.")
    first, second = (finite_part(recorder, operand) for operand in operands)
    result = recorder.masked(patterns[0], second, ufunc(first, second))
    return recorder.masked(patterns[1], first, result)


def _is_plain(operand: Any) -> bool:
    return not hasattr(operand, "recorder") or (hasattr(operand, "storage") and operand.is_known)


def finite_part(recorder: Any, operand: Any) -> Any:
    """An operand with 0 in place of what is infinite.

    >>> finite_part(None, np.array([1.0, -np.inf]))
    array([1., 0.])
    """
    pattern = infinite(operand)
    if not np.any(pattern):
        return operand
    if not hasattr(operand, "storage"):
        return np.where(pattern, 0.0, operand)[()]
    entries = operand.entries()
    return recorder.from_entries(Entries(entries.steps, entries.positions, np.where(pattern, 0.0, entries.numbers)))


def _laid_over(recorder: Any, mask: Array, numbers: Any, value: Any) -> Any:
    """Known numbers, infinite ones among them, where a mask says so, and a traced value elsewhere."""
    shape = np.broadcast_shapes(mask.shape, np.shape(value))
    known = np.broadcast_to(mask, shape)
    entries = [np.broadcast_to(part, shape) for part in recorder.entries_of(value)]
    given = np.where(known, np.broadcast_to(numbers, shape), entries[2])
    return recorder.from_entries(Entries(np.where(known, -1, entries[0]), np.where(known, 0, entries[1]), given))


def _reduced(recorder: Any, name: str, a: Any, axis: Any = None, keepdims: Any = False) -> Any:
    """The largest or smallest of what is left in; rows of which as many entries are left in go together."""
    pattern, never = infinite(a), REDUCTIONS[name]
    if np.any(np.asarray(recorder.number(a))[pattern] != never):
        recorder.refuse(f"np.{name} of an infinite number", "Leave it out.")
    axes = tuple(range(a.ndim)) if axis is None else tuple(np.atleast_1d(axis) % a.ndim)
    order = (*(i for i in range(a.ndim) if i not in axes), *axes)
    turned = np.transpose(np.arange(a.size).reshape(a.shape), order)
    rows = turned.reshape(-1, int(np.prod([a.shape[i] for i in axes])))
    keep = ~np.ravel(pattern)[rows]
    counts = np.count_nonzero(keep, axis=1)
    if not np.all(counts):
        recorder.refuse(f"np.{name} where every entry is left out", "Keep one at least.")
    given = [np.ravel(part) for part in a.entries()]
    found = [np.zeros(len(rows), dtype=part.dtype) for part in given]
    for count in np.unique(counts):
        chosen = np.flatnonzero(counts == count)
        places = rows[chosen][keep[chosen]].reshape(len(chosen), count)
        top = getattr(np, name)(recorder.from_entries(Entries(*(part[places] for part in given))), axis=1)
        for part, values in zip(found, recorder.entries_of(top), strict=True):
            part[chosen] = values
    shape = tuple(1 if i in axes else size for i, size in enumerate(a.shape) if keepdims or i not in axes)
    return recorder.from_entries(Entries(*(part.reshape(shape) for part in found)))


def function(recorder: Any, func: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    """A NumPy function of an array some entries of which are infinite. Raises TraceError where there is no rule.

    >>> from verify.tracing.recorder import Recorder
    >>> recorder = Recorder(function.__code__, "", np.dtype(float))
    >>> x = recorder.masked(np.array([True, False]), recorder.input("x", np.ones(2)), -np.inf)
    >>> float(recorder.number(function(recorder, np.max, [x], {})))
    1.0
    """
    name = func.__name__
    first = args[0] if args else None
    if name in REDUCTIONS:
        return _reduced(recorder, name, first, *args[1:], **kwargs)
    if name == "where" and len(args) == 3:
        return recorder.masked(np.asarray(args[0]), args[1], args[2])
    recorder.refuse(f"np.{name} of an infinite number", "A case holds finite real numbers: choose a large one.")
    return None

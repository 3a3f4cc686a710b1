"""What the programs of other frameworks are made of, in NumPy's words on tracers: each trick is written here once.

A value is a tracer, a plain array (what depends on no input; the framework itself computes it), a :class:`Choice` (a
comparison, which waits until somebody selects by it) or :class:`Masked` entries (those that a mask of minus infinity
leaves out). What only moves entries is run on their *positions*, and one gather does the same.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from verify.ops import OPS, Shape
from verify.tracing.tracer import Tracer

Array = NDArray[Any]
Value = Any

LOW = -1e9
"""A mask that is added or filled in below this leaves entries out: their exponential is 0 in every float."""

MOST_SORTED = 32
"""Entries of a row that is sorted by a network of pairs."""

MOST_LINEAR = 400
"""Entries of an operand whose linear map is found by running it on unit vectors."""


class UnmappedError(Exception):
    """A step of a framework's program that no graph of ours can hold, in words."""


# ------------------------------------------------------------------------------------------------------------- values


@dataclass(frozen=True, slots=True)
class Choice:
    """A truth value that depends on inputs, entry by entry: ``>`` or ``>=`` of two values, or made of other choices."""

    kind: Literal[">", ">=", "not", "and", "or"]
    parts: tuple[Value, ...]
    shape: Shape


@dataclass(frozen=True, slots=True)
class Masked:
    """Entries some of which a mask leaves out: minus infinity, or a number so low that it stands for it."""

    value: Tracer
    keep: Array
    fill: float

    @property
    def shape(self) -> Shape:
        """That of all entries."""
        return self.value.shape


def is_known(value: Value) -> bool:
    """Whether a value depends on no input.

    >>> is_known(np.zeros(3)), is_known(2.0)
    (True, True)
    """
    return not isinstance(value, Tracer | Choice | Masked)


def shape_of(value: Value) -> Shape:
    """The shape of a value of any kind.

    >>> shape_of(np.zeros((3, 2)))
    (3, 2)
    """
    return value.shape if isinstance(value, Tracer | Choice | Masked) else np.shape(value)


def number(value: Value) -> Value:
    """A value as one that can be reckoned with: a choice is 0 or 1. Raises UnmappedError for entries that are -inf.

    >>> number(np.array([True, False]))
    array([1., 0.])
    """
    if isinstance(value, Choice):
        return select(value, np.ones(value.shape), np.zeros(value.shape), value.shape)
    if isinstance(value, Masked):
        if not math.isfinite(value.fill):
            raise UnmappedError("entries that are minus infinity, outside of a softmax")
        return apply("where", value.keep.astype(np.float64), 0.5, value.value, value.fill)
    if isinstance(value, np.ndarray | np.generic) and value.dtype.kind == "b":
        return np.asarray(value, dtype=np.float64)
    return value


def apply(op: str, *operands: Value, **params: Any) -> Value:
    """A row of the op table on numbers; on plain arrays it is computed.

    >>> float(apply("sigmoid", np.array(0.0)))
    0.5
    """
    given = [number(operand) for operand in operands]
    traced = next((operand for operand in given if isinstance(operand, Tracer)), None)
    if traced is not None:
        return traced.recorder.apply(op, given, params)
    arrays = [np.asarray(operand, dtype=np.float64) for operand in given]
    rank = max((a.ndim for a in arrays), default=0) if OPS[op].elementwise else 0
    return OPS[op].forward(*(a.reshape(1, *(1,) * (rank - a.ndim), *a.shape) for a in arrays), **params)[0]


def fit(value: Value, shape: Sequence[int]) -> Value:
    """A value broadcast to a shape; nothing is done where it has it.

    >>> fit(2.0, (2,))
    array([2., 2.])
    """
    return value if shape_of(value) == tuple(shape) else np.broadcast_to(number(value), tuple(shape))


# ------------------------------------------------------------------------------------------------- choosing by a value


def compared(sign: str, a: Value, b: Value, shape: Sequence[int]) -> Value:
    """``a > b`` and the like, as a choice. A number is equal to itself: who asks looks for NaN.

    >>> compared("<", np.array(1.0), np.array(2.0), ())
    np.True_
    """
    full = tuple(shape)
    if is_known(a) and is_known(b):
        return _SIGNS[sign](np.asarray(a), np.asarray(b))
    settled = _settled(sign, a, b, full)
    if settled is not None:
        return settled
    if sign in ("==", "!="):
        if any(isinstance(x, Choice) for x in (a, b)):
            equal = both("or", both("and", a, b, full), both("and", negated(a), negated(b), full), full)
        else:
            equal = both("and", compared(">=", a, b, full), compared(">=", b, a, full), full)
        return equal if sign == "==" else negated(equal)
    left, right = (a, b) if sign in (">", ">=") else (b, a)
    return Choice(">" if sign in (">", "<") else ">=", (number(left), number(right)), full)


def _settled(sign: str, a: Value, b: Value, full: Shape) -> Value:
    """What a comparison comes to for all finite numbers alike; None where that depends on them."""
    if isinstance(a, Tracer) and isinstance(b, Tracer) and a.step == b.step:
        return np.full(full, sign in ("==", ">=", "<="))
    infinite = next((x for x in (a, b) if is_known(x) and not np.isfinite(np.asarray(x)).any()), None)
    if infinite is None:
        return None
    if isinstance(a, Masked) and sign in ("==", "!="):
        return np.broadcast_to(a.keep == (sign == "!="), full)
    return np.broadcast_to(_SIGNS[sign](*(x if x is infinite else 0.0 for x in (a, b))), full)


_SIGNS: dict[str, Callable[[Any, Any], Any]] = {
    ">": np.greater, ">=": np.greater_equal, "<": np.less, "<=": np.less_equal, "==": np.equal, "!=": np.not_equal,
}  # fmt: skip


def both(kind: Literal["and", "or"], a: Value, b: Value, shape: Sequence[int]) -> Value:
    """``a and b``, or ``a or b``, entry by entry.

    >>> both("and", np.array(True), np.array(False), ())
    np.False_
    """
    if is_known(a) and is_known(b):
        return (np.logical_and if kind == "and" else np.logical_or)(a, b)
    return Choice(kind, (_as_choice(a), _as_choice(b)), tuple(shape))


def negated(a: Value) -> Value:
    """``not a``, entry by entry.

    >>> negated(np.array(True))
    np.False_
    """
    return np.logical_not(a) if is_known(a) else Choice("not", (_as_choice(a),), shape_of(a))


def _as_choice(value: Value) -> Value:
    if isinstance(value, Choice) or (is_known(value) and np.asarray(value).dtype.kind == "b"):
        return value
    raise UnmappedError("a number used as a truth value")


def select(condition: Value, yes: Value, no: Value, shape: Sequence[int]) -> Value:
    """``yes`` where the condition holds, else ``no``; an entry that is filled with -inf is left out.

    >>> select(np.array([True, False]), np.array(1.0), np.array(2.0), (2,))
    array([1., 2.])
    """
    if isinstance(condition, Choice):
        return fit(_by_choice(condition, number(yes), number(no), shape), shape)
    mask = np.broadcast_to(np.asarray(condition, dtype=bool), tuple(shape))
    if mask.all() or not mask.any():
        return fit(yes if mask.all() else no, shape)
    if is_known(yes) and is_known(no):
        return np.where(mask, yes, no)
    for kept, other, keep in ((yes, no, mask), (no, yes, ~mask)):
        if not is_known(kept) and is_known(other) and _is_low(np.broadcast_to(other, mask.shape)[~keep]):
            inner = kept if isinstance(kept, Masked) else Masked(number(kept), np.ones(shape_of(kept), bool), -math.inf)
            fill = float(np.max(np.broadcast_to(other, mask.shape)[~keep]))
            return Masked(fit(inner.value, shape), np.broadcast_to(inner.keep, mask.shape) & keep, fill)
    masked = [x for x in (yes, no) if isinstance(x, Masked)]
    if masked:
        marks = [x.keep if isinstance(x, Masked) else True for x in (yes, no)]
        kept = np.where(mask, marks[0], marks[1])
        sides = [x.value if isinstance(x, Masked) else x for x in (yes, no)]
        inside = select(mask, sides[0], sides[1], shape)
        return inside if kept.all() else Masked(inside, kept, masked[0].fill)
    return fit(apply("where", mask.astype(np.float64), 0.5, yes, no), shape)


def _is_low(fill: Any) -> bool:
    return bool(np.all(np.asarray(fill) <= LOW))


def _by_choice(condition: Value, yes: Value, no: Value, shape: Sequence[int]) -> Value:
    if not isinstance(condition, Choice):
        return select(condition, yes, no, shape)
    first = condition.parts[0]
    if condition.kind == "not":
        return _by_choice(first, no, yes, shape)
    if condition.kind == "and":
        return _by_choice(first, _by_choice(condition.parts[1], yes, no, shape), no, shape)
    if condition.kind == "or":
        return _by_choice(first, yes, _by_choice(condition.parts[1], yes, no, shape), shape)
    return apply("where" if condition.kind == ">" else "where_or_equal", *condition.parts, yes, no)


# --------------------------------------------------------------------------------------------- what only moves entries


def moved(move: Callable[..., Any], *operands: Value) -> Value:
    """What ``move`` makes of the operands, where it only moves their entries: it is shown their positions.

    ``move`` takes arrays of whole numbers and gives one; -1 in it stands for a zero that it put in.

    >>> moved(np.flip, np.array([1.0, 2.0]))
    array([2., 1.])
    """
    tables, start = [], 0
    for operand in operands:
        shape = shape_of(operand)
        tables.append(np.arange(start, start + math.prod(shape)).reshape(shape))
        start += math.prod(shape)
    places = np.asarray(move(*tables))
    if any(isinstance(operand, Choice) for operand in operands):
        return _moved_choice(places, operands)
    if any(isinstance(operand, Masked) for operand in operands):
        keep = np.concatenate(
            [np.ravel(x.keep if isinstance(x, Masked) else np.ones(shape_of(x), bool)) for x in operands]
        )
        inside = _taken([x.value if isinstance(x, Masked) else x for x in operands], places)
        left = np.where(places < 0, True, keep[places])
        fill = next(x.fill for x in operands if isinstance(x, Masked))
        return inside if left.all() or is_known(inside) else Masked(inside, left, fill)
    return _taken(operands, places)


def _taken(operands: Sequence[Value], places: Array) -> Value:
    given = [number(operand) for operand in operands]
    if len(given) == 1 and np.array_equal(places.ravel(), np.arange(math.prod(shape_of(given[0])))):
        return np.reshape(given[0], places.shape)
    flat = [np.reshape(x, (-1,)) for x in given]
    total = sum(math.prod(shape_of(x)) for x in given)
    if (places < 0).any():
        flat.append(np.zeros(1))
        places = np.where(places < 0, total, places)
    row = flat[0] if len(flat) == 1 else np.concatenate(flat)
    return row[places]


def _moved_choice(places: Array, operands: Sequence[Value]) -> Value:
    """A choice whose entries move: the sides that it compares move."""
    if len(operands) > 1 or not isinstance(operands[0], Choice) or (places < 0).any():
        raise UnmappedError("truth values that are put together")
    known = operands[0]
    parts = tuple(
        part if is_known(part) and not np.shape(part) else moved(lambda _: places, fit(part, known.shape))
        if not isinstance(part, Choice) else _moved_choice(places, [part])
        for part in known.parts
    )  # fmt: skip
    return Choice(known.kind, parts, places.shape)


def linear(run: Callable[[Array], Any], operand: Value, shape: Sequence[int]) -> Value:
    """What ``run`` makes of one operand, where it is linear in it: its matrix is found by unit vectors.

    >>> linear(np.cumsum, np.array([1.0, 2.0]), (2,))
    array([1., 3.])
    """
    count = math.prod(shape_of(operand))
    if count > MOST_LINEAR:
        raise UnmappedError(f"a linear map of {count} entries")
    units = np.eye(count).reshape(count, *shape_of(operand))
    matrix = np.stack([np.ravel(np.asarray(run(unit))) for unit in units])
    return np.reshape(np.reshape(number(operand), (-1,)) @ matrix, tuple(shape))


def sorted_along(x: Value, axis: int) -> Value:
    """A row in rising order, by a network of pairs: a tie is a kink of min and max.

    >>> sorted_along(np.array([3.0, 1.0, 2.0]), 0)
    array([1., 2., 3.])
    """
    size = shape_of(x)[axis]
    if size > MOST_SORTED:
        raise UnmappedError(f"a sort of {size} entries, more than {MOST_SORTED}")
    front = (slice(None),) * (axis % len(shape_of(x)))
    rows = [x[(*front, i)] for i in range(size)]
    for i in range(size):
        for j in range(size - 1 - i):
            rows[j], rows[j + 1] = np.minimum(rows[j], rows[j + 1]), np.maximum(rows[j], rows[j + 1])
    return np.stack(rows, axis=axis % len(shape_of(x)))


def running(step: Callable[[Value, Value], Value], x: Value, axis: int, *, reverse: bool = False) -> Value:
    """All of ``x0, step(x0, x1), step(step(x0, x1), x2)`` ... along an axis.

    >>> running(np.maximum, np.array([1.0, 3.0, 2.0]), 0)
    array([1., 3., 3.])
    """
    axis %= len(shape_of(x))
    front = (slice(None),) * axis
    order = range(shape_of(x)[axis])
    found: list[Value] = []
    for i in reversed(order) if reverse else order:
        here = x[(*front, i)]
        found.append(step(found[-1], here) if found else here)
    return np.stack(found[::-1] if reverse else found, axis=axis)


# ------------------------------------------------------------------------------------------------ softmax and the like


def softmax(x: Value, axis: int) -> Value:
    """Softmax over an axis; entries that are left out come out as 0.

    >>> float(softmax(np.array([0.0, 0.0]), 0)[0])
    0.5
    """
    if not isinstance(x, Masked):
        return apply("softmax", x, axis=(axis % len(shape_of(x)),))
    return _over_kept(x, axis, lambda kept: apply("softmax", kept, axis=1))


def log_softmax(x: Value, axis: int) -> Value:
    """The logarithm of softmax; entries that are left out stay so.

    >>> round(float(log_softmax(np.array([0.0, 0.0]), 0)[0]), 6)
    -0.693147
    """
    if not isinstance(x, Masked):
        return apply("log_softmax", x, axis=(axis % len(shape_of(x)),))
    return Masked(_over_kept(x, axis, lambda kept: apply("log_softmax", kept, axis=1)), x.keep, -math.inf)


def logsumexp(x: Value, axes: Sequence[int], *, keepdims: bool) -> Value:
    """The logarithm of the sum of exponentials, over those that are not left out.

    >>> round(float(logsumexp(np.array([0.0, 0.0]), [0], keepdims=False)), 6)
    0.693147
    """
    axes = tuple(axis % len(shape_of(x)) for axis in axes)
    if not isinstance(x, Masked):
        return apply("logsumexp", x, axis=axes, keepdims=keepdims)
    return _of_kept(x, axes, lambda rows: apply("logsumexp", rows, axis=(1,)), keepdims=keepdims)


def largest(x: Value, axes: Sequence[int] | None, *, keepdims: bool, op: str = "amax") -> Value:
    """The largest entry over some axes, of those that are not left out.

    >>> float(largest(np.array([1.0, 3.0]), [0], keepdims=False))
    3.0
    """
    axis = None if axes is None else tuple(a % len(shape_of(x)) for a in axes)
    if isinstance(x, Masked) and op == "amax" and axis is not None:
        return _of_kept(x, axis, lambda rows: apply("amax", rows, axis=(1,)), keepdims=keepdims)
    return apply(op, x, axis=axis, keepdims=keepdims)


def _of_kept(x: Masked, axes: Sequence[int], over: Callable[[Value], Value], *, keepdims: bool) -> Value:
    """One number for each row of what is left in."""
    if len(axes) != 1 or not x.keep.any(axis=axes[0]).all():
        raise UnmappedError("a row of which every entry is left out")
    places = np.moveaxis(np.arange(math.prod(x.shape)).reshape(x.shape), axes[0], -1)
    flat: Value = np.reshape(x.value, (-1,))
    found = _by_pattern(places, np.moveaxis(x.keep, axes[0], -1), lambda rows: over(flat[rows]))
    return np.expand_dims(found, axes[0]) if keepdims else found


def _over_kept(x: Masked, axis: int, over: Callable[[Value], Value]) -> Value:
    """An op on the rows of what is left in, for each pattern of the mask; entries that are left out become 0."""
    axis %= len(x.shape)
    places = np.moveaxis(np.arange(math.prod(x.shape)).reshape(x.shape), axis, -1).reshape(-1, x.shape[axis])
    keep = np.moveaxis(x.keep, axis, -1).reshape(-1, x.shape[axis])
    parts: list[Value] = []
    where = np.full(math.prod(x.shape), -1)
    start = 0
    flat: Value = np.reshape(x.value, (-1,))
    for pattern in np.unique(keep, axis=0):
        rows = places[(keep == pattern).all(axis=1)][:, pattern]
        if rows.size:
            parts.append(np.reshape(over(flat[rows]), (-1,)))
            where[rows.ravel()] = np.arange(start, start + rows.size)
            start += rows.size
    row = parts[0] if len(parts) == 1 else np.concatenate(parts)
    return moved(lambda _: where.reshape(x.shape), row)


@dataclass(frozen=True, slots=True)
class _Part:
    """A value that is known to be a piece of a softmax of ``x`` over some axes."""

    what: Literal["max", "shift", "exp", "sum", "log"]
    x: Value
    axes: tuple[int, ...]

    def of_same(self, other: _Part) -> bool:
        return self.axes == other.axes and _same(self.x, other.x)


def _same(a: Value, b: Value) -> bool:
    if isinstance(a, Masked) and isinstance(b, Masked):
        return a.value.step == b.value.step and np.array_equal(a.keep, b.keep)
    return isinstance(a, Tracer) and isinstance(b, Tracer) and a.step == b.step


@dataclass(slots=True)
class Idioms:
    """Softmax, its logarithm and logsumexp as they are written out: shifted by the largest entry, which cancels.

    The largest entry has kinks, the whole has none. Whoever interprets a program tells each step by :meth:`seen` and
    takes the value that it answers with in place of the step's own.
    """

    parts: dict[int, _Part] = field(default_factory=dict)

    def seen(self, kind: str, operands: Sequence[Value], result: Value, axes: Sequence[int] | None = None) -> Value:
        """A step: max, sum, subtract, add, exp, log, divide, or carry for a change of shape; and what it comes to."""
        if not isinstance(result, Tracer | Masked):
            return result
        known = [self.parts.get(_key(x)) for x in operands]
        whole = self._whole(kind, known, shape_of(result)) if len(operands) == 2 else None
        if whole is not None:
            return whole
        part = self._part(kind, operands, known, axes)
        if part is not None:
            self.parts[_key(result)] = part
        return result

    def _whole(self, kind: str, known: Sequence[_Part | None], shape: Shape) -> Value:
        a, b = known
        if a is None or b is None or not a.of_same(b) or (len(a.axes) != 1 and kind != "add"):
            return None
        if (kind, a.what, b.what) == ("divide", "exp", "sum"):
            return softmax(a.x, a.axes[0])
        if (kind, a.what, b.what) == ("subtract", "shift", "log"):
            return log_softmax(a.x, a.axes[0])
        if kind == "add" and {a.what, b.what} == {"log", "max"}:
            return np.reshape(logsumexp(a.x, a.axes, keepdims=False), shape)
        return None

    def _part(
        self, kind: str, operands: Sequence[Value], known: Sequence[_Part | None], axes: Sequence[int] | None
    ) -> _Part | None:
        first = known[0] if known else None
        if kind == "max" and axes is not None:
            return _Part("max", operands[0], tuple(a % len(shape_of(operands[0])) for a in axes))
        if kind == "carry":
            found = [part for part in known if part is not None and part.what in ("max", "sum", "log")]
            return found[0] if len(found) == 1 else None
        if kind == "subtract" and len(known) == 2 and known[1] is not None and known[1].what == "max":
            return _Part("shift", operands[0], known[1].axes) if _same(operands[0], known[1].x) else None
        if first is None:
            return None
        if kind == "sum" and first.what == "exp" and axes is not None:
            same = first.axes == tuple(a % len(shape_of(operands[0])) for a in axes)
            return _Part("sum", first.x, first.axes) if same else None
        after = {("exp", "shift"): "exp", ("log", "sum"): "log"}.get((kind, first.what))
        return _Part(after, first.x, first.axes) if after else None  # type: ignore[arg-type]


def _key(value: Value) -> int:
    """The step that holds a value."""
    if isinstance(value, Masked):
        return value.value.step
    return value.step if isinstance(value, Tracer) else -1


# ------------------------------------------------------------------------------------------------- masks step by step


def elementwise(op: str, *operands: Value) -> Value:
    """An elementwise row; on masked entries what a shift, a positive factor and ``exp`` make of minus infinity.

    >>> float(elementwise("add", np.array(1.0), np.array(2.0)))
    3.0
    """
    masked = [x for x in operands if isinstance(x, Masked)]
    if not masked:
        low = _added_mask(op, operands)
        return apply(op, *operands) if low is None else low
    shape = np.broadcast_shapes(*(shape_of(x) for x in operands))
    keep = np.logical_and.reduce([np.broadcast_to(x.keep, shape) for x in masked])
    inside = apply(op, *(x.value if isinstance(x, Masked) else x for x in operands))
    if op == "exp":
        return select(keep, inside, np.zeros(shape), shape)
    others = [x for x in operands if not isinstance(x, Masked)]
    shifts = op == "add" or (op == "subtract" and isinstance(operands[0], Masked) and bool(others))
    scales = op in ("multiply", "divide") and isinstance(operands[0], Masked) and all(
        is_known(x) and np.all(np.asarray(x) > 0) for x in others
    )  # fmt: skip
    if shifts or (scales and others):
        return Masked(fit(inside, shape), keep, masked[0].fill)
    return apply(op, *operands)


def _added_mask(op: str, operands: Sequence[Value]) -> Value:
    """``x + mask`` with a mask of 0 and -inf leaves entries out. None for anything else."""
    if op != "add":
        return None
    for x, mask in (operands, operands[::-1]):
        if is_known(mask) and not is_known(x) and np.any(np.asarray(mask) <= LOW):
            shape = np.broadcast_shapes(shape_of(x), np.shape(mask))
            low = np.broadcast_to(np.asarray(mask) <= LOW, shape)
            inside = fit(apply("add", x, np.where(low, 0.0, mask)), shape)
            return Masked(inside, ~low, float(np.max(np.broadcast_to(mask, shape)[low])))
    return None


# ------------------------------------------------------------------------------------------------- windows that slide


def convolution(
    x: Value,
    w: Value,
    stride: Sequence[int],
    padding: Sequence[tuple[int, int]],
    spread: Sequence[int],
    dilation: Sequence[int],
    groups: int = 1,
) -> Value:
    """The convolution of ``x (N, C, ...)`` with ``w (O, C / groups, ...)``; ``spread`` puts zeros between entries of x.

    >>> convolution(np.ones((1, 1, 3)), np.ones((1, 1, 2)), [1], [(0, 0)], [1], [1]).ravel()
    array([2., 2.])
    """
    axes = len(stride)
    if axes not in (1, 2):
        raise UnmappedError(f"a convolution over {axes} axes")
    x, w = _spread(x, spread), _spread(w, dilation)
    x = _cropped(x, padding)
    around = [(max(low, 0), max(high, 0)) for low, high in padding]
    sides = tuple(low for low, _ in around)
    if any(low != high for low, high in around):
        x, sides = np.pad(number(x), ((0, 0), (0, 0), *around)), (0,) * axes
    static = {"stride": tuple(stride) if axes == 2 else stride[0], "padding": sides if axes == 2 else sides[0]}
    inner, outer = shape_of(x)[1] // groups, shape_of(w)[0] // groups
    parts = [
        apply(f"conv{axes}d", x[:, i * inner : (i + 1) * inner], w[i * outer : (i + 1) * outer], **static)
        if groups > 1 else apply(f"conv{axes}d", x, w, **static)
        for i in range(groups)
    ]  # fmt: skip
    return parts[0] if groups == 1 else np.concatenate(parts, axis=1)


def _cropped(x: Value, padding: Sequence[tuple[int, int]]) -> Value:
    """Negative padding takes entries away."""
    if all(low >= 0 and high >= 0 for low, high in padding):
        return x
    cut = [
        slice(max(-low, 0), size - max(-high, 0)) for (low, high), size in zip(padding, shape_of(x)[2:], strict=True)
    ]
    return x[(slice(None), slice(None), *cut)]


def _spread(x: Value, factors: Sequence[int]) -> Value:
    """Zeros between the entries of the last axes."""
    if all(factor == 1 for factor in factors):
        return x

    def wide(places: Array) -> Array:
        sizes = [(n - 1) * factor + 1 for n, factor in zip(places.shape[2:], factors, strict=True)]
        table = np.full((*places.shape[:2], *sizes), -1)
        table[(slice(None), slice(None), *(slice(None, None, factor) for factor in factors))] = places
        return table

    return moved(wide, x)


def windows(x: Value, size: Sequence[int], stride: Sequence[int], padding: Sequence[tuple[int, int]]) -> Value:
    """The windows that slide over all axes of ``x``, each in one row of the last axis; what lies outside is 0.

    >>> windows(np.array([1.0, 2.0, 3.0]), [2], [1], [(0, 0)])
    array([[1., 2.],
           [2., 3.]])
    """
    return moved(lambda places: _slid(places, size, stride, padding), x)


def largest_in_windows(
    x: Value, size: Sequence[int], stride: Sequence[int], padding: Sequence[tuple[int, int]], op: str = "amax"
) -> Value:
    """The largest entry of each window, of those that lie inside: windows of a like form go through one op.

    >>> largest_in_windows(np.array([-1.0, -2.0, -3.0]), [2], [1], [(0, 1)])
    array([-1., -2., -3.])
    """
    places = _slid(np.arange(math.prod(shape_of(x))).reshape(shape_of(x)), size, stride, padding)
    if (places.max(axis=-1) < 0).any():
        raise UnmappedError("a window without entries")
    flat: Value = np.reshape(number(x), (-1,))
    return _by_pattern(places, places >= 0, lambda rows: apply(op, flat[rows], axis=(1,)))


def _slid(places: Array, size: Sequence[int], stride: Sequence[int], padding: Sequence[tuple[int, int]]) -> Array:
    wide = np.pad(places, padding, constant_values=-1)
    views = np.lib.stride_tricks.sliding_window_view(wide, tuple(size))
    found = views[tuple(slice(None, None, step) for step in stride)]
    return found.reshape(*found.shape[: len(size)], -1)


def _by_pattern(places: Array, keep: Array, over: Callable[[Array], Value]) -> Value:
    """``over`` of the rows of places that are kept, one number each; rows that keep alike go together."""
    rows, marks = places.reshape(-1, places.shape[-1]), keep.reshape(-1, keep.shape[-1])
    parts: list[Value] = []
    where = np.empty(len(rows), dtype=int)
    start = 0
    for pattern in np.unique(marks, axis=0):
        chosen = np.flatnonzero((marks == pattern).all(axis=1))
        parts.append(over(rows[chosen][:, pattern]))
        where[chosen] = np.arange(start, start + len(chosen))
        start += len(chosen)
    row = parts[0] if len(parts) == 1 else np.concatenate(parts)
    return moved(lambda _: where.reshape(places.shape[:-1]), row)

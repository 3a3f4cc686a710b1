"""Which rows of the op table NumPy's functions are: one table, and rules for what is put together from several rows.

A function whose name is that of a row is that row; :data:`UFUNC_ROWS` and :data:`FUNCTION_ROWS` have the names that
differ. What has no row of its own and is easily written by others stands in :data:`COMPOSED`; a row that comes later
takes its place by its name.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from verify.errors import did_you_mean
from verify.ops import OPS, Op
from verify.tracing.conditions import Condition, as_index

UFUNC_ROWS: Mapping[str, str] = {
    "maximum": "max", "minimum": "min", "fmax": "max", "fmin": "min", "absolute": "abs", "fabs": "abs",
    "float_power": "power", "conjugate": "positive", "pow": "power", "expit": "sigmoid", "gammaln": "lgamma",
    "psi": "digamma", "true_divide": "divide",
}  # fmt: skip
"""A ufunc, NumPy's or SciPy's -> the row that it is, where their names differ."""

FUNCTION_ROWS: Mapping[str, str] = {
    "max": "amax", "min": "amin", "amax": "amax", "amin": "amin", "inv": "inverse", "permute_dims": "transpose",
    "concat": "concatenate",
}  # fmt: skip
"""The same for functions that are no ufuncs."""

METHODS: Mapping[tuple[str, str], Callable[..., Any]] = {
    ("add", "reduce"): np.sum, ("multiply", "reduce"): np.prod, ("maximum", "reduce"): np.max,
    ("minimum", "reduce"): np.min, ("add", "accumulate"): np.cumsum, ("multiply", "accumulate"): np.cumprod,
    ("fmax", "reduce"): np.max, ("fmin", "reduce"): np.min, ("logical_and", "reduce"): np.all,
    ("logical_or", "reduce"): np.any,
}  # fmt: skip
"""Methods of ufuncs -> the function that does the same."""

COMPARISONS = ("greater", "greater_equal", "less", "less_equal", "equal", "not_equal")
"""Ufuncs that give a :class:`~verify.tracing.tracer.Condition`."""

RESHAPING = frozenset({
    "reshape", "ravel", "transpose", "permute_dims", "matrix_transpose", "squeeze", "expand_dims", "swapaxes",
    "moveaxis", "rollaxis", "atleast_1d", "atleast_2d", "atleast_3d", "flip", "flipud", "fliplr", "rot90", "split",
    "array_split", "hsplit", "vsplit", "dsplit", "diagonal",
})  # fmt: skip
"""Functions that give entries another shape or order and change none: their results are views."""

FROZEN: Mapping[str, str] = {
    "argmax": "the place of the largest", "argmin": "the place of the smallest", "argsort": "an order by size",
    "argpartition": "an order by size", "searchsorted": "a place among sorted values", "digitize": "a bin",
    "isclose": "a comparison", "allclose": "a comparison", "array_equal": "a comparison", "any": "a comparison",
    "all": "a comparison", "isnan": "a comparison", "isfinite": "a comparison", "isinf": "a comparison",
    "nonzero": "which entries are 0", "flatnonzero": "which entries are 0", "count_nonzero": "which entries are 0",
    "argwhere": "which entries are 0", "round": "a value rounded", "around": "a value rounded",
    "rint": "a value rounded",
    "trunc": "a value rounded", "fix": "a value rounded", "signbit": "a sign", "unique": "which values are equal",
    "array_str": "a text", "array_repr": "a text", "array2string": "a text", "isin": "which values are equal",
    "histogram": "counts", "floor_divide": "a quotient rounded", "spacing": "the size of a rounding error",
}  # fmt: skip
"""Functions, and ufuncs, whose result does not change with small changes of values -> what they tell."""

ORDERS = ("argmax", "argmin", "argsort", "argpartition")
"""Those among them that could come out otherwise where values are equal."""

PLAIN: Mapping[str, Callable[..., Any]] = {
    "shape": lambda a: a.shape,
    "ndim": lambda a: a.ndim,
    "size": lambda a, axis=None: a.size if axis is None else a.shape[axis],
    "zeros_like": lambda a, *args, **options: _filled(a, 0.0, *args, **options),
    "ones_like": lambda a, *args, **options: _filled(a, 1.0, *args, **options),
    "empty_like": lambda a, *args, **options: _filled(a, 0.0, *args, **options),
    "full_like": lambda a, fill_value, *args, **kwargs: _filled(a, fill_value, *args, **kwargs),  # noqa: PLW0108
    "iscomplexobj": lambda _: False,
    "isrealobj": lambda _: True,
    "result_type": lambda *items: np.result_type(*(item.dtype if is_traced(item) else item for item in items)),
    "broadcast_shapes": np.broadcast_shapes,
    "shares_memory": lambda a, b, **_: getattr(a, "storage", a) is getattr(b, "storage", None),
    "may_share_memory": lambda a, b, **_: getattr(a, "storage", a) is getattr(b, "storage", None),
}  # fmt: skip
"""Functions that look at shapes and dtypes alone."""


def _filled(a: Any, value: Any, dtype: Any = None, *_: Any, shape: Any = None, **__: Any) -> Any:
    """An array in the shape of another, with one value; a traced value may be written into it later."""
    kind = a.dtype if dtype is None else np.dtype(dtype)
    plain = np.full(a.shape if shape is None else shape, 0.0 if is_traced(value) else value, dtype=kind)
    made = _recorder(a, value).fresh(plain)
    if is_traced(value):
        made[...] = value
    return made


def _recorder(*values: Any) -> Any:
    """The recorder of the first traced value among some."""
    for value in values:
        if hasattr(value, "recorder"):
            return value.recorder
        if isinstance(value, list | tuple):
            found = _recorder(*value)
            if found is not None:
                return found
    return None


def is_traced(value: Any) -> bool:
    """Whether a value is a tracer or a comparison of tracers.

    >>> is_traced(np.zeros(3))
    False
    """
    return hasattr(value, "recorder")


# ---------------------------------------------------------------------------------------------------- entry by entry


def elementwise(recorder: Any, name: str, operands: Sequence[Any]) -> Any:
    """A ufunc on tracers. Raises TraceError where there is no row for it.

    >>> from verify.tracing.recorder import Recorder
    >>> recorder = Recorder(elementwise.__code__, "", np.dtype(float))
    >>> elementwise(recorder, "maximum", [recorder.input("x", np.ones(3)), 0.0])
    Tracer(max, shape=(3,))
    """
    if name in COMPARISONS:
        return recorder.condition(name, operands)
    if name in FROZEN:
        return getattr(np, name)(*(_frozen(recorder, operand, name) for operand in operands))
    return _by_row(recorder, name, operands)


def _by_row(recorder: Any, name: str, operands: Sequence[Any]) -> Any:
    row = UFUNC_ROWS.get(name, name)
    if row == "power" and not is_traced(operands[1]) and np.ndim(operands[1]) == 0:
        return recorder.apply("power_constant", [operands[0]], {"exponent": float(operands[1])})
    if row == "add" and any(_is_zero(operand) for operand in operands):
        return _other_than_zero(operands)
    if row in OPS and OPS[row].arity == len(operands):
        return recorder.apply(row, operands)
    if name in COMPOSED:
        return COMPOSED[name](*operands)
    return _no_op(recorder, name)


def _is_zero(operand: Any) -> bool:
    return not is_traced(operand) and isinstance(operand, int | float) and operand == 0


def _other_than_zero(operands: Sequence[Any]) -> Any:
    """What ``total = 0.0; total += x`` and ``sum([x, y])`` start with is no op of the user's."""
    return operands[_is_zero(operands[0])].copy()


def _no_op(recorder: Any, name: str) -> Any:
    known = [*OPS, *UFUNC_ROWS, *FUNCTION_ROWS, *COMPOSED]
    near = did_you_mean(name, known)
    remedy = f"Write it with ops that there are ('verify ops' lists them). {near}".strip()
    return recorder.refuse(f"there is no op for the function '{name}'", remedy)


# --------------------------------------------------------------------------------------------------- other functions


def function(recorder: Any, func: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    """A NumPy function that is no ufunc, on tracers. Raises TraceError where there is no row for it.

    >>> from verify.tracing.recorder import Recorder
    >>> recorder = Recorder(function.__code__, "", np.dtype(float))
    >>> function(recorder, np.sum, [recorder.input("x", np.ones((3, 2)))], {"axis": 1})
    Tracer(sum, shape=(3,))
    """
    name = func.__name__
    if name in PLAIN:
        return PLAIN[name](*args, **kwargs)
    if name in FROZEN:
        return func(
            *(_frozen(recorder, a, name) for a in args), **{k: _frozen(recorder, v, name) for k, v in kwargs.items()}
        )
    if "out" in kwargs and kwargs["out"] is not None:
        target = kwargs["out"]
        target[...] = function(recorder, func, args, {k: v for k, v in kwargs.items() if k != "out"})
        return target
    if "dtype" in kwargs and kwargs["dtype"] is not None and np.dtype(kwargs["dtype"]).kind == "f":
        kwargs = {k: v for k, v in kwargs.items() if k != "dtype"}
    row = OPS.get(FUNCTION_ROWS.get(name, name))
    if name in BEFORE_ROWS or (row is None and name in COMPOSED):
        try:
            return (BEFORE_ROWS.get(name) or COMPOSED[name])(*args, **kwargs)
        except TypeError as error:
            recorder.refuse(f"these arguments of np.{name} ({error})", "Use its plain form.")
    if row is None or (name not in FUNCTION_ROWS and row.elementwise and row.arity > 1 and name in _REDUCING):
        return _no_op(recorder, name)
    return _through_row(recorder, row, func, args, kwargs)


def _frozen(recorder: Any, operand: Any, name: str) -> Any:
    """An operand at the traced point; where values that are ordered are equal, the other way round in a rerun."""
    if not is_traced(operand):
        return operand
    value = np.array(recorder.number(operand))
    is_order = name in ORDERS
    flat = np.sort(np.ravel(value))
    recorder.freeze(FROZEN[name], tied=bool(is_order and np.any(flat[1:] == flat[:-1])))
    if is_order and recorder.turned:
        # A little less for each entry that comes later, or for each that comes earlier: the other of equal ones wins.
        _, level = np.unique(np.ravel(value), return_inverse=True)
        order = np.arange(value.size) * (1 if name == "argmax" else -1)
        value = (level * float(value.size) + order).reshape(value.shape)
    return value[()]


_REDUCING = ("max", "min")
"""Functions whose name is that of an elementwise row and that mean something else."""


def _through_row(
    recorder: Any, row: Op, func: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]
) -> Any:
    """The arguments of a NumPy function as operands and parameters of a row."""
    if row.variadic == "text first":
        if not args or not isinstance(args[0], str):
            recorder.refuse(f"np.{func.__name__} without a text", "Write the subscripts first.")
        return recorder.apply(row.name, list(args[1:]), {row.params[0]: args[0]})
    given = _bound(func, args, kwargs)
    names = list(given)
    params: dict[str, Any] = {}
    if row.variadic == "list":
        operands = [item for item in given[names[0]] if row.name != "concatenate" or np.size(item)]
        rest = names[1:]
    else:
        operands = [given[name] for name in names[: row.arity]]
        rest = names[row.arity :]
    for name in rest:
        value = given[name]
        if name in row.params:
            params[name] = static(value)
        elif not says_nothing(name, value):
            recorder.refuse(f"np.{func.__name__} with {name}={value!r:.40}", f"Leave {name}= out.")
    return recorder.apply(row.name, operands, params)


def says_nothing(name: str, value: Any) -> bool:
    """Whether an argument is what NumPy takes where it is left out.

    >>> says_nothing("order", "C"), says_nothing("order", "F")
    (True, False)
    """
    if value is None or value is np._NoValue:  # noqa: SLF001 - what NumPy's signatures show
        return True
    if name == "dtype":
        return bool(np.dtype(value).kind == "f")
    return isinstance(value, str | int) and value == _USUAL.get(name)


_USUAL: Mapping[str, Any] = {
    "mode": "constant", "order": "C", "casting": "same_kind", "ddof": 0, "correction": 0, "keepdims": False,
    "where": True, "subok": True, "optimize": False, "constant_values": 0,
}  # fmt: skip


def _bound(func: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments by name, in the order of the signature."""
    try:
        bound = inspect.signature(func).bind(*args, **kwargs)
    except ValueError:  # an older NumPy keeps the signatures of its functions in C to itself
        return {**{str(i): arg for i, arg in enumerate(args)}, **kwargs}
    given = dict(bound.arguments)
    return {**{k: v for k, v in given.items() if k != "kwargs"}, **given.get("kwargs", {})}


def static(value: Any) -> Any:
    """A parameter as the table has it: plain numbers, and tuples of them.

    >>> static([np.int64(1), 2]), static(np.array([[1, 2], [3, 4]]))
    ((1, 2), ((1, 2), (3, 4)))
    """
    if is_traced(value):
        value = value.whole_numbers()
    if isinstance(value, np.ndarray):
        value = value.tolist()
    if isinstance(value, list | tuple | range):
        return tuple(static(item) for item in value)
    return value.item() if isinstance(value, np.generic) else value


# ------------------------------------------------------------------------------------------------------------ indices


def indexed(recorder: Any, a: Any, index: Any) -> Any:
    """``a[index]`` for an index that is known: numbers, slices, new axes, ``...``, arrays of integers or of booleans.

    >>> from verify.tracing.recorder import Recorder
    >>> recorder = Recorder(indexed.__code__, "", np.dtype(float))
    >>> indexed(recorder, recorder.input("x", np.ones((3, 2))), (slice(1, None), 0))
    Tracer(index, shape=(2,))
    """
    parts = index if isinstance(index, tuple) else (index,)
    places = np.arange(a.size).reshape(a.shape)[index]
    if not parts:
        return a
    if not np.size(places):
        recorder.refuse("an index that picks no entries", "Leave it out.")
    simple = _simple(parts, a.ndim)
    if simple is not None:
        lists = any(isinstance(part, tuple) for part in simple)
        return recorder.apply("gather" if lists else "index", [a], {"index": simple})
    # What a case cannot write as an index it can as one into the entries in a row.
    picked = recorder.apply("gather", [np.ravel(a)], {"index": (tuple(np.ravel(places).tolist()),)})
    return np.reshape(picked, np.shape(places))


def _simple(parts: Sequence[Any], rank: int) -> tuple[Any, ...] | None:
    """Numbers, slices, new axes and lists, with ``...`` written out and full slices at the end left out.

    None where there is more to it.
    """
    arrays = [
        part if part is None or isinstance(part, slice) or part is Ellipsis else np.asarray(part) for part in parts
    ]
    flat: list[Any] = []
    for part in arrays:
        if isinstance(part, np.ndarray) and part.dtype.kind == "b":
            flat += list(np.nonzero(part))
        else:
            flat.append(part)
    if any(isinstance(part, np.ndarray) and part.ndim > 1 for part in flat):
        return None
    found: list[Any] = []
    for part in flat:
        if part is Ellipsis:
            found += [slice(None)] * (rank - sum(other is not Ellipsis and other is not None for other in flat))
        elif isinstance(part, slice):
            found.append(slice(*(None if b is None else int(b) for b in (part.start, part.stop, part.step))))
        else:
            found.append(None if part is None else static(part))
    while len(found) > 1 and found[-1] == slice(None):
        found.pop()
    return tuple(found)


# -------------------------------------------------------------------------------------------- made of several rows


def _inner(a: Any, b: Any) -> Any:
    return a * b if not np.ndim(a) or not np.ndim(b) else a @ np.transpose(b)


def _tensordot(a: Any, b: Any, axes: Any = 2) -> Any:
    """As one matrix product: the summed axes are put last in one operand and first in the other."""
    if isinstance(axes, int):
        axes = (tuple(range(np.ndim(a) - axes, np.ndim(a))), tuple(range(axes)))
    left, right = (tuple(np.atleast_1d(side) % np.ndim(x)) for side, x in zip(axes, (a, b), strict=True))
    kept_a = [i for i in range(np.ndim(a)) if i not in left]
    kept_b = [i for i in range(np.ndim(b)) if i not in right]
    inner = math.prod(np.shape(a)[i] for i in left)
    rows = np.reshape(np.transpose(a, (*kept_a, *left)), (-1, inner))
    columns = np.reshape(np.transpose(b, (*right, *kept_b)), (inner, -1))
    shape = [np.shape(a)[i] for i in kept_a] + [np.shape(b)[i] for i in kept_b]
    return np.reshape(rows @ columns, tuple(shape))


def _swapaxes(a: Any, axis1: int, axis2: int) -> Any:
    order = list(range(a.ndim))
    order[axis1], order[axis2] = order[axis2], order[axis1]
    return np.transpose(a, order)


def _moved_axes(a: Any, source: Any, destination: Any) -> Any:
    """The order is read off an array whose sizes are all different."""
    marked = np.broadcast_to(False, tuple(range(2, 2 + a.ndim)))
    return np.transpose(a, [size - 2 for size in np.moveaxis(marked, source, destination).shape])


def _average(a: Any, axis: Any = None, weights: Any = None, *, keepdims: bool = False) -> Any:
    if weights is None:
        return np.mean(a, axis=axis, keepdims=keepdims)
    return np.sum(a * weights, axis=axis, keepdims=keepdims) / np.sum(weights, axis=axis, keepdims=keepdims)


def _norm(x: Any, ord: Any = None, axis: Any = None, keepdims: bool = False) -> Any:  # noqa: A002 - NumPy's name
    """The length of vectors, or the root of the sum of all squares; other norms are written out."""
    one_axis = np.size(axis) == 1 if axis is not None else x.ndim == 1
    if ord == 1 and one_axis:
        return np.sum(np.abs(x), axis=axis, keepdims=keepdims)
    if ord == np.inf and one_axis:
        return np.max(np.abs(x), axis=axis, keepdims=keepdims)
    if ord not in (None, 2, "fro") or (ord == 2 and not one_axis):
        raise TypeError(f"ord={ord!r}")
    return x.recorder.apply("norm", [x], {"axis": static(axis), "keepdims": keepdims})


def _clip(a: Any, a_min: Any = None, a_max: Any = None, *, min: Any = None, max: Any = None) -> Any:  # noqa: A002
    low, high = (a_min if min is None else min), (a_max if max is None else max)
    low, high = _unless(low, -np.inf), _unless(high, np.inf)
    if all(isinstance(b, int | float) and not is_traced(b) for b in (low, high)) and low < high and is_traced(a):
        return a.recorder.apply("clip", [a], {"lo": float(low), "hi": float(high)})
    a = a if low is None else np.maximum(a, low)
    return a if high is None else np.minimum(a, high)


def _unless(given: Any, none: float) -> Any:
    """A bound that may bind: an infinite one is none."""
    return None if not is_traced(given) and isinstance(given, int | float) and given == none else given


def _where(condition: Any, x: Any = None, y: Any = None) -> Any:
    """A comparison of traced values as the row that it is; a known mask as one that is compared with a half."""
    if x is None:
        return np.nonzero(condition.frozen())
    recorder = _recorder(condition, x, y)
    x, y = recorder.put_together(x), recorder.put_together(y)
    if isinstance(condition, Condition):
        return condition.choose(x, y)
    if is_traced(condition):
        return (condition != 0).choose(x, y)
    return recorder.masked(np.asarray(condition), x, y)


def add_at(recorder: Any, name: str, target: Any, index: Any, values: Any = None) -> None:
    """``np.add.at``: what is named several times is added several times, one after the other.

    >>> from verify.tracing.recorder import Recorder
    >>> recorder = Recorder(add_at.__code__, "", np.dtype(float))
    >>> target = recorder.fresh(np.zeros(3))
    >>> add_at(recorder, "add", target, np.array([2, 2]), recorder.input("x", np.array([1.0, 4.0])))
    >>> recorder.number(target)
    array([0., 0., 5.])
    """
    index = as_index(index)
    places = np.arange(target.size).reshape(target.shape)[index]
    values = recorder.put_together(values)
    spread = np.ravel(values if np.shape(values) == places.shape else np.broadcast_to(values, places.shape))
    flat = np.ravel(places)
    turn = np.array([np.count_nonzero(flat[:i] == place) for i, place in enumerate(flat)], dtype=np.int64)
    for number in range(int(turn.max(initial=-1)) + 1):
        chosen = np.flatnonzero(turn == number)
        where = np.unravel_index(flat[chosen], target.shape)
        target[where] = getattr(np, name)(target[where], spread[chosen])


def _diff(a: Any, n: int = 1, axis: int = -1) -> Any:
    front = (slice(None),) * (axis % a.ndim)
    for _ in range(n):
        a = a[(*front, slice(1, None))] - a[(*front, slice(None, -1))]
    return a


def _bincount(x: Any, weights: Any = None, minlength: int = 0) -> Any:
    """Sums of weights by bin."""
    bins = as_index(x)
    result = _recorder(weights).fresh(np.zeros(max(minlength, int(np.max(bins)) + 1)))
    np.add.at(result, bins, weights)
    return result


def _sorted(a: Any, axis: int | None = -1, **_: Any) -> Any:
    """By the order at the traced point."""
    a, axis = (np.ravel(a), 0) if axis is None else (a, axis)
    return np.take_along_axis(a, np.argsort(a, axis=axis), axis=axis)


def _median(a: Any, axis: int | None = None, *, keepdims: bool = False, **_: Any) -> Any:
    """The middle of the sorted values, or the mean of the two in the middle."""
    shape = [1 if axis is None or i == axis % a.ndim else size for i, size in enumerate(a.shape)]
    a, along = (np.ravel(a), 0) if axis is None else (a, axis)
    size = a.shape[along]
    middle = np.take(_sorted(a, axis=along), np.arange((size - 1) // 2, size // 2 + 1), axis=along)
    found = np.mean(middle, axis=along)
    return np.reshape(found, tuple(shape)) if keepdims else found


def _quantile(a: Any, q: Any, axis: int | None = None, *, keepdims: bool = False, **options: Any) -> Any:
    """Between the two sorted values that are next to it, in proportion."""
    if set(options) - {"method"} or options.get("method", "linear") != "linear" or np.ndim(q):
        raise TypeError("a method other than 'linear', or several quantiles")
    shape = [1 if axis is None or i == axis % a.ndim else size for i, size in enumerate(a.shape)]
    a, along = (np.ravel(a), 0) if axis is None else (a, axis)
    place = float(q) * (a.shape[along] - 1)
    low, ordered = math.floor(place), _sorted(a, axis=along)
    below, above = (np.take(ordered, i, axis=along) for i in (low, min(low + 1, a.shape[along] - 1)))
    found = below + (place - low) * (above - below) if place > low else below
    return np.reshape(found, tuple(shape)) if keepdims else found


def _apply_along_axis(func1d: Callable[..., Any], axis: int, arr: Any, *args: Any, **kwargs: Any) -> Any:
    """Row by row."""
    moved = np.moveaxis(arr, axis, -1)
    rows = np.reshape(moved, (-1, moved.shape[-1]))
    found = [func1d(rows[i], *args, **kwargs) for i in range(rows.shape[0])]
    front = np.reshape(np.stack(found), (*moved.shape[:-1], *np.shape(found[0])))
    return np.moveaxis(front, -1, axis) if np.ndim(found[0]) else front


def _convolve(a: Any, v: Any, mode: str = "full") -> Any:
    """Sums of shifted products."""
    n, m = np.shape(a)[0], np.shape(v)[0]
    full: Any = sum(np.pad(a * v[j], (j, m - 1 - j)) for j in range(m))
    if mode == "full":
        return full
    longest, shortest = max(n, m), min(n, m)
    start, length = (shortest - 1, longest - shortest + 1) if mode == "valid" else ((shortest - 1) // 2, longest)
    return full[start : start + length]


def _interp(x: Any, xp: Any, fp: Any, left: Any = None, right: Any = None, **_: Any) -> Any:
    """The stretch is that of the traced point."""
    place = np.searchsorted(xp, x, side="right") - 1
    below, above = np.asarray(place) < 0, np.asarray(place) >= len(xp) - 1
    i = np.clip(place, 0, len(xp) - 2)
    within = fp[i] + (x - xp[i]) * ((fp[i + 1] - fp[i]) / (xp[i + 1] - xp[i]))
    low, high = (fp[0] if left is None else left), (fp[-1] if right is None else right)
    return np.where(below, low, np.where(above, high, within))


def _trapezoid(y: Any, x: Any = None, dx: float = 1.0, axis: int = -1) -> Any:
    width = dx if x is None else np.diff(x, axis=axis if np.ndim(x) > 1 else -1)
    front = (slice(None),) * (axis % np.ndim(y))
    return np.sum(width * (y[(*front, slice(1, None))] + y[(*front, slice(None, -1))]) / 2.0, axis=axis)


def _cov(m: Any, *, rowvar: bool = True, ddof: int = 1, **_: Any) -> Any:
    rows = np.atleast_2d(m if rowvar else np.transpose(m))
    centred = rows - np.mean(rows, axis=1, keepdims=True)
    return np.squeeze(centred @ np.transpose(centred) / (rows.shape[1] - ddof))


def _gradient(f: Any, *spacing: Any, axis: Any = None, **_: Any) -> Any:
    """Central differences, one-sided at the ends."""
    if f.ndim > 1 and axis is None:
        raise TypeError("several axes")
    f, step = np.moveaxis(f, axis or 0, 0), spacing[0] if spacing else 1.0
    if np.ndim(step):
        raise TypeError("a spacing that is no number")
    inner = (f[2:] - f[:-2]) / (2.0 * step)
    found = np.concatenate([(f[1:2] - f[:1]) / step, inner, (f[-1:] - f[-2:-1]) / step])
    return np.moveaxis(found, 0, axis or 0)


def _put_along_axis(arr: Any, indices: Any, values: Any, axis: int | None) -> None:
    places = np.take_along_axis(np.arange(arr.size).reshape(arr.shape), as_index(indices), axis=axis)
    arr[np.unravel_index(places, arr.shape)] = values


def _padded(array: Any, pad_width: Any, mode: str = "constant", **options: Any) -> Any:
    """Pads that repeat entries, and constants other than 0."""
    if mode == "constant" and not np.any(options.get("constant_values", 0)):
        return array.recorder.apply("pad", [array], {"pad_width": static(pad_width)})
    if mode == "constant":
        values = options["constant_values"]
        outside = np.pad(np.zeros(array.shape), pad_width, constant_values=values)
        result = array.recorder.fresh(outside)
        inside = np.pad(np.ones(array.shape, dtype=bool), pad_width)
        result[np.nonzero(inside)] = np.ravel(array)
        return result
    if mode in {"edge", "reflect", "symmetric", "wrap"} and not options:
        pad: Any = np.pad
        return np.ravel(array)[pad(np.arange(array.size).reshape(array.shape), pad_width, mode=mode)]
    raise TypeError(f"mode={mode!r}")


def _sliding_window_view(x: Any, window_shape: Any, axis: Any = None, **_: Any) -> Any:
    places = np.lib.stride_tricks.sliding_window_view(np.arange(x.size).reshape(x.shape), window_shape, axis)
    return np.ravel(x)[places]


def _select(condlist: Sequence[Any], choicelist: Sequence[Any], default: Any = 0.0) -> Any:
    result = default
    for condition, choice in zip(condlist[::-1], choicelist[::-1], strict=True):
        result = np.where(condition, choice, result)
    return result


def _choose(a: Any, choices: Any, **_: Any) -> Any:
    which = as_index(a)
    result = choices[0]
    for number in range(1, len(choices)):
        result = np.where(which == number, choices[number], result)
    return result


def _block(arrays: Any) -> Any:
    """Nested lists of blocks: the innermost side by side, the outer ones below each other."""
    if not isinstance(arrays, list):
        return arrays
    inner = [_block(item) for item in arrays]
    return np.concatenate(inner, axis=0 if isinstance(arrays[0], list) else -1)


def _polyval(p: Any, x: Any) -> Any:
    result: Any = 0.0
    for coefficient in p:
        result = result * x + coefficient
    return result


def _slogdet(a: Any) -> Any:
    """The sign is that at the traced point."""
    sign = np.linalg.slogdet(np.asarray(a.frozen("the sign of a determinant")))[0]
    return np.linalg._linalg.SlogdetResult(sign, a.recorder.apply("logabsdet", [a]))  # noqa: SLF001 - NumPy's own pair


def _nan_to_num(x: Any, *_: Any, **__: Any) -> Any:
    """Itself where it is finite at the traced point."""
    if not np.all(np.isfinite(np.asarray(x.recorder.number(x)))):
        raise TypeError("values that are not finite")
    return x.copy()


def _kron(a: Any, b: Any) -> Any:
    rank = max(np.ndim(a), np.ndim(b))
    a, b = (np.reshape(x, (1,) * (rank - np.ndim(x)) + np.shape(x)) for x in (a, b))
    left = np.reshape(a, tuple(size for n in np.shape(a) for size in (n, 1)))
    right = np.reshape(b, tuple(size for n in np.shape(b) for size in (1, n)))
    return np.reshape(left * right, tuple(m * n for m, n in zip(np.shape(a), np.shape(b), strict=True)))


def _cross(a: Any, b: Any) -> Any:
    if np.shape(a)[-1] != 3 or np.shape(b)[-1] != 3:
        raise TypeError("vectors that have not three entries")
    x, y = ([v[..., i] for i in range(3)] for v in (a, b))
    return np.stack([x[i - 2] * y[i - 1] - x[i - 1] * y[i - 2] for i in range(3)], axis=-1)


def _logaddexp(a: Any, b: Any) -> Any:
    return b + _row("softplus", a - b)  # exp(a) + exp(b) would overflow where this does not


def _remainder(a: Any, b: Any) -> Any:
    """The multiple that is taken off is that of the traced point."""
    quotient = np.floor_divide(a, b)
    return a - quotient * b


def _split(ary: Any, indices_or_sections: Any, axis: int = 0) -> list[Any]:
    pieces = np.array_split(np.arange(ary.shape[axis]), indices_or_sections)
    front = (slice(None),) * (axis % ary.ndim)
    return [ary[(*front, slice(int(p[0]), int(p[-1]) + 1))] for p in pieces]


def _split_along(axis: int) -> Callable[..., Any]:
    return lambda ary, indices_or_sections: _split(ary, indices_or_sections, axis if ary.ndim > axis else 0)


def _moved_entries(name: str) -> Callable[..., Any]:
    """A function that only moves entries: it moves their places, which are then looked up."""

    def rule(a: Any, *args: Any, **kwargs: Any) -> Any:
        return np.ravel(a)[getattr(np, name)(np.arange(a.size).reshape(a.shape), *args, **kwargs)]

    return rule


def _triangle(name: str) -> Callable[..., Any]:
    return lambda m, k=0: m * getattr(np, name)(np.ones(m.shape[-2:]), k)


def _at_least(rank: int) -> Callable[..., Any]:
    name = {1: np.atleast_1d, 2: np.atleast_2d, 3: np.atleast_3d}[rank]

    def rule(*arrays: Any) -> Any:
        found = [np.reshape(a, name(np.broadcast_to(0.0, np.shape(a))).shape) for a in arrays]
        return found[0] if len(found) == 1 else tuple(found)

    return rule


def _multi_dot(arrays: Sequence[Any]) -> Any:
    product = arrays[0]
    for array in arrays[1:]:
        product = product @ array
    return product


def _reshape(a: Any, /, shape: Any = None, order: str = "C", *, newshape: Any = None) -> Any:
    """With the size that is left open filled in; nothing to do where the shape is the same."""
    if order != "C":
        raise TypeError(f"order={order!r}")
    wanted = np.broadcast_to(0.0, a.shape).reshape(newshape if shape is None else shape).shape
    return a if wanted == a.shape else a.recorder.apply("reshape", [a], {"shape": wanted})


def _ravel(a: Any, order: str = "C") -> Any:
    if order != "C":
        raise TypeError(f"order={order!r}")
    return a if a.ndim == 1 else a.recorder.apply("ravel", [a])


def _transpose(a: Any, axes: Any = None) -> Any:
    params = {} if axes is None else {"axes": tuple(int(axis) for axis in axes)}
    return a.recorder.apply("transpose", [a], params)


def _dot(a: Any, b: Any) -> Any:
    """By a number it is a plain product."""
    if not np.ndim(a) or not np.ndim(b):
        return a * b
    traced = a if is_traced(a) else b
    return traced.recorder.apply("dot", [a, b])


BEFORE_ROWS: Mapping[str, Callable[..., Any]] = {
    "dot": _dot,
    "where": _where,
    "clip": _clip,
    "reshape": _reshape,
    "ravel": _ravel,
    "transpose": _transpose,
    "permute_dims": _transpose,
    "matrix_transpose": lambda x: _swapaxes(x, -1, -2),
    "norm": _norm,
    "pad": _padded,
}
"""Functions with rules of their own even where they have a row: they take more forms than it does."""


def _row(op: str, x: Any) -> Any:
    """A row of the table that NumPy has no function for."""
    return x.recorder.apply(op, [x])


COMPOSED: Mapping[str, Callable[..., Any]] = {
    # ufuncs
    "exp2": lambda x: 2.0**x,
    "radians": lambda x: x * (math.pi / 180.0),
    "deg2rad": lambda x: x * (math.pi / 180.0),
    "degrees": lambda x: x * (180.0 / math.pi),
    "rad2deg": lambda x: x * (180.0 / math.pi),
    "logaddexp": _logaddexp,
    "logaddexp2": lambda a, b: _logaddexp(a * math.log(2.0), b * math.log(2.0)) / math.log(2.0),
    "remainder": _remainder,
    "mod": _remainder,
    "copysign": lambda a, b: np.where(np.greater_equal(b, 0.0), np.abs(a), -np.abs(a)),
    "heaviside": lambda a, b: np.where(np.greater(a, 0.0), 1.0, np.where(np.less(a, 0.0), 0.0, b)),
    "xlogy": lambda a, b: a * np.log(b),
    "xlog1py": lambda a, b: a * np.log1p(b),
    "logit": lambda a: np.log(a) - np.log1p(-a),
    "log_expit": lambda a: -_row("softplus", -a),
    "softplus": lambda a: _row("softplus", a),
    "entr": lambda a: -a * np.log(a),
    "rel_entr": lambda a, b: a * (np.log(a) - np.log(b)),
    "ndtr": lambda a: 0.5 * _row("erfc", -a / math.sqrt(2.0)),
    "vecdot": lambda a, b: np.sum(a * b, axis=-1),
    # functions
    "inner": _inner,
    "vdot": lambda a, b: np.ravel(a) @ np.ravel(b),
    "tensordot": _tensordot,
    "multi_dot": _multi_dot,
    "swapaxes": _swapaxes,
    "moveaxis": _moved_axes,
    "atleast_1d": _at_least(1),
    "atleast_2d": _at_least(2),
    "average": _average,
    "ptp": lambda a, axis=None, keepdims=False: (
        np.max(a, axis=axis, keepdims=keepdims) - np.min(a, axis=axis, keepdims=keepdims)
    ),
    "diff": _diff,
    "split": _split,
    "array_split": _split,
    "vsplit": _split_along(0),
    "hsplit": _split_along(1),
    "dsplit": _split_along(2),
    "atleast_3d": _at_least(3),
    "bincount": _bincount,
    "quantile": _quantile,
    "percentile": lambda a, q, **options: _quantile(a, q / 100.0, **options),
    "apply_along_axis": _apply_along_axis,
    "convolve": _convolve,
    "correlate": lambda a, v, mode="valid": _convolve(a, v[::-1], mode),
    "interp": _interp,
    "trapezoid": _trapezoid,
    "trapz": _trapezoid,
    "cov": _cov,
    "gradient": _gradient,
    "sort": _sorted,
    "median": _median,
    "take_along_axis": lambda arr, indices, axis=-1: np.ravel(arr)[
        np.take_along_axis(np.arange(arr.size).reshape(arr.shape), as_index(indices), axis=axis)
    ],
    "put_along_axis": _put_along_axis,
    "fill_diagonal": lambda a, val, **_: a.__setitem__(np.diag_indices(min(a.shape), a.ndim), val),
    "copyto": lambda dst, src, where=True, **_: dst.__setitem__(
        ..., src if where is True else np.where(where, src, dst.copy())
    ),
    "place": lambda arr, mask, vals: arr.__setitem__(mask, vals),
    "putmask": lambda a, mask, values: a.__setitem__(mask, values),
    "delete": lambda arr, obj, axis=None: np.ravel(arr)[np.delete(np.arange(arr.size).reshape(arr.shape), obj, axis)],
    "sliding_window_view": _sliding_window_view,
    "select": _select,
    "choose": _choose,
    "block": _block,
    "polyval": _polyval,
    "slogdet": _slogdet,
    "nan_to_num": _nan_to_num,
    "nansum": lambda a, axis=None, **o: np.sum(_nan_to_num(a), axis=axis, **o),
    "nanmean": lambda a, axis=None, **o: np.mean(_nan_to_num(a), axis=axis, **o),
    "nanmax": lambda a, axis=None, **o: np.max(_nan_to_num(a), axis=axis, **o),
    "nanmin": lambda a, axis=None, **o: np.min(_nan_to_num(a), axis=axis, **o),
    "kron": _kron,
    "cross": _cross,
    "iscomplex": lambda x: np.zeros(x.shape, dtype=bool),
    "imag": lambda val: np.zeros(val.shape),
    "broadcast_arrays": lambda *arrays: tuple(
        np.broadcast_to(a, np.broadcast_shapes(*map(np.shape, arrays))) for a in arrays
    ),
    "dstack": lambda tup: np.concatenate([np.atleast_3d(a) for a in tup], axis=2),
    "compress": lambda condition, a, axis=None: np.take(a, np.flatnonzero(condition), axis=axis),
    "extract": lambda condition, arr: arr[condition],
    "copy": lambda a, **_: a.copy(),
    "real": lambda val: val,
    "triu": _triangle("triu"),
    "tril": _triangle("tril"),
    "vstack": lambda tup: np.concatenate([np.atleast_2d(a) for a in tup], axis=0),
    "hstack": lambda tup: np.concatenate(
        [np.atleast_1d(a) for a in tup], axis=0 if all(np.ndim(a) < 2 for a in tup) else 1
    ),
    "column_stack": lambda tup: np.concatenate(
        [np.reshape(a, (-1, 1)) if np.ndim(a) < 2 else a for a in tup], axis=1
    ),
    "append": lambda arr, values, axis=None: np.concatenate(
        [arr, values] if axis is not None else [np.ravel(arr), np.ravel(values)], axis=axis or 0
    ),
    **{
        name: _moved_entries(name)
        for name in ("flipud", "fliplr", "rot90", "repeat", "tile", "take", "diagonal")
    },
}  # fmt: skip
"""Functions that are put together from others, as long as no row has their name."""

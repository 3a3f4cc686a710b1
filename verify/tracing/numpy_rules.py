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

UFUNC_ROWS: Mapping[str, str] = {
    "maximum": "max", "minimum": "min", "fmax": "max", "fmin": "min", "absolute": "abs", "fabs": "abs",
    "float_power": "power", "conjugate": "positive", "pow": "power", "expit": "sigmoid", "gammaln": "lgamma",
    "psi": "digamma",
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
}  # fmt: skip
"""Methods of ufuncs -> the function that does the same."""

COMPARISONS = ("greater", "greater_equal", "less", "less_equal", "equal", "not_equal")
"""Ufuncs that give a :class:`~verify.tracing.tracer.Condition`."""

PLAIN: Mapping[str, Callable[..., Any]] = {
    "shape": lambda a: a.shape,
    "ndim": lambda a: a.ndim,
    "size": lambda a, axis=None: a.size if axis is None else a.shape[axis],
    "zeros_like": lambda a, **options: np.zeros(_given_shape(a, options)),
    "ones_like": lambda a, **options: np.ones(_given_shape(a, options)),
    "empty_like": lambda a, **options: np.zeros(_given_shape(a, options)),
    "full_like": lambda a, fill_value, **options: np.full(_given_shape(a, options), fill_value),
    "iscomplexobj": lambda _: False,
    "isrealobj": lambda _: True,
    "result_type": lambda *items: np.result_type(*(item.dtype if is_traced(item) else item for item in items)),
    "broadcast_shapes": np.broadcast_shapes,
}  # fmt: skip
"""Functions that look at shapes and dtypes alone."""


def _given_shape(a: Any, options: Mapping[str, Any]) -> Any:
    return a.shape if options.get("shape") is None else options["shape"]


def is_traced(value: Any) -> bool:
    """Whether a value is a tracer or a comparison of tracers.

    >>> is_traced(np.zeros(3))
    False
    """
    return hasattr(value, "recorder")


# ---------------------------------------------------------------------------------------------------- entry by entry


def elementwise(recorder: Any, name: str, operands: Sequence[Any]) -> Any:
    """A ufunc on tracers. Raises TraceError where there is no row for it.

    >>> from verify.tracing.tracer import Recorder
    >>> recorder = Recorder(elementwise.__code__, "", np.dtype(float))
    >>> elementwise(recorder, "maximum", [recorder.input("x", (3,)), 0.0])
    Tracer(max, shape=(3,))
    """
    if name in COMPARISONS:
        return recorder.condition(name, operands)
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
    return isinstance(operand, int | float) and operand == 0


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

    >>> from verify.tracing.tracer import Recorder
    >>> recorder = Recorder(function.__code__, "", np.dtype(float))
    >>> function(recorder, np.sum, [recorder.input("x", (3, 2))], {"axis": 1})
    Tracer(sum, shape=(3,))
    """
    name = func.__name__
    if name in PLAIN:
        return PLAIN[name](*args, **kwargs)
    row = OPS.get(FUNCTION_ROWS.get(name, name))
    if name in BEFORE_ROWS or (row is None and name in COMPOSED):
        try:
            return (BEFORE_ROWS.get(name) or COMPOSED[name])(*args, **kwargs)
        except TypeError as error:
            recorder.refuse(f"these arguments of np.{name} ({error})", "Use its plain form.")
    if row is None or (name not in FUNCTION_ROWS and row.elementwise and row.arity > 1 and name in _REDUCING):
        return _no_op(recorder, name)
    return _through_row(recorder, row, func, args, kwargs)


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
        operands = list(given[names[0]])
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
    if isinstance(value, np.ndarray):
        value = value.tolist()
    if isinstance(value, list | tuple | range):
        return tuple(static(item) for item in value)
    return value.item() if isinstance(value, np.generic) else value


# ------------------------------------------------------------------------------------------------------------ indices


def indexed(recorder: Any, a: Any, index: Any) -> Any:
    """``a[index]`` for an index that is known: numbers, slices, new axes, ``...``, arrays of integers or of booleans.

    >>> from verify.tracing.tracer import Recorder
    >>> recorder = Recorder(indexed.__code__, "", np.dtype(float))
    >>> indexed(recorder, recorder.input("x", (3, 2)), (slice(1, None), 0))
    Tracer(index, shape=(2,))
    """
    parts = index if isinstance(index, tuple) else (index,)
    for part in parts:
        if is_traced(part):
            recorder.refuse(
                "an index that depends on values", "Indices must be known: use np.where to choose by value."
            )
    try:
        places = np.arange(a.size).reshape(a.shape)[index]
    except IndexError as error:
        recorder.refuse(f"this index: {error}", f"The array has shape {a.shape}.")
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
    if isinstance(low, int | float) and isinstance(high, int | float) and low < high and is_traced(a):
        return a.recorder.apply("clip", [a], {"lo": float(low), "hi": float(high)})
    a = a if low is None else np.maximum(a, low)
    return a if high is None else np.minimum(a, high)


def _unless(given: Any, none: float) -> Any:
    """A bound that may bind: an infinite one is none."""
    return None if isinstance(given, int | float) and given == none else given


def _where(condition: Any, x: Any, y: Any) -> Any:
    """A comparison of traced values as the row that it is; a known mask as one that is compared with a half."""
    if hasattr(condition, "__array_ufunc__") and not isinstance(condition, np.ndarray | np.generic):
        row, is_turned = SELECTIONS.get(condition.name, ("", False))
        if not row:
            condition.recorder.refuse(f"np.where by '{condition.name}'", "Compare by > >= < or <=.")
        a, b = condition.operands[::-1] if is_turned else condition.operands
        return condition.recorder.apply(row, [a, b, x, y])
    traced = x if is_traced(x) else y
    return traced.recorder.apply("where", [np.asarray(condition, dtype=float), 0.5, x, y])


SELECTIONS: Mapping[str, tuple[str, bool]] = {
    "greater": ("where", False),
    "greater_equal": ("where_or_equal", False),
    "less": ("where", True),
    "less_equal": ("where_or_equal", True),
}
"""Comparison -> the row that chooses by it, and whether its sides change places."""


def _diff(a: Any, n: int = 1, axis: int = -1) -> Any:
    front = (slice(None),) * (axis % a.ndim)
    for _ in range(n):
        a = a[(*front, slice(1, None))] - a[(*front, slice(None, -1))]
    return a


def _split(ary: Any, indices_or_sections: Any, axis: int = 0) -> list[Any]:
    pieces = np.array_split(np.arange(ary.shape[axis]), indices_or_sections)
    front = (slice(None),) * (axis % ary.ndim)
    return [ary[(*front, slice(int(p[0]), int(p[-1]) + 1))] for p in pieces]


def _moved_entries(name: str) -> Callable[..., Any]:
    """A function that only moves entries: it moves their places, which are then looked up."""

    def rule(a: Any, *args: Any, **kwargs: Any) -> Any:
        return np.ravel(a)[getattr(np, name)(np.arange(a.size).reshape(a.shape), *args, **kwargs)]

    return rule


def _triangle(name: str) -> Callable[..., Any]:
    return lambda m, k=0: m * getattr(np, name)(np.ones(m.shape[-2:]), k)


def _at_least(rank: int) -> Callable[..., Any]:
    names = {1: np.atleast_1d, 2: np.atleast_2d}
    return lambda a: np.reshape(a, names[rank](np.broadcast_to(0.0, np.shape(a))).shape)


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
    "logaddexp": lambda a, b: b + _row("softplus", a - b),  # exp(a) + exp(b) would overflow where this does not
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

"""NumPy's functions on tracers: each is a row of the op table, a rule of several rows, or NumPy's own Python.

Which row it is :mod:`~verify.tracing.op_names` says, what is put together from others stands in
:mod:`~verify.tracing.composed`; here is what looks at shapes or at the traced point alone, and how arguments become
operands and parameters.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from types import FunctionType
from typing import Any

import numpy as np

from verify.errors import Untraced, did_you_mean
from verify.ops import OPS, Op
from verify.tracing.composed import BEFORE_ROWS, COMPOSED, COMPOSED_UFUNCS
from verify.tracing.foreign_call import call_foreign
from verify.tracing.op_names import ALIASES, array_row, ufunc_row
from verify.tracing.traced import is_traced, recorder_of, static

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
    "broadcast_to",
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


FOR_POSITIVE = ("gamma", "lgamma", "digamma", "polygamma")
"""Rows that hold for positive operands alone, though the functions have values and slopes at others."""


def _filled(a: Any, value: Any, dtype: Any = None, *_: Any, shape: Any = None, **__: Any) -> Any:
    """An array in the shape of another, with one value; a traced value may be written into it later."""
    kind = a.dtype if dtype is None else np.dtype(dtype)
    plain = np.full(a.shape if shape is None else shape, 0.0 if is_traced(value) else value, dtype=kind)
    made = recorder_of(a, value).fresh(plain)
    if is_traced(value):
        made[...] = value
    return made


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
        return getattr(np, name)(*(frozen(recorder, operand, name) for operand in operands))
    row = ufunc_row(name, len(operands))
    if row is None:
        rule = COMPOSED_UFUNCS.get(name.removeprefix("special_"))
        return _no_op(recorder, name) if rule is None else rule(*operands)
    if row.name in FOR_POSITIVE and any(np.any(np.asarray(recorder.number(x)) <= 0) for x in operands if is_traced(x)):
        recorder.refuse(f"{row.name} of a negative number", "Its op is for positive ones.", Untraced.NO_OP, name)
    if row.name == "power" and not is_traced(operands[1]) and np.ndim(operands[1]) == 0:
        return recorder.apply("power_constant", [operands[0]], {"exponent": float(operands[1])})
    if row.name == "add" and any(_is_zero(operand) for operand in operands):
        return _other_than_zero(operands)
    return recorder.apply(row.name, operands)


def is_elementwise(name: str) -> bool:
    """Whether a ufunc of that name can be traced.

    >>> is_elementwise("logaddexp"), is_elementwise("special_bessel_j0")
    (True, False)
    """
    row = ufunc_row(name)
    return (row is not None and row.elementwise) or name.removeprefix("special_") in COMPOSED_UFUNCS


def _is_zero(operand: Any) -> bool:
    return not is_traced(operand) and isinstance(operand, int | float) and bool(operand == 0)


def _other_than_zero(operands: Sequence[Any]) -> Any:
    """What ``total = 0.0; total += x`` and ``sum([x, y])`` start with is no op of the user's."""
    return operands[_is_zero(operands[0])].copy()


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
            *(frozen(recorder, a, name) for a in args), **{k: frozen(recorder, v, name) for k, v in kwargs.items()}
        )
    if "out" in kwargs and kwargs["out"] is not None:
        target = kwargs["out"]
        target[...] = function(recorder, func, args, {k: v for k, v in kwargs.items() if k != "out"})
        return target
    if "dtype" in kwargs and kwargs["dtype"] is not None and np.dtype(kwargs["dtype"]).kind == "f":
        kwargs = {k: v for k, v in kwargs.items() if k != "dtype"}
    row = array_row(name)
    rule = BEFORE_ROWS.get(name) or (COMPOSED.get(name) if row is None else None)
    if rule is not None:
        try:
            return rule(*args, **kwargs)
        except TypeError as error:
            recorder.refuse(f"these arguments of np.{name} ({error})", "Use its plain form.")
    if row is None:
        return _as_numpy_writes_it(recorder, func, args, kwargs)
    return _through_row(recorder, row, func, args, kwargs)


def _as_numpy_writes_it(recorder: Any, func: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    """A function that NumPy itself writes in Python, by that code; whatever takes numbers out of arrays is refused."""
    code = getattr(func, "_implementation", None)
    if not isinstance(code, FunctionType) or recorder.twin_of is None or code in recorder.within:
        return _no_op(recorder, func.__name__)  # what is within itself hands on to a method of arrays
    before = len(recorder.choices)
    recorder.within.add(code)
    ran = call_foreign(lambda: recorder.twin_of(code)(*args, **kwargs))
    recorder.within.remove(code)
    if ran.error is not None or any(choice.leaks for choice in recorder.choices[before:]):
        return _no_op(recorder, func.__name__)
    return ran.value


def _no_op(recorder: Any, name: str) -> Any:
    near = did_you_mean(name, [*OPS, *ALIASES, *COMPOSED_UFUNCS, *COMPOSED])
    remedy = f"Write it with ops that there are ('verify ops' lists them). {near}".strip()
    return recorder.refuse(f"there is no op for the function '{name}'", remedy, Untraced.NO_OP, name)


def frozen(recorder: Any, operand: Any, name: str) -> Any:
    """An operand at the traced point; where values that are ordered are equal, in another order in a rerun.

    >>> frozen(None, 3.0, "argmax")
    3.0
    """
    if not is_traced(operand):
        return operand
    value = np.array(recorder.number(operand))
    is_order = name in ORDERS
    flat = np.sort(np.ravel(value))
    recorder.freeze(FROZEN[name], tied=bool(is_order and np.any(flat[1:] == flat[:-1])))
    if is_order and recorder.turned:
        # Equal ones change places in a ring: the other way round the middle one of three would stay where it is.
        _, level, counts = np.unique(np.ravel(value), return_inverse=True, return_counts=True)
        rank = np.empty(value.size)
        rank[np.argsort(level, kind="stable")] = np.concatenate([np.arange(count) for count in counts])
        order = (-rank if name == "argmax" else rank - 1) % counts[level]
        value = (level * float(value.size) + order).reshape(value.shape)
    return value[()]


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

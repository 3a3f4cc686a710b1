"""NumPy's functions that are put together from several rows of the op table, in NumPy's own words on tracers.

Each rule is written once and serves the programs of PyTorch and JAX too. What NumPy itself writes in Python needs no
rule: :mod:`~verify.tracing.numpy_rules` runs that.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from verify.ops import OPS
from verify.tracing.conditions import Condition, as_index
from verify.tracing.excluded import finite_part, has_infinite, infinite
from verify.tracing.traced import is_traced, recorder_of, static

LEFT_OUT = -1e30
"""Stands for minus infinity in a softmax: its exponential is less than any float, and than any bound asked for."""


def row(op: str, *operands: Any, **params: Any) -> Any:
    """A row of the table that NumPy has no function for.

    >>> from verify.tracing.recorder import Recorder
    >>> recorder = Recorder(row.__code__, "", np.dtype(float))
    >>> row("softplus", recorder.input("x", np.ones(2)))
    Tracer(softplus, shape=(2,))
    """
    if not any(map(is_traced, operands)):  # beside a traced one, as the 2 of betaln(x, 2)
        return OPS[op].forward(*map(np.asarray, operands), **params)
    return recorder_of(*operands).apply(op, operands, params)


def softmax(op: str, x: Any, axis: Any, *, keepdims: bool = False) -> Any:
    """``softmax`` and its like over some axes, None for all; written out where entries are left out.

    >>> softmax("softmax", np.array([0.0, -np.inf]), axis=0)
    array([1., 0.])
    """
    if not has_infinite(x):
        if axis is None and op != "logsumexp":
            return np.reshape(row(op, np.ravel(x), axis=0), x.shape)
        return row(op, x, axis=axis, **({"keepdims": keepdims} if op == "logsumexp" else {}))
    out = infinite(x)
    kept_rows = is_traced(x) and op == "softmax" and np.all(np.any(~out, axis=axis))
    if kept_rows and np.all(np.asarray(recorder_of(x).number(x))[out] < 0):
        # Rows of as many lengths as there are would each be a node of their own.
        kept = recorder_of(x).masked(out, np.full(x.shape, LEFT_OUT), finite_part(recorder_of(x), x))
        return row(op, kept, axis=axis) if axis is not None else softmax(op, kept, axis)
    top = np.max(x, axis=axis, keepdims=True)
    powers = np.exp(x - top)
    total = np.sum(powers, axis=axis, keepdims=True)
    if op == "softmax":
        return powers / total
    if op == "log_softmax":
        return x - top - np.log(total)
    found = np.log(total) + top
    return found if keepdims else np.squeeze(found, axis=axis)


def _of_one_axis(rule: Callable[..., Any], besides: int = 0) -> Callable[..., Any]:
    """A rule along one axis as a reduction: without an axis it is that of all entries in a row.

    ``besides`` counts what stands between the array and the axis.
    """

    def called(a: Any, *more: Any, axis: int | None = None, keepdims: bool = False, **options: Any) -> Any:
        axis = more[besides] if len(more) > besides else axis
        shape = [1 if axis is None or i == axis % a.ndim else size for i, size in enumerate(a.shape)]
        flat, along = (np.ravel(a), 0) if axis is None else (a, axis)
        found = rule(flat, *more[:besides], along, **options)
        return np.reshape(found, tuple(shape)) if keepdims else found

    return called


def _inner(a: Any, b: Any) -> Any:
    return a * b if not np.ndim(a) or not np.ndim(b) else a @ np.transpose(b)


def _swapaxes(a: Any, axis1: int, axis2: int) -> Any:
    order = list(range(a.ndim))
    order[axis1], order[axis2] = order[axis2], order[axis1]
    return np.transpose(a, order)


def _average(a: Any, axis: Any = None, weights: Any = None, *, keepdims: bool = False) -> Any:
    if weights is None:
        return np.mean(a, axis=axis, keepdims=keepdims)
    return np.sum(a * weights, axis=axis, keepdims=keepdims) / np.sum(weights, axis=axis, keepdims=keepdims)


def _norm(x: Any, ord: Any = None, axis: Any = None, keepdims: bool = False) -> Any:  # noqa: A002 - NumPy's name
    """The length of vectors, or the root of the sum of all squares; other norms are written out."""
    one_axis = np.size(axis) == 1 if axis is not None else x.ndim == 1
    if one_axis and ord in {1, np.inf, -np.inf}:
        largest: Any = {1: np.sum, np.inf: np.max, -np.inf: np.min}[ord]
        return largest(np.abs(x), axis=axis, keepdims=keepdims)
    if x.ndim == 2 and axis is None and ord in {1, -1, np.inf, -np.inf}:
        sums = np.sum(np.abs(x), axis=int(abs(ord) == np.inf))  # of columns, or of rows
        found = np.max(sums) if ord > 0 else np.min(sums)
        return np.reshape(found, (1, 1)) if keepdims else found
    if one_axis and isinstance(ord, int | float) and ord > 0 and ord != 2:
        return np.sum(np.abs(x) ** ord, axis=axis, keepdims=keepdims) ** (1 / ord)
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
    recorder = recorder_of(condition, x, y)
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


def _bincount(x: Any, weights: Any = None, minlength: int = 0) -> Any:
    """Sums of weights by bin."""
    bins = as_index(x)
    result = recorder_of(weights).fresh(np.zeros(max(minlength, int(np.max(bins)) + 1)))
    np.add.at(result, bins, weights)
    return result


def _sorted(a: Any, axis: int | None = -1, **_: Any) -> Any:
    """By the order at the traced point."""
    a, axis = (np.ravel(a), 0) if axis is None else (a, axis)
    return np.take_along_axis(a, np.argsort(a, axis=axis), axis=axis)


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


def _cov(m: Any, *, rowvar: bool = True, ddof: int = 1, **_: Any) -> Any:
    rows = np.atleast_2d(m if rowvar else np.transpose(m))
    centred = rows - np.mean(rows, axis=1, keepdims=True)
    return np.squeeze(centred @ np.transpose(centred) / (rows.shape[1] - ddof))


def _corrcoef(x: Any, *, rowvar: bool = True) -> Any:
    found = _cov(x, rowvar=rowvar)
    length = np.sqrt(np.diag(found))
    return found / length[:, None] / length[None, :]


def _pinv(a: Any, *_: Any, **__: Any) -> Any:
    """Of a matrix of full rank; of another it has other values, and the trace is refused."""
    flipped = np.swapaxes(a, -1, -2)
    if a.shape[-1] == a.shape[-2]:
        return np.linalg.inv(a)
    is_tall = a.shape[-2] > a.shape[-1]
    return np.linalg.inv(flipped @ a) @ flipped if is_tall else flipped @ np.linalg.inv(a @ flipped)


def _qr(a: Any, mode: str = "reduced") -> Any:
    """Of a matrix with no more columns than rows, by the factor of its square; signs are those of the traced point."""
    if mode not in {"reduced", "r"}:
        raise TypeError(f"mode={mode!r}")
    signs = np.sign(np.diag(np.linalg.qr(np.asarray(recorder_of(a).number(a)), mode="r")))
    upper = np.transpose(np.linalg.cholesky(np.transpose(a) @ a)) * signs[:, None]
    return upper if mode == "r" else (a @ np.linalg.inv(upper), upper)


def _as_strided(x: Any, shape: Any = None, strides: Any = None, **_: Any) -> Any:
    places = np.arange(x.size).reshape(x.shape)
    return np.ravel(x)[np.array(np.lib.stride_tricks.as_strided(places, shape, strides))]


def _meshgrid(*xi: Any, indexing: str = "xy", **_: Any) -> tuple[Any, ...]:
    shape = tuple(np.size(x) for x in xi)
    wide = [
        np.broadcast_to(np.reshape(x, tuple(n if i == axis else 1 for i, n in enumerate(shape))), shape)
        for axis, x in enumerate(xi)
    ]
    return tuple(np.swapaxes(x, 0, 1) for x in wide) if indexing == "xy" and len(xi) > 1 else tuple(wide)


def _partition(a: Any, kth: Any, axis: int = -1, **_: Any) -> Any:
    """By the order at the traced point."""
    return np.take_along_axis(a, np.argpartition(a, kth, axis=axis), axis=axis)


def _solve_triangular(
    a: Any, b: Any, trans: Any = 0, lower: bool = False, unit_diagonal: bool = False, **_: Any
) -> Any:
    """SciPy's: one triangle of the matrix is read."""
    whole = np.tril(a, -1 if unit_diagonal else 0) if lower else np.triu(a, 1 if unit_diagonal else 0)
    whole = whole + np.eye(a.shape[-1]) if unit_diagonal else whole
    return np.linalg.solve(np.transpose(whole) if trans in {1, "T", 2, "C"} else whole, b)


def _cholesky(a: Any, lower: bool = False, **_: Any) -> Any:
    """SciPy's, which is the upper one."""
    factor = np.linalg.cholesky(a)
    return factor if lower else np.transpose(factor)


def _cho_solve(c_and_lower: Any, b: Any, **_: Any) -> Any:
    factor, lower = c_and_lower
    first, second = (0, 1) if lower else (1, 0)
    half = _solve_triangular(factor, b, first, lower)
    return _solve_triangular(factor, half, second, lower)


def polygamma(n: Any, x: Any) -> Any:
    """Derivatives of the logarithm of gamma, of an order that is one number.

    >>> from verify.tracing.recorder import Recorder
    >>> recorder = Recorder(polygamma.__code__, "", np.dtype(float))
    >>> polygamma(1, recorder.input("x", np.ones(2))), polygamma(0, recorder.input("y", np.ones(2)))
    (Tracer(polygamma, shape=(2,)), Tracer(digamma, shape=(2,)))
    """
    orders = np.unique(np.asarray(n))
    if orders.size != 1:
        raise TypeError("several orders")
    order = float(orders[0])
    return row("polygamma", x, order=order) if order else row("digamma", x)


OF_SCIPY: Mapping[str, Callable[..., Any]] = {
    "softmax": lambda x, axis=None: softmax("softmax", x, axis),
    "log_softmax": lambda x, axis=None: softmax("log_softmax", x, axis),
    "logsumexp": lambda a, axis=None, keepdims=False: softmax("logsumexp", a, axis, keepdims=keepdims),
    "solve": lambda a, b, **_: np.linalg.solve(a, b),
    "inv": lambda a, **_: np.linalg.inv(a),
    "det": lambda a, **_: np.linalg.det(a),
    "norm": np.linalg.norm,
    "pinv": lambda a, **_: np.linalg.pinv(a),
    "cholesky": _cholesky,
    "cho_factor": lambda a, lower=False, **_: (_cholesky(a, lower), lower),
    "cho_solve": _cho_solve,
    "solve_triangular": _solve_triangular,
    "polygamma": polygamma,
}
"""Functions of scipy.special and scipy.linalg that are no ufuncs."""


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


def _select(condlist: Sequence[Any], choicelist: Sequence[Any], default: Any = 0.0) -> Any:
    result = default
    for condition, choice in zip(condlist[::-1], choicelist[::-1], strict=True):
        result = np.where(condition, choice, result)
    return result


def _piecewise(x: Any, condlist: Sequence[Any], funclist: Sequence[Any], *args: Any, **kw: Any) -> Any:
    """Each piece on the whole array, of which the entries are taken that are its own."""
    conditions = condlist if isinstance(condlist, list | tuple) else [condlist]
    pieces = [piece(x, *args, **kw) if callable(piece) else piece for piece in funclist]
    return _select(conditions, pieces[: len(conditions)], *pieces[len(conditions) :])


def _choose(a: Any, choices: Any, **_: Any) -> Any:
    which = np.asarray(as_index(a))
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


def _slogdet(a: Any) -> Any:
    """The sign is that at the traced point."""
    sign = np.linalg.slogdet(np.asarray(a.frozen("the sign of a determinant")))[0]
    return np.linalg._linalg.SlogdetResult(sign, a.recorder.apply("logabsdet", [a]))  # noqa: SLF001 - NumPy's own pair


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
    return b + row("softplus", a - b)  # exp(a) + exp(b) would overflow where this does not


def _remainder(a: Any, b: Any) -> Any:
    """The multiple that is taken off is that of the traced point."""
    quotient = np.floor_divide(a, b)
    return a - quotient * b


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


def _median(a: Any, axis: int, **_: Any) -> Any:
    """The middle of the sorted values, or the mean of the two in the middle."""
    size = a.shape[axis]
    middle = np.take(_sorted(a, axis=axis), np.arange((size - 1) // 2, size // 2 + 1), axis=axis)
    return np.mean(middle, axis=axis)


def _quantile(a: Any, q: Any, axis: int, **options: Any) -> Any:
    """Between the two sorted values that are next to it, in proportion."""
    if set(options) - {"method"} or options.get("method", "linear") != "linear" or np.ndim(q):
        raise TypeError("a method other than 'linear', or several quantiles")
    place = float(q) * (a.shape[axis] - 1)
    low, ordered = math.floor(place), _sorted(a, axis=axis)
    below, above = (np.take(ordered, i, axis=axis) for i in (low, min(low + 1, a.shape[axis] - 1)))
    return below + (place - low) * (above - below) if place > low else below


def _nan_to_num(x: Any, *_: Any, **__: Any) -> Any:
    """Itself where it is finite at the traced point."""
    if not np.all(np.isfinite(np.asarray(x.recorder.number(x)))):
        raise TypeError("values that are not finite")
    return x.copy()


def _moved(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function that only moves entries: it moves their places, which are then looked up."""

    def rule(a: Any, *args: Any, **kwargs: Any) -> Any:
        known = {name: as_index(value) for name, value in kwargs.items()}
        return np.ravel(a)[function(np.arange(a.size).reshape(a.shape), *map(as_index, args), **known)]

    return rule


def _sum(a: Any, axis: Any = None, *_: Any, keepdims: bool = False, where: Any = True, **__: Any) -> Any:
    a = a if where is True else np.where(where, a, 0.0)
    return recorder_of(a).apply("sum", [a], {"axis": static(axis), "keepdims": keepdims})


BEFORE_ROWS: Mapping[str, Callable[..., Any]] = {
    "dot": _dot,
    "where": _where,
    "clip": _clip,
    "reshape": _reshape,
    "ravel": _ravel,
    "transpose": _transpose,
    "permute_dims": _transpose,
    "norm": _norm,
    "pad": _padded,
    "sum": _sum,
}
"""Functions with rules of their own even where they have a row: they take more forms than it does."""

COMPOSED_UFUNCS: Mapping[str, Callable[..., Any]] = {
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
    "log_expit": lambda a: -row("softplus", -a),
    "entr": lambda a: -a * np.log(a),
    "rel_entr": lambda a, b: a * (np.log(a) - np.log(b)),
    "i0e": lambda a: np.exp(-np.abs(a)) * row("i0", a),
    "i1e": lambda a: np.exp(-np.abs(a)) * row("i1", a),
    "bessel_i0e": lambda a: np.exp(-np.abs(a)) * row("i0", a),
    "bessel_i1e": lambda a: np.exp(-np.abs(a)) * row("i1", a),
    "erfcx": lambda a: np.exp(a * a) * row("erfc", a),
    "betaln": lambda a, b: row("lgamma", a) + row("lgamma", b) - row("lgamma", a + b),
    "beta": lambda a, b: np.exp(row("lgamma", a) + row("lgamma", b) - row("lgamma", a + b)),
    "ndtri": lambda a: math.sqrt(2.0) * row("erfinv", 2.0 * a - 1.0),
    "log_ndtr": lambda a: np.log(0.5 * row("erfc", -a / math.sqrt(2.0))),
    "ndtr": lambda a: 0.5 * row("erfc", -a / math.sqrt(2.0)),
    "vecdot": lambda a, b: np.sum(a * b, axis=-1),
}
"""Functions of numbers that are put together from others, as long as no row has their name."""

COMPOSED: Mapping[str, Callable[..., Any]] = {
    "swapaxes": _swapaxes,
    "inner": _inner,
    "vdot": lambda a, b: np.ravel(a) @ np.ravel(b),
    "vecdot": lambda a, b, axis=-1: np.sum(a * b, axis=axis),
    "multi_dot": _multi_dot,
    "average": _average,
    "ptp": lambda a, axis=None, keepdims=False: (
        np.max(a, axis=axis, keepdims=keepdims) - np.min(a, axis=axis, keepdims=keepdims)
    ),
    "bincount": _bincount,
    "quantile": _of_one_axis(_quantile, besides=1),
    "percentile": lambda a, q, *axis, **options: np.quantile(a, q / 100.0, *axis, **options),
    "median": _of_one_axis(_median),
    "sort": _sorted,
    "apply_along_axis": _apply_along_axis,
    "convolve": _convolve,
    "correlate": lambda a, v, mode="valid": _convolve(a, v[::-1], mode),
    "interp": _interp,
    "cov": _cov,
    "corrcoef": _corrcoef,
    "pinv": _pinv,
    "lstsq": lambda a, b, *_, **__: (np.linalg.pinv(a) @ b, None, None, None),
    "meshgrid": _meshgrid,
    "partition": _partition,
    "qr": _qr,
    "as_strided": _as_strided,
    "kron": _kron,
    "cross": _cross,
    "slogdet": _slogdet,
    "select": _select,
    "piecewise": _piecewise,
    "choose": _choose,
    "block": _block,
    **{
        function.__name__: _moved(function)
        for function in (np.flipud, np.fliplr, np.rot90, np.repeat, np.tile, np.take, np.diagonal, np.delete,
                         np.take_along_axis, np.lib.stride_tricks.sliding_window_view)
    },
    "put_along_axis": _put_along_axis,
    "fill_diagonal": lambda a, val, **_: a.__setitem__(np.diag_indices(min(a.shape), a.ndim), val),
    "copyto": lambda dst, src, where=True, **_: dst.__setitem__(
        ..., src if where is True else np.where(where, src, dst.copy())
    ),
    "place": lambda arr, mask, vals: arr.__setitem__(mask, vals),
    "putmask": lambda a, mask, values: a.__setitem__(mask, values),
    "compress": lambda condition, a, axis=None: np.take(a, np.flatnonzero(condition), axis=axis),
    "extract": lambda condition, arr: arr[condition],
    "nan_to_num": _nan_to_num,
    **{
        f"nan{name}": lambda a, *args, name=name, **options: getattr(np, name)(_nan_to_num(a), *args, **options)
        for name in ("sum", "mean", "max", "min", "prod", "var", "std", "median")
    },
    "iscomplex": lambda x: np.zeros(x.shape, dtype=bool),
    "imag": lambda val: np.zeros(val.shape),
    "real": lambda val: val,
    "copy": lambda a, **_: a.copy(),
    "broadcast_arrays": lambda *arrays: tuple(
        np.broadcast_to(a, np.broadcast_shapes(*map(np.shape, arrays))) for a in arrays
    ),
    "column_stack": lambda tup: np.concatenate(
        [np.reshape(a, (-1, 1)) if np.ndim(a) < 2 else a for a in tup], axis=1
    ),
}  # fmt: skip
"""Functions of arrays that are put together from others, as long as no row has their name."""

"""Ops that move entries about and compute nothing."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any

import numpy as np

from verify.errors import ShapeError
from verify.numbers.ball_math import ZERO
from verify.ops import code
from verify.ops.axes import one_axis, same_points, shift
from verify.ops.code import Picked, Place, Whole, call, reshaped_back
from verify.ops.row import Op, Shape
from verify.ops.texts import entries, held, summed_to
from verify.ops.trials import UNARY, of_one, plain

Axis = tuple[int, ...]

# ------------------------------------------------------------------------------------------------ the order of axes


def _transposed_shape(a: Shape, axes: Axis | None = None) -> Shape:
    return a[::-1] if axes is None else tuple(a[i] for i in axes)


def _transpose(a: Any, axes: Axis | None = None) -> Any:
    order = range(a.ndim - 1)[::-1] if axes is None else axes
    return np.transpose(a, (0, *(i + 1 for i in order)))


def _transpose_vjp(g: Any, y: Any, a: Any, axes: Axis | None = None) -> Any:
    return _transpose(g, axes if axes is None else tuple(int(i) for i in np.argsort(axes)))


# ----------------------------------------------------------------------------------------- the same entries in a row


def _reshaped_shape(a: Shape, shape: Any) -> Shape:
    wanted = _sizes(shape)
    entries, unknown = math.prod(a), [i for i, size in enumerate(wanted) if size == -1]
    rest = math.prod(size for size in wanted if size != -1)
    if any(size < -1 for size in wanted) or len(unknown) > 1:
        raise ShapeError(f"shape={shape} must have sizes of 0 or more, and -1 once at most")
    if unknown and rest and entries % rest == 0:
        wanted = (*wanted[: unknown[0]], entries // rest, *wanted[unknown[0] + 1 :])
    if math.prod(wanted) != entries or -1 in wanted:
        raise ShapeError(f"cannot reshape {a} ({entries} entries) into {shape}")
    return wanted


def _sizes(shape: Any) -> Shape:
    return (shape,) if isinstance(shape, int) else tuple(shape)


def _reshape(a: Any, shape: Any) -> Any:
    return a.reshape(len(a), *_reshaped_shape(a.shape[1:], shape))


def _as_it_was(g: Any, y: Any, a: Any, **_: Any) -> Any:
    """The upstream gradient in the operand's shape."""
    return g.reshape(a.shape)


def _expanded_shape(a: Shape, axis: Axis) -> Shape:
    sizes = iter(a)
    return tuple(1 if place in axis else next(sizes) for place in range(len(a) + len(axis)))


def _squeezed_shape(a: Shape, axis: Axis | None = None) -> Shape:
    for place in axis or ():
        if a[place] != 1:
            raise ShapeError(f"cannot squeeze axis {place} of length {a[place]} (shape {a})")
    return tuple(size for place, size in enumerate(a) if size != 1 or (axis is not None and place not in axis))


# -------------------------------------------------------------------------------------------------- repeated entries


def _broadcast_shape(a: Shape, shape: Any) -> Shape:
    wanted = _sizes(shape)
    extra = len(wanted) - len(a)
    fits = all(size in (1, goal) for size, goal in zip(a, wanted[max(extra, 0) :], strict=False))
    if extra < 0 or not fits or any(size < 0 for size in wanted):
        raise ShapeError(f"cannot broadcast shape {a} to {wanted}")
    return wanted


def _broadcast(a: Any, shape: Any) -> Any:
    wanted = _sizes(shape)
    extra = len(wanted) - (a.ndim - 1)
    return np.broadcast_to(a.reshape(len(a), *(1,) * extra, *a.shape[1:]), (len(a), *wanted))


def _broadcast_vjp(g: Any, y: Any, a: Any, shape: Any) -> Any:
    extra = g.ndim - a.ndim
    stretched = [i + 1 + extra for i, size in enumerate(a.shape[1:]) if g.shape[i + 1 + extra] != size]
    summed = (*range(1, 1 + extra), *stretched)
    return np.sum(g, axis=summed).reshape(a.shape) if summed else g


# --------------------------------------------------------------------------------------------------- picked entries


def _indexed_shape(a: Shape, index: tuple[Any, ...]) -> Shape:
    shape: Shape = np.broadcast_to(np.zeros(()), a)[index].shape
    return shape


def _index(a: Any, index: tuple[Any, ...]) -> Any:
    return a[(slice(None), *index)]


def _index_vjp(g: Any, y: Any, a: Any, index: tuple[Any, ...]) -> Any:
    out = np.zeros_like(a)
    out[(slice(None), *index)] = g
    return out


def _gathered_shape(a: Shape, index: tuple[Any, ...]) -> Shape:
    """NumPy's rule, without making the result: a short list makes a large array of a row that it names often."""
    lengths = {len(part) for part in index if isinstance(part, tuple)}
    if len(lengths - {1}) > 1:
        text = " and ".join(str(len(part)) for part in index if isinstance(part, tuple))
        raise ShapeError(f"lists of {text} indices do not broadcast together")
    kept = np.broadcast_to(np.zeros(()), a)[tuple(0 if isinstance(part, tuple) else part for part in index)].shape
    pairs = np.zeros((1,) * len(a))[tuple(map(_first_twice, index))].shape  # where the axis of the lists comes to lie
    return (*kept[: pairs.index(2)], *(lengths - {1} or {1}), *kept[pairs.index(2) :])


def _first_twice(part: Any) -> Any:
    """A part of an index, made for an axis of length 1: a list picks its only entry twice."""
    if isinstance(part, tuple):
        return [0, 0]
    return slice(None) if isinstance(part, slice) else part if part is None or part is Ellipsis else 0


def _lists(index: tuple[Any, ...]) -> tuple[Any, ...]:
    """An index as NumPy reads it: what are tuples here are lists there."""
    return tuple(list(part) if isinstance(part, tuple) else part for part in index)


@lru_cache(maxsize=64)
def _reads(shape: Shape, index: tuple[Any, ...]) -> tuple[Shape, Any, tuple[tuple[Any, Any], ...]]:
    """The result's shape, the entry ``(n,)`` that each of its entries reads, and the same in rounds.

    A round has places of the result and the entries that they read, none of them twice, so that adding needs no loop.
    """
    read = np.arange(math.prod(shape)).reshape(shape)[_lists(tuple(map(_unfrozen, index)))]
    flat = read.ravel()
    order = np.argsort(flat, kind="stable")
    in_order = flat[order]
    first = np.searchsorted(in_order, in_order)
    turn = np.empty(len(flat), dtype=np.int64)
    turn[order] = np.arange(len(flat)) - first
    rounds = (
        (places := np.flatnonzero(turn == number), flat[places]) for number in range(int(turn.max(initial=-1)) + 1)
    )
    return read.shape, flat, tuple(rounds)


def _reading(shape: Shape, index: tuple[Any, ...]) -> tuple[Shape, Any, tuple[tuple[Any, Any], ...]]:
    return _reads(shape, tuple(map(_frozen, index)))


def _frozen(part: Any) -> Any:
    """A part of an index that can be looked up: a slice cannot."""
    return ("slice", part.start, part.stop, part.step) if isinstance(part, slice) else part


def _unfrozen(part: Any) -> Any:
    return slice(*part[1:]) if isinstance(part, tuple) and part and part[0] == "slice" else part


def _only_axis(index: tuple[Any, ...]) -> int | None:
    """The axis of the only list in an index that takes all of every other axis, None for any other index."""
    if sum(isinstance(part, tuple) for part in index) > 1:
        return None
    places = [place for place, part in enumerate(index) if part != slice(None)]
    return places[0] if len(places) == 1 and isinstance(index[places[0]], tuple) else None


def _gather(a: Any, index: tuple[Any, ...]) -> Any:
    axis = _only_axis(index)
    if axis is not None:
        return a[(slice(None), *_lists(index))]
    shape, read, _ = _reading(a.shape[1:], index)
    return a.reshape(len(a), -1)[:, read].reshape(len(a), *shape)


def _gather_vjp(g: Any, y: Any, a: Any, index: tuple[Any, ...]) -> Any:
    """Each entry gets what all places that read it send back."""
    axis = _only_axis(index)
    if axis is not None:
        out, before = np.zeros_like(a), (slice(None),) * (axis + 1)
        _, read, rounds = _reading(a.shape[axis + 1 : axis + 2], (index[axis],))
        return _added(out, g, before, len(read), rounds)
    _, read, rounds = _reading(a.shape[1:], index)
    out = np.zeros_like(a).reshape(len(a), -1)
    return _added(out, g.reshape(len(a), -1), (slice(None),), len(read), rounds).reshape(a.shape)


def _added(out: Any, g: Any, before: tuple[slice, ...], count: int, rounds: tuple[tuple[Any, Any], ...]) -> Any:
    """Adds places of g to entries of ``out``, round by round, along the axis that comes after some others."""
    for number, (places, read) in enumerate(rounds):
        sent = g if len(places) == count else g[(*before, places)]
        out[(*before, read)] = sent if number == 0 else out[(*before, read)] + sent
    return out


# ------------------------------------------------------------------------------------------------- several operands


def _stacked_shape(*shapes: Shape, axis: Axis = (0,)) -> Shape:
    if len(set(shapes)) > 1:
        raise ShapeError(f"stack needs arrays of one shape, got {' and '.join(map(str, shapes))}")
    place = one_axis("stack", axis)
    return (*shapes[0][:place], len(shapes), *shapes[0][place:])


def _stack(*arrays: Any, axis: Axis = (0,)) -> Any:
    return np.stack(same_points(arrays), axis=axis[0] + 1)


def _stack_vjp(g: Any, y: Any, *arrays: Any, which: int, axis: Axis = (0,)) -> Any:
    return g[(*(slice(None),) * (axis[0] + 1), which)]


def _joined_shape(*shapes: Shape, axis: Axis = (0,)) -> Shape:
    if not shapes[0] or not all(shapes):
        raise ShapeError("concatenate needs arrays with at least one axis; use stack for scalars")
    place = one_axis("concatenate", axis)
    others = {shape[:place] + shape[place + 1 :] for shape in shapes}
    if len({len(shape) for shape in shapes}) > 1 or len(others) > 1:
        text = " and ".join(map(str, shapes))
        raise ShapeError(f"concatenate needs arrays that differ along axis {place} alone, got shapes {text}")
    return (*shapes[0][:place], sum(shape[place] for shape in shapes), *shapes[0][place + 1 :])


def _concatenate(*arrays: Any, axis: Axis = (0,)) -> Any:
    return np.concatenate(same_points(arrays), axis=axis[0] + 1)


def _concatenate_vjp(g: Any, y: Any, *arrays: Any, which: int, axis: Axis = (0,)) -> Any:
    place = axis[0] + 1
    start = sum(x.shape[place] for x in arrays[:which])
    return g[(*(slice(None),) * place, slice(start, start + arrays[which].shape[place]))]


# ------------------------------------------------------------------------------------------- zeros, order, places


def _widths(pad_width: Any, rank: int) -> tuple[tuple[int, int], ...]:
    """Zeros before and after each axis, from what NumPy takes: one number, one pair, or a pair for each axis."""
    try:
        pairs = np.broadcast_to(np.array(pad_width, dtype=np.int64), (rank, 2)).tolist()
    except ValueError:
        raise ShapeError(f"pad_width={pad_width} must be a number, a pair, or a pair for each of {rank} axes") from None
    if any(width < 0 for pair in pairs for width in pair):
        raise ShapeError(f"pad_width={pad_width} must not be negative")
    return tuple((before, after) for before, after in pairs)


def _padded_shape(a: Shape, pad_width: Any) -> Shape:
    return tuple(before + n + after for n, (before, after) in zip(a, _widths(pad_width, len(a)), strict=True))


def _pad(a: Any, pad_width: Any) -> Any:
    return np.pad(a, ((0, 0), *_widths(pad_width, a.ndim - 1)))


def _pad_vjp(g: Any, y: Any, a: Any, pad_width: Any) -> Any:
    inner = (
        slice(before, before + n) for n, (before, _) in zip(a.shape[1:], _widths(pad_width, a.ndim - 1), strict=True)
    )
    return g[(slice(None), *inner)]


def _flip(a: Any, axis: Axis | None = None) -> Any:
    return np.flip(a, axis=shift(axis, a.ndim))


def _roll_shape(a: Shape, shift: Any, axis: Axis | None = None) -> Shape:
    steps = len(_sizes(shift))
    if steps > 1 and steps != len(axis or ()):
        raise ShapeError(f"shift={shift} needs an axis for each of its {steps} numbers, got axis={axis}")
    return a


def _roll(a: Any, shift: Any, axis: Axis | None = None) -> Any:
    if axis is None:
        return np.roll(a.reshape(len(a), -1), shift, axis=1).reshape(a.shape)
    return np.roll(a, _steps(shift, axis), axis=tuple(place + 1 for place in axis))


def _steps(shift: Any, axis: Axis) -> tuple[int, ...]:
    steps = _sizes(shift)
    return steps * len(axis) if len(steps) == 1 else steps


def _roll_vjp(g: Any, y: Any, a: Any, shift: Any, axis: Axis | None = None) -> Any:
    return _roll(g, tuple(-step for step in _sizes(shift)) if axis is not None else -_sizes(shift)[0], axis)


# Each of these is on object arrays what it is on the operand of a single point.


def _object_roll(a: Any, shift: Any, axis: Axis | None = None) -> Any:
    return np.roll(a, shift) if axis is None else np.roll(a, _steps(shift, axis), axis)


def _object_pad(a: Any, pad_width: Any) -> Any:
    """NumPy puts an object without axes into another array."""
    return np.pad(a, pad_width) if np.ndim(a) else a


def _object_squeeze(a: Any, axis: Axis | None = None) -> Any:
    return np.asarray(a).reshape(_squeezed_shape(np.shape(a), axis))


def _object_stack(*arrays: Any, axis: Axis = (0,)) -> Any:
    return np.stack(arrays, axis=axis[0])


def _object_concatenate(*arrays: Any, axis: Axis = (0,)) -> Any:
    return np.concatenate(arrays, axis=axis[0])


def _object_transpose(a: Any, axes: Axis | None = None) -> Any:
    return a.T if axes is None else np.transpose(a, axes)


def _object_fill(a: Any, pad_width: Any) -> Any:
    """Zeros of balls around an array of balls, of flags around an array of flags."""
    inside = np.pad(np.ones(a.shape, dtype=bool), pad_width)
    out = np.full(inside.shape, ZERO if a.dtype == object else False, dtype=a.dtype)
    out[inside] = a.ravel()
    return out


# --------------------------------------------------------------------------------------------------- as it is written


def _transpose_code(p: Place) -> str:
    axes = p.params.get("axes")
    return f"{held(p.a)}.T" if axes is None else f"np.transpose({p.a}, {axes})"


def _transpose_back(p: Place) -> str:
    axes = p.params.get("axes")
    if axes is None:
        return f"{held(p.g)}.T"
    return f"np.transpose({p.g}, {tuple(sorted(range(len(axes)), key=lambda i: axes[i]))})"


def _part(axis: int, part: str) -> str:
    """One place or slice along an axis, in square brackets."""
    return f"[{', '.join([':'] * axis + [part])}]"


def _stack_back(p: Place) -> str:
    return f"{held(p.g)}{_part(code.one_axis(p.params.get('axis')), str(p.which))}"


def _concatenate_back(p: Place) -> str:
    axis = code.one_axis(p.params.get("axis"))
    start = sum(shape[axis] for shape in p.shapes[: p.which])
    stop = start + p.shapes[p.which][axis]
    return held(p.g) + _part(axis, f"{start or ''}:{stop if stop < p.shape[axis] else ''}")


def _pad_back(p: Place) -> str:
    widths = _widths(p.params["pad_width"], len(p.shapes[0]))
    parts = [f"{before or ''}:{before + size}" for (before, _), size in zip(widths, p.shapes[0], strict=True)]
    return f"{held(p.g)}[{', '.join(parts)}]"


def _roll_back(p: Place) -> str:
    shift = p.params["shift"]
    back = tuple(-s for s in shift) if isinstance(shift, tuple) else -shift
    return f"np.roll({p.g}, {back}{p.options('axis')})"


_RESHAPED = Whole(lambda p: f"np.reshape({p.a}, {entries(p.shape)})", reshaped_back, "back to its shape")

_FLIPS = of_one(
    ((3,), {}), ((2, 3), {}), ((2, 3), {"axis": 0}), ((4, 2, 3), {"axis": (0, 2)}), ((2, 2), {"axis": -1}),
)  # fmt: skip
_PADS = (((3,), 1), ((2, 3), (1, 0)), ((2, 3), ((0, 1), (2, 0))), ((2, 2), 0), ((1, 2, 3), 1))
_RESHAPES = (((), (1,)), ((6,), (2, 3)), ((2, 3), 6), ((4, 2, 3), (-1, 4)), ((1, 3), (3, 1)), ((1,), ()))
_BROADCASTS = (((), (2, 3)), ((3,), (2, 3)), ((2, 1), (4, 2, 3)), ((1, 3), (3, 3)), ((2, 3), (2, 3)))
_EXPANDED = (((), 0), ((3,), -1), ((2, 3), (0, 2)), ((2, 2), 1))
_INDICES: tuple[tuple[Shape, tuple[int | slice, ...]], ...] = (
    ((3,), (0,)), ((3,), (-1,)), ((3,), (slice(1, None),)),
    ((2, 3), (1,)), ((2, 3), (0, -1)), ((2, 3), (slice(None), 1)),
    ((4, 2, 3), (slice(0, 3, 2), 1)), ((4, 2, 3), (2, slice(None, None, -1))), ((2, 2), (0, 0)),
)  # fmt: skip
_GATHERED: tuple[tuple[Shape, tuple[Any, ...]], ...] = (
    ((3,), ((0, 2, 2),)), ((3,), ((True, False, True),)), ((2, 3), ((1, 0, 1), slice(None))), ((2, 3), (..., (2, 2))),
    ((4, 2, 3), ((3, 0), 1)), ((4, 2, 3), (0, slice(None), (2, 0, 2))), ((3, 3), ((0, 1), (2, 2))),
)  # fmt: skip


def _moving(name: str, on_objects: Any, **columns: Any) -> Op:
    """A row that moves entries: on object arrays of any numbers it does the same, so that three columns are one."""
    forms = dict.fromkeys(("exact", "sympy", "ball"), on_objects)
    return Op(name, **{"elementwise": False, "ulps": 0.0, "moves": True, **forms, **columns})


ROWS = (
    _moving("transpose", _object_transpose, example="transpose(u)", params=("axes",), shape=_transposed_shape,
            trials=of_one(((), {}), ((3,), {}), ((2, 3), {}), ((4, 2, 3), {}), ((4, 2, 3), {"axes": (1, 0, 2)}),
                          ((4, 2, 3), {"axes": (2, 0, 1)})),
            forward=_transpose, vjps=(_transpose_vjp,), code=Whole(_transpose_code, _transpose_back, "turned back")),
    _moving("index", lambda a, index: a[index], spelling="a[0]", example="u[0]", params=("index",),
            shape=_indexed_shape, trials=of_one(*((shape, {"index": index}) for shape, index in _INDICES)),
            forward=_index, vjps=(_index_vjp,), code=Picked()),
    _moving("gather", lambda a, index: a[_lists(index)], spelling="a[[0, 2]]", example="u[[0, 1, 1]]",
            params=("index",), shape=_gathered_shape,
            trials=of_one(*((shape, {"index": index}) for shape, index in _GATHERED)),
            forward=_gather, vjps=(_gather_vjp,), code=Picked()),
    _moving("reshape", np.reshape, spelling="reshape(a, shape=(2, 3))", example="reshape(u, (2, 1))",
            params=("shape",), required=("shape",), shape=_reshaped_shape,
            trials=of_one(*((shape, {"shape": to}) for shape, to in _RESHAPES)),
            forward=_reshape, vjps=(_as_it_was,), code=_RESHAPED),
    _moving("ravel", np.ravel, example="ravel(u)", shape=lambda a: (math.prod(a),), trials=plain(*UNARY),
            forward=lambda a: a.reshape(len(a), -1), vjps=(_as_it_was,),
            code=Whole(call("np.ravel"), reshaped_back, "back to its shape")),
    _moving("expand_dims", np.expand_dims, spelling="expand_dims(a, axis=0)", example="expand_dims(u, axis=1)",
            params=("axis",), required=("axis",), axis_of="result", shape=_expanded_shape,
            trials=of_one(*((shape, {"axis": axis}) for shape, axis in _EXPANDED)),
            forward=lambda a, axis: a.reshape(len(a), *_expanded_shape(a.shape[1:], axis)), vjps=(_as_it_was,),
            code=_RESHAPED),
    _moving("squeeze", _object_squeeze, example="squeeze(u)", params=("axis",), shape=_squeezed_shape,
            trials=(*plain((1, 3), (1,), (2, 1, 3)), *of_one(((1, 3, 1), {"axis": 2}))),
            forward=lambda a, axis=None: a.reshape(len(a), *_squeezed_shape(a.shape[1:], axis)), vjps=(_as_it_was,),
            code=_RESHAPED),
    _moving("broadcast_to", np.broadcast_to, spelling="broadcast_to(a, shape=(2, 3))",
            example="broadcast_to(u, (2, 2))", params=("shape",), required=("shape",), shape=_broadcast_shape,
            trials=of_one(*((shape, {"shape": to}) for shape, to in _BROADCASTS)),
            forward=_broadcast, vjps=(_broadcast_vjp,),
            code=Whole(lambda p: f"np.broadcast_to({p.a}, {entries(p.shape)})",
                       lambda p: summed_to(p.g, p.shape, p.shapes[0]), "summed over the repeated axes")),
    _moving("stack", _object_stack, spelling="stack([a, b])", example="stack([u, b])", variadic="list",
            params=("axis",), axis_of="result", shape=_stacked_shape,
            trials=((((3,),) * 2, {}), (((3,),) * 3, {"axis": 1}), (((),) * 2, {}), (((2, 3),), {"axis": -1}),
                    (((2, 2),) * 2, {"axis": 1})),
            forward=_stack, vjps=(_stack_vjp,),
            code=Whole(lambda p: f"np.stack([{', '.join(p.operands)}]{p.options('axis')})", _stack_back,
                       "its own part")),
    _moving("concatenate", _object_concatenate, spelling="concatenate([a, b])", example="concatenate([u, b])",
            variadic="list", params=("axis",), shape=_joined_shape,
            trials=((((3,), (2,)), {}), (((2, 3), (1, 3), (4, 3)), {}), (((2, 3), (2, 1)), {"axis": -1}),
                    (((2, 2),), {"axis": 1})),
            forward=_concatenate, vjps=(_concatenate_vjp,),
            code=Whole(lambda p: f"np.concatenate([{', '.join(p.operands)}]{p.options('axis')})", _concatenate_back,
                       "its own part")),
    _moving("pad", _object_pad, ball=_object_fill, spelling="pad(a, pad_width=1)", example="pad(u, (1, 0))",
            params=("pad_width",), required=("pad_width",), shape=_padded_shape,
            source="NumPy's pad with its default mode, constant zeros",
            trials=of_one(*((shape, {"pad_width": width}) for shape, width in _PADS)),
            forward=_pad, vjps=(_pad_vjp,),
            code=Whole(lambda p: f"np.pad({p.a}, {p.params['pad_width']})", _pad_back, "without the padding")),
    _moving("flip", np.flip, example="flip(u)", params=("axis",), shape=lambda a, axis=None: a, trials=_FLIPS,
            forward=_flip, vjps=(lambda g, y, a, axis=None: _flip(g, axis),),
            code=Whole(call("np.flip", "axis"), lambda p: f"np.flip({p.g}{p.options('axis')})", "flipped back")),
    _moving("roll", _object_roll, spelling="roll(a, shift=1)", example="roll(u, 1)", params=("shift", "axis"),
            required=("shift",), shape=_roll_shape,
            trials=(*((shapes, {"shift": 1, **params}) for shapes, params in _FLIPS),
                    *of_one(((2, 3), {"shift": -2, "axis": 1}), ((2, 3), {"shift": (1, 2), "axis": (0, 1)}))),
            forward=_roll, vjps=(_roll_vjp,),
            code=Whole(lambda p: f"np.roll({p.a}, {p.params['shift']}{p.options('axis')})", _roll_back,
                       "rolled back")),
)  # fmt: skip

"""Comparisons of traced values: they choose between arrays, and where a number is needed they are frozen.

``np.where(x > 0, a, b)``, ``m[m < 0] = 0``, ``z[pos] = np.exp(-x[pos])`` and ``(x > 0) * y`` become rows of the table
that hold for every point. What needs the truth itself (an index, a count, ``if``) gets that of the traced point.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.lib.mixins import NDArrayOperatorsMixin
from numpy.typing import NDArray

from verify.tracing.excluded import has_infinite
from verify.tracing.storage import Entries

Array = NDArray[Any]

NEGATIONS: Mapping[str, str] = {
    "greater": "less_equal", "less_equal": "greater", "less": "greater_equal", "greater_equal": "less",
    "equal": "not_equal", "not_equal": "equal", "and": "or", "or": "and",
}  # fmt: skip
"""Comparison, or way to put two together -> what holds where it does not."""

SELECTIONS: Mapping[str, tuple[str, bool]] = {
    "greater": ("where", False),
    "greater_equal": ("where_or_equal", False),
    "less": ("where", True),
    "less_equal": ("where_or_equal", True),
}
"""Comparison -> the row that chooses by it, and whether its sides change places."""

MOVES = frozenset({"broadcast_to", "reshape", "ravel", "transpose", "expand_dims", "squeeze", "swapaxes", "moveaxis",
                   "flip", "roll", "repeat", "tile"})  # fmt: skip
"""Functions that move truth values and look at none."""

LOGICAL = {"logical_and": "and", "bitwise_and": "and", "logical_or": "or", "bitwise_or": "or"}


class Condition(NDArrayOperatorsMixin):
    """What a comparison of traced values gives, or several of them put together."""

    __array_priority__ = 1001.0

    def __init__(self, recorder: Any, name: str, operands: tuple[Any, Any]) -> None:
        self.recorder, self.name, self.operands = recorder, name, operands
        self.shape: tuple[int, ...] = np.broadcast_shapes(*(np.shape(operand) for operand in operands))

    # ------------------------------------------------------------------------------------------------------ what it is

    @property
    def key(self) -> tuple[Any, ...]:
        """What it says, the same for all ways to write it."""
        name, (a, b) = self.name, self.operands
        if name in {"less", "less_equal"}:
            name, a, b = {"less": "greater", "less_equal": "greater_equal"}[name], b, a
        return (name, _key(self.recorder, a), _key(self.recorder, b))

    def negated(self) -> Condition:
        """The opposite."""
        a, b = self.operands
        if self.name in {"and", "or"}:
            a, b = np.logical_not(a), np.logical_not(b)
        return Condition(self.recorder, NEGATIONS[self.name], (a, b))

    @property
    def is_one_comparison(self) -> bool:
        """Whether a row of the table chooses by it."""
        return self.name in SELECTIONS

    @property
    def chooses(self) -> bool:
        """Whether rows of the table, one after the other, choose by it."""
        return self.is_one_comparison or (
            self.name in {"and", "or"} and all(c.chooses for c in self.operands if isinstance(c, Condition))
        )

    def holds(self) -> Array:
        """Whether it is true at the traced point, entry by entry; where a rerun asks for it, ties the other way."""
        if self.name in {"and", "or"}:
            a, b = (c.holds() if isinstance(c, Condition) else np.asarray(c) for c in self.operands)
            return np.asarray(a & b if self.name == "and" else a | b)
        a, b = (self.recorder.number(operand) for operand in self.operands)
        with np.errstate(all="ignore"):
            found = np.asarray(getattr(np, self.name)(a, b))
        return found ^ self.ties() if self.recorder.turned else found

    def ties(self) -> Array:
        """Where the two sides are equal at the traced point, entry by entry."""
        if self.name in {"and", "or"}:
            a, b = (c.ties() if isinstance(c, Condition) else np.zeros(np.shape(c), bool) for c in self.operands)
            return np.asarray(a | b)
        a, b = (self.recorder.number(operand) for operand in self.operands)
        return np.asarray(np.equal(a, b))

    def frozen(self) -> Array:
        """The truth at the traced point, which the trace takes for granted from now on."""
        self.recorder.freeze("a comparison", tied=bool(np.any(self.ties())))
        return self.holds()

    # ------------------------------------------------------------------------------------------------------- choosing

    def choose(self, x: Any, y: Any) -> Any:
        """``x`` where it is true, ``y`` elsewhere, at every point."""
        if not self.chooses or has_infinite(x, y):
            return self.recorder.masked(self.frozen(), x, y)
        if not self.is_one_comparison:
            first, second = self.operands
            inner = self._chosen_by(second, x, y)
            return self._chosen_by(first, inner, y) if self.name == "and" else self._chosen_by(first, x, inner)
        x, y = self._branch(x, takes=True), self._branch(y, takes=False)
        x, y = (_one_number(operand, self.shape) for operand in (x, y))
        row, is_turned = SELECTIONS[self.name]
        a, b = self.operands[::-1] if is_turned else self.operands
        return self.recorder.apply(row, [a, b, x, y])

    def _chosen_by(self, condition: Any, x: Any, y: Any) -> Any:
        """By one of two that were put together, which may be a known mask."""
        return condition.choose(x, y) if isinstance(condition, Condition) else self.recorder.masked(condition, x, y)

    def moved(self, move: Callable[[Array], Array]) -> Condition:
        """The same with its entries moved: ``move`` is shown their places."""
        places = move(np.arange(self.size).reshape(self.shape))
        a, b = (_moved(self.recorder, operand, self.shape, places) for operand in self.operands)
        return Condition(self.recorder, self.name, (a, b))

    def _branch(self, operand: Any, *, takes: bool) -> Any:
        """An operand, or what it comes to where this condition holds (or does not), if it was chosen by the same."""
        other = self.recorder.chosen_by(operand)
        if other is None:
            return operand
        key, first, second = other
        if key == self.key:
            return first if takes else second
        return operand if key != self.negated().key else second if takes else first

    def as_number(self) -> Any:
        """1 where it is true, 0 elsewhere."""
        return self.choose(1.0, 0.0)

    # ------------------------------------------------------------------------------------------ what arrays of flags do

    dtype = np.dtype(bool)

    @property
    def ndim(self) -> int:
        """The number of axes."""
        return len(self.shape)

    @property
    def size(self) -> int:
        """The number of entries."""
        return int(np.prod(self.shape, dtype=np.int64))

    def astype(self, dtype: Any, *_: Any, **__: Any) -> Any:
        """As numbers, or as it is."""
        return self if np.dtype(dtype) == np.bool_ else self.as_number()

    def copy(self) -> Condition:
        """Itself: nothing changes it."""
        return self

    def sum(self, *args: Any, **kwargs: Any) -> Any:
        """How many are true."""
        return np.sum(self.as_number(), *args, **kwargs)

    def mean(self, *args: Any, **kwargs: Any) -> Any:
        """Which part is true."""
        return np.mean(self.as_number(), *args, **kwargs)

    def __bool__(self) -> bool:
        if self.size != 1:
            raise ValueError("the truth value of an array with more than one element is ambiguous")
        return bool(self.recorder.decide(self))

    def __len__(self) -> int:
        return len(np.empty(self.shape))

    def __getitem__(self, index: Any) -> Any:
        if self.name in {"and", "or"}:
            return Condition(self.recorder, self.name, (self.operands[0][index], self.operands[1][index]))
        a, b = (_picked(operand, self.shape, index) for operand in self.operands)
        return Condition(self.recorder, self.name, (a, b))

    def __array__(self, dtype: Any = None, *_: Any, **__: Any) -> Array:
        return np.asarray(self.frozen(), dtype=dtype)

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **options: Any) -> Any:
        name = ufunc.__name__
        if method == "__call__" and name in {"logical_not", "invert"}:
            return self.negated()
        if method == "__call__" and name in LOGICAL and all(_is_mask(operand) for operand in inputs):
            return Condition(self.recorder, LOGICAL[name], (inputs[0], inputs[1]))
        if method == "__call__" and name == "multiply":
            condition, other = (inputs[0], inputs[1]) if inputs[0] is self else (inputs[1], inputs[0])
            other = other.as_number() if isinstance(other, Condition) else other
            return condition.choose(other, 0.0)
        if name in {"equal", "not_equal"} or method != "__call__":
            return getattr(ufunc, method)(*(c.frozen() if isinstance(c, Condition) else c for c in inputs), **options)
        return getattr(ufunc, method)(*(c.as_number() if isinstance(c, Condition) else c for c in inputs), **options)

    def __array_function__(self, function: Callable[..., Any], types: Any, args: Any, kwargs: Any) -> Any:
        if function in (np.shape, np.ndim, np.size):
            return getattr(self, function.__name__)
        if function in (np.sum, np.mean):
            return getattr(self, function.__name__)(*args[1:], **{k: v for k, v in kwargs.items() if k != "a"})
        if function in (np.select, np.piecewise) or (function is np.where and len(args) > 1):
            return self.recorder.function(function, args, kwargs)
        if function.__name__ in MOVES:
            return self.moved(lambda places: function(places, *args[1:], **kwargs))
        plain = [arg.frozen() if isinstance(arg, Condition) else arg for arg in args]
        return function(*plain, **{k: v.frozen() if isinstance(v, Condition) else v for k, v in kwargs.items()})

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(self.frozen(), name)

    __hash__ = None  # type: ignore[assignment]


def _one_number(operand: Any, shape: tuple[int, ...]) -> Any:
    """A known array of that shape whose entries are all the same as one number."""
    known = operand.known() if getattr(operand, "is_known", False) else operand
    if isinstance(known, np.ndarray) and not hasattr(known, "recorder") and known.shape == shape and known.size:
        first = known.flat[0]
        return float(first) if np.all(known == first) else known
    return known


def _picked(operand: Any, shape: tuple[int, ...], index: Any) -> Any:
    """Some entries of one side of a comparison; a number stays what it is."""
    if np.ndim(operand) == 0 and shape:
        return operand
    return (operand if np.shape(operand) == shape else np.broadcast_to(operand, shape))[index]


def _moved(recorder: Any, operand: Any, shape: tuple[int, ...], places: Array) -> Any:
    """Entries of one side of a comparison of that shape; a number stays what it is."""
    if not np.ndim(operand):
        return operand
    own = np.broadcast_to(np.arange(np.size(operand)).reshape(np.shape(operand)), shape)
    at = np.ravel(own)[places]
    if isinstance(operand, Condition):
        return operand.moved(lambda _: at)
    if not hasattr(operand, "recorder"):
        return np.ravel(operand)[at]
    return recorder.from_entries(Entries(*(np.ravel(part)[at] for part in operand.entries())))


def _is_mask(operand: Any) -> bool:
    return isinstance(operand, Condition) or getattr(operand, "dtype", type(operand)) in (np.bool_, bool)


def _key(recorder: Any, operand: Any) -> Any:
    if isinstance(operand, Condition):
        return operand.key
    step = recorder.step_of(operand)
    return ("step", step) if step is not None else repr(np.asarray(operand, dtype=float).tolist())


class Masked(NDArrayOperatorsMixin):
    """``x[x > 0]`` for a traced condition: entry by entry it stays the whole array, anything else freezes the mask."""

    __array_priority__ = 1002.0

    def __init__(self, whole: Any, condition: Condition) -> None:
        self.recorder, self.whole, self.condition = whole.recorder, whole, condition

    def picked(self) -> Any:
        """The entries themselves, those of the traced point."""
        return self.whole[self.condition.frozen()]

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **options: Any) -> Any:
        options.pop("out", None)
        if method == "__call__" and all(self._fits(operand) for operand in inputs) and not options:
            whole = ufunc(*(operand.whole if isinstance(operand, Masked) else operand for operand in inputs))
            return Masked(whole, self.condition) if hasattr(whole, "step") else whole[self.condition]
        return getattr(ufunc, method)(*map(_plain, inputs), **options)

    def _fits(self, operand: Any) -> bool:
        if isinstance(operand, Masked):
            return operand.whole.shape == self.whole.shape and operand.condition.key == self.condition.key
        return np.ndim(operand) == 0

    def __array_function__(self, function: Callable[..., Any], types: Any, args: Any, kwargs: Any) -> Any:
        if function is np.sum and len(args) == 1 and not kwargs and self.condition.shape == self.whole.shape:
            return np.sum(self.condition.choose(self.whole, 0.0))
        return function(*map(_plain, args), **{name: _plain(value) for name, value in kwargs.items()})

    def sum(self, *args: Any, **kwargs: Any) -> Any:
        """The sum, of a whole array if no axes are named."""
        return np.sum(self, *args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(self.picked(), name)

    def __len__(self) -> int:
        return len(self.picked())

    def __iter__(self) -> Any:
        return iter(self.picked())

    def __getitem__(self, index: Any) -> Any:
        return self.picked()[index]

    def __array__(self, *args: Any, **kwargs: Any) -> Any:
        return self.picked().__array__(*args, **kwargs)

    __hash__ = None  # type: ignore[assignment]


def _plain(value: Any) -> Any:
    if isinstance(value, Masked):
        return value.picked()
    return [_plain(item) for item in value] if isinstance(value, list) else value


def as_index(index: Any) -> Any:
    """An index with its traced conditions and numbers as those of the traced point.

    >>> as_index((0, slice(None)))
    (0, slice(None, None, None))
    """
    parts = index if isinstance(index, tuple) else (index,)
    plain = tuple(_index_part(part) for part in parts)
    return plain if isinstance(index, tuple) else plain[0]


def _index_part(part: Any) -> Any:
    if isinstance(part, Condition):
        return part.frozen()
    if hasattr(part, "recorder"):
        return part.whole_numbers()
    if isinstance(part, list | tuple) and any(hasattr(item, "recorder") for item in part):
        return [_index_part(item) for item in part]
    return part


def only_condition(index: Any, rank: int) -> Condition | None:
    """The traced condition that an index is, if that is all of it and it has no more axes than the array.

    >>> only_condition((0, slice(None)), 2) is None
    True
    """
    parts: Sequence[Any] = index if isinstance(index, tuple) else (index,)
    parts = [part for part in parts if part is not Ellipsis]
    if len(parts) == 1 and isinstance(parts[0], Condition) and parts[0].chooses and 0 < parts[0].ndim <= rank:
        return parts[0]
    return None

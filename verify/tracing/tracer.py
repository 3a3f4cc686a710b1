"""The stand-in for an array that remembers what is done to it, by NumPy's own protocols.

A :class:`Tracer` has a shape and a dtype, and no numbers of its own. Operators and ufuncs reach it through
``__array_ufunc__``, other functions through ``__array_function__``, methods through the function of the same name. It
can be written to, as an array can, and views of it see the change. What happens to it is written down by a
:class:`~verify.tracing.recorder.Recorder`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any, cast

import numpy as np
from numpy.lib.mixins import NDArrayOperatorsMixin

from verify.graph.interpret import call_of
from verify.ops import Shape
from verify.tracing import excluded, numpy_rules
from verify.tracing.conditions import Condition, Masked, as_index, only_condition
from verify.tracing.storage import KNOWN, Array, Entries, Storage

VIEWS = frozenset(
    {"index", "transpose", "reshape", "ravel", "broadcast_to", "flip", "expand_dims", "squeeze", "diag", "diagonal"}
)
"""Ops whose result may share its memory with the operand."""


class Tracer(NDArrayOperatorsMixin):
    """An array as the traced function sees it: inputs, what is computed from them, and arrays that wait for them."""

    __array_priority__ = 1000.0

    def __init__(
        self,
        recorder: Any,
        storage: Storage,
        *,
        shape: Shape | None = None,
        places: Array | None = None,
        made: tuple[Tracer, str, Mapping[str, Any], int] | None = None,
    ) -> None:
        """A whole storage, or a view of one: of some ``places``, or ``made`` of another tracer by an op."""
        self.recorder, self.storage = recorder, storage
        self.shape: Shape = storage.shape if shape is None else shape
        """The sizes of the axes."""
        self._places, self._made, self._is_all = places, made, places is None and made is None
        self._read: tuple[int, int] | None = None if made is None else (storage.version, made[3])
        """The version of the storage that was read last, and the step that holds what was read."""

    @property  # type: ignore[misc]
    def __class__(self) -> Any:
        """What NumPy would have here: ``isinstance(x, np.ndarray)``, or of a number ``isinstance(x, float)``."""
        if self.shape:
            return np.ndarray
        return np.float32 if self.recorder.dtype == np.float32 else np.float64

    # ------------------------------------------------------------------------------------------- where the entries are

    @property
    def places(self) -> Array:
        """Which entries of the storage it shows, counted in a row."""
        if self._places is None:
            if self._made is None:
                self._places = np.arange(self.size).reshape(self.shape)
            else:
                call = call_of(self.recorder.node_of(self._made[3]))
                assert call is not None
                self._places = np.asarray(call(self._made[0].places[None]))[0]
        return self._places

    def entries(self) -> Entries:
        """Where its entries come from."""
        if self.storage.whole is not None and (self._is_all or self._made is not None):
            places = np.arange(self.size).reshape(self.shape)
            return Entries(np.full(self.shape, self.step), places, np.zeros(self.shape))
        return self.storage.entries(self.places)

    @property
    def is_known(self) -> bool:
        """Whether it depends on no input."""
        return self.storage.is_known or (self.storage.whole is None and self.entries().are_known)

    @property
    def has_infinite(self) -> bool:
        """Whether some of its entries are infinite at every point."""
        return self.storage.whole is None and bool(np.any(self.infinite()))

    def infinite(self) -> Array:
        """Which of its entries are infinite at every point."""
        if self.storage.whole is not None:
            return np.zeros(self.shape, dtype=bool)
        entries = self.entries()
        return np.asarray(np.isinf(entries.numbers) & (entries.steps == KNOWN))

    def known(self) -> Array:
        """Its numbers, where they are known."""
        return self.entries().numbers.astype(self.recorder.dtype)

    @property
    def step(self) -> int:
        """The step of the recording that holds its value as it is now."""
        if self._read is None or self._read[0] != self.storage.version:
            self._read = self.storage.version, self._step()
        return self._read[1]

    def _step(self) -> int:
        whole = self.storage.whole
        if whole is not None and self._made is not None:
            source, op, params, _ = self._made
            return cast("int", self.recorder.apply(op, [source], params).step)
        if whole is not None and self._is_all:
            return whole
        return cast("int", self.recorder.collected(self.storage.entries(self.places)))

    def __setitem__(self, index: Any, value: Any) -> None:
        condition = only_condition(index, self.ndim)
        if condition is not None and self._chosen(condition, value):
            return
        if isinstance(value, Masked):
            value = value.picked()
        if isinstance(value, list | tuple):
            value = self.recorder.put_together(value)
        places = self.places[as_index(index)]
        new = self.recorder.entries_of(value)
        if new.steps.shape != np.shape(places):
            shape = new.steps.shape  # NumPy leaves out ones in front that the target has not
            while len(shape) > np.ndim(places) and shape[0] == 1:
                shape = shape[1:]
            new = Entries(*(np.broadcast_to(part.reshape(shape), np.shape(places)) for part in new))
        self._write(np.ravel(places), Entries(*(np.ravel(part) for part in new)))

    def _write(self, places: Array, new: Entries) -> None:
        steps = set(new.steps.tolist())
        if len(steps) == 1 and len(places) == math.prod(self.storage.shape) and KNOWN not in steps:
            (step,) = steps
            order = np.arange(len(places))
            is_same = self.recorder.steps[step].shape == self.storage.shape
            if is_same and np.array_equal(places, order) and np.array_equal(new.positions, order):
                self.storage.become(step)
                return
        self.storage.write(places, new)

    def _chosen(self, condition: Condition, value: Any) -> bool:
        """``m[m < 0] = 0`` as a choice that holds for every point; False where the value is no such choice."""
        if isinstance(value, Masked):
            if value.condition.key != condition.key or value.whole.shape != self.shape:
                return False
            value = value.whole
        elif np.ndim(value) or isinstance(value, list | tuple) or excluded.has_infinite(value, self):
            return False
        index = (slice(None),) * condition.ndim + (None,) * (self.ndim - condition.ndim)
        full = condition[index] if self.ndim > condition.ndim else condition
        self[...] = full.choose(value, self.recorder.tracer(self.step) if not self.is_known else self.known())
        return True

    def __getitem__(self, index: Any) -> Any:
        condition = only_condition(index, self.ndim)
        if condition is not None and not self.is_known and not self.has_infinite:
            index_of = (slice(None),) * condition.ndim + (None,) * (self.ndim - condition.ndim)
            full = condition[index_of] if self.ndim > condition.ndim else condition
            return Masked(self.copy(), full if full.shape == self.shape else condition)
        index = as_index(index)
        if self.storage.whole is not None:
            return numpy_rules.indexed(self.recorder, self, index)
        places = self.places[index]
        if np.ndim(places) == 0:
            return self._number(int(places))
        if np.shares_memory(places, self.places):
            return Tracer(self.recorder, self.storage, shape=places.shape, places=places)
        return self.recorder.from_entries(self.storage.entries(places))

    def _number(self, place: int) -> Any:
        """One entry: a number of its own, as with NumPy."""
        entries = self.storage.entries(np.array(place))
        if entries.are_known:
            return self.recorder.dtype.type(entries.numbers)
        return self.recorder.tracer(self.recorder.collected(entries))

    def moved(self, function: Callable[..., Any], args: Any, kwargs: Mapping[str, Any]) -> Any:
        """The result of a function that only gives entries another shape, as a view of the same storage."""
        found = function(self.places, *args, **kwargs)
        if isinstance(found, list | tuple):
            return [Tracer(self.recorder, self.storage, shape=part.shape, places=part) for part in found]
        return Tracer(self.recorder, self.storage, shape=found.shape, places=found)

    # ------------------------------------------------------------------------------------------ what an array has

    @property
    def ndim(self) -> int:
        """The number of axes."""
        return len(self.shape)

    @property
    def size(self) -> int:
        """The number of entries."""
        return math.prod(self.shape)

    @property
    def dtype(self) -> Any:
        """That of the inputs together."""
        return self.recorder.dtype

    @property
    def T(self) -> Any:  # noqa: N802 - NumPy's name
        """The axes reversed."""
        return np.transpose(self)

    @property
    def mT(self) -> Any:  # noqa: N802 - NumPy's name
        """The last two axes exchanged."""
        return np.swapaxes(self, -1, -2)

    @property
    def real(self) -> Tracer:
        """Itself."""
        return self

    def astype(self, dtype: Any, *_: Any, **__: Any) -> Any:
        """A copy; as whole numbers or flags those of the traced point."""
        if np.dtype(dtype).kind == "f":
            return self.copy()
        if np.dtype(dtype).kind == "c":
            self.recorder.refuse("a conversion to complex numbers", "Gradients are those of real functions.")
        return np.asarray(self.frozen(f"a conversion to {np.dtype(dtype)}")).astype(dtype)

    def frozen(self, what: str, *, leaks: bool = False) -> Any:
        """Its value at the traced point, which the trace takes for granted from now on."""
        if self.is_known:
            return self.known()[()]
        self.recorder.freeze(what, leaks=leaks)
        return np.array(self.recorder.number(self))[()]

    def whole_numbers(self) -> Any:
        """Its value as an index."""
        return np.asarray(self.frozen("a traced value as an index")).astype(np.int64)[()]

    def copy(self, *_: Any, **__: Any) -> Tracer:
        """The same value, which is not changed by what is done to this one in place."""
        whole = self.storage.whole is not None
        made = self.recorder.tracer(self.step) if whole else self.recorder.from_entries(self.entries())
        return cast("Tracer", made)

    def item(self, *index: Any) -> Any:
        """The number that it is, or one of its entries."""
        if index:
            return self[index[0] if len(index) == 1 and self.ndim == 1 else index]
        return self if not self.shape else np.reshape(self, ())

    def tolist(self) -> Any:
        """Nested lists of numbers."""
        return [row.tolist() for row in self] if self.ndim > 1 else list(self) if self.shape else self

    def fill(self, value: Any) -> None:
        """One number everywhere."""
        self[...] = value

    @property
    def strides(self) -> tuple[int, ...]:
        """Those of an array of its own memory, in order."""
        return np.empty(self.shape).strides

    @property
    def flat(self) -> Flat:
        """The entries one by one."""
        return Flat(self)

    @flat.setter
    def flat(self, value: Any) -> None:
        """Writes all of them."""
        self.flat[:] = value

    def sort(self, axis: int = -1) -> None:
        """In place."""
        self[...] = np.sort(self, axis=axis)

    __copy__ = copy

    def __deepcopy__(self, _: Any) -> Tracer:
        return self.copy()

    def reshape(self, *shape: Any, **options: Any) -> Any:
        """The entries in another shape; sizes may be given one by one."""
        return np.reshape(self, shape[0] if len(shape) == 1 else shape, **options)

    def transpose(self, *axes: Any) -> Any:
        """The axes in another order, reversed if none is given."""
        order = axes[0] if len(axes) == 1 else axes or None
        return np.transpose(self, order)

    def flatten(self, *_: Any) -> Any:
        """The entries in one row, as a copy."""
        return np.ravel(self).copy()

    def __getattr__(self, name: str) -> Any:
        """A method of arrays is the NumPy function of its name."""
        if name.startswith("_") or not hasattr(np.ndarray, name):
            raise AttributeError(f"'numpy.ndarray' object has no attribute '{name}'")
        function: Any = getattr(np, name, None)
        if not callable(function):
            self.recorder.refuse(f"the method or attribute '.{name}'", "It needs numbers, which a trace has not.")
        return lambda *args, **kwargs: function(self, *args, **kwargs)

    def __len__(self) -> int:
        if not self.shape:
            raise TypeError("len() of unsized object")
        return self.shape[0]

    def __iter__(self) -> Iterator[Any]:
        if not self.shape:
            raise TypeError("iteration over a 0-d array")
        return (self[i] for i in range(len(self)))

    def __repr__(self) -> str:
        if self.is_known:
            return repr(self.known())
        if self.storage.whole is None:
            return f"Tracer(shape={self.shape})"
        step = self.recorder.steps[self.step]
        return f"Tracer({step.name or step.assigned or step.op}, shape={self.shape})"

    def __format__(self, _: str) -> str:
        return repr(self)

    # ----------------------------------------------------------------------------------------------- NumPy's protocols

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **options: Any) -> Any:
        return self.recorder.ufunc(ufunc, method, inputs, options)

    def __array_function__(self, function: Any, types: Any, args: Any, kwargs: Any) -> Any:
        return self.recorder.function(function, args, kwargs)

    # --------------------------------------------------------------------------------------------- what needs a number

    def __array__(self, dtype: Any = None, *_: Any, **__: Any) -> Array:
        what = "a traced value made into a plain array (by a function that is not NumPy's, or a write into an array)"
        return np.asarray(self.frozen(what, leaks=True), dtype=dtype)

    def __bool__(self) -> bool:
        if self.size != 1:
            raise ValueError("the truth value of an array with more than one element is ambiguous")
        return bool(self.known()) if self.is_known else bool(np.reshape(self, ()) != 0)

    def __float__(self) -> float:
        return float(self.frozen("float() of a traced value", leaks=True))

    def __int__(self) -> int:
        return int(self.frozen("int() of a traced value"))

    def __index__(self) -> int:
        return int(self.whole_numbers())

    def __complex__(self) -> Any:
        self.recorder.refuse("complex() of a traced value", "Gradients are those of real functions.")

    def __round__(self, digits: int = 0) -> Any:
        return np.round(self, digits)

    def __floor__(self) -> int:
        return math.floor(float(self.frozen("a traced value rounded down")))

    def __ceil__(self) -> int:
        return math.ceil(float(self.frozen("a traced value rounded up")))

    def __trunc__(self) -> int:
        return math.trunc(float(self.frozen("a traced value rounded")))


def as_tracer(value: Any) -> Any:
    """Comparisons as numbers, and what they pick as the entries themselves; anything else as it is.

    >>> as_tracer(3)
    3
    """
    if isinstance(value, Condition):
        return value.as_number()
    return value.picked() if isinstance(value, Masked) else value


def has_traced(value: Any) -> bool:
    """Whether a value, or anything in a list, depends on an input.

    >>> has_traced([1.0, [np.zeros(3)]])
    False
    """
    if isinstance(value, list | tuple):
        return any(has_traced(item) for item in value)
    return isinstance(value, Condition | Masked) or (type(value) is Tracer and not value.is_known)


class Flat:
    """The entries of a tracer in a row, to be read and to be written into.

    >>> from verify.tracing.recorder import Recorder
    >>> recorder = Recorder(Flat.__iter__.__code__, "", np.dtype(float))
    >>> x = recorder.fresh(np.zeros((2, 2)))
    >>> x.flat[1:] = recorder.input("y", np.ones(3))
    >>> recorder.number(x).tolist(), len(x.flat)
    ([[0.0, 1.0], [1.0, 1.0]], 4)
    """

    def __init__(self, array: Tracer) -> None:
        self._array = array
        self._places = np.arange(array.size)

    def __iter__(self) -> Iterator[Any]:
        return iter(np.ravel(self._array))

    def __len__(self) -> int:
        return self._array.size

    def __getitem__(self, index: Any) -> Any:
        return np.ravel(self._array)[as_index(index)]

    def __setitem__(self, index: Any, value: Any) -> None:
        self._array[np.unravel_index(self._places[as_index(index)], self._array.shape)] = value

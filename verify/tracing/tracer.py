"""The stand-in for an array that remembers what is done to it, by NumPy's own protocols.

A :class:`Tracer` has a shape and a dtype but no numbers. Operators and ufuncs reach it through ``__array_ufunc__``,
other functions through ``__array_function__``, methods through the function of the same name. Whatever needs a number
(``if x > 0``, ``float(x)``, ``np.array([x])``) is a :class:`~verify.errors.TraceError` that names the line.
"""

from __future__ import annotations

import math
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import CodeType, FrameType
from typing import Any, NoReturn

import numpy as np
from numpy.lib.mixins import NDArrayOperatorsMixin

from verify.errors import Problem, ShapeError, TraceError
from verify.graph import GraphBuilder
from verify.ops import Shape
from verify.tracing import numpy_rules
from verify.tracing.places import Place, assigned_names, frames_below, global_name, local_name, place_in, place_of

MOST_STEPS = 50_000
"""Ops of one trace; what is longer is a loop over entries, which a case has no use for."""
NAMED_CONSTANTS = {math.pi: "pi", math.e: "e"}
"""Who writes ``np.pi`` means the real number."""


@dataclass(slots=True)
class Step:
    """One node of the program as it was recorded."""

    kind: str
    """``input``, ``constant``, ``array`` (a constant one, which a case holds as an input) or ``op``."""
    op: str
    """The op's row, or the text of a constant."""
    args: tuple[int, ...]
    params: Mapping[str, Any]
    shape: Shape
    line: int = 0
    value: Any = None
    """Of a constant."""
    name: str = ""
    """Of an input; of an array: the user's own, or empty."""
    names: list[tuple[int, str]] = field(default_factory=list)
    """Variables that it is assigned to, each with how many calls deep the variable lives."""
    hints: list[str] = field(default_factory=list)
    """Variables of inner functions that hold it, parameters among them."""

    @property
    def assigned(self) -> str:
        """The variable of the outermost function that it is assigned to, empty where there is none."""
        return min(self.names, key=lambda pair: pair[0])[1] if self.names else ""


class Recorder:
    """Writes down what happens to the tracers of one call."""

    def __init__(self, entry: CodeType, file: str, dtype: np.dtype[Any]) -> None:
        self.entry, self.file, self.dtype = entry, file, dtype
        self.steps: list[Step] = []
        self.outermost: FrameType | None = None
        """The frame of the traced function itself."""
        self._builder = GraphBuilder()
        self._positions: list[int] = []
        self._arrays: dict[int, tuple[Any, int]] = {}
        self._given: list[tuple[str, Any]] = []

    # ----------------------------------------------------------------------------------------------- what is recorded

    def input(self, name: str, shape: Shape) -> Tracer:
        """A tracer for an input that is differentiated."""
        step = self._add(Step("input", name, (), {}, shape, name=name), self._builder.input(name, shape))
        return Tracer(self, step, protected=name)

    def knows(self, name: str, value: Any) -> None:
        """Gives a name to an array that is passed to the function as it is."""
        self._given.append((name, value))

    def apply(self, op: str, operands: Sequence[Any], params: Mapping[str, Any] | None = None) -> Tracer:
        """One op on tracers and constants. Raises TraceError where the row does not take them."""
        frames = frames_below(self.entry)
        self.outermost = frames[-1] if frames else self.outermost
        args = tuple(self._position(operand, frames) for operand in operands)
        static = {name: value for name, value in (params or {}).items() if value is not None and value is not False}
        try:
            position = self._builder.apply(op, *(self._positions[i] for i in args), params=static)
        except (ShapeError, TypeError, ValueError, IndexError) as error:
            self.refuse(f"the op '{op}' does not take this: {error}", "Write it with other ops.")
        shape = self._builder.shape(position)
        if 0 in shape:
            self.refuse(f"an array without entries (shape {shape})", "Leave it out.")
        if len(self.steps) >= MOST_STEPS:
            self.refuse(f"more than {MOST_STEPS:,} ops", "Use array operations in place of loops over entries.")
        step = Step("op", op, args, static, shape, place_in(frames, self.file).line)
        step.names = [(len(frames) - depth, name) for depth, name in assigned_names(frames)]
        views = [operand for operand in operands if isinstance(operand, Tracer)] if op in VIEWS else []
        return Tracer(self, self._add(step, position), view_of=views[0] if views else None)

    def _add(self, step: Step, position: int) -> int:
        self.steps.append(step)
        self._positions.append(position)
        return len(self.steps) - 1

    def _position(self, operand: Any, frames: list[FrameType]) -> int:
        """The step of an operand; a constant becomes one."""
        if isinstance(operand, Tracer):
            self.look_for(operand, frames)
            return operand.step
        if isinstance(operand, Condition):
            operand.refuse()
        try:
            array = np.asarray(operand)
        except (TypeError, ValueError) as error:
            self.refuse(f"a {type(operand).__name__} in place of an array: {error}", "Give an array of numbers.")
        if array.dtype.kind not in "fiub" or not np.all(np.isfinite(array)):
            what = f"a constant of dtype {array.dtype}" if array.dtype.kind not in "fiub" else "a constant not finite"
            self.refuse(
                f"{what}: {operand!r:.60}", "A case holds finite real numbers; choose a large one for infinity."
            )
        return self._literal(array[()].item()) if array.ndim == 0 else self._array(operand, array, frames)

    def condition(self, name: str, operands: Sequence[Any]) -> Condition:
        """A comparison of tracers."""
        return Condition(self, name, (operands[0], operands[1]))

    def look_for(self, tracer: Tracer, frames: list[FrameType]) -> None:
        """Notes the variables that hold a value when it is used."""
        step = self.steps[tracer.step]
        if step.kind != "op":
            return
        for frame in frames:
            name = local_name(frame, tracer)
            if name and frame is self.outermost:
                step.names.append((1, name))
            elif name:
                step.hints.append(name)

    def _literal(self, value: float) -> int:
        """A number; a negative one is the negative of a positive one, as a formula would have it."""
        if value < 0:
            return self.apply("negative", [-value]).step
        text = NAMED_CONSTANTS.get(value) or repr(int(value) if isinstance(value, bool) else value)
        step = Step("constant", text, (), {}, (), value=float(value))
        return self._add(step, self._builder.constant(float(value), text))

    def _array(self, operand: Any, array: Any, frames: list[FrameType]) -> int:
        """A constant array; the same one is recorded once."""
        for known, position in self._arrays.values():
            same = known.shape == array.shape and known.dtype == array.dtype
            if same and (known is operand or np.array_equal(known, array)):
                return position
        given = next((name for name, value in self._given if value is operand), "")
        name = given or next((found for frame in frames if (found := global_name(frame, operand))), "")
        step = Step("array", "", (), {}, array.shape, value=np.array(array, dtype=np.float64), name=name)
        position = self._add(step, self._builder.input(f"array {len(self.steps)}", array.shape))
        self._arrays[len(self._arrays)] = (array, position)
        return position

    # -------------------------------------------------------------------------------------------------- NumPy's calls

    def ufunc(self, ufunc: np.ufunc, method: str, inputs: Sequence[Any], options: Mapping[str, Any]) -> Any:
        """A ufunc, or one of its methods, that met a tracer."""
        out = options.get("out")
        rest = {name: value for name, value in options.items() if name != "out" or method != "__call__"}
        if method != "__call__":
            return self._method(ufunc, method, inputs, rest)
        self._usual(f"np.{ufunc.__name__}", rest)
        result = numpy_rules.elementwise(self, ufunc.__name__, inputs)
        return result if out is None else self._in_place(ufunc.__name__, inputs, out, result)

    def _method(self, ufunc: np.ufunc, method: str, inputs: Sequence[Any], options: Mapping[str, Any]) -> Any:
        function = numpy_rules.METHODS.get((ufunc.__name__, method))
        if function is None:
            self.refuse(f"np.{ufunc.__name__}.{method} has no op", "Write it with other functions.")
        given = {name: value for name, value in options.items() if name != "out" or value is not None}
        first, *more = inputs
        if more:  # reduce(array, axis)
            given["axis"] = more[0]
        given.setdefault("axis", 0)
        return numpy_rules.function(self, function, [first], given)

    def _usual(self, what: str, options: Mapping[str, Any]) -> None:
        for name, value in options.items():
            if not numpy_rules.says_nothing(name, value):
                self.refuse(f"{what} with {name}=", f"Leave {name}= out.")

    def _in_place(self, name: str, inputs: Sequence[Any], out: Sequence[Any], result: Any) -> Any:
        """``a += b``. A plain array becomes a tracer under its name; who else holds it is found when values differ."""
        target = out[0]
        if target is not inputs[0]:
            self.refuse(f"np.{name} with out=", "Assign the result to a name.")
        if isinstance(result, Tracer) and np.shape(target) != result.shape:
            self.refuse("an in-place operation that changes the shape", "Assign the result to a name.")
        if not isinstance(target, Tracer):
            return result
        return target.become(result)

    def function(self, function: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        """A NumPy function that is no ufunc."""
        return numpy_rules.function(self, function, args, kwargs)

    # ---------------------------------------------------------------------------------------------------- what cannot

    def refuse(self, tried: str, remedy: str) -> NoReturn:
        """Raises TraceError for the user's line that runs now."""
        place = place_of(frames_below(self.entry))
        raise trace_error(tried, place, remedy) from None


def trace_error(tried: str, place: Place, remedy: str) -> TraceError:
    """What could not be traced, where, and what to do about it.

    >>> print(trace_error("float() of a traced value", Place(), "Use np.exp in place of math.exp."))
    cannot be traced: float() of a traced value. Use np.exp in place of math.exp.
    """
    text = place.text
    column = len(text) - len(text.lstrip()) + 1
    return TraceError(Problem(f"cannot be traced: {tried}", place.file, place.line, column, text, remedy))


VIEWS = frozenset(
    {"index", "transpose", "reshape", "ravel", "broadcast_to", "flip", "expand_dims", "squeeze", "diag", "diagonal"}
)
"""Ops whose result may share its memory with the operand."""


SIGNS = dict(zip(numpy_rules.COMPARISONS, (">", ">=", "<", "<=", "==", "!="), strict=True))


class Condition:
    """What a comparison of tracers gives: for ``np.where`` and nothing else."""

    __array_priority__ = 1001.0

    def __init__(self, recorder: Recorder, name: str, operands: tuple[Any, Any]) -> None:
        self.recorder, self.name, self.operands = recorder, name, operands

    def refuse(self) -> NoReturn:
        """Raises TraceError: the comparison is used for more than choosing entries."""
        self.recorder.refuse(
            "a comparison of traced values as a number, an index or a condition of Python",
            "A trace has no values to branch on: use np.where, np.maximum or np.minimum.",
        )

    def __bool__(self) -> NoReturn:  # noqa: PLE0304 - it always raises
        self.recorder.refuse(
            f"a branch on values ('{SIGNS[self.name]}' of traced values is not known)",
            "Write np.where(condition, a, b), np.maximum or np.minimum in place of 'if', 'and', 'max' and 'min'.",
        )

    def __array__(self, *_: Any, **__: Any) -> NoReturn:
        self.refuse()

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **options: Any) -> Any:
        return self.recorder.ufunc(ufunc, method, inputs, options)

    def __array_function__(self, function: Any, types: Any, args: Any, kwargs: Any) -> Any:
        return self.recorder.function(function, args, kwargs)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        self.refuse()


class Tracer(NDArrayOperatorsMixin):
    """An array whose numbers are not known, as the traced function sees it."""

    __array_priority__ = 1000.0

    def __init__(self, recorder: Recorder, step: int, *, protected: str = "", view_of: Tracer | None = None) -> None:
        self.recorder, self._step, self.protected = recorder, step, protected
        self.family: list[weakref.ref[Tracer]] = [] if view_of is None else view_of.family
        self.family.append(weakref.ref(self))
        if view_of is not None:
            self.protected = view_of.protected

    @property
    def step(self) -> int:
        """The step of the recording that holds this value."""
        return self._step

    def become(self, result: Tracer) -> Tracer:
        """``a += b``: every holder of ``a`` sees the new value, as with an array. A number is bound anew instead."""
        if not self.shape:
            return result
        if self.protected:
            remedy = "Copy it first, or assign the result to a new name."
            self.recorder.refuse(f"an in-place operation on the function's own input '{self.protected}'", remedy)
        if any(other() is not None and other() is not self for other in self.family):
            self.recorder.refuse("an in-place operation on an array that shares its memory with another", "Copy it.")
        self._step = result.step
        return self

    # ------------------------------------------------------------------------------------------ what an array has

    @property
    def shape(self) -> Shape:
        """The sizes of the axes."""
        return self.recorder.steps[self._step].shape

    @property
    def ndim(self) -> int:
        """The number of axes."""
        return len(self.shape)

    @property
    def size(self) -> int:
        """The number of entries."""
        return math.prod(self.shape)

    @property
    def dtype(self) -> np.dtype[Any]:
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

    def astype(self, dtype: Any, *_: Any, **__: Any) -> Tracer:
        """A copy, if the dtype stays the same."""
        if np.dtype(dtype) != self.dtype:
            self.recorder.refuse(f"a conversion to {np.dtype(dtype)}", f"Keep {self.dtype}, that of the inputs.")
        return self.copy()

    def copy(self, *_: Any, **__: Any) -> Tracer:
        """The same value, which is not changed by what is done to this one in place."""
        return Tracer(self.recorder, self._step)

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
        function = getattr(np, name, None)
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

    def __getitem__(self, index: Any) -> Any:
        return numpy_rules.indexed(self.recorder, self, index)

    def __repr__(self) -> str:
        step = self.recorder.steps[self._step]
        return f"Tracer({step.name or step.assigned or step.op}, shape={self.shape})"

    def __format__(self, _: str) -> str:
        return repr(self)

    # ----------------------------------------------------------------------------------------------- NumPy's protocols

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **options: Any) -> Any:
        return self.recorder.ufunc(ufunc, method, inputs, options)

    def __array_function__(self, function: Any, types: Any, args: Any, kwargs: Any) -> Any:
        return self.recorder.function(function, args, kwargs)

    # --------------------------------------------------------------------------------------------- what needs a number

    def __array__(self, *_: Any, **__: Any) -> NoReturn:
        self.recorder.refuse(
            "a traced value made into a plain array (np.array, np.asarray, or a function that is not NumPy's)",
            "Leave the conversion out; put values together by np.stack([...]); use NumPy's own functions.",
        )

    def __setitem__(self, index: Any, value: Any) -> None:
        self.recorder.refuse(
            "an assignment to entries of an array (x[i] = ...)",
            "Make a new array: np.stack, np.concatenate or np.where.",
        )

    def __bool__(self) -> NoReturn:  # noqa: PLE0304 - it always raises
        self.recorder.refuse(
            "a branch on a value (bool() of a traced value)",
            "Write np.where(condition, a, b), np.maximum or np.minimum in place of 'if', 'and', 'max' and 'min'.",
        )

    def __float__(self) -> NoReturn:
        self.recorder.refuse(
            "float() of a traced value (the functions of math call it too)",
            "Leave float() out, and use NumPy's functions, such as np.exp for math.exp.",
        )

    def __int__(self) -> NoReturn:
        self.recorder.refuse("int() of a traced value", "Pass whole numbers to the function as arguments.")

    def __index__(self) -> NoReturn:  # noqa: PLE0305 - it always raises
        self.recorder.refuse("a traced value as an index", "Pass indices to the function as integers.")

    def __complex__(self) -> NoReturn:
        self.recorder.refuse("complex() of a traced value", "Gradients are those of real functions.")

    def __round__(self, _: int = 0) -> NoReturn:
        self.recorder.refuse("round() of a traced value", "Leave it out: its derivative is 0.")

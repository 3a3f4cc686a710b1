"""The call that is traced: its arguments sorted out, the function run as it is, and run on tracers."""

from __future__ import annotations

import inspect
import traceback
from collections.abc import Callable, Collection, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from verify.case.case import RESERVED
from verify.case.syntax import name_fault
from verify.errors import UsageError, VerifyError, did_you_mean
from verify.tracing.following import followed
from verify.tracing.foreign_call import call_foreign
from verify.tracing.function_call import name_of, outputs_of, takes_order
from verify.tracing.places import place_of_traceback
from verify.tracing.preserving import preserved
from verify.tracing.recorder import Recorder
from verify.tracing.shim import Shim
from verify.tracing.untraced import trace_error

Array = NDArray[Any]
Function = Callable[..., Any]


class TracedCall:
    """The function with its arguments sorted out: what is differentiated, and what is passed on."""

    def __init__(self, function: Function, point: Mapping[str, Any], constants: Collection[str]) -> None:
        if not callable(function):
            raise UsageError(f"expected a function, got {function!r:.60}")
        self.function = function
        self.name = name_of(function)
        code = getattr(inspect.unwrap(function), "__code__", None)
        self.file: str = code.co_filename if code else ""
        self.line: int = code.co_firstlineno if code else 0
        for name in constants:
            if name not in point:
                raise UsageError(f"constants names {name!r}, which has no value. {did_you_mean(name, point)}".strip())
        self.given = {name: as_value(name, value) for name, value in point.items()}
        self.real = tuple(n for n, v in self.given.items() if is_real(v) and n not in constants)
        if not point:
            raise UsageError(f"{self.name} needs values to run with, such as {self._first_parameter()}=3.0")
        if not self.real:
            raise UsageError(_nothing_real(self.name, point, constants))
        if not any(self.given[name].size for name in self.real):
            raise UsageError(f"{', '.join(self.real)} has no entries: there is nothing to differentiate {self.name} by")
        for name in self.given:
            fault = name_fault(name) or ("it is a field of points" if name in RESERVED else "")
            if fault and name in self.real:
                raise UsageError(f"{name!r} cannot name an input of a case: {fault}. Rename the parameter")
        self.dtype = np.result_type(*(self.given[name].dtype for name in self.real))
        self.positional = self._fit()

    def _first_parameter(self) -> str:
        code = getattr(inspect.unwrap(self.function), "__code__", None)
        return next(iter(code.co_varnames), "x") if code else "x"

    def _fit(self) -> bool:
        """Whether the arguments are passed by position. Raises UsageError where they do not fit the function."""
        if takes_order(self.function):
            return True
        signature = inspect.signature(self.function)
        try:
            signature.bind(**self.given)
        except TypeError as error:
            known = list(signature.parameters)
            unknown = next((name for name in self.given if name not in known), "")
            hint = did_you_mean(unknown, known) if unknown else ""
            raise UsageError(f"{self.name}{signature} does not take these values: {error}. {hint}".strip()) from None
        return False

    def __call__(self, given: Mapping[str, Any]) -> Any:
        """What the function returns for these arguments."""
        return self.function(*given.values()) if self.positional else self.function(**given)

    def arrays(self, point: Mapping[str, Any]) -> dict[str, Any]:
        """The arguments at a point, each the function's own to write to."""
        given = {name: as_value(name, point.get(name, held)) for name, held in self.given.items()}
        for name, value in given.items():
            if isinstance(value, np.ndarray) and value.shape != np.shape(self.given[name]):
                raise UsageError(
                    f"{name} has shape {value.shape} at one point and {np.shape(self.given[name])} at another"
                )
        return {n: v.copy()[()] if isinstance(v, np.ndarray) else v for n, v in given.items()}

    def plain(self, point: Mapping[str, Any]) -> dict[str, Array]:
        """What the function itself returns at a point, by output. Raises UsageError where it raises."""

        def run() -> dict[str, Array]:
            given = self.arrays(point)
            with np.errstate(all="ignore"), preserved(self.function, *self._handed_on()):
                return {key: np.array(value) for key, value in outputs_of(self(given)).items()}

        ran = call_foreign(run, ours=(VerifyError,))
        if ran.error is not None:
            where = place_of_traceback(ran.error.__traceback__)
            at = f" ({where.file}:{where.line})" if where.line else ""
            raise UsageError(f"{self.name} raises {_words(ran.error)} at the given point{at}") from ran.error
        values: dict[str, Array] = ran.value
        return values

    def _handed_on(self) -> list[Any]:
        """Arguments that the function is given as they are, and could change."""
        return [value for name, value in self.given.items() if not isinstance(value, np.ndarray)]

    def traced(self) -> tuple[Recorder, list[tuple[str, Any]]]:
        """The recording, and what the function returned while it was recorded. Raises TraceError."""
        recorder = Recorder(_run.__code__, self.file, self.dtype)
        twin = Shim(recorder).callable(self.function)
        for name, value in self.given.items():
            if name not in self.real:
                recorder.knows(name, value)

        def run() -> list[tuple[str, Any]]:
            given = {
                name: recorder.input(name, value) if name in self.real else _handed_on(recorder, value)
                for name, value in self.given.items()
            }
            return list(outputs_of(_run(twin, given, positional=self.positional)).items())

        with preserved(self.function, *self._handed_on()):
            ran = call_foreign(lambda: followed(recorder, run), ours=(VerifyError,))
        if ran.error is not None:  # foreign code meets a value that it does not know
            place = place_of_traceback(ran.error.__traceback__)
            tried = f"this line, which raises {_words(ran.error)} with traced values and runs with plain arrays"
            raise trace_error(tried, place, "Use NumPy's own functions on whole arrays.") from ran.error
        return recorder, ran.value


def _run(function: Function, given: Mapping[str, Any], *, positional: bool) -> Any:
    """Where the recorded frames begin; see :func:`~verify.tracing.places.frames_below`."""
    return function(*given.values()) if positional else function(**given)


def _handed_on(recorder: Recorder, value: Any) -> Any:
    """What is not differentiated: the same array, and of dictionaries and lists a copy that can be written to."""
    if isinstance(value, dict):
        return {key: _inside(recorder, item) for key, item in value.items()}
    if type(value) in (list, tuple):
        return type(value)(_inside(recorder, item) for item in value)
    return value


def _inside(recorder: Recorder, value: Any) -> Any:
    return recorder.fresh(value) if isinstance(value, np.ndarray) else _handed_on(recorder, value)


def _words(error: BaseException) -> str:
    return traceback.format_exception_only(error)[-1].strip()


def _nothing_real(function: str, point: Mapping[str, Any], constants: Collection[str]) -> str:
    """What to do where no argument is to be differentiated."""
    nested = next((name for name, value in point.items() if isinstance(value, Mapping | list | tuple)), "")
    if nested and nested not in constants and not isinstance(as_value(nested, point[nested]), np.ndarray):
        what = "mapping" if isinstance(point[nested], Mapping) else "list"
        return (
            f"{nested} is a {what}, and what is differentiated is an array of its own: let {function} take each array "
            f"of {nested} as a parameter, at={{'{nested}_w': ...}}, and put them together itself"
        )
    shown = ", ".join(f"{name}={point[name]!r:.40}" for name in point) or "no values"
    if set(point) <= set(constants):
        return f"nothing to differentiate {function} by, got {shown}: all of it is among the constants"
    why = "there is no number among it. Write floats, such as x=3.0"
    return f"nothing to differentiate {function} by, got {shown}: {why}"


def as_value(name: str, value: Any) -> Any:
    """Numbers and lists of them as arrays; anything else (text, None, a function) as it is.

    >>> as_value("x", [1.0, 2.0]), as_value("mode", "sum")
    (array([1., 2.]), 'sum')
    """
    if isinstance(value, str | bytes | None) or callable(value):
        return value
    if isinstance(value, np.ndarray) and type(value) not in (np.ndarray, np.memmap):
        what = f"{type(value).__module__.split('.')[0]}.{type(value).__name__}"
        remedy = f"{name}.filled(...)" if isinstance(value, np.ma.MaskedArray) else f"np.asarray({name})"
        raise UsageError(f"{name} is a {what}, whose operators are not those of an array: give {remedy}")
    try:
        array = np.array(value)
    except ValueError as error:
        if isinstance(value, list | tuple) and any(isinstance(item, np.ndarray) for item in value):
            return value  # arrays of several shapes
        raise UsageError(f"{name} is no array: {error}. Give all rows the same length") from None
    if array.dtype.kind == "f":
        if not np.all(np.isfinite(array)):
            raise UsageError(f"{name} is not finite. A function has no derivative there: choose another point")
        return array if array.dtype in (np.float32, np.float64) else array.astype(np.float64)
    if array.dtype.kind == "V" and array.dtype.names is None and array.dtype.type is not np.void:
        raise UsageError(f"{name} is {array.dtype}, in which nothing is judged: give it as {name}.astype(np.float32)")
    if array.dtype.kind == "c":
        raise UsageError(f"{name} is complex. Gradients are those of real functions: split it into two inputs")
    return array if isinstance(value, np.ndarray | list | tuple) and array.dtype.kind in "iub" else value


def with_reals(point: Mapping[str, Any], constants: Collection[str]) -> dict[str, Any]:
    """A point at which something is differentiated: where nobody wrote a float, whole numbers mean what floats do.

    Beside a float they stay what they are, since sizes, axes and exponents are written so.

    >>> with_reals({"x": 3, "y": [1, 2]}, ()), with_reals({"x": 3.0, "n": 0}, ()), with_reals({"x": 3, "n": 2}, ["n"])
    ({'x': 3.0, 'y': array([1., 2.])}, {'x': 3.0, 'n': 0}, {'x': 3.0, 'n': 2})
    """
    free = {name: value for name, value in point.items() if name not in constants}
    if any(is_real(as_value(name, value)) for name, value in free.items()):
        return dict(point)
    whole = {name: value for name, value in free.items() if _is_whole(value)}
    return {**point, **{n: float(v) if isinstance(v, int) else np.array(v, dtype=float) for n, v in whole.items()}}


def _is_whole(value: Any) -> bool:
    """Whether a value is written as a whole number, or as a list of them."""
    if isinstance(value, int):
        return not isinstance(value, bool)
    array = as_value("", value) if isinstance(value, list | tuple) else None
    return isinstance(array, np.ndarray) and array.dtype.kind == "i"


def is_real(value: Any) -> bool:
    """Whether a value is an array that is differentiated, if nobody says that it is a constant.

    >>> is_real(np.ones(2)), is_real(np.ones(2, dtype=int))
    (True, False)
    """
    return isinstance(value, np.ndarray) and value.dtype.kind == "f"


def told_of_whole(point: Mapping[str, Any], constants: Collection[str]) -> tuple[str, ...]:
    """What to tell of whole numbers that stay constants, since they stand beside floats.

    >>> told_of_whole({"x": 3.0, "n": 2}, ())
    ('n=2 is a whole number beside floats and stays a constant; write n=2.0 to differentiate by it',)
    >>> told_of_whole({"x": 3.0, "labels": [0, 2]}, ())
    ('labels are whole numbers beside floats and stay constants; write them as floats to differentiate by them',)
    """
    free = {name: value for name, value in point.items() if name not in constants}
    whole = {name: value for name, value in free.items() if _is_whole(value)}
    if not whole or not any(is_real(as_value(name, value)) for name, value in free.items()):
        return ()
    named = [f"{name}={value}" if isinstance(value, int) else name for name, value in whole.items()]
    remedy = next((f"{name}={value}.0" for name, value in whole.items() if isinstance(value, int)), "them as floats")
    if len(whole) == 1 and "=" in named[0]:
        said = f"{named[0]} is a whole number beside floats and stays a constant"
        return (f"{said}; write {remedy} to differentiate by it",)
    said = f"{', '.join(named)} are whole numbers beside floats and stay constants"
    return (f"{said}; write {remedy} to differentiate by them",)

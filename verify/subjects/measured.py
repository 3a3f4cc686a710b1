"""A function that is known by its values alone: called near a point, read, and contracted along lines."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from verify.case.syntax import name_fault
from verify.errors import UsageError, VerifyError
from verify.tracing.foreign_call import Outcome, call_foreign
from verify.tracing.function_call import name_of, outputs_of, own_arguments, parts_of
from verify.tracing.places import place_of_traceback

Array = NDArray[Any]
Function = Callable[..., Any]
Point = Mapping[str, Any]
"""Argument -> value."""


class Measured:
    """A function made ready to be evaluated near a point; ``point`` gives all its arguments.

    >>> measured = Measured(lambda x, n: (x**n, {"cache": x}), {"x": np.array([1.0, 2.0]), "n": 2})
    >>> measured.shapes, measured.values({"x": np.array([3.0, 4.0])})
    ({'f_0': (2,)}, array([ 9., 16.]))
    """

    def __init__(self, function: Function, point: Point) -> None:
        """Raises UsageError where the function raises, or returns what is no array of real numbers."""
        self.function = function
        self.name = name_of(function)
        self.held = {name: _as_number(value) for name, value in own_arguments(point).items()}
        self._keys: tuple[str, ...] = ()
        returned = self._items(self.called(point))
        if not returned:
            raise UsageError(f"{self.name} returned no array of floats: there is nothing to differentiate")
        self._keys = tuple(returned)
        self.shapes = {self._output(key): value.shape for key, value in returned.items()}
        """Output -> its shape, in the order in which the function returns them."""
        self.unit = max(float(np.finfo(value.dtype).eps) / 2 for value in returned.values())
        """Unit roundoff of the coarsest output."""

    def _call(self, point: Point) -> Outcome:
        given = own_arguments({name: point.get(name, held) for name, held in self.held.items()})
        with np.errstate(all="ignore"):
            return call_foreign(lambda: self.function(**given), ours=(VerifyError,))

    def called(self, point: Point) -> Any:
        """What the function returns at a point. Raises UsageError where it raises."""
        called = self._call(point)
        if called.error is not None:
            where = place_of_traceback(called.error.__traceback__)
            place = f" ({where.file}:{where.line})" if where.line else ""
            what = f"{type(called.error).__name__}: {called.error}".rstrip(": ")
            raise UsageError(f"{self.name} raises {what} at the given point{place}") from called.error
        return called.value

    def outputs(self, point: Point) -> dict[str, Array]:
        """The outputs at a point, by name. Raises UsageError where it has none, or of other shapes than elsewhere."""
        return self._named(self.called(point))

    def _named(self, answer: Any) -> dict[str, Array]:
        returned = self._items(answer)
        found = {self._output(key): returned[key] for key in self._keys if key in returned}
        if {name: value.shape for name, value in found.items()} != self.shapes:
            shapes = ", ".join(f"{name} {value.shape}" for name, value in found.items()) or "nothing"
            known = ", ".join(f"{name} {shape}" for name, shape in self.shapes.items())
            raise UsageError(f"{self.name} returns {shapes} at one point and {known} at another")
        return found

    def values(self, point: Point) -> Array:
        """All numbers that the function returns at a point, NaN where it has no value there."""
        try:
            called = self._call(point)
            if called.error is None:
                found = self._named(called.value)
                return np.concatenate([value.astype(np.float64).ravel() for value in found.values()])
        except VerifyError:  # another shape, or complex numbers, where the domain of the function ends
            pass
        return np.full(sum(math.prod(shape) for shape in self.shapes.values()), np.nan)

    def flat(self, upstream: Mapping[str, Array]) -> Array:
        """Upstream gradients in the order of :meth:`values`."""
        return np.concatenate([np.ravel(upstream[name]).astype(np.float64) for name in self.shapes])

    def _output(self, key: str) -> str:
        """The name of an output, as a trace would name it."""
        name = "f" if name_fault(self.name) else self.name
        name = name if not key else f"{name}_{key}" if name_fault(key) else key
        return f"{name}_out" if name in self.held else name

    def _items(self, returned: Any) -> dict[str, Array]:
        """The arrays of floats among what was returned, by key; a cache beside them is left out, as in a trace."""
        parts = parts_of(returned)
        wanted = {key for key in parts if not key or key in self._keys} | set(outputs_of(returned, "fc"))
        return {key: self._array(value) for key, value in parts.items() if key in wanted}

    def _array(self, value: Any) -> Array:
        array = np.array(value)  # the function may write to its own again
        if array.dtype.kind == "c":
            raise UsageError(
                f"{self.name} returns complex numbers: gradients are those of real functions. "
                "Return the real and the imaginary part as two outputs"
            )
        if array.dtype.kind not in "fiub":
            raise UsageError(f"{self.name} returns a {type(value).__name__}, expected an array of floats")
        return array if array.dtype.kind == "f" else array.astype(np.float64)


class Line:
    """The contracted function along one input's entry, or along a direction: one value for each upstream gradient.

    >>> measured = Measured(lambda x: x**2, {"x": np.array([1.0, 2.0])})
    >>> line = Line(measured, {"x": np.array([1.0, 2.0])}, np.array([[1.0, 10.0]]), entry=("x", (1,)))
    >>> line(0)(3.0)
    91.0
    """

    def __init__(
        self,
        measured: Measured,
        inputs: Mapping[str, Array],
        upstream: Array,
        *,
        entry: tuple[str, tuple[int, ...]] | None = None,
        direction: Mapping[str, Array] | None = None,
        bounds: Mapping[str, tuple[float, float]] | None = None,
    ) -> None:
        """``upstream`` is ``(U, N)`` for N numbers of the outputs; beyond ``bounds`` the function is not called."""
        self.measured, self.inputs, self.upstream = measured, inputs, upstream
        self.entry, self.direction, self.bounds = entry, direction or {}, bounds or {}
        self._known: dict[float, Array] = {}

    def __call__(self, number: int) -> Callable[[Any], float]:
        """The function of one upstream gradient."""
        return lambda at: float(self._values(at)[number])

    def _values(self, at: Any) -> Array:
        key = float(at)
        if key not in self._known:
            with np.errstate(all="ignore"):
                moved = self._moved(at)
                values = self.measured.values(moved) if self._is_inside(moved) else np.nan
                self._known[key] = self.upstream @ np.broadcast_to(values, self.upstream.shape[1:])
        return self._known[key]

    def _is_inside(self, moved: Mapping[str, Array]) -> bool:
        names = [self.entry[0]] if self.entry is not None else self.direction
        known = [(moved[name], *self.bounds[name]) for name in names if name in self.bounds]
        return all(bool(np.all((low <= x) & (x <= high))) for x, low, high in known)

    def _moved(self, at: Any) -> dict[str, Array]:
        moved = dict(self.inputs)
        if self.entry is not None:
            name, index = self.entry
            moved[name] = np.array(moved[name])
            moved[name][index] = at
        for name, d in self.direction.items():
            moved[name] = (moved[name] + float(at) * d).astype(moved[name].dtype)
        return moved


def _as_number(value: Any) -> Any:
    """An array of floats as single or double precision; anything else as it is."""
    is_other = isinstance(value, np.ndarray | np.generic) and value.dtype.kind == "f"
    return value.astype(np.float64)[()] if is_other and value.dtype not in (np.float32, np.float64) else value

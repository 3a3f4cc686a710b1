"""A function of the user's as it is called, whoever calls it: by name or in order, on copies, and what it returned."""

from __future__ import annotations

import copy
import functools
import inspect
from collections.abc import Callable, Collection, Mapping
from typing import Any

import numpy as np

from verify.tracing.foreign_call import call_foreign
from verify.tracing.tracer import Tracer

Function = Callable[..., Any]
IN_ORDER = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.VAR_POSITIONAL)


def name_of(function: Any) -> str:
    """The name that a function goes by in a report: its own, or that of its class.

    >>> name_of(abs), name_of(3.0)
    ('abs', 'float')
    """
    return str(getattr(function, "__name__", type(function).__name__))


def takes_order(function: Function) -> bool:
    """Whether a function takes its arguments in order, as builtins and ufuncs do, and not by name.

    >>> takes_order(np.hypot), takes_order(lambda x, y: x)
    (True, False)
    """
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):  # a builtin without a signature
        return True
    return any(parameter.kind in IN_ORDER for parameter in parameters)


def by_name(function: Function, names: Collection[str]) -> Function:
    """A function that may be called by these names, whatever it calls its arguments itself; then they go in order.

    >>> import math
    >>> by_name(math.hypot, ["x", "y"])(x=3.0, y=4.0), by_name(lambda a: 2 * a, ["x"])(x=3.0)
    (5.0, 6.0)
    """
    if not takes_order(function):
        parameters = inspect.signature(function).parameters
        if set(names) <= set(parameters) or any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
            return function

    def called(**given: Any) -> Any:
        return function(*(given[name] for name in names))

    called.__name__ = name_of(function)
    if hasattr(function, "__code__"):
        functools.update_wrapper(called, function)
    return called


def own_arguments(point: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments that a call may write to, and the caller's own stay as they are.

    >>> at = {"x": np.ones(2)}
    >>> own_arguments(at)["x"] is at["x"]
    False
    """
    return {name: _own(value) for name, value in point.items()}


def _own(value: Any) -> Any:
    if isinstance(value, np.ndarray | float):
        return np.array(value)[()]
    if not isinstance(value, list | tuple | dict):
        return value
    own = call_foreign(lambda: copy.deepcopy(value))
    copied = value if own.error is not None else own.value  # what cannot be copied is handed on, as everybody does
    is_numbers = call_foreign(lambda: np.asarray(copied).dtype.kind in "fiub").value
    return np.array(copied) if is_numbers else copied


def parts_of(returned: Any) -> dict[str, Any]:
    """What a function returned, taken apart by key; a single value has none.

    >>> parts_of((1.0, "text")), parts_of({"y": 1.0}), parts_of(2.0)
    ({'0': 1.0, '1': 'text'}, {'y': 1.0}, {'': 2.0})
    """
    if isinstance(returned, Mapping):
        return {str(key): value for key, value in returned.items()}
    if isinstance(returned, tuple | list):
        names = getattr(returned, "_fields", None) or map(str, range(len(returned)))
        return dict(zip(names, returned, strict=True))
    return {"": returned}


def outputs_of(returned: Any, kinds: str = "f") -> dict[str, Any]:
    """The arrays of floats among what a function returned, by key; a cache beside them is left out.

    ``kinds`` are those of their dtypes.

    >>> list(outputs_of((np.ones(2), {"cache": 3}, np.float64(1.0), 5)))
    ['0', '2']
    """
    numbers = np.ndarray | np.generic | float | complex

    def is_output(value: Any) -> bool:
        return isinstance(value, Tracer) or (isinstance(value, numbers) and np.asarray(value).dtype.kind in kinds)

    return {key: value for key, value in parts_of(returned).items() if is_output(value)}

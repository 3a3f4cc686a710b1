"""The static parameters of ops: what each of them may be, held in one place for formulas, traces and lowerings."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from verify.errors import shortened
from verify.ops.row import Op

LARGEST_INTEGER = 2**63
"""What NumPy's indices cannot reach."""


@dataclass(frozen=True, slots=True)
class Parameter:
    """What a static parameter is."""

    says: str
    """What is expected, in words."""
    takes: Callable[[Any], bool]
    """Whether a value is one."""


def _is_whole(value: Any, least: int = 1 - LARGEST_INTEGER) -> bool:
    return isinstance(value, int | np.integer) and not isinstance(value, bool) and least <= int(value) < LARGEST_INTEGER


def _whole(words: str, least: int = 1 - LARGEST_INTEGER) -> Parameter:
    return Parameter(words, lambda value: _is_whole(value, least))


def _some_whole(words: str, least: int = 1 - LARGEST_INTEGER) -> Parameter:
    """A whole number, or a row of them."""

    def takes(value: Any) -> bool:
        return all(_is_whole(part, least) for part in (value if isinstance(value, tuple | list) else (value,)))

    return Parameter(f"{words}, or a tuple of them", takes)


def _is_nested(value: Any) -> bool:
    """Whether a value is a whole number from 0 on, or such in tuples of tuples."""
    if isinstance(value, np.ndarray):
        return _is_nested(value.tolist())
    return all(map(_is_nested, value)) if isinstance(value, tuple | list) else _is_whole(value, 0)


def _is_number(value: Any) -> bool:
    is_real = isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool)
    return is_real and bool(-sys.float_info.max <= value <= sys.float_info.max)


def _is_index(value: Any) -> bool:
    """Whether a value is an index of an array: numbers, slices, new axes, ``...``, and rows of numbers or flags."""
    return isinstance(value, tuple) and all(map(_is_part, value))


def _is_part(part: Any) -> bool:
    if isinstance(part, slice):
        bounds = (part.start, part.stop, part.step)
        return part.step != 0 and all(bound is None or _is_whole(bound) for bound in bounds)
    if isinstance(part, tuple):
        return all(map(_is_whole, part)) or all(isinstance(flag, bool | np.bool_) for flag in part)
    return part is None or part is Ellipsis or _is_whole(part)


_NUMBER = Parameter("a finite number", _is_number)

PARAMETERS: Mapping[str, Parameter] = {
    "axis": _some_whole("a whole number"),
    "axes": _some_whole("a whole number"),
    "keepdims": Parameter("True or False", lambda value: isinstance(value, bool | np.bool_)),
    "ddof": _whole("a whole number from 0 on", 0),
    "shape": _some_whole("a whole number from -1 on", -1),
    "shift": _some_whole("a whole number"),
    "pad_width": Parameter("a whole number from 0 on, or a pair of them, or a pair for each axis", _is_nested),
    "stride": _some_whole("a whole number from 1 on", 1),
    "padding": _some_whole("a whole number from 0 on", 0),
    "size": _some_whole("a whole number from 1 on", 1),
    "subscripts": Parameter('a text such as "ij,jk->ik"', lambda value: isinstance(value, str)),
    "index": Parameter("whole numbers, slices, or lists of whole numbers or flags", _is_index),
    "order": Parameter("a whole number from 1 to 20", lambda value: _is_number(value) and value in range(1, 21)),
    "exponent": _NUMBER,
    "slope": _NUMBER,
    "alpha": _NUMBER,
    "lo": _NUMBER,
    "hi": _NUMBER,
}
"""By the name that it has in every row."""


def parameter_fault(row: Op, name: str, value: Any) -> str:
    """What is wrong with a static parameter of an op, empty where nothing is.

    ``None`` may be given where leaving the parameter out means the same.

    >>> from verify.ops import OPS
    >>> parameter_fault(OPS["var"], "ddof", None)
    'ddof of var must be a whole number from 0 on, got None'
    >>> parameter_fault(OPS["sum"], "axis", None), parameter_fault(OPS["var"], "ddof", 1)
    ('', '')
    """
    expected = PARAMETERS[name]
    if (value is None and _default(row.shape, name) is None) or expected.takes(value):
        return ""
    return f"{name} of {row.name} must be {expected.says}, got {shortened(_text(value), 40)}"


def _text(value: Any) -> str:
    """A value in a message; Python writes no integer of thousands of digits."""
    if isinstance(value, int) and abs(value) >= LARGEST_INTEGER:
        return "a whole number beyond 64 bits"
    return repr(value)


@cache
def _default(shape: Callable[..., Any], name: str) -> Any:
    """What the shape rule of a row takes where a parameter is left out."""
    found = inspect.signature(shape).parameters.get(name)
    return inspect.Parameter.empty if found is None else found.default

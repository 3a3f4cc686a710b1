"""What tells a traced value from a plain one, and plain parameters out of either."""

from __future__ import annotations

from typing import Any

import numpy as np


def is_traced(value: Any) -> bool:
    """Whether a value is a tracer or a comparison of tracers.

    >>> is_traced(np.zeros(3))
    False
    """
    return hasattr(value, "recorder")


def recorder_of(*values: Any) -> Any:
    """The recorder of the first traced value among some, and in lists of them; None where there is none.

    >>> recorder_of(np.zeros(3), [1.0]) is None
    True
    """
    for value in values:
        found = recorder_of(*value) if isinstance(value, list | tuple) else getattr(value, "recorder", None)
        if found is not None:
            return found
    return None


def static(value: Any) -> Any:
    """A parameter as the table has it: plain numbers, and tuples of them.

    >>> static([np.int64(1), 2]), static(np.array([[1, 2], [3, 4]]))
    ((1, 2), ((1, 2), (3, 4)))
    """
    if is_traced(value):
        value = value.whole_numbers()
    if isinstance(value, np.ndarray):
        value = value.tolist()
    if isinstance(value, list | tuple | range):
        return tuple(static(item) for item in value)
    return value.item() if isinstance(value, np.generic) else value

"""What stands in a Python function beside its text: the code that is defined inside it, and what it closes over."""

from __future__ import annotations

from collections.abc import Iterator
from types import CodeType, FunctionType
from typing import Any


def codes_of(code: CodeType) -> Iterator[CodeType]:
    """A piece of code and every piece that is defined inside it.

    >>> [code.co_name for code in codes_of((lambda x: [y for y in x]).__code__)][0]
    '<lambda>'
    """
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from codes_of(constant)


def closure_of(function: FunctionType) -> dict[str, Any]:
    """What a function closes over, by name; a name that is bound later is left out.

    >>> def scaled(factor): return lambda x: factor * x
    >>> closure_of(scaled(3))
    {'factor': 3}
    """
    found = {}
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        try:
            found[name] = cell.cell_contents
        except ValueError:  # not yet filled
            continue
    return found

"""What a function changes besides its result is put back: dictionaries, lists and arrays that it can reach.

A function that keeps a running mean in a dictionary is called at many points, and once with tracers; afterwards the
user's objects are as they were before the first call.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FunctionType, MethodType
from typing import Any

import numpy as np

from verify.tracing.code_objects import closure_of
from verify.tracing.places import global_names, is_library, is_users

MOST_OBJECTS = 10_000
"""Objects that are looked at for one function."""

MOST_ENTRIES = 10_000_000
"""Entries of an array that is still copied."""


@contextmanager
def preserved(*roots: Any) -> Iterator[None]:
    """Puts back what changes in the containers that some objects reach: arguments, closures, defaults, attributes.

    >>> kept = {"mean": 0.0}
    >>> with preserved(kept):
    ...     kept["mean"] = 3.0
    >>> kept
    {'mean': 0.0}
    """
    saved = list(_containers(roots))
    try:
        yield
    finally:
        for container, contents in saved:
            _put_back(container, contents)


def _put_back(container: Any, contents: Any) -> None:
    if isinstance(container, dict):
        if container.keys() != contents.keys() or any(container[key] is not contents[key] for key in contents):
            container.clear()
            container.update(contents)
    elif isinstance(container, list):
        container[:] = contents
    elif isinstance(container, set):
        container.clear()
        container.update(contents)
    elif container.flags.writeable and not _is_as_before(container, contents):
        container[...] = contents


def _is_as_before(array: Any, contents: Any) -> bool:
    """Whether an array holds what it held; objects are not asked whether they are equal: balls need not know."""
    return array.dtype.kind != "O" and np.array_equal(array, contents, equal_nan=contents.dtype.kind == "f")


def _containers(roots: Any) -> Iterator[tuple[Any, Any]]:
    """Each container with a copy of what it holds."""
    waiting: list[Any] = list(roots)
    seen: dict[int, Any] = {}
    while waiting and len(seen) < MOST_OBJECTS:
        value = waiting.pop()
        if id(value) in seen:
            continue
        seen[id(value)] = value
        if (isinstance(value, np.ndarray) and value.size <= MOST_ENTRIES) or type(value) in (dict, list, set):
            yield value, value.copy()
        waiting += _held_by(value)


def _held_by(value: Any) -> Iterator[Any]:
    """What an object refers to, as far as a function may change it."""
    if isinstance(value, dict):
        yield from value.values()
    elif isinstance(value, list | tuple | set):
        yield from value
    elif isinstance(value, FunctionType):
        yield from _reached(value)
    elif isinstance(value, MethodType):
        yield from (value.__func__, value.__self__)
    elif isinstance(value, functools.partial):
        yield from (value.func, value.args, value.keywords)
    elif _is_users(value):
        yield vars(value)
        yield from (m for kind in type(value).__mro__ for m in vars(kind).values() if isinstance(m, FunctionType))


def _is_users(value: Any) -> bool:
    """Whether an object is of a class that the user wrote."""
    name = type(value).__module__
    if not hasattr(value, "__dict__") or isinstance(value, type) or name == "builtins":
        return False
    return not is_library(getattr(sys.modules.get(name), "__file__", None) or "")


def _reached(function: FunctionType) -> Iterator[Any]:
    """What the code of a function can look up: its closure, its defaults, and the globals that it names."""
    if not is_users(function):
        return
    yield from closure_of(function).values()
    yield function.__defaults__
    yield function.__kwdefaults__
    for name in global_names(function.__code__):
        if name in function.__globals__:
            yield function.__globals__[name]

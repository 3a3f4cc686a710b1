"""What a function changes besides its result is put back: dictionaries, lists and arrays that it can reach.

A function that keeps a running mean in a dictionary is called at many points, and once with tracers; afterwards the
user's objects are as they were before the first call.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from contextlib import contextmanager
from types import CodeType, FunctionType, MethodType
from typing import Any

import numpy as np

from verify.tracing.places import is_library

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
    elif container.flags.writeable and not np.array_equal(container, contents, equal_nan=contents.dtype.kind == "f"):
        container[...] = contents


def _containers(roots: Any) -> Iterator[tuple[Any, Any]]:
    """Each container with a copy of what it holds."""
    waiting, seen = list(roots), {}
    while waiting and len(seen) < MOST_OBJECTS:
        value = waiting.pop()
        if id(value) in seen:
            continue
        seen[id(value)] = value
        if isinstance(value, np.ndarray):
            if value.size <= MOST_ENTRIES:
                yield value, value.copy()
        elif type(value) in (dict, list, set):
            yield value, value.copy()
            waiting += value.values() if isinstance(value, dict) else value
        elif isinstance(value, tuple):
            waiting += value
        elif isinstance(value, FunctionType):
            waiting += _reached(value)
        elif isinstance(value, MethodType):
            waiting += [value.__func__, value.__self__]
        elif isinstance(value, functools.partial):
            waiting += [value.func, value.args, value.keywords]
        elif _is_users(value):
            waiting.append(vars(value))
            waiting += [m for kind in type(value).__mro__ for m in vars(kind).values() if isinstance(m, FunctionType)]


def _is_users(value: Any) -> bool:
    module = __import__("sys").modules.get(type(value).__module__)
    file = getattr(module, "__file__", None) or ""
    return hasattr(value, "__dict__") and not isinstance(value, type) and type(value).__module__ != "builtins" and (
        not is_library(file)
    )  # fmt: skip


def _reached(function: FunctionType) -> Iterator[Any]:
    """What the code of a function can look up: its closure, its defaults, and the globals that it names."""
    if is_library(function.__code__.co_filename):
        return
    for cell in function.__closure__ or ():
        try:
            yield cell.cell_contents
        except ValueError:  # nothing is in it yet
            continue
    yield function.__defaults__
    yield function.__kwdefaults__
    for name in _names(function.__code__):
        if name in function.__globals__:
            yield function.__globals__[name]


def _names(code: CodeType) -> set[str]:
    return set(code.co_names).union(*(_names(const) for const in code.co_consts if isinstance(const, CodeType)))

"""Numbers that stand in the code of a gradient: where its branches may change, a random point hardly ever falls.

They are read from compiled code, so lambdas and functions without a source file have them too: the constants of the
function, of what is defined inside it, of functions of the same module that it calls, and the numbers that it takes
from its defaults, its closure and its module, also where a list, a dictionary or an attribute holds them. A number that
is compared with something comes first, one that is held by something else last.
"""

from __future__ import annotations

import dis
import functools
import inspect
import math
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from types import CodeType, FunctionType, MemberDescriptorType, MethodType
from typing import Any

import numpy as np

from verify.tracing.code_objects import closure_of, codes_of
from verify.tracing.places import is_library

MOST_FUNCTIONS = 32
"""Functions that are read for one gradient."""

MOST_CONSTANTS = 24
"""Numbers that are kept of them."""

MOST_HELD, DEEPEST = 16, 3
"""Items of a list, an array or a dictionary that are read, and how deep they may lie; of longer ones the first."""

_BEFORE_COMPARISON = 2
"""A number is compared where the comparison follows so soon after it was put on the stack."""


@dataclass(slots=True)
class _Found:
    compared: dict[float, None] = field(default_factory=dict)
    other: dict[float, None] = field(default_factory=dict)
    held: dict[float, None] = field(default_factory=dict)


def constants_of(*functions: Any) -> tuple[float, ...]:
    """The finite numbers in the code of some functions: those that are compared first, each once.

    >>> constants_of(lambda x: 2.5 * x if x > 0.1234 else -x)
    (0.1234, 2.5)
    >>> constants_of(lambda x, limits={"low": [7.5]}: 2 * x if x > limits["low"][0] else 0)
    (2.0, 7.5)
    """
    found = _Found()
    read = python_functions(*functions)
    for function in read:
        _read_values(function, found)
        _read_code(function.__code__, function.__globals__, found)
    names = {name for function in read for code in codes_of(function.__code__) for name in code.co_names}
    for value in (*functions, *(value for function in read for value in _values_of(function))):
        found.held.update(dict.fromkeys(_held(value, names)))
    # -0.0 is 0.0 as a key, and the search tries both zeros anyway.
    numbers = dict.fromkeys((*found.compared, *found.other, *found.held))
    return tuple(number for number in numbers if number)[:MOST_CONSTANTS]


def python_functions(*functions: Any) -> tuple[FunctionType, ...]:
    """The Python functions behind some callables, and those of the same modules that they call.

    >>> def helper(x): return x
    >>> [function.__name__ for function in python_functions(lambda x: helper(x))]
    ['<lambda>', 'helper']
    """
    waiting: list[Any] = [inner for function in functions for inner in unwrapped(function)]
    found: dict[CodeType, FunctionType] = {}
    while waiting and len(found) < MOST_FUNCTIONS:
        function = waiting.pop(0)
        if function.__code__ in found:
            continue
        found[function.__code__] = function
        for called in _referenced(function):
            waiting += [inner for inner in unwrapped(called) if inner.__module__ == function.__module__]
    return tuple(found.values())


def unwrapped(function: Any) -> Iterator[FunctionType]:
    """The Python functions that a callable stands for; none where it is built in.

    >>> [inner.__name__ for inner in unwrapped(functools.partial(constants_of, abs))], list(unwrapped(abs))
    (['constants_of'], [])
    """
    if isinstance(function, functools.partial):
        yield from unwrapped(function.func)
    elif isinstance(function, MethodType):
        yield from unwrapped(function.__func__)
    elif isinstance(function, FunctionType):
        # A decorator's own code is run too: it may clip, or scale.
        yield function
        if hasattr(function, "__wrapped__"):
            yield from unwrapped(function.__wrapped__)
    elif inspect.isclass(function):
        for member in vars(function).values():
            inner = member.__func__ if isinstance(member, staticmethod | classmethod) else member
            if isinstance(inner, FunctionType):
                yield inner
    else:
        called = inspect.getattr_static(type(function), "__call__", None)
        if isinstance(called, FunctionType):  # an object that is called
            yield called


def place_of_gradient(gradient: Any) -> tuple[str, int]:
    """File and first line of the user's own function behind a gradient, of a class of its ``backward``.

    >>> place_of_gradient(abs)
    ('', 0)
    """
    owner = getattr(inspect.unwrap(gradient), "__self__", None)  # of torch's Function.apply, the class
    behind = [*unwrapped(gradient), *(unwrapped(owner) if inspect.isclass(owner) else ())]
    own = [function for function in behind if not is_library(function.__code__.co_filename)]
    own.sort(key=lambda function: function.__name__ != "backward")
    return (own[0].__code__.co_filename, own[0].__code__.co_firstlineno) if own else ("", 0)


def _referenced(function: FunctionType) -> Iterator[Any]:
    """What a function takes from its module, its closure and its attributes by name."""
    for code in codes_of(function.__code__):
        yield from (function.__globals__[name] for name in code.co_names if name in function.__globals__)
    yield from closure_of(function).values()


def _read_values(function: FunctionType, found: _Found) -> None:
    """Numbers that a function has by name."""
    for value in _values_of(function):
        found.other.update(dict.fromkeys(_numbers([value])))


def _values_of(function: FunctionType) -> Iterator[Any]:
    """What a function has by name: defaults, closure, module, attributes of its own."""
    yield from (*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values())
    yield from (*_referenced(function), *vars(function).values())


def _held(value: Any, names: Collection[str], deepest: int = DEEPEST) -> Iterator[float]:
    """The numbers that something holds: its items, or those of its attributes that the code names."""
    if deepest < 0 or isinstance(value, str | bytes):
        return
    if isinstance(value, functools.partial):
        parts: Iterable[Any] = (value.func, *value.args, *value.keywords.values())
    elif isinstance(value, MethodType):
        parts = (value.__self__,)
    elif isinstance(value, dict):
        parts = (*value.keys(), *value.values())
    elif isinstance(value, np.ndarray):
        parts = value.ravel()[:MOST_HELD].tolist()
    elif isinstance(value, list | tuple | set | frozenset):
        parts = value
    else:
        yield from _numbers([value])
        parts = (part for name in names if (part := _attribute(value, name)) is not None)
    for part in islice(parts, 2 * MOST_HELD):
        yield from _held(part, names, deepest - 1)


def _attribute(value: Any, name: str) -> Any:
    """An attribute that is there without running anybody's code, else None; a method or a function is none."""
    part = inspect.getattr_static(value, name, None)
    if isinstance(part, MemberDescriptorType) and not isinstance(value, type):
        part = getattr(value, name, None)  # of a class with slots
    return None if callable(part) or inspect.isdatadescriptor(part) else part


def _read_code(code: CodeType, names: dict[str, Any], found: _Found) -> None:
    for piece in codes_of(code):
        instructions = list(dis.get_instructions(piece))
        for place, instruction in enumerate(instructions):
            if instruction.opname in {"LOAD_GLOBAL", "LOAD_NAME"}:
                value = names.get(str(instruction.argval))
            elif instruction.opname in {"LOAD_CONST", "RETURN_CONST"}:
                value = instruction.argval
            else:
                continue
            following = instructions[place + 1 : place + 1 + _BEFORE_COMPARISON]
            is_compared = any(after.opname in {"COMPARE_OP", "CONTAINS_OP"} for after in following)
            (found.compared if is_compared else found.other).update(dict.fromkeys(_numbers([value])))


def _numbers(values: Iterable[Any]) -> Iterator[float]:
    """The finite real numbers among some values and in tuples of them."""
    for value in values:
        if isinstance(value, tuple | frozenset):
            yield from _numbers(value)
        elif isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool):
            try:
                number = float(value)
            except OverflowError:  # a whole number beyond every float
                continue
            if math.isfinite(number):
                yield number

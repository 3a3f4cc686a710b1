"""Lines of a gradient that no point reached: what was never run was not checked.

The gradient's calls, and threads that they start, are traced with ``sys.settrace`` until every line was seen, or so
many that the rest is left alone, which is said then. Another tracer (coverage, a debugger) is left alone from the
start, and nothing is said of lines but that; nor is it of a gradient that nobody watched.
"""

from __future__ import annotations

import ast
import linecache
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

from verify.subjects.code_constants import python_functions
from verify.tracing.code_objects import codes_of
from verify.tracing.places import is_library

MOST_EVENTS = 500_000
"""Lines that are seen to run, over all calls (some 0.1 s); after them calls are not traced any more."""

MOST_TOLD = 8
"""Places that are told of one gradient."""


OTHER_TRACER = "lines of the gradient that no point reached are not known: another tracer, such as coverage, is active"


class LineCoverage:
    """Which lines of a gradient, and of the functions of its module that it calls, have been reached.

    >>> lines = LineCoverage(abs)
    >>> with lines.watching():
    ...     abs(-3)
    3
    >>> lines.told()
    ()
    """

    def __init__(self, gradient: Any) -> None:
        functions = python_functions(gradient)
        self._own = set(codes_of(functions[0].__code__)) if functions else set()
        self._missing = {
            code: set(_lines(code)) for function in functions for code in codes_of(function.__code__) if _lines(code)
        }
        self._entered: set[CodeType] = set()
        self._calls = 0
        """Calls that were traced."""
        self._events = 0
        self._is_blocked = False

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Watches one call of the gradient."""
        if self._events > MOST_EVENTS or not any(self._missing.values()):
            yield
        elif sys.gettrace() is not None:
            self._is_blocked = True
            yield
        else:
            self._calls += 1
            before = threading.gettrace()
            sys.settrace(self._called)
            threading.settrace(self._called)
            try:
                yield
            finally:
                sys.settrace(None)
                threading.settrace(before)

    def _called(self, frame: FrameType, event: str, argument: Any) -> Any:
        del event, argument
        if not self._missing.get(frame.f_code):
            self._entered.add(frame.f_code)
            return None
        self._entered.add(frame.f_code)
        return self._reached

    def _reached(self, frame: FrameType, event: str, argument: Any) -> Any:
        del argument
        self._events += 1
        if event == "line":
            self._missing[frame.f_code].discard(frame.f_lineno)
        return self._reached

    def told(self) -> tuple[str, ...]:
        """A sentence for each place that no call reached; one sentence where another tracer was in the way."""
        if self._is_blocked:
            return (OTHER_TRACER,)
        if not self._calls:
            return ()
        # A helper that was never entered may be there for somebody else; the gradient itself is what is judged.
        codes = [code for code in self._missing if code in self._own or code in self._entered]
        codes = [code for code in codes if not is_library(code.co_filename)]  # an adapter of ours, or of jax.grad
        places = [(code, line) for code in codes for line in sorted(self._missing[code])]
        shown = [(code, line) for code, line in places if not _only_raises(code.co_filename, line)]
        stretches = list(_stretches(shown))
        who = "no point" if self._events <= MOST_EVENTS else f"none of the first {self._calls} points"
        told = [_sentence(who, code, lines) for code, lines in stretches[:MOST_TOLD]]
        if len(stretches) > MOST_TOLD:
            told.append(f"{who} reached {len(stretches) - MOST_TOLD} more places of the gradient")
        return tuple(told)


def _lines(code: CodeType) -> frozenset[int]:
    """The lines of a function below its head."""
    return frozenset(line for *_, line in code.co_lines() if line is not None and line > code.co_firstlineno)


def _only_raises(file: str, line: int) -> bool:
    """Whether a line belongs to what ends the call with an exception, which a right call never does."""
    return line in _raising(tuple(linecache.getlines(file)))


@cache
def _raising(source: tuple[str, ...]) -> frozenset[int]:
    """The lines of a file that are part of a ``raise`` or an ``assert``, none where it is no Python."""
    try:
        tree = ast.parse("".join(source))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return frozenset()
    ends = [(node.lineno, node.end_lineno) for node in ast.walk(tree) if isinstance(node, ast.Raise | ast.Assert)]
    return frozenset(line for first, last in ends for line in range(first, (last or first) + 1))


def _stretches(places: Sequence[tuple[CodeType, int]]) -> Iterator[tuple[CodeType, list[int]]]:
    """Neighbouring lines together."""
    lines: list[int] = []
    for i, (code, line) in enumerate(places):
        lines.append(line)
        following = places[i + 1] if i + 1 < len(places) else None
        if following is None or following[0] is not code or following[1] > line + 1:
            yield code, lines
            lines = []


def _sentence(who: str, code: CodeType, lines: Sequence[int]) -> str:
    first, last = lines[0], lines[-1]
    where = f"line {first}" if first == last else f"lines {first} to {last}"
    text = linecache.getline(code.co_filename, first).strip()
    shown = f": {text}{' ...' if first != last else ''}" if text else ""
    return f"{who} reached {where} of {Path(code.co_filename).name}, in {code.co_name}{shown}"

"""Lines of a gradient that no point reached: what was never run was not checked.

The gradient's calls are traced with ``sys.settrace`` until every line was seen, or often enough; another tracer
(coverage, a debugger) is left alone, and then nothing is said of lines but that.
"""

from __future__ import annotations

import linecache
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

from verify.oracle.code_constants import codes_of, python_functions

MOST_CALLS = 400
"""Calls of a gradient that are traced at most."""

MOST_TOLD = 8
"""Places that are told of one gradient."""

PACKAGE = Path(__file__).resolve().parent.parent

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
        self._is_blocked = False

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Watches one call of the gradient."""
        self._calls += 1
        if self._calls > MOST_CALLS or not any(self._missing.values()):
            yield
        elif sys.gettrace() is not None:
            self._is_blocked = True
            yield
        else:
            sys.settrace(self._called)
            try:
                yield
            finally:
                sys.settrace(None)

    def _called(self, frame: FrameType, event: str, argument: Any) -> Any:
        del event, argument
        if not self._missing.get(frame.f_code):
            self._entered.add(frame.f_code)
            return None
        self._entered.add(frame.f_code)
        return self._reached

    def _reached(self, frame: FrameType, event: str, argument: Any) -> Any:
        del argument
        if event == "line":
            self._missing[frame.f_code].discard(frame.f_lineno)
        return self._reached

    def told(self) -> tuple[str, ...]:
        """A sentence for each place that no call reached; one sentence where another tracer was in the way."""
        if self._is_blocked:
            return (OTHER_TRACER,)
        # A helper that was never entered may be there for somebody else; the gradient itself is what is judged.
        codes = [code for code in self._missing if code in self._own or code in self._entered]
        codes = [code for code in codes if not Path(code.co_filename).is_relative_to(PACKAGE)]  # an adapter of ours
        places = [(code, line) for code in codes for line in sorted(self._missing[code])]
        shown = [(code, line) for code, line in places if not _only_raises(code.co_filename, line)]
        stretches = list(_stretches(shown))
        told = [_sentence(code, lines) for code, lines in stretches[:MOST_TOLD]]
        if len(stretches) > MOST_TOLD:
            told.append(f"no point reached {len(stretches) - MOST_TOLD} more places of the gradient")
        return tuple(told)


def _lines(code: CodeType) -> frozenset[int]:
    """The lines of a function below its head."""
    return frozenset(line for *_, line in code.co_lines() if line is not None and line > code.co_firstlineno)


def _only_raises(file: str, line: int) -> bool:
    """Whether a line ends the call with an exception, which a right call never does."""
    return linecache.getline(file, line).lstrip().startswith(("raise ", "raise\n"))


def _stretches(places: Sequence[tuple[CodeType, int]]) -> Iterator[tuple[CodeType, list[int]]]:
    """Neighbouring lines together."""
    lines: list[int] = []
    for i, (code, line) in enumerate(places):
        lines.append(line)
        following = places[i + 1] if i + 1 < len(places) else None
        if following is None or following[0] is not code or following[1] > line + 1:
            yield code, lines
            lines = []


def _sentence(code: CodeType, lines: Sequence[int]) -> str:
    first, last = lines[0], lines[-1]
    where = f"line {first}" if first == last else f"lines {first} to {last}"
    text = linecache.getline(code.co_filename, first).strip()
    shown = f": {text}{' ...' if first != last else ''}" if text else ""
    return f"no point reached {where} of {Path(code.co_filename).name}, in {code.co_name}{shown}"

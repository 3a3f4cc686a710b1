"""Where in the user's code a traced value comes from: file and line, and the variable that it is assigned to.

The frames of the running function tell both. The name is that of the instruction which follows the one that made the
value: ``den = sigx + xpysqr`` adds and then stores, and ``sigx = sigmoid(x)`` divides, returns and then stores.
"""

from __future__ import annotations

import dis
import linecache
import os
import sys
import sysconfig
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from types import CodeType, FrameType, FunctionType, TracebackType
from typing import Any

import numpy as np

from verify.files import PACKAGE
from verify.tracing.code_objects import codes_of

_INVISIBLE = (str(Path(np.__file__).parent), str(PACKAGE / "tracing"))
"""Folders whose frames say nothing about the user's code: NumPy and the tracer itself."""
_LIBRARIES = tuple({sysconfig.get_path(name) for name in ("stdlib", "purelib", "platlib")})


@dataclass(frozen=True, slots=True)
class Place:
    """A line of somebody's code; line 0 where it is not known."""

    file: str = ""
    line: int = 0

    @property
    def text(self) -> str:
        """The line itself, empty where it cannot be read."""
        return linecache.getline(self.file, self.line).rstrip() if self.line else ""


def frames_below(entry: CodeType) -> list[FrameType]:
    """The frames that run between ``entry`` and this call, innermost first, without NumPy's and the tracer's.

    >>> def outer():
    ...     return [frame.f_code.co_name for frame in frames_below(outer.__code__)]
    >>> outer()
    []
    """
    return list(_visible(sys._getframe(1), entry))  # noqa: SLF001 - the documented way to a running frame


def _visible(frame: FrameType | None, entry: CodeType) -> Iterator[FrameType]:
    while frame is not None and frame.f_code is not entry:
        if not frame.f_code.co_filename.startswith(_INVISIBLE):
            yield frame
        frame = frame.f_back


def is_library(file: str) -> bool:
    """Whether a file belongs to Python, to an installed package or to this program, and not to the user.

    >>> is_library(dis.__file__), is_library("model.py")
    (True, False)
    """
    return file.startswith((*_INVISIBLE, *_LIBRARIES, str(PACKAGE) + os.sep, "<frozen"))


def is_users(function: FunctionType) -> bool:
    """Whether a function is the user's own, or one of ours that stands for it and says so by ``__wrapped__``.

    >>> is_users(lambda: 0), is_users(is_library)
    (True, False)
    """
    file = function.__code__.co_filename
    return not is_library(file) or (hasattr(function, "__wrapped__") and Path(file).is_relative_to(PACKAGE))


@lru_cache(maxsize=1000)
def global_names(code: CodeType) -> frozenset[str]:
    """The names that a function, with all that is defined in it, looks up in its module.

    >>> sorted(global_names((lambda x: np.exp(x) + len(x)).__code__))
    ['len', 'np']
    """
    instructions = (i for piece in codes_of(code) for i in dis.get_instructions(piece))
    return frozenset(i.argval for i in instructions if i.opname in ("LOAD_GLOBAL", "LOAD_NAME"))


def place_of(frames: list[FrameType]) -> Place:
    """The innermost line that is the user's own; one of a library where there is no other.

    >>> place_of([])
    Place(file='', line=0)
    """
    own = [frame for frame in frames if not is_library(frame.f_code.co_filename)]
    for frame in (*own, *frames):
        return Place(frame.f_code.co_filename, frame.f_lineno)
    return Place()


def place_in(frames: list[FrameType], file: str) -> Place:
    """The innermost line that stands in one file.

    >>> place_in([], "model.py")
    Place(file='model.py', line=0)
    """
    line = next((frame.f_lineno for frame in frames if frame.f_code.co_filename == file), 0)
    return Place(file, line)


def place_of_traceback(traceback: TracebackType | None) -> Place:
    """The innermost line of the user's own code that an exception came through.

    >>> place_of_traceback(None)
    Place(file='', line=0)
    """
    found = Place()
    while traceback is not None:
        file = traceback.tb_frame.f_code.co_filename
        if not is_library(file):
            found = Place(file, traceback.tb_lineno)
        traceback = traceback.tb_next
    return found


def assigned_names(frames: list[FrameType]) -> Iterator[tuple[int, str]]:
    """The variables that a value which is being made is about to be assigned to, each with its frame's place.

    A frame that is about to return hands the value to its caller, which may assign it too.

    >>> list(assigned_names([]))
    []
    """
    for depth, frame in enumerate(frames):
        following = _following(frame.f_code).get(frame.f_lasti, ())
        name = next((name for op, name in following if op.startswith("STORE_")), "")
        if name:
            yield depth, name
        if not any(op == "RETURN_VALUE" for op, _ in following):
            return


@lru_cache(maxsize=1000)
def _following(code: CodeType) -> Mapping[int, tuple[tuple[str, str], ...]]:
    """Offset of an instruction -> what is done at once with its result: stored, or returned."""
    instructions = list(dis.get_instructions(code))
    found = {}
    for i, instruction in enumerate(instructions):
        if instruction.opname == "FOR_ITER":
            continue  # an entry that a loop runs over is no result of the user's own
        steps = []
        for later in instructions[i + 1 : i + 3]:
            if later.opname not in _HANDED_ON and not later.opname.startswith("STORE_FAST"):
                break
            name = later.argval[0] if isinstance(later.argval, tuple) else later.argval
            steps.append((later.opname, str(name)))
            if later.opname not in ("COPY", "NOP"):
                break
        if steps:
            found[instruction.offset] = tuple(steps)
    return found


_HANDED_ON = ("COPY", "NOP", "STORE_NAME", "STORE_GLOBAL", "STORE_DEREF", "RETURN_VALUE")


def local_name(frame: FrameType, value: Any) -> str:
    """The variable of a frame that holds this very object, empty where none does.

    >>> import sys
    >>> def function():
    ...     den = [1, 2]
    ...     return local_name(sys._getframe(), den)
    >>> function()
    'den'
    """
    return next((name for name, held in frame.f_locals.items() if held is value and name.isidentifier()), "")


def global_name(frame: FrameType, value: Any) -> str:
    """The same among the frame's locals, and then its globals.

    >>> import sys
    >>> global_name(sys._getframe(), linecache) if "linecache" in globals() else "linecache"
    'linecache'
    """
    found = local_name(frame, value)
    return found or next((name for name, held in frame.f_globals.items() if held is value), "")

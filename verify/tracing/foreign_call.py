"""Code of other people is called here: whatever it raises comes back as a value, and what it changes is put back.

A gradient, the function that it is of, what they return, all of it may leave the program, raise what is no
``Exception``, or set a global that everything after it depends on. ``KeyboardInterrupt`` passes through, which is the
user's and not the code's, and :class:`~verify.errors.LimitError`: a call that does not return is no answer.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.random.mtrand import get_bit_generator, set_bit_generator

from verify.errors import LimitError, UsageError
from verify.limits import call_limits


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a call came to."""

    value: Any = None
    """What it returned; None where it raised."""
    error: BaseException | None = None
    changed: tuple[str, ...] = ()
    """The globals that it changed, by name; they are as before."""


@dataclass(frozen=True, slots=True)
class Global:
    """Something that belongs to the whole process: how it is read, and how what was read is put back."""

    name: str
    read: Callable[[], Any]
    put_back: Callable[[Any], Any]
    is_for_imports: bool = False
    """Whether packages set it while they are imported: then it is theirs, and stays."""


def _environment() -> dict[Any, Any]:
    """As it is kept; to decode all of it, as ``dict(os.environ)`` does, takes longer than most calls."""
    return dict(getattr(os.environ, "_data", os.environ))


def _environment_back(held: dict[Any, Any]) -> None:
    before = {os.fsdecode(name): os.fsdecode(value) for name, value in held.items()}
    for name in set(os.environ) - set(before):
        del os.environ[name]
    os.environ.update(before)


def _filters(held: list[Any]) -> None:
    warnings.filters[:] = held  # type: ignore[index]  # a list, though typeshed calls it a sequence


@dataclass(frozen=True, slots=True)
class _Drawing:
    """What ``np.random`` draws from: its bit generator, which may be another afterwards, and the state of that."""

    bits: Any
    text: str
    """Of the state, which holds arrays: those do not compare as one."""
    state: Any = field(compare=False)


def _numpy_random() -> _Drawing:
    state = np.random.get_state(legacy=False)  # noqa: NPY002 - the state that others draw from
    return _Drawing(get_bit_generator(), json.dumps(state, default=lambda x: x.tolist()), state)


def _numpy_random_back(held: _Drawing) -> None:
    set_bit_generator(held.bits)
    np.random.set_state(held.state)  # noqa: NPY002 - as above


def _folder() -> str:
    try:
        return os.getcwd()  # noqa: PTH109 - text, as chdir takes it
    except FileNotFoundError:  # somebody removed it: there is nothing to come back to
        return ""


def _folder_back(held: str) -> None:
    with contextlib.suppress(OSError):  # it is gone, or closed to us: whoever needs it says so
        os.chdir(held)


OF_A_CALL = (
    Global("np.seterr", np.geterr, lambda held: np.seterr(**held)),
    Global("the current folder", _folder, _folder_back),
    Global("warnings.filters", lambda: list(warnings.filters), _filters, is_for_imports=True),
    Global("os.environ", _environment, _environment_back, is_for_imports=True),
    Global("sys.stdout", lambda: sys.stdout, lambda held: setattr(sys, "stdout", held)),
    Global("sys.stderr", lambda: sys.stderr, lambda held: setattr(sys, "stderr", held)),
)
"""What every call is looked at for: it costs microseconds, and our own numbers depend on it."""

OF_A_CHECK = (
    *(known for known in OF_A_CALL if not known.is_for_imports),  # by us too, on the way
    Global("the state of random", random.getstate, random.setstate),
    Global("the state of np.random", _numpy_random, _numpy_random_back),
)
"""What is looked at once around many calls: whoever draws from ``np.random`` must go on to draw new numbers."""


def call_foreign(
    call: Callable[[], Any], ours: tuple[type[BaseException], ...] = (), kept: Sequence[Global] = OF_A_CALL
) -> Outcome:
    """Runs foreign code; ``ours`` are exceptions that pass through, because our own code among it raises them.

    ``kept`` are the globals that it is looked at for.

    >>> call_foreign(lambda: 1 / 0).error
    ZeroDivisionError('division by zero')
    >>> call_foreign(lambda: np.seterr(divide="raise")).changed
    ('np.seterr',)
    """
    changed: list[str] = []
    try:
        with put_back(changed, kept), call_limits():
            value = call()
    except BaseException as error:  # SystemExit, CancelledError and whatever else foreign code raises
        if isinstance(error, (KeyboardInterrupt, LimitError, *ours)):
            raise
        return Outcome(None, error, tuple(changed))
    return Outcome(value, None, tuple(changed))


@contextmanager
def put_back(changed: list[str], kept: Sequence[Global] = OF_A_CALL) -> Iterator[None]:
    """Puts globals back that differ afterwards, and adds their names to ``changed``.

    Raises UsageError where one cannot be put back, after all others were.

    >>> names = []
    >>> with put_back(names, OF_A_CHECK):
    ...     random.seed(1)
    >>> names
    ['the state of random']
    """
    before, imported = [known.read() for known in kept], len(sys.modules)
    try:
        yield
    finally:
        has_imported = len(sys.modules) != imported
        lost: list[str] = []
        for known, held in zip(kept, before, strict=True):
            try:
                if known.read() != held and not (has_imported and known.is_for_imports):
                    changed.append(known.name)
                    known.put_back(held)
            except Exception as error:  # noqa: BLE001 - whatever foreign code left there
                lost.append(f"{known.name} was changed, and cannot be put back: {type(error).__name__}: {error}")
        if lost:
            raise UsageError("; ".join(lost))

"""A gradient named on a command line, ``package.module:function``: found, imported, and its own faults told as such."""

from __future__ import annotations

import importlib
import sys
import traceback
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any

from verify.errors import UsageError, did_you_mean
from verify.files import PACKAGE
from verify.tracing.foreign_call import call_foreign


def gradient_named(target: str, what: str = "gradient") -> Any:
    """What ``package.module:name`` stands for; the current folder is importable, and the name may have dots.

    Raises UsageError where the module cannot be imported, or has no such name, or what is there cannot be called.

    >>> gradient_named("math:sqrt")(9.0)
    3.0
    >>> gradient_named("math:sqr")
    Traceback (most recent call last):
    verify.errors.UsageError: module math has no 'sqr'. Did you mean 'sqrt'?
    """
    module_name, colon, attribute = target.partition(":")
    is_module = all(part.isidentifier() for part in module_name.split(".")) and not module_name.endswith(".py")
    if not colon or not attribute or not is_module:
        hint = f", such as {_as_module(module_name)}:{attribute or 'backward'}" if module_name else ""
        raise UsageError(f"expected a {what} as package.module:function{hint}, got '{target}'")
    found: Any = imported(module_name)
    place = f"module {module_name}"
    for name in attribute.split("."):
        held = call_foreign(partial(getattr, found, name))  # a module may answer by a function of its own
        if isinstance(held.error, AttributeError):
            raise UsageError(f"{place} has no '{name}'. {did_you_mean(name, dir(found))}".strip())
        if held.error is not None:
            raise UsageError(f"{place}: reading '{name}' raises {held.error!r:.200}")
        found, place = held.value, f"{place}:{name}"
    if not callable(found):
        raise UsageError(f"'{target}' is of type {type(found).__name__}, expected a function that can be called")
    return found


def _as_module(text: str) -> str:
    """A path as the module that it is: ``layers/affine.py`` is ``layers.affine``."""
    return ".".join(Path(text).with_suffix("").parts)


def imported(name: str, folder: Path | None = None) -> Any:
    """The module, with a folder, the current one, first on the path while it is imported and afterwards.

    Raises UsageError where it cannot be imported.

    >>> imported("math").pi > 3
    True
    """
    here = str(folder or Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        return importlib.import_module(name)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # noqa: BLE001 - whatever a module raises while it is imported, SystemExit too
        frames = _their_frames(error.__traceback__)
        if frames is None and isinstance(error, ModuleNotFoundError):
            near = did_you_mean(name, [path.stem for path in Path(here).iterdir() if path.suffix == ".py"])
            message = f"no module is called '{error.name or name}', from {here} and the installed packages. {near}"
            raise UsageError(message.strip()) from None
        lines = "".join(traceback.format_exception(type(error), error, frames)).rstrip()
        raise UsageError(f"module {name} cannot be imported:\n{lines}") from None


def _their_frames(frames: TracebackType | None) -> TracebackType | None:
    """The traceback from the first frame that is neither this package's nor Python's import machinery's, if any."""
    while frames is not None:
        file = frames.tb_frame.f_code.co_filename
        is_python = file.startswith("<frozen importlib") or Path(file) == Path(importlib.__file__)
        if not is_python and not Path(file).is_relative_to(PACKAGE):
            return frames
        frames = frames.tb_next
    return None

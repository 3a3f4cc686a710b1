"""Reports that need not be written: those of the last run, where nothing has changed since and nobody touched them.

What a run finds follows from its case files, its settings and this program. Where the reports of just that were written
here, and every file still has the size and the time that it was given, they are as good as new ones, and most of a run
without a change would go into writing them again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from verify.running.cache import keep, recalled, text_key

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path


def key_of(found: str, *options: object) -> str:
    """What reports follow from: the key of what was ``found``, and where and how it is written; empty for no key.

    >>> key_of("", "reports")
    ''
    """
    return text_key("reports", found, *map(str, options)) if found else ""


def are_written(key: str, files: Iterable[Path]) -> bool:
    """Whether the files of the reports are there as they were written.

    >>> are_written("", [])
    False
    """
    return bool(key) and recalled(key) == _state(files)


def note(key: str, files: Iterable[Path]) -> None:
    """Remembers how the files of reports are that were just written.

    >>> note("", [])
    """
    keep(key, _state(files))


def _state(files: Iterable[Path]) -> list[list[str | int]]:
    """Name, size and time of every file."""
    return [[str(file), *_seen(file)] for file in sorted({file.absolute() for file in files})]


def _seen(file: Path) -> tuple[int, int]:
    """Size and time of a file; -1 where there is none."""
    try:
        found = file.lstat()
    except OSError:
        return -1, -1
    return found.st_size, found.st_mtime_ns

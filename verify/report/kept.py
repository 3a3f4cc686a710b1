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

    from verify.report.formats import Target


def key_of(found: str, targets: Iterable[Target], *options: object) -> str:
    """What reports follow from: the key of what was ``found``, their places and the options; empty for none of each.

    >>> key_of("", [])
    ''
    """
    places = [str(place.absolute()) for kind, path in targets for place in kind.places(path)]
    return text_key("reports", found, *places, *map(str, options)) if found and places else ""


def are_written(key: str, targets: Iterable[Target]) -> bool:
    """Whether the reports are there as they were written.

    >>> are_written("", [])
    False
    """
    return bool(key) and recalled(key) == _state(targets)


def note(key: str, targets: Iterable[Target]) -> None:
    """Remembers how the reports are that were just written.

    >>> note("", [])
    """
    keep(key, _state(targets))


def _state(targets: Iterable[Target]) -> list[list[str | int]]:
    """Name, size and time of every file."""
    files = sorted({file for kind, path in targets for file in kind.all_files(path)})
    return [[str(file), *_seen(file)] for file in files]


def _seen(file: Path) -> tuple[int, int]:
    """Size and time of a file; -1 where there is none."""
    try:
        found = file.lstat()
    except OSError:
        return -1, -1
    return found.st_size, found.st_mtime_ns

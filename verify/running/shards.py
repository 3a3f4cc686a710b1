"""A part of the cases for each of several machines: the same parts wherever they are made, of much the same cost."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from pathlib import Path

from verify.errors import UsageError
from verify.records import Shard
from verify.running.workers import longest_first

WRITTEN = re.compile(r"([0-9]{1,6})/([0-9]{1,6})")


def shard(files: Sequence[Path], asked: str) -> tuple[tuple[Path, ...], Shard]:
    """The files of a shard such as ``2/5``, in their order, and which part it is.

    The longest files, which take longest, go first, each to the shard that has least so far; so the names and lengths
    of the files decide alone. Raises UsageError for what is no shard.

    >>> chosen, part = shard([Path("a"), Path("b"), Path("c")], "1/2")
    >>> [path.name for path in chosen], part.places
    (['a', 'c'], {'a': 0, 'c': 2})
    """
    written = WRITTEN.fullmatch(asked)
    number, of = map(int, written.groups()) if written else (0, 0)
    if not 1 <= number <= of:
        raise UsageError(f"a shard is written as number/count, such as 2/5, the first being 1/5; got {asked!r}")
    loads = [0] * of
    mine: set[Path] = set()
    for path in longest_first(sorted(files)):
        least = loads.index(min(loads))
        loads[least] += 1 + (path.stat().st_size if path.is_file() else 0)
        if least == number - 1:
            mine.add(path)
    names = "\n".join(map(str, files))
    digest = hashlib.sha256(names.encode("utf-8", "backslashreplace")).hexdigest()
    places = {str(path): place for place, path in enumerate(files) if path in mine}
    return tuple(path for path in files if path in mine), Shard(number, of, len(files), digest, places)

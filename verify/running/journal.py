"""Results on the disk as they come: what a large run is reported from, and what a run that was killed leaves.

A journal is a file of entries, each written at once and with a check of its bytes, so that one that was cut short ends
with the last whole entry. The first says of what run it is: versions and settings. An entry is data (see
:mod:`verify.running.codec`): reading it runs nothing. In memory are the results of the first :data:`MOST_ROWS` rows; of
others only what the terminal says of them.
"""

from __future__ import annotations

import hashlib
import os
import struct
import tempfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import IO, Any, Self

from verify.case.yaml_source import source_text
from verify.errors import CaseError, UsageError
from verify.files import locked
from verify.records import CaseResult, Rows, Stored
from verify.running.codec import packed, unpacked
from verify.running.settings import DEFAULT, Settings, told
from verify.running.units import difference, made_by

ENTRY = struct.Struct("<II")
"""In front of each entry: how many bytes it has, and their CRC."""

FAST = 1
"""How hard entries are compressed."""

MOST_BYTES, MOST_UNPACKED = 2**30, 2**32
"""Of one entry, and of what it unpacks to; what claims more was not written here."""

MOST_ROWS = 500_000
"""Rows that are held in memory: some 100 MB."""

ROWS_OF_A_CASE = 500
"""What a case holds in memory beside its rows, counted in rows: some 100 kB."""


class Journal:
    """The results of a run, in memory as far as they are few, and in a file where there is one.

    >>> journal = Journal()
    >>> journal.add(CaseResult("f", "f.yaml"))
    >>> [case.name for case in journal.cases([Path("f.yaml")])], journal.stored([Path("f.yaml")])
    (['f'], None)
    """

    def __init__(
        self,
        path: Path | None = None,
        settings: Settings = DEFAULT,
        *,
        resumes: bool = False,
        most_rows: float = MOST_ROWS,
    ) -> None:
        self._path, self._most_rows = path, most_rows
        self._file: IO[bytes] | None = None
        self._held: list[tuple[CaseResult, int | None]] = []
        """Results, with the place of the whole one where this one is light."""
        self._rows = 0
        self._known: dict[str, list[int]] = {}
        """File -> the places of its results, of those that an unfinished run was done with."""
        if path is not None:
            self._open(path, {"versions": made_by(), "settings": told(settings)}, resumes=resumes)

    def _open(self, path: Path, about: dict[str, Any], *, resumes: bool) -> None:
        if resumes and not path.is_file():
            raise UsageError(f"there is nothing to resume: no unfinished run left {path}. Run without --resume")
        try:
            file = path.open("r+b" if resumes else "a+b")
        except OSError as error:
            if resumes:
                raise UsageError(f"cannot read {path}: {error.strerror}. Run without --resume") from error
            return  # whoever writes the report says what is wrong there
        if locked(file.fileno()) is False:  # another run that reports to the same place
            file.close()
            if resumes:
                raise UsageError(f"{path} belongs to a run that goes on. Wait for its end, or run without --resume")
            return
        self._file = file
        if resumes:
            try:
                self._resume(path, about)
            except UsageError:
                file.close()
                raise
        else:
            file.truncate(0)
            self._append(about)

    def _resume(self, path: Path, about: dict[str, Any]) -> None:
        """Takes in where the results of an unfinished run are, and goes on behind its last whole entry."""
        assert self._file is not None
        first = self._read(0)
        if not isinstance(first, dict) or first.keys() != about.keys():
            raise UsageError(f"{path} was not left by a run of this program. Run without --resume")
        for what, mine in about.items():
            differs = difference(mine, first[what])
            if differs:
                remedy = "Ask for the same, or run without --resume"
                raise UsageError(f"{path} was left by a run of other {what}: {differs}. {remedy}")
        found: dict[str, dict[str, int]] = {}
        sizes: dict[str, int] = {}
        end = offset = self._file.tell()
        while (entry := self._read(offset)) is not None:
            digest, result = entry
            if digest == _digest(result.file):
                found.setdefault(result.file, {})[result.name] = offset
                sizes[result.file] = max(result.sizes, sizes.get(result.file, 0))
            end = offset = self._file.tell()
        self._file.truncate(end)
        self._known = {file: list(named.values()) for file, named in found.items() if len(named) == sizes[file] + 1}

    def resumed(self, files: Sequence[Path]) -> Iterator[CaseResult]:
        """The results of those files that an unfinished run was done with, and that have not changed since.

        >>> list(Journal().resumed([Path("f.yaml")]))
        []
        """
        for path in files:
            for offset in self._known.get(str(path), ()):
                result = self._read(offset)[1]
                self._note(result, offset)
                yield result

    def has(self, file: Path) -> bool:
        """Whether an unfinished run was done with that file.

        >>> Journal().has(Path("f.yaml"))
        False
        """
        return str(file) in self._known

    def add(self, result: CaseResult) -> None:
        """Takes in one more result, and writes it to the file where there is one, or memory is not to hold more.

        One that has not changed since it passed is written for the sake of memory alone: the cache has it.
        """
        rows = self._rows + _size_of(result)
        is_written = self._file is not None and not (result.unchanged and rows <= self._most_rows)
        self._note(result, self._append((_digest(result.file), result)) if is_written else None)

    def _note(self, result: CaseResult, offset: int | None) -> None:
        self._rows += _size_of(result)
        is_held = self._rows <= self._most_rows or offset is None
        self._held.append((result if is_held else light(result), None if is_held else offset))
        if self._file is None and self._rows > self._most_rows:
            self._file = tempfile.TemporaryFile()  # noqa: SIM115 - what comes from now on; closed with the journal

    def cases(self, files: Sequence[Path]) -> tuple[CaseResult, ...]:
        """The results as they are held, in the order of the files."""
        return tuple(self._held[i][0] for i in self._order(files))

    def stored(self, files: Sequence[Path]) -> Stored | None:
        """The same with all that was found, one by one from the disk; None where memory holds all of it."""
        is_held = all(offset is None for _, offset in self._held)
        return None if is_held else Stored(self._whole, self._order(files))

    def _order(self, files: Sequence[Path]) -> list[int]:
        order = {str(path): number for number, path in enumerate(files)}
        return sorted(range(len(self._held)), key=lambda i: order.get(self._held[i][0].file, len(order)))

    def _whole(self, i: int) -> CaseResult:
        """One result with all that was found."""
        held, offset = self._held[i]
        return held if offset is None else self._read(offset)[1]

    @property
    def is_kept(self) -> bool:
        """Whether a file has the results.

        >>> Journal().is_kept
        False
        """
        return self._path is not None and self._file is not None

    def remove(self) -> None:
        """Closes the file and removes it: nobody will want to go on with it.

        >>> Journal().remove()
        """
        self.__exit__()
        if self._path is not None:
            with suppress(OSError):
                self._path.unlink(missing_ok=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *fault: object) -> None:
        """Closes the file, which stays; results can no longer be read from it."""
        if self._file is not None:
            self._file.close()

    def _append(self, entry: Any) -> int:
        """Writes an entry behind the last; where it is."""
        assert self._file is not None
        body = zlib.compress(packed(entry), FAST)
        offset = self._file.seek(0, os.SEEK_END)
        try:
            self._file.write(ENTRY.pack(len(body), zlib.crc32(body)) + body)
            self._file.flush()
        except OSError as error:
            message = f"cannot write results to {self._path or 'a temporary file'}: {error.strerror}. Make room there"
            raise UsageError(message) from error
        return offset

    def _read(self, offset: int) -> Any:
        """The entry that is there, after which the file stands at the next; None where none is whole."""
        assert self._file is not None
        self._file.seek(offset)
        head = self._file.read(ENTRY.size)
        length, check = ENTRY.unpack(head) if len(head) == ENTRY.size else (0, 1)
        body = self._file.read(length) if length <= MOST_BYTES else b""
        if len(body) != length or zlib.crc32(body) != check:
            return None
        try:
            return unpacked(zlib.decompressobj().decompress(body, MOST_UNPACKED))
        except Exception:  # noqa: BLE001 - bytes of somebody else: any exception may come of them
            return None


def _size_of(result: CaseResult) -> int:
    """What a result takes of memory, in rows."""
    return ROWS_OF_A_CASE + sum(len(variable.rows) for variable in result.variables)


def _digest(file: str) -> str:
    """What a case file holds now, in short; empty where it cannot be read."""
    try:
        return hashlib.sha256(source_text(file).encode()).hexdigest()
    except CaseError:
        return ""


def light(case: CaseResult) -> CaseResult:
    """What the terminal says of a case: of one that passes no rows, no points and no formulas.

    >>> light(CaseResult("f", "f.yaml", problems=("f.yaml: empty",))).problems
    ('f.yaml: empty',)
    """
    if not case.passes:
        return case
    variables = tuple(replace(v, rows=_none_of(v.rows), closed_forms={}) for v in case.variables)
    return replace(case, variables=variables, points=(), stages=(), kinks=(), step_laws=())


def _none_of(rows: Rows) -> Rows:
    """No rows, with the methods of these: the same object for all that are alike."""
    methods = tuple(rows.values), tuple(rows.errors)
    if methods not in _NONE:
        _NONE[methods] = replace(rows.take(slice(0, 0)), texts=("",))
    return _NONE[methods]


_NONE: dict[tuple[tuple[str, ...], tuple[str, ...]], Rows] = {}
"""No rows, by the methods that gave values, and those of which errors are known."""

"""Files that are either written whole or not at all.

The new content goes to a temporary file in the same folder, which then takes the place of the old one in a single
step. Whoever reads the folder meanwhile sees the old report or the new one, never half of one. Links are followed. What
is no file is never replaced: pipes and terminals are written into, disks and sockets are refused.

A run that is killed leaves its temporary file; the next one that writes to the folder removes it. It tells it from that
of a run that goes on by a lock, which the system gives up for whoever dies.
"""

from __future__ import annotations

import errno
import os
import re
import secrets
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TextIO

from verify.errors import UsageError

try:
    import fcntl
except ImportError:  # Windows
    HAS_LOCKS = False
else:
    HAS_LOCKS = True

PACKAGE = Path(__file__).resolve().parent
"""The folder of this program's own code: no line in it is a place to tell a user of."""

TEMPORARY = re.compile(r"\..+\.[0-9a-f]{12}\.verify-tmp", re.DOTALL)
"""What our temporary files are called."""

LONGEST_NAME = 40
"""Letters of a report's name in that of its temporary file: a name has 255 bytes, of which a letter may take four."""

ABANDONED = 24 * 3600.0
"""Seconds after which a temporary file is removed where files cannot be locked."""

WITHOUT_WAITING = getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOCTTY", 0)
NO_LINK = getattr(os, "O_NOFOLLOW", 0)


@contextmanager
def replacing(path: str | Path, *, durable: bool = False, overwrite: bool = True) -> Iterator[TextIO]:
    r"""A text file to write to; it takes the place of ``path`` when the block ends, and only if it ends well.

    UTF-8, line ends as given. With ``durable`` the bytes are on the disk before the old file goes. Folders on the way
    are made. Raises UsageError, with the path and what to do, where the folder or the file cannot be written, and
    where there is a file already that ``overwrite`` does not allow to replace.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with replacing(Path(folder, "new", "report.txt")) as file:
    ...         written = file.write("one\ntwo\n")
    ...     Path(folder, "new", "report.txt").read_text()
    'one\ntwo\n'
    """
    path = Path(path)
    target = target_of(path) if overwrite else path
    try:
        if target is None:
            with _stream(path) as file:
                yield file
            return
        target.parent.mkdir(parents=True, exist_ok=True)
        _remove_abandoned(target.parent)
        with _temporary(target) as (temporary, file):
            yield file
            if durable:
                file.flush()
                os.fsync(file.fileno())
            file.close()
            if overwrite:
                temporary.replace(target)
            else:
                _put_beside(temporary, target)
    except OSError as error:
        raise UsageError(_remedy(path, error)) from error


def target_of(path: Path) -> Path | None:
    """The file that is written where a path is given, links followed; None for what is written into as it is.

    Raises UsageError for what is neither: a disk, a socket, a link to itself, and where the standard output goes.

    >>> target_of(Path("report.html")), target_of(Path(os.devnull))
    (PosixPath('report.html'), None)
    """
    try:
        found = path.stat()
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise UsageError(_remedy(path, error)) from error
        return Path(os.path.realpath(path)) if path.is_symlink() else path  # not there yet, or told when it is written
    if stat.S_ISFIFO(found.st_mode) or stat.S_ISCHR(found.st_mode):
        return None
    if not stat.S_ISREG(found.st_mode) and not stat.S_ISDIR(found.st_mode):
        raise UsageError(f"cannot write {path}: expected the name of a file, got a disk or a socket. Name a file")
    if any(os.path.samestat(found, stream) for stream in _standard_streams()):
        message = f"cannot write {path}: the standard output of this program goes there. Name another file"
        raise UsageError(message)
    return Path(os.path.realpath(path)) if path.is_symlink() else path


def _standard_streams() -> Iterator[os.stat_result]:
    for number in (1, 2):
        with suppress(OSError):  # closed
            yield os.fstat(number)


@contextmanager
def _stream(path: Path) -> Iterator[TextIO]:
    """A pipe or a terminal, to be written into."""
    handle = os.open(path, os.O_WRONLY | WITHOUT_WAITING)  # waits for no reader of a pipe
    with suppress(OSError):
        os.set_blocking(handle, True)
    with os.fdopen(handle, "w", encoding="utf-8", errors="backslashreplace", newline="") as file:
        yield file


@contextmanager
def _temporary(target: Path) -> Iterator[tuple[Path, TextIO]]:
    """A new file beside the target, locked until the block ends; then it is removed where it is still there."""
    while True:
        temporary = target.with_name(f".{target.name[:LONGEST_NAME]}.{secrets.token_hex(6)}.verify-tmp")
        # "x" keeps the file mode that the user's umask asks for, which tempfile's 0600 would not. What UTF-8 cannot
        # hold (a lone surrogate out of a YAML escape) is written as its escape: a name must not cost the report.
        with temporary.open("x", encoding="utf-8", errors="backslashreplace", newline="") as file:
            lock = (
                os.dup(file.fileno()) if HAS_LOCKS else -1
            )  # it outlives the file, which is closed before it is moved
            try:
                if locked(lock) is not False and temporary.exists():  # else it was taken for abandoned just now
                    yield temporary, file
                    return
            finally:
                file.close()
                with suppress(OSError):  # gone already where all went well
                    temporary.unlink(missing_ok=True)
                if HAS_LOCKS:
                    os.close(lock)


def locked(handle: int) -> bool | None:
    """Locks a file: True where that was done, False where another process has locked it, None where nobody can.

    >>> with open(os.devnull) as file:
    ...     locked(file.fileno()) is False
    False
    """
    if not HAS_LOCKS:
        return None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True


def _remove_abandoned(folder: Path) -> None:
    """Removes the temporary files of runs that were killed."""
    for path in folder.iterdir():
        if TEMPORARY.fullmatch(path.name):
            with suppress(OSError):  # gone, or not ours to remove
                _remove_if_abandoned(path)


def _remove_if_abandoned(path: Path) -> None:
    found = path.lstat()
    if not stat.S_ISREG(found.st_mode):
        return
    handle = os.open(path, os.O_RDONLY | WITHOUT_WAITING | NO_LINK)
    try:
        is_free = locked(handle)
        if is_free or (is_free is None and time.time() - found.st_mtime > ABANDONED):
            path.unlink()
    finally:
        os.close(handle)


def _put_beside(temporary: Path, path: Path) -> None:
    """Gives a new file its name in one step that fails where the name is taken."""
    try:
        try:
            path.hardlink_to(temporary)
        except FileExistsError:
            raise
        except OSError:  # a file system without links: an empty file holds the name until the whole one replaces it
            path.open("x").close()
            temporary.replace(path)
    except FileExistsError:
        remedy = "Give another name, remove it first, or say overwrite=True in Python"
        message = f"{path} exists already and is left as it is. {remedy}"
        raise UsageError(message) from None


def write_text(path: str | Path, text: str, *, durable: bool = False, overwrite: bool = True) -> Path:
    """Writes a whole text file (see :func:`replacing`) and returns its path.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_text(Path(folder, "a.txt"), "whole").name
    'a.txt'
    """
    with replacing(path, durable=durable, overwrite=overwrite) as file:
        file.write(text)
    return Path(path)


def _remedy(path: Path, error: OSError) -> str:
    if path.is_dir():
        return f"cannot write {path}: expected the name of a file, got a folder. Name a file in it"
    obstacle = next((folder for folder in path.parents if folder.exists() and not folder.is_dir()), None)
    if obstacle is not None:
        return f"cannot write {path}: expected {obstacle} to be a folder, got a file. Name another folder"
    if error.errno == errno.ENXIO:
        return f"cannot write {path}: nobody reads from this pipe. Start its reader first"
    if error.errno == errno.ELOOP:
        return f"cannot write {path}: this link leads to itself. Name a file"
    reason = error.strerror or type(error).__name__
    return f"cannot write {path}: {reason}. Make the folder {path.parent} writable, or name another one for the report"

"""Files that are either written whole or not at all.

The new content goes to a temporary file in the same folder, which then takes the place of the old one in a single
step. Whoever reads the folder meanwhile sees the old report or the new one, never half of one.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TextIO

from verify.errors import UsageError


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
    temporary = path.with_name(f".{path.name[:100]}.{secrets.token_hex(6)}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # "x" keeps the file mode that the user's umask asks for, which tempfile's 0600 would not. What UTF-8 cannot
        # hold (a lone surrogate out of a YAML escape) is written as its escape: a name must not cost the report.
        with temporary.open("x", encoding="utf-8", errors="backslashreplace", newline="") as file:
            yield file
            if durable:
                file.flush()
                os.fsync(file.fileno())
        if overwrite:
            temporary.replace(path)
        else:
            _put_beside(temporary, path)
    except OSError as error:
        raise UsageError(_remedy(path, error)) from error
    finally:
        with suppress(OSError):  # gone already where all went well, never made where the folder is at fault
            temporary.unlink(missing_ok=True)


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
    reason = error.strerror or type(error).__name__
    return f"cannot write {path}: {reason}. Make the folder {path.parent} writable, or name another one for the report"

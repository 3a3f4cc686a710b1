"""Results that cost time, kept on disk between runs: small files, named after what they were made from.

A key is the digest of everything that a result depends on, with a word for its kind, so an entry never goes stale; it
is merely not asked for any more. Entries are written beside their place and moved there, so that several runs at a
time do no harm, and the folder may be deleted whenever one likes. What was used longest ago is dropped where it grows
beyond :data:`MOST_BYTES`.

An entry that is not ours must neither run anything nor make a wrong gradient pass. So

- an entry is data (see :mod:`verify.running.codec`): reading it runs nothing, whatever it says;
- it is signed, together with its kind and its key, by a secret of 32 random bytes in the same folder, which its owner
  alone may read. One that was changed, cut short, made elsewhere or moved to another name is a miss, and the result is
  made anew. The signature is looked at before anything is unpacked;
- only what is a file, and not too large, is read: no link, no pipe, no device is waited for;
- a folder that belongs to somebody else, or that others may write to, is not used, and :func:`trouble` says so.

The secret counts where it was made: with the number and the time that the file system gave it. So what was copied with
it, such as a folder that a foreign build in CI filled or that came with somebody's project, is made anew as well. What
this does not hold off is who can run programs as this user, and could change this program too.
"""

from __future__ import annotations

import errno
import hashlib
import hmac
import json
import os
import platform
import re
import secrets
import stat
import tempfile
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import flint
import mpmath
import numpy as np
import scipy
import sympy

from verify.files import PACKAGE
from verify.graph.graph import Graph
from verify.ops import OPS, is_as_shipped
from verify.version import __version__

T = TypeVar("T")

MOST_BYTES = 128 * 2**20
"""What all entries together may take; the two hundred cases that come with the package take a tenth of it."""

UNSEEN = MOST_BYTES // 32
"""What a process writes until it looks again at what others, which it does not hear of, wrote meanwhile."""

KEPT = 0.75
"""The part of it that is left when entries are dropped."""

LARGEST, LARGEST_UNPACKED = 2**25, 2**28
"""Bytes of the largest entry, and of what it may unpack to."""

FAST = 1
"""How hard entries are compressed."""

VARIABLE = "VERIFY_CACHE"
"""Environment variable: the folder of the cache, or ``off``."""

SECRET, SECRET_BYTES = "secret", 32
"""The file of the secret, and its size."""

REMEDY = f"Set {VARIABLE} to a folder of your own, or to off"

ON_POSIX = hasattr(os, "getuid")
OTHERS_MAY_WRITE = stat.S_IWGRP | stat.S_IWOTH
OTHERS_MAY = stat.S_IRWXG | stat.S_IRWXO

AS_A_FILE = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
"""How entries are opened: no link is followed, and no pipe waited for."""

ENTRY = re.compile(r"(?:[a-z]+-)?([0-9a-f]{64})")
UNFINISHED = "new-"
"""What files are called that are still written to."""

ABANDONED = 3600.0
"""Seconds after which such a file is one of a run that was killed."""


class UnusableError(Exception):
    """A cache that was asked for and cannot be used; says why, and what to do."""


# ---------------------------------------------------------------------------------------------------------------- keys


def graph_key(what: str, graph: Graph, variables: tuple[str, ...]) -> str:
    """The key of a result that a graph, the op table and the versions decide; empty where the table was changed.

    >>> from verify.case.expression import graph_from_expressions
    >>> one, same = (graph_from_expressions({"x": ()}, {"f": "x**2"}) for _ in range(2))
    >>> graph_key("symbolic", one, ("x",)) == graph_key("symbolic", same, ("x",))
    True
    """
    content = graph_content(graph, variables)
    return _key(what, content) if content else ""


def graph_content(graph: Graph, variables: tuple[str, ...]) -> list[Any]:
    """All that a result for a graph depends on within one process; empty where the op table was changed.

    >>> from verify.case.expression import graph_from_expressions
    >>> graph_content(graph_from_expressions({"x": ()}, {"f": "x**2"}), ("x",))[1:]
    [{'x': 0}, {'f': 1}, ('f',), ('x',)]
    """
    if not all(is_as_shipped(node.op) for node in graph.nodes if node.kind == "op"):
        return []
    nodes = [
        (node.kind, node.op, node.args, dict(node.params), node.shape, node.aligned, node.value, node.stage)
        for node in graph.nodes
    ]
    return [nodes, dict(graph.inputs), dict(graph.stages), graph.outputs, variables]


def text_key(what: str, *content: str) -> str:
    """The key of a result that some texts, the op table and the versions decide; empty where the table was changed.

    >>> text_key("run", "case: f") == text_key("run", "case: g")
    False
    """
    return _key(what, content) if all(map(is_as_shipped, OPS)) else ""


def _key(what: str, content: Any) -> str:
    """The kind of a result, and the digest of what it depends on."""
    text = json.dumps([what, content, _versions()], default=_plain)
    return f"{what}-{hashlib.sha256(text.encode()).hexdigest()}"


@cache
def _versions() -> list[str]:
    """Everything but the content that a result depends on: versions, and this package's own text."""
    used = (np, sympy, mpmath, flint, scipy)
    machine = [platform.python_version(), platform.machine(), platform.processor()]
    return [*machine, *(package.__version__ for package in used), __version__, source_digest()]


@cache
def source_digest() -> str:
    """The digest of this package's own text: what tells two states of it apart that have one version.

    >>> len(source_digest())
    64
    """
    text = hashlib.sha256()
    for path in sorted(PACKAGE.rglob("*.py")):
        text.update(path.read_bytes())
    return text.hexdigest()


def _plain(value: Any) -> Any:
    """Static parameters as JSON holds them."""
    if isinstance(value, slice):
        return ["slice", value.start, value.stop, value.step]
    if isinstance(value, np.ndarray | np.generic):
        return [str(value.dtype), value.tolist()]
    return repr(value)


# ------------------------------------------------------------------------------------------------- keeping and finding


def recalled(key: str) -> Any:
    """The entry of that key, None where there is none.

    >>> recalled("") is None
    True
    """
    try:
        home = _home() if key else None
        return None if home is None else _read(_place(home, key), key, _secret(home))
    except (OSError, UnusableError):
        return None


def keep(key: str, result: Any) -> None:
    """Keeps a result under a key; an empty key is never kept, and a disk that is full is no reason to stop.

    >>> keep("", 3)
    """
    try:
        home = _home() if key else None
        if home is None:
            return
        body = _packed(result)
        if body is not None and len(body) <= LARGEST_UNPACKED:
            held = _signed(key, zlib.compress(body, FAST), _secret(home))
            _write(_place(home, key), held)
            _prune(home, len(held))
    except OSError as error:
        _failures[folder()] = f"nothing more could be written to the cache: {error.strerror}. {REMEDY}"
    except UnusableError:
        return


def _packed(result: Any) -> bytes | None:
    """A result as bytes, None where it is nothing that can be kept."""
    from verify.running.codec import NotPlainError, packed  # it knows all records: for whoever keeps some

    try:
        return packed(result)
    except (NotPlainError, RecursionError):
        return None


def remembered(key: str, make: Callable[[], T]) -> T:
    """The entry of that key, made and kept where there is none.

    >>> remembered("", lambda: 3)
    3
    """
    found: T | None = recalled(key)
    if found is None:
        found = make()
        keep(key, found)
    return found


def _place(home: Path, key: str) -> Path:
    known = ENTRY.fullmatch(key)
    assert known is not None, f"{key!r} is no key"
    return home / known[1][:2] / key


def _signed(key: str, body: bytes, secret: bytes) -> bytes:
    """An entry: the signature, the key with its kind, a line's end, and what is kept."""
    said = key.encode() + b"\n" + body
    return hmac.digest(secret, said, "sha256") + said


def _read(place: Path, key: str, secret: bytes) -> Any:
    """What an entry holds, None where it is not one of ours. Raises OSError where it is no file."""
    with _opened(place, LARGEST) as (handle, found):
        with suppress(OSError):  # a disk that may only be read
            os.utime(handle if os.utime in os.supports_fd else place)  # used just now
        held = os.read(handle, found.st_size)
    body = held[hashlib.sha256().digest_size + len(key) + 1 :]
    if not hmac.compare_digest(held, _signed(key, body, secret)):
        return None
    try:
        from verify.running.codec import unpacked

        inflating = zlib.decompressobj()
        return unpacked(inflating.decompress(body, LARGEST_UNPACKED))
    except Exception:  # noqa: BLE001 - who has the secret may have signed anything; the result is made anew
        return None


@contextmanager
def _opened(place: Path, most: int) -> Iterator[tuple[int, os.stat_result]]:
    """A file of at most so many bytes, to be read. Raises OSError for anything else."""
    handle = os.open(place, AS_A_FILE)
    try:
        found = os.fstat(handle)
        if not stat.S_ISREG(found.st_mode) or found.st_size > most:
            raise OSError(errno.EINVAL, f"no file of at most {most} bytes", str(place))
        yield handle, found
    finally:
        os.close(handle)


def _write(place: Path, held: bytes) -> None:
    """Puts a file that is not too large into its place in one step. Raises OSError."""
    if len(held) > LARGEST:
        return
    place.parent.mkdir(mode=0o700, exist_ok=True)
    with _unfinished(place.parent, held) as new:
        new.replace(place)


@contextmanager
def _unfinished(home: Path, held: bytes) -> Iterator[Path]:
    """A new file that its owner alone may read, to be moved to its place within the block."""
    handle, name = tempfile.mkstemp(dir=home, prefix=UNFINISHED)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(held)
        yield Path(name)
    finally:
        Path(name).unlink(missing_ok=True)


def _prune(home: Path, written: int) -> None:
    """Drops what was used longest ago, where the entries together are too large, and what killed runs left behind.

    What is there is looked at when this process has first written something, and again where it may have grown.
    """
    known = _known.get(home)
    if known is not None and known[0] + written <= MOST_BYTES and known[1] + written <= UNSEEN:
        _known[home] = known[0] + written, known[1] + written
        return
    entries = []
    for path in home.glob("??/*"):
        is_unfinished = path.name.startswith(UNFINISHED)
        if not is_unfinished and not ENTRY.fullmatch(path.name):
            continue  # somebody's own
        with suppress(OSError):  # another run dropped it
            found = path.lstat()
            if is_unfinished and time.time() - found.st_mtime > ABANDONED:
                path.unlink()
            else:
                entries.append((found.st_mtime, found.st_size, path))
    total = sum(size for _, size, _ in entries)
    most = MOST_BYTES if total <= MOST_BYTES else KEPT * MOST_BYTES
    for _, size, path in sorted(entries):
        if total <= most:
            break
        with suppress(OSError):
            path.unlink()
        total -= size
    _known[home] = total, 0


_known: dict[Path, tuple[float, int]] = {}
"""What the entries of a folder took when this process looked, with what it wrote since, and the latter alone."""


# ---------------------------------------------------------------------------------------------------------- the folder


def folder() -> Path | None:
    """Where entries are kept, None where nothing is to be kept. Raises UnusableError where no folder is named.

    >>> import pytest
    >>> with pytest.MonkeyPatch.context() as patch:
    ...     patch.setenv("VERIFY_CACHE", "off")
    ...     print(folder())
    None
    """
    given = os.environ.get(VARIABLE, "")
    if given.lower() == "off":
        return None
    if not given:
        import platformdirs

        return platformdirs.user_cache_path("verify-gradients")
    said = f"the cache is not used: {VARIABLE}={given} names nobody's folder. {REMEDY}"
    try:
        user, found = Path(given.partition(os.sep)[0]).expanduser(), Path(given).expanduser()
    except RuntimeError as error:
        raise UnusableError(said) from error
    if given.startswith("~") and not user.is_dir():  # a home is not ours to make
        raise UnusableError(said)
    return found


def trouble() -> str:
    """Why a cache that was asked for is not used, or cannot be written to, and what to do; empty where all is well.

    >>> import pytest
    >>> with pytest.MonkeyPatch.context() as patch:
    ...     patch.setenv("VERIFY_CACHE", "~no such user/x")
    ...     print(trouble().partition(". ")[0])
    the cache is not used: VERIFY_CACHE=~no such user/x names nobody's folder
    """
    try:
        home = _home()
        if home is None:
            return ""
        _secret(home)
        if not os.access(home, os.W_OK | os.X_OK):
            return f"nothing can be written to the cache folder {home}. {REMEDY}"
    except UnusableError as error:
        return str(error)
    except OSError as error:
        return f"the cache folder {home} is not used: {error.strerror}: {error.filename}. {REMEDY}"
    return _failures.get(home, "")


_failures: dict[Path | None, str] = {}
"""What went wrong with writing in this process, by folder."""


def _home() -> Path | None:
    """The folder, made if need be; None where nothing is to be kept. Raises UnusableError."""
    home = folder()
    if home is None:
        return None
    try:
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = home.stat()
    except OSError as error:
        raise UnusableError(f"the cache folder {home} is not used: {error.strerror}. {REMEDY}") from error
    if ON_POSIX and found.st_uid != os.getuid():
        raise UnusableError(f"the cache folder {home} is not used: it belongs to somebody else. {REMEDY}")
    if ON_POSIX and found.st_mode & OTHERS_MAY_WRITE:
        said = f"others may write to it (mode {stat.S_IMODE(found.st_mode):o}). Run 'chmod go-w {home}', or set"
        raise UnusableError(f"the cache folder {home} is not used: {said} {VARIABLE} to another")
    return home


def _secret(home: Path) -> bytes:
    """What entries are signed with; a new one where there is none, or none that is private. Raises OSError."""
    place = home / SECRET
    is_missing = False
    try:
        return _own_secret(place)
    except FileNotFoundError:
        is_missing = True
    except OSError:  # a file that others may read, or no file: what it signed is no longer believed
        pass
    with _unfinished(home, secrets.token_bytes(SECRET_BYTES)) as new:
        try:
            if is_missing:
                place.hardlink_to(new)  # of several runs at a time, one is the first
            else:
                new.replace(place)
        except FileExistsError:
            pass
        except OSError:  # a file system without links
            new.replace(place)
    return _own_secret(place)


def _own_secret(place: Path) -> bytes:
    """The secret as it counts here, where it is the user's own and nobody else's to read. Raises OSError."""
    with _opened(place, SECRET_BYTES) as (handle, found):
        if ON_POSIX and (found.st_uid != os.getuid() or found.st_mode & OTHERS_MAY):
            raise PermissionError(errno.EPERM, "others may read it", str(place))
        held = os.read(handle, SECRET_BYTES)
        if len(held) != SECRET_BYTES:
            raise OSError(errno.EINVAL, "cut short", str(place))
        return hashlib.sha256(held + f"{found.st_ino} {found.st_ctime_ns}".encode()).digest()

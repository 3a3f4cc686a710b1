"""Results that cost time, kept on disk between runs: small files, named after what they were made from.

A key is the digest of everything that a result depends on, so an entry never goes stale; it is merely not asked for
any more. Entries are written beside their place and moved there, so that several runs at a time do no harm, and the
folder may be deleted whenever one likes. What was used longest ago is dropped where it grows beyond
:data:`MOST_BYTES`.

Entries are pickles, and whoever can write a pickle can run code: a folder that is not the user's own, or that others
may write to, is left alone. Within one, only names that our own entries use are looked up.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import pickle
import platform
import stat
import tempfile
import zlib
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import flint
import mpmath
import numpy as np
import platformdirs
import scipy
import sympy

from verify import __version__
from verify.graph import Graph
from verify.ops import OPS, is_as_shipped

T = TypeVar("T")

MOST_BYTES = 128 * 2**20
"""What all entries together may take; the two hundred cases that come with the package take a tenth of it."""

FAST = 1
"""How hard entries are compressed."""

KEPT = 0.75
"""The part of it that is left when entries are dropped."""

VARIABLE = "VERIFY_CACHE"
"""Environment variable: the folder of the cache, or ``off``."""

OTHERS_MAY_WRITE = stat.S_IWGRP | stat.S_IWOTH

OWN_MODULES = (
    "verify.graph",
    "verify.derivative",
    "verify.methods.symbolic",
    "verify.ops.",
    "verify.records",
    "verify.symbolic.",
)
NUMPY_NAMES = {"ndarray", "dtype", "_reconstruct", "_frombuffer", "scalar"}
BUILTINS = {"slice", "frozenset", "set"}


def folder() -> Path | None:
    """Where entries are kept, None where nothing is to be kept.

    >>> import pytest
    >>> with pytest.MonkeyPatch.context() as patch:
    ...     patch.setenv("VERIFY_CACHE", "off")
    ...     print(folder())
    None
    """
    given = os.environ.get(VARIABLE, "")
    if given.lower() == "off":
        return None
    return Path(given).expanduser() if given else platformdirs.user_cache_path("verify-gradients")


def graph_key(what: str, graph: Graph, variables: tuple[str, ...]) -> str:
    """The key of a result that a graph, the op table and the versions decide; empty where the table was changed.

    >>> from verify.reading.expression import graph_from_expressions
    >>> one, same = (graph_from_expressions({"x": ()}, {"f": "x**2"}) for _ in range(2))
    >>> graph_key("symbolic", one, ("x",)) == graph_key("symbolic", same, ("x",))
    True
    """
    if not all(is_as_shipped(node.op) for node in graph.nodes if node.kind == "op"):
        return ""
    nodes = [
        (node.kind, node.op, node.args, dict(node.params), node.shape, node.aligned, node.value, node.stage)
        for node in graph.nodes
    ]
    content = [what, nodes, dict(graph.inputs), dict(graph.stages), graph.outputs, variables, _versions()]
    return hashlib.sha256(json.dumps(content, default=_plain).encode()).hexdigest()


def text_key(what: str, *content: str) -> str:
    """The key of a result that some texts, the op table and the versions decide; empty where the table was changed.

    >>> text_key("run", "case: f") == text_key("run", "case: g")
    False
    """
    if not all(map(is_as_shipped, OPS)):
        return ""
    return hashlib.sha256(json.dumps([what, content, _versions()]).encode()).hexdigest()


def recalled(key: str) -> Any:
    """The entry of that key, None where there is none.

    >>> recalled("") is None
    True
    """
    place = _place(key) if key else None
    found = _read(place) if place else None
    return found[0] if found else None


def keep(key: str, result: Any) -> None:
    """Keeps a result under a key; an empty key is never kept.

    >>> keep("", 3)
    """
    place = _place(key) if key else None
    if place is not None:
        _write(place, (result,))


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


def _place(key: str) -> Path | None:
    home = folder()
    if home is None or not _is_private(home):
        return None
    return home / key[:2] / key


@cache
def _is_private(home: Path) -> bool:
    """Whether the folder is there (it is made if need be) and nobody else may write to it."""
    try:
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = home.stat()
    except OSError:
        return False
    is_own = not hasattr(os, "getuid") or found.st_uid == os.getuid()
    return is_own and not (hasattr(os, "getuid") and found.st_mode & OTHERS_MAY_WRITE)


def _read(place: Path) -> tuple[Any] | None:
    try:
        held = place.read_bytes()
        os.utime(place)  # used just now
    except OSError:
        return None
    try:
        found = _Unpickler(io.BytesIO(zlib.decompress(held))).load()
    except Exception:  # noqa: BLE001 - a torn or foreign pickle raises anything; the result is made anew
        return None
    return found if isinstance(found, tuple) and len(found) == 1 else None


def _write(place: Path, entry: tuple[Any]) -> None:
    """Keeps an entry; a disk that is full or read-only is no reason to stop."""
    try:
        held = zlib.compress(pickle.dumps(entry, protocol=5), FAST)
    except (pickle.PicklingError, AttributeError, TypeError):
        return
    try:
        place.parent.mkdir(mode=0o700, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=place.parent, prefix="new-")
        with os.fdopen(handle, "wb") as file:
            file.write(held)
        Path(name).replace(place)
    except OSError:
        return
    _prune(place.parent.parent)


def _prune(home: Path) -> None:
    """Drops what was used longest ago, where the entries together are too large."""
    entries = []
    for path in home.glob("??/*"):
        try:
            found = path.stat()
        except OSError:  # another run dropped it
            continue
        entries.append((found.st_mtime, found.st_size, path))
    total = sum(size for _, size, _ in entries)
    if total <= MOST_BYTES:
        return
    for _, size, path in sorted(entries):
        path.unlink(missing_ok=True)
        total -= size
        if total <= KEPT * MOST_BYTES:
            return


class _Unpickler(pickle.Unpickler):
    """Looks up what our own entries are made of and nothing else."""

    def find_class(self, module: str, name: str) -> Any:
        """A class of SymPy, an array type or ufunc of NumPy, or a name of the modules whose results are kept."""
        found = super().find_class(module, name)
        own = module.startswith(OWN_MODULES)
        array = module.split(".", maxsplit=1)[0] == "numpy" and (name in NUMPY_NAMES or isinstance(found, np.ufunc))
        symbolic = module.startswith("sympy.") and isinstance(found, type)
        plain = (module == "builtins" and name in BUILTINS) or (module, name) == ("collections", "Counter")
        if own or array or symbolic or plain:
            return found
        raise pickle.UnpicklingError(f"{module}.{name} is no part of an entry")


@cache
def _versions() -> list[str]:
    """Everything but the graph that a result depends on: versions, and this package's own text."""
    text = hashlib.sha256()
    for path in sorted(Path(__file__).parent.rglob("*.py")):
        text.update(path.read_bytes())
    used = (np, sympy, mpmath, flint, scipy)
    machine = [platform.python_version(), platform.machine(), platform.processor()]
    return [*machine, *(package.__version__ for package in used), __version__, text.hexdigest()]


def _plain(value: Any) -> Any:
    """Static parameters as JSON holds them."""
    if isinstance(value, slice):
        return ["slice", value.start, value.stop, value.step]
    if isinstance(value, np.ndarray | np.generic):
        return [str(value.dtype), value.tolist()]
    return repr(value)

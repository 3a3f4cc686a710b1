"""What travels between who reports and who computes: a case at one size as text, and its result as data.

A worker may be a process here or a machine elsewhere. It needs this package and nothing else: no file, no folder, no
object but texts and bytes crosses over. Versions are compared before anything is run, since numbers depend on them.
"""

from __future__ import annotations

import importlib
import json
import platform
import zlib
from base64 import b64decode, b64encode
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

import scipy

from verify.errors import UsageError
from verify.records import CaseResult
from verify.running.cache import source_digest
from verify.running.codec import packed, unpacked
from verify.running.screening import Screening
from verify.running.settings import Settings
from verify.version import __version__

Blocks = Mapping[int, Sequence[Screening]]
"""Number of a block of random points -> what was found in each batch of it."""

DIGITS = 12
"""Digits of the digest of this package's text that a message shows."""


class OtherVersionsError(Exception):
    """A unit that came from a machine with other versions; says in which they differ."""


@dataclass(frozen=True, slots=True)
class Unit:
    """A case at one of its sizes, or a quick look at some of its random points."""

    file: str
    text: str
    """What the file holds."""
    number: int = 0
    """0 for the case's own size, else which of the others."""
    blocks: tuple[int, int] | None = None
    """The blocks of random points that are looked at, from one to before another; None for the case itself."""
    screened: str = ""
    """What was found in blocks of its points, as text; empty where nothing was."""


def versions() -> dict[str, str]:
    """The versions of what the numbers depend on.

    >>> sorted(versions())
    ['flint', 'mpmath', 'numpy', 'python', 'sympy']
    """
    found = {"python": platform.python_version()}
    for name in ("numpy", "sympy", "mpmath", "flint"):
        found[name] = importlib.import_module(name).__version__
    return found


def made_by() -> dict[str, str]:
    """The version of everything that a result depends on, this package's own text included.

    >>> sorted(made_by())
    ['flint', 'mpmath', 'numpy', 'python', 'scipy', 'sympy', 'verify']
    """
    return {**versions(), "scipy": scipy.__version__, "verify": f"{__version__} ({source_digest()[:DIGITS]})"}


def difference(one: Mapping[str, str], other: Mapping[str, str]) -> str:
    """In which versions this machine and another one differ, in words; empty where in none.

    >>> difference({"numpy": "2.1.0", "sympy": "1.14"}, {"numpy": "2.2.0", "sympy": "1.14"})
    'numpy 2.1.0 here and 2.2.0 there'
    """
    names = sorted({*one, *other})
    return ", ".join(
        f"{name} {one.get(name, 'none')} here and {other.get(name, 'none')} there"
        for name in names
        if one.get(name) != other.get(name)
    )


def task_of(unit: Unit, settings: Settings) -> str:
    """A unit as the text that is sent to a worker.

    >>> task_of(Unit("f.yaml", "case: f"), Settings()).startswith('{"versions": {')
    True
    """
    return json.dumps({"versions": made_by(), "unit": asdict(unit), "settings": asdict(settings)})


def asked_of(task: str) -> tuple[Unit, Settings]:
    """The unit and the settings that came as text. Raises OtherVersionsError where they were sent by other versions.

    >>> asked_of(task_of(Unit("f.yaml", "case: f", 1), Settings(points=2)))[0]
    Unit(file='f.yaml', text='case: f', number=1, blocks=None, screened='')
    """
    asked = json.loads(task)
    differs = difference(asked["versions"], made_by())
    if differs:
        raise OtherVersionsError(differs)
    given = asked["settings"]
    methods = None if given["methods"] is None else tuple(given["methods"])
    blocks = asked["unit"]["blocks"]
    unit = Unit(**{**asked["unit"], "blocks": None if blocks is None else tuple(blocks)})
    return unit, Settings(**{**given, "methods": methods})


def as_text(found: Blocks) -> str:
    """What was found in blocks of points, as text that a unit can carry.

    >>> blocks_of(as_text({1: []})), blocks_of("")
    ({1: []}, {})
    """
    return b64encode(zlib.compress(packed(dict(found)))).decode()


def blocks_of(text: str) -> Blocks:
    """What :func:`as_text` made text of.

    >>> blocks_of("")
    {}
    """
    return unpacked(zlib.decompress(b64decode(text))) if text else {}


def answer_of(answer: bytes) -> CaseResult | list[list[Screening]]:
    """What a worker sent, by :func:`verify.running.runner.run_task`. Raises UsageError where its versions are others.

    >>> from verify.running.codec import packed
    >>> answer_of(packed("numpy 2.1.0 here and 2.2.0 there"))
    Traceback (most recent call last):
    verify.errors.UsageError: a worker has other versions, so that its numbers may be others: numpy 2.1.0 here and ...
    """
    said = unpacked(answer)
    if isinstance(said, str):
        message = f"a worker has other versions, so that its numbers may be others: {said}"
        raise UsageError(f"{message}. Install the same on all machines")
    assert isinstance(said, CaseResult | list), "a worker runs units alone"
    return said

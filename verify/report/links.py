"""What cases and variables are called in links and in the names of files: by their own names, whatever these are.

A name may hold anything, separators, control characters and megabytes among it. What a link or a file's name cannot
hold becomes an underscore; where that makes two names one, a digest or a number tells them apart.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from hashlib import sha256
from itertools import takewhile
from pathlib import PurePosixPath

from verify.records import CaseResult

LONGEST = 80
"""Characters of a name in a link, and of a file's name."""

HOMES = ("cases", "shipped_cases")
"""Folders that a case's place is told from."""


def permalinks(cases: Sequence[CaseResult]) -> list[str]:
    """A name for each case: its file as seen from the folder of cases, and its sizes where they are not the file's own.

    >>> permalinks([CaseResult("a b", "cases/layers/a_b.yaml"), CaseResult("a b [n=1]", "cases/layers/a_b.yaml")])
    ['layers/a_b', 'layers/a_b@n=1']
    """
    paths = [_path(case) for case in cases]
    above = zip(*(path[:-1] for path, is_home in paths if not is_home), strict=False)
    shared = sum(1 for _ in takewhile(lambda parts: len(set(parts)) == 1, above))
    keys: list[str] = []
    taken: set[str] = set()
    for case, (path, is_home) in zip(cases, paths, strict=True):
        key = "/".join(path if is_home else path[shared:])
        if key in taken and case.name.endswith("]"):
            key += f"@{word(case.name[case.name.rindex('[') + 1 : -1])}"
        keys += distinct([key], taken)
        taken.add(keys[-1])
    return keys


def _path(case: CaseResult) -> tuple[list[str], bool]:
    """The folders of a case and its name; whether they are told from a folder of cases."""
    if not case.file.lower().endswith((".yaml", ".yml")):
        return [word(case.name)], True
    path = PurePosixPath(case.file.replace("\\", "/")).with_suffix("")
    homes = [i for i, part in enumerate(path.parts[:-1]) if part in HOMES]
    parts = path.parts[homes[-1] + 1 :] if homes else path.parts
    return [word(part) for part in parts if part.strip("./")] or [word(case.name)], bool(homes)


def word(text: str) -> str:
    r"""A text as one word that a link may have as its target.

    >>> word("W1"), word("x\n<y>"), word("../..")
    ('W1', 'x_y_', '_')
    """
    return re.sub(r"[^\w=,@.-]+", "_", text)[:LONGEST].strip(".") or "_"


def distinct(words: Sequence[str], taken: Collection[str] = ()) -> list[str]:
    """The words, with a number behind each that is taken already.

    >>> distinct(["x", "x", "y"], {"y"})
    ['x', 'x-2', 'y-2']
    """
    found: dict[str, None] = {}
    for text in words:
        name, number = text, 1
        while name in found or name in taken:
            number += 1
            name = f"{text}-{number}"
        found[name] = None
    return list(found)


def page_names(keys: Sequence[str]) -> list[str]:
    """A file's name for each of some different names: none leads out of its folder, or is another one in capitals.

    >>> page_names(["layers/batch_norm", "X", "x"])
    ['layers.batch_norm.html', 'X.html', 'x-2d711642.html']
    """
    names: list[str] = []
    taken: set[str] = set()
    for key in keys:
        plain = re.sub(r"[^a-zA-Z0-9_=,@/-]+", "_", key).replace("/", ".")[:LONGEST]
        if plain != key.replace("/", ".") or "." in key or plain.casefold() in taken:
            plain += f"-{sha256(key.encode(errors='surrogatepass')).hexdigest()[:8]}"
        taken.add(plain.casefold())
        names.append(f"{plain}.html")
    return names

"""What CI shows beside the lines of a change: annotations of GitHub Actions, one for each cause of failure.

The runner of GitHub obeys every printed line that begins with two colons, and a case file may be called so. What is
printed for people stands between :func:`unheard` lines, which the runner takes as text.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from os import environ
from secrets import token_hex
from typing import TextIO

from verify.errors import line_of
from verify.records import Run
from verify.report.failures import failures, in_project

MOST_SHOWN = 10
"""GitHub shows no more of one step."""


def annotated(run: Run) -> list[str]:
    """The lines that the runner takes for annotations, the worst causes first.

    >>> from verify.records import CaseResult
    >>> broken = CaseResult("f", "a,b.yaml", problems=("a,b.yaml:3: 100 % wrong",), problem_lines=(3,))
    >>> annotated(Run(cases=(broken,), seed=0, points=64))
    ['::error file=a%2Cb.yaml,line=3,title=verify%3A ERROR::ERROR a,b.yaml:3: 100 %25 wrong']
    """
    return [
        f"::error {_properties(found.file, found.line, found.kind)}::{_data(chr(10).join((found.what, *found.why)))}"
        for found in failures(run.cases, run.command)[:MOST_SHOWN]
    ]


def is_heard() -> bool:
    """Whether a runner of GitHub Actions reads what is printed.

    >>> is_heard() == (environ.get("GITHUB_ACTIONS") == "true")
    True
    """
    return environ.get("GITHUB_ACTIONS") == "true"


@contextmanager
def unheard(stream: TextIO) -> Iterator[None]:
    """What is printed in the block is text to a runner of GitHub, if there is one.

    >>> import sys
    >>> with unheard(sys.stdout):
    ...     print("text")
    text
    """
    token = token_hex(16) if is_heard() else ""
    if token:
        print(f"::stop-commands::{token}", file=stream)
    try:
        yield
    finally:
        if token:
            print(f"\n::{token}::", file=stream)


def _properties(file: str, line: int, kind: str) -> str:
    place = ([f"file={_property(in_project(file))}"] if file else []) + ([f"line={line}"] if line else [])
    return ",".join([*place, f"title={_property(f'verify: {kind}')}"])


def _data(text: str) -> str:
    """A message as the runner reads it: what a terminal would obey is escaped first, lines are kept."""
    lines = "\n".join(map(line_of, text.split("\n")))
    return lines.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(line_of(text)).replace(":", "%3A").replace(",", "%2C")

"""Values by name as a command line has them: ``x=3,y=-4`` or ``W=[[1,2],[3,4]],mode="sum"``."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any

from verify.case.yaml_source import parse_source
from verify.errors import CaseError, UsageError

_NAME = re.compile(r"\s*(\w+)\s*=(.*)", re.DOTALL)


def named_values(texts: Iterable[str], option: str) -> dict[str, Any]:
    """Values by name; each a number, true, false, null, text, or nested lists of numbers.

    Raises UsageError, with the option's name and what was meant.

    >>> named_values(["x=3,y=[1, -2.5]"], "--at")
    {'x': 3, 'y': [1, -2.5]}
    >>> named_values(["n=2,mode=sum"], "--constants")
    {'n': 2, 'mode': 'sum'}
    """
    found: dict[str, Any] = {}
    for text in texts:
        for part in _parts(text):
            match = _NAME.fullmatch(part)
            if match is None:
                raise UsageError(
                    f"{option} takes NAME=VALUE, separated by commas, such as x=3,W=[[1,2],[3,4]]; got {part!r}"
                )
            name = match[1]
            if name in found:
                raise UsageError(f"{option} gives {name!r} twice. Remove one")
            value = _value(match[2].strip(), name, option)
            found[name] = value
    return found


def _parts(text: str) -> Iterator[str]:
    """The text cut at commas that stand in no brackets and no quotes."""
    depth, quoted, start = 0, False, 0
    for i, char in enumerate(text):
        quoted ^= char == '"'
        depth += 0 if quoted else (char in "[{(") - (char in "]})")
        if char == "," and not quoted and depth <= 0:
            yield text[start:i]
            start = i + 1
    yield text[start:]


def _value(text: str, name: str, option: str) -> Any:
    """What the text means in a case file."""
    try:
        value = parse_source(f"value: {text}").data["value"]
    except CaseError as error:
        reason = error.problems[0].message
        raise UsageError(f"{option}: {name}={text[:60]} cannot be read: {reason}. {_FORMS}") from None
    if value is None and text != "null":
        raise UsageError(f"{option}: {name}= has no value. {_FORMS}")
    return value


_FORMS = "Write a number, a list such as [1, 2.5], true, false, null, or text."

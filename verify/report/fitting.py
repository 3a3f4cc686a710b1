"""Tables and text in the width that there is: columns drop out, names are cut, numbers and verdicts never are."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.table import Table
    from rich.text import Text

GAP = 2
"""Blanks between columns."""

SHORTEST_NAME = 24
"""Characters that a name keeps before a column goes that can; then it is cut further."""

LEAST_NAME = 8
"""Characters that it keeps in any case."""


def fitted(
    headings: Sequence[str],
    rows: Sequence[Sequence[Text]],
    width: int,
    *,
    cuts: bool = True,
    right: Sequence[str] = (),
    drop: Sequence[str] = (),
) -> Table:
    """A table without lines that is no wider than ``width``, as far as that can be.

    The columns of ``drop`` go in their order until the rest fits, names of the first column cut, or without ``cuts``
    folded; ``right`` are those on the right. It reads the same in a terminal and in a pipe.

    >>> from rich.text import Text
    >>> row = [Text("a long name of a case, a very long one"), Text("PASS"), Text("1,000")]
    >>> [column.header.plain for column in fitted(["case", "status", "rows"], [row], 34, drop=["rows"]).columns]
    ['case', 'status']
    """
    from rich.table import Table
    from rich.text import Text

    widths = {name: max([Text(name).cell_len, *(row[i].cell_len for row in rows)]) for i, name in enumerate(headings)}
    first, *others = headings
    for name in drop:
        if _taken(widths, first) + min(widths[first], SHORTEST_NAME) <= width:
            break
        widths.pop(name, None)
    room = max(width - _taken(widths, first), LEAST_NAME)
    table = Table(box=None, pad_edge=False, padding=(0, GAP, 0, 0), header_style="dim", show_header=any(headings))
    table.add_column(Text(first), no_wrap=cuts, overflow="fold")
    for name in others:
        if name in widths:
            table.add_column(Text(name), justify="right" if name in right else "left", no_wrap=True)
    for row in rows:
        kept = [cell for name, cell in zip(headings, row, strict=True) if name in widths]
        if cuts and kept[0].cell_len > room:
            kept[0] = kept[0].copy()
            kept[0].truncate(room - 3)
            kept[0].append("...")
        table.add_row(*kept)
    return table


def _taken(widths: dict[str, int], first: str) -> int:
    """What the columns beside the first one take."""
    return sum(GAP + wide for name, wide in widths.items() if name != first)


def wrapped(text: str, width: int | None) -> str:
    """Lines broken between words where they are longer, what follows below their second column; None for no limit.

    Python to paste is broken behind commas, where it stays what it is; a command is left to the terminal.

    >>> print(wrapped("  reason     proved: the subject is off by 0.0332", 40))
      reason     proved: the subject is off
                 by 0.0332
    """
    if width is None:
        return text
    return "\n".join(part for line in text.split("\n") for part in _wrapped_line(line, width))


def _wrapped_line(line: str, width: int) -> list[str]:
    if len(line) <= width:
        return [line]
    body = line.lstrip()
    start = len(line) - len(body)
    label, gap, rest = body.partition("  ")
    if gap and " " not in label:
        start += len(label) + len(gap) + len(rest) - len(rest.lstrip())
        body = rest.lstrip()
    else:
        label, start = "", start + 2
    if body.startswith(("verify ", "#")):
        return [line]
    is_code = body.startswith(("at = ", "check_"))
    # A blank that is none keeps what must not be parted: in code all but those behind commas.
    held = ", ".join(part.replace(" ", "\0") for part in body.split(", ")) if is_code else body
    head = line[: len(line) - len(body)]
    parts = textwrap.wrap(
        held,
        max(width, start + 20),
        initial_indent=head,
        subsequent_indent=" " * start,
        break_long_words=False,
        break_on_hyphens=False,
    )
    return [part.replace("\0", " ") for part in parts]

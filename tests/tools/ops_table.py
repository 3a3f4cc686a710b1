"""The table of ops and methods, made from the matrix that runs each op through each method.

``python tests/tools/ops_table.py`` writes it anew; ``tests/doors/test_matrix.py`` holds cases/OPS.md against it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from verify.ops import OPS
from verify.records import METHODS
from verify.tools.support import YES, Support, support_matrix

DOCUMENT = Path(__file__).resolve().parents[2] / "cases" / "OPS.md"
BEGIN, END = "<!-- ops:begin -->\n", "<!-- ops:end -->"
COMMAND = "python tests/tools/ops_table.py"


def table(cells: Sequence[Support]) -> str:
    """One line an op, in the order of the op table: what each method does with it, and whether it can be proved."""
    found: dict[str, list[str]] = {}
    for cell in cells:
        found.setdefault(cell.op, []).append("yes" if cell.status == YES else cell.status)
    lines = [f"| written as | {' | '.join(METHODS)} | proved |", f"| --- {'| --- ' * (len(METHODS) + 1)}|"]
    for op, statuses in found.items():
        proved = "no" if OPS[op].ball is None else "yes"
        lines.append(f"| `{OPS[op].spelling}` | {' | '.join(statuses)} | {proved} |")
    return "\n".join(lines) + "\n"


def shown(text: str) -> str:
    """The table that a document has now."""
    return text.partition(BEGIN)[2].partition(END)[0]


if __name__ == "__main__":
    text = DOCUMENT.read_text(encoding="utf-8")
    before, _, rest = text.partition(BEGIN)
    DOCUMENT.write_text(before + BEGIN + table(support_matrix()) + END + rest.partition(END)[2], encoding="utf-8")

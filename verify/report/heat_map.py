"""Where in an array it fails: the errors of all entries at one point, a square each, in units of what is allowed."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from verify.errors import line_of
from verify.records import SUBJECT, CaseResult, Row, VariableResult, format_entry, unravel
from verify.report.plot import picture
from verify.report.wording import shape_text

if TYPE_CHECKING:
    import numpy as np
    from markupsafe import Markup
    from numpy.typing import NDArray

MOST_SIDE = 64
"""Squares along a side; of a longer one as many entries share a square, which is that of the worst."""

FEWEST = 3
"""Entries of an array that has a map."""

SMALLEST, LARGEST, WIDEST = 5, 22, 560
"""Sides of a square, and of the whole, in units of the drawing."""

DECADES = (1.0, 1e2, 1e6, math.inf)
"""Ends of the classes of colour, in units of what is allowed."""


def heat_map(case: CaseResult, row: Row) -> Markup:
    """The errors around a row that does not pass; empty where its variable has hardly any others.

    >>> heat_map(CaseResult("f", "f.yaml"), Row("f", "x", (), "gradient", 0, "f.yaml", 1))
    Markup('')
    """
    import numpy as np
    from markupsafe import Markup

    own = [v for v in case.variables if (v.name, v.quantity) == (row.variable, row.quantity)]
    if not own or math.prod(own[0].shape) < FEWEST:
        return Markup("")
    variable = own[0]
    flat, fails = _shares(variable, row.point)
    grid = flat.reshape(-1, variable.shape[-1])
    blocks = [math.ceil(side / MOST_SIDE) for side in grid.shape]
    starts = [np.arange(0, side, block) for side, block in zip(grid.shape, blocks, strict=True)]
    told = np.fmax.reduceat(np.fmax.reduceat(grid, starts[0], axis=0), starts[1], axis=1)
    side = int(min(LARGEST, max(SMALLEST, WIDEST / max(told.shape))))
    kinds = np.searchsorted(DECADES, np.nan_to_num(told, nan=0.0))
    body = []
    for kind in np.unique(kinds).tolist():
        squares = "".join(
            f"M{x * side} {y * side}h{side - 1}v{side - 1}h{1 - side}z" for y, x in np.argwhere(kinds == kind)
        )
        body.append(f'<path class="h{kind}" d="{squares}"/>')
    worst = unravel(int(np.nanargmax(flat)), variable.shape) if not np.isnan(flat).all() else ()
    name = f"{'d' if row.quantity == 'gradient' else ''}{line_of(row.variable)}"
    shared = f" A square is {blocks[0]}x{blocks[1]} entries." if max(blocks) > 1 else ""
    return picture(
        "heat",
        (told.shape[1] * side, told.shape[0] * side),
        f"Errors of {name} over its entries, {shape_text(variable.shape)}, at point {row.point}",
        f"{fails:,} of {flat.size:,} entries do not pass, the worst is {name}{format_entry(worst)}.{shared}",
        Markup("").join(Markup(part) for part in body),  # noqa: S704 - numbers of ours
    )


def _shares(variable: VariableResult, point: int) -> tuple[NDArray[np.float64], int]:
    """The error of each entry in units of what is allowed, NaN where no row was kept; and how many do not pass."""
    import numpy as np

    rows = variable.rows
    here = np.flatnonzero(rows.point == point)
    judged = [SUBJECT] if SUBJECT in rows.errors else [method for method in rows.errors if method != "central"]
    shares = np.full(math.prod(variable.shape), np.nan)
    fails = ~np.asarray(rows.passes, dtype=bool)[here]
    with np.errstate(all="ignore"):
        error = np.fmax.reduce([rows.errors[method][here] / rows.allowed[here] for method in judged] or [fails * 1.0])
    # What does not pass is never shown as if it did, and what does not the other way round.
    shares[rows.entry[here]] = np.where(fails, np.fmax(error, DECADES[0] * 1.001), np.fmin(error, DECADES[0]))
    return shares, int(fails.sum())

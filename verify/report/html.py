"""A run as one self-contained web page: no network, no scripts, everything escaped.

The page is laid out in ``index.html.j2``; this file gives it what to show and how a number or an array looks. Every
text passes :func:`~verify.errors.printable` and then the template's escaping. The page also forbids the browser
to load or run anything, by its content security policy.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from verify.errors import printable
from verify.files import write_text
from verify.records import SUBJECT, CaseResult, Point, Row, Run, StageRecord, Verdict, format_entry, pairs_of
from verify.report.cause import extent, finding_cause, repeating, row_cause
from verify.report.plot import step_plot
from verify.report.select import causes, failure_groups, subject_rows, worst_rows
from verify.report.wording import (
    ABSENT,
    LARGE,
    array_text,
    caveats,
    full,
    largest_difference,
    magnitude,
    place,
    plural,
    point_literal,
    shape_text,
    short,
    summary_of,
)

if TYPE_CHECKING:
    from jinja2 import Environment
    from markupsafe import Markup

TEMPLATE = Path(__file__).with_name("index.html.j2")

MOST_ROWS = 200
"""Rows shown for a case."""

FAILING_ROWS, FEWEST_FAILING = 20_000, 20
"""Rows shown of all cases that do not pass; many share them, with at least so many each."""

PASSING_ROWS, FEWEST_PASSING = 1_000, 4
"""The same of those that pass."""

MOST_GROUPS = 12
"""Kinds of failure of a case whose points are listed."""

MOST_CAUSES = 50
"""Causes of failure that are told in detail."""

MOST_POINTS = 50
"""Points listed for a case."""


@dataclass(frozen=True, slots=True)
class _Section:
    """What the page shows of one case."""

    anchor: str
    case: CaseResult
    checked: int
    rows: Sequence[Row]
    kept: int
    points: Sequence[Point]
    origins: Mapping[int, str]

    @property
    def inputs(self) -> list[StageRecord]:
        return [stage for stage in self.case.stages if not stage.expression]

    @property
    def forms(self) -> list[tuple[str, str, str]]:
        """Variable with entry, formula and how it was found, for each closed form."""
        return [
            (variable.name + entry, formula, variable.form)
            for variable in self.case.variables
            for entry, formula in variable.closed_forms.items()
        ]


def write(run: Run, path: str | Path) -> Path:
    """Writes the run as one HTML file, whole or not at all, and returns its path.

    Raises UsageError where the file cannot be written.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write(Run(cases=(), seed=0, points=64), Path(folder, "index.html")).read_text()[:15]
    '<!doctype html>'
    """
    return write_text(path, render(run))


def render(run: Run) -> str:
    """The page as text.

    >>> "2 rows" in render(Run(cases=(), seed=0, points=64))
    False
    """
    failing = sum(not case.passes for case in run.cases)
    failing_share = max(FEWEST_FAILING, FAILING_ROWS // max(failing, 1))
    passing_share = max(FEWEST_PASSING, PASSING_ROWS // max(len(run.cases) - failing, 1))
    sections = [
        _section(f"case-{i}", case, min(MOST_ROWS, passing_share if case.passes else failing_share))
        for i, case in enumerate(run.cases, start=1)
    ]
    # What fails is read first; within that the order of the run stays.
    sections.sort(key=lambda section: section.case.passes)
    counts, found = run.counts, causes(run.cases)
    return (
        _environment()
        .from_string(TEMPLATE.read_text(encoding="utf-8"))
        .render(
            run=run,
            caveats=caveats(run),
            PAIRS=pairs_of(run.methods),
            pairs_of=pairs_of,
            sections=sections,
            failing=[section for section in sections if not section.case.passes],
            causes=found[:MOST_CAUSES],
            hidden_causes=len(found[MOST_CAUSES:]),
            anchors={section.case.name: section.anchor for section in sections},
            judged=list(subject_rows(run)),
            counts={verdict.value: counts[verdict] for verdict in Verdict if counts[verdict]},
            checked=sum(section.checked for section in sections),
            unread=sum(bool(case.problems) for case in run.cases),
        )
    )


def number(x: float) -> Markup:
    """A number in short, with all its digits where the pointer rests.

    >>> print(number(0.1 + 0.2), number(3.0))
    <span title="0.30000000000000004">0.3</span> 3
    """
    from markupsafe import Markup

    shown, exact = short(x), full(x)
    if math.isnan(x) or exact in (shown, f"{shown}.0"):
        return Markup(shown)  # noqa: S704 - the digits of a float
    return Markup(f'<span title="{exact}">{shown}</span>')  # noqa: S704 - the same


def array(value: Any) -> Markup:
    """A scalar, a small vector or matrix entry by entry, or what a large array is like.

    >>> print(array([1.0, 2.0]))
    <span class="matrix" style="--columns:2"><span>1</span><span>2</span></span>
    """
    import numpy as np
    from markupsafe import Markup

    a = np.asarray(np.nan if value is None else value, dtype=float)
    if a.ndim == 0:
        return number(float(a))
    if np.isnan(a).all():
        return Markup(ABSENT)  # noqa: S704 - a constant of ours
    if a.size > LARGE:
        return Markup('<span class="large">{}</span>').format(summary_of(a))
    if a.ndim > 2:
        return Markup('<span class="nested">{}</span>').format(array_text(a))
    cells = Markup("").join(Markup("<span>{}</span>").format(number(float(x))) for x in a.flat)
    return Markup('<span class="matrix" style="--columns:{}">{}</span>').format(a.shape[-1], cells)


def _section(anchor: str, case: CaseResult, limit: int) -> _Section:
    rows = worst_rows(case, limit)
    referred = {row.point for row in rows} | {group.row.point for group in failure_groups(case)[:MOST_GROUPS]}
    points = [point for point in case.points if point.own] + [p for p in case.points if not p.own and p.id in referred]
    return _Section(
        anchor=anchor,
        case=case,
        checked=sum(variable.checked for variable in case.variables),
        rows=rows,
        kept=sum(len(variable.rows) for variable in case.variables),
        points=points[:MOST_POINTS],
        origins={point.id: point.origin for point in case.points},
    )


def _environment() -> Environment:
    from jinja2 import Environment, StrictUndefined

    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, finalize=_visible
    )
    environment.filters |= {
        "number": number,
        "difference": magnitude,
        "array": array,
        "shape": shape_text,
        "entry": format_entry,
        "full": full,
    }
    environment.globals |= {
        "largest": largest_difference,
        "place": place,
        "plural": plural,
        "paste": _paste,
        "cause": row_cause,
        "extent": extent,
        "finding_cause": finding_cause,
        "repeating": repeating,
        "is_subject": lambda row: SUBJECT in row.values,
        "subject": SUBJECT,
        "step_plot": step_plot,
        "is_number": lambda x: not math.isnan(x),
    }
    return environment


def _paste(row: Row, case: CaseResult) -> str:
    return point_literal(next((point for point in case.points if point.id == row.point), None), case)


def _visible(value: Any) -> Any:
    """Text with its invisible characters shown; what is markup already has been through here."""
    return printable(value) if isinstance(value, str) and not hasattr(value, "__html__") else value

"""A run as web pages, each self-contained: no network, everything escaped.

``page.html.j2`` lays them out; this file gives it what to show and how a number or an array looks. Every text passes
:func:`~verify.errors.printable` and then the template's escaping. The pages also forbid the browser to load or run
anything, by their content security policy, but for the one script of an index, which sorts, filters and follows links
and which a page can be read without.
"""

from __future__ import annotations

import math
import re
from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

from verify.errors import printable
from verify.files import write_text
from verify.records import SUBJECT, CaseResult, Point, Row, Run, format_entry, pairs_of
from verify.report.cause import extent, finding_cause, repeating, row_cause
from verify.report.circuit import circuit_picture
from verify.report.failures import first_cause
from verify.report.heat_map import heat_map
from verify.report.links import distinct, page_names, permalinks, word
from verify.report.plot import step_plot
from verify.report.select import Cause, causes, subject_rows, telling_rows, worst_rows
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
from verify.words import Verdict

if TYPE_CHECKING:
    from jinja2 import Environment
    from markupsafe import Markup

HERE = Path(__file__).parent

STYLE = "page.css"
"""The style sheet; pages of cases share it, every other page holds it."""

PAGE_OF_CASE = "verify, page of a case"
"""What the head of a case's own page says it was made by; nothing else is ever removed beside an index."""

MOST_ROWS = 100
"""Rows shown of a case that do not pass."""

FAILING_ROWS, FEWEST_FAILING = 10_000, 20
"""Such rows of all cases; many share them, with at least so many each."""

PASSING_ROWS = 4
"""Rows shown of a case that passes."""

MOST_COLUMNS = 8
"""Numbers side by side of an array that is written out."""

MOST_CAUSES, FIRST_CAUSES = 50, 20
"""Causes of failure that are told of a case, and above an index."""

MOST_POINTS = 50
"""Points listed for a case."""


@dataclass(frozen=True, slots=True)
class _Section:
    """What a page shows of one case."""

    key: str
    """Its name in links."""
    link: str
    """Where it is shown in full."""
    case: CaseResult
    rows: Sequence[Row]
    causes: Sequence[Cause]
    cause: str
    """Why it does not pass, in one line."""
    points: Sequence[Point]
    ids: Sequence[str]
    """Of each variable: the name that links to it have."""
    hidden_causes: int = 0

    @property
    def failed(self) -> int:
        """How many rows do not pass."""
        return sum(variable.failed for variable in self.case.variables)

    @property
    def kept(self) -> int:
        """How many rows the tables have."""
        return sum(len(variable.rows) for variable in self.case.variables)

    @property
    def origins(self) -> Mapping[int, str]:
        """Point id -> where the point is from."""
        return {point.id: point.origin for point in self.case.points}

    @property
    def forms(self) -> list[tuple[str, str, str]]:
        """Variable with entry, formula and how it was found, for each closed form."""
        return [
            (variable.name + entry, formula, variable.form)
            for variable in self.case.variables
            for entry, formula in variable.closed_forms.items()
        ]


@dataclass(frozen=True, slots=True)
class _Folder:
    """The cases of one folder, those that do not pass first."""

    name: str
    sections: Sequence[_Section]

    @property
    def failing(self) -> int:
        """How many of its cases do not pass."""
        return sum(not section.case.passes for section in self.sections)


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
    """The page as text: an index of the cases where there are several, and then each in full.

    >>> "2 rows" in render(Run(cases=(), seed=0, points=64))
    False
    """
    keys = permalinks(run.cases)
    sections = _sections(run, keys, [f"#{key}" for key in keys], [f"{key}/" for key in keys])
    # What fails is read first; within that the order of the run stays.
    return _page(run, sections, sorted(sections, key=lambda section: section.case.passes), has_index=len(sections) != 1)


def pages(run: Run, folder: str) -> tuple[str, dict[str, str]]:
    """An index of the cases, and what is in the folder that it links to: their pages and the style sheet of these.

    >>> index, files = pages(Run(cases=(), seed=0, points=64), "pages")
    >>> "No case was run." in index, list(files)
    (True, ['page.css'])
    """
    keys = permalinks(run.cases)
    names = page_names(keys)
    links = [f"{folder}/{name}" for name in names]
    sections = _sections(run, keys, links, ["" for _ in keys])
    alone = (_page_of_case(run, replace(section, link="#")) for section in sections)
    return _page(run, sections, [], has_index=True), {STYLE: str(_texts()[0]), **dict(zip(names, alone, strict=True))}


def _page_of_case(run: Run, section: _Section) -> str:
    return _page(replace(run, cases=(section.case,)), [section], [section], home="../index.html")


def _sections(run: Run, keys: Sequence[str], links: Sequence[str], prefixes: Sequence[str]) -> list[_Section]:
    failing = sum(not case.passes for case in run.cases)
    share = min(MOST_ROWS, max(FEWEST_FAILING, FAILING_ROWS // max(failing, 1)))
    return [_section(run, *told, share) for told in zip(keys, links, run.cases, prefixes, strict=True)]


def _section(run: Run, key: str, link: str, case: CaseResult, prefix: str, share: int) -> _Section:
    found = causes([case])
    rows = worst_rows(case, share) if any(variable.failed for variable in case.variables) else telling_rows(case)
    rows = [row for row in rows if not row.passes] or rows[:PASSING_ROWS]
    referred = {row.point for row in rows} | {cause.group.row.point for cause in found[:MOST_CAUSES]}
    points = [] if case.passes else [point for point in case.points if point.own or point.id in referred]
    return _Section(
        key=key,
        link=link,
        case=case,
        rows=rows,
        causes=found[:MOST_CAUSES],
        cause="" if case.passes else first_cause(replace(run, cases=(case,))),
        points=sorted(points, key=lambda point: not point.own)[:MOST_POINTS],
        ids=distinct(
            [prefix + word(variable.name) for variable in case.variables], {"failed", "cases", "judged", "since", key}
        ),
        hidden_causes=len(found[MOST_CAUSES:]),
    )


def _page(
    run: Run, sections: Sequence[_Section], shown: Sequence[_Section], *, has_index: bool = False, home: str = ""
) -> str:
    """One page: with an index of the sections or without, and those in full that are shown."""
    counts, found = run.counts, causes(run.cases) if has_index else []
    folders: dict[str, list[_Section]] = {}
    for section in sorted(sections, key=lambda section: section.case.passes):
        folders.setdefault(section.key.rpartition("/")[0], []).append(section)
    style, script = _texts()
    return (
        _environment()
        .get_template("page.html.j2")
        .render(
            run=run,
            caveats=caveats(run),
            PAIRS=pairs_of(run.methods),
            has_index=has_index,
            home=home,
            shown=shown,
            sections=sections,
            folders=[_Folder(name, members) for name, members in folders.items()],
            failing=[section for section in sections if not section.case.passes],
            causes=found[:FIRST_CAUSES],
            hidden_causes=len(found[FIRST_CAUSES:]),
            links={section.case.name: section.link for section in sections},
            judged=list(subject_rows(run)),
            counts={verdict.value: counts[verdict] for verdict in Verdict if counts[verdict]},
            checked=sum(section.case.checked for section in sections),
            unread=sum(bool(case.problems) for case in run.cases),
            generator=PAGE_OF_CASE if home else "verify",
            style=style,
            style_sheet=STYLE,
            script=script,
            script_hash=b64encode(sha256(script.encode()).digest()).decode(),
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
    if a.size > LARGE or a.shape[-1] > MOST_COLUMNS:
        return Markup('<span class="large">{}</span>').format(summary_of(a))
    if a.ndim > 2:
        return Markup('<span class="nested">{}</span>').format(array_text(a))
    cells = Markup("").join(Markup("<span>{}</span>").format(number(float(x))) for x in a.flat)
    return Markup('<span class="matrix" style="--columns:{}">{}</span>').format(a.shape[-1], cells)


@cache
def _environment() -> Environment:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(HERE),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_visible,
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
        "FIRST_CAUSES": FIRST_CAUSES,
        "pairs_of": pairs_of,
        "is_subject": lambda row: SUBJECT in row.values,
        "subject": SUBJECT,
        "step_plot": step_plot,
        "circuit": circuit_picture,
        "heat_map": heat_map,
        "is_number": lambda x: not math.isnan(x),
    }
    return environment


@cache
def _texts() -> tuple[Markup, Markup]:
    """Style sheet and script, without comments and spaces that only their readers need."""
    from markupsafe import Markup

    style, script = (Path(HERE, name).read_text(encoding="utf-8") for name in (STYLE, "page.js"))
    style = re.sub(r"\s*([{};,])\s+|\s+", lambda gap: gap[1] or " ", re.sub(r"/\*.*?\*/", "", style, flags=re.DOTALL))
    return Markup(style.strip()), Markup(re.sub(r"\n\s*(?:// .*)?", "\n", script).strip())  # noqa: S704 - ours


def _paste(row: Row, case: CaseResult) -> str:
    return point_literal(next((point for point in case.points if point.id == row.point), None), case)


def _visible(value: Any) -> Any:
    """Text with its invisible characters shown; what is markup already has been through here."""
    return printable(value) if isinstance(value, str) and not hasattr(value, "__html__") else value

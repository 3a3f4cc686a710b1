"""The page: well formed, escaped, self-contained, bounded, and it says what the run says."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import sample_run

from verify.errors import UsageError, printable
from verify.records import METHODS, CaseResult, Run
from verify.report.html import FEWEST_PASSING, MOST_ROWS, PASSING_ROWS, array, number, render
from verify.report.html import write as write_html

VOID = {"meta", "br"}
KNOWN = {
    *("html", "head", "meta", "title", "style", "body", "a", "header", "main", "section", "article", "footer"),
    *("h1", "h2", "h3", "h4", "p", "b", "br", "span", "div", "code", "pre", "data", "dl", "dt", "dd", "ul", "li"),
    *("table", "caption", "thead", "tbody", "tr", "th", "td", "details", "summary"),
}


class Page(HTMLParser):
    """A page as a tree is checked: tags in order, attributes, text."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.faults: list[str] = []
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.texts: list[str] = []
        self.rows: list[int] = []
        self.feed(text)
        self.close()
        self.faults += [f"never closed: {tag}" for tag in self.open]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Notes a tag, and that it is one of ours."""
        self.tags.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in KNOWN:
            self.faults.append(f"unknown tag: {tag}")
        if len({name for name, _ in attrs}) != len(attrs):
            self.faults.append(f"attribute twice in {tag}")
        if tag not in VOID:
            self.open.append(tag)
        if tag == "tr" and "details" in self.open:
            self.rows[-1] += 1
        if tag == "details":
            self.rows.append(0)

    def handle_endtag(self, tag: str) -> None:
        """Notes an end tag that does not end the innermost element."""
        if not self.open or self.open.pop() != tag:
            self.faults.append(f"badly nested: {tag} at {self.getpos()}")

    def handle_data(self, data: str) -> None:
        """Gathers text."""
        self.texts.append(data)

    @property
    def text(self) -> str:
        """All text of the page."""
        return "".join(self.texts)

    def attributes(self, name: str) -> Iterator[str]:
        """All values of an attribute."""
        return (attrs[name] for _, attrs in self.tags if name in attrs)


@pytest.fixture(scope="module")
def run() -> Run:
    """Two cases of each kind."""
    return sample_run.sample_run()


@pytest.fixture(scope="module")
def source(run: Run) -> str:
    """The page of the run."""
    return render(run)


@pytest.fixture(scope="module")
def page(source: str) -> Page:
    """The page of the run, parsed."""
    return Page(source)


def test_tags_are_balanced_and_ours(page: Page) -> None:
    """Whatever the names, the page has the structure that the template gives it."""
    assert [] == page.faults


def test_the_checker_sees_faults() -> None:
    """The twin: a stray tag, a foreign tag and an open one are found."""
    assert 3 == len(Page("<p></b><script></script><div>").faults)


def test_hostile_text_is_shown_as_text(page: Page) -> None:
    """Each hostile text is on the page, letter by letter, with invisible characters as escapes."""
    assert [] == [text for text in sample_run.HOSTILE if printable(text) not in page.text]


def test_hostile_text_reaches_no_attribute_but_labels(page: Page) -> None:
    """No element has an event handler, a source or a style that a name gave it."""
    allowed = {
        "class",
        "id",
        "href",
        "title",
        "style",
        "scope",
        "abbr",
        "rowspan",
        "colspan",
        "role",
        "tabindex",
        "value",
    }
    allowed |= {"aria-label", "aria-labelledby", "aria-hidden", "lang", "charset", "name", "content", "http-equiv"}
    assert set() == {name for _, attrs in page.tags for name in attrs} - allowed
    assert [] == [s for s in page.attributes("style") if not re.fullmatch(r"(flex-grow|--columns):\d+", s)]


def test_templates_in_names_are_not_run(page: Page) -> None:
    """A name that looks like the template language stays a name."""
    assert "{{ 7 * 7 }}{% raw %}" in page.text


def test_nothing_is_loaded(source: str, page: Page) -> None:
    """Links stay within the page, styles import nothing, and the browser is told to load nothing."""
    assert set() == {href for href in page.attributes("href") if not href.startswith("#")}
    style = source[source.index("<style>") : source.index("</style>")]
    assert [] == re.findall(r"url\(|@import|https?:", style)
    assert "default-src 'none'; style-src 'unsafe-inline'" in page.attributes("content")


def test_links_lead_somewhere(page: Page) -> None:
    """Every link's target is on the page once, and every label's too."""
    ids = list(page.attributes("id"))
    assert len(ids) == len(set(ids))
    assert set() == {href[1:] for href in page.attributes("href")} - set(ids)
    assert set() == set(page.attributes("aria-labelledby")) - set(ids)


def test_tables_are_accessible(page: Page) -> None:
    """Every table has a caption and every heading cell a scope; the language and viewport are given."""
    tags = [tag for tag, _ in page.tags]
    assert tags.count("table") == tags.count("caption")
    assert [] == [attrs for tag, attrs in page.tags if tag == "th" and "scope" not in attrs]
    assert ["en"] == list(page.attributes("lang"))
    assert "width=device-width, initial-scale=1" in page.attributes("content")


def test_the_outcome_is_at_the_top(run: Run, page: Page) -> None:
    """How many cases do not pass is the heading; a run that passes says so."""
    failing = sum(not case.passes for case in run.cases)
    assert f"{failing} of {len(run.cases)} cases do not pass" in page.text
    right = Page(render(sample_run.right_run())).text
    assert "All 3 cases pass" in right
    assert "What failed" not in right


def test_what_failed_is_told_before_the_cases(source: str) -> None:
    """The failing row's values in full, the suspect, the place and the point to paste stand above the sections."""
    failed = source[source.index('id="failed"') : source.index('<section class="case"')]
    told = Page(failed[failed.index(">") + 1 :]).text
    parts = ("reverse: a wrong local derivative or accumulation", "cases/wrong_engine.yaml:5", "2.0616293653677373")
    assert [] == [part for part in (*parts, "at = {'x': 3.0, 'y': -4.0}", "unknown op 'sigmiod'") if part not in told]


def test_verdicts_are_text(page: Page) -> None:
    """Each verdict is a word, and whether it passes is said without colour."""
    for word in ("PASS", "FAIL", "CONVENTION", "SUBGRADIENT", "UNDECIDED", "ERROR"):
        assert re.search(rf"\b{word}\b", page.text)
    assert ", does not pass" in page.text


def test_stages_show_both_passes(source: str) -> None:
    """The stage table holds the notes' figures: value and gradient of den, and what it sends back."""
    table = source[source.index("Forward and backward pass of staged function") :]
    table = table[: table.index("</table>")]
    for figure in ("1.9525741268224333", "-0.7915934472725935", "1.583186894545187", "3.0179862099620918"):
        assert f'title="{figure}"' in table
    assert "-1/den**2" in table


@pytest.mark.parametrize("rows", [MOST_ROWS - 1, MOST_ROWS, MOST_ROWS + 1, 5000])
def test_rows_are_bounded_and_the_failing_come_first(rows: int) -> None:
    """At most 200 rows a case; a failing row at the very end of a long run is among them, first."""
    codes = np.zeros(rows, np.int8)
    codes[-1] = 4
    values = {m: np.arange(rows, dtype=float) for m in METHODS}
    found = sample_run.rows_of(np.arange(rows), np.zeros(rows, int), values, codes, "at the very end", "somebody")
    case = CaseResult("long", "long.yaml", variables=(sample_run.variable_of("long", "x", found),))
    text = render(sample_run.run_of(case))
    page = Page(text)
    assert [min(rows, MOST_ROWS) + 1] == page.rows
    assert f"{min(rows, MOST_ROWS)} of {rows:,}" in page.text
    body = text[text.index("<summary>") :]
    first = body[body.index("<tbody>") : body.index("</tr>", body.index("<tbody>"))]
    assert "at the very end" in first


def test_many_cases_share_the_page() -> None:
    """Hundreds of cases show fewer rows each, so that the page can still be opened."""
    case = sample_run.large_case("matmul", points=3)
    for count in (20, 600):
        page = Page(render(sample_run.run_of(*[case] * count)))
        assert {max(FEWEST_PASSING, PASSING_ROWS // count) + 1} == set(page.rows[::2])


def test_large_arrays_are_summarised(source: str) -> None:
    """An array of more than 16 entries is one phrase."""
    assert "array 5x10, " in source
    assert 15 == str(array(np.arange(15.0).reshape(5, 3))).count("<span>")
    assert '<span class="large">array 17, 0 to 16</span>' == str(array(np.arange(17.0)))
    assert "-" == str(array([np.nan, np.nan])) == str(array(None))
    assert "nested" in str(array(np.ones((2, 2, 2))))


def test_numbers_keep_their_digits() -> None:
    """The short form carries the full one as a title, where they differ."""
    assert '<span title="0.1234567890123">0.123457</span>' == str(number(0.1234567890123))
    assert ("2", "-", "inf") == tuple(str(number(x)) for x in (2.0, float("nan"), float("inf")))


def test_the_page_does_not_depend_on_the_moment(run: Run, source: str) -> None:
    """The same run gives the same bytes."""
    assert source == render(run)


def test_an_empty_run_has_a_page() -> None:
    """Without cases the page says so."""
    page = Page(render(Run(cases=(), seed=0, points=0)))
    assert ([], True) == (page.faults, "No case was run." in page.text)


def test_the_file_is_written_whole(tmp_path: Path) -> None:
    """The file is the page; a path that is a folder is refused."""
    run = sample_run.right_run()
    assert render(run) == write_html(run, tmp_path / "a" / "index.html").read_text(encoding="utf-8")
    with pytest.raises(UsageError, match="got a folder"):
        write_html(run, tmp_path)


def test_cases_that_were_not_checked_again_are_counted() -> None:
    """A page says where its numbers are those of an earlier run, and says nothing where they are not."""
    case = CaseResult("f", "f.yaml", unchanged=True)
    assert "1 case unchanged since the last pass" in render(Run(cases=(case,), seed=0, points=4))
    assert "unchanged" not in render(Run(cases=(replace(case, unchanged=False),), seed=0, points=4))

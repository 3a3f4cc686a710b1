"""The page: well formed, escaped, self-contained, bounded, and it says what the run says."""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Iterator
from dataclasses import replace
from hashlib import sha256
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import sample_run

from verify.errors import UsageError, printable
from verify.records import METHODS, CaseResult, Comparison, Run
from verify.report.html import MOST_ROWS, PAGE_OF_CASE, PASSING_ROWS, array, number, pages, render
from verify.report.html import write as write_html
from verify.report.pages import write as write_pages

VOID = {"meta", "br", "input", "link"}
KNOWN = {
    *("html", "head", "meta", "title", "style", "body", "a", "header", "main", "section", "article", "footer"),
    *("h1", "h2", "h3", "h4", "p", "b", "br", "span", "div", "code", "pre", "data", "dl", "dt", "dd", "ul", "li"),
    *("table", "caption", "thead", "tbody", "tr", "th", "td", "details", "summary"),
    *("script", "link", "label", "input", "output"),
    *("svg", "desc", "path", "rect", "text", "figure", "figcaption"),
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
        if tag == "tr":
            self.rows[-1] += 1
        if tag == "table":
            self.rows.append(-1)  # the heading

    def handle_endtag(self, tag: str) -> None:
        """Notes an end tag that does not end the innermost element."""
        if not self.open or self.open.pop() != tag:
            self.faults.append(f"badly nested: {tag} at {self.getpos()}")

    def handle_data(self, data: str) -> None:
        """Gathers text."""
        if not self.open or self.open[-1] not in ("script", "style"):
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
    assert 3 == len(Page("<p></b><iframe></iframe><div>").faults)


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
        "data-key",
        "type",
        "hidden",
        "placeholder",
        "autocomplete",
        "spellcheck",
    }
    allowed |= {"viewbox", "width", "d", "x", "y", "height", "rx"}
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
    script = source[source.index("<script>") + 8 : source.index("</script>")]
    digest = b64encode(sha256(script.encode()).digest()).decode()
    rules = f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'"
    assert rules in page.attributes("content")
    assert (1, True) == (source.count("<script"), len(script) < 5_000)


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
    """Cause, place and what repeats it stand above the cases; values in full, suspect and the point with the case."""
    failed = source[source.index('id="failed"') : source.index('<section id="cases"')]
    told = Page(failed[failed.index(">") + 1 :]).text
    parts = ("reverse: a wrong local derivative or accumulation", "cases/wrong_engine.yaml:5", "unknown op 'sigmiod'")
    assert [] == [part for part in (*parts, "verify run cases/wrong_engine.yaml") if part not in told]
    case = source[source.index('<section class="case" id="wrong_engine"') :]
    told = Page(case[: case.index("</section>")]).text
    assert [] == [part for part in ("2.0616293653677373", "at = {'x': 3.0, 'y': -4.0}", "suspect") if part not in told]
    assert told.index("suspect") < told.index("Function")


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
@pytest.mark.parametrize("failing", [0, 1, 5000])
def test_rows_are_bounded_and_none_that_passes_stands_among_those_that_fail(rows: int, failing: int) -> None:
    """At most 200 failing rows, one at the very end of a long run among them; of what passes, the worst few alone."""
    codes = np.zeros(rows, np.int8)
    codes[rows - min(failing, rows) :] = 4
    values = {m: np.arange(rows, dtype=float) for m in METHODS}
    found = sample_run.rows_of(np.arange(rows), np.zeros(rows, int), values, codes, "at the very end", "somebody")
    case = CaseResult("long", "long.yaml", variables=(sample_run.variable_of("long", "x", found),))
    text = render(sample_run.run_of(case))
    title = "Rows that do not pass" if failing else "Worst rows"
    table = text[text.index(f"<h3>{title}</h3>") :]
    page = Page(table[table.index("<table") : table.index("</table>") + 8])
    assert ([], True) == (page.faults, page.rows[0] <= PASSING_ROWS or failing > 0)
    if failing:
        assert [min(rows, failing, MOST_ROWS)] == page.rows
        assert page.text.count("at the very end") == page.rows[0]
        assert f"{page.rows[0]} of {min(rows, failing):,}" in page.text


def pages_of(*cases: CaseResult) -> tuple[str, dict[str, str]]:
    """Index and pages of a run, the style sheet left out."""
    index, files = pages(sample_run.run_of(*cases), "pages")
    return index, {name: text for name, text in files.items() if name.endswith(".html")}


def test_an_index_links_to_a_page_for_each_case(run: Run) -> None:
    """Whatever the names: every link leads to a page, every page is linked to, and both are well formed."""
    index, files = pages_of(*run.cases)
    assert len(files) == len(run.cases)
    page = Page(index)
    assert [] == page.faults
    assert set(files) == {href.removeprefix("pages/") for href in page.attributes("href") if not href.startswith("#")}
    for text in files.values():
        one = Page(text)
        ids = list(one.attributes("id"))
        assert ([], len(set(ids))) == (one.faults, len(ids))
        links = [href for href in one.attributes("href") if href not in ("#", "page.css", "../index.html")]
        assert set() == {href.removeprefix("#") for href in links} - set(ids)
        assert f'content="{PAGE_OF_CASE}"' in text[:400]
        assert "<script" not in text


def test_what_changed_since_an_earlier_run_is_told(run: Run) -> None:
    """Newly failing, newly passing, slower: each a link where the case is still there; nothing where nobody asked."""
    name = run.cases[0].name
    changed = Comparison("old <run>.json", (name,), ("gone",), ((name, 0.5, 2.25),))
    told = render(replace(run, compared=changed))
    section = told[told.index('id="since"') : told.index('<section id="cases"')]
    text = Page(section[section.index(">") + 1 :]).text
    assert [] == [part for part in ("old <run>.json", name, "gone", "2.2 s, was 0.5 s") if part not in text]
    assert 2 == section.count("<a href=")
    assert 'id="since"' not in render(run)


def test_an_index_stays_small() -> None:
    """A line for each case, whatever it holds: half a kilobyte, a page's size for six hundred."""
    case = sample_run.large_case("matmul", points=3)
    index, files = pages_of(*[replace(case, file=f"cases/f{i % 7}/c{i}.yaml") for i in range(600)])
    assert len(index) < 600 * 600 + 30_000
    assert "f3/c3" in index
    assert len(files) == 600


def test_names_of_files_stay_in_their_folder() -> None:
    """Separators, dots, control characters, megabytes: each case has a file, and no two differ in capitals alone."""
    names = [
        "../../etc/passwd",
        "..",
        "/",
        "a\\..\\b",
        "x\0y",
        "\n",
        "A",
        "a",
        "é",
        "con/..",
        "x" * 10_000,
        ".",
        "",
        " ",
    ]
    names += ["x" * 9_999, "a.b", "a/b", "%2e%2e%2f", "\ud800", "\u202egnp.exe", "matmul [m=1, k=3]"]
    for made in (CaseResult(name, name) for name in names), (CaseResult(name, f"{name}.yaml") for name in names):
        _, files = pages_of(*made)
        assert len(names) == len({name.casefold() for name in files})
        assert [] == [
            name for name in files if not re.fullmatch(r"[a-zA-Z0-9_=,@-][a-zA-Z0-9_=,@.-]{0,100}\.html", name)
        ]


def test_links_are_names(run: Run) -> None:
    """A case is `#folder/file`, its variable `#folder/file/variable`, or `#variable` on the case's own page."""
    case = replace(run.cases[0], file="/home/me/cases/layers/staged.yaml")
    other = replace(case, name="staged [n=1]")
    whole = list(Page(render(sample_run.run_of(case, other))).attributes("id"))
    assert {"layers/staged", "layers/staged/x", "layers/staged@n=1/x"} <= set(whole)
    index, files = pages_of(case, other)
    assert {"layers/staged", "layers/staged@n=1"} <= set(Page(index).attributes("id"))
    assert {"x", "layers/staged"} <= set(Page(files["layers.staged.html"]).attributes("id"))


def test_pages_of_an_earlier_run_do_not_stay(tmp_path: Path) -> None:
    """Only our own files are removed: a page of somebody else's, a link and a folder stay."""
    write_pages(sample_run.right_run(), tmp_path)
    old = {path.name for path in (tmp_path / "pages").glob("*.html")}
    (tmp_path / "pages" / "mine.html").write_text("<p>mine</p>", encoding="utf-8")
    (tmp_path / "pages" / "link.html").symlink_to(tmp_path / "pages" / min(old))
    (tmp_path / "pages" / "folder.html").mkdir()
    one = sample_run.large_case("another", points=3)
    assert tmp_path / "index.html" == write_pages(sample_run.run_of(one), tmp_path)
    left = {path.name for path in (tmp_path / "pages").iterdir()}
    assert left == {"another.html", "page.css", "mine.html", "link.html", "folder.html"}
    (tmp_path / "pages" / "page.css").unlink()
    (tmp_path / "pages" / "page.css").mkdir()
    with pytest.raises(UsageError, match="got a folder"):
        write_pages(sample_run.run_of(one), tmp_path)


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

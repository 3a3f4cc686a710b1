"""The pages in a real browser: what is clicked does what it says, nothing is refused or fetched, nothing sticks out."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import pytest
import sample_run

from verify.records import CaseResult
from verify.report.html import write as write_html
from verify.report.pages import write as write_pages

api = pytest.importorskip("playwright.sync_api", reason="the extra `browser` is not installed")
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)

WIDE, NARROW = {"width": 1400, "height": 900}, {"width": 390, "height": 844}


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Chromium without a window, that of the system or Playwright's own."""
    with api.sync_playwright() as driver:
        try:
            started = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        except api.Error as error:
            pytest.skip(f"no Chromium: {str(error).splitlines()[0]}")
        yield started
        started.close()


def cases() -> list[CaseResult]:
    """Cases of every kind in two folders, among them some whose names are attacks."""
    found = []
    for number, case in enumerate(sample_run.sample_run().cases):
        folder = "layers" if number % 2 else "notes"
        found.append(replace(case, file=f"cases/{folder}/{Path(case.file).name}"))
    return found


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a report with its index and pages, and the same in one file."""
    folder = tmp_path_factory.mktemp("site")
    run = sample_run.run_of(*cases())
    write_pages(run, folder)
    write_html(run, folder / "whole.html")
    return folder


def places(site: Path) -> list[Path]:
    """Index, single file and the pages of cases."""
    return [site / "index.html", site / "whole.html", *sorted((site / "pages").glob("*.html"))]


class Opened:
    """A page that is open, with all that the browser complained of or asked for."""

    def __init__(self, browser: Any, place: Path, fragment: str = "", **options: Any) -> None:
        self.context = browser.new_context(**{"viewport": WIDE, **options})
        self.page = self.context.new_page()
        self.said: list[str] = []
        self.asked: list[str] = []
        self.page.on("console", lambda message: self.said.append(message.text))
        self.page.on("pageerror", lambda error: self.said.append(str(error)))
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.goto(place.as_uri() + fragment)

    def __enter__(self) -> Self:
        """Itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Closes it."""
        self.context.close()

    def rows(self) -> list[str]:
        """The names of the cases that can be seen, in their order."""
        found: list[str] = self.page.eval_on_selector_all(
            "tr[data-key]", "rows => rows.filter(row => row.checkVisibility()).map(row => row.dataset.key)"
        )
        return found

    def column(self, number: int) -> list[str]:
        """The text of a column."""
        cells = self.page.eval_on_selector_all(
            "tr[data-key]", f"rows => rows.filter(r => r.checkVisibility()).map(r => r.cells[{number}].textContent)"
        )
        return [str(cell).strip() for cell in cells]


def test_nothing_is_refused_and_nothing_fetched_but_the_style(browser: Any, site: Path) -> None:
    """No script error, no breach of the content security policy, no address outside of the report."""
    with Opened(browser, site / "index.html") as opened:
        for place in places(site):
            opened.page.goto(place.as_uri())
            assert opened.page.evaluate("getComputedStyle(document.body).maxWidth") != "none"  # the style is there
        assert [] == opened.said
        known = {*places(site), site / "index.html", site / "pages" / "page.css"}
        assert set(opened.asked) <= {place.as_uri() for place in known}


def test_a_script_that_is_not_ours_is_refused(browser: Any, site: Path, tmp_path: Path) -> None:
    """The twin: a page that somebody put a script into says so, and does not run it."""
    text = (site / "index.html").read_text(encoding="utf-8")
    place = tmp_path / "index.html"
    place.write_text(text.replace("</body>", "<script>document.title = 'gone'</script></body>"), encoding="utf-8")
    with Opened(browser, place) as opened:
        assert "Content Security Policy" in "".join(opened.said)
        assert opened.page.title() != "gone"


@pytest.mark.parametrize("name", ["index.html", "whole.html"])
def test_the_index_filters_and_sorts(browser: Any, site: Path, name: str) -> None:
    """Words are looked for in name, folder and verdict; a heading sorts by its numbers, and once more turns round."""
    with Opened(browser, site / name) as opened:
        page, every = opened.page, opened.rows()
        assert len(every) == len(cases())
        page.get_by_role("searchbox").fill("layers MATMUL")
        assert ["layers/matmul_small"] == opened.rows()
        assert f"1 of {len(every)} shown" in page.inner_text("output")
        page.get_by_role("searchbox").fill("")
        page.get_by_label("only what fails").check()
        failing = opened.rows()
        assert sum(not case.passes for case in cases()) == len(failing) < len(every)
        page.get_by_label("only what fails").uncheck()
        page.get_by_role("button", name="rows").click()
        counts = [int(text.replace(",", "")) for text in opened.column(2)]
        assert sorted(counts, reverse=True) == counts
        page.get_by_role("button", name="rows").click()
        assert sorted(counts) == [int(text.replace(",", "")) for text in opened.column(2)]
        assert "ascending" == page.get_attribute("th:has-text('rows')", "aria-sort")
        page.get_by_role("button", name="case").click()
        assert sorted(every) == sorted(opened.rows())
        assert ["layers", "notes", "elsewhere"] == [
            text.split()[0] for text in page.locator("tr.folder").all_inner_texts()
        ]


def test_a_link_is_a_name(browser: Any, site: Path) -> None:
    """`#folder/case/variable` on the index leads to the variable on the case's page, in one file to the same place."""
    with Opened(browser, site / "index.html", "#notes/staged_function/x") as opened:
        opened.page.wait_for_url("**/pages/notes.staged_function.html#x")
        assert "x" == opened.page.evaluate("document.querySelector(':target').id")
        assert "staged function" in opened.page.inner_text("h1")
        opened.page.get_by_role("link", name="all cases").first.click()
        opened.page.wait_for_url("**/index.html")
        opened.page.get_by_role("link", name="staged function").first.click()
        opened.page.wait_for_url("**/pages/notes.staged_function.html")
    with Opened(browser, site / "whole.html", "#notes/staged_function/x") as opened:
        assert "notes/staged_function/x" == opened.page.evaluate("document.querySelector(':target').id")
    with Opened(browser, site / "index.html", "#nobody/has/this%E0%A4%A") as opened:
        assert [] == opened.said


def test_everything_is_there_without_scripts(browser: Any, site: Path) -> None:
    """The list is whole and its links lead on; there is no box that does nothing."""
    with Opened(browser, site / "index.html", java_script_enabled=False) as opened:
        assert len(cases()) == opened.page.locator("tr[data-key]:visible").count()
        assert 0 == opened.page.locator("input:visible").count()
        opened.page.get_by_role("link", name="staged function").first.click()
        opened.page.wait_for_url("**/pages/notes.staged_function.html")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_no_page_is_wider_than_its_window(browser: Any, site: Path, scheme: str) -> None:
    """Tables scroll in their frames; the page itself does not, down to a telephone."""
    for size in (WIDE, NARROW):
        with Opened(browser, site / "index.html", viewport=size, color_scheme=scheme) as opened:
            for place in places(site):
                opened.page.goto(place.as_uri())
                assert opened.page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0, place

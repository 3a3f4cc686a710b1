"""The case library: every file has a source and a name of its own, every folder is explained, figures are plenty."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest

from verify.case.case import Case, load_case
from verify.case.files import find_case_files, shipped_cases

README = Path(__file__).parents[2] / "cases" / "README.md"
FILES = find_case_files([shipped_cases()])


@pytest.fixture(scope="module")
def library() -> dict[Path, Case]:
    """Every shipped case, read but not run: the plugin runs each once as a test of its own."""
    return {path: load_case(path) for path in FILES}


def folders_in(text: str) -> dict[str, int]:
    """The folders of the table in cases/README.md with the number of cases that it says each has."""
    _, _, section = text.partition("## The cases that come with it\n")
    rows = re.findall(r"^\| `(\w+)` \| .{20,} \| (\d+) \|$", section.partition("\n## ")[0], flags=re.MULTILINE)
    return {folder: int(count) for folder, count in rows}


def repeated(names: list[str]) -> list[str]:
    """Names that stand there more than once."""
    return [name for name, count in Counter(names).items() if count > 1]


def test_the_document_explains_every_folder_and_counts_its_cases() -> None:
    """A line for each folder, no more and no fewer."""
    assert Counter(path.parent.name for path in FILES) == folders_in(README.read_text(encoding="utf-8"))


def test_a_folder_without_a_line_is_noticed() -> None:
    """The twin: the table that is read is the one of its section, row by row."""
    section = "## The cases that come with it\n\n| `notes` | functions of the course notes | 7 |\n"
    assert {"notes": 7} == folders_in(f"# Top\n{section}\n## Next\n| `a` | another table of the page | 1 |\n")


def test_no_two_cases_go_by_one_name(library: dict[Path, Case]) -> None:
    """Neither by the file nor by what the case is called, so that either finds it."""
    assert [] == repeated([path.stem for path in library])
    assert [] == repeated([case.name for case in library.values()])
    assert ["a"] == repeated(["a", "b", "a"])


def test_every_case_says_where_it_comes_from(library: dict[Path, Case]) -> None:
    """The source is there with or without figures."""
    assert [] == [str(path) for path, case in library.items() if not case.source]


def test_there_are_at_least_eighty_cases_and_most_have_figures(library: dict[Path, Case]) -> None:
    """Figures from outside stand in nearly every case; only functions whose inputs are drawn have none."""
    with_figures = [path for path, case in library.items() if any(point.expected for point in case.own_points)]
    assert len(library) >= 80
    assert len(with_figures) >= 0.9 * len(library)


def test_figures_name_what_made_them(library: dict[Path, Case]) -> None:
    """A library with its version, or a publication with its figures: never this program."""
    origin = re.compile(r"CS231n|figures: mpmath [\d.]+ at \d+ digits|(figures|gradients): torch [\d.]+")
    assert [] == [
        str(path)
        for path, case in library.items()
        if any(point.expected for point in case.own_points) and not origin.search(case.source)
    ]

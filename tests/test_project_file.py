"""pyproject.toml and the folder of tests: what they name is there, what is used is named, and each has its reason."""

from __future__ import annotations

import re
import sys
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest
from test_structure import FLOORS, ROOT, imports, sources

TEXT = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
PROJECT: Mapping[str, Any] = tomllib.loads(TEXT)

IMPORTED_AS = {"python-flint": "flint", "ruamel.yaml": "ruamel"}
"""Distribution -> package, where they are not called alike."""

APART = {"whole", "tools"}
"""Folders of tests that mirror no floor: what runs from end to end, and what several tests share."""


def without_file(patterns: Iterable[str]) -> list[str]:
    """Those patterns that no file has."""
    return [pattern for pattern in patterns if not any(ROOT.glob(pattern))]


def packages(requirements: Iterable[str]) -> set[str]:
    """What is imported of requirements such as ``ruamel.yaml>=0.18``."""
    names = [re.split(r"[<>=!~\[ ;]", requirement)[0] for requirement in requirements]
    return {IMPORTED_AS.get(name, name) for name in names}


def without_reason(text: str, entries: Iterable[str]) -> list[str]:
    """Those entries of lists that stand somewhere without a comment beside them."""
    return [entry for entry in entries if re.search(rf'"{re.escape(entry)}"[\],]*(?!\s*# \S|[\],])', text)]


def used() -> set[str]:
    """The packages of others that ours imports, wherever in a file it does."""
    names = {name.split(".")[0] for text in sources().values() for _, name, _ in imports(text)}
    return names - set(sys.stdlib_module_names) - {"verify", ""}


def test_exceptions_to_the_style_are_of_files_that_there_are() -> None:
    """A file that moved takes its exception along."""
    assert without_file(PROJECT["tool"]["ruff"]["lint"]["per-file-ignores"]) == []
    assert without_file(["tests/*", "tests/nowhere.py"]) == ["tests/nowhere.py"]


def test_each_dependency_is_used_and_each_package_that_is_used_is_one() -> None:
    """Those that everybody needs, and those of the extras."""
    needed = packages(PROJECT["project"]["dependencies"])
    extras = {name for extra in PROJECT["project"]["optional-dependencies"].values() for name in packages(extra)}
    assert needed - used() == set()
    assert used() - needed - extras == set()


def test_requirements_are_taken_apart() -> None:
    """The twin of the test above: names alone, as they are imported."""
    assert packages(["numpy>=2.0", "ruamel.yaml>=0.18", "x[y]==1"]) == {"numpy", "ruamel", "x"}
    assert {"numpy", "flint"} <= used()


def test_each_dependency_and_each_rule_left_out_has_its_reason() -> None:
    """In a few words beside it."""
    project, ruff = PROJECT["project"], PROJECT["tool"]["ruff"]["lint"]
    requirements = [
        *project["dependencies"],
        *(x for extra in project["optional-dependencies"].values() for x in extra),
    ]
    assert without_reason(TEXT, [*requirements, *ruff["ignore"]]) == []
    assert without_reason(
        'a = [\n    "x>=1",  # why\n    "y>=2",\n]\nb = ["z>3"]  # why\n', ["x>=1", "y>=2", "z>3"]
    ) == ["y>=2"]


@pytest.mark.parametrize("folder", sorted({path.parent.name for path in Path(__file__).parent.glob("*/*.py")}))
def test_the_tests_are_mirrored_to_the_house(folder: str) -> None:
    """A folder of tests is called as the floor that it is about."""
    assert folder in {*FLOORS, *APART}

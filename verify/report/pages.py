"""A run as a folder of pages: an index, and beside it one page a case.

The pages of cases are written first and the index last, each whole or not at all: whoever follows a link of the index
finds its page. Pages of cases that an earlier run had and this one has not are removed then.
"""

from __future__ import annotations

from pathlib import Path

from verify.files import write_text
from verify.records import Run
from verify.report.html import PAGE_OF_CASE, pages

FOLDER = "pages"
"""Where the pages of cases are, beside the index."""


def write(run: Run, folder: str | Path) -> Path:
    """Writes ``index.html`` and the pages of the cases, and returns the index's path.

    Raises UsageError where one of them cannot be written.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write(Run(cases=(), seed=0, points=64), folder).read_text()[:15]
    '<!doctype html>'
    """
    index, files = pages(run, FOLDER)
    place = Path(folder, FOLDER)
    for name, text in files.items():
        write_text(place / name, text)
    written = write_text(Path(folder, "index.html"), index)
    _remove_others(place, set(files))
    return written


def _remove_others(place: Path, names: set[str]) -> None:
    """Removes pages of an earlier run, and nothing else."""
    for path in place.glob("*.html"):
        if path.name not in names and path.is_file() and not path.is_symlink() and _is_ours(path):
            path.unlink(missing_ok=True)


def _is_ours(path: Path) -> bool:
    with path.open(encoding="utf-8", errors="replace") as file:
        return f'name="generator" content="{PAGE_OF_CASE}"' in file.read(400)

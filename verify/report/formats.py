"""The formats that a run can be written in: one line here and one file beside it for each.

The command line makes an option of every line. This file is loaded by ``verify --help``: it imports nothing until a
report is written.
"""

from __future__ import annotations

TYPE_CHECKING = False  # typing itself takes longer to import than this file; checkers read the name all the same
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from verify.records import Run


class Format:
    """A format: what its option says, the function ``(run, path)`` that writes it, and where.

    ``files`` are the names of what is written to a folder; a format without writes one file. ``usual`` is where in the
    folder of reports it goes if nobody asks for a format; None for one that is not written then. ``beside`` matches
    further files of the folder, as many as there are. A format that ``is_whole`` has all rows that were kept,
    whatever is asked.
    """

    def __init__(
        self,
        told: str,
        module: str,
        *,
        files: tuple[str, ...] = (),
        usual: str | None = None,
        beside: str = "",
        is_whole: bool = False,
    ) -> None:
        self.told, self.module, self.is_whole = told, module, is_whole
        self.files, self.usual, self.beside = files, usual, beside

    def write(self, run: Run, path: Path) -> list[Path]:
        """Writes a run there; returns the files. Raises UsageError where it cannot be written."""
        import importlib

        importlib.import_module(self.module).write(run, path)
        return self.places(path)

    def places(self, path: Path) -> list[Path]:
        """The files that are written where this path is given."""
        return [path / name for name in self.files] or [path]


FORMATS: Mapping[str, Format] = {
    "csv": Format(
        "write results.csv, points.csv and summary.csv here",
        "verify.report.csv",
        files=("results.csv", "points.csv", "summary.csv"),
        usual="",
    ),
    "pages": Format(
        "write the report as a page with all cases, index.html, and one for each of them here",
        "verify.report.pages",
        files=("index.html",),
        usual="",
        beside="pages/*",
    ),
    "html": Format("write the report as one self-contained page, for a few cases", "verify.report.html"),
    "parquet": Format(
        "write the tables of --csv as Parquet here, which needs pyarrow",
        "verify.report.parquet",
        files=("results.parquet", "points.parquet", "summary.parquet"),
    ),
    "json": Format("write everything as JSON", "verify.report.json", is_whole=True),
    "junit": Format("write a JUnit file, a test for each case", "verify.report.junit", is_whole=True),
    "markdown": Format("write a summary in Markdown", "verify.report.markdown", is_whole=True),
    "sarif": Format("write what does not pass as SARIF 2.1.0", "verify.report.sarif", is_whole=True),
}
"""By the name of the option."""

UNFINISHED = ".verify-run"
"""How the file of a run that is not done ends, beside its first report."""

Target = tuple[Format, "Path"]
"""A report that is to be written, and where."""


def asked_targets(named: Mapping[str, str | None]) -> list[Target]:
    """The reports that were asked for by name. Raises UsageError for an empty name, or as :func:`distinct` does.

    >>> [str(path) for _, path in asked_targets({"csv": None, "html": "page.html"})]
    ['page.html']
    """
    from pathlib import Path

    from verify.errors import UsageError

    asked = {kind: place for kind, place in named.items() if kind in FORMATS and place is not None}
    for kind, place in asked.items():
        if not place:
            wanted = "folder" if FORMATS[kind].files else "file"
            raise UsageError(f"--{kind} needs the name of a {wanted}, and got an empty one")
    return distinct([(FORMATS[kind], Path(place)) for kind, place in asked.items()])


def distinct(targets: list[Target]) -> list[Target]:
    """The same reports, each once. Raises UsageError where one would replace another.

    >>> from pathlib import Path
    >>> distinct(usual_targets("reports") + [(FORMATS["html"], Path("reports/index.html"))])
    Traceback (most recent call last):
    ...
    verify.errors.UsageError: --pages and --html both write reports/index.html, and one would replace the ...
    """
    from os.path import realpath  # of a link that goes round in circles too, which is told elsewhere

    from verify.errors import UsageError

    options = {id(kind): option for option, kind in FORMATS.items()}
    seen: dict[str, str] = {}
    for kind, path in targets:
        for place in kind.places(path):
            first, second = seen.setdefault(realpath(place), options[id(kind)]), options[id(kind)]
            if first != second:
                both = f"--{first} and --{second} both write {place}, and one would replace the other"
                raise UsageError(f"{both}. Name another {'folder' if kind.files else 'file'} for one of them")
    return list(dict.fromkeys(targets))


def usual_targets(folder: str) -> list[Target]:
    """The reports that are written to a folder if nobody asks for others. Raises UsageError for an empty name.

    >>> [path.name for _, path in usual_targets("reports")]
    ['reports', 'reports']
    """
    from pathlib import Path

    from verify.errors import UsageError

    if not folder:
        raise UsageError("--reports needs the name of a folder, and got an empty one")
    return [(kind, Path(folder) / kind.usual) for kind in FORMATS.values() if kind.usual is not None]


def make_sure_of(targets: list[Target]) -> None:
    """Makes the folders that reports go to. Raises UsageError where a report could not be written.

    >>> make_sure_of(usual_targets("/dev/null"))
    Traceback (most recent call last):
    ...
    verify.errors.UsageError: cannot write to the report folder /dev/null: File exists. Give another, or make ...
    """
    import tempfile

    from verify.errors import UsageError
    from verify.files import target_of

    for kind, path in targets:
        target = path if kind.files else target_of(path)
        if target is None:
            continue  # a pipe or a terminal
        for name in kind.files:
            target_of(path / name)
        folder = target if kind.files else target.parent
        try:
            folder.mkdir(parents=True, exist_ok=True)
            tempfile.TemporaryFile(dir=folder).close()
        except OSError as error:
            message = f"cannot write to the report folder {folder}: {error.strerror}. Give another, or make it writable"
            raise UsageError(message) from error
        if not kind.files and target.is_dir():
            message = f"cannot write the report {path}: it is a folder. Give a file name, such as {path / 'index.html'}"
            raise UsageError(message)


def earlier_reports(targets: list[Target]) -> list[Path]:
    """The files that reports would take the place of.

    >>> earlier_reports(usual_targets("nowhere"))
    []
    """
    return [place for kind, path in targets for place in kind.places(path) if place.is_file()]


def all_files(targets: list[Target]) -> list[Path]:
    """The files of reports, and those beside them that are there.

    >>> len(all_files(usual_targets("nowhere")))
    4
    """
    known = [place for kind, path in targets for place in kind.places(path)]
    return known + [file for kind, path in targets if kind.beside for file in path.glob(kind.beside)]


def unfinished(targets: list[Target]) -> Path | None:
    """The file that holds what a run found until its reports are written; None where no report is a file.

    >>> unfinished(usual_targets("reports")), unfinished(asked_targets({"json": "run.json"})), unfinished([])
    (PosixPath('reports/unfinished.verify-run'), PosixPath('run.json.verify-run'), None)
    """
    from pathlib import Path

    from verify.files import target_of

    for kind, path in targets:
        if kind.files:
            return path / f"unfinished{UNFINISHED}"
        if target_of(path) is not None:  # no pipe, no terminal
            return Path(f"{path}{UNFINISHED}")
    return None


def write_reports(
    run: Run, targets: list[Target], *, all_rows: bool, on_written: Callable[[Path], None] | None = None
) -> tuple[list[Path], list[str]]:
    """Writes each report; returns the files that were written, and why others could not be; ``on_written`` is told.

    Not ``all_rows``, but those that say most, unless a format is whole in any case.

    >>> from verify.records import Run
    >>> write_reports(Run(cases=(), seed=0, points=64), [], all_rows=True)
    ([], [])
    """
    from verify.errors import UsageError
    from verify.report.select import reduced

    told = run if all_rows else reduced(run)
    written: list[Path] = []
    failed: list[str] = []
    for kind, path in targets:
        try:
            written += kind.write(run if kind.is_whole else told, path)
            if on_written is not None:
                on_written(path)
        except UsageError as error:  # a disk that filled up during the run
            failed.append(str(error))
    return written, failed

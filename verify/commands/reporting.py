"""What commands that judge have in common: options of their reports, the reports, what is printed, the exit code."""

from __future__ import annotations

import argparse
import os
import sys

from verify.report.formats import FORMATS, all_files, earlier_reports, write_reports

TYPE_CHECKING = False  # typing itself would slow 'verify --help' down; checkers read the name all the same
if TYPE_CHECKING:
    from pathlib import Path

    from verify.records import Run
    from verify.report.baseline import Baseline
    from verify.report.formats import Target


ALL_PASS, SOME_FAIL, BAD_INPUT, INTERRUPTED, PIPE_CLOSED = 0, 1, 2, 130, 141


def add_report_options(parser: argparse.ArgumentParser) -> None:
    """An option for each format, and how much of the rows the tables have.

    >>> parser = argparse.ArgumentParser()
    >>> add_report_options(parser)
    >>> parser.parse_args(["--csv", "tables"]).csv
    'tables'
    """
    for name, kind in FORMATS.items():
        parser.add_argument(f"--{name}", metavar="DIR" if kind.files else "FILE", help=kind.told)
    rows = "write every row to the tables, not those alone that fail, stand out or are a sample of what passes"
    parser.add_argument("--all-rows", action="store_true", help=rows)


def add_output_options(parser: argparse.ArgumentParser) -> None:
    """How much is printed, and whether in colour.

    >>> parser = argparse.ArgumentParser()
    >>> add_output_options(parser)
    >>> parser.parse_args(["-q"]).quiet
    True
    """
    parser.add_argument("-q", "--quiet", action="store_true", help="no tables: what fails, and the last line")
    parser.add_argument("-v", "--verbose", action="store_true", help="the notes of each case too")
    add_color(parser)


def add_color(parser: argparse.ArgumentParser) -> None:
    """Whether what is printed has colours.

    >>> parser = argparse.ArgumentParser()
    >>> add_color(parser)
    >>> parser.parse_args([]).color
    'auto'
    """
    parser.add_argument(
        "--color",
        default="auto",
        choices=("auto", "always", "never"),
        metavar="WHEN",
        help="auto, the default, in a terminal alone; always; never",
    )


def add_baseline(parser: argparse.ArgumentParser) -> None:
    """The earlier report that a run is compared with.

    >>> parser = argparse.ArgumentParser()
    >>> add_baseline(parser)
    >>> parser.parse_args(["--baseline", "old.json"]).baseline
    'old.json'
    """
    earlier = "an earlier report of --json: say what fails, passes or is slower since then"
    parser.add_argument("--baseline", metavar="FILE", help=earlier)


def earlier_run(args: argparse.Namespace) -> Baseline | None:
    """The earlier run, read before a report of this one may take its place.

    >>> earlier_run(argparse.Namespace(baseline=None)) is None
    True
    """
    from verify.report.baseline import read_baseline

    return None if args.baseline is None else read_baseline(args.baseline)


def tell_cache_trouble() -> str:
    """Says on stderr why a cache is not used, where it cannot be; returns what was said.

    >>> tell_cache_trouble()
    ''
    """
    from verify.running.cache import trouble

    said = trouble()
    if said:
        print(f"verify: {said}", file=sys.stderr)
    return said


def reported(run: Run, args: argparse.Namespace, targets: list[Target], *, is_part: bool, key: str = "") -> int:
    """Writes the reports, then prints the table: who closes the pipe early still has the reports.

    A run of some cases, ``is_part``, may take the place of a report of all, and says so. What the reports follow from
    is their ``key``: where nothing has changed since they were written, they are left as they are.

    Raises UsageError at last where a report could not be written: the table and the other reports are there.

    >>> from verify.records import Run
    >>> args = argparse.Namespace(all_rows=False, color="never", verbose=False, quiet=True, started=0.0)
    >>> reported(Run((), 0, 0), args, [], is_part=False)
    0 cases, 0 rows: all pass in ... s, seed 0
    0
    """
    import time
    from dataclasses import replace

    from verify.errors import UsageError
    from verify.report.annotations import unheard
    from verify.report.progress import CheckingProgress
    from verify.report.select import kept_rows, reduced
    from verify.report.terminal import make_console, print_run
    from verify.report.wording import plural
    from verify.running.written import are_written, note

    is_known = all(case.unchanged for case in run.cases) and are_written(key, all_files(targets))
    replaced = earlier_reports(targets) if (is_part or run.left_out) and not is_known else []
    written: list[Path] = []
    failed: list[str] = []
    if not is_known:
        with CheckingProgress(len(targets), "writing reports") as progress:
            written, failed = write_reports(run, targets, all_rows=args.all_rows, on_written=progress.written)
    if written and not failed:
        note(key, all_files(targets))
    with unheard(sys.stdout):
        told = replace(run, seconds=time.perf_counter() - args.started)  # of the whole command
        print_run(told, make_console(color=args.color), notes=args.verbose, tables=not args.quiet)
        if is_known:
            print("Nothing has changed since these were written: " + ", ".join(map(str, earlier_reports(targets))))
        if written:
            kept = kept_rows(run)
            shown_rows = kept if args.all_rows else kept_rows(reduced(run))
            is_less = shown_rows < kept and not all(kind.is_whole for kind, _ in targets)
            shown = f"{shown_rows:,} of {kept:,} rows" if run.stored is None else "the rows that say most"
            left_out = f" with {shown}; --all-rows writes them all" if is_less else ""
            print("Wrote " + ", ".join(map(str, written)) + left_out)
        if replaced:
            had = f"this run had {plural(len(run.cases), 'result')} alone"
            print(f"They took the place of earlier reports, {', '.join(map(str, replaced))}; {had}")
    _tell_ci(run)
    if failed:
        raise UsageError("; ".join(failed))
    return run.exit_code


def _tell_ci(run: Run) -> None:
    """Annotations where GitHub Actions reads them, and the summary of the job where there is a file for it."""
    from verify.report.annotations import annotated, is_heard

    if is_heard():
        print("\n".join(annotated(run)), end="\n" * (not run.ok))
    summary = os.environ.get("GITHUB_STEP_SUMMARY")
    if summary:
        from pathlib import Path

        from verify.report.markdown import render

        try:
            with Path(summary).open("a", encoding="utf-8", errors="backslashreplace") as file:
                file.write(render(run))
        except OSError as error:
            print(f"verify: cannot append to GITHUB_STEP_SUMMARY, {summary}: {error.strerror}", file=sys.stderr)

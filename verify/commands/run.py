"""Commands that run cases and report what was found: run, watch, merge."""

from __future__ import annotations

import sys

from verify.commands.options import SCORE_OPTIONS, add_run_options, job_count, settings
from verify.commands.reporting import (
    ALL_PASS,
    INTERRUPTED,
    add_baseline,
    add_output_options,
    add_report_options,
    earlier_run,
    reported,
    tell_cache_trouble,
)
from verify.report.formats import (
    all_files,
    asked_targets,
    distinct,
    earlier_reports,
    make_sure_of,
    unfinished,
    usual_targets,
    write_reports,
)

TYPE_CHECKING = False  # typing itself would slow 'verify --help' down; checkers read the name all the same
if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence
    from pathlib import Path

    from verify.commands.parsing import Commands, Parser
    from verify.records import Run
    from verify.report.formats import Target


def _add_run(parser: Parser) -> None:
    parser.add_argument(
        "paths",
        nargs="*",
        metavar="PATH",
        help="case files or folders of them (default: the folder 'cases' here, else the shipped cases)",
    )
    parser.add_argument("-k", "--pick", default="", metavar="TEXT", help="only cases whose name contains this")
    parser.add_argument("--collect-only", action="store_true", help="print the case files that would be run, run none")
    add_run_options(parser.add_argument)
    for name, keywords in SCORE_OPTIONS.items():
        parser.add_argument("--" + name.replace("_", "-"), **keywords)
    add_report_options(parser)
    add_output_options(parser)
    add_baseline(parser)
    parser.add_argument(
        "--reports",
        metavar="DIR",
        help="write the CSV tables, index.html and its pages here (default: reports, where neither cases nor "
        "reports are named)",
    )
    parser.add_argument("--fail-fast", action="store_true", help="stop at the first case that does not pass")
    parser.add_argument(
        "--jobs",
        type=job_count,
        metavar="N",
        help="cases at a time; auto, the default, is one for each processor, and no more than pay",
    )
    parser.add_argument(
        "--executor",
        default="processes",
        metavar="NAME",
        help="who runs the cases: processes (the default), dask-local, or dask://HOST:PORT, a scheduler that runs",
    )
    parser.add_argument("--no-cache", action="store_true", help="derive everything anew, and keep nothing on disk")
    parser.add_argument(
        "--shard", metavar="I/N", help="this part of the cases alone, such as 2/5; 'verify merge' joins their reports"
    )
    parser.add_argument(
        "--resume", action="store_true", help="go on with a run that was killed or cut, and do what is missing"
    )


def _run(args: argparse.Namespace) -> int:
    """Runs cases, and reports what was found."""
    from dataclasses import replace
    from shlex import join

    from verify.case.files import find_case_files
    from verify.errors import UsageError
    from verify.report.baseline import comparison
    from verify.report.progress import CheckingProgress
    from verify.running.clusters import executor_named
    from verify.running.journal import Journal
    from verify.running.runner import RunInterrupted, key_of_run, run_cases
    from verify.running.settings import check_settings
    from verify.running.shards import shard
    from verify.running.workers import usual_jobs
    from verify.running.written import key_of

    files = find_case_files(args.paths or [_default_cases()], args.pick)
    files, part = (files, None) if args.shard is None else shard(files, args.shard)
    if args.collect_only:
        print("\n".join(map(str, files)))
        return ALL_PASS
    targets = _targets(args)
    place = _unfinished(targets, resumes=args.resume)
    make_sure_of(targets)
    earlier = earlier_run(args)
    said = "" if args.no_cache else tell_cache_trouble()
    asked = replace(settings(vars(args).get), cached=not args.no_cache, kill_score=args.kill_score)
    check_settings(asked, jobs := args.jobs or usual_jobs(len(files)))
    # An executor that there is not leaves no journal behind.
    with executor_named(args.executor, jobs) as executor, Journal(place, asked, resumes=args.resume) as journal:
        try:
            with CheckingProgress(len(files)) as progress:
                how = {"jobs": jobs, "executor": executor, "fail_fast": args.fail_fast}
                run = run_cases(files, asked, **how, on_result=progress.checked, journal=journal)
        except RunInterrupted as stop:
            return _interrupted(replace(stop.run, shard=part), targets, args.all_rows)
        if not (args.no_cache or said):
            tell_cache_trouble()  # a disk that filled up meanwhile
        told = replace(run, command=join(["verify", *args.command_line]), shard=part, compared=comparison(earlier, run))
        # Who names a report wants it written, and one with a baseline tells more than the cases do.
        usual = args.baseline is None and not asked_targets(vars(args))
        key = (
            key_of(key_of_run(files, asked), told.command, *(path.absolute() for _, path in targets))
            if usual and run.ok
            else ""
        )
        try:
            code = reported(told, args, targets, is_part=bool(args.paths or args.pick or part), key=key)
        except UsageError as error:  # a report could not be written
            kept = f". What was found is in {place}: --resume writes the reports from it" if journal.is_kept else ""
            raise UsageError(f"{error}{kept}") from error
        if not run.left_out:
            journal.remove()
        return code


def _watch(args: argparse.Namespace) -> int:
    """Runs cases, and again whenever a file of them has changed, until it is interrupted."""
    import time

    from verify.errors import VerifyError

    args.paths = args.paths or [_default_cases()]
    while True:
        seen, args.started = _changes(args.paths), time.perf_counter()
        try:
            if _run(args) == INTERRUPTED:
                return INTERRUPTED
        except VerifyError as error:  # a file that is being written
            print(f"verify: {error}", file=sys.stderr)
        print(f"verify: watching {', '.join(map(str, args.paths))}; Ctrl-C ends it", file=sys.stderr)
        sys.stdout.flush()
        while _changes(args.paths) == seen:
            time.sleep(WATCHED_SECONDS)


def _changes(paths: Sequence[str | Path]) -> dict[str, tuple[int, int]]:
    """When each case file in these folders has last changed, and how long it is; nothing of what is not there."""
    from contextlib import suppress
    from pathlib import Path

    from verify.case.files import find_case_files
    from verify.errors import VerifyError

    found = {}
    for path in paths:
        with suppress(VerifyError, OSError):
            for file in find_case_files([path]):
                known = Path(file).stat()
                found[str(file)] = known.st_mtime_ns, known.st_size
    return found


WATCHED_SECONDS = 0.3
"""How often files are looked at."""


def _unfinished(targets: list[Target], *, resumes: bool) -> Path | None:
    """Where a run writes what it finds, until its reports are there. Raises UsageError where there is no such place."""
    from verify.errors import UsageError

    place = unfinished(targets)
    if place is None and resumes:
        raise UsageError("--resume goes on beside the report of a run: name it as then, such as --csv or --json")
    return place


def _interrupted(run: Run, targets: list[Target], all_rows: bool) -> int:
    """Reports what was done of a run that the user ended; an earlier report is not replaced by an empty one."""
    from verify.report.wording import plural

    replaced = earlier_reports(targets)
    written, failed = write_reports(run, targets, all_rows=all_rows) if run.cases else ([], [])
    for fault in failed:
        print(f"verify: {fault}", file=sys.stderr)
    so_far = f"{plural(len(run.cases), 'result')} so far, as incomplete, in {', '.join(map(str, written))}"
    so_far += ", in place of earlier reports" if replaced else ""
    so_far += "; --resume goes on with it"
    print(f"verify: interrupted; {so_far if written else 'no results'}", file=sys.stderr)
    return INTERRUPTED


def _default_cases() -> Path:
    """Where the cases are if nobody says; says so on stderr."""
    from pathlib import Path

    from verify.case.files import holds_case_files, shipped_cases

    here = Path("cases")
    found = here if holds_case_files(here) else shipped_cases()
    print(f"verify: no path given, running the {'' if found == here else 'shipped '}cases in {found}", file=sys.stderr)
    return found


def _targets(args: argparse.Namespace) -> list[Target]:
    """What a run writes: what was asked for; of all cases, where nobody asked, what is usual."""
    asked = asked_targets(vars(args))
    if args.reports is None:
        is_bare = not (args.paths or args.pick or args.shard) and args.execute is _run
        return usual_targets("reports") if is_bare and not asked else asked
    return distinct(asked + usual_targets(args.reports))


def _add_merge(parser: Parser) -> None:
    parser.add_argument("reports", nargs="+", metavar="REPORT", help="what 'verify run --json' wrote, of each part")
    add_report_options(parser)
    add_output_options(parser)


def _merge(args: argparse.Namespace) -> int:
    """Joins reports, of shards or of different cases, and reports what was found in all."""
    from os.path import realpath

    from verify.errors import UsageError
    from verify.running.journal import Journal
    from verify.tools.merging import merged

    targets = asked_targets(vars(args))
    both = {realpath(place) for place in all_files(targets)} & {realpath(report) for report in args.reports}
    if both:
        raise UsageError(f"{min(both)} is one of the reports that are joined, and would be written over. Name another")
    make_sure_of(targets)
    with Journal() as journal:
        run, missing = merged(args.reports, journal)
        for sentence in missing:
            print(f"verify: {sentence}", file=sys.stderr)
        return reported(run, args, targets, is_part=bool(missing))


COMMANDS: Commands = {
    "run": ("check cases and write the reports", _add_run, _run),
    "watch": ("run cases, and again whenever a file of them changes", _add_run, _watch),
    "merge": ("join the reports of shards, of machines or of days", _add_merge, _merge),
}

"""The command ``verify``: reads the command line, calls the runner, hands the run to a report.

No arithmetic happens here, and nothing is imported before a command needs it: ``verify --help`` loads ``argparse``
alone. Exit codes: 0 all pass, 1 a row does not pass, 2 bad input, 130 interrupted, 141 the reader of a pipe went away.
"""

from __future__ import annotations

import argparse
import os
import sys

from verify.options import RUN_OPTIONS, SCORE_OPTIONS, add_run_options, check_arguments, job_count, settings
from verify.parsing import Parser, completion, configure, near
from verify.report.formats import (
    FORMATS,
    all_files,
    asked_targets,
    distinct,
    earlier_reports,
    make_sure_of,
    unfinished,
    usual_targets,
    write_reports,
)
from verify.version import __version__

TYPE_CHECKING = False  # typing itself would slow 'verify --help' down; checkers read the name all the same
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path
    from typing import Any

    from verify.records import CaseResult, Run
    from verify.report.baseline import Baseline
    from verify.report.formats import Target

ALL_PASS, SOME_FAIL, BAD_INPUT, INTERRUPTED, PIPE_CLOSED = 0, 1, 2, 130, 141


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line and returns the exit code.

    Faults of the input are printed on stderr with their place and remedy; a traceback means a fault of this program.

    >>> main(["new", "???"])  # the message is on stderr: a case needs a name with at least one letter ...
    2
    """
    arguments = sys.argv[1:] if argv is None else list(argv)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")  # a terminal without Unicode gets escapes, not a crash
    try:
        try:
            return _guarded(arguments)
        finally:
            sys.stdout.flush()  # here, where a closed pipe can be answered, not at exit
    except KeyboardInterrupt:
        print("verify: interrupted", file=sys.stderr)
        return INTERRUPTED
    except SystemExit as stop:
        if isinstance(stop.__context__, BrokenPipeError):  # rich ends the program itself, with exit code 1
            return PIPE_CLOSED
        raise
    except BrokenPipeError:
        # What is still buffered goes nowhere, or Python complains once more at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return PIPE_CLOSED


def _guarded(arguments: list[str]) -> int:
    """Runs the command that was asked for; what the user can mend is said in words."""
    if getattr(sys.modules["verify"], "__version__", "") is not __version__:
        mend = "pip uninstall verify, then pip install --force-reinstall verify-gradients (or this folder)"
        print(f"verify: PyPI's package 'verify' has the same module name and took its place: {mend}", file=sys.stderr)
        return BAD_INPUT
    import time

    started = time.perf_counter()
    args = _parse(arguments)
    args.command_line, args.started = arguments, started
    from verify.errors import VerifyError

    try:
        return int(args.execute(args))
    except VerifyError as error:
        print(f"verify: {error}", file=sys.stderr)
        return BAD_INPUT
    except SystemExit as stop:
        if isinstance(stop.__context__, BrokenPipeError):
            raise
        # No command of ours ends so: whoever did, did not finish, and an exit code of 0 would say that all is well.
        print(f"verify: code that was called left the program by sys.exit({stop.code!r})", file=sys.stderr)
        return BAD_INPUT


# ------------------------------------------------------------------------------------------------- the command line


def _parsers() -> tuple[Parser, dict[str, Parser]]:
    """The parser of the command line, and those of the commands."""
    parser = Parser(
        prog="verify",
        description="Is this gradient right? Cases are differentiated three ways and compared.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"verify {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")
    known = {name: commands.add_parser(name, help=text, description=text) for name, (text, _, _) in COMMANDS.items()}
    for name, (_, add_arguments, execute) in COMMANDS.items():
        add_arguments(known[name])
        known[name].set_defaults(execute=execute)
    return parser, known


def _parse(arguments: list[str]) -> argparse.Namespace:
    """The command line as a namespace; ends the program with a message and exit code 2 where it makes no sense."""
    parser, known = _parsers()
    chosen = next((word for word in arguments if not word.startswith("-")), None)
    if chosen is not None and chosen not in COMMANDS:
        parser.error(f"unknown command '{chosen}', expected one of {', '.join(COMMANDS)}{near(chosen, COMMANDS)}")
    if chosen is not None and not {"-h", "--help"} & set(arguments):
        _configure(known, chosen)
    args, unknown = parser.parse_known_args(arguments)
    if unknown:
        (known[chosen] if chosen is not None else parser).refuse(unknown[0].split("=")[0])
    if chosen is None:  # nothing was asked for
        parser.print_help()
        args.execute = lambda _: ALL_PASS
    return args


def _configure(known: Mapping[str, Parser], chosen: str) -> None:
    """Sets what is configured; ends the program where that makes no sense."""
    from verify.errors import VerifyError

    try:
        configure(known, chosen)
    except VerifyError as error:
        print(f"verify: {error}", file=sys.stderr)
        raise SystemExit(BAD_INPUT) from None


EXAMPLES = """\
examples:
  verify run cases/                                             check case files
  verify check layers:backward --of layers:forward --at x=3     judge a gradient that you wrote
  verify new my_function                                        write a case file that runs and is explained

'verify COMMAND --help' says more of a command.
"""
"""What stands below the help."""


# ------------------------------------------------------------------------------------------------------------- run


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
    _add_report_options(parser)
    _add_output_options(parser)
    _add_baseline(parser)
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


def _add_report_options(parser: Parser) -> None:
    for name, kind in FORMATS.items():
        parser.add_argument(f"--{name}", metavar="DIR" if kind.files else "FILE", help=kind.told)
    rows = "write every row to the tables, not those alone that fail, stand out or are a sample of what passes"
    parser.add_argument("--all-rows", action="store_true", help=rows)


def _add_output_options(parser: Parser) -> None:
    parser.add_argument("-q", "--quiet", action="store_true", help="no tables: what fails, and the last line")
    parser.add_argument("-v", "--verbose", action="store_true", help="the notes of each case too")
    _add_color(parser)


def _add_color(parser: Parser) -> None:
    parser.add_argument(
        "--color",
        default="auto",
        choices=("auto", "always", "never"),
        metavar="WHEN",
        help="auto, the default, in a terminal alone; always; never",
    )


def _add_baseline(parser: Parser) -> None:
    earlier = "an earlier report of --json: say what fails, passes or is slower since then"
    parser.add_argument("--baseline", metavar="FILE", help=earlier)


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
    earlier = _baseline(args)
    said = "" if args.no_cache else _tell_cache_trouble()
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
            _tell_cache_trouble()  # a disk that filled up meanwhile
        told = replace(run, command=join(["verify", *args.command_line]), shard=part, compared=comparison(earlier, run))
        # Who names a report wants it written, and one with a baseline tells more than the cases do.
        usual = args.baseline is None and not asked_targets(vars(args))
        key = (
            key_of(key_of_run(files, asked), told.command, *(path.absolute() for _, path in targets))
            if usual and run.ok
            else ""
        )
        try:
            code = _reported(told, args, targets, is_part=bool(args.paths or args.pick or part), key=key)
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


def _baseline(args: argparse.Namespace) -> Baseline | None:
    """The earlier run, read before a report of this one may take its place."""
    from verify.report.baseline import read_baseline

    return None if args.baseline is None else read_baseline(args.baseline)


def _tell_cache_trouble() -> str:
    """Says on stderr why a cache is not used, where it cannot be; returns what was said."""
    from verify.running.cache import trouble

    said = trouble()
    if said:
        print(f"verify: {said}", file=sys.stderr)
    return said


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


def _reported(run: Run, args: argparse.Namespace, targets: list[Target], *, is_part: bool, key: str = "") -> int:
    """Writes the reports, then prints the table: who closes the pipe early still has the reports.

    A run of some cases, ``is_part``, may take the place of a report of all, and says so. What the reports follow from
    is their ``key``: where nothing has changed since they were written, they are left as they are.

    Raises UsageError at last where a report could not be written: the table and the other reports are there.
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


# ----------------------------------------------------------------------------------------------------------- merge


def _add_merge(parser: Parser) -> None:
    parser.add_argument("reports", nargs="+", metavar="REPORT", help="what 'verify run --json' wrote, of each part")
    _add_report_options(parser)
    _add_output_options(parser)


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
        return _reported(run, args, targets, is_part=bool(missing))


# ----------------------------------------------------------------------------------------------------------- check


def _add_check(parser: Parser) -> None:
    parser.add_argument(
        "gradient", metavar="MODULE:NAME", help="the gradient to judge, such as package.module:backward"
    )
    whose = parser.add_mutually_exclusive_group(required=True)
    whose.add_argument("--case", metavar="CASE", help="what it is the gradient of: a case by path or by name")
    whose.add_argument("--of", metavar="MODULE:NAME", help="the same: a function, such as package.module:forward")
    _add_values(parser, "of the case or function: ")
    add_run_options(parser.add_argument)
    _add_report_options(parser)
    _add_output_options(parser)
    _add_baseline(parser)


def _check(args: argparse.Namespace) -> int:
    """Judges a gradient that somebody wrote, and prints what ``verify run`` prints of a case."""
    from dataclasses import replace
    from shlex import join

    from verify.case.files import find_case
    from verify.errors import UsageError
    from verify.oracle.check import check_gradient
    from verify.oracle.dotted_name import gradient_named
    from verify.report.baseline import comparison

    case = gradient_named(args.of, "function") if args.of else find_case(args.case)
    at, domain, constants = _values(args)
    if args.of and not at:
        raise UsageError("--of needs a point to look at, such as --at x=3,y=-4")
    given = {"at": at or None, "domain": domain or None, "constants": constants}
    targets = asked_targets(vars(args))
    make_sure_of(targets)
    earlier = _baseline(args)
    if not args.forget:
        _tell_cache_trouble()
    run: Run = check_gradient(gradient_named(args.gradient), case, **check_arguments(vars(args).get, given))
    told = replace(run, command=join(["verify", *args.command_line]), compared=comparison(earlier, run))
    return _reported(told, args, targets, is_part=True)


# ---------------------------------------------------------------------------------------------------------- course


def _add_course(parser: Parser) -> None:
    parser.add_argument("course", metavar="COURSE", help="the course whose functions are known by name: cs231n")
    parser.add_argument("folder", nargs="?", default=".", metavar="FOLDER", help="that of the assignment (default: .)")
    _add_report_options(parser)


def _course(args: argparse.Namespace) -> int:
    """Judges the functions of a course that a folder has, a line for each."""
    from collections import Counter
    from shlex import join

    from verify.records import SUBJECT, Run
    from verify.tools.course import Status, judge_course

    targets = asked_targets(vars(args))
    make_sure_of(targets)
    counts: Counter[str] = Counter()
    cases: list[CaseResult] = []
    for line in judge_course(args.course, args.folder):
        print(line, flush=True)
        counts[line.status] += 1
        cases += line.cases
    print(", ".join(f"{count} {status}" for status, count in counts.items()))
    run = Run(cases=tuple(cases), seed=0, points=0, methods=(SUBJECT,), command=join(["verify", *args.command_line]))
    written, failed = write_reports(run, targets, all_rows=args.all_rows)
    for fault in failed:
        print(f"verify: {fault}", file=sys.stderr)
    if written:
        print("Wrote " + ", ".join(map(str, written)))
    return SOME_FAIL if counts[Status.FAIL] or failed else ALL_PASS


# ----------------------------------------------------------------------------------------------------------- sweep


def _add_sweep(parser: Parser) -> None:
    parser.add_argument("framework", metavar="FRAMEWORK", help="torch, jax or autograd")
    parser.add_argument("--only", default="", metavar="TEXT", help="only functions whose dotted name contains this")
    parser.add_argument("--csv", metavar="FILE", help="write every wrong answer, the worst first")
    parser.add_argument("--markdown", metavar="FILE", help="write what is printed: the worst answers of each function")


def _sweep(args: argparse.Namespace) -> int:
    """Holds the slopes of a framework's elementwise functions against the truth."""
    from verify.files import replacing
    from verify.tools.sweep import as_csv, as_markdown, sweep

    looked = []
    for one in sweep(args.framework, args.only):
        looked.append(one)
        if sys.stderr.isatty():
            print(f"\r{len(looked)} {one.call:<70.70}", end="", file=sys.stderr)
    text = as_markdown(looked)
    for target, written in ((args.csv, as_csv(looked)), (args.markdown, f"{text}\n")):
        if target:
            with replacing(target) as file:
                file.write(written)
    print(text)
    return SOME_FAIL if any(one.faults for one in looked) else ALL_PASS


# ------------------------------------------------------------------------------------------------------------ show


def _add_show(parser: Parser) -> None:
    parser.add_argument("case", metavar="CASE", help="a case file, or the name of a case, here or shipped")
    for name in ("seed", "methods"):
        parser.add_argument(f"--{name}", **RUN_OPTIONS[name])
    _add_color(parser)
    parser.set_defaults(points=0)


def _show(args: argparse.Namespace) -> int:
    """Prints the forward and backward pass at the case's first own point."""
    from verify.case.files import find_case
    from verify.report.terminal import make_console, print_case_passes
    from verify.running.runner import run_case

    result = run_case(find_case(args.case), settings(vars(args).get))
    if result.problems:
        print("\n".join(result.problems), file=sys.stderr)
        return BAD_INPUT
    print_case_passes(result, make_console(color=args.color))
    return ALL_PASS


# ------------------------------------------------------------------------------------------------------------- new


def _add_new(parser: Parser) -> None:
    parser.add_argument(
        "name",
        nargs="?",
        metavar="NAME",
        help="name of the case; the file is named after it (with --from: the function's)",
    )
    parser.add_argument("--folder", default="cases", metavar="DIR", help="where to write the file (default: cases)")
    parser.add_argument(
        "--from",
        dest="function",
        metavar="FUNCTION",
        help="a NumPy function, package.module:function, that the case is made of by running it once; needs --at",
    )
    _add_values(parser, "with --from: ")


def _add_values(parser: Parser, whose: str) -> None:
    """The options that give a function its values."""
    for option, text in (
        (
            "--at",
            "the values it runs with, such as x=3,y=-4 or 'W=[[1,2],[3,4]]'; whole numbers beside floats are constants",
        ),
        ("--domain", "where else to look, such as 'x=[-6,6]'; may be repeated"),
        ("--constants", "arguments that are passed on as they are and not differentiated, such as n=3"),
    ):
        parser.add_argument(option, action="append", default=[], metavar="NAME=VALUE,...", help=whose + text)


def _values(args: argparse.Namespace) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """What these options give: the point, the domain, the constants."""
    from verify.tracing.value_text import named_values

    at = named_values(args.at, "--at")
    domain = named_values(args.domain, "--domain")
    return at, domain, named_values(args.constants, "--constants")


def _new(args: argparse.Namespace) -> int:
    """Writes a case file that runs and is explained, or that a function is traced to; never over another one."""
    from pathlib import Path

    from verify.case.template import case_text, file_stem, modeline
    from verify.errors import UsageError

    if args.function:
        return _new_from_function(args)
    if args.name is None or args.at or args.domain or args.constants:
        wanted = "a new case needs a name" if args.name is None else "--at, --domain and --constants belong to --from"
        raise UsageError(f"{wanted}. Write: verify new NAME, or: verify new --from package.module:function --at x=3")
    path = Path(args.folder) / f"{file_stem(args.name)}.yaml"
    text = f"{modeline(path)}{case_text(args.name)}"
    if path.exists():
        message = f"{path} exists already and is left as it is. Give another name, or remove it first"
        raise UsageError(message)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        message = f"cannot write {path}: {error.strerror}. Give another folder by --folder"
        raise UsageError(message) from error
    return _written(path)


def _written(path: Path) -> int:
    """Puts the schema where a case that was written names it, for the editor that it is opened in."""
    import json

    from verify.case.format import json_schema
    from verify.case.template import schema_of
    from verify.files import write_text

    write_text(schema_of(path), f"{json.dumps(json_schema(), indent=1)}\n")
    print(f"Wrote {path}. Check it by: verify run {path}")
    return ALL_PASS


def _new_from_function(args: argparse.Namespace) -> int:
    """Writes the case that a function is traced to."""
    from dataclasses import replace
    from pathlib import Path

    from verify.case.template import file_stem, modeline
    from verify.case.writer import save_case
    from verify.oracle.dotted_name import gradient_named
    from verify.tracing.trace import trace

    at, domain, constants = _values(args)
    function = gradient_named(args.function, "function")
    case = trace(function, {**at, **constants}, domain=domain, constants=tuple(constants))
    case = replace(case, name=args.name or case.name.replace("_", " "))
    path = Path(args.folder) / f"{file_stem(case.name)}.yaml"
    return _written(save_case(case, path, head=modeline(path)))


# ------------------------------------------------------------------------------------------------------------ emit


def _add_emit(parser: Parser) -> None:
    parser.add_argument("case", metavar="CASE", help="a case file, or the name of a case, here or shipped")


def _emit(args: argparse.Namespace) -> int:
    """Prints a case as a Python module with its forward and backward pass."""
    from verify.case.case import load_case
    from verify.case.files import find_case
    from verify.emitting.passes import emit

    print(emit(load_case(find_case(args.case))), end="")
    return ALL_PASS


# ------------------------------------------------------------------------------------------- schema, ops and bench


def _add_nothing(parser: Parser) -> None:
    """The command has no arguments."""


def _add_schema(parser: Parser) -> None:
    parser.add_argument("--report", action="store_true", help="the schema of the report that --json writes, instead")


def _schema(args: argparse.Namespace) -> int:
    """Prints the JSON Schema of the case format, or of the JSON report."""
    import json

    from verify.case.format import json_schema
    from verify.report.json_schema import report_schema

    print(json.dumps(report_schema() if args.report else json_schema(), indent=2))
    return ALL_PASS


def _add_explain(parser: Parser) -> None:
    parser.add_argument(
        "word", nargs="*", metavar="WORD", help="a verdict, a finding, a rule, as reports have it (default: all)"
    )


def _explain(args: argparse.Namespace) -> int:
    """Prints what a word of the reports means."""
    from verify.report.explain import all_words, explained

    print(explained(" ".join(args.word)) if args.word else all_words())
    return ALL_PASS


def _add_completion(parser: Parser) -> None:
    parser.add_argument("shell", metavar="SHELL", choices=("bash", "zsh", "tcsh"), help="bash, zsh or tcsh")


def _completion(args: argparse.Namespace) -> int:
    """Prints the script by which a shell completes commands and options."""
    print(completion(*_parsers(), args.shell))
    return ALL_PASS


def _add_ops(parser: Parser) -> None:
    parser.add_argument("--matrix", action="store_true", help="run each op through each method and print what happened")
    _add_color(parser)


def _ops(args: argparse.Namespace) -> int:
    """Prints the op table, or the matrix of ops and methods."""
    from rich.table import Table

    from verify.report.terminal import make_console

    headings, rows = _matrix() if args.matrix else _op_rows()
    table = Table(*headings, box=None, pad_edge=False)
    for row in rows:
        table.add_row(*row)
    make_console(color=args.color).print(table)
    return ALL_PASS


def _op_rows() -> tuple[list[str], list[list[str]]]:
    """Headings and rows of the op table: what a case file may write, and where it has a value and a derivative."""
    from verify.ops import OPS

    rows = []
    for op in OPS.values():
        domain = op.allowed or "all reals"
        ties = ", ".join(op.conventions)
        rows.append([op.name, op.spelling, domain, ties, ", ".join(op.params), op.source])
    return ["op", "written as", "domain", "ties (first is the default)", "parameters", "source"], rows


def _matrix() -> tuple[list[str], list[list[str]]]:
    """Headings and rows of the matrix: what came of running each op through each method."""
    from verify.records import METHODS
    from verify.tools.support import support_matrix

    statuses: dict[str, dict[str, str]] = {}
    for op, method, status in support_matrix():
        statuses.setdefault(op, {})[method] = status
    rows = [[op, *(found.get(method, "") for method in METHODS)] for op, found in statuses.items()]
    return ["op", *METHODS], rows


def _add_bench(parser: Parser) -> None:
    parser.add_argument("--quick", action="store_true", help="smaller sizes and fewer repeats, to see that it works")
    parser.add_argument("--out", metavar="FILE", help="write command, commit, machine and numbers as JSON")


def _bench(args: argparse.Namespace) -> int:
    """Measures the program against hand-written checks."""
    from verify.tools.bench import main as measure

    return int(measure(args) or ALL_PASS)


COMMANDS: Mapping[str, tuple[str, Callable[[Parser], None], Callable[[argparse.Namespace], int]]] = {
    "run": ("check cases and write the reports", _add_run, _run),
    "watch": ("run cases, and again whenever a file of them changes", _add_run, _watch),
    "merge": ("join the reports of shards, of machines or of days", _add_merge, _merge),
    "check": ("judge a gradient that you wrote against a case, or against its function", _add_check, _check),
    "course": ("judge what a course's assignment asks for, by the names of its functions", _add_course, _course),
    "sweep": ("hold the slopes of a framework's functions of numbers against the truth", _add_sweep, _sweep),
    "show": ("show the forward and backward pass of one case, stage by stage", _add_show, _show),
    "new": ("write a case file that runs and is explained", _add_new, _new),
    "emit": ("print the forward and backward pass of a case as plain NumPy", _add_emit, _emit),
    "completion": ("print a script that completes commands and options in a shell", _add_completion, _completion),
    "explain": ("say what a word of the reports means, with an example and what to do", _add_explain, _explain),
    "schema": ("print the JSON Schema of the case format, for completion in editors", _add_schema, _schema),
    "ops": ("print the ops that a case may use", _add_ops, _ops),
    "bench": ("measure this program against hand-written checks", _add_bench, _bench),
}
"""Every command: its help, what adds its arguments, what runs it."""


if __name__ == "__main__":
    sys.exit(main())

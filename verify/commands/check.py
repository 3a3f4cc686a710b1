"""Commands that judge what somebody else differentiates: check, course, sweep."""

from __future__ import annotations

import sys

from verify.commands.options import add_run_options, add_values, check_arguments, given_values
from verify.commands.reporting import (
    ALL_PASS,
    SOME_FAIL,
    add_baseline,
    add_output_options,
    add_report_options,
    earlier_run,
    reported,
    tell_cache_trouble,
)
from verify.report.formats import asked_targets, make_sure_of, write_reports

TYPE_CHECKING = False  # typing itself would slow 'verify --help' down; checkers read the name all the same
if TYPE_CHECKING:
    import argparse

    from verify.commands.parsing import Commands, Parser
    from verify.records import CaseResult, Run


def _add_check(parser: Parser) -> None:
    parser.add_argument(
        "gradient", metavar="MODULE:NAME", help="the gradient to judge, such as package.module:backward"
    )
    whose = parser.add_mutually_exclusive_group(required=True)
    whose.add_argument("--case", metavar="CASE", help="what it is the gradient of: a case by path or by name")
    whose.add_argument("--of", metavar="MODULE:NAME", help="the same: a function, such as package.module:forward")
    add_values(parser, "of the case or function: ")
    add_run_options(parser.add_argument)
    add_report_options(parser)
    add_output_options(parser)
    add_baseline(parser)


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
    at, domain, constants = given_values(args)
    if args.of and not at:
        raise UsageError("--of needs a point to look at, such as --at x=3,y=-4")
    given = {"at": at or None, "domain": domain or None, "constants": constants}
    targets = asked_targets(vars(args))
    make_sure_of(targets)
    earlier = earlier_run(args)
    if not args.forget:
        tell_cache_trouble()
    run: Run = check_gradient(gradient_named(args.gradient), case, **check_arguments(vars(args).get, given))
    told = replace(run, command=join(["verify", *args.command_line]), compared=comparison(earlier, run))
    return reported(told, args, targets, is_part=True)


def _add_course(parser: Parser) -> None:
    parser.add_argument("course", metavar="COURSE", help="the course whose functions are known by name: cs231n")
    parser.add_argument("folder", nargs="?", default=".", metavar="FOLDER", help="that of the assignment (default: .)")
    add_report_options(parser)


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


COMMANDS: Commands = {
    "check": ("judge a gradient that you wrote against a case, or against its function", _add_check, _check),
    "course": ("judge what a course's assignment asks for, by the names of its functions", _add_course, _course),
    "sweep": ("hold the slopes of a framework's functions of numbers against the truth", _add_sweep, _sweep),
}

"""Commands about a single case: show it, write a new one, print it as NumPy."""

from __future__ import annotations

import sys

from verify.commands.options import RUN_OPTIONS, add_values, given_values, settings
from verify.commands.reporting import ALL_PASS, BAD_INPUT, add_color

TYPE_CHECKING = False  # typing itself would slow 'verify --help' down; checkers read the name all the same
if TYPE_CHECKING:
    import argparse
    from pathlib import Path

    from verify.commands.parsing import Commands, Parser


def _add_show(parser: Parser) -> None:
    parser.add_argument("case", metavar="CASE", help="a case file, or the name of a case, here or shipped")
    for name in ("seed", "methods"):
        parser.add_argument(f"--{name}", **RUN_OPTIONS[name])
    add_color(parser)
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
    add_values(parser, "with --from: ")


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

    at, domain, constants = given_values(args)
    function = gradient_named(args.function, "function")
    case = trace(function, {**at, **constants}, domain=domain, constants=tuple(constants))
    case = replace(case, name=args.name or case.name.replace("_", " "))
    path = Path(args.folder) / f"{file_stem(case.name)}.yaml"
    return _written(save_case(case, path, head=modeline(path)))


def _add_emit(parser: Parser) -> None:
    parser.add_argument("case", metavar="CASE", help="a case file, or the name of a case, here or shipped")


def _emit(args: argparse.Namespace) -> int:
    """Prints a case as a Python module with its forward and backward pass."""
    from verify.case.case import load_case
    from verify.case.files import find_case
    from verify.emitting.passes import emit

    print(emit(load_case(find_case(args.case))), end="")
    return ALL_PASS


COMMANDS: Commands = {
    "show": ("show the forward and backward pass of one case, stage by stage", _add_show, _show),
    "new": ("write a case file that runs and is explained", _add_new, _new),
    "emit": ("print the forward and backward pass of a case as plain NumPy", _add_emit, _emit),
}

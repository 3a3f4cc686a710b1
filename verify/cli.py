"""The command ``verify``: reads the command line, calls the runner, hands the run to a report.

No arithmetic happens here, and nothing is imported before a command needs it: ``verify --help`` loads ``argparse``
alone. Exit codes: 0 all pass, 1 a row does not pass, 2 bad input, 130 interrupted, 141 the reader of a pipe went away.
"""

from __future__ import annotations

import argparse
import os
import sys

from verify.commands import about, cases, check, run
from verify.commands.parsing import Parser, completion, configure, near
from verify.commands.reporting import ALL_PASS, BAD_INPUT, INTERRUPTED, PIPE_CLOSED
from verify.version import __version__

TYPE_CHECKING = False  # typing itself would slow 'verify --help' down; checkers read the name all the same
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from verify.commands.parsing import Commands


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


def _add_completion(parser: Parser) -> None:
    parser.add_argument("shell", metavar="SHELL", choices=("bash", "zsh", "tcsh"), help="bash, zsh or tcsh")


def _completion(args: argparse.Namespace) -> int:
    """Prints the script by which a shell completes commands and options."""
    print(completion(*_parsers(), args.shell))
    return ALL_PASS


COMMANDS: Commands = {
    **run.COMMANDS,
    **check.COMMANDS,
    **cases.COMMANDS,
    "completion": ("print a script that completes commands and options in a shell", _add_completion, _completion),
    **about.COMMANDS,
}
"""Every command: its help, what adds its arguments, what runs it."""


if __name__ == "__main__":
    sys.exit(main())

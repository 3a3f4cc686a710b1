"""Commands about the program itself: its words, its formats, its ops, its speed."""

from __future__ import annotations

from verify.commands.reporting import ALL_PASS, add_color

TYPE_CHECKING = False  # typing itself would slow 'verify --help' down; checkers read the name all the same
if TYPE_CHECKING:
    import argparse

    from verify.commands.parsing import Commands, Parser


def _add_explain(parser: Parser) -> None:
    parser.add_argument(
        "word", nargs="*", metavar="WORD", help="a verdict, a finding, a rule, as reports have it (default: all)"
    )


def _explain(args: argparse.Namespace) -> int:
    """Prints what a word of the reports means."""
    from verify.report.explain import all_words, explained

    print(explained(" ".join(args.word)) if args.word else all_words())
    return ALL_PASS


def _add_schema(parser: Parser) -> None:
    parser.add_argument("--report", action="store_true", help="the schema of the report that --json writes, instead")


def _schema(args: argparse.Namespace) -> int:
    """Prints the JSON Schema of the case format, or of the JSON report."""
    import json

    from verify.case.format import json_schema
    from verify.report.json_schema import report_schema

    print(json.dumps(report_schema() if args.report else json_schema(), indent=2))
    return ALL_PASS


def _add_ops(parser: Parser) -> None:
    parser.add_argument("--matrix", action="store_true", help="run each op through each method and print what happened")
    add_color(parser)


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


COMMANDS: Commands = {
    "explain": ("say what a word of the reports means, with an example and what to do", _add_explain, _explain),
    "schema": ("print the JSON Schema of the case format, for completion in editors", _add_schema, _schema),
    "ops": ("print the ops that a case may use", _add_ops, _ops),
    "bench": ("measure this program against hand-written checks", _add_bench, _bench),
}

"""The text of a formula as a syntax tree, with everything refused that can be refused before it means anything.

Python's own parser reads the text; nothing is compiled or executed. Limits hold before the parser runs, or before
anything walks the tree by recursion, so that a hostile text costs neither time nor memory.
"""

from __future__ import annotations

import ast
import keyword
import re
import unicodedata
import warnings
from collections.abc import Mapping

from verify.errors import Problem

MAX_LENGTH = 4_000
"""Characters of a formula: fifty lines; what is longer is read more easily as several stages."""
MAX_NODES = 1_000
"""Numbers, names and operations of a formula: SymPy stays quick, and a person can still follow."""
MAX_DEPTH = 50
"""Levels of nesting: far below Python's recursion limit. A long sum ``a + b + c + ...`` is one level."""
LONGEST_NAME = 200
"""Characters of a name: it stands in each row of a report."""
MAX_DIGITS = 50
"""Digits of a literal: a double holds 17, mpmath's references are written with 50."""

_CHARACTERS: Mapping[str, tuple[str, str]] = {
    "#": ("a comment cannot stand in a formula", "Remove the '#'."),
    ";": ("';' is not allowed", "Make each formula a stage of its own."),
    "\\": ("'\\' is not allowed", "Remove it."),
    "$": ("'$' is not allowed", "Remove it."),
    "?": ("'?' is not allowed", "Remove it."),
    "`": ("'`' is not allowed", "Remove it."),
    "\u00d7": ("this sign is not an operator", "Write * for a product."),
    "\u00b7": ("this sign is not an operator", "Write * or @ for a product."),
    "\u22c5": ("this sign is not an operator", "Write * or @ for a product."),
    "\u2212": ("this sign is not an operator", "Write - for a minus."),
    "\u2013": ("this sign is not an operator", "Write - for a minus."),
    "\u00f7": ("this sign is not an operator", "Write / for a quotient."),
    "\u00b2": ("this sign is not an operator", "Write **2 for a square."),
    "\u00b3": ("this sign is not an operator", "Write **3 for a cube."),
    "\u221a": ("this sign is not an operator", "Write sqrt(x) for a root."),
}
_SYNTAX: tuple[tuple[str, str, str], ...] = (
    ("was never closed", "this bracket is never closed", "Add the closing bracket."),
    ("unmatched", "this bracket was never opened", "Remove it, or open one."),
    ("does not match", "this bracket does not fit the one it closes", "Check the brackets."),
    ("decimal literal", "a number runs into a name", "Put * between them, as in 2 * x."),
    ("leading zeros", "a number starts with zeros", "Write it without them."),
    ("too many nested", f"more than {MAX_DEPTH} levels of nesting", "Split the formula into stages."),
    ("string literal", "text in quotes is not a number", "Remove the quotes."),
    ("cannot assign", "'=' is not allowed", "Make it a stage of its own."),
    ("keyword argument repeated", "a parameter is given twice", "Remove one of them."),
    ("unexpected EOF", "the formula ends too early", "Complete it."),
)  # fmt: skip
"""What Python's parser says -> what is wrong, and how to mend it."""
GRAMMAR = "A formula has numbers, names, + - * / ** @, calls such as exp(x), and x[0]."

Formula = ast.expr


def formula_problem(text: str, column: int, message: str, suggestion: str = "") -> Problem:
    """A problem at a column of a formula, counted from 1; the formula is shown on one line.

    >>> print(formula_problem("x ^ 2", 3, "'^' is no power", "Write ** for a power."))
    '^' is no power. Write ** for a power.
        x ^ 2
          ^
    """
    return Problem(message, column=column, text=re.sub(r"\s", " ", text), suggestion=suggestion)


def parsed(text: str) -> tuple[Formula | None, list[Problem]]:
    """The syntax tree of a formula, or the problems that keep it from having one.

    >>> parsed("1 +")[1][0].message
    'this cannot be read as a formula at its end'
    """
    problems = _problems_of_text(text)
    if problems:
        return None, problems
    flat = re.sub(r"\s", " ", text)
    body = flat.lstrip()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # "2if x" and the like: refused below in our own words
            tree = ast.parse(body, mode="eval").body
    except SyntaxError as error:
        return None, [_syntax_problem(error, text, len(flat) - len(body))]
    except (RecursionError, MemoryError):
        return None, [_too_deep(text, 1)]
    _move(tree, len(flat) - len(body))
    problems = _problems_of_size(tree, text)
    return (None, problems) if problems else (tree, [])


def _move(tree: Formula, by: int) -> None:
    """Makes up for leading blanks, which Python's parser does not allow."""
    if by:
        for node in ast.walk(tree):
            if isinstance(node, ast.expr | ast.keyword) and node.end_col_offset is not None:
                node.col_offset += by
                node.end_col_offset += by


def _problems_of_text(text: str) -> list[Problem]:
    if len(text) > MAX_LENGTH:
        message = f"the formula has {len(text):,} characters, more than {MAX_LENGTH:,}"
        return [formula_problem(text, 1, message, "Split it into stages.")]
    if not text.strip():
        return [formula_problem(text, 1, "the formula is empty", GRAMMAR)]
    problems = [
        formula_problem(text, i + 1, message, suggestion)
        for i, char in enumerate(text)
        for message, suggestion in _character_faults(char)
    ]
    for number in re.finditer(rf"[0-9_]{{{MAX_DIGITS + 1},}}", text):
        message = f"a number with more than {MAX_DIGITS} digits"
        problems.append(formula_problem(text, number.start() + 1, message, "A double holds 17 digits."))
    deepest = _deep_bracket(text)
    return problems if problems or deepest is None else [_too_deep(text, deepest + 1)]


def _character_faults(char: str) -> list[tuple[str, str]]:
    if char in _CHARACTERS:
        return [_CHARACTERS[char]]
    if char in " \t\r\n" or (char.isascii() and char.isprintable()) or f"a{char}".isidentifier():
        return []
    return [(f"the character U+{ord(char):04X} cannot stand in a formula", "Remove it.")]


def _deep_bracket(text: str) -> int | None:
    depth = 0
    for i, char in enumerate(text):
        depth += (char in "([{") - (char in ")]}")
        if depth > MAX_DEPTH:
            return i
    return None


def _too_deep(text: str, column: int) -> Problem:
    message = f"more than {MAX_DEPTH} levels of nesting"
    return formula_problem(text, column, message, "Split the formula into stages.")


def _syntax_problem(error: SyntaxError, text: str, moved: int) -> Problem:
    """One sentence for what Python's parser found."""
    column = min(error.offset + moved, len(text) + 1) if error.offset else len(text.rstrip()) + 1
    for match in re.finditer(r"[^\W\d]\w*", text):
        word = match[0]
        if keyword.iskeyword(word) and word not in ("True", "False", "None"):
            message = f"'{word}' is a keyword of Python and cannot stand in a formula"
            return formula_problem(text, match.start() + 1, message, "Rename it.")
    for fragment, sentence, suggestion in _SYNTAX:
        if fragment in error.msg:
            return formula_problem(text, column, sentence, suggestion)
    rest = text[column - 1 :].split()
    near = f"near '{rest[0][:20]}'" if rest else "at its end"
    return formula_problem(text, column, f"this cannot be read as a formula {near}", GRAMMAR)


def _problems_of_size(tree: Formula, text: str) -> list[Problem]:
    """Counts nodes and levels with an explicit stack, before anything walks the tree by recursion."""
    waiting: list[tuple[ast.AST, int]] = [(tree, 1)]
    count = 0
    while waiting:
        node, depth = waiting.pop()
        if isinstance(node, ast.expr):
            count += 1
            if depth > MAX_DEPTH:
                return [_too_deep(text, character(text, node.col_offset) + 1)]
        for child in ast.iter_child_nodes(node):
            spine = isinstance(node, ast.BinOp) and child is node.left and isinstance(child, ast.BinOp)
            waiting.append((child, depth if spine else depth + isinstance(child, ast.expr)))
    if count > MAX_NODES:
        message = f"the formula has {count:,} numbers, names and operations, more than {MAX_NODES:,}"
        return [formula_problem(text, 1, message, "Split it into stages.")]
    return []


def character(text: str, byte: int) -> int:
    """The position of a character from Python's offset, which counts bytes of UTF-8.

    >>> character("\u03bb + x", 5)
    4
    """
    return byte if text.isascii() else len(text.encode()[:byte].decode(errors="ignore"))


def referenced_names(text: str) -> dict[str, int]:
    """The names that a formula mentions, each with the column of its first use; ops that are called left out.

    >>> referenced_names("exp(x) + x * w")
    {'x': 5, 'w': 14}
    """
    tree, _ = parsed(text)
    if tree is None:
        return {}
    called = {id(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
    found: dict[str, int] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and id(node) not in called:
            column = character(text, node.col_offset) + 1
            found[node.id] = min(column, found.get(node.id, column))
    return dict(sorted(found.items(), key=lambda item: item[1]))


def name_fault(name: str) -> str:
    """Why a text cannot name an input, a stage or a dim; empty where it can.

    Names of ops, ``pi`` and ``e`` may be taken: a call is told from a name by its bracket.

    >>> name_fault("lambda"), name_fault("w_1")
    ('it is a keyword of Python', '')
    """
    if len(name) > LONGEST_NAME:
        return f"it has more than {LONGEST_NAME} characters"
    if keyword.iskeyword(name):
        return "it is a keyword of Python"
    if not name.isidentifier():
        return "a name has letters, digits and '_', and does not start with a digit"
    normal = unicodedata.normalize("NFKC", name)
    return "" if normal == name else f"Python reads it as '{normal}'; write it so"

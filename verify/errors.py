"""What can be wrong with what a user gives, said so that it can be mended.

Every fault of a case file is a :class:`Problem`: what was expected, what was found, the file, line and column,
the line's own text, and a suggestion. All problems of a file travel together in one :class:`CaseError`. Whatever is
quoted in a message was written by others: it is cut where it is long, and what a terminal would obey is escaped.
"""

from __future__ import annotations

import difflib
import heapq
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

MOST_PROBLEMS = 50
"""Faults of one text after which nothing more is looked for: whoever has mended these runs it again."""
MOST_TOLD = 20
"""Faults of one text that its message tells."""
LONGEST_TELLING = 8_000
"""Characters of a message after which no further fault is told."""
LONGEST_SENTENCE = 300
"""Characters of what is wrong, and of what is suggested; names in a file may be longer than any screen."""
WINDOW = 160
"""Characters of a line that are shown, with the place that is meant among them."""
MOST_COMPARED = 100
"""Known words that a misspelt one is held against."""
LONGEST_WORD = 60
"""Characters of a word that may be a misspelling of another."""


def printable(text: str) -> str:
    r"""The text with everything invisible (control characters, direction marks) shown as its escape; newlines stay.

    A terminal obeys escape sequences, and a direction mark reorders what a reader sees: names come from files.

    >>> printable("a\x1b[31mb\nc")
    'a\\x1b[31mb\nc'
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c == "\n" else c.encode("unicode_escape").decode("ascii") for c in text)


def line_of(text: str) -> str:
    r"""The text in one line, newlines shown as escapes too.

    >>> line_of("a\nb")
    'a\\nb'
    """
    return printable(text).replace("\n", "\\n")


def shortened(text: str, length: int = LONGEST_WORD) -> str:
    r"""A text on one line, cut where it is long, for use inside a message.

    >>> shortened("x +\n y"), shortened("1234567890", 8)
    ('x + y', '12345...')
    """
    flat = " ".join(text[: 4 * length].split())
    return flat if len(flat) <= length and len(text) <= 4 * length else f"{flat[: length - 3]}..."


@dataclass(frozen=True, slots=True)
class Problem:
    """One fault in what the user wrote, with its place.

    ``line`` and ``column`` count from 1, as editors do; 0 means that the place is the file as a whole.

    >>> print(Problem("unknown op 'sigmiod'", "cases/x.yaml", 7, 10, "  f: 2 * sigmiod(x)", "Did you mean 'sigmoid'?"))
    cases/x.yaml:7:10: unknown op 'sigmiod'. Did you mean 'sigmoid'?
        f: 2 * sigmiod(x)
               ^
    """

    message: str
    file: str = ""
    line: int = 0
    column: int = 0
    text: str = ""
    suggestion: str = ""

    @property
    def place(self) -> str:
        """The place as ``file:line:column``, as far as it is known."""
        known = [self.file] if self.file else []
        if self.line:
            known += [str(self.line), str(max(self.column, 1))]
        return ":".join(known)

    def headline(self) -> str:
        """The problem in one line: place, message, suggestion."""
        sentence = _cut(self.message)
        if self.suggestion:
            sentence = f"{sentence.rstrip('.')}. {_cut(self.suggestion)}"
        return line_of(f"{self.place}: {sentence}" if self.place else sentence)

    def __str__(self) -> str:
        """The problem with the line that it is about and a caret under the column."""
        shown = self.text.rstrip("\r\n").replace("\t", " ")
        if not shown.strip():
            return self.headline()
        start, end = _window(shown, self.column - 1)
        before, after = "... " * bool(shown[:start].strip()), " ..." * (end < len(shown))
        lines = [self.headline(), f"    {before}{line_of(shown[start:end])}{after}"]
        if self.column > start:
            lines.append("    " + " " * len(before + line_of(shown[start : self.column - 1])) + "^")
        return "\n".join(lines)


def _cut(sentence: str) -> str:
    return sentence if len(sentence) <= LONGEST_SENTENCE else f"{sentence[: LONGEST_SENTENCE - 3]}..."


def _window(line: str, place: int) -> tuple[int, int]:
    """The part of a line that is shown: from its first sign on, or of a long one what stands around a place."""
    first = len(line) - len(line.lstrip())
    if len(line) - first <= WINDOW:
        return first, len(line)
    start = max(first, min(place - WINDOW // 2, len(line) - WINDOW))
    return start, start + WINDOW


class VerifyError(Exception):
    """A fault of the input, not of this program: the command prints it without a traceback and exits with 2."""

    def __str__(self) -> str:
        """The message, with what a terminal would obey escaped."""
        return printable(super().__str__())


class CaseError(VerifyError):
    """A case file that cannot be used; carries the problems found in it, and tells the first of them.

    Common causes: a misspelt op or field, a name used before its stage, shapes that do not fit, a missing value.

    >>> str(CaseError(Problem(f"fault {i}") for i in range(22))).splitlines()[-2:]
    ['fault 19', 'and 2 more problems']
    """

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems: Sequence[Problem] = tuple(problems)
        super().__init__("\n".join(self.told()))

    def told(self) -> tuple[str, ...]:
        """The first problems as texts, and how many there are besides.

        >>> CaseError([Problem("a fault")]).told()
        ('a fault',)
        """
        return tuple(_told(self.problems))


def _told(problems: Sequence[Problem]) -> Iterator[str]:
    """The first problems, one at least, and how many there are besides."""
    told = length = 0
    for problem in problems[:MOST_TOLD]:
        text = str(problem)
        length += len(text) + 1
        if told and length > LONGEST_TELLING:
            break
        told += 1
        yield text
    if left := len(problems) - told:
        at_least = "at least " * (len(problems) >= MOST_PROBLEMS)
        yield f"and {at_least}{left} more problem{'s' * (left > 1)}"


class Problems(list[Problem]):
    """The faults of one text as they are found; full after so many that reading on would help nobody.

    >>> problems = Problems()
    >>> problems.add(Problem("a fault"), Problem("another"))
    >>> len(problems)
    2
    """

    def add(self, *problems: Problem) -> None:
        """Faults more. Raises FullError."""
        self.extend(problems[: MOST_PROBLEMS - len(self)])
        if len(self) >= MOST_PROBLEMS:
            raise FullError


class FullError(Exception):
    """Enough faults were found in a text; whoever began to read it tells them."""


class Untraced(Enum):
    """What kind of thing keeps a function from being traced."""

    NO_OP = "no op"
    ARGUMENTS = "arguments"
    SIZE = "size"
    OTHER = "other"


class TraceError(VerifyError):
    """A function that cannot be turned into a graph by running it; says what it did, where, and what to do instead.

    Common causes: branches on values, ``float()``, writes into arrays, functions that are not NumPy's.
    """

    def __init__(self, problem: Problem, tried: str = "", kind: Untraced = Untraced.OTHER, op: str = "") -> None:
        self.problem = problem
        self.tried = tried
        """What the function did, in words."""
        self.kind = kind
        self.op = op
        """The library's name of the function that it is about, empty where it is about none."""
        super().__init__(str(problem))


class LimitError(BaseException):
    """A case that takes more than it may: processor time, memory, or a call that does not return.

    It is no ``Exception``: the code that is being run must not take it for one of its own.
    """


class UsageError(VerifyError):
    """An option, path or argument that cannot be used; the message says what to give instead."""


class WrongGradientError(AssertionError):
    """A gradient that does not pass; its first line is the cause, then comes the report.

    pytest shows it as it shows a failed assertion. ``run`` is what was found, None where nothing could be judged.
    """

    __module__ = "verify"  # where it is imported from; the line of a summary has no room for more

    def __init__(self, text: str, run: Any = None) -> None:
        super().__init__(text)
        self.run = run


class WeakCheckWarning(UserWarning):
    """A gradient that passes a check which could not have told: zero at every point, or a branch that none reached."""


class ShapeError(VerifyError):
    """Shapes that an op cannot combine; the message names both. Whoever knows the line turns it into a Problem."""


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """The nearest known word as a question, or an empty string where none is near.

    >>> did_you_mean("sigmiod", ["sigmoid", "sqrt"])
    "Did you mean 'sigmoid'?"
    >>> did_you_mean("qqq", ["sigmoid"])
    ''
    """
    near = nearest(word, known)
    return f"Did you mean '{near}'?" if near else ""


def nearest(word: str, known: Iterable[str]) -> str:
    """The nearest known word, or an empty string where none is near.

    >>> nearest("sigmiod", ["sigmoid", "sqrt"]), nearest("qqq", ["sigmoid"])
    ('sigmoid', '')
    """
    if len(word) > LONGEST_WORD:
        return ""

    def distance(other: str) -> tuple[bool, int]:
        return other[:1] != word[:1], abs(len(other) - len(word))

    words = heapq.nsmallest(MOST_COMPARED, known, key=distance)
    return next(iter(difflib.get_close_matches(word, words, n=1, cutoff=0.6)), "")

"""What can be wrong with what a user gives, said so that it can be mended.

Every fault of a case file is a :class:`Problem`: what was expected, what was found, the file, line and column,
the line's own text, and a suggestion. All problems of a file travel together in one :class:`CaseError`.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass


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
        sentence = self.message if not self.suggestion else f"{self.message.rstrip('.')}. {self.suggestion}"
        return f"{self.place}: {sentence}" if self.place else sentence

    def __str__(self) -> str:
        """The problem with the line that it is about and a caret under the column."""
        shown = self.text.rstrip("\r\n")
        if not shown.strip():
            return self.headline()
        indent = len(shown) - len(shown.lstrip())
        lines = [self.headline(), "    " + shown.lstrip()]
        if self.column > indent:
            lines.append("    " + " " * (self.column - 1 - indent) + "^")
        return "\n".join(lines)


class VerifyError(Exception):
    """A fault of the input, not of this program: the command prints it without a traceback and exits with 2."""


class CaseError(VerifyError):
    """A case file that cannot be used; carries every problem found in it.

    Common causes: a misspelt op or field, a name used before its stage, shapes that do not fit, a missing value.
    """

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems: Sequence[Problem] = tuple(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))


class TraceError(VerifyError):
    """A function that cannot be turned into a graph by running it; says what it did, where, and what to do instead.

    Common causes: branches on values, ``float()``, writes into arrays, functions that are not NumPy's.
    """

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        super().__init__(str(problem))


class UsageError(VerifyError):
    """An option, path or argument that cannot be used; the message says what to give instead."""


class WrongGradientError(AssertionError):
    """A gradient that does not pass; the message is the report. pytest shows it as it shows a failed assertion."""


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
    near = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f"Did you mean '{near[0]}'?" if near else ""

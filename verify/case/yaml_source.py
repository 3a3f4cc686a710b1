"""YAML as plain data with places: strict, safe, and exact about what each scalar means.

The text is read event by event, so nothing is ever constructed but dicts, lists and scalars, and depth costs no
recursion. Scalars follow the core schema of YAML 1.2: ``1e-3`` is a number, ``no`` a string, ``010`` is 10 and
``1:30`` a string. What could surprise (tags, aliases, merge keys, equal keys, several documents) is an error.
"""

from __future__ import annotations

import re
import sys
from bisect import bisect_right
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, NoReturn

from ruamel.yaml import YAML
from ruamel.yaml import events as yaml_events
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from verify.errors import MOST_PROBLEMS, CaseError, FullError, Problem, Problems, shortened

MAX_SHOWN = 43
"""Characters of a text that a message repeats."""

MAX_BYTES = 100_000
"""A case is written and read by people."""
MAX_PIECES = 20_000
"""Names, values and brackets of a file: the parser takes some 30 us for each of them."""
MAX_DEPTH = 24
"""The format needs four levels and one for each axis of a literal array."""
MAX_DIGITS = 400
"""Longer than any double written out; Python itself refuses to read integers beyond 4,300 digits."""

LONGEST_SEARCHED = 400
"""Characters of a line that are searched for the likely slip."""

Key = str | int
Keys = tuple[Key, ...]
"""A path into the data: ``("inputs", "x", "at", 0)``."""

_LINE_BREAK = re.compile("\r\n|[\n\r\x85\u2028\u2029]")
_INTEGER = re.compile(r"[-+]?[0-9]+")
_OCTAL = re.compile(r"0o[0-7]+")
_HEXADECIMAL = re.compile(r"0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_SPECIAL_FLOAT = re.compile(r"([-+]?)\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
_WORDS: Mapping[str, Any] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
_OPEN_INTERVAL = re.compile(r"""\([^()\[\]'"]*,[^()\[\]'"]*[\])]|\[[^()\[\]'"]*,[^()\[\]'"]*\)""")
_QUOTE_IT = "Put the text in quotes."

_SENTENCES: tuple[tuple[str, str, str], ...] = (
    ("found character '\\t'", "a tab cannot be used for indentation", "Use spaces."),
    ("that cannot start any token", "unquoted text cannot start with this character", _QUOTE_IT),
    ("mapping values are not allowed", "a ':' is not expected here", "Check the indentation, or quote text with ': '."),
    ("sequence entries are not allowed", "a list entry '- ' is not expected here", "Put the list on its own line."),
    ("could not find expected ':'", "this line is not of the form 'name: value'", "Put ': ' after the name."),
    ("expected <block end>", "this line does not fit the lines above", "Check the indentation and the brackets."),
    ("expected ',' or '}'", "a '{' is not closed, or its entries lack a ','", "Quote text with brackets or commas."),
    ("expected ',' or ']'", "a '[' is not closed, or its entries lack a ','", "Quote text with brackets or commas."),
    ("found unexpected end of stream", "quoted text is never closed", "Add the closing quote."),
    ("unknown escape character", "an unknown escape in double quotes", "Use single quotes."),
    ("special characters are not allowed", "a control character", "Delete it."),
)  # fmt: skip
"""What ruamel says -> what is wrong, and how to mend it."""


def scalar_value(text: str) -> Any:
    """What unquoted text means in YAML 1.2; raises ValueError for a number that no double can hold.

    >>> [scalar_value(text) for text in ("1e-3", "no", "010", "1:30", "0x1F", "~", "true")]
    [0.001, 'no', 10, '1:30', 31, None, True]
    """
    if text in _WORDS:
        return _WORDS[text]
    for pattern, base in ((_INTEGER, 10), (_OCTAL, 8), (_HEXADECIMAL, 16)):
        if pattern.fullmatch(text):
            return _held(text, int(_short_enough(text), base))
    if _FLOAT.fullmatch(text):
        return _held(text, float(_short_enough(text)))
    special = _SPECIAL_FLOAT.fullmatch(text)
    if special:
        return float("nan") if special[3] else float(f"{special[1]}inf")
    return text


def _short_enough(text: str) -> str:
    if len(text) > MAX_DIGITS:
        raise ValueError(f"a number of {len(text)} characters; at most {MAX_DIGITS} are read")
    return text


def _held(text: str, value: float) -> float:
    """A number as it was read, unless the nearest double is infinite, or 0 where the number is not."""
    if abs(value) > sys.float_info.max:
        raise ValueError(f"the number {shortened(text, 40)} is too large for a double")
    if value == 0 and re.search("[1-9]", re.split("[eExo]", text)[0]):
        raise ValueError(f"the number {shortened(text, 40)} is too small for a double, which would be 0")
    return value


@dataclass(frozen=True, slots=True)
class Mark:
    """Where one value stands; lines and columns count from 1."""

    line: int
    column: int
    index: int
    """Characters of the file before it."""
    key_line: int
    key_column: int
    text: str = ""
    """A scalar as it is written, quotes and folding undone; empty for mappings and lists."""
    style: str = ""
    """``'``, ``"``, ``|``, ``>`` or empty for unquoted text."""


class Lines:
    r"""The lines of a text, by number from 1 on.

    >>> lines = Lines("a: 1\nb: 2")
    >>> lines.text_of(2), lines.place(6)
    ('b: 2', (2, 2))
    """

    def __init__(self, text: str) -> None:
        self.text = text
        self.starts = (0, *(match.end() for match in _LINE_BREAK.finditer(text)))
        self._shown: dict[int, str] = {}  # a thousand faults of one long line share its text

    def text_of(self, line: int) -> str:
        """The text of a line, empty where there is none."""
        if line not in self._shown and 1 <= line <= len(self.starts):
            end = self.starts[line] if line < len(self.starts) else len(self.text)
            self._shown[line] = self.text[self.starts[line - 1] : end].rstrip("\r\n\x85\u2028\u2029")
        return self._shown.get(line, "")

    def place(self, index: int) -> tuple[int, int]:
        """Line and column of a character of the text."""
        line = bisect_right(self.starts, index)
        return line, index - self.starts[line - 1] + 1


@dataclass(frozen=True, slots=True)
class Source:
    """The data of a YAML text, and where each part of it stands.

    >>> source = parse_source("x: {at: 3}", "a.yaml")
    >>> source.data, source.marks["x", "at"].column
    ({'x': {'at': 3}}, 9)
    >>> print(source.problem(("x", "at"), "too small"))
    a.yaml:1:9: too small
        x: {at: 3}
                ^
    """

    file: str
    text: str
    data: Any
    marks: Mapping[Keys, Mark]
    problems: tuple[Problem, ...] = ()
    """Faults that do not keep the rest from being read: keys that are given twice."""
    lines: Lines = field(default_factory=lambda: Lines(""), repr=False)

    def problem(self, path: Keys, message: str, suggestion: str = "", *, key: bool = False) -> Problem:
        """A problem at a value (or at its key); where the path does not exist, at the nearest part that does."""
        known = next(path[:n] for n in range(len(path), -1, -1) if path[:n] in self.marks)
        mark = self.marks[known]
        at_key = key or known != path
        place = (mark.key_line, mark.key_column) if at_key else (mark.line, mark.column)
        return self.problem_at(place, message, suggestion)

    def problem_at(self, place: tuple[int, int], message: str, suggestion: str = "") -> Problem:
        """A problem at a line and a column."""
        return Problem(message, self.file, *place, self.lines.text_of(place[0]), suggestion)

    def places(self, path: Keys) -> tuple[tuple[int, int], ...]:
        """Line and column of each character of a scalar, and of its end.

        Folding, quotes and escapes make the text differ from the file. Its visible characters are looked up in the
        file one by one; from the first that is not there (an escape) the rest gets the place of that one.
        """
        mark = self.marks[path]
        i = mark.index + (mark.style in ("'", '"'))
        if mark.style in ("|", ">"):
            i = self.text.find("\n", i) + 1
        found = []
        for char in mark.text:
            while i < len(self.text) and self.text[i].isspace() and self.text[i] != char:
                i += 1
            if i < len(self.text) and self.text[i] == char:
                found.append(self.lines.place(i))
                i += 1
            else:
                found.append(found[-1] if found else (mark.line, mark.column))
        return (*found, self.lines.place(i))


def source_text(path: str | Path) -> str:
    """The text of a YAML file. Raises CaseError where it cannot be read, is too large, or no UTF-8.

    >>> source_text("nowhere.yaml")
    Traceback (most recent call last):
    verify.errors.CaseError: nowhere.yaml: there is no such file. Check the path.
    """
    file = str(path)
    try:
        if Path(path).is_fifo():
            message = "this is a pipe, which can be read only once"
            raise CaseError([Problem(message, file, suggestion="Write the case to a file.")])
        with Path(path).open("rb") as stream:
            raw = stream.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        raise CaseError([_unreadable(file, error)]) from None
    if len(raw) > MAX_BYTES:
        message = f"the file is larger than {MAX_BYTES:,} bytes"
        raise CaseError([Problem(message, file, suggestion="Let large arrays be drawn with 'at: normal'.")])
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        column = error.start - raw.rfind(b"\n", 0, error.start)
        message = f"the file is not UTF-8 (byte 0x{raw[error.start]:02x})"
        raise CaseError([Problem(message, file, line, column, suggestion="Save it as UTF-8.")]) from None


def _unreadable(file: str, error: OSError | ValueError) -> Problem:
    if isinstance(error, IsADirectoryError):
        return Problem("this is a folder, expected a case file", file, suggestion="Name a .yaml file in it.")
    if isinstance(error, FileNotFoundError) and Path(file).is_symlink():
        message = f"this is a link to {Path(file).readlink()}, and there is no such file"
        return Problem(message, file, suggestion="Mend the link, or remove it.")
    if isinstance(error, FileNotFoundError):
        return Problem("there is no such file", file, suggestion="Check the path.")
    reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return Problem(f"the file cannot be read: {reason}", file, suggestion="Check its permissions.")


def parse_source(text: str, file: str = "<text>") -> Source:
    """A YAML text as data with places. Raises CaseError with every problem of the text as YAML.

    >>> parse_source("a: [1, no]").data
    {'a': [1, 'no']}
    """
    tree = _Tree(text, file)
    problems = _problems_of_text(text, tree)
    if problems:
        raise CaseError(problems)
    try:
        for event in _events(text):
            tree.take(event)
    except YAMLError as error:
        tree.stop(_syntax_problem(error, tree))
    except FullError:
        raise CaseError(tree.fatal or tree.repeats) from None
    return tree.finish()


def _events(text: str) -> Iterator[Any]:
    yaml = YAML(typ="safe", pure=True)
    yield from yaml.parse(text)


def _problems_of_text(text: str, tree: _Tree) -> list[Problem]:
    """What can be said before the text is parsed."""
    if len(text) > MAX_BYTES:
        return [Problem(f"the text is longer than {MAX_BYTES:,} characters", tree.file)]
    if text.startswith("\ufeff"):
        return [tree.problem(1, 1, "the file starts with a byte-order mark", "Save it as UTF-8 without BOM.")]
    found = (
        tree.problem(number, line.index("\t") + 1, "a tab cannot be used for indentation", "Use spaces.")
        for number, line in enumerate(_LINE_BREAK.split(text), 1)
        if line.strip() and "\t" in _indent(line)
    )
    return list(islice(found, MOST_PROBLEMS))


def _indent(line: str) -> str:
    return line[: len(line) - len(line.lstrip(" \t"))]


def _syntax_problem(error: YAMLError, tree: _Tree) -> Problem:
    """One sentence for what ruamel found, with the place that it found it at."""
    said = str(getattr(error, "problem", None) or getattr(error, "reason", None) or error).split("\n")[0]
    line, column, first = 1, 1, 1
    if isinstance(error, MarkedYAMLError) and error.problem_mark is not None:
        line, column = error.problem_mark.line + 1, error.problem_mark.column + 1
        first = error.context_mark.line + 1 if error.context_mark is not None else line
        if (
            "end of stream" in said or "could not find" in said
        ) and error.context_mark is not None:  # the place to mend is where it opens
            line, column = first, error.context_mark.column + 1
    elif isinstance(position := getattr(error, "position", None), int):
        line, column = tree.lines.place(position)
        first = line
    hint = _interval_hint(tree, first, line)
    opened = f" (opened on line {first})" if first < line else ""
    for fragment, sentence, suggestion in _SENTENCES:
        if fragment in said:
            message = "not valid YAML: " + sentence.replace(" is not closed", f" is not closed{opened}")
            return tree.problem(line, column, message, hint or suggestion)
    return tree.problem(line, column, f"not valid YAML: {said}", hint or "Check brackets, quotes and indentation.")


def _interval_hint(tree: _Tree, first: int, last: int) -> str:
    """An unquoted open interval is the most likely slip: YAML takes its bracket for its own."""
    for line in range(max(first, last - 5), last + 1):
        found = _OPEN_INTERVAL.search(tree.lines.text_of(line)[:LONGEST_SEARCHED])
        if found:
            return f"Put the open interval in quotes: '{found[0]}'."
    return ""


@dataclass(slots=True)
class _Frame:
    """A mapping or list that is not closed yet."""

    data: dict[str, Any] | list[Any]
    path: Keys
    discarded: bool
    """Whether this is the value of a key that was given twice."""
    key: str | None = None
    key_place: tuple[int, int] = (0, 0)
    repeated: bool = False


class _Tree:
    """Puts the parser's events together; an explicit stack, so that depth is bounded by a limit alone."""

    def __init__(self, text: str, file: str) -> None:
        self.text, self.file, self.lines = text, file, Lines(text)
        self.marks: dict[Keys, Mark] = {}
        self.fatal = Problems()
        self.repeats = Problems()
        self.frames: list[_Frame] = []
        self.root: Any = None
        self.documents = self.pieces = 0
        self.handlers = {
            yaml_events.DocumentStartEvent: self._document,
            yaml_events.MappingStartEvent: self._open,
            yaml_events.SequenceStartEvent: self._open,
            yaml_events.MappingEndEvent: self._close,
            yaml_events.SequenceEndEvent: self._close,
            yaml_events.ScalarEvent: self._scalar,
            yaml_events.AliasEvent: self._alias,
        }

    def take(self, event: Any) -> None:
        """One event more."""
        self.pieces += 1
        if self.pieces > MAX_PIECES:
            message = f"the file has more than {MAX_PIECES:,} names, values and brackets"
            self.stop(self._at(event, message, "Let large arrays be drawn with 'at: normal'."))
        handler = self.handlers.get(type(event))
        if handler is not None:
            handler(event)

    def finish(self) -> Source:
        """The data, once all events are in."""
        if self.fatal:
            raise CaseError(sorted(self.fatal + self.repeats, key=lambda problem: (problem.line, problem.column)))
        if self.root is None:
            suggestion = "`verify new NAME` writes a case to start from."
            self.stop(Problem("the file is empty", self.file, suggestion=suggestion))
        return Source(self.file, self.text, self.root, self.marks, tuple(self.repeats), self.lines)

    def stop(self, problem: Problem) -> NoReturn:
        """Ends the reading: what follows cannot be understood, nor what else was found on that line."""
        earlier = [other for other in (*self.fatal, *self.repeats) if other.line != problem.line]
        raise CaseError([*earlier, problem]) from None

    def problem(self, line: int, column: int, message: str, suggestion: str = "") -> Problem:
        """A problem at a place of the text."""
        return Problem(message, self.file, line, column, self.lines.text_of(line), suggestion)

    def _at(self, event: Any, message: str, suggestion: str) -> Problem:
        return self.problem(event.start_mark.line + 1, event.start_mark.column + 1, message, suggestion)

    def _document(self, event: Any) -> None:
        self.documents += 1
        if self.documents > 1:
            self.stop(self._at(event, "a second document starts here", "One file holds one case: remove the '---'."))
        if getattr(event, "version", None) or getattr(event, "tags", None):
            self.stop(self.problem(1, 1, "directives are not used here", "Remove the lines that start with '%'."))

    def _open(self, event: Any) -> None:
        mapping = isinstance(event, yaml_events.MappingStartEvent)
        if self._awaits_key():
            self.stop(self._at(event, "a key is a name, not a list or mapping", "Quote it, or remove the brackets."))
        if len(self.frames) >= MAX_DEPTH:
            self.stop(self._at(event, f"more than {MAX_DEPTH} levels of nesting", "Remove the surplus brackets."))
        self._check_plain(event)
        data: dict[str, Any] | list[Any] = {} if mapping else []
        path, discarded = self._add(data, event)
        self.frames.append(_Frame(data, path, discarded))

    def _close(self, event: Any) -> None:
        del event
        self.frames.pop()

    def _alias(self, event: Any) -> None:
        message = f"an alias '*{shortened(event.anchor)}' is not allowed"
        self.fatal.add(self._at(event, message, "Write the value out, or quote the text."))
        if self._awaits_key():
            self._key(event, f"*{event.anchor}")
        else:
            self._add(None, event)

    def _scalar(self, event: Any) -> None:
        self._check_plain(event)
        try:
            event.value.encode()  # an escape such as "\ud800" makes half a character, which nothing can print
            value = scalar_value(event.value) if event.implicit[0] else event.value
        except UnicodeEncodeError:
            self.fatal.add(self._at(event, "half of a surrogate pair is no character", "Write the character itself."))
            value = event.value = event.value.encode(errors="replace").decode()
        except ValueError as error:
            self.fatal.add(self._at(event, str(error), "Write a number that a double can hold."))
            value = 0.0
        if self._awaits_key():
            self._check_key(event, value)
            self._key(event, event.value)
        else:
            self._add(value, event, event.value)

    def _check_plain(self, event: Any) -> None:
        """Tags and anchors make YAML a language: neither is needed for a case."""
        if event.tag is not None:
            message = f"a tag ({shortened(str(event.tag))}) is not allowed"
            self.fatal.add(self._at(event, message, "Remove it, or quote the text."))
        if event.anchor is not None:
            message = f"an anchor '&{shortened(event.anchor)}' is not allowed"
            self.fatal.add(self._at(event, message, "Remove it, or quote the text."))

    def _check_key(self, event: Any, value: Any) -> None:
        if value == "<<" and event.implicit[0]:
            self.fatal.add(self._at(event, "a merge key '<<' is not allowed", "Write the fields out."))
        elif not isinstance(value, str):
            shown = shortened(event.value)
            remedy = f"Quote it: '{shown}'; a formula with a comma between braces is quoted as a whole."
            self.fatal.add(self._at(event, f"a key must be a name, got {shown or 'nothing'}", remedy))

    def _awaits_key(self) -> bool:
        return bool(self.frames) and isinstance(self.frames[-1].data, dict) and self.frames[-1].key is None

    def _key(self, event: Any, name: str) -> None:
        frame = self.frames[-1]
        frame.key = name
        frame.key_place = (event.start_mark.line + 1, event.start_mark.column + 1)
        frame.repeated = name in frame.data
        if frame.repeated and not frame.discarded:
            first = self.marks[(*frame.path, name)].key_line
            message = f"the key '{shortened(name)}' is given twice (first on line {first})"
            self.repeats.add(self._at(event, message, "Remove or rename one of them."))

    def _add(self, value: Any, event: Any, text: str = "") -> tuple[Keys, bool]:
        """Puts a value where it belongs; returns its path and whether it is thrown away."""
        place = (event.start_mark.line + 1, event.start_mark.column + 1)
        path: Keys = ()
        discarded, key_place = False, place
        if not self.frames:
            self.root = value
        else:
            frame = self.frames[-1]
            discarded = frame.discarded
            if isinstance(frame.data, list):
                path = (*frame.path, len(frame.data))
                frame.data.append(value)
            elif frame.key is not None:
                path, key_place = (*frame.path, frame.key), frame.key_place
                discarded = discarded or frame.repeated
                if not discarded:
                    frame.data[frame.key] = value
                frame.key = None
        if not discarded:
            style = getattr(event, "style", None) or ""
            self.marks[path] = Mark(*place, event.start_mark.index, *key_place, text, style)
        return path, discarded


def kind_of(value: Any) -> str:
    """What a piece of YAML is, in words.

    >>> kind_of([1]), kind_of(None), kind_of(True), kind_of("no")
    ('a list', 'nothing', 'true', "the text 'no'")
    """
    if value is None or isinstance(value, bool):
        return {None: "nothing", True: "true", False: "false"}[value]
    if isinstance(value, str):
        return f"the text {shortened(value, MAX_SHOWN)!r}"
    words = {dict: "a mapping", list: "a list", int: "a whole number", float: "a number"}
    return f"{words[type(value)]} ({value})"[:60] if isinstance(value, int | float) else words[type(value)]

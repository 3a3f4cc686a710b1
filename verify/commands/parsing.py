"""The parser of the command line, and where its options get their values besides: pyproject.toml and the environment.

There is no second list: an option ``--proof-work`` is ``proof-work`` in ``[tool.verify]`` and ``VERIFY_PROOF_WORK``
in the environment, and each value goes through what reads it on the command line, which comes first, then the
environment. This file is loaded by ``verify --help``: it imports ``argparse`` alone until a value is read.
"""

from __future__ import annotations

import argparse

TYPE_CHECKING = False  # typing itself takes longer to import than this file; checkers read the name all the same
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path
    from typing import Any, NoReturn

    Commands = Mapping[str, tuple[str, Callable[["Parser"], None], Callable[[argparse.Namespace], int]]]

PREFIX = "VERIFY_"
"""What names of variables in the environment begin with."""

OTHERS = ("cache",)
"""Variables that are no options."""

TRUE, FALSE = ("1", "true", "yes", "on"), ("", "0", "false", "no", "off")


class Parser(argparse.ArgumentParser):
    """A parser that remembers its options: a misspelt one is answered with the nearest, and they have names elsewhere.

    >>> parser = Parser(prog="verify run")
    >>> parser.add_argument("--proof-work", type=int).dest, list(parser.options)
    ('proof_work', ['proof_work'])
    """

    def __init__(self, **keywords: Any) -> None:
        self.flags: list[str] = []
        self.options: dict[str, argparse.Action] = {}
        """By the long name, with underscores; what only prints and ends is none."""
        super().__init__(**keywords, allow_abbrev=False)

    def error(self, message: str) -> NoReturn:
        """The same message, with what a terminal would obey escaped: it quotes the command line."""
        from verify.errors import printable

        super().error(printable(message))

    def add_argument(self, *names: Any, **keywords: Any) -> argparse.Action:
        """Adds an argument and remembers its spellings."""
        return self._remembered(super().add_argument(*names, **keywords))

    def add_mutually_exclusive_group(self, **keywords: Any) -> Any:
        """A group whose arguments are remembered too."""
        group = super().add_mutually_exclusive_group(**keywords)
        plain = group.add_argument
        group.add_argument = lambda *names, **more: self._remembered(plain(*names, **more))  # type: ignore[method-assign]
        return group

    def _remembered(self, action: argparse.Action) -> argparse.Action:
        self.flags += action.option_strings
        long = [flag for flag in action.option_strings if flag.startswith("--")]
        if long and action.dest not in ("help", "version"):
            self.options[long[0].removeprefix("--").replace("-", "_")] = action
        return action

    def refuse(self, word: str) -> NoReturn:
        """Ends the program over a word that no argument is."""
        kind = "option" if word.startswith("-") else "argument"
        self.error(f"unknown {kind} '{word}'{near(word, self.flags)}")


def near(word: str, known: Any) -> str:
    """The nearest of known words as the end of a message, empty where none is near.

    >>> near("rum", ["run"])
    ". Did you mean 'run'?"
    """
    from verify.errors import did_you_mean

    suggestion = did_you_mean(word, known)
    return f". {suggestion}" if suggestion else ""


def configure(parsers: Mapping[str, Parser], command: str) -> None:
    """Gives the options of a command the values that pyproject.toml and the environment have for them.

    Raises UsageError, with the place, for a name that no option of any command has, and a value that does not fit.

    >>> configure({"run": Parser()}, "run")
    """
    known = {name for parser in parsers.values() for name in parser.options}
    options = parsers[command].options
    for place, name, value in (*_of_project(known), *_of_environment(known)):
        if name in options:
            parsers[command].set_defaults(**{options[name].dest: _value(options[name], value, place)})


def _of_environment(known: set[str]) -> Iterator[tuple[str, str, Any]]:
    """Place, option and value of each variable that is ours; one that is nearly ours is refused."""
    import os

    from verify.errors import UsageError, did_you_mean

    for variable, value in os.environ.items():
        name = variable.removeprefix(PREFIX).lower()
        if not variable.startswith(PREFIX) or name in OTHERS:
            continue
        if name in known:
            yield f"the variable {variable}", name, value
        elif suggestion := did_you_mean(variable, [PREFIX + other.upper() for other in known if _is_near(other, name)]):
            raise UsageError(f"no option is set by the variable {variable}. {suggestion}")


def _is_near(one: str, other: str) -> bool:
    """Whether two names are near without what all have in front: the variables of other programs are not ours."""
    from verify.errors import did_you_mean

    return bool(did_you_mean(one, [other]))


def _of_project(known: set[str]) -> Iterator[tuple[str, str, Any]]:
    """The same of ``[tool.verify]`` in the nearest pyproject.toml, here or in a folder above."""
    from verify.errors import UsageError

    path = _project_file()
    if path is None or b"verify" not in (body := path.read_bytes()):
        return
    import tomllib

    try:
        table = tomllib.loads(body.decode("utf-8")).get("tool", {}).get("verify", {})
    except ValueError as error:
        if b"tool.verify" in body:
            raise UsageError(f"{path} cannot be read: {error}") from error
        return
    if not isinstance(table, dict):
        raise UsageError(f"{path}: tool.verify is no table. Write [tool.verify]")
    for key, value in table.items():
        name = key.replace("-", "_")
        if name not in known:
            shown = sorted(other.replace("_", "-") for other in known)
            raise UsageError(f"{path}: [tool.verify] has '{key}', which no option is called{near(key, shown)}")
        yield f"{path}: [tool.verify] {key}", name, value


def _project_file() -> Path | None:
    from pathlib import Path

    here = Path.cwd()
    return next((path for folder in (here, *here.parents) if (path := folder / "pyproject.toml").is_file()), None)


def _value(action: argparse.Action, value: Any, place: str) -> Any:
    """A value as the option has it. Raises UsageError where it does not fit."""
    from verify.errors import UsageError

    if action.nargs == 0:
        word = str(value).lower()
        if word not in (*TRUE, *FALSE):
            raise UsageError(f"{place}: expected true or false, got '{value}'")
        return word in TRUE
    if isinstance(action.default, list):
        return [_text(item, place) for item in (value if isinstance(value, list) else [value])]
    text = ",".join(map(str, value)) if isinstance(value, list) else _text(value, place)
    read: Any = action.type or str
    try:
        found = read(text)
    except (argparse.ArgumentTypeError, ValueError) as error:
        raise UsageError(f"{place}: {error}") from error
    if action.choices is not None and found not in action.choices:
        raise UsageError(f"{place}: expected one of {', '.join(map(str, action.choices))}, got '{text}'")
    return found


def _text(value: Any, place: str) -> str:
    from verify.errors import UsageError

    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise UsageError(f"{place}: expected text or a number, got {value!r:.60}")
    return str(value)


def completion(parser: Parser, parsers: Mapping[str, Parser], shell: str) -> str:
    """The script that completes the command line in a shell. Raises UsageError where shtab is not installed.

    >>> "verify" in completion(Parser(prog="verify"), {}, "bash")
    True
    """
    from verify.errors import UsageError

    try:
        import shtab
    except ImportError:
        message = "completion needs the package shtab: pip install 'verify-gradients[completion]'"
        raise UsageError(message) from None
    for action in (action for one in parsers.values() for action in one._actions):  # noqa: SLF001 - none is public
        if action.metavar in ("PATH", "FILE", "CASE", "DIR"):
            action.complete = shtab.DIRECTORY if action.metavar == "DIR" else shtab.FILE  # type: ignore[attr-defined]
    return str(shtab.complete(parser, shell=shell))

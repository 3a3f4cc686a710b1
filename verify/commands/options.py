"""Every option that says how cases are checked, defined once for the command line and for pytest.

argparse's ``add_argument`` and pytest's ``addoption`` take the same arguments, so one table serves both. This file
is loaded by ``verify --help`` and by every run of pytest: it imports ``argparse`` and nothing else until it is used.
"""

from __future__ import annotations

import argparse

TYPE_CHECKING = False  # typing itself takes longer to import than this file; checkers read the name all the same
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    from verify.running.settings import Settings


def count(text: str) -> int:
    """A number of things, zero or more. Raises ``argparse.ArgumentTypeError`` for anything else.

    >>> count("1_000")
    1000
    >>> count("-3")
    Traceback (most recent call last):
    argparse.ArgumentTypeError: expected a whole number, zero or more, got '-3'
    """
    return _whole_number(text, 0, "a whole number, zero or more")


def positive_count(text: str) -> int:
    """A number of things, one or more. Raises ``argparse.ArgumentTypeError`` for anything else.

    >>> positive_count("2")
    2
    >>> positive_count("0")
    Traceback (most recent call last):
    argparse.ArgumentTypeError: expected a whole number, one or more, got '0'
    """
    return _whole_number(text, 1, "a whole number, one or more")


def job_count(text: str) -> int | None:
    """Cases at a time, None for ``auto``. Raises ``argparse.ArgumentTypeError`` for anything else.

    >>> job_count("4"), job_count("auto")
    (4, None)
    """
    return None if text == "auto" else _whole_number(text, 1, "auto or a whole number, one or more")


def method_names(text: str) -> tuple[str, ...]:
    """Methods by name, separated by commas. Raises ``argparse.ArgumentTypeError`` for a name that is none.

    >>> method_names("reverse, central")
    ('reverse', 'central')
    >>> method_names("foo")
    Traceback (most recent call last):
    argparse.ArgumentTypeError: unknown method 'foo', expected some of symbolic, reverse, central, autograd, jax, torch
    """
    from verify.errors import did_you_mean

    known = known_methods()
    names = tuple(dict.fromkeys(name.strip() for name in text.split(",")))
    for name in names:
        if name not in known:
            message = f"unknown method '{name}', expected some of {', '.join(known)}"
            suggestion = did_you_mean(name, known)
            raise argparse.ArgumentTypeError(f"{message}. {suggestion}" if suggestion else message)
    return names


def known_methods() -> tuple[str, ...]:
    """The methods by name: the three, then those that are run only where they are asked for.

    The listing of the folder is the registry; nothing of it is imported here.

    >>> known_methods()
    ('symbolic', 'reverse', 'central', 'autograd', 'jax', 'torch')
    """
    from pathlib import Path

    from verify.records import METHODS

    files = sorted(path.stem for path in Path(__file__).parent.with_name("methods").glob("[!_]*.py"))
    return (*METHODS, *(name for name in files if name not in METHODS))


def bits(text: str) -> int:
    """A precision in bits, 128 or more. Raises ``argparse.ArgumentTypeError`` for anything else.

    >>> bits("4096")
    4096
    >>> bits("64")
    Traceback (most recent call last):
    argparse.ArgumentTypeError: expected a whole number of bits, 128 or more, got '64'
    """
    return _whole_number(text, 128, "a whole number of bits, 128 or more")


def gone(text: str) -> str:
    """What ``--proof-seconds`` is answered with. Raises ``argparse.ArgumentTypeError`` whatever the time is.

    >>> gone("1")
    Traceback (most recent call last):
    argparse.ArgumentTypeError: proofs are not timed any more, since verdicts would depend on the machine: ...
    """
    message = (
        "proofs are not timed any more, since verdicts would depend on the machine: "
        f"in place of {text} s say how many ball operations one point may take, such as proof-work 2000000"
    )
    raise argparse.ArgumentTypeError(message)


def seconds(text: str) -> float:
    """A time, more than none. Raises ``argparse.ArgumentTypeError`` for anything else.

    >>> seconds("0.5")
    0.5
    >>> seconds("inf")
    Traceback (most recent call last):
    argparse.ArgumentTypeError: expected a number of seconds above 0, got 'inf'
    """
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0 < number < float("inf"):
        message = f"expected a number of seconds above 0, got '{text}'"
        raise argparse.ArgumentTypeError(message)
    return number


def memory(text: str) -> int:
    """Bytes, or a number with K, M, G or T for times 1024. Raises ``argparse.ArgumentTypeError`` for anything else.

    >>> memory("2G"), memory("512M")
    (2147483648, 536870912)
    >>> memory("much")
    Traceback (most recent call last):
    argparse.ArgumentTypeError: expected an amount of memory of 16M or more, such as 2G, got 'much'
    """
    unit = "KMGT".find(text[-1:].upper()) + 1 if text else 0
    digits = text[: -1 if unit else None]
    number = int(digits) * 1024**unit if digits.isascii() and digits.isdigit() and len(digits) < 20 else 0
    if number < 2**24:
        message = f"expected an amount of memory of 16M or more, such as 2G, got '{text}'"
        raise argparse.ArgumentTypeError(message)
    return number


def _whole_number(text: str, least: int, expected: str) -> int:
    try:
        number = int(text)
    except ValueError:
        number = least - 1
    if number < least:
        message = f"expected {expected}, got '{text}'"
        raise argparse.ArgumentTypeError(message)
    return number


RUN_OPTIONS: Mapping[str, Mapping[str, Any]] = {
    "points": {
        "type": count,
        "default": 64,
        "metavar": "N",
        "help": "random points for each case, besides its own (default: 64)",
    },
    "seed": {
        "type": count,
        "default": 0,
        "metavar": "N",
        "help": "seed of everything that is drawn: points, upstream gradients, arrays (default: 0)",
    },
    "methods": {
        "type": method_names,
        "default": None,
        "metavar": "NAMES",
        "help": "these, separated by commas: symbolic, reverse, central (the default), autograd, jax, torch",
    },
    "sizes": {
        "type": count,
        "default": None,
        "metavar": "N",
        "help": "other small sizes at which a case with dims is run too, 0 for none (default: 2; 6 for a gradient)",
    },
    "proof_work": {
        "type": positive_count,
        "default": 2_000_000,
        "metavar": "N",
        "help": "ball operations for the proof of one point; what takes more is not proved (default: 2000000)",
    },
    "require_proof": {
        "action": "store_true",
        "help": "fail a case where a row is not proved that was to be: of its own points, and of 8 random ones",
    },
    "forget": {
        "action": "store_true",
        "help": "neither keep points at which a gradient fails for the next run, nor look at those of earlier ones",
    },
    "proof_bits": {
        "type": bits,
        "default": 2000,
        "metavar": "N",
        "help": "precision up to which a proof may rise, in bits (default: 2000)",
    },
    "case_seconds": {
        "type": seconds,
        "default": 120.0,
        "metavar": "S",
        "help": "processor time for one case at one size, in seconds; what takes more is an ERROR (default: 120)",
    },
    "case_memory": {
        "type": memory,
        "default": None,
        "metavar": "SIZE",
        "help": "memory for one case, such as 2G; what takes more is an ERROR (default: as much as there is)",
    },
    "call_seconds": {
        "type": seconds,
        "default": 60.0,
        "metavar": "S",
        "help": "time for each call of a gradient that is handed in; no answer by then is an ERROR (default: 60)",
    },
}
"""The options by name, with what argparse and pytest want to know of each."""

SCORE_OPTIONS: Mapping[str, Mapping[str, Any]] = {
    "kill_score": {
        "action": "store_true",
        "help": "how many single faults of each backward pass the run catches, and how many a usual check lets pass",
    },
}
"""What else a run may tell of a case, for the command line alone: it is about the check, and no test fails by it."""


GONE_OPTIONS: Mapping[str, Mapping[str, Any]] = {
    "proof_seconds": {"type": gone, "default": None, "metavar": "S", "help": argparse.SUPPRESS},
}
"""Options that are answered with what stands in their place."""


def add_run_options(add: Callable[..., object], prefix: str = "--") -> None:
    """Adds the options through argparse's ``add_argument`` or pytest's ``addoption``, their names behind ``prefix``.

    >>> parser = argparse.ArgumentParser()
    >>> add_run_options(parser.add_argument, "--verify-")
    >>> parser.parse_args(["--verify-points", "8"]).verify_points
    8
    """
    for name, keywords in {**RUN_OPTIONS, **GONE_OPTIONS}.items():
        add(prefix + name.replace("_", "-"), **keywords)


def settings(value_of: Callable[[str], Any]) -> Settings:
    """The runner's settings from whatever holds the options: ``value_of`` gives the value of each by name.

    What it has no value for, None, is as the runner has it.

    >>> asked = settings({"points": 8, "seed": 3, "methods": ("reverse", "central")}.get)
    >>> asked.points, asked.seed, asked.methods
    (8, 3, ('reverse', 'central'))
    """
    from verify.running.settings import Settings

    given = {name: value_of(name) for name in RUN_OPTIONS}
    return Settings(**{name: value for name, value in given.items() if value is not None})


def check_arguments(value_of: Callable[[str], Any], given: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The keywords of ``check_gradient`` from whatever holds the options; what is ``given`` comes first.

    >>> check_arguments({"points": 8, "seed": 3}.get, {"seed": 7, "at": {"x": 1.0}})["settings"].seed
    7
    """
    given = given or {}
    asked = {name: given.get(name, value_of(name)) for name in RUN_OPTIONS}
    others = {name: value for name, value in given.items() if name not in RUN_OPTIONS}
    return {"settings": settings(asked.get), **others}


def add_values(parser: argparse.ArgumentParser, whose: str) -> None:
    """The options that give a function its values.

    >>> parser = argparse.ArgumentParser()
    >>> add_values(parser, "of the function: ")
    >>> parser.parse_args(["--at", "x=3", "--at", "y=4"]).at
    ['x=3', 'y=4']
    """
    for option, text in (
        (
            "--at",
            "the values it runs with, such as x=3,y=-4 or 'W=[[1,2],[3,4]]'; whole numbers beside floats are constants",
        ),
        ("--domain", "where else to look, such as 'x=[-6,6]'; may be repeated"),
        ("--constants", "arguments that are passed on as they are and not differentiated, such as n=3"),
    ):
        parser.add_argument(option, action="append", default=[], metavar="NAME=VALUE,...", help=whose + text)


def given_values(args: argparse.Namespace) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """What these options give: the point, the domain, the constants.

    >>> given_values(argparse.Namespace(at=["x=3"], domain=["x=[-6,6]"], constants=["n=2"]))
    ({'x': 3}, {'x': [-6, 6]}, {'n': 2})
    """
    from verify.tracing.value_text import named_values

    at = named_values(args.at, "--at")
    domain = named_values(args.domain, "--domain")
    return at, domain, named_values(args.constants, "--constants")

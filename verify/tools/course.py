"""``verify course NAME``: the functions of a course, found by name in a folder and judged with nothing to write.

:mod:`verify.tools.cs231n` knows the course; the verdicts are those of ``check_layer`` and ``check_loss``.
"""

from __future__ import annotations

import ast
import copy
import inspect
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from verify.errors import UsageError, line_of
from verify.oracle.dotted_name import imported
from verify.oracle.forward import apart_at
from verify.oracle.layers import check_layer, check_loss
from verify.oracle.result import GradientRun
from verify.records import CaseResult
from verify.report.cause import cause_of_case
from verify.running.settings import Settings
from verify.tools.cs231n import NETWORKS, OF_ALL_NETWORKS, OTHER_NAMES, ROWS, Row, Trial
from verify.tracing.foreign_call import call_foreign
from verify.tracing.places import Place, place_of_traceback
from verify.words import Verdict

Function = Callable[..., Any]

COURSES = ("cs231n",)
"""The courses that are known."""

SETTINGS = Settings(points=0, sizes=0, shrink=False, forget=True)
"""The trials say where to look."""

LEFT_OUT = ("site-packages", "node_modules")
"""Folders that are not searched, beside those whose names begin with a dot or end in env."""


class Status(StrEnum):
    """What a function came to.

    >>> Status.NOT_WRITTEN.value
    'not written'
    """

    PASS = Verdict.PASS.value
    FAIL = Verdict.FAIL.value
    NOT_WRITTEN = "not written"
    """It answers None, or zeros, as the course hands it out."""
    NOT_JUDGED = "not judged"
    """What it needs is not there."""


@dataclass(frozen=True, slots=True)
class Line:
    """What one function of the course came to."""

    name: str
    status: Status
    place: Place
    cause: str = ""
    where: tuple[str, ...] = ()
    """The trials at which it fails, or "" for those with nothing special; empty where it is all."""
    cases: tuple[CaseResult, ...] = field(default=(), compare=False)
    """The records behind it."""

    def __str__(self) -> str:
        """In one line.

        >>> print(Line("relu_backward", Status.FAIL, Place("/a/layers.py", 12), "wrong", ("zeros",)))
        relu_backward FAIL at zeros: wrong (layers.py:12)
        """
        named = [label for label in self.where if label] if "" not in self.where else []
        where = f" at {'; '.join(named)}" if named else ""
        place = f" ({Path(self.place.file).name}:{self.place.line})" if self.place.line else ""
        return f"{self.name} {self.status}{where}{f': {self.cause}' if self.cause else ''}{place}"


def judge_course(name: str, folder: str | Path = ".") -> Iterator[Line]:
    """The functions of a course that stand in the Python files of a folder, judged one after the other.

    Raises UsageError for a course that is not known, and for a folder that has none of its functions.

    >>> next(judge_course("cs321n"))
    Traceback (most recent call last):
    verify.errors.UsageError: unknown course 'cs321n', expected one of cs231n
    """
    if name not in COURSES:
        raise UsageError(f"unknown course '{name}', expected one of {', '.join(COURSES)}")
    folder = Path(folder)
    if not folder.is_dir():
        raise UsageError(f"there is no folder '{folder}'; give that of the assignment")
    known = {row.forward: row for row in ROWS}
    found = False
    for file, names in _files(folder, {*known, *NETWORKS}):
        found = True
        module = call_foreign(partial(_imported, file))
        if module.error is not None:
            yield Line(file.name, Status.FAIL, Place(str(file), 1), line_of(str(module.error)))
            continue
        for function in names:
            held = getattr(module.value, function)
            yield from _network(function, held) if function in NETWORKS else _row(known[function], held, module.value)
    if not found:
        raise UsageError(f"no function of {name} in the Python files of '{folder}'; give the folder of an assignment")


# ------------------------------------------------------------------------------------------------- what there is


def _files(folder: Path, known: set[str]) -> Iterator[tuple[Path, list[str]]]:
    """Python files that define something of the course, with its names in their order."""
    for at, folders, files in os.walk(folder):
        folders[:] = sorted(f for f in folders if not f.startswith(".") and not f.endswith("env") and f not in LEFT_OUT)
        for file in sorted(Path(at, name) for name in files if name.endswith(".py")):
            parsed = call_foreign(partial(_parsed, file))
            if parsed.error is not None:
                continue  # not Python as it is spoken here: it is nobody's layer
            kinds = (ast.FunctionDef, ast.ClassDef)
            names = [node.name for node in parsed.value.body if isinstance(node, kinds) and node.name in known]
            if names:
                yield file, names


def _parsed(file: Path) -> ast.Module:
    return ast.parse(file.read_bytes())


def _imported(file: Path) -> Any:
    """The module that a file is: packages are entered by their top, and another assignment's of that name is left."""
    file = file.resolve()
    root = file.parent
    while (root / "__init__.py").exists():
        root = root.parent
    parts = file.relative_to(root).with_suffix("").parts
    for name, module in list(sys.modules.items()):
        place = getattr(module, "__file__", None)
        if name.partition(".")[0] == parts[0] and place and not Path(place).is_relative_to(root):
            del sys.modules[name]
    return imported(".".join(parts), root)


def _place(function: Any) -> Place:
    code = getattr(inspect.unwrap(function), "__code__", None)
    if code is None:
        found = call_foreign(lambda: (inspect.getsourcefile(function), inspect.getsourcelines(function)[1]))
        return Place(*found.value) if found.error is None else Place()
    return Place(code.co_filename, code.co_firstlineno)


# ------------------------------------------------------------------------------------------------- one row


def _row(row: Row, forward: Function, module: Any) -> Iterator[Line]:
    """The lines of a forward and its backward passes, or of a loss."""
    values = _Tried(_place(forward))
    right: dict[str, dict[str, Any]] = {}
    for label, trial in {**row.trials, **row.forward_only}.items():
        given = _named(forward, trial)
        if values.tells(label, forward, given, row) and label in row.trials:
            right[label] = given
    if values.is_unwritten:
        yield Line(row.forward, Status.NOT_WRITTEN, values.place)
    elif row.backward or values.causes:
        yield values.line(row.forward)
    if not row.backward and not values.is_unwritten and right:
        differing = set(values.causes)
        judged = _Tried(_place(forward))
        for label, given in right.items():
            if label not in differing:
                judged.takes(
                    label, partial(check_loss, forward, SETTINGS, at=given, reference=values.references.get(label))
                )
        if judged.cases or judged.causes:
            yield judged.line(row.forward)
    for name in row.backward:
        yield _backward(name, getattr(module, name, None), forward, right, values)


def _backward(
    name: str, backward: Function | None, forward: Function, right: Mapping[str, Mapping[str, Any]], values: _Tried
) -> Line:
    """What a backward pass came to, at the trials at which its forward has a value."""
    if backward is None:
        return Line(name, Status.NOT_JUDGED, Place(), "there is no function of this name beside its forward")
    judged = _Tried(_place(backward))
    if not right:
        return Line(name, Status.NOT_JUDGED, judged.place, "its forward has no value to begin from")
    for label, given in right.items():
        if _answers_nothing(partial(backward_at, forward, backward, given)):
            return Line(name, Status.NOT_WRITTEN, judged.place)
        reference = values.references.get(label)
        judged.takes(label, partial(check_layer, forward, backward, SETTINGS, at=given, reference=reference))
    return judged.line(name)


def backward_at(forward: Function, backward: Function, given: Mapping[str, Any]) -> Any:
    """What a backward pass answers for upstream gradients of 1.

    >>> backward_at(lambda x: (2 * x, None), lambda dout, cache: 2 * dout, {"x": np.zeros(2)})
    array([2., 2.])
    """
    *outputs, cache = forward(**copy.deepcopy(dict(given)))
    return backward(*(np.ones(np.shape(part)) for part in outputs), cache)


def _answers_nothing(call: Callable[[], Any]) -> bool:
    """Whether what comes back is None all through, as in a function that is still to be written."""
    ran = call_foreign(call)
    parts = ran.value if isinstance(ran.value, tuple) else (ran.value,)
    return ran.error is None and all(part is None for part in parts)


def _named(function: Function, trial: Trial) -> dict[str, Any]:
    """The arguments of a trial by the names that the function has for them. Raises UsageError where it takes fewer."""
    names = list(inspect.signature(function).parameters)
    return dict(zip(names, trial, strict=False))


class _Tried:
    """What the trials of one function came to."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self.causes: dict[str, tuple[str, Place]] = {}
        """Trial -> why it fails, and where."""
        self.tried = 0
        self.cases: list[CaseResult] = []
        self.references: dict[str, Function] = {}
        """Trial -> the reference that agreed."""
        self.is_unwritten = False

    def fails(self, label: str, cause: str, place: Place | None = None) -> None:
        """A trial that does not pass."""
        self.causes[label] = cause, place if place is not None and place.line else self.place

    def tells(self, label: str, forward: Function, given: Mapping[str, Any], row: Row) -> bool:
        """Whether a forward has values to go on with, held against the references."""
        self.tried += 1
        ran = call_foreign(lambda: forward(**copy.deepcopy(dict(given))))
        if ran.error is not None:
            said = f"{type(ran.error).__name__}: {ran.error}".rstrip(": ")
            self.fails(label, f"raises {line_of(said)}", place_of_traceback(ran.error.__traceback__))
            return False
        first = ran.value[0] if isinstance(ran.value, tuple) and ran.value else ran.value
        if first is None or (not row.backward and _is_zero(ran.value)):
            self.is_unwritten = True
            return False
        if not isinstance(ran.value, tuple) or len(ran.value) < 2:
            self.fails(label, f"returns no pair of a value and {'its cache' if row.backward else 'its gradient'}")
            return False
        count = -1 if row.backward else 1

        def outputs(**known: Any) -> Any:
            found = forward(**known)[:count]
            return found[0] if len(found) == 1 else found

        references = [
            _renamed(known, row.forward, given) for known in row.references if known(*given.values()) is not None
        ]
        differences = [apart_at(outputs, reference, given) for reference in references]
        agreeing = [known for known, off in zip(references, differences, strict=True) if not off]
        if agreeing:
            self.references[label] = agreeing[0]
        elif references:
            self.fails(label, f"its value is not that of the function: {differences[0]}")
        return True

    def takes(self, label: str, check: Callable[[], GradientRun]) -> None:
        """The verdict of a check."""
        self.tried += 1
        try:
            run = check()
        except UsageError as error:
            self.fails(label, line_of(str(error)))
            return
        self.cases += [replace(case, name=f"{case.name} [{label}]" if label else case.name) for case in run.cases]
        failing = next((case for case in run.cases if not case.passes), None)
        if failing is not None:
            self.fails(label, cause_of_case(failing))

    def line(self, name: str) -> Line:
        """All of it in one line."""
        status = Status.FAIL if self.causes else Status.PASS
        cause, place = next(iter(self.causes.values()), ("", self.place))
        where = tuple(self.causes) if len(self.causes) < self.tried else ()
        return Line(name, status, place, cause, where, tuple(self.cases))


def _is_zero(returned: Any) -> bool:
    """Whether a loss and its gradient are zeros, as the course hands them out."""
    return isinstance(returned, tuple) and not any(np.any(part) for part in returned if part is not None)


def _renamed(reference: Function, name: str, given: Mapping[str, Any]) -> Function:
    """A reference by the name of the user's function, called by the user's names of its arguments."""
    names = list(given)

    def renamed(**known: Any) -> Any:
        return reference(*(known[name] for name in names))

    renamed.__name__ = name
    kinds = [inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD) for name in names]
    renamed.__signature__ = inspect.Signature(kinds)  # type: ignore[attr-defined]
    return renamed


# ------------------------------------------------------------------------------------------------- networks


def _network(name: str, kind: Any) -> Iterator[Line]:
    """The line of a class with ``params`` and ``loss(X, y)``, whose gradients come by the names of the parameters."""
    judged = _Tried(_place(kind))
    for label, (special, x, y) in NETWORKS[name].items():
        made = call_foreign(partial(kind, **_accepted(kind, {**OF_ALL_NETWORKS, **special})))
        if made.error is not None:
            judged.tried += 1
            said = f"cannot be made: {type(made.error).__name__}: {made.error}"
            judged.fails(label, line_of(said), place_of_traceback(made.error.__traceback__))
            continue
        network = made.value
        params = {key: np.array(value, dtype=np.float64) for key, value in getattr(network, "params", {}).items()}
        if not params or _answers_nothing(partial(network.loss, x)):
            yield Line(name, Status.NOT_WRITTEN, judged.place)
            return
        judged.takes(label, partial(check_loss, _loss_of(network, x, y), SETTINGS, at=params))
    yield judged.line(name)


def _loss_of(network: Any, x: Any, y: Any) -> Function:
    """The loss of a network as a function of its parameters."""
    extra = {"reg": OF_ALL_NETWORKS["reg"]} if "reg" in inspect.signature(network.loss).parameters else {}

    def loss(**params: Any) -> Any:
        own = copy.copy(network)
        own.params = dict(params)
        return own.loss(x, y, **extra)

    loss.__name__ = type(network).__name__
    loss.__wrapped__ = network.loss  # type: ignore[attr-defined]
    kinds = [inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD) for name in network.params]
    loss.__signature__ = inspect.Signature(kinds)  # type: ignore[attr-defined]
    return loss


def _accepted(kind: Any, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Those arguments that a class is made with, by its own names of them."""
    names = inspect.signature(kind).parameters
    called = {key: key if key in names else OTHER_NAMES.get(key, key) for key in arguments}
    return {called[key]: value for key, value in arguments.items() if called[key] in names}

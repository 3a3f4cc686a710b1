"""JSON reports back into records, case by case, so that several can be joined; what is read is data and runs nothing.

What was written of a record is read by the types that :mod:`verify.records` gives its fields; what follows from other
fields, and fields of later versions, are left aside.
"""

from __future__ import annotations

import json
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import is_dataclass
from enum import Enum
from functools import cache
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from verify.errors import UsageError, shortened
from verify.records import COLUMNS, CaseResult, Rows, Run
from verify.report.json import SCHEMA, written
from verify.words import VERDICTS, Verdict


def read(path: str | Path) -> tuple[Run, Iterator[CaseResult]]:
    """A run without its cases, and these one by one, each read when it is asked for.

    Raises UsageError, at once or on the way, for what ``verify run --json`` did not write.

    >>> import tempfile
    >>> from verify.report.json import write
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = write(Run(cases=(CaseResult("f", "f.yaml"),), seed=7, points=64), Path(folder, "run.json"))
    ...     run, cases = read(path)
    ...     run.seed, [case.name for case in cases]
    (7, ['f'])
    """
    with _told(path):
        (last,) = deque(_lines(path), maxlen=1)
        around = json.loads("{" + last.removeprefix("],"))
        first = next(_lines(path))
        schema = json.loads(first.removesuffix('"cases":[').rstrip(",") + "}")["schema"]
    if schema != SCHEMA:
        raise UsageError(f"{path} has schema {schema}, this program reads {SCHEMA}. Write it anew")
    with _told(path):
        return _made(Run, {"cases": [], **around}), _cases(path)


def _cases(path: str | Path) -> Iterator[CaseResult]:
    lines = _lines(path)
    next(lines)
    for line in lines:
        if line.startswith("],"):
            return
        with _told(path):
            case: CaseResult = _made(CaseResult, json.loads(line.removesuffix(",")))
        yield case


class _told:  # noqa: N801 - used as a function
    """Says of what cannot be read that it is no report."""

    def __init__(self, path: str | Path) -> None:
        self._path = path

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, fault: BaseException | None, trace: object) -> None:
        known = (ValueError, TypeError, LookupError, AttributeError, RecursionError, StopIteration, OverflowError)
        if isinstance(fault, known):
            said = shortened(f"{type(fault).__name__}: {fault}")
            message = f"{self._path} is no report that `verify run --json` wrote ({said}). Write it anew"
            raise UsageError(message) from fault


def _lines(path: str | Path) -> Iterator[str]:
    """The lines of a report: what is before the cases, a case each, and what is after them."""
    try:
        with Path(path).open(encoding="utf-8") as file:
            for line in file:
                yield line.rstrip("\n")
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is no UTF-8"
        raise UsageError(f"cannot read {path}: {why}. Name a file that `verify run --json` wrote") from error


# ------------------------------------------------------------------------------------------------ from data to records


def _made(kind: Any, said: Any) -> Any:
    """A value of a type, from what JSON holds."""
    if get_origin(kind) is not None:
        return _of_parts(get_origin(kind), get_args(kind), said)
    if kind in PLAIN:
        return PLAIN[kind](said)
    if isinstance(kind, type) and is_dataclass(kind):
        known = [(name, of) for name, of in _types(kind) if name in said]
        return kind(**{name: READ.get(name, _made)(of, said[name]) for name, of in known})
    if isinstance(kind, type) and issubclass(kind, Enum):
        return kind(said)
    return _known((said,) if type(said) is kind else (), said)


def _of_parts(origin: Any, inner: tuple[Any, ...], said: Any) -> Any:
    """A value of a type that has others in it."""
    if origin in (UnionType, Union):
        return None if said is None else _made(next(one for one in inner if one is not NoneType), said)
    if origin is Literal:
        return _known(inner, said)
    if origin is tuple:
        return _tuple(inner, said)
    made = {int(key) if inner[0] is int else _made(inner[0], key): _made(inner[1], of) for key, of in said.items()}
    return Counter({key: n for key, n in made.items() if n}) if inner[0] is Verdict else made


def _known(values: tuple[Any, ...], said: Any) -> Any:
    if said not in values:
        raise ValueError(f"{said!r} was not expected")
    return said


def _tuple(inner: tuple[Any, ...], said: Any) -> tuple[Any, ...]:
    if not isinstance(said, list):
        raise TypeError(f"a list was expected, not {said!r}")
    if inner[1:] == (...,):
        return tuple(_made(inner[0], item) for item in said)
    return tuple(_made(of, item) for of, item in zip(inner, said, strict=True))


@cache
def _types(kind: Any) -> tuple[tuple[str, Any], ...]:
    """The fields of a record that are written, with their types."""
    hints = get_type_hints(kind)
    return tuple((name, hints[name]) for name in written(kind))


def _number(said: Any) -> float:
    is_number = isinstance(said, (int, float)) and not isinstance(said, bool)
    if not is_number and said not in ("nan", "inf", "-inf"):
        raise TypeError(f"a number was expected, not {said!r}")
    return float(said)


def _array(said: Any) -> Any:
    """An array of floats, of whatever shape."""
    import numpy as np

    return np.asarray(said, dtype=np.float64)[()]


def _rows(said: Mapping[str, Any]) -> Rows:
    """Columns of rows, with codes in place of words."""
    import numpy as np

    texts: dict[str, int] = {"": 0}
    verdicts = {verdict.value: code for code, verdict in enumerate(VERDICTS)}
    kinds: dict[str, Callable[[list[Any]], Any]] = {
        "Real": lambda column: np.array(column, dtype=np.float64),
        "Truth": lambda column: np.array([_known((True, False), item) for item in column], dtype=np.bool_),
        "Judged": lambda column: np.array([verdicts[item] for item in column], dtype=np.int8),
        "Text": lambda column: np.array([texts.setdefault(_made(str, item), len(texts)) for item in column], np.int64),
    }
    columns: dict[str, Any] = {}
    for name, kind in COLUMNS.items():
        one = kinds.get(kind, kinds["Real"])
        columns[name] = {m: one(c) for m, c in said[name].items()} if kind not in kinds else one(said[name])
    point, entry = (np.array(said[name], dtype=np.int64) for name in ("point", "entry"))
    flat = [column for held in columns.values() for column in (held.values() if isinstance(held, dict) else [held])]
    if any(column.shape != point.shape for column in (entry, *flat)):
        raise ValueError("columns of rows differ in length")
    return Rows(point, entry, tuple(texts), **columns)


PLAIN: Mapping[Any, Callable[[Any], Any]] = {Any: _array, Rows: _rows, float: _number}
"""What is read in ways of its own, by type."""

READ: Mapping[str, Callable[[Any, Any], Any]] = {
    "function": lambda _, said: tuple((_made(str, one["stage"]), _made(str, one["expression"])) for one in said),
}
"""Fields that are written otherwise than as they are."""

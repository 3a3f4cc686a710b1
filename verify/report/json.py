"""A run as strict JSON, the whole of it, for programs.

JSON has no token for what is not finite, so those are the strings ``"nan"``, ``"inf"`` and ``"-inf"``; ``float`` of
Python, ``Number`` of JavaScript for ``"nan"`` and a spelling of each other language read them. Records are objects with
the names of their fields; ``findings`` is the list of all that does not pass; rows are columns of equal length, with
``entry`` as the flat C-order index into ``shape``. Each case is a line of its own: a long report is read one by one.
``schema`` grows by one when a field changes its meaning or goes; new fields may come at any time.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

from verify.files import replacing
from verify.records import COLUMNS, CaseResult, Rows, Run, VariableResult
from verify.report.failures import failures
from verify.report.wording import caveats
from verify.words import VERDICTS

SCHEMA = 1
"""Version of the layout."""


def write(run: Run, path: str | Path) -> Path:
    """Writes the run as one JSON file, whole or not at all, and returns its path.

    Raises UsageError where the file cannot be written.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     json.loads(write(Run(cases=(), seed=7, points=64), Path(folder, "run.json")).read_text())["seed"]
    7
    """
    first, rest = _around(run)
    with replacing(path) as file:
        file.write(f'{_text(first)[:-1]},"cases":[')
        for number, case in enumerate(run.whole):
            file.write((",\n" if number else "\n") + _text(_record(case)))
        file.write(f"\n],{_text(rest)[1:]}\n")
    return Path(path)


def _text(value: Any) -> str:
    return json.dumps(value, allow_nan=False, separators=(",", ":"))


def document(run: Run) -> dict[str, Any]:
    """The run as nested dicts, lists, strings, finite numbers and truth values.

    >>> document(Run(cases=(), seed=7, points=64))["schema"]
    1
    """
    first, rest = _around(run)
    return {**first, "cases": [_record(case) for case in run.whole], **rest}


def _around(run: Run) -> tuple[dict[str, Any], dict[str, Any]]:
    """What stands before the cases, and what after them."""
    told = {name: plain(getattr(run, name)) for name in _names(run) if name != "cases"}
    found = [failure for case in run.cases for failure in failures([case], run.command)]
    return {"schema": SCHEMA, "caveats": list(caveats(run)), "findings": plain(found)}, told


def plain(value: Any) -> Any:
    """Records, texts, numbers and arrays as JSON holds them; what is not finite is text.

    >>> plain([1.5, float("nan"), float("-inf")])
    [1.5, 'nan', '-inf']
    """
    if value is None or isinstance(value, (str, bool, int)):
        return value
    if is_dataclass(value):
        return _rows(value) if isinstance(value, Rows) else _record(value)
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (tuple, list)):
        return [plain(item) for item in value]
    return _numbers(value)


def _numbers(value: Any) -> Any:
    """An array, or a number."""
    import numpy as np

    if type(value) is float and math.isfinite(value):
        return value
    array = np.asarray(value)
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        return np.where(np.isfinite(array), array.astype(object), array.astype(str)).tolist()
    return array.tolist()


def _record(record: Any) -> dict[str, Any]:
    """A record by the names of its fields, and what follows from them."""
    return {name: SHOWN.get(name, plain)(getattr(record, name)) for name in _names(record)}


def _names(record: Any) -> list[str]:
    derived = next((DERIVED[kind] for kind in type(record).__mro__ if kind in DERIVED), ())
    return [*written(type(record)), *derived]


def written(record: type[Any]) -> list[str]:
    """The names of a record's fields, but for one that only says where others are read from.

    >>> "stored" in written(Run), "cases" in written(Run)
    (False, True)
    """
    return [field.name for field in fields(record) if field.name != "stored"]


def _rows(rows: Rows) -> dict[str, Any]:
    """The columns of rows, with words in place of codes."""
    found = {"point": plain(rows.point), "entry": plain(rows.entry)}
    for name, kind in COLUMNS.items():
        column, words = getattr(rows, name), rows.words(kind)
        found[name] = plain(column) if words is None else [words[code] for code in column.tolist()]
    return found


DERIVED: Mapping[type[Any], tuple[str, ...]] = {
    Run: ("ok", "verdict", "exit_code"),
    CaseResult: ("status", "passes", "checked", "proved", "counts"),
    VariableResult: ("verdict", "passes"),
}
"""Properties that are written beside the fields."""

SHOWN: Mapping[str, Callable[[Any], Any]] = {
    "counts": lambda counts: {verdict: counts.get(verdict, 0) for verdict in VERDICTS},
    "function": lambda stages: [{"stage": stage, "expression": expression} for stage, expression in stages],
}
"""Fields that are written otherwise than as they are: each verdict has a count, each stage says what it is."""

"""The JSON Schema of the JSON report, made from the records that it is written from."""

from __future__ import annotations

import types
from collections.abc import Mapping
from enum import Enum
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from verify import records
from verify.records import COLUMNS, Rows, Run
from verify.report.failures import Failure
from verify.report.json import DERIVED, SCHEMA, written
from verify.words import Verdict

NUMBER = {"anyOf": [{"type": "number"}, {"enum": ["nan", "inf", "-inf"]}]}
"""JSON has no token for what is not finite."""

PLAIN: Mapping[Any, dict[str, Any]] = {
    str: {"type": "string"},
    int: {"type": "integer"},
    bool: {"type": "boolean"},
    float: NUMBER,
    type(None): {"type": "null"},
    Any: {},
}
"""``Any`` stands for arrays of any shape, as nested lists."""

COLUMN: Mapping[str, dict[str, Any]] = {
    "Real": NUMBER,
    "Truth": PLAIN[bool],
    "Judged": {"enum": [verdict.value for verdict in Verdict]},
    "Text": PLAIN[str],
}
"""What the columns of rows hold, by their kind."""


def report_schema() -> dict[str, Any]:
    """The schema: what is required is there in every report; fields more may come.

    >>> sorted(report_schema()["properties"])[:3]
    ['again', 'asked', 'cases']
    """
    needed: dict[str, dict[str, Any]] = {}
    top = _record(Run, needed)
    own = {"schema": {"const": SCHEMA}, "caveats": _of(tuple[str, ...], needed)}
    own["findings"] = _of(tuple[Failure, ...], needed)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "A report of verify run --json",
        **top,
        "properties": {**own, **top["properties"]},
        "required": [*own, *top["required"]],
        "$defs": needed,
    }


def _record(record: type[Any], needed: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """A record as an object with its fields, and what is written beside them."""
    hints = _hints(record)
    found = {name: _of(hints[name], needed) for name in written(record)}
    for name in DERIVED.get(record, ()):
        found[name] = _of(get_type_hints(getattr(record, name).fget)["return"], needed)
    if "function" in found:  # see SHOWN of the JSON report
        stage = {"stage": PLAIN[str], "expression": PLAIN[str]}
        found["function"] = {"type": "array", "items": _object(stage)}
    return _object(found)


def _object(properties: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
    return {"type": "object", "properties": dict(properties), "required": list(properties)}


def _rows() -> dict[str, Any]:
    """Rows as columns of equal length."""
    found = {"point": _array(PLAIN[int]), "entry": _array(PLAIN[int])}
    for name, kind in COLUMNS.items():
        column = _array(COLUMN["Real" if kind.startswith("Mapping") else kind])
        found[name] = {"type": "object", "additionalProperties": column} if kind.startswith("Mapping") else column
    return _object(found)


def _array(items: dict[str, Any]) -> dict[str, Any]:
    return {"type": "array", "items": items}


def _hints(record: type[Any]) -> Mapping[str, Any]:
    arrays = dict.fromkeys(("FloatArray", "IntArray", "BoolArray", "NDArray", "np"), Any)
    return get_type_hints(record, vars(records) if record.__module__ == records.__name__ else None, arrays)


def _of(hint: Any, needed: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """The schema of what is annotated so; records are put beside it, by their names."""
    if hint in PLAIN:
        return PLAIN[hint]
    if get_args(hint):
        return _of_parts(hint, needed)
    if issubclass(hint, Enum):
        return {"enum": [word.value for word in hint]}
    name = hint.__name__
    if name not in needed:
        needed[name] = {}  # its place, should it hold itself
        needed[name] = _rows() if hint is Rows else _record(hint, needed)
    return {"$ref": f"#/$defs/{name}"}


def _of_parts(hint: Any, needed: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """The same of what is made of others."""
    origin, inner = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        return {"anyOf": [_of(part, needed) for part in inner]}
    if origin is Literal:
        return {"enum": list(inner)}
    if origin is tuple and inner[-1] is Ellipsis:
        return _array(_of(inner[0], needed))
    if origin is tuple:
        parts = [_of(part, needed) for part in inner]
        return {"type": "array", "prefixItems": parts, "minItems": len(parts), "maxItems": len(parts)}
    # A mapping; a Counter has its keys as its only argument.
    return {"type": "object", "additionalProperties": _of(inner[1] if inner[1:] else int, needed)}

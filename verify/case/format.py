"""The fields of a case file: what may stand where, for checking a file and for completion in editors.

The models say which fields there are and what type each has; what the values mean together (shapes, names, domains)
is checked in :mod:`verify.case.case`.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, WithJsonSchema

from verify.case.values import LARGEST_DIM
from verify.case.yaml_source import Keys, Source, kind_of
from verify.errors import MOST_PROBLEMS, Problem, did_you_mean, nearest, shortened
from verify.ops import OPS, Op

_NUMBERS: dict[str, Any] = {"anyOf": [{"type": "number"}, {"type": "array", "items": {}}]}

Numbers = Annotated[Any, WithJsonSchema({**_NUMBERS, "description": "A number, or nested lists of numbers."})]
At = Annotated[
    Any,
    WithJsonSchema(
        {
            "anyOf": [{"enum": ["normal", "uniform"]}, *_NUMBERS["anyOf"]],
            "description": "The value at the case's first own point: a number, nested lists (rows of equal length), "
            "one number for all entries of `shape`, or `normal` / `uniform` to draw it from the seed.",
        }
    ),
]
Interval = Annotated[
    Any,
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "array", "items": {"type": "number"}, "minItems": 2, "maxItems": 2},
                {"type": "string", "pattern": r"^\s*[\[(].*,.*[\])]\s*$"},
            ],
            "description": "Where random points are drawn and every given value must lie: [low, high] with both ends, "
            "or in quotes with an open end, as in '(0, 10]'. If left out: all points at a distance of at most "
            "1 + |at| from `at` (for an array: the interval that holds these of all entries); [-2, 2] if drawn.",
        }
    ),
]
Shape = Annotated[
    Any,
    WithJsonSchema(
        {
            "type": "array",
            "items": {"anyOf": [{"type": "integer", "minimum": 1}, {"type": "string"}]},
            "description": "The sizes of the axes: numbers, or names from `dims`. Not needed where `at` is a list.",
        }
    ),
]
Formula = Annotated[
    Any,
    WithJsonSchema(
        {
            "type": ["string", "number"],
            "description": "Numbers, names of inputs and earlier stages, dims, pi, e, + - * / ** @, "
            "calls of ops such as exp(x) or sum(W, axis=0), and subscripts such as x[0]. `verify ops` lists the ops.",
        }
    ),
]
Output = Annotated[
    Any,
    WithJsonSchema(
        {
            "anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}, "minItems": 1}],
            "description": "The stage (or list of stages) that the function returns; the last stage, if left out.",
            "examples": ["f", ["y", "h"]],
        }
    ),
]


class _Fields(BaseModel):
    """Unknown fields are errors, and nothing is converted: the text "3" is no number."""

    model_config = ConfigDict(extra="forbid", strict=True)


class InputFields(_Fields):
    """One input of the function."""

    at: At
    domain: Interval = None
    shape: Shape = None
    kind: Literal["real", "integer", "label", "mask", "constant"] = Field(
        "real",
        description="Only real inputs are differentiated. integer, label and mask (0 or 1) are drawn as such; "
        "a constant keeps its value at every random point.",
    )
    dtype: Literal["float64", "float32"] = Field("float64", description="The precision that the input is held in.")


class ExpectFields(_Fields):
    """Figures from outside this program, checked to half a unit of the last digit written; an integer is exact."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"value": {"f": -12}, "gradient": {"x": -4.0}}]})

    value: dict[str, Numbers] = Field(
        default={}, description="By stage or input: its value.", examples=[{"f": 1.5456448841066441}]
    )
    gradient: dict[str, Numbers] = Field(
        default={},
        description="By input or stage: the derivative of the (contracted) output with respect to it.",
        examples=[{"x": 2.0595697955721652}],
    )
    hessian: dict[str, dict[str, Numbers]] = Field(
        default={},
        description="By input and input: the second derivatives of the (contracted) output, those of the first "
        "input's axes before those of the second's. Then the case has `order: 2`.",
        examples=[{"x": {"x": 2.0, "y": -1.0}}],
    )


class PointFields(BaseModel):
    """A further point: values by input, the others keep their `at` (or are drawn)."""

    model_config = ConfigDict(extra="allow", strict=True)
    __pydantic_extra__: dict[str, Numbers]

    note: str = Field("", description="Why this point is worth a look.", examples=["both branches meet here"])
    expect: ExpectFields | None = None


class CaseFields(_Fields):
    """A function written once, which `verify` differentiates three ways and cross-checks."""

    case: str = Field(min_length=1, description="The name of the case.", examples=["staged function"])
    source: str = Field("", description="Where the function and the figures of `expect` come from.")
    dims: dict[str, Annotated[int, Field(ge=1, le=LARGEST_DIM)]] = Field(
        default={}, description="Sizes by name; shapes and formulas may use them.", examples=[{"m": 5, "k": 10}]
    )
    inputs: dict[str, InputFields] = Field(
        min_length=1, description="By name: the inputs.", examples=[{"x": {"at": 3, "domain": [-6, 6]}}]
    )
    stages: dict[str, Formula] = Field(
        min_length=1,
        description="By name, in order: one formula each. A stage may use inputs and earlier stages.",
        examples=[{"q": "x + y", "f": "q * z"}],
    )
    output: Output = None
    upstream: dict[str, str] = Field(
        default={},
        description="Output -> the input that is its upstream gradient; otherwise one is drawn from the seed.",
        examples=[{"D": "dD"}],
    )
    expect: ExpectFields | None = None
    points: list[PointFields] = Field(
        default=[],
        description="Further points to look at: values by input, with a `note` and figures to `expect`.",
        examples=[[{"x": 2, "y": 2, "note": "a tie"}]],
    )
    ties: dict[str, str] = Field(
        default={}, description="Op -> the convention it follows at a tie.", examples=[{"max": "both"}]
    )
    accuracy: Literal["absolute", "relative"] = Field(
        "absolute", description="`relative` makes digits that are lost in the tails of a function a failure."
    )
    order: Literal[1, 2] = Field(1, description="2 has the second derivatives by the inputs judged too.")


def json_schema() -> dict[str, Any]:
    """The case format as a JSON Schema (2020-12), for completion and checks in editors.

    >>> schema = json_schema()
    >>> schema["required"], schema["additionalProperties"]
    (['case', 'inputs', 'stages'], False)
    """
    schema: dict[str, Any] = _without_empty_defaults(CaseFields.model_json_schema())
    fields, parts = schema["properties"], schema["$defs"]
    parts["Formula"] = {**fields["stages"]["additionalProperties"], **_ops_of_formulas()}
    fields["stages"]["additionalProperties"] = {"$ref": "#/$defs/Formula"}
    fields["ties"] |= {"additionalProperties": False, "properties": _ties()}
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema, "title": "verify case"}


def _without_empty_defaults(part: Any) -> Any:
    """A schema that offers no value of nothing, such as `domain: null`, and no titles that repeat a field's name."""
    if isinstance(part, list):
        return [_without_empty_defaults(item) for item in part if item != {"type": "null"}]
    if not isinstance(part, dict):
        return part
    kept = {
        name: _without_empty_defaults(value)
        for name, value in part.items()
        if not (name == "default" and value in (None, "", [], {})) and not (name == "title" and isinstance(value, str))
    }
    (only,) = kept.pop("anyOf") if len(kept.get("anyOf", ())) == 1 else ({},)
    return kept | only


def _ops_of_formulas() -> dict[str, Any]:
    """For completion the ops that are written as calls, each with an example; and what each is, where it is used."""
    told: dict[str, list[Op]] = {}
    for row in OPS.values():
        if row.spelling[:1].isalpha() and "(" in row.spelling:
            told.setdefault(row.spelling[: row.spelling.index("(")], []).append(row)
    described = {name: " or ".join(dict.fromkeys(row.told for row in rows)) for name, rows in told.items()}
    return {
        "examples": ["x * exp(-y)"],
        "defaultSnippets": [
            {"label": name, "description": text, "body": f"{name}($1)"} for name, text in described.items()
        ],
        "allOf": [
            {
                "if": {"type": "string", "pattern": rf"(^|\W){name}\("},
                "then": {"description": described[name], "examples": [row.example for row in rows]},
            }
            for name, rows in told.items()
        ],
    }


def _ties() -> dict[str, Any]:
    """The ops that have ties, with their conventions."""
    tied = {name: row for name, row in OPS.items() if row.conventions}
    return {name: {"description": row.told, "enum": list(row.conventions)} for name, row in tied.items()}


def format_problems(source: Source) -> list[Problem]:
    r"""What in a file is missing, unknown or of the wrong type, each with its place.

    >>> from verify.case.yaml_source import parse_source
    >>> text = "case: a\ninputs: {x: {at: 1, domian: [0, 2]}}\nstages: {f: x}"
    >>> print(format_problems(parse_source(text, "a.yaml"))[0].headline())
    a.yaml:2:21: unknown field 'domian'. Did you mean 'domain'?
    """
    if not isinstance(source.data, dict):
        message = f"expected the fields of a case, got {kind_of(source.data)}"
        suggestion = f"Start with 'case: a name'. Fields: {', '.join(CaseFields.model_fields)}."
        return [source.problem((), message, suggestion)]
    try:
        CaseFields.model_validate(source.data)
    except ValidationError as error:
        faults = error.errors(include_url=False)
        misspelt = {_meant(tuple(fault["loc"])) for fault in faults if fault["type"] == "extra_forbidden"}
        roots = [f for f in faults if f["type"] != "missing" or tuple(f["loc"]) not in misspelt]
        return [_problem(source, fault) for fault in roots[:MOST_PROBLEMS]]
    return []


def _meant(path: Keys) -> Keys:
    """The field that an unknown one was probably meant to be: where it is missing, that is no fault of its own."""
    return (*path[:-1], nearest(str(path[-1]), _known_fields(path)))


_EXPECTED = {
    "string_type": "text",
    "int_type": "a whole number",
    "dict_type": "a mapping of names to values",
    "list_type": "a list",
    "model_type": "a mapping of fields",
    "string_too_short": "a name",
}
"""pydantic's type of an error -> what was expected."""
_MENDS = {
    "string_type": "Put it in quotes.",
    "dict_type": "Write {name: value} or one 'name: value' a line.",
    "list_type": "Write [a, b] or one '- a' a line.",
    "model_type": "Write {at: 3} or one 'field: value' a line.",
    "string_too_short": "Give it a name.",
}
_BOUNDS = {
    "greater_than_equal": ("a dim is at least 1", "Give it a size."),
    "less_than_equal": (f"a dim is at most {LARGEST_DIM:,}", "Give it a size that arrays can have."),
}
_MISSING = {
    "at": ("the input '{owner}' has no value", "Add 'at: 3', 'at: [1, 2]', 'at: normal' or 'at: uniform'."),
    "case": ("the field 'case' is missing", "Add 'case: a name'."),
    "inputs": ("the field 'inputs' is missing", "Add the inputs, as in 'inputs: {x: {at: 3}}'."),
    "stages": ("the field 'stages' is missing", "Add the formulas, as in 'stages: {f: x**2}'."),
}


def _problem(source: Source, fault: Any) -> Problem:
    """One of pydantic's errors in our words, at its line."""
    path: Keys = tuple(fault["loc"])
    kind, given = fault["type"], fault.get("input")
    if kind == "missing":
        message, suggestion = _MISSING[str(path[-1])]
        return source.problem(path[:-1], message.format(owner=path[-2] if path[1:] else ""), suggestion, key=True)
    if kind == "extra_forbidden":
        known = _known_fields(path)
        suggestion = did_you_mean(str(path[-1]), known) or f"Fields here: {', '.join(known)}."
        return source.problem(path, f"unknown field '{shortened(str(path[-1]))}'", suggestion, key=True)
    if kind == "literal_error":
        choices = re.findall(r"\w+", fault["ctx"]["expected"].replace(" or ", " "))
        suggestion = did_you_mean(str(given), choices) or f"Choose one of: {', '.join(choices)}."
        return source.problem(path, f"unknown {path[-1]} '{_text(source, path, given)}'", suggestion)
    if kind in _BOUNDS:
        message, suggestion = _BOUNDS[kind]
        return source.problem(path, f"{message}, got {_text(source, path, given)}", suggestion)
    if kind == "too_short":
        return source.problem(path, f"'{path[-1]}' is empty", _MISSING[str(path[-1])][1], key=True)
    expected = _EXPECTED.get(kind, fault["msg"])
    return source.problem(path, f"{_where(path)}expected {expected}, got {kind_of(given)}", _MENDS.get(kind, ""))


def _text(source: Source, path: Keys, given: Any) -> str:
    return shortened(source.marks[path].text if path in source.marks else str(given))


def _where(path: Keys) -> str:
    return f"'{path[-1]}': " if path and isinstance(path[-1], str) else ""


def _known_fields(path: Keys) -> list[str]:
    """The fields of the model that a path ends in."""
    if "expect" in path[:-1]:
        return list(ExpectFields.model_fields)
    return list(InputFields.model_fields if path[0] == "inputs" and path[1:] else CaseFields.model_fields)

"""A case as a YAML file: readable, and read back as the same case."""

from __future__ import annotations

import json
import re
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from decimal import Context, Decimal
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from verify.case.case import Case, Domain, Expected, Input, OwnPoint, load_case_text
from verify.case.expression_text import expression_text
from verify.case.yaml_source import scalar_value
from verify.errors import CaseError, UsageError
from verify.files import write_text
from verify.graph.graph import Graph, Node
from verify.ops.code import number

Array = NDArray[Any]

_WORDS = ("true", "True", "TRUE", "false", "False", "FALSE", "null", "Null", "NULL")
"""Names that mean something else in YAML; a formula that is a number is read as it is written."""
WIDTH = 110
"""Characters of a line."""
INDENT = "  "
_PRECISE = Context(prec=400)
"""Digits enough for any double written out."""
_PLAIN = re.compile(r"[\w+(.-][\w +*/@().,=\[\]:<>!-]*")
"""Text that YAML takes as it stands, unless it holds ': ' or means something else."""


def save_case(case: Case, path: str | Path, *, overwrite: bool = False, head: str = "") -> Path:
    r"""Writes a case as a YAML file that :func:`~verify.case.case.load_case` reads as the same case.

    ``head`` is a comment to start with. The file is written whole or not at all. Raises UsageError where there is a
    file already (unless ``overwrite``), where it cannot be written, and where the case holds something that no case
    file can say.

    >>> import tempfile
    >>> from verify.case.case import load_case, load_case_text
    >>> case = load_case_text("case: square\ninputs: {x: {at: 3}}\nstages: {f: x**2}\n")
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     differences(case, load_case(save_case(case, Path(folder, "square.yaml"))))
    []
    """
    text = case_yaml(case)
    try:
        again = load_case_text(text, str(path))
    except CaseError as error:
        reason = error.problems[0].headline() if error.problems else str(error)
        raise UsageError(f"the case {case.name!r} cannot be written as a case file. {reason}") from None
    if found := differences(case, again):
        raise UsageError(f"the case {case.name!r} cannot be written as a case file: {found[0]}")
    return write_text(path, head + text, overwrite=overwrite)


def case_yaml(case: Case) -> str:
    r"""The text of a case file.

    >>> from verify.case.case import load_case_text
    >>> case = load_case_text("{case: a, inputs: {x: {at: 3, domain: '(0, 4]'}}, stages: {q: 2*x, f: log(q)}}")
    >>> print(case_yaml(case))
    case: a
    <BLANKLINE>
    inputs:
      x: {at: 3, domain: '(0, 4]'}
    <BLANKLINE>
    stages:
      q: 2 * x
      f: log(q)
    <BLANKLINE>
    """
    first = case.own_points[0] if case.own_points else OwnPoint("at", {})
    parts = [
        [
            f"{key}: {_scalar(text, inside=False)}"
            for key, text in (("case", case.name), ("source", case.source))
            if text
        ],
        ["inputs:", *_indented(line for item in case.inputs for line in _input(item, first.values.get(item.name)))],
        [
            "stages:",
            *_indented(f"{_scalar(name)}: {_formula(expression_text(case.graph, name))}" for name in case.graph.stages),
        ],
        _settings(case),
        ["expect:", *_indented(_expected(first.expected))] if first.expected else [],
        ["points:", *_indented(line for point in case.own_points[1:] for line in _point(point, first.values))]
        if case.own_points[1:]
        else [],
    ]
    return "\n\n".join("\n".join(part) for part in parts if part) + "\n"


def _settings(case: Case) -> list[str]:
    """What stands between stages and figures, where it is not what a file without it means."""
    lines = []
    outputs = case.graph.outputs
    if outputs != tuple(case.graph.stages)[-1:]:
        names = [_scalar(name) for name in outputs]
        lines.append(f"output: {names[0] if len(names) == 1 else '[' + ', '.join(names) + ']'}")
    if case.upstream:
        lines.append(f"upstream: {_flow_mapping(case.upstream)}")
    if case.ties:
        lines.append(f"ties: {_flow_mapping(case.ties)}")
    if case.accuracy != "absolute":
        lines.append(f"accuracy: {case.accuracy}")
    if case.order != 1:
        lines.append(f"order: {case.order}")
    return lines


# --------------------------------------------------------------------------------------------------- inputs and points


def _input(item: Input, value: Array | None) -> Iterator[str]:
    at = item.at if value is None else value
    fields: list[tuple[str, list[str]]] = []
    shape = [f"[{', '.join(map(str, item.shape))}]"] if item.shape else []
    if isinstance(at, str):
        fields += [("shape", shape), ("at", [at])]
    elif np.size(at) > 1 and _all_equal(at):
        fields += [("shape", shape), ("at", [_number(float(np.ravel(at)[0]))])]
    else:
        fields.append(("at", _numbers(at)))
    fields.append(("domain", [_domain(item.domain)]))
    fields.append(("kind", [item.kind] if item.kind != "real" else []))
    fields.append(("dtype", [item.dtype] if item.dtype != "float64" else []))
    yield from _fields(item.name, [(key, lines) for key, lines in fields if lines])


def _all_equal(at: Array) -> bool:
    flat = np.ravel(at)
    return bool(np.all(flat == flat[0]) and np.all(np.signbit(flat) == np.signbit(flat[0])))


def _fields(name: str, fields: Sequence[tuple[str, list[str]]]) -> Iterator[str]:
    """A mapping on one line where it fits, else one field a line; long values below their key."""
    if all(len(lines) == 1 for _, lines in fields):
        line = f"{_scalar(name)}: {{{', '.join(f'{key}: {lines[0]}' for key, lines in fields)}}}"
        if len(line) <= WIDTH:
            yield line
            return
    yield f"{_scalar(name)}:"
    for key, lines in fields:
        yield from _indented([f"{key}: {lines[0]}"] if len(lines) == 1 else [f"{key}:", *_indented(lines)])


def _point(point: OwnPoint, usual: Mapping[str, Array]) -> Iterator[str]:
    """A further point: what differs from ``at``, its note and its figures."""
    lines = [f"note: {_scalar(point.note, inside=False)}"] if point.note else []
    for name, value in point.values.items():
        if name not in usual or not np.array_equal(value, usual[name]):
            numbers = _numbers(value)
            lines += [f"{name}: {numbers[0]}"] if len(numbers) == 1 else [f"{name}:", *_indented(numbers)]
    if point.expected:
        lines += ["expect:", *_indented(_expected(point.expected))]
    if not lines:
        lines = ["note: ''"]
    yield f"- {lines[0]}"
    yield from _indented(lines[1:])


def _expected(expected: Sequence[Expected]) -> Iterator[str]:
    for quantity in dict.fromkeys(item.quantity for item in expected):
        found = [e for e in expected if e.quantity == quantity]
        blocks = {e.name: [(_scalar(b.by), _figures(b)) for b in found if b.by and b.name == e.name] for e in found}
        if not found[0].by:
            yield from _fields(quantity, [(_scalar(e.name), _figures(e)) for e in found])
            continue
        yield f"{quantity}:"
        for name, fields in blocks.items():
            yield from _indented(_fields(name, fields))


def _figures(expected: Expected) -> list[str]:
    texts = np.empty(expected.figures.shape, dtype=object)
    for index in np.ndindex(expected.figures.shape):
        texts[index] = figure_text(float(expected.figures[index]), float(expected.half_unit[index]))
    return _nested(texts)


def figure_text(figure: float, half_unit: float) -> str:
    """A figure with as many digits as were printed; one without a half unit is exact.

    >>> figure_text(0.51, 0.005), figure_text(3.0, 0.0), figure_text(1500.0, 50.0)
    ('0.51', '3', '1.5e+3')
    """
    if half_unit == 0:
        return str(int(figure))
    last = Decimal(repr(half_unit)) * 2
    digits = Decimal(repr(figure)).quantize(last.normalize(), context=_PRECISE)
    return str(digits).replace("E", "e")


# ------------------------------------------------------------------------------------------------------------ scalars


def _domain(domain: Domain) -> str:
    low, high = (_number(end) for end in (domain.low, domain.high))
    if not domain.low_open and not domain.high_open:
        return f"[{low}, {high}]"
    return f"'{'(' if domain.low_open else '['}{low}, {high}{')' if domain.high_open else ']'}'"


def _number(value: float) -> str:
    if np.isinf(value):
        return ".inf" if value > 0 else "-.inf"
    return "-0.0" if value == 0 and np.signbit(value) else number(value)


def _numbers(value: Array) -> list[str]:
    """A number or nested lists of numbers, in as many lines as they take."""
    array = np.asarray(value)
    texts = np.empty(array.shape, dtype=object)
    for index in np.ndindex(array.shape):
        texts[index] = _number(float(array[index]))
    return _nested(texts)


def _nested(texts: Array) -> list[str]:
    """Nested lists on one line where they fit, else a row a line."""
    flow = _flow(texts)
    if texts.ndim == 0 or len(flow) <= WIDTH - 30:
        return [flow]
    if texts.ndim == 1:
        return textwrap.wrap(flow, WIDTH - 20, break_long_words=False, break_on_hyphens=False)
    lines = []
    for row in texts:
        first, *more = _nested(row)
        lines += [f"- {first}", *_indented(more)]
    return lines


def _flow(texts: Array) -> str:
    return str(texts[()]) if texts.ndim == 0 else f"[{', '.join(map(_flow, texts))}]" if texts.ndim > 1 else _row(texts)


def _row(texts: Array) -> str:
    return f"[{', '.join(texts)}]"


def _flow_mapping(names: Mapping[str, str]) -> str:
    return "{" + ", ".join(f"{_scalar(key)}: {_scalar(value)}" for key, value in names.items()) + "}"


def _formula(text: str) -> str:
    plain = _stands_plain(text) and text not in _WORDS
    return text if plain else json.dumps(text, ensure_ascii=False)


def _scalar(text: str, *, inside: bool = True) -> str:
    """Text as YAML reads it back: in quotes where it would mean something else, such as inside brackets or braces."""
    plain = _stands_plain(text) and isinstance(scalar_value(text), str) and not (inside and re.search(r"[\[\],]", text))
    return text if plain else json.dumps(text, ensure_ascii=False)


def _stands_plain(text: str) -> bool:
    return bool(_PLAIN.fullmatch(text)) and not re.search(r": |:$|^- | #|\s$", text) and text == text.strip()


def _indented(lines: Any) -> Iterator[str]:
    return (f"{INDENT}{line}" for line in lines)


# -------------------------------------------------------------------------------------------------------- the same case


def differences(case: Case, other: Case) -> list[str]:
    r"""In what two cases differ, places in files aside; empty where they are the same.

    >>> from verify.case.case import load_case_text
    >>> texts = ("{case: a, inputs: {x: {at: 3}}, stages: {f: %s}}" % f for f in ("x + 1", "x + 2"))
    >>> differences(*map(load_case_text, texts))
    ["stage 'f' is x + 1 in one and x + 2 in the other"]
    """
    found = [
        f"stage {name!r} is {expression_text(case.graph, name)} in one and {text} in the other"
        for name in case.graph.stages
        if name in other.graph.stages
        and (text := expression_text(other.graph, name)) != expression_text(case.graph, name)
    ]
    if not found and bare(case.graph) != bare(other.graph):
        found.append("the graphs have other nodes")
    found += [f"{what} differs" for what in ("name", "source", "upstream", "ties", "accuracy", "order")
              if getattr(case, what) != getattr(other, what)]  # fmt: skip
    pairs = {"inputs": [[*map(_plain_input, c.inputs)] for c in (case, other)],
             "points": [[*map(_plain_point, c.own_points)] for c in (case, other)]}  # fmt: skip
    return found + [f"{what} differ" for what, (one, two) in pairs.items() if one != two]


def bare(graph: Graph) -> tuple[tuple[Node, ...], Mapping[str, int], tuple[str, ...]]:
    """What a graph computes: its nodes without lines and columns, its stages and its outputs.

    >>> from verify.case.expression import graph_from_expressions
    >>> bare(graph_from_expressions({"x": ()}, {"f": "x+1"})) == bare(graph_from_expressions({"x": ()}, {"f": "x + 1"}))
    True
    """
    return tuple(replace(node, line=0, column=0) for node in graph.nodes), graph.stages, graph.outputs


def _plain_input(item: Input) -> tuple[Any, ...]:
    at = item.at if isinstance(item.at, str) else (item.at.shape, item.at.tobytes())
    return item.name, item.shape, item.kind, item.dtype, item.domain, at


def _plain_point(point: OwnPoint) -> tuple[Any, ...]:
    values = {name: (np.shape(value), np.asarray(value).tobytes()) for name, value in point.values.items()}
    figures = [
        (item.quantity, item.name, item.by, item.figures.tobytes(), item.half_unit.tobytes())
        for item in sorted(point.expected, key=lambda item: (item.quantity, item.name, item.by))
    ]
    return values, point.note, figures

"""Graph to text: the formula of a stage as a case file writes it, with no more brackets than it needs.

This is :mod:`verify.case.expression` backwards: what is written here is read there as the same nodes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from verify.graph.graph import Graph, Node
from verify.ops import OPS
from verify.ops.code import number

_SUM, _PRODUCT, _SIGN, _POWER, _ATOM = 1, 2, 3, 4, 5
"""How tightly a piece of a formula holds together."""
_BINARY = {
    "add": ("+", _SUM), "subtract": ("-", _SUM), "multiply": ("*", _PRODUCT), "divide": ("/", _PRODUCT),
    "matmul": ("@", _PRODUCT),
}  # fmt: skip
_UNARY = {"negative": "-", "positive": "+"}
_COMPARING = {"where": ">", "where_or_equal": ">="}
HIDDEN = ("tie",)
"""Parameters that a case says elsewhere."""


def expression_text(graph: Graph, stage: str) -> str:
    """The formula of a stage, down to inputs and other stages.

    >>> from verify.case.expression import graph_from_expressions
    >>> graph = graph_from_expressions({"x": (3,), "W": (2, 3)}, {"f": "(W@(x - 1))**2 / -(2*sum(x,axis=-1))"})
    >>> expression_text(graph, "f")
    '(W @ (x - 1))**2 / -(2 * sum(x, axis=0))'
    """
    position = graph.position(stage)
    node = graph.nodes[position]
    # "f: x" is read as "+x": a stage is an op, whatever its formula is.
    if node.op == "positive" and _is_leaf(graph, node.args[0]):
        return _leaf(graph, node.args[0])
    return _op_text(graph, node)[0]


def _is_leaf(graph: Graph, position: int) -> bool:
    return position in graph.names or graph.nodes[position].kind != "op"


def _leaf(graph: Graph, position: int) -> str:
    return graph.names.get(position, graph.nodes[position].op)


def _text(graph: Graph, position: int, least: int) -> str:
    """A piece of a formula, in brackets unless it holds together at least so tightly."""
    node = graph.nodes[position]
    if _is_leaf(graph, position):
        return _leaf(graph, position)
    if node.op == "positive" and not node.stage and graph.nodes[node.args[0]].kind == "constant":
        return _leaf(graph, node.args[0])  # made where a number stands in the place of an array
    text, level = _op_text(graph, graph.nodes[position])
    return text if level >= least else f"({text})"


def _op_text(graph: Graph, node: Node) -> tuple[str, int]:
    args, params = node.args, node.params
    if node.op in _BINARY:
        sign, level = _BINARY[node.op]
        return f"{_text(graph, args[0], level)} {sign} {_text(graph, args[1], level + 1)}", level
    if node.op in _UNARY:
        return f"{_UNARY[node.op]}{_text(graph, args[0], _SIGN)}", _SIGN
    if node.op == "power_constant":
        return f"{_text(graph, args[0], _ATOM)}**{number(params['exponent'])}", _POWER
    if node.op == "power":
        return f"{_text(graph, args[0], _ATOM)}**{_text(graph, args[1], _SIGN)}", _POWER
    if "index" in params:
        return f"{_text(graph, args[0], _ATOM)}[{', '.join(map(_index_text, params['index']))}]", _ATOM
    return _call_text(graph, node), _ATOM


def _call_text(graph: Graph, node: Node) -> str:
    row = OPS[node.op]
    operands = [_text(graph, arg, _SUM) for arg in node.args]
    if node.op in _COMPARING:
        return f"where({_comparison(node, operands)}, {operands[2]}, {operands[3]})"
    shown = {key: value for key, value in node.params.items() if key not in HIDDEN}
    variadic = getattr(row, "variadic", "")
    if variadic == "list":
        operands = [f"[{', '.join(operands)}]"]
    if variadic == "text first":
        operands = [f'"{shown.pop(row.params[0])}"', *operands]
    given = [f"{key}={_parameter_text(key, value)}" for key, value in shown.items()]
    return f"{row.spelling.split('(')[0]}({', '.join([*operands, *given])})"


def _comparison(node: Node, operands: Sequence[str]) -> str:
    """The two sides in the order in which they were computed: ``a > b`` read backwards is ``b < a``."""
    sign = _COMPARING[node.op]
    if node.args[0] > node.args[1]:
        return f"{operands[1]} {sign.replace('>', '<')} {operands[0]}"
    return f"{operands[0]} {sign} {operands[1]}"


def _parameter_text(key: str, value: Any) -> str:
    if key == "axis" and isinstance(value, tuple) and len(value) == 1:
        return str(value[0])
    if isinstance(value, float) and not isinstance(value, bool):
        return number(value)
    return f'"{value}"' if isinstance(value, str) else str(value)


def _index_text(part: Any) -> str:
    if isinstance(part, slice):
        bounds: Sequence[Any] = [part.start, part.stop, *([] if part.step is None else [part.step])]
        return ":".join("" if bound is None else str(bound) for bound in bounds)
    return "..." if part is Ellipsis else str(list(part) if isinstance(part, tuple) else part)

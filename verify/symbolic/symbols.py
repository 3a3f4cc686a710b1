"""Graphs on SymPy expressions: how entries are named, and how ops are applied to object arrays of symbols."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import sympy
from numpy.typing import NDArray

from verify.graph.graph import Graph, Node
from verify.graph.interpret import REAL_CONSTANTS
from verify.ops import OPS, Op, Shape, exact_rational

Objects = NDArray[np.object_]
"""An array of SymPy expressions, or of balls."""


def real_symbol(name: str) -> sympy.Symbol:
    """A real symbol, which is what every number of a case is.

    >>> real_symbol("x").is_real
    True
    """
    return sympy.Symbol(name, real=True)


def entry_name(name: str, index: tuple[int, ...]) -> str:
    """An entry as formulas show it.

    >>> entry_name("W", (0, 2)), entry_name("x", ())
    ('W[0, 2]', 'x')
    """
    return f"{name}[{', '.join(map(str, index))}]" if index else name


def upstream_name(graph: Graph, output: str) -> str:
    """How an output's upstream gradient is called: ``dD`` for D, unless the function itself uses that name.

    >>> from verify.graph.graph import GraphBuilder
    >>> b = GraphBuilder()
    >>> b.name("D", b.apply("exp", b.input("x", (2,))))
    >>> upstream_name(b.build(["D"]), "D")
    'dD'
    """
    short = f"d{output}"
    is_read = short in graph.inputs and bool(graph.consumers[graph.inputs[short]])
    return f"upstream of {output}" if is_read or short in graph.stages else short


def entry_symbols(name: str, shape: Shape) -> Objects:
    """One symbol for each entry of an array.

    >>> entry_symbols("x", (2,))
    array([x[0], x[1]], dtype=object)
    """
    symbols = np.empty(shape, dtype=object)
    for index in np.ndindex(shape):
        symbols[index] = real_symbol(entry_name(name, index))
    return symbols


def constant(node: Node) -> sympy.Expr:
    """A constant's exact value: the double that a literal parses to, or the real number that a name means.

    >>> constant(Node("constant", "0.5", (), {}, (), value=0.5))
    1/2
    """
    if node.op in REAL_CONSTANTS:
        return {"pi": sympy.pi, "e": sympy.E}[node.op]
    assert node.value is not None
    return exact_rational(node.value)


def static_params(node: Node) -> dict[str, Any]:
    """The parameters that the SymPy form takes: which convention holds at a tie is not its business.

    >>> static_params(Node("op", "max", (0, 1), {"tie": (1.0, 0.0)}, ()))
    {}
    """
    return node.static


def needed(graph: Graph, known: Mapping[int, Any], targets: Iterable[int]) -> list[int]:
    """What must still be computed for the targets, in order, when the nodes in ``known`` are had already.

    >>> from verify.graph.graph import GraphBuilder
    >>> b = GraphBuilder()
    >>> b.name("f", b.apply("exp", b.apply("negative", b.input("x"))))
    >>> needed(b.build(["f"]), {0: None}, [2])
    [1, 2]
    """
    wanted = {target for target in targets if target not in known}
    for position in range(max(wanted, default=-1), -1, -1):
        if position in wanted:
            wanted.update(arg for arg in graph.nodes[position].args if arg not in known)
    return sorted(wanted)


def objects(value: Any) -> Objects:
    """An object array of SymPy expressions; a lone expression becomes one without axes.

    >>> objects(sympy.Integer(1)).shape
    ()
    """
    if isinstance(value, np.ndarray):
        return value
    array = np.empty((), dtype=object)
    array[()] = value
    return array


def apply(node: Node, operands: Sequence[Objects]) -> Objects:
    """A node's op on object arrays, by the table's SymPy form.

    >>> apply(Node("op", "exp", (0,), {}, (2,)), [entry_symbols("x", (2,))])
    array([exp(x[0]), exp(x[1])], dtype=object)
    """
    row = OPS[node.op]
    if not row.elementwise:
        return objects(row.sympy(*operands, **static_params(node)))
    static = static_params(node)
    broadcast = np.broadcast_arrays(*operands)
    result = np.empty(broadcast[0].shape, dtype=object)
    for index in np.ndindex(result.shape):
        result[index] = _real_form(row, [operand[index] for operand in broadcast], static)
    return result


def _real_form(row: Op, operands: Sequence[sympy.Expr], static: Mapping[str, Any]) -> sympy.Expr:
    try:
        return row.sympy(*operands, **static)
    except (TypeError, ValueError):
        return sympy.nan  # SymPy compares nothing that is not real, such as sqrt(-exp(x)) with 0


def uses(graph: Graph, node: Node, operand: Shape) -> int:
    """How often an op reads the entries of an operand, counted over all entries of its output.

    >>> from verify.graph.graph import GraphBuilder
    >>> b = GraphBuilder()
    >>> b.name("D", b.apply("matmul", b.input("W", (5, 10)), b.input("X", (10, 3))))
    >>> graph = b.build(["D"])
    >>> uses(graph, graph.nodes[2], (5, 10))
    150
    """
    row = OPS[node.op]
    if row.uses is not None:
        return row.uses(*(graph.nodes[arg].shape for arg in node.args), **static_params(node))
    entries = math.prod(operand)
    return entries if not row.elementwise else max(entries, math.prod(node.shape))

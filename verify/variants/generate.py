"""Every backward pass of a graph with a single fault, as people make them when they write one by hand.

A variant is the engine's own pass with the pullbacks of one place replaced: a contribution dropped, its sign flipped, a
local derivative left out or taken at the wrong value, a sum over a broadcast axis forgotten. A place is a *span*: one
edge of the graph, or everything that a stage's expression sends to one of its operands, which is what somebody writes
as one line. Each variant says in words what it does, to be put behind "your dx".

No variant is known to be wrong: some are other ways to write the right pass. Who needs to know asks the reference.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from verify.graph.graph import Graph
from verify.graph.interpret import Values
from verify.methods.reverse import Contribution, Edge, Replacement, Reverse, unbroadcast
from verify.ops import OPS

Array = NDArray[Any]


class FaultKind(StrEnum):
    """What kind of fault a variant has, those that explain the most in the simplest words first.

    >>> FaultKind.SIGN.rank < FaultKind.WRONG_VALUE.rank
    True
    """

    MISSING_PATH = "missing path"
    ACCUMULATION = "accumulation"
    MISSING_FACTOR = "missing factor"
    SIGN = "sign"
    MASK = "mask"
    MEAN = "mean"
    BROADCAST = "broadcast"
    TRANSPOSED = "transposed"
    UPSTREAM = "upstream"
    FACTOR = "factor"
    SWAPPED = "swapped"
    WRONG_VALUE = "wrong value"
    WRONG_UPSTREAM = "wrong upstream"
    EXTRA_FACTOR = "extra factor"
    LACKING_FACTOR = "lacking factor"
    SHIFTED = "shifted"

    @property
    def rank(self) -> int:
        """Its place in that order."""
        return list(FaultKind).index(self)


SCALED = (
    (FaultKind.MISSING_PATH, "equals the right one without the path {path}", 0.0),
    (FaultKind.SIGN, "has the wrong sign on the path {path}", -1.0),
    (FaultKind.FACTOR, "has a factor 2 too much on the path {path}", 2.0),
    (FaultKind.FACTOR, "has a factor 1/2 too much on the path {path}", 0.5),
)
"""What is sent times a number, of one edge or of all that a stage sends: kind, words, number."""

LINEAR = ("add", "subtract", "negative", "positive")
"""Ops whose local derivatives are 1 or -1: they hold no value that could be the wrong one."""

NEAREST = 4
"""Other stages that are tried in the place of the right one, nearest first."""

LONGEST, MOST_OPS = 40, 20
"""Characters of an expression that are still shown, and ops in it."""

FORMS: Mapping[str, Callable[[Any], Any]] = {
    "sigmoid": lambda s: s * (1.0 - s),
    "tanh": lambda s: 1.0 - s * s,
    "exp": lambda s: s * 1.0,
    "sqrt": lambda s: 0.5 / s,
    "reciprocal": lambda s: -(s * s),
}
"""Functions whose derivative people write by the function's own value: into it, the wrong value is easily put."""


PARTS: Mapping[str, Mapping[str, Callable[[Any], Any]]] = {
    "sigmoid": {"s": lambda s: 1.0 - s, "1 - s": lambda s: s * 1.0},
    "tanh": {"1 + s": lambda s: 1.0 - s, "1 - s": lambda s: 1.0 + s},
}
"""Of such derivatives, each factor with what is left without it; a quotient would lose digits where it is nearly 0."""


@dataclass(frozen=True, slots=True)
class Variant:
    """One backward pass with a single fault."""

    kind: FaultKind
    words: str
    """What it does to a gradient, behind "your dx"; ``{path}`` stands for the path that is concerned."""
    source: str
    """Where the concerned path begins, as the case writes it."""
    target: int
    """Position of the node that receives what is wrong."""
    target_text: str
    replaced: Mapping[Edge, Replacement] = field(repr=False)
    rank: tuple[int, int] = (0, 0)
    """Simplest first."""

    def sentence(self, variable: str) -> str:
        """What the fault does, said of the gradient by one variable.

        It names the path by its beginning alone where that leads straight to the variable.
        """
        straight = self.target_text == variable
        path = f"through `{self.source}`" if straight else f"from `{self.source}` to `{self.target_text}`"
        return self.words.replace("{path}", path)


@dataclass(frozen=True, slots=True)
class _Span:
    """One edge, or all edges by which a stage's expression sends something to one operand."""

    graph: Graph
    edges: tuple[Edge, ...]
    top: int
    """The node whose upstream gradient goes in."""
    bottom: int
    """The node that receives what comes out."""

    @property
    def op(self) -> str:
        return self.graph.nodes[self.top].op

    @property
    def is_node(self) -> bool:
        return len(self.edges) == 1 and self.edges[0][0] == self.top

    @property
    def fits(self) -> bool:
        return self.graph.nodes[self.top].shape == self.graph.nodes[self.bottom].shape

    @property
    def symbol(self) -> str:
        """The local derivative as it is written in short, such as ``dq/dx``; empty where it has no such name."""
        graph, node = self.graph, self.graph.nodes[self.top]
        bottom = shown(graph, self.bottom)
        if self.is_node and len(node.args) == 1 and OPS[self.op].spelling.startswith(f"{self.op}("):
            return f"{self.op}'({bottom})"
        top = graph.names.get(self.top)
        if top and self.bottom in graph.names:
            return f"d{top}/d{bottom}"
        return ""

    @property
    def derivative(self) -> str:
        """The local derivative in words."""
        return self.symbol or f"the derivative of `{shown(self.graph, self.top)}` by `{shown(self.graph, self.bottom)}`"


def shown(graph: Graph, position: int) -> str:
    """A node as the case writes it, or where that is long what and where it is.

    >>> from verify.case.expression import graph_from_expressions
    >>> graph = graph_from_expressions({"x": ()}, {"f": "exp(x) * x"})
    >>> shown(graph, 1), shown(graph, 2)
    ('exp(x)', 'f')
    """
    node = graph.nodes[position]
    if not _is_short(graph, position):
        return f"the {node.op} in {node.stage}"
    text = graph.text(position)
    text = re.sub(r"\((\w+)\)\*\*", r"\1**", text)
    if text.startswith("(") and _closing(text) == len(text) - 1:
        text = text[1:-1]
    return text if len(text) <= LONGEST else f"the {node.op} in {node.stage}"


def _is_short(graph: Graph, position: int) -> bool:
    """Whether an expression has few ops down to inputs and stages: its text grows with all of them."""
    open_nodes, count = [position], 0
    while open_nodes and count <= MOST_OPS:
        node = graph.nodes[open_nodes.pop()]
        count += node.kind == "op"
        open_nodes += [j for j in node.args if j not in graph.names]
    return count <= MOST_OPS


def _closing(text: str) -> int:
    """Where the bracket is closed that a text opens with."""
    depth = 0
    for place, letter in enumerate(text):
        depth += (letter == "(") - (letter == ")")
        if not depth:
            return place
    return -1


def variants(engine: Reverse, values: Values) -> list[Variant]:
    """All single-fault variants of an engine's backward pass, simplest kinds first.

    ``engine`` must keep the gradients of all stages; ``values`` is a finished forward pass at some points, by which it
    is seen what a stage's expression is.

    >>> from verify.case.expression import graph_from_expressions
    >>> engine = Reverse(graph_from_expressions({"x": (), "y": ()}, {"f": "x * y"}), ["x", "y", "f"])
    >>> found = variants(engine, engine.program.run({"x": np.array([3.0]), "y": np.array([-4.0])}))
    >>> found[0].kind.value, found[0].sentence("x")
    ('missing path', 'equals the right one without the path through `f`')
    """
    graph = engine.graph
    useful = graph.needed_for(graph.position(name) for name in graph.outputs)
    edges = [edge for edge in engine.edges() if edge[0] in useful]
    into = Counter(_entry(graph, edge) for edge in edges)
    found: list[Variant] = []
    for edge in edges:
        span = _Span(graph, (edge,), edge[0], graph.nodes[edge[0]].args[edge[1]])
        found += _of_edge(span, is_alone=into[_entry(graph, edge)] == 1)
        found += _of_span(span, values, OPS[span.op].elementwise, None)
    with np.errstate(all="ignore"):  # a form that is not the stage's may be infinite where the stage is zero
        for span in _stage_spans(graph, edges):
            found += _of_span(span, values, True, _local(engine, values, span))
    found += _of_accumulation(graph, edges)
    found += _of_repeats(graph, edges)
    found += _in_every_step(graph, found)
    return sorted(found, key=lambda variant: variant.rank)


# ----------------------------------------------------------------------------------------------------- making variants


def _variant(
    span: _Span,
    kind: FaultKind,
    words: str,
    replacement: Replacement,
    others: Replacement | None = None,
    source: str = "",
) -> Variant:
    """A variant that replaces what the first edge of a span sends, and what its other edges send."""
    graph = span.graph
    replaced = dict.fromkeys(span.edges, others or replacement)
    replaced[span.edges[0]] = replacement
    inner = (not source and span.top not in graph.names) + (span.bottom not in graph.names)
    return Variant(
        kind,
        words,
        source or shown(graph, span.top),
        span.bottom,
        shown(graph, span.bottom),
        replaced,
        (kind.rank, inner),
    )


def _times(factor: float, c: Contribution) -> Any:
    return c.sent * factor if factor else np.zeros_like(c.sent)


_nothing = partial(_times, 0.0)


def _of_edge(span: _Span, *, is_alone: bool) -> Iterator[Variant]:
    """What can go wrong with one contribution, whatever the op; alone it is all that the stage sends to the operand."""
    graph, make = span.graph, partial(_variant, span)
    node, operand = graph.nodes[span.top], graph.nodes[span.bottom]
    source = ""
    if node.stage not in ("", *graph.outputs) and span.bottom in graph.names:
        # Somebody who writes a line for each stage knows no inner nodes; an output's own terms are told apart.
        source = node.stage if is_alone else ""
    for kind, words, factor in SCALED:
        yield make(kind, words, partial(_times, factor), source=source)
    for n in _sizes(node.shape, operand.shape):
        yield make(FaultKind.FACTOR, f"has a factor {n} too much on the path {{path}}", partial(_times, float(n)))
        yield make(FaultKind.FACTOR, f"has a factor 1/{n} too much on the path {{path}}", partial(_times, 1.0 / n))
    name = graph.names.get(span.top)
    if name:
        missing = f"misses the upstream gradient d{name} on the path {{path}}"
        yield make(FaultKind.UPSTREAM, missing, lambda c: c.again(g=np.ones_like(c.g)))
        yield make(FaultKind.WRONG_UPSTREAM, f"uses `{name}` where d{name} belongs", lambda c: c.again(g=c.y))
        for other in _near(graph, span.top, graph.stages, node.shape):
            if other > span.top:
                words = f"uses d{graph.names[other]} where d{name} belongs"
                yield make(FaultKind.WRONG_UPSTREAM, words, partial(_other_upstream, other))
    if node.op in ("sum", "mean"):
        count = math.prod(operand.shape) // max(math.prod(node.shape), 1)
        factor, words = (1 / count, "takes the mean") if node.op == "sum" else (float(count), "takes the sum")
        right = "sum" if node.op == "sum" else f"mean over {count}"
        yield make(FaultKind.MEAN, f"{words} where the {right} belongs", partial(_times, factor))
    yield from _of_shape(span)


def _of_shape(span: _Span) -> Iterator[Variant]:
    """What can go wrong with axes and entries."""
    graph, make = span.graph, partial(_variant, span)
    node, operand = graph.nodes[span.top], graph.nodes[span.bottom]
    shape = operand.shape
    if len(shape) == 2 and shape[0] == shape[1] > 1:
        words = "transposes what `" + shown(graph, span.top) + "` sends to `" + shown(graph, span.bottom) + "`"
        yield make(FaultKind.TRANSPOSED, words, lambda c: np.swapaxes(c.sent, -1, -2))
    if node.op == "matmul":
        number = 1 - span.edges[0][1]
        other = graph.nodes[node.args[number]].shape
        if len(other) == 2 and other[0] == other[1] > 1:
            words = f"uses `{shown(graph, node.args[number])}` where its transpose belongs, or the other way round"
            yield make(FaultKind.TRANSPOSED, words, partial(_with_transpose, number))
    if node.op == "matmul":
        for position in _near(graph, node.args[number], graph.names, other):
            words = f"uses `{shown(graph, position)}` where `{shown(graph, node.args[number])}` belongs"
            yield make(FaultKind.WRONG_VALUE, words, partial(_with_operand, number, position, len(other)))
    if OPS[node.op].elementwise and node.shape != shape:
        words = f"does not sum over the axes along which `{shown(graph, span.bottom)}` is broadcast"
        yield make(FaultKind.BROADCAST, f"{words}: it keeps the first entry", partial(_kept, 0, shape))
        yield make(FaultKind.BROADCAST, f"{words}: it keeps the last entry", partial(_kept, -1, shape))
        count = math.prod(node.shape) // max(math.prod(shape), 1)
        yield make(FaultKind.BROADCAST, f"{words}: it takes the mean", partial(_times, 1.0 / max(count, 1)))
    if not OPS[node.op].elementwise:
        for axis, size in enumerate(shape):
            for step in (1, -1) if size > 2 else (1,) if size == 2 else ():
                words = f"is shifted by one along axis {axis} on the path {{path}}"
                yield make(FaultKind.SHIFTED, words, partial(_shifted, axis + 1, step))


def _of_span(span: _Span, values: Values, is_elementwise: bool, local: Any) -> Iterator[Variant]:
    """What can go wrong with a local derivative."""
    graph, make = span.graph, partial(_variant, span)
    node = graph.nodes[span.top]
    if not is_elementwise or (span.is_node and node.op in LINEAR):
        return
    if not (span.is_node and OPS[node.op].kink):
        words = _missing(span)
        yield make(FaultKind.MISSING_FACTOR, words, partial(_upstream_alone, span.top, span.bottom, graph), _nothing)
    if len(span.edges) > 1:
        yield from (make(kind, words, partial(_times, factor)) for kind, words, factor in SCALED)
    forms = _forms(span, values, local) if span.fits else []
    yield from _by_other_factors(span)
    yield from _by_own_value(span, forms)
    if span.is_node:
        yield from _at_other_operands(span)
        yield from _value_for_derivative(span)


def _missing(span: _Span) -> str:
    """That a local derivative is left out, in words."""
    graph = span.graph
    if len(span.edges) == 1 and not span.is_node and _is_linear_to(graph, span.edges[0][0], span.top):
        span = _Span(graph, span.edges, span.edges[0][0], span.bottom)  # sums around a product change nothing
    node = graph.nodes[span.top]
    if span.is_node and node.op == "multiply":
        return f"misses the factor `{shown(graph, node.args[1 - span.edges[0][1]])}`"
    if span.is_node and node.op == "divide" and span.edges[0][1] == 0:
        return f"misses the division by `{shown(graph, node.args[1])}`"
    if span.symbol:
        return f"misses the factor {span.symbol}"
    return f"misses the local derivative of `{shown(graph, span.top)}` by `{shown(graph, span.bottom)}`"


def _forms(span: _Span, values: Values, local: Any) -> list[str]:
    """The functions, of those whose derivative is written by their own value, that a span computes."""
    if span.is_node:
        return [span.op] if span.op in FORMS else []
    return [name for name, form in FORMS.items() if _is_alike(form(values[span.top]), local)]


def _by_other_factors(span: _Span) -> Iterator[Variant]:
    """A factor that is one of the values at hand, once too often or once too seldom."""
    graph, node = span.graph, span.graph.nodes[span.top]
    at_hand = [span.top, *_named_in(graph, span.top)]
    if span.is_node:
        at_hand += [j for j in node.args if graph.nodes[j].kind != "constant" or _is_number(graph, j)]
    for position in dict.fromkeys(at_hand):
        if graph.nodes[position].shape not in (graph.nodes[span.bottom].shape, ()):
            continue
        text = shown(graph, position)
        lacking = f"misses a factor `{text}` in {span.derivative}"
        too_often = f"has a factor `{text}` too much in {span.derivative}"
        yield _variant(span, FaultKind.LACKING_FACTOR, lacking, partial(_scaled_by, position, True))
        yield _variant(span, FaultKind.EXTRA_FACTOR, too_often, partial(_scaled_by, position, False))
    exponent = node.params.get("exponent") if node.op == "power_constant" and span.is_node else None
    if exponent:
        yield _variant(
            span,
            FaultKind.MISSING_FACTOR,
            f"misses the factor {exponent:g}, the exponent",
            partial(_times, 1 / exponent),
        )


def _by_own_value(span: _Span, forms: Sequence[str]) -> Iterator[Variant]:
    """A derivative that is written by the function's own value, with another value put in."""
    graph, node = span.graph, span.graph.nodes[span.top]
    top = shown(graph, span.top)
    for name in forms:
        for factor, rest in PARTS.get(name, {}).items():
            words = f"misses a factor `{factor.replace('s', top)}` in {span.derivative}"
            of_own = partial(_form_at, rest, span.top, span.top)
            yield _variant(span, FaultKind.MISSING_FACTOR, words, of_own, _nothing)
        others = [span.bottom, *_near(graph, span.top, graph.names, node.shape)]
        for other in dict.fromkeys(j for j in others if j != span.top):
            words = f"uses `{shown(graph, other)}` where `{top}` belongs in the derivative of `{top}`"
            yield _variant(
                span, FaultKind.WRONG_VALUE, words, partial(_form_at, FORMS[name], other, span.top), _nothing
            )


def _at_other_operands(span: _Span) -> Iterator[Variant]:
    """A local derivative with other operands than its own: swapped, its value in their place, another stage's."""
    graph, make = span.graph, partial(_variant, span)
    node = graph.nodes[span.top]
    if OPS[node.op].kink is not None:
        yield make(FaultKind.MASK, f"misses the mask of `{node.op}`", lambda c: c.fit(c.g))
        words = f"has the mask of `{node.op}` inverted"
        if len(node.args) == 1:
            yield make(FaultKind.MASK, words, lambda c: c.again(operands=[-c.operands[0]]))
    if len(node.args) == 2:
        a, b = (shown(graph, j) for j in node.args)
        words = f"has the operands `{a}` and `{b}` swapped"
        if OPS[node.op].kink is not None:
            words = f"has the mask of `{node.op}` inverted: `{a}` and `{b}` are swapped"
        yield make(FaultKind.SWAPPED, words, lambda c: c.again(operands=c.operands[::-1]))
    for number, j in enumerate(node.args):
        if graph.nodes[j].kind == "constant":
            continue
        text = shown(graph, j)
        others = [*node.args, *((span.top,) if len(node.args) == 1 else ()), *_named_in(graph, j)]
        others += _named_in(graph, graph.stages[node.stage]) if node.stage in graph.stages else []
        others += _near(graph, span.top, graph.names)
        for other in dict.fromkeys(others):
            if other != j and graph.nodes[other].shape in (graph.nodes[j].shape, ()):
                words = f"uses `{shown(graph, other)}` where `{text}` belongs in {span.derivative}"
                yield make(FaultKind.WRONG_VALUE, words, partial(_with_operand, number, other, len(node.shape)))


def _value_for_derivative(span: _Span) -> Iterator[Variant]:
    """A function's own value in the place of its derivative, as it is right for exp alone."""
    graph, node = span.graph, span.graph.nodes[span.top]
    if len(node.args) == 1 and span.fits and OPS[node.op].kink is None:
        words = f"uses `{shown(graph, span.top)}` for its derivative"
        yield _variant(span, FaultKind.WRONG_VALUE, words, lambda c: c.g * c.y)
        yield _variant(span, FaultKind.WRONG_VALUE, f"{words}, with the wrong sign", lambda c: -(c.g * c.y))


def _of_accumulation(graph: Graph, edges: Sequence[Edge]) -> Iterator[Variant]:
    """``=`` in the place of ``+=``: what was sent to a variable before, or afterwards, is lost."""
    received: dict[int, dict[str, list[Edge]]] = {}
    for edge in edges:
        bottom, stage = _entry(graph, edge)
        received.setdefault(bottom, {}).setdefault(stage, []).append(edge)
    for position, name in graph.names.items():
        into = received.get(position, {})
        if len(into) == 1:
            (only,) = into.values()
            into = {f"{shown(graph, edge[0])}": [edge] for edge in only}
        groups = list(into.items())
        if len(groups) < 3:
            continue  # with two, one of them is the path that is missing
        for number, (stage, kept) in enumerate(groups):
            lost = [edge for other, found in groups if other != stage for edge in found]
            words = f"keeps the path through `{stage}` alone (`=` in the place of `+=`?)"
            yield _accumulated(graph, position, words, lost, (number, kept))
        for number, (stage, kept) in enumerate(groups[1:-1], start=1):
            lost = [edge for _, found in groups[:number] for edge in found]
            words = f"loses what was added to d{name} before `{stage}` (`=` in the place of `+=`?)"
            yield _accumulated(graph, position, words, lost, (number, kept))


def _of_repeats(graph: Graph, edges: Sequence[Edge]) -> Iterator[Variant]:
    """``dx[i] = ...`` in the place of ``+=``: of entries that are read more than once, one of the readers is kept."""
    readers: dict[int, list[Edge]] = {}
    for edge in edges:
        node = graph.nodes[edge[0]]
        if OPS[node.op].moves and len(node.args) == 1 and node.op != "transpose":
            readers.setdefault(node.args[0], []).append(edge)
    for position, found in readers.items():
        size = math.prod(graph.nodes[position].shape)
        reads = {edge: _read_entries(graph, edge, size) for edge in sorted(found)}
        text = shown(graph, position)
        rank = (FaultKind.ACCUMULATION.rank, position not in graph.names)
        words = f"keeps one of those that read an entry of `{text}` more than once (`=` in the place of `+=`?)"
        for order in (list(reads), list(reversed(reads))):
            replaced: dict[Edge, Replacement] = {}
            later = np.zeros(size, dtype=bool)
            for edge in reversed(order):
                read = reads[edge]
                if len(np.unique(read)) < len(read) or later[read].any():
                    replaced[edge] = partial(_overwritten, read, later.copy())
                later[read] = True
            if replaced:
                yield Variant(FaultKind.ACCUMULATION, words, text, position, text, replaced, rank)
            if len(order) == 1:
                break
        lost = {edge: _readers_after(edge, reads) for edge in reads}
        replaced = {edge: partial(_assigned_after, after) for edge, after in lost.items() if after}
        if replaced:
            words = (
                f"overwrites what an entry of `{text}` got before, as where windows overlap (`=` in the place of `+=`?)"
            )
            yield Variant(FaultKind.ACCUMULATION, words, text, position, text, replaced, rank)


def _readers_after(edge: Edge, reads: Mapping[Edge, Array]) -> list[tuple[int, Array]]:
    """The nodes behind one that read some of its entries too, and which entries those are."""
    return [(other[0], read) for other, read in reads.items() if other > edge and np.isin(read, reads[edge]).any()]


def _assigned_after(after: Sequence[tuple[int, Array]], c: Contribution) -> Any:
    """What is left of a contribution where the later ones, as far as they are not 0, are assigned over it."""
    sent = np.array(c.sent).reshape(len(c.sent), -1)
    for node, read in after:
        later = c.totals[node]
        if later is not None and later[0].size == len(read):
            sent[:, read] = np.where(later.reshape(len(later), -1) != 0, 0.0, sent[:, read])
    return sent.reshape(c.sent.shape)


def _read_entries(graph: Graph, edge: Edge, size: int) -> Array:
    """Which entries of its operand each entry of a moving op is, -1 left out where it puts zeros."""
    node = graph.nodes[edge[0]]
    shape = graph.nodes[node.args[0]].shape
    places = np.arange(1, size + 1, dtype=np.float64).reshape(1, *shape)
    moved = np.asarray(OPS[node.op].forward(places, **node.params)).ravel().astype(np.int64) - 1
    return moved[moved >= 0]


def _overwritten(read: Array, later: Array, c: Contribution) -> Any:
    """What is left of a contribution where each entry is assigned to, and what comes later is assigned after it."""
    g = np.asarray(c.g).reshape(len(c.g), -1)
    sent = np.zeros((len(g), len(later)), dtype=g.dtype)
    if g.shape[1] == len(read):
        sent[:, read] = g
    else:
        sent = np.array(c.sent, dtype=g.dtype).reshape(sent.shape)
    sent[:, later] = 0.0
    return sent.reshape(c.sent.shape)


def _in_every_step(graph: Graph, found: Sequence[Variant]) -> Iterator[Variant]:
    """The same fault in every step of a loop: of all nodes that one line of the function made by one op."""
    alike: dict[tuple[Any, ...], list[Variant]] = {}
    met: Counter[tuple[Any, ...]] = Counter()
    for variant in found:
        top = max(edge[0] for edge in variant.replaced)
        if not graph.nodes[top].line or variant.kind in (FaultKind.ACCUMULATION, FaultKind.MISSING_PATH):
            continue
        ops = tuple(sorted((graph.nodes[i].op, number) for i, number in variant.replaced))
        form = variant.kind, graph.nodes[top].line, ops, *_form_of(next(iter(variant.replaced.values())))
        # Nodes of one line have the same variants in the same order, which tells those of one form apart.
        met[top, form] += 1
        alike.setdefault((*form, met[top, form]), []).append(variant)
    for same in alike.values():
        replaced: dict[Edge, Replacement] = {}
        for variant in same:
            replaced.update(variant.replaced)
        if len(same) > 1 and len(replaced) == sum(len(variant.replaced) for variant in same):
            words = f"{same[-1].words}, and so in each of {len(same)} steps"
            yield replace(same[-1], words=words, replaced=replaced, rank=(same[-1].rank[0], same[-1].rank[1] + 1))


def _form_of(replacement: Replacement) -> tuple[Any, ...]:
    """What a replacement does, whichever node it is at: its function, and the numbers that are no positions."""
    if isinstance(replacement, partial):
        return replacement.func.__code__, *(x for x in replacement.args if isinstance(x, float))
    return (getattr(replacement, "__code__", replacement),)


def _accumulated(
    graph: Graph, position: int, words: str, lost: Iterable[Edge], at: tuple[int, Sequence[Edge]]
) -> Variant:
    replaced: dict[Edge, Replacement] = dict.fromkeys(lost, _nothing)
    name, rank = graph.names[position], (FaultKind.ACCUMULATION.rank, at[0])
    return Variant(FaultKind.ACCUMULATION, words, shown(graph, at[1][0][0]), position, name, replaced, rank)


# -------------------------------------------------------------------------------------------------- replaced pullbacks


def _other_upstream(position: int, c: Contribution) -> Any:
    other = c.totals[position]
    return c.sent if other is None else c.again(g=other)


def _with_transpose(number: int, c: Contribution) -> Any:
    operands = list(c.operands)
    operands[number] = np.swapaxes(operands[number], -1, -2)
    return c.again(operands=operands)


def _kept(which: int, shape: tuple[int, ...], c: Contribution) -> Any:
    """One entry of each axis that should have been summed over."""
    raw = c.vjp(c.g, c.y, *c.operands)
    while raw.ndim - 1 > len(shape):
        raw = raw[:, which]
    for axis, size in enumerate(shape):
        if size == 1 and raw.shape[axis + 1] != 1:
            index: list[Any] = [slice(None)] * raw.ndim
            index[axis + 1] = slice(-1, None) if which else slice(0, 1)
            raw = raw[tuple(index)]
    return raw


def _shifted(axis: int, step: int, c: Contribution) -> Any:
    head: list[Any] = [slice(None)] * c.sent.ndim
    tail = list(head)
    head[axis], tail[axis] = slice(None, -step), slice(-step, None)
    return np.concatenate([c.sent[tuple(tail)], c.sent[tuple(head)]], axis=axis)


def _upstream_alone(top: int, bottom: int, graph: Graph, c: Contribution) -> Any:
    return unbroadcast(c.totals[top], graph.nodes[bottom].shape)


def _scaled_by(position: int, is_missing: bool, c: Contribution) -> Any:
    value = c.values[position]
    value = value.reshape(len(value), *(1,) * (c.sent.ndim - value.ndim), *value.shape[1:])
    return c.sent / value if is_missing else c.sent * value


def _form_at(form: Callable[[Any], Any], position: int, top: int, c: Contribution) -> Any:
    return c.totals[top] * form(c.values[position])


def _with_operand(number: int, position: int, rank: int, c: Contribution) -> Any:
    value = c.values[position]
    operands = list(c.operands)
    operands[number] = value.reshape(len(value), *(1,) * (rank + 1 - value.ndim), *value.shape[1:])
    return c.again(operands=operands)


# ------------------------------------------------------------------------------------------------------ reading a graph


def _stage_spans(graph: Graph, edges: Sequence[Edge]) -> Iterator[_Span]:
    """What each stage sends to each of its operands, where that takes more than one op and all go entry by entry."""
    nodes: dict[str, list[int]] = {}
    for i, node in enumerate(graph.nodes):
        if node.kind == "op":
            nodes.setdefault(node.stage, []).append(i)
    sent: dict[str, list[Edge]] = {}
    for edge in edges:
        sent.setdefault(graph.nodes[edge[0]].stage, []).append(edge)
    for stage, top in graph.stages.items():
        own = nodes.get(stage, [])
        if len(own) < 2 or not all(OPS[graph.nodes[i].op].elementwise for i in own):
            continue
        into: dict[int, list[Edge]] = {}
        inside = set(own)
        for edge in sent.get(stage, []):
            bottom = graph.nodes[edge[0]].args[edge[1]]
            if bottom not in inside:
                into.setdefault(bottom, []).append(edge)
        for bottom, found in into.items():
            if len(found) > 1 or found[0][0] != top:
                yield _Span(graph, tuple(found), top, bottom)


def _local(engine: Reverse, values: Values, span: _Span) -> Any:
    """The local derivative of a stage by one operand, where shapes are alike."""
    graph = engine.graph
    if not span.fits or span.bottom not in graph.names:
        return None
    stage = graph.names[span.top]
    return engine.sent_back(values, stage, np.ones_like(values[span.top])).get(graph.names[span.bottom])


def _is_alike(first: Any, second: Any) -> bool:
    if second is None or np.shape(first) != np.shape(second):
        return False
    return bool(np.all(np.isfinite(second)) and np.allclose(first, second, rtol=1e-6, atol=1e-12))


def _entry(graph: Graph, edge: Edge) -> tuple[int, str]:
    """The operand that an edge leads to, and the stage that it comes from."""
    node = graph.nodes[edge[0]]
    return node.args[edge[1]], node.stage


def _is_linear_to(graph: Graph, position: int, top: int) -> bool:
    """Whether one path leads from a node to another, and nothing on it but sums."""
    while position != top:
        readers = graph.consumers[position]
        if len(readers) != 1 or graph.nodes[readers[0]].op not in ("add", "positive"):
            return False
        position = readers[0]
    return True


def _named_in(graph: Graph, top: int) -> list[int]:
    """The inputs and stages that an expression reads."""
    found, open_nodes = [], list(graph.nodes[top].args)
    while open_nodes:
        position = open_nodes.pop()
        if position in graph.names:
            found.append(position)
        else:
            open_nodes += graph.nodes[position].args
    return sorted(set(found), reverse=True)


def _is_number(graph: Graph, position: int) -> bool:
    value = graph.nodes[position].value
    return value is not None and value not in (0.0, 1.0, -1.0, 2.0, 0.5)


def _near(graph: Graph, position: int, names: Mapping[Any, Any], shape: tuple[int, ...] | None = None) -> Iterator[int]:
    """Positions of the named nodes nearest to one, of one shape."""
    places = [graph.position(name) if isinstance(name, str) else name for name in names]
    wanted = [j for j in places if j != position and (shape is None or graph.nodes[j].shape == shape)]
    yield from sorted(wanted, key=lambda j: abs(j - position))[:NEAREST]


def _sizes(*shapes: tuple[int, ...]) -> list[int]:
    """Lengths of axes that a factor may be mistaken for."""
    found = {size for shape in shapes for size in (*shape, math.prod(shape))}
    return sorted(n for n in found if n > 2)[:3]

"""Second derivatives of cases that ask for them, by ``order: 2`` or by figures of a Hessian.

The two roads of :mod:`verify.truth.orders` are the answers: the pass back through Taylor series is what ``reverse`` is
here, and the differences of SymPy's gradients are ``symbolic``. Central differences have no part in it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from verify.case.case import Case, Expected
from verify.judging.evidence import Evidence, Figure
from verify.judging.rules import variable_of
from verify.methods.symbolic import Symbolic
from verify.numbers.streams import stream
from verify.places.search import upstream_of
from verify.records import CaseResult, Point, VariableResult
from verify.running.preparing import prepared_methods
from verify.running.settings import Settings
from verify.truth.orders import SAME_BITS, Block, Key, Orders
from verify.truth.ties import second_blocks

Array = NDArray[Any]

RANDOM = 4
"""Random points that are looked at beside the case's own, at most."""

NO_CLOSER = 2.0 ** -(2 * SAME_BITS)
"""What differences of SymPy's gradients are cut off by, where a second derivative is 0 or next to it."""

MOST_ENTRIES = 20
"""Numbers that a whole Hessian is by; of more, its product with a vector is judged."""


def with_second_orders(case: Case, settings: Settings, result: CaseResult) -> CaseResult:
    """A result with the rows of second derivatives beside its own.

    >>> from verify.case.case import load_case_text
    >>> from verify.running.runner import run_loaded
    >>> case = load_case_text("{case: f, order: 2, inputs: {x: {at: 3}}, stages: {f: x**3}}")
    >>> [(v.name, v.quantity, v.verdict.value) for v in run_loaded(case, Settings(points=2)).variables][-1]
    ('d2f/dxdx', 'hessian', 'PASS')
    """
    own = [point for point in result.points if point.own]
    drawn = [point for point in result.points if point.origin == "random"][:RANDOM]
    real = [item.name for item in case.real_inputs]
    if not real or not {"symbolic", "reverse"} & {*result.methods}:
        return result
    symbolic = _symbolic(case, settings, real) if "symbolic" in result.methods else None
    found: dict[Key, tuple[Block, list[tuple[int, int, Evidence]]]] = {}
    figures = {(e.name, e.by, i): e for i, p in enumerate(case.own_points) for e in p.expected if e.by}
    is_whole = bool(figures) or sum(math.prod(case.graph.shape(name)) for name in real) <= MOST_ENTRIES
    for point in (*own, *drawn):
        orders = _orders(case, real, symbolic, point)
        v = {} if is_whole else _vector(orders, real, settings.seed, point)
        answers = _whole(orders, real) if is_whole else _differences(orders, v)
        orders, blocks = second_blocks(orders, "hessian") if is_whole else second_blocks(orders, "hvp", v)
        for block in blocks:
            figure = figures.get((block.key[0], block.key[-1], point.id)) if is_whole else None
            rows = found.setdefault(block.key, (block, []))[1]
            evidence = _evidence(orders, block, answers[block.key], point, figure, result.methods)
            rows += ((point.id, i, e) for i, e in enumerate(evidence))
    shown = {key: item for key, item in found.items() if _is_shown(key, real, [*figures])}
    more = [_variable(case, key, block, rows, result.methods, figures) for key, (block, rows) in shown.items()]
    return replace(result, variables=(*result.variables, *more))


def _symbolic(case: Case, settings: Settings, real: Sequence[str]) -> Symbolic | None:
    found = prepared_methods(case, replace(settings, methods=("symbolic",), cached=False), real)[0].get("symbolic")
    return found if isinstance(found, Symbolic) else None


def _orders(case: Case, real: Sequence[str], symbolic: Symbolic | None, point: Point) -> Orders:
    """The two roads at one point."""
    inputs = {item.name: np.asarray(point.values[item.name], dtype=item.dtype) for item in case.inputs}
    shapes = {name: case.graph.shape(name) for name in case.graph.outputs}
    given = {n: point.values.get(case.upstream.get(n, upstream_of(n)), 1.0) for n in shapes}
    upstream = {name: np.broadcast_to(np.asarray(given[name], float), shape) for name, shape in shapes.items()}
    return Orders(case.graph, real, symbolic, inputs, upstream, np.result_type(*(inputs[name].dtype for name in real)))


def _whole(orders: Orders, real: Sequence[str]) -> dict[Key, Array]:
    """What SymPy has of all of H."""
    columns: dict[Key, list[list[float]]] = {(x, y): [] for x in real for y in real}
    for y in real:
        for entry in np.ndindex(orders.graph.shape(y)):
            unit = np.zeros(orders.graph.shape(y))
            unit[entry] = 1.0
            along = _differences(orders, {y: unit})
            for x in real:
                columns[x, y].append(along[x,].tolist())
    return {key: np.array(found).T.ravel() for key, found in columns.items()}


def _vector(orders: Orders, real: Sequence[str], seed: int, point: Point) -> dict[str, Array]:
    """What H is multiplied with, drawn anew at every point."""
    rng = stream(seed, "vectors", point.id)
    return {name: rng.choice([-1.0, -0.5, 0.5, 1.0], orders.graph.shape(name)) for name in real}


def _differences(orders: Orders, direction: Mapping[str, Array]) -> dict[Key, Array]:
    """What SymPy's gradients say, as floats; NaN where there is no such expression."""
    if orders.symbolic is None:
        return {(name,): np.full(orders.graph.shape(name), np.nan).ravel() for name in orders.variables}
    found = orders.differences(direction)
    return {(name,): np.array([float(x.mid()) if x.is_finite() else np.nan for x in found[name]]) for name in found}


def _evidence(
    orders: Orders, block: Block, symbolic: Array, point: Point, figure: Expected | None, methods: Sequence[str]
) -> Iterator[Evidence]:
    """The rows of one block at one point."""
    for i, (known, allowed, theirs) in enumerate(zip(block.known, block.allowed, symbolic.tolist(), strict=True)):
        least = orders.growth * orders.unit * abs(known.midpoint) + orders.floor
        room = allowed if math.isfinite(allowed) else 0.0
        near = known.midpoint if abs(theirs - known.midpoint) <= NO_CLOSER else theirs
        answers = {"reverse": known.midpoint} | ({"symbolic": near} if orders.symbolic is not None else {})
        yield Evidence(
            {method: answer for method, answer in answers.items() if method in methods},
            own=point.own and (figure is not None or not orders.kink),  # at a kink nobody claims what there is not
            unit=orders.unit,
            allowed=allowed,
            least=least,
            truth=known,
            growth=orders.growth,
            disputed=orders.disputed,
            figure=None
            if figure is None
            else Figure(
                float(figure.figures.ravel()[i]),
                figure.line,
                room + float(figure.half_unit.ravel()[i]),
                float(figure.half_unit.ravel()[i]),
            ),
        )


def _is_shown(key: Key, real: Sequence[str], figures: Sequence[tuple[str, str, int]]) -> bool:
    """Of two blocks that mirror each other the first is enough, where no figure is given of the second."""
    return len(key) == 1 or real.index(key[0]) <= real.index(key[1]) or any(key == other[:2] for other in figures)


def _variable(
    case: Case,
    key: Key,
    block: Block,
    rows: Sequence[tuple[int, int, Evidence]],
    methods: Sequence[str],
    figures: Mapping[tuple[str, str, int], Expected],
) -> VariableResult:
    of = "+".join(case.graph.outputs)
    return variable_of(
        rows,
        methods,
        case=case.name,
        name=f"d2{of}/d{key[0]}d{key[1]}" if len(key) > 1 else f"hvp by {key[0]}",
        role="input",
        quantity="hessian" if len(key) > 1 else "hvp",
        shape=block.shape,
        file=case.file,
        line=case.lines.get(key[0], 0),
        figure_lines={i: e.line for (x, y, i), e in figures.items() if (x, y) == key},
    )

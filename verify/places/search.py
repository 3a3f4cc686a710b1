"""Where a gradient is looked at beyond a case's own and random points.

The expression is known, the gradient under test is a black box with regions of its own: it may be wrong at one side of
a branch, at a tie, in a tail, where two inputs are equal, for a negative upstream gradient, or beyond a number that
stands in its code. Each point says in its origin why it was chosen. All of them lie in the domain, their number is
bounded (:data:`MOST`), and they depend on the seed alone.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from verify.case.case import Case, Input
from verify.graph.graph import Graph
from verify.graph.interpret import Program, branch_argument, kinked_nodes
from verify.numbers.streams import stream
from verify.places.points import Batch, drawing_ends, item_dtype, search_bases
from verify.records import UPSTREAM

Array = NDArray[Any]

MOST = {"branch": 24, "scale": 32, "relation": 16, "saturation": 8, "upstream": 10, "constant": 96}
"""Points of each kind that a search may add, ..."""

USUAL_POINTS = 64
"""... where so many random points are looked at; for fewer of them fewer are added, ..."""

LEAST_PART = 1 / 8
"""... but no less than this part, ..."""

MOST_NUMBERS = 400_000
"""... and in large cases so many that all of them together compute no more numbers than this."""

BASES = 32
"""Random points that are moved, in turn, so that each point has other values of its own."""

MAGNITUDES = (1e-1, 1e-2, 1e-4, 1e-8, 1e-16, 1e-100)
"""Sizes that are tried, as parts of the largest value of the domain."""

FEW_INPUTS = 3
"""Inputs whose corners are all tried; of more, the two at which all are low or all are high."""

MOST_PAIRS = 4
"""Pairs of inputs whose relations are tried."""

NEAR = 1e-3
"""How far from a number in the code the nearby values lie, relative to it."""

LINE = 33
"""Values along one input that are looked at for an overflow on the way."""

SECTIONS = 64
"""Parts that an interval is cut into at each step towards the place where something changes."""

POOL_NUMBERS = 2_000_000
"""Numbers that may be computed in looking for a side of a branch that random points hardly reach."""

RARE = 4
"""A side of a branch is sought where so few of the first random points are on it."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A point that is proposed; it counts if it lies in the domain and is new."""

    kind: str
    origin: str
    inputs: Mapping[str, Array]
    """Input -> value ``(*shape)``."""
    upstream: Mapping[str, Array] = field(default_factory=dict)
    """Output -> upstream gradient ``(*shape)``."""
    related: bool = False
    """Whether inputs are meant to be equal."""


def search_points(
    case: Case,
    program: Program,
    seed: int,
    first_id: int,
    *,
    kinks: Batch | None = None,
    constants: Sequence[float] = (),
    points: int = USUAL_POINTS,
) -> Batch | None:
    """The points at which a gradient is looked at because of what the expression and the code are.

    ``kinks`` are points on ties, and ``constants`` numbers from the code of the gradient. The fewer random ``points``
    are looked at, the fewer are added. None where there is no such point.

    >>> from verify.case.case import load_case_text
    >>> case = load_case_text("{case: square, inputs: {x: {at: 3, domain: [-5, 5]}}, stages: {f: x**2}}")
    >>> batch = search_points(case, Program(case.graph), seed=0, first_id=1, constants=[2.5])
    >>> batch.origins[:2], batch.inputs["x"][:2]
    (['x about 5e-01', 'x about -5e-01'], array([ 0.5, -0.5]))
    >>> [float(x) for x, why in zip(batch.inputs["x"], batch.origins) if why == "x = 2.5, a number in the code"]
    [2.5]
    """
    if not case.real_inputs:
        return None
    search = _Search(case, program, seed)
    candidates = itertools.chain(
        search.branches(kinks),
        search.scales(),
        search.relations(),
        search.saturation(),
        search.upstreams(),
    )
    return search.batch([*candidates, *search.constants(constants)], first_id, _room(case.graph, points))


def _room(graph: Graph, points: int) -> Counter[str]:
    """How many points of each kind there may be."""
    numbers = sum(math.prod(node.shape) for node in graph.nodes)
    part = min(max(points / USUAL_POINTS, LEAST_PART), 1.0, MOST_NUMBERS / (numbers * sum(MOST.values())))
    return Counter({kind: max(round(most * part), 2) for kind, most in MOST.items()})


class _Search:
    """One search in one case."""

    def __init__(self, case: Case, program: Program, seed: int) -> None:
        self.case, self.program, self.graph = case, program, program.graph
        self.real = case.real_inputs
        self.inputs, self.upstream = search_bases(case, seed, BASES)
        self.turn = itertools.count()
        self.rng = stream(seed, "search", BASES)
        self.free_upstream = [
            name
            for name in case.graph.outputs
            if name not in case.given_upstream
            and (case.graph.shape(name) or case.draws_scalar_upstream or name in case.upstream)
        ]

    # ------------------------------------------------------------------------------------------------ making points

    def moved(
        self, kind: str, origin: str, changes: Mapping[str, Any], *, related: bool = False, base: int | None = None
    ) -> Candidate:
        """A base point with some inputs replaced; a number fills the whole input."""
        p = (next(self.turn) if base is None else base) % BASES
        inputs = {name: x[p] for name, x in self.inputs.items()}
        for name, value in changes.items():
            inputs[name] = np.broadcast_to(np.asarray(value, dtype=inputs[name].dtype), inputs[name].shape)
        return Candidate(kind, origin, inputs, related=related)

    def with_entry(self, item: Input, value: float, base: int) -> Array:
        """A base value of an array with one entry replaced; a scalar is replaced."""
        array: Array = np.array(self.inputs[item.name][base % BASES])
        array[self.some_entry(item)] = value
        return array

    def some_entry(self, item: Input) -> tuple[int, ...]:
        return tuple(int(self.rng.integers(size)) for size in item.shape)

    def batch(self, candidates: Sequence[Candidate], first_id: int, room: Counter[str]) -> Batch | None:
        """Those candidates that lie in the domain, differ from each other, and have room."""
        if not candidates:
            return None
        inputs = {name: np.stack([c.inputs[name] for c in candidates]) for name in self.inputs}
        upstream = {}
        for name, drawn in self.upstream.items():
            columns = [c.upstream.get(name, drawn[i % BASES]) for i, c in enumerate(candidates)]
            upstream[name] = np.stack(columns).astype(drawn.dtype)
            if name in self.case.upstream:
                chosen = [i for i, c in enumerate(candidates) if name in c.upstream]
                inputs[self.case.upstream[name]][chosen] = upstream[name][chosen]
                upstream[name] = inputs[self.case.upstream[name]]
        self.part_equals(candidates, inputs)
        allowed = self.in_domain(inputs, len(candidates))
        seen, kept = set(), []
        for i in np.flatnonzero(allowed).tolist():
            key = b"".join(x[i].tobytes() for x in (*inputs.values(), *upstream.values()))
            # Fresh upstream gradients make every point differ: without them, equal inputs are one point.
            key = key if candidates[i].kind == "upstream" else b"".join(x[i].tobytes() for x in inputs.values())
            if key not in seen and room[candidates[i].kind] > 0:
                seen.add(key)
                room[candidates[i].kind] -= 1
                kept.append(i)
        if not kept:
            return None
        at = np.array(kept)
        return Batch(
            {name: x[at] for name, x in inputs.items()},
            {name: g[at] for name, g in upstream.items()},
            np.arange(first_id, first_id + len(kept)),
            [candidates[i].origin for i in kept],
        )

    def in_domain(self, inputs: Mapping[str, Array], points: int) -> Array:
        """Which points ``(P,)`` lie in the domain of every input."""
        allowed = np.ones(points, dtype=bool)
        for item in self.case.inputs:
            x = inputs[item.name]
            inside = item.domain.contains(x) & np.isfinite(x)
            allowed &= inside.reshape(points, -1).all(axis=1)
        return allowed

    def part_equals(self, candidates: Sequence[Candidate], inputs: dict[str, Array]) -> None:
        """Moves scalars apart that are equal by accident: what holds there alone would hide a swap of the two."""
        apart = np.array([not c.related for c in candidates])
        scalars = [item for item in self.real if not item.shape]
        for i, item in enumerate(scalars):
            for other in scalars[:i]:
                equal = apart & (inputs[item.name] == inputs[other.name])
                if equal.any():
                    low, high = map(item_dtype(item), drawing_ends(item))
                    x = inputs[item.name][equal]
                    inputs[item.name][equal] = np.nextafter(x, np.where(x <= (low + high) / 2, high, low))

    # --------------------------------------------------------------------------------------------------- the branches

    def branches(self, kinks: Batch | None) -> Iterator[Candidate]:
        """Both sides of each branch, close to a tie, and sides that random points hardly reach."""
        yield from self.rare_sides()
        for p in range(len(kinks) if kinks is not None else 0):
            assert kinks is not None
            item = self.real[p % len(self.real)]
            tie = {name: x[p] for name, x in kinks.inputs.items()}
            for side, word in ((-1.0, "below"), (1.0, "above")):
                moved = dict(tie)
                moved[item.name] = np.nextafter(tie[item.name], item_dtype(item)(side * np.inf))
                yield Candidate("branch", f"next to a tie, {item.name} a float {word}", moved, related=True)
                size = np.maximum(np.abs(tie[item.name]), 1e-3 * self.reach(item))
                moved = {**tie, item.name: (tie[item.name] + side * NEAR * size).astype(item.dtype)}
                yield Candidate("branch", f"near a tie, {item.name} a little {word}", moved, related=True)

    def rare_sides(self) -> Iterator[Candidate]:
        """Points on sides of branches that few random points are on."""
        wanted = kinked_nodes(self.graph)
        if not wanted:
            return
        values = self.program.run(self.inputs)
        sides = [(node, sign) for node in wanted for sign in (1, -1)]
        rare = [side for side in sides if np.count_nonzero(on_side(self.graph, values, *side)) < RARE]
        numbers = sum(math.prod(node.shape) for node in self.graph.nodes)
        count = min(2048, POOL_NUMBERS // max(numbers, 1))
        if not rare or count <= BASES:
            return
        pool, _ = search_bases(self.case, int(self.rng.integers(2**31)), count)
        values = self.program.run(pool)
        for node, sign in rare:
            found = np.flatnonzero(on_side(self.graph, values, node, sign))[:2]
            for p in found.tolist():
                inputs = {name: x[p] for name, x in pool.items()}
                yield Candidate("branch", f"a side of {branch_name(self.graph, node)} that is rare", inputs)

    # ----------------------------------------------------------------------------------------------------- the scales

    def scales(self) -> Iterator[Candidate]:
        """Magnitudes from large to tiny, input by input and together; ends and zeros are among the spread points."""
        alone = [(self.scaled(item, *step) for step in self.scale_values(item)) for item in self.real]
        yield from _alternating([*alone, self.together()])

    def scaled(self, item: Input, value: float, origin: str) -> Candidate:
        base = next(self.turn)
        changed = self.with_entry(item, value, base) if item.shape else value
        where = f"an entry of {item.name}" if item.shape else item.name
        return self.moved("scale", f"{where} {origin}", {item.name: changed}, base=base)

    def scale_values(self, item: Input) -> Iterator[tuple[float, str]]:
        """Values of one input, the most telling first."""
        low, high = drawing_ends(item)
        for part in MAGNITUDES[:5]:
            for sign in (1.0, -1.0):
                size = sign * part * self.reach(item)
                yield float(f"{size:.3g}"), f"about {size:.0e}"
        width = high - low
        for part in (1e-3, 1e-8):
            yield low + part * width, "near the low end of its domain"
            yield high - part * width, "near the high end of its domain"
        for size in (1.0, -1.0, 1e6, -1e6, 1e30, -1e30, MAGNITUDES[-1], -MAGNITUDES[-1]):
            yield size, f"at {size:g}"

    def together(self) -> Iterator[Candidate]:
        """All inputs, and all entries, at an end of their domains or of one size."""
        if len(self.real) == 1 and not self.real[0].shape:
            return
        ends = list(itertools.product((1, 0), repeat=len(self.real))) if len(self.real) <= FEW_INPUTS else []
        for sides in ends or [(1,) * len(self.real), (0,) * len(self.real)]:
            corner = {item.name: self.end(item, side) for item, side in zip(self.real, sides, strict=True)}
            yield self.moved("scale", "a corner of the domain", corner)
        for part in MAGNITUDES:
            base = next(self.turn)
            changes = {}
            for item in self.real:
                low, high = drawing_ends(item)
                drawn = self.inputs[item.name][base % BASES]
                # Where the domain leaves 0 out, sizes are distances from its lower end.
                changes[item.name] = drawn * part if low <= 0 <= high else low + (drawn - low) * part
            yield self.moved("scale", f"every input scaled by {part:g}", changes, base=base)

    def end(self, item: Input, side: int) -> float:
        """The low (0) or high (1) end of a domain, or where that is left out the next float inside."""
        ends = drawing_ends(item)
        dtype = item_dtype(item)
        inside = item.domain.contains(ends[side])
        return ends[side] if inside else float(np.nextafter(dtype(ends[side]), dtype(ends[1 - side])))

    def reach(self, item: Input) -> float:
        low, high = drawing_ends(item)
        return max(abs(low), abs(high))

    # -------------------------------------------------------------------------------------------------- the relations

    def relations(self) -> Iterator[Candidate]:
        """Inputs that are equal or far apart in size, and arrays with a pattern."""
        yield from _alternating([self.pair(*pair) for pair in self.pairs()] + [self.patterns(i) for i in self.real])

    def pairs(self) -> list[tuple[Input, Input]]:
        alike = [(a, b) for a, b in itertools.combinations(self.real, 2) if a.shape == b.shape]
        return alike[:MOST_PAIRS]

    def pair(self, a: Input, b: Input) -> Iterator[Candidate]:
        def related(origin: str, change: Mapping[str, Any]) -> Candidate:
            return self.moved("relation", origin, change, related=True, base=base)

        base = next(self.turn)
        for base in (next(self.turn), next(self.turn)):
            yield related(f"{b.name} equal to {a.name}", {b.name: self.inputs[a.name][base % BASES]})
        base = next(self.turn)
        yield related(f"{b.name} = -{a.name}", {b.name: -self.inputs[a.name][base % BASES]})
        for large, small in ((a, b), (b, a)):
            base = next(self.turn)
            tiny = self.inputs[small.name][base % BASES] * 1e-8
            yield related(f"{large.name} much larger than {small.name}", {small.name: tiny})
        base = next(self.turn)
        near = np.nextafter(self.inputs[a.name][base % BASES], item_dtype(a)(np.inf))
        yield related(f"{b.name} a float above {a.name}", {b.name: near})

    def patterns(self, item: Input) -> Iterator[Candidate]:
        """Patterns that the entries of one array may have."""
        size = math.prod(item.shape)
        if size < 2:
            return
        for origin, make in (
            ("constant", lambda x: np.full_like(x, x[0])),
            ("with two equal entries", _with_repeat),
            ("with one entry that dominates", self.dominated(item)),
            ("sorted", np.sort),
            ("sorted downwards", lambda x: np.sort(x)[::-1]),
            ("with every entry repeated", lambda x: np.repeat(x[: (size + 1) // 2], 2)[:size]),
            ("all 0 but one entry", _one_hot),
            ("all 0", np.zeros_like),
        ):
            base = next(self.turn)
            flat = np.ravel(self.inputs[item.name][base % BASES])
            changed = np.reshape(make(flat), item.shape)
            yield self.moved("relation", f"{item.name} {origin}", {item.name: changed}, related=True, base=base)
        if len(item.shape) > 1:
            base = next(self.turn)
            rows = np.array(self.inputs[item.name][base % BASES])
            rows[-1] = rows[0]
            yield self.moved("relation", f"{item.name} with two equal rows", {item.name: rows}, base=base)

    def dominated(self, item: Input) -> Any:
        low, high = drawing_ends(item)

        def make(x: Array) -> Array:
            smaller = x * 1e-3 if low <= 0 <= high else low + (x - low) * 1e-3
            smaller[int(self.rng.integers(len(x)))] = high if abs(high) >= abs(low) else low
            return smaller

        return make

    # --------------------------------------------------------------------------- where floats leave their range

    def saturation(self) -> Iterator[Candidate]:
        """Both sides of where a stage overflows, or becomes 0, along each input."""
        for item in self.real if self.program.order else ():  # a black box has no stages
            base = next(self.turn)
            entry = self.some_entry(item)
            line = self.line(item)
            if len(line) < 2:
                continue
            classes = self.classes(item, entry, line, base)
            change = (classes[:-1] != classes[1:]).any(axis=1)
            for site in np.flatnonzero(change).tolist():
                below, above = self.narrowed(item, entry, line[site], line[site + 1], base)
                for value in (below, above):
                    array = np.array(self.inputs[item.name][base % BASES])
                    array[entry] = value
                    origin = f"next to where a stage leaves the range of floats, by {item.name}"
                    yield self.moved("saturation", origin, {item.name: array}, base=base)

    def line(self, item: Input) -> Array:
        """Values of one input from end to end, dense near 0 and near the ends alike."""
        most = min(1e300, float(np.finfo(item_dtype(item)).max) / 4)  # intervals of such values are floats too
        low, high = (float(np.clip(end, -most, most)) for end in (item.domain.low, item.domain.high))
        sizes = np.geomspace(1e-3, max(abs(low), abs(high), 1e-2), LINE)
        values = np.unique(np.concatenate([-sizes, [0.0], sizes, [low, high]]).astype(item.dtype))
        inside: Array = values[item.domain.contains(values)]
        return inside

    def classes(self, item: Input, entry: tuple[int, ...], line: Array, base: int) -> Array:
        """For each value of the line and each node, in how many entries it is 0, or beyond floats ``(L, m)``."""
        count = len(line)
        point = {
            name: np.broadcast_to(x[base % BASES], (count, *x.shape[1:])).copy() for name, x in self.inputs.items()
        }
        place: tuple[Any, ...] = (slice(None), *entry)
        point[item.name][place] = line
        values = self.program.run(point)
        columns = []
        for position in self.program.order:
            value = np.broadcast_to(values[position], (count, *self.graph.nodes[position].shape)).reshape(count, -1)
            # A zero that one value alone hits is a root; only where a stretch of values is 0 something underflows.
            columns += [np.isfinite(value).sum(axis=1), _stretches(value == 0)]
        found: Array = np.stack(columns, axis=1)
        return found

    def narrowed(self, item: Input, entry: tuple[int, ...], low: Any, high: Any, base: int) -> tuple[Any, Any]:
        """Neighbouring floats between which some node's class changes."""
        while True:
            line = np.unique(np.linspace(low, high, SECTIONS + 1, dtype=np.float64).astype(item.dtype))
            if len(line) <= 2:
                return low, high
            classes = self.classes(item, entry, line, base)
            change = np.flatnonzero((classes[:-1] != classes[1:]).any(axis=1))
            if not len(change):
                return low, high
            low, high = line[change[0]], line[change[0] + 1]

    # -------------------------------------------------------------------------------------------- upstream gradients

    def upstreams(self) -> Iterator[Candidate]:
        """Upstream gradients of every kind, for outputs that have one; a gradient must hold for each."""
        for name in self.free_upstream:
            shape = self.graph.shape(name)
            tiny, huge = (1e-15, 1e15) if self.upstream[name].dtype == np.float32 else (1e-100, 1e100)
            for origin, make in (
                ("negative", lambda g: -np.abs(g)),
                ("0", np.zeros_like),
                ("one-hot", _one_hot),
                ("positive", np.abs),
                ("all 1", np.ones_like),
                ("huge", lambda g, huge=huge: g * huge),
                ("tiny", lambda g, tiny=tiny: g * tiny),
                ("one-hot at the last entry", lambda g: _one_hot(g)[::-1]),
                ("all -1", lambda g: -np.ones_like(g)),
            ):
                p = next(self.turn) % BASES
                drawn = self.upstream[name][p]
                drawn = np.ravel(drawn)
                inputs = {key: x[p] for key, x in self.inputs.items()}
                seeds = {name: np.reshape(make(drawn), shape)}
                yield Candidate("upstream", f"upstream gradient of {name} {origin}", inputs, seeds)

    # -------------------------------------------------------------------------------------------- numbers in the code

    def constants(self, constants: Sequence[float]) -> Iterator[Candidate]:
        """Each number of the code in each input, then its neighbours, then values a little off."""
        for item, value, origin in self.constant_values(constants):
            base = next(self.turn)
            why = f"{item.name} {origin}, a number in the code"
            if item.shape:
                changed = self.with_entry(item, value, base)
                yield self.moved("constant", f"an entry of {why}", {item.name: changed}, base=base)
            if not item.shape or origin.startswith("="):
                yield self.moved("constant", why, {item.name: value}, base=base)

    def constant_values(self, constants: Sequence[float]) -> Iterator[tuple[Input, float, str]]:
        signed = [sign * c for c in constants for sign in (1.0, -1.0)]
        signed = list(dict.fromkeys((*constants, *signed)))
        for item in self.real:
            dtype = item_dtype(item)
            with np.errstate(over="ignore"):
                known = [float(dtype(c)) for c in signed]
            known = [c for c in known if math.isfinite(c)]
            yield from ((item, c, f"= {c:g}") for c in known)
            for side, word in ((1.0, "just above"), (-1.0, "just below")):
                end = dtype(side * np.inf)
                yield from ((item, float(np.nextafter(dtype(c), end)), f"{word} {c:g}") for c in known)
            for side, word in ((1.0, "a little above"), (-1.0, "a little below")):
                yield from ((item, c + side * NEAR * max(abs(c), NEAR), f"{word} {c:g}") for c in known)


# ----------------------------------------------------------------------------------------------------------- helpers


def upstream_of(output: str) -> str:
    """The name that the upstream gradient of an output has among the values of a point.

    >>> upstream_of("D")
    'upstream of D'
    """
    return f"{UPSTREAM}{output}"


def branch_name(graph: Graph, position: int) -> str:
    """A kinked node in words.

    >>> from verify.case.expression import graph_from_expressions
    >>> branch_name(graph_from_expressions({"x": ()}, {"f": "relu(x)"}), 1)
    "relu in stage 'f'"
    """
    node = graph.nodes[position]
    return f"{node.op} in stage {node.stage!r}" if node.stage else node.op


def on_side(graph: Graph, values: Sequence[Any], position: int, sign: int) -> Array:
    """The points ``(P,)`` at which some entry of a kinked node is on one side.

    >>> from verify.case.expression import graph_from_expressions
    >>> graph = graph_from_expressions({"x": ()}, {"f": "relu(x)"})
    >>> on_side(graph, Program(graph).run({"x": np.array([1.0, -2.0])}), 1, -1)
    array([False,  True])
    """
    argument = np.asarray(branch_argument(graph.nodes[position], list(values)))
    return np.asarray((argument * sign > 0).reshape(len(argument), -1).any(axis=1))


def _alternating(lists: Sequence[Iterable[Candidate]]) -> Iterator[Candidate]:
    """The first of each, then the second of each, and so on."""
    for rung in itertools.zip_longest(*lists):
        yield from (candidate for candidate in rung if candidate is not None)


def _with_repeat(x: Array) -> Array:
    repeated = np.array(x)
    repeated[-1] = repeated[0]
    return repeated


def _one_hot(x: Array) -> Array:
    single = np.zeros_like(x)
    single[:1] = x[:1]
    return single


def _stretches(zero: Array) -> Array:
    """In how many entries ``(L,)`` each value and a neighbour of it are both 0."""
    both = zero[:-1] & zero[1:]
    edge = np.zeros((1, zero.shape[1]), dtype=bool)
    found: Array = (np.concatenate([edge, both]) | np.concatenate([both, edge])).sum(axis=1)
    return found

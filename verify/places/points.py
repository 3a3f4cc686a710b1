"""Where a case is looked at: its own points, points on its kinks, and seeded random points of its domain.

Random points are uniform; others reach what those hardly ever do: the ends of each domain, both sides of 0, and sizes
of every magnitude (:func:`spread_points`). Everything is drawn from the seed and the case's name, block by block, so
that a point can be had again without drawing those before it, and adding a case changes nothing for the others.
"""

from __future__ import annotations

import itertools
import math
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from verify.case.case import Case, Input
from verify.graph.interpret import Program, branch_argument, dtype_of, kinked_nodes

Array = NDArray[Any]

RANDOM_BLOCK = 4096
"""Random points that are drawn together; fixed, so that point ids mean the same in every run."""

MOST_KINK_POINTS = 8
"""Points that are sought on the kinks of one case."""

KINK_TRIES = 64
"""Lines through the domain that are searched for a kink."""

USUAL = 1e3
"""Numbers up to this size are the usual ones: of a wide domain, every other uniform point is drawn from them."""

NORMAL_REACH = 3.0
"""What normal draws reach: of a domain that goes beyond, every other point is uniform."""

STRATA = 32
"""Parts that the sizes of log-spaced points are divided into, each of which has as many of them."""

CLOSE_DECADES = 8
"""Decades below the usual sizes that most of the log-spaced points lie in; the others go on to the smallest float."""

REST = 1 / 8
"""Part of the log-spaced points that lie below those decades, and above the usual sizes."""

MOST_SPREAD = 64
"""Points at ends of domains and next to 0, at most, ..."""

MOST_NUMBERS, LEAST_SPREAD = 400_000, 8
"""... and in large cases so many that they compute no more numbers than this, but never fewer than so many points."""

LARGEST_WHOLE = 2.0**53
"""Up to here every whole number is a float."""

_STREAMS = {"own": 0, "random": 1, "kink": 2, "held": 3, "search": 4, "sizes": 5, "edge": 6, "spread": 7}


@dataclass(frozen=True, slots=True)
class Batch:
    """P points of one case."""

    inputs: Mapping[str, Array]
    """Input -> ``(P, *shape)``, in the input's dtype."""
    upstream: Mapping[str, Array]
    """Output -> its upstream gradient ``(P, *shape)``."""
    ids: Array
    """``(P,)``: the id of each point, unique within the case."""
    origins: Sequence[str]
    own: bool = False
    notes: Sequence[str] = ()
    lines: Sequence[int] = ()
    given: Sequence[tuple[str, ...]] = ()
    """Of each own point, the inputs whose values are given."""

    def __len__(self) -> int:
        """The number of points P."""
        return len(self.ids)

    def take(self, which: Array | slice) -> tuple[dict[str, Array], dict[str, Array]]:
        """Inputs and upstream gradients of some of the points."""
        inputs = {name: value[which] for name, value in self.inputs.items()}
        return inputs, {name: value[which] for name, value in self.upstream.items()}

    def part(self, which: Array | slice) -> Batch:
        """Some of the points as a batch of their own; for points that the case file does not name."""
        ids = self.ids[which]
        return Batch(*self.take(which), ids, list(self.origins[:1]) * len(ids))

    def chosen(self, which: Sequence[int]) -> Batch:
        """Some of the points, with all that is known of each."""
        index = np.array(which, dtype=np.int64)
        notes = [self.notes[i] for i in which] if self.notes else ()
        lines = [self.lines[i] for i in which] if self.lines else ()
        return Batch(*self.take(index), self.ids[index], [self.origins[i] for i in which], self.own, notes, lines)


def joined(batches: Sequence[Batch]) -> Batch:
    """Several batches as one; for points that the case file does not name.

    >>> one = Batch({"x": np.array([3.0])}, {"f": np.ones(1)}, np.array([7]), ["random"])
    >>> joined([one, one]).inputs["x"]
    array([3., 3.])
    """
    first = batches[0]
    return Batch(
        {name: np.concatenate([batch.inputs[name] for batch in batches]) for name in first.inputs},
        {name: np.concatenate([batch.upstream[name] for batch in batches]) for name in first.upstream},
        np.concatenate([batch.ids for batch in batches]),
        [origin for batch in batches for origin in batch.origins],
    )


def generator(seed: int, case: str, stream: str, *numbers: int) -> np.random.Generator:
    """The random numbers of one stream of one case, such as those of an input in a block of points.

    >>> one, same = (generator(0, "sigmoid", "random", 3).integers(1000) for _ in range(2))
    >>> bool(one == same)
    True
    """
    return np.random.default_rng([seed, zlib.crc32(case.encode()), _STREAMS[stream], *numbers])


def own_points(case: Case, seed: int) -> Batch:
    """The points that the case file names; what it leaves open is drawn from the seed.

    A case without any, such as one at other sizes than its file's, has one random point in their place.

    >>> from verify.case.case import load_case
    >>> from verify.case.files import shipped_cases
    >>> own_points(load_case(shipped_cases() / "notes" / "add.yaml"), seed=0).origins
    ['at']
    """
    if not case.own_points:
        return Batch(*_drawn(case, seed, "own", 0, 1), np.arange(1), ["random"])
    held = _held(case, seed)
    columns: dict[str, list[Array]] = {item.name: [] for item in case.inputs}
    for number, point in enumerate(case.own_points):
        for place, item in enumerate(case.inputs):
            drawn = drawn_values(item, 1, generator(seed, case.name, "own", number, place))[0]
            value = point.values.get(item.name, held.get(item.name, drawn))
            columns[item.name].append(np.asarray(value, dtype=item.dtype))
    inputs = {name: np.stack(values) for name, values in columns.items()}
    rng = generator(seed, case.name, "own", len(case.own_points))
    return Batch(
        inputs,
        _upstream(case, inputs, rng, own=True),
        np.arange(len(case.own_points)),
        [point.origin for point in case.own_points],
        own=True,
        notes=[point.note for point in case.own_points],
        lines=[point.line for point in case.own_points],
        given=[tuple(point.values) for point in case.own_points],
    )


def random_points(case: Case, seed: int, block: int, count: int, first_id: int) -> Batch:
    """The first ``count`` random points of a block of :data:`RANDOM_BLOCK`; fewer are a prefix of more.

    >>> from verify.case.case import load_case
    >>> from verify.case.files import shipped_cases
    >>> case = load_case(shipped_cases() / "notes" / "matmul.yaml")
    >>> random_points(case, seed=0, block=0, count=4, first_id=1).inputs["W"].shape
    (4, 5, 10)
    """
    inputs, upstream = _drawn(case, seed, "random", block, count)
    return Batch(inputs, upstream, np.arange(first_id, first_id + count), ["random"] * count)


def search_bases(case: Case, seed: int, count: int) -> tuple[dict[str, Array], dict[str, Array]]:
    """Inputs and upstream gradients at random points that nobody else draws: a search moves them where it wants.

    >>> from verify.case.case import load_case_text
    >>> case = load_case_text("{case: square, inputs: {x: {at: 3}}, stages: {f: x**2}}")
    >>> search_bases(case, seed=0, count=5)[0]["x"].shape
    (5,)
    """
    return _drawn(case, seed, "search", 0, count)


def _drawn(case: Case, seed: int, stream: str, block: int, count: int) -> tuple[dict[str, Array], dict[str, Array]]:
    held = _held(case, seed)
    inputs = {}
    for place, item in enumerate(case.inputs):
        rng = generator(seed, case.name, stream, block, place)
        inputs[item.name] = _repeat(held[item.name], count) if item.name in held else drawn_values(item, count, rng)
    return inputs, _upstream(case, inputs, generator(seed, case.name, stream, block, len(case.inputs)))


def kink_points(case: Case, program: Program, seed: int, first_id: int) -> Batch | None:
    """Points at which a branch of the case is undecided, None where none is found.

    A random line along one input's axis is searched for a sign change of what decides a branch, and the crossing is
    narrowed down to neighbouring floats. It counts if the branch is undecided there: exactly zero, or within rounding.

    >>> from verify.case.case import load_case
    >>> from verify.case.files import shipped_cases
    >>> case = load_case(shipped_cases() / "notes" / "relu.yaml")
    >>> kink_points(case, Program(case.graph), seed=0, first_id=0).inputs
    {'z': array([0.])}
    """
    kinks = kinked_nodes(program.graph)
    if not kinks or not case.real_inputs:
        return None
    rng = generator(seed, case.name, "kink")
    held = _held(case, seed)
    found: list[dict[str, Array]] = []
    for attempt in range(KINK_TRIES):
        start = {
            item.name: _repeat(held[item.name], 1) if item.name in held else drawn_values(item, 1, rng)
            for item in case.inputs
        }
        item = case.real_inputs[int(rng.integers(len(case.real_inputs)))]
        entry = tuple(int(rng.integers(size)) for size in item.shape)
        node = kinks[attempt % len(kinks)]
        # Near the ends of a wide domain much overflows: every other line keeps to the usual numbers.
        ends = drawing_ends(item) if attempt % 2 else usual_ends(item)
        point = _crossing(program, start, item, entry, node, ends, rng)
        if point is not None and not any(_same(point, other) for other in found):
            found.append(point)
        if len(found) == MOST_KINK_POINTS:
            break
    if not found:
        return None
    inputs = {name: np.concatenate([point[name] for point in found]) for name in found[0]}
    ids = np.arange(first_id, first_id + len(found))
    return Batch(inputs, _upstream(case, inputs, rng), ids, ["kink"] * len(found))


def _crossing(
    program: Program,
    start: Mapping[str, Array],
    item: Input,
    entry: tuple[int, ...],
    node: int,
    ends: tuple[float, float],
    rng: np.random.Generator,
) -> dict[str, Array] | None:
    low, high = (_moved(start, item, entry, end) for end in ends)
    first, last = _argument(program, low, node), _argument(program, high, node)
    crossing = np.flatnonzero(np.sign(first) * np.sign(last) < 0)
    if not len(crossing):
        return None
    site = int(rng.choice(crossing))
    a, b = (float(point[item.name][(0, *entry)]) for point in (low, high))
    below = first[site] < 0
    while True:
        middle = _middle(item, a, b)
        if middle in {a, b}:
            break
        value = _argument(program, _moved(start, item, entry, middle), node)[site]
        if value == 0:
            a = b = middle
        elif (value < 0) == below:
            a = middle
        else:
            b = middle
    for end in (a, b):
        point = _moved(start, item, entry, end)
        if _undecided(program, point, node)[site] and item.domain.contains(end):
            return point
    return None


def _middle(item: Input, a: float, b: float) -> float:
    """A float between two; of a wide interval the one with as many floats on either side, so that 64 steps will do."""
    dtype = item_dtype(item)
    if max(abs(a), abs(b)) <= USUAL:
        return float(dtype((a + b) / 2))
    whole = np.int32 if dtype is np.float32 else np.int64
    ranks = [int(np.abs(dtype(x)).view(whole)) * (1 if x >= 0 else -1) for x in (a, b)]
    rank = sum(ranks) // 2
    return math.copysign(float(whole(abs(rank)).view(dtype)), rank)


def item_dtype(item: Input) -> type[np.floating[Any]]:
    """The NumPy scalar type of an input.

    >>> from verify.case.case import Domain
    >>> item_dtype(Input("x", (), "real", "float32", Domain(-1.0, 1.0), "uniform"))
    <class 'numpy.float32'>
    """
    return np.float32 if item.dtype == "float32" else np.float64


def _moved(start: Mapping[str, Array], item: Input, entry: tuple[int, ...], value: float) -> dict[str, Array]:
    moved = dict(start)
    moved[item.name] = moved[item.name].copy()
    moved[item.name][(0, *entry)] = value
    return moved


def _argument(program: Program, point: Mapping[str, Array], node: int) -> Array:
    values = program.run(point)
    return np.ravel(branch_argument(program.graph.nodes[node], values))


def _undecided(program: Program, point: Mapping[str, Array], node: int) -> Array:
    argument = branch_argument(program.graph.nodes[node], program.in_balls(point))
    return np.ravel(np.abs(argument.value) <= argument.radius)


def _same(point: Mapping[str, Array], other: Mapping[str, Array]) -> bool:
    return all(np.array_equal(value, other[name]) for name, value in point.items())


def drawing_ends(item: Input) -> tuple[float, float]:
    """The ends of a domain, as far as the input's dtype goes; an infinite one is cut off where numbers are usual.

    >>> from verify.case.case import Domain
    >>> drawing_ends(Input("x", (), "real", "float64", Domain(0.0, np.inf), "uniform"))
    (0.0, 1000.0)
    """
    low, high = usual_ends(item)
    ends = item.domain.low, item.domain.high
    low, high = (end if math.isfinite(end) else cut for end, cut in zip(ends, (low, high), strict=True))
    most = float(np.finfo(item_dtype(item)).max)
    return max(low, -most), min(high, most)


def usual_ends(item: Input) -> tuple[float, float]:
    """The ends of the part of a domain where numbers are usual, which is all of it but in a wide one.

    >>> from verify.case.case import Domain
    >>> usual_ends(Input("x", (), "real", "float64", Domain(100.0, 6000.0), "uniform"))
    (100.0, 1100.0)
    """
    low = max(item.domain.low, min(-USUAL, item.domain.high - USUAL))
    high = min(item.domain.high, max(USUAL, item.domain.low + USUAL))
    return low, high


def drawn_values(item: Input, count: int, rng: np.random.Generator) -> Array:
    """Values ``(count, *shape)`` inside the domain: uniform, or normal where the case says so.

    Every other point is uniform over the whole of a domain that is wider than what the others are drawn from.

    >>> from verify.case.case import Domain
    >>> item = Input("x", (2, 3), "real", "float32", Domain(-1.0, 1.0), "uniform")
    >>> drawn_values(item, 4, np.random.default_rng(0)).shape
    (4, 2, 3)
    """
    shape = (count, *item.shape)
    usual, whole = usual_ends(item), drawing_ends(item)
    if item.kind == "mask":
        return rng.integers(0, 2, shape).astype(item.dtype)
    is_normal = isinstance(item.at, str) and item.at == "normal"
    is_whole = item.kind in {"integer", "label"}
    values = rng.normal(size=shape) if is_normal else _uniform(rng, *usual, shape, is_whole=is_whole)
    values = values.astype(item.dtype)
    outside = ~item.domain.contains(values)
    reaches = -NORMAL_REACH <= whole[0] <= whole[1] <= NORMAL_REACH if is_normal else usual == whole
    if reaches and not outside.any():
        return values
    # What is drawn again, or otherwise, has numbers of its own, so that fewer points stay a prefix of more.
    again, wide = rng.spawn(2)
    values[outside] = _uniform(again, *usual, int(outside.sum()), is_whole=is_whole)
    if not reaches:
        values[1::2] = _uniform(wide, *whole, (count // 2, *item.shape), is_whole=is_whole)
    return _kept_inside(item, values)


def _uniform(
    rng: np.random.Generator, low: float, high: float, shape: int | tuple[int, ...], *, is_whole: bool = False
) -> Array:
    if is_whole:
        low, high = (float(np.clip(end, -LARGEST_WHOLE, LARGEST_WHOLE)) for end in (low, high))
        return rng.integers(math.ceil(low), math.floor(high) + 1, shape)
    if math.isfinite(high - low):
        return rng.uniform(low, high, shape)
    part = rng.uniform(size=shape)
    return low * (1 - part) + high * part


def _kept_inside(item: Input, values: Array) -> Array:
    """Values of which those on an open end, or rounded beyond one, are moved inside."""
    outside = ~item.domain.contains(values)
    if outside.any():
        values[outside] = _inside(item, *drawing_ends(item))
    return values


def _inside(item: Input, low: float, high: float) -> Any:
    """A value that surely is in the domain: the middle, or where floats are sparse an end or its neighbour."""
    ends = np.array([low, high], dtype=item.dtype)
    nearby = np.array([low / 2 + high / 2, *ends, *np.nextafter(ends, ends[::-1])], dtype=item.dtype)
    return nearby[np.argmax(item.domain.contains(nearby))]


# ------------------------------------------------------------------------------------ ends, both sides of 0, every size


def spread_points(case: Case, seed: int, first_id: int, points: int) -> Batch | None:
    """Points that uniform ones hardly ever are: at ends and next to 0, and half as many log-spaced ones.

    Of each kind there are no more than these random ``points``, and than :data:`MOST_SPREAD`; fewer in a large case.

    >>> from verify.case.case import load_case_text
    >>> case = load_case_text("{case: power, inputs: {x: {at: 300, domain: [100, 6000]}}, stages: {f: x**4}}")
    >>> batch = spread_points(case, seed=0, first_id=1, points=8)
    >>> list(zip(batch.origins, batch.inputs["x"].tolist()))[:2]
    [('x at the low end of its domain', 100.0), ('x at the high end of its domain', 6000.0)]
    >>> batch.origins[2:]
    ['log-spaced', 'log-spaced', 'log-spaced', 'log-spaced']
    """
    numbers = sum(math.prod(node.shape) for node in case.graph.nodes)
    most = min(points, MOST_SPREAD, max(MOST_NUMBERS // numbers, LEAST_SPREAD))
    if most < 1 or not case.real_inputs:
        return None
    edges = list(itertools.islice(_edges(case), most))
    spaced = (most + 1) // 2
    inputs, upstream = _drawn(case, seed, "edge", 0, len(edges) + spaced)
    rng = generator(seed, case.name, "edge", len(case.inputs))
    for number, (item, value, _) in enumerate(edges):
        inputs[item.name][(number, *(int(rng.integers(size)) for size in item.shape))] = value
    for place, item in enumerate(case.inputs):
        if item.kind == "real":
            drawn = log_spaced(item, spaced, generator(seed, case.name, "spread", place))
            inputs[item.name][len(edges) :] = drawn
    origins = [f"{f'an entry of {item.name}' if item.shape else item.name} at {where}" for item, _, where in edges]
    ids = np.arange(first_id, first_id + len(edges) + spaced)
    return Batch(inputs, upstream, ids, [*origins, *["log-spaced"] * spaced])


def _edges(case: Case) -> Iterator[tuple[Input, float, str]]:
    """The most telling edge of each input, then the next of each."""
    for rung in itertools.zip_longest(*([(item, *edge) for edge in edge_values(item)] for item in case.real_inputs)):
        yield from (edge for edge in rung if edge is not None)


def edge_values(item: Input) -> list[tuple[float, str]]:
    """The numbers at which the domain of an input ends, and those next to 0, each in words.

    >>> from verify.case.case import Domain
    >>> for value, where in edge_values(Input("x", (), "real", "float32", Domain(0.0, np.inf), "uniform")):
    ...     print(f"{value:.3g} {where}")
    0 the low end of its domain
    3.4e+38 the largest float
    -0 -0.0
    1.18e-38 the smallest normal float
    1.4e-45 the smallest float
    """
    dtype = item_dtype(item)
    limits = np.finfo(dtype)
    largest = float(limits.max)
    edges: list[tuple[float, str]] = []
    for end, inwards, word in ((item.domain.low, np.inf, "low"), (item.domain.high, -np.inf, "high")):
        held = dtype(np.clip(end, -largest, largest))
        inside = held if item.domain.contains(held) else np.nextafter(held, dtype(inwards))
        where = f"the {word} end of its domain" if abs(end) <= largest else "the largest float"
        edges.append((float(inside), where))
    edges += [(0.0, "0"), (-0.0, "-0.0")]
    for size, where in ((limits.tiny, "the smallest normal float"), (limits.smallest_subnormal, "the smallest float")):
        edges += [(float(size), where), (-float(size), f"{where}, negative")]
    found: dict[str, tuple[float, str]] = {}
    for value, where in edges:
        if item.domain.contains(value):
            found.setdefault(str(value), (value, where))
    return list(found.values())


def log_spaced(item: Input, count: int, rng: np.random.Generator) -> Array:
    """Values ``(count, *shape)`` of every size, down to the smallest float where the domain holds 0.

    Most lie within :data:`CLOSE_DECADES` of the largest usual size. The entries of an array are within a decade of each
    other at every other point, and each is of its own size at the others.

    >>> from verify.case.case import Domain
    >>> x = log_spaced(Input("x", (), "real", "float64", Domain(0.0, 10.0), "uniform"), 32, np.random.default_rng(0))
    >>> [int(np.sum(x < size)) for size in (1e-100, 1e-7, 1e-3, 10)]
    [3, 4, 18, 32]
    """
    shape = (count, *item.shape)
    strata, jitter, alone, side = rng.spawn(4)
    numbers = [strata.permutation(STRATA) for _ in range(-(-count // STRATA))]
    common = (np.concatenate(numbers)[:count] + jitter.uniform(size=count)) / STRATA
    parts = np.broadcast_to(common.reshape(count, *(1,) * len(item.shape)), shape).copy()
    spread = alone.uniform(size=shape) if item.shape else np.zeros(shape)
    parts[1::2] = spread[1::2] if item.shape else parts[1::2]
    spread[1::2] = 0.0
    negative = _sizes_of(item, -1.0)
    positive = _sizes_of(item, 1.0)
    is_negative = side.uniform(size=shape) < (0.5 if positive else 1.0) if negative else np.zeros(shape, dtype=bool)
    values = np.zeros(shape)
    for chosen, knots, sign in ((is_negative, negative, -1.0), (~is_negative, positive, 1.0)):
        if knots:
            at = np.cumsum([0.0, *(weight for *_, weight in knots)])
            ends = [knots[0][0], *(high for _, high, _ in knots)]
            decades = np.interp(parts[chosen] * at[-1], at, ends) - spread[chosen]
            values[chosen] = sign * 10 ** np.maximum(decades, ends[0])
    return _kept_inside(item, values.astype(item.dtype))


def _sizes_of(item: Input, sign: float) -> list[tuple[float, float, float]]:
    """Sizes on one side of 0: intervals of log10, upwards, and how many of the points lie in each."""
    limits = np.finfo(item_dtype(item))
    low, high = sorted((sign * item.domain.low, sign * item.domain.high))
    most, least = min(high, float(limits.max)), max(low, float(limits.smallest_subnormal))
    if most < least:
        return []
    top = min(most, USUAL) if least < USUAL else most
    close = max(least, top * 10.0**-CLOSE_DECADES)
    intervals = ((least, close, REST), (close, top, 1 - 2 * REST), (top, most, REST))
    return [(math.log10(a), math.log10(b), weight) for a, b, weight in intervals if a < b or least == most]


def _held(case: Case, seed: int) -> dict[str, Array]:
    """Inputs of kind ``constant``, which keep one value at every point."""
    held = {}
    for number, item in enumerate(case.inputs):
        if item.kind != "constant":
            continue
        drawn = drawn_values(item, 1, generator(seed, case.name, "held", number))[0]
        held[item.name] = drawn if isinstance(item.at, str) else np.asarray(item.at, dtype=item.dtype)
    return held


def _repeat(value: Array, count: int) -> Array:
    return np.broadcast_to(value, (count, *value.shape)).copy()


def _upstream(
    case: Case, inputs: Mapping[str, Array], rng: np.random.Generator, *, own: bool = False
) -> dict[str, Array]:
    """Upstream gradients: the given one, the declared input, one for a scalar output, else drawn at every point."""
    count = len(next(iter(inputs.values())))
    dtype = dtype_of(inputs)
    upstream = {}
    for name in case.graph.outputs:
        shape = case.graph.shape(name)
        drawn = rng.normal(size=(count, *shape)).astype(dtype)
        if name in case.given_upstream:
            upstream[name] = _repeat(case.given_upstream[name].astype(dtype), count)
        elif name in case.upstream:
            upstream[name] = inputs[case.upstream[name]]
        else:
            is_drawn = shape or (case.draws_scalar_upstream and not own)
            upstream[name] = drawn if is_drawn else np.ones(count, dtype=dtype)
    return upstream


def is_lost(values: Array, power: int, *, small_alone: bool) -> bool:
    """Whether a power of some entry is less, or (but for ``small_alone``) more, than floats hold.

    >>> [is_lost(np.array([x]), 2, small_alone=False) for x in (1e-200, 0.0, 3.0, 1e200)]
    [True, False, False, True]
    """
    limits = np.finfo(values.dtype)
    with np.errstate(all="ignore"):
        powers = np.abs(values[values != 0]) ** power
    return bool(np.any(powers < limits.smallest_normal) or (not small_alone and np.any(powers > limits.max)))

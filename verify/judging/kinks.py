"""Judging gradients at kinks: which values are subgradients where branches meet.

At a kink there is no derivative but a set of them: the hull of the gradients of all branch patterns that some
direction realises. The branches of a pattern are held fixed and the then smooth function is run on series of balls, so
that each corner is an enclosure, and no method's own convention at ties enters the judgement.

With respect to the outputs, a kink that no other kink comes after enters linearly: along the pattern of those before
it, the gradient is a base plus, for each such kink, its weight (the slope of the output by the kinked node, which no
branch can change any more) times the slope of the branch that it takes. That is exact, however the outputs combine
the kinks: a first derivative adds up paths, and each path meets one of them at most. Where branches meet within
rounding only, their values differ a little; both values are held in one ball then.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import product
from typing import Any

import flint
import numpy as np
from numpy.typing import NDArray

from verify.graph.graph import Graph, Node
from verify.graph.interpret import Values, align, branch_argument
from verify.graph.taylor import (
    Branch,
    Entry,
    Frozen,
    Taylor,
    as_objects,
    broadcast_operands,
    contracted,
    is_finite,
    moving_entries,
    precision,
)
from verify.judging.corners import Corners, shortest_direction
from verify.methods.central import Central
from verify.methods.reverse import Reverse
from verify.numbers.ball_math import tail
from verify.numbers.balls import Balls
from verify.ops import OPS, Jump, Kink
from verify.records import KinkRecord
from verify.truth.reference import point_balls
from verify.words import Verdict

Array = NDArray[Any]
arb = flint.arb

BITS = (128, 512)
"""Precisions that are tried, until the corners are known to far more digits than floats have."""

MOST_PATTERN_SITES = 10
"""Undecided branches whose patterns are all looked at (2**10 of them)."""

FEW_SITES = 3
"""Up to so many branches corners are listed; more are described by what each of them adds, if that is exact."""

MOST_NUMBERS = 2_000_000
"""Numbers that are computed for the corners of one gradient at one point (two seconds or so); beyond, none are."""

MOST_GRAM = 40
"""Rows whose independence is asked of a determinant; more take too long."""

BRANCH_UNITS = 16
"""Units roundoff by which the values of two branches may differ where they meet, besides what balls say."""

REALISABLE_MARGIN = 1e-9
"""Slopes are scaled to 1 and rounded to 1e-16; along a direction with more room than this a pattern is realised."""

MOST_RECORDED = 64
"""Corners, and entries of them, that a report still lists."""

MOST_REMEDIES = 64
"""Combinations of conventions that are tried, where those of the case give no subgradient."""


@dataclass(frozen=True, slots=True)
class Site:
    """One undecided branch, length of 0, or jump: an entry of a node."""

    node: int
    entry: tuple[int, ...]
    jumps: bool = field(default=False, compare=False, repr=False)
    """Its branches have different values there, farther apart than rounding explains."""


@dataclass(frozen=True, slots=True)
class KinkedGroup:
    """A gradient at one kinked point, by some variables together (n entries), and the corners to hold it against."""

    accused: str
    """The method that is judged."""
    corners: Corners
    smooth: Array
    """``(n,)`` bool: all branches give the same slope."""
    within: Array
    """``(n,)`` bool: the entry is between its one-sided slopes."""
    inside: bool
    """The whole vector is a subgradient."""
    declared: bool
    """The case states a convention for what is tied."""
    ties: str
    others: Sequence[str]
    """Methods that follow a convention of their own, and are not judged."""
    remedy: str = ""
    """Which conventions at ties would give a subgradient, where those of the engine do not."""

    def verdict(self, place: int) -> tuple[Verdict, str]:
        """What one entry came to, and why.

        >>> corners = Corners(np.array([[1.0, 0.0], [0.0, 1.0]]), np.zeros(2))
        >>> no, yes = np.array([False, False]), np.array([True, True])
        >>> KinkedGroup("reverse", corners, no, yes, False, False, "tie of max", []).verdict(0)[0].value
        'CONVENTION'
        """
        low, high = float(self.corners.low[place]), float(self.corners.high[place])
        if not all(map(math.isfinite, (low, high, self.corners.error[place]))):
            nothing = self.corners.unknown or "the one-sided slopes are infinite or undefined"
            return Verdict.UNDECIDED, f"{self.ties}: {nothing}"
        slopes = f"{low:.12g}" if self.smooth[place] else f"{low:.12g} to {high:.12g}"
        mended = f"; {self.remedy}" if self.remedy else ""
        if not self.within[place]:
            if not self.smooth[place]:
                return (
                    Verdict.FAIL,
                    f"{self.ties}: the one-sided slopes are {slopes}; {self.accused} is outside{mended}",
                )
            rule = "what each op does at its tie is a convention, but together they must give this slope"
            return Verdict.FAIL, f"{self.ties}: every branch gives {slopes}; {self.accused} is outside; {rule}{mended}"
        if self.smooth[place]:
            return Verdict.PASS, f"{self.ties}, but every branch gives the same slope"
        bound = ", an outer bound" if self.corners.outer else ""
        if not self.inside:
            # Entry by entry (1, 1) is no longer than 1, but nobody means that for the slopes of a length.
            verdict = Verdict.FAIL if len(self.corners.ball) else Verdict.CONVENTION
            kind = "longer than a subgradient" if len(self.corners.ball) else "a convention, not a subgradient"
            return verdict, f"{self.ties}: slopes {slopes}{bound}; the gradient of {self.accused} is {kind}{mended}"
        aside = f"; {', '.join(self.others)} follows a convention of its own" if self.others else ""
        return Verdict.SUBGRADIENT, f"{self.ties}: slopes {slopes}{bound}{aside}"


def undecided_sites(central: Central, balls: Values, point: int) -> list[Site]:
    """The branches of one point that the balls of their arguments leave open.

    >>> from verify.case.expression import graph_from_expressions
    >>> graph = graph_from_expressions({"x": (2,)}, {"f": "relu(x)"})
    >>> central = Central(graph, ["x"])
    >>> balls = central.program.run({"x": Balls.exact(np.array([[0.0, 1.0]]))})
    >>> undecided_sites(central, balls, 0)
    [Site(node=1, entry=(0,))]
    """
    sites = []
    for node, argument in branch_balls(central, balls).items():
        row = slice(point, point + 1) if len(argument.value) > 1 else slice(0, 1)
        open_entries = np.abs(argument.value[row]) <= argument.radius[row]
        entries = [tuple(map(int, entry)) for entry in np.argwhere(open_entries[0])]
        sites += [Site(node, entry, _jumps_at(central.graph, node, balls, point, entry)) for entry in entries]
    plain = [ball.value if isinstance(ball, Balls) else ball for ball in balls]
    for node in singular_nodes(central.graph):
        near = singular_distance(central.graph, node, plain) <= _singular_radius(central.graph, node, balls)
        sites += [Site(node, tuple(map(int, entry))) for entry in np.argwhere(near[point if len(near) > 1 else 0])]
    return sites


def _jumps_at(graph: Graph, position: int, balls: Values, point: int, entry: Entry) -> bool:
    """Whether the branches that may be taken at an entry part there, as far as rounding lets one see."""
    node = graph.nodes[position]
    kink = _kink(graph, position)
    if kink.meets:
        return False
    operands = align(node, [balls[i] for i in node.args])
    like = Balls.exact(np.zeros((1, *node.shape)))
    first, second = (like + branch(*operands, **node.static) for branch in kink.branches)
    one, other = (ball[(point if len(ball) > 1 else 0, *entry)] for ball in (first, second))
    apart, sizes = abs(float(one.value - other.value)), (abs(float(one.value)), abs(float(other.value)))
    return bool(apart > float(one.radius + other.radius) + BRANCH_UNITS * one.unit_roundoff * max(sizes))


def singular_nodes(graph: Graph) -> tuple[int, ...]:
    """Positions of the nodes whose op has points without slopes or branches: lengths and jumps.

    >>> from verify.case.expression import graph_from_expressions
    >>> singular_nodes(graph_from_expressions({"x": ()}, {"q": "x * 2", "f": "sign(q)"}))
    (3,)
    """
    return tuple(i for i, node in enumerate(graph.nodes) if node.kind == "op" and OPS[node.op].singular is not None)


def singular_distance(graph: Graph, position: int, values: Values) -> Array:
    """How far a length is from 0, or the operand of a jump from the jump, in plain numbers ``(P, *shape)``.

    >>> from verify.case.expression import graph_from_expressions
    >>> graph = graph_from_expressions({"x": ()}, {"f": "sign(x)"})
    >>> singular_distance(graph, 1, [np.array([0.0, -0.25]), None]).tolist()
    [0.0, 0.25]
    """
    node = graph.nodes[position]
    kind = OPS[node.op].singular
    if isinstance(kind, Jump):
        with np.errstate(all="ignore"):
            return np.asarray(kind.distance(*align(node, [values[i] for i in node.args])))
    size: Array = np.abs(values[position])
    return size


def _singular_radius(graph: Graph, position: int, balls: Values) -> Any:
    """How far off that distance may be: as far as the length is, or as the operands are together."""
    node = graph.nodes[position]
    if not isinstance(OPS[node.op].singular, Jump):
        return balls[position].radius
    radii = [balls[i].radius if isinstance(balls[i], Balls) else np.zeros_like(balls[i]) for i in node.args]
    return sum(align(node, radii))


def branch_balls(central: Central, balls: Values) -> dict[int, Balls]:
    """For each kinked node the ball of what decides its branch ``(P, *shape)``.

    >>> from verify.case.expression import graph_from_expressions
    >>> graph = graph_from_expressions({"x": ()}, {"f": "relu(x)"})
    >>> central = Central(graph, ["x"])
    >>> branch_balls(central, central.program.run({"x": Balls.exact(np.array([2.0]))}))[1].value
    array([2.])
    """
    nodes = central.graph.nodes
    return {i: branch_argument(nodes[i], balls) for i in central.kinks}


Row = list[flint.arb]
"""A gradient by all entries of some variables, in balls."""

Choices = Mapping[Site, Branch]


class KinkJudge:
    """All that is needed to judge gradients at one kinked point of one case."""

    def __init__(
        self, taylor: Taylor, inputs: Mapping[str, Array], upstream: Mapping[str, Array], sites: Sequence[Site]
    ) -> None:
        """``inputs`` and ``upstream`` hold the one point (P = 1), ``sites`` its undecided branches."""
        self._taylor = taylor
        self._graph = taylor.graph
        self._inputs = {name: np.asarray(x, dtype=np.float64) for name, x in inputs.items()}
        self._upstream = {name: np.asarray(g, dtype=np.float64) for name, g in upstream.items()}
        self._sites = tuple(sites)
        self._size = sum(math.prod(node.shape) for node in self._graph.nodes)
        self._levels: dict[int, _Level] = {}

    def corners(self, variables: Sequence[str]) -> Corners:
        """The corners of the subdifferential with respect to some variables, all of them together."""
        columns = [(self._graph.position(v), entry) for v in variables for entry in np.ndindex(self._graph.shape(v))]
        reason = self._refusal(len(columns))
        if reason:
            nothing = np.full(len(columns), np.nan)
            return Corners(nothing[None], nothing, unknown=reason)
        for bits in BITS:
            with precision(bits):
                found = self._level(bits).corners(columns)
            size = np.abs(found.vectors).max(axis=0)
            if not np.any(found.error > 2.0**-45 * size):
                break
        return found

    def exact_argument(self) -> float:
        """The largest branch argument that is not 0 though its float's ball holds 0; 0 where there is none."""
        if self._refusal(0):
            return 0.0
        with precision(BITS[0]):
            known = [x for x in self._level(BITS[0]).arguments() if x.is_finite() and not x.contains(0)]
            return max((float(x.mid()) for x in known), key=abs, default=0.0)

    def _refusal(self, entries: int) -> str:
        """Why corners are not looked for, empty where they are."""
        if (len(self._sites) + entries) * self._size > MOST_NUMBERS:
            return f"{len(self._sites)} undecided branches at one point are too many"
        return ""

    def _level(self, bits: int) -> _Level:
        if bits not in self._levels:
            self._levels[bits] = _Level(self._taylor, self._inputs, self._upstream, self._sites)
        return self._levels[bits]


@dataclass(frozen=True, slots=True)
class _Linear:
    """How the outputs depend on the last branches, along one pattern of those before them; n entries, k sites."""

    base: Row
    """``(n,)``: what comes by other ways."""
    ends: Sequence[tuple[Row, Row]]
    """For each site what its first and its second branch add."""
    rows: Sequence[Row]
    """For each site the gradient of what decides its branch."""


@dataclass(slots=True)
class _Patterns:
    """The realised patterns of some branches, while they are found one branch after the other."""

    choices: dict[Site, Branch] = field(default_factory=dict)
    rows: list[Row] = field(default_factory=list)
    """Gradients of what decided the branches, signed so that a direction realises the pattern where all increase."""


class _Level:
    """Everything that is computed with one precision."""

    def __init__(
        self, taylor: Taylor, inputs: Mapping[str, Array], upstream: Mapping[str, Array], sites: Sequence[Site]
    ) -> None:
        self.taylor, self.graph = taylor, taylor.graph
        self.sites = [site for site in sites if OPS[self.graph.nodes[site.node].op].kink is not None]
        self.inputs = {name: point_balls(x) for name, x in inputs.items()}
        self.weights = [(self.graph.position(name), point_balls(g)) for name, g in upstream.items()]
        self.dead: set[Site] = set()
        """The sites whose slope reaches the outputs on no branch of the others: as well one of their branches."""
        self.values = taylor.values(self.inputs, frozen=self._frozen({}))
        self.size = sum(math.prod(node.shape) for node in self.graph.nodes)
        wanted = self.graph.needed_for(position for position, _ in self.weights)
        for site in reversed(self.sites):  # what hides a slope is known when its turn comes
            if site.node not in wanted or self._reaches_nothing(site):
                self.dead.add(site)
        self.live = [site for site in self.sites if site not in self.dead]
        singular = [site for site in sites if site.node in wanted and site not in self.sites]
        self.jumps = [
            site
            for site in (*singular, *self.sites)
            if site.node in wanted and (site.jumps or isinstance(OPS[self.graph.nodes[site.node].op].singular, Jump))
        ]
        self.lengths = [site for site in singular if site not in self.jumps and not self._reaches_nothing(site)]
        """Lengths of 0 that reach the outputs."""

    def _reaches_nothing(self, site: Site) -> bool:
        frozen = self._frozen({})
        return self.taylor.slope(self.values, site.node, site.entry, self.weights, frozen=frozen).is_zero()

    def arguments(self) -> Iterator[flint.arb]:
        """What decides each branch."""
        for site in self.sites:
            node = self.graph.nodes[site.node]
            operands = broadcast_operands(node, [self.values[i] for i in node.args])
            yield _kink(self.graph, site.node).argument(*(operand[site.entry] for operand in operands), **node.static)

    def corners(self, columns: Sequence[tuple[int, Entry]]) -> Corners:
        """The corners by some entries of variables."""
        moved = set(self.graph.depends_on({position for position, _ in columns}))
        jumps = sorted({self.graph.nodes[site.node].op for site in self.jumps if site.node in moved})
        if jumps:
            nothing = np.full(len(columns), np.nan)
            return Corners(nothing[None], nothing, unknown=f"{' and '.join(jumps)} jumps here: there is no subgradient")
        live = [site for site in self.live if site.node in moved]
        lengths = [site for site in self.lengths if site.node in moved]
        if lengths:
            behind = {node: set(self.graph.depends_on([node])) for node in {site.node for site in lengths}}
            is_nested = any(other.node in behind[site.node] for site in lengths for other in lengths)
            return self._box(columns, len(live)) if live or is_nested else self._balls(columns, lengths)
        after = {node: set(self.graph.depends_on([node])) for node in {site.node for site in live}}
        earlier = [site for site in live if any(other.node in after[site.node] for other in live)]
        last = [site for site in live if site not in set(earlier)]
        if not earlier and len(last) > FEW_SITES:
            spanned = self._spans(columns, last)
            if not spanned.outer or len(last) > MOST_PATTERN_SITES:
                return spanned
        found = self._listed(columns, earlier, last, after) if len(live) <= MOST_PATTERN_SITES else None
        return found or self._box(columns, len(live))

    def _listed(
        self,
        columns: Sequence[tuple[int, Entry]],
        earlier: Sequence[Site],
        last: Sequence[Site],
        after: Mapping[int, set[int]],
    ) -> Corners | None:
        """The corners one by one; None where there are too many numbers to compute."""
        unsure = False
        prefixes = [_Patterns()]
        for layer in _layers(earlier, after):
            if len(prefixes) * len(columns) * self.size > MOST_NUMBERS:
                return None
            extended: list[_Patterns] = []
            for prefix in prefixes:
                linear = self._linear(columns, prefix.choices, layer)
                found, doubt = _extended(prefix, layer, linear)
                extended += found
                unsure |= doubt
            prefixes = extended
        if len(prefixes) * len(columns) * self.size > MOST_NUMBERS:
            return None
        vectors: list[Row] = []
        for prefix in prefixes:
            linear = self._linear(columns, prefix.choices, last)
            found, doubt = _extended(prefix, last, linear)
            unsure |= doubt
            vectors += [
                _along(linear, [pattern.choices.get(site, Branch.EITHER) for site in last]) for pattern in found
            ]
        return _distinct(vectors, unsure, len(earlier) + len(last))

    def _linear(self, columns: Sequence[tuple[int, Entry]], choices: Choices, last: Sequence[Site]) -> _Linear:
        either = self._frozen(choices)
        flat = self._frozen({**choices, **dict.fromkeys(last, Branch.FLAT)})
        values = self.taylor.values(self.inputs, frozen=either)
        weights = [self.taylor.slope(values, site.node, site.entry, self.weights, frozen=either) for site in last]
        base: Row = []
        ends: list[tuple[Row, Row]] = [([], []) for _ in last]
        rows: list[Row] = [[] for _ in last]
        lost = any(not _has_value(values[position], weight) for position, weight in self.weights)
        places: dict[int, dict[Entry, int]] = {}
        for number, site in enumerate(last):
            places.setdefault(site.node, {})[site.entry] = number
        for position, entry in columns:
            series = self.taylor.series(values, position, entry, frozen=flat)
            base.append(arb.nan() if lost else contracted(series, self.weights))
            for part in (*rows, *(end for pair in ends for end in pair)):
                part.append(arb(0))
            for at, sites in places.items():
                kink, static = _kink(self.graph, at), self.graph.nodes[at].static
                operands = broadcast_operands(self.graph.nodes[at], [series[i] for i in self.graph.nodes[at].args])
                for moved in moving_entries(operands):
                    if moved not in sites:
                        continue
                    number, numbers = sites[moved], [operand[moved] for operand in operands]
                    for end, branch in zip(ends[number], kink.branches, strict=True):
                        end[-1] = weights[number] * tail(branch(*numbers, **static))
                    rows[number][-1] = tail(kink.argument(*numbers, **static))
        return _Linear(base, ends, rows)

    def _frozen(self, choices: Choices) -> Frozen:
        """Some branches as they were chosen, all others undecided."""
        frozen: dict[int, dict[Entry, Branch]] = {}
        for site in self.sites:
            left = Branch.FIRST if site in self.dead else Branch.EITHER
            frozen.setdefault(site.node, {})[site.entry] = choices.get(site, left)
        return frozen

    def _spans(self, columns: Sequence[tuple[int, Entry]], last: Sequence[Site]) -> Corners:
        """Many branches that enter linearly: every mixture of them is one of start and spans."""
        linear = self._linear(columns, {}, last)
        start, spans = list(linear.base), []
        for first, second in linear.ends:
            start = [x + b for x, b in zip(start, second, strict=True)]
            spans.append([a - b for a, b in zip(first, second, strict=True)])
        vector, error = _floats(start)
        pairs = [_floats(span) for span in spans]
        lengths, errors = np.array([span for span, _ in pairs]), np.array([error for _, error in pairs])
        # The spans are added up in floats again and again: a unit roundoff of their sizes for each.
        error = error + errors.sum(axis=0) + len(spans) * 2.0**-53 * np.abs(lengths).sum(axis=0)
        telling = [row for row in linear.rows if not _is_flat(row)]
        outer = not _independent(telling)
        count = 2 ** len(last)
        return Corners(vector[None], error, outer=outer, spans=lengths, patterns=count, realised=count)

    def _balls(self, columns: Sequence[tuple[int, Entry]], sites: Sequence[Site]) -> Corners:
        """Lengths of 0: the slopes of each by its own operands are the unit ball, and those by the columns follow.

        By the chain rule they are the weight of the length times a mixture, of length 1 at most (of the dual length,
        for one that is a sum of other powers), of the gradients of its operands: all of them are subgradients, since a
        length is convex. Of several lengths the mixtures add up,
        which is too much where they move the same entries and some of them are subtracted.
        """
        frozen = self._frozen({})
        weights = [self.taylor.slope(self.values, s.node, s.entry, self.weights, frozen=frozen) for s in sites]
        flat: dict[int, Mapping[Entry, Branch]] = dict(frozen)
        for site in sites:
            flat[site.node] = {**flat.get(site.node, {}), site.entry: Branch.FLAT}
        centre: Row = []
        rows: list[list[Row]] = [[] for _ in sites]
        for position, entry in columns:
            series = self.taylor.series(self.values, position, entry, frozen=flat)
            centre.append(contracted(series, self.weights))
            for number, site in enumerate(sites):
                node = self.graph.nodes[site.node]
                numbers = measured(node, [series[i] for i in node.args], site.entry)
                rows[number].append([weights[number] * tail(x) for x in numbers])
        vector, error = _floats(centre)
        pairs = [[_floats(list(row)) for row in zip(*part, strict=True)] for part in rows]
        radius = error + np.sum([inaccuracy for part in pairs for _, inaccuracy in part], axis=0)
        ball = np.array([row for part in pairs for row, _ in part])
        owners = np.repeat(np.arange(len(pairs)), [len(part) for part in pairs])
        exponents = np.array([self.graph.nodes[site.node].params.get("exponent", 2.0) for site in sites])
        moved = np.array([np.any([row != 0 for row, _ in part], axis=0) for part in pairs])
        outer = bool(np.any(moved.sum(axis=0) > 1))
        powers = exponents[owners]
        return Corners(
            vector[None], radius, outer=outer, ball=ball, owners=owners, exponents=powers, patterns=0, realised=0
        )

    def _box(self, columns: Sequence[tuple[int, Entry]], count: int) -> Corners:
        """Many branches of which some decide others: the slopes of all patterns at once, entry by entry."""
        frozen = self._frozen({})
        slopes = [self.taylor.slope(self.values, at, entry, self.weights, frozen=frozen) for at, entry in columns]
        ends = [[x.lower() for x in slopes], [x.upper() for x in slopes]]
        (low, below), (high, above) = (_floats(end) for end in ends)
        error = np.maximum(below, above)
        patterns = 2**count
        return Corners(np.array([low, high]), error, outer=True, box=True, patterns=patterns, realised=patterns)


def measured(node: Node, operands: Sequence[Any], entry: Entry) -> list[Any]:
    """The numbers whose length one entry of a node is: one of each operand, or all along the axes of a norm.

    >>> from verify.case.expression import graph_from_expressions
    >>> graph = graph_from_expressions({"x": (2, 3)}, {"f": "norm(x, axis=0)"})
    >>> measured(graph.nodes[-1], [np.arange(6).reshape(2, 3)], (1,))
    [1, 4]
    """
    if OPS[node.op].elementwise:
        return [operand[entry] for operand in broadcast_operands(node, operands)]
    a = as_objects(operands[0])
    axis = node.params.get("axis")
    axes = range(a.ndim) if axis is None else axis
    others = iter(entry if len(entry) < a.ndim else [place for i, place in enumerate(entry) if i not in axes])
    part: Any = a[tuple(slice(None) if i in axes else next(others) for i in range(a.ndim))]
    # A single series is not to be flattened: it would fall into its coefficients.
    return part.ravel().tolist() if isinstance(part, np.ndarray) else [part]


def _kink(graph: Graph, position: int) -> Kink:
    kink = OPS[graph.nodes[position].op].kink
    assert kink is not None, f"{graph.nodes[position].op} has no branches"
    return kink


def _has_value(value: Any, weight: Any) -> bool:
    """Whether an output has a value, but for entries with an upstream gradient of 0."""
    pairs = zip(np.ravel(value).tolist(), np.ravel(weight).tolist(), strict=True)
    return all(g == 0 or is_finite(x) for x, g in pairs)


def _layers(sites: Sequence[Site], after: Mapping[int, set[int]]) -> list[list[Site]]:
    """Sites in groups, each after all groups that decide it."""
    depth: dict[int, int] = {}
    for node in sorted({site.node for site in sites}):
        depth[node] = max((depth[other] + 1 for other in depth if node in after[other]), default=0)
    return [[s for s in sites if depth[s.node] == level] for level in sorted(set(depth.values()))]


def _extended(prefix: _Patterns, sites: Sequence[Site], linear: _Linear) -> tuple[list[_Patterns], bool]:
    """A pattern with every realisable choice for some more branches, and whether one may be realised by nothing."""
    found, unsure = [prefix], False
    for site, row in zip(sites, linear.rows, strict=True):
        if _is_flat(row):
            continue  # max, min, relu and abs whose argument has no slope have the same slope on either branch
        following: list[_Patterns] = []
        known = all(x.is_finite() for x in row)
        for pattern in found:
            free = not known or _independent([*pattern.rows, row])
            for branch, sign in ((Branch.FIRST, 1), (Branch.SECOND, -1)):
                rows = [*pattern.rows, [sign * x for x in row]] if known else pattern.rows
                realised, doubt = (True, not known) if free else _realised(rows)
                unsure |= doubt
                if realised:
                    following.append(_Patterns({**pattern.choices, site: branch}, rows))
        found = following
    return found, unsure


def _along(linear: _Linear, branches: Sequence[Branch]) -> Row:
    """The gradient along one choice of the last branches; what was not chosen is held in one ball."""
    total = list(linear.base)
    for (first, second), branch in zip(linear.ends, branches, strict=True):
        if branch is Branch.EITHER:
            added = [a if a == b else a.union(b) for a, b in zip(first, second, strict=True)]
        else:
            added = first if branch is Branch.FIRST else second
        total = [x + y for x, y in zip(total, added, strict=True)]
    return total


def _distinct(vectors: Sequence[Row], unsure: bool, sites: int) -> Corners:
    """Gradients of patterns as corners, each once."""
    pairs = [_floats(vector) for vector in vectors]
    error = np.max([error for _, error in pairs], axis=0)
    distinct = np.unique(np.array([vector for vector, _ in pairs]), axis=0)
    size = np.abs(distinct).max(initial=0.0)
    wide = bool(np.any(np.isfinite(error) & (error > 2.0**-30 * size)))
    return Corners(distinct, error, outer=unsure or wide, patterns=2**sites, realised=len(vectors))


def _floats(row: Row) -> tuple[Array, Array]:
    """Midpoints in floats ``(n,)``, and how far the truth may be from them; NaN and inf where nothing is known."""
    middles, errors = np.full(len(row), np.nan), np.full(len(row), np.inf)
    for i, ball in enumerate(row):
        middle = float(ball.mid()) if ball.is_finite() else math.nan
        if math.isfinite(middle):
            off = float((ball - arb(middle)).abs_upper())
            middles[i], errors[i] = middle, math.nextafter(off, math.inf) if off else 0.0
    return middles, errors


def _is_flat(row: Row) -> bool:
    """Whether nothing shows that a row is not zero."""
    return all(x.is_finite() and x.contains(0) for x in row)


def _independent(rows: Sequence[Row]) -> bool:
    """Whether rows are shown to be linearly independent: then some direction realises every pattern of their signs.

    A row with an entry where all others are zero is set aside; of what is left the determinant of Gram is enclosed.
    """
    left = [row for row in rows if all(x.is_finite() for x in row)]
    if len(left) < len(rows) or (rows and len(rows) > len(rows[0])):
        return False
    while True:
        columns = zip(*left, strict=True)
        alone = {_only(column) for column in columns} - {None}
        if not alone:
            break
        left = [row for i, row in enumerate(left) if i not in alone]
    if not left:
        return True
    if len(left) > MOST_GRAM:
        return False
    gram = flint.arb_mat([[sum((x * y for x, y in zip(a, b, strict=True)), arb(0)) for b in left] for a in left])
    return not gram.det().contains(0)


def _only(column: Sequence[flint.arb]) -> int | None:
    """Which entry of a column is certainly not zero while all others are."""
    moving = [i for i, x in enumerate(column) if not x.is_zero()]
    return moving[0] if len(moving) == 1 and not column[moving[0]].contains(0) else None


def _realised(rows: Sequence[Row]) -> tuple[bool, bool]:
    """Whether some direction d has ``<row, d> > 0`` for every row, and whether that is in doubt.

    The shortest d with ``<row, d> >= 1`` is looked for by least squares, in floats. Where there is none, a mixture of
    rows vanishes; if the rows that it is made of are independent that is wrong, which means that they are nearly
    dependent and that nothing is shown.
    """
    if len(rows) == 1:
        return True, False
    if len(rows[0]) == 1:
        return len({bool(row[0] > 0) for row in rows}) == 1, False
    if len(rows) == 2:
        dot = sum((x * y for x, y in zip(*rows, strict=True)), arb(0))
        return bool(dot > 0), bool(dot.contains(0))
    floats = np.array([_floats(row)[0] for row in rows])
    scaled = floats / np.abs(floats).max(axis=1, keepdims=True)
    direction, used = shortest_direction(scaled)
    if float(np.min(scaled @ direction)) > REALISABLE_MARGIN:
        return True, False
    doubt = _independent([rows[i] for i in used])
    return doubt, doubt


def kink_record(point: int, ties: str, names: Sequence[str], corners: Corners) -> KinkRecord:
    """The corners at a point as a report shows them; where they are too many, the range of each entry.

    >>> corners = Corners(np.array([[0.0], [1.0]]), np.zeros(1), patterns=2, realised=2)
    >>> kink_record(7, "tie of relu", ["x"], corners).corners.tolist()
    [[0.0], [1.0]]
    """
    bounded = corners.box or len(corners.spans) or len(corners.ball)
    listed = not bounded and len(corners.vectors) <= MOST_RECORDED
    shown = corners.vectors if listed else np.array([corners.low, corners.high])
    few = slice(0, MOST_RECORDED)
    counts = corners.patterns, corners.realised
    return KinkRecord(point, ties, tuple(names[few]), shown[:, few] + 0.0, listed, *counts, corners.outer)


def remedy(
    graph: Graph,
    variables: Sequence[str],
    point: tuple[Mapping[str, Array], Mapping[str, Array]],
    ops: Sequence[str],
    accepts: Callable[[Array], bool],
) -> str:
    """The conventions at ties, if there are any, with which the engine gives a subgradient at a point, in words.

    ``point`` holds inputs and upstream gradients (P = 1), ``ops`` names what is tied, ``accepts`` judges a gradient.

    >>> from verify.case.expression import graph_from_expressions
    >>> graph = graph_from_expressions({"x": ()}, {"f": "relu(x) - relu(-x)"})
    >>> point = {"x": np.zeros(1)}, {"f": np.ones(1)}
    >>> remedy(graph, ["x"], point, ["relu"], lambda gradient: gradient[0] == 1.0)
    '`ties: {relu: half}` gives a subgradient'
    """
    kinks = {op: OPS[op].conventions for op in ops if OPS[op].conventions}
    if not kinks:
        return ""
    combinations = list(product(*kinks.values()))
    for chosen in combinations[:MOST_REMEDIES]:
        ties = dict(zip(kinks, chosen, strict=True))
        nodes = [
            replace(node, params={**node.params, "tie": kinks[node.op][ties[node.op]]}) if node.op in ties else node
            for node in graph.nodes
        ]
        gradients = Reverse(replace(graph, nodes=tuple(nodes)), variables).differentiate(*point).gradients
        if accepts(np.concatenate([np.ravel(gradients[name]) for name in variables])):
            return f"`ties: {{{', '.join(f'{op}: {choice}' for op, choice in ties.items())}}}` gives a subgradient"
    return f"no choice under `ties:` for {' and '.join(kinks)} gives a subgradient"

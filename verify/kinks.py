"""Judging gradients at kinks: which values are subgradients where branches meet.

At a kink there is no derivative but a set of them: the hull of the gradients of all branch patterns that some
direction realises. Each pattern's gradient is had by freezing the branches and differentiating the then smooth
function by central differences, so no method's own convention at ties enters the judgement.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from verify.balls import Balls
from verify.interpret import Values, branch_argument
from verify.methods.central import Central, Functional, contraction
from verify.records import Verdict

Array = NDArray[Any]

MOST_TURNED = 100_000
"""Undecided branches times entries of the variables that are still worth turning one by one (two seconds)."""

MOST_PATTERN_SITES = 6
"""Undecided branches whose patterns are all tried (2**6 of them); beyond, an outer bound is used."""


@dataclass(frozen=True, slots=True)
class Site:
    """One undecided branch: an entry of a kinked node."""

    node: int
    entry: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Corners:
    """The gradients that the branches at one point give, for one group of variables taken together (n entries)."""

    vectors: Array
    """``(C, n)``: the gradient of each realisable branch pattern; for an outer bound its low and high corner."""
    error: Array
    """``(n,)``: how far a vector may be off, from the central differences that gave it."""
    outer: bool = False
    """The hull is too large: too many branches, or an argument that does not move to first order."""
    unknown: str = ""
    """Why nothing is known, if so."""

    @property
    def low(self) -> Array:
        """The smallest value of each entry ``(n,)``."""
        low: Array = self.vectors.min(axis=0)
        return low

    @property
    def high(self) -> Array:
        """The largest value of each entry ``(n,)``."""
        high: Array = self.vectors.max(axis=0)
        return high

    @property
    def known(self) -> NDArray[np.bool_]:
        """The entries whose slopes were had on every branch ``(n,)``; where values overflow, no step gives one."""
        found: NDArray[np.bool_] = np.all(np.isfinite(self.vectors), axis=0)
        return found

    def smooth(self, slack: Array) -> NDArray[np.bool_]:
        """The entries on which all branches agree ``(n,)``."""
        return self.high - self.low <= 2 * self.error + slack

    def within(self, gradient: Array, slack: Array) -> NDArray[np.bool_]:
        """The entries that lie between their one-sided slopes ``(n,)``."""
        tolerance = self.error + slack
        between: NDArray[np.bool_] = (gradient >= self.low - tolerance) & (gradient <= self.high + tolerance)
        return between

    def contains(self, gradient: Array, slack: Array) -> bool:
        """Whether the vector ``(n,)``, as far as slopes are known, is in the hull, within error and slack.

        >>> corners = Corners(np.array([[1.0, 0.0], [0.0, 1.0]]), np.zeros(2))
        >>> slack = np.full(2, 1e-9)
        >>> corners.contains(np.array([0.25, 0.75]), slack), corners.contains(np.array([1.0, 1.0]), slack)
        (True, False)
        """
        known = self.known
        if not np.all(self.within(gradient, slack)[known]):
            return False
        if self.outer or len(self.vectors) == 1 or not known.any():
            return True
        return _in_hull(gradient[known], self.vectors[:, known], (self.error + slack)[known])


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
        aside = f"; {', '.join(self.others)} follows a convention of its own" if self.others else ""
        if not self.within[place]:
            if not self.smooth[place]:
                return Verdict.FAIL, f"{self.ties}: the one-sided slopes are {slopes}; {self.accused} is outside"
            mended = "what each op does at its tie is a convention, but together they must give this slope"
            return Verdict.FAIL, f"{self.ties}: every branch gives {slopes}; {self.accused} is outside; {mended}"
        if self.smooth[place]:
            return Verdict.PASS, f"{self.ties}, but every branch gives the same slope"
        bound = ", an outer bound" if self.corners.outer else ""
        if not self.inside:
            sentence = f"the gradient of {self.accused} is a convention, not a subgradient"
            return Verdict.CONVENTION, f"{self.ties}: slopes {slopes}{bound}; {sentence}"
        return Verdict.SUBGRADIENT, f"{self.ties}: slopes {slopes}{bound}{aside}"


def undecided_sites(central: Central, balls: Values, point: int) -> list[Site]:
    """The branches of one point that the balls of their arguments leave open.

    >>> from verify.expression import graph_from_expressions
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
        sites += [Site(node, tuple(map(int, entry))) for entry in np.argwhere(open_entries[0])]
    return sites


def branch_balls(central: Central, balls: Values) -> dict[int, Balls]:
    """For each kinked node the ball of what decides its branch ``(P, *shape)``.

    >>> from verify.expression import graph_from_expressions
    >>> graph = graph_from_expressions({"x": ()}, {"f": "relu(x)"})
    >>> central = Central(graph, ["x"])
    >>> branch_balls(central, central.program.run({"x": Balls.exact(np.array([2.0]))}))[1].value
    array([2.])
    """
    nodes = central.graph.nodes
    return {i: branch_argument(nodes[i], balls) for i in central.kinks}


class KinkJudge:
    """All that is needed to judge gradients at one kinked point of one case."""

    def __init__(
        self, central: Central, inputs: Mapping[str, Array], upstream: Mapping[str, Array], sites: Sequence[Site]
    ) -> None:
        """``inputs`` and ``upstream`` hold the one point (P = 1), ``sites`` its undecided branches."""
        self._central = central
        self._inputs = inputs
        self._output = contraction(central.graph, upstream)
        values = central.program.run(inputs)
        self._decided = {i: np.asarray(branch_argument(central.graph.nodes[i], values) > 0) for i in central.kinks}
        self._all = tuple(sites)

    def corners(self, variables: Sequence[str]) -> Corners:
        """The corners of the subdifferential with respect to some variables, all of them together."""
        count = len(self._all)
        entries = sum(math.prod(self._central.graph.shape(name)) for name in variables)
        if count * entries > MOST_TURNED:
            nothing = np.full(entries, np.nan)
            return Corners(nothing[None], nothing, unknown=f"{count} undecided branches at one point are too many")
        if count <= MOST_PATTERN_SITES:
            return self._realised(variables, range(count))
        # What a branch changes may show on one side of the others only, so each is turned from either side.
        changes, errors, starts = [], [], []
        for side in (True, False):
            patterns = np.full((count + 1, count), side)
            patterns[np.arange(1, count + 1), np.arange(count)] = not side
            vectors, error = self._gradients(variables, patterns)
            change = vectors[1:] - vectors[0]
            noise = error[1:] + error[0]
            changes.append(np.where(np.abs(change) > 2 * noise, change, 0.0))
            errors.append(error[0] + np.where(np.abs(change) > 2 * noise, noise, 0.0).sum(axis=0))
            starts.append(vectors[0])
        moving = np.flatnonzero(np.any([np.any(change, axis=1) for change in changes], axis=0))
        if len(moving) <= MOST_PATTERN_SITES:
            return self._realised(variables, moving.tolist())
        low = np.min([x + np.minimum(c, 0).sum(axis=0) for x, c in zip(starts, changes, strict=True)], axis=0)
        high = np.max([x + np.maximum(c, 0).sum(axis=0) for x, c in zip(starts, changes, strict=True)], axis=0)
        return Corners(np.array([low, high]), np.max(errors, axis=0), outer=True)

    def _realised(self, variables: Sequence[str], moving: Sequence[int]) -> Corners:
        """The corners of all patterns of a few sites that some direction realises; the other sites change nothing."""
        choices = np.array(list(product((True, False), repeat=len(moving))), dtype=bool)
        patterns = np.full((len(choices), len(self._all)), True)
        patterns[:, np.array(moving, dtype=np.intp)] = choices
        vectors, errors = self._gradients(variables, patterns)
        apart = np.ptp(vectors, axis=0)
        if np.all(apart <= 2 * errors.min(axis=0)):
            # They are all one for what is known, whichever of them are realised; where they differ, each may be right.
            return Corners(vectors[:1], errors.max(axis=0) + apart)
        arguments = [self._argument_gradients(variables, patterns, i) for i in moving]
        kept, unsure = [], False
        for number, choice in enumerate(choices):
            slopes = np.array([vector[number] for vector, _ in arguments])
            noise = np.array([error[number] for _, error in arguments])
            flat = bool(np.any(np.all(~np.isfinite(slopes) | (np.abs(slopes) <= noise), axis=1)))
            unsure |= flat
            known = np.nan_to_num(slopes, posinf=0.0, neginf=0.0)
            if flat or _realisable(np.where(choice, 1.0, -1.0)[:, None] * known):
                kept.append(number)
        return Corners(vectors[kept], errors[kept].max(axis=0), outer=unsure)

    def _gradients(self, variables: Sequence[str], patterns: NDArray[np.bool_]) -> tuple[Array, Array]:
        """Gradients and errors ``(C, n)`` along each branch pattern ``(C, sites)``, all variables in one vector."""
        found = [self._differences(name, patterns, self._output) for name in variables]
        return np.concatenate([vector for vector, _ in found], 1), np.concatenate([error for _, error in found], 1)

    def _argument_gradients(
        self, variables: Sequence[str], patterns: NDArray[np.bool_], site: int
    ) -> tuple[Array, Array]:
        """The same for what decides one branch: nested kinks have it depend on the other branches."""
        node, entry = self._all[site].node, self._all[site].entry

        def argument(values: Values) -> Any:
            return branch_argument(self._central.graph.nodes[node], values)[(slice(None), *entry)]

        found = [self._differences(name, patterns, argument) for name in variables]
        return np.concatenate([vector for vector, _ in found], 1), np.concatenate([error for _, error in found], 1)

    def _differences(self, name: str, patterns: NDArray[np.bool_], output: Functional) -> tuple[Array, Array]:
        """Central differences along each pattern, all patterns run together as if they were points."""
        count = len(patterns)
        frozen = {i: np.repeat(choice[:1], count, axis=0) for i, choice in self._decided.items()}
        for site, first in zip(self._all, patterns.T, strict=True):
            where: tuple[Any, ...] = (slice(None), *site.entry)
            frozen[site.node][where] = first
        inputs = {key: np.repeat(value, count, axis=0) for key, value in self._inputs.items()}
        noise = self._central.noise(inputs, output, frozen)
        refined = [
            self._central.refine(name, entry, inputs, output, frozen, noise, enough=5)
            for entry in np.ndindex(self._central.graph.shape(name))
        ]
        return np.stack([r.gradient for r in refined], axis=1), np.stack([r.error for r in refined], axis=1)


def _realisable(rows: Array) -> bool:
    """Whether some direction d has ``rows @ d > 0`` in every row ``(k, n)``."""
    scaled = rows / np.abs(rows).max(axis=1, keepdims=True)
    if len(scaled) == 1:
        return True
    from scipy.optimize import linprog  # costs 0.4 s to import, and few runs meet two kinks at once

    k, n = scaled.shape
    margin = np.hstack([-scaled, np.ones((k, 1))])  # maximise t with rows @ d >= t
    answer = linprog([0.0] * n + [-1.0], A_ub=margin, b_ub=np.zeros(k), bounds=[(-1, 1)] * n + [(None, 1)])
    return bool(answer.status == 0 and -answer.fun > REALISABLE_MARGIN)


REALISABLE_MARGIN = 1e-6
"""Arguments are scaled to slope 1 and known to about 1e-9; a direction with less room than this is none."""


def _in_hull(gradient: Array, vectors: Array, tolerance: Array) -> bool:
    """Whether weights t >= 0 with sum 1 bring ``t @ vectors`` within the tolerance of the gradient, entry by entry."""
    if len(vectors) == 2:
        span = vectors[1] - vectors[0]
        size = float(np.abs(span).max())  # zero for an outer bound whose corners fall together
        unit = span / size if size else span  # scaled: the square of a slope may overflow
        weight = float(np.clip(unit @ ((gradient - vectors[0]) / size) / (unit @ unit), 0.0, 1.0)) if size else 0.0
        return bool(np.all(np.abs(vectors[0] + weight * span - gradient) <= tolerance))
    from scipy.optimize import linprog

    bounds = np.concatenate([gradient + tolerance, -(gradient - tolerance)])
    answer = linprog(
        np.zeros(len(vectors)),
        A_ub=np.vstack([vectors.T, -vectors.T]),
        b_ub=bounds,
        A_eq=np.ones((1, len(vectors))),
        b_eq=[1.0],
    )
    return bool(answer.status == 0)

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
            return Verdict.UNDECIDED, f"{self.ties}: the one-sided slopes are infinite or undefined"
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
        self._gradients: dict[tuple[str, tuple[bool, ...]], tuple[Array, Array]] = {}
        self._all = tuple(sites)

    def corners(self, variables: Sequence[str]) -> Corners:
        """The corners of the subdifferential with respect to some variables, all of them together."""
        base = (True,) * len(self._all)
        flips = [(*base[:i], False, *base[i + 1 :]) for i in range(len(self._all))]
        start, error = self._gradient(variables, base)
        flipped = [self._gradient(variables, pattern) for pattern in flips]
        moving = [i for i, (vector, e) in enumerate(flipped) if np.any(np.abs(vector - start) > 2 * (error + e))]
        if not moving:
            return Corners(start[None], error)
        if len(moving) > MOST_PATTERN_SITES:
            changes = np.array([flipped[i][0] - start for i in moving])
            low, high = start + np.minimum(changes, 0).sum(axis=0), start + np.maximum(changes, 0).sum(axis=0)
            return Corners(np.array([low, high]), sum((flipped[i][1] for i in moving), start=error), outer=True)
        return self._realised(variables, moving)

    def _realised(self, variables: Sequence[str], moving: Sequence[int]) -> Corners:
        vectors, errors, unsure = [], [], False
        for choice in product((True, False), repeat=len(moving)):
            pattern = [True] * len(self._all)
            for i, first in zip(moving, choice, strict=True):
                pattern[i] = first
            arguments = [self._argument_gradient(variables, tuple(pattern), i) for i in moving]
            signs = np.where(choice, 1.0, -1.0)
            flat = any(np.all(~np.isfinite(vector) | (np.abs(vector) <= error)) for vector, error in arguments)
            unsure |= flat
            known = np.nan_to_num([vector for vector, _ in arguments], posinf=0.0, neginf=0.0)
            if flat or _realisable(signs[:, None] * known):
                vector, error = self._gradient(variables, tuple(pattern))
                vectors.append(vector)
                errors.append(error)
        return Corners(np.array(vectors), np.max(errors, axis=0), outer=unsure)

    def _gradient(self, variables: Sequence[str], pattern: tuple[bool, ...]) -> tuple[Array, Array]:
        """Gradient and error, all variables flattened into one vector, along one branch pattern."""
        found = []
        for name in variables:
            key = (name, pattern)
            if key not in self._gradients:
                self._gradients[key] = self._differences(name, pattern, self._output)
            found.append(self._gradients[key])
        return np.concatenate([vector for vector, _ in found]), np.concatenate([error for _, error in found])

    def _argument_gradient(self, variables: Sequence[str], pattern: tuple[bool, ...], site: int) -> tuple[Array, Array]:
        """The gradient of what decides one branch, along the pattern: nested kinks have it depend on the others."""
        node, entry = self._all[site].node, self._all[site].entry

        def argument(values: Values) -> Any:
            return branch_argument(self._central.graph.nodes[node], values)[(slice(None), *entry)]

        found = [self._differences(name, pattern, argument) for name in variables]
        return np.concatenate([vector for vector, _ in found]), np.concatenate([error for _, error in found])

    def _differences(self, name: str, pattern: tuple[bool, ...], output: Functional) -> tuple[Array, Array]:
        frozen = {i: choice.copy() for i, choice in self._decided.items()}
        for site, first in zip(self._all, pattern, strict=True):
            frozen[site.node][(0, *site.entry)] = first
        shape = self._central.graph.shape(name)
        noise = self._central.noise(self._inputs, output, frozen)
        refined = [
            self._central.refine(name, entry, self._inputs, output, frozen, noise, enough=5)
            for entry in np.ndindex(shape)
        ]
        return np.array([r.gradient[0] for r in refined]), np.array([r.error[0] for r in refined])


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

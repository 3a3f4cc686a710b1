"""Sets of subgradients as data, and whether a gradient is shown to be outside of one.

Where branches meet, the subgradients are the convex hull of the gradients of all branch patterns that some direction
realises: the *corners*. Where kinks enter linearly the hull is a start plus a part, between none and all, of a *span*
for each branch. Either way a gradient is outside if some direction shows it: the gradient reaches farther along that
direction than every corner, by more than the entries' tolerances explain. The direction is looked for by least squares
in floats, which proves nothing; that it does separate is then checked with every rounding accounted for. So whoever is
accused is accused by proof, and a direction that was found badly accuses nobody.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
LONG = np.longdouble
"""Where separation is checked. Its unit roundoff enters the bound: where it is a double, less is shown."""

NEAREST_STEPS = 200
"""Steps towards the nearest point of several balls together."""

TINY = float(np.finfo(float).tiny)


def _no_spans() -> Array:
    return np.zeros((0, 0))


def _no_owners() -> Array:
    return np.zeros(0)


@dataclass(frozen=True, slots=True)
class _Ball:
    """All mixtures of some rows ``(m, n)`` whose weights have length 1 or less, by the dual of a sum of powers."""

    rows: Array
    exponent: float

    def reach(self, ends: Array) -> Any:
        """How far the mixtures of ``ends (m, ...)`` reach: their length."""
        if self.exponent == 2:
            return np.sqrt(np.square(ends).sum(axis=0))
        largest = np.maximum(np.abs(ends).max(axis=0, initial=0.0), TINY)
        return largest * ((np.abs(ends) / largest) ** self.exponent).sum(axis=0) ** (1 / self.exponent)

    def farthest(self, ends: Array) -> Array:
        """The weights ``(m,)`` that reach farthest, where each row alone reaches as far as ``ends (m,)``."""
        share = ends / max(float(self.reach(ends)), TINY)
        return np.asarray(np.sign(share) * np.abs(share) ** (self.exponent - 1))

    def towards(self, weights: Array) -> Array:
        """What :meth:`farthest` turns into these weights, up to a factor."""
        largest = max(float(np.abs(weights).max(initial=0.0)), TINY)
        return np.asarray(np.sign(weights) * np.abs(weights / largest) ** (1 / (self.exponent - 1)))


@dataclass(frozen=True, slots=True)
class Corners:
    """The subgradients at one point, for one group of variables taken together (n entries)."""

    vectors: Array
    """``(C, n)``: the gradient of each realisable branch pattern; the start where there are ``spans``; for a box its
    low and high corner."""
    error: Array
    """``(n,)``: how far a vector may be off: the radius of its enclosure."""
    outer: bool = False
    """The set is too large: more is in it than some direction realises."""
    unknown: str = ""
    """Why nothing is known, if so."""
    spans: Array = field(default_factory=_no_spans)
    """``(k, n)``: what each branch adds to the start, in part or in full; empty where there are corners."""
    ball: Array = field(default_factory=_no_spans)
    """``(m, n)``: the start is a centre, to which any mixture of these rows is added whose weights have length 1 or
    less, by the dual of the length that is 0; empty where none is."""
    owners: Array = field(default_factory=_no_owners)
    """``(m,)``: of several lengths the one that each row belongs to; the weights of each have length 1 or less."""
    exponents: Array = field(default_factory=_no_owners)
    """``(m,)``: the powers that the length of each row adds up; 2 where there are none."""
    box: bool = False
    """All that is known is a range for each entry."""
    patterns: int = 1
    """How many patterns the undecided branches have."""
    realised: int = 1
    """How many of them some direction realises, or may realise."""

    @property
    def low(self) -> Array:
        """The smallest value of each entry ``(n,)``."""
        low: Array = self.vectors.min(axis=0) - self._reach()
        return low + np.minimum(self.spans, 0.0).sum(axis=0) if len(self.spans) else low

    @property
    def high(self) -> Array:
        """The largest value of each entry ``(n,)``."""
        high: Array = self.vectors.max(axis=0) + self._reach()
        return high + np.maximum(self.spans, 0.0).sum(axis=0) if len(self.spans) else high

    def _reach(self) -> Any:
        """How far the ball reaches from its centre ``(n,)``."""
        return sum((ball.reach(ball.rows) for ball in self._balls()), 0.0)

    def _balls(self) -> list[_Ball]:
        """The rows of each length."""
        owners = self.owners if len(self.owners) else np.zeros(len(self.ball))
        powers = self.exponents if len(self.exponents) else np.full(len(self.ball), 2.0)
        each = (owners == owner for owner in np.unique(owners))
        return [_Ball(self.ball[own], float(powers[own][0])) for own in each]

    @property
    def known(self) -> NDArray[np.bool_]:
        """The entries whose slopes are finite on every branch ``(n,)``."""
        finite = np.isfinite(self.vectors).all(axis=0) & np.isfinite(self.error) & np.isfinite(self._reach())
        known: NDArray[np.bool_] = finite & np.isfinite(self.spans).all(axis=0) if len(self.spans) else finite
        return known

    def smooth(self, slack: Array) -> NDArray[np.bool_]:
        """The entries on which all branches agree ``(n,)``.

        >>> Corners(np.array([[1.0, 0.0], [1.0, 2.0]]), np.zeros(2)).smooth(np.full(2, 1e-9)).tolist()
        [True, False]
        """
        agree: NDArray[np.bool_] = self.high - self.low + 2 * self.error <= slack
        return agree

    def within(self, gradient: Array, slack: Array) -> NDArray[np.bool_]:
        """The entries that lie between their one-sided slopes ``(n,)``.

        >>> Corners(np.array([[1.0], [0.0]]), np.zeros(1)).within(np.array([1 + 1e-9]), np.full(1, 1e-12)).tolist()
        [False]
        """
        tolerance = self.error + slack
        between: NDArray[np.bool_] = (gradient >= self.low - tolerance) & (gradient <= self.high + tolerance)
        return between

    def contains(self, gradient: Array, slack: Array) -> bool:
        """Whether nothing shows that the vector ``(n,)``, as far as slopes are known, is outside by more than slack.

        >>> corners = Corners(np.array([[1.0, 0.0], [0.0, 1.0]]), np.zeros(2))
        >>> slack = np.full(2, 1e-12)
        >>> corners.contains(np.array([0.25, 0.75]), slack), corners.contains(np.array([0.25, 0.75 + 1e-9]), slack)
        (True, False)
        """
        known = self.known
        if not np.all(self.within(gradient, slack)[known]):
            return False
        if self.box or not known.any() or len(self.vectors) + len(self.spans) + len(self.ball) == 1:
            return True
        tolerance = (self.error + slack)[known]
        if len(self.ball):
            balls = [replace(ball, rows=ball.rows[:, known]) for ball in self._balls()]
            return not _is_beyond(gradient[known] - self.vectors[0, known], balls, tolerance)
        return not _is_outside(gradient[known], self.vectors[:, known], _at(self.spans, known), tolerance)


def _at(spans: Array, known: NDArray[np.bool_]) -> Array:
    return spans[:, known] if len(spans) else np.zeros((0, int(known.sum())))


def _is_outside(gradient: Array, vectors: Array, spans: Array, tolerance: Array) -> bool:
    """Whether some direction is found that parts a gradient from the whole set."""
    reach = np.abs(vectors - gradient).max(axis=0) + np.abs(spans).sum(axis=0)
    telling = reach > tolerance  # entries that no mixture of corners brings out of tolerance say nothing
    if telling.sum() < 2:
        return False  # each entry was looked at alone, and there is no more to it
    offset, spans, tolerance = vectors[:, telling] - gradient[telling], spans[:, telling], tolerance[telling]
    if _is_box(offset, spans):
        return False
    # Distance is measured in tolerances, so that the entries count alike; and in sizes, where those differ too much.
    for unit in (np.maximum(tolerance, np.finfo(float).tiny), reach[telling]):
        direction = _away_from(offset / unit, spans / unit) / unit
        if np.isfinite(direction).all() and _separates(direction, offset, spans, tolerance):
            return True
    return False


def _is_beyond(reached: Array, balls: Sequence[_Ball], tolerance: Array) -> bool:
    """Whether some direction is found along which a vector reaches farther than all balls around 0 together do."""
    for way in _ways_out(reached, balls):
        if not way.any() or not np.isfinite(way).all():
            continue
        along = way / np.abs(way).max()
        far, near = float(reached @ along), sum(float(ball.reach(ball.rows @ along)) for ball in balls)
        sizes = np.abs(reached) @ np.abs(along)
        sizes += sum(ball.reach(np.abs(ball.rows) @ np.abs(along)) for ball in balls)
        terms = sum(len(ball.rows) + 2 * ball.exponent for ball in balls)  # rounding of a power grows with its exponent
        rounding = (len(along) + terms + 8) * np.finfo(float).eps * sizes
        if far - near > np.abs(along) @ tolerance * (1 + 1e-9) + rounding:
            return True
    return False


def _ways_out(reached: Array, balls: Sequence[_Ball]) -> Iterator[Array]:
    """Directions that may show a vector to be outside.

    For each ball what is left of the vector where its rows are taken out of it, and the way along which they reach
    where the vector lies in their span: by the entries that this ball alone moves, too. Then, of several balls
    together, the way from the nearest point that a few steps find.
    """
    moved = [np.any(ball.rows != 0, axis=0) for ball in balls]
    for number, ball in enumerate(balls):
        others = [other for i, other in enumerate(moved) if i != number]
        alone = moved[number] & ~np.any(others, axis=0) if others else np.ones(len(reached), dtype=bool)
        own, part = np.where(alone, reached, 0.0), np.where(alone, ball.rows, 0.0)
        weights = np.linalg.lstsq(part.T, own, rcond=None)[0]
        yield own - weights @ part
        yield np.where(alone, np.linalg.lstsq(part, ball.towards(weights), rcond=None)[0], 0.0)
    if len(balls) > 1:
        yield _from_nearest(reached, balls)


def _from_nearest(reached: Array, balls: Sequence[_Ball]) -> Array:
    """The way to a vector from the point of a sum of balls that is nearest to it, by conditional gradients."""
    nearest = np.zeros(len(reached))
    for _ in range(NEAREST_STEPS):
        way = reached - nearest
        farthest = sum((ball.farthest(ball.rows @ way) @ ball.rows for ball in balls), np.zeros(len(way)))
        step = farthest - nearest
        share = float(np.clip(step @ way / max(float(step @ step), TINY), 0.0, 1.0))
        nearest = nearest + share * step
    return reached - nearest


def _is_box(offset: Array, spans: Array) -> bool:
    """Whether every span moves one entry, and every entry is moved by one span at most."""
    moved = spans != 0
    return len(offset) == 1 and bool(np.all(moved.sum(axis=0) <= 1) and np.all(moved.sum(axis=1) <= 1))


def _away_from(offset: Array, spans: Array) -> Array:
    """From the point of the set that is nearest to the origin, to the origin: the direction that parts them best.

    Near the origin that difference has few digits left. What is off along the face on which the point lies would hide
    a small distance behind the face's own extent, so it is taken out again, twice.
    """
    scale = max(float(np.abs(offset).max()), float(np.abs(spans).max(initial=0.0)))
    nearest, face = _nearest(offset / scale, spans / scale)
    size = float(np.abs(nearest).max())
    way: Array = -nearest / size if size else nearest
    for _ in range(2 if len(face) else 0):
        way = way - np.linalg.lstsq(face.T, way, rcond=None)[0] @ face
    return way


def _nearest(offset: Array, spans: Array) -> tuple[Array, Array]:
    """The point of the set nearest to the origin, and directions that span the face on which it lies."""
    if not len(spans) and len(offset) == 2:
        span = offset[1] - offset[0]
        share = float(np.clip(-(span @ offset[0]) / (span @ span), 0.0, 1.0)) if span.any() else 0.0
        return offset[0] + share * span, span[None] if 0.0 < share < 1.0 else span[:0, None]
    if not len(spans):
        weights = _least_distance(offset)
        used = offset[weights > 0]
        return weights @ offset, used[1:] - used[0] if len(used) else spans
    from scipy.optimize import lsq_linear  # costs 0.4 s to import, and few runs meet two kinks at once

    found = lsq_linear(spans.T, -offset[0], bounds=(0.0, 1.0), method="bvls", max_iter=10 * len(spans))
    return offset[0] + found.x @ spans, spans[found.active_mask == 0]


def _least_distance(points: Array) -> Array:
    """Weights of ``points (C, n)`` whose mixture lies along the point of their hull that is nearest to the origin.

    Least distance programming: Lawson and Hanson, Solving Least Squares Problems, chapter 23.
    """
    from scipy.optimize import nnls  # costs 0.4 s to import, and few runs meet two kinks at once

    stacked = np.vstack([points.T, np.ones(len(points))])
    if not np.isfinite(stacked).all():  # in units of a tolerance of 0 nothing is near: nothing is found
        return np.zeros(len(points))
    try:
        weights, _ = nnls(stacked, np.append(np.zeros(points.shape[1]), 1.0), maxiter=30 * len(points))
    except RuntimeError:  # it went in circles: nothing is found
        return np.zeros(len(points))
    return np.asarray(weights)


def shortest_direction(rows: Array) -> tuple[Array, list[int]]:
    """A direction ``(n,)`` of size 1 along which all of ``rows (k, n)`` increase, if floats find one.

    The positions are of the rows that stand against each other; where there is no direction a mixture of them vanishes.

    >>> way, _ = shortest_direction(np.array([[1.0, 0.0], [-0.5, 1.0]]))
    >>> bool(np.all(np.array([[1.0, 0.0], [-0.5, 1.0]]) @ way > 0.1))
    True
    >>> shortest_direction(np.array([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]]))[1]
    [0, 2]
    """
    weights = _least_distance(rows)
    way = weights @ rows
    size = float(np.abs(way).max())
    return way / size if size else way, np.flatnonzero(weights > 0).tolist()


def _separates(direction: Array, offset: Array, spans: Array, tolerance: Array) -> bool:
    """Whether the origin reaches farther along a direction than the set does, whatever rounding and tolerances do.

    A sum of n products, each of which is rounded three times before it is added (the offset once in a double), is
    within ``(n + 4) u`` of the sum of their sizes, whatever the order.
    """
    way = (direction / np.abs(direction).max()).astype(LONG) if direction.any() else direction
    ahead = offset.astype(LONG) @ way + np.maximum(spans.astype(LONG) @ way, 0.0).sum()
    sizes = np.abs(offset) @ np.abs(way) + (np.abs(spans) @ np.abs(way)).sum()
    terms = len(way) + len(spans)
    rounding = sizes * ((terms + 4) * np.finfo(LONG).eps) + 2 * np.finfo(float).eps * np.abs(offset) @ np.abs(way)
    return bool(np.all(-ahead > np.abs(way) @ tolerance * (1 + 1e-9) + rounding))

"""The power of a check, told by what it catches: every single fault of the backward pass, held against the verdicts.

A variant is caught where one row of it would not pass: where its answer is farther from the certified enclosure of the
truth than that row allows. That is asked of the rows that the run proved, first at one point, which most variants do
not survive. What is left is no fault, or a fault that these points do not show. Whether it is one is decided in balls,
with no tolerance at all, at many more points: a variant whose ball is disjoint from the truth's at some point is
another function, proved; one that overlaps with it wherever it is looked at is *equivalent*. Faults that are left then
are planted into the run itself, and then handed in as gradients: the verdicts say whether they are caught.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from flint import arb
from numpy.typing import NDArray

from verify.case.case import Case
from verify.graph.derivative import Derivative, Differentiator
from verify.graph.interpret import Program
from verify.graph.lengths import opened
from verify.graph.taylor import precision
from verify.methods.reverse import Edge, Replacement, Reverse
from verify.numbers.balls import Balls
from verify.places.points import Batch, joined, random_points
from verify.places.search import search_points
from verify.records import CaseResult, KillScore, VariableResult
from verify.truth.reference import Reference
from verify.variants.generate import Variant, variants
from verify.variants.recorded_points import batch_of
from verify.variants.side_by_side import gradients_of

Array = NDArray[Any]

RTOL, ATOL = 1e-3, 1e-5
"""What is held against the verdicts: ``numpy.allclose`` with the tolerances that checks usually come with."""

MOST_WORK = 4e8
"""Numbers that all variants may compute at one point (some two seconds); a seeded sample of them, beyond."""

FRESH_POINTS, FRESH_SEED = 64, 20_011
"""Random points, beside the run's, at which it is decided whether a variant is equivalent; no run draws them."""

MOST_COMPARED = 2**21
"""Numbers that one variant may compute for that: fewer of the run's points are looked at in a large case."""

MARGIN = 1e-6
"""A row that is off by this much more than it may be is caught, whatever the comparison itself rounds off."""


class Faulty:
    """The engine with a fault in it, as a method.

    >>> from verify.case.expression import graph_from_expressions
    >>> engine = Reverse(graph_from_expressions({"x": ()}, {"f": "x**2"}), ["x", "f"])
    >>> faulty = Faulty(engine, {(1, 0): lambda right: -right.sent})
    >>> faulty.differentiate({"x": np.array([3.0])}, {"f": np.ones(1)}).gradients["x"]
    array([-6.])
    """

    def __init__(self, engine: Reverse, replaced: Mapping[Edge, Replacement]) -> None:
        self.engine, self.replaced = engine, replaced

    def differentiate(self, inputs: Mapping[str, Any], upstream: Mapping[str, Any]) -> Derivative:
        """The right values, and the gradients of the faulty pass."""
        graph = self.engine.graph
        values = self.engine.program.run(inputs)
        named = {name: values[graph.position(name)] for name in (*graph.inputs, *graph.stages)}
        return Derivative(named, self.engine.backward(values, upstream, self.replaced))


def as_gradient(case: Case, faulty: Differentiator) -> Callable[..., dict[str, Array]]:
    """A faulty engine as a gradient that is handed in: called point by point, by position, with ``upstream``.

    >>> from verify.case.case import load_case_text
    >>> case = load_case_text("{case: square, inputs: {x: {at: 3}}, stages: {f: x**2}}")
    >>> float(as_gradient(case, Reverse(case.graph, case.variables))(3.0, upstream=1.0)["x"])
    6.0
    """
    names, outputs = tuple(case.graph.inputs), case.graph.outputs

    def gradient(*values: Any, upstream: Any) -> dict[str, Array]:
        inputs = {name: np.asarray(value)[None] for name, value in zip(names, values, strict=True)}
        given = upstream if isinstance(upstream, Mapping) else {outputs[0]: upstream}
        seeds = {name: np.asarray(seed)[None] for name, seed in given.items()}
        return {name: np.array(g[0]) for name, g in faulty.differentiate(inputs, seeds).gradients.items()}

    return gradient


def kill_score(
    case: Case, result: CaseResult, is_caught: Callable[[Differentiator], bool], seed: int = 0
) -> KillScore | None:
    """How many single-fault variants of a case's backward pass the run catches that came to ``result``.

    ``is_caught`` runs the case with a faulty reverse mode and says whether it fails; few variants need that. None
    where no row of the run was proved, so that there is nothing to hold variants against.

    >>> from verify.case.case import load_case
    >>> from verify.case.files import shipped_cases
    >>> from verify.running.runner import run_loaded
    >>> from verify.running.settings import Settings
    >>> case = load_case(shipped_cases() / "notes" / "multiply_add.yaml")
    >>> score = kill_score(case, run_loaded(case, Settings(points=4)), lambda faulty: False)
    >>> score.caught == score.variants - score.equivalent, score.survivors
    (True, ())
    """
    rows = _proved_rows(result)
    if rows is None:
        return None
    batch = batch_of(case, result, rows.points)
    engine = Reverse(case.graph, case.variables)
    values = engine.program.run(batch.inputs)
    made = variants(engine, values)
    tried = _sample(made, case, seed)
    caught = np.zeros(len(tried), dtype=bool)
    for at in (slice(0, 1), slice(1, None)):
        some = np.flatnonzero(~caught)
        if not len(rows.points[at]) or not len(some):
            continue
        inputs, upstream = batch.take(at)
        here = engine.program.run(inputs)
        for which, gradients in gradients_of(engine, here, upstream, [tried[n] for n in some]):
            caught[some[which]] = rows.catch(gradients, at)
    left = np.flatnonzero(~caught).tolist()
    truth = _Truth(case, engine, result, rows, seed)
    faults = [n for n in left if not truth.is_equivalent(tried[n])]
    survivors = [n for n in faults if not is_caught(Faulty(engine, tried[n].replaced))]
    equivalent = set(left) - set(faults)
    return KillScore(
        variants=len(tried),
        made=len(made),
        equivalent=len(equivalent),
        caught=len(tried) - len(equivalent) - len(survivors),
        survivors=tuple(f"{tried[n].kind}: {tried[n].sentence('')}" for n in survivors),
        survive_allclose=_survive_allclose(
            case, engine, result, [v for n, v in enumerate(tried) if n not in equivalent]
        ),
    )


def _sample(made: Sequence[Variant], case: Case, seed: int) -> list[Variant]:
    most = int(MOST_WORK / max(sum(math.prod(node.shape) for node in case.graph.nodes), 1))
    if len(made) <= most:
        return list(made)
    chosen = np.random.default_rng([seed, len(made)]).choice(len(made), max(most, 1), replace=False)
    return [made[n] for n in sorted(chosen.tolist())]


# ------------------------------------------------------------------------------------------------ what the run proved


@dataclass(frozen=True, slots=True)
class _ProvedRows:
    """The proved rows of all gradients at P points; what was not proved allows anything."""

    points: Array
    """Their ids ``(P,)``."""
    reference: Mapping[str, Array]
    """Variable -> the middle of the truth's enclosure ``(P, n)``, 0 where nothing was proved."""
    room: Mapping[str, Array]
    """Variable -> how far an answer may be from it ``(P, n)``, inf where nothing was proved."""
    radius: Mapping[str, Array]
    """Variable -> how far the truth may be from it ``(P, n)``, inf where nothing was proved."""

    def catch(self, gradients: Mapping[str, Array], at: slice) -> Array:
        """Which variants ``(V,)`` have a row that does not pass; ``gradients`` are ``(V, P, *shape)``."""
        found = None
        for name, reference in self.reference.items():
            answers = gradients[name].reshape(len(gradients[name]), -1, reference.shape[1])
            room = self.room[name][at]
            with np.errstate(all="ignore"):
                off = ~(np.abs(answers - reference[at]) <= room) & np.isfinite(room)
            wrong = off.any(axis=(1, 2))
            found = wrong if found is None else found | wrong
        assert found is not None
        return np.asarray(found)


def _proved_rows(result: CaseResult) -> _ProvedRows | None:
    """The rows that were held against the truth, and passed; at kinks there are none."""
    gradients = [v for v in result.variables if v.quantity == "gradient"]
    known = {v.name: _is_proved(v) for v in gradients}
    ids = sorted({int(i) for v in gradients for i in v.rows.point[known[v.name]]})
    if not ids:
        return None
    place = {i: number for number, i in enumerate(ids)}
    columns: dict[str, dict[str, Array]] = {"reference": {}, "room": {}, "radius": {}}
    for v in gradients:
        rows, some = v.rows, np.flatnonzero(known[v.name])
        shape = (len(ids), max(math.prod(v.shape), 1))
        at = np.array([place[int(i)] for i in rows.point[some]], dtype=np.int64), rows.entry[some]
        reference, radius, allowed = (np.asarray(x)[some] for x in (rows.reference, rows.radius, rows.allowed))
        for column, missing, found in (
            ("reference", 0.0, reference),
            ("radius", np.inf, radius),
            ("room", np.inf, (allowed + radius) * (1 + MARGIN)),
        ):
            columns[column][v.name] = np.full(shape, missing)
            columns[column][v.name][at] = found
    return _ProvedRows(np.array(ids, dtype=np.int64), columns["reference"], columns["room"], columns["radius"])


def _is_proved(variable: VariableResult) -> Array:
    rows = variable.rows
    reference, radius, allowed = (np.asarray(x) for x in (rows.reference, rows.radius, rows.allowed))
    return np.asarray(np.isfinite(reference) & np.isfinite(radius) & np.isfinite(allowed) & (rows.verdict == 0))


# ---------------------------------------------------------------------------------------------- what is no fault at all


class _Truth:
    """Whether a variant is another function than the gradient, decided in balls."""

    def __init__(self, case: Case, engine: Reverse, result: CaseResult, rows: _ProvedRows, seed: int) -> None:
        self.case, self.engine, self.rows = case, engine, rows
        self.reference = Reference(case.graph, case.variables, None)
        self.proved = len(rows.points)
        self.batch = _in_float64(joined(self._points(case, result, rows, seed)))
        self._values: Any = None
        self._right: dict[str, Balls] = {}

    @staticmethod
    def _points(case: Case, result: CaseResult, rows: _ProvedRows, seed: int) -> list[Batch]:
        """The proved points of the run, then its others, fresh ones, and both sides of every branch."""
        numbers = sum(math.prod(node.shape) for node in case.graph.nodes)
        proved = set(rows.points.tolist())
        others = [point.id for point in result.points if point.id not in proved and point.origin != "kink"]
        ids = np.array(others[: MOST_COMPARED // numbers], dtype=np.int64)
        found = [
            batch_of(case, result, rows.points),
            batch_of(case, result, ids),
            random_points(case, FRESH_SEED + seed, block=0, count=FRESH_POINTS, first_id=0),
        ]
        sides = search_points(case, Program(opened(case.graph, known=case.known)), FRESH_SEED + seed, 0)
        return found + ([sides] if sides is not None else [])

    def is_equivalent(self, variant: Variant) -> bool:
        """Whether the balls of a variant and of the truth overlap wherever they are looked at."""
        found = self._gradients(variant.replaced)
        if not self._right:
            self._right = self._gradients(None)
        for name, ball in found.items():
            value, radius = (x.reshape(len(self.batch), -1) for x in (ball.value, ball.radius))
            if not np.isfinite(radius).any():
                return False  # nothing is known of it: the run decides
            if self._leaves_proved(name, value, radius) or self._leaves_truth(name, value, radius):
                return False
        return True

    def _leaves_proved(self, name: str, value: Array, radius: Array) -> bool:
        """Whether a row that the run proved excludes the ball."""
        if name not in self.rows.reference:
            return False
        here = slice(0, self.proved)
        with np.errstate(all="ignore"):
            apart = np.abs(value[here] - self.rows.reference[name]) > (radius[here] + self.rows.radius[name]) * 1.001
        return bool(apart.any())

    def _leaves_truth(self, name: str, value: Array, radius: Array) -> bool:
        """Whether the reference excludes the ball at a point where the right pass is apart from it."""
        right = self._right[name]
        middle, room = (x.reshape(len(self.batch), -1) for x in (right.value, right.radius))
        with np.errstate(all="ignore"):
            ratio = np.abs(value - middle) / (radius + room)
        places = np.argwhere(ratio > 1)
        for p, entry in sorted(places.tolist(), key=lambda place: -ratio[place[0], place[1]])[:3]:
            index = tuple(int(i) for i in np.unravel_index(entry, self.case.graph.shape(name)))
            truth = self.reference.enclose(*self.batch.take(slice(p, p + 1)), taylor_only=True).gradient(name, index)
            if truth.ball is None or truth.reason:
                continue
            with precision(truth.bits + 64):
                if not truth.ball.overlaps(arb(float(value[p, entry]), float(radius[p, entry]))):
                    return True
        return False

    def _gradients(self, replaced: Mapping[Edge, Replacement] | None) -> dict[str, Balls]:
        """A backward pass in balls at all points."""
        inputs, upstream = self.batch.take(slice(None))
        if self._values is None:
            self._values = self.engine.program.in_balls(inputs)
        return self.engine.in_balls(self._values, upstream, replaced)


def _in_float64(batch: Batch) -> Batch:
    """The same points in double precision: a variant is a function, whatever it is computed in."""
    inputs = {name: np.asarray(x, dtype=np.float64) for name, x in batch.inputs.items()}
    upstream = {name: np.asarray(x, dtype=np.float64) for name, x in batch.upstream.items()}
    return Batch(inputs, upstream, batch.ids, batch.origins)


# ------------------------------------------------------------------------------------------------- for comparison


def _survive_allclose(case: Case, engine: Reverse, result: CaseResult, faults: Sequence[Variant]) -> int:
    """How many faults ``numpy.allclose`` lets pass in every variable at the case's own points."""
    batch = batch_of(case, result, np.array([point.id for point in result.points if point.own], dtype=np.int64))
    if not faults or not len(batch):
        return 0
    values = engine.program.run(batch.inputs)
    right = engine.backward(values, batch.upstream)
    survived = 0
    for _, gradients in gradients_of(engine, values, batch.upstream, faults):
        passes = np.ones(len(next(iter(gradients.values()))), dtype=bool)
        for name, found in gradients.items():
            with np.errstate(all="ignore"):
                close = np.isclose(found, right[name], rtol=RTOL, atol=ATOL)
            passes &= close.reshape(len(close), -1).all(axis=1)
        survived += int(np.count_nonzero(passes))
    return survived

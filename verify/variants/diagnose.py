"""From a gradient that was found wrong to sentences that say what is wrong with it.

First what needs no graph (twice the right one, transposed, another variable's), then which single fault of the
backward pass gives the very same numbers: best one that explains all that was answered together, what is wrong and
what is right. Where only some points are wrong, that is said too. All by numbers, at several points.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from verify.case.case import Case
from verify.graph.graph import Graph
from verify.graph.taylor import Taylor, precision
from verify.judging.underflow import underflow
from verify.methods.reverse import Reverse
from verify.places.points import Batch
from verify.records import SUBJECT, CaseResult, Rows, VariableResult, format_entry, unravel
from verify.truth.reference import point_balls
from verify.variants.generate import FaultKind, Variant, variants
from verify.variants.match import Answer, Nature, Relation, close, relations
from verify.variants.other_functions import of_other_functions
from verify.variants.recorded_points import batch_of
from verify.variants.side_by_side import gradients_of
from verify.words import VERDICTS, Rule, Verdict

Array = NDArray[Any]

WRONG_POINTS, RIGHT_POINTS = 12, 6
"""Points that variants are held against: so many at which something is wrong, and so many others."""

MOST_WORK = 2e8
"""Numbers that all variants together may compute (about a second); beyond, the simplest kinds alone are tried."""

RANGE_BITS = 64
"""Precision at which it is asked whether floats left their range."""

TELLING = [VERDICTS.index(verdict) for verdict in (Verdict.PASS, Verdict.FAIL, Verdict.IMPRECISE)]
"""Verdicts of rows that have one truth; kinks and what is undecided say nothing about a fault."""


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """What is wrong with an answer, in words."""

    sentences: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Variable that is wrong -> what is wrong with it, the simplest first."""
    tried: int = 0
    """How many variants were tried."""


def diagnose(case: Case, batch: Batch, answers: Mapping[str, Array], wrong: Mapping[str, Array]) -> Diagnosis:
    r"""What is wrong with gradients that somebody answered at the points of a batch.

    ``answers`` maps variables to gradients ``(P, *shape)``, ``wrong`` to bool arrays of the same shapes that mark the
    entries that do not pass. What is right counts as well: a fault that explains one answer must not spoil another.

    >>> from verify.places.points import random_points
    >>> from verify.case.case import load_case_text
    >>> case = load_case_text("case: c\ninputs: {x: {at: 3}, y: {at: 2}}\nstages: {f: x * exp(x) + y**2}\n")
    >>> batch = random_points(case, seed=0, block=0, count=8, first_id=0)
    >>> answers = {"x": np.exp(batch.inputs["x"]), "y": 2 * batch.inputs["y"]}
    >>> wrong = {"x": np.full(8, True), "y": np.full(8, False)}
    >>> diagnose(case, batch, answers, wrong).sentences["x"][0][:62]
    'your dx equals the right one without the path through `exp(x)`'
    """
    engine = Reverse(case.graph, case.variables)
    chosen = _chosen(wrong)
    inputs, upstream = batch.take(chosen)
    values = engine.program.run(inputs)
    right = engine.backward(values, upstream)
    ones = {name: np.ones_like(seed) for name, seed in upstream.items()}
    unscaled = engine.backward(values, ones) if any(np.any(seed != 1) for seed in upstream.values()) else {}
    dtype = "float32" if any(item.dtype == "float32" for item in case.inputs) else "float64"
    known = {
        name: Answer(name, np.asarray(answers[name][chosen], dtype=np.float64), right[name], wrong[name][chosen], dtype)
        for name in answers
    }
    broken = [name for name in known if known[name].bad.any() and np.isfinite(known[name].given).any()]
    found = _variants(engine, values, len(chosen))
    fits = _fits(engine, values, upstream, found, known)
    sizes, sentences = _sizes(case.graph), {}
    forward = {name: values[case.graph.position(name)] for name in (*case.graph.inputs, *case.graph.stages)}
    for name in broken:
        marks = wrong[name]
        others = {item.name: right[item.name] for item in case.real_inputs if item.name != name}
        simple = relations(known[name], others, unscaled.get(name), sizes, forward)
        region = _region(case, batch, np.asarray(marks.reshape(len(marks), -1).any(axis=1)))
        if not simple or simple[0].gives is None:
            lost = _without_an_output(engine, values, upstream, known[name])
            simple = [*islice((*lost, *of_other_functions(case.graph, inputs, upstream, known[name])), 1), *simple]
        sentences[name] = [
            *_range_left(case.graph, values, inputs, known[name]),
            *_told(known[name], simple, fits, found, region),
        ]
    first, sentence = _first_wrong(case.graph, known)
    if sentence and first in sentences:
        sentences[first] = [sentence, *sentences[first]]
    return Diagnosis({name: tuple(lines) for name, lines in sentences.items()}, len(found))


def diagnosed(case: Case, result: CaseResult) -> CaseResult:
    r"""The record of a gradient that was judged, with what is wrong with it in words; the same where nothing is.

    >>> from verify.oracle.check import check_gradient
    >>> from verify.case.case import load_case_text
    >>> case = load_case_text("case: square\ninputs: {x: {at: 3}}\nstages: {f: x**2}\n")
    >>> run = check_gradient(lambda x: x, case)
    >>> diagnosed(case, run.cases[0]).variables[0].diagnosis[0]
    'your dx is 1/2 x the right one'
    """
    columns = {v.name: v for v in result.variables if v.quantity == "gradient" and SUBJECT in v.rows.values}
    if result.problems or not any(_fails(v) for v in columns.values()):
        return result
    if not set(columns) <= set(case.variables):
        return result  # a large case, of which a sample was looked at
    usable = _usable(result, columns.values())
    if not len(usable):
        return result
    batch = batch_of(case, result, usable)
    answers, wrong = {}, {}
    for name, variable in columns.items():
        answers[name], wrong[name] = _answer(variable, usable)
    if not any(marks.any() for marks in wrong.values()):
        return result
    found = diagnose(case, batch, answers, wrong)
    told = [
        replace(v, diagnosis=found.sentences.get(v.name, ())) if v.quantity == "gradient" else v
        for v in result.variables
    ]
    return replace(result, variables=tuple(told))


# ------------------------------------------------------------------------------------------------ what was answered


def _fails(variable: VariableResult) -> bool:
    return any(variable.counts.get(verdict, 0) for verdict in (Verdict.FAIL, Verdict.IMPRECISE)) and variable.failed > 0


def _usable(result: CaseResult, columns: Any) -> Array:
    """Ids of the points at which every row was kept and has one truth."""
    ids = [point.id for point in result.points if point.origin != "kink"]
    for variable in columns:
        rows, entries = variable.rows, math.prod(variable.shape)
        whole, count = np.unique(rows.point[_tells(rows)], return_counts=True)
        ids = [i for i in ids if i in set(whole[count == entries].tolist())]
    # A point that is looked at twice is one point.
    values = {point.id: tuple(np.asarray(x).tobytes() for x in point.values.values()) for point in result.points}
    return np.array(list({values[i]: i for i in reversed(ids)}.values())[::-1], dtype=np.int64)


def _tells(rows: Rows) -> Array:
    """Which rows have one truth ``(R,)``: not those at kinks, nor those of which nothing is known."""
    late = rows.texts.index(Rule.NO_TIME) if Rule.NO_TIME in rows.texts else -1
    return np.asarray(np.isin(rows.verdict, TELLING) | (rows.rule == late))


def _answer(variable: VariableResult, usable: Array) -> tuple[Array, Array]:
    """What was answered for one variable at some points, and which entries do not pass ``(P, *shape)``."""
    rows, entries = variable.rows, max(math.prod(variable.shape), 1)
    given = np.full((len(usable), entries), np.nan)
    wrong = np.zeros(given.shape, dtype=bool)
    place = {int(point): number for number, point in enumerate(usable)}
    mine = np.flatnonzero(np.isin(rows.point, usable))
    at = np.array([place[int(point)] for point in rows.point[mine]], dtype=np.int64)
    given[at, rows.entry[mine]] = rows.values[SUBJECT][mine]
    wrong[at, rows.entry[mine]] = ~rows.passes[mine] | (rows.verdict[mine] == VERDICTS.index(Verdict.UNDECIDED))
    wrong &= np.isfinite(given)  # where there is no number there is nothing to find a rule in
    shape = (len(usable), *variable.shape)
    return given.reshape(shape), wrong.reshape(shape)


def _chosen(wrong: Mapping[str, Array]) -> Array:
    """The points that are looked at: some of those at which each variable is wrong, and some others."""
    bad = {name: marks.reshape(len(marks), -1).any(axis=1) for name, marks in wrong.items()}
    chosen: set[int] = set()
    for marks in bad.values():
        chosen.update(np.flatnonzero(marks)[:WRONG_POINTS].tolist())
    anywhere = np.any(list(bad.values()), axis=0)
    chosen.update(np.flatnonzero(~anywhere)[:RIGHT_POINTS].tolist())
    return np.array(sorted(chosen), dtype=np.int64)


# ------------------------------------------------------------------------------------------------ which fault it is


def _variants(engine: Reverse, values: Any, points: int) -> list[Variant]:
    found = variants(engine, values)
    numbers = sum(math.prod(node.shape) for node in engine.graph.nodes)
    most = int(MOST_WORK / max(numbers * points, 1))
    return found[: max(most, 1)]


@dataclass(frozen=True, slots=True)
class _Fits:
    """For each variable that is wrong the numbers of the variants that give it, and those that give the rest too."""

    alone: Mapping[str, Sequence[int]]
    together: Sequence[int]
    elsewhere: Mapping[str, frozenset[int]]
    """Variants that give the variable's answer at the points at which it is right, too."""


def _fits(
    engine: Reverse, values: Any, upstream: Mapping[str, Any], found: Sequence[Variant], known: Mapping[str, Answer]
) -> _Fits:
    broken = [name for name in known if known[name].bad.any()]
    alone: dict[str, list[int]] = {name: [] for name in broken}
    elsewhere: dict[str, set[int]] = {name: set() for name in broken}
    together: list[int] = []
    for which, gradients in gradients_of(engine, values, upstream, found):
        explains = {name: _explains(known[name], gradients[name]) for name in known}
        for place, number in enumerate(range(which.start, which.stop)):
            for name in broken:
                if explains[name][place] and known[name].is_(gradients[name][place]):
                    alone[name].append(number)
                    if known[name].is_right_elsewhere(gradients[name][place]):
                        elsewhere[name].add(number)
            if all(number in elsewhere[name] if name in broken else explains[name][place] for name in known):
                together.append(number)
    return _Fits(alone, together, {name: frozenset(numbers) for name, numbers in elsewhere.items()})


def _explains(answer: Answer, gradients: Array) -> Array:
    """Which of the variants ``(V, P, *shape)`` give what was answered: where it is wrong, or all if right."""
    at = answer.bad if answer.bad.any() else ~answer.bad
    other = answer.given if answer.bad.any() else answer.right
    pairs = gradients[:, at]
    flat = pairs.reshape(-1, *pairs.shape[2:])
    given, right = (np.tile(x[at], (len(pairs), *(1,) * (x.ndim - 1))) for x in (other, answer.right))
    same = close(flat, given, right, answer.dtype)
    return np.asarray(same.reshape(len(pairs), -1).all(axis=1))


def _without_an_output(
    engine: Reverse, values: Any, upstream: Mapping[str, Array], answer: Answer
) -> Iterator[Relation]:
    """Of several outputs, one whose upstream gradient was left out."""
    for name in upstream if len(upstream) > 1 and not answer.is_single else ():
        gives = engine.backward(values, {**upstream, name: np.zeros_like(upstream[name])})[answer.name]
        if answer.is_(gives):
            yield Relation(Nature.PART, f"is the right one without the upstream gradient d{name}", gives)


def _told(
    answer: Answer, simple: Sequence[Relation], fits: _Fits, found: Sequence[Variant], region: _Region
) -> list[str]:
    """The sentences about one variable."""
    name, where = answer.name, region.sentence
    mine, whole = [] if answer.is_single else list(fits.alone[name]), fits.elsewhere[name]
    best = [n for n in fits.together if n in mine] or [n for n in mine if n in whole] or mine
    # Of faults that give the same numbers, the one nearest to the variable is told: where somebody would look first.
    best.sort(key=lambda n: (found[n].rank[0], found[n].target_text != name, found[n].rank[1], found[n].target))
    told = list(dict.fromkeys(found[n].sentence(name) for n in best))
    if told and found[best[0]].kind.rank < FaultKind.WRONG_VALUE.rank:
        simple = [known for known in simple if not known.may_be_chance]
    lines = []
    if simple:
        lines.append(f"your d{name} {simple[0].sentence}")
    is_multiple = bool(simple) and bool(simple[0].factor)
    is_said = is_multiple and all(found[n].kind in (FaultKind.FACTOR, FaultKind.SIGN) for n in best[:1])
    if told and not is_said:
        # Where entries are lost is less than why.
        explains = bool(simple) and simple[0].gives is None and found[best[0]].kind is FaultKind.ACCUMULATION
        lines.insert(0 if explains else len(lines), f"your d{name} {told[0]}")
    if not lines:
        if answer.is_single:
            return [f"your d{name} is wrong in one number only, from which no rule can be told{where}"]
        count = f"{len(found):,} single-fault variants"
        return [f"your d{name} is none of {count} of the backward pass, and no simple relation to the right one{where}"]
    if simple:
        gives = simple[0].gives
        is_everywhere = gives is not None and answer.is_right_elsewhere(gives)
    else:
        is_everywhere = best[0] in whole
    is_digits = bool(simple) and simple[0].nature is Nature.DIGITS
    if not is_everywhere and (region.apart or not is_digits):
        lines[0] += where
    others = len(told) - 1
    if others > 0 and not is_said:  # a line of its own: the first one is the cause
        lines.append(f"{others} other single {'fault gives' if others == 1 else 'faults give'} the same numbers")
    if int(np.count_nonzero(answer.bad)) == 1:
        lines.append("seen at one point only")
    return lines


def _range_left(graph: Graph, values: Any, inputs: Mapping[str, Array], answer: Answer) -> list[str]:
    """That floats leave their range at every point at which an answer is wrong, and lost there or right beside."""
    tiny = float(np.finfo(answer.dtype).tiny)
    given = answer.given[answer.bad]
    taylor = Taylor(graph)
    points = answer.bad.reshape(len(answer.bad), -1).any(axis=1)
    is_told_by_others = points.all() and np.any(np.isfinite(given) & (np.abs(given) >= tiny))
    if is_told_by_others:
        return []
    found = []
    with precision(RANGE_BITS):
        for p in np.flatnonzero(points).tolist():
            enclosed = taylor.values({name: point_balls(x[p : p + 1]) for name, x in inputs.items()})
            floats = [x if len(x) == 1 else x[p : p + 1] for x in values]
            found.append(underflow(graph, floats, enclosed))
    return [f"floats leave their range wherever your d{answer.name} is wrong: {found[0]}"] if all(found) else []


@dataclass(frozen=True, slots=True)
class _Region:
    """Where an answer is wrong that is right elsewhere."""

    wrong: int
    """Points at which it is wrong, ..."""
    points: int
    """... of so many."""
    apart: str = ""
    """What sets them apart from the others; empty where nothing does."""

    @property
    def sentence(self) -> str:
        """In words; empty where it is wrong everywhere."""
        if self.wrong == self.points:
            return ""
        text = f"; it is wrong at {self.wrong:,} of {self.points:,} points"
        return f"{text}, all with {self.apart}" if self.apart else text


def _region(case: Case, batch: Batch, bad: Array) -> _Region:
    """Where an answer is wrong, by the points ``(P,)`` at which it is."""
    region = _Region(int(bad.sum()), len(bad))
    if bad.all():
        return region
    for item in case.real_inputs:
        columns = np.asarray(batch.inputs[item.name]).reshape(len(bad), -1)
        for number in range(columns.shape[1]):
            label = item.name + format_entry(unravel(number, item.shape))
            for shown, x in ((label, columns[:, number]), (f"|{label}|", np.abs(columns[:, number]))):
                if x[bad].min() > x[~bad].max():
                    return replace(region, apart=f"{shown} above {x[~bad].max():.4g}")
                if x[bad].max() < x[~bad].min():
                    return replace(region, apart=f"{shown} below {x[~bad].min():.4g}")
    return region


def _sizes(graph: Graph) -> dict[int, str]:
    """What a number may be the length of."""
    found: dict[int, str] = {}
    averaged = {n.args[0] for n in graph.nodes if n.kind == "op" and n.op in ("sum", "mean") and not n.shape}
    for name in (*graph.inputs, *graph.stages):
        shape = graph.shape(name)
        for axis, size in enumerate(shape):
            length = "the length" if len(shape) == 1 else f"the length of axis {axis}"
            found.setdefault(size, f"{length} of `{name}`")
        if len(shape) > 1 and graph.position(name) in averaged:
            found.setdefault(math.prod(shape), f"the number of entries of `{name}`")
    return found


def _first_wrong(graph: Graph, known: Mapping[str, Answer]) -> tuple[str, str]:
    """The first wrong variable in backward order, and what comes before it; no sentence where no stage was answered."""
    order = sorted(known, key=lambda name: -graph.position(name))
    wrong = [name for name in order if known[name].bad.any()]
    if not wrong or not any(name in graph.stages for name in known):
        return "", ""
    first = wrong[0]
    before = [name for name in order[: order.index(first)] if name in graph.stages]
    noun = "stage" if first in graph.stages else "gradient"
    text = f"d{first} is the first wrong {noun} in backward order"
    if not before:
        return first, text
    names = ", ".join(f"d{name}" for name in before)
    return first, f"{text}; what comes before it, {names}, {'is' if len(before) == 1 else 'are'} right"

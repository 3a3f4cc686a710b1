"""What a wrong gradient is, in numbers: a multiple of the right one, its transpose, another variable's, a variant's.

Everything here compares numbers at several points. An answer *is* something where it agrees with it far closer than a
coincidence would, at every point where it is wrong; and what it is held against must differ from the right gradient
by far more than that at several of them, or agreeing with it would explain nothing.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from fractions import Fraction
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from verify.records import format_entry

Array = NDArray[Any]

CLOSE = {"float64": 1e-9, "float32": 1e-4}
"""How close an answer comes to what it is, relative to it: rounding leaves it closer, coincidences do not."""

NOISE = {"float64": 1e-13, "float32": 1e-6}
"""The same, relative to the largest entry at any point: what is left in tails, and where terms cancel."""

NEARLY = {"float64": 1e-5, "float32": 1e-3}
"""Relative errors below this are lost digits, if they follow no rule."""

LARGEST_TERM = 12
"""Largest numerator or denominator of a factor that is written as a fraction; any other is a decimal number."""

CONSTANTS = {
    "ln 10; is a logarithm or a power taken to base 10?": math.log(10),
    "ln 2; is a logarithm or a power taken to base 2?": math.log(2),
    "pi": math.pi,
    "2 pi": 2 * math.pi,
    "pi / 180; are degrees taken for radians?": math.pi / 180,
    "the root of 2": math.sqrt(2),
    "the root of pi": math.sqrt(math.pi),
    "the root of 2 pi": math.sqrt(2 * math.pi),
}
"""Factors that mean something, with the means to tell them."""

TELLING = 2
"""Points at which an answer must be clearly something else than the right gradient, if it is wrong at as many."""

MOST_AXES = 4
"""Axes up to which permutations are tried."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What somebody answered for one variable at P points, and what is right."""

    name: str
    given: Array
    """``(P, *shape)``, in units of the output by the variable's, as all of these."""
    right: Array
    wrong: Array
    """``(P, *shape)`` bool: the entries that do not pass."""
    dtype: str = "float64"

    @property
    def is_single(self) -> bool:
        """Whether all that is wrong is one number: anything can be had from that by some factor."""
        return int(np.count_nonzero(self.wrong)) == 1

    @property
    def bad(self) -> Array:
        """The points ``(P,)`` at which some entry is wrong."""
        return np.asarray(self.wrong.any(axis=tuple(range(1, self.wrong.ndim))))

    def is_(self, other: Any) -> bool:
        """Whether the answer is something else wherever it is wrong, and the right gradient is not."""
        other = np.broadcast_to(other, self.given.shape)[self.bad]
        given, right = self.given[self.bad], self.right[self.bad]
        if not close(given, other, right, self.dtype).all():
            return False
        differs = ~close(other, right, right, self.dtype, NEARLY[self.dtype] / CLOSE[self.dtype])
        clearly = np.count_nonzero(differs.any(axis=tuple(range(1, differs.ndim))))
        return bool(clearly >= min(TELLING, len(differs)))

    def is_right_elsewhere(self, other: Any) -> bool:
        """Whether something else is right where the answer is."""
        good = ~self.bad
        other = np.broadcast_to(other, self.given.shape)[good]
        return bool(close(other, self.right[good], self.right, self.dtype).all())


class Nature(Enum):
    """Of what kind a relation is."""

    CONSTANT = "the right gradient times a number, or with one added"
    MOVED = "its entries in other places"
    UNSCALED = "without its upstream gradient"
    OTHER_VARIABLE = "another variable's"
    VALUE = "the right gradient times an input or a stage, or divided by it"
    PART = "wrong in some entries only"
    ANOTHER_FUNCTION = "the right gradient of a function with another constant or stride"
    DIGITS = "right but for its last digits"


class Relation(NamedTuple):
    """What a wrong answer is to the right gradient."""

    nature: Nature
    sentence: str
    """Behind "your dx"."""
    gives: Array | None = None
    """What it gives at all points ``(P, *shape)``; None where it is about some entries or digits alone."""
    factor: float | None = None
    """What the right one is to be multiplied by, where it is that."""
    is_plain: bool = True
    """Whether one number would be enough to tell it: a sign, 0, or a factor of small whole numbers."""

    @property
    def may_be_chance(self) -> bool:
        """Whether a fault of the backward pass that gives the same numbers is the likelier cause."""
        return self.nature in (Nature.OTHER_VARIABLE, Nature.VALUE)


def close(a: Array, b: Array, right: Array, dtype: str = "float64", factor: float = 1.0) -> Array:
    """Entrywise: whether two arrays ``(P, ...)`` hold the same numbers, given their rounding; NaN and NaN are the same.

    >>> one = np.ones((1, 1))
    >>> bool(close(one, one + 1e-12, one).all()), bool(close(one, one + 1e-6, one).all())
    (True, False)
    """
    with np.errstate(all="ignore"):
        size = np.maximum(np.abs(a), np.abs(b))
        room = CLOSE[dtype] * size + NOISE[dtype] * np.max(np.abs(right), initial=0.0, where=np.isfinite(right))
        same: Array = (np.abs(a - b) <= factor * room) | (a == b) | (np.isnan(a) & np.isnan(b))
    return same


def relations(
    answer: Answer,
    others: Mapping[str, Array],
    unscaled: Array | None,
    sizes: Mapping[int, str],
    values: Mapping[str, Array] = MappingProxyType({}),
) -> list[Relation]:
    """What a wrong answer is to the right gradient without any look at the graph, in sentences behind "your dx".

    ``others`` are the right gradients of the other variables, ``unscaled`` the right one with an upstream gradient of
    ones, where that is not the same, ``sizes`` says what numbers are the length of, and ``values`` are those of inputs
    and stages. Empty where it is nothing.

    >>> right = np.array([1.0, 2.0, -3.0])
    >>> [found.sentence for found in relations(Answer("x", 2 * right, right, right != 0), {}, None, {})]
    ['is 2 x the right one']
    """
    if not answer.bad.any():
        return []
    if answer.is_single:
        return [known for known in _multiples(answer, sizes) if known.is_plain]
    found = [*_multiples(answer, sizes), *_moved(answer)]
    if unscaled is not None and answer.is_(unscaled):
        found.append(Relation(Nature.UNSCALED, "misses the upstream gradient: it is right for one of ones", unscaled))
    for name, right in others.items():
        if right.shape == answer.given.shape and answer.is_(right):
            found.append(Relation(Nature.OTHER_VARIABLE, f"is the right d{name}: are the two swapped?", right))
    found += _by_a_value(answer, values) if not found else []
    return found or [*_in_part(answer, sizes), *_nearly(answer)]


def _by_a_value(answer: Answer, values: Mapping[str, Array]) -> Iterator[Relation]:
    """An input or a stage times the right gradient, or the right one divided by it."""
    shape = answer.given.shape
    for name, known in values.items():
        value = known.reshape(-1, *(1,) * (len(shape) - 1)) if known.ndim == 1 else known
        if len(value) != shape[0] or value.shape[1:] not in (shape[1:], (1,) * (len(shape) - 1)):
            continue
        with np.errstate(all="ignore"):
            if answer.is_(answer.right * value):
                yield Relation(Nature.VALUE, f"is `{name}` x the right one", answer.right * value)
            if answer.is_(answer.right / value):
                yield Relation(Nature.VALUE, f"is the right one divided by `{name}`", answer.right / value)


def _multiples(answer: Answer, sizes: Mapping[int, str]) -> Iterator[Relation]:
    """A constant times the right gradient, or the right one and a constant."""
    factor = ratio(answer.given[answer.bad], answer.right[answer.bad], answer.dtype)
    if factor is not None:
        fraction = Fraction(factor).limit_denominator(LARGEST_TERM)
        is_plain = abs(fraction.numerator) <= LARGEST_TERM and abs(float(fraction) - factor) <= CLOSE[answer.dtype]
        yield Relation(Nature.CONSTANT, _times(factor, sizes), factor * answer.right, factor, is_plain)
        return
    given, right = answer.given[answer.bad], answer.right[answer.bad]
    with np.errstate(all="ignore"):
        difference = given - right
        middle = float(np.median(difference))
        room = 1e-6 * abs(middle) + NOISE[answer.dtype] * np.abs(right)
        is_more_than_noise = abs(middle) > 1e3 * NOISE[answer.dtype] * float(np.max(np.abs(right), initial=0.0))
        if is_more_than_noise and difference.size > 1 and np.all(np.abs(difference - middle) <= room):
            sign = "plus" if middle > 0 else "minus"
            yield Relation(Nature.CONSTANT, f"is the right one {sign} {abs(middle):.6g}", answer.right + middle)


def ratio(given: Array, right: Array, dtype: str = "float64") -> float | None:
    """The constant that one array is of another, None where there is none.

    >>> ratio(np.array([2.0, 4.0, 0.0]), np.array([1.0, 2.0, 0.0])), ratio(np.array([2.0, 5.0]), np.array([1.0, 2.0]))
    (2.0, None)
    """
    if not np.all(np.isfinite(given)) or not np.all(np.isfinite(right)) or not np.any(right):
        return None
    known = np.abs(right) > 2.0**-1000
    if not np.any(known):
        return None
    with np.errstate(all="ignore"):
        factors = given[known] / right[known]
    factor = float(np.median(factors))
    spread = np.abs(factors - factor)
    # A factor near 1 is told from 1 by its distance, so that is what it must be the same for.
    room = min(CLOSE[dtype] * abs(factor), 1e-3 * abs(factor - 1)) + np.finfo(dtype).eps * 8
    if not np.all(spread <= room) or abs(factor - 1) <= np.finfo(dtype).eps * 64:
        return None
    return factor if np.all(np.abs(given[~known]) <= 2.0**-1000 * max(abs(factor), 1.0)) else None


def _times(factor: float, sizes: Mapping[int, str]) -> str:
    if factor == 0:
        return "is zero"
    if abs(factor - 1) < 1e-3:
        return f"is (1 {'+' if factor > 1 else '-'} {abs(factor - 1):.3g}) x the right one"
    if abs(factor + 1) < CLOSE["float64"]:
        return "has the wrong sign: it is -1 x the right one"
    fraction = Fraction(factor).limit_denominator(max(LARGEST_TERM, *sizes, 1))
    parts = abs(fraction.numerator), fraction.denominator
    is_plain = max(parts) <= LARGEST_TERM or (1 in parts and max(parts) in sizes)
    if fraction == 0 or not is_plain or abs(float(fraction) / factor - 1) > CLOSE["float64"]:
        return f"is {factor:.6g} x the right one{_meaning(abs(factor))}"
    length = max(parts) if 1 in parts and max(parts) > 2 else 0
    return f"is {fraction} x the right one" + (f"; {length} is {sizes[length]}" if length in sizes else "")


def _meaning(factor: float) -> str:
    """What a factor is, where it is a constant that such faults are made of, or one over it; empty where it is none."""
    for text, constant in CONSTANTS.items():
        for shown, value in ((text, constant), (f"one over {text}", 1 / constant)):
            if abs(factor / value - 1) <= CLOSE["float64"]:
                return f", which is {shown}"
    return ""


def _moved(answer: Answer) -> Iterator[Relation]:
    """The right gradient with its entries in other places."""
    right = answer.right
    axes = right.ndim - 1
    for order in itertools.permutations(range(axes)) if 1 < axes <= MOST_AXES else ():
        turned = np.transpose(right, (0, *(a + 1 for a in order)))
        if order != tuple(range(axes)) and turned.shape == right.shape and answer.is_(turned):
            yield Relation(Nature.MOVED, "is transposed" if axes == 2 else f"has its axes permuted: {order}", turned)
    if axes and right.shape[-1] == 2 and answer.is_(conjugate := right * [1.0, -1.0]):
        words = "has the wrong sign in the second of each pair: of complex numbers that is the conjugate"
        yield Relation(Nature.MOVED, words, conjugate)
    for axis in range(axes):
        size = right.shape[axis + 1]
        if size < 2:
            continue
        candidates = [(f"is reversed along axis {axis}", np.flip(right, axis + 1))]
        steps = (1, -1) if size > 2 else ()
        candidates += [(f"is shifted by one along axis {axis}", np.roll(right, step, axis + 1)) for step in steps]
        for name, of in (("sum", np.sum), ("mean", np.mean)):
            held = np.broadcast_to(of(right, axis=axis + 1, keepdims=True), right.shape)
            candidates.append((f"holds the {name} over axis {axis} in every entry", held))
        yield from (Relation(Nature.MOVED, *candidate) for candidate in candidates if answer.is_(candidate[1]))


def _in_part(answer: Answer, sizes: Mapping[int, str]) -> Iterator[Relation]:
    """Some entries alone are wrong: which, and what they are to the right ones."""
    entries = np.asarray(answer.wrong.any(axis=0))
    if not 0 < np.count_nonzero(entries) < entries.size:
        return
    bad = answer.wrong[:, entries]
    factor = ratio(answer.given[:, entries][bad], answer.right[:, entries][bad], answer.dtype)
    what = "" if factor is None else f", and there it {_times(factor, sizes)}"
    yield Relation(Nature.PART, f"is wrong {_where(entries)} only{what}", factor=factor)


def _where(entries: Array) -> str:
    """Which entries are marked, in words."""
    places = np.argwhere(entries)
    if len(places) == 1:
        return f"in entry {format_entry(tuple(places[0].tolist()))}"
    for axis in range(entries.ndim):
        lines = np.unique(places[:, axis])
        if len(lines) == 1 and len(places) * entries.shape[axis] == entries.size:
            named = ("row", "column")[axis] if entries.ndim == 2 else f"axis {axis} at"
            return f"in {named} {lines[0]}"
    return (
        f"in {len(places):,} of {entries.size:,} entries, the first of them {format_entry(tuple(places[0].tolist()))},"
    )


def _nearly(answer: Answer) -> Iterator[Relation]:
    """Right but for its last digits."""
    given, right = answer.given[answer.bad], answer.right[answer.bad]
    with np.errstate(all="ignore"):
        error = np.abs(given - right) / np.abs(right)
    error = error[answer.wrong[answer.bad]]
    if not np.all(np.isfinite(error)) or error.max(initial=0.0) > NEARLY[answer.dtype]:
        return
    digits = math.floor(-math.log10(error.max())) if error.max(initial=0.0) > 0 else 15
    if answer.dtype == "float64" and np.array_equal(answer.given, answer.given.astype(np.float32)):
        what = ", and all its values are float32 numbers: is it computed in float32?"
    else:
        what = ": its formula loses the others, or it computes in float32 on the way"
    yield Relation(Nature.DIGITS, f"is right to {digits} digits{what}")

"""What a gradient promises beside its numbers: it writes to nothing, fits, repeats itself, is linear in ``upstream``.

Each promise that is broken is a finding of its own, told once, by the first call that shows it. Findings explain; the
numbers are judged by the reference whatever is found here.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from verify.files import PACKAGE
from verify.numbers.streams import stream
from verify.records import Finding
from verify.tracing.foreign_call import call_foreign
from verify.words import FindingKind

Array = NDArray[Any]
Answers = Mapping[str, Array]
"""Variable -> what a gradient answered at one point."""


NOT_LINEAR = {np.dtype(np.float64): 1e-5, np.dtype(np.float32): 1e-2}
"""How far from linear an answer must be, against its own size, to be told; rounding stays far below."""

SMALL = {np.dtype(np.float64): 2.0**-30, np.dtype(np.float32): 2.0**-20}
"""Relative steps of an upstream gradient: no function moves by more than :data:`NOISE` of them without a jump."""

NOISE_CALLS = 16
"""Calls that show how much of an answer is rounding, where that is the question."""

MOST_FRAMES = 20
"""Frames of a traceback that are shown, the innermost."""

LONGEST_MESSAGE = 400
"""Characters of what an exception says."""

LONGEST_DETAIL = 8_000
"""Characters of a traceback that are kept."""

NOISE = 1000.0
"""How much larger than what is seen to be rounding a deviation must be."""


@dataclass(slots=True)
class Contract:
    """The findings about one gradient, in the order in which they were made."""

    findings: list[Finding] = field(default_factory=list)
    what: str = "the gradient"
    """What is judged, in words."""
    of: str = "by"
    """What joins it to a variable: the gradient by x, the JVP of f."""
    by: str = "upstream"
    """What it is linear in."""

    def tell(self, finding: Finding) -> None:
        """Keeps a finding, unless one of its kind is known of the variable.

        >>> contract = Contract()
        >>> contract.tell(Finding(FindingKind.WRONG_DTYPE, "x", "dx is float32", True))
        >>> contract.tell(Finding(FindingKind.WRONG_DTYPE, "x", "dx is float32 here too", True))
        >>> [finding.sentence for finding in contract.findings]
        ['dx is float32']
        """
        if not any((known.kind, known.variable) == (finding.kind, finding.variable) for known in self.findings):
            self.findings.append(finding)

    def watch_writes(self, kind: FindingKind, before: Mapping[str, Any], after: Mapping[str, Any]) -> None:
        """Whether a call wrote to what it was given: its inputs, or its upstream gradients.

        >>> contract = Contract()
        >>> contract.watch_writes(FindingKind.INPUT_MUTATED, {"x": np.array([3.0])}, {"x": np.array([0.0])})
        >>> print(contract.findings[0].sentence)
        the gradient writes to its input 'x': entry [0] was 3.0 and is 0.0 after the call. Let it work on a copy
        """
        what = "input" if kind is FindingKind.INPUT_MUTATED else self.by
        for name, given in before.items():
            old, new = np.asarray(given), np.asarray(after[name])
            if new.shape != old.shape or new.dtype != old.dtype:
                was, now = (f"{x.dtype} of shape {x.shape}" for x in (old, new))
                did = f"changes its {what} '{name}' itself: it was {was} and is {now} after the call"
            elif changed := first_change(old, new):
                did = f"writes to its {what} '{name}': {changed} after the call"
            else:
                continue
            self.tell(Finding(kind, name, f"{self.what} {did}. Let it work on a copy", fails=True))

    def watch_memory(self, name: str, answer: Array, given: Mapping[str, Any]) -> None:
        """Whether one answer shares memory with what was given.

        >>> contract, x = Contract(), np.ones(3)
        >>> contract.watch_memory("x", x[:2], {"x": x})
        >>> [(finding.kind.value, finding.fails) for finding in contract.findings]
        [('output aliases an input', False)]
        """
        for other, value in given.items():
            if isinstance(value, np.ndarray) and answer.size and np.may_share_memory(answer, value):
                said = f"{self.what} {self.of} {name} shares its memory with the argument '{other}'"
                why = "whoever adds to it in place changes both. Return a copy"
                self.tell(Finding(FindingKind.ALIASED_INPUT, name, f"{said}: {why}", fails=False))

    def answered_twice(self, name: str, keys: Sequence[str]) -> None:
        """A mapping with two answers for one variable: neither is the gradient before somebody says which.

        >>> contract = Contract()
        >>> contract.answered_twice("x", ["x", "dx"])
        >>> print(contract.findings[0].sentence)
        the gradient answers twice for x, as 'x' and 'dx': return the one that is its gradient, and no other
        """
        which = " and ".join(repr(key) for key in keys)
        said = f"{self.what} answers twice for {name}, as {which}: return the one that is its gradient, and no other"
        self.tell(Finding(FindingKind.AMBIGUOUS_ANSWER, name, said, fails=True))

    def changed(self, names: Sequence[str]) -> None:
        """Globals that a call changed, and that were put back.

        >>> contract = Contract()
        >>> contract.changed(["np.seterr"])
        >>> print(contract.findings[0].sentence)
        the gradient changes np.seterr for the whole process; it was put back after the call
        """
        for name in names:
            said = f"{self.what} changes {name} for the whole process; it was put back after the call"
            self.tell(Finding(FindingKind.GLOBAL_STATE, name, said, fails=False))

    def fitted(self, name: str, answer: Array, shape: tuple[int, ...]) -> Array:
        """The answer in the shape that it should have; a finding, and NaN if nothing can be made of it, in another.

        Its numbers are judged after what the finding says to do: an axis of one too many hides no other fault.

        >>> contract = Contract()
        >>> contract.fitted("b", np.ones((4, 3)), (3,))
        array([4., 4., 4.])
        >>> print(contract.findings[0].sentence)
        the gradient by b has shape (4, 3), b has shape (3,): sum over axis 0, along which b was broadcast
        """
        if answer.shape == shape:
            return answer
        said = f"the gradient by {name} has shape {answer.shape}, {name} has shape {shape}"
        remedy, mended = _mended(name, answer, shape)
        self.tell(Finding(FindingKind.WRONG_SHAPE, name, f"{said}: {remedy}", fails=True))
        return np.full(shape, np.nan) if mended is None else mended

    def raised(self, error: BaseException, here: str) -> None:
        """A call that ended in an exception, with the traceback from the first frame that is not ours.

        >>> contract = Contract()
        >>> try:
        ...     {}["W"]
        ... except KeyError as error:
        ...     contract.raised(error, "x = 3.0")
        >>> print(contract.findings[0].sentence)
        the gradient raised KeyError: 'W' at x = 3.0
        """
        trace = error.__traceback__
        while trace is not None and Path(trace.tb_frame.f_code.co_filename).is_relative_to(PACKAGE):
            trace = trace.tb_next
        lines = traceback.TracebackException(type(error), error, trace, limit=-MOST_FRAMES, compact=True)
        detail = _without_its_middle("".join(lines.format()).rstrip())
        said = f"{self.what} raised {in_words(error)}"
        self.tell(Finding(FindingKind.EXCEPTION, "", f"{said} at {here}" if here else said, fails=True, detail=detail))

    # -------------------------------------------------------------------------------------- what further calls can show

    def probe(self, call: Callable[[Mapping[str, Array]], Answers], upstream: Mapping[str, Array], *, by: bool) -> None:
        """Calls a gradient again at one point, to see whether it repeats itself and (``by``) is linear in ``upstream``.

        >>> contract = Contract()
        >>> contract.probe(lambda upstream: {"x": np.abs(upstream["f"])}, {"f": np.array([1.0, -2.0])}, by=True)
        >>> print(contract.findings[0].sentence)
        the gradient by x is not linear in upstream: doubling upstream and adding another should do so to it
        """
        first, second = call(upstream), call(upstream)
        for name in first:
            if name in second and not _same(first[name], second[name]).all():
                entry = tuple(np.argwhere(~_same(first[name], second[name]))[0].tolist())
                one, other = first[name][entry].item(), second[name][entry].item()
                said = f"{self.what} {self.of} {name} does not repeat itself: the same call gave {one}, then {other}"
                self.tell(Finding(FindingKind.NOT_DETERMINISTIC, name, said, fails=True))
        if by:
            self._probe_linearity(call, upstream, first)

    def _probe_linearity(
        self, call: Callable[[Mapping[str, Array]], Answers], upstream: Mapping[str, Array], first: Answers
    ) -> None:
        rng = stream(0, "another upstream")
        other = {name: rng.standard_normal(g.shape).astype(g.dtype) for name, g in upstream.items()}
        both = {name: np.asarray(-2 * g + other[name]).astype(g.dtype) for name, g in upstream.items()}
        second, together, doubled = call(other), call(both), call(_times(-2, upstream))
        noise: dict[str, float] = {}
        for name, one in first.items():
            if any(name not in answers for answers in (second, together, doubled)):
                continue
            with np.errstate(all="ignore"):
                scaled = np.abs(doubled[name] + 2 * one).max(initial=0.0)
                apart = np.abs(together[name] - (-2 * one + second[name])).max(initial=0.0)
                size = (2 * np.abs(one) + np.abs(second[name])).max(initial=0.0)
            off = max(scaled, apart)
            # An answer that is not finite is judged as such elsewhere.
            if not np.isfinite(size) or not off > NOT_LINEAR[_coarsest(upstream)] * size:
                continue
            noise = noise or _noise(call, other, second)
            if off > NOISE * noise.get(name, np.inf):
                said = f"{self.what} {self.of} {name} is not linear in {self.by}: "
                said += f"doubling {self.by} and adding another should do so to it"
                self.tell(Finding(FindingKind.NOT_LINEAR, name, said, fails=True))


def _noise(
    call: Callable[[Mapping[str, Array]], Answers], upstream: Mapping[str, Array], answers: Answers
) -> dict[str, float]:
    """How much of each answer is rounding of its terms: all of it where large terms cancel, to 0 on paper.

    Upstream gradients that differ by little have answers that do, whatever function of them they are; what is left is
    rounding. One factor alone may show none of it.
    """
    found = dict.fromkeys(answers, 0.0)
    step = SMALL[_coarsest(upstream)]
    for number in range(1, NOISE_CALLS + 1):
        factor = 1.0 + number * step
        moved = call(_times(factor, upstream))
        for name, answer in answers.items():
            with np.errstate(all="ignore"):
                off = np.abs(moved.get(name, np.nan) - factor * answer).max(initial=0.0)
            found[name] = max(found[name], float(np.nan_to_num(off, nan=np.inf)))
    return found


def _times(factor: float, upstream: Mapping[str, Array]) -> dict[str, Array]:
    return {name: np.asarray(factor * g).astype(g.dtype) for name, g in upstream.items()}


def first_change(old: Array, new: Array) -> str:
    """The first entry that differs between two arrays of one shape, in words; empty where none does.

    >>> first_change(np.zeros(2), np.array([0.0, 3.0]))
    'entry [1] was 0.0 and is 3.0'
    """
    places = np.argwhere(~_same(old, new))
    if not len(places):
        return ""
    entry = tuple(places[0].tolist())
    return f"{f'entry {list(entry)}' if entry else 'it'} was {old[entry].item()} and is {new[entry].item()}"


def _same(a: Array, b: Array) -> Any:
    """Elementwise: whether two arrays hold the same, NaN counting as NaN."""
    return (a == b) | ((a != a) & (b != b))  # noqa: PLR0124 - NaN test


def _coarsest(upstream: Mapping[str, Array]) -> np.dtype[Any]:
    return max((np.dtype(g.dtype) for g in upstream.values()), key=lambda dtype: np.finfo(dtype).eps)


def _mended(name: str, answer: Array, shape: tuple[int, ...]) -> tuple[str, Array | None]:
    """What to do about a shape, as far as it can be told, and the answer after it was done."""
    found = answer.shape
    if answer.size and [n for n in found if n != 1] == [n for n in shape if n != 1]:
        what = "drop keepdims" if len(found) > len(shape) else "keep the axes of size 1"
        return f"{what}, or reshape it", answer.reshape(shape)
    if sorted(found) == sorted(shape):
        return "is it transposed?", answer.T if found == shape[::-1] else None
    extra = len(found) - len(shape)
    if extra >= 0 and all(size in (1, found[extra + i]) for i, size in enumerate(shape)):
        stretched = [*range(extra), *(extra + i for i, size in enumerate(shape) if size != found[extra + i])]
        axes = f"axis {stretched[0]}" if len(stretched) == 1 else f"axes {', '.join(map(str, stretched))}"
        with np.errstate(all="ignore"):
            summed = answer.sum(axis=tuple(stretched)).reshape(shape)
        return f"sum over {axes}, along which {name} was broadcast", summed
    try:
        np.broadcast_shapes(found, shape)
    except ValueError:
        return "a gradient has the shape of what it is taken by", None
    return "NumPy would broadcast it silently, which hides the fault; a gradient has the shape of its variable", None


def _without_its_middle(text: str) -> str:
    """A traceback that one can read: its message, or a group of them, may have megabytes."""
    left_out = len(text) - LONGEST_DETAIL
    if left_out <= 0:
        return text
    half = LONGEST_DETAIL // 2
    return f"{text[:half]}\n... {left_out:,} characters left out ...\n{text[-half:]}"


def in_words(error: BaseException) -> str:
    """An exception in one line; to ask what it says is to call its methods, which may raise too.

    >>> in_words(KeyError("W"))
    "KeyError: 'W'"
    """
    said = call_foreign(lambda: str(error).strip().split("\n")[0])
    words = said.value if said.error is None else "its own message cannot be had"
    shown = words if len(words) <= LONGEST_MESSAGE else f"{words[:LONGEST_MESSAGE]} ..."
    return f"{type(error).__name__}: {shown}".rstrip(": ")

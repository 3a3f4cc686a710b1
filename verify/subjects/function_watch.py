"""What the function itself does, beside its values: it may write to its arguments, draw numbers, or change for good.

None of that is the gradient's fault, and a gradient that calls the function does it too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from verify.records import CaseResult, Finding
from verify.subjects.contract import first_change
from verify.subjects.interface import Interface
from verify.subjects.subject import Gradient, Subject
from verify.tracing.foreign_call import call_foreign
from verify.tracing.function_call import outputs_of, own_arguments
from verify.tracing.preserving import preserved
from verify.words import FindingKind

Array = NDArray[Any]
Function = Callable[..., Any]

ORDER = 1000.0
"""Units roundoff of the largest value that the order of a sum may make."""


class FunctionWatch:
    """A function at one point, before its gradient is judged and afterwards.

    >>> state = [1.0]
    >>> watch = FunctionWatch(lambda x: state[0] * x, {"x": np.float64(3.0)})
    >>> state[0] = 2.0
    >>> [finding.kind.value for finding in watch.findings()]
    ['function changed']
    """

    def __init__(self, function: Function, point: Mapping[str, Any]) -> None:
        self.function, self.point = function, point
        self.after: dict[str, Any] = {}
        """Argument -> what the function makes of it, for those that it writes to."""
        self.repeats = True
        given = own_arguments(point)
        self.value = self._run(given)
        self.after = {name: given[name] for name in given if _differ(given[name], point[name])}
        if self.value is not None:
            self.repeats = _is_same(self.value, self._run(own_arguments(point)))

    def findings(self) -> tuple[Finding, ...]:
        """What was found out about the function; call it after the gradient was judged."""
        found = [_written(name, self.point[name], value) for name, value in self.after.items()]
        if not self.repeats:
            said = (
                "the function does not repeat itself: the same call gives another value, so there is no gradient of it"
            )
            found.append(
                Finding(FindingKind.FUNCTION_CHANGED, "", f"{said}. Fix its seed, or what it keeps between calls", True)
            )
        elif self.value is not None and not _is_same(self.value, self._run(own_arguments(self.point))):
            said = (
                "the function gives another value after its gradient was called than before: they share what it changes"
            )
            found.append(Finding(FindingKind.FUNCTION_CHANGED, "", f"{said}. Let each call work on a copy", True))
        return tuple(found)

    def told(self, results: Sequence[CaseResult], gradient: Gradient) -> list[CaseResult]:
        """Results with these findings, and without those about the gradient that only calls the function."""
        own = (
            self._own_writes(gradient)
            if any(f.kind is FindingKind.INPUT_MUTATED for r in results for f in r.findings)
            else set()
        )
        kept = [
            replace(
                r,
                findings=tuple(
                    f for f in r.findings if f.kind is not FindingKind.INPUT_MUTATED or f.variable not in own
                ),
            )
            for r in results
        ]
        kept[0] = replace(kept[0], findings=(*kept[0].findings, *self.findings()))
        return kept

    def _own_writes(self, gradient: Gradient) -> set[str]:
        """The arguments of which the gradient makes what the function makes of them."""
        given, seeds = (
            own_arguments(self.point),
            {f"output {i}": np.ones_like(y)[()] for i, y in enumerate(self.value or ())},
        )
        interface = Interface("the function", tuple(given), (), {}, {name: np.shape(g) for name, g in seeds.items()})
        call_foreign(lambda: Subject(interface, gradient).call(given, seeds))
        return {name for name, value in self.after.items() if not _differ(given[name], value)}

    def _run(self, given: dict[str, Any]) -> list[Array] | None:
        """What it returns, as copies of its arrays; None where it raises or returns something else."""
        with preserved(self.function):  # what it keeps between calls is a state to begin from, not one to drift in
            ran = call_foreign(lambda: [np.array(value) for value in outputs_of(self.function(**given)).values()])
        found: list[Array] | None = ran.value
        return found


def _differ(one: Any, other: Any) -> bool:
    """Whether two arguments differ; only of arrays can that be seen."""
    if not isinstance(one, np.ndarray):
        return False
    if one.dtype.kind not in "fiub":
        return False
    return not np.array_equal(one, np.asarray(other), equal_nan=one.dtype.kind == "f")


def _is_same(ones: Sequence[Array], others: Sequence[Array] | None) -> bool:
    """Whether two calls came to the same values; threads may add in another order, which is no change."""
    if others is None or len(ones) != len(others) or any(a.shape != b.shape for a, b in zip(ones, others, strict=True)):
        return False
    return all(map(_is_near, ones, others))


def _is_near(one: Array, other: Array) -> bool:
    if not one.dtype.kind == other.dtype.kind == "f":
        return bool(np.array_equal(one, other))
    size = np.max(np.abs(one), initial=0.0, where=np.isfinite(one))
    return bool(np.allclose(one, other, rtol=0.0, atol=ORDER * float(np.finfo(one.dtype).eps * size), equal_nan=True))


def _written(name: str, before: Any, after: Array) -> Finding:
    said = f"the function writes to its argument '{name}'"
    old = np.asarray(before)
    changed = f": {first_change(old, after)} after the call" if old.shape == after.shape else ""
    remedy = "It was given copies; let it work on one itself"
    return Finding(FindingKind.FUNCTION_WRITES, name, f"{said}{changed}. {remedy}", fails=False)

"""Softmax, its logarithm and logsumexp as they are written out: shifted by the largest entry, which cancels.

The largest entry has kinks, the whole has none.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from verify.ops import Shape
from verify.programs.values import Value, axes_of
from verify.tracing.composed import softmax
from verify.tracing.tracer import Tracer


@dataclass(frozen=True, slots=True)
class _Part:
    """A value that is known to be a piece of a softmax of ``x`` over some axes."""

    what: Literal["max", "shift", "exp", "sum", "log"]
    x: Value
    axes: tuple[int, ...]

    def of_same(self, other: _Part) -> bool:
        return self.axes == other.axes and _key(self.x) == _key(other.x)


@dataclass(slots=True)
class Idioms:
    """Whoever interprets a program tells each step by :meth:`seen`, and takes the value that it answers with."""

    parts: dict[Any, _Part] = field(default_factory=dict)
    _held: list[Value] = field(default_factory=list)

    def seen(self, kind: str, operands: Sequence[Value], result: Value, axes: Sequence[int] | None = None) -> Value:
        """A step: max, sum, subtract, add, exp, log, divide, or carry for a change of shape; and what it comes to."""
        if type(result) is not Tracer:
            return result
        known = [self.parts.get(_key(x)) for x in operands]
        whole = self._whole(kind, known, result.shape) if len(operands) == 2 else None
        if whole is not None:
            return whole
        part = self._part(kind, operands, known, axes)
        if part is not None:
            self.parts[_key(result)] = part
            self._held.append(result)  # its key is that of an object that lives
        return result

    @staticmethod
    def _whole(kind: str, known: Sequence[_Part | None], shape: Shape) -> Value:
        a, b = known
        if a is None or b is None or not a.of_same(b) or (len(a.axes) != 1 and kind != "add"):
            return None
        if (kind, a.what, b.what) == ("divide", "exp", "sum"):
            return softmax("softmax", a.x, a.axes)
        if (kind, a.what, b.what) == ("subtract", "shift", "log"):
            return softmax("log_softmax", a.x, a.axes)
        if kind == "add" and {a.what, b.what} == {"log", "max"}:
            return np.reshape(softmax("logsumexp", a.x, a.axes), shape)
        return None

    @staticmethod
    def _part(
        kind: str, operands: Sequence[Value], known: Sequence[_Part | None], axes: Sequence[int] | None
    ) -> _Part | None:
        first = known[0] if known else None
        along = axes_of(axes, np.ndim(operands[0])) if axes is not None else None
        if kind == "max" and along is not None:
            return _Part("max", operands[0], along)
        if kind == "carry":
            found = [part for part in known if part is not None and part.what in ("max", "sum", "log")]
            return found[0] if len(found) == 1 else None
        if kind == "subtract" and len(known) == 2 and known[1] is not None and known[1].what == "max":
            return _Part("shift", operands[0], known[1].axes) if _key(operands[0]) == _key(known[1].x) else None
        if first is None:
            return None
        if kind == "sum" and first.what == "exp" and along is not None:
            return _Part("sum", first.x, first.axes) if first.axes == along else None
        after = {("exp", "shift"): "exp", ("log", "sum"): "log"}.get((kind, first.what))
        return _Part(after, first.x, first.axes) if after else None  # type: ignore[arg-type]


def _key(value: Value) -> Any:
    """The step that holds a value; of one with entries that are left out the array itself."""
    if type(value) is not Tracer or value.is_known:
        return None
    return id(value.storage) if value.has_infinite else ("step", value.step)

"""The functions first: a gradient of one function is not to blame for being no gradient of another.

A gradient that carries ``forward``, the function that it is the gradient of, is held against the reference by values:
at the points that were given before it is judged, and at those where its rows fail before it is accused. Where the
functions differ the run does not pass, and no gradient is judged.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from verify.case.case import Case
from verify.errors import UsageError
from verify.graph.interpret import Program
from verify.places.search import upstream_of
from verify.records import CaseResult, Finding
from verify.subjects.contract import in_words
from verify.tracing.foreign_call import call_foreign
from verify.tracing.function_call import by_name, outputs_of, own_arguments
from verify.words import FindingKind

Array = NDArray[Any]
Function = Callable[..., Any]

FAR = {"float64": 1e-9, "float32": 1e-4, "float16": 3e-2}
"""How far two values of one function may be apart, as a part of the largest value on the way."""

MOST_POINTS = 20
"""Points with failing rows that are looked at."""

LONGEST_POINT = 6
"""Numbers of a point that a sentence holds."""


def differing(gradient: Any, reference: Case | Function, points: Sequence[Mapping[str, Any]]) -> Finding | None:
    """A finding where the function behind a gradient and the reference have different values, None where they agree.

    Nothing is said of a gradient without a ``forward``, and of points at which either of the two has no value.

    >>> def cosine(x):
    ...     return np.cos(x)
    >>> cosine.forward = lambda x: np.sin(x) + 1
    >>> differing(cosine, lambda x: np.sin(x), [{"x": 0.0}]).sentence
    'the functions differ: 1 against 0 at x = 0; no gradient was judged'
    >>> differing(cosine, lambda x: np.sin(x) + 1, [{"x": 0.0}]) is None
    True
    """
    forward = getattr(gradient, "forward", None)
    if forward is None:
        return None
    for point in points:
        found = apart_at(forward, reference, point)
        if found:
            said = f"the functions differ: {found} at {_text(point)}; no gradient was judged"
            return Finding(FindingKind.FUNCTIONS_DIFFER, "", said, fails=True)
    return None


def apart_at(forward: Function, reference: Case | Function, point: Mapping[str, Any]) -> str:
    """Where the two have different values at a point, in words; empty where they agree, or one of them has none.

    Raises UsageError where one of them would leave the program.

    >>> apart_at(np.cos, np.sin, {"x": 0.0})
    '1 against 0'
    """

    def values() -> tuple[list[Array], list[Array], float]:
        with np.errstate(all="ignore"):
            own = _outputs(forward, point)
            if isinstance(reference, Case):
                return own, *_of_case(reference, point)
            return own, *_of_function(reference, point)

    ran = call_foreign(values, kept=())  # the check around it tells what it changes
    if ran.error is None:
        return _apart(*ran.value)
    if isinstance(ran.error, Exception):
        return ""  # whoever judges the gradient tells what the function raises
    said = f"the function, or the forward of its gradient, raises {in_words(ran.error)} at {_text(point)}"
    raise UsageError(said) from ran.error


def unjudged(case: Case | str, finding: Finding, result: CaseResult | None = None) -> CaseResult:
    """What is left of a case where the functions differ: the finding, and no rows.

    >>> unjudged("f", Finding(FindingKind.FUNCTIONS_DIFFER, "", "the functions differ", fails=True)).status
    'FAIL'
    """
    if result is not None:
        return replace(result, variables=(), kinks=(), step_laws=(), simplest=None, kill_score=None, notes=(),
                       weaknesses=(), findings=(finding,))  # fmt: skip
    if isinstance(case, str):
        return CaseResult(name=case, file="", findings=(finding,))
    return CaseResult(name=case.name, file=case.file, source=case.source, function=tuple(case.expressions.items()),
                      outputs=case.graph.outputs, findings=(finding,))  # fmt: skip


def held_against(gradient: Any, reference: Case | Function, result: CaseResult) -> CaseResult:
    """A result whose rows fail, where the functions differ at such a point: then nobody is accused.

    >>> from verify.records import CaseResult
    >>> held_against(abs, abs, CaseResult("f", "")).findings
    ()
    """
    if result.passes or getattr(gradient, "forward", None) is None:
        return result
    known = {point.id: point for point in result.points}
    wanted = list(dict.fromkeys(row.point for row in result.failing()))[:MOST_POINTS]
    points = [dict(known[i].values) for i in wanted if i in known]
    drawn = {upstream_of(name) for name in result.outputs}
    names = {item.name for item in reference.inputs} if isinstance(reference, Case) else set()
    points = [{k: v for k, v in p.items() if (k in names if names else k not in drawn)} for p in points]
    finding = differing(gradient, reference, points)
    return result if finding is None else unjudged(result.name, finding, result)


def _outputs(function: Function, point: Mapping[str, Any]) -> list[Array]:
    """The arrays of floats that a function returns at a point."""
    returned = by_name(function, list(point))(**own_arguments(point))
    return [np.asarray(value) for value in outputs_of(returned).values()]


def _of_function(function: Function, point: Mapping[str, Any]) -> tuple[list[Array], float]:
    values = _outputs(function, point)
    given = [np.asarray(x) for x in point.values()]
    return values, _largest([*values, *(x for x in given if x.dtype.kind == "f")])


def _of_case(case: Case, point: Mapping[str, Any]) -> tuple[list[Array], float]:
    inputs = {item.name: np.asarray(point.get(item.name, item.at), dtype=np.float64)[None] for item in case.inputs}
    values = Program(case.graph).run(inputs)
    outputs = [np.asarray(values[case.graph.position(name)])[0] for name in case.graph.outputs]
    return outputs, _largest([np.asarray(v) for v in values if v is not None])


def _largest(arrays: Sequence[Array]) -> float:
    return max((float(np.max(np.abs(x), initial=0.0, where=np.isfinite(x))) for x in arrays), default=0.0)


def _apart(own: Sequence[Array], other: Sequence[Array], largest: float) -> str:
    """The first value in which the two differ, in words."""
    if [x.shape for x in own] != [x.shape for x in other]:
        shapes = (", ".join(str(x.shape) for x in side) or "nothing" for side in (own, other))
        return " against ".join(f"shape {text}" for text in shapes)
    for a, b in zip(own, other, strict=True):
        allowed = FAR.get(str(a.dtype), FAR["float64"]) * largest
        wide = a.astype(np.float64), b.astype(np.float64)
        with np.errstate(all="ignore"):
            off = np.isfinite(wide[0]) & np.isfinite(wide[1]) & (np.abs(wide[0] - wide[1]) > allowed)
        if off.any():
            entry = np.unravel_index(int(np.argmax(off)), off.shape) if off.ndim else ()
            return f"{float(a[entry]):.6g} against {float(b[entry]):.6g}"
    return ""


def _text(point: Mapping[str, Any]) -> str:
    if sum(np.size(x) for x in point.values()) > LONGEST_POINT:
        return "the given point" if point else "no point"
    shown = {name: np.asarray(x) for name, x in point.items()}
    return ", ".join(f"{name} = {x.tolist() if x.ndim else format(x.item(), 'g') if x.dtype.kind == 'f' else x.item()}"
                     for name, x in shown.items())  # fmt: skip

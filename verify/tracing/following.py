"""Branches of the user's code that depend on values: followed both ways where they are few, else taken at the point.

The function runs again for each way that it could have gone, in the same recording, and what the ways come to is put
together by the rows that choose: ``if x > 0: return x`` is ``where(x > 0, x, ...)`` then, with its kink, and holds at
every point.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NoReturn

import numpy as np

from verify.tracing.foreign_call import call_foreign
from verify.tracing.recorder import Choice, Decision, Recorder
from verify.tracing.tracer import Tracer
from verify.tracing.untraced import trace_error

MOST_DECISIONS = 3
"""Branches on values, one after the other, that are followed both ways."""

Results = list[tuple[str, Any]]
"""Output -> what the function returned for it."""


def followed(recorder: Recorder, run: Callable[[], Results]) -> Results:
    """What the function returns, at every point where its branches are followed, else on the branches of this one.

    Raises TraceError where a branch or a choice that could not be followed is undecided at the traced point itself.

    >>> recorder = Recorder(followed.__code__, "", np.dtype(float))
    >>> def run():
    ...     x = recorder.input("x", 3.0)
    ...     return [("", x if x > 0 else -x)]
    >>> followed(recorder, run)
    [('', Tracer(where, shape=()))]
    """
    recorder.again()
    results = run()
    decisions = list(recorder.decisions)
    choices = list(recorder.choices)
    if decisions:
        joined = _joined(recorder, run, results, decisions)
        recorder.choices = choices
        if joined is not None:
            results = joined
        else:
            choices += [_choice(decision) for decision in decisions]
    tied = [choice for choice in choices if choice.tied]
    if tied:
        recorder.again(turned=True)
        turned = _attempt(run)
        if turned is None or _steps(turned) != _steps(results):
            refuse_tie(tied[0])
    recorder.choices = choices
    return results


def _choice(decision: Decision) -> Choice:
    return Choice("a branch on a value", decision.place, bool(np.any(decision.condition.ties())))


def refuse_tie(choice: Choice) -> NoReturn:
    """Raises TraceError: there is no one program at the traced point.

    >>> from verify.tracing.places import Place
    >>> refuse_tie(Choice("a branch on a value", Place(), tied=True))
    Traceback (most recent call last):
        ...
    verify...TraceError: cannot be traced: a branch on a value that this very point leaves undecided. Give a point ...
    """
    tried = f"{choice.what} that this very point leaves undecided"
    raise trace_error(tried, choice.place, "Give a point beside it, or write np.where, np.maximum or np.minimum.")


def _joined(
    recorder: Recorder, run: Callable[[], Results], results: Results, decisions: Sequence[Decision]
) -> Results | None:
    """The results of all ways together, None where there are too many or one of them comes to nothing."""
    if len(decisions) > MOST_DECISIONS or not all(decision.condition.chooses for decision in decisions):
        return None

    def along(forced: list[bool]) -> Results | None:
        recorder.again(forced, MOST_DECISIONS)
        found = _attempt(run)
        return None if found is None else tree(found, list(recorder.decisions), len(forced))

    def tree(here: Results | None, passed: Sequence[Decision], start: int) -> Results | None:
        for turn in range(len(passed) - 1, start - 1, -1):
            decision = passed[turn]
            if not decision.condition.chooses:
                return None
            other = along([d.value for d in passed[:turn]] + [not decision.value])
            here = None if here is None or other is None else _merged(decision, here, other)
        return here

    return tree(results, decisions, 0)


def _attempt(run: Callable[[], Results]) -> Results | None:
    """The results of a run that goes where the function does not go at this point, None where there are none."""
    results: Results | None = call_foreign(run).value  # None where it raises: it may never take this way
    return results


def _merged(decision: Decision, here: Results, other: Results) -> Results | None:
    if [key for key, _ in here] != [key for key, _ in other]:
        return None
    merged: Results = []
    for (key, own), (_, others) in zip(here, other, strict=True):
        if np.shape(own) != np.shape(others):
            return None
        if _step(own) is not None and _step(own) == _step(others):
            merged.append((key, own))
            continue
        pair = (own, others) if decision.value else (others, own)
        merged.append((key, decision.condition.choose(*pair)))
    return merged


def _step(value: Any) -> int | None:
    return value.step if type(value) is Tracer and not value.is_known else None


def _steps(results: Results) -> list[Any]:
    return [(key, _step(value)) for key, value in results if _step(value) is not None]

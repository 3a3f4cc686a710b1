"""Why something is not traced: a fact with its kind, the op that it is about, and its place."""

from __future__ import annotations

from verify.errors import Problem, TraceError, Untraced
from verify.tracing.places import Place


def trace_error(
    tried: str, place: Place, remedy: str = "", kind: Untraced = Untraced.OTHER, op: str = ""
) -> TraceError:
    """What could not be traced, where, and what to do about it.

    >>> print(trace_error("float() of a traced value", Place(), "Use np.exp in place of math.exp."))
    cannot be traced: float() of a traced value. Use np.exp in place of math.exp.
    """
    text = place.text
    column = len(text) - len(text.lstrip()) + 1
    problem = Problem(f"cannot be traced: {tried}", place.file, place.line, column, text, remedy)
    return TraceError(problem, tried, kind, op)


def unmapped(tried: str, kind: Untraced = Untraced.ARGUMENTS, op: str = "") -> TraceError:
    """A step of a framework's program that no graph of ours can hold; whoever reads the program knows the place.

    >>> unmapped("aten.svd has no op here", op="svd").op
    'svd'
    """
    return trace_error(tried, Place(), kind=kind, op=op)

"""The oracle: is this gradient right? Judges a gradient that somebody brings against a case that is written once.

The gradient under test is a black box, called point by point. Every row of it is held against the certified reference;
the three methods stand beside it in the report and accuse nobody.
"""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from verify.errors import UsageError
from verify.oracle.black_box import Function, judge_black_box
from verify.oracle.subject import SUBJECT, Gradient, Interface, Subject
from verify.reading.case import Case, load_case
from verify.records import METHODS, Run
from verify.runner import DEFAULT, Settings, run_loaded, versions


def check_gradient(
    gradient: Gradient,
    case: Case | str | Path | Function,
    settings: Settings = DEFAULT,
    *,
    at: Mapping[str, Any] | None = None,
) -> Run:
    r"""Judges a gradient of a case at the case's own points, on its kinks, and at random points of its domain.

    A function in the place of the case is a black box: its gradient is judged ``at`` one point, by name, with what
    :func:`~verify.oracle.black_box.judge_black_box` can measure.

    ``gradient`` takes the inputs by name or by position, as arrays of their shapes, and ``upstream`` if its signature
    has it. It returns one array, a tuple in the order of the inputs, or a mapping by name (``x``, ``dx`` or
    ``grad_x``), which may have stages too. Raises CaseError for a case that cannot be read and UsageError for an
    answer that does not fit it.

    >>> from verify.reading.case import load_case_text
    >>> case = load_case_text("case: square\ninputs: {x: {at: 3}}\nstages: {f: x**2}\n")
    >>> check_gradient(lambda x: 2 * x, case).ok, check_gradient(lambda x: 2.000001 * x, case).ok
    (True, False)
    >>> check_gradient(lambda x: 2 * x, lambda x: x**2, at={"x": 3.0}).ok
    True
    """
    started = time.perf_counter()
    if isinstance(case, str | Path):
        case = load_case(case)
    if isinstance(case, Case):
        if at is not None:
            raise UsageError("a case has its own points: give 'at' with a function only")
        subject = Subject(Interface.of(case), gradient)
        result = run_loaded(case, replace(settings, variables="all"), started, subject)
    else:
        if not at:
            raise UsageError("a function needs the point to look at, such as at={'x': 3.0}")
        result = judge_black_box(gradient, case, at, settings.seed)
    return Run(
        cases=(result,),
        seed=settings.seed,
        points=settings.points if isinstance(case, Case) else 0,
        methods=(*METHODS, SUBJECT) if isinstance(case, Case) else result.methods,
        versions=versions(),
        command="",
        started=dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
        seconds=time.perf_counter() - started,
    )

"""The oracle: is this gradient right? Judges a gradient that somebody brings against a case that is written once.

The gradient under test is a black box, called point by point. Every row of it is held against the certified reference;
the three methods stand beside it in the report and accuse nobody.
"""

from __future__ import annotations

import datetime as dt
import time
from dataclasses import replace
from pathlib import Path

from verify.case import Case, load_case
from verify.records import METHODS, Run
from verify.runner import DEFAULT, Settings, run_loaded, versions
from verify.subject import SUBJECT, Gradient, Subject


def check_gradient(gradient: Gradient, case: Case | str | Path, settings: Settings = DEFAULT) -> Run:
    r"""Judges a gradient of a case at the case's own points, on its kinks, and at random points of its domain.

    ``gradient`` takes the inputs by name or by position, as arrays of their shapes, and ``upstream`` if its signature
    has it. It returns one array, a tuple in the order of the inputs, or a mapping by name (``x``, ``dx`` or
    ``grad_x``), which may have stages too. Raises CaseError for a case that cannot be read and UsageError for an
    answer that does not fit it.

    >>> from verify.case import load_case_text
    >>> case = load_case_text("case: square\ninputs: {x: {at: 3}}\nstages: {f: x**2}\n")
    >>> check_gradient(lambda x: 2 * x, case).ok, check_gradient(lambda x: 2.000001 * x, case).ok
    (True, False)
    """
    started = time.perf_counter()
    known = case if isinstance(case, Case) else load_case(case)
    subject = Subject(known, gradient, settings.seed)
    result = run_loaded(known, replace(settings, variables="all"), started, subject)
    return Run(
        cases=(result,),
        seed=settings.seed,
        points=settings.points,
        methods=(*METHODS, SUBJECT),
        versions=versions(),
        command="",
        started=dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
        seconds=time.perf_counter() - started,
    )

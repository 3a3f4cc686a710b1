"""Results at a prompt and in a notebook: one line, a table, nothing in them obeyed."""

from __future__ import annotations

from typing import Any

import numpy as np

import verify
from verify.case.case import Case, load_case_text
from verify.records import CaseResult

HOSTILE = "<script>\x1b[31m\u202e|\n" + "a" * 300


def backward(x: Any, upstream: Any) -> Any:
    """Wrong by a little."""
    return 2.000002 * x * upstream


def test_each_is_one_line() -> None:
    """Of thousands of numbers too, with what it came to; the twin that is right says so."""
    x = np.linspace(-1, 1, 500)
    run = verify.check_gradient(backward, lambda x: x * x, at={"x": x})
    right = verify.check_gradient(lambda x: 2 * x, lambda x: x * x, at={"x": 3.0})
    case = verify.trace(lambda x: np.sum(x * x), x=x)
    for shown in map(repr, (run, run.cases[0], right, right.cases[0], case)):
        assert len(shown) <= 200
        assert shown.isprintable()
        assert (shown[0], shown[-1]) == ("<", ">")
    assert repr(run).startswith("<GradientRun FAIL dx[")
    assert repr(run.cases[0]).startswith("<CaseResult 'lambda': FAIL, 500 rows")
    assert repr(right).startswith("<GradientRun PASS lambda: 1 case, 1 row (1 PASS)")
    assert repr(case).startswith("<Case 'lambda': (x) -> ")


def test_each_is_a_page_in_a_notebook() -> None:
    """With the verdict, the diagnosis, the formulas."""
    run = verify.check_gradient(backward, lambda x: x * x, at={"x": [3.0, 1.0]})
    assert "(1 + 1e-06) x the right one" in run.cases[0]._repr_html_()
    assert "<th>verdict</th>" in run.cases[0]._repr_html_()
    assert "FAIL" in run._repr_html_()
    case = load_case_text("case: square\ninputs: {x: {at: 3}}\nstages: {f: x**2}\n")
    assert "<td>f</td><td>x**2</td>" in case._repr_html_()


def test_names_are_inert() -> None:
    """Whatever stands in them."""
    result = CaseResult(HOSTILE, "f.yaml", problems=(HOSTILE,))
    assert repr(result).isprintable()
    page = result._repr_html_()
    assert page.isprintable() or "\n" in page
    assert "<script" not in page
    assert "\x1b" not in page
    assert isinstance(load_case_text("case: '<b>'\ninputs: {x: {at: 3}}\nstages: {f: x}\n"), Case)
    assert "<b>" not in load_case_text("case: '<b>'\ninputs: {x: {at: 3}}\nstages: {f: x}\n")._repr_html_()

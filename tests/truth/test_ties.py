"""Second derivatives at ties of a maximum: known where every choice of the tie says the same, else not claimed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from verify.case.case import load_case_text
from verify.oracle.orders import check_hessian, check_hvp
from verify.running.runner import run_loaded
from verify.running.settings import Settings

TIED = [[1.0, 1.0, 0.0], [0.5, 0.5, 0.5], [1.0, 1.0 + 2.0**-52, -1.0], [-2.0, 3.0, 3.0]]


def log_sum_exp(x: Any) -> Any:
    """As it is written by hand, the maximum by itself."""
    m = np.max(x)
    return m + np.log(np.sum(np.exp(x - m)))


def its_hessian(x: Any) -> Any:
    """Right everywhere."""
    p = np.exp(x - np.max(x))
    p = p / p.sum()
    return np.diag(p) - np.outer(p, p)


@pytest.mark.parametrize("at", [*TIED, [1.0, 2.0, 3.0]])
@pytest.mark.parametrize("factor", [1.0, 1.000001])
def test_a_log_sum_exp_is_smooth_at_its_ties(at: list[float], factor: float) -> None:
    """H and ``H v``: right passes, wrong by a millionth fails, at ties as elsewhere."""
    wanted = "PASS" if factor == 1 else "FAIL"
    assert check_hessian(lambda x: factor * its_hessian(x), log_sum_exp, at={"x": at}).verdict == wanted
    assert check_hvp(lambda x, v: factor * its_hessian(x) @ v, log_sum_exp, at={"x": at}).verdict == wanted


@pytest.mark.parametrize(
    ("function", "hessian", "verdict"),
    [
        (lambda x: np.maximum(x, -x) ** 2, 2.0, "PASS"),
        (lambda x: np.maximum(x, -x) ** 2, 2.000002, "FAIL"),
        (lambda x: np.minimum(x, 0.0) ** 3, 0.0, "PASS"),
        (lambda x: np.minimum(x, 0.0) ** 3, 1e-6, "FAIL"),
        (lambda x: np.maximum(x, -x), 0.0, "UNDECIDED"),
        (lambda x: np.maximum(x, 0.0) ** 2, 2.0, "UNDECIDED"),
        (lambda x: np.maximum(x, 0.0) ** 2, 0.0, "UNDECIDED"),
        (lambda x: np.maximum(x, x**2), 0.0, "UNDECIDED"),
    ],
)
def test_where_the_choices_part_nothing_is_claimed(
    function: Callable[[Any], Any], hessian: float, verdict: str
) -> None:
    """Slopes that part make a kink, second derivatives that part a jump of them."""
    assert check_hessian(lambda x: np.full(np.shape(x) * 2, hessian), function, at={"x": 0.0}).verdict == verdict


@pytest.mark.parametrize("library", ["torch", "jax"])
@pytest.mark.parametrize("factor", [1.0, 1.000001])
def test_functions_of_frameworks_are_decided_too(library: str, factor: float) -> None:
    """The same, traced from PyTorch and JAX."""
    room = pytest.importorskip(library)
    namespace = room if library == "torch" else room.numpy

    def function(x: Any) -> Any:
        m = namespace.max(x)
        return m + namespace.log(namespace.sum(namespace.exp(x - m)))

    run = check_hessian(lambda x: factor * its_hessian(np.asarray(x)), function, at={"x": np.array(TIED[0])})
    assert run.verdict == ("PASS" if factor == 1 else "FAIL")


@pytest.mark.parametrize(("figure", "passes"), [("0.25", True), ("0.250000", True), ("0.250001", False)])
def test_a_case_has_its_hessian_at_a_tie(figure: str, passes: bool) -> None:
    """A figure of a case file is held against it."""
    text = (
        "case: lse\nsource: by hand\ninputs: {x: {at: [1, 1], domain: [-2, 2]}}\n"
        "stages: {m: max(x), f: 'm + log(sum(exp(x - m)))'}\n"
        f"expect: {{hessian: {{x: {{x: [[{figure}, -0.25], [-0.25, 0.25]]}}}}}}\n"
    )
    result = run_loaded(load_case_text(text), Settings(points=0, cached=False))
    (variable,) = (v for v in result.variables if v.quantity == "hessian")
    assert variable.passes is passes
    assert variable.proved == 4

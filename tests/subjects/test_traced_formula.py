"""A gradient's own code read as a program: what object arrays cannot run is proved right, or wrong by a little."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from flint import arb

from verify.graph.taylor import precision
from verify.subjects.convention import convention
from verify.subjects.formula import Cause, Formula
from verify.subjects.interface import Interface
from verify.truth.reference import Enclosure

X = np.array([0.3, -0.7])


def into_zeros(x: Any) -> Any:
    """Written into an array of floats, entry by entry."""
    d = np.zeros(2)
    for i in range(2):
        d[i] += x[i] ** 2
    return d


SQUARES: dict[str, Callable[[Any], Any]] = {
    "inv": lambda x: np.diag(np.linalg.inv(np.diag(1 / x**2))),
    "solve": lambda x: np.linalg.solve(np.diag(1 / x), x),
    "det": lambda x: np.linalg.det(np.diag(x)) * x / x[::-1],
    "slogdet": lambda x: np.linalg.slogdet(np.diag(x))[0] * np.exp(np.linalg.slogdet(np.diag(x))[1]) * x / x[::-1],
    "norm": lambda x: np.linalg.norm(x, 3) ** 0 * x**2,
    "zeros": into_zeros,
    "math": lambda x: [math.exp(2 * math.log(abs(x[0]))), math.fsum([x[1] * x[1]])],
    "cast": lambda x: np.asarray(x, dtype=float) ** 2,
}
"""The square of X, as no object array can compute it."""


def read(gradient: Callable[[Any], Any], exact: Any = lambda x: x**2) -> Cause:
    """What the formula says of the first entry."""
    known = Interface("f", ("x",), ("x",), {"x": (2,)}, {"f": ()})
    formula = Formula(known, gradient, convention(known, gradient), {"x": X[None]}, {"f": np.ones(1)})
    with precision(256):
        truth = exact(arb(X[0]))
    return formula.read("x", (0,), Enclosure(float(truth), 0.0, ball=truth), float(gradient(X)[0])).cause


@pytest.mark.parametrize("name", SQUARES)
def test_what_object_arrays_cannot_run_is_read_all_the_same(name: str) -> None:
    """A right formula is proved to be right, one that is off by 1e-12 to be wrong."""
    square = SQUARES[name]
    assert read(square) is Cause.FORMULA_RIGHT
    wrong = read(lambda x: (1 + 1e-12) * np.stack([*square(x)]))
    assert wrong is (Cause.OPAQUE if name == "slogdet" else Cause.FORMULA_WRONG)  # its sign is that of the floats


def test_a_conversion_that_a_trace_drops_is_no_rounding_of_the_formula() -> None:
    """In float32 on the way the answer is not what rounding makes of the formula in float64."""
    assert read(lambda x: into_zeros(x).astype(np.float32).astype(float)) is Cause.OPAQUE
    assert read(lambda x: into_zeros(x).astype(float)) is Cause.FORMULA_RIGHT

"""Users' NumPy code on balls: every function that object arrays hand on holds the exact value, and none beside it."""

from __future__ import annotations

from typing import Any

import mpmath
import numpy as np
import pytest
from flint import arb

from verify.graph.taylor import precision
from verify.ops import OPS
from verify.subjects.ball_numbers import BallNumber

UFUNCS = [
    name
    for name, row in OPS.items()
    if row.elementwise and not row.params and row.kink is None and isinstance(getattr(np, name, None), np.ufunc)
]


def on_balls(function: Any, *numbers: float) -> arb:
    """A function of NumPy's on object arrays of balls around numbers."""
    arrays = [np.array([BallNumber(arb(x), 2.0**-53)], dtype=object) for x in numbers]
    result = function(*arrays)[0]
    return result.ball if isinstance(result, BallNumber) else arb(result)  # the sign is a whole number


@pytest.mark.parametrize("name", UFUNCS)
def test_numpy_functions_run_on_balls(name: str) -> None:
    """Each ufunc that has a row encloses the exact column, narrowly."""
    row = OPS[name]
    numbers = (1.25 if row.domain[0].low == 1 else 0.625, -0.75)[: row.arity]
    with precision(128), mpmath.workdps(60):
        ball = on_balls(getattr(np, name), *numbers)
        exact = row.exact(*map(mpmath.mpf, numbers))
        middle, radius = mpmath.mpf(ball.mid().str(50, radius=False)), mpmath.mpf(float(ball.rad()))
        slack = mpmath.mpf(10) ** -45
        assert abs(middle - exact) <= radius + slack
        assert exact == 0 or abs(middle - exact * (1 + mpmath.mpf(10) ** -25)) > radius + slack


def test_negative_roots_and_points_outside_a_domain() -> None:
    """The real cube root; and nothing is claimed where there is no value."""
    assert bool(on_balls(np.cbrt, -8.0).contains(-2))
    assert [False] * 3 == [on_balls(f, 2.0).is_finite() for f in (np.arcsin, np.arctanh, lambda x: np.log1p(-x))]

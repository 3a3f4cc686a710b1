"""VJPs at sizes whose squares no float holds: what can be written down as a float is not lost on the way."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import mpmath
import numpy as np
import pytest

from verify.ops import OPS
from verify.ops.row import Op

SIZES = (1.5, -2.5, 1e155, -3e200, 1e300, 1e-155, -3e-200, 2e-300)
DIGITS = 1500
"""Digits that tell two operands apart whose sizes are the ends of the range of floats."""
FACTOR = 1e-12

PERIODIC = {"sin", "cos", "tan"}
"""At such sizes a relative step is many periods."""


def ordinary(row: Op) -> bool:
    """Whether a slope at one point is what a difference of the exact form over a step next to nothing says."""
    return row.elementwise and row.kink is None and row.singular is None and row.arity <= 2 and row.name not in PERIODIC


ROWS = [row.name for row in OPS.values() if ordinary(row) and not row.numbers and row.name != "power_constant"]


def lost(row: Op, vjps: Sequence[Any]) -> Iterator[tuple[float, ...]]:
    """The operands at which a slope is a float and the VJP answers with another one."""
    for operands in itertools.product(SIZES, repeat=row.arity):
        arrays = [np.array([x]) for x in operands]
        with np.errstate(all="ignore"):
            value = row.forward(*arrays)
            answers = [float(vjp(np.ones(1), value, *arrays)[0]) for vjp in vjps]
        for place, answer in enumerate(answers):
            exact = slope(row, operands, place)
            if np.isfinite(value[0]) and np.isfinite(exact) and abs(answer - exact) > FACTOR * abs(exact) + 1e-322:
                yield operands


def slope(row: Op, operands: Sequence[float], place: int) -> float:
    """The slope by the exact form, NaN where that has none."""
    with mpmath.workdps(DIGITS):
        below, above = ([mpmath.mpf(x) for x in operands] for _ in range(2))
        step = abs(below[place]) * mpmath.mpf(10) ** (-DIGITS // 3)
        below[place], above[place] = below[place] - step, above[place] + step
        try:
            found = (row.exact(*above) - row.exact(*below)) / (2 * step)
            return float(found) if isinstance(found, mpmath.mpf) else float("nan")
        except (ValueError, ZeroDivisionError, OverflowError, mpmath.libmp.ComplexResult):
            return float("nan")


@pytest.mark.parametrize("name", ROWS)
def test_no_slope_is_lost_to_a_square_on_the_way(name: str) -> None:
    """Wherever value and slope are floats."""
    assert list(lost(OPS[name], OPS[name].vjps))[:3] == []


def test_a_square_on_the_way_is_found() -> None:
    """The twin: the formula of the books is 0 from 1e155 on."""
    row = OPS["arcsinh"]
    assert (1e300,) in list(lost(row, [lambda g, _, a: g / np.sqrt(1 + a * a)]))

"""The slopes of all entries at once are those that a series pass gives for each."""

from __future__ import annotations

from typing import Any

import flint
import numpy as np
import pytest

from verify.case.case import Case, load_case
from verify.case.expression import graph_from_expressions
from verify.case.files import find_case_files, shipped_cases
from verify.graph.all_slopes import AllSlopes
from verify.graph.taylor import Taylor, precision
from verify.places.points import own_points
from verify.truth.reference import point_balls

FILES = find_case_files([shipped_cases()])[::6]


def both(case: Case) -> list[tuple[flint.arb, flint.arb]]:
    """Each slope from all at once, and from a series of its own, at the case's first point."""
    graph, taylor = case.graph, Taylor(case.graph)
    inputs, upstream = own_points(case, 0).take(np.array([0]))
    with precision(128):
        values = taylor.values({name: point_balls(np.asarray(x, np.float64)) for name, x in inputs.items()})
        weights = [(graph.position(name), point_balls(np.asarray(g, np.float64))) for name, g in upstream.items()]
        every = AllSlopes(taylor).at(values, weights)
        return [
            (every[at][k] if at in every else flint.arb(0), taylor.slope(values, at, entry, weights))
            for at in map(graph.position, case.variables)
            for k, entry in enumerate(np.ndindex(graph.nodes[at].shape))
        ]


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_all_at_once_are_those_of_each(file: Any) -> None:
    """They overlap and are nearly as narrow; a slope that is off by 2**-60 would not overlap."""
    for together, alone in both(load_case(file)):
        assert together.is_finite() == alone.is_finite()
        if alone.is_finite():
            assert together.overlaps(alone)
            assert float(together.rad()) <= 1e3 * float(alone.rad()) + 1e-30
            with precision(128):
                assert alone.contains(0) or not (together + together * flint.arb(2) ** -60).overlaps(alone)


def slopes(expression: str, x: float, weight: float = 1.0) -> tuple[flint.arb, flint.arb]:
    """The slope by x of an expression, all at once and by a series."""
    graph = graph_from_expressions({"x": ()}, {"f": expression})
    taylor, at = Taylor(graph), graph.position("f")
    with precision(128):
        values, weights = taylor.values({"x": flint.arb(x)}), [(at, flint.arb(weight))]
        every = AllSlopes(taylor).at(values, weights)
        return every[0][0] if 0 in every else flint.arb(0), taylor.slope(values, 0, (), weights)


def test_operands_that_move_together_are_known_to_a_series_alone() -> None:
    """At a tie of two things that are one the hull of all that the branches might send is [0, 4]; the slope is 2."""
    together, alone = slopes("max(2 * x, x + x)", 1.5)
    assert together.contains(alone)
    assert (True, False) == (alone == 2, together == 2)


def test_an_infinite_slope_stays_unknown_unless_the_weight_is_zero() -> None:
    """0 times infinity is not 0 on the way; an output that nobody asks for says nothing."""
    assert not slopes("0 * sqrt(x)", 0.0)[0].is_finite()
    assert [True, True] == [bool(slope == 0) for slope in slopes("sqrt(x)", 0.0, weight=0.0)]

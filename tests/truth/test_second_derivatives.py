"""First and second derivatives in balls: the two roads overlap for every shipped case, and a wrong one is seen."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from verify.case.case import load_case
from verify.case.expression import graph_from_expressions
from verify.case.files import find_case_files, shipped_cases
from verify.methods.reverse import Reverse
from verify.methods.symbolic import Symbolic, prepare
from verify.places.points import own_points
from verify.truth.orders import Orders

MOST_ENTRIES = 8
CASES = find_case_files([shipped_cases()])
STEP = 2.0**-14


def point_of(case: Any, *, symbolic: bool = True) -> tuple[Orders, dict[str, Any]]:
    """The first own point of a case, and a direction."""
    real = [item.name for item in case.real_inputs]
    batch = own_points(case, 0)
    inputs, upstream = ({n: x[0] for n, x in xs.items()} for xs in (batch.inputs, batch.upstream))
    road = prepare(case.graph, real) if symbolic else None
    point = Orders(case.graph, real, road if isinstance(road, Symbolic) else None, inputs, upstream)
    rng = np.random.default_rng(0)
    return point, {name: rng.choice([-1.0, 0.5, 2.0], case.graph.shape(name)) for name in real}


@pytest.mark.parametrize("file", CASES[::4], ids=lambda file: file.stem)
def test_two_roads_enclose_the_second_derivatives_of_shipped_cases(file: Any) -> None:
    """Series back through the graph overlap differences of SymPy's gradients; those of the engine's are near."""
    case = load_case(file)
    if sum(math.prod(case.graph.shape(item.name)) for item in case.real_inputs) > MOST_ENTRIES:
        pytest.skip("larger than this test needs")
    point, direction = point_of(case)
    blocks = point.hvp(direction)
    assert point.disputed == ""
    assert [known.reason for block in blocks for known in block.known if known.reason] == []
    engine = Reverse(case.graph, [item.name for item in case.real_inputs])
    moved = {name: np.stack([x + s * STEP * direction.get(name, 0.0) for s in (1, -1)])
             for name, x in point.inputs.items()}  # fmt: skip
    seeds = {name: np.stack([g, g]) for name, g in point.upstream.items()}
    gradients = engine.differentiate(moved, seeds).gradients
    for block in blocks:
        sides = gradients[block.key[0]]
        found = np.reshape([known.midpoint for known in block.known], block.shape)
        assert np.allclose(
            (sides[0] - sides[1]) / (2 * STEP), found, rtol=1e-3, atol=1e-4 * max(1, np.abs(found).max())
        )


def test_a_road_that_is_wrong_is_disputed() -> None:
    """SymPy's gradient of another function cannot be that of this one."""
    graph, other = (graph_from_expressions({"x": ()}, {"f": text}) for text in ("x**3", "1.000001 * x**3"))
    for road, disputed in ((prepare(graph, ["x"]), False), (prepare(other, ["x"]), True)):
        assert isinstance(road, Symbolic)
        along = ({"x": np.ones(())},)
        for what, given in (("hvp", along), ("hessian", ()), ("jvp", along), ("jacobian", ())):
            point = Orders(graph, ["x"], road, {"x": np.array(2.0)}, {"f": np.ones(())})
            getattr(point, what)(*given)
            assert bool(point.disputed) is disputed


@pytest.mark.parametrize(
    ("text", "x", "is_kinked"), [("relu(x)", 0.0, True), ("relu(x)", 1e-300, False), ("x * abs(x)", 0.0, True),
                                 ("relu(0.1 * x - 0.3)", 3.0, True), ("0 * relu(x) + x**2", 1.0, False)]
)  # fmt: skip
def test_no_second_derivative_within_rounding_of_a_kink(text: str, x: float, is_kinked: bool) -> None:
    """Where a branch may turn nothing is claimed; beside it everything is."""
    graph = graph_from_expressions({"x": ()}, {"f": text})
    point = Orders(graph, ["x"], None, {"x": np.array(x)}, {"f": np.ones(())})
    (block,) = point.hessian()
    assert ("kink" in block.known[0].reason) is is_kinked


def test_rounding_is_granted_and_no_more() -> None:
    """A formula in another order passes, one that loses six digits does not."""
    graph = graph_from_expressions({"x": ()}, {"f": "exp(x) / (1 + exp(x))"})
    x = 0.7
    point = Orders(graph, ["x"], None, {"x": np.array(x)}, {"f": np.ones(())})
    (block,) = point.hessian()
    s = 1 / (1 + math.exp(-x))
    right = s * (1 - s) * (1 - 2 * s)
    assert block.known[0].error(right)[1] <= block.allowed[0]
    assert block.known[0].error(right * (1 + 1e-9))[0] > block.allowed[0]

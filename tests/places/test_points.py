"""Where a case is looked at: in its domain, on its kinks, and always at the same places."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from verify.case.case import Case, load_case, load_case_text
from verify.case.files import shipped_cases
from verify.graph.interpret import Program, branch_argument, kinked_nodes
from verify.places.points import RANDOM_BLOCK, Batch, kink_points, own_points, random_points
from verify.running.runner import run_case, run_loaded
from verify.running.settings import Settings

Array = NDArray[Any]

MIXED = """
case: mixed
inputs:
  x: {shape: [2, 3], at: normal, domain: [-4, 4]}
  y: {at: 0.5, domain: "(0, 1]"}
  z: {at: -3, domain: "[-5, -2)"}
  n: {kind: integer, at: 2, domain: [-2, 3]}
  k: {kind: label, shape: [2], at: uniform, domain: [0, 4]}
  m: {kind: mask, shape: [3], at: uniform}
  c: {kind: constant, shape: [2], at: normal}
  h: {at: 1, dtype: float32}
stages:
  D: "x * m * y ** n + z * h"
  f: sum(D) + sum(c) + sum(k)
output: [D, f]
"""


def mixed() -> Case:
    """A case with inputs of every kind."""
    return load_case_text(MIXED)


def drawn(case: Case, count: int, seed: int = 0, block: int = 0) -> Batch:
    """The first random points of a block."""
    return random_points(case, seed, block, count, first_id=1)


def same(first: Batch, second: Batch, count: int) -> bool:
    """Whether the first points of two batches are equal to the last bit, upstream gradients included."""
    pairs = [(first.inputs[name], second.inputs[name]) for name in first.inputs]
    pairs += [(first.upstream[name], second.upstream[name]) for name in first.upstream]
    return all(np.array_equal(a[:count], b[:count]) for a, b in pairs)


# ----------------------------------------------------------------------------------------------------- random points


@pytest.mark.parametrize("count", [1, 2, 7, 100])
def test_fewer_points_are_a_prefix_of_more(count: int) -> None:
    """Asking for more points never moves those that were there."""
    assert same(drawn(mixed(), count), drawn(mixed(), 500), count)


def test_seeds_blocks_and_cases_are_different_points() -> None:
    """The twin: another seed, another block and another case are drawn anew."""
    case = mixed()
    first = drawn(case, 20)
    assert not same(first, drawn(case, 20, seed=1), 20)
    assert not same(first, drawn(case, 20, block=1), 20)
    assert not same(first, drawn(load_case_text(MIXED.replace("case: mixed", "case: other")), 20), 20)


def test_points_are_those_of_the_case_alone(tmp_path: Path) -> None:
    """Another case before it, or none, changes nothing: points hang on seed and name."""
    path = tmp_path / "mixed.yaml"
    path.write_text(MIXED, encoding="utf-8")
    alone = run_case(path, Settings(points=6))
    run_case(shipped_cases() / "notes" / "matmul.yaml", Settings(points=6))
    again = run_case(path, Settings(points=6))
    for one, other in zip(alone.points, again.points, strict=True):
        assert one.id == other.id
        assert all(np.array_equal(one.values[name], other.values[name]) for name in one.values)


def test_inputs_do_not_share_numbers() -> None:
    """Removing one input leaves the numbers of those before it."""
    fewer = load_case_text(MIXED.replace("  h: {at: 1, dtype: float32}\n", "").replace(" * h", ""))
    first, second = drawn(mixed(), 50), drawn(fewer, 50)
    assert all(np.array_equal(first.inputs[name], second.inputs[name]) for name in fewer.graph.inputs)
    assert not np.array_equal(first.inputs["y"], first.inputs["z"])


def test_ids_go_on_over_blocks() -> None:
    """A point's id says where to find it, whatever is run together."""
    case = load_case(shipped_cases() / "notes" / "add.yaml")
    points = RANDOM_BLOCK + 10
    found = run_loaded(case, Settings(points=points))
    assert list(range(points + 1)) == sorted(point.id for point in found.points)
    last = drawn(case, 10, block=1)
    by_id = {point.id: point for point in found.points}
    assert last.inputs["x"][9] == by_id[points].values["x"]


# ----------------------------------------------------------------------------------------------------------- domains


def test_domains_are_kept() -> None:
    """Every value of 4,000 points is where its input may be, whole where it must be, and not always the same."""
    case, batch = mixed(), drawn(mixed(), 4000)
    for item in case.inputs:
        values = batch.inputs[item.name]
        assert (4000, *item.shape) == values.shape
        assert np.dtype(item.dtype) == values.dtype
        if item.kind != "constant":
            assert bool(np.all(item.domain.contains(values)))
            assert len(np.unique(values)) > 1
        if item.kind in {"integer", "label", "mask"}:
            np.testing.assert_array_equal(np.round(values), values)
    assert {-2, -1, 0, 1, 2, 3} == set(batch.inputs["n"].tolist())
    assert {0.0, 1.0} == set(batch.inputs["m"].ravel().tolist())
    assert {0, 1, 2, 3, 4} == set(batch.inputs["k"].ravel().tolist())


@pytest.mark.parametrize(
    "domain",
    [
        "[0, 1e-300]",
        "(0, 1)",
        "(-1e308, 1e308)",
        "[5, 5]",
        "(0, 5e-324]",
        "[5e-324, 1e-323)",
        "[-1, .inf)",
        "(-.inf, .inf)",
    ],
)
def test_odd_domains_are_kept_too(domain: str) -> None:
    """Tiny, huge, open, unbounded, a single number: always inside, always finite."""
    at = {"[5, 5]": "5", "(0, 5e-324]": "5e-324", "[5e-324, 1e-323)": "5e-324", "[0, 1e-300]": "0"}.get(domain, "0.5")
    case = load_case_text(f"{{case: d, inputs: {{x: {{at: {at}, domain: '{domain}'}}}}, stages: {{f: x + 1}}}}")
    values = drawn(case, 1000).inputs["x"]
    assert bool(np.all(case.inputs[0].domain.contains(values)))
    assert np.isfinite(values).all()


def test_normal_draws_outside_the_domain_are_drawn_again() -> None:
    """A normal variable in a narrow domain: inside, and a prefix all the same."""
    text = "{case: n, inputs: {x: {shape: [4], at: normal, domain: [0.5, 0.8]}}, stages: {f: sum(x)}}"
    case = load_case_text(text)
    values = drawn(case, 300).inputs["x"]
    assert bool(np.all((values >= 0.5) & (values <= 0.8)))
    assert len(np.unique(values)) > 1000
    assert same(drawn(case, 10), drawn(case, 300), 10)


def test_constants_are_held() -> None:
    """One value at every point, the same at the case's own, drawn or given."""
    batch, own = drawn(mixed(), 50), own_points(mixed(), 0)
    assert 1 == len(np.unique(batch.inputs["c"], axis=0))
    np.testing.assert_array_equal(own.inputs["c"][0], batch.inputs["c"][0])
    given = load_case_text("{case: c, inputs: {x: {at: 1}, c: {kind: constant, at: 7}}, stages: {f: x * c}}")
    assert {7.0} == set(drawn(given, 20).inputs["c"].tolist())


def test_upstream_gradients() -> None:
    """1 for a scalar output, drawn anew at every point for an array, and the input's where the case names one."""
    batch = drawn(mixed(), 50)
    np.testing.assert_array_equal(np.ones(50), batch.upstream["f"])
    assert (50, 2, 3) == batch.upstream["D"].shape
    assert 300 == len(np.unique(batch.upstream["D"]))
    matmul = load_case(shipped_cases() / "notes" / "matmul.yaml")
    named = drawn(matmul, 5)
    np.testing.assert_array_equal(named.inputs["dD"], named.upstream["D"])


# -------------------------------------------------------------------------------------------------------- own points


def test_own_points_are_as_the_file_says() -> None:
    """In order, with notes and lines; what is left open is drawn from the seed."""
    batch = own_points(load_case(shipped_cases() / "notes" / "max_subgradient.yaml"), seed=0)
    assert ["at", "points[0]", "points[1]", "points[2]"] == list(batch.origins)
    np.testing.assert_array_equal([4, -3, 2, 0], batch.inputs["x"])
    np.testing.assert_array_equal([2, 5, 2, 0], batch.inputs["y"])
    assert batch.own
    assert "a tie at zero" in batch.notes
    matmul = load_case(shipped_cases() / "notes" / "matmul.yaml")
    first, again, other = (own_points(matmul, seed) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first.inputs["W"], again.inputs["W"])
    assert not np.array_equal(first.inputs["W"], other.inputs["W"])


# ------------------------------------------------------------------------------------------------------- kink points

KINKED = {
    "relu": "{case: a, inputs: {x: {at: 1, domain: [-3, 2]}}, stages: {f: relu(x)}}",
    "line": "{case: b, inputs: {x: {at: 1, domain: [-3, 5]}, y: {at: 1}}, stages: {f: 'relu(x * 0.7 - y + 0.1)'}}",
    "array": "{case: c, inputs: {x: {shape: [4], at: normal, domain: [-3, 3]}}, stages: {f: 'sum(max(x, 1.5))'}}",
    "curve": "{case: d, inputs: {x: {at: 1, domain: [-3, 3]}}, stages: {q: exp(x) - 2, f: abs(q)}}",
    "float32": "{case: e, inputs: {x: {at: 1, domain: [-3, 3], dtype: float32}}, stages: {f: abs(x - 0.1)}}",
    "nested": "{case: f, inputs: {x: {at: 1, domain: [-3, 3]}, y: {at: 1}}, stages: {f: 'relu(relu(x) - abs(y))'}}",
    "held": "{case: g, inputs: {x: {at: 1}, c: {kind: constant, at: 0.25}}, stages: {f: 'min(x, c)'}}",
}


@pytest.mark.parametrize("name", KINKED)
def test_kink_points_are_kinks(name: str) -> None:
    """Some branch is within rounding of turning, every input in its domain, constants held, and no point twice."""
    case = load_case_text(KINKED[name])
    program = Program(case.graph)
    batch = kink_points(case, program, seed=0, first_id=7)
    assert batch is not None
    assert 1 <= len(batch) <= 8
    assert list(range(7, 7 + len(batch))) == batch.ids.tolist()
    values = program.run(batch.inputs)
    closest = np.full(len(batch), np.inf)
    for node in kinked_nodes(case.graph):
        argument = np.abs(branch_argument(case.graph.nodes[node], values)).reshape(len(batch), -1)
        closest = np.minimum(closest, argument.min(axis=1))
    unit = max(float(np.finfo(item.dtype).eps) for item in case.inputs)
    assert bool(np.all(closest <= 8 * unit))
    for item in case.inputs:
        assert bool(np.all(item.domain.contains(batch.inputs[item.name])))
    assert len(batch) == len(
        {tuple(np.concatenate([x[p].ravel() for x in batch.inputs.values()])) for p in range(len(batch))}
    )


def test_random_points_are_no_kinks() -> None:
    """The twin: the same measure at random points is far from zero."""
    case = load_case_text(KINKED["curve"])
    values = Program(case.graph).run(drawn(case, 200).inputs)
    node = case.graph.nodes[kinked_nodes(case.graph)[0]]
    assert float(np.min(np.abs(branch_argument(node, values)))) > 1e-5


@pytest.mark.parametrize(
    "text",
    [
        "{case: a, inputs: {x: {at: 1}}, stages: {f: exp(x)}}",
        "{case: b, inputs: {x: {at: 1, domain: [0.5, 2]}}, stages: {f: relu(x)}}",
        "{case: c, inputs: {x: {at: 1, domain: [-1, 1]}}, stages: {f: relu(x * x + 1)}}",
    ],
)
def test_where_there_is_no_kink_none_is_found(text: str) -> None:
    """Smooth functions, and kinks outside the domain."""
    case = load_case_text(text)
    assert kink_points(case, Program(case.graph), seed=0, first_id=0) is None


def test_a_run_without_random_points_looks_at_own_points_alone() -> None:
    """``--points 0`` means what the file names, and nothing else."""
    case = load_case(shipped_cases() / "notes" / "relu.yaml")
    assert {True} == {point.own for point in run_loaded(case, Settings(points=0)).points}
    assert {"kink", "random"} <= {point.origin for point in run_loaded(case, Settings(points=3)).points}

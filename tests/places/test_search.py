"""Where a gradient is looked at: faults in regions that a random point hardly ever falls into, each with its twin.

Every region is tried at default settings. The same gradient without the fault passes, and the row that fails says why
its point was chosen.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from verify.case.case import Case, load_case_text
from verify.errors import UsageError
from verify.graph.interpret import Program
from verify.oracle.check import check_gradient
from verify.places.points import Batch, kink_points
from verify.places.search import MOST, search_points
from verify.places.sizes import other_sizes
from verify.records import Run
from verify.running.runner import run_cases, run_file
from verify.running.settings import Settings
from verify.subjects.code_constants import MOST_CONSTANTS, constants_of, python_functions

Gradient = Callable[..., Any]

LIMIT = 2.71875
"""A number of this module that a gradient below refers to by name."""

TOO_LARGE = 10**400
"""No float holds it."""


def case(stages: str, more: str = "", **inputs: str) -> Case:
    """A case from ``name: fields`` pairs and stages written as YAML flow mappings."""
    listed = ", ".join(f"{name}: {{{fields}}}" for name, fields in inputs.items())
    return load_case_text(f"case: made for a test\n{more}\ninputs: {{{listed}}}\nstages: {{{stages}}}\n")


def wrong_where(gradient: Gradient, region: Callable[..., Any]) -> Gradient:
    """A gradient that is too large by half, and by 2, where a condition on its arguments holds."""

    @functools.wraps(gradient)
    def wrong(*args: Any, **kwargs: Any) -> Any:
        found = gradient(*args, **kwargs)
        if not region(*args, *kwargs.values()):
            return found
        return tuple(1.5 * part + 2 for part in found) if isinstance(found, tuple) else 1.5 * found + 2

    return wrong


def compared(x: Any) -> Any:
    """A helper of the module whose constant counts as the gradient's."""
    return x == 1.40625


SQUARE = case("f: x**2", x="at: 3, domain: [-5, 5]")
WIDE = case("f: x**2", x="at: 3, domain: [-1e6, 1e6]")
RELU = case("f: relu(x)", x="at: 3, domain: [-5, 5]")
PRODUCT = case("f: x * y**2", x="at: 3, domain: [-5, 5]", y="at: -2, domain: [-5, 5]")
VECTOR = case("f: sum(x**3)", x="shape: [12], at: normal, domain: [-3, 3]")
MATRIX = case("f: sum(x**3)", x="shape: [3, 4], at: normal, domain: [-3, 3]")
ARRAY = case("f: x**2", x="shape: [12], at: normal, domain: [-3, 3]")
SATURATED = case("f: tanh(x)", x="at: 3, domain: [-5, 1e9]")
POSITIVE = case("f: log(x)", x="at: 3, domain: '(0, 10]'")
CLIPPED = case("f: relu(x - 4.99)", x="at: 3, domain: [-5, 5]")


def square(x: Any) -> Any:
    """The gradient of SQUARE and of WIDE."""
    return 2 * x


def relu(x: Any) -> Any:
    """The gradient of RELU."""
    return np.where(x > 0, 1.0, 0.0)


def product(x: Any, y: Any) -> Any:
    """The gradient of PRODUCT."""
    return y**2, 2 * x * y


def cube(x: Any) -> Any:
    """The gradient of VECTOR and of MATRIX."""
    return 3 * x**2


def weighed(x: Any, upstream: Any) -> Any:
    """The gradient of ARRAY."""
    return 2 * x * upstream


def tanh(x: Any) -> Any:
    """The gradient of SATURATED."""
    return 1 / np.cosh(np.minimum(x, 700.0)) ** 2


REGIONS: dict[str, tuple[Case, Gradient, Callable[..., Any], str]] = {
    "a side": (SQUARE, square, lambda x: x > 2, ""),
    "a number in the code": (SQUARE, square, lambda x: x == 0.1234, "x = 0.1234, a number in the code"),
    "its negative": (SQUARE, square, lambda x: abs(x) == 0.1234 and x < 0, "x = -0.1234, a number in the code"),
    "just above it": (SQUARE, square, lambda x: 1.5 < x < 1.50001, "x just above 1.5, a number in the code"),
    "a little above it": (SQUARE, square, lambda x: 1.0005 < x / 1.25 < 1.0015, "x a little above 1.25, a number"),
    "a number of the module": (SQUARE, square, lambda x: x == LIMIT, "x = 2.71875, a number in the code"),
    "a number of a helper": (SQUARE, square, lambda x: compared(x), "x = 1.40625, a number in the code"),  # noqa: PLW0108 - its name is what is looked up
    "in any entry": (VECTOR, cube, lambda x: np.any(x == 0.1234), "an entry of x = 0.1234, a number in the code"),
    "in every entry": (VECTOR, cube, lambda x: np.all(x == 0.1234), "x = 0.1234, a number in the code"),
    "both inputs equal": (PRODUCT, product, lambda x, y: x == y, "y equal to x"),
    "opposite inputs": (PRODUCT, product, lambda x, y: x == -y, "y = -x"),
    "one input much larger": (PRODUCT, product, lambda x, y: 0 < abs(y) * 10**6 < abs(x), "x much larger than y"),
    "neighbouring inputs": (PRODUCT, product, lambda x, y: x != y and np.isclose(x, y, 1e-14, 0), "y a float above x"),
    "small values": (WIDE, square, lambda x: 0 < abs(x) < 1, "x about"),
    "both small": (PRODUCT, product, lambda x, y: 0 < max(abs(x), abs(y)) * 10**9 < 1, "every input scaled by"),
    "an end of the domain": (SQUARE, square, lambda x: x == np.float64(10) / 2, "x at the high end of its domain"),
    "near an open end": (POSITIVE, lambda x: 1 / x, lambda x: x * 10**6 < 1, ""),
    "zero": (SQUARE, square, lambda x: not x, "x at 0"),
    "minus zero": (SQUARE, square, lambda x: not x and np.signbit(x), "x at -0.0"),
    "a tie": (RELU, relu, lambda x: not x, "kink"),
    "next to a tie": (RELU, relu, lambda x: 0 < x and not np.nextafter(x, -1), "next to a tie, x a float above"),
    "a rare branch": (CLIPPED, lambda x: float(x > 4.99), lambda x: x - 4.99 > 0, ""),
    "equal entries": (VECTOR, cube, lambda x: len(np.unique(x)) == len(x) - 1, "x with two equal entries"),
    "a constant array": (VECTOR, cube, lambda x: len(np.unique(x)) == 1 and x[0] != 0, ""),
    "a sorted array": (VECTOR, cube, lambda x: np.all(np.diff(x) > 0), "x sorted"),
    "a dominant entry": (VECTOR, cube, lambda x: np.max(abs(x)) > 100 * np.median(abs(x)) > 0, "x with one entry"),
    "equal rows": (MATRIX, cube, lambda x: np.all(x[0] == x[-1]) and np.any(x[0] != x[1]), "x with two equal rows"),
    "negative upstream": (ARRAY, weighed, lambda _, g: np.all(g < 0), "upstream gradient of f negative"),
    "no upstream": (ARRAY, weighed, lambda _, g: not np.any(g), "upstream gradient of f 0"),
    "one-hot upstream": (ARRAY, weighed, lambda _, g: np.count_nonzero(g) == 1, "upstream gradient of f one-hot"),
    "huge upstream": (ARRAY, weighed, lambda _, g: np.max(abs(g)) > 10**50, "upstream gradient of f huge"),
    "tiny upstream": (ARRAY, weighed, lambda _, g: 0 < np.max(abs(g)) * 10**50 < 1, "upstream gradient of f tiny"),
    "where cosh overflows": (SATURATED, tanh, lambda x: 9 < x < 800, ""),
}
"""Name -> case, its gradient, where that is wrong, and how the origin of a point that shows it begins."""


@pytest.mark.parametrize("name", REGIONS)
def test_a_fault_in_a_region_is_found(name: str) -> None:
    """At default settings; and the gradient without the fault passes."""
    known, right, region, origin = REGIONS[name]
    assert check_gradient(right, known).ok
    run = check_gradient(wrong_where(right, region), known)
    assert not run.ok
    assert any(found.startswith(origin) for found in failing_origins(run)), failing_origins(run)


def failing_origins(run: Run) -> set[str]:
    """Why the points were chosen at which rows fail."""
    result = run.cases[0]
    origin = {point.id: point.origin for point in result.points}
    return {origin[row.point] for row in result.failing()}


def searched(known: Case, **options: Any) -> Batch:
    """The points that are searched in one case."""
    program = Program(known.graph)
    kinks = kink_points(known, program, 0, 1)
    found = search_points(known, program, 0, 100, kinks=kinks, **options)
    assert found is not None
    return found


@pytest.mark.parametrize("known", [SQUARE, WIDE, RELU, PRODUCT, VECTOR, MATRIX, ARRAY, SATURATED, POSITIVE, CLIPPED])
def test_points_lie_in_the_domain_and_are_bounded(known: Case) -> None:
    """However many constants there are; and the same seed gives the same points."""
    constants = list(np.linspace(-7, 7, MOST_CONSTANTS))
    batch, again = (searched(known, constants=constants) for _ in range(2))
    for item in known.inputs:
        assert np.all(item.domain.contains(batch.inputs[item.name]))
        assert np.array_equal(batch.inputs[item.name], again.inputs[item.name])
    assert len(batch) <= sum(MOST.values())
    assert len(batch) == len(batch.origins) == len(set(batch.ids.tolist()))
    assert len(searched(known, constants=constants, points=8)) < len(batch) / 2


def test_inputs_are_equal_on_purpose_only() -> None:
    """Numbers from the code, ends and zeros never make two scalars the same, which could hide a swap."""
    twin = case("f: x * y", x="at: 1, domain: [-1, 1], dtype: float32", y="at: -1, domain: [-1, 1], dtype: float32")
    batch = searched(twin, constants=[0.5, 1.0])
    equal = batch.inputs["x"] == batch.inputs["y"]
    assert {"y equal to x"} == {batch.origins[i] for i in np.flatnonzero(equal).tolist()}


def test_large_cases_get_fewer_points() -> None:
    """So that all points together cost no more."""
    large = case("f: sum(x**3)", x="shape: [3000], at: normal")
    assert len(searched(large)) <= len(searched(VECTOR)) / 2


def test_overflow_is_found_to_the_float() -> None:
    """The last value at which a stage is finite, and the first at which it is not."""
    batch = searched(case("e: exp(x), f: e / (1 + e)", x="at: 1, domain: [-1e4, 1e4]"))
    beside = [x for x, why in zip(batch.inputs["x"], batch.origins, strict=True) if "the range of floats" in why]
    with np.errstate(over="ignore"):
        last = max(x for x in beside if np.isfinite(np.exp(x)))
        assert np.isinf(np.exp(np.nextafter(last, 1000)))
    assert np.nextafter(last, 1000) in beside


# --------------------------------------------------------------------------------------------- constants in the code


def test_where_numbers_of_the_code_come_from() -> None:
    """Comparisons first; then those of inner functions, defaults, closures, called functions and methods."""
    inside = 3.5

    def gradient(x: Any, shift: float = 4.5) -> Any:
        def inner(y: Any) -> Any:
            return 5.5 * y

        return 6.5 * x if x > 7.5 else inner(x) + shift + inside + compared(x)

    found = constants_of(gradient)
    assert 7.5 == found[0]
    assert {1.40625, 3.5, 4.5, 5.5, 6.5, 7.5} <= set(found)
    assert ("gradient", "compared") == tuple(function.__name__ for function in python_functions(gradient))


def test_callables_of_every_kind() -> None:
    """Partial functions, objects that are called, classes with static methods, built-in functions."""

    class Layer:
        factor = 1.0

        def __call__(self, x: Any) -> Any:
            return x * 8.25

        @staticmethod
        def backward(x: Any) -> Any:
            return x * 9.25

    assert (8.25,) == constants_of(Layer())
    assert 9.25 in constants_of(Layer)
    assert 9.25 in constants_of(Layer.backward)
    assert (8.25,) == constants_of(functools.partial(Layer.__call__, Layer()))
    assert () == constants_of(np.exp)


def test_numbers_that_no_float_is() -> None:
    """Infinity, NaN, truth values and whole numbers beyond floats are no places to look at."""
    assert (2.5,) == constants_of(lambda x: (x is True, x > TOO_LARGE, x < 1e999, x < 2.5))


# -------------------------------------------------------------------------------------------------------- other sizes

PRODUCTS = case(
    "D: W @ X",
    "dims: {m: 3, k: 3, n: 4}",
    W="shape: [m, k], at: normal, domain: [-2, 2]",
    X="shape: [k, n], at: [[1, 2, 3, 4], [5, 6, 7, 8], [0, 1, 0, 1]], domain: [-9, 9]",
)


def affine(W: Any, X: Any, upstream: Any) -> Any:
    """The gradient of PRODUCTS."""
    return upstream @ X.T, W.T @ upstream


@pytest.mark.parametrize("shape", [(1, None), (None, 1)])
def test_a_fault_at_a_size_of_one(shape: tuple[int | None, int | None]) -> None:
    """The case's own sizes are larger; the size that shows it is in the name of the result."""

    def wrong(W: Any, X: Any, upstream: Any) -> Any:
        dW, dX = affine(W, X, upstream)
        seen = W.shape[0] == shape[0] or X.shape[1] == shape[1]
        return (dW * 2, dX) if seen else (dW, dX)

    assert check_gradient(affine, PRODUCTS).ok
    run = check_gradient(wrong, PRODUCTS)
    assert run.cases[0].passes
    failing = [result.name for result in run.cases if not result.passes]
    assert failing
    assert all(("m=1" if shape[0] else "n=1") in name for name in failing)
    assert check_gradient(wrong, PRODUCTS, Settings(sizes=0)).ok


def test_sizes_that_were_mixed_up() -> None:
    """Right where two sizes agree, which they do in the case itself."""

    def wrong(W: Any, X: Any, upstream: Any) -> Any:
        dW, dX = affine(W, X, upstream)
        return dW * W.shape[0] / W.shape[1], dX

    run = check_gradient(wrong, PRODUCTS)
    assert run.cases[0].passes
    assert not run.ok


def test_a_case_at_other_sizes() -> None:
    """Given arrays are cut or repeated, nothing is expected, and what is no size is refused."""
    smaller = PRODUCTS.with_dims({"m": 1, "n": 6})
    assert {"W": (1, 3), "X": (3, 6)} == {item.name: item.shape for item in smaller.inputs}
    assert [[1, 2, 3, 4, 1, 2], [5, 6, 7, 8, 5, 6], [0, 1, 0, 1, 0, 1]] == np.asarray(smaller.inputs[1].at).tolist()
    assert (3, 6) == smaller.with_dims({"m": 3}).graph.shape("D")
    assert () == smaller.own_points
    for sizes, words in (({"q": 2}, "no shape has the dim 'q'"), ({"m": 0}, "from 1 on, got 0")):
        with pytest.raises(UsageError, match=words):
            PRODUCTS.with_dims(sizes)
    with pytest.raises(UsageError, match="no shape has the dim"):
        SQUARE.with_dims({"m": 1})


def test_which_sizes_are_tried() -> None:
    """All unequal first, then a 1 in each place among equal ones, all equal, ones alone; none that do not exist."""
    names = [other.name.split("[")[1][:-1] for other in other_sizes(PRODUCTS, 0, 9)]
    sizes = [tuple(int(part.split("=")[1]) for part in name.split(", ")) for name in names]
    assert 3 == len(set(sizes[0]))
    assert [(3, 1, 3), (3, 3, 3)] == sizes[1:3]
    assert {(1, 3, 3), (3, 3, 1)} == set(sizes[3:5])
    assert [(1, 1, 1)] == sizes[5:]
    fixed = case("'f': 'x[2] * sum(x)'", "dims: {n: 3}", x="shape: [n], at: normal")
    assert [] == other_sizes(fixed, 0, 9)
    labelled = case(
        "f: sum(x) * sum(y)",
        "dims: {n: 2, c: 5}",
        x="shape: [n, c], at: normal",
        y="shape: [n], at: [4, 0], kind: label",
    )
    assert all(other.dims["c"] >= 5 for other in other_sizes(labelled, 0, 9))
    assert any(other.dims["n"] == 1 for other in other_sizes(labelled, 0, 9))


def test_a_file_is_run_at_other_sizes(tmp_path: Path) -> None:
    """Each is a result of its own, in the order of the files; none where it is not asked for."""
    text = "case: mean\ndims: {n: 4}\ninputs: {x: {shape: [n], at: normal}}\nstages: {f: sum(x) / n}\n"
    (tmp_path / "mean.yaml").write_text(text)
    (tmp_path / "square.yaml").write_text("case: square\ninputs: {x: {at: 3}}\nstages: {f: x**2}\n")
    files = sorted(tmp_path.iterdir())
    for jobs in (1, 2):
        run = run_cases(files, Settings(points=2), jobs=jobs)
        assert ["mean", "mean [n=2]", "mean [n=1]", "square"] == [result.name for result in run.cases]
        assert run.ok
    assert ["mean"] == [result.name for result in run_file(files[0], Settings(points=2, sizes=0))]
    assert ["mean"] == [result.name for result in run_file(files[0], Settings(points=0))]
    (tmp_path / "mean.yaml").write_text(text.replace("sum(x) / n", "sum(y) / n"))
    assert "ERROR" == run_file(files[0], Settings(points=2))[0].status


def test_lost_tails_are_measured_at_their_own_point() -> None:
    """Random points of a wide domain lie in the tails alone; a gradient of 0 there is no excuse for one elsewhere."""

    def lossy(x: Any) -> Any:
        return 1 - np.tanh(x) ** 2

    wide = case("f: tanh(x)", x="at: 1, domain: [-1e6, 1e6]")
    assert check_gradient(lossy, wide).ok
    assert not check_gradient(wrong_where(lossy, lambda x: x > 20), wide).ok

"""What users and adversaries of the oracle ran into: right gradients that were accused, wrong ones that passed."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from verify.case.case import load_case_text
from verify.errors import CaseError, UsageError
from verify.oracle.check import check_gradient
from verify.words import Verdict

CUBE = {"x": [1.0, -2.0, 0.5]}
WIDE = {"x": (-3, 3)}


def cube(x: Any) -> Any:
    """The function."""
    return x * x * x


@pytest.mark.parametrize("seed", [0, 2, 3])
def test_a_huge_upstream_gradient_excuses_nothing_at_other_points(seed: int) -> None:
    """An opaque gradient that answers 0 where x > 2: the largest gradient is one for an upstream gradient of size 1."""

    def right(x: Any, upstream: Any) -> Any:
        return np.array([float(u) * 3 * float(v) ** 2 for v, u in zip(x, upstream, strict=True)])

    def wrong(x: Any, upstream: Any) -> Any:
        return np.array([float(u) * (3 * float(v) ** 2 if v < 2 else 0.0) for v, u in zip(x, upstream, strict=True)])

    options: dict[str, Any] = {"at": CUBE, "domain": WIDE, "seed": seed}
    assert check_gradient(right, cube, **options).ok
    run = check_gradient(wrong, cube, **options)
    assert "FAIL" == run.verdict
    assert not run.ok


@pytest.mark.parametrize("takes_upstream", [True, False])
def test_a_textbook_backward_pass_that_loses_tails_passes(takes_upstream: bool) -> None:
    """Lost tails are measured for the upstream gradient of their own point."""

    def slope(x: Any) -> Any:
        return 1 - np.tanh(x) ** 2

    gradient = (lambda x, upstream: upstream * slope(x)) if takes_upstream else slope
    assert check_gradient(gradient, lambda x: np.tanh(x), at={"x": 1.0}, domain={"x": (-20, 20)}).ok
    wrong = (lambda x, upstream: upstream * slope(x) * 1.001) if takes_upstream else (lambda x: slope(x) * 1.001)
    assert not check_gradient(wrong, lambda x: np.tanh(x), at={"x": 1.0}, domain={"x": (-20, 20)}).ok


def test_an_exception_where_the_function_has_no_value_is_told_and_accuses_nobody() -> None:
    """A matrix of equal entries is singular; one that raises at ordinary matrices is wrong."""

    def inverse_vjp(A: Any, upstream: Any) -> Any:
        B = np.linalg.inv(A)
        return -B.T @ upstream @ B.T

    def picky(A: Any, upstream: Any) -> Any:
        if A[0, 0] < 0:
            raise ValueError("negative")
        return inverse_vjp(A, upstream)

    options: dict[str, Any] = {"at": {"A": [[2.0, 1.0], [1.0, 3.0]]}, "domain": {"A": (-3, 3)}, "points": 16}
    run = check_gradient(inverse_vjp, lambda A: np.linalg.inv(A), **options)
    assert run.ok
    assert [] == list(run.cases[0].findings)
    assert any("no value at" in note and "LinAlgError" in note for note in run.cases[0].notes)
    run = check_gradient(picky, lambda A: np.linalg.inv(A), **options)
    assert not run.ok
    assert ("exception", True) in [(finding.kind, finding.fails) for finding in run.cases[0].findings]


@pytest.mark.parametrize(
    ("name", "gradient"),
    [
        ("activations/tanh_by_exponentials", lambda x, upstream: upstream / np.cosh(x) ** 2),
        ("activations/sigmoid", lambda x: (lambda s: s * (1 - s))(1 / (1 + np.exp(-x)))),
    ],
)
def test_figures_and_methods_beside_it_accuse_no_gradient(name: str, gradient: Any) -> None:
    """It is held against the truth, and the case's figures against the methods by `verify run`."""
    assert check_gradient(gradient, name, points=8).ok
    assert not check_gradient(lambda **given: gradient(**given) * 1.0001, name, points=8).ok


def test_a_black_box_is_looked_at_in_its_domain() -> None:
    """A fault beyond the given point is found; without a domain a note says what was looked at."""

    def opaque(x: Any) -> float:
        x = float(str(x))
        return math.sin(x) * math.exp(0.1 * x)

    def right(x: Any) -> float:
        return (math.cos(x) + 0.1 * math.sin(x)) * math.exp(0.1 * x)

    def wrong(x: Any) -> float:
        return right(x) * (1.1 if x > 1 else 1.0)

    options: dict[str, Any] = {"at": {"x": 0.5}, "domain": {"x": (-3, 3)}}
    assert check_gradient(right, opaque, **options).ok
    run = check_gradient(wrong, opaque, **options)
    assert not run.ok
    assert "random" in {point.origin for point in run.cases[0].points}
    run = check_gradient(wrong, opaque, at={"x": 0.5})
    assert run.ok
    assert any("looked at the given points alone" in note for note in run.cases[0].notes)


def test_logaddexp_is_traced_without_its_overflow() -> None:
    """Far out its slope is 1; one that gives up there is wrong."""

    def sigmoid(x: Any) -> Any:
        e = np.exp(-np.abs(x))
        return np.where(x >= 0, 1.0, e) / (1.0 + e)

    options: dict[str, Any] = {"at": {"x": 1.0}, "domain": {"x": (-1000, 1000)}}
    assert check_gradient(sigmoid, lambda x: np.logaddexp(x, 0), **options).ok
    assert not check_gradient(lambda x: np.where(x > 710, 0.0, sigmoid(x)), lambda x: np.logaddexp(x, 0), **options).ok


def test_a_buffer_that_is_used_again_is_read_in_time() -> None:
    """The answer of each call is taken before the next one overwrites it."""
    buffer = np.zeros(3)

    def gradient(x: Any) -> Any:
        np.multiply(x, 2, out=buffer)
        return buffer

    assert check_gradient(gradient, lambda x: np.sum(x**2), at=CUBE, domain=WIDE, points=8).ok


def test_calling_conventions() -> None:
    """By name where a gradient takes keywords alone; leaving the program is an exception like any other."""
    case = load_case_text("case: square\ninputs: {x: {at: 3}}\nstages: {f: x**2}\n")
    assert check_gradient(lambda **given: 2 * given["x"], case, points=4).ok
    assert check_gradient(lambda *given: 2 * given[0], case, points=4).ok

    def leaving(x: Any) -> Any:
        raise SystemExit(0)

    (finding,) = check_gradient(leaving, case, points=4).cases[0].findings
    assert ("exception", True) == (finding.kind, finding.fails)


def test_constants_of_an_unknown_structure_are_tried_at_no_other_size() -> None:
    """An identity matrix is none at another size; drawn constants, and those of one number, go along."""
    inputs = "{{I: {{shape: [k, k], at: {at}, kind: constant}}, w: {{shape: [k], at: normal}}}}"
    text = f"case: ridge\ndims: {{{{k: 2}}}}\ninputs: {inputs}\nstages: {{{{f: sum((I @ w)**2)}}}}\n"

    def gradient(I: Any, w: Any) -> Any:  # noqa: E741 - the case's own name
        return 2 * I.T @ (I @ w)

    run = check_gradient(gradient, load_case_text(text.format(at="[[1, 0], [0, 1]]")), points=4)
    assert (True, 1) == (run.ok, len(run.cases))
    run = check_gradient(gradient, load_case_text(text.format(at="normal")), points=4)
    assert run.ok
    assert len(run.cases) > 1


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"at": 3.0}, "at takes one point"),
        ({"domain": (0, 4)}, "domain maps arguments by name"),
        ({"points": 1.5}, "points and seed are whole numbers"),
        ({"points": -1}, "the number of points must be 0 or more"),
        ({"seed": -1}, "the seed must be 0 or more"),
        ({"constants": 3}, "constants are names in a list"),
        ({"dims": 3}, "dims maps arguments by name"),
    ],
)
def test_arguments_of_the_wrong_kind(options: dict[str, Any], words: str) -> None:
    """Each is refused in a sentence."""
    with pytest.raises(UsageError, match=words):
        check_gradient(lambda x, y: (1.0, 1.0), "add", **options)


def test_too_many_axes_are_a_problem_of_the_case() -> None:
    """With its place, not a fault of NumPy's."""
    with pytest.raises(CaseError, match="at most 30 are allowed"):
        load_case_text(f"case: deep\ninputs: {{x: {{at: [1, 2]}}}}\nstages: {{f: 'sum(x[{'None, ' * 40}0])'}}\n")


def test_lost_tails_that_pass_are_noted() -> None:
    """A reader of IMPRECISE should know why it passes."""
    run = check_gradient(
        lambda x: (lambda s: s * (1 - s))(1 / (1 + np.exp(-x))), "activations/sigmoid", domain={"x": (-40, 40)}
    )
    assert Verdict.IMPRECISE in run.cases[0].counts
    assert any("lost digits to rounding and pass" in note for note in run.cases[0].notes)


def staged(x: float, y: float, factor: float) -> tuple[float, float]:
    """The notes' backward pass in plain floats, which do not run on balls; 2 is the right factor."""
    sigy, sigx = 1 / (1 + math.exp(-y)), 1 / (1 + math.exp(-x))
    num, den = x + sigy, sigx + (x + y) ** 2
    dden = -num / den**2
    dxpy = factor * (x + y) * dden
    return 1 / den + dden * sigx * (1 - sigx) + dxpy, sigy * (1 - sigy) / den + dxpy


def test_a_fault_near_a_root_of_the_gradient_is_no_rounding() -> None:
    """The gradient by x is small here, so relative errors jump from point to point, whatever the fault."""
    options: dict[str, Any] = {"at": {"x": -6.0, "y": -5.999999999999999}, "points": 0}
    assert check_gradient(lambda x, y: staged(float(x), float(y), 2.0), "staged_function", **options).ok
    run = check_gradient(lambda x, y: staged(float(x), float(y), 1.0), "staged_function", **options)
    assert {Verdict.FAIL: 2} == dict(run.cases[0].counts)


def test_a_domain_of_nothing_is_refused() -> None:
    """Also where the function cannot be traced; the twin is the black box above."""
    with pytest.raises(UsageError, match="'y'"):
        check_gradient(math.cos, lambda x: math.sin(x), at={"x": 0.5}, domain={"y": (0, 1)})

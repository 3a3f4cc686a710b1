"""What a gradient promises beside its numbers: each promise kept passes, each one broken is a finding of its own."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import verify
from verify.case.case import load_case_text
from verify.errors import UsageError, WrongGradientError
from verify.oracle.check import check_gradient
from verify.running.settings import Settings

FEW = Settings(points=4)
ROW = load_case_text(
    "case: affine\ninputs: {W: {shape: [2, 3], at: normal}, x: {shape: [3], at: normal}, b: {shape: [2], at: normal}}\n"
    "stages: {y: W @ x + b}\n"
)
SINGLE = load_case_text("case: squares\ninputs: {x: {shape: [3], at: [1, 2, 3], dtype: float32}}\nstages: {f: x**2}\n")
SCALAR = load_case_text("case: cube\ninputs: {x: {at: 2}}\nstages: {f: x**3}\n")


def affine(W: Any, x: Any, upstream: Any) -> dict[str, Any]:
    """The right answer, in arrays of its own."""
    return {"W": np.outer(upstream, x), "x": W.T @ upstream, "b": upstream.copy()}


def writes_to_an_input(W: Any, x: Any, upstream: Any) -> Any:
    """Scales x in place."""
    found = affine(W, x, upstream)
    x *= 2
    return found


def writes_to_upstream(W: Any, x: Any, upstream: Any) -> Any:
    """Adds to upstream in place."""
    found = affine(W, x, upstream)
    upstream += 1
    return found


def hands_out_upstream(W: Any, x: Any, upstream: Any) -> Any:
    """Gives b the very array that it was given."""
    return affine(W, x, upstream) | {"b": upstream}


def transposes(W: Any, x: Any, upstream: Any) -> Any:
    """Gives W a matrix that lies on its side."""
    return affine(W, x, upstream) | {"W": np.outer(x, upstream)}


def broadcasts(W: Any, x: Any, upstream: Any) -> Any:
    """Forgets to sum over the rows, which NumPy would hide."""
    return affine(W, x, upstream) | {"b": np.stack([upstream, upstream])}


def one_number(W: Any, x: Any, upstream: Any) -> Any:
    """A number that fits any array by broadcasting."""
    return affine(W, x, upstream) | {"b": upstream[0]}


def is_not_linear(W: Any, x: Any, upstream: Any) -> Any:
    """Takes the size of upstream."""
    return affine(W, x, np.abs(upstream))


COUNTER = itertools.count(1)


def drifts(W: Any, x: Any, upstream: Any) -> Any:
    """Answers a little more at every call."""
    return affine(W, x, upstream) | {"b": upstream * (1 + next(COUNTER) * 1e-15)}


def raises(W: Any, x: Any, upstream: Any) -> Any:
    """Stumbles over its own code."""
    return affine(W, x, upstream)["missing"]


FINDINGS: dict[str, tuple[Callable[..., Any], str, bool]] = {
    "input mutated": (writes_to_an_input, "writes to its input 'x'", True),
    "upstream mutated": (writes_to_upstream, "writes to its upstream 'upstream'", True),
    "output aliases an input": (
        hands_out_upstream,
        "the gradient by b shares its memory with the argument 'upstream'",
        False,
    ),
    "wrong shape": (transposes, "has shape (3, 2), W has shape (2, 3): is it transposed?", True),
    "not linear": (is_not_linear, "is not linear in upstream", True),
    "not deterministic": (drifts, "the gradient by b does not repeat itself", True),
    "exception": (raises, "raised KeyError: 'missing'", True),
}
"""Kind -> a gradient that has it, words of the sentence, and whether it fails for it."""


def test_a_gradient_that_keeps_its_promises_has_no_findings() -> None:
    """The twin of all that follows."""
    result = check_gradient(affine, ROW, FEW).cases[0]
    assert () == result.findings
    assert result.passes


@pytest.mark.parametrize("kind", FINDINGS)
def test_a_broken_promise_is_a_finding_of_its_own(kind: str) -> None:
    """It is named, told in words, and decides."""
    gradient, words, fails = FINDINGS[kind]
    run = check_gradient(gradient, ROW, FEW)
    findings = {finding.kind.value: finding for finding in run.cases[0].findings}
    assert words in findings[kind].sentence
    assert (fails, not fails) == (findings[kind].fails, run.ok)
    assert f"{kind}: " in str(run)


@pytest.mark.parametrize(
    ("gradient", "words"),
    [
        (broadcasts, "has shape (2, 2), b has shape (2,): sum over axis 0, along which b was broadcast"),
        (one_number, "has shape (), b has shape (2,): NumPy would broadcast it silently"),
    ],
)
def test_a_shape_that_broadcasting_would_hide(gradient: Callable[..., Any], words: str) -> None:
    """The remedy is named."""
    (finding,) = check_gradient(gradient, ROW, FEW).cases[0].findings
    assert ("wrong shape", "b") == (finding.kind, finding.variable)
    assert words in finding.sentence


@pytest.mark.parametrize(
    ("dtype", "answer", "kinds"),
    [("float32", "float32", []), ("float32", "float64", ["wrong dtype"]), ("float32", "float16", ["wrong dtype"])],
)
def test_dtypes(dtype: str, answer: str, kinds: list[str]) -> None:
    """A wider answer is told; a narrower one fails."""
    run = check_gradient(lambda x, upstream: (2 * x * upstream).astype(answer), SINGLE, FEW, dtype=dtype)
    assert kinds == [finding.kind for finding in run.cases[0].findings]
    assert run.ok == (answer != "float16")


def test_the_traceback_is_the_users_own() -> None:
    """It begins with the frame that is the user's."""
    run = check_gradient(raises, ROW, FEW)
    (finding,) = run.cases[0].findings
    assert "test_contract.py" in finding.detail.splitlines()[1]
    assert "subject.py" not in finding.detail
    assert 'return affine(W, x, upstream)["missing"]' in str(run)


def test_not_finite_where_the_truth_is() -> None:
    """Infinity minus infinity is found out where the truth is a number; where it is none, nobody is accused."""
    overflowing = load_case_text("case: tail\ninputs: {x: {at: 800, domain: [-900, 900]}}\nstages: {f: sigmoid(x)}\n")

    def naive(x: Any) -> Any:
        with np.errstate(all="ignore"):
            e = np.exp(x)
            return e / (1 + e) - (e / (1 + e)) ** 2

    (finding,) = check_gradient(naive, overflowing, points=0).cases[0].findings
    assert ("not finite", "x", True) == (finding.kind, finding.variable, finding.fails)
    assert () == check_gradient(lambda x: np.exp(-x), overflowing, points=0).cases[0].findings


def test_a_scalar_output_is_tried_with_other_upstream_gradients_too() -> None:
    """A gradient that forgets to multiply by upstream is right at the own point, where that is 1, and nowhere else."""
    assert check_gradient(lambda x, upstream: 3 * x**2 * upstream, SCALAR, FEW).ok
    run = check_gradient(lambda x, upstream: 3 * x**2, SCALAR, FEW)
    assert "not linear" in [finding.kind for finding in run.cases[0].findings]
    assert {False} == {
        point.own for point in run.cases[0].points for row in run.cases[0].failing() if row.point == point.id
    }


BAD_ANSWERS: dict[str, Any] = {
    "returned None; return the gradient by x": lambda x: None,
    "returned a generator; return an array": lambda x: (g for g in [x]),
    "returned a str": lambda x: "2 * x",
    "is no array of real numbers: list": lambda x: {"x": [[1.0, 2.0], [3.0]]},
    "is no array of real numbers: complex": lambda x: {"x": 2 * complex(x)},
    "answered with 2 arrays for 1 inputs": lambda x: (2 * x, 2 * x),
    "'grad', which is no input or stage of case 'cube'": lambda x: {"grad": 2 * x},
    "returned no gradient at all": lambda x: {"x": None},
}


@pytest.mark.parametrize("words", BAD_ANSWERS)
def test_answers_that_mean_nothing_are_refused(words: str) -> None:
    """What cannot be taken for a gradient is an error that says what to return."""
    with pytest.raises(UsageError) as caught:
        check_gradient(BAD_ANSWERS[words], SCALAR, FEW)
    assert words in str(caught.value)


def test_a_gradient_that_needs_other_arguments() -> None:
    """Named, with what there is."""
    with pytest.raises(UsageError, match="the gradient needs x, y, z; case 'cube' has x"):
        check_gradient(lambda x, y, z: x, SCALAR)


# ------------------------------------------------------------------------------------------------- what may be given


def test_points_of_the_caller() -> None:
    """They stand in place of the case's own; one that lies outside the domain needs a domain."""
    run = check_gradient(lambda x: 3 * x**2, SCALAR, at=[{"x": 1.0}, {"x": -0.5}], points=0)
    assert [("at[0]", 1.0), ("at[1]", -0.5)] == [(p.origin, float(p.values["x"])) for p in run.cases[0].points]
    with pytest.raises(UsageError, match=r"x lies outside its domain \[-1, 5\]; give domain="):
        check_gradient(lambda x: 3 * x**2, SCALAR, at={"x": 50.0})
    assert check_gradient(lambda x: 3 * x**2, SCALAR, at={"x": 50.0}, domain={"x": (0, 60)}).ok
    with pytest.raises(UsageError, match="at names 'X', which is no input"):
        check_gradient(lambda x: 3 * x**2, SCALAR, at={"X": 50.0})
    with pytest.raises(UsageError, match="pair of numbers"):
        check_gradient(lambda x: 3 * x**2, SCALAR, domain={"x": 3})


def test_a_domain_decides_where_random_points_are() -> None:
    """A fault beyond the case's own domain is out of reach until the domain is widened."""

    def wrong_far_out(x: Any) -> Any:
        return np.where(x > 7, 0.0, 3 * x**2)

    assert check_gradient(wrong_far_out, SCALAR).ok
    assert not check_gradient(wrong_far_out, SCALAR, domain={"x": (0, 20)}).ok


def test_constants_are_passed_on_and_not_differentiated() -> None:
    """By name, or with their values."""
    known = load_case_text("case: product\ninputs: {x: {at: 2}, k: {at: 3}}\nstages: {f: k * x**2}\n")
    for constants in (["k"], {"k": 2.5}):
        run = check_gradient(lambda x, k: 2 * k * x, known, constants=constants, points=4)
        assert run.ok
        assert ["x"] == [variable.name for variable in run.cases[0].variables]
    assert {2.5} == {float(point.values["k"]) for point in run.cases[0].points}
    with pytest.raises(UsageError, match="nothing is left to differentiate"):
        check_gradient(lambda x, k: x, known, constants=["x", "k"])


def test_an_upstream_of_the_caller_holds_everywhere() -> None:
    """The gradient may take it, or have it built in."""
    run = check_gradient(affine, ROW, FEW, upstream=[1.0, -2.0])
    assert run.ok
    assert {(1.0, -2.0)} == {tuple(point.values["upstream of y"].tolist()) for point in run.cases[0].points}
    with pytest.raises(UsageError, match=r"upstream of y has shape \(3,\)"):
        check_gradient(affine, ROW, FEW, upstream=[1.0, 2.0, 3.0])


# ---------------------------------------------------------------------------------------------------- what it answers


def test_the_run_raises_prints_and_becomes_a_table() -> None:
    """All of it in one object."""
    run = verify.check_gradient(lambda x: 3 * x**2, SCALAR, points=2)
    assert run is run.raise_if_wrong()
    assert "PASS" == run.verdict
    assert {"PASS"} == set(run.frame["verdict"])
    assert "<iframe" in run._repr_html_()
    wrong = verify.check_gradient(lambda x: 3.1 * x**2, SCALAR, points=2)
    assert "FAIL" == wrong.verdict
    with pytest.raises(WrongGradientError, match=r"^FAIL dx of cube: is 1\.03333 x the right one"):
        wrong.raise_if_wrong()
    assert issubclass(WrongGradientError, AssertionError)


def test_a_shipped_case_by_name() -> None:
    """Without a path."""
    assert verify.check_gradient(lambda x, y: (1.0, 1.0), "add", points=2).ok
    with pytest.raises(UsageError, match="no case is called 'ad'"):
        verify.check_gradient(lambda x, y: (1.0, 1.0), "ad")


def test_several_points_of_a_black_box() -> None:
    """Each is a result of its own."""

    def f(x: Any, n: int) -> Any:
        return np.sum(np.sin(x) ** n)

    def gradient(x: Any, n: int) -> Any:
        return n * np.sin(x) ** (n - 1) * np.cos(x)

    at = [{"x": np.array([0.3, 1.2]), "n": 3}, {"x": np.array([0.5]), "n": 2}]
    run = check_gradient(gradient, f, at=at)
    assert ["f, at[0]", "f, at[1]"] == [result.name for result in run.cases]
    assert run.ok


def test_what_cancels_is_not_called_nonlinear() -> None:
    """At a critical point a right gradient is rounding alone; the twin, absolute at the same point, is found."""
    case = load_case_text("{case: c, inputs: {x: {at: 0.7}}, stages: {f: (x - 0.7) * 1e6 + 0.1 * x - 1000000.1 * x}}")

    def right(x: Any, upstream: Any) -> Any:
        return 1e6 * upstream + 0.1 * upstream - 1000000.1 * upstream

    def wrong(x: Any, upstream: Any) -> Any:
        return right(x, np.abs(upstream)) + 1e-3 * np.abs(upstream)

    def kinds(gradient: Any) -> set[str]:
        return {finding.kind for finding in verify.check_gradient(gradient, case, points=0).cases[0].findings}

    assert "not linear" not in kinds(right)
    assert "not linear" in kinds(wrong)

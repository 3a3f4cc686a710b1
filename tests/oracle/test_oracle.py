"""Gradients that today's checkers let pass or reject wrongly, judged by the oracle: each right one, and its wrong twin.

Every expectation is about the row that matters; where a fault is invisible at the case's own point, it must be found
elsewhere in the domain.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from verify.case.case import Case, load_case_text
from verify.errors import UsageError
from verify.oracle.check import check_gradient
from verify.records import Row, Run
from verify.running.settings import Settings
from verify.tracing.trace import trace
from verify.words import VERDICTS, Verdict

Gradient = Callable[..., Any]

FEW = Settings(points=8)
MANY_ENTRIES = Settings(points=1, proof_work=10**9)


def case(stages: str, more: str = "", **inputs: str) -> Case:
    """A case from ``name: fields`` pairs and stages written as YAML flow mappings."""
    listed = ", ".join(f"{name}: {{{fields}}}" for name, fields in inputs.items())
    return load_case_text(f"case: made for a test\ninputs: {{{listed}}}\nstages: {{{stages}}}\n{more}\n")


def own_row(run: Run, variable: str = "x") -> Row:
    """The first entry of a variable at the case's own point."""
    found = next(v for v in run.cases[0].variables if v.name == variable)
    return found.row(0)


def sigmoid(x: Any) -> Any:
    """Stable on both sides."""
    e = np.exp(-np.abs(x))
    return np.where(x >= 0, 1.0, e) / (1.0 + e)


def sigmoid_slope(x: Any) -> Any:
    """Keeps its digits in the tails."""
    e = np.exp(-np.abs(x))
    return e / (1.0 + e) ** 2


TINY = case("f: 1e-8 * x**2", x="at: 3")
SATURATED = case("f: sigmoid(x)", x="at: 30, domain: [29, 31]")
SINGLE = case("f: x**3", x="at: 1.7, dtype: float32")
DOUBLE = case("f: x**2 * y", x="at: 3", y="at: -4")
BIG_OFFSET = case("f: 1e9 + x", x="at: 0.5")
BIG_SQUARE = case("f: x**2", x="at: 1e8")
SMALL_LOG = case("f: log(x)", x="at: 1e-7, domain: [1e-8, 1e-6]")
SMALL_ABS = case("f: abs(x)", x="at: 1e-9, domain: [-1, 1]")
FAST_SINE = case("f: sin(1e6 * x)", x="at: 0.7")
POLE = case("f: 1 / x", x="at: 1e-4, domain: [1e-5, 1e-3]")

SMOOTH: dict[str, tuple[Case, Gradient, tuple[float, ...]]] = {
    "f scaled by 1e-8": (TINY, lambda x: 2e-8 * x, (2.0, 1 + 1e-9)),
    "saturated sigmoid": (SATURATED, sigmoid_slope, (2.0, 1 + 1e-9)),
    "float64": (DOUBLE, lambda x, y: (2 * x * y, x**2), (1.005, 1 + 1e-9)),
    "cube in float32": (SINGLE, lambda x: 3 * x * x, (2.0, 1.0001)),
    "large offset": (BIG_OFFSET, np.ones_like, (2.0, 1 + 1e-9)),
    "large square": (BIG_SQUARE, lambda x: 2 * x, (2.0, 1 + 1e-9)),
    "logarithm near its pole": (SMALL_LOG, lambda x: 1 / x, (2.0, 1 + 1e-9)),
    "absolute value near its kink": (SMALL_ABS, np.sign, (2.0, 1 + 1e-9)),
    "fast sine": (FAST_SINE, lambda x: 1e6 * np.cos(1e6 * x), (2.0, 1 + 1e-7)),
    "pole": (POLE, lambda x: -1 / x**2, (2.0, 1 + 1e-9)),
}
"""Name -> case, its gradient, and factors by which it is wrong."""


@pytest.mark.parametrize("name", SMOOTH)
def test_a_right_gradient_passes_and_a_wrong_one_fails(name: str) -> None:
    """At the case's own point, whatever the scale of the function, the value or the dtype."""
    known, gradient, factors = SMOOTH[name]
    assert Verdict.PASS is own_row(check_gradient(gradient, known, FEW)).verdict
    for factor in factors:

        def wrong(*args: Any, factor: float = factor) -> Any:
            found = gradient(*args)
            parts = found if isinstance(found, tuple) else (found,)
            return tuple(part * np.asarray(part).dtype.type(factor) for part in parts)

        row = own_row(check_gradient(wrong, known, FEW))
        assert Verdict.FAIL is row.verdict, (factor, row)
        assert "proved" in row.reason


def test_an_additive_fault_of_5e_4() -> None:
    """Smaller than the absolute tolerance that checkers come with."""
    known = case("f: sigmoid(x)", x="at: 0.5")
    assert Verdict.PASS is own_row(check_gradient(sigmoid_slope, known, FEW)).verdict
    assert Verdict.FAIL is own_row(check_gradient(lambda x: sigmoid_slope(x) + 5e-4, known, FEW)).verdict


def test_one_entry_of_a_thousand() -> None:
    """Off by one per cent: that entry alone fails, and the report names it."""
    known = case("f: sum(x**2)", x="shape: [1000], at: normal")

    def wrong(x: Any) -> Any:
        gradient = 2 * x
        gradient[517] *= 1.01
        return gradient

    assert check_gradient(lambda x: 2 * x, known, MANY_ENTRIES).ok
    failing = list(check_gradient(wrong, known, MANY_ENTRIES).cases[0].failing())
    assert {(517,)} == {row.entry for row in failing}
    assert {0} < {row.point for row in failing}


def test_a_thousand_outputs_in_float32() -> None:
    """Twice the gradient, contracted with a drawn upstream gradient: every entry fails."""
    known = case("f: x**2", x="shape: [1000], at: normal, dtype: float32")
    assert check_gradient(lambda x, upstream: 2 * x * upstream, known, MANY_ENTRIES).ok
    run = check_gradient(lambda x, upstream: 4 * x * upstream, known, MANY_ENTRIES)
    assert {Verdict.FAIL} == set(np.asarray(VERDICTS)[run.cases[0].variables[0].rows.verdict[:1000]])


def test_swapped_partials_show_off_the_diagonal() -> None:
    """At x == y they agree; the random points are elsewhere."""
    known = case("f: x * y", x="at: 2", y="at: 2")
    assert check_gradient(lambda x, y: (y, x), known, FEW).ok
    run = check_gradient(lambda x, y: (x, y), known, FEW)
    assert Verdict.PASS is own_row(run).verdict
    assert not run.ok


def test_a_branch_that_the_own_point_does_not_visit() -> None:
    """The gradient is wrong for negative numbers only, and the case's own point is positive."""
    known = case("f: x**2", x="at: 3, domain: [-5, 5]")
    run = check_gradient(lambda x: np.where(x > 0, 2 * x, x), known, FEW)
    assert Verdict.PASS is own_row(run).verdict
    assert not run.ok
    assert all(run.cases[0].points[row.point].values["x"] < 0 for row in run.cases[0].failing())


RELU = case("f: relu(x)", x="at: 0")
DIFFERENCE = case("f: relu(x) - relu(-x)", x="at: 0")
ROUNDED_TIE = case("f: relu(x * 10 - 1)", x="at: 0.1")

AT_KINKS: list[tuple[str, Case, float, Verdict]] = [
    ("relu", RELU, 0.0, Verdict.SUBGRADIENT),
    ("relu", RELU, 1.0, Verdict.SUBGRADIENT),
    ("relu", RELU, 0.5, Verdict.SUBGRADIENT),
    ("relu", RELU, 2.0, Verdict.FAIL),
    ("relu", RELU, -1.0, Verdict.FAIL),
    ("relu", RELU, 1.0 + 1e-6, Verdict.FAIL),
    ("relu(x) - relu(-x)", DIFFERENCE, 1.0, Verdict.PASS),
    ("relu(x) - relu(-x)", DIFFERENCE, 0.0, Verdict.FAIL),
    ("relu within rounding of its tie", ROUNDED_TIE, 0.0, Verdict.SUBGRADIENT),
    ("relu within rounding of its tie", ROUNDED_TIE, 10.0, Verdict.SUBGRADIENT),
    ("relu within rounding of its tie", ROUNDED_TIE, 20.0, Verdict.FAIL),
]


@pytest.mark.parametrize(("name", "known", "answer", "expected"), AT_KINKS)
def test_subgradients_are_accepted_and_nothing_else(name: str, known: Case, answer: float, expected: Verdict) -> None:
    """At the case's own point, which is a kink (or as near as floats can tell)."""
    own = known.own_points[0].values.get("x", known.inputs[0].at)

    def gradient(x: Any) -> Any:
        if float(x) == float(np.asarray(own)):
            return answer
        if known is ROUNDED_TIE:
            return 10.0 if x * 10 > 1 else 0.0
        return 1.0 if known is DIFFERENCE else float(x > 0)

    row = own_row(check_gradient(gradient, known, FEW))
    assert expected is row.verdict, (name, row)
    assert row.passes == (expected is not Verdict.FAIL)


# ----------------------------------------------------------------------------------------------- rounding or a fault


def opaque(function: Gradient) -> Gradient:
    """The same numbers from code that runs on floats alone, and that no trace follows."""
    return lambda *args: np.asarray(function(*(np.float64(str(float(arg))) for arg in args)))


CANCELLING = case("f: 1 / (x * (x + 1))", x="at: 1.1e6, domain: [1e6, 2e6]")


def lossy(x: Any) -> Any:
    """Right on paper; six of its digits cancel."""
    return 1 / (x + 1) ** 2 - 1 / x**2


@pytest.mark.parametrize(("gradient", "how"), [(lossy, "proved"), (opaque(lossy), "measured")])
def test_rounding_is_told_from_a_fault(gradient: Gradient, how: str) -> None:
    """A formula that loses its digits is IMPRECISE, and the same formula with a fault of that size is a FAIL."""
    row = own_row(check_gradient(gradient, CANCELLING, FEW))
    assert Verdict.IMPRECISE is row.verdict
    assert not row.passes
    assert how in row.reason.split(";")[-2]
    assert "digits are lost" in row.reason
    stable = opaque(lambda x: -(2 * x + 1) / (x * (x + 1)) ** 2 * (1 + 1e-8))
    row = own_row(check_gradient(stable if how == "measured" else lambda x: lossy(x) * 1.00001, CANCELLING, FEW))
    assert Verdict.FAIL is row.verdict
    assert how in row.reason.split(";")[-1]


def test_lost_tails_pass_unless_every_digit_is_asked_for() -> None:
    """y (1 - y) at 36 has no digit left; against the largest gradient of the domain that is nothing."""

    def tail(x: Any) -> Any:
        y = sigmoid(x)
        return y * (1 - y)

    text = {"x": "at: 36, domain: [-40, 40]"}
    run = check_gradient(tail, case("f: sigmoid(x)", **text), FEW)
    assert (Verdict.IMPRECISE, True) == (own_row(run).verdict, own_row(run).passes)
    run = check_gradient(tail, case("f: sigmoid(x)", "accuracy: relative", **text), FEW)
    assert (Verdict.IMPRECISE, False) == (own_row(run).verdict, own_row(run).passes)


# ------------------------------------------------------------------------------------------------ how it is called

AFFINE = case("y: W @ x, f: sum(y**2)", W="shape: [2, 3], at: normal", x="shape: [3], at: normal")


def test_answers_by_position_and_by_name() -> None:
    """A tuple in the order of the inputs, or a mapping; stages may be among the names."""

    def as_tuple(W: Any, x: Any) -> Any:
        y = W @ x
        return np.outer(2 * y, x), W.T @ (2 * y)

    def as_mapping(x: Any, W: Any) -> Any:
        y = W @ x
        return {"dW": np.outer(2 * y, x), "grad_x": W.T @ (2 * y), "dy": 2 * y}

    for gradient, names in ((as_tuple, ["W", "x"]), (as_mapping, ["W", "x", "y"])):
        run = check_gradient(gradient, AFFINE, FEW)
        assert run.ok
        assert names == [variable.name for variable in run.cases[0].variables]


def test_answers_that_do_not_fit() -> None:
    """Each is refused with what was expected."""
    answers: dict[str, Callable[..., Any]] = {
        "1 arrays for 2 inputs": lambda given: given["W"],
        "'dZ', which is no input or stage": lambda given: {"dZ": given["W"]},
    }
    for words, answer in answers.items():
        with pytest.raises(UsageError, match=re.escape(words)):
            check_gradient(lambda W, x, answer=answer: answer({"W": W, "x": x}), AFFINE, FEW)
    with pytest.raises(UsageError, match="needs a parameter 'upstream'"):
        check_gradient(lambda x: 2 * x, case("f: x**2", x="shape: [3], at: normal"), FEW)


def test_nothing_is_written_to() -> None:
    """A gradient that scribbles over its inputs is found out, and spoils nobody else's."""

    def scribbling(W: Any, x: Any) -> Any:
        y = W @ x
        found = np.outer(2 * y, x), W.T @ (2 * y)
        W[:], x[:] = 0.0, 0.0
        return found

    result = check_gradient(scribbling, AFFINE, FEW).cases[0]
    assert [("input mutated", "W"), ("input mutated", "x")] == [(f.kind, f.variable) for f in result.findings]
    assert all(variable.passes for variable in result.variables)
    assert not result.passes


# ------------------------------------------------------------------------------------------------------ black boxes


def naive(x: Any, n: int) -> Any:
    """A function that no case describes, and that cannot be traced: it makes numbers of its entries."""
    return sum(map(float, np.sin(x) ** n))


def whole(x: Any, n: int) -> Any:
    """The same on whole arrays."""
    powers = np.sin(x) ** n
    return np.sum(powers)


def test_a_black_box_is_judged_by_the_step_law() -> None:
    """Right passes, one entry off by a thousandth fails, and what is said is said to be measured."""
    at = {"x": np.array([0.3, -1.2, 2.0]), "n": 3}

    def right(x: Any, n: int) -> Any:
        return n * np.sin(x) ** (n - 1) * np.cos(x)

    def wrong(x: Any, n: int) -> Any:
        return right(x, n) * np.array([1.0, 1.001, 1.0])

    assert check_gradient(right, naive, at=at).ok
    run = check_gradient(wrong, naive, at=at)
    assert [(1,)] == [row.entry for row in run.cases[0].failing()]
    row = next(run.cases[0].failing())
    assert (Verdict.FAIL, "subject") == (row.verdict, row.suspect)
    assert row.reason.startswith("measured: wrong: the claim")
    assert __file__ == row.file
    assert any("black box" in note and "float() of a traced value" in note for note in run.cases[0].notes)


def test_a_function_that_can_be_traced_is_no_black_box() -> None:
    """Right passes, and off by 1e-9 is proved to be wrong; stages are judged under the names of the variables."""
    at = {"x": np.array([0.3, -1.2, 2.0]), "n": 3}

    def right(x: Any, n: int) -> Any:
        assert isinstance(n, int)
        return {"x": n * np.sin(x) ** (n - 1) * np.cos(x), "dpowers": np.ones(3)}

    def wrong(x: Any, n: int) -> Any:
        return right(x, n)["x"] * np.array([1.0, 1.0 + 1e-9, 1.0])

    run = check_gradient(right, whole, at=at)
    assert run.ok
    assert ({"x", "powers"}, 1) == ({v.name for v in run.cases[0].variables if v.quantity == "gradient"},
                                    run.cases[0].points_checked)  # fmt: skip
    assert not any("black box" in note for note in run.cases[0].notes)
    row = next(check_gradient(wrong, whole, at=at).cases[0].failing())
    assert ((1,), Verdict.FAIL, __file__) == (row.entry, row.verdict, row.file)
    assert "proved" in row.reason
    assert check_gradient(right, whole, at=at, domain={"x": (-2, 2)}, points=3).cases[0].points_checked > 3


def test_a_traced_function_with_labels_and_an_array_for_an_output() -> None:
    """What is passed on reaches the gradient as it was given, by position too; upstream is drawn."""
    picked, scores = np.array([2, 0]), np.array([[0.5, -1.0, 2.0], [1.5, 0.25, -0.75]])

    def function(scores: Any, picked: Any) -> Any:
        return np.exp(scores).sum(axis=1) * np.array([3.0, 5.0]) + sum(scores[i, picked[i]] for i in range(2))

    def right(*args: Any, upstream: Any) -> Any:
        scores, picked = args
        out = np.exp(scores) * (np.array([3.0, 5.0]) * upstream)[:, None]
        out[np.arange(2), picked] += upstream.sum()
        return out

    def wrong(scores: Any, picked: Any, upstream: Any) -> Any:
        return right(scores, picked[::-1], upstream=upstream)

    at = {"scores": scores, "picked": picked}
    assert check_gradient(right, function, at=at).ok
    assert not check_gradient(wrong, function, at=at).ok
    assert check_gradient(right, function, at=[at, {**at, "scores": -scores}]).cases[0].points_checked == 2


@pytest.mark.parametrize(
    ("answer", "expected"), [(0.0, Verdict.SUBGRADIENT), (1.0, Verdict.SUBGRADIENT), (2.0, Verdict.FAIL)]
)
def test_a_black_box_at_a_kink(answer: float, expected: Verdict) -> None:
    """The one-sided quotients part, and what lies between them passes."""
    run = check_gradient(lambda x: answer * np.ones_like(x), lambda x: np.maximum(x, 0), at={"x": 0.0})
    assert expected is own_row(run).verdict


def test_a_black_box_needs_a_point() -> None:
    """Without one there is nothing to look at, and with a mask alone nothing to differentiate."""
    with pytest.raises(UsageError, match="needs the point"):
        check_gradient(lambda x: x, lambda x: x)
    with pytest.raises(UsageError, match="nothing to differentiate"):
        check_gradient(lambda x: x, lambda x: x, at={"x": True})


def test_whole_numbers_alone_are_numbers_like_any_others() -> None:
    """What a case file says of 3 and -4 is said here: both are differentiated; a wrong gradient of one fails."""
    at = {"x": 3, "y": [-4, 2]}
    function = lambda x, y: np.sum(x * y)  # noqa: E731
    run = check_gradient(lambda x, y: (np.sum(y), x * np.ones_like(y)), function, at=at)
    assert (True, ["x", "y"]) == (run.ok, [v.name for v in run.cases[0].variables if v.quantity == "gradient"])
    assert not check_gradient(lambda x, y: (np.sum(y) * (1 + 1e-6), x * np.ones_like(y)), function, at=at).ok
    assert ["x"] == [item.name for item in trace(lambda x, n: x**n, x=3, n=2, constants=["n"]).real_inputs]

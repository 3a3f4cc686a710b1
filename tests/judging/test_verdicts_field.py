"""Verdicts that the field showed to be wrong: what is excused belongs to the point, and a subject answers for itself.

Each right answer that passes has its twin, wrong by a little or in one region, that fails.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from verify.case.case import Case, load_case_text
from verify.graph.work import Work
from verify.judging import close_look
from verify.judging.evidence import Evidence
from verify.judging.rules import judged
from verify.oracle.check import check_gradient
from verify.records import METHODS, SUBJECT
from verify.running.settings import Settings
from verify.truth.reference import Reference
from verify.words import Verdict

Gradient = Callable[..., Any]
QUICK = Settings(points=16, shrink=False)


def case(stages: str, inputs: str, more: str = "") -> Case:
    """A case of a few lines."""
    return load_case_text(f"case: field\ninputs: {{{inputs}}}\nstages: {{{stages}}}\n{more}")


def sigmoid(x: Any) -> Any:
    """As everybody writes it."""
    return 1 / (1 + np.exp(-x))


def opaque(gradient: Gradient) -> Gradient:
    """The same gradient of one number in code that no ball goes through."""
    return lambda x: gradient(np.float64(float(x)))


# ----------------------------------------------------------------------- an excuse belongs to the point, not the run

SMALL_BESIDE_LARGE = {
    "exp, 0 below 49": ("exp(x)", "{at: 50}", lambda x: np.exp(x) if x > 49 else 0.0),
    "exp, 0 below -4.7": ("exp(x)", "{at: 0, domain: [-30, 30]}", lambda x: np.exp(x) if x > -4.7 else 0.0),
    "fourth power, 0 below 1": ("x**4", "{at: 20, domain: [0.1, 900]}", lambda x: 4 * x**3 if x > 1 else 0.0),
    "sinh by an exponential": (
        "cosh(x)",
        "{at: 1, domain: [-25, 25]}",
        lambda x: np.exp(x) / 2 if x > 0 else 0.0,
    ),
}


@pytest.mark.parametrize("name", SMALL_BESIDE_LARGE)
def test_what_is_small_beside_the_largest_gradient_is_not_excused(name: str) -> None:
    """Code that no ball goes through, wrong where the gradient is small against that of other points."""
    stage, at, gradient = SMALL_BESIDE_LARGE[name]
    known = case(f"f: {stage}", f"x: {at}")
    run = check_gradient(opaque(gradient), known, QUICK)
    assert "FAIL" == run.cases[0].status
    assert not run.ok


TEXTBOOK: dict[str, tuple[str, str, Gradient]] = {
    "SiLU": ("x * sigmoid(x)", "[-40, 40]", lambda x: sigmoid(x) + x * sigmoid(x) * (1 - sigmoid(x))),
    "GELU by tanh": (
        "0.5 * x * (1 + tanh(0.7978845608028654 * (x + 0.044715 * x**3)))",
        "[-12, 12]",
        lambda x: (
            0.5 * (1 + np.tanh(0.7978845608028654 * (x + 0.044715 * x**3)))
            + 0.5
            * x
            * (1 - np.tanh(0.7978845608028654 * (x + 0.044715 * x**3)) ** 2)
            * 0.7978845608028654
            * (1 + 0.134145 * x * x)
        ),
    ),
    "cube root by a power": ("cbrt(x)", "[1e-300, 1e300]", lambda x: x ** (-2 / 3) / 3),
    "cube root by a root": ("cbrt(x)", "[1e-300, 1e300]", lambda x: 1 / (3 * (x ** (1 / 3)) ** 2)),
    "sigmoid": ("sigmoid(x)", "[-40, 40]", lambda x: sigmoid(x) * (1 - sigmoid(x))),
    "softplus": ("log(1 + exp(x))", "[-30, 30]", lambda x: 1 - 1 / (1 + np.exp(x))),
    "tanh by a sigmoid": ("2 / (1 + exp(-2 * x)) - 1", "[-30, 30]", lambda x: 1 - (2 / (1 + np.exp(-2 * x)) - 1) ** 2),
}


@pytest.mark.parametrize("name", TEXTBOOK)
def test_textbook_formulas_pass_though_their_tails_lose_digits(name: str) -> None:
    """Read or not: rounding of the saved values, or of their literals, is all that is wrong with them."""
    stage, domain, gradient = TEXTBOOK[name]
    known = case(f"f: {stage}", f"x: {{at: 0.7, domain: {domain}}}")
    assert check_gradient(gradient, known, QUICK).ok

    # The twin: the same with a fault of a millionth is wrong, whoever reads it.
    def off(x: Any) -> Any:
        return gradient(x) * (1 + 1e-6)

    for wrong in (off, opaque(off)):
        assert "FAIL" == check_gradient(wrong, known, QUICK).cases[0].status


@pytest.mark.parametrize("name", ["SiLU", "sigmoid", "softplus", "tanh by a sigmoid"])
def test_opaque_code_is_excused_as_far_as_saved_values_round(name: str) -> None:
    """The point's own terms bound what it may lose; neighbours are not asked."""
    stage, domain, gradient = TEXTBOOK[name]
    known = case(f"f: {stage}", f"x: {{at: 0.7, domain: {domain}}}")
    assert check_gradient(opaque(gradient), known, QUICK).ok


@pytest.mark.parametrize(
    "stages", ["f: sin(x) + 1e8", "s: x + 1e8, f: sin(x) + 0 * s", "s: 1e8 * x, f: sin(x) + 0 * s"]
)
def test_a_large_number_beside_the_function_excuses_nothing(stages: str) -> None:
    """A constant of 1e8, or a stage that is large: no backward pass starts from them."""
    known = case(stages, "x: {at: 0.7, domain: [0.2, 1.3]}")
    assert check_gradient(opaque(np.cos), known, QUICK).ok
    run = check_gradient(opaque(lambda x: np.cos(x) * (1 + 1e-11)), known, QUICK)
    assert "FAIL" == run.cases[0].status


def test_neighbours_are_looked_at_at_few_points(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each takes an enclosure of the truth: they name what is off already, and a failing run must not wait for them."""
    calls = []
    enclose = Reference.enclose

    def counted(self: Reference, *args: Any, **kwargs: Any) -> Any:
        calls.append(1)
        return enclose(self, *args, **kwargs)

    monkeypatch.setattr(Reference, "enclose", counted)
    known = case("f: x**2", "x: {at: 3, domain: [1, 5]}")
    assert check_gradient(opaque(lambda x: 2 * x), known, QUICK).ok
    right = len(calls)
    calls.clear()
    assert not check_gradient(opaque(lambda x: 2 * x * (1 + 1e-10)), known, QUICK).ok
    assert len(calls) < 3 * right + 200


def test_a_failing_gradient_costs_little_more_than_a_right_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows that are plainly wrong are proved to be so at many points, not at all: counted in work on balls."""
    units: list[float] = []
    spend = Work.spend

    def counted(self: Work, much: float) -> None:
        units.append(much)
        spend(self, much)

    monkeypatch.setattr(Work, "spend", counted)
    known = case("f: x / sqrt(1 + x**2)", "x: {shape: [4], at: [0.1, -0.1, 0.6, -1.2], domain: [-3, 3]}")
    spent = []
    for factor in (1, 2):

        def gradient(x: Any, upstream: Any, factor: int = factor) -> Any:
            return factor * upstream / np.sqrt(1 + x**2) ** 3

        units.clear()
        assert (factor == 1) == check_gradient(gradient, known, Settings(shrink=False)).ok
        spent.append(sum(units))
    assert 0 < spent[1] < 3 * spent[0], spent


# ------------------------------------------------------------------------------------------ where floats have no value

OVERFLOWING = "x: {at: 0.5, domain: [-2000, 2000]}"


def test_answers_are_judged_where_floats_overflow_on_the_way() -> None:
    """exp(800) is inf, the sigmoid's slope 0: the answer is right, and it is held against the truth."""
    known = case("f: 1 / (1 + exp(-x))", OVERFLOWING)
    run = check_gradient(lambda x: sigmoid(x) * sigmoid(-x), known, QUICK)
    counts = run.cases[0].counts
    assert run.ok
    assert counts[Verdict.UNDECIDED] < 0.1 * sum(counts.values())


def test_answers_that_are_wrong_there_are_not_passed() -> None:
    """The twin: 1e-3 where the truth is 0 passes nowhere; code that cannot be read is not accused there."""
    known = case("f: 1 / (1 + exp(-x))", "x: {at: -800, domain: [-2000, -720]}")
    for gradient, verdict in (
        (lambda x: 1e-3 + 0 * x, Verdict.FAIL),
        (opaque(lambda x: 1e-3 + 0 * x), Verdict.UNDECIDED),
    ):
        run = check_gradient(gradient, known, QUICK)
        assert not run.ok
        assert {verdict} == set(+run.cases[0].counts)


def test_a_weak_answer_within_what_is_allowed_passes() -> None:
    """Of a truth that is proved: an error of 1e-216 where 1e-107 is allowed is no matter of decision."""
    known = case("f: sum(1 / (1 + exp(-x)))", "x: {shape: [2], at: [700, 0.5], domain: [-2000, 2000]}")
    assert check_gradient(lambda x: sigmoid(x) * sigmoid(-x), known, QUICK).ok
    assert not check_gradient(lambda x: sigmoid(x) * sigmoid(-x) + 1e-9, known, QUICK).ok


def test_an_infinite_answer_never_passes() -> None:
    """The engine answers inf too, where the truth is beyond all floats: two that are infinite agree on nothing."""
    known = case("f: 1 / x", "x: {at: 1e-200, domain: '(0, 1]'}")
    run = check_gradient(lambda x: -1 / x / x, known, QUICK)
    rows = [v.row(i) for v in run.cases[0].variables for i in range(len(v.rows))]
    assert {Verdict.UNDECIDED} == {row.verdict for row in rows if not math.isfinite(row.values[SUBJECT])}


GUARDED = "r: sqrt(sum(v * v)), f: 'where(r < 1e-8, 1, sin(r) / r)'"


def test_nan_where_the_function_is_smooth_fails() -> None:
    """The value at 0 is guarded, the slope is not: the truth is not enclosed there, but values beside it tell."""
    known = case(GUARDED, "v: {shape: [2], at: [0.3, -0.2], domain: [-1, 1]}")

    def gradient(v: Any) -> Any:
        r = np.sqrt(v @ v)
        return (r * np.cos(r) - np.sin(r)) / r**3 * v

    def guarded(v: Any) -> Any:
        square = float(np.sum(v * v))
        if square < 1e-2:
            return 0 * v if square < 1e-16 else -v / 3 * (1 - square / 10 * (1 - square / 28 * (1 - square / 54)))
        return gradient(v)

    run = check_gradient(gradient, known, Settings(shrink=False))
    assert "FAIL" == run.cases[0].status
    assert check_gradient(guarded, known, Settings(shrink=False)).ok


def test_nan_where_there_is_no_slope_is_nobody_s_fault() -> None:
    """A cube root at 0, the length of a vector that is 0: there 0 / 0 is as good an answer as any."""
    known = case("f: cbrt(x)", "x: {at: 0.3, domain: [-1, 1]}")
    length = case("f: norm(v)", "v: {shape: [2], at: [3, -4], domain: [-5, 5]}")
    with np.errstate(all="ignore"):
        assert check_gradient(lambda x: np.cbrt(x) / (3 * x), known, QUICK).ok
        assert check_gradient(lambda v: v / np.sqrt(v @ v), length, QUICK).ok


UNLIKE = {
    "A": np.array([[0.0176, 7.5e-251, -5.5e-8], [0.0014, -8.2e-5, 8.4e-4], [-0.456, -3.2e-204, 0.051]]),
    "b": np.array([-1.2e-80, -4.1e-297, 1.553]),
}
"""Rows and columns of very unlike sizes: one entry of a solution is next to nothing, and floats leave 1e-14 of it."""


def test_a_system_of_very_unlike_rows_is_not_called_wrong() -> None:
    """Rounding is proved to be the cause, though all digits of a number of 1e-200 are lost; a wrong one is wrong."""

    def function(A: Any, b: Any) -> Any:
        return b @ np.linalg.inv(A) @ b

    def gradient(A: Any, b: Any) -> Any:
        left, right = np.linalg.solve(A.T, b), np.linalg.solve(A, b)
        return -np.outer(left, right), left + right

    def wrong(A: Any, b: Any) -> Any:
        by_a, by_b = gradient(A, b)
        return by_a + np.array([[0.0], [1e-9], [0.0]]), by_b

    def verdicts(brought: Gradient) -> set[str]:
        run = check_gradient(brought, function, QUICK, points=0, at=UNLIKE)
        return {verdict.value for verdict, count in run.cases[0].counts.items() if count}

    assert verdicts(gradient) == {"PASS", "IMPRECISE"}
    assert "FAIL" in verdicts(wrong)


def test_matrix_functions_pass_near_singular_matrices() -> None:
    """By inverses, as they are written; at a singular matrix NumPy raises, and there is no truth to miss."""
    known = load_case_text(
        "case: field\ndims: {n: 3}\ninputs: {A: {shape: [n, n], at: normal, domain: [-2, 2]}}\n"
        "stages: {f: logabsdet(A)}\n"
    )
    near = [np.eye(3) + np.array([[0, 0, 0], [1, 1e-12 - 1, 0], [0, 0, 0.0]]), np.eye(3)]
    at = [{"A": a} for a in near]
    assert check_gradient(lambda A: np.linalg.inv(A).T, known, QUICK).ok
    assert check_gradient(lambda A: np.linalg.inv(A).T, known, QUICK, at=at).ok
    assert not check_gradient(lambda A: np.linalg.inv(A).T * (1 + 1e-6), known, QUICK, at=at).ok
    assert not check_gradient(np.linalg.inv, known, QUICK).ok


# ---------------------------------------------------------------------------------------- a subject answers for itself


def test_a_large_gradient_is_judged_along_directions_alone() -> None:
    """More entries than are proved one by one, of a function that central differences see badly."""
    known = case("f: sum(sin(3000 * x))", "x: {shape: [2100], at: normal, domain: [-5, 5]}")
    settings = Settings(points=0, shrink=False)

    def right(x: Any) -> Any:
        return 3000 * np.cos(3000 * x)

    def wrong(x: Any) -> Any:
        found = right(x)
        found[1234] *= 1.001
        return found

    run = check_gradient(right, known, settings)
    assert run.ok, [row.reason for row in run.cases[0].failing()][:1]
    assert not check_gradient(wrong, known, settings).ok


def test_methods_that_differ_from_each_other_do_not_accuse_a_subject() -> None:
    """Rows of large cases: the subject is with the engine, and central is elsewhere."""

    def verdict(**said: float) -> Verdict:
        return judged(Evidence(said, allowed=1e-9, step_error=1e-9, is_large=True))[0].verdict

    assert Verdict.PASS is verdict(subject=1.0, reverse=1.0, symbolic=1.0, central=1.0)
    assert Verdict.UNDECIDED is verdict(subject=1.0, reverse=1.0, central=1.1)
    assert Verdict.FAIL is verdict(subject=1.1, reverse=1.0, symbolic=1.0, central=1.0)
    assert Verdict.FAIL is verdict(subject=1.1, reverse=1.0, central=1.2)


@pytest.mark.parametrize(("size", "off", "ok"), [(1e50, 1e-11, True), (1e50, 1e-6, False), (0.0, 1e-11, False)])
def test_artificial_upstreams_do_not_decide_alone(size: float, off: float, ok: bool) -> None:
    """Eleven right digits at an upstream gradient of 1e100 are no fault; at an ordinary one they are."""

    def gradient(x: Any, upstream: Any) -> Any:
        return 2 * float(x) * upstream * (1 + off * (abs(float(upstream)) > size))

    run = check_gradient(gradient, case("f: x**2", "x: {at: 3, domain: [1, 5]}"), Settings(shrink=False))
    assert ok == all(variable.rows.passes.all() for variable in run.cases[0].variables)


def test_lost_digits_that_pass_are_told_beside_the_headline() -> None:
    """The headline is PASS, and in words how many rows lost digits and how that is forbidden; the twin forbids it."""
    stage, _, gradient = TEXTBOOK["sigmoid"]
    inputs = "x: {at: 34, domain: [-40, 40]}"
    run = check_gradient(gradient, case(f"f: {stage}", inputs), QUICK)
    assert ("PASS", "PASS", True) == (run.verdict, run.cases[0].status, run.ok)
    assert "lost digits to rounding, which 'accuracy: relative' in the case forbids" in str(run).splitlines()[-1]
    forbidden = check_gradient(gradient, case(f"f: {stage}", inputs, "accuracy: relative\n"), QUICK)
    assert ("IMPRECISE", False) == (forbidden.verdict, forbidden.ok)


ZEROS: dict[str, Gradient] = {
    "a quotient and a product": lambda x, upstream: upstream * (1 / 0.7) - upstream / 0.7 + 0 * x,
    "a part and a whole": lambda x, upstream: upstream * (1 / 49) * 49 - upstream + 0 * x,
    "a sum that is zero on paper": lambda x, upstream: upstream * (np.sum(x - x.mean()) + 0 * x),
}


@pytest.mark.filterwarnings("ignore::verify.errors.WeakCheckWarning")  # a gradient of 0 cannot show a wrong factor
@pytest.mark.parametrize("name", ZEROS)
def test_what_rounding_leaves_of_zero_passes(name: str) -> None:
    """The truth is 0 and so is the formula; off by a millionth of a millionth it is wrong."""
    known = case("f: 0.0 * x", "x: {shape: [3], at: [0.3, -2, 5], domain: [-9, 9]}")
    gradient = ZEROS[name]
    assert check_gradient(gradient, known, QUICK).ok
    run = check_gradient(lambda x, upstream: gradient(x, upstream) + 1e-12 * upstream, known, QUICK)
    assert "FAIL" == run.cases[0].status


# ---------------------------------------------------------------------------------------------- formulas that are read


@pytest.mark.parametrize("constant", [3.0, 6.0, 12.0])
def test_a_constant_that_is_computed_is_known_to_a_few_units(constant: float) -> None:
    """``1 / sqrt(3)`` is rounded twice: the formula is right all the same; off by a part in 10**13 it is not."""
    known = case(f"f: tanh(x / sqrt({constant}))", "x: {at: 15, domain: [-20, 20]}")

    def gradient(x: Any, *, fault: float = 0.0) -> Any:
        c = (1 + fault) / np.sqrt(constant)
        y = np.tanh(c * x)
        return c * (1 - y * y)

    assert check_gradient(gradient, known, QUICK).ok
    assert "FAIL" == check_gradient(lambda x: gradient(x, fault=1e-13), known, QUICK).cases[0].status


def test_a_wrong_formula_fails_where_floats_overflow_too() -> None:
    """The truth is enclosed there and the code can be read; one that is right, and overflows, is not accused."""
    wide = "x: {at: 0.5, domain: [-1000, 1000]}"

    def wrong(x: Any) -> Any:
        return np.where(x < -710, 7.0, sigmoid(x) * (1 - sigmoid(x)))

    with np.errstate(all="ignore"):
        assert "FAIL" == check_gradient(wrong, case("f: 1 / (1 + exp(-x))", wide), QUICK).cases[0].status
        far = case("f: sqrt(1 + x**2)", "x: {at: 0.5, domain: [-1e300, 1e300]}")
        assert check_gradient(lambda x: x / np.sqrt(1 + x * x), far, QUICK).ok


def test_lost_tails_of_large_gradients_pass_along_directions() -> None:
    """More entries than are proved one by one, all in the tail: what each may lose, their sum may."""
    tail = case("f: sum(sigmoid(x))", "x: {shape: [2100], at: 30, domain: [29, 31]}")
    settings = Settings(points=0, shrink=False)

    def gradient(x: Any) -> Any:
        return sigmoid(x) * (1 - sigmoid(x))

    def wrong(x: Any) -> Any:
        found = gradient(x)
        found[77] *= 1.5
        return found

    assert check_gradient(gradient, tail, settings).ok
    assert not check_gradient(wrong, tail, settings).ok


def masked_sigmoid(x: Any) -> Any:
    """Without overflow, as a course has it written."""
    z = np.zeros_like(x)
    z[x >= 0] = np.exp(-x[x >= 0])
    z[x < 0] = np.exp(x[x < 0])
    top = np.ones_like(x)
    top[x < 0] = z[x < 0]
    return top / (1 + z)


def test_lost_tails_of_a_masked_sigmoid_pass() -> None:
    """What the mask chose is known as well as what is made of it, at its tie and elsewhere."""

    def function(x: Any, y: Any) -> Any:
        return masked_sigmoid(x) * np.tanh(y)

    def gradient(x: Any, y: Any, upstream: Any, fault: float = 0.0) -> Any:
        s, t = masked_sigmoid(x), np.tanh(y)
        return upstream * s * (1 - s) * t * (1 + fault), upstream * s * (1 - t * t)

    at, domain = {"x": np.array([0.0, 16.0, -3.0]), "y": np.array([8.0, 8.0, 1.0])}, {"x": (-20, 20), "y": (-12, 12)}
    assert check_gradient(gradient, function, QUICK, at=at, domain=domain).ok
    off = check_gradient(lambda x, y, upstream: gradient(x, y, upstream, 1e-5), function, QUICK, at=at, domain=domain)
    assert "FAIL" == off.cases[0].status


@pytest.mark.parametrize("kink", ["max(x, 0)", "abs(x)"])
def test_lost_tails_pass_at_corners_of_another_input_too(kink: str) -> None:
    """The vector of all inputs is judged at a kink: what a tail may lose beside it is excused there as anywhere."""
    known = case(f"f: '{kink} + tanh(y)'", "x: {at: 0, domain: [-3, 3]}, y: {at: 8, domain: [-12, 12]}")

    def gradient(x: Any, y: Any, fault: float = 0.0) -> Any:
        slope = (x > 0) * 1.0 if kink.startswith("max") else np.sign(x)
        return slope, (1 - np.tanh(y) ** 2) * (1 + fault)

    assert check_gradient(gradient, known, QUICK).ok
    assert not check_gradient(lambda x, y: gradient(x, y, 1e-3), known, QUICK).ok


def test_slopes_beyond_all_floats_are_infinite_for_everybody() -> None:
    """At the smallest floats 1 / x and an inverse have slopes that no float holds: -inf is as right as can be."""
    assert check_gradient(lambda x: -1 / x / x, case("f: 1 / x", "x: {at: 1, domain: [-2, 2]}"), QUICK).ok
    matrix = case("f: inverse(A)", "A: {shape: [n, n], at: normal, domain: [-2, 2]}", "dims: {n: 2}\n")

    def gradient(A: Any, upstream: Any) -> Any:
        back = np.linalg.inv(A).T
        return -back @ upstream @ back

    with np.errstate(all="ignore"):
        assert check_gradient(gradient, matrix, QUICK).ok
        assert not check_gradient(lambda A, upstream: gradient(A, upstream.T), matrix, QUICK).ok


@pytest.mark.parametrize(("beside", "passes"), [(8.0, True), (2.0**30, False)])
def test_a_right_formula_may_lose_a_few_digits_and_not_half_of_them(beside: float, passes: bool) -> None:
    """Its formula without rounding is the truth either way, and the verdict says so."""
    run = check_gradient(
        lambda x: (2 * x + beside) - beside, lambda x: np.sum(x**2), at={"x": np.array([0.3, -0.7])}, shrink=False
    )
    assert run.ok is passes
    if not passes:
        assert run.verdict == Verdict.IMPRECISE


# ------------------------------------------------------------------------------------- too many numbers to be proved

WEIGHTS = np.random.default_rng(7).normal(size=(12, 40))


def layer(x: Any) -> Any:
    """A layer of fixed weights."""
    return np.tanh(x @ WEIGHTS)


@pytest.mark.parametrize("methods", [METHODS, ("reverse", "central")])
@pytest.mark.parametrize(
    ("factor", "entries", "passes"),
    [(1.0, slice(None), True), (1.5, slice(None), False), (1 + 1e-6, slice(None), False), (1 + 1e-6, 7, False)],
)
def test_a_gradient_is_compared_where_nothing_can_be_proved(
    monkeypatch: pytest.MonkeyPatch, methods: tuple[str, ...], factor: float, entries: Any, passes: bool
) -> None:
    """What the methods make of each other there is not its fault, nor does their agreement let it pass.

    Without SymPy's form central is asked as well, with what its step may be off by.
    """
    monkeypatch.setattr(close_look, "MOST_NUMBERS", 100)

    def gradient(x: Any, upstream: Any) -> Any:
        found = WEIGHTS @ (upstream * (1 - layer(x) ** 2))
        found[entries] *= factor
        return found

    run = check_gradient(gradient, layer, replace(QUICK, methods=methods), at={"x": np.linspace(-1, 1, 12)})
    assert run.ok is passes
    assert any("too many numbers to be run in balls" in note for note in run.cases[0].notes)


@pytest.mark.parametrize(("factor", "passes"), [(1.0, True), (1 + 1e-6, False)])
def test_a_loss_over_a_table_of_data_is_proved(factor: float, passes: bool) -> None:
    """300 examples of 90 features: as many products as the reference can add up one by one."""
    rng = np.random.default_rng(8)
    data, labels = rng.normal(size=(300, 90)), rng.choice([-1.0, 1.0], 300)

    def loss(w: Any) -> Any:
        return np.mean(np.log1p(np.exp(-labels * (data @ w))))

    def gradient(w: Any) -> Any:
        return -(data.T @ (labels / (1 + np.exp(labels * (data @ w))))) / 300 * factor

    run = check_gradient(gradient, loss, replace(QUICK, points=0), at={"w": rng.normal(size=90) / 10})
    assert run.ok is passes
    assert passes <= (run.cases[0].proved == 90)


def chain(A: Any, x: Any, steps: int) -> Any:
    """The logarithm of how much a chain of products has grown: intervals know nothing of it after some twenty."""
    total = 0.0
    for _ in range(steps):
        x = A @ x
        size = np.sum(x)
        x, total = x / size, total + np.log(size)
    return total


@pytest.mark.parametrize(("fault", "passes"), [(0.0, True), (1e-6, False)])
@pytest.mark.parametrize("steps", [18, 26])
def test_a_bound_that_has_grown_without_reason_lets_no_fault_pass(steps: int, fault: float, passes: bool) -> None:
    """Nor does it keep an answer from passing that is the truth."""
    rng = np.random.default_rng(11)

    def gradient(A: Any, x: Any) -> Any:
        states, products = [x], []
        for _ in range(steps):
            products.append(A @ states[-1])
            states.append(products[-1] / np.sum(products[-1]))
        by_A, back = np.zeros_like(A), np.zeros_like(x)
        for state, made in zip(states[-2::-1], products[::-1], strict=True):
            size = np.sum(made)
            back = back / size + 1 / size - np.sum(back * made) / size**2
            by_A = by_A + np.outer(back, state)
            back = A.T @ back
        by_A[0, 0] *= 1 + fault
        return by_A, back

    at = {"A": np.abs(rng.normal(size=(3, 3))) + 0.1, "x": np.abs(rng.normal(size=3))}
    run = check_gradient(gradient, lambda A, x: chain(A, x, steps), replace(QUICK, points=0), at=at)
    assert run.ok is passes
    assert ("PASS" if passes else "FAIL") == run.verdict


@pytest.mark.parametrize(("fault", "verdict"), [(0.0, "PASS"), (1e-6, "UNDECIDED"), (1e-2, "FAIL")])
def test_what_cannot_be_read_is_not_excused_by_such_a_bound(fault: float, verdict: str) -> None:
    """A chain of which intervals know little, whose gradient is no formula of balls: differences of mpmath's."""
    import mpmath

    rng = np.random.default_rng(11)
    at = {"A": np.abs(rng.normal(size=(2, 2))) + 0.1, "x": np.abs(rng.normal(size=2))}

    def exactly(A: Any, x: Any) -> Any:
        total = mpmath.mpf(0)
        for _ in range(22):
            x = [A[0][0] * x[0] + A[0][1] * x[1], A[1][0] * x[0] + A[1][1] * x[1]]
            size = x[0] + x[1]
            x, total = [x[0] / size, x[1] / size], total + mpmath.log(size)
        return total

    def gradient(A: Any, x: Any) -> Any:
        with mpmath.workdps(60):
            numbers = [[mpmath.mpf(float(v)) for v in row] for row in (*np.asarray(A, float), np.asarray(x, float))]
            step, slopes = mpmath.mpf(10) ** -20, []
            for i, j in np.ndindex(3, 2):
                ends = []
                for sign in (1, -1):
                    moved = [list(row) for row in numbers]
                    moved[i][j] += sign * step
                    ends.append(exactly(moved[:2], moved[2]))
                slopes.append(float((ends[0] - ends[1]) / (2 * step)))
        slopes[0] *= 1 + fault
        return np.reshape(slopes[:4], (2, 2)), np.array(slopes[4:])

    run = check_gradient(gradient, lambda A, x: chain(A, x, 22), replace(QUICK, points=0), at=at)
    assert verdict == run.verdict
    assert run.ok is (fault == 0)


def test_where_the_terms_on_the_way_are_not_known_nothing_is_too_much_for_rounding() -> None:
    """Slopes of which the work allows only some, or that are not finite, say nothing of the largest."""
    graph = case("f: sum(exp(x))", "x: {at: [1, 2, 3]}").graph
    point = {"x": np.ones((1, 3))}, {"f": np.ones(1)}
    few, enough = (Reference(graph, ["x"], None, most_work=work).enclose(*point) for work in (60.0, 1000.0))
    assert few.slopes()
    assert not few.slopes(all_or_none=True)
    assert 7 == len(enough.slopes(all_or_none=True))

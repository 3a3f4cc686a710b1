"""Every verdict seen both ways: what earns it, and what by a little does not."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sympy

from verify.case.case import load_case_text
from verify.case.files import shipped_cases
from verify.judging import context
from verify.judging.agreement import SIGNATURES, compare
from verify.methods.reverse import Reverse
from verify.ops import OPS
from verify.records import CaseResult, Row
from verify.running import gathering, runner
from verify.running.runner import run_loaded
from verify.running.settings import Settings
from verify.words import Verdict

NAN = float("nan")


def run(text: str, points: int = 0, **settings: Any) -> CaseResult:
    """The result of a case, at its own points alone unless more are asked for."""
    return run_loaded(load_case_text(text), Settings(points=points, **settings))


def case(formula: str, at: str = "x: {at: 0, domain: [-2, 2]}", more: str = "") -> str:
    """A case of one stage ``f``."""
    return f"case: a case\ninputs: {{{at}}}\nstages: {{f: '{formula}'}}\n{more}\n"


def rows(result: CaseResult, variable: str, quantity: str = "gradient") -> list[Row]:
    """All rows of one variable."""
    (found,) = (v for v in result.variables if v.name == variable and v.quantity == quantity)
    return [found.row(i) for i in range(len(found.rows))]


def own_row(formula: str, at: str = "x: {at: 0, domain: [-2, 2]}", more: str = "", variable: str = "x") -> Row:
    """The row of a scalar variable at the case's own point."""
    return rows(run(case(formula, at, more)), variable)[0]


# ------------------------------------------------------------------------------------------------------- signatures


def answers(symbolic: float, reverse: float, central: float) -> dict[str, float]:
    """What the three methods say."""
    return {"symbolic": symbolic, "reverse": reverse, "central": central}


ROWS: Mapping[str, tuple[dict[str, float], float, float, float, Verdict, str]] = {
    "all agree": (answers(2, 2, 2 + 1e-7), 2, 1e-14, 1e-6, Verdict.PASS, ""),
    "reverse off, central can tell": (answers(2, 2.1, 2 + 1e-7), 2, 1e-14, 1e-6, Verdict.FAIL, "reverse"),
    "reverse off, central too coarse": (
        answers(2, 2 + 1e-7, 2), 2, 1e-14, 1e-6, Verdict.FAIL, "symbolic or reverse",
    ),
    "reverse off by what is allowed": (answers(2, 2 + 1e-7, 2), 2, 2e-7, 1e-6, Verdict.PASS, ""),
    "symbolic off": (answers(2.1, 2, 2), 2.1, 1e-14, 1e-6, Verdict.FAIL, "symbolic"),
    "central off": (answers(2, 2, 2.1), 2, 1e-14, 1e-6, Verdict.FAIL, "central: the forward function or the step"),
    "central within its step": (answers(2, 2, 2.1), 2, 1e-14, 0.11, Verdict.PASS, ""),
    "three answers": (
        answers(2, 3, 4), 2, 1e-14, 1e-6, Verdict.FAIL, "the forward function, or more than one method",
    ),
    "symbolic loses digits": (answers(2.1, 2, 2), 2, 1e-14, 1e-6, Verdict.IMPRECISE, "symbolic"),
    "symbolic loses less than is allowed": (answers(2 + 1e-9, 2, 2), 2, 1e-8, 1e-6, Verdict.PASS, ""),
    "symbolic overflows": (answers(NAN, 2, 2), 2, 1e-14, 1e-6, Verdict.PASS, ""),
    "symbolic overflows, and is wrong": (answers(NAN, 2, 2), 2.1, 1e-14, 1e-6, Verdict.FAIL, "symbolic"),
    "reverse not finite": (answers(2, NAN, 2), 2, 1e-14, 1e-6, Verdict.FAIL, "reverse"),
    "reverse infinite": (answers(2, float("inf"), 2), 2, 1e-14, 1e-6, Verdict.FAIL, "reverse"),
    "central not finite": (answers(2, 2, NAN), 2, 1e-14, float("inf"), Verdict.PASS, ""),
    "central not finite, others apart": (
        answers(2, 2.1, NAN), 2, 1e-14, float("inf"), Verdict.FAIL, "symbolic or reverse",
    ),
    "nobody finite": (answers(NAN, NAN, 2), NAN, 1e-14, 1e-6, Verdict.UNDECIDED, ""),
    "unbounded rounding": (answers(2, 2.1, 2), 2, float("inf"), 1e-6, Verdict.UNDECIDED, ""),
    "unbounded rounding, but all agree": (answers(2, 2, 2), 2, float("inf"), 1e-6, Verdict.PASS, ""),
    "zero against zero": (answers(0, 0, 0), 0, 0, 0, Verdict.PASS, ""),
    "zero against nearly zero": (answers(0, 1e-300, 0), 0, 1e-301, 0, Verdict.FAIL, "reverse"),
    "two methods agree": ({"symbolic": 2, "reverse": 2}, 2, 1e-14, 0, Verdict.PASS, ""),
    "two methods differ": ({"reverse": 2, "central": 3}, NAN, 1e-14, 1e-6, Verdict.FAIL, "reverse or central"),
    "one method": ({"reverse": 2}, NAN, 1e-14, 0, Verdict.UNDECIDED, ""),
    "central alone": ({"central": 2}, NAN, 1e-14, 0, Verdict.UNDECIDED, ""),
}  # fmt: skip


@pytest.mark.parametrize("name", ROWS)
def test_one_row(name: str) -> None:
    """Answers, exact value, allowed error and step error -> verdict and suspect."""
    given, exact, allowed, step, verdict, suspect = ROWS[name]
    judged = compare(given, exact, allowed, step)
    assert (verdict, suspect) == (judged.verdict, judged.suspect)


def test_every_signature_names_a_suspect() -> None:
    """All ways in which three pairs can differ, but for none of them."""
    assert {(a, b, c) for a in (True, False) for b in (True, False) for c in (True, False)} - {
        (False, False, False)
    } == set(SIGNATURES)


@pytest.mark.parametrize("signature", SIGNATURES)
def test_signatures_come_from_numbers(signature: tuple[bool, bool, bool]) -> None:
    """Answers laid out on a line so that exactly these pairs are apart; central is granted as much as it takes."""
    places = {
        (True, False, True): (0, 4, 0),
        (True, True, False): (4, 0, 0),
        (False, True, True): (0, 0, 4),
        (True, True, True): (0, 4, 8),
        (True, False, False): (0, 2, 1),
        (False, True, False): (0, 0.5, 1.4),
        (False, False, True): (0.5, 0, 1.4),
    }
    at = dict(zip(("symbolic", "reverse", "central"), places[signature], strict=True))
    judged = compare(at, at["symbolic"], 0.6, 0.5)
    assert SIGNATURES[signature] == (judged.suspect, judged.reason)


def test_a_value_that_differs_is_a_row_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """An additive fault leaves all derivatives alike; the values tell."""
    monkeypatch.setitem(OPS, "exp", replace(OPS["exp"], forward=lambda a: np.exp(a) + 1e-6, vjps=(
        lambda g, y, a: g * np.exp(a),  # noqa: ARG005 - as the original
    )))  # fmt: skip
    result = run(case("exp(x)"), points=4)
    assert result.status == "FAIL"
    assert {"value"} == {row.quantity for row in result.failing()}
    assert {"forward of exp"} == {row.suspect for row in result.failing()}


# ----------------------------------------------------------------------------------------------------- kinks, PASS


@pytest.mark.parametrize(
    "formula", ["x * abs(x)", "relu(x) ** 2", "abs(x) - abs(x)", "relu(x) * relu(-x)", "relu(x ** 2)"]
)
def test_a_kink_whose_branches_agree_passes(formula: str) -> None:
    """All one-sided slopes are 0: the point is smooth."""
    row = own_row(formula)
    assert Verdict.PASS is row.verdict
    assert row.passes
    assert 0.0 == row.values["reverse"]


def test_a_smooth_sum_of_kinks_has_one_slope_and_conventions_must_add_up_to_it() -> None:
    """relu(x) - relu(-x) is x: only 1 is right at 0, the engine's 0 - 0 fails, and the reason explains."""
    row = own_row("relu(x) - relu(-x)")
    assert (Verdict.FAIL, False, "reverse") == (row.verdict, row.passes, row.suspect)
    assert "every branch gives 1" in row.reason
    assert "convention" in row.reason


def test_the_same_function_with_a_convention_that_adds_up() -> None:
    """The twin: with 1/2 at a tie the two halves make 1."""
    row = own_row("relu(x) - relu(-x)", more="ties: {relu: half}")
    assert (Verdict.PASS, 1.0) == (row.verdict, row.values["reverse"])


# ----------------------------------------------------------------------------------------- SUBGRADIENT and CONVENTION


@pytest.mark.parametrize(
    ("formula", "ties"),
    [
        ("relu(x)", ""),
        ("relu(x)", "ties: {relu: one}"),
        ("relu(x)", "ties: {relu: half}"),
        ("abs(x)", ""),
        ("abs(x)", "ties: {abs: minus_one}"),
        ("max(x, 3 * x)", ""),
        ("relu(x) + relu(2 * x) + abs(x)", ""),
        ("relu(relu(x))", ""),
    ],
)
def test_a_value_between_the_slopes_of_one_variable_is_a_subgradient(formula: str, ties: str) -> None:
    """Whatever the op's convention, it lies between; the three methods may differ."""
    row = own_row(formula, more=ties)
    assert (Verdict.SUBGRADIENT, True, "") == (row.verdict, row.passes, row.suspect)


def test_a_gradient_outside_the_slopes_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    """The twin: 1 + 1e-6 at the kink of relu is no subgradient."""
    wrong = OPS["relu"].kink
    assert wrong is not None
    monkeypatch.setitem(OPS, "relu", replace(OPS["relu"], kink=replace(wrong, ties={"zero": (1 + 1e-6, 0.0)})))
    row = own_row("relu(x)")
    assert (Verdict.FAIL, "reverse") == (row.verdict, row.suspect)
    assert "slopes are 0 to 1" in row.reason


TIE = "x: {at: 1, domain: [0, 2]}, y: {at: 1, domain: [0, 2]}"


def test_half_and_half_is_a_subgradient_of_max() -> None:
    """(1/2, 1/2) and (1, 0) are in the hull of (1, 0) and (0, 1)."""
    for ties in ("", "ties: {max: half}"):
        assert Verdict.SUBGRADIENT is own_row("max(x, y)", TIE, ties).verdict


def test_both_is_a_convention_that_passes_where_it_is_declared() -> None:
    """(1, 1): each entry is within its slopes, the vector is no subgradient, and the case says so."""
    row = own_row("max(x, y)", TIE, "ties: {max: both}")
    assert (Verdict.CONVENTION, True, "") == (row.verdict, row.passes, row.suspect)
    assert "not a subgradient" in row.reason


def both_undeclared(monkeypatch: pytest.MonkeyPatch) -> None:
    """max with (1, 1) at a tie as its default."""
    kink = OPS["max"].kink
    assert kink is not None
    monkeypatch.setitem(OPS, "max", replace(OPS["max"], kink=replace(kink, ties={"first": (1.0, 1.0)})))


def test_both_fails_where_it_is_not_declared(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same gradient with nothing said about it."""
    both_undeclared(monkeypatch)
    row = own_row("max(x, y)", TIE)
    assert (Verdict.CONVENTION, False, "reverse") == (row.verdict, row.passes, row.suspect)


def test_a_convention_declared_for_another_op_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    """``ties: {relu: one}`` says nothing of max."""
    both_undeclared(monkeypatch)
    row = own_row("max(x, y) + relu(x + 1)", TIE, "ties: {relu: one}")
    assert (Verdict.CONVENTION, False) == (row.verdict, row.passes)


def test_three_tied_operands() -> None:
    """The first winner takes all, which is a subgradient; SymPy's halves of halves are none, and are not judged."""
    result = run(case("max(max(x, y), z)", "x: {at: 1}, y: {at: 1}, z: {at: 1}"))
    found = [rows(result, name)[0] for name in "xyz"]
    assert [1.0, 0.0, 0.0] == [row.values["reverse"] for row in found]
    assert {Verdict.SUBGRADIENT} == {row.verdict for row in found}
    assert all("symbolic follows a convention of its own" in row.reason for row in found)


def test_a_tie_within_rounding_is_a_tie() -> None:
    """0.1 * 0.1 is not quite what floats make of it: floats say 0, either branch is admissible."""
    inputs = "x: {at: 0.1, domain: [0, 1]}, y: {at: 0.1, domain: [0, 1]}"
    assert Verdict.SUBGRADIENT is own_row("relu(x * y - 0.010000000000000002)", inputs).verdict
    assert Verdict.PASS is own_row("relu(x * y - 0.00999999999999)", inputs).verdict


def test_infinite_slopes_at_a_kink_are_undecided() -> None:
    """sqrt(abs(x)) at 0 has slopes without bounds: nothing is shown."""
    row = own_row("abs(x) ** 0.5")
    assert (Verdict.UNDECIDED, False, "") == (row.verdict, row.passes, row.suspect)


def test_many_zeros_at_once_do_not_explode() -> None:
    """A dropout-like mask: 60 entries of relu at 0 in one point, 2**60 patterns, judged by an outer bound."""
    inputs = "x: {shape: [60], at: uniform, domain: [-2, 2]}, m: {kind: mask, shape: [60], at: uniform}"
    result = run(case("sum(relu(x * m))", inputs), points=3)
    assert result.passes
    assert {Verdict.PASS, Verdict.SUBGRADIENT} == set(+result.counts)


def test_too_many_zeros_are_undecided_and_said_to_be() -> None:
    """Thousands of branches for thousands of entries would take minutes."""
    result = run(case("sum(relu(x))", "x: {shape: [2000], at: 0}"))
    assert all((Verdict.UNDECIDED, False) == (row.verdict, row.passes) for row in rows(result, "x"))
    assert "2000 undecided branches" in rows(result, "x")[0].reason
    assert run(case("sum(relu(x))", "x: {shape: [2000], at: 1}")).passes


@pytest.mark.parametrize("formula", ["max(x, relu(x))", "max(relu(x), x)"])
def test_a_branch_that_matters_on_one_side_of_another_only(formula: str) -> None:
    """Both are relu(x), whose slopes are 0 to 1, however the branches are nested; 1/2 at a tie is between."""
    row = own_row(formula, more="ties: {max: half}")
    assert (Verdict.SUBGRADIENT, 0.5) == (row.verdict, row.values["reverse"])
    assert "slopes 0 to 1" in row.reason


def test_two_layers_of_relu_at_zero_pass() -> None:
    """Nested kinks, all undecided at once."""
    inputs = "x: {at: [0, 0, 0]}, W: {shape: [3, 3], at: normal}"
    assert run(case("sum(relu(W @ relu(W @ x)))", inputs), points=4).passes


def test_only_so_many_kinked_points_are_judged(monkeypatch: pytest.MonkeyPatch) -> None:
    """The others are UNDECIDED, said to be, and their values are compared all the same."""
    monkeypatch.setattr(context, "MOST_EXAMINED_KINKS", 3)
    inputs = "x: {at: 1, domain: [-1, 1]}, m: {kind: mask, at: 0}"
    result = run(case("relu(x * m)", inputs), points=20)
    found = Counter(row.verdict for row in rows(result, "x"))
    assert 3 == found[Verdict.SUBGRADIENT] + sum("every branch" in row.reason for row in rows(result, "x"))
    assert found[Verdict.UNDECIDED] > 0
    assert {Verdict.PASS} == {row.verdict for row in rows(result, "f", "value")}


def test_without_the_engine_the_symbolic_method_is_judged_at_kinks() -> None:
    """And central alone says nothing there."""
    inputs = "x: {at: 0, domain: [-1, 1]}"
    symbolic = rows(run(case("relu(x)", inputs), methods=("symbolic", "central")), "x")[0]
    assert (Verdict.SUBGRADIENT, True) == (symbolic.verdict, symbolic.passes)
    central = rows(run(case("relu(x)", inputs), methods=("central",)), "x")[0]
    assert (Verdict.UNDECIDED, False) == (central.verdict, central.passes)


# --------------------------------------------------------------------------------------------------------- IMPRECISE


def unstable_tanh(monkeypatch: pytest.MonkeyPatch) -> None:
    """tanh with a SymPy form whose derivative cancels: right at 50 digits, eleven digits short in floats at 13."""

    def form(a: Any) -> Any:
        return (sympy.exp(2 * a) - 1) / (sympy.exp(2 * a) + 1)

    monkeypatch.setitem(OPS, "tanh", replace(OPS["tanh"], sympy=form))


def test_a_loss_in_the_tail_of_a_form_of_our_own_does_not_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    """What saved values cost excuses backward passes, not SymPy's forms, which save none; whatever the domain is."""
    unstable_tanh(monkeypatch)
    for domain in ("[-15, 15]", "[12, 15]"):
        row = own_row("tanh(x)", f"x: {{at: 13, domain: {domain}}}")
        assert (Verdict.IMPRECISE, False, "symbolic") == (row.verdict, row.passes, row.suspect)
        assert "digits" in row.reason


def test_relative_accuracy_makes_the_same_loss_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    """``accuracy: relative`` asks for every digit everywhere."""
    unstable_tanh(monkeypatch)
    row = own_row("tanh(x)", "x: {at: 13, domain: [-15, 15]}", "accuracy: relative")
    assert (Verdict.IMPRECISE, False) == (row.verdict, row.passes)


def test_a_loss_by_terms_of_its_own_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    """The twin: the same value through a large offset that the function does not have."""

    def form(a: Any) -> Any:
        y, k = sympy.tanh(a), 10**4
        return sympy.cbrt((y + k) ** 3 - k**3 - 3 * k**2 * y - 3 * k * y**2)

    monkeypatch.setitem(OPS, "tanh", replace(OPS["tanh"], sympy=form))
    row = own_row("tanh(x)", "x: {at: 1.3, domain: [1, 2]}")
    assert (Verdict.IMPRECISE, False) == (row.verdict, row.passes)


def test_a_stable_form_loses_nothing() -> None:
    """The twin: the table's own row passes in the same tail, whatever accuracy is asked for."""
    for more in ("", "accuracy: relative"):
        for at in ("13, domain: [-15, 15]", "13, domain: [12, 15]", "300"):
            assert Verdict.PASS is own_row("tanh(x)", f"x: {{at: {at}}}", more).verdict


def test_rounding_of_the_function_itself_accuses_nobody() -> None:
    """y (1 - y) at 36 cancels in every method alike: what the balls allow covers it."""
    result = run("case: a\ninputs: {x: {at: 36}}\nstages: {y: sigmoid(x), f: y * (1 - y)}\n", points=20)
    assert result.passes


# --------------------------------------------------------------------------------------------------------- UNDECIDED

NOTHING_SHOWN: Mapping[str, tuple[str, str, str]] = {
    "outside the domain": ("log(x)", "-1", "outside the domain of log: a > 0, got -1"),
    "division by zero": ("1 / x", "0", "outside the domain of divide"),
    "infinite slope": ("sqrt(x)", "0", "the slope is infinite or undefined here"),
    "overflow": ("exp(x)", "1000", "overflow"),
    "overflow on the way": ("exp(x) / exp(x + 1)", "1000", "overflow"),
}


@pytest.mark.parametrize("name", NOTHING_SHOWN)
def test_nothing_is_shown_at_an_own_point(name: str) -> None:
    """UNDECIDED with the reason, and it fails: the case itself asks about this point."""
    formula, at, reason = NOTHING_SHOWN[name]
    result = run(case(formula, f"x: {{at: {at}}}"))
    row = rows(result, "x")[0]
    assert (Verdict.UNDECIDED, False, "") == (row.verdict, row.passes, row.suspect)
    assert reason in row.reason
    assert not result.passes


@pytest.mark.parametrize("name", ["outside the domain", "overflow"])
def test_nothing_is_shown_at_a_random_point(name: str) -> None:
    """UNDECIDED with the reason, and it passes: nobody asked about this point in particular."""
    formula, at, reason = NOTHING_SHOWN[name]
    result = run(case(formula, "x: {at: 0.5, domain: [-1500, 1500]}"), points=40)
    undecided = [row for row in rows(result, "x") if row.verdict is Verdict.UNDECIDED]
    assert len(undecided) > 5
    assert all(row.passes for row in undecided)
    assert any(reason.split(",")[0] in row.reason for row in undecided), at
    assert result.passes


def test_just_inside_the_domain_something_is_shown() -> None:
    """The twins: log, sqrt and exp at points that have a value and a slope."""
    for formula, at in (("log(x)", "1e-3"), ("sqrt(x)", "1e-6"), ("exp(x)", "600"), ("1 / x", "1e-3")):
        assert Verdict.PASS is own_row(formula, f"x: {{at: {at}}}").verdict


@pytest.mark.parametrize("method", ["symbolic", "reverse", "central"])
def test_one_method_alone_is_held_against_the_truth_or_shows_nothing(
    method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is proved, at as many points as a case may take; beyond there is nothing to compare it with."""
    assert {Verdict.PASS: 93} == dict(+run(case("exp(x)"), points=30, methods=(method,)).counts)
    monkeypatch.setattr(context, "MOST_ENCLOSED", 12)
    result = run(case("exp(x)"), points=30, methods=(method,))
    assert {Verdict.PASS, Verdict.UNDECIDED} == set(+result.counts)
    assert result.passes
    undecided = [row for row in rows(result, "x") if row.verdict is Verdict.UNDECIDED]
    assert {f"{method} alone: nothing to compare it with"} == {row.reason for row in undecided}


def test_one_method_alone_that_is_wrong_is_proved_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    """The twin: nobody else is needed to tell."""
    monkeypatch.setitem(OPS, "exp", replace(OPS["exp"], vjps=(lambda g, y, a: g * y * (1 + 1e-9),)))  # noqa: ARG005
    result = run(case("exp(x)"), methods=("reverse",))
    assert {"x"} == {row.variable for row in result.failing()}
    assert {Verdict.FAIL} == {row.verdict for row in result.failing()}


# ---------------------------------------------------------------------------------------------------------- DISPUTED


@pytest.mark.parametrize("factor", [sympy.Integer(-1), 1 + sympy.Rational(1, 10**6), 1 + sympy.Rational(1, 10**12)])
def test_a_wrong_sympy_form_puts_the_references_at_odds(factor: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two certified derivatives that are disjoint: the row of the table is named, no method is accused."""
    monkeypatch.setitem(OPS, "exp", replace(OPS["exp"], sympy=lambda a: factor * sympy.exp(a)))
    row = own_row("exp(x)")
    assert (Verdict.DISPUTED, False) == (row.verdict, row.passes)
    assert "exp" in row.reason


def test_a_wrong_vjp_disputes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """The twin: the engine's VJPs are no reference."""
    monkeypatch.setitem(OPS, "exp", replace(OPS["exp"], vjps=(lambda g, y, a: -g * y,)))  # noqa: ARG005
    assert (Verdict.FAIL, "VJP of exp") == (own_row("exp(x)").verdict, own_row("exp(x)").suspect)


# -------------------------------------------------------------------------------------------------- expected figures

FIGURES = "expect: {{gradient: {{x: {}}}, value: {{f: {}}}}}\nsource: by hand"


def test_a_right_figure_passes_to_half_a_unit_of_its_last_digit() -> None:
    """exp(1) as printed, with as many digits as one likes."""
    for printed in ("2.718281828459045", "2.7183", "2.7"):
        result = run(case("exp(x)", "x: {at: 1}", FIGURES.format(printed, printed)))
        assert result.passes, printed


@pytest.mark.parametrize("printed", ["2.718281828459145", "2.7184", "2.8", "-2.7183", "2.71829"])
def test_a_wrong_figure_fails_on_its_row(printed: str) -> None:
    """One unit off in the last digit is wrong; all methods agree, so it is the figure that is suspected."""
    result = run(case("exp(x)", "x: {at: 1}", FIGURES.format(printed, "2.7183")))
    (row,) = result.failing()
    assert ("x", Verdict.FAIL) == (row.variable, row.verdict)
    assert printed in row.reason
    assert "figure" in row.suspect


def test_a_figure_that_the_engine_alone_misses_accuses_the_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the other methods on the figure's side, and the row of the table named."""
    monkeypatch.setitem(OPS, "exp", replace(OPS["exp"], vjps=(lambda g, y, a: 1.001 * g * y,)))  # noqa: ARG005
    result = run(case("exp(x)", "x: {at: 1}", FIGURES.format("2.7183", "2.7183")))
    assert {"VJP of exp"} == {row.suspect for row in result.failing()}


# ------------------------------------------------------------------------------------------- large runs and small ones

ODD: Mapping[str, str] = {
    "kinks": case("sum(relu(x)) + max(x[0], x[1])", "x: {at: [1, -1], domain: [-1, 1]}"),
    "half outside": case("log(x)", "x: {at: 0.5, domain: [-1, 1]}"),
    "pole": case("1 / x ** 3", "x: {at: 0.5, domain: [-1, 1]}"),
    "many ties": case("relu(x * m)", "x: {at: 0.5, domain: [-1, 1]}, m: {kind: integer, at: 1, domain: [-2, 2]}"),
    "overflow": case("exp(x)", "x: {at: 0.5, domain: [-800, 800]}"),
    "tails": case("tanh(x) * sigmoid(x)", "x: {at: 0.5, domain: [-50, 50]}"),
    "float32": case("sum(exp(x) * x)", "x: {at: [0.5, 1], domain: [-3, 3], dtype: float32}"),
    **{path.stem: path.read_text(encoding="utf-8") for path in sorted((shipped_cases() / "notes").glob("*.yaml"))},
}


def findings(result: CaseResult) -> dict[tuple[str, str], Any]:
    """What is counted over all points: rows, failures, verdicts, and the largest differences with their places."""
    return {
        (v.name, v.quantity): (v.checked, v.failed, +Counter(v.counts), [str(d) for d in v.differences])
        for v in result.variables
    }


def closely_and_screened(text: str, points: int, monkeypatch: pytest.MonkeyPatch) -> tuple[CaseResult, CaseResult]:
    """The same points twice: each judged closely, and as a large run does it."""
    close = run(text, points)
    monkeypatch.setattr(gathering, "KEEP_ALL", 100)
    monkeypatch.setattr(gathering, "SAMPLE", 50)
    return close, run(text, points)


@pytest.mark.parametrize("name", ODD)
def test_a_large_run_finds_what_judging_every_point_finds(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Counts and largest differences exactly, and the rows that do not simply pass are kept."""
    close, screened = closely_and_screened(ODD[name], 1500, monkeypatch)
    assert close.points_checked == screened.points_checked
    assert findings(close) == findings(screened)
    assert close.status == screened.status


def test_above_10000_points_by_the_default_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """The real threshold, with the comparison made by raising it."""
    text = ODD["staged_function"]
    screened = run(text, 10_500)
    monkeypatch.setattr(gathering, "KEEP_ALL", 20_000)
    close = run(text, 10_500)
    assert findings(close) == findings(screened)
    assert sum(len(v.rows) for v in screened.variables) < sum(len(v.rows) for v in close.variables) / 10


@pytest.mark.parametrize("factor", [1 + 1e-6, 1 + 1e-9])
def test_a_fault_is_found_in_a_large_run_as_in_a_small_one(factor: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """The twin: with a VJP off by a little, screening counts the same failures, and keeps some of them."""
    right = OPS["exp"].vjps[0]
    monkeypatch.setitem(OPS, "exp", replace(OPS["exp"], vjps=(lambda g, y, a: right(g, y, a) * factor,)))
    close, screened = closely_and_screened(ODD["staged_function"], 600, monkeypatch)
    assert findings(close) == findings(screened)
    assert not screened.passes
    assert {"VJP of exp"} == {row.suspect for row in screened.failing()}


def test_a_fault_at_one_point_in_twelve_thousand_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """What only one random point shows: its row is kept, with the point."""
    text = case("exp(x)", "x: {at: 0.5, domain: [-1, 1]}")
    before = run(text, 12_000)
    assert before.passes
    differentiate = Reverse.differentiate

    def wrong(self: Reverse, inputs: Any, upstream: Any) -> Any:
        found = differentiate(self, inputs, upstream)
        found.gradients["x"] = np.where(inputs["x"] > 0.9995, 1.0, found.gradients["x"])  # type: ignore[index]
        return found

    monkeypatch.setattr(Reverse, "differentiate", wrong)
    result = run(text, 12_000)
    failing = list(result.failing())
    assert 1 <= len(failing) <= 12
    points = {point.id: point for point in result.points}
    assert all(points[row.point].values["x"] > 0.9995 for row in failing)


# ------------------------------------------------------------------------------------------------------------ notes


def test_a_variable_that_cannot_be_checked_is_noted() -> None:
    """A gradient of zero everywhere hides any factor."""
    assert any("zero at every point" in note for note in run(case("0 * x + 1"), points=8).notes)
    assert not run(case("x + 1"), points=8).notes


def test_a_straddled_kink_is_noted() -> None:
    """A step that crossed a kink is told, where it mattered."""
    result = run(case("relu(x)", "x: {at: 1e-9, domain: [-1, 1]}"))
    assert result.passes
    assert any("straddled" in note for note in result.notes)


def test_cases_on_disk_and_in_memory_are_the_same(tmp_path: Path) -> None:
    """run_case reads, run_loaded takes what was read."""
    path = tmp_path / "a.yaml"
    path.write_text(case("exp(x)"), encoding="utf-8")
    assert findings(runner.run_case(path, Settings(points=5))) == findings(run(case("exp(x)"), 5))

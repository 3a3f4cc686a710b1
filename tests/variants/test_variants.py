"""Single-fault variants of the backward pass, and what is said of a wrong gradient: each sentence seen both ways."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from verify.case.case import Case, load_case, load_case_text
from verify.case.files import find_case_files, shipped_cases
from verify.methods.reverse import Reverse
from verify.oracle.check import check_gradient
from verify.places.points import random_points
from verify.records import CaseResult, Run
from verify.report.csv import read
from verify.report.csv import write as write_csv
from verify.report.html import render
from verify.report.json import document
from verify.report.terminal import make_console, print_run
from verify.running.settings import Settings
from verify.variants.generate import FaultKind, Variant, variants
from verify.variants.match import Answer, ratio, relations
from verify.variants.side_by_side import gradients_of

NOTES = find_case_files([shipped_cases() / "notes"])
FEW = Settings(points=8, shrink=False)


def case(stages: str, more: str = "", **inputs: str) -> Case:
    """A case from ``name: fields`` pairs and stages written as YAML flow mappings."""
    listed = ", ".join(f"{name}: {{{fields}}}" for name, fields in inputs.items())
    return load_case_text(f"case: made for a test\ninputs: {{{listed}}}\nstages: {{{stages}}}\n{more}\n")


def said(gradient: Callable[..., Any], known: Case | Path, settings: Settings = FEW) -> dict[str, tuple[str, ...]]:
    """The diagnosis of each variable that has one."""
    run = check_gradient(gradient, known, settings)
    return {v.name: v.diagnosis for v in run.cases[0].variables if v.diagnosis}


def sigmoid(z: Any) -> Any:
    """As a formula, without care for its tails."""
    return 1 / (1 + np.exp(-z))


# -------------------------------------------------------------------------------------------------- making variants


@pytest.mark.parametrize("path", NOTES, ids=lambda path: path.stem)
def test_side_by_side_is_one_by_one(path: Path) -> None:
    """Many variants in one pass give bit for bit what each gives in a pass of its own."""
    known = load_case(path)
    engine = Reverse(known.graph, known.variables)
    for points in (1, 2, 3):
        batch = random_points(known, seed=1, block=0, count=points, first_id=0)
        values = engine.program.run(batch.inputs)
        found = variants(engine, values)
        for which, gradients in gradients_of(engine, values, batch.upstream, found):
            for place, number in enumerate(range(which.start, which.stop)):
                alone = engine.backward(values, batch.upstream, found[number].replaced)
                for name, expected in alone.items():
                    np.testing.assert_array_equal(gradients[name][place], expected)


def test_a_replaced_pullback_is_the_only_thing_that_changes() -> None:
    """A replacement that gives what the right pass sends changes nothing; without any the pass is the right one."""
    known = load_case(shipped_cases() / "notes" / "staged_function.yaml")
    engine = Reverse(known.graph, known.variables)
    batch = random_points(known, seed=1, block=0, count=4, first_id=0)
    values = engine.program.run(batch.inputs)
    right = engine.backward(values, batch.upstream)
    for edge in engine.edges():
        same = engine.backward(values, batch.upstream, {edge: lambda c: c.again()})
        assert {name: g.tolist() for name, g in right.items()} == {name: g.tolist() for name, g in same.items()}
        changed = engine.backward(values, batch.upstream, {edge: lambda c: c.sent + 1.0})
        assert any(not np.array_equal(right[name], changed[name]) for name in right)


def test_every_kind_of_fault_is_made() -> None:
    """Over a few cases that have all of it: paths that join, matrices, means, broadcasting, masks."""
    made: set[str] = set()
    several = [*map(load_case, NOTES), BROADCAST, MEAN, SQUARE_MATRICES, THREE_PATHS]
    for known in several:
        engine = Reverse(known.graph, known.variables)
        batch = random_points(known, seed=0, block=0, count=2, first_id=0)
        found = variants(engine, engine.program.run(batch.inputs))
        assert sorted(found, key=lambda v: v.rank) == found
        made |= {variant.kind for variant in found}
    assert set(FaultKind) == made


BROADCAST = case("f: sum((W + b)**2)", W="shape: [3, 2], at: normal", b="shape: [2], at: normal")
MEAN = case("f: mean(x**2)", x="shape: [5], at: normal")
SQUARE_MATRICES = case(
    "Y: A @ B",
    A="shape: [3, 3], at: normal",
    B="shape: [3, 3], at: normal",
)
THREE_PATHS = case("a: x**2, b: exp(x), c: sin(x), f: a * b + c", x="at: 1.5, domain: [-2, 2]")


# ------------------------------------------------------------------------------------------------ what sentences say

CHAIN = case("z: x * y, s: sigmoid(z), f: s * x + y**3", x="at: 1.5, domain: [-2, 2]", y="at: 0.5, domain: [-2, 2]")


def chain(fault: str = "") -> Callable[..., Any]:
    """The backward pass of CHAIN with one of its faults."""

    def backward(x: Any, y: Any) -> dict[str, Any]:
        z = x * y
        s = sigmoid(z)
        ds = x
        slope = {"": s * (1 - s), "no slope": 1.0, "s alone": s, "at z": z * (1 - z)}.get(fault, s * (1 - s))
        dz = ds * slope * (-1 if fault == "sign" else 1)
        dx, dy = s + dz * y, 3 * y**2 + dz * x
        if fault == "=":
            dx = dz * y
        if fault == "power":
            dy = y**2 + dz * x
        if fault == "double":
            dx = 2 * dx
        if fault == "region":
            dx = dx * np.where(x > 1, 3.0, 1.0)
        if fault == "noise":
            dx = dx + np.sin(40 * x)
        if fault == "swapped":
            dx, dy = dy, dx
        if fault == "single":
            dx = float(np.float32(dx))
        if fault == "offset":
            dx = dx + 5e-4
        return {"x": dx, "y": dy}

    return backward


SENTENCES: Mapping[str, Mapping[str, str]] = {
    "no slope": {"x": "misses the factor sigmoid'(z)", "y": "misses the factor sigmoid'(z)"},
    "s alone": {"x": "misses a factor `1 - s`", "y": "misses a factor `1 - s`"},
    "at z": {"x": "uses `z` where `s` belongs in the derivative of `s`", "y": "uses `z` where `s` belongs"},
    "sign": {"x": "has the wrong sign on the path from `s` to `z`", "y": "has the wrong sign on the path"},
    "=": {"x": "equals the right one without the path through `s * x`"},
    "power": {"y": "misses the factor 3, the exponent"},
    "double": {"x": "is 2 x the right one"},
    "region": {"x": "is 3 x the right one; it is wrong at"},
    "noise": {"x": "is none of"},
    "swapped": {"x": "is the right dy: are the two swapped?", "y": "is the right dx: are the two swapped?"},
    "single": {"x": "is right to 7 digits, and all its values are float32 numbers"},
    "offset": {"x": "is the right one plus 0.0005"},
}
"""Fault -> variable -> what is said of it."""


def test_of_a_right_gradient_nothing_is_said() -> None:
    """No row fails, so there is nothing to explain."""
    assert {} == said(chain(), CHAIN)


@pytest.mark.parametrize("fault", SENTENCES)
def test_each_fault_has_its_sentence(fault: str) -> None:
    """It names what is wrong as the case writes it, of the variables that are wrong and of no other."""
    found = said(chain(fault), CHAIN)
    assert set(SENTENCES[fault]) == set(found)
    for name, expected in SENTENCES[fault].items():
        assert any(line.startswith(f"your d{name} ") and expected in line for line in found[name]), found[name]


def test_where_only_some_points_are_wrong_it_says_which() -> None:
    """The bound that sets the wrong points apart lies between a right point and a wrong one."""
    (line,) = said(chain("region"), CHAIN, Settings(points=64, shrink=False))["x"]
    bound = float(line.rpartition("above ")[2])
    assert "all with x above" in line
    assert 0.8 < bound <= 1.0


def test_one_fault_explains_all_that_is_wrong_together() -> None:
    """The path of a fault is told from others that give the same for one variable alone."""
    known = load_case(shipped_cases() / "notes" / "staged_function.yaml")

    def backward(x: Any, y: Any) -> dict[str, Any]:
        sigy, sigx = sigmoid(y), sigmoid(x)
        num, den = x + sigy, sigx + (x + y) ** 2
        dden = num / den**2
        dxpy = dden * 2 * (x + y)
        dx = 1 / den + dden * sigx * (1 - sigx) + dxpy
        return {"x": dx, "y": sigy * (1 - sigy) / den + dxpy, "dden": dden, "dinvden": num}

    found = said(backward, known)
    assert "dden is the first wrong stage in backward order; what comes before it, dinvden, is right" == found["den"][0]
    assert "your dden has the wrong sign: it is -1 x the right one" == found["den"][1]
    for name in ("x", "y"):
        assert (
            f"your d{name} has the wrong sign on the path from `invden` to `den`" == found[name][0].partition(" (")[0]
        )


def test_no_stage_is_named_where_none_was_answered_or_none_is_wrong() -> None:
    """Inputs alone have no order that says anything; of stages that are right nothing is said."""
    assert not any("first wrong" in line for lines in said(chain("double"), CHAIN).values() for line in lines)


def _of_b(of: Callable[..., Any]) -> Callable[..., dict[str, Any]]:
    """A gradient by B alone, from a function of A and the upstream gradient."""
    return lambda A, B, upstream: {"B": of(A, upstream) + 0 * B}


ARRAYS: Mapping[str, tuple[Case, Callable[..., Any], str, str]] = {
    "transposed": (SQUARE_MATRICES, _of_b(lambda A, g: (A.T @ g).T), "B", "is transposed"),
    "operand not transposed": (SQUARE_MATRICES, _of_b(lambda A, g: A @ g), "B", "uses `A` where its transpose belongs"),
    "no upstream": (SQUARE_MATRICES, _of_b(lambda A, g: A.T @ np.ones_like(g)), "B", "misses the upstream gradient"),
    "sum kept": (BROADCAST, lambda W, b: {"b": 2 * (W + b)[0]}, "b", "does not sum over the axes along which `b` is"),
    "mean for sum": (BROADCAST, lambda W, b: {"b": 2 * (W + b).mean(axis=0)}, "b", "is 1/3 x the right one; 3 is the"),
    "sum for mean": (MEAN, lambda x: 2 * x, "x", "is 5 x the right one; 5 is the length of `x`"),
    "one entry": (MEAN, lambda x: 2 * x / 5 * np.array([1, 1, 3, 1, 1]), "x", "is wrong in entry [2] only, and there"),
    "one row": (
        BROADCAST,
        lambda W, b: {"W": 2 * (W + b) * np.array([[1], [0], [1]])},
        "W",
        "is wrong in row 1 only, and there it is zero",
    ),
    "shifted": (MEAN, lambda x: np.roll(2 * x / 5, 1), "x", "is shifted by one along axis 0"),
    "reversed": (MEAN, lambda x: (2 * x / 5)[::-1], "x", "is reversed along axis 0"),
    "sum in every entry": (MEAN, lambda x: np.full(5, (2 * x / 5).sum()), "x", "holds the sum over axis 0"),
    "zero": (MEAN, lambda x: 0 * x, "x", "is zero"),
    "nearly one": (MEAN, lambda x: 2 * x / 5 * (1 + 1e-7), "x", "is (1 + 1e-07) x the right one"),
}
"""Name -> case, gradient, the variable that is wrong, and what is said of it."""


@pytest.mark.parametrize("name", ARRAYS)
def test_arrays_have_sentences_of_their_own(name: str) -> None:
    """Axes, entries, sums and sizes."""
    known, gradient, variable, expected = ARRAYS[name]
    found = said(gradient, known)
    assert [variable] == list(found)
    assert any(expected in line for line in found[variable]), found[variable]


def test_three_paths_and_one_assignment() -> None:
    """``=`` for ``+=`` in the middle of three contributions."""

    def backward(x: Any) -> Any:
        a, b = x**2, np.exp(x)
        dx = np.cos(x)
        dx = a * b
        dx += 2 * x * b
        return dx

    line, others = said(backward, THREE_PATHS)["x"]
    assert "equals the right one without the path through `c`" in line
    assert "2 other single faults give the same numbers" == others

    def last(x: Any) -> Any:
        return 2 * x * np.exp(x)

    assert any("keeps the path through `a` alone" in line for line in said(last, THREE_PATHS)["x"])


# ------------------------------------------------------------------------------------------- coincidences and limits


def test_numbers_that_agree_at_one_point_only_are_no_match() -> None:
    """At x = 2, y = 0.5 many formulas agree; at several points none of them does."""
    known = case("f: x * y", x="at: 2, domain: [-3, 3]", y="at: 0.5, domain: [-3, 3]")
    assert 1.0 == 2 * 0.5
    found = said(lambda x, y: (x * y - 0.25, x), known)["x"]
    assert "is none of" in found[0]


def test_what_agrees_nearly_is_no_match() -> None:
    """A relative distance of 1e-6 is far beyond rounding: the wrong path is not what was computed."""
    exact = said(lambda x, y: (sigmoid(x * y), None), CHAIN)["x"]
    nearly = said(lambda x, y: (sigmoid(x * y) * (1 + 1e-6 * np.sin(x)), None), CHAIN)["x"]
    assert "without the path" in exact[0]
    assert "is none of" in nearly[0]


def test_a_single_wrong_point_is_said_to_be_one() -> None:
    """One number may be many things."""
    known = case("f: x**2", x="at: 3, domain: [-5, 5]")
    line, *_, last = said(lambda x: 2 * x * (2 if x == 3 else 1), known)["x"]
    assert "is 2 x the right one; it is wrong at 1 of " in line
    assert last == "seen at one point only"


def test_a_ratio_is_one_number_everywhere() -> None:
    """What is not constant, not finite, or 1 is no ratio; zeros have to match."""
    right = np.array([1.0, 2.0, 0.0])
    assert 3.0 == ratio(3 * right, right)
    assert ratio(np.array([3.0, 6.0, 1.0]), right) is None
    assert ratio(np.array([3.0, 6.1, 0.0]), right) is None
    assert ratio(right, right) is None
    assert ratio(np.array([np.nan, 2.0, 0.0]), right) is None
    assert ratio(right, np.zeros(3)) is None


def test_relations_are_none_where_nothing_is_wrong() -> None:
    """Also where numbers would agree."""
    right = np.array([1.0, 2.0, -3.0])
    assert [] == relations(Answer("x", right, right, right > 5), {"y": right}, None, {})


# ------------------------------------------------------------------------------------------------------- in reports


def test_the_diagnosis_is_in_every_report(tmp_path: Path) -> None:
    """Terminal, JSON, CSV and page say the same; a right gradient's have none."""
    run, right = check_gradient(chain("no slope"), CHAIN, FEW), check_gradient(chain(), CHAIN, FEW)
    sentence = "your dx misses the factor sigmoid'(z)"
    assert re.search(rf"diagnosis +{re.escape(sentence)}", _printed(run))
    (x, *_) = document(run)["cases"][0]["variables"]
    assert x["diagnosis"][0].startswith(sentence)
    write_csv(run, tmp_path)
    assert read(tmp_path, "summary")["diagnosis"].str.startswith(sentence).any()
    assert "misses the factor sigmoid" in render(run)
    assert not any(v.diagnosis for v in right.cases[0].variables)
    assert "diagnosis" not in _printed(right)


def _printed(run: Run) -> str:
    stream = io.StringIO()
    print_run(run, make_console(stream))
    return stream.getvalue()


def test_a_case_that_could_not_be_judged_is_left_alone() -> None:
    """Nothing to look at, nothing said."""
    from verify.variants.diagnose import diagnosed

    broken = CaseResult("broken", "broken.yaml", problems=("broken.yaml: empty",))
    assert diagnosed(CHAIN, broken) is broken


def test_a_variant_names_a_path_by_its_beginning_where_it_leads_straight_to_the_variable() -> None:
    """Else by both ends."""
    variant = Variant(FaultKind.SIGN, "has the wrong sign on the path {path}", "s", 3, "z", {})
    assert "has the wrong sign on the path through `s`" == variant.sentence("z")
    assert "has the wrong sign on the path from `s` to `z`" == variant.sentence("x")

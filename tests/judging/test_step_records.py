"""The step law of a case: bounds around what was measured, in the records, in JSON and as a drawing."""

from __future__ import annotations

import math
import re
from dataclasses import replace

import numpy as np
import pytest

from verify.case.case import load_case, load_case_text
from verify.case.files import shipped_cases
from verify.judging.context import Context
from verify.judging.step_law import STEPS
from verify.judging.step_records import step_laws
from verify.places.points import own_points
from verify.records import Run, StepLaw
from verify.report.html import render
from verify.report.json import document
from verify.report.plot import step_plot
from verify.running.runner import run_loaded
from verify.running.settings import Settings


def laws_of(text: str) -> tuple[StepLaw, ...]:
    """The laws of a case given as text."""
    case = load_case_text(text, "case.yaml")
    return step_laws(Context(case, {}), own_points(case, 0))


def only(stages: str, inputs: str = "x: {at: 1}", more: str = "") -> StepLaw:
    """The one law of a case with one input."""
    (law,) = laws_of(f"case: c\ninputs: {{{inputs}}}\nstages: {{{stages}}}\n{more}")
    return law


def misses(law: StepLaw, share: float = 1.0) -> list[float]:
    """Steps whose error is more than a share of its bound."""
    columns = zip(law.steps, law.errors, law.truncation, law.rounding, strict=True)
    return [h for h, error, cut, rounded in columns if not error <= share * (cut + rounded) * (1 + 1e-12)]


@pytest.mark.parametrize("path", sorted((shipped_cases() / "notes").glob("*.yaml")), ids=lambda path: path.stem)
def test_bounds_stand_around_what_was_measured(path: object) -> None:
    """In every shipped case, for each real input, over 25 steps and at the best one."""
    case = load_case(str(path))
    laws = step_laws(Context(case, {}), own_points(case, 0))
    assert [item.name for item in case.real_inputs] == [law.variable for law in laws]
    for law in laws:
        assert [] == misses(law)
        assert {STEPS} == {len(column) for column in (law.steps, law.errors, law.truncation, law.rounding)}
        bounds = [cut + rounded for cut, rounded in zip(law.truncation, law.rounding, strict=True)]
        assert law.best_bound <= math.nextafter(min(bounds), math.inf)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_the_law_is_a_v(dtype: str) -> None:
    """Truncation falls as the square of the step, rounding rises as its inverse; a tenth of both is too little."""
    law = only("f: exp(x)", f"x: {{at: 1, dtype: {dtype}}}")
    ratio = law.steps[0] / law.steps[1]
    assert law.truncation[4] / law.truncation[5] == pytest.approx(ratio**2, rel=0.5)
    assert law.rounding[-1] / law.rounding[-2] == pytest.approx(ratio, rel=0.05)
    least = int(np.argmin(law.errors))
    assert 2 < least < STEPS - 3
    assert law.steps[least] / 64 < law.best_step < law.steps[least] * 64
    assert [] == misses(law)
    assert len(misses(law, 0.1)) > 3


def test_the_entry_with_the_largest_gradient_is_looked_at() -> None:
    """And named."""
    law = only("f: sum(x * x)", "x: {at: [1, -3, 2]}")
    assert ((1,), True) == (law.entry, law.sentence.startswith("x[1]: the best step is"))


@pytest.mark.parametrize(
    ("stages", "at", "said"),
    [
        ("f: relu(x)", 0, "and a kink may lie within the step"),
        ("f: sqrt(x)", 0, "no step has a bound"),
        ("f: exp(x)", 1000, "floats overflow on the way"),
    ],
)
def test_what_cannot_be_bounded_is_said(stages: str, at: float, said: str) -> None:
    """Kinks, edges, overflow."""
    assert said in only(stages, f"x: {{at: {at}}}").sentence


def test_what_is_too_large_is_said() -> None:
    """A record without steps, and a drawing that is not there."""
    law = only("f: sum(x * x)", "x: {shape: [200, 200], at: normal}")
    assert ((), True) == (law.steps, "takes too long" in law.sentence)
    assert "" == str(step_plot(law))


LAW = StepLaw(
    "<x>", (), 0, (1.0, 0.25, 2.0**-4, 2.0**-6), (0.1, 0.0, 1e-3, math.inf), (0.2, 0.02, 0.002, math.inf),
    (1e-16, 4e-16, 2e-15, 1e-14), 0.25, 0.02, "<x>: the best",
)  # fmt: skip


def test_the_drawing_shows_every_error_once() -> None:
    """A dot for each error, one on the floor for 0, none for what is infinite; two bounds; the best step; alt text."""
    text = str(step_plot(LAW))
    paths = dict(re.findall(r'class="(\w+)" d="([^"]*)"', text))
    assert (2, 1) == (paths["errors"].count("M"), paths["exact"].count("M"))
    assert {"truncation", "rounding", "best", "grid", "errors", "exact"} == set(paths)
    assert 'role="img"><title>Errors of central differences of &lt;x&gt;</title><desc>Over 4 steps' in text
    assert ("script" in text, "nan" in text) == (False, False)


def test_the_drawing_falls_and_rises() -> None:
    """Larger errors stand higher, larger steps further right."""
    path = re.search(r'class="errors" d="M(\S+) (\S+)h0M(\S+) (\S+)h0"', str(step_plot(LAW)))
    assert path is not None
    x, y, x_small, y_small = map(float, path.groups())
    assert x > x_small
    assert y < y_small


def test_without_a_best_step_there_is_no_upright_line() -> None:
    """The twin of the line above."""
    assert 'class="best"' not in str(step_plot(replace(LAW, best_step=math.nan)))


def test_the_run_keeps_and_shows_them() -> None:
    """In the record, in JSON with strict numbers, on the page, open; not where central was not asked for."""
    case = load_case_text("case: c\ninputs: {x: {at: 1}}\nstages: {f: sqrt(x) * 3}\n", "case.yaml")
    result = run_loaded(case, Settings(points=2))
    (law,) = result.step_laws
    run = Run(cases=(result,), seed=0, points=2)
    (shown,) = document(run)["cases"][0]["step_laws"]
    assert (law.sentence, [*law.errors]) == (shown["sentence"], [*map(float, shown["errors"])])
    assert "inf" == shown["truncation"][0]
    page = render(run)
    assert (1, True) == (page.count('<svg class="plot"'), law.sentence in page)
    assert page.index("<h3>Steps of central differences</h3>") < page.index('<svg class="plot"')
    assert () == run_loaded(case, Settings(points=2, methods=("symbolic", "reverse"))).step_laws

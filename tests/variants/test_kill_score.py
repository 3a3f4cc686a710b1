"""The kill score: which single faults the verdicts catch, which are none, and which a usual check lets pass."""

from __future__ import annotations

import io
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from verify.case.case import Case, load_case, load_case_text
from verify.case.files import find_case_files, shipped_cases
from verify.cli import main
from verify.methods.reverse import Reverse
from verify.places.points import random_points
from verify.records import CaseResult, Run
from verify.report.csv import read
from verify.report.csv import write as write_csv
from verify.report.html import render
from verify.report.json import document
from verify.report.terminal import make_console, print_run
from verify.running.runner import run_loaded
from verify.running.settings import Settings
from verify.variants import kill_score as module
from verify.variants.generate import FaultKind, Variant, variants
from verify.variants.kill_score import Faulty

NOTES = find_case_files([shipped_cases() / "notes"])
ASKED = Settings(points=8, kill_score=True)


def case(stages: str, more: str = "", **inputs: str) -> Case:
    """A case from ``name: fields`` pairs and stages written as YAML flow mappings."""
    listed = ", ".join(f"{name}: {{{fields}}}" for name, fields in inputs.items())
    return load_case_text(f"case: made for a test\ninputs: {{{listed}}}\nstages: {{{stages}}}\n{more}\n")


@pytest.mark.parametrize("path", NOTES, ids=lambda path: path.stem)
def test_all_that_are_faults_are_caught(path: Path) -> None:
    """Over the cases of the notes nothing survives our verdicts that is not equivalent."""
    score = run_loaded(load_case(path), ASKED).kill_score
    assert score is not None
    assert score.caught + score.equivalent == score.variants == score.made
    assert () == score.survivors
    assert score.caught > score.equivalent


def test_a_usual_check_lets_some_pass() -> None:
    """Whatever is done to a partial of 1e-9 beside one of 1."""
    known = case("f: x**2 + 1e-9 * y**3", x="at: 1", y="at: 1.3")
    score = run_loaded(known, ASKED).kill_score
    assert score is not None
    assert () == score.survivors
    assert 0 < score.survive_allclose < score.caught


def test_without_being_asked_there_is_none() -> None:
    """It costs time."""
    assert run_loaded(load_case(NOTES[0]), Settings(points=2)).kill_score is None


PRODUCT = case("f: x * y", x="at: 2, domain: [1, 3]", y="at: 2, domain: [1, 3]")


def planted(factor: float) -> Variant:
    """What f sends to x, times a factor."""

    def scaled(sent: Any) -> Any:
        return sent.sent * factor

    return Variant(FaultKind.FACTOR, f"times {factor}", "f", 0, "x", {(2, 0): scaled})


def test_equivalent_is_what_the_reference_cannot_tell_from_the_truth(monkeypatch: pytest.MonkeyPatch) -> None:
    """A factor of 1 is no fault; one of 1 + 1e-12 is one, and is caught; nobody says so beforehand."""
    made = [planted(1.0), planted(1 + 1e-12), planted(2.0)]
    monkeypatch.setattr(module, "variants", lambda *_: made)
    score = run_loaded(PRODUCT, ASKED).kill_score
    assert score is not None
    assert (3, 1, 2, ()) == (score.variants, score.equivalent, score.caught, score.survivors)


def test_a_weak_check_has_survivors() -> None:
    """At x = y alone nobody sees the operands swapped: it is a fault all the same, and the score says so."""
    weak = run_loaded(PRODUCT, Settings(points=0, kill_score=True)).kill_score
    assert weak is not None
    assert any("has the operands `x` and `y` swapped" in survivor for survivor in weak.survivors)
    assert weak.caught == weak.variants - weak.equivalent - len(weak.survivors)
    strong = run_loaded(PRODUCT, ASKED).kill_score
    assert strong is not None
    assert () == strong.survivors


@pytest.mark.parametrize("stem", ["multiply_add", "relu", "max_subgradient"])
def test_what_counts_as_caught_fails_the_run_itself(stem: str) -> None:
    """The vectorised look and the verdicts of a run with the fault planted in its reverse mode agree."""
    known = load_case(next(path for path in NOTES if path.stem == stem))
    engine = Reverse(known.graph, known.variables)
    values = engine.program.run(random_points(known, seed=0, block=0, count=2, first_id=0).inputs)
    made = variants(engine, values)
    asked = Settings(points=8)
    result = run_loaded(known, asked)
    for variant in made[:: max(1, len(made) // 5)]:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(module, "variants", lambda *_, one=variant: [one])
            score = module.kill_score(known, result, lambda _: False)
        assert score is not None
        run = run_loaded(known, asked, reverse=Faulty(engine, variant.replaced))
        assert run.passes == bool(score.equivalent), variant


def test_a_region_that_no_proved_point_visits_is_left_to_the_run() -> None:
    """What survives the proved points is planted into the run, whose screened points may catch it."""
    known = case("f: relu(x - 2.9)", x="at: 1, domain: [-3, 3]")
    settings, asked = Settings(points=200, seed=1), []

    def is_caught(faulty: Any) -> bool:
        asked.append(faulty)
        return not run_loaded(known, settings, reverse=faulty).passes

    score = module.kill_score(known, run_loaded(known, settings), is_caught)
    assert score is not None
    assert asked
    assert () == score.survivors


def test_of_too_many_variants_a_sample_is_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Seeded, and said."""
    monkeypatch.setattr(module, "MOST_WORK", 60)
    first, again = (run_loaded(PRODUCT, ASKED).kill_score for _ in range(2))
    assert first == again
    assert first is not None
    assert first.variants < first.made


def test_a_case_that_was_not_proved_has_no_score() -> None:
    """There is nothing to hold variants against."""
    assert module.kill_score(PRODUCT, CaseResult("c", "c.yaml"), lambda _: False) is None


# ------------------------------------------------------------------------------------------------------- in reports


def run_of(points: int) -> Run:
    """A run of the product with a kill score."""
    result = run_loaded(PRODUCT, Settings(points=points, kill_score=True))
    return Run(cases=(result,), seed=0, points=points)


def printed(run: Run) -> str:
    """As in a pipe."""
    stream = io.StringIO()
    print_run(run, make_console(stream))
    return stream.getvalue()


def test_reports_have_the_score(tmp_path: Path) -> None:
    """Table, JSON, CSV and page; the table has no such columns where nobody asked."""
    run = run_of(0)
    score = run.cases[0].kill_score
    assert score is not None
    text = printed(run)
    assert f"{score.caught} of {score.variants - score.equivalent}" in text
    assert f"a planted fault survives: {score.survivors[0]}" in text
    kept = document(run)["cases"][0]["kill_score"]
    assert score.survivors == tuple(kept.pop("survivors"))
    assert {"variants", "made", "equivalent", "caught", "survive_allclose"} == set(kept)
    assert score.caught == kept["caught"]
    write_csv(run, tmp_path)
    table = read(tmp_path, "summary")
    assert [score.variants] == table["variants"].unique().tolist()
    assert [score.survive_allclose] == table["survive_allclose"].unique().tolist()
    assert "kill score" in render(run)
    without = Run(cases=(run_loaded(PRODUCT, Settings(points=0)),), seed=0, points=0)
    assert "caught" not in printed(without)
    assert "kill score" not in render(without)
    assert document(without)["cases"][0]["kill_score"] is None


def test_the_command_line_asks_for_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As an option of ``verify run``; survivors do not change the exit code, which is about the case."""
    file = str(shipped_cases() / "notes" / "multiply_add.yaml")
    assert 0 == main(["run", file, "--points", "2", "--kill-score", "--reports", str(tmp_path)])
    assert "caught" in capsys.readouterr().out
    assert 0 == main(["run", file, "--points", "2", "--reports", str(tmp_path)])
    assert "caught" not in capsys.readouterr().out


def test_a_faulty_engine_gives_right_values() -> None:
    """Only its gradients are off."""
    engine = Reverse(PRODUCT.graph, PRODUCT.variables)
    inputs = {"x": np.array([2.0]), "y": np.array([3.0])}
    doubled = Faulty(engine, {(2, 0): partial(lambda factor, sent: factor * sent.sent, 2.0)})
    answer = doubled.differentiate(inputs, {"f": np.ones(1)})
    assert (6.0, 6.0, 2.0) == tuple(float(x[0]) for x in (answer.values["f"], *map(answer.gradients.get, ("x", "y"))))

"""The performance table in reports/README.md is what the last benchmark wrote."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from verify.tools.bench import Measurement, chain, hand_check, interleaved, markdown_table, swish_text

ROOT = Path(__file__).parents[2]


def test_the_document_shows_the_committed_figures() -> None:
    """The table between the markers is made from reports/sample/bench.json, and from nothing else."""
    report = json.loads((ROOT / "reports" / "sample" / "bench.json").read_text(encoding="utf-8"))
    text = (ROOT / "reports" / "README.md").read_text(encoding="utf-8")
    shown = text.partition("<!-- bench:begin -->\n")[2].partition("\n<!-- bench:end -->")[0]
    assert markdown_table(report) == shown
    assert {"command", "commit", "machine", "figures"} == set(report)


@pytest.mark.parametrize(("reached", "word"), [(True, "reached"), (False, "missed"), (None, "")])
def test_a_missed_figure_is_called_missed(reached: bool | None, word: str) -> None:
    """Both ways, and silence where nothing was aimed at."""
    figure = {"name": "a", "value": 2.0, "unit": "x", "target": "at most 3", "reached": reached, "note": ""}
    assert markdown_table({"figures": [figure]}).splitlines()[-1].endswith(f"| {word} |".replace("  ", " "))


def test_the_yardstick_is_right() -> None:
    """The hand-written check passes its own gradient, so that it measures a check and not a failure."""
    import numpy as np

    rng = np.random.default_rng(0)
    assert hand_check(rng.uniform(-6, 6, 100), rng.uniform(-6, 6, 100))


def test_calls_are_interleaved() -> None:
    """A B A B, each once more before anything counts."""
    seen: list[str] = []
    interleaved([lambda: seen.append("a"), lambda: seen.append("b")], 2)
    assert ["a", "b", "a", "b", "a", "b"] == seen


def test_sizes_are_what_they_say() -> None:
    """A chain of n ops has n ops and the stage's own; n iterations are n stages."""
    ops = [node.op for node in chain(10).nodes if node.kind == "op"]
    assert (5, 5) == (ops.count("multiply"), ops.count("tanh"))
    assert 7 == swish_text(7).count("sigmoid")
    assert Measurement("a", 1.0, "s").reached is None

"""Rows that work on arrays in whole cases: ties of a maximum over an axis, lengths of 0, far tails, and bad input."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from verify.case.expression import graph_from_expressions
from verify.errors import CaseError
from verify.graph.graph import Graph
from verify.graph.interpret import Program
from verify.ops import OPS
from verify.records import CaseResult
from verify.running.runner import run_case, run_cases
from verify.running.settings import Settings


def result(text: str, folder: Path, points: int = 4) -> CaseResult:
    """The result of one case file."""
    path = folder / "case.yaml"
    path.write_text(text, encoding="utf-8")
    return run_case(path, Settings(points=points))


def own_rows(found: CaseResult, variable: str) -> list[tuple[str, bool]]:
    """Verdict and whether it passes, of the gradient's rows at the case's own point."""
    (table,) = [t for t in found.variables if (t.name, t.quantity) == (variable, "gradient")]
    rows = [table.row(i) for i in range(len(table.rows))]
    return [(row.verdict.value, row.passes) for row in rows if row.point == 0]


# -------------------------------------------------------------------------------------------------- ties and lengths

TIED = """
case: ties of a maximum over an axis
inputs:
  W: {at: [[1, 3, 3], [2, 0, 1]], domain: [-3, 3]}
ties: {amax: %s}
stages:
  m: max(W, axis=1)
  f: sum(m * m)
"""


@pytest.mark.parametrize(
    ("ties", "verdict"), [("first", "SUBGRADIENT"), ("even", "SUBGRADIENT"), ("all", "CONVENTION")]
)
def test_ties_of_a_maximum_are_judged_by_their_corners(ties: str, verdict: str, tmp_path: Path) -> None:
    """One winner or shares are subgradients; all of it for each is a convention, which this case declares."""
    found = result(TIED % ties, tmp_path)
    rows = own_rows(found, "W")
    assert found.passes
    assert [("PASS", True)] * 4 == [rows[i] for i in (0, 3, 4, 5)]
    assert [(verdict, True)] * 2 == rows[1:3]
    assert any(kink.sites == "tie of amax in stage 'm'" for kink in found.kinks)


def test_all_of_it_for_each_winner_fails_undeclared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Twin: the same gradient where the case declares nothing."""
    monkeypatch.setitem(OPS, "amax", replace(OPS["amax"], ties={"first": "all"}))
    found = result((TIED % "first").replace("ties: {amax: first}\n", ""), tmp_path)
    assert [("CONVENTION", False)] * 2 == own_rows(found, "W")[1:3]


@pytest.mark.parametrize(
    ("stage", "at"),
    [("norm(x)", "[0, 0, 0]"), ("std(x)", "[2, 2, 2]"), ("sum(norm(x, axis=0, keepdims=True))", "[0, 0]")],
)
def test_lengths_of_zero_have_a_ball_of_subgradients(stage: str, at: str, tmp_path: Path) -> None:
    """The engine's 0 is inside."""
    found = result(f"case: length\ninputs:\n  x: {{at: {at}, domain: [-3, 3]}}\nstages:\n  f: {stage}\n", tmp_path)
    assert found.passes
    assert {("SUBGRADIENT", True)} == set(own_rows(found, "x"))


@pytest.mark.parametrize(("factor", "passes"), [(0.99, True), (1.01, False)])
def test_a_gradient_longer_than_one_is_outside_of_the_ball(
    factor: float, passes: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At a length of 0 any slope of length 1 or less is right, along any mixture of entries, and no longer one is."""
    right = OPS["norm"].vjps[0]

    def answer(g: Any, y: Any, a: Any, **params: Any) -> Any:
        zero = np.asarray(getattr(y, "value", y)) == 0
        way = np.array([0.6, -0.8]) * factor
        return right(g, y, a, **params) + np.where(zero[:, None], way, 0.0)

    monkeypatch.setitem(OPS, "norm", replace(OPS["norm"], vjps=(answer,)))
    found = result("{case: length, inputs: {x: {at: [0, 0], domain: [-3, 3]}}, stages: {f: norm(x)}}", tmp_path)
    assert [passes] * 2 == [row_passes for _, row_passes in own_rows(found, "x")]


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_far_tails_pass(dtype: str, tmp_path: Path) -> None:
    """Logits that differ by hundreds: nothing overflows, and what vanishes is told from what is wrong."""
    found = result(
        f"""
case: cross-entropy far out
inputs:
  x: {{at: [[80, -90, 3], [1, 2, 3]], domain: [-100, 100], dtype: {dtype}}}
stages:
  p: log_softmax(x, axis=1)
  loss: -mean(p[[0, 1], [2, 0]])
  z: logsumexp(x) + sum(softmax(x, axis=0)[0])
output: [loss, z]
""",
        tmp_path,
    )
    assert found.passes, [row.reason for row in found.failing()]


def test_a_graph_is_opened_where_branches_hide() -> None:
    """Stages, inputs and values stay; what has no branches inside is left as it is."""

    def graph(text: str) -> Graph:
        return graph_from_expressions({"x": (3, 5)}, {"m": text, "f": "sum(m * m)"})

    smooth, kinked = graph("softmax(x, axis=1)"), graph("max(x, axis=1) - std(x, axis=1)")
    assert smooth.opened() is smooth
    opened = kinked.opened()
    assert {"amax", "std"} == {node.origin for node in opened.nodes} - {""}
    assert not {node.op for node in opened.nodes} & {"amax", "std"}
    x = {"x": np.random.default_rng(0).normal(size=(2, 3, 5))}
    one, other = (Program(g).run(x) for g in (kinked, opened))
    for name in ("m", "f"):
        assert np.allclose(one[kinked.position(name)], other[opened.position(name)], rtol=1e-14)
        assert opened.shape(name) == kinked.shape(name)


# --------------------------------------------------------------------------------------------------------- bad input

REFUSED = {
    "sum(W, axis=2)": "axis=2 is out of range for an array with 2 axes",
    "prod(W, axis=(0, -2))": "axis=(0, -2) names an axis twice",
    "reshape(W, (4, 2))": "cannot reshape (2, 3) (6 entries) into (4, 2)",
    "reshape(W, (-1, -1))": "-1 once at most",
    "reshape(W)": "reshape needs shape",
    "W[2]": "index 2 is out of range for an axis of length 2",
    "W[[0, 2]]": "index 2 is out of range for an axis of length 2",
    "W[[True, False, True]]": "3 flags for an axis of length 2",
    "W[[]]": "picks nothing",
    "W[[0, True]]": "whole numbers or flags, not both",
    "W[[False, False]]": "has no entries",
    "W[0, 0, 0]": "3 indices for an array with 2 axes",
    "W[..., ...]": "'...' once at most",
    "W[[0, 1], [0, 1, 2]]": "lists of 2 and 3 indices do not broadcast together",
    "stack([W, v])": "stack needs arrays of one shape, got (2, 3) and (3,)",
    "stack(W, v)": "stack takes a list of arrays",
    "stack([])": "stack takes one array or more, got none",
    "stack([W, W], axis=3)": "axis=3 is out of range for an array with 3 axes",
    "concatenate([W, v])": "concatenate needs arrays that differ along axis 0 alone",
    "concatenate([1, 2])": "concatenate needs arrays with at least one axis",
    "broadcast_to(W, (2, 4))": "cannot broadcast shape (2, 3) to (2, 4)",
    "pad(W, -1)": "must be a whole number from 0 on",
    "pad(W, (1, 2, 3))": "must be a number, a pair, or a pair for each of 2 axes",
    "roll(W, (1, 2), axis=0)": "needs an axis for each of its 2 numbers",
    "squeeze(W, axis=0)": "cannot squeeze axis 0 of length 2",
    "var(W, ddof=6)": "ddof=6 must be 0 or more and less than the 6 entries",
    "cumsum(W, axis=(0, 1))": "cumsum works along one axis",
    "dot(W, W)": "dot cannot multiply shapes (2, 3) and (2, 3): 3 columns against 2 rows",
    "einsum('ij,jk->ik', W, W)": "'j' is 3 and 2",
    "einsum('ij->ijk', W)": "'k' in the result, but in no operand",
    "einsum('ij->ii', W)": "'i' twice in the result",
    "einsum('ij,j', W)": "name 2 operands, got 1",
    "einsum('ijk', W)": "has 3 letters ('ijk') for shape (2, 3)",
    "einsum('i1->i', W)": "have '1'",
    "einsum('...j->...', W)": "give every axis a letter",
    "einsum('ij->i->j', W)": "have '-'",
    "einsum(W, v)": "einsum begins with a text",
    "einsum()": "einsum begins with a text",
    "sum('ij')": "text in quotes is not a number",
    "sum([W, v])": "a list is not allowed",
    "max(W, W, axis=0)": "With one array it is a reduction: max(a, axis=...)",
    "amax(W, W)": "amax takes 1 argument, got 2",
    "softmax(W, axes=0)": "unknown parameter 'axes' of softmax. Did you mean 'axis'?",
    "norm(W, keepdims=1)": "keepdims of norm must be True or False",
    "W[v]": "an index must be a whole number",
}
"""Formula over W (2, 3) and v (3,) -> what is said of it."""


@pytest.mark.parametrize("text", REFUSED)
def test_bad_formulas_are_named(text: str) -> None:
    """When the case is loaded, with what was expected and got."""
    with pytest.raises(CaseError) as caught:
        graph_from_expressions({"W": (2, 3), "v": (3,)}, {"f": text})
    assert any(REFUSED[text] in problem.headline() for problem in caught.value.problems), [
        problem.headline() for problem in caught.value.problems
    ]


@pytest.mark.parametrize(
    "text",
    [
        "reshape(W, (3, -1))",
        "W[[0, 1, 1]]",
        "stack([W, W], axis=2)",
        "einsum('ij, j', W, v)",
        "max(W)",
        "pad(W, (1, 2))",
    ],
)
def test_what_is_right_is_read(text: str) -> None:
    """Twin."""
    assert graph_from_expressions({"W": (2, 3), "v": (3,)}, {"f": text}).outputs == ("f",)


def test_a_bad_formula_ends_with_exit_code_2_and_its_place(tmp_path: Path) -> None:
    """File, line and column, for every problem of the file."""
    path = tmp_path / "bad.yaml"
    path.write_text(
        "case: bad\ninputs:\n  W: {shape: [2, 3], at: 1}\nstages:\n  a: sum(W, axis=5)\n  b: einsum('ij,jk', W)\n",
        encoding="utf-8",
    )
    run = run_cases([path], Settings())
    text = "\n".join(run.cases[0].problems)
    assert run.exit_code == 2
    assert "bad.yaml:5:" in text
    assert "bad.yaml:6:" in text

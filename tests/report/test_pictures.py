"""The circuit and the heat map: what is drawn is what was found, every gate and entry once, and nothing on another."""

from __future__ import annotations

import re
import textwrap
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import sample_run

from verify.case.case import load_case_text
from verify.oracle.check import check_gradient
from verify.records import SUBJECT, CaseResult, Gate
from verify.report.circuit import circuit_picture
from verify.report.heat_map import MOST_SIDE, heat_map
from verify.report.html import render
from verify.running.passes import MOST_GATES, both_passes
from verify.running.settings import Settings
from verify.words import Verdict

STAGED = """
case: staged function
inputs: {x: {at: 3}, y: {at: -4}}
stages: {sigy: 1 / (1 + exp(-y)), num: x + sigy, sigx: 1 / (1 + exp(-x)), xpy: x + y, den: sigx + xpy**2, f: num / den}
"""


def circuit_of(text: str) -> tuple[Gate, ...]:
    """The circuit of a case file."""
    return both_passes(load_case_text(textwrap.dedent(text)), Settings(), None)[1]


def drawn(gates: tuple[Gate, ...], **fields: object) -> str:
    """The drawing of a circuit."""
    return str(circuit_picture(replace(CaseResult("c", "c.yaml", circuit=gates), **fields)))  # type: ignore[arg-type]


def test_wires_carry_the_figures_of_the_notes() -> None:
    """Value and gradient of each stage are those of the notes, inner gates are there too; constants are in labels."""
    by_name = {gate.name: gate for gate in circuit_of(STAGED) if gate.name}
    assert (1.5456448841066441, 1.0) == pytest.approx((float(by_name["f"].value), float(by_name["f"].gradient)))
    assert 2.0595697955721652 == pytest.approx(float(by_name["x"].gradient), rel=1e-14)
    assert 1.583186894545187 == pytest.approx(float(by_name["xpy"].gradient), rel=1e-14)
    assert {"-x", "exp", "1+x", "1/x", "+", "x**2", "/", ""} == {gate.label for gate in circuit_of(STAGED)}


def test_gradients_of_gates_are_slopes() -> None:
    """What stands under a wire is how the output moves with it, by plain differences; a part in 1e6 more is not."""
    gates = circuit_of("{case: g, inputs: {x: {at: 0.7}}, stages: {f: exp(sin(x) * x)}}")
    inner = next(gate for gate in gates if gate.label == "*")
    slope = (np.exp(inner.value + 1e-6) - np.exp(inner.value - 1e-6)) / 2e-6
    assert slope == pytest.approx(float(inner.gradient), rel=1e-8)
    assert slope != pytest.approx(float(inner.gradient) * (1 + 1e-6), rel=1e-8)


def boxes(picture: str) -> list[tuple[float, float, float, float]]:
    """Left, top, right and bottom of each gate."""
    found = re.findall(r'<rect[^>]* x="([\d.-]+)" y="([\d.-]+)" width="([\d.]+)" height="([\d.]+)"', picture)
    return [(float(x), float(y), float(x) + float(w), float(y) + float(h)) for x, y, w, h in found]


@pytest.mark.parametrize("seed", range(8))
def test_no_gate_stands_on_another_and_every_wire_arrives(seed: int) -> None:
    """Random programs of up to 60 gates: as many boxes as gates, apart from each other, inside of the drawing."""
    rng = np.random.default_rng(seed)
    count = int(rng.integers(3, MOST_GATES))
    gates = [Gate("", "x", (), (), 1.0, 1.0), Gate("", "y", (), (3,), np.ones(3), np.ones(3))]
    for i in range(2, count):
        read = {int(k) for k in rng.integers(max(0, i - 12), i, rng.integers(1, 4))}
        gates.append(Gate("*" * int(rng.integers(1, 9)), f"s{i}" if i % 3 else "", tuple(sorted(read)), (), 1.0, -0.5))
    picture = drawn(tuple(gates))
    found = boxes(picture)
    assert count == len(found)
    for i, a in enumerate(found):
        assert not any(a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3] for b in found[:i])
    width, height = map(int, re.findall(r'viewBox="0 0 (\d+) (\d+)"', picture)[0])
    assert [] == [box for box in found if min(box) < 0 or box[2] > width or box[3] > height]
    # Every curve that is no passing wire ends at the left side of a gate.
    curved = re.findall(r"C[\d. -]+ ([\d.-]+) ([\d.-]+)(?:H([\d.-]+))?", picture)
    ends = {(round(float(on or x)), round(float(y))) for x, y, on in curved}
    read_by = [i for i, gate in enumerate(gates) if gate.operands]
    assert all(any(abs(x - found[i][0]) <= 2 and abs(y - found[i][1] - 13) <= 1 for x, y in ends) for i in read_by)


def test_wires_that_fail_are_red_and_no_others() -> None:
    """The wire of the variable that fails; of a run that passes none."""
    gates = circuit_of(STAGED)
    rows = sample_run.rows_of([0], [0], {"reverse": 1.0}, Verdict.FAIL)
    wrong = sample_run.variable_of("c", "den", rows, role="stage")
    picture = drawn(gates, variables=(wrong,))
    assert (1, 1) == (picture.count('class="wire bad"'), picture.count('class="gate bad"'))
    assert "Not right: den." in picture
    assert "bad" not in drawn(gates)


def test_kinks_are_marked() -> None:
    """A maximum is dashed, one whose operands are equal here filled; exp is neither."""
    text = "{{case: k, inputs: {{x: {{at: 2}}, y: {{at: {y}}}}}, stages: {{f: 'max(x, y) * exp(x)'}}}}"
    assert {"", "kinked"} == {gate.kink for gate in circuit_of(text.format(y=1))}
    assert {"", "tied"} == {gate.kink for gate in circuit_of(text.format(y=2))}
    assert 'class="gate tied"' in drawn(circuit_of(text.format(y=2)))
    inside = circuit_of("{case: k, inputs: {x: {at: [1, 2]}}, stages: {f: amax(x)}}")
    assert "kinked" == inside[-1].kink


def test_a_large_program_is_folded_to_stages_and_a_huge_one_is_none() -> None:
    """Up to 60 nodes each is a gate; above, each stage; above 60 stages there is no circuit."""

    def chain(stages: int, ops: int) -> str:
        lines = "".join(f"  s{i}: {'sin(' * ops}{f's{i - 1}' if i else 'x'}{')' * ops}\n" for i in range(stages))
        return f"case: chain\ninputs: {{x: {{at: 1}}}}\nstages:\n{lines}"

    assert 1 + 4 * 14 == len(circuit_of(chain(4, 14)))
    folded = circuit_of(chain(5, 14))
    assert [("x", ()), *((f"s{i}", (i,)) for i in range(5))] == [(gate.name, gate.operands) for gate in folded]
    assert () == circuit_of(chain(61, 1))


def test_hostile_names_stay_text() -> None:
    """Names and labels are escaped, and cut where they are long."""
    for text in sample_run.HOSTILE:
        gates = Gate("", text, (), (), 1.0, 1.0), Gate(text, text * 9, (0,), (2,), np.ones(2), np.ones(2))
        picture = drawn(gates, name=text)
        tags = set(re.findall(r"<(/?\w+)", picture))
        assert tags <= {t for tag in ("svg", "title", "desc", "path", "rect", "text") for t in (tag, f"/{tag}")}
        assert picture.count("<rect") == 2


def affine(x: Any, w: Any) -> Any:
    """A layer without a bias."""
    return x @ w


@pytest.mark.parametrize("factor", [1.0, 1 + 1e-6, 3.0])
def test_the_heat_map_has_a_square_for_each_entry(factor: float) -> None:
    """One entry of dw off by the factor is one red square of twelve; of what passes there is no map."""

    def backward(x: np.ndarray, w: np.ndarray, upstream: np.ndarray) -> dict[str, np.ndarray]:
        dw = x.T @ upstream
        dw[1, 2] *= factor
        return {"x": upstream @ w.T, "w": dw}

    rng = np.random.default_rng(3)
    run = check_gradient(backward, affine, at={"x": rng.normal(size=(2, 3)), "w": rng.normal(size=(3, 4))})
    page = render(run)
    if factor == 1.0:
        assert 'class="heat"' not in page
        return
    (picture,) = re.findall(r'<svg class="heat".*?</svg>', page)
    shown = {kind: path.count("M") for kind, path in re.findall(r'<path class="(h\d)" d="([^"]*)"', picture)}
    assert (1, 12) == (sum(n for kind, n in shown.items() if kind > "h0"), sum(shown.values()))
    assert "1 of 12 entries do not pass, the worst is dw[1, 2]." in picture


def test_a_large_array_shares_squares() -> None:
    """A square is the worst of its entries: one wrong entry of a million stays seen."""
    shape = (1000, 1000)
    entry = 123 * 1000 + 456
    rows = sample_run.rows_of([0, 0], [entry, 5], {SUBJECT: 1.0}, np.array([4, 0], np.int8))
    rows = replace(rows, errors={SUBJECT: np.array([5.0, 0.1])}, allowed=np.ones(2))
    variable = sample_run.variable_of("c", "w", rows, shape=shape)
    picture = str(heat_map(CaseResult("c", "c.yaml", variables=(variable,)), variable.row(0)))
    shown = {kind: path.count("M") for kind, path in re.findall(r'<path class="(h\d)" d="([^"]*)"', picture)}
    assert 1 == shown["h1"]
    assert sum(shown.values()) <= MOST_SIDE**2
    assert "the worst is dw[123, 456]. A square is 16x16 entries." in picture

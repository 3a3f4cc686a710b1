"""Properties that hold for every case: random formulas, graphs, points and texts through all methods and the judge.

Examples are the same in every run, so that a failure is news about the code; tests/tools/campaign.py looks for
new ones.
"""

from __future__ import annotations

import contextlib
import io
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
from campaign import Campaign, is_slope, one_sided
from campaign_points import KINDS, Counts, look_at
from hypothesis import assume, find, given, settings
from hypothesis import strategies as st
from ruamel.yaml import YAML

from verify.case.case import Case, load_case_text
from verify.case.expression import graph_from_expressions
from verify.case.files import shipped_cases
from verify.cli import main
from verify.errors import CaseError, UsageError
from verify.graph.graph import Graph
from verify.graph.interpret import constant_balls
from verify.judging.context import Context
from verify.judging.rows import Block
from verify.judging.screen import Judge
from verify.methods import prepare
from verify.methods.reverse import Reverse, value_and_gradient
from verify.numbers.balls import Balls
from verify.ops import OPS
from verify.places.points import Batch
from verify.records import METHODS, CaseResult, Point, Row
from verify.running import runner
from verify.running.runner import run_loaded
from verify.running.settings import Settings
from verify.strategies import case_texts, cases, expressions, graphs, is_drawn, matmul_shapes, points, shapes
from verify.words import VERDICTS, Verdict

QUICK = settings(max_examples=60)
SLOW = settings(max_examples=25)

FAULT = 1e-6
"""The relative fault that is planted."""


# ------------------------------------------------------------------------------------------- cases through the judge


def assert_no_false_failure(case: Case, result: CaseResult) -> None:
    """No row fails whose engine gradient is a slope of the function, by difference quotients with 120 digits."""
    known = {point.id: point for point in result.points}
    for row in result.failing():
        if row.verdict in (Verdict.FAIL, Verdict.DISPUTED):
            assert row.quantity == "gradient", row
            assert not is_slope(case, known[row.point], row), row


@settings(max_examples=50)
@given(case_texts())
def test_a_right_table_never_fails(text: str) -> None:
    """Random cases with a right op table raise nothing, and no row of them fails falsely."""
    case = load_case_text(text)
    result = run_loaded(case, Settings(points=6))
    assert not result.problems
    assert sum(result.counts.values()) == sum(len(variable.rows) for variable in result.variables)
    assert_no_false_failure(case, result)


@settings(max_examples=50)
@given(expressions(["x", "y"], guarded=False))
def test_formulas_that_leave_their_domains_are_undecided_at_most(formula: str) -> None:
    """Unguarded formulas, with poles and roots of negative numbers, never fail falsely and never raise."""
    inputs = "".join(f"  {name}: {{at: uniform, domain: [-3, 3]}}\n" for name in "xy")
    case = load_case_text(f"case: a\ninputs:\n{inputs}stages:\n  q: x * y\n  f: {formula}\n")
    assert_no_false_failure(case, run_loaded(case, Settings(points=8)))


@settings(SLOW, max_examples=12)
@given(case_texts(dtypes=("float32",), max_nodes=5, max_stages=2))
def test_cases_in_float32_raise_nothing(text: str) -> None:
    """The same in float32."""
    case = load_case_text(text)
    assert_no_false_failure(case, run_loaded(case, Settings(points=4)))


XY = "X: {shape: [2, 2], at: normal}, Y: {shape: [2, 2], at: normal}"
WIDE = "x: {at: 1, domain: [-20, 20]}"
FOUND = {
    "upstream gradients that cancel": ("x: {shape: [3], at: uniform, domain: [-0.5, 1]}", "f: 'max(mean(exp(x)), x)'"),
    "a value that is nearly zero": (
        "x: {shape: [18], at: uniform, domain: [-20, 20]}",
        "f: tanh(relu(0.5 ** x * 0.5 - 1))",
    ),
    "a vector times a stack": ("x: {shape: [3], at: 1}, z: {shape: [3, 3, 2], at: normal}", "f: relu(x @ z)"),
    "slopes that overflow at a kink": (WIDE, "'s1': 'max(x, x)', s2: exp(x) ** x, f: 0.5 ** s2"),
    "hulls that overflow": (WIDE, "s: exp(exp(abs(x) / 4)), f: 'max(s, s * s)'"),
    "a matrix times itself": (XY, "f: X @ X @ Y"),
    "a sum of matrices squared": (XY, "f: (X + Y) @ (X + Y)"),
    "a matrix stage of no use": (XY, "s: Y @ Y, f: X @ Y"),
    "another stage of no use": (XY, "s: exp(Y), f: X @ Y"),
    "a matrix that vanishes": (XY, "s: X - X, f: s @ Y"),
    "a transpose with axes": (XY, "f: 'transpose(X @ Y, axes=(1, 0))'"),
    "nowhere real": ("x: {at: 1, domain: [-3, 3]}", "f: tanh(-sqrt(-sigmoid(x)))"),
    "nowhere real, compared": ("x: {at: 1, domain: [-3, 3]}", "f: 'max(sqrt(-relu(x)), 1e-3)**3'"),
    "log of what is switched off": (
        "x: {at: 1, domain: [-3, 3]}",
        "f: abs(log(tanh(sqrt(log(relu(log(sigmoid(x)))) + 0.5))))",
    ),
    "an infinite slope, switched off": ("x: {at: 0, domain: [0, 4]}", "f: relu(sqrt(x) - 1)"),
    "a switch before an infinite slope": ("x: {at: 1, domain: [-3, 3]}", "f: sqrt(relu(x))"),
    "a zero with a radius among overflows": (
        "y: {at: -2, domain: [-10, 10]}, z: {at: 4, domain: [3, 5]}",
        "s1: exp(z), s2: exp(s1)**y, f: exp(s2)**y",
    ),
    "branches within noise": ("y: {shape: [3], at: 0, domain: [-20, 20]}", "f: exp(y) - sigmoid(-relu(tanh(y)) - 1)"),
}
"""What random cases have found wrong, at its smallest: inputs and stages."""


@pytest.mark.parametrize("name", FOUND)
def test_what_was_found_stays_mended(name: str) -> None:
    """Each defect that random cases have shown, at its smallest: no exception, no false failure."""
    inputs, stages = FOUND[name]
    case = load_case_text(f"{{case: found, inputs: {{{inputs}}}, stages: {{{stages}}}}}")
    result = run_loaded(case, Settings(points=30))
    assert not result.unsupported
    assert_no_false_failure(case, result)


def test_the_oracle_of_these_tests_knows_a_wrong_gradient() -> None:
    """Twin: a row whose gradient is off by 1e-6 is no slope, the right one is."""
    case = load_case_text("{case: a, inputs: {x: {at: 2}}, stages: {f: x**3}}")
    point = Point(0, "at", own=True, values={"x": np.array(2.0)})
    row = Row("a", "x", (), "gradient", 0, "", 0, values={"reverse": 12.0})
    assert is_slope(case, point, row)
    assert not is_slope(case, point, replace(row, values={"reverse": 12.0 * (1 + FAULT)}))


# ---------------------------------------------------------------------------------------------------- planted faults


def judged_batch(case: Case, batch: Batch) -> list[Block]:
    """All rows of a batch."""
    found = {name: prepare(name, case.graph, case.variables) for name in METHODS}
    methods: Mapping[str, Any] = found
    return Judge(Context(case, methods)).judge(batch)


def batch_of(case: Case, drawn: Sequence[Mapping[str, Any]]) -> Batch:
    """Points as a batch, with upstream gradients that differ from entry to entry."""
    inputs = {item.name: np.stack([point[item.name] for point in drawn]) for item in case.inputs}
    upstream = {}
    for name in case.graph.outputs:
        shape = case.graph.shape(name)
        seeds = np.random.default_rng(7).normal(size=shape) if shape else np.ones(())
        upstream[name] = np.broadcast_to(seeds, (len(drawn), *shape)).copy()
    return Batch(inputs, upstream, np.arange(len(drawn)), ["random"] * len(drawn))


def well_conditioned(case: Case, batch: Batch) -> dict[str, np.ndarray]:
    """Variable -> ``(P, n)`` bool: rounding, of the inputs too, is far below the planted fault."""
    engine = Reverse(case.graph, case.variables)
    balls = {name: Balls.widened(value, 2.0**-53) for name, value in batch.inputs.items()}
    values = engine.program.run(balls, constants=constant_balls(case.graph, np.dtype(np.float64)))
    seeds = {name: Balls.exact(seed) for name, seed in batch.upstream.items()}
    found = {}
    for name, ball in engine.backward(values, seeds).items():
        is_ball = isinstance(ball, Balls)
        radius, size = (ball.radius, np.abs(ball.value)) if is_ball else (np.zeros_like(ball), np.abs(ball))
        strong = (radius < 1e-4 * FAULT * size) & (size > 1e-30)
        found[name] = np.broadcast_to(strong.reshape(len(strong), -1), (len(batch), size[0].size))
    return found


@SLOW
@given(st.data())
def test_a_small_fault_in_a_used_vjp_is_caught(data: st.DataObject) -> None:
    """A factor 1 + 1e-6 in one VJP fails wherever it changes a well-conditioned gradient by that much."""
    case = data.draw(cases(max_nodes=6, max_stages=3))
    batch = batch_of(case, data.draw(st.lists(points(case), min_size=4, max_size=4)))
    used = sorted({node.op for node in case.graph.nodes if node.kind == "op"})
    op = data.draw(st.sampled_from(used))
    argument = data.draw(st.integers(0, OPS[op].arity - 1))
    clean = judged_batch(case, batch)
    right = OPS[op].vjps[argument]

    def faulty(*operands: Any, **params: Any) -> Any:
        return right(*operands, **params) * (1 + FAULT)

    vjps = (*OPS[op].vjps[:argument], faulty, *OPS[op].vjps[argument + 1 :])
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(OPS, op, replace(OPS[op], vjps=vjps))
        planted = judged_batch(case, batch)
    strong = well_conditioned(case, batch)
    for before, after in zip(clean, planted, strict=True):
        if before.quantity == "value":
            continue
        one, other = before.values["reverse"], after.values["reverse"]
        with np.errstate(all="ignore"):
            changed = np.abs(other - one) > 0.5 * FAULT * np.abs(one)
        decided = (before.verdict == VERDICTS.index(Verdict.PASS)) & (before.reason == 0)
        missed = changed & decided & strong[before.name] & (after.verdict != VERDICTS.index(Verdict.FAIL))
        assert not missed.any(), (op, argument, before.name, batch.inputs, one[missed], other[missed])


# ------------------------------------------------------------------------------------------------------------ graphs


@SLOW
@given(st.data())
def test_the_engine_gives_exact_slopes(data: st.DataObject) -> None:
    """Graphs of arrays: where both one-sided slopes of an entry agree, the engine gives that slope."""
    graph = data.draw(graphs(max_stages=2, max_nodes=5))
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    inputs = {name: rng.uniform(-2, 2, (1, *graph.shape(name))) for name in graph.inputs}
    values, gradients = value_and_gradient(graph, inputs)
    assume(all(np.all(np.isfinite(value)) for value in (*values.values(), *gradients.values())))
    point = Point(0, "random", own=False, values={name: value[0] for name, value in inputs.items()})
    name = data.draw(st.sampled_from(sorted(graph.inputs)))
    entry = tuple(data.draw(st.integers(0, size - 1)) for size in graph.shape(name))
    row = Row("", name, entry, "gradient", 0, "", 0)
    with contextlib.suppress(ZeroDivisionError):  # a point that sits on a pole
        left, right = one_sided(graph, with_ones(graph, point), row)
        if abs(left - right) <= 1e-12 * abs(left):
            scale = max(abs(left), float(np.abs(gradients[name]).max()))
            assert abs(gradients[name][(0, *entry)] - left) <= 1e-6 * scale


def with_ones(graph: Graph, point: Point) -> Point:
    """The point with the upstream gradients that `value_and_gradient` takes where none are given."""
    seeds = {f"upstream of {name}": np.ones(graph.shape(name)) for name in graph.outputs}
    return replace(point, values={**point.values, **seeds})


@QUICK
@given(matmul_shapes(), st.sampled_from((1, 2, 3, 4)), st.integers(0, 2**32 - 1))
def test_products_of_any_shapes_are_exact_on_whole_numbers(shapes_: tuple[Any, Any], count: int, seed: int) -> None:
    """Forward equals NumPy's product at every point, and <g, dA @ B> = <grad A, dA>, exactly, likewise for B."""
    rng = np.random.default_rng(seed)
    graph = graph_from_expressions({"A": shapes_[0], "B": shapes_[1]}, {"D": "A @ B"})

    def drawn(shape: Sequence[int]) -> Any:
        return rng.integers(-9, 10, (count, *shape)).astype(np.float64)

    inputs = {"A": drawn(shapes_[0]), "B": drawn(shapes_[1])}
    g, moved = drawn(graph.shape("D")), {"A": drawn(shapes_[0]), "B": drawn(shapes_[1])}
    symbolic = prepare("symbolic", graph, ("A", "B"))
    values, gradients = value_and_gradient(graph, inputs, {"D": g})
    answer: Any = symbolic
    theirs = answer.differentiate(inputs, {"D": g}).gradients
    for p in range(count):
        product = np.matmul(inputs["A"][p], inputs["B"][p])
        assert np.array_equal(product, values["D"][p])
        for name, change in (
            ("A", np.matmul(moved["A"][p], inputs["B"][p])),
            ("B", np.matmul(inputs["A"][p], moved["B"][p])),
        ):
            assert np.sum(g[p] * change) == np.sum(gradients[name][p] * moved[name][p])
    for name in ("A", "B"):
        assert np.array_equal(gradients[name], theirs[name])


# ------------------------------------------------------------------------------------------------------------ points


@SLOW
@given(st.data())
def test_points_are_inside_and_never_fail(data: st.DataObject) -> None:
    """Ordinary, tiny, huge, zero and tied values: every point is inside its domain, and no verdict on it is FAIL."""
    case = data.draw(st.sampled_from(SHIPPED))
    drawn = data.draw(st.lists(points(case), min_size=1, max_size=5))
    for point in drawn:
        for item in case.inputs:
            assert item.shape == point[item.name].shape
            assert np.dtype(item.dtype) == point[item.name].dtype
            assert np.all(item.domain.contains(point[item.name]))
    for block in judged_batch(case, batch_of(case, drawn)):
        assert not np.any(block.verdict == VERDICTS.index(Verdict.FAIL)), (block.name, drawn)


SHIPPED = tuple(
    load_case_text(path.read_text(encoding="utf-8")) for path in sorted((shipped_cases() / "notes").glob("*.yaml"))
)


@SLOW
@given(st.data())
def test_a_point_is_judged_alike_alone_and_in_company(data: st.DataObject) -> None:
    """The row of a point does not depend on which other points are in its batch."""
    case = data.draw(cases(max_nodes=5, max_stages=2))
    batch = batch_of(case, data.draw(st.lists(points(case), min_size=2, max_size=5)))
    together = judged_batch(case, batch)
    for p in range(len(batch)):
        for block, alone in zip(together, judged_batch(case, batch.part(np.array([p]))), strict=True):
            assert np.array_equal(block.verdict[p], alone.verdict[0]), (block.name, block.verdict[p], alone.verdict[0])
            for method in METHODS:
                one, other = block.values[method][p], alone.values[method][0]
                assert np.allclose(one, other, rtol=1e-12, atol=0, equal_nan=True), (block.name, method, one, other)


@SLOW
@given(case_texts(max_nodes=5, max_stages=2), st.integers(0, 3))
def test_a_seed_gives_the_same_run_again(text: str, seed: int) -> None:
    """Two runs with one seed are equal in every row; what is drawn follows the seed."""
    case = load_case_text(text)
    one, same = (run_loaded(case, Settings(points=4, seed=seed)) for _ in range(2))
    for first, second in zip(one.variables, same.variables, strict=True):
        assert first.counts == second.counts
        assert first.rows.texts == second.rows.texts
        for column in ("point", "entry", "verdict", "reason", "suspect"):
            assert np.array_equal(getattr(first.rows, column), getattr(second.rows, column))
        for method in METHODS:
            assert np.array_equal(first.rows.values[method], second.rows.values[method], equal_nan=True)


# ------------------------------------------------------------------------------------------------------------- texts


def meaning(case: Case) -> str:
    """Everything that a case says but the lines where it says it."""
    nodes = [replace(node, line=0, column=0) for node in case.graph.nodes]
    inputs = [replace(item, line=0) for item in case.inputs]
    own = [replace(point, line=0) for point in case.own_points]
    rest = (case.name, case.graph.outputs, case.upstream, case.ties, case.accuracy, case.expressions)
    return repr((nodes, inputs, own, rest))


@QUICK
@given(case_texts(), st.sampled_from((True, False)))
def test_a_case_survives_other_yaml(text: str, flow: bool) -> None:
    """Read by another YAML reader and written anew, as blocks or in one line, a case means the same."""
    yaml = YAML(typ="safe", pure=True)
    yaml.default_flow_style = flow
    yaml.representer.sort_base_mapping_type_on_output = False  # stages have an order
    out = io.StringIO()
    yaml.dump(yaml.load(text), out)
    assert meaning(load_case_text(text)) == meaning(load_case_text(out.getvalue()))


def test_the_meaning_of_a_case_shows_every_change() -> None:
    """Twin: one digit changed in a case changes its meaning."""
    text = "{{case: a, inputs: {{x: {{at: {at}}}}}, stages: {{f: x**{n}}}}}"
    same = meaning(load_case_text(text.format(at=3, n=2)))
    assert same == meaning(load_case_text(text.format(at="3.0", n=2)))
    assert same != meaning(load_case_text(text.format(at=4, n=2)))
    assert same != meaning(load_case_text(text.format(at=3, n=3)))


# -------------------------------------------------------------------------------------------------- the command line


def exit_code(*arguments: str) -> int:
    """What the command line answers with, run in this process; its output is dropped."""
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        try:
            return main(list(arguments))
        except SystemExit as stop:
            return int(stop.code or 0)


def run_bytes(content: bytes, folder: Path) -> int:
    """The exit code of `verify run` on a file with this content."""
    path = folder / "case.yaml"
    path.write_bytes(content)
    return exit_code("run", str(path), "--points", "2", "--json", str(folder / "run.json"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that all examples of a test write to."""
    return tmp_path_factory.mktemp("fuzz")


@settings(QUICK, max_examples=100)
@given(content=st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_bytes_end_in_exit_code_2(folder: Path, content: bytes) -> None:
    """Bytes that are no case end in exit code 2 and never in a traceback."""
    assert 2 == run_bytes(content, folder)


SNIPPETS = (
    "\n",
    " ",
    "\t",
    ":",
    "- ",
    "{",
    "]",
    "'",
    "&a ",
    "*a",
    "!!python/object:os ",
    "x",
    "0",
    "-",
    "1e999",
    "**",
    "\x00",
    "é",
)


@st.composite
def damaged_texts(draw: st.DrawFn) -> str:
    """Case files with a few characters removed, put in or doubled."""
    text = draw(case_texts(max_nodes=4, max_stages=2))
    for _ in range(draw(st.integers(1, 3))):
        start = draw(st.integers(0, len(text)))
        stop = draw(st.integers(start, min(start + 12, len(text))))
        text = text[:start] + draw(st.sampled_from(("", text[start:stop] * 2, *SNIPPETS))) + text[stop:]
    return text


@settings(QUICK, max_examples=80)
@given(text=damaged_texts())
def test_damaged_cases_end_in_exit_code_2_if_they_cannot_be_read(folder: Path, text: str) -> None:
    """A damaged case is refused with 2; one that still means something gets a verdict, 0 or 1."""
    try:
        load_case_text(text)
    except CaseError:
        assert 2 == run_bytes(text.encode(), folder)
    else:
        assert run_bytes(text.encode(), folder) in (0, 1)


WORDS = (
    "run",
    "show",
    "new",
    "ops",
    "schema",
    "--points",
    "--seed",
    "--methods",
    "-k",
    "--jobs",
    "--",
    "-1",
    "x",
    "",
    "é",
)


@settings(QUICK, max_examples=60)
@given(words=st.lists(st.sampled_from(WORDS), max_size=4), tail=st.text(max_size=8).map(lambda text: f"nowhere/{text}"))
def test_command_lines_end_in_an_exit_code(folder: Path, words: list[str], tail: str) -> None:
    """Any words on the command line end in an exit code: 0, or 2 for what makes no sense."""
    with contextlib.chdir(folder):
        assert exit_code(*words, tail) in (0, 2)


# -------------------------------------------------------------------------------------------------- the strategies


@QUICK
@given(st.data())
def test_formulas_keep_to_the_ops_and_the_size_asked_for(data: st.DataObject) -> None:
    """Only the given ops are used, and no more nodes than asked for."""
    ops = data.draw(st.lists(st.sampled_from(sorted(filter(is_drawn, OPS))), min_size=1, max_size=5, unique=True))
    size = data.draw(st.integers(1, 15))
    names = {"x": (), "W": data.draw(shapes()), "v": data.draw(shapes(max_rank=1))}
    text = data.draw(expressions(names, ops=ops, max_nodes=size, guarded=False))
    graph = graph_from_expressions(names, {"f": text})
    found = {node.op for node in graph.nodes if node.kind == "op"}
    assert found <= {*ops, "positive", "power_constant", "sum"}, text
    assert len([node for node in graph.nodes if node.kind != "input"]) <= size + 2, text


@pytest.mark.parametrize(
    ("keywords", "expected"), [({"names": ["x"], "ops": ["sigmiod"]}, "sigmoid"), ({"names": []}, "['x']")]
)
def test_a_wrong_request_is_answered(keywords: dict[str, Any], expected: str) -> None:
    """An unknown op is answered with the nearest, no names with how to give one."""
    with pytest.raises(UsageError) as caught:
        expressions(**keywords)
    assert expected in str(caught.value)


def test_strategies_shrink_to_short_formulas() -> None:
    """A short formula with two certain ops is found."""
    for seed in (2, 3):
        smallest = find(expressions(["x", "y"]), lambda text: "exp" in text and "+" in text, random=Random(seed))  # noqa: S311 (no secret)
        assert len(smallest) <= len("(1 / exp(x)) + 1"), smallest


def test_without_hypothesis_the_message_says_what_to_install() -> None:
    """Importing verify.strategies without Hypothesis names the command that installs it."""
    code = "import sys\nsys.modules['hypothesis'] = None\nimport verify.strategies"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "pip install 'verify-gradients[strategies]'" in run.stderr


def test_the_campaign_counts_a_false_failure() -> None:
    """Twin of the campaign's silence: a method that answers wrongly shows as a failure there."""
    text = "{case: a, inputs: {x: {at: 2, domain: [1, 3]}}, stages: {f: x**3}}"
    clean, planted = Campaign(4, 0), Campaign(4, 0)
    clean.look_at(text)
    right = OPS["power_constant"].vjps[0]
    wrong = replace(OPS["power_constant"], vjps=(lambda *a, **k: right(*a, **k) * (1 + FAULT),))
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(OPS, "power_constant", wrong)
        planted.look_at(text)
    assert (0, 0) == (clean.rows[Verdict.FAIL], len(clean.wrong))
    assert planted.rows[Verdict.FAIL] == planted.true_failures > 0


def test_the_campaign_over_points_looks_at_every_kind(monkeypatch: pytest.MonkeyPatch) -> None:
    """It puts its own points in place of the runner's; a planted fault shows, and nothing else is counted as wrong."""
    text = "{case: a, inputs: {x: {at: 2, domain: [1, 3]}}, stages: {f: x**3}}"
    monkeypatch.setitem(vars(runner), "_random_batches", None)
    clean, planted = Counts(), Counts()
    look_at(text, 2, 1, 0, clean)
    right = OPS["power_constant"].vjps[0]
    wrong = replace(OPS["power_constant"], vjps=(lambda *a, **k: right(*a, **k) * (1 + FAULT),))
    monkeypatch.setitem(OPS, "power_constant", wrong)
    look_at(text, 2, 1, 0, planted)
    assert {kind for kind, _ in (key.split("|") for key in clean.points)} == {"own and kink", *KINDS}
    assert not clean.wrong
    assert any("FAIL" in found for found in planted.wrong)

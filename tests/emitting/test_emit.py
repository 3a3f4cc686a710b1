"""Cases written out as plain NumPy: what is printed runs and is right, one changed sign is found, and it reads well."""

# ruff: noqa: E501 - the cases below stand in a line each

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import verify
from verify import cli
from verify.case.case import Case, load_case, load_case_text
from verify.case.expression_text import expression_text
from verify.case.files import find_case_files
from verify.emitting.passes import emit
from verify.graph.graph import GraphBuilder
from verify.methods.reverse import Reverse
from verify.ops import OPS
from verify.ops.texts import product, summed_to, times
from verify.oracle.check import check_gradient
from verify.places.points import own_points
from verify.records import Row
from verify.running.settings import Settings
from verify.tools.support import trials
from verify.tracing.trace import trace

ROOT = Path(__file__).resolve().parents[2]
SHIPPED = find_case_files([ROOT / "cases"])
OWN_POINTS = Settings(points=0, methods=("reverse",))
"""One method beside the reference: the others cost time and judge nobody here."""


def module(text: str) -> dict[str, Any]:
    """The printed module, run."""
    found: dict[str, Any] = {}
    exec(compile(text, "<printed>", "exec"), found)  # noqa: S102 - it is our own text, and to be run
    return found


def accused(text: str, case: Case) -> list[Row]:
    """The rows for which the printed backward pass is called wrong."""
    run = check_gradient(module(text)["backward"], case, OWN_POINTS)
    assert not [
        finding for finding in run.cases[0].findings if finding.kind in ("exception", "wrong shape", "input mutated")
    ]
    return [row for row in run.cases[0].failing() if "subject" in f"{row.suspect} {row.reason}"]


@pytest.mark.parametrize("file", SHIPPED, ids=lambda file: file.stem)
def test_shipped_cases_are_written_out_right(file: Path) -> None:
    """The printed backward pass is held against the reference, stages and all, at each of the case's own points."""
    case = load_case(file)
    text = emit(case)
    assert [] == accused(text, case)
    assert max(map(len, text.splitlines())) <= 1000


@pytest.mark.parametrize("file", SHIPPED[::6], ids=lambda file: file.stem)
def test_a_changed_sign_is_found(file: Path) -> None:
    """The twin: one gradient of the printed text negated, and the reference says that it is wrong."""
    case = load_case(file)
    text = emit(case)
    variable = re.findall(r'"\w+": (\w+)', text)[0]
    wrong = re.sub(r"    return \{", f"    {variable} = -{variable}\n\\g<0>", text, count=1)
    assert wrong != text
    name = re.findall(r'"(\w+)": \w+', text)[0]
    truth = module(text)["backward"](**arguments(case, text))[name]
    assert np.max(np.abs(truth)) < 1e-9 or accused(wrong, case)


def arguments(case: Case, text: str) -> dict[str, Any]:
    """What the printed backward pass is called with at the case's first own point."""
    batch = own_points(case, 0)
    parameters = re.search(r"def backward\((.*?)\):", text)
    assert parameters is not None
    wanted = [name.split("=")[0] for name in parameters[1].split(", ")]
    seeds = {name: g[0] for name, g in batch.upstream.items()}
    upstream = next(iter(seeds.values())) if len(seeds) == 1 else seeds
    return {name: upstream if name == "upstream" else batch.inputs[name][0][()] for name in wanted}


@pytest.mark.parametrize("file", SHIPPED[::10], ids=lambda file: file.stem)
def test_the_printed_forward_pass_is_the_function(file: Path) -> None:
    """Its values, held against the interpreter's; and traced, it is a case of the same value."""
    from verify.graph.interpret import Program

    case = load_case(file)
    text = emit(case)
    given = {name: value for name, value in arguments(case, text).items() if name != "upstream"}
    with np.errstate(all="ignore"):
        found, _ = module(text)["forward"](**given)
    values = Program(case.graph).run({name: x[:1] for name, x in own_points(case, 0).inputs.items()})
    outputs = found if len(case.graph.outputs) > 1 else (found,)
    for name, value in zip(case.graph.outputs, outputs, strict=True):
        np.testing.assert_allclose(value, values[case.graph.position(name)][0], rtol=1e-9, atol=1e-12)


ROWS: dict[str, str] = {
    "broadcasting": "inputs: {W: {shape: [2, 3], at: normal}, b: {shape: [3], at: normal}, c: {shape: [2, 1], at: normal}, s: {at: 0.7}}\nstages: {f: (W + b) * c / s - b**2}",
    "reductions": "inputs: {W: {shape: [2, 3, 2], at: normal}}\nstages: {f: 'sum(W, axis=1)**2 + mean(W, axis=(0, 1)) * sum(W, axis=1, keepdims=True) + mean(W)'}",
    "products": "inputs: {A: {shape: [2, 3], at: normal}, B: {shape: [3, 4], at: normal}, v: {shape: [3], at: normal}, w: {shape: [2], at: normal}}\nstages: {p: A @ B, q: A @ v, r: w @ A, s: v @ v, f: sum(p) + sum(q) * s - sum(r) * (w @ A @ v)}",
    "stacks of matrices": "inputs: {A: {shape: [2, 2, 3], at: normal}, B: {shape: [3, 2], at: normal}, v: {shape: [3], at: normal}, w: {shape: [2], at: normal}}\nstages: {p: A @ B, q: A @ v, r: w @ A, f: sum(p**2) + sum(q**2) + sum(r**2)}",
    "entries": "inputs: {W: {shape: [3, 4], at: normal}}\nstages: {f: 'W[0] * W[-1, ::-1] + W[1, 2] + transpose(W)[0, 1] * sum((2 * W)[1:, 0])'}",
    "transposes": "inputs: {W: {shape: [2, 3, 4], at: normal}}\nstages: {f: 'transpose(W, axes=(1, 2, 0)) * 2 + sum(transpose(W))'}",
    "kinks": "inputs: {x: {at: [1, -2, 0.5]}, y: {at: [0.5, 1, -1]}}\nstages: {f: 'max(x, y) * min(x, 0.3) + relu(y) * abs(x) - hypot(x, y) * sign(x) - relu(-x)'}",
    "ties": "inputs: {x: {at: 1}, y: {at: 1}}\nstages: {f: 'max(x, y) + relu(x - y) + abs(y - x)'}\nties: {max: half, relu: half, abs: one}",
    "choices": "inputs: {x: {at: [1, -2, 0.5]}, y: {at: [0.5, 1, -1]}}\nstages: {f: 'where(x > 0.1, exp(x), x * y) + where(x + y >= y**2, y, 2.0) * where(x < y, x, 3 * y)'}",
    "slopes and bounds": "inputs: {x: {at: [1, -2, 0.5]}}\nstages: {f: 'leaky_relu(x) + leaky_relu(x, 0.2) * elu(x) - elu(2 * x, 1.5) + clip(x, -1, 0.75) * x'}",
    "ties of slopes and bounds": "inputs: {x: {at: [0, 0.5, -1]}}\nstages: {f: 'leaky_relu(x) + elu(x) + clip(x, -1, 0.5) * x'}\nties: {leaky_relu: half, elu: above, clip: half}",
    "functions": "inputs: {x: {at: [0.3, 0.6], domain: [0.1, 0.9]}, y: {at: 1.7, domain: [1.1, 3]}}\nstages: {f: 'exp(x) * log(y) + sqrt(x) * sigmoid(y) - tanh(x) * sin(y) + cos(x) / erf(y) + x**y + y**-0.5 - y**3'}",
    "powers of what is negative": "inputs: {x: {at: -1.5, domain: [-3, -1]}}\nstages: {f: -x**2 + (-x)**1.5 - (x**3)**-1}",
    "an output that others read": "inputs: {x: {at: [1, -2, 0.5]}}\nstages: {h: exp(x), f: h * x}\noutput: [f, h]",
    "names that the module uses": "inputs: {np: {at: 0.5}, sigmoid: {at: 0.25}}\nstages: {upstream: np * sigmoid(sigmoid), f: upstream + np}",
    "names of gradients": "inputs: {x: {at: 0.5}}\nstages: {dx: x * x, f: dx * x}",
    "an input that does not matter": "inputs: {x: {at: 0.5}, y: {at: 2}}\nstages: {f: x * sign(y)}",
    "long formulas": "inputs: {x: {at: 0.5}, y: {at: 2}}\nstages: {f: 'exp(sin(x * y) + cos(x / y) * tanh(x - y)) * log(1 + exp(sin(x) + x * y**2)) / (1 + (x - y)**2)'}",
}  # fmt: skip


@pytest.mark.parametrize("name", ROWS)
def test_rows_are_written_out_right(name: str) -> None:
    """Broadcasting, axes, matrices of all ranks, entries, kinks and their conventions, names that collide."""
    case = load_case_text(f"case: {name}\n{ROWS[name]}\n")
    assert [] == accused(emit(case), case)


@pytest.mark.parametrize("op", [name for name, row in OPS.items() if not row.elementwise])
def test_every_row_that_works_on_arrays(op: str) -> None:
    """On inner values, with a sum of squares behind it, against the reference."""
    at = (
        {"u": [0.7, 1.6], "b": [1.25, 0.9]}
        if "@" not in OPS[op].example
        else {"u": [[0.5, -1.25], [2, 0.75]], "b": [[1.5, 0.25], [-0.5, 3]]}
    )
    read = {name: x for name, x in at.items() if re.search(rf"\b{name}\b", OPS[op].example)}
    inputs = ", ".join(f"{name}: {{at: {x}}}" for name, x in read.items())
    inner = re.sub(r"\b([ub])\b", r"(2 * \1)", OPS[op].example)
    for formula in (OPS[op].example, f"sum(({inner})**2)"):
        case = load_case_text(f"case: row\ninputs: {{{inputs}}}\nstages: {{f: '{formula}'}}\n")
        assert [] == accused(emit(case), case)


@pytest.mark.parametrize("op", ["amax", "amin"])
def test_conventions_at_ties_of_extrema(op: str) -> None:
    """To the first, to all, or in equal shares."""
    for tie in ("first", "all", "even"):
        text = f"case: t\ninputs: {{x: {{at: [[1, 2, 2], [3, 3, 3]]}}}}\nstages: {{f: '{op}(x, axis=1)'}}\nties: {{{op}: {tie}}}\n"
        case = load_case_text(text)
        found = module(emit(case))["backward"](np.array([[1.0, 2.0, 2.0], [3.0, 3.0, 3.0]]), np.array([1.0, 6.0]))["x"]
        batch = own_points(case, 0)
        engine = Reverse(case.graph, case.variables).differentiate(batch.inputs, {"f": np.array([[1.0, 6.0]])})
        np.testing.assert_allclose(found, engine.gradients["x"][0])


SCALAR_ROWS = [r for r in OPS.values() if r.elementwise and not r.params and r.singular is None and r.arity <= 2]


@pytest.mark.parametrize("row", SCALAR_ROWS, ids=lambda row: row.name)
def test_every_row_that_works_entry_by_entry(row: Any) -> None:
    """At a point of its domain, in float64 and in float32."""
    builder = GraphBuilder()
    names = ("a", "b", "c")[: row.arity]
    points = [next(x for x in (0.375, 1.625, -0.25) if all(i.contains(x) for i in (interval,))) for interval in
              (*row.domain, *row.domain[-1:] * row.arity)][: row.arity]  # fmt: skip
    builder.name("f", builder.apply(row.name, *(builder.input(name, (2,)) for name in names)))
    text = expression_text(builder.build(["f"]), "f")
    for dtype in ("float64", "float32"):
        inputs = ", ".join(
            f"{n}: {{at: [{x}, {x + 0.125}], dtype: {dtype}}}" for n, x in zip(names, points, strict=True)
        )
        case = load_case_text(f"{{case: row, inputs: {{{inputs}}}, stages: {{f: '{text}'}}}}")
        assert [] == accused(emit(case), case)


@pytest.mark.parametrize("op", OPS)
def test_shapes_and_parameters_of_every_row(op: str) -> None:
    """In all the ways in which the table is tried: value and gradients, beside the engine's, which are other texts."""
    for trial in trials(op):
        graph, rng = trial.graph(), np.random.default_rng(0)
        shapes = ", ".join(
            f"{name}: {{shape: {list(shape)}, at: normal}}"
            for name, shape in zip(graph.inputs, trial.shapes, strict=True)
        )
        formula = expression_text(graph, "f").replace("'", '"')
        text = emit(load_case_text(f"case: row\ninputs: {{{shapes}}}\nstages: {{f: '{formula}'}}\n"))
        inputs, seed = trial.inputs(1, rng), rng.normal(size=(1, *graph.shape("f")))
        engine = Reverse(graph, tuple(graph.inputs)).differentiate(inputs, {"f": seed})
        at = {name: x[0] for name, x in inputs.items()}
        value, _ = module(text)["forward"](**at)
        np.testing.assert_allclose(value, engine.values["f"][0], 1e-12, 1e-14, err_msg=str(trial))
        gradients = module(text)["backward"](**at, upstream=seed[0])
        for name, expected in engine.gradients.items():
            assert np.shape(gradients[name]) == expected[0].shape, (trial, name)
            np.testing.assert_allclose(gradients[name], expected[0], 1e-11, 1e-13, err_msg=f"{trial}, {name}")


def test_nothing_is_sent_through_a_condition() -> None:
    """Whatever it is made of: there is no line for it, and what is read nowhere else has gradient 0."""
    case = load_case_text(
        "case: a\ninputs: {A: {at: [[1, 2], [3, 4]]}, b: {at: 2}, c: {at: 3}}\n"
        "stages: {f: 'where(transpose(A) + b > 2.5, c, c**2)'}\n"
    )
    text = emit(case)
    assert "np.zeros_like(A)" in text
    assert "df.T" not in text
    assert [] == accused(text, case)


@pytest.mark.parametrize(
    ("formula", "right", "wrong"),
    [
        ("cholesky(A)", "g[..., j, j] /= 2 * pivot", "g[..., j, j] /= 2 * pivot * (1 + 1e-9)"),
        ("det(A)", "(-1) ** (i + j)", "(-1) ** i"),
        ("inverse(A)", "-f.T @ df", "-f @ df"),
        ("solve(A, b)", "-np.outer", "np.outer"),
        ("conv1d(reshape(A, (1, 1, 4)), reshape(b, (1, 1, 2)))", "dx[part] +=", "dx[part] ="),
        ("conv1d(reshape(A, (1, 1, 4)), reshape(b, (1, 1, 2)))", "dw +=", "dw ="),
        ("max_pool(reshape(A, (1, 2, 2)), size=2)", "window.max(", "window.min("),
        ("avg_pool(reshape(A, (1, 2, 2)), size=2)", "g[index] / np.prod(size)", "g[index] / np.sum(size) * 0.999"),
        ("lgamma(b)", "special.digamma(b) * df", "special.digamma(b + 1) * df"),
    ],
)
def test_one_change_to_what_is_printed_is_found(formula: str, right: str, wrong: str) -> None:
    """The twin for the longer texts: a slip of the pen in one of them, in the backward pass alone."""
    given = {"A": [[2, 0.5], [0.25, 1.5]], "b": [0.75, 1.25]}
    inputs = ", ".join(f"{name}: {{at: {x}}}" for name, x in given.items() if re.search(rf"\b{name}\b", formula))
    case = load_case_text(f"case: row\ninputs: {{{inputs}}}\nstages:\n  f: {formula}\n")
    text = emit(case)
    assert [] == accused(text, case)
    assert text.count(right) == 1
    assert accused(text.replace(right, wrong), case)


def test_cofactors_of_a_singular_matrix() -> None:
    """A determinant is a polynomial: what is printed has its gradient where there is no inverse."""
    case = load_case_text("{case: a, inputs: {A: {at: [[1, 2], [2, 4]]}}, stages: {f: det(A)}}")
    found = module(emit(case))["backward"](np.array([[1.0, 2.0], [2.0, 4.0]]))["A"]
    assert [[4, -2], [-2, 1]] == found.tolist()


def test_the_lower_triangle_alone_is_read() -> None:
    """As NumPy's Cholesky factor does: nothing is sent above the diagonal."""
    case = load_case_text("{case: a, inputs: {A: {at: [[4, 9], [2, 5]]}}, stages: {f: cholesky(A)}}")
    assert [] == accused(emit(case), case)
    found = module(emit(case))["backward"](np.array([[4.0, 9.0], [2.0, 5.0]]), np.ones((2, 2)))["A"]
    assert found[0, 1] == 0
    assert found[1, 0] != 0


def test_conventions_at_ties_of_windows() -> None:
    """To the first of a window, to all, or in equal shares; windows that overlap add up."""
    expected = {"first": [1.0, 6.0, 0.0], "all": [1.0, 7.0, 6.0], "even": [0.5, 3.5, 3.0]}
    for tie, gradient in expected.items():
        text = f"case: t\ninputs: {{x: {{at: [[[2, 2, 2]]]}}}}\nstages: {{f: 'max_pool(x, size=2, stride=1)'}}\nties: {{max_pool: {tie}}}\n"
        found = module(emit(load_case_text(text)))["backward"](np.full((1, 1, 3), 2.0), np.array([[[1.0, 6.0]]]))
        assert [[gradient]] == found["x"].tolist(), tie


def test_it_reads_like_the_notes() -> None:
    """One line for each operand of a stage, in reverse order, with the local derivative beside it."""
    text = emit(load_case(ROOT / "cases" / "notes" / "staged_function.yaml"))
    backward = text[text.index("def backward") :]
    lines = [
        "# f = num * invden",
        "dnum = invden * df  # df/dnum = invden",
        "dinvden = num * df  # df/dinvden = num",
        "dden = -1 / den**2 * dinvden  # dinvden/dden = -1 / den**2",
        "dxpy = 2 * xpy * dxpysqr  # dxpysqr/dxpy = 2 * xpy",
        "# sigx = 1 / (1 + exp(-x))",
        "dx += dnum  # dnum/dx = 1",
    ]
    places = [backward.index(line) for line in lines]
    assert sorted(places) == places
    assert "num = x + sigy" in text
    assert "return {" in text


def test_matrix_products_and_broadcast_sums_are_written_out() -> None:
    """As the notes write them: dW = dD @ X.T, and db summed over the rows."""
    matmul = emit(load_case(ROOT / "cases" / "notes" / "matmul.yaml"))
    assert "dW = dD @ X.T" in matmul
    assert "dX = W.T @ dD" in matmul
    assert "def backward(W, X, upstream):" in matmul
    assert "dR = dS @ R  # matmul" in emit(
        load_case(ROOT / "cases" / "linear_algebra" / "gaussian_log_likelihood.yaml")
    )
    case = load_case_text(
        "{case: a, inputs: {x: {shape: [4, 3], at: normal}, b: {shape: [3], at: normal}}, stages: {z: x + b}}"
    )
    assert "db = dz.sum(axis=0)" in emit(case)


def test_a_traced_function_is_written_out() -> None:
    """From a function to its gradient, as text."""

    def loss(w: Any, x: Any) -> Any:
        score = w @ x
        return np.log(1 + np.exp(-score))

    case = trace(loss, w=np.array([1.0, -2.0]), x=np.array([0.5, 0.25]))
    text = emit(case)
    assert "dw = dscore * x" in text
    assert [] == accused(text, case)
    found, _ = module(text)["forward"](np.array([1.0, -2.0]), np.array([0.5, 0.25]))
    assert np.isclose(found, np.log(2.0))


def test_on_the_command_line(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """By path or by name; what is printed runs as it stands. A case that cannot be read is told as ever."""
    assert 0 == cli.main(["emit", "multiply_add"])
    out = capsys.readouterr().out
    assert module(out)["backward"](-2.0, 5.0, -4.0) == {"x": -4.0, "y": -4.0, "z": 3.0, "q": -4.0}
    broken = tmp_path / "broken.yaml"
    broken.write_text("{case: a, inputs: {x: {at: 1}}, stages: {f: exq(x)}}", encoding="utf-8")
    assert 2 == cli.main(["emit", str(broken)])
    assert "Did you mean 'exp'" in capsys.readouterr().err


def test_it_is_public() -> None:
    """``verify.emit`` is a name of the package."""
    assert verify.emit is emit


def test_pieces_of_text() -> None:
    """Signs, brackets and sums."""
    assert "-(a + b)" == times("-1", "a + b")
    assert "df" == times("-1", "-df")
    assert "-a * b" == product(["-a", "b"])
    assert "a" == product(["-1", "-a"])
    assert "0" == product(["a", "0"])
    assert "dz.sum(axis=0).sum(axis=0, keepdims=True)" == summed_to("dz", (4, 3, 2), (1, 2))

"""Plain NumPy functions as cases: what is traced, under which names and lines, and what is refused in which words."""

# ruff: noqa: E501, PLC3002, PLW0108 - the forms below are what users write, one a line
from __future__ import annotations

import copy
import inspect
import math
from collections import namedtuple
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import scipy.special

import verify
from verify.case.case import Case, load_case_text
from verify.case.writer import case_yaml, differences
from verify.emitting.passes import emit
from verify.errors import TraceError, UsageError
from verify.graph.interpret import Program
from verify.methods.reverse import Reverse
from verify.ops import OPS
from verify.oracle.check import check_gradient
from verify.places.points import own_points
from verify.running.runner import run_loaded
from verify.running.settings import Settings
from verify.tracing import composed, op_names
from verify.tracing.trace import Traced, trace, traced_or_reason

W = np.array([[0.5, -1.0, 2.0], [1.5, 0.25, -0.75]])
X = np.array([[1.0, -0.5], [0.3, 2.0], [-1.2, 0.7]])
v = np.array([1.0, -2.0, 0.5])
u = np.array([0.6, 1.7, 2.9])


def staged(x: Any, y: Any) -> Any:
    """The staged function of the course notes, as one would write it by hand."""
    sigy = 1 / (1 + np.exp(-y))
    num = x + sigy
    sigx = 1 / (1 + np.exp(-x))
    xpy = x + y
    xpysqr = xpy**2
    den = sigx + xpysqr
    invden = 1 / den
    return num * invden


STAGED_LINE = inspect.getsourcelines(staged)[1]


def value_of(case: Case) -> Any:
    """The value of the first output at the case's own point."""
    inputs = {item.name: np.asarray(item.at, dtype=item.dtype)[None] for item in case.inputs}
    return Program(case.graph).run(inputs)[case.graph.position(case.graph.outputs[0])][0]


# ------------------------------------------------------------------------------------------------- names and places


def test_the_staged_function_becomes_the_case_of_the_notes() -> None:
    """Stages have the names of the variables, and lines in this file."""
    case = trace(staged, x=3.0, y=-4.0)
    assert case.expressions == {
        "sigy": "1 / (1 + exp(-y))",
        "num": "x + sigy",
        "sigx": "1 / (1 + exp(-x))",
        "xpy": "x + y",
        "xpysqr": "xpy**2",
        "den": "sigx + xpysqr",
        "invden": "1 / den",
        "staged": "num * invden",
    }
    assert case.file == __file__
    assert case.lines["sigy"] == STAGED_LINE + 2
    assert case.lines["staged"] == STAGED_LINE + 9
    assert case.lines["x"] == STAGED_LINE
    assert case.source == f"traced from {__name__}.staged"
    assert case.own_points[0].values == {"x": 3.0, "y": -4.0}


def test_a_traced_case_is_used_as_any_other() -> None:
    """It runs three ways, and judges gradients: the right one passes, a wrong one fails."""
    case = trace(lambda x, y: x * np.exp(y), x=1.5, y=-0.5)
    assert run_loaded(case, Settings(points=4)).passes

    def right(x: float, y: float) -> tuple[Any, Any]:
        return np.exp(y), x * np.exp(y)

    def wrong(x: float, y: float) -> tuple[Any, Any]:
        return np.exp(y), x * np.exp(y) * (1 + 1e-9)

    assert check_gradient(right, case, Settings(points=4)).ok
    assert not check_gradient(wrong, case, Settings(points=4)).ok


def sigmoid(t: Any) -> Any:
    """A helper of the user's, whose own variables are not those of the traced function."""
    e = np.exp(-t)
    out = 1 / (1 + e)
    return out  # noqa: RET504 - the variable is the point


def rnn(Wh: Any, h: Any, x: Any) -> Any:
    """A loop that assigns one variable again and again."""
    for _ in range(3):
        h = np.tanh(Wh @ h + x)
    return h.sum()


def two_values(x: Any) -> Any:
    """A tuple that is taken apart, and one that is returned."""
    a, b = x[0], x[1]
    first, second = a * b, a + b
    return first, second


def shadow(x: Any) -> Any:
    """The name of an input assigned anew."""
    x = x * 2.0
    return np.exp(x)


def shared(x: Any) -> Any:
    """A value that two others need and no variable holds."""
    values = [x * x]
    return np.sin(values[0]) + np.cos(values[0])


def reversed_pair(x: Any) -> Any:
    """Assigned last and never used again but by the return."""
    f = np.exp(x)
    g = f * x
    return {"late": g, "early": f}


def test_names() -> None:
    """Helpers, loops, tuples, names that are taken, values without a name, names that the result gives."""
    helped = trace(lambda x: sigmoid(2.0 * x) * 3.0, x=0.5)
    assert {"e": "exp(-(2 * x))", "out": "1 / (1 + e)", "f": "out * 3"} == rounded(helped)
    outer: dict[str, Any] = {}
    exec("def f(x, sigmoid):\n    sigx = sigmoid(x)\n    return sigx * x\n", outer)  # noqa: S102 - no source to read
    assert rounded(trace(outer["f"], x=0.5, sigmoid=sigmoid)) == {
        "e": "exp(-x)",
        "sigx": "1 / (1 + e)",
        "f": "sigx * x",
    }
    case = trace(rnn, Wh=np.eye(2), h=np.array([0.1, 0.2]), x=np.array([0.3, -0.4]))
    assert list(case.expressions) == ["h_2", "h_3", "h_4", "rnn"]
    case = trace(two_values, x=np.array([2.0, 3.0]))
    assert case.expressions == {"a": "x[0]", "b": "x[1]", "first": "a * b", "second": "a + b"}
    assert case.graph.outputs == ("first", "second")
    assert trace(shadow, x=0.5).expressions == {"x_2": "x * 2.0", "shadow": "exp(x_2)"}
    assert trace(shared, x=0.5).expressions == {"s1": "x * x", "shared": "sin(s1) + cos(s1)"}
    case = trace(reversed_pair, x=0.5)
    assert case.expressions == {"early": "exp(x)", "late": "early * x"}
    assert case.graph.outputs == ("late", "early")


def rounded(case: Case) -> dict[str, str]:
    """The formulas, whole numbers without a point."""
    return {stage: text.replace(".0", "") for stage, text in case.expressions.items()}


def test_results() -> None:
    """One array, a tuple with a cache beside it, a named tuple, one value twice, an input handed on."""
    Pair = namedtuple("Pair", "loss norm")  # noqa: PYI024 - as users write them
    assert trace(lambda x: Pair(x * x, 2.0 * x), x=1.0).graph.outputs == ("loss", "norm")
    assert trace(lambda x: (x * x, (x, None)), x=1.0).graph.outputs == ("f",)
    twice = trace(lambda x: {"a": x * x, "b": x}, x=3.0)
    assert twice.expressions == {"a": "x * x", "b": "x"}
    same = trace(lambda x: (lambda z: {"a": z, "b": z})(x * x), x=3.0)
    assert same.expressions == {"a": "x * x", "b": "a"}
    assert run_loaded(same, Settings(points=2)).passes


def test_long_formulas_are_split() -> None:
    """A formula stays readable, and deep ones do not grow without bound."""

    def long(x: Any) -> Any:
        return np.sin(np.cos(np.sin(np.cos(np.sin(np.cos(np.sin(np.cos(np.sin(np.cos(np.sin(np.cos(x))))))))))))

    case = trace(long, x=0.5)
    assert list(case.expressions) == ["s1", "long"]
    assert run_loaded(case, Settings(points=1)).passes


# ---------------------------------------------------------------------------------------------- what NumPy code does


def grown(x: Any) -> Any:
    """An array of zeros that entries are added to."""
    d = np.zeros_like(x)
    for i in range(len(x)):
        d[i] += x[i] ** 2
    return d


def in_place(x: Any) -> Any:
    """As one writes softmax: what was computed is changed in place."""
    scores = x * 2.0
    same = scores
    scores -= scores.mean(axis=1, keepdims=True)
    scores /= 3
    return same.sum(axis=0) * scores[0]


def accumulated(x: Any) -> Any:
    """Sums that begin with plain zeros."""
    total, rows = 0.0, np.zeros(3)
    for row in x:
        total += row[0]
        rows += row
    return total * rows


def branching(x: Any) -> Any:
    """A branch on a value."""
    if x > 0:
        return x
    return -x


def writing(x: Any) -> Any:
    """A write into an array of the function's own."""
    out = np.zeros(3)
    out[0] = x[0] * 2
    return out


def writing_slices(x: Any) -> Any:
    """The same with a slice."""
    out = np.zeros(3)
    out[1:] = x[1:] * 2
    return out


def writing_to_input(x: Any) -> Any:
    """A write into the caller's array."""
    x[0] = 1.0
    return x


def augmenting_input(x: Any) -> Any:
    """The same by an operator."""
    x += 1.0
    return x


def augmenting_view(x: Any) -> Any:
    """A change in place that another array sees."""
    y = x * 2.0
    first = y[:2]
    y += 1.0
    return first.sum() + y.sum()


def calling_math(x: Any) -> Any:
    """A function that is not NumPy's."""
    return math.exp(x)


def foreign(x: Any) -> Any:
    """A function of SciPy's that is no ufunc and has no row."""
    from scipy.linalg import sqrtm

    return sqrtm(np.diag(x * x))


FORMS: dict[str, tuple[Callable[..., Any], dict[str, Any]]] = {
    "operators": (lambda x, y: -x + y * 2 - 3 / y + (+x) ** 3 - y**x, {"x": 1.5, "y": 2.5}),
    "reflected operators": (lambda x: 2 - x + (3 * x) / (1 / x) - 2**x, {"x": 1.5}),
    "an array on the left": (lambda x: np.arange(3.0) * x + np.ones((3, 3)) @ x, {"x": v}),
    "numpy scalars": (lambda x: np.float64(2.0) * x + np.float64(1.0) / x, {"x": u}),
    "ufuncs": (lambda x: np.exp(x) + np.log(x) + np.sqrt(x) + np.tanh(x) + np.sin(x) * np.cos(x), {"x": u}),
    "maximum, minimum, abs": (lambda x, y: np.maximum(x, y) * np.minimum(x, 0.25) + abs(y) + np.fabs(x), {"x": v, "y": u}),
    "hypot and sign": (lambda x, y: np.hypot(x, y) * np.sign(x), {"x": v, "y": u}),
    "square and reciprocal": (lambda x: np.square(x) + np.reciprocal(x), {"x": u}),
    "sums": (lambda x: x.sum() + np.sum(x, axis=0).sum() + x.sum(axis=1, keepdims=True), {"x": W}),
    "negative axes": (lambda x: x.sum(-1) + np.mean(x, axis=-1), {"x": W}),
    "mean": (lambda x: x.mean() + x.mean(axis=0) + np.mean(x, axis=(0, 1)), {"x": W}),
    "transpose": (lambda x: x.T @ x + np.transpose(x) @ x, {"x": W}),
    "products": (lambda x, y: (x @ y).sum() + np.dot(x, y).sum() + x.dot(y).mean() + np.matmul(x, y)[0, 0], {"x": W, "y": X}),
    "vectors": (lambda x, y: x @ y + np.dot(x, y) + np.inner(x, y) + np.vdot(x, y) + y.dot(x), {"x": v, "y": u}),
    "dot with a number": (lambda x: np.dot(x, 2.0), {"x": v}),
    "indices": (lambda x: x[0, 1] + x[-1, -1] + x[1][0] + x[:, 1:].sum() + x[..., 0].sum() + x[::-1, ::2].sum(), {"x": W}),
    "iteration": (lambda x: sum(row[0] * row[1] for row in x) + sum(x[0]), {"x": W}),
    "unpacking": (lambda x: (lambda a, b, c: a * b + c)(*x), {"x": v}),
    "shape, size, len": (lambda x: x.sum() / x.shape[0] + x.sum() / x.size + len(x) * x.sum() + x.ndim, {"x": W}),
    "functions of shapes": (lambda x: x + np.zeros_like(x) + np.ones_like(x) * np.shape(x)[0] + np.full_like(x, 2.0), {"x": W}),
    "var, std, norm": (lambda x: np.var(x, axis=0) + x.std() + np.linalg.norm(x), {"x": W}),
    "clip": (lambda x: np.clip(x, -0.6, 0.9) + x.clip(0.1) + np.clip(x, -x * x, 0.5), {"x": v}),
    "where": (
        lambda x: np.where(x > 0.1, np.log(np.abs(x)), x) + np.where(x <= 0.1, x, 2.0) * np.where(0.2 < x, 1.0, x),
        {"x": v},
    ),
    "where with a mask": (lambda x: np.where(np.arange(len(x)) > 0, x, 3 * x), {"x": v}),
    "average, ptp-free": (lambda x: np.average(x) + np.average(x, weights=np.array([1.0, 2.0, 3.0])), {"x": v}),
    "diff and split": (lambda x: np.diff(x).sum() + np.split(x, [1])[1].sum(), {"x": v}),
    "triangles": (lambda x: np.tril(x[:, :2]) @ np.triu(x[:, 1:], 1), {"x": W}),
    "swapaxes and moveaxis": (lambda x: (np.swapaxes(x, 0, 1) + np.moveaxis(x, 0, -1)) * x.swapaxes(1, 0), {"x": W}),
    "casts and copies": (lambda x: x.copy().astype(float) + np.copy(x) + copy.deepcopy(x) + np.real(x), {"x": v}),
    "grown entry by entry": (lambda x: grown(x), {"x": v}),
    "pieces": (lambda x: np.select([x < 0.1, x > 1.0], [x, x**3], 2.0) + np.piecewise(x, [x < 0.1], [lambda t: 2 * t, np.exp]) + np.choose([0, 1, 0], [x, 2 * x]), {"x": v}),
    "other norms": (lambda x: np.linalg.norm(x, 3) + np.linalg.norm(x, 1.5) + np.linalg.vecdot(x, 2 * x), {"x": v}),
    "in place on its own arrays": (lambda x: in_place(x), {"x": W}),
    "a plain sum that grows": (lambda x: accumulated(x), {"x": W}),
    "new axes": (lambda x: x[:, None] * x[None, :] + x[..., np.newaxis], {"x": v}),
    "lists of indices": (lambda x: x[[0, 1, 0]] * x[:, [2, 0, 2]][0] + x[[0, 1], [2, 1]].sum(), {"x": W}),
    "arrays of indices": (lambda x: x[np.array([[0, 1], [1, 1]])].sum(axis=0) + x[-1], {"x": W}),
    "masks that are known": (lambda x: x[np.array([True, False])].sum() + x[W > 0].sum() + x[:, W[0] > 0].mean(), {"x": W}),
    "shapes": (lambda x: np.expand_dims(x, 0) + np.squeeze(x[None]) + x.reshape(3, 2).ravel().reshape(2, -1) + np.ravel(x.T).reshape((2, 3)), {"x": W}),
    "put together": (lambda x, y: np.stack([x, y]) @ np.concatenate([x[:1], y[:2]]) + np.hstack([x, y])[::3] + np.vstack((x, y))[:, 0] + np.column_stack((x, y))[0] + np.append(x, y)[:2], {"x": v, "y": u}),
    "moved": (lambda x: np.roll(x, 1) + np.flip(x) + np.pad(x, ((1, 0), (0, 0)))[:2] + np.tile(x[0], 2)[:3] + np.repeat(x, 2, axis=0)[::2] + np.fliplr(x) + np.take(x, [1, 0], axis=0), {"x": W}),
    "einsum": (lambda x, y: np.einsum("ij,jk->ik", x, y) + np.einsum("ij->", x) + np.tensordot(x, y, axes=1), {"x": W, "y": X}),
    "extrema": (lambda x: x.max() + np.max(x, axis=1) + x.min(axis=1) + np.amin(x) + np.ptp(x), {"x": W}),
    "scans and products": (lambda x: np.cumsum(x, axis=1) + np.cumprod(x) .sum() + x.prod(axis=0) + np.multiply.reduce(x), {"x": W}),
    "softmax by hand": (lambda x: (lambda e: e / e.sum(axis=1, keepdims=True))(np.exp(x - x.max(axis=1, keepdims=True))), {"x": W}),
    "outer": (lambda x, y: np.outer(x, y) + x[:, None] * y, {"x": v, "y": u}),
    "norms": (lambda x: np.linalg.norm(x) + np.linalg.norm(x, axis=1).sum() + np.linalg.norm(x[0], 2) + np.linalg.norm(x[0], 1) + np.linalg.norm(x, ord="fro"), {"x": W}),
    "broadcast_to": (lambda x: np.broadcast_to(x, (2, 3)) * np.arange(2.0)[:, None], {"x": v}),
    "pi": (lambda x: np.sin(2 * np.pi * x) + math.pi * x, {"x": v}),
    "reduce": (lambda x: np.add.reduce(x) + np.add.reduce(x, axis=1).sum(), {"x": W}),
    "float32": (lambda x: np.exp(x) * np.float32(0.1) + 0.5, {"x": v.astype(np.float32)}),
    "keyword arguments": (lambda *, x, scale=2.0: np.sum(a=x * scale, axis=0), {"x": W}),
    "constants from outside": (lambda x: X @ x.sum(axis=0)[:2] + W[:, 0].sum(), {"x": W}),
    "whole numbers and flags": (lambda x, n, flag: x**n if flag else x, {"x": v, "n": 2, "flag": True}),
    "labels": (lambda scores, y: sum(scores[i, y[i]] for i in range(2)), {"scores": W, "y": np.array([2, 0])}),
    "a branch": (branching, {"x": 1.5}),
    "a branch, the other way": (branching, {"x": -1.5}),
    "bool of a value": (lambda x: -x if not x else x * x, {"x": 1.0}),
    "the larger of two": (lambda x: max(x, 2.0) + min([x, 3.0]), {"x": 1.0}),
    "float and math": (lambda x: float(x) ** 2 + math.exp(x) + math.log(x, 3) + math.hypot(x, 2.0), {"x": 1.2}),
    "writes": (lambda x: writing(x) + writing_slices(x), {"x": v}),
    "writes into the input": (lambda x: writing_to_input(x), {"x": v}),
    "an operator on the input": (augmenting_input, {"x": v}),
    "a view sees the change": (augmenting_view, {"x": v}),
    "arrays of numbers": (lambda x: np.array([x, 2 * x, 1.0]) * np.asarray([[x], [3.0]]), {"x": 1.0}),
    "asarray": (lambda x: np.asarray(x) * np.array(x, copy=True), {"x": v}),
    "softmax of SciPy": (lambda x: scipy.special.softmax(x) + scipy.special.logsumexp(x), {"x": v}),
    "sorted": (lambda x: np.sort(x) * np.arange(3.0) + np.median(x), {"x": v}),
    "the largest by its place": (lambda x: x[x.argmax()] * x[np.argmin(x)], {"x": v}),
    "a mask of values": (lambda x: x[x > 0].sum() + np.mean(x[x < 0]), {"x": v}),
    "item": (lambda x: x.sum().item() * x[0].item(), {"x": v}),
    "an option of a ufunc": (lambda x: np.exp(x, dtype=np.float64), {"x": v}),
    "text and None": (lambda x, mode, out: np.sum(x) if mode == "sum" and out is None else x, {"x": v, "mode": "sum", "out": None}),
}  # fmt: skip


@pytest.mark.parametrize("name", FORMS)
def test_numpy_code_is_traced_to_the_same_values(name: str) -> None:
    """Unchanged user code; the graph gives what the function gives."""
    function, values = FORMS[name]
    case = trace(function, **values)
    expected = function(
        **{key: np.copy(value)[()] if isinstance(value, np.ndarray) else value for key, value in values.items()}
    )
    np.testing.assert_allclose(value_of(case), expected, rtol=1e-6 if case.inputs[0].dtype == "float32" else 1e-13)


@pytest.mark.parametrize("name", FORMS)
def test_what_is_traced_can_be_saved_and_written_out(name: str) -> None:
    """The same case comes back from its file, and the printed backward pass gives what the engine gives."""
    function, values = FORMS[name]
    case = trace(function, **values)
    again = load_case_text(case_yaml(case))
    assert [] == differences(case, again)
    printed: dict[str, Any] = {}
    exec(emit(case), printed)  # noqa: S102 - our own text, to be run
    batch = own_points(case, 0)
    engine = Reverse(case.graph, case.variables).differentiate(batch.inputs, batch.upstream).gradients
    wanted = inspect.signature(printed["backward"]).parameters
    given = {key: x[0] for key, x in batch.inputs.items() if key in wanted}
    upstream = {key: g[0] for key, g in batch.upstream.items()}
    given["upstream"] = upstream if len(upstream) > 1 else next(iter(upstream.values()))
    found = printed["backward"](**given)
    assert {item.name for item in case.real_inputs} <= set(found)
    tolerance = {"float32": 1e-4}.get(case.inputs[0].dtype, 1e-11)
    for variable, gradient in found.items():
        np.testing.assert_allclose(gradient, engine[variable][0], rtol=tolerance, atol=tolerance, err_msg=variable)


UFUNCS = [
    name
    for name, row in OPS.items()
    if row.elementwise and isinstance(getattr(np, name, None), np.ufunc) and getattr(np, name).nin == row.arity
]


@pytest.mark.parametrize("name", UFUNCS)
def test_a_row_with_the_name_of_a_ufunc_is_that_ufunc(name: str) -> None:
    """New rows come for free: nothing is said about them anywhere else."""
    ufunc = getattr(np, name)
    operands: dict[str, Any] = dict(zip("ab", (1.25, 0.5), strict=False)) if ufunc.nin == 2 else {"a": 0.5}
    if OPS[name].domain[0].low == 1:
        operands = {"a": 1.5}
    case = trace(lambda **given: ufunc(*given.values()), operands)
    assert case.graph.nodes[-1].op == name
    np.testing.assert_allclose(value_of(case), ufunc(*operands.values()), rtol=1e-14)


def test_the_table_of_names_has_rows_or_waits_for_them() -> None:
    """Every name leads to a row or to one that may come, and none hides a row of its own name."""
    assert {row for row in op_names.ALIASES.values() if row not in OPS} <= {"digamma"}
    assert not set(op_names.ALIASES) & set(OPS)
    assert not (set(composed.COMPOSED) | set(composed.COMPOSED_UFUNCS)) & set(OPS)


def test_scipy_ufuncs_reach_their_rows() -> None:
    """SciPy's ufuncs follow the same protocol."""
    from scipy import special

    case = trace(lambda x: special.erf(x) + special.expit(x), x=0.5)
    assert case.expressions == {"f": "erf(x) + sigmoid(x)"}


# --------------------------------------------------------------------------------------------------------- constants


def test_constant_arrays_are_inputs_of_kind_constant() -> None:
    """With the names that they have in the code, and recorded once."""
    case = trace(lambda x: W @ x + W[0, 0] * np.sum(W * W) * x[0], x=v)
    kinds = {item.name: item.kind for item in case.inputs}
    assert kinds == {"x": "real", "W": "constant"}
    case = trace(lambda x, y: np.sum((x - y) ** 2), x=v, y=np.array([0, 1, 1]))
    assert {item.name: item.kind for item in case.inputs} == {"x": "real", "y": "constant"}
    case = trace(lambda x, mask: x * mask, x=v, mask=np.array([0.0, 2.0, 2.0]), constants=["mask"])
    assert {item.name: item.kind for item in case.inputs} == {"x": "real", "mask": "constant"}
    assert run_loaded(case, Settings(points=2)).passes


def test_float32_inputs_make_a_float32_case() -> None:
    """The constants too: the engine computes in one dtype."""
    case = trace(lambda x: x * np.array([0.1, 0.2, 0.3], dtype=np.float32), x=v.astype(np.float32))
    assert {item.dtype for item in case.inputs} == {"float32"}
    assert np.asarray(case.inputs[0].at).dtype == np.float64


def test_domain_and_points() -> None:
    """The caller says where to look; several points are points of the case."""
    case = trace(lambda x: np.log(x), [{"x": 2.0}, {"x": 3.0}], domain={"x": (0.5, 4)})
    assert str(case.inputs[0].domain) == "[0.5, 4]"
    assert [point.origin for point in case.own_points] == ["at", "points[0]"]
    assert case.own_points[1].values == {"x": 3.0}
    assert str(trace(staged, x=3.0, y=-4.0).inputs[0].domain) == "[-1, 7]"


# ---------------------------------------------------------------------------------------------- what cannot be traced


REFUSED: dict[str, tuple[Callable[..., Any], dict[str, Any], str, str]] = {
    "a tie": (lambda x: x[x.argmax()], {"x": np.ones(3)}, "this very point leaves undecided", "beside it"),
    "a matrix norm": (lambda x: np.linalg.norm(x, "nuc"), {"x": W}, "these arguments of np.norm", "plain form"),
    "no row": (lambda x: np.fft.fft(x).real, {"x": v}, "no op for the function 'fft'", "verify ops"),
    "no ufunc": (lambda x: np.i0(x) + np.nextafter(x, 3.0), {"x": v}, "no op for the function", "verify ops"),
    "a foreign function": (foreign, {"x": v}, "made into a plain array", "NumPy"),
    "where by equality": (lambda x: np.where(x == 1.0, x, 2.0 * x), {"x": v}, "this very point leaves undecided", "beside it"),
    "complex": (lambda x: x * 1j, {"x": v}, "complex", "real"),
    "an option": (lambda x: np.add(x, x, casting="unsafe"), {"x": v}, "casting=", "out"),
    "the result does not depend": (lambda x: np.ones(3) * len(x), {"x": v}, "plain array", "depends on the inputs"),
    "nothing returned": (lambda x: [] if len(x) else x, {"x": v}, "returned no array", "floats"),
    "a number drawn": (lambda x: x * np.random.default_rng().normal(), {"x": v}, "the trace of", "draws"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_traced_is_said(name: str) -> None:
    """What was tried, the line of this file, and what to do; the same in one sentence for the oracle."""
    function, values, tried, remedy = REFUSED[name]
    with pytest.raises(TraceError) as caught:
        trace(function, **values)
    problem = caught.value.problem
    assert tried in problem.message
    assert remedy in problem.suggestion
    assert problem.file == __file__
    first, lines = function.__code__.co_firstlineno, len(inspect.getsourcelines(function)[0])
    assert first <= problem.line < first + lines
    reason = traced_or_reason(function, values)
    assert isinstance(reason, str)
    assert f"{__file__}:{problem.line}" in reason


@pytest.mark.parametrize(
    "function", [lambda x: x * int(5 * x), lambda x: x * (5 * x).astype(int), lambda x: x * round(5 * x)]
)
def test_what_holds_near_the_point_alone_is_no_case(function: Callable[..., Any]) -> None:
    """A case is for every point of its domain; the oracle, which looks at points one by one, takes it."""
    with pytest.raises(TraceError, match="which changes from point to point"):
        trace(function, x=1.45)
    traced = traced_or_reason(function, {"x": 1.45})
    assert not isinstance(traced, str)
    assert traced.agrees({"x": 1.42})
    assert not traced.agrees({"x": 2.7})


def test_the_line_is_that_of_the_choice() -> None:
    """Not only the function: the very line, shown."""

    def choosing(x: Any) -> Any:
        y = x * 2.0
        return y[y.argmax()]

    with pytest.raises(TraceError) as caught:
        trace(choosing, x=np.ones(2))
    assert caught.value.problem.line == inspect.getsourcelines(choosing)[1] + 2
    assert "y.argmax()" in str(caught.value)


def test_a_function_with_a_state_is_found() -> None:
    """Its twin without one is not complained about."""
    counts = iter(range(1, 100))
    with pytest.raises(TraceError, match=r"the trace of stateful gives .* stateful itself"):
        trace(_named("stateful", lambda x: x * next(counts)), x=1.0)
    assert trace(_named("stateless", lambda x: x * 2), x=1.0).name == "stateless"


def _named(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    function.__name__ = name
    return function


def test_a_wrong_row_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """The comparison bites: np.maximum taken for a minimum."""
    function = _named("f", lambda x: np.maximum(x, 0.1))
    trace(function, x=v)
    monkeypatch.setattr(op_names, "ALIASES", {**op_names.ALIASES, "maximum": "min"})
    with pytest.raises(TraceError, match=r"f\[0\]: the trace of f gives 0.1, f itself 1.0"):
        trace(function, x=v)


def test_a_branch_hidden_from_the_trace_is_found() -> None:
    """The function looks at its values by a side door; at a point nearby it takes the other branch."""

    def sly(x: Any) -> Any:
        positive = type(x) is not np.float64 or bool(x > 1.2)
        return x * x if positive else -x

    with pytest.raises(TraceError, match="the trace of sly"):
        trace(sly, x=1.4)


# ------------------------------------------------------------------------------------------------------- the function


def test_the_function_and_its_values_are_left_alone() -> None:
    """Nothing of the caller's is changed, and the trace is the same every time."""
    given = {"x": W.copy(), "y": X.copy()}
    state = (staged.__code__, staged.__globals__.copy().keys(), staged.__defaults__)

    def function(x: Any, y: Any) -> Any:
        hidden = np.maximum(0, x @ y)
        hidden *= 2.0
        return hidden.sum()

    first, second = trace(function, given), trace(function, given)
    assert first.graph == second.graph
    assert first.expressions == second.expressions
    assert np.array_equal(given["x"], W)
    assert np.array_equal(given["y"], X)
    trace(staged, x=3.0, y=-4.0)
    assert state == (staged.__code__, staged.__globals__.copy().keys(), staged.__defaults__)
    assert staged(3.0, -4.0) == pytest.approx(1.5456448841066441)


def test_it_is_public() -> None:
    """``verify.trace`` and its error are names of the package."""
    assert verify.trace is trace
    assert issubclass(verify.TraceError, verify.VerifyError)


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ({"x": True, "y": "4"}, "nothing to differentiate staged by, got x=True, y='4'.*Write floats"),
        ({"x": 3.0}, "does not take these values.*missing a required argument: 'y'"),
        ({"x": 3.0, "z": 1.0}, "does not take these values"),
        ({"x": 3.0, "y": float("nan")}, "y is not finite"),
        ({"x": 3.0, "y": [[1.0], [1.0, 2.0]]}, "y is no array.*same length"),
        ({"x": 3.0, "y": 1j}, "y is complex"),
        ({"x": 3.0, "y": "4"}, "staged raises .*at the given point"),
    ],
)
def test_values_that_do_not_fit(arguments: dict[str, Any], complaint: str) -> None:
    """Each said in a sentence, with what to do."""
    with pytest.raises(UsageError, match=complaint):
        trace(staged, arguments)


def test_options_that_do_not_fit() -> None:
    """Domains and constants of unknown names, empty domains, a point outside, no function, points of two shapes."""
    with pytest.raises(UsageError, match="domain names 'xx', which is no input"):
        trace(staged, x=3.0, y=1.0, domain={"xx": (0, 1)})
    with pytest.raises(UsageError, match="constants names 'z'"):
        trace(staged, x=3.0, y=1.0, constants=["z"])
    with pytest.raises(UsageError, match="is empty"):
        trace(staged, x=3.0, y=1.0, domain={"x": (4, 1)})
    with pytest.raises(UsageError, match="pair of numbers"):
        trace(staged, x=3.0, y=1.0, domain={"x": 4})
    with pytest.raises(UsageError, match="outside its domain"):
        trace(staged, x=3.0, y=1.0, domain={"x": (4, 5)})
    with pytest.raises(UsageError, match="expected a function"):
        trace(3, x=3.0)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match=r"shape \(2,\) at one point and \(3,\) at another"):
        trace(lambda x: x, [{"x": v}, {"x": v[:2]}])
    with pytest.raises(UsageError, match="as one mapping or a list"):
        trace(staged, [1.0, 2.0])  # type: ignore[list-item]


@pytest.mark.parametrize("at", [{"x": 3, "y": -4}, {"x": 3.0, "y": -4.0}, [{"x": 3, "y": -4}, {"x": 5, "y": 1}]])
def test_whole_numbers_are_floats_where_there_are_no_others(at: Any) -> None:
    """As in a case file and on the command line; the twin that is wrong by a little fails."""
    assert verify.check_gradient(lambda x, y: (y, x), lambda x, y: x * y, at=at).ok
    assert not verify.check_gradient(lambda x, y: (y, 1.000001 * x), lambda x, y: x * y, at=at).ok


def test_a_whole_number_beside_floats_is_a_constant_which_is_told() -> None:
    """Such as a power; who gives it as a float has it differentiated."""
    run = verify.check_gradient(lambda x, n: n * x ** (n - 1), lambda x, n: x**n, at={"x": 3.0, "n": 2})
    assert run.ok
    assert "n=2 is a whole number beside floats and stays a constant; write n=2.0" in run.cases[0].notes[0]
    alone = verify.check_gradient(lambda x, n: n * x ** (n - 1), lambda x, n: x**n, at={"x": 3.0}, constants={"n": 2})
    assert alone.ok
    assert "stays a constant" not in "".join(alone.cases[0].notes)


@pytest.mark.parametrize("pick", [np.median, lambda x: np.sort(x)[2], lambda x: x[np.argsort(x)[2]]])
def test_the_middle_one_of_three_that_are_equal_is_a_tie(pick: Any) -> None:
    """The other way round it stays where it is; of three that differ it is no tie."""

    def function(x: Any) -> Any:
        return pick(np.array([float(entry) for entry in x]))

    at = np.array([1.0, 2.0, 2.0, 2.0, 5.0])
    with pytest.raises(TraceError, match="this very point leaves undecided"):
        trace(function, x=at)
    assert isinstance(traced_or_reason(function, {"x": np.arange(5.0)}), Traced)

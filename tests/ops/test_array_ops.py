"""Rows that work on whole arrays: value, VJPs, exact column, SymPy form or lowering against plain loops.

The loops know nothing but single entries, and run on mpmath numbers; slopes are differences with many digits.
"""

from __future__ import annotations

import itertools
import math
import string
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import mpmath
import numpy as np
import pytest
import sympy
from hypothesis import given, settings
from hypothesis import strategies as st
from spoilt_rows import with_scaled_form

from verify.graph.graph import Graph, GraphBuilder
from verify.graph.interpret import Program
from verify.judging.audit import audit
from verify.methods.reverse import Reverse
from verify.methods.symbolic import Symbolic, prepare
from verify.numbers.balls import Balls
from verify.ops import OPS
from verify.ops.axes import same_points
from verify.tools.support import NAMES, Trial, trials

Numbers = np.ndarray[Any, Any]
DIGITS = 60
SLIGHTLY_MORE = 1 + 1e-6

# ------------------------------------------------------------------------------------------------------ the loops


def indices(shape: tuple[int, ...]) -> list[tuple[int, ...]]:
    """All indices of a shape, in C order."""
    return list(itertools.product(*map(range, shape)))


def filled(shape: tuple[int, ...], entries: list[Any]) -> Numbers:
    """An object array with these entries."""
    out = np.empty(len(entries), dtype=object)
    out[:] = entries
    return out.reshape(shape)


def groups(shape: tuple[int, ...], axes: tuple[int, ...]) -> dict[tuple[int, ...], list[tuple[int, ...]]]:
    """The indices that are taken together, by what is left of them."""
    found: dict[tuple[int, ...], list[tuple[int, ...]]] = {}
    for i in indices(shape):
        found.setdefault(tuple(0 if k in axes else p for k, p in enumerate(i)), []).append(i)
    return found


def mean_square(xs: list[Any], ddof: int) -> Any:
    """The variance of some numbers."""
    mean = sum(xs) / len(xs)
    return sum((x - mean) ** 2 for x in xs) / (len(xs) - ddof)


REDUCED: Mapping[str, Callable[..., Any]] = {
    "prod": lambda xs: math.prod(xs, start=mpmath.mpf(1)),
    "amax": max,
    "amin": min,
    "norm": lambda xs: mpmath.sqrt(sum(x * x for x in xs)),
    "var": lambda xs, ddof=0: mean_square(xs, ddof),
    "std": lambda xs, ddof=0: mpmath.sqrt(mean_square(xs, ddof)),
    "logsumexp": lambda xs: mpmath.log(sum(map(mpmath.exp, xs))),
}
SHARED: Mapping[str, Callable[[Any, list[Any]], Any]] = {
    "softmax": lambda x, xs: mpmath.exp(x) / sum(map(mpmath.exp, xs)),
    "log_softmax": lambda x, xs: x - mpmath.log(sum(map(mpmath.exp, xs))),
}
SCANNED: Mapping[str, Callable[[list[Any]], Any]] = {"cumsum": sum, "cumprod": math.prod}


def by_loops(name: str, operands: list[Numbers], params: Mapping[str, Any], shape: tuple[int, ...]) -> Numbers:
    """The op on operands of one point; ``shape`` is that of the result, which is checked elsewhere."""
    a = operands[0]
    axes = params.get("axis") or tuple(range(a.ndim))
    if name in REDUCED:
        extra = {"ddof": params["ddof"]} if "ddof" in params else {}
        return filled(
            shape, [REDUCED[name]([a[i] for i in group], **extra) for group in groups(a.shape, axes).values()]
        )
    if name in SHARED:
        of = {i: [a[j] for j in group] for group in groups(a.shape, axes).values() for i in group}
        return filled(shape, [SHARED[name](a[i], of[i]) for i in indices(a.shape)])
    if name in SCANNED:
        if "axis" not in params:
            a, axes = a.reshape(-1), (0,)
        (k,) = axes
        lines = ([a[(*i[:k], j, *i[k + 1 :])] for j in range(i[k] + 1)] for i in indices(a.shape))
        return filled(shape, [SCANNED[name](line) for line in lines])
    return MOVED[name](operands, params, shape)


def picked(operands: list[Numbers], params: Mapping[str, Any], shape: tuple[int, ...]) -> Numbers:
    """Entries by lists: two lists go together, one goes with all others."""
    (a,) = operands
    index = [part for part in params["index"] if part is not Ellipsis]
    if params["index"][0] is Ellipsis:
        index = [slice(None)] * (a.ndim - len(index)) + index
    index += [slice(None)] * (a.ndim - len(index))
    lists = [part for part in index if isinstance(part, tuple)]
    choices = [range(n)[p] if isinstance(p, slice) else p for n, p in zip(a.shape, index, strict=True)]
    if len(lists) == 2:
        return filled(shape, [a[pair] for pair in zip(*lists, strict=True)])
    numbers = [[p] if isinstance(p, int) else list(p) for p in choices]
    if isinstance(index[0], int) and index[1] == slice(None):  # NumPy puts what the list picks first
        return filled(shape, [a[index[0], j, k] for k in numbers[2] for j in numbers[1]])
    return filled(shape, [a[i] for i in itertools.product(*numbers)])


def stretched(operands: list[Numbers], _: Mapping[str, Any], shape: tuple[int, ...]) -> Numbers:
    """Axes of length 1 and missing ones repeated."""
    (a,) = operands
    ends = [i[len(shape) - a.ndim :] for i in indices(shape)]
    return filled(shape, [a[tuple(0 if n == 1 else p for p, n in zip(i, a.shape, strict=True))] for i in ends])


def stacked(operands: list[Numbers], params: Mapping[str, Any], shape: tuple[int, ...]) -> Numbers:
    """One operand for each place along the new axis."""
    (k,) = params.get("axis", (0,))
    return filled(shape, [operands[i[k]][(*i[:k], *i[k + 1 :])] for i in indices(shape)])


def joined(operands: list[Numbers], params: Mapping[str, Any], shape: tuple[int, ...]) -> Numbers:
    """One operand after the other."""
    (k,) = params.get("axis", (0,))
    places = [(number, j) for number, x in enumerate(operands) for j in range(x.shape[k])]
    entries = []
    for i in indices(shape):
        number, j = places[i[k]]
        entries.append(operands[number][(*i[:k], j, *i[k + 1 :])])
    return filled(shape, entries)


def padded(operands: list[Numbers], params: Mapping[str, Any], shape: tuple[int, ...]) -> Numbers:
    """Zeros around."""
    (a,) = operands
    width = params["pad_width"]
    pairs = width if isinstance(width, tuple) and isinstance(width[0], tuple) else (width,) * a.ndim
    before = [pair[0] if isinstance(pair, tuple) else pair for pair in pairs]
    inner = [tuple(p - b for p, b in zip(i, before, strict=True)) for i in indices(shape)]
    inside = [all(0 <= p < n for p, n in zip(i, a.shape, strict=True)) for i in inner]
    return filled(shape, [a[i] if yes else mpmath.mpf(0) for i, yes in zip(inner, inside, strict=True)])


def flipped(operands: list[Numbers], params: Mapping[str, Any], shape: tuple[int, ...]) -> Numbers:
    """The other way round."""
    (a,) = operands
    axes = params.get("axis", tuple(range(a.ndim)))
    return filled(
        shape, [a[tuple(a.shape[k] - 1 - p if k in axes else p for k, p in enumerate(i))] for i in indices(shape)]
    )


def rolled(operands: list[Numbers], params: Mapping[str, Any], shape: tuple[int, ...]) -> Numbers:
    """Places later, and from the end back to the start."""
    (a,) = operands
    steps, axes = params["shift"], params.get("axis")
    if axes is None:
        flat = a.ravel().tolist()
        return filled(shape, [flat[(i - steps) % len(flat)] for i in range(len(flat))])
    by = dict(zip(axes, steps if isinstance(steps, tuple) else (steps,) * len(axes), strict=True))
    return filled(shape, [a[tuple((p - by.get(k, 0)) % a.shape[k] for k, p in enumerate(i))] for i in indices(shape)])


def contracted(operands: list[Numbers], subscripts: str, shape: tuple[int, ...]) -> Numbers:
    """A sum of products over all letters."""
    left, _, result = subscripts.partition("->")
    parts = left.split(",")
    if "->" not in subscripts:
        result = "".join(sorted(letter for letter in left if letter != "," and left.count(letter) == 1))
    letters = sorted(set(left) - {","})
    lengths = {c: n for part, x in zip(parts, operands, strict=True) for c, n in zip(part, x.shape, strict=True)}
    sums = dict.fromkeys(indices(shape), mpmath.mpf(0))
    for values in itertools.product(*(range(lengths[c]) for c in letters)):
        at = dict(zip(letters, values, strict=True))
        factors = [x[tuple(at[c] for c in part)] for part, x in zip(parts, operands, strict=True)]
        sums[tuple(at[c] for c in result)] += math.prod(factors)
    return filled(shape, list(sums.values()))


def dotted(operands: list[Numbers], _: Mapping[str, Any], shape: tuple[int, ...]) -> Numbers:
    """NumPy's rule: the last axis of the first with the last but one of the second."""
    a, b = operands
    if not a.ndim or not b.ndim:
        return filled(shape, [x * y for x in a.flat for y in b.flat])
    free = iter(string.ascii_lowercase[1:])
    left = [next(free) for _ in range(a.ndim - 1)]
    right = [next(free) for _ in range(b.ndim - 1)]
    second = [*right[:-1], "a", *right[-1:]] if right else ["a"]
    return contracted(operands, f"{''.join(left)}a,{''.join(second)}->{''.join(left + right)}", shape)


def in_order(operands: list[Numbers], _: Mapping[str, Any], shape: tuple[int, ...]) -> Numbers:
    """The same entries in the same order."""
    return filled(shape, operands[0].ravel().tolist())


MOVED: Mapping[str, Callable[[list[Numbers], Mapping[str, Any], tuple[int, ...]], Numbers]] = {
    **dict.fromkeys(("reshape", "ravel", "expand_dims", "squeeze"), in_order),
    "gather": picked,
    "broadcast_to": stretched,
    "stack": stacked,
    "concatenate": joined,
    "pad": padded,
    "flip": flipped,
    "roll": rolled,
    "einsum": lambda operands, params, shape: contracted(operands, params["subscripts"], shape),
    "dot": dotted,
    "outer": lambda operands, _, shape: filled(shape, [x * y for x in operands[0].flat for y in operands[1].flat]),
}

BY_LOOPS = (*REDUCED, *SHARED, *SCANNED, *MOVED)
"""Ops that the loops know; the others have files of their own."""

# ------------------------------------------------------------------------------------------------------ the checks

TRIALS = [trial for op in BY_LOOPS for trial in trials(op)]
POINTS = 2


def exact_numbers(x: Numbers) -> Numbers:
    """Floats as mpmath numbers."""
    return filled(x.shape, [mpmath.mpf(float(value)) for value in x.flat])


def far(got: Any, expected: Any) -> bool:
    """Whether two arrays differ by more than rounding, measured by the largest entry."""
    known = np.array([float(x) for x in np.ravel(expected)]).reshape(np.shape(expected))
    size = float(np.max(np.abs(known), initial=0.0))
    return np.shape(got) != known.shape or not np.all(np.abs(np.asarray(got, dtype=float) - known) <= 1e-13 * size)


def drawn(trial: Trial) -> list[Numbers]:
    """Operands ``(P, *shape)``."""
    return list(trial.inputs(POINTS, np.random.default_rng(3)).values())


def value_faults(trial: Trial) -> list[str]:
    """Where shape rule, forward or exact column are not the loops'."""
    row, node = OPS[trial.op], trial.graph().nodes[-1]
    operands = drawn(trial)
    y = row.forward(*operands, **node.params)
    found = [] if y.shape == (POINTS, *node.shape) else [f"shape {y.shape}"]
    static = {key: value for key, value in node.params.items() if key != "tie"}
    with mpmath.workdps(DIGITS):
        for p in range(POINTS):
            at = [exact_numbers(x[p]) for x in operands]
            expected = by_loops(trial.op, at, static, node.shape)
            found += [f"forward at point {p}"] if far(y[p], expected) else []
            found += [f"exact at point {p}"] if far(row.exact(*at, **static), expected) else []
    return found


def slopes(trial: Trial, operands: list[Numbers], g: Numbers) -> list[Numbers]:
    """Upstream gradient times the differences that each entry makes in the loops, at one point."""
    node = trial.graph().nodes[-1]
    static = {key: value for key, value in node.params.items() if key != "tie"}
    found = []
    with mpmath.workdps(DIGITS):
        at = [exact_numbers(x) for x in operands]
        h = mpmath.mpf(10) ** -20
        for k, x in enumerate(at):
            entries = []
            for i in indices(x.shape):
                ends = []
                for step in (h, -h):
                    moved = [z.copy() for z in at]
                    moved[k][i] += step
                    ends.append(by_loops(trial.op, moved, static, node.shape))
                entries.append(sum(weight * d for weight, d in zip(g.flat, np.ravel(ends[0] - ends[1]), strict=True)))
            found.append(filled(x.shape, [entry / (2 * h) for entry in entries]))
    return found


def vjp_faults(trial: Trial, graph: Graph | None = None) -> list[str]:
    """Where the engine's gradient of the op alone is not the loops'."""
    graph = trial.graph() if graph is None else graph
    operands = drawn(trial)
    g = np.random.default_rng(4).integers(-3, 4, (POINTS, *graph.shape("f"))).astype(float)
    inputs = dict(zip(NAMES, operands, strict=False))
    engine = Reverse(graph, [*inputs]).differentiate(inputs, {"f": g}).gradients
    symbolic = prepare(graph, [*inputs])
    assert isinstance(symbolic, Symbolic)
    forms = symbolic.differentiate(inputs, {"f": g}).gradients
    found = []
    for p in range(POINTS):
        for name, expected in zip(inputs, slopes(trial, [x[p] for x in operands], g[p]), strict=True):
            found += [f"VJP by {name} at point {p}"] if far(engine[name][p], expected) else []
            found += [f"symbolic by {name} at point {p}"] if far(forms[name][p], expected) else []
    return found


@pytest.mark.parametrize("trial", TRIALS, ids=lambda trial: f"{trial.op}: {trial}")
def test_values_are_the_loops(trial: Trial) -> None:
    """Forward, exact column and shape of every row that works on arrays."""
    assert value_faults(trial) == []


@pytest.mark.parametrize("trial", TRIALS, ids=lambda trial: f"{trial.op}: {trial}")
def test_slopes_are_the_loops(trial: Trial) -> None:
    """Its VJPs, and its SymPy form or lowering."""
    assert vjp_faults(trial) == []


@pytest.mark.parametrize("op", BY_LOOPS)
def test_a_planted_factor_is_caught(op: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Twin: the same checks reject a forward, a VJP, a SymPy form or a lowering that is too large by 1e-6 of itself."""
    row, trial = OPS[op], next(trial for trial in trials(op) if trial.shapes != ((),))
    for faults, planted in (
        (value_faults, replace(row, forward=lambda *args, **params: row.forward(*args, **params) * SLIGHTLY_MORE)),
        (value_faults, replace(row, exact=lambda *args, **params: row.exact(*args, **params) * SLIGHTLY_MORE)),
        (vjp_faults, replace(row, vjps=tuple(
            lambda *args, vjp=vjp, **params: vjp(*args, **params) * SLIGHTLY_MORE for vjp in row.vjps
        ))),
        (vjp_faults, with_scaled_form(row, 1 + sympy.Rational(1, 10**6))),
    ):  # fmt: skip
        monkeypatch.setitem(OPS, op, planted)
        assert faults(trial) != []
    monkeypatch.setitem(OPS, op, row)
    assert [*value_faults(trial), *vjp_faults(trial)] == []


@pytest.mark.parametrize("op", BY_LOOPS)
def test_float32_is_kept(op: str) -> None:
    """Forward and VJPs on float32 stay float32."""
    row = OPS[op]
    for trial in trials(op):
        operands = [x.astype(np.float32) for x in drawn(trial)]
        params = trial.graph().nodes[-1].params
        y = row.forward(*operands, **params)
        pulled = [vjp(y, y, *operands, **params) for vjp in row.vjps_for(len(operands))]
        assert [np.float32] * (1 + len(operands)) == [y.dtype, *(x.dtype for x in pulled)]


# --------------------------------------------------------------------------------------------------- what is special


def gradient(op: str, x: Any, g: Any, **params: Any) -> Any:
    """The engine's gradient of one op at one point."""
    builder = GraphBuilder(params.pop("ties", None))
    builder.name("f", builder.apply(op, builder.input("x", np.shape(x)), params=params))
    graph = builder.build(["f"])
    seed = np.broadcast_to(np.asarray(g, dtype=float), graph.shape("f"))[None]
    return Reverse(graph, ["x"]).differentiate({"x": np.asarray(x, dtype=float)[None]}, {"f": seed}).gradients["x"][0]


@pytest.mark.parametrize(
    ("convention", "expected"),
    [("first", [0, 6, 0, 0]), ("all", [0, 6, 6, 0]), ("even", [0, 3, 3, 0])],
)
def test_conventions_where_several_win(convention: str, expected: list[float]) -> None:
    """The first winner takes all, or each of them, or they share."""
    for op, sign in (("amax", 1), ("amin", -1)):
        assert gradient(op, sign * np.array([1, 5, 5, 2]), 6, ties={op: convention}).tolist() == expected


def test_products_with_zeros_have_their_slopes() -> None:
    """No quotient: the slope by the only zero is the product of the others, and one by one for a running product."""
    assert gradient("prod", [2, 0, 3], 1).tolist() == [0, 6, 0]
    assert gradient("prod", [0, 0, 3], 1).tolist() == [0, 0, 0]
    assert gradient("cumprod", [2, 0, 3, 4], [1, 1, 1, 1]).tolist() == [1, 2 + 6 + 24, 0, 0]
    assert gradient("cumprod", [0.0], [1.0]).tolist() == [1.0]


def test_lengths_neither_overflow_nor_vanish() -> None:
    """Squares would do both."""
    norm = OPS["norm"].forward
    assert norm(np.array([[3e300, 4e300]])).tolist() == [5e300]
    assert norm(np.array([[3e-300, 4e-300], [0, 0]])).tolist() == pytest.approx([5e-300, 0], rel=1e-15, abs=0)
    assert norm(np.array([[5e-324, 0.0]])).tolist() == [5e-324]
    assert gradient("norm", [3e-300, 4e-300], 1).tolist() == pytest.approx([0.6, 0.8], rel=1e-15)
    assert gradient("norm", [0, 0], 1).tolist() == gradient("std", [7, 7], 1).tolist() == [0, 0]


def test_large_exponents_keep_their_digits() -> None:
    """The shift that no derivative sees: in the engine and in the symbolic method."""
    x = np.array([[1000.0, 1000.0 - math.log(3.0), -1000.0]])
    for op, expected in (("softmax", [0.75, 0.25, 0.0]), ("logsumexp", 1000 + math.log(4 / 3))):
        builder = GraphBuilder()
        builder.name("f", builder.apply(op, builder.input("x", (3,))))
        graph = builder.build(["f"])
        symbolic = prepare(graph, ["x"])
        assert isinstance(symbolic, Symbolic)
        seed = {"f": np.ones((1, *graph.shape("f")))}
        for answer in (Reverse(graph, ["x"]).differentiate({"x": x}, seed), symbolic.differentiate({"x": x}, seed)):
            assert answer.values["f"][0] == pytest.approx(expected, rel=1e-12)
            assert np.all(np.isfinite(answer.gradients["x"]))


def test_repeated_indices_add_up() -> None:
    """Each place that read an entry sends back to it."""
    assert gradient("gather", [7, 8, 9], [1, 10, 100, 1000], index=((0, 2, 2, 2),)).tolist() == [1, 0, 1110]


def test_constants_join_what_has_many_points() -> None:
    """Constants carry one point, the others all of them."""
    assert [x.shape for x in same_points([np.zeros((3, 2)), np.zeros((1, 4))])] == [(3, 2), (3, 4)]
    builder = GraphBuilder()
    x = builder.input("x", (2,))
    half = builder.apply("expand_dims", builder.constant(0.5), params={"axis": 0})
    builder.name("f", builder.apply("concatenate", x, half))
    graph = builder.build(["f"])
    values = Program(graph).run({"x": np.arange(6.0).reshape(3, 2)})
    assert values[graph.position("f")].tolist() == [[0, 1, 0.5], [2, 3, 0.5], [4, 5, 0.5]]


@given(st.data())
@settings(max_examples=30)
def test_broadcast_to_over_all_ranks_and_sizes_of_one(data: st.DataObject) -> None:
    """Value and adjoint are NumPy's, whatever axes are missing or of length 1."""
    wanted = tuple(data.draw(st.lists(st.integers(1, 3), max_size=4)))
    kept = data.draw(st.integers(0, len(wanted)))
    ones = data.draw(st.lists(st.booleans(), min_size=kept, max_size=kept))
    shape = tuple(1 if one else n for one, n in zip(ones, wanted[len(wanted) - kept :], strict=True))
    for points in {1, 2, *wanted}:
        x = np.random.default_rng(0).normal(size=(points, *shape))
        y = OPS["broadcast_to"].forward(x, shape=wanted)
        assert [np.broadcast_to(part, wanted).tolist() for part in x] == y.tolist()
        pulled = OPS["broadcast_to"].vjps[0](np.ones_like(y), y, x, shape=wanted)
        assert pulled.shape == x.shape
        assert np.all(pulled == math.prod(wanted) / math.prod(shape))


@given(st.data())
@settings(max_examples=30)
def test_matmul_over_all_ranks_and_batches(data: st.DataObject) -> None:
    """Value and VJPs are those of NumPy point by point, for vectors, matrices and stacks that broadcast."""
    batch = data.draw(st.lists(st.integers(1, 3), max_size=2))
    m, k, n = (data.draw(st.integers(1, 3)) for _ in range(3))
    shapes = []
    for matrix, vector in (((m, k), (k,)), ((k, n), (k,))):
        kind = data.draw(st.sampled_from(["vector", "matrix", "stack"]))
        ones = data.draw(st.lists(st.booleans(), min_size=len(batch), max_size=len(batch)))
        front = tuple(1 if one else size for one, size in zip(ones, batch, strict=True))
        shapes.append(vector if kind == "vector" else matrix if kind == "matrix" else (*front, *matrix))
    builder = GraphBuilder()
    operands = [builder.input(name, shape) for name, shape in zip("ab", shapes, strict=True)]
    builder.name("f", builder.apply("matmul", *operands))
    graph = builder.build(["f"])
    rng = np.random.default_rng(1)
    for points in {1, 2, m, k, n, *batch}:
        at = {name: rng.normal(size=(points, *graph.shape(name))) for name in "ab"}
        g = rng.normal(size=(points, *graph.shape("f")))
        answer = Reverse(graph, ["a", "b"]).differentiate(at, {"f": g})
        for p in range(points):
            assert np.allclose(answer.values["f"][p], at["a"][p] @ at["b"][p], rtol=1e-13, atol=1e-13)
        # A product is linear in each operand, so the slope along the operand itself is the product.
        total = np.sum((answer.values["f"] * g).reshape(points, -1), axis=1)
        for name in "ab":
            along = np.sum((answer.gradients[name] * at[name]).reshape(points, -1), axis=1)
            assert np.allclose(along, total, rtol=1e-12, atol=1e-12)


def adjoint_faults(graph: Graph, at: Mapping[str, Numbers], expected: Callable[..., Any]) -> list[str]:
    """Where an op, linear in each operand, has another value than NumPy's at some point, or no adjoint for it."""
    points = len(next(iter(at.values())))
    g = np.random.default_rng(7).normal(size=(points, *graph.shape("f")))
    symbolic = prepare(graph, [*at])
    assert isinstance(symbolic, Symbolic)
    found = []
    for method in (Reverse(graph, [*at]), symbolic):
        answer = method.differentiate(at, {"f": g})
        for p in range(points):
            value = expected(*(x[p] for x in at.values()))
            if not np.allclose(answer.values["f"][p], value, rtol=1e-12, atol=1e-12):
                found.append(f"value at point {p}")
            for name, x in at.items():
                along, total = np.sum(answer.gradients[name][p] * x[p]), np.sum(g[p] * value)
                found += [] if np.isclose(along, total, rtol=1e-10, atol=1e-10) else [f"gradient of {name}, point {p}"]
    return found


@st.composite
def indexed(draw: st.DrawFn) -> tuple[tuple[int, ...], tuple[Any, ...]]:
    """A shape and an index: numbers, slices of any step, new axes, ``...``, and up to two lists."""
    shape = tuple(draw(st.lists(st.integers(1, 4), min_size=1, max_size=3)))
    length = draw(st.integers(1, 3))
    parts: list[Any] = []
    for size in shape[: draw(st.integers(1, len(shape)))]:
        if draw(st.integers(0, 4)) == 0:
            parts.append(None)
        bound = st.one_of(st.none(), st.integers(-size, size))
        places = st.lists(st.integers(-size, size - 1), min_size=length, max_size=length).map(tuple)
        step = st.sampled_from([None, 1, 2, -1, -2])
        parts.append(draw(st.one_of(st.integers(-size, size - 1), st.builds(slice, bound, bound, step), places)))
    if draw(st.booleans()) and len(parts) < len(shape):
        parts.append(Ellipsis)
    return shape, tuple(parts)


@given(indexed())
@settings(max_examples=60)
def test_any_index_is_numpys(drawn_index: tuple[tuple[int, ...], tuple[Any, ...]]) -> None:
    """Value and adjoint, also where lists and numbers are apart and NumPy puts the axis of the lists first."""
    shape, index = drawn_index
    plain = tuple(list(part) if isinstance(part, tuple) else part for part in index)
    if not np.zeros(shape)[plain].size:
        return
    builder = GraphBuilder()
    op = "gather" if any(isinstance(part, tuple) for part in index) else "index"
    builder.name("f", builder.apply(op, builder.input("x", shape), params={"index": index}))
    graph = builder.build(["f"])
    for points in {1, 2, *shape}:
        x = np.random.default_rng(8).normal(size=(points, *shape))
        assert adjoint_faults(graph, {"x": x}, lambda a: a[plain]) == []


@st.composite
def subscripted(draw: st.DrawFn) -> tuple[str, list[tuple[int, ...]]]:
    """Subscripts of up to three operands, with letters that repeat, are summed, or are left out of the result."""
    lengths = dict(zip("ijkl", draw(st.permutations([1, 2, 3, 2])), strict=True))
    operands = draw(st.lists(st.text("ijkl", min_size=1, max_size=3), min_size=1, max_size=3))
    letters = sorted(set("".join(operands)))
    result = "".join(draw(st.lists(st.sampled_from(letters), unique=True, max_size=3)))
    return f"{','.join(operands)}->{result}", [tuple(lengths[c] for c in part) for part in operands]


@given(subscripted())
@settings(max_examples=60)
def test_any_einsum_is_numpys(drawn_text: tuple[str, list[tuple[int, ...]]]) -> None:
    """Value and adjoint by each operand, for two points and as many as an axis is long."""
    text, sizes = drawn_text
    builder = GraphBuilder()
    operands = [builder.input(name, shape) for name, shape in zip("abc", sizes, strict=False)]
    builder.name("f", builder.apply("einsum", *operands, params={"subscripts": text}))
    graph = builder.build(["f"])
    for points in (2, 3):
        rng = np.random.default_rng(9)
        at = {name: rng.normal(size=(points, *shape)) for name, shape in zip("abc", sizes, strict=False)}
        assert adjoint_faults(graph, at, lambda *xs: np.einsum(text, *xs)) == []


def test_an_index_that_keeps_the_last_place_alone_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Twin: where repeated indices do not add up, the adjoint is wrong, and the symbolic method is not."""

    def last_only(g: Any, y: Any, a: Any, index: Any) -> Any:  # noqa: ARG001 - a VJP takes them all
        out = np.zeros_like(a)
        out[:, list(index[0])] = g
        return out

    monkeypatch.setitem(OPS, "gather", replace(OPS["gather"], vjps=(last_only,)))
    builder = GraphBuilder()
    builder.name("f", builder.apply("gather", builder.input("x", (3,)), params={"index": ((0, 2, 2),)}))
    x = {"x": np.random.default_rng(8).normal(size=(2, 3))}
    found = adjoint_faults(builder.build(["f"]), x, lambda a: a[[0, 2, 2]])
    assert found == ["gradient of x, point 0", "gradient of x, point 1"]


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_the_audit_contradicts_no_right_row(dtype: Any) -> None:
    """Nearly equal entries, zeros, ties, large ones: no right row that works on arrays is accused."""
    for op in BY_LOOPS:
        for trial in list(trials(op))[1:3]:
            graph = trial.graph()
            for scale, offset in ((1.0, 0.0), (1e-3, 1e4), (0.0, 1.0), (1e3, 0.0)):
                inputs = {
                    name: (x * scale + offset).astype(dtype)
                    for name, x in trial.inputs(1, np.random.default_rng(5)).items()
                }
                assert audit(graph, Program(graph).run(inputs)) == [], (op, str(trial), scale, offset)


# ------------------------------------------------------------------------------------------------------- in balls


def outside(ball: Balls, truth: Numbers, share: float = 1.0) -> int:
    """How many entries of a ball do not hold the truth, its radius taken by some share; slopes are off by 1e-35."""
    radius = np.ravel(ball.radius) * share
    with mpmath.workdps(DIGITS):
        pairs = zip(np.ravel(ball.value), radius, np.ravel(truth), strict=True)
        slack = mpmath.mpf(10) ** -30
        return sum(not abs(mpmath.mpf(float(x)) - exact) <= r + slack * (1 + abs(exact)) for x, r, exact in pairs)


def held(trial: Trial, dtype: Any, known: float) -> tuple[list[tuple[Balls, Numbers]], Numbers]:
    """Value and VJPs of one point in balls, each with the truth at operands inside of them; the operands' own too."""
    row, node = OPS[trial.op], trial.graph().nodes[-1]
    static = {key: value for key, value in node.params.items() if key != "tie"}
    rng = np.random.default_rng(6)
    balls = [Balls.widened(x[:1].astype(dtype), known) for x in drawn(trial)]
    with mpmath.workdps(DIGITS):
        true = [
            np.asarray(exact_numbers(ball.value[0]) + exact_numbers(shift[0]), dtype=object)
            for ball, shift in ((ball, ball.radius * rng.uniform(-1, 1, ball.shape)) for ball in balls)
        ]
        y = row.forward(*balls, **node.params)
        found = [(y, by_loops(trial.op, true, static, node.shape))]
    g = rng.integers(-3, 4, y.shape).astype(dtype)
    for vjp, slope in zip(row.vjps_for(len(balls)), slopes(trial, true, g[0]), strict=True):
        found.append((vjp(Balls.exact(g), y, *balls, **node.params), slope))
    return found, g


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("op", BY_LOOPS)
def test_balls_hold_value_and_slopes(op: str, dtype: Any) -> None:
    """Run on balls, forward and VJPs hold the truth of any operands inside: known exactly, or to 1e-6."""
    for trial in trials(op):
        for known in (0.0, 1e-6):
            for ball, truth in held(trial, dtype, known)[0]:
                assert isinstance(ball, Balls)
                assert outside(ball, truth) == 0, (str(trial), known)
                assert np.all(ball.radius <= 1e-3 * (1 + np.abs(ball.value)))


@pytest.mark.parametrize(
    "op", ["prod", "var", "std", "norm", "cumsum", "cumprod", "softmax", "logsumexp", "einsum", "amax"]
)
def test_narrower_balls_would_not(op: str) -> None:
    """Twin: a hundredth of the radius misses, where operands are known to 1e-6."""
    pairs = [pair for trial in trials(op) for pair in held(trial, np.float64, 1e-6)[0]]
    assert sum(outside(ball, truth, 0.01) for ball, truth in pairs) > 0


def test_balls_see_what_is_lost_on_the_way() -> None:
    """Products that vanish or overflow before the last factor brings them back."""
    a = np.array([[1e-200, 1e-200, 1e200, 1e200]])
    for value in (OPS["prod"].forward(Balls.exact(a)), OPS["cumprod"].forward(Balls.exact(a))[:, 3]):
        assert np.ravel(value.radius)[0] >= 0.99
    overflowed = OPS["prod"].forward(Balls.exact(a[:, ::-1]))
    assert np.isinf(overflowed.radius[0])
    pair = OPS["einsum"].forward(
        Balls.exact(a[:, :1]), Balls.exact(a[:, 1:2]), Balls.exact(a[:, 2:3]), subscripts="i,i,i->"
    )
    assert abs(float(pair.value[0]) - 1e-200) <= pair.radius[0]

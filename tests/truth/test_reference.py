"""The certified reference holds the truth, says where it knows nothing, and names a wrong form of either road."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import flint
import mpmath
import numpy as np
import pytest
import sympy
from programs import program
from spoilt_rows import with_scaled_form

from verify.case.case import load_case, load_case_text
from verify.case.expression import graph_from_expressions
from verify.case.files import shipped_cases
from verify.graph.graph import Graph
from verify.graph.taylor import precision
from verify.graph.work import OutOfWorkError
from verify.methods.reverse import Reverse
from verify.methods.symbolic import Symbolic, enclosed, prepare
from verify.ops import OPS, Op
from verify.places.points import random_points
from verify.symbolic import closed_forms, pieces
from verify.symbolic.formula import differentiated
from verify.tools.support import Trial, trials
from verify.truth import reference
from verify.truth.reference import Enclosure, Enclosures, Reference

DIGITS = 1400
"""Enough for slopes of 1e-304 beside a value of 1, by differences with steps of 1e-400."""

Point = Mapping[str, Any]

# --------------------------------------------------------------------------------------------- the truth, by mpmath


def exact_values(graph: Graph, inputs: Mapping[int, Any]) -> list[Any]:
    """Every node by the column ``exact``, which neither road uses; inputs by position, as object arrays."""
    values: list[Any] = []
    for at, node in enumerate(graph.nodes):
        if node.kind == "input":
            values.append(inputs[at])
        elif node.kind == "constant":
            named = {"pi": mpmath.pi, "e": mpmath.e}
            values.append(numbers(+named[node.op] if node.op in named else mpmath.mpf(node.value)))
        else:
            row, static = OPS[node.op], {key: x for key, x in node.params.items() if key != "tie"}
            operands = [values[arg] for arg in node.args]
            if row.elementwise:
                call = np.frompyfunc(lambda *xs, row=row, static=static: row.exact(*xs, **static), len(operands), 1)
                values.append(numbers(call(*operands)))
            else:
                values.append(numbers(row.exact(*operands, **static)))
    return values


def numbers(value: Any) -> Any:
    """A number or an array as an object array of mpmath numbers."""
    return np.asarray(value, dtype=object)


def as_numbers(array: Any) -> Any:
    """Floats ``(1, *shape)`` as mpmath numbers ``shape``."""
    return numbers(np.frompyfunc(lambda x: mpmath.mpf(float(x)), 1, 1)(np.asarray(array)[0]))


class Truth:
    """Values and gradients of one graph at one point with hundreds of digits."""

    def __init__(self, graph: Graph, inputs: Point, upstream: Point) -> None:
        self.graph = graph
        with mpmath.workdps(DIGITS):
            self.seeds = {graph.position(name): as_numbers(g) for name, g in upstream.items()}
            self.values = exact_values(graph, {at: as_numbers(inputs[name]) for name, at in graph.inputs.items()})

    def gradient(self, name: str, entry: tuple[int, ...]) -> Any:
        """A central difference of the contracted output by one entry of an input or a stage."""
        at = self.graph.position(name)
        x = self.values[at][entry]
        with mpmath.workdps(DIGITS):
            h = mpmath.mpf(10) ** -400 * (abs(x) or 1)
            return (self.contracted(at, entry, x + h) - self.contracted(at, entry, x - h)) / (2 * h)

    def contracted(self, at: int, entry: tuple[int, ...], x: Any) -> Any:
        """The contracted output with one entry of one node replaced."""
        graph = self.graph
        again = list(self.values)
        again[at] = again[at].copy()
        again[at][entry] = x
        for i in graph.depends_on([at]):
            node = graph.nodes[i]
            row, static = OPS[node.op], {key: v for key, v in node.params.items() if key != "tie"}
            operands = [again[arg] for arg in node.args]
            if row.elementwise:
                call = np.frompyfunc(lambda *xs, row=row, static=static: row.exact(*xs, **static), len(operands), 1)
                again[i] = numbers(call(*operands))
            else:
                again[i] = numbers(row.exact(*operands, **static))
        return sum(np.sum(again[out] * g) for out, g in self.seeds.items())


def missed(known: Enclosure, truth: Any) -> str:
    """What is wrong with an enclosure of a number that is known to hundreds of digits; empty if nothing is."""
    if known.reason:
        return known.reason
    with mpmath.workdps(DIGITS):
        slack = mpmath.mpf(10) ** -300 * abs(truth) + mpmath.mpf(10) ** -700  # of the differences
        if not abs(known.midpoint - truth) <= known.radius + slack:
            return f"{known} misses {mpmath.nstr(truth, 30)}"
        answer = float(truth) * (1 + 1e-13)
        low, high = known.error(answer)
        if not low - slack <= abs(mpmath.mpf(answer) - truth) <= high + slack:
            return f"the error of {answer} is not in [{low}, {high}]"
        allowed = float(mpmath.mpf(2) ** -50 * abs(truth)) + 1e-320
        return "" if known.radius <= allowed else f"{known} is wide"


def misses(graph: Graph, inputs: Point, upstream: Point, symbolic: Symbolic | None) -> list[str]:
    """Everything that the reference says wrongly at one point, by the variables that the graph reads."""
    names = [name for name, at in graph.inputs.items() if graph.consumers[at]] + [*graph.stages]
    truth = Truth(graph, inputs, upstream)
    known = Reference(graph, names, symbolic).enclose(inputs, upstream)
    found = [known.disputed] if known.disputed else []
    for name in names:
        for entry in np.ndindex(graph.shape(name)):
            for what, one, exact in (
                ("value", known.value(name, entry), truth.values[graph.position(name)][entry]),
                ("gradient", known.gradient(name, entry), truth.gradient(name, entry)),
            ):
                wrong = missed(one, exact)
                found += [f"{what} of {name}{entry}: {wrong}"] if wrong else []
                found += [f"{what} of {name}{entry}: {one.road}"] if one.road != known.road else []
    return found


def made(expressions: Mapping[str, str], **at: Any) -> tuple[Graph, dict[str, Any], dict[str, Any]]:
    """A graph, its one point, and ones for upstream gradients."""
    graph = graph_from_expressions({name: np.shape(x) for name, x in at.items()}, expressions)
    inputs = {name: np.asarray(x, dtype=np.float64)[None] for name, x in at.items()}
    return graph, inputs, {name: np.ones((1, *graph.shape(name))) for name in graph.outputs}


def known_of(expressions: Mapping[str, str] | str, **at: Any) -> Enclosures:
    """Both roads at one point."""
    stages = {"f": expressions} if isinstance(expressions, str) else expressions
    graph, inputs, upstream = made(stages, **at)
    names = [*graph.inputs, *graph.stages]
    symbolic = prepare(graph, names)
    return Reference(graph, names, symbolic if isinstance(symbolic, Symbolic) else None).enclose(inputs, upstream)


# ------------------------------------------------------------------------------------------------- it holds the truth

SIZES = (1e-300, 1e-9, 0.3, 1.0, 2.5, 30.0, 1e8)
MOST_ENTRIES, MOST_TRIALS = 12, 3
"""Of a trial of a row that works on arrays, and of how many trials."""


def tried(op: str) -> Iterator[tuple[Graph, Point, Point]]:
    """Each op alone at single points: over its whole domain, of both signs and from tiny to large, or in its trials."""
    rng, row = np.random.default_rng(5), OPS[op]
    if row.elementwise:
        for params in row.statics:
            graph = Trial(op, ((),) * row.arity, params).graph()
            points = [point for size in SIZES for sign in (1.0, -1.0) if (point := drawn(row, params, size, sign, rng))]
            yield from ((graph, dict(zip(graph.inputs, point, strict=True)), ONE) for point in points)
        return
    by_size = sorted(trials(op), key=lambda trial: sum(map(math.prod, trial.shapes)))
    few = [trial for trial in by_size if sum(map(math.prod, trial.shapes)) <= MOST_ENTRIES]
    for trial in (few or by_size[:1])[-MOST_TRIALS:]:
        graph = trial.graph()
        yield graph, trial.inputs(1, rng), {"f": rng.normal(size=(1, *graph.shape("f")))}


ONE = {"f": np.ones(1)}


def drawn(row: Op, params: Mapping[str, Any], size: float, sign: float, rng: np.random.Generator) -> list[Any]:
    """Operands of a row of single entries, none where value or slope is more than a float can hold."""
    domain = row.domain[0]
    largest = domain.high if domain.high == 1 else row.reach[0]
    x = max(min(size, largest) * rng.uniform(0.9, 1), 1.0 + max(size, 1e-9) if domain.low == 1 else 0.0)
    x *= sign if domain.contains(-x) and float(params.get("exponent", 1.0)).is_integer() else 1.0
    point = [np.array([x]), *(rng.uniform(0.5, 3, 1) * rng.choice([-1, 1]) for _ in row.domain[1:])]
    tie = {} if row.kink is None else {"tie": next(iter(row.kink.ties.values()))}
    with np.errstate(all="ignore"):
        y = row.forward(*point, **params, **tie)
        sent = [vjp(np.ones(1), y, *point, **params, **tie) for vjp in row.vjps]
    return point if np.isfinite([y, *sent]).all() else []


@pytest.mark.parametrize("op", OPS)
def test_rows_hold_the_truth(op: str) -> None:
    """Each op's value and slopes are enclosed over its domain, by both roads and closely."""
    count = 0
    for graph, inputs, upstream in tried(op):
        for symbolic in (prepare_for(graph), None):
            assert misses(graph, inputs, upstream, symbolic) == [], inputs
        count += 1
    assert count


@pytest.mark.parametrize("path", sorted((shipped_cases() / "notes").glob("*.yaml")), ids=lambda path: path.stem)
def test_shipped_cases_hold_the_truth(path: Any) -> None:
    """Every value and gradient of every shipped case is enclosed by both roads at seeded points."""
    case = load_case(path)
    symbolic = prepare(case.graph, case.variables)
    assert isinstance(symbolic, Symbolic)
    batch = random_points(case, 3, 0, 3, 0)
    for i in range(3):
        inputs, upstream = batch.take(slice(i, i + 1))
        assert misses(case.graph, inputs, upstream, symbolic) == []
        assert misses(case.graph, inputs, upstream, None) == []


def test_a_scalar_that_moves_moves_all_that_reads_it() -> None:
    """One entry of x moves every entry of s1 by way of the sum, and one by itself."""
    rng = np.random.default_rng(2)
    for text in ("sum(x) * x", "max(x, sum(transpose(x)))", "x[0, 0] - x", "mean(x) ** 2 + x"):
        graph, inputs, upstream = made({"s1": text, "f": "sum(exp(s1))"}, x=rng.uniform(0.1, 1, (2, 3)))
        symbolic = prepare(graph, [*graph.inputs, *graph.stages])
        assert isinstance(symbolic, Symbolic)
        assert misses(graph, inputs, upstream, symbolic) == [], text
        assert misses(graph, inputs, upstream, None) == [], text


def test_literals_are_the_doubles_and_names_the_real_numbers() -> None:
    """0.1 is the double, pi is pi, also in a stage that reads no input; float32 inputs are what they hold."""
    graph, inputs, upstream = made({"c": "pi / 3", "f": "x * 0.1 + c * e"}, x=np.float32(0.1))
    symbolic = prepare(graph, [*graph.inputs, *graph.stages])
    assert isinstance(symbolic, Symbolic)
    assert misses(graph, inputs, upstream, symbolic) == []
    single = {"x": inputs["x"].astype(np.float32)}
    assert Reference(graph, ["x"], symbolic).enclose(single, upstream).value("x").midpoint == float(np.float32(0.1))


def test_an_upstream_gradient_of_zero_absorbs_what_has_no_value() -> None:
    """Outputs with weight 0 have no part in the gradient, though they are outside their domain."""
    graph, inputs, upstream = made({"f": "log(x)"}, x=[-1.0, 4.0])
    upstream["f"][0, 0] = 0.0
    known = Reference(graph, ["x"], None).enclose(inputs, upstream)
    assert [known.gradient("x", (i,)).midpoint for i in range(2)] == [0.0, 0.25]
    assert "outside its domain" in known.value("f", (0,)).reason


# ------------------------------------------------------------------------------------------------------------- edges

EDGES: tuple[tuple[str, dict[str, float], str, str], ...] = (
    ("log(x)", {"x": -1.0}, "outside its domain (a > 0): a = -1", "outside its domain (a > 0)"),
    ("log(x)", {"x": 0.0}, "outside its domain", "outside its domain"),
    ("log(x)", {"x": 5e-324}, "", "more than a float can hold"),
    ("sqrt(x)", {"x": 0.0}, "", "infinite slope at a = 0"),
    ("sqrt(x * x)", {"x": 0.0}, "", "infinite slope"),
    ("sqrt(x)", {"x": -0.0}, "", "infinite slope"),
    ("1 / x", {"x": 0.0}, "divide in stage 'f' has a pole", "has a pole"),
    ("x / x", {"x": 0.0}, "has a pole", "has a pole"),
    ("x ** -2", {"x": 0.0}, "has a pole at a = 0", "has a pole"),
    ("x ** 0.5", {"x": 0.0}, "", "infinite slope"),
    ("x ** 1.5", {"x": 0.0}, "", ""),
    ("x ** 0.5", {"x": -2.0}, "outside its domain (a >= 0)", "outside its domain"),
    ("x ** y", {"x": 0.0, "y": 2.5}, "", ""),
    ("x ** y", {"x": -1.0, "y": 2.0}, "outside its domain (a > 0)", "outside its domain"),
    ("x + log(y)", {"x": 1.0, "y": -1.0}, "outside its domain", "outside its domain"),
    ("exp(x)", {"x": 1000.0}, "1.97e+434 is more than a float can hold", "more than a float can hold"),
    ("exp(x)", {"x": 1e308}, "exp in stage 'f' overflows", "overflows"),
    ("1 / (1 + exp(-x))", {"x": -1000.0}, "", ""),
    ("sigmoid(x)", {"x": -1e308}, "", ""),
    ("exp(-x)", {"x": 1e308}, "", ""),
    ("tanh(x)", {"x": 5e-324}, "", ""),
    ("x * 1", {"x": math.inf}, "input x is infinite", "input x is infinite"),
    ("x * 1", {"x": math.nan}, "input x is NaN", "input x is NaN"),
    ("relu(x)", {"x": 0.0}, "", "kink: relu in stage 'f', where two branches meet (0)"),
    ("relu(x)", {"x": -0.0}, "", "kink: relu"),
    ("max(x, y)", {"x": 1.0, "y": 1.0}, "", "kink: max"),
    ("abs(x * y - 1)", {"x": 2.0, "y": 0.5}, "", "kink: abs"),
    ("relu(x * 0.1 - 1)", {"x": 10.0}, "", ""),
    ("x * abs(x)", {"x": 0.0}, "", ""),
    ("relu(x) ** 2", {"x": 0.0}, "", ""),
    ("log(sqrt(x) ** 2 - x)", {"x": 2.0}, "may be outside its domain", "may be outside its domain"),
    ("abs(x + sqrt(y) ** 2 - y)", {"x": 0.0, "y": 2.0}, "", "kink: abs"),
    ("abs(exp(log(x)) - x)", {"x": 3.0}, "", ""),
)
"""Expression, point, and how the reasons begin or go on for the value and the gradient by x; empty: enclosed."""


@pytest.mark.parametrize(("text", "at", "value", "gradient"), EDGES, ids=str)
def test_edges_have_their_reasons(text: str, at: dict[str, float], value: str, gradient: str) -> None:
    """Outside a domain, on its edge, past the range, at kinks: never an exception, and a reason that says which."""
    known = known_of(text, **at)
    assert known.disputed == ""
    for expected, one in ((value, known.value("f")), (gradient, known.gradient("x"))):
        assert (expected == "") == (one.reason == ""), one
        assert expected in one.reason
        assert one.reason == "" or one.error(0.0)[1] > 0


def test_a_kink_gives_the_hull_of_the_slopes() -> None:
    """At a tie both slopes are inside, and little else."""
    known = known_of("max(2 * x, 5 * y)", x=5.0, y=2.0)
    for name, slope in (("x", 2.0), ("y", 5.0)):
        one = known.gradient(name)
        assert one.midpoint - one.radius <= 0.0 <= slope <= one.midpoint + one.radius
        assert one.radius <= slope * 0.51


def test_the_literal_tenth_decides_the_branch() -> None:
    """relu(0.1 * 10 - 1) is 5.6e-17 in exact arithmetic: its slope is 1/10, whatever floats make of it."""
    known = known_of("relu(x * 0.1 - 1)", x=10.0)
    assert known.value("f").midpoint == pytest.approx(5.551115123125783e-17, rel=1e-15)
    assert known.gradient("x").midpoint == 0.1


# --------------------------------------------------------------------------------------------------------- precision


@pytest.mark.parametrize(
    ("text", "x", "value", "gradient", "bits"),
    [
        ("(x + 1e9) - 1e9", 0.1, 0.1, 1.0, 128),
        ("(x + 1e40) - 1e40", 0.1, 0.1, 1.0, 256),
        ("(x + 1e300) - 1e300", 0.1, 0.1, 1.0, 2000),
        ("exp(x) - exp(x) + x", 300.0, 300.0, 1.0, 512),
        ("log(1 + x) / x", 1e-100, 1.0, -0.5, 512),
    ],
)
def test_precision_rises_where_digits_cancel(text: str, x: float, value: float, gradient: float, bits: int) -> None:
    """Cancellation costs precision, not truth."""
    known = known_of(text, x=x)
    found = known.value("f"), known.gradient("x")
    assert [one.midpoint for one in found] == [value, gradient]
    assert [one.reason for one in found] == ["", ""]
    assert max(one.bits for one in found) == bits


def test_the_radius_asked_for_is_reached() -> None:
    """A caller names the radius that is small enough, and gets it with as little precision as it takes."""
    known = known_of("exp(x) - exp(x) + x", x=300.0)
    coarse, fine = known.gradient("x", needed=1e100), known.gradient("x", needed=1e-200)
    assert (coarse.bits, fine.bits) == (128, 2000)
    assert coarse.radius <= 1e100
    assert fine.radius <= 1e-200
    assert known.gradient("x", needed=0.0).reason.startswith("enclosure too wide: its radius is ")
    assert known_of("x * y", x=3.0, y=0.1).gradient("x", needed=0.0).reason == ""


def logistic(steps: int) -> dict[str, str]:
    """The logistic map, iterated: a ball loses two bits with each step."""
    return {"a0": "3.9 * x * (1 - x)"} | {f"a{i + 1}": f"3.9 * a{i} * (1 - a{i})" for i in range(steps)}


def test_an_exploding_map_ends_within_the_budget() -> None:
    """Thousands of steps of a chaotic map end with their reason, soon."""
    graph, inputs, upstream = made(logistic(1500), x=0.3)
    started = time.monotonic()
    one = Reference(graph, ["x"], None).enclose(inputs, upstream).gradient("x")
    assert one.reason.startswith("enclosure too wide: its radius is ")
    assert "2000 bits; digits are lost from multiply in stage 'a" in one.reason
    assert time.monotonic() - started < 60


def test_a_budget_of_work_is_kept() -> None:
    """Where the work runs out, the reason says so, and what was found before is kept."""
    graph, inputs, upstream = made(logistic(300), x=0.3)
    none = Reference(graph, ["x"], None, most_work=0.0).enclose(inputs, upstream).gradient("x")
    assert none.reason == "enclosure too wide: the proof work ran out; --proof-work gives more"
    assert math.isnan(none.midpoint)
    enough = Reference(graph, ["x"], None, most_bits=4000).enclose(inputs, upstream).gradient("x")
    assert enough.reason == ""


def test_towers_of_exponentials_end() -> None:
    """Numbers beyond any range overflow by name instead of filling the memory."""
    one = known_of("exp(exp(exp(exp(exp(x)))))", x=5.0).gradient("x")
    assert "overflows" in one.reason


def test_flints_settings_are_restored() -> None:
    """Precision is global in python-flint: it is left as it was, also where something is raised."""
    before = flint.ctx.prec, flint.ctx.cap
    known_of("exp(x)", x=1.0).gradient("x")
    with precision(77):
        assert (flint.ctx.prec, flint.ctx.cap) == (77, 2)
    with pytest.raises(OutOfWorkError), precision(77):
        raise OutOfWorkError
    assert (flint.ctx.prec, flint.ctx.cap) == before


def test_errors_are_bounded_from_both_sides() -> None:
    """The bounds of an error come from the ball: they are right for answers next to the truth, and for none at all."""
    one = known_of("exp(x)", x=1.0).gradient("x")
    with mpmath.workdps(60):
        for answer in (math.e, math.nextafter(math.e, 3), 2.0, -math.e, 0.0):
            low, high = one.error(answer)
            exact = abs(mpmath.mpf(answer) - mpmath.e)
            assert low <= exact <= high
            assert high - low <= 1e-15 * float(exact)
    assert one.error(math.nan) == one.error(math.inf) == (math.inf, math.inf)
    assert known_of("log(x)", x=-1.0).gradient("x").error(1.0) == (0.0, math.inf)


# ------------------------------------------------------------------------------------------------------------ disputes

SLIGHTLY_MORE = 1 + 2.0**-40
"""A factor that is wrong by 1e-12."""


def disputed(op: str) -> str:
    """Where the roads part in a program that uses the op among others."""
    inputs, stages = program(op, "q * q")
    return known_of(stages, **{name: np.array(value) for name, value in inputs.items()}).disputed


def scaled(column: Callable[..., Any], factor: Any) -> Callable[..., Any]:
    """A column whose result is multiplied."""
    return lambda *args, **params: column(*args, **params) * factor


@pytest.mark.parametrize("op", OPS)
def test_a_wrong_ball_form_or_sympy_form_is_disputed_and_named(op: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A factor of 1 + 1e-12 in either column of any row parts the roads at that row; right rows do not part."""
    assert disputed(op) == ""
    row = OPS[op]
    for planted in (
        replace(row, ball=scaled(row.ball, flint.arb(SLIGHTLY_MORE))),
        with_scaled_form(row, sympy.Rational(SLIGHTLY_MORE)),
    ):
        with monkeypatch.context() as patch:
            patch.setitem(OPS, op, planted)
            found = disputed(op)
        form = "SymPy form" if row.lower is None else "lowering"
        assert found.startswith(f"the {form} and the ball form of {op} in stage "), found
        assert disputed(op) == ""


@pytest.mark.parametrize("op", [name for name, row in OPS.items() if row.elementwise and len(row.flat) < row.arity])
def test_a_wrong_slope_alone_is_disputed_and_named(op: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the values agree and a series' slope is wrong, the local form is named."""
    row = OPS[op]
    form = row.ball
    assert form is not None

    def planted(*args: Any, **params: Any) -> Any:
        y = form(*args, **params)
        return flint.arb_series([y[0], y[1] * SLIGHTLY_MORE]) if isinstance(y, flint.arb_series) else y

    monkeypatch.setitem(OPS, op, replace(row, ball=planted))
    found = disputed(op)
    assert found.startswith(f"the SymPy form and the ball form of {op} in stage "), found
    assert ": the derivative by " in found


def test_a_wrong_rule_of_sympy_is_disputed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A wrong derivative that SymPy makes of a right form is named at the op that shows it."""

    def planted(form: sympy.Expr, symbol: sympy.Symbol) -> sympy.Expr:
        return differentiated(form, symbol) * (sympy.Rational(SLIGHTLY_MORE) if form.has(sympy.tanh) else 1)

    for module in (pieces, closed_forms):
        monkeypatch.setattr(module, "differentiated", planted)
    monkeypatch.setattr(pieces, "_template", pieces._template.__wrapped__)  # which keeps what it has once made
    found = known_of({"u": "exp(x)", "f": "tanh(u) * u"}, x=0.3).disputed
    assert found.startswith("the SymPy form and the ball form of tanh in stage 'f'")


def test_inputs_that_differ_are_disputed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The two roads take the floats for themselves: a wrong conversion in one of them is named."""

    def planted(point: Point) -> Point:
        return {name: x * SLIGHTLY_MORE for name, x in enclosed(point).items()}

    monkeypatch.setattr(reference, "enclosed", planted)
    found = known_of("exp(x)", x=0.3).disputed
    assert found.startswith("the two roads start from different inputs: the value of x is ")


@pytest.mark.parametrize("op", OPS)
def test_vjps_and_forwards_have_no_part_in_it(op: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A wrong vector-Jacobian product, forward or exact column changes no ball."""

    def everything() -> list[Any]:
        known = Reference(graph, list(inputs), prepare_for(graph)).enclose(inputs, upstream)
        assert known.disputed == ""
        return [known.gradient(name, entry) for name in inputs for entry in np.ndindex(graph.shape(name))]

    graph, inputs, upstream = [*tried(op)][-1]
    before = everything()
    row = OPS[op]
    wrong = tuple(scaled(vjp, 2.0) for vjp in row.vjps)
    monkeypatch.setitem(OPS, op, replace(row, vjps=wrong, forward=scaled(row.forward, 2.0), exact=scaled(row.exact, 2)))
    assert everything() == before


def prepare_for(graph: Graph) -> Symbolic:
    """The symbolic method of all inputs and stages."""
    symbolic = prepare(graph, [*graph.inputs, *graph.stages])
    assert isinstance(symbolic, Symbolic)
    return symbolic


def test_the_taylor_road_stands_alone_where_sympy_has_no_form() -> None:
    """Without SymPy the row says so."""
    graph, inputs, upstream = made({"f": "x @ x"}, x=[3.0, 4.0])
    known = Reference(graph, ["x"], None).enclose(inputs, upstream)
    assert (known.road, known.gradient("x", (1,)).road, known.gradient("x", (1,)).midpoint) == ("taylor", "taylor", 8.0)


SPARSE = {
    "s": "sqrt(mean(x**2))",
    "y": "x / s - sum(x) * g",
    "z": "transpose(W)[1] * y + max(y, 0.5) * W[:, 1]",
    "f": "sum(z * y) + sum(W @ y)",
}


def test_entries_that_stand_still_are_not_run_and_nothing_else_is_left_out() -> None:
    """Series that run only what moves give what they give entry by entry, through scalars, moves and sums."""
    graph = graph_from_expressions({"x": (3,), "g": (3,), "W": (3, 3)}, SPARSE)
    rng = np.random.default_rng(0)
    values = {name: rng.normal(size=(1, *graph.shape(name))) for name in ("x", "g", "W")}
    ones = {"f": np.ones(1)}
    engine = Reverse(graph, ["x", "g", "W", "y", "s"]).differentiate(values, ones).gradients
    known = Reference(graph, ["x", "g", "W"], None).enclose(values, ones)
    for name, gradient in engine.items():
        for entry in np.ndindex(graph.shape(name)):
            exact = known.gradient(name, entry).midpoint
            assert abs(exact - gradient[(0, *entry)]) <= 1e-12 * max(1.0, abs(exact)), (name, entry)


TAIL = (
    "case: t\ninputs: {x: {at: 0}}\nstages:\n  s: tanh(x)\n  t: erf(x)\n  f: erfc(exp(exp(tanh(sinh(t) - s)) - 2.75))"
)


@pytest.mark.parametrize(("factor", "confirmed"), [("", True), (" * 1.000001", False)])
def test_a_form_that_needs_a_thousand_bits_is_confirmed_and_a_wrong_one_is_not(factor: str, confirmed: bool) -> None:
    """1 - tanh**2 at 248 is 1e-215 of what it is made of: SymPy's form is held against the truth all the same."""
    graph, theirs = (load_case_text(TAIL + factor_).graph for factor_ in ("", factor))
    form = prepare(theirs, ["x"])
    assert isinstance(form, Symbolic)
    known = Reference(graph, ["x"], form).enclose({"x": np.array([248.0])}, {"f": np.ones(1)})
    assert known.gradient("x", (), 1e-230).road == "taylor"
    assert known.confirms("x", (), 1e-230, is_gradient=True) is confirmed

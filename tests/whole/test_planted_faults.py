"""The tester tested: a fault planted in any column of any row of the op table is caught, and that column is named.

Each fault is one run of a case that uses the op among others. The rule: every failing row names the planted column and
nothing else. What does otherwise is a defect, or stands with its reason in :data:`MISSED`.
"""

# ruff: noqa: ARG005 - a planted column takes the arguments of the one that it replaces

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import flint
import numpy as np
import pytest
import sympy
from programs import program
from spoilt_rows import with_scaled_form

import verify.methods.reverse as engine
from verify.case.case import Case, load_case_text
from verify.case.expression import graph_from_expressions
from verify.cli import main
from verify.graph.interpret import Program
from verify.graph.taylor import precision
from verify.judging.audit import audit
from verify.methods.central import Central
from verify.ops import OPERAND_NAMES, OPS, Op
from verify.ops.axes import spread
from verify.records import CaseResult
from verify.running.runner import run_cases, run_loaded
from verify.running.settings import Settings

Column = Callable[..., Any]

# ------------------------------------------------------------------------------------------------------- the cases

DOMAINS = {"a": "[-0.5, 0.5]", "b": "[0.6, 1.7]"}


def case_text(op: str) -> str:
    """A case file that uses the op among others: they are under suspicion too."""
    inputs, stages = program(op, "q * sigmoid(q)")
    lines = [f"  {name}: {{at: {at}, domain: {DOMAINS[name]}}}\n" for name, at in inputs.items()]
    lines += ["stages:\n", *(f"  {name}: {formula}\n" for name, formula in stages.items())]
    return f"case: a case for {op}\ninputs:\n{''.join(lines)}"


def run(case: Case | str, points: int = 1) -> CaseResult:
    """The result of a case, or of the text of one, at its own points and at random ones."""
    return run_loaded(load_case_text(case) if isinstance(case, str) else case, Settings(points=points))


# ------------------------------------------------------------------------------------------------------ the faults


def scaled(column: Column, factor: Any) -> Column:
    """A column whose result is multiplied by a number."""
    return lambda *args, **params: column(*args, **params) * factor


def first(a: Any, b: Any, **_: Any) -> Any:
    """The first operand alone, in the shape of the result."""
    return a + 0 * b


def first_branch(_a: Any, _b: Any, x: Any, y: Any, **_: Any) -> Any:
    """What is taken on one side, taken on both."""
    return x + 0 * y


def unchanged(a: Any, **_: Any) -> Any:
    """The operand as it came."""
    return a


def upstream_alone(g: Any, y: Any, *_: Any, **__: Any) -> Any:
    """The upstream gradient without the local derivative."""
    return g + 0 * y


LEFT_OUT: Mapping[int, Column] = {1: unchanged, 2: first, 4: first_branch}
"""Number of operands -> what is left of the value of an elementwise row, whichever number system it is in."""

UNIT_SLOPES = ("add", "subtract", "negative", "positive")
"""Elementwise rows whose local derivative is 1 or -1: without it they are right, or have the fault with the sign."""

DROPPED_VALUES: Mapping[str, tuple[Column, Column]] = {
    "matmul": (
        lambda a, b: a @ np.ones_like(b),
        lambda a, b: a @ (b**0 if isinstance(b, np.ndarray) else sympy.OneMatrix(*b.shape)),
    ),
    "sum": (lambda a: np.sum(a[:, :-1], axis=1), lambda a: a[0]),
    "mean": (lambda a: np.sum(a, axis=1), np.sum),
    "transpose": (unchanged, unchanged),
    "index": (lambda a, index: a[:, 1], lambda a, index: a[1]),
}
"""Forward and SymPy form without an operand, a factor or an entry, of rows that work on arrays."""

DROPPED_VJPS: Mapping[str, tuple[Column | None, ...]] = {
    "matmul": (
        lambda g, y, a, b: g @ np.swapaxes(np.ones_like(b), 1, 2),
        lambda g, y, a, b: np.swapaxes(np.ones_like(a), 1, 2) @ g,
    ),
    "mean": (lambda g, y, a: np.broadcast_to(g[:, None], a.shape),),
    "transpose": (lambda g, y, a: g,),
    "index": (lambda g, y, a, index: np.broadcast_to(g[:, None], a.shape),),
    "prod": (lambda g, y, a: spread(g * y, a, None, keepdims=False),),
    "var": (lambda g, y, a: spread(g, a, None, keepdims=False) * a,),
    "std": (lambda g, y, a: spread(g / y, a, None, keepdims=False) * a / 2,),
    "norm": (lambda g, y, a: spread(g, a, None, keepdims=False) * a,),
    "gather": (lambda g, y, a, index: g[:, [0, 2]],),
    "stack": (lambda g, y, *arrays, which: g[:, 0],),
    "concatenate": (lambda g, y, *arrays, which: g[:, :2],),
    "pad": (lambda g, y, a, pad_width: g[:, :2],),
    "flip": (lambda g, y, a: g,),
    "roll": (lambda g, y, a, shift: g,),
    "broadcast_to": (lambda g, y, a, shape: g[:, 0],),
    "cumsum": (lambda g, y, a: g.reshape(a.shape),),
    "cumprod": (lambda g, y, a: (g * y).reshape(a.shape) / a,),
    "amax": (lambda g, y, a, tie: spread(g, a, None, keepdims=False) + 0.0,),
    "trace": (lambda g, y, a: g[:, None, None] * np.ones_like(a),),
    "inverse": (lambda g, y, a: -g,),
    "det": (lambda g, y, a: g[:, None, None] * np.ones_like(a),),
    "logabsdet": (lambda g, y, a: g[:, None, None] * a,),
    "solve": (lambda g, y, a, b: -g[:, :, None] * y[:, None, :], None),
    "cholesky": (lambda g, y, a: g,),
    "avg_pool": (lambda g, y, x, size: np.broadcast_to(g, x.shape),),
    "max_pool": (lambda g, y, x, size, tie: np.broadcast_to(g, x.shape),),
    "amin": (lambda g, y, a, tie: spread(g, a, None, keepdims=False) + 0.0,),
    "softmax": (lambda g, y, a: g * y,),
    "log_softmax": (lambda g, y, a: g,),
    "logsumexp": (lambda g, y, a: spread(g, a, None, keepdims=False) + 0.0,),
}
"""The same of their local derivatives, where they are more than entries moved and added up."""


@dataclass(frozen=True)
class Fault:
    """A row of the table with one column made wrong."""

    place: str
    """``forward``, ``VJP a`` and so on, ``SymPy form``, ``lowering`` or ``ball form``."""
    kind: str
    """``scale``, ``sign`` or ``small`` for a factor, ``plus`` for 1e-6 added, ``drop`` for something left out."""
    row: Op

    @property
    def column(self) -> str:
        """The column as a report names it."""
        return "VJP" if self.place.startswith("VJP") else self.place


FACTORS = {
    "scale": 1 + sympy.Rational(1, 10**6),
    "sign": sympy.Integer(-1),
    "small": 1 + sympy.Rational(1, 10**9),
}


def with_vjp(row: Op, which: int, vjp: Column) -> Op:
    """A row with one VJP replaced."""
    return replace(row, vjps=(*row.vjps[:which], vjp, *row.vjps[which + 1 :]))


def ball_of(factor: sympy.Rational) -> flint.arb:
    """A factor as a ball, with many digits: it is wrong by what it says, and by no rounding of its own."""
    with precision(256):
        return flint.arb(int(factor.p)) / flint.arb(int(factor.q))


def form_of(row: Op) -> str:
    """What SymPy's side reads of a row."""
    return "SymPy form" if row.lower is None else "lowering"


def faults(op: str) -> Iterator[Fault]:
    """All faults that are planted in one row."""
    row = OPS[op]
    for kind, factor in FACTORS.items():
        yield Fault("forward", kind, replace(row, forward=scaled(row.forward, float(factor))))
        yield Fault(form_of(row), kind, with_scaled_form(row, factor))
        yield Fault("ball form", kind, replace(row, ball=scaled(row.ball, ball_of(factor))))
        for which, name in enumerate(OPERAND_NAMES[: row.arity]):
            if which not in row.flat:
                yield Fault(f"VJP {name}", kind, with_vjp(row, which, scaled(row.vjps[which], float(factor))))
    yield Fault("forward", "plus", replace(row, forward=lambda *args, **params: row.forward(*args, **params) + 1e-6))
    yield from dropped(row)


def dropped(row: Op) -> Iterator[Fault]:
    """The faults of a row that leave something out."""
    values, vjps = DROPPED_VALUES.get(row.name), DROPPED_VJPS.get(row.name, ())
    if row.elementwise:
        has_more = row.name not in ("negative", "positive")
        values = (LEFT_OUT[row.arity],) * 2 if has_more else None
        vjps = () if row.name in UNIT_SLOPES else (upstream_alone,) * row.arity
    if values is not None:
        yield Fault("forward", "drop", replace(row, forward=values[0]))
        yield Fault("SymPy form", "drop", replace(row, sympy=values[1]))
    for which, vjp in enumerate(vjps):
        if vjp is not None:
            yield Fault(f"VJP {OPERAND_NAMES[which]}", "drop", with_vjp(row, which, vjp))


# ------------------------------------------------------------------------------------------------------ the matrix

MISSED = {
    # Cholesky's equations hold for the factor with all its signs changed too, and SymPy's side takes positive roots.
    ("cholesky", "SymPy form", "sign"),
}
"""Op, place and kind of the faults that are not found, with the reason."""


def named(fault: Fault, result: CaseResult) -> set[str]:
    """Whom the failing rows name; the planted column stands as ``=``."""
    found = {row.suspect for row in result.failing()}
    return {"=" if suspect == f"{fault.column} of {fault.row.name}" else suspect for suspect in found}


@pytest.mark.parametrize("op", OPS)
def test_every_planted_fault_is_caught_and_named(op: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every failing row names the planted column alone: at the case's own points, the smallest also at a random one."""
    case = load_case_text(case_text(op))
    found = {}
    for fault in faults(op):
        with monkeypatch.context() as patch:
            patch.setitem(OPS, op, fault.row)
            found[fault.place, fault.kind] = named(fault, run(case, int(fault.kind == "small")))
    expected = {place: set() if (op, *place) in MISSED else {"="} for place in found}
    assert expected == found


def test_the_list_of_planted_faults_is_whole() -> None:
    """Each operand's VJP, each column and each kind is there, of every row."""
    planted = [(op, fault.place, fault.kind) for op in OPS for fault in faults(op)]
    assert len(planted) == len(set(planted)) >= 1421
    for op, row in OPS.items():
        slopes = {f"VJP {name}" for which, name in enumerate(OPERAND_NAMES[: row.arity]) if which not in row.flat}
        places = {"forward", form_of(row), "ball form", *slopes}
        for kind in FACTORS:
            assert places == {place for name, place, found in planted if (name, found) == (op, kind)}


def test_a_fault_is_named_in_float32_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rounding of the coarser dtype accuses no column, and hides no fault above it."""
    text = case_text("exp").replace("domain:", "dtype: float32, domain:")
    assert run(text).passes
    monkeypatch.setitem(OPS, "exp", with_vjp(OPS["exp"], 0, scaled(OPS["exp"].vjps[0], np.float32(1.001))))
    assert {"VJP of exp"} == {row.suspect for row in run(text).failing()}


@pytest.mark.parametrize("op", OPS)
def test_without_a_fault_every_case_passes(op: str) -> None:
    """The twin: the same case files, nothing planted, and many more points."""
    result = run(case_text(op), points=64)
    assert [] == [(row.variable, row.reason) for row in result.failing()]
    assert result.passes


def test_the_command_ends_with_1_and_prints_the_suspect(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The same by the command itself, and 0 without the fault."""
    path = tmp_path / "case.yaml"
    path.write_text(case_text("exp"), encoding="utf-8")
    arguments = ["run", str(path), "--points", "4", "--json", str(tmp_path / "run.json")]
    with monkeypatch.context() as patch:
        patch.setitem(OPS, "exp", with_vjp(OPS["exp"], 0, scaled(OPS["exp"].vjps[0], 1 + 1e-6)))
        assert 1 == main(arguments)
    assert "VJP of exp" in capsys.readouterr().out
    assert 0 == main(arguments)
    assert "VJP of exp" not in capsys.readouterr().out


def test_the_exact_column_accuses_nobody_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is asked only where methods part, so that a fault of its own makes no right case fail."""
    monkeypatch.setitem(OPS, "exp", replace(OPS["exp"], exact=lambda a: a))
    assert run(case_text("exp")).passes


# ----------------------------------------------------------------------------------------- faults outside the table

SHARED = """
case: shared
inputs:
  a: {at: [0.3, 0.7, 1.1]}
  c: {at: 0.4}
stages:
  u: exp(a * c)
  f: sum(u * a + c)
"""
"""c is broadcast, and a, c and u are read more than once."""


def last_only(totals: list[Any], position: int, contribution: Any) -> None:
    """``=`` where ``+=`` belongs."""
    totals[position] = contribution


def one_slice(g: Any, shape: tuple[int, ...]) -> Any:
    """Undoes broadcasting by taking one slice where all belong summed."""
    extra = g.ndim - 1 - len(shape)
    g = g[(slice(None), *(0,) * extra)]
    return g[(slice(None), *(slice(0, 1) if size == 1 else slice(None) for size in shape))]


@pytest.mark.parametrize(("name", "wrong"), [("_add_to", last_only), ("unbroadcast", one_slice)])
def test_a_fault_of_the_engine_is_laid_on_the_engine(name: str, wrong: Column, monkeypatch: pytest.MonkeyPatch) -> None:
    """No row of the table is at fault, so the method is named by the signature of the three pairs."""
    assert run(SHARED).passes
    monkeypatch.setattr(engine, name, wrong)
    result = run(SHARED)
    assert {"reverse"} == {row.suspect for row in result.failing()}
    assert any(row.reason.startswith("proved: reverse is off by") for row in result.failing())


def test_broadcasting_that_is_not_undone_at_all_is_an_error_of_that_case_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The gradient does not even have the shape of its variable: told with the case, and the next one runs."""
    monkeypatch.setattr(engine, "unbroadcast", lambda g, shape: g)
    paths = [tmp_path / "shared.yaml", tmp_path / "next.yaml"]
    paths[0].write_text(SHARED, encoding="utf-8")
    paths[1].write_text("{case: next, inputs: {x: {at: 1}}, stages: {f: exp(x)}}", encoding="utf-8")
    run = run_cases(paths, Settings(points=2))
    assert ["ERROR", "PASS"] == [case.status for case in run.cases]
    assert str(paths[0]) in run.cases[0].problems[0]


@pytest.mark.parametrize("divisor", [2.0, 1 + 1e-4])
def test_a_wrong_divisor_is_laid_on_central(divisor: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where it is wrong by as little as central differences can show."""
    right = Central._difference

    def wrong(self: Central, *args: Any, **keywords: Any) -> Any:
        quotient, size = right(self, *args, **keywords)
        return quotient / divisor, size

    monkeypatch.setattr(Central, "_difference", wrong)
    result = run(SHARED)
    assert {"central"} == {row.suspect.partition(":")[0] for row in result.failing()}


# ------------------------------------------------------------------------------------------------------- the audit


@pytest.mark.parametrize("x", [-700.0, -40.0, -1.0, 0.0, 0.5, 27.0, 300.0])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_the_audit_contradicts_no_right_row(x: float, dtype: Any) -> None:
    """Saturated slopes, ties, overflow, scalars that are summed: what is right is never accused, in either dtype."""
    graph = graph_from_expressions(
        {"x": (), "W": (3, 4), "v": (4,)},
        {
            "q": "tanh(x) * exp(x) + sigmoid(x) - x**3 / 7",
            "r": "sum(tanh(W @ v)) + mean(q) + sum(W[0, 1:]) * sum(transpose(W))",
            "f": "max(x, 3) + min(x, 0.5) * relu(0 * x) + abs(q) + sqrt(abs(x) + 1) * log(2 + x * x) ** x + r",
        },
    )
    at = {"x": np.array([x], dtype), "W": np.full((1, 3, 4), 0.7, dtype), "v": np.full((1, 4), 9.0, dtype)}
    assert [] == audit(graph, Program(graph).run(at))


def test_the_audit_finds_a_fault_at_a_tie(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where every convention is its own, the columns are held to account beside the tie."""
    graph = graph_from_expressions({"x": ()}, {"f": "relu(x)"})
    values = Program(graph).run({"x": np.zeros(1)})
    assert [] == audit(graph, values)
    monkeypatch.setitem(OPS, "relu", with_vjp(OPS["relu"], 0, upstream_alone))
    assert ["VJP of relu"] == [finding.suspect for finding in audit(graph, values)]

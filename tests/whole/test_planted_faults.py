"""The tester tested: a fault planted in any column of any row of the op table is caught, and that column is named.

The confusion matrix, planted fault x named suspect, is :data:`MATRIX`. Each cell of it is one run of the whole
command on a case file that uses the op among others; ``=`` means that every failing row names the planted column and
nothing else. A cell that reads anything else is a defect, or its reason stands beside the matrix.
"""

# ruff: noqa: ARG005 - a planted column takes the arguments of the one that it replaces

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import flint
import matrix_rows
import numpy as np
import pytest
import sympy
from array_rows import IN_STAGES as ARRAY_STAGES
from array_rows import with_scaled_form

import verify.methods.reverse as engine
from verify.case.expression import graph_from_expressions
from verify.cli import main
from verify.graph.interpret import Program
from verify.graph.taylor import precision
from verify.judging.audit import audit
from verify.methods.central import Central
from verify.ops import OPERAND_NAMES, OPS, Op
from verify.ops.axes import spread
from verify.records import CaseResult, Run
from verify.running.runner import run_cases
from verify.running.settings import Settings

Column = Callable[..., Any]
IN_STAGES: Mapping[str, str] = {**ARRAY_STAGES, **matrix_rows.IN_STAGES}

# ------------------------------------------------------------------------------------------------------- the cases

STAGES: Mapping[str, str] = {
    "add": "u + b",
    "subtract": "u - b",
    "multiply": "u * b",
    "divide": "u / b",
    "power": "u ** b",
    "power_constant": "u ** 3",
    "negative": "-u",
    "positive": "+u",
    "exp": "exp(u)",
    "log": "log(u)",
    "sqrt": "sqrt(u)",
    "sigmoid": "sigmoid(u)",
    "tanh": "tanh(u)",
    "sin": "sin(u)",
    "cos": "cos(u)",
    "erf": "erf(u)",
    "cbrt": "cbrt(u)",
    "square": "square(u)",
    "reciprocal": "reciprocal(u)",
    "expm1": "expm1(u)",
    "log1p": "log1p(u)",
    "log2": "log2(u)",
    "log10": "log10(u)",
    "softplus": "softplus(u)",
    "sinh": "sinh(u)",
    "cosh": "cosh(u)",
    "arcsinh": "arcsinh(u)",
    "arccosh": "arccosh(u + 1)",
    "arctanh": "arctanh(u / 2)",
    "tan": "tan(u / 2)",
    "arcsin": "arcsin(u / 2)",
    "arccos": "arccos(u / 2)",
    "arctan": "arctan(u)",
    "arctan2": "arctan2(u, b)",
    "erfc": "erfc(u)",
    "gamma": "gamma(u)",
    "lgamma": "lgamma(u)",
    "max": "max(u, b)",
    "min": "min(u, b)",
    "relu": "relu(u - 1)",
    "abs": "abs(u - 1)",
    "leaky_relu": "leaky_relu(u - 1, 0.1)",
    "elu": "elu(u - 1, 0.5)",
    "clip": "clip(u, 0.8, 1.2)",
    "where": "where(u > b, u * b, b * b)",
    "where_or_equal": "where(u >= b, u * b, b * b)",
    "hypot": "hypot(u, b)",
    "floor": "floor(3 * u) * u",
    "ceil": "ceil(3 * u) * u",
    "sign": "sign(u - 1)",
    "matmul": "u @ b",
    "sum": "sum(u)",
    "mean": "mean(u)",
    "transpose": "transpose(u)",
    "index": "u[0]",
    **IN_STAGES,
}
"""Op -> the stage that uses it; u = exp(a) comes before it and a sum of q * sigmoid(q) after, so that neighbours are
under suspicion too. The domain of a lets u fall on either side of b and of 1."""


def case_text(op: str) -> str:
    """A case file that uses the op among others, at points where every operand matters."""
    shape = "[2, 2]" if op in {"matmul", "transpose"} else "[2]"
    b = "" if not re.search(r"\bb\b", STAGES[op]) else f"  b: {{shape: {shape}, at: uniform, domain: [0.6, 1.7]}}\n"
    return (
        f"case: a case for {op}\ninputs:\n  a: {{shape: {shape}, at: uniform, domain: [-0.5, 0.5]}}\n{b}"
        f"stages:\n  u: exp(a)\n  q: {STAGES[op]}\n  f: {'mean' if op == 'sum' else 'sum'}(q * sigmoid(q))\n"
    )


def run_text(text: str, folder: Path, points: int = 6) -> CaseResult:
    """The result of one case file; its exit code says the same as its rows."""
    path = folder / "case.yaml"
    path.write_text(text, encoding="utf-8")
    run: Run = run_cases([path], Settings(points=points))
    (result,) = run.cases
    assert not result.problems, result.problems
    assert run.exit_code == int(not result.passes)
    return result


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


SMOOTH = (
    "power_constant", "exp", "log", "sqrt", "tanh", "sin", "cos", "erf", "cbrt", "square", "reciprocal",
    "expm1", "log1p", "log2", "log10", "softplus", "sinh", "cosh", "arcsinh", "arccosh", "arctanh",
    "tan", "arcsin", "arccos", "arctan", "erfc", "gamma", "lgamma",
)  # fmt: skip
"""Rows of one operand with a slope of their own."""

ONE_KINK = ("relu", "abs", "leaky_relu", "elu", "clip")
"""Rows of one operand with branches."""

DROPPED_FORWARD: Mapping[str, Column] = {
    **dict.fromkeys(("add", "subtract", "multiply", "divide", "power", "max", "min", "hypot", "arctan2"), first),
    **dict.fromkeys((*SMOOTH, *ONE_KINK, "sign", "floor", "ceil", "transpose"), unchanged),
    **dict.fromkeys(("where", "where_or_equal"), first_branch),
    "sigmoid": np.exp,
    "matmul": lambda a, b: a @ np.ones_like(b),
    "sum": lambda a: np.sum(a[:, :-1], axis=1),
    "mean": lambda a: np.sum(a, axis=1),
    "index": lambda a, index: a[:, 1],
}
"""An operand or a factor left out of the value; negative and positive have none to lose."""

DROPPED_SYMPY: Mapping[str, Column] = {
    **{name: column for name, column in DROPPED_FORWARD.items() if column in (first, unchanged, first_branch)},
    "sigmoid": sympy.exp,
    "matmul": lambda a, b: a @ (b**0 if isinstance(b, np.ndarray) else sympy.OneMatrix(*b.shape)),
    "sum": lambda a: a[0],
    "mean": np.sum,
    "index": lambda a, index: a[1],
}

DROPPED_VJPS: Mapping[str, tuple[Column | None, ...]] = {
    "multiply": (upstream_alone, upstream_alone),
    "divide": (upstream_alone, upstream_alone),
    "power": (upstream_alone, upstream_alone),
    **dict.fromkeys((*SMOOTH, *ONE_KINK, "sigmoid", "sign", "floor", "ceil"), (upstream_alone,)),
    **dict.fromkeys(("where", "where_or_equal"), (upstream_alone,) * 4),
    "max": (upstream_alone, upstream_alone),
    "min": (upstream_alone, upstream_alone),
    "hypot": (upstream_alone, upstream_alone),
    "arctan2": (upstream_alone, upstream_alone),
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
"""The local derivative left out; where it is 1 or -1 that is no fault, or the one with the sign."""


@dataclass(frozen=True)
class Fault:
    """A row of the table with one column made wrong."""

    place: str
    """``forward``, ``VJP a`` and so on, ``SymPy form``, ``lowering`` or ``ball form``."""
    kind: str
    row: Op

    @property
    def column(self) -> str:
        """The column as a report names it."""
        return "VJP" if self.place.startswith("VJP") else self.place


def with_vjp(row: Op, which: int, vjp: Column) -> Op:
    """A row with one VJP replaced."""
    return replace(row, vjps=(*row.vjps[:which], vjp, *row.vjps[which + 1 :]))


def ball_of(factor: sympy.Rational) -> flint.arb:
    """A factor as a ball, with many digits: it is wrong by what it says, and by no rounding of its own."""
    with precision(256):
        return flint.arb(int(factor.p)) / flint.arb(int(factor.q))


def faults(op: str) -> Iterator[Fault]:
    """All faults that are planted in one row."""
    row = OPS[op]
    factors = {"scale": sympy.Rational(1_000_001, 1_000_000), "sign": sympy.Integer(-1),
               "small": sympy.Rational(1_000_000_001, 1_000_000_000)}  # fmt: skip
    for kind, factor in factors.items():
        yield Fault("forward", kind, replace(row, forward=scaled(row.forward, float(factor))))
        yield Fault("SymPy form" if row.lower is None else "lowering", kind, with_scaled_form(row, factor))
        yield Fault("ball form", kind, replace(row, ball=scaled(row.ball, ball_of(factor))))
        for which, name in enumerate(OPERAND_NAMES[: row.arity]):
            if which not in row.flat:
                yield Fault(f"VJP {name}", kind, with_vjp(row, which, scaled(row.vjps[which], float(factor))))
    yield Fault("forward", "plus", replace(row, forward=lambda *args, **params: row.forward(*args, **params) + 1e-6))
    if op in DROPPED_FORWARD:
        yield Fault("forward", "drop", replace(row, forward=DROPPED_FORWARD[op]))
        yield Fault("SymPy form", "drop", replace(row, sympy=DROPPED_SYMPY[op]))
    for which, (name, vjp) in enumerate(zip(OPERAND_NAMES, DROPPED_VJPS.get(op, ()), strict=False)):
        if vjp is not None:
            yield Fault(f"VJP {name}", "drop", with_vjp(row, which, vjp))


# ------------------------------------------------------------------------------------------------------ the matrix

KINDS = ("scale", "sign", "drop", "small", "plus")
"""1 + 1e-6, -1, a factor or an operand left out, 1 + 1e-9, and (forward alone) 1e-6 added."""

MATRIX = """
op              planted in   scale  sign   drop   small  plus
add             forward      =      =      =      =      =
add             VJP a        =      =      -      =      -
add             VJP b        =      =      -      =      -
add             SymPy form   =      =      =      =      -
add             ball form    =      =      -      =      -
subtract        forward      =      =      =      =      =
subtract        VJP a        =      =      -      =      -
subtract        VJP b        =      =      -      =      -
subtract        SymPy form   =      =      =      =      -
subtract        ball form    =      =      -      =      -
multiply        forward      =      =      =      =      =
multiply        VJP a        =      =      =      =      -
multiply        VJP b        =      =      =      =      -
multiply        SymPy form   =      =      =      =      -
multiply        ball form    =      =      -      =      -
divide          forward      =      =      =      =      =
divide          VJP a        =      =      =      =      -
divide          VJP b        =      =      =      =      -
divide          SymPy form   =      =      =      =      -
divide          ball form    =      =      -      =      -
power           forward      =      =      =      =      =
power           VJP a        =      =      =      =      -
power           VJP b        =      =      =      =      -
power           SymPy form   =      =      =      =      -
power           ball form    =      =      -      =      -
power_constant  forward      =      =      =      =      =
power_constant  VJP a        =      =      =      =      -
power_constant  SymPy form   =      =      =      =      -
power_constant  ball form    =      =      -      =      -
negative        forward      =      =      -      =      =
negative        VJP a        =      =      -      =      -
negative        SymPy form   =      =      -      =      -
negative        ball form    =      =      -      =      -
positive        forward      =      =      -      =      =
positive        VJP a        =      =      -      =      -
positive        SymPy form   =      =      -      =      -
positive        ball form    =      =      -      =      -
exp             forward      =      =      =      =      =
exp             VJP a        =      =      =      =      -
exp             SymPy form   =      =      =      =      -
exp             ball form    =      =      -      =      -
log             forward      =      =      =      =      =
log             VJP a        =      =      =      =      -
log             SymPy form   =      =      =      =      -
log             ball form    =      =      -      =      -
sqrt            forward      =      =      =      =      =
sqrt            VJP a        =      =      =      =      -
sqrt            SymPy form   =      =      =      =      -
sqrt            ball form    =      =      -      =      -
sigmoid         forward      =      =      =      =      =
sigmoid         VJP a        =      =      =      =      -
sigmoid         SymPy form   =      =      =      =      -
sigmoid         ball form    =      =      -      =      -
tanh            forward      =      =      =      =      =
tanh            VJP a        =      =      =      =      -
tanh            SymPy form   =      =      =      =      -
tanh            ball form    =      =      -      =      -
sin             forward      =      =      =      =      =
sin             VJP a        =      =      =      =      -
sin             SymPy form   =      =      =      =      -
sin             ball form    =      =      -      =      -
cos             forward      =      =      =      =      =
cos             VJP a        =      =      =      =      -
cos             SymPy form   =      =      =      =      -
cos             ball form    =      =      -      =      -
erf             forward      =      =      =      =      =
erf             VJP a        =      =      =      =      -
erf             SymPy form   =      =      =      =      -
erf             ball form    =      =      -      =      -
cbrt            forward      =      =      =      =      =
cbrt            VJP a        =      =      =      =      -
cbrt            SymPy form   =      =      =      =      -
cbrt            ball form    =      =      -      =      -
square          forward      =      =      =      =      =
square          VJP a        =      =      =      =      -
square          SymPy form   =      =      =      =      -
square          ball form    =      =      -      =      -
reciprocal      forward      =      =      =      =      =
reciprocal      VJP a        =      =      =      =      -
reciprocal      SymPy form   =      =      =      =      -
reciprocal      ball form    =      =      -      =      -
expm1           forward      =      =      =      =      =
expm1           VJP a        =      =      =      =      -
expm1           SymPy form   =      =      =      =      -
expm1           ball form    =      =      -      =      -
log1p           forward      =      =      =      =      =
log1p           VJP a        =      =      =      =      -
log1p           SymPy form   =      =      =      =      -
log1p           ball form    =      =      -      =      -
log2            forward      =      =      =      =      =
log2            VJP a        =      =      =      =      -
log2            SymPy form   =      =      =      =      -
log2            ball form    =      =      -      =      -
log10           forward      =      =      =      =      =
log10           VJP a        =      =      =      =      -
log10           SymPy form   =      =      =      =      -
log10           ball form    =      =      -      =      -
softplus        forward      =      =      =      =      =
softplus        VJP a        =      =      =      =      -
softplus        SymPy form   =      =      =      =      -
softplus        ball form    =      =      -      =      -
sinh            forward      =      =      =      =      =
sinh            VJP a        =      =      =      =      -
sinh            SymPy form   =      =      =      =      -
sinh            ball form    =      =      -      =      -
cosh            forward      =      =      =      =      =
cosh            VJP a        =      =      =      =      -
cosh            SymPy form   =      =      =      =      -
cosh            ball form    =      =      -      =      -
arcsinh         forward      =      =      =      =      =
arcsinh         VJP a        =      =      =      =      -
arcsinh         SymPy form   =      =      =      =      -
arcsinh         ball form    =      =      -      =      -
arccosh         forward      =      =      =      =      =
arccosh         VJP a        =      =      =      =      -
arccosh         SymPy form   =      =      =      =      -
arccosh         ball form    =      =      -      =      -
arctanh         forward      =      =      =      =      =
arctanh         VJP a        =      =      =      =      -
arctanh         SymPy form   =      =      =      =      -
arctanh         ball form    =      =      -      =      -
tan             forward      =      =      =      =      =
tan             VJP a        =      =      =      =      -
tan             SymPy form   =      =      =      =      -
tan             ball form    =      =      -      =      -
arcsin          forward      =      =      =      =      =
arcsin          VJP a        =      =      =      =      -
arcsin          SymPy form   =      =      =      =      -
arcsin          ball form    =      =      -      =      -
arccos          forward      =      =      =      =      =
arccos          VJP a        =      =      =      =      -
arccos          SymPy form   =      =      =      =      -
arccos          ball form    =      =      -      =      -
arctan          forward      =      =      =      =      =
arctan          VJP a        =      =      =      =      -
arctan          SymPy form   =      =      =      =      -
arctan          ball form    =      =      -      =      -
arctan2         forward      =      =      =      =      =
arctan2         VJP a        =      =      =      =      -
arctan2         VJP b        =      =      =      =      -
arctan2         SymPy form   =      =      =      =      -
arctan2         ball form    =      =      -      =      -
erfc            forward      =      =      =      =      =
erfc            VJP a        =      =      =      =      -
erfc            SymPy form   =      =      =      =      -
erfc            ball form    =      =      -      =      -
gamma           forward      =      =      =      =      =
gamma           VJP a        =      =      =      =      -
gamma           SymPy form   =      =      =      =      -
gamma           ball form    =      =      -      =      -
lgamma          forward      =      =      =      =      =
lgamma          VJP a        =      =      =      =      -
lgamma          SymPy form   =      =      =      =      -
lgamma          ball form    =      =      -      =      -
max             forward      =      =      =      =      =
max             VJP a        =      =      =      =      -
max             VJP b        =      =      =      =      -
max             SymPy form   =      =      =      =      -
max             ball form    =      =      -      =      -
min             forward      =      =      =      =      =
min             VJP a        =      =      =      =      -
min             VJP b        =      =      =      =      -
min             SymPy form   =      =      =      =      -
min             ball form    =      =      -      =      -
relu            forward      =      =      =      =      =
relu            VJP a        =      =      =      =      -
relu            SymPy form   =      =      =      =      -
relu            ball form    =      =      -      =      -
abs             forward      =      =      =      =      =
abs             VJP a        =      =      =      =      -
abs             SymPy form   =      =      =      =      -
abs             ball form    =      =      -      =      -
leaky_relu      forward      =      =      =      =      =
leaky_relu      VJP a        =      =      =      =      -
leaky_relu      SymPy form   =      =      =      =      -
leaky_relu      ball form    =      =      -      =      -
elu             forward      =      =      =      =      =
elu             VJP a        =      =      =      =      -
elu             SymPy form   =      =      =      =      -
elu             ball form    =      =      -      =      -
clip            forward      =      =      =      =      =
clip            VJP a        =      =      =      =      -
clip            SymPy form   =      =      =      =      -
clip            ball form    =      =      -      =      -
where           forward      =      =      =      =      =
where           VJP a        -      -      =      -      -
where           VJP b        -      -      =      -      -
where           VJP x        =      =      =      =      -
where           VJP y        =      =      =      =      -
where           SymPy form   =      =      =      =      -
where           ball form    =      =      -      =      -
where_or_equal  forward      =      =      =      =      =
where_or_equal  VJP a        -      -      =      -      -
where_or_equal  VJP b        -      -      =      -      -
where_or_equal  VJP x        =      =      =      =      -
where_or_equal  VJP y        =      =      =      =      -
where_or_equal  SymPy form   =      =      =      =      -
where_or_equal  ball form    =      =      -      =      -
hypot           forward      =      =      =      =      =
hypot           VJP a        =      =      =      =      -
hypot           VJP b        =      =      =      =      -
hypot           SymPy form   =      =      =      =      -
hypot           ball form    =      =      -      =      -
sign            forward      =      =      =      =      =
sign            VJP a        -      -      =      -      -
sign            SymPy form   =      =      =      =      -
sign            ball form    =      =      -      =      -
floor           forward      =      =      =      =      =
floor           VJP a        -      -      =      -      -
floor           SymPy form   =      =      =      =      -
floor           ball form    =      =      -      =      -
ceil            forward      =      =      =      =      =
ceil            VJP a        -      -      =      -      -
ceil            SymPy form   =      =      =      =      -
ceil            ball form    =      =      -      =      -
matmul          forward      =      =      =      =      =
matmul          VJP a        =      =      =      =      -
matmul          VJP b        =      =      =      =      -
matmul          SymPy form   =      =      =      =      -
matmul          ball form    =      =      -      =      -
sum             forward      =      =      =      =      =
sum             VJP a        =      =      -      =      -
sum             SymPy form   =      =      =      =      -
sum             ball form    =      =      -      =      -
mean            forward      =      =      =      =      =
mean            VJP a        =      =      =      =      -
mean            SymPy form   =      =      =      =      -
mean            ball form    =      =      -      =      -
transpose       forward      =      =      =      =      =
transpose       VJP a        =      =      =      =      -
transpose       SymPy form   =      =      =      =      -
transpose       ball form    =      =      -      =      -
index           forward      =      =      =      =      =
index           VJP a        =      =      =      =      -
index           SymPy form   =      =      =      =      -
index           ball form    =      =      -      =      -
"""

BOTH = ("dot", "outer", "solve", "conv1d", "conv2d")
"""Rows of the next table with a second operand."""

ARRAY_MATRIX = "".join(
    f"{op:15} forward      =      =      -      =      =\n"
    f"{op:15} VJP a        =      =      {'=' if op in DROPPED_VJPS else '-'}      =      -\n"
    + (f"{op:15} VJP b        =      =      -      =      -\n" if op in BOTH else "")
    + f"{op:15} {'SymPy form' if OPS[op].lower is None else 'lowering  '}   =      "
    + f"{'missed' if op == 'cholesky' else '='}      -      =      -\n"
    f"{op:15} ball form    =      =      -      =      -\n"
    for op in IN_STAGES
)
"""The same for the rows that work on whole arrays. Every cell of both is on the diagonal; one that is not would read
who was named instead, with the reason beside it here: Cholesky's equations hold for the factor with all its signs
changed too, and SymPy's side takes the positive roots."""


def expected_cells(op: str) -> dict[tuple[str, str], str]:
    """What the matrix says of one op: column and kind of fault to the named suspect; ``-`` for no such fault."""
    cells: dict[tuple[str, str], str] = {}
    for line in (MATRIX + ARRAY_MATRIX).strip().splitlines()[1:]:
        name, place, *found = [part.strip() for part in line.split("  ") if part.strip()]
        if name == op:
            cells |= {(place, kind): cell for kind, cell in zip(KINDS, found, strict=True) if cell != "-"}
    return cells


def cell(fault: Fault, op: str, result: CaseResult) -> str:
    """``=`` where every failing row names the planted column, else whom they name."""
    named = {row.suspect for row in result.failing()}
    return "=" if named == {f"{fault.column} of {op}"} else " + ".join(sorted(named)) or "missed"


@pytest.mark.parametrize("op", OPS)
def test_every_planted_fault_is_caught_and_named(op: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The matrix of one op is the committed one."""
    found = {}
    for fault in faults(op):
        with monkeypatch.context() as patch:
            patch.setitem(OPS, op, fault.row)
            found[fault.place, fault.kind] = cell(fault, op, run_text(case_text(op), tmp_path))
    assert expected_cells(op) == found


def test_a_fault_is_named_in_float32_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rounding of the coarser dtype accuses no column, and hides no fault above it."""
    text = case_text("exp").replace("at: uniform", "at: uniform, dtype: float32")
    assert run_text(text, tmp_path).passes
    monkeypatch.setitem(OPS, "exp", with_vjp(OPS["exp"], 0, scaled(OPS["exp"].vjps[0], np.float32(1.001))))
    assert {"VJP of exp"} == {row.suspect for row in run_text(text, tmp_path).failing()}


@pytest.mark.parametrize("op", OPS)
def test_without_a_fault_every_case_passes(op: str, tmp_path: Path) -> None:
    """The twin: the same case files, nothing planted, and many more points."""
    result = run_text(case_text(op), tmp_path, points=64)
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


def test_the_exact_column_accuses_nobody_by_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is asked only where methods part, so that a fault of its own makes no right case fail."""
    monkeypatch.setitem(OPS, "exp", replace(OPS["exp"], exact=lambda a: a))
    assert run_text(case_text("exp"), tmp_path).passes


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
def test_a_fault_of_the_engine_is_laid_on_the_engine(
    name: str, wrong: Column, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No row of the table is at fault, so the method is named by the signature of the three pairs."""
    assert run_text(SHARED, tmp_path).passes
    monkeypatch.setattr(engine, name, wrong)
    result = run_text(SHARED, tmp_path)
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
def test_a_wrong_divisor_is_laid_on_central(divisor: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where it is wrong by as little as central differences can show."""
    right = Central._difference

    def wrong(self: Central, *args: Any, **keywords: Any) -> Any:
        quotient, size = right(self, *args, **keywords)
        return quotient / divisor, size

    monkeypatch.setattr(Central, "_difference", wrong)
    result = run_text(SHARED, tmp_path)
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

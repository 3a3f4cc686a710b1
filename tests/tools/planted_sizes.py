"""How small a fault is caught: planted relative faults of 1e-3 to 1e-12, by size and by method, counted and printed.

    python tests/tools/planted_sizes.py [SIZE ...]

A fault is planted in a row of the op table: its vector-Jacobian product for ``reverse``, its SymPy form for
``symbolic``; in ``central`` the difference quotient is scaled. It is caught where a row at a proved point (the case's
own, or one of the first random ones) comes out FAIL or DISPUTED. The cases are well-conditioned: add, neuron, staged,
matmul, and a chain of 51 ops. A fault planted in an answer itself, ten times what :attr:`Row.allowed` says of that very
row, is caught in every row (:func:`row_by_row`). ``tests/whole/test_planted_sizes.py`` runs a part of this.
"""

# ruff: noqa: T201 (a command prints)

from __future__ import annotations

import math
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any
from unittest import mock

import sympy

from verify.case.case import Case, load_case_text
from verify.case.files import shipped_cases
from verify.graph.derivative import Derivative
from verify.judging.context import PROVED_POINTS
from verify.methods.central import Central
from verify.methods.reverse import Reverse
from verify.ops import OPS, Op
from verify.records import Row
from verify.running.runner import run_loaded
from verify.running.settings import Settings
from verify.words import Verdict

SIZES = tuple(10.0**-n for n in range(3, 13))
"""Relative sizes of the faults."""

LEAST: Mapping[tuple[str, str], float] = {
    ("reverse", "float64"): 1e-12,
    ("symbolic", "float64"): 1e-12,
    ("central", "float64"): 1e-8,
    ("reverse", "float32"): 1e-5,
    ("symbolic", "float32"): 1e-5,
}
"""Method and dtype -> down to which size every fault is to be caught."""

TIMES = 10
"""How often what is allowed a fault in an answer is, where every row has to see it."""


def chain(stages: int = 17) -> str:
    """A chain of three ops a stage, each a half and a sigmoid of the one before: no digit is lost on the way."""
    lines = [f"  s{i}: sigmoid(s{i - 1}) + s{i - 1} * 0.5" for i in range(1, stages)]
    first = "  s0: sigmoid(x) + x * 0.5"
    return "\n".join(["case: chain", "inputs:", "  x: {at: 0.7}", "stages:", first, *lines, ""])


def case_texts() -> dict[str, str]:
    """The cases by name, as case files."""
    shipped = ("add", "sigmoid_neuron", "staged_function", "matmul")
    texts = {name: (shipped_cases() / "notes" / f"{name}.yaml").read_text(encoding="utf-8") for name in shipped}
    smaller = texts["matmul"].replace("{m: 5, k: 10, n: 3}", "{m: 2, k: 3, n: 2}")
    return texts | {"matmul": smaller, "chain": chain()}


def in_float32(text: str) -> str:
    """The same case with inputs in float32, and without figures, which are those of other inputs."""
    lines = []
    inside = ""
    for line in text.splitlines():
        if line and not line.startswith((" ", "#")):
            inside = line.split(":")[0]
        if inside in {"expect", "points"}:
            continue
        if inside == "inputs" and line.rstrip().endswith("}"):
            line = line.rstrip()[:-1] + ", dtype: float32}"  # noqa: PLW2901
        lines.append(line)
    return "\n".join(lines) + "\n"


@dataclass(frozen=True)
class Fault:
    """One planted fault."""

    method: str
    place: str
    """``VJP a of exp``, ``SymPy form of exp``, or ``quotient``."""
    row: Op | None = None
    factor: float = 1.0

    @contextmanager
    def planted(self) -> Iterator[None]:
        """Inside, the fault is there."""
        if self.row is not None:
            with mock.patch.dict(OPS, {self.row.name: self.row}):
                yield
            return
        right, factor = Central._difference, self.factor

        def wrong(self: Central, *args: Any, **keywords: Any) -> Any:
            quotient, size = right(self, *args, **keywords)
            return quotient * quotient.dtype.type(factor), size

        with mock.patch.object(Central, "_difference", wrong):
            yield


def faults(case: Case, method: str, size: float) -> Iterator[Fault]:
    """Every fault of one size that can be planted in one method for one case."""
    if method == "central":
        yield Fault(method, "quotient", None, 1 + size)
        return
    for op, operands in _used(case).items():
        row = OPS[op]
        if method == "symbolic":
            factor = 1 + sympy.Rational(1, round(1 / size))
            yield Fault(method, f"SymPy form of {op}", replace(row, sympy=_scaled(row.sympy, factor)))
            continue
        for which in sorted(operands):
            vjp = row.vjps[which]
            vjps = (*row.vjps[:which], _scaled(vjp, 1 + size), *row.vjps[which + 1 :])
            yield Fault(method, f"VJP {'ab'[which]} of {op}", replace(row, vjps=vjps))


def _used(case: Case) -> dict[str, set[int]]:
    """Op -> which of its operands depend on a variable anywhere; the VJP of 1 in 1 / x is never asked for."""
    graph = case.graph
    moving = {graph.position(item.name) for item in case.real_inputs}
    moving |= set(graph.depends_on(sorted(moving)))
    used: dict[str, set[int]] = {}
    for node in graph.nodes:
        for which, arg in enumerate(node.args):
            if arg in moving:
                used.setdefault(node.op, set()).add(which)
    return used


def _scaled(column: Any, factor: Any) -> Any:
    return lambda *args, **params: column(*args, **params) * factor


def is_caught(case: Case, fault: Fault) -> bool:
    """Whether a row at a point where every row is proved says that something is wrong."""
    with fault.planted():
        result = run_loaded(case, Settings(points=PROVED_POINTS))
    return not result.passes and any(row.verdict in (Verdict.FAIL, Verdict.DISPUTED) for row in result.failing())


def missed(text: str, method: str, size: float) -> tuple[int, list[str]]:
    """How many faults of one size were planted in one case, and which were not caught."""
    case = load_case_text(text)
    planted = list(faults(case, method, size))
    return len(planted), [fault.place for fault in planted if not is_caught(case, fault)]


# ------------------------------------------------------------------------------------------------------- row by row


def row_by_row(text: str, method: str, times: float = TIMES) -> tuple[int, list[str]]:
    """How many rows were made wrong by ``times`` what they allow or more, and which of them did not fail.

    The answers of one variable are scaled together, by what its most generous row allows. Symbolic answers are left
    out: where SymPy's formula is right, an answer that is off is rounding, and is said to be.
    """
    case = load_case_text(text)
    right = run_loaded(case, Settings(points=0))
    assert right.passes
    count, passed = 0, []
    for variable in right.variables:
        rows = [row for row in map(variable.row, range(len(variable.rows))) if row.quantity == "gradient"]
        sizes = [_room(row, method) / abs(row.reference) for row in rows if row.reference]
        if not sizes or not math.isfinite(max(sizes)):
            continue
        factor = 1 + times * max(sizes)
        with _answers_scaled(method, variable.name, factor):
            result = run_loaded(case, Settings(points=0))
        (found,) = (v for v in result.variables if (v.name, v.quantity) == (variable.name, "gradient"))
        seen = [row for row in map(found.row, range(len(found.rows))) if row.reference]
        count += len(seen)
        passed += [f"{row.variable}{list(row.entry)} x {factor!r}" for row in seen if not _fails(row, method)]
    return count, passed


def _room(row: Row, method: str) -> float:
    return row.allowed + (row.step_error if method == "central" else 0.0)


def _fails(row: Row, method: str) -> bool:
    return row.verdict is Verdict.FAIL and method in row.suspect


@contextmanager
def _answers_scaled(method: str, variable: str, factor: float) -> Iterator[None]:
    """Inside, one method's gradients by one variable are scaled, whenever it is asked for floats."""
    if method == "central":
        quotient = Central._difference

        def wrong_quotient(self: Central, name: str, *args: Any, **keywords: Any) -> Any:
            found, size = quotient(self, name, *args, **keywords)
            return (found * factor if name == variable else found), size

        with mock.patch.object(Central, "_difference", wrong_quotient):
            yield
        return
    right = Reverse.differentiate

    def wrong(self: Reverse, inputs: Any, upstream: Any) -> Derivative:
        answer: Derivative = right(self, inputs, upstream)
        gradients = {name: x * (factor if name == variable else 1.0) for name, x in answer.gradients.items()}
        return Derivative(answer.values, gradients)

    with mock.patch.object(Reverse, "differentiate", wrong):
        yield


# ------------------------------------------------------------------------------------------------------- the command


def main() -> int:
    """Prints caught / planted by size and method; 1 where a fault that is to be caught was not."""
    texts = case_texts()
    wanted = True
    print(f"{'size':>8} " + " ".join(f"{method:>9} {dtype:>8}" for method, dtype in (*LEAST, ("central", "float32"))))
    for size in map(float, sys.argv[1:]) if sys.argv[1:] else SIZES:
        cells = []
        for method, dtype in (*LEAST, ("central", "float32")):
            count, lost = 0, []
            for name, text in texts.items():
                planted, places = missed(in_float32(text) if dtype == "float32" else text, method, size)
                count += planted
                lost += [f"{name}: {place}" for place in places]
            cells.append(f"{count - len(lost):8}/{count:<9}")
            is_due = size >= LEAST.get((method, dtype), math.inf) * 0.99
            wanted &= not (is_due and lost)
            for place in lost if is_due else ():
                print(f"missed at {size:g}, {method}, {dtype}: {place}")
        print(f"{size:8.0e} " + " ".join(cells), flush=True)
    for name, text in texts.items():
        for method in ("reverse", "central"):
            count, passed = row_by_row(text, method)
            print(f"{name}, {method}: {count - len(passed)}/{count} rows see {TIMES} x allowed/|G|", *passed[:5])
            wanted &= not passed
    return 0 if wanted else 1


if __name__ == "__main__":
    sys.exit(main())

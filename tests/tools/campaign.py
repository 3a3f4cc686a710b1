"""A large search for wrong verdicts: thousands of random cases through all methods and the judge, counted and printed.

    python tests/tools/campaign.py --cases 2000 --points 50 --seed 0

Not part of the test suite. The op table is right (its own tests say so), hence a FAIL is a defect of a method or of
the judge, and an exception one of the program. Each FAIL is held against one-sided difference quotients of the function
with 1,500 digits, which know nothing of the methods: where the engine's gradient lies between them, the FAIL is false.
The others are ties where the conventions of several ops together give no slope (relu(x) - relu(-x) at 0), or where one
under `ties:` gives none (max: both). False ones and exceptions are printed with the case file that shows them, and the
command then ends with 1. What is UNDECIDED or IMPRECISE is counted by its reason, numbers in it left out.
"""

# ruff: noqa: T201 (a command prints)

from __future__ import annotations

import argparse
import contextlib
import math
import re
import sys
import time
import traceback
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import mpmath
import numpy as np
from hypothesis import HealthCheck, Phase, given, seed, settings

from verify.case.case import Case, load_case_text
from verify.graph.graph import Graph, Node
from verify.graph.interpret import REAL_CONSTANTS
from verify.ops import OPS
from verify.records import CaseResult, Point, Row
from verify.running.runner import run_loaded
from verify.running.settings import Settings
from verify.strategies import case_texts
from verify.words import VERDICTS, Verdict

PARTICULARS = (
    (re.compile(r" ?\(?\b(in )?stage '\w+'(, line \d+)?\)?"), ""),
    (re.compile(r"[-+]?\b(\d+(\.\d*)?(e[-+]?\d+)?|inf|nan)\b"), "#"),
    (re.compile(r"got .*"), "got #"),
)
"""What is left out of a reason, so that reasons of one kind are counted together."""


@dataclass
class Campaign:
    """What has been found so far."""

    points: int
    seed: int
    cases: int = 0
    rows: Counter[Verdict] = field(default_factory=Counter)
    cases_with: Counter[Verdict] = field(default_factory=Counter)
    reasons: Counter[tuple[Verdict, str]] = field(default_factory=Counter)
    example: dict[tuple[Verdict, str], str] = field(default_factory=dict)
    """The shortest case that shows a reason."""
    wrong: list[str] = field(default_factory=list)
    true_failures: int = 0
    """Rows of FAIL where the engine's gradient is no slope: ties of several ops."""
    slowest: list[tuple[float, str]] = field(default_factory=list)

    def look_at(self, text: str) -> None:
        """Runs one case and counts what it came to."""
        self.cases += 1
        started = time.perf_counter()
        try:
            case = load_case_text(text)
            result = run_loaded(case, Settings(points=self.points, seed=self.seed))
        except Exception:  # noqa: BLE001 (whatever is raised is what is looked for)
            self.wrong.append(f"{text}{traceback.format_exc(limit=-4)}")
            return
        self.slowest = sorted([*self.slowest, (time.perf_counter() - started, text)], reverse=True)[:3]
        self.count(text, case, result)

    def count(self, text: str, case: Case, result: CaseResult) -> None:
        """Adds the rows of one case."""
        self.rows.update(result.counts)
        self.cases_with.update(verdict for verdict, n in result.counts.items() if n)
        points = {point.id: point for point in result.points}
        for variable in result.variables:
            kinds, counts = np.unique([variable.rows.verdict, variable.rows.reason], axis=1, return_counts=True)
            for code, reason, n in zip(*kinds.tolist(), counts.tolist(), strict=True):
                kind = VERDICTS[code], general(variable.rows.texts[reason])
                self.reasons[kind] += n
                self.example[kind] = min(self.example.get(kind, text), text, key=len)
            bad = [row for row in variable.failing() if row.verdict in (Verdict.FAIL, Verdict.DISPUTED)]
            false = [row for row in bad if row.quantity == "value" or is_slope(case, points[row.point], row)]
            self.true_failures += len(bad) - len(false)
            for row in false[:1]:
                point = points[row.point]
                self.wrong.append(
                    f"{text}{row.quantity} by {row.variable}{list(row.entry)} at point {row.point} ({point.origin}): "
                    f"{dict(row.values)} {row.verdict}: {row.reason}; suspect: {row.suspect}; {dict(point.values)!r}"
                )

    def report(self, examples: bool = False) -> None:
        """Prints the counts, what is wrong, and the slowest cases."""
        total = sum(self.rows.values())
        print(f"{self.cases} cases, {total} rows, seed {self.seed}, {self.points} random points a case")
        for verdict in VERDICTS:
            if self.rows[verdict]:
                share = self.rows[verdict] / total
                print(f"{verdict:12} {self.rows[verdict]:9} rows ({share:.3%}) in {self.cases_with[verdict]} cases")
        for (verdict, reason), n in sorted(self.reasons.items(), key=lambda item: (item[0][0], -item[1])):
            if reason:
                print(f"  {verdict:12} {n:9}  {reason}")
                if examples and verdict in (Verdict.UNDECIDED, Verdict.IMPRECISE, Verdict.FAIL):
                    print(indented(self.example[verdict, reason]))
        for seconds, text in self.slowest:
            print(f"slow: {seconds:.2f} s\n{indented(text)}")
        print(f"{self.true_failures} rows fail rightly, {len(self.wrong)} wrong")
        for text in sorted(self.wrong, key=len):
            print(f"----\n{text}")


DIGITS = 1500
"""Enough to add the step to the largest float, and for functions that lose half of them on the way."""

STEP = mpmath.mpf(10) ** -400
"""Smaller than the distance of any two floats, so that no tie of floats lies within it."""


def is_slope(case: Case, point: Point, row: Row) -> bool:
    """Whether the engine's gradient lies between the one-sided difference quotients, computed with many digits."""
    left, right = one_sided(case.graph, point, row)
    slack = 1e-9 * max(abs(left), abs(right))
    return min(left, right) - slack <= row.values["reverse"] <= max(left, right) + slack


def one_sided(graph: Graph, point: Point, row: Row) -> tuple[float, float]:
    """The slope of the contracted output to the left and to the right along one entry of one variable.

    At the end of a domain both are that of the side which has one, NaN where neither has.
    """
    with mpmath.workdps(DIGITS):
        base = exact_values(graph, point, {})
        start = graph.position(row.variable)
        here = contracted(graph, point, base)
        sides = []
        for step in (-STEP, STEP):
            moved = base[start].copy()
            moved[row.entry] = moved[row.entry] + step
            with contextlib.suppress(ZeroDivisionError):  # mpmath's word for a pole
                sides.append((contracted(graph, point, exact_values(graph, point, {start: moved})) - here) / step)
        slopes = [float(side) for side in sides if isinstance(side, mpmath.mpf)] or [math.nan]  # complex: outside
        return slopes[0], slopes[-1]


def contracted(graph: Graph, point: Point, values: Sequence[np.ndarray]) -> mpmath.mpf:
    """The sum over all outputs of output times upstream gradient."""
    total = mpmath.mpf(0)
    for name in graph.outputs:
        value = values[graph.position(name)]
        seeds = np.ravel(point.values.get(f"upstream of {name}", 1.0))
        total += sum((x * mpmath.mpf(float(g)) for x, g in zip(value.ravel(), seeds, strict=True)), mpmath.mpf(0))
    return total


def exact_values(graph: Graph, point: Point, moved: dict[int, np.ndarray]) -> list[np.ndarray]:
    """The value of every node as an object array of mpmath numbers; those in ``moved`` are as they are given."""
    values: list[np.ndarray] = []
    for position, node in enumerate(graph.nodes):
        values.append(moved[position] if position in moved else exact_value(node, point, values))
    return values


def exact_value(node: Node, point: Point, values: Sequence[np.ndarray]) -> np.ndarray:
    """The value of one node."""
    if node.kind == "input":
        return as_mpf(np.asarray(point.values[node.op], dtype=np.float64))
    if node.kind == "constant":
        real = {"pi": mpmath.pi, "e": mpmath.e}
        return np.array(+real[node.op] if node.op in REAL_CONSTANTS else mpmath.mpf(node.value))
    row = OPS[node.op]
    params = {key: value for key, value in node.params.items() if key != "tie"}
    operands = [values[i] for i in node.args]
    if not row.elementwise:
        return np.asarray(row.exact(*operands, **params), dtype=object)
    call = np.frompyfunc(lambda *numbers: row.exact(*numbers, **params), len(operands), 1)
    return np.asarray(call(*operands), dtype=object)


def as_mpf(array: np.ndarray) -> np.ndarray:
    """Floats as mpmath numbers, exactly."""
    out = np.empty(array.shape, dtype=object)
    for index in np.ndindex(array.shape):
        out[index] = mpmath.mpf(float(array[index]))
    return out


def general(reason: str) -> str:
    """A reason without its numbers and places."""
    for pattern, instead in PARTICULARS:
        reason = pattern.sub(instead, reason)
    return reason


def indented(text: str) -> str:
    """A case file as part of a listing."""
    return "\n".join(f"        {line}" for line in text.splitlines())


def run(cases: int, points: int, seed_: int, *, guarded: bool = True) -> Campaign:
    """Runs different random cases, as many as asked for."""
    campaign = Campaign(points, seed_)
    seen: set[str] = set()

    @seed(seed_)
    @settings(
        max_examples=3 * cases,  # Hypothesis repeats small ones
        phases=[Phase.generate],
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(case_texts(guarded=guarded, max_nodes=12))
    def look(text: str) -> None:
        if text not in seen and len(seen) < cases:
            seen.add(text)
            campaign.look_at(text)

    look()
    return campaign


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; 1 where something is wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=2000)
    parser.add_argument("--points", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--raw", action="store_true", help="operands may leave the domains of their ops")
    parser.add_argument("--examples", action="store_true", help="show the shortest case for each reason")
    args = parser.parse_args(arguments)
    campaign = run(args.cases, args.points, args.seed, guarded=not args.raw)
    campaign.report(args.examples)
    return 1 if campaign.wrong else 0


if __name__ == "__main__":
    sys.exit(main())

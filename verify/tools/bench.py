"""What the program costs, measured against checks written by hand.

Everything that is compared runs in this one process, interleaved, several times, and is quoted as the median and as
the median of the ratios pair by pair, because machines are noisy and ratios are not. Whole processes are timed from
outside in the same way. ``verify bench --out FILE`` writes command, commit, machine and numbers as JSON, and
:func:`markdown_table` makes of it the table in reports/README.md.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray

from verify.case.case import Case, load_case, load_case_text
from verify.case.files import shipped_cases
from verify.errors import UsageError
from verify.files import write_text
from verify.graph.derivative import Unsupported
from verify.graph.graph import Graph, GraphBuilder
from verify.methods import prepare
from verify.methods.reverse import Reverse, value_and_gradient
from verify.places.points import Batch, own_points
from verify.running.runner import run_loaded
from verify.running.settings import Settings
from verify.running.units import versions

Array = NDArray[np.float64]
Call = Callable[[], object]


@dataclass(frozen=True, slots=True)
class Measurement:
    """One figure."""

    name: str
    value: float
    """Median over the repeats, in ``unit``."""
    unit: str
    target: str = ""
    """What was aimed at, in words."""
    reached: bool | None = None
    """Whether it was; None where there is no aim."""
    reference: float | None = None
    """The same in ``unit`` for what it is compared with."""
    note: str = ""


# ---------------------------------------------------------------------------------------------------- the yardstick


def hand_forward(x: Array, y: Array) -> tuple[Array, tuple[Array, ...]]:
    """The staged function of the notes, written by hand: f and the stages that its backward pass needs ``(P,)``.

    >>> round(float(hand_forward(np.array([3.0]), np.array([-4.0]))[0][0]), 12)
    1.545644884107
    """
    sigy = 1.0 / (1.0 + np.exp(-y))
    num = x + sigy
    sigx = 1.0 / (1.0 + np.exp(-x))
    xpy = x + y
    xpysqr = xpy**2
    den = sigx + xpysqr
    invden = 1.0 / den
    return num * invden, (sigy, num, sigx, xpy, den, invden)


def hand_backward(stages: Sequence[Array]) -> tuple[Array, Array]:
    """Its backward pass, written by hand as the notes do: dx and dy ``(P,)``.

    >>> [round(float(d[0]), 12) for d in hand_backward(hand_forward(np.array([3.0]), np.array([-4.0]))[1])]
    [2.059569795572, 1.592232751484]
    """
    sigy, num, sigx, xpy, den, invden = stages
    dnum = invden
    dinvden = num
    dden = (-1.0 / den**2) * dinvden
    dx = (1.0 - sigx) * sigx * dden
    dxpy = 2.0 * xpy * dden
    dx = dx + dxpy + dnum
    dy = dxpy + (1.0 - sigy) * sigy * dnum
    return dx, dy


def hand_check(x: Array, y: Array, block: int = 8192) -> bool:
    """A gradient check written by hand: staged backward pass, central differences, comparison; in cache-sized blocks.

    >>> hand_check(np.array([3.0, 1.0]), np.array([-4.0, 2.0]))
    True
    """
    good = True
    for start in range(0, len(x), block):
        a, b = x[start : start + block], y[start : start + block]
        dx, dy = hand_backward(hand_forward(a, b)[1])
        h, k = 1e-6 * np.maximum(np.abs(a), 1.0), 1e-6 * np.maximum(np.abs(b), 1.0)
        numeric_x = (hand_forward(a + h, b)[0] - hand_forward(a - h, b)[0]) / (2.0 * h)
        numeric_y = (hand_forward(a, b + k)[0] - hand_forward(a, b - k)[0]) / (2.0 * k)
        good &= bool(np.allclose(dx, numeric_x, rtol=1e-4, atol=1e-6))
        good &= bool(np.allclose(dy, numeric_y, rtol=1e-4, atol=1e-6))
    return good


def hand_matmul_check(w: Array, x: Array, seed: Array) -> bool:
    """The same for a product of matrices ``(P, 5, 10) @ (P, 10, 3)``, one entry moved at a time.

    >>> rng = np.random.default_rng(0)
    >>> hand_matmul_check(rng.normal(size=(2, 5, 10)), rng.normal(size=(2, 10, 3)), rng.normal(size=(2, 5, 3)))
    True
    """
    h, good = 1e-6, True
    gradients = (seed @ np.swapaxes(x, -1, -2), np.swapaxes(w, -1, -2) @ seed)
    products: tuple[Callable[[Array], Array], ...] = (lambda a: a @ x, lambda a: w @ a)
    for gradient, array, product in zip(gradients, (w, x), products, strict=True):
        numeric, moved = np.empty_like(gradient), array.copy()
        for i, j in np.ndindex(array.shape[1:]):
            moved[:, i, j] += h
            up = (product(moved) * seed).sum(axis=(1, 2))
            moved[:, i, j] -= 2.0 * h
            down = (product(moved) * seed).sum(axis=(1, 2))
            moved[:, i, j] = array[:, i, j]
            numeric[:, i, j] = (up - down) / (2.0 * h)
        good &= bool(np.allclose(gradient, numeric, rtol=1e-4, atol=1e-6))
    return good


# -------------------------------------------------------------------------------------------------------- measuring


def interleaved(calls: Sequence[Call], repeats: int) -> list[list[float]]:
    """Seconds of each call in each round; every call runs once before anything counts.

    >>> [len(times) for times in interleaved([lambda: None, lambda: None], 3)]
    [3, 3]
    """
    for call in calls:
        call()
    times: list[list[float]] = [[] for _ in calls]
    for _ in range(repeats):
        for number, call in enumerate(calls):
            started = time.perf_counter()
            call()
            times[number].append(time.perf_counter() - started)
    return times


def _against(name: str, ours: Call, theirs: Call, repeats: int, limit: float, note: str = "") -> Measurement:
    """Ours over theirs, pair by pair."""
    mine, other = interleaved([ours, theirs], repeats)
    ratio = median(a / b for a, b in zip(mine, other, strict=True))
    detail = f"{median(mine) * 1e3:.1f} ms against {median(other) * 1e3:.1f} ms"
    return Measurement(name, ratio, "x", f"at most {limit:g}", ratio <= limit, 1.0, f"{detail}{note}")


def _processes(repeats: int) -> list[Measurement]:
    """Whole processes, cold."""
    script = Path(sys.executable).with_name("verify")
    command = [str(script)] if script.exists() else [sys.executable, "-m", "verify"]
    with tempfile.TemporaryDirectory() as folder:
        run = [*command, "run", str(shipped_cases() / "notes"), "--reports", folder]
        calls = [
            lambda: subprocess.run(run, check=True, capture_output=True),  # noqa: S603 - our own command
            lambda: subprocess.run([*command, "--help"], check=True, capture_output=True),  # noqa: S603 - as above
            lambda: subprocess.run([sys.executable, "-c", "pass"], check=True, capture_output=True),
        ]
        whole, help_, bare = interleaved(calls, repeats)
    ratio = median(a / b for a, b in zip(help_, bare, strict=True))
    return [
        Measurement("`verify run` on the cases of the notes, whole process", median(whole), "s", "under 6",
                    median(whole) < 6),
        Measurement("`verify --help` against `python -c pass`", ratio, "x", "under 4", ratio < 4, 1.0,
                    f"{median(help_) * 1e3:.0f} ms against {median(bare) * 1e3:.0f} ms"),
    ]  # fmt: skip


def _checks(points: int, products: int, repeats: int) -> list[Measurement]:
    """Three ways and compared, against the hand-written checks."""
    staged, matmul = (load_case(shipped_cases() / "notes" / f"{name}.yaml") for name in ("staged_function", "matmul"))
    rng = np.random.default_rng(0)
    x, y = rng.uniform(-6, 6, points), rng.uniform(-6, 6, points)
    w, k, seed = (rng.normal(size=(products, *shape)) for shape in ((5, 10), (10, 3), (5, 3)))
    return [
        _against(f"staged function, inputs, {points:,} points, three ways and compared",
                 lambda: run_loaded(staged, Settings(points=points, variables="inputs")),
                 lambda: hand_check(x, y), repeats, 3),
        _against(f"the same with every stage a row (the hand-written check has the inputs only), {points:,} points",
                 lambda: run_loaded(staged, Settings(points=points)), lambda: hand_check(x, y), repeats, 3),
        _against(f"matmul, {products:,} points, three ways and compared",
                 lambda: run_loaded(matmul, Settings(points=products, variables="inputs")),
                 lambda: hand_matmul_check(w, k, seed), repeats, 2),
    ]  # fmt: skip


def _engine(points: int, nodes: int, repeats: int) -> list[Measurement]:
    """The reverse engine alone."""
    graph = load_case(shipped_cases() / "notes" / "staged_function.yaml").graph
    rng = np.random.default_rng(0)
    x, y = rng.uniform(-6, 6, points), rng.uniform(-6, 6, points)
    engine = _against(
        f"engine, value and gradient of the staged function, vectors of {points:,}",
        lambda: value_and_gradient(graph, {"x": x, "y": y}),
        lambda: hand_backward(hand_forward(x, y)[1]),
        repeats,
        1.1,
    )
    long = chain(nodes)
    ready, at, one = Reverse(long, ("x",)), {"x": np.array([0.5])}, {"f": np.ones(1)}
    prepared, whole = interleaved([lambda: ready.differentiate(at, one), lambda: value_and_gradient(long, at)], repeats)
    each = median(prepared) / nodes * 1e6
    return [
        engine,
        Measurement(f"engine, chain of {nodes:,} ops at one point", each, "us a node", "at most 3", each <= 3,
                    note=f"{median(whole) / nodes * 1e6:.1f} with making the graph ready"),
    ]  # fmt: skip


def chain(length: int) -> Graph:
    """A chain of ``length`` ops from x to f: times a constant, tanh, and so on.

    >>> len(chain(10).nodes)
    16
    """
    builder = GraphBuilder()
    node = builder.input("x")
    for number in range(length):
        node = builder.apply("tanh", node) if number % 2 else builder.apply("multiply", node, builder.constant(1.5))
    builder.name("f", node)
    return builder.build(["f"])


def swish_text(depth: int) -> str:
    """A case file of x * sigmoid(x) iterated ``depth`` times, every iteration a stage.

    >>> print(swish_text(2))
    case: swish 2 deep
    inputs:
      x: {at: 0.5, domain: [-2, 2]}
    stages:
      s1: x * sigmoid(x)
      s2: s1 * sigmoid(s1)
    <BLANKLINE>
    """
    names = ["x", *(f"s{i}" for i in range(1, depth + 1))]
    stages = "".join(f"  {b}: {a} * sigmoid({a})\n" for a, b in pairwise(names))
    return f"case: swish {depth} deep\ninputs:\n  x: {{at: 0.5, domain: [-2, 2]}}\nstages:\n{stages}"


def _growth(points: Sequence[int], ops: Sequence[int], depths: Sequence[int], repeats: int) -> list[Measurement]:
    """How cost grows: the exponent of a straight line through the logarithms; 1 is linear."""
    staged = load_case(shipped_cases() / "notes" / "staged_function.yaml")
    swish = [load_case_text(swish_text(depth)) for depth in depths]
    point = own_points(swish[-1], 0)
    chains = [chain(length) for length in ops]
    at = {"x": np.array([0.5])}
    series: dict[str, tuple[Sequence[int], Sequence[Call]]] = {
        "points": (points, [partial(run_loaded, staged, Settings(points=n)) for n in points]),
        "ops": (ops, [partial(value_and_gradient, graph, at) for graph in chains]),
        "stages, of symbolic": (depths, [partial(_symbolically, case, point) for case in swish]),
    }
    deep = median(interleaved([lambda: run_loaded(swish[-1], Settings(points=64))], repeats)[0])
    text = f"x * sigmoid(x) iterated {depths[-1]} deep, three ways at 65 points, every stage a row"
    found = [Measurement(text, deep, "s", "under 4", deep < 4)]
    for name, (sizes, calls) in series.items():
        seconds = [median(times) for times in interleaved(calls, repeats)]
        slope = float(np.polyfit(np.log(sizes), np.log(seconds), 1)[0])
        detail = ", ".join(f"{size:,}: {second:.3g} s" for size, second in zip(sizes, seconds, strict=True))
        found.append(Measurement(f"growth with {name}, exponent", slope, "", "at most 1.1", slope <= 1.1, 1.0, detail))
    return found


def _symbolically(case: Case, point: Batch) -> None:
    """SymPy's derivatives by every stage, made and evaluated."""
    method = prepare("symbolic", case.graph, case.variables)
    if isinstance(method, Unsupported):
        raise UsageError(f"the symbolic method cannot do the benchmark: {method.reason}")
    method.differentiate(point.inputs, {case.graph.outputs[0]: np.ones(1)})


def measure(quick: bool = False) -> list[Measurement]:
    """All figures; ``quick`` takes sizes and repeats at which they mean little, to see that it works.

    >>> min(figure.value for figure in _engine(100, 100, 1)) > 0
    True
    """
    if quick:
        figures = [
            *_processes(1),
            *_checks(2_000, 50, 1),
            *_engine(10_000, 1_000, 1),
            *_growth((100, 1_000), (100, 1_000), (5, 10), 1),
        ]
        return [replace(figure, reached=None, target="") for figure in figures]
    return [
        *_processes(5),
        *_checks(1_000_000, 10_000, 7),
        *_engine(1_000_000, 100_000, 9),
        *_growth((100, 1_000, 10_000, 100_000, 1_000_000), (1_000, 10_000, 100_000), (25, 50, 100, 200), 3),
    ]


def machine() -> dict[str, Any]:
    """What the figures were measured on.

    >>> sorted(machine())
    ['cores', 'flint', 'mpmath', 'numpy', 'processor', 'python', 'sympy', 'system']
    """
    return {"processor": platform.machine(), "cores": os.cpu_count(), "system": platform.system(), **versions()}


def _commit() -> str:
    """The commit of the source, empty where it is installed without its history."""
    answer = subprocess.run(  # noqa: S603 - nothing of it comes from outside
        ["git", "-C", str(Path(__file__).parent), "rev-parse", "--short", "HEAD"],  # noqa: S607 - whichever git there is
        check=False,
        capture_output=True,
        text=True,
    )
    return answer.stdout.strip()


def markdown_table(report: dict[str, Any]) -> str:
    """The document's table from what ``--out`` wrote.

    >>> print(markdown_table({"figures": [{"name": "a", "value": 2.0, "unit": "x", "target": "at most 3",
    ...                                    "reached": True, "note": ""}]}))
    | what | measured | aim | |
    | --- | --- | --- | --- |
    | a | 2 x | at most 3 | reached |
    """
    lines = ["| what | measured | aim | |", "| --- | --- | --- | --- |"]
    for figure in report["figures"]:
        state = {True: "reached", False: "missed", None: ""}[figure["reached"]]
        note = f" ({figure['note']})" if figure["note"] else ""
        measured = f"{figure['value']:.3g} {figure['unit']}{note}"
        lines.append(f"| {figure['name']} | {measured} | {figure['target']} | {state} |")
    return "\n".join(line.replace("  ", " ") for line in lines)


def main(args: argparse.Namespace) -> int:
    """Measures, prints the table, and writes the JSON where asked to; ``args`` has ``quick`` and ``out``.

    >>> main(argparse.Namespace(quick=True, out=None))  # doctest: +ELLIPSIS
    | what | measured | aim | |
    ...
    0
    """
    figures = measure(args.quick)
    command = "verify bench" + (" --quick" if args.quick else "")
    report = {"command": command, "commit": _commit(), "machine": machine(), "figures": [asdict(f) for f in figures]}
    print(markdown_table(report))  # noqa: T201 - what the command is for
    if args.out:
        write_text(Path(args.out), json.dumps(report, indent=2) + "\n")
    return 0

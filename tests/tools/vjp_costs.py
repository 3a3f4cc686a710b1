"""What each elementwise VJP costs against the same as it is written out in plain NumPy, at a million entries.

``python tests/tools/vjp_costs.py`` prints medians of interleaved runs and of their ratios, the dearest first.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping
from statistics import median
from typing import Any

import numpy as np

from verify.ops import HELPERS, OPERAND_NAMES, OPS, Op
from verify.ops.code import Picked, Whole, entrywise_code

ENTRIES = 1_000_000
REPEATS = 9


def written(row: Op, params: Mapping[str, Any]) -> list[Callable[..., Any]]:
    """Each VJP as ``verify emit`` writes it: upstream gradient times the local derivative, plain NumPy."""
    assert not isinstance(row.code, Whole | Picked)
    names: dict[str, Any] = {"np": np}
    for text in HELPERS.values():
        exec(text, names)  # noqa: S102 - our own text
    found = []
    for local in entrywise_code(row.code, params).local:
        texts = {key: name for name, place in zip(OPERAND_NAMES, "abcd", strict=True) for key in (place, place.upper())}
        arguments = ", ".join(OPERAND_NAMES[: row.arity])
        found.append(eval(f"lambda g, v, {arguments}: g * ({local.format(**texts, y='v')})", names))  # noqa: S307
    return found


def operands_of(row: Op, entries: int) -> list[Any]:
    """Operands in the row's domain, of both signs where they may be."""
    rng = np.random.default_rng(0)
    found = []
    for interval in row.domain:
        x = rng.uniform(0.1, 0.9, entries) * (rng.choice([-1.0, 1.0], entries) if interval.contains(-0.5) else 1.0)
        found.append(x + 1.0 if interval.low == 1 else 2 * x if interval.contains(-2.0) else x)
    return found


def params_of(row: Op) -> dict[str, Any]:
    """Static parameters and the first convention."""
    params: dict[str, Any] = {"exponent": 3.0} if row.params == ("exponent",) else dict(row.statics[0])
    return params if row.kink is None else {**params, "tie": next(iter(row.kink.ties.values()))}


def costs(name: str, entries: int = ENTRIES, repeats: int = REPEATS) -> list[tuple[str, float, float, float]]:
    """Of each operand's VJP: its name, milliseconds, those of the one written out, and the median of their ratios."""
    row = OPS[name]
    operands, params = operands_of(row, entries), params_of(row)
    y, g = row.forward(*operands, **params), np.random.default_rng(1).normal(size=entries)
    found = []
    for i, (vjp, hand) in enumerate(zip(row.vjps, written(row, params), strict=True)):
        times: list[tuple[float, float]] = []
        for turn in range(repeats + 2):
            pair = {}
            for which in (0, 1) if turn % 2 else (1, 0):  # whoever comes first may pay for fresh memory
                call, given = ((vjp, params), (hand, {}))[which]
                call(g, y, *operands, **given)
                start = time.perf_counter()
                call(g, y, *operands, **given)
                pair[which] = time.perf_counter() - start
            times.append((pair[0], pair[1]))
        own, by_hand = (1e3 * median(column) for column in zip(*times, strict=True))
        found.append((f"{name} by {'abxy'[i]}", own, by_hand, median(a / b for a, b in times)))
    return found


if __name__ == "__main__":
    rows = [row for name in sys.argv[1:] or (op for op in OPS if OPS[op].elementwise) for row in costs(name)]
    for what, own, by_hand, ratio in sorted(rows, key=lambda row: -row[3]):
        print(f"{what:24} {own:8.2f} ms  by hand {by_hand:8.2f} ms  {ratio:5.2f} x")  # noqa: T201

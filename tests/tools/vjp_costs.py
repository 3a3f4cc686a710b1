"""What each elementwise VJP costs against the same written by hand in NumPy, at a million entries.

``python tests/tools/vjp_costs.py`` prints medians of interleaved runs and of their ratios, the dearest first.
"""

# ruff: noqa: ARG005 - every VJP takes the same arguments

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Mapping
from statistics import median
from typing import Any

import numpy as np
from scipy import special

from verify.ops import OPS, Op

ENTRIES = 1_000_000
REPEATS = 9

Hand = Callable[..., Any]


BY_HAND: Mapping[str, tuple[Hand | None, ...]] = {
    "add": (lambda g, y, a, b: g * 1.0, lambda g, y, a, b: g * 1.0),
    "subtract": (lambda g, y, a, b: g * 1.0, lambda g, y, a, b: -g),
    "multiply": (lambda g, y, a, b: g * b, lambda g, y, a, b: g * a),
    "divide": (lambda g, y, a, b: g / b, lambda g, y, a, b: -g * a / b**2),
    "power": (lambda g, y, a, b: g * b * a ** (b - 1), lambda g, y, a, b: g * y * np.log(a)),
    "power_constant": (lambda g, y, a: g * 3 * a**2,),
    "negative": (lambda g, y, a: -g,),
    "positive": (lambda g, y, a: g * 1.0,),
    "exp": (lambda g, y, a: g * y,),
    "log": (lambda g, y, a: g / a,),
    "sqrt": (lambda g, y, a: g / (2 * y),),
    "cbrt": (lambda g, y, a: g / (3 * y**2),),
    "square": (lambda g, y, a: g * 2 * a,),
    "reciprocal": (lambda g, y, a: -g * y**2,),
    "sigmoid": (lambda g, y, a: g * y * (1 - y),),
    "tanh": (lambda g, y, a: g * (1 - y**2),),
    "sin": (lambda g, y, a: g * np.cos(a),),
    "cos": (lambda g, y, a: -g * np.sin(a),),
    "erf": (lambda g, y, a: g * 2 / math.sqrt(math.pi) * np.exp(-(a**2)),),
    "expm1": (lambda g, y, a: g * np.exp(a),),
    "log1p": (lambda g, y, a: g / (1 + a),),
    "log2": (lambda g, y, a: g / (a * math.log(2)),),
    "log10": (lambda g, y, a: g / (a * math.log(10)),),
    "softplus": (lambda g, y, a: g / (1 + np.exp(-a)),),
    "sinh": (lambda g, y, a: g * np.cosh(a),),
    "cosh": (lambda g, y, a: g * np.sinh(a),),
    "arcsinh": (lambda g, y, a: g / np.sqrt(a**2 + 1),),
    "arccosh": (lambda g, y, a: g / np.sqrt(a**2 - 1),),
    "arctanh": (lambda g, y, a: g / (1 - a**2),),
    "tan": (lambda g, y, a: g / np.cos(a) ** 2,),
    "arcsin": (lambda g, y, a: g / np.sqrt(1 - a**2),),
    "arccos": (lambda g, y, a: -g / np.sqrt(1 - a**2),),
    "arctan": (lambda g, y, a: g / (1 + a**2),),
    "arctan2": (lambda g, y, a, b: g * b / (a**2 + b**2), lambda g, y, a, b: -g * a / (a**2 + b**2)),
    "erfc": (lambda g, y, a: -g * 2 / math.sqrt(math.pi) * np.exp(-(a**2)),),
    "gamma": (lambda g, y, a: g * y * special.digamma(a),),
    "lgamma": (lambda g, y, a: g * special.digamma(a),),
    "max": (lambda g, y, a, b: g * (a >= b), lambda g, y, a, b: g * (b > a)),
    "min": (lambda g, y, a, b: g * (a <= b), lambda g, y, a, b: g * (b < a)),
    "relu": (lambda g, y, a: g * (a > 0),),
    "abs": (lambda g, y, a: g * np.sign(a),),
    "leaky_relu": (lambda g, y, a: np.where(a > 0, g, 0.125 * g),),
    "elu": (lambda g, y, a: np.where(a > 0, g, g * (y + 1)),),
    "clip": (lambda g, y, a: g * ((a >= -0.5) & (a <= 1.25)),),
    "where": (None, None, lambda g, v, a, b, x, y: g * (a > b), lambda g, v, a, b, x, y: g * (a <= b)),
    "where_or_equal": (None, None, lambda g, v, a, b, x, y: g * (a >= b), lambda g, v, a, b, x, y: g * (a < b)),
    "hypot": (lambda g, y, a, b: g * a / y, lambda g, y, a, b: g * b / y),
    "sign": (lambda g, y, a: g * 0.0,),
    "floor": (lambda g, y, a: g * 0.0,),
    "ceil": (lambda g, y, a: g * 0.0,),
}
"""Row -> VJPs as people write them, short and plain; None where the operand has no part in the value."""


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
    """Of each operand's VJP: its name, milliseconds, those of the one by hand, and the median of their ratios."""
    row = OPS[name]
    operands, params = operands_of(row, entries), params_of(row)
    y, g = row.forward(*operands, **params), np.random.default_rng(1).normal(size=entries)
    found = []
    for i, (vjp, hand) in enumerate(zip(row.vjps, BY_HAND[name], strict=True)):
        if hand is None:
            continue
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
    rows = [row for name in sys.argv[1:] or BY_HAND for row in costs(name)]
    for what, own, by_hand, ratio in sorted(rows, key=lambda row: -row[3]):
        print(f"{what:24} {own:8.2f} ms  by hand {by_hand:8.2f} ms  {ratio:5.2f} x")  # noqa: T201

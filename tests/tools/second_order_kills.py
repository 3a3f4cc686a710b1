"""Faults planted beyond the first derivative: what this package, PyTorch's checks and JAX's find of them.

``python tests/tools/second_order_kills.py`` prints a table of kills and of false alarms. Twenty functions, each as a
``torch.autograd.Function`` with a backward, a ``jvp`` and a backward of the backward, and as a ``jax.custom_jvp`` whose
rule has one of its own. A fault is a factor ``1 + size`` in one rule, or (*saved*) a backward that reads what its
forward computed on the way, which counts as constant when it is differentiated.
"""

from __future__ import annotations

import contextlib
import io
import sys
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import jax
import numpy as np
import torch
from jax.test_util import check_grads as jax_check

from verify.errors import VerifyError
from verify.frameworks.jax import check_grads
from verify.frameworks.torch import gradcheck, gradgradcheck

SIZES = (1e-2, 1e-4, 1e-6, 1e-8)
AT = [0.3, -0.7, 1.6]

FUNCTIONS: dict[str, tuple[str, str]] = {
    "x**3": ("3 * x**2", "6 * x"),
    "x**4 - x": ("4 * x**3 - 1", "12 * x**2"),
    "exp(x)": ("exp(x)", "exp(x)"),
    "exp(-(x**2))": ("-2 * x * exp(-(x**2))", "(4 * x**2 - 2) * exp(-(x**2))"),
    "sin(x)": ("cos(x)", "-sin(x)"),
    "cos(x)": ("-sin(x)", "-cos(x)"),
    "tan(x)": ("1 + tan(x) ** 2", "2 * tan(x) * (1 + tan(x) ** 2)"),
    "tanh(x)": ("1 - tanh(x) ** 2", "-2 * tanh(x) * (1 - tanh(x) ** 2)"),
    "sinh(x)": ("cosh(x)", "sinh(x)"),
    "log(1 + x**2)": ("2 * x / (1 + x**2)", "2 * (1 - x**2) / (1 + x**2) ** 2"),
    "sqrt(1 + x**2)": ("x / sqrt(1 + x**2)", "(1 + x**2) ** -1.5"),
    "1 / (2 + x)": ("-1 / (2 + x) ** 2", "2 / (2 + x) ** 3"),
    "arctan(x)": ("1 / (1 + x**2)", "-2 * x / (1 + x**2) ** 2"),
    "1 / (1 + exp(-x))": ("exp(-x) / (1 + exp(-x)) ** 2", "exp(-x) * (exp(-x) - 1) / (1 + exp(-x)) ** 3"),
    "log(1 + exp(x))": ("1 / (1 + exp(-x))", "exp(-x) / (1 + exp(-x)) ** 2"),
    "x * sin(x)": ("sin(x) + x * cos(x)", "2 * cos(x) - x * sin(x)"),
    "x * exp(x)": ("(1 + x) * exp(x)", "(2 + x) * exp(x)"),
    "1000 + x**2": ("2 * x", "2 + 0 * x"),
    "cosh(3 * x)": ("3 * sinh(3 * x)", "9 * cosh(3 * x)"),
    "sin(20 * x)": ("20 * cos(20 * x)", "-400 * sin(20 * x)"),
}
"""Function -> its first and second derivative."""

NAMES = ("exp", "sin", "cos", "tan", "tanh", "sinh", "cosh", "log", "sqrt", "arctan")


def formulas(name: str, library: Any) -> list[Callable[[Any], Any]]:
    """A function and its two derivatives in terms of a library."""
    known = {n: getattr(library, n) for n in NAMES}
    return [partial(_value, text, known) for text in (name, *FUNCTIONS[name])]


def _value(text: str, known: dict[str, Any], x: Any) -> Any:
    return eval(text, {**known, "x": x})  # noqa: S307 - our own text


def of_torch(name: str, where: str, size: float) -> Any:
    """A function of tensors with one fault, or none."""
    f, df, ddf = formulas(name, torch)
    off = {w: 1 + size if w == where else 1.0 for w in ("forward", "second")}

    class Slope(torch.autograd.Function):  # type: ignore[misc]
        @staticmethod
        def forward(ctx: Any, x: Any, g: Any) -> Any:
            ctx.save_for_backward(x, g)
            return df(x) * g

        @staticmethod
        def backward(ctx: Any, v: Any) -> Any:
            x, g = ctx.saved_tensors
            return off["second"] * ddf(x) * g * v, df(x) * v

    class Function(torch.autograd.Function):  # type: ignore[misc]
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            ctx.save_for_backward(x)
            ctx.save_for_forward(x)
            ctx.slope = df(x)
            return f(x)

        @staticmethod
        def backward(ctx: Any, g: Any) -> Any:
            return ctx.slope * g if where == "saved" else Slope.apply(ctx.saved_tensors[0], g)

        @staticmethod
        def jvp(ctx: Any, dx: Any) -> Any:
            return off["forward"] * df(ctx.saved_tensors[0]) * dx

    return Function.apply


def of_jax(name: str, where: str, size: float) -> Any:
    """The same of JAX's arrays."""
    f, df, ddf = formulas(name, jax.numpy)
    off = {w: 1 + size if w == where else 1.0 for w in ("forward", "second")}

    @jax.custom_jvp  # type: ignore[untyped-decorator, unused-ignore]
    def slope(x: Any) -> Any:
        return df(x)

    slope.defjvp(lambda p, t: (slope(p[0]), off["second"] * ddf(p[0]) * t[0]))

    @jax.custom_jvp  # type: ignore[untyped-decorator, unused-ignore]
    def function(x: Any) -> Any:
        return f(x)

    def rule(p: Any, t: Any) -> Any:
        s = slope(p[0])
        s = jax.lax.stop_gradient(s) if where == "saved" else s
        return function(p[0]), off["forward"] * s * t[0]

    function.defjvp(rule)
    return function


def rejects(check: Callable[[], Any]) -> bool:
    """Whether a check says no, in whatever way it has."""
    try:
        with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            return check() is False
    except (AssertionError, VerifyError, RuntimeError):
        return True


def checks(name: str, where: str, size: float) -> Iterator[tuple[str, bool]]:
    """Each check and whether it rejects; the mode that the fault is in is asked for."""
    x = (torch.tensor(AT, dtype=torch.float64, requires_grad=True),)
    fn, xs = of_torch(name, where, size), (np.array(AT),)
    mode = {"check_forward_ad": True, "check_backward_ad": False}
    if where == "forward":
        yield "verify, torch", rejects(lambda: gradcheck(fn, x, **mode))  # type: ignore[arg-type]
        yield "torch.autograd", rejects(lambda: torch.autograd.gradcheck(fn, x, **mode))
    else:
        yield "verify, torch", rejects(lambda: gradgradcheck(fn, x))
        yield "torch.autograd", rejects(lambda: torch.autograd.gradgradcheck(fn, x))
    function = of_jax(name, where, size)
    asked = {"order": 1 if where == "forward" else 2, "modes": ("fwd", "rev")}
    yield "verify, JAX", rejects(lambda: check_grads(function, xs, **asked).ok)  # type: ignore[arg-type]
    with jax.enable_x64(True):
        yield "jax.test_util", rejects(lambda: jax_check(function, xs, **asked))


def main() -> None:
    """Prints the table, with the processor time of each check."""
    kills: Counter[tuple[str, str]] = Counter()
    alarms: Counter[str] = Counter()
    seconds: Counter[str] = Counter()
    who: list[str] = []
    for number, name in enumerate(FUNCTIONS, start=1):
        sys.stderr.write(f"{number} of {len(FUNCTIONS)}: {name}\n")
        planted = [(where, size) for where in ("second", "forward") for size in SIZES] + [("saved", 0.0)]
        for where, size in [*planted, ("", 0.0)]:
            before = time.process_time()
            for check, rejected in checks(name, where, size):
                who += [check] if check not in who else []
                seconds[check] += time.process_time() - before  # type: ignore[assignment]
                before = time.process_time()
                if where:
                    kills[f"{where} {size:g}" if size else where, check] += rejected
                else:
                    alarms[check] += rejected
    rows = {fault: [kills[fault, check] for check in who] for fault in dict.fromkeys(fault for fault, _ in kills)}
    rows["right ones rejected"] = [alarms[check] for check in who]
    rows["processor time, s"] = [round(seconds[check]) for check in who]
    lines = [f"| fault, of {len(FUNCTIONS)} | {' | '.join(who)} |", f"| --- |{' --- |' * len(who)}"]
    lines += [f"| {fault} | {' | '.join(map(str, numbers))} |" for fault, numbers in rows.items()]
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()

"""``verify sweep FRAMEWORK``: the slope of every elementwise function of a framework, held against the truth.

Functions are found in the framework's own modules: what takes an array of floats, gives one of its shape entry by entry
and has a gradient. Each is looked at from subnormal numbers to 1e300 and around special points, and its parameters are
numbers that no power of two is. There are two truths. The *program* is what the function computes, read as a graph
and enclosed in balls: what differentiation promises. The *function* is what its name means, and
:mod:`verify.tools.meanings` has that.
"""

from __future__ import annotations

import csv
import importlib
import inspect
import io
import math
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from typing import Any

import mpmath as mp
import numpy as np

from verify.errors import UsageError
from verify.programs import jax_functions, torch_functions
from verify.tools.meanings import meaning_of, slope
from verify.tracing.foreign_call import call_foreign
from verify.tracing.trace import traced_or_reason
from verify.truth.reference import Reference

Function = Callable[..., Any]

FRAMEWORKS = ("torch", "jax", "autograd")

MODULES: Mapping[str, Sequence[str]] = {
    "torch": ("torch", "torch.special", "torch.nn.functional"),
    "jax": ("jax.numpy", "jax.nn", "jax.scipy.special", "jax.lax"),
    "autograd": ("autograd.numpy", "autograd.scipy.special"),
}
"""Where functions are looked for; of one with two names the first is told."""

PASSED_OVER = ("_", "set", "manual", "seed", "rand", "dropout", "alpha_dropout", "feature", "rrelu", "bernoulli",
               "gumbel", "load", "save", "compile", "vmap", "cond", "sym_", "from", "print", "init")  # fmt: skip
"""Beginnings of names that are no functions of numbers, or draw some."""

FORMS: Mapping[str, tuple[Any, ...]] = {
    "x": ("x",), "x, 2.3": ("x", 2.3), "2.3, x": (2.3, "x"), "x, 0.3": ("x", 0.3), "1, x": (1, "x"),
}  # fmt: skip
"""Arguments that are tried: the point, and numbers, which are arrays where a function wants such."""

PARAMETER = 1.3
"""What a parameter is that has a number for its default."""

LOST = 1e-10
"""Relative errors from here on are told: more than rounding loses where nothing cancels."""

UNITS = 8
"""Half units in the last place of the point that an answer may be off by."""

TRIED = (0.3, 0.7, 1.3)
"""Points at which it is found out whether a function is one."""


def points() -> np.ndarray[Any, Any]:
    """Where each function is looked at.

    >>> found = points()
    >>> float(found.min()), 5e-324 in found, len(found) > 150
    (-1e+300, True, True)
    """
    sizes = [
        5e-324,
        3e-310,
        2.3e-308,
        *(10.0**k for k in range(-300, 301, 25)),
        *(1.7 * 10.0**k for k in range(-16, 5)),
    ]
    sizes += [0.1, 0.25, 0.45, 0.5, 0.75, 0.9, 1.0, 1.25, 1.5, 1.75, 1.999, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.5]
    sizes += [10.3, 12.0, 15.5, 19.0, 20.5, 25.0, 36.5, 38.0, 50.5, 88.8, 104.5, 300.3, 708.2, 709.5, 710.0, 746.0]
    sizes += [1 - 10.0**-k for k in (2, 4, 8, 12, 15)]
    return np.unique([*sizes, *(-x for x in sizes)])


class Cause(StrEnum):
    """Whose fault an answer is.

    >>> Cause.DERIVATIVE.value
    'the derivative'
    """

    DERIVATIVE = "the derivative"
    """It is not the slope of what is computed, nor of what the name means."""
    PROGRAM = "the program"
    """It is the slope of what is computed, which is another function than the name says."""
    FUNCTION = "the derivative of a program that is another function"
    """It is the slope of what the name means, and not of what is computed."""
    EITHER = "the derivative, or the program"
    """The program cannot be read."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One wrong answer."""

    framework: str
    call: str
    """As it is written, of x."""
    at: float
    answer: float
    truth: float
    error: float
    """Relative; infinite where the answer is no number."""
    cause: Cause

    @property
    def reproducer(self) -> str:
        """Three lines that show it."""
        return _reproducer(self)

    @property
    def rank(self) -> tuple[float, float]:
        """The worst last; of those alike the one at an everyday number."""
        return self.error, -abs(math.log10(abs(self.at) or 1))


@dataclass(frozen=True, slots=True)
class Looked:
    """What came of one function."""

    call: str
    points: int
    """At which there is a truth."""
    faults: tuple[Fault, ...]
    """The worst first."""

    @property
    def worst(self) -> tuple[Fault, ...]:
        """The worst answer that is no number, and the worst that is one."""
        kinds = ([f for f in self.faults if math.isinf(f.error) is infinite] for infinite in (True, False))
        return tuple(found[0] for found in kinds if found)


@dataclass(frozen=True, slots=True)
class Candidate:
    """A function of one number, as the framework calls it."""

    name: str
    call: str
    value: Function
    """Of the framework's array, entry by entry."""
    meaning: Callable[[Any], Any] | None


def sweep(framework: str, only: str = "") -> Iterator[Looked]:
    """What came of the functions of a framework, one after the other.

    ``only`` is a part of the names that are looked at. Raises UsageError for a framework that is not known or not
    installed.

    >>> next(sweep("numpy"))
    Traceback (most recent call last):
    verify.errors.UsageError: unknown framework 'numpy', expected one of torch, jax, autograd
    """
    if framework not in FRAMEWORKS:
        raise UsageError(f"unknown framework '{framework}', expected one of {', '.join(FRAMEWORKS)}")
    try:
        importlib.import_module(framework)
    except ImportError:
        raise UsageError(f"{framework} is not installed: pip install 'verify-gradients[{framework}]'") from None
    for candidate in candidates(framework, only):
        yield _looked_at(framework, candidate)


def _looked_at(framework: str, candidate: Candidate) -> Looked:
    at = points()
    answers = call_foreign(partial(_SLOPES[framework], candidate.value, at)).value
    program = _program(framework, candidate.value)
    faults, count = [], 0
    for x, answer in zip(at.tolist(), () if answers is None else answers.tolist(), strict=False):
        meant, computed = _of_function(candidate, x), program(x)
        count += meant is not None or computed is not None
        off = [known and _error(answer, *known) for known in (meant, computed)]
        if any(off):
            error, truth = max((e, float(t[0])) for e, t in zip(off, (meant, computed), strict=True) if e and t)
            faults.append(Fault(framework, candidate.call, x, answer, truth, error, _cause(*off)))
    return Looked(candidate.call, count, tuple(sorted(faults, key=lambda fault: fault.rank, reverse=True)))


def _cause(of_function: float | None, of_program: float | None) -> Cause:
    """By how far an answer is from the slope of what is meant, and from that of what is computed, None if not known."""
    if of_program is None:
        return Cause.EITHER
    if of_program:
        return Cause.FUNCTION if of_function == 0 else Cause.DERIVATIVE
    return Cause.PROGRAM


def _error(answer: float, truth: Any, apart: Any) -> float:
    """How far an answer is off, relative to the truth; 0 where that is no more than rounding."""
    if not mp.isfinite(truth) or abs(truth) > mp.mpf(np.finfo(float).max):
        return 0.0
    if not math.isfinite(answer):
        return math.inf
    with mp.workdps(40):
        off = abs(mp.mpf(answer) - truth)
        if off <= 4 * mp.mpf(np.finfo(float).tiny) or off <= UNITS * apart or off <= LOST * abs(truth):
            return 0.0
        return float(off / abs(truth)) if truth else math.inf


def _of_function(candidate: Candidate, x: float) -> tuple[Any, Any] | None:
    """The slope of what the name means, and how far it moves with the last bit of the point."""
    if candidate.meaning is None or not (abs(x) < LARGEST.get(candidate.name, math.inf)):
        return None
    truth = slope(candidate.meaning, x)
    if not mp.isfinite(truth):
        return None
    beside = slope(candidate.meaning, np.nextafter(x, math.inf).item())
    return truth, abs(beside - truth) / 2 if mp.isfinite(beside) else abs(truth)


LARGEST: Mapping[str, float] = {
    **dict.fromkeys(("polygamma", "zeta", "spence", "bessel_j0", "bessel_j1", "i0", "i1", "i0e", "i1e"), 750.0),
    **dict.fromkeys(("digamma", "lgamma", "gammaln", "betaln", "gamma", "psi"), 1e17),
    **dict.fromkeys(("ndtr", "ndtri", "log_ndtr", "erf", "erfc", "erfcx", "erfinv", "log_ndtr"), 60.0),
}
"""Function -> sizes beyond which mpmath takes its time, and nothing happens."""


def _program(framework: str, value: Function) -> Callable[[float], tuple[Any, Any] | None]:
    """The slope of what a function computes, as far as that can be read."""
    room = {"torch": torch_functions, "jax": jax_functions}.get(framework)

    def called(x: Any) -> Any:
        return value(x)

    for x in TRIED:
        as_numpy = called if room is None else room.as_numpy(called)
        traced = call_foreign(partial(traced_or_reason, as_numpy, {"x": np.float64(x)}, None, ())).value
        if traced is not None and not isinstance(traced, str) and not traced.taken_for_granted:
            graph = traced.case.graph
            reference = Reference(graph, ["x"], None)
            return partial(_enclosed, reference, graph.outputs[0])
    return lambda _: None


def _enclosed(reference: Reference, output: str, x: float) -> tuple[Any, Any] | None:
    with np.errstate(all="ignore"):
        found = [
            reference.enclose({"x": np.array([at])}, {output: np.ones(1)}, taylor_only=True).gradient("x")
            for at in (x, np.nextafter(x, math.inf).item())
        ]
    if found[0].reason or not math.isfinite(found[0].midpoint):
        return None
    beside = found[1].midpoint if math.isfinite(found[1].midpoint) else 2 * found[0].midpoint
    return mp.mpf(found[0].midpoint), mp.mpf(abs(beside - found[0].midpoint)) / 2


# ------------------------------------------------------------------------------------------------- finding functions


def candidates(framework: str, only: str = "") -> Iterator[Candidate]:
    """The elementwise functions of a framework that have a gradient, each in the forms in which it takes a number.

    >>> next(candidates("autograd", "no such function"), None)
    """
    seen: set[int] = set()
    for module in MODULES[framework]:
        home = call_foreign(partial(importlib.import_module, module)).value
        for name in sorted(dir(home)) if home is not None else ():
            function = getattr(home, name)
            known = name.startswith(PASSED_OVER) or name.endswith("_") or isinstance(function, type)
            if known or not callable(function) or id(function) in seen or only not in f"{module}.{name}":
                continue
            seen.add(id(function))
            yield from _forms(framework, f"{module}.{name}", function)


def _forms(framework: str, dotted: str, function: Function) -> Iterator[Candidate]:
    """One function in all the forms in which it works, those of two numbers where it takes no one."""
    found = False
    for text, form in FORMS.items():
        if found and text != "x":
            return
        for options in ({}, {"reduction": "none"}):
            made = _made(framework, dotted, function, text, form, options)
            if made is not None:
                found = found or text == "x"
                yield made
                for key in _numbers_of(function) if text == "x" else ():
                    more = _made(framework, dotted, function, text, form, {**options, key: PARAMETER})
                    if more is not None:
                        yield more
                break


def _made(
    framework: str, dotted: str, function: Function, text: str, form: tuple[Any, ...], options: Mapping[str, Any]
) -> Candidate | None:
    """A form of a function, if it is one of numbers entry by entry, and has a slope."""
    name = dotted.rpartition(".")[2]
    full = _FULL[framework]

    def value(x: Any) -> Any:
        return function(*(x if a == "x" else full(x, a) if isinstance(a, float) else a for a in form), **options)

    slopes = _SLOPES[framework]
    base = np.array(TRIED)
    ran = call_foreign(lambda: [np.asarray(slopes(value, x), dtype=float) for x in (base, base, base[::-1].copy())])
    if ran.error is not None:
        return None
    first, again, turned = ran.value
    is_one = first.shape == base.shape and np.array_equal(first, again, equal_nan=True)
    if not is_one or not np.allclose(first, turned[::-1], rtol=1e-12, equal_nan=True) or not np.any(first):
        return None
    known = meaning_of(name) or _nothing_known
    meant = {key: x for key, x in options.items() if key != "reduction"}

    def meaning(x: Any) -> Any:
        return known(*(x if a == "x" else mp.mpf(a) for a in form), **{key: mp.mpf(a) for key, a in meant.items()})

    is_meant = call_foreign(lambda: meaning(mp.mpf(TRIED[0]))).error is None
    arguments = ", ".join((text, *(f"{key}={a!r}" for key, a in options.items())))
    return Candidate(name, f"{dotted}({arguments})", value, meaning if is_meant else None)


def _nothing_known(*_: Any, **__: Any) -> Any:
    raise UsageError("nobody said what this name means")


def _numbers_of(function: Function) -> list[str]:
    """Parameters whose default is a float."""
    signature = call_foreign(lambda: inspect.signature(function)).value
    return [key for key, p in signature.parameters.items() if type(p.default) is float] if signature else []


# ------------------------------------------------------------------------------------------------- the frameworks


def _torch_slopes(value: Function, x: Any) -> Any:
    import torch

    at = torch.tensor(x, dtype=torch.float64, requires_grad=True)
    y = value(at)
    if y.shape != at.shape or y.dtype is not torch.float64:
        raise TypeError
    return torch.autograd.grad(y.sum(), at)[0].numpy()


def _jax_slopes(value: Function, x: Any) -> Any:
    import jax

    with jax.enable_x64(True), warnings.catch_warnings():
        warnings.simplefilter("ignore")

        def total(at: Any) -> Any:
            y = value(at)
            if y.shape != at.shape or y.dtype != np.float64:
                raise TypeError
            return y.sum()

        return np.asarray(jax.grad(total)(jax.numpy.asarray(x, dtype=np.float64)))


def _autograd_slopes(value: Function, x: Any) -> Any:
    import autograd

    def total(at: Any) -> Any:
        y = value(at)
        if np.shape(y) != np.shape(at):
            raise TypeError
        return autograd.numpy.sum(y)

    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return autograd.grad(total)(np.array(x))


def _torch_full(x: Any, number: float) -> Any:
    import torch

    return torch.full_like(x, number)


_SLOPES: Mapping[str, Function] = {"torch": _torch_slopes, "jax": _jax_slopes, "autograd": _autograd_slopes}
_FULL: Mapping[str, Function] = {
    "torch": _torch_full,
    "jax": lambda x, number: x * 0 + number,
    "autograd": lambda _, number: number,
}


def _reproducer(fault: Fault) -> str:
    call, x = fault.call, fault.at
    if fault.framework == "torch":
        for number in ("2.3", "0.3"):
            call = call.replace(f"x, {number}", f"x, torch.full_like(x, {number})")
            call = call.replace(f"({number}, x", f"(torch.full_like(x, {number}), x")
        lines = ("import torch", f"x = torch.tensor({x!r}, dtype=torch.float64, requires_grad=True)",
                 f"print(torch.autograd.grad({call}, x))")  # fmt: skip
    elif fault.framework == "jax":
        lines = ("import jax", 'jax.config.update("jax_enable_x64", True)', f"print(jax.grad(lambda x: {call})({x!r}))")
    else:
        lines = ("import autograd, autograd.numpy, autograd.scipy.special", f"f = lambda x: {call}",
                 f"print(autograd.grad(f)({x!r}))")  # fmt: skip
    return "\n".join((*lines[:2], f"{lines[2]}  # the truth is {fault.truth!r}"))


# ------------------------------------------------------------------------------------------------- what is written

COLUMNS = ("framework", "call", "at", "answer", "truth", "error", "cause", "reproducer")


def as_csv(looked: Sequence[Looked]) -> str:
    r"""Every wrong answer, the worst first.

    >>> as_csv([])
    'framework,call,at,answer,truth,error,cause,reproducer\r\n'
    """
    text = io.StringIO()
    table = csv.writer(text)
    table.writerow(COLUMNS)
    for fault in sorted((f for one in looked for f in one.faults), key=lambda fault: fault.rank, reverse=True):
        table.writerow([getattr(fault, name) for name in COLUMNS])
    return text.getvalue()


def as_markdown(looked: Sequence[Looked]) -> str:
    """A line for each function that is off somewhere, the worst first, and what repeats each.

    >>> print(as_markdown([Looked("torch.exp(x)", 9, ())]))
    1 function or form of one was looked at; 0 are off somewhere.
    """
    off = sorted((one for one in looked if one.faults), key=lambda one: one.faults[0].rank, reverse=True)
    many = f"{len(looked)} functions or forms of them were" if len(looked) != 1 else "1 function or form of one was"
    lines = [f"{many} looked at; {len(off)} are off somewhere."]
    if off:
        lines += ["", "| call | x | answer | truth | off by | points | fault of |",
                  "| --- | ---: | ---: | ---: | ---: | ---: | --- |"]  # fmt: skip
    for one in off:
        for f in one.worst:
            off_by = "no number" if math.isinf(f.error) else f"{f.error:.1e}"
            numbers = f"{f.at:.6g} | {f.answer:.7g} | {f.truth:.7g} | {off_by}"
            lines.append(f"| `{f.call}` | {numbers} | {len(one.faults)} of {one.points} | {f.cause} |")
    for one in off:
        lines += ["", "```text", one.worst[-1].reproducer, "```"]
    return "\n".join(lines)

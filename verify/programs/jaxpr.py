"""JAX's programs: the jaxpr of a function, run on tracers.

Only what primitives compute is read: the rules of ``jax.custom_jvp`` and ``jax.custom_vjp`` are never asked. What
depends on no input JAX computes itself.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from verify.errors import TraceError, Untraced
from verify.ops import Shape
from verify.programs.jaxpr_rules import NAMED, RULES
from verify.programs.probing import probed
from verify.programs.softmax_idiom import Idioms
from verify.programs.values import Value, as_outputs, elementwise, fit, is_known, settled
from verify.tracing.conditions import Condition
from verify.tracing.numpy_rules import is_elementwise
from verify.tracing.tracer import Tracer, as_tracer
from verify.tracing.untraced import unmapped

MOST_TURNS = 10_000
"""Turns of a while loop whose end is known."""

CALLS = frozenset({"jit", "pjit", "closed_call", "core_call", "remat", "remat2", "checkpoint", "custom_jvp_call",
                   "custom_vjp_call", "custom_vjp_call_jaxpr", "custom_lin", "xla_call"})  # fmt: skip
"""Primitives that run a program of their own."""

IDIOMS: Mapping[str, str] = {
    "reduce_max": "max", "reduce_sum": "sum", "sub": "subtract", "add": "add", "exp": "exp", "log": "log",
    "div": "divide", "stop_gradient": "carry", "broadcast_in_dim": "carry", "reshape": "carry", "max": "carry",
    "select_n": "carry", "squeeze": "carry", "expand_dims": "carry", "sign": "carry", "abs": "carry",
}  # fmt: skip
"""Primitive -> the step of a softmax that it may be."""


@dataclass(slots=True)
class Interpreter:
    """Runs jaxprs on values; softmax is seen across the programs that one calls."""

    idioms: Idioms = field(default_factory=Idioms)
    named: list[tuple[str, int, Tracer]] = field(default_factory=list)

    def run(self, jaxpr: Any, consts: Sequence[Any], operands: Sequence[Value]) -> list[Value]:
        """The outputs of a jaxpr. Raises TraceError for a primitive that cannot be read."""
        env: dict[Any, Value] = {}

        def read(variable: Any) -> Value:
            return np.asarray(variable.val) if hasattr(variable, "val") else env[variable]

        for variable, value in (*zip(jaxpr.constvars, consts, strict=True), *zip(jaxpr.invars, operands, strict=True)):
            env[variable] = np.asarray(value) if is_known(value) else value
        for equation in _needed(jaxpr):
            given = [read(variable) for variable in equation.invars]
            found = self._step(equation, given)
            name = equation.primitive.name
            if name in IDIOMS and len(found) == 1:
                found = [self.idioms.seen(IDIOMS[name], given, found[0], equation.params.get("axes"))]
            env.update(zip(equation.outvars, found, strict=True))
            if type(found[0]) is Tracer and found[0].storage.whole is not None:
                self._place(equation, found[0])
        return [read(variable) for variable in jaxpr.outvars]

    def _place(self, equation: Any, found: Tracer) -> None:
        """The line of the user's that an equation comes from."""
        traceback = getattr(equation.source_info, "traceback", None)
        frame = next(
            (f for f in (traceback.frames if traceback is not None else ()) if not _is_library(f.file_name)), None
        )
        if frame is not None:
            found.recorder.steps[found.step].line = int(frame.line_num)

    def _step(self, equation: Any, given: Sequence[Value]) -> list[Value]:
        name, params = equation.primitive.name, equation.params
        if name in LOOPS:
            return LOOPS[name](self, equation, given)
        inner = params.get("jaxpr") or params.get("call_jaxpr") or params.get("fun_jaxpr")
        shape = tuple(equation.outvars[0].aval.shape) if equation.outvars else ()
        if name in CALLS and inner is not None:
            arity, rule = NAMED.get(params.get("name", ""), (-1, None))
            if rule is None or arity != len(given) or all(map(is_known, given)):
                return self.run(getattr(inner, "jaxpr", inner), getattr(inner, "consts", ()), given)
            found = rule(given, params, shape)
        elif all(map(is_known, given)):
            found = _computed(equation, given)
        else:
            found = self._on_values(equation, name, given, shape)
        return [settled(value) for value in (found if isinstance(found, list) else [found])]

    def _on_values(self, equation: Any, name: str, given: Sequence[Value], shape: Shape) -> Value:
        try:
            if name in RULES:
                try:
                    return RULES[name](given, equation.params, shape)
                except TraceError as error:
                    if error.kind not in (Untraced.ARGUMENTS, Untraced.SIZE):
                        raise
            elif is_elementwise(name):
                return fit(elementwise(name, *given), shape)
            return _probed(equation, given)
        except (TypeError, ValueError, ArithmeticError, LookupError) as error:
            said = (str(error).splitlines() or [type(error).__name__])[0][:100]
            raise unmapped(f"jax.lax's '{name}' is not known with these operands ({said})", op=name) from error

    def scan(self, equation: Any, given: Sequence[Value]) -> list[Value]:
        """Every turn written out."""
        params = equation.params
        held, carried = params["num_consts"], params["num_carry"]
        consts, carry, rows = given[:held], list(given[held : held + carried]), given[held + carried :]
        body, turns = params["jaxpr"], range(params["length"])
        kept: list[list[Value]] = []
        for i in reversed(turns) if params["reverse"] else turns:
            out = self.run(body.jaxpr, body.consts, [*consts, *carry, *(row[i] for row in rows)])
            carry, more = out[:carried], out[carried:]
            kept.append(more)
        if params["reverse"]:
            kept.reverse()
        stacked = [
            np.stack([as_tracer(turn[j]) for turn in kept])
            if kept else np.zeros(equation.outvars[carried + j].aval.shape)
            for j in range(len(equation.outvars) - carried)
        ]  # fmt: skip
        return [*carry, *stacked]

    def turns(self, equation: Any, given: Sequence[Value]) -> list[Value]:
        """A ``while``, every turn written out."""
        params = equation.params
        tests, bodies = params["cond_nconsts"], params["body_nconsts"]
        of_test, of_body = given[:tests], given[tests : tests + bodies]
        carry: list[Value] = list(given[tests + bodies :])
        for _ in range(MOST_TURNS):
            (goes_on,) = self.run(params["cond_jaxpr"].jaxpr, params["cond_jaxpr"].consts, [*of_test, *carry])
            if not bool(goes_on):  # of values, those of the traced point, or followed both ways
                return carry
            carry = self.run(params["body_jaxpr"].jaxpr, params["body_jaxpr"].consts, [*of_body, *carry])
        raise unmapped(f"while: more than {MOST_TURNS:,} turns", Untraced.SIZE, "while")

    def branch(self, equation: Any, given: Sequence[Value]) -> list[Value]:
        """A ``cond``; one on values is followed as any branch of Python's is."""
        number = bool(given[0]) if isinstance(given[0], Condition) else int(given[0])
        chosen = equation.params["branches"][number]
        return self.run(chosen.jaxpr, chosen.consts, given[1:])


LOOPS: Mapping[str, Callable[[Interpreter, Any, Sequence[Value]], list[Value]]] = {
    "scan": Interpreter.scan,
    "while": Interpreter.turns,
    "cond": Interpreter.branch,
}
"""Primitives that run programs of their own many times, or one of several."""


def _needed(jaxpr: Any) -> list[Any]:
    """The equations that the outputs depend on, in order."""
    wanted = {id(variable) for variable in jaxpr.outvars}
    found = []
    for equation in reversed(jaxpr.eqns):
        if any(id(variable) in wanted for variable in equation.outvars):
            found.append(equation)
            wanted |= {id(variable) for variable in equation.invars}
    return found[::-1]


def _is_library(file: str) -> bool:
    return any(part in file for part in ("/jax/", "/jaxlib/", "\\jax\\", "/verify/tracing/", "/verify/frameworks/"))


def _computed(equation: Any, given: Sequence[Value]) -> list[Value]:
    """What JAX itself makes of arrays."""
    import jax

    found = equation.primitive.bind(*(jax.numpy.asarray(x) for x in given), **equation.params)
    return [np.asarray(x) for x in (found if equation.primitive.multiple_results else [found])]


def _probed(equation: Any, given: Sequence[Value]) -> Value:
    """A primitive without a rule, by what JAX makes of numbers."""
    import jax

    def run(*arrays: Any) -> list[Any]:
        tables = iter(arrays)
        operands = [
            jax.numpy.asarray(x if is_known(x) else next(tables), dtype=variable.aval.dtype)
            for x, variable in zip(given, equation.invars, strict=True)
        ]
        found = equation.primitive.bind(*operands, **equation.params)
        return [np.asarray(y) for y in (found if equation.primitive.multiple_results else [found])]

    return probed(run, [x for x in given if not is_known(x)], f"jax.lax's '{equation.primitive.name}'")


def replayed(closed: Any, values: Sequence[Value]) -> list[Value]:
    """The outputs of a closed jaxpr on values. Raises TraceError for a primitive that cannot be read.

    >>> import importlib.util
    >>> if importlib.util.find_spec("jax"):
    ...     import jax
    ...     found = replayed(jax.make_jaxpr(jax.numpy.negative)(1.0), [np.ones(())])
    ...     assert float(found[0]) == -1.0
    """
    return as_outputs(Interpreter().run(closed.jaxpr, closed.consts, values), values)

"""JAX's programs: the jaxpr of a function, run on tracers.

Only what primitives compute is read: the rules of ``jax.custom_jvp`` and ``jax.custom_vjp`` are never asked. What
depends on no input JAX computes itself. One primitive is one line of :data:`ROWS` where it can be.
"""

from __future__ import annotations

import math
import string
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np

from verify.ops import Shape
from verify.programs import common as p
from verify.programs.common import Choice, Idioms, Masked, UnmappedError, Value, is_known, number, shape_of
from verify.tracing.tracer import Tracer

Params = Mapping[str, Any]
Rule = Callable[[Sequence[Value], Params, Shape], Value]
"""``rule(operands, parameters, shape of the result)``."""

MOST_TURNS = 10_000
"""Turns of a while loop whose end is known."""

ELEMENTWISE: Mapping[str, str] = {
    "add": "add", "add_any": "add", "sub": "subtract", "mul": "multiply", "div": "divide", "neg": "negative",
    "exp": "exp", "log": "log", "sqrt": "sqrt", "cbrt": "cbrt", "square": "square", "logistic": "sigmoid",
    "tanh": "tanh", "sin": "sin", "cos": "cos", "tan": "tan", "asin": "arcsin", "acos": "arccos", "atan": "arctan",
    "atan2": "arctan2", "sinh": "sinh", "cosh": "cosh", "asinh": "arcsinh", "acosh": "arccosh", "atanh": "arctanh",
    "erf": "erf", "erfc": "erfc", "expm1": "expm1", "log1p": "log1p", "lgamma": "lgamma", "abs": "abs",
    "sign": "sign", "floor": "floor", "ceil": "ceil",
}  # fmt: skip
"""Primitive -> the elementwise row that it is."""

COMPARISONS: Mapping[str, str] = {"gt": ">", "ge": ">=", "lt": "<", "le": "<=", "eq": "==", "ne": "!="}

HANDED_ON = frozenset({"copy", "copy_p", "stop_gradient", "reduce_precision", "optimization_barrier", "pvary", "real"})
"""Primitives that change nothing about the numbers."""

MOVES: Mapping[str, int] = {
    "reshape": 1, "transpose": 1, "slice": 1, "rev": 1, "squeeze": 1, "broadcast_in_dim": 1, "concatenate": -1,
    "gather": 1, "dynamic_slice": 1, "dynamic_update_slice": 2, "expand_dims": 1, "split": 1, "stack": -1,
    "tile": 1, "unstack": 1,
}  # fmt: skip
"""Primitives that only move entries -> how many operands hold some (-1: all); the others say where to."""

CALLS = frozenset({"jit", "pjit", "closed_call", "core_call", "remat", "remat2", "checkpoint", "custom_jvp_call",
                   "custom_vjp_call", "custom_vjp_call_jaxpr", "custom_lin", "xla_call"})  # fmt: skip
"""Primitives that run a program of their own."""

IDIOMS: Mapping[str, str] = {
    "reduce_max": "max", "reduce_sum": "sum", "sub": "subtract", "add": "add", "exp": "exp", "log": "log",
    "div": "divide", "stop_gradient": "carry", "broadcast_in_dim": "carry", "reshape": "carry", "max": "carry",
    "select_n": "carry", "squeeze": "carry", "expand_dims": "carry", "sign": "carry", "abs": "carry",
}  # fmt: skip
"""Primitive -> the step of a softmax that it may be."""


# --------------------------------------------------------------------------------------------------------------- rows


def _elementwise(row: str, x: Sequence[Value], _: Params, shape: Shape) -> Value:
    found = p.elementwise(row, *x)
    return found if isinstance(found, Masked) else p.fit(found, shape)


def _compared(sign: str, x: Sequence[Value], _: Params, shape: Shape) -> Value:
    return p.compared(sign, x[0], x[1], shape)


def _max(x: Sequence[Value], _: Params, shape: Shape) -> Value:
    """The larger of two; a bound at infinity says nothing."""
    for a, b in (x, x[::-1]):
        if is_known(a) and np.all(np.asarray(a) == -np.inf):
            return p.fit(b, shape) if not isinstance(b, Masked) else b
    return p.fit(p.elementwise("max", *x), shape)


def _min(x: Sequence[Value], _: Params, shape: Shape) -> Value:
    for a, b in (x, x[::-1]):
        if is_known(a) and np.all(np.asarray(a) == np.inf):
            return p.fit(b, shape)
    return p.fit(p.elementwise("min", *x), shape)


def _power(x: Sequence[Value], _: Params, shape: Shape) -> Value:
    exponent = x[1]
    if is_known(exponent) and np.size(exponent) and np.all(exponent == np.ravel(exponent)[0]):
        return p.fit(p.apply("power_constant", x[0], exponent=float(np.ravel(exponent)[0])), shape)
    return p.fit(p.apply("power", *x), shape)


def _integer_power(x: Sequence[Value], params: Params, _: Shape) -> Value:
    return p.apply("square", x[0]) if params["y"] == 2 else p.apply("power_constant", x[0], exponent=float(params["y"]))


def _selected(x: Sequence[Value], _: Params, shape: Shape) -> Value:
    which, *cases = x
    if len(cases) != 2:
        raise UnmappedError("select_n between more than two")
    if all(isinstance(c, Choice) or (is_known(c) and np.asarray(c).dtype.kind == "b") for c in cases):
        first = p.both("and", p.negated(which), cases[0], shape)
        return p.both("or", first, p.both("and", which, cases[1], shape), shape)
    return p.select(which, cases[1], cases[0], shape)


def _reduced(op: str, x: Sequence[Value], params: Params, _: Shape) -> Value:
    axes = tuple(int(a) for a in params["axes"])
    return p.largest(x[0], axes, keepdims=False) if op == "amax" else p.apply(op, x[0], axis=axes)


def _scanned(op: str, x: Sequence[Value], params: Params, _: Shape) -> Value:
    axis = params["axis"]
    turned = np.flip(x[0], axis) if params.get("reverse") else x[0]
    found = p.apply(op, turned, axis=axis)
    return np.flip(found, axis) if params.get("reverse") else found


def _running(step: Callable[[Value, Value], Value], x: Sequence[Value], params: Params, _: Shape) -> Value:
    return p.running(step, x[0], params["axis"], reverse=bool(params.get("reverse")))


def _dot_general(x: Sequence[Value], params: Params, _: Shape) -> Value:
    a, b = x
    (left, right), (batch_a, batch_b) = params["dimension_numbers"]
    letters = iter(string.ascii_letters)
    of_a: list[str] = [""] * len(shape_of(a))
    of_b: list[str] = [""] * len(shape_of(b))
    if not of_a or not of_b:
        return number(a) * number(b)
    for i, j in (*zip(batch_a, batch_b, strict=True), *zip(left, right, strict=True)):
        of_a[i] = of_b[j] = next(letters)
    of_a = [letter or next(letters) for letter in of_a]
    of_b = [letter or next(letters) for letter in of_b]
    kept = [of_a[i] for i in batch_a]
    kept += [of_a[i] for i in range(len(of_a)) if i not in (*batch_a, *left)]
    kept += [of_b[j] for j in range(len(of_b)) if j not in (*batch_b, *right)]
    return p.apply("einsum", a, b, subscripts=f"{''.join(of_a)},{''.join(of_b)}->{''.join(kept)}")


def _convolution(x: Sequence[Value], params: Params, _: Shape) -> Value:
    numbers = params["dimension_numbers"]
    image, taps = np.transpose(number(x[0]), numbers.lhs_spec), np.transpose(number(x[1]), numbers.rhs_spec)
    batches, count = params["batch_group_count"], len(numbers.lhs_spec) - 2
    spread = [int(d) for d in params["lhs_dilation"]] or [1] * count
    dilation = [int(d) for d in params["rhs_dilation"]] or [1] * count
    run = partial(
        p.convolution, stride=[int(s) for s in params["window_strides"]],
        padding=[(int(a), int(b)) for a, b in params["padding"]], spread=spread, dilation=dilation,
    )  # fmt: skip
    if batches == 1:
        y = run(image, taps, groups=int(params["feature_group_count"]))
    else:
        rows, columns = shape_of(image)[0] // batches, shape_of(taps)[0] // batches
        y = np.concatenate(
            [run(image[i * rows : (i + 1) * rows], taps[i * columns : (i + 1) * columns]) for i in range(batches)],
            axis=1,
        )
    return np.transpose(y, [int(i) for i in np.argsort(numbers.out_spec)])


def _window(op: str, x: Sequence[Value], params: Params, _: Shape) -> Value:
    if any(d != 1 for d in (*params["base_dilation"], *params["window_dilation"])):
        raise UnmappedError("a window with dilation")
    around = [(int(a), int(b)) for a, b in params["padding"]]
    form = (params["window_dimensions"], params["window_strides"], around)
    if op != "sum":
        return p.largest_in_windows(x[0], *form, op=op)
    rows = p.windows(x[0], *form)
    return p.apply(op, rows, axis=(len(shape_of(rows)) - 1,))


def _padded(x: Sequence[Value], params: Params, _: Shape) -> Value:
    """Zeros, or another number, around entries and between them."""
    operand, filling = x
    config = [(int(low), int(high), int(between)) for low, high, between in params["padding_config"]]

    def wide(places: Any) -> Any:
        for axis, (low, high, between) in enumerate(config):
            size = places.shape[axis]
            table = np.full((*places.shape[:axis], max(size + (size - 1) * between, 0), *places.shape[axis + 1 :]), -1)
            table[(*(slice(None),) * axis, slice(None, None, between + 1))] = places
            inside = [slice(None)] * axis + [slice(max(-low, 0), table.shape[axis] - max(-high, 0))]
            ends = [(0, 0)] * places.ndim
            ends[axis] = (max(low, 0), max(high, 0))
            places = np.pad(table[tuple(inside)], ends, constant_values=-1)
        return places

    y = p.moved(wide, operand)
    if is_known(filling) and not np.any(filling):
        return y
    outside = wide(np.zeros(shape_of(operand), dtype=int)) < 0
    return p.select(outside, p.fit(filling, shape_of(y)), y, shape_of(y))


def _sorted(x: Sequence[Value], params: Params, _: Shape) -> Value:
    if len(x) != 1:
        raise UnmappedError("a sort of several arrays by values")
    return p.sorted_along(x[0], params["dimension"])


def _top(x: Sequence[Value], params: Params, _: Shape) -> Value:
    axis = params.get("axis", -1) % len(shape_of(x[0]))
    row = np.flip(p.sorted_along(x[0], axis), axis)
    return [row[(*(slice(None),) * axis, slice(0, params["k"]))], None]


def _triangular(x: Sequence[Value], params: Params, _: Shape) -> Value:
    a, b = (number(v) for v in x)
    size = shape_of(a)[-1]
    part = np.tril if params["lower"] else np.triu
    if params["unit_diagonal"]:
        a = a * part(np.ones((size, size)), -1 if params["lower"] else 1) + np.eye(size)
    else:
        a = a * part(np.ones((size, size)))
    a = np.swapaxes(a, -1, -2) if params["transpose_a"] else a
    if params["left_side"]:
        return p.apply("solve", a, b)
    return np.swapaxes(p.apply("solve", np.swapaxes(a, -1, -2), np.swapaxes(b, -1, -2)), -1, -2)


def _remainder(x: Sequence[Value], _: Params, shape: Shape) -> Value:
    ratio = p.apply("divide", *x)
    whole = p.apply("where_or_equal", ratio, 0.0, p.apply("floor", ratio), p.apply("ceil", ratio))
    return p.fit(number(x[0]) - whole * number(x[1]), shape)


def _softplus_of(x: Sequence[Value], _: Params, shape: Shape) -> Value:
    return p.fit(x[1] + p.apply("softplus", number(x[0]) - number(x[1])), shape)


ROWS: Mapping[str, Rule] = {
    **{name: partial(_elementwise, row) for name, row in ELEMENTWISE.items()},
    **{name: partial(_compared, sign) for name, sign in COMPARISONS.items()},
    "max": _max,
    "min": _min,
    "pow": _power,
    "integer_pow": _integer_power,
    "rsqrt": lambda x, _, __: p.apply("reciprocal", p.apply("sqrt", x[0])),
    "exp2": lambda x, _, __: p.apply("exp", number(x[0]) * math.log(2.0)),
    "rem": _remainder,
    "clamp": lambda x, _, shape: p.fit(p.apply("min", p.apply("max", x[1], x[0]), x[2]), shape),
    "is_finite": lambda x, _, shape: np.full(shape, True),  # noqa: ARG005 - numbers of a program are finite
    "not": lambda x, _, __: p.negated(x[0]),
    "and": lambda x, _, shape: p.both("and", x[0], x[1], shape),
    "or": lambda x, _, shape: p.both("or", x[0], x[1], shape),
    "select_n": _selected,
    "reduce_sum": partial(_reduced, "sum"),
    "reduce_prod": partial(_reduced, "prod"),
    "reduce_max": partial(_reduced, "amax"),
    "reduce_min": partial(_reduced, "amin"),
    "cumsum": partial(_scanned, "cumsum"),
    "cumprod": partial(_scanned, "cumprod"),
    "cummax": partial(_running, np.maximum),
    "cummin": partial(_running, np.minimum),
    "cumlogsumexp": partial(_running, lambda a, b: b + p.apply("softplus", a - b)),
    "logaddexp": _softplus_of,
    "dot_general": _dot_general,
    "conv_general_dilated": _convolution,
    "reduce_window_max": partial(_window, "amax"),
    "reduce_window_min": partial(_window, "amin"),
    "reduce_window_sum": partial(_window, "sum"),
    "pad": _padded,
    "sort": _sorted,
    "top_k": _top,
    "cholesky": lambda x, _, __: p.apply("cholesky", x[0]),
    "triangular_solve": _triangular,
}  # fmt: skip
"""Primitive -> what it is on tracers."""

NAMED: Mapping[str, tuple[int, Rule]] = {
    "inv": (1, lambda x, _, __: p.apply("inverse", x[0])),
    "_solve": (2, lambda x, _, __: p.apply("solve", x[0], x[1])),
    "solve": (2, lambda x, _, __: p.apply("solve", x[0], x[1])),
    "det": (1, lambda x, _, __: p.apply("det", x[0])),
    "_det": (1, lambda x, _, __: p.apply("det", x[0])),
    "slogdet": (1, lambda x, _, __: [p.apply("sign", p.apply("det", x[0])), p.apply("logabsdet", x[0])]),
    "_slogdet_lu": (1, lambda x, _, __: [p.apply("sign", p.apply("det", x[0])), p.apply("logabsdet", x[0])]),
}
"""A jitted function of ``jax.numpy.linalg`` -> how many operands it takes, and what it is as a whole. Values tell
whether it is that function."""


# ------------------------------------------------------------------------------------------------------ programs


@dataclass(slots=True)
class Interpreter:
    """Runs jaxprs on values; softmax is seen across the programs that one calls."""

    idioms: Idioms = field(default_factory=Idioms)
    named: list[tuple[str, int, Tracer]] = field(default_factory=list)

    def run(self, jaxpr: Any, consts: Sequence[Any], operands: Sequence[Value]) -> list[Value]:
        """The outputs of a jaxpr. Raises UnmappedError for a primitive without a row."""
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
            if isinstance(found[0], Tracer):
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
        return found if isinstance(found, list) else [found]

    def _on_values(self, equation: Any, name: str, given: Sequence[Value], shape: Shape) -> Value:
        try:
            if name in ROWS:
                return ROWS[name](given, equation.params, shape)
            if name in WITH_EQUATION:
                return WITH_EQUATION[name](equation, name, given)
        except (TypeError, ValueError, ArithmeticError, LookupError) as error:
            said = (str(error).splitlines() or [type(error).__name__])[0][:100]
            raise UnmappedError(f"jax.lax's '{name}' is not known with these operands ({said})") from error
        raise UnmappedError(f"jax.lax has '{name}', which has no op here")

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
            np.stack([number(turn[j]) for turn in kept])
            if kept else np.zeros(equation.outvars[carried + j].aval.shape)
            for j in range(len(equation.outvars) - carried)
        ]  # fmt: skip
        return [*carry, *stacked]

    def turns(self, equation: Any, given: Sequence[Value]) -> list[Value]:
        """A ``while`` whose end is known, every turn written out."""
        params = equation.params
        tests, bodies = params["cond_nconsts"], params["body_nconsts"]
        of_test, of_body = given[:tests], given[tests : tests + bodies]
        carry: list[Value] = list(given[tests + bodies :])
        for _ in range(MOST_TURNS):
            (goes_on,) = self.run(params["cond_jaxpr"].jaxpr, params["cond_jaxpr"].consts, [*of_test, *carry])
            if not is_known(goes_on):
                raise UnmappedError("while: a loop whose end depends on values")
            if not bool(goes_on):
                return carry
            carry = self.run(params["body_jaxpr"].jaxpr, params["body_jaxpr"].consts, [*of_body, *carry])
        raise UnmappedError(f"while: more than {MOST_TURNS:,} turns")

    def branch(self, equation: Any, given: Sequence[Value]) -> list[Value]:
        """A ``cond`` whose outcome is known."""
        if not is_known(given[0]):
            raise UnmappedError("cond: a branch on values")
        chosen = equation.params["branches"][int(given[0])]
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


def _converted(equation: Any, _: str, given: Sequence[Value]) -> Value:
    x, dtype = given[0], np.dtype(equation.outvars[0].aval.dtype)
    if dtype.kind == "b" and isinstance(x, Choice):
        return x
    if np.issubdtype(dtype, np.floating):
        return number(x) if isinstance(x, Choice) else x
    if np.issubdtype(dtype, np.complexfloating):
        raise UnmappedError("complex numbers")
    raise UnmappedError(f"values as {dtype}")


def _moving(equation: Any, name: str, given: Sequence[Value]) -> Value:
    """A primitive that only moves entries; the common ones by NumPy's own words, which read better."""
    params, x = equation.params, given[0]
    if isinstance(x, Tracer):
        if name == "reshape" and params.get("dimensions") is None:
            return np.reshape(x, params["new_sizes"])
        if name == "transpose":
            return np.transpose(x, params["permutation"])
        if name == "broadcast_in_dim":
            thin = [1] * len(params["shape"])
            for axis, size in zip(params["broadcast_dimensions"], x.shape, strict=True):
                thin[axis] = size
            return p.fit(np.reshape(x, tuple(thin)), params["shape"])
        if name == "slice":
            steps = params["strides"] or [1] * x.ndim
            cuts = zip(params["start_indices"], params["limit_indices"], steps, strict=True)
            return x[
                tuple(
                    slice(*cut) if cut != (0, size, 1) else slice(None) for cut, size in zip(cuts, x.shape, strict=True)
                )
            ]
    return _by_positions(equation, name, given)


def _by_positions(equation: Any, name: str, given: Sequence[Value]) -> Value:
    import jax

    count = MOVES[name] if MOVES[name] >= 0 else len(given)
    places = given[count:]
    if not all(is_known(value) for value in places):
        raise UnmappedError(f"{name} at places that depend on values")
    params = dict(equation.params)
    if name == "gather":
        params["fill_value"] = -1

    def run(*tables: Any) -> Any:
        return equation.primitive.bind(
            *(jax.numpy.asarray(t) for t in tables), *(jax.numpy.asarray(x) for x in places), **params
        )

    if not equation.primitive.multiple_results:
        return p.moved(lambda *tables: np.asarray(run(*tables)), *given[:count])
    return [
        p.moved(lambda *tables, i=i: np.asarray(run(*tables)[i]), *given[:count]) for i in range(len(equation.outvars))
    ]


def _scattered(equation: Any, name: str, given: Sequence[Value]) -> Value:
    """``x.at[places].add(y)`` and ``.set(y)``."""
    import jax

    x, places, y = given
    if not is_known(places):
        raise UnmappedError(f"{name} at places that depend on values")

    def run(into: Any, source: Any) -> Any:
        arrays = (jax.numpy.asarray(into), jax.numpy.asarray(places), jax.numpy.asarray(source))
        return np.asarray(equation.primitive.bind(*arrays, **equation.params))

    if name == "scatter":
        return p.moved(run, x, y)
    zeros = np.zeros(shape_of(x))
    moved = p.linear(lambda unit: run(zeros, unit), y, shape_of(x))
    return moved if is_known(x) and not np.any(x) else number(x) + moved


WITH_EQUATION: Mapping[str, Callable[[Any, str, Sequence[Value]], Value]] = {
    **{name: lambda _, __, given: list(given) for name in HANDED_ON},
    **dict.fromkeys(MOVES, _moving),
    "convert_element_type": _converted,
    "scatter": _scattered,
    "scatter-add": _scattered,
    "scatter_add": _scattered,
}
"""Primitives whose rule is told the whole equation."""


def replayed(closed: Any, values: Sequence[Value]) -> list[Value]:
    """The outputs of a closed jaxpr on values. Raises UnmappedError for a primitive without a row.

    >>> import importlib.util
    >>> if importlib.util.find_spec("jax"):
    ...     import jax
    ...     found = replayed(jax.make_jaxpr(jax.numpy.negative)(1.0), [np.ones(())])
    ...     assert float(found[0]) == -1.0
    """
    return [number(x) for x in Interpreter().run(closed.jaxpr, closed.consts, values)]


def has_row(name: str) -> bool:
    """Whether a primitive is one of those that are known here.

    >>> has_row("dot_general"), has_row("eigh")
    (True, False)
    """
    return name in ROWS or name in WITH_EQUATION or name in CALLS or name in LOOPS

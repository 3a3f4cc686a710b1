"""PyTorch's programs: the graph of ATen ops that ``make_fx`` writes down of a function of tensors, run on tracers.

The forward alone is written down, also of a ``torch.autograd.Function``: no rule of PyTorch's own for a derivative is
ever asked. What depends on no input PyTorch computes itself.
"""

from __future__ import annotations

import operator
import re
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from verify.errors import TraceError, Untraced
from verify.programs.aten_rules import HANDED_ON, RULES, STEP_RULES, Step
from verify.programs.probing import probed
from verify.programs.softmax_idiom import Idioms
from verify.programs.values import Value, as_outputs, elementwise, is_known, settled
from verify.tracing.conditions import Condition
from verify.tracing.numpy_rules import is_elementwise
from verify.tracing.tracer import Tracer, as_tracer
from verify.tracing.untraced import unmapped

WHOLE = ("logsumexp", "softplus", "silu", "linalg_vector_norm", "leaky_relu", "hardtanh")
"""Ops that PyTorch can take apart and that have a row, or a kink that its parts do not show."""

CHECKS = frozenset({"_linalg_check_errors", "_assert_tensor_metadata", "_assert_scalar", "_assert_async"})

IDIOMS: Mapping[str, str] = {
    "sub": "subtract", "add": "add", "exp": "exp", "log": "log", "div": "divide", "sum": "sum", "amax": "max",
    "unsqueeze": "carry", "view": "carry", "expand": "carry", "squeeze": "carry", "clone": "carry", "detach": "carry",
}  # fmt: skip
"""ATen op -> the step of a softmax that it may be."""


@dataclass(frozen=True, slots=True)
class Complex:
    """Complex numbers that depend on inputs: pairs of real ones along the last axis of an array."""

    pairs: Value


# -------------------------------------------------------------------------------------------------------- one op runs


def run_op(target: Any, args: Sequence[Any], options: Mapping[str, Any], meta: Any) -> Any:
    """One op of an ATen graph on values. Raises TraceError, which names the op, where it cannot be read.

    >>> import importlib.util
    >>> if importlib.util.find_spec("torch"):
    ...     import torch
    ...     assert run_op(torch.ops.aten.neg.default, [torch.tensor(2.0)], {}, None) == -2
    """
    if target is operator.getitem:
        return args[0][args[1]]
    name = op_name(target)
    if name in CHECKS:
        return None
    leaves = _leaves([list(args), list(options.values())])
    if not any(map(_depends, leaves)):
        return target(*_tensors(list(args)), **{k: _tensors(x) for k, x in options.items()})
    given, named = [_plain(arg) for arg in args], {k: _plain(x) for k, x in options.items()}
    try:
        found = _on_values(target, name, given, named, meta)
    except (TypeError, ValueError, ArithmeticError, LookupError, RuntimeError) as error:
        said = (str(error).splitlines() or [type(error).__name__])[0][:100]
        raise unmapped(f"aten.{name} is not known with these arguments ({said})", op=name) from error
    return found if isinstance(found, tuple | list) else _in_dtype(found, getattr(meta, "dtype", None))


def _in_dtype(found: Value, dtype: Any) -> Value:
    """Truth values as numbers where those are wanted; whole numbers are those of the traced point."""
    if isinstance(found, Condition) and dtype is not None and str(dtype) != "torch.bool":
        return as_tracer(found)
    if dtype is None or type(found) is not Tracer or dtype.is_floating_point or found.is_known:
        return settled(found)
    whole = np.asarray(found.frozen(f"a conversion to {str(dtype).removeprefix('torch.')}"))
    return whole.astype(bool if str(dtype) == "torch.bool" else np.int64)


def op_name(target: Any) -> str:
    """The name of an op without its overload, and without what says that it writes in place or makes a copy.

    >>> op_name(abs)
    'abs'
    """
    schema = getattr(target, "_schema", None)
    name = schema.name.split("::")[1] if schema is not None else getattr(target, "__name__", str(target))
    if writes_in_place(target):
        name = name[:-1]
    return name.removesuffix("_copy") if name not in ("_to_copy", "lift_fresh_copy") else name


def writes_in_place(target: Any) -> bool:
    """Whether an op changes its first operand.

    >>> writes_in_place(abs)
    False
    """
    schema = getattr(target, "_schema", None)
    name = schema.name if schema is not None else ""
    return name.endswith("_") and not name.endswith("__")


def _on_values(target: Any, name: str, args: Sequence[Any], options: Mapping[str, Any], meta: Any) -> Any:
    if not any(isinstance(leaf, Complex) for leaf in _leaves(list(args))):
        if name in HANDED_ON:
            return args[0]
        if name in STEP_RULES:
            return STEP_RULES[name](Step(target, args, options, tuple(getattr(meta, "shape", ()))))
        if name in RULES:
            try:
                return RULES[name](*args, **options)
            except TraceError as error:
                if error.kind not in (Untraced.ARGUMENTS, Untraced.SIZE):
                    raise
        elif is_elementwise(name):
            return elementwise(name, *args)
    return _probed(target, name, args, options)


def _probed(target: Any, name: str, args: Sequence[Any], options: Mapping[str, Any]) -> Any:
    """An op without a rule, by what PyTorch makes of numbers."""
    import torch

    whole: list[Any] = [list(args), dict(options)]
    operands = [x for x in _leaves([whole[0], list(options.values())]) if _depends(x)]
    is_single: list[bool] = []
    kinds: list[bool] = []

    def run(*arrays: Any) -> list[Any]:
        given = iter(arrays)

        def shown(value: Any) -> Any:
            if isinstance(value, list):
                return [shown(item) for item in value]
            if not _depends(value):
                return _tensors(value)
            table = torch.from_numpy(np.array(next(given), dtype=np.float64, order="C"))
            return torch.view_as_complex(table) if isinstance(value, Complex) else table

        found = target(*[shown(arg) for arg in whole[0]], **{k: shown(x) for k, x in whole[1].items()})
        is_single[:] = [not isinstance(found, tuple | list)]
        tensors = [found] if is_single[0] else list(found)
        kinds[:] = [tensor.is_complex() for tensor in tensors]
        return [(torch.view_as_real(y.resolve_conj()) if y.is_complex() else y.resolve_neg()).numpy() for y in tensors]

    found = probed(run, [x.pairs if isinstance(x, Complex) else x for x in operands], f"aten.{name}")
    values = [Complex(y) if is_complex else y for y, is_complex in zip(found, kinds, strict=True)]
    return values[0] if is_single[0] else values


def _depends(value: Any) -> bool:
    return isinstance(value, Complex) or not is_known(value)


def _plain(value: Any) -> Any:
    """A constant tensor as an array, in lists too."""
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if hasattr(value, "detach") and hasattr(value, "numpy"):
        return value.numpy(force=True)
    return value


def _tensors(value: Any) -> Any:
    """The other way round, for what PyTorch computes itself."""
    import torch

    if isinstance(value, list):
        return [_tensors(item) for item in value]
    return torch.from_numpy(np.array(value)) if isinstance(value, np.ndarray | np.generic) else value


def _leaves(value: Any) -> list[Any]:
    if isinstance(value, list | tuple):
        return [leaf for item in value for leaf in _leaves(item)]
    return [value]


# --------------------------------------------------------------------------------------------------- the whole program


def written_down(function: Callable[..., Any], tensors: Sequence[Any]) -> Any:
    """The ATen graph of a function of tensors, mutations and views taken out.

    >>> import importlib.util
    >>> if importlib.util.find_spec("torch"):
    ...     import torch
    ...     module = written_down(torch.sin, [torch.zeros(2)])
    ...     assert [n.op for n in module.graph.nodes] == ["placeholder", "call_function", "output"]
    """
    from torch._decomp import core_aten_decompositions
    from torch._subclasses.functional_tensor import dispatch_functionalize
    from torch.fx.experimental.proxy_tensor import make_fx

    table = {op: rule for op, rule in core_aten_decompositions().items() if op_name(op) not in WHOLE}
    read = partial(make_fx, decomposition_table=table, tracing_mode="real", record_stack_traces=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return read(dispatch_functionalize(function))(*tensors)
        except (
            AssertionError,
            RuntimeError,
        ):  # ops that check matrices, or write into running means: as it stands, then
            return read(function)(*tensors)


def replayed(module: Any, values: Sequence[Value]) -> list[Value]:
    """The outputs of an ATen graph on values, one for each of its placeholders.

    Steps of the recording get the names of the variables that the function's own lines assign to.
    Raises TraceError for an op that cannot be read.

    >>> import importlib.util
    >>> if importlib.util.find_spec("torch"):
    ...     import torch
    ...     found = replayed(written_down(torch.neg, [torch.zeros(2)]), [torch.ones(2)])
    ...     assert found[0].tolist() == [-1.0, -1.0]
    """
    env: dict[Any, Any] = {}
    idioms, given = Idioms(), iter(values)
    named: list[tuple[str, int, Tracer]] = []

    def known(arg: Any) -> Any:
        if isinstance(arg, list | tuple):
            return [known(item) for item in arg]
        return env[arg] if type(arg).__name__ == "Node" else arg

    outputs: Any = []
    module.graph.eliminate_dead_code()
    for node in module.graph.nodes:
        if node.op == "placeholder":
            env[node] = next(given)
        elif node.op == "get_attr":
            env[node] = operator.attrgetter(node.target)(module)
        elif node.op == "output":
            outputs = known(node.args[0])
        else:
            args = [known(arg) for arg in node.args]
            found = run_op(node.target, args, {k: known(x) for k, x in node.kwargs.items()}, node.meta.get("val"))
            kind = IDIOMS.get(op_name(node.target))
            if kind is not None and type(found) is Tracer:
                found = idioms.seen(kind, [a for a in args if not isinstance(a, list)], found, _reduced_axes(args))
            env[node] = found
            if writes_in_place(node.target) and type(node.args[0]).__name__ == "Node":
                env[node.args[0]] = found
            if type(found) is Tracer and found.storage.whole is not None:
                named.append((*_assigned(node.stack_trace or ""), found))
    _give_names(named)
    return as_outputs(outputs if isinstance(outputs, list) else [outputs], values)


def _reduced_axes(args: Sequence[Any]) -> Sequence[int] | None:
    axes = args[1] if len(args) > 1 else None
    return axes if isinstance(axes, list) and all(isinstance(a, int) for a in axes) and axes else None


_FRAME = re.compile(r"line (\d+), in [^\n]*\n\s*(?:(\w+)\s*=(?!=))?")


def _assigned(trace: str) -> tuple[str, int]:
    """The variable and the line of the last frame of a stack trace, as far as they are said."""
    found = _FRAME.findall(trace)
    return (found[-1][1], int(found[-1][0])) if found else ("", 0)


def _give_names(named: Sequence[tuple[str, int, Tracer]]) -> None:
    """The last step of each line is what its variable holds."""
    for (name, line, tracer), after in zip(named, [*named[1:], ("", -1, None)], strict=False):
        step = tracer.recorder.steps[tracer.step]
        step.line = line or step.line
        if name and after[1] != line and step.kind == "op":
            step.names.append((1, name))

"""A function of tensors as a gradient under test, and as a reference that can be traced."""

from __future__ import annotations

import functools
import inspect
import re
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from types import FunctionType
from typing import Any

import numpy as np

from verify.errors import TraceError, UsageError
from verify.programs import aten
from verify.programs.calling import (
    Call,
    Tree,
    as_function,
    as_gradient,
    each_leaf,
    is_written_out,
    seeds_of,
    signature_of,
    structured,
    untraceable,
)
from verify.programs.read_in_balls import ReadInBalls
from verify.tracing.code_objects import closure_of
from verify.tracing.function_call import name_of
from verify.tracing.places import global_names
from verify.tracing.traced import is_traced
from verify.tracing.untraced import unmapped

MISSING = "PyTorch is not installed: pip install 'verify-gradients[torch]'"


def the_library() -> Any:
    """PyTorch itself. Raises UsageError where it is not installed.

    >>> import importlib.util
    >>> not importlib.util.find_spec("torch") or the_library().__name__ == "torch"
    True
    """
    try:
        import torch
    except ImportError:
        raise UsageError(MISSING) from None
    return torch


def gradient_of(function: Any, *, constants: Collection[str] = ()) -> Callable[..., Any]:
    """The gradient that PyTorch gives of a function of tensors, for ``verify.check_gradient``.

    ``function`` takes and returns tensors, or is a ``torch.autograd.Function``. ``constants`` names arguments that are
    not differentiated. The gradient takes NumPy arrays, by name or by position, and ``upstream``; it answers in their
    dtypes. Raises UsageError without the package.

    >>> import importlib.util
    >>> def square(x):
    ...     return x * x
    >>> not importlib.util.find_spec("torch") or float(gradient_of(square)(np.float64(3.0))) == 6.0
    True
    """
    torch = the_library()
    forward, code, signature = parts_of(function)

    def of_tensors(
        tensors: Mapping[str, Any], by: Sequence[str], call: Call, seeds_for: Callable[..., Any]
    ) -> list[Any]:
        """PyTorch's gradients, None where it says that an input has no part in the outputs."""
        with torch.enable_grad():
            outputs = [y for y in outputs_of(call(tensors)) if y.dtype.is_floating_point]
        if not any(y.requires_grad for y in outputs):
            raise UsageError(f"no gradient flows from the output of {name_of(function)} to its inputs: it is detached")
        pairs = [(y, seed) for y, seed in zip(outputs, seeds_for(outputs), strict=True) if y.requires_grad]
        return list(
            torch.autograd.grad(
                [y for y, _ in pairs], [tensors[name] for name in by], [seed for _, seed in pairs],
                allow_unused=True, materialize_grads=True,
            )
        )  # fmt: skip

    def pull(arguments: Mapping[str, Any], by: Sequence[str], call: Call, upstream: Any) -> Any:
        tensors = {name: as_tensor(x).requires_grad_(name in by) for name, x in arguments.items()}

        def seeds_for(outputs: Sequence[Any]) -> list[Any]:
            seeds = seeds_of([y.numpy(force=True) for y in outputs], upstream)
            return [torch.from_numpy(seed).to(y) for y, seed in zip(outputs, seeds, strict=True)]

        found = of_tensors(tensors, by, call, seeds_for)
        return {name: np.array(g.numpy(force=True)) for name, g in zip(by, found, strict=True)}

    def back(arguments: Mapping[str, Any], by: Sequence[str], call: Call, seeds: Sequence[Any]) -> list[Any]:
        """The backward pass as a program of its own, for arrays or tracers."""
        names = [*arguments, *range(len(seeds))]

        def program(*tensors: Any) -> list[Any]:
            given = dict(zip(names, tensors, strict=True))
            moved = {name: given[name].detach().requires_grad_(name in by) for name in arguments}
            return of_tensors(moved, by, call, lambda _: [given[i] for i in range(len(seeds))])

        return _replayed(program, [*arguments.values(), *seeds], own_dtype=True)

    gradient = as_gradient(forward, pull, constants, code, signature)
    gradient.forward = as_function(forward, _evaluated_as_given, _traced(function), code, signature)  # type: ignore[attr-defined]
    gradient.in_balls = ReadInBalls(gradient, forward, back, constants, signature)  # type: ignore[attr-defined]
    return gradient


def as_numpy(function: Any) -> Callable[..., Any]:
    """A function of tensors as one of NumPy arrays in float64, which :func:`verify.trace` can trace.

    The forward alone is read: what PyTorch knows of derivatives has no part in it.

    >>> import importlib.util
    >>> if importlib.util.find_spec("torch"):
    ...     import torch
    ...     from verify.tracing.trace import trace
    ...     case = trace(as_numpy(lambda x: torch.sin(x) * x), x=2.0)
    ...     assert list(case.expressions.values()) == ["sin(x) * x"]
    """
    forward, code, signature = parts_of(function)
    return as_function(forward, _evaluated, _traced(function), code, signature)


def on_arrays(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function that takes and returns tensors, in tuples and mappings too, as one of arrays; it may differentiate.

    >>> import importlib.util
    >>> not importlib.util.find_spec("torch") or float(on_arrays(lambda x: 2 * x)(np.float64(3.0))) == 6.0
    True
    """
    torch = the_library()

    @functools.wraps(function)
    def called(*args: Any, **named: Any) -> Any:
        with torch.enable_grad():
            return each_leaf(function(*each_leaf(args, as_tensor), **each_leaf(named, as_tensor)), as_array)

    return called


def parts_of(function: Any) -> tuple[Any, Any, Any]:
    """What is called, the Python code behind it, and its signature; of a ``torch.autograd.Function`` the forward's.

    >>> import importlib.util
    >>> not importlib.util.find_spec("torch") or str(parts_of(lambda x, y: x)[2]) == "(x, y)"
    True
    """
    torch = the_library()
    if isinstance(function, type) and issubclass(function, torch.autograd.Function):
        own: Any = function
        found = signature_of(own.forward)
        parameters = list(found.parameters.values())
        has_context = own.setup_context is torch.autograd.Function.setup_context
        return own.apply, own.backward, found.replace(parameters=parameters[1 if has_context else 0 :])
    if isinstance(function, torch.nn.Module):
        return _stateless(function), type(function).forward, signature_of(function.forward)
    return _stateless(function), function, signature_of(function)


# ------------------------------------------------------------------------------------------------------ the two ways


def _evaluated(arguments: Mapping[str, Any], call: Call) -> Any:
    """In float64; in the dtypes as given where that cannot be had: it may have tensors of its own that do not fit."""
    try:
        return _evaluated_as_given(_wide(arguments), call)
    except RuntimeError:
        return _evaluated_as_given(arguments, call)


def _evaluated_as_given(arguments: Mapping[str, Any], call: Call) -> Any:
    with the_library().no_grad():
        return structured(call({name: as_tensor(x) for name, x in arguments.items()}), _array)


def _traced(function: Any) -> Callable[..., Any]:
    def replay(arguments: Mapping[str, Any], call: Call) -> Any:
        shape: list[Any] = []

        def program(*tensors: Any) -> list[Any]:
            leaves: list[Any] = []

            def kept(value: Any) -> Any:
                if not isinstance(value, the_library().Tensor) or not value.dtype.is_floating_point:
                    return None
                leaves.append(value)
                return len(leaves) - 1

            shape[:] = [structured(call(dict(zip(arguments, tensors, strict=True))), kept)]
            return leaves

        try:
            with the_library().no_grad():
                found = _replayed(program, list(arguments.values()))
        except TraceError as error:
            raise untraceable(parts_of(function)[1], error) from error
        return structured(shape[0], lambda i: None if i is None else found[i])

    return replay


def _replayed(program: Callable[..., Any], values: Sequence[Any], *, own_dtype: bool = False) -> list[Any]:
    """The outputs of a function of tensors on tracers and arrays, by the program that PyTorch writes down of it."""
    torch = the_library()
    moving = [i for i, value in enumerate(values) if is_traced(value)]
    held = {i: as_tensor(value) for i, value in enumerate(values) if i not in moving}

    def of_moving(*tensors: Any) -> list[Any]:
        known = {**held, **dict(zip(moving, tensors, strict=True))}
        return list(program(*(known[i] for i in range(len(values)))))

    def examples(dtype: Any) -> list[Any]:
        # Numbers between 0.3 and 0.7: a program may check that they are probabilities.
        return [
            torch.linspace(0.3, 0.7, values[i].size, dtype=dtype).reshape(values[i].shape) for i in moving
        ]  # fmt: skip

    own = torch.float32 if values[moving[0]].dtype == np.float32 else torch.float64
    try:
        module = aten.written_down(of_moving, examples(own if own_dtype else torch.float64))
    except UsageError:
        raise
    except Exception as error:
        if not own_dtype and own is not torch.float64:
            return _replayed(program, values, own_dtype=True)
        said = str(error).strip().splitlines() or [type(error).__name__]
        what = (
            "a branch on values"
            if "data-dependent" in str(error) or "_local_scalar_dense" in str(error)
            else said[0][:120]
        )
        raise unmapped(f"{what}: PyTorch cannot write its program down") from error
    found = aten.replayed(module, [values[i] for i in moving])
    return [_array(x) if isinstance(x, torch.Tensor) else x for x in found]


def of_parameters(function: Any) -> tuple[Callable[..., Any], dict[str, Any]]:
    """A module as a function of its input and of its parameters, with their values; other functions have none.

    >>> of_parameters(len)
    (<built-in function len>, {})
    """
    torch = sys.modules.get("torch")
    if torch is None or not isinstance(function, torch.nn.Module):
        return function, {}
    paths = {_identifier(path): path for path, _ in function.named_parameters()}
    values = {name: as_array(function.get_parameter(path)) for name, path in paths.items()}
    own = list(signature_of(function.forward).parameters.values())
    more = [inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY) for name in values]
    signature = inspect.Signature([*(p for p in own if p.kind is not p.VAR_KEYWORD), *more])

    def with_parameters(*args: Any, **named: Any) -> Any:
        given = {paths[name]: named.pop(name) for name in paths}
        return torch.func.functional_call(function, given, args, named)

    with_parameters = _stateless(with_parameters)
    with_parameters.__signature__ = signature  # type: ignore[attr-defined]
    with_parameters.__name__ = type(function).__name__
    return with_parameters, values


def _stateless(function: Any) -> Any:
    """A function whose modules keep nothing between calls; itself where it has none with buffers.

    In train mode a normalisation writes its running mean down in every call, which is none of its values.
    """
    modules = [inner for module in _modules_of(function) for inner in module.modules() if inner._buffers]  # noqa: SLF001
    if not modules:
        return function

    def called(*args: Any, **named: Any) -> Any:
        before = [dict(module._buffers) for module in modules]  # noqa: SLF001 - as torch.func.functional_call does
        try:
            for module in modules:
                module._buffers.update({k: _made_anew(x) for k, x in module._buffers.items()})  # noqa: SLF001
            return function(*args, **named)
        finally:
            for module, buffers in zip(modules, before, strict=True):
                module._buffers.update(buffers)  # noqa: SLF001

    return functools.update_wrapper(called, function)


def _made_anew(buffer: Any) -> Any:
    """A copy that may be written to while the program is written down, as a clone of an outer tensor may not."""
    return None if buffer is None else the_library().zeros(buffer.shape, dtype=buffer.dtype).copy_(buffer)


def _modules_of(function: Any) -> list[Any]:
    """A module itself, and those that a function names."""
    held = [function, getattr(function, "__self__", None)]
    function = getattr(function, "__func__", function)
    if isinstance(function, FunctionType):
        names = global_names(function.__code__) & set(function.__globals__)
        held += [*closure_of(function).values(), *(function.__globals__[name] for name in names)]
    return [value for value in held if isinstance(value, the_library().nn.Module)]


def _identifier(path: str) -> str:
    """``layers.0.weight`` as a name: ``layers_0_weight``."""
    name = re.sub(r"\W", "_", path)
    return name if name.isidentifier() else f"layer_{name}"


def leaves_of(value: Any) -> Tree:
    """A value taken apart: dicts, lists and tuples of tensors or arrays.

    >>> leaves_of(3.0).is_tree
    False
    """
    if not isinstance(value, Mapping | tuple | list) or is_written_out(value):
        return Tree(is_tree=False, paths=[""], values=[value], rebuilt=lambda leaves: leaves[0])
    from torch.utils import _pytree as trees

    pairs, form = trees.tree_flatten_with_path(value)
    return Tree(
        is_tree=True,
        paths=[trees.keystr(path) for path, _ in pairs],
        values=[leaf for _, leaf in pairs],
        rebuilt=lambda leaves: trees.tree_unflatten(list(leaves), form),
    )


def as_array(value: Any) -> Any:
    """A tensor as an array; anything else as it is.

    >>> as_array("sum")
    'sum'
    """
    torch = sys.modules.get("torch")
    return np.array(value.numpy(force=True)) if torch is not None and isinstance(value, torch.Tensor) else value


# ------------------------------------------------------------------------------------------------------------ tensors


def as_tensor(value: Any) -> Any:
    """An array or a number as a tensor of its own; anything else as it is.

    >>> import importlib.util
    >>> not importlib.util.find_spec("torch") or as_tensor(np.ones(2)).shape == (2,)
    True
    """
    torch = the_library()
    if isinstance(value, torch.Tensor) or not isinstance(value, np.ndarray | np.generic | int | float | bool | list):
        return value
    return torch.from_numpy(np.array(value))


def _array(value: Any) -> Any:
    """A tensor as an array, None for what is no tensor of real numbers. Raises UsageError for a complex one."""
    torch = the_library()
    if not isinstance(value, torch.Tensor):
        return None
    if value.dtype.is_complex:
        raise UsageError(
            f"the function returned a tensor of {str(value.dtype).removeprefix('torch.')}: gradients are those of real "
            "functions. Return torch.view_as_real(y), or its real and its imaginary part"
        )
    if not value.dtype.is_floating_point:
        return None
    plain = value.detach().cpu().resolve_conj().resolve_neg()
    return np.array((plain.to(torch.float32) if plain.dtype is torch.bfloat16 else plain).numpy())


def _wide(arguments: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: np.asarray(x, dtype=np.float64) if np.asarray(x).dtype.kind == "f" else x for name, x in arguments.items()
    }


def outputs_of(answer: Any) -> list[Any]:
    """The tensors among what a function returned, in order. Raises UsageError for anything else.

    >>> outputs_of(None) if __import__("importlib.util").util.find_spec("torch") else []
    []
    """
    torch = the_library()
    found: list[Any] = []

    def one(value: Any) -> None:
        if value is None:
            return
        if not isinstance(value, torch.Tensor):
            raise UsageError(f"the function returned a {type(value).__name__}, expected a tensor or a tuple of tensors")
        if value.dtype.is_complex:
            _array(value)
        found.append(value)

    structured(answer, one)
    return found

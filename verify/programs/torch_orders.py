"""PyTorch's forward mode and its second derivatives, as functions of arrays that ``check_jvp`` and ``check_hvp`` take.

All of them take the function's arguments in order, and then a vector for each that is differentiated.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from verify.programs.calling import names_of, with_vectors
from verify.programs.torch_functions import as_tensor, outputs_of, parts_of, the_library

Function = Callable[..., Any]


def jvp_of(function: Any, *, constants: Collection[str] = ()) -> Function:
    """``J v`` by PyTorch's forward mode: dual numbers, and the ``jvp`` of a ``torch.autograd.Function``.

    ``constants`` names arguments that are not differentiated, as in the others. Raises UsageError without the package.

    >>> import importlib.util
    >>> not importlib.util.find_spec("torch") or float(jvp_of(lambda x: x * x)(np.array(3.0), np.array(1.0))) == 6.0
    True
    """
    torch = the_library()
    forward, _, signature = parts_of(function)

    def jvp(*args: Any) -> Any:
        values, vectors = with_vectors(args, names_of(signature, len(args)), constants)
        dual = torch.autograd.forward_ad
        with _dual_numbers():
            moving = [
                x if v is None else dual.make_dual(as_tensor(x), as_tensor(v))
                for x, v in zip(map(as_tensor, values), vectors, strict=True)
            ]
            pairs = [dual.unpack_dual(y) for y in _floating(forward(*moving))]
            return _arrays([torch.zeros_like(y) if dy is None else dy for y, dy in pairs])

    return jvp


def hvp_of(
    function: Any,
    *,
    constants: Collection[str] = (),
    upstream: Sequence[Any] | None = None,
    forward_over_reverse: bool = False,
) -> Function:
    """``H v`` of the outputs contracted with ``upstream``, by double backward, or by forward mode through the backward.

    >>> import importlib.util
    >>> not importlib.util.find_spec("torch") or float(hvp_of(lambda x: x**3)(np.array(2.0), np.array(1.0))) == 12.0
    True
    """
    torch = the_library()
    forward, _, signature = parts_of(function)

    def gradient(tensors: Sequence[Any], moving: Sequence[Any]) -> Sequence[Any]:
        outputs = _floating(forward(*tensors))
        seeds = [torch.ones_like(y) for y in outputs] if upstream is None else [as_tensor(g) for g in upstream]
        kept = [(y, g.to(y)) for y, g in zip(outputs, seeds, strict=True) if y.requires_grad]
        found: Sequence[Any] = torch.autograd.grad(
            [y for y, _ in kept], moving, [g for _, g in kept], create_graph=True, allow_unused=True,
            materialize_grads=True,
        )  # fmt: skip
        return found

    def hvp(*args: Any) -> Any:
        values, vectors = with_vectors(args, names_of(signature, len(args)), constants)
        tensors = [as_tensor(x) for x in values]
        moves = [i for i, v in enumerate(vectors) if v is not None]
        along = [as_tensor(vectors[i]) for i in moves]
        with torch.enable_grad():
            for i in moves:
                tensors[i] = tensors[i].requires_grad_()
            if forward_over_reverse:
                dual = torch.autograd.forward_ad
                with _dual_numbers():
                    for i, v in zip(moves, along, strict=True):
                        tensors[i] = dual.make_dual(tensors[i], v)
                    found = gradient(tensors, [tensors[i] for i in moves])
                    pairs = [dual.unpack_dual(g) for g in found]
                    return _arrays([torch.zeros_like(g) if dg is None else dg for g, dg in pairs])
            moving = [tensors[i] for i in moves]
            total = sum((g * v).sum() for g, v in zip(gradient(tensors, moving), along, strict=True))
            if not total.requires_grad:
                return _arrays([torch.zeros_like(x) for x in moving])
            return _arrays(torch.autograd.grad(total, moving, allow_unused=True, materialize_grads=True))

    return hvp


def jvp_by_double_backward(function: Any, *, constants: Collection[str] = ()) -> Function:
    """``J v`` as the slope of ``<J' u, v>`` by u: what a backward pass that is differentiated does to its upstream.

    >>> import importlib.util
    >>> not importlib.util.find_spec("torch") or float(
    ...     jvp_by_double_backward(lambda x: x * x)(np.array(3.0), np.array(1.0))
    ... ) == 6.0
    True
    """
    torch = the_library()
    forward, _, signature = parts_of(function)

    def jvp(*args: Any) -> Any:
        values, vectors = with_vectors(args, names_of(signature, len(args)), constants)
        tensors = [as_tensor(x) for x in values]
        moves = [i for i, v in enumerate(vectors) if v is not None]
        with torch.enable_grad():
            for i in moves:
                tensors[i] = tensors[i].requires_grad_()
            outputs = _floating(forward(*tensors))
            seeds = [torch.ones_like(y).requires_grad_() for y in outputs]
            kept = [(y, g) for y, g in zip(outputs, seeds, strict=True) if y.requires_grad]
            found = torch.autograd.grad([y for y, _ in kept], [tensors[i] for i in moves], [g for _, g in kept],
                                        create_graph=True, allow_unused=True, materialize_grads=True)  # fmt: skip
            total = sum((g * as_tensor(vectors[i])).sum() for g, i in zip(found, moves, strict=True))
            if not total.requires_grad:
                return _arrays([torch.zeros_like(y) for y in outputs])
            return _arrays(torch.autograd.grad(total, seeds, allow_unused=True, materialize_grads=True))

    return jvp


@contextmanager
def _dual_numbers() -> Iterator[None]:
    """PyTorch's forward mode, which uses a part of its own that it calls deprecated: nobody's fault who uses this."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="`torch.jit.script` is deprecated", category=DeprecationWarning)
        with the_library().autograd.forward_ad.dual_level():
            yield


def output_shapes(function: Any, values: Sequence[Any]) -> list[tuple[int, ...]]:
    """The shapes of what a function returns for these arguments, floats alone.

    >>> import importlib.util
    >>> not importlib.util.find_spec("torch") or output_shapes(lambda x: (x, 2), [np.ones(3)]) == [(3,)]
    True
    """
    with the_library().no_grad():
        return [tuple(y.shape) for y in _floating(parts_of(function)[0](*map(as_tensor, values)))]


def _floating(answer: Any) -> list[Any]:
    if isinstance(answer, tuple | list):
        answer = [y for y in answer if isinstance(y, the_library().Tensor)]
    return [y for y in outputs_of(answer) if y.dtype.is_floating_point]


def _arrays(tensors: Sequence[Any]) -> Any:
    found = tuple(np.array(x.numpy(force=True)) for x in tensors)
    return found[0] if len(found) == 1 else found

"""PyTorch's functions as subjects: the gradients that ``backward()`` gives, judged.

Needs the package: ``pip install 'verify-gradients[torch]'``.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import numpy as np

from verify.errors import UsageError
from verify.frameworks.calling import as_gradient, input_names, names_of, plain, seeds_of, signature_of
from verify.oracle.check import check_gradient
from verify.oracle.gradient_run import GradientRun
from verify.reading.case import Case, load_case
from verify.reading.case_files import find_case

MISSING = "PyTorch is not installed: pip install 'verify-gradients[torch]'"


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
    torch = _torch()
    forward, code, signature = _parts(torch, function)

    def pull(arguments: Mapping[str, Any], by: Sequence[str], call: Callable[..., Any], upstream: Any) -> Any:
        tensors = {name: torch.from_numpy(np.array(x)).requires_grad_(name in by) for name, x in arguments.items()}
        with torch.enable_grad():
            outputs = _outputs(torch, call(tensors))
        if not any(y.requires_grad for y in outputs):
            raise UsageError(f"no gradient flows from the output of {_name(function)} to its inputs: it is detached")
        seeds = seeds_of([y.detach().numpy() for y in outputs], upstream)
        pairs = [
            (y, torch.from_numpy(seed).to(y.dtype)) for y, seed in zip(outputs, seeds, strict=True) if y.requires_grad
        ]
        found = torch.autograd.grad(
            [y for y, _ in pairs],
            [tensors[name] for name in by],
            [seed for _, seed in pairs],
            allow_unused=True,
            materialize_grads=True,
        )
        return {name: np.array(g.detach().numpy()) for name, g in zip(by, found, strict=True)}

    return as_gradient(forward, pull, constants, code, signature)


def gradcheck(
    fn: Any,
    inputs: Any,
    eps: float = 1e-6,  # noqa: ARG001
    atol: float = 1e-5,  # noqa: ARG001
    rtol: float = 1e-3,  # noqa: ARG001
    raise_exception: bool = True,
    *,
    function: Callable[..., Any] | None = None,
    case: Case | str | None = None,
    points: int = 0,
    seed: int = 0,
    domain: Mapping[str, Any] | None = None,
    check_backward_ad: bool = True,
    check_forward_ad: bool = False,
    check_batched_grad: bool = False,
    check_batched_forward_grad: bool = False,
    **ignored: Any,  # noqa: ARG001
) -> bool:
    """Whether the gradient of ``fn`` is right, in the call shape of ``torch.autograd.gradcheck``, with derived bounds.

    Parameters
    ----------
    fn, inputs
        As for PyTorch: a function of tensors, and a tensor or a tuple of them. Those that require a gradient are
        differentiated.
    eps, atol, rtol, ignored
        Accepted and without effect: steps and tolerances are not chosen but derived.
    raise_exception
        False returns False where the gradient is wrong; else WrongGradientError is raised.
    function, case
        What ``fn`` computes, as a function of NumPy arrays that is traced, or as a case: then rows are proved. With
        neither of them ``fn`` is a black box, and its gradient is held against central differences over 25 steps.
    points, seed, domain
        As in ``verify.check_gradient``: where to look beside the ``inputs``.

    Raises UsageError for what is not checked here: forward mode and batched gradients.

    >>> import importlib.util
    >>> if importlib.util.find_spec("torch"):
    ...     import torch
    ...     x = torch.tensor([1.0, 2.0], dtype=torch.float64, requires_grad=True)
    ...     assert gradcheck(torch.sin, (x,), function=np.sin)
    """
    if check_forward_ad or check_batched_grad or check_batched_forward_grad or not check_backward_ad:
        raise UsageError("only backward mode is checked here; use torch.autograd.gradcheck for the other modes")
    run = judged(fn, inputs, function=function, case=case, points=points, seed=seed, domain=domain)
    if raise_exception:
        run.raise_if_wrong()
    return run.ok


def judged(
    fn: Any,
    inputs: Any,
    *,
    function: Callable[..., Any] | None = None,
    case: Case | str | None = None,
    points: int = 0,
    seed: int = 0,
    domain: Mapping[str, Any] | None = None,
) -> GradientRun:
    """What :func:`gradcheck` judges by, as a run that can be looked at.

    >>> import importlib.util
    >>> if importlib.util.find_spec("torch"):
    ...     import torch
    ...     x = torch.tensor(2.0, dtype=torch.float64, requires_grad=True)
    ...     assert judged(torch.exp, x, function=np.exp).verdict == "PASS"
    """
    torch = _torch()
    tensors = (inputs,) if isinstance(inputs, torch.Tensor) else tuple(inputs)
    forward, _, signature = _parts(torch, fn)
    if function is not None and case is not None:
        raise UsageError("give a function or a case to hold the gradient against, not both")
    known = load_case(find_case(case)) if isinstance(case, str) else case
    own = names_of(signature, len(tensors))
    names = input_names(own, known, function)
    if len(names) != len(tensors):
        raise UsageError(f"there are {len(tensors)} inputs for {len(names)} of the case: {', '.join(names)}")
    is_held = [not (isinstance(x, torch.Tensor) and x.requires_grad) for x in tensors]
    if all(is_held):
        raise UsageError("nothing to differentiate: none of the inputs requires a gradient")

    def run(*values: Any) -> Any:
        with torch.no_grad():
            return np.array(forward(*(torch.from_numpy(np.array(x)) for x in values)).numpy())

    values = [np.array(x.detach().numpy() if isinstance(x, torch.Tensor) else x) for x in tensors]
    return check_gradient(
        gradient_of(fn, constants=[name for name, held in zip(own, is_held, strict=True) if held]),
        known or function or plain(fn, run, names),
        at=dict(zip(names, values, strict=True)),
        constants=[name for name, held in zip(names, is_held, strict=True) if held],
        points=points,
        seed=seed,
        domain=domain,
    )


def _torch() -> Any:
    try:
        import torch
    except ImportError:
        raise UsageError(MISSING) from None
    return torch


def _parts(torch: Any, function: Any) -> tuple[Any, Any, Any]:
    """What is called, the Python code behind it, and its signature; of a ``torch.autograd.Function`` the forward's."""
    if isinstance(function, type) and issubclass(function, torch.autograd.Function):
        own: Any = function
        found = signature_of(own.forward)
        parameters = list(found.parameters.values())
        has_context = own.setup_context is torch.autograd.Function.setup_context
        return own.apply, own.backward, found.replace(parameters=parameters[1 if has_context else 0 :])
    return function, function, signature_of(function)


def _outputs(torch: Any, answer: Any) -> list[Any]:
    outputs = list(answer) if isinstance(answer, tuple | list) else [answer]
    for y in outputs:
        if not isinstance(y, torch.Tensor):
            raise UsageError(f"the function returned a {type(y).__name__}, expected a tensor or a tuple of tensors")
    return outputs


def _name(function: Any) -> str:
    return getattr(function, "__name__", type(function).__name__)

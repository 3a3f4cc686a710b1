"""PyTorch's functions as subjects: the gradients that ``backward()`` gives, judged.

Needs the package: ``pip install 'verify-gradients[torch]'``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from verify.case.case import Case, load_case
from verify.case.files import find_case
from verify.errors import UsageError
from verify.oracle.check import check_gradient
from verify.oracle.result import GradientRun
from verify.programs import torch_functions
from verify.programs.calling import input_names, names_of, renamed
from verify.programs.functions import flattened
from verify.programs.torch_functions import as_array, as_numpy, gradient_of, parts_of, the_library

__all__ = ["gradcheck", "gradient_of", "judged"]


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
        What ``fn`` computes, as another function that is traced, or as a case. With neither of them ``fn`` itself is
        traced: its forward alone, without PyTorch's rules for derivatives.
    points, seed, domain
        As in ``verify.check_gradient``: where to look beside the ``inputs``.

    Raises UsageError for what is not checked here: forward mode and batched gradients.

    >>> import importlib.util
    >>> if importlib.util.find_spec("torch"):
    ...     import torch
    ...     x = torch.tensor([1.0, 2.0], dtype=torch.float64, requires_grad=True)
    ...     assert gradcheck(torch.sin, (x,))
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
    ...     assert judged(torch.exp, x).verdict == "PASS"
    """
    torch = the_library()
    tensors = (inputs,) if isinstance(inputs, torch.Tensor) else tuple(inputs)
    if function is not None and case is not None:
        raise UsageError("give a function or a case to hold the gradient against, not both")
    known = load_case(find_case(case)) if isinstance(case, str) else case
    forward, _, signature = parts_of(fn)
    own = names_of(signature, len(tensors))
    flat = flattened(
        torch_functions, forward, tensors, [name if name.isidentifier() else f"x{i}" for i, name in enumerate(own)]
    )
    subject = fn if flat.function is forward else flat.function
    leaves = list(flat.leaves.values())
    own = own if subject is fn else list(flat.leaves)
    names = input_names(own, known, function)
    if len(names) != len(leaves):
        raise UsageError(f"there are {len(leaves)} inputs for {len(names)} of the case: {', '.join(names)}")
    is_held = [not (isinstance(x, torch.Tensor) and x.requires_grad) for x in leaves]
    if all(is_held):
        raise UsageError("nothing to differentiate: none of the inputs requires a gradient")
    for name, x in zip(names, leaves, strict=True):
        if isinstance(x, torch.Tensor) and x.is_complex():
            raise UsageError(f"{name} is complex. Gradients are those of real functions: split it into two inputs")
    return check_gradient(
        gradient_of(subject, constants=[name for name, held in zip(own, is_held, strict=True) if held]),
        known or function or renamed(as_numpy(subject), names),
        at={name: as_array(x) for name, x in zip(names, leaves, strict=True)},
        constants=[name for name, held in zip(names, is_held, strict=True) if held],
        points=points,
        seed=seed,
        domain=domain,
    )

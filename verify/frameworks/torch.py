"""PyTorch's functions as subjects: the gradients that ``backward()`` gives, judged.

Needs the package: ``pip install 'verify-gradients[torch]'``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from verify.case.case import Case, load_case
from verify.case.files import find_case
from verify.errors import UsageError
from verify.numbers.streams import stream
from verify.oracle.check import check_gradient
from verify.oracle.orders import check_hvp, check_jvp, joined
from verify.oracle.result import GradientRun
from verify.programs import torch_functions
from verify.programs.calling import input_names, names_of, renamed
from verify.programs.functions import flattened
from verify.programs.torch_functions import as_array, as_numpy, gradient_of, parts_of, the_library
from verify.programs.torch_orders import hvp_of, jvp_by_double_backward, jvp_of, output_shapes

__all__ = ["gradcheck", "gradgradcheck", "gradient_of", "hvp_of", "judged", "jvp_of"]


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

    check_backward_ad, check_forward_ad
        Which modes are judged: reverse mode, and forward mode (the ``jvp`` of a ``torch.autograd.Function``).

    Raises UsageError for what is not checked here: batched gradients.

    >>> import importlib.util
    >>> if importlib.util.find_spec("torch"):
    ...     import torch
    ...     x = torch.tensor([1.0, 2.0], dtype=torch.float64, requires_grad=True)
    ...     assert gradcheck(torch.sin, (x,))
    """
    if check_batched_grad or check_batched_forward_grad:
        raise UsageError("batched gradients are not checked here; use torch.autograd.gradcheck for them")
    if not (check_backward_ad or check_forward_ad):
        raise UsageError("nothing to check: give check_backward_ad=True or check_forward_ad=True")
    options: dict[str, Any] = {"points": points, "seed": seed, "domain": domain}
    asked = _asked(fn, inputs, function, case)
    runs = []
    if check_backward_ad:
        runs.append(("backward", _backward(asked, options)))
    if check_forward_ad:
        forward = jvp_of(asked.subject, constants=asked.own_constants)
        runs.append(("forward", check_jvp(forward, asked.known, at=asked.at, constants=asked.constants, **options)))
    return _told(runs[0][1] if len(runs) == 1 else joined(runs), raise_exception=raise_exception)


def gradgradcheck(
    fn: Any,
    inputs: Any,
    grad_outputs: Any = None,
    eps: float = 1e-6,  # noqa: ARG001
    atol: float = 1e-5,  # noqa: ARG001
    rtol: float = 1e-3,  # noqa: ARG001
    gen_non_contig_grad_outputs: bool = False,  # noqa: ARG001
    raise_exception: bool = True,
    *,
    function: Callable[..., Any] | None = None,
    case: Case | str | None = None,
    points: int = 0,
    seed: int = 0,
    domain: Mapping[str, Any] | None = None,
    check_fwd_over_rev: bool = False,
    check_rev_over_rev: bool = True,
    check_batched_grad: bool = False,
    **ignored: Any,  # noqa: ARG001
) -> bool:
    """Whether the second derivatives of ``fn`` are right, in the call shape of ``torch.autograd.gradgradcheck``.

    The backward pass is differentiated by the inputs, along vectors, and by its upstream gradients; both are held
    against the forward alone, within derived bounds. An ``autograd.Function`` that saves what its forward computed on
    the way, and not the inputs, fails: its backward pass takes that for constant.

    Parameters
    ----------
    fn, inputs, raise_exception, function, case, points, seed, domain
        As in :func:`gradcheck`.
    grad_outputs
        The upstream gradients of the outputs, a tensor or a tuple of them; drawn from the seed if left out.
    check_fwd_over_rev, check_rev_over_rev
        Whether the backward pass is differentiated in forward mode, and in reverse mode.
    eps, atol, rtol, gen_non_contig_grad_outputs, ignored
        Accepted and without effect.

    Raises UsageError for what is not checked here: batched gradients.

    >>> import importlib.util
    >>> if importlib.util.find_spec("torch"):
    ...     import torch
    ...     x = torch.tensor([1.0, 2.0], dtype=torch.float64, requires_grad=True)
    ...     assert gradgradcheck(torch.sin, (x,))
    """
    if check_batched_grad or not (check_fwd_over_rev or check_rev_over_rev):
        raise UsageError("batched gradients are not checked here; give check_rev_over_rev or check_fwd_over_rev")
    torch = the_library()
    asked = _asked(fn, inputs, function, case)
    own: dict[str, Any] = {"constants": asked.own_constants}
    if grad_outputs is None:
        rng = stream(seed, "upstream of second derivatives")
        upstream = [np.asarray(rng.uniform(0.5, 1.5, s)) for s in output_shapes(asked.subject, list(asked.at.values()))]
    else:
        given = (grad_outputs,) if isinstance(grad_outputs, torch.Tensor) else tuple(grad_outputs)
        upstream = [as_array(g) for g in given]
    weights = upstream[0] if len(upstream) == 1 else tuple(upstream)
    options: dict[str, Any] = {
        "at": asked.at,
        "constants": asked.constants,
        "points": points,
        "seed": seed,
        "domain": domain,
    }
    runs = []
    if check_rev_over_rev:
        hvp = hvp_of(asked.subject, upstream=upstream, **own)
        runs.append(("double backward", check_hvp(hvp, asked.known, upstream=weights, **options)))
        jvp = jvp_by_double_backward(asked.subject, **own)
        runs.append(("double backward by upstream", check_jvp(jvp, asked.known, **options)))
    if check_fwd_over_rev:
        hvp = hvp_of(asked.subject, upstream=upstream, forward_over_reverse=True, **own)
        runs.append(("forward over backward", check_hvp(hvp, asked.known, upstream=weights, **options)))
    return _told(joined(runs), raise_exception=raise_exception)


def _told(run: GradientRun, *, raise_exception: bool) -> bool:
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
    options: dict[str, Any] = {"points": points, "seed": seed, "domain": domain}
    return _backward(_asked(fn, inputs, function, case), options)


@dataclass(frozen=True, slots=True)
class _Asked:
    """A function of tensors and what it is held against, with the arguments of both."""

    subject: Any
    known: Any
    at: Mapping[str, Any]
    """By the names that what it is held against has for them."""
    constants: Sequence[str]
    own_constants: Sequence[str]
    """By its own names."""


def _backward(asked: _Asked, options: Mapping[str, Any]) -> GradientRun:
    gradient = gradient_of(asked.subject, constants=asked.own_constants)
    return check_gradient(gradient, asked.known, at=asked.at, constants=asked.constants, **options)


def _asked(fn: Any, inputs: Any, function: Callable[..., Any] | None, case: Case | str | None) -> _Asked:
    """What a check of torch's call shape is about. Raises UsageError for what does not fit."""
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
    return _Asked(
        subject,
        known or function or renamed(as_numpy(subject), names),
        {name: as_array(x) for name, x in zip(names, leaves, strict=True)},
        [name for name, held in zip(names, is_held, strict=True) if held],
        [name for name, held in zip(own, is_held, strict=True) if held],
    )

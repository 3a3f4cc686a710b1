"""JAX's functions as subjects: the gradients that ``jax.grad`` and ``jax.vjp`` give, judged.

Needs the package: ``pip install 'verify-gradients[jax]'``. JAX computes in float32 unless it is told otherwise: 64 bits
are enabled while a gradient is called, and in this thread alone.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import numpy as np

from verify.case.case import Case, load_case
from verify.case.files import find_case
from verify.errors import UsageError
from verify.numbers.streams import stream
from verify.oracle.check import check_gradient
from verify.oracle.orders import check_hvp, check_jvp, joined
from verify.oracle.result import GradientRun
from verify.programs import jax_functions
from verify.programs.calling import input_names, names_of, renamed, signature_of
from verify.programs.functions import flattened
from verify.programs.jax_functions import as_array, as_numpy, gradient_of
from verify.programs.jax_orders import hvp_of, jvp_of, output_shapes

__all__ = ["check_grads", "gradient_of", "hvp_of", "jvp_of"]


def check_grads(
    f: Callable[..., Any],
    args: Sequence[Any],
    order: int = 1,
    modes: Collection[str] = ("rev",),
    atol: float | None = None,  # noqa: ARG001
    rtol: float | None = None,  # noqa: ARG001
    eps: float | None = None,  # noqa: ARG001
    *,
    function: Callable[..., Any] | None = None,
    case: Case | str | None = None,
    points: int = 0,
    seed: int = 0,
    domain: Mapping[str, Any] | None = None,
) -> GradientRun:
    """Whether the gradient of ``f`` is right, in the call shape of ``jax.test_util.check_grads``, with derived bounds.

    Parameters
    ----------
    f, args
        As for JAX: a function and its arguments. Floats are differentiated.
    order, modes
        1 or 2, and ``"fwd"``, ``"rev"`` or both: with both, each mode is taken over each for second derivatives.
    atol, rtol, eps
        Accepted and without effect: steps and tolerances are not chosen but derived.
    function, case
        What ``f`` computes, as another function that is traced, or as a case. With neither of them ``f`` itself is
        traced: its primitives alone, without the rules of ``custom_jvp`` and ``custom_vjp``.
    points, seed, domain
        As in ``verify.check_gradient``: where to look beside the ``args``.

    Returns the run. Raises WrongGradientError where the gradient is wrong, and UsageError for what is not checked here.

    >>> import importlib.util
    >>> if importlib.util.find_spec("jax"):
    ...     import jax
    ...     assert check_grads(jax.numpy.sin, (np.array([1.0, 2.0]),)).ok
    """
    modes = (modes,) if isinstance(modes, str) else tuple(modes)
    if order not in (1, 2) or not modes or not set(modes) <= {"fwd", "rev"}:
        raise UsageError("order is 1 or 2 here, and modes are 'fwd', 'rev' or both")
    if function is not None and case is not None:
        raise UsageError("give a function or a case to hold the gradient against, not both")
    known = load_case(find_case(case)) if isinstance(case, str) else case
    own = names_of(signature_of(f), len(args))
    flat = flattened(jax_functions, f, args, [name if name.isidentifier() else f"x{i}" for i, name in enumerate(own)])
    own = own if flat.function is f else list(flat.leaves)
    names = input_names(own, known, function)
    if len(names) != len(flat.leaves):
        raise UsageError(
            f"there are {len(flat.leaves)} arguments for {len(names)} inputs of the case: {', '.join(names)}"
        )
    values = [np.array(x, dtype=float) if isinstance(x, float) else as_array(x) for x in flat.leaves.values()]
    reference = known or function or renamed(as_numpy(flat.function), names)
    options: dict[str, Any] = {
        "at": dict(zip(names, values, strict=True)), "points": points, "seed": seed, "domain": domain,
    }  # fmt: skip
    runs = []
    if "rev" in modes:
        runs.append(("reverse mode", check_gradient(gradient_of(flat.function), reference, **options)))
    if "fwd" in modes:
        runs.append(("forward mode", check_jvp(jvp_of(flat.function), reference, **options)))
    if order > 1:
        rng = stream(seed, "upstream of second derivatives")
        upstream = [np.asarray(rng.uniform(0.5, 1.5, shape)) for shape in output_shapes(flat.function, values)]
        weights = upstream[0] if len(upstream) == 1 else tuple(upstream)
        for outer, inner in ((outer, inner) for outer in modes for inner in modes):
            hvp = hvp_of(flat.function, upstream=upstream, modes=f"{outer}-{inner}")
            what = f"{outer} over {inner}, order 2"
            runs.append((what, check_hvp(hvp, reference, upstream=weights, **options)))
    found = runs[0][1] if len(runs) == 1 else joined(runs)
    found.raise_if_wrong()
    return found

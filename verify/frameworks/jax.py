"""JAX's functions as subjects: the gradients that ``jax.grad`` and ``jax.vjp`` give, judged.

Needs the package: ``pip install 'verify-gradients[jax]'``. JAX computes in float32 unless it is told otherwise: 64 bits
are enabled while a gradient is called, and in this thread alone.
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

MISSING = "JAX is not installed: pip install 'verify-gradients[jax]'"


def gradient_of(function: Callable[..., Any], *, constants: Collection[str] = ()) -> Callable[..., Any]:
    """The gradient that JAX gives of a function, for ``verify.check_gradient``.

    ``function`` may be jitted, or have a ``jax.custom_vjp``. ``constants`` names arguments that are not differentiated.
    The gradient takes NumPy arrays, by name or by position, and ``upstream``; it answers in their dtypes. Raises
    UsageError without the package.

    >>> import importlib.util
    >>> def square(x):
    ...     return x * x
    >>> not importlib.util.find_spec("jax") or float(gradient_of(square)(np.float64(3.0))) == 6.0
    True
    """
    jax = _jax()

    def pull(arguments: Mapping[str, Any], by: Sequence[str], call: Callable[..., Any], upstream: Any) -> Any:
        with jax.enable_x64(True):
            given = {name: jax.numpy.asarray(x) for name, x in arguments.items()}

            def outputs_of(*moved: Any) -> Any:
                answer = call({**given, **dict(zip(by, moved, strict=True))})
                return list(answer) if isinstance(answer, tuple | list) else [answer]

            outputs, back = jax.vjp(outputs_of, *(given[name] for name in by))
            seeds = seeds_of([np.asarray(y) for y in outputs], upstream)
            found = back([jax.numpy.asarray(seed, dtype=y.dtype) for y, seed in zip(outputs, seeds, strict=True)])
            return {name: np.array(g) for name, g in zip(by, found, strict=True)}

    return as_gradient(function, pull, constants)


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
        Only the first order in reverse mode is checked.
    atol, rtol, eps
        Accepted and without effect: steps and tolerances are not chosen but derived.
    function, case
        What ``f`` computes, as a function of NumPy arrays that is traced, or as a case: then rows are proved. With
        neither of them ``f`` is a black box, and its gradient is held against central differences over 25 steps.
    points, seed, domain
        As in ``verify.check_gradient``: where to look beside the ``args``.

    Returns the run. Raises WrongGradientError where the gradient is wrong, and UsageError for what is not checked here.

    >>> import importlib.util
    >>> if importlib.util.find_spec("jax"):
    ...     import jax
    ...     assert check_grads(jax.numpy.sin, (np.array([1.0, 2.0]),), function=np.sin).ok
    """
    if order != 1 or set(modes) != {"rev"}:
        raise UsageError(
            "only order=1 and modes=('rev',) are checked here; use jax.test_util.check_grads for the others"
        )
    if function is not None and case is not None:
        raise UsageError("give a function or a case to hold the gradient against, not both")
    jax = _jax()
    known = load_case(find_case(case)) if isinstance(case, str) else case
    own = names_of(signature_of(f), len(args))
    names = input_names(own, known, function)
    if len(names) != len(args):
        raise UsageError(f"there are {len(args)} arguments for {len(names)} inputs of the case: {', '.join(names)}")

    def run(*values: Any) -> Any:
        with jax.enable_x64(True):
            return np.array(f(*map(jax.numpy.asarray, values)))

    values = [np.array(x, dtype=float) if isinstance(x, float) else np.array(x) for x in args]
    found = check_gradient(
        gradient_of(f),
        known or function or plain(f, run, names),
        at=dict(zip(names, values, strict=True)),
        points=points,
        seed=seed,
        domain=domain,
    )
    found.raise_if_wrong()
    return found


def _jax() -> Any:
    try:
        import jax
    except ImportError:
        raise UsageError(MISSING) from None
    return jax

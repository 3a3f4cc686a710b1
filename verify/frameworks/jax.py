"""JAX's functions as subjects: the gradients that ``jax.grad`` and ``jax.vjp`` give, judged.

Needs the package: ``pip install 'verify-gradients[jax]'``. JAX computes in float32 unless it is told otherwise: 64 bits
are enabled while a gradient is called, and in this thread alone.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import numpy as np

from verify.errors import UsageError
from verify.frameworks.calling import (
    as_gradient,
    check_upstreams,
    input_names,
    names_of,
    plain,
    signature_of,
    upstreams_of,
)
from verify.oracle.check import check_gradient
from verify.oracle.gradient_run import GradientRun
from verify.reading.case import Case, load_case
from verify.reading.case_files import find_case

MISSING = "JAX is not installed: pip install 'verify-gradients[jax]'"

ADDRESS = re.compile(" at 0x[0-9a-f]+")
"""What tells apart two objects that JAX prints in a program and that may be the same function."""


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
    kept: dict[tuple[Sequence[str], ...], Callable[..., Any]] = {}

    def pull(arguments: Mapping[str, Any], by: Sequence[str], call: Callable[..., Any], upstream: Any) -> Any:
        names = tuple(arguments)

        def gradients(values: Sequence[Any], given: Sequence[Any]) -> list[Any]:
            known = dict(zip(names, values, strict=True))

            def outputs_of(*moved: Any) -> Any:
                answer = call({**known, **dict(zip(by, moved, strict=True))})
                return list(answer) if isinstance(answer, tuple | list) else [answer]

            outputs, back = jax.vjp(outputs_of, *(known[name] for name in by))
            check_upstreams(len(outputs), given)
            return list(
                back(
                    [
                        jax.numpy.ones_like(y) if g is None else g.astype(y.dtype)
                        for y, g in zip(outputs, given, strict=True)
                    ]
                )
            )

        run = kept.setdefault((names, tuple(by)), _Compiled(jax, gradients))
        with jax.enable_x64(True):
            values = [jax.numpy.asarray(x) for x in arguments.values()]
            given = [g if g is None else jax.numpy.asarray(np.array(g)) for g in upstreams_of(upstream)]
            return {name: np.array(g) for name, g in zip(by, run(values, given), strict=True)}

    return as_gradient(function, pull, constants)


class _Compiled:
    """A function of JAX's arrays, traced and compiled once for arrays of the same shapes and dtypes.

    Tracing runs the function's Python, and what that does beside JAX (a count of its calls, random numbers of NumPy)
    would be frozen in. So the calls number 2, 4, 8, ... trace it again; where that gives another program, and where
    Python has to know the numbers, each call runs the function as it is.
    """

    def __init__(self, jax: Any, function: Callable[..., Any]) -> None:
        self._jax = jax
        self._function = function
        self._runs: dict[Any, Callable[..., Any] | None] = {}
        self._programs: dict[Any, tuple[str, list[bytes]]] = {}
        self._calls: Counter[Any] = Counter()

    def __call__(self, *args: Any) -> Any:
        leaves, tree = self._jax.tree.flatten(args)
        key = (tree, *((x.shape, x.dtype) for x in leaves))
        self._calls[key] += 1
        if self._calls[key].bit_count() == 1 and self._runs.get(key, True):
            self._runs[key] = self._traced(key, args)
        run = self._runs[key]
        if run is not None:
            try:
                return run(*args)
            except Exception:  # noqa: BLE001 - the function itself, below, says what is wrong
                self._runs[key] = None
        return self._function(*args)

    def _traced(self, key: Any, args: Any) -> Callable[..., Any] | None:
        """The compiled function; None where it cannot be traced, or gives another program than before."""

        def anew(*xs: Any) -> Any:  # a function that JAX has not met: it keeps the programs of those that it has
            return self._function(*xs)

        try:
            program, shape = self._jax.make_jaxpr(anew, return_shape=True)(*args)
            consts = [np.asarray(const).tobytes() for const in program.consts]
        except Exception:  # noqa: BLE001 - as above
            return None
        found = ADDRESS.sub("", str(program)), consts
        if self._programs.setdefault(key, found) != found:
            return None
        return self._runs.get(key) or self._compiled(program, shape)

    def _compiled(self, program: Any, shape: Any) -> Callable[..., Any]:
        from jax.extend.core import jaxpr_as_fun

        run = self._jax.jit(jaxpr_as_fun(program))
        tree = self._jax.tree.structure(shape)
        return lambda *args: self._jax.tree.unflatten(tree, run(*self._jax.tree.leaves(args)))


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

    forward = _Compiled(jax, f)

    def run(*values: Any) -> Any:
        with jax.enable_x64(True):
            return np.array(forward(*map(jax.numpy.asarray, values)))

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

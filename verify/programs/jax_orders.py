"""JAX's forward mode and its second derivatives, as functions of arrays that ``check_jvp`` and ``check_hvp`` take.

All of them take the function's arguments in order, and then a vector for each that is differentiated.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any

import numpy as np

from verify.programs.calling import names_of, signature_of, with_vectors
from verify.programs.jax_functions import floats_of, the_library

Function = Callable[..., Any]


def jvp_of(function: Function, *, constants: Collection[str] = ()) -> Function:
    """``J v`` by ``jax.jvp``, with the rules of ``jax.custom_jvp``.

    ``constants`` names arguments that are not differentiated, as in the others. Raises UsageError without the package.

    >>> import importlib.util
    >>> not importlib.util.find_spec("jax") or float(jvp_of(lambda x: x * x)(np.array(3.0), np.array(1.0))) == 6.0
    True
    """
    jax = the_library()

    def jvp(*args: Any) -> Any:
        with jax.enable_x64(True):
            moved, values, vectors = _parted(function, args, constants)
            return _arrays(jax.jvp(moved, values, vectors)[1])

    return jvp


def hvp_of(
    function: Function,
    *,
    constants: Collection[str] = (),
    upstream: Sequence[Any] | None = None,
    modes: str = "rev-rev",
) -> Function:
    """``H v`` of the outputs contracted with ``upstream``; ``modes`` are the outer and the inner one.

    >>> import importlib.util
    >>> hvp = hvp_of(lambda x: x**3, modes="fwd-rev") if importlib.util.find_spec("jax") else None
    >>> hvp is None or float(hvp(np.array(2.0), np.array(1.0))) == 12.0
    True
    """
    jax = the_library()

    def hvp(*args: Any) -> Any:
        with jax.enable_x64(True):
            moved, values, vectors = _parted(function, args, constants)

            def contracted(*xs: Any) -> Any:
                outputs = moved(*xs)
                seeds = [1.0] * len(outputs) if upstream is None else upstream
                return sum((y * g).sum() for y, g in zip(outputs, seeds, strict=True))

            places = tuple(range(len(values)))
            gradient = jax.grad(contracted, places)
            if modes == "fwd-rev":
                return _arrays(jax.jvp(gradient, values, vectors)[1])
            if modes == "fwd-fwd":
                found = []
                for i, x in enumerate(values):
                    columns = [
                        jax.jvp(lambda *xs: jax.jvp(contracted, xs, vectors)[1], values, _only(values, i, e))[1]
                        for e in np.eye(x.size).reshape(x.size, *x.shape)
                    ]
                    found.append(np.reshape(columns, x.shape))
                return _arrays(found)

            def along(*xs: Any) -> Any:
                if modes == "rev-fwd":
                    return jax.jvp(contracted, xs, vectors)[1]
                return sum((g * v).sum() for g, v in zip(gradient(*xs), vectors, strict=True))

            return _arrays(jax.grad(along, places)(*values))

    return hvp


def output_shapes(function: Function, values: Sequence[Any]) -> list[tuple[int, ...]]:
    """The shapes of what a function returns for these arguments, floats alone.

    >>> import importlib.util
    >>> not importlib.util.find_spec("jax") or output_shapes(lambda x: (x, 2 * x), [np.ones(3)]) == [(3,), (3,)]
    True
    """
    with the_library().enable_x64(True):
        return [np.shape(y) for y in floats_of(function(*values))]


def _parted(function: Function, args: Sequence[Any], constants: Collection[str]) -> tuple[Any, tuple[Any, ...], Any]:
    """The function of what moves alone, the values of that, and the vectors; arrays of JAX."""
    jax = the_library()
    values, vectors = with_vectors(args, names_of(signature_of(function), len(args)), constants)
    moves = [i for i, v in enumerate(vectors) if v is not None]

    def moved(*xs: Any) -> list[Any]:
        whole = list(values)
        for i, x in zip(moves, xs, strict=True):
            whole[i] = x
        return floats_of(function(*whole))

    at, along = (tuple(jax.numpy.asarray(array[i]) for i in moves) for array in (values, vectors))
    return moved, at, along


def _only(values: Sequence[Any], i: int, e: Any) -> tuple[Any, ...]:
    """A direction in which one entry of one argument moves."""
    return tuple(the_library().numpy.asarray(e if j == i else np.zeros(x.shape), x.dtype) for j, x in enumerate(values))


def _arrays(arrays: Sequence[Any]) -> Any:
    found = tuple(np.array(x) for x in arrays)
    return found[0] if len(found) == 1 else found

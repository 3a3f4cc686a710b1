"""A function of JAX's arrays as a gradient under test, and as a reference that can be traced."""

from __future__ import annotations

import functools
import re
import sys
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import numpy as np

from verify.errors import TraceError, UsageError
from verify.programs import jaxpr
from verify.programs.calling import (
    Call,
    Tree,
    as_function,
    as_gradient,
    check_upstreams,
    each_leaf,
    is_written_out,
    signature_of,
    structured,
    untraceable,
    upstreams_of,
)
from verify.programs.read_in_balls import ReadInBalls
from verify.tracing.traced import is_traced
from verify.tracing.untraced import unmapped

MISSING = "JAX is not installed: pip install 'verify-gradients[jax]'"

ADDRESS = re.compile(" at 0x[0-9a-f]+")
"""What tells apart two objects that JAX prints in a program and that may be the same function."""


def the_library() -> Any:
    """JAX itself. Raises UsageError where it is not installed.

    >>> import importlib.util
    >>> not importlib.util.find_spec("jax") or the_library().__name__ == "jax"
    True
    """
    try:
        import jax
    except ImportError:
        raise UsageError(MISSING) from None
    return jax


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
    jax = the_library()
    kept: dict[tuple[Sequence[str], ...], Callable[..., Any]] = {}

    def of_arrays(known: Mapping[str, Any], by: Sequence[str], call: Call, given: Sequence[Any]) -> list[Any]:
        """JAX's gradients; None among the upstream gradients stands for ones."""

        def outputs_of(*moved: Any) -> Any:
            return floats_of(call({**known, **dict(zip(by, moved, strict=True))}))

        outputs, back = jax.vjp(outputs_of, *(known[name] for name in by))
        check_upstreams(len(outputs), given)
        seeds = [
            jax.numpy.ones_like(y) if g is None else g.astype(y.dtype) for y, g in zip(outputs, given, strict=True)
        ]
        return list(back(seeds))

    def pull(arguments: Mapping[str, Any], by: Sequence[str], call: Call, upstream: Any) -> Any:
        names = tuple(arguments)

        def gradients(values: Sequence[Any], given: Sequence[Any]) -> list[Any]:
            return of_arrays(dict(zip(names, values, strict=True)), by, call, given)

        run = kept.setdefault((names, tuple(by)), Compiled(jax, gradients))
        with jax.enable_x64(True):
            values = [jax.numpy.asarray(x) for x in arguments.values()]
            given = [g if g is None else jax.numpy.asarray(np.array(g)) for g in upstreams_of(upstream)]
            return {name: np.array(g) for name, g in zip(by, run(values, given), strict=True)}

    def back(arguments: Mapping[str, Any], by: Sequence[str], call: Call, seeds: Sequence[Any]) -> list[Any]:
        """The backward pass as a program of its own, on tracers."""
        names = list(arguments)

        def program(*values: Any) -> list[Any]:
            return of_arrays(dict(zip(names, values, strict=False)), by, call, values[len(names) :])

        return _replayed(program, [*arguments.values(), *seeds], own_dtype=True)

    gradient = as_gradient(function, pull, constants)
    compiled = Compiled(jax, function)
    gradient.forward = as_function(compiled, _evaluated_as_given, _traced(function), function, signature_of(function))  # type: ignore[attr-defined]
    gradient.in_balls = ReadInBalls(gradient, function, back, constants, signature_of(function))  # type: ignore[attr-defined]
    return gradient


def as_numpy(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function of JAX's arrays as one of NumPy arrays in float64, which :func:`verify.trace` can trace.

    Primitives alone are read: the rules of ``jax.custom_jvp`` and ``jax.custom_vjp`` have no part in it.

    >>> import importlib.util
    >>> if importlib.util.find_spec("jax"):
    ...     import jax
    ...     from verify.tracing.trace import trace
    ...     case = trace(as_numpy(lambda x: jax.numpy.sin(x) * x), x=2.0)
    ...     assert list(case.expressions.values()) == ["sin(x) * x"]
    """
    compiled = Compiled(the_library(), function)
    return as_function(compiled, _evaluated, _traced(function), function, signature_of(function))


def in_64_bits(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function that is called in 64 bits, as the function beside it is; what it is given stays as it is.

    >>> import importlib.util
    >>> def double(x):
    ...     return 2 * x
    >>> not importlib.util.find_spec("jax") or in_64_bits(double)(3.0) == 6.0
    True
    """
    jax = the_library()

    @functools.wraps(function)
    def called(*args: Any, **named: Any) -> Any:
        with jax.enable_x64(True):
            return function(*args, **named)

    return called


def on_arrays(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function that takes and returns arrays of JAX, in tuples and mappings too, as one of NumPy's, in 64 bits.

    >>> import importlib.util
    >>> not importlib.util.find_spec("jax") or float(on_arrays(lambda x: 2 * x)(np.float64(3.0))) == 6.0
    True
    """

    @functools.wraps(function)
    def called(*args: Any, **named: Any) -> Any:
        return each_leaf(function(*each_leaf(args, _given), **each_leaf(named, _given)), as_array)

    return in_64_bits(called)


# ------------------------------------------------------------------------------------------------------ the two ways


def _evaluated(arguments: Mapping[str, Any], call: Call) -> Any:
    """In float64."""
    wide = {k: np.asarray(x, dtype=np.float64) if np.asarray(x).dtype.kind == "f" else x for k, x in arguments.items()}
    return _evaluated_as_given(wide, call)


def _evaluated_as_given(arguments: Mapping[str, Any], call: Call) -> Any:
    jax = the_library()
    with jax.enable_x64(True):
        return structured(call({name: _given(x) for name, x in arguments.items()}), _array)


def _traced(function: Any) -> Callable[..., Any]:
    def replay(arguments: Mapping[str, Any], call: Call) -> Any:
        shape: list[Any] = []

        def program(*values: Any) -> list[Any]:
            leaves: list[Any] = []

            def kept(value: Any) -> Any:
                if not _is_float(value):
                    return None
                leaves.append(value)
                return len(leaves) - 1

            shape[:] = [structured(function_of(call, arguments, values), kept)]
            return leaves

        try:
            found = _replayed(program, list(arguments.values()))
        except TraceError as error:
            raise untraceable(function, error) from error
        return structured(shape[0], lambda i: None if i is None else found[i])

    return replay


def function_of(call: Call, arguments: Mapping[str, Any], values: Sequence[Any]) -> Any:
    """What a call returns for these values of its arguments.

    >>> function_of(lambda given: given["x"] + 1, {"x": None}, [2])
    3
    """
    return call(dict(zip(arguments, values, strict=True)))


def _replayed(program: Callable[..., Any], values: Sequence[Any], *, own_dtype: bool = False) -> list[Any]:
    """The outputs of a function of JAX's arrays on tracers and arrays, by its jaxpr."""
    jax = the_library()
    moving = [i for i, value in enumerate(values) if is_traced(value)]
    narrow = own_dtype and values[moving[0]].dtype == np.float32
    with jax.enable_x64(True):
        held = {i: _given(value) for i, value in enumerate(values) if i not in moving}

        def of_moving(*arrays: Any) -> list[Any]:
            known = {**held, **dict(zip(moving, arrays, strict=True))}
            return list(program(*(known[i] for i in range(len(values)))))

        like = [jax.ShapeDtypeStruct(values[i].shape, np.float32 if narrow else np.float64) for i in moving]
        try:
            closed = jax.make_jaxpr(of_moving)(*like)
        except UsageError:
            raise
        except jax.errors.ConcretizationTypeError as error:
            raise unmapped("a branch on values: JAX cannot write its program down") from error
        except Exception as error:
            said = (str(error).strip().splitlines() or [type(error).__name__])[0][:120]
            raise unmapped(f"{said}: JAX cannot write its program down") from error
        return jaxpr.replayed(closed, [values[i] for i in moving])


def leaves_of(value: Any) -> Tree:
    """A value taken apart: whatever JAX knows as a tree, but for lists of numbers, which are arrays as elsewhere.

    >>> leaves_of(3.0).is_tree
    False
    """
    if isinstance(value, np.ndarray | np.generic | int | float | str | None) or (
        isinstance(value, list) and is_written_out(value)
    ):
        return Tree(is_tree=False, paths=[""], values=[value], rebuilt=lambda leaves: leaves[0])
    jax = the_library()
    pairs, form = jax.tree_util.tree_flatten_with_path(value)
    return Tree(
        is_tree=len(pairs) != 1 or pairs[0][1] is not value,
        paths=[jax.tree_util.keystr(path) for path, _ in pairs],
        values=[leaf for _, leaf in pairs],
        rebuilt=lambda leaves: jax.tree_util.tree_unflatten(form, list(leaves)),
    )


def as_array(value: Any) -> Any:
    """An array of JAX's as one of NumPy's; anything else as it is.

    >>> as_array("sum")
    'sum'
    """
    jax = sys.modules.get("jax")
    return np.array(value) if jax is not None and isinstance(value, jax.Array) else value


def _given(value: Any) -> Any:
    numbers = isinstance(value, np.ndarray | np.generic | int | float | bool | list)
    return the_library().numpy.asarray(value) if numbers else value


def _is_float(value: Any) -> bool:
    dtype = getattr(value, "dtype", None)
    if dtype is not None and np.issubdtype(dtype, np.complexfloating):
        raise UsageError(
            f"the function returned an array of {dtype}: gradients are those of real functions. Return its real and "
            "its imaginary part"
        )
    return dtype is not None and the_library().numpy.issubdtype(dtype, np.floating)


def _array(value: Any) -> Any:
    """An array of JAX's as NumPy's, None for what holds no real numbers. Raises UsageError for complex ones."""
    if isinstance(value, float):
        return np.asarray(value)
    if not _is_float(value):
        return None
    found = np.array(value)
    return found if found.dtype in (np.float32, np.float64) else found.astype(np.float32)


def floats_of(answer: Any) -> list[Any]:
    """The arrays of real numbers among what a function returned, in order.

    >>> floats_of(("text", None))
    []
    """
    found: list[Any] = []
    structured(answer, lambda value: found.append(value) if _is_float(value) else None)
    return found


class Compiled:
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
        """What the function returns."""
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

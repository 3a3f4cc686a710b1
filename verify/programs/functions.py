"""Whose function is it? PyTorch's and JAX's are told from NumPy's, and taken as they stand.

A function of a framework is a gradient under test (the framework's own), a reference that is traced (the forward
alone), or both at once. Parameters in dicts, lists and other trees become inputs with the names of their paths.
"""

from __future__ import annotations

import functools
import inspect
import re
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from types import FunctionType, ModuleType
from typing import Any

import numpy as np

from verify.errors import UsageError
from verify.programs import jax_functions, torch_functions
from verify.tracing.code_objects import closure_of, codes_of
from verify.tracing.foreign_call import Outcome, call_foreign
from verify.tracing.function_call import by_name, name_of, own_arguments, parts_of
from verify.tracing.preserving import preserved

FRAMEWORKS: Mapping[str, ModuleType] = {"torch": torch_functions, "jax": jax_functions}
"""Name of the library -> what can be done with its functions."""

DEEPEST = 3
"""Calls that are followed to find out whose functions a function uses."""

Function = Callable[..., Any]
At = Mapping[str, Any]


def framework_of(function: Any, point: At | None = None) -> ModuleType | None:
    """The room of the framework that a function belongs to; None for a function of NumPy arrays.

    Where its code names a framework, it is called at a point: one that gives NumPy arrays for them is NumPy's.

    >>> framework_of(np.sin) is None
    True
    """
    if getattr(function, "takes_arrays", False):
        return None
    name = _library_of(function)
    if name is None or name not in FRAMEWORKS:
        return _by_methods(function, point) if point else None
    # A point that holds its arrays leaves no doubt, and one call less may change a state.
    is_sure = point is None or is_of_type(function) or _holds(name, point)
    if not is_sure and point is not None and _answers_numpy(function, point):
        return None
    return FRAMEWORKS[name]


def is_of_type(function: Any) -> bool:
    """Whether a framework's own types say that it is the framework's: a module, a ``Function``, a jitted function.

    >>> is_of_type(np.sin)
    False
    """
    torch = sys.modules.get("torch")
    if torch is not None and (
        isinstance(function, torch.nn.Module)
        or (isinstance(function, type) and issubclass(function, torch.autograd.Function))
    ):
        return True
    return _root(type(function).__module__) in ("torch", "jax", "jaxlib")


def _root(module: Any) -> str:
    return str(module or "").split(".", maxsplit=1)[0]


def _library_of(function: Any) -> str | None:
    """The framework whose functions a function's code uses: by types, by the module that it stands in, by its code."""
    if isinstance(function, functools.partial):
        return _library_of(function.func)
    if is_of_type(function):
        return "jax" if _root(type(function).__module__) in ("jax", "jaxlib") else "torch"
    torch = sys.modules.get("torch")
    own = _root(getattr(function, "__module__", "")) or _root(getattr(function, "__objclass__", ""))
    if own in FRAMEWORKS:
        return own
    if torch is not None and getattr(torch, getattr(function, "__name__", "") or " ", None) is function:
        return "torch"
    found = _used_by(function, DEEPEST)
    return next(iter(found)) if len(found) == 1 else None


def _used_by(function: Any, depth: int) -> set[str]:
    """The frameworks that a function's code and what it calls refer to."""
    try:
        function = inspect.unwrap(function)
    except ValueError:
        return set()
    function = getattr(function, "__func__", function)
    if not isinstance(function, FunctionType) or depth == 0:
        return set()
    known = {**function.__globals__, **closure_of(function)}
    names = {name for inner in codes_of(function.__code__) for name in (*inner.co_names, *inner.co_freevars)}
    found: set[str] = set()
    for name in names & set(known):
        value = known[name]
        root = _root(value.__name__ if isinstance(value, ModuleType) else getattr(value, "__module__", ""))
        if is_of_type(value):
            found.add(str(_library_of(value)))
        elif root in (*FRAMEWORKS, "jaxlib"):
            found.add(root)
        elif callable(value) and not isinstance(value, type):
            found |= _used_by(value, depth - 1)
    # A module that is imported where it is used.
    found |= {_root(name) for name in names if _root(name) in FRAMEWORKS and name not in known}
    return {"jax" if name == "jaxlib" else name for name in found} & set(FRAMEWORKS)


def _called(function: Any, point: At) -> Outcome:
    """What a function returns at a point, taken apart; what it keeps between calls is as before."""
    plain = by_name(function, list(point))
    with preserved(function):
        return call_foreign(lambda: parts_of(plain(**own_arguments(point))))


def _answers_numpy(function: Any, point: At) -> bool:
    """Whether a function takes NumPy's arrays and gives them back."""
    ran = _called(function, point)
    # A framework refuses arrays that are not its own in many ways.
    return ran.error is None and all(isinstance(part, np.ndarray | np.generic | float) for part in ran.value.values())


def _by_methods(function: Any, point: At) -> ModuleType | None:
    """The framework whose arrays a function needs that names none: it has their methods alone, as ``x.square()``.

    It fails on arrays of NumPy as code does that is given something else, and has a value for arrays of the framework.
    """
    rooms = [room for name, room in FRAMEWORKS.items() if name in sys.modules]
    if not rooms or not callable(function):
        return None
    for room in rooms:
        arrays = {name: room.as_array(value) for name, value in point.items()}
        if not isinstance(_called(function, arrays).error, AttributeError | TypeError):
            return None
        if _called(room.as_numpy(function), arrays).error is None:
            return room
    return None


# ---------------------------------------------------------------------------------------------------- trees of values


@dataclass(frozen=True, slots=True)
class Flat:
    """A function of trees as one of their leaves."""

    function: Function
    """Takes the leaves in order; its signature has their names."""
    leaves: Mapping[str, Any]
    """Name -> value, in order."""


def flattened(framework: ModuleType, function: Any, arguments: Sequence[Any] | At, names: Sequence[str] = ()) -> Flat:
    """The function with every tree among its arguments taken apart; the function itself where there is none.

    >>> import importlib.util
    >>> if importlib.util.find_spec("jax"):
    ...     flat = flattened(jax_functions, lambda p: p["w"] * 2, {"p": {"w": 3.0}})
    ...     assert (dict(flat.leaves), flat.function(3.0)) == ({"p_w": 3.0}, 6.0)
    """
    given = dict(arguments) if isinstance(arguments, Mapping) else dict(zip(names, arguments, strict=True))
    trees = {name: framework.leaves_of(value) for name, value in given.items()}
    if all(not tree.is_tree for tree in trees.values()):
        return Flat(function, given)
    leaves: dict[str, Any] = {}
    places: dict[str, list[str]] = {}
    for name, tree in trees.items():
        places[name] = [_free(_identifier(name, path), leaves) for path in tree.paths]
        leaves |= dict(zip(places[name], tree.values, strict=True))
    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    signature = inspect.Signature([inspect.Parameter(name, kind) for name in leaves])
    by_name = isinstance(arguments, Mapping)

    def of_leaves(*args: Any, **named: Any) -> Any:
        values = signature.bind(*args, **named).arguments
        whole = {name: tree.rebuilt([values[leaf] for leaf in places[name]]) for name, tree in trees.items()}
        return function(**whole) if by_name else function(*whole.values())

    of_leaves.__signature__ = signature  # type: ignore[attr-defined]
    of_leaves.__name__ = name_of(function)
    of_leaves.__wrapped__ = function  # type: ignore[attr-defined]
    return Flat(of_leaves, leaves)


def _identifier(name: str, path: str) -> str:
    found = re.sub(r"\W+", "_", f"{name}{path}").strip("_")
    return found if found.isidentifier() else f"x_{found}"


def _free(name: str, taken: Collection[str]) -> str:
    found, number = name, 1
    while found in taken:
        number += 1
        found = f"{name}_{number}"
    return found


# ------------------------------------------------------------------------------------------------------- what is asked


def asked_of(
    gradient: Any, reference: Any, points: Sequence[At], constants: Collection[str] = ()
) -> tuple[Function, Function, tuple[dict[str, Any], ...], tuple[str, ...]]:
    """A gradient, what it is held against and the points, a framework's functions made into functions of arrays.

    And what is to be told of that.

    Without a ``reference`` the gradient is a function, and the framework's own gradient of it is judged. Whatever is
    no framework's comes back as it is. Raises UsageError where there is nothing to hold the gradient against.

    >>> asked_of(np.cos, np.sin, [{"x": 1.0}])[1] is np.sin
    True
    """
    first = points[0] if points else {}
    is_alone = reference is None
    room = framework_of(gradient, first) if is_alone or is_of_type(gradient) else None
    if is_alone and room is None:
        room = next((FRAMEWORKS[name] for name in FRAMEWORKS if _holds(name, list(first.values()))), None)
    if is_alone and room is None:
        raise UsageError(
            "give the function, or the case, that this is the gradient of: check_gradient(gradient, function, at=...). "
            "A function of PyTorch or JAX may stand alone, where its code or the arrays of its point say that it is one"
        )
    if room is not None and is_alone and hasattr(room, "of_parameters"):
        gradient, more = room.of_parameters(gradient)
        points = [{**more, **point} for point in points]
    own = room if is_alone else framework_of(reference, first)
    trees = own or room
    if trees is None:
        return gradient, reference, tuple(dict(point) for point in points), ()
    notes: tuple[str, ...] = ()
    if own is not None and not is_alone and _library_of(reference) is None:
        library = own.the_library().__name__
        notes = (f"the function fails on arrays of NumPy: it is taken as one of {library}, whose methods it uses",)
    if own is not None:
        flat = flattened(own, gradient if is_alone else reference, points[0] if points else {})
        reference = own.as_numpy(flat.function)
    if room is not None:
        subject = flattened(room, gradient, points[0] if points else {})
        gradient = room.gradient_of(subject.function, constants=constants)
    elif own is jax_functions and _library_of(gradient) == "jax":
        gradient = jax_functions.in_64_bits(gradient)  # as jax.grad(f), which would answer in float32
    return gradient, reference, _flat_points(trees, points), notes


def _holds(library: str, values: Any) -> bool:
    """Whether there are arrays of a library among values."""
    if isinstance(values, Mapping | list | tuple):
        return any(_holds(library, x) for x in (values.values() if isinstance(values, Mapping) else values))
    return _root(type(values).__module__) in ({"jax", "jaxlib"} if library == "jax" else {library})


def _flat_points(room: ModuleType, points: Sequence[At]) -> tuple[dict[str, Any], ...]:
    found = [dict(flattened(room, None, point).leaves) for point in points]
    return tuple({name: room.as_array(value) for name, value in point.items()} for point in found)

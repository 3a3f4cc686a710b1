"""How a framework's function is called as a gradient: arguments by name or position, ``upstream``, arrays of NumPy."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from verify.case.case import Case
from verify.errors import TraceError, UsageError
from verify.tracing.function_call import name_of
from verify.tracing.places import Place
from verify.tracing.traced import is_traced
from verify.tracing.untraced import trace_error

Call = Callable[[Mapping[str, Any]], Any]
"""The function, called with its arguments by name."""

Pull = Callable[[Mapping[str, Any], Sequence[str], Call, Any], Mapping[str, Any]]
"""``pull(arguments, differentiated, call, upstream)``: a framework's gradients by name, as arrays of NumPy."""

Run = Callable[[Mapping[str, Any], Call], Any]
"""``run(arguments, call)``: what a framework's function returns, as arrays of NumPy, or as tracers."""


def signature_of(function: Callable[..., Any]) -> inspect.Signature:
    """The signature of a function, or that of any number of arguments where it does not say.

    >>> str(signature_of(lambda x, y: x)), str(signature_of(print))[:6]
    ('(x, y)', '(*args')
    """
    try:
        return inspect.signature(function)
    except (TypeError, ValueError):  # a builtin without a signature
        return inspect.Signature([inspect.Parameter("args", inspect.Parameter.VAR_POSITIONAL)])


def as_gradient(
    function: Callable[..., Any],
    pull: Pull,
    constants: Collection[str] = (),
    code: Callable[..., Any] | None = None,
    signature: inspect.Signature | None = None,
) -> Callable[..., Any]:
    """A gradient of ``function`` in the calling convention of ``verify.check_gradient``.

    ``constants`` names arguments that are not differentiated; whole numbers and truth values never are. ``code`` is
    the Python function to read, where ``function`` is none. Raises UsageError for a parameter called ``upstream``.

    >>> def pull(arguments, differentiated, call, upstream):
    ...     return {name: 2 * arguments[name] * upstream for name in differentiated}
    >>> gradient = as_gradient(lambda x: x * x, pull)
    >>> float(gradient(np.float64(3.0), upstream=1.0)), str(inspect.signature(gradient))
    (6.0, '(x, *, upstream=None)')
    """
    signature = signature or signature_of(function)
    parameters = [p.replace(annotation=p.empty) for p in signature.parameters.values()]
    if "upstream" in signature.parameters:
        raise UsageError(
            "the function has a parameter 'upstream' of its own: the name stands for the upstream gradient"
        )

    def gradient(*args: Any, upstream: Any = None, **named: Any) -> Any:
        arguments, call = arguments_of(function, signature, args, named)
        differentiated = [
            name for name, x in arguments.items() if name not in constants and np.asarray(x).dtype.kind not in "iub"
        ]
        if not differentiated:
            raise UsageError("nothing to differentiate: every argument is a constant or a whole number")
        found = pull(arguments, differentiated, call, upstream)
        if named:
            return dict(found)
        answers = tuple(found[name] for name in differentiated)
        return answers if len(answers) > 1 else answers[0]

    at = next((i for i, p in enumerate(parameters) if p.kind is p.VAR_KEYWORD), len(parameters))
    parameters.insert(at, inspect.Parameter("upstream", inspect.Parameter.KEYWORD_ONLY, default=None))
    gradient.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    gradient.__name__ = getattr(code or function, "__name__", "gradient")
    gradient.__wrapped__ = code or function  # type: ignore[attr-defined]
    return gradient


def as_function(
    function: Callable[..., Any],
    evaluate: Run,
    replay: Run,
    code: Callable[..., Any] | None = None,
    signature: inspect.Signature | None = None,
) -> Callable[..., Any]:
    """A framework's function as one of NumPy arrays, which :func:`verify.trace` can trace.

    ``evaluate`` runs it on arrays; ``replay`` runs the program that the framework writes down of it on tracers.

    >>> double = as_function(lambda x: 2 * x, lambda given, call: call(given), lambda given, call: call(given))
    >>> double(x=3.0), str(inspect.signature(double))
    (6.0, '(x)')
    """
    known = signature or signature_of(function)

    def called(*args: Any, **named: Any) -> Any:
        arguments, call = arguments_of(function, known, args, named)
        return (replay if any(map(is_traced, arguments.values())) else evaluate)(arguments, call)

    called.__signature__ = known  # type: ignore[attr-defined]
    called.takes_arrays = True  # type: ignore[attr-defined]  # whatever the code behind it is written in
    called.__name__ = getattr(code or function, "__name__", type(function).__name__)
    called.__module__ = getattr(code or function, "__module__", None) or __name__
    called.__wrapped__ = code or function  # type: ignore[attr-defined]
    return called


@dataclass(frozen=True, slots=True)
class Tree:
    """A value taken apart: the paths of its leaves and their values, and how it is put together again."""

    is_tree: bool
    paths: Sequence[str]
    values: Sequence[Any]
    rebuilt: Callable[[Sequence[Any]], Any]


def is_written_out(value: Any) -> bool:
    """Whether a list is an array that somebody wrote out, and no tree.

    >>> is_written_out([[1.0, 2.0], [3.0, 4.0]]), is_written_out([np.ones(2), 1.0])
    (True, False)
    """
    return isinstance(value, tuple | list) and all(isinstance(x, int | float) or is_written_out(x) for x in value)


def arguments_of(
    function: Callable[..., Any], signature: inspect.Signature | None, args: Sequence[Any], named: Mapping[str, Any]
) -> tuple[dict[str, Any], Call]:
    """The arguments by name, and the function as one of such.

    >>> arguments, call = arguments_of(lambda x, y: x - y, None, [5.0], {"y": 3.0})
    >>> arguments, call(arguments)
    ({'x': 5.0, 'y': 3.0}, 2.0)
    """
    bound = (signature or signature_of(function)).bind(*args, **named)
    count, keys = len(bound.args), list(bound.kwargs)

    def call(values: Mapping[str, Any]) -> Any:
        flat = list(values.values())
        return function(*flat[:count], **dict(zip(keys, flat[count:], strict=True)))

    return _by_name(bound), call


def structured(answer: Any, leaf: Callable[[Any], Any]) -> Any:
    """What a function returned, with ``leaf`` of each value: one, a tuple, or a mapping; nested names are joined.

    >>> structured((1, 2), abs), structured({"a": {"b": -1}}, abs)
    ((1, 2), {'a_b': 1})
    """
    if not isinstance(answer, Mapping | tuple | list):
        return leaf(answer)
    fields = getattr(answer, "_fields", None) or range(len(answer))
    pairs = list(answer.items()) if isinstance(answer, Mapping) else list(zip(fields, answer, strict=True))
    found: dict[str, Any] = {}
    for key, value in pairs:
        inner = structured(value, leaf)
        found |= {f"{key}_{name}": x for name, x in inner.items()} if isinstance(inner, dict) else {str(key): inner}
    plain_rows = isinstance(answer, tuple | list) and list(found) == [str(i) for i in range(len(answer))]
    if any(isinstance(x, tuple) for x in found.values()):
        flat = {key: x if isinstance(x, tuple) else (x,) for key, x in found.items()}
        return {f"{key}_{i}" if len(x) > 1 else key: v for key, x in flat.items() for i, v in enumerate(x)}
    return tuple(found.values()) if plain_rows else found


def each_leaf(value: Any, leaf: Callable[[Any], Any]) -> Any:
    """Tuples, lists and mappings with ``leaf`` of each value inside.

    >>> each_leaf({"a": (1, [-2])}, abs)
    {'a': (1, [2])}
    """
    if isinstance(value, Mapping):
        return {key: each_leaf(item, leaf) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return (list if isinstance(value, list) else tuple)(each_leaf(item, leaf) for item in value)
    return leaf(value)


def untraceable(function: Any, error: TraceError) -> TraceError:
    """Why a framework's function cannot be traced, at its own place and with no advice about NumPy.

    >>> from verify.tracing.untraced import unmapped
    >>> print(untraceable(abs, unmapped("aten.svd has no op here")).problem.message)
    cannot be traced: abs, for aten.svd has no op here
    """
    name = name_of(function)
    remedy = "Where it is traced, a gradient is proved; give a reference in other words, or a case."
    return trace_error(f"{name}, for {error.tried}", place_of_function(function), remedy, error.kind, error.op)


def place_of_function(function: Any) -> Place:
    """File and line of a function, as far as they are known.

    >>> place_of_function(abs)
    Place(file='', line=0)
    """
    code = getattr(inspect.unwrap(function), "__code__", None)
    return Place(code.co_filename, code.co_firstlineno) if code else Place()


def _by_name(bound: inspect.BoundArguments) -> dict[str, Any]:
    """The arguments in the order of the call, by parameter; those of ``*args`` with their number."""
    names: list[str] = []
    for name, parameter in bound.signature.parameters.items():
        if name in bound.arguments and parameter.kind is parameter.VAR_POSITIONAL:
            names += [f"{name}[{i}]" for i in range(len(bound.arguments[name]))]
        elif name in bound.arguments and parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD):
            names.append(name)
    return {**dict(zip(names, bound.args, strict=True)), **bound.kwargs}


def seeds_of(outputs: Sequence[Any], upstream: Any) -> list[Any]:
    """The upstream gradient of each output, from what a gradient is given: one array, or a mapping in their order.

    >>> [float(seed) for seed in seeds_of([np.ones(())], None)]
    [1.0]
    """
    given = upstreams_of(upstream)
    check_upstreams(len(outputs), given)
    return [np.ones(np.shape(y)) if g is None else np.array(g) for y, g in zip(outputs, given, strict=True)]


def upstreams_of(upstream: Any) -> list[Any]:
    """What a gradient is given as ``upstream``, in the order of the outputs; None stands for ones.

    >>> upstreams_of({"y": 2.0, "z": None}), upstreams_of(None)
    ([2.0, None], [None])
    """
    return list(upstream.values()) if isinstance(upstream, Mapping) else [upstream]


def check_upstreams(outputs: int, given: Sequence[Any]) -> None:
    """Raises UsageError where there is not one upstream gradient for each output.

    >>> check_upstreams(1, [None])
    """
    if len(given) != outputs:
        raise UsageError(f"the function returns {outputs} arrays, and there are {len(given)} upstream gradients")


def renamed(function: Callable[..., Any], names: Sequence[str]) -> Callable[..., Any]:
    """A function whose arguments, in order, have these names; itself where they do.

    >>> renamed(lambda a: 2 * a, ["x"])(x=3.0)
    6.0
    """
    if list(signature_of(function).parameters) == list(names):
        return function
    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    signature = inspect.Signature([inspect.Parameter(name, kind) for name in names])

    def called(*args: Any, **named: Any) -> Any:
        return function(*signature.bind(*args, **named).args)

    called.__signature__ = signature  # type: ignore[attr-defined]
    called.__name__ = getattr(function, "__name__", "function")
    called.__wrapped__ = inspect.unwrap(function)  # type: ignore[attr-defined]
    return called


def names_of(signature: inspect.Signature, count: int) -> list[str]:
    """Names for so many arguments by position: the parameters', as far as there are any.

    >>> names_of(signature_of(lambda x, *more: x), 3)
    ['x', 'more[0]', 'more[1]']
    """
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    known = [name for name, parameter in signature.parameters.items() if parameter.kind in kinds][:count]
    more = next((p.name for p in signature.parameters.values() if p.kind is p.VAR_POSITIONAL), "x")
    return known + [f"{more}[{i}]" for i in range(count - len(known))]


def input_names(own: Sequence[str], case: Case | None, function: Callable[..., Any] | None) -> list[str]:
    """What a function's arguments, whose own names are given, are called by what its gradient is held against.

    >>> input_names(["a", "b"], None, lambda x, y: x), input_names(["args[0]"], None, None)
    (['x', 'y'], ['x0'])
    """
    if case is not None:
        known = list(case.graph.inputs)
        return list(own) if set(own) == set(known) else known
    found = names_of(signature_of(function), len(own)) if function is not None else list(own)
    return [name if name.isidentifier() else f"x{i}" for i, name in enumerate(found)]


def with_vectors(args: Sequence[Any], names: Sequence[str], constants: Collection[str]) -> tuple[list[Any], list[Any]]:
    """Arguments, and the vector of each, None where it is not differentiated: all arguments come before all vectors.

    >>> with_vectors([1.0, 2, 3.0, 10.0, 30.0], ["x", "n", "y", "", ""], ())
    ([1.0, 2, 3.0], [10.0, None, 30.0])
    """
    moves = [name not in constants and np.asarray(x).dtype.kind == "f" for name, x in zip(names, args, strict=True)]
    count = next(n for n in range(len(args) + 1) if n + sum(moves[:n]) == len(args))
    vectors = iter(args[count:])
    return list(args[:count]), [next(vectors) if moves[i] else None for i in range(count)]

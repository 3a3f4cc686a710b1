"""Layers and losses as people write them: a forward with a cache, a backward that takes it, a loss with its gradient.

``out, cache = forward(x, w, b)`` and ``dx, dw, db = backward(dout, cache)`` are the two halves of one gradient. The
forward alone, without its cache, is the function; the two together are the gradient that is judged.
"""

from __future__ import annotations

import copy
import inspect
import itertools
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from verify.case.case import Case, load_case
from verify.case.files import find_case
from verify.errors import LimitError, UsageError
from verify.limits import case_limits
from verify.oracle.check import check_gradient, placed
from verify.oracle.result import GradientRun
from verify.records import CaseResult, Finding
from verify.running.settings import DEFAULT, Settings
from verify.subjects.answers import PREFIXES
from verify.tracing.foreign_call import call_foreign
from verify.tracing.function_call import name_of
from verify.words import FindingKind

Function = Callable[..., Any]

OPTIONS = frozenset(inspect.signature(check_gradient).parameters) - {"gradient", "case", "settings", "at", "constants"}
"""What is no argument of a layer, unless it is given by ``at``."""


def check_layer(
    forward: Any,
    backward: Function | None = None,
    settings: Settings = DEFAULT,
    *,
    vary: Mapping[str, Sequence[Any]] | None = None,
    reference: Function | Case | str | None = None,
    at: Mapping[str, Any] | None = None,
    **arguments: Any,
) -> GradientRun:
    """Judges a pair of passes: ``out, cache = forward(...)`` and ``gradients = backward(dout, cache)``.

    Parameters
    ----------
    forward
        Takes ``arguments`` by name and returns a tuple whose last item is the cache, whatever that is; those before it
        are outputs. Or an object that has ``forward`` and ``backward``, which keeps its cache itself.
    backward
        Takes an upstream gradient for each output and then the cache. Returns one array, a tuple in the order of the
        arguments that are floats (as many of them as it has gradients: arrays go before numbers), or a mapping by name.
        It is called twice with one cache: where the first call changes it, that is a finding.
    settings
        As of :func:`~verify.oracle.check.check_gradient`.
    vary
        Argument -> values that are tried one after the other, each with every other: strides, modes, window sizes. A
        list of dictionaries among ``arguments`` means the same.
    reference
        What the forward is held against: a function of the same arguments, or a case, by its name too.
    at
        Arguments of the forward by name, where one is called as an option is.
    arguments
        Of the forward, by name: one point; and whatever :func:`~verify.oracle.check.check_gradient` may be asked for:
        ``domain``, ``points``, ``upstream``, ``dims``. Without ``dims``, axes of one size are taken for the same axis,
        and other sizes are tried where the forward has a value.

    Raises UsageError for arguments that the forward does not take.

    >>> def affine(x, w, b):
    ...     return x @ w + b, (x, w)
    >>> def affine_backward(dout, cache):
    ...     x, w = cache
    ...     return dout @ w.T, x.T @ dout, dout.sum(axis=0)
    >>> x, w, b = np.ones((2, 3)), np.full((3, 4), 0.5), np.zeros(4)
    >>> check_layer(affine, affine_backward, x=x, w=w, b=b).ok
    True
    >>> check_layer(affine, lambda dout, cache: (dout @ cache[1].T, cache[0].T @ dout, dout.sum()), x=x, w=w, b=b).ok
    False
    """
    if backward is None:
        forward, backward = _halves(forward)
    return _check(_Pair(forward, backward), arguments, at or {}, vary or {}, reference, settings)


def check_loss(
    loss: Function,
    settings: Settings = DEFAULT,
    *,
    vary: Mapping[str, Sequence[Any]] | None = None,
    reference: Function | Case | str | None = None,
    at: Mapping[str, Any] | None = None,
    **arguments: Any,
) -> GradientRun:
    """Judges a function that returns its value and its gradient together: ``loss, dx = softmax_loss(x, y)``.

    The first item is the function, those after it are its gradients, in the order of the arguments that are floats;
    SciPy's ``fun`` with ``jac=True`` is one of these. All else is as in :func:`check_layer`.

    >>> def squares(w, x, y):
    ...     error = x @ w - y
    ...     return np.sum(error**2), 2 * x.T @ error
    >>> point = {"w": np.array([1.0, 2.0]), "x": np.eye(2), "y": np.array([0.5, -1.0])}
    >>> check_loss(squares, **point).ok
    True
    >>> check_loss(lambda w, x, y: (np.sum((x @ w - y) ** 2), x.T @ (x @ w - y)), **point).ok
    False
    """
    return _check(_Loss(loss), arguments, at or {}, vary or {}, reference, settings)


class _Loss:
    """A function with its gradients behind it, as something that has a value and a gradient."""

    def __init__(self, whole: Function) -> None:
        self.whole = whole
        """The function of the user that has the arguments."""
        self.written = whole
        """The one that computes the gradient."""
        self.used_up = ""
        """What a second call with the same cache came to, where that is something else."""

    def outputs(self, returned: Any) -> Any:
        """The value alone."""
        if not isinstance(returned, tuple | list) or len(returned) < 2:
            raise UsageError(f"{name_of(self.whole)} returns no pair of a value and its gradient, got {returned!r:.60}")
        return returned[0]

    def gradients(self, returned: Any, upstream: Any) -> Any:
        """The gradients, by arguments in order, or a mapping, for upstream gradients of 1."""
        found = returned[1] if len(returned) == 2 else tuple(returned[1:])
        if isinstance(found, Mapping):
            return {name: _scaled(part, upstream) for name, part in found.items()}
        if isinstance(found, tuple | list):
            parts = [_scaled(part, upstream) for part in found]
            return parts if isinstance(found, list) else tuple(parts)
        return _scaled(found, upstream)


def _scaled(part: Any, upstream: Any) -> Any:
    """A gradient times the upstream gradient; None where there is none."""
    return None if part is None else np.asarray(upstream) * np.asarray(part)


class _Pair(_Loss):
    """A forward and its backward."""

    def __init__(self, forward: Function, backward: Function) -> None:
        super().__init__(forward)
        self.backward = self.written = backward

    def outputs(self, returned: Any) -> Any:
        """All but the cache."""
        if not isinstance(returned, tuple) or not returned[1:]:
            return returned
        return returned[0] if len(returned) == 2 else returned[:-1]

    def gradients(self, returned: Any, upstream: Any) -> Any:
        """What the backward answers, which must answer the same with the same cache once more."""
        cache = returned[-1:] if isinstance(returned, tuple) and len(returned) > 1 else ()
        sent = list(upstream) if cache and len(returned) > 2 else [upstream]
        received = copy.deepcopy(sent)
        kept = copy.deepcopy(self.backward(*sent, *cache))
        again = call_foreign(lambda: self.backward(*received, *cache))
        if again.error is not None:
            self.used_up = f"raises {type(again.error).__name__}: {again.error}"
        elif not _same(kept, again.value):
            self.used_up = "has another answer"
        return kept


def _check(
    layer: _Loss,
    given: Mapping[str, Any],
    at: Mapping[str, Any],
    vary: Mapping[str, Sequence[Any]],
    reference: Any,
    settings: Settings,
) -> GradientRun:
    """The layer at each of its variants: one run, with the results of all."""
    if not isinstance(at, Mapping):
        raise UsageError(f"at takes one point here, such as at={{'x': 3.0}}, got {at!r:.60}")
    options = {name: value for name, value in given.items() if name in OPTIONS}
    arguments = {name: value for name, value in given.items() if name not in OPTIONS} | dict(at)
    started = time.perf_counter()
    _bound(layer.whole, arguments, vary)
    for name in (name for name, values in vary.items() if not len(values)):
        raise UsageError(f"vary has no value for {name}; leave it out, or give one")
    runs = [
        _named(_check_one(layer, point, reference, settings, options), label)
        for point, label in _variants(arguments, vary)
    ]
    cases = tuple(case for run in runs for case in run.cases)
    return replace(runs[0], cases=cases, seconds=time.perf_counter() - started)


def _check_one(
    layer: _Loss, point: Mapping[str, Any], reference: Any, settings: Settings, options: Mapping[str, Any]
) -> GradientRun:
    name = name_of(layer.whole)
    reals = [key for key, value in point.items() if _is_real(value)]
    variables = _variables(layer, point, reals, settings)
    signature = inspect.Signature(
        [inspect.Parameter(key, inspect.Parameter.POSITIONAL_OR_KEYWORD) for key in (*point, "upstream")]
    )

    forward, outputs = layer.whole, layer.outputs  # as variables of the closure: who traces follows those

    def value(**given: Any) -> Any:
        return outputs(forward(**{**point, **given}))

    def gradient(upstream: Any, **given: Any) -> Any:
        held = {key: _copied(held) for key, held in point.items() if key not in given}  # running means do not drift
        returned = layer.whole(**held, **given)
        layer.outputs(returned)
        return _by_name(layer.gradients(returned, upstream), variables)

    value.__name__ = gradient.__name__ = name
    value.__wrapped__ = forward  # type: ignore[attr-defined]
    value.__signature__ = signature.replace(parameters=list(signature.parameters.values())[:-1])  # type: ignore[attr-defined]
    gradient.__signature__ = signature  # type: ignore[attr-defined]
    asked = {"constants": [key for key in point if key not in variables], **options}
    layer.used_up = ""
    if reference is None or callable(reference):
        if reference is None and "dims" not in asked:
            asked["dims"] = _dims(point, variables)
        if reference is not None:
            gradient.forward = value  # type: ignore[attr-defined]
        run = check_gradient(gradient, reference or value, settings, at=point, **asked)
    else:
        gradient.forward = value  # type: ignore[attr-defined]
        case = load_case(find_case(reference)) if isinstance(reference, str) else reference
        here = {key: value for key, value in point.items() if key in case.graph.inputs}
        run = check_gradient(gradient, case, settings, at=here, **{**asked, "constants": ()})
    run = placed(run, layer.written)
    if not layer.used_up or any(found.kind == FindingKind.NOT_DETERMINISTIC for found in run.cases[0].findings):
        return run
    said = f"the backward pass {layer.used_up} when it is called again with the same cache: the first call changes it"
    first = replace(
        run.cases[0], findings=(*run.cases[0].findings, Finding(FindingKind.CACHE_CHANGED, "", said, fails=True))
    )
    return replace(run, cases=(first, *run.cases[1:]))


def _variables(layer: _Loss, point: Mapping[str, Any], reals: Sequence[str], settings: Settings) -> list[str]:
    """Which arguments the layer has gradients of: all floats, or as many as it answers, arrays before numbers."""

    def answered() -> Any:
        returned = layer.whole(**{name: _copied(value) for name, value in point.items()})
        outputs = layer.outputs(returned)
        ones = tuple(np.ones(np.shape(part)) for part in outputs) if isinstance(outputs, tuple) else None
        return layer.gradients(returned, np.ones(np.shape(outputs)) if ones is None else ones)

    try:
        with case_limits(settings.case_seconds, settings.call_seconds, settings.case_memory):
            ran = call_foreign(answered, ours=(UsageError,))
    except LimitError:
        return list(reals)  # the check meets it too, and says at which step
    if isinstance(ran.value, Mapping):
        named = [name for name in reals if any(prefix + name in ran.value for prefix in PREFIXES)]
        return named or list(reals)
    count = len(ran.value) if isinstance(ran.value, tuple | list) else 1
    if ran.error is not None or count >= len(reals):
        return list(reals)
    arrays = [name for name in reals if np.ndim(point[name])]
    return (arrays if len(arrays) >= count else list(reals))[:count]


def _by_name(answer: Any, variables: Sequence[str]) -> Any:
    """A tuple of gradients by the names of their arguments; what does not fit is judged as it is."""
    parts = tuple(answer) if isinstance(answer, tuple | list) else (answer,)
    parts = tuple(part for part in parts if part is not None) if len(parts) > len(variables) else parts
    is_one_list = isinstance(answer, list) and len(variables) == 1  # perhaps the rows of one array
    if isinstance(answer, Mapping) or is_one_list or len(parts) != len(variables):
        return answer
    return dict(zip(variables, parts, strict=True))


def _variants(arguments: Mapping[str, Any], vary: Mapping[str, Sequence[Any]]) -> Iterator[tuple[dict[str, Any], str]]:
    """Each point of the product of what varies, and what it is called; the user's own objects are not handed on."""
    lists = {
        name: value
        for name, value in arguments.items()
        if isinstance(value, list) and value and all(isinstance(part, Mapping) for part in value)
    } | dict(vary)
    for chosen in itertools.product(*lists.values()):
        varied = dict(zip(lists, chosen, strict=True))
        label = ", ".join(f"{name}={part}" for name, part in varied.items())
        yield {name: _copied(value) for name, value in {**arguments, **varied}.items()}, label


def _dims(point: Mapping[str, Any], variables: Sequence[str]) -> dict[str, tuple[str | int, ...]] | None:
    """Axes by name: those of one size have one name, those of size 1 are left as they are."""
    arrays = {
        name: np.shape(value) for name, value in point.items() if isinstance(value, np.ndarray) and np.ndim(value)
    }
    if not any(size > 1 for name in variables for size in arrays.get(name, ())):
        return None
    return {name: tuple(f"n{size}" if size > 1 else size for size in shape) for name, shape in arrays.items()}


def _halves(layer: Any) -> tuple[Function, Function]:
    """The two halves of an object that keeps its cache in itself, each time a fresh copy of it."""
    if not callable(getattr(layer, "forward", None)) or not callable(getattr(layer, "backward", None)):
        raise UsageError("check_layer needs forward and backward, or an object that has both")

    def forward(**arguments: Any) -> tuple[Any, Any]:
        own = copy.deepcopy(layer)
        returned = own.forward(**arguments)
        return (*(returned if isinstance(returned, tuple) else (returned,)), own)

    def backward(*upstream_and_layer: Any) -> Any:
        *upstream, own = upstream_and_layer
        return own.backward(*upstream)

    backward.__wrapped__ = layer.backward  # type: ignore[attr-defined]
    forward.__name__ = type(layer).__name__
    forward.__signature__ = inspect.signature(layer.forward)  # type: ignore[attr-defined]
    return forward, backward


def _bound(function: Function, arguments: Mapping[str, Any], vary: Mapping[str, Any]) -> None:
    """Raises UsageError where the function does not take these arguments."""
    try:
        inspect.signature(function).bind(**dict.fromkeys({**arguments, **vary}))
    except TypeError as error:
        raise UsageError(f"{name_of(function)}: {error}; give the forward's arguments by name") from None
    except ValueError:  # no signature: the call will tell
        return


def _same(one: Any, other: Any) -> bool:
    """Whether two answers are the same to the bit."""
    if isinstance(one, Mapping):
        return isinstance(other, Mapping) and {*one} == {*other} and all(_same(one[key], other[key]) for key in one)
    if isinstance(one, tuple | list):
        return isinstance(other, tuple | list) and len(one) == len(other) and all(map(_same, one, other))
    return one is other or bool(np.array_equal(one, other, equal_nan=np.asarray(one).dtype.kind == "f"))


def _is_real(value: Any) -> bool:
    if not isinstance(value, float | list | np.ndarray | np.floating):
        return False
    array = call_foreign(lambda: np.asarray(value)).value  # None for a list of arrays of several shapes
    return array is not None and array.dtype.kind == "f"


def _copied(value: Any) -> Any:
    """A copy of an argument; what cannot be copied, such as a module, is handed on."""
    own = call_foreign(lambda: copy.deepcopy(value))
    return value if own.error is not None else own.value


def _named(run: GradientRun, label: str) -> GradientRun:
    """The run of a variant, with the variant in the names of its results."""
    if not label:
        return run
    renamed: list[CaseResult] = [replace(case, name=f"{case.name} [{label}]") for case in run.cases]
    return replace(run, cases=tuple(renamed))

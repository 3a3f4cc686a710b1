"""Numbers 0 and 1 that a function was given and that its trace took in: what they hide is asked of the function.

``scale=1.0`` leaves no factor in the traced case, ``beta=0`` no term, and a gradient that forgets them is right there.
The function is traced once more with the number moved a little: where its gradient is another then, a check at this
number could not have told. A number that the function cannot take moved, such as an axis, is none of these.
"""

from __future__ import annotations

import inspect
from collections.abc import Collection, Iterator, Mapping
from typing import Any

import numpy as np

from verify.case.case import Case
from verify.errors import VerifyError
from verify.methods.reverse import Reverse
from verify.numbers.streams import stream
from verify.places.weak_checks import MOVE, SPECIAL, changed
from verify.tracing.function_call import Function
from verify.tracing.trace import Traced, traced_or_reason

MOST_MOVED = 8
"""Numbers that are moved, each of which costs a trace."""


def hidden_by_scalars(
    function: Function, point: Mapping[str, Any], traced: Traced, constants: Collection[str] = ()
) -> tuple[str, ...]:
    """What could not have been seen for a number that is 0 or 1, a sentence each.

    >>> def function(x, scale=1.0, beta=0, axis=0):
    ...     return scale * np.sum(x * x, axis=axis) + beta * np.sum(x)
    >>> point = {"x": np.array([1.0, 2.0])}
    >>> for sentence in hidden_by_scalars(function, point, traced_or_reason(function, point)):
    ...     print(sentence)
    scale is 1 at every point, so a factor that is missing would not be seen
    beta is 0 at every point, so a term that is missing would not be seen
    """
    real = {item.name for item in traced.case.real_inputs}
    given = {name: value for name, value in {**_defaults(function), **point}.items() if name not in real}
    told = []
    before = _gradients(traced.case, point)
    for number, (name, value, moved) in enumerate(_moves(given)):
        if number == MOST_MOVED:
            break
        try:
            again = traced_or_reason(function, {**point, **moved}, None, (*constants, *moved))
        except VerifyError:
            continue  # it takes no such number
        after = _gradients(again.case, point) if isinstance(again, Traced) else {}
        if any(key in after and changed(before[key], after[key]) for key in before):
            told.append(SPECIAL[f"{value:g}"].format(name))
    return tuple(told)


def _defaults(function: Function) -> dict[str, Any]:
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return {}
    return {p.name: p.default for p in parameters if p.default is not p.empty and p.kind is not p.POSITIONAL_ONLY}


def _moves(given: Mapping[str, Any]) -> Iterator[tuple[str, float, dict[str, Any]]]:
    """Each number that is 0 or 1, what it is called, and arguments with it moved; those inside of a mapping too."""
    for name, value in given.items():
        inside = value.items() if isinstance(value, dict) else ()
        for key, item in inside:
            if _is_special(item):
                yield f"{name}[{key!r}]", float(item), {name: {**value, key: float(item) + MOVE}}
        if _is_special(value):
            yield name, float(value), {name: float(value) + MOVE}


def _is_special(value: Any) -> bool:
    is_number = isinstance(value, int | float | np.number) and not isinstance(value, bool | np.complexfloating)
    return is_number and value in (0, 1)


def _gradients(case: Case, point: Mapping[str, Any]) -> dict[str, Any]:
    """The gradient of each differentiated argument at a point, along fixed upstream gradients."""
    inputs = {item.name: np.asarray(point[item.name] if item.kind == "real" else item.at)[None] for item in case.inputs}
    rng = stream(0, "upstream of moved numbers")
    upstream = {name: rng.uniform(0.5, 1.5, (1, *case.graph.shape(name))) for name in case.graph.outputs}
    names = [item.name for item in case.real_inputs]
    with np.errstate(all="ignore"):
        return dict(Reverse(case.graph, names).differentiate(inputs, upstream).gradients)

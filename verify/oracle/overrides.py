"""A case with what the caller of the oracle gives in place of what the case says: points, domains, constants, dtype."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from verify.case.case import DTYPES, Case, Domain, Input, OwnPoint
from verify.errors import UsageError, did_you_mean

Array = NDArray[Any]
At = Mapping[str, Any]
"""One point: input -> value."""


def points_of(at: Any) -> tuple[dict[str, Any], ...]:
    """The points that a caller gave, one or several. Raises UsageError for anything else.

    >>> points_of({"x": 3.0}), points_of([{"x": 3.0}, {"x": -3.0}])
    (({'x': 3.0},), ({'x': 3.0}, {'x': -3.0}))
    """
    if at is None:
        return ()
    given = [at] if isinstance(at, Mapping) else list(at) if isinstance(at, Iterable) else []
    if not given or not all(isinstance(point, Mapping) for point in given):
        raise UsageError("at takes one point, such as at={'x': 3.0}, or a list of them")
    return tuple({str(name): value for name, value in point.items()} for point in given)


def adapted(
    case: Case,
    at: Sequence[At] = (),
    domain: Mapping[str, Any] | None = None,
    upstream: Any = None,
    constants: Collection[str] = (),
    dtype: str | None = None,
) -> Case:
    r"""The case as the caller wants it looked at. Raises UsageError where something does not fit the case.

    >>> from verify.case.case import load_case_text
    >>> case = load_case_text("case: square\ninputs: {x: {at: 3}}\nstages: {f: x**2}\n")
    >>> changed = adapted(case, at=[{"x": 20.0}], domain={"x": (0, 30)}, dtype="float32")
    >>> changed.own_points[0].values["x"].item(), str(changed.inputs[0].domain), changed.inputs[0].dtype
    (20.0, '[0, 30]', 'float32')
    """
    names = [item.name for item in case.inputs]
    for where, given in (("domain", domain or {}), ("constants", constants)):
        for name in given:
            _known(name, names, where)
    if dtype is not None and dtype not in DTYPES:
        raise UsageError(f"dtype must be one of {', '.join(DTYPES)}, got {dtype!r}")
    held = {name: at[0][name] for name in constants if at and name in at[0]}
    inputs = tuple(_input(item, domain or {}, constants, held, dtype) for item in case.inputs)
    if not any(item.kind == "real" for item in inputs):
        raise UsageError("nothing is left to differentiate by: every input is among the constants")
    changed = replace(case, inputs=inputs, given_upstream=_upstream(case, upstream))
    return replace(changed, own_points=_own_points(changed, at)) if at else changed


def _known(name: str, names: Sequence[str], where: str) -> None:
    if name not in names:
        hint = did_you_mean(name, names) or f"Inputs: {', '.join(names)}."
        raise UsageError(f"{where} names {name!r}, which is no input. {hint}")


def _input(item: Input, domain: Mapping[str, Any], constants: Collection[str], held: At, dtype: str | None) -> Input:
    """``held`` has the values of those constants that the caller gave values for."""
    changed = item
    if item.name in domain:
        changed = replace(changed, domain=Domain.given(item.name, domain[item.name]))
    if item.name in constants:
        changed = replace(changed, kind="constant")
    if item.name in held:
        changed = replace(changed, at=_value(changed, held[item.name], "at"))
    if dtype is not None and item.kind == "real":
        changed = replace(changed, dtype="float32" if dtype == "float32" else "float64")
    return changed


def _own_points(case: Case, at: Sequence[At]) -> tuple[OwnPoint, ...]:
    """The caller's points in place of the case's own; an input that one leaves out has the case's value."""
    usual = case.own_points[0].values if case.own_points else {}
    names = [item.name for item in case.inputs]
    points = []
    for number, given in enumerate(at):
        origin = "at" if len(at) == 1 else f"at[{number}]"
        for name in given:
            _known(name, names, origin)
        values = {item.name: _value(item, given[item.name], origin) for item in case.inputs if item.name in given}
        points.append(OwnPoint(origin, {**usual, **values}))
    return tuple(points)


def _value(item: Input, given: Any, origin: str) -> Array:
    value = _reals(given)
    if value is None:
        raise UsageError(f"{origin}: {item.name} must be a number or an array, got {given!r:.60}")
    if value.shape != item.shape:
        raise UsageError(f"{origin}: {item.name} has shape {value.shape}, the case has {item.shape}")
    if item.kind != "constant" and not np.all(item.domain.contains(value)):
        remedy = f"give domain={{'{item.name}': (low, high)}} with room for it"
        raise UsageError(f"{origin}: {item.name} lies outside its domain {item.domain}; {remedy}")
    return value


def _reals(given: Any) -> Array | None:
    """Numbers as an array; None for what NumPy would make one of by leaving something out: text, a mask, i."""
    if isinstance(given, np.ndarray) and type(given) not in (np.ndarray, np.memmap):
        return None
    try:
        array = np.asarray(given)
        return array.astype(np.float64) if array.dtype.kind in "fiub" else None
    except (TypeError, ValueError):
        return None


def _upstream(case: Case, given: Any) -> dict[str, Array]:
    """The upstream gradient that the caller fixes: one array where there is one output, else by output."""
    if given is None:
        return {}
    outputs = case.graph.outputs
    by_name = {str(name): g for name, g in given.items()} if isinstance(given, Mapping) else {outputs[0]: given}
    if not isinstance(given, Mapping) and len(outputs) > 1:
        raise UsageError(f"there are several outputs: give upstream by name, {', '.join(outputs)}")
    found = {}
    for name, g in by_name.items():
        _known(name, outputs, "upstream")
        array = _reals(g)
        if array is None:
            raise UsageError(f"upstream of {name} must be a number or an array, got {g!r:.60}")
        if not np.all(np.isfinite(array)):
            raise UsageError(f"upstream of {name} is not finite, and nothing can be told from what comes of it")
        if array.shape != case.graph.shape(name):
            raise UsageError(f"upstream of {name} has shape {array.shape}, {name} has {case.graph.shape(name)}")
        found[name] = array
    return found

"""Points at which a gradient failed, kept from one run to the next, which looks at them again.

They stand beside what else is kept (:mod:`verify.running.cache`), so ``VERIFY_CACHE=off`` does without, and
``forget`` in the settings does for one run. A point is real inputs and upstream gradients, and nothing else: constants,
labels and the data that a function closes over are those of the run that looks at it again, else a gradient that is
right by now would fail for ever. What is found there is told beside the rows, which are the same in every run of one
seed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from verify.case.case import Case, OwnPoint
from verify.files import PACKAGE
from verify.places.search import upstream_of
from verify.running.cache import keep, recalled, text_key
from verify.subjects.code_constants import unwrapped
from verify.tracing.code_objects import closure_of

Array = NDArray[Any]
Point = dict[str, Array]
"""Real input, or ``upstream of`` an output, -> value."""

MOST_KEPT = 8
"""Points of one gradient that are kept; the oldest is dropped."""

DEEPEST = 3
"""Adapters around adapters that are looked through for the function that they adapt."""


def keep_point(gradient: Any, case: Case, values: Mapping[str, Array]) -> None:
    """Keeps what belongs to a point among the values at which a gradient failed.

    >>> from verify.case.case import load_case_text
    >>> case = load_case_text("{case: never failed, inputs: {x: {at: 3}}, stages: {f: x**2}}")
    >>> keep_point(abs, case, {"x": np.array(3.0)})  # nothing where the cache is off
    """
    free = _free_shapes(case)
    point = {name: np.asarray(value, dtype=np.float64).tolist() for name, value in values.items() if name in free}
    key = _key(gradient, case)
    known = recalled(key)
    others = [other for other in known if other != point] if isinstance(known, list) else []
    keep(key, [point, *others][:MOST_KEPT])


def kept_points(gradient: Any, case: Case) -> list[Point]:
    """The points at which a gradient failed in an earlier run, as far as they fit the case and lie in its domain.

    >>> from verify.case.case import load_case_text
    >>> case = load_case_text("{case: never failed, inputs: {x: {at: 3}}, stages: {f: x**2}}")
    >>> kept_points(max, case)
    []
    """
    free = _free_shapes(case)
    known = recalled(_key(gradient, case))
    found = []
    for kept in known if isinstance(known, list) else []:
        if not isinstance(kept, dict) or not set(kept) <= set(free):
            continue
        point = {str(name): np.asarray(value, dtype=np.float64) for name, value in kept.items()}
        fits = all(value.shape == free[name] for name, value in point.items())
        domains = [item for item in case.real_inputs if item.name in point]
        if fits and all(np.all(item.domain.contains(point[item.name])) for item in domains):
            found.append(point)
    return found


def at_kept_point(case: Case, point: Point) -> Case:
    """The case with a kept point as its only own one, and everything else as it is now.

    >>> from verify.case.case import load_case_text
    >>> case = load_case_text("{case: s, inputs: {x: {at: 3}, c: {kind: constant, at: 5}}, stages: {f: c * x**2}}")
    >>> {name: float(x) for name, x in at_kept_point(case, {"x": np.array(2.5)}).own_points[0].values.items()}
    {'x': 2.5, 'c': 5.0}
    """
    usual = case.own_points[0].values if case.own_points else {}
    values = {name: value for name, value in point.items() if name in case.graph.inputs}
    outputs = [name for name in case.graph.outputs if upstream_of(name) in point]
    given = {**case.given_upstream, **{name: point[upstream_of(name)] for name in outputs}}
    origin = "failed in an earlier run"
    return replace(case, own_points=(OwnPoint(origin, {**usual, **values}),), given_upstream=given)


def _free_shapes(case: Case) -> dict[str, tuple[int, ...]]:
    """What a point consists of: real inputs, and upstream gradients that nobody fixed, with their shapes."""
    free = {item.name: item.shape for item in case.real_inputs}
    fixed = {*case.given_upstream, *case.upstream}
    return free | {upstream_of(name): case.graph.shape(name) for name in case.graph.outputs if name not in fixed}


def _key(gradient: Any, case: Case) -> str:
    """What points are kept under: where the gradient is written, and the case without its sizes."""
    return text_key("points", *_places(gradient, DEEPEST), case.file, case.family or case.name)


def _places(function: Any, deepest: int) -> Iterator[str]:
    """Where the first code that is not an adapter of this package is written; a lambda also by line and column.

    A function that has a name is found again when its text has moved.
    """
    for inner in unwrapped(function):
        code = inner.__code__
        if not Path(code.co_filename).is_relative_to(PACKAGE):
            yield f"{code.co_filename}: {inner.__module__}.{inner.__qualname__}"
            if code.co_name == "<lambda>":
                yield str(list(code.co_positions()))
            return
        for held in closure_of(inner).values() if deepest else ():
            yield from _places(held, deepest - 1)
        return
    if callable(function):
        yield f"{getattr(function, '__module__', '')}.{getattr(function, '__qualname__', type(function).__qualname__)}"

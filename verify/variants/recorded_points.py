"""The points of a record as a batch again, to be looked at once more."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from verify.case.case import Case
from verify.places.points import Batch
from verify.places.search import upstream_of
from verify.records import CaseResult

if TYPE_CHECKING:
    from numpy.typing import NDArray


def batch_of(case: Case, result: CaseResult, ids: NDArray[Any]) -> Batch:
    """Some points of a record, by id, with inputs and upstream gradients as the run had them.

    >>> from verify.case.case import load_case
    >>> from verify.case.files import shipped_cases
    >>> from verify.running.runner import run_loaded
    >>> from verify.running.settings import Settings
    >>> case = load_case(shipped_cases() / "notes" / "add.yaml")
    >>> batch_of(case, run_loaded(case, Settings(points=2)), np.array([0])).inputs["x"]
    array([3.])
    """
    points = {point.id: point for point in result.points}
    inputs = {}
    for item in case.inputs:
        values = [np.asarray(points[i].values[item.name]) for i in ids.tolist()]
        inputs[item.name] = np.stack(values) if values else np.empty((0, *item.shape), dtype=item.dtype)
    upstream = {}
    for name in case.graph.outputs:
        ones = np.ones(case.graph.shape(name))
        seeds = [np.asarray(points[i].values.get(upstream_of(name), ones)) for i in ids.tolist()]
        upstream[name] = np.stack(seeds) if seeds else ones[None][:0]
    return Batch(inputs, upstream, ids, [points[i].origin for i in ids.tolist()])

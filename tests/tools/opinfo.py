"""PyTorch's own samples (OpInfo) as a campaign: each is traced by its forward, and its gradient judged against that.

``python tests/tools/opinfo.py [SAMPLES [FIRST [STEP]]]`` looks at so many samples of every STEP-th operator with a
derivative from number FIRST on, and prints a line for each that is not proved; at the end the counts. PyTorch's samples
need the package expecttest.
"""

# ruff: noqa: T201 - a tool prints
from __future__ import annotations

import sys
import warnings
from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np

from verify import check_gradient
from verify.errors import VerifyError

LARGEST = 60
"""Entries of a sample that is looked at."""


def function_of(operator: Any, sample: Any) -> tuple[Callable[..., Any], dict[str, Any]]:
    """A sample as a function of those of its tensors that are differentiated, with their values."""
    import torch
    from torch.utils import _pytree as trees

    leaves, form = trees.tree_flatten((sample.input, sample.args, sample.kwargs))
    places = [
        i for i, x in enumerate(leaves)
        if isinstance(x, torch.Tensor) and x.dtype is torch.float64 and x.requires_grad and x.layout is torch.strided
    ]  # fmt: skip
    held = [x.detach() if isinstance(x, torch.Tensor) else x for x in leaves]

    def called(**given: Any) -> Any:
        moved = list(held)
        for i, x in zip(places, given.values(), strict=True):
            moved[i] = x
        first, args, kwargs = trees.tree_unflatten(moved, form)
        answer = operator.op(first, *args, **kwargs)
        if sample.output_process_fn_grad is not None:
            answer = sample.output_process_fn_grad(answer)
        rows = trees.tree_leaves(answer)
        return tuple(y for y in rows if isinstance(y, torch.Tensor) and y.dtype is torch.float64)

    import inspect

    names = [f"x{i}" for i in range(len(places))]
    kind = inspect.Parameter.KEYWORD_ONLY
    called.__signature__ = inspect.Signature([inspect.Parameter(name, kind) for name in names])  # type: ignore[attr-defined]
    return called, {name: np.array(leaves[i].detach()) for name, i in zip(names, places, strict=True)}


def verdict_of(operator: Any, sample: Any) -> tuple[str, str]:
    """How a sample came out, and why it was not proved."""
    from verify.frameworks.torch import gradient_of
    from verify.programs.torch_functions import as_numpy

    function, at = function_of(operator, sample)
    size = sum(x.size for x in at.values())
    if not size or size > LARGEST:
        return "not looked at", ""
    try:
        run = check_gradient(gradient_of(function), as_numpy(function), at=at, points=0, shrink=False)
    except (VerifyError, RuntimeError, TypeError, ValueError, NotImplementedError) as error:
        return "raised", f"{type(error).__name__}: {str(error).splitlines()[0][:120]}" if str(error) else ""
    why = next((note for case in run.cases for note in case.notes if "black box" in note), "")
    said = why or next((row.reason for case in run.cases for row in case.failing()), "")
    said = said or next((f.sentence for case in run.cases for f in case.findings if f.fails), "")
    return f"{'traced' if not why else 'black box'} {run.verdict}{'' if run.ok else ', does not pass'}", said[-160:]


def main(samples: int = 1, first: int = 0, step: int = 1) -> None:
    """Runs the campaign."""
    import torch
    from torch.testing._internal.common_methods_invocations import op_db

    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    counts: Counter[str] = Counter()
    for operator in op_db[first::step]:
        if not operator.supports_autograd or torch.float64 not in operator.supported_dtypes("cpu"):
            continue
        torch.manual_seed(0)
        looked = 0
        for sample in operator.sample_inputs("cpu", torch.float64, requires_grad=True):
            found, why = verdict_of(operator, sample)
            if found == "not looked at":
                continue
            counts[found] += 1
            looked += 1
            if found != "traced PASS":
                print(f"{operator.name}.{operator.variant_test_name}: {found} {why}", flush=True)
            if looked >= samples:
                break
    for found, count in counts.most_common():
        print(f"{count:6d} {found}")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))

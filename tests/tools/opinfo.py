"""PyTorch's own samples (OpInfo) as a campaign: each is traced by its forward, and its gradient judged against that.

``python tests/tools/opinfo.py run FILE [--samples N] [--seconds S] [--first I] [--step J] [--only NAME]`` looks at up
to N samples of every J-th operator that PyTorch differentiates in float64, each operator in a process of its own for at
most S seconds of processor time, and adds a line of JSON for each sample to FILE; operators that FILE has are left out.
The first proved sample of an operator is judged again with its gradient off by a factor of 1 + 1e-6, which must fail.
``python tests/tools/opinfo.py table FILE`` prints the table of what came out. PyTorch's samples need the package
expecttest.
"""

# ruff: noqa: T201 - a tool prints
from __future__ import annotations

import argparse
import inspect
import json
import os
import re
import resource
import textwrap
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from verify import check_gradient
from verify.errors import VerifyError

LARGEST = 60
"""Entries of a sample that is looked at; of an operator whose samples are all larger, the smallest is."""

MOST = 400
"""Entries of the smallest sample that is looked at nevertheless."""

PLANTED = 1e-6
"""The relative fault that is planted into a proved gradient."""


def operators() -> list[Any]:
    """Those that PyTorch differentiates in float64."""
    import torch
    from torch.testing._internal.common_methods_invocations import op_db

    return [op for op in op_db if op.supports_autograd and torch.float64 in op.supported_dtypes("cpu")]


def name_of(operator: Any) -> str:
    """An operator's name with that of its variant."""
    return f"{operator.name}.{operator.variant_test_name}".rstrip(".")


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

    def tensors_of(given: dict[str, Any]) -> list[Any]:
        moved = list(held)
        for i, x in zip(places, given.values(), strict=True):
            moved[i] = x
        first, args, kwargs = trees.tree_unflatten(moved, form)
        answer = operator.gradcheck_wrapper(operator.op, first, *args, **kwargs)
        if sample.output_process_fn_grad is not None:
            answer = sample.output_process_fn_grad(answer)
        rows = [y for y in trees.tree_leaves(answer) if isinstance(y, torch.Tensor)]
        return [torch.view_as_real(y.resolve_conj()) if y.dtype.is_complex else y for y in rows]

    names = [f"x{i}" for i in range(len(places))]
    outputs = tensors_of({name: held[i].clone().requires_grad_() for name, i in zip(names, places, strict=True)})
    chosen = [i for i, y in enumerate(outputs) if y.requires_grad and y.dtype is torch.float64]  # as torch's gradcheck

    def called(**given: Any) -> Any:
        found = tensors_of(given)
        return tuple(found[i] for i in chosen)

    kind = inspect.Parameter.KEYWORD_ONLY
    called.__signature__ = inspect.Signature([inspect.Parameter(name, kind) for name in names])  # type: ignore[attr-defined]
    return called, {name: np.array(leaves[i].detach()) for name, i in zip(names, places, strict=True)}


def judged(gradient: Callable[..., Any], reference: Callable[..., Any], at: dict[str, Any]) -> dict[str, Any]:
    """How a sample came out, by which way, and why it was not proved."""
    start = time.process_time()
    try:
        run = check_gradient(gradient, reference, at=at, points=0, shrink=False)
    except (VerifyError, RuntimeError, TypeError, ValueError, NotImplementedError) as error:
        return {"way": "raised", "why": f"{type(error).__name__}: {str(error)[:300]}"}
    box = next((note for case in run.cases for note in case.notes if "black box" in note), "")
    said = next((row.reason for case in run.cases for row in case.failing()), "")
    said = said or next((f.sentence for case in run.cases for f in case.findings if f.fails), "")
    return {
        "way": "black box" if box else "traced", "verdict": str(run.verdict), "ok": run.ok, "why": box,
        "said": said[:300], "seconds": round(time.process_time() - start, 2),
    }  # fmt: skip


def planted(gradient: Callable[..., Any], seen: list[bool]) -> Callable[..., Any]:
    """The gradient off by a little; of each answer ``seen`` is told whether there is anything in it to be off."""

    def wrong(**given: Any) -> Any:
        found = gradient(**given)
        seen.append(any(np.any(g) for g in found.values()))
        return {name: g * (1 + PLANTED) for name, g in found.items()}

    wrong.__signature__ = gradient.__signature__  # type: ignore[attr-defined]
    return wrong


def results(operator: Any, most: int) -> Iterator[dict[str, Any]]:
    """What came out of an operator's samples."""
    import torch

    from verify.frameworks.torch import gradient_of
    from verify.programs.torch_functions import as_numpy

    torch.manual_seed(0)
    known = [function_of(operator, s) for s in operator.sample_inputs("cpu", torch.float64, requires_grad=True)]
    sized = [(sum(x.size for x in at.values()), function, at) for function, at in known]
    sized = [known for known in sized if known[0]]
    if not sized:
        yield {"way": "not run", "why": "no entries to differentiate"}
        return
    chosen = [known for known in sized if known[0] <= LARGEST] or [min(sized, key=lambda known: known[0])]
    if chosen[0][0] > MOST:
        yield {"way": "not run", "why": f"its smallest sample has {chosen[0][0]} entries"}
        return
    spread = [chosen[i * len(chosen) // most] for i in range(most)] if len(chosen) > most else chosen
    has_planted = False
    for size, function, at in spread:
        gradient, reference = gradient_of(function), as_numpy(function)
        found = judged(gradient, reference, at)
        if found["way"] == "traced" and found["verdict"] == "PASS" and not has_planted:
            seen: list[bool] = []
            wrong = judged(planted(gradient, seen), reference, at)
            has_planted = any(seen)
            if has_planted:
                found["planted"] = wrong.get("verdict", "raised")
        yield {"entries": size, **found}


def run(file: Path, samples: int, seconds: int, first: int, step: int, only: str) -> None:
    """Runs the campaign, each operator in a process of its own."""
    import torch

    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    done = {row["operator"] for row in read(file)} if file.exists() else set()
    for operator in operators()[first::step]:
        if name_of(operator) in done or (only and not re.fullmatch(only, name_of(operator))):
            continue
        child = os.fork()
        if not child:
            resource.setrlimit(resource.RLIMIT_CPU, (seconds + int(time.process_time()), seconds + 5))
            try:
                for row in results(operator, samples):
                    written(file, {"operator": name_of(operator), **row})
            except BaseException as error:  # noqa: BLE001 - written down as what it is
                written(
                    file, {"operator": name_of(operator), "way": "raised", "why": f"{type(error).__name__}: {error}"}
                )
            os._exit(0)
        _, status = os.waitpid(child, 0)
        if status:
            why = f"more than {seconds} s of processor time" if os.WIFSIGNALED(status) else f"exit status {status}"
            written(file, {"operator": name_of(operator), "way": "stopped", "why": why})


def written(file: Path, row: dict[str, Any]) -> None:
    """Adds a line to the file."""
    with file.open("a", encoding="utf-8") as out:
        out.write(json.dumps(row) + "\n")


def read(file: Path) -> list[dict[str, Any]]:
    """The lines of a file."""
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]


def table(file: Path) -> str:
    """The counts, of samples and of operators, then each operator that is not traced and passed in every sample."""
    rows: dict[str, list[dict[str, Any]]] = {}
    for row in read(file):
        rows.setdefault(row["operator"], []).append(row)
    samples: Counter[str] = Counter()
    whole: Counter[str] = Counter()
    lines, proved = [], []
    for name, found in sorted(rows.items()):
        ways = Counter(way_of(row) for row in found)
        samples.update(ways)
        whole[max(ways, key=lambda way: (way != "traced PASS", ways[way]))] += 1
        if {*ways} == {"traced PASS"}:
            proved.append(f"`{name}`")
            continue
        why = next((row["why"] or row.get("said", "") for row in found if way_of(row) != "traced PASS"), "")
        said = ", ".join(f"{count} {way}" for way, count in ways.most_common())
        lines.append(f"| `{name}` | {said} | {reason(why)} |")
    missed = [f"{row['operator']} ({row['planted']})" for found in rows.values() for row in found
              if row.get("planted", "FAIL") != "FAIL"]  # fmt: skip
    tried = sum("planted" in row for found in rows.values() for row in found)
    counts = ["| came out | samples | operators |", "| --- | ---: | ---: |"]
    counts += [f"| {way} | {count} | {whole[way]} |" for way, count in samples.most_common()]
    planted = f"Planted faults: {tried - len(missed)} of {tried} found{': not ' if missed else ''}{', '.join(missed)}."
    head = ["| operator | how its samples came out | why |", "| --- | --- | --- |"]
    every = f"Traced and proved in every sample: {', '.join(proved)}."
    return "\n".join([*counts, "", planted, "", *head, *lines, "", textwrap.fill(every, 118, break_long_words=False)])


def reason(why: str) -> str:
    """Why a sample is not proved, without the place in this file.

    >>> reason("the function is a black box: /x/f.py:3:5: cannot be traced: called, for aten.svd has no op here. Or")
    'aten.svd has no op here'
    """
    text = re.sub(r"^the function is a black box: (\S+:\d+: )?(cannot be traced: )?(called, for )?", "", why)
    return text.split(". ")[0].replace("|", "/")[:110]


def way_of(row: dict[str, Any]) -> str:
    """How a sample came out, in words."""
    if "verdict" not in row:
        return str(row["way"])
    return f"{row['way']} {row['verdict']}{'' if row['ok'] else ', does not pass'}"


def main() -> None:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("do", choices=("run", "table"))
    parser.add_argument("file", type=Path)
    parser.add_argument("--samples", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--step", type=int, default=1)
    parser.add_argument("--only", default="")
    given = parser.parse_args()
    if given.do == "table":
        print(table(given.file))
    else:
        run(given.file, given.samples, given.seconds, given.first, given.step, given.only)


if __name__ == "__main__":
    main()

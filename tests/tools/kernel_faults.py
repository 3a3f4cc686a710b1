"""Planted faults and right kernels over many seeds: how many are caught, by this check and by three rules in use.

Run as ``python tests/tools/kernel_faults.py [seeds] [--write]``; with ``--write`` the table goes into
``verify/kernels/README.md``. All rules look at the same gradients in the same run.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import torch

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "kernels"))

from examples import EXAMPLES, Example  # noqa: E402

from verify.kernels.check import Judge, _Look  # noqa: E402
from verify.kernels.subject import Kernel  # noqa: E402
from verify.words import Verdict  # noqa: E402

RMS = 0.005
"""Largest ratio of root mean squares that the second rule lets pass."""

RULES = ("check_kernel", "flash-attention's rule", f"RMS ratio below {RMS}", "torch.testing.assert_close")
DOCUMENT = ROOT / "verify" / "kernels" / "README.md"
MARKS = "<!-- table: tests/tools/kernel_faults.py -->", "<!-- end of the table -->"


def gradients(judge: Judge, kernel: Any) -> dict[str, torch.Tensor]:
    """What a kernel answers at the first point."""
    place = judge.places[0]
    seeds = [place.upstreams[0].seeds[name][0] for name in place.truth.outputs]
    found = Kernel(kernel, "bfloat16", place.truth.variables)(place.point, seeds)
    return {name: torch.from_numpy(g) for name, g in found.gradients.items()}


def other_rules(truth: dict[str, Any], eager: dict[str, Any], found: dict[str, Any]) -> list[bool]:
    """Whether each of the three other rules lets gradients pass."""
    twice = all(
        float((found[n] - g).abs().max()) <= 2 * float((eager[n] - g).abs().max()) + 2e-5 * float(g.abs().max())
        for n, g in truth.items()
    )
    ratio = all(float(((found[n] - g) ** 2).mean().sqrt() / (g**2).mean().sqrt()) < RMS for n, g in truth.items())
    close = all(torch.allclose(found[n].bfloat16(), g.bfloat16(), rtol=1.6e-2, atol=1e-5) for n, g in truth.items())
    return [twice, ratio, close]


def campaign(seeds: int, chosen: list[str], *, write: bool) -> None:
    """Seed by seed: after each one what was found so far is told, and written if that is asked for."""
    some = [e for e in EXAMPLES if not chosen or any(name in e.name for name in chosen)]
    tables: dict[str, Counter[str]] = {example.name: Counter() for example in some}
    missed: list[str] = []
    for seed in range(seeds):
        for example in some:
            one_seed(example, seed, tables[example.name], missed)
        lines = rows(tables, seed + 1)
        if write:
            written(lines)
        _told(f"{seed + 1} seeds, {time.process_time():.0f} s", *lines[-2:], *missed, sep="\n")
    _told(*rows(tables, seeds), sep="\n")


def written(lines: list[str]) -> None:
    """Puts the table into the document."""
    document = DOCUMENT.read_text(encoding="utf-8")
    before, _, rest = document.partition(MARKS[0])
    text = "\n".join(lines)
    DOCUMENT.write_text(f"{before}{MARKS[0]}\n{text}\n{MARKS[1]}{rest.partition(MARKS[1])[2]}", encoding="utf-8")


def first_verdict(judge: Judge, kernel: Any) -> tuple[Verdict, str]:
    """That of the first point that does not pass, and what is said there; all points are looked at of one that does."""
    for place in judge.places:
        for point in _Look(place, kernel, None).points():
            for tensor in point.tensors:
                if tensor.verdict is not Verdict.PASS:
                    return tensor.verdict, f"{tensor.sentence}; {point.reason}"
    return Verdict.PASS, ""


def one_seed(example: Example, seed: int, table: Counter[str], missed: list[str]) -> None:
    """All faults of one example at one seed, and the right kernel."""
    point = example.point(np.random.default_rng([seed, 15]))
    judge = Judge(example.reference, at=point, policy=example.policy, constants=example.constants, seed=seed)
    upstream = judge.places[0].upstreams[0]
    truth = {name: torch.from_numpy(upstream.models.truth[name]) for name in judge.places[0].truth.variables}
    eager = gradients(judge, example.reference)
    for name, faults in {"": {}, **example.faults()}.items():
        kernel = example.make(faults)
        verdict, said = first_verdict(judge, kernel)
        passes = [verdict is Verdict.PASS, *other_rules(truth, eager, gradients(judge, kernel))]
        table["faults" if name else "right"] += 1
        table["imprecise"] += bool(name) and verdict is Verdict.IMPRECISE
        for rule, is_passed in zip(RULES, passes, strict=True):
            table[rule if name else f"right: {rule}"] += not is_passed
        if name and verdict is Verdict.PASS:
            missed.append(f"missed {example.name}: {name}, seed {seed}")
        if not name and verdict is not Verdict.PASS:
            missed.append(f"REJECTED {example.name}, seed {seed}: {said}")


def rows(tables: dict[str, Counter[str]], seeds: int) -> list[str]:
    """The table in Markdown."""
    found = [f"| kernel, {seeds} seeds | faults | {' | '.join(RULES)} |", f"| --- |{' ---: |' * (1 + len(RULES))}"]
    whole: Counter[str] = Counter()
    for name, table in tables.items():
        whole += table
        found.append(f"| {name} | {table['faults']} | {' | '.join(str(table[rule]) for rule in RULES)} |")
    found.append(f"| **all faults caught** | {whole['faults']} | {' | '.join(str(whole[rule]) for rule in RULES)} |")
    right = " | ".join(str(whole[f"right: {rule}"]) for rule in RULES)
    return [*found, f"| **right kernels rejected** | of {whole['right']} | {right} |"]


def _told(*lines: Any, sep: str = " ") -> None:
    sys.stdout.write(sep.join(map(str, lines)) + "\n")
    sys.stdout.flush()


def main() -> None:
    """Runs the campaign."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("seeds", type=int, nargs="?", default=3)
    parser.add_argument("--only", nargs="*", default=[], help="parts of the names of examples")
    parser.add_argument("--write", action="store_true", help="write the table into the document")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    campaign(asked.seeds, asked.only, write=asked.write)


if __name__ == "__main__":
    main()

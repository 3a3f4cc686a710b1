"""False alarms: right kernels of many seeds, with rounding to nearest and with stochastic rounding.

Run as ``python tests/tools/kernel_calibration.py [seeds]``. Each seed draws new inputs, has a new noise model, and is
looked at with one upstream gradient. The largest deviation of each look, as a part of its limit, shows how far right
kernels stay away from being rejected.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "kernels"))

import examples

from verify.kernels.check import Judge

NAMES = ("attention, causal", "RMSNorm", "SwiGLU", "linear attention")


def stochastic(x: torch.Tensor) -> torch.Tensor:
    """In bfloat16 by stochastic rounding, held in float32: random digits below the last one, then cut off."""
    bits = x.contiguous().view(torch.int32)
    return ((bits + torch.randint(0, 2**16, bits.shape, dtype=torch.int32)) & -(2**16)).view(torch.float32)


def small(example: examples.Example, rng: np.random.Generator) -> dict[str, Any]:
    """A smaller point of an example."""
    point = example.point(rng)
    return {
        name: x[..., :32, :32] if x.ndim == 4 else x[:32, :64] if x.ndim == 2 else x[:64] for name, x in point.items()
    }


def main() -> None:
    """Prints looks, rejections and the largest part of a limit, by example and way of rounding."""
    seeds = int(sys.argv[1]) if len(sys.argv) > 1 else 50
    nearest = examples.stored
    torch.set_num_threads(1)
    for name in NAMES:
        example = next(e for e in examples.EXAMPLES if e.name == name)
        found: dict[str, list[float]] = {"nearest": [], "stochastic": []}
        rejected = dict.fromkeys(found, 0)
        for seed in range(seeds):
            rng = np.random.default_rng([seed, 16])
            point = small(example, rng)
            shape = next(iter(point.values())).shape
            judge = Judge(
                example.reference, at=point, policy=example.policy, upstream=rng.standard_normal(shape), seed=seed
            )
            for way, rounding in (("nearest", nearest), ("stochastic", stochastic)):
                examples.stored = rounding
                torch.manual_seed(seed)
                run = judge(example.make({}))
                rejected[way] += not run.ok
                found[way].append(max(tensor.look.nearest_limit for tensor in run.points[0].tensors))
        for way, values in found.items():
            top = np.sort(values)[::-1]
            sys.stdout.write(
                f"{name:20} {way:10} {len(values)} kernels, {rejected[way]} rejected; part of the limit: largest "
                f"{top[0]:.2f}, of 1 in 100 {top[len(top) // 100]:.2f}, median {np.median(top):.2f} "
                f"({time.process_time():.0f} s)\n"
            )
            sys.stdout.flush()


if __name__ == "__main__":
    main()

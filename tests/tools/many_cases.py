"""Many small cases, and what running them takes of memory: of who reports, of the scheduler, of each worker.

    python tests/tools/many_cases.py --count 10000 --executor processes
    python tests/tools/many_cases.py --count 10000 --executor dask

Each case is a random formula of three stages over two inputs, seeded; it is run at its own point and one more. With
``dask`` a scheduler and two workers are started as a user starts them, by ``dask scheduler`` and ``dask worker``, with
dask's own profiler off: what it holds of the stacks that it has seen came to a gigabyte in a worker of 5,000 cases.
Prints the most memory that each process has held, and the processor time of all.
"""

# ruff: noqa: T201 (a command prints, and starts this program)

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

FUNCTIONS = ("sin", "cos", "tanh", "exp", "sigmoid", "softplus", "arctan")
LOOK = 0.2
"""Seconds between two looks at the processes."""


def write_cases(folder: Path, count: int) -> None:
    """Case files with random formulas, a hundred to a folder."""
    rng = random.Random(16)  # noqa: S311 - no secret
    for number in range(count):
        f, g, h = rng.sample(FUNCTIONS, 3)
        a, b = round(rng.uniform(-2, 2), 3), round(rng.uniform(0.1, 2), 3)
        text = (
            f"case: made {number}\ninputs:\n  x: {{at: {a}, domain: [-2, 2]}}\n  y: {{at: {b}, domain: [0.1, 2]}}\n"
            f"stages:\n  p: {f}(x) * y\n  q: {g}(p + {a} * x)\n  r: {h}(q) / (1 + p**2)\n"
        )
        place = folder / f"{number // 100:03d}" / f"{number:06d}.yaml"
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text, encoding="utf-8")


def peak(pid: int) -> float:
    """The most memory that a process has held so far, in MB; 0 where there is none."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines()
        return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM"))
    except (OSError, StopIteration):
        return 0.0


def below(parent: int) -> list[int]:
    """A process and all that it has started."""
    found = [parent]
    try:
        for task in Path(f"/proc/{parent}/task").iterdir():
            for child in task.joinpath("children").read_text(encoding="ascii").split():
                found += below(int(child))
    except OSError:
        pass
    return found


@contextmanager
def watching(roots: dict[str, int]) -> Iterator[dict[str, list[float]]]:
    """The most memory of each process under some, by their names: the process itself first, then what it started."""
    peaks: dict[str, dict[int, float]] = {name: {} for name in roots}
    is_over = threading.Event()

    def look() -> None:
        while not is_over.wait(LOOK):
            for name, root in roots.items():
                for pid in below(root):
                    peaks[name][pid] = max(peak(pid), peaks[name].get(pid, 0.0))

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    found: dict[str, list[float]] = {}
    try:
        yield found
    finally:
        is_over.set()
        thread.join()
        found.update({name: list(held.values()) for name, held in peaks.items()})


@contextmanager
def cluster(count: int) -> Iterator[tuple[str, dict[str, int]]]:
    """A scheduler of dask and some workers, each a process; its address and their ids."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder, "scheduler.json")
        dask = [sys.executable, "-m", "dask"]
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL,
                 "env": {**os.environ, "DASK_DISTRIBUTED__WORKER__PROFILE__ENABLED": "False"}}  # fmt: skip
        options = ["--port", "0", "--no-dashboard", "--scheduler-file", str(place)]
        started = [subprocess.Popen([*dask, "scheduler", *options], **quiet)]  # type: ignore[call-overload]
        try:
            while not place.exists():
                time.sleep(0.1)
            address = json.loads(place.read_text(encoding="utf-8"))["address"]
            worker = [
                *dask,
                "worker",
                address,
                "--nthreads",
                "1",
                "--no-dashboard",
                "--memory-limit",
                "0",
                "--no-nanny",
            ]
            started += [subprocess.Popen(worker, **quiet) for _ in range(count)]  # type: ignore[call-overload]
            names = ("scheduler", *(f"worker {number}" for number in range(1, count + 1)))
            yield (
                address.removeprefix("tcp://"),
                {name: process.pid for name, process in zip(names, started, strict=True)},
            )
        finally:
            for process in reversed(started):  # a worker without its scheduler would look for it
                process.kill()
                process.wait()


def measured(words: Sequence[str], others: dict[str, int]) -> None:
    """Runs a command and prints what it took."""
    started = time.perf_counter()
    with (
        subprocess.Popen([sys.executable, "-m", "verify", *words]) as run,
        watching({"reporter": run.pid, **others}) as peaks,
    ):
        run.wait()
    for name, held in peaks.items():
        first, *rest = sorted(held[:1]) + sorted(held[1:], reverse=True)
        print(
            f"{name}: {first:.0f} MB",
            *(f"and what it started: {', '.join(f'{x:.0f}' for x in rest[:4])} MB",) * bool(rest),
        )
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    took = f"{time.perf_counter() - started:.0f} s on the clock"
    print(f"exit code {run.returncode}, {used.ru_utime + used.ru_stime:.0f} s of the processor, {took}")


def main() -> None:
    """Runs what the command line asks for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--executor", choices=("processes", "dask-local", "dask"), default="processes")
    parser.add_argument("--points", type=int, default=1)
    parser.add_argument("--report", nargs="*", default=["csv"], help="formats to write")
    parser.add_argument("paths", nargs="*", help="cases that are there already, in place of new ones")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if not args.paths:
            write_cases(Path(folder, "cases"), args.count)
        words = ["run", *(args.paths or [str(Path(folder, "cases"))]), "--points", str(args.points), "--jobs", "2"]
        for name in args.report:
            words += [f"--{name}", str(Path(folder, f"report.{name}"))]
        words += ["--no-cache"]
        if args.executor != "dask":
            measured([*words, "--executor", args.executor], {})
            return
        with cluster(2) as (address, others):
            measured([*words, "--executor", f"dask://{address}"], others)


if __name__ == "__main__":
    main()

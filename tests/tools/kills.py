"""Runs cases while workers are killed at random, and says whether anything was lost, or came out otherwise.

    python tests/tools/kills.py dask-local --kills 20 --points 8 [PATH ...]
    python tests/tools/kills.py processes --kills 20 --points 8

The same cases are first run in one process. Kills go on until as many were done as asked for, one at a random moment
while a worker is on a case; where the cases are done before, they are run once more. Prints a line for each run, and
ends with 1 where a result is missing or has one byte that is another (times apart).
"""

# ruff: noqa: T201 (a command prints)

from __future__ import annotations

import argparse
import hashlib
import os
import random
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from verify.case.files import find_case_files, shipped_cases
from verify.records import CaseResult, Run
from verify.running.clusters import executor_named
from verify.running.codec import packed
from verify.running.runner import run_cases
from verify.running.settings import Settings


def digests(cases: Sequence[CaseResult]) -> dict[str, str]:
    """Each result by its name, as the digest of everything in it but the time that it took."""
    return {f"{c.file} {c.name}": hashlib.sha256(packed(replace(c, seconds=0.0))).hexdigest() for c in cases}


TICKS = os.sysconf("SC_CLK_TCK")
IMPORTS = 1.8
"""Seconds of the processor after which a worker is surely through with its imports, and on a case."""


def workers(parent: int) -> list[int]:
    """The processes that a process has started and that are at work."""
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        try:
            said = place.joinpath("cmdline").read_bytes()
            fields = place.joinpath("stat").read_text(encoding="ascii").rpartition(")")[2].split()
        except OSError:
            continue
        seconds = (int(fields[11]) + int(fields[12])) / TICKS
        if int(fields[1]) == parent and b"spawn_main" in said and seconds > IMPORTS:
            found.append(int(place.name))
    return found


@contextmanager
def killing(kills: int, every: tuple[float, float], rng: random.Random) -> Iterator[Callable[[], int]]:
    """Kills so many workers of this process while the block lasts; gives what counts those that were killed."""
    done, is_over = [0], threading.Event()

    def kill() -> None:
        while done[0] < kills and not is_over.wait(rng.uniform(*every)):
            at_work = workers(os.getpid())
            if at_work:
                os.kill(rng.choice(at_work), signal.SIGKILL)
                done[0] += 1

    thread = threading.Thread(target=kill, daemon=True)
    thread.start()
    try:
        yield lambda: done[0]
    finally:
        is_over.set()
        thread.join()


def killed_run(
    executor: str, files: Sequence[Path], asked: Settings, kills: int, rng: random.Random
) -> tuple[Run, int]:
    """A run over two workers of which some are killed, and how many were."""
    with executor_named(executor, 2) as opened, killing(kills, (0.2, 3.0), rng) as count:
        return run_cases(files, asked, jobs=2, executor=opened), count()


def main() -> int:
    """Runs what the command line asks for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("executor")
    parser.add_argument("paths", nargs="*", default=[shipped_cases() / "notes"])
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--points", type=int, default=8)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_intermixed_args()
    files, asked = find_case_files(args.paths), Settings(points=args.points)
    rng = random.Random(args.seed)  # noqa: S311 - no secret
    whole, left, bad = digests(run_cases(files, asked).cases), args.kills, 0
    while left:
        started = time.perf_counter()
        run, kills = killed_run(args.executor, files, asked, left, rng)
        found, left = digests(run.cases), left - kills
        others = sum(found.get(name) != digest for name, digest in whole.items())
        bad += others + len(found.keys() - whole.keys())
        again = f"{len(run.again)} files ran again, {sum(run.again.values())} times"
        took = f"{time.perf_counter() - started:.0f} s"
        print(f"{args.executor}: {kills} kills, {len(found)} results, {others} missing or others, {again}, {took}")
    return int(bad > 0)


if __name__ == "__main__":
    sys.exit(main())

"""What workers are given to do in tests: light to import, and each file says by its name what happens."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from verify.limits import case_limits, step
from verify.records import CaseResult
from verify.running.workers import THREADS


def act(path: Path, settings: Any) -> Iterator[CaseResult]:
    """One result, or two with an accident between them that the file's name tells."""
    yield CaseResult(path.stem, str(path))
    with case_limits(settings.case_seconds, 60.0), step(f"acting {path.stem}"):
        kind = path.stem.partition("-")[0]
        if kind == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        elif kind == "left":
            os._exit(3)
        elif kind == "busy":
            signal.signal(signal.SIGPROF, signal.SIG_IGN)  # as code that never comes back to Python
            while True:
                pass
        elif kind == "asleep":
            time.sleep(600)
    yield CaseResult(f"{path.stem} again", str(path))


def threads(path: Path, settings: Any) -> Iterator[CaseResult]:
    """How many threads BLAS is told to use in this process."""
    del settings
    yield CaseResult(" ".join(os.environ.get(name, "none") for name in THREADS), str(path))


class Settings:
    """The only setting that workers themselves read."""

    case_seconds = 0.5


def main() -> None:
    """A parent with two workers that sleep; it prints their ids."""
    from multiprocessing import active_children

    from verify.running.workers import Workers

    workers = Workers(act, Settings(), 2)
    for number, _ in enumerate(workers.results([Path("asleep-1"), Path("asleep-2")])):
        if number:  # both have begun
            print(*(child.pid for child in active_children()), flush=True)  # noqa: T201


if __name__ == "__main__":
    main()

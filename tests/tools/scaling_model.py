"""How long many cases take over many workers, and what the time goes to: a model with measured constants.

    python tests/tools/scaling_model.py
    python tests/tools/scaling_model.py --measure

A run begins with a worker's start: its imports, SymPy among them. Then three things go on side by side, and the
slowest decides: workers compute, the scheduler of dask hands out units, the reporter sends them, unpacks results and
keeps them. At last the reports are written. With shards each has a scheduler and a reporter of its own, and joining
them reads and writes every case once more. ``--measure`` measures the constants anew, in processor time (waiting for
others on a loaded machine is not in it), and prints them as they stand below.
"""

# ruff: noqa: T201 (a command prints)

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Constants:
    """Seconds of one processor."""

    imports: float
    """Of a worker, until it can run its first case: numpy, scipy, flint, SymPy and dask."""
    case: float
    """Of a worker for a case: the mean of the shipped ones, at 64 points with their other sizes."""
    send: float
    """Of the reporter for a case: to read it, write it as text, unpack its result and write it to the journal."""
    schedule: float
    """Of the scheduler and the client of dask for a case, both ways."""
    report: float
    """Of the reporter for a case at the end: CSV tables of the rows that say most."""
    merge: float
    """To read a case from JSON and to write it again, for each that shards are joined of."""


MEASURED = Constants(imports=1.65, case=0.179, send=0.0078, schedule=0.0082, report=0.0345, merge=0.0326)

CASES = (224, 10_000, 100_000, 1_000_000)
WORKERS = (1, 2, 10, 100, 1_000)
SHARDS = (1, 10, 100)


def wall(cases: int, workers: int, shards: int, of: Constants) -> tuple[float, str]:
    """Seconds on the clock, and what most of them go to."""
    here, own = cases / shards, max(1.0, workers / shards)
    parts = {
        "computing": here * of.case / own,
        "sending": here * of.send,
        "scheduling": here * of.schedule,
    }
    slowest = max(parts, key=parts.__getitem__)
    last = {"reports": here * of.report if shards == 1 else cases * of.merge, "imports": of.imports}
    said = max({slowest: parts[slowest], **last}.items(), key=lambda part: part[1])[0]
    return parts[slowest] + sum(last.values()), said


def shown(seconds: float) -> str:
    """A time as people say it."""
    for unit, size in (("d", 86_400.0), ("h", 3_600.0), ("min", 60.0)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"


def table(of: Constants, shards: int) -> list[str]:
    """The times as a table of Markdown, a row for each number of cases."""
    lines = ["| cases | " + " | ".join(f"{n:,} worker{'s' * (n > 1)}" for n in WORKERS) + " |", "| ---" * 6 + " |"]
    for cases in CASES:
        cells = [wall(cases, max(workers, shards), shards, of) for workers in WORKERS]
        lines.append(f"| {cases:,} | " + " | ".join(f"{shown(time)}, {what}" for time, what in cells) + " |")
    return lines


# ------------------------------------------------------------------------------------------------------- measuring


class Known(Executor):
    """Gives answers that were made before."""

    def __init__(self, answers: dict[str, bytes]) -> None:
        self.answers = answers

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """A future that is done already."""
        del kwargs
        future: Future[Any] = Future()
        if args[0] not in self.answers:
            self.answers[args[0]] = fn(*args)
        future.set_result(self.answers[args[0]])
        return future


def same(text: str, answer: bytes) -> bytes:
    """What a worker sends back where it has nothing to do."""
    del text
    return answer


def measured(every: int) -> Constants:
    """The constants, from each ``every``-th of the shipped cases."""
    from verify.case.files import find_case_files, shipped_cases
    from verify.report.formats import usual_targets, write_reports
    from verify.report.json import write as write_json
    from verify.running.journal import Journal
    from verify.running.runner import run_cases
    from verify.running.settings import Settings
    from verify.tools.merging import merged

    files, asked = find_case_files([shipped_cases()])[::every], Settings()
    answers: dict[str, bytes] = {}
    clock = time.process_time
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        started = clock()
        run_cases(files, asked, executor=Known(answers))
        case = (clock() - started) / len(files)
        started = clock()
        with Journal(place / "journal", asked) as journal:
            run = run_cases(files, asked, executor=Known(answers), journal=journal)
            send = (clock() - started) / len(files)
            started = clock()
            write_reports(run, usual_targets(folder)[:1], all_rows=False)
            report = (clock() - started) / len(files)
            write_json(run, place / "run.json")
        started = clock()
        write_json(merged([place / "run.json"])[0], place / "again.json")
        merge = (clock() - started) / len(files)
    return Constants(_imports(), case, send, _schedule(answers), report, merge)


def _imports() -> float:
    code = "import time, distributed, verify.running.runner; print(time.process_time())"
    return float(subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout)


def _schedule(answers: dict[str, bytes]) -> float:
    """Of this process, in which the client and the scheduler of a local cluster are."""
    from verify.running.clusters import executor_named

    answer, text = sorted(answers.values(), key=len)[len(answers) // 2], next(iter(answers))
    with executor_named("dask-local", 2) as executor:
        assert executor is not None, "dask has one"
        executor.submit(same, text, answer).result()
        started = time.process_time()
        for future in [executor.submit(same, text, answer) for _ in range(500)]:
            future.result()
        return (time.process_time() - started) / 500


def main() -> None:
    """Prints the model's tables, or the constants."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--measure", action="store_true")
    parser.add_argument("--every", type=int, default=4, help="measure with each so-many-th shipped case")
    args = parser.parse_args()
    if args.measure:
        print(measured(args.every))
        return
    for shards in SHARDS:
        print(f"\n{shards} shard{'s' * (shards > 1)}, at least a worker each\n")
        print("\n".join(table(MEASURED, shards)))


if __name__ == "__main__":
    main()

"""Cases over any executor of :mod:`concurrent.futures`: threads, processes, loky, mpi4py, or a cluster of dask.

The seam is ``submit(work, text)``, which gives a future. What an executor loses, since a worker of it was killed, is
submitted again; what it cannot run any more is an error of its case, and what was finished stays.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import BrokenExecutor, CancelledError, Executor, Future
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

from verify.errors import CaseError, UsageError
from verify.places.points import RANDOM_BLOCK
from verify.records import CaseResult
from verify.running.clusters import DaskExecutor
from verify.running.gathering import KEEP_ALL
from verify.running.screening import Screening
from verify.running.settings import Settings
from verify.running.units import Unit, answer_of, as_text, task_of
from verify.running.workers import MOST_AGAIN, longest_first

MOST_PARTS = 32
"""Parts that the random points of one case are cut into: each prepares the methods anew."""

MOST_AHEAD = 4_000
"""Units that are submitted at a time: enough for a thousand workers, and no matter how many cases there are."""

SILENCE_SECONDS = 10.0
"""On the clock, after which it is seen to that there are workers at all."""


def parts_of(points: int) -> list[tuple[int, int]]:
    """Blocks of random points at which a quick look is taken beside the case itself; none of a run that keeps all rows.

    The first block is left: rows of its points are kept as a sample.

    >>> parts_of(10_000), parts_of(20_000), len(parts_of(1_000_000))
    ([], [(1, 2), (2, 3), (3, 4), (4, 5)], 31)
    """
    if points <= KEEP_ALL:
        return []
    blocks = -(-points // RANDOM_BLOCK)
    size = -(-(blocks - 1) // MOST_PARTS)
    return [(first, min(first + size, blocks)) for first in range(1, blocks, size)]


@dataclass(slots=True)
class _File:
    """A case file, and those of its results that wait for a smaller number."""

    path: Path
    text: str
    following: int = 0
    """The number of the size that is told next."""
    early: dict[int, CaseResult] = field(default_factory=dict)
    looking: int = 0
    """Parts of its random points that are being looked at."""
    screened: dict[int, Sequence[Screening]] = field(default_factory=dict)
    """What was found in blocks of them."""


@dataclass(slots=True)
class Execution:
    """Cases that are run by an executor."""

    executor: Executor
    run_task: Callable[[str], bytes]
    """What a worker is given to do, by its name: what :func:`verify.running.units.task_of` writes."""
    read_text: Callable[[Path], str]
    """What reads a case file. Raises CaseError where it cannot."""
    settings: Settings
    again: Counter[str] = field(default_factory=Counter)
    """How many times each case file was run again, since its worker was lost."""
    _waiting: deque[Path] = field(default_factory=deque)
    _flying: dict[Future[bytes], tuple[_File, Unit, int]] = field(default_factory=dict)
    """What was submitted, and how many workers it has lost so far: a file of many units is not to blame for all."""
    _ended: SimpleQueue[Future[bytes]] = field(default_factory=SimpleQueue)

    def results(self, paths: Iterable[Path]) -> Iterator[CaseResult]:
        """The results of all sizes of all files, as they come, those of one file in order; the longest files first."""
        self._waiting = deque(longest_first(paths))
        try:
            while self._waiting or self._flying:
                while self._waiting and len(self._flying) < MOST_AHEAD:
                    yield from self._begin(self._waiting.popleft())
                if self._flying:
                    future = self._next()
                    yield from self._take(future, *self._flying.pop(future))
        finally:
            for future in () if self._is_gone else self._flying:
                future.cancel()

    @property
    def _is_gone(self) -> bool:
        return isinstance(self.executor, DaskExecutor) and self.executor.is_gone

    def _next(self) -> Future[bytes]:
        """The call that ends next; where none does for long, the workers may be gone."""
        while True:
            with suppress(Empty):
                return self._ended.get(timeout=SILENCE_SECONDS)
            if isinstance(self.executor, DaskExecutor):
                self.executor.restore()

    def _begin(self, path: Path) -> Iterator[CaseResult]:
        try:
            file = _File(path, self.read_text(path))
        except CaseError as error:
            yield CaseResult(path.stem, str(path), seed=self.settings.seed, problems=error.told())
            return
        unit = Unit(str(path), file.text)
        parts = [replace(unit, blocks=blocks) for blocks in parts_of(self.settings.points)]
        file.looking = len(parts)
        for each in parts or [unit]:
            yield from self._submit(file, each)

    def _submit(self, file: _File, unit: Unit, lost: int = 0) -> Iterator[CaseResult]:
        try:
            future = self.executor.submit(self.run_task, task_of(unit, self.settings))
        except RuntimeError as error:  # it was shut down, or is broken
            yield from self._give_up(file, unit, lost, error)
            return
        self._flying[future] = file, unit, lost
        future.add_done_callback(self._ended.put)

    def _take(self, future: Future[bytes], file: _File, unit: Unit, lost: int) -> Iterator[CaseResult]:
        """Takes in what came of a unit, or that it was lost."""
        times = self.executor.times_lost(future) if isinstance(self.executor, DaskExecutor) else 0
        try:
            answer = answer_of(future.result())
        except UsageError:
            raise
        except (Exception, CancelledError) as fault:  # whatever an executor raises for a lost worker
            if self._is_gone:
                message = "the scheduler of dask is lost. What was finished stays, and --resume does what is missing"
                raise UsageError(message) from fault
            lost += times or 1
            is_last = lost > MOST_AGAIN or isinstance(fault, BrokenExecutor)
            self._ran_again(file, (times or 1) - is_last)
            yield from self._give_up(file, unit, lost, fault) if is_last else self._submit(file, unit, lost)
            return
        self._ran_again(file, times)
        if not isinstance(answer, CaseResult):
            yield from self._looked(file, unit, answer)
            return
        if not unit.number:
            for number in range(1, answer.sizes + 1):
                yield from self._submit(file, Unit(unit.file, unit.text, number))
        yield from self._tell(file, unit, answer)

    def _ran_again(self, file: _File, times: int) -> None:
        if times > 0:
            self.again[str(file.path)] += times

    def _looked(self, file: _File, unit: Unit, found: Sequence[Sequence[Screening]]) -> Iterator[CaseResult]:
        """Takes in what was found in some blocks of points; after the last of them the case itself is run."""
        file.screened.update(zip(range(*(unit.blocks or ())), found, strict=False))
        file.looking -= 1
        if not file.looking:
            yield from self._submit(file, Unit(unit.file, unit.text, screened=as_text(file.screened)))

    def _give_up(self, file: _File, unit: Unit, lost: int, fault: Any) -> Iterator[CaseResult]:
        """What is lost for good: of a quick look nothing, since whoever runs the case looks too."""
        if unit.blocks is None:
            yield from self._tell(file, unit, self._lost(file, lost, fault))
        else:
            yield from self._looked(file, unit, ())

    def _tell(self, file: _File, unit: Unit, result: CaseResult) -> Iterator[CaseResult]:
        """The results of a file that are next in its order."""
        file.early[unit.number] = result
        while file.following in file.early:
            yield file.early.pop(file.following)
            file.following += 1

    def _lost(self, file: _File, times: int, fault: Any) -> CaseResult:
        why = f"{type(fault).__name__}: {fault}".strip().rstrip(":")
        said = f"the executor lost its worker{f' {times} times' if times > 1 else ''} ({why})"
        if isinstance(fault, RuntimeError):
            said = f"the executor is broken ({why}); 'processes' and dask start lost workers anew"
        problem = f"{file.path}: {said}; what was finished stays"
        return CaseResult(file.path.stem, str(file.path), seed=self.settings.seed, problems=(problem,))

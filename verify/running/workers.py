"""Processes that run cases: of one that ends another takes the place.

A worker is asked for one case at a time and sends each result as it has it, so what is finished is never lost. The case
that it was on is run again where it was killed from outside, as far as can be told; else that it ended is an error of
the case. It ends with its parent, however that ends: its pipe closes, the kernel of Linux kills it, and elsewhere a
thread does. An interrupt is the parent's business alone.
"""

from __future__ import annotations

import ctypes
import os
import pickle
import signal
import sys
import threading
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from enum import Enum
from multiprocessing import get_context, parent_process
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from verify.limits import may_die
from verify.records import CaseResult

RunFile = Callable[[Path, Any], Iterable[CaseResult]]
"""What a worker runs: a case file and the settings, to the results of all its sizes."""

CASES_A_WORKER = 12
"""Cases for which a process of their own pays: it begins with a second of imports."""

THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
"""What BLAS reads when it is loaded: one thread for each worker, where several work on small arrays."""

MOST_AGAIN = 20
"""Times that a case is run again whose worker was killed from outside, as a cluster or an operator does."""

MOST_STARVED = 2
"""The same where the kernel said meanwhile that it killed for want of memory: that is likely to be the case's doing."""

KILLED = (signal.SIGTERM, getattr(signal, "SIGKILL", signal.SIGTERM))
"""Signals by which an operator, or a system that wants its memory back, ends a process; no fault of code sends them."""

MOST_STILLBORN, KILLED_BEFORE, ENDED_BEFORE = 100, 1, 10
"""Ten workers in a row may end before they are ready, or a hundred be killed: then no case is to blame."""

LAST_SECONDS = 5.0
"""Time that a worker has to end when it is asked to."""

PR_SET_PDEATHSIG = 1
"""prctl of Linux: which signal a process gets when its parent ends."""


class _Told(Enum):
    """What a worker sends."""

    READY = "ready"
    STEP = "step"
    RESULT = "result"
    DONE = "done"


@dataclass(slots=True)
class _Worker:
    """A process, and what its parent knows of it."""

    process: BaseProcess
    connection: Connection
    is_ready: bool = False
    path: Path | None = None
    """The case that it is on."""
    step: str = ""
    """What it last said to be doing."""
    sent: int = 0
    """Results of the case that it has sent."""
    starved: int = 0
    """What :func:`_killed_for_memory` said when it began with the case."""


@dataclass(slots=True)
class Workers:
    """Up to ``jobs`` processes for some case files."""

    run_file: RunFile
    """A function that a fresh process can import."""
    settings: Any
    jobs: int
    again: Counter[str] = field(default_factory=Counter)
    """How many times each case was run again, since its worker was killed."""
    waiting: deque[Path] = field(default_factory=deque)
    _told: Counter[Path] = field(default_factory=Counter)
    """Results of each case that were told before its worker was lost: they are not told again."""
    _all: list[_Worker] = field(default_factory=list)
    _stillborn: int = 0

    @property
    def pids(self) -> list[int]:
        """The ids of the processes."""
        return [worker.process.pid for worker in self._all if worker.process.pid is not None]

    def results(self, paths: Iterable[Path]) -> Iterator[CaseResult]:
        """The results of all sizes of all files, as they come; an ERROR for each that ended its worker."""
        self.waiting = deque(longest_first(paths))
        try:
            while self.waiting or any(worker.path is not None for worker in self._all):
                if self._stillborn >= MOST_STILLBORN:
                    yield from (_lost(path, "no worker could be started") for path in self.waiting)
                    return
                self._start_missing()
                for connection in wait([worker.connection for worker in self._all]):
                    worker = next(worker for worker in self._all if worker.connection is connection)
                    yield from self._hear(worker)
        finally:
            self._stop()

    def _start_missing(self) -> None:
        """Starts as many workers as there is work for, once the idle ones have some."""
        for worker in self._all:
            if worker.is_ready and worker.path is None and self.waiting:
                self._give_work(worker)
        busy = sum(worker.path is not None for worker in self._all)
        for _ in range(min(self.jobs, busy + len(self.waiting)) - len(self._all)):
            ours, theirs = get_context("spawn").Pipe()
            # Fresh processes: a fork would copy whatever threads and locks the caller has.
            task = pickle.dumps((self.run_file, self.settings))  # what takes long to import is imported there, at last
            process = get_context("spawn").Process(target=_serve, args=(theirs, os.getpid(), task), daemon=True)
            with without_interrupts(), _one_thread() if self.jobs > 1 else nullcontext():
                process.start()
            theirs.close()
            self._all.append(_Worker(process, ours))

    def _hear(self, worker: _Worker) -> Iterator[CaseResult]:
        """Takes in what a worker says, or that it has ended."""
        try:
            kind, content = worker.connection.recv()
        except Exception as fault:  # noqa: BLE001 - it ended in the middle of a message, or sent what cannot be read
            ended = isinstance(fault, EOFError | OSError)
            yield from self._bury(
                worker, "" if ended else f"its result cannot be read: {type(fault).__name__}: {fault}"
            )
            return
        if kind is _Told.RESULT:
            worker.sent += 1
            if worker.path is not None and worker.sent > self._told[worker.path]:
                self._told[worker.path] += 1
                yield content
        elif kind is _Told.STEP:
            worker.step = content
        else:
            self._stillborn, worker.is_ready = 0, True
            self._give_work(worker)

    def _give_work(self, worker: _Worker) -> None:
        worker.path, worker.step, worker.sent = self.waiting.popleft() if self.waiting else None, "", 0
        if worker.path is None:
            return
        worker.starved = _killed_for_memory()
        try:
            worker.connection.send(worker.path)
        except OSError:  # it ended just now, before it began: the case is another worker's
            self.waiting.appendleft(worker.path)
            worker.path = None

    def _bury(self, worker: _Worker, fault: str) -> Iterator[CaseResult]:
        """An error for the case that a worker was on, where there is one."""
        self._all.remove(worker)
        _end(worker, grace=LAST_SECONDS if not fault else 0.0)
        is_killed = -(worker.process.exitcode or 0) in KILLED
        if not worker.is_ready:
            self._stillborn += KILLED_BEFORE if is_killed else ENDED_BEFORE
        if worker.path is None:
            return
        most = MOST_STARVED if _killed_for_memory() > worker.starved else MOST_AGAIN
        if is_killed and self.again[str(worker.path)] < most:
            self.again[str(worker.path)] += 1
            self.waiting.appendleft(worker.path)
            return
        why = fault or _how_it_ended(worker.process.exitcode, self.settings.case_seconds)
        yield _lost(worker.path, f"{why} while {worker.step or 'beginning'}")

    def _stop(self) -> None:
        """Ends all workers: the idle ones by themselves, the busy ones by force."""
        workers, self._all = self._all, []
        for worker in workers:
            if worker.path is not None or not worker.is_ready:
                worker.process.kill()
            worker.connection.close()
        for worker in workers:
            _end(worker, grace=LAST_SECONDS)


def usual_jobs(cases: int) -> int:
    """Processes for so many cases where nobody says: as many as there are processors for, and as pay.

    >>> usual_jobs(1)
    1
    """
    processors = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(processors, cases // CASES_A_WORKER))


def longest_first(paths: Iterable[Path]) -> list[Path]:
    """Case files, the longest first: they tend to take longest, and nobody waits for one that was begun last.

    >>> longest_first([Path("nowhere.yaml"), Path(__file__)])[-1]
    PosixPath('nowhere.yaml')
    """
    return sorted(paths, key=_size, reverse=True)


def _size(path: Path) -> int:
    """A file's length, 0 where there is none: whoever runs it tells."""
    try:
        return path.stat().st_size
    except OSError:
        return 0


@contextmanager
def _one_thread() -> Iterator[None]:
    """Has processes that are started inside use one thread each, unless the user says otherwise."""
    added = [name for name in THREADS if name not in os.environ]
    os.environ.update(dict.fromkeys(added, "1"))
    try:
        yield
    finally:
        for name in added:
            del os.environ[name]


def _end(worker: _Worker, grace: float) -> None:
    worker.connection.close()
    worker.process.join(grace)
    if worker.process.exitcode is None:
        worker.process.kill()
        worker.process.join(LAST_SECONDS)


def _killed_for_memory() -> int:
    """How many processes Linux has killed for want of memory since it was started; elsewhere 0."""
    with suppress(OSError):
        for line in Path("/proc/vmstat").read_text(encoding="ascii").splitlines():
            if line.startswith("oom_kill "):
                return int(line.split()[1])
    return 0


def _lost(path: Path, why: str) -> CaseResult:
    return CaseResult(path.stem, str(path), problems=(f"{path}: {why}; the other cases go on",))


def _how_it_ended(code: int | None, seconds: float) -> str:
    """How a process ended, in words.

    >>> _how_it_ended(-9, 120.0)
    'the process that ran it was killed (SIGKILL), perhaps for want of memory,'
    >>> _how_it_ended(3, 120.0)
    'the process that ran it ended with exit code 3'
    """
    if code is None or code >= 0:
        return f"the process that ran it ended with exit code {code}"
    with suppress(ValueError):
        name = signal.Signals(-code).name
        if name == "SIGXCPU":
            return f"more than {seconds:g} s of processor time (--case-seconds)"
        killed = f"the process that ran it was killed ({name})"
        return f"{killed}, perhaps for want of memory," if name in ("SIGKILL", "SIGABRT") else killed
    return f"the process that ran it was ended by signal {-code}"


@contextmanager
def without_interrupts() -> Iterator[None]:
    """Holds Ctrl-C back until the block ends; a process that is started in it does not hear of one at all.

    >>> with without_interrupts():
    ...     signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, ())
    True
    """
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


# ---------------------------------------------------------------------------------------------------- in the worker


def _serve(connection: Connection, parent: int, task: bytes) -> None:
    """Runs the cases that come through a pipe until it closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _end_with_parent(parent)
    run_file, settings = pickle.loads(task)  # noqa: S301 - our parent made it
    with suppress(ImportError, ValueError, OSError):
        import resource

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # whoever is ended by a limit leaves no image of its memory
    # A pipe that is closed: the parent has ended, or wants no more.
    with suppress(EOFError, OSError), may_die(lambda step: connection.send((_Told.STEP, step))):
        connection.send((_Told.READY, None))
        while True:
            path = connection.recv()
            for result in run_file(path, settings):
                connection.send((_Told.RESULT, result))
            connection.send((_Told.DONE, None))


def _end_with_parent(parent: int) -> None:
    """Has this process end when its parent does, in the middle of a case too."""
    if sys.platform == "linux":
        with suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if hasattr(os, "getppid") and os.getppid() != parent:
        os._exit(1)  # it ended before this process could ask to be told
    known = parent_process()
    if known is not None:

        def end() -> None:
            wait([known.sentinel])
            os._exit(1)

        threading.Thread(target=end, daemon=True).start()

"""What one case may take: processor time, memory, and time on the clock for each call of foreign code.

A limit never decides a verdict. What goes beyond one is an ERROR that names the step at which it did, by
:class:`~verify.errors.LimitError`, which is no ``Exception``, so that nobody on the way takes it for theirs. Time is
watched by the timers of the operating system in the main thread, where there are any, and by a thread that looks on
elsewhere, as in a worker of a cluster. They ring between two instructions of Python; a process that may die
(:func:`may_die`) is ended where a single one takes too long.
"""

from __future__ import annotations

import ctypes
import math
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path

from verify.errors import LimitError

try:
    import resource
except ImportError:  # Windows
    resource = None  # type: ignore[assignment]

AGAIN = 1.0
"""Seconds after which a timer rings once more: where Python may not raise, as in ``__del__``, the first is lost."""

LEAST_LOOK = 0.01
"""Seconds between two looks of a thread at another one's time."""

GRACE = 1.25
"""Times the limit after which a process that may die is ended by the system."""

COMPILING = frozenset({"jax"})
"""Packages whose compiled code may run for ever, where no signal reaches Python."""

LOOK, MOST_IDLE = 0.5, 20
"""Seconds between two looks at a call, and looks without one after which nobody looks any more."""

STUCK_EXIT = 1
"""How a process exits that was stuck in compiled code."""

PAGES = Path("/proc/self/statm")
"""Where Linux says how much memory is taken."""


@dataclass(slots=True)
class Watch:
    """One case while it runs."""

    call_seconds: float
    """Time on the clock for each call of foreign code."""
    steps: list[str] = field(default_factory=list)
    """What is being done, the innermost step last."""
    is_around: bool = False
    """Whether cases within it have limits of their own."""

    @property
    def place(self) -> str:
        """What is being done, in words."""
        return ", ".join(self.steps) or "beginning"


_WATCH: ContextVar[Watch | None] = ContextVar("watch", default=None)

_told: list[Callable[[str], None]] = []
"""Who hears of each step, in a process that may be ended: the parent of a worker."""


@contextmanager
def may_die(tell: Callable[[str], None]) -> Iterator[None]:
    """Lets this process be ended where a limit is broken; ``tell`` hears of each step before it is done.

    >>> heard = []
    >>> with may_die(heard.append), case_limits(120.0, 60.0), step("adding"):
    ...     pass
    >>> heard
    ['adding', 'beginning']
    """
    _told.append(tell)
    try:
        yield
    finally:
        _told.remove(tell)


@contextmanager
def step(name: str) -> Iterator[None]:
    """Names what is being done meanwhile, as a phrase that follows "while".

    >>> with case_limits(120.0, 60.0), step("adding"):
    ...     place()
    'adding'
    """
    watch = _WATCH.get()
    if watch is None:
        yield
        return
    watch.steps.append(name)
    _tell(watch)
    try:
        yield
    finally:
        watch.steps.pop()
        _tell(watch)


def place() -> str:
    """The step that is being done.

    >>> place()
    ''
    """
    watch = _WATCH.get()
    return watch.place if watch is not None else ""


def _tell(watch: Watch) -> None:
    for tell in _told:
        tell(watch.place)


@contextmanager
def case_limits(
    seconds: float, call_seconds: float, memory: int | None = None, *, is_around: bool = False
) -> Iterator[None]:
    """Watches over one case. Raises LimitError where it takes more.

    ``seconds`` are of the processor, ``call_seconds`` on the clock, ``memory`` is in bytes, beyond what the process
    has already. A case within a case is part of it; but of what ``is_around`` cases, the time stands still while one of
    them has its own.

    >>> with case_limits(0.05, 60.0), step("counting"):
    ...     while True:
    ...         pass
    Traceback (most recent call last):
    verify.errors.LimitError: more than 0.05 s of processor time (--case-seconds) while counting
    """
    outer = _WATCH.get()
    if outer is not None and not outer.is_around:
        yield
        return
    watch = Watch(call_seconds, is_around=is_around)
    token = _WATCH.set(watch)
    sentence = f"more than {seconds:g} s of processor time (--case-seconds)"
    try:
        with (
            _alarm(
                "ITIMER_PROF", "SIGPROF", seconds, lambda: f"{sentence} while {watch.place}", stops=outer is not None
            ),
            nullcontext() if is_around else _end_after(seconds),
            _at_most(memory, watch),
        ):
            yield
    finally:
        _WATCH.reset(token)


@contextmanager
def call_limits() -> Iterator[None]:
    """Watches over one call of foreign code. Raises LimitError where it does not return in time.

    >>> with case_limits(120.0, 0.05), call_limits():
    ...     time.sleep(10)
    Traceback (most recent call last):
    verify.errors.LimitError: a call of the gradient did not return within 0.05 s (--call-seconds) while beginning
    """
    watch = _WATCH.get()
    if watch is None:
        yield
        return
    sentence = f"a call of the gradient did not return within {watch.call_seconds:g} s (--call-seconds)"
    with (
        _alarm("ITIMER_REAL", "SIGALRM", watch.call_seconds, lambda: f"{sentence} while {watch.place}"),
        _not_stuck(watch, sentence),
    ):
        yield


@contextmanager
def _not_stuck(watch: Watch, sentence: str) -> Iterator[None]:
    """Ends the process, with a message, where a call stays in compiled code, which no bell interrupts.

    A ``while_loop`` of JAX that never ends is the one that is known: a thread that looks on is all that runs beside it.
    """
    if not COMPILING & sys.modules.keys() or threading.current_thread() is not threading.main_thread():
        yield
        return
    last = time.monotonic() + GRACE * watch.call_seconds + AGAIN
    known = [item for item in _stuck if item.is_alive()]
    onlooker = known[0] if known else _Onlooker()
    _stuck[:] = [onlooker]
    onlooker.until = last, f"{sentence} while {watch.place}, and stays in compiled code that nothing can interrupt"
    if not known:
        onlooker.start()
    try:
        yield
    finally:
        onlooker.until = None


class _Onlooker(threading.Thread):
    """Looks on while calls run; ends itself when none did for a while."""

    def __init__(self) -> None:
        super().__init__(name="verify: call limits", daemon=True)
        self.until: tuple[float, str] | None = None
        """When the call is to have returned, and what is said if it has not."""

    def run(self) -> None:
        """Looks twice a second."""
        idle = 0
        while idle < MOST_IDLE:
            time.sleep(LOOK)
            until = self.until
            idle = 0 if until is not None else idle + 1
            if until is not None and time.monotonic() > until[0]:
                message = f"{until[1]}: this process ends. Bound the loop, by a most number of turns.\n"
                os.write(2, message.encode())
                os._exit(STUCK_EXIT)


_stuck: list[_Onlooker] = []
"""The thread that looks on, if there is one."""


@contextmanager
def _alarm(
    timer: str, signal_name: str, seconds: float, sentence: Callable[[], str], *, stops: bool = False
) -> Iterator[None]:
    """Raises LimitError when a timer of the system rings; whoever used it before has it back afterwards.

    ``stops`` says that the time of who used it stands still meanwhile.
    """
    if not hasattr(signal, timer) or threading.current_thread() is not threading.main_thread():
        with _bell(timer == "ITIMER_PROF", seconds, sentence):
            yield
        return
    which, number = getattr(signal, timer), getattr(signal, signal_name)
    clock = time.process_time if timer == "ITIMER_PROF" else time.monotonic
    is_armed = [True]

    def ring(*_: object) -> None:
        if is_armed:
            raise LimitError(sentence())

    before, started = signal.signal(number, ring), clock()
    left, interval = signal.setitimer(which, seconds, AGAIN)
    try:
        try:
            yield
        finally:
            is_armed.clear()
    finally:
        signal.setitimer(which, 0.0)
        signal.signal(number, signal.SIG_DFL if before is None else before)
        if left:
            passed = 0.0 if stops else clock() - started
            signal.setitimer(which, max(left - passed, 1e-6), interval)


@contextmanager
def _bell(is_of_processor: bool, seconds: float, sentence: Callable[[], str]) -> Iterator[None]:
    """Raises LimitError in this thread, which is not the main one: a thread that looks on sends it.

    A thread takes no more processor time than there is on the clock, so that no look is earlier than it may be over.
    """
    clock = _thread_clock() if is_of_processor else time.monotonic
    thread, lock, is_over = ctypes.c_ulong(threading.get_ident()), threading.Lock(), threading.Event()
    last = clock() + seconds

    def send(kind: type[BaseException]) -> None:
        ctypes.pythonapi.PyThreadState_SetAsyncExc(thread, ctypes.py_object(kind))

    class RingError(LimitError):
        """The limit, made in the thread that it is sent to."""

        def __init__(self) -> None:
            super().__init__(sentence())

    sent = []

    def look() -> None:
        left = seconds
        while not is_over.wait(max(left, LEAST_LOOK)):
            left = last - clock()
            with lock:
                if left <= 0 and not is_over.is_set():
                    send(RingError)
                    sent.append(RingError)
                    left = AGAIN

    onlooker = threading.Thread(target=look, name="verify: limits of a case", daemon=True)
    onlooker.start()
    try:
        try:
            yield
        finally:
            is_over.set()
    finally:
        is_over.set()
        with lock:
            is_open = bool(sent)
        if is_open:
            _take_back(send)


class _NothingError(BaseException):
    """Comes in the place of what was sent to a thread."""


def _take_back(send: Callable[[type[BaseException]], None]) -> None:
    """Sees to it that nothing more comes that was sent to this thread: something else comes in its place, and at once.

    To send None in its place would leave Python waiting for it: from then on a trace function never returns (3.11).
    """
    try:
        send(_NothingError)
        while True:
            time.sleep(0.0)
    except _NothingError:
        pass


def _thread_clock() -> Callable[[], float]:
    """The processor time of this thread, as any thread may read it; of the process where the system has no other."""
    if not hasattr(time, "pthread_getcpuclockid"):
        return time.process_time
    clock = time.pthread_getcpuclockid(threading.get_ident())
    return lambda: time.clock_gettime(clock)


@contextmanager
def _end_after(seconds: float) -> Iterator[None]:
    """Has the system end a process that may die where it takes much more than its time of the processor."""
    if not _told or not hasattr(resource, "RLIMIT_CPU"):
        yield
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_CPU)
    used = resource.getrusage(resource.RUSAGE_SELF)
    last = math.ceil(used.ru_utime + used.ru_stime + GRACE * seconds + AGAIN)
    with suppress(ValueError, OSError):  # somebody else's limit is lower
        resource.setrlimit(resource.RLIMIT_CPU, (last, hard))
    try:
        yield
    finally:
        with suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_CPU, (soft, hard))


@contextmanager
def _at_most(memory: int | None, watch: Watch) -> Iterator[None]:
    """Turns memory that is refused into LimitError; ``memory`` bytes are all that there is beside what is taken."""
    limited = memory is not None and hasattr(resource, "RLIMIT_AS") and PAGES.exists()
    if limited and memory is not None:
        soft, hard = resource.getrlimit(resource.RLIMIT_AS)
        taken = int(PAGES.read_text(encoding="ascii").split()[0]) * resource.getpagesize()
        most = taken + memory if hard == resource.RLIM_INFINITY else min(taken + memory, hard)
        resource.setrlimit(resource.RLIMIT_AS, (most, hard))
    try:
        yield
    except MemoryError as error:
        said = f"more than {memory:,} bytes of memory (--case-memory)" if limited else "more memory than there is"
        raise LimitError(f"{said} while {watch.place}") from error
    finally:
        if limited:
            resource.setrlimit(resource.RLIMIT_AS, (soft, hard))

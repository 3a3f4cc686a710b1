"""Executors by name: processes here, a cluster of dask here, or one elsewhere.

    verify run --executor processes            what is usual: processes of our own, see verify.running.workers
    verify run --executor dask-local           a scheduler and workers of dask.distributed here, for as long as the run
    verify run --executor dask://HOST:PORT     a scheduler that runs already, here or elsewhere, and its workers

dask is imported where it is asked for alone.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future
from contextlib import contextmanager, suppress
from itertools import count
from multiprocessing import resource_tracker
from typing import Any
from uuid import uuid4
from weakref import WeakKeyDictionary

from verify.errors import UsageError, did_you_mean
from verify.running.workers import without_interrupts

PROCESSES, DASK_LOCAL, DASK = "processes", "dask-local", "dask://"

EXECUTORS = (PROCESSES, DASK_LOCAL, f"{DASK}HOST:PORT")
"""The names, as ``--executor`` takes them."""

ANSWER_SECONDS = 10
"""On the clock, within which a scheduler has to answer."""


LOCALLY = {
    "distributed.scheduler.worker-saturation": 1.0,  # none waits at a worker, to be lost with it
    "distributed.worker.profile.enabled": False,
    "distributed.admin.tick.interval": "1s",
    "distributed.admin.system-monitor.interval": "10s",
}
"""Of a cluster of our own, that nobody looks at: watching itself would take a tenth of its processor time."""


@contextmanager
def executor_named(name: str, jobs: int) -> Iterator[Executor | None]:
    """The executor of that name while the block lasts; None for processes of our own.

    Raises UsageError for another name, where dask is not installed, and where no scheduler answers.

    >>> with executor_named("processes", 2) as executor:
    ...     print(executor)
    None
    >>> with executor_named("dask-lokal", 2):
    ...     pass
    Traceback (most recent call last):
    verify.errors.UsageError: unknown executor 'dask-lokal', expected processes, dask-local or dask://HOST:PORT. Did ...
    """
    if name == PROCESSES:
        yield None
        return
    address = name.removeprefix(DASK)
    if name != DASK_LOCAL and (address == name or not address):
        message = f"unknown executor {name!r}, expected {', '.join(EXECUTORS[:-1])} or {EXECUTORS[-1]}"
        raise UsageError(f"{message}. {did_you_mean(name, EXECUTORS)}".strip())
    try:
        import dask
        from distributed import Client, LocalCluster
    except ImportError as error:
        message = f"--executor {name} needs dask.distributed. Install it by: pip install 'verify-gradients[dask]'"
        raise UsageError(message) from error
    if name != DASK_LOCAL:
        with _client(Client, address) as client, DaskExecutor(client) as executor:
            yield executor
        return
    resource_tracker.ensure_running()  # it lets interrupts through, once it has been started
    with dask.config.set(LOCALLY), without_interrupts():  # Ctrl-C is this process's business alone
        cluster = LocalCluster(
            n_workers=jobs,
            threads_per_worker=1,
            processes=True,
            dashboard_address=":0",
            memory_limit=0,
            silence_logs=logging.CRITICAL,
        )
        client = Client(cluster)
    with cluster, client, DaskExecutor(client, jobs) as executor:
        yield executor


def _client(make: Callable[..., Any], address: str) -> Any:
    try:
        return make(address if "://" in address else f"tcp://{address}", timeout=ANSWER_SECONDS)
    except (OSError, ValueError, TypeError) as error:
        remedy = "Start one by 'dask scheduler', and workers by 'dask worker HOST:PORT'"
        raise UsageError(f"no scheduler of dask answers at {address}: {error}. {remedy}") from error


class DaskExecutor(Executor):
    """A cluster of dask as an executor that knows what was lost with a worker: dask itself runs it again elsewhere."""

    def __init__(self, client: Any, workers: int = 0) -> None:
        """``workers`` are those that a cluster of our own is to have."""
        self._client, self._inner, self._workers = client, client.get_executor(pure=False), workers
        self._name = f"verify-{uuid4().hex}"
        self._number = count()
        self._keys: WeakKeyDictionary[Future[Any], str] = WeakKeyDictionary()
        self._lost: Counter[str] = Counter()
        client.subscribe_topic("all", self._hear)

    @property
    def is_gone(self) -> bool:
        """The scheduler was lost, and has not come back while dask waited for it."""
        return self._client.status in {"closing", "closed"}

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """A future of a call that some worker makes."""
        key = f"{self._name}-{next(self._number)}"
        future: Future[Any] = self._inner.submit(fn, *args, key=key, **kwargs)
        self._keys[future] = key
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Listens no longer; the cluster is its owner's."""
        del wait, cancel_futures
        with suppress(ValueError):  # done already
            if not self.is_gone:
                self._client.unsubscribe_topic("all")

    def restore(self) -> None:
        """Starts what is missing of our own workers: dask gives one up that is killed while it starts."""
        if self._workers:
            self._client.cluster.scale(self._workers)

    def times_lost(self, future: Future[Any]) -> int:
        """How many workers were lost that the call was on."""
        return self._lost.pop(self._keys[future], 0)

    def _hear(self, event: tuple[float, Any]) -> None:
        """Takes note of what was on a worker that the scheduler has lost."""
        said = event[1]
        if isinstance(said, dict) and said.get("action") == "remove-worker":
            keys = {*said["processing-tasks"], *said["lost-computed-tasks"]}
            self._lost.update(key for key in keys if str(key).startswith(self._name))

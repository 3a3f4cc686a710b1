"""Workers: whatever ends one is the error of its case alone, and none outlives its parent."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import sys
import time
from itertools import count, repeat
from pathlib import Path

import pytest
import worker_tasks
from worker_tasks import Settings, act, threads

from verify.records import CaseResult
from verify.running import workers as workers_module
from verify.running.workers import MOST_STARVED, THREADS, Workers

HERE = Path(__file__).parents[1] / "tools"


def results(*names: str, jobs: int = 2) -> dict[str, CaseResult]:
    """What workers make of some files, by the names of the results, an error with an exclamation mark."""
    found = list(Workers(act, Settings(), jobs).results([Path(name) for name in names]))
    return {f"{result.name}{'!' if result.problems else ''}": result for result in found}


def test_a_worker_that_ends_is_the_error_of_its_case(monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed each time, gone by itself, or out of its time: what was finished stays, everybody else goes on."""
    monkeypatch.setattr(workers_module, "MOST_AGAIN", 2)
    names = ["good-1", "killed-1", "good-2", "left-1", "killed-2", "busy-1", "good-3"]
    found = results(*names)
    accidents = {name for name in names if not name.startswith("good")}
    assert {name for name in found if name.endswith("!")} == {f"{name}!" for name in accidents}
    assert set(names) <= found.keys()
    assert {f"{name} again" for name in names if name not in accidents} <= found.keys()
    assert "killed (SIGKILL), perhaps for want of memory, while acting killed-1" in found["killed-1!"].problems[0]
    assert "exit code 3 while acting left-1" in found["left-1!"].problems[0]
    assert "0.5 s of processor time (--case-seconds) while acting busy-1" in found["busy-1!"].problems[0]


def test_five_random_kills_lose_nothing() -> None:
    """From outside, at any time: each file has its results, and no case is blamed."""
    rng, kills = random.Random(5), 0  # noqa: S311 - no secret
    workers = Workers(act, Settings(), 2)
    names = [f"good-{number}" for number in range(12)]
    finished: list[str] = []
    for result in workers.results([Path(name) for name in names]):
        assert not result.problems
        finished.append(result.name)
        if kills < 5 and workers.pids and rng.random() < 0.5:
            os.kill(rng.choice(workers.pids), signal.SIGKILL)
            kills += 1
    assert kills == 5
    assert sorted(finished) == sorted([*names, *(f"{name} again" for name in names)])


def test_who_runs_out_of_memory_is_blamed_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the kernel says that it killed meanwhile; its twin, killed as often by somebody else, is run once more."""
    for said, again in ((count(), MOST_STARVED), (repeat(0), 3)):
        monkeypatch.setattr(workers_module, "MOST_AGAIN", 3)
        monkeypatch.setattr(workers_module, "_killed_for_memory", lambda said=said: next(said))
        workers = Workers(act, Settings(), 1)
        assert [bool(result.problems) for result in workers.results([Path("killed-1")])][-1:] == [True]
        assert dict(workers.again) == {"killed-1": again}


def test_workers_that_never_begin_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """An end without cases, and no loop without one."""
    monkeypatch.setattr("verify.running.workers.MOST_STILLBORN", 1)
    monkeypatch.setattr("verify.running.workers._serve", worker_tasks.main)
    found = results("good-1", "good-2", jobs=1)
    assert {"good-1!", "good-2!"} == found.keys()
    assert "no worker could be started" in found["good-1!"].problems[0]


def is_running(pid: int) -> bool:
    """Whether a process is there and no mere zombie, which waits for an init that may never come."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def _as_in_a_terminal() -> None:
    """Signals that a parent in the background ignores, as ``nohup`` does, end a process again."""
    for ignored in (signal.SIGHUP, signal.SIGINT):
        signal.signal(ignored, signal.SIG_DFL)


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks for processes as Linux shows them")
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGHUP])
def test_no_worker_outlives_its_parent(how: signal.Signals) -> None:
    """And none holds its pipes: whoever reads them sees the end."""
    command = [sys.executable, str(HERE / "worker_tasks.py")]
    with (
        subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=_as_in_a_terminal,  # noqa: PLW1509 - no thread of this test holds a lock
        ) as parent,
        contextlib.ExitStack() as ends,
    ):
        ends.callback(parent.kill)  # whatever fails below, nobody waits for it
        assert parent.stdout is not None
        pids = [int(pid) for pid in parent.stdout.readline().split()]
        assert len(pids) == 2
        assert all(map(is_running, pids))
        parent.send_signal(how)
        rest, told = parent.communicate(timeout=60)
    for _ in range(100):
        if not any(map(is_running, pids)):
            break
        time.sleep(0.05)
    assert not any(map(is_running, pids))
    assert ("", "") == (rest, told)


def test_the_longest_files_come_first(tmp_path: Path) -> None:
    """A case that takes long is not begun last; one that is missing is an error like any other."""
    sizes = {"short": 10, "long": 300, "middle": 40}
    for name, size in sizes.items():
        (tmp_path / name).write_text("x" * size, encoding="utf-8")
    workers = Workers(act, Settings(), 1)
    paths = [tmp_path / name for name in (*sizes, "missing")]
    assert ["long", "middle", "short", "missing"] == [result.name for result in workers.results(paths)][::2]


def test_workers_hold_blas_to_one_thread_each(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Where there are several, and the user does not say otherwise; the parent's own setting is left alone."""
    for name in THREADS:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("MKL_NUM_THREADS", "3")
    said = {result.name for result in Workers(threads, Settings(), 2).results([tmp_path / "a", tmp_path / "b"])}
    assert {"1 1 3"} == said
    assert [None, None, "3"] == [os.environ.get(name) for name in THREADS]

"""Executors: whoever runs the cases, results are the same to the byte, and a lost worker loses nothing."""

from __future__ import annotations

import json
import os
import random
import threading
import time
from concurrent.futures import BrokenExecutor, Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pytest
from kills import digests, killed_run

from verify.case.files import find_case_files, shipped_cases
from verify.cli import main
from verify.errors import LimitError, UsageError
from verify.limits import case_limits, step
from verify.report.wording import caveats
from verify.running import executing, units
from verify.running.clusters import DaskExecutor, executor_named
from verify.running.journal import Journal
from verify.running.runner import RunInterrupted, run_cases, run_task
from verify.running.settings import Settings
from verify.running.workers import MOST_AGAIN

NOTES = find_case_files([shipped_cases() / "notes"])
FEW = Settings(points=2)


@pytest.fixture(scope="module")
def alone() -> dict[str, str]:
    """The results of the cases of the notes, run one after the other in this process."""
    return digests(run_cases(NOTES, FEW).cases)


class Flaky(Executor):
    """Runs at once, in this thread; the first calls that say a text are lost, as with a worker that is killed."""

    def __init__(self, lost: int, fault: type[Exception] = OSError, of: str = "") -> None:
        self.left, self.fault, self.of, self.tasks = lost, fault, of, list[str]()

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        """A future that is done already."""
        future: Future[Any] = Future()
        self.tasks.append(args[0])
        if self.left and self.of in args[0]:
            self.left -= 1
            future.set_exception(self.fault("the worker is gone"))
        else:
            future.set_result(fn(*args, **kwargs))
        return future


# ------------------------------------------------------------------------------------------------ the same to the byte


@pytest.mark.parametrize("workers", [1, 3])
def test_threads_give_what_one_process_gives(workers: int, alone: dict[str, str]) -> None:
    """Though the precision of balls is one for the whole process; in the order of the files."""
    with ThreadPoolExecutor(workers) as executor:
        run = run_cases(NOTES, FEW, executor=executor)
    assert list(alone.items()) == list(digests(run.cases).items())


def test_processes_under_load_give_what_one_process_gives(alone: dict[str, str]) -> None:
    """Two pools, one of which hardly gets any time."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn"), initializer=os.nice, initargs=(19,)) as executor:
        assert alone == digests(run_cases(NOTES, FEW, executor=executor).cases)


def test_the_comparison_bites(alone: dict[str, str]) -> None:
    """The twin: with one more point, everything but what is no number differs."""
    other = digests(run_cases(NOTES[:2], replace(FEW, points=3)).cases)
    assert all(alone[name] != digest for name, digest in other.items())


def test_what_travels_is_text(alone: dict[str, str]) -> None:
    """A case, the settings and the versions as JSON; each size is a unit of its own."""
    executor = Flaky(0)
    assert alone == digests(run_cases(NOTES, FEW, executor=executor).cases)
    assert len(alone) == len(executor.tasks) > len(NOTES)
    asked = json.loads(executor.tasks[0])
    assert {"versions", "unit", "settings"} == asked.keys()
    assert asked["unit"]["text"] == Path(asked["unit"]["file"]).read_text(encoding="utf-8")


def test_a_case_of_many_points_is_cut_into_blocks(tmp_path: Path) -> None:
    """Above 10,000 points: quick looks at blocks go to whoever is free, and the result is the same to the byte."""
    path = tmp_path / "many.yaml"  # near a kink some points are suspicious, and wait for each other
    path.write_text(
        "case: many\ninputs: {x: {at: 1, domain: [-2, 2]}, y: {at: [1, 2], domain: [-1, 3]}}\n"
        "stages: {p: maximum(x, 1e-4 * y), q: sin(p * y) - p * y, f: sum(q)}\n",
        encoding="utf-8",
    )
    many = Settings(points=20_000)
    whole, executor = digests(run_cases([path], many).cases), Flaky(0)
    assert whole == digests(run_cases([path], many, executor=executor).cases)
    asked = [json.loads(task)["unit"] for task in executor.tasks]
    assert [[1, 2], [2, 3], [3, 4], [4, 5], None] == [unit["blocks"] for unit in asked]
    assert asked[-1]["screened"]
    lossy = Flaky(MOST_AGAIN + 2, of='"blocks": [2, 3]')
    assert whole == digests(run_cases([path], many, executor=lossy).cases)
    assert 1 == len(digests(run_cases([path], Settings(points=9_000), executor=Flaky(0)).cases))


# ---------------------------------------------------------------------------------------------------- what is lost


def test_what_is_lost_is_run_again_and_told(alone: dict[str, str]) -> None:
    """With the file's name, in the headline."""
    run = run_cases(NOTES, FEW, executor=Flaky(1))
    assert alone == digests(run.cases)
    assert [1] == list(run.again.values())
    assert f"1 case file ran again, since a worker was lost ({next(iter(run.again))})" in caveats(run)


def test_who_loses_every_worker_is_an_error() -> None:
    """And the others are run."""
    run = run_cases(NOTES[:2], FEW, executor=Flaky(99, of=NOTES[0].name))
    assert ["ERROR", "PASS"] == [case.status for case in run.cases][:2]
    assert {str(NOTES[0]): MOST_AGAIN} == run.again
    assert f"lost its worker {MOST_AGAIN + 1} times (OSError: the worker is gone)" in "".join(
        *(c.problems for c in run.cases if c.problems)
    )


class LosesEach(Flaky):
    """Loses each unit as often as an innocent one may be lost."""

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        """The first calls of each task are lost."""
        self.left = int(self.tasks.count(args[0]) < MOST_AGAIN)
        return super().submit(fn, *args, **kwargs)


def test_units_of_a_file_are_blamed_each_for_itself(alone: dict[str, str]) -> None:
    """A file of several sizes may lose more workers than one unit may; the twin above loses one unit too often."""
    path = next(path for path in NOTES if path.stem == "matmul")
    run = run_cases([path], FEW, executor=LosesEach(0))
    sizes = len(run.cases)
    assert sizes > 1
    assert {str(path): MOST_AGAIN * sizes} == run.again
    assert digests(run.cases).items() <= alone.items()


def test_an_executor_that_is_broken_says_so() -> None:
    """It cannot run anything any more: nobody waits for it."""
    run = run_cases(NOTES[:1], FEW, executor=Flaky(1, BrokenExecutor))
    assert "the executor is broken (BrokenExecutor: the worker is gone)" in run.cases[0].problems[0]
    with ThreadPoolExecutor(1) as executor:
        executor.shutdown()
        run = run_cases(NOTES[:1], FEW, executor=executor)
    assert "cannot schedule new futures after shutdown" in run.cases[0].problems[0]


def test_a_worker_with_other_versions_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before anything is run; the twin is every other test here."""
    task = units.task_of(units.Unit("f.yaml", "case: f"), FEW)
    monkeypatch.setattr(units, "made_by", lambda: {**json.loads(task)["versions"], "numpy": "1.0", "verify": "0.1 (a)"})
    with pytest.raises(UsageError, match=r"numpy 2\S+ here and 1.0 there, verify .* here and 0.1 \(a\) there"):
        units.answer_of(run_task(task))


def test_a_case_that_cannot_be_read_is_an_error_there_too(tmp_path: Path) -> None:
    """Missing, or no case; as in one process."""
    (tmp_path / "broken.yaml").write_text("case: broken\nstages: {f: 1}\n", encoding="utf-8")
    files = [tmp_path / "nowhere.yaml", tmp_path / "broken.yaml"]
    assert digests(run_cases(files, FEW).cases) == digests(run_cases(files, FEW, executor=Flaky(0)).cases)


def test_an_interrupt_leaves_what_is_done() -> None:
    """What was told by then, as incomplete; what waits is cancelled."""
    with ThreadPoolExecutor(1) as executor, pytest.raises(RunInterrupted) as stop:
        run_cases(NOTES, FEW, executor=executor, on_result=_interrupt)
    assert 1 == len(stop.value.run.cases)
    assert stop.value.run.left_out >= len(NOTES) - 1


def _interrupt(_: object) -> None:
    raise KeyboardInterrupt


# --------------------------------------------------------------------------------- limits where no signal comes


def in_a_thread(work: Any) -> Any:
    """What a call comes to in a thread that is not the main one."""
    with ThreadPoolExecutor(1) as executor:
        return executor.submit(work).result(timeout=60)


def test_a_case_has_its_limit_in_a_thread_too() -> None:
    """As in a worker of dask, which computes in one: the time is that of the thread alone."""

    def busy() -> None:
        with case_limits(0.05, 60.0), step("counting"):
            while True:
                pass

    with pytest.raises(LimitError, match=r"more than 0.05 s of processor time \(--case-seconds\) while counting"):
        in_a_thread(busy)


def test_a_limit_in_a_thread_is_not_broken_by_waiting() -> None:
    """The twin: who sleeps takes no time of the processor, and who is done in time hears nothing later."""

    def idle() -> str:
        with case_limits(0.05, 60.0):
            time.sleep(0.2)
        for _ in range(100_000):
            pass
        return "done"

    assert "done" == in_a_thread(idle)
    for thread in [thread for thread in threading.enumerate() if thread.name.startswith("verify: limits")]:
        thread.join(60)  # it was told to end, and may want a moment on a machine with much to do
        assert not thread.is_alive()


# ------------------------------------------------------------------------------------------------------------ names


@pytest.mark.parametrize(
    ("name", "said"),
    [
        (
            "dask-lokal",
            "unknown executor 'dask-lokal', expected processes, dask-local or dask://HOST:PORT. Did you mean",
        ),
        ("dask://", "unknown executor 'dask://'"),
        ("", "unknown executor ''"),
    ],
)
def test_an_executor_of_no_such_name(name: str, said: str, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """A message with the names, and exit code 2."""
    assert 2 == main(["run", str(NOTES[0]), "--points", "1", "--executor", name, "--json", str(tmp_path / "r.json")])
    assert said in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_dask_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the extra that brings it."""
    monkeypatch.setitem(__import__("sys").modules, "distributed", None)
    with pytest.raises(UsageError, match=r"pip install 'verify-gradients\[dask\]'"), executor_named("dask-local", 1):
        pass


# ------------------------------------------------------------------------------------------------------------- dask


def test_dask_gives_what_one_process_gives_though_workers_are_killed(alone: dict[str, str]) -> None:
    """A cluster of two workers here, of which two are killed; and it says which cases ran again."""
    pytest.importorskip("distributed", reason="needs the extra 'dask'")
    run, kills = killed_run("dask-local", NOTES, FEW, 2, random.Random(1))  # noqa: S311 - no secret
    assert alone == digests(run.cases)
    assert bool(run.again) <= bool(kills)


def test_a_cluster_of_our_own_without_workers_gets_new_ones(
    alone: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where dask has given each of them up, since it was killed while it started: nobody waits for ever."""
    pytest.importorskip("distributed", reason="needs the extra 'dask'")
    monkeypatch.setattr(executing, "SILENCE_SECONDS", 0.5)
    with executor_named("dask-local", 1) as executor:
        assert isinstance(executor, DaskExecutor)
        executor._client.cluster.scale(0)
        assert alone == digests(run_cases(NOTES, FEW, executor=executor).cases)


def test_a_scheduler_that_is_lost_ends_the_run_and_what_was_finished_stays(
    alone: dict[str, str], tmp_path: Path
) -> None:
    """It is said in a sentence, and a later run does what is missing; one whose scheduler stays needs none (twin)."""
    pytest.importorskip("distributed", reason="needs the extra 'dask'")
    place = tmp_path / "unfinished"
    with executor_named("dask-local", 1) as executor, Journal(place, FEW) as journal:
        assert isinstance(executor, DaskExecutor)
        client = executor._client
        with pytest.raises(UsageError, match=r"the scheduler of dask is lost\. What was finished stays, and --resume"):
            run_cases(NOTES, FEW, executor=executor, journal=journal, on_result=lambda _: client.close())
    with Journal(place, FEW, resumes=True) as journal:
        assert any(map(journal.has, NOTES))
        assert alone == digests(run_cases(NOTES, FEW, journal=journal).cases)

"""Cases x points x methods: reads case files, runs them, and gathers what was found into records."""

from __future__ import annotations

import datetime
import importlib
import math
import os
import platform
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from verify.case import Case, load_case
from verify.derivative import ClosedForm, Differentiator, Unsupported
from verify.errors import CaseError, UsageError, did_you_mean
from verify.interpret import Program
from verify.judge import Block, Judge
from verify.methods import available, prepare
from verify.methods.reverse import Reverse
from verify.methods.symbolic import Symbolic
from verify.points import RANDOM_BLOCK, Batch, kink_points, own_points, random_points
from verify.records import (
    METHODS,
    PAIRS,
    VERDICTS,
    CaseResult,
    PairDifference,
    Point,
    Rows,
    Run,
    StageRecord,
    VariableResult,
    Verdict,
    unravel,
)

Array = NDArray[Any]

KEEP_ALL = 10_000
"""Up to this many points every row is kept; beyond, the worst, the suspicious and a sample."""

SAMPLE = 256
"""Random points of a large run whose rows are kept whatever they came to."""

MOST_SUSPICIOUS = 2_000
"""Rows of one variable that do not simply pass and are kept in a large run."""

BLOCK_BYTES = 2**20
"""Memory that the values of one node-by-node pass may take, so that it stays in the cache."""

CASE_SUFFIXES = (".yaml", ".yml")


@dataclass(frozen=True, slots=True)
class Settings:
    """What a run is asked for."""

    points: int = 64
    """Random points for each case."""
    seed: int = 0
    methods: tuple[str, ...] | None = None
    """None for all of them; else these, and one that cannot do a case fails it."""
    variables: str = "all"
    """``all`` variables, or ``inputs`` alone."""


# ------------------------------------------------------------------------------------------------- finding the files


def shipped_cases() -> Path:
    """The folder of the cases that come with the package.

    >>> shipped_cases().is_dir()
    True
    """
    installed = Path(__file__).with_name("shipped_cases")
    return installed if installed.is_dir() else Path(__file__).parent.parent / "cases"


def find_case_files(paths: Sequence[str | Path], pick: str = "") -> tuple[Path, ...]:
    """The case files among files and folders (searched to the bottom), sorted within each folder.

    ``pick`` keeps those whose path or case name contains it, whatever the case of its letters. Raises UsageError
    where a path does not exist, a folder holds no case file, or nothing is left.

    >>> [path.name for path in find_case_files([shipped_cases()], pick="add")]
    ['add.yaml', 'multiply_add.yaml']
    """
    files: dict[Path, None] = {}
    for given in map(Path, paths):
        if given.is_dir():
            inside = sorted(path for path in given.rglob("*") if path.suffix in CASE_SUFFIXES and path.is_file())
            if not inside:
                raise UsageError(f"no case files (*.yaml) in the folder {given}; 'verify new NAME' writes one")
            files.update(dict.fromkeys(inside))
        elif given.exists():
            files[given] = None
        else:
            raise UsageError(f"no such file or folder: {given}{_nearby(given)}")
    picked = tuple(path for path in files if _matches(path, pick))
    if not picked:
        names = ", ".join(path.stem for path in list(files)[:12])
        raise UsageError(f"-k {pick!r} picks none of the {len(files)} cases ({names})")
    return picked


def _nearby(missing: Path) -> str:
    folder = missing.parent if missing.parent.is_dir() else Path()
    hint = did_you_mean(missing.name, [path.name for path in folder.iterdir()])
    return f". {hint}" if hint else ""


def _matches(path: Path, pick: str) -> bool:
    wanted = pick.lower()
    if not wanted or wanted in str(path).lower() or wanted.replace(" ", "_") in path.stem.lower():
        return True
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return False
    names = [line.partition(":")[2] for line in text.splitlines() if line.startswith("case:")]
    return any(wanted in name.lower() for name in names)


# --------------------------------------------------------------------------------------------------- running cases


def run_cases(
    files: Sequence[Path],
    settings: Settings,
    *,
    jobs: int = 1,
    fail_fast: bool = False,
    on_result: Callable[[CaseResult], None] | None = None,
) -> Run:
    """Runs case files, ``jobs`` at a time, and gathers the results in the order of the files.

    ``fail_fast`` stops after the first case that does not pass; ``on_result`` is told of each as it is finished.
    Raises UsageError for a method that does not exist or settings out of range.

    >>> run = run_cases(find_case_files([shipped_cases()], pick="neuron"), Settings(points=2))
    >>> run.exit_code, [case.status for case in run.cases]
    (0, ['PASS'])
    """
    _check(settings, jobs)
    started = time.perf_counter()
    results = []
    for result in _results(files, settings, jobs):
        results.append(result)
        if on_result is not None:
            on_result(result)
        if fail_fast and not result.passes:
            break
    order = {str(path): number for number, path in enumerate(files)}
    results.sort(key=lambda result: order.get(result.file, len(order)))
    return Run(
        cases=tuple(results),
        seed=settings.seed,
        points=settings.points,
        methods=settings.methods or METHODS,
        versions=versions(),
        command=_command(files, settings),
        started=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        seconds=time.perf_counter() - started,
    )


def _check(settings: Settings, jobs: int) -> None:
    known = available()
    for name in settings.methods or ():
        if name not in known:
            raise UsageError(f"unknown method {name!r}; there are {', '.join(known)}. {did_you_mean(name, known)}".strip())
    if settings.methods is not None and not settings.methods:
        raise UsageError(f"no method is left to run; there are {', '.join(known)}")
    if settings.points < 0:
        raise UsageError(f"the number of points must be 0 or more, got {settings.points}")
    if settings.seed < 0:
        raise UsageError(f"the seed must be 0 or more, got {settings.seed}")
    if jobs < 1:
        raise UsageError(f"the number of jobs must be 1 or more, got {jobs}")


def _results(files: Sequence[Path], settings: Settings, jobs: int) -> Iterator[CaseResult]:
    if jobs == 1 or len(files) == 1:
        yield from (run_case(path, settings) for path in files)
        return
    # Fresh processes: a fork would copy whatever threads and locks the caller has.
    with ProcessPoolExecutor(min(jobs, len(files)), mp_context=get_context("spawn")) as pool:
        waiting: set[Future[CaseResult]] = {pool.submit(run_case, path, settings) for path in files}
        try:
            while waiting:
                done, waiting = wait(waiting, return_when=FIRST_COMPLETED)
                yield from (future.result() for future in done)
        finally:
            for future in waiting:
                future.cancel()


def _command(files: Sequence[Path], settings: Settings) -> str:
    methods = f" --methods {','.join(settings.methods)}" if settings.methods else ""
    paths = " ".join(map(str, files)) if len(files) <= 3 else f"{os.path.commonpath([str(path) for path in files])}"
    return f"verify run {paths} --points {settings.points} --seed {settings.seed}{methods}"


def versions() -> dict[str, str]:
    """The versions of what the numbers depend on.

    >>> sorted(versions())
    ['mpmath', 'numpy', 'python', 'sympy']
    """
    found = {"python": platform.python_version()}
    for name in ("numpy", "sympy", "mpmath"):
        found[name] = importlib.import_module(name).__version__
    return found


def run_case(path: Path, settings: Settings) -> CaseResult:
    """Runs one case file. A case that cannot be read is a result with its problems, never an exception.

    >>> run_case(Path("nowhere.yaml"), Settings()).status
    'ERROR'
    """
    started = time.perf_counter()
    try:
        case = load_case(path)
    except CaseError as error:
        problems = tuple(str(problem) for problem in error.problems)
        return CaseResult(Path(path).stem, str(path), seed=settings.seed, problems=problems)
    return run_loaded(case, settings, started)


def run_loaded(case: Case, settings: Settings, started: float | None = None) -> CaseResult:
    """Runs one case that is in memory.

    >>> run_loaded(load_case(shipped_cases() / "add.yaml"), Settings(points=2)).points_checked
    3
    """
    started = time.perf_counter() if started is None else started
    gathering = _Gathering(case, settings)
    for batch in _batches(case, settings):
        gathering.add(batch)
    return gathering.result(time.perf_counter() - started)


def _batches(case: Case, settings: Settings) -> Iterator[Batch]:
    """Own points, points on kinks, then random points in blocks that fit the cache."""
    own = own_points(case, settings.seed)
    yield own
    first = len(own)
    kinked = kink_points(case, Program(case.graph), settings.seed, first)
    if kinked is not None and settings.points:
        yield kinked
        first += len(kinked)
    size = block_size(case)
    for number in range(math.ceil(settings.points / RANDOM_BLOCK)):
        count = min(RANDOM_BLOCK, settings.points - number * RANDOM_BLOCK)
        drawn = random_points(case, settings.seed, number, count, first)
        first += count
        for start in range(0, count, size):
            yield drawn.part(start, min(start + size, count))


def block_size(case: Case) -> int:
    """Points that are run together: as many as keep the values of all nodes within :data:`BLOCK_BYTES`.

    >>> block_size(load_case(shipped_cases() / "add.yaml"))
    4096
    """
    floats = sum(math.prod(node.shape) for node in case.graph.nodes)
    return int(min(RANDOM_BLOCK, max(16, BLOCK_BYTES // (8 * floats))))


# ------------------------------------------------------------------------------------------------ gathering results


@dataclass(slots=True)
class _Column:
    """What is kept of one variable, block after block."""

    name: str
    quantity: str
    kept: list[tuple[Array, Array, Block]] = field(default_factory=list)
    counts: Counter[Verdict] = field(default_factory=Counter)
    checked: int = 0
    failed: int = 0
    suspicious: int = 0
    largest: dict[tuple[str, str], tuple[float, int, int]] = field(default_factory=dict)
    magnitude: float = 0.0


class _Gathering:
    """Everything that is found about one case while its batches are judged."""

    def __init__(self, case: Case, settings: Settings) -> None:
        self.case, self.settings = case, settings
        self.methods, self.unsupported = _prepare(case, settings)
        self.judge = Judge(case, self.methods)
        self.columns: dict[tuple[str, str], _Column] = {}
        self.points: dict[int, Point] = {}
        self.checked = 0
        self.keep_all = settings.points + len(case.own_points) <= KEEP_ALL

    def add(self, batch: Batch) -> None:
        """Judges one batch and keeps what is worth keeping."""
        self.checked += len(batch)
        keep_points: set[int] = set()
        for block in self.judge.judge(batch):
            column = self.columns.setdefault((block.name, block.quantity), _Column(block.name, block.quantity))
            self._count(column, block, batch)
            points, entries = self._kept(column, block, batch)
            if len(points):
                column.kept.append((points + batch.first_id, entries, _taken(block, points, entries)))
                keep_points.update(np.unique(points).tolist())
        for p in sorted(keep_points):
            self.points[p + batch.first_id] = _point(batch, p)

    def _count(self, column: _Column, block: Block, batch: Batch) -> None:
        codes = np.bincount(block.verdict.ravel(), minlength=len(VERDICTS))
        column.counts.update({verdict: int(count) for verdict, count in zip(VERDICTS, codes, strict=True) if count})
        column.checked += block.verdict.size
        column.failed += int(np.count_nonzero(~block.passes))
        for pair in PAIRS:
            if pair[0] in block.values and pair[1] in block.values:
                self._measure(column, block, batch, pair)
        if block.quantity == "gradient" and "reverse" in block.values:
            column.magnitude = max(column.magnitude, _largest(block.values["reverse"]))

    def _measure(self, column: _Column, block: Block, batch: Batch, pair: tuple[str, str]) -> None:
        """The largest difference of a pair so far, and where."""
        with np.errstate(all="ignore"):
            difference = np.abs(block.values[pair[0]] - block.values[pair[1]]).ravel()
        if not difference.size:
            return
        at = int(np.argmax(difference))
        if math.isnan(difference[at]):
            difference = np.where(np.isnan(difference), -1.0, difference)
            at = int(np.argmax(difference))
        value = float(difference[at])
        if value >= 0 and value > column.largest.get(pair, (-1.0, 0, 0))[0]:
            p, entry = divmod(at, block.verdict.shape[1])
            column.largest[pair] = (value, p + batch.first_id, entry)

    def _kept(self, column: _Column, block: Block, batch: Batch) -> tuple[Array, Array]:
        """Positions (point, entry) of the rows that are kept."""
        if self.keep_all or batch.own or batch.first_id < SAMPLE:
            everything = np.nonzero(np.ones_like(block.passes))
            return everything[0], everything[1]
        odd = np.argwhere(~block.passes | (block.verdict != 0))[: MOST_SUSPICIOUS - column.suspicious]
        column.suspicious += len(odd)
        worst = [
            (point - batch.first_id, entry)
            for _, point, entry in column.largest.values()
            if batch.first_id <= point < batch.first_id + len(batch)
        ]
        rows = np.array(sorted({*map(tuple, odd.tolist()), *worst}), dtype=np.int64).reshape(-1, 2)
        return rows[:, 0], rows[:, 1]

    def result(self, seconds: float) -> CaseResult:
        """The record of the case."""
        case, settings = self.case, self.settings
        texts = self.judge.texts.all()
        asked = settings.methods or ()
        return CaseResult(
            name=case.name,
            file=case.file,
            source=case.source,
            function=tuple(case.expressions.items()),
            outputs=case.graph.outputs,
            variables=tuple(self._variable(column, texts) for column in self.columns.values()),
            points=tuple(self.points.values()),
            stages=_stage_records(case, settings),
            seed=settings.seed,
            points_checked=self.checked,
            methods=tuple(name for name in METHODS if name in self.methods),
            unsupported=self.unsupported,
            failures=tuple(
                f"method {name} was asked for and cannot do this case: {reason}"
                for name, reason in self.unsupported.items()
                if name in asked
            ),
            notes=self._notes(),
            seconds=seconds,
        )

    def _notes(self) -> tuple[str, ...]:
        """What a reader should know beside the rows."""
        notes = [f"{text} ({count} rows)" for text, count in self.judge.notes.items()]
        for column in self.columns.values():
            if column.quantity == "gradient" and column.checked and column.magnitude == 0.0:
                notes.append(f"{column.name}: the gradient is zero at every point, so a wrong factor cannot be caught here")
        return tuple(notes)

    def _variable(self, column: _Column, texts: tuple[str, ...]) -> VariableResult:
        case, name = self.case, column.name
        symbolic = self.methods.get("symbolic")
        shown = isinstance(symbolic, Symbolic) and column.quantity == "gradient"
        closed = symbolic.closed_form(name) if isinstance(symbolic, Symbolic) and shown else ClosedForm("")
        shape = case.graph.shape(name)
        role = "output" if name in case.graph.outputs else "stage" if name in case.graph.stages else "input"
        return VariableResult(
            case=case.name,
            name=name,
            role=role,
            quantity="gradient" if column.quantity == "gradient" else "value",
            shape=shape,
            file=case.file,
            line=case.lines.get(name, 0),
            rows=_rows(column.kept, texts),
            checked=column.checked,
            counts=column.counts,
            failed=column.failed,
            differences=tuple(_pair_difference(column, pair, shape) for pair in PAIRS),
            form=closed.form,
            closed_forms=closed.formulas,
        )


def _prepare(case: Case, settings: Settings) -> tuple[dict[str, Differentiator], dict[str, str]]:
    methods: dict[str, Differentiator] = {}
    unsupported: dict[str, str] = {}
    for name in settings.methods or METHODS:
        answer = prepare(name, case.graph, case.variables)
        if isinstance(answer, Unsupported):
            unsupported[name] = answer.reason
        else:
            methods[name] = answer
    return methods, unsupported


def _largest(values: Array) -> float:
    finite = values[np.isfinite(values)]
    return float(np.max(np.abs(finite), initial=0.0))


def _taken(block: Block, points: Array, entries: Array) -> Block:
    """Some rows of a block, every column now of length R."""
    where = (points, entries)
    return Block(
        block.name,
        block.quantity,
        {method: column[where] for method, column in block.values.items()},
        block.verdict[where],
        block.passes[where],
        block.reason[where],
        block.suspect[where],
        block.expected[where],
    )


def _rows(kept: Iterable[tuple[Array, Array, Block]], texts: tuple[str, ...]) -> Rows:
    parts = list(kept)

    def joined(arrays: list[Array], dtype: Any) -> Array:
        return np.concatenate(arrays).astype(dtype) if arrays else np.zeros(0, dtype=dtype)

    blocks = [block for _, _, block in parts]
    methods = blocks[0].values if blocks else {}
    length = sum(len(points) for points, _, _ in parts)
    return Rows(
        point=joined([points for points, _, _ in parts], np.int64),
        entry=joined([entries for _, entries, _ in parts], np.int64),
        values={
            method: joined([block.values[method] for block in blocks], np.float64)
            if method in methods
            else np.full(length, np.nan)
            for method in METHODS
        },
        expected=joined([block.expected for block in blocks], np.float64),
        verdict=joined([block.verdict for block in blocks], np.int8),
        passes=joined([block.passes for block in blocks], np.bool_),
        reason=joined([block.reason for block in blocks], np.int64),
        suspect=joined([block.suspect for block in blocks], np.int64),
        texts=texts,
    )


def _pair_difference(column: _Column, pair: tuple[str, str], shape: tuple[int, ...]) -> PairDifference:
    if pair not in column.largest:
        return PairDifference(pair, math.nan, -1, ())
    value, point, entry = column.largest[pair]
    return PairDifference(pair, value, point, unravel(entry, shape))


def _point(batch: Batch, p: int) -> Point:
    values: dict[str, Any] = {name: value[p] for name, value in batch.inputs.items()}
    values |= {f"upstream of {name}": seed[p] for name, seed in batch.upstream.items() if seed[p].ndim}
    return Point(
        id=p + batch.first_id,
        origin=batch.origins[p],
        own=batch.own,
        values=values,
        note=batch.notes[p] if batch.notes else "",
        line=batch.lines[p] if batch.lines else 0,
    )


# ------------------------------------------------------------------------------------- the forward and backward pass


def _stage_records(case: Case, settings: Settings) -> tuple[StageRecord, ...]:
    """The notes' forward and backward pass, side by side, at the case's first own point."""
    batch = own_points(case, settings.seed)
    first = np.array([0])
    inputs, upstream = batch.take(first)
    engine = Reverse(case.graph, case.variables)
    derivative = engine.differentiate(inputs, upstream)
    answer = prepare("symbolic", case.graph, case.variables)
    records = []
    for name in (*case.graph.inputs, *case.graph.stages):
        shape = case.graph.shape(name)
        gradient = derivative.gradients.get(name)
        is_stage = name in case.graph.stages
        records.append(
            StageRecord(
                name=name,
                expression=case.expressions.get(name, ""),
                line=case.lines.get(name, 0),
                shape=shape,
                value=np.asarray(derivative.values[name])[0],
                local_derivatives=answer.local_derivatives(name) if is_stage and isinstance(answer, Symbolic) else {},
                gradient=np.full(shape, np.nan) if gradient is None else np.asarray(gradient)[0],
            )
        )
    return tuple(records)

"""Cases x points x methods: reads case files, runs them, and gathers what was found into records."""

from __future__ import annotations

import datetime as dt
import importlib
import math
import os
import platform
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass, field, replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from verify.cache import graph_key, remembered
from verify.certified.reference import FIRST_BITS, MOST_BITS, MOST_SECONDS
from verify.derivative import ClosedForm, Differentiator, Unsupported
from verify.errors import CaseError, UsageError, did_you_mean
from verify.interpret import Program, block_size
from verify.judging.context import Context
from verify.judging.judge import Judge
from verify.judging.large import large_note, large_variables
from verify.judging.power import Strength, strength
from verify.judging.rows import CODE, Block, RowKey
from verify.judging.step_records import step_laws
from verify.methods import available, prepare
from verify.methods.central import too_long
from verify.methods.reverse import Reverse
from verify.methods.symbolic import Symbolic
from verify.oracle.code_constants import constants_of
from verify.oracle.search import Reached, search_points
from verify.oracle.shrink import stored_points
from verify.oracle.subject import SUBJECT, Interface, Subject
from verify.points import RANDOM_BLOCK, Batch, joined, kink_points, own_points, random_points
from verify.reading.case import Case, load_case
from verify.records import (
    METHODS,
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
from verify.sizes import other_sizes
from verify.variants.kill_score import as_gradient, kill_score

Array = NDArray[Any]

KEEP_ALL = 10_000
"""Up to this many points every row is kept; beyond, the worst, the suspicious and a sample."""

SAMPLE = 256
"""Random points of a large run whose rows are kept whatever they came to."""

LEAST_TELLING = 8
"""Points from which on a gradient that is zero at all of them deserves a note."""

MOST_SUSPICIOUS = 2_000
"""Rows of one variable that do not simply pass and are kept in a large run."""

LARGE_POINTS = 1
"""Random points of a case that is too large to look at entry by entry."""

TOO_WEAK = "too weak: at every point that was proved, more than 1/256 of the gradient is allowed; try other points"
"""Why a variable is undecided whose every row passes."""

MOST_NAMED = 30
"""Cases that a message lists by name."""

USUAL_SIZES, SUBJECT_SIZES = 2, 6
"""Other sizes of a case with ``dims``."""

SIZE_POINTS = 8
"""Random points at another size, at most: all of them are proved."""

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
    proof_seconds: float = MOST_SECONDS
    """Time for the proof of one point."""
    proof_bits: int = MOST_BITS
    """Precision up to which a proof may rise."""
    cached: bool = False
    """Whether SymPy's derivatives are kept on disk between runs, see :mod:`verify.cache`."""
    kill_score: bool = False
    """Whether single faults are planted into the backward pass, to see how many are caught."""
    sizes: int | None = None
    """Other sizes at which a case with ``dims`` is run too; None for :data:`USUAL_SIZES` of them, or
    :data:`SUBJECT_SIZES` where a gradient is handed in."""
    shrink: bool = True
    """Whether a gradient's failure is reduced to its simplest point, and points that failed before are tried first."""


DEFAULT = Settings()
"""What is asked for where nothing is said."""

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

    >>> [path.name for path in find_case_files([shipped_cases() / "notes"], pick="add")]
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


def find_case(name: str, first: Sequence[Path] = ()) -> Path:
    """The file of a case given by path, by file name (with or without its folder and ``.yaml``) or by its own name.

    Cases in the folders ``first``, and then in the folder ``cases`` here, come before those of the package. Raises
    UsageError where there is none, or where two files in one of these folders go by the name.

    >>> [find_case(name).name for name in ("relu", "notes/relu", "staged function")]
    ['relu.yaml', 'relu.yaml', 'staged_function.yaml']
    """
    if Path(name).is_file():
        return Path(name)
    folders = [folder for folder in (*first, Path("cases"), shipped_cases()) if any(folder.glob("**/*.y*ml"))]
    files = {folder: find_case_files([folder]) for folder in folders}
    for folder in folders:
        if found := [file for file in files[folder] if name in _file_names(file.relative_to(folder))]:
            return _only(found, name)
    names = {file: _case_name(file) for folder in folders for file in files[folder]}
    for folder in folders:
        if found := [file for file in files[folder] if names[file] == name]:
            return _only(found, name)
    hint = did_you_mean(name, sorted({*names.values(), *(file.stem for file in names)}))
    known = sorted(set(names.values()))
    more = f" and {len(known) - MOST_NAMED} more" if len(known) > MOST_NAMED else ""
    raise UsageError(
        f"no case is called '{name}'.{hint and ' '}{hint} The cases are: {', '.join(known[:MOST_NAMED])}{more}"
    )


def _file_names(file: Path) -> set[str]:
    """What a file in a folder of cases goes by."""
    return {file.stem, file.name, file.with_suffix("").as_posix()}


def _case_name(file: Path) -> str:
    """A broken case can still be found by its file's name, and is then shown with what is wrong."""
    try:
        return load_case(file).name
    except CaseError:
        return file.stem


def _only(found: Sequence[Path], name: str) -> Path:
    if len(found) > 1:
        raise UsageError(f"{len(found)} cases are called '{name}': {', '.join(map(str, found))}; give the path of one")
    return found[0]


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

    >>> run = run_cases(find_case_files([shipped_cases() / "notes"], pick="neuron"), Settings(points=2))
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
        started=dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
        seconds=time.perf_counter() - started,
    )


def _check(settings: Settings, jobs: int) -> None:
    known = available()
    for name in settings.methods or ():
        if name not in known:
            raise UsageError(
                f"unknown method {name!r}; there are {', '.join(known)}. {did_you_mean(name, known)}".strip()
            )
    if settings.methods is not None and not settings.methods:
        raise UsageError(f"no method is left to run; there are {', '.join(known)}")
    if settings.points < 0:
        raise UsageError(f"the number of points must be 0 or more, got {settings.points}")
    if not 0 <= settings.seed < 2**63:
        raise UsageError(f"the seed must be 0 or more and below 2**63, got {settings.seed}")
    if not 0 < settings.proof_seconds < math.inf:
        raise UsageError(f"the time for a proof must be above 0 and finite, got {settings.proof_seconds} s")
    if settings.proof_bits < FIRST_BITS:
        raise UsageError(f"the precision of a proof must be {FIRST_BITS} bits or more, got {settings.proof_bits}")
    if settings.sizes is not None and settings.sizes < 0:
        raise UsageError(f"the number of other sizes must be 0 or more, got {settings.sizes}")
    if jobs < 1:
        raise UsageError(f"the number of jobs must be 1 or more, got {jobs}")


def _results(files: Sequence[Path], settings: Settings, jobs: int) -> Iterator[CaseResult]:
    if jobs == 1 or len(files) == 1:
        for path in files:
            yield from run_file(path, settings)
        return
    # Fresh processes: a fork would copy whatever threads and locks the caller has.
    with ProcessPoolExecutor(min(jobs, len(files)), mp_context=get_context("spawn")) as pool:
        waiting: set[Future[list[CaseResult]]] = {pool.submit(run_file, path, settings) for path in files}
        try:
            while waiting:
                done, waiting = wait(waiting, return_when=FIRST_COMPLETED)
                for future in done:
                    yield from future.result()
        finally:
            for future in waiting:
                future.cancel()


def _command(files: Sequence[Path], settings: Settings) -> str:
    methods = f" --methods {','.join(settings.methods)}" if settings.methods else ""
    paths = " ".join(map(str, files)) if len(files) <= 3 else f"{os.path.commonpath([str(path) for path in files])}"
    budget = "" if settings.proof_seconds == MOST_SECONDS else f" --proof-seconds {settings.proof_seconds:g}"
    budget += "" if settings.proof_bits == MOST_BITS else f" --proof-bits {settings.proof_bits}"
    budget += " --kill-score" if settings.kill_score else ""
    budget += "" if settings.sizes is None else f" --sizes {settings.sizes}"
    return f"verify run {paths} --points {settings.points} --seed {settings.seed}{methods}{budget}"


def versions() -> dict[str, str]:
    """The versions of what the numbers depend on.

    >>> sorted(versions())
    ['flint', 'mpmath', 'numpy', 'python', 'sympy']
    """
    found = {"python": platform.python_version()}
    for name in ("numpy", "sympy", "mpmath", "flint"):
        found[name] = importlib.import_module(name).__version__
    return found


def run_case(path: str | Path, settings: Settings = DEFAULT) -> CaseResult:
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
    return _run_guarded(case, settings, started)


def _run_guarded(case: Case, settings: Settings, started: float | None = None) -> CaseResult:
    try:
        return run_loaded(case, settings, started)
    except Exception as fault:  # noqa: BLE001 - one case never stops the others, whatever is wrong with this program
        return CaseResult(
            case.name, case.file, source=case.source, seed=settings.seed, problems=(_own_fault(case, fault),)
        )


def run_file(path: str | Path, settings: Settings = DEFAULT) -> list[CaseResult]:
    """Runs one case file at its own sizes and, where it has ``dims``, at small other ones: a result for each.

    >>> [result.name for result in run_file(shipped_cases() / "notes" / "matmul.yaml", Settings(points=1, sizes=1))]
    ['matmul', 'matmul [m=4, k=2, n=3]']
    """
    own = run_case(path, settings)
    most = USUAL_SIZES if settings.sizes is None else settings.sizes
    if own.problems or not settings.points or not most or not _has_dims(path):
        return [own]
    return [
        own,
        *(_run_guarded(case, at_other_size(settings)) for case in other_sizes(load_case(path), settings.seed, most)),
    ]


def at_other_size(settings: Settings) -> Settings:
    """What is asked for at another size: a few points, all of which are proved.

    >>> at_other_size(Settings()).points
    8
    """
    return replace(settings, points=min(settings.points, SIZE_POINTS), kill_score=False)


def _has_dims(path: str | Path) -> bool:
    """Whether a case file may have dims; it is read again only then."""
    return "dims" in Path(path).read_text(encoding="utf-8")


def _own_fault(case: Case, fault: Exception) -> str:
    """A fault of this program, said as such: what and where, for whoever reports it."""
    where = traceback.extract_tb(fault.__traceback__)[-1]
    place = f"{Path(where.filename).name}:{where.lineno}"
    return (
        f"{case.file}: this program failed on the case; the case is not to blame. Please report it with the file: "
        f"{type(fault).__name__} in {place}: {fault}"
    )


def run_loaded(
    case: Case,
    settings: Settings,
    started: float | None = None,
    subject: Subject | None = None,
    *,
    reverse: Differentiator | None = None,
) -> CaseResult:
    """Runs one case that is in memory; a ``subject`` is judged beside the methods.

    ``reverse`` takes the place of the engine among them: one with a planted fault, to see whether it is caught.

    >>> run_loaded(load_case(shipped_cases() / "notes" / "add.yaml"), Settings(points=2)).points_checked
    3
    """
    started = time.perf_counter() if started is None else started
    if too_long(case.graph, _variables(case, settings, subject)):
        return _run_large(case, settings, started, subject)
    gathering = _Gathering(case, settings, subject, reverse)
    if not gathering.is_small:
        _keep_memory()
    for batch in _small_batches(case, settings, subject):
        gathering.judge(batch)
    for batch in _random_batches(case, settings, gathering.checked):
        gathering.add(batch)
    gathering.finish()
    result = gathering.result(time.perf_counter() - started)
    return _scored(case, settings, result, started) if settings.kill_score else result


def _scored(case: Case, settings: Settings, result: CaseResult, started: float) -> CaseResult:
    """The result with its kill score; a fault that the proved points do not show is planted into a run of its own."""
    again = replace(settings, kill_score=False, shrink=False)

    def is_caught(faulty: Differentiator) -> bool:
        if not run_loaded(case, again, reverse=faulty).passes:
            return True
        # What differs at ties and corners alone shows where a gradient that is handed in is looked at.
        subject = Subject(Interface.of(case), as_gradient(case, faulty))
        return not run_loaded(case, again, subject=subject).passes

    score = kill_score(case, result, is_caught, settings.seed)
    return replace(result, kill_score=score, seconds=time.perf_counter() - started)


def _run_large(case: Case, settings: Settings, started: float, subject: Subject | None) -> CaseResult:
    """A case that is too large to look at entry by entry, see :mod:`verify.judging.large`."""
    variables = _variables(case, settings, subject)
    others = tuple(name for name in settings.methods or METHODS if name != "central")
    methods, unsupported = _prepare(case, replace(settings, methods=others), variables)
    if subject is not None:
        methods = {SUBJECT: subject, **methods}
    batches = [own_points(case, settings.seed)]
    drawn = min(settings.points, LARGE_POINTS)
    if drawn:
        batches.append(random_points(case, settings.seed, 0, drawn, len(case.own_points)))
    count = len(case.own_points) + drawn
    accused = SUBJECT if subject is not None else ""
    return CaseResult(
        name=case.name,
        file=case.file,
        source=case.source,
        function=tuple(case.expressions.items()),
        outputs=case.graph.outputs,
        variables=tuple(large_variables(case, variables, methods, batches, settings.seed, accused)),
        points=tuple(_point(batch, p) for batch in batches for p in range(len(batch))),
        seed=settings.seed,
        points_checked=count,
        methods=(*methods, "central"),
        unsupported=unsupported,
        failures=_asked_in_vain(settings, unsupported),
        notes=(large_note(case, variables, count),),
        seconds=time.perf_counter() - started,
    )


def _asked_in_vain(settings: Settings, unsupported: Mapping[str, str]) -> tuple[str, ...]:
    """The methods that were asked for by name and cannot do a case, a sentence each."""
    return tuple(
        f"method {name} was asked for and cannot do this case: {reason}"
        for name, reason in unsupported.items()
        if name in (settings.methods or ())
    )


def _variables(case: Case, settings: Settings, subject: Subject | None) -> tuple[str, ...]:
    """What the output is differentiated by: what a subject answers for, else what the settings ask for."""
    if subject is not None:
        return _answered(case, settings, subject)
    return tuple(item.name for item in case.real_inputs) if settings.variables == "inputs" else case.variables


def _keep_memory() -> None:
    """Has the C library keep the memory of a long run's many small arrays.

    It gives freed memory back to the kernel above a threshold, which it raises when a large array is freed; without
    this, every block's arrays would be mapped anew, which takes as long as computing them.
    """
    np.ones(2**21)


def _small_batches(case: Case, settings: Settings, subject: Subject | None) -> Iterator[Batch]:
    """Own points, points on kinks, and for a subject those where its code or the expression may change its mind."""
    own = own_points(case, settings.seed)
    yield own
    if not settings.points:
        return
    program = Program(case.graph.opened())
    kinked = kink_points(case, program, settings.seed, len(own))
    if kinked is not None:
        yield kinked
    if subject is None:
        return
    first_id = len(own) + (len(kinked) if kinked is not None else 0)
    literals = [node.value for node in case.graph.nodes if node.kind == "constant" and node.value]
    constants = tuple(dict.fromkeys((*constants_of(subject.gradient), *literals)))
    found = search_points(
        case,
        program,
        settings.seed,
        first_id,
        kinks=kinked,
        constants=constants,
        stored=stored_points(subject.gradient, case) if settings.shrink else (),
        points=settings.points,
    )
    if found is not None:
        yield found


def _random_batches(case: Case, settings: Settings, first_id: int) -> Iterator[Batch]:
    """Random points in blocks that fit the cache."""
    size = block_size(case.graph)
    for number in range(math.ceil(settings.points / RANDOM_BLOCK)):
        count = min(RANDOM_BLOCK, settings.points - number * RANDOM_BLOCK)
        drawn = random_points(case, settings.seed, number, count, first_id + number * RANDOM_BLOCK)
        for start in range(0, count, size):
            yield drawn.part(slice(start, start + size))


# ------------------------------------------------------------------------------------------------ gathering results


@dataclass(slots=True)
class _Column:
    """What is kept of one variable, batch after batch."""

    entries: int
    kept: list[Block] = field(default_factory=list)
    kept_ids: list[Array] = field(default_factory=list)
    kept_entries: list[Array] = field(default_factory=list)
    counts: Counter[Verdict] = field(default_factory=Counter)
    checked: int = 0
    failed: int = 0
    suspicious: int = 0
    largest: dict[tuple[str, str], tuple[float, int, int]] = field(default_factory=dict)
    """Pair -> largest difference, id of its point, entry."""
    magnitude: float = 0.0
    strength: Strength = field(default_factory=Strength)
    """What its proved rows could have told, once all are judged."""

    def measure(
        self, pair: tuple[str, str], difference: Array, ids: Array, left_out: Array | None = None
    ) -> int | None:
        """Takes note of a pair's differences ``(P, n)``; returns the place of the point if one is the largest so far.

        ``left_out`` ``(P,)`` marks points that are measured elsewhere.
        """
        so_far = self.largest.get(pair, (-1.0, 0, 0))[0]
        if difference.max(initial=-1.0) <= so_far:
            return None
        if left_out is not None:
            difference[left_out] = -1.0
        largest = float(np.fmax.reduce(difference, axis=None, initial=-1.0))
        if not largest > so_far:
            return None
        p, entry = divmod(int(np.flatnonzero(difference == largest)[0]), self.entries)
        self.largest[pair] = (largest, int(ids[p]), entry)
        return p

    def see(self, values: Array) -> None:
        """Takes note of whether the gradient is anywhere other than zero."""
        if self.magnitude == 0.0:
            finite = values[np.isfinite(values)]
            self.magnitude = float(np.max(np.abs(finite), initial=0.0))


class _Gathering:
    """Everything that is found about one case while its batches are judged.

    In a small run every point is judged closely and every row is kept. In a large one points are screened; those that
    look suspicious wait until there are enough of them for one close look, and the others are counted as passing.
    """

    def __init__(
        self,
        case: Case,
        settings: Settings,
        subject: Subject | None = None,
        reverse: Differentiator | None = None,
    ) -> None:
        self.case, self.settings = case, settings
        self.variables = _variables(case, settings, subject)
        self.methods, self.unsupported = _prepare(case, settings, self.variables)
        if reverse is not None and "reverse" in self.methods:
            self.methods["reverse"] = reverse
        if subject is not None:
            self.methods = {SUBJECT: subject, **self.methods}
        self.dtype = str(np.result_type(*(item.dtype for item in case.inputs))) if case.inputs else "float64"
        budget = settings.proof_bits, settings.proof_seconds
        self.context = Context(case, self.methods, self.variables, *budget)
        self.judging = Judge(self.context)
        self.columns: dict[RowKey, _Column] = {}
        self.points: dict[int, Point] = {}
        self.checked = 0
        self.is_small = settings.points + len(case.own_points) <= KEEP_ALL
        self.waiting: list[Batch] = []
        self.worst: dict[tuple[RowKey, tuple[str, str]], Batch] = {}
        self.reached = Reached(case, self.context.engine.program) if subject is not None else None

    def add(self, batch: Batch) -> None:
        """Takes in random points."""
        if self.is_small:
            self.judge(batch)
            return
        sampled = max(0, SAMPLE - self.checked)
        if sampled:
            self.judge(batch.part(slice(0, sampled)))
            batch = batch.part(slice(sampled, None))
        if not len(batch):
            return
        screened = self.judging.screen(batch)
        suspicious = screened.suspicious
        clean = len(batch) - int(np.count_nonzero(suspicious))
        if clean < len(batch):
            self.waiting.append(batch.part(np.flatnonzero(suspicious)))
        self.checked += clean
        for key, differences in screened.differences.items():
            column = self._column(key)
            column.counts[Verdict.PASS] += clean * column.entries
            column.checked += clean * column.entries
            if key[1] == "gradient" and "reverse" in screened.answers:
                column.see(screened.answers["reverse"].gradients[key[0]])
            for pair, difference in differences.items():
                p = column.measure(pair, difference, batch.ids, suspicious)
                if p is not None:
                    self.worst[key, pair] = batch.part(np.array([p]))
        if sum(map(len, self.waiting)) >= RANDOM_BLOCK:
            self._judge_waiting()

    def judge(self, batch: Batch) -> None:
        """Judges every point of a batch closely, and keeps its rows: all of them, or in a large run the odd ones."""
        keep_all = self.is_small or self.checked < SAMPLE
        self.checked += len(batch)
        if self.reached is not None:
            self.reached.see(batch.inputs)
        for block in self.judging.judge(batch):
            column = self._column((block.name, block.quantity))
            codes = np.bincount(block.verdict.ravel(), minlength=len(VERDICTS))
            column.counts.update({verdict: int(n) for verdict, n in zip(VERDICTS, codes, strict=True) if n})
            column.checked += block.verdict.size
            column.failed += int(np.count_nonzero(~block.passes))
            if block.quantity == "gradient" and "reverse" in block.values:
                column.see(block.values["reverse"])
            with np.errstate(all="ignore"):
                for pair in self.context.pairs:
                    if pair[0] in block.values and pair[1] in block.values:
                        difference = np.abs(block.values[pair[0]] - block.values[pair[1]])
                        if column.measure(pair, difference, batch.ids) is not None:
                            self.worst.pop(((block.name, block.quantity), pair), None)
            odd = np.ones_like(block.passes) if keep_all else ~block.passes | (block.verdict != 0)
            self._keep(column, block, batch, odd, MOST_SUSPICIOUS - column.suspicious if not keep_all else None)

    def _keep(self, column: _Column, block: Block, batch: Batch, rows: Array, most: int | None) -> None:
        points, entries = (index[:most] for index in np.nonzero(rows))
        if most is not None:
            column.suspicious += len(points)
        if not len(points):
            return
        column.kept.append(block.rows((points, entries)))
        column.kept_ids.append(batch.ids[points])
        column.kept_entries.append(entries)
        for p in np.unique(points).tolist():
            self.points.setdefault(int(batch.ids[p]), _point(batch, p))

    def _column(self, key: RowKey) -> _Column:
        if key not in self.columns:
            self.columns[key] = _Column(math.prod(self.case.graph.shape(key[0])))
        return self.columns[key]

    def _judge_waiting(self) -> None:
        waiting, self.waiting = joined(self.waiting), []
        self.judge(waiting)

    def finish(self) -> None:
        """Judges what still waits, and keeps the rows with the largest differences, which were counted already."""
        if self.waiting:
            self._judge_waiting()
        for (key, pair), batch in self.worst.items():
            _, point, entry = self.columns[key].largest[pair]
            for block in self.judging.judge(batch):
                if (block.name, block.quantity) == key and point == batch.ids[0]:
                    rows = np.zeros_like(block.passes)
                    rows[0, entry] = True
                    self._keep(self.columns[key], block, batch, rows, None)

    def result(self, seconds: float) -> CaseResult:
        """The record of the case."""
        case, settings = self.case, self.settings
        # The steps of central say nothing of a subject, and a case at another size has no point of its own.
        has_laws = "central" in self.methods and SUBJECT not in self.methods and case.own_points
        variables = tuple(self._variable(key, column) for key, column in self.columns.items())
        return CaseResult(
            name=case.name,
            file=case.file,
            source=case.source,
            function=tuple(case.expressions.items()),
            outputs=case.graph.outputs,
            variables=variables,
            points=tuple(self.points.values()),
            stages=_stage_records(case, settings, self.methods.get("symbolic")) if case.own_points else (),
            kinks=tuple(self.context.kinks.values()),
            step_laws=step_laws(self.context, own_points(case, settings.seed)) if has_laws else (),
            seed=settings.seed,
            points_checked=self.checked,
            methods=tuple(sorted(self.methods, key=lambda name: (*METHODS, name).index(name))),
            unsupported=self.unsupported,
            failures=_asked_in_vain(settings, self.unsupported),
            notes=self._notes(),
            weaknesses=self._weaknesses(),
            seconds=seconds,
        )

    def _notes(self) -> tuple[str, ...]:
        """What a reader should know beside the rows."""
        notes = [f"{text} ({count} rows)" for text, count in self.context.notes.items()]
        if not self.is_small:
            notes.append(f"{self.checked:,} points: kept are the rows that do not simply pass, the worst, and a sample")
        return (*notes, *self._weaknesses())

    def _weaknesses(self) -> tuple[str, ...]:
        """Why the check could not have told a wrong gradient from a right one."""
        if self.checked < LEAST_TELLING:
            return ()
        told = []
        for (name, quantity), column in self.columns.items():
            # Of a subject not every point is proved: that the truth is 0 at those that are says nothing of the others.
            is_zero = column.magnitude == 0.0 or (column.strength.is_zero and SUBJECT not in self.methods)
            if quantity == "gradient" and is_zero:
                told.append(f"{name}: the gradient is zero at every point, so a wrong factor cannot be caught here")
        return (*told, *(self.reached.weaknesses() if self.reached is not None else ()))

    def _variable(self, key: RowKey, column: _Column) -> VariableResult:
        case, (name, quantity) = self.case, key
        rows = _rows(column, self.context.texts.all())
        found = column.strength = strength(rows, column.entries)
        if found.is_too_weak and quantity == "gradient":
            rows = self._too_weak(column, rows)
        symbolic = self.methods.get("symbolic")
        shown = isinstance(symbolic, Symbolic) and quantity == "gradient"
        closed = symbolic.closed_form(name) if isinstance(symbolic, Symbolic) and shown else ClosedForm("")
        shape = case.graph.shape(name)
        return VariableResult(
            case=case.name,
            name=name,
            role=_role(case, name),
            quantity=quantity,
            shape=shape,
            file=case.file,
            line=case.lines.get(name, 0),
            rows=rows,
            checked=column.checked,
            counts=column.counts,
            failed=column.failed,
            differences=tuple(_pair_difference(column, pair, shape) for pair in self.context.pairs),
            dtype=self.dtype,
            proved=found.proved,
            weak=found.weak,
            power=found.power,
            form=closed.form,
            closed_forms=closed.formulas,
        )

    def _too_weak(self, column: _Column, rows: Rows) -> Rows:
        """The rows of a variable that no proved row could tell anything about: what passed is undecided."""
        passed = np.isfinite(np.asarray(rows.reference)) & (rows.verdict == CODE[Verdict.PASS])
        own = passed & (rows.point < len(self.case.own_points))
        reason = self.context.texts.number(TOO_WEAK)
        column.counts[Verdict.PASS] -= int(np.count_nonzero(passed))
        column.counts[Verdict.UNDECIDED] += int(np.count_nonzero(passed))
        column.failed += int(np.count_nonzero(own & rows.passes))
        return replace(
            rows,
            verdict=np.where(passed, CODE[Verdict.UNDECIDED], rows.verdict).astype(np.int8),
            passes=rows.passes & ~own,
            reason=np.where(passed, reason, rows.reason),
            texts=self.context.texts.all(),
        )


def _answered(case: Case, settings: Settings, subject: Subject) -> tuple[str, ...]:
    """The variables that a subject gives gradients for, by its answer at the case's first point."""
    first = subject.differentiate(*own_points(case, settings.seed).take(np.array([0])))
    return tuple(name for name in case.variables if name in first.gradients)


def _prepare(
    case: Case, settings: Settings, variables: Sequence[str]
) -> tuple[dict[str, Differentiator], dict[str, str]]:
    methods: dict[str, Differentiator] = {}
    unsupported: dict[str, str] = {}
    for name in settings.methods or METHODS:
        answer = _prepared(name, case, tuple(variables), cached=settings.cached)
        if isinstance(answer, Unsupported):
            unsupported[name] = answer.reason
        else:
            methods[name] = answer
    return methods, unsupported


def _prepared(name: str, case: Case, variables: tuple[str, ...], *, cached: bool) -> Differentiator | Unsupported:
    """A method made ready; what SymPy takes long for is kept between runs."""
    if not cached or name != "symbolic":
        return prepare(name, case.graph, variables)

    def derived() -> Differentiator | Unsupported:
        answer = prepare(name, case.graph, variables)
        return answer.written_out() if isinstance(answer, Symbolic) else answer

    return remembered(graph_key(name, case.graph, variables), derived)


def _rows(column: _Column, texts: tuple[str, ...]) -> Rows:
    blocks = column.kept
    length = sum(map(len, column.kept_ids))

    def joined_as(arrays: list[Array], dtype: Any) -> Array:
        return np.concatenate(arrays).astype(dtype) if arrays else np.zeros(0, dtype=dtype)

    return Rows(
        point=joined_as(column.kept_ids, np.int64),
        entry=joined_as(column.kept_entries, np.int64),
        values={
            method: joined_as([block.values[method] for block in blocks], np.float64)
            if blocks and method in blocks[0].values
            else np.full(length, np.nan)
            for method in (*METHODS, *(m for m in (blocks[0].values if blocks else ()) if m not in METHODS))
        },
        expected=joined_as([block.expected for block in blocks], np.float64),
        verdict=joined_as([block.verdict for block in blocks], np.int8),
        passes=joined_as([block.passes for block in blocks], np.bool_),
        reason=joined_as([block.reason for block in blocks], np.int64),
        suspect=joined_as([block.suspect for block in blocks], np.int64),
        texts=texts,
        reference=joined_as([block.reference for block in blocks], np.float64),
        radius=joined_as([block.radius for block in blocks], np.float64),
        allowed=joined_as([block.allowed for block in blocks], np.float64),
        step_error=joined_as([block.step_error for block in blocks], np.float64),
        errors={
            method: joined_as([block.errors[method] for block in blocks], np.float64)
            for method in (blocks[0].errors if blocks else ())
        },
        road=joined_as([block.road for block in blocks], np.int64),
    )


def _role(case: Case, name: str) -> Literal["input", "stage", "output"]:
    if name in case.graph.outputs:
        return "output"
    return "stage" if name in case.graph.stages else "input"


def _pair_difference(column: _Column, pair: tuple[str, str], shape: tuple[int, ...]) -> PairDifference:
    if pair not in column.largest:
        return PairDifference(pair, math.nan, -1, ())
    value, point, entry = column.largest[pair]
    return PairDifference(pair, value, point, unravel(entry, shape))


def _point(batch: Batch, p: int) -> Point:
    values: dict[str, Any] = {name: value[p] for name, value in batch.inputs.items()}
    values |= {f"upstream of {n}": seed[p] for n, seed in batch.upstream.items() if seed[p].ndim or seed[p] != 1}
    return Point(
        id=int(batch.ids[p]),
        origin=batch.origins[p],
        own=batch.own,
        values=values,
        note=batch.notes[p] if batch.notes else "",
        line=batch.lines[p] if batch.lines else 0,
    )


# ------------------------------------------------------------------------------------- the forward and backward pass


def _stage_records(
    case: Case, settings: Settings, symbolic: Differentiator | Unsupported | None
) -> tuple[StageRecord, ...]:
    """The notes' forward and backward pass, side by side, at the case's first own point."""
    if symbolic is None:
        symbolic = prepare("symbolic", case.graph, case.variables)
    batch = own_points(case, settings.seed)
    first = np.array([0])
    inputs, upstream = batch.take(first)
    engine = Reverse(case.graph, case.variables)
    values = engine.program.run(inputs)
    gradients = engine.backward(values, upstream)
    records = []
    for name in (*case.graph.inputs, *case.graph.stages):
        shape = case.graph.shape(name)
        gradient = gradients.get(name)
        is_stage = name in case.graph.stages
        formulas = symbolic.local_derivatives(name) if is_stage and isinstance(symbolic, Symbolic) else {}
        sent = engine.sent_back(values, name, gradient) if is_stage else {}
        records.append(
            StageRecord(
                name=name,
                expression=case.expressions.get(name, ""),
                line=case.lines.get(name, 0),
                shape=shape,
                value=np.array(values[case.graph.position(name)][0]),
                local_derivatives=formulas,
                gradient=np.full(shape, np.nan) if gradient is None else np.array(gradient[0]),
                contributions={operand: np.array(part[0]) for operand, part in sent.items()},
            )
        )
    return tuple(records)

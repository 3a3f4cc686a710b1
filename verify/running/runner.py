"""Cases x points x methods: reads case files, runs them, and gathers what was found into records."""

from __future__ import annotations

import datetime as dt
import math
import os
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor
from contextlib import suppress
from dataclasses import replace
from functools import partial
from itertools import chain
from pathlib import Path
from shlex import join
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from verify.case.case import Case, load_case_text
from verify.case.yaml_source import source_text
from verify.errors import CaseError, LimitError
from verify.graph.derivative import Differentiator
from verify.graph.interpret import REAL_CONSTANTS, Program, block_size
from verify.graph.lengths import opened
from verify.judging.large import large_note, large_variables
from verify.limits import case_limits, step
from verify.methods.central import too_long
from verify.places.points import RANDOM_BLOCK, Batch, kink_points, own_points, random_points, spread_points
from verify.places.search import search_points
from verify.places.sizes import other_sizes
from verify.records import METHODS, SUBJECT, CaseResult, Finding, Run
from verify.running.cache import keep, recalled, text_key
from verify.running.codec import packed
from verify.running.executing import Execution
from verify.running.gathering import Gathering, point_record
from verify.running.journal import Journal
from verify.running.preparing import held_to_proof, prepared_methods, result_of, variables_of
from verify.running.screening import Screening
from verify.running.second_orders import with_second_orders
from verify.running.settings import DEFAULT, USUAL_SIZES, Settings, check_settings, told
from verify.running.units import Blocks, OtherVersionsError, asked_of, blocks_of, versions
from verify.running.workers import Workers
from verify.subjects.code_constants import constants_of
from verify.subjects.interface import Interface
from verify.subjects.subject import Subject
from verify.truth.reference import MOST_BITS, MOST_WORK
from verify.variants.kill_score import as_gradient, kill_score
from verify.words import FindingKind, Unproved, Verdict

Array = NDArray[Any]


LARGE_POINTS = 1
"""Random points of a case that is too large to look at entry by entry."""


LARGE_ORDER = "second derivatives of a case of this size are not looked at: order: 2 and its figures are left out"
"""What is said of a case that asks for them and is too large."""

MOST_NAMED = 3
"""Case files that a run's command names one by one."""

SIZE_POINTS = 8
"""Random points at another size, at most: all of them are proved."""

NOTHING: Blocks = MappingProxyType({})
"""No block was looked at elsewhere."""

_ALONE = threading.Lock()
"""The precision of mpmath and flint is one for a process: of several threads, one computes at a time."""


# --------------------------------------------------------------------------------------------------- running cases


def run_cases(
    files: Sequence[Path],
    settings: Settings,
    *,
    jobs: int = 1,
    executor: Executor | None = None,
    fail_fast: bool = False,
    on_result: Callable[[CaseResult], None] | None = None,
    journal: Journal | None = None,
) -> Run:
    """Runs case files, ``jobs`` at a time, and gathers the results in the order of the files.

    ``executor``, of any kind that :mod:`concurrent.futures` knows, runs them in place of processes of our own: each
    case at one size is a call that it is given. ``fail_fast`` stops after the first case that does not pass;
    ``on_result`` is told of each as it is finished. A ``journal`` keeps results on the disk, where they are many, and
    has those of a run that is resumed. Raises UsageError for a method that does not exist or settings out of range, and
    where a worker of the executor has other versions.

    >>> from verify.case.files import find_case_files, shipped_cases
    >>> run = run_cases(find_case_files([shipped_cases() / "notes"], pick="neuron"), Settings(points=2))
    >>> run.exit_code, [case.status for case in run.cases]
    (0, ['PASS'])
    """
    check_settings(settings, jobs)
    started = time.perf_counter()
    journal = Journal(most_rows=math.inf) if journal is None else journal
    done: set[str] = set()
    again: Counter[str] = Counter()

    def run(*, is_interrupted: bool = False) -> Run:
        missing = len({str(path) for path in files} - done)
        return Run(
            cases=journal.cases(files),
            stored=journal.stored(files),
            seed=settings.seed,
            points=settings.points,
            methods=settings.methods or METHODS,
            versions=versions(),
            command=_command(files, settings),
            started=dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
            seconds=time.perf_counter() - started,
            left_out=missing or int(is_interrupted),  # where each has a result, the last lacks other sizes
            again=dict(again),
            asked=told(settings),
        )

    try:
        for result in chain(journal.resumed(files), _new_results(files, settings, journal, jobs, executor, again)):
            done.add(result.file)
            if on_result is not None:
                on_result(result)
            if fail_fast and not result.passes:
                break
    except KeyboardInterrupt:
        raise RunInterrupted(run(is_interrupted=True)) from None
    return run()


class RunInterrupted(KeyboardInterrupt):
    """A run that the user interrupted; carries what was done until then."""

    def __init__(self, run: Run) -> None:
        super().__init__(f"interrupted: {run.left_out} cases were not run")
        self.run = run


def _new_results(files: Sequence[Path], settings: Settings, journal: Journal, *how: Any) -> Iterator[CaseResult]:
    """The results of files that an unfinished run was not done with; they are written down before they are told."""
    for result in _results([path for path in files if not journal.has(path)], settings, *how):
        journal.add(result)
        yield result


def _results(
    files: Sequence[Path], settings: Settings, jobs: int, executor: Executor | None, again: Counter[str]
) -> Iterator[CaseResult]:
    """The results of all sizes of all files, as they come; ``again`` counts the files that were run again."""
    # A limit on memory is kept by a process that may end: libraries end theirs where memory is refused.
    if executor is None and settings.case_memory is None and (jobs == 1 or len(files) <= 1):
        for path in files:
            yield from each_size(path, settings)
        return
    changed = []
    for path in files:
        found = unchanged(path, settings)
        if found is None:
            changed.append(path)
        else:
            yield from found
    if executor is None:
        yield from Workers(each_size, settings, jobs, again=again).results(changed)
    else:
        yield from Execution(executor, run_task, source_text, settings, again).results(changed)


def _command(files: Sequence[Path], settings: Settings) -> str:
    methods = f" --methods {','.join(settings.methods)}" if settings.methods else ""
    budget = "" if settings.proof_work == MOST_WORK else f" --proof-work {settings.proof_work}"
    budget += "" if settings.proof_bits == MOST_BITS else f" --proof-bits {settings.proof_bits}"
    budget += " --require-proof" if settings.require_proof else ""
    budget += "" if settings.case_memory is None else f" --case-memory {settings.case_memory}"
    budget += "" if settings.case_seconds == DEFAULT.case_seconds else f" --case-seconds {settings.case_seconds:g}"
    budget += " --kill-score" if settings.kill_score else ""
    budget += "" if settings.sizes is None else f" --sizes {settings.sizes}"
    return f"verify run {_named(files)} --points {settings.points} --seed {settings.seed}{methods}{budget}"


def _named(files: Sequence[Path]) -> str:
    """Case files as a command names them; many by the folder that holds them, where one does.

    >>> _named([Path("my cases", f"{name}.yaml") for name in "abcd"]), _named([Path("/a.yaml"), Path("b.yaml")])
    ("'my cases'", '/a.yaml b.yaml')
    """
    many = [str(path) for path in files]
    with suppress(ValueError):  # absolute and relative ones, or on two drives
        many = [os.path.commonpath(many) or "."] if len(many) > MOST_NAMED else many
    return join(many)


def run_case(path: str | Path, settings: Settings = DEFAULT) -> CaseResult:
    """Runs one case file. A case that cannot be read is a result with its problems, never an exception.

    >>> run_case(Path("nowhere.yaml"), Settings()).status
    'ERROR'
    """
    result, _ = _own_size(path, settings)
    return result


def _own_size(
    path: str | Path, settings: Settings, text: str | None = None, screened: Blocks = NOTHING
) -> tuple[CaseResult, Case | None]:
    """The result of a case file at its own sizes, and the case if it could be read; ``text`` is what the file holds."""
    started, read = time.perf_counter(), []

    def run() -> CaseResult:
        with step("reading the case"):
            case = load_case_text(source_text(path) if text is None else text, str(path))
        read.append(case)
        result = run_loaded(case, settings, started, screened=screened)
        return replace(result, findings=(*_shadowing(case), *result.findings))

    result = guarded(Path(path).stem, str(path), settings, run)
    return result, read[0] if read else None


def guarded(name: str, file: str, settings: Settings, run: Callable[[], CaseResult]) -> CaseResult:
    """A result within the limits of one case; whatever ends it is an error of this case alone.

    >>> guarded("f", "f.yaml", Settings(), lambda: 1 / 0).problems
    ('f.yaml: this program failed on the case; the case is not to blame. Please report it with the file: ...',)
    """
    try:
        with case_limits(settings.case_seconds, settings.call_seconds, settings.case_memory):
            return run()
    except CaseError as error:
        problems = error.told()
        lines = tuple(problem.line for problem in error.problems[: len(problems)])
        return CaseResult(name, file, seed=settings.seed, problems=problems, problem_lines=lines)
    except LimitError as error:
        problems = (f"{file}: {error}",)
    except (Exception, SystemExit) as fault:  # noqa: BLE001 - one case never stops the others, whatever is wrong
        problems = (_own_fault(file, fault),)
    return CaseResult(name, file, seed=settings.seed, problems=problems)


def _shadowing(case: Case) -> Iterator[Finding]:
    """Names of the case that formulas no longer read as the numbers they usually are."""
    for name, line in case.shadowed.items():
        number = f"{REAL_CONSTANTS[name]:.6g}"
        said = f"{case.file}:{line} gives the name '{name}' to something else, so that no formula can mean {number}"
        yield Finding(FindingKind.SHADOWED_CONSTANT, name, f"{said}. Rename it if one does", fails=False)


def run_file(path: str | Path, settings: Settings = DEFAULT) -> list[CaseResult]:
    """Runs one case file at its own sizes and, where it has ``dims``, at small other ones: a result for each.

    >>> from verify.case.files import shipped_cases
    >>> [result.name for result in run_file(shipped_cases() / "notes" / "matmul.yaml", Settings(points=1, sizes=1))]
    ['matmul', 'matmul [m=4, k=2, n=3]']
    """
    return list(each_size(path, settings))


def each_size(path: str | Path, settings: Settings) -> Iterator[CaseResult]:
    """The results of :func:`run_file`, each as it is finished.

    >>> [result.status for result in each_size("nowhere.yaml", Settings())]
    ['ERROR']
    """
    found: list[CaseResult] = []
    try:
        text = source_text(path)
        key = _run_key(path, text, settings)
        known = _unchanged(key)
        for result in _run_sizes(path, text, settings) if known is None else known:
            found.append(result)
            yield result
        if known is None and all(map(_is_settled, found)):
            keep(key, found)
    except CaseError as error:
        yield _unrun(path, settings, error.told())
    except Exception as fault:  # noqa: BLE001 - what a library raises where nobody foresaw it
        yield _unrun(path, settings, (_own_fault(str(path), fault),))


def _unrun(path: str | Path, settings: Settings, problems: tuple[str, ...]) -> CaseResult:
    return CaseResult(Path(path).stem, str(path), seed=settings.seed, problems=problems)


def unchanged(path: str | Path, settings: Settings) -> list[CaseResult] | None:
    """What was found when a case file was last run, where it passed and nothing has changed since; else None.

    >>> unchanged("nowhere.yaml", Settings(cached=True)) is None
    True
    """
    try:
        return _unchanged(_run_key(path, source_text(path), settings)) if settings.cached else None
    except Exception:  # noqa: BLE001 - whoever runs the case meets it too, and tells
        return None


def _unchanged(key: str) -> list[CaseResult] | None:
    found = recalled(key)
    if not isinstance(found, list) or not found or not all(map(_is_settled, found)):
        return None
    return [replace(result, unchanged=True) for result in found]


def _is_settled(result: Any) -> bool:
    """Whether a case need not be run again; what was out of time may be decided next time."""
    return isinstance(result, CaseResult) and result.passes and not result.counts[Verdict.UNDECIDED]


def key_of_run(files: Sequence[Path], settings: Settings) -> str:
    """What everything that a run finds follows from, times apart; empty where it may be more than is known.

    >>> key_of_run([], Settings(cached=True)) != "", key_of_run([], Settings(cached=False))
    (True, '')
    """
    try:
        keys = [_run_key(path, source_text(path), settings) for path in files]
    except CaseError:  # a file that went away meanwhile
        return ""
    return text_key("runs", *keys) if all(keys) and settings.cached else ""


def _run_key(path: str | Path, text: str, settings: Settings) -> str:
    """What a run of a case file depends on; empty where it may depend on more, or is to be run in any case."""
    if not settings.cached or not set(settings.methods or METHODS) <= set(METHODS):
        return ""
    return text_key("run", str(path), text, repr(settings))


def _run_sizes(path: str | Path, text: str, settings: Settings, screened: Blocks = NOTHING) -> Iterator[CaseResult]:
    own, read = _own_size(path, settings, text, screened)
    others = [] if read is None or own.problems else _others(read, settings)
    yield replace(own, sizes=len(others))
    yield from (_other_size(case, settings) for case in others)


def _others(case: Case, settings: Settings) -> list[Case]:
    """A case at the other sizes at which it is run too."""
    most = USUAL_SIZES if settings.sizes is None else settings.sizes
    return other_sizes(case, settings.seed, most) if settings.points and most else []


def _other_size(case: Case, settings: Settings) -> CaseResult:
    run = partial(run_loaded, case, at_other_size(settings))
    return guarded(case.name, case.file, settings, run)


def run_size(file: str, text: str, settings: Settings, number: int, screened: Blocks = NOTHING) -> CaseResult:
    """The result of a case at one of its sizes, 0 for its own, which says how many others there are.

    What :func:`each_size` does in turn, where each size may be run elsewhere; ``text`` is what the file holds.

    >>> from verify.case.files import shipped_cases
    >>> text = (shipped_cases() / "notes" / "matmul.yaml").read_text()
    >>> [run_size("matmul.yaml", text, Settings(points=1), number).name for number in (0, 2)]
    ['matmul', 'matmul [m=1, k=3, n=3]']
    """
    try:
        if not number:
            return next(_run_sizes(file, text, settings, screened))
        return _other_size(_others(load_case_text(text, file), settings)[number - 1], settings)
    except Exception as fault:  # noqa: BLE001 - what a library raises where nobody foresaw it
        return _unrun(file, settings, (_own_fault(file, fault),))


def run_task(task: str) -> bytes:
    """Runs a unit that came as text, wherever this is; the result as bytes, or how versions differ.

    >>> from verify.running.units import Unit, answer_of, task_of
    >>> text = "{case: f, inputs: {x: {at: 3}}, stages: {f: x}}"
    >>> answer_of(run_task(task_of(Unit("f.yaml", text), Settings(points=1)))).status
    'PASS'
    """
    try:
        unit, settings = asked_of(task)
    except OtherVersionsError as error:
        return packed(str(error))
    with _ALONE:
        if unit.blocks is not None:
            return packed(screened_blocks(unit.file, unit.text, settings, unit.blocks))
        return packed(run_size(unit.file, unit.text, settings, unit.number, blocks_of(unit.screened)))


def at_other_size(settings: Settings) -> Settings:
    """What is asked for at another size: a few points, all of which are proved.

    >>> at_other_size(Settings()).points
    8
    """
    return replace(settings, points=min(settings.points, SIZE_POINTS), kill_score=False)


def _own_fault(file: str, fault: BaseException) -> str:
    """What nobody foresaw: a fault of this program, with its place for whoever reports it."""
    where = traceback.extract_tb(fault.__traceback__)[-1]
    place = f"{Path(where.filename).name}:{where.lineno}"
    return (
        f"{file}: this program failed on the case; the case is not to blame. Please report it with the file: "
        f"{type(fault).__name__} in {place}: {fault}"
    )


def run_loaded(
    case: Case,
    settings: Settings,
    started: float | None = None,
    subject: Subject | None = None,
    *,
    reverse: Differentiator | None = None,
    only: Batch | None = None,
    screened: Blocks = NOTHING,
) -> CaseResult:
    """Runs one case that is in memory; a ``subject`` is judged beside the methods.

    ``reverse`` takes the place of the engine among them: one with a planted fault, to see whether it is caught.
    ``only`` gives the points to look at, in place of all others. ``screened`` is what was found in blocks of random
    points elsewhere, by :func:`screened_blocks`.

    >>> from verify.case.files import shipped_cases
    >>> from verify.case.case import load_case
    >>> run_loaded(load_case(shipped_cases() / "notes" / "add.yaml"), Settings(points=2)).points_checked
    3
    """
    started = time.perf_counter() if started is None else started
    if too_long(case.graph, variables_of(case, settings, subject)):
        with step("looking at a large case along directions"):
            return held_to_proof(settings, _run_large(case, settings, started, subject, only))
    gathering = Gathering(case, settings, subject, reverse)
    if not gathering.is_small:
        _keep_memory()
    with step("looking at the case's own points and at kinks"):
        small = _small_batches(case, settings, subject) if only is None else iter([only])
        for batch in small:
            part = batch if subject is None else subject.judged_at(batch)
            if len(part):
                gathering.judge(part)
    with step("looking at random points"):
        first_id = gathering.checked
        for number in range(math.ceil(settings.points / RANDOM_BLOCK)) if only is None else ():
            known = iter(screened.get(number, ()))
            for batch in _random_batches(case, settings, number, first_id):
                part = batch if subject is None else subject.judged_at(batch)
                if len(part):
                    gathering.add(part, next(known, None))
        gathering.finish()
    with step("going through the stages and the steps of central differences"):
        result = gathering.result(time.perf_counter() - started)
    if case.order > 1 and subject is None and reverse is None:
        with step("looking at second derivatives"):
            result = with_second_orders(case, settings, result)
    result = held_to_proof(settings, result)
    if not settings.kill_score:
        return result
    with step("planting faults"):
        return _scored(case, settings, result, started)


def _scored(case: Case, settings: Settings, result: CaseResult, started: float) -> CaseResult:
    """The result with its kill score; a fault that the proved points do not show is planted into a run of its own."""
    again = replace(settings, kill_score=False, shrink=False, require_proof=False)

    def is_caught(faulty: Differentiator) -> bool:
        if not run_loaded(case, again, reverse=faulty).passes:
            return True
        # What differs at ties and corners alone shows where a gradient that is handed in is looked at.
        subject = Subject(Interface.of(case), as_gradient(case, faulty))
        return not run_loaded(case, again, subject=subject).passes

    score = kill_score(case, result, is_caught, settings.seed)
    return replace(result, kill_score=score, seconds=time.perf_counter() - started)


def _run_large(
    case: Case, settings: Settings, started: float, subject: Subject | None, only: Batch | None = None
) -> CaseResult:
    """A case that is too large to look at entry by entry, see :mod:`verify.judging.large`."""
    variables = variables_of(case, settings, subject)
    others = tuple(name for name in settings.methods or METHODS if name != "central")
    methods, unsupported = prepared_methods(case, replace(settings, methods=others), variables)
    if subject is not None:
        methods = {SUBJECT: subject, **methods}
    batches = [own_points(case, settings.seed)]
    drawn = min(settings.points, LARGE_POINTS)
    if drawn:
        batches.append(random_points(case, settings.seed, 0, drawn, len(case.own_points)))
    batches = batches if only is None else [only]
    if subject is not None:
        batches = [part for part in map(subject.judged_at, batches) if len(part)]
    count = sum(map(len, batches))
    found = tuple(large_variables(case, variables, methods, batches, settings.seed))
    return result_of(
        case,
        settings,
        unsupported,
        variables=found,
        points=tuple(point_record(batch, p) for batch in batches for p in range(len(batch))),
        points_checked=count,
        methods=(*methods, "central"),
        notes=(large_note(case, variables, count), *([LARGE_ORDER] if case.order > 1 and subject is None else [])),
        unproved={Unproved.TOO_LARGE: sum(variable.checked for variable in found)},
        seconds=time.perf_counter() - started,
    )


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
    program = Program(opened(case.graph, known=case.known))
    kinked = kink_points(case, program, settings.seed, len(own))
    if kinked is not None:
        yield kinked
    if subject is None:
        return
    first_id = len(own) + (len(kinked) if kinked is not None else 0)
    spread = spread_points(case, settings.seed, first_id, settings.points)
    if spread is not None:
        yield spread
        first_id += len(spread)
    literals = [node.value for node in case.graph.nodes if node.kind == "constant" and node.value]
    constants = tuple(dict.fromkeys((*constants_of(subject.gradient), *literals)))
    found = search_points(
        case,
        program,
        settings.seed,
        first_id,
        kinks=kinked,
        constants=constants,
        points=settings.points,
    )
    if found is not None:
        yield found


def _random_batches(case: Case, settings: Settings, number: int, first_id: int) -> Iterator[Batch]:
    """A block of random points, in parts that fit the cache."""
    size = block_size(case.graph)
    count = min(RANDOM_BLOCK, settings.points - number * RANDOM_BLOCK)
    drawn = random_points(case, settings.seed, number, count, first_id + number * RANDOM_BLOCK)
    for start in range(0, count, size):
        yield drawn.part(slice(start, start + size))


def screened_blocks(file: str, text: str, settings: Settings, blocks: tuple[int, int]) -> list[list[Screening]]:
    """What a quick look at some blocks of a case's random points finds, block by block, each of some batches.

    Nothing of a case that cannot be read, or that is looked at otherwise: whoever runs it tells.

    >>> text = "{case: f, inputs: {x: {at: 3, domain: [1, 4]}}, stages: {f: exp(x) * x}}"
    >>> [[found]] = screened_blocks("f.yaml", text, Settings(points=4100), (1, 2))
    >>> found.suspicious.tolist(), found.largest["x", "gradient"]["symbolic", "reverse"][0] < 1e-12
    ([], True)
    """
    found: list[list[Screening]] = []

    def look() -> CaseResult:
        case = load_case_text(text, file)
        if not too_long(case.graph, variables_of(case, settings, None)):
            gathering = Gathering(case, settings)
            _keep_memory()
            each_block = (_random_batches(case, settings, number, 0) for number in range(*blocks))
            found.extend([gathering.screening(batch) for batch in batches] for batches in each_block)
        return _unrun(file, settings, ())

    guarded(file, file, settings, look)
    return found

"""Reports of shards, of machines or of days, joined to the report that one run over all cases would have written."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from shlex import join

from verify.errors import UsageError
from verify.records import Run
from verify.report.json_reading import read
from verify.running.journal import Journal
from verify.running.units import difference


def merged(paths: Sequence[str | Path], journal: Journal | None = None) -> tuple[Run, list[str]]:
    """One run of the cases of several JSON reports, and what is missing of the whole, a sentence each.

    The ``journal`` is what holds them, where they are many.

    Shards come in the order of the whole, others in that of the reports. Raises UsageError where two reports were not
    asked for the same, were made by other versions, or have a case file in common.

    >>> import tempfile
    >>> from verify.records import CaseResult
    >>> from verify.report.json import write
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     names = ("f", "g")
    ...     runs = [Run(cases=(CaseResult(name, f"{name}.yaml"),), seed=7, points=64) for name in names]
    ...     paths = [write(run, Path(folder, f"{number}.json")) for number, run in enumerate(runs)]
    ...     run, missing = merged(paths)
    >>> [case.name for case in run.cases], missing
    (['f', 'g'], [])
    """
    runs = {str(path): read(path)[0] for path in paths}
    if len(runs) < len(paths):
        raise UsageError("a report is named twice; name each once")
    for (one, first), (other, second) in pairwise(runs.items()):
        _are_alike(one, first, other, second)
    journal = Journal(most_rows=math.inf) if journal is None else journal
    places: dict[str, str] = {}
    for path in runs:
        for case in read(path)[1]:
            if places.setdefault(case.file, path) != path:
                message = f"{case.file} is in {places[case.file]} and in {path}. Leave one of them out"
                raise UsageError(message)
            journal.add(case)
    told = list(runs.values())
    placed = {file: place for run in told if run.shard for file, place in run.shard.places.items()}
    order = [Path(file) for file in sorted(places, key=lambda file: placed.get(file, 0))]
    missing, left_out = _missing(runs, len(places))
    run = replace(
        told[0],
        cases=journal.cases(order),
        stored=journal.stored(order),
        command=join(["verify", "merge", *map(str, paths)]),
        started=min(run.started for run in told),
        seconds=sum(run.seconds for run in told),
        left_out=left_out,
        again={file: times for run in told for file, times in run.again.items()},
        shard=None,
    )
    return run, missing


def _are_alike(one: str, first: Run, other: str, second: Run) -> None:
    """Raises UsageError where two reports cannot stand side by side."""
    for what, mine, theirs in (
        ("versions", first.versions, second.versions),
        ("settings", _settings(first), _settings(second)),
    ):
        differs = difference(mine, theirs).replace(" here", f" in {one}").replace(" there", f" in {other}")
        if differs:
            raise UsageError(f"the reports are of other {what}: {differs}. Run one of them anew")
    if bool(first.shard) != bool(second.shard):
        raise UsageError(f"one of {one} and {other} is a shard, the other a whole run. Merge the shards first")
    if first.shard and second.shard:
        one_whole, other_whole = ((part.of, part.files, part.digest) for part in (first.shard, second.shard))
        if one_whole != other_whole:
            raise UsageError(f"{one} and {other} are shards of two wholes: their cases or their counts differ")


def _settings(run: Run) -> Mapping[str, str]:
    return {**run.asked, "seed": str(run.seed), "points": str(run.points), "methods": ",".join(run.methods)}


def _missing(runs: Mapping[str, Run], present: int) -> tuple[list[str], int]:
    """What is missing of the whole, and how many case files that are."""
    told = list(runs.values())
    said = [
        f"{path} is of a run that was cut: {run.left_out} of its cases are missing"
        for path, run in runs.items()
        if run.left_out
    ]
    part = told[0].shard
    if part is None:
        return said, sum(run.left_out for run in told)
    numbers: dict[int, str] = {}
    for path, run in runs.items():
        assert run.shard is not None, "all are shards, or none is"
        if run.shard.number in numbers:
            both = f"{numbers[run.shard.number]} and {path} are one shard, {run.shard.number}/{part.of}"
            raise UsageError(f"{both}. Leave one of them out")
        numbers[run.shard.number] = path
    said += [f"shard {number}/{part.of} is missing" for number in range(1, part.of + 1) if number not in numbers]
    return said, part.files - present

"""What has changed since an earlier run, by the report that it left as JSON: newly failing, newly passing, slower."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from verify.errors import UsageError
from verify.records import CaseResult, Comparison, Run

SLOWER_TIMES, SLOWER_SECONDS = 2.0, 1.0
"""A case is slower where it takes so many times as long, and so much longer: less is the machine's mood."""

Key = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Baseline:
    """Of an earlier run what is compared, by name and file of each case."""

    path: str
    passes: Mapping[Key, bool]
    seconds: Mapping[Key, float]


def read_baseline(path: str | Path) -> Baseline:
    """The earlier run of a JSON report. Raises UsageError for a file that is none.

    >>> read_baseline("/dev/null")
    Traceback (most recent call last):
    verify.errors.UsageError: the baseline /dev/null is no report of 'verify run --json': Expecting value: line 1 ...
    """
    try:
        found = json.loads(Path(path).read_text(encoding="utf-8"))
        cases = {(str(case["name"]), str(case["file"])): case for case in found["cases"]}
        passes = {key: bool(case["passes"]) for key, case in cases.items()}
        return Baseline(str(path), passes, {key: float(case["seconds"]) for key, case in cases.items()})
    except OSError as error:
        raise UsageError(f"the baseline {path} cannot be read: {error.strerror}. Name a report of --json") from error
    except (ValueError, LookupError, TypeError, RecursionError) as error:
        said = f"no {error}" if isinstance(error, KeyError) else f"{error}"
        raise UsageError(f"the baseline {path} is no report of 'verify run --json': {said}") from error


def comparison(earlier: Baseline | None, run: Run) -> Comparison | None:
    """What has changed, if there is something to compare: a case that was not there before has not failed before.

    >>> earlier = Baseline("run.json", {("a", "a.yaml"): True, ("b", "b.yaml"): False}, {})
    >>> cases = (CaseResult("a", "a.yaml", problems=("a.yaml: empty",)), CaseResult("b", "b.yaml"))
    >>> found = comparison(earlier, Run(cases=cases, seed=0, points=64))
    >>> (found.newly_failing, found.newly_passing) if found else ()
    (('a',), ('b',))
    """
    if earlier is None:
        return None
    failing, passing, slower = [], [], []
    for case, key in _matched(earlier, run.cases):
        if not case.passes and earlier.passes.get(key, True):
            failing.append(case.name)
        if case.passes and not earlier.passes.get(key, True):
            passing.append(case.name)
        before = earlier.seconds.get(key, case.seconds)
        if not case.unchanged and case.seconds > max(SLOWER_TIMES * before, before + SLOWER_SECONDS):
            slower.append((case.name, before, case.seconds))
    return Comparison(earlier.path, tuple(failing), tuple(passing), tuple(slower))


def _matched(earlier: Baseline, cases: Sequence[CaseResult]) -> Iterator[tuple[CaseResult, Key]]:
    """Each case with the key that it has in the earlier run: its name alone, where that is enough; files may move."""
    names: Counter[Any] = Counter(name for name, _ in earlier.passes)
    now = Counter(case.name for case in cases)
    by_name = {name: (name, file) for name, file in earlier.passes}
    for case in cases:
        is_alone = names[case.name] == now[case.name] == 1
        yield case, by_name[case.name] if is_alone else (case.name, case.file)

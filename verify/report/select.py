"""Which rows a reader is shown where not all can be: those that fail first, and one of each kind of failure."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from verify.records import (
    PAIRS,
    SUBJECT,
    WRONG_FIGURE,
    CaseResult,
    Row,
    Rows,
    Run,
    VariableResult,
    format_entry,
    pairs_of,
    shown_name,
)
from verify.words import SEVERITY, VERDICTS, Rule, Verdict

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

MOST_ODD, MOST_SAMPLED = 8, 4
"""Rows of a variable that pass and are told where not all are: those that are no plain PASS, and others."""

SAMPLED_POINTS = 1
"""Points of a case that the others are at."""

_SEVERITY_BY_CODE = tuple(SEVERITY.index(verdict) for verdict in VERDICTS)


@dataclass(frozen=True, slots=True)
class FailureGroup:
    """The failing rows of one variable that share verdict and suspect, and the one of them that is shown."""

    row: Row
    """The one that differs most; of a gradient under test, which is called at points of its own, that of the first."""
    rows: int
    """How many kept rows there are in the group, this one included."""
    entries: int
    """In how many entries of the variable."""
    points: int
    """At how many points."""
    which: str = "worst"
    """Which one is shown: the ``worst``, or that of the ``first`` point."""


@dataclass(frozen=True, slots=True)
class Cause:
    """Failing rows of a run that have one cause: groups with the same suspect, whatever the case or the variable."""

    case: CaseResult
    """Where the group that is shown was found."""
    group: FailureGroup
    """The one that is shown, of the worst verdict."""
    found: tuple[tuple[CaseResult, FailureGroup], ...]
    """All of them, the one that is shown first."""

    @property
    def rows(self) -> int:
        """How many kept rows there are in all groups."""
        return sum(group.rows for _, group in self.found)

    @property
    def cases(self) -> Mapping[str, int]:
        """The failing rows by case, the most first."""
        counts: Counter[str] = Counter()
        for case, group in self.found:
            counts[case.name] += group.rows
        return dict(counts.most_common())


def causes(cases: Sequence[CaseResult]) -> list[Cause]:
    """What made the rows of some cases fail, one cause once, worst verdict first, values before gradients.

    >>> causes([CaseResult("empty", "cases/empty.yaml")])
    []
    """
    found: dict[tuple[str, ...], list[tuple[CaseResult, FailureGroup]]] = {}
    for case in cases:
        for group in failure_groups(case):
            found.setdefault(_key_of_cause(group.row), []).append((case, group))
    made = []
    for groups in found.values():
        groups.sort(key=lambda pair: _rank(pair[1]))
        made.append(Cause(*groups[0], tuple(groups)))
    return sorted(made, key=lambda cause: _rank(cause.group))


def _rank(group: FailureGroup) -> tuple[int, bool]:
    """A wrong value explains the gradients above it, so it is read first."""
    return -SEVERITY.index(group.row.verdict), group.row.quantity != "value"


def _key_of_cause(row: Row) -> tuple[str, ...]:
    """Rows with equal keys have one cause: a part of this program wherever it is, else one variable's own gradient."""
    if row.suspect == SUBJECT:
        return SUBJECT, row.file, row.variable
    if row.suspect not in ("", WRONG_FIGURE):
        return (row.suspect,)
    if row.rule == Rule.UNDEFINED:  # the floats have no value on the way, whoever is asked for a slope
        return row.suspect, row.file, row.case, row.reason
    return row.suspect, row.file, row.case, row.variable, row.verdict


def subject_rows(run: Run) -> Iterator[tuple[str, Row, str, bool]]:
    """Of a gradient under test a row for each variable: its name, the row, what it came to, and whether it passes.

    At other sizes those alone that do not pass there.

    >>> list(subject_rows(Run(cases=(), seed=0, points=0)))
    []
    """
    for number, case in enumerate(run.cases):
        for variable in case.variables:
            if SUBJECT not in variable.rows.values or not len(variable.rows) or (number and not variable.failed):
                continue
            row = telling_row(variable)
            size = f" of {case.name}" if number else ""
            name = f"{shown_name(variable.name, variable.quantity)}{format_entry(row.entry)}{size}"
            yield name, row, worst_verdict(variable), not variable.failed


def differences(rows: Rows, pairs: Sequence[tuple[str, str]] = PAIRS) -> Mapping[tuple[str, str], NDArray[np.float64]]:
    """The absolute difference of each pair of methods, row by row; NaN where one of the two gave nothing.

    Two equal infinities differ by NaN too: the methods said the same, but no number came of it.

    >>> import numpy as np
    >>> none = np.zeros(1, int)
    >>> rows = Rows(none, none, values={"symbolic": np.ones(1), "reverse": np.array([3.0])})
    >>> [d.tolist() for d in differences(rows).values()]
    [[2.0], [nan], [nan]]
    """
    import numpy as np

    absent = np.full(len(rows), np.nan)
    with np.errstate(invalid="ignore", over="ignore"):
        return {(a, b): np.abs(rows.values.get(a, absent) - rows.values.get(b, absent)) for a, b in pairs}


def failure_groups(case: CaseResult) -> list[FailureGroup]:
    """The failing rows of a case by variable, verdict and suspect, worst verdict first, values before gradients.

    >>> failure_groups(CaseResult("empty", "cases/empty.yaml"))
    []
    """
    groups = [group for variable in case.variables for group in _groups_of(variable, pairs_of(case.methods))]
    return sorted(groups, key=_rank)


def telling_row(variable: VariableResult) -> Row:
    """The row that is shown of one variable of a gradient under test, the same as the first line's where it fails.

    Where nothing fails it is that of the first point that is nearest to what is allowed.

    >>> from verify.judging.rows import table
    >>> rows = table([{"point": p, "entry": i, "allowed": 1.0, "errors": {SUBJECT: error}}
    ...               for p, i, error in ((0, 0, 0.1), (0, 1, 0.2), (1, 0, 0.3))])
    >>> telling_row(VariableResult("f", "x", "input", "gradient", (2,), "", 0, rows, 3, {}, 0, ())).entry
    (1,)
    """
    import numpy as np

    groups = _groups_of(variable, ())
    if groups:
        return min(groups, key=_rank).row
    return variable.row(_farthest_at_first(variable.rows, np.arange(len(variable.rows))))


def _farthest_at_first(rows: Rows, positions: NDArray[np.int64]) -> int:
    """Which of some rows is farthest off in units of what is allowed, among those of the first point.

    Points are drawn from ordinary to extreme, for a gradient under test up to 1e100: the first tells most.
    """
    import numpy as np

    here = positions[rows.point[positions] == rows.point[positions].min()]
    errors = rows.errors.get(SUBJECT)
    if errors is None:
        return int(here[0])
    with np.errstate(all="ignore"):
        return int(here[int(np.argmax(np.nan_to_num(errors[here] / rows.allowed[here], nan=-1.0)))])


def worst_verdict(variable: VariableResult) -> str:
    """What the rows of one variable come to: the worst verdict of those that fail; if none does, of those decided.

    >>> import numpy as np
    >>> none = np.zeros(1, int)
    >>> rows = Rows(none, none, verdict=none.astype(np.int8), passes=none == 0)
    >>> worst_verdict(VariableResult("f", "x", "input", "gradient", (), "", 0, rows, 1, {}, 0, ()))
    'PASS'
    """
    import numpy as np

    rows = variable.rows
    failing = ~np.asarray(rows.passes, dtype=bool)
    found = [VERDICTS[code] for code in np.unique(rows.verdict[failing] if failing.any() else rows.verdict).tolist()]
    if not failing.any() and Verdict.PASS in found:
        found = [verdict for verdict in found if verdict not in (Verdict.IMPRECISE, Verdict.UNDECIDED)]
    worst: Verdict = max(found, key=SEVERITY.index)
    return worst.value


def reduced(run: Run) -> Run:
    """A run with the rows that say most, and their points: counts and largest differences are over all that there were.

    Of each variable those are all that do not pass, and of the others some that are no plain PASS, the one that is
    nearest to what is allowed, and some at points that are drawn from the seed.

    >>> reduced(Run(cases=(), seed=0, points=64)).cases
    ()
    """
    stored = None if run.stored is None else run.stored.through(_reduced_case)
    return replace(run, cases=tuple(map(_reduced_case, run.cases)), stored=stored)


def kept_rows(run: Run) -> int:
    """How many rows a run has kept, of those that were checked.

    >>> kept_rows(Run(cases=(), seed=0, points=64))
    0
    """
    return sum(len(variable.rows) for case in run.cases for variable in case.variables)


def _reduced_case(case: CaseResult) -> CaseResult:
    import numpy as np

    ids = np.array([point.id for point in case.points], dtype=np.int64)
    sampled = np.random.default_rng(case.seed).choice(ids, min(SAMPLED_POINTS, len(ids)), replace=False)
    variables = tuple(replace(v, rows=v.rows.take(_telling(v, sampled))) for v in case.variables)
    referred = {int(i) for variable in variables for i in variable.rows.point}
    points = tuple(point for point in case.points if point.own or point.id in referred)
    return replace(case, variables=variables, points=points)


def _telling(variable: VariableResult, sampled: NDArray[np.int64]) -> NDArray[np.int64]:
    """Positions of the rows that say most."""
    import numpy as np

    rows = variable.rows
    plain = rows.passes & (rows.verdict == VERDICTS.index(Verdict.PASS))
    odd = np.flatnonzero(rows.passes & ~plain)[:MOST_ODD]
    passing = np.flatnonzero(plain)
    errors = [column[passing] for method, column in rows.errors.items() if method != "central"]
    with np.errstate(all="ignore"):
        near = np.nan_to_num(np.fmax.reduce([*errors, np.full(len(passing), -1.0)]) / rows.allowed[passing], nan=-1.0)
    nearest = passing[np.argmax(near)][None] if len(passing) else passing
    sample = np.flatnonzero(plain & np.isin(rows.point, sampled))[:MOST_SAMPLED]
    return np.unique(np.concatenate([np.flatnonzero(~rows.passes), odd, nearest, sample]))


def telling_rows(case: CaseResult) -> list[Row]:
    """Of each variable the rows that do not pass, some that are no plain PASS, and the nearest to what is allowed.

    The worst verdict comes first, then what is nearest to it.

    >>> telling_rows(CaseResult("empty", "cases/empty.yaml"))
    []
    """
    import numpy as np

    nobody = np.zeros(0, dtype=np.int64)
    rows = [variable.row(int(i)) for variable in case.variables for i in _telling(variable, nobody)]
    return sorted(rows, key=lambda row: (row.passes, -SEVERITY.index(row.verdict), -_share(row)))


def _share(row: Row) -> float:
    """The largest error of a row in units of what is allowed; -1 where it is not known."""
    known = [error for method, error in row.errors.items() if method != "central" and not math.isnan(error)]
    return max(known) / row.allowed if known and row.allowed > 0 else -1.0


def worst_rows(case: CaseResult, limit: int) -> list[Row]:
    """At most ``limit`` kept rows: those that do not pass, then by severity of verdict, then by point and variable.

    >>> worst_rows(CaseResult("empty", "cases/empty.yaml"), 200)
    []
    """
    import numpy as np

    keys: list[tuple[bool, int, int, int, int, int]] = []
    severity = np.array(_SEVERITY_BY_CODE)
    for number, variable in enumerate(case.variables):
        rows = variable.rows
        rank = np.where(rows.passes, 0, 100) + severity[rows.verdict]
        for i in _first_by_rank(rank, rows.point, limit):
            row_key = (bool(rows.passes[i]), -int(rank[i]), int(rows.point[i]), number, int(rows.entry[i]), int(i))
            keys.append(row_key)
    return [case.variables[number].row(i) for *_, number, _entry, i in sorted(keys)[:limit]]


def _first_by_rank(rank: NDArray[np.int64], point: NDArray[np.int64], limit: int) -> NDArray[np.int64]:
    """Up to ``limit`` positions, of the highest rank and then the lowest point; no full sort of a million rows."""
    import numpy as np

    if len(rank) <= limit:
        return np.arange(len(rank))
    order = point - rank * (int(point.max()) + 2)
    return np.argpartition(order, limit)[:limit]


def _groups_of(variable: VariableResult, pairs: Sequence[tuple[str, str]]) -> list[FailureGroup]:
    import numpy as np

    rows = variable.rows
    failing = np.flatnonzero(~np.asarray(rows.passes, dtype=bool))
    if not failing.size:
        return []
    kinds, group = np.unique(
        np.stack([rows.verdict[failing].astype(np.int64), rows.suspect[failing]]), axis=1, return_inverse=True
    )
    groups = []
    for k in range(kinds.shape[1]):
        members = failing[group == k]
        distinct = len(np.unique(rows.entry[members])), len(np.unique(rows.point[members]))
        if SUBJECT in rows.values:
            shown, which = _farthest_at_first(rows, members), "first"
        else:
            differs = np.fmax.reduce([d[members] for d in differences(rows, pairs).values()])
            # No difference at all means that a number is missing or not finite, which is as bad as it gets.
            shown, which = int(members[int(np.argmax(np.where(np.isnan(differs), np.inf, differs)))]), "worst"
        groups.append(FailureGroup(variable.row(shown), len(members), *distinct, which))
    return groups

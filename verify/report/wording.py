"""How numbers, shapes and arrays are put into words: shared by the renderers, so that all of them say the same."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from verify.errors import line_of, printable
from verify.records import CaseResult, Comparison, Point, Run, is_undecided
from verify.words import Unproved, Verdict

LARGE = 16
"""Arrays of more entries than this are summarised, never printed."""

PASTED = 32
"""Numbers of an array that is written out where it is to be pasted."""

MOST_LISTED = 20
"""Cases that are named one after the other."""

ABSENT = "-"
"""Stands where a method gave no number."""


def short(x: float) -> str:
    """Six significant digits, for a table; :func:`full` has the rest.

    >>> short(2.0595697955721652), short(3.0), short(1e-12), short(float("nan"))
    ('2.05957', '3', '1e-12', '-')
    """
    return ABSENT if math.isnan(x) else f"{x:.6g}"


def magnitude(x: float) -> str:
    """Two significant digits: what a difference is worth.

    >>> magnitude(1.1102230246251565e-16), magnitude(0.0), magnitude(float("inf"))
    ('1.1e-16', '0', 'inf')
    """
    return ABSENT if math.isnan(x) else f"{x:.2g}"


def full(x: float) -> str:
    """All digits: the shortest text that reads back as the same double.

    >>> full(0.1), full(float("nan"))
    ('0.1', 'nan')
    """
    return repr(float(x))


def shape_text(shape: tuple[int, ...]) -> str:
    """A shape as one says it.

    >>> shape_text((5, 10)), shape_text((3,)), shape_text(())
    ('5x10', '3', 'scalar')
    """
    return "x".join(map(str, shape)) if shape else "scalar"


def place(file: str, line: int) -> str:
    """``file:line`` as far as it is known, in one line.

    >>> place("cases/x.yaml", 7), place("cases/x.yaml", 0)
    ('cases/x.yaml:7', 'cases/x.yaml')
    """
    return line_of(f"{file}:{line}" if line else file)


def plural(count: int, noun: str) -> str:
    """A count with its noun.

    >>> plural(1, "row"), plural(12000, "row")
    ('1 row', '12,000 rows')
    """
    return f"{count:,} {noun}" + ("" if count == 1 else "s")


def counts_text(counts: Mapping[Verdict, int]) -> str:
    """Verdicts with their counts, those that did not occur left out.

    >>> counts_text({Verdict.FAIL: 1, Verdict.PASS: 1200})
    '1,200 PASS, 1 FAIL'
    """
    return ", ".join(f"{counts[verdict]:,} {verdict.value}" for verdict in Verdict if counts.get(verdict))


MOST_NAMED = 5
"""Files that a line names."""


def caveats(run: Run) -> tuple[str, ...]:
    """What the headline of a run says beside what it came to: how much was undecided, lost, or not run at all.

    >>> caveats(Run(cases=(), seed=0, points=64))
    ()
    """
    counts, told = run.counts, []
    if run.left_out:
        told.append(f"{plural(run.left_out, 'case')} {'was' if run.left_out == 1 else 'were'} not run")
    if run.again:
        files = ", ".join(map(line_of, sorted(run.again)[:MOST_NAMED]))
        told.append(f"{plural(len(run.again), 'case file')} ran again, since a worker was lost ({files})")
    if is_undecided(counts):
        share = 100 * counts[Verdict.UNDECIDED] / sum(counts.values())
        told.append(f"{share:.0f} % of the rows are UNDECIDED, nothing is shown of them")
    unproved = sum((Counter(case.unproved) for case in run.cases), Counter[Unproved]())
    if unproved:
        why = ", ".join(reason.value for reason in unproved)
        told.append(f"{plural(unproved.total(), 'row')} could not be proved ({why})")
    if run.ok and counts[Verdict.IMPRECISE]:
        lost = plural(counts[Verdict.IMPRECISE], "row")
        told.append(f"{lost} lost digits to rounding, which 'accuracy: relative' in the case forbids")
    return tuple(told)


def comparison_lines(found: Comparison | None) -> list[str]:
    """What has changed since an earlier run, a line each; none where nobody asked.

    >>> comparison_lines(Comparison("run.json", (), ("a",), (("b", 1.0, 3.5),)))
    ['since run.json: 0 newly failing, 1 newly passing, 1 slower', 'newly passing: a', 'slower: b (3.5 s, was 1.0 s)']
    >>> comparison_lines(None)
    []
    """
    if found is None:
        return []
    slower = [f"{name} ({now:.1f} s, was {before:.1f} s)" for name, before, now in found.slower]
    told = {"newly failing": found.newly_failing, "newly passing": found.newly_passing, "slower": slower}
    counts = ", ".join(f"{len(names):,} {what}" for what, names in told.items())
    lines = [f"{what}: {_listed(names)}" for what, names in told.items() if names]
    return [line_of(line) for line in (f"since {found.baseline}: {counts}", *lines)]


def _listed(names: Sequence[str]) -> str:
    more = f", and {len(names) - MOST_LISTED:,} more" if len(names) > MOST_LISTED else ""
    return ", ".join(names[:MOST_LISTED]) + more


def largest_difference(case: CaseResult, pair: tuple[str, str]) -> float:
    """The largest difference of a pair over all variables of a case; NaN where it was never compared.

    >>> largest_difference(CaseResult("x", "x.yaml"), ("symbolic", "reverse"))
    nan
    """
    found = [d.largest for v in case.variables for d in v.differences if d.pair == pair and d.largest == d.largest]
    return max(found, default=float("nan"))


def power_text(case: CaseResult) -> str:
    """The smallest relative fault that is sure to be rejected in any variable of a case, and where it is largest.

    >>> power_text(CaseResult("x", "x.yaml"))
    '-'
    """
    known = [(v.power, v.name) for v in case.variables if v.quantity != "value" and v.power == v.power]
    if not known:
        return ABSENT
    worst, name = max(known)
    return f"{magnitude(worst)} ({line_of(name)})"


def summary_of(array: Any) -> str:
    """A large array in a few words: shape, smallest, largest, and whether any entry is not finite.

    >>> import numpy as np
    >>> summary_of(np.arange(20.0).reshape(4, 5))
    'array 4x5, 0 to 19'
    """
    import numpy as np

    a = np.asarray(array, dtype=float)
    finite = a[np.isfinite(a)]
    span = f"{short(finite.min())} to {short(finite.max())}" if finite.size else "no finite entry"
    lost = a.size - finite.size
    return f"array {shape_text(a.shape)}, {span}" + (f", {lost:,} not finite" if lost and finite.size else "")


def array_text(array: Any) -> str:
    r"""A scalar with all its digits, a small array entry by entry, a large one summarised; ``-`` for none at all.

    >>> array_text(2.0595697955721652), array_text([[1, 2.5], [3, 4]])
    ('2.0595697955721652', '[[1, 2.5],\n [3, 4]]')
    """
    import numpy as np

    a = np.asarray(np.nan if array is None else array, dtype=float)
    if np.isnan(a).all():
        return ABSENT
    if a.size > LARGE:
        return summary_of(a)
    if a.ndim == 0:
        return full(float(a))
    formatter: Any = {"float_kind": short}
    return np.array2string(a, separator=", ", max_line_width=1000, formatter=formatter)


def literal(array: Any) -> str:
    """An array as Python source that gives the same numbers back.

    >>> literal([[1.0, 0.1]]), literal(float("inf"))
    ('[[1.0, 0.1]]', "float('inf')")
    """
    import numpy as np

    def source(item: Any) -> str:
        if isinstance(item, list):
            return f"[{', '.join(map(source, item))}]"
        return repr(item) if not isinstance(item, float) or math.isfinite(item) else f"float('{item}')"

    return source(np.asarray(array).tolist())


def is_written_out(point: Point) -> bool:
    """Whether :func:`point_literal` writes every array of a point.

    >>> is_written_out(Point(0, "at", True, {"x": [1.0] * PASTED}))
    True
    """
    import numpy as np

    return all(np.size(value) <= PASTED for value in point.values.values())


def point_literal(point: Point | None, case: CaseResult) -> str:
    """The point as ``at = {...}``, to paste into Python; large arrays become a comment that says how to have them.

    >>> point_literal(Point(0, "at", True, {"x": 3.0}), CaseResult("add", "cases/add.yaml"))
    "at = {'x': 3.0}"
    """
    import numpy as np

    if point is None:
        return f"# the point was not kept; seed {case.seed} of case {case.name!r} draws it again"
    small = {name: value for name, value in point.values.items() if np.size(value) <= PASTED}
    shown = ", ".join(f"{ascii_safe(name)}: {literal(value)}" for name, value in small.items())
    lines = ["at = {" + shown + "}"] if small or not point.values else []
    lines += [
        f"# {line_of(name)}: {summary_of(value)}; {origin_of_large(name, point, case)}"
        for name, value in point.values.items()
        if name not in small
    ]
    return "\n".join(lines)


def ascii_safe(name: str) -> str:
    """A name as a Python string literal with nothing invisible in it.

    >>> ascii_safe("x")
    "'x'"
    """
    return printable(repr(name))


def origin_of_large(name: str, point: Point, case: CaseResult) -> str:
    """Where to have an array from that is too large to print.

    >>> origin_of_large("W", Point(7, "random", False, {}), CaseResult("matmul", "cases/matmul.yaml", seed=3))
    "seed 3 gives it again, as point 7 of case 'matmul'"
    >>> origin_of_large("W", Point(0, "at", True, {}, given=("W",)), CaseResult("matmul", "cases/matmul.yaml"))
    'as it was given'
    """
    if name in point.given:
        return "as it was given"
    return f"seed {case.seed} gives it again, as point {point.id} of case {ascii_safe(case.name)}"

"""Verdicts over points of every kind: random expressions at saturated, denormal, tied, log-spaced and ordinary points.

    python tests/tools/campaign_points.py --cases 1000 --points 20 --jobs 2

Not part of the test suite. Each case is looked at at ``--points`` points of each kind, at ``--proved`` of which every
row is held against the certified reference; half of the cases are float32. The op table is right, so a row that is
rejected (FAIL or DISPUTED) is a false alarm, unless mpmath says that several ops tie there and that the engine's
convention gives no slope (relu(x) - relu(-x) at 0). Counts per verdict are printed for every kind of point and dtype;
false alarms and exceptions are printed with the case that shows them, and the command then ends with 1.

Each chunk of cases runs in a process of its own, so that whatever a library keeps is given back; the largest memory and
the longest time of a chunk are printed.
"""

# ruff: noqa: T201 (a command prints)

from __future__ import annotations

import argparse
import hashlib
import json
import resource
import subprocess
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from campaign import general, is_slope
from hypothesis import HealthCheck, Phase, given, seed, settings
from numpy.typing import NDArray

from verify.case.case import INTEGRAL, Case, Input, load_case_text
from verify.judging import context as judging
from verify.places.points import Batch, generator, random_points
from verify.records import CaseResult, Row
from verify.running import runner
from verify.running.settings import Settings
from verify.strategies import case_texts
from verify.words import VERDICTS, Verdict

Array = NDArray[Any]
Draw = Callable[[np.random.Generator, tuple[int, ...], type[np.floating[Any]]], Array]


def saturated(rng: np.random.Generator, shape: tuple[int, ...], dtype: type[np.floating[Any]]) -> Array:
    """Where sigmoid and tanh are flat, up to where exp leaves the dtype's range."""
    most = float(np.log(np.finfo(dtype).max)) * 1.1
    return signs(rng, shape) * rng.uniform(8.0, most, shape)


def denormal(rng: np.random.Generator, shape: tuple[int, ...], dtype: type[np.floating[Any]]) -> Array:
    """Between the smallest subnormal number and a little above the smallest normal one; the sign of zero too."""
    info = np.finfo(dtype)
    low, high = np.log(float(info.smallest_subnormal)), np.log(float(info.tiny) * 4)
    return signs(rng, shape) * np.exp(rng.uniform(low, high, shape)) * (rng.random(shape) > 0.1)


def tied(rng: np.random.Generator, shape: tuple[int, ...], dtype: type[np.floating[Any]]) -> Array:
    """A few numbers that all inputs share, zero and one among them."""
    del dtype
    return rng.choice([0.0, 1.0, -1.0, 0.5, 2.0], shape, p=[0.4, 0.2, 0.2, 0.1, 0.1])


def log_spaced(rng: np.random.Generator, shape: tuple[int, ...], dtype: type[np.floating[Any]]) -> Array:
    """Every size alike, from 1e-12 to 1e12, or from 1e-6 to 1e6 in float32."""
    reach = 12.0 if dtype is np.float64 else 6.0
    return signs(rng, shape) * 10.0 ** rng.uniform(-reach, reach, shape)


def signs(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    """1 or -1 for each entry."""
    return rng.choice([-1.0, 1.0], shape)


KINDS: dict[str, Draw | None] = {
    "ordinary": None,
    "saturated": saturated,
    "denormal": denormal,
    "tied": tied,
    "log-spaced": log_spaced,
}
"""Kind of point -> what draws it; ordinary points are those that a run draws from the domains."""


def drawn(item: Input, draw: Draw, count: int, rng: np.random.Generator, dtype: type[np.floating[Any]]) -> Array:
    """Values of one input; where its domain has one sign they keep it, for formulas count on that."""
    with np.errstate(under="ignore"):
        values = draw(rng, (count, *item.shape), dtype).astype(dtype).astype(item.dtype)
    if item.domain.low >= 0:
        values = (
            np.where(values == 0, values.dtype.type(1), np.abs(values))
            if not item.domain.contains(0.0)
            else np.abs(values)
        )
    return values


def batches(case: Case, kind: str, count: int, proved: int, first_id: int, seed_: int) -> Iterator[Batch]:
    """The points of one kind: those that are proved, and those that are compared."""
    base = random_points(case, seed_, 0, count, first_id)
    inputs = dict(base.inputs)
    draw = KINDS[kind]
    dtype = np.float32 if any(item.dtype == "float32" for item in case.inputs) else np.float64
    for place, item in enumerate(case.inputs):
        if draw is not None and item.kind not in INTEGRAL:
            rng = generator(seed_, f"{case.name} {kind}", "random", place)
            inputs[item.name] = drawn(item, draw, count, rng, dtype)
    upstream = {name: inputs[case.upstream[name]] if name in case.upstream else g for name, g in base.upstream.items()}
    for part, origin in ((slice(0, proved), "random"), (slice(proved, None), "compared")):
        ids = base.ids[part]
        if len(ids):
            yield Batch(*Batch(inputs, upstream, base.ids, base.origins).take(part), ids, [origin] * len(ids))


@dataclass
class Counts:
    """What a chunk of cases came to; everything in it can be written as JSON."""

    cases: list[str] = field(default_factory=list)
    """A digest of each case, so that equal ones are counted once."""
    points: Counter[str] = field(default_factory=Counter)
    rows: Counter[str] = field(default_factory=Counter)
    """``kind|dtype|verdict`` -> rows."""
    reasons: Counter[str] = field(default_factory=Counter)
    """``kind|verdict|reason`` -> rows that do not simply pass."""
    rightly: int = 0
    """Rows that fail where the engine's convention gives no slope."""
    wrong: list[str] = field(default_factory=list)
    megabytes: float = 0.0
    seconds: float = 0.0
    slowest: tuple[float, str] = (0.0, "")

    def add(self, other: Counts) -> None:
        """Adds another chunk."""
        self.cases += other.cases
        for mine, theirs in (
            (self.points, other.points),
            (self.rows, other.rows),
            (self.reasons, other.reasons),
        ):
            mine.update(theirs)
        self.rightly += other.rightly
        self.wrong += other.wrong
        self.megabytes = max(self.megabytes, other.megabytes)
        self.seconds = max(self.seconds, other.seconds)
        self.slowest = max(self.slowest, other.slowest)


def look_at(text: str, points: int, proved: int, seed_: int, counts: Counts) -> None:
    """Runs one case at points of every kind and counts what it came to."""
    started = time.perf_counter()
    kind_of: dict[int, str] = {}

    def all_kinds(case: Case, _: Settings, block: int, first_id: int) -> Iterator[Batch]:
        for number, kind in enumerate(KINDS if block == 0 else ()):  # all kinds stand in the first block
            at = first_id + number * points
            kind_of.update(dict.fromkeys(range(at, at + points), kind))
            yield from batches(case, kind, points, proved, at, seed_)

    try:
        vars(runner)["_random_batches"] = all_kinds
        case = load_case_text(text)
        result = runner.run_loaded(case, Settings(points=points * len(KINDS), seed=seed_))
    except Exception:  # noqa: BLE001 (whatever is raised is what is looked for)
        counts.wrong.append(f"{text}{traceback.format_exc(limit=-4)}")
        return
    counts.cases.append(hashlib.sha256(text.encode()).hexdigest()[:16])
    count(case, text, result, kind_of, counts)
    counts.slowest = max(counts.slowest, (time.perf_counter() - started, text))


def count(case: Case, text: str, result: CaseResult, kind_of: dict[int, str], counts: Counts) -> None:
    """Adds the rows of one case."""
    dtype = "float32" if "float32" in text else "float64"
    for point in result.points:
        counts.points[f"{kind_of.get(point.id, 'own and kink')}|{dtype}"] += 1
    for variable in result.variables:
        rows = variable.rows
        triples = zip(rows.point.tolist(), rows.verdict.tolist(), rows.reason.tolist(), strict=True)
        for (point, code, reason), n in Counter(triples).items():
            kind = kind_of.get(point, "own and kink")
            counts.rows[f"{kind}|{dtype}|{VERDICTS[code].value}"] += n
            if rows.texts[reason]:
                counts.reasons[f"{kind}|{VERDICTS[code].value}|{general(rows.texts[reason])}"] += n
        bad = [row for row in variable.failing() if row.verdict in (Verdict.FAIL, Verdict.DISPUTED)]
        false = [row for row in bad if not is_rightly_rejected(case, result, row)]
        counts.rightly += len(bad) - len(false)
        counts.wrong += [f"{text}{told(result, row, kind_of)}" for row in false[:1]]


def is_rightly_rejected(case: Case, result: CaseResult, row: Row) -> bool:
    """Whether a gradient is rejected where the engine's conventions together give no slope, by mpmath.

    Such as relu(x) - relu(-x) at 0, and min(x, min(x, y)) - min(x, y), which are smooth there.
    """
    if row.quantity == "value":
        return False
    if case.ties and row.reason.startswith("tie of"):
        return True  # the case itself declares a convention, and the reason says that it gives no subgradient
    point = next(point for point in result.points if point.id == row.point)
    return row.reason.startswith("tie of") and not is_slope(case, point, row)


def told(result: CaseResult, row: Row, kind_of: dict[int, str]) -> str:
    """A rejected row, ready to be looked into."""
    point = next(point for point in result.points if point.id == row.point)
    kind = kind_of.get(row.point, point.origin)
    return (
        f"{row.quantity} by {row.variable}{list(row.entry)} at {kind} point {row.point}: "
        f"{dict(row.values)} {row.verdict.value}: {row.reason}; suspect: {row.suspect}; {dict(point.values)!r}"
    )


def run_chunk(cases: int, points: int, proved: int, seed_: int) -> Counts:
    """Runs a chunk of different cases in this process."""
    counts = Counts()
    seen: set[str] = set()
    started = time.perf_counter()
    vars(judging)["PROVED_POINTS"] = sys.maxsize  # how many are proved is said by their origin here

    @seed(seed_)
    @settings(
        max_examples=3 * cases,  # Hypothesis repeats small ones
        phases=[Phase.generate],
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(case_texts(max_nodes=12, dtypes=("float64",)) if seed_ % 2 == 0 else case_texts(dtypes=("float32",)))
    def look(text: str) -> None:
        if text not in seen and len(seen) < cases:
            seen.add(text)
            look_at(text, points, proved, seed_, counts)

    look()
    counts.megabytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    counts.seconds = time.perf_counter() - started
    return counts


def in_process(cases: int, points: int, proved: int, seed_: int) -> Counts:
    """The same in a fresh process."""
    arguments = [f"--cases={cases}", f"--points={points}", f"--proved={proved}", f"--seed={seed_}", "--chunk"]
    done = subprocess.run([sys.executable, __file__, *arguments], check=True, capture_output=True, text=True)
    told_ = json.loads(done.stdout.splitlines()[-1])
    for name in ("points", "rows", "reasons"):
        told_[name] = Counter(told_[name])
    told_["slowest"] = tuple(told_["slowest"])
    return Counts(**told_)


def report(counts: Counts) -> None:
    """Prints the counts per kind of point, the reasons, and what is wrong."""
    print(f"{len(set(counts.cases))} different cases, {sum(counts.points.values())} points")
    dtypes = ("float64", "float32")
    print(f"{'points':12} {'dtype':8} {'points':>8} " + " ".join(f"{verdict.value:>11}" for verdict in VERDICTS))
    for kind in ("own and kink", *KINDS):
        for dtype in dtypes:
            cells = " ".join(f"{counts.rows[f'{kind}|{dtype}|{verdict.value}']:11}" for verdict in VERDICTS)
            print(f"{kind:12} {dtype:8} {counts.points[f'{kind}|{dtype}']:8} {cells}")
    for reason, n in sorted(counts.reasons.items(), key=lambda item: -item[1])[:60]:
        print(f"  {n:9}  {reason}")
    print(f"a chunk: at most {counts.megabytes:.0f} MB and {counts.seconds:.0f} s")
    print(f"slowest: {counts.slowest[0]:.1f} s\n{counts.slowest[1]}")
    print(f"{counts.rightly} rows fail rightly, {len(counts.wrong)} wrong")
    for text in sorted(counts.wrong, key=len):
        print(f"----\n{text}")


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; 1 where something is wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=1000)
    parser.add_argument("--points", type=int, default=20, help="points of each kind for each case")
    parser.add_argument("--proved", type=int, default=4, help="how many of them are proved")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--size", type=int, default=50, help="cases of one process")
    parser.add_argument("--chunk", action="store_true", help="run the cases in this process and print what came of it")
    args = parser.parse_args(arguments)
    if args.chunk:
        print(json.dumps(vars(run_chunk(args.cases, args.points, args.proved, args.seed))))
        return 0
    total = Counts()
    chunks = [(min(args.size, args.cases - done), args.seed * 10_000 + i)
              for i, done in enumerate(range(0, args.cases, args.size))]  # fmt: skip
    pool = ThreadPoolExecutor(args.jobs)
    try:
        for part in pool.map(lambda chunk: in_process(chunk[0], args.points, args.proved, chunk[1]), chunks):
            total.add(part)
            said = f"{len(total.cases)} cases, {part.seconds:.0f} s, {part.megabytes:.0f} MB, {len(total.wrong)} wrong"
            print(said, file=sys.stderr, flush=True)
    except KeyboardInterrupt:
        print("interrupted: the counts are those of the chunks that were finished")
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
    report(total)
    return 1 if total.wrong else 0


if __name__ == "__main__":
    sys.exit(main())

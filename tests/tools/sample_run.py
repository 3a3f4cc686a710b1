"""Runs made by hand, for the tests of the renderers: two cases of each of seven kinds, without running anything.

Right, failing, kinked, broken, unsupported, large (arrays of more than 16 entries) and hostile (every text field
tries to be markup, a formula, a template or a terminal command).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np

from verify.judging.rows import blank
from verify.records import (
    METHODS,
    PAIRS,
    CaseResult,
    PairDifference,
    Point,
    Rows,
    Run,
    StageRecord,
    VariableResult,
    unravel,
)
from verify.words import SEVERITY, VERDICTS, Verdict

SEED = 20240607

HOSTILE = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    '=HYPERLINK("http://example.com")',
    "{{ 7 * 7 }}{% raw %}",
    "[bold red]not markup[/]",
    "\x1b[31mred\x1b[0m\u202etrap",
    "+1\r\nSet: 1",
    ' -2+3,"quoted"',
    "@SUM(A1)\ttab",
    "'=quoted",
    "'plain",
    "nan",
    "]]></failure>|`` ` ``` |\\|",
    "::error::no annotation",
)
"""Texts that would do harm where a renderer does not escape them."""


def rows_of(
    point: Sequence[int] | np.ndarray,
    entry: Sequence[int] | np.ndarray,
    values: Mapping[str, Any],
    verdict: Verdict | np.ndarray = Verdict.PASS,
    reason: str = "",
    suspect: str = "",
    expected: Any = np.nan,
    passes: Any = None,
) -> Rows:
    """Rows with one reason and one suspect for all that are not PASS."""
    count = len(point)
    codes = np.full(count, VERDICTS.index(verdict), np.int8) if isinstance(verdict, Verdict) else verdict
    told = codes != VERDICTS.index(Verdict.PASS)
    if passes is None:
        passes = np.isin(codes, [VERDICTS.index(v) for v in SEVERITY[:3]])
    columns = blank((count,)) | {
        "values": {m: np.broadcast_to(np.asarray(v, float), count).copy() for m, v in values.items()},
        "expected": np.broadcast_to(np.asarray(expected, float), count).copy(),
        "verdict": codes,
        "passes": np.broadcast_to(np.asarray(passes, bool), count).copy(),
        "reason": np.where(told, 1, 0),
        "suspect": np.where(told, 2, 0),
    }
    return Rows(np.asarray(point, np.int64), np.asarray(entry, np.int64), ("", reason, suspect), **columns)


def variable_of(
    case: str,
    name: str,
    rows: Rows,
    *,
    role: Literal["input", "stage", "output"] = "input",
    quantity: Literal["gradient", "value"] = "gradient",
    shape: tuple[int, ...] = (),
    line: int = 4,
    form: str = "closed form",
    closed_forms: Mapping[str, str] | None = None,
    file: str = "",
) -> VariableResult:
    """A variable with its counts and largest differences taken from the rows."""
    differences = []
    for a, b in PAIRS:
        with np.errstate(invalid="ignore"):
            gap = np.abs(rows.values.get(a, np.nan) - rows.values.get(b, np.nan)) * np.ones(len(rows))
        if len(gap) and not np.isnan(gap).all():
            i = int(np.nanargmax(gap))
            where = int(rows.point[i]), unravel(int(rows.entry[i]), shape)
            differences.append(PairDifference((a, b), float(gap[i]), *where))
        else:
            differences.append(PairDifference((a, b), float("nan"), -1, ()))
    counts = {v: int((rows.verdict == code).sum()) for code, v in enumerate(VERDICTS)}
    return VariableResult(
        case=case,
        name=name,
        role=role,
        quantity=quantity,
        shape=shape,
        file=file or f"cases/{case.replace(' ', '_')}.yaml",
        line=line,
        rows=rows,
        checked=len(rows),
        counts=counts,
        failed=int((~rows.passes).sum()),
        differences=tuple(differences),
        form="" if quantity == "value" else form,
        closed_forms=closed_forms or {},
    )


STAGED = (
    ("sigy", "1 / (1 + exp(-y))"),
    ("num", "x + sigy"),
    ("sigx", "1 / (1 + exp(-x))"),
    ("xpy", "x + y"),
    ("xpysqr", "xpy**2"),
    ("den", "sigx + xpysqr"),
    ("invden", "1 / den"),
    ("f", "num * invden"),
)
LOCAL: dict[str, dict[str, str]] = {
    "sigy": {"y": "exp(-y)/(1 + exp(-y))**2"},
    "num": {"x": "1", "sigy": "1"},
    "sigx": {"x": "exp(-x)/(1 + exp(-x))**2"},
    "xpy": {"x": "1", "y": "1"},
    "xpysqr": {"xpy": "2*xpy"},
    "den": {"sigx": "1", "xpysqr": "1"},
    "invden": {"den": "-1/den**2"},
    "f": {"num": "invden", "invden": "num"},
}
FORMS = {
    "x": "1/((x + y)**2 + 1/(1 + exp(-x))) - (x + 1/(1 + exp(-y)))*(2*x + 2*y + exp(-x)/(1 + exp(-x))**2)"
    "/((x + y)**2 + 1/(1 + exp(-x)))**2",
    "den": "-num/den**2",
    "invden": "num",
    "num": "1/den",
}


def staged_pass(x: np.ndarray, y: np.ndarray) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray], dict[str, Any]]:
    """Forward values, gradients and what each stage sends back, of the notes' staged function."""
    v: dict[str, np.ndarray] = {"x": x, "y": y}
    v["sigy"] = 1 / (1 + np.exp(-y))
    v["num"] = x + v["sigy"]
    v["sigx"] = 1 / (1 + np.exp(-x))
    v["xpy"] = x + y
    v["xpysqr"] = v["xpy"] ** 2
    v["den"] = v["sigx"] + v["xpysqr"]
    v["invden"] = 1 / v["den"]
    v["f"] = v["num"] * v["invden"]
    g = {"f": np.ones_like(x), "num": v["invden"], "invden": v["num"]}
    g["den"] = -g["invden"] / v["den"] ** 2
    g["sigx"] = g["xpysqr"] = g["den"]
    g["xpy"] = 2 * v["xpy"] * g["xpysqr"]
    g["sigy"] = g["num"]
    back = {
        "f": {"num": g["num"], "invden": g["invden"]},
        "invden": {"den": g["den"]},
        "den": {"sigx": g["den"], "xpysqr": g["den"]},
        "xpysqr": {"xpy": g["xpy"]},
        "xpy": {"x": g["xpy"], "y": g["xpy"]},
        "sigx": {"x": g["sigx"] * v["sigx"] * (1 - v["sigx"])},
        "num": {"x": g["num"], "sigy": g["num"]},
        "sigy": {"y": g["sigy"] * v["sigy"] * (1 - v["sigy"])},
    }
    g["x"] = back["num"]["x"] + back["xpy"]["x"] + back["sigx"]["x"]
    g["y"] = back["xpy"]["y"] + back["sigy"]["y"]
    return v, g, back


def staged_case(name: str, points: int = 12, fault: Mapping[str, float] | None = None) -> CaseResult:
    """The staged function; ``fault`` scales the engine's gradient of some variables, which makes them FAIL."""
    rng = np.random.default_rng(SEED)
    x = np.r_[3.0, rng.uniform(-6, 6, points - 1)]
    y = np.r_[-4.0, rng.uniform(-6, 6, points - 1)]
    values, gradients, back = staged_pass(x, y)
    file = f"cases/{name.replace(' ', '_')}.yaml"
    stages = dict(STAGED)
    at = np.arange(points)
    none = np.zeros(points, int)
    given = np.where(at == 0, values["f"], np.nan)
    exact = dict.fromkeys(METHODS, values["f"])
    found = [variable_of(name, "f", rows_of(at, none, exact, expected=given), role="output", quantity="value", line=15)]
    for line, variable in enumerate(("x", "y", *stages), start=5):
        truth = gradients[variable]
        wrong = truth * (fault or {}).get(variable, 1.0)
        columns = {"symbolic": truth * (1 + 2**-52), "reverse": wrong, "central": truth + 3e-10 * np.sin(at + line)}
        failing = np.abs(wrong - truth) > 1e-7 * np.abs(truth)
        codes = np.where(failing, VERDICTS.index(Verdict.FAIL), 0).astype(np.int8)
        rows = rows_of(
            at,
            none,
            columns,
            codes,
            "symbolic and central agree, reverse differs from both by more than their error estimates",
            "reverse: a wrong local derivative or accumulation",
            np.where(at == 0, truth, np.nan),
        )
        role: Literal["input", "stage", "output"] = "input" if variable in "xy" else "stage"
        forms = {"": FORMS[variable]} if variable in FORMS else {}
        found.append(variable_of(name, variable, rows, role=role, line=line, closed_forms=forms))
    records = [StageRecord(n, "", i + 4, (), values[n][0], {}, gradients[n][0]) for i, n in enumerate("xy")]
    records += [
        StageRecord(n, text, i + 7, (), values[n][0], LOCAL[n], gradients[n][0], {k: a[0] for k, a in back[n].items()})
        for i, (n, text) in enumerate(STAGED)
    ]
    return CaseResult(
        name=name,
        file=file,
        source="CS231n, Optimization 2, staged computation",
        function=STAGED,
        outputs=("f",),
        variables=tuple(found),
        points=tuple(
            Point(i, "random" if i else "at", not i, {"x": x[i], "y": y[i]}, "" if i else "the notes' own point", 4)
            for i in range(points)
        ),
        stages=tuple(records),
        seed=SEED,
        points_checked=points,
        notes=("central: 2 steps were widened, because x + h fell on x.",),
        seconds=0.031,
    )


def kinked_case(name: str, declared: bool = True) -> CaseResult:
    """max(x, y) at and beside the tie; a convention that is not declared does not pass."""
    points = tuple(
        Point(i, "at" if i < 3 else "kink", i < 3, {"x": 1.0 + (i == 1), "y": 1.0 + (i == 0)}) for i in range(4)
    )
    codes = np.array([VERDICTS.index(v) for v in ("PASS", "PASS", "CONVENTION", "SUBGRADIENT")], np.int8)
    passes = np.array([True, True, declared, True])
    reason = "both partials are 1 at the tie, as `ties: {max: both}` says; the subgradients of max are (t, 1 - t)"
    columns = {"symbolic": [0, 1, 1, 1], "reverse": [0, 1, 1, 1], "central": [0, 1, 0.5, 0.5]}
    variables = tuple(
        variable_of(name, n, rows_of(range(4), [0] * 4, columns, codes, reason, passes=passes), closed_forms={"": form})
        for n, form in (("x", "Heaviside(x - y, 1)"), ("y", "Heaviside(y - x, 1)"))
    )
    stages = (
        StageRecord("x", "", 3, (), 1.0, {}, 0.0),
        StageRecord("y", "", 4, (), 2.0, {}, 1.0),
        StageRecord("f", "max(x, y)", 6, (), 2.0, {"x": "x >= y", "y": "y >= x"}, 1.0, {"x": 0.0, "y": 1.0}),
    )
    return CaseResult(
        name=name,
        file=f"cases/{name.replace(' ', '_')}.yaml",
        function=(("f", "max(x, y)"),),
        outputs=("f",),
        variables=variables,
        points=points,
        stages=stages,
        seed=SEED,
        points_checked=4,
        notes=("central: the step straddles a kink at 2 points; it accuses nobody there.",),
    )


def broken_case(name: str) -> CaseResult:
    """A file that could not be read."""
    file = f"cases/{name.replace(' ', '_')}.yaml"
    first = f"{file}:7:10: unknown op 'sigmiod'. Did you mean 'sigmoid'?\n    f: 2 * sigmiod(x)\n           ^"
    return CaseResult(
        name=name, file=file, problems=(first, f"{file}:9: unknown field 'otput'. Did you mean 'output'?")
    )


def unsupported_case(name: str, asked: bool = False) -> CaseResult:
    """A method that cannot do the case, which fails only where it was asked for by name; values that are not finite."""
    columns = {"reverse": [2.0, np.inf, np.nan], "central": [2.0 + 1e-9, np.inf, -np.inf]}
    codes = np.array([VERDICTS.index(v) for v in ("PASS", "UNDECIDED", "UNDECIDED")], np.int8)
    rows = rows_of([0, 1, 2], [0, 0, 0], columns, codes, "overflow on the way", passes=[True, not asked, True])
    return CaseResult(
        name=name,
        file=f"cases/{name.replace(' ', '_')}.yaml",
        function=(("f", "cond(x)"),),
        outputs=("f",),
        variables=(variable_of(name, "x", rows, form=""),),
        points=tuple(Point(i, "at" if not i else "random", not i, {"x": 1.0 + i}) for i in range(3)),
        stages=(StageRecord("f", "cond(x)", 6, (), 1.0, {}, np.nan),),
        seed=SEED,
        points_checked=3,
        unsupported={"symbolic": "op 'cond' has no SymPy form"},
        failures=("symbolic was asked for by name and cannot do this case",) if asked else (),
    )


def large_case(name: str, points: int = 9) -> CaseResult:
    """D = W @ X with W 5x10 and X 10x3: arrays that no cell may hold, and more than 200 rows."""
    rng = np.random.default_rng(SEED)
    W, X, dD = rng.normal(size=(points, 5, 10)), rng.normal(size=(points, 10, 3)), rng.normal(size=(points, 5, 3))
    D, dW, dX = W @ X, dD @ X.transpose(0, 2, 1), W.transpose(0, 2, 1) @ dD
    variables = []
    for variable, gradient, form in (("W", dW, "dD*X.T"), ("X", dX, "W.T*dD"), ("D", dD, "dD")):
        size = gradient[0].size
        g = gradient.ravel()
        columns = {"symbolic": g, "reverse": g * (1 + 2**-52), "central": g + 1e-11}
        rows = rows_of(np.repeat(np.arange(points), size), np.tile(np.arange(size), points), columns)
        role: Literal["input", "output"] = "output" if variable == "D" else "input"
        variables.append(
            variable_of(
                name, variable, rows, role=role, shape=gradient.shape[1:], form="by stages", closed_forms={"": form}
            )
        )
    stages = (
        StageRecord("W", "", 4, (5, 10), W[0], {}, dW[0]),
        StageRecord("X", "", 5, (10, 3), X[0], {}, dX[0]),
        StageRecord("D", "W @ X", 8, (5, 3), D[0], {"W": "g*X.T", "X": "W.T*g"}, dD[0], {"W": dW[0], "X": dX[0]}),
    )
    return CaseResult(
        name=name,
        file=f"cases/{name.replace(' ', '_')}.yaml",
        source="CS231n, Optimization 2, matrix-matrix multiply",
        function=(("D", "W @ X"),),
        outputs=("D",),
        variables=tuple(variables),
        points=tuple(
            Point(i, "random" if i else "at", not i, {"W": W[i], "X": X[i], "upstream of D": dD[i]})
            for i in range(points)
        ),
        stages=stages,
        seed=SEED,
        points_checked=points,
        seconds=0.2,
    )


def hostile_case(shift: int) -> CaseResult:
    """Every text field is one of :data:`HOSTILE`; ``shift`` says which comes first."""
    texts = [HOSTILE[(i + shift) % len(HOSTILE)] for i in range(len(HOSTILE))]
    t = iter(texts * 4)
    name, file, source, reason, suspect = (next(t) for _ in range(5))
    codes = np.array([VERDICTS.index(Verdict.FAIL), VERDICTS.index(Verdict.IMPRECISE), 0], np.int8)
    columns = {"symbolic": [1.0, 2.0, -3.0], "reverse": [1.5, 2.0, -3.0], "central": [1.0, 2.1, -3.0]}
    rows = rows_of([0, 0, 0], [0, 1, 2], columns, codes, reason, suspect)
    variable = variable_of(name, next(t), rows, shape=(3,), form=next(t), closed_forms={next(t): next(t)}, file=file)
    stage = StageRecord(
        next(t), next(t), 3, (3,), np.arange(3.0), {next(t): next(t)}, np.ones(3), {next(t): np.ones(3)}
    )
    return CaseResult(
        name=name,
        file=file,
        source=source,
        function=((next(t), next(t)),),
        outputs=(next(t),),
        variables=(variable,),
        points=(Point(0, next(t), True, {next(t): np.arange(3.0)}, next(t)),),
        stages=(stage,),
        seed=SEED,
        points_checked=1,
        unsupported={next(t): next(t)},
        failures=(next(t),),
        notes=tuple(texts),
    )


def sample_run() -> Run:
    """Two cases of each of the seven kinds."""
    cases = (
        staged_case("staged function"),
        staged_case("staged again", points=3),
        large_case("matmul"),
        large_case("matmul small", points=1),
        kinked_case("max subgradient"),
        kinked_case("max undeclared", declared=False),
        staged_case("wrong engine", fault={"x": 1.001, "sigx": 1 + 1e-6}),
        staged_case("wrong sign", points=30, fault={"den": -1.0}),
        broken_case("misspelt"),
        broken_case("misspelt too"),
        unsupported_case("condition number"),
        unsupported_case("condition asked", asked=True),
        hostile_case(0),
        hostile_case(5),
    )
    return run_of(*cases)


def right_run() -> Run:
    """Cases that all pass."""
    return run_of(staged_case("staged function"), large_case("matmul"), kinked_case("max subgradient"))


def run_of(*cases: CaseResult) -> Run:
    """A run of the given cases."""
    return Run(
        cases=cases,
        seed=SEED,
        points=64,
        versions={"verify": "0.1.0", "numpy": "2.4.6", "sympy": "1.14.0", "python": "3.11.9"},
        command=f"verify run cases --points 64 --seed {SEED}",
        seconds=1.234,
    )

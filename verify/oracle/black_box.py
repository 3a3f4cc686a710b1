"""Gradients of functions that nobody knows: each slope is held against the step law of central differences.

There is no expression to enclose, so nothing is proved here: the verdicts are *measured*
(:mod:`verify.oracle.step_law`), and what noise or truncation hides is UNDECIDED.
"""

from __future__ import annotations

import inspect
import time
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from verify.errors import UsageError
from verify.judging.rows import CODE, Texts
from verify.oracle.interface import Interface
from verify.oracle.step_law import Law, step_law
from verify.oracle.subject import Gradient, Subject
from verify.records import SUBJECT, VERDICTS, CaseResult, Point, Rows, Unproved, VariableResult, Verdict

Array = NDArray[Any]
Function = Callable[..., Any]

OUTPUT = "output"
"""The name of what the function returns."""

MOST_LAWS = 2_000
"""Entries whose slopes are measured (some hundred evaluations each); of more, a seeded sample is."""

VERDICT_OF: Mapping[str, Verdict] = {
    "right": Verdict.PASS,
    "wrong": Verdict.FAIL,
    "kink": Verdict.SUBGRADIENT,
    "noise": Verdict.UNDECIDED,
    "truncation": Verdict.UNDECIDED,
    "undecided": Verdict.UNDECIDED,
}
"""What the step law says -> what the row comes to."""


def judge_black_box(
    gradient: Gradient, function: Function, at: Mapping[str, Any], seed: int = 0, constants: Collection[str] = ()
) -> CaseResult:
    """Judges a gradient at one point, entry by entry.

    ``at`` gives the inputs by name; floats are differentiated, whole numbers, booleans and what is among the
    ``constants`` are not. An output
    that is an array is contracted with an upstream gradient drawn from the seed. Raises UsageError for a function or
    an answer that does not fit.

    >>> judge_black_box(lambda x: 2 * x, lambda x: x**2, {"x": 3.0}).status
    'PASS'
    >>> judge_black_box(lambda x: 2.01 * x, lambda x: x**2, {"x": 3.0}).status
    'FAIL'
    """
    started = time.perf_counter()
    inputs = {name: np.array(value) for name, value in at.items()}
    real = tuple(name for name, value in inputs.items() if value.dtype.kind == "f" and name not in constants)
    if not real:
        raise UsageError("nothing to differentiate: at needs a float, such as at={'x': 3.0}")
    values = np.asarray(function(**_copies(inputs)), dtype=np.float64)
    upstream = np.random.default_rng(seed).standard_normal(values.shape) if values.ndim else np.ones(())
    name = getattr(function, "__name__", type(function).__name__)
    shapes = {key: value.shape for key, value in inputs.items()}
    subject = Subject(Interface(name, tuple(inputs), real, shapes, {OUTPUT: values.shape}), gradient)
    batch = {key: value[None] for key, value in inputs.items()}
    answers = subject.differentiate(batch, {OUTPUT: upstream[None]}).gradients
    subject.probe(inputs, {OUTPUT: upstream})

    def contracted(variable: str, index: tuple[int, ...], number: Any) -> float:
        moved = _copies(inputs)
        moved[variable] = _with_entry(inputs[variable], index, number)
        return float(np.sum(np.asarray(function(**moved), dtype=np.float64) * upstream))

    file, line = _place(function)
    variables = tuple(
        _variable(name, key, inputs[key], answers[key][0], contracted, (file, line), seed)
        for key in real
        if key in answers
    )
    return CaseResult(
        name=name,
        file=file,
        function=((OUTPUT, f"{name}({', '.join(inputs)})"),),
        outputs=(OUTPUT,),
        variables=variables,
        points=(Point(0, "at", True, inputs),),
        seed=seed,
        points_checked=1,
        methods=(SUBJECT, "central"),
        notes=("no expression is known: slopes are measured by central differences over 25 steps, nothing is proved",),
        findings=tuple(subject.contract.findings),
        unproved={Unproved.BLACK_BOX: sum(variable.checked for variable in variables)},
        seconds=time.perf_counter() - started,
    )


def _variable(
    case: str,
    name: str,
    value: Array,
    claimed: Array,
    contracted: Callable[[str, tuple[int, ...], Any], float],
    place: tuple[str, int],
    seed: int,
) -> VariableResult:
    entries = np.arange(value.size)
    if value.size > MOST_LAWS:
        entries = np.sort(np.random.default_rng(seed).choice(value.size, MOST_LAWS, replace=False))
    laws = []
    for flat in entries.tolist():
        index = tuple(int(i) for i in np.unravel_index(flat, value.shape))
        laws.append(step_law(partial(contracted, name, index), value[index][()], float(claimed[index])))
    rows = _rows(entries, laws)
    counts = Counter(VERDICTS[code] for code in rows.verdict.tolist())
    return VariableResult(
        case=case,
        name=name,
        role="input",
        quantity="gradient",
        shape=value.shape,
        file=place[0],
        line=place[1],
        rows=rows,
        checked=len(rows),
        counts=counts,
        failed=int(np.count_nonzero(~rows.passes)),
        differences=(),
        dtype=str(value.dtype),
    )


def _rows(entries: Array, laws: list[Law]) -> Rows:
    texts = Texts()
    verdicts = [VERDICT_OF[law.verdict] for law in laws]
    reasons = [
        texts.number("" if v is Verdict.PASS else f"measured: {law.sentence}")
        for v, law in zip(verdicts, laws, strict=True)
    ]
    accused = texts.number(SUBJECT)
    count = len(laws)
    return Rows(
        point=np.zeros(count, dtype=np.int64),
        entry=entries.astype(np.int64),
        values={SUBJECT: np.array([law.claimed for law in laws]), "central": np.array([law.estimate for law in laws])},
        expected=np.full(count, np.nan),
        verdict=np.array([CODE[v] for v in verdicts], dtype=np.int8),
        passes=np.array([v in {Verdict.PASS, Verdict.SUBGRADIENT} for v in verdicts], dtype=bool),
        reason=np.array(reasons, dtype=np.int64),
        suspect=np.array([accused if v is Verdict.FAIL else 0 for v in verdicts], dtype=np.int64),
        texts=texts.all(),
        allowed=np.array([law.uncertainty for law in laws]),
    )


def _copies(inputs: Mapping[str, Array]) -> dict[str, Any]:
    """The inputs as the function is given them: its own to write to, scalars as NumPy's."""
    return {name: value.copy()[()] for name, value in inputs.items()}


def _with_entry(value: Array, index: tuple[int, ...], number: Any) -> Any:
    moved = value.copy()
    moved[index] = number
    return moved[()]


def _place(function: Function) -> tuple[str, int]:
    """File and line of a function, as far as they are known."""
    code = getattr(inspect.unwrap(function), "__code__", None)
    return (code.co_filename, code.co_firstlineno) if code else ("", 0)

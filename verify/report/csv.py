"""A run as three CSV files: ``results.csv`` (row by row), ``points.csv`` (where), ``summary.csv`` (by variable).

Floats are written with all the digits that they need to read back as the same double; a missing one is ``nan``.
Differences are absolute, in the unit of the row, and so are ``reference`` (the truth, to within ``radius``), ``error``
(of the worst method but central), ``allowed`` and ``step_error`` (what central may be off by on top of it). The columns
``..._ulps`` are each method's error in units in the last place of the reference; ``power`` is relative. ``point`` is -1
and ``line`` 0 where there is none. What could not be run at all has rows too: verdict ``ERROR`` for a case that could
not be read, ``FAIL`` for a reason that concerns the whole case, ``UNDECIDED`` for a method that could not do it; their
``variable`` is empty.

Text that a spreadsheet would run as a formula gets an apostrophe in front. To undo it take one leading apostrophe
off wherever :func:`is_formula` holds of the rest, as :func:`read` does.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TextIO

from verify.errors import UsageError
from verify.files import replacing
from verify.records import COLUMNS, METHODS, CaseResult, Point, Run, VariableResult, format_entry, pairs_of, unravel
from verify.report.select import differences
from verify.report.wording import shape_text
from verify.words import ERROR, VERDICTS, Verdict

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

Table = Literal["results", "points", "summary"]
"""The three files."""

MOST_ENTRIES = 1024
"""An array of a point with more entries is one row with entry ``...``; the seed gives the point again."""

ROWS_OF_A_PART = 100_000
"""Rows that are written at a time: what they take in memory is some ten times what they take in the file."""

KILL_SCORE = ("variants", "equivalent", "caught", "survive_allclose")
"""Columns of the summary about the case as a whole, the same in each of its rows; -1 where nobody asked."""

_TEXTS = (
    *("case", "variable", "quantity", "role", "shape", "form", "origin", "note", "input", "entry"),
    *("verdict", "road", "rule", "reason", "suspect", "diagnosis", "file"),
)
_WHOLE = ("point", "line", "seed", "checked", "failed", "proved", "weak", *KILL_SCORE, *map(str, VERDICTS))
_OF_PAIR = {"": "float64", "_point": "int64", "_entry": "str"}
"""What the summary says of a pair of methods: the largest difference, and where it is."""

_KIND = dict.fromkeys(_TEXTS, "str") | dict.fromkeys(_WHOLE, "int64") | dict.fromkeys(("own", "passes"), "bool")
"""What a column holds, whatever the file; all others are floats."""

_MISSING: Mapping[str, Any] = {"int64": 0, "bool": False, "float64": float("nan")}

_OF_ROW = tuple(name for name, kind in COLUMNS.items() if not kind.startswith("Mapping"))

# What is skipped in front is what spreadsheets skip: blanks, quotes, control characters and marks of no width. The
# wide forms of the four signs count as the signs themselves in some of them.
_FORMULA = re.compile("[\\s'\"\x00-\x20\x7f\u200b-\u200f\ufeff]*?[=+\\-@\t\r\n\uff1d\uff0b\uff0d\uff20]")


def write(run: Run, folder: str | Path) -> list[Path]:
    """Writes the three files into a folder, each whole or not at all, and returns their paths.

    Raises UsageError where the folder cannot be made or written.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     [path.name for path in write(Run(cases=(), seed=0, points=64), folder)]
    ['results.csv', 'points.csv', 'summary.csv']
    """
    paths = {name: Path(folder) / f"{name}.csv" for name in FRAMES}
    with ExitStack() as stack:
        files = {name: stack.enter_context(replacing(path)) for name, path in paths.items()}
        for number, tables in enumerate(parts(run)):
            for name, frame in tables.items():
                _write(frame, files[name], header=number == 0)
    return list(paths.values())


def read(folder: str | Path, name: Table) -> pd.DataFrame:
    """A table as it was before it was written: exact floats, whole numbers, truth values, text as it was.

    Raises UsageError where the file cannot be read.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = write(Run(cases=(), seed=0, points=64), folder)
    ...     str(read(folder, "results")["symbolic"].dtype), str(read(folder, "summary")["passes"].dtype)
    ('float64', 'bool')
    """
    import pandas as pd

    path = Path(folder, f"{name}.csv")
    try:
        header = list(pd.read_csv(path, nrows=0).columns)
        kinds = {column: _kind_of(column) for column in ("case", *header[1:])}  # every file of ours begins so
        text = [column for column, kind in kinds.items() if kind == "str"]
        floats = [column for column, kind in kinds.items() if kind == "float64"]
        # Not as categories: those turn texts that all look like numbers into numbers.
        frame = pd.read_csv(path, dtype=kinds | dict.fromkeys(floats, "str"), keep_default_na=False)
        # Not every pandas parses a float to the nearest double by default; float of Python and NumPy does.
        numbers = {column: frame[column].to_numpy(object).astype("float64") for column in floats}
        return frame.assign(**numbers, **{column: _restored(frame[column]) for column in text})
    except (OSError, ValueError, KeyError) as error:
        raise UsageError(f"cannot read {path}: {error}. Expected a file that `verify run --csv` wrote") from error


def is_formula(text: str) -> bool:
    """Whether a spreadsheet might run the text as a formula.

    >>> is_formula("=1+1"), is_formula(" '@SUM(A1)"), is_formula("a=b"), is_formula("[0, 2]")
    (True, True, False, False)
    """
    return _FORMULA.match(text) is not None


def defuse(text: str) -> str:
    """The text, with an apostrophe in front where it :func:`is_formula`.

    >>> defuse("=1+1"), defuse("x")
    ("'=1+1", 'x')
    """
    return f"'{text}" if is_formula(text) else text


def restore(text: str) -> str:
    """What :func:`defuse` was given.

    >>> restore("'=1+1"), restore("'quoted'")
    ('=1+1', "'quoted'")
    """
    return text[1:] if text.startswith("'") and is_formula(text[1:]) else text


def parts(run: Run) -> Iterator[dict[Table, pd.DataFrame]]:
    """The three tables in parts, one below the other, each of as many cases as have some :data:`ROWS_OF_A_PART` rows.

    >>> [list(tables) for tables in parts(Run(cases=(), seed=0, points=64))]
    [['results', 'points', 'summary']]
    """
    cases: list[CaseResult] = []
    rows = 0
    for case in run.whole:
        cases.append(case)
        rows += sum(len(variable.rows) for variable in case.variables)
        if rows >= ROWS_OF_A_PART:
            yield {name: frame(run, cases) for name, frame in FRAMES.items()}
            cases, rows = [], 0
    if cases or not run.whole:
        yield {name: frame(run, cases) for name, frame in FRAMES.items()}


def results_frame(run: Run, cases: Sequence[CaseResult] | None = None) -> pd.DataFrame:
    """One row for each case, point, variable and entry; R rows, text columns as categories. Of some cases, where given.

    >>> len(results_frame(Run(cases=(), seed=0, points=64)))
    0
    """
    extra = sorted({m for c in run.cases for v in c.variables for m in v.rows.values} - set(METHODS))
    methods, pairs = (*METHODS, *extra), (f"{a}_{b}" for a, b in _pairs(run))
    first = ("case", "variable", "quantity", "entry", "point", "origin", *methods, *pairs)
    columns = _Columns((*first, *_OF_ROW, "error", *(f"{method}_ulps" for method in methods), "file", "line", "seed"))
    for case in run.cases if cases is None else cases:
        for variable in case.variables:
            columns.add(len(variable.rows), _result_columns(case, variable))
        for verdict, reason in whole_case_rows(case):
            named = {"case": case.name, "reason": reason, "verdict": verdict, "file": case.file, "seed": case.seed}
            columns.add(1, {**named, "point": -1, "passes": verdict == Verdict.UNDECIDED})
    return columns.frame()


def points_frame(run: Run, cases: Sequence[CaseResult] | None = None) -> pd.DataFrame:
    """One row for each case, point, input and entry, so that no cell holds an array.

    >>> len(points_frame(Run(cases=(), seed=0, points=64)))
    0
    """
    columns = _Columns(("case", "point", "origin", "own", "note", "input", "shape", "entry", "value", "file"))
    for case in run.cases if cases is None else cases:
        for point in case.points:
            for name, value in point.values.items():
                _add_input(columns, case, point, name, value)
    return columns.frame()


def summary_frame(run: Run, cases: Sequence[CaseResult] | None = None) -> pd.DataFrame:
    """One row for each variable of each case, over all rows that were checked.

    >>> len(summary_frame(Run(cases=(), seed=0, points=64)))
    0
    """
    pairs = (f"{a}_{b}{part}" for a, b in _pairs(run) for part in _OF_PAIR)
    first = ("case", "variable", "quantity", "role", "shape", "form", "checked", *VERDICTS, "failed", "verdict")
    last = ("reason", "diagnosis", *KILL_SCORE, "file", "line", "seed")
    columns = _Columns((*first, "passes", "proved", "weak", "power", *pairs, *last))
    for case in run.cases if cases is None else cases:
        nowhere = {f"{a}_{b}_point": -1 for a, b in _pairs(run)}
        nowhere |= {name: -1 if case.kill_score is None else getattr(case.kill_score, name) for name in KILL_SCORE}
        for variable in case.variables:
            columns.add(1, {**nowhere, **_summary_row(case, variable)})
        for verdict, reason in whole_case_rows(case):
            named = {"case": case.name, "role": "case", "reason": reason, "file": case.file, "seed": case.seed}
            columns.add(1, {**nowhere, **named, "verdict": verdict, "passes": verdict == Verdict.UNDECIDED})
    return columns.frame()


FRAMES: Mapping[Table, Callable[[Run, Sequence[CaseResult]], pd.DataFrame]] = {
    "results": results_frame,
    "points": points_frame,
    "summary": summary_frame,
}
"""What makes each table, of some of the cases of a run."""


def whole_case_rows(case: CaseResult) -> list[tuple[str, str]]:
    """Verdict and reason of everything that concerns a case as a whole, so that nothing vanishes from the tables.

    >>> whole_case_rows(CaseResult("broken", "cases/broken.yaml", problems=("cases/broken.yaml:3: unknown op",)))
    [('ERROR', 'cases/broken.yaml:3: unknown op')]
    """
    found = [(ERROR, problem) for problem in case.problems]
    found += [(Verdict.FAIL.value, failure) for failure in case.failures]
    found += [(Verdict.FAIL.value, f"{f.kind}: {f.sentence}") for f in case.findings if f.fails]
    found += [(Verdict.UNDECIDED.value, f"{name} unsupported: {why}") for name, why in case.unsupported.items()]
    if not found and not case.variables:
        found = [(Verdict.UNDECIDED.value, "nothing was checked")]
    return found


class _Columns:
    """Columns gathered in pieces. Text is kept as codes into one table, so that a million rows are arrays only."""

    def __init__(self, names: Sequence[str]) -> None:
        self._kinds = {name: _kind_of(name) for name in names}
        self._codes: dict[str, int] = {"": 0}
        self._pieces: dict[str, list[NDArray[Any]]] = {name: [] for name in names}

    def code(self, text: str) -> int:
        """The number of a text in the table of texts."""
        return self._codes.setdefault(text, len(self._codes))

    def add(self, count: int, values: Mapping[str, Any]) -> None:
        """Appends ``count`` rows; a scalar is repeated, texts come as a scalar or as (codes, texts)."""
        import numpy as np

        for name, kind in self._kinds.items():
            value = values.get(name)
            if kind == "str":
                piece = self._text_piece(count, "" if value is None else value)
            else:
                piece = np.full(count, _MISSING[kind] if value is None else value, dtype=kind)
            self._pieces[name].append(piece)

    def _text_piece(self, count: int, value: Any) -> NDArray[np.int32]:
        import numpy as np

        if isinstance(value, str):
            return np.full(count, self.code(value), dtype=np.int32)
        codes, texts = value
        table = np.array([self.code(text) for text in texts], dtype=np.int32)
        piece: NDArray[np.int32] = table[codes]
        return piece

    def frame(self) -> pd.DataFrame:
        """The columns in order as a DataFrame."""
        import numpy as np
        import pandas as pd

        data: dict[str, Any] = {}
        for name, pieces in self._pieces.items():
            kind = self._kinds[name]
            joined = np.concatenate([np.empty(0, dtype="int32" if kind == "str" else kind), *pieces])
            data[name] = self._categories(joined) if kind == "str" else joined
        return pd.DataFrame(data, columns=list(self._kinds))

    def _categories(self, codes: NDArray[np.int32]) -> pd.Categorical:
        import numpy as np
        import pandas as pd

        texts = list(self._codes)
        used, compact = np.unique(codes, return_inverse=True)
        return pd.Categorical.from_codes(compact.tolist(), categories=pd.Index([texts[i] for i in used], dtype="str"))


def _kind_of(name: str) -> str:
    """What a column holds; some are about a pair of methods that only one run had."""
    ending = next((part for part in _OF_PAIR if part and name.endswith(part)), "")
    return _KIND.get(name) or _OF_PAIR[ending]


def _pairs(run: Run) -> tuple[tuple[str, str], ...]:
    """The pairs of methods that were compared in some case of a run."""
    return tuple(
        dict.fromkeys(pair for methods in (METHODS, *(c.methods for c in run.cases)) for pair in pairs_of(methods))
    )


def _result_columns(case: CaseResult, variable: VariableResult) -> dict[str, Any]:
    rows = variable.rows
    told = {name: getattr(rows, name) for name in _OF_ROW}
    told |= {name: (told[name], words) for name in _OF_ROW if (words := rows.words(COLUMNS[name])) is not None}
    return {
        **rows.values,
        **{f"{a}_{b}": column for (a, b), column in differences(rows, pairs_of(case.methods)).items()},
        **told,
        **_error_columns(variable),
        "case": case.name,
        "variable": variable.name,
        "quantity": variable.quantity,
        "entry": _entry_texts(variable),
        "point": rows.point,
        "origin": _origins(case, rows.point),
        "file": variable.file,
        "line": variable.line,
        "seed": case.seed,
    }


def _error_columns(variable: VariableResult) -> dict[str, Any]:
    """Of the proved rows ``error``, that of the worst method but central, which has its own bound; and units of it."""
    import numpy as np

    rows = variable.rows
    held = [column for method, column in rows.errors.items() if method != "central"]
    if not held:
        return {}
    with np.errstate(all="ignore"):
        ulp = np.spacing(np.abs(rows.reference).astype(variable.dtype)).astype(np.float64)
        units = {f"{method}_ulps": column / ulp for method, column in rows.errors.items()}
    return {"error": np.fmax.reduce(held), **units}


def _entry_texts(variable: VariableResult) -> tuple[NDArray[np.int64], list[str]]:
    import numpy as np

    entries, codes = np.unique(variable.rows.entry, return_inverse=True)
    return codes, [format_entry(unravel(int(entry), variable.shape)) for entry in entries]


def _origins(case: CaseResult, ids: NDArray[np.int64]) -> tuple[NDArray[np.int64], list[str]]:
    import numpy as np

    origin = {point.id: point.origin for point in case.points}
    known, codes = np.unique(ids, return_inverse=True)
    return codes, [origin.get(int(id_), "") for id_ in known]


def _add_input(columns: _Columns, case: CaseResult, point: Point, name: str, value: Any) -> None:
    import numpy as np

    array = np.asarray(value, dtype=np.float64)
    base = {"case": case.name, "point": point.id, "origin": point.origin, "own": point.own, "note": point.note}
    base |= {"input": name, "shape": shape_text(array.shape), "file": case.file}
    if array.size > MOST_ENTRIES:
        columns.add(1, {**base, "entry": "..."})
        return
    entries = [format_entry(index) for index in np.ndindex(array.shape)]
    columns.add(array.size, {**base, "entry": (np.arange(array.size), entries), "value": array.ravel()})


def _summary_row(case: CaseResult, variable: VariableResult) -> dict[str, Any]:
    counted = ("checked", "failed", "proved", "weak", "power", "passes", "verdict")
    row = {name: getattr(variable, name) for name in ("quantity", "role", "form", "file", "line", *counted)}
    row |= {"case": case.name, "variable": variable.name, "shape": shape_text(variable.shape), "seed": case.seed}
    row |= {verdict.value: variable.counts.get(verdict, 0) for verdict in VERDICTS}
    row["diagnosis"] = "; ".join(variable.diagnosis)
    for difference in variable.differences:
        pair = "_".join(difference.pair)
        row[pair] = difference.largest
        row[f"{pair}_point"] = difference.point
        row[f"{pair}_entry"] = format_entry(difference.entry)
    return row


def _write(frame: pd.DataFrame, file: TextIO, *, header: bool) -> None:
    text = frame.select_dtypes("category").columns
    shown = frame.assign(**{name: frame[name].cat.rename_categories(defuse) for name in text})
    # A lone carriage return ends a row for readers unless it is quoted, and Python quotes only what it must.
    bare_return = any("\r" in category for name in text for category in shown[name].cat.categories)
    quoting: Literal[0, 2] = csv.QUOTE_NONNUMERIC if bare_return else csv.QUOTE_MINIMAL
    shown.to_csv(file, index=False, header=header, na_rep="nan", lineterminator="\n", quoting=quoting)


def _restored(column: pd.Series[Any]) -> pd.Series[Any]:
    texts = {text: restore(text) for text in column.unique()}
    return column.map(texts).astype("category" if column.name == "verdict" else "str")

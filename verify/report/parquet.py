"""The tables of :mod:`verify.report.csv` as Parquet: the same columns with their types, in a fraction of the bytes.

Nothing runs text of a Parquet file as a formula, so that texts are as they are. Needs pyarrow.
"""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from verify.errors import UsageError
from verify.files import replacing
from verify.records import Run
from verify.report.csv import FRAMES, parts

if TYPE_CHECKING:
    import pandas as pd


def write(run: Run, folder: str | Path) -> list[Path]:
    """Writes the three files into a folder, part by part, each whole or not at all, and returns their paths.

    Raises UsageError where pyarrow is not installed, or the folder cannot be written.

    >>> import tempfile, pytest
    >>> _ = pytest.importorskip("pyarrow")
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     [path.name for path in write(Run(cases=(), seed=0, points=64), folder)]
    ['results.parquet', 'points.parquet', 'summary.parquet']
    """
    try:
        from pyarrow.parquet import ParquetWriter
    except ImportError as error:
        message = "--parquet needs pyarrow. Install it by: pip install 'verify-gradients[parquet]'"
        raise UsageError(message) from error
    paths = {name: Path(folder) / f"{name}.parquet" for name in FRAMES}
    with ExitStack() as stack:
        files: dict[str, Any] = {name: stack.enter_context(replacing(path)) for name, path in paths.items()}
        writers: dict[str, Any] = {}
        for tables in parts(run):
            for name, frame in tables.items():
                table = _table(frame)
                if name not in writers:
                    writers[name] = stack.enter_context(ParquetWriter(files[name].buffer, table.schema))
                writers[name].write_table(table)
    return list(paths.values())


def _table(frame: pd.DataFrame) -> Any:
    """A table of one schema, whatever texts there are in this part."""
    import pyarrow as pa

    columns = {}
    for name, column in frame.items():
        if column.dtype == "category":
            # What UTF-8 cannot hold, a lone surrogate out of a YAML escape, is its escape, as in all reports.
            texts = [text.encode("utf-8", "backslashreplace").decode() for text in column.cat.categories]
            codes = pa.array(column.cat.codes.to_numpy("int32"))
            columns[str(name)] = pa.DictionaryArray.from_arrays(codes, pa.array(texts, pa.string()))
        else:
            columns[str(name)] = pa.array(column.to_numpy())
    return pa.table(columns)

"""What a terminal is told while cases run and reports are written: done of all, failures so far, time left."""

from __future__ import annotations

import sys
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from verify.errors import line_of
from verify.records import CaseResult
from verify.report.cause import cut
from verify.report.failures import failures

if TYPE_CHECKING:
    from rich.progress import Progress

LONGEST_NAME = 24
"""Characters of a name beside the bar."""


class CheckingProgress:
    """A bar on stderr where that is a terminal, nothing in a pipe; what fails stays above it as it comes.

    >>> with CheckingProgress(2) as progress:
    ...     progress.checked(CaseResult("f", "f.yaml"))
    ...     progress.failed
    0
    """

    def __init__(self, files: int, what: str = "checking") -> None:
        self._bar: Progress | None = None
        self._done: set[str] = set()
        self.failed = 0
        if sys.stderr.isatty() and files > 1:
            from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

            from verify.report.terminal import make_console

            told, left = TextColumn("{task.description}", markup=False), TextColumn("left", style="dim")
            columns = (told, BarColumn(bar_width=20), MofNCompleteColumn(), TimeRemainingColumn(compact=True), left)
            self._bar = Progress(*columns, console=make_console(sys.stderr), transient=True)
            self._task = self._bar.add_task(what, total=files)

    def __enter__(self) -> Self:
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def checked(self, result: CaseResult) -> None:
        """A result has come: of a case at one of its sizes."""
        self.failed += not result.passes
        if self._bar is None:
            return
        if not result.passes:
            for found in failures([result])[:1]:
                self._bar.console.print(found.what, style="red", soft_wrap=True)
        failed = f", {self.failed} failed" if self.failed else ""
        self._step(result.file, f"checked {cut(line_of(result.name), LONGEST_NAME)}{failed}")

    def written(self, path: Path) -> None:
        """A report is on the disk."""
        self._step(str(path), f"wrote {cut(line_of(path.name), LONGEST_NAME)}")

    def _step(self, done: str, description: str) -> None:
        if self._bar is not None:
            self._bar.update(self._task, advance=done not in self._done, description=description)
            self._done.add(done)

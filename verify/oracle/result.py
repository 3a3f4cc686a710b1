"""What the oracle answers: a run over one gradient that can show itself, raise, and become a table."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import TYPE_CHECKING

from verify.errors import WrongGradientError
from verify.records import Run, one_line
from verify.report.csv import results_frame
from verify.report.failures import first_cause
from verify.report.html import render
from verify.report.terminal import make_console, print_run, verdict_line

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, slots=True, repr=False)
class GradientRun(Run):
    """A :class:`~verify.records.Run` as :func:`~verify.oracle.check.check_gradient` returns it.

    >>> print(GradientRun(cases=(), seed=0, points=0))
    0 cases, 0 rows: all pass in 0.0 s, seed 0
    """

    def raise_if_wrong(self) -> GradientRun:
        """Returns itself where everything passes. Raises WrongGradientError where not: the cause, then what it prints.

        >>> GradientRun(cases=(), seed=0, points=0).raise_if_wrong().ok
        True
        """
        __tracebackhide__ = True  # pytest shows the test's own line
        if not self.ok:
            raise WrongGradientError(f"{first_cause(self)}\n\n{self}", self)
        return self

    @property
    def frame(self) -> pd.DataFrame:
        """The rows as a table, as ``results.csv`` has them."""
        return results_frame(self)

    def __repr__(self) -> str:
        """The run in one line: what it came to, or the cause of its failure."""
        passing = f"{self.verdict} {', '.join(one_line(case.name) for case in self.cases[:1])}: {verdict_line(self)}"
        return f"<{type(self).__name__} {first_cause(self) or passing}>"

    def __str__(self) -> str:
        """The run as the command line prints it, in plain text, with its notes."""
        stream = io.StringIO()
        print_run(self, make_console(stream), notes=True)
        return "\n".join(line.rstrip() for line in stream.getvalue().rstrip().split("\n"))

    def _repr_html_(self) -> str:
        """The report as a page in a frame, for notebooks: its styles stay inside."""
        from html import escape

        return f'<iframe srcdoc="{escape(render(self))}" style="width: 100%; height: 32em; border: 0"></iframe>'

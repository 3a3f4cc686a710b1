"""The reports of a session of pytest: all cases and gradients that its tests judged, in the formats of ``verify run``.

Under pytest-xdist each worker sends what it found to the process that started it, which writes. Loaded only where a
report is asked for.
"""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Iterable
from typing import Any

import pytest

from verify.errors import UsageError
from verify.records import METHODS, SUBJECT, CaseResult, Run
from verify.report.formats import FORMATS, Target, asked_targets, make_sure_of, write_reports

SENT = "verify_results"
"""The name under which a worker sends its results."""


class Reports:
    """What tests found, until the session ends; a plugin of pytest."""

    def __init__(self, config: pytest.Config, targets: list[Target]) -> None:
        self._config = config
        self._targets = targets
        self._results: list[CaseResult] = []
        self._told: list[str] = []
        self._started = time.time()

    def add(self, results: Iterable[CaseResult]) -> None:
        """Results of one test."""
        self._results += results

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any, error: Any) -> None:
        """A worker of pytest-xdist has ended: what it sent."""
        del error  # a worker that was lost has sent nothing
        from verify.running.codec import unpacked

        for body in getattr(node, "workeroutput", {}).get(SENT, ()):
            self._results.append(unpacked(body))

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self) -> None:
        """Sends the results to who started this worker, or writes the reports."""
        output = getattr(self._config, "workeroutput", None)
        if output is not None:
            from verify.running.codec import packed

            output[SENT] = [packed(result) for result in self._results]
            return
        from verify.running.units import versions

        methods = dict.fromkeys(method for result in self._results for method in result.methods)
        run = Run(
            cases=tuple(self._results),
            seed=self._config.getoption("verify_seed"),
            points=self._config.getoption("verify_points"),
            methods=(*(SUBJECT,) * (SUBJECT in methods), *METHODS) if methods else METHODS,
            versions=versions(),
            started=dt.datetime.fromtimestamp(self._started, dt.UTC).isoformat(timespec="seconds"),
            seconds=time.time() - self._started,
        )
        written, failed = write_reports(run, self._targets, all_rows=False)
        self._told = [f"verify: wrote {path}" for path in written] + [f"verify: {fault}" for fault in failed]

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        """Says what was written."""
        for line in self._told:
            terminalreporter.write_line(line)


def asked_reports(config: pytest.Config) -> Reports | None:
    """What is to be written, None where nobody asked. Raises pytest.UsageError where it could not be."""
    named = {kind: config.getoption(f"verify_{kind}") for kind, form in FORMATS.items() if not form.files}
    try:
        targets = asked_targets(named)
        make_sure_of(targets if not hasattr(config, "workerinput") else [])
    except UsageError as error:
        raise pytest.UsageError(f"verify: {error}") from None
    return Reports(config, targets) if targets else None

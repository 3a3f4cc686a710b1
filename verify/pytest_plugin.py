"""pytest: every case file in the folders that a project names is a test.

The plugin does nothing until a project asks for it, by ``verify_cases = cases`` among its pytest settings or by
``--verify-cases cases`` on the command line. Loading it, and collecting, imports nothing but pytest.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from verify.options import add_run_options, settings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from verify.records import CaseResult

SUFFIXES = (".yaml", ".yml")
GROUPS_SHOWN = 3
"""How many kinds of failure a report tells in full; the rows of the others are counted."""


class CaseFailedError(Exception):
    """Ends a test whose case does not pass; carries what was found."""

    def __init__(self, result: CaseResult) -> None:
        super().__init__(f"case '{result.name}' does not pass: {result.status}")
        self.result = result


class CaseFile(pytest.File):
    """A case file; it holds one case."""

    def collect(self) -> Iterator[CaseItem]:
        """The file's one test, named after the file, so that collecting need not read it."""
        yield CaseItem.from_parent(self, name=self.path.stem)


class CaseItem(pytest.Item):
    """One case as a test."""

    def runtest(self) -> None:
        """Runs the case; raises CaseFailedError where it does not pass."""
        from verify.runner import run_case

        result = run_case(self.path, settings(lambda name: self.config.getoption(f"verify_{name}")))
        if not result.passes:
            raise CaseFailedError(result)

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        """What does not pass, in the case's own terms; a traceback only where this program is at fault."""
        if isinstance(excinfo.value, CaseFailedError):
            return failure_text(excinfo.value.result)
        return super().repr_failure(excinfo, style)

    def reportinfo(self) -> tuple[Path, int, str]:
        """File, line (from 0) and heading of the report."""
        return self.path, 0, f"case file {self.name}"


def failure_text(result: CaseResult) -> str:
    """Everything that keeps a case from passing, as text.

    >>> from verify.records import CaseResult
    >>> print(failure_text(CaseResult("f", "cases/f.yaml", problems=("cases/f.yaml:3: unknown name 'z'",))))
    cases/f.yaml:3: unknown name 'z'
    """
    from verify.report.select import failure_groups
    from verify.report.terminal import describe_group

    groups = failure_groups(result)[:GROUPS_SHOWN]
    blocks = [*result.problems, *result.failures, *(describe_group(group, result) for group in groups)]
    others = sum(variable.failed for variable in result.variables) - sum(group.rows for group in groups)
    if others:
        blocks.append(f"{others} rows more do not pass; 'verify run {result.file}' reports them all")
    return "\n\n".join(blocks)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Adds the options of ``verify run``, each behind ``--verify-``, and the two ways to name folders of cases."""
    group = parser.getgroup("verify", "gradient checks of case files")
    add_run_options(group.addoption, "--verify-")
    group.addoption(
        "--verify-cases",
        action="append",
        default=[],
        metavar="FOLDER",
        help="collect the case files in this folder too; may be given several times",
    )
    parser.addini("verify_cases", "folders whose YAML files are case files, each a test", type="paths", default=[])


def pytest_configure(config: pytest.Config) -> None:
    """Refuses folders that are not there, and sees to it that those named by option are collected."""
    for folder in case_folders(config):
        if not folder.exists():
            message = f"verify: no such folder of cases: {folder}; mend 'verify_cases' or '--verify-cases'"
            raise pytest.UsageError(message)
    here = config.invocation_params.dir
    wanted = [here / name for name in config.getoption("verify_cases")]
    if config.args_source is not config.ArgsSource.ARGS:
        wanted = case_folders(config)  # nobody named paths: 'testpaths' must not hide the cases
    for folder in wanted:
        asked = [(here / argument.split("::")[0]).resolve() for argument in config.args]
        if not any(folder.resolve().is_relative_to(path) for path in asked):
            config.args.append(str(folder))


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> CaseFile | None:
    """A YAML file is a case file where a folder of cases holds it; every other file is left to others."""
    if file_path.suffix not in SUFFIXES:
        return None
    found = file_path.resolve()
    if any(found.is_relative_to(folder) for folder in case_folders(parent.config)):
        return CaseFile.from_parent(parent, path=file_path)
    return None


def case_folders(config: pytest.Config) -> list[Path]:
    """The folders that the settings and the options name, absolute and in order."""
    by_option = [config.invocation_params.dir / name for name in config.getoption("verify_cases")]
    return [folder.resolve() for folder in (*config.getini("verify_cases"), *by_option)]

"""pytest: every case file in the folders that a project names is a test, and tests may judge gradients.

Case files are collected where a project asks for it, by ``verify_cases = cases`` among its pytest settings or by
``--verify-cases cases`` on the command line. The fixture ``gradient_oracle`` judges a gradient against a case. Loading
the plugin, and collecting, imports nothing but pytest.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from verify.commands.options import add_run_options, check_arguments, settings
from verify.report.formats import FORMATS

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Sequence

    from verify.pytest_reports import Reports
    from verify.records import CaseResult, Run

SUFFIXES = (".yaml", ".yml")

REPORTS: pytest.StashKey[Reports] = pytest.StashKey()
"""Where a session keeps what its tests found, if a report was asked for."""


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
        """Runs the case, at other sizes too; raises CaseFailedError at the first size where it does not pass."""
        from verify.running.runner import run_file

        for result in run_file(self.path, settings(lambda name: self.config.getoption(f"verify_{name}"))):
            keep(self, [result])
            if not result.passes:
                raise CaseFailedError(result)

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        """What does not pass, in the case's own terms; a traceback only where this program is at fault."""
        if isinstance(excinfo.value, CaseFailedError):
            from verify.report.terminal import describe_case

            return describe_case(excinfo.value.result)
        return super().repr_failure(excinfo, style)

    def reportinfo(self) -> tuple[Path, int, str]:
        """File, line (from 0) and heading of the report."""
        return self.path, 0, f"case file {self.name}"


def keep(item: pytest.Item, results: Sequence[CaseResult]) -> None:
    """Keeps what a test found, for the reports of the session and for the properties of its own."""
    reports = item.config.stash.get(REPORTS, None)
    if reports is not None:
        reports.add(results)
    if not all(result.passes for result in results):
        from verify.report.failures import failures

        for found in failures(results)[:1]:
            told = {"finding": found.what, "suspect": found.suspect, "place": f"{found.file}:{found.line}"}
            item.user_properties.extend((f"verify_{name}", text) for name, text in told.items() if text)


class GradientOracle:
    """Judges gradients for one test, with the options that pytest was given; the fixture ``gradient_oracle``."""

    def __init__(self, item: pytest.Item, case: str | None) -> None:
        self.run: Run | None = None
        """What was found last, also where it ended the test."""
        self._item = item
        self._config = item.config
        self._test_file = item.path
        self._marked = case

    @property
    def case(self) -> Path | None:
        """The file of the test's own case, by its marker ``gradient_case``; None without one."""
        return None if self._marked is None else self._file_of(self._marked)

    def __call__(self, gradient: Callable[..., Any], case: Any = None, **options: Any) -> Run:
        """Judges a gradient as ``verify.check_gradient`` does; raises WrongGradientError where it does not pass.

        ``case`` is a case, its path (from the test's folder or from pytest's root) or its name, or a function; without
        it the marker's. Of ``options`` those of ``verify run`` come before what pytest was told by ``--verify-…``.
        """
        __tracebackhide__ = True
        from verify.oracle.check import check_gradient

        def judge(**asked: Any) -> Run:
            given = self.case if case is None else self._file_of(case) if isinstance(case, str) else case
            if given is None:
                raise pytest.UsageError(NO_CASE)
            return check_gradient(gradient, given, **asked)

        return self._judged(judge, **options)

    def layer(self, forward: Any, backward: Callable[..., Any] | None = None, **arguments: Any) -> Run:
        """Judges a forward and its backward as ``verify.check_layer`` does; raises WrongGradientError likewise."""
        __tracebackhide__ = True
        from verify.oracle.layers import check_layer

        return self._judged(check_layer, forward, backward, **arguments)

    def kernel(self, kernel: Any, reference: Callable[..., Any], **options: Any) -> Any:
        """Judges a kernel in low precision as ``verify.check_kernel`` does; raises WrongGradientError likewise."""
        __tracebackhide__ = True
        from verify.kernels.check import check_kernel

        return check_kernel(kernel, reference, **options).raise_if_wrong()

    def loss(self, loss: Callable[..., Any], **arguments: Any) -> Run:
        """Judges a loss that returns its gradient too, as ``verify.check_loss`` does; raises likewise."""
        __tracebackhide__ = True
        from verify.oracle.layers import check_loss

        return self._judged(check_loss, loss, **arguments)

    def by(self, check: Callable[..., Run], *given: Any, **options: Any) -> Run:
        """Judges by another check of ``verify``, such as ``check_hessian``; raises WrongGradientError likewise."""
        __tracebackhide__ = True
        return self._judged(check, *given, **options)

    def _judged(self, judge: Callable[..., Run], *given: Any, **options: Any) -> Run:
        __tracebackhide__ = True
        from verify.errors import VerifyError, WrongGradientError

        self.run = None
        try:
            asked = check_arguments(lambda name: self._config.getoption(f"verify_{name}"), options)
            self.run = judge(*given, **asked)
        except VerifyError as error:
            raise WrongGradientError(str(error)) from None
        keep(self._item, self.run.cases)
        if not self.run.ok:
            raise WrongGradientError(run_text(self.run), self.run)
        return self.run

    def _file_of(self, name: str) -> Path:
        from verify.case.files import find_case

        for folder in (self._test_file.parent, self._config.rootpath):
            if (folder / name).is_file():
                return folder / name
        return find_case(name, case_folders(self._config))


@pytest.fixture
def gradient_oracle(request: pytest.FixtureRequest) -> GradientOracle:
    """Judges a gradient against a case: ``gradient_oracle(backward, "sigmoid_neuron")``.

    A marker gives the test a case of its own: ``@pytest.mark.gradient_case("sigmoid_neuron")``. The call returns the
    run, for further asserts, and ends the test where the gradient does not pass.
    """
    marker = request.node.get_closest_marker("gradient_case")
    if marker is not None and (len(marker.args) != 1 or marker.kwargs or not isinstance(marker.args[0], str | Path)):
        message = f"the marker gradient_case takes one case, by path or by name, got {marker.args} {marker.kwargs}"
        raise pytest.UsageError(message)
    return GradientOracle(request.node, None if marker is None else str(marker.args[0]))


NO_CASE = (
    "gradient_oracle needs a case: gradient_oracle(backward, 'sigmoid_neuron'), or the marker "
    "@pytest.mark.gradient_case('sigmoid_neuron') on the test"
)
"""What a test is told that names none."""


def run_text(run: Run) -> str:
    """Everything that keeps a run from passing, as text, the cause in the first line.

    >>> from verify.records import CaseResult, Run
    >>> print(run_text(Run((CaseResult("f", "f.yaml", problems=("f.yaml:3: unknown name 'z'",)),), seed=0, points=4)))
    ERROR f.yaml:3: unknown name 'z'
    <BLANKLINE>
    f.yaml:3: unknown name 'z'
    """
    from verify.report.failures import first_cause
    from verify.report.terminal import describe_case

    told = [describe_case(result) for result in run.cases if not result.passes]
    first = first_cause(run)
    return "\n\n".join(told if told and told[0].startswith(first) else [first, *told])


def pytest_addoption(parser: pytest.Parser) -> None:
    """Adds the options of ``verify run``, each behind ``--verify-``, and the two ways to name folders of cases."""
    group = parser.getgroup("verify", "gradient checks of case files")
    add_run_options(group.addoption, "--verify-")
    for name, kind in FORMATS.items():
        if not kind.files:
            group.addoption(f"--verify-{name}", metavar="FILE", help=f"{kind.told}, of all that the tests judged")
    group.addoption(
        "--verify-cases",
        action="append",
        default=[],
        metavar="FOLDER",
        help="collect the case files in this folder too; may be given several times",
    )
    parser.addini("verify_cases", "folders whose YAML files are case files, each a test", type="paths", default=[])


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(call: pytest.CallInfo[None]) -> Generator[None, Any, Any]:
    """The one line of a summary, and the message of a JUnit file, are the finding and why, without the exception."""
    report = yield
    error = call.excinfo.value if call.excinfo is not None else None
    crash = getattr(report.longrepr, "reprcrash", None)
    run: Run | None = getattr(error, "run", None) if type(error).__name__ == "WrongGradientError" else None
    if crash is not None and run is not None:
        from verify.report.failures import failures

        found = failures(run.cases)[:1]
        crash.message = "\n".join(line for failure in found for line in (failure.what, *failure.why))
    return report


def pytest_configure(config: pytest.Config) -> None:
    """Refuses folders that are not there, and sees to it that those named by option are collected."""
    if any(config.getoption(f"verify_{name}", None) for name, kind in FORMATS.items() if not kind.files):
        from verify.pytest_reports import asked_reports

        reports = asked_reports(config)
        if reports is not None:
            config.stash[REPORTS] = reports
            config.pluginmanager.register(reports, "verify-reports")
    config.addinivalue_line("markers", "gradient_case(case): the case of the fixture gradient_oracle, by path or name")
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
    if file_path.suffix.lower() not in SUFFIXES:
        return None
    found = file_path.resolve()
    if any(found.is_relative_to(folder) for folder in case_folders(parent.config)):
        return CaseFile.from_parent(parent, path=file_path)
    return None


def case_folders(config: pytest.Config) -> list[Path]:
    """The folders that the settings and the options name, absolute and in order."""
    by_option = [config.invocation_params.dir / name for name in config.getoption("verify_cases")]
    return [folder.resolve() for folder in (*config.getini("verify_cases"), *by_option)]

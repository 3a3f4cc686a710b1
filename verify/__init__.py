"""Is this gradient right? A function is written once, differentiated three ways, and the answers are cross-checked.

>>> import verify
>>> case = verify.shipped_cases() / "notes" / "staged_function.yaml"
>>> result = verify.run_case(case, verify.Settings(points=8, seed=0))
>>> result.passes, result.status
(True, 'PASS')

Nothing is imported before it is asked for, so ``import verify`` costs next to nothing.
"""

from verify.version import __version__

TYPE_CHECKING = False  # not from typing, which would be the most expensive part of ``import verify``
if TYPE_CHECKING:
    from verify.case.case import Case, load_case, load_case_text
    from verify.case.files import find_case, find_case_files, shipped_cases
    from verify.case.writer import save_case
    from verify.emitting.passes import emit
    from verify.errors import CaseError, TraceError, UsageError, VerifyError, WeakCheckWarning, WrongGradientError
    from verify.graph.graph import Graph, GraphBuilder
    from verify.kernels.check import KernelRun, check_kernel
    from verify.oracle.check import check_gradient
    from verify.oracle.layers import check_layer, check_loss
    from verify.oracle.objectives import check_objective, check_scipy
    from verify.oracle.orders import check_hessian, check_hvp, check_jacobian, check_jvp
    from verify.oracle.result import GradientRun
    from verify.records import CaseResult, Row, Run, VariableResult
    from verify.running.runner import run_case, run_cases
    from verify.running.settings import Settings
    from verify.tracing.trace import trace
    from verify.words import Verdict

__all__ = [
    "Case",
    "CaseError",
    "CaseResult",
    "GradientRun",
    "Graph",
    "GraphBuilder",
    "KernelRun",
    "Row",
    "Run",
    "Settings",
    "TraceError",
    "UsageError",
    "VariableResult",
    "Verdict",
    "VerifyError",
    "WeakCheckWarning",
    "WrongGradientError",
    "__version__",
    "check_gradient",
    "check_hessian",
    "check_hvp",
    "check_jacobian",
    "check_jvp",
    "check_kernel",
    "check_layer",
    "check_loss",
    "check_objective",
    "check_scipy",
    "emit",
    "find_case",
    "find_case_files",
    "load_case",
    "load_case_text",
    "run_case",
    "run_cases",
    "save_case",
    "shipped_cases",
    "trace",
]

_HOMES = {
    "verify.emitting.passes": ("emit",),
    "verify.case.case": ("Case", "load_case", "load_case_text"),
    "verify.case.writer": ("save_case",),
    "verify.errors": ("CaseError", "TraceError", "UsageError", "VerifyError", "WeakCheckWarning", "WrongGradientError"),
    "verify.graph.graph": ("Graph", "GraphBuilder"),
    "verify.kernels.check": ("KernelRun", "check_kernel"),
    "verify.oracle.check": ("check_gradient",),
    "verify.oracle.result": ("GradientRun",),
    "verify.oracle.layers": ("check_layer", "check_loss"),
    "verify.oracle.objectives": ("check_objective", "check_scipy"),
    "verify.oracle.orders": ("check_hessian", "check_hvp", "check_jacobian", "check_jvp"),
    "verify.records": ("CaseResult", "Row", "Run", "VariableResult"),
    "verify.words": ("Verdict",),
    "verify.case.files": ("find_case", "find_case_files", "shipped_cases"),
    "verify.running.runner": ("run_case", "run_cases"),
    "verify.running.settings": ("Settings",),
    "verify.tracing.trace": ("trace",),
}


def __getattr__(name: str) -> object:
    """A public name, fetched from the module that defines it when it is first used."""
    import importlib

    for home, names in _HOMES.items():
        if name in names:
            globals()[name] = getattr(importlib.import_module(home), name)
            return globals()[name]
    message = f"module 'verify' has no attribute '{name}'"
    raise AttributeError(message)


def __dir__() -> list[str]:
    """The public names, whether fetched yet or not."""
    return sorted({*globals(), *__all__})

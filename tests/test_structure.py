"""The plan of the house, held by tests: what stands where, who may import whom, what loads quickly, what is explained.

Each rule is tried on planted faults too, so that a rule that stopped biting is found.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import verify

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "verify"
TOP_LEVEL = {"verify", "cases", "tests", "reports", "pyproject.toml", "README.md", "LICENSE", "CHANGELOG.md"}
HEAVY = ("numpy", "sympy", "mpmath", "flint", "pandas", "scipy", "hypothesis", "pydantic", "ruamel", "rich", "jinja2")

FLOORS: tuple[tuple[str, ...], ...] = (
    ("errors", "limits", "records", "report.atomic", "workers"),
    (
        "ops.row",
        "ops.axes",
        "ops.ball_forms",
        "ops.ball_matrices",
        "ops.ball_functions",
        "ops.sympy_forms",
        "ops.elementwise",
        "ops.exponentials",
        "ops.trigonometric",
        "ops.special",
        "ops.kinked",
        "ops.products",
        "ops.reductions",
        "ops.shaping",
        "ops.einsum",
        "ops.scans",
        "ops.extrema",
        "ops.softmax",
        "ops.linear_algebra",
        "ops.convolution",
        "ops",
        "ops.parameters",
    ),
    (
        "streams",
        "graph",
        "lengths",
        "certified.matrix_bounds",
        "certified.balls",
        "interpret",
        "certified.work",
        "certified.taylor",
        "symbolic.formula",
        "reading.syntax",
        "reading.expression",
        "reading.expression_text",
        "symbolic.symbols",
    ),
    (
        "derivative",
        "symbolic.matrix_forms",
        "symbolic.closed_forms",
        "symbolic.polynomials",
        "symbolic.implicit",
        "symbolic.pieces",
        "symbolic",
        "methods.symbolic",
        "methods.reverse",
        "methods.central",
        "foreign",
        "methods.torch",
        "methods.jax",
        "methods.autograd",
        "methods",
        "reading.yaml_source",
        "reading.case_format",
        "reading.case_values",
        "reading.case",
        "reading.case_files",
        "reading.case_template",
        "reading.case_writer",
        "reading",
        "emitting.texts",
        "emitting.templates",
        "emitting.passes",
        "emitting",
        "foreign_call",
        "tracing.places",
        "tracing.storage",
        "tracing.excluded",
        "tracing.conditions",
        "tracing.numpy_rules",
        "tracing.tracer",
        "tracing.recorder",
        "tracing.preserving",
        "tracing.shim",
        "tracing.following",
        "tracing.trace",
        "tracing.value_text",
        "tracing.programs",
        "tracing.aten",
        "tracing.jaxpr",
        "tracing",
        "points",
        "codec",
        "cache",
        "sizes",
        "certified.reference",
        "certified.step_bounds",
        "certified",
        "settings",
        "oracle.ball_numbers",
        "oracle.upstreams",
        "oracle.interface",
        "oracle.answers",
        "oracle.convention",
        "oracle.contract",
        "oracle.code_constants",
        "oracle.line_coverage",
        "oracle.subject",
        "oracle.search",
        "oracle.step_law",
        "oracle.short_law",
        "oracle.tied",
        "oracle.function_watch",
        "oracle.measured",
    ),
    (
        "judging.rows",
        "judging.power",
        "judging.underflow",
        "judging.compare",
        "judging.proof",
        "judging.corners",
        "judging.kinks",
        "judging.audit",
        "judging.branches",
        "judging.context",
        "judging.step_records",
        "judging.conditioning",
        "judging.saved_values",
        "judging.slopes_beside",
        "judging.prover",
        "judging.examine",
        "judging.judge",
        "judging.large",
        "judging",
        "variants.generate",
        "variants.side_by_side",
        "variants.match",
        "variants.points_again",
        "variants.kill_score",
        "variants.diagnose",
        "variants",
        "oracle.kept_points",
        "oracle.shrink",
        "oracle.weak_checks",
        "judging.passes",
        "preparing",
        "gathering",
        "runner",
        "oracle.given",
        "oracle.function_sizes",
        "matrix",
        "report",
        "report.format",
        "report.select",
        "report.cause",
        "report.csv",
        "report.plot",
        "report.html",
        "report.json",
        "report.terminal",
        "oracle.of_case",
        "oracle.black_box",
        "oracle.outer_kinks",
        "oracle.of_function",
        "oracle.gradient_run",
        "oracle.forward",
        "frameworks.calling",
        "frameworks.read_in_balls",
        "frameworks.torch_functions",
        "frameworks.jax_functions",
        "frameworks.functions",
        "oracle.check",
        "oracle.named",
        "frameworks.torch",
        "frameworks.jax",
        "frameworks.autograd",
        "frameworks",
        "oracle",
    ),
    ("options", "strategies", "bench", "cli", "pytest_plugin", "__main__", ""),
)
"""Every module, from the ground up; "" is the package itself, the public door. A module may import the lower floors,
and those of its own floor that stand before it."""

RANK = {module: (floor, place) for floor, modules in enumerate(FLOORS) for place, module in enumerate(modules)}

WITHOUT_EXAMPLE = {
    "pytest_plugin.pytest_addoption": "a hook: pytest calls it, and tests/test_pytest_plugin.py runs it",
    "pytest_plugin.pytest_configure": "a hook, as above",
    "pytest_plugin.pytest_collect_file": "a hook, as above",
    "pytest_plugin.gradient_oracle": "a fixture: pytest makes it, and tests/test_pytest_plugin.py uses it",
    "pytest_plugin.case_folders": "needs a running pytest; tests/test_pytest_plugin.py runs it",
}
"""Public functions without an example in the docstring, each with the reason."""


def module_name(file: Path) -> str:
    """A file of the package as FLOORS names it: ``report.csv``, or "" for the package itself."""
    parts = file.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def sources() -> dict[str, str]:
    """Every module of the package with its text."""
    return {module_name(file): file.read_text(encoding="utf-8") for file in sorted(PACKAGE.rglob("*.py"))}


def imports(text: str) -> Iterator[tuple[int, str, bool]]:
    """Line, dotted name and whether only type checkers see it, of every import, wherever in the file it stands."""
    tree = ast.parse(text)
    guarded = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name, id(node) in guarded) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            origin = "." * node.level + (node.module or "")
            yield from ((node.lineno, name, id(node) in guarded) for name in imported_from(origin, node.names))


def imported_from(origin: str, names: list[ast.alias]) -> list[str]:
    """What ``from origin import names`` imports: modules of ours by their own names, else the origin."""
    if origin == "verify":
        return [f"verify.{alias.name}" for alias in names]
    inner = [f"{origin}.{alias.name}" for alias in names]
    return list(dict.fromkeys(name if name.removeprefix("verify.") in RANK else origin for name in inner))


def import_faults(module: str, text: str) -> list[str]:
    """What is wrong with the imports of one module, a sentence each."""
    faults = []
    for line, name, typing_only in imports(text):
        if name.startswith("."):
            faults.append(f"{module}:{line}: relative import; write it out as verify.…")
        elif name.split(".")[0] != "verify":
            outside = name.split(".")[0] not in sys.stdlib_module_names
            if outside and not typing_only and RANK[module][0] == 0:
                faults.append(f"{module}:{line}: floor 0 uses the standard library only, not {name}")
        elif name != "verify.__version__":
            faults += [f"{module}:{line}: {fault}" for fault in inner_faults(module, name[len("verify.") :])]
    return faults


def inner_faults(module: str, target: str) -> Iterator[str]:
    """What is wrong with one module of the package importing another."""
    if target not in RANK:
        yield f"{target!r} has no floor"
    elif RANK[target] >= RANK[module]:
        yield f"imports {target} from floor {RANK[target][0]}, which does not stand below it"
    if module.startswith("methods.") and target.startswith("methods"):
        yield f"a method imports {target}: methods are independent of each other"
    if module.startswith("report") and not target.startswith("report") and target not in ("records", "errors"):
        yield f"a report imports {target}: it may know the records and the errors alone"


def public_definitions(text: str) -> Iterator[tuple[str, ast.FunctionDef | ast.ClassDef, bool]]:
    """Name and definition of every public function, class and method, and whether it is a plain function."""
    for node in ast.parse(text).body:
        if not isinstance(node, ast.FunctionDef | ast.ClassDef) or node.name.startswith("_"):
            continue
        yield node.name, node, isinstance(node, ast.FunctionDef)
        if isinstance(node, ast.ClassDef):
            for inner in node.body:
                if isinstance(inner, ast.FunctionDef) and not inner.name.startswith("_"):
                    yield f"{node.name}.{inner.name}", inner, False


def documentation_faults(module: str, text: str) -> list[str]:
    """Public names without a docstring, and public functions whose docstring has no example."""
    faults = [] if ast.get_docstring(ast.parse(text)) else [f"{module}: no docstring"]
    for name, node, is_function in public_definitions(text):
        docstring = ast.get_docstring(node) or ""
        if not docstring:
            faults.append(f"{module}.{name}:{node.lineno}: no docstring")
        elif is_function and ">>> " not in docstring and f"{module}.{name}" not in WITHOUT_EXAMPLE:
            faults.append(f"{module}.{name}:{node.lineno}: no example in the docstring")
    return faults


def heavy_modules_after(code: str) -> list[str]:
    """Which of the heavy modules a fresh Python has loaded after running ``code``."""
    probe = f"{code}\nimport sys\nprint(*[name for name in {HEAVY!r} if name in sys.modules], file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True, cwd=ROOT)
    return done.stderr.split()


def test_the_top_level_is_fixed() -> None:
    """Nothing new stands beside the rooms that the plan names."""
    found = {path.name for path in ROOT.iterdir() if not path.name.startswith(".")}
    assert found - {"build", "dist"} == TOP_LEVEL


def test_every_module_has_a_floor() -> None:
    """A new file must be given its place, and a file that is gone must give it up."""
    assert sorted(RANK) == sorted(sources())


def test_the_methods_folder_is_the_registry() -> None:
    """Each file of methods/ is a method that can be asked for by name, and those of every table are among them."""
    from verify.methods import available
    from verify.options import known_methods
    from verify.records import METHODS

    assert sorted(available()) == sorted(known_methods())
    assert known_methods()[: len(METHODS)] == METHODS


@pytest.mark.parametrize("module", sorted(sources()))
def test_imports_run_down_the_floors(module: str) -> None:
    """A module imports what stands below it and nothing else of the package."""
    assert import_faults(module, sources()[module]) == []


@pytest.mark.parametrize(
    ("module", "planted", "complaint"),
    [
        ("graph", "from verify.reading.case import Case", "does not stand below"),
        ("graph", "import verify.runner", "does not stand below"),
        ("graph", "def f():\n    from verify import cli", "does not stand below"),
        ("graph", "if TYPE_CHECKING:\n    from verify.reading.case import Case", "does not stand below"),
        ("graph", "from verify.graph import Node", "does not stand below"),
        ("certified.balls", "from verify.interpret import run", "does not stand below"),
        ("graph", "from verify.nowhere import x", "has no floor"),
        ("graph", "from verify import run_case", "has no floor"),
        ("graph", "from . import ops", "relative import"),
        ("errors", "import numpy", "standard library only"),
        ("methods.central", "from verify.methods.symbolic import prepare", "independent of each other"),
        ("methods.central", "import verify.methods", "independent of each other"),
        ("report.csv", "from verify.ops import OPS", "records and the errors alone"),
        ("report.csv", "from verify.runner import run_case", "records and the errors alone"),
    ],
)
def test_a_planted_import_is_found(module: str, planted: str, complaint: str) -> None:
    """The twin of the rule above: each kind of forbidden import is named."""
    assert complaint in "\n".join(import_faults(module, planted))


@pytest.mark.parametrize(
    ("module", "allowed"),
    [
        ("graph", "import numpy as np\nfrom verify.ops import OPS"),
        ("interpret", "from verify.graph import Graph"),
        ("records", "import math\nif TYPE_CHECKING:\n    import numpy as np"),
        ("report.csv", "from verify.records import Run\nfrom verify.errors import UsageError"),
        ("cli", "from verify import __version__\nfrom verify.runner import run_cases"),
    ],
)
def test_an_allowed_import_is_not_complained_about(module: str, allowed: str) -> None:
    """The rules let through what the plan allows."""
    assert import_faults(module, allowed) == []


@pytest.mark.parametrize(
    "code",
    [
        "import verify",
        "import verify.options, verify.cli",
        "from verify.cli import main\ntry: main(['--help'])\nexcept SystemExit as stop: assert stop.code == 0",
        "import verify.pytest_plugin",
        "import pytest\nassert pytest.main(['--collect-only', '-q', '-p', 'no:hypothesispytest', 'cases']) == 0",
        "import pytest\nassert pytest.main(['--fixtures', '-q', '-p', 'no:hypothesispytest', 'cases']) == 0",
    ],
    ids=["package", "modules", "help", "plugin", "collecting", "fixtures"],
)
def test_the_doors_load_nothing_heavy(code: str) -> None:
    """Importing the package, asking for help, loading the plugin and collecting cases stay quick."""
    assert heavy_modules_after(code) == []


def test_the_probe_sees_heavy_modules() -> None:
    """The twin of the test above: where something heavy is loaded, the probe says so."""
    assert {"numpy", "sympy", "mpmath"} <= set(heavy_modules_after("import verify.ops"))


@pytest.mark.parametrize("module", sorted(sources()))
def test_everything_public_is_explained(module: str) -> None:
    """Public classes, methods and functions have a docstring; public functions an example, which is run as a test."""
    assert documentation_faults(module, sources()[module]) == []


def test_exemptions_from_examples_are_needed() -> None:
    """An exemption goes when its function has an example, or is gone."""
    exempt = {
        f"{module}.{name}"
        for module, text in sources().items()
        for name, node, is_function in public_definitions(text)
        if is_function and ">>> " not in (ast.get_docstring(node) or "")
    }
    assert set(WITHOUT_EXAMPLE) <= exempt


@pytest.mark.parametrize(
    ("planted", "complaint"),
    [
        ("def f(): pass", "no docstring"),
        ('"""Module."""\ndef f():\n    """Summary."""', "no example"),
        ('"""Module."""\nclass C: pass', "no docstring"),
        ('"""Module."""\nclass C:\n    """Summary."""\n    def f(self): pass', "C.f:4: no docstring"),
    ],
)
def test_planted_gaps_in_the_documentation_are_found(planted: str, complaint: str) -> None:
    """The twin of the rule above."""
    assert complaint in "\n".join(documentation_faults("graph", planted))


def test_what_is_explained_is_not_complained_about() -> None:
    """Private names and documented public ones pass."""
    text = '"""Module."""\ndef f():\n    """Summary.\n\n    >>> f()\n    """\ndef _g(): pass\nclass _C: pass'
    assert documentation_faults("graph", text) == []


def test_the_public_door_opens_on_every_name() -> None:
    """Each public name can be fetched, none is fetched that is not public, and an unknown one is refused."""
    fetched = [name for names in verify._HOMES.values() for name in names]
    assert sorted(verify.__all__) == sorted([*fetched, "__version__"])
    assert all(getattr(verify, name) is not None for name in verify.__all__)
    assert set(verify.__all__) <= set(dir(verify))
    with pytest.raises(AttributeError, match="no attribute 'run_caes'"):
        verify.__getattr__("run_caes")

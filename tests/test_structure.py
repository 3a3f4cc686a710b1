"""The plan of the house, held by tests: what stands where, who may import whom, what loads quickly, what is explained.

Each rule is tried on planted faults too, so that a rule that stopped biting is found.
"""

from __future__ import annotations

import ast
import importlib
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

import verify

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "verify"
TOP_LEVEL = {"verify", "cases", "tests", "reports", "pyproject.toml", "README.md", "LICENSE", "CHANGELOG.md"}
HEAVY = ("numpy", "sympy", "mpmath", "flint", "pandas", "scipy", "hypothesis", "pydantic", "ruamel", "rich", "jinja2")

FLOORS = (
    "ground",
    "numbers",
    "ops",
    "graph",
    "case",
    "places",
    "symbolic",
    "methods",
    "truth",
    "tracing",
    "subjects",
    "judging",
    "variants",
    "programs",
    "running",
    "emitting",
    "report",
    "oracle",
    "kernels",
    "frameworks",
    "tools",
    "reading",
    "commands",
    "doors",
)
"""The folders of the package from the ground up: a module imports its own folder and lower ones."""

GROUND = ("errors", "files", "limits", "records", "version", "words")
"""The files beside the folders that stand below all of them; the others are doors, above all of them."""

WITHOUT_EXAMPLE = {
    "pytest_plugin.pytest_addoption": "a hook: pytest calls it, and tests/doors/test_pytest_plugin.py runs it",
    "pytest_plugin.pytest_configure": "a hook, as above",
    "pytest_plugin.pytest_collect_file": "a hook, as above",
    "pytest_plugin.pytest_runtest_makereport": "a hook, as above",
    "pytest_plugin.keep": "needs a running pytest; tests/doors/test_pytest_plugin.py runs it",
    "pytest_reports.asked_reports": "needs a running pytest; tests/doors/test_pytest_plugin.py runs it",
    "pytest_plugin.gradient_oracle": "a fixture: pytest makes it, and tests/doors/test_pytest_plugin.py uses it",
    "pytest_plugin.case_folders": "needs a running pytest; tests/doors/test_pytest_plugin.py runs it",
}
"""Public functions without an example in the docstring, each with the reason."""


def module_name(file: Path) -> str:
    """A file of the package as FLOORS names it: ``report.csv``, or "" for the package itself."""
    parts = file.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@cache
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
    return list(dict.fromkeys(name if name.removeprefix("verify.") in sources() else origin for name in inner))


def floor(module: str) -> str:
    """The floor of a module: its folder, or that of the files that stand in none."""
    folder = module.split(".", maxsplit=1)[0]
    if (PACKAGE / folder).is_dir() and folder:
        return folder
    return "ground" if module in GROUND else "doors"


def import_faults(module: str, text: str) -> list[str]:
    """What is wrong with the imports of one module, a sentence each."""
    faults = []
    for line, name, typing_only in imports(text):
        if name.startswith("."):
            faults.append(f"{module}:{line}: relative import; write it out as verify.…")
        elif name.split(".")[0] != "verify":
            outside = name.split(".")[0] not in sys.stdlib_module_names
            if outside and not typing_only and floor(module) == "ground":
                faults.append(f"{module}:{line}: the ground uses the standard library only, not {name}")
        elif name != "verify.__version__":
            faults += [f"{module}:{line}: {fault}" for fault in inner_faults(module, name[len("verify.") :])]
    return faults


def inner_faults(module: str, target: str) -> Iterator[str]:
    """What is wrong with one module of the package importing another."""
    if target not in sources():
        yield f"there is no module {target!r}"
    elif FLOORS.index(floor(target)) > FLOORS.index(floor(module)):
        yield f"imports {target}: {floor(target)} does not stand below {floor(module)}"
    elif target == module:
        yield "imports itself"
    if module.startswith("methods.") and target.startswith("methods"):
        yield f"a method imports {target}: methods are independent of each other"
    if module.startswith("report") and floor(target) not in ("report", "ground"):
        yield f"a report imports {target}: it may know the records and the errors alone"


def circles(texts: dict[str, str]) -> list[str]:
    """Modules that import each other, directly or in turn, and what is left of the order where one does."""
    waits = {
        module: {name.removeprefix("verify.") for _, name, _ in imports(text) if name.startswith("verify.")} & {*texts}
        for module, text in texts.items()
    }
    while free := [module for module, others in waits.items() if not others]:
        for module in free:
            del waits[module]
        for others in waits.values():
            others.difference_update(free)
    return sorted(waits)


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


def test_every_folder_is_a_floor() -> None:
    """A new folder must be given its place, and one that is gone must give it up; ground files exist."""
    folders = {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    assert folders == {*FLOORS} - {"ground", "doors"}
    assert {*GROUND} <= {*sources()}


def test_the_document_shows_the_same_house() -> None:
    """verify/README.md has one line for each floor, from the top."""
    document = (PACKAGE / "README.md").read_text(encoding="utf-8")
    table = document.partition("| folder | what stands there |\n")[2].partition("\n\n")[0]
    assert re.findall(r"^\| `(\w+)`", table, re.MULTILINE) == [*reversed(FLOORS)]


def test_an_old_name_is_the_same_module() -> None:
    """What was written against the earlier layout finds the same classes, not a second copy of them."""
    assert importlib.import_module("verify.reading.case") is importlib.import_module("verify.case.case")


def test_no_module_imports_itself_in_a_circle() -> None:
    """Within a folder too there is an order: what is understood first."""
    assert circles(sources()) == []


def test_a_circle_is_found() -> None:
    """The twin of the rule above."""
    texts = {"a": "import verify.b", "b": "def f():\n    from verify.c import x", "c": "import verify.a", "d": ""}
    assert circles(texts) == ["a", "b", "c"]


def test_the_methods_folder_is_the_registry() -> None:
    """Each file of methods/ is a method that can be asked for by name, and those of every table are among them."""
    from verify.commands.options import known_methods
    from verify.methods import available
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
        ("graph.graph", "from verify.case.case import Case", "does not stand below"),
        ("graph.graph", "import verify.running.runner", "does not stand below"),
        ("graph.graph", "def f():\n    from verify import cli", "does not stand below"),
        ("graph.graph", "if TYPE_CHECKING:\n    from verify.case.case import Case", "does not stand below"),
        ("graph.graph", "from verify.graph.graph import Node", "imports itself"),
        ("numbers.balls", "from verify.graph.interpret import run", "does not stand below"),
        ("errors", "import verify.ops", "does not stand below"),
        ("graph.graph", "from verify.nowhere import x", "there is no module"),
        ("graph.graph", "from verify import run_case", "there is no module"),
        ("graph.graph", "from . import ops", "relative import"),
        ("errors", "import numpy", "standard library only"),
        ("methods.central", "from verify.methods.symbolic import prepare", "independent of each other"),
        ("methods.central", "import verify.methods", "independent of each other"),
        ("report.csv", "from verify.ops import OPS", "records and the errors alone"),
        ("report.csv", "from verify.running.runner import run_case", "records and the errors alone"),
    ],
)
def test_a_planted_import_is_found(module: str, planted: str, complaint: str) -> None:
    """The twin of the rule above: each kind of forbidden import is named."""
    assert complaint in "\n".join(import_faults(module, planted))


@pytest.mark.parametrize(
    ("module", "allowed"),
    [
        ("graph.graph", "import numpy as np\nfrom verify.ops import OPS"),
        ("graph.interpret", "from verify.graph.graph import Graph"),
        ("records", "import math\nif TYPE_CHECKING:\n    import numpy as np"),
        ("report.csv", "from verify.records import Run\nfrom verify.errors import UsageError"),
        ("cli", "from verify import __version__\nfrom verify.running.runner import run_cases"),
    ],
)
def test_an_allowed_import_is_not_complained_about(module: str, allowed: str) -> None:
    """The rules let through what the plan allows."""
    assert import_faults(module, allowed) == []


@pytest.mark.parametrize(
    "code",
    [
        "import verify",
        "import verify.commands.options, verify.cli",
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

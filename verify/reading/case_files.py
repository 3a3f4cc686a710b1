"""Finding case files: in folders, by name, and those that come with the package."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from verify.errors import CaseError, UsageError, did_you_mean
from verify.reading.case import load_case

MOST_NAMED = 30
"""Cases that a message lists by name."""

CASE_SUFFIXES = (".yaml", ".yml")


def shipped_cases() -> Path:
    """The folder of the cases that come with the package.

    >>> shipped_cases().is_dir()
    True
    """
    installed = Path(__file__).parent.with_name("shipped_cases")
    return installed if installed.is_dir() else Path(__file__).parent.parent.parent / "cases"


def find_case_files(paths: Sequence[str | Path], pick: str = "") -> tuple[Path, ...]:
    """The case files among files and folders (searched to the bottom), sorted within each folder.

    ``pick`` keeps those whose path or case name contains it, whatever the case of its letters. Raises UsageError
    where a path does not exist, a folder holds no case file, or nothing is left.

    >>> [path.name for path in find_case_files([shipped_cases() / "notes"], pick="add")]
    ['add.yaml', 'multiply_add.yaml']
    """
    files: dict[Path, None] = {}
    for given in map(Path, paths):
        if given.is_dir():
            inside = sorted(path for path in given.rglob("*") if path.suffix in CASE_SUFFIXES and path.is_file())
            if not inside:
                raise UsageError(f"no case files (*.yaml) in the folder {given}; 'verify new NAME' writes one")
            files.update(dict.fromkeys(inside))
        elif given.exists():
            files[given] = None
        else:
            raise UsageError(f"no such file or folder: {given}{_nearby(given)}")
    picked = tuple(path for path in files if _matches(path, pick))
    if not picked:
        names = ", ".join(path.stem for path in list(files)[:12])
        raise UsageError(f"-k {pick!r} picks none of the {len(files)} cases ({names})")
    return picked


def find_case(name: str, first: Sequence[Path] = ()) -> Path:
    """The file of a case given by path, by file name (with or without its folder and ``.yaml``) or by its own name.

    Cases in the folders ``first``, and then in the folder ``cases`` here, come before those of the package. Raises
    UsageError where there is none, or where two files in one of these folders go by the name.

    >>> [find_case(name).name for name in ("relu", "notes/relu", "staged function")]
    ['relu.yaml', 'relu.yaml', 'staged_function.yaml']
    """
    if Path(name).is_file():
        return Path(name)
    if Path(name).suffix in CASE_SUFFIXES and Path(name).parent != Path() and not Path(name).parent.is_dir():
        raise UsageError(f"no such file: {name}{_nearby(Path(name))}")
    folders = [folder for folder in (*first, Path("cases"), shipped_cases()) if any(folder.glob("**/*.y*ml"))]
    files = {folder: find_case_files([folder]) for folder in folders}
    for folder in folders:
        if found := [file for file in files[folder] if name in _file_names(file.relative_to(folder))]:
            return _only(found, name)
    names = {file: _case_name(file) for folder in folders for file in files[folder]}
    for folder in folders:
        if found := [file for file in files[folder] if names[file] == name]:
            return _only(found, name)
    hint = did_you_mean(name, sorted({*names.values(), *(file.stem for file in names)}))
    known = sorted(set(names.values()))
    more = f" and {len(known) - MOST_NAMED} more" if len(known) > MOST_NAMED else ""
    raise UsageError(
        f"no case is called '{name}'.{hint and ' '}{hint} The cases are: {', '.join(known[:MOST_NAMED])}{more}"
    )


def _file_names(file: Path) -> set[str]:
    """What a file in a folder of cases goes by."""
    return {file.stem, file.name, file.with_suffix("").as_posix()}


def _case_name(file: Path) -> str:
    """A broken case can still be found by its file's name, and is then shown with what is wrong."""
    try:
        return load_case(file).name
    except CaseError:
        return file.stem


def _only(found: Sequence[Path], name: str) -> Path:
    if len(found) > 1:
        raise UsageError(f"{len(found)} cases are called '{name}': {', '.join(map(str, found))}; give the path of one")
    return found[0]


def _nearby(missing: Path) -> str:
    folder = missing.parent if missing.parent.is_dir() else Path()
    hint = did_you_mean(missing.name, [path.name for path in folder.iterdir()])
    return f". {hint}" if hint else ""


def _matches(path: Path, pick: str) -> bool:
    wanted = pick.lower()
    if not wanted or wanted in str(path).lower() or wanted.replace(" ", "_") in path.stem.lower():
        return True
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return False
    names = [line.partition(":")[2] for line in text.splitlines() if line.startswith("case:")]
    return any(wanted in name.lower() for name in names)

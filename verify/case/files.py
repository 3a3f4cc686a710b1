"""Finding case files: in folders, by name, and those that come with the package."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

from verify.case.yaml_source import parse_source, source_text
from verify.errors import CaseError, UsageError, did_you_mean
from verify.files import PACKAGE

MOST_NAMED = 30
"""Cases that a message lists by name."""

LONGEST_SHOWN = 200
"""Letters of a path that a message shows."""

CASE_SUFFIXES = (".yaml", ".yml")


def shipped_cases() -> Path:
    """The folder of the cases that come with the package.

    >>> shipped_cases().is_dir()
    True
    """
    installed = PACKAGE / "shipped_cases"
    return installed if installed.is_dir() else PACKAGE.parent / "cases"


def find_case_files(paths: Sequence[str | Path], pick: str = "") -> tuple[Path, ...]:
    """The case files among files and folders (searched to the bottom), sorted within each folder.

    ``pick`` keeps those whose path or case name contains it, whatever the case of its letters. A link that leads
    nowhere counts as a file: reading it says so. Raises UsageError where a path is empty, does not exist or is no file,
    a folder holds no case file, or nothing is left.

    >>> [path.name for path in find_case_files([shipped_cases() / "notes"], pick="add")]
    ['add.yaml', 'multiply_add.yaml']
    """
    files: dict[Path, None] = {}
    for path in paths:
        if not str(path):
            raise UsageError("an empty path was given; name a case file or a folder of them, '.' for the one here")
        try:
            files.update(dict.fromkeys(_files_at(Path(path))))
        except OSError as error:  # a name that is too long, a folder on the way that may not be entered
            raise UsageError(f"{str(path)[:LONGEST_SHOWN]} cannot be read: {error.strerror}") from error
    picked = tuple(path for path in files if _matches(path, pick))
    if not picked:
        names = ", ".join(path.stem for path in list(files)[:12])
        raise UsageError(f"-k {pick!r} picks none of the {len(files)} cases ({names})")
    return picked


def case_files_in(folder: Path) -> list[Path]:
    """What is called like a case file in a folder and those in it, sorted; linked folders too, each once.

    >>> [path.name for path in case_files_in(shipped_cases() / "notes")][:2]
    ['add.yaml', 'matmul.yaml']
    """
    found: list[Path] = []
    seen = {os.path.realpath(folder)}
    for place, folders, names in os.walk(folder, onerror=_unreadable, followlinks=True):
        inner = [Path(place, name) for name in sorted(folders)]
        inner.sort(key=Path.is_symlink)  # where both are here, a folder goes by its own name
        folders.clear()
        for path in inner:
            if (real := os.path.realpath(path)) not in seen:
                seen.add(real)
                folders.append(path.name)
        # A name that begins with '.#' is a link by which an editor says who is at work on the file.
        found += [Path(place, name) for name in names if _is_called_so(name) and not name.startswith(".#")]
    return sorted(found)


def holds_case_files(folder: Path) -> bool:
    """Whether there is a case file in a folder or those in it.

    >>> holds_case_files(shipped_cases()), holds_case_files(Path("nowhere"))
    (True, False)
    """
    return folder.is_dir() and bool(case_files_in(folder))


def _is_called_so(name: str) -> bool:
    return Path(name).suffix.lower() in CASE_SUFFIXES


def _unreadable(error: OSError) -> None:
    raise UsageError(f"the folder {error.filename} cannot be read: {error.strerror}. Make it readable") from error


def _files_at(path: Path) -> list[Path]:
    """The file that a path names, or the case files in the folder."""
    if not path.is_dir():
        return [_existing(path)]
    inside = [_existing(file) for file in case_files_in(path)]
    if not inside:
        raise UsageError(f"no case files (*.yaml) in the folder {path}; 'verify new NAME' writes one")
    return inside


def _existing(path: Path) -> Path:
    """A path of a file, or a link to nowhere. Raises UsageError for anything else."""
    if path.is_file() or (path.is_symlink() and not path.exists()):
        return path
    if path.exists():
        raise UsageError(f"{path} is no file but a pipe or a device, which cannot be read twice. Save it as a file")
    raise UsageError(f"no such file or folder: {path}{_nearby(path)}")


def find_case(name: str, first: Sequence[Path] = ()) -> Path:
    """The file of a case given by path, by file name (with or without its folder and ``.yaml``) or by its own name.

    Cases in the folders ``first``, and then in the folder ``cases`` here, come before those of the package. Raises
    UsageError where there is none, or where two files in one of these folders go by the name.

    >>> [find_case(name).name for name in ("relu", "notes/relu", "staged function")]
    ['relu.yaml', 'relu.yaml', 'staged_function.yaml']
    """
    if _is(Path(name), Path.is_file):
        return Path(name)
    if _is_called_so(name) and Path(name).parent != Path() and not _is(Path(name).parent, Path.is_dir):
        raise UsageError(f"no such file: {name}{_nearby(Path(name))}")
    folders = [folder for folder in (*first, Path("cases"), shipped_cases()) if folder.is_dir()]
    files = {folder: [file for file in case_files_in(folder) if file.is_file()] for folder in folders}
    for folder, inside in files.items():
        if found := [file for file in inside if name in _file_names(file.relative_to(folder))]:
            return _only(found, name)
    names = {file: _case_name(file) for inside in files.values() for file in inside}
    for inside in files.values():
        if found := [file for file in inside if names[file] == name]:
            return _only(found, name)
    hint = did_you_mean(name, sorted({*names.values(), *(file.stem for file in names)}))
    known = sorted(set(names.values()))
    more = f" and {len(known) - MOST_NAMED} more" if len(known) > MOST_NAMED else ""
    raise UsageError(
        f"no case is called '{name}'.{hint and ' '}{hint} The cases are: {', '.join(known[:MOST_NAMED])}{more}"
    )


def _is(path: Path, what: Callable[[Path], bool]) -> bool:
    """Whether a path is something; a name that no file can have is nothing."""
    try:
        return what(path)
    except OSError:
        return False


def _file_names(file: Path) -> set[str]:
    """What a file in a folder of cases goes by."""
    return {file.stem, file.name, file.with_suffix("").as_posix()}


def _case_name(file: Path) -> str:
    """A broken case can still be found by its file's name, and is then shown with what is wrong."""
    try:
        data = parse_source(source_text(file)).data
    except CaseError:
        return file.stem
    name = data.get("case") if isinstance(data, dict) else None
    return name.strip() if isinstance(name, str) else file.stem


def _only(found: Sequence[Path], name: str) -> Path:
    if len(found) > 1:
        raise UsageError(f"{len(found)} cases are called '{name}': {', '.join(map(str, found))}; give the path of one")
    return found[0]


def _nearby(missing: Path) -> str:
    folder = missing.parent if _is(missing.parent, Path.is_dir) else Path()
    try:
        hint = did_you_mean(missing.name, [path.name for path in folder.iterdir()])
    except OSError:  # a folder that may not be read
        return ""
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

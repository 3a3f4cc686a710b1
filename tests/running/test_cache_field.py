"""The cache against who writes into it: nothing is run, nothing is waited for, and no failing case passes.

Every attack is held against its twin: what verify wrote there itself is read.
"""

from __future__ import annotations

import json
import os
import pickle
import shutil
import zlib
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sympy

from verify.case.case import load_case
from verify.case.files import find_case_files, shipped_cases
from verify.cli import main
from verify.graph.derivative import Unsupported
from verify.methods.symbolic import Symbolic, prepare
from verify.records import CaseResult
from verify.running import cache
from verify.running.codec import LENGTH, MAKERS, NotPlainError, packed, unpacked
from verify.running.runner import run_file
from verify.running.settings import Settings

KEPT = Settings(points=2, cached=True)
RIGHT = "case: square\nsource: made up\ninputs: {x: {at: 3}}\nstages: {f: x**2}\nexpect: {value: {f: 9}}\n"
WRONG = RIGHT.replace("f: 9}", "f: 8}")
needs_posix = pytest.mark.skipif(not hasattr(os, "getuid"), reason="owners, pipes and links are POSIX's")


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of the test's own."""
    monkeypatch.setenv(cache.VARIABLE, str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def entry(home: Path, tmp_path: Path) -> Path:
    """The entry of a run that passed; :func:`is_read` says whether it is believed."""
    (tmp_path / "square.yaml").write_text(RIGHT, encoding="utf-8")
    run_file(tmp_path / "square.yaml", KEPT)
    assert is_read(tmp_path)
    (found,) = home.glob("??/run-*")
    return found


def is_read(tmp_path: Path) -> bool:
    """Whether the next run takes the results from the cache; the case passes in any case."""
    (result,) = run_file(tmp_path / "square.yaml", KEPT)
    assert result.passes
    return result.unchanged


def signed(home: Path, key: str, body: bytes) -> bytes:
    """An entry as who knows the secret would forge it."""
    return cache._signed(key, zlib.compress(body), cache._secret(home))


def nodes(*made: Any) -> bytes:
    """A body that verify would not write."""
    head = json.dumps(made).encode()
    return LENGTH.pack(len(head)) + head


class Command:
    """A pickle that runs a command."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> Any:
        return os.system, (f"touch {self.marker}",)


def dotted(marker: Path) -> bytes:
    """A pickle that reaches a command through the imports of a module of ours, past a filter of module names."""
    return b"cverify.graph\nre.enum.sys.modules\n(S'os'\ni" + pickle.dumps(Command(marker), protocol=0)


def text_of(marker: Path) -> str:
    """What SymPy runs where it is given text."""
    return f"__import__('os').system('touch {marker}')"


FORGED: dict[str, Callable[[Path], bytes]] = {
    "a pickle": lambda marker: pickle.dumps((Command(marker),)),
    "a pickle in our signature": lambda marker: pickle.dumps([Command(marker)]),
    "dotted names": dotted,
    "text for a number": lambda marker: nodes(text_of(marker), ["Integer", 0]),
    "text for a sum": lambda marker: nodes(text_of(marker), ["Add", 0, 0]),
    "text for a function": lambda marker: nodes(text_of(marker), ["log", 0]),
    "text for a matrix": lambda marker: nodes("A", text_of(marker), ["MatrixSymbol", 0, 1, 1]),
    "text for a symbol's assumption": lambda marker: nodes("x", text_of(marker), ["Symbol", 0, 1]),
    "a function of no formula": lambda _: nodes("os.system", ["function", 0]),
    "a class of no table": lambda marker: nodes(str(marker), ["verify.running.runner.os.system", 0]),
    "an attribute of a class": lambda marker: nodes("__class__", str(marker), ["Formulas", 0, 1]),
    "too many parts": lambda _: nodes(1, ["CaseResult", *[0] * 99]),
    "a node of later": lambda _: nodes(["tuple", 7]),
    "an array beyond its numbers": lambda _: nodes("<f8", 10**6, ["array", 0, 1]),
    "an array below its numbers": lambda _: nodes("<f8", -8, ["array", 0, 1]),
    "an array of objects": lambda _: nodes("|O", 1, ["array", 0, 1]) + bytes(16),
    "no nodes": lambda _: nodes(),
    "a length beyond the end": lambda _: LENGTH.pack(2**63) + b"[]",
    "nested lists": lambda _: LENGTH.pack(200_000) + b"[" * 100_000 + b"]" * 100_000,
    "a number of a million digits": lambda _: LENGTH.pack(10**6 + 2) + b"[" + b"9" * 10**6 + b"]",
    "nothing": lambda _: b"",
}


@pytest.mark.parametrize("what", FORGED)
def test_a_forged_entry_runs_nothing_and_is_made_anew(what: str, home: Path, entry: Path, tmp_path: Path) -> None:
    """As it is, packed as entries were, and even where it is signed by who has the secret."""
    body = FORGED[what](tmp_path / "marker")
    for held in (body, zlib.compress(body), signed(home, entry.name, body)):
        entry.write_bytes(held)
        assert not is_read(tmp_path)
        assert is_read(tmp_path)  # what was made anew
    assert not (tmp_path / "marker").exists()


def test_a_record_of_another_kind_is_no_result(home: Path, entry: Path, tmp_path: Path) -> None:
    """Under a right signature too: what is read has to be results, of cases that pass."""
    (tmp_path / "wrong.yaml").write_text(WRONG, encoding="utf-8")
    for result in (Unsupported("no"), [Unsupported("no")], 7, "PASS", run_file(tmp_path / "wrong.yaml", KEPT), []):
        entry.write_bytes(signed(home, entry.name, packed(result)))
        assert not is_read(tmp_path)


def test_flipped_and_cut_entries_are_a_miss(entry: Path, tmp_path: Path) -> None:
    """Each k-th byte of it, each k-th length; and what stood there is read."""
    held = entry.read_bytes()
    rng = np.random.default_rng(0)
    step = len(held) // 40
    torn = [held[:i] for i in range(0, len(held), step)] + [held + b"\0"]
    for i in (*range(0, 120, 7), *range(int(rng.integers(step)), len(held), step)):
        torn += [held[:i] + bytes([held[i] ^ flip]) + held[i + 1 :] for flip in (1, 0x80, 0xFF)]
    for other in torn:
        entry.write_bytes(other)
        assert cache.recalled(entry.name) is None
    entry.write_bytes(held)
    assert is_read(tmp_path)


def test_no_flip_of_what_is_signed_raises(home: Path, entry: Path) -> None:
    """Who has the secret may sign anything: it is a miss, or a result, never an exception."""
    body = zlib.decompress(entry.read_bytes()[33 + len(entry.name) :])
    rng = np.random.default_rng(1)
    for i in rng.integers(len(body), size=300):
        entry.write_bytes(signed(home, entry.name, body[:i] + rng.bytes(1) + body[i + 1 :]))
        cache.recalled(entry.name)


def test_an_entry_is_bound_to_its_key_its_kind_and_its_folder(home: Path, entry: Path, tmp_path: Path) -> None:
    """What passed in one file passes in no other: moved, linked, under another kind, or from another folder."""
    good = entry.read_bytes()
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text(WRONG, encoding="utf-8")
    assert not run_file(wrong, KEPT)[0].passes
    from verify.running.runner import _run_key

    key = _run_key(wrong, WRONG, KEPT)
    place = cache._place(home, key)
    place.parent.mkdir(exist_ok=True)
    relabelled = good[:32] + good[32:].replace(entry.name.encode(), key.encode(), 1)
    for held in (good, relabelled, b"\0" * 32 + good[32:]):
        place.write_bytes(held)
        assert not run_file(wrong, KEPT)[0].passes
    place.unlink()
    place.symlink_to(entry)
    assert not run_file(wrong, KEPT)[0].passes
    symbolic = entry.name.replace("run", "symbolic")
    shutil.copy(entry, entry.with_name(symbolic))
    assert cache.recalled(entry.name) is not None
    assert cache.recalled(symbolic) is None
    (home / cache.SECRET).unlink()  # as if the entry came from another folder
    assert not is_read(tmp_path)


def test_a_folder_that_was_copied_with_its_secret_is_made_anew(
    home: Path, entry: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody else's results may come with somebody else's secret."""
    copied = tmp_path / "copied"
    shutil.copytree(home, copied, copy_function=shutil.copy2)
    assert (home / cache.SECRET).read_bytes() == (copied / cache.SECRET).read_bytes()
    assert is_read(tmp_path)
    monkeypatch.setenv(cache.VARIABLE, str(copied))
    assert [False, True] == [is_read(tmp_path) for _ in range(2)]
    moved = home.rename(tmp_path / "moved")  # by its owner
    monkeypatch.setenv(cache.VARIABLE, str(moved))
    assert is_read(tmp_path)
    assert not entry.exists()


@pytest.mark.usefixtures("home")
def test_a_file_that_changes_while_it_is_checked_is_checked_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is kept is kept under the key of the text that was read, not of what the file holds by then."""
    from verify.running import runner

    path = tmp_path / "square.yaml"
    path.write_text(RIGHT, encoding="utf-8")
    run = runner._run_sizes

    def meanwhile(given: Any, text: str, settings: Settings) -> list[CaseResult]:
        found = list(run(given, text, settings))
        path.write_text(WRONG, encoding="utf-8")
        return found

    monkeypatch.setattr(runner, "_run_sizes", meanwhile)
    assert run_file(path, KEPT)[0].passes
    monkeypatch.setattr(runner, "_run_sizes", run)
    (result,) = run_file(path, KEPT)
    assert (False, False) == (result.passes, result.unchanged)


@needs_posix
def test_what_is_no_file_or_too_large_is_a_miss_at_once(entry: Path, tmp_path: Path) -> None:
    """A pipe that nobody writes to, a device, a link, a folder, a terabyte of zeros."""

    def sparse() -> None:
        with entry.open("wb") as file:
            file.truncate(2**40)

    kinds = {
        "a pipe": lambda: os.mkfifo(entry),
        "an endless device": lambda: entry.symlink_to("/dev/zero"),
        "a link to itself": lambda: entry.symlink_to(entry),
        "a sparse file": sparse,
    }
    for make in kinds.values():
        entry.unlink()
        make()
        assert not is_read(tmp_path)
        assert is_read(tmp_path)  # it was replaced by a good one
    entry.unlink()
    entry.mkdir()
    assert [False, False] == [is_read(tmp_path) for _ in range(2)]


def test_a_bomb_is_not_unpacked(home: Path, entry: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Unsigned it is not looked at; signed it ends at the bound."""
    bomb = zlib.compress(bytes(2**27), 9)
    entry.write_bytes(bomb)
    monkeypatch.setattr(zlib, "decompressobj", lambda: pytest.fail("unpacked before it was known to be ours"))
    assert cache.recalled(entry.name) is None
    monkeypatch.undo()
    monkeypatch.setenv(cache.VARIABLE, str(home))
    monkeypatch.setattr(cache, "LARGEST_UNPACKED", 2**16)
    entry.write_bytes(signed(home, entry.name, bytes(2**27)))
    assert not is_read(tmp_path)
    cache.keep(entry.name, ["x" * 2**17])
    assert cache.recalled(entry.name) is None or cache.recalled(entry.name) != ["x" * 2**17]


@needs_posix
@pytest.mark.parametrize("how", ["open", "short", "linked", "a pipe"])
def test_a_secret_that_others_may_know_signs_nothing(how: str, home: Path, entry: Path, tmp_path: Path) -> None:
    """It is replaced by a new one, and what it signed is made anew."""
    secret = home / cache.SECRET
    held = secret.read_bytes()
    assert 0o600 == secret.stat().st_mode & 0o777
    if how == "open":
        secret.chmod(0o644)
    elif how == "short":
        secret.write_bytes(b"")
    elif how == "linked":
        secret.unlink()
        (tmp_path / "elsewhere").write_bytes(held)
        secret.symlink_to(tmp_path / "elsewhere")
    else:
        secret.unlink()
        os.mkfifo(secret, 0o600)
    assert not is_read(tmp_path)
    assert held != secret.read_bytes()
    assert 0o600 == secret.lstat().st_mode & 0o777
    assert is_read(tmp_path)
    assert entry.exists()


def test_files_of_others_are_left_where_they_are(home: Path, entry: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder of projects may be given by mistake: what is dropped is ours; what a killed run left, after a while."""
    mine, fresh, old = (entry.parent / name for name in ("thesis.txt", "new-fresh", "new-old"))
    for path in (mine, fresh, old):
        path.write_bytes(bytes(10_000))
    (entry.parent / ("ab" * 32)).mkdir()
    os.utime(old, (1, 1))
    os.utime(mine, (1, 1))
    monkeypatch.setattr(cache, "MOST_BYTES", 100)
    cache.keep("symbolic-" + "ab" * 32, Unsupported("no"))
    assert (True, False, False) == (mine.exists(), old.exists(), entry.exists())
    assert home.exists()


# ------------------------------------------------------------------------------------------------- what is kept


SAMPLE = find_case_files([shipped_cases()])[::15]


@pytest.mark.parametrize("path", SAMPLE, ids=lambda path: path.stem)
def test_derivatives_of_all_kinds_come_back_as_they_were(path: Path) -> None:
    """Matrices, equations, programs of ops, kinks: the same formulas and the same floats."""
    case = load_case(path)
    made = prepare(case.graph, case.variables)
    read = unpacked(packed(made))
    if isinstance(made, Unsupported):
        assert made == read
        return
    assert isinstance(read, Symbolic)
    assert vars(made).keys() == vars(read).keys()
    inputs = {item.name: np.random.default_rng(0).uniform(0.1, 1, (3, *item.shape)) for item in case.inputs}
    upstream = {name: np.ones((3, *case.graph.shape(name))) for name in case.graph.outputs}
    first, second = (method.differentiate(inputs, upstream) for method in (made, read))
    for name in case.variables:
        np.testing.assert_array_equal(first.gradients[name], second.gradients[name])
        assert made.closed_form(name) == read.closed_form(name)
    for stage in case.graph.stages:
        assert made.local_derivatives(stage) == read.local_derivatives(stage)


@pytest.mark.usefixtures("home")
@pytest.mark.parametrize("path", SAMPLE[::3], ids=lambda path: path.stem)
def test_results_of_all_kinds_come_back_as_they_were(path: Path) -> None:
    """Whatever a case has: kinks, step laws, stages, other sizes; the second run reads what the first found."""
    first, second = (run_file(path, KEPT) for _ in range(2))
    assert all(result.passes and "UNDECIDED" not in result.counts for result in first)
    assert [(False, True)] * len(first) == [(a.unchanged, b.unchanged) for a, b in zip(first, second, strict=True)]
    for one, other in zip(first, second, strict=True):
        np.testing.assert_equal(asdict(one), asdict(replace(other, unchanged=False)))


def test_plain_values_come_back_as_they_were() -> None:
    """To the type and the sign of zero."""
    values = (0.0, -0.0, 1, True, 1.0, float("inf"), "\ud800", None, 10**5000, -(2**63), ..., slice(1, None), {1, 2})
    read = unpacked(packed(values))
    assert values == read
    assert [type(value) for value in values] == [type(value) for value in read]
    assert "-0.0" == repr(read[1])
    for array in (np.zeros((0, 3)), np.array(2.5), np.arange(6.0)[::2], np.array([np.nan]), np.array([True])):
        back = unpacked(packed(array))
        np.testing.assert_array_equal(array, back, strict=True)
        assert back.flags.writeable


def test_trees_come_back_unevaluated() -> None:
    """SymPy would multiply out ``2*(x + y)`` when it is put together again."""
    x, y = sympy.symbols("x y", real=True)
    tree = sympy.Mul(2, sympy.Add(x, y), evaluate=False)
    read = unpacked(packed(tree))
    assert sympy.srepr(tree) == sympy.srepr(read)
    assert sympy.srepr(2 * x + 2 * y) != sympy.srepr(read)


@pytest.mark.parametrize("x", [print, Path(), sympy.Symbol("x", positive=True), sympy.nan, np.ma.zeros(3), b"", 1j])
def test_what_is_in_no_table_is_not_written(x: Any) -> None:
    """And is no reason to stop."""
    with pytest.raises(NotPlainError):
        packed([x])


def test_a_tag_has_one_meaning() -> None:
    """No record is called like a head of SymPy or a container."""
    from verify.running import codec

    parts = (codec.PARTS, codec.HEADS, codec.MATRIX_HEADS)
    lone = {"Integer", "Rational", "constant", "Symbol", "MatrixSymbol", "function", "scalar", "objects"}
    assert sum(map(len, parts)) + len(lone) == len(MAKERS)


# ------------------------------------------------------------------------------------------------- what is said


@needs_posix
@pytest.mark.parametrize(
    ("given", "mode", "said"),
    [
        ("{tmp}/shared", 0o775, "others may write to it (mode 775). Run 'chmod go-w"),
        ("{tmp}/shared", 0o757, "others may write to it (mode 757)"),
        ("~no such user/x", 0, "names nobody's folder"),
        ("~/x", 0, "names nobody's folder"),
        ("{tmp}/a_file", 0, "is not used: "),
        ("{tmp}/a_file/x", 0, "is not used: Not a directory"),
        ("{tmp}/shared", 0o700, ""),
        ("{tmp}/new", 0, ""),
        ("off", 0, ""),
    ],
)
def test_a_cache_that_cannot_be_used_says_so_once(
    given: str,
    mode: int,
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """On stderr, with what to do; the run goes on without it."""
    monkeypatch.setenv(cache.VARIABLE, given.format(tmp=tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path / "nowhere"))  # as that of the user nobody
    (tmp_path / "a_file").touch()
    if mode:
        (tmp_path / "shared").mkdir()
        (tmp_path / "shared").chmod(mode)
    (tmp_path / "square.yaml").write_text(RIGHT, encoding="utf-8")
    asked = ["run", str(tmp_path / "square.yaml"), "--points", "2", "--csv", str(tmp_path / "out")]
    assert 0 == main(asked)
    lines = [line for line in capsys.readouterr().err.splitlines() if "cache" in line]
    assert bool(said) == len(lines)
    assert all(said in line and "VERIFY_CACHE" in line for line in lines)
    assert 0 == main([*asked, "--no-cache"])
    assert "cache" not in capsys.readouterr().err
    judged = ["check", "numpy:exp", "--case", asked[1], "--points", "2"]
    for more, count in ([], len(lines)), (["--forget"], 0):
        main([*judged, *more])  # which keeps the points that fail
        assert count == len([line for line in capsys.readouterr().err.splitlines() if "cache" in line])
    assert not (tmp_path / "nowhere").exists()


def test_a_disk_that_fills_up_is_told(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once, and nothing half-written stays."""
    monkeypatch.setattr(cache, "_failures", {})
    assert "" == cache.trouble()

    def full(_path: Path, _target: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    cache.keep("ab" * 32, Unsupported("no"))
    assert "nothing more could be written to the cache: No space left on device" in cache.trouble()
    assert not [*home.glob("??/*")]
    monkeypatch.setenv(cache.VARIABLE, str(tmp_path / "other"))
    monkeypatch.undo()

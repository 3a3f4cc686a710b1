"""SymPy's derivatives are kept between runs: found again, never stale, never trusted when torn, foreign or too many."""

from __future__ import annotations

import os
import pickle
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from verify.case.case import load_case, load_case_text
from verify.case.files import find_case_files, shipped_cases
from verify.graph.derivative import Unsupported
from verify.methods.symbolic import Symbolic, prepare
from verify.ops import OPS
from verify.report.terminal import verdict_line
from verify.running import cache
from verify.running.preparing import prepared_methods
from verify.running.runner import run_case, run_cases, run_file
from verify.running.settings import Settings

FORMULA = "{case: f, inputs: {x: {at: 3}, y: {at: 2}}, stages: {s: exp(x * y), f: s / (1 + s)}}"
FILES = find_case_files([shipped_cases() / "notes"])


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of the test's own."""
    monkeypatch.setenv(cache.VARIABLE, str(tmp_path / "cache"))
    return tmp_path / "cache"


def entries(home: Path) -> list[Path]:
    """All that is kept."""
    return sorted(home.glob("??/*"))


def counted() -> tuple[list[int], Any]:
    """Something to remember, and a list that grows when it is made."""
    made: list[int] = []

    def make() -> Unsupported:
        made.append(len(made))
        return Unsupported(f"made {len(made)}")

    return made, make


def test_a_second_time_it_is_read(home: Path) -> None:
    """And is what it was."""
    made, make = counted()
    assert cache.remembered("ab" * 32, make) == cache.remembered("ab" * 32, make)
    assert [0] == made
    assert 1 == len(entries(home))


def test_an_empty_key_and_no_folder_keep_nothing(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything is made anew."""
    made, make = counted()
    cache.remembered("", make)
    monkeypatch.setenv(cache.VARIABLE, "off")
    cache.remembered("ab" * 32, make)
    assert [0, 1] == made
    assert not home.exists()


@pytest.mark.parametrize("torn", [b"", b"no pickle", pickle.dumps((os.getcwd,)), pickle.dumps("no entry")])
def test_what_cannot_be_read_is_made_anew(home: Path, torn: bytes) -> None:
    """A torn file, one that names what no entry is made of, one of another kind: replaced by a good one."""
    made, make = counted()
    cache.remembered("ab" * 32, make)
    entries(home)[0].write_bytes(torn)
    cache.remembered("ab" * 32, make)
    cache.remembered("ab" * 32, make)
    assert [0, 1] == made


@pytest.mark.skipif(not hasattr(os, "getuid"), reason="folders have owners on POSIX only")
def test_a_folder_that_others_may_write_to_is_left_alone(home: Path) -> None:
    """Whoever can write an entry could drop the secret, and everything else."""
    home.mkdir()
    home.chmod(0o777)
    made, make = counted()
    cache.remembered("ab" * 32, make)
    cache.remembered("ab" * 32, make)
    assert [0, 1] == made
    assert [] == [*home.iterdir()]


def test_what_was_used_longest_ago_is_dropped(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The folder stays below its bound, and what was used just now stays in it."""
    monkeypatch.setattr(cache, "MOST_BYTES", 10_000)
    keys = [f"{i:02x}" * 32 for i in range(8)]
    for number, key in enumerate(keys):
        cache.remembered(key, lambda: Unsupported(repr(np.random.default_rng(0).bytes(1_000))))  # nothing to compress
        for place in entries(home):
            if place.name != keys[0]:
                os.utime(place, (number, number))
    assert sum(place.stat().st_size for place in entries(home)) <= 10_000
    assert keys[0] in [place.name for place in entries(home)]
    assert keys[1] not in [place.name for place in entries(home)]


def test_the_folder_is_looked_through_once_and_where_it_may_have_grown(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not at each entry, which made a run of many cases a square of their number."""
    looked: list[Path] = []
    glob = Path.glob

    def noted(folder: Path, pattern: str) -> Iterator[Path]:
        looked.append(folder)
        return iter(glob(folder, pattern))

    monkeypatch.setattr(Path, "glob", noted)
    for number in range(5):
        cache.keep(f"{number:02x}" * 32, Unsupported("y"))
    assert [home] == looked
    monkeypatch.setattr(cache, "UNSEEN", 0)
    cache.keep("ff" * 32, Unsupported("y"))
    assert [home, home] == looked


def test_many_at_a_time(home: Path) -> None:
    """Readers never see half an entry."""
    with ThreadPoolExecutor(8) as pool:
        found = list(
            pool.map(lambda i: cache.remembered(f"{i % 3:02x}" * 32, lambda: Unsupported("y" * 50_000)), range(48))
        )
    assert {"y" * 50_000} == {answer.reason for answer in found}
    assert 3 == len(entries(home))


def test_keys_tell_apart_what_differs(monkeypatch: pytest.MonkeyPatch) -> None:
    """The graph, the variables, what is asked; and a row that somebody put in place of the table's has no key."""
    graph = load_case_text(FORMULA).graph
    other = load_case_text(FORMULA.replace("1 + s", "2 + s")).graph
    keys = [
        cache.graph_key("symbolic", graph, ("x", "y")),
        cache.graph_key("symbolic", graph, ("x",)),
        cache.graph_key("other", graph, ("x", "y")),
        cache.graph_key("symbolic", other, ("x", "y")),
    ]
    assert 4 == len(set(keys))
    assert all(keys)
    moved = load_case_text(FORMULA.replace("stages:", "\n  stages:")).graph
    assert keys[0] == cache.graph_key("symbolic", moved, ("x", "y"))
    monkeypatch.setitem(OPS, "exp", replace(OPS["exp"]))
    assert "" == cache.graph_key("symbolic", graph, ("x", "y"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
@pytest.mark.usefixtures("home")
def test_what_is_read_differentiates_as_what_was_made(path: Path) -> None:
    """Every bit of it."""
    case = load_case(path)
    made = prepare(case.graph, case.variables)
    key = cache.graph_key("symbolic", case.graph, case.variables)
    cache.remembered(key, lambda: made)
    read = cache.remembered(key, lambda: Unsupported("was not kept"))
    assert isinstance(made, Symbolic)
    assert isinstance(read, Symbolic)
    rng = np.random.default_rng(0)
    inputs = {item.name: rng.uniform(0.1, 1, (3, *item.shape)) for item in case.inputs}
    upstream = {name: np.ones((3, *case.graph.shape(name))) for name in case.graph.outputs}
    first, second = (method.differentiate(inputs, upstream) for method in (made, read))
    for name in case.variables:
        np.testing.assert_array_equal(first.gradients[name], second.gradients[name])
        assert made.closed_form(name) == read.closed_form(name)


def test_a_run_says_the_same_with_and_without(home: Path) -> None:
    """Rows and reasons agree, and the second run reads."""
    settings = Settings(points=4, cached=True)
    first = run_case(FILES[0], settings)
    assert 1 == len(entries(home))
    again, anew = run_case(FILES[0], settings), run_case(FILES[0], replace(settings, cached=False))
    for other in (again, anew):
        assert first.counts == other.counts
        for one, two in zip(first.variables, other.variables, strict=True):
            np.testing.assert_array_equal(one.rows.values["symbolic"], two.rows.values["symbolic"])


SQUARE = "case: square\ninputs: {x: {at: 3}}\nstages: {f: x**2}\n"
KEPT = Settings(points=2, cached=True)


@pytest.fixture
def square(tmp_path: Path) -> Path:
    """A case file of the test's own."""
    path = tmp_path / "square.yaml"
    path.write_text(SQUARE, encoding="utf-8")
    return path


@pytest.mark.usefixtures("home")
def test_a_case_that_passed_is_not_checked_again_until_something_changes(
    square: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its file, an option, or a row of the table; and never unless it is asked for."""
    (first,) = run_file(square, KEPT)
    (again,) = run_file(square, KEPT)
    assert (False, True) == (first.unchanged, again.unchanged)
    assert first.counts == again.counts
    np.testing.assert_array_equal(first.variables[0].rows.values["reverse"], again.variables[0].rows.values["reverse"])
    assert not run_file(square, replace(KEPT, cached=False))[0].unchanged
    assert not run_file(square, replace(KEPT, seed=1))[0].unchanged
    with monkeypatch.context() as patch:
        patch.setitem(OPS, "power_constant", replace(OPS["power_constant"]))
        assert not run_file(square, KEPT)[0].unchanged
    square.write_text(SQUARE.replace("at: 3", "at: 4"), encoding="utf-8")
    assert not run_file(square, KEPT)[0].unchanged


@pytest.mark.usefixtures("home")
@pytest.mark.parametrize(
    "text",
    [
        SQUARE + "source: made up\nexpect: {value: {f: 8.5}}\n",
        "case: edge\ninputs: {x: {at: 3, domain: [-1, 5]}}\nstages: {f: log(x)}\n",
    ],
)
def test_what_fails_or_is_undecided_is_always_checked_again(square: Path, text: str) -> None:
    """Nobody should read of a failure that is mended, or of a doubt that more time would settle."""
    square.write_text(text, encoding="utf-8")
    settings = replace(KEPT, points=64)
    assert [False, False] == [run_file(square, settings)[0].unchanged for _ in range(2)]


@pytest.mark.usefixtures("home")
def test_the_last_line_says_how_many_are_unchanged(square: Path) -> None:
    """In the run's own sentence."""
    run_cases([square], KEPT)
    assert "(1 unchanged since it passed)" in verdict_line(run_cases([square], KEPT))
    assert "unchanged" not in verdict_line(run_cases([square], replace(KEPT, cached=False)))


def test_a_graph_that_was_looked_at_is_not_derived_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """The symbolic method of a graph serves the next check of it; another graph, or another op table, has its own."""

    def symbolic(text: str) -> Any:
        return prepared_methods(load_case_text(text), Settings(), ["x"])[0]["symbolic"]

    square, cube = (f"{{case: a, inputs: {{x: {{at: {at}}}}}, stages: {{f: x**{n}}}}}" for at, n in ((3, 2), (3, 3)))
    first = symbolic(square)
    assert first is symbolic(square.replace("at: 3", "at: 4"))
    assert first is not symbolic(cube)
    monkeypatch.setitem(OPS, "power_constant", replace(OPS["power_constant"]))
    assert first is not symbolic(square)

"""Reading YAML: plain data, exact places, and a clear problem for whatever a case does not need."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from verify.case.yaml_source import MAX_BYTES, MAX_DEPTH, parse_source, source_text
from verify.errors import CaseError, Problem


def problems_of(text: str) -> tuple[Problem, ...]:
    """The problems of a text that cannot be read."""
    with pytest.raises(CaseError) as caught:
        parse_source(text, "a.yaml")
    return tuple(caught.value.problems)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 0.001),
        ("no", "no"),
        ("on", "on"),
        ("010", 10),
        ("1:30", "1:30"),
        ("0o10", 8),
        ("0x1F", 31),
        ("1_000", "1_000"),
        ("2026-01-01", "2026-01-01"),
        (".5", 0.5),
        ("+5.", 5.0),
        ("~", None),
        ("True", True),
        ("'1'", "1"),
        ("-.inf", -math.inf),
        ("<<", "<<"),
    ],
)
def test_scalars_follow_yaml_1_2(text: str, value: Any) -> None:
    """A scalar means what the core schema of YAML 1.2 says, in value and in type."""
    found = parse_source(f"a: {text}").data["a"]
    assert (value, type(value)) == (found, type(found))


def test_nan_is_read_as_nan() -> None:
    """``.nan`` is a float; whether it is allowed is decided by who uses it."""
    assert math.isnan(parse_source("a: .nan").data["a"])


def test_data_are_plain_and_in_order() -> None:
    """Mappings and lists become dicts and lists in the order of the file."""
    source = parse_source("b: {y: [1, 2]}\na: [{x: 1}]")
    assert {"b": {"y": [1, 2]}, "a": [{"x": 1}]} == source.data
    assert ["b", "a"] == list(source.data)


def test_marks_hold_line_column_and_text() -> None:
    """Each value knows its place, its key's place, and how it was written."""
    mark = parse_source("a:\n  b: 0.50\n").marks["a", "b"]
    assert (2, 6, 2, 3, "0.50") == (mark.line, mark.column, mark.key_line, mark.key_column, mark.text)


@pytest.mark.parametrize(
    ("text", "places"),
    [
        ("f: x + y", [(1, 4), (1, 6), (1, 8)]),
        ("f: 'x + y'", [(1, 5), (1, 7), (1, 9)]),
        ("f: x\n  + y", [(1, 4), (2, 3), (2, 5)]),
        ("f: >-\n  x +\n  y", [(2, 3), (2, 5), (3, 3)]),
        ("f: |\n  x\n  + y", [(2, 3), (3, 3), (3, 5)]),
        ("f: |  # note\r\n  x\r\n  + y\r\n", [(2, 3), (3, 3), (3, 5)]),
    ],
)
def test_places_of_characters(text: str, places: list[tuple[int, int]]) -> None:
    """Line and column of each visible character, through quotes and folding."""
    source = parse_source(text)
    visible = [
        place for place, char in zip(source.places(("f",)), source.data["f"], strict=False) if not char.isspace()
    ]
    assert places == visible


@pytest.mark.parametrize(
    ("text", "place", "message", "suggestion"),
    [
        ("a: !foo 1", (1, 4), "a tag (!foo) is not allowed", "Remove it"),
        ("a: !!python/object/apply:os.system [ls]", (1, 4), "a tag", "Remove it"),
        ("a: &x 1", (1, 4), "an anchor '&x' is not allowed", "Remove it"),
        ("f: *x", (1, 4), "an alias '*x' is not allowed", "quote the text"),
        ("b: 1\n<<: {a: 1}", (2, 1), "a merge key '<<' is not allowed", "Write the fields out"),
        ("a: 1\n---\nb: 2", (2, 1), "a second document starts here", "One file holds one case"),
        ("%YAML 1.1\n---\na: 1", (1, 1), "directives are not used here", "Remove the lines"),
        ("", (0, 0), "the file is empty", "verify new"),
        ("# a comment only\n", (0, 0), "the file is empty", "verify new"),
        ("\ufeffa: 1", (1, 1), "byte-order mark", "UTF-8 without BOM"),
        ("a:\n\tb: 1", (2, 1), "a tab cannot be used for indentation", "Use spaces"),
        ("a: 1e400", (1, 4), "the number 1e400 is too large for a double", "a double can hold"),
        ("a: " + "1" * 5000, (1, 4), "a number of 5000 characters", "a double can hold"),
        ("1: a", (1, 1), "a key must be a name, got 1", "Quote it: '1'"),
        ("? [a]\n: 1", (1, 3), "a key is a name, not a list or mapping", "Quote it"),
        ("a: \x01", (1, 4), "not valid YAML: a control character", "Delete it"),
        ("f: @x", (1, 4), "cannot start with this character", "in quotes"),
        ("f: - x", (1, 4), "a list entry '- ' is not expected here", "on its own line"),
        ("f: a: b", (1, 5), "a ':' is not expected here", "quote text"),
        ("f: 'abc", (1, 4), "quoted text is never closed", "closing quote"),
        ("a: [1\nb: 2", (2, 2), "a '[' is not closed (opened on line 1)", "Quote text"),
        ("a: 1\nb", (2, 1), "not of the form 'name: value'", "Put ': '"),
        ("x: {at: 1, domain: (0, 10]}", (1, 26), "a '{' is not closed", "in quotes: '(0, 10]'"),
        ("x: {at: 1, domain: [0, 10)}", (1, 27), "a '[' is not closed", "in quotes: '[0, 10)'"),
    ],
)
def test_what_is_refused(text: str, place: tuple[int, int], message: str, suggestion: str) -> None:
    """Each fault has its place, a sentence and a way to mend it."""
    problem = problems_of(text)[-1]
    assert place == (problem.line, problem.column)
    assert message in problem.message
    assert suggestion in problem.suggestion


def test_no_interval_hint_without_an_interval() -> None:
    """The hint to quote an interval stands only where there is one (twin)."""
    assert "interval" not in problems_of("x: {at: [1, 2}")[0].suggestion


def test_a_key_that_is_given_twice_keeps_the_first() -> None:
    """Equal keys are a problem with both lines, and the rest of the file is still read."""
    source = parse_source("a: 1\nb: {c: 2}\nb: {d: 3}\n")
    assert {"a": 1, "b": {"c": 2}} == source.data
    assert "the key 'b' is given twice (first on line 2)" == source.problems[0].message
    assert (3, 1, "b: {d: 3}") == (source.problems[0].line, source.problems[0].column, source.problems[0].text)


def test_equal_keys_in_different_mappings_are_fine() -> None:
    """The same key may stand in two mappings (twin)."""
    assert parse_source("a: {c: 1}\nb: {c: 1}").problems == ()


def test_several_problems_at_once() -> None:
    """Tags, anchors and aliases of one file are all reported, in the order of the lines."""
    assert [1, 2, 3] == [problem.line for problem in problems_of("a: !foo 1\nb: &x 2\nc: *x\n")]


def test_depth_is_limited() -> None:
    """One level too many is refused, the last allowed level is read."""
    allowed = MAX_DEPTH - 1  # the mapping itself is a level
    assert parse_source("a: " + "[" * allowed + "1" + "]" * allowed).problems == ()
    problem = problems_of("a: " + "[" * (allowed + 1) + "1" + "]" * (allowed + 1))[0]
    assert f"more than {MAX_DEPTH} levels of nesting" == problem.message


def test_a_file_that_is_too_large(tmp_path: Path) -> None:
    """The limit on bytes holds, and the message names it."""
    path = tmp_path / "large.yaml"
    path.write_text("# " + "x" * MAX_BYTES, encoding="utf-8")
    with pytest.raises(CaseError, match="larger than 100,000 bytes"):
        source_text(path)


def test_a_file_that_is_not_utf_8(tmp_path: Path) -> None:
    """A byte that is no UTF-8 is named with its place."""
    path = tmp_path / "latin.yaml"
    path.write_bytes("a: 1\nb: \u00e9\n".encode("latin-1"))
    with pytest.raises(CaseError) as caught:
        source_text(path)
    problem = caught.value.problems[0]
    assert (2, 4, "the file is not UTF-8 (byte 0xe9)") == (problem.line, problem.column, problem.message)


def test_a_folder_and_a_missing_file(tmp_path: Path) -> None:
    """What is no readable file is a problem of the file as a whole."""
    with pytest.raises(CaseError, match="this is a folder, expected a case file"):
        source_text(tmp_path)
    with pytest.raises(CaseError, match="there is no such file"):
        source_text(tmp_path / "none.yaml")


def test_long_lines_are_cut_in_messages() -> None:
    """A message stays readable however long the line is."""
    assert len(str(problems_of("a: !foo " + "x" * 5000)[0])) < 300

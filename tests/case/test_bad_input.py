"""Bad input: each kind of fault gets file, line, column, the line's text, what was expected and a suggestion.

The fuzz tests below hold that whatever is given ends in a case or in a clear error: nothing else is raised, nothing
is slow, and nothing is executed.
"""
# ruff: noqa: E501 (the tables have one fault a line, so that they can be read as tables)

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from verify.case.case import Case, load_case, load_case_text
from verify.case.expression import ExpressionError, graph_from_expressions
from verify.errors import CaseError, Problem

GOOD = """\
case: good
source: a book
dims: {m: 2}
inputs:
  x: {at: 3, domain: [-6, 6]}
  W: {shape: [m, 3], at: normal}
  v: {at: [1, 2, 3]}
  g: {at: [1, 0], kind: constant}
stages:
  y: W @ v
  q: sum(W)
  z: max(y, x) * q
output: z
upstream: {z: g}
expect:
  value: {x: 3}
points:
  - {x: 1, v: [1, 1, 1], note: ones}
ties: {max: both}
accuracy: absolute
"""


def problems_of(text: str) -> tuple[Problem, ...]:
    """Every problem of a case that cannot be used."""
    with pytest.raises(CaseError) as caught:
        load_case_text(text, "cases/a.yaml")
    return tuple(caught.value.problems)


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ("stages: {f: x * exp(z)}", "unknown name 'z'"),
        ("stagess: {f: x * y}", "unknown field 'stagess'"),
        ("stages: {f: max(x, y) * exp(x)}", "a comma ends a formula between braces"),
        ("stages: {f: .nan}", "this cannot be read as a formula near '.nan'"),
        ("stages: {f: clip(x, 0, 1), g: f * y}", "a key must be a name, got 0"),
        ("stages: {f: x * (y}", "this bracket is never closed"),
        ("stages: {f: sgmoid(x)}", "unknown op 'sgmoid'"),
    ],
)
def test_a_slip_is_one_fault(wrong: str, told: str) -> None:
    """What follows from it (an input that nothing uses, a field that is missing, a name of half a formula) is not told."""
    (problem,) = problems_of(f"case: a\ninputs: {{x: {{at: 1}}, y: {{at: 2}}}}\n{wrong}")
    assert problem.message.startswith(told)
    (problem,) = problems_of("case: a\ninputs: {x: {att: 1}, y: {at: 2}}\nstages: {f: x * y}")
    assert problem.message == "unknown field 'att'"


def test_an_input_that_nothing_uses_is_told_where_it_is_the_fault() -> None:
    """The twin: with nothing else wrong it is."""
    (problem,) = problems_of("case: a\ninputs: {x: {at: 1}, y: {at: 2}}\nstages: {f: x * 2}")
    assert problem.message == "nothing uses the input 'y'"


def test_the_good_case_is_good() -> None:
    """The file that the tests below break has no fault (twin of all of them)."""
    assert "good" == load_case_text(GOOD).name


# Each row breaks one line: what stands there, what replaces it -> line, column, message, suggestion.
BREAKS: dict[str, tuple[str, str, int, int, str, str]] = {
    "duplicate key": ("dims: {m: 2}", "case: again", 3, 1, "the key 'case' is given twice (first on line 1)", "Remove"),
    "unknown field": ("accuracy: abs", "acuracy: abs", 20, 1, "unknown field 'acuracy'", "Did you mean 'accuracy'?"),
    "unknown field of an input": ("domain:", "domian:", 5, 14, "unknown field 'domian'", "Did you mean 'domain'?"),
    "unknown field of expect": ("value:", "values:", 16, 3, "unknown field 'values'", "Did you mean 'value'?"),
    "wrong type": ("source: a book", "source: 3", 2, 9, "'source': expected text, got a whole number (3)", "quotes"),
    "wrong type of an input": ("{at: 3, domain: [-6, 6]}", "3", 5, 6, "'x': expected a mapping of fields", "{at: 3}"),
    "wrong type of a dim": ("{m: 2}", "{m: 2.5}", 3, 11, "'m': expected a whole number, got a number (2.5)", ""),
    "dim below 1": ("{m: 2}", "{m: 0}", 3, 11, "a dim is at least 1, got 0", "size"),
    "unknown kind": ("kind: constant", "kind: konstant", 8, 25, "unknown kind 'konstant'", "Did you mean 'constant'?"),
    "unknown dtype": ("at: normal", "at: normal, dtype: float23", 6, 41, "unknown dtype 'float23'", "Did you mean"),
    "unknown accuracy": ("accuracy: absolute", "accuracy: exact", 20, 11, "unknown accuracy 'exact'", "Choose one of"),
    "missing case": ("case: good\n", "", 1, 1, "the field 'case' is missing", "Add 'case: a name'."),
    "missing value": ("{at: 3, domain: [-6, 6]}", "{domain: [-6, 6]}", 5, 3, "the input 'x' has no value", "Add 'at: 3'"),
    "unknown op": ("sum(W)", "sun(W)", 11, 6, "unknown op 'sun'", "Did you mean 'sum'?"),
    "unknown name": ("sum(W)", "sum(W) + xx", 11, 15, "unknown name 'xx'", "Did you mean 'x'?"),
    "use before definition": ("W @ v", "W @ v * q", 10, 14, "stage 'q' is defined later, on line 11", "Move it above 'y'."),
    "cycle": ("sum(W)", "sum(z)", 11, 10, "these stages use each other in a circle: q -> z -> q", "earlier stages"),
    "shape mismatch": ("W @ v", "v @ W", 10, 6, "'@' cannot multiply shapes (3,) and (2, 3)", ""),
    "value outside its domain": ("at: 3,", "at: 7,", 5, 11, "x = 7 lies outside its domain [-6, 6]", "widen"),
    "point outside its domain": ("{x: 1,", "{x: 9,", 18, 9, "x = 9 lies outside its domain [-6, 6]", "widen"),
    "empty domain": ("[-6, 6]", "[6, -6]", 5, 22, "the domain [6, -6] is empty", "Write [-6, 6]."),
    "empty open domain": ("[-6, 6]", "'[3, 3)'", 5, 22, "the domain [3, 3) is empty", "close both ends"),
    "domain of another form": ("[-6, 6]", "6", 5, 22, "expected an interval, got a whole number (6)", "'(0, 10]'"),
    "domain of three numbers": ("[-6, 6]", "[1, 2, 3]", 5, 22, "expected an interval, got [1, 2, 3]", "[low, high]"),
    "too many nodes": ("sum(W)", "+".join(["x"] * 600), 11, 6, "numbers, names and operations, more than", "stages"),
    "too deep": ("sum(W)", "-" * 60 + "x", 11, 56, "more than 50 levels of nesting", "stages"),
    "too many digits": ("sum(W)", "x + " + "1" * 60, 11, 10, "a number with more than 50 digits", "17 digits"),
    "exponent": ("sum(W)", "9**9**9", 11, 9, "the exponent 3.8742e+08 is larger than 100", "up to 100"),
    "attribute access": ("sum(W)", "sum(W.T)", 11, 10, "attribute access '.T' is not allowed", "transpose(W)"),
    "call of a method": ("sum(W)", "W.sum()", 11, 6, "attribute access is not allowed", "Write sum(a)."),
    "call of a builtin": ("sum(W)", "open(x)", 11, 6, "unknown op 'open'", "Ops: "),
    "tag": ("case: good", "case: !foo good", 1, 7, "a tag (!foo) is not allowed", "Remove"),
    "alias": ("case: good", "case: *good", 1, 7, "an alias '*good' is not allowed", "quote"),
    "formula of another type": ("sum(W)", "[1, 2]", 11, 6, "expected a formula, got a list", "in quotes"),
    "keyword as a name": ("dims: {m: 2}", "dims: {m: 2, lambda: 3}", 3, 14, "'lambda' cannot be a name: it is a keyword", "R"),
    "no identifier": ("dims: {m: 2}", "dims: {m: 2, 2k: 3}", 3, 14, "'2k' cannot be a name", "Rename"),
    "name given twice": ("dims: {m: 2}", "dims: {m: 2, x: 3}", 5, 3, "the name 'x' is given twice", "Rename one."),
    "input called note": ("  x: {at: 3", "  note: {at: 1}\n  x: {at: 3", 5, 3, "an input cannot be called 'note'", "point"),
    "unused input": ("  v: {at", "  u: {at: 1}\n  v: {at", 7, 3, "nothing uses the input 'u'", "or remove it"),
    "ragged list": ("[1, 2, 3]}", "[[1, 2], [3]]}", 7, 20, "entry 1 has shape (1,), entry 0 has shape (2,)", "same length"),
    "text for a number": ("[1, 2, 3]}", "[1, two, 3]}", 7, 15, "expected a number, got the text 'two'", "the number itself"),
    "empty list": ("[1, 2, 3]}", "[]}", 7, 11, "an empty list has no values", "at least one"),
    "NaN": ("at: 3,", "at: .nan,", 5, 11, "expected a finite number, got .nan", "another point"),
    "infinity": ("at: 3,", "at: .inf,", 5, 11, "expected a finite number, got .inf", "another point"),
    "draw of an unknown kind": ("at: normal", "at: norml", 6, 26, "expected a value, got the text 'norml'", "'normal'?"),
    "unknown dim": ("[m, 3]", "[n, 3]", 6, 15, "unknown dim 'n'", "Known: m"),
    "shape that is no list": ("[m, 3]", "m", 6, 14, "expected a list of sizes, got the text 'm'", "[m, k]"),
    "shape that contradicts": ("at: [1, 2, 3]", "at: [1, 2, 3], shape: [2]", 7, 11, "has shape (3,), 'shape' says (2,)", "agree"),
    "array that is too large": ("[m, 3]", "[9999999, 999]", 6, 14, "is too large", "entries"),
    "constant of a whole kind": ("[1, 0], kind: constant", "[1, 2.5], kind: label", 8, 15, "g = 2.5 is not a whole", "R"),
    "mask": ("[1, 0], kind: constant", "[1, 2], kind: mask", 8, 15, "g = 2 is neither 0 nor 1", "0 or 1"),
    "label": ("[1, 0], kind: constant", "[1, -2], kind: label", 8, 15, "g = -2 is negative", "from 0"),
    "normal label": ("[1, 0], kind: constant", "normal, kind: label", 8, 11, "a label cannot be drawn normal", "uniform"),
    "float32 overflow": ("at: 3, domain: [-6, 6]", "at: 1e39, dtype: float32", 5, 11, "too large for float32", "float64"),
    "unknown output": ("output: z", "output: zz", 13, 9, "unknown output 'zz'", "Did you mean 'z'?"),
    "output that is an input": ("output: z", "output: [z, x]", 13, 13, "the output 'x' is an input", "Stages"),
    "upstream of no output": ("{z: g}", "{y: g}", 14, 12, "'y' is not an output", "Outputs: z"),
    "unknown upstream": ("{z: g}", "{z: gg}", 14, 15, "the upstream gradient 'gg' is not an input", "Did you mean 'g'?"),
    "upstream that is real": ("{z: g}", "{z: x}", 14, 15, "'x' must not be differentiated", "kind: constant"),
    "upstream of another shape": ("at: [1, 0]", "at: [1, 0, 1]", 14, 15, "has shape (3,), the output 'z' has shape (2,)", "agree"),
    "tie of an op without ties": ("{max: both}", "{exp: both}", 19, 8, "the op 'exp' has no ties", "Ops with ties"),
    "unknown convention": ("{max: both}", "{max: bth}", 19, 13, "unknown convention 'bth' for ties of max", "'both'?"),
    "convention that is not used": ("{max: both}", "{relu: half}", 19, 8, "no stage uses the op 'relu'", "Remove"),
    "figure of an unknown name": ("value: {x: 3}", "value: {xx: 3}", 16, 11, "unknown name 'xx'", "'x'?"),
    "figure of another shape": ("value: {x: 3}", "value: {y: 3}", 16, 14, "the figure has shape (), 'y' has shape (2,)", "agree"),
    "gradient of a constant": ("value: {x: 3}", "gradient: {g: 3}", 16, 14, "'g' is not differentiated", "kind"),
    "figures without a source": ("source: a book", "source: ''", 15, 1, "figures are given, but not where they come", "source"),
    "unknown input of a point": ("{x: 1,", "{xx: 1,", 18, 6, "unknown input 'xx'", "'x'?"),
    "point of another shape": ("v: [1, 1, 1]", "v: [1, 1]", 18, 15, "has shape (2,), 'v' has (3,)", "agree"),
    "point that is no mapping": ("{x: 1, v: [1, 1, 1], note: ones}", "3", 18, 5, "expected", ""),
    "unprintable name": ("case: good", 'case: "a\\e[31m"', 1, 7, "unprintable characters", "letters"),
}  # fmt: skip


@pytest.mark.parametrize("kind", BREAKS)
def test_each_kind_of_fault(kind: str) -> None:
    """The problem has its file, line, column and text, and says what was expected and how to mend it."""
    right, wrong, line, column, message, suggestion = BREAKS[kind]
    assert right in GOOD
    text = GOOD.replace(right, wrong, 1)
    problem = next((problem for problem in problems_of(text) if message in problem.message), problems_of(text)[0])
    assert message in problem.message
    assert ("cases/a.yaml", line, column) == (problem.file, problem.line, problem.column)
    assert text.splitlines()[line - 1][:200] == problem.text[:200]
    assert suggestion in problem.suggestion


@pytest.mark.parametrize("kind", BREAKS)
def test_one_fault_makes_few_problems(kind: str) -> None:
    """What only follows from a fault is not reported as well."""
    right, wrong, *_ = BREAKS[kind]
    found = problems_of(GOOD.replace(right, wrong, 1))
    assert len(found) <= 3, [problem.headline() for problem in found]


def test_not_yaml() -> None:
    """A text that is no YAML has the place at which reading ended."""
    problem = problems_of("case: a\ninputs: {x: {at: 1]}\n")[0]
    assert (2, 19) == (problem.line, problem.column)
    assert "not valid YAML" in problem.message


def test_not_a_mapping() -> None:
    """YAML that is no mapping of fields is told what to start with."""
    problem = problems_of("- 1\n- 2\n")[0]
    assert "expected the fields of a case, got a list" == problem.message
    assert "Start with 'case: a name'" in problem.suggestion


def test_no_real_input() -> None:
    """A case in which nothing can be differentiated is refused."""
    problem = problems_of("case: a\ninputs: {x: {at: 1, kind: constant}}\nstages: {f: x}")[0]
    assert (2, "no input is real, so there is nothing to differentiate by") == (problem.line, problem.message)


def test_all_problems_of_a_file_at_once() -> None:
    """Faults of YAML, of the format, of formulas and of values stand together, in the order of the lines."""
    text = "case: a\ncase: b\ninputs:\n  x: {at: 9, domain: [0, 1], colour: red}\n  y: {}\nstages:\n  f: x + yy + sgmoid(y)\n"
    found = problems_of(text)
    assert [2, 4, 4, 5, 7, 7] == [problem.line for problem in found]
    assert [
        "the key 'case' is given twice (first on line 1)",
        "x = 9 lies outside its domain [0, 1]",
        "unknown field 'colour'",
        "the input 'y' has no value",
        "unknown name 'yy'",
        "unknown op 'sgmoid'",
    ] == [problem.message for problem in found]


def test_the_message_shows_the_line_and_a_caret() -> None:
    """A problem prints as place, sentence, suggestion, line and caret."""
    shown = str(problems_of(GOOD.replace("sum(W)", "sun(W)"))[0])
    assert "cases/a.yaml:11:6: unknown op 'sun'. Did you mean 'sum'?\n    q: sun(W)\n       ^" == shown


def test_an_empty_file_a_missing_one_and_a_folder(tmp_path: Path) -> None:
    """Files that hold no case at all are named."""
    empty = tmp_path / "empty.yaml"
    empty.touch()
    for path, message in (
        (empty, "the file is empty"),
        (tmp_path, "this is a folder"),
        (tmp_path / "no", "no such file"),
    ):
        with pytest.raises(CaseError, match=message) as caught:
            load_case(path)
        assert str(path) == caught.value.problems[0].file


def test_an_unreadable_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file without permission says so."""
    path = tmp_path / "secret.yaml"
    path.write_text(GOOD, encoding="utf-8")

    def refuse(*_: object) -> None:
        raise PermissionError(13, os.strerror(13))

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(CaseError, match="the file cannot be read: Permission denied"):
        load_case(path)


# ------------------------------------------------------------------------------------------------------------ fuzzing

SLOW = 20.0
"""Seconds of the processor's time that no input may take, however busy the machine is: a hundred times what it does."""
FUZZ = settings(max_examples=150)


def outcome(run: Callable[[], object]) -> str:
    """``read`` or ``refused``; any other exception, and slowness, is a failure."""
    start = time.process_time()
    problems: tuple[Problem, ...] | None = None
    try:
        run()
    except CaseError as error:
        problems = tuple(error.problems)
    assert time.process_time() - start < SLOW
    if problems is None:
        return "read"
    assert problems
    assert all(problem.message for problem in problems)
    assert "\n".join(map(str, problems)).encode()  # can be printed
    return "refused"


PIECES = st.sampled_from(
    ["x", "y", "W", "exp(", "max(", "sum(", ")", "(", "[", "]", "{", "}", "+", "-", "*", "**", "@", "/", "//", ",", ":",
     "0", "1", "9" * 20, "1e999", "0.5", " ", "axis=", "keepdims=True", "lambda", "if", "else", "for", "in", "not",
     ".T", ".__class__", "__import__('os').system('touch canary')", "'", '"', "f'", "#", "\\", "\n", "\t", "\0", "=",
     "==", ":=", "...", "None", "1j", "\u03bb", "\u00b2", "\ud800", "yield", "await", "W[", "0:2", "::0", "pi", "e"]
)  # fmt: skip


@FUZZ
@given(st.one_of(st.text(max_size=60), st.lists(PIECES, max_size=30).map("".join)))
def test_any_formula_is_read_or_refused(text: str) -> None:
    """Arbitrary text as a formula ends in a graph or in an ExpressionError."""

    def run() -> None:
        graph_from_expressions({"x": (), "y": (2,), "W": (2, 3)}, {"f": text})

    assert outcome(run) in ("read", "refused")


@FUZZ
@given(
    st.integers(1, 3000),
    st.sampled_from(["(", "[", "-", "x+", "x**", "exp(", "2**", "x[0]", "not ", "lambda:", "{", "~"]),
)
def test_long_and_deep_formulas_are_read_or_refused(count: int, piece: str) -> None:
    """Repetition does not hit the parser's stack or Python's recursion limit."""
    closing = {"(": ")", "[": "]", "exp(": ")", "{": "}"}.get(piece, "")

    def run() -> None:
        graph_from_expressions({"x": ()}, {"f": piece * count + "x" + closing * count})

    assert outcome(run) in ("read", "refused")


@FUZZ
@given(st.text(max_size=200))
def test_any_text_is_a_case_or_refused(text: str) -> None:
    """Arbitrary text as a file ends in a case or in a CaseError."""
    assert outcome(lambda: load_case_text(text)) in ("read", "refused")


YAML_PIECES = st.sampled_from(
    ["{", "}", "[", "]", ":", ": ", ",", "-", "- ", "\n", "\n  ", "\t", "'", '"', "|", ">", "&a", "*a", "!", "!!python/name:os",
     "!!python/object/apply:os.system ['touch canary']", "<<: ", "#", "%", "---\n", "...\n", "? ", "~", "null", "true", "1e999",
     ".nan", "-.inf", "0x", "10" * 300, "case", "at: normal", "shape: [99999, 99999]", "(0, 1]", "expect: ", "points: ", "\0",
     "\x85", "\u2028", "\ufeff", "[" * 50, "{" * 50, "x" * 300]
)  # fmt: skip


@settings(FUZZ, max_examples=300)
@given(st.data())
def test_any_mutation_of_a_case_is_read_or_refused(data: st.DataObject) -> None:
    """Cutting, doubling and inserting in a good file ends in a case or in a CaseError."""
    text = GOOD
    for _ in range(data.draw(st.integers(1, 4))):
        start = data.draw(st.integers(0, len(text)))
        end = data.draw(st.integers(start, min(start + 30, len(text))))
        piece = data.draw(st.one_of(st.just(""), st.just(text[start:end] * 2), YAML_PIECES, st.text(max_size=3)))
        text = text[:start] + piece + text[end:]
    assert outcome(lambda: load_case_text(text)) in ("read", "refused")


VALUES = st.recursive(
    st.one_of(
        st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5), st.sampled_from(["x", "normal"])
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.sampled_from(["x", "at", "f", "z"]), inner, max_size=3)
    ),
    max_leaves=6,
)


@settings(FUZZ, max_examples=300)
@given(
    st.dictionaries(
        st.sampled_from(
            [
                "case",
                "source",
                "dims",
                "inputs",
                "stages",
                "output",
                "upstream",
                "expect",
                "points",
                "ties",
                "accuracy",
                "order",
            ]
        ),
        VALUES,
        max_size=4,
    )
)
def test_any_value_in_any_field_is_read_or_refused(fields: dict[str, object]) -> None:
    """Each field may hold anything: lists for mappings, mappings for numbers, numbers for text."""
    import json

    good = {"case": "a", "inputs": {"x": {"at": 1}}, "stages": {"f": "x * 2"}}
    text = json.dumps(good | fields).replace("NaN", ".nan").replace("-Infinity", "-.inf").replace("Infinity", ".inf")
    assert outcome(lambda: load_case_text(text)) in ("read", "refused")


@settings(FUZZ, max_examples=300)
@given(st.sampled_from(["at", "domain", "shape", "kind", "dtype"]), VALUES)
def test_any_value_in_any_field_of_an_input_is_read_or_refused(field: str, value: object) -> None:
    """The same for the fields of an input."""
    import json

    item = {"at": 1} | {field: value}
    text = json.dumps({"case": "a", "inputs": {"x": item}, "stages": {"f": "sum(x)"}})
    text = text.replace("NaN", ".nan").replace("-Infinity", "-.inf").replace("Infinity", ".inf")
    assert outcome(lambda: load_case_text(text)) in ("read", "refused")


def test_no_text_is_executed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Python in formulas and Python tags in YAML plant nothing."""
    monkeypatch.chdir(tmp_path)
    call = "__import__('os').system('touch canary')"
    for text in (
        f"case: a\ninputs: {{x: {{at: 1}}}}\nstages:\n  f: x * {call}\n",
        f'case: a\ninputs: {{x: {{at: 1, domain: "[{call}, 1]"}}}}\nstages: {{f: x}}\n',
        f'case: a\ninputs: {{x: {{at: "{call}"}}}}\nstages: {{f: x}}\n',
        f'case: a\ninputs: {{x: {{at: 1, shape: ["{call}"]}}}}\nstages: {{f: x}}\n',
        "case: !!python/object/apply:os.system ['touch canary']\n",
        "case: !!python/object/new:os.system ['touch canary']\n",
        "!!python/object/apply:subprocess.check_call [[touch, canary]]\n",
    ):
        assert "refused" == outcome(lambda text=text: load_case_text(text))  # type: ignore[misc]
    assert [] == list(tmp_path.iterdir())


def test_escape_sequences_do_not_reach_the_terminal() -> None:
    """A name that holds an escape for terminals is shown without it."""
    problems = problems_of('"\\e[31mred": 1\n' + GOOD)
    assert "\x1b" not in "".join(map(str, problems))
    assert any("unknown field '\\x1b[31mred'" in str(problem) for problem in problems)


def test_the_canary_can_sing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The command that the test above hides in a case does plant a file if it runs (twin)."""
    monkeypatch.chdir(tmp_path)
    os.system("touch canary")  # noqa: S605, S607 (a fixed command)
    assert ["canary"] == [path.name for path in tmp_path.iterdir()]


def test_expression_errors_are_case_errors() -> None:
    """Whoever catches CaseError catches the problems of a single formula as well."""
    with pytest.raises(CaseError) as caught:
        graph_from_expressions({"x": ()}, {"f": "y"})
    assert isinstance(caught.value, ExpressionError)


def test_a_large_good_file_is_read_in_time() -> None:
    """A file near the limit takes well under two seconds."""
    rows = ", ".join(["0.25"] * 14_000)
    text = f"case: large\ninputs: {{x: {{at: [{rows}]}}}}\nstages: {{f: sum(x)}}\n"
    assert "read" == outcome(lambda: load_case_text(text))
    stages = "\n".join(f"  s{i}: s{i - 1} + x" for i in range(1, 4_000))
    text = f"case: long\ninputs: {{x: {{at: 1}}}}\nstages:\n  s0: x\n{stages}\n"
    found: list[Case] = []
    assert "read" == outcome(lambda: found.append(load_case_text(text)))
    assert 4_000 == len(found[0].graph.stages)

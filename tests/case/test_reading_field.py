"""Input that the field showed not to be refused as it should be: each kind, its siblings, and a neighbour that is read.

The refused ones have a place, a remedy and a message of bounded length, whatever their own length is. The counts of
work here are characters, problems and bytes, never seconds.
"""

# ruff: noqa: E501 (the tables have one input a line, so that they can be read as tables)

from __future__ import annotations

import math
import os
import tracemalloc
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import fuzz
import numpy as np
import pytest

from verify import check_gradient
from verify.case.case import Case, load_case, load_case_text
from verify.case.expression import MAX_ENTRIES, graph_from_expressions
from verify.case.files import find_case, find_case_files
from verify.case.template import case_text
from verify.case.values import half_unit
from verify.case.yaml_source import MAX_PIECES, scalar_value
from verify.cli import main
from verify.errors import MOST_PROBLEMS, MOST_TOLD, CaseError, Problem, UsageError, did_you_mean, printable
from verify.ops import OPS
from verify.ops.parameters import PARAMETERS, parameter_fault
from verify.records import CaseResult
from verify.running.runner import run_case, run_loaded
from verify.running.settings import Settings
from verify.words import Verdict

LONGEST = 10_000
"""Characters of a message."""


def case_of(stage: str = "x", x: str = "{at: 3}", more: str = "") -> Case:
    """A case of one input and one stage."""
    return load_case_text(f"case: a\nsource: s\ninputs:\n  x: {x}\nstages:\n  f: '{stage}'\n{more}")


def refused(text: str) -> str:
    """The message for a text that is no case."""
    with pytest.raises(CaseError) as caught:
        load_case_text(text)
    message = str(caught.value)
    assert len(message) < LONGEST
    assert len(caught.value.problems) <= MOST_PROBLEMS
    return message


def refused_case(stage: str = "x", x: str = "{at: 3}", more: str = "") -> str:
    """The message for a case of one input and one stage."""
    with pytest.raises(CaseError) as caught:
        case_of(stage, x, more)
    return str(caught.value)


def result_of(case: Case, points: int = 4) -> CaseResult:
    """A whole run at a few points."""
    return run_loaded(case, Settings(points=points, sizes=0))


# ------------------------------------------------------------------------------------------------------------- numbers


@pytest.mark.parametrize("figure", ["0e400", "0e300", "0e1", "-0e5", "0.0e3", "0e99999999999999999999", "0.e309"])
def test_a_figure_has_a_finite_unit_in_its_last_place(figure: str) -> None:
    """A zero without a digit says nothing: as a figure it would be half of every number."""
    message = refused_case("x**2", more=f"expect: {{value: {{f: {figure}}}, gradient: {{x: {figure}}}}}\n")
    assert "has no digit that is known" in message
    assert "8:" in message or "7:" in message


@pytest.mark.parametrize(
    ("figure", "unit"), [("9", 0.0), ("9.0", 0.05), ("9e0", 0.5), ("0.0", 0.05), ("0e-3", 0.0005), ("1.5e300", 5e298)]
)
def test_a_figure_with_digits_is_read(figure: str, unit: float) -> None:
    """What is printed with digits means half a unit of the last of them (twin)."""
    assert math.isclose(unit, half_unit(figure), rel_tol=1e-12)
    assert "f" == case_of("x**2", more=f"expect: {{value: {{f: {figure}}}}}\n").own_points[0].expected[0].name


def test_a_wrong_figure_fails_and_a_right_one_passes() -> None:
    """The half unit that is accepted is the figure's own."""
    assert "PASS" == result_of(case_of("x**2", more="expect: {value: {f: 9.0}}\n")).status
    assert not result_of(case_of("x**2", more="expect: {value: {f: 9.1}}\n")).passes


TOO_LARGE = ["9" * 400, "-" + "9" * 400, "1e400", "0x" + "f" * 390, "1e99999999999999999999"]
TOO_SMALL = ["1e-400", "-1e-99999999999999999999", "0." + "0" * 390 + "1"]


@pytest.mark.parametrize("number", [*TOO_LARGE, *TOO_SMALL, "9" * 5000])
@pytest.mark.parametrize(
    "template",
    [
        "case: a\nsource: s\ninputs: {{x: {{at: {}}}}}\nstages: {{f: x}}\n",
        "case: a\nsource: s\ninputs: {{x: {{at: [1, {}]}}}}\nstages: {{f: sum(x)}}\n",
        "case: a\nsource: s\ninputs: {{x: {{at: 1, domain: [0, {}]}}}}\nstages: {{f: x}}\n",
        "case: a\nsource: s\ninputs: {{x: {{at: 1, domain: '({}, 5)'}}}}\nstages: {{f: x}}\n",
        "case: a\nsource: s\ninputs: {{x: {{at: normal, shape: [{}]}}}}\nstages: {{f: sum(x)}}\n",
        "case: a\nsource: s\ndims: {{m: {}}}\ninputs: {{x: {{at: 1}}}}\nstages: {{f: x * m}}\n",
        "case: a\nsource: s\ninputs: {{x: {{at: 1}}}}\nstages: {{f: x}}\nexpect: {{value: {{f: {}}}}}\n",
        "case: a\nsource: s\ninputs: {{x: {{at: 1}}}}\nstages: {{f: x}}\npoints: [{{x: {}}}]\n",
        "case: a\nsource: s\ninputs: {{x: {{at: 1}}}}\nstages: {{f: {}}}\n",
        "case: a\nsource: s\ninputs: {{x: {{at: 1}}}}\nstages: {{f: x * {}}}\n",
    ],
)
def test_a_number_that_no_double_holds_is_refused_wherever_it_stands(template: str, number: str) -> None:
    """Beyond the largest double, or so small that it would be read as 0: in each field that takes a number."""
    message = refused(template.format(number))
    assert "<text>:" in message


def test_numbers_at_the_ends_of_the_doubles_are_read() -> None:
    """The largest and the smallest double, and zeros however they are written (twin)."""
    assert 1.7976931348623157e308 == scalar_value("1.7976931348623157e308")
    assert 5e-324 == scalar_value("5e-324")
    assert [0.0, 0, 0.0] == [scalar_value(text) for text in ("0e-400", "000", "-0.0")]
    assert 5e-324 == case_of("x * 5e-324").graph.nodes[1].value


def test_a_dim_is_a_number_that_a_double_holds() -> None:
    """Formulas take dims as numbers: beyond 2**53 another one would be meant."""
    assert "a dim is at most 9,007,199,254,740,992" in refused_case("x * m", more="dims: {m: 9007199254740993}\n")
    assert {} == case_of("x / m", more="dims: {m: 9007199254740992}\n").dims


# ------------------------------------------------------------------------------------------------- float32 and domains


@pytest.mark.parametrize("stage", ["x * 1e39", "x * (1e20 * 1e20)", "clip(x, -1, 1e39)", "max(x, -1e39)"])
def test_a_constant_beyond_float32_is_refused_where_all_is_float32(stage: str) -> None:
    """It would be infinite in every float of the case."""
    message = refused_case(stage, "{at: 1, dtype: float32}")
    assert "too large for float32" in message
    assert "float64" in message


@pytest.mark.parametrize(
    ("stage", "dtype"), [("x * 1e38", "float32"), ("x * 1e39", "float64"), ("x * 1e-50", "float32")]
)
def test_a_constant_that_the_dtype_holds_is_read(stage: str, dtype: str) -> None:
    """Its neighbours run to a verdict (twin)."""
    assert result_of(case_of(stage, f"{{at: 1, dtype: {dtype}}}")).variables


@pytest.mark.parametrize(
    ("x", "message"),
    [
        ("{at: normal, dtype: float32, domain: [1e300, 1e301]}", "goes beyond float32"),
        ("{at: 0, dtype: float32, domain: [-1e300, 1]}", "goes beyond float32"),
        ("{at: uniform, dtype: float32, domain: [1e-60, 2e-60]}", "holds no number of float32"),
        ("{at: uniform, domain: '(1, 1.0000000000000002)'}", "holds no number of float64"),
        ("{at: uniform, kind: integer, domain: [0, 1e300]}", "whole numbers goes beyond 9,007,199,254,740,992"),
        ("{at: uniform, kind: label, domain: [1e17, 1e18]}", "whole numbers goes beyond"),
    ],
)
def test_a_domain_that_the_input_cannot_be_in_is_refused(x: str, message: str) -> None:
    """With the place of the domain."""
    found = refused(f"case: a\nsource: s\ninputs:\n  y: {{at: 1}}\n  x: {x}\nstages: {{f: x * y}}\n")
    assert message in found
    assert "<text>:5:" in found


@pytest.mark.parametrize(
    "x",
    [
        "{at: uniform, dtype: float32, domain: [1e37, 3e38]}",
        "{at: uniform, dtype: float32, domain: [1e-44, 2e-44]}",
        "{at: 1, dtype: float32, domain: [-.inf, .inf]}",
        "{at: uniform, domain: '(1, 1.0000000000000005)'}",
    ],
)
def test_a_domain_at_the_end_of_the_dtype_is_drawn_from(x: str) -> None:
    """Every value that is drawn is finite and inside (twin)."""
    case = case_of("x", x)
    result = result_of(case, points=16)
    values = [point.values["x"] for point in result.points]
    assert np.all(np.isfinite(values))
    assert np.all(case.inputs[0].domain.contains(np.array(values, dtype=case.inputs[0].dtype)))


# -------------------------------------------------------------------------------------------------------- static values

HOSTILE: list[Any] = [
    None, True, False, -1, 0, 1, 2**63, -(2**63) - 1, 10**400, 1.5, math.nan, math.inf, "x", "", (), (0, 0), (None,),
    ((1, 2), (3, 4)), ((((1,),),),), (1, (2, 3)), [0], [[0]], {}, 1j, (True,), Ellipsis, slice(0, 1), (10**400,),
]  # fmt: skip
SPELT = ["None", "True", "-1", "9" * 50, "9" * 400, "1.5", "'x'", "()", "(0, 0)", "((1, 2), (3, 4))", "(None,)", "x", "2**70",
         "(1, (2, 3))", "[0]", "...", "1j", "{}", "lambda: 0", "(1e400,)", "m*m", "-m"]  # fmt: skip


def test_every_static_parameter_is_declared() -> None:
    """One table says what each parameter may be, and each row takes what it names by that name."""
    assert {name for row in OPS.values() for name in row.params} == set(PARAMETERS)


@pytest.mark.parametrize("op", [op for op, row in OPS.items() if row.params])
def test_a_parameter_of_any_kind_is_taken_or_refused(op: str) -> None:
    """What the table takes has its type, and what it does not take has a sentence with the name and what is expected."""
    row = OPS[op]
    for name in row.params:
        for value in HOSTILE:
            fault = parameter_fault(row, name, value)
            assert not fault or (fault.startswith(f"{name} of {op} must be ") and len(fault) < 300)
            if isinstance(value, bool | str | dict | complex) and name not in ("keepdims", "subscripts"):
                assert fault


def problems_of_formula(text: str) -> Sequence[Problem]:
    """What is wrong with a formula; none where it can be read."""
    try:
        graph_from_expressions({"x": (2, 3)}, {"f": text}, dims={"m": 2})
    except CaseError as error:
        return error.problems
    return ()


@pytest.mark.parametrize("op", [op for op, row in OPS.items() if row.params and "(" in row.spelling])
@pytest.mark.parametrize("value", SPELT)
def test_any_parameter_in_a_formula_is_read_or_refused(op: str, value: str) -> None:
    """Nothing but an ExpressionError, with its column; so for each parameter of each op."""
    row = OPS[op]
    name = row.spelling.split("(")[0]
    operand = {"list": "[x]", "text first": '"ij->ji", x'}.get(row.variadic, ", ".join(["x"] * row.arity))
    for key in row.params:
        others = [f"{other}=1" for other in (*row.required, *row.numbers) if other != key]
        text = f"{name}({', '.join([operand, *others, f'{key}={value}'])})"
        assert all(problem.column for problem in problems_of_formula(text))


@pytest.mark.parametrize(
    ("formula", "message"),
    [
        ("std(x, ddof=None)", "ddof of std must be a whole number from 0 on, got None"),
        ("var(x, ddof=(1, 2))", "ddof of var must be a whole number from 0 on, got (1, 2)"),
        (
            "broadcast_to(3, None)",
            "shape of broadcast_to must be a whole number from -1 on, or a tuple of them, got None",
        ),
        ("roll(x, shift=None)", "shift of roll must be a whole number, or a tuple of them, got None"),
        ("expand_dims(2, axis=None)", "axis of expand_dims must be a whole number, or a tuple of them, got None"),
        ("stack([x], axis=None)", "axis of stack must be a whole number, or a tuple of them, got None"),
        ("concatenate([x], axis=None)", "axis of concatenate must be a whole number, or a tuple of them, got None"),
        ("x[" + ", ".join(["None"] * 65) + "]", "65 new axes, at most 30 are allowed"),
        ("pad(x, pad_width=-1)", "pad_width of pad must be a whole number from 0 on"),
        ("conv1d(x, x, stride=0)", "stride of conv1d must be a whole number from 1 on"),
        ("sum(x, axis=1.5)", "axis must be a whole number, or a tuple of them, got '1.5'"),
    ],
)
def test_what_is_expected_of_a_parameter_is_said(formula: str, message: str) -> None:
    """The sentences of the field's own inputs."""
    assert message in refused_case(formula, "{at: [3, 2]}")


@pytest.mark.parametrize(
    "formula",
    ["std(x, ddof=1)", "sum(x, axis=None)", "stack([x], axis=-1)", "roll(x, shift=-1)", "roll(x, shift=9223372036854775807)",
     "max_pool(reshape(x, shape=(1, 1, 2)), size=2, stride=None)", "x[None, ..., None]", "softmax(x, axis=None)",
     "pad(x, pad_width=(1, 2))", "x[[0, 0, 1]]", "clip(x, -1, 1)"],
)  # fmt: skip
def test_the_neighbours_of_refused_parameters_are_read(formula: str) -> None:
    """What NumPy takes for the same parameters (twin)."""
    assert () == case_of(f"sum({formula})", "{at: [3, 2]}").graph.shape("f")


@pytest.mark.parametrize(
    ("index", "shape"),
    [((0, (0, 1, 1)), (2, 3, 4)), ((slice(None), (0, 1)), (2, 3, 4)), (((1,), slice(0, 1), 0), (2, 3, 4)),
     ((None, (0, 1), ...), (2, 3, 4)), ((slice(0, 1), None, (0,), (1,)), (2, 3, 4)), (((0, 1), None, (1, 1)), (2, 3))],
)  # fmt: skip
def test_the_shape_of_a_gathered_array_is_numpys(index: tuple[object, ...], shape: tuple[int, ...]) -> None:
    """It is found without the array, and is what NumPy makes."""
    lists = tuple(list(part) if isinstance(part, tuple) else part for part in index)
    assert np.zeros(shape)[lists].shape == OPS["gather"].shape(shape, index)  # type: ignore[index]


# ------------------------------------------------------------------------------------------------- sizes, long messages


def test_large_arrays_are_refused_before_anything_is_made() -> None:
    """Sixty arrays of 80 MB; one and its sum; a list that names a row so often."""
    arrays = "\n".join(f"  x{i}: {{shape: [{MAX_ENTRIES}], at: 1}}" for i in range(60))
    texts = [
        f"case: a\ninputs:\n{arrays}\nstages: {{f: {' + '.join(f'x{i}' for i in range(60))}}}\n",
        f"case: a\ninputs: {{x: {{shape: [{MAX_ENTRIES}], at: 1}}}}\nstages: {{f: sum(x)}}\n",
        f"case: a\ninputs: {{x: {{shape: [1, {MAX_ENTRIES // 10}], at: 1}}}}\nstages: {{f: 'x[[{', '.join('0' * 900)}]]'}}\n",
    ]
    load_case_text("case: a\ninputs: {x: {at: 1}}\nstages: {f: x}\n")  # what is imported late is imported now
    for text in texts:
        tracemalloc.start()
        message = refused(text)
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert most < 30e6
        assert "10,000,000 entries" in message


def test_a_large_array_of_one_number_costs_nothing_to_read() -> None:
    """Its value is not spread out until it is used (twin of the refused ones)."""
    case = load_case_text("case: a\ninputs: {x: {shape: [4000000], at: 1}}\nstages: {f: sum(x)}\n")
    assert (4_000_000,) == case.inputs[0].shape
    assert isinstance(case.inputs[0].at, np.ndarray)
    assert (0,) == case.inputs[0].at.strides


def many(count: int, text: str, between: str = ", ") -> str:
    """The text so often, with the number of each."""
    return between.join(text.format(i) for i in range(count))


@pytest.mark.parametrize(
    "text",
    [
        f"case: a\ninputs:\n  x: {{at: 3, {many(3000, 'field{}: 1')}}}\nstages: {{f: x}}\n",
        f"case: a\nsource: s\ninputs: {{x: {{at: 3}}}}\nstages:\n{many(2500, '  s{}: x', chr(10))}\nexpect:\n  value:\n{many(2500, '    t{}: 1', chr(10))}\n",
        f"case: a\ninputs: {{x: {{at: 3}}}}\nstages: {{{many(3000, 's{}: yy')}}}\n",
        f"case: a\ninputs: {{{many(2000, 'x{}: {{at: 1}}')}}}\nstages: {{f: x0}}\n",
        f"case: a\ninputs: {{x: {{at: 1}}}}\nstages: {{f: x}}\npoints: [{many(2000, '{{y{}: 1}}')}]\n",
        f"case: a\ninputs: {{x: {{at: 1}}}}\nstages: {{f: x}}\noutput: [{many(5000, 'q{}')}]\n",
        f"case: a\ndims: {{{many(3000, 'm{}: 0')}}}\ninputs: {{x: {{at: 1}}}}\nstages: {{f: x}}\n",
        f"case: a\ninputs: {{x: {{at: 1, shape: [{many(3000, 'm{}')}]}}}}\nstages: {{f: x}}\n",
        f"x: [{many(9000, '&a{} b')}]\n",
        f"x: [{many(9000, '!t{} b')}]\n",
        f"x: {{{many(9000, 'a: 1')}}}\n",
        f"case: a\ninputs: {{x: {{at: 1}}}}\nstages: {{f: '{'y' * 3900}'}}\n",
        f"case: a\ninputs: {{{'y' * 50_000}: {{at: 1}}}}\nstages: {{f: x}}\n",
        f"case: a\n{'z' * 90_000}: 1\n",
        f"case: a\ninputs: {{x: {{at: 1, kind: {'z' * 90_000}}}}}\nstages: {{f: x}}\n",
        f"case: a\ninputs: {{x: {{at: 1}}}}\nstages: {{f: '{' + '.join(['log(-1)'] * 300)}'}}\n",
        f"case: a\ninputs: {{x: {{at: 1}}}}\nstages: {{f: 'x ** {' + '.join(['log(-1)'] * 300)}'}}\n",
        "\tx\n" * 30_000,
        'x: "' + "\\\n" * 45_000 + '"',
        "x: " + "[" * 20_000,
        f"x: [{many(30_000, '1', ',')}]\n",
    ],
)
def test_a_message_is_short_whatever_the_text_is(text: str) -> None:
    """Thousands of faults of a kind: the first are told, with how many more there are at least."""
    message = refused(text)
    assert message.count("<text>:") <= MOST_TOLD + 1
    assert all(len(line) < 1000 for line in message.splitlines())


def test_the_first_problems_are_told_and_the_others_counted() -> None:
    """What is left out is said; a few problems are told one by one (twin)."""
    error = CaseError([Problem(f"fault {i}") for i in range(25)])
    assert "and 5 more problems" == str(error).splitlines()[-1]
    assert 25 == len(error.problems)
    full = CaseError([Problem(f"fault {i}") for i in range(MOST_PROBLEMS)])
    assert f"and at least {MOST_PROBLEMS - MOST_TOLD} more problems" == str(full).splitlines()[-1]
    assert ["fault 0", "fault 1"] == str(CaseError([Problem("fault 0"), Problem("fault 1")])).splitlines()


def test_a_long_line_is_shown_around_the_place() -> None:
    """The caret stands under the character that is meant, wherever it is in the line."""
    for place in (1, 50, 2000, 4999):
        line = "".join("!" if i == place - 1 else "x" for i in range(5000))
        _, shown, caret = str(Problem("fault", "a.yaml", 1, place, line)).splitlines()
        assert "!" == shown[caret.index("^")]
        assert len(shown) < 200
    assert ["fault", "    x !", "      ^"] == str(Problem("fault", column=5, text="  x !")).splitlines()


def test_a_caret_stands_right_behind_escapes() -> None:
    """What is shown longer than it is moves the caret along."""
    _, shown, caret = str(Problem("fault", column=4, text="a\x1b\u202e!")).splitlines()
    assert "    a\\x1b\\u202e!" == shown
    assert "!" == shown[caret.index("^")]


def test_the_nearest_word_is_found_among_many() -> None:
    """A bounded number of words is compared, those that begin alike and are as long first."""
    words = [f"word{i}" for i in range(5000)]
    assert "Did you mean 'sigmoid'?" == did_you_mean("sigmiod", [*words, "sigmoid"])
    assert not did_you_mean("s" * 5000, ["s" * 5000 + "x"])


def test_a_file_of_many_pieces_is_refused_and_one_of_some_is_read() -> None:
    """What a parser spends grows with the pieces, not with the bytes."""
    assert f"more than {MAX_PIECES:,} names, values and brackets" in refused(f"x: [{many(30_000, '1', ',')}]\n")
    rows = many(15_000, "0.5", ",")
    assert (15_000,) == load_case_text(f"case: a\ninputs: {{x: {{at: [{rows}]}}}}\nstages: {{f: sum(x)}}\n").inputs[
        0
    ].shape


@pytest.mark.parametrize("sign", ["\\e[2J", "\\u202E", "\\u2066", "\\u200B", "\\a", "\\x9B"])
@pytest.mark.parametrize("template", ['"{}": 1\n', 'inputs: {{"{}": {{at: 1}}}}\n', 'case: a\ninputs: {{x: {{at: 1}}}}\nstages: {{f: "x + {}"}}\n', 'dims: {{m: "{}"}}\n', 'accuracy: "{}"\n'])  # fmt: skip
def test_messages_are_inert_in_a_terminal(sign: str, template: str) -> None:
    """Escape sequences and marks of direction are shown as escapes, wherever user text is quoted."""
    message = refused(template.format(sign))
    assert printable(message) == message


def test_file_names_are_inert_too(tmp_path: Path) -> None:
    """A path is user text as well."""
    with pytest.raises(CaseError) as caught:
        load_case(tmp_path / "\x1b[31m.yaml")
    assert "\\x1b[31m.yaml: there is no such file" in str(caught.value)
    assert "\\u202e" in str(UsageError("no case \u202e"))


# ------------------------------------------------------------------------------------------------------- whole runs


def verdicts(result: CaseResult) -> set[Verdict]:
    """The verdicts of a run."""
    return {verdict for variable in result.variables for verdict, count in variable.counts.items() if count}


@pytest.mark.parametrize(
    ("stage", "x"),
    [
        ("abs(arctanh(x))", "{at: 0, domain: [-0.5, 0.5]}"),
        ("relu(arctanh(x))", "{at: 0, domain: [-0.9, 0.9]}"),
        ("where(arctanh(x) > 0, x, -x)", "{at: 0, domain: [-0.5, 0.5]}"),
        ("abs(expm1(arctanh(x)))", "{at: 5e-324, domain: [-0.5, 0.5]}"),
        ("std(x)", "{at: 5e-324, domain: [-1, 1]}"),
        ("norm(2 * x)", "{at: 0, domain: [-1, 1]}"),
        ("norm(x) + std(x)", "{at: -1, domain: [-2, 2]}"),
        ("x + std(arcsinh(x))", "{at: -1, domain: [-2, 2]}"),
    ],
)
def test_kinks_of_inverse_functions_and_of_lengths_of_one_number_have_a_verdict(stage: str, x: str) -> None:
    """Where flint's series divide by a ball around 0, and where the length of a scalar fell into its coefficients."""
    result = result_of(case_of(stage, x))
    assert result.passes, result.variables
    assert Verdict.FAIL not in verdicts(result)


@pytest.mark.parametrize(
    "stage", ["squeeze(prod(c))", "mean(tan(c / 4))", "cosh(cumsum(arcsinh(c)))", "sum(cos(2 / ravel(c)))", "norm(c * 2)",
              "concatenate([ravel(c), ravel(2 * c)])[1]", "broadcast_to(2 * c, shape=3)[0]", "stack([c, 3 * c])[0]"]
)  # fmt: skip
def test_what_follows_from_a_constant_stage_is_differentiated_at_every_point(stage: str) -> None:
    """The gradient by a stage that no input changes: its operands have as many points as its upstream gradient."""
    text = f"case: a\ninputs: {{x: {{at: 1}}}}\nstages:\n  c: 0.5\n  f: 'sum({stage}) * x'\n"
    result = result_of(load_case_text(text), points=3)
    assert result.passes
    assert {"x", "c", "f"} == {variable.name for variable in result.variables}


@pytest.mark.parametrize("stage", ["pad(x, pad_width=1)", "flip(x)", "roll(x, shift=1)", "squeeze(x)", "transpose(x)"])
def test_a_number_is_moved_as_an_array_without_axes(stage: str) -> None:
    """Where a value is lost behind it the row is held against mpmath, too (NumPy pads objects into another array)."""
    assert result_of(case_of(stage, "{at: 1, domain: [-2, 2]}")).passes
    text = f"case: a\ninputs: {{x: {{at: 1, domain: [-2, 2]}}}}\nstages:\n  s: '{stage}'\n  f: log(s - 2)\n"
    assert {Verdict.UNDECIDED} <= verdicts(result_of(load_case_text(text)))


def test_what_mpmath_cannot_reach_accuses_nobody() -> None:
    """The complementary error function of 1e300 is beyond mpmath: a verdict, no OverflowError."""
    result = result_of(case_of("arccosh(erfc(x) / 2) + x", "{at: 1e300, domain: [-1e301, 1e301]}"), points=8)
    assert {Verdict.UNDECIDED} <= verdicts(result)
    assert Verdict.FAIL not in verdicts(result)
    assert result_of(case_of("erfc(x) + x", "{at: 0.5, domain: [-2, 2]}")).passes


def test_at_the_kink_a_wrong_slope_still_fails() -> None:
    """The norm of one number at 0 takes what is in [-1, 1], and no more (twin)."""
    text = "case: a\ninputs: {x: {at: 0, domain: [-1, 1]}}\nstages: {f: norm(x)}\n"
    case = load_case_text(text)
    assert check_gradient(lambda x: np.sign(x) * 1.0, case, points=8).ok
    assert not check_gradient(lambda x: np.where(x == 0, 1.5, np.sign(x)), case, points=8).ok


@pytest.mark.parametrize("stage", ["0 ** x", "(-2) ** x", "(1 - 1) ** x", "x * 0 ** (x + 1)"])
def test_a_power_of_a_base_that_is_not_above_0_is_refused(stage: str) -> None:
    """It has no derivative by its exponent: no row of it may pass without a bound."""
    message = refused_case(stage, "{at: 0, domain: [0, 0]}")
    assert "has a base that is not above 0 and an exponent that varies" in message
    assert "Write a base above 0." in message


@pytest.mark.parametrize("stage", ["2 ** x", "x ** 0.5", "0 ** 2 + x", "(-2) ** 3 * x"])
def test_other_powers_are_read(stage: str) -> None:
    """A positive base, and exponents that are known (twin)."""
    assert result_of(case_of(stage, "{at: 0.5, domain: [0.25, 4]}")).passes


def test_a_shadowed_constant_is_told_with_its_place(tmp_path: Path) -> None:
    """``e`` as an input, a stage or a dim; a case without one has no such note (twin)."""
    texts = {
        "case: a\ninputs:\n  e: {at: 1}\nstages: {f: e * 2}\n": ("e", 3),
        "case: a\ninputs: {x: {at: 1}}\nstages:\n  pi: x * 2\n  f: pi * x\n": ("pi", 4),
        "case: a\ndims: {e: 3}\ninputs: {x: {at: 1}}\nstages: {f: e * x}\n": ("e", 2),
    }
    for text, (name, line) in texts.items():
        path = tmp_path / "a.yaml"
        path.write_text(text, encoding="utf-8")
        result = run_case(path, Settings(points=1))
        assert result.passes
        assert [("shadowed constant", name)] == [(finding.kind, finding.variable) for finding in result.findings]
        assert f"a.yaml:{line} " in result.findings[0].sentence
    path.write_text("case: a\ninputs: {x: {at: 1}}\nstages: {f: e * x}\n", encoding="utf-8")
    assert () == run_case(path, Settings(points=1)).findings


# -------------------------------------------------------------------------------------------------------------- files


def test_a_case_is_found_beside_files_that_cannot_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither a broken file nor a name that only looks like one keeps a case from being found by its own name."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "cases"
    (folder / "folder.yaml").mkdir(parents=True)
    (folder / "odd.yhtml").write_text("x", encoding="utf-8")
    assert "relu.yaml" == find_case("relu").name
    (folder / "binary.yaml").write_bytes(b"\xff\x00")
    (folder / "empty.yaml").write_text("", encoding="utf-8")
    (folder / "list.yaml").write_text("[1]", encoding="utf-8")
    (folder / "number.yaml").write_text("case: 3\ndims: {m: " + "9" * 400 + "}\n", encoding="utf-8")
    (folder / "faulty.yaml").write_text("case: mine\ninputs: {x: {at: 1}}\nstages: {f: oops(x)}\n", encoding="utf-8")
    (folder / "good.yaml").write_text("case: my own\ninputs: {x: {at: 1}}\nstages: {f: x}\n", encoding="utf-8")
    assert "good.yaml" == find_case("my own").name
    assert "faulty.yaml" == find_case("mine").name
    with pytest.raises(UsageError, match="no case is called 'nothing like it'"):
        find_case("nothing like it")


@pytest.mark.parametrize("name", ["x" * 5000, "\x1b[2J", "a/" * 2000, "\u202e.yaml"])
def test_names_of_no_file_are_told(name: str) -> None:
    """However long or strange."""
    with pytest.raises(UsageError) as caught:
        find_case_files([name])
    assert printable(str(caught.value)) == str(caught.value)


def test_names_are_as_long_as_a_report_can_show() -> None:
    """A name stands in each row: of the case, of inputs, of stages, and for ``verify new``."""
    name = "n" * 201
    for text in (
        f"case: {name}\ninputs: {{x: {{at: 1}}}}\nstages: {{f: x}}\n",
        f"case: a\ninputs: {{{name}: {{at: 1}}}}\nstages: {{f: {name}}}\n",
        f"case: a\ninputs: {{x: {{at: 1}}}}\nstages: {{{name}: x}}\n",
    ):
        assert "more than 200 characters" in refused(text)
        assert load_case_text(text.replace(name, name[1:])).name
    with pytest.raises(UsageError, match="at most 200 characters, got 201"):
        case_text(name)
    assert name[1:] in case_text(name[1:])


def test_the_command_line_is_quoted_inertly(capsys: pytest.CaptureFixture[str]) -> None:
    """An unknown command with an escape sequence is shown with it escaped."""
    with pytest.raises(SystemExit) as ended:
        main(["r\x1b[2J"])
    assert 2 == ended.value.code
    assert "unknown command 'r\\x1b[2J'" in capsys.readouterr().err


def test_a_pipe_is_refused_at_once(tmp_path: Path) -> None:
    """Reading it would wait for a writer for ever; a file beside it is read (twin)."""
    os.mkfifo(tmp_path / "pipe.yaml")
    with pytest.raises(CaseError, match="this is a pipe"):
        load_case(tmp_path / "pipe.yaml")
    (tmp_path / "file.yaml").write_text("case: a\ninputs: {x: {at: 1}}\nstages: {f: x}\n", encoding="utf-8")
    assert "a" == load_case(tmp_path / "file.yaml").name


# ------------------------------------------------------------------------------------------------------------ the search


@pytest.mark.parametrize(("kind", "count"), [("formulas", 400), ("texts", 300), ("runs", 12)])
def test_a_sample_of_the_search_finds_nothing(kind: str, count: int) -> None:
    """A seeded piece of ``tests/tools/fuzz.py``: refused or read, nothing executed, nothing raised."""
    found = fuzz.search(kind, count, seed=20, most_seconds=20.0)
    assert [] == found.faults
    assert 0 < found.read < found.tried


def test_the_search_can_find() -> None:
    """A reader that runs what it reads, one that raises, and one that talks too much are found (twin)."""

    def chatty(text: str) -> None:
        raise CaseError([Problem("x" * 290 + text, text="y" * 100, column=i + 1) for i in range(40)] * 3)

    def raising(text: str) -> None:
        raise TypeError(text)

    search = fuzz.search("formulas", 0, seed=0)
    search.refuse_or_read("1 + 1", lambda it: exec(compile(it, "<string>", "eval")))  # noqa: S102 (what is watched for)
    search.refuse_or_read("x", raising)
    search.refuse_or_read("x", chatty)
    assert 2 <= len(search.faults)
    assert "exec" in search.faults[0]
    assert "TypeError" in search.faults[1]


# ------------------------------------------------------------------------------------------------- the same from Python


def test_a_traced_constant_beyond_float32_is_said_and_one_within_is_judged() -> None:
    """No KeyError and no warning: the rows say which constant it is (twin: a constant that float32 holds passes)."""

    def scaled(x: Any) -> Any:
        with np.errstate(over="ignore"):
            return x * 1e39

    one = np.float32(1.0)
    beyond = check_gradient(lambda x: np.full_like(x, np.inf), scaled, at={"x": one}, points=4)
    assert not beyond.ok
    assert "the constant 1e+39 is beyond float32" in str(beyond)
    within = check_gradient(lambda x: np.full_like(x, 1e38), lambda x: x * 1e38, at={"x": one}, points=4)
    assert within.ok
    assert not check_gradient(lambda x: np.full_like(x, 1.01e38), lambda x: x * 1e38, at={"x": one}, points=4).ok


def test_a_domain_beyond_float32_is_refused_from_python_too() -> None:
    """With the name of the argument; its neighbour is judged (twin)."""

    def square(x: Any) -> Any:
        return x * x

    at = {"x": np.float32(1.0)}
    with pytest.raises(UsageError, match=r"x: the domain .* goes beyond float32"):
        check_gradient(lambda x: 2 * x, square, at=at, domain={"x": (0, 1e300)}, points=4)
    assert check_gradient(lambda x: 2 * x, square, at=at, domain={"x": (0, 1e18)}, points=4).ok

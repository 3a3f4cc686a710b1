"""How a gradient is called and what its answers are taken for: what the field showed, each with its twin."""

from __future__ import annotations

import asyncio
import io
import itertools
import math
import os
import random
import subprocess
import sys
import time
import warnings
from array import array
from collections import namedtuple
from collections.abc import Callable
from dataclasses import replace
from functools import wraps
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.random.mtrand import get_bit_generator, set_bit_generator

from verify.case.case import load_case_text
from verify.cli import main
from verify.errors import LimitError, UsageError
from verify.limits import case_limits, step
from verify.oracle import case_check
from verify.oracle.check import check_gradient
from verify.records import Finding
from verify.running.settings import Settings
from verify.tracing.foreign_call import OF_A_CALL, OF_A_CHECK, Global, call_foreign, put_back

FEW = Settings(points=4, shrink=False)
SQUARE = load_case_text("case: square\ninputs: {x: {at: 3, domain: [-5, 5]}}\nstages: {f: x**2}\n")
SQUARES = load_case_text("case: squares\ninputs: {x: {shape: [3], at: [1, 2, 3]}}\nstages: {f: sum(x**2)}\n")
BIASED = load_case_text(
    "case: biased\ninputs: {x: {shape: [4, 3], at: normal}, b: {shape: [3], at: normal}}\n"
    "stages: {y: x + b, f: sum(y * y)}\n"
)
BILINEAR = load_case_text(
    "case: bilinear\ninputs: {a: {shape: [2, 3], at: normal}, W: {shape: [3, 4], at: normal}}\nstages: {out: a @ W}\n"
)
LAYER = load_case_text(
    "case: layer\ninputs: {x: {shape: [2, 3], at: normal}, W: {shape: [3, 4], at: normal}, "
    "dout: {shape: [2, 4], at: normal, kind: constant}}\nstages: {out: x @ W}\nupstream: {out: dout}\n"
)


def findings(gradient: Callable[..., Any], case: Any, **options: Any) -> tuple[bool, dict[str, Finding]]:
    """Whether a gradient passes, and what was found beside its numbers, by kind."""
    run = check_gradient(gradient, case, FEW, **options)
    return run.ok, {finding.kind: finding for finding in run.cases[0].findings}


# ------------------------------------------------------------------------------------- answers taken for another (C)


Named = namedtuple("Named", "dy dx")  # noqa: PYI024 - as users have them
Other = namedtuple("Other", "first second")  # noqa: PYI024 - as users have them


class Subclass(np.ndarray):
    """An array that may do anything with its operators."""


ANSWERS: dict[str, tuple[Callable[[Any], Any], str]] = {
    "an imaginary part": (lambda x: 2 * x + 5j, "wrong dtype"),
    "truth values": (lambda x: 2 * x > 0, "wrong dtype"),
    "objects": (lambda x: (2 * x).astype(object), "wrong dtype"),
    "a masked array": (lambda x: np.ma.masked_array(2 * x, [False, True, False]), "wrong type"),
    "a masked array without a mask": (lambda x: np.ma.masked_array(2 * x), "wrong type"),
    "a subclass": (lambda x: (2 * x).view(Subclass), "wrong type"),
    "half the digits": (lambda x: (2 * x).astype(np.float16), "wrong dtype"),
}


@pytest.mark.parametrize("what", ANSWERS)
def test_an_answer_that_is_no_array_of_reals_is_a_finding(what: str) -> None:
    """Nothing is converted in silence, right as the numbers may be."""
    gradient, kind = ANSWERS[what]
    ok, found = findings(gradient, SQUARES)
    assert not ok
    assert found[kind].fails


@pytest.mark.parametrize(
    "gradient",
    [
        lambda x: 2 * x,
        lambda x: (2 * x).tolist(),
        lambda x: (2 * x,),
        lambda x: [2 * t for t in x],
        lambda x: memoryview(2 * x),
        lambda x: array("d", (2 * x).tolist()),
    ],
)
def test_arrays_and_lists_of_numbers_are_answers(gradient: Callable[..., Any]) -> None:
    """The twin."""
    assert findings(gradient, SQUARES) == (True, {})


def test_an_array_in_a_file_is_an_array(tmp_path: Path) -> None:
    """Its operators are those of arrays; it may be a point, and an answer."""
    x = np.memmap(tmp_path / "x.bin", dtype=np.float64, mode="w+", shape=(3,))
    x[:] = [1.0, 2.0, 3.0]
    kept = np.memmap(tmp_path / "g.bin", dtype=np.float64, mode="w+", shape=(3,))

    def gradient(x: Any) -> Any:
        kept[:] = 2 * x
        return kept

    for function in (SQUARES, lambda x: np.sum(x**2)):
        assert findings(gradient, function, at={"x": x}) == (True, {})


def test_bfloat16_keeps_too_few_digits() -> None:
    """Its dtype is of a kind of its own, which NumPy calls void."""
    ml_dtypes = pytest.importorskip("ml_dtypes")
    ok, found = findings(lambda x: (2 * x).astype(ml_dtypes.bfloat16), SQUARES)
    assert not ok
    assert "is bfloat16, the function computes in float64" in found["wrong dtype"].sentence


@pytest.mark.parametrize("answer", ["2.0", ["2.0"] * 3, [True, True, False], [1.0, None, 2.0], np.array(["1"] * 3)])
def test_text_and_truth_values_are_refused(answer: Any) -> None:
    """NumPy would make floats of some of them."""
    with pytest.raises(UsageError, match="the gradient"):
        check_gradient(lambda x: {"x": answer}, SQUARES, FEW)


def test_two_answers_for_one_variable() -> None:
    """Neither is taken in silence, whichever is right and whichever comes first; one of them alone is the gradient."""
    for answer in ({"x": 99.0, "dx": 6.0}, {"dx": 6.0, "grad_x": 6.0}):
        ok, found = findings(lambda x, answer=answer: answer, SQUARE, at={"x": 3.0}, domain={"x": (2.9, 3.1)})
        assert not ok
        assert all(repr(key) in found["ambiguous answer"].sentence for key in answer)
    assert findings(lambda x: {"x": None, "dx": 2 * x}, SQUARE) == (True, {})


def test_a_named_tuple_goes_by_its_names() -> None:
    """Its order is its own; one of other names is a tuple like any other."""
    case = load_case_text("case: two\ninputs: {x: {at: 1}, y: {at: 2}}\nstages: {f: x * y**2}\n")
    assert findings(lambda x, y: Named(dy=2 * x * y, dx=y**2), case) == (True, {})
    assert not findings(lambda x, y: Named(dy=y**2, dx=2 * x * y), case)[0]
    assert findings(lambda x, y: Other(y**2, 2 * x * y), case) == (True, {})


# ------------------------------------------------------------------------------------------------- foreign code (G)


class Raising:
    """An object of which everything raises what is asked for."""

    def __init__(self, method: str, error: BaseException) -> None:
        self.method, self.error = method, error

    def _raise(self, method: str) -> Any:
        if method == self.method:
            raise self.error
        return NotImplemented

    def __float__(self) -> float:
        self._raise("float")
        return 0.0

    def __repr__(self) -> str:
        self._raise("repr")
        return "an object"


class RaisingArray(Raising):
    """One that says it is an array."""

    def __array__(self, *args: Any, **named: Any) -> Any:
        self._raise("array")
        return np.ones(3)


class RaisingItems(dict[str, Any]):
    """A mapping that cannot be read."""

    def items(self) -> Any:
        """Leaves the program."""
        raise SystemExit(0)


class RaisingTuple(tuple[Any, ...]):
    """A tuple that cannot be read."""

    __slots__ = ()

    def __iter__(self) -> Any:
        raise SystemExit(0)


class WordlessError(Exception):
    """An exception that raises when it is asked what it says."""

    def __str__(self) -> str:
        raise SystemExit(0)


def raises(error: BaseException) -> Callable[[Any], Any]:
    """A gradient that raises."""

    def gradient(x: Any) -> Any:
        raise error

    return gradient


def nested(x: Any) -> Any:
    """A list that holds itself."""
    found: list[Any] = [x]
    found[0] = found
    return found


HOSTILE: dict[str, Callable[[Any], Any]] = {
    "exit": raises(SystemExit(0)),
    "cancelled": raises(asyncio.CancelledError()),
    "generator exit": raises(GeneratorExit()),
    "wordless": raises(WordlessError()),
    "exit in float": lambda x: Raising("float", SystemExit(0)),
    "exit in repr": lambda x: {"x": [Raising("repr", SystemExit(0))]},
    "array raises": lambda x: RaisingArray("array", ZeroDivisionError("nope")),
    "exit in items": lambda x: RaisingItems(x=x),
    "exit in iter": lambda x: RaisingTuple((x,)),
    "nested": nested,
}


@pytest.mark.parametrize("name", HOSTILE)
def test_whatever_foreign_code_raises_is_a_finding(name: str) -> None:
    """It ends nothing but the call."""
    ok, found = findings(HOSTILE[name], SQUARE)
    assert not ok
    assert found["exception"].fails


def test_only_the_user_interrupts() -> None:
    """Ctrl-C is no fault of the gradient's; the twin of all that is caught."""
    with pytest.raises(KeyboardInterrupt):
        check_gradient(raises(KeyboardInterrupt()), SQUARE, FEW)


LEAVES = """
import sys

def leaves(x):
    try:
        x = float(x)
    except Exception:
        sys.exit()
    return {factor} * x

def always(x):
    sys.exit()
"""


@pytest.mark.parametrize(("factor", "name", "code"), [(2.1, "leaves", 1), (2, "leaves", 0), (2, "always", 1)])
def test_a_gradient_that_leaves_the_program(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any, factor: float, name: str, code: int
) -> None:
    """The command judges it all the same: sys.exit() is no way to pass."""
    (tmp_path / f"leaving_{code}_{name}.py").write_text(LEAVES.format(factor=factor), encoding="utf-8")
    (tmp_path / "sq.yaml").write_text("case: sq\ninputs: {x: {at: 3}}\nstages: {f: x**2}\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    assert code == main(["check", f"leaving_{code}_{name}:{name}", "--case", "sq.yaml"])
    assert "sq" in capsys.readouterr().out


def test_a_changed_shape_is_a_write() -> None:
    """The array that was given is another one afterwards."""

    def reshapes(x: Any) -> Any:
        found = 2 * x
        x.shape = (3, 1)
        return found

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # NumPy's, of setting a shape
        ok, found = findings(reshapes, SQUARES)
    assert not ok
    assert "changes its input 'x' itself: it was float64 of shape (3,)" in found["input mutated"].sentence


# ------------------------------------------------------------------------------------------------ globals (18, in part)


def state() -> list[Any]:
    """Everything that is put back."""
    return [known.read() for known in (*OF_A_CALL, *OF_A_CHECK)]


def test_globals_are_put_back_and_told(tmp_path: Path) -> None:
    """Each is named once, and fails nothing; a gradient that leaves them alone has no finding."""

    def careless(x: Any) -> Any:
        np.seterr(divide="raise")
        os.chdir(tmp_path)
        warnings.simplefilter("error", ImportWarning)
        sys.stdout = io.StringIO()
        os.environ["VERIFY_CARELESS"] = "1"
        random.seed(1)
        np.random.seed(1)  # noqa: NPY002 - the state that is put back
        return 2 * x

    before = state()
    run = check_gradient(careless, SQUARES, FEW)
    assert before == state()
    told = {finding.variable: finding.fails for finding in run.cases[0].findings if finding.kind == "global state"}
    names = ["np.seterr", "the current folder", "warnings.filters", "sys.stdout"]
    assert told == dict.fromkeys([*names, "os.environ", "the state of random", "the state of np.random"], False)
    assert run.ok
    assert findings(lambda x: 2 * x, SQUARES) == (True, {})


def test_what_an_import_sets_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A package that is imported where it is used sets its own variables; the second call finds them set."""
    text = "import os, warnings\nos.environ['VERIFY_IMPORTED'] = '1'\nwarnings.simplefilter('error', ImportWarning)\n"
    (tmp_path / "sets_on_import.py").write_text(text, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("VERIFY_IMPORTED", "")
    with warnings.catch_warnings():
        assert call_foreign(lambda: __import__("sets_on_import")).changed == ()
        assert os.environ["VERIFY_IMPORTED"] == "1"


def test_what_raised_is_put_back_too() -> None:
    """The state is as before whatever the call came to."""

    def broken() -> None:
        np.seterr(divide="raise")
        raise SystemExit

    before = state()
    outcome = call_foreign(broken)
    assert isinstance(outcome.error, SystemExit)
    assert outcome.changed == ("np.seterr",)
    assert before == state()


def test_a_folder_that_is_gone_ends_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """There is nothing to come back to."""
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    assert call_foreign(lambda: os.chdir(tmp_path)).error is None


def test_random_states_are_put_back_around_many_calls() -> None:
    """Not after each: who draws must go on to draw new numbers."""
    before, names = state(), list[str]()
    with put_back(names, OF_A_CHECK):
        assert call_foreign(random.random).value != call_foreign(random.random).value
        np.random.seed(3)  # noqa: NPY002 - the state that is put back
    assert names == ["the state of random", "the state of np.random"]
    assert before == state()


# ------------------------------------------------------------------------------------------------- how it is called


def layer(x: Any, W: Any, upstream: Any) -> Any:
    """The right answer."""
    return upstream @ W.T, x.T @ upstream


RIGHT: dict[str, Callable[..., Any]] = {
    "upstream": lambda x, W, upstream: layer(x, W, upstream),
    "the case's own name": lambda x, W, dout: layer(x, W, dout),
    "first": lambda dout, x, W: layer(x, W, dout),
    "first, by position": lambda dout, a, b: layer(a, b, dout),
    "last, by position": lambda a, b, c: layer(a, b, c),
    "both": lambda x, W, dout, upstream: layer(x, W, dout),
    "a usual name": lambda x, W, grad_output: layer(x, W, grad_output),
    "a usual name by position": lambda a, b, g: layer(a, b, g),
    "positions only": lambda x, W, dout, /: layer(x, W, dout),
    "keyword only": lambda *, dout, W, x: layer(x, W, dout),
    "any positions": lambda *args: layer(*args),
    "any positions, and upstream": lambda *args, upstream: layer(args[0], args[1], (args[2] + upstream) / 2),
    "one more": lambda a, b, c, upstream: layer(a, b, (c + upstream) / 2),
    "any names": lambda **named: layer(**{"upstream" if name == "dout" else name: x for name, x in named.items()}),
    "one of an option": lambda x, W, eps=1e-5, *, dout: layer(x, W, dout),
}


@pytest.mark.parametrize("name", RIGHT)
def test_the_upstream_gradient_by_any_name(name: str) -> None:
    """Right passes, without a finding; what is off by a little fails."""
    assert findings(RIGHT[name], LAYER) == (True, {})

    def off(*args: Any, **named: Any) -> Any:
        dx, dW = RIGHT[name](*args, **named)
        return dx, dW * (1 + 1e-9)

    import inspect

    off.__signature__ = inspect.signature(RIGHT[name])  # type: ignore[attr-defined]
    assert not findings(off, LAYER)[0]


def test_upstream_names_where_the_case_has_none() -> None:
    """Usual ones, and d of the output; a number of the gradient's own is none of them."""
    case = load_case_text("case: rows\ninputs: {x: {shape: [3], at: normal}}\nstages: {y: x**2}\n")
    for gradient in (
        lambda x, dout: 2 * x * dout,
        lambda x, dy: 2 * x * dy,
        lambda x, grad_y=None: 2 * x * grad_y,
        lambda g, x: 2 * x * g,
    ):
        assert findings(gradient, case) == (True, {})
    with pytest.raises(UsageError, match="needs a parameter 'upstream'"):
        check_gradient(lambda x, g=9.81: 2 * x, case, FEW)
    with pytest.raises(UsageError, match="Call the one that takes the upstream gradient 'upstream'"):
        check_gradient(lambda x, weight: 2 * x * weight, case, FEW)
    scaled = load_case_text("case: scaled\ninputs: {x: {at: 2}, g: {at: 3}}\nstages: {f: g * x**2}\n")
    assert findings(lambda x, g: (2 * g * x, x * x), scaled) == (True, {})
    assert findings(lambda a, v: (2 * v * a, a * a), scaled) == (True, {})
    assert findings(lambda x, g, dout: (2 * g * x * dout, x * x * dout), scaled) == (True, {})


def test_a_gradient_of_another_case_is_refused_before_it_is_called() -> None:
    """Not told in hundreds of rows without an answer."""
    for gradient, words in (
        (lambda dout, cache: None, "the gradient takes cache; case 'layer' has x, W"),
        (lambda x, *, W, seed, dout: None, "the gradient needs x, W, seed; case 'layer' has x, W"),
    ):
        with pytest.raises(UsageError, match=words):
            check_gradient(gradient, LAYER, FEW)


def test_none_for_what_is_not_differentiated() -> None:
    """One answer for each argument, as frameworks want it."""
    function, at = (lambda x, n: np.sum(x**n)), {"x": np.array([1.0, 2.0]), "n": 3}
    assert findings(lambda x, n: (n * x ** (n - 1), None), function, at=at) == (True, {})
    assert not findings(lambda x, n: (1.001 * n * x ** (n - 1), None), function, at=at)[0]
    with pytest.raises(UsageError, match=r"an array for n, which is not differentiated here \(x is\)"):
        check_gradient(lambda x, n: (n * x ** (n - 1), 0.0), function, at=at)
    with pytest.raises(UsageError, match="'dn', but n is not differentiated here"):
        check_gradient(lambda x, n: {"dn": 0.0}, function, at=at)
    with pytest.raises(UsageError, match=r"or say which are not differentiated: constants=\['n'\]"):
        check_gradient(lambda x, n: n * x ** (n - 1), function, at={**at, "n": 3.0})


def opaque(x: Any, w: Any) -> Any:
    """A function that nothing can be read of."""
    return np.float64(sum(math.fsum([a * a * b]) for a, b in zip(x.tolist(), w.tolist(), strict=True)))


def test_a_black_box_is_called_by_the_same_rules() -> None:
    """Strangers are refused, other names at other places are not, and what is not finite does not pass."""
    at, domain = {"x": np.array([1.0, 2.0]), "w": np.array([3.0, -1.0])}, {"x": (-3, 3), "w": (-3, 3)}

    def right(a: Any, b: Any) -> Any:
        return 2 * a * b, a * a

    def lost(x: Any, w: Any) -> Any:
        return np.where(x < 0, np.nan, 2 * x * w), x * x

    assert findings(right, opaque, at=at, domain=domain) == (True, {})
    assert not findings(lost, opaque, at=at, domain=domain)[0]
    assert not findings(lambda a, b: (1.001 * 2 * a * b, a * a), opaque, at=at, domain=domain)[0]
    with pytest.raises(UsageError, match=r"\(image was x, kernel was w\) and has no answer at any point"):
        check_gradient(lambda image, kernel: (image[0, 0], kernel), opaque, FEW, at=at)
    assert findings(lambda x, w: (x[0, 0], w), opaque, at=at)[1].keys() == {"exception"}


# ------------------------------------------------------------------------------------------------------- wrong shapes


@pytest.mark.parametrize("factor", [1.0, 1.001])
@pytest.mark.parametrize(
    ("shape", "words"),
    [
        (lambda g: g.sum(axis=0, keepdims=True), "has shape (1, 3), b has shape (3,): drop keepdims, or reshape it"),
        (lambda g: g, "has shape (4, 3), b has shape (3,): sum over axis 0, along which b was broadcast"),
    ],
)
def test_numbers_of_a_wrong_shape_are_judged_after_its_remedy(
    shape: Callable[[Any], Any], words: str, factor: float
) -> None:
    """The shape fails alone; numbers that are wrong as well are found as such, and nothing is off by infinity."""
    run = check_gradient(lambda x, b: (2 * (x + b), factor * shape(2 * (x + b))), BIASED, FEW)
    (result,) = run.cases
    assert not result.passes
    assert [words in finding.sentence for finding in result.findings if finding.kind == "wrong shape"] == [True]
    assert all(variable.passes for variable in result.variables) == (factor == 1.0)
    assert "inf" not in str(run)


# ---------------------------------------------------------------------------------- linear within rounding of its terms


def layernorm(x: Any) -> Any:
    """Over the last axis."""
    return (x - x.mean(axis=-1, keepdims=True)) / np.sqrt(x.var(axis=-1, keepdims=True) + 1e-5)


def layernorm_backward(x: Any, upstream: Any) -> Any:
    """In terms that cancel where there is one feature."""
    n = x.shape[-1]
    s = np.sqrt(x.var(axis=-1, keepdims=True) + 1e-5)
    y = (x - x.mean(axis=-1, keepdims=True)) / s
    g, gy = upstream, (upstream * y).sum(axis=-1, keepdims=True)
    return g / (0.7 * s) * 0.7 - g.sum(axis=-1, keepdims=True) / (n * s) - y * gy / (n * s)


@pytest.mark.parametrize("seed", range(4))
def test_what_is_nothing_but_rounding_is_linear(seed: int) -> None:
    """An answer of 5.6e-17 against 0 is no sign of anything; what is not linear is found, at any scale."""
    run = check_gradient(
        lambda x, upstream: upstream * (1 / 0.7) - upstream / 0.7, lambda x: 0.0 * x, FEW, at={"x": 1.3}, seed=seed
    )
    assert "not linear" not in {finding.kind for finding in run.cases[0].findings}
    x = np.random.default_rng(seed).normal(size=(4, 1))
    run = check_gradient(layernorm_backward, layernorm, FEW, at={"x": x}, seed=seed)
    assert "not linear" not in {finding.kind for finding in run.cases[0].findings}
    x = np.random.default_rng(seed).normal(size=(4, 3))
    for power in (0.9999, 2.0):
        bent = lambda x, upstream, p=power: layernorm_backward(x, np.sign(upstream) * np.abs(upstream) ** p)  # noqa: E731
        run = check_gradient(bent, layernorm, FEW, at={"x": x}, seed=seed)
        assert "not linear" in {finding.kind for finding in run.cases[0].findings}
    for tiny in (1e-200, 1.0):
        bent = lambda x, upstream, t=tiny: t * np.abs(upstream) * np.ones_like(x)  # noqa: E731
        run = check_gradient(bent, lambda x, t=tiny: t * x, FEW, at={"x": x}, seed=seed)
        assert "not linear" in {finding.kind for finding in run.cases[0].findings}


# ------------------------------------------------------------------------------------- what the function does itself


def scales_in_place(x: Any) -> Any:
    """Writes to its argument, and returns what it would without."""
    y = np.sum(x**2)
    x *= 0.5
    return y


AT = {"x": np.array([1.0, 2.0])}


def test_a_function_that_writes_to_its_argument_is_told_as_such() -> None:
    """Not as the gradient's fault, though it calls the function; a gradient that writes more itself fails."""

    def calls(x: Any) -> Any:
        found = 2 * x
        scales_in_place(x)
        return found

    def writes(x: Any) -> Any:
        found = 2 * x
        x *= 0.25
        return found

    for gradient in (lambda x: 2 * x, calls):
        ok, found = findings(gradient, scales_in_place, at=AT)
        assert ok
        assert found.keys() == {"function writes"}
        assert (
            "the function writes to its argument 'x': entry [0] was 1.0 and is 0.5" in found["function writes"].sentence
        )
    ok, found = findings(writes, scales_in_place, at=AT)
    assert not ok
    assert found.keys() == {"function writes", "input mutated"}


def test_what_is_not_differentiated_is_not_written_to_either() -> None:
    """Labels are an input like any other; the caller's own stay as they are."""
    labels = np.array([2, 0])

    def writes(x: Any, y: Any) -> Any:
        found = np.zeros(3)
        np.add.at(found, y, 2 * x[y])
        y[:] = 0
        return found

    function = lambda x, y: np.sum(x[y] ** 2)  # noqa: E731
    at = {"x": np.array([1.0, 2.0, 3.0]), "y": labels}
    ok, found = findings(writes, function, at=at)
    assert not ok
    assert "writes to its input 'y': entry [0] was 2 and is 0" in found["input mutated"].sentence
    assert labels.tolist() == [2, 0]
    assert findings(lambda x, y: writes(x, y.copy()), function, at=at) == (True, {})


def test_a_function_that_changes_while_its_gradient_is_judged() -> None:
    """Whatever was right of the old one says nothing of the new; one that is left alone passes."""
    weights = np.array([1.0, 3.0])

    def loss(x: Any) -> Any:
        return np.sum(weights * x**2)

    def learns(x: Any) -> Any:
        found = 2 * weights * x
        weights[:] = 0.5
        return found

    assert findings(lambda x: 2 * weights * x, loss, at=AT) == (True, {})
    ok, found = findings(learns, loss, at=AT)
    assert not ok
    assert "another value after its gradient was called than before" in found["function changed"].sentence


def test_what_a_function_keeps_is_no_change() -> None:
    """A running mean is where a call begins: the same at each; one that the gradient moves is another function."""
    kept = {"mean": 0.5}

    def centred(x: Any) -> Any:
        kept["mean"] = 0.9 * kept["mean"] + 0.1 * 2.0
        return np.sum((x - kept["mean"]) ** 2)

    def moves(x: Any) -> Any:
        kept["mean"] += 1.0
        return 2 * (x - 0.65)

    assert findings(lambda x: 2 * (x - 0.65), centred, at=AT) == (True, {})
    assert kept == {"mean": 0.5}
    ok, found = findings(moves, centred, at=AT)
    assert not ok
    assert "function changed" in found


def test_a_function_that_draws_numbers_has_no_gradient() -> None:
    """It is told as such; with a seed of its own it is a function like any other."""
    rng = np.random.default_rng(0)
    ok, found = findings(lambda x: 2 * x, lambda x: np.sum(x**2) + rng.normal(), at=AT)
    assert not ok
    assert "does not repeat itself" in found["function changed"].sentence
    seeded: Callable[..., Any] = lambda x: np.sum(x**2) + np.random.default_rng(0).normal()  # noqa: E731
    assert findings(lambda x: 2 * x, seeded, at=AT) == (True, {})


# -------------------------------------------------------------------------------------------------- raw exceptions (17)


def test_positional_only_functions_and_ufuncs() -> None:
    """Right passes and wrong fails, by whatever name the argument goes."""
    special = pytest.importorskip("scipy.special")
    import math

    for at in ({"x": 0.7}, {"theta": 0.7}):
        assert check_gradient(np.cos, math.sin, FEW, at=at).ok
        assert check_gradient(special.i1, special.i0, FEW, at=at).ok
        assert not check_gradient(np.cos, math.cos, FEW, at=at).ok
        assert not check_gradient(special.i0, special.i0, FEW, at=at).ok
    hypot = {"a": 3.0, "b": 4.0}
    assert check_gradient(lambda a, b, /: (a / math.hypot(a, b), b / math.hypot(a, b)), math.hypot, FEW, at=hypot).ok
    assert not check_gradient(lambda a, b, /: (b / math.hypot(a, b), 0.0), math.hypot, FEW, at=hypot).ok


def test_an_empty_constant() -> None:
    """It has no domain to be drawn from."""
    function = lambda x: np.sum(np.concatenate([np.zeros(0), x]) ** 2)  # noqa: E731
    assert check_gradient(lambda x: 2 * x, function, FEW, at=AT).ok
    assert not check_gradient(lambda x: 2.001 * x, function, FEW, at=AT).ok


def test_what_is_differentiated_is_an_array_of_its_own() -> None:
    """Mappings and dtypes that are not judged are refused with what to do."""
    with pytest.raises(UsageError, match="p is a mapping, and what is differentiated is an array of its own"):
        check_gradient(lambda p: p, lambda p: np.sum(p["w"]), FEW, at={"p": {"w": np.ones(2)}})
    with pytest.raises(UsageError, match="p is a list, and what is differentiated is an array of its own"):
        check_gradient(lambda p: p, lambda p: np.sum(p[0]), FEW, at={"p": [np.ones(2), np.ones(3)]})
    with pytest.raises(UsageError, match="all of it is among the constants"):
        check_gradient(lambda x: x, np.sum, FEW, at={"x": np.ones(2)}, constants=["x"])
    with pytest.raises(UsageError, match="x has no entries: there is nothing to differentiate sum by"):
        check_gradient(lambda x: x, np.sum, FEW, at={"x": np.ones(0)})
    layers = [np.ones(2), np.ones(3)]
    assert check_gradient(lambda x, p: 2 * x, lambda x, p: np.sum(x**2) * p[0][0], FEW, at={**AT, "p": layers}).ok
    assert not check_gradient(lambda x, p: x, lambda x, p: np.sum(x**2) * p[0][0], FEW, at={**AT, "p": layers}).ok
    ml_dtypes = pytest.importorskip("ml_dtypes")
    with pytest.raises(
        UsageError, match=r"x is bfloat16, in which nothing is judged: give it as x.astype\(np.float32\)"
    ):
        check_gradient(lambda x: 2 * x, np.sum, FEW, at={"x": np.ones(2, dtype=ml_dtypes.bfloat16)})


# ------------------------------------------------------------------------------------------------- no answer anywhere


def test_no_answer_is_not_off_by_infinity() -> None:
    """The finding says why there is none; no simpler point shows it better."""
    run = check_gradient(lambda x: np.ones(5), SQUARES, Settings(points=4))
    assert not run.ok
    assert run.cases[0].simplest is None
    assert "off by inf" not in str(run)
    assert "the gradient by x has shape (5,), x has shape (3,)" in str(run)


def test_arguments_that_were_meant_for_something_else() -> None:
    """Refused where no call has an answer; the names of the case's own inputs make it a fault of the gradient."""

    def of_something_else(image: Any, mask: Any, upstream: Any) -> Any:
        return image[0, 0, 0] * mask, mask

    def wrong_names(inputs: Any, weights: Any, upstream: Any) -> Any:
        return layer(inputs, weights, upstream)

    def broken(x: Any, W: Any, upstream: Any) -> Any:
        return x[0, 0, 0] * W, W

    with pytest.raises(
        UsageError, match=r"called by position \(image was x, mask was W\) and has no answer at any point"
    ):
        check_gradient(of_something_else, LAYER, FEW)
    with pytest.raises(UsageError, match=r"\(W was x, bias was W\) and has no answer at any point"):
        check_gradient(lambda W, bias, upstream: (upstream @ W.T, bias @ upstream), LAYER, FEW)
    assert findings(wrong_names, LAYER) == (True, {})
    assert findings(lambda W, x, upstream: layer(W, x, upstream), BILINEAR) == (True, {})
    assert findings(broken, LAYER)[1].keys() == {"exception"}


# ---------------------------------------------------------------------------------- what is not finite never passes


@pytest.mark.parametrize("lost", [np.nan, np.inf])
@pytest.mark.parametrize(("x", "fails"), [(700.0, [True]), (1e-200, [False])])
def test_what_is_not_finite_never_passes_where_the_truth_is(lost: float, x: float, fails: list[bool]) -> None:
    """Whatever becomes of its row; but where squares of an input are too small for floats it is told alone."""
    case = load_case_text("case: t\ninputs: {x: {at: 1, domain: [-800, 800]}}\nstages: {f: log(1 + exp(x))}\n")
    run = check_gradient(lambda x: lost, case, Settings(points=0, shrink=False), at={"x": x})
    (result,) = run.cases
    (variable,) = result.variables
    rows = replace(variable.rows, passes=np.ones(len(variable.rows), dtype=bool))
    passing = replace(result, variables=(replace(variable, rows=rows),), findings=())
    assert fails == [finding.fails for finding in case_check._not_finite(passing)]


def test_no_slope_is_no_slope_to_miss() -> None:
    """The twin: at a pole nothing is asked for, and a right gradient is finite everywhere else."""
    root = load_case_text("case: t\ninputs: {x: {at: 1, domain: [0, 4]}}\nstages: {f: sqrt(x)}\n")
    for lost in (np.nan, np.inf):
        ok, found = findings(lambda x, lost=lost: 0.5 / np.sqrt(x) if x > 0 else lost, root)
        assert (ok, found) == (True, {})


@pytest.mark.parametrize(
    "value",
    [
        np.ma.masked_array([1.0, 2.0, 3.0], [True, False, False]),
        np.array([1j, 2, 3]),
        ["1", "2", "3"],
        [1.0, None, 2.0],
    ],
)
def test_points_and_upstreams_are_not_converted_in_silence_either(value: Any) -> None:
    """What NumPy would leave out of it is refused, for a case and for a function; plain numbers are taken."""
    case = load_case_text("case: rows\ninputs: {x: {shape: [3], at: normal, domain: [-9, 9]}}\nstages: {y: x**2}\n")
    square: Callable[..., Any] = lambda x, upstream: 2 * x * upstream  # noqa: E731
    for options in ({"at": {"x": value}}, {"upstream": value}):
        with pytest.raises(UsageError, match="must be a number or an array"):
            check_gradient(square, case, FEW, **options)
    with pytest.raises(UsageError):
        check_gradient(square, lambda x: x**2, FEW, at={"x": value})
    assert check_gradient(square, case, FEW, at={"x": [1, 2, 3]}, upstream=np.ones(3)).ok


# --------------------------------------------------------------------------------------- functions that leave (G again)


def test_a_function_that_leaves_the_program_ends_nothing() -> None:
    """At the given point it has no value to judge by; on tracers alone it is a function like any other."""

    def always(x: Any) -> Any:
        raise SystemExit(0)

    def unless_float(x: Any) -> Any:
        try:
            return float(x) ** 2
        except Exception:  # noqa: BLE001 - as scripts do
            raise SystemExit(0) from None

    with pytest.raises(UsageError, match="always raises SystemExit: 0 at the given point"):
        check_gradient(lambda x: 2 * x, always, FEW, at={"x": 3.0})
    assert check_gradient(lambda x: 2 * x, unless_float, FEW, at={"x": 3.0}).ok
    assert not check_gradient(lambda x: 2.1 * x, unless_float, FEW, at={"x": 3.0}).ok


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"dims": {"x": (3.5,)}}, r"dims gives x the axes \(3.5,\): write names"),
        ({"dims": {"x": 3}}, "dims gives x the axes 3, its value has shape"),
        ({"constants": [1]}, r"constants are the names of arguments, got \[1\]"),
        ({"dtype": 3}, "dtype must be one of float64, float32, got 3"),
        ({"dtype": "float16"}, "dtype must be one of float64, float32, got 'float16'"),
        ({"upstream": np.nan}, "upstream of f is not finite"),
    ],
)
def test_arguments_that_mean_nothing(options: dict[str, Any], words: str) -> None:
    """Each is refused in a sentence, of a function too; what NumPy calls a dtype is one."""
    gradient: Callable[..., Any] = lambda x, upstream: 2 * x * upstream  # noqa: E731
    with pytest.raises(UsageError, match=words):
        check_gradient(gradient, lambda x: np.sum(x**2), FEW, **{"at": AT, **options})
    for dtype in ("float32", np.float32, np.dtype("float32")):
        assert check_gradient(gradient, lambda x: np.sum(x**2), FEW, at=AT, dtype=dtype).ok  # type: ignore[arg-type]


@pytest.mark.parametrize("gradient", [None, 3, "backward"])
def test_a_gradient_can_be_called(gradient: Any) -> None:
    """What cannot is no gradient that raises."""
    with pytest.raises(UsageError, match="expected a gradient that can be called"):
        check_gradient(gradient, SQUARE)


def test_another_bit_generator_is_put_back() -> None:
    """With its state, and with every global that comes after it; the twin changes nothing."""
    before, bits = np.random.get_state(), get_bit_generator()  # noqa: NPY002 - what users draw from

    def slope(x: Any) -> Any:
        np.random.rand()  # noqa: NPY002 - as users do
        set_bit_generator(np.random.PCG64(1))
        random.seed(3)
        return 2 * x

    drawn = random.getstate()
    for factor, passes in ((1.0, True), (1.0001, False)):
        run = check_gradient(lambda x, k=factor: k * slope(x), SQUARE, FEW)
        assert run.ok is passes
        assert {f.variable for f in run.cases[0].findings} == {"the state of random", "the state of np.random"}
        assert get_bit_generator() is bits
        assert random.getstate() == drawn
        after = np.random.get_state()  # noqa: NPY002 - as above
        assert all(np.array_equal(a, b) for a, b in zip(before, after, strict=True))
    assert not check_gradient(lambda x: 2 * x, SQUARE, FEW).cases[0].findings


def test_a_user_may_draw_from_another_bit_generator() -> None:
    """Its state is no tuple of the old kind."""
    bits = get_bit_generator()
    try:
        set_bit_generator(np.random.PCG64(1))
        changed: list[str] = []
        with put_back(changed, OF_A_CHECK):
            first = np.random.rand()  # noqa: NPY002 - what users draw from
        assert changed == ["the state of np.random"]
        assert np.random.rand() == first  # noqa: NPY002 - as above
    finally:
        set_bit_generator(bits)


def test_what_cannot_be_put_back_is_told_after_the_rest_is() -> None:
    """One global that refuses keeps no other from being put back."""
    held, other = [1], [1]

    def refuses(_: Any) -> None:
        raise ValueError("never")

    kept = (
        Global("the first", lambda: held[0], refuses),
        Global("the second", lambda: other[0], lambda value: other.__setitem__(0, value)),
    )

    def changes() -> None:
        held[0] = other[0] = 2

    ran = call_foreign(changes, kept=kept)
    assert str(ran.error) == "the first was changed, and cannot be put back: ValueError: never"
    assert (ran.changed, other) == (("the first", "the second"), [1])


# --------------------------------------------------------------------------- what is called around the gradient (G, I)

BRIEF = replace(FEW, call_seconds=0.3, case_seconds=2.0)


def with_forward(forward: Callable[..., Any], factor: float = 2.0) -> Callable[..., Any]:
    """A gradient of a square that brings the function that it is of."""

    def gradient(x: Any) -> Any:
        return factor * x

    gradient.forward = forward  # type: ignore[attr-defined]
    return gradient


@pytest.mark.parametrize("case", [SQUARE, lambda x: x**2], ids=["case", "function"])
def test_a_forward_that_leaves_the_program_ends_nothing(case: Any) -> None:
    """It is refused in a sentence; one that raises where it has no value says nothing, and the gradient is judged."""
    at = {"x": 3.0}
    with pytest.raises(UsageError, match="the forward of its gradient, raises SystemExit at x = 3"):
        check_gradient(with_forward(lambda x: sys.exit()), case, FEW, at=at)
    for factor, passes in ((2.0, True), (2.0001, False)):
        for forward in (lambda x: x**2, lambda x: 1 / 0):
            assert check_gradient(with_forward(forward, factor), case, FEW, at=at).ok is passes


@pytest.mark.parametrize("case", [SQUARE, lambda x: x**2], ids=["case", "function"])
@pytest.mark.parametrize("waits", [lambda: time.sleep(30), lambda: [None for _ in iter(int, 1)]], ids=["sleep", "loop"])
def test_a_forward_that_does_not_return(case: Any, waits: Callable[[], Any]) -> None:
    """It is an error that names the step."""
    run = check_gradient(with_forward(lambda x: (waits(), x**2)[1]), case, BRIEF, at={"x": 3.0})
    (problem,) = run.cases[0].problems
    assert run.verdict == "ERROR"
    assert "--call-seconds) while" in problem
    assert problem.endswith("comparing the function with the forward of its gradient")


@pytest.mark.parametrize("at_call", [1, 2, 3, 4, 5, 6, 7])
def test_a_function_that_does_not_return(at_call: int) -> None:
    """Whichever call of it: traced, watched, or tried at another size."""
    calls = itertools.count(1)  # a list would be put back between calls

    def waits(x: Any) -> Any:
        if next(calls) >= at_call:
            time.sleep(30)
        return np.sum(x**2)

    at, dims = {"x": np.arange(1.0, 4.0)}, {"x": ("m",)}
    run = check_gradient(lambda x: 2 * x, waits, BRIEF, at=at, dims=dims)
    assert run.verdict == "ERROR"
    assert any("--call-seconds) while" in problem for result in run.cases for problem in result.problems)


def test_a_function_that_leaves_the_program_at_another_size() -> None:
    """There it has no value, and at its own size it is judged."""

    def leaves(x: Any) -> Any:
        if len(x) != 3:
            raise SystemExit(0)
        return np.sum(x**2)

    at, dims = {"x": np.arange(1.0, 4.0)}, {"x": ("m",)}
    for factor, passes in ((2.0, True), (2.0001, False)):
        run = check_gradient(lambda x, k=factor: k * x, leaves, FEW, at=at, dims=dims)
        assert run.ok is passes
        if passes:
            assert any("SystemExit" in note for note in run.cases[0].notes)


def test_time_around_cases_stands_still_within_one() -> None:
    """Each case has all of its own."""

    def work(seconds: float) -> None:
        end = time.process_time() + seconds
        while time.process_time() < end:
            pass

    with case_limits(0.6, 60.0, is_around=True):
        for _ in range(3):
            with case_limits(0.6, 60.0):
                work(0.3)
        with case_limits(0.6, 60.0), pytest.raises(LimitError):
            work(2.0)
        work(0.2)
        with pytest.raises(LimitError, match="while adding"), step("adding"):
            work(2.0)


ENDLESS = """
import jax
from verify.limits import call_limits, case_limits, step

def count(most):
    return jax.lax.while_loop(lambda c: c[0] > most, lambda c: (c[0] + 0.0, c[1] + 1), (jax.numpy.float32(1), 0))

with case_limits(120.0, 4.0), step("the gradient at x = 1"), call_limits():
    print(count(2.0))
with case_limits(120.0, 4.0), step("the gradient at x = 2"), call_limits():
    count(-1.0)
"""


def test_compiled_code_that_never_returns_ends_the_process_with_a_message() -> None:
    """No signal reaches Python there: an onlooker says which step it was. A loop that ends is none of it."""
    pytest.importorskip("jax")
    ran = subprocess.run([sys.executable, "-c", ENDLESS], capture_output=True, text=True, timeout=300, check=False)
    assert (ran.returncode, ran.stdout.count("Array")) == (1, 2), ran.stderr
    assert "did not return within 4 s (--call-seconds) while the gradient at x = 2" in ran.stderr
    assert "Bound the loop" in ran.stderr


@pytest.mark.parametrize(("factor", "is_right"), [(1.0, True), (1 + 1e-6, False)])
def test_a_wrapper_that_takes_any_arguments_is_called_in_order(factor: float, *, is_right: bool) -> None:
    """As what ``jax.grad`` makes, which has the names of what it wraps and takes nothing by them."""

    def slope(x: Any) -> Any:
        return 2 * x * factor

    @wraps(slope)
    def wrapped(*given: Any, **named: Any) -> Any:
        if not given:
            raise TypeError("requires at least 1 positional argument")
        return slope(*given, **named)

    assert check_gradient(wrapped, SQUARE, FEW).ok is is_right

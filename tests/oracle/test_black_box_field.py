"""Black boxes as the field brings them: each fault that was passed once beside its right twin."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest

from verify import UsageError, check_gradient
from verify.case.case import load_case_text
from verify.judging.short_law import FINE, short_law
from verify.judging.step_law import step_law
from verify.judging.tied import Slope, _is_beside
from verify.numbers.streams import stream
from verify.subjects.measured import Line, Measured
from verify.subjects.upstreams import Upstreams
from verify.words import Verdict

Function = Callable[..., Any]


def opaque(x: Any) -> Any:
    """The same numbers, by a way that no trace can follow."""
    array = np.asarray(x)
    return np.frombuffer(array.tobytes(), dtype=array.dtype).reshape(array.shape)[()]


def constant(*answers: Any) -> Function:
    """A gradient that always says the same, one answer for each input."""
    arrays = tuple(np.asarray(answer) for answer in answers)
    return lambda *_: arrays if len(arrays) > 1 else arrays[0]


def kinds(run: Any) -> set[str]:
    """The findings of a run."""
    return {finding.kind for result in run.cases for finding in result.findings}


# ------------------------------------------------------------------------------------------------------------- streams


@pytest.mark.parametrize("seed", [0, 1, 7])
def test_streams_of_ours_are_nobody_elses(seed: int) -> None:
    """Neither a user's of the same seed, nor those of a seed that is padded with zeros; the same each time."""
    ours = stream(seed, "upstream").standard_normal(8)
    assert np.array_equal(ours, stream(seed, "upstream").standard_normal(8))
    for other in (seed, [seed], [seed, 0], [0, seed], [0, 0, seed]):
        assert not np.any(np.isclose(ours, np.random.default_rng(other).standard_normal(8)))
    assert not np.any(np.isclose(ours, stream(seed, "upstream", 0).standard_normal(8)))


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_upstream_is_independent_of_the_users_numbers(seed: int) -> None:
    """A transposed dW fails, and a right one passes, where the data come from the commonest stream of all."""
    rng = np.random.default_rng(seed)
    x, W = rng.normal(size=3), rng.normal(size=(3, 3))

    def linear(x: Any, W: Any) -> Any:
        return opaque(W) @ x

    options: dict[str, Any] = {"at": {"x": x, "W": W}, "seed": seed}
    assert check_gradient(lambda x, W, upstream: (W.T @ upstream, np.outer(upstream, x)), linear, **options).ok
    assert not check_gradient(lambda x, W, upstream: (W.T @ upstream, np.outer(x, upstream)), linear, **options).ok


def test_two_upstreams_that_are_independent() -> None:
    """One of both signs, and one that is positive; a gradient that takes its size alone fails."""
    seen: list[Any] = []

    def gradient(x: Any, upstream: Any) -> Any:
        seen.append(np.array(upstream))
        return 2 * x * upstream

    at = {"x": np.array([0.5, -1.0, 2.0, 3.0])}
    run = check_gradient(gradient, lambda x: opaque(x) ** 2, at=at)
    assert run.ok
    assert {"upstream of f"} == {name for point in run.cases[0].points for name in point.values} - {"x"}
    assert abs(np.corrcoef(seen[0], seen[1])[0, 1]) < 0.999
    assert not check_gradient(lambda x, upstream: 2 * x * np.abs(upstream), lambda x: opaque(x) ** 2, at=at).ok


# ----------------------------------------------------------------------------------------------- where it is looked at


def test_given_points_and_upstreams_are_obeyed() -> None:
    """The upstream gradient that was given is the only one the gradient is judged with; another shape is refused."""

    def function(x: Any) -> Any:
        x = opaque(x)
        return np.array([x[0] * x[1], x[0]])

    def wrong_second(x: Any, upstream: Any) -> Any:
        return np.array([upstream[0] * x[1], upstream[0] * x[0]])

    at = {"x": np.array([1.0, 2.0])}
    assert check_gradient(wrong_second, function, at=at, upstream=np.array([1.0, 0.0])).cases[0].variables[0].passes
    assert not check_gradient(wrong_second, function, at=at, upstream=np.array([0.0, 1.0])).cases[0].variables[0].passes
    with pytest.raises(UsageError, match="upstream of function has shape"):
        check_gradient(wrong_second, function, at=at, upstream=np.ones(3))
    with pytest.raises(UsageError, match="domain names 'z'"):
        check_gradient(wrong_second, function, at=at, domain={"z": (0, 1)})


def test_random_points_are_as_many_as_asked_for() -> None:
    """Also without a domain, as for functions that are traced."""
    run = check_gradient(lambda x: 2 * x, lambda x: opaque(x) ** 2, at={"x": 1.5}, points=20)
    assert run.ok
    assert 20 == sum(point.origin == "random" for point in run.cases[0].points)


@pytest.mark.parametrize(
    ("wrong", "where"),
    [
        (lambda x: np.where(np.all(x == 0), math.nan, 2 * x), "all of it 0"),
        (lambda x: np.where(x == 0, math.nan, 2 * x), "an entry 0"),
        (lambda x: np.where(x == 3, 2 * x + 1, 2 * x), "an end of the domain"),
        (lambda x: 2 * x + (x[0] == x[1]), "equal entries"),
        (lambda x: np.where(np.abs(x) < 1e-3, 0.0, 2 * x), "a region beside a number in the code"),
    ],
)
def test_a_black_box_is_looked_at_where_a_known_function_would_be(wrong: Function, where: str) -> None:
    """Zeros, ends, equal entries, numbers in the code; the right gradient passes at all of them."""
    options: dict[str, Any] = {"at": {"x": np.array([0.5, 1.2])}, "domain": {"x": (-3, 3)}}
    assert check_gradient(lambda x: 2 * x, lambda x: float(np.sum(opaque(x) ** 2)), **options).ok
    assert not check_gradient(wrong, lambda x: float(np.sum(opaque(x) ** 2)), **options).ok, where


def test_what_cannot_be_told_passes_at_points_that_nobody_gave() -> None:
    """A saturated entry is no fault; at the caller's own point it does not pass."""

    def squash(t: Any) -> float:
        return 2 / (1 + math.exp(-2 * opaque(t))) - 1

    def slope(t: Any) -> float:
        e = math.exp(-2 * abs(float(t)))
        return 4 * e / (1 + e) ** 2

    run = check_gradient(slope, squash, at={"t": 0.3}, domain={"t": (-40, 40)})
    assert run.ok
    assert run.cases[0].counts[Verdict.UNDECIDED] > 0
    assert not check_gradient(slope, squash, at={"t": 36.0}).ok
    assert not check_gradient(lambda t: 1.01 * slope(t), squash, at={"t": 0.3}, domain={"t": (-40, 40)}).ok


def power(exponent: float) -> Function:
    """A power of x that no trace can follow, without values below 0."""
    return lambda x: math.sqrt(float(str(x))) ** (2 * exponent)


def mirrored(function: Function) -> Function:
    """The same without values above 0."""
    return lambda x: function(-x)


@pytest.mark.parametrize("answer", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("x", [0.0, -0.0])
def test_no_finite_claim_where_a_slope_is_bounded_on_one_side(x: float, answer: float) -> None:
    """At the end of a function's domain its slope may be told by one side; at a vertical tangent there is none."""
    for bounded in (power(1.5), power(1.0), power(2.0), lambda x: 1 + power(1.5)(x), lambda x: -power(2)(x) - 3):
        assert step_law(bounded, x, answer).accuses
        assert step_law(mirrored(bounded), x, answer).accuses
        assert not step_law(bounded, x, 0.0 if bounded is not power(1.0) else 1.0).accuses
    for steep in (power(0.5), power(0.25), power(0.9), lambda x: 1 + power(0.5)(x), lambda x: x * math.log(x or 1)):
        assert not step_law(steep, x, answer).accuses


def test_nan_at_an_end_that_nobody_gave() -> None:
    """0 * inf at the end of the domain of a bounded slope fails; inf of a square root is nobody's fault there."""
    options: dict[str, Any] = {"at": {"x": 1.0}, "domain": {"x": (0, 4)}}
    with np.errstate(all="ignore"):
        assert not check_gradient(lambda x: 1.5 * x / np.sqrt(x), power(1.5), **options).ok
        assert check_gradient(lambda x: 1.5 * np.sqrt(x), power(1.5), **options).ok
        assert check_gradient(lambda x: 0.5 / np.sqrt(x), power(0.5), **options).ok
        assert check_gradient(lambda x: 0.5 * np.sqrt(x) / x, power(0.5), **options).ok
        assert not check_gradient(lambda x: 0.51 / np.sqrt(x), power(0.5), **options).ok


# -------------------------------------------------------------------------------------------- exact to a tolerance only


def sinc(x: float) -> float:
    """Whose branches meet to 1e-14 only."""
    return 1 - x * x / 6 if abs(x) < 1e-3 else math.sin(x) / x


def sinc_slope(x: float) -> float:
    """As it is written in textbooks."""
    return -x / 3 if abs(x) < 1e-3 else (x * math.cos(x) - math.sin(x)) / x**2


def exp_series(x: float) -> float:
    """Cut off at 1e-8."""
    total, term, n = 0.0, 1.0, 0
    while abs(term) > 1e-8:
        total, n = total + term, n + 1
        term *= x / n
    return total


def kepler(mean: float) -> float:
    """Iterated until it moves by less than 1e-9."""
    angle = mean
    for _ in range(200):
        angle, last = mean + 0.5 * math.sin(angle), angle
        if abs(angle - last) < 1e-9:
            break
    return angle


def kepler_slope(mean: float) -> float:
    """By the implicit function, at an angle that is iterated to the end."""
    angle = mean
    for _ in range(200):
        angle = mean + 0.5 * math.sin(angle)
    return 1 / (1 - 0.5 * math.cos(angle))


@pytest.mark.parametrize(
    ("function", "slope", "x"),
    [(sinc, sinc_slope, x) for x in (1e-4, 5e-4, 9e-4, 1.2e-3)]
    + [(exp_series, math.exp, x) for x in (0.5, 1.0, 2.7)]
    + [(kepler, kepler_slope, x) for x in (0.3, 1.3, 2.2)],
)
def test_functions_that_are_exact_to_a_tolerance(function: Function, slope: Function, x: float) -> None:
    """The slope on paper passes; off by a hundred-thousandth fails, and no sentence speaks of a factor of 1."""
    assert check_gradient(slope, lambda x: function(float(opaque(x))), at={"x": x}).ok
    run = check_gradient(lambda x: slope(x) * 1.00001, lambda x: function(float(opaque(x))), at={"x": x})
    assert not run.ok
    assert " 1 times " not in str(run)
    assert "whatever the step" in next(run.cases[0].failing()).reason


@pytest.mark.parametrize(
    ("function", "slope", "at"), [(exp_series, math.exp, {"x": 1.0}), (kepler, kepler_slope, {"mean": 1.3})]
)
def test_functions_that_are_traced_and_exact_to_a_tolerance(function: Function, slope: Function, at: Any) -> None:
    """Branches are followed, and then the truth is that of the program as written; the slope on paper passes too."""
    assert check_gradient(slope, function, at=at).ok
    assert not check_gradient(lambda x: slope(x) * 1.00001, function, at=at).ok


def bisected(a: float) -> float:
    """The third root: a constant as far as its branches are the same, which is no further than 1e-14."""
    low, high = 0.0, 10.0
    for _ in range(50):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if middle**3 < a else (low, middle)
    return 0.5 * (low + high)


def bisected_slope(a: float) -> float:
    """On paper."""
    return 1 / (3 * float(np.cbrt(a)) ** 2)


def test_a_result_that_is_decided_by_branches_alone_is_measured() -> None:
    """Its slope is none of its steps: the right one passes, near it and 0 fail."""
    for domain, points in ((None, 0), ({"a": (1, 100)}, 4)):
        options: Any = {"at": {"a": 5.0}, "domain": domain, "points": points}
        assert check_gradient(bisected_slope, bisected, **options).ok
        assert not check_gradient(lambda a: bisected_slope(a) * 1.000001, bisected, **options).ok
    assert not check_gradient(lambda _: 0.0, bisected, at={"a": 5.0}).ok


@pytest.mark.parametrize("x", [1.5, 1.5005])
def test_steps_that_can_be_seen_keep_their_slope(x: float) -> None:
    """Steps of a thousandth, on one and at its end: not taken for noise around a line."""

    def stairs(x: Any) -> Any:
        return int(x * 1000) / 1000

    assert check_gradient(lambda _: 0.0, stairs, at={"x": x}).ok
    assert not check_gradient(lambda _: 1.0, stairs, at={"x": x}).ok


def test_a_function_without_jumps_excuses_nothing() -> None:
    """Though it has branches, and the claim is nearly right."""

    def function(x: Any) -> Any:
        return x * x if x > 0 else -x * x

    assert check_gradient(lambda x: 2 * abs(x), function, at={"x": 1.5}, domain={"x": (-3, 3)}).ok
    assert not check_gradient(lambda x: 2 * abs(x) * (1 + 1e-8), function, at={"x": 1.5}, domain={"x": (-3, 3)}).ok


def test_a_function_is_not_called_far_outside_its_domain() -> None:
    """Where an iteration might not end; without a domain nobody knows where that is."""
    at = {"x": np.array([2.0, 3.0])}
    measured = Measured(lambda x: x, at)
    upstream = np.ones((1, 2))
    bounds = {"x": (0.5, 5.5)}
    entry = Line(measured, at, upstream, entry=("x", (0,)), bounds=bounds)(0)
    along = Line(measured, at, upstream, direction={"x": np.array([1.0, -1.0])}, bounds=bounds)(0)
    assert (8.0, 3.5, 5.0, 5.0) == (entry(5.0), entry(0.5), along(1.0), along(-1.5))
    assert [True] * 4 == [math.isnan(value) for value in (entry(5.6), entry(0.4), along(2.6), along(-2.6))]
    assert 12.0 == Line(measured, at, upstream, entry=("x", (0,)))(0)(9.0)


def test_an_accuracy_that_is_given() -> None:
    """Noise that nobody could tell from the function otherwise; what is off by more fails still."""

    def function(x: Any) -> float:
        return float(np.exp(opaque(x))) * (1 + 1e-7 * math.sin(1e3 * x))

    options: dict[str, Any] = {"at": {"x": 1.0}, "accuracy": 1e-6}
    assert not check_gradient(np.exp, function, at={"x": 1.0}).ok
    assert check_gradient(np.exp, function, **options).ok
    assert not check_gradient(lambda x: 1.001 * np.exp(x), function, **options).ok
    assert check_gradient(np.exp, np.exp, **options).ok, "also of a function that can be traced"
    assert not check_gradient(lambda x: 1.001 * np.exp(x), np.exp, **options).ok
    with pytest.raises(UsageError, match="a part of the values' size"):
        check_gradient(np.exp, function, at={"x": 1.0}, accuracy=3.0)
    with pytest.raises(UsageError, match="a case is exact"):
        check_gradient(constant(1.0, 1.0), "add", accuracy=1e-9)


# ---------------------------------------------------------------------------------------------------------------- ties


def pool(x: Any) -> Any:
    """The largest of each two by two entries."""
    n, c, height, width = x.shape
    out = np.zeros((n, c, height // 2, width // 2))
    for i in range(height // 2):
        for j in range(width // 2):
            out[:, :, i, j] = opaque(x[:, :, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2].reshape(n, c, 4).max(axis=2))
    return out


def pool_gradient(share: Function) -> Function:
    """A backward pass of :func:`pool` with a convention at ties: ``share(is_largest)`` of the four."""

    def gradient(x: Any, upstream: Any) -> Any:
        dx = np.zeros_like(x)
        for index in np.ndindex(upstream.shape):
            n, c, i, j = index
            place = (n, c, slice(2 * i, 2 * i + 2), slice(2 * j, 2 * j + 2))
            window = x[place]
            dx[place] += share((window == window.max()).astype(float)) * upstream[index]
        return dx

    return gradient


def first(largest: Any) -> Any:
    """The first winner takes it all."""
    alone = np.zeros_like(largest)
    alone.flat[int(np.argmax(largest))] = 1.0
    return alone


def halves(largest: Any) -> Any:
    """Equal parts."""
    return largest / largest.sum()


def whole(largest: Any) -> Any:
    """The fault: everything to everyone."""
    return largest


@pytest.mark.parametrize("shape", [(1, 1, 2, 2), (1, 2, 4, 4)])
@pytest.mark.parametrize(
    ("share", "ok"),
    [
        (first, True),
        (lambda largest: largest / largest.sum(), True),
        (lambda largest: first(largest) * 0.7 + largest * 0.3 / largest.sum(), True),
        (lambda largest: largest, False),
        (lambda largest: largest / 2, False),
        (lambda largest: 0 * largest, False),
        (lambda largest: largest / largest.sum() * 1.001, False),
    ],
)
def test_a_tied_window_is_looked_at_as_a_whole(share: Function, ok: bool, shape: tuple[int, ...]) -> None:
    """Each entry may get anything from 0 to u; together they get u."""
    run = check_gradient(pool_gradient(share), pool, at={"x": np.ones(shape)})
    assert ok == run.ok, str(run)
    assert Verdict.SUBGRADIENT not in {
        row.verdict for v in run.cases[0].variables for row in map(v.row, range(v.checked))
    }


@pytest.mark.parametrize(
    ("share", "ok"),
    [
        (first, True),
        (lambda largest: largest / largest.sum(), True),
        (lambda largest: largest, False),
        (lambda largest: largest / 2, False),
        (lambda largest: 0 * largest, False),
    ],
)
def test_more_ties_than_patterns_can_be_listed(share: Function, ok: bool) -> None:
    """Eight windows of a case have 16 million branch patterns; entries that share one are looked at all the same."""
    text = (
        "{case: pool, inputs: {x: {shape: [8, 4], at: [" + ", ".join(str([0.5 + i] * 4) for i in range(8)) + "]}}, "
        "stages: {f: 'amax(x, axis=1)'}}"
    )

    def gradient(x: Any, upstream: Any) -> Any:
        return np.stack([share((row == row.max()).astype(float)) * g for row, g in zip(x, upstream, strict=True)])

    run = check_gradient(gradient, load_case_text(text), points=0)
    assert ok == run.ok, str(run)
    assert ok == ("no subgradient" not in kinds(run))
    run = check_gradient(gradient, lambda x: np.max(x, axis=1), at={"x": 0.5 + np.arange(8.0)[:, None] + np.zeros(4)})
    assert ok == run.ok, str(run)


@pytest.mark.parametrize(("late", "ok"), [(halves, True), (whole, False)])
@pytest.mark.parametrize("best", [np.max, np.min])
@pytest.mark.parametrize("windows", [3, 40])
def test_the_last_of_many_tied_windows(windows: int, best: Function, late: Function, ok: bool) -> None:
    """However many entries one number depends on, each is held against all that may share its kink."""

    def gradient(x: Any) -> Any:
        rows = x.reshape(windows, 4) == best(x.reshape(windows, 4), axis=1)[:, None]
        shares = [(halves if i < windows // 2 else late)(row.astype(float)) for i, row in enumerate(rows)]
        return np.concatenate(shares)

    def function(x: Any) -> float:
        return float(np.sum(best(opaque(x).reshape(windows, 4), axis=1)))

    run = check_gradient(gradient, function, at={"x": np.ones(4 * windows)}, points=0)
    assert ok == run.ok, str(run)


def test_ties_that_are_not_asked_about_are_undecided(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is left passes nowhere silently."""
    options: dict[str, Any] = {"at": {"x": np.ones(4)}, "points": 0}
    assert check_gradient(halves, lambda x: float(np.max(opaque(x))), **options).ok
    monkeypatch.setattr("verify.judging.tied.MOST_ASKED", 1)
    run = check_gradient(halves, lambda x: float(np.max(opaque(x))), **options)
    assert not run.ok
    assert "4 entries are at kinks" in str(run)


@pytest.mark.parametrize(("share", "ok"), [(first, True), (halves, True), (whole, False), (np.zeros_like, False)])
@pytest.mark.parametrize(
    "x",
    [
        np.full((1, 1, 2, 2), 5000.0, dtype=np.float32),
        np.full((1, 1, 2, 2), -3e-4, dtype=np.float32),
        np.full((1, 1, 2, 2), 1e13),
        np.full((1, 1, 2, 2), 1e-6),
        np.array([[[[1.0, 1.0], [1.0, 1.000001]]]]) * 1e-6,
    ],
)
def test_ties_of_any_size(x: Any, share: Function, ok: bool) -> None:
    """Moves are a part of each entry's size: they neither vanish nor leave the branch."""
    gradient = pool_gradient(lambda largest: share(largest).astype(x.dtype))
    is_tie = np.count_nonzero(x == x.max()) > 1
    run = check_gradient(gradient, pool, at={"x": x}, points=0)
    assert (ok or (not is_tie and share is whole)) == run.ok, str(run)


def test_entries_of_opposite_signs_share_a_kink() -> None:
    """abs(x + y) at 0 is met only where they move to the same side, and smooth where they do not."""
    for function, wrong in ((lambda x: abs(x[0] + x[1]), [1.0, -1.0]), (lambda x: abs(x[0] - x[1]), [1.0, 1.0])):
        at = {"x": np.zeros(2)}
        hidden = lambda x, f=function: float(f(opaque(x)))  # noqa: E731 - one for each
        assert not check_gradient(constant(wrong), hidden, at=at, points=0).ok
        assert check_gradient(constant([wrong[0], -wrong[1]]), hidden, at=at, points=0).ok


def test_kinks_that_bend_both_ways_accuse_nobody() -> None:
    """Along x = y their difference is smooth, and a right gradient says something else there."""
    options: dict[str, Any] = {"at": {"x": np.zeros(2)}}
    assert check_gradient(constant([1.0, 0.0]), lambda x: abs(opaque(x)[0]) - abs(opaque(x)[1]), **options).ok
    assert not check_gradient(constant([1.5, 0.0]), lambda x: abs(opaque(x)[0]) - abs(opaque(x)[1]), **options).ok


def test_two_arguments_that_are_tied() -> None:
    """Shares of a maximum add up to 1, whichever argument they go to."""
    at = {"x": 1.0, "y": 1.0}
    function = lambda x, y: max(opaque(x), opaque(y))  # noqa: E731 - as users write it
    assert check_gradient(constant(0.25, 0.75), function, at=at).ok
    assert not check_gradient(constant(1.0, 1.0), function, at=at).ok


# ------------------------------------------------------------------------------------------------------------- outputs


def test_complex_values_are_told() -> None:
    """An imaginary part is nothing to lose; the two parts as two outputs pass."""
    at = {"x": np.array([1.0, 2.0])}
    with pytest.raises(UsageError, match="complex"):
        check_gradient(lambda x, upstream: 2 * x * upstream, lambda x: opaque(x) ** 2 + 0j, at=at)
    with pytest.raises(UsageError, match="complex"):
        check_gradient(lambda x: 2 * x, lambda x: (opaque(x).sum(), opaque(x) * 1j), at=at)
    parts = lambda x: (opaque(x) ** 2, 3 * opaque(x))  # noqa: E731 - as users write it
    assert check_gradient(lambda x, upstream: 2 * x * upstream[0] + 3 * upstream[1], parts, at=at).ok


class Two(NamedTuple):
    """Outputs with names."""

    y: Any
    loss: Any


@pytest.mark.parametrize("hidden", [opaque, lambda x: x])
@pytest.mark.parametrize("wrap", [lambda y, loss: (y, loss), Two, lambda y, loss: {"y": y, "loss": loss}])
def test_several_outputs_have_one_form(hidden: Function, wrap: Function) -> None:
    """Traced or not, of equal shapes or not: upstream unpacks in order."""

    def gradient(x: Any, upstream: Any) -> Any:
        dy, dloss = upstream
        assert isinstance(upstream, Upstreams)
        return 2 * dy + 2 * x * dloss

    at = {"x": np.array([1.0, 2.0])}
    assert check_gradient(gradient, lambda x: wrap(2 * hidden(x), np.sum(hidden(x) ** 2)), at=at).ok
    assert check_gradient(gradient, lambda x: wrap(2 * hidden(x), hidden(x) ** 2), at=at).ok
    assert not check_gradient(
        lambda x, upstream: 2 * upstream[0] + 0 * x, lambda x: wrap(2 * hidden(x), hidden(x) ** 2), at=at
    ).ok


def test_several_outputs_by_name() -> None:
    """As a mapping would have them."""
    upstream = Upstreams({"y": 1.0, "loss": 2.0})
    assert (1.0, 2.0) == (upstream["y"], upstream.loss)
    assert {"y": 1.0, "loss": 2.0} == dict(upstream) == dict(**upstream)
    assert "y" in upstream
    assert "z" not in upstream
    with pytest.raises(KeyError, match="there are y, loss"):
        upstream["z"]
    at = {"x": np.array([1.0, 2.0])}
    run = check_gradient(
        lambda x, upstream: 2 * x * upstream["b"] + upstream["a"], lambda x: Two(opaque(x), opaque(x) ** 2), at=at,
        upstream={"y": np.ones(2), "loss": np.zeros(2)},
    )  # fmt: skip
    assert not run.ok, "there is no output b"
    assert "exception" in kinds(run)


# ------------------------------------------------------------------------------------------------ the function's faults


@pytest.mark.parametrize("hidden", [opaque, lambda x: x])
def test_a_function_with_a_state_is_a_finding_about_it(hidden: Function) -> None:
    """Whoever changes it, the function or its gradient; the same without a state passes."""
    state = {"scale": 1.0}

    def stateful(x: Any) -> Any:
        return np.sum(state["scale"] * hidden(x) ** 2)

    def gradient(x: Any) -> Any:
        state["scale"] += 1.0
        return 2 * x

    run = check_gradient(gradient, stateful, at={"x": np.array([1.0, 2.0])})
    assert not run.ok
    assert "function changed" in kinds(run)
    state["scale"] = 1.0
    assert check_gradient(lambda x: 2 * x, stateful, at={"x": np.array([1.0, 2.0])}).ok


def test_a_function_that_draws_numbers_is_judged_nowhere() -> None:
    """No row accuses the gradient of what the function does."""
    rng = np.random.default_rng(3)
    run = check_gradient(
        lambda x: 2 * x, lambda x: np.sum(opaque(x) ** 2) + rng.normal(), at={"x": np.array([1.0, 2.0])}
    )
    assert not run.ok
    assert "function changed" in kinds(run)
    assert {Verdict.UNDECIDED} == {verdict for verdict, count in run.cases[0].counts.items() if count}


def test_a_function_that_writes_to_its_input_is_told_as_such() -> None:
    """Not as the gradient's fault, which calls it; a gradient that writes itself is."""

    def doubling(x: Any) -> Any:
        x *= 2
        return np.sum(opaque(x) ** 2)

    def gradient(x: Any) -> Any:
        given = x.copy()
        doubling(x)
        return 8 * given

    def writing(x: Any) -> Any:
        x *= 2
        return 4 * x

    at = {"x": np.array([1.0, 2.0])}
    run = check_gradient(gradient, doubling, at=at)
    assert {"function writes"} == kinds(run)
    assert "the function writes to its argument 'x'" in str(run)
    assert {"input mutated"} == kinds(check_gradient(writing, lambda x: np.sum(4 * opaque(x) ** 2), at=at))


@pytest.mark.parametrize("error", [ValueError("no"), SystemExit(3), KeyError("k")])
def test_a_function_that_raises_is_told_with_its_place(error: BaseException) -> None:
    """At the caller's own point; beside it, it has no value there."""

    def raising(x: Any) -> float:
        if opaque(x) > 2:
            raise error
        return float(x) ** 2

    assert check_gradient(lambda x: 2 * x, raising, at={"x": 1.0}, domain={"x": (-3, 3)}).ok
    with pytest.raises(UsageError, match=r"raising raises \w+.*test_black_box_field"):
        check_gradient(lambda x: 2 * x, raising, at={"x": 2.5})


# ---------------------------------------------------------------------------------------------------------------- cost


class Counted:
    """How often a function is called."""

    def __init__(self, function: Function) -> None:
        self.function, self.calls = function, 0

    def __call__(self, x: Any, w: Any) -> Any:
        """One more."""
        self.calls += 1
        return self.function(x, w)


def convolution(x: Any, w: Any) -> Any:
    """One that no trace follows."""
    k = w.shape[2]
    size = x.shape[2] - k + 1
    out = np.zeros((x.shape[0], w.shape[0], size, size))
    for n, f, i, j in np.ndindex(out.shape):
        out[n, f, i, j] = np.sum(opaque(x[n, :, i : i + k, j : j + k]) * w[f])
    return out


def convolution_gradient(x: Any, w: Any, upstream: Any) -> Any:
    """Its backward pass, in loops too."""
    dx, dw, k = np.zeros_like(x), np.zeros_like(w), w.shape[2]
    for n, f, i, j in np.ndindex(upstream.shape):
        dx[n, :, i : i + k, j : j + k] += upstream[n, f, i, j] * w[f]
        dw[f] += upstream[n, f, i, j] * x[n, :, i : i + k, j : j + k]
    return dx, dw


def test_a_layer_costs_a_few_values_for_each_entry() -> None:
    """At most ten times what two-point differences by hand cost; a wrong one at most three times a right one."""
    rng = np.random.default_rng(11)
    at = {"x": rng.normal(size=(2, 3, 4, 4)), "w": rng.normal(size=(2, 3, 3, 3))}
    entries = sum(value.size for value in at.values())

    def calls(change: Function, ok: bool) -> int:
        def gradient(x: Any, w: Any, upstream: Any) -> Any:
            return change(*convolution_gradient(x, w, upstream))

        counted = Counted(convolution)
        assert ok == check_gradient(gradient, counted, at=at).ok
        return counted.calls

    def one_entry(dx: Any, dw: Any) -> Any:
        factor = np.ones_like(dw)
        factor[1, 2, 0, 0] += 1e-6
        return dx, factor * dw

    right = calls(lambda dx, dw: (dx, dw), True)
    assert right <= 10 * 2 * entries
    for change in (one_entry, lambda dx, dw: (2 * dx, dw), lambda dx, dw: (dx, dw.transpose(0, 1, 3, 2))):
        assert calls(change, False) <= 3 * right


@pytest.mark.parametrize("factor", [1 + 1e-9, 1.001, 2.0, -1.0, math.nan, math.inf])
@pytest.mark.parametrize(
    ("function", "x", "slope"), [(math.exp, 1.0, math.e), (math.sin, 0.3, math.cos(0.3)), (lambda x: x**3, 2.0, 12.0)]
)
def test_few_values_settle_right_claims_alone(function: Function, x: float, slope: float, factor: float) -> None:
    """A claim that is off by more than they can tell is left to the step law, or wrong beyond doubt."""
    noise = abs(function(x)) * 2.0**-53
    assert short_law(function, np.float64(x), slope, noise, FINE).agrees
    assert not short_law(function, np.float64(x), factor * slope, noise, FINE).agrees


@pytest.mark.parametrize(
    ("function", "x", "claimed"),
    [
        (lambda x: max(x, 0.0), 0.0, 0.5),
        (lambda x: max(x, 0.0), 1e-9, 0.5),
        (abs, 1e-9, 0.0),
        (lambda x: x + 1e-9 * math.sin(1e9 * x), 1.0, 1.0),
        (lambda x: x if x < 1 else 2 * x - 1, 1.0, 1.5),
        (lambda x: float(np.float32(x)), 1.0, 1.0),
        (lambda x: math.nan if x < 1 else x, 1.0, 1.0),
    ],
)
def test_few_values_settle_nothing_that_is_not_smooth(function: Function, x: float, claimed: float) -> None:
    """Kinks, what lies within the steps, waves, stairs, ends of the domain."""
    assert not short_law(function, np.float64(x), claimed, 2.0**-53, FINE).agrees


def test_what_a_law_says_is_kept_with_a_slope() -> None:
    """Verdict, sentence and how far the sides part."""
    slope = Slope.of(step_law(abs, 0.0, 0.5))
    assert ("kink", 2.0) == (slope.verdict, slope.split)


def ordered(x: Any, upstream: Any) -> Any:
    """The gradient of a sort: each entry has the upstream of its place."""
    dx = np.zeros_like(x)
    dx[np.argsort(x, kind="stable")] = upstream
    return dx


def middle(x: Any) -> Any:
    """The gradient of a median, at equal entries by the one that is in the middle."""
    return np.eye(len(x))[np.argsort(x, kind="stable")[len(x) // 2]]


TIES: dict[str, tuple[Function, Function, dict[str, Any]]] = {
    "sort": (np.sort, ordered, {"x": np.array([3.0, 3.0, 3.0])}),
    "sort, from behind": (np.sort, lambda x, upstream: ordered(x[::-1], upstream)[::-1].copy(), {"x": np.full(3, 3.0)}),
    "two largest": (
        lambda x: np.sort(x)[-2:].sum(),
        lambda x: np.isin(range(4), np.argsort(x)[-2:]) * 1.0,
        {"x": np.array([1.0, 2.0, 2.0, 2.0])},
    ),
    "median": (np.median, middle, {"x": np.array([1.0, 2.0, 2.0, 2.0, 5.0])}),
    "median, shared out": (
        np.median,
        lambda x: (x == np.median(x)) / np.sum(x == np.median(x)),
        {"x": np.array([1.0, 2.0, 2.0, 2.0, 5.0])},
    ),
}
"""Name -> function, a right gradient, and a point at which more than two branches meet."""


@pytest.mark.parametrize("name", TIES)
def test_a_slope_of_points_beside_a_tie_is_right_at_it(name: str) -> None:
    """Though it lies between no one-sided slopes, or an entry that moves alone changes nothing; a larger one fails."""
    function, gradient, at = TIES[name]

    def plain(x: Any) -> Any:
        return function(opaque(x))

    def larger(*given: Any, **named: Any) -> Any:
        return 1.0001 * gradient(*given, **named)

    larger.__wrapped__ = gradient  # type: ignore[attr-defined]  # it is called as that is
    assert check_gradient(gradient, plain, at=at, shrink=False).ok
    assert not check_gradient(larger, plain, at=at, shrink=False).ok


def test_equal_entries_of_a_smooth_function_are_no_kink() -> None:
    """However steep it is: what lies beside the point is no excuse for an error there."""

    def steep(x: Any) -> Any:
        return np.exp(300 * opaque(x)).sum()

    def slope(x: Any) -> Any:
        return 300 * np.exp(300 * x)

    at = {"x": np.ones(3)}
    assert check_gradient(slope, steep, at=at, points=0, shrink=False).ok
    assert not check_gradient(lambda x: slope(x) * (1 + 1e-6), steep, at=at, points=0, shrink=False).ok


def test_what_comes_together_nearer_to_a_point_is_no_kink() -> None:
    """The slopes beside a point of a function that is very steep lie far apart; those of a maximum stay apart."""
    keys = [("x", i) for i in range(3)]
    sizes = dict.fromkeys(keys, 1.0)

    def steep(weights: Any) -> Function:
        return lambda t: float(sum(math.exp(3000 * t * weights.get(key, 0.0)) for key in keys))

    def largest(weights: Any) -> Function:
        return lambda t: float(max(t * weights.get(key, 0.0) for key in keys))

    assert not _is_beside(steep, sizes, {keys[0]: 1.0}, 3000 * (1 - 1e-3))
    assert _is_beside(largest, sizes, {keys[0]: 1.0}, 0.5)
    assert not _is_beside(largest, sizes, {keys[0]: 1.0}, 1 + 1e-5)

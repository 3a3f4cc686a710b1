"""Diagnoses that the field missed, and those that it got by coincidence: each with an answer that is not told so."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from verify.oracle.check import check_gradient
from verify.running.settings import Settings

QUICK = Settings(shrink=False)


def told(gradient: Any, function: Any, at: dict[str, Any], variable: str, *, wide: bool = True) -> str:
    """What is said of one variable, in one text."""
    domain = dict.fromkeys(at, (-5, 5)) if wide else None
    run = check_gradient(gradient, function, QUICK, at=at, domain=domain)
    assert not run.ok
    return "; ".join(next(v for v in run.cases[0].variables if v.name == variable).diagnosis)


# ------------------------------------------------------------------------------------------------ one number is no rule


def square(x: Any) -> Any:
    """A function of one number."""
    return x**2


def test_one_wrong_number_has_no_rule() -> None:
    """It is always some multiple of the right one."""
    assert "no rule can be told" in told(lambda x: 2.345 * x, square, {"x": 3.0}, "x", wide=False)
    # The twin: two points with the same factor have one.
    run = check_gradient(lambda x: 2.345 * x, square, QUICK, at=[{"x": 3.0}, {"x": -1.7}])
    assert "1.1725 x the right one" in run.cases[0].variables[0].diagnosis[0]


def test_a_sign_or_a_small_fraction_is_told_from_one_number() -> None:
    """No coincidence comes as close."""
    assert "wrong sign" in told(lambda x: -2 * x, square, {"x": 3.0}, "x", wide=False)
    assert "1/2 x the right one" in told(lambda x: 1 * x, square, {"x": 3.0}, "x", wide=False)


def test_nothing_is_found_in_nan() -> None:
    """An answer that is no number says where it is none; there is no variant to be had from it."""
    run = check_gradient(lambda x: np.where(x > 1, np.nan, 2 * x), square, QUICK, at={"x": 3.0}, domain={"x": (-5, 5)})
    assert not run.ok
    assert () == run.cases[0].variables[0].diagnosis
    assert ["not finite"] == [finding.kind for finding in run.cases[0].findings]


def test_a_factor_is_the_number_of_entries_only_of_what_is_averaged() -> None:
    """8 is that of W by chance; where the mean of W is taken it may well be meant."""
    at = {"W": np.arange(8.0).reshape(2, 4) / 3 - 1}
    assert "entries" not in told(lambda W: 8 * 2 * W, lambda W: np.sum(W[0] ** 2) + np.sum(W[1] ** 2), at, "W")
    assert "8 is the number of entries of `a`" in told(lambda W: np.ones(W.shape), np.mean, {"a": at["W"]}, "a")


# ---------------------------------------------------------------------------------------------------- what was not told

LOGARITHMS: dict[str, tuple[Any, Any, str]] = {
    "natural for decimal": (lambda x: 1 / x, np.log10, "2.30259 x the right one, which is ln 10"),
    "decimal for natural": (lambda x: 1 / (x * math.log(10)), np.log, "which is one over ln 10"),
    "natural for binary": (lambda x: 1 / x, np.log2, "one over ln 2"),
}


@pytest.mark.parametrize("name", LOGARITHMS)
def test_the_base_of_a_logarithm(name: str) -> None:
    """A factor of ln 10 is one, and one that is near it is not."""
    gradient, function, said = LOGARITHMS[name]
    at, domain = {"x": 3.0}, {"x": (0.5, 4)}
    text = check_gradient(gradient, function, QUICK, at=at, domain=domain).cases[0].variables[0].diagnosis[0]
    assert said.removesuffix("one over ln 2") in text
    assert "to base" in text
    off = check_gradient(lambda x: gradient(x) * 1.0001, function, QUICK, at=at, domain=domain)
    assert "which is" not in off.cases[0].variables[0].diagnosis[0]


READ = np.array([0, 2, 2, 1, 0])


def embedding(W: Any) -> Any:
    """Rows that are read, two of them twice."""
    return W[READ]


def by_assignment(W: Any, upstream: Any) -> Any:
    """``=`` where ``np.add.at`` belongs."""
    found = np.zeros_like(W)
    found[READ] = upstream
    return found


def windows(x: Any, w: Any) -> Any:
    """A convolution in a loop."""
    out = np.zeros(4)
    for i in range(4):
        out[i] = np.sum(x[i : i + 3] * w)
    return out


def windows_overwritten(x: Any, w: Any, upstream: Any) -> Any:
    """Overlapping windows assign."""
    dx, dw = np.zeros_like(x), np.zeros_like(w)
    for i in range(4):
        dx[i : i + 3] = upstream[i] * w
        dw += upstream[i] * x[i : i + 3]
    return dx, dw


def test_assignments_that_overwrite_are_told() -> None:
    """Repeated rows of an embedding, overlapping windows of a convolution."""
    rng = np.random.default_rng(7)
    W, x, w = rng.normal(size=(4, 3)), rng.normal(size=6), rng.normal(size=3)
    assert "`=` in the place of `+=`" in told(by_assignment, embedding, {"W": W}, "W")
    assert "`=` in the place of `+=`" in told(windows_overwritten, windows, {"x": x, "w": w}, "x")
    assert "`=` in" not in told(lambda W, upstream: 2 * by_assignment(W, upstream), embedding, {"W": W}, "W")


def recurrent(h: Any, W: Any, x: Any) -> Any:
    """Three steps of a recurrent net."""
    for t in range(3):
        h = np.tanh(h @ W + x[t])
    return h


def unrolled(slope: Any) -> Any:
    """Its backward pass, with some slope for tanh."""

    def gradient(h: Any, W: Any, x: Any, upstream: Any) -> Any:
        states = [h]
        for t in range(3):
            states.append(np.tanh(states[-1] @ W + x[t]))
        dh, dW, dx = upstream, np.zeros_like(W), np.zeros_like(x)
        for t in (2, 1, 0):
            da = dh * slope(states[t + 1])
            dx[t], dW, dh = da, dW + np.outer(states[t], da), da @ W.T
        return dh, dW, dx

    return gradient


@pytest.mark.parametrize(
    ("slope", "said"),
    [
        (lambda s: 1 - s, "misses a factor `1 + h_2` in tanh'"),
        (lambda s: 1.0 + 0 * s, "misses the factor tanh'"),
        (lambda s: s, "uses `h_2` for its derivative"),
    ],
)
def test_the_same_fault_in_every_step_of_a_loop(slope: Any, said: str) -> None:
    """Found once, and told once for all steps."""
    rng = np.random.default_rng(7)
    at = {"h": rng.normal(size=3), "W": rng.normal(size=(3, 3)), "x": rng.normal(size=(3, 3))}
    text = told(unrolled(slope), recurrent, at, "W")
    assert said in text
    assert "in each of 3 steps" in text


def test_the_right_slope_in_every_step_passes() -> None:
    """The twin."""
    rng = np.random.default_rng(7)
    at = {"h": rng.normal(size=3), "W": rng.normal(size=(3, 3)), "x": rng.normal(size=(3, 3))}
    assert check_gradient(unrolled(lambda s: 1 - s * s), recurrent, QUICK, at=at).ok


# ------------------------------------------------------------------------------------------------- another function's


def centred(x: Any, eps: float) -> Any:
    """A normalised row."""
    moved = x - np.mean(x)
    return moved / np.sqrt(np.mean(moved**2) + eps)


def of_centred(x: Any, upstream: Any, eps: float) -> Any:
    """Its gradient."""
    moved = x - np.mean(x)
    size = np.sqrt(np.mean(moved**2) + eps)
    unit = moved / size
    return (upstream - np.mean(upstream) - unit * np.mean(upstream * unit)) / size


def test_a_constant_of_another_size_is_named() -> None:
    """1e-8 for 1e-5; a gradient that is off by something else is not told so."""
    at = {"x": np.array([0.1, -0.2, 0.15])}
    right = "is the right one with 1e-08 in the place of the constant 1e-05"
    assert right in told(lambda x, upstream: of_centred(x, upstream, 1e-8), lambda x: centred(x, 1e-5), at, "x")
    off = told(lambda x, upstream: of_centred(x, upstream, 1e-5) * (1 + 1e-6 * x), lambda x: centred(x, 1e-5), at, "x")
    assert "in the place of the constant" not in off


def strided(x: Any, w: Any) -> Any:
    """A correlation with stride 2."""
    return np.stack([np.sum(x[2 * i : 2 * i + 3] * w) for i in range(3)])


def test_windows_as_if_the_stride_were_1_are_named() -> None:
    """Each window is written back one place after the last; the right one passes, another fault is not told so."""

    def back(step: int) -> Any:
        def gradient(x: Any, w: Any, upstream: Any) -> Any:
            dx, dw = np.zeros_like(x), np.zeros_like(w)
            for i, g in enumerate(upstream):
                dx[step * i : step * i + 3] += g * w
                dw += g * x[2 * i : 2 * i + 3]
            return dx, dw

        return gradient

    at = {"x": np.array([0.3, -0.7, 1.1, 0.4, -1.3, 0.9, 0.2]), "w": np.array([0.5, -1.2, 0.8])}
    assert check_gradient(back(2), strided, QUICK, at=at).ok
    assert "as if the stride were 1" in told(back(1), strided, at, "x")
    assert "stride" not in told(lambda x, w, upstream: [3 * g for g in back(2)(x, w, upstream)], strided, at, "x")


def test_the_conjugate_is_named() -> None:
    """Complex numbers as pairs: the square of each."""

    def squares(z: Any) -> Any:
        return np.sum(z[:, 0] ** 2 - z[:, 1] ** 2 + 3 * z[:, 0] * z[:, 1])

    def gradient(sign: float) -> Any:
        return lambda z: np.stack([2 * z[:, 0] + 3 * z[:, 1], sign * (3 * z[:, 0] - 2 * z[:, 1])], axis=1)

    at = {"z": np.array([[0.3, -0.7], [1.1, 0.4], [0.6, 0.9]])}
    assert check_gradient(gradient(1.0), squares, QUICK, at=at).ok
    assert "that is the conjugate" in told(gradient(-1.0), squares, at, "z")
    assert "conjugate" not in told(gradient(-1.001), squares, at, "z")

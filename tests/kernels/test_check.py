"""A kernel is judged by the noise of a right one: right ones pass, wrong ones are named with place and factor."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy_flash import attention, flash, scaled

import verify
from verify.errors import UsageError, WrongGradientError
from verify.words import Verdict

SHAPES = {"q": (1, 2, 32, 16), "k": (1, 2, 32, 16), "v": (1, 2, 32, 16)}


@pytest.mark.parametrize("policy", ["flash attention", None])
@pytest.mark.parametrize("seed", range(3))
def test_a_right_kernel_passes(policy: str | None, seed: int) -> None:
    """With its policy named, and found where none is."""
    run = verify.check_kernel(flash(), attention, inputs=SHAPES, policy=policy, seed=seed)
    assert run.verdict is Verdict.PASS, str(run)
    assert run.kept == "flash attention"


@pytest.mark.parametrize("policy", ["flash attention", None])
@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (scaled("k", 1.01, slice(None), 1), "dk of head 1 is 1.0"),
        (scaled("q", 1.01), "dq is 1.0"),
        (scaled("v", 1.005), "dv is 1.00"),
        (scaled("v", 1.1, 0, 0, 20), "dv of row 20 of head 0 is 1."),
        (scaled("v", 1.02, slice(None), slice(None), slice(None), 3), "dv of column 3 of head "),
        (scaled("q", 1.03, 0, 1, slice(16, 32)), "dq of rows 16 to 31 of head 1 is 1.0"),
        (scaled("q", 0.0, 0, 1, 30, 7), "dq[0, 1, 30, 7] is 0.0"),
        (scaled("k", np.nan, 0, 1, 3, 2), "dk[0, 1, 3, 2] is not finite (1 entries)"),
        (scaled("v", -1.0, 0, 0, 31), "dv of row 31 of head 0 is -1.0"),
    ],
)
def test_a_wrong_kernel_fails_at_its_place(fault: Any, said: str, policy: str | None) -> None:
    """The twins: head, tensor, row, column, block, entry."""
    run = verify.check_kernel(flash(fault), attention, inputs=SHAPES, policy=policy)
    assert run.verdict is Verdict.FAIL
    assert said in run.sentence
    with pytest.raises(WrongGradientError, match=r"standard deviations|not finite"):
        run.raise_if_wrong()


def test_power_is_kept() -> None:
    """A fault as large as the run says it would reject is rejected, in every kind of part."""
    power = verify.check_kernel(flash(), attention, inputs=SHAPES, policy="flash attention").power
    assert power["tensor"][1] < 0.01
    for name, place in (("q", ()), ("k", (0, 1)), ("v", (0, 0, 9))):
        kind = ("tensor", "head", "row")[min(2, len(place))] if place else "tensor"
        fault = scaled(name, 1 + power["row" if len(place) == 3 else kind][1], *place)
        assert not verify.check_kernel(flash(fault), attention, inputs=SHAPES, policy="flash attention").ok


def test_more_noise_than_the_policy_is_imprecise() -> None:
    """Right in the mean: the policy that is kept is named, and is no failure where it is the one that was asked for."""

    def coarse(found: dict[str, Any]) -> None:
        chance = np.random.default_rng(1).uniform(-1, 1, found["k"].shape)
        found["k"] = found["k"] * (1 + 2.0**-6.5 * chance).astype(np.float32)

    run = verify.check_kernel(flash(coarse), attention, inputs=SHAPES, policy="fp32 accumulate")
    assert run.verdict in (Verdict.IMPRECISE, Verdict.FAIL)
    plain = verify.check_kernel(flash(), attention, inputs=SHAPES, policy="fp32 accumulate")
    assert plain.verdict is Verdict.IMPRECISE
    assert "keeps no more than 'flash attention'" in plain.sentence


def test_a_policy_by_stages() -> None:
    """Stages of the reference by name, gradients with a d in front."""
    policy = {"P": "bfloat16", "dS": "bfloat16"}
    assert verify.check_kernel(flash(), attention, inputs=SHAPES, policy=policy).asked is not None
    with pytest.raises(UsageError, match="the policy names 'Q', and the reference has no such stage"):
        verify.check_kernel(flash(), attention, inputs=SHAPES, policy={"Q": "bfloat16"})


def test_two_equal_calls_that_differ_are_told() -> None:
    """Noise of its own."""
    rng = np.random.default_rng(0)

    def atomic(found: dict[str, Any]) -> None:
        found["v"] = found["v"] * (1 + 1e-3 * rng.standard_normal(found["v"].shape)).astype(np.float32)

    (note,) = verify.check_kernel(flash(atomic), attention, inputs=SHAPES).notes
    assert note.startswith("dv is not deterministic")
    assert verify.check_kernel(flash(), attention, inputs=SHAPES).notes == ()


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({}, "give the point"),
        ({"inputs": SHAPES, "dtype": "int8"}, "dtype must be one of bfloat16, float16, float32"),
        ({"inputs": SHAPES, "policy": "flash"}, "there is no policy 'flash' for bfloat16"),
        ({"inputs": SHAPES, "policy": 3}, "a policy is a name or a mapping"),
        ({"inputs": {"q": (2, 2)}}, "does not take these values"),
    ],
)
def test_what_does_not_fit_is_said(given: dict[str, Any], said: str) -> None:
    """With the remedy."""
    with pytest.raises(UsageError, match=said):
        verify.check_kernel(flash(), attention, **given)


def test_a_kernel_that_is_none_is_said() -> None:
    """No pair, and no function with upstream."""
    with pytest.raises(UsageError, match="is no kernel"):
        verify.check_kernel(attention, attention, inputs=SHAPES)
    with pytest.raises(UsageError, match="a kernel is a function"):
        verify.check_kernel(3, attention, inputs=SHAPES)

    def raising(**given: Any) -> Any:
        raise ZeroDivisionError(str(len(given)))

    with pytest.raises(UsageError, match="raises ZeroDivisionError: 3"):
        verify.check_kernel((raising, raising), attention, inputs=SHAPES)


def test_the_fixture_ends_a_test_whose_kernel_is_wrong(gradient_oracle: Any) -> None:
    """And hands back the run of a right one."""
    assert gradient_oracle.kernel(flash(), attention, inputs=SHAPES, policy="flash attention").ok
    with pytest.raises(WrongGradientError, match=r"FAIL forward: dk of head 1 is 1\.0"):
        gradient_oracle.kernel(flash(scaled("k", 1.01, slice(None), 1)), attention, inputs=SHAPES)


def test_one_token_and_a_length_that_is_no_multiple() -> None:
    """Several points: each has its own truth and noise."""
    points = [dict.fromkeys(SHAPES, (1, 2, length, 16)) for length in (1, 17)]
    assert verify.check_kernel(flash(), attention, inputs=points, policy="flash attention").ok
    fault = scaled("v", 1.1, 0, 1, -1)
    run = verify.check_kernel(flash(fault), attention, inputs=points, policy="flash attention")
    assert run.verdict is Verdict.FAIL

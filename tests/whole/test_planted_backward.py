"""Hand-written backward passes: right ones pass, each planted fault is caught, and the diagnosis says what it is."""

from __future__ import annotations

import pytest
from planted_backward import KINDS, WRITTEN, Fault, Written

from verify.oracle.check import check_gradient
from verify.running.settings import Settings

FEW = Settings(points=4, methods=("reverse",), shrink=False)
"""What makes no difference to a subject's verdict is left out; a region that random points miss is searched for."""

PLANTED = [(written, fault) for written in WRITTEN for fault in written.faults]

OTHER_WORDS = {
    ("gaussian", "dx = dz / s"): "your dx misses the factor dz/dx",
    ("layer_norm", "dstd = -np"): "your dx has the wrong sign on the path from `var` to `d`",
}
"""Faults of which something else is said, whose numbers are the very same: a step earlier or later in the pass."""


def diagnosis(written: Written, fault: Fault) -> tuple[str, ...]:
    """What is said of the variable that the edit spoils; the fault has to be caught."""
    run = check_gradient(written.wrong(fault), written.case, FEW)
    assert not run.ok, fault
    return next((v.diagnosis for v in run.cases[0].variables if v.name == fault.variable), ())


def test_the_set_is_as_large_as_it_says() -> None:
    """At least 150 faults over 25 functions, of every kind; at most a tenth is told in other words."""
    assert 25 <= len(WRITTEN)
    assert 150 <= len(PLANTED)
    assert set(KINDS) == {fault.kind for _, fault in PLANTED}
    assert len(OTHER_WORDS) <= 0.1 * sum(bool(fault.said) for _, fault in PLANTED)


@pytest.mark.parametrize("written", WRITTEN, ids=lambda written: written.name)
def test_a_right_backward_pass_is_accepted(written: Written) -> None:
    """With nothing to say of it."""
    run = check_gradient(written.right, written.case, FEW)
    assert run.ok, [row for case in run.cases for row in case.failing()][:3]
    assert [] == [v.diagnosis for v in run.cases[0].variables if v.diagnosis]


@pytest.mark.parametrize("written", WRITTEN, ids=lambda written: written.name)
def test_planted_faults_are_caught_and_told(written: Written) -> None:
    """Every one is caught; what a single fault of the pass expresses is said, in the words that were written down."""
    for fault in written.faults:
        said = diagnosis(written, fault)
        expected = OTHER_WORDS.get((written.name, fault.old), fault.said)
        assert not expected or any(expected in line for line in said), (fault, said)


def test_an_edit_that_fits_no_place_is_no_fault() -> None:
    """Nor one that fits several: nothing would be known of what was planted."""
    written = WRITTEN[0]
    for old in ("no such text", "dx"):
        with pytest.raises(ValueError, match="occurs"):
            written.wrong(Fault("sign", old, "-dx"))

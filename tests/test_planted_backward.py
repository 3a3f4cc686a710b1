"""Hand-written backward passes: the right ones pass, each planted fault is caught, and the diagnosis says what it is."""

from __future__ import annotations

from collections import Counter
from functools import cache

import pytest

from tests.planted_backward import KINDS, WRITTEN, Fault, Written
from verify.oracle.check import check_gradient
from verify.records import Run
from verify.runner import Settings

FEW = Settings(points=16)
"""Enough for every region that is not called searched."""

PLANTED = [(written, fault) for written in WRITTEN for fault in written.faults if not fault.searched]
SEARCHED = [(written, fault) for written in WRITTEN for fault in written.faults if fault.searched]
"""Faults that no random point meets; they wait for points that are chosen."""

LEAST_RIGHT = 0.9
"""Share of the faults that a single-fault variant can express whose diagnosis has to be right."""


@cache
def judged(number: int) -> Run:
    """The run of one planted fault."""
    written, fault = PLANTED[number]
    return check_gradient(written.wrong(fault), written.case, FEW)


def diagnosis(run: Run, variable: str) -> tuple[str, ...]:
    """What is said of one variable."""
    return next((v.diagnosis for v in run.cases[0].variables if v.name == variable), ())


def label(written: Written, fault: Fault) -> str:
    """The fault as an edit."""
    return f"{written.name}: {fault.old} -> {fault.new}"


def test_the_set_is_as_large_as_it_says() -> None:
    """At least 150 faults over 25 functions, of every kind."""
    assert 25 <= len(WRITTEN)
    assert 150 <= len(PLANTED)
    assert set(KINDS) == {fault.kind for _, fault in PLANTED}


@pytest.mark.parametrize("written", WRITTEN, ids=lambda written: written.name)
def test_a_right_backward_pass_is_accepted(written: Written) -> None:
    """At default settings, with nothing to say of it."""
    run = check_gradient(written.right, written.case, FEW)
    assert run.ok, [row for case in run.cases for row in case.failing()][:3]
    assert [] == [v.diagnosis for v in run.cases[0].variables if v.diagnosis]


@pytest.mark.parametrize("number", range(len(PLANTED)), ids=[label(*planted) for planted in PLANTED])
def test_a_planted_fault_is_caught(number: int) -> None:
    """And of the variable that the edit spoils something is said, unless a contract is broken."""
    run = judged(number)
    _, fault = PLANTED[number]
    assert not run.ok
    if fault.said:
        assert diagnosis(run, fault.variable)


def test_diagnoses_are_right() -> None:
    """For at least nine in ten of those that a single fault expresses; the others are listed."""
    missed = []
    for number, (written, fault) in enumerate(PLANTED):
        said = diagnosis(judged(number), fault.variable)
        if fault.said and not any(fault.said in line for line in said):
            missed.append((label(written, fault), fault.said, said))
    expressible = sum(bool(fault.said) for _, fault in PLANTED)
    assert len(missed) <= (1 - LEAST_RIGHT) * expressible, missed
    print(f"{expressible - len(missed)} of {expressible}", Counter(fault.kind for _, fault in PLANTED))

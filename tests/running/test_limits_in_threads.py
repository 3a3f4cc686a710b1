"""Limits of time in threads, as in a worker of a cluster, and what they leave behind."""

from __future__ import annotations

import subprocess
import sys
import threading
import time

import pytest

from verify.errors import LimitError
from verify.limits import case_limits

AFTERWARDS = """
import sys, threading
from verify.errors import LimitError
from verify.limits import case_limits

def beyond():
    for seconds in (0.02, 100.0):
        try:
            with case_limits(seconds, 60.0):
                while seconds < 1:
                    pass
        except LimitError:
            print("told")

def traced():
    return "traced"

thread = threading.Thread(target=beyond)
thread.start()
thread.join()
beyond()
sys.settrace(lambda *_: None)
print(traced())
"""


def test_nothing_is_left_that_python_waits_for() -> None:
    """A trace function returns afterwards: it never did where an exception was taken back by sending none."""
    ran = subprocess.run([sys.executable, "-c", AFTERWARDS], capture_output=True, text=True, timeout=60, check=True)
    assert ran.stdout.split() == ["told", "told", "traced"]


@pytest.mark.parametrize("seconds", [0.02, 100.0])
def test_a_limit_holds_in_a_thread_and_nothing_comes_later(seconds: float) -> None:
    """What takes longer is told once, and what does not is left alone."""
    told: list[str] = []

    def run() -> None:
        try:
            with case_limits(seconds, 60.0):
                until = time.monotonic() + 0.3
                while time.monotonic() < until:
                    pass
        except LimitError as error:
            told.append(str(error))
        until = time.monotonic() + 1.2  # a bell would ring again by then
        while time.monotonic() < until:
            pass
        told.append("done")

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert told[-1] == "done"
    assert len(told) == (2 if seconds < 1 else 1)

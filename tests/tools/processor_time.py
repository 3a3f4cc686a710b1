"""A pytest plugin that tells what each test costs in processor time, subprocesses included.

    PYTHONPATH=tests/tools TIMES=/tmp/times python -m pytest -p processor_time -n 0 tests/graph
    python tests/tools/processor_time.py /tmp/times [DEAREST]

Wall time says little on a machine that others use too; processor time is what CI pays for.
"""

# ruff: noqa: T201 (a command prints)

from __future__ import annotations

import os
import resource
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest


def used() -> float:
    """Seconds of processor time of this process and of the children that it has waited for."""
    both = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in both)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """Writes one line a test: seconds (its fixtures' too) and where it stands."""
    before = used()
    result = yield
    with Path(os.environ["TIMES"]).open("a", encoding="utf-8") as file:
        file.write(f"{used() - before:.4f}\t{item.nodeid}\n")
    return result


def main() -> None:
    """Prints the files by what they cost, each with so many of its dearest tests."""
    tests: dict[str, list[tuple[float, str]]] = {}
    for line in Path(sys.argv[1]).read_text(encoding="utf-8").splitlines():
        seconds, node = line.split("\t", maxsplit=1)
        file, _, name = node.partition("::")
        tests.setdefault(file, []).append((float(seconds), name))
    dearest = int(sys.argv[2]) if sys.argv[2:] else 0
    sums = {file: sum(cost for cost, _ in found) for file, found in tests.items()}
    print(f"{sum(sums.values()):8.1f} s in all")
    for file in sorted(sums, key=sums.__getitem__, reverse=True):
        print(f"{sums[file]:8.1f} {len(tests[file]):5} {file}")
        for cost, name in sorted(tests[file], reverse=True)[:dearest]:
            print(f"{'':16}{cost:6.2f} {name}")


if __name__ == "__main__":
    main()

"""What every test has in common."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from importlib.util import find_spec

import pytest
from hypothesis import HealthCheck, settings

settings.register_profile(
    "seeded",
    derandomize=True,
    database=None,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
settings.load_profile("seeded")
"""Examples are the same in each run, and how long they take depends on the machine."""


NEEDED = {
    "kernels/examples.py": ("torch",),
    "tools/kernel_calibration.py": ("torch",),
    "tools/kernel_faults.py": ("torch",),
    "tools/second_order_kills.py": ("torch", "jax"),
}
"""Files that are no tests, and import what is optional: their examples are not looked for without it."""

collect_ignore = [name for name, packages in NEEDED.items() if None in map(find_spec, packages)]


@pytest.fixture(scope="session", autouse=True)
def _without_a_cache_or_a_job() -> Iterator[None]:
    """What the user's own cache holds is none of the tests' business; those of the cache bring one of their own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VERIFY_CACHE", "off")
        patch.delenv("GITHUB_ACTIONS", raising=False)  # a job of ours is no reader of what tests print
        patch.delenv("GITHUB_STEP_SUMMARY", raising=False)
        yield


@pytest.fixture(autouse=True)
def _without_recent_methods() -> None:
    """A test that plants a fault into SymPy's side meets no method that an earlier one had made ready."""
    preparing = sys.modules.get("verify.running.preparing")
    if preparing is not None:
        preparing.RECENT.clear()

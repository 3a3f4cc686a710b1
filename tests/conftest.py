"""What every test has in common."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture(scope="session", autouse=True)
def _without_a_cache() -> Iterator[None]:
    """What the user's own cache holds is none of the tests' business; those of the cache bring one of their own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VERIFY_CACHE", "off")
        yield


@pytest.fixture(scope="session", autouse=True)
def _store_of_its_own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Points at which gradients failed in an earlier run of the tests are none of this run's business."""
    from verify.oracle import shrink

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shrink, "STORE", Path(tmp_path_factory.mktemp("hypothesis")) / "examples")
        yield

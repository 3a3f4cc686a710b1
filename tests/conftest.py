"""What every test has in common."""

from __future__ import annotations

from collections.abc import Iterator

import pytest


@pytest.fixture(scope="session", autouse=True)
def _without_a_cache() -> Iterator[None]:
    """What the user's own cache holds is none of the tests' business; those of the cache bring one of their own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VERIFY_CACHE", "off")
        yield

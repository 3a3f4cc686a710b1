"""What an op without a rule does, found by running it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from verify.errors import TraceError
from verify.programs import probing
from verify.programs.probing import probed

Array = NDArray[np.float64]
BATCH = np.random.default_rng(3).normal(size=(2, 3, 4, 4))
MAP = np.random.default_rng(4).normal(size=(16, 5))


def alike(x: Array) -> Array:
    """Each image of a batch alone, and all by the same map."""
    return x.reshape(6, 16) @ MAP


def own(x: Array) -> Array:
    """Each image alone, the last one otherwise."""
    made = alike(x)
    made[-1] *= 1.001
    return made


def mixed(x: Array) -> Array:
    """The last image has a little of the first."""
    made = alike(x)
    made[-1] += 1e-3 * made[0]
    return made


def shifted(x: Array) -> Array:
    """A constant beside it, which is not the same for all."""
    return alike(x) + np.arange(30).reshape(6, 5)


@pytest.mark.parametrize("function", [alike, own, mixed, shifted])
@pytest.mark.parametrize("batch", [(2, 3), (6,)])
def test_an_affine_map_of_a_batch_is_found(function: Callable[[Array], Array], batch: tuple[int, ...]) -> None:
    """Whether its images are taken alike or not."""
    (found,) = probed(lambda x: [function(x).reshape(*batch, 5)], [BATCH.reshape(*batch, 4, 4)], "op")
    np.testing.assert_allclose(found, function(BATCH).reshape(*batch, 5), rtol=1e-12)


def test_images_that_are_taken_alike_cost_one_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many there are; a map of all at once is refused where they are not (twin)."""
    monkeypatch.setattr(probing, "MOST_LINEAR", 16)
    count = [0]

    def run(x: Array) -> list[Array]:
        count[0] += 1
        return [alike(x)]

    (found,) = probed(run, [BATCH.reshape(6, 16)], "op")
    np.testing.assert_allclose(found, alike(BATCH), rtol=1e-12)
    assert count[0] < 40
    with pytest.raises(TraceError, match="a linear map of 96 entries, more than 16"):
        probed(lambda x: [own(x)], [BATCH.reshape(6, 16)], "op")


def test_what_is_not_affine_is_not_taken_for_it() -> None:
    """Though it is linear but for a little."""

    def bent(x: Any) -> list[Array]:
        return [alike(x) + 1e-6 * (x**2).reshape(6, 16) @ MAP]

    with pytest.raises(TraceError, match="op has no op here"):
        probed(lambda x, y: [bent(x)[0] + y], [BATCH, np.ones(1)], "op")

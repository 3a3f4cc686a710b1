"""Long sequences: rows and heads are sampled, the borders of tiles among them, and faults there are found."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy_flash import attention, flash, scaled

import verify
from verify.errors import UsageError
from verify.kernels.formats import FORMATS
from verify.kernels.sampling import TILE, sampled

SHAPES = dict.fromkeys("qkv", (1, 2, 600, 16))


def rows_alone(x: Any) -> Any:
    """A function of each row."""
    return x / np.sqrt(np.mean(x * x, axis=-1, keepdims=True) + 1e-6)


def test_borders_of_tiles_are_always_looked_at() -> None:
    """And the last row, where a length is no multiple of a tile."""
    sample = sampled(rows_alone, {"x": (601, 8)}, FORMATS["bfloat16"].nearest, 3)
    borders = {*range(0, 601, TILE), *range(TILE - 1, 601, TILE), 600}
    assert borders <= set(sample.rows.tolist())
    assert np.array_equal(rows_alone(sample.point["x"])[sample.rows], rows_alone(sample.small()["x"]))


def test_a_right_kernel_passes_at_full_size() -> None:
    """Causal attention: keys that are left out are not seen."""
    run = verify.check_kernel(flash(), attention, inputs=SHAPES, policy="flash attention")
    assert run.ok, str(run)
    assert "rows of heads 0, 1" in run.points[0].reason


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (scaled("q", 0.5, 0, 1, 63), "dq of row 63 of head 1 is 0.5"),
        (scaled("k", 1.02, slice(None), 1), "dk of head 1 is 1.0"),
        (scaled("v", 0.0, 0, 0, 599, 3), "dv[0, 0, 599, 3] is 0.0"),
    ],
)
def test_a_wrong_kernel_fails_at_its_place_at_full_size(fault: Any, said: str) -> None:
    """The twins; places are those of the full size."""
    assert said in verify.check_kernel(flash(fault), attention, inputs=SHAPES, policy="flash attention").sentence


def test_what_is_written_beside_the_sample_fails() -> None:
    """Rows without a part in the outputs have no gradient."""

    def beside(found: dict[str, Any]) -> None:
        found["v"] = found["v"] + np.float32(1e-2)

    run = verify.check_kernel(flash(beside), attention, inputs=SHAPES, policy="flash attention")
    assert "dv in rows or heads without a part in the outputs looked at is not 0" in run.sentence


def test_rows_that_cannot_stand_alone_are_said() -> None:
    """With what to do about it."""
    with pytest.raises(UsageError, match="no sample of them stands alone: give inputs of fewer than 512 rows"):
        sampled(lambda x: x * np.sum(np.square(x), axis=0) + x[::-1], {"x": (600, 4)}, np.asarray, 0)

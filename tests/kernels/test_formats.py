"""Rounding to nearest, and on grids that chance has shifted."""

from __future__ import annotations

import numpy as np
import pytest

from verify.kernels.formats import FORMATS

KEYS = np.arange(1, 17, dtype=np.uint32) * 7919


@pytest.mark.parametrize("name", ["float16", "float32"])
def test_nearest_is_that_of_numpy(name: str) -> None:
    """Subnormal and infinite ones too."""
    x = np.random.default_rng(0).standard_normal(2000) * 2.0 ** np.random.default_rng(1).integers(-30, 30, 2000)
    with np.errstate(over="ignore"):
        assert FORMATS[name].nearest(x).tolist() == x.astype(name).astype(float).tolist()


def test_nearest_is_that_of_ml_dtypes() -> None:
    """The format that NumPy lacks."""
    bfloat16 = pytest.importorskip("ml_dtypes", reason="bfloat16 of NumPy comes with JAX").bfloat16
    x = np.random.default_rng(0).standard_normal(2000)
    assert FORMATS["bfloat16"].nearest(x).tolist() == x.astype(np.float32).astype(bfloat16).astype(float).tolist()


@pytest.mark.parametrize(("name", "dtype"), [("bfloat16", "float32"), ("float16", "float32"), ("float32", "float64")])
@pytest.mark.parametrize("size", [1.0, 1e-6])
def test_shifted_errors_are_those_of_nearest(name: str, dtype: str, size: float) -> None:
    """Uniform over half a unit to both sides, with no mean, and what the format holds stays."""
    form = FORMATS[name]
    x = (np.random.default_rng(0).standard_normal((1, 20000)) * size).astype(dtype)
    errors = (form.shifted(x, KEYS).astype(float) - x) / form.spacing(x)
    assert abs(errors.mean()) < 0.005
    assert abs(errors.std() * np.sqrt(12) - 1) < 0.02
    held = form.nearest(x).astype(dtype)
    assert np.array_equal(form.shifted(held, KEYS), np.broadcast_to(held, (16, 20000)))


def test_equal_numbers_have_equal_errors() -> None:
    """As rounding has: nothing averages out of what is the same everywhere, nor of what lies in one cell."""
    form = FORMATS["bfloat16"]
    x = np.full((1, 1000), 1.0021, dtype=np.float32) * (1 + 1e-6 * np.arange(1000, dtype=np.float32))
    errors = form.shifted(x, KEYS) - x
    assert np.abs(errors.mean(axis=1)).max() > 1e-3
    assert np.ptp(form.shifted(np.full((1, 50), 0.3, dtype=np.float32), KEYS), axis=1).max() == 0

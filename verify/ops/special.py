"""Special functions, entry by entry; SciPy's are imported where one is called: it costs half a second."""

from __future__ import annotations

import math
from typing import Any

import mpmath
import numpy as np
import sympy

from verify.ops import ball_functions
from verify.ops.row import Op, elementwise_shape


def _erfc(a: Any) -> Any:
    from scipy.special import erfc

    return erfc(a)


def _erfc_vjp(g: Any, y: Any, a: Any) -> Any:
    return g * ((-2.0 / math.sqrt(math.pi)) * np.exp(-(a * a)))


ROWS = (
    Op("erfc", _erfc, (_erfc_vjp,), sympy.erfc, mpmath.erfc, elementwise_shape, "erfc(a)",
       ulps=700.0, ball=ball_functions.erfc),  # SciPy rounds a**2 before its exponential: 341 were met at 24
)  # fmt: skip

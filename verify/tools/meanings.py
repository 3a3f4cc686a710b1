"""What the names of elementwise functions mean: values on mpmath's numbers, from which slopes are taken at many digits.

A framework's program may be right as a program and still not be the function that its name promises. A name that is
missing here is held against its program alone. Arguments stand where the framework's functions have them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import mpmath as mp

from verify.errors import VerifyError
from verify.ops import OPS
from verify.tracing.op_names import row_name

Meaning = Callable[..., Any]

FEW_DIGITS, MANY_DIGITS = 60, 700
"""Digits that slopes are taken with, and where the function is flat or the point tiny."""

NEAREST = 25
"""Digits of the point at which its neighbours differ."""


def _sigmoid(x: Any) -> Any:
    return 1 / (1 + mp.exp(-x)) if x >= 0 else mp.exp(x) / (1 + mp.exp(x))


def _softplus(x: Any, beta: Any = 1) -> Any:
    scaled = beta * x
    return (mp.log1p(mp.exp(-abs(scaled))) + max(scaled, mp.mpf(0))) / beta


def _normal(x: Any) -> Any:
    return mp.erfc(-x / mp.sqrt(2)) / 2


def _quantile(p: Any) -> Any:
    """Of the standard normal distribution, also in the tails."""
    if 2 * p >= 1:
        return -_quantile(1 - p) if 2 * p > 1 else mp.mpf(0)
    x = -mp.sqrt(-2 * mp.log(p)) if p < 0.01 else -mp.sqrt(2) * mp.erfinv(1 - 2 * p)
    for _ in range(60):
        value = _normal(x)
        step = (mp.log(value) - mp.log(p)) * value * mp.sqrt(2 * mp.pi) * mp.exp(x * x / 2)
        x -= step
        if abs(step) < mp.mpf(10) ** (8 - mp.mp.dps) * abs(x):
            break
    return x


def _elu(x: Any, alpha: Any = 1) -> Any:
    return x if x > 0 else alpha * mp.expm1(x)


def _huber(x: Any, y: Any, delta: Any = 1) -> Any:
    far = abs(x - y)
    return far**2 / 2 if far <= delta else delta * (far - delta / 2)


def _smooth_l1(x: Any, y: Any, beta: Any = 1) -> Any:
    far = abs(x - y)
    return far**2 / 2 / beta if far < beta else far - beta / 2


MEANINGS: Mapping[str, Meaning] = {
    "celu": lambda x, alpha=1: x if x > 0 else alpha * mp.expm1(x / alpha),
    "elu": _elu,
    "softplus": _softplus,
    "sigmoid": _sigmoid,
    "logsigmoid": lambda x: -_softplus(-x),
    "log_sigmoid": lambda x: -_softplus(-x),
    "silu": lambda x: x * _sigmoid(x),
    "swish": lambda x: x * _sigmoid(x),
    "mish": lambda x: x * mp.tanh(_softplus(x)),
    "tanhshrink": lambda x: x - mp.tanh(x),
    "softsign": lambda x: x / (1 + abs(x)),
    "soft_sign": lambda x: x / (1 + abs(x)),
    "hardsigmoid": lambda x: min(max(x + 3, mp.mpf(0)), mp.mpf(6)) / 6,
    "hard_sigmoid": lambda x: min(max(x + 3, mp.mpf(0)), mp.mpf(6)) / 6,
    "hardswish": lambda x: x * min(max(x + 3, mp.mpf(0)), mp.mpf(6)) / 6,
    "relu6": lambda x: min(max(x, mp.mpf(0)), mp.mpf(6)),
    "leaky_relu": lambda x, negative_slope=0.01: x if x > 0 else x * mp.mpf(negative_slope),
    "squareplus": lambda x, b=4: (x + mp.sqrt(x * x + b)) / 2,
    "exp2": lambda x: mp.mpf(2) ** x,
    "rsqrt": lambda x: 1 / mp.sqrt(x),
    "sinc": mp.sincpi,
    "logit": lambda x: mp.log(x / (1 - x)),
    "entr": lambda x: -x * mp.log(x),
    "ndtr": _normal,
    "ndtri": _quantile,
    "log_ndtr": lambda x: mp.log(_normal(x)),
    "erfcx": lambda x: mp.exp(x * x) * mp.erfc(x),
    "i0e": lambda x: mp.exp(-abs(x)) * mp.besseli(0, x),
    "i1e": lambda x: mp.exp(-abs(x)) * mp.besseli(1, x),
    "bessel_j0": lambda x: mp.besselj(0, x),
    "bessel_j1": lambda x: mp.besselj(1, x),
    "digamma": mp.digamma,
    "psi": mp.digamma,
    "lgamma": mp.loggamma,
    "gammaln": lambda x: mp.log(abs(mp.gamma(x))) if x < 0 else mp.loggamma(x),
    "polygamma": lambda n, x: mp.psi(int(n), x),
    "spence": lambda x: mp.polylog(2, 1 - x),
    "betaln": lambda a, b: mp.loggamma(a) + mp.loggamma(b) - mp.loggamma(a + b) if min(a, b) > 0 else mp.nan,
    "xlogy": lambda a, b: a * mp.log(b),
    "xlog1py": lambda a, b: a * mp.log1p(b),
    "logaddexp": lambda a, b: max(a, b) + mp.log1p(mp.exp(-abs(a - b))),
    "logaddexp2": lambda a, b: (max(a, b) * mp.log(2) + mp.log1p(mp.mpf(2) ** -abs(a - b))) / mp.log(2),
    "zeta": mp.zeta,
    "float_power": mp.power,
    "soft_margin_loss": lambda x, y: _softplus(-x * y),
    "binary_cross_entropy_with_logits": lambda x, y: _softplus(x) - x * y,
    "binary_cross_entropy": lambda x, y: -(y * mp.log(x) + (1 - y) * mp.log1p(-x)),
    "huber_loss": _huber,
    "smooth_l1_loss": _smooth_l1,
    "mse_loss": lambda x, y: (x - y) ** 2,
    "l1_loss": lambda x, y: abs(x - y),
    "poisson_nll_loss": lambda x, y: mp.exp(x) - x * y,
}
"""Function -> its value; other names are those of the op table."""


def meaning_of(name: str) -> Meaning | None:
    """What a name means, None where nobody said it.

    >>> float(meaning_of("hardsigmoid")(mp.mpf(0))), meaning_of("asinh") is OPS["arcsinh"].exact, meaning_of("foo")
    (0.5, True, None)
    """
    if name in MEANINGS:
        return MEANINGS[name]
    row = OPS.get(row_name(name))
    return row.exact if row is not None and row.elementwise and not row.params else None


def slope(value: Callable[[Any], Any], x: float) -> Any:
    """The derivative at a float, to some ten digits more than it has; NaN where there is none, as at poles and kinks.

    >>> float(slope(mp.tanh, 0.5)), float(slope(mp.log, 2.0**-900)) == 2.0**900, float(slope(abs, 0.0))
    (0.7864477329659274, True, nan)
    """
    beyond = int(max(mp.log10(abs(x)), 0)) if x else 0  # features of a function do not grow with its argument
    for digits in (FEW_DIGITS + beyond, MANY_DIGITS):
        with mp.workdps(digits):
            at = mp.mpf(x)
            step = min(abs(at) or mp.mpf(1), mp.mpf(1)) * mp.mpf(10) ** -NEAREST
            try:
                below, here, above = (mp.mpmathify(value(at + k * step)) for k in (-1, 0, 1))
            except (ValueError, ArithmeticError, TypeError, mp.libmp.NoConvergence, VerifyError):
                return mp.nan
            if not all(mp.isfinite(y) and not mp.im(y) for y in (below, here, above)):
                return mp.nan
            left, right = mp.re(here - below), mp.re(above - here)
            if abs(left + right) > abs(here) * mp.mpf(10) ** (20 - digits) or digits == MANY_DIGITS:
                has_kink = abs(left - right) > (abs(left) + abs(right)) * mp.mpf(10) ** -15
                return mp.nan if has_kink else (left + right) / (2 * step)
    return mp.nan

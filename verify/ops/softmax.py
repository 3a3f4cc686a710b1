"""Softmax and its kin: sums of exponentials, shifted by their largest exponent so that none overflows."""

from __future__ import annotations

from typing import Any

import mpmath
import numpy as np

from verify.numbers.ball_math import ONE, ZERO, Number, divide, log
from verify.ops.axes import along, each_along, floats_of, reduced_shape, shift, some_entries, spread
from verify.ops.code import Place, Whole, call
from verify.ops.row import Op, Shape
from verify.ops.texts import held
from verify.ops.trials import REDUCTIONS, of_one

Axis = tuple[int, ...] | None


def _largest(a: Any, axis: Axis = None, **_: Any) -> Any:
    """What is held: any number does, since ``softmax(a) == softmax(a - c)``; no derivative sees it."""
    return np.max(floats_of(a), axis=shift(axis, a.ndim), keepdims=True)


def _exponentials(a: Any, axis: Axis) -> tuple[Any, Any, Any]:
    """What the entries are shifted to, their exponentials, and the sum of those over the axes."""
    shifted = a - _largest(a, axis)
    e = np.exp(shifted)
    return shifted, e, np.sum(e, axis=shift(axis, a.ndim), keepdims=True)


def _softmax(a: Any, axis: Axis = None) -> Any:
    _, e, total = _exponentials(a, axis)
    return e / total


def _softmax_vjp(g: Any, y: Any, a: Any, axis: Axis = None) -> Any:
    return y * (g - np.sum(g * y, axis=shift(axis, a.ndim), keepdims=True))


def _log_softmax(a: Any, axis: Axis = None) -> Any:
    shifted, _, total = _exponentials(a, axis)
    return shifted - np.log(total)


def _log_softmax_vjp(g: Any, y: Any, a: Any, axis: Axis = None) -> Any:
    return g - np.exp(y) * np.sum(g, axis=shift(axis, a.ndim), keepdims=True)


def _logsumexp(a: Any, axis: Axis = None, keepdims: bool = False) -> Any:
    _, _, total = _exponentials(a, axis)
    y = np.log(total) + _largest(a, axis)
    return y if keepdims else y.reshape(len(a), *reduced_shape(a.shape[1:], axis))


def _logsumexp_vjp(g: Any, y: Any, a: Any, axis: Axis = None, keepdims: bool = False) -> Any:
    """Upstream gradient times softmax; ``exp(a - y)`` would lose the digits of large entries."""
    return spread(g, a, axis, keepdims) * _softmax(a, axis)


def _shape(a: Shape, axis: Axis = None) -> Shape:
    some_entries("softmax", a, axis)
    return a


def _reduced(a: Shape, axis: Axis = None, keepdims: bool = False) -> Shape:
    some_entries("logsumexp", a, axis)
    return reduced_shape(a, axis, keepdims)


def _lower_shifted(builder: Any, a: int, held: int, axis: Axis) -> tuple[int, int, int]:
    shifted = builder.apply("subtract", a, held)
    e = builder.apply("exp", shifted)
    return shifted, e, builder.apply("sum", e, params={"axis": axis, "keepdims": True})


def _lower_softmax(builder: Any, a: int, held: int, axis: Axis = None) -> int:
    _, e, total = _lower_shifted(builder, a, held, axis)
    return int(builder.apply("divide", e, total))


def _lower_log_softmax(builder: Any, a: int, held: int, axis: Axis = None) -> int:
    shifted, _, total = _lower_shifted(builder, a, held, axis)
    return int(builder.apply("subtract", shifted, builder.apply("log", total)))


def _lower_logsumexp(builder: Any, a: int, held: int, axis: Axis = None, keepdims: bool = False) -> int:
    _, _, total = _lower_shifted(builder, a, held, axis)
    y = builder.apply("add", builder.apply("log", total), held)
    shape = reduced_shape(builder.shape(a), axis, keepdims)
    return int(y if keepdims else builder.apply("reshape", y, params={"shape": shape}))


_EXP, _LOG = np.frompyfunc(mpmath.exp, 1, 1), np.frompyfunc(mpmath.log, 1, 1)


def _exact_softmax(a: Any, axis: Axis = None) -> Any:
    e = _EXP(a)
    return e / np.sum(e, axis=axis, keepdims=True)


def _exact_logsumexp(a: Any, axis: Axis = None, keepdims: bool = False) -> Any:
    return _LOG(np.sum(_EXP(a), axis=axis, keepdims=keepdims))


FEW_SHARES = 12
"""Up to so many entries each is compared with each; beyond, their sum is formed once."""


def _quotients(row: list[Number]) -> list[Number]:
    """For each number the sum of all exponentials, divided by its own: narrow where balls are wide."""
    if len(row) <= FEW_SHARES:
        return [sum(((other - x).exp() for other in row), ZERO) for x in row]
    e = [x.exp() for x in row]
    total = sum(e, ZERO)
    return [divide(total, x) for x in e]


def _softmax_ball(a: Any, axis: Axis = None) -> Any:
    return each_along(lambda row: [divide(ONE, total) for total in _quotients(row)], a, axis)


def _log_softmax_ball(a: Any, axis: Axis = None) -> Any:
    return each_along(lambda row: [-log(total) for total in _quotients(row)], a, axis)


def _logsumexp_ball(a: Any, axis: Axis = None, keepdims: bool = False) -> Any:
    return along(lambda row: log(sum((x.exp() for x in row), ZERO)), a, axis, keepdims)


def _softmax_back(p: Place) -> str:
    return f"{held(p.y)} * ({p.g} - np.sum({held(p.g)} * {held(p.y)}{p.kept or ', keepdims=True'}))"


def _log_softmax_back(p: Place) -> str:
    return f"{p.g} - np.exp({p.y}) * np.sum({p.g}{p.kept or ', keepdims=True'})"


SHARES = of_one(
    ((3,), {}), ((2, 3), {"axis": 1}), ((2, 3), {"axis": 0}), ((4, 2, 3), {"axis": (0, 2)}), ((2, 2), {"axis": -1}),
)  # fmt: skip

ROWS = (
    Op("softmax", example="softmax(u)", elementwise=False, params=("axis",), shape=_shape, trials=SHARES,
       source="SciPy's special.softmax", forward=_softmax, vjps=(_softmax_vjp,),
       exact=_exact_softmax, lower=_lower_softmax, held=_largest, ball=_softmax_ball,
       code=Whole(call("softmax", "axis"), _softmax_back, "y * (dy - sum(dy * y))")),
    Op("log_softmax", example="log_softmax(u)", elementwise=False, params=("axis",), shape=_shape, trials=SHARES,
       source="SciPy's special.log_softmax", forward=_log_softmax, vjps=(_log_softmax_vjp,),
       exact=lambda a, axis=None: a - _exact_logsumexp(a, axis, keepdims=True),
       lower=_lower_log_softmax, held=_largest, ball=_log_softmax_ball,
       code=Whole(lambda p: f"{held(p.a)} - logsumexp({p.a}{p.kept or ', keepdims=True'})", _log_softmax_back,
                  "dy - softmax * sum(dy)")),
    Op("logsumexp", example="logsumexp(u)", elementwise=False, params=("axis", "keepdims"), shape=_reduced,
       trials=REDUCTIONS, source="SciPy's special.logsumexp", forward=_logsumexp, vjps=(_logsumexp_vjp,),
       exact=_exact_logsumexp, lower=_lower_logsumexp, held=_largest, ball=_logsumexp_ball,
       code=Whole(call("logsumexp", "axis", "keepdims"), lambda p: f"softmax({p.a}{p.options('axis')}) * {p.spread}",
                  "its gradient is softmax")),
)  # fmt: skip

HELPERS = {
    "softmax": '''\
def softmax(a, axis=None):
    """exp(a) / sum(exp(a)), without overflow."""
    e = np.exp(a - np.max(a, axis=axis, keepdims=True))
    return e / np.sum(e, axis=axis, keepdims=True)
''',
    "logsumexp": '''\
def logsumexp(a, axis=None, keepdims=False):
    """log(sum(exp(a))), without overflow."""
    top = np.max(a, axis=axis, keepdims=True)
    total = np.log(np.sum(np.exp(a - top), axis=axis, keepdims=True)) + top
    return total if keepdims else np.squeeze(total, axis=axis)
''',
}
"""Functions that a printed module brings along where it names them."""

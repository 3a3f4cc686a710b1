"""Softmax and its kin: sums of exponentials, shifted by their largest exponent so that none overflows."""

from __future__ import annotations

from typing import Any

import mpmath
import numpy as np

from verify.numbers import ball_forms
from verify.ops.axes import floats_of, reduced_shape, shift, some_entries, spread
from verify.ops.row import Op, Shape, by_lowering

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


ROWS = (
    Op("softmax", _softmax, (_softmax_vjp,), by_lowering, _exact_softmax, _shape, "softmax(a)", params=("axis",),
       elementwise=False, lower=_lower_softmax, held=_largest, ball=ball_forms.softmax,
       source="SciPy's special.softmax"),
    Op("log_softmax", _log_softmax, (_log_softmax_vjp,), by_lowering,
       lambda a, axis=None: a - _exact_logsumexp(a, axis, keepdims=True), _shape, "log_softmax(a)", params=("axis",),
       elementwise=False, lower=_lower_log_softmax, held=_largest, ball=ball_forms.log_softmax,
       source="SciPy's special.log_softmax"),
    Op("logsumexp", _logsumexp, (_logsumexp_vjp,), by_lowering, _exact_logsumexp, _reduced, "logsumexp(a)",
       params=("axis", "keepdims"), elementwise=False, lower=_lower_logsumexp, held=_largest,
       ball=ball_forms.logsumexp, source="SciPy's special.logsumexp"),
)  # fmt: skip

"""The table: one row is one op, and each row holds everything that is known about it.

Columns, in the order in which a reader asks for them:

* ``forward``   NumPy, on arrays ``(P, *shape)``: the first axis counts points and belongs to nobody else.
* ``vjps``      one vector-Jacobian product for each argument, written by hand: ``g`` is the upstream gradient,
  ``y`` the output, ``a, b`` the inputs. They know nothing of SymPy.
* ``sympy``     the op on SymPy expressions (elementwise ops) or on object arrays of them (structural ops).
* ``exact``     the op on mpmath numbers or object arrays of them: the third, independent definition, which
  decides who is wrong when ``forward`` and ``sympy`` part.
* ``ball``      the op on python-flint's balls and series of balls (on object arrays of them for structural ops), the
  certified reference; written without the other columns. None: the reference does not know the op.
* ``shape``     the output's shape from the operands' shapes; raises :class:`~verify.errors.ShapeError`.
* ``domain``    where each argument may be; outside, the op has no value.
* ``ulps``      how far ``forward`` may be from the exact result, in units in the last place (a test measures it).
* ``kink``      where the op has no derivative: the argument whose sign decides, the branches, conventions at a tie.
* ``singular``  where it has neither slope nor branches: a length at 0 (all of the unit ball), or a jump (nothing).
* ``params``    names of its static parameters (axis, keepdims).

Elementwise operands arrive with equal ranks (:mod:`verify.graph` aligns them), so that NumPy's broadcasting never
pairs points with rows. To add an op is to add a row here; every test that loops over the table then covers it.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import mpmath
import numpy as np
import sympy

from verify import ball_forms
from verify.errors import ShapeError

Shape = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Interval:
    """Where one argument of an op may be: between two ends, each in or out, perhaps without zero.

    >>> LOG = Interval(0.0, low_open=True)
    >>> bool(LOG.contains(0.0)), bool(LOG.contains(2.0)), LOG.text("a")
    (False, True, 'a > 0')
    """

    low: float = -math.inf
    high: float = math.inf
    low_open: bool = False
    high_open: bool = False
    nonzero: bool = False

    def contains(self, x: Any) -> Any:
        """Elementwise: whether ``x`` is inside. NaN never is."""
        above = (x > self.low) if self.low_open else (x >= self.low)
        below = (x < self.high) if self.high_open else (x <= self.high)
        inside = above & below
        return inside & (x != 0) if self.nonzero else inside

    def text(self, name: str) -> str:
        """The condition in words, empty where everything is allowed."""
        conditions = []
        if self.low > -math.inf:
            conditions.append(f"{name} {'>' if self.low_open else '>='} {self.low:g}")
        if self.high < math.inf:
            conditions.append(f"{name} {'<' if self.high_open else '<='} {self.high:g}")
        if self.nonzero:
            conditions.append(f"{name} != 0")
        return " and ".join(conditions)


REAL = Interval()
POSITIVE = Interval(0.0, low_open=True)
NONNEGATIVE = Interval(0.0)
NONZERO = Interval(nonzero=True)


@dataclass(frozen=True, slots=True)
class Kink:
    """A place where an op has two slopes: ``branches[0]`` holds where ``argument`` > 0, ``branches[1]`` where < 0."""

    argument: Callable[..., Any]
    branches: tuple[Callable[..., Any], Callable[..., Any]]
    ties: Mapping[str, tuple[float, float]]
    """Convention at a tie -> weight of the derivative of each branch; the first is the default."""


@dataclass(frozen=True, slots=True)
class UnitBall:
    """An op that is the length of its operands: at 0 its slopes are the unit ball, and the engine answers 0."""


@dataclass(frozen=True, slots=True)
class Jump:
    """An op with jumps: no slope there, and slope 0 anywhere else."""

    distance: Callable[..., Any]
    """How far the operand is from the nearest jump."""


@dataclass(frozen=True, slots=True)
class Op:
    """One row of the table; the module's docstring explains the columns."""

    name: str
    forward: Callable[..., Any]
    vjps: tuple[Callable[..., Any], ...]
    sympy: Callable[..., Any]
    exact: Callable[..., Any]
    shape: Callable[..., Shape]
    spelling: str
    """How a case file writes it, with ``a`` and ``b`` for its arguments."""
    domain: tuple[Interval, ...] = (REAL,)
    ulps: float = 0.5
    kink: Kink | None = None
    singular: UnitBall | Jump | None = None
    params: tuple[str, ...] = ()
    elementwise: bool = True
    source: str = ""
    ball: Callable[..., Any] | None = None

    @property
    def arity(self) -> int:
        """How many arguments it takes."""
        return len(self.vjps)


# ---------------------------------------------------------------------------------------------------- shape rules


def _elementwise_shape(*shapes: Shape) -> Shape:
    try:
        return np.broadcast_shapes(*shapes)
    except ValueError:
        raise ShapeError(f"shapes {' and '.join(map(str, shapes))} do not broadcast together") from None


def _matmul_shape(a: Shape, b: Shape) -> Shape:
    if not a or not b:
        raise ShapeError(f"'@' needs arrays, got shapes {a} and {b}; use '*' for scalars")
    left, right = (a if len(a) > 1 else (1, *a)), (b if len(b) > 1 else (*b, 1))
    if left[-1] != right[-2]:
        raise ShapeError(f"'@' cannot multiply shapes {a} and {b}: {left[-1]} columns against {right[-2]} rows")
    try:
        batch = np.broadcast_shapes(left[:-2], right[:-2])
    except ValueError:
        raise ShapeError(f"'@' cannot multiply shapes {a} and {b}: their batch axes do not broadcast") from None
    return (*batch, *left[-2:-1][: len(a) > 1], *right[-1:][: len(b) > 1])


def _reduced_shape(a: Shape, axis: tuple[int, ...] | None = None, keepdims: bool = False) -> Shape:
    axes = range(len(a)) if axis is None else axis
    if keepdims:
        return tuple(1 if i in axes else size for i, size in enumerate(a))
    return tuple(size for i, size in enumerate(a) if i not in axes)


def _mean_shape(a: Shape, axis: tuple[int, ...] | None = None, keepdims: bool = False) -> Shape:
    if not _count(a, axis):
        raise ShapeError(f"the mean over no entries is undefined (shape {a})")
    return _reduced_shape(a, axis, keepdims)


def _transposed_shape(a: Shape, axes: tuple[int, ...] | None = None) -> Shape:
    return a[::-1] if axes is None else tuple(a[i] for i in axes)


def _indexed_shape(a: Shape, index: tuple[int | slice, ...]) -> Shape:
    return np.broadcast_to(np.zeros(()), a)[index].shape


def _count(shape: Shape, axis: tuple[int, ...] | None) -> int:
    return math.prod(shape if axis is None else [shape[i] for i in axis])


# ------------------------------------------------------------------------------- forwards and VJPs that need a name
# Axes in parameters count from the first axis of the variable; `_shift` steps over the axis of points.


def _shift(axis: tuple[int, ...] | None, rank: int) -> tuple[int, ...]:
    return tuple(range(1, rank)) if axis is None else tuple(i + 1 for i in axis)


def _sum(a: Any, axis: tuple[int, ...] | None = None, keepdims: bool = False) -> Any:
    return np.sum(a, axis=_shift(axis, a.ndim), keepdims=keepdims)


def _spread(g: Any, a: Any, axis: tuple[int, ...] | None, keepdims: bool) -> Any:
    """The upstream gradient of a sum, given back to every entry that was summed."""
    if not keepdims:
        g = np.expand_dims(g, _shift(axis, a.ndim))
    return np.broadcast_to(g, a.shape)


def _mean(a: Any, axis: tuple[int, ...] | None = None, keepdims: bool = False) -> Any:
    return _sum(a, axis, keepdims) / _count(a.shape[1:], axis)


def _mean_vjp(g: Any, y: Any, a: Any, axis: tuple[int, ...] | None = None, keepdims: bool = False) -> Any:
    return _spread(g / _count(a.shape[1:], axis), a, axis, keepdims)


def _transpose(a: Any, axes: tuple[int, ...] | None = None) -> Any:
    order = range(a.ndim - 1)[::-1] if axes is None else axes
    return np.transpose(a, (0, *(i + 1 for i in order)))


def _transpose_vjp(g: Any, y: Any, a: Any, axes: tuple[int, ...] | None = None) -> Any:
    return _transpose(g, axes if axes is None else tuple(int(i) for i in np.argsort(axes)))


def _index(a: Any, index: tuple[int | slice, ...]) -> Any:
    return a[(slice(None), *index)]


def _index_vjp(g: Any, y: Any, a: Any, index: tuple[int | slice, ...]) -> Any:
    out = np.zeros_like(a)
    out[(slice(None), *index)] = g
    return out


def _as_matrices(a: Any, b: Any) -> tuple[Any, Any, bool, bool]:
    """Operands of ``@`` as stacks of matrices of equal rank, and whether each was a vector.

    With the axis of points in front a vector looks like a matrix to NumPy, so vectors get their missing axis here,
    and missing batch axes are put behind the axis of points.
    """
    a_vector, b_vector = a.ndim == 2, b.ndim == 2
    if a_vector:
        a = a[:, None, :]
    if b_vector:
        b = b[:, :, None]
    rank = max(a.ndim, b.ndim)
    return _pad_rank(a, rank), _pad_rank(b, rank), a_vector, b_vector


def _pad_rank(a: Any, rank: int) -> Any:
    return a if a.ndim == rank else a.reshape(a.shape[0], *(1,) * (rank - a.ndim), *a.shape[1:])


def _matmul(a: Any, b: Any) -> Any:
    left, right, a_vector, b_vector = _as_matrices(a, b)
    y = left @ right
    if b_vector:
        y = y[..., 0]
    return (y[..., 0] if b_vector else y[..., 0, :]) if a_vector else y


def _matmul_upstream(g: Any, a_vector: bool, b_vector: bool) -> Any:
    if a_vector:
        g = np.expand_dims(g, -1 if b_vector else -2)
    return np.expand_dims(g, -1) if b_vector else g


def _matmul_vjp_a(g: Any, y: Any, a: Any, b: Any) -> Any:
    _, right, a_vector, b_vector = _as_matrices(a, b)
    out = _matmul_upstream(g, a_vector, b_vector) @ np.swapaxes(right, -1, -2)
    return out[..., 0, :] if a_vector else out


def _matmul_vjp_b(g: Any, y: Any, a: Any, b: Any) -> Any:
    left, _, a_vector, b_vector = _as_matrices(a, b)
    out = np.swapaxes(left, -1, -2) @ _matmul_upstream(g, a_vector, b_vector)
    return out[..., 0] if b_vector else out


def _sigmoid(a: Any) -> Any:
    e = np.exp(-np.abs(a))  # never overflows, whatever the sign of a
    return np.where(a >= 0, 1.0, e) / (1.0 + e)


def _sigmoid_vjp(g: Any, y: Any, a: Any) -> Any:
    e = np.exp(-np.abs(a))  # y * (1 - y) loses every digit from a = 37 on
    return g * (e / ((1.0 + e) * (1.0 + e)))


def _tanh_vjp(g: Any, y: Any, a: Any) -> Any:
    e = np.exp(-2.0 * np.abs(a))  # 1 - y**2 loses every digit from a = 19 on, and cosh overflows at 711
    return g * (4.0 * e / ((1.0 + e) * (1.0 + e)))


def _erf(a: Any) -> Any:
    from scipy.special import erf  # costs half a second to import, and few cases need it

    return erf(a)


def _erf_vjp(g: Any, y: Any, a: Any) -> Any:
    return g * ((2.0 / math.sqrt(math.pi)) * np.exp(-(a * a)))


def _power_constant_vjp(g: Any, y: Any, a: Any, exponent: float) -> Any:
    if exponent == 0:
        return np.zeros_like(g)  # 0 * a**-1 is not a number at a = 0
    if exponent == 2:
        return g * (2.0 * a)
    return g * (exponent * a ** (exponent - 1.0))


def _choice(g: Any, first: Any, second: Any, tie: float) -> Any:
    """Upstream gradient where this argument wins, ``tie`` of it where the two are equal."""
    won = np.where(first > second, g, 0.0)
    return won + np.where(first == second, g * tie, 0.0) if tie else won


def _length_vjp(g: Any, y: Any, a: Any) -> Any:
    """Upstream gradient times the share of one operand in a length; 0, one of its subgradients, where that is 0."""
    return g * (a / np.where(y == 0, 1.0, y))


def _flat_vjp(g: Any, y: Any, a: Any) -> Any:
    return np.zeros_like(g)


def _exact_sum(a: Any, axis: tuple[int, ...] | None = None, keepdims: bool = False) -> Any:
    """The sum of an object array without an axis of points."""
    return np.sum(a, axis=axis, keepdims=keepdims)


def _exact_power(a: Any, b: Any) -> Any:
    return mpmath.power(a, b)


def _exact_power_constant(a: Any, exponent: float) -> Any:
    return mpmath.power(a, exponent)


# ------------------------------------------------------------------------------------------------------- the table

MAX_TIES = {"first": (1.0, 0.0), "both": (1.0, 1.0), "half": (0.5, 0.5)}
STEP_TIES = {"zero": (0.0, 1.0), "one": (1.0, 0.0), "half": (0.5, 0.5)}
ABS_TIES = {"zero": (0.5, 0.5), "one": (1.0, 0.0), "minus_one": (0.0, 1.0)}

_ROWS = (
    Op("add", np.add, (lambda g, y, a, b: g, lambda g, y, a, b: g),
       lambda a, b: a + b, mpmath.fadd, _elementwise_shape, "a + b", (REAL, REAL), source="CS231n, Optimization 2",
       ball=operator.add),
    Op("subtract", np.subtract, (lambda g, y, a, b: g, lambda g, y, a, b: -g),
       lambda a, b: a - b, mpmath.fsub, _elementwise_shape, "a - b", (REAL, REAL), ball=operator.sub),
    Op("multiply", np.multiply, (lambda g, y, a, b: g * b, lambda g, y, a, b: g * a),
       lambda a, b: a * b, mpmath.fmul, _elementwise_shape, "a * b", (REAL, REAL), source="CS231n, Optimization 2",
       ball=operator.mul),
    Op("divide", np.divide, (lambda g, y, a, b: g / b, lambda g, y, a, b: -(g * y / b)),
       lambda a, b: a / b, mpmath.fdiv, _elementwise_shape, "a / b", (REAL, NONZERO), ball=ball_forms.divide),
    Op("power", np.power, (lambda g, y, a, b: g * (b * a ** (b - 1.0)), lambda g, y, a, b: g * (a**b * np.log(a))),
       lambda a, b: a**b, _exact_power, _elementwise_shape, "a ** b", (POSITIVE, REAL), ulps=2.0,
       ball=ball_forms.power),
    Op("power_constant", lambda a, exponent: a**exponent,
       (_power_constant_vjp,),
       lambda a, exponent: a ** exact_rational(exponent), _exact_power_constant,
       lambda a, exponent: a, "a ** 2", (REAL,), ulps=2.0, params=("exponent",), ball=ball_forms.power_constant),
    Op("negative", np.negative, (lambda g, y, a: -g,), lambda a: -a, mpmath.fneg, _elementwise_shape, "-a", ulps=0.0,
       ball=operator.neg),
    Op("positive", np.positive, (lambda g, y, a: g,), lambda a: +a, lambda a: +a, _elementwise_shape, "+a", ulps=0.0,
       ball=operator.pos),
    Op("exp", np.exp, (lambda g, y, a: g * y,), sympy.exp, mpmath.exp, _elementwise_shape, "exp(a)", ulps=3.0,
       source="CS231n, Optimization 2", ball=ball_forms.exp),
    Op("log", np.log, (lambda g, y, a: g / a,), sympy.log, mpmath.log, _elementwise_shape, "log(a)", (POSITIVE,),
       ulps=4.0, ball=ball_forms.log),
    Op("sqrt", np.sqrt, (lambda g, y, a: g / (2.0 * y),), sympy.sqrt, mpmath.sqrt, _elementwise_shape, "sqrt(a)",
       (NONNEGATIVE,), ball=ball_forms.sqrt),
    Op("sigmoid", _sigmoid, (_sigmoid_vjp,), lambda a: 1 / (1 + sympy.exp(-a)), lambda a: 1 / (1 + mpmath.exp(-a)),
       _elementwise_shape, "sigmoid(a)", ulps=4.0, source="CS231n, Optimization 2", ball=ball_forms.sigmoid),
    Op("tanh", np.tanh, (_tanh_vjp,), sympy.tanh, mpmath.tanh, _elementwise_shape, "tanh(a)",
       ulps=2.0, ball=ball_forms.tanh),
    Op("sin", np.sin, (lambda g, y, a: g * np.cos(a),), sympy.sin, mpmath.sin, _elementwise_shape, "sin(a)",
       ulps=1.0, ball=ball_forms.sin),
    Op("cos", np.cos, (lambda g, y, a: -g * np.sin(a),), sympy.cos, mpmath.cos, _elementwise_shape, "cos(a)",
       ulps=1.0, ball=ball_forms.cos),
    Op("erf", _erf, (_erf_vjp,), sympy.erf, mpmath.erf, _elementwise_shape, "erf(a)", ulps=2.0, ball=ball_forms.erf),
    Op("max", lambda a, b, tie: np.maximum(a, b),
       (lambda g, y, a, b, tie: _choice(g, a, b, tie[0]), lambda g, y, a, b, tie: _choice(g, b, a, tie[1])),
       sympy.Max, max, _elementwise_shape, "max(a, b)", (REAL, REAL), ulps=0.0,
       kink=Kink(lambda a, b: a - b, (lambda a, b: a, lambda a, b: b), MAX_TIES), source="CS231n, Optimization 2",
       ball=ball_forms.maximum),
    Op("min", lambda a, b, tie: np.minimum(a, b),
       (lambda g, y, a, b, tie: _choice(g, b, a, tie[0]), lambda g, y, a, b, tie: _choice(g, a, b, tie[1])),
       sympy.Min, min, _elementwise_shape, "min(a, b)", (REAL, REAL), ulps=0.0,
       kink=Kink(lambda a, b: b - a, (lambda a, b: a, lambda a, b: b), MAX_TIES), ball=ball_forms.minimum),
    Op("relu", lambda a, tie: np.maximum(a, 0.0), (lambda g, y, a, tie: _choice(g, a, 0.0, tie[0]),),
       lambda a: sympy.Max(a, 0), lambda a: a if a > 0 else a * 0, _elementwise_shape, "relu(a)", ulps=0.0,
       kink=Kink(lambda a: a, (lambda a: a, lambda a: a * 0.0), STEP_TIES), source="CS231n, Optimization 2",
       ball=ball_forms.relu),
    Op("abs", lambda a, tie: np.abs(a),
       (lambda g, y, a, tie: _choice(g, a, 0.0, tie[0]) - _choice(g, 0.0, a, tie[1]),),
       sympy.Abs, abs, _elementwise_shape, "abs(a)", ulps=0.0,
       kink=Kink(lambda a: a, (lambda a: a, lambda a: -a), ABS_TIES), ball=ball_forms.absolute),
    Op("matmul", _matmul, (_matmul_vjp_a, _matmul_vjp_b), lambda a, b: a @ b, np.matmul, _matmul_shape, "a @ b",
       (REAL, REAL), elementwise=False, source="CS231n, Optimization 2", ball=ball_forms.matmul),
    Op("sum", _sum, (lambda g, y, a, axis=None, keepdims=False: _spread(g, a, axis, keepdims),),
       _exact_sum, _exact_sum,
       _reduced_shape, "sum(a)", params=("axis", "keepdims"), elementwise=False, ball=ball_forms.total),
    Op("mean", _mean, (_mean_vjp,),
       lambda a, axis=None, keepdims=False: _exact_sum(a, axis, keepdims) / sympy.Integer(_count(a.shape, axis)),
       lambda a, axis=None, keepdims=False: _exact_sum(a, axis, keepdims) / mpmath.mpf(_count(a.shape, axis)),
       _mean_shape, "mean(a)", params=("axis", "keepdims"), elementwise=False, ball=ball_forms.mean),
    Op("transpose", _transpose, (_transpose_vjp,), lambda a, axes=None: a.T if axes is None else np.transpose(a, axes),
       lambda a, axes=None: np.transpose(a, axes), _transposed_shape, "transpose(a)", params=("axes",),
       elementwise=False, ulps=0.0, ball=ball_forms.transpose),
    Op("index", _index, (_index_vjp,), lambda a, index: a[index], lambda a, index: a[index], _indexed_shape, "a[0]",
       params=("index",), elementwise=False, ulps=0.0, ball=ball_forms.index),
    Op("hypot", np.hypot, (lambda g, y, a, b: _length_vjp(g, y, a), lambda g, y, a, b: _length_vjp(g, y, b)),
       lambda a, b: sympy.sqrt(a**2 + b**2), mpmath.hypot, _elementwise_shape, "hypot(a, b)", (REAL, REAL), ulps=1.0,
       singular=UnitBall(), ball=ball_forms.hypot),
    Op("sign", np.sign, (_flat_vjp,), sympy.sign, mpmath.sign, _elementwise_shape, "sign(a)", ulps=0.0,
       singular=Jump(np.abs), ball=ball_forms.sign),
)  # fmt: skip

OPS: Mapping[str, Op] = {row.name: row for row in _ROWS}
"""The table by name."""


def exact_rational(value: float) -> sympy.Expr:
    """The number that a float is, as SymPy's exact rational: a literal means the double it parses to.

    >>> exact_rational(0.5), exact_rational(2.0)
    (1/2, 2)
    """
    return sympy.Rational(*float(value).as_integer_ratio())

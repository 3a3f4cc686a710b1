"""How each row of the op table is written in NumPy, and its derivative by hand.

Written down here a second time and on purpose: nothing is taken from the table's own VJPs, and a test holds what is
printed against the certified reference. ``{a}`` to ``{d}`` stand for operands that hold together, ``{A}`` to ``{D}``
for arguments of a call, ``{y}`` for the op's own value.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from verify.emitting.texts import axes_text, entries, held, index_text, summed_to

Shape = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Scalar:
    """A row that works entry by entry: its value, and its local derivative by each operand."""

    forward: str
    local: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Place:
    """What a structural row is written with: texts of its operands, value and upstream gradient, and their shapes."""

    operands: Sequence[str]
    own: Callable[[], str]
    """The op's own value; long values are given a name when they are asked for."""
    g: str
    shapes: tuple[Shape, ...]
    shape: Shape
    params: Mapping[str, Any]
    which: int = 0
    """The operand that is differentiated by."""

    @property
    def y(self) -> str:
        """The op's own value."""
        return self.own()

    @property
    def a(self) -> str:
        """The first operand, or the only one."""
        return self.operands[0]

    @property
    def b(self) -> str:
        """The second operand."""
        return self.operands[1]

    @property
    def axes(self) -> tuple[int, ...]:
        """The axes that are reduced."""
        axis = self.params.get("axis")
        return tuple(range(len(self.shapes[0]))) if axis is None else tuple(axis)

    def options(self, *names: str) -> str:
        """Parameters of the row as arguments of a call."""
        texts = []
        for name in names:
            value = self.params.get(name)
            if value is not None and value is not False and not (name == "ddof" and value == 0):
                texts.append(f", {name}={axes_text(value) if name == 'axis' and isinstance(value, tuple) else value}")
        return "".join(texts)

    def with_kept_axes(self, text: str) -> str:
        """A reduced array with its axes back as ones, so that it broadcasts against what was reduced."""
        if self.params.get("keepdims") or len(self.axes) == len(self.shapes[0]):
            return text
        parts = ["None" if i in self.axes else ":" for i in range(len(self.shapes[0]))]
        while parts[-1] == ":":
            parts.pop()
        return f"{held(text)}[{', '.join(parts)}]"

    @property
    def kept(self) -> str:
        """Arguments that reduce the same axes and keep them."""
        axis = self.params.get("axis")
        return "" if axis is None else f", axis={axes_text(axis)}, keepdims=True"


@dataclass(frozen=True, slots=True)
class Structural:
    """A row that moves, sums or multiplies arrays: how it is written, and its upstream gradient sent back."""

    forward: Callable[[Place], str]
    back: Callable[[Place], str]
    rule: str
    """The rule in words."""
    spreads: bool = False
    """Whether what is sent back need only broadcast to the operand's shape."""


HELPERS: Mapping[str, str] = {
    "sigmoid": '''\
def sigmoid(a):
    """1 / (1 + exp(-a)), without overflow."""
    e = np.exp(-np.abs(a))
    return np.where(a >= 0, 1.0, e) / (1.0 + e)
''',
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
    "first_of": '''\
def first_of(wins, axis):
    """Of the entries that win along some axes, the first one alone."""
    moved = np.moveaxis(wins, axis, range(-len(axis), 0))
    flat = moved.reshape(*moved.shape[: -len(axis)], -1)
    flat = flat & (np.cumsum(flat, axis=-1) == 1)
    return np.moveaxis(flat.reshape(moved.shape), range(-len(axis), 0), axis)
''',
    "product_of_others": '''\
def product_of_others(a, axis):
    """For each entry the product of all others along some axes; no division, so that zeros do no harm."""
    moved = np.moveaxis(a, axis, range(-len(axis), 0))
    flat = moved.reshape(*moved.shape[: -len(axis)], -1)
    before, after = np.ones_like(flat), np.ones_like(flat)
    before[..., 1:] = np.cumprod(flat[..., :-1], axis=-1)
    after[..., :-1] = np.cumprod(flat[..., :0:-1], axis=-1)[..., ::-1]
    return np.moveaxis((before * after).reshape(moved.shape), range(-len(axis), 0), axis)
''',
    "cumprod_back": '''\
def cumprod_back(a, g, axis):
    """What cumulative products send back: to each factor, every later product without it; no division."""
    moved = np.ravel(a) if axis is None else np.moveaxis(a, axis, -1)
    upstream = g if axis is None else np.moveaxis(g, axis, -1)
    out = np.zeros_like(moved)
    for i in range(moved.shape[-1]):
        without = moved.copy()
        without[..., i] = 1.0
        out[..., i] = np.sum((upstream * np.cumprod(without, axis=-1))[..., i:], axis=-1)
    return out.reshape(a.shape) if axis is None else np.moveaxis(out, -1, axis)
''',
    "cofactors": '''\
def cofactors(a):
    """The derivative of det(a) by each entry: the minor without its row and column, with its sign."""
    n = a.shape[-1]
    out = np.empty_like(a)
    for i in range(n):
        for j in range(n):
            minor = np.delete(np.delete(a, i, axis=-2), j, axis=-1)
            out[..., i, j] = (-1) ** (i + j) * np.linalg.det(minor)
    return out
''',
    "cholesky_back": '''\
def cholesky_back(factor, g):
    """What a Cholesky factor sends back to the lower triangle it was made of, the last column first."""
    g = np.tril(g)
    for j in reversed(range(factor.shape[-1])):
        pivot, left = factor[..., j, j], factor[..., j, :j]
        below, below_left = factor[..., j + 1 :, j], factor[..., j + 1 :, :j]
        # below = (a[j + 1:, j] - below_left @ left) / pivot
        g[..., j + 1 :, j] /= pivot[..., None]
        sent = g[..., j + 1 :, j]
        g[..., j + 1 :, :j] -= sent[..., :, None] * left[..., None, :]
        g[..., j, :j] -= np.sum(sent[..., :, None] * below_left, axis=-2)
        g[..., j, j] -= np.sum(sent * below, axis=-1)
        # pivot = sqrt(a[j, j] - left @ left)
        g[..., j, j] /= 2 * pivot
        g[..., j, :j] -= 2 * g[..., j, j, None] * left
    return g
''',
    "count_windows": '''\
def count_windows(x, size, stride):
    """How many windows fit along each axis, in an x of samples, channels and places."""
    return tuple((n - k) // s + 1 for n, k, s in zip(x.shape[2:], size, stride))
''',
    "windows": '''\
def windows(counts, size, stride):
    """The index of each window, and the part of the input that it shows."""
    for index in np.ndindex(*counts):
        part = tuple(slice(i * s, i * s + k) for i, k, s in zip(index, size, stride))
        yield (..., *index), (..., *part)
''',
    "zero_padded": '''\
def zero_padded(x, padding):
    """Zeros around the places of each channel."""
    return np.pad(x, [(0, 0), (0, 0), *((p, p) for p in padding)])
''',
    "convolution": '''\
def convolution(x, w, stride, padding):
    """Each window of x times each filter, summed; filters are not flipped."""
    x, size = zero_padded(x, padding), w.shape[2:]
    counts = count_windows(x, size, stride)
    y = np.empty((len(x), len(w), *counts), x.dtype)
    for index, part in windows(counts, size, stride):
        y[index] = x[part].reshape(len(x), -1) @ w.reshape(len(w), -1).T
    return y
''',
    "convolution_to_input": '''\
def convolution_to_input(g, w, x, stride, padding):
    """What a convolution sends back to x: each window gets the filters, times what they are sent."""
    dx = np.zeros_like(zero_padded(x, padding))
    for index, part in windows(g.shape[2:], w.shape[2:], stride):
        dx[part] += (g[index] @ w.reshape(len(w), -1)).reshape(dx[part].shape)
    return dx[(..., *(slice(p, p + n) for p, n in zip(padding, x.shape[2:])))]
''',
    "convolution_to_filters": '''\
def convolution_to_filters(g, x, w, stride, padding):
    """What a convolution sends back to its filters: the windows of x, times what they made is sent."""
    x, dw = zero_padded(x, padding), np.zeros_like(w)
    for index, part in windows(g.shape[2:], w.shape[2:], stride):
        dw += (g[index].T @ x[part].reshape(len(x), -1)).reshape(w.shape)
    return dw
''',
    "average_pool": '''\
def average_pool(x, size, stride):
    """The mean of each window."""
    counts = count_windows(x, size, stride)
    y = np.empty((*x.shape[:2], *counts), x.dtype)
    for index, part in windows(counts, size, stride):
        y[index] = x[part].reshape(*x.shape[:2], -1).mean(axis=-1)
    return y
''',
    "average_pool_back": '''\
def average_pool_back(g, x, size, stride):
    """To each entry of a window an equal share of what is sent to its mean."""
    dx = np.zeros_like(x)
    for index, part in windows(g.shape[2:], size, stride):
        share = g[index] / np.prod(size)
        dx[part] += share.reshape(*x.shape[:2], *[1] * len(size))
    return dx
''',
    "max_pool": '''\
def max_pool(x, size, stride):
    """The largest entry of each window."""
    counts = count_windows(x, size, stride)
    y = np.empty((*x.shape[:2], *counts), x.dtype)
    for index, part in windows(counts, size, stride):
        y[index] = x[part].reshape(*x.shape[:2], -1).max(axis=-1)
    return y
''',
    "max_pool_back": '''\
def max_pool_back(g, x, size, stride, tie="first"):
    """To the largest entry of each window; of several to the first, to all, or to each an even share."""
    dx = np.zeros_like(x)
    for index, part in windows(g.shape[2:], size, stride):
        window = x[part].reshape(*x.shape[:2], -1)
        share = window == window.max(axis=-1, keepdims=True)
        if tie == "first":
            share = share & (np.cumsum(share, axis=-1) == 1)
        elif tie == "even":
            share = share / share.sum(axis=-1, keepdims=True)
        dx[part] += (share * g[index][..., None]).reshape(x[part].shape)
    return dx
''',
    "special": "from scipy import special\n",
    "erf": "from scipy.special import erf\n",
    "erfc": "from scipy.special import erfc\n",
}
"""Imports and functions that the printed module brings along where it names them."""

TINY = "1e-300"

SCALARS: Mapping[str, Scalar] = {
    "add": Scalar("{a} + {b}", ("1", "1")),
    "subtract": Scalar("{a} - {b}", ("1", "-1")),
    "multiply": Scalar("{a} * {b}", ("{B}", "{A}")),
    "divide": Scalar("{a} / {b}", ("1 / {b}", "-{a} / {b}**2")),
    "power": Scalar("{a}**{b}", ("{b} * {a}**({B} - 1)", "{y} * np.log({A})")),
    "negative": Scalar("-{a}", ("-1",)),
    "positive": Scalar("+{a}", ("1",)),
    "square": Scalar("{a}**2", ("2 * {a}",)),
    "reciprocal": Scalar("1 / {a}", ("-1 / {a}**2",)),
    "exp": Scalar("np.exp({A})", ("{y}",)),
    "expm1": Scalar("np.expm1({A})", ("np.exp({A})",)),
    "log": Scalar("np.log({A})", ("1 / {a}",)),
    "log1p": Scalar("np.log1p({A})", ("1 / (1 + {A})",)),
    "log2": Scalar("np.log2({A})", ("1 / ({a} * 0.6931471805599453)",)),
    "log10": Scalar("np.log10({A})", ("1 / ({a} * 2.302585092994046)",)),
    "sqrt": Scalar("np.sqrt({A})", ("0.5 / {y}",)),
    "cbrt": Scalar("np.cbrt({A})", ("1 / (3 * {y}**2)",)),
    "sigmoid": Scalar("sigmoid({A})", ("sigmoid({A}) * sigmoid(-{a})",)),
    "softplus": Scalar("np.logaddexp(0, {A})", ("sigmoid({A})",)),
    "tanh": Scalar("np.tanh({A})", ("1 / np.cosh({A})**2",)),
    "sinh": Scalar("np.sinh({A})", ("np.cosh({A})",)),
    "cosh": Scalar("np.cosh({A})", ("np.sinh({A})",)),
    "sin": Scalar("np.sin({A})", ("np.cos({A})",)),
    "cos": Scalar("np.cos({A})", ("-np.sin({A})",)),
    "tan": Scalar("np.tan({A})", ("1 / np.cos({A})**2",)),
    "arcsin": Scalar("np.arcsin({A})", ("1 / np.sqrt((1 - {a}) * (1 + {a}))",)),
    "arccos": Scalar("np.arccos({A})", ("-1 / np.sqrt((1 - {a}) * (1 + {a}))",)),
    "arctan": Scalar("np.arctan({A})", ("1 / (1 + {a}**2)",)),
    "arctan2": Scalar("np.arctan2({A}, {B})", ("{b} / ({a}**2 + {b}**2)", "-{a} / ({a}**2 + {b}**2)")),
    "arcsinh": Scalar("np.arcsinh({A})", ("1 / np.sqrt(1 + {a}**2)",)),
    "arccosh": Scalar("np.arccosh({A})", ("1 / np.sqrt(({A} - 1) * ({A} + 1))",)),
    "arctanh": Scalar("np.arctanh({A})", ("1 / ((1 - {a}) * (1 + {a}))",)),
    "erf": Scalar("erf({A})", ("2 / np.pi**0.5 * np.exp(-{a}**2)",)),
    "erfc": Scalar("erfc({A})", ("-2 / np.pi**0.5 * np.exp(-{a}**2)",)),
    "gamma": Scalar("special.gamma({A})", ("{y} * special.digamma({A})",)),
    "lgamma": Scalar("special.gammaln({A})", ("special.digamma({A})",)),
    "hypot": Scalar("np.hypot({A}, {B})", (f"{{a}} / np.maximum({{y}}, {TINY})", f"{{b}} / np.maximum({{y}}, {TINY})")),
    "sign": Scalar("np.sign({A})", ("0",)),
    "floor": Scalar("np.floor({A})", ("0",)),
    "ceil": Scalar("np.ceil({A})", ("0",)),
}
"""Rows without parameters."""


def scalar(op: str, params: Mapping[str, Any]) -> Scalar | None:
    """How a row that works entry by entry is written; None where nothing is known of it.

    >>> scalar("exp", {}).local, scalar("power_constant", {"exponent": 2.0}).local
    (('{y}',), ('2 * {a}',))
    >>> scalar("max", {"tie": (1.0, 0.0)}).local
    ('{A} >= {B}', '{B} > {A}')
    """
    if op in SCALARS:
        return SCALARS[op]
    return WITH_PARAMETERS[op](params) if op in WITH_PARAMETERS else None


def _number(value: float) -> str:
    return str(int(value)) if float(value).is_integer() else repr(float(value))


def _power(params: Mapping[str, Any]) -> Scalar:
    n = params["exponent"]
    lower = {0.0: "0", 1.0: "1", 2.0: "2 * {a}", -1.0: "-1 / {a}**2", 0.5: "0.5 / np.sqrt({A})"}
    return Scalar(f"{{a}}**{_number(n)}", (lower.get(n, f"{_number(n)} * {{a}}**{_number(n - 1)}"),))


def _wins(first: str, second: str, tie: float) -> str:
    """1 where ``first`` is the larger, the convention's share where both are equal."""
    if tie in (0.0, 1.0):
        return f"{first} {'>=' if tie else '>'} {second}"
    return f"({first} > {second}) + {tie} * ({first} == {second})"


def _maximum(params: Mapping[str, Any]) -> Scalar:
    tie = params["tie"]
    return Scalar("np.maximum({A}, {B})", (_wins("{A}", "{B}", tie[0]), _wins("{B}", "{A}", tie[1])))


def _minimum(params: Mapping[str, Any]) -> Scalar:
    tie = params["tie"]
    return Scalar("np.minimum({A}, {B})", (_wins("{B}", "{A}", tie[0]), _wins("{A}", "{B}", tie[1])))


def _relu(params: Mapping[str, Any]) -> Scalar:
    return Scalar("np.maximum({A}, 0)", (_wins("{A}", "0", params["tie"][0]),))


def _absolute(params: Mapping[str, Any]) -> Scalar:
    above, below = params["tie"]
    if above == below:
        return Scalar("np.abs({A})", ("np.sign({A})",))
    return Scalar("np.abs({A})", (f"({_wins('{A}', '0', above)}) - 1.0 * ({_wins('0', '{A}', below)})",))


def _sided(above: str, below: str, tie: Sequence[float]) -> str:
    """One local derivative above 0 and another below, and at 0 so much of each as the convention says."""
    if tuple(tie) in ((0.0, 1.0), (1.0, 0.0)):
        return f"np.where({{A}} {'>=' if tie[0] else '>'} 0, {above}, {below})"
    return f"np.where({{A}} == 0, {tie[0]} * {above} + {tie[1]} * {below}, np.where({{A}} > 0, {above}, {below}))"


def _leaky_relu(params: Mapping[str, Any]) -> Scalar:
    slope = _number(params["slope"])
    return Scalar(f"np.where({{A}} > 0, {{A}}, {slope} * {{a}})", (_sided("1.0", slope, params["tie"]),))


def _elu(params: Mapping[str, Any]) -> Scalar:
    alpha = _number(params["alpha"])
    below = "np.exp(np.minimum({A}, 0))" if alpha == "1" else f"{alpha} * np.exp(np.minimum({{A}}, 0))"
    forward = "np.expm1(np.minimum({A}, 0))" if alpha == "1" else f"{alpha} * np.expm1(np.minimum({{A}}, 0))"
    return Scalar(f"np.where({{A}} > 0, {{A}}, {forward})", (_sided("1.0", below, params["tie"]),))


def _clip(params: Mapping[str, Any]) -> Scalar:
    low, high, inside = _number(params["lo"]), _number(params["hi"]), params["tie"][0]
    sign = "<=" if inside == 1.0 else "<"
    local = f"({low} {sign} {{A}}) * ({{A}} {sign} {high})"
    if inside not in (0.0, 1.0):
        local = f"{local} + {inside} * (({{A}} == {low}) | ({{A}} == {high}))"
    return Scalar(f"np.clip({{A}}, {low}, {high})", (local,))


def _selection(sign: str) -> Callable[[Mapping[str, Any]], Scalar]:
    def row(params: Mapping[str, Any]) -> Scalar:
        first, second = params["tie"]
        chosen = (_wins("{A}", "{B}", first), _wins("{B}", "{A}", second))
        return Scalar(f"np.where({{A}} {sign} {{B}}, {{C}}, {{D}})", ("0", "0", *chosen))

    return row


WITH_PARAMETERS: Mapping[str, Callable[[Mapping[str, Any]], Scalar]] = {
    "power_constant": _power, "max": _maximum, "min": _minimum, "relu": _relu, "abs": _absolute,
    "leaky_relu": _leaky_relu, "elu": _elu, "clip": _clip, "where": _selection(">"), "where_or_equal": _selection(">="),
}  # fmt: skip
"""Rows whose derivative depends on an exponent, or on the convention at a tie."""


# --------------------------------------------------------------------------------------------------- structural rows


def _turned(text: str, rank: int) -> str:
    """The transpose of a matrix, or of each matrix of a stack."""
    if rank == 2 and text.endswith(".T") and held(text) == text:
        return text.removesuffix(".T")
    return f"{held(text)}.T" if rank == 2 else f"np.swapaxes({text}, -1, -2)"


def _matmul_back(p: Place) -> str:
    a, b, g = p.a, p.b, held(p.g)
    ranks = (len(p.shapes[0]), len(p.shapes[1]))
    if ranks == (1, 1):
        return f"{g} * {held((b, a)[p.which])}"
    if ranks[1] == 1:  # matrices times a vector
        text = f"{g}[..., None] * {held(b)}" if ranks[0] > 2 or p.which == 0 else f"{_turned(a, 2)} @ {g}"
        if p.which == 0:
            return f"np.outer({p.g}, {b})" if ranks[0] == 2 else text
        return text if ranks[0] == 2 else f"({g}[..., None] * {held(a)}).sum(axis={axes_text(range(ranks[0] - 1))})"
    if ranks[0] == 1:  # a vector times matrices
        if p.which == 0:
            text, shape = f"({held(b)} @ {g}[..., None])[..., 0]", (*p.shape[:-1], p.shapes[0][0])
            return f"{held(b)} @ {g}" if ranks[1] == 2 else summed_to(text, shape, p.shapes[0])
        return f"np.outer({a}, {p.g})" if ranks[1] == 2 else f"{held(a)}[:, None] * {g}[..., None, :]"
    if p.which == 0:
        text, shape = f"{g} @ {_turned(b, ranks[1])}", (*p.shape[:-1], p.shapes[0][-1])
    else:
        text, shape = f"{_turned(a, ranks[0])} @ {g}", (*p.shape[:-2], p.shapes[1][-2], p.shape[-1])
    return summed_to(text, shape, p.shapes[p.which])


def _dot_back(p: Place) -> str:
    if not p.shapes[0] or not p.shapes[1]:
        text = f"{held(p.g)} * {held(p.operands[1 - p.which])}"
        return summed_to(text, p.shape, p.shapes[p.which])
    ranks = (len(p.shapes[0]), len(p.shapes[1]))
    if max(ranks) <= 2:
        return _matmul_back(p)
    of_a = tuple(range(ranks[0] - 1))  # the axes of the value that came from a; those that came from b follow
    if ranks[1] == 1:
        return f"np.tensordot({p.g}, {p.a}, axes={len(of_a)})" if p.which else f"{held(p.g)}[..., None] * {held(p.b)}"
    if p.which == 0:
        of_b = tuple(range(ranks[0] - 1, len(p.shape)))
        from_b = (*range(ranks[1] - 2), ranks[1] - 1)
        return f"np.tensordot({p.g}, {p.b}, axes=({of_b}, {from_b}))"
    return f"np.moveaxis(np.tensordot({p.a}, {p.g}, axes=({of_a}, {of_a})), 0, -2)"


def _outer_back(p: Place) -> str:
    a, b = (text if len(shape) == 1 else f"np.ravel({text})" for text, shape in zip(p.operands, p.shapes, strict=True))
    text = f"{held(p.g)} @ {held(b)}" if p.which == 0 else f"{held(a)} @ {held(p.g)}"
    return text if len(p.shapes[p.which]) == 1 else f"({text}).reshape({entries(p.shapes[p.which])})"


def _count(p: Place) -> int:
    size = 1
    for axis in p.axes:
        size *= p.shapes[0][axis]
    return size


def _centred(p: Place) -> str:
    return f"({p.a} - np.mean({p.a}{p.kept}))"


def _var_back(p: Place) -> str:
    count = _count(p) - p.params.get("ddof", 0)
    return f"{_number(2)} / {_number(count)} * {_centred(p)} * {held(p.with_kept_axes(p.g))}"


def _std_back(p: Place) -> str:
    count = _count(p) - p.params.get("ddof", 0)
    below = held(p.with_kept_axes(f"np.maximum({p.y}, {TINY})"))
    return f"{_centred(p)} / ({_number(count)} * {below}) * {held(p.with_kept_axes(p.g))}"


def _norm_back(p: Place) -> str:
    return f"{held(p.a)} / {held(p.with_kept_axes(f'np.maximum({p.y}, {TINY})'))} * {held(p.with_kept_axes(p.g))}"


def _norm(p: Place) -> str:
    return f"np.sqrt(np.sum(np.square({p.a}){p.options('axis', 'keepdims')}))"


def _extremum_back(p: Place) -> str:
    value = p.with_kept_axes(p.y)
    wins = f"{held(p.a)} == {held(value)}"
    tie = p.params.get("tie", "first")
    g = held(p.with_kept_axes(p.g))
    if tie == "first":
        return f"first_of({wins}, axis={p.axes}) * {g}"
    if tie == "all":
        return f"({wins}) * {g}"
    return f"({wins}) / np.sum({wins}, axis={p.axes}, keepdims=True) * {g}"


def _transpose_back(p: Place) -> str:
    axes = p.params.get("axes")
    if axes is None:
        return f"{held(p.g)}.T"
    order = sorted(range(len(axes)), key=lambda i: axes[i])
    return f"np.transpose({p.g}, {tuple(order)})"


def _part(axis: int, rank: int, part: str) -> str:
    """One place or slice along an axis, in square brackets."""
    del rank
    return f"[{', '.join([':'] * axis + [part])}]"


def _one_axis(value: Any, default: int = 0) -> int:
    return default if value is None else int(value[0] if isinstance(value, tuple) else value)


def _concatenate_back(p: Place) -> str:
    axis = _one_axis(p.params.get("axis"))
    start = sum(shape[axis] for shape in p.shapes[: p.which])
    stop = start + p.shapes[p.which][axis]
    part = f"{start or ''}:{stop if stop < p.shape[axis] else ''}"
    return f"{held(p.g)}{_part(axis, len(p.shape), part)}"


def _pad_back(p: Place) -> str:
    parts = []
    widths = p.params["pad_width"]
    pairs = _pairs(widths, len(p.shapes[0]))
    for (before, _), size in zip(pairs, p.shapes[0], strict=True):
        parts.append(f"{before or ''}:{before + size}")
    return f"{held(p.g)}[{', '.join(parts)}]"


def _pairs(widths: Any, rank: int) -> list[tuple[int, int]]:
    """Pad widths of every axis, before and after, from any of NumPy's forms."""
    if isinstance(widths, int):
        return [(widths, widths)] * rank
    if all(isinstance(width, int) for width in widths):
        both = widths if len(widths) == 2 else (widths[0], widths[0])
        return [(both[0], both[1])] * rank
    rows = [w if len(w) == 2 else (w[0], w[0]) for w in widths]
    return rows * rank if len(rows) == 1 else rows


def _roll_back(p: Place) -> str:
    shift = p.params["shift"]
    back = tuple(-s for s in shift) if isinstance(shift, tuple) else -shift
    return f"np.roll({p.g}, {back}{p.options('axis')})"


def _einsum_back(p: Place) -> str:
    subscripts = p.params["subscripts"].replace(" ", "")
    given, arrow, result = subscripts.partition("->")
    terms = given.split(",")
    if not arrow:
        counts = {letter: given.count(letter) for letter in given if letter != ","}
        result = "".join(sorted(letter for letter, count in counts.items() if count == 1))
    own, diagonals = _told_apart(terms[p.which], given + result)
    others = [(term, text) for i, (term, text) in enumerate(zip(terms, p.operands, strict=True)) if i != p.which]
    known = set(result).union(*(set(term) for term, _ in others))
    sizes = dict(zip(own, p.shapes[p.which], strict=True))
    ones = [(letter, f"np.ones({sizes[letter]})") for letter in own if letter not in known | {d[1] for d in diagonals}]
    parts = [(result, p.g), *others, *ones, *((pair, f"np.eye({sizes[pair[1]]})") for pair in diagonals)]
    texts = ", ".join(text for _, text in parts)
    return f'np.einsum("{",".join(term for term, _ in parts)}->{own}", {texts})'


def _told_apart(term: str, taken: str) -> tuple[str, list[str]]:
    """An operand whose axes all have letters of their own, and the pairs of letters that mean the same axis."""
    free = iter(sorted(set("abcdefghijklmnopqrstuvwxyz") - set(taken)))
    own, pairs = "", []
    for letter in term:
        if letter in own:
            other = next(free)
            pairs.append(letter + other)
            own += other
        else:
            own += letter
    return own, pairs


def _cumsum_back(p: Place) -> str:
    axis = p.params.get("axis")
    if axis is None:
        return f"np.cumsum({held(p.g)}[::-1])[::-1].reshape({entries(p.shapes[0])})"
    where = _one_axis(axis)
    return f"np.flip(np.cumsum(np.flip({p.g}, {where}), axis={where}), {where})"


def _softmax_back(p: Place) -> str:
    return f"{held(p.y)} * ({p.g} - np.sum({held(p.g)} * {held(p.y)}{p.kept or ', keepdims=True'}))"


def _log_softmax_back(p: Place) -> str:
    return f"{p.g} - np.exp({p.y}) * np.sum({p.g}{p.kept or ', keepdims=True'})"


def _inverse_back(p: Place) -> str:
    turned = _turned(p.y, len(p.shape))
    return f"-{turned} @ {held(p.g)} @ {turned}"


def _for_each_matrix(p: Place) -> str:
    """The upstream gradient of a number for each matrix, to be multiplied with the matrices."""
    return held(p.g) if not p.shape else f"{held(p.g)}[..., None, None]"


def _trace_back(p: Place) -> str:
    rows, columns = p.shapes[0]
    return f"{held(p.g, 2)} * np.eye({rows}{'' if columns == rows else f', {columns}'})"


def _diag_back(p: Place) -> str:
    if len(p.shapes[0]) == 1:
        return f"np.diagonal({p.g})"
    rows, columns = p.shapes[0]
    if rows == columns:
        return f"np.diag({p.g})"
    return f"np.eye({rows}, {columns}) * {held(p.g)}{'[:, None]' if rows < columns else ''}"


def _solve_back(p: Place) -> str:
    """The transposed systems send it to the right-hand sides, and their outer products with the solution to a."""
    turned, of_vectors = _turned(p.a, len(p.shapes[0])), len(p.shapes[1]) == 1
    if of_vectors and len(p.shapes[0]) == 2:
        sent = f"np.linalg.solve({turned}, {p.g})"
        return sent if p.which else f"-np.outer({sent}, {p.y})"
    column = "[..., None]" if of_vectors else ""
    sent = f"np.linalg.solve({turned}, {held(p.g) if column else p.g}{column})"
    if p.which:
        return summed_to(f"{sent}[..., 0]" if column else sent, p.shape, p.shapes[1])
    x = f"{held(p.y)}[..., None, :]" if of_vectors else _turned(p.y, len(p.shape))
    n = p.shapes[0][-1]
    return summed_to(f"-{sent} @ {x}", (*p.shape[: -1 if of_vectors else -2], n, n), p.shapes[0])


def _each_axis(p: Place, name: str, default: int) -> tuple[int, ...]:
    """A parameter of windows as one number for each axis of places."""
    value = p.params.get(name)
    value = default if value is None else value
    return value if isinstance(value, tuple) else (value,) * (len(p.shapes[0]) - 2)


def _steps(p: Place) -> str:
    return f", stride={_each_axis(p, 'stride', 1)}, padding={_each_axis(p, 'padding', 0)}"


def _convolution_back(p: Place) -> str:
    x, w = p.operands
    if p.which == 0:
        return f"convolution_to_input({p.g}, {w}, {x}{_steps(p)})"
    return f"convolution_to_filters({p.g}, {x}, {w}{_steps(p)})"


def _pool_windows(p: Place) -> str:
    size = _each_axis(p, "size", 1)
    stride = size if p.params.get("stride") is None else _each_axis(p, "stride", 1)
    return f", size={size}, stride={stride}"


def _max_pool_back(p: Place) -> str:
    tie = p.params.get("tie", "first")
    convention = "" if tie == "first" else f', tie="{tie}"'
    return f"max_pool_back({p.g}, {p.a}{_pool_windows(p)}{convention})"


def _reshaped(p: Place) -> str:
    return f"{held(p.g)}.reshape({entries(p.shapes[0])})"


def _call(name: str, *options: str) -> Callable[[Place], str]:
    return lambda p: f"{name}({p.a}{p.options(*options)})"


def _spread(p: Place) -> str:
    return p.with_kept_axes(p.g)


STRUCTURAL: Mapping[str, Structural] = {
    "matmul": Structural(lambda p: f"{held(p.a, 2)} @ {held(p.b, 3)}", _matmul_back, "times the other factor, turned"),
    "dot": Structural(lambda p: f"np.dot({p.a}, {p.b})", _dot_back, "times the other factor, turned"),
    "outer": Structural(lambda p: f"np.outer({p.a}, {p.b})", _outer_back, "times the other factor"),
    "sum": Structural(_call("np.sum", "axis", "keepdims"), _spread, "a sum hands it to every term", spreads=True),
    "mean": Structural(
        _call("np.mean", "axis", "keepdims"), lambda p: f"{held(p.with_kept_axes(p.g), 2)} / {_count(p)}",
        "a mean hands each term its share", spreads=True,
    ),
    "prod": Structural(
        _call("np.prod", "axis", "keepdims"),
        lambda p: f"product_of_others({p.a}, axis={p.axes}) * {held(p.with_kept_axes(p.g))}",
        "the product of the others",
    ),
    "var": Structural(_call("np.var", "axis", "keepdims", "ddof"), _var_back, "2 / n times the distance from the mean"),
    "std": Structural(_call("np.std", "axis", "keepdims", "ddof"), _std_back, "the distance from the mean / (n std)"),
    "norm": Structural(_norm, _norm_back, "the unit vector"),
    "amax": Structural(_call("np.max", "axis", "keepdims"), _extremum_back, "to the winner"),
    "amin": Structural(_call("np.min", "axis", "keepdims"), _extremum_back, "to the winner"),
    "transpose": Structural(
        lambda p: f"{held(p.a)}.T" if p.params.get("axes") is None else f"np.transpose({p.a}, {p.params['axes']})",
        _transpose_back, "turned back",
    ),
    "reshape": Structural(lambda p: f"np.reshape({p.a}, {entries(p.shape)})", _reshaped, "back to its shape"),
    "ravel": Structural(lambda p: f"np.ravel({p.a})", _reshaped, "back to its shape"),
    "expand_dims": Structural(lambda p: f"np.reshape({p.a}, {entries(p.shape)})", _reshaped, "back to its shape"),
    "squeeze": Structural(lambda p: f"np.reshape({p.a}, {entries(p.shape)})", _reshaped, "back to its shape"),
    "broadcast_to": Structural(
        lambda p: f"np.broadcast_to({p.a}, {entries(p.shape)})", lambda p: summed_to(p.g, p.shape, p.shapes[0]),
        "summed over the repeated axes",
    ),
    "stack": Structural(
        lambda p: f"np.stack([{', '.join(p.operands)}]{p.options('axis')})",
        lambda p: f"{held(p.g)}{_part(_one_axis(p.params.get('axis')), len(p.shape), str(p.which))}", "its own part",
    ),
    "concatenate": Structural(
        lambda p: f"np.concatenate([{', '.join(p.operands)}]{p.options('axis')})", _concatenate_back, "its own part",
    ),
    "pad": Structural(lambda p: f"np.pad({p.a}, {p.params['pad_width']})", _pad_back, "without the padding"),
    "flip": Structural(_call("np.flip", "axis"), lambda p: f"np.flip({p.g}{p.options('axis')})", "flipped back"),
    "roll": Structural(lambda p: f"np.roll({p.a}, {p.params['shift']}{p.options('axis')})", _roll_back, "rolled back"),
    "einsum": Structural(
        lambda p: f'np.einsum("{p.params["subscripts"]}", {", ".join(p.operands)})', _einsum_back,
        "the other factors, summed over their own axes",
    ),
    "cumsum": Structural(_call("np.cumsum", "axis"), _cumsum_back, "summed from the end"),
    "cumprod": Structural(
        _call("np.cumprod", "axis"),
        lambda p: f"cumprod_back({p.a}, {p.g}, axis={p.params['axis'][0] if p.params.get('axis') else None})",
        "each product without this factor",
    ),
    "softmax": Structural(_call("softmax", "axis"), _softmax_back, "y * (dy - sum(dy * y))"),
    "log_softmax": Structural(
        lambda p: f"{held(p.a)} - logsumexp({p.a}{p.kept or ', keepdims=True'})", _log_softmax_back,
        "dy - softmax * sum(dy)",
    ),
    "logsumexp": Structural(
        _call("logsumexp", "axis", "keepdims"),
        lambda p: f"softmax({p.a}{p.options('axis')}) * {held(p.with_kept_axes(p.g))}", "its gradient is softmax",
    ),
    "trace": Structural(lambda p: f"np.trace({p.a})", _trace_back, "to the diagonal"),
    "diag": Structural(lambda p: f"np.diag({p.a})", _diag_back, "from one diagonal to the other"),
    "inverse": Structural(lambda p: f"np.linalg.inv({p.a})", _inverse_back, "the transposed inverse on both sides"),
    "det": Structural(
        lambda p: f"np.linalg.det({p.a})", lambda p: f"{_for_each_matrix(p)} * cofactors({p.a})", "the cofactors",
    ),
    "logabsdet": Structural(
        lambda p: f"np.linalg.slogdet({p.a})[1]",
        lambda p: f"{_for_each_matrix(p)} * {_turned(f'np.linalg.inv({p.a})', len(p.shapes[0]))}",
        "the transposed inverse",
    ),
    "solve": Structural(lambda p: f"np.linalg.solve({p.a}, {p.b})", _solve_back, "the transposed system"),
    "cholesky": Structural(
        lambda p: f"np.linalg.cholesky({p.a})", lambda p: f"cholesky_back({p.y}, {p.g})",
        "to the lower triangle, the only part that is read",
    ),
    **dict.fromkeys(("conv1d", "conv2d"), Structural(
        lambda p: f"convolution({p.a}, {p.b}{_steps(p)})", _convolution_back, "window by window",
    )),
    "avg_pool": Structural(
        lambda p: f"average_pool({p.a}{_pool_windows(p)})",
        lambda p: f"average_pool_back({p.g}, {p.a}{_pool_windows(p)})", "an equal share for all of a window",
    ),
    "max_pool": Structural(
        lambda p: f"max_pool({p.a}{_pool_windows(p)})", _max_pool_back, "to the winner of each window",
    ),
}  # fmt: skip
"""Rows that are no work of single entries; indices have a line of their own, in :mod:`verify.emitting.passes`."""

INDEXED = ("index", "gather")
"""Rows that pick entries: the gradient is written into the places that were picked."""


def picked(index: Sequence[Any]) -> str:
    """An index in square brackets.

    >>> picked((0, slice(1, None)))
    '[0, 1:]'
    """
    return index_text(index)


def has_template(op: str) -> bool:
    """Whether a row can be written out.

    >>> has_template("exp"), has_template("fft")
    (True, False)
    """
    return op in SCALARS or op in WITH_PARAMETERS or op in STRUCTURAL or op in INDEXED

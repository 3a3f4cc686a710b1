"""How a row is written as plain NumPy, with its derivative by hand: what ``verify emit`` prints.

Written down a second time and on purpose, beside the VJPs and not from them; a test holds what is printed against the
certified reference. ``{a}`` to ``{d}`` stand for operands that hold together, ``{A}`` to ``{D}`` for arguments of a
call, ``{y}`` for the op's own value.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from verify.ops.texts import axes_text, entries, held

Shape = tuple[int, ...]

TINY = "1e-300"
"""What a length is divided by at least."""


@dataclass(frozen=True, slots=True)
class Entrywise:
    """A row that works entry by entry: its value, and its local derivative by each operand."""

    forward: str
    local: tuple[str, ...]
    levels: tuple[int, ...] = ()
    """For an operator, how tightly each operand must hold together; as tightly as a name if left out."""


def entrywise(forward: str, *local: str, levels: tuple[int, ...] = ()) -> Entrywise:
    """Value and local derivatives of a row without parameters.

    >>> entrywise("np.exp({A})", "{y}").local
    ('{y}',)
    """
    return Entrywise(forward, local, levels)


@dataclass(frozen=True, slots=True)
class Place:
    """What a row of whole arrays is written with: texts of its operands, value and upstream gradient, their shapes."""

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

    @property
    def count(self) -> int:
        """How many entries are taken together."""
        return math.prod(self.shapes[0][axis] for axis in self.axes)

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
    def spread(self) -> str:
        """The upstream gradient of a reduction, held, so that it broadcasts against what was reduced."""
        return held(self.with_kept_axes(self.g))

    @property
    def kept(self) -> str:
        """Arguments that reduce the same axes and keep them."""
        axis = self.params.get("axis")
        return "" if axis is None else f", axis={axes_text(axis)}, keepdims=True"


@dataclass(frozen=True, slots=True)
class Whole:
    """A row that moves, sums or multiplies arrays: how it is written, and its upstream gradient sent back."""

    forward: Callable[[Place], str]
    back: Callable[[Place], str]
    rule: str
    """The rule in words."""
    spreads: bool = False
    """Whether what is sent back need only broadcast to the operand's shape."""


@dataclass(frozen=True, slots=True)
class Picked:
    """A row that picks entries: the gradient is written into the places that they were picked from."""


Code = Entrywise | Whole | Picked | Callable[[Mapping[str, Any]], Entrywise]
"""What a row may have; a function makes it of the row's parameters and convention."""


def entrywise_code(code: Entrywise | Callable[[Mapping[str, Any]], Entrywise], params: Mapping[str, Any]) -> Entrywise:
    """How a row that works entry by entry is written with some parameters.

    >>> from verify.ops import OPS
    >>> entrywise_code(OPS["exp"].code, {}).local, entrywise_code(OPS["power_constant"].code, {"exponent": 2.0}).local
    (('{y}',), ('2 * {a}',))
    >>> entrywise_code(OPS["max"].code, {"tie": (1.0, 0.0)}).local
    ('{A} >= {B}', '{B} > {A}')
    """
    return code if isinstance(code, Entrywise) else code(params)


def call(name: str, *options: str) -> Callable[[Place], str]:
    """A call of a function of one array, with some of the row's parameters.

    >>> call("np.sum", "axis")(Place(("x",), str, "", ((2, 3),), (2,), {"axis": (1,)}))
    'np.sum(x, axis=1)'
    """
    return lambda p: f"{name}({p.a}{p.options(*options)})"


def reshaped_back(p: Place) -> str:
    """The upstream gradient in the operand's shape.

    >>> reshaped_back(Place(("x",), str, "dy", ((2, 3),), (6,), {}))
    'dy.reshape((2, 3))'
    """
    return f"{held(p.g)}.reshape({entries(p.shapes[0])})"


def one_axis(value: Any, default: int = 0) -> int:
    """The axis that a parameter names, alone or in a tuple.

    >>> one_axis((1,)), one_axis(None)
    (1, 0)
    """
    return default if value is None else int(value[0] if isinstance(value, tuple) else value)


def number(value: float) -> str:
    """A number as it is written by hand.

    >>> number(2.0), number(0.1), number(-0.5), number(1e300)
    ('2', '0.1', '-0.5', '1e+300')
    """
    return str(int(value)) if float(value).is_integer() and abs(value) < 1e15 else repr(float(value))


def turned(text: str, rank: int) -> str:
    """The transpose of a matrix, or of each matrix of a stack.

    >>> turned("A", 2), turned("A.T", 2), turned("A", 3)
    ('A.T', 'A', 'np.swapaxes(A, -1, -2)')
    """
    if rank == 2 and text.endswith(".T") and held(text) == text:
        return text.removesuffix(".T")
    return f"{held(text)}.T" if rank == 2 else f"np.swapaxes({text}, -1, -2)"

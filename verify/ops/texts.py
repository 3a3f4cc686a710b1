"""Pieces of Python as text, put together with no more brackets than they need."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Sequence

SUM, PRODUCT, SIGN, POWER, ATOM = 1, 2, 3, 4, 5
"""How tightly a piece holds together; comparisons hold less than all of these."""

_LEVELS = {ast.Add: SUM, ast.Sub: SUM, ast.Pow: POWER}


def level(text: str) -> int:
    """How tightly an expression holds together.

    >>> level("a + b"), level("a @ b"), level("-a"), level("a**2"), level("f(a + b)"), level("a > b")
    (1, 2, 3, 4, 5, 0)
    """
    tree = ast.parse(text, mode="eval").body
    if isinstance(tree, ast.BinOp):
        return _LEVELS.get(type(tree.op), PRODUCT)
    if isinstance(tree, ast.UnaryOp):
        return SIGN
    return 0 if isinstance(tree, ast.Compare | ast.BoolOp | ast.IfExp | ast.Lambda | ast.Tuple) else ATOM


def held(text: str, least: int = ATOM) -> str:
    """The text, in brackets unless it holds together at least so tightly.

    >>> held("a + b"), held("a + b", SUM), held("a[0]")
    ('(a + b)', 'a + b', 'a[0]')
    """
    return text if level(text) >= least else f"({text})"


def times(factor: str, upstream: str) -> str:
    """A local derivative times an upstream gradient.

    >>> times("1", "df"), times("-1", "df"), times("a + b", "df"), times("2 * a", "dq - dp")
    ('df', '-df', '(a + b) * df', '2 * a * (dq - dp)')
    """
    if factor == "1":
        return upstream
    if factor == "-1":
        return upstream[1:] if upstream.startswith("-") and level(upstream) >= SIGN else f"-{held(upstream, SIGN)}"
    if factor == "0":
        return "0.0"
    return f"{held(factor, PRODUCT)} * {held(upstream, SIGN)}"


def product(factors: Iterable[str]) -> str:
    """Local derivatives along a path, in order; signs are drawn to the front.

    >>> product(["invden", "1"]), product(["-1", "b", "-1"]), product([]), product(["-1 / a**2", "-1", "exp(a)"])
    ('invden', 'b', '1', '1 / a**2 * exp(a)')
    >>> product(["-1", "a > b"]), product(["a > b"])
    ('-1.0 * (a > b)', 'a > b')
    """
    negative, kept = False, []
    for factor in factors:
        if factor.startswith("-") and level(factor) in (PRODUCT, SIGN):
            negative, factor = not negative, factor[1:]  # noqa: PLW2901 - the sign is set aside
        if factor != "1":
            kept.append(factor)
    if "0" in kept:
        return "0"
    if not kept:
        return "-1" if negative else "1"
    if len(kept) == 1 and not negative:
        return kept[0]
    text = " * ".join(held(factor, PRODUCT if i == 0 else SIGN) for i, factor in enumerate(kept))
    if negative and level(kept[0]) == 0:  # NumPy has no negative of what is true or false
        return f"-1.0 * {text}"
    return f"-{text}" if negative else text


def entries(shape: Sequence[int]) -> str:
    """A shape as Python writes it.

    >>> entries((2,)), entries((2, 3))
    ('(2,)', '(2, 3)')
    """
    return str(tuple(shape))


def axes_text(axes: Sequence[int]) -> str:
    """Axes as an argument: one by its number.

    >>> axes_text((0,)), axes_text((0, 2))
    ('0', '(0, 2)')
    """
    return str(axes[0]) if len(axes) == 1 else str(tuple(axes))


def summed_to(text: str, shape: Sequence[int], wanted: Sequence[int]) -> str:
    """A gradient of some shape summed over the axes along which an operand was repeated.

    >>> summed_to("dz", (5, 3), (3,)), summed_to("dz", (5, 3), (5, 1)), summed_to("2 * dz", (3,), ())
    ('dz.sum(axis=0)', 'dz.sum(axis=1, keepdims=True)', '(2 * dz).sum()')
    """
    front = len(shape) - len(wanted)
    kept = [i for i in range(front, len(shape)) if wanted[i - front] == 1 and shape[i] != 1]
    if not wanted:
        return f"{held(text)}.sum()" if shape else text
    if front:
        text = f"{held(text)}.sum(axis={axes_text(range(front))})"
    if kept:
        text = f"{held(text)}.sum(axis={axes_text([i - front for i in kept])}, keepdims=True)"
    return text


_VIEWS = ("transpose", "swapaxes", "flip", "reshape", "broadcast_to", "ravel", "diagonal")


def may_share(text: str) -> bool:
    """Whether the value of an expression may share its memory with another array.

    >>> [may_share(text) for text in ("df", "df.T", "df[0]", "df.reshape((2, 3))", "np.flip(df)")]
    [True, True, True, True, True]
    >>> may_share("2 * df"), may_share("df.sum(axis=0)"), may_share("df @ X.T")
    (False, False, False)
    """
    tree = ast.parse(text, mode="eval").body
    if isinstance(tree, ast.Call):
        return isinstance(tree.func, ast.Attribute) and tree.func.attr in _VIEWS
    return isinstance(tree, ast.Name | ast.Attribute | ast.Subscript)


def index_text(index: Sequence[object]) -> str:
    """An index in square brackets.

    >>> index_text((0, slice(1, None))), index_text((slice(None), (0, 2)))
    ('[0, 1:]', '[:, [0, 2]]')
    """
    return f"[{', '.join(map(_part_text, index))}]"


def _part_text(part: object) -> str:
    if isinstance(part, slice):
        bounds = [part.start, part.stop, *([] if part.step is None else [part.step])]
        return ":".join("" if bound is None else str(bound) for bound in bounds)
    return "..." if part is Ellipsis else str(list(part) if isinstance(part, tuple) else part)

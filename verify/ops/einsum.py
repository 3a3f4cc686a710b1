"""Sums of products by subscripts: ``einsum("ij,jk->ik", a, b)``."""

from __future__ import annotations

import math
import string
from collections.abc import Sequence
from typing import Any

import numpy as np

from verify.errors import ShapeError
from verify.numbers.ball_math import ONE, ZERO
from verify.ops.axes import same_points
from verify.ops.code import Place, Whole
from verify.ops.row import Op, Shape

MOST_OPERANDS = 16
"""Operands of one einsum: more are a typing mistake, or a product to be split."""


def parsed(subscripts: str, count: int) -> tuple[list[str], str]:
    """The subscripts of each operand and of the result. Raises ShapeError for what NumPy would not read.

    >>> parsed("ij, jk", 2)
    (['ij', 'jk'], 'ik')
    """
    text = subscripts.replace(" ", "")
    if "." in text:
        raise ShapeError(f"the subscripts {subscripts!r} have '...', which is not supported; give every axis a letter")
    for wrong in (part for part in text.replace("->", ",", 1) if part not in string.ascii_letters + ","):
        raise ShapeError(f"the subscripts {subscripts!r} have {wrong!r}; write letters, commas and one '->'")
    left, arrow, result = text.partition("->")
    operands = left.split(",")
    if "," in result:
        raise ShapeError(f"the subscripts {subscripts!r} have a ',' behind '->'; there is one result")
    if len(operands) != count:
        raise ShapeError(f"the subscripts {subscripts!r} name {len(operands)} operands, got {count}")
    if count > MOST_OPERANDS:
        raise ShapeError(f"einsum takes up to {MOST_OPERANDS} operands, got {count}")
    if not arrow:  # NumPy's rule: what occurs once, in alphabetical order
        result = "".join(sorted(letter for letter in set(left) - {","} if left.count(letter) == 1))
    for letter in result:
        if letter not in left:
            raise ShapeError(f"the subscripts {subscripts!r} have {letter!r} in the result, but in no operand")
        if result.count(letter) > 1:
            raise ShapeError(f"the subscripts {subscripts!r} have {letter!r} twice in the result")
    return operands, result


def sizes(subscripts: str, shapes: Sequence[Shape]) -> dict[str, int]:
    """The length of each letter's axis. Raises ShapeError where two operands contradict each other.

    >>> sizes("ij,jk", [(2, 3), (3, 4)])
    {'i': 2, 'j': 3, 'k': 4}
    """
    operands, _ = parsed(subscripts, len(shapes))
    found: dict[str, int] = {}
    for number, (letters, shape) in enumerate(zip(operands, shapes, strict=True), start=1):
        if len(letters) != len(shape):
            text = f"has {len(letters)} letters ({letters!r}) for shape {shape}"
            raise ShapeError(f"operand {number} of einsum {subscripts!r} {text}")
        for letter, size in zip(letters, shape, strict=True):
            if found.setdefault(letter, size) != size:
                raise ShapeError(f"einsum {subscripts!r}: {letter!r} is {found[letter]} and {size} (shapes {shapes})")
    return found


def _shape(*shapes: Shape, subscripts: str) -> Shape:
    lengths = sizes(subscripts, list(shapes))
    return tuple(lengths[letter] for letter in parsed(subscripts, len(shapes))[1])


def _uses(*shapes: Shape, subscripts: str) -> int:
    return math.prod(sizes(subscripts, list(shapes)).values())


def _points_letter(letters: str) -> str:
    """A letter for the axis of points."""
    return next(letter for letter in string.ascii_letters if letter not in letters)


def _einsum(*arrays: Any, subscripts: str) -> Any:
    operands, result = parsed(subscripts, len(arrays))
    p = _points_letter(subscripts)
    return _contract([p + letters for letters in operands], p + result, same_points(arrays))


def _contract(operands: Sequence[str], result: str, arrays: Sequence[Any]) -> Any:
    """NumPy's einsum; pairs go through ``@`` where that is what they are."""
    return np.einsum(f"{','.join(operands)}->{result}", *arrays, optimize=len(arrays) > 1)


def _vjp(g: Any, y: Any, *arrays: Any, which: int, subscripts: str) -> Any:
    """The upstream gradient contracted with the other operands, given to every entry of this one that was summed."""
    operands, result = parsed(subscripts, len(arrays))
    p = _points_letter(subscripts)
    own, a = operands[which], arrays[which]
    distinct = "".join(dict.fromkeys(own))
    others = [(letters, x) for i, (letters, x) in enumerate(zip(operands, arrays, strict=True)) if i != which]
    known = set(result).union(*(letters for letters, _ in others))
    kept = "".join(letter for letter in distinct if letter in known)
    subscript = [p + result, *(p + letters for letters, _ in others)]
    out = _contract(subscript, p + kept, same_points([g, *(x for _, x in others)]))
    lengths = dict(zip(own, a.shape[1:], strict=True))
    # An axis that is summed in this operand alone gets the same everywhere.
    out = out.reshape(len(out), *(lengths[letter] if letter in known else 1 for letter in distinct))
    out = np.broadcast_to(out, (len(out), *(lengths[letter] for letter in distinct)))
    return out if own == distinct else _on_diagonal(out, own, distinct, lengths)


def _on_diagonal(out: Any, own: str, distinct: str, lengths: dict[str, int]) -> Any:
    """A gradient by the diagonal that a repeated letter reads, with zeros beside it."""
    grids: Any = np.ix_(*(np.arange(lengths[letter]) for letter in distinct))
    places: Any = tuple(grids[distinct.index(letter)] for letter in own)
    whole = np.zeros_like(out, shape=(len(out), *(lengths[letter] for letter in own)))
    whole[(slice(None), *places)] = out
    return whole


# --------------------------------------------------------------------------------------------------- as it is written


def _back(p: Place) -> str:
    terms, result = parsed(p.params["subscripts"], len(p.operands))
    own, diagonals = _told_apart(terms[p.which], "".join(terms) + result)
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


def _ball(*arrays: Any, subscripts: str) -> Any:
    """By loops over all of its letters."""
    operands, result = parsed(subscripts, len(arrays))
    lengths = sizes(subscripts, [x.shape for x in arrays])
    out = np.empty([lengths[letter] for letter in result], dtype=object)
    out.fill(ZERO)
    for index in np.ndindex(*lengths.values()):
        at = dict(zip(lengths, index, strict=True))
        term = ONE
        for letters, x in zip(operands, arrays, strict=True):
            term = term * x[tuple(at[letter] for letter in letters)]
        place = tuple(at[letter] for letter in result)
        out[place] = out[place] + term
    return out if result else out.item()


def _on_objects(*arrays: Any, subscripts: str) -> Any:
    return np.einsum(subscripts.replace(" ", ""), *arrays)


TRIALS: tuple[tuple[str, tuple[Shape, ...]], ...] = (
    ("ij,jk->ik", ((2, 3), (3, 4))), ("ij,jk", ((2, 3), (3, 2))), ("i,i->", ((3,), (3,))), ("ij->ji", ((2, 3),)),
    ("ij->i", ((2, 3),)), ("ii->i", ((3, 3),)), ("ii", ((2, 2),)), ("i,j,k->kji", ((2,), (3,), (4,))),
    ("bij,bjk->bik", ((2, 2, 3), (2, 3, 2))), ("ij,j,k->i", ((2, 3), (3,), (2,))), ("iij->j", ((2, 2, 3),)),
)  # fmt: skip

ROWS = (
    Op("einsum", spelling='einsum("ij,jk->ik", a, b)', example='einsum("i,i->i", u, b)', elementwise=False,
       variadic="text first", params=("subscripts",), source="NumPy's einsum, without '...'",
       shape=_shape, uses=_uses, trials=tuple((shapes, {"subscripts": text}) for text, shapes in TRIALS),
       forward=_einsum, vjps=(_vjp,), exact=_on_objects, sympy=_on_objects, ball=_ball,
       code=Whole(lambda p: f'np.einsum("{p.params["subscripts"]}", {", ".join(p.operands)})', _back,
                  "the other factors, summed over their own axes")),
)  # fmt: skip

"""What an op without a rule does is found by running it: it moves entries, is affine, or picks by order.

A library's op is run on numbers that tell: a result that is one of its entries wherever the numbers lie is that entry
moved; what adds up, at every scale and with every sign, is a matrix and a constant; a result that depends on the order
of entries alone is the entry that the traced point's order picks. Whole numbers and truth values that come out are
those of the traced point. The trace is held against the function at every point that is looked at, as always.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from verify.errors import Untraced
from verify.numbers.streams import stream
from verify.programs.values import Array, Value, moved
from verify.tracing.numpy_rules import frozen
from verify.tracing.traced import recorder_of
from verify.tracing.untraced import unmapped

SCALES = (1.0, -1.0, 1e-3, -1e3)
"""Sizes of the numbers that an op is run on; each is used twice, turned around in between."""

MOST_LINEAR = 400
"""Entries of operands whose linear map is found by running it on unit vectors."""

EXACT = 1e-9
"""How far off the results of a linear map may be, as a part of the largest."""

Run = Callable[..., Sequence[Any]]
"""``run(*arrays)``: what a library makes of arrays in place of the operands, its results as arrays."""


def probed(run: Run, operands: Sequence[Value], op: str) -> list[Value]:
    """The results of an op on operands that depend on inputs. Raises TraceError where probing does not tell.

    >>> probed(lambda x: [x[::-1], np.cumsum(x)], [np.array([1.0, 3.0])], "both")
    [array([3., 1.]), array([1., 4.])]
    """
    rng = stream(0, "probes of an op")
    draws = [[scale * rng.normal(size=np.shape(x)) for x in operands] for scale in SCALES]
    draws += [[-x for x in draw] for draw in draws]
    outputs = [[np.asarray(y) for y in run(*draw)] for draw in draws]
    return [
        _read(lambda *given, i=i: np.asarray(run(*given)[i]), operands, draws, [known[i] for known in outputs], op)
        for i in range(len(outputs[0]))
    ]


def _read(
    run: Callable[..., Array], operands: Sequence[Value], draws: Sequence[Sequence[Array]], results: Sequence[Array],
    op: str,
) -> Value:  # fmt: skip
    if any(result.dtype.kind == "c" for result in results):
        raise unmapped(f"complex numbers, by {op}", Untraced.NO_OP, op)
    if any(result.shape != results[0].shape for result in results):
        raise unmapped(f"{op}, whose shape depends on values", Untraced.NO_OP, op)
    found = _as_moved(operands, draws, results)
    if found is None and results[0].dtype.kind != "f":
        return _at_the_point(run, operands)
    if found is None:
        found = _as_affine(run, operands, draws, results)
    if found is None and len(operands) == 1:
        found = _as_picked(run, operands[0])
    if found is None:
        raise unmapped(f"{op} has no op here", Untraced.NO_OP, op)
    return found


def _places(given: Sequence[Array], result: Array) -> Array:
    """Which entry of the operands in a row each entry of a result is; -1 where it is none."""
    flat = np.concatenate([np.ravel(x) for x in given])
    order = np.argsort(flat, kind="stable")
    at = np.minimum(np.searchsorted(flat[order], np.ravel(result)), max(flat.size - 1, 0))
    if not flat.size:
        return np.full(result.shape, -1)
    return np.where(flat[order][at] == np.ravel(result), order[at], -1).reshape(result.shape)


def _as_moved(operands: Sequence[Value], draws: Sequence[Sequence[Array]], results: Sequence[Array]) -> Value | None:
    """The entries in other places, known numbers among them."""
    places = np.array([_places(draw, result) for draw, result in zip(draws, results, strict=True)])
    is_moved = np.all((places == places[0]) & (places >= 0), axis=0)
    fixed = np.all([(y == results[0]) | ((y != y) & (results[0] != results[0])) for y in results], axis=0)  # noqa: PLR0124
    if not np.all(is_moved | fixed):
        return None
    if np.all(fixed):
        return results[0]
    if not np.any(fixed):
        return moved(lambda *_: places[0], *operands)
    total = sum(np.size(x) for x in operands)
    numbers = np.where(fixed, results[0], 0.0)
    at = np.where(fixed, total + np.arange(numbers.size).reshape(numbers.shape), places[0])
    return moved(lambda *_: at, *operands, numbers)


def _as_affine(
    run: Callable[..., Array], operands: Sequence[Value], draws: Sequence[Sequence[Array]], results: Sequence[Array]
) -> Value | None:
    """A matrix and a constant; where each image of a batch is taken alone and alike, the matrix of one of them."""
    shapes, made = [np.shape(x) for x in operands], results[0].shape
    alike = 0
    if len(shapes) == 1:
        pairs = enumerate(zip(shapes[0], made, strict=False))
        alike = next((i for i, (one, other) in pairs if one != other), min(len(shapes[0]), len(made)))
    total = sum(map(math.prod, shapes))
    constant = run(*map(np.zeros, shapes))
    flat: Any = np.ravel(operands[0]) if len(operands) == 1 else np.concatenate([np.ravel(x) for x in operands])
    for axes in range(alike, -1, -1):
        rows = math.prod(made[:axes])
        size = total // max(rows, 1)
        if size > MOST_LINEAR:
            break
        matrix = _matrix(run, shapes, size, constant.ravel()[: constant.size // max(rows, 1)])
        if all(_is_made(draw, matrix, constant, result) for draw, result in zip(draws, results, strict=True)):
            value = flat @ matrix if axes == 0 else np.reshape(flat, (rows, size)) @ matrix
            value = np.reshape(value, made)
            return value + constant if np.any(constant) else value
    if total > MOST_LINEAR:
        raise unmapped(f"a linear map of {total} entries, more than {MOST_LINEAR}", Untraced.SIZE)
    return None


@np.errstate(all="ignore")
def _matrix(run: Callable[..., Array], shapes: Sequence[tuple[int, ...]], size: int, constant: Array) -> Array:
    """What comes of each of the first entries, as a row, in as many of the first results as the constant has."""
    total, ends = sum(map(math.prod, shapes)), np.cumsum([math.prod(shape) for shape in shapes])[:-1]
    rows = []
    for unit in np.eye(size, total):
        parts = np.split(unit, ends)
        result = run(*(part.reshape(shape) for part, shape in zip(parts, shapes, strict=True)))
        rows.append(result.ravel()[: constant.size] - constant)
    return np.array(rows)


@np.errstate(all="ignore")
def _is_made(draw: Sequence[Array], matrix: Array, constant: Array, result: Array) -> bool:
    """Whether a matrix and a constant make a result of what an op was run on, row by row."""
    rows = np.concatenate([np.ravel(x) for x in draw]).reshape(-1, len(matrix))
    size = np.abs(rows) @ np.abs(matrix) + np.abs(constant).reshape(len(rows), -1)
    off = rows @ matrix + constant.reshape(len(rows), -1) - result.reshape(len(rows), -1)
    return bool(np.all(np.abs(off) <= EXACT * size))


def _as_picked(run: Callable[..., Array], operand: Value) -> Value | None:
    """Entries that are picked by the order of all of them, which is that of the traced point."""
    numbers = np.ravel(recorder_of(operand).number(operand))
    order = np.argsort(numbers, kind="stable")
    rank = np.empty(order.size)
    rank[order] = np.arange(order.size)
    if not _tell(run, operand, rank):
        return None
    value = np.ravel(frozen(recorder_of(operand), operand, "argsort"))  # where two are equal, this tells it
    rank[np.argsort(value, kind="stable")] = np.arange(order.size)
    found = _tell(run, operand, rank)
    return None if found is None else moved(lambda _: found[0], operand)


def _tell(run: Callable[..., Array], operand: Value, rank: Array) -> list[Array] | None:
    """The places that an op picks, if they are the same for all numbers in that order."""
    rising = (rank - rank.size, rank + 1.0, 1e3 * (rank - rank.size / 2 + 0.25), np.exp(rank / max(rank.size, 1)))
    tables = [x.reshape(np.shape(operand)) for x in rising]
    places = [_places([table], run(table)) for table in tables]
    same = all(np.array_equal(places[0], other) for other in places) and bool(np.all(places[0] >= 0))
    return places if same else None


def _at_the_point(run: Callable[..., Array], operands: Sequence[Value]) -> Array:
    """Whole numbers and truth values, which do not change with small changes of the inputs."""
    recorder = recorder_of(*operands)
    return run(*(np.asarray(frozen(recorder, x, "argsort"), dtype=np.float64) for x in operands))

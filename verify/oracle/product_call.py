"""How a function for ``J v``, J, ``H v`` or H is called, and which of its numbers belong to what."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from verify.errors import UsageError, did_you_mean
from verify.subjects.answers import PREFIXES
from verify.subjects.upstreams import Upstreams
from verify.tracing.function_call import by_name, takes_order

Array = NDArray[Any]
Function = Callable[..., Any]

VECTOR = ("v", "p", "tangent", "tangents", "vector", "vectors", "direction", "t", "u", "dx", "upstream")
"""What people call a vector that they give a default."""

PAIRED = ("primals", "tangents")
"""The parameters of a rule as ``jax.custom_jvp`` has it: all values in a tuple, and all that move."""

Named = Mapping[str, tuple[int, ...]]
"""Name -> shape, in order."""


def with_vector(function: Function, inputs: Sequence[str], real: Sequence[str]) -> Callable[[Any, Any], Any]:
    """A function of inputs and of a vector, as one of two mappings by name.

    The vector has a part for each input in ``real``. By name where the parameters have the names of the inputs, else in
    order; then comes the vector, as one argument or as one for each part. Of several parts one argument is a tuple that
    answers to their names too. Raises UsageError where the parameters cannot be that.

    >>> with_vector(lambda x, v: x * v, ["x"], ["x"])({"x": 2.0}, {"x": 5.0})
    10.0
    >>> with_vector(lambda a, b, da, db: a * db + b * da, ["x", "y"], ["x", "y"])({"x": 2, "y": 3}, {"x": 1, "y": 0})
    3
    """
    try:
        parameters = inspect.signature(function).parameters
    except (TypeError, ValueError):  # a builtin without a signature takes what there is
        parameters = inspect.signature(lambda *args: args).parameters
    plain = [name for name, p in parameters.items() if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
    needed = [name for name in plain if parameters[name].default is inspect.Parameter.empty]

    def whole(vector: Mapping[str, Any]) -> Any:
        return vector[real[0]] if len(real) == 1 else Upstreams({name: vector[name] for name in real})

    if tuple(needed) == PAIRED or (len(needed) == len(plain) == 2 < 1 + len(inputs) and not set(needed) & set(inputs)):
        return lambda given, vector: function(tuple(given[n] for n in inputs), tuple(vector[n] for n in real))
    if not takes_order(function) and set(inputs) <= set(plain):
        rest = [name for name in needed if name not in inputs]
        rest = rest or [name for name in plain if name not in inputs and name in VECTOR][:1]
        if len(rest) == 1:
            return lambda given, vector: _bound(function, {n: given[n] for n in inputs} | {rest[0]: whole(vector)})
        if len(rest) == len(real):
            return lambda given, vector: _bound(
                function, {n: given[n] for n in inputs} | {p: vector[n] for p, n in zip(rest, real, strict=True)}
            )
    takes_more = len(plain) < len(parameters)
    if len(needed) <= len(inputs) + 1 and (len(plain) > len(inputs) or (takes_more and len(real) == 1)):
        return lambda given, vector: function(*(given[n] for n in inputs), whole(vector))
    if len(needed) == len(inputs) + len(real) or takes_more:
        return lambda given, vector: function(*(given[n] for n in inputs), *(vector[n] for n in real))
    raise UsageError(
        f"expected a function of {', '.join(inputs)} and of a vector, such as ({', '.join(inputs)}, v), "
        f"got one of ({', '.join(plain)})"
    )


def alone(function: Function, inputs: Sequence[str]) -> Callable[[Any, Any], Any]:
    """A function of the inputs, as one of a mapping by name; what comes second is left out.

    >>> alone(lambda a: 2 * a, ["x"])({"x": 3.0}, None)
    6.0
    """
    called = by_name(function, list(inputs))
    if called is not function:
        return lambda given, _: called(**{name: given[name] for name in inputs})
    return lambda given, _: _bound(function, {name: given[name] for name in inputs})


def _bound(function: Function, named: Mapping[str, Any]) -> Any:
    """Called with arguments that are known by name, in order as far as may be.

    A wrapper shows the parameters of what it wraps and may take none of them by name, as ``jax.hessian`` does.
    """
    bound = inspect.signature(function).bind(**named)
    return function(*bound.args, **bound.kwargs)


# ---------------------------------------------------------------------------------------------------------- the answer


def vector_of(answer: Any, named: Named) -> dict[tuple[str, ...], Any]:
    """An answer that has an array for each name. Raises UsageError where it cannot be told what is what.

    >>> vector_of({"dx": 1.0}, {"x": (), "y": ()}), vector_of((1.0, 2.0), {"x": (), "y": ()})
    ({('x',): 1.0}, {('x',): 1.0, ('y',): 2.0})
    """
    return {(name,): value for name, value in _parts(answer, named).items()}


def matrix_of(answer: Any, rows: Named, columns: Named) -> dict[tuple[str, ...], Any]:
    """An answer that has a block for each pair of names: blocks by name or in order, or one matrix of all of them.

    >>> found = matrix_of(np.arange(4.0).reshape(2, 2), {"f": (2,)}, {"x": (), "y": ()})
    >>> {key: block.tolist() for key, block in found.items()}
    {('f', 'x'): [0.0, 2.0], ('f', 'y'): [1.0, 3.0]}
    """
    answer = dense(answer)
    if isinstance(answer, Mapping):
        if all(isinstance(key, tuple) and len(key) == 2 for key in answer):
            return {(_known(k[0], rows), _known(k[1], columns)): dense(block) for k, block in answer.items()}
        if len(rows) == 1 and not set(answer) & set(rows):
            row = next(iter(rows))
            return {(row, name): dense(block) for name, block in _parts(answer, columns).items()}
        lines = _parts(answer, rows)
    elif isinstance(answer, tuple) or (isinstance(answer, list) and not _is_numbers(answer)):
        # A tuple has the rows of blocks; where there is one row only, its blocks.
        if len(rows) == 1 and len(answer) == len(columns):
            return {(next(iter(rows)), name): dense(block) for name, block in zip(columns, answer, strict=True)}
        lines = _parts(answer, rows)
    else:
        return _cut(answer, rows, columns)
    found: dict[tuple[str, ...], Any] = {}
    for row, line in lines.items():
        for name, block in _parts(dense(line), columns).items():
            found[row, name] = dense(block)
    return found


def dense(value: Any) -> Any:
    """A sparse matrix or a linear operator as an array; anything else as it is.

    >>> dense([1.0])
    [1.0]
    """
    if hasattr(value, "toarray") and hasattr(value, "nnz"):
        return value.toarray()
    if hasattr(value, "matvec") and hasattr(value, "shape") and not isinstance(value, np.ndarray):
        return np.stack([np.ravel(value.matvec(e)) for e in np.eye(value.shape[1])], axis=1)
    return value


def pattern_of(value: Any) -> Array | None:
    """Where a sparse matrix has entries; None of anything else.

    >>> pattern_of(np.eye(2)) is None
    True
    """
    if not (hasattr(value, "tocoo") and hasattr(value, "nnz")):
        return None
    found = value.tocoo()
    pattern = np.zeros(found.shape, dtype=bool)
    pattern[found.row, found.col] = True
    return pattern


def fitted(array: Array, shape: tuple[int, ...]) -> Array | None:
    """An array in the shape that it should have, None where its axes are others; those of size 1 may come and go.

    >>> fitted(np.ones((1, 3)), (3,)).shape, fitted(np.ones((2, 3)), (3, 2)) is None
    ((3,), True)
    """
    if array.shape == shape:
        return array
    same = [n for n in array.shape if n != 1] == [n for n in shape if n != 1]
    return array.reshape(shape) if same else None


def _cut(answer: Any, rows: Named, columns: Named) -> dict[tuple[str, ...], Any]:
    """Blocks of one array: of the only pair of names, or of a matrix with a row and a column for every entry."""
    if len(rows) == len(columns) == 1:
        (row, high), (column, wide) = *rows.items(), *columns.items()
        array = np.asarray(answer)
        flat = math.prod(high), math.prod(wide)
        return {(row, column): array.reshape((*high, *wide)) if array.shape == flat else answer}
    array = np.asarray(answer)
    total = tuple(sum(map(math.prod, named.values())) for named in (rows, columns))
    if array.shape != total:
        parts = f"{', '.join(rows)} by {', '.join(columns)}"
        raise UsageError(
            f"an array of shape {array.shape} cannot be told apart into {parts}: return a matrix of shape {total}, "
            f"or a mapping with a block for each, {{('{next(iter(rows))}', '{next(iter(columns))}'): ...}}"
        )
    found: dict[tuple[str, ...], Any] = {}
    top = 0
    for row, high in rows.items():
        left = 0
        for column, wide in columns.items():
            block = array[top : top + math.prod(high), left : left + math.prod(wide)]
            found[row, column] = block.reshape((*high, *wide))
            left += math.prod(wide)
        top += math.prod(high)
    return found


def _parts(answer: Any, named: Named) -> dict[str, Any]:
    """An answer by name: a mapping, a tuple in order, one array, or one vector of all entries."""
    if isinstance(answer, Mapping):
        return {_known(str(key), named): value for key, value in answer.items() if value is not None}
    if len(named) == 1 and not (isinstance(answer, tuple | list) and len(answer) == 1 and np.shape(answer[0])):
        return {next(iter(named)): answer}
    if isinstance(answer, tuple | list) and len(answer) == len(named):
        return {name: value for name, value in zip(named, answer, strict=True) if value is not None}
    flat = np.asarray(answer) if _is_numbers(answer) else np.zeros(0)
    if flat.shape != (sum(map(math.prod, named.values())),):
        got = f"{type(answer).__name__} {answer!r:.60}"
        raise UsageError(f"expected an array for each of {', '.join(named)}, got {got}")
    ends = np.cumsum([math.prod(shape) for shape in named.values()])[:-1]
    return {n: part.reshape(s) for (n, s), part in zip(named.items(), np.split(flat, ends), strict=True)}


def _known(key: str, named: Named) -> str:
    found = next((key[len(p) :] for p in PREFIXES if key.startswith(p) and key[len(p) :] in named), "")
    if not found:
        raise UsageError(f"{key!r} in the answer is none of {', '.join(named)}. {did_you_mean(key, named)}".strip())
    return found


def _is_numbers(value: Any) -> bool:
    """Whether something is one array, or the rows of one."""
    try:
        return np.asarray(value).dtype.kind in "fiubc"
    except (ValueError, TypeError):  # rows of several lengths
        return False

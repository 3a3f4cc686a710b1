"""What a gradient answered, as numbers: which variable each array belongs to, and whether it holds reals at all.

Nothing is converted in silence: an imaginary part, a mask, a unit or a truth value that would be lost is a fault.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from verify.errors import UsageError, did_you_mean
from verify.records import Finding
from verify.subjects.interface import Interface
from verify.words import FindingKind

Array = NDArray[Any]

PLAIN = (np.ndarray, np.memmap)
"""Arrays whose operators are those of arrays."""

MOST_NESTED = 64
"""Axes that an array may have; a list nested deeper is none."""

PREFIXES = ("", "d", "grad_")
"""What may stand before the name of a variable."""


@dataclass(frozen=True, slots=True)
class Numbers:
    """An answer as an array of float64, with what is wrong with it."""

    array: Array
    faults: tuple[Finding, ...] = ()


def by_variable(interface: Interface, answer: Any) -> dict[str, list[tuple[str, Any]]]:
    """What was answered for each variable, each under the key that it came by: a mapping may have two for one.

    Raises UsageError where it cannot be told what is what.

    >>> square = Interface("the square", ("x",), ("x",), {"x": ()}, {"f": ()})
    >>> by_variable(square, {"dx": 6.0}), by_variable(square, 6.0)
    ({'x': [('dx', 6.0)]}, {'x': [('x', 6.0)]})
    """
    names = interface.real
    if answer is None:
        raise UsageError(f"the gradient returned None; return the gradient by {', '.join(names)}")
    if isinstance(answer, Iterator | str | bytes | set | frozenset):
        what = f"a {type(answer).__name__}"
        raise UsageError(f"the gradient returned {what}; return an array, a tuple of arrays, or a mapping by name")
    found: dict[str, list[tuple[str, Any]]] = {}
    by_name = answer if isinstance(answer, Mapping) else _fields(interface, answer)
    if by_name is not None:
        for key, value in by_name.items():
            if value is not None:
                found.setdefault(_variable(interface, str(key)), []).append((str(key), value))
    else:
        found = {name: [(name, item)] for name, item in _in_order(interface, answer).items()}
    if not found:
        raise UsageError(f"the gradient returned no gradient at all; there are {', '.join(names)} to take it by")
    return found


def _in_order(interface: Interface, answer: Any) -> dict[str, Any]:
    """A tuple, or a list of arrays, in the order of the inputs; anything else is one array."""
    names = interface.real
    items = list(answer) if isinstance(answer, tuple | list) else [answer]
    if len(names) == 1 and isinstance(answer, list) and _is_one_array(answer, interface.shapes[names[0]]):
        items = [answer]
    if len(items) == len(interface.inputs) > len(names):
        # One for each argument, as frameworks want it: None for those that are not differentiated.
        whole = dict(zip(interface.inputs, items, strict=True))
        strange = [name for name, item in whole.items() if name not in names and item is not None]
        if not strange:
            return {name: item for name, item in whole.items() if item is not None}
        raise UsageError(
            f"the gradient answered with an array for {', '.join(strange)}, which is not differentiated here "
            f"({', '.join(names)} is): return None in its place, or give it as floats, and not among the constants"
        )
    if len(items) != len(names):
        missing = "return a mapping by name to give only some of them"
        if len(items) < len(names):
            missing += f", or say which are not differentiated: constants=['{names[-1]}']"
        said = f"the gradient answered with {len(items)} arrays for {len(names)} inputs ({', '.join(names)})"
        raise UsageError(f"{said}; {missing}")
    return {name: item for name, item in zip(names, items, strict=True) if item is not None}


def _fields(interface: Interface, answer: Any) -> dict[str, Any] | None:
    """A named tuple by its names, where they are those of variables: their order may be another than the inputs'."""
    names = getattr(answer, "_fields", None) if isinstance(answer, tuple) else None
    if not names or not all(_known_variable(interface, name) for name in names):
        return None
    return dict(zip(names, answer, strict=True))


def _known_variable(interface: Interface, key: str) -> str:
    """The variable that a key stands for, empty where there is none."""
    known = {*interface.real, *(name for name in interface.shapes if name not in interface.inputs)}
    return next((key[len(p) :] for p in PREFIXES if key.startswith(p) and key[len(p) :] in known), "")


def _variable(interface: Interface, key: str) -> str:
    found = _known_variable(interface, key)
    if found:
        return found
    held = next((name for name in interface.inputs if key in {prefix + name for prefix in PREFIXES}), "")
    if held:
        raise UsageError(
            f"the gradient answered with {key!r}, but {held} is not differentiated here: leave it out, or give it as "
            "floats, and not among the constants"
        )
    known = [*interface.real, *(name for name in interface.shapes if name not in interface.inputs)]
    raise UsageError(
        f"the gradient answered with {key!r}, which is no input or stage of {interface.what}. "
        f"{did_you_mean(key, [*known, *(f'd{name}' for name in known)])}".strip()
    )


def _is_one_array(answer: list[Any], shape: tuple[int, ...]) -> bool:
    """Whether a list is the nested rows of one array, rather than a list of arrays."""
    try:
        return np.shape(answer) == shape
    except ValueError:  # ragged
        return False


# ----------------------------------------------------------------------------------------------------- as real numbers


def as_numbers(name: str, value: Any, dtype: np.dtype[Any], what: str = "") -> Numbers:
    """An answer for one variable, where the function computes in ``dtype``. Raises UsageError for what is no array.

    ``what`` it is called in sentences: the gradient by the variable, if nothing is said.

    >>> as_numbers("x", np.array([2 + 5j]), np.dtype(np.float64)).faults[0].sentence
    'the gradient by x is complex128: the imaginary part would be lost. Return the real part, if that is the gradient'
    >>> as_numbers("x", 6.0, np.dtype(np.float64))
    Numbers(array=array(6.), faults=())
    """
    what = what or f"the gradient by {name}"
    array, faults = _plain(name, value, what)
    kind = array.dtype.kind
    is_array = not isinstance(value, int | float | Sequence)
    is_small_float = (
        kind == "V" and array.dtype.names is None and array.dtype.type is not np.void
    )  # bfloat16 and its kin
    if kind in "fiu" or is_small_float:
        faults += _other_float(name, array.dtype, dtype, what) if is_array else ()
        with np.errstate(all="ignore"):
            return Numbers(np.array(array, dtype=np.float64), faults)  # a copy: the gradient may write to it again
    if kind in "bcO" and is_array:
        lost = {
            "b": "truth values are no numbers. Write .astype(float), or np.where(..., 1.0, 0.0)",
            "c": f"the imaginary part would be lost. Return the real part, if that is {what.partition(' by ')[0]}",
            "O": "its entries are Python objects, not floats. Write np.asarray(..., dtype=float)",
        }[kind]
        fault = Finding(FindingKind.WRONG_DTYPE, name, f"{what} is {array.dtype}: {lost}", fails=True)
        with np.errstate(all="ignore"):
            floats = array.real if kind == "c" else array
            return Numbers(np.array(floats, dtype=np.float64), (*faults, fault))
    raise _no_array(what, value, f"its type is {array.dtype}" if kind != "O" else "")


def _plain(name: str, value: Any, what: str) -> tuple[Array, tuple[Finding, ...]]:
    """The numbers of an answer as a plain array, and what that drops."""
    if type(value) in PLAIN or isinstance(value, np.generic):
        return np.asarray(value), ()
    if isinstance(value, np.ma.MaskedArray):
        said = f"{what} is a masked array: return .filled(0), or what is meant"
        fault = Finding(FindingKind.WRONG_TYPE, name, said, fails=True)
        return np.ma.filled(value.astype(np.float64), np.nan), (fault,)
    if isinstance(value, np.ndarray):
        kind = f"{type(value).__module__.split('.')[0]}.{type(value).__name__}"
        said = f"{what} is a {kind}, whose operators are not those of an array: return np.asarray(...)"
        return np.array(value.view(np.ndarray)), (Finding(FindingKind.WRONG_TYPE, name, said, fails=True),)
    if hasattr(value, "units"):
        raise _no_array(what, value, "it has units")
    if isinstance(value, int | float | Sequence) or hasattr(value, "__array__"):
        return _from_sequence(what, value), ()
    if not hasattr(value, "__float__"):
        raise _no_array(what, value, "")
    said = f"{what} is a {type(value).__name__}, the function computes in floats"
    return np.asarray(float(value)), (Finding(FindingKind.WRONG_DTYPE, name, said, fails=False),)


def _from_sequence(what: str, value: Any) -> Array:
    try:
        array = np.asarray(value)
    except (ValueError, TypeError) as error:
        if not isinstance(value, Sequence) or _is_too_deep(value):
            raise
        raise _no_array(what, value, str(error)) from None
    if array.dtype.kind == "O" and isinstance(value, Sequence):
        raise _no_array(what, value, "its entries are not all numbers")
    return array


def _is_too_deep(value: Any) -> bool:
    """Whether a list is nested deeper than any array; it may hold itself."""
    for _ in range(MOST_NESTED):
        if not isinstance(value, list | tuple) or not value:
            return False
        value = value[0]
    return True


def _no_array(what: str, value: Any, why: str) -> UsageError:
    reason = f" ({why})" if why else ""
    return UsageError(f"{what} is no array of real numbers: {type(value).__name__} {value!r:.60}{reason}")


def _other_float(name: str, found: np.dtype[Any], dtype: np.dtype[Any], what: str) -> tuple[Finding, ...]:
    """A dtype that is not that of the function; one with fewer digits fails."""
    if found == dtype:
        return ()
    loses = found.kind == "V" or (found.kind == "f" and bool(np.finfo(found).eps > np.finfo(dtype).eps))
    said = f"{what} is {found}, the function computes in {dtype}"
    return (Finding(FindingKind.WRONG_DTYPE, name, said, fails=loses),)

"""The numbers of a case file: arrays, intervals, shapes and printed figures, each fault with its place."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np

from verify.case.expression import MAX_ENTRIES
from verify.case.yaml_source import Keys, Source, kind_of, scalar_value
from verify.errors import CaseError, did_you_mean, shortened

if TYPE_CHECKING:
    from numpy.typing import NDArray

LARGEST_DIM = 2**53
"""A dim is a number in formulas too, and this is the whole number up to which a double holds every one."""

MAX_AXES = 16
"""Axes of an array: NumPy stops at 64, and nobody writes so many."""
DRAWS = ("normal", "uniform")
"""How a value may be drawn from the seed."""

_INTERVAL = re.compile(r"\s*([\[(])([^,]*),([^,]*)([\])])\s*")
_INTERVAL_FORMS = "Write [low, high], or in quotes with an open end: '(0, 10]'."


def read_array(source: Source, path: Keys) -> NDArray[np.float64]:
    """A number or nested lists as an array. Raises CaseError: ragged lists, text, NaN or infinite numbers.

    >>> from verify.case.yaml_source import parse_source
    >>> read_array(parse_source("a: [[1, 2], [3, 4]]"), ("a",)).shape
    (2, 2)
    """
    data = value_at(source, path)
    shape = _shape_of(source, path, data)
    leaves = list(leaf_paths(path, data))
    values = [_number(source, leaf) for leaf in leaves]
    return np.array(values, dtype=np.float64).reshape(shape)


def value_at(source: Source, path: Keys) -> Any:
    """The piece of the data that a path leads to.

    >>> from verify.case.yaml_source import parse_source
    >>> value_at(parse_source("a: {b: [1, 2]}"), ("a", "b", 1))
    2
    """
    data = source.data
    for key in path:
        data = data[key]
    return data


def leaf_paths(path: Keys, data: Any) -> Iterator[Keys]:
    """The paths of all numbers in nested lists, in C order.

    >>> list(leaf_paths(("a",), [[1, 2], [3]]))
    [('a', 0, 0), ('a', 0, 1), ('a', 1, 0)]
    """
    if not isinstance(data, list):
        yield path
        return
    for i, part in enumerate(data):
        yield from leaf_paths((*path, i), part)


def _shape_of(source: Source, path: Keys, data: Any) -> tuple[int, ...]:
    """The shape of nested lists; every row must have the shape of the first."""
    if not isinstance(data, list):
        return ()
    if not data:
        raise CaseError([source.problem(path, "an empty list has no values", "Give at least one number.")])
    shapes = [_shape_of(source, (*path, i), part) for i, part in enumerate(data)]
    for i, shape in enumerate(shapes):
        if shape != shapes[0]:
            message = f"ragged list: entry {i} has shape {shape}, entry 0 has shape {shapes[0]}"
            raise CaseError([source.problem((*path, i), message, "Give all rows the same length.")])
    return (len(data), *shapes[0])


def _number(source: Source, path: Keys) -> float:
    value = value_at(source, path)
    if isinstance(value, bool) or not isinstance(value, int | float):
        message = f"expected a number, got {kind_of(value)}"
        suggestion = "Write the number itself, such as 0.5: values are not formulas." if isinstance(value, str) else ""
        raise CaseError([source.problem(path, message, suggestion or "Write a number.")])
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        message = f"expected a finite number, got {source.marks[path].text[:40]}"
        raise CaseError([source.problem(path, message, "A function has no derivative there: choose another point.")])
    return number


def half_units(source: Source, path: Keys) -> NDArray[np.float64]:
    """Half a unit of the last digit of each printed figure: 0.005 for ``0.51``, 0 for an integer, which is exact.

    >>> from verify.case.yaml_source import parse_source
    >>> half_units(parse_source("a: [0.51, 1, 1.0, 1e-3]"), ("a",)).tolist()
    [0.005, 0.0, 0.05, 0.0005]
    """
    data = value_at(source, path)
    units = []
    for leaf in leaf_paths(path, data):
        text = source.marks[leaf].text
        try:
            units.append(half_unit(text))
        except ValueError as error:
            suggestion = "Write the digits that are known, 0.0 for a figure that is 0 to one digit."
            raise CaseError([source.problem(leaf, str(error), suggestion)]) from None
    return np.array(units, dtype=np.float64).reshape(_shape_of(source, path, data))


def half_unit(text: str) -> float:
    """Half a unit of the last digit of a number as it is printed; 0 for an integer. Raises ValueError.

    A zero whose last place is beyond 1 has no digit at all: ``0e5`` would be half of every number up to 50,000.

    >>> half_unit("0.51"), half_unit("-2"), half_unit("1.5e3")
    (0.005, 0.0, 50.0)
    """
    value = scalar_value(text)
    if isinstance(value, int):
        return 0.0
    mantissa, _, exponent = text.lower().partition("e")
    place = int(exponent or 0) - len(mantissa.partition(".")[2])
    unit = float(f"5e{place - 1}")
    if math.isinf(unit) or (value == 0 and place > 0):
        shown = shortened(text, 40)
        last = shortened(f"1e{place}", 40)
        raise ValueError(f"the figure {shown} has no digit that is known: its last place is {last}")
    return unit


def read_interval(source: Source, path: Keys) -> tuple[float, float, bool, bool]:
    """Low, high, and whether each end is open. Raises CaseError: another form, an empty interval.

    >>> from verify.case.yaml_source import parse_source
    >>> read_interval(parse_source("d: '(0, 10]'"), ("d",))
    (0.0, 10.0, True, False)
    """
    data = value_at(source, path)
    match = _INTERVAL.fullmatch(data) if isinstance(data, str) else None
    ends = [match[2], match[3]] if match else [source.marks[*path, i].text for i in range(_count(data))]
    try:
        numbers = [scalar_value(end.strip()) for end in ends]
    except ValueError as error:
        raise CaseError([source.problem(path, str(error), _INTERVAL_FORMS)]) from None
    numeric = all(isinstance(number, int | float) and not isinstance(number, bool) for number in numbers)
    if len(numbers) != 2 or not numeric or any(math.isnan(number) for number in numbers):
        got = kind_of(data) if not isinstance(data, list) else f"[{', '.join(ends)[:40]}]"
        raise CaseError([source.problem(path, f"expected an interval, got {got}", _INTERVAL_FORMS)])
    low, high = (float(number) for number in numbers)
    low_open = bool(match and match[1] == "(") or math.isinf(low)
    high_open = bool(match and match[4] == ")") or math.isinf(high)
    if low > high or (low == high and (low_open or high_open)):
        shown = data if match else f"[{', '.join(ends)}]"
        message = f"the domain {shown} is empty"
        suggestion = f"Write [{ends[1].strip()}, {ends[0].strip()}]." if low > high else "Widen it, or close both ends."
        raise CaseError([source.problem(path, message, suggestion)])
    return low, high, low_open, high_open


def _count(data: Any) -> int:
    return len(data) if isinstance(data, list) else 0


def read_shape(source: Source, path: Keys, dims: Mapping[str, int]) -> tuple[int, ...]:
    """Sizes of axes, given as numbers or names of dims. Raises CaseError.

    >>> from verify.case.yaml_source import parse_source
    >>> read_shape(parse_source("shape: [m, 3]"), ("shape",), {"m": 5})
    (5, 3)
    """
    data = value_at(source, path)
    if not isinstance(data, list):
        message = f"expected a list of sizes, got {kind_of(data)}"
        raise CaseError([source.problem(path, message, "Write [3] or [m, k].")])
    faults, sizes = [], []
    for i, size in enumerate(data):
        length = dims.get(size) if isinstance(size, str) else size
        if isinstance(length, int) and not isinstance(length, bool) and length >= 1:
            sizes.append(length)
        elif isinstance(size, str):
            known = ", ".join(islice(dims, 20)) or "none"
            suggestion = did_you_mean(size, dims) or f"Add it to 'dims'. Known: {known}."
            faults.append(source.problem((*path, i), f"unknown dim '{shortened(size)}'", suggestion))
        else:
            message = f"a size is a whole number from 1 on, got {kind_of(size)}"
            faults.append(source.problem((*path, i), message, "Write a number or the name of a dim."))
    if not faults and (len(sizes) > MAX_AXES or math.prod(sizes) > MAX_ENTRIES):
        message = f"an array of shape {shape_text(sizes)} is too large"
        suggestion = f"At most {MAX_AXES} axes and {MAX_ENTRIES:,} entries."
        faults.append(source.problem(path, message, suggestion))
    if faults:
        raise CaseError(faults)
    return tuple(sizes)


def shape_text(shape: list[int] | tuple[int, ...]) -> str:
    """A shape as it is shown in messages, cut where it is long.

    >>> shape_text((5, 3))
    '(5, 3)'
    """
    shown = str(tuple(shape))
    return shown if len(shown) <= 80 else f"{shown[:77]}..."

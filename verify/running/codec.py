"""Results as bytes and back, without a line that could run what the bytes say.

A result is written as a list of nodes, children before parents: a number, a text, a truth value, null, or
``[tag, i, j, ...]``, made of the nodes number i, j, ... So what is shared stays shared, and nothing is nested. The
numbers of arrays stand behind the list, one array after the other, as they are in memory. Tags are those of the tables
here: containers, the records of :mod:`verify.records`, the parts of a symbolic derivative, SymPy's heads and the
functions that its formulas call.
Whatever else is met, either way, is refused. SymPy is never given text to read: its trees are put together from their
parts, each of which was made here, and unevaluated, so that they are what they were.
"""

from __future__ import annotations

import json
import struct
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from enum import Enum
from functools import partial
from itertools import chain
from typing import Any, NamedTuple

import numpy as np
import sympy

from verify import records, words
from verify.graph.derivative import ClosedForm, Unsupported
from verify.graph.graph import Graph, Node
from verify.methods.symbolic import Symbolic
from verify.running.screening import Screening
from verify.symbolic.closed_forms import ClosedForms
from verify.symbolic.formula import FLOAT_FUNCTIONS, STEP_FUNCTIONS, Formulas
from verify.symbolic.implicit import Block, Equations
from verify.symbolic.matrix_forms import MatrixForms
from verify.symbolic.pieces import Composite, Elementwise, Implicit, Structural, System
from verify.symbolic.polynomials import Monomials

LENGTH = struct.Struct("<Q")
"""In front: how long the list of nodes is, in bytes."""

ALIGNED = 16
"""Arrays begin at multiples of so many bytes."""

PLAIN = (str, float, bool)
"""What is written as it is; whole numbers too, up to :data:`LARGEST_NUMBER`."""

LARGEST_NUMBER = 2**63
"""Whole numbers beyond it are written to base 16: Python reads no long ones to base 10."""

Items = Sequence[Any]
"""What a node is made of, in place of the numbers of these nodes."""


class NotPlainError(TypeError):
    """A result, or bytes, with a part that is in none of the tables."""


def packed(result: Any) -> bytes:
    """A result as bytes. Raises NotPlainError for what is in none of the tables.

    >>> unpacked(packed({"x": (1, None, np.arange(2.0))}))
    {'x': (1, None, array([0., 1.]))}
    >>> packed(print)
    Traceback (most recent call last):
    verify.running.codec.NotPlainError: nothing is written of type builtin_function_or_method
    """
    writer = _Writer()
    writer.place(result)
    head = json.dumps(writer.nodes, separators=(",", ":")).encode()
    return b"".join((LENGTH.pack(len(head)), head, *writer.numbers))


def unpacked(body: bytes) -> Any:
    """The result that :func:`packed` made bytes of. Raises an exception, of any kind, for other bytes.

    >>> unpacked(packed([Unsupported("too large")]))
    [Unsupported(reason='too large')]
    """
    (length,) = LENGTH.unpack_from(body)
    start = LENGTH.size + length
    nodes = json.loads(body[LENGTH.size : start])
    make = {**MAKERS, "array": _arrays(bytearray(memoryview(body)[start:]))}
    values: list[Any] = []
    for node in nodes:
        if node.__class__ is list:
            tag, *places = node
            values.append(make[tag]([values[place] for place in places]))
        else:
            values.append(node)
    return values[-1]


class _Writer:
    """The nodes and numbers of one result; what is the same object, and trees that are equal, are written once."""

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.numbers: list[bytes] = []
        self._plain: dict[tuple[type[Any], Any], int] = {}
        self._trees: dict[sympy.Basic, int] = {}
        self._known: dict[int, int] = {}
        self._alive: list[Any] = []  # what is known by its id, so that nothing else gets that

    def place(self, x: Any) -> int:
        """The number of the node that a value is, made where there is none."""
        kind = type(x)
        if x is None or kind in PLAIN or (kind is int and -LARGEST_NUMBER < x < LARGEST_NUMBER):
            key = (kind, x if kind is not float else repr(x))  # 0.0 and -0.0 are equal
            if key not in self._plain:
                self._plain[key] = self._append(x)
            return self._plain[key]
        if isinstance(x, sympy.Basic):
            if x not in self._trees:
                self._trees[x] = self._put(*_tree(x))
            return self._trees[x]
        if id(x) not in self._known:
            self._known[id(x)] = self._node(x, kind)
            self._alive.append(x)
        return self._known[id(x)]

    def _append(self, node: Any) -> int:
        self.nodes.append(node)
        return len(self.nodes) - 1

    def _put(self, tag: str, parts: Iterable[Any]) -> int:
        """A new node, after those of its parts."""
        return self._append([tag, *map(self.place, parts)])

    def _node(self, x: Any, kind: type[Any]) -> int:
        """A new node for what is neither plain nor a tree."""
        name = kind.__name__
        if kind is np.ndarray:
            return self._objects(x) if x.dtype == object else self._array(x)
        if isinstance(x, np.generic) and x.dtype.str in DTYPES:
            return self._put("scalar", [x.dtype.str, x.item()])
        if callable(x) and x in FUNCTION_NAMES:
            return self._put("function", [FUNCTION_NAMES[x]])
        if name not in PARTS or PARTS[name].kind is not kind:
            raise NotPlainError(f"nothing is written of type {name}")
        return self._put(name, PARTS[name].taken(x))

    def _array(self, x: Any) -> int:
        if x.dtype.str not in DTYPES:
            raise NotPlainError(f"no arrays are written of dtype {x.dtype}")
        held = x.tobytes()
        self.numbers.append(held + bytes(-len(held) % ALIGNED))
        return self._put("array", [x.dtype.str, *x.shape])

    def _objects(self, x: Any) -> int:
        """An array of objects as those that differ, and for each entry which of them it is: most are equal."""
        flat = x.ravel().tolist()
        ids = np.array([id(held) for held in flat], np.int64)
        _, first, which = np.unique(ids, return_index=True, return_inverse=True)
        return self._put("objects", [which.reshape(x.shape), *(flat[i] for i in first.tolist())])


# ------------------------------------------------------------------------------------------------------------- numbers

DTYPES = {np.dtype(code).str: np.dtype(code) for code in "?bhilqBHILQefd"}
"""What arrays of numbers may hold: truth values, whole numbers and floats."""


def _arrays(numbers: bytearray) -> Callable[[Items], Any]:
    """What makes arrays, one after the other, of the numbers that stand there; they may be written to."""
    offset = 0

    def array(items: Items) -> Any:
        nonlocal offset
        made = np.ndarray(items[1:], DTYPES[items[0]], numbers, offset)
        offset += -(-made.nbytes // ALIGNED) * ALIGNED
        return made

    return array


def _scalar(items: Items) -> Any:
    dtype, value = items
    return DTYPES[dtype].type(value)


def _objects(items: Items) -> Any:
    which, *objects = items
    held, made = np.empty(len(objects), object), np.empty(which.shape, object)
    held[:] = objects
    made[...] = held[which]
    return made


# ---------------------------------------------------------------------------------------------- containers and classes

RECORDS: Sequence[type[Any]] = (
    *(kind for kind in vars(records).values() if is_dataclass(kind) and isinstance(kind, type)),
    *(Unsupported, ClosedForm, Graph, Node, Screening),
    *(Elementwise, Structural, Composite, Implicit, Monomials, Block, Equations),
)
"""Dataclasses: written field by field."""

OBJECTS: Sequence[type[Any]] = (Symbolic, System, ClosedForms, MatrixForms, Formulas)
"""Other classes: written with all their attributes."""

ENUMS = [kind for kind in vars(words).values() if isinstance(kind, type) and issubclass(kind, Enum)]


def _alternating(mapping: Mapping[Any, Any]) -> Iterable[Any]:
    """Keys and values in turn."""
    return chain.from_iterable(mapping.items())


def _mapping(items: Items) -> dict[Any, Any]:
    return dict(zip(items[::2], items[1::2], strict=True))


def _spread(kind: Callable[..., Any], items: Items) -> Any:
    return kind(*items)


def _object(kind: type[Any], items: Items) -> Any:
    """An object of a class with these attributes; nothing of the class is run."""
    made = object.__new__(kind)
    vars(made).update(_mapping(items))
    return made


class _Parts(NamedTuple):
    """How values of a type are taken apart and put together."""

    kind: type[Any]
    taken: Callable[[Any], Iterable[Any]]
    made: Callable[[Items], Any]


def _record(kind: type[Any]) -> _Parts:
    names = [field.name for field in fields(kind)]
    return _Parts(
        kind,
        lambda x: [getattr(x, name) for name in names],
        lambda items: kind(**dict(zip(names, items, strict=True))),
    )


PARTS: Mapping[str, _Parts] = {
    parts.kind.__name__: parts
    for parts in (
        *(_Parts(kind, iter, kind) for kind in (tuple, list, set, frozenset)),
        _Parts(dict, _alternating, _mapping),
        _Parts(Counter, _alternating, lambda items: Counter(_mapping(items))),
        _Parts(slice, lambda x: (x.start, x.stop, x.step), partial(_spread, slice)),
        _Parts(type(...), lambda _: (), lambda _: ...),
        _Parts(int, lambda x: (hex(x),), lambda items: int(items[0], 16)),
        *(_Parts(kind, lambda x: (x.value,), partial(_spread, kind)) for kind in ENUMS),
        *(_Parts(kind, lambda x: _alternating(vars(x)), partial(_object, kind)) for kind in OBJECTS),
        *map(_record, RECORDS),
    )
}

FUNCTION_NAMES = {function: name for name, function in STEP_FUNCTIONS.items()}

# ------------------------------------------------------------------------------------------------------- SymPy's trees

HEADS: Mapping[str, Callable[..., Any]] = {
    head.__name__: head for head in (sympy.Add, sympy.Mul, sympy.Pow, *FLOAT_FUNCTIONS)
}
"""Heads by name: called with their arguments, and not evaluated."""

MATRIX_HEADS: Mapping[str, Callable[..., Any]] = {
    head.__name__: head for head in (sympy.MatMul, sympy.MatAdd, sympy.Transpose, sympy.ZeroMatrix, sympy.Identity)
}
"""The same of matrices, which evaluate nothing unless they are told to."""

CONSTANTS: Mapping[str, sympy.Expr] = {"pi": sympy.pi, "E": sympy.E, "EulerGamma": sympy.EulerGamma}

CONSTANT_NAMES = {constant: name for name, constant in CONSTANTS.items()}

ASSUMPTIONS: Mapping[str, Mapping[str, bool]] = {
    "real": {"real": True},
    "size": {"integer": True, "positive": True},
    "any": {},
}
"""What our symbols are assumed to be."""


def _tree(x: sympy.Basic) -> tuple[str, Iterable[Any]]:
    """The tag and the parts of a tree."""
    kind, name = type(x), type(x).__name__
    if isinstance(x, sympy.Rational):
        return ("Integer", [int(x)]) if x.is_Integer else ("Rational", [int(x.p), int(x.q)])
    if x in CONSTANT_NAMES:
        return "constant", [CONSTANT_NAMES[x]]
    if kind is sympy.Symbol:
        known = [name for name, assumed in ASSUMPTIONS.items() if sympy.Symbol(x.name, **assumed) == x]
        if known:
            return "Symbol", [x.name, known[0]]
    if kind is sympy.MatrixSymbol:
        return "MatrixSymbol", [x.name, *x.shape]
    if kind in (HEADS.get(name), MATRIX_HEADS.get(name)):
        return name, x.args
    raise NotPlainError(f"nothing is written of SymPy's {name}")


def _all(items: Items, kind: type[Any]) -> Items:
    """Parts of a tree, all of one kind: SymPy would read text, and run it."""
    if not all(isinstance(item, kind) for item in items):
        raise NotPlainError(f"a tree of SymPy is made of {kind.__name__} here, not of {items}")
    return items


def _unevaluated(head: Callable[..., Any], items: Items) -> Any:
    return head(*_all(items, sympy.Basic), evaluate=False)


def _of_matrices(head: Callable[..., Any], items: Items) -> Any:
    return head(*_all(items, sympy.Basic))


def _symbol(items: Items) -> Any:
    name, assumed = _all(items, str)
    return sympy.Symbol(name, **ASSUMPTIONS[assumed])


def _matrix_symbol(items: Items) -> Any:
    return sympy.MatrixSymbol(*_all(items[:1], str), *_all(items[1:], sympy.Basic))


# ------------------------------------------------------------------------------------------- what makes values of nodes

MAKERS: Mapping[str, Callable[[Items], Any]] = {
    **{name: parts.made for name, parts in PARTS.items()},
    **{name: partial(_unevaluated, head) for name, head in HEADS.items()},
    **{name: partial(_of_matrices, head) for name, head in MATRIX_HEADS.items()},
    "Integer": lambda items: sympy.Integer(*_all(items, int)),
    "Rational": lambda items: sympy.Rational(*_all(items, int)),
    "constant": lambda items: CONSTANTS[items[0]],
    "Symbol": _symbol,
    "MatrixSymbol": _matrix_symbol,
    "function": lambda items: STEP_FUNCTIONS[items[0]],
    "scalar": _scalar,
    "objects": _objects,
}
"""By tag; arrays are made with their numbers at hand."""

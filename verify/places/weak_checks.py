"""What a check could not have told: sides of branches that no point is on, and inputs that are too special.

A factor that is 1 at every point looked at may be forgotten and nobody sees it; so may a term that is 0, a transpose or
the axis of a sum where all entries are equal, and the order of two inputs that are equal. Whether it matters is asked
of the gradient itself: where it stays the same when such an input moves, there is nothing to be missed.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from verify.case.case import Case
from verify.graph.derivative import Differentiator
from verify.graph.interpret import Program, kinked_nodes
from verify.numbers.streams import stream
from verify.places.search import branch_name, on_side

Array = NDArray[Any]

MOVE = 1e-3
"""How far an input is moved, relative to it, to see whether the gradient depends on it."""

CHANGE = 1e-9
"""A gradient has changed where it did by more than this part of it."""

MOST_PAIRED = 12
"""Inputs that are compared two by two."""

SPECIAL = {
    "1": "{} is 1 at every point, so a factor that is missing would not be seen",
    "0": "{} is 0 at every point, so a term that is missing would not be seen",
    "identity": "{} is the identity at every point, so a product or a transpose that is missing would not be seen",
    "equal entries": "all entries of {} are equal at every point, so a wrong axis or transpose would not be seen",
    "equal": "{} and {} are equal at every point, so gradients that are exchanged would not be seen",
}
"""What an input, or a pair of them, is at every point -> what that hides; the first that holds is told."""


class Reached:
    """Which sides of the branches of a case were reached, and whether its outputs changed at all.

    >>> from verify.case.case import load_case_text
    >>> case = load_case_text("{case: relu, inputs: {x: {at: 3}}, stages: {f: relu(x)}}")
    >>> reached = Reached(case, Program(case.graph))
    >>> reached.see({"x": np.array([1.0, 2.0])})
    >>> reached.weaknesses()
    ["no point is on the second branch of relu in stage 'f': a fault there would not be seen"]
    """

    def __init__(self, case: Case, program: Program) -> None:
        self.case, self.program = case, program
        moved = set(case.graph.depends_on(case.graph.inputs[item.name] for item in case.real_inputs))
        self.open = {(node, sign) for node in kinked_nodes(case.graph) for sign in (1, -1) if node in moved}
        """Node and side that no point was on yet, of nodes that a point can move."""
        self.first: dict[str, Array] = {}
        """Output -> its value at the first point."""
        self.changed: set[str] = set()
        self.points = 0

    def see(self, inputs: Mapping[str, Array]) -> None:
        """Takes note of P points."""
        outputs = self.case.graph.outputs
        self.points += len(next(iter(inputs.values())))
        if not self.open and len(self.changed) == len(outputs):
            return
        values = self.program.run(inputs)
        self.open = {side for side in self.open if not on_side(self.case.graph, values, *side).any()}
        for name in outputs:
            value = values[self.case.graph.position(name)]
            if np.any(value != self.first.setdefault(name, value[0])):
                self.changed.add(name)

    @property
    def is_at_tie(self) -> bool:
        """Whether every point is on the tie of some branch: on neither side of it."""
        return any((node, -sign) in self.open for node, sign in self.open)

    def weaknesses(self) -> list[str]:
        """What could not have been seen, a sentence each."""
        same = [name for name in self.first if name not in self.changed] if self.points > 1 else []
        told = [f"{name} is the same at every point" for name in same]
        for node, sign in sorted(self.open, key=lambda side: (side[0], -side[1])):
            side = f"the {'first' if sign > 0 else 'second'} branch of {branch_name(self.case.graph, node)}"
            told.append(f"no point is on {side}: a fault there would not be seen")
        return list(dict.fromkeys(told))


class Special:
    """Inputs that are 1, 0 or equal wherever a gradient was looked at.

    >>> from verify.methods.reverse import Reverse
    >>> from verify.case.case import load_case_text
    >>> case = load_case_text("{case: product, inputs: {x: {at: 3}, c: {at: 1}}, stages: {f: c*x**2}}")
    >>> special = Special(case, ["x", "c"])
    >>> special.see({"x": np.array([3.0]), "c": np.array([1.0])}, {"f": np.ones(1)})
    >>> special.weaknesses(Reverse(case.graph, case.variables))
    ['c is 1 at every point, so a factor that is missing would not be seen']
    """

    def __init__(self, case: Case, names: Collection[str]) -> None:
        """``names`` are the inputs that whoever asks has chosen the values of."""
        chosen = [item for item in case.inputs if item.name in names and item.kind in {"real", "constant"}]
        self.open: list[tuple[str, tuple[str, ...]]] = [
            (kind, (item.name,)) for item in chosen for kind in SPECIAL if kind != "equal"
        ]
        pairs = itertools.combinations(chosen[:MOST_PAIRED], 2)
        alike = [(a.name, b.name) for a, b in pairs if a.shape == b.shape and "real" in (a.kind, b.kind)]
        self.open += [("equal", pair) for pair in alike]
        self.first: tuple[Mapping[str, Array], Mapping[str, Array]] | None = None
        """The first point."""

    def see(self, inputs: Mapping[str, Array], upstream: Mapping[str, Array]) -> None:
        """Takes note of P points."""
        if self.first is None:
            self.first = {k: x[:1] for k, x in inputs.items()}, {k: g[:1] for k, g in upstream.items()}
        self.open = [(kind, names) for kind, names in self.open if _is_special(kind, *(inputs[n] for n in names))]

    def weaknesses(self, gradient: Differentiator) -> list[str]:
        """What could not have been seen, a sentence each; ``gradient`` is one of the right kind, for all variables."""
        told: dict[tuple[str, ...], str] = {}
        if self.first is None:
            return []
        for kind, names in sorted(self.open, key=lambda found: list(SPECIAL).index(found[0])):
            is_told = any(name in names for key in told for name in key)
            if not is_told and self._matters(gradient, *self.first, names[-1]):
                told[names] = SPECIAL[kind].format(*names)
        return list(told.values())

    @staticmethod
    def _matters(
        gradient: Differentiator, inputs: Mapping[str, Array], upstream: Mapping[str, Array], name: str
    ) -> bool:
        """Whether the gradient changes where an input moves a little, each entry by another amount."""
        x = inputs[name]
        moves = stream(0, "moves").uniform(MOVE, 2 * MOVE, x.shape)
        moved = {**inputs, name: (x + moves * np.where(x == 0, 1.0, x)).astype(x.dtype)}
        with np.errstate(all="ignore"):
            before, after = (gradient.differentiate(at, upstream).gradients for at in (inputs, moved))
            return any(changed(np.asarray(before[key]), np.asarray(after[key])) for key in before)


def _is_special(kind: str, x: Array, other: Array | None = None) -> bool:
    if kind in {"0", "1"}:
        return bool(np.all(x == float(kind)))
    if kind == "equal":
        return other is not None and np.array_equal(x, other)
    flat = x.reshape(len(x), -1)
    if kind == "equal entries":
        return flat.shape[1] > 1 and bool(np.all(flat == flat[:, :1]))
    return x.ndim == 3 and x.shape[1] == x.shape[2] > 1 and bool(np.all(x == np.eye(x.shape[1])))


def changed(before: Array, after: Array) -> bool:
    """Whether some entry of a gradient is another, by more than rounding.

    >>> changed(np.array([1.0, 2.0]), np.array([1.0, 2.0 + 1e-6])), changed(np.zeros(1), np.zeros(1))
    (True, False)
    """
    finite = np.isfinite(before) & np.isfinite(after)
    size = np.maximum(np.abs(before), np.abs(after))
    return bool(np.any(finite & (np.abs(after - before) > CHANGE * size)))

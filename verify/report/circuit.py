"""The circuit of a case, as the course notes draw it: gates from left to right, on each wire value and gradient.

A gate stands one layer behind the last of its operands, an input one layer before its first reader. Where a wire
passes a layer it has a place of its own in it, so that no wire crosses a gate; the order within a layer is that of the
means of the neighbours' places, swept a few times to and fro, which leaves few crossings.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from verify.errors import line_of
from verify.records import CaseResult, Gate
from verify.report.cause import cut
from verify.report.plot import picture
from verify.report.wording import plural, shape_text

if TYPE_CHECKING:
    from markupsafe import Markup

ROW, GAP, MARGIN = 58, 34, 14
"""Heights of a row of gates, room for wires to turn, room around the drawing, in units of it."""

LETTER = 6.7
"""Width of a letter."""

LONGEST = 14
"""Letters of a name or a label."""

SWEEPS = 12

Slot = tuple[int, int]
"""A gate and a layer: its own, or one that its wire passes."""


def circuit_picture(case: CaseResult) -> Markup:
    """The circuit of a case, empty where it has none.

    >>> gates = Gate("", "x", (), (), 3.0, 6.0), Gate("x**2", "f", (0,), (), 9.0, 1.0)
    >>> picture = str(circuit_picture(CaseResult("square", "", circuit=gates, outputs=("f",))))
    >>> picture[picture.index("<desc>") + 6 : picture.index("</desc>")]
    'From left to right: x is 3, its gradient 6; f = x**2 is 9, its gradient 1.'
    """
    from markupsafe import Markup

    gates = case.circuit
    if not gates:
        return Markup("")
    failing = {variable.name for variable in case.variables if variable.failed}
    drawing = _Drawing(gates)
    wires: dict[str, list[str]] = {"wire": [], "wire bad": []}
    words: list[str] = []
    for i, gate in enumerate(gates):
        wires["wire bad" if gate.name in failing else "wire"].append(drawing.wire(i))
        words.append(drawing.gate(i, is_output=gate.name in case.outputs, is_bad=gate.name in failing))
    paths = [f'<path class="{kind}" d="{"".join(parts)}"/>' for kind, parts in wires.items() if parts]
    told = [_told(gate) for gate in gates if gate.name]
    wrong = [gate.name for gate in gates if gate.name in failing]
    end = f" Not right: {', '.join(wrong)}." if wrong else ""
    return picture(
        "circuit",
        (drawing.width, drawing.height),
        f"Circuit of {line_of(case.name)}, {plural(len(gates), 'gate')}",
        f"From left to right: {'; '.join(told)}.{end}",
        Markup("".join(paths)) + Markup("").join(map(Markup, words)),  # noqa: S704 - escaped where they are made
    )


def _told(gate: Gate) -> str:
    made = f"{gate.name} = {gate.label}" if gate.label and gate.operands else gate.name
    return f"{made} is {wire_text(gate.value)}, its gradient {wire_text(gate.gradient)}"


def wire_text(array: Any) -> str:
    """A number or a few in three digits, of more the smallest and the largest.

    >>> wire_text(0.73105857), wire_text([1.0, -2.0]), wire_text(float("nan"))
    ('0.731', '[1, -2]', '-')
    """
    import numpy as np

    a = np.asarray(array, dtype=float)
    if np.isnan(a).all():
        return "-"
    parts = [f"{x:.3g}" for x in a.flat]
    return f"[{', '.join(parts)}]" if a.ndim else parts[0]


class _Drawing:
    """Where everything is, and what it looks like."""

    def __init__(self, gates: Sequence[Gate]) -> None:
        self.gates = gates
        self.layer = _layers(gates)
        self.readers: list[list[int]] = [[] for _ in gates]
        for i, gate in enumerate(gates):
            for operand in gate.operands:
                self.readers[operand].append(i)
        self.texts = [(_short(gate, gate.value), _short(gate, gate.gradient)) for gate in gates]
        self.height_of = _rows(self._columns(), self._neighbours())
        columns = range(max(self.layer) + 1)
        wide = [max(self._half(i), LETTER * len(_above(gate)) / 2) for i, gate in enumerate(gates)]
        self.wide = [max(wide[i] for i in self._in(column)) for column in columns]
        labels = [max(LETTER * len(text) for i in self._in(column) for text in self.texts[i]) for column in columns]
        self.left = [0.0] * len(columns)
        for k in columns[1:]:
            self.left[k] = self.left[k - 1] + 2 * self.wide[k - 1] + labels[k - 1] + 8 + GAP
        self.turn = [self.left[k] + 2 * self.wide[k] + labels[k] + 8 for k in columns]
        low = min(self.height_of.values())
        self.height_of = {place: y - low for place, y in self.height_of.items()}
        self.width = math.ceil(self.turn[-1]) + 2 * MARGIN
        self.height = math.ceil(max(self.height_of.values())) + ROW

    def _in(self, column: int) -> list[int]:
        return [i for i, layer in enumerate(self.layer) if layer == column]

    def _half(self, i: int) -> float:
        """Half of a gate's width."""
        text = self.gates[i].label if self.gates[i].operands else self.gates[i].name
        return max(13.0, LETTER * len(cut(text, LONGEST)) / 2 + 5)

    def _last(self, i: int) -> int:
        """The layer of the last reader of a gate."""
        return max((self.layer[reader] for reader in self.readers[i]), default=self.layer[i] + 1)

    def _columns(self) -> list[list[Slot]]:
        """What has a place in each layer: its gates, and the wires that pass it."""
        columns: list[list[Slot]] = [[] for _ in range(max(self.layer) + 1)]
        for i, layer in enumerate(self.layer):
            for k in range(layer, max(self._last(i), layer + 1)):
                columns[k].append((i, k))
        return columns

    def _neighbours(self) -> dict[Slot, list[Slot]]:
        """The places that each place is joined to."""
        joined: dict[Slot, list[Slot]] = {}
        for i, layer in enumerate(self.layer):
            for k in range(layer + 1, self._last(i)):
                _join(joined, (i, k - 1), (i, k))
            for reader in self.readers[i]:
                _join(joined, (i, self.layer[reader] - 1), (reader, self.layer[reader]))
        return joined

    def at(self, place: Slot) -> str:
        """The height of a place, as text."""
        return f"{self.height_of[place] + ROW / 2 + 8:.0f}"

    def wire(self, i: int) -> str:
        """From a gate to all that read it, or out of the drawing."""
        layer = self.layer[i]
        start = self.left[layer] + self.wide[layer] + self._half(i) + MARGIN
        path = [f"M{start:.0f} {self.at((i, layer))}H{self.turn[layer] + MARGIN:.0f}"]
        for k in range(layer + 1, self._last(i)):
            path += [self._turned((i, k - 1), (i, k), 0.0), f"H{self.turn[k] + MARGIN:.0f}"]
        for reader in dict.fromkeys(self.readers[i]):
            k = self.layer[reader]
            path.append(self._turned((i, k - 1), (reader, k), self.wide[k] - self._half(reader)))
        return "".join(path)

    def _turned(self, a: Slot, b: Slot, further: float) -> str:
        """A curve from the end of one layer to the start of the next."""
        x, end = self.turn[a[1]] + MARGIN, self.left[b[1]] + MARGIN
        middle = (x + end) / 2
        on = f"H{end + further:.0f}" if further > 0.5 else ""
        return f"M{x:.0f} {self.at(a)}C{middle:.0f} {self.at(a)} {middle:.0f} {self.at(b)} {end:.0f} {self.at(b)}{on}"

    def gate(self, i: int, *, is_output: bool, is_bad: bool) -> str:
        """A gate with its label and name, and the two numbers behind it."""
        from markupsafe import escape

        gate, layer, half = self.gates[i], self.layer[i], self._half(i)
        x, y = self.left[layer] + self.wide[layer] + MARGIN, float(self.at((i, layer)))
        kind = " ".join(filter(None, ("gate" if gate.operands else "input", gate.kink, "bad" if is_bad else "")))
        label = cut(line_of(gate.label if gate.operands else gate.name), LONGEST)
        above = _above(gate)
        parts = [
            f'<rect class="{kind}" x="{x - half:.0f}" y="{y - 13:.0f}" width="{2 * half:.0f}" height="26" rx="13"/>',
            f'<text x="{x:.0f}" y="{y + 4:.0f}" class="m">{escape(label)}</text>',
        ]
        if above:
            strong = "m o" if is_output else "m n"
            parts.append(f'<text x="{x:.0f}" y="{y - 18:.0f}" class="{strong}">{escape(above)}</text>')
        for text, side, way in zip(self.texts[i], "vg", (-4, 13), strict=True):
            parts.append(f'<text x="{x + half + 4:.0f}" y="{y + way:.0f}" class="{side}">{text}</text>')
        return "".join(parts)


def _above(gate: Gate) -> str:
    """What stands above a gate: its name, unless it is in it, and its shape."""
    name = cut(line_of(gate.name), LONGEST) if gate.operands else ""
    return f"{name} {shape_text(gate.shape) if gate.shape else ''}".strip()


def _short(gate: Gate, array: Any) -> str:
    """What stands at a wire: of a large array its range."""
    import numpy as np

    text = wire_text(array)
    return text[1:-1].replace(", ", " … ") if np.size(array) and math.prod(gate.shape) != np.size(array) else text


def _join(joined: dict[Slot, list[Slot]], a: Slot, b: Slot) -> None:
    joined.setdefault(a, []).append(b)
    joined.setdefault(b, []).append(a)


def _layers(gates: Sequence[Gate]) -> list[int]:
    """The layer of each gate: one behind its last operand; an input's is one before its first reader."""
    layer: list[int] = []
    first: dict[int, int] = {}
    for gate in gates:
        layer.append(1 + max((layer[operand] for operand in gate.operands), default=-1))
        for operand in gate.operands:
            first[operand] = min(first.get(operand, layer[-1]), layer[-1])
    return [
        k if gate.operands else max(first.get(i, 1) - 1, 0)
        for i, (gate, k) in enumerate(zip(gates, layer, strict=True))
    ]


def _rows(columns: Sequence[list[Slot]], joined: Mapping[Slot, Sequence[Slot]]) -> dict[Slot, float]:
    """The height of each place: near its neighbours', in their order, no two of a layer closer than a row."""
    y = {place: float(number * ROW) for column in columns for number, place in enumerate(column)}
    for sweep in range(SWEEPS):
        for k in range(len(columns)) if sweep % 2 == 0 else reversed(range(len(columns))):
            beside = k - 1 if sweep % 2 == 0 else k + 1
            wish = {}
            for place in columns[k]:
                near = [y[other] for other in joined.get(place, ()) if sweep >= SWEEPS - 2 or other[1] == beside]
                wish[place] = sum(near) / len(near) if near else y[place]
            column = sorted(columns[k], key=wish.__getitem__)
            for number, place in enumerate(column):
                y[place] = wish[place] if number == 0 else max(wish[place], y[column[number - 1]] + ROW)
            shift = sum(y[place] - wish[place] for place in column) / len(column)
            for place in column:
                y[place] -= shift
    return y

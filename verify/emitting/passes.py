"""The forward and backward pass of a case as a Python module: plain NumPy, stage by stage, as one writes it by hand."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from verify.case.case import Case
from verify.case.expression_text import expression_text
from verify.errors import line_of
from verify.graph.graph import Node
from verify.ops import HELPERS, OPS, Shape
from verify.ops.code import Entrywise, Picked, Place, Whole, entrywise_code
from verify.ops.texts import held, index_text, may_share, product, summed_to, times

WIDTH = 110
"""Characters of a line, comments included."""
LONG = 36
"""Characters of a value or a gradient on the way that is given a name of its own."""
RESERVED = frozenset({"np", "upstream", "forward", "backward", "cache", *HELPERS})
"""Names that the module itself uses."""
_CONSTANTS = {"pi": "np.pi", "e": "np.e"}


def emit(case: Case) -> str:
    r"""A Python module with ``forward`` and ``backward`` of a case, to be read and to be run.

    ``backward`` takes the inputs by name and ``upstream``, and returns the gradients by name, inputs first and then
    stages.

    >>> from verify.case.case import load_case_text
    >>> text = emit(load_case_text("{case: a, inputs: {x: {at: 3}, y: {at: 2}}, stages: {q: x + y, f: q * y}}"))
    >>> print(text[text.index("    # f = q * y"):])
        # f = q * y
        dq = y * df  # df/dq = y
        dy = q * df  # df/dy = q
    <BLANKLINE>
        # q = x + y
        dx = dq  # dq/dx = 1
        dy += dq  # dq/dy = 1
    <BLANKLINE>
        return {"x": dx, "y": dy, "q": dq}
    <BLANKLINE>
    """
    return _Writer(case).module()


@dataclass(slots=True)
class _Gradient:
    """A gradient on its way down a formula: local derivatives so far, times a text of some shape."""

    text: str
    shape: Shape
    factors: tuple[str, ...] = ()
    rules: tuple[str, ...] = ()
    """What happened on the way that is no factor."""
    pure: bool = True
    """Whether the factors are the whole local derivative of the stage."""

    def written(self) -> str:
        """Factors times text."""
        return times(product(self.factors), self.text)


@dataclass(slots=True)
class _Block:
    """The lines of one stage of the backward pass."""

    stage: str
    lines: list[str] = field(default_factory=list)
    named: dict[int, str] = field(default_factory=dict)
    """Inner values that have a name."""
    numbers: int = 0

    def line(self, code: str, comment: str = "") -> None:
        """Code with its comment beside it where there is room, else above it."""
        if comment and len(code) + len(comment) + 8 > WIDTH:
            self.lines.append(f"# {comment}")
            comment = ""
        self.lines.append(f"{code}  # {comment}" if comment else code)


class _Asked(Sequence[str]):
    """Texts that are made when they are asked for."""

    def __init__(self, make: Callable[[int], str], count: int) -> None:
        self._make, self._count = make, count

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, i: Any) -> Any:
        if not isinstance(i, int) or i >= self._count:
            raise IndexError(i)
        return self._make(i)


class _Writer:
    """Writes one case."""

    def __init__(self, case: Case) -> None:
        self.case, self.graph = case, case.graph
        self.nodes = case.graph.nodes
        self.names = {position: self._free(name) for position, name in self.graph.names.items()}
        taken = {name for position, name in self.names.items() if self._is_read(position)}
        self.gradients = {
            position: f"d{name}" if f"d{name}" not in taken else f"grad_{name}"
            for position, name in self.graph.names.items()
        }
        real = {self.graph.inputs[item.name] for item in case.real_inputs}
        self.moving = real | set(self.graph.depends_on(real))
        self.known: set[int] = set()
        """Variables whose gradient has a value by now."""

    @staticmethod
    def _free(name: str) -> str:
        return f"{name}_" if name in RESERVED else name

    # ------------------------------------------------------------------------------------------------------ the module

    def module(self) -> str:
        """The whole text."""
        stages = {name: self._value_text(position) for name, position in self.graph.stages.items()}
        blocks = [block for name in reversed(tuple(self.graph.stages)) if (block := self._block(name))]
        rest = [i for i in self._real_inputs() if i not in self.known]
        body = "\n".join(line for _, lines in blocks for line in lines)
        cache = [self.names[i] for i in self.graph.stages.values() if re.search(rf"\b{self.names[i]}\b", body)]
        parameters = ", ".join(self.names[i] for i in self.graph.inputs.values() if self._is_read(i))
        outputs = [self.names[self.graph.position(name)] for name in self.graph.outputs]
        heading = [
            f"# {line_of(self.case.name)}: value and gradient, stage by stage.",
            *([f"# {line_of(self.case.source)}"] if self.case.source.strip() else []),
            "# Written by `verify emit`; d stands for the derivative of the output, contracted with upstream.",
        ]
        lines = [
            f"def forward({parameters}):",
            f'    """{_listed("The output", outputs)}, and the stages that the backward pass needs."""',
            *(f"    {self.names[self.graph.position(name)]} = {text}" for name, text in stages.items()),
            *_wrapped(f"    return {outputs[0] if len(outputs) == 1 else _tuple(outputs)}, ", cache),
            "",
            "",
            f"def backward({parameters}, {self._upstream_parameter()}):",
            '    """The gradients by name, inputs first, then stages."""',
        ]
        if cache:
            lines += [f"    _, cache = forward({parameters})", *_wrapped("", cache, "    ", " = cache"), ""]
        lines += list(self._seeds())
        for title, steps in blocks:
            lines += ["", f"    # {title}", *(f"    {step}" for step in steps)]
        lines += [""] + [f"    {self.gradients[i]} = np.zeros_like({self.names[i]})" for i in rest]
        lines += self._returned()
        passes = "\n".join(lines)
        return "\n".join([*heading, "", "import numpy as np", f"{_helpers(passes)}\n", f"{passes}\n"])

    def _real_inputs(self) -> list[int]:
        return [self.graph.inputs[item.name] for item in self.case.real_inputs]

    def _is_read(self, position: int) -> bool:
        return bool(self.graph.consumers[position]) or position in self._real_inputs()

    def _upstream_parameter(self) -> str:
        shapes = [self.graph.shape(name) for name in self.graph.outputs]
        return "upstream=1.0" if shapes == [()] else "upstream"

    def _seeds(self) -> Iterator[str]:
        """What the backward pass begins with."""
        for name in self.graph.outputs:
            position = self.graph.position(name)
            given = "upstream" if len(self.graph.outputs) == 1 else f'upstream["{name}"]'
            is_added_to = self.graph.consumers[position] and self.nodes[position].shape
            yield f"    {self.gradients[position]} = {f'np.copy({given})' if is_added_to else given}"

    def _returned(self) -> list[str]:
        stages = [i for name, i in self.graph.stages.items() if i in self.known and name not in self.graph.outputs]
        pairs = [f'"{self.graph.names[i]}": {self.gradients[i]}' for i in (*self._real_inputs(), *stages)]
        whole = f"    return {{{', '.join(pairs)}}}"
        return [whole] if len(whole) <= WIDTH else ["    return {", *(f"        {pair}," for pair in pairs), "    }"]

    # ---------------------------------------------------------------------------------------------------------- values

    def _text(self, position: int, block: _Block | None = None) -> str:
        """A value as text: its name, or what it is computed from; in a block long ones are named first."""
        node = self.nodes[position]
        if position in self.names:
            return self.names[position]
        if node.kind == "constant":
            return _CONSTANTS.get(node.op, node.op)
        if block is not None and position in block.named:
            return block.named[position]
        text = self._value_text(position, block)
        if block is not None and len(text) > LONG:
            name = self._temporary(block, "")
            block.named[position] = name
            block.line(f"{name} = {text}")
            return name
        return text

    def _temporary(self, block: _Block, prefix: str) -> str:
        taken = {*self.names.values(), *self.gradients.values()}
        while True:
            block.numbers += 1
            name = f"{prefix}{block.stage}_{block.numbers}"
            if name not in taken:
                return name

    def _value_text(self, position: int, block: _Block | None = None) -> str:
        node = self.nodes[position]
        operands = tuple(self._text(arg, block) for arg in node.args)
        code = OPS[node.op].code
        if isinstance(code, Picked):
            return f"{held(operands[0])}{index_text(node.params['index'])}"
        if isinstance(code, Whole):
            return code.forward(self._place(node, operands))
        row = entrywise_code(code, node.params)
        tight = map(held, operands, row.levels) if row.levels else map(held, operands)
        return _filled(row.forward, operands, tuple(tight), "")

    def _place(
        self, node: Node, operands: Sequence[str], own: Callable[[], str] = str, g: str = "", which: int = 0
    ) -> Place:
        shapes = tuple(self.nodes[arg].shape for arg in node.args)
        return Place(operands, own, g, shapes, node.shape, node.params, which)

    # -------------------------------------------------------------------------------------------------- the way back

    def _block(self, stage: str) -> tuple[str, list[str]] | None:
        """One stage of the backward pass, with its title; None where no gradient comes along."""
        root = self.graph.position(stage)
        if root not in self.moving or (root not in self.known and stage not in self.graph.outputs):
            return None
        block = _Block(self.names[root])
        self._back(block, root, _Gradient(self.gradients[root], self.nodes[root].shape), root)
        title = line_of(f"{stage} = {expression_text(self.graph, stage)}")
        return title, block.lines

    def _back(self, block: _Block, position: int, gradient: _Gradient, root: int) -> None:
        """Hands the gradient of one node to its operands, and on to the names that they are made of."""
        node = self.nodes[position]
        moving = [i for i, arg in enumerate(node.args) if arg in self.moving]
        if position != root and len(moving) > 1 and len(gradient.written()) > LONG / 2:
            gradient = self._named(block, gradient, node)
        for i in moving:
            self._hand_on(block, position, i, gradient, root)

    def _named(self, block: _Block, gradient: _Gradient, node: Node) -> _Gradient:
        """The gradient under a name of its own, in its full shape."""
        name = self._temporary(block, "d")
        written = gradient.written()
        if gradient.shape != node.shape:
            written = f"np.broadcast_to({written}, {node.shape})"
        block.line(f"{name} = {written}", self._comment(block.stage, "", gradient))
        return _Gradient(name, node.shape, pure=False)

    def _hand_on(self, block: _Block, position: int, which: int, gradient: _Gradient, root: int) -> None:
        node = self.nodes[position]
        arg = node.args[which]
        code = OPS[node.op].code
        if isinstance(code, Picked):
            self._write_into(block, node, gradient, root)
            return
        if isinstance(code, Whole):
            sent = self._through(block, position, which, gradient, code, root)
        else:
            row = entrywise_code(code, node.params)
            if row.local[which] == "0":
                return  # nothing comes through, as through the condition of a choice
            sent = self._by(block, position, which, gradient, row, root)
        if arg in self.names:
            self._add(block, arg, sent, "")
        else:
            if len(sent.written()) > 2 * LONG:
                sent = self._named(block, sent, self.nodes[arg])
            self._back(block, arg, sent, root)

    def _own_value(self, block: _Block, position: int, root: int) -> str:
        return self.names[root] if position == root else self._text(position, block)

    def _by(
        self, block: _Block, position: int, which: int, gradient: _Gradient, row: Entrywise, root: int
    ) -> _Gradient:
        """Entry by entry: one factor more, and a sum over the axes along which the operand was repeated."""
        node = self.nodes[position]
        template = row.local[which]
        used = {i for i, key in enumerate("abcd") if f"{{{key}}}" in template or f"{{{key.upper()}}}" in template}
        operands = tuple(self._text(arg, block) if i in used else "" for i, arg in enumerate(node.args))
        y = self._own_value(block, position, root) if "{y}" in template else ""
        factor = _filled(template, operands, tuple(held(text) if text else "" for text in operands), y)
        shapes = [self.nodes[node.args[i]].shape for i in used] + [node.shape] * ("{y}" in template)
        sent = _Gradient(
            gradient.text, np.broadcast_shapes(gradient.shape, *shapes), (*gradient.factors, factor), gradient.rules,
            gradient.pure,
        )  # fmt: skip
        wanted = self.nodes[node.args[which]].shape
        if wanted == node.shape:
            return sent
        written = sent.written()
        if sent.shape != node.shape:
            written = f"np.broadcast_to({written}, {node.shape})"
        rule = "summed over the axes along which it was repeated"
        rules = (*_told(block.stage, sent, ""), rule)
        return _Gradient(summed_to(written, node.shape, wanted), wanted, rules=rules, pure=False)

    def _through(
        self, block: _Block, position: int, which: int, gradient: _Gradient, row: Whole, root: int
    ) -> _Gradient:
        """Through a row that works on whole arrays."""
        node = self.nodes[position]
        written = gradient.written()
        if gradient.shape != node.shape:
            written = f"np.broadcast_to({written}, {node.shape})"
        operands = _Asked(lambda i: self._text(node.args[i], block), len(node.args))
        place = self._place(node, operands, lambda: self._own_value(block, position, root), written, which)
        text = row.back(place)
        wanted = self.nodes[node.args[which]].shape
        shape = wanted
        if row.spreads:
            shape = () if len(place.axes) == len(wanted) and not node.params.get("keepdims") else tuple(
                1 if i in place.axes else size for i, size in enumerate(wanted)
            )  # fmt: skip
        return _Gradient(text, shape, rules=(*gradient.rules, f"{node.op}: {row.rule}"), pure=False)

    def _write_into(self, block: _Block, node: Node, gradient: _Gradient, root: int) -> None:
        """The gradient of picked entries is added in the places that they were picked from."""
        arg = node.args[0]
        index = index_text(node.params["index"])
        if arg in self.names:
            self._add(block, arg, gradient, index, repeats=_repeats(node))
            return
        name = self._temporary(block, "d")
        block.line(f"{name} = np.zeros({self.nodes[arg].shape})")
        block.line(_added(name, index, gradient.written(), repeats=_repeats(node)), "the entries that were picked")
        self._back(block, arg, _Gradient(name, self.nodes[arg].shape, pure=False), root)

    def _add(self, block: _Block, variable: int, sent: _Gradient, index: str, *, repeats: bool = False) -> None:
        """Adds what was sent back to the gradient of a variable."""
        name, text, shape = self.gradients[variable], sent.written(), self.nodes[variable].shape
        first = variable not in self.known and self.graph.names[variable] not in self.graph.outputs
        comment = self._comment(block.stage, f"{self.names[variable]}{index}", sent)
        self.known.add(variable)
        if index:
            if first:
                block.line(f"{name} = np.zeros_like({self.names[variable]})")
            block.line(_added(name, index, text, repeats=repeats), comment)
            return
        if sent.shape != shape:
            text = times(f"np.ones_like({self.names[variable]})", text)
        elif first and shape and may_share(text):
            text = f"{text}.copy()"
        block.line(f"{name} {'=' if first else '+='} {text}", comment)

    def _comment(self, stage: str, variable: str, sent: _Gradient) -> str:
        return "; ".join(_told(stage, sent, variable))


def _helpers(text: str) -> str:
    """Imports and functions that a module names and NumPy has not, and those that they name in turn."""
    needed: set[str] = set()
    found = _names(text)
    while found := found & HELPERS.keys() - needed:
        needed |= found
        found = set().union(*(_names(HELPERS[name]) for name in found))
    texts = [text for name, text in HELPERS.items() if name in needed]
    imports = [text for text in texts if text.startswith("from ")]
    return "".join([*imports, *(f"\n\n{text}" for text in texts if text not in imports)])


def _names(text: str) -> set[str]:
    return {node.id for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Name)}


def _told(stage: str, sent: _Gradient, variable: str) -> tuple[str, ...]:
    """The local derivative, or the rules that were followed."""
    if sent.pure and not sent.rules and variable:
        return (f"d{stage}/d{variable} = {product(sent.factors)}",)
    return sent.rules


def _filled(template: str, operands: Sequence[str], tight: Sequence[str], y: str) -> str:
    """A template with its texts in place."""
    texts = {"y": held(y) if y else ""}
    for key, plain, closed in zip("abcd", operands, tight, strict=False):
        texts |= {key: closed, key.upper(): plain}
    return template.format(**texts)


def _repeats(node: Node) -> bool:
    """Whether an index may pick an entry more than once."""
    lists = [part for part in node.params["index"] if isinstance(part, tuple)]
    return any(len(set(part)) < len(part) for part in lists) or len(lists) > 1


def _added(name: str, index: str, text: str, *, repeats: bool) -> str:
    """``+=`` forgets all but one of the entries that are picked twice."""
    if repeats:
        return f"np.add.at({name}, np.s_{index}, {text})"
    return f"{name}{index} += {text}"


def _listed(what: str, names: Sequence[str]) -> str:
    return f"{what}{'s' * (len(names) > 1)} {', '.join(names)}"


def _tuple(names: Sequence[str]) -> str:
    return f"({', '.join(names)}{',' * (len(names) == 1)})"


def _wrapped(start: str, names: Sequence[str], indent: str = "", end: str = "") -> list[str]:
    """A tuple of names on one line, or on several where there are many."""
    bare = f"{', '.join(names)}" if not start and len(names) > 1 else _tuple(names)
    whole = f"{indent}{start}{bare}{end}"
    if len(whole) <= WIDTH:
        return [whole]
    lines, row = [f"{indent}{start}("], f"{indent}       "
    for name in names:
        if len(row) + len(name) + 2 > WIDTH:
            lines.append(row)
            row = f"{indent}       "
        row += f" {name},"
    return [*lines, row, f"{indent}    ){end}"]

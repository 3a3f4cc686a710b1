"""What happens to tracers, written down as the steps of a program.

Whatever needs a number (``if x > 0``, an index, ``np.argmax``) gets that of the point at which the function is traced,
and the :class:`Recorder` takes note of it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import CodeType, FrameType
from typing import Any, NoReturn, cast

import numpy as np

from verify.errors import ShapeError, Untraced
from verify.graph.graph import GraphBuilder, Node
from verify.graph.interpret import call_of
from verify.ops import Shape
from verify.tracing import excluded, numpy_rules
from verify.tracing.composed import add_at
from verify.tracing.conditions import Condition, Masked
from verify.tracing.places import Place, assigned_names, frames_below, global_name, local_name, place_in, place_of
from verify.tracing.storage import KNOWN, Array, Entries, Storage, known_entries
from verify.tracing.tracer import VIEWS, Tracer, as_tracer, has_traced
from verify.tracing.untraced import trace_error

MOST_STEPS = 50_000
"""Ops of one trace; what is longer is a loop over entries, which a case has no use for."""
MOST_OVERLAYS = 4
"""Arrays that are laid over each other by masks; more are put together entry by entry."""
NAMED_CONSTANTS = {math.pi: "pi", math.e: "e"}
"""Who writes ``np.pi`` means the real number."""


@dataclass(slots=True)
class Step:
    """One node of the program as it was recorded."""

    kind: str
    """``input``, ``constant``, ``array`` (a constant one, which a case holds as an input) or ``op``."""
    op: str
    """The op's row, or the text of a constant."""
    args: tuple[int, ...]
    params: Mapping[str, Any]
    shape: Shape
    line: int = 0
    value: Any = None
    """Of a constant."""
    name: str = ""
    """Of an input; of an array: the user's own, or empty."""
    names: list[tuple[int, str]] = field(default_factory=list)
    """Variables that it is assigned to, each with how many calls deep the variable lives."""
    hints: list[str] = field(default_factory=list)
    """Variables of inner functions that hold it, parameters among them."""

    @property
    def assigned(self) -> str:
        """The variable of the outermost function that it is assigned to, empty where there is none."""
        return min(self.names, key=lambda pair: pair[0])[1] if self.names else ""


@dataclass(frozen=True, slots=True)
class Decision:
    """A branch of the user's code that a comparison of traced values decided."""

    condition: Condition
    value: bool
    """What it was taken to be."""
    place: Place


@dataclass(frozen=True, slots=True)
class Choice:
    """What was taken from the traced point for granted: a number, an order, the truth of a comparison."""

    what: str
    place: Place
    tied: bool = False
    """It could as well have come out otherwise at this very point."""
    leaks: bool = False
    """A value itself was taken, which changes from point to point, and not what it says about an order."""


class TooManyBranches(Exception):  # noqa: N818 - no error of anybody's: the trace goes on with the point's own branches
    """More branches on values than are followed."""


class Recorder:
    """Writes down what happens to the tracers of one function, in one run or in several that branch otherwise."""

    def __init__(self, entry: CodeType, file: str, dtype: np.dtype[Any]) -> None:
        self.entry, self.file, self.dtype = entry, file, dtype
        self.steps: list[Step] = []
        self.outermost: FrameType | None = None
        """The frame of the traced function itself."""
        self.choices: list[Choice] = []
        self.decisions: list[Decision] = []
        """Of the run that is going on, or was the last."""
        self.turned = False
        """Whether this run takes every tie the other way."""
        self._forced: Sequence[bool] = ()
        self._most_decisions: int | None = None
        self._known_steps: dict[Any, int] | None = None
        """What was recorded so far, which a later run has no need to record again; None in the first run."""
        self._inputs: dict[str, int] = {}
        self._builder = GraphBuilder()
        self._positions: list[int] = []
        self._numbers: list[Any] = []
        """The value of each node of the builder at the traced point, as far as anybody asked."""
        self._at: dict[int, Array] = {}
        self._arrays: dict[int, tuple[Any, int]] = {}
        self._given: list[tuple[str, Any]] = []
        self.twin_of: Callable[[Any], Any] | None = None
        """Makes a library's Python code one that can be traced."""
        self.within: set[Any] = set()
        """Such code that runs now."""

    def again(self, forced: Sequence[bool] = (), most_decisions: int | None = None, *, turned: bool = False) -> None:
        """Makes ready for another run of the function, which goes the given ways at its first branches."""
        if self._known_steps is None and self.steps:
            self._known_steps = {_step_key(step): i for i, step in enumerate(self.steps) if step.kind != "array"}
        self._forced, self._most_decisions, self.turned = forced, most_decisions, turned
        self.decisions = []

    # ----------------------------------------------------------------------------------------------- what is recorded

    def input(self, name: str, value: Any) -> Tracer:
        """A tracer for an input that is differentiated, and its value at the traced point."""
        if name not in self._inputs:
            array = np.asarray(value, dtype=self.dtype)
            position = self._builder.input(name, array.shape)
            self._at[position] = array
            self._inputs[name] = self._add(Step("input", name, (), {}, array.shape, name=name), position)
        return self.tracer(self._inputs[name])

    def knows(self, name: str, value: Any) -> None:
        """Gives a name to an array that is passed to the function as it is."""
        self._given.append((name, value))

    def tracer(self, step: int) -> Tracer:
        """An array of its own that holds one step."""
        return Tracer(self, Storage(self.steps[step].shape, step))

    def fresh(self, numbers: Any) -> Any:
        """An array of known numbers that traced values may be written into; what is no array of floats stays."""
        if isinstance(numbers, np.ndarray) and numbers.dtype.kind == "f" and numbers.ndim:
            return Tracer(self, Storage(numbers.shape, numbers=np.array(numbers, dtype=np.float64)))
        return numbers

    def apply(self, op: str, operands: Sequence[Any], params: Mapping[str, Any] | None = None) -> Any:
        """One op on tracers and constants. Raises TraceError where the row does not take them."""
        frames = frames_below(self.entry)
        self.outermost = frames[-1] if frames else self.outermost
        args = tuple(self._position(operand, frames) for operand in operands)
        static = {name: value for name, value in (params or {}).items() if value is not None and value is not False}
        step = Step("op", op, args, static, (), place_in(frames, self.file).line)
        known = self._known_steps.get(_step_key(step)) if self._known_steps is not None else None
        number = self._new_step(step) if known is None else known
        self.steps[number].names += [(len(frames) - depth, name) for depth, name in assigned_names(frames)]
        source = operands[0] if op in VIEWS and isinstance(operands[0], Tracer) else None
        if source is None or not self.steps[number].shape:
            return self.tracer(number)
        return Tracer(self, source.storage, shape=self.steps[number].shape, made=(source, op, static, number))

    def _new_step(self, step: Step) -> int:
        try:
            position = self._builder.apply(step.op, *(self._positions[i] for i in step.args), params=step.params)
        except (ShapeError, TypeError, ValueError, IndexError) as error:
            self.refuse(f"the op '{step.op}' does not take this: {error}", "Write it with other ops.")
        step.shape = self._builder.shape(position)
        if 0 in step.shape:
            self.refuse(f"an array without entries (shape {step.shape})", "Leave it out.")
        if len(self.steps) >= MOST_STEPS:
            remedy = "Use array operations in place of loops over entries."
            self.refuse(f"more than {MOST_STEPS:,} ops", remedy, Untraced.SIZE)
        return self._add(step, position)

    def _add(self, step: Step, position: int) -> int:
        self.steps.append(step)
        self._positions.append(position)
        if self._known_steps is not None and step.kind != "array":
            self._known_steps[_step_key(step)] = len(self.steps) - 1
        return len(self.steps) - 1

    def node_of(self, step: int) -> Node:
        """The builder's node of a step."""
        return self._builder.node(self._positions[step])

    def from_entries(self, entries: Entries) -> Tracer:
        """A new array with entries of others."""
        made = Tracer(self, Storage(entries.steps.shape, numbers=np.zeros(entries.steps.shape)))
        made.storage.write(np.arange(entries.steps.size), Entries(*(np.ravel(part) for part in entries)))
        return made

    def step_of(self, operand: Any) -> int | None:
        """The step that holds an operand, None for plain numbers and arrays of them."""
        return operand.step if isinstance(operand, Tracer) and not operand.is_known else None

    def _position(self, operand: Any, frames: list[FrameType]) -> int:
        """The step of an operand; a constant becomes one."""
        operand = as_tracer(operand)
        if isinstance(operand, list | tuple) and has_traced(operand):
            operand = self.put_together(operand)
        if isinstance(operand, Tracer) and not operand.is_known:
            self.look_for(operand, frames)
            return operand.step
        try:
            array = operand.known() if isinstance(operand, Tracer) else np.asarray(operand)
        except (TypeError, ValueError) as error:
            self.refuse(f"a {type(operand).__name__} in place of an array: {error}", "Give an array of numbers.")
        if array.dtype.kind not in "fiub" or not np.all(np.isfinite(array)):
            what = f"a constant of dtype {array.dtype}" if array.dtype.kind not in "fiub" else "a constant not finite"
            self.refuse(
                f"{what}: {operand!r:.60}", "A case holds finite real numbers; choose a large one for infinity."
            )
        return self._literal(array[()].item()) if array.ndim == 0 else self._array(operand, array, frames)

    def condition(self, name: str, operands: Sequence[Any]) -> Any:
        """A comparison of tracers; of arrays that are known the plain one."""
        a, b = (self.put_together(o) if isinstance(o, list | tuple) else o for o in operands)
        a, b = (
            o.as_number() if isinstance(o, Condition) else o.picked() if isinstance(o, Masked) else o for o in (a, b)
        )
        if any(np.size(side) and np.all(excluded.infinite(side)) for side in (a, b)):
            return getattr(np, name)(self.number(a), self.number(b))  # whatever finite number it is compared with
        return Condition(self, name, (a, b))

    def look_for(self, tracer: Tracer, frames: list[FrameType]) -> None:
        """Notes the variables that hold a value when it is used."""
        step = self.steps[tracer.step]
        if step.kind != "op":
            return
        for frame in frames:
            name = local_name(frame, tracer)
            if name and frame is self.outermost:
                step.names.append((1, name))
            elif name:
                step.hints.append(name)

    def _literal(self, value: float) -> int:
        """A number; a negative one is the negative of a positive one, as a formula would have it."""
        if value < 0:
            return cast("int", self.apply("negative", [-value]).step)
        text = NAMED_CONSTANTS.get(value) or repr(int(value) if isinstance(value, bool) else value)
        step = Step("constant", text, (), {}, (), value=float(value))
        if self._known_steps is not None and _step_key(step) in self._known_steps:
            return self._known_steps[_step_key(step)]
        return self._add(step, self._builder.constant(float(value), text))

    def _array(self, operand: Any, array: Any, frames: list[FrameType]) -> int:
        """A constant array; the same one is recorded once."""
        for known, position in self._arrays.values():
            same = known.shape == array.shape and known.dtype == array.dtype
            if same and (known is operand or np.array_equal(known, array)):
                return position
        given = next((name for name, value in self._given if value is operand), "")
        name = given or next((found for frame in frames if (found := global_name(frame, operand))), "")
        line = place_in(frames, self.file).line
        step = Step("array", "", (), {}, array.shape, line, value=np.array(array, dtype=np.float64), name=name)
        node = self._builder.input(f"array {len(self.steps)}", array.shape)
        self._at[node] = np.asarray(array, dtype=self.dtype)
        position = self._add(step, node)
        self._arrays[len(self._arrays)] = (array, position)
        return position

    # ------------------------------------------------------------------------------------------ writes and what is read

    def put_together(self, items: Any) -> Any:
        """``np.array([[x, y], [1.0, z]])``: nested lists with tracers among them as one array."""
        if not isinstance(items, list | tuple) or not has_traced(items):
            return items if isinstance(items, Tracer | Condition | Masked) else np.asarray(items)
        rows = [as_tracer(self.put_together(item)) for item in items]
        found = [self.entries_of(row) for row in rows]
        if len({entries.steps.shape for entries in found}) > 1:
            raise ValueError("the rows of an array have different lengths")
        return self.from_entries(Entries(*(np.stack(parts) for parts in zip(*found, strict=True))))

    def entries_of(self, value: Any) -> Entries:
        """Where the entries of an array come from, plain numbers among them."""
        value = as_tracer(value)
        return value.entries() if isinstance(value, Tracer) else known_entries(value)

    def collected(self, entries: Entries) -> int:
        """The step that holds entries of several others, one array again."""
        shape = entries.steps.shape
        steps, positions, numbers = (np.ravel(part) for part in entries)
        order = list(dict.fromkeys(steps.tolist()))
        if order == [KNOWN]:
            return self._position(numbers.reshape(shape), frames_below(self.entry))
        if len(order) == 1:
            return cast("int", self._picked(order[0], positions, shape).step)
        laid = self._overlaid(order, steps, positions, numbers, shape)
        return cast("int", (self._joined(order, steps, positions, numbers, shape) if laid is None else laid).step)

    def _picked(self, step: int, positions: Array, shape: Shape) -> Any:
        """Some entries of one step."""
        source = self.tracer(step)
        if np.array_equal(positions, np.arange(source.size)):
            return np.reshape(source, shape)
        if not shape:
            return source[tuple(int(i) for i in np.unravel_index(int(positions[0]), source.shape))]
        return np.reshape(np.ravel(source)[positions], shape)

    def _overlaid(self, order: list[int], steps: Array, positions: Array, numbers: Array, shape: Shape) -> Any:
        """Arrays of one shape laid over each other by masks; None where the entries do not lie so."""
        places = np.arange(len(steps))
        if len(order) > MOST_OVERLAYS or not shape:
            return None
        if not all(s == KNOWN or self.steps[s].shape == shape for s in order):
            return None
        if not np.array_equal(np.where(steps == KNOWN, places, positions), places):
            return None
        base = max((s for s in order if s != KNOWN), key=lambda s: int(np.count_nonzero(steps == s)))
        result = self.tracer(base)
        for other in order:
            if other == base:
                continue
            mask = (steps == other).reshape(shape)
            values = numbers[steps == KNOWN]
            plain = values[0] if len(set(values.tolist())) <= 1 and len(values) else None
            known = np.where(mask, numbers.reshape(shape), 0.0) if plain is None else plain
            result = self.masked(mask, known if other == KNOWN else self.tracer(other), result)
        return result

    def masked(self, mask: Array, x: Any, y: Any) -> Any:
        """``np.where`` by a mask that is known."""
        if excluded.has_infinite(x, y):
            shape = np.broadcast_shapes(mask.shape, np.shape(x), np.shape(y))
            parts = [[np.broadcast_to(part, shape) for part in self.entries_of(value)] for value in (x, y)]
            return self.from_entries(Entries(*(np.where(mask, one, other) for one, other in zip(*parts, strict=True))))
        if not any(isinstance(value, Tracer) and not value.is_known for value in (x, y)):
            return self.fresh(np.where(mask, *(v.known() if isinstance(v, Tracer) else v for v in (x, y))))
        return self.apply("where", [np.asarray(mask, dtype=float), 0.5, x, y])

    def _joined(self, order: list[int], steps: Array, positions: Array, numbers: Array, shape: Shape) -> Any:
        """Entries from anywhere: what is used of each step in a row, and then each entry by its place there."""
        scalars = [s for s in order if s != KNOWN and not self.steps[s].shape]
        parts: list[Any] = [np.stack([self.tracer(s) for s in scalars])] if scalars else []
        index = np.zeros(len(steps), dtype=np.int64)
        for place, s in enumerate(scalars):
            index[steps == s] = place
        start = len(scalars)
        for s in order:
            here = steps == s
            if s == KNOWN:
                used, where = np.unique(numbers[here], return_inverse=True)
                parts.append(used)
            elif self.steps[s].shape:
                used, where = np.unique(positions[here], return_inverse=True)
                whole = np.ravel(self.tracer(s))
                parts.append(whole if len(used) == whole.size else whole[used])
            else:
                continue
            index[here] = start + np.ravel(where)
            start += len(used)
        joined = np.concatenate(parts) if len(parts) > 1 else parts[0]
        if not np.array_equal(index, np.arange(start)):
            joined = joined[index]
        return np.reshape(joined, shape)

    # ------------------------------------------------------------------------------------------ the traced point itself

    def number(self, operand: Any) -> Any:
        """The value of an operand at the traced point."""
        if isinstance(operand, Condition):
            return operand.holds()
        if not isinstance(operand, Tracer):
            return np.asarray(operand)
        if operand.is_known:
            return operand.known()
        if operand.storage.whole is None:
            return self._assembled(operand.entries())
        return self._number_of(operand.step)

    def _assembled(self, entries: Entries) -> Any:
        """The values of entries of several steps."""
        numbers = entries.numbers.astype(self.dtype)
        for step in set(np.ravel(entries.steps).tolist()) - {KNOWN}:
            here = entries.steps == step
            numbers = np.where(here, np.ravel(self._number_of(step))[np.where(here, entries.positions, 0)], numbers)
        return numbers

    def _number_of(self, step: int) -> Any:
        position = self._positions[step]
        for i in range(len(self._numbers), position + 1):
            node = self._builder.node(i)
            if i in self._at:
                self._numbers.append(self._at[i][None])
            elif node.kind == "constant":
                self._numbers.append(np.full(1, node.value, dtype=self.dtype))
            else:
                with np.errstate(all="ignore"):
                    call = call_of(node)
                    assert call is not None
                    self._numbers.append(call(*(self._numbers[j] for j in node.args)))
        return self._numbers[position][0]

    def chosen_by(self, operand: Any) -> tuple[Any, Any, Any] | None:
        """Of what a comparison chose: the comparison's key, and the two that it chose from; None of anything else."""
        step = self.steps[operand.step] if isinstance(operand, Tracer) and not operand.is_known else None
        if step is None or step.op not in ("where", "where_or_equal"):
            return None
        a, b, first, second = (self._tracer_or_number(arg) for arg in step.args)
        name = "greater" if step.op == "where" else "greater_equal"
        return Condition(self, name, (a, b)).key, first, second

    def _tracer_or_number(self, number: int) -> Any:
        step = self.steps[number]
        return self.tracer(number) if step.value is None else step.value

    def freeze(self, what: str, *, tied: bool = False, leaks: bool = False) -> None:
        """Takes note of something that the trace takes from its point for granted."""
        self.choices.append(Choice(what, place_of(frames_below(self.entry)), tied, leaks))

    def decide(self, condition: Condition) -> bool:
        """Which way the user's code goes: as this run is told to, else as at the traced point."""
        turn = len(self.decisions)
        value = self._forced[turn] if turn < len(self._forced) else bool(condition.holds())
        if self._most_decisions is not None and turn >= self._most_decisions:
            raise TooManyBranches
        self.decisions.append(Decision(condition, value, place_of(frames_below(self.entry))))
        return value

    # -------------------------------------------------------------------------------------------------- NumPy's calls

    def ufunc(self, ufunc: np.ufunc, method: str, inputs: Sequence[Any], options: Mapping[str, Any]) -> Any:
        """A ufunc, or one of its methods, that met a tracer."""
        for kind in (Masked, Condition):
            other = next((operand for operand in inputs if isinstance(operand, kind)), None)
            if other is not None and ufunc.__name__ not in numpy_rules.COMPARISONS:
                return other.__array_ufunc__(ufunc, method, *inputs, **options)
        if not has_traced([*inputs, *options.values()]):
            return self._known_ufunc(ufunc, method, inputs, options)
        if method == "at":
            return add_at(self, ufunc.__name__, *inputs)
        if method != "__call__":
            return self._method(ufunc, method, inputs, options)
        rest = {name: value for name, value in options.items() if name not in ("out", "where")}
        self._usual(f"np.{ufunc.__name__}", rest)
        if excluded.has_infinite(*inputs) and ufunc.__name__ not in (*numpy_rules.COMPARISONS, *numpy_rules.FROZEN):
            return self._written(inputs, options, excluded.elementwise(self, ufunc, inputs))
        result = numpy_rules.elementwise(self, ufunc.__name__, inputs)
        return self._written(inputs, options, result)

    def _known_ufunc(self, ufunc: np.ufunc, method: str, inputs: Sequence[Any], options: Mapping[str, Any]) -> Any:
        """On arrays that no traced value was written into yet."""
        plain = [self.plain(operand) for operand in inputs]
        if method == "at":
            getattr(ufunc, method)(*plain)
            inputs[0][...] = plain[0]
            return None
        rest = {name: self.plain(value) for name, value in options.items() if name != "out"}
        return self._written(inputs, {"out": options.get("out")}, self.fresh(getattr(ufunc, method)(*plain, **rest)))

    def _written(self, inputs: Sequence[Any], options: Mapping[str, Any], result: Any) -> Any:
        """The result of a ufunc where ``out=`` and ``where=`` want it; a plain array becomes a tracer by its name."""
        out, where = options.get("out"), options.get("where", True)
        target = out[0] if isinstance(out, tuple) else out
        if where is not True and target is not None:
            chosen = where.choose(result, target) if isinstance(where, Condition) else None
            result = self.masked(np.asarray(where), result, target) if chosen is None else chosen
        elif where is not True:
            self.refuse("where= without out=", "Use np.where.")
        if target is None:
            return result
        if np.shape(target) != np.shape(result):
            raise ValueError(f"an in-place operation that changes the shape {np.shape(target)} to {np.shape(result)}")
        if not isinstance(target, Tracer):
            if target is not inputs[0]:
                self.refuse("a traced value written into a plain array by out=", "Assign the result to a name.")
            return result
        if not target.shape:
            return result  # a number is bound anew
        target[...] = result
        return target

    def _method(self, ufunc: np.ufunc, method: str, inputs: Sequence[Any], options: Mapping[str, Any]) -> Any:
        first, *more = (self.put_together(operand) if isinstance(operand, list) else operand for operand in inputs)
        if method == "outer":
            rank = np.ndim(more[0])
            return ufunc(np.reshape(first, (*np.shape(first), *(1,) * rank)), more[0])
        function = numpy_rules.METHODS.get((ufunc.__name__, method))
        if function is None:
            name = f"{ufunc.__name__}.{method}"
            self.refuse(f"np.{name} has no op", "Write it with other functions.", Untraced.NO_OP, name)
        given = {name: value for name, value in options.items() if name != "out" or value is not None}
        if more:  # reduce(array, axis)
            given["axis"] = more[0]
        given.setdefault("axis", 0)
        return numpy_rules.function(self, function, [first], given)

    def _usual(self, what: str, options: Mapping[str, Any]) -> None:
        for name, value in options.items():
            if not numpy_rules.says_nothing(name, value):
                self.refuse(f"{what} with {name}=", f"Leave {name}= out.")

    def function(self, function: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        """A NumPy function that is no ufunc."""
        first, name = args[0] if args else None, function.__name__
        is_apart = type(first) is Tracer and (first.is_known or first.has_infinite)
        if is_apart and name in numpy_rules.RESHAPING:
            return cast("Tracer", first).moved(function, args[1:], kwargs)
        if has_traced([*args, *kwargs.values()]):
            is_cut = name not in (*numpy_rules.FROZEN, *numpy_rules.PLAIN, "norm") and excluded.has_infinite(
                *_arrays(args)
            )
            if is_cut:
                return excluded.function(self, function, args, kwargs)
            return numpy_rules.function(self, function, args, kwargs)
        plain = [self.plain(arg) for arg in args]
        result = function(*plain, **{name: self.plain(value) for name, value in kwargs.items()})
        return self.fresh(result)

    def plain(self, value: Any) -> Any:
        """A value with plain arrays in place of known tracers."""
        if isinstance(value, Tracer):
            return value.known().copy()[()]
        if isinstance(value, list | tuple) and any(isinstance(item, Tracer) for item in value):
            return type(value)(self.plain(item) for item in value)
        return value

    # ---------------------------------------------------------------------------------------------------- what cannot

    def refuse(self, tried: str, remedy: str, kind: Untraced = Untraced.ARGUMENTS, op: str = "") -> NoReturn:
        """Raises TraceError for the user's line that runs now."""
        place = place_of(frames_below(self.entry))
        raise trace_error(tried, place, remedy, kind, op) from None


def _arrays(args: Sequence[Any]) -> list[Any]:
    """The arguments that are arrays, or numbers."""
    return [arg for arg in args if isinstance(arg, Tracer | np.ndarray | float)]


def _step_key(step: Step) -> Any:
    """What makes two steps the same; arrays are told apart by their entries instead."""
    params = tuple(sorted((name, repr(value)) for name, value in step.params.items()))
    return (step.kind, step.op, step.args, params)

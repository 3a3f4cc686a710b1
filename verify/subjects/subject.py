"""Other people's gradients: a function that is called point by point, judged like a method.

How it is called is :mod:`verify.subjects.convention`'s, what its answers are taken for :mod:`verify.subjects.answers`'.
Why an answer is off is told by its formula (:mod:`verify.subjects.formula`) and by the errors beside it
(:mod:`verify.subjects.noise`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import nullcontext
from typing import Any

import numpy as np
from numpy.typing import NDArray

from verify.errors import UsageError, VerifyError
from verify.graph.derivative import Derivative
from verify.graph.interpret import dtype_of
from verify.places.points import Batch
from verify.subjects.answers import as_numbers, by_variable
from verify.subjects.contract import Contract, in_words
from verify.subjects.convention import convention
from verify.subjects.formula import Formula
from verify.subjects.interface import Interface
from verify.subjects.line_coverage import LineCoverage
from verify.subjects.noise import Neighbourhoods, point_key
from verify.tracing.foreign_call import call_foreign
from verify.words import FindingKind

Array = NDArray[Any]
Gradient = Callable[..., Any]

MISFITS = (TypeError, ValueError, IndexError, KeyError, AttributeError)
"""What code raises that is given other arguments than it is meant for."""

LONGEST_POINT = 12
"""Numbers of a point that a sentence may hold."""


class Subject:
    """A gradient made ready to be judged.

    >>> square = Interface("the square", ("x",), ("x",), {"x": ()}, {"f": ()})
    >>> subject = Subject(square, lambda x: 2 * x)
    >>> subject.differentiate({"x": np.array([3.0, 4.0])}, {"f": np.ones(2)}).gradients["x"]
    array([6., 8.])
    """

    def __init__(self, interface: Interface, gradient: Gradient) -> None:
        """Raises UsageError for a gradient that cannot be called with the inputs."""
        self.interface = interface
        self.gradient = gradient
        self.lines: LineCoverage | None = None
        """Which of its lines were reached, for whoever wants to know."""
        self.contract = Contract()
        """What was found out about the gradient while it was called."""
        self.has_answered = False
        """Whether any call came to an answer."""
        self.first_error: BaseException | None = None
        """What the first call raised that raised anything."""
        self.convention = convention(interface, gradient)
        self.takes_upstream = self.convention.takes_upstream
        self.neighbourhoods = Neighbourhoods(self.differentiate, interface.real)
        """What the errors beside a point say."""
        self._formula: tuple[bytes, Formula] | None = None
        """The last point at which the formula was asked for."""

    def differentiate(self, inputs: Mapping[str, Any], upstream: Mapping[str, Any]) -> Derivative:
        """The subject's gradients at P points, one call for each; see :class:`~verify.graph.derivative.Differentiator`.

        Where it raises, or answers with a wrong shape, its answer is NaN. Raises UsageError for an answer of which it
        cannot be told what belongs to what.
        """
        points = len(next(iter(inputs.values())))
        answers = [self.answer({k: x[p] for k, x in inputs.items()}, {k: g[p] for k, g in upstream.items()})
                   for p in range(points)]  # fmt: skip
        names = dict.fromkeys(name for answer in answers for name in answer) or dict.fromkeys(self.interface.real)
        shapes = self.interface.shapes
        return Derivative(
            {},
            {name: np.stack([a[name] if name in a else np.full(shapes[name], np.nan) for a in answers])
             for name in names},
        )  # fmt: skip

    def answer(self, inputs: Mapping[str, Array], upstream: Mapping[str, Array]) -> dict[str, Array]:
        """What the subject answers at one point, by variable, in float64; empty where it raised an exception."""
        here, seeds, held = (
            {name: np.copy(x)[()] if isinstance(x, np.ndarray | np.generic) else x for name, x in xs.items()}
            for xs in (inputs, upstream, self.interface.held)
        )
        called = call_foreign(lambda: self._watched_call({**here, **held}, seeds))
        self.contract.changed(called.changed)
        if called.error is not None:
            self.first_error = self.first_error or called.error
            self.contract.raised(called.error, _point_text(inputs))
            return {}
        labels = self.convention.labels
        kept, given = ({labels.get(name, name): g for name, g in gs.items()} for gs in (upstream, seeds))
        own = set(self.interface.upstream.values()) & set(labels.values())
        self.contract.watch_writes(
            FindingKind.INPUT_MUTATED, {name: x for name, x in inputs.items() if name not in own}, here
        )
        self.contract.watch_writes(FindingKind.UPSTREAM_MUTATED, kept, given)
        arrays = {name: x for name, x in self.interface.held.items() if isinstance(x, np.ndarray)}
        self.contract.watch_writes(FindingKind.INPUT_MUTATED, arrays, held)
        # What was returned is foreign too: to read it is to call its methods.
        read = call_foreign(lambda: self._read(called.value, {**here, **given}, inputs), ours=(VerifyError,), kept=())
        if read.error is not None:
            self.contract.raised(read.error, _point_text(inputs))
            return {}
        self.has_answered = True
        found: dict[str, Array] = read.value
        return found

    def _watched_call(self, inputs: Mapping[str, Any], upstream: Mapping[str, Any]) -> Any:
        with self.lines.watching() if self.lines is not None else nullcontext():
            return self._call(inputs, upstream)

    def _read(self, raw: Any, given: Mapping[str, Any], inputs: Mapping[str, Array]) -> dict[str, Array]:
        """An answer by variable, as floats of the right shapes; whatever is wrong with it is told."""
        found = {}
        for name, answers in by_variable(self.interface, raw).items():
            if len(answers) > 1:
                self.contract.answered_twice(name, [key for key, _ in answers])
            value = answers[0][1]
            numbers = as_numbers(name, value, inputs[name].dtype if name in inputs else dtype_of(inputs))
            for fault in numbers.faults:
                self.contract.tell(fault)
            if isinstance(value, np.ndarray):
                self.contract.watch_memory(name, value, given)
            found[name] = self.contract.fitted(name, numbers.array, self.interface.shapes[name])
        return found

    def refuse_strangers(self) -> None:
        """Raises UsageError where every call raised what arguments raise that were meant for something else.

        That is told once, and not in hundreds of rows without an answer.
        """
        if self.has_answered or not self.convention.is_guessed or not isinstance(self.first_error, MISFITS):
            return
        places = zip(self.convention.parameters, self.convention.positions, strict=False)
        given = ", ".join(
            f"{name} was {source.name}" for name, source in places if name != source.name and not source.is_upstream
        )
        has = f"{self.interface.what} has {', '.join(self.interface.inputs)}"
        raise UsageError(
            f"the gradient was called by position ({given}) and has no answer at any point: it raised "
            f"{in_words(self.first_error)}. {has}: is it the gradient of that? Then name its parameters as there"
        )

    def judged_at(self, batch: Batch) -> Batch:
        """The points of a batch at which the case is the function that the subject is the gradient of."""
        agrees = self.interface.agrees
        if agrees is None:
            return batch
        points = [
            [{k: x[p] for k, x in xs.items()} for xs in (batch.inputs, batch.upstream)] for p in range(len(batch))
        ]
        kept = [p for p, (inputs, upstream) in enumerate(points) if agrees(inputs, upstream)]
        return batch if len(kept) == len(batch) else batch.chosen(kept)

    def probe(self, inputs: Mapping[str, Array], upstream: Mapping[str, Array]) -> None:
        """Calls the subject again at one point: whether it repeats itself, and is linear in ``upstream``."""
        self.contract.probe(lambda seeds: self.answer(inputs, seeds), upstream, by=self.takes_upstream)

    def call(self, inputs: Mapping[str, Any], upstream: Mapping[str, Any]) -> Any:
        """What the gradient itself returns, whatever that is; it may write to what it is given."""
        held = {name: np.copy(x) if isinstance(x, np.ndarray) else x for name, x in self.interface.held.items()}
        return self._call({**inputs, **held}, upstream)

    def _call(self, inputs: Mapping[str, Any], upstream: Mapping[str, Any]) -> Any:
        positions, keywords = self.convention.arguments(inputs, upstream)
        return self.gradient(*positions, **keywords)

    # -------------------------------------------------------------------------------------------- why an answer is off

    def formula(self, inputs: Mapping[str, Array], upstream: Mapping[str, Array]) -> Formula:
        """Its own formula at one point (P = 1); that of the last point is kept, since each entry asks for it anew."""
        key = point_key(inputs, upstream)
        if self._formula is None or self._formula[0] != key:
            self._formula = key, Formula(self.interface, self.gradient, self.convention, inputs, upstream)
        return self._formula[1]


def _point_text(inputs: Mapping[str, Array]) -> str:
    """A point in a few words, empty where it is large."""
    if sum(np.size(x) for x in inputs.values()) > LONGEST_POINT:
        return ""
    return ", ".join(f"{name} = {np.asarray(x).tolist()}" for name, x in inputs.items())

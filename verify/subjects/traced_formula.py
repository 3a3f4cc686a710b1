"""A gradient's own code as a program, run in balls: what :mod:`~verify.subjects.ball_numbers` cannot go through.

``np.linalg``, constructors into which results are written, ``math`` and SciPy know no balls; on tracers they are ops.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from flint import arb
from numpy.typing import NDArray

from verify.graph.interpret import dtype_of
from verify.graph.taylor import Taylor, Values, as_objects, entries_of, precision
from verify.subjects.answers import by_variable
from verify.subjects.ball_numbers import literal_ball
from verify.subjects.convention import Convention
from verify.subjects.interface import Interface
from verify.tracing.recorded_program import RecordedProgram
from verify.tracing.traced_call import TracedCall

Array = NDArray[Any]

SEED = "upstream_"
"""What the arguments are called that are upstream gradients."""


class TracedFormula:
    """The program of a gradient at one point, with the point."""

    def __init__(
        self,
        interface: Interface,
        gradient: Callable[..., Any],
        convention: Convention,
        inputs: Mapping[str, Array],
        upstream: Mapping[str, Array],
    ) -> None:
        """Raises VerifyError where the code cannot be traced."""
        seeds = {name: f"{SEED}{number}" for number, name in enumerate(upstream)}
        real = interface.real

        def called(**given: Any) -> Any:
            here = {name: given[name] if name in real else x for name, x in whole.items()}
            positions, keywords = convention.arguments(here, {name: given[seed] for name, seed in seeds.items()})
            answers = by_variable(interface, gradient(*positions, **keywords))
            return {name: np.asarray(found[0][1]) for name, found in answers.items()}  # lists are put together

        any_name = inspect.Parameter("given", inspect.Parameter.VAR_KEYWORD)
        called.__signature__ = inspect.Signature([any_name])  # type: ignore[attr-defined]
        called.__wrapped__ = gradient  # type: ignore[attr-defined]  # so that a trace goes into it
        whole = {**{name: x[0][()] for name, x in inputs.items()}, **interface.held}
        self._point = {**{name: inputs[name][0] for name in real}, **{seeds[n]: g[0] for n, g in upstream.items()}}
        self._unit = float(np.finfo(dtype_of(inputs)).eps) / 2
        call = TracedCall(called, {name: x[()] for name, x in self._point.items()}, ())
        recorder, results = call.traced()
        self.is_whole = not recorder.choices
        """Whether nothing was decided by the floats of the point that might be otherwise without rounding."""
        program = RecordedProgram(recorder, call, results)
        self._case = program.case([self._point], {})
        self._keys = tuple(key for key, _ in program.results)

    def run(self, bits: int) -> Mapping[str, Any]:
        """The answers in balls, by variable."""
        graph, values = self._case.graph, self._values(bits)
        return {
            key: as_objects(values[graph.position(name)]) for key, name in zip(self._keys, graph.outputs, strict=True)
        }

    def range_left(self, bits: int) -> str:
        """The first op whose exact value is none that floats hold, in words; empty where there is none."""
        limits = np.finfo(self._case.inputs[0].dtype)
        for node, balls in zip(self._case.graph.nodes, self._values(bits), strict=True):
            for ball in entries_of(balls) if node.kind == "op" else ():
                size = abs(ball)
                if size > float(limits.max) or 0 < size < float(limits.smallest_normal):
                    return f"{node.op} (line {node.line})" if node.line else node.op
        return ""

    def _values(self, bits: int) -> Values:
        def literals(array: Any) -> Any:
            return np.vectorize(lambda x: literal_ball(x, self._unit), otypes=[object])(array)[()]

        def balls(array: Any) -> Any:
            return np.vectorize(lambda x: arb(float(x)), otypes=[object])(array)[()]  # arb knows no float32

        with precision(bits):
            inputs = {item.name: literals(item.at) for item in self._case.inputs if item.kind == "constant"}
            inputs |= {name: balls(x) for name, x in self._point.items()}
            return Taylor(self._case.graph).values(inputs, literal=lambda x: literal_ball(x, self._unit))

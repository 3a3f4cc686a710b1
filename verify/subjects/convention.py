"""How a gradient is called: which of its parameters is given which input, and which the upstream gradient.

By name where its parameters have the names of the inputs, else by position. The upstream gradient goes to the
parameter ``upstream``, to the name that the case itself has for it, or to a usual name (``dout``, ``grad_output``)
where that is the one parameter left over.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from verify.errors import UsageError
from verify.subjects.interface import Interface
from verify.subjects.upstreams import Upstreams

UPSTREAM = "upstream"

USUAL = (UPSTREAM, "dout", "dy", "dz", "g", "gy", "grad_output", "grad_out", "gout", "dL", "dl", "v", "ct", "cotangent")
"""What people call the upstream gradient of a single output, where one parameter is left over."""

Parameters = Mapping[str, inspect.Parameter]
POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
VARIABLE = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


@dataclass(frozen=True, slots=True)
class Source:
    """What one parameter is given: an input, or the upstream gradient of an output."""

    name: str
    """Of the input, or of the output; empty for the upstream gradients of all outputs together."""
    is_upstream: bool = False


@dataclass(frozen=True, slots=True)
class Convention:
    """The arguments of a gradient."""

    positions: tuple[Source, ...]
    keywords: Mapping[str, Source]
    labels: Mapping[str, str]
    """Output -> what the gradient calls its upstream gradient."""
    parameters: tuple[str, ...]
    """The gradient's own names, in order."""
    is_guessed: bool
    """Whether inputs are passed by position to parameters of other names: they may be meant for something else."""

    @property
    def takes_upstream(self) -> bool:
        """Whether any parameter is given an upstream gradient."""
        return any(source.is_upstream for source in (*self.positions, *self.keywords.values()))

    def arguments(
        self, inputs: Mapping[str, Any], upstream: Mapping[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The arguments of one call, by position and by name."""

        def given(source: Source) -> Any:
            if not source.is_upstream:
                return inputs[source.name]
            if source.name:
                return upstream[source.name]
            return next(iter(upstream.values())) if len(upstream) == 1 else Upstreams(upstream)

        return tuple(map(given, self.positions)), {name: given(source) for name, source in self.keywords.items()}


def convention(interface: Interface, gradient: Callable[..., Any]) -> Convention:
    """How a gradient is called. Raises UsageError where its parameters cannot be what the function has.

    >>> layer = Interface("layer", ("x", "W"), ("x", "W"), {"x": (3,), "W": (3, 2)}, {"y": (2,)})
    >>> found = convention(layer, lambda dout, x, W: (W @ dout, x[:, None] * dout))
    >>> found.arguments({"x": 1, "W": 2}, {"y": 3})
    ((), {'dout': 3, 'x': 1, 'W': 2})
    >>> convention(layer, lambda a, b, grad_output: None).arguments({"x": 1, "W": 2}, {"y": 3})
    ((1, 2, 3), {})
    """
    try:
        parameters: Parameters = inspect.signature(gradient).parameters
    except (TypeError, ValueError):  # a builtin without a signature takes what there is
        parameters = {"inputs": inspect.Parameter("inputs", inspect.Parameter.VAR_POSITIONAL)}
    upstream = _upstream(interface, parameters)
    # An input that is the upstream gradient of an output is that, wherever it goes.
    seeds = {name: output for output, name in interface.upstream.items()}
    given = {source.name for source in upstream.values()}
    names = [name for name in interface.inputs if name not in upstream]
    spare = {name for name in names if name in seeds and given & {"", seeds[name]}}
    rest = {name: p for name, p in parameters.items() if name not in upstream}
    found = _matched(interface, rest, names, spare)
    sources = {place: _source(name, seeds) for place, name in found.places.items()} | upstream
    more = {name: _source(name, seeds) for name in found.more}
    arranged = _arranged(parameters, sources, more, by_name=found.by_name, in_order=_hands_on(gradient))
    labels = {output: _label(output, upstream, interface) for output in interface.outputs}
    is_guessed = any(place != name for place, name in found.places.items())
    made = Convention(*arranged, labels, tuple(parameters), is_guessed)
    if not made.takes_upstream and any(interface.outputs.values()):
        shapes = ", ".join(f"{name} {shape}" for name, shape in interface.outputs.items())
        raise UsageError(f"the output is an array ({shapes}): the gradient needs a parameter 'upstream'")
    return made


def _hands_on(gradient: Callable[..., Any]) -> bool:
    """Whether a wrapper has the parameters of what it wraps, and itself takes any: ``jax.grad`` knows none by name."""
    try:
        own = inspect.signature(gradient, follow_wrapped=False).parameters.values()
    except (TypeError, ValueError):
        return False
    return hasattr(gradient, "__wrapped__") and {p.kind for p in own} == set(VARIABLE)


def _source(name: str, seeds: Mapping[str, str]) -> Source:
    return Source(seeds[name], is_upstream=True) if name in seeds else Source(name)


def _label(output: str, upstream: Mapping[str, Source], interface: Interface) -> str:
    named = next((name for name, source in upstream.items() if source.name == output), "")
    whole = next((name for name, source in upstream.items() if not source.name), "")
    return named or (whole if len(interface.outputs) == 1 else "") or interface.upstream.get(output, output)


# --------------------------------------------------------------------------------------------- the upstream gradient


def _upstream(interface: Interface, parameters: Parameters) -> dict[str, Source]:
    """Parameter -> the upstream gradient that it is given."""
    found = {
        name: Source(output, is_upstream=True) for output, name in interface.upstream.items() if name in parameters
    }
    if UPSTREAM in parameters and UPSTREAM not in interface.inputs:
        found[UPSTREAM] = Source("", is_upstream=True)
    if found:
        return found
    left = [name for name, p in parameters.items() if name not in interface.inputs and _is_asked(interface, p)]
    own = {name: output for output in interface.outputs for name in (f"d{output}", f"grad_{output}") if name in left}
    if len(interface.outputs) > 1:
        return {name: Source(output, is_upstream=True) for name, output in own.items()}
    usual = [*own, *(name for name in left if name in USUAL and name not in own)]
    if len(usual) != 1 or not _is_left_over(interface, parameters, usual[0]):
        return {}
    return {usual[0]: Source("", is_upstream=True)}


def _is_asked(interface: Interface, parameter: inspect.Parameter) -> bool:
    """Whether a parameter waits for something: ``g=9.81`` is a number of its own."""
    if parameter.kind in VARIABLE:
        return False
    return parameter.default is parameter.empty or (parameter.default is None and any(interface.outputs.values()))


def _is_left_over(interface: Interface, parameters: Parameters, name: str) -> bool:
    """Whether a parameter is none of the inputs, neither by its name nor by its place."""
    needed = [other for other, p in parameters.items() if p.default is p.empty and p.kind not in VARIABLE]
    others = [other for other in needed if other != name]
    if not any(interface.outputs.values()) and len(needed) == len(interface.inputs):
        return False  # as many as inputs: it is one of them, by position
    return set(others) <= set(interface.inputs) or len(others) == len(interface.inputs)


# -------------------------------------------------------------------------------------------------------- the inputs


@dataclass(frozen=True, slots=True)
class _Matched:
    """Which parameter is given which input."""

    places: Mapping[str, str]
    more: Sequence[str]
    """The inputs that ``*args`` or ``**named`` take."""
    by_name: bool


def _matched(interface: Interface, rest: Parameters, names: Sequence[str], spare: Collection[str]) -> _Matched:
    """Parameters and inputs; ``rest`` are the parameters that take no upstream gradient.

    ``spare`` are inputs that are passed already, as upstream gradients: by position they go to who has room for them.
    """
    kinds = {p.kind for p in rest.values()}
    asked = [name for name in names if name in rest and rest[name].kind not in VARIABLE]
    needed = [name for name, p in rest.items() if p.default is p.empty and p.kind not in VARIABLE]
    places = [name for name, p in rest.items() if p.kind in POSITIONAL]
    takes_more = inspect.Parameter.VAR_POSITIONAL in kinds
    if not places and not asked and not takes_more and not needed:
        return _Matched({}, names if inspect.Parameter.VAR_KEYWORD in kinds else (), by_name=True)
    if asked and set(needed) <= set(asked):
        return _Matched({name: name for name in asked}, (), by_name=True)
    if not takes_more and len(needed) <= len(names) - len(spare):
        names = [name for name in names if name not in spare]
    _refuse_misfits(interface, names, needed, places, takes_more=takes_more)
    return _Matched(dict(zip(places, names, strict=False)), names[len(places) :], by_name=False)


def _refuse_misfits(
    interface: Interface, names: Sequence[str], needed: Sequence[str], places: Sequence[str], *, takes_more: bool
) -> None:
    """Raises UsageError where inputs by position cannot be what the parameters mean."""
    has = f"{interface.what} has {', '.join(names)}"
    if len(needed) > len(names) or not set(needed) <= set(places):
        is_one_more = any(interface.outputs.values()) and len(needed) == len(names) + 1
        remedy = ". Call the one that takes the upstream gradient 'upstream'" if is_one_more else ""
        raise UsageError(f"the gradient needs {', '.join(needed)}; {has}{remedy}")
    if len(places) < len(names) and not takes_more:
        raise UsageError(
            f"the gradient takes {', '.join(places)}; {has}. Name its parameters as there, or take them all"
        )


def _arranged(
    parameters: Parameters, sources: Mapping[str, Source], more: Mapping[str, Source], *, by_name: bool, in_order: bool
) -> tuple[tuple[Source, ...], dict[str, Source]]:
    """Sources by position, and by keyword: what may be named is, unless everything goes by position, ``in_order``."""
    positions: list[Source] = []
    keywords: dict[str, Source] = {}
    skipped = ""
    for name, parameter in parameters.items():
        if parameter.kind is parameter.VAR_POSITIONAL:
            positions += () if by_name else more.values()
        elif parameter.kind is parameter.VAR_KEYWORD:
            keywords |= more if by_name else {}
        elif name not in sources:
            skipped = skipped or name
        elif parameter.kind is parameter.POSITIONAL_ONLY and skipped:
            raise UsageError(
                f"the gradient's parameter {name} cannot be given by name, and {skipped} before it is no input"
            )
        elif parameter.kind is parameter.POSITIONAL_ONLY or (
            parameter.kind in POSITIONAL and not skipped and (in_order or not by_name)
        ):
            positions.append(sources[name])
        else:
            keywords[name] = sources[name]
    return tuple(positions), keywords

"""The upstream gradients of several outputs, as they are handed to a gradient: in order, and by name."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Self, SupportsIndex


class Upstreams(tuple[Any, ...]):  # noqa: SLOT001 - a tuple of any length has no room for slots
    """A tuple of the upstream gradients in the order of the outputs, which answers to their names as a mapping does.

    >>> upstream = Upstreams({"y": 1.0, "loss": 2.0})
    >>> dy, dloss = upstream
    >>> dy, upstream["loss"], upstream[1], upstream.loss, list(upstream.items())
    (1.0, 2.0, 2.0, 2.0, [('y', 1.0), ('loss', 2.0)])
    """

    _names: tuple[str, ...]

    def __new__(cls, by_name: Mapping[str, Any]) -> Self:
        """From output -> upstream gradient, in the order of the outputs."""
        made = super().__new__(cls, by_name.values())
        made._names = tuple(by_name)
        return made

    def __getitem__(self, key: Any) -> Any:
        """By output, or by position."""
        if not isinstance(key, str):
            return super().__getitem__(key)
        if key not in self._names:
            raise KeyError(f"there is no output {key!r}; there are {', '.join(self._names)}")
        return super().__getitem__(self._names.index(key))

    def __getattr__(self, name: str) -> Any:
        """By output, as an attribute."""
        if name.startswith("_") or name not in self._names:
            raise AttributeError(name)
        return self[name]

    def __contains__(self, name: object) -> bool:
        """Whether there is such an output."""
        return name in self._names

    def index(self, name: Any, *bounds: SupportsIndex) -> int:
        """The position of an output."""
        return self._names.index(name, *bounds)

    def count(self, name: Any) -> int:
        """How many outputs have a name."""
        return self._names.count(name)

    def keys(self) -> tuple[str, ...]:
        """The outputs in order."""
        return self._names

    def values(self) -> Iterator[Any]:
        """The upstream gradients in order."""
        return iter(self)

    def items(self) -> Iterable[tuple[str, Any]]:
        """The outputs with their upstream gradients, in order."""
        return zip(self._names, self, strict=True)

    def get(self, name: str, default: Any = None) -> Any:
        """By output, or something else where there is none."""
        return self[name] if name in self._names else default

    def __reduce__(self) -> tuple[type[Upstreams], tuple[dict[str, Any]]]:
        """Copied and pickled by names."""
        return Upstreams, (dict(self.items()),)


Mapping.register(Upstreams)

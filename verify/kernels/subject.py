"""How a kernel is called: PyTorch's, JAX's or NumPy's, in its own format, on its own device, with strides of all kinds.

A kernel is a function whose backward pass its framework calls (an ``autograd.Function``, a module, a compiled function,
``custom_vjp``), or a pair ``(forward, backward)`` with a cache between them, or a function that takes ``upstream`` and
returns gradients.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from verify.errors import UsageError
from verify.programs import torch_functions
from verify.programs.calling import signature_of, structured
from verify.programs.functions import FRAMEWORKS, framework_of
from verify.tracing.function_call import name_of

Array = NDArray[Any]


@dataclass(frozen=True, slots=True)
class Answer:
    """What a kernel gave: its outputs in order, and its gradients by argument, all in float64."""

    outputs: Sequence[Array]
    gradients: Mapping[str, Array]


LAYOUTS: Mapping[str, str] = {
    "": "as given",
    "transposed": "the last two axes are transposed in memory",
    "sliced": "each is every second column of a larger array",
    "broadcast": "the upstream gradient is one row that is expanded, with strides of 0",
}
"""How arrays may lie in memory -> in words."""


class Kernel:
    """A kernel made ready to be called again and again at one point."""

    def __init__(self, kernel: Any, dtype: str, variables: Sequence[str], device: str | None = None) -> None:
        self.kernel, self.dtype, self.variables, self.device = kernel, dtype, tuple(variables), device
        self.is_pair = isinstance(kernel, tuple | list)
        parts = kernel if self.is_pair else (kernel,)
        if not all(map(callable, parts)) or (self.is_pair and len(parts) != 2):
            raise UsageError(
                "a kernel is a function, a module, an autograd.Function, or a pair (forward, backward), "
                f"got {kernel!r:.60}"
            )
        self.name = name_of(parts[0])
        self._room: Any = None

    def library(self, point: Mapping[str, Any]) -> str:
        """torch, jax or numpy."""
        rooms = {framework_of(part, dict(point)) for part in (self.kernel if self.is_pair else (self.kernel,))} - {None}
        held = [type(x).__module__.split(".")[0] for x in point.values()]
        for name, room in FRAMEWORKS.items():
            if room in rooms or name in held:
                return name
        return "numpy"

    def __call__(self, point: Mapping[str, Any], upstream: Sequence[Array], layout: str = "") -> Answer:
        """Outputs and gradients at a point; raises UsageError where the kernel raises or answers something else."""
        call = {"torch": self._by_torch, "jax": self._by_jax, "numpy": self._by_numpy}[self.library(point)]
        try:
            outputs, found = call(point, upstream, layout)
        except UsageError:
            raise
        except Exception as error:  # whatever foreign code may raise
            raise UsageError(f"the kernel {self.name} raises {type(error).__name__}: {error}") from error
        missing = [name for name in self.variables if found.get(name) is None]
        if missing:
            raise UsageError(f"the kernel {self.name} gives no gradient of {', '.join(missing)}")
        for name in self.variables:
            if np.shape(found[name]) != np.shape(point[name]):
                raise UsageError(
                    f"d{name} has shape {np.shape(found[name])}, and {name} has {tuple(np.shape(point[name]))}"
                )
        return Answer(outputs, {name: np.asarray(found[name], dtype=np.float64) for name in self.variables})

    # -------------------------------------------------------------------------------------------------------- PyTorch

    def _by_torch(self, point: Mapping[str, Any], upstream: Sequence[Array], layout: str) -> Any:
        torch = torch_functions.the_library()
        kind = getattr(torch, self.dtype)

        def tensor(name: str, x: Any) -> Any:
            given = x if isinstance(x, torch.Tensor) else torch.from_numpy(np.array(x)) if _is_array(x) else x
            if not isinstance(given, torch.Tensor):
                return given
            device = self.device or given.device
            if not given.is_floating_point() or name not in self.variables:
                return given.to(device)
            return _laid_out(given.to(device=device, dtype=kind), layout, torch.empty).detach().requires_grad_()

        given = {name: tensor(name, x) for name, x in point.items()}

        def seed(g: Array, like: Any) -> Any:
            whole = torch.from_numpy(np.array(g)).to(device=like.device, dtype=like.dtype)
            return _laid_out(whole, layout, torch.empty, is_upstream=True)

        if self.is_pair:
            forward, backward = self.kernel
            with torch.no_grad():
                outputs, cache = _outputs_and_cache(self.name, _called(forward, given))
                seeds = [seed(g, y) for g, y in zip(upstream, outputs, strict=True)]
                found = _by_name(backward(*seeds, cache), self.variables)
        else:
            function = torch_functions.parts_of(self.kernel)[0]
            with torch.enable_grad():
                outputs = []
                structured(_called(function, given), lambda y: outputs.append(y) if _floats(torch, y) else None)
            if len(outputs) != len(upstream):
                raise UsageError(f"the kernel {self.name} has {len(outputs)} outputs, the reference {len(upstream)}")
            pairs = [(y, seed(g, y)) for y, g in zip(outputs, upstream, strict=True) if y.requires_grad]
            if not pairs:
                raise UsageError(f"no gradient flows from the output of {self.name} to its inputs: it is detached")
            leaves = [given[name] for name in self.variables]
            answers = torch.autograd.grad(
                [y for y, _ in pairs], leaves, [g for _, g in pairs], allow_unused=True, materialize_grads=True
            )
            found = dict(zip(self.variables, answers, strict=True))
        return [_wide(y) for y in outputs], {name: None if g is None else _wide(g) for name, g in found.items()}

    # ------------------------------------------------------------------------------------------------------------ JAX

    def _by_jax(self, point: Mapping[str, Any], upstream: Sequence[Array], layout: str) -> Any:
        import jax

        del layout  # arrays of JAX have no strides
        kind = getattr(jax.numpy, self.dtype)
        given = {
            name: jax.numpy.asarray(x, dtype=kind) if name in self.variables else x for name, x in point.items()
        }  # fmt: skip
        held = {name: x for name, x in given.items() if name not in self.variables}

        def leaves(*moved: Any) -> list[Any]:
            found: list[Any] = []
            structured(
                _called(self.kernel, {**given, **held, **dict(zip(self.variables, moved, strict=True))}), found.append
            )
            return found

        if self.is_pair:
            forward, backward = self.kernel
            outputs, cache = _outputs_and_cache(self.name, _called(forward, given))
            seeds = [jax.numpy.asarray(g, dtype=y.dtype) for g, y in zip(upstream, outputs, strict=True)]
            found = _by_name(backward(*seeds, cache), self.variables)
        else:
            outputs, back = jax.vjp(leaves, *(given[name] for name in self.variables))
            seeds = [jax.numpy.asarray(g, dtype=y.dtype) for g, y in zip(upstream, outputs, strict=True)]
            found = dict(zip(self.variables, back(seeds), strict=True))
        return [_plain(y) for y in outputs], {name: _plain(g) for name, g in found.items()}

    # ---------------------------------------------------------------------------------------------------------- NumPy

    def _by_numpy(self, point: Mapping[str, Any], upstream: Sequence[Array], layout: str) -> Any:
        # NumPy has no bfloat16: its numbers come in float32.
        kind = np.float16 if self.dtype == "float16" else np.float32

        def array(name: str, x: Any) -> Any:
            if name not in self.variables:
                return x
            return _laid_out(np.array(x, dtype=kind), layout, np.empty)

        given = {name: array(name, x) for name, x in point.items()}
        seeds = [_laid_out(np.array(g, dtype=kind), layout, np.empty, is_upstream=True) for g in upstream]
        if self.is_pair:
            forward, backward = self.kernel
            outputs, cache = _outputs_and_cache(self.name, _called(forward, given))
            return [_plain(y) for y in outputs], _by_name(backward(*seeds, cache), self.variables)
        if "upstream" not in signature_of(self.kernel).parameters:
            raise UsageError(
                f"{self.name} is no kernel: give a pair (forward, backward), or a function with an argument `upstream` "
                "that returns gradients"
            )
        return [], _by_name(_called(self.kernel, {**given, "upstream": seeds[0]}), self.variables)


def _is_array(x: Any) -> bool:
    return isinstance(x, np.ndarray | np.generic | float) and not isinstance(x, str)


def _floats(torch: Any, y: Any) -> bool:
    return isinstance(y, torch.Tensor) and y.dtype.is_floating_point


def _called(function: Callable[..., Any], given: Mapping[str, Any]) -> Any:
    """By name where the names are the function's own, else in order."""
    known = signature_of(function).parameters
    takes_any = any(p.kind is inspect.Parameter.VAR_KEYWORD for p in known.values())
    by_position = [p for p in known.values() if p.kind in (p.POSITIONAL_ONLY, p.VAR_POSITIONAL)]
    if not by_position and (takes_any or set(given) <= set(known)):
        return function(**given)
    return function(*given.values())


def _outputs_and_cache(name: str, answer: Any) -> tuple[list[Any], Any]:
    if not isinstance(answer, tuple) or len(answer) < 2:
        raise UsageError(f"the forward {name} of a pair returns its outputs and, behind them, what the backward needs")
    *outputs, cache = answer
    return outputs, cache


def _by_name(found: Any, variables: Sequence[str]) -> dict[str, Any]:
    """Gradients by argument, from a mapping, a tuple in order, or one array."""
    if isinstance(found, Mapping):
        return {name: found.get(name, found.get(f"d{name}", found.get(f"grad_{name}"))) for name in variables} | {
            name: _plain(g) for name, g in _renamed(found, variables).items()
        }
    parts = list(found) if isinstance(found, tuple | list) else [found]
    parts = [g for g in parts if g is not None] if len(parts) != len(variables) else parts
    if len(parts) != len(variables):
        raise UsageError(f"the backward gives {len(parts)} gradients for {', '.join(variables)}")
    return {name: _plain(g) for name, g in zip(variables, parts, strict=True)}


def _renamed(found: Mapping[str, Any], variables: Sequence[str]) -> dict[str, Any]:
    known = {}
    for name in variables:
        key = next((k for k in (name, f"d{name}", f"grad_{name}") if k in found), None)
        if key is not None:
            known[name] = found[key]
    return known


def _wide(x: Any) -> Array:
    return np.array(x.detach().double().cpu().numpy()) if hasattr(x, "detach") else _plain(x)


def _plain(x: Any) -> Any:
    return _wide(x) if hasattr(x, "detach") else np.asarray(x).astype(np.float64) if x is not None else None


def _laid_out(x: Any, layout: str, empty: Callable[..., Any], *, is_upstream: bool = False) -> Any:
    """The same numbers in another layout of memory."""
    turned: Any
    rank = len(x.shape)
    if layout == "transposed" and rank > 1:
        order = [*range(rank - 2), rank - 1, rank - 2]
        turned = x.permute(order).contiguous() if hasattr(x, "permute") else np.ascontiguousarray(x.transpose(order))
        return turned.permute(order) if hasattr(x, "permute") else turned.transpose(order)
    if layout == "sliced" and rank:
        more = {"device": x.device} if hasattr(x, "device") and hasattr(x, "permute") else {}
        room = empty((*x.shape[:-1], 2 * x.shape[-1]), dtype=x.dtype, **more)
        room[...] = float("nan")  # whoever reads what lies between shows it
        room[..., ::2] = x
        return room[..., ::2]
    if layout == "broadcast" and is_upstream and rank > 1:
        first = x[..., :1, :]
        return first.expand(x.shape) if hasattr(x, "expand") else np.broadcast_to(first, x.shape)
    return x

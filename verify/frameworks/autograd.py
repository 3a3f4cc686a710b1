"""HIPS autograd's functions as subjects: the gradients that ``autograd.grad`` gives, judged.

Needs the package: ``pip install 'verify-gradients[autograd]'``.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import numpy as np

from verify.errors import UsageError
from verify.programs.calling import as_gradient, seeds_of

MISSING = "autograd is not installed: pip install 'verify-gradients[autograd]'"


def gradient_of(function: Callable[..., Any], *, constants: Collection[str] = ()) -> Callable[..., Any]:
    """The gradient that autograd gives of a function written with ``autograd.numpy``, for ``verify.check_gradient``.

    ``constants`` names arguments that are not differentiated. The gradient takes NumPy arrays, by name or by position,
    and ``upstream``; it answers in their dtypes. Raises UsageError without the package.

    >>> import importlib.util
    >>> def square(x):
    ...     return x * x
    >>> not importlib.util.find_spec("autograd") or float(gradient_of(square)(np.float64(3.0))) == 6.0
    True
    """
    try:
        import autograd
    except ImportError:
        raise UsageError(MISSING) from None

    def pull(arguments: Mapping[str, Any], by: Sequence[str], call: Callable[..., Any], upstream: Any) -> Any:
        arrays = {name: np.array(x) for name, x in arguments.items()}

        def contracted(moved: Mapping[str, Any]) -> Any:
            answer = call({name: moved.get(name, x) for name, x in arrays.items()})
            outputs = list(answer) if isinstance(answer, tuple | list) else [answer]
            seeds = seeds_of([autograd.tracer.getval(y) for y in outputs], upstream)
            return sum(autograd.numpy.sum(y * seed) for y, seed in zip(outputs, seeds, strict=True))

        found = autograd.grad(contracted)({name: arrays[name] for name in by})
        return {name: np.array(found[name], dtype=arrays[name].dtype) for name in by}

    return as_gradient(function, pull, constants)

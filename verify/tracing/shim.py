"""A function with other eyes: the same code, to which NumPy's constructors, ``math`` and ``float`` give tracers.

Nothing is patched. The copy has globals of its own, in which the modules NumPy and math, the functions that were
imported from them, and the user's own functions, classes and modules stand for their twins; the originals, and whoever
runs in another thread, never see any of it.
"""

from __future__ import annotations

import builtins
import copy
import dis
import functools
import math
from collections.abc import Callable, Mapping
from types import CellType, CodeType, FunctionType, MethodType, ModuleType
from typing import Any

import numpy as np

from verify.tracing.code_objects import codes_of
from verify.tracing.composed import COMPOSED, OF_SCIPY
from verify.tracing.places import global_names, is_library, is_users
from verify.tracing.recorder import Recorder
from verify.tracing.tracer import Tracer, has_traced

CONSTRUCTORS = frozenset({
    "zeros", "ones", "empty", "full", "zeros_like", "ones_like", "empty_like", "full_like", "eye", "identity", "array",
    "asarray", "asanyarray", "ascontiguousarray", "copy", "asfortranarray", "asarray_chkfinite",
})  # fmt: skip
"""Functions that make an array which traced values may be written into."""

CONVERSIONS = ("array", "asarray", "asanyarray", "ascontiguousarray", "asfortranarray", "asarray_chkfinite")

TAKES_LISTS = frozenset({
    "stack", "concatenate", "concat", "vstack", "hstack", "dstack", "column_stack", "row_stack", "block", "select",
    "multi_dot", "choose", "broadcast_arrays", "einsum", "piecewise", "cho_solve",
})  # fmt: skip
"""Functions to which a list of arrays is no array."""

ROWS = ("erf", "erfc", "gamma", "lgamma")
"""Functions of math that NumPy has not, and the table has."""

_MATH = frozenset(name for name in vars(math) if callable(getattr(math, name)) and hasattr(np, name)) - {
    "isnan",
    "isinf",
    "isfinite",
    "isclose",
    "gcd",
    "lcm",
}
"""Functions of math that NumPy has too."""


_MATH_RULES: Mapping[str, Callable[..., Any]] = {
    "log": lambda x, base=None: np.log(x) if base is None else np.log(x) / np.log(base),
    "fsum": sum,
    "prod": lambda items, start=1: functools.reduce(np.multiply, items, start),
    "hypot": lambda *sides: functools.reduce(np.hypot, sides),
    "dist": lambda p, q: np.sqrt(sum((a - b) ** 2 for a, b in zip(p, q, strict=True))),
}
"""Functions of math that take more, or other things, than NumPy's."""


class Shim:
    """Twins of functions, classes and modules for one recording."""

    def __init__(self, recorder: Recorder) -> None:
        self.recorder = recorder
        self._twins: dict[int, tuple[Any, Any]] = {}
        """Identity -> the original, which is kept alive, and its twin."""
        recorder.twin_of = self._function

    def twin(self, value: Any) -> Any:
        """What stands for a value in the traced function; most values stand for themselves.

        >>> import verify.tracing.recorder as recorder
        >>> shim = Shim(recorder.Recorder(Shim.twin.__code__, "", np.dtype(float)))
        >>> shim.twin(np).zeros(3), shim.twin(3)
        (array([0., 0., 0.]), 3)
        """
        known = self._twins.get(id(value))
        if known is not None:
            return known[1]
        made = self._made(value)
        if made is not value:
            self._twins[id(value)] = (value, made)
        return made

    def _made(self, value: Any) -> Any:
        makers: tuple[tuple[Any, Callable[[Any], Any]], ...] = (
            (ModuleType, self._module),
            (FunctionType, self._python_function),
            (MethodType, lambda method: MethodType(self.twin(method.__func__), self.instance(method.__self__))),
            (functools.partial, lambda part: functools.partial(self.twin(part.func), *part.args, **part.keywords)),
            (type, self._class),
            (np.vectorize, lambda loop: self._vectorize(self.twin(loop.pyfunc))),
            (np.ufunc, lambda ufunc: _Ufunc(self.recorder, ufunc)),
        )
        if value is np.vectorize:
            return self._vectorize
        if value is np.ndenumerate:
            return lambda array: ((index, array[index]) for index in np.ndindex(np.shape(array)))
        maker = next((maker for kind, maker in makers if isinstance(value, kind)), self._compiled)
        return maker(value)

    def _python_function(self, function: FunctionType) -> Any:
        return self._function(function) if is_users(function) else self._compiled(function)

    def _compiled(self, value: Any) -> Any:
        """A function of a library, or anything else."""
        if any(value is own for own in _OWN_BUILTINS):
            return self._builtin(value.__name__)
        module, name = (getattr(value, of, None) or "" for of in ("__module__", "__name__"))
        if not callable(value) or not isinstance(module, str):
            return value
        if module == "math":
            return self._math(value, name)
        if module.split(".")[0] == "numpy":
            return self._library_function(value, name)
        is_known = module.startswith(("scipy.special", "scipy.linalg")) and name in OF_SCIPY
        return self._with_lists(value, OF_SCIPY[name]) if is_known else value

    # ------------------------------------------------------------------------------------------------ the user's own

    def _function(self, function: FunctionType) -> FunctionType:
        cells = tuple(CellType() for _ in function.__closure__ or ())
        names = self._globals(function)
        twin = FunctionType(function.__code__, names, function.__name__, function.__defaults__, cells)
        twin.__kwdefaults__ = function.__kwdefaults__
        twin.__dict__.update(function.__dict__)
        twin.__qualname__, twin.__module__ = function.__qualname__, function.__module__
        self._twins[id(function)] = (function, twin)  # before what it refers to: it may refer to itself
        for name in global_names(function.__code__):
            if name in names and names[name] is function.__globals__.get(name):
                names[name] = self.twin(names[name])
        for cell, original in zip(cells, function.__closure__ or (), strict=True):
            try:
                cell.cell_contents = self.twin(original.cell_contents)
            except ValueError:  # an empty cell
                continue
        return twin

    def _globals(self, function: FunctionType) -> dict[str, Any]:
        """The globals of a function's module with twins in them; its own where ``float`` is called and not compared."""
        key = id(function.__globals__)
        if key not in self._twins:
            names: dict[str, Any] = dict(function.__globals__)
            self._twins[key] = (function.__globals__, names)
            known = names.get("__builtins__", builtins)
            known = dict(known if isinstance(known, dict) else vars(known))
            own = {name: self._builtin(name) for name in ("max", "min", "sum")}
            names["__builtins__"] = {**known, **own, "__import__": self._import(known["__import__"])}
        names = self._twins[key][1]
        if not _only_calls(function.__code__, "float") or "float" in names:
            return names
        return {**names, "__builtins__": {**names["__builtins__"], "float": self._float}}

    def _class(self, kind: type) -> type:
        """A class of the user's with twins of its methods, over the twins of its bases: ``super()`` finds those."""
        own = any(_is_own_function(value) for c in kind.__mro__ for value in vars(c).values())
        if not own or issubclass(kind, BaseException | tuple) or type(kind) is not type:
            return kind
        bases = tuple(base for base in map(self.twin, kind.__bases__) if isinstance(base, _Twin))
        twin = _Twin(kind.__name__, (*bases, kind), {"__module__": kind.__module__, "twin_of": kind})
        self._twins[id(kind)] = (kind, twin)  # before its methods are made: they may refer to it
        for name, value in vars(kind).items():
            if _is_own_function(value):
                setattr(twin, name, self._member(value))
        return twin

    def _member(self, member: Any) -> Any:
        if isinstance(member, staticmethod | classmethod):
            return type(member)(self.twin(member.__func__))
        if isinstance(member, property):
            return property(*(f and self.twin(f) for f in (member.fget, member.fset, member.fdel)))
        return self.twin(member)

    def instance(self, value: Any) -> Any:
        """An object of a class of the user's as one of the twin class; what it holds is the same."""
        kind = self.twin(type(value))
        if isinstance(value, type):
            return self.twin(value)
        if kind is type(value):
            return value
        try:
            made = copy.copy(value)
            made.__class__ = kind
        except TypeError:  # slots, or a layout of its own
            return value
        return made

    def callable(self, function: Any) -> Any:
        """The twin of what is to be traced, an object that can be called among them."""
        twin = self.twin(function)
        return self.instance(function) if twin is function and not isinstance(function, type) else twin

    # ---------------------------------------------------------------------------------------------------- libraries

    def _module(self, module: ModuleType) -> Any:
        file = getattr(module, "__file__", None) or ""
        name = module.__name__
        if name.split(".")[0] == "numpy" or name in _MODULES:
            return _Module(self, module)
        return module if not file or is_library(file) else _Module(self, module)

    def _import(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def imported(*args: Any, **kwargs: Any) -> Any:
            return self.twin(original(*args, **kwargs))

        return imported

    def _library_function(self, function: Any, name: str) -> Any:
        if name == "fromiter":
            return lambda items, *args, **kwargs: self.twin(np.array)(list(items), *args[:1], **kwargs)
        if name in CONSTRUCTORS:
            return self._constructor(function, name)
        if name == "as_strided":  # NumPy hands it to no array of another kind
            return self._with_lists(function, COMPOSED[name])
        return self._with_lists(function, function) if name not in TAKES_LISTS else function

    def _with_lists(self, function: Callable[..., Any], stand_in: Callable[..., Any]) -> Callable[..., Any]:
        """Lists of tracers as arrays."""

        @functools.wraps(function)
        def called(*args: Any, **kwargs: Any) -> Any:
            if not has_traced([*args, *kwargs.values()]):
                return function(*args, **kwargs)
            put = self.recorder.put_together
            takes = function.__name__ not in TAKES_LISTS
            return stand_in(
                *(put(a) if takes and isinstance(a, list | tuple) else a for a in args),
                **{name: put(a) if isinstance(a, list) and has_traced(a) else a for name, a in kwargs.items()},
            )

        return called

    def _constructor(self, function: Callable[..., Any], name: str) -> Callable[..., Any]:
        @functools.wraps(function)
        def constructed(*args: Any, **kwargs: Any) -> Any:
            first = args[0] if args else None
            if name in CONVERSIONS and (type(first) is Tracer or has_traced(first)):
                return self._converted(first, name, *args[1:], **kwargs)
            if has_traced([*args, *kwargs.values()]) or type(first) is Tracer:
                return function(*args, **kwargs)
            return self.recorder.fresh(function(*args, **kwargs))

        return constructed

    def _converted(self, value: Any, name: str, dtype: Any = None, *, copy: Any = None, **options: Any) -> Any:
        """``np.array`` and its like of something traced."""
        del options
        made = self.recorder.put_together(value)
        if dtype is not None:
            made = made.astype(dtype)
        elif name == "array" and copy is not False:
            made = made.copy()
        return made

    def _math(self, function: Callable[..., Any], name: str) -> Callable[..., Any]:
        @functools.wraps(function)
        def called(*args: Any) -> Any:
            if not has_traced(list(args)):
                return function(*(self.recorder.plain(a) for a in args))
            if name in ROWS:
                return self.recorder.apply(name, list(args))
            rule = _MATH_RULES.get(name) or (getattr(np, name) if name in _MATH else function)
            return rule(*args)

        return called

    # --------------------------------------------------------------------------------------------------- built in

    def _vectorize(self, function: Callable[..., Any], *given: Any, **options: Any) -> Callable[..., Any]:
        """``np.vectorize``: Python's own loop over the entries."""

        def called(*args: Any) -> Any:
            if not has_traced(list(args)) or given or options:
                return np.vectorize(function, *given, **options)(*args)
            arrays = [np.broadcast_to(a, np.broadcast_shapes(*map(np.shape, args))) for a in args]
            entries = [[a[index] for a in arrays] for index in np.ndindex(arrays[0].shape)]
            return np.reshape(self.recorder.put_together([function(*numbers) for numbers in entries]), arrays[0].shape)

        return called

    def _builtin(self, name: str) -> Any:
        return {"max": self._largest(max, np.maximum), "min": self._largest(min, np.minimum), "sum": self._sum,
                "float": self._float}[name]  # fmt: skip

    def _largest(self, original: Any, ufunc: Any) -> Callable[..., Any]:
        def largest(*args: Any, **kwargs: Any) -> Any:
            items = list(args[0]) if len(args) == 1 else list(args)
            if kwargs or not has_traced(items) or any(np.ndim(item) for item in items):
                return original(*((items,) if len(args) == 1 else args), **kwargs)
            return functools.reduce(ufunc, items)

        return largest

    def _sum(self, items: Any, /, start: Any = 0) -> Any:
        return sum(items, start)

    def _float(self, value: Any = 0.0, /) -> Any:
        if type(value) is Tracer and not value.is_known:
            if value.size != 1:
                raise TypeError("only length-1 arrays can be converted to Python scalars")
            return np.reshape(value, ())
        return float(value)


_OWN_BUILTINS = (max, min)

_MODULES = ("math", "scipy", "scipy.special", "scipy.linalg")
"""Libraries of which some functions have twins, beside NumPy."""


class _Twin(type):
    """The kind of a twin class: whoever is of the original class is of the twin."""

    def __instancecheck__(cls, instance: Any) -> bool:
        return isinstance(instance, vars(cls)["twin_of"])


class _Module:
    """A module whose functions are twins."""

    def __init__(self, shim: Shim, module: ModuleType) -> None:
        self._shim, self._original = shim, module

    def __getattr__(self, name: str) -> Any:
        return self._shim.twin(getattr(self._original, name))

    def __dir__(self) -> list[str]:
        return dir(self._original)


class _Ufunc:
    """A ufunc that takes lists of tracers too."""

    def __init__(self, recorder: Recorder, ufunc: np.ufunc) -> None:
        self._recorder, self._ufunc = recorder, ufunc

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._ufunc(*map(self._put, args), **kwargs)

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._ufunc, name)
        if name not in ("reduce", "accumulate", "outer", "at", "reduceat"):
            return found
        return lambda *args, **kwargs: found(*map(self._put, args), **kwargs)

    def _put(self, value: Any) -> Any:
        return self._recorder.put_together(value) if isinstance(value, list | tuple) and has_traced(value) else value


def _is_own_function(value: Any) -> bool:
    function = getattr(value, "__func__", value.fget if isinstance(value, property) else value)
    return isinstance(function, FunctionType) and is_users(function)


@functools.lru_cache(maxsize=1000)
def _only_calls(code: CodeType, name: str) -> bool:
    """Whether a function, with all that is defined in it, calls a global name and does nothing else with it."""
    instructions = (i for piece in codes_of(code) for i in dis.get_instructions(piece))
    return all("NULL" in i.argrepr for i in instructions if i.opname == "LOAD_GLOBAL" and i.argval == name)

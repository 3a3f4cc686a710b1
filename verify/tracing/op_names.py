"""What NumPy, SciPy, ``math``, ATen and JAX call the rows of the op table: one table of the names that differ.

A function whose name is that of a row is that row and is not written down here.
"""

from __future__ import annotations

from collections.abc import Mapping

from verify.case.expression import REDUCTIONS
from verify.ops import OPS, Op

ALIASES: Mapping[str, str] = {
    "maximum": "max", "minimum": "min", "fmax": "max", "fmin": "min", "absolute": "abs", "fabs": "abs", "sgn": "sign",
    "add_any": "add", "sub": "subtract", "mul": "multiply", "div": "divide", "true_divide": "divide", "neg": "negative",
    "conjugate": "positive", "pow": "power", "float_power": "power", "asin": "arcsin", "acos": "arccos",
    "atan": "arctan", "atan2": "arctan2", "asinh": "arcsinh", "acosh": "arccosh", "atanh": "arctanh",
    "expit": "sigmoid", "logistic": "sigmoid", "gammaln": "lgamma", "psi": "digamma", "erf_inv": "erfinv",
    "inv": "inverse",    "permute_dims": "transpose", "concat": "concatenate",
}  # fmt: skip
"""A function -> the row that it is."""


def row_name(name: str) -> str:
    """What the table would call a function of numbers.

    >>> row_name("special_expit"), row_name("svd")
    ('sigmoid', 'svd')
    """
    name = name.removeprefix("special_")
    return ALIASES.get(name, name)


def ufunc_row(name: str, arity: int | None = None) -> Op | None:
    """The row that a function of numbers is; None where there is none of that many operands.

    >>> ufunc_row("asin").name, ufunc_row("special_expit").name, ufunc_row("svd")
    ('arcsin', 'sigmoid', None)
    """
    row = OPS.get(row_name(name))
    return row if row is not None and arity in (None, row.arity) else None


def array_row(name: str) -> Op | None:
    """The row that a function of whole arrays is, None where there is none.

    >>> array_row("max").name, array_row("inv").name, array_row("maximum") is None
    ('amax', 'inverse', True)
    """
    if name in REDUCTIONS:
        return OPS[REDUCTIONS[name]]
    row = OPS.get(ALIASES.get(name, name))
    return None if row is None or (row.name in REDUCTIONS and row.name != name) else row

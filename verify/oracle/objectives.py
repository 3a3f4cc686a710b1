"""Objectives of boosting libraries, and what SciPy's optimisers are given: pairs of first and second derivatives."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from verify.errors import UsageError
from verify.oracle.check import check_gradient
from verify.oracle.order_causes import forgotten, plain_causes, same
from verify.oracle.orders import check_hessian, check_hvp, check_jacobian, checked, joined
from verify.oracle.result import GradientRun
from verify.running.settings import DEFAULT, Settings
from verify.tracing.foreign_call import call_foreign
from verify.tracing.function_call import name_of
from verify.truth.orders import Block, Key, Orders

Array = NDArray[Any]
Function = Callable[..., Any]

LABELS = ("label", "true", "target", "truth", "actual", "gt")
"""What stands in the name of a parameter that takes labels, ..."""

DATASETS = ("dtrain", "dmat", "dataset", "train_data", "train_set", "dtest", "dmatrix", "data", "lgb_train")
"""... or a data set that has them, as XGBoost's and LightGBM's own interfaces hand on, ..."""

PREDICTIONS = ("pred", "score", "raw", "logit", "margin", "approx", "hat", "prob")
"""... and in that of one that takes predictions."""


class Labelled:
    """What an objective is given that asks for a data set: the labels, and no weights.

    >>> Labelled(np.array([0.0, 1.0])).get_label()
    array([0., 1.])
    """

    def __init__(self, labels: Array) -> None:
        self.label = labels

    def get_label(self) -> Array:
        """The labels, as XGBoost's ``DMatrix`` and LightGBM's ``Dataset`` give them."""
        return np.array(self.label)

    def get_weight(self) -> Array:
        """No weights: an empty array, as in XGBoost."""
        return np.zeros(0)

    def num_row(self) -> int:
        """How many rows there are."""
        return len(self.label)


def check_objective(
    objective: Function, loss: Function, settings: Settings = DEFAULT, *, at: Any, labels: Any, **options: Any
) -> GradientRun:
    """Judges an objective of XGBoost or LightGBM: ``grad, hess = objective(predictions, labels)``.

    Parameters
    ----------
    objective
        Takes predictions and labels; which is which is told by the names of its parameters (``y_true``, ``labels``,
        ``preds``), else predictions come first. One that asks for a data set (``dtrain.get_label()``) is given one.
        Returns the gradient of the loss by each prediction, and the diagonal of its second derivatives.
    loss
        What it is the objective of: takes predictions and labels likewise, and returns one number or one for each row,
        which are added up. The predictions of both are the same numbers: raw scores, if boosting is what they are for.
    at, labels
        Predictions, and labels; several points are a list of mappings, ``[{"pred": ...}, ...]``.
    settings, options
        As in :func:`~verify.oracle.orders.check_hessian`.

    The report names what stands in place of the second derivatives, a factor, probabilities where raw scores are meant
    or the other way round, arguments that are swapped, and whether ``grad`` is right where ``hess`` is not.

    >>> def squares(pred, y):
    ...     return (pred - y) ** 2
    >>> at = {"at": [0.5, -1.0], "labels": [1.0, 0.0]}
    >>> check_objective(lambda pred, y: (2 * (pred - y), np.full(2, 2.0)), squares, **at).verdict
    'PASS'
    >>> run = check_objective(lambda pred, y: (2 * (pred - y), np.ones(2)), squares, **at)
    >>> run.cases[0].variables[1].diagnosis[0]
    'grad is right; your hess is half the right one'
    """
    for what, function in (("an objective", objective), ("a loss", loss)):
        if not callable(function):
            raise UsageError(f"expected {what} that can be called, got {function!r:.60}")
    points = list(at) if isinstance(at, list | tuple) and at and isinstance(at[0], Mapping) else [at]
    points = [point if isinstance(point, Mapping) else {"pred": point} for point in points]
    name = next(iter(points[0]))
    given = [{name: np.asarray(point[name]), "labels": np.asarray(labels)} for point in points]
    for point in given:
        if point[name].dtype.kind not in "fiu":
            raise UsageError(f"predictions must be numbers, got {point[name].dtype}")
        point[name] = point[name] if point[name].dtype.kind == "f" else point[name].astype(np.float64)
    value, subject = _in_order(loss, name), _in_order(objective, name)
    asked = _asked_with(subject)

    def told(
        here: Mapping[str, Any],
        key: Key,
        array: Array,
        answer: Mapping[Key, Array],
        blocks: Sequence[Block],
        point: Orders,
    ) -> tuple[str, ...]:
        return tuple(_objective_causes(asked, name, here, key, array, answer, blocks, point))

    run = checked("objective", asked, value, settings, at=given, constants=("labels",), causes=told, **options)
    return _with_domain_told(run, given, name)


def _in_order(function: Function, name: str) -> Function:
    """A function of predictions and labels by those names, whatever its own order is."""
    try:
        parameters = [p.name for p in inspect.signature(function).parameters.values()
                      if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]  # fmt: skip
    except (TypeError, ValueError):  # a builtin without a signature
        parameters = []
    first, second = ([*parameters, "", ""])[:2]
    is_swapped = _is_label(first) or (_is_prediction(second) and not _is_prediction(first))

    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    signature = inspect.Signature([inspect.Parameter(n, kind) for n in (name, "labels")])

    def called(*args: Any, **named: Any) -> Any:
        both = signature.bind(*args, **named).args
        return function(*(both[::-1] if is_swapped else both))

    called.__signature__ = signature  # type: ignore[attr-defined]
    called.__name__ = name_of(function)
    called.__wrapped__ = function  # type: ignore[attr-defined]
    return called


def _is_label(name: str) -> bool:
    return any(part in name.lower() for part in LABELS) or name.lower() in (*DATASETS, "y", "t")


def _is_prediction(name: str) -> bool:
    return any(part in name.lower() for part in PREDICTIONS)


def _asked_with(objective: Function) -> Function:
    """The objective with two arrays as its answer, given a data set where it asks for one."""
    signature = inspect.signature(objective)

    def called(*values: Any, **named: Any) -> Any:
        given = signature.bind(*values, **named).arguments
        try:
            found = objective(**given)
        except (AttributeError, TypeError, IndexError) as error:
            if "get_label" not in str(error) and "label" not in str(error):
                raise
            found = objective(**{**given, "labels": Labelled(given["labels"])})
        if not isinstance(found, tuple | list) or len(found) != 2:
            what = f"{type(found).__name__} {found!r:.60}"
            raise UsageError(f"an objective returns grad and hess, a pair of arrays; {name_of(objective)} gave {what}")
        return tuple(found)

    called.__signature__ = signature  # type: ignore[attr-defined]
    called.__name__ = name_of(objective)
    called.__wrapped__ = objective.__wrapped__  # type: ignore[attr-defined]
    return called


def _objective_causes(
    objective: Function,
    name: str,
    given: Mapping[str, Any],
    key: Key,
    array: Array,
    answer: Mapping[Key, Array],
    blocks: Sequence[Block],
    point: Orders,
) -> Iterator[str]:
    """What a gradient or a second derivative of an objective could be instead, the simplest first."""
    truth = {block.key[0]: np.reshape([k.midpoint for k in block.known], block.shape) for block in blocks}
    grad_is_right = same(answer["grad",], truth["grad"], 1e-9)
    what = f"your {key[0]}" if key == ("grad",) or not grad_is_right else f"grad is right; your {key[0]}"
    if not np.all(np.isfinite(array)) or not np.all(np.isfinite(truth[key[0]])):
        return
    count = array.size
    for factor, said in ((count, f"{count} x the right one"), (1 / count, f"the right one divided by {count}")):
        if count > 1 and all(same(answer[k,], factor * truth[k]) for k in truth):
            yield f"{what} is {said}, the number of rows, in both arrays: one of loss and objective is an average"
    for said in plain_causes(array, truth[key[0]]):
        yield f"{what} is {said}"
    if key == ("hess",):
        right = truth["hess"]
        for said, other in (
            ("1 throughout, in place of the second derivative", np.ones(array.shape)),
            ("the absolute value of the right one", np.abs(right)),
            ("the square of the gradient (Gauss-Newton)", truth["grad"] ** 2),
            ("the absolute value of the gradient", np.abs(truth["grad"])),
        ):
            if same(array, other) and not same(right, other):
                yield f"{what} is {said}"
        if point.is_separable():
            for said in forgotten({name: array}, point, {name: np.ones(array.shape)}):
                yield f"{what} {said}"
    yield from (f"{what} {said}" for said in _of_scores(objective, name, given, key[0], array, truth, point))


def _of_scores(
    objective: Function,
    name: str,
    given: Mapping[str, Any],
    which: str,
    array: Array,
    truth: Mapping[str, Array],
    point: Orders,
) -> Iterator[str]:
    """Raw scores taken for probabilities, or the other way round, and arguments that are swapped."""
    x = np.asarray(given[name], dtype=np.float64)
    with np.errstate(all="ignore"):
        p, score = 1 / (1 + np.exp(-x)), np.log(x / (1 - x))
    place = ("grad", "hess").index(which)

    def answered(**changed: Any) -> Array:
        with np.errstate(all="ignore"):
            found = call_foreign(lambda: objective(**{**given, **changed}))
        return np.asarray(found.value[place], dtype=np.float64) if found.error is None else np.zeros(0)

    if same(answered(**{name: p}), truth[which]):
        yield f"is right for probabilities: it is handed raw scores, and lacks {name} = 1 / (1 + exp(-{name}))"
    elif np.all(np.isfinite(score)) and same(answered(**{name: score}), truth[which]):
        yield "takes raw scores, and the loss is one of probabilities"
    elif same(answered(**{name: given["labels"], "labels": x}), truth[which]):
        yield "is right with its arguments swapped: labels and predictions are in the other order"
    slope = p * (1 - p)
    at_p = Orders(point.graph, point.variables, None, {**point.inputs, name: p}, point.upstream).objective()
    first, second = (np.reshape([k.midpoint for k in block.known], x.shape) for block in at_p)
    by_score = {"grad": first * slope, "hess": second * slope**2 + first * slope * (1 - 2 * p)}
    if same(array, by_score[which]):
        yield "is that by the raw score: the loss takes probabilities; write it of 1 / (1 + exp(-score))"
    with np.errstate(all="ignore"):
        by_p = {"grad": truth["grad"] / slope, "hess": (truth["hess"] - truth["grad"] * (1 - 2 * p)) / slope**2}
    if same(array, by_p[which]):
        yield "is that by the probability: by the raw score there is a factor p * (1 - p) for each derivative"
    elif same(answered(**{name: p}), by_p[which]):
        yield "is that by the probability, and takes the raw score for it: p = 1 / (1 + exp(-score)) is missing, twice"


def _with_domain_told(run: GradientRun, given: Sequence[Mapping[str, Any]], name: str) -> GradientRun:
    """A note where the loss has no value at raw scores, because it takes probabilities."""
    case = run.cases[0]
    outside = any(np.any((point[name] <= 0) | (point[name] >= 1)) for point in given)
    if (
        case.passes
        or not outside
        or not any("outside its domain" in text for v in case.variables for text in v.rows.texts)
    ):
        return run
    said = (
        f"the loss has no value at some of {name}, which lie beyond 0 to 1: it takes probabilities, and boosting hands "
        "on raw scores; write it of 1 / (1 + exp(-score))"
    )
    return replace(run, cases=(replace(case, notes=(said, *case.notes)),))


# ---------------------------------------------------------------------------------------------------------------- SciPy


def check_scipy(
    fun: Function,
    x0: Any,
    jac: Any = None,
    hess: Any = None,
    hessp: Any = None,
    args: Any = (),
    settings: Settings = DEFAULT,
    **options: Any,
) -> GradientRun:
    """Judges all derivatives that ``scipy.optimize.minimize`` is given, or ``least_squares``, in its own call shape.

    Parameters
    ----------
    fun
        The objective ``fun(x, *args)``; with ``jac=True`` it returns its value and its gradient. One that returns an
        array is a vector of residuals, and ``jac`` its Jacobian.
    x0
        Where they are judged; ``domain={"x": (low, high)}`` looks at other points too.
    jac, hess, hessp
        ``jac(x, *args)``, ``hess(x, *args)``, ``hessp(x, p, *args)``, as SciPy takes them. Names of its own finite
        differences (``"2-point"``) and update strategies are nothing to judge.
    args
        Further arguments of all of them.
    settings, options
        As in :func:`~verify.oracle.orders.check_hessian`.

    Raises UsageError where there is nothing to judge.

    >>> def fun(x, a):
    ...     return np.sum((x - a) ** 4)
    >>> given = {"jac": lambda x, a: 4 * (x - a) ** 3, "hessp": lambda x, p, a: 12 * (x - a) ** 2 * p, "args": (0.5,)}
    >>> check_scipy(fun, [1.0, 2.0], **given).verdict
    'PASS'
    >>> check_scipy(fun, [1.0, 2.0], **{**given, "hessp": lambda x, p, a: 12 * (x - a) * p}).verdict
    'FAIL'
    """
    args = args if isinstance(args, tuple) else (args,)
    if np.asarray(x0).dtype.kind not in "fiu":
        raise UsageError(f"x0 must be real numbers, got {np.asarray(x0).dtype}: SciPy minimizes over real numbers")
    at = {"x": np.atleast_1d(np.asarray(x0, dtype=np.float64))}

    def value(x: Any) -> Any:
        found = fun(x, *args)
        return found[0] if jac is True else found

    value.__name__, value.__wrapped__ = name_of(fun), fun  # type: ignore[attr-defined]
    value.__signature__ = inspect.Signature([inspect.Parameter("x", inspect.Parameter.POSITIONAL_OR_KEYWORD)])  # type: ignore[attr-defined]
    runs: list[tuple[str, GradientRun]] = []
    slopes = (lambda x: fun(x, *args)[1]) if jac is True else (lambda x: jac(x, *args)) if callable(jac) else None
    if slopes is not None:
        ran = call_foreign(lambda: np.shape(value(at["x"])))
        if ran.error is None and ran.value not in ((), (1,)):
            runs.append(("jac", check_jacobian(slopes, value, settings, at=at, **options)))
        else:
            runs.append(("jac", check_gradient(slopes, value, settings, at=at, **options)))
    if callable(hess):
        runs.append(("hess", check_hessian(lambda x: hess(x, *args), value, settings, at=at, **options)))
    if callable(hessp):
        runs.append(("hessp", check_hvp(lambda x, p: hessp(x, p, *args), value, settings, at=at, **options)))
    if not runs:
        raise UsageError("nothing to judge: give jac, hess or hessp as functions, or jac=True")
    return joined(runs)

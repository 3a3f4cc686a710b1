"""Objectives of boosting libraries and derivatives for SciPy: those posted in public, right and wrong, each named."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import verify
from verify.report.failures import first_cause

SCORES = np.array([-1.3, -0.4, 0.2, 0.9, 2.1])
LABELS = np.array([0.0, 1.0, 1.0, 0.0, 1.0])
LITTLE = 1 + 1e-6


def sigmoid(x: Any) -> Any:
    """Of raw scores the probability."""
    return 1 / (1 + np.exp(-x))


def squares(pred: Any, y: Any) -> Any:
    """For each row."""
    return (pred - y) ** 2


def log_loss(pred: Any, y: Any) -> Any:
    """Of raw scores."""
    p = 1 / (1 + np.exp(-pred))
    return -(y * np.log(p) + (1 - y) * np.log(1 - p))


def log_loss_of_p(pred: Any, y: Any) -> Any:
    """Of probabilities."""
    return -(y * np.log(pred) + (1 - y) * np.log(1 - pred))


def fair(pred: Any, y: Any) -> Any:
    """Xgboost, issue 3037."""
    return np.abs(pred - y) - np.log(1 + np.abs(pred - y))


def log_objective(y_true: Any, y_pred: Any, factor: float = 1.0) -> Any:
    """The right one, in scikit-learn's order."""
    p = sigmoid(y_pred)
    return p - y_true, factor * p * (1 - p)


@pytest.mark.parametrize("factor", [1.0, LITTLE])
def test_right_objectives_pass_in_every_order_and_their_twins_fail(factor: float) -> None:
    """Predictions first or last, or a data set that has the labels; hess is off by 1e-6 and grad is not."""
    forms: list[Callable[..., Any]] = [
        lambda y_true, y_pred: log_objective(y_true, y_pred, factor),
        lambda preds, labels: log_objective(labels, preds, factor),
        lambda predt, dtrain: log_objective(dtrain.get_label(), predt, factor),
        lambda preds, train_data: log_objective(train_data.get_label(), preds, factor),
    ]
    for objective in forms:
        run = verify.check_objective(objective, log_loss, at=SCORES, labels=LABELS)
        grad, hess = run.cases[0].variables
        assert grad.passes
        assert hess.passes is (factor == 1)
        if factor != 1:
            assert hess.diagnosis == ("grad is right; your hess is 1.000001 x the right one",)
            assert "of log_loss: grad is right; your hess" in first_cause(run)


@pytest.mark.parametrize(
    ("loss", "objective", "said"),
    [
        (fair, lambda pred, y: ((y - pred) / (np.abs(y - pred) + 1), 1 / (np.abs(y - pred) + 1) ** 2), "opposite sign"),
        (squares, lambda pred, y: ((y - pred) * 2, 2 * np.ones_like(pred)), "opposite sign"),
        (squares, lambda pred, y: (pred - y, np.ones_like(pred)), "your grad is half the right one"),
        (squares, lambda pred, y: (2 * (pred - y), np.ones_like(pred)), "your hess is half the right one"),
        (log_loss, lambda pred, y: (sigmoid(pred) - y, np.ones_like(pred)), "grad is right; your hess is 1 throughout"),
        (log_loss, lambda pred, y: (sigmoid(pred) - y, (sigmoid(pred) - y) ** 2), "the square of the gradient"),
        (log_loss, lambda pred, y: (pred - y, pred * (1 - pred)), "is right for probabilities: it is handed"),
        (log_loss, lambda pred, y: (-y / sigmoid(pred) + (1 - y) / (1 - sigmoid(pred)), np.ones_like(pred)),
         "is that by the probability: by the raw score there is a factor"),
        (lambda pred, y: np.mean((pred - y) ** 2), lambda pred, y: (2 * (pred - y), 2 * np.ones_like(pred)),
         "5 x the right one, the number of rows"),
        (lambda a, b: (a - b) ** 2 * a, lambda b, a: (2 * (a - b) * a + (a - b) ** 2, 2 * a + 4 * (a - b)),
         "with its arguments swapped"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_an_objective_is_named(loss: Any, objective: Any, said: str) -> None:
    """By the first line of the report, as far as it goes, and by the diagnosis."""
    run = verify.check_objective(objective, loss, at=SCORES, labels=LABELS)
    assert run.verdict == "FAIL"
    assert any(said in sentence for v in run.cases[0].variables for sentence in v.diagnosis)


def test_a_loss_of_probabilities_is_told_from_one_of_raw_scores() -> None:
    """Where it has values, by its numbers; where it has none, by a note."""
    at_p = verify.check_objective(log_objective, log_loss_of_p, at=sigmoid(SCORES), labels=LABELS)
    assert "is that by the raw score" in at_p.cases[0].variables[0].diagnosis[0]
    raw = verify.check_objective(log_objective, log_loss_of_p, at=SCORES, labels=LABELS)
    assert not raw.ok
    assert "it takes probabilities, and boosting hands on raw scores" in raw.cases[0].notes[0]


@pytest.mark.parametrize("factor", [1.0, 2.0])
def test_several_classes(factor: float) -> None:
    """The diagonal alone is wanted; twice of it, as XGBoost's own softmax has it, is named."""

    def loss(scores: Any, y: Any) -> Any:
        e = np.exp(scores - scores.max(axis=1, keepdims=True))
        return -np.log((e / e.sum(axis=1, keepdims=True))[np.arange(len(y)), y])

    def objective(scores: Any, y: Any) -> Any:
        e = np.exp(scores)
        p = e / e.sum(axis=1, keepdims=True)
        return p - np.eye(3)[y], factor * p * (1 - p)

    at = np.array([[0.1, 0.5, -0.3], [1.0, 0.2, 0.4]])
    run = verify.check_objective(objective, loss, at=at, labels=np.array([0, 2]))
    assert run.ok is (factor == 1)
    if factor == 2:
        assert run.cases[0].variables[1].diagnosis[0] == "grad is right; your hess is twice the right one"


def rosen(x: Any, a: Any) -> Any:
    """Rosenbrock's function with a factor."""
    return a * (x[1] - x[0] ** 2) ** 2 + (1 - x[0]) ** 2


def slopes(x: Any, a: Any) -> Any:
    """Its gradient."""
    return np.array([-4 * a * x[0] * (x[1] - x[0] ** 2) - 2 * (1 - x[0]), 2 * a * (x[1] - x[0] ** 2)])


def curvature(x: Any, a: Any) -> Any:
    """Its Hessian."""
    return np.array([[12 * a * x[0] ** 2 - 4 * a * x[1] + 2, -4 * a * x[0]], [-4 * a * x[0], 2 * a]])


@pytest.mark.parametrize("wrong", ["", "jac", "hess", "hessp"])
def test_all_that_scipy_is_given_is_judged_in_one_call(wrong: str) -> None:
    """Whichever is off by 1e-6 fails, and the others pass."""
    off = {name: LITTLE if name == wrong else 1.0 for name in ("jac", "hess", "hessp")}
    run = verify.check_scipy(
        rosen, [0.5, 1.2], args=(100.0,),
        jac=lambda x, a: off["jac"] * slopes(x, a),
        hess=lambda x, a: off["hess"] * curvature(x, a),
        hessp=lambda x, p, a: off["hessp"] * curvature(x, a) @ p,
    )  # fmt: skip
    assert [(case.name.split(", ")[1], case.passes) for case in run.cases] == [(name, name != wrong) for name in off]
    whole = verify.check_scipy(lambda x: (rosen(x, 9.0), off["jac"] * slopes(x, 9.0)), [0.5, 1.2], jac=True)
    assert whole.ok is (wrong != "jac")


def test_residuals_have_a_jacobian() -> None:
    """What ``least_squares`` is given."""

    def fun(x: Any) -> Any:
        return np.array([x[0] ** 2 - x[1], x[1] * x[0]])

    for off in (0.0, 1e-6):
        run = verify.check_scipy(fun, [1.0, 2.0], jac=lambda x, e=off: np.array([[2 * x[0], -1.0 + e], [x[1], x[0]]]))
        assert run.ok is (off == 0)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: verify.check_scipy(rosen, [1.0, 2.0], jac="2-point"), "nothing to judge"),
        (lambda: verify.check_objective(3, squares, at=SCORES, labels=LABELS), "can be called"),  # type: ignore[arg-type]
        (lambda: verify.check_objective(squares, squares, at=["a"], labels=LABELS), "must be numbers"),
    ],
)
def test_bad_input_is_told_with_its_remedy(call: Callable[[], Any], said: str) -> None:
    """A message, and no traceback of ours."""
    with pytest.raises(verify.UsageError, match=said):
        call()


def test_an_answer_that_is_no_pair_is_a_finding() -> None:
    """It is told what an objective returns."""
    run = verify.check_objective(lambda pred, y: pred - y, squares, at=SCORES, labels=LABELS)
    assert not run.ok
    assert "a pair of arrays" in run.cases[0].findings[0].sentence


def opaque(x: Any) -> Any:
    """Nothing that a trace can read."""
    return np.frombuffer(np.asarray(x).tobytes())


@pytest.mark.parametrize("factor", [1.0, LITTLE])
def test_what_cannot_be_traced_is_measured(factor: float) -> None:
    """Objectives, and what SciPy is given, of a black box."""
    run = verify.check_objective(
        lambda pred, y: (np.exp(pred) - y, factor * np.exp(pred)),
        lambda pred, y: np.exp(opaque(pred)) - y * opaque(pred),
        at=SCORES[:2],
        labels=LABELS[:2],
    )
    assert [v.passes for v in run.cases[0].variables] == [True, factor == 1]
    assert any("nothing is proved" in note for note in run.cases[0].notes)
    run = verify.check_scipy(lambda x: float(np.sum(opaque(x) ** 3)), [1.5], jac=lambda x: factor * 3 * x**2)
    assert run.ok is (factor == 1)

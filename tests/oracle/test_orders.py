"""``J v``, J, ``H v`` and H as people bring them: what is right passes, and its twin that is wrong by 1e-6 does not."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import verify
from verify.report.failures import first_cause
from verify.words import FindingKind, Verdict

LITTLE = 1 + 1e-6
X = {"x": [0.5, 1.2, -0.3]}


def rosen(x: Any) -> Any:
    """Rosenbrock's function."""
    return np.sum(100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2)


def rosen_hessian(x: Any) -> Any:
    """Its second derivatives."""
    h = np.diag(np.append(1200 * x[:-1] ** 2 - 400 * x[1:] + 2, 0.0)) + np.diag(
        np.append(0.0, np.full(len(x) - 1, 200.0))
    )
    return h - np.diag(400 * x[:-1], 1) - np.diag(400 * x[:-1], -1)


def layer(W: Any, x: Any) -> Any:
    """An affine layer and its nonlinearity."""
    return np.tanh(W @ x)


def layer_jacobian(W: Any, x: Any) -> dict[str, Any]:
    """Its blocks."""
    slope = 1 - np.tanh(W @ x) ** 2
    return {"W": np.einsum("i,ij,k->ijk", slope, np.eye(len(W)), x), "x": slope[:, None] * W}


AT_LAYER = {"W": [[0.1, 0.2, -0.3], [0.4, -0.5, 0.6]], "x": [1.0, -2.0, 3.0]}


@pytest.mark.parametrize("factor", [1.0, LITTLE])
def test_each_check_has_a_twin(factor: float) -> None:
    """All four pass what is right, and fail what is off by 1e-6 in all numbers."""
    jacobian = layer_jacobian
    runs = [
        verify.check_hessian(lambda x: factor * rosen_hessian(x), rosen, at=X),
        verify.check_hvp(lambda x, v: factor * rosen_hessian(x) @ v, rosen, at=X),
        verify.check_hvp(lambda x, v: factor * rosen_hessian(x) @ v, rosen, at=X, v=[1.0, 0.0, -2.0]),
        verify.check_jacobian(lambda W, x: {k: factor * b for k, b in jacobian(W, x).items()}, layer, at=AT_LAYER),
        verify.check_jvp(
            lambda W, x, dW, dx: factor * (1 - np.tanh(W @ x) ** 2) * (dW @ x + W @ dx), layer, at=AT_LAYER
        ),
    ]
    assert [run.verdict for run in runs] == ["PASS" if factor == 1 else "FAIL"] * len(runs)
    for run in runs:
        assert run.cases[0].proved == run.cases[0].checked > 0
        if factor != 1:
            with pytest.raises(verify.WrongGradientError, match=r"of (rosen|layer)"):
                run.raise_if_wrong()
            assert not run.frame.empty


@pytest.mark.parametrize("factor", [1.0, LITTLE])
def test_with_a_domain_other_points_are_looked_at(factor: float) -> None:
    """A Hessian that is wrong beyond 1 alone passes at the given point."""

    def hessian(x: Any) -> Any:
        return rosen_hessian(x) * (factor if np.any(np.abs(x) > 1.5) else 1.0)

    assert verify.check_hessian(hessian, rosen, at=X).ok
    run = verify.check_hessian(hessian, rosen, at=X, domain={"x": (-2, 2)})
    assert run.ok is (factor == 1)
    assert run.cases[0].points_checked > 8


def gauss_newton(x: Any) -> Any:
    """Without the curvature of the residuals."""
    J = np.vstack([np.diag(np.full(len(x) - 1, 10.0), 1)[:-1] - np.diag(np.append(20 * x[:-1], 0.0))[:-1],
                   -np.eye(len(x))[:-1]])  # fmt: skip
    return 2 * J.T @ J


def absolute(x: Any) -> Any:
    """With the absolute values of the eigenvalues."""
    values, vectors = np.linalg.eigh(rosen_hessian(x))
    return vectors @ np.diag(np.abs(values)) @ vectors.T


@pytest.mark.parametrize(
    ("hessian", "said"),
    [
        (gauss_newton, "is that of Gauss and Newton: the second derivatives of"),
        (absolute, "the absolute values of its eigenvalues"),
        (lambda x: np.eye(len(x)), "is the identity"),
        (lambda x: rosen_hessian(x) / 2, "is half the right one"),
        (lambda x: 2 * rosen_hessian(x), "is twice the right one"),
        (lambda x: -rosen_hessian(x), "the opposite sign"),
        (lambda x: np.diag(np.diag(rosen_hessian(x))), "is the diagonal of the right one alone"),
        (lambda x: 0 * rosen_hessian(x), "is zero"),
    ],
)  # fmt: skip
def test_what_stands_in_place_of_the_hessian_is_named(hessian: Callable[[Any], Any], said: str) -> None:
    """In the diagnosis, which the first line of the report says."""
    run = verify.check_hessian(hessian, rosen, at=X)
    assert run.verdict == "FAIL"
    assert said in run.cases[0].variables[0].diagnosis[0]
    assert "FAIL d2rosen/dxdx[" in first_cause(run)


def test_a_hessian_that_is_not_symmetric_is_a_finding() -> None:
    """One number off by a little breaks the symmetry; both do not."""

    def off(x: Any, *, both: bool) -> Any:
        h = rosen_hessian(x)
        h[0, 1] *= LITTLE
        h[1, 0] *= LITTLE if both else 1
        return h

    kinds = [[f.kind for f in verify.check_hessian(lambda x, b=both: off(x, both=b), rosen, at=X).cases[0].findings]
             for both in (False, True)]  # fmt: skip
    assert kinds == [[FindingKind.NOT_SYMMETRIC], []]


def mixed(x: Any, y: Any) -> Any:
    """Two inputs of other shapes."""
    return np.sum(x**2) * y + y**3


@pytest.mark.parametrize("off", [0.0, 1e-6])
def test_blocks_of_a_hessian_come_in_every_form(off: float) -> None:
    """By name, in tuples, as one matrix of everything."""
    at = {"x": [1.0, -2.0], "y": 3.0}

    def blocks(x: Any, y: Any) -> dict[tuple[str, str], Any]:
        return {("x", "x"): 2 * y * np.eye(2), ("x", "y"): 2 * x + off, ("y", "x"): 2 * x + off, ("y", "y"): 6 * y}

    def nested(x: Any, y: Any) -> Any:
        return {a: {b: blocks(x, y)[a, b] for b in "xy"} for a in "xy"}

    def tuples(x: Any, y: Any) -> Any:
        return tuple(tuple(row.values()) for row in nested(x, y).values())

    def whole(x: Any, y: Any) -> Any:
        b = blocks(x, y)
        return np.block([[b["x", "x"], b["x", "y"][:, None]], [b["y", "x"][None], np.array([[b["y", "y"]]])]])

    for form in (blocks, nested, tuples, whole):
        assert verify.check_hessian(form, mixed, at=at).ok is (off == 0)
    products: tuple[Callable[..., Any], ...] = (
        lambda x, y, v: (2 * y * v["x"] + (2 * x + off) * v["y"], (2 * x + off) @ v["x"] + 6 * y * v["y"]),
        lambda x, y, dx, dy: {"x": 2 * y * dx + (2 * x + off) * dy, "y": (2 * x + off) @ dx + 6 * y * dy},
    )
    for product in products:
        assert verify.check_hvp(product, mixed, at=at).ok is (off == 0)


def test_a_sparse_jacobian_has_a_pattern() -> None:
    """An entry that is left out where the truth is not 0 is told as that."""
    sparse = pytest.importorskip("scipy.sparse")
    at = {"x": [1.0, 2.0, 3.0]}
    assert verify.check_jacobian(lambda x: sparse.diags(2 * x), lambda x: x**2, at=at).ok
    run = verify.check_jacobian(lambda x: sparse.diags(np.append(2 * x[:2], 0)).tocsr()[:, :], lambda x: x**2, at=at)
    assert run.verdict == "FAIL"
    left_out = verify.check_jacobian(
        lambda x: sparse.coo_matrix((2 * x[:2], ([0, 1], [0, 1])), shape=(3, 3)), lambda x: x**2, at=at
    )
    assert [f.kind for f in left_out.cases[0].findings] == [FindingKind.WRONG_PATTERN]
    assert "no entry at [2, 2]" in left_out.cases[0].findings[0].sentence


@pytest.mark.parametrize("factor", [1.0, LITTLE])
def test_the_two_halves_of_a_pair_belong_together(factor: float) -> None:
    """``<u, J v> = <J' u, v>`` is asked of both, whatever the function is."""
    run = verify.check_jvp(
        lambda x, v: 2 * x * v, lambda x: x**2, at={"x": [1.0, 2.0]}, vjp=lambda x, u: factor * 2 * x * u
    )
    assert [f.kind for f in run.cases[0].findings] == ([] if factor == 1 else [FindingKind.NOT_ADJOINT])
    assert run.ok is (factor == 1)


def test_at_a_kink_a_slope_of_either_side_passes_and_no_second_derivative_is_claimed() -> None:
    """A number beyond the sides fails; a Hessian is undecided, with the reason."""
    at = {"x": [0.0, 1.0]}
    for slope, verdict in ((0.3, Verdict.CONVENTION), (1.2, Verdict.FAIL)):
        run = verify.check_jvp(
            lambda x, v, s=slope: np.where(x > 0, 1.0, s) * v, lambda x: np.maximum(x, 0), at=at, tangent=[1.0, 1.0]
        )
        assert run.verdict == verdict
    run = verify.check_hvp(lambda x, v: 0 * x * v, lambda x: np.sum(np.maximum(x, 0)), at=at)
    assert run.verdict == "UNDECIDED"
    assert not run.ok
    assert "kink: max" in first_cause(run)


def opaque(x: Any) -> Any:
    """Nothing that a trace can read."""
    return float(np.sum(np.exp(np.frombuffer(np.asarray(x).tobytes()))))


@pytest.mark.parametrize(("factor", "verdict"), [(1.0, "PASS"), (LITTLE, "FAIL")])
def test_what_cannot_be_traced_is_measured(factor: float, verdict: str) -> None:
    """Values along lines tell 1e-6, and the notes say that nothing is proved."""
    at = {"x": np.array([1.5, -0.5])}

    runs = [
        verify.check_hvp(lambda x, v: factor * np.exp(x) * v, opaque, at=at),
        verify.check_hessian(lambda x: np.diag(factor * np.exp(x)), opaque, at=at),
        verify.check_jvp(lambda x, v: factor * np.exp(x) @ v, opaque, at=at),
        verify.check_jacobian(lambda x: factor * np.exp(x), opaque, at=at),
    ]
    assert [run.verdict for run in runs] == [verdict] * 4
    assert all("nothing is proved" in " ".join(run.cases[0].notes) for run in runs)


def test_what_a_product_promises_is_watched() -> None:
    """It writes to nothing, repeats itself, is linear in its vector, and does not raise."""

    def writes(x: Any, v: Any) -> Any:
        v *= 6 * x
        return v

    def squares(x: Any, v: Any) -> Any:
        return 6 * x * v * np.abs(v) / np.abs(v).max()

    def raises(x: Any, v: Any) -> Any:
        raise ZeroDivisionError(x, v)

    found = []
    for hvp in (writes, squares, raises):
        run = verify.check_hvp(hvp, lambda x: np.sum(x**3), at={"x": [1.0, 2.0]})
        assert not run.ok
        found.append({f.kind for f in run.cases[0].findings})
    assert FindingKind.UPSTREAM_MUTATED in found[0]
    assert FindingKind.NOT_LINEAR in found[1]
    assert FindingKind.EXCEPTION in found[2]


@pytest.mark.parametrize("factor", [0.0, 1e-3, 0.1])
@pytest.mark.parametrize("scale", [1.0, 5.0])
def test_rounding_of_float32_is_not_taken_for_a_product_that_is_not_linear(factor: float, scale: float) -> None:
    """The terms of the Hessian of log-sum-exp cancel along equal entries: what is left of them is linear in nothing."""

    def logsumexp(x: Any) -> Any:
        return np.log(np.sum(np.exp(scale * x)))

    def hvp(x: Any, v: Any) -> Any:
        p = np.exp(scale * x - np.max(scale * x))
        p = p / np.sum(p)
        return scale**2 * (p * v - p * (p @ v)) * (1 + np.float32(factor) * np.abs(v))

    for x in ([0.5, 1.25, -0.25], [3.0, -2.0, -2.5]):
        run = verify.check_hvp(hvp, logsumexp, at={"x": np.array(x, np.float32)})
        assert (FindingKind.NOT_LINEAR in {f.kind for f in run.cases[0].findings}) is (factor > 0.01)
        assert run.ok is (factor == 0)
    one = verify.check_hvp(hvp, logsumexp, at={"x": np.array([0.5], np.float32)})  # 0 on paper, whatever the factor
    assert one.ok


def test_blocks_that_are_left_out_are_told() -> None:
    """What is not answered is judged nowhere, and the run says so; a whole answer has no such note."""
    eye, at = np.eye(2), {"x": [1.0, 2.0], "y": [3.0, 4.0]}
    cross = {"x": {"y": eye}, "y": {"x": eye}}
    zeros = {"x": {"x": 0 * eye, **cross["x"]}, "y": {"y": 0 * eye, **cross["y"]}}
    for answer, is_told in ((cross, True), (zeros, False)):
        run = verify.check_hessian(lambda x, y, h=answer: h, lambda x, y: x @ y, at=at)  # noqa: ARG005
        assert run.ok
        assert (
            any("leaves it out: the Hessian by x and x, the Hessian by y" in n for n in run.cases[0].notes) is is_told
        )


@pytest.mark.parametrize("factor", [1.0, LITTLE])
def test_a_fixed_step_integrator_is_traced_and_proved_at_both_orders(factor: float) -> None:
    """Runge and Kutta's fourth order in a loop of NumPy, on ``y' = a y``: a power of a polynomial, by hand."""
    n, h, at = 5, 0.1, {"a": -0.7, "y0": 1.3}

    def integrated(a: float, y0: float) -> float:
        y = y0
        for _ in range(n):
            k1 = a * y
            k2 = a * (y + h / 2 * k1)
            k3 = a * (y + h / 2 * k2)
            y = y + h / 6 * (k1 + 2 * k2 + 2 * k3 + a * (y + h * k3))
        return y

    def powers(a: float) -> tuple[float, float, float]:
        z = a * h
        g, g1, g2 = (
            1 + z + z**2 / 2 + z**3 / 6 + z**4 / 24,
            h * (1 + z + z**2 / 2 + z**3 / 6),
            h * h * (1 + z + z**2 / 2),
        )
        return g**n, n * g ** (n - 1) * g1, n * (n - 1) * g ** (n - 2) * g1**2 + n * g ** (n - 1) * g2

    def gradient(a: float, y0: float) -> tuple[float, float]:
        return powers(a)[1] * y0 * factor, powers(a)[0]

    def hessian(a: float, y0: float) -> Any:
        _, slope, bend = powers(a)
        return {"a": {"a": bend * y0 * factor, "y0": slope}, "y0": {"a": slope, "y0": 0.0}}

    first, second = verify.check_gradient(gradient, integrated, at=at), verify.check_hessian(hessian, integrated, at=at)
    assert (first.ok, second.ok) == (factor == 1, factor == 1)
    assert not first.cases[0].unproved
    assert second.cases[0].variables[0].proved == 1


@pytest.mark.parametrize("factor", [1.0, LITTLE])
def test_a_hessian_that_takes_its_arguments_by_position_alone_is_called_so(factor: float) -> None:
    """As ``jax.hessian`` does, though its signature is that of the function it is of."""

    def by_position(*args: Any, **named: Any) -> Any:
        assert not named
        return factor * rosen_hessian(*args)

    by_position.__wrapped__ = rosen  # type: ignore[attr-defined]
    assert verify.check_hessian(by_position, rosen, at=X).ok is (factor == 1)

    def of_both(x: Any, v: Any) -> Any:
        return factor * rosen_hessian(x) @ v

    @functools.wraps(of_both)
    def product(*args: Any) -> Any:
        return of_both(*args)

    @functools.wraps(of_both)
    def under_other_names(a: Any, b: Any, /) -> Any:
        return of_both(a, b)

    for hvp in (product, under_other_names):
        assert verify.check_hvp(hvp, rosen, at=X).ok is (factor == 1)


@pytest.mark.parametrize(
    ("run", "said"),
    [
        (
            lambda: verify.check_hessian(lambda x: rosen_hessian(x).astype(complex), rosen, at=X),
            "the Hessian by x and x",
        ),
        (lambda: verify.check_hvp(lambda x, v: np.float32(rosen_hessian(x) @ v), rosen, at=X), "the HVP by x"),
        (lambda: verify.check_jvp(lambda x, v: np.float32(np.cos(x) * v), np.sin, at=X), "the JVP of sin"),
        (lambda: verify.check_jvp(lambda x, v: np.abs(np.cos(x) * v), np.sin, at=X), "the JVP of sin is not linear"),
        (lambda: verify.check_jacobian(lambda x: np.diag(np.cos(x)) > 0, np.sin, at=X), "the Jacobian of sin by x"),
    ],
)
def test_a_finding_names_what_is_judged(run: Callable[[], Any], said: str) -> None:
    """No sentence calls a Hessian or a product with one a gradient."""
    sentences = [finding.sentence for finding in run().cases[0].findings]
    assert any(said in sentence for sentence in sentences), sentences
    assert not any("gradient" in sentence for sentence in sentences), sentences


def test_a_run_and_a_kernel_have_verdicts_of_one_type() -> None:
    """Members of the enumeration, which are their own text."""
    run = verify.check_hessian(rosen_hessian, rosen, at=X)
    assert run.verdict is Verdict.PASS
    assert (repr(run.verdict), str(run.verdict), run.verdict == "PASS") == ("'PASS'", "PASS", True)
    assert verify.check_hessian(np.diag, rosen, at=X).verdict is Verdict.FAIL


def abs_squares(z: Any) -> Any:
    """A real function of complex numbers."""
    return np.sum(np.abs(z) ** 2)


def unanswered(x: Any, v: Any = None) -> Any:
    """A mapping without a number."""
    del v
    del x
    return {"x": None}


def itself(x: Any, v: Any) -> Any:
    """Another thing than any product."""
    del x
    return v


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: verify.check_hvp(itself, lambda x: x**2, at={"x": [1.0, 2.0]}), "give upstream="),
        (lambda: verify.check_hvp(itself, rosen), "needs the point"),
        (lambda: verify.check_hessian(unanswered, rosen, at=X), "nothing at all"),
        (lambda: verify.check_hvp(unanswered, rosen, at=X), "nothing at all"),
        (lambda: verify.check_hvp(lambda x, y, z, v: x + y + z + v, rosen, at=X), "of a vector"),
        (lambda: verify.check_hvp(3.0, rosen, at=X), "can be called"),  # type: ignore[arg-type]
        (lambda: verify.check_jvp(itself, rosen, at=X, tangent=[1.0]), "finite numbers"),
        (lambda: verify.check_hessian(lambda x, y: {"z": x + y}, mixed, at={"x": [1.0], "y": 2.0}), "none of x, y"),
        (lambda: verify.check_hessian(np.diag, rosen, at={"x": [1, 2]}), "float"),
        (lambda: verify.check_hessian(np.diag, abs_squares, at={"z": [1 + 2j, 3.0]}), "real functions"),
        (lambda: verify.check_jvp(itself, abs_squares, at={"z": [1 + 2j, 3.0]}), "real functions"),
        (lambda: verify.check_gradient(itself, abs_squares, at={"z": 1 + 2j}), "real functions"),
        (
            lambda: verify.check_gradient(lambda x: x, lambda x: np.exp(1j * x), at={"x": 1.0}),
            "returns complex numbers",
        ),
        (lambda: verify.check_scipy(abs_squares, [1 + 2j, 3.0], jac=itself), "x0 must be real numbers"),
        (lambda: verify.check_hessian(np.diag, rosen, X), "by name, at="),  # type: ignore[arg-type]
        (lambda: verify.check_gradient(np.diag, rosen, X), "by name, at="),  # type: ignore[arg-type]
    ],
)
def test_bad_input_is_told_with_its_remedy(call: Callable[[], Any], said: str) -> None:
    """A message, and no traceback of ours."""
    with pytest.raises(verify.UsageError, match=said):
        call()


def test_a_case_stands_for_the_function() -> None:
    """By name, at its own points."""

    def jacobian(x: Any, y: Any, z: Any, off: float = 1.0) -> Any:
        return {"x": z, "y": z * off, "z": x + y}

    assert verify.check_jacobian(jacobian, "multiply_add").ok
    assert not verify.check_jacobian(lambda x, y, z: jacobian(x, y, z, LITTLE), "multiply_add").ok


def sigmoid(x: Any) -> Any:
    """Which is 1 to rounding from 37 on."""
    return 1 / (1 + np.exp(-x))


@pytest.mark.parametrize("x", [3.0, 15.0, 34.0])
@pytest.mark.parametrize("factor", [1.0, LITTLE])
def test_digits_that_every_formula_of_its_kind_loses_are_excused_and_a_fault_is_not(x: float, factor: float) -> None:
    """In the tail ``1 - s`` has few digits left; a factor beside it is proved to be a fault."""
    runs = [
        verify.check_jvp(lambda x, v: factor * (1 - np.tanh(x) ** 2) * v, np.tanh, at={"x": [x]}),
        verify.check_hvp(
            lambda x, v: factor * sigmoid(x) * (1 - sigmoid(x)) * (1 - 2 * sigmoid(x)) * v,
            lambda x: np.sum(1 / (1 + np.exp(-x))),
            at={"x": [x]},
        ),
    ]
    assert [run.ok for run in runs] == [factor == 1] * 2


@pytest.mark.parametrize(("offset", "passes"), [(1.0, True), (1e8, False)])
def test_a_formula_that_throws_digits_away_is_imprecise(offset: float, passes: bool) -> None:
    """Rounding is the cause there, and no other formula has to."""
    run = verify.check_hvp(lambda x, v: ((6 * x + offset) - offset) * v, lambda x: np.sum(x**3), at={"x": [3.37]})
    assert run.ok is passes
    assert passes or run.verdict == "IMPRECISE"


def test_entries_of_a_maximum_that_are_tied_are_undecided_with_that_reason() -> None:
    """Of ``x - max(x)`` nothing is claimed at a tie, and everything beside it."""

    def log_sum(x: Any) -> Any:
        return np.log(np.sum(np.exp(x - np.max(x)))) + np.max(x)

    def hessian(x: Any) -> Any:
        p = np.exp(x) / np.sum(np.exp(x))
        return np.diag(p) - np.outer(p, p)

    assert verify.check_hessian(hessian, log_sum, at={"x": [0.5, -1.0, 2.0]}).ok
    run = verify.check_hessian(hessian, log_sum, at={"x": [0.5, 0.5, -1.0]})
    assert run.ok or (run.verdict == "UNDECIDED" and "tied" in first_cause(run))


def test_underflow_is_told_from_a_fault_and_nothing_is_told_from_none() -> None:
    """A truth that no float holds is 0 for floats; an answer that is missing is a finding."""
    run = verify.check_hvp(lambda x, v: np.exp(x) * v, lambda x: np.sum(np.exp(x)), at={"x": [1.0, -800.0]})
    assert run.ok
    run = verify.check_hvp(lambda x, v: 0 * x * v, lambda x: np.sum(np.exp(x)), at={"x": [1.0, -700.0]})
    assert run.verdict == "FAIL"
    run = verify.check_hessian(lambda x: None if x.size else x, rosen, at=X)
    assert [f.kind for f in run.cases[0].findings] == [FindingKind.WRONG_TYPE]

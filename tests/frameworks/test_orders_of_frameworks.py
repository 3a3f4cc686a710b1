"""Forward mode and second derivatives of PyTorch and JAX: every mode with its right answer, and its fault of 1e-6."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import verify
from verify.errors import UsageError, WrongGradientError

LITTLE = 1 + 1e-6
X = [1.0, -2.0, 0.5]


def cube_of_torch(backward: float = 1.0, forward: float = 1.0, second: float = 1.0) -> Any:
    """``x**3`` as an ``autograd.Function`` with a factor in its backward, its ``jvp``, and the backward's backward."""
    torch = pytest.importorskip("torch")

    class Slope(torch.autograd.Function):  # type: ignore[name-defined, misc]
        @staticmethod
        def forward(ctx: Any, x: Any, g: Any) -> Any:
            ctx.save_for_backward(x, g)
            ctx.save_for_forward(x, g)
            return backward * 3 * x**2 * g

        @staticmethod
        def backward(ctx: Any, v: Any) -> Any:
            x, g = ctx.saved_tensors
            return second * 6 * x * g * v, 3 * x**2 * v

        @staticmethod
        def jvp(ctx: Any, dx: Any, dg: Any) -> Any:
            x, g = ctx.saved_tensors
            return second * 6 * x * g * dx + (0 if dg is None else 3 * x**2 * dg)

    class Cube(torch.autograd.Function):  # type: ignore[name-defined, misc]
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            ctx.save_for_backward(x)
            ctx.save_for_forward(x)
            return x**3

        @staticmethod
        def backward(ctx: Any, g: Any) -> Any:
            return Slope.apply(ctx.saved_tensors[0], g)

        @staticmethod
        def jvp(ctx: Any, dx: Any) -> Any:
            return forward * 3 * ctx.saved_tensors[0] ** 2 * dx

    return Cube.apply


def tensor(values: Any) -> Any:
    """In double precision, differentiated."""
    return pytest.importorskip("torch").tensor(values, dtype=pytest.importorskip("torch").float64, requires_grad=True)


@pytest.mark.parametrize("where", ["", "backward", "forward", "second"])
def test_torch_modes_see_their_own_fault_alone(where: str) -> None:
    """A factor of 1 + 1e-6 in one of three rules fails the modes that use it, and no other."""
    pytest.importorskip("torch")
    from verify.frameworks.torch import gradcheck, gradgradcheck

    fn = cube_of_torch(**({where: LITTLE} if where else {}))
    x = (tensor(X),)
    assert gradcheck(fn, x, raise_exception=False) is (where != "backward")
    assert gradcheck(fn, x, raise_exception=False, check_backward_ad=False, check_forward_ad=True) is (
        where != "forward"
    )
    assert gradgradcheck(fn, x, raise_exception=False) is (where != "second")
    assert gradgradcheck(fn, x, raise_exception=False, check_fwd_over_rev=True, check_rev_over_rev=False) is (
        where != "second"
    )


def test_a_backward_that_saves_what_was_computed_on_the_way_fails_at_second_order() -> None:
    """The saved tensor counts as constant when the backward is differentiated; the first derivative is right."""
    torch = pytest.importorskip("torch")
    from verify.frameworks.torch import gradcheck, gradgradcheck

    class Swish(torch.autograd.Function):  # type: ignore[name-defined, misc]
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            s = torch.sigmoid(x)
            ctx.save_for_backward(x)
            ctx.s = s
            return x * s

        @staticmethod
        def backward(ctx: Any, g: Any) -> Any:
            (x,) = ctx.saved_tensors
            return g * (ctx.s + x * ctx.s * (1 - ctx.s))

    class Exp(torch.autograd.Function):  # type: ignore[name-defined, misc]
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            y = torch.exp(x)
            ctx.save_for_backward(y)  # an output, whose history PyTorch knows
            return y

        @staticmethod
        def backward(ctx: Any, g: Any) -> Any:
            return g * ctx.saved_tensors[0]

    assert gradcheck(Swish.apply, (tensor(X),))
    with pytest.raises(WrongGradientError, match="hvp by x0"):
        gradgradcheck(Swish.apply, (tensor(X),))
    assert gradgradcheck(Exp.apply, (tensor(X),))


def test_gradgradcheck_takes_what_torch_takes() -> None:
    """Several inputs, constants, upstream gradients, several outputs, modules."""
    torch = pytest.importorskip("torch")
    from verify.frameworks.torch import gradgradcheck

    x, y = tensor(X), tensor([0.3, 0.2, 0.5])
    assert gradgradcheck(lambda x, y: (x * y**2, torch.exp(x) @ y), (x, y))
    assert gradgradcheck(lambda x, n: x**n, (x, 3))
    assert gradgradcheck(lambda x: 2 * x, x)
    ones = torch.ones(3, dtype=torch.float64)
    assert gradgradcheck(torch.tanh, (x,), (ones,))
    assert gradgradcheck(torch.nn.Linear(3, 2).double(), (x,))
    with pytest.raises(UsageError, match="batched"):
        gradgradcheck(torch.sin, (x,), check_batched_grad=True)


@pytest.mark.parametrize("factor", [1.0, LITTLE])
@pytest.mark.parametrize("mode", ["fwd", "rev"])
def test_jax_orders_and_modes(mode: str, factor: float) -> None:
    """``custom_jvp`` serves both modes and both orders; a factor in it fails in all of them."""
    jax = pytest.importorskip("jax")
    from verify.frameworks.jax import check_grads

    @jax.custom_jvp  # type: ignore[untyped-decorator, unused-ignore]
    def cube(x: Any) -> Any:
        return x**3

    cube.defjvp(lambda p, t: (cube(p[0]), factor * 3 * p[0] ** 2 * t[0]))
    args = (np.array(X),)
    for order in (1, 2):
        if factor == 1:
            assert check_grads(cube, args, order=order, modes=(mode,)).ok
        else:
            with pytest.raises(WrongGradientError, match="FAIL"):
                check_grads(cube, args, order=order, modes=(mode,))


def test_a_jax_rule_that_stops_a_gradient_is_wrong_at_second_order_alone() -> None:
    """Every pair of modes is looked at."""
    jax = pytest.importorskip("jax")
    from verify.frameworks.jax import check_grads

    @jax.custom_jvp  # type: ignore[untyped-decorator, unused-ignore]
    def cube(x: Any) -> Any:
        return x**3

    cube.defjvp(lambda p, t: (cube(p[0]), 3 * jax.lax.stop_gradient(p[0]) ** 2 * t[0]))
    args = (np.array(X),)
    assert check_grads(cube, args, order=1, modes=("fwd", "rev")).ok
    with pytest.raises(WrongGradientError) as caught:
        check_grads(cube, args, order=2, modes=("fwd", "rev"))
    failed = [case.name.split(", ")[1] for case in caught.value.run.cases if not case.passes]
    assert failed == ["fwd over fwd", "fwd over rev", "rev over fwd", "rev over rev"]


def test_check_jvp_takes_rules_of_frameworks_as_they_stand() -> None:
    """A rule of ``custom_jvp``, and a Hessian by ``jax.hessian`` or of tensors."""
    jax = pytest.importorskip("jax")
    torch = pytest.importorskip("torch")
    import verify

    def rule(primals: Any, tangents: Any, off: float = 1.0) -> Any:
        (x,), (v,) = primals, tangents
        return jax.numpy.sin(x), off * jax.numpy.cos(x) * v

    at = {"x": np.array(X)}
    assert verify.check_jvp(rule, np.sin, at=at).ok
    assert not verify.check_jvp(lambda primals, tangents: rule(primals, tangents, LITTLE), np.sin, at=at).ok
    for off in (1.0, LITTLE):
        run = verify.check_hessian(
            lambda x, o=off: o * jax.hessian(lambda z: jax.numpy.sum(z**3))(x), lambda x: np.sum(x**3), at=at
        )
        assert run.ok is (off == 1)
        run = verify.check_hvp(lambda x, v, o=off: o * 6 * torch.mul(x, v), lambda x: torch.sum(x**3), at=at)
        assert run.ok is (off == 1)


@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated")  # PyTorch's own, in its forward mode
@pytest.mark.parametrize("off", [1.0, LITTLE])
def test_matrices_of_frameworks(off: float) -> None:
    """J and H by PyTorch's and JAX's own functions, of their own functions and of NumPy's."""
    jax = pytest.importorskip("jax")
    torch = pytest.importorskip("torch")
    import verify

    at = {"x": np.array(X)}

    def of_torch(x: Any) -> Any:
        return torch.tanh(x) * x

    def of_jax(x: Any) -> Any:
        return jax.numpy.tanh(x) * x

    def of_numpy(x: Any) -> Any:
        return np.tanh(x) * x

    for function in (of_torch, of_numpy):
        jacobian = verify.check_jacobian(lambda x: off * torch.func.jacrev(of_torch)(x), function, at=at)
        assert jacobian.ok is (off == 1)
    for function in (of_jax, of_numpy):
        jacobian = verify.check_jacobian(lambda x: off * jax.jacfwd(of_jax)(x), function, at=at)
        assert jacobian.ok is (off == 1)
    hessian = verify.check_hessian(
        lambda x: off * torch.func.hessian(lambda z: of_torch(z).sum())(x), lambda x: of_torch(x).sum(), at=at
    )
    assert hessian.ok is (off == 1)
    hessian = verify.check_hessian(
        lambda x: off * jax.hessian(lambda z: of_jax(z).sum())(x), lambda x: of_jax(x).sum(), at=at
    )
    assert hessian.ok is (off == 1)


@pytest.mark.parametrize("off", [1.0, LITTLE])
def test_objectives_of_losses_of_frameworks(off: float) -> None:
    """A loss of tensors, and one of JAX's arrays, need no twin in NumPy."""
    jax = pytest.importorskip("jax")
    torch = pytest.importorskip("torch")
    import verify

    labels = np.array([0.0, 1.0, 1.0])

    def objective(preds: Any, labels: Any) -> Any:
        p = 1 / (1 + np.exp(-preds))
        return p - labels, off * p * (1 - p)

    def of_torch(pred: Any, label: Any) -> Any:
        return torch.nn.functional.softplus(pred) - label * pred

    def of_jax(pred: Any, label: Any) -> Any:
        return jax.nn.softplus(pred) - label * pred

    for loss in (of_torch, of_jax):
        run = verify.check_objective(objective, loss, at=np.array(X), labels=labels)
        assert [v.passes for v in run.cases[0].variables] == [True, off == 1]


@pytest.mark.parametrize("factor", [1.0, LITTLE])
def test_transforms_of_a_function_of_methods_alone_are_given_tensors(factor: float) -> None:
    """The function names no framework, and neither does what ``torch.func`` makes of it."""
    torch = pytest.importorskip("torch")

    def value(x: Any) -> Any:
        return x.sin().mul(x).sum()

    def planted(x: Any) -> Any:
        return x.sin().mul(x).mul(factor).sum()

    at = {"x": X}
    assert verify.check_hessian(torch.func.hessian(planted), value, at=at).ok is (factor == 1)
    rows, off = lambda x: x.sin(), lambda x: x.sin().mul(factor)
    assert verify.check_jacobian(torch.func.jacrev(off), rows, at=at).ok is (factor == 1)

"""Backward passes as people write them by hand, and what goes wrong in them: functions and faults as data.

Each function is plain NumPy, written from the notes or the book and not from the case: staged line by line,
vectorised, or in matrices. A fault is an edit of its text, one place replaced by what somebody might have typed.
``said`` is what the diagnosis of ``variable`` has to contain, as far as a single fault of the backward pass can say
it; it is empty where none can (a fault in a region of its own is told by what it is there).
"""

# ruff: noqa: ARG001, D103, RET504 - as people write: an argument that is not needed, a name for what is returned

from __future__ import annotations

import inspect
import textwrap
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from verify.case.case import Case, load_case_text

KINDS = (
    *("scale", "sign", "missing term", "accumulation", "wrong value", "region", "tie", "shape", "precision", "tiny"),
)


@dataclass(frozen=True)
class Fault:
    """One edit of a backward pass."""

    kind: str
    old: str
    """Text that occurs once in the right version."""
    new: str
    variable: str = ""
    """The variable whose gradient is wrong."""
    said: str = ""
    """What its diagnosis contains; empty where no single fault of the pass expresses it."""


@dataclass(frozen=True)
class Written:
    """A function, its right backward pass, and faults of it."""

    right: Callable[..., Any]
    inputs: str
    stages: str
    faults: tuple[Fault, ...]
    more: str = ""

    @property
    def name(self) -> str:
        """What tests call it."""
        return self.right.__name__

    @property
    def case(self) -> Case:
        """The function itself, written once."""
        text = f"case: {self.name}\ninputs: {{{self.inputs}}}\nstages: {{{self.stages}}}\n{self.more}\n"
        return load_case_text(text)

    def wrong(self, fault: Fault) -> Callable[..., Any]:
        """The backward pass with one fault in it. Raises ValueError where the edit fits no place, or several."""
        source = textwrap.dedent(inspect.getsource(self.right))
        if source.count(fault.old) != 1:
            raise ValueError(f"{self.name}: {fault.old!r} occurs {source.count(fault.old)} times")
        namespace: dict[str, Any] = dict(vars(inspect.getmodule(self.right)))
        exec(compile(source.replace(fault.old, fault.new), f"<{self.name}>", "exec"), namespace)  # noqa: S102
        return namespace[self.name]  # type: ignore[no-any-return]


def sigmoid(z: Any) -> Any:
    e = np.exp(-np.abs(z))
    return np.where(z >= 0, 1.0, e) / (1.0 + e)


# ------------------------------------------------------------------------------------------------ scalars, in stages


def staged(x: Any, y: Any) -> dict[str, Any]:
    sigy = 1 / (1 + np.exp(-y))
    num = x + sigy
    sigx = 1 / (1 + np.exp(-x))
    xpy = x + y
    den = sigx + xpy**2
    invden = 1 / den
    dnum = invden
    dinvden = num
    dden = (-1.0 / (den**2)) * dinvden
    dsigx = dden
    dxpysqr = dden
    dxpy = (2 * xpy) * dxpysqr
    dx = dxpy
    dy = dxpy
    dx += ((1 - sigx) * sigx) * dsigx
    dx += dnum
    dsigy = dnum
    dy += ((1 - sigy) * sigy) * dsigy
    return {"x": dx, "y": dy}


def product(x: Any, y: Any, z: Any) -> tuple[Any, ...]:
    q = x + y
    dq = z
    dz = q
    dx = 1.0 * dq
    dy = 1.0 * dq
    return dx, dy, dz


def swish(x: Any) -> Any:
    s = sigmoid(x)
    ds = x
    dx = s + ds * s * (1 - s)
    return dx


def gelu(x: Any) -> Any:
    u = 0.7978845608028654 * (x + 0.044715 * x**3)
    t = np.tanh(u)
    dt = 0.5 * x
    du = (1 - t**2) * dt
    dx = 0.5 * (1 + t)
    dx += 0.7978845608028654 * (1 + 3 * 0.044715 * x**2) * du
    return dx


def softplus(x: Any) -> Any:
    dx = sigmoid(x)
    return dx


def rosenbrock(x: Any, y: Any) -> tuple[Any, Any]:
    a = 1 - x
    b = y - x**2
    db = 200 * b
    dx = -2 * a - 2 * x * db
    dy = db
    return dx, dy


def himmelblau(x: Any, y: Any) -> tuple[Any, Any]:
    p = x**2 + y - 11
    q = x + y**2 - 7
    dp = 2 * p
    dq = 2 * q
    dx = 2 * x * dp + dq
    dy = dp + 2 * y * dq
    return dx, dy


def lennard_jones(r: Any, eps: Any, sig: Any) -> dict[str, Any]:
    s6 = (sig / r) ** 6
    w = s6**2 - s6
    deps = 4 * w
    dw = 4 * eps
    ds6 = dw * (2 * s6 - 1)
    dr = ds6 * (-6) * s6 / r
    dsig = ds6 * 6 * s6 / sig
    return {"dr": dr, "deps": deps, "dsig": dsig}


def pendulum(m: Any, l: Any, w: Any, t: Any) -> tuple[Any, ...]:  # noqa: E741 - a length
    g = 9.81
    v = l * w
    h = l * (1 - np.cos(t))
    dh = m * g
    dv = m * v
    dm = 0.5 * v**2 + g * h
    dl = w * dv + (1 - np.cos(t)) * dh
    dw = l * dv
    dt = l * np.sin(t) * dh
    return dm, dl, dw, dt


def arrhenius(A: Any, E: Any, T: Any) -> tuple[Any, ...]:
    u = -E / (8.314 * T)
    k = np.exp(u)
    dA = k
    du = A * k
    dE = -du / (8.314 * T)
    dT = du * E / (8.314 * T**2)
    return dA, dE, dT


def gaussian(x: Any, mu: Any, s: Any) -> dict[str, Any]:
    z = (x - mu) / s
    dz = -z
    dx = dz / s
    dmu = -dz / s
    ds = -1 / s
    ds += -dz * z / s
    return {"x": dx, "mu": dmu, "s": ds}


def waves(x: Any, y: Any) -> tuple[Any, Any]:
    a = np.sin(x)
    b = np.cos(y)
    da = b
    db = a
    dx = np.cos(x) * da
    dy = -np.sin(y) * db
    return dx, dy


def tiny(x: Any, y: Any) -> dict[str, Any]:
    dx = 2 * x
    dy = 3e-9 * y**2
    return {"x": dx, "y": dy}


def small(x: Any, y: Any) -> tuple[Any, Any]:
    t = np.tanh(y)
    dx = np.exp(x)
    dt = 1e-12
    dy = dt * (1 - t * t)
    return dx, dy


def larger(x: Any, y: Any, z: Any) -> tuple[Any, ...]:
    m = np.maximum(x, y)
    dm = z
    dz = m
    dx = np.where(x > y, dm, 0.0)
    dy = np.where(x > y, 0.0, dm)
    return dx, dy, dz


def unit(a: Any, x: Any, b: Any) -> tuple[Any, ...]:
    z = a * x + b
    dz = np.where(z > 0, 1.0, 0.0)
    da = x * dz
    dx = a * dz
    db = dz
    return da, dx, db


def triangle(x: Any, y: Any) -> tuple[Any, Any]:
    r = np.hypot(x, y)
    dx = x / r
    dy = y / r
    return dx, dy


def difference(x: Any) -> Any:
    u = np.sqrt(x + 1)
    v = np.sqrt(x)
    dx = -0.5 / (u * v * (u + v))
    return dx


# ------------------------------------------------------------------------------------------------- vectors and sums


def neuron(w: Any, x: Any) -> dict[str, Any]:
    dot = w[0] * x[0] + w[1] * x[1] + w[2]
    f = 1.0 / (1 + np.exp(-dot))
    ddot = (1 - f) * f
    dx = np.stack([w[0] * ddot, w[1] * ddot])
    dw = np.stack([x[0] * ddot, x[1] * ddot, 1.0 * ddot])
    return {"w": dw, "x": dx}


def cross_entropy(z: Any, t: Any) -> dict[str, Any]:
    e = np.exp(z)
    total = np.sum(e)
    de = 1 / total
    dz = e * de - t
    return {"dz": dz}


def cosine(a: Any, b: Any) -> dict[str, Any]:
    dot = np.sum(a * b)
    aa = np.sum(a**2)
    bb = np.sum(b**2)
    na = np.sqrt(aa)
    nb = np.sqrt(bb)
    cos = dot / (na * nb)
    ddot = 1 / (na * nb)
    dna = -cos / na
    dnb = -cos / nb
    da = b * ddot + a * dna / na
    db = a * ddot + b * dnb / nb
    return {"da": da, "db": db}


def distance(a: Any, b: Any) -> tuple[Any, Any]:
    d = a - b
    f = np.sqrt(np.sum(d**2))
    dd = d / f
    da = dd
    db = -dd
    return da, db


def absolute(x: Any, y: Any) -> tuple[Any, Any]:
    d = x - y
    dd = np.sign(d)
    dx = dd
    dy = -dd
    return dx, dy


def spread(x: Any) -> Any:
    c = x - np.mean(x)
    dc = 3 * c**2
    dx = dc - np.mean(dc)
    return dx


def divergence(p: Any, q: Any) -> tuple[Any, Any]:
    r = p / q
    dlog = p
    dr = dlog / r
    dp = np.log(r) + dr / q
    dq = -dr * p / q**2
    return dp, dq


def pseudo_huber(x: Any) -> Any:
    r = np.sqrt(1 + x**2)
    dx = x / r
    return dx


# ------------------------------------------------------------------------------------------------------- in matrices


def affine(X: Any, W: Any, b: Any, upstream: Any) -> dict[str, Any]:
    dX = upstream @ W.T
    dW = X.T @ upstream
    db = upstream.sum(axis=0)
    return {"X": dX, "W": dW, "b": db}


def least_squares(X: Any, w: Any, y: Any) -> dict[str, Any]:
    n = len(y)
    e = X @ w - y
    de = 2 * e / n
    dw = X.T @ de
    dX = de[:, None] * w
    dy = -de
    return {"dX": dX, "dw": dw, "dy": dy}


def ridge(X: Any, w: Any) -> dict[str, Any]:
    p = X @ w
    dp = 2 * p
    dw = X.T @ dp
    dw += 0.2 * w
    return {"w": dw}


def logistic(X: Any, w: Any, y: Any) -> dict[str, Any]:
    n = len(y)
    m = y * (X @ w)
    dm = -sigmoid(-m) / n
    dw = X.T @ (y * dm)
    return {"w": dw}


def two_layers(X: Any, W1: Any, b1: Any, W2: Any) -> dict[str, Any]:
    a = X @ W1 + b1
    h = np.maximum(a, 0)
    s = h @ W2
    ds = s
    dW2 = h.T @ ds
    dh = ds @ W2.T
    da = dh * (a > 0)
    dW1 = X.T @ da
    db1 = np.sum(da, axis=0)
    return {"W1": dW1, "b1": db1, "W2": dW2}


def quadratic(x: Any, A: Any) -> dict[str, Any]:
    dx = A @ x
    dx += A.T @ x
    dA = np.outer(x, x)
    return {"dx": dx, "dA": dA}


def chain(A: Any, B: Any, C: Any, upstream: Any) -> dict[str, Any]:
    P = A @ B
    dP = upstream @ C.T
    dC = P.T @ upstream
    dA = dP @ B.T
    dB = A.T @ dP
    return {"dA": dA, "dB": dB, "dC": dC}


def recurrent(x: Any, h: Any, Wx: Any, Wh: Any, b: Any, upstream: Any) -> dict[str, Any]:
    z = Wx @ x + Wh @ h + b
    n = np.tanh(z)
    dz = (1 - n**2) * upstream
    dx = Wx.T @ dz
    dh = Wh.T @ dz
    dWx = dz[:, None] * x
    dWh = dz[:, None] * h
    db = dz
    return {"x": dx, "h": dh, "Wx": dWx, "Wh": dWh, "b": db}


def memory(i: Any, f: Any, o: Any, g: Any, c: Any, upstream: Any) -> dict[str, Any]:
    si, sf, so, tg = sigmoid(i), sigmoid(f), sigmoid(o), np.tanh(g)
    n = sf * c + si * tg
    tn = np.tanh(n)
    dso = tn * upstream
    dn = so * (1 - tn**2) * upstream
    dsf = c * dn
    dc = sf * dn
    dsi = tg * dn
    dtg = si * dn
    do = so * (1 - so) * dso
    df = sf * (1 - sf) * dsf
    di = si * (1 - si) * dsi
    dg = (1 - tg**2) * dtg
    return {"di": di, "df": df, "do": do, "dg": dg, "dc": dc}


def layer_norm(x: Any, gamma: Any, beta: Any, upstream: Any) -> dict[str, Any]:
    mu = np.mean(x)
    d = x - mu
    var = np.mean(d**2)
    std = np.sqrt(var + 1e-5)
    xhat = d / std
    dgamma = xhat * upstream
    dbeta = upstream
    dxhat = gamma * upstream
    dd = dxhat / std
    dstd = -np.sum(dxhat * d) / std**2
    dvar = dstd / (2 * std)
    dd = dd + 2 * d * dvar / len(x)
    dx = dd - np.mean(dd)
    return {"dx": dx, "dgamma": dgamma, "dbeta": dbeta}


def attention(q: Any, K: Any, v: Any) -> dict[str, Any]:
    e = np.exp(K @ q)
    total = np.sum(e)
    p = e / total
    dp = v
    dv = p
    de = dp / total
    dtotal = -np.sum(dp * e) / total**2
    de = de + dtotal
    ds = e * de
    dq = K.T @ ds
    dK = np.outer(ds, q)
    return {"dq": dq, "dK": dK, "dv": dv}


WRITTEN = (
    Written(
        staged,
        "x: {at: 3, domain: [-6, 6]}, y: {at: -4, domain: [-6, 6]}",
        "sigy: 1 / (1 + exp(-y)), num: x + sigy, sigx: 1 / (1 + exp(-x)), xpy: x + y, xpysqr: xpy**2, "
        "den: sigx + xpysqr, invden: 1 / den, f: num * invden",
        (
            Fault("missing term", "dx += dnum", "pass", "x", "without the path through `num`"),
            Fault("missing term", "dx += ((1 - sigx) * sigx) * dsigx", "pass", "x", "without the path through `sigx`"),
            Fault("accumulation", "dx += dnum", "dx = dnum", "x", "keeps the path through `num` alone"),
            Fault("accumulation", "dy += ((1", "dy = ((1", "y", "without the path through `xpy`"),
            Fault(
                "sign", "(-1.0 / (den**2))", "(1.0 / (den**2))", "x", "wrong sign on the path from `invden` to `den`"
            ),
            Fault("wrong value", "((1 - sigx) * sigx)", "((1 - x) * x)", "x", "uses `x` where `sigx` belongs"),
            Fault("scale", "((1 - sigy) * sigy)", "(1 - sigy)", "y", "misses a factor `sigy`"),
            Fault("scale", "(2 * xpy)", "(xpy)", "x", "misses the factor 2, the exponent"),
            Fault("wrong value", "dxpysqr = dden", "dxpysqr = dinvden", "x", "uses dinvden where dxpysqr belongs"),
            Fault("missing term", "dsigx = dden", "dsigx = 1.0", "x", "misses the upstream gradient"),
            Fault("region", '{"x": dx', '{"x": dx * np.where(x > 4, 2.0, 1.0)', "x", "is 2 x the right one"),
            Fault("region", '{"x": dx', '{"x": dx * np.where(x > 5.97, 2.0, 1.0)', "x", "is 2 x the right one"),
            Fault("precision", "num = x + sigy", "num = np.float64(np.float32(x + sigy))", "x"),
        ),
    ),
    Written(
        product,
        "x: {at: -2, domain: [-10, 10]}, y: {at: 5, domain: [-10, 10]}, z: {at: -4, domain: [-10, 10]}",
        "q: x + y, f: q * z",
        (
            Fault("wrong value", "dz = q", "dz = x", "z", "uses `x` where `q` belongs"),
            Fault("missing term", "dq = z", "dq = 1.0", "x", "misses the factor `z`"),
            Fault("scale", "dx = 1.0 * dq", "dx = x * dq", "x", "is `x` x the right one"),
            Fault("sign", "dy = 1.0 * dq", "dy = -1.0 * dq", "y", "-1 x the right one"),
            Fault("scale", "dz = q", "dz = 1.01 * q", "z", "is 1.01 x the right one"),
            Fault("scale", "dz = q", "dz = q * (1 + 1e-12)", "z", "is (1 + 1e-12) x the right one"),
        ),
    ),
    Written(
        swish,
        "x: {at: 1, domain: [-6, 6]}",
        "s: sigmoid(x), f: x * s",
        (
            Fault("missing term", "s + ds * s * (1 - s)", "ds * s * (1 - s)", "x", "without the path through `f`"),
            Fault("missing term", "s + ds * s * (1 - s)", "s", "x", "without the path through `s`"),
            Fault("scale", "ds * s * (1 - s)", "ds * (1 - s)", "x", "misses a factor `s`"),
            Fault("sign", "(1 - s)", "(1 + s)", "x"),
            Fault("wrong value", "ds = x", "ds = 1.0", "x", "misses the factor `x`"),
            Fault("sign", "s + ds", "s - ds", "x", "wrong sign on the path through `s`"),
            Fault("scale", "return dx", "return dx * (1 + 1e-7)", "x", "is (1 + 1e-07) x the right one"),
            Fault("region", "return dx", "return np.where(x > 2, 0.5 * dx, dx)", "x", "is 1/2 x the right one"),
            Fault("region", "return dx", "return np.where(x > 5.97, 0.5 * dx, dx)", "x", "is 1/2 x the right one"),
        ),
    ),
    Written(
        gelu,
        "x: {at: 0.5, domain: [-3, 3]}",
        "u: 0.7978845608028654 * (x + 0.044715 * x**3), t: tanh(u), f: 0.5 * x * (1 + t)",
        (
            Fault("scale", "dt = 0.5 * x", "dt = x", "x", "factor 2 too much"),
            Fault("wrong value", "(1 - t**2)", "(1 - t)", "x", "misses a factor `1 + t`"),
            Fault("accumulation", "dx += 0.79", "dx = 0.79", "x", "without the path through `0.5 * x`"),
            Fault("scale", "3 * 0.044715", "0.044715", "x", "misses the factor 3, the exponent"),
            Fault("wrong value", "* x**2)", "* x**3)", "x", "has a factor `x` too much"),
            Fault("missing term", "0.5 * (1 + t)", "0.5 * t", "x"),
            Fault("sign", "0.5 * (1 + t)", "0.5 * (1 - t)", "x"),
        ),
    ),
    Written(
        softplus,
        "x: {at: 0.3, domain: [-20, 20]}",
        "f: log(1 + exp(x))",
        (
            Fault("sign", "sigmoid(x)", "-sigmoid(x)", "x", "-1 x the right one"),
            Fault("wrong value", "sigmoid(x)", "np.exp(x) / (1 + np.exp(x)) ** 2", "x", "factor `1 + exp(x)`"),
            Fault("missing term", "sigmoid(x)", "np.exp(x)", "x", "misses the factor log'(1 + exp(x))"),
            Fault("missing term", "sigmoid(x)", "1 / (1 + np.exp(x))", "x", "misses the factor exp'(x)"),
            Fault("precision", "sigmoid(x)", "np.float64(np.float32(sigmoid(x)))", "x"),
            Fault("region", "sigmoid(x)", "np.where(x > 15, 1.0, sigmoid(x))", "x"),
            Fault("region", "sigmoid(x)", "np.where(x > 19.95, 1.0, sigmoid(x))", "x"),
        ),
    ),
    Written(
        rosenbrock,
        "x: {at: -1.2, domain: [-2, 2]}, y: {at: 1, domain: [-2, 2]}",
        "a: 1 - x, b: y - x**2, f: a**2 + 100 * b**2",
        (
            Fault("scale", "db = 200", "db = 100", "x", "misses the factor 2, the exponent"),
            Fault("sign", "-2 * a - 2", "2 * a - 2", "x", "wrong sign on the path through `a`"),
            Fault("scale", "- 2 * x * db", "- x * db", "x", "misses the factor 2, the exponent"),
            Fault("wrong value", "- 2 * x * db", "- 2 * db", "x", "misses a factor `x`"),
            Fault("missing term", "-2 * a - 2 * x * db", "-2 * a", "x", "without the path through `b`"),
            Fault("sign", "dy = db", "dy = -db", "y", "-1 x the right one"),
            Fault("region", "return dx", "return np.where(y > 1, 1.5, 1) * dx", "x", "is 3/2 x the right one"),
        ),
    ),
    Written(
        himmelblau,
        "x: {at: 1, domain: [-5, 5]}, y: {at: -2, domain: [-5, 5]}",
        "p: x**2 + y - 11, q: x + y**2 - 7, f: p**2 + q**2",
        (
            Fault("missing term", "2 * x * dp + dq", "2 * x * dp", "x", "without the path through `q`"),
            Fault("scale", "dp + 2 * y * dq", "dp + y * dq", "y", "misses the factor 2, the exponent"),
            Fault("wrong value", "dp = 2 * p", "dp = 2 * q", "x", "uses `q` where `p` belongs"),
            Fault("wrong value", "return dx, dy", "return dy, dx", "x", "is the right dy: are the two swapped?"),
            Fault("sign", "dq = 2 * q", "dq = -2 * q", "x", "wrong sign on the path"),
            Fault("scale", "dy = dp +", "dy = 2 * dp +", "y", "factor 2 too much on the path through `p`"),
        ),
    ),
    Written(
        lennard_jones,
        "r: {at: 1.2, domain: [0.9, 2]}, eps: {at: 1, domain: [0.5, 2]}, sig: {at: 1, domain: [0.8, 1.2]}",
        "s6: (sig / r)**6, w: s6**2 - s6, f: 4 * eps * w",
        (
            Fault("missing term", "(2 * s6 - 1)", "(2 * s6)", "r", "without the path from `w` to `s6`"),
            Fault("sign", "(-6)", "6", "r", "-1 x the right one"),
            Fault("wrong value", "(-6) * s6 / r", "(-6) * s6", "r", "is `r` x the right one"),
            Fault("scale", "4 * w", "w", "eps", "is 1/4 x the right one"),
            Fault("scale", "6 * s6 / sig", "5 * s6 / sig", "sig", "is 5/6 x the right one"),
            Fault("missing term", "dw = 4 * eps", "dw = 4", "r", "factor `eps`"),
        ),
    ),
    Written(
        pendulum,
        "m: {at: 2, domain: [1, 3]}, l: {at: 1.5, domain: [1, 3]}, w: {at: 0.7, domain: [-2, 2]}, "
        "t: {at: 0.4, domain: [-1.5, 1.5]}",
        "v: l * w, h: l * (1 - cos(t)), f: 0.5 * m * v**2 + 9.81 * m * h",
        (
            Fault("scale", "dv = m * v", "dv = 0.5 * m * v", "l", "misses the factor 2, the exponent"),
            Fault("missing term", "dl = w * dv +", "dl =", "l", "without the path through `v`"),
            Fault("sign", "dt = l", "dt = -l", "t", "-1 x the right one"),
            Fault("wrong value", "np.sin(t)", "np.cos(t)", "t", "for its derivative"),
            Fault("missing term", "0.5 * v**2 + g * h", "0.5 * v**2", "m", "without the path through `9.81 * m`"),
            Fault("wrong value", "dw = l * dv", "dw = w * dv", "w", "operands `l` and `w` swapped"),
        ),
    ),
    Written(
        arrhenius,
        "A: {at: 3, domain: [1, 10]}, E: {at: 2000, domain: [1000, 5000]}, T: {at: 400, domain: [300, 600]}",
        "u: -E / (8.314 * T), k: exp(u), f: A * k",
        (
            Fault("sign", "dE = -du", "dE = du", "E", "-1 x the right one"),
            Fault("wrong value", "8.314 * T**2", "8.314 * T", "T", "is `T` x the right one"),
            Fault("missing term", "du = A * k", "du = A", "E", "misses the factor exp'(u)"),
            Fault("missing term", "du = A * k", "du = k", "E", "misses the factor `A`"),
            Fault("wrong value", "dA = k", "dA = A * k", "A", "is `A` x the right one"),
            Fault("precision", "np.exp(u)", "np.float64(np.float32(np.exp(u)))", "A"),
        ),
    ),
    Written(
        gaussian,
        "x: {at: 1, domain: [-3, 3]}, mu: {at: 0.2, domain: [-2, 2]}, s: {at: 0.8, domain: [0.5, 3]}",
        "z: (x - mu) / s, f: -0.5 * z**2 - log(s)",
        (
            Fault("missing term", "ds = -1 / s", "ds = 0.0", "s", "without the path through `log(s)`"),
            Fault("sign", "ds += -dz * z / s", "ds += dz * z / s", "s", "wrong sign on the path through `z`"),
            Fault("sign", "dmu = -dz", "dmu = dz", "mu", "-1 x the right one"),
            Fault("missing term", "dx = dz / s", "dx = dz", "x", "is `s` x the right one"),
            Fault("scale", "dz = -z", "dz = -2 * z", "x", "is 2 x the right one"),
            Fault("wrong value", "-dz * z / s", "-dz * z / s**2", "s", "misses a factor `s`"),
            Fault("accumulation", "ds += -dz", "ds = -dz", "s", "without the path through `log(s)`"),
        ),
    ),
    Written(
        waves,
        "x: {at: 0.6, domain: [-3, 3]}, y: {at: 1.1, domain: [-3, 3]}",
        "a: sin(x), b: cos(y), f: a * b",
        (
            Fault("wrong value", "np.cos(x)", "np.sin(x)", "x", "for its derivative"),
            Fault("sign", "-np.sin(y)", "np.sin(y)", "y", "-1 x the right one"),
            Fault("wrong value", "da = b", "da = a", "x", "`a` and `b` swapped"),
            Fault("missing term", "da = b", "da = 1.0", "x", "misses the factor `b`"),
            Fault("wrong value", "db = a", "db = a * b", "y", "is `b` x the right one"),
            Fault("region", "return dx, dy", "return dx, np.where(y < -1, 0.0, dy)", "y", "is zero"),
        ),
    ),
    Written(
        tiny,
        "x: {at: 1, domain: [-2, 2]}, y: {at: 1.3, domain: [-2, 2]}",
        "f: x**2 + 1e-9 * y**3",
        (
            Fault("tiny", "3e-9", "6e-9", "y", "is 2 x the right one"),
            Fault("tiny", "3e-9", "1e-9", "y", "is 1/3 x the right one"),
            Fault("tiny", "3e-9", "-3e-9", "y", "-1 x the right one"),
            Fault("tiny", "3e-9 * y**2", "0.0 * y", "y", "is zero"),
            Fault("tiny", "2 * x", "2 * x + 1e-9", "x", "is the right one plus 1e-09"),
            Fault("tiny", "3e-9 * y**2", "3e-9 * y", "y", "`y`"),
        ),
    ),
    Written(
        small,
        "x: {at: 1, domain: [-2, 2]}, y: {at: 0.5, domain: [-3, 3]}",
        "t: tanh(y), f: exp(x) + 1e-12 * t",
        (
            Fault("tiny", "(1 - t * t)", "(1 - t)", "y", "misses a factor `1 + t`"),
            Fault("tiny", "dt = 1e-12", "dt = 1.0", "y", "is 1e+12 x the right one"),
            Fault("tiny", "dt * (1 - t * t)", "dt + 0 * t", "y", "misses the factor tanh'(y)"),
            Fault("tiny", "dt = 1e-12", "dt = 2e-12", "y", "is 2 x the right one"),
            Fault("scale", "np.exp(x)", "np.exp(x) * (1 + 1e-9)", "x", "is (1 + 1e-09) x the right one"),
        ),
    ),
    Written(
        larger,
        "x: {at: 4, domain: [-5, 5]}, y: {at: 2, domain: [-5, 5]}, z: {at: 3, domain: [1, 5]}",
        "m: 'max(x, y)', f: m * z",
        (
            Fault("tie", "np.where(x > y, dm, 0.0)", "np.where(x >= y, dm, 0.0)", "x"),
            Fault("tie", "np.where(x > y, 0.0, dm)", "np.where(x > y, 0.0, np.where(x == y, -dm, dm))", "y"),
            Fault("missing term", "np.where(x > y, dm, 0.0)", "dm", "x", "misses the mask of `max`"),
            Fault("wrong value", "np.where(x > y, dm, 0.0)", "np.where(x > y, 0.0, dm)", "x", "mask of `max` inverted"),
            Fault("missing term", "dm = z", "dm = 1.0", "x", "misses the factor `z`"),
            Fault("wrong value", "dz = m", "dz = x", "z", "uses `x` where `m` belongs"),
        ),
    ),
    Written(
        unit,
        "a: {at: 2, domain: [-3, 3]}, x: {at: 1, domain: [-3, 3]}, b: {at: 0.5, domain: [-3, 3]}",
        "z: a * x + b, f: relu(z)",
        (
            Fault("missing term", "np.where(z > 0, 1.0, 0.0)", "1.0 + 0 * z", "a", "misses the mask of `relu`"),
            Fault("wrong value", "z > 0", "z < 0", "a", "mask of `relu` inverted"),
            Fault("tie", "1.0, 0.0)", "1.0, np.where(z == 0, 2.0, 0.0))", "b"),
            Fault("wrong value", "da = x * dz", "da = a * dz", "a", "operands `a` and `x` swapped"),
            Fault("scale", "db = dz", "db = b * dz", "b", "is `b` x the right one"),
            Fault("region", "1.0, 0.0)", "1.0, 0.01)", "x"),
        ),
    ),
    Written(
        triangle,
        "x: {at: 3, domain: [-5, 5]}, y: {at: 4, domain: [-5, 5]}",
        "f: 'hypot(x, y)'",
        (
            Fault("missing term", "dx = x / r", "dx = x", "x", "is `f` x the right one"),
            Fault("sign", "dy = y", "dy = -y", "y", "-1 x the right one"),
            Fault("wrong value", "dx = x / r", "dx = y / r", "x", "`x` and `y` swapped"),
            Fault("wrong value", "x / r", "x / r**2", "x", "is the right one divided by `f`"),
            Fault("region", "return dx", "return np.abs(dx)", "x", "-1 x the right one"),
        ),
    ),
    Written(
        difference,
        "x: {at: 1, domain: [0.5, 4]}",
        "u: sqrt(x + 1), v: sqrt(x), f: u - v",
        (
            Fault("sign", "-0.5", "0.5", "x", "-1 x the right one"),
            Fault("sign", "(u + v)", "(u - v)", "x"),
            Fault("wrong value", "u * v * (u + v)", "u * (u + v)", "x", "is `v` x the right one"),
            Fault("scale", "-0.5", "-1", "x", "is 2 x the right one"),
            Fault("missing term", "-0.5 / (u * v * (u + v))", "0.5 / u", "x", "without the path through `v`"),
        ),
    ),
    Written(
        neuron,
        "w: {at: [2, -3, -3], domain: [-4, 4]}, x: {at: [-1, -2], domain: [-4, 4]}",
        "dot: 'w[0] * x[0] + w[1] * x[1] + w[2]', f: 1 / (1 + exp(-dot))",
        (
            Fault("wrong value", "(1 - f) * f", "f", "x", "misses a factor `1 - f`"),
            Fault("wrong value", "(1 - f) * f", "(1 - dot) * dot", "x", "uses `dot` where `f` belongs"),
            Fault("wrong value", "w[0] * ddot, w[1] * ddot", "w[1] * ddot, w[0] * ddot", "x", "reversed along axis 0"),
            Fault("missing term", "1.0 * ddot", "0.0 * ddot", "w", "is wrong in entry [2] only, and there it is zero"),
            Fault("wrong value", "x[1] * ddot", "x[0] * ddot", "w", "is wrong in entry [1] only"),
            Fault("missing term", "(1 - f) * f", "1.0", "x", "misses the factor df/ddot"),
            Fault("shape", "np.stack([w[0] * ddot, w[1] * ddot])", "np.stack([[w[0] * ddot], [w[1] * ddot]])", "x"),
        ),
    ),
    Written(
        cross_entropy,
        "z: {shape: [5], at: normal}, t: {at: [0, 1, 0, 0, 0], kind: constant}",
        "e: exp(z), total: sum(e), f: log(total) - sum(z * t)",
        (
            Fault("sign", "- t", "+ t", "z", "wrong sign on the path through `z * t`"),
            Fault("missing term", "e * de - t", "e * de", "z", "without the path through `z * t`"),
            Fault("missing term", "de = 1 / total", "de = 1.0", "z", "misses the factor log'(total)"),
            Fault("wrong value", "1 / total", "1 / total**2", "z", "misses a factor `total`"),
            Fault("shape", '{"dz": dz}', '{"dz": dz.sum()}', "z"),
            Fault("scale", "e * de - t", "e * de - t + 1e-6", "z", "is the right one plus 1e-06"),
            Fault("wrong value", "- t", "- np.roll(t, 1)", "z"),
        ),
    ),
    Written(
        cosine,
        "a: {shape: [4], at: normal}, b: {shape: [4], at: normal}",
        "dot: sum(a * b), aa: sum(a**2), bb: sum(b**2), na: sqrt(aa), nb: sqrt(bb), f: dot / (na * nb)",
        (
            Fault("missing term", "b * ddot + a * dna / na", "b * ddot", "a", "without the path through `aa`"),
            Fault("sign", "dna = -cos", "dna = cos", "a", "wrong sign on the path"),
            Fault("wrong value", "da = b * ddot", "da = a * ddot", "a", "`a` and `b` swapped"),
            Fault("missing term", "ddot = 1 / (na * nb)", "ddot = 1 / na", "a", "`na`"),
            Fault("scale", "+ a * dna", "+ 2 * a * dna", "a", "factor 2 too much"),
            Fault(
                "wrong value", '"da": da, "db": db', '"da": db, "db": da', "a", "is the right db: are the two swapped?"
            ),
        ),
    ),
    Written(
        distance,
        "a: {shape: [3], at: normal}, b: {shape: [3], at: normal}",
        "d: a - b, ss: sum(d**2), f: sqrt(ss)",
        (
            Fault("scale", "dd = d / f", "dd = 2 * d / f", "a", "is 2 x the right one"),
            Fault("sign", "db = -dd", "db = 1 * dd", "b", "-1 x the right one"),
            Fault("missing term", "d / f", "d", "a", "is `f` x the right one"),
            Fault("wrong value", "d / f", "d / f**2", "a", "is the right one divided by `f`"),
            Fault("shape", "da = dd", "da = np.sum(dd)", "a"),
            Fault("wrong value", "da = dd", "da = np.sum(dd) + 0 * dd", "a", "holds the sum over axis 0"),
        ),
    ),
    Written(
        absolute,
        "x: {shape: [4], at: normal}, y: {shape: [4], at: normal}",
        "f: sum(abs(x - y))",
        (
            Fault("tie", "np.sign(d)", "np.where(d == 0, 3.0, np.sign(d))", "x"),
            Fault("missing term", "np.sign(d)", "np.ones_like(d)", "x", "misses the mask of `abs`"),
            Fault("sign", "dy = -dd", "dy = 1 * dd", "y", "-1 x the right one"),
            Fault("scale", "np.sign(d)", "np.sign(d) / len(d)", "x", "is 1/4 x the right one; 4 is the length of `x`"),
            Fault("region", "np.sign(d)", "np.where(d > 1, 2.0, np.sign(d))", "x"),
        ),
    ),
    Written(
        spread,
        "x: {shape: [6], at: normal}",
        "c: x - mean(x), f: sum(c**3)",
        (
            Fault("missing term", "dc - np.mean(dc)", "dc", "x", "without the path through `mean(x)`"),
            Fault("scale", "np.mean(dc)", "np.sum(dc)", "x", "takes the sum where the mean over 6 belongs"),
            Fault("sign", "dc - np.mean", "dc + np.mean", "x", "wrong sign on the path"),
            Fault("scale", "3 * c**2", "c**2", "x", "is 1/3 x the right one"),
            Fault("wrong value", "3 * c**2", "3 * c", "x", "misses a factor `c`"),
        ),
    ),
    Written(
        divergence,
        "p: {shape: [4], at: uniform, domain: [0.1, 1]}, q: {shape: [4], at: uniform, domain: [0.1, 1]}",
        "r: p / q, f: sum(p * log(r))",
        (
            Fault("missing term", "np.log(r) + dr / q", "np.log(r)", "p", "without the path through `r`"),
            Fault("missing term", "dlog / r", "dlog", "p", "misses the factor log'(r)"),
            Fault("sign", "dq = -dr", "dq = dr", "q", "-1 x the right one"),
            Fault("wrong value", "p / q**2", "p / q", "q", "is `q` x the right one"),
            Fault("missing term", "np.log(r) + dr / q", "dr / q", "p", "without the path through `p * log(r)`"),
            Fault("wrong value", "dlog = p", "dlog = q", "p", "uses `q` where `p` belongs"),
        ),
    ),
    Written(
        pseudo_huber,
        "x: {shape: [3], at: normal}",
        "r: sqrt(1 + x**2), f: sum(r)",
        (
            Fault("scale", "x / r", "2 * x / r", "x", "is 2 x the right one"),
            Fault("missing term", "x / r", "x", "x", "is `r` x the right one"),
            Fault("wrong value", "x / r", "x / r**2", "x", "is the right one divided by `r`"),
            Fault("precision", "return dx", "return dx.astype(np.float32)", "x"),
            Fault("precision", "return dx", "return dx.astype(np.float32).astype(np.float64)", "x"),
            Fault("region", "return dx", "return np.where(x < 0, dx * 1.1, dx)", "x"),
        ),
    ),
    Written(
        affine,
        "X: {shape: [4, 3], at: normal}, W: {shape: [3, 2], at: normal}, b: {shape: [2], at: normal}",
        "f: X @ W + b",
        (
            Fault("scale", "upstream @ W.T", "2 * upstream @ W.T", "X", "is 2 x the right one"),
            Fault(
                "missing term", "X.T @ upstream", "X.T @ np.ones_like(upstream)", "W", "misses the upstream gradient"
            ),
            Fault("shape", "upstream.sum(axis=0)", "1 * upstream", "b"),
            Fault("missing term", "upstream.sum(axis=0)", "1 * upstream[0]", "b", "keeps the first entry"),
            Fault("scale", "upstream.sum(axis=0)", "upstream.mean(axis=0)", "b", "is 1/4 x the right one"),
            Fault("sign", "X.T @ upstream", "-X.T @ upstream", "W", "-1 x the right one"),
            Fault("shape", "X.T @ upstream", "(X.T @ upstream).T", "W"),
            Fault("wrong value", "upstream.sum(axis=0)", "upstream.sum(axis=0)[::-1]", "b", "is reversed along axis 0"),
        ),
    ),
    Written(
        least_squares,
        "X: {shape: [5, 3], at: normal}, w: {shape: [3], at: normal}, y: {shape: [5], at: normal}",
        "e: X @ w - y, f: mean(e**2)",
        (
            Fault("scale", "2 * e / n", "2 * e", "w", "is 5 x the right one; 5 is the length"),
            Fault("scale", "2 * e / n", "e / n", "w", "is 1/2 x the right one"),
            Fault("sign", "dy = -de", "dy = 1 * de", "y", "-1 x the right one"),
            Fault("scale", "X.T @ de", "X.T @ e", "w", "is 5/2 x the right one"),
            Fault("region", "X.T @ de", "X.T @ de * np.array([1, 1, 0.5])", "w", "is wrong in entry [2] only"),
            Fault("missing term", "de[:, None] * w", "de[:, None] + 0 * w", "X", "X"),
        ),
    ),
    Written(
        ridge,
        "X: {shape: [5, 3], at: normal}, w: {shape: [3], at: normal}",
        "p: X @ w, f: sum(p**2) + 0.1 * sum(w**2)",
        (
            Fault("missing term", "dw += 0.2 * w", "pass", "w", "without the path through `w**2`"),
            Fault("scale", "0.2 * w", "0.1 * w", "w", "misses the factor 2, the exponent"),
            Fault("region", "0.2 * w", "0.2 * np.abs(w)", "w"),
            Fault("scale", "dp = 2 * p", "dp = p", "w", "misses the factor 2, the exponent"),
            Fault("accumulation", "dw += 0.2", "dw = 0.2", "w", "without the path through `p`"),
            Fault("sign", "dw += 0.2", "dw -= 0.2", "w", "wrong sign on the path"),
        ),
    ),
    Written(
        logistic,
        "X: {shape: [5, 3], at: normal}, w: {shape: [3], at: normal}, y: {at: [1, -1, 1, 1, -1], kind: constant}",
        "m: y * (X @ w), f: mean(log(1 + exp(-m)))",
        (
            Fault("missing term", "-sigmoid(-m)", "-sigmoid(m)", "w", "misses the factor exp'(-m)"),
            Fault("scale", "sigmoid(-m) / n", "sigmoid(-m)", "w", "is 5 x the right one; 5 is the length"),
            Fault("missing term", "(y * dm)", "(dm)", "w", "misses the factor `y`"),
            Fault("sign", "-sigmoid(-m)", "sigmoid(-m)", "w", "-1 x the right one"),
            Fault("precision", "sigmoid(-m) / n", "sigmoid(-m).astype(np.float32).astype(np.float64) / n", "w"),
        ),
    ),
    Written(
        two_layers,
        "X: {shape: [4, 2], at: normal, kind: constant}, W1: {shape: [2, 3], at: normal}, "
        "b1: {shape: [3], at: normal}, W2: {shape: [3, 1], at: normal}",
        "a: X @ W1 + b1, h: relu(a), s: h @ W2, f: 0.5 * sum(s**2)",
        (
            Fault("missing term", "dh * (a > 0)", "dh", "W1", "misses the mask of `relu`"),
            Fault("wrong value", "(a > 0)", "(a < 0)", "W1", "mask of `relu` inverted"),
            Fault("scale", "np.sum(da, axis=0)", "np.mean(da, axis=0)", "b1", "is 1/4 x the right one"),
            Fault("missing term", "np.sum(da, axis=0)", "da[-1]", "b1", "keeps the last entry"),
            Fault("scale", "ds = s", "ds = 2 * s", "W1", "is 2 x the right one"),
            Fault("wrong value", "h.T @ ds", "a.T @ ds", "W2", "uses `a` where `h` belongs"),
        ),
    ),
    Written(
        quadratic,
        "x: {shape: [3], at: normal}, A: {shape: [3, 3], at: normal}",
        "y: A @ x, f: x @ y",
        (
            Fault("missing term", "dx += A.T @ x", "pass", "x", "without the path through `y`"),
            Fault("wrong value", "A.T @ x", "A @ x", "x", "uses `A` where its transpose belongs"),
            Fault("scale", "np.outer(x, x)", "2 * np.outer(x, x)", "A", "is 2 x the right one"),
            Fault("accumulation", "dx += A.T", "dx = A.T", "x", "without the path through `f`"),
            Fault("shape", "np.outer(x, x)", "x @ x", "A"),
            Fault("region", "np.outer(x, x)", "np.outer(x, x) * np.eye(3)", "A"),
        ),
    ),
    Written(
        chain,
        "A: {shape: [3, 3], at: normal}, B: {shape: [3, 3], at: normal}, C: {shape: [3, 3], at: normal}",
        "P: A @ B, f: P @ C",
        (
            Fault("wrong value", "upstream @ C.T", "upstream @ C", "A", "uses `C` where its transpose belongs"),
            Fault("wrong value", "A.T @ dP", "A @ dP", "B", "uses `A` where its transpose belongs"),
            Fault("wrong value", "dP @ B.T", "B.T @ dP", "A"),
            Fault("wrong value", "P.T @ upstream", "(P.T @ upstream).T", "C", "is transposed"),
            Fault("missing term", "A.T @ dP", "A.T @ upstream", "B", "uses df where dP belongs"),
            Fault("scale", "dP @ B.T", "dP @ B.T / 3", "A", "is 1/3 x the right one"),
        ),
    ),
    Written(
        recurrent,
        "x: {shape: [2], at: normal}, h: {shape: [3], at: normal}, Wx: {shape: [3, 2], at: normal}, "
        "Wh: {shape: [3, 3], at: normal}, b: {shape: [3], at: normal}",
        "z: Wx @ x + Wh @ h + b, f: tanh(z)",
        (
            Fault("wrong value", "(1 - n**2)", "(1 - n)", "Wx", "misses a factor `1 + f`"),
            Fault("missing term", "(1 - n**2) * upstream", "(1 - n**2)", "Wx", "misses the upstream gradient"),
            Fault("wrong value", "Wh.T @ dz", "Wh @ dz", "h", "uses `Wh` where its transpose belongs"),
            Fault("wrong value", "dz[:, None] * h", "dz * h[:, None]", "Wh", "is transposed"),
            Fault("sign", "(1 - n**2)", "(1 + n**2)", "Wx"),
            Fault("missing term", "Wx.T @ dz", "Wx.T @ upstream", "x", "misses the factor tanh'(z)"),
            Fault("wrong value", "db = dz", "db = dz.sum() + 0 * dz", "b", "holds the sum over axis 0"),
        ),
    ),
    Written(
        memory,
        "i: {shape: [3], at: normal}, f: {shape: [3], at: normal}, o: {shape: [3], at: normal}, "
        "g: {shape: [3], at: normal}, c: {shape: [3], at: normal}",
        "si: sigmoid(i), sf: sigmoid(f), so: sigmoid(o), tg: tanh(g), n: sf * c + si * tg, tn: tanh(n), h: so * tn",
        (
            Fault("missing term", "dsf = c * dn", "dsf = dn", "f", "misses the factor `c`"),
            Fault("missing term", "dc = sf * dn", "dc = dn", "c", "`sf`"),
            Fault("missing term", "so * (1 - tn**2) * upstream", "so * upstream", "i", "misses the factor tanh'(n)"),
            Fault("wrong value", "so * (1 - so) * dso", "so * dso", "o", "`1 - so`"),
            Fault("wrong value", "(1 - tg**2)", "(1 - g**2)", "g", "uses `g` where `tg` belongs"),
            Fault("wrong value", "dsi = tg * dn", "dsi = g * dn", "i", "uses `g` where `tg` belongs"),
            Fault("wrong value", "dtg = si * dn", "dtg = sf * dn", "g", "uses `sf` where `si` belongs"),
            Fault("missing term", "dso = tn * upstream", "dso = tn", "o", "misses the upstream gradient"),
        ),
    ),
    Written(
        layer_norm,
        "x: {shape: [5], at: normal}, gamma: {shape: [5], at: normal}, beta: {shape: [5], at: normal}",
        "mu: mean(x), d: x - mu, var: mean(d**2), std: sqrt(var + 1e-5), xhat: d / std, f: gamma * xhat + beta",
        (
            Fault("missing term", "dd = dd + 2 * d * dvar / len(x)", "pass", "x", "without the path from `var` to `d`"),
            Fault("missing term", "dd - np.mean(dd)", "dd", "x", "without the path through `mu`"),
            Fault("scale", "dvar / len(x)", "dvar", "x", "takes the sum where the mean over 5 belongs"),
            Fault("scale", "2 * d * dvar", "d * dvar", "x", "misses the factor 2, the exponent"),
            Fault("sign", "dstd = -np", "dstd = np", "x", "wrong sign on the path from `xhat` to `std`"),
            Fault("wrong value", "std**2", "std", "x", "`std`"),
            Fault("missing term", "dstd / (2 * std)", "dstd", "x", "misses the factor"),
            Fault("wrong value", "dgamma = xhat", "dgamma = d", "gamma", "uses `d` where `xhat` belongs"),
        ),
    ),
    Written(
        attention,
        "q: {shape: [3], at: normal}, K: {shape: [4, 3], at: normal}, v: {shape: [4], at: normal}",
        "e: exp(K @ q), total: sum(e), p: e / total, f: p @ v",
        (
            Fault("missing term", "de = de + dtotal", "pass", "q", "without the path from `total` to `e`"),
            Fault("sign", "-np.sum(dp * e)", "np.sum(dp * e)", "q", "wrong sign on the path"),
            Fault("wrong value", "total**2", "total", "q", "`total`"),
            Fault("missing term", "ds = e * de", "ds = de", "q", "misses the factor exp'(K @ q)"),
            Fault("scale", "np.outer(ds, q)", "4 * np.outer(ds, q)", "K", "is 4 x the right one"),
            Fault("scale", "np.sum(dp * e)", "np.mean(dp * e)", "q", "takes the mean where the sum belongs"),
            Fault("shape", "dv = p", "dv = p[:, None]", "v"),
        ),
    ),
)
"""All functions with their faults."""

"""Twelve kernels as data: a reference, a right backward pass in bfloat16, its policy, and twenty planted faults each.

Each right kernel is written as such kernels are: computed in float32, with what its policy says stored in bfloat16.
A fault changes one named quantity on the way.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch

Tensor = Any
Faults = Mapping[str, Callable[[Tensor], Tensor]]
"""Name of a quantity -> what becomes of it."""


@dataclass(frozen=True, slots=True)
class Example:
    """A kernel with its reference."""

    name: str
    reference: Callable[..., Any]
    make: Callable[[Faults], tuple[Any, Any]]
    """The pair of passes with some faults; with none the right one."""
    point: Callable[[np.random.Generator], dict[str, Any]]
    policy: str
    main: str
    """The gradient that gets the faults of place and factor."""
    own: Mapping[str, Faults]
    """Faults of its own."""
    constants: tuple[str, ...] = ()

    def faults(self) -> dict[str, Faults]:
        """Twenty faults: its own, and those that any kernel may have, as many as there is room for."""
        known = {**self.own}
        for text, change in PLACES.items():
            if len(known) < 20:
                known[f"{self.main}: {text}"] = {self.main: change}
        return known


def stored(x: Tensor) -> Tensor:
    """In bfloat16, held in float32."""
    return x.bfloat16().float()


def wide(*tensors: Tensor) -> list[Tensor]:
    """In float32."""
    return [x.float() for x in tensors]


# ------------------------------------------------------------------------------------------------- faults of any kernel


def times(factor: float, *place: Any) -> Callable[[Tensor], Tensor]:
    """A part times a factor."""

    def change(x: Tensor) -> Tensor:
        x = x.clone(memory_format=torch.contiguous_format)
        x[place or ...] *= factor
        return x

    return change


def middle_entry(factor: float) -> Callable[[Tensor], Tensor]:
    """An entry of middling size times a factor."""

    def change(x: Tensor) -> Tensor:
        x = x.clone(memory_format=torch.contiguous_format)
        i = int(x.abs().flatten().argsort()[int(0.6 * x.numel())])
        x.view(-1)[i] *= factor
        return x

    return change


def swapped(x: Tensor) -> Tensor:
    """Two rows change places."""
    x = x.clone(memory_format=torch.contiguous_format)
    x[..., [5, 6], :] = x[..., [6, 5], :]
    return x


def first_head(factor: float) -> Callable[[Tensor], Tensor]:
    """The second head; where there are none, the second half of the rows."""

    def change(x: Tensor) -> Tensor:
        x = x.clone(memory_format=torch.contiguous_format)
        part = x[:, 1] if x.ndim == 4 else x[x.shape[0] // 2 :]
        part *= factor
        return x

    return change


PLACES: Mapping[str, Callable[[Tensor], Tensor]] = {
    "x 1.01": times(1.01),
    "1 % in one head, or half of the rows": first_head(1.01),
    "1 % in rows 16 to 31": times(1.01, ..., slice(16, 32), slice(None)),
    "1 % in row 33": times(1.01, ..., 33, slice(None)),
    "x 0.995": times(0.995),
    "2 % in column 7": times(1.02, ..., 7),
    "row 20 is 0": times(0.0, ..., 20, slice(None)),
    "rows 5 and 6 swapped": swapped,
    "one entry x 1.1": middle_entry(1.1),
    "one entry is 0": middle_entry(0.0),
    "the rows from 32 on left out": times(0.0, ..., slice(32, None), slice(None)),
    "the last row twice": times(2.0, ..., -1, slice(None)),
    "-1 % in the last 16 rows": times(0.99, ..., slice(-16, None), slice(None)),
    "3 % in the first 16 columns": times(1.03, ..., slice(0, 16)),
    "sign of row 9": times(-1.0, ..., 9, slice(None)),
    "one entry not a number": middle_entry(float("nan")),
    "x 1.003": times(1.003),
    "5 % in the first row": times(1.05, ..., 0, slice(None)),
    "one entry of the other sign": middle_entry(-1.0),
    "the last column is 0": times(0.0, ..., -1),
}
"""What any kernel may have: a factor in some part, and what is missing."""


# ---------------------------------------------------------------------------------------------------------- attention


def band(T: int, window: int | None, dtype: Any = torch.bool) -> Tensor:
    """Which keys a query sees."""
    i, j = torch.arange(T)[:, None], torch.arange(T)[None]
    return ((j <= i) & (i - j < (window or T))).to(dtype)


def attention(q: Tensor, k: Tensor, v: Tensor, window: int | None = None) -> Tensor:
    """In plain PyTorch; queries in groups share keys."""
    group = q.shape[1] // k.shape[1]
    k, v = (x.repeat_interleave(group, dim=1) if group > 1 else x for x in (k, v))
    S = q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5
    S = torch.where(band(S.shape[-1], window), S, -1e30)
    P = torch.softmax(S, -1)
    return P @ v


def windowed(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """The last sixteen keys."""
    return attention(q, k, v, 16)


def flash(faults: Faults, window: int | None = None) -> tuple[Any, Any]:
    """Flash-attention's policy: P and dS are stored for the products, the output for delta."""
    at = partial(_at, faults)

    def weights(q: Tensor, k: Tensor) -> Tensor:
        group = q.shape[1] // k.shape[1]
        k = k.repeat_interleave(group, dim=1)
        S = (q @ k.transpose(-1, -2)) * at("scale", torch.tensor(q.shape[-1] ** -0.5))
        seen = at("mask", band(S.shape[-1], window))
        S = S.masked_fill(~seen, float("-inf"))
        return torch.exp(S - at("lse", torch.logsumexp(S, -1, keepdim=True)))

    def forward(q: Tensor, k: Tensor, v: Tensor) -> Any:
        qf, kf, vf = wide(q, k, v)
        S = qf @ kf.repeat_interleave(q.shape[1] // k.shape[1], dim=1).transpose(-1, -2) * q.shape[-1] ** -0.5
        P = torch.softmax(S.masked_fill(~band(S.shape[-1], window), float("-inf")), -1)
        out = (stored(P) @ vf.repeat_interleave(q.shape[1] // k.shape[1], dim=1)).bfloat16()
        return out, (q, k, v, out)

    def backward(do: Tensor, cache: Any) -> Any:
        q, k, v, out, do = wide(*cache, do)
        group = q.shape[1] // k.shape[1]
        P = weights(q, k)
        dP = do @ v.repeat_interleave(group, dim=1).transpose(-1, -2)
        delta = at("delta", (do * out).sum(-1, keepdim=True))
        dS = stored(at("dS", P * (dP - delta)))
        scale = q.shape[-1] ** -0.5
        dq = dS @ k.repeat_interleave(group, dim=1) * scale
        dk, dv = dS.transpose(-1, -2) @ q * scale, stored(at("P", P)).transpose(-1, -2) @ do
        if group > 1:
            dk, dv = (at("group", x.unflatten(1, (-1, group))).sum(2) for x in (dk, dv))
        return tuple(at(name, g).bfloat16() for name, g in (("q", dq), ("k", dk), ("v", dv)))

    return forward, backward


def _at(faults: Faults, name: str, x: Tensor) -> Tensor:
    return faults[name](x) if name in faults else x


def normals(**shapes: tuple[int, ...]) -> Callable[[np.random.Generator], dict[str, Any]]:
    """Normal numbers."""
    return lambda r: {name: r.standard_normal(shape) for name, shape in shapes.items()}


def heads(q: int, k: int, T: int, D: int) -> Callable[[np.random.Generator], dict[str, Any]]:
    """Queries, keys and values."""
    return normals(q=(1, q, T, D), k=(1, k, T, D), v=(1, k, T, D))


def rolled(x: Tensor) -> Tensor:
    """The row before in place of row 40."""
    x = x.clone(memory_format=torch.contiguous_format)
    x[..., 40, :] = x[..., 39, :]
    return x


def without_diagonal(x: Tensor) -> Tensor:
    """One entry of the diagonal is masked."""
    x = x.clone(memory_format=torch.contiguous_format)
    x[..., 30, 30] = 0
    return x


OF_ATTENTION: Mapping[str, Faults] = {
    "no delta in the last 2 rows": {"delta": times(0.0, ..., slice(-2, None), slice(None))},
    "delta of the row before in row 40": {"delta": rolled},
    "dS masked too much in row 30": {"dS": without_diagonal},
    "a key block left out of dS": {"dS": times(0.0, ..., slice(40, 48), slice(32, 40))},
    "k: 1 % in head 1": {"k": first_head(1.01)},
    "v: 1 % in head 1": {"v": first_head(1.01)},
    "v: 1 % in row 20": {"v": times(1.01, ..., 20, slice(None))},
    "k: 1 % in rows 32 to 47": {"k": times(1.01, ..., slice(32, 48), slice(None))},
    "lse of row 25 off by 1 %": {"lse": lambda x: x + 0.01 * (torch.arange(x.shape[-2])[:, None] == 25)},
    "scale off by 1 %": {"scale": lambda s: s * 1.01},
}


# ----------------------------------------------------------------------------------------------------- linear attention


def linear_attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Causal, without a softmax."""
    A = torch.where(band(q.shape[-2], None), q @ k.transpose(-1, -2), 0.0)
    return A @ v


def linear(faults: Faults) -> tuple[Any, Any]:
    """The products' operands are stored."""
    at = partial(_at, faults)

    def forward(q: Tensor, k: Tensor, v: Tensor) -> Any:
        qf, kf, vf = wide(q, k, v)
        A = (qf @ kf.transpose(-1, -2)) * band(q.shape[-2], None, torch.float32)
        return (stored(A) @ vf).bfloat16(), (q, k, v)

    def backward(do: Tensor, cache: Any) -> Any:
        q, k, v, do = wide(*cache, do)
        seen = at("mask", band(q.shape[-2], None, torch.float32))
        A = stored(at("A", (q @ k.transpose(-1, -2)) * seen))
        dA = stored(at("dA", (do @ v.transpose(-1, -2)) * seen))
        found = {"q": dA @ k, "k": dA.transpose(-1, -2) @ q, "v": A.transpose(-1, -2) @ do}
        return tuple(at(name, g).bfloat16() for name, g in found.items())

    return forward, backward


OF_LINEAR: Mapping[str, Faults] = {
    "dA masked too much in row 30": {"dA": without_diagonal},
    "mask without the diagonal": {"mask": lambda m: torch.tril(m, -1)},
    "a block left out of dA": {"dA": times(0.0, ..., slice(40, 48), slice(0, 8))},
    "a block left out of A": {"A": times(0.0, ..., slice(48, 64), slice(16, 32))},
    "k: 1 % in head 1": {"k": first_head(1.01)},
    "v: 1 % in head 1": {"v": first_head(1.01)},
    "v: 1 % in row 20": {"v": times(1.01, ..., 20, slice(None))},
    "dA x 1.01 in row 50": {"dA": times(1.01, ..., 50, slice(None))},
}


# ------------------------------------------------------------------------------------------------------- normalisations


def rms_norm(x: Tensor, w: Tensor) -> Tensor:
    """Over the last axis."""
    return x * torch.rsqrt((x * x).mean(-1, keepdim=True) + 1e-6) * w


def rms(faults: Faults) -> tuple[Any, Any]:
    """In float32, results stored."""
    at = partial(_at, faults)

    def forward(x: Tensor, w: Tensor) -> Any:
        xf, wf = wide(x, w)
        r = torch.rsqrt((xf * xf).mean(-1, keepdim=True) + 1e-6)
        return (xf * r * wf).bfloat16(), (x, w, r)

    def backward(dy: Tensor, cache: Any) -> Any:
        x, w, r, dy = wide(*cache, dy)
        r = at("r", r)
        n, g = x * r, dy * at("weight", w)
        dx = r * (g - n * at("inner", (g * n).mean(-1, keepdim=True)))
        return at("x", dx).bfloat16(), at("w", at("parts", dy * n).sum(0)).bfloat16()

    return forward, backward


OF_RMS: Mapping[str, Faults] = {
    "no inner product": {"inner": torch.zeros_like},
    "no inner product in the last row": {"inner": times(0.0, -1)},
    "inner product over 127": {"inner": lambda x: x * 128 / 127},
    "r off by 1 % in row 12": {"r": times(1.01, 12)},
    "weight of the next column": {"weight": lambda w: w.roll(1)},
    "w: 1 % in columns 16 to 31": {"w": times(1.01, slice(16, 32))},
    "w: a row left out": {"parts": times(0.0, 40)},
    "w: the last 4 rows left out": {"parts": times(0.0, slice(-4, None))},
}


def layer_norm(x: Tensor, w: Tensor, b: Tensor) -> Tensor:
    """Over the last axis."""
    return torch.nn.functional.layer_norm(x, x.shape[-1:], w, b)


def layer(faults: Faults) -> tuple[Any, Any]:
    """In float32, results stored."""
    at = partial(_at, faults)

    def forward(x: Tensor, w: Tensor, b: Tensor) -> Any:
        xf, wf, bf = wide(x, w, b)
        mean = xf.mean(-1, keepdim=True)
        r = torch.rsqrt(((xf - mean) ** 2).mean(-1, keepdim=True) + 1e-5)
        return ((xf - mean) * r * wf + bf).bfloat16(), (x, w, mean, r)

    def backward(dy: Tensor, cache: Any) -> Any:
        x, w, mean, r, dy = wide(*cache, dy)
        n, g = (x - at("mean", mean)) * at("r", r), dy * w
        inner, average = at("inner", (g * n).mean(-1, keepdim=True)), at("average", g.mean(-1, keepdim=True))
        dx = r * (g - average - n * inner)
        dw, db = at("parts", dy * n).sum(0), at("bias parts", dy).sum(0)
        return at("x", dx).bfloat16(), at("w", dw).bfloat16(), at("b", db).bfloat16()

    return forward, backward


OF_LAYER: Mapping[str, Faults] = {
    "no inner product": {"inner": torch.zeros_like},
    "no average": {"average": torch.zeros_like},
    "no average in the last row": {"average": times(0.0, -1)},
    "average over 127": {"average": lambda x: x * 128 / 127 + 0.002},
    "mean of the row before in row 40": {"mean": rolled},
    "w: 1 % in columns 16 to 31": {"w": times(1.01, slice(16, 32))},
    "w: a row left out": {"parts": times(0.0, 40)},
    "b: the last row left out": {"bias parts": times(0.0, -1)},
}


# --------------------------------------------------------------------------------------------------------------- losses


def cross_entropy(x: Tensor, labels: Tensor) -> Tensor:
    """The mean over rows whose label is not ignored."""
    return torch.nn.functional.cross_entropy(x, labels, ignore_index=-100)


def entropy(faults: Faults) -> tuple[Any, Any]:
    """In float32, the gradient stored."""
    at = partial(_at, faults)

    def forward(x: Tensor, labels: Tensor) -> Any:
        return torch.nn.functional.cross_entropy(x.float(), labels, ignore_index=-100), (x, labels)

    def backward(dy: Tensor, cache: Any) -> Any:
        x, labels = cache
        p = torch.softmax(x.float(), -1)
        keep = at("keep", labels != -100)
        hot = torch.nn.functional.one_hot(labels.clamp(min=0), x.shape[-1]).float()
        g = (p - at("hot", hot)) * keep[:, None] / at("count", keep.sum().float()) * dy.float()
        return at("x", g).bfloat16()

    return forward, backward


def another_label(hot: Tensor) -> Tensor:
    """The label of row 20 is the next one."""
    return torch.where(torch.arange(len(hot))[:, None] == 20, hot.roll(1, -1), hot)


def logits(r: np.random.Generator) -> dict[str, Any]:
    """Every seventh label is ignored."""
    labels = r.integers(0, 160, 64)
    labels[1::7] = -100
    return {"x": r.standard_normal((64, 160)), "labels": labels}


OF_ENTROPY: Mapping[str, Faults] = {
    "ignored labels are counted": {"count": lambda n: n * 0 + 64.0},
    "one ignored row is not ignored": {"keep": lambda k: torch.where(torch.arange(len(k)) == 15, True, k)},
    "one row is ignored": {"keep": lambda k: torch.where(torch.arange(len(k)) == 16, False, k)},
    "label of row 20 off by one": {"hot": another_label},
    "smoothed labels": {"hot": lambda h: h * 0.99 + 0.01 / 160},
    "no label in the last row": {"hot": times(0.0, -1)},
    "count off by one": {"count": lambda n: n + 1},
    "1 % in row 33 and in no other": {"x": times(1.01, 33)},
}


def linear_loss(x: Tensor, w: Tensor, labels: Tensor) -> Tensor:
    """A last layer and its loss in one."""
    return torch.nn.functional.cross_entropy(x @ w.T * 0.25, labels)


def fused(faults: Faults) -> tuple[Any, Any]:
    """The gradient of the logits is stored for the products."""
    at = partial(_at, faults)

    def forward(x: Tensor, w: Tensor, labels: Tensor) -> Any:
        return torch.nn.functional.cross_entropy(x.float() @ w.float().T * 0.25, labels), (x, w, labels)

    def backward(dy: Tensor, cache: Any) -> Any:
        x, w, labels = cache
        p = torch.softmax(x.float() @ w.float().T * 0.25, -1)
        hot = at("hot", torch.nn.functional.one_hot(labels, w.shape[0]).float())
        g = stored(at("g", (p - hot) / len(labels) * dy.float() * 0.25))
        return at("x", g @ w.float()).bfloat16(), at("w", at("gT", g.T) @ x.float()).bfloat16()

    return forward, backward


OF_FUSED: Mapping[str, Faults] = {
    "a block of classes left out": {"g": times(0.0, slice(None), slice(64, 80))},
    "label of row 20 off by one": {"hot": another_label},
    "no label in the last row": {"hot": times(0.0, -1)},
    "g x 1.03 in row 50": {"g": times(1.03, 50)},
    "w: 1 % in rows 16 to 31": {"w": times(1.01, slice(16, 32))},
    "w: a row of the batch left out": {"gT": times(0.0, slice(None), 11)},
    "w: the last 8 of the batch left out": {"gT": times(0.0, slice(None), slice(-8, None))},
    "w x 1.01": {"w": times(1.01)},
}


# ----------------------------------------------------------------------------------------------------- entry by entry


def swiglu(a: Tensor, b: Tensor) -> Tensor:
    """A gated unit."""
    return torch.nn.functional.silu(a) * b


def gated(faults: Faults) -> tuple[Any, Any]:
    """In float32, results stored."""
    at = partial(_at, faults)

    def forward(a: Tensor, b: Tensor) -> Any:
        return (torch.nn.functional.silu(a.float()) * b.float()).bfloat16(), (a, b)

    def backward(dy: Tensor, cache: Any) -> Any:
        a, b, dy = wide(*cache, dy)
        s = at("s", torch.sigmoid(a))
        da = dy * b * (s + at("second", a * s * (1 - s)))
        return at("a", da).bfloat16(), at("b", dy * a * s).bfloat16()

    return forward, backward


OF_GATED: Mapping[str, Faults] = {
    "no second term": {"second": torch.zeros_like},
    "no second term in row 12": {"second": times(0.0, 12)},
    "second term x 1.02": {"second": times(1.02)},
    "sigmoid of 1.01 a": {"s": lambda s: torch.sigmoid(1.01 * torch.logit(s))},
    "b: 1 % in row 20": {"b": times(1.01, 20)},
    "b: 1 % in rows 32 to 47": {"b": times(1.01, slice(32, 48))},
    "sigmoid cut off at 0.99": {"s": lambda s: s.clamp(max=0.9)},
    "b: the last row left out": {"b": times(0.0, -1)},
}


def rotary(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Pairs of columns, half of the width apart, are turned."""
    half = x.shape[-1] // 2
    return x * cos + torch.cat([-x[..., half:], x[..., :half]], -1) * sin


def turned(faults: Faults) -> tuple[Any, Any]:
    """In float32, the result stored."""
    at = partial(_at, faults)

    def forward(x: Tensor, cos: Tensor, sin: Tensor) -> Any:
        return rotary(x.float(), cos.float(), sin.float()).bfloat16(), (cos, sin)

    def backward(dy: Tensor, cache: Any) -> Any:
        cos, sin, dy = wide(*cache, dy)
        half = dy.shape[-1] // 2
        back = at("sin", sin) * dy
        return at("x", dy * at("cos", cos) + torch.cat([back[..., half:], -back[..., :half]], -1)).bfloat16()

    return forward, backward


def angles(r: np.random.Generator) -> dict[str, Any]:
    """Cosines and sines of a usual base, as bfloat16 has them."""
    angle = np.arange(64)[:, None] * 100.0 ** (-np.arange(32) / 32)
    both = {"cos": np.cos(np.tile(angle, 2)), "sin": np.sin(np.tile(angle, 2))}
    return {"x": r.standard_normal((1, 2, 64, 64)), **both}


OF_ROTARY: Mapping[str, Faults] = {
    "turned the wrong way": {"sin": lambda s: -s},
    "the wrong way in row 12": {"sin": times(-1.0, 12)},
    "angle of the row before in row 40": {"sin": rolled, "cos": rolled},
    "sin x 1.01": {"sin": times(1.01)},
    "no sin in the last row": {"sin": times(0.0, -1)},
    "cos of the next column": {"cos": lambda c: c.roll(1, -1)},
    "cos x 1.01 in column 3": {"cos": times(1.01, ..., 3)},
    "sin x 1.01 in rows 16 to 31": {"sin": times(1.01, slice(16, 32))},
}


def dropout(x: Tensor, r: Tensor, mask: Tensor) -> Tensor:
    """A saved mask, and what is added to it."""
    return torch.tanh(x * mask / 0.8) + r


def dropped(faults: Faults) -> tuple[Any, Any]:
    """In float32, results stored."""
    at = partial(_at, faults)

    def forward(x: Tensor, r: Tensor, mask: Tensor) -> Any:
        return (torch.tanh(x.float() * mask.float() / 0.8) + r.float()).bfloat16(), (x, mask)

    def backward(dy: Tensor, cache: Any) -> Any:
        x, mask, dy = wide(*cache, dy)
        y = torch.tanh(x * mask / 0.8)
        return at("x", dy * (1 - at("y", y) ** 2) * at("mask", mask) / at("keep", torch.tensor(0.8))).bfloat16(), at(
            "r", dy
        ).bfloat16()

    return forward, backward


OF_DROPOUT: Mapping[str, Faults] = {
    "no 1 / keep": {"keep": lambda p: p * 0 + 1.0},
    "keep of 0.79": {"keep": lambda p: p - 0.01},
    "mask of the row before in row 40": {"mask": rolled},
    "no mask in row 12": {"mask": lambda m: torch.where(torch.arange(len(m))[:, None] == 12, 1.0, m)},
    "no slope of tanh": {"y": torch.zeros_like},
    "r: 1 % in row 20": {"r": times(1.01, 20)},
    "r: the last row left out": {"r": times(0.0, -1)},
    "mask: an entry too many": {"mask": lambda m: (m - 1.0 * (torch.arange(m.numel()).view(m.shape) == 77)).abs()},
}


def embedding(w: Tensor, ids: Tensor) -> Tensor:
    """Rows of a table, some of them many times."""
    return torch.nn.functional.embedding(ids, w) * 8.0


def looked_up(faults: Faults) -> tuple[Any, Any]:
    """Repeats are added up in float32."""
    at = partial(_at, faults)

    def forward(w: Tensor, ids: Tensor) -> Any:
        return (w.float()[ids] * 8.0).bfloat16(), (w, ids)

    def backward(dy: Tensor, cache: Any) -> Any:
        w, ids = cache
        parts = at("parts", dy.float() * 8.0)
        return at("w", torch.zeros(w.shape).index_add(0, at("ids", ids), parts)).bfloat16()

    return forward, backward


def table(r: np.random.Generator) -> dict[str, Any]:
    """A row that nobody asks for, others many times."""
    ids = np.concatenate([r.integers(0, 48, 150), np.arange(44), np.full(40, 7)])
    return {"w": r.standard_normal((48, 64)), "ids": ids}


OF_EMBEDDING: Mapping[str, Faults] = {
    "the last place left out": {"parts": times(0.0, -1)},
    "the last 4 places twice": {"parts": times(2.0, slice(-4, None))},
    "one index off by one": {"ids": lambda i: torch.where(torch.arange(len(i)) == 60, (i + 1) % 48, i)},
    "no factor": {"parts": lambda p: p / 8.0},
    "1 % in one place": {"parts": times(1.01, 155)},
    "row 7 counts once": {"parts": lambda p: torch.where(torch.arange(len(p))[:, None] > 200, 0.0, p)},
    "8 columns left out": {"parts": times(0.0, slice(None), slice(8, 16))},
    "an index twice": {"ids": lambda i: torch.where(torch.arange(len(i)) == 100, i.roll(1), i)},
}


def masked(r: np.random.Generator) -> dict[str, Any]:
    """One of five entries is dropped."""
    return {**normals(x=(64, 96), r=(64, 96))(r), "mask": (r.random((64, 96)) < 0.8).astype(float)}


def labelled(r: np.random.Generator) -> dict[str, Any]:
    """Rows, classes, labels."""
    return {**normals(x=(64, 64), w=(96, 64))(r), "labels": r.integers(0, 96, 64)}


EXAMPLES = (
    Example("attention, causal", attention, flash, heads(2, 2, 64, 64), "flash attention", "q", OF_ATTENTION),
    Example("attention, grouped queries", attention, flash, heads(4, 2, 56, 64), "flash attention", "v", OF_ATTENTION),
    Example(
        "attention, windowed", windowed, partial(flash, window=16), heads(2, 2, 72, 64), "flash attention", "k",
        OF_ATTENTION,
    ),
    Example("linear attention", linear_attention, linear, heads(2, 2, 64, 64), "flash attention", "q", OF_LINEAR),
    Example("RMSNorm", rms_norm, rms, normals(x=(64, 128), w=(128,)), "fp32 accumulate", "x", OF_RMS),
    Example("LayerNorm", layer_norm, layer, normals(x=(64, 128), w=(128,), b=(128,)), "fp32 accumulate", "x", OF_LAYER),
    Example("softmax cross-entropy", cross_entropy, entropy, logits, "fp32 accumulate", "x", OF_ENTROPY),
    Example("SwiGLU", swiglu, gated, normals(a=(64, 128), b=(64, 128)), "fp32 accumulate", "a", OF_GATED),
    Example("rotary", rotary, turned, angles, "fp32 accumulate", "x", OF_ROTARY, ("cos", "sin")),
    Example("dropout with a saved mask", dropout, dropped, masked, "fp32 accumulate", "x", OF_DROPOUT, ("mask",)),
    Example("embedding with repeats", embedding, looked_up, table, "fp32 accumulate", "w", OF_EMBEDDING),
    Example("last layer and loss", linear_loss, fused, labelled, "flash attention", "x", OF_FUSED),
)  # fmt: skip

"""What is known of a course: the names of its functions, arguments to try them with, and plain NumPy for their values.

A row is one forward, with the backward passes that belong to it, or one loss that returns its gradient. Its trials are
the geometries, modes and labels at which such code is wrong: strides that overlap, borders of 0, images that are not
square, ties, a batch of one. The references are written without a derivative; the verdicts come from the oracle.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

Function = Callable[..., Any]
Trial = tuple[Any, ...]
"""The arguments of a forward, in order."""


@dataclass(frozen=True, slots=True)
class Row:
    """One forward of the course by its name, or one loss."""

    forward: str
    trials: Mapping[str, Trial]
    """What is special about it -> the arguments."""
    references: Sequence[Function] = ()
    """The same function written anew; several where the years of the course differ, of which one must agree. None is
    answered where nothing can be said."""
    backward: Sequence[str] = ()
    """The passes that take its cache; none where the function returns its value and its gradient together."""
    forward_only: Mapping[str, Trial] = field(default_factory=dict)
    """Trials of a mode that has no backward pass."""


RNG = np.random.default_rng(231)


def _normal(*shape: int) -> Any:
    return RNG.normal(size=shape)


def _tied(*shape: int) -> Any:
    return RNG.integers(0, 3, size=shape).astype(np.float64)


# ------------------------------------------------------------------------------------------- the functions, in NumPy


def affine(x: Any, w: Any, b: Any) -> Any:
    """All axes but the first are one.

    >>> affine(np.ones((2, 1, 3)), np.ones((3, 1)), np.zeros(1)).ravel()
    array([3., 3.])
    """
    return x.reshape(x.shape[0], -1) @ w + b


def conv(x: Any, w: Any, b: Any, conv_param: Any) -> Any:
    """Windows of the padded images, each times each filter.

    >>> conv(np.ones((1, 1, 3, 3)), np.ones((1, 1, 2, 2)), np.zeros(1), {"stride": 1, "pad": 0})[0, 0]
    array([[4., 4.],
           [4., 4.]])
    """
    pad = conv_param["pad"]
    padded = np.pad(x, ((0, 0), (0, 0), (pad, pad), (pad, pad)))
    rows = _windows(padded, w.shape[2], w.shape[3], conv_param["stride"])
    sums = [[np.einsum("ncij,fcij->nf", window, w) for window in row] for row in rows]
    return _image(sums) + b[:, None, None]


def max_pool(x: Any, pool_param: Any) -> Any:
    """The largest entry of each window.

    >>> max_pool(np.arange(4.0).reshape(1, 1, 2, 2), {"pool_height": 2, "pool_width": 1, "stride": 1})
    array([[[[2., 3.]]]])
    """
    height, width = pool_param["pool_height"], pool_param["pool_width"]
    return _image([[w.max(axis=(2, 3)) for w in row] for row in _windows(x, height, width, pool_param["stride"])])


def _windows(x: Any, height: int, width: int, stride: int) -> list[list[Any]]:
    return [
        [x[:, :, i : i + height, j : j + width] for j in range(0, x.shape[3] - width + 1, stride)]
        for i in range(0, x.shape[2] - height + 1, stride)
    ]


def _image(rows: Sequence[Sequence[Any]]) -> Any:
    return np.stack([np.stack(row, axis=-1) for row in rows], axis=-2)


def batchnorm(x: Any, gamma: Any, beta: Any, bn_param: Any) -> Any:
    """By the statistics of the batch, or by the running ones.

    >>> batchnorm(np.array([[1.0], [3.0]]), np.ones(1), np.zeros(1), {"mode": "train", "eps": 0.0}).ravel()
    array([-1.,  1.])
    """
    if bn_param["mode"] == "train":
        return normalized(x, 0, bn_param) * gamma + beta
    return (x - bn_param["running_mean"]) / np.sqrt(bn_param["running_var"] + bn_param.get("eps", 1e-5)) * gamma + beta


def layernorm(x: Any, gamma: Any, beta: Any, ln_param: Any) -> Any:
    """The same over the features of each row.

    >>> layernorm(np.array([[1.0, 3.0]]), np.ones(2), np.zeros(2), {"eps": 0.0})
    array([[-1.,  1.]])
    """
    return normalized(x, 1, ln_param) * gamma + beta


def normalized(x: Any, axis: Any, param: Any) -> Any:
    """Without mean and of variance 1.

    >>> normalized(np.array([1.0, 3.0]), 0, {"eps": 0.0})
    array([-1.,  1.])
    """
    return (x - x.mean(axis=axis, keepdims=True)) / np.sqrt(x.var(axis=axis, keepdims=True) + param.get("eps", 1e-5))


def dropout(x: Any, dropout_param: Any) -> Any:
    """At test; what is drawn in training is nobody's to say.

    >>> dropout(1.0, {"mode": "test"}), dropout(1.0, {"mode": "train"})
    (1.0, None)
    """
    return x if dropout_param["mode"] == "test" else None


def spatial_batchnorm(x: Any, gamma: Any, beta: Any, bn_param: Any) -> Any:
    """For each channel.

    >>> spatial_batchnorm(np.ones((1, 1, 2, 2)), np.ones(1), np.ones(1), {"mode": "train"}).sum()
    np.float64(4.0)
    """
    images, channels, height, width = x.shape
    flat = batchnorm(x.transpose(0, 2, 3, 1).reshape(-1, channels), gamma, beta, bn_param)
    return flat.reshape(images, height, width, channels).transpose(0, 3, 1, 2)


def spatial_groupnorm(x: Any, gamma: Any, beta: Any, groups: int, gn_param: Any) -> Any:
    """For each image and each group of channels.

    >>> spatial_groupnorm(np.ones((1, 2, 2, 2)), np.ones((1, 2, 1, 1)), np.ones((1, 2, 1, 1)), 2, {}).sum()
    np.float64(8.0)
    """
    grouped = x.reshape(x.shape[0], groups, -1)
    return normalized(grouped, 2, gn_param).reshape(x.shape) * gamma + beta


def cross_entropy(x: Any, y: Any) -> Any:
    """The mean over the rows, which are scores.

    >>> round(float(cross_entropy(np.zeros((2, 4)), np.array([0, 3]))), 6)
    1.386294
    """
    return -np.mean(_log_softmax(x)[np.arange(x.shape[0]), y])


def hinge(x: Any, y: Any) -> Any:
    """How far other scores come up to the right one less a margin of 1, the mean over the rows.

    >>> hinge(np.zeros((2, 4)), np.array([0, 3]))
    np.float64(3.0)
    """
    margins = np.maximum(0, x - x[np.arange(x.shape[0]), y][:, None] + 1)
    return np.sum(np.where(np.arange(x.shape[1]) == y[:, None], 0.0, margins)) / x.shape[0]


def _log_softmax(x: Any) -> Any:
    shifted = x - x.max(axis=1, keepdims=True)
    return shifted - np.log(np.sum(np.exp(shifted), axis=1, keepdims=True))


def linear(loss: Function, weight: float) -> Function:
    """A linear classifier with a loss, and so many times the squares of its weights.

    >>> linear(hinge, 0.5)(np.zeros((2, 4)), np.zeros((3, 2)), np.array([0, 1, 2]), 0.1)
    np.float64(3.0)
    """
    return lambda w, x, y, reg: loss(x @ w, y) + weight * reg * np.sum(w * w)


def temporal_softmax(x: Any, y: Any, mask: Any) -> Any:
    """Over the places that the mask has, the sum divided by the number of sequences.

    >>> round(float(temporal_softmax(np.zeros((1, 2, 4)), np.array([[0, 3]]), np.array([[True, False]]))), 6)
    1.386294
    """
    flat = _log_softmax(x.reshape(-1, x.shape[2]))[np.arange(y.size), y.ravel()]
    return -np.sum(flat * mask.ravel()) / x.shape[0]


def rnn_step(x: Any, h: Any, wx: Any, wh: Any, b: Any) -> Any:
    """The next state.

    >>> rnn_step(np.zeros((1, 2)), np.zeros((1, 3)), np.zeros((2, 3)), np.zeros((3, 3)), np.zeros(3))
    array([[0., 0., 0.]])
    """
    return np.tanh(x @ wx + h @ wh + b)


def rnn(x: Any, h: Any, wx: Any, wh: Any, b: Any) -> Any:
    """All states.

    >>> rnn(np.zeros((1, 4, 2)), np.zeros((1, 3)), np.zeros((2, 3)), np.zeros((3, 3)), np.zeros(3)).shape
    (1, 4, 3)
    """
    states = []
    for t in range(x.shape[1]):
        h = rnn_step(x[:, t], h, wx, wh, b)
        states.append(h)
    return np.stack(states, axis=1)


def lstm_step(x: Any, h: Any, c: Any, wx: Any, wh: Any, b: Any) -> tuple[Any, Any]:
    """The next state and the next cell.

    >>> one, four = np.zeros((1, 1)), np.zeros((1, 4))
    >>> lstm_step(one, one, one + 1, four, four, np.zeros(4))[1]
    array([[0.5]])
    """
    i, f, o, g = np.split(x @ wx + h @ wh + b, 4, axis=1)
    cell = _sigmoid(f) * c + _sigmoid(i) * np.tanh(g)
    return _sigmoid(o) * np.tanh(cell), cell


def _sigmoid(x: Any) -> Any:
    return 1 / (1 + np.exp(-x))


def lstm(x: Any, h: Any, wx: Any, wh: Any, b: Any) -> Any:
    """All states, from a cell of 0.

    >>> lstm(np.zeros((1, 3, 1)), np.zeros((1, 1)), np.zeros((1, 4)), np.zeros((1, 4)), np.zeros(4)).shape
    (1, 3, 1)
    """
    states, c = [], np.zeros(h.shape)
    for t in range(x.shape[1]):
        h, c = lstm_step(x[:, t], h, c, wx, wh, b)
        states.append(h)
    return np.stack(states, axis=1)


def temporal_affine(x: Any, w: Any, b: Any) -> Any:
    """At each time.

    >>> temporal_affine(np.ones((1, 2, 3)), np.ones((3, 1)), np.zeros(1)).ravel()
    array([3., 3.])
    """
    return x @ w + b


# --------------------------------------------------------------------------------------------------- what is tried


def _pool(x: Any, height: int, width: int, stride: int) -> Trial:
    return x, {"pool_height": height, "pool_width": width, "stride": stride}


def _conv(x: Any, w: Any, stride: int, pad: int) -> Trial:
    return x, w, _normal(w.shape[0]), {"stride": stride, "pad": pad}


def _norm(x: Any, **param: Any) -> Trial:
    return x, _normal(x.shape[1]), _normal(x.shape[1]), param


def _running(x: Any) -> Trial:
    kept = {"running_mean": _normal(x.shape[1]), "running_var": RNG.uniform(0.5, 2, x.shape[1])}
    return _norm(x, mode="test", eps=1e-5, **kept)


def _group(x: Any, groups: int, **param: Any) -> Trial:
    channels = x.shape[1]
    return x, _normal(1, channels, 1, 1), _normal(1, channels, 1, 1), groups, param


def _recurrent(x: Any, hidden: int, gates: int, states: int = 1) -> Trial:
    each = [_normal(x.shape[0], hidden) for _ in range(states)]
    return x, *each, _normal(x.shape[-1], gates * hidden), _normal(hidden, gates * hidden), _normal(gates * hidden)


def _classifier(scale: float = 1.0) -> Trial:
    return scale * _normal(3, 4), _normal(5, 3), np.array([0, 3, 1, 1, 2]), 0.3


LABELS = np.array([1, 0, 4, 1])
SCORES = {"": (_normal(4, 5), LABELS), "a batch of 1": (_normal(1, 3), np.array([2]))}
TRAIN = {"mode": "train", "eps": 1e-5}
NORMS = {
    "": _norm(_normal(4, 3), **TRAIN),
    "eps 0.1": _norm(_normal(5, 2), mode="train", eps=0.1),
    "a mean far from 0": _norm(_normal(4, 3) + 50, **TRAIN),
}
CONVS = {
    "stride 1, pad 1": _conv(_normal(2, 2, 4, 4), _normal(3, 2, 3, 3), 1, 1),
    "stride 2, pad 1, a batch of 1, no square": _conv(_normal(1, 2, 5, 3), _normal(2, 2, 3, 3), 2, 1),
    "stride 1, pad 0, a filter that is no square": _conv(_normal(2, 1, 4, 3), _normal(2, 1, 3, 2), 1, 0),
    "stride 2, pad 0": _conv(_normal(1, 2, 5, 5), _normal(1, 2, 3, 3), 2, 0),
}
POOLS = {
    "stride 2": _pool(_normal(2, 2, 4, 4), 2, 2, 2),
    "stride 1": _pool(_normal(2, 2, 4, 4), 2, 2, 1),
    "a window that is no square, stride 1": _pool(_normal(1, 2, 4, 3), 3, 2, 1),
    "stride 2 of windows of 3": _pool(_normal(1, 2, 5, 5), 3, 3, 2),
    "ties": _pool(_tied(1, 2, 4, 4), 2, 2, 2),
}
CLASSIFIER = {"": _classifier(), "a weight of 0.01": _classifier(0.01)}

ROWS = (
    Row("affine_forward", {"": (_normal(2, 3, 2), _normal(6, 4), _normal(4)),
                           "a batch of 1": (_normal(1, 3), _normal(3, 2), _normal(2))},
        (affine,), ("affine_backward",)),
    Row("relu_forward", {"": (_normal(3, 4),), "zeros": (_tied(3, 2, 2) - 1,)}, (lambda x: np.maximum(x, 0),),
        ("relu_backward",)),
    Row("affine_relu_forward", {"": (_normal(2, 3, 2), _normal(6, 4), _normal(4))},
        (lambda x, w, b: np.maximum(affine(x, w, b), 0),), ("affine_relu_backward",)),
    Row("conv_forward_naive", CONVS, (conv,), ("conv_backward_naive",)),
    Row("max_pool_forward_naive", POOLS, (max_pool,), ("max_pool_backward_naive",)),
    Row("batchnorm_forward", NORMS, (batchnorm,), ("batchnorm_backward", "batchnorm_backward_alt"),
        {"mode test": _running(_normal(4, 3))}),
    Row("layernorm_forward", {"": _norm(_normal(3, 4)), "eps 0.1": _norm(_normal(2, 5), eps=0.1),
                              "a batch of 1": _norm(_normal(1, 4))}, (layernorm,), ("layernorm_backward",)),
    Row("dropout_forward", {f"mode {mode}, p {p}": (_normal(3, 4), {"mode": mode, "p": p, "seed": 7})
                            for mode, p in (("train", 0.75), ("train", 0.3), ("test", 0.3))}, (dropout,),
        ("dropout_backward",)),
    Row("spatial_batchnorm_forward", {"": _norm(_normal(2, 3, 2, 4), **TRAIN),
                                      "a batch of 1": _norm(_normal(1, 2, 3, 2), **TRAIN)},
        (spatial_batchnorm,), ("spatial_batchnorm_backward",), {"mode test": _running(_normal(2, 3, 2, 4))}),
    Row("spatial_groupnorm_forward", {"2 groups": _group(_normal(2, 4, 2, 3), 2, eps=1e-5),
                                      "3 groups, eps 0.1": _group(_normal(1, 3, 2, 2), 3, eps=0.1)},
        (spatial_groupnorm,), ("spatial_groupnorm_backward",)),
    Row("softmax_loss", {**SCORES, "scores about 1000": (_normal(4, 5) + 1000, LABELS)}, (cross_entropy,)),
    Row("svm_loss", {**SCORES, "scores on the margin": (_tied(4, 5), LABELS)}, (hinge,)),
    *(Row(f"{name}_loss_{way}", CLASSIFIER, (linear(loss, 1.0), linear(loss, 0.5)))
      for name, loss in (("svm", hinge), ("softmax", cross_entropy)) for way in ("naive", "vectorized")),
    Row("rnn_step_forward", {"": _recurrent(_normal(3, 2), 4, 1), "a batch of 1": _recurrent(_normal(1, 3), 2, 1)},
        (rnn_step,), ("rnn_step_backward",)),
    Row("rnn_forward", {"": _recurrent(_normal(2, 3, 4), 5, 1), "one step": _recurrent(_normal(2, 1, 3), 2, 1)},
        (rnn,), ("rnn_backward",)),
    Row("lstm_step_forward", {"": _recurrent(_normal(3, 2), 4, 4, 2)}, (lstm_step,), ("lstm_step_backward",)),
    Row("lstm_forward", {"": _recurrent(_normal(2, 3, 4), 2, 4), "one step": _recurrent(_normal(2, 1, 3), 2, 4)},
        (lstm,), ("lstm_backward",)),
    Row("word_embedding_forward", {"": (np.array([[0, 3, 1], [3, 3, 2]]), _normal(5, 2))}, (lambda x, w: w[x],),
        ("word_embedding_backward",)),
    Row("temporal_affine_forward", {"": (_normal(2, 3, 4), _normal(4, 2), _normal(2))}, (temporal_affine,),
        ("temporal_affine_backward",)),
    Row("temporal_softmax_loss",
        {"": (_normal(2, 3, 4), np.array([[0, 3, 1], [2, 2, 0]]), np.arange(6).reshape(2, 3) % 3 < 2)},
        (temporal_softmax,)),
)  # fmt: skip
"""The functions of the course, in its order."""


IMAGES, CLASSES = _normal(3, 1, 4, 4), np.array([0, 2, 1])
NETWORKS: Mapping[str, Mapping[str, tuple[Mapping[str, Any], Any, Any]]] = {
    "TwoLayerNet": {"": ({"hidden_dim": 4}, _normal(3, 5), CLASSES)},
    "FullyConnectedNet": {
        kind: ({"hidden_dims": [4, 3], **({"normalization": kind} if kind else {})}, _normal(3, 5), CLASSES)
        for kind in ("", "batchnorm", "layernorm")
    },
    "ThreeLayerConvNet": {
        "": ({"input_dim": (1, 4, 4), "num_filters": 2, "filter_size": 3, "hidden_dim": 3}, IMAGES, CLASSES)
    },
}
"""Classes with ``params`` and ``loss(X, y)``: what is special -> arguments that they are made with, X and y."""

OF_ALL_NETWORKS = {"input_dim": 5, "num_classes": 3, "weight_scale": 0.5, "reg": 0.3, "dtype": np.float64}
"""Arguments that networks are made with where they take them and nothing else is said."""

OTHER_NAMES = {
    "input_dim": "input_size",
    "hidden_dim": "hidden_size",
    "num_classes": "output_size",
    "weight_scale": "std",
}
"""What the arguments of networks were called in earlier years."""

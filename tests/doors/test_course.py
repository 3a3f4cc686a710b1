"""`verify course`: an assignment as a student hands it in passes, and each of its functions made wrong is told."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from verify.cli import main
from verify.errors import UsageError
from verify.tools.course import Line, Status, judge_course
from verify.tools.cs231n import NETWORKS, ROWS

ASSIGNMENT = Path(__file__).with_name("assignment.txt")

FAULTS = (
    ("layers.py", "dw = np.dot(x.reshape(x.shape[0], np.prod(x.shape[1:])).T, dout)", "dw = np.dot(x.T, dout)",
     "affine_backward FAIL: the gradient by w has shape (2, 3, 4), w has shape (6, 4)"),
    ("layers.py", "dx = dout * (x > 0)", "dout[x <= 0] = 0\n    dx = dout",
     "relu_backward FAIL: the gradient writes to its upstream"),
    ("layers.py", "dxhat = dout * gamma\n    divar", "dxhat = dout\n    divar",
     "batchnorm_backward FAIL: your dx misses the factor `gamma`"),
    ("layers.py", "dx = gamma * ivar / N * (N * dout - xhat * dgamma - dbeta)",
     "dx = gamma * ivar * (dout - xhat * dgamma / N)",
     "batchnorm_backward_alt FAIL: your dx equals the right one without the path through `mean("),
    ("layers.py", "dx = (1 / D) / std", "dx = (1 / len(dout)) / std",
     "layernorm_backward FAIL: your dx is 4/3 x the right one"),
    ("layers.py", "        dx = dout * mask\n", "        dx = dout * (mask > 0)\n",
     "dropout_backward FAIL at mode train, p 0.75; mode train, p 0.3: your dx is 3/4 x the right one"),
    ("layers.py", "dx_pad[:, :, pad:pad + x.shape[2], pad:pad + x.shape[3]]", "dx_pad[:, :, pad:-pad, pad:-pad]",
     "conv_backward_naive FAIL at stride 1, pad 0, a filter that is no square; stride 2, pad 0: the gradient by x has"),
    ("layers.py", "[ind1, ind2] += dout", "[ind1, ind2] = dout",
     "max_pool_backward_naive FAIL at stride 1; a window that is no square, stride 1: your dx overwrites what an"),
    ("layers.py", "dgamma = np.sum(dout * xn, axis=(0, 2, 3), keepdims=True)",
     "dgamma = np.sum(dout * xn, axis=(0, 2, 3))",
     "spatial_groupnorm_backward FAIL: the gradient by gamma has shape (4,), gamma has shape (1, 4, 1, 1)"),
    ("layers.py", "    margins[np.arange(N), y] = 0\n    loss = np", "    loss = np",
     "svm_loss FAIL: its value is not that of the function"),
    ("rnn_layers.py", "rnn_step_backward(dh[:, t] + dprev, cache[t])", "rnn_step_backward(dh[:, t], cache[t])",
     "rnn_backward FAIL: your dx"),
    ("rnn_layers.py", "np.add.at(dW, x, dout)", "dW[x] += dout", "word_embedding_backward FAIL: your dW keeps one of"),
    ("rnn_layers.py", "dc = dnext_c + dnext_h * o * (1 - t ** 2)", "dc = dnext_h * o * (1 - t ** 2)",
     "lstm_step_backward FAIL: your dx is the right one without the upstream gradient dcell"),
    ("rnn_layers.py", "    dx_flat *= mask_flat[:, None]\n", "", "temporal_softmax_loss FAIL: your dx"),
    ("rnn_layers.py", "return dx, dw, dout.sum(axis=(0, 1))", "return dx, dw, 1.000001 * dout.sum(axis=(0, 1))",
     "temporal_affine_backward FAIL: your db"),
    ("classifiers/linear_svm.py", "    dW += 2 * reg * W\n", "    dW += reg * W\n", "svm_loss_naive FAIL"),
    ("classifiers/linear_svm.py", "coeff[margins > 0] = 1", "coeff[margins > 0] = 1.000001",
     "svm_loss_vectorized FAIL"),
    ("classifiers/softmax.py", "sum_j = np.sum(np.exp(f))", "sum_j = np.sum(np.exp(f)) * 2",
     "softmax_loss_naive FAIL: its value is not that of the function"),
)  # fmt: skip
"""File, what stands there, what is put in its place, and how the line begins that tells it."""


KINKED = {
    "max_pool_forward_naive [ties]", "relu_forward [zeros]", "svm_loss [scores on the margin]", "ThreeLayerConvNet",
    "FullyConnectedNet [batchnorm]",
}  # fmt: skip
"""Where a maximum or a relu is looked at in its tie: a subgradient is right, and no proof of one truth."""


def written(folder: Path, faults: tuple[tuple[str, str, str, str], ...] = ()) -> Path:
    """The assignment in a folder, with faults."""
    for part in ASSIGNMENT.read_text(encoding="utf-8").split("### ")[1:]:
        name, _, text = part.partition("\n")
        for _, before, after, _ in (fault for fault in faults if fault[0] == name):
            assert before in text, before
            text = text.replace(before, after, 1)
        file = folder / "cs231n" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        (file.parent / "__init__.py").touch()
        file.write_text(text, encoding="utf-8")
    return folder


@pytest.fixture(autouse=True)
def own_path(monkeypatch: pytest.MonkeyPatch) -> None:
    """Folders of assignments do not stay where modules are looked for."""
    monkeypatch.setattr(sys, "path", [*sys.path])


def judged(folder: Path) -> list[Line]:
    """All lines."""
    return list(judge_course("cs231n", folder))


def test_what_is_right_passes(tmp_path: Path) -> None:
    """Each function of the table, and what is left as it was handed out is told to be so."""
    lines = judged(written(tmp_path))
    assert [str(line) for line in lines if line.status is not Status.PASS] == [
        "softmax_loss_vectorized not written (softmax.py:23)"
    ]
    known = {row.forward for row in ROWS} | {name for row in ROWS for name in row.backward} | {*NETWORKS}
    assert {line.name for line in lines} == known
    cases = [case for line in lines for case in line.cases]
    unproved = {case.name for case in cases for v in case.variables if v.role == "input" and v.proved < v.checked}
    assert unproved <= KINKED


def test_what_is_wrong_is_told(tmp_path: Path) -> None:
    """Each fault in the line of its function, with where it shows, why, and the file."""
    lines = [str(line) for line in judged(written(tmp_path, FAULTS))]
    for file, _, _, said in FAULTS:
        (line,) = [line for line in lines if line.startswith(said)] or [str(lines)]
        assert line.startswith(said)
        assert f"({Path(file).name}:" in line


def test_what_cannot_be_judged_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A course that is not known, a folder without its functions, a file that does not import, one that raises."""
    with pytest.raises(UsageError, match="unknown course 'cs231m', expected one of cs231n"):
        list(judge_course("cs231m", tmp_path))
    with pytest.raises(UsageError, match="there is no folder"):
        list(judge_course("cs231n", tmp_path / "nowhere"))
    with pytest.raises(UsageError, match="no function of cs231n"):
        list(judge_course("cs231n", tmp_path))
    (tmp_path / "broken.py").write_text("import nowhere_at_all\n\n\ndef relu_forward(x):\n    return x\n")
    (tmp_path / "raising.py").write_text(
        "def relu_forward(x):\n    return x.nothing, x\n\n\n"
        "def affine_forward(x, w):\n    return None, None\n\n\n"
        "def layernorm_forward(x, gamma, beta, ln_param):\n    return x, ()\n"
    )
    assert main(["course", "cs231n", str(tmp_path), "--json", str(tmp_path / "run.json")]) == 1
    said = capsys.readouterr().out.splitlines()
    assert said[0].startswith("broken.py FAIL: ")
    assert "nowhere_at_all" in said[0]
    assert said[1].startswith("relu_forward FAIL: raises AttributeError")
    assert said[1].endswith("(raising.py:2)")
    assert said[2] == "relu_backward not judged: there is no function of this name beside its forward"
    assert said[3].startswith("affine_forward not written")
    assert said[5].startswith("layernorm_forward FAIL: its value is not that of the function: ")
    assert (tmp_path / "run.json").exists()

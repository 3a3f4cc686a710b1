"""Ten case files as a newcomer would write them from the document alone: they run unchanged, and fail where wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from verify.running.runner import run_case
from verify.running.settings import Settings

CASES = {
    "softmax cross entropy": """\
case: softmax cross entropy
dims: {n: 4}
inputs:
  z: {shape: [n], at: [1, 2, 0.5, -1], domain: [-5, 5]}
  t: {shape: [n], at: [0, 1, 0, 0], kind: constant}
stages:
  e: exp(z)
  s: sum(e)
  p: e / s
  loss: -sum(t * log(p))
expect:
  gradient: {s: 0.0825}
source: by hand
""",
    "hinge loss": """\
case: hinge loss
inputs:
  w: {at: [0.5, -0.25], domain: [-2, 2]}
  x: {at: [1, 2], domain: [-2, 2]}
stages:
  score: sum(w * x)
  loss: max(0, 1 - score)
points:
  - {w: [0.5, 0.25], x: [1, 2], note: exactly on the kink}
""",
    "two layers": """\
case: two layers
dims: {n: 3, h: 4}
inputs:
  X: {shape: [2, n], at: normal}
  W1: {shape: [n, h], at: normal}
  b1: {shape: [h], at: 0, domain: [-1, 1]}
  W2: {shape: [h, 1], at: uniform, domain: [-1, 1]}
stages:
  H: relu(X @ W1 + b1)
  Y: H @ W2
  loss: mean(Y**2)
""",
    "log of open domain": """\
case: log of open domain
inputs:
  x: {at: 1, domain: '(0, 10]'}
  a: {at: 2, domain: '(0, 3)'}
stages:
  f: log(x) * x**a
expect: {value: {f: 0}, gradient: {x: 1, a: 0}}
source: by hand
""",
    "batch norm": """\
case: batch norm
dims: {b: 5, d: 2}
inputs:
  x: {shape: [b, d], at: normal, domain: [-3, 3]}
  gamma: {shape: [d], at: [1, 2]}
  g: {shape: [b, d], at: normal, kind: constant}
stages:
  mu: mean(x, axis=0)
  xc: x - mu
  var: mean(xc**2, axis=0)
  inv: 1 / sqrt(var + 1e-5)
  y: gamma * xc * inv
upstream: {y: g}
""",
    "slices and transposes": """\
case: slices and transposes
dims: {m: 3, n: 4}
inputs:
  A: {shape: [m, n], at: normal}
stages:
  B: transpose(A) @ A
  top: B[0:2, 1:]
  row: sum(top, axis=1, keepdims=True)
  f: sum(row * top) + B[-1, 0]
output: f
""",
    "masked": """\
case: masked
inputs:
  x: {shape: [3], at: [1, -1, 2]}
  m: {shape: [3], at: [1, 0, 1], kind: mask}
  k: {at: 3, kind: integer, domain: [1, 5]}
stages:
  d: x * m
  f: sum(abs(d)) * k
""",
    "single precision": """\
case: single precision
inputs:
  x: {at: 0.5, domain: [-2, 2], dtype: float32}
stages:
  f: tanh(x) + 0.1 * x**3
accuracy: relative
""",
    "relu at zero by half": """\
case: relu at zero by half
inputs:
  z: {at: 0, domain: [-3, 3]}
stages:
  g: relu(z)
ties: {relu: half}
expect: {gradient: {z: 0.5}}
source: by hand
points:
  - z: 2
    expect: {gradient: {z: 1}}
""",
    "many outputs": """\
case: many outputs
inputs:
  x: {at: [1, 2], domain: [0.5, 3]}
  du: {at: [1, -1], kind: constant}
stages:
  u: sqrt(x)
  v: min(x[0], x[1]) * pi
output: [u, v]
upstream: {u: du}
""",
}


@pytest.mark.parametrize("name", CASES)
def test_it_runs_unchanged(name: str, tmp_path: Path) -> None:
    """Arrays, kinks, stages, upstream gradients, dims, kinds, domains, points, ties and figures: all rows pass."""
    path = tmp_path / "case.yaml"
    path.write_text(CASES[name], encoding="utf-8")
    result = run_case(path, Settings(points=16))
    assert [*result.problems, *result.failures, *result.failing()] == []
    assert result.name == name


@pytest.mark.parametrize(
    ("name", "right", "wrong", "variable"),
    [
        ("softmax cross entropy", "s: 0.0825", "s: 0.0725", "s"),
        ("log of open domain", "x: 1, a: 0", "x: 1, a: 0.5", "a"),
        ("relu at zero by half", "ties: {relu: half}", "ties: {relu: one}", "z"),
    ],
)
def test_it_fails_when_it_is_wrong(name: str, right: str, wrong: str, variable: str, tmp_path: Path) -> None:
    """The twin: another figure, or another convention than the figures have, does not pass."""
    path = tmp_path / "case.yaml"
    path.write_text(CASES[name].replace(right, wrong), encoding="utf-8")
    result = run_case(path, Settings(points=4))
    assert not result.passes
    assert {row.variable for row in result.failing()} == {variable}

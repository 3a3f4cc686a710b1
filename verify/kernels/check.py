"""Is this kernel's backward pass right? Judged by the noise that a right one of its policy has."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from verify.errors import UsageError, WrongGradientError
from verify.kernels.formats import FORMATS, Format
from verify.kernels.noise import noise_of
from verify.kernels.policy import Policy, policies, policy_of
from verify.kernels.sampling import Sample, is_long, sampled
from verify.kernels.subject import LAYOUTS, Answer, Kernel
from verify.kernels.truth import Truth, fused, plain_function, truth_of
from verify.kernels.verdict import Deviation, Look, NoiseModel
from verify.numbers.streams import stream
from verify.words import Verdict

Array = NDArray[Any]

RUNS = 32
"""Runs of a right program that give its noise."""

ALIKE = 1.25
"""Two policies whose noise is within this factor are not told apart by it: the tighter one is named."""

BESIDE = 1e-6
"""Part of a gradient that may lie in rows which have no part in the outputs looked at."""

NO_NOISE = 1e-12
"""Times the noise of a policy that stands for none."""

RANGE = 6
"""The upstream gradient of large range has factors from 2 ** -6 to 2 ** 6, row by row."""


@dataclass(frozen=True, slots=True)
class Tensor:
    """One gradient of one call."""

    name: str
    verdict: Verdict
    kept: Policy | None
    """The tightest policy found that it keeps; None where it keeps none."""
    look: Look
    """What the noise model says: of the policy that is kept, or of the one that is broken."""
    against: Policy
    """Whose noise that is."""

    @property
    def sentence(self) -> str:
        """What was found, in one sentence."""
        what = f"d{self.name}"
        if self.verdict is Verdict.PASS:
            return f"{what} keeps '{self.kept}' (its noise is {self.look.noise:.2g} x that of the policy)"
        if self.verdict is Verdict.IMPRECISE and self.kept is None:
            noise = f"{self.look.noise:.2g} x the noise of '{self.against}', the loosest policy known"
            return f"{what} is right in the mean, and has {noise}"
        if self.verdict is Verdict.IMPRECISE:
            return f"{what} is right in the mean and noisier than its policy: it keeps no more than '{self.kept}'"
        return f"{what}{_said(self.look.deviations[0], self.against)}"


def _said(d: Deviation, policy: Policy) -> str:
    where = f"{d.place}" if d.kind == "entry" else f" of {d.place}" if d.place else ""
    size = f"{d.sigmas:.3g} standard deviations of '{policy}', limit {d.limit:.2g}"
    if d.what == "sure":
        return f"{where} is {d.said}"
    if d.what == "noise":
        return f"{where} has errors of {d.factor:.3g} x the noise of '{policy}' ({size})"
    if math.isnan(d.factor):
        return f"{where} should be 0 ({size})"
    digits = max(3, min(7, 2 - math.floor(math.log10(max(abs(d.factor - 1), 1e-9)))))
    return f"{where} is {d.factor:.{digits}f} x the right one ({size})"


@dataclass(frozen=True, slots=True)
class Point:
    """One call of a kernel, and why it was made."""

    reason: str
    tensors: tuple[Tensor, ...]
    bound: float
    """How far the truth may be from the exact one, in units of the noise; NaN where that is not proved."""


@dataclass(frozen=True, slots=True)
class KernelRun:
    """What was found of a kernel."""

    name: str
    dtype: str
    asked: Policy | None
    points: tuple[Point, ...]
    notes: tuple[str, ...] = ()

    @property
    def verdict(self) -> Verdict:
        """The worst of all: FAIL, IMPRECISE or PASS."""
        found = {tensor.verdict for point in self.points for tensor in point.tensors}
        return next(v for v in (Verdict.FAIL, Verdict.IMPRECISE, Verdict.PASS) if v in found or v is Verdict.PASS)

    @property
    def ok(self) -> bool:
        """Whether the kernel is right and keeps its policy."""
        return self.verdict is Verdict.PASS

    @property
    def kept(self) -> str:
        """The tightest policy that every gradient keeps at every point; empty where there is none."""
        found = [tensor.kept for point in self.points for tensor in point.tensors]
        names = [str(self.asked), *(policy.name for policy in policies(self.dtype))]
        if any(policy is None for policy in found):
            return ""
        return max((str(policy) for policy in found), key=names.index)

    @property
    def power(self) -> dict[str, tuple[float, float]]:
        """Kind of part -> the smallest relative fault that is sure to be rejected in half of them, and in any."""
        looks = [tensor.look.power for tensor in self.points[0].tensors]
        kinds = dict.fromkeys(kind for look in looks for kind in look)
        return {
            kind: (
                max(look[kind][0] for look in looks if kind in look),
                max(look[kind][1] for look in looks if kind in look),
            )
            for kind in kinds
        }

    @property
    def sentence(self) -> str:
        """The first thing to know, in one line."""
        for verdict in (Verdict.FAIL, Verdict.IMPRECISE):
            for point in self.points:
                for tensor in point.tensors:
                    if tensor.verdict is verdict:
                        return f"{verdict} {self.name}: {tensor.sentence}; {point.reason}"
        return f"PASS {self.name}: keeps '{self.kept}' in {self.dtype} at {len(self.points)} points"

    def __str__(self) -> str:
        lines = [self.sentence]
        for point in self.points:
            lines.append(f"  {point.reason}")
            lines += [f"    {tensor.verdict:9} {tensor.sentence}" for tensor in point.tensors]
        sure = ", ".join(f"{kind} {half:.2g} ({every:.2g})" for kind, (half, every) in self.power.items())
        bound = max(point.bound for point in self.points)
        proved = (
            f"the truth is proved to {bound:.1g} of the noise" if not math.isnan(bound) else "the truth is not proved"
        )
        told = f"relative fault that is sure to be rejected in half of a kind (in any): {sure}"
        return "\n".join([*lines, f"  {told}", f"  {proved}", *(f"  {note}" for note in self.notes)])

    def raise_if_wrong(self) -> KernelRun:
        """Returns itself where the kernel passes. Raises WrongGradientError with all that was found where not."""
        __tracebackhide__ = True
        if not self.ok:
            raise WrongGradientError(str(self))
        return self


def check_kernel(
    kernel: Any,
    reference: Callable[..., Any],
    *,
    at: Mapping[str, Any] | Sequence[Mapping[str, Any]] | None = None,
    inputs: Mapping[str, Sequence[int]] | Sequence[Mapping[str, Sequence[int]]] | None = None,
    policy: str | Mapping[str, str] | None = None,
    dtype: str = "bfloat16",
    upstream: Any = None,
    constants: Collection[str] = (),
    runs: int = RUNS,
    seed: int = 0,
    device: str | None = None,
) -> KernelRun:
    """Judges the backward pass of a kernel in low precision by the noise of a right one.

    Parameters
    ----------
    kernel
        An ``autograd.Function``, a module, a compiled function of PyTorch or JAX; or a pair ``(forward, backward)``
        where ``*outputs, cache = forward(...)`` and ``backward(*upstream, cache)`` gives the gradients; or a function
        that takes ``upstream`` and returns them.
    reference
        The same function in plain PyTorch, JAX or NumPy. Its forward alone is read.
    at
        Argument -> value, or a list of such points. Floats are rounded to ``dtype`` first.
    inputs
        Argument -> shape, or a list of such: values are drawn from the seed.
    policy
        What the kernel stores in which format: a name (``"fp32 accumulate"``, ``"flash attention"``, ``"every op"``),
        or stages of the reference, ``{"P": "bfloat16", "dS": "bfloat16"}``. Without one, the tightest that is kept is
        found.
    dtype
        ``bfloat16``, ``float16`` or ``float32``.
    upstream
        The upstream gradient; drawn from the seed if left out, and tried in other forms too.
    constants
        Arguments that are not differentiated.
    runs, seed
        How many runs of a right program give its noise, and the seed of all that is drawn.
    device
        Where a kernel of PyTorch gets its tensors; where those of ``at`` are, if left out.

    Raises UsageError for arguments that do not fit, and for a reference that cannot be converted.

    >>> def softmax(x):
    ...     e = np.exp(x - np.max(x, axis=-1, keepdims=True))
    ...     return e / np.sum(e, axis=-1, keepdims=True)
    >>> def forward(x):
    ...     y = softmax(x.astype(np.float32))
    ...     return y.astype(np.float16), y
    >>> def backward(dy, y):
    ...     return (y * (dy - np.sum(dy * y, axis=-1, keepdims=True))).astype(np.float16)
    >>> check_kernel((forward, backward), softmax, inputs={"x": (8, 32)}, dtype="float16").kept
    'fp32 accumulate'
    """
    judge = Judge(
        reference, at=at, inputs=inputs, policy=policy, dtype=dtype, upstream=upstream, constants=constants, runs=runs,
        seed=seed,
    )  # fmt: skip
    return judge(kernel, device)


class Judge:
    """A reference made ready: the truth and the noise of its policies are had once for any number of kernels.

    >>> judge = Judge(lambda x: x**3, inputs={"x": (4, 8)}, dtype="float32")
    >>> [judge(lambda x, upstream, n=n: n * x**2 * upstream).verdict.value for n in (3, 3.01)]
    ['PASS', 'FAIL']
    """

    def __init__(
        self,
        reference: Callable[..., Any],
        *,
        at: Mapping[str, Any] | Sequence[Mapping[str, Any]] | None = None,
        inputs: Mapping[str, Sequence[int]] | Sequence[Mapping[str, Sequence[int]]] | None = None,
        policy: str | Mapping[str, str] | None = None,
        dtype: str = "bfloat16",
        upstream: Any = None,
        constants: Collection[str] = (),
        runs: int = RUNS,
        seed: int = 0,
    ) -> None:
        """As :func:`check_kernel`."""
        self.own = _format(dtype)
        self.places = [
            _Place(reference, given, self.own, policy, upstream, constants, runs, seed)
            for given in _points(at, inputs, reference, self.own, seed, constants)
        ]

    def __call__(self, kernel: Any, device: str | None = None) -> KernelRun:
        """What is found of one kernel."""
        looks = [_Look(place, kernel, device) for place in self.places]
        found = [point for look in looks for point in look.points()]
        notes = dict.fromkeys(note for look in looks for note in look.notes)
        return KernelRun(looks[0].kernel.name, self.own.name, self.places[0].asked, tuple(found), tuple(notes))


@dataclass(frozen=True, slots=True)
class _Upstream:
    """One upstream gradient: why it is tried, the layouts that it is tried in, the truth and the noise."""

    reason: str
    seeds: Mapping[str, Array]
    layouts: Sequence[str]
    radii: Mapping[str, Array]
    models: _Models


class _Place:
    """A reference at one set of inputs."""

    def __init__(
        self, reference: Callable[..., Any], given: Mapping[str, Any] | Sample, own: Format, policy: Any, upstream: Any,
        constants: Collection[str], runs: int, seed: int,
    ) -> None:  # fmt: skip
        self.own, self.runs, self.seed = own, runs, seed
        self.sample = given if isinstance(given, Sample) else None
        self.point = given.point if isinstance(given, Sample) else given
        point = given.small() if isinstance(given, Sample) else given
        self.truth: Truth = truth_of(reference, point, constants)
        self.graph = fused(self.truth.case.graph)
        self.asked = policy_of(policy, own.name, self.graph)
        ladder = policies(own.name)
        names = [p.name for p in ladder]
        start = names.index(self.asked.name) + 1 if self.asked and self.asked.name in names else 0
        self.ladder = (*([self.asked] if self.asked else []), *ladder[start:])
        self.upstreams = [self._made_ready(*given) for given in self._upstreams(upstream)]

    def _made_ready(self, reason: str, seeds: Mapping[str, Array], layouts: Sequence[str]) -> _Upstream:
        truth, radii = self.truth.gradients(seeds)
        return _Upstream(
            reason, seeds, layouts, radii, _Models(partial(self._noise, seeds), truth, self.own, self.sample)
        )

    def sizes(self) -> str:
        """The shapes of the inputs in words, each once."""
        shapes = {np.shape(self.point[name]): name for name in reversed(self.truth.variables)}
        return ", ".join(
            f"{name} {'x'.join(map(str, shape)) or 'a number'}" for shape, name in reversed(shapes.items())
        )

    def _upstreams(self, given: Any) -> Iterator[tuple[str, dict[str, Array], tuple[str, ...]]]:
        rng = stream(self.seed, "upstream of a kernel")
        shapes = {name: self.truth.shape(name) for name in self.truth.outputs}
        if given is not None:
            parts = list(given.values()) if isinstance(given, Mapping) else [given]
            held = {n: self.own.nearest(_plain(g))[None] for n, g in zip(self.truth.outputs, parts, strict=True)}
            yield "upstream gradient as given", held, ("", "transposed", "sliced")
            return
        drawn = {name: self.own.nearest(rng.standard_normal((1, *shape))) for name, shape in shapes.items()}
        if self.sample is not None:
            heads = f" of heads {', '.join(map(str, self.sample.heads))}" if len(self.sample.heads) > 1 else ""
            yield f"random upstream gradient at {len(self.sample.rows)} rows{heads}", drawn, ("",)
            return
        yield "random upstream gradient", drawn, ("", "transposed", "sliced")
        if all(math.prod(shape) == 1 for shape in shapes.values()):
            return
        if all(len(shape) > 1 for shape in shapes.values()):
            rows = {name: np.repeat(g[..., :1, :], g.shape[-2], axis=-2) for name, g in drawn.items()}
            yield "upstream gradient of equal rows", rows, ("broadcast",)
        hot = {name: np.zeros_like(g) for name, g in drawn.items()}
        for g in hot.values():
            g.reshape(-1)[-1] = 1.0
        yield "upstream gradient one-hot in its last entry", hot, ("",)
        scaled = {
            name: g * 2.0 ** rng.integers(-RANGE, RANGE + 1, (*g.shape[:-1], 1))
            for name, g in drawn.items()
            if g.ndim > 2
        }
        if len(scaled) == len(drawn):
            yield f"upstream gradient with rows from 2**-{RANGE} to 2**{RANGE} times as large", scaled, ("",)

    def _noise(self, seeds: Mapping[str, Array], policy: Policy) -> dict[str, Array]:
        truth = self.truth
        return noise_of(self.graph, truth.variables, policy, truth.inputs, seeds, self.own, self.runs, self.seed)


class _Look:
    """A kernel at one set of inputs."""

    def __init__(self, place: _Place, kernel: Any, device: str | None) -> None:
        self.place, self.asked, self.ladder = place, place.asked, place.ladder
        self.kernel = Kernel(kernel, place.own.name, place.truth.variables, device)
        self.settled: dict[str, Policy] = {}
        """The policy that each gradient was found to keep, where none is asked for: it has to be kept elsewhere too."""
        self.is_plain = True
        """Whether the upstream gradient is random: with few entries even noise may be a factor of one part."""
        self.notes: list[str] = []

    def points(self) -> Iterator[Point]:
        """What was found with upstream gradients and layouts of all kinds."""
        for number, given in enumerate(self.place.upstreams):
            plain = [given.seeds[name][0] for name in self.place.truth.outputs]
            plain = [self._spread(g) for g in plain]
            for layout in given.layouts:
                answer = self.kernel(self.place.point, plain, layout)
                why = f"{self.place.sizes()}, {given.reason}{f', {LAYOUTS[layout]}' if layout else ''}"
                self.is_plain = number == 0
                yield self._judged(why, answer, given.models, given.radii)
                if not layout and number == 0:
                    self._repeated(answer, self.kernel(self.place.point, plain, layout), given.models)

    def _spread(self, upstream: Array) -> Array:
        sample = self.place.sample
        if sample is None:
            return upstream
        shape = max((s for s in sample.shapes.values() if len(s) == upstream.ndim), key=math.prod)
        return sample.spread(upstream, (*shape[:-1], upstream.shape[-1]))

    def _cut(self, name: str, gradient: Array) -> Array:
        """The part that is looked at."""
        return gradient if self.place.sample is None else self.place.sample.cut(name, gradient)

    def _beside(self, name: str, gradient: Array) -> Tensor | None:
        """A verdict on what a kernel gives for rows and heads that have no part in the outputs, if it is not 0."""
        part = self._cut(name, gradient)
        rest = float(np.sum(np.abs(gradient))) - float(np.sum(np.abs(part)))
        if part.shape == gradient.shape or rest <= BESIDE * float(np.sum(np.abs(part))):
            return None
        where = " in rows or heads without a part in the outputs looked at"
        found = Deviation("entry", where, "sure", math.inf, 1.0, said="not 0")
        return Tensor(name, Verdict.FAIL, None, Look((found,), math.inf, math.inf), self.ladder[0])

    def _judged(self, reason: str, answer: Answer, models: _Models, radii: Mapping[str, Array]) -> Point:
        tensors = []
        bounds = []
        for name in self.place.truth.variables:
            answered = answer.gradients[name]
            tensors.append(self._beside(name, answered) or self._tensor(name, self._cut(name, answered), models))
            noise = np.sqrt(models.of(name, tensors[-1].against).variance)
            bounds.append(float(np.max(radii[name] / noise, initial=0.0)))
        return Point(reason, tuple(tensors), max(bounds))

    def _tensor(self, name: str, answer: Array, models: _Models) -> Tensor:
        """The tightest policy that is kept, if its noise is nearer to the kernel's than that of those that are broken.

        A kernel that has the noise of a tight policy and a wrong mean is wrong: a looser one is no excuse.
        """
        kept: list[tuple[float, Look, Policy]] = []
        broken: list[tuple[float, Look, Policy]] = []
        promised = self.asked or self.settled.get(name)
        for policy in self.ladder[self.ladder.index(promised) if promised else 0 :]:
            model = models.of(name, policy)
            if model.broken:
                continue
            look = model.look(answer)
            if policy is self.asked and self.is_plain and look.is_factor:
                return Tensor(name, Verdict.FAIL, None, look, policy)
            apart = abs(math.log(max(look.noise, NO_NOISE)))
            (broken if look.deviations else kept).append((apart, look, policy))
            if not look.deviations and (policy is promised or apart < math.log(ALIKE)):
                break
        if not kept and not broken:
            raise UsageError(
                f"d{name} leaves the range of {self.place.own.name} under every policy: choose a smaller point"
            )
        nearest = min((apart for apart, _, _ in kept), default=math.inf)
        for apart, look, policy in kept:
            if apart <= math.log(ALIKE) + min([nearest, *(other for other, _, _ in broken)]):
                is_kept = self.asked is None or policy is self.asked
                self.settled[name] = policy
                return Tensor(name, Verdict.PASS if is_kept else Verdict.IMPRECISE, policy, look, policy)
        _, look, policy = broken[-1]
        if look.is_even_noise:
            return Tensor(name, Verdict.IMPRECISE, None, look, policy)
        _, look, policy = broken[0] if self.asked else min(broken, key=lambda t: t[0])
        return Tensor(name, Verdict.FAIL, None, look, policy)

    def _repeated(self, first: Answer, second: Answer, models: _Models) -> None:
        """Says how much two equal calls differ."""
        for name in self.place.truth.variables:
            apart = self._cut(name, second.gradients[name] - first.gradients[name])
            if not np.any(apart):
                continue
            model = models.of(name, self.ladder[0])
            size = float(np.sqrt(np.mean(np.square(apart)))) / float(np.sqrt(np.mean(model.variance)))
            self.notes.append(
                f"d{name} is not deterministic: two equal calls differ by {size:.2g} x the noise of '{self.ladder[0]}'"
            )


class _Models:
    """The noise models of one upstream gradient, made when they are asked for."""

    def __init__(
        self,
        noise: Callable[[Policy], dict[str, Array]],
        truth: Mapping[str, Array],
        own: Format,
        sample: Sample | None,
    ) -> None:
        self._noise, self.truth, self._own, self._sample = noise, truth, own, sample
        self._made: dict[tuple[str, str], NoiseModel] = {}

    def of(self, name: str, policy: Policy) -> NoiseModel:
        """The model of one gradient under one policy."""
        if (name, policy.name) not in self._made:
            runs = self._noise(policy)
            for other, found in runs.items():
                rows, heads = self._sample.names(other) if self._sample else (None, None)
                self._made[other, policy.name] = NoiseModel(self.truth[other], found, self._own, rows, heads)
        return self._made[name, policy.name]


def _format(dtype: Any) -> Format:
    name = str(getattr(dtype, "__name__", dtype)).removeprefix("torch.")
    if name not in FORMATS:
        raise UsageError(f"dtype must be one of {', '.join(FORMATS)}, got {dtype!r:.60}")
    return FORMATS[name]


def _points(
    at: Any, inputs: Any, reference: Callable[..., Any], own: Format, seed: int, constants: Collection[str]
) -> Iterator[dict[str, Any] | Sample]:
    """The points that are asked for, their floats in the kernel's format."""
    if (at is None) == (inputs is None):
        raise UsageError("give the point, at={'x': array}, or the shapes to draw it in, inputs={'x': (8, 32)}")
    given = at if at is not None else inputs
    for number, one in enumerate([given] if isinstance(given, Mapping) else given):
        if not isinstance(one, Mapping) or not one:
            raise UsageError(f"a point maps arguments to values, such as at={{'x': array}}, got {one!r:.60}")
        if inputs is not None and is_long(one):
            yield sampled(plain_function(reference, {}), one, own.nearest, seed)
            continue
        rng = stream(seed, "inputs of a kernel", number)
        drawn = {name: rng.standard_normal(tuple(shape)) for name, shape in one.items()} if inputs is not None else one
        yield {name: x if name in constants else _rounded(x, own) for name, x in drawn.items()}


def _rounded(x: Any, own: Format) -> Any:
    """A value as the kernel's format holds it; what is no array of floats stays as it is."""
    if hasattr(x, "detach") and hasattr(x, "is_floating_point"):
        import torch

        return x.detach().to(getattr(torch, own.name)) if x.is_floating_point() else x
    array = np.asarray(x) if isinstance(x, np.ndarray | np.generic | float | list) or hasattr(x, "__array__") else None
    if array is None or isinstance(x, bool | int) or array.dtype.kind not in "fV":
        return x
    return own.nearest(array.astype(np.float64))


def _plain(g: Any) -> Array:
    return np.asarray(g.detach().double().cpu().numpy() if hasattr(g, "detach") else g, dtype=np.float64)

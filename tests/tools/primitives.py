"""The table of what PyTorch's and JAX's programs are made of: mapped, missing, and why.

``python tests/tools/primitives.py`` writes verify/frameworks/PRIMITIVES.md anew. An op is mapped that has a rule or is
a row of the table; one that is found out by running it is mapped where a sample of it is traced, here and now.
"""

# ruff: noqa: T201 - a tool prints
from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from verify.programs import aten_rules, jax_functions, jaxpr_rules, torch_functions
from verify.programs.jaxpr import LOOPS
from verify.tracing.composed import COMPOSED_UFUNCS
from verify.tracing.op_names import array_row, ufunc_row
from verify.tracing.trace import traced_or_reason

DOCUMENT = Path(__file__).resolve().parents[2] / "verify" / "frameworks" / "PRIMITIVES.md"

FLAT = "no derivative: whole numbers, truth values, sizes"
DRAWN = "draws random numbers"
BACKWARD = "the backward pass of another op"
MACHINES = "between devices"
MISSING = "missing"

ATEN_APART: Mapping[str, str] = {
    **dict.fromkeys(
        ("_local_scalar_dense", "any", "arange", "argmax", "argmin", "bitwise_xor", "empty", "empty_strided", "isinf",
         "isnan", "logical_xor", "nonzero", "round", "scalar_tensor", "sym_numel", "sym_size", "sym_storage_offset",
         "sym_stride"), FLAT),
    **dict.fromkeys(("native_dropout", "rand", "randn", "randperm"), DRAWN),
}  # fmt: skip
"""Ops of the core set that nobody differentiates -> why; and those whose names say that they are a backward pass."""

LAX_APART: Mapping[str, str] = {
    **dict.fromkeys(
        ("argmax", "argmin", "bitcast_convert_type", "clz", "eq_to", "iota", "is_finite", "le_to", "lt_to", "mulhi",
         "nextafter", "population_count", "reduce_and", "reduce_or", "reduce_xor", "round", "shift_left",
         "shift_right_arithmetic", "shift_right_logical", "xor"), FLAT),
    **dict.fromkeys(("rng_bit_generator", "rng_uniform"), DRAWN),
    **dict.fromkeys(
        ("after_all", "all_gather", "all_to_all", "axis_index", "create_token", "dce_sink", "device_put", "pmax",
         "pmin", "ppermute", "psum", "ragged_all_to_all", "sharding_constraint", "stage"), MACHINES),
    **dict.fromkeys(("igamma_grad_a", "select_and_gather_add", "select_and_scatter", "select_and_scatter_add"),
                    BACKWARD),
}  # fmt: skip
"""The same of JAX."""

X = np.arange(1.0, 13.0).reshape(3, 4) / 7
IMAGE = np.sin(np.arange(16.0)).reshape(1, 1, 4, 4)


def aten_samples() -> Mapping[str, tuple[Callable[..., Any], Any]]:
    """Ops without a rule, each in a function of one array, with its value."""
    import torch

    f, aten = torch.nn.functional, torch.ops.aten
    index, flags = torch.tensor([[0, 2, 1, 0]]), torch.tensor([True, False, True, True])
    return {
        "_adaptive_avg_pool2d": (lambda x: f.adaptive_avg_pool2d(x, 2), IMAGE),
        "_adaptive_avg_pool3d": (lambda x: f.adaptive_avg_pool3d(x[None], 2), IMAGE),
        "_embedding_bag": (lambda x: f.embedding_bag(index, x), X),
        "_fft_c2r": (lambda x: torch.fft.irfft(torch.fft.rfft(x), n=4), X),
        "_fft_r2c": (lambda x: torch.view_as_real(torch.fft.rfft(x)), X),
        "_pdist_forward": (f.pdist, X),
        "as_strided": (lambda x: torch.as_strided(x, (2, 2), (1, 2)), X),
        "cat": (lambda x: torch.cat([x, x]), X),
        "col2im": (lambda x: f.fold(x[None], (2, 3), (1, 3)), X[:, :2]),
        "diagonal": (torch.diagonal, X),
        "embedding": (lambda x: f.embedding(index, x), X),
        "grid_sampler_2d": (
            lambda x: f.grid_sample(x, torch.full((1, 2, 2, 2), 0.3, dtype=x.dtype), align_corners=False), IMAGE),
        "index_put": (lambda x: aten.index_put(x, [torch.tensor([0, 1])], x[:2] * 2), X),
        "index_select": (lambda x: torch.index_select(x, 0, torch.tensor([2, 0])), X),
        "masked_scatter": (lambda x: torch.masked_scatter(x, flags, x * 3), X),
        "reflection_pad1d": (lambda x: f.pad(x, (1, 1), mode="reflect"), X),
        "reflection_pad2d": (lambda x: f.pad(x, (1, 1, 1, 1), mode="reflect"), IMAGE),
        "reflection_pad3d": (lambda x: f.pad(x[None], (1, 1, 1, 1, 0, 0), mode="reflect"), IMAGE),
        "remainder": (lambda x: torch.remainder(x, 0.3), X),
        "repeat": (lambda x: x.repeat(2, 1), X),
        "replication_pad2d": (lambda x: f.pad(x, (1, 1, 1, 1), mode="replicate"), IMAGE),
        "replication_pad3d": (lambda x: f.pad(x[None], (1, 1, 1, 1, 0, 0), mode="replicate"), IMAGE),
        "scatter": (lambda x: x.scatter(0, index, x[:1] * 2), X),
        "scatter_add": (lambda x: x.scatter_add(0, index, x[:1] * 2), X),
        "scatter_reduce": (lambda x: x.scatter_reduce(0, index, x[:1] * 2, "amax"), X),
        "select_scatter": (lambda x: x.select_scatter(x[0] * 2, 0, 1), X),
        "slice_scatter": (lambda x: x.slice_scatter(x[:1] * 2, 0, 1, 2), X),
        "split_with_sizes": (lambda x: torch.split(x, [1, 3], 1)[1], X),
        "topk": (lambda x: torch.topk(x, 2)[0], X),
        "upsample_bilinear2d": (lambda x: f.interpolate(x, size=(3, 5), mode="bilinear"), IMAGE),
        "upsample_nearest2d": (lambda x: f.interpolate(x, size=(3, 5)), IMAGE),
    }  # fmt: skip


def lax_samples() -> Mapping[str, tuple[Callable[..., Any], Any]]:
    """The same of JAX."""
    import jax
    from jax import lax
    from jax import numpy as jnp

    places = jnp.array([0, 2])

    def each(name: str) -> tuple[Callable[..., Any], Any]:
        return lambda x: getattr(x.at[places], name)(x[:2] * 2), X

    return {
        "approx_top_k": (lambda x: lax.approx_max_k(x, 2)[0], X),
        "complex": (lambda x: lax.complex(x, x).real, X),
        "conj": (lambda x: jnp.conj(lax.complex(x, x)).imag, X),
        "custom_linear_solve": (lambda x: jnp.linalg.solve(x[:3, :3] + 3 * jnp.eye(3), x[:3, 3]), X),
        "dynamic_slice": (lambda x: lax.dynamic_slice(x, (1, 0), (1, 2)), X),
        "dynamic_update_slice": (lambda x: lax.dynamic_update_slice(x, x[:1] * 2, (1, 0)), X),
        "fft": (lambda x: jnp.fft.rfft(x).real, X),
        "igamma": (lambda x: jax.scipy.special.gammainc(2.3, x), X),
        "igammac": (lambda x: jax.scipy.special.gammaincc(2.3, x), X),
        "imag": (lambda x: lax.complex(x, x * 2).imag, X),
        "reduce": (lambda x: lax.reduce(x, 1.0, lambda a, b: a * b + a, (0,)), X),
        "reduce_window": (lambda x: lax.reduce_window(x, 0.0, lambda a, b: a + 2 * b, (2, 2), (1, 1), "VALID"), X),
        "regularized_incomplete_beta": (lambda x: jax.scipy.special.betainc(2.3, 1.3, x / 2), X),
        "rev": (lambda x: lax.rev(x, (0,)), X),
        "scatter": each("set"), "scatter-add": each("add"), "scatter-mul": each("multiply"),
        "scatter-max": each("max"), "scatter-min": each("min"), "scatter-sub": each("subtract"),
        "split": (lambda x: jnp.split(x, 2, axis=1)[1], X),
        "tile": (lambda x: jnp.tile(x, (2, 1)), X),
        "unstack": (lambda x: jnp.unstack(x)[1], X),
        "zeta": (lambda x: jax.scipy.special.zeta(2.3, x), X),
    }  # fmt: skip


def aten_ops() -> list[str]:
    """Those of the core set, without their overloads."""
    import torch

    found = []
    for name in dir(torch.ops.aten):
        packet = getattr(torch.ops.aten, name)
        overloads = packet.overloads() if hasattr(packet, "overloads") else ()
        if any(torch.Tag.core in getattr(packet, overload).tags for overload in overloads):
            found.append(name)
    return found


def lax_primitives() -> list[str]:
    """All that jax.lax has."""
    from jax import lax

    return sorted({p.name for key, p in vars(lax).items() if key.endswith("_p") and hasattr(p, "name")})


def judged(name: str, ruled: Any, apart: Mapping[str, str], samples: Any, room: Any) -> tuple[str, str]:
    """Whether an op is mapped, and by what, or why it is not."""
    if name in ruled or name in COMPOSED_UFUNCS:
        return "mapped", "a rule"
    if ufunc_row(name) is not None or array_row(name) is not None:
        return "mapped", "a row"
    if name in apart or name.endswith("backward"):
        return "apart", apart.get(name, BACKWARD)
    if name not in samples:
        return MISSING, "nobody wrote a sample"
    function, x = samples[name]
    traced = traced_or_reason(room.as_numpy(function), {"x": x})
    return (MISSING, traced.partition("for ")[2].partition(". ")[0] or traced) if isinstance(traced, str) else (
        "mapped", "found by running it")  # fmt: skip


def section(title: str, found: Mapping[str, tuple[str, str]]) -> Iterator[str]:
    """Counts, then what is missing with its reason, then the rest by name."""
    mapped = [name for name, (state, _) in found.items() if state == "mapped"]
    missing = {name: why for name, (state, why) in found.items() if state == MISSING}
    whole = len(mapped) + len(missing)
    yield f"## {title}\n"
    yield (f"{len(found)} in all, {whole} of which have a derivative: {len(mapped)} mapped "
           f"({100 * len(mapped) / whole:.0f} %), {len(missing)} missing.\n")  # fmt: skip
    if missing:
        yield "| missing | why |\n| --- | --- |"
        yield from (f"| `{name}` | {why.replace('|', '/')[:110]} |" for name, why in missing.items())
        yield ""
    for how in ("a row", "a rule", "found by running it"):
        names = [f"`{name}`" for name, (state, by) in found.items() if (state, by) == ("mapped", how)]
        yield textwrap.fill(f"Mapped, {how}: {', '.join(names)}.", 118, break_on_hyphens=False)
        yield ""
    for why in (FLAT, DRAWN, BACKWARD, MACHINES):
        names = [f"`{name}`" for name, (state, by) in found.items() if (state, by) == ("apart", why)]
        if names:
            yield textwrap.fill(f"Not counted, {why}: {', '.join(names)}.", 118, break_on_hyphens=False)
            yield ""


def document() -> str:
    """The whole page."""
    ruled = {*aten_rules.RULES, *aten_rules.STEP_RULES, *aten_rules.HANDED_ON}
    samples = aten_samples()
    aten = {name: judged(name, ruled, ATEN_APART, samples, torch_functions) for name in aten_ops()}
    named = {*jaxpr_rules.RULES, *jaxpr_rules.NAMED, *LOOPS}
    others = lax_samples()
    lax = {name: judged(name, named, LAX_APART, others, jax_functions) for name in lax_primitives()}
    head = textwrap.dedent("""\
        # What programs are made of

        PyTorch breaks a function down to its core set of ATen ops, JAX to the primitives of `jax.lax`. What each is
        here, by `python tests/tools/primitives.py`; a function with one that is missing is measured as a black box.
        """)
    return (
        "\n".join([head, *section("PyTorch: the core ATen set", aten), *section("JAX: `jax.lax`", lax)]).rstrip() + "\n"
    )


if __name__ == "__main__":
    DOCUMENT.write_text(document(), encoding="utf-8")
    print("\n".join(line for line in DOCUMENT.read_text(encoding="utf-8").splitlines() if "in all" in line))

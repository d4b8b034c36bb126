"""Plan → the arrays that our own kernels read, by the names of :mod:`xopt.engines.cuda_weights`.

It reads the packed encoder's state and needs no graph, so it runs where ONNX is not installed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xopt.calibrate.quantized import Affine, quantize_rows, round_to_nearest
from xopt.calibrate.sites import Site
from xopt.compile.centering import center_attention
from xopt.compile.packed_encoder import PackedEncoder
from xopt.compile.quantize import Halves, check_finite
from xopt.compile.recipes import Lowering
from xopt.compile.rotary import rotations
from xopt.encoders.plan import Attend, Embed, Linear, Normalize
from xopt.engines.cuda_weights import Facts

__all__ = ["kernel_arrays"]

Array = NDArray[Any]


def kernel_arrays(
    model: PackedEncoder, lowering: Lowering, sites: Mapping[str, Site]
) -> tuple[dict[str, Array], Facts]:
    """What :func:`~xopt.engines.cuda_weights.write_weights` takes.

    Args:
        model: an encoder that :func:`~xopt.compile.recipes.check_encoder` lets pass.
        lowering: of the form ``kernels``.
        sites: by name; not read where nothing is quantized.

    Raises:
        UnsupportedError: a weight leaves the range of fp16, or all of it lies below its normal
            numbers; or what is stored would be NaN or infinite.
    """
    state = {name: tensor.numpy() for name, tensor in model.state_dict().items()}
    attends = [op for op in model.plan if isinstance(op, Attend)]
    if lowering.attention:
        center_attention(attends, sites, state)
    halves = Halves("the CUDA kernels")
    arrays = dict(_arrays(model, state, lowering, sites, halves))
    for name, array in arrays.items():
        check_finite(name, array)
    halves.tell()
    return arrays, _facts(model, attends)


def _facts(model: PackedEncoder, attends: Sequence[Attend]) -> Facts:
    """What is no array."""
    spec, form, tables = model.config, model.spec.form, rotations(attends)
    depth = len(attends)
    block = spec.blocks[0]
    turns = tuple(None if op.rotary is None else tables.index(op.rotary) for op in attends)
    windows = tuple(op.window for op in attends)
    return Facts(
        depth, spec.heads, spec.hidden, model.spec.manifest(), spec.epsilon,
        kv_heads=None if spec.kv_heads == spec.heads else spec.kv_heads,
        head_dim=None if spec.head_dim * spec.heads == spec.hidden else spec.head_dim,
        scale=None if spec.score_scale == spec.head_dim**-0.5 else spec.score_scale,
        pre=block.order == "pre",
        rms=block.ffn_norm.kind == "rms",
        gate=block.activation if block.gated else None,
        turns=turns if tables else (),
        turns_values=any(op.turns_values for op in attends),
        windows=windows if any(window is not None for window in windows) else (),
        form=form.manifest() if form is not None and form.needs else None,
    )  # fmt: skip


def _arrays(
    model: PackedEncoder,
    state: Mapping[str, Array],
    lowering: Lowering,
    sites: Mapping[str, Site],
    halves: Halves,
) -> Iterator[tuple[str, Array]]:
    read: dict[str, list[str]] = {}
    for op in model.plan:
        if isinstance(op, Linear) and op.site is not None:
            read.setdefault(op.site, []).append(op.name)
    for op in model.plan:
        if isinstance(op, Embed):
            yield from _tables(op, state, lowering, halves)
        elif isinstance(op, Normalize):
            names = [f"{op.name}.{kind}" for kind in ("weight", "bias")]
            yield from ((name, state[name]) for name in names if name in state)
        elif isinstance(op, Linear) and op.site is not None and op.site in read:
            # All that reads one value is one product.
            names = read.pop(op.site)
            site = sites[op.site] if lowering.weights == "int8" else None
            yield from _linear(names, state, site, lowering, halves)
        elif isinstance(op, Attend) and lowering.attention:
            parts = [sites[f"{op.layer}.{part}"].amax for part in "qkv"]
            steps = np.array([np.float32(reach / 127) for reach in parts], np.float32)
            yield f"{op.layer}.qkv_out.scale", np.repeat(steps, op.heads * op.head_dim)
    yield from ((name, array) for name, array in state.items() if name.startswith("head."))
    # Both halves of a table are the same angles.
    for name, array in state.items():
        if name.startswith("rotary."):
            yield name, array[:, : array.shape[1] // 2]


def _tables(
    op: Embed, state: Mapping[str, Array], lowering: Lowering, halves: Halves
) -> Iterator[tuple[str, Array]]:
    words = state["embeddings.word.weight"]
    if lowering.embeddings == "int8":
        rows, scales = quantize_rows(words)
        yield from (("embeddings.word", rows), ("embeddings.word.scale", scales))
    else:
        halves.check_rows("embeddings.word", words)
        yield "embeddings.word", words.astype(np.float16)
    if "embeddings.position.weight" in state:
        yield "embeddings.position", state["embeddings.position.weight"]
    none = np.zeros((1, op.width), np.float32)
    yield "embeddings.type", state.get("embeddings.token_type.weight", none)


def _linear(
    names: Sequence[str],
    state: Mapping[str, Array],
    site: Site | None,
    lowering: Lowering,
    halves: Halves,
) -> Iterator[tuple[str, Array]]:
    name = names[0] if len(names) < 3 else f"{names[0].rpartition('.')[0]}.qkv"
    weight, bias = (
        np.concatenate([state[f"{part}.{kind}"] for part in names]) for kind in ("weight", "bias")
    )
    yield name + ".bias", bias
    if site is None:
        halves.check(name + ".bias", bias)
        halves.check_rows(name, weight)
        yield name + ".weight", weight.astype(np.float16)
        return
    scale = np.array(site.reach(lowering.attention) / 127, np.float32)
    ones = np.ones(weight.shape[1], np.float32)
    divisor = ones if site.divisor is None else site.divisor
    found = round_to_nearest(weight, Affine(float(scale), 0, divisor, 0 * ones))
    yield from ((name + ".weight", found.values), (name + ".weight.scale", found.scales))
    yield site.name + ".scale", scale
    if site.divisor is not None:
        yield site.name + ".steps", scale / (np.float32(1) / site.divisor)

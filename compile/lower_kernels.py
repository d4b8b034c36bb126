"""Plan → the arrays that our own kernels read, by the names of :mod:`xopt.engines.cuda_weights`.

It reads the packed encoder's state and needs no graph, so it runs where ONNX is not installed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xopt.calibrate.quantized import Affine, quantize_rows, round_to_nearest
from xopt.calibrate.sites import Site
from xopt.compile.centering import centered_biases
from xopt.compile.packed_encoder import PackedEncoder
from xopt.compile.quantize import HALF
from xopt.compile.recipes import Lowering
from xopt.encoders.plan import Attend, Embed, Linear, Normalize
from xopt.errors import UnsupportedError

__all__ = ["kernel_arrays"]

Array = NDArray[Any]


def kernel_arrays(
    model: PackedEncoder, lowering: Lowering, sites: Mapping[str, Site]
) -> tuple[dict[str, Array], dict[str, Any]]:
    """What :func:`~xopt.engines.cuda_weights.write_weights` takes.

    Args:
        model: an encoder of BERT's block.
        lowering: of the form ``kernels``.
        sites: by name; not read where nothing is quantized.

    Raises:
        UnsupportedError: a weight leaves the range of fp16.
    """
    state = {name: tensor.numpy() for name, tensor in model.state_dict().items()}
    attends = [op for op in model.plan if isinstance(op, Attend)]
    if lowering.attention:
        for op in attends:
            qkv, output = f"{op.layer}.qkv.bias", f"{op.layer}.attention_output.bias"
            weight = state[f"{op.layer}.attention_output.weight"]
            moved = centered_biases(op.layer, sites, state[qkv], state[output], weight)
            state[qkv], state[output] = moved
    spec = model.config
    facts = {
        "layers": len(attends),
        "heads": spec.heads,
        "hidden": spec.hidden,
        "head": model.spec.manifest(),
        "epsilon": spec.epsilon,
    }
    return dict(_arrays(model, state, lowering, sites)), facts


def _arrays(
    model: PackedEncoder,
    state: Mapping[str, Array],
    lowering: Lowering,
    sites: Mapping[str, Site],
) -> Iterator[tuple[str, Array]]:
    for op in model.plan:
        if isinstance(op, Embed):
            yield from _tables(op, state, lowering)
        elif isinstance(op, Normalize):
            yield from ((name, state[name]) for name in (f"{op.name}.weight", f"{op.name}.bias"))
        elif isinstance(op, Linear):
            site = sites[op.site] if op.site is not None and lowering.weights == "int8" else None
            yield from _linear(op.name, state, site, lowering)
        elif isinstance(op, Attend) and lowering.attention:
            parts = [sites[f"{op.layer}.{part}"].amax for part in "qkv"]
            steps = np.array([np.float32(reach / 127) for reach in parts], np.float32)
            yield f"{op.layer}.qkv_out.scale", np.repeat(steps, op.heads * op.head_dim)
    yield from ((name, array) for name, array in state.items() if name.startswith("head."))


def _tables(
    op: Embed, state: Mapping[str, Array], lowering: Lowering
) -> Iterator[tuple[str, Array]]:
    words = state["embeddings.word.weight"]
    if lowering.embeddings == "int8":
        rows, scales = quantize_rows(words)
        yield from (("embeddings.word", rows), ("embeddings.word.scale", scales))
    else:
        yield "embeddings.word", _half("embeddings.word", words)
    yield "embeddings.position", state["embeddings.position.weight"]
    none = np.zeros((1, op.width), np.float32)
    yield "embeddings.type", state.get("embeddings.token_type.weight", none)


def _linear(
    name: str, state: Mapping[str, Array], site: Site | None, lowering: Lowering
) -> Iterator[tuple[str, Array]]:
    weight = state[name + ".weight"]
    yield name + ".bias", state[name + ".bias"]
    if site is None:
        yield name + ".weight", _half(name, weight)
        return
    scale = np.array(site.reach(lowering.attention) / 127, np.float32)
    ones = np.ones(weight.shape[1], np.float32)
    divisor = ones if site.divisor is None else site.divisor
    found = round_to_nearest(weight, Affine(float(scale), 0, divisor, 0 * ones))
    yield from ((name + ".weight", found.values), (name + ".weight.scale", found.scales))
    yield site.name + ".scale", scale
    if site.divisor is not None:
        yield site.name + ".steps", scale / (np.float32(1) / site.divisor)


def _half(name: str, values: Array) -> Array:
    """In fp16."""
    if np.abs(values).max(initial=0) > HALF.max:
        raise UnsupportedError(
            f"{name} holds {np.abs(values).max():.3g}, beyond the range of fp16, in which the CUDA "
            "kernels read it.",
            hint="Build it for the CPU: xopt build --target cpu",
        )
    return values.astype(np.float16)

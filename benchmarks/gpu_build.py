"""A bundle for the CUDA engine straight from PyTorch's weights, where ONNX is not installed.

The numbers are those that ``xopt build --target cuda`` writes for the same ranges, which
``tests/engines/test_cuda.py`` asserts. The ranges here come from random tokens: good enough for
speed and for a check of the arithmetic, and never to be deployed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from xopt.artifacts import Bundle, publish, write_manifest
from xopt.calibrate.smooth import smoothing
from xopt.compile.centering import centered_biases, moved_ranges
from xopt.compile.checkpoint import Checkpoint
from xopt.compile.packed_encoder import PackedEncoder
from xopt.compile.quantize import quantize_rows
from xopt.compile.recipes import Lowering, lowering_for
from xopt.engines.cuda_weights import READER, write_weights
from xopt.packing import Encoding, pack

Array = NDArray[Any]
ALPHA = 0.8
CALIBRATION_LENGTHS = (512, 300, 128, 64, 20)


@dataclass(frozen=True)
class StateRanges:
    """Site -> amax, site -> ``[in]`` smoothing divisors, and the means of keys and values."""

    amax: Mapping[str, float]
    smooth: Mapping[str, NDArray[np.float32]]
    centers: Mapping[str, NDArray[np.float32]]


def random_ids(lengths: list[int], vocabulary: int, seed: int = 1) -> list[NDArray[np.int32]]:
    """Token ids without the special ones, one array per sentence."""
    generator = np.random.default_rng(seed)
    return [generator.integers(5, vocabulary, n).astype(np.int32) for n in lengths]


def measure_ranges(encoder: PackedEncoder) -> StateRanges:
    """The largest values over one batch of random tokens, smoothed as ``int8`` is by default."""
    largest: dict[str, NDArray[np.float32]] = {}
    centers: dict[str, NDArray[np.float32]] = {}

    def watch(site: str, values: torch.Tensor) -> None:
        layer, _, name = site.rpartition(".")
        if name == "probs":
            return
        if name in ("k", "v"):
            centers[site] = values.mean(dim=0).numpy()
            values = values - values.mean(dim=0)
        largest[site] = values.abs().amax(dim=0).numpy()
        if name == "context":
            moved = values - torch.from_numpy(centers[f"{layer}.v"])
            largest[site + "_centered"] = moved.abs().amax(dim=0).numpy()

    config = encoder.config
    lengths = [min(n, config.max_tokens) for n in CALIBRATION_LENGTHS]
    ids = random_ids(lengths, config.vocabulary)
    batch = pack(
        [Encoding(i, np.zeros(len(i), np.int32)) for i in ids],
        first_position=config.first_position,
    )
    encoder.run(batch, watch=watch)
    state = encoder.state_dict()
    smooth = {}
    for site, values in largest.items():
        layer, _, name = site.rpartition(".")
        if name in READER:
            columns = state[f"{layer}.{READER[name]}.weight"].abs().amax(dim=0).numpy()
            smooth[site] = smoothing(values, columns, ALPHA)
    amax = {
        site: float((values / smooth.get(site.removesuffix("_centered"), 1)).max())
        for site, values in largest.items()
    }
    return StateRanges(amax, smooth, centers)


def lower_state(
    encoder: PackedEncoder, lowering: Lowering, ranges: StateRanges | None
) -> tuple[dict[str, Array], dict[str, Any]]:
    """What ``xopt.engines.cuda_weights.read_lowered`` reads, without the graph."""
    state = {name: tensor.numpy() for name, tensor in encoder.state_dict().items()}
    tensors: dict[str, Array] = {
        "embeddings.position": state["embeddings.position.weight"],
        "embeddings.type": state["embeddings.token_type.weight"],
    }
    words = state["embeddings.word.weight"]
    if lowering.embeddings == "int8":
        tensors["embeddings.word"], tensors["embeddings.word.scale"] = quantize_rows(words)
    else:
        tensors["embeddings.word"] = words.astype(np.float16)
    kept = [name for name in state if "norm." in name or name.startswith("head.")]
    tensors |= {name: state[name] for name in kept}
    if ranges is not None and lowering.attention:
        ranges = replace(ranges, amax=moved_ranges(ranges.amax, "centered"))
        for number in range(len(encoder.layers)):
            layer = f"layers.{number}"
            biases = [f"{layer}.qkv.bias", f"{layer}.attention_output.bias"]
            weight = state[f"{layer}.attention_output.weight"]
            moved = centered_biases(layer, ranges.centers, *(state[b] for b in biases), weight)
            state |= dict(zip(biases, moved, strict=True))
    for number in range(len(encoder.layers)):
        layer = f"layers.{number}"
        for site, linear in READER.items():
            weight, bias = state[f"{layer}.{linear}.weight"], state[f"{layer}.{linear}.bias"]
            tensors[f"{layer}.{linear}.bias"] = bias
            if ranges is None:
                tensors[f"{layer}.{linear}.weight"] = weight.astype(np.float16)
                continue
            tensors |= _quantized(weight, f"{layer}.{linear}", f"{layer}.{site}", ranges)
        if ranges is not None and lowering.attention:
            steps = [np.float32(ranges.amax[f"{layer}.{part}"] / 127) for part in "qkv"]
            hidden = encoder.config.hidden
            tensors[f"{layer}.qkv_out.scale"] = np.repeat(np.array(steps, np.float32), hidden)
    facts = {
        "layers": len(encoder.layers),
        "heads": encoder.config.heads,
        "hidden": encoder.config.hidden,
        "head": encoder.spec.manifest(),
        "epsilon": encoder.config.epsilon,
    }
    return tensors, facts


def _quantized(weight: Array, linear: str, site: str, ranges: StateRanges) -> dict[str, Array]:
    scale = np.array(ranges.amax[site] / 127, np.float32)
    found: dict[str, Array] = {site + ".scale": scale}
    divisor = ranges.smooth.get(site)
    if divisor is not None:
        weight = weight * divisor[None, :]
        found[site + ".steps"] = scale / (np.float32(1) / divisor)
    found[linear + ".weight"], found[linear + ".weight.scale"] = quantize_rows(weight)
    return found


def write_bundle(
    checkpoint: Checkpoint,
    encoder: PackedEncoder,
    precision: str,
    ranges: StateRanges | None,
    out: Path,
) -> Bundle:
    """A bundle without tokenizer and card, for :func:`xopt.engines.base.open_engine`."""
    facts = {
        "target": "cuda",
        "precision": precision,
        "head": checkpoint.head.manifest(),
        "signature": checkpoint.signature(encoder.inputs, encoder.output_name),
    }
    with publish(out) as work:
        lowering = lowering_for("cuda", precision)
        chosen = None if lowering.activations == "none" else ranges
        write_weights(*lower_state(encoder, lowering, chosen), work)
        write_manifest(work, Bundle.kind, "", facts)
    return Bundle.open(out)

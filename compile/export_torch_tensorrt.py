"""PackedEncoder → ``torch.export`` → an engine by Torch-TensorRT, for those who stay in PyTorch.

fp16 alone: Torch-TensorRT quantizes neither the softmax nor anything behind our plugin, so INT8
goes through ONNX (the targets ``tensorrt`` and ``tensorrt-rtx``).
"""

from __future__ import annotations

import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from xopt.artifacts import LoweredGraph
from xopt.compile.checkpoint import Checkpoint
from xopt.compile.packed_encoder import PackedEncoder, Watch
from xopt.compile.sources import locate
from xopt.compile.trace import AXES
from xopt.encoders.plan import Attend
from xopt.engines.tensorrt.compat import Machine, RunsOn, this_machine
from xopt.engines.tensorrt.corpus_profiles import CorpusProfile, corpus_profiles
from xopt.engines.tensorrt.device import Device
from xopt.engines.tensorrt.enterprise import bounds
from xopt.engines.tensorrt.options import TensorRtOptions
from xopt.engines.tensorrt.plugin import plugin_sm
from xopt.engines.tensorrt.runtime import ENGINE
from xopt.engines.torch_tensorrt import (
    EXTRA,
    WHY,
    attention_operator,
    load_torch_tensorrt,
    register_converter,
)
from xopt.errors import ArtifactError, BuildError, UnsupportedError, require
from xopt.packing import Encoding, pack
from xopt.progress import Progress

__all__ = ["FlatEncoder", "TorchTensorRtBuilder", "export_encoder"]


class FlatEncoder(nn.Module):
    """The encoder in fp16 over single tensors; attention through our operator.

    Args:
        encoder: becomes fp16, and keeps the changed attention.
        plugin: whether attention is the operator.
    """

    def __init__(self, encoder: PackedEncoder, *, plugin: bool) -> None:
        super().__init__()
        self.encoder = encoder.half()
        self.names = list(encoder.inputs)
        if plugin:
            # A mean is taken over the padded form; nothing else is.
            mean = encoder.spec.kind == "embed" and encoder.spec.pooling == "mean"
            dropped = {"unpad_index"} if mean else {"unpad_index", "pad_index", "attention_bias"}
            kept = [name for name in self.names if name not in dropped | {"cu_seqlens"}]
            self.names = [*kept, "cu_seqlens"]
            encoder.joint_attention = _attend

    def forward(self, *tensors: Tensor) -> Tensor:
        """One tensor for each of ``names``; the answer is fp32."""
        answer: Tensor = self.encoder(dict(zip(self.names, tensors, strict=True)))
        return answer.float()


def _attend(op: Attend, qkv: Tensor, arrays: dict[str, Tensor], watch: Watch) -> Tensor:
    """:func:`~xopt.compile.attention.attend_jointly` as our operator; nothing is watched."""
    operator = attention_operator()
    answer: Tensor = operator(qkv, arrays["cu_seqlens"], op.heads, op.head_dim)
    return answer


def export_encoder(flat: FlatEncoder) -> torch.export.ExportedProgram:
    """The program with T, B and S left open."""
    lengths = (5, 7, 3)
    example = pack(
        [Encoding(np.full(n, 4, np.int32), np.zeros(n, np.int32)) for n in lengths],
        first_position=flat.encoder.config.first_position,
    ).arrays()
    tensors = tuple(_tensor(example[name]) for name in flat.names)
    shapes = tuple(dict.fromkeys(AXES[name], torch.export.Dim.DYNAMIC) for name in flat.names)
    with torch.no_grad():
        return torch.export.export(flat, tensors, dynamic_shapes=(shapes,), strict=False)


def _tensor(array: Any) -> Tensor:
    tensor = torch.from_numpy(array)
    return tensor.half() if tensor.is_floating_point() else tensor


class TorchTensorRtBuilder:
    """A checkpoint to an engine for the GPU at hand; the lowered graph only says which one."""

    target = "torch-tensorrt"

    def __init__(self, *, driver: Any = None) -> None:
        self.driver = driver

    def machine(self, options: TensorRtOptions) -> Machine:
        """Look at the libraries and the GPU; what they cannot build is refused at once.

        Raises:
            MissingExtraError: Torch-TensorRT is not installed.
            UnsupportedError: there is no GPU, or one that the plugin does not run on.
        """
        if options.compat == "same-sm":
            raise UnsupportedError(
                "Torch-TensorRT builds no engine for every GPU of one SM.",
                hint="Possible: --compat none, ampere-plus or version; or --target tensorrt.",
            )
        load_torch_tensorrt()
        trt = require("tensorrt", extra=EXTRA, why=WHY)
        machine = this_machine("tensorrt", trt.__version__, Device(0, self.driver))
        if options.attention == "plugin":
            plugin_sm(machine.sm, ampere_plus=options.compat == "ampere-plus")
        return machine

    def build(
        self, lowered: LoweredGraph, out: Path, options: TensorRtOptions, progress: Progress
    ) -> dict[str, Any]:
        """Write ``engine.trt``.

        Raises:
            MissingExtraError: Torch-TensorRT is not installed.
            UnsupportedError: there is no GPU, or one that the plugin does not run on.
            ArtifactError: the checkpoint is not the one that was lowered.
            BuildError: Torch-TensorRT failed.
        """
        machine = self.machine(options)
        module = load_torch_tensorrt()
        plugin = options.attention == "plugin"
        if plugin:
            everywhere = options.compat == "ampere-plus"
            register_converter(module, plugin_sm(machine.sm, ampere_plus=everywhere))
        flat = FlatEncoder(PackedEncoder.load(reopen(lowered)), plugin=plugin)
        profile = corpus_profiles(
            options.lengths,
            max_tokens=lowered.manifest["max_tokens"],
            batch_tokens=options.batch_tokens,
            padded="pad_index" in flat.names,
        )[-1]
        begin = time.perf_counter()
        engine = convert(module, flat, profile, options, lowered.manifest["output"])
        (out / ENGINE).write_bytes(engine)
        progress.share(1.0)
        runs_on = RunsOn.of_build(machine, options.compat)
        return {
            "library": f"torch-tensorrt {module.__version__}",
            "version": machine.version,
            "runs_on": runs_on.manifest(),
            "runs_on_text": runs_on.describe(),
            "attention": options.attention,
            "profiles": [asdict(bounds(profile))],
            "inputs": {name: _named_shape(name) for name in flat.names},
            "build_s": round(time.perf_counter() - begin, 2),
            "engine_mib": round((out / ENGINE).stat().st_size / 2**20, 2),
        }


def reopen(lowered: LoweredGraph) -> Checkpoint:
    """The checkpoint that a graph was lowered from.

    Raises:
        ArtifactError: what lies there now is another one.
    """
    manifest = lowered.manifest
    head = manifest["head"]
    source = locate(manifest["checkpoint"])
    checkpoint = Checkpoint.open(
        source.folder,
        source=source.label,
        layer=head.get("layer"),
        pooling=head.get("pooling") or "mean",
    )
    if checkpoint.head.manifest() != head:
        raise ArtifactError(
            f"The checkpoint {manifest['checkpoint']} is no longer the one that was lowered.",
            hint="Build it again with: xopt build --target torch-tensorrt",
        )
    return checkpoint


def convert(
    module: Any,
    flat: FlatEncoder,
    profile: CorpusProfile,
    options: TensorRtOptions,
    output: str,
) -> bytes:
    """The serialized engine.

    Raises:
        BuildError: Torch-TensorRT refused an operator, or TensorRT failed.
    """
    program = export_encoder(flat)
    shapes = profile.shapes({name: _named_shape(name) for name in flat.names})
    inputs = [
        module.Input(
            min_shape=shapes[name][0],
            opt_shape=shapes[name][1],
            max_shape=shapes[name][2],
            dtype=torch.float16 if name == "attention_bias" else torch.int32,
            name=name,
        )
        for name in flat.names
    ]
    workspace = {} if options.workspace_mib is None else {
        "workspace_size": options.workspace_mib * 2**20
    }  # fmt: skip
    try:
        engine: bytes = module.dynamo.convert_exported_program_to_serialized_trt_engine(
            program,
            arg_inputs=inputs,
            arg_input_binding_names=flat.names,
            output_binding_names=[output],
            use_explicit_typing=True,
            immutable_weights=not options.refit,
            version_compatible=options.compat == "version",
            hardware_compatible=options.compat == "ampere-plus",
            **workspace,
        )
    except Exception as error:
        raise BuildError(
            f"Torch-TensorRT could not build the encoder: {error}",
            hint="The target tensorrt builds it from ONNX: xopt build --target tensorrt",
        ) from error
    return engine


def _named_shape(name: str) -> list[str | int]:
    """An input's shape with the names of its axes, as the PyTorch module reads it."""
    if name == "attention_bias":
        return ["B", 1, 1, "S"]
    return list(AXES[name].values())

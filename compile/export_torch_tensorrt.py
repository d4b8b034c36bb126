"""PackedEncoder → ``torch.export`` → an engine by Torch-TensorRT, for those who stay in PyTorch.

fp16 alone: Torch-TensorRT quantizes neither the softmax nor anything behind our plugin, so INT8
goes through ONNX (the targets ``tensorrt`` and ``tensorrt-rtx``).
"""

from __future__ import annotations

import functools
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from xopt.compile.context import BuildContext
from xopt.compile.packed_encoder import PackedEncoder, Watch
from xopt.compile.quantize import Halves
from xopt.compile.trace import AXES
from xopt.encoders.plan import Attend
from xopt.engines.building import Builder, Built
from xopt.engines.tensorrt.builder import engine_facts
from xopt.engines.tensorrt.compat import Machine, RunsOn, this_machine
from xopt.engines.tensorrt.enterprise import asked_facts, gpu_to_build_on, kernel_sm
from xopt.engines.tensorrt.options import TorchTensorRtOptions
from xopt.engines.tensorrt.profiles import LengthProfile, plan_profiles
from xopt.engines.tensorrt.runtime import ENGINE
from xopt.engines.torch_tensorrt import (
    EXTRA,
    WHY,
    attention_operator,
    load_torch_tensorrt,
    register_converter,
)
from xopt.errors import BuildError, require
from xopt.packing import Encoding, pack
from xopt.progress import Progress

__all__ = ["FlatEncoder", "TorchTensorRtBuilder", "export_encoder"]


class FlatEncoder(nn.Module):
    """The encoder in fp16 over single tensors; attention through our operator.

    Args:
        encoder: becomes fp16, and keeps the changed attention.
        plugin: whether attention is the operator.

    Raises:
        UnsupportedError: a weight leaves the range of fp16, or all of it lies below its normal
            numbers.
    """

    def __init__(self, encoder: PackedEncoder, *, plugin: bool) -> None:
        super().__init__()
        halves = Halves("TensorRT's kernels")
        for name, tensor in encoder.state_dict().items():
            values = tensor.numpy()
            if values.ndim == 2:
                halves.check_rows(name, values)
            else:
                halves.check(name, values)
        halves.tell()
        self.encoder = encoder.half()
        self.names = list(encoder.inputs)
        if plugin:
            # A mean is taken over the padded form; nothing else is.
            mean = encoder.spec.kind == "embed" and encoder.spec.pooling == ("mean",)
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
    answer: Tensor = operator(qkv, arrays["cu_seqlens"], op.head_dim, op.heads)
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


class TorchTensorRtBuilder(Builder[TorchTensorRtOptions, BuildContext]):
    """A checkpoint to an engine for the GPU at hand; the lowered graph only says which one."""

    target = "torch-tensorrt"
    reads_lengths = True

    def __init__(self, options: TorchTensorRtOptions, *, driver: Any = None) -> None:
        super().__init__(options)
        self.driver = driver

    def look(self) -> dict[str, Any]:
        """The libraries and the GPU; what they cannot build is refused at once.

        Raises:
            MissingExtraError: Torch-TensorRT is not installed.
            UnsupportedError: there is no GPU, or one that the plugin does not run on.
        """
        return asdict(self.machine)

    @functools.cached_property
    def machine(self) -> Machine:
        """This one, which builds and will run the engine."""
        device = gpu_to_build_on(self.target, self.driver)
        load_torch_tensorrt()
        trt = require("tensorrt", extra=EXTRA, why=WHY)
        machine = this_machine("tensorrt", trt.__version__, device)
        kernel_sm(machine, self.options)
        return machine

    def build(self, context: BuildContext, out: Path, progress: Progress) -> Built:
        """Write ``engine.trt``.

        Raises:
            MissingExtraError: Torch-TensorRT is not installed.
            UnsupportedError: there is no GPU, or one that the plugin does not run on.
            BuildError: Torch-TensorRT failed.
        """
        options, machine = self.options, self.machine
        module = load_torch_tensorrt()
        lowered = context.lower()
        sm = kernel_sm(machine, options)
        if sm is not None:
            register_converter(module, sm)
        flat = FlatEncoder(PackedEncoder.load(context.checkpoint), plugin=options.plugin)
        profile = plan_profiles(
            context.lengths,
            max_tokens=lowered.manifest["max_tokens"],
            batch_tokens=options.batch_tokens,
            padded="pad_index" in flat.names,
        )[-1]
        begin = time.perf_counter()
        engine = convert(module, flat, profile, options, lowered.manifest["output"])
        seconds = time.perf_counter() - begin
        (out / ENGINE).write_bytes(engine)
        progress.share(1.0)
        inputs = {name: _named_shape(name) for name in flat.names}
        runs_on = RunsOn.of_build(machine, options.compat)
        facts = engine_facts(out, runs_on, [profile], inputs, seconds)
        library = {"library": f"torch-tensorrt {module.__version__}"}
        return Built(lowered, facts | asked_facts(machine, options) | library)


def convert(
    module: Any,
    flat: FlatEncoder,
    profile: LengthProfile,
    options: TorchTensorRtOptions,
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
    workspace = {} if options.workspace is None else {
        "workspace_size": options.workspace * 2**20
    }  # fmt: skip
    try:
        engine: bytes = module.dynamo.convert_exported_program_to_serialized_trt_engine(
            program,
            arg_inputs=inputs,
            # The trees that the program was traced with: a tuple of arguments, and one answer.
            arg_input_binding_names=tuple(flat.names),
            output_binding_names=output,
            immutable_weights=not options.refit,
            version_compatible=options.compat == "version",
            hardware_compatible=options.compat == "ampere-plus",
            **workspace,
        )
    except Exception as error:
        raise BuildError(
            f"Torch-TensorRT could not build the encoder: {error}",
            hint="The target tensorrt builds it from ONNX: xopt build CHECKPOINT --target tensorrt",
        ) from error
    return engine


def _named_shape(name: str) -> list[str | int]:
    """An input's shape with the names of its axes, as the PyTorch module reads it."""
    if name == "attention_bias":
        return ["B", 1, 1, "S"]
    return list(AXES[name].values())

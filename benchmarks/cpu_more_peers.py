"""Peers of ``cpu.py`` that rewrite the model first: ONNX Runtime's fused graph, PyTorch's PT2E.

ONNX Runtime's optimizer for transformers joins attention, residual with norm, and bias with GELU;
what is left of products becomes dynamic INT8. It knows the graphs of the older exporter alone.
PT2E (torchao) quantizes the linear layers statically, compiled by inductor for the very shape of
each batch, which favours it; bf16 between. It is compiled again for each case, so it takes minutes.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
from cpu_base import Call, Ids, onnxruntime_call, padded, padded_logits


def onnxruntime_fused(checkpoint: Path, scratch: Path, threads: int) -> Call:
    from onnxruntime.quantization import QuantType, quantize_dynamic
    from onnxruntime.transformers import optimizer
    from onnxruntime.transformers.fusion_options import FusionOptions
    from transformers import AutoConfig

    place = scratch / "onnxruntime-fused-int8.onnx"
    if not place.exists():
        config = AutoConfig.from_pretrained(checkpoint)
        wanted = FusionOptions("bert")
        # It knows no positions that begin behind the padding's id.
        wanted.enable_embed_layer_norm = False
        model = optimizer.optimize_model(
            str(_older_onnx(checkpoint, scratch)),
            model_type="bert",
            num_heads=config.num_attention_heads,
            hidden_size=config.hidden_size,
            optimization_options=wanted,
            opt_level=0,
        )
        fused = model.get_fused_operator_statistics()
        assert fused.get("Attention") == config.num_hidden_layers, fused
        joined = scratch / "onnxruntime-fused.onnx"
        model.save_model_to_file(str(joined), use_external_data_format=True)
        quantize_dynamic(
            joined,
            place,
            per_channel=True,
            weight_type=QuantType.QInt8,
            op_types_to_quantize=["MatMul", "Attention", "Gemm", "Gather"],
            extra_options={"DefaultTensorType": 1},
        )
    return onnxruntime_call(place, threads)


def _older_onnx(checkpoint: Path, scratch: Path) -> Path:
    """The padded model from the exporter that traces."""
    import torch

    place = scratch / "padded-traced.onnx"
    if not place.exists():
        module, example = padded_logits(checkpoint, attention="eager")
        names = ["input_ids", "attention_mask"]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.onnx.export(
                module,
                example,
                str(place),
                dynamo=False,
                opset_version=17,
                input_names=names,
                output_names=["logits"],
                dynamic_axes={name: {0: "batch", 1: "tokens"} for name in names},
            )
    return place


def torchao_static_int8(checkpoint: Path, scratch: Path, threads: int) -> Call:
    import torch
    import torchao.quantization.pt2e.quantizer.x86_inductor_quantizer as x86
    from torch._inductor import config as inductor
    from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e

    torch.set_num_threads(threads)
    module, _ = padded_logits(checkpoint)
    made: dict[tuple[int, ...], Any] = {}

    def compiled(example: tuple[torch.Tensor, torch.Tensor]) -> Any:
        inductor.freezing = True
        with torch.no_grad():
            graph = torch.export.export(module, example).module()
            quantizer = x86.X86InductorQuantizer()
            how = x86.get_default_x86_inductor_quantization_config()
            # A configuration for all operations takes the sums of positions, which are whole.
            quantizer.set_module_type_qconfig(torch.nn.Linear, how)
            watched = prepare_pt2e(graph, quantizer)
            watched(*example)
            return torch.compile(convert_pt2e(watched))

    def call(ids: Ids) -> object:
        table, mask = padded(ids)
        example = torch.from_numpy(table), torch.from_numpy(mask)
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
            if table.shape not in made:
                torch._dynamo.reset()
                made[table.shape] = compiled(example)
            return np.asarray(made[table.shape](*example).float())

    return call

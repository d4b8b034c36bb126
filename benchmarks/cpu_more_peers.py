"""A peer of ``cpu.py`` that rewrites the model first: ONNX Runtime's fused graph.

ONNX Runtime's optimizer for transformers joins attention, residual with norm, and bias with GELU;
what is left of products becomes dynamic INT8. It knows the graphs of the older exporter alone.
"""

from __future__ import annotations

import warnings
from pathlib import Path

from cpu_base import Call, onnxruntime_call, padded_logits


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

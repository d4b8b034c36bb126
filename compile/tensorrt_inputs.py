"""What a graph in TensorRT's form reads and gives, by name, type and dynamic axes."""

from __future__ import annotations

import onnx
from onnx import TensorProto, helper

__all__ = ["INPUTS", "declare"]

# name -> element type and shape; which of them a graph reads depends on its head.
INPUTS: dict[str, tuple[int, list[str | int]]] = {
    "input_ids": (TensorProto.INT64, ["T"]),
    "position_ids": (TensorProto.INT64, ["T"]),
    "token_type_ids": (TensorProto.INT64, ["T"]),
    "pad_index": (TensorProto.INT64, ["B", "S", 1]),
    "unpad_index": (TensorProto.INT64, ["T", 1]),
    "attention_bias": (TensorProto.FLOAT16, ["B", 1, 1, "S"]),
    "window_mask": (TensorProto.FLOAT16, [1, 1, "S", "S"]),
    "first_index": (TensorProto.INT64, ["B", 1]),
    "cu_seqlens": (TensorProto.INT32, ["B_plus_1"]),
    "prompt_tokens": (TensorProto.INT64, ["B", 1]),
}


def declare(model: onnx.ModelProto, output: str, *, per_token: bool) -> None:
    """Declare the inputs that are read, and the output."""
    read = {name for node in model.graph.node for name in node.input}
    width = model.graph.output[0].type.tensor_type.shape.dim[1].dim_value
    del model.graph.input[:], model.graph.output[:], model.graph.value_info[:]
    for name, (kind, shape) in INPUTS.items():
        if name in read:
            model.graph.input.append(helper.make_tensor_value_info(name, kind, shape))
    rows = "T" if per_token else "B"
    model.graph.output.append(
        helper.make_tensor_value_info(output, TensorProto.FLOAT, [rows, width])
    )

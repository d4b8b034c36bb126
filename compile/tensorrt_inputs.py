"""What a graph in TensorRT's form reads and gives, by name, type and dynamic axes."""

from __future__ import annotations

import onnx
from onnx import TensorProto, helper

__all__ = ["INPUTS", "declare"]

# name -> element type and shape; which of them a graph reads depends on its head.
INPUTS: dict[str, tuple[int, list[str | int]]] = {
    "input_ids": (TensorProto.INT32, ["T"]),
    "position_ids": (TensorProto.INT32, ["T"]),
    "token_type_ids": (TensorProto.INT32, ["T"]),
    "pad_index": (TensorProto.INT32, ["B", "S", 1]),
    "unpad_index": (TensorProto.INT32, ["T", 1]),
    "attention_bias": (TensorProto.FLOAT16, ["B", 1, 1, "S"]),
    "window_mask": (TensorProto.FLOAT16, [1, 1, "S", "S"]),
    "first_index": (TensorProto.INT32, ["B", 1]),
    "cu_seqlens": (TensorProto.INT32, ["B_plus_1"]),
    "prompt_tokens": (TensorProto.INT32, ["B", 1]),
}
# What operators of ONNX take as int64 alone.
INDICES = (
    "input_ids", "position_ids", "token_type_ids", "pad_index", "unpad_index", "first_index",
)  # fmt: skip


def declare(model: onnx.ModelProto, output: str, *, per_token: bool) -> None:
    """Declare the inputs that are read, and the output.

    Indices are int32, half as much to copy for each batch. ONNX's GatherND takes int64, so each is
    cast first: TensorRT makes the cast a part of the kernel that reads it, where it turned int64
    into int32 before.
    """
    read = {name for node in model.graph.node for name in node.input}
    width = model.graph.output[0].type.tensor_type.shape.dim[1].dim_value
    del model.graph.input[:], model.graph.output[:], model.graph.value_info[:]
    for name, (kind, shape) in INPUTS.items():
        if name in read:
            model.graph.input.append(helper.make_tensor_value_info(name, kind, shape))
    kept = list(model.graph.node)
    casts = [
        helper.make_node("Cast", [name], [f"{name}.int64"], f"{name}.cast", to=TensorProto.INT64)
        for name in INDICES
        if name in read
    ]
    for node in kept:
        node.input[:] = [f"{n}.int64" if n in INDICES else n for n in node.input]
    del model.graph.node[:]
    model.graph.node.extend([*casts, *kept])
    rows = "T" if per_token else "B"
    model.graph.output.append(
        helper.make_tensor_value_info(output, TensorProto.FLOAT, [rows, width])
    )

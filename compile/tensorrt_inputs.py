"""What a graph in TensorRT's form reads and gives, by name, type and dynamic axes."""

from __future__ import annotations

import onnx_ir as ir

from xopt.compile.editing import GraphEditor

__all__ = ["INPUTS", "declare"]

# name -> element type and shape; which of them a graph reads depends on its head.
INPUTS: dict[str, tuple[ir.DataType, list[str | int]]] = {
    "input_ids": (ir.DataType.INT32, ["T"]),
    "position_ids": (ir.DataType.INT32, ["T"]),
    "token_type_ids": (ir.DataType.INT32, ["T"]),
    "pad_index": (ir.DataType.INT32, ["B", "S", 1]),
    "unpad_index": (ir.DataType.INT32, ["T", 1]),
    "attention_bias": (ir.DataType.FLOAT16, ["B", 1, 1, "S"]),
    "window_mask": (ir.DataType.FLOAT16, [1, 1, "S", "S"]),
    "first_index": (ir.DataType.INT32, ["B", 1]),
    "cu_seqlens": (ir.DataType.INT32, ["B_plus_1"]),
    "prompt_tokens": (ir.DataType.INT32, ["B", 1]),
}
# What operators of ONNX take as int64 alone.
INDICES = (
    "input_ids", "position_ids", "token_type_ids", "pad_index", "unpad_index", "first_index",
)  # fmt: skip


def declare(editor: GraphEditor, rows: str, width: int) -> None:
    """Declare the inputs that are read, and the output ``[rows, width]``.

    Indices are int32, half as much to copy for each batch. ONNX's GatherND takes int64, so each is
    cast first: TensorRT makes the cast a part of the kernel that reads it, where it turned int64
    into int32 before.
    """
    graph, first = editor.graph, editor.graph[0]
    for name, (kind, shape) in INPUTS.items():
        value = editor.input(name)
        uses = value.uses()
        if not uses:
            continue
        value.type, value.shape = ir.TensorType(kind), ir.Shape(shape)
        graph.inputs.append(value)
        if name in INDICES:
            wide = ir.Value(name=f"{name}.int64")
            to = {"to": ir.DataType.INT64}
            cast = ir.node("Cast", [value], to, outputs=[wide], name=f"{name}.cast")
            graph.insert_before(first, cast)
            for node, index in uses:
                node.replace_input_with(index, wide)
    [answer] = graph.outputs
    answer.type, answer.shape = ir.TensorType(ir.DataType.FLOAT), ir.Shape([rows, width])

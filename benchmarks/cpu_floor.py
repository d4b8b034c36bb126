"""The floor of ``cpu.py``: an encoder's INT8 products in OpenVINO, and nothing else of it.

No attention, norm, GELU, look-up or head: queries, keys and values are added up in the place of
attention, and every product's input is quantized, because a product in INT8 needs that. An engine
that takes this long would do all the rest for nothing.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["products_floor"]

# Below it a batch runs in one request on all cores, as xopt runs it.
TOKENS_A_STREAM = 48


def products_floor(
    checkpoint: Path, scratch: Path, threads: int
) -> Callable[[Sequence[NDArray[np.int32]]], object]:
    """The products over all tokens of a batch, end to end, cut evenly for the streams."""
    import openvino

    facts = json.loads((checkpoint / "config.json").read_text())
    path = scratch / "floor.onnx"
    hidden = int(facts["hidden_size"])
    if not path.exists():
        _write(path, int(facts["num_hidden_layers"]), hidden, int(facts["intermediate_size"]))
    programs = {}
    for streams in {1, threads}:
        config = {
            "INFERENCE_NUM_THREADS": threads,
            "NUM_STREAMS": streams,
            "INFERENCE_PRECISION_HINT": "f32",
        }
        compiled = openvino.Core().compile_model(path, "CPU", config)
        programs[streams] = [compiled.create_infer_request() for _ in range(streams)]
    feeds: dict[tuple[int, int], list[NDArray[np.float32]]] = {}

    def call(ids: Sequence[NDArray[np.int32]]) -> object:
        tokens = sum(len(one) for one in ids)
        apart = threads > 1 and len(ids) > 1 and tokens >= TOKENS_A_STREAM * threads
        streams = threads if apart else 1
        if (tokens, streams) not in feeds:
            generator = np.random.default_rng(0)
            parts = np.array_split(np.arange(tokens), streams)
            feeds[tokens, streams] = [
                generator.normal(size=(len(part), hidden)).astype(np.float32) for part in parts
            ]
        requests = programs[streams]
        for request, feed in zip(requests, feeds[tokens, streams], strict=True):
            request.start_async([feed], share_inputs=True)
        for request in requests:
            request.wait()
        return None

    return call


def _write(path: Path, layers: int, hidden: int, wide: int) -> None:
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    generator = np.random.default_rng(0)
    nodes: list[Any] = []
    constants: list[Any] = []

    def constant(name: str, value: Any) -> str:
        constants.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    def emit(kind: str, inputs: list[str], out: str, **attributes: Any) -> str:
        nodes.append(helper.make_node(kind, inputs, [out], **attributes))
        return out

    def quantized(source: str) -> str:
        step = constant(source + ".step", np.float32(0.02))
        zero = constant(source + ".zero", np.uint8(128))
        whole = emit("QuantizeLinear", [source, step, zero], source + ".u8")
        return emit("DequantizeLinear", [whole, step, zero], source + ".back")

    def product(source: str, name: str, inputs: int, outputs: int) -> str:
        parts = [
            constant(name + ".weight", generator.integers(-127, 128, (outputs, inputs), np.int8)),
            constant(name + ".scale", np.full(outputs, 1e-3, np.float32)),
            constant(name + ".zero", np.zeros(outputs, np.int8)),
        ]
        weight = emit("DequantizeLinear", parts, name + ".float", axis=0)
        turned = emit("Transpose", [weight], name + ".turned", perm=[1, 0])
        summed = emit("MatMul", [source, turned], name + ".product")
        bias = constant(name + ".bias", generator.normal(size=outputs).astype(np.float32))
        return emit("Add", [summed, bias], name)

    value = "x"
    for layer in range(layers):
        source = quantized(value)
        three = [product(source, f"{layer}.{part}", hidden, hidden) for part in "qkv"]
        mixed = emit("Sum", three, f"{layer}.mixed")
        context = product(quantized(mixed), f"{layer}.out", hidden, hidden)
        inner = product(quantized(context), f"{layer}.in", hidden, wide)
        value = product(quantized(inner), f"{layer}.ffn", wide, hidden)
    tokens: list[Any] = ["T", hidden]
    given = helper.make_tensor_value_info("x", TensorProto.FLOAT, tokens)
    answer = helper.make_tensor_value_info(value, TensorProto.FLOAT, tokens)
    graph = helper.make_graph(nodes, "floor", [given], [answer], constants)
    opset = [helper.make_opsetid("", 21)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=10), path)

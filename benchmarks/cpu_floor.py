"""The floor of ``cpu.py``: the INT8 products of an encoder in OpenVINO, and nothing between them.

No attention, norm, GELU, residual or look-up: three projections of one input in 8-bit steps, whose
sum is rounded to steps again for the next product, and so on. Random weights; times do not depend
on them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import openvino
from numpy.typing import NDArray
from transformers import AutoConfig

GROUP_TOKENS = 48


def products(layers: int, width: int, middle: int) -> Any:
    """``openvino.Model`` of ``[T, width]`` float32; six products a layer."""
    opset: Any = openvino.opset13
    generator = np.random.default_rng(0)

    def steps(value: Any) -> Any:
        low, high = (np.array(end, np.float32) for end in (-3.0, 3.1))
        return opset.fake_quantize(value, low, high, low, high, 256)

    def linear(value: Any, rows: int, columns: int) -> Any:
        weight = generator.integers(-127, 128, (rows, columns)).astype(np.int8)
        scale = np.full((rows, 1), 1 / (73 * columns**0.5), np.float32)
        full = opset.multiply(opset.convert(opset.constant(weight), "f32"), opset.constant(scale))
        product = opset.matmul(value, full, False, True)
        return opset.add(product, opset.constant(generator.normal(0, 0.1, rows).astype(np.float32)))

    given = opset.parameter([-1, width], np.float32)
    value = given
    for _ in range(layers):
        codes = steps(value)
        q, k, v = (linear(codes, width, width) for _ in range(3))
        context = steps(opset.add(opset.add(q, k), v))
        between = steps(linear(context, width, width))
        value = linear(steps(linear(between, middle, width)), width, middle)
    # Typed as of another class than the one that it is made by.
    model: Any = openvino.Model
    return model([opset.result(value)], [given], "products")


def floor(checkpoint: Path, scratch: Path, threads: int) -> Any:
    """As a peer: the batch's tokens in one part, or in one a stream where ``xopt`` cuts it."""
    config = AutoConfig.from_pretrained(checkpoint)
    width = config.hidden_size
    model = products(config.num_hidden_layers, width, config.intermediate_size)
    core, queues = openvino.Core(), {}
    for streams in {1, threads}:
        options = {
            "INFERENCE_NUM_THREADS": threads,
            "NUM_STREAMS": streams,
            "INFERENCE_PRECISION_HINT": "f32",
        }
        compiled = core.compile_model(model, "CPU", options)
        kinds = [
            node.get_rt_info()["primitiveType"].astype(str)
            for node in compiled.get_runtime_model().get_ops()
            if node.get_rt_info()["layerType"].astype(str) == "FullyConnected"
        ]
        eight = sum(str(kind).endswith("I8") for kind in kinds)
        assert eight == 6 * config.num_hidden_layers, kinds
        queues[streams] = openvino.AsyncInferQueue(compiled, streams)
    rows = np.random.default_rng(1).normal(size=(40_000, width)).astype(np.float32)

    def call(ids: list[NDArray[np.int32]]) -> object:
        tokens = sum(map(len, ids))
        parts = min(threads, len(ids), tokens // GROUP_TOKENS)
        queue = queues[threads if parts > 1 else 1]
        for part in np.array_split(np.arange(tokens), max(1, parts)):
            queue.start_async([rows[: len(part)]], share_inputs=True)
        queue.wait_all()
        return None

    return call

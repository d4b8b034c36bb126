"""Run by a test in a process of its own, where Triton compiles: plugin layers, as JSON."""

from __future__ import annotations

import json
import sys
from typing import Any

import fake_plugin

from xopt.engines.tensorrt import plugin

SIZES = [{"T": 1, "B1": 2}, {"T": 127, "B1": 2}, {"T": 4096, "B1": 65}, {"T": 129, "B1": 4}]


def main() -> None:
    target = plugin.PluginTarget()
    plugin.register_plugins(fake_plugin, fake_plugin, target)
    rows = []
    for sm, heads, head_dim in ((80, 12, 64), (90, 16, 64), (90, 8, 128)):
        target.sm = sm
        shape = {"heads": heads, "head_dim": head_dim}
        rows.append(_row(sm, plugin.ATTENTION, shape, False))
        for out_int8 in (False, True):
            rows.append(_row(sm, plugin.ATTENTION_INT8, shape, out_int8))
    json.dump(rows, sys.stdout)


def _row(sm: int, operator: str, shape: dict[str, int], out_int8: bool) -> dict[str, Any]:
    width = 3 * shape["heads"] * shape["head_dim"]
    # In another order than registered: an ONNX node has none.
    attributes = dict(reversed(shape.items()))
    tensors: list[Any] = [(["T", width], "HALF"), (["B1"], "INT32")]
    if operator == plugin.ATTENTION_INT8:
        tensors = [(["T", width], "INT8"), (["B1"], "INT32"), ([3], "FLOAT")]
        attributes = {"out_int8": int(out_int8), **attributes}
    layer = fake_plugin.build_layer(f"{plugin.NAMESPACE}::{operator}", tensors, attributes)
    kernels = plugin.fitting_kernels(operator, sm, *shape.values(), out_int8)
    return {
        "sm": sm,
        "operator": operator,
        "out_int8": out_int8,
        **shape,
        "dtype": layer["dtype"],
        "shape": [[part.evaluate(sizes) for part in layer["shape"].items] for sizes in SIZES],
        "sizes": SIZES,
        "tensors": len(tensors),
        "kernels": [_numbers(kernel) for kernel in layer["kernels"]],
        "parameters": [kernel.parameters for kernel in kernels],
        "tiles": [
            [k.constants["BLOCK_M"], k.constants["BLOCK_N"], k.num_warps, k.shared_bytes]
            for k in kernels
        ],
    }


def _numbers(kernel: dict[str, Any]) -> dict[str, Any]:
    """A kernel with each expression replaced by its values over SIZES."""
    shown = {k: [v(s) for s in SIZES] if callable(v) else v for k, v in kernel.items()}
    return shown | {"extra": [[v(s) for s in SIZES] for v in kernel["extra"]]}


main()

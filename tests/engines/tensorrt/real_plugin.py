"""Run by a test in a process of its own: our plugins through the real ``tensorrt.plugin``.

TensorRT's bindings are a wheel of their own and want a library that is not on the index. A stub of
it lets them load; the plugin registry and the arithmetic on dimensions, which live in that library,
stand in here. Prints what TensorRT would learn of each layer, as JSON.
"""

# pyright: reportMissingImports=false

from __future__ import annotations

import json
import re
import sys
import types
from typing import Any

import numpy as np
import tensorrt_bindings as real

SIZES = [{"T": 1, "B1": 2}, {"T": 127, "B1": 2}, {"T": 4096, "B1": 65}, {"T": 129, "B1": 4}]


class Dimension:
    """``IDimensionExpr``: a function of the sizes of a batch."""

    def __init__(self, evaluate: Any, constant: int | None = None) -> None:
        self.evaluate, self.constant = evaluate, constant

    def is_constant(self) -> bool:
        return self.constant is not None

    def get_constant_value(self) -> int:
        assert self.constant is not None
        return self.constant


def number(value: int) -> Dimension:
    return Dimension(lambda sizes: value, value)


class Arithmetic:
    """``IExprBuilder``."""

    def constant(self, value: int) -> Dimension:
        return number(value)

    def operation(self, kind: Any, left: Dimension, right: Dimension) -> Dimension:
        work = {
            "SUM": lambda a, b: a + b,
            "SUB": lambda a, b: a - b,
            "PROD": lambda a, b: a * b,
            "CEIL_DIV": lambda a, b: -(-a // b),
            "FLOOR_DIV": lambda a, b: a // b,
        }[kind.name]
        return Dimension(lambda sizes: work(left.evaluate(sizes), right.evaluate(sizes)))


class Registry:
    def __init__(self) -> None:
        self.creators: dict[tuple[str, str, str], Any] = {}

    def register_creator(self, creator: Any, namespace: str) -> bool:
        self.creators[creator.name, creator.plugin_version, namespace] = creator
        return True

    def get_creator(self, name: str, version: str, namespace: str) -> Any:
        return self.creators[name, version, namespace]


class Shapes(list):  # type: ignore[type-arg]
    """``DimsExprs``."""

    def __init__(self, length: int) -> None:
        super().__init__([None] * length)


class Extra(dict):  # type: ignore[type-arg]
    """Where the extra arguments go."""

    nbSymExprs = 0


def load() -> tuple[Any, Any, Registry]:
    """The modules ``tensorrt`` and ``tensorrt.plugin``, and the registry."""
    trt: Any = types.ModuleType("tensorrt")
    trt.__dict__.update({n: v for n, v in vars(real).items() if n[:2] != "__"})
    trt.__version__, trt.__path__ = real.__version__, list(real.__path__)
    registry = Registry()
    trt.get_plugin_registry = lambda: registry
    trt.IDimensionExpr, trt.DimsExprs = Dimension, Shapes
    sys.modules["tensorrt"] = trt
    import tensorrt.plugin as trtp
    from tensorrt.plugin import _tensor

    class Passed:
        def __init__(self, expression: Any) -> None:
            self.expr = expression._expr
            self.bits = 32 if isinstance(expression, _tensor.SymInt32) else 0

    # Made by the library out of an expression, to be handed to it.
    _tensor.SymExprImpl = Passed
    return trt, trtp, registry


def ask(trt: Any, creator: Any, tensors: list[Any], fields: dict[str, int], out: Any) -> Any:
    """What TensorRT asks a plugin while it builds a layer, in its order."""
    values = [
        trt.PluginField(name, np.array([value], np.int64), trt.PluginFieldType.INT64)
        for name, value in fields.items()
    ]
    plugin = creator.create_plugin(
        creator.name, "xopt", trt.PluginFieldCollection(values), trt.TensorRTPhase.BUILD,
        trt.QuickPluginCreationRequest.STRICT_AOT,
    )  # fmt: skip
    kinds = [kind for kind, _ in tensors]
    arithmetic = Arithmetic()
    types_of = plugin.get_output_data_types(kinds, [len(shape) for _, shape in tensors])

    def dimension(size: Any) -> Dimension:
        return number(size) if isinstance(size, int) else Dimension(lambda sizes: sizes[size])

    dims = [[dimension(size) for size in shape] for _, shape in tensors]
    shapes = plugin.get_output_shapes(dims, [], arithmetic)

    def described(kind: Any, shape: Any) -> Any:
        whole, desc = trt.DynamicPluginTensorDesc(), trt.PluginTensorDesc()
        desc.type, desc.format = kind, trt.TensorFormat.LINEAR
        desc.dims = trt.Dims([size if isinstance(size, int) else -1 for size in shape])
        whole.desc = desc
        return whole

    width = fields["heads"] * fields["head_dim"]
    ends = [described(*tensor) for tensor in tensors] + [described(out, ["T", width])]
    plugin.configure_plugin(ends[:-1], ends[-1:])
    allowed = plugin.get_supported_format_combinations(ends, len(tensors))
    plugin.configure_plugin(ends[:-1], ends[-1:])
    kernels = []
    for tactic in plugin.get_valid_tactics():
        plugin.set_tactic(tactic)
        launch, extra = types.SimpleNamespace(), Extra()
        plugin.get_launch_params(None, ends, len(tensors), launch, extra, arithmetic)
        entry, ptx = plugin.get_kernel([e.desc for e in ends[:-1]], [ends[-1].desc])
        text = ptx.decode()
        kernels.append({
            "tactic": tactic,
            "entry": entry,
            "entries": re.findall(r"\.entry (\w+)\(", text),
            "taken": re.findall(r"\.entry \w+\(([^)]*)\)", text),
            "version": re.findall(r"^\.version ([\d.]+)", text, re.MULTILINE),
            "target": re.findall(r"^\.target sm_(\d+)", text, re.MULTILINE),
            "grid": [
                [getattr(launch, f"grid_{axis}").expr.evaluate(s) for axis in "xyz"] for s in SIZES
            ],
            "block": launch.block_x.expr.evaluate({}),
            "shared": launch.shared_mem.expr.evaluate({}),
            "extra": [[extra[i].expr.evaluate(s) for i in sorted(extra)] for s in SIZES],
            "bits": [extra[i].bits for i in sorted(extra)],
            "count": extra.nbSymExprs,
        })  # fmt: skip
    return {
        "plugin": type(plugin).__name__,
        "types": [str(kind) for kind in types_of],
        "shape": [[e.evaluate(s) for e in shapes[0]] for s in SIZES],
        "allowed": [(str(end.type), str(end.format)) for end in allowed],
        "kernels": kernels,
    }


def main() -> None:
    from xopt.engines.tensorrt import plugin

    trt, trtp, registry = load()
    target = plugin.PluginTarget()
    plugin.register_plugins(trt, trtp, target)
    kind = trt.DataType
    rows = []
    for sm, heads, head_dim in ((80, 12, 64), (90, 16, 64), (120, 8, 128)):
        target.sm = sm
        width = 3 * heads * head_dim
        for operator, out in (
            (plugin.ATTENTION, kind.HALF),
            (plugin.ATTENTION_INT8, kind.HALF),
            (plugin.ATTENTION_INT8, kind.INT8),
        ):
            int8 = operator == plugin.ATTENTION_INT8
            tensors = [(kind.INT8 if int8 else kind.HALF, ["T", width]), (kind.INT32, ["B1"])]
            fields = {"head_dim": head_dim, "heads": heads}
            if int8:
                tensors.append((kind.FLOAT, [3]))
                fields["out_int8"] = int(out == kind.INT8)
            creator = registry.creators[operator, plugin.VERSION, plugin.NAMESPACE]
            found = ask(trt, creator, tensors, fields, out)
            # The parser walks the creator's fields, a node written by ONNX's library its own.
            order = [field.name for field in creator.field_names]
            kernels = plugin.fitting_kernels(operator, sm, heads, head_dim, out == kind.INT8)
            rows.append({
                "sm": sm, "operator": operator, "out": str(out), "heads": heads,
                "head_dim": head_dim, "order": order, "sizes": SIZES, "tensors": len(tensors),
                "blocks": [
                    [k.constants["BLOCK_M"], k.constants["BLOCK_N"], k.num_warps] for k in kernels
                ],
                "tiles": [[k.entry, k.block_threads, k.shared_bytes] for k in kernels],
                "grids": [
                    [
                        k.grid.grid(s["T"], s["B1"] - 1, cdiv=lambda a, b: -(-a // b))
                        for s in SIZES
                    ]
                    for k in kernels
                ],
                **found,
            })  # fmt: skip
    json.dump(rows, sys.stdout)


main()

#!/usr/bin/env bash
# torch.onnx.export traces an ExportedProgram a second time to decompose it, though for an encoder layer that replaces its cast alone.
set -euo pipefail
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
"${PYTHON:-python3}" -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install --quiet numpy==2.4.6 torch==2.13.0 onnx==1.23.2 onnx-ir==1.1.0 onnxscript==0.7.2
"$tmp/venv/bin/python" - <<'PY'
import logging
from collections.abc import Sequence
from typing import Any

import onnxscript
import torch
from torch import nn
from torch.nn.functional import gelu, layer_norm, linear

logging.getLogger("torch.onnx").setLevel(logging.ERROR)


class Layer(nn.Module):
    """Attention over [B, S, 32] with a mask of ones and zeros, then a feed-forward network."""

    def __init__(self, cast: bool) -> None:
        super().__init__()
        self.cast = cast
        self.qkv, self.out = nn.Linear(32, 96), nn.Linear(32, 32)
        self.up, self.down = nn.Linear(32, 64), nn.Linear(64, 32)

    def forward(self, x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        q, k, v = self.qkv(x).chunk(3, dim=2)
        mask = mask.to(torch.float32) if self.cast else mask
        probs = torch.softmax(q @ k.transpose(1, 2) + (mask * 1e4 - 1e4)[:, None], 2)
        x = layer_norm(x + self.out(probs @ v), (32,))
        return layer_norm(x + self.down(gelu(self.up(x))), (32,))


def program(cast: bool) -> torch.export.ExportedProgram:
    mask = torch.ones(3, 5, dtype=torch.int64 if cast else torch.float32)
    axes = {0: torch.export.Dim.DYNAMIC, 1: torch.export.Dim.DYNAMIC}
    return torch.export.export(Layer(cast).eval(), (torch.randn(3, 5, 32), mask), dynamic_shapes=(axes, axes))


def convert(made: torch.export.ExportedProgram) -> list[tuple[object, ...]]:
    """Operators with their inputs and outputs, numbered as they come."""
    graph = torch.onnx.export(made, dynamo=True, optimize=True, verbose=False).model.graph
    known: dict[str, int] = {}

    def number(values: Sequence[Any]) -> list[object]:
        return [v and (v.name if "." in v.name else known.setdefault(v.name, len(known))) for v in values]

    return [(node.op_type, number(node.inputs), number(node.outputs)) for node in graph]


traced: list[int] = []
decompose = torch.export.ExportedProgram.run_decompositions


def counted(self, table=None, **more):
    traced.append(len(table))
    return decompose(self, table, **more)


torch.export.ExportedProgram.run_decompositions = counted
plain, cast = program(False), program(True)
whole, whole_cast = convert(plain), convert(cast)
torch.export.ExportedProgram.run_decompositions = lambda self, *_, **__: self
again = convert(plain)
try:
    convert(cast)
    refused = ""
except torch.onnx.errors.OnnxExporterError as error:
    refused = next((line for line in str(error).splitlines() if "No ONNX function" in line), str(error))
print("torch", torch.__version__, "onnxscript", onnxscript.__version__)
print("decomposed and traced again:", len(traced), "programs, tables of", traced, "operations")
print("graph without that, of a layer with no cast:", "the same" if again == whole else "another", f"({len(whole)} nodes)")
print("and of a layer that casts its mask:", refused[:150])
if len(traced) != 2 or again != whole or "aten.to" not in refused or len(whole_cast) <= len(whole):
    raise SystemExit("CHANGED: no second trace, another graph without it, or a function for casts")
print("SEEN: the second trace changes nothing here but aten.to.dtype, which has no function of ONNX.")
PY

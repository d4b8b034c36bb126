#!/usr/bin/env bash
# torchao and compressed-tensors: the scale of symmetric INT8 is max / 127.5, so weights that lie on an INT8 grid already (codes up to 127) come back as other numbers; optimum-quanto keeps them.
set -euo pipefail
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
"${PYTHON:-python3}" -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install --quiet torch==2.13.0 torchao==0.18.0 compressed-tensors==0.20.1 optimum-quanto==0.2.7
"$tmp/venv/bin/python" - 2> "$tmp/warnings" <<'PY' || { cat "$tmp/warnings"; exit 1; }
from importlib.metadata import version

import torch
from compressed_tensors.quantization import QuantizationArgs
from compressed_tensors.quantization.lifecycle.forward import fake_quantize
from compressed_tensors.quantization.utils import calculate_qparams
from optimum import quanto
from torch import nn
from torchao.quantization import Int8WeightOnlyConfig, quantize_

torch.manual_seed(0)
codes = torch.randint(-127, 128, (64, 64)).float()
codes[:, 0] = 127
weight = codes / 1024  # scale 2^-10 for each row: nothing is lost in float32


def linear() -> nn.Sequential:
    layer = nn.Linear(64, 64, bias=False)
    layer.weight = nn.Parameter(weight.clone())
    return nn.Sequential(layer)


back = {}
model = linear()
quantize_(model, Int8WeightOnlyConfig())
back["torchao"] = model[0].weight.dequantize()
args = QuantizationArgs(num_bits=8, strategy="channel", symmetric=True)
scale, zero = calculate_qparams(weight.amin(1, keepdim=True), weight.amax(1, keepdim=True), args)
back["compressed-tensors"] = fake_quantize(weight, scale, zero, args)
model = linear()
quanto.quantize(model, weights=quanto.qint8)
quanto.freeze(model)
back["optimum-quanto"] = model[0].weight.dequantize().detach()
changed = {}
for name, found in back.items():
    changed[name] = (found != weight).float().mean().item()
    print(f"{name:18} largest weight {found[0, 0] * 1024:.3f} steps, weights changed {100 * changed[name]:.1f} %")
print({name: version(name) for name in ("torch", *back)})
print("expected    127.000 steps and no weight changed: INT8, per row, symmetric, codes from -127 to 127")
if changed["optimum-quanto"] or min(changed["torchao"], changed["compressed-tensors"]) < 0.9:
    raise SystemExit("CHANGED: all three now agree about weights on an INT8 grid")
print("SEEN: INT8 weights taken from another tool's file are rounded a second time, and the largest of each row is cut by 0.4 %.")
PY

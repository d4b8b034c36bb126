#!/usr/bin/env bash
# torchinfo: total_mult_adds counts each Linear once per text, whatever its length: an encoder of 512 tokens costs as much as one of a single token; and of PyTorch's own attention layer neither torchinfo nor thop counts a product.
set -euo pipefail
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
"${PYTHON:-python3}" -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install --quiet torch==2.13.0 torchinfo==1.8.0 thop==0.1.1.post2209072238 numpy==2.4.6
"$tmp/venv/bin/python" - <<'PY'
import copy
import warnings
from importlib.metadata import version

import thop
import torch
from torch import nn
from torchinfo import summary

warnings.simplefilter("ignore")
width, inner = 64, 256
forward = nn.Sequential(nn.Linear(width, inner), nn.GELU(), nn.Linear(inner, width)).eval()
encoder = nn.TransformerEncoderLayer(width, 4, inner, dropout=0.0, batch_first=True).eval()
lengths = (1, 16, 512)


def counts(model):
    for length in lengths:
        x = torch.zeros(1, length, width)
        info = summary(model, input_data=x, verbose=0)
        yield info.total_mult_adds, thop.profile(copy.deepcopy(model), (x,), verbose=False)


print({name: version(name) for name in ("torch", "torchinfo", "thop", "numpy")})
linear = [2 * n * width * inner for n in lengths]
projections = [n * 4 * width * width for n in lengths]
print(f"expected    texts of {lengths} tokens: the two Linear {linear} products, attention's four {projections} more")
seen = {}
for name, model in {"two Linear": forward, "nn.TransformerEncoderLayer": encoder}.items():
    found = list(counts(model))
    seen[name] = [info for info, _ in found], [int(macs) for _, (macs, _) in found]
    print(f"{name}: torchinfo {seen[name][0]}, thop {seen[name][1]}, parameters in thop {int(found[0][1][1])}", end=" ")
    print("of", sum(p.numel() for p in model.parameters()))
if len(set(seen["two Linear"][0])) != 1 or len(set(seen["nn.TransformerEncoderLayer"][0])) != 1:
    raise SystemExit("CHANGED: torchinfo counts the tokens of a text")
if seen["two Linear"][1] != linear:
    raise SystemExit("CHANGED: thop's count of Linear")
layer = zip(seen["nn.TransformerEncoderLayer"][1], linear, projections, strict=True)
if any(macs >= wanted + more for macs, wanted, more in layer):
    raise SystemExit("CHANGED: thop counts the attention layer")
print("SEEN: count by torch.utils.flop_counter, or by hand: a stated cost may be 512 times too small.")
PY

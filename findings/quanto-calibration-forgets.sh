#!/usr/bin/env bash
# optimum-quanto: the activation scale is a moving average over the calibration batches, not their range: the same batches in another order give another INT8 model, values seen early are clipped, and Calibration(momentum=...) does not reach the inputs.
set -euo pipefail
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
"${PYTHON:-python3}" -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install --quiet torch==2.13.0 optimum-quanto==0.2.7
"$tmp/venv/bin/python" - 2> "$tmp/warnings" <<'PY' || { cat "$tmp/warnings"; exit 1; }
from importlib.metadata import version

import torch
from optimum.quanto import Calibration, freeze, qint8, quantize
from torch import nn

torch.manual_seed(0)
weight = torch.randn(32, 32) / 6
large = torch.randn(8, 32)
small = [0.1 * torch.randn(8, 32) for _ in range(20)]


def calibrated(batches: list[torch.Tensor], **options: float) -> tuple[float, float]:
    """The scale of the input and the relative error of the answer to the large batch."""
    layer = nn.Linear(32, 32, bias=False)
    layer.weight = nn.Parameter(weight.clone())
    model = nn.Sequential(layer)
    quantize(model, weights=qint8, activations=qint8)
    with torch.no_grad(), Calibration(**options):
        for batch in batches:
            model(batch)
    freeze(model)
    with torch.no_grad():
        exact, found = large @ weight.T, model(large)
    return float(model[0].input_scale), float((found.float() - exact).norm() / exact.norm())


print({name: version(name) for name in ("torch", "optimum-quanto")})
print(f"expected    the scale of the largest value, {float(large.abs().max()) / 127:.4f}, in either order")
seen = {}
for name, batches in {"large batch last": [*small, large], "large batch first": [large, *small]}.items():
    seen[name] = calibrated(batches)
    print(f"{name:17} input scale {seen[name][0]:.4f}, error for the large batch {100 * seen[name][1]:.1f} %")
still = calibrated([large, *small], momentum=0.0)
last = float(small[-1].abs().max()) / 127
print(f"momentum=0.0      input scale {still[0]:.4f}, where {last:.4f}, that of the last batch, is asked for")
first = seen["large batch first"]
if first[0] > 0.7 * float(large.abs().max()) / 127 or first[1] < 0.1:
    raise SystemExit("CHANGED: the range of all batches counts")
if still[0] != first[0]:
    raise SystemExit("CHANGED: the momentum counts for the inputs")
print("SEEN: outliers are forgotten after some twenty batches. Set input_scale and output_scale from ranges of your own.")
PY

#!/usr/bin/env bash
# nncf: a Dataset takes any iterable, but quantize with model_type=TRANSFORMER reads it twice: from a generator the ranges come from the samples after the first subset, or it says that the dataset is empty.
set -euo pipefail
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
"${PYTHON:-python3}" -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install --quiet nncf==3.4.0 openvino==2026.4.1 numpy==2.4.6
"$tmp/venv/bin/python" - 2> "$tmp/log" <<'PY' | grep --text -v "━\|Statistics collection" || { cat "$tmp/log"; exit 1; }
from importlib.metadata import version

import nncf
import numpy as np
import openvino
from openvino import opset13 as op

rng = np.random.default_rng(0)
weights = [rng.normal(size=(16, 16)).astype(np.float32) / 4 for _ in range(2)]
samples = [rng.normal(size=(4, 16)).astype(np.float32) for _ in range(20)]


def ranges(data: object, **options: object) -> list[float] | str:
    """The upper ends of the activations' ranges after post-training quantisation with 10 samples."""
    start = op.parameter([-1, 16], np.float32, name="x")
    flow = start
    for weight in weights:
        flow = op.gelu(op.matmul(flow, op.constant(weight), False, True), "erf")
    try:
        model = nncf.quantize(openvino.Model([flow], [start], "m"), nncf.Dataset(data), subset_size=10, **options)
    except nncf.errors.ValidationError as error:
        return str(error).split(".")[0]
    nodes = [node for node in model.get_ordered_ops() if node.get_type_name() == "FakeQuantize"]
    return [round(float(node.input_value(2).get_node().get_data().max()), 3) for node in nodes]


encoder = {"model_type": nncf.ModelType.TRANSFORMER}
seen = {
    "list": ranges(samples, **encoder),
    "generator of the same 20": ranges((s for s in samples), **encoder),
    "generator of the first 10": ranges((s for s in samples[:10]), **encoder),
    "generator, no model_type": ranges(s for s in samples),
    "list, no model_type": ranges(samples),
}
print({name: version(name) for name in ("nncf", "openvino", "numpy")})
print("expected    one result for the same samples: the documentation asks for an iterable")
for name, found in seen.items():
    print(f"{name:26} {found}")
first, second, third, fourth, fifth = seen.values()
if first == second or not isinstance(third, str) or fourth != fifth:
    raise SystemExit("CHANGED: a generator gives what the list gives")
print("SEEN: the smoothing saw other texts than the ranges. Give nncf.Dataset a list.")
PY

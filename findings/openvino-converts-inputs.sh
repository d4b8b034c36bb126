#!/usr/bin/env bash
# OpenVINO: a numpy input of another type is converted without a check: 1.7 for int64 is 1, 2**33 + 5 for int32 is 5, -1 for uint8 is 255, the text "7" is 7. An openvino.Tensor of the same values is refused.
set -euo pipefail
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
"${PYTHON:-python3}" -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install --quiet numpy==2.4.6 openvino==2026.4.1
"$tmp/venv/bin/python" - <<'PY'
import numpy as np
import openvino
import openvino.opset13 as op

core = openvino.Core()


def ask(kind: type, data: object) -> object:
    x = op.parameter([-1], kind, name="x")
    compiled = core.compile_model(openvino.Model([op.result(op.convert(x, "f32"))], [x], "m"), "CPU")
    try:
        return compiled({0: data})[0].tolist()
    except RuntimeError:
        return "refused"


cases = [
    (np.int64, np.array([1.7, -1.7])),
    (np.int32, np.array([2**33 + 5])),
    (np.uint8, np.array([-1, 300])),
    (np.int8, np.array([200.0])),
    (np.int64, np.array(["7"])),
]
seen = [(ask(kind, data), ask(kind, openvino.Tensor(data))) for kind, data in cases]
print("openvino", openvino.__version__, "numpy", np.__version__)
print("expected    an array that is not of the input's type is refused, or its values are checked")
for (kind, data), (array, tensor) in zip(cases, seen, strict=True):
    print(f"{kind.__name__:6} {data!s:14} array {array!s:14} openvino.Tensor {tensor}")
if [array for array, _ in seen] != [[1, -1], [5], [255, 44], [-56], [7]] or {tensor for _, tensor in seen} != {"refused"}:
    raise SystemExit("CHANGED: arrays of another type are refused or checked")
print("SEEN: scores passed as token ids, or ids that overflow, give an answer; wrap inputs in openvino.Tensor to have them checked.")
PY

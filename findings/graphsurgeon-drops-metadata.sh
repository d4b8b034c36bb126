#!/usr/bin/env bash
# onnx-graphsurgeon: import and export loses the model's metadata_props, those of the nodes, the doc string and the model version.
set -euo pipefail
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
"${PYTHON:-python3}" -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install --quiet numpy==2.4.6 onnx==1.23.2 onnx-graphsurgeon==0.6.1
"$tmp/venv/bin/python" - <<'PY'
import numpy as np
import onnx
import onnx_graphsurgeon as gs
from onnx import TensorProto, helper, numpy_helper

graph = helper.make_graph(
    [helper.make_node("MatMul", ["x", "w"], ["h"], name="dense"), helper.make_node("Relu", ["h"], ["y"])],
    "g",
    [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 2])],
    [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 2])],
    [numpy_helper.from_array(np.eye(2, dtype=np.float32), "w")],
)
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10, doc_string="about", model_version=3)
helper.set_model_props(model, {"labels": '["PER", "LOC"]', "max_length": "512"})
model.graph.node[0].metadata_props.add(key="pkg.torch.onnx.name_scopes", value="encoder.layer.0")


def carried(m: onnx.ModelProto) -> dict[str, object]:
    return {
        "metadata_props": {p.key: p.value for p in m.metadata_props},
        "of the node": [p.key for p in m.graph.node[0].metadata_props],
        "doc_string": m.doc_string,
        "model_version": m.model_version,
    }


before, after = carried(model), carried(gs.export_onnx(gs.import_onnx(model)))
print("onnx", onnx.__version__, "onnx-graphsurgeon", gs.__version__)
print("expected   ", before, "(nothing was edited)")
print("seen       ", after)
if after["metadata_props"] != {} or after["of the node"] != [] or after["model_version"] != 0:
    raise SystemExit("CHANGED: the metadata now survives")
print("SEEN: labels, pooling and the quantiser's notes kept in metadata_props are gone after a one-node edit; the graph still runs.")
PY

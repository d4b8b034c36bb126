#!/usr/bin/env bash
# skl2onnx: a CountVectorizer with the default word pattern becomes a model whose pattern is [a-zA-Z0-9_]+, and \w+ is ASCII too at run time: Russian and Chinese texts are all zeros, "niño" is cut, with no warning.
set -euo pipefail
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
"${PYTHON:-python3}" -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install --quiet skl2onnx==1.20.0 scikit-learn==1.9.1 onnx==1.23.2 onnxruntime==1.32.0 numpy==2.4.6
"$tmp/venv/bin/python" - <<'PY'
import warnings
from importlib.metadata import version

import numpy as np
import onnxruntime
from skl2onnx import to_onnx
from skl2onnx.common.data_types import StringTensorType
from sklearn.feature_extraction.text import CountVectorizer

warnings.simplefilter("error")
texts = ["the model reads words", "el niño comió mañana", "привет новый мир", "今天 天气"]
print(*(f"{name} {version(name)}" for name in ("skl2onnx", "scikit-learn", "onnxruntime")))
print("expected    the ONNX model counts the words that scikit-learn counts, or the conversion says that it cannot")
seen = {}
for name, options in {"default": {}, r"\w+": {"token_pattern": r"\w+"}, "[^ ]+": {"token_pattern": "[^ ]+"}}.items():
    counter = CountVectorizer(lowercase=False, **options).fit(texts)
    model = to_onnx(counter, initial_types=[("text", StringTensorType([None, 1]))])
    pattern = next(a.s.decode() for node in model.graph.node for a in node.attribute if a.name == "tokenexp")
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    (rows,) = session.run(None, {"text": np.array(texts, dtype=object).reshape(-1, 1)})
    seen[name] = (counter.transform(texts).sum(axis=1).ravel().tolist()[0], rows.sum(axis=1).astype(int).tolist())
    print(f"token_pattern {name:8} in the file {pattern:16} words per text: scikit-learn", seen[name][0], "ONNX", seen[name][1])
if seen["[^ ]+"][0] != seen["[^ ]+"][1] or seen["default"][0] != [4, 4, 3, 2]:
    raise SystemExit("CHANGED: the words of the reference are counted otherwise")
if any(seen[name][1] != [4, 1, 0, 0] for name in ("default", r"\w+")):
    raise SystemExit("CHANGED: the ONNX model counts other words")
print("SEEN: a classifier of such texts answers by its bias alone. Fit with a pattern that names the separators, such as [^ ]+.")
PY

#!/usr/bin/env bash
# onnxruntime-extensions: gen_processing_models of an uncased BertTokenizer does not strip accents (strip_accents=None means "as lower case" to BERT): "café" is [UNK].
set -euo pipefail
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
"${PYTHON:-python3}" -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install --quiet onnxruntime-extensions==0.15.2 onnxruntime==1.32.0 onnx==1.23.2 transformers==5.23.0 tokenizers==0.23.3 numpy==2.4.6
"$tmp/venv/bin/python" - <<'PY'
import os
from importlib.metadata import version

os.environ["TRANSFORMERS_VERBOSITY"] = "error"
import numpy as np
import onnxruntime
from onnxruntime_extensions import gen_processing_models, get_library_path
from transformers import BertTokenizer

tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "cafe", "munchen", "manana", "hello"]
tokenizer = BertTokenizer(vocab={token: i for i, token in enumerate(tokens)})
options = onnxruntime.SessionOptions()
options.register_custom_ops_library(get_library_path())
graph = gen_processing_models(tokenizer, pre_kwargs={})[0]
session = onnxruntime.InferenceSession(graph.SerializeToString(), options, providers=["CPUExecutionProvider"])
seen = {}
for text in ("hello", "café", "München", "mañana"):
    ids = session.run(["input_ids"], {"text": np.array([text], object)})[0].ravel().tolist()
    seen[text] = (tokenizer(text)["input_ids"], ids)
print({name: version(name) for name in ("onnxruntime-extensions", "onnxruntime", "transformers")})
print("expected    the ids of the tokenizer that was converted")
for text, (before, after) in seen.items():
    print(f"{text:8} transformers {before}  onnxruntime {after}")
if [before == after for before, after in seen.values()] != [True, False, False, False] or seen["café"][1] != [2, 1, 3]:
    raise SystemExit("CHANGED: the conversion now strips accents as BERT does")
print("SEEN: English passes each test; every accented word of an uncased multilingual model is unknown.")
PY

#!/usr/bin/env bash
# sentence-transformers: CrossEncoder of a folder whose config.json has no "architectures" asks for one label, whatever id2label says, and fails at the weights of the two that are there.
set -euo pipefail
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
"${PYTHON:-python3}" -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install --quiet torch==2.13.0 transformers==5.23.0 sentence-transformers==6.2.0 tokenizers==0.23.3
"$tmp/venv/bin/python" - <<'PY'
import json
import os
import tempfile

os.environ["TRANSFORMERS_VERBOSITY"] = "error"
import sentence_transformers
from sentence_transformers import CrossEncoder
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from transformers import AutoModelForSequenceClassification, PreTrainedTokenizerFast, XLMRobertaConfig, XLMRobertaForSequenceClassification

pieces = ["<s>", "<pad>", "</s>", "<unk>", "one", "two"]
made = Tokenizer(models.WordLevel({piece: i for i, piece in enumerate(pieces)}, unk_token="<unk>"))
made.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
made.post_processor = processors.TemplateProcessing(
    single="<s> $A </s>", pair="<s> $A </s> $B </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
)
shape = {"vocab_size": 6, "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16, "max_position_embeddings": 20}


def labels(folder: str) -> object:
    try:
        return CrossEncoder(folder, device="cpu").num_labels
    except Exception as error:
        return type(error).__name__


seen = {}
for count in (1, 2, 3):
    with tempfile.TemporaryDirectory() as folder:
        names = {i: f"label {i}" for i in range(count)}
        XLMRobertaForSequenceClassification(XLMRobertaConfig(**shape, id2label=names)).save_pretrained(folder)
        PreTrainedTokenizerFast(tokenizer_object=made, pad_token="<pad>", unk_token="<unk>").save_pretrained(folder)
        whole = labels(folder)
        path = os.path.join(folder, "config.json")
        config = json.load(open(path))
        del config["architectures"]
        json.dump(config, open(path, "w"))
        seen[count] = (whole, labels(folder), AutoModelForSequenceClassification.from_pretrained(folder).config.num_labels)
print("sentence-transformers", sentence_transformers.__version__)
print("expected    id2label says how many labels there are, as it does for transformers")
for count, answers in seen.items():
    print(f"{count} labels: with architectures {answers[0]}, without {answers[1]}; transformers without {answers[2]}")
if any(seen[count][0] != count or seen[count][2] != count for count in seen) or seen[1][1] != 1 or any(seen[count][1] == count for count in (2, 3)):
    raise SystemExit("CHANGED: id2label decides")
print("SEEN: the error speaks of mismatched sizes of weights; what is missing is one line of config.json.")
PY

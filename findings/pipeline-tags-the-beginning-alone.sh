#!/usr/bin/env bash
# transformers: the token-classification pipeline drops what follows model_max_length without a word; text-classification reads all of it and warns.
set -euo pipefail
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
"${PYTHON:-python3}" -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install --quiet torch==2.13.0 transformers==5.23.0 tokenizers==0.23.3
"$tmp/venv/bin/python" - <<'PY' 2>"$tmp/said"
import transformers
from tokenizers import Tokenizer, models, pre_tokenizers, processors

pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *(f"w{i}" for i in range(40))]
made = Tokenizer(models.WordLevel({w: i for i, w in enumerate(pieces)}, unk_token="[UNK]"))
made.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
frame = [("[CLS]", 2), ("[SEP]", 3)]
made.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=frame)
tokenizer = transformers.PreTrainedTokenizerFast(
    tokenizer_object=made, unk_token="[UNK]", pad_token="[PAD]", cls_token="[CLS]", sep_token="[SEP]", model_max_length=16
)
config = transformers.BertConfig(
    vocab_size=len(pieces), hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16,
    max_position_embeddings=64, id2label={0: "PER", 1: "LOC"},
)
text = " ".join(f"w{i}" for i in range(40))
model = transformers.BertForTokenClassification(config).eval()
tags = transformers.pipeline("token-classification", model=model, tokenizer=tokenizer, device="cpu")(text)
print("transformers", transformers.__version__)
print("expected    a tag for each of 40 words (the encoder has 64 positions), or a warning")
print("seen       ", len(tags), "words with a tag, the last one", tags[-1]["word"])
if len(tags) != 14:
    raise SystemExit("CHANGED: the pipeline tags the whole text")
PY
if grep -qi "longer than\|truncat" "$tmp/said"; then echo "CHANGED: it warns"; exit 1; fi
echo "SEEN: the entities behind the limit are missing, and nothing says that the text was cut; a stride has to be asked for."

#!/usr/bin/env bash
# A tokenizer with WhitespaceSplit converted to OpenVINO splits at punctuation too, and with Whitespace (\w+|[^\w\s]+) it cuts Hindi and Tamil words at their vowel signs.
set -euo pipefail
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
"${PYTHON:-python3}" -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install --quiet openvino-tokenizers==2026.4.1.0 openvino==2026.4.1 transformers==5.23.0 tokenizers==0.23.3 numpy==2.4.6
"$tmp/venv/bin/python" - <<'PY'
import os
from importlib.metadata import version

os.environ["TRANSFORMERS_VERBOSITY"] = "error"
import openvino
from openvino_tokenizers import convert_tokenizer

from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

texts = ["don't", "3.14", "e-mail", "हिन्दी", "தமிழ்", "hello"]
pieces = sorted({p for text in texts for c in (*text, text) for p in (c, "##" + c)})
vocabulary = {token: i for i, token in enumerate(["[PAD]", "[UNK]", *pieces, "don", "mail", "14"])}
seen = {}
for name, step in {"WhitespaceSplit": pre_tokenizers.WhitespaceSplit(), "Whitespace": pre_tokenizers.Whitespace()}.items():
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = step
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="[UNK]", pad_token="[PAD]")
    compiled = openvino.Core().compile_model(convert_tokenizer(fast), "CPU")
    for text in texts:
        after = fast.convert_ids_to_tokens(compiled([text])["input_ids"][0].tolist())
        seen[name, text] = (fast.tokenize(text), after)
print({name: version(name) for name in ("openvino-tokenizers", "openvino", "transformers")})
print("expected    the tokens of the tokenizer that was converted")
for (name, text), (before, after) in seen.items():
    print(f"{name:15} {text:8} transformers {before}  openvino {after}")
different = {key for key, (before, after) in seen.items() if before != after}
hindi = {(name, text) for name in ("WhitespaceSplit", "Whitespace") for text in ("हिन्दी", "தமிழ்")}
if different != hindi | {("WhitespaceSplit", text) for text in ("don't", "3.14", "e-mail")}:
    raise SystemExit("CHANGED: the conversion now splits as the tokenizer does, or differs on other texts")
print("SEEN: the conversion succeeds, English prose looks right, and numbers, contractions and Indic words have other ids.")
PY

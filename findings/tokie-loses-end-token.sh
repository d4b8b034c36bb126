#!/usr/bin/env bash
# tokie drops special tokens of tokenizer.json files: XLM-R's texts lose the closing </s> (a pair is "<s> A <s> B"), RoBERTa's lose <s>, </s> and the leading blank.
set -euo pipefail
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
"${PYTHON:-python3}" -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install --quiet tokie==0.1.4 tokenizers==0.23.3
"$tmp/venv/bin/python" - <<'PY'
import os
import tempfile
from importlib.metadata import version

import tokenizers
import tokie
from tokenizers import Tokenizer, models, pre_tokenizers, processors


def by_tokie(tokenizer: Tokenizer) -> tokie.Tokenizer:
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "tokenizer.json")
        tokenizer.save(path)
        return tokie.Tokenizer.from_json(path)



pieces = ["<s>", "<pad>", "</s>", "<unk>", "▁hello", "▁world", "▁", *"abcdefghijklmnopqrstuvwxyz", "<mask>"]
tokenizer = Tokenizer(models.Unigram([(p, -float(i > 3)) for i, p in enumerate(pieces)], unk_id=3))
tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
tokenizer.add_special_tokens(["<s>", "<pad>", "</s>", "<unk>", "<mask>"])
template = {"single": "<s> $A </s>", "pair": "<s> $A </s> </s> $B </s>", "special_tokens": [("<s>", 0), ("</s>", 2)]}
tokenizer.post_processor = processors.TemplateProcessing(**template)
other = by_tokie(tokenizer)
single = tokenizer.encode("hello world").ids, list(other.encode("hello world").ids)
pair = tokenizer.encode("hello", "world"), other.encode_pair("hello", "world")
alphabet = ["<s>", "<pad>", "</s>", "<unk>", *sorted(pre_tokenizers.ByteLevel.alphabet()), "Ġh"]
roberta = Tokenizer(models.BPE(vocab={p: i for i, p in enumerate(alphabet)}, merges=[("Ġ", "h")]))
roberta.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
roberta.add_special_tokens(["<s>", "<pad>", "</s>", "<unk>"])
roberta.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0), add_prefix_space=True)
bytewise = roberta.encode("hi").tokens, [alphabet[i] for i in by_tokie(roberta).encode("hi").ids]
print("tokie", version("tokie"), "tokenizers", tokenizers.__version__)
print("expected    the ids of tokenizers:", single[0], "pair", pair[0].ids, "types", pair[0].type_ids)
print("seen       ", single[1], "pair", list(pair[1].ids), "types", list(pair[1].type_ids))
print("RoBERTa     expected", bytewise[0], " seen", bytewise[1])
if single[0] != [0, 4, 5, 2] or single[1] != [0, 4, 5] or 2 in pair[1].ids:
    raise SystemExit("CHANGED: the closing token is now added")
if bytewise != (["<s>", "Ġh", "i", "</s>"], ["h", "i"]):
    raise SystemExit("CHANGED: the special tokens of RoBERTa are now added")
print("SEEN: each embedding shifts, and classification by <s> reads another token; WordPiece files are read right, so a test on BERT passes.")
PY

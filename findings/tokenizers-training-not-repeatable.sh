#!/usr/bin/env bash
# tokenizers: a WordPiece or Unigram tokenizer trained twice on the same text has other ids for the same tokens, and WordPiece now and then other tokens too; BPE is the same each time.
set -euo pipefail
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
"${PYTHON:-python3}" -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install --quiet tokenizers==0.23.3
"$tmp/venv/bin/python" - <<'PY'
from importlib.metadata import version

from tokenizers import Tokenizer, models, pre_tokenizers, trainers

text = "the quick brown fox jumps over the lazy dog while seventeen zebras exit a hive of bees by moonlight and quietly back"
asked = "quick zebras"


def trained(kind: str, size: int) -> Tokenizer:
    options = {"vocab_size": size, "show_progress": False, "special_tokens": ["[UNK]"]}
    if kind == "Unigram":
        tokenizer, trainer = Tokenizer(models.Unigram()), trainers.UnigramTrainer(unk_token="[UNK]", **options)
    elif kind == "WordPiece":
        tokenizer, trainer = Tokenizer(models.WordPiece(unk_token="[UNK]")), trainers.WordPieceTrainer(**options)
    else:
        tokenizer, trainer = Tokenizer(models.BPE(unk_token="[UNK]")), trainers.BpeTrainer(**options)
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.train_from_iterator([text] * 3, trainer)
    return tokenizer


print("tokenizers", version("tokenizers"))
print("expected    the same text, the same options and the same process give the same tokenizer")
same = {}
for kind in ("BPE", "WordPiece", "Unigram"):
    made = [trained(kind, 60) for _ in range(6)]
    vocabularies = [tokenizer.get_vocab() for tokenizer in made]
    tokens = {tuple(sorted(vocabulary)) for vocabulary in vocabularies}
    same[kind] = all(vocabulary == vocabularies[0] for vocabulary in vocabularies)
    print(f"{kind:10} trained 6 times: equal {same[kind]}, sets of tokens {len(tokens)}")
    print("           ids of", repr(asked), [tokenizer.encode(asked).ids for tokenizer in made[:3]])
if not same["BPE"]:
    raise SystemExit("CHANGED: BPE differs too")
if same["WordPiece"] or same["Unigram"]:
    raise SystemExit("CHANGED: training is repeatable")
print("SEEN: a tokenizer made again does not fit the model, the cache of ids or the vocabulary list of the first. Keep the file; never retrain it in a build.")
PY

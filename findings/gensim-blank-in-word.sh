#!/usr/bin/env bash
# gensim: save_word2vec_format writes a word with a blank in it (Vietnamese) with no word; the text form cannot be loaded, the binary one fails or has other words and vectors.
set -euo pipefail
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
"${PYTHON:-python3}" -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install --quiet gensim==4.4.0
"$tmp/venv/bin/python" - <<'PY'
import os
import tempfile
from importlib.metadata import version

import numpy as np
from gensim.models import KeyedVectors


def again(words: list[str], binary: bool) -> str:
    saved = KeyedVectors(3)
    saved.add_vectors(words, np.arange(9, dtype=np.float32).reshape(3, 3) / 8 + 0.5)
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "vectors")
        saved.save_word2vec_format(path, binary=binary)
        try:
            loaded = KeyedVectors.load_word2vec_format(path, binary=binary)
        except Exception as error:
            return type(error).__name__
    same = loaded.index_to_key == words and np.array_equal(loaded.vectors, saved.vectors)
    return "same" if same else f"other: {loaded.index_to_key}, first vector {loaded.vectors[0].tolist()}"


print("gensim", version("gensim"))
print("expected    what is saved comes back, or saving refuses the word")
seen = {}
for words in (["đẹp", "y", "z"], ["Hà Nội", "y", "z"], ["đẹp ", "y", "z"]):
    seen[words[0]] = [again(words, binary) for binary in (False, True)]
    print(f"{words[0]!r:9} text form: {seen[words[0]][0]}; binary form: {seen[words[0]][1]}")
if seen["đẹp"] != ["same", "same"] or "ValueError" not in seen["Hà Nội"][0] or "same" in seen["Hà Nội"] or not seen["đẹp "][1].startswith("other"):
    raise SystemExit("CHANGED: blanks in words are kept or refused")
print("SEEN: the blank ends the word, and what follows is read as numbers. Put _ for it, or use save() and load().")
PY

#!/usr/bin/env bash
# gliner: its usual word splitter takes a run of Chinese, Japanese or Thai letters for one word, so no entity inside can be marked, and cuts Hindi at each vowel sign: one name is 6 words of the 12 that a span may have.
set -euo pipefail
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
"${PYTHON:-python3}" -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install --quiet torch==2.13.0 transformers==5.3.0 gliner==0.2.29
"$tmp/venv/bin/python" - <<'PY'
from importlib.metadata import version

from gliner import GLiNERConfig
from gliner.data_processing.tokenizer import WordsSplitter

config = GLiNERConfig()
split = WordsSplitter(config.words_splitter_type)
cases = {
    "English": ("Narendra Modi visited Delhi.", "Delhi"),
    "Chinese": ("奥巴马访问了巴黎。", "巴黎"),
    "Japanese": ("大統領は東京を訪れた。", "東京"),
    "Thai": ("นายกเดินทางไปกรุงเทพ", "กรุงเทพ"),
    "Hindi": ("नरेंद्र मोदी दिल्ली गए।", "नरेंद्र"),
}
print({name: version(name) for name in ("gliner", "torch")})
print("the config's splitter:", config.words_splitter_type, " words that a span may have:", config.max_width)
print("expected    the name begins and ends at words, and is one word or a few")
reached = {}
for name, (text, entity) in cases.items():
    words = [(word, start, end) for word, start, end in split(text)]
    begin = text.index(entity)
    starts, ends = {start for _, start, _ in words}, {end for _, _, end in words}
    inside = [word for word, start, end in words if start >= begin and end <= begin + len(entity)]
    reached[name] = (begin in starts and begin + len(entity) in ends, len(inside))
    print(f"{name:9} {entity}: can be marked {reached[name][0]}, its words {len(inside)}; words {[word for word, _, _ in words]}")
if not reached["English"][0] or reached["English"][1] != 1:
    raise SystemExit("CHANGED: an English name is not one word")
if any(reached[name][0] for name in ("Chinese", "Japanese", "Thai")) or reached["Hindi"][1] < 5:
    raise SystemExit("CHANGED: names of these scripts are words")
print("SEEN: a multilingual model answers [] or a whole clause in these languages. Split the text before and pass words.")
PY

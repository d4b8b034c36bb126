#!/usr/bin/env bash
# tantivy's default tokenizer removes tokens of more than 40 bytes: a Japanese or Chinese run of 14 characters without punctuation cannot be found by any query.
set -euo pipefail
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
"${PYTHON:-python3}" -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install --quiet tantivy==0.27.0
"$tmp/venv/bin/python" - <<'PY'
from importlib.metadata import version

import tantivy

texts = ["東京都に住んでいます今日は", "東京都に住んでいます今日は晴", "Donaudampfschifffahrtsgesellschaftskapitän", "今天天气很好我去学校上课了"]
builder = tantivy.SchemaBuilder()
builder.add_text_field("text", stored=True)
index = tantivy.Index(builder.build())
writer = index.writer(heap_size=15_000_000, num_threads=1)
for text in texts:
    writer.add_document(tantivy.Document(text=[text]))
writer.commit()
index.reload()
searcher = index.searcher()
found = {}
for text in texts:
    hits = searcher.search(index.parse_query(text, ["text"]), 5).hits
    found[text] = [searcher.doc(address)["text"][0] for _, address in hits] == [text]
print("tantivy", version("tantivy"))
print("expected    each text finds itself, word for word")
for text, hit in found.items():
    print(f"{len(text):3} characters {len(text.encode()):3} bytes  found {hit}  {text}")
if list(found.values()) != [True, False, False, True]:
    raise SystemExit("CHANGED: long runs of letters are now indexed")
print("SEEN: the limit counts bytes, so it is 39 letters of English and 13 of Japanese, which has no blanks to break a sentence at.")
PY

#!/usr/bin/env bash
# langchain-text-splitters: add_start_index with a length in tokens or words and an overlap gives -1, or the place of another occurrence: the overlap is taken off as characters.
set -euo pipefail
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
"${PYTHON:-python3}" -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install --quiet langchain-text-splitters==1.1.3 langchain-core==1.8.3
"$tmp/venv/bin/python" - <<'PY'
from importlib.metadata import version

from langchain_text_splitters import RecursiveCharacterTextSplitter


def wrong(text: str, size: int, overlap: int, length: object) -> tuple[int, int, int]:
    splitter = RecursiveCharacterTextSplitter(chunk_size=size, chunk_overlap=overlap, length_function=length, add_start_index=True)
    chunks = splitter.create_documents([text])
    starts = [chunk.metadata["start_index"] for chunk in chunks]
    known = [start for start in starts if start >= 0]
    back = sum(later < start for start, later in zip(known, known[1:], strict=False))
    return len(chunks), starts.count(-1), back


def words(text: str) -> int:
    return len(text.split())


plain = " ".join(f"word{i} alpha beta gamma" for i in range(12))
again = "the cat sat. " * 12
seen = {
    "characters": wrong(plain, 60, 30, len),
    "words": wrong(plain, 10, 6, words),
    "words, text that repeats": wrong(again, 9, 6, words),
}
print("langchain-text-splitters", version("langchain-text-splitters"))
print("expected    each chunk's place in the text, growing, whatever measures the length")
for name, (chunks, lost, back) in seen.items():
    print(f"{name:26} {chunks} chunks, {lost} at -1, {back} before the chunk in front")
if seen["characters"][1:] != (0, 0) or not seen["words"][1] or not seen["words, text that repeats"][2]:
    raise SystemExit("CHANGED: start_index fits a length in words")
print("SEEN: with a tokenizer's length, as encoders need it, answers cannot be traced to their place in the document.")
PY

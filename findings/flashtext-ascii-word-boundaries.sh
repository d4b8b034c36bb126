#!/usr/bin/env bash
# flashtext counts only A-Z, a-z, 0-9 and _ as letters: the keyword "ana" is found in "mañana", "caf" in "café"; and after an İ all spans are shifted.
set -euo pipefail
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
"${PYTHON:-python3}" -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install --quiet flashtext==2.7
"$tmp/venv/bin/python" - <<'PY'
from importlib.metadata import version

from flashtext import KeywordProcessor


def find(keyword: str, text: str) -> list[str]:
    processor = KeywordProcessor()
    processor.add_keyword(keyword)
    return [text[start:end] for _, start, end in processor.extract_keywords(text, span_info=True)]


cases = [("ana", "banana"), ("ana", "mañana"), ("caf", "café"), ("हिन", "हिन्दी"), ("köln", "nach Köln"), ("köln", "İİ köln ok")]
seen = {case: find(*case) for case in cases}
print("flashtext", version("flashtext"))
print("expected    whole words only, and text[start:end] is the keyword")
for (keyword, text), found in seen.items():
    print(f"{keyword:6} in {text:12} {found}")
if list(seen.values())[:5] != [[], ["ana"], ["caf"], ["हिन"], ["Köln"]]:
    raise SystemExit("CHANGED: letters beyond ASCII are now part of a word")
if seen["köln", "İİ köln ok"] == ["köln"]:
    raise SystemExit("CHANGED: spans now fit a text that grows when it is lowered")
print("SEEN: gazetteer labels for Spanish, French or Hindi mark pieces of words, and one Turkish capital moves every later label.")
PY

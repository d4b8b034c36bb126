#!/usr/bin/env bash
# jiwer: one tab, line break, U+00A0 or U+3000 between two words does not part them (WER 100 %), two in a row do; the ASCII blank is the only separator.
set -euo pipefail
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
"${PYTHON:-python3}" -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install --quiet jiwer==4.0.0
"$tmp/venv/bin/python" - <<'PY'
from importlib.metadata import version

import jiwer

print("jiwer", version("jiwer"))
print("expected    wer('a b', 'a' + white space + 'b') is 0, or the white space counts as a letter, however many there are")
seen = {}
for name, blank in {"blank": " ", "tab": "\t", "line break": "\n", "U+00A0": "\u00a0", "U+3000": "\u3000"}.items():
    seen[name] = (jiwer.wer("東京 タワー", f"東京{blank}タワー"), jiwer.wer("東京 タワー", f"東京{blank * 2}タワー"))
    print(f"{name:11} one: {seen[name][0]}  two: {seen[name][1]}")
if seen.pop("blank") != (0, 0) or set(seen.values()) != {(1.0, 0.0)}:
    raise SystemExit("CHANGED: one white space of another kind parts words too")
print("SEEN: RemoveMultipleSpaces makes a blank of two of any kind, the words are cut at ASCII blanks alone; put RemoveWhiteSpace(replace_by_space=True) in front for tabs and line breaks.")
PY

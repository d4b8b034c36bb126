#!/usr/bin/env bash
# jieba: add_word takes a word with a character outside its block of Chinese signs (𠮷, 㐀, 〇, full-width letters), reports nothing and never finds it: the text is cut before the dictionary is asked.
set -euo pipefail
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
"${PYTHON:-python3}" -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install --quiet jieba==0.42.1 setuptools==80.9.0
"$tmp/venv/bin/python" - <<'PY'
from importlib.metadata import version

import jieba

jieba.setLogLevel(60)
words = ("吉野家家", "𠮷野家", "㐀字词", "二〇二六年", "ＡＢＣ公司", "可口·可乐")
print("jieba", version("jieba"))
print("expected    a word that was added with a high frequency is one word of the text")
found = {}
for word in words:
    jieba.add_word(word, 10**6)
    cut = jieba.lcut(f"我去{word}吃饭")
    found[word] = word in cut, jieba.get_FREQ(word)
    print(word, "in the dictionary with frequency", found[word][1], cut)
if not found["吉野家家"][0]:
    raise SystemExit("CHANGED: an ordinary word is not found either")
if any(freq != 10**6 for _, freq in found.values()):
    raise SystemExit("CHANGED: the dictionary does not hold the words")
if any(hit for word, (hit, _) in found.items() if word != "吉野家家"):
    raise SystemExit("CHANGED: a word with such a character is found")
print("SEEN: names with rare characters, years with 〇 and transcribed names with · stay in pieces whatever is added.")
PY

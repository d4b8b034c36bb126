#!/usr/bin/env bash
# jieba: the cache of a dictionary is told by its path and is taken while it is newer than the file: a dictionary replaced by one with an older time (cp -p, rsync, unzip) is never read, by no new process either.
set -euo pipefail
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
"${PYTHON:-python3}" -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install --quiet jieba==0.42.1 setuptools==80.9.0
"$tmp/venv/bin/python" - <<'PY'
import os
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

import jieba

jieba.setLogLevel(60)
folder = Path(tempfile.mkdtemp())
path = folder / "dict.txt"


def cut(text):
    tokenizer = jieba.Tokenizer(str(path))  # a new tokenizer, as in a new process
    tokenizer.tmp_dir = str(folder)  # instead of the system's temporary folder
    return tokenizer.lcut(text, HMM=False)


text = "人工智能学习"
print("jieba", version("jieba"))
print("expected    a new tokenizer cuts by the dictionary that the file holds now")
path.write_text("人工智能 100 n\n学习 100 v\n", encoding="utf-8")
first = cut(text)
path.write_text("人工 100 n\n智能 100 n\n学习 100 v\n", encoding="utf-8")
os.utime(path, (time.time() - 3600,) * 2)  # the file was made an hour ago and copied with its time
second = cut(text)
(cache,) = folder.glob("jieba*.cache")
cache.unlink()
fresh = cut(text)
print("first dictionary         ", first)
print("second, an hour older    ", second)
print("the same without the cache", fresh)
if first != ["人工智能", "学习"] or fresh != ["人工", "智能", "学习"]:
    raise SystemExit("CHANGED: the dictionaries are read otherwise")
if second == fresh:
    raise SystemExit("CHANGED: the dictionary of the file is used")
print("SEEN: the words of the old dictionary, with no message. Touch the file, or remove jieba's cache from the temporary folder.")
PY

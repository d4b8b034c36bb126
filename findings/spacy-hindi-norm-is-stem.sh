#!/usr/bin/env bash
# spaCy: for Hindi token.norm_, elsewhere the word in lower case, has its ending cut off: हाथी (elephant) is हाथ (hand), लड़का (boy) and लड़की (girl) are one; PhraseMatcher(attr="NORM") finds elephants in hands, and the default tok2vec reads NORM for the word.
set -euo pipefail
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
"${PYTHON:-python3}" -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install --quiet spacy==3.8.18
"$tmp/venv/bin/python" - <<'PY'
from importlib.metadata import version

import spacy
from spacy.matcher import PhraseMatcher

print("spacy", version("spacy"))
print("expected    NORM parts words of other meaning, in Hindi as in Marathi, of the same script")
words = {"हाथ": "hand", "हाथी": "elephant", "लड़का": "boy", "लड़की": "girl", "माल": "goods", "माली": "gardener", "पान": "betel", "पानी": "water"}
hindi, marathi = spacy.blank("hi"), spacy.blank("mr")
norm = {word: hindi.make_doc(word)[0].norm_ for word in words}
other = {word: marathi.make_doc(word)[0].norm_ for word in words}
for word, meaning in words.items():
    print(f"{word} ({meaning}): NORM in Hindi {norm[word]}, in Marathi {other[word]}")
matches = {}
for attribute in ("LOWER", "NORM"):
    matcher = PhraseMatcher(hindi.vocab, attr=attribute)
    matcher.add("elephant", [hindi.make_doc("हाथी")])
    text = hindi.make_doc("मेरा हाथ बड़ा है")  # my hand is big
    matches[attribute] = [text[start:end].text for _, start, end in matcher(text)]
    print(f"the elephant by {attribute} in {text.text}:", matches[attribute])
tok2vec = spacy.blank("hi").add_pipe("ner").model.get_ref("tok2vec")
columns = [node.attrs["columns"] for node in tok2vec.walk() if "columns" in node.attrs]
print("what the default NER reads of a word:", columns)
if any(other[word] != word for word in words) or matches["LOWER"]:
    raise SystemExit("CHANGED: the reference (Marathi, LOWER) is otherwise")
if norm["हाथी"] != norm["हाथ"] or norm["लड़का"] != norm["लड़की"] or norm["माली"] != norm["माल"] or matches["NORM"] != ["हाथ"] or columns[0][0] != "NORM":
    raise SystemExit("CHANGED: NORM of Hindi is no longer a stem")
print("SEEN: rules by NORM find other words in Hindi, and a trained tagger sees one word for two. Match by LOWER or ORTH.")
PY

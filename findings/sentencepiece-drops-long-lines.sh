#!/usr/bin/env bash
# sentencepiece's trainer drops lines of more than 4192 bytes, not characters: Hindi paragraphs of 1700 characters are left out and each letter is unknown, while English ones of 3000 stay.
set -euo pipefail
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
"${PYTHON:-python3}" -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install --quiet sentencepiece==0.2.3
"$tmp/venv/bin/python" - <<'PY'
import io
import random
from importlib.metadata import version

import sentencepiece

random.seed(0)
english = " ".join(random.choices("the quick brown fox jumps over lazy dogs and cats near river banks every day".split(), k=600))[:3000]
hindi = " ".join(random.choices("भारत एक विशाल देश है और यहाँ कई भाषाएँ बोली जाती हैं लोग".split(), k=400))[:1700]
asked = "भारत एक देश"


def trained(**options: int) -> tuple[list[str], int]:
    """The pieces of the Hindi text, and how many of them are unknown."""
    model = io.BytesIO()
    lines = [english, hindi] * 20
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(lines), model_writer=model, vocab_size=80, hard_vocab_limit=False, minloglevel=2, **options
    )
    made = sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())
    ids = made.encode(asked)
    return made.encode(asked, out_type=str), sum(made.is_unknown(i) for i in ids)


print("sentencepiece", version("sentencepiece"))
for name, text in {"English": english, "Hindi": hindi}.items():
    print(f"a line of {name:8} {len(text)} characters, {len(text.encode())} bytes")
print("expected    half of the lines are Hindi, so its letters are in the vocabulary")
usual, long = trained(), trained(max_sentence_length=20000)
print("as it comes               ", usual)
print("max_sentence_length=20000 ", long)
if usual[1] == 0:
    raise SystemExit("CHANGED: the limit leaves the Hindi lines in")
if long[1]:
    raise SystemExit("CHANGED: a larger limit does not help")
print("SEEN: one letter of Hindi, Thai or Georgian is 3 bytes: their documents go first. Cut the corpus into sentences, or raise the limit.")
PY

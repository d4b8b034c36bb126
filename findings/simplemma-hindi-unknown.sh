#!/usr/bin/env bash
# simplemma lemmatizes Hindi, but in_target_language of a Hindi sentence is 0 and langdetect says unknown: they cut the words at the vowel signs.
set -euo pipefail
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
"${PYTHON:-python3}" -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install --quiet simplemma==2.0.0
"$tmp/venv/bin/python" - <<'PY'
from importlib.metadata import version

from simplemma import in_target_language, is_known, langdetect, text_lemmatizer

texts = {
    "hi": "लड़के अच्छे हैं और किताबें पढ़ते हैं",
    "ru": "Мальчики читают книги",
    "hy": "ես գնում եմ տուն",
    "tr": "Çocuklar kitap okuyor",
}
print("simplemma", version("simplemma"))
print("expected    the share of words that the language's dictionary knows, the same words that is_known knows")
ratio = {}
for language, text in texts.items():
    ratio[language] = float(in_target_language(text, lang=language))
    known = [is_known(word, lang=language) for word in text.split()]
    print(f"{language}: is_known {sum(known)} of {len(known)} words, in_target_language {ratio[language]}, langdetect {langdetect(text, lang=(language, 'en'))[0]}")
lemmas = text_lemmatizer(texts["hi"], lang="hi")
print("lemmas of the Hindi sentence:", lemmas)
if ratio.pop("hi") != 0 or min(ratio.values()) < 0.9 or not all(is_known(w, lang="hi") for w in texts["hi"].split()):
    raise SystemExit("CHANGED: Hindi words are looked up whole")
print("SEEN: a corpus filter with in_target_language drops each Hindi text, with no error: the language is supported.")
PY

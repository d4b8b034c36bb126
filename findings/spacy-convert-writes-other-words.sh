#!/usr/bin/env bash
# spacy convert of Universal Dependencies: words that are written as one (German im, French du, Spanish al) are joined from their parts: the text of the Doc has "indem", "dele" and "ael", words that the corpus does not have; --merge-subtokens keeps them.
set -euo pipefail
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
"${PYTHON:-python3}" -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install --quiet spacy==3.8.18
"$tmp/venv/bin/python" - <<'PY'
from importlib.metadata import version

from spacy.training.converters import conllu_to_docs

COLUMNS = "\t_\t_\t_\t_\t_\t_\t_\t_\n"


def sentence(text, rows):
    """CoNLL-U of (number, form) rows; each word hangs on the first one."""
    lines = [f"# text = {text}\n"]
    for number, form in rows:
        if "-" in number:
            lines.append(f"{number}\t{form}{COLUMNS}")
        else:
            head, kind = ("0", "root") if number == "1" else ("1", "dep")
            lines.append(f"{number}\t{form}\t{form}\tX\t_\t_\t{head}\t{kind}\t_\t_\n")
    return "".join(lines) + "\n"


texts = {
    "German": ("lebt im Wald", [("1", "lebt"), ("2-3", "im"), ("2", "in"), ("3", "dem"), ("4", "Wald")]),
    "French": ("vient du nord", [("1", "vient"), ("2-3", "du"), ("2", "de"), ("3", "le"), ("4", "nord")]),
    "Spanish": ("va al mar", [("1", "va"), ("2-3", "al"), ("2", "a"), ("3", "el"), ("4", "mar")]),
}
print("spacy", version("spacy"))
seen, merged = {}, {}
for language, (text, rows) in texts.items():
    file = sentence(text, rows)
    seen[language] = next(iter(conllu_to_docs(file, n_sents=1, no_print=True))).text.strip()
    merged[language] = next(iter(conllu_to_docs(file, n_sents=1, no_print=True, merge_subtokens=True))).text.strip()
    print(language, "expected", repr(text), "seen", repr(seen[language]), "merged", repr(merged[language]))
if merged != {language: text for language, (text, _) in texts.items()}:
    raise SystemExit("CHANGED: merged words differ from the file too")
if seen != {"German": "lebt indem Wald", "French": "vient dele nord", "Spanish": "va ael mar"}:
    raise SystemExit("CHANGED: the text is another")
print('SEEN: no blank is put between the parts, so tokenizer and model are trained on words of nobody ("indem" is even another')
print("      German word) and never see the ones of the texts they will be given.")
PY

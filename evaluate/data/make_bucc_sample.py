"""Make the BUCC sample out of the Tatoeba sample: two corpora that are partly translations.

    python evaluate/data/make_bucc_sample.py

The Tatoeba sample has sixteen families of four sentences that differ in one detail. The first eight
make dev, the others test. Of each family both sides hold the first two sentences (the gold pairs);
the third stands on the foreign side alone and the fourth on the English side alone, where they are
close distractors.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path

HERE = Path(__file__).parent
# Config of the Tatoeba sample -> the language's code in BUCC's layout.
LANGUAGES = {
    "ara": "ar", "cmn": "zh", "deu": "de", "ell": "el", "fra": "fr", "hin": "hi", "jpn": "ja",
    "rus": "ru", "swh": "sw", "tel": "te", "tha": "th", "tur": "tr",
}  # fmt: skip
FAMILY = 4
PARTS = {"dev": ("validation", range(0, 8)), "test": ("test", range(8, 16))}

Row = Mapping[str, str]


def write(path: Path, rows: Iterable[Row]) -> None:
    """JSONL, in a folder that is made if need be."""
    path.parent.mkdir(exist_ok=True)
    lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in rows]
    path.write_text("".join(lines), encoding="utf-8")


def numbered(texts: Iterable[str], prefix: str) -> dict[str, str]:
    """Text -> id, in an order that tells nothing."""
    shuffled = sorted(texts, key=lambda text: hashlib.sha256(text.encode()).digest())
    return {text: f"{prefix}-{number:09}" for number, text in enumerate(shuffled, 1)}


def make(folder: Path, iso3: str, code: str) -> None:
    """Both parts of one language."""
    source = HERE / f"tatoeba.{iso3}" / "validation.jsonl"
    rows = [json.loads(line) for line in source.read_text(encoding="utf-8").splitlines()]
    for part, (split, families) in PARTS.items():
        taken = [rows[family * FAMILY + place] for family in families for place in range(FAMILY)]
        foreign = [row["source_sentence"] for i, row in enumerate(taken) if i % FAMILY != 3]
        english = [row["target_sentence"] for i, row in enumerate(taken) if i % FAMILY != 2]
        left, right = numbered(foreign, code), numbered(english, "en")
        corpus = folder / f"bucc18_corpus.{code}-en.{part}"
        for side, table in ((code, left), ("en", right)):
            write(corpus / f"{side}.jsonl", ({"id": i, "text": t} for t, i in table.items()))
        write(
            folder / f"bucc18.{code}" / f"{split}.jsonl",
            (
                {
                    "source_sentence": row["source_sentence"],
                    "target_sentence": row["target_sentence"],
                    "source_lang": left[row["source_sentence"]],
                    "target_lang": right[row["target_sentence"]],
                }
                for i, row in enumerate(taken)
                if i % FAMILY < 2
            ),
        )


def main(folder: Path = HERE) -> None:
    """All languages."""
    for iso3, code in LANGUAGES.items():
        make(folder, iso3, code)


if __name__ == "__main__":
    main()
